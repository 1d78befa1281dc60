"""Rules on one product of labelled factors. Each is one identity of mathematics.

A rule looks at the factors of a monomial and returns what replaces them, or None where it does not apply.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, TypeAlias

from nablax.derivation.patterns import Match, Pattern, built, head_of, matches, patterns
from nablax.derivation.tensors import EPSILON, FOLD, MASKS, Atom, AtomKind, Factor, Monomial, Number, Poly, placed

if TYPE_CHECKING:  # which applies the rules
    from nablax.derivation.algebra import Algebra


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


Rule: TypeAlias = "Callable[[Algebra, list[Factor], int], Rewritten | None]"


def _without(factors: list[Factor], *gone: Factor) -> list[Factor]:
    return [factor for factor in factors if not any(factor is one for one in gone)]


def _masks(algebra: Algebra, factors: list[Factor], rank: int) -> Rewritten | None:
    """Ones on one side of the diagonal: [i ≥ i] = 1, [i ≥ j] Lᵢⱼ = Lᵢⱼ, δᵢⱼ Dᵢⱼ = Dᵢⱼ, Kᵢᵢ = 0 where Kᵀ = −K."""
    for factor in factors:
        if factor.atom.trait == "skew" and len(set(factor.labels)) == 1:
            return Rewritten([], Fraction(0))
        kind, rest = factor.atom.kind, _without(factors, factor)
        pair = set(factor.labels)
        free = kind is AtomKind.DELTA and len(pair) == 2 and max(pair) < rank
        if free and any(f.atom.trait == "diagonal" and f.exponent > 0 and set(f.labels) == pair for f in rest):
            return Rewritten(rest)
        if kind is not AtomKind.CONSTANT or factor.atom.name not in MASKS:
            continue
        a, b = factor.labels
        if a == b:
            return Rewritten(rest)
        if a > b:
            side = MASKS[1 - MASKS.index(factor.atom.name)]
            return Rewritten([*rest, Factor(Atom(AtomKind.CONSTANT, side, factor.atom.axes[::-1]), (b, a))])
        for other in rest:
            lower = (a, b) if factor.atom.name == "tril" else (b, a)
            if other.exponent > 0 and other.labels == lower and other.atom.trait == "triangular":
                return Rewritten(rest)
    return None


def _delta(algebra: Algebra, factors: list[Factor], rank: int) -> Rewritten | None:
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


def _unit(algebra: Algebra, factors: list[Factor], rank: int) -> Rewritten | None:
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


def _gaps(algebra: Algebra, factors: list[Factor], rank: int) -> Rewritten | None:
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


def _resolvent(algebra: Algebra, factors: list[Factor], rank: int) -> Rewritten | None:
    """Σₖ vₖvₖᵀ/(λₖ − λ) over the eigenvectors of S that are not v is −(λI − S)⁺, the spectral sum of a book."""
    for gap in (factor for factor in factors if factor.atom.name == "gaps"):
        for k, place, sign in ((*gap.labels, -1), (*gap.labels[::-1], 1)):
            around = [f for f in factors if f is not gap and (k in f.labels or place in f.labels)]
            vectors = [f for f in around if f.atom.name == "eigenvectors" and f.labels[1] == k]
            units = [f for f in around if f.atom.kind is AtomKind.UNIT and f.labels == (place,)]
            single = len(vectors) == 2 and len(units) == 1 and len(around) == 3 and min(k, place) >= rank
            if not single or any(f.exponent != 1 for f in (gap, *vectors)):
                continue
            [matrix] = vectors[0].atom.arguments
            atom = _pseudo_inverse(algebra, matrix, gap.atom.arguments[0], vectors[0].atom, units[0].atom)
            made = Factor(atom, (vectors[0].labels[0], vectors[1].labels[0]))
            return Rewritten([*_without(factors, gap, *around), made], Fraction(sign), (k, place))
    return None


def _kernel(algebra: Algebra, factors: list[Factor], rank: int) -> Rewritten | None:
    """(λI − S)⁺ v = 0 for the eigenvector v of λ."""
    for one in (factor for factor in factors if factor.atom.name == "pinv"):
        for label in one.labels:
            vectors = [f for f in factors if f.atom.name == "eigenvectors" and f.labels[0] == label]
            alone = label >= rank and sum(label in f.labels for f in factors) == 2
            for vector in vectors if alone else ():
                for unit in (f for f in factors if f.atom.kind is AtomKind.UNIT and f.labels == vector.labels[1:]):
                    parts = [(algebra.atom(vector.atom), (0, 1)), (algebra.atom(unit.atom), (1,))]
                    if algebra.product(parts, (0,), {}) == one.atom.arguments[1]:
                        return Rewritten([], Fraction(0))
    return None


def _pseudo_inverse(algebra: Algebra, matrix: Poly, values: Poly, vectors: Atom, unit: Atom) -> Atom:
    """(λI − S)⁺, and with it the eigenvector that spans the kernel."""
    extreme = {"-1": "max", "0": "min"}.get(unit.name)
    if extreme is None:
        value = algebra.product([(values, (0,)), (algebra.atom(unit), (0,))], (), {})
    else:
        value = algebra.atom(Atom(AtomKind.MATRIX, extreme, (), (values,)))
    scaled = algebra.product([(value, ()), (algebra.delta(matrix.axes[0]), (0, 1))], (0, 1), {})
    kernel = algebra.product([(algebra.atom(vectors), (0, 1)), (algebra.atom(unit), (1,))], (0,), {})
    inside = algebra.add([scaled, algebra.scale(-1, matrix)])
    return Atom(AtomKind.MATRIX, "pinv", matrix.axes, (inside, kernel), symmetric=True)


def argument_of(atom: Atom, name: str) -> Poly | None:
    """The argument, if the atom is the matrix function of that name."""
    return atom.arguments[0] if atom.kind is AtomKind.MATRIX and atom.name == name else None


def is_function(atom: Atom, name: str) -> bool:
    """Whether an atom is the scalar function of that name."""
    return atom.kind is AtomKind.FUNCTION and atom.name == name


def _signs(algebra: Algebra, factors: list[Factor], rank: int) -> Rewritten | None:
    """X × x = 0, and where products are multiplied out εᵢⱼₐ εₖₗₐ = δᵢₖ δⱼₗ − δᵢₗ δⱼₖ."""
    signs = [factor for factor in factors if factor.atom.name == EPSILON]
    for one in signs:
        rest = _without(factors, one)
        alone = [f for f in rest if len(f.labels) == 1 and f.labels[0] in one.labels and f.labels[0] >= rank]
        alone = [f for f in alone if sum(f.labels[0] in other.labels for other in rest) == 1]
        if len(set(one.labels)) < 3 or len({f.atom.key for f in alone}) < len(alone):
            return Rewritten([], Fraction(0))
        for other in signs if len(signs) > 1 and algebra.multiplies_out() else ():
            shared = next((x for x in one.labels if other is not one and x in other.labels and x >= rank), None)
            if shared is not None and not any(shared in f.labels for f in rest if f is not other):
                (a, b), (c, d) = (_behind(f.labels, shared) for f in (one, other))
                pairs = [((0, 2), (1, 3)), ((0, 3), (1, 2))]
                same, turned = (
                    algebra.product([(algebra.delta(3), pair) for pair in two], range(4), {}) for two in pairs
                )
                content, group = algebra.group(algebra.add([same, algebra.scale(-1, turned)]))
                return Rewritten([*_without(rest, other), Factor(group, (a, b, c, d))], content, (shared,))
    return None


def _behind(labels: tuple[int, ...], first: int) -> tuple[int, int]:
    """The two labels behind one, in a circle."""
    k = labels.index(first)
    return labels[(k + 1) % 3], labels[(k + 2) % 3]


def _folds(algebra: Algebra, factors: list[Factor], rank: int) -> Rewritten | None:
    """foldⱼᵢₖ foldₗₘₖ = δⱼₗ δᵢₘ, and foldⱼᵢₖ foldⱼᵢₗ = δₖₗ."""
    folds = [factor for factor in factors if factor.atom.name == FOLD]
    for k, one in enumerate(folds):
        for other in folds[k + 1 :]:
            rest = _without(factors, one, other)
            gone = [x for x in one.labels if x in other.labels and x >= rank and not any(x in f.labels for f in rest)]
            left = [(a, b, n) for a, b, n in zip(one.labels, other.labels, one.atom.axes, strict=True) if a != b]
            whole = set(gone) == {one.labels[2]} or set(gone) == set(one.labels[:2])
            if one.atom == other.atom and whole and {a for a, _, _ in left} == set(one.labels) - set(gone):
                deltas = [Factor(Atom(AtomKind.DELTA, "", (n, n), symmetric=True), (a, b)) for a, b, n in left]
                return Rewritten([*rest, *deltas], eliminated=tuple(gone))
    return None


# -- rows of the table -------------------------------------------------------------------------------------


def _identities(algebra: Algebra, factors: list[Factor], rank: int) -> Rewritten | None:
    """The first row of the table of identities whose left side is part of the product."""
    heads = {head_of(factor.atom) for factor in factors}
    for pattern in patterns():
        if pattern.heads <= heads and (not pattern.expanded or algebra.multiplies_out()):
            for match in matches(pattern, factors, rank):
                found = _replaced(algebra, pattern, match, factors)
                if found is not None:
                    return found
    return None


def _identities_across(algebra: Algebra, factors: list[Factor], rank: int) -> Rewritten | None:
    """The same where a part of the left side is inside a scalar: (exp(u)ᵀv) / sum(exp(u)) = softmax(u)ᵀv."""
    heads = {head_of(factor.atom) for factor in factors}
    for scalar in factors:
        inside = _single(scalar)
        if inside is None:
            continue
        own = {head_of(factor.atom) for factor in inside.factors}
        fitting = [
            pattern
            for pattern in patterns()
            if not pattern.expanded and pattern.heads <= heads | own and not pattern.heads <= heads
        ]
        if not fitting:
            continue
        free = itertools.count(1 + max((rank, *(x for factor in factors for x in factor.labels))))
        opened = [*_without(factors, scalar), *placed(inside.factors, {}, free)]
        for pattern in fitting:
            for match in matches(pattern, opened, rank):
                found = _replaced(algebra, pattern, match, opened)
                if found is not None:
                    return replace(found, coefficient=found.coefficient * inside.coefficient)
    return None


def _powers_of_products(algebra: Algebra, factors: list[Factor], rank: int) -> Rewritten | None:
    """Σₖ Wᵢₖ Hₖⱼ times a power of the same product as one power: WH ⊘ (WH)² = 1 ⊘ WH."""
    for power in factors:
        if power.atom.kind is not AtomKind.GROUP or not power.labels or len(set(power.labels)) < len(power.labels):
            continue
        [inside] = power.atom.arguments
        if len(inside.terms) != 1 or inside.terms[0].coefficient != 1 or len(inside.terms[0].factors) < 2:
            continue
        rest = _without(factors, power)
        names = dict(enumerate(power.labels))
        for own, chosen in _instances(inside.terms[0].factors, rest, names):
            summed = [label for k, label in own.items() if k >= inside.rank]
            others = [power, *_without(rest, *chosen)]
            if all(label >= rank and not any(label in f.labels for f in others) for label in summed):
                return Rewritten([*others, Factor(power.atom, power.labels)], eliminated=tuple(summed))
    return None


def _instances(
    left: Sequence[Factor], factors: Sequence[Factor], names: Mapping[int, int]
) -> Iterator[tuple[Mapping[int, int], tuple[Factor, ...]]]:
    """Where factors stand among others, with labels of their own: what each label is there, and which they are."""
    if not left:
        yield names, ()
        return
    first, *rest = left
    for factor in factors:
        if factor.atom != first.atom or factor.exponent != first.exponent:
            continue
        for labels in {factor.labels, factor.labels[::-1]} if factor.atom.symmetric else {factor.labels}:
            known = dict(names)
            if all(known.setdefault(own, label) == label for own, label in zip(first.labels, labels, strict=True)):
                for found, chosen in _instances(rest, [one for one in factors if one is not factor], known):
                    yield found, (factor, *chosen)


def _even_powers_of_sizes(algebra: Algebra, factors: list[Factor], rank: int) -> Rewritten | None:
    """|u|² = u², |u|⁻² = u⁻²."""
    for factor in factors:
        if not is_function(factor.atom, "abs") or factor.exponent % 2:
            continue
        content, made = _powered(algebra, factor.atom.arguments[0], factor.labels, factor.exponent, factors)
        return Rewritten([*_without(factors, factor), *made], content ** int(factor.exponent))
    return None


def _sums_of_sums(algebra: Algebra, factors: list[Factor], rank: int) -> Rewritten | None:
    """Σᵢ (xᵢ − x̄) = 0: a sum of a kept sum, where its terms add up to fewer."""
    for factor in factors:
        if factor.atom.kind is not AtomKind.GROUP or factor.exponent != 1 or not factor.labels:
            continue
        rest, [inside] = _without(factors, factor), factor.atom.arguments
        if len(inside.terms) < 2 or any(x < rank or any(x in f.labels for f in rest) for x in factor.labels):
            continue
        total = algebra.product([(inside, factor.labels)], (), {})
        if not total.terms:
            return Rewritten([], Fraction(0))
        if len(total.terms) == 1 and all(not f.labels for f in total.terms[0].factors):
            return Rewritten([*rest, *total.terms[0].factors], total.terms[0].coefficient, factor.labels)
    return None


def _single(factor: Factor) -> Monomial | None:
    """The product that a scalar is, where it is one."""
    if factor.atom.kind is not AtomKind.GROUP or factor.labels or factor.exponent != 1:
        return None
    [inside] = factor.atom.arguments
    return inside.terms[0] if len(inside.terms) == 1 else None


def _replaced(algebra: Algebra, pattern: Pattern, match: Match, factors: list[Factor]) -> Rewritten | None:
    """The right side in place of what the left side matched, as often as it stands in the product."""
    value, turns = built(algebra, pattern.right, match), match.turns
    is_power = len(value.terms) > 1 and turns.denominator == 1 and turns > 1
    if is_power and not pattern.summed and algebra.multiplies_out():
        labels = tuple(range(value.rank))
        value, turns = algebra.product([(value, labels)] * int(turns), labels, {}), Fraction(1)
    chosen = {id(factor): own.exponent for factor, own in match.chosen}
    kept = [Factor(f.atom, f.labels, f.exponent - match.turns * chosen.get(id(f), 0)) for f in factors]
    kept = [f for f in kept if f.exponent]
    labels = tuple(match.labels[k] for k in range(pattern.right.rank))
    content, made = _powered(algebra, value, labels, turns, factors)
    if content != 1 and turns.denominator != 1:
        return None
    gone = tuple(match.labels[k] for k in pattern.summed)
    return Rewritten([*kept, *made], content ** int(turns) if content != 1 else Fraction(1), gone)


def _powered(
    algebra: Algebra, p: Poly, labels: Sequence[int], exponent: Fraction, beside: Sequence[Factor]
) -> tuple[Number, list[Factor]]:
    """A sum to a power, elementwise, as a number to that power and factors that stand beside others."""
    is_summed = any(x >= p.rank for term in p.terms for f in term.factors for x in f.labels)
    if len(p.terms) != 1 or (is_summed and exponent != 1):
        content, group = algebra.group(p)
        return content, [Factor(group, tuple(labels), exponent)]
    [term] = p.terms
    top = 1 + max((x for f in beside for x in f.labels), default=0)
    names = {x: top + x for f in term.factors for x in f.labels} | dict(enumerate(labels))
    whole = (Factor(f.atom, f.labels, f.exponent * exponent) for f in term.factors)
    return term.coefficient, [f.relabelled(names) for f in whole]


RULES: tuple[Rule, ...] = (
    _masks,
    _delta,
    _unit,
    _gaps,
    _resolvent,
    _kernel,
    _signs,
    _folds,
    _identities,
    _identities_across,
    _powers_of_products,
    _sums_of_sums,
    _even_powers_of_sizes,
)
