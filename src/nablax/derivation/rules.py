"""Rules on one product of labelled factors. Each is one identity of mathematics.

A rule looks at the factors of a monomial and returns what replaces them, or None where it does not apply.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from nablax.derivation.patterns import Match, Pattern, built, head_of, matches, patterns
from nablax.derivation.tensors import MASKS, Atom, AtomKind, Factor, Number, Poly


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

    def group(self, p: Poly) -> tuple[Number, Atom]: ...


Rule = Callable[[Context, list[Factor], int], Rewritten | None]


def _without(factors: list[Factor], *gone: Factor) -> list[Factor]:
    return [factor for factor in factors if not any(factor is one for one in gone)]


def _masks(context: Context, factors: list[Factor], rank: int) -> Rewritten | None:
    """Ones on one side of the diagonal: [i ≥ j][i ≤ j] = δᵢⱼ, [i ≥ i] = 1, [i ≥ j] Lᵢⱼ = Lᵢⱼ, δᵢⱼ Dᵢⱼ = Dᵢⱼ."""
    for factor in factors:
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
            both = other.atom.kind is AtomKind.CONSTANT and other.atom.name in MASKS
            if both and other.labels == factor.labels and other.atom.name != factor.atom.name:
                delta = Factor(Atom(AtomKind.DELTA, "", factor.atom.axes, symmetric=True), (a, b))
                return Rewritten([*_without(rest, other), delta])
    return None


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


def argument_of(atom: Atom, name: str) -> Poly | None:
    """The argument, if the atom is the matrix function of that name."""
    return atom.arguments[0] if atom.kind is AtomKind.MATRIX and atom.name == name else None


def is_function(atom: Atom, name: str) -> bool:
    """Whether an atom is the scalar function of that name."""
    return atom.kind is AtomKind.FUNCTION and atom.name == name


# -- rows of the table -------------------------------------------------------------------------------------


def _identities(context: Context, factors: list[Factor], rank: int) -> Rewritten | None:
    """The first row of the table of identities whose left side is part of the product."""
    heads = {head_of(factor.atom) for factor in factors}
    for pattern in patterns():
        if pattern.heads <= heads and (context.expand or not pattern.expanded):
            for match in matches(pattern, factors, rank):
                found = _replaced(context, pattern, match, factors)
                if found is not None:
                    return found
    return None


def _replaced(context: Context, pattern: Pattern, match: Match, factors: list[Factor]) -> Rewritten | None:
    """The right side in place of what the left side matched, as often as it stands in the product."""
    value = built(context, pattern.right, match)
    chosen = {id(factor): own.exponent for factor, own in match.chosen}
    kept = [Factor(f.atom, f.labels, f.exponent - match.turns * chosen.get(id(f), 0)) for f in factors]
    kept = [f for f in kept if f.exponent]
    places = {k: match.labels[k] for k in range(pattern.right.rank)}
    if len(value.terms) != 1:
        content, group = context.group(value)
        made = [Factor(group, tuple(places.values()), match.turns)]
    else:
        [term] = value.terms
        content = term.coefficient
        top = 1 + max((x for f in factors for x in f.labels), default=0)
        names = {x: top + x for f in term.factors for x in f.labels} | places
        made = [Factor(f.atom, f.labels, f.exponent * match.turns).relabelled(names) for f in term.factors]
    if content != 1 and match.turns.denominator != 1:
        return None
    gone = tuple(match.labels[k] for k in pattern.summed)
    return Rewritten([*kept, *made], content ** int(match.turns) if content != 1 else Fraction(1), gone)


RULES: tuple[Rule, ...] = (_masks, _delta, _unit, _gaps, _identities)
