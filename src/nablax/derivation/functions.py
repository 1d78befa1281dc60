"""Scalar and matrix functions of polys, with the identities that make them short."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from nablax.derivation.algebra import Algebra
from nablax.derivation.rules import argument_of, is_function
from nablax.derivation.tensors import Atom, AtomKind, Factor, Monomial, Poly, content, narrowed, used_labels
from nablax.notation import FUNCTIONS

MASKED = "masked"  # masked(c, u) is u where c holds, else −∞: its exponential is c ⊙ exp(u)


def apply(algebra: Algebra, name: str, arguments: Sequence[Poly]) -> Poly:
    """A scalar function of each element.

    Args:
        algebra: makes polys.
        name: canonical name of the function.
        arguments: polys of the same axes or without axes.

    Returns:
        The value, simplified.
    """
    axes = max((p.axes for p in arguments), key=len, default=())
    if len(arguments) == 1:
        [p] = arguments
        if p.constant is not None:
            known = _constant(name, float(p.constant))
            if known is not None:
                return algebra.number(known, axes)
        if name in ("abs", "sign") and _positive(p):
            return p if name == "abs" else algebra.number(1, axes)
        if name == "exp":
            return _exp(algebra, p)
        if name == "log":
            return _log(algebra, p)
        if name == "erf" and _is_over_root_two(p):  # erf(u/√2) = 2Φ(u) − 1
            value = _made(algebra, "Phi", (algebra.scale(2, algebra.times(p, algebra.number(2**-0.5))),), axes)
            return algebra.add([algebra.scale(2, value), algebra.number(-1, axes)])
        parity = FUNCTIONS[name].parity if name in FUNCTIONS else 0
        if parity and content(p) < 0:
            value = _made(algebra, name, (algebra.scale(-1, p),), axes)
            return algebra.scale(parity, value)
    if name in ("<", "≤"):
        return apply(algebra, ">" if name == "<" else "≥", arguments[::-1])
    if name in (">", "≥") and len(arguments) == 2 and all(p.constant is None for p in arguments):
        shorter = _difference(algebra, *arguments)
        if shorter is not None:
            return shorter
    if name == "=":
        larger = is_larger(algebra, *arguments)
        if larger is not None:
            return larger
    if name in ("max", "min"):
        neutral = -math.inf if name == "max" else math.inf
        for this, other in (arguments, arguments[::-1]):
            if other.constant == neutral:
                return this
    if name == "pow":
        base, exponent = arguments
        if exponent.constant is not None:
            # 2.05 − 2 is 0.0499… in floats
            plain = Fraction(exponent.constant).limit_denominator(1000)
            if abs(float(plain) - float(exponent.constant)) < 1e-14:
                return algebra.power(base, plain)
        arguments = [algebra.broadcast(base, axes), algebra.broadcast(exponent, axes)]
    return _made(algebra, name, tuple(arguments), axes)


def is_larger(algebra: Algebra, left: Poly, right: Poly) -> Poly | None:
    """[u = max(u, v)] as [u > v], [u = min(u, v)] as [v > u]: up to where both are equal, as older JAX asks it."""
    for this, other in ((left, right), (right, left)):
        for name in ("max", "min"):
            parts = _pair(other, name)
            if this in parts:
                pair = [this, parts[1] if parts[0] == this else parts[0]]
                return apply(algebra, ">", pair if name == "max" else pair[::-1])
    return None


def _difference(algebra: Algebra, left: Poly, right: Poly) -> Poly | None:
    """[u > v] as [u − v > 0], where that is shorter; with a positive first term, up to where both sides are equal."""
    wide = Algebra(algebra.sizes, expand=True)
    opened = [wide.times(wide.number(1, p.axes), p) for p in (left, right)]
    p = wide.add([opened[0], wide.scale(-1, opened[1])])
    if p.constant is not None or len(p.terms) >= sum(len(one.terms) for one in opened):
        return None
    number = content(p)
    relation = _made(algebra, ">", (wide.scale(1 / number, p), algebra.number(0, p.axes)), p.axes)
    if number > 0:
        return relation
    return algebra.add([algebra.number(1, p.axes), algebra.scale(-1, relation)])


def _is_over_root_two(p: Poly) -> bool:
    root = Factor(Atom(AtomKind.SIZE, "2", ()), (), Fraction(1, 2)).sort_key
    return bool(p.terms) and all(any(f.sort_key == root for f in term.factors) for term in p.terms)


def _positive(p: Poly) -> bool:
    """Whether the form shows that every element is positive."""

    def positive(atom: Atom) -> bool:
        if atom.kind is AtomKind.GROUP:
            return _positive(atom.arguments[0])
        known = atom.kind is AtomKind.SIZE or atom.trait == "positive"
        return known or is_function(atom, "exp") or is_function(atom, "sigmoid")

    return bool(p.terms) and all(t.coefficient > 0 and all(positive(f.atom) for f in t.factors) for t in p.terms)


def _pair(p: Poly, name: str) -> tuple[Poly, ...]:
    """The arguments, where a poly is nothing but that function of two arguments."""
    if len(p.terms) == 1 and len(p.terms[0].factors) == 1 and p.terms[0].coefficient == 1:
        atom = p.terms[0].factors[0].atom
        if is_function(atom, name) and p.terms[0].factors[0].exponent == 1:
            return atom.arguments
    return ()


def _constant(name: str, value: float) -> float | None:
    row = FUNCTIONS.get(name)
    if value == 0 and row is not None and row.at_zero is not None:
        return float(row.at_zero)
    if name == "log" and value > 0:
        return math.log(value)
    if name == "exp":
        return math.exp(value)
    if name == "sign":
        return math.copysign(1.0, value)
    return None


def _made(algebra: Algebra, name: str, arguments: tuple[Poly, ...], axes: tuple[int, ...]) -> Poly:
    """The atom; axes along which nothing changes are left out."""
    used = used_labels(*arguments)
    if len(used) < len(axes):
        value = apply(algebra, name, [narrowed(p, used) for p in arguments])
        return algebra.product([(value, used)], tuple(range(len(axes))), dict(enumerate(axes)))
    symmetric = len(axes) == 2 and axes[0] == axes[1] and all(not p.axes or algebra.is_symmetric(p) for p in arguments)
    return algebra.atom(Atom(AtomKind.FUNCTION, name, axes, arguments, symmetric))


def _exp(algebra: Algebra, p: Poly) -> Poly:
    """e^(a + k log v + c) = eᵃ vᵏ eᶜ for a number or scalar c, and zero where a mask says so."""
    masked = _pair(p, MASKED)
    if masked:
        return algebra.times(masked[0], apply(algebra, "exp", masked[1:]))
    rest: list[Monomial] = []
    values: list[Poly] = []
    for term in p.terms:
        single = term.factors[0] if len(term.factors) == 1 else None
        if (
            single is not None
            and is_function(single.atom, "log")
            and all(label >= p.rank for label in single.labels)
            and single.labels
            and single.exponent == 1
            and isinstance(term.coefficient, Fraction)
        ):  # exp(k Σ log v) = (Π v)ᵏ
            product = Atom(AtomKind.MATRIX, "prod", (), (single.atom.arguments[0],))
            values.append(algebra.broadcast(algebra.power(algebra.atom(product), term.coefficient), p.axes))
        elif (
            single is not None
            and is_function(single.atom, "log")
            and single.exponent == 1
            and isinstance(term.coefficient, Fraction)
        ):
            inner = algebra.power(single.atom.arguments[0], term.coefficient)
            labels = single.labels
            values.append(algebra.product([(inner, labels)], tuple(range(p.rank)), dict(enumerate(p.axes))))
        elif p.rank and len(p.terms) > 1 and _is_computed_scalar(term):
            values.append(apply(algebra, "exp", [Poly((), (term,))]))
        elif p.rank == 2 and len(p.terms) > 1 and {x for f in term.factors for x in f.labels} == {0}:
            each = apply(algebra, "exp", [Poly(p.axes[:1], (term,))])
            values.append(algebra.product([(each, (0,))], (0, 1), dict(enumerate(p.axes))))
        else:
            rest.append(term)
    left = Poly(p.axes, tuple(rest))
    if rest:
        negative = content(left) < 0
        value = _made(algebra, "exp", (algebra.scale(-1, left) if negative else left,), p.axes)
        values.append(algebra.power(value, Fraction(-1)) if negative else value)
    return algebra.times(algebra.number(1, p.axes), *values)


def _is_computed_scalar(term: Monomial) -> bool:
    """Whether a term is a scalar that may depend on the others, as a maximum that is subtracted; b in ax + b stays."""
    plain = (AtomKind.LEAF, AtomKind.SIZE)
    return all(not f.labels for f in term.factors) and any(f.atom.kind not in plain for f in term.factors)


def _log(algebra: Algebra, p: Poly) -> Poly:
    """log(eᵘ v) = u + log v."""
    if len(p.terms) != 1:
        return _made(algebra, "log", (p,), p.axes)
    [term] = p.terms
    known = tuple(range(p.rank))
    exps = [f for f in term.factors if is_function(f.atom, "exp") and all(x < p.rank for x in f.labels)]
    if not exps:
        return _made(algebra, "log", (p,), p.axes)
    parts = []
    for f in exps:
        inner = algebra.scale(f.exponent, f.atom.arguments[0])
        parts.append(algebra.product([(inner, f.labels)], known, dict(enumerate(p.axes))))
    rest = algebra.monomial(term.coefficient, [f for f in term.factors if f not in exps], p.axes)
    if rest.constant != 1:
        parts.append(apply(algebra, "log", [rest]))
    return algebra.add([algebra.number(0, p.axes), *parts])


def matrix_function(algebra: Algebra, name: str, p: Poly) -> Poly:
    """A function of a whole matrix: inv, det, logdet, or another by name (a scalar).

    Args:
        algebra: makes polys.
        name: what it is.
        p: the matrix.

    Returns:
        The value; transposes, scalings and inverses inside are moved outside.
    """
    if name == "inv":
        return _inverse(algebra, p)
    inner = _alone(p, "inv")
    if name in ("det", "logdet"):
        if inner is not None:
            value = matrix_function(algebra, name, inner)
            return algebra.power(value, Fraction(-1)) if name == "det" else algebra.scale(-1, value)
        p = min(p, algebra.transpose(p), key=lambda q: q.key)
    return algebra.atom(Atom(AtomKind.MATRIX, name, (), (p,)))


def _alone(p: Poly, name: str) -> Poly | None:
    """The argument, where a poly is nothing but that matrix function (or its transpose)."""
    if len(p.terms) == 1 and len(p.terms[0].factors) == 1 and p.terms[0].coefficient == 1:
        return argument_of(p.terms[0].factors[0].atom, name)
    return None


def _inverse(algebra: Algebra, p: Poly) -> Poly:
    if len(p.terms) == 1:
        [term] = p.terms
        scalars = [f for f in term.factors if not f.labels]
        if scalars or term.coefficient not in (1,):
            rest = algebra.monomial(Fraction(1), [f for f in term.factors if f.labels], p.axes)
            number = algebra.power(algebra.monomial(term.coefficient, scalars, ()), Fraction(-1))
            return algebra.times(number, _inverse(algebra, rest))
        if len(term.factors) == 1:
            [factor] = term.factors
            if factor.atom.kind is AtomKind.DELTA:
                return p
            inner = argument_of(factor.atom, "inv")
            if inner is not None and factor.exponent == 1:
                return inner if factor.labels == (0, 1) else algebra.transpose(inner)
            if factor.atom.trait == "orthogonal" and factor.exponent == 1:
                return algebra.transpose(p)
    turned = algebra.transpose(p)
    symmetric = turned.key == p.key
    flipped = turned.key < p.key
    single = p.terms[0].factors[0].atom if len(p.terms) == 1 and len(p.terms[0].factors) == 1 else None
    trait = single.trait if single is not None and single.trait == "diagonal" else ""
    if single is not None and single.trait == "triangular" and p.terms[0].factors[0].labels == (0, 1):
        trait, flipped = "triangular", False
    atom = Atom(AtomKind.MATRIX, "inv", p.axes, (turned if flipped else p,), symmetric, trait)
    labels = (1, 0) if flipped else (0, 1)
    return algebra.monomial(Fraction(1), [Factor(atom, labels)], p.axes)
