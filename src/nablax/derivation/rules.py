"""Rules on one product of labelled factors. Each is one identity of mathematics.

A rule looks at the factors of a monomial and returns what replaces them, or None where it does not apply.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from nablax.derivation.tensors import Atom, AtomKind, Factor, Monomial, Number, Poly


@dataclass(frozen=True)
class Rewritten:
    """What stands in place of the factors.

    Args:
        factors: all factors.
        coefficient: a number to multiply with.
        eliminated: summed labels that are gone and do not count as sums of ones.
    """

    factors: list[Factor]
    coefficient: Number = Fraction(1)
    eliminated: tuple[int, ...] = ()


class Context(Protocol):
    """What rules need of the algebra."""

    expand: bool

    def add(self, polys: Sequence[Poly]) -> Poly: ...
    def power(self, p: Poly, exponent: Fraction) -> Poly: ...
    def scale(self, coefficient: Number, p: Poly) -> Poly: ...
    def number(self, value: float, axes: Sequence[int] = ()) -> Poly: ...
    def group(self, p: Poly) -> tuple[Number, Atom]: ...


Rule = Callable[[Context, list[Factor], int], Rewritten | None]


def _without(factors: list[Factor], *gone: Factor) -> list[Factor]:
    return [factor for factor in factors if not any(factor is one for one in gone)]


def _delta(context: Context, factors: list[Factor], rank: int) -> Rewritten | None:
    """δᵢⱼ aⱼ = aᵢ, δᵢᵢ = 1."""
    for factor in factors:
        if factor.atom.kind is not AtomKind.DELTA:
            continue
        low, high = sorted(factor.labels)
        rest = _without(factors, factor)
        if low == high:
            return Rewritten(rest)
        if high >= rank:
            return Rewritten([other.relabelled({high: low}) for other in rest], eliminated=(high,))
    # δᵢⱼ aⱼ bᵢ = δᵢⱼ aᵢ bᵢ also where both labels stay
    for factor in factors:
        if factor.atom.kind is AtomKind.DELTA:
            low, high = sorted(factor.labels)
            rest = _without(factors, factor)
            if any(high in other.labels for other in rest):
                return Rewritten([factor, *(other.relabelled({high: low}) for other in rest)])
    return None


def _unit(context: Context, factors: list[Factor], rank: int) -> Rewritten | None:
    """e_kᵀ e_l = 1 or 0; Σₖ aₖ bₖ e_k = (Σₖ aₖ e_k)(Σₗ bₗ e_l)."""
    for factor in factors:
        if factor.atom.kind is AtomKind.UNIT and factor.labels[0] >= rank:
            users = [other for other in factors if other is not factor and factor.labels[0] in other.labels]
            if not users:
                return Rewritten(_without(factors, factor), eliminated=factor.labels)
            if len(users) == 1 and users[0].atom.kind is AtomKind.UNIT:
                same = users[0].atom.name == factor.atom.name
                rest = _without(factors, factor, users[0])
                return Rewritten(rest, Fraction(int(same)), factor.labels)
            if len(users) > 1 and all(user.labels.count(factor.labels[0]) == 1 for user in users):
                top = 1 + max(label for other in factors for label in other.labels)
                made = []
                for k, user in enumerate(users):
                    names = {factor.labels[0]: factor.labels[0] if not k else top + k}
                    made += [user.relabelled(names), factor.relabelled(names)]
                return Rewritten([*_without(factors, factor, *users), *made])
    return None


def _gaps(context: Context, factors: list[Factor], rank: int) -> Rewritten | None:
    """The gap between an eigenvalue and itself counts as zero."""
    for factor in factors:
        if factor.atom.name not in ("gaps", "squared_gaps"):
            continue
        units = [
            {u.atom.name for u in factors if u.atom.kind is AtomKind.UNIT and u.labels[0] == x} for x in factor.labels
        ]
        if factor.labels[0] == factor.labels[1] or units[0] & units[1]:
            return Rewritten([], Fraction(0))
    return None


def _ramps(context: Context, factors: list[Factor], rank: int) -> Rewritten | None:
    """max(u, 0) [u > 0] = max(u, 0)."""
    for ramp in factors:
        if not is_function(ramp.atom, "max"):
            continue
        inside = [p for p in ramp.atom.arguments if p.constant != 0]
        for relation in factors:
            if is_function(relation.atom, ">") and relation.labels == ramp.labels and len(inside) == 1:
                above, below = relation.atom.arguments
                if above == inside[0] and below.constant == 0:
                    return Rewritten(_without(factors, relation))
    return None


def _growth(context: Context, factors: list[Factor], rank: int) -> Rewritten | None:
    """eᵘ σ(u) = eᵘ − σ(u), where products are multiplied out."""
    if not context.expand:
        return None
    for curve in factors:
        for exp in factors:
            same = is_function(exp.atom, "exp") and is_function(curve.atom, "sigmoid")
            if not same or exp.atom.arguments != curve.atom.arguments or exp.labels != curve.labels:
                continue
            if exp.exponent <= 0 or curve.exponent <= 0:
                continue
            labels = tuple(range(len(exp.atom.axes)))
            parts = [Poly(exp.atom.axes, (_single(Factor(f.atom, labels)),)) for f in (exp, curve)]
            content, group = context.group(context.add([parts[0], context.scale(Fraction(-1), parts[1])]))
            kept = [Factor(f.atom, f.labels, f.exponent - 1) for f in (exp, curve)]
            return Rewritten([*_without(factors, exp, curve), *kept, Factor(group, exp.labels)], content)
    return None


def argument_of(atom: Atom, name: str) -> Poly | None:
    """The argument, if the atom is the matrix function of that name."""
    return atom.arguments[0] if atom.kind is AtomKind.MATRIX and atom.name == name else None


def _is_matrix(atom: Atom, p: Poly) -> bool:
    """Whether an atom is the matrix that a poly is."""
    if atom.kind is AtomKind.GROUP:
        return atom.arguments[0] == p
    return (
        len(p.terms) == 1
        and p.terms[0].coefficient == 1
        and len(p.terms[0].factors) == 1
        and p.terms[0].factors[0].exponent == 1
        and p.terms[0].factors[0].atom == atom
        and p.terms[0].factors[0].labels == (0, 1)
    )


def _uses(factors: list[Factor], label: int) -> int:
    return sum(factor.labels.count(label) for factor in factors)


def _inverse(context: Context, factors: list[Factor], rank: int) -> Rewritten | None:
    """X⁻¹ X = X X⁻¹ = I."""
    for inverse in factors:
        p = argument_of(inverse.atom, "inv")
        if p is None or inverse.exponent != 1:
            continue
        for other in factors:
            if other is inverse or other.exponent != 1 or not _is_matrix(other.atom, p):
                continue
            found = _meeting(inverse, other, 1, 0, factors, rank) or _meeting(inverse, other, 0, 1, factors, rank)
            if found:
                return found
    return None


def _meeting(a: Factor, b: Factor, side_a: int, side_b: int, factors: list[Factor], rank: int) -> Rewritten | None:
    pairs = [(side_a, side_b)]
    if a.atom.symmetric and b.atom.symmetric:
        pairs = [(p, q) for p in (0, 1) for q in (0, 1)]
    for p, q in pairs:
        shared = a.labels[p]
        if shared == b.labels[q] and shared >= rank and _uses(factors, shared) == 2:
            ends = (a.labels[1 - p], b.labels[1 - q])
            size = a.atom.axes[1 - p]
            delta = Factor(Atom(AtomKind.DELTA, "", (size, size), symmetric=True), ends)
            return Rewritten([*_without(factors, a, b), delta], eliminated=(shared,))
    return None


def _orthogonal(context: Context, factors: list[Factor], rank: int) -> Rewritten | None:
    """QᵀQ = QQᵀ = I; of orthonormal columns the first alone."""
    own = [f for f in factors if f.atom.trait in ("orthogonal", "orthonormal") and f.exponent == 1]
    for k, a in enumerate(own):
        for b in own[k + 1 :]:
            if a.atom == b.atom:
                found = _meeting(a, b, 0, 0, factors, rank)
                if not found and a.atom.trait == "orthogonal":
                    found = _meeting(a, b, 1, 1, factors, rank)
                if found:
                    return found
    return None


def is_function(atom: Atom, name: str) -> bool:
    """Whether an atom is the scalar function of that name."""
    return atom.kind is AtomKind.FUNCTION and atom.name == name


def _sigmoid(context: Context, factors: list[Factor], rank: int) -> Rewritten | None:
    """1/(1 + eᵘ) = 1 − σ(u), eᵘ (1 − σ(u)) = σ(u)."""
    for factor in factors:
        if factor.atom.kind is not AtomKind.GROUP or len(factor.atom.arguments[0].terms) != 2:
            continue
        p = factor.atom.arguments[0]
        one, other = p.terms
        if one.factors or one.coefficient != 1 or len(other.factors) != 1:
            continue
        inner = other.factors[0]
        if inner.labels != tuple(range(p.rank)):
            continue
        if (
            is_function(inner.atom, "exp")
            and factor.exponent < 0
            and other.coefficient == 1
            and abs(inner.exponent) == 1
        ):
            sigma = Atom(AtomKind.FUNCTION, "sigmoid", inner.atom.axes, inner.atom.arguments, inner.atom.symmetric)
            if inner.exponent == -1:
                made = Factor(sigma, factor.labels, -factor.exponent)
            else:
                made = Factor(_one_minus(context, sigma), factor.labels, -factor.exponent)
            return Rewritten([*_without(factors, factor), made])
        if is_function(inner.atom, "sigmoid") and factor.exponent > 0 and other.coefficient == -1:
            for exp in factors:
                same = is_function(exp.atom, "exp") and exp.atom.arguments == inner.atom.arguments
                if same and exp.labels == factor.labels and exp.exponent > 0:
                    turns = min(exp.exponent, factor.exponent)
                    return Rewritten(
                        [
                            *_without(factors, exp, factor),
                            Factor(exp.atom, exp.labels, exp.exponent - turns),
                            Factor(factor.atom, factor.labels, factor.exponent - turns),
                            Factor(inner.atom, factor.labels, turns),
                        ]
                    )
    for curve in factors:
        if not is_function(curve.atom, "sigmoid") or curve.exponent <= 0:
            continue
        for exp in factors:
            same = is_function(exp.atom, "exp") and exp.atom.arguments == curve.atom.arguments
            if same and exp.labels == curve.labels and exp.exponent < 0:
                turns = min(-exp.exponent, curve.exponent)
                return Rewritten(
                    [
                        *_without(factors, exp, curve),
                        Factor(exp.atom, exp.labels, exp.exponent + turns),
                        Factor(curve.atom, curve.labels, curve.exponent - turns),
                        Factor(_one_minus(context, curve.atom), curve.labels, turns),
                    ]
                )
    return None


def _one_minus(context: Context, atom: Atom) -> Atom:
    from_atom = Poly(atom.axes, ())
    labels = tuple(range(len(atom.axes)))
    own = Poly(atom.axes, (_single(Factor(atom, labels)),))
    _, group = context.group(context.add([from_atom, context.number(1, atom.axes), context.scale(Fraction(-1), own)]))
    return group


def _single(factor: Factor) -> Monomial:
    return Monomial(Fraction(1), (factor,))


def _softmax(context: Context, factors: list[Factor], rank: int) -> Rewritten | None:
    """eᵘ / Σ eᵘ = softmax(u), Σ softmax(u) = 1."""
    for total in factors:
        atom = total.atom
        if atom.kind is not AtomKind.GROUP or total.exponent >= 0 or len(atom.arguments[0].terms) != 1:
            continue
        [term] = atom.arguments[0].terms
        if term.coefficient != 1 or len(term.factors) != 1 or not is_function(term.factors[0].atom, "exp"):
            continue
        inner = term.factors[0]
        summed = [label for label in inner.labels if label >= len(atom.axes)]
        for exp in factors:
            if exp.atom != inner.atom or inner.exponent * exp.exponent <= 0 or inner.exponent not in (1, -1):
                continue
            if inner.exponent == -1:
                continue  # softmax of −u: left as it is written
            kept = tuple(x for x, own in zip(exp.labels, inner.labels, strict=True) if own < len(atom.axes))
            if kept != total.labels:
                continue
            turns = min(exp.exponent, -total.exponent)
            name = "softmax" if len(summed) == len(inner.labels) else "softmax_rows"
            soft = Atom(AtomKind.FUNCTION, name, exp.atom.axes, exp.atom.arguments)
            return Rewritten(
                [
                    *_without(factors, exp, total),
                    Factor(exp.atom, exp.labels, exp.exponent - turns),
                    Factor(atom, total.labels, total.exponent + turns),
                    Factor(soft, exp.labels, turns),
                ]
            )
    for whole in factors:
        if not is_function(whole.atom, "softmax") or whole.exponent != 1:
            continue
        if all(label >= rank and _uses(factors, label) == 1 for label in whole.labels):
            return Rewritten(_without(factors, whole), eliminated=whole.labels)
    return None


def _powers(context: Context, factors: list[Factor], rank: int) -> Rewritten | None:
    """bᵉ bᵏ = bᵉ⁺ᵏ for an exponent that is not a number."""
    for power in factors:
        if not is_function(power.atom, "pow") or power.exponent != 1:
            continue
        base, exponent = power.atom.arguments
        for other in factors:
            if other is power or other.labels != power.labels or other.exponent.denominator != 1:
                continue
            same = other.atom.kind is AtomKind.GROUP and other.atom.arguments[0] == base
            same = same or (
                len(base.terms) == 1
                and len(base.terms[0].factors) == 1
                and base.terms[0].coefficient == 1
                and base.terms[0].factors[0].exponent == 1
                and base.terms[0].factors[0].atom == other.atom
                and base.terms[0].factors[0].labels == tuple(range(base.rank))
            )
            if same and exponent.constant is None and _offset(exponent) * other.exponent < 0:
                total = context.add([exponent, context.number(float(other.exponent), exponent.axes)])
                atom = Atom(AtomKind.FUNCTION, "pow", power.atom.axes, (base, total))
                return Rewritten([*_without(factors, power, other), Factor(atom, power.labels)])
    return None


def _offset(p: Poly) -> Fraction:
    """The number added in a sum."""
    for term in p.terms:
        if not term.factors and isinstance(term.coefficient, Fraction):
            return term.coefficient
    return Fraction(0)


def _squares(context: Context, factors: list[Factor], rank: int) -> Rewritten | None:
    """(1 − t)(1 + t) = 1 − t²."""
    groups = [f for f in factors if f.atom.kind is AtomKind.GROUP and f.exponent == 1 and f.labels]
    groups += [f for f in factors if f.atom.kind is AtomKind.GROUP and f.exponent == 1 and not f.labels]
    for k, a in enumerate(groups):
        for b in groups[k + 1 :]:
            p, q = a.atom.arguments[0], b.atom.arguments[0]
            if a.labels != b.labels or len(p.terms) != 2 or len(q.terms) != 2:
                continue
            if [t.body for t in p.terms] != [t.body for t in q.terms]:
                continue
            one, other = p.terms
            first, second = (x.coefficient * y.coefficient for x, y in zip(p.terms, q.terms, strict=True))
            if one.factors or first * second >= 0 or abs(first) != abs(second) or abs(first) != 1:
                continue
            square = context.power(Poly(p.axes, (Monomial(Fraction(1), other.factors),)), Fraction(2))
            total = context.add([context.number(float(first), p.axes), context.scale(second, square)])
            content, atom = context.group(total)
            return Rewritten([*_without(factors, a, b), Factor(atom, a.labels)], content)
    return None


QUOTIENTS = {("sinh", "cosh"): "tanh", ("sin", "cos"): "tan"}


def _quotients(context: Context, factors: list[Factor], rank: int) -> Rewritten | None:
    """Sinh u / cosh u = tanh u, sin u / cos u = tan u."""
    for above in factors:
        for below in factors:
            name = QUOTIENTS.get((above.atom.name, below.atom.name))
            functions = above.atom.kind is below.atom.kind is AtomKind.FUNCTION
            if name is None or not functions or above.exponent <= 0 or below.exponent >= 0:
                continue
            if above.atom.arguments != below.atom.arguments or above.labels != below.labels:
                continue
            turns = min(above.exponent, -below.exponent)
            atom = Atom(AtomKind.FUNCTION, name, above.atom.axes, above.atom.arguments, above.atom.symmetric)
            kept = [Factor(above.atom, above.labels, above.exponent - turns)]
            kept.append(Factor(below.atom, below.labels, below.exponent + turns))
            return Rewritten([*_without(factors, above, below), *kept, Factor(atom, above.labels, turns)])
    return None


RULES: tuple[Rule, ...] = (
    _delta, _unit, _inverse, _orthogonal, _sigmoid, _softmax, _powers, _squares, _quotients, _gaps, _ramps, _growth,
)  # fmt: skip
