"""Rows of the table of identities as patterns of labelled products, and where a product has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, cached_property
from itertools import permutations
from typing import TYPE_CHECKING

from nablax.derivation.identities import IDENTITIES, Stage, sides
from nablax.derivation.tensors import Atom, AtomKind, Factor, Monomial, Poly, collected, content
from nablax.formula import Operation, Typed
from nablax.notation import SIGNS

if TYPE_CHECKING:  # whose rules read the rows
    from nablax.derivation.algebra import Algebra

LENGTH = 2  # stands for every length in a pattern
TRAITS = {"P": {"orthogonal"}, "Q": {"orthogonal", "orthonormal"}}


@dataclass(frozen=True)
class Pattern:
    """A row.

    Args:
        left: factors on labels; those from `rank` on are summed.
        rank: number of axes.
        right: what stands in their place.
        expanded: whether it is for products that are multiplied out.
    """

    left: tuple[Factor, ...]
    rank: int
    right: Poly
    expanded: bool

    @cached_property
    def summed(self) -> tuple[int, ...]:
        """Labels over which is summed."""
        return tuple(sorted({x for f in self.left for x in f.labels if x >= self.rank}))

    @cached_property
    def heads(self) -> frozenset[tuple[AtomKind, str]]:
        """What a product needs to have for a match."""
        return frozenset(head_of(f.atom) for f in self.left if f.atom.kind is not AtomKind.LEAF)


def head_of(atom: Atom) -> tuple[AtomKind, str]:
    """What two atoms that match have alike."""
    return atom.kind, atom.name


@dataclass
class Match:
    """What the labels and variables of a pattern stand for.

    Args:
        labels: labels of the product.
        values: an array for each variable.
        chosen: factors of the product with those of the pattern.
        turns: how often the pattern stands in the product.
    """

    labels: dict[int, int] = field(default_factory=dict)
    values: dict[str, Poly] = field(default_factory=dict)
    chosen: list[tuple[Factor, Factor]] = field(default_factory=list)
    sizes: dict[int, int] = field(default_factory=dict)

    @property
    def turns(self) -> Fraction:
        return min(factor.exponent / own.exponent for factor, own in self.chosen)

    def copy(self) -> Match:
        """A match to be continued."""
        return Match(dict(self.labels), dict(self.values), list(self.chosen), dict(self.sizes))


@cache
def patterns() -> tuple[Pattern, ...]:
    """All rows that are for products."""
    found = []
    for row in IDENTITIES:
        if row.stage in (Stage.PRODUCT, Stage.EXPANDED):
            for left, right in sides(row):
                [term] = _poly(left.expression).terms
                # what binds variables comes first
                factors = sorted(
                    term.factors, key=lambda f: (f.atom.kind is AtomKind.LEAF, f.atom.kind is AtomKind.GROUP)
                )
                rank = len(left.expression.shape.axes)
                found.append(Pattern(tuple(factors), rank, _poly(right.expression), row.stage is Stage.EXPANDED))
    return tuple(found)


# -- formulas as patterns ----------------------------------------------------------------------------------


def _poly(node: Typed) -> Poly:
    """A formula as a sum of labelled products, nothing simplified."""
    axes = (LENGTH,) * len(node.shape.axes)
    labels = tuple(range(len(axes)))
    if node.value is not None:
        return Poly(axes, (Monomial(Fraction(node.value), ()),) if node.value else ())
    parts = [_poly(operand) for operand in node.operands]
    match node.operation, parts:
        case Operation.VARIABLE, _:
            return _single(Factor(Atom(AtomKind.LEAF, node.label, axes), labels), axes)
        case Operation.ADD, [a, b]:
            return collected(axes, [*a.terms, *b.terms])
        case Operation.SUBTRACT, [a, b]:
            return collected(axes, [*a.terms, *(Monomial(-t.coefficient, t.factors) for t in b.terms)])
        case Operation.NEGATE, [a]:
            return Poly(axes, tuple(Monomial(-t.coefficient, t.factors) for t in a.terms))
        case Operation.TRANSPOSE, [a]:
            return _product([(a, labels[::-1])], axes)
        case Operation.MULTIPLY, [a, b]:
            return _product([(a, labels[: a.rank]), (b, labels[: b.rank])], axes)
        case Operation.DIVIDE, [a, b]:
            return _product([(a, labels[: a.rank]), (_power(b, Fraction(-1)), labels[: b.rank])], axes)
        case Operation.POWER, [a, b] if b.constant is not None:
            return _power(a, Fraction(b.constant))
        case Operation.POWER, _:
            return _single(Factor(Atom(AtomKind.FUNCTION, "pow", axes, tuple(parts)), labels), axes)
        case Operation.OUTER, [a, b]:
            return _product([(a, (0,)), (b, (1,))], axes)
        case Operation.PRODUCT, [a, b]:
            inner = len(axes)
            return _product([(a, (*labels[: a.rank - 1], inner)), (b, (inner, *labels[a.rank - 1 :]))], axes)
        case Operation.COMPARE, _:
            return _single(Factor(Atom(AtomKind.FUNCTION, SIGNS[node.label], axes, tuple(parts)), labels), axes)
        case Operation.CALL, _:
            return _call(node, parts, axes)
        case _:
            raise AssertionError(node)


def _call(node: Typed, parts: Sequence[Poly], axes: tuple[int, ...]) -> Poly:
    labels = tuple(range(len(axes)))
    match node.label, parts:
        case "where", [condition, _, _]:  # of one and zero
            return condition
        case "sum", [a]:
            return _product([(a, tuple(range(a.rank)))], ())
        case (("vector" | "matrix"), [filling]):
            return Poly(axes, filling.terms)
        case "eye", _:
            return _single(Factor(Atom(AtomKind.DELTA, "", axes, symmetric=True), labels), axes)
        case ("inv" | "cholesky") as name, _:
            return _single(Factor(Atom(AtomKind.MATRIX, name, axes, tuple(parts)), labels), axes)
        case "exp", [a] if len(a.terms) == 1 and a.terms[0].coefficient == -1:
            turned = Poly(a.axes, (Monomial(Fraction(1), a.terms[0].factors),))
            return _single(Factor(Atom(AtomKind.FUNCTION, "exp", axes, (turned,)), labels, Fraction(-1)), axes)
        case name, _:
            name = "softmax_rows" if name == "softmax" and len(axes) == 2 else name
            return _single(Factor(Atom(AtomKind.FUNCTION, name, axes, tuple(parts)), labels), axes)


def _single(factor: Factor, axes: tuple[int, ...]) -> Poly:
    return Poly(axes, (Monomial(Fraction(1), (factor,)),))


def _power(p: Poly, exponent: Fraction) -> Poly:
    labels = tuple(range(p.rank))
    if len(p.terms) == 1 and len(p.terms[0].factors) == 1 and p.terms[0].factors[0].labels == labels:
        [factor] = p.terms[0].factors
        return _single(Factor(factor.atom, labels, factor.exponent * exponent), p.axes)
    return _single(Factor(Atom(AtomKind.GROUP, "", p.axes, (p,)), labels, exponent), p.axes)


def _product(parts: Sequence[tuple[Poly, tuple[int, ...]]], axes: tuple[int, ...]) -> Poly:
    """A labelled product; of a sum, the group is a factor."""
    factors: list[Factor] = []
    coefficient = Fraction(1)
    top = 10
    for p, labels in parts:
        if len(p.terms) > 1:
            [term] = _single(Factor(Atom(AtomKind.GROUP, "", p.axes, (p,)), tuple(range(p.rank))), p.axes).terms
        else:
            [term] = p.terms
        names = dict(enumerate(labels)) | {x: x + top for f in term.factors for x in f.labels if x >= p.rank}
        factors += [f.relabelled(names) for f in term.factors]
        coefficient *= Fraction(term.coefficient)
        top += 10
    summed = sorted({x for f in factors for x in f.labels if x >= len(axes)})
    numbers = {x: len(axes) + k for k, x in enumerate(summed)}
    return Poly(axes, (Monomial(coefficient, tuple(f.relabelled(numbers) for f in factors)),))


# -- matching ----------------------------------------------------------------------------------------------


def matches(pattern: Pattern, factors: Sequence[Factor], rank: int) -> Iterator[Match]:
    """Where a product has the left side of a row."""
    for match in _assigned(pattern.left, list(factors), Match()):
        own = [factor for factor, _ in match.chosen]
        if all(_settled(match.labels[k], own, factors, rank) for k in pattern.summed) and (
            not pattern.summed or all(factor.exponent == one.exponent for factor, one in match.chosen)
        ):
            yield match


def _settled(label: int, own: Sequence[Factor], factors: Sequence[Factor], rank: int) -> bool:
    """Whether a label is summed over and stands in no other factor."""
    inside, whole = (sum(f.labels.count(label) for f in group) for group in (own, factors))
    return label >= rank and inside == whole


def _assigned(left: Sequence[Factor], factors: list[Factor], match: Match) -> Iterator[Match]:
    if not left:
        yield match
        return
    first, *rest = left
    for factor in factors:
        ratio = factor.exponent / first.exponent
        if ratio > 0 and len(factor.labels) == len(first.labels):
            turned = [factor.labels, factor.labels[::-1]] if factor.atom.symmetric else [factor.labels]
            for labels in turned:
                found = match.copy()
                if _labelled(first, labels, factor, found) and _atom(first.atom, factor.atom, found):
                    found.chosen.append((factor, first))
                    yield from _assigned(rest, [one for one in factors if one is not factor], found)


def _labelled(pattern: Factor, labels: Sequence[int], factor: Factor, match: Match) -> bool:
    for own, label, size in zip(pattern.labels, labels, factor.atom.axes, strict=True):
        if match.labels.setdefault(own, label) != label:
            return False
        match.sizes[own] = size
    return True


def _atom(pattern: Atom, atom: Atom, match: Match) -> bool:
    if pattern.kind is AtomKind.LEAF:
        value = Poly(atom.axes, (Monomial(Fraction(1), (Factor(atom, tuple(range(len(atom.axes)))),)),))
        if atom.kind is AtomKind.GROUP:
            value = atom.arguments[0]
        if pattern.name in TRAITS and atom.trait not in TRAITS[pattern.name]:
            return False
        return match.values.setdefault(pattern.name, value) == value
    if head_of(pattern) != head_of(atom) or len(pattern.axes) != len(atom.axes):
        return False
    return all(_sum(one, other, match) for one, other in zip(pattern.arguments, atom.arguments, strict=True))


def _sum(pattern: Poly, p: Poly, match: Match) -> bool:
    """Whether a sum is an instance of another; a variable among its terms stands for all that is left."""
    alone = [t for t in pattern.terms if len(t.factors) == 1 and t.factors[0].atom.kind is AtomKind.LEAF]
    others = [t for t in pattern.terms if t not in alone]
    left = list(p.terms)
    for term in [t for t in others if not t.factors]:
        number = next((t for t in left if not t.factors), None)
        if number is None or not 0 < term.coefficient / number.coefficient <= 1:
            return False
        left.remove(number)
        if number.coefficient != term.coefficient:
            if not alone:
                return False
            left.append(Monomial(number.coefficient - term.coefficient, ()))
    others = [t for t in others if t.factors]
    if alone:
        [variable] = alone
        if others:
            return False
        if len(pattern.terms) == 1 and variable.coefficient < 0 < content(p):  # −u is what is written with a minus
            return False
        value = Poly(p.axes, tuple(Monomial(t.coefficient / variable.coefficient, t.factors) for t in left))
        return match.values.setdefault(variable.factors[0].atom.name, value) == value
    if len(others) != len(left):
        return False
    return any(all(_term(a, b, match) for a, b in zip(others, order, strict=True)) for order in permutations(left))


def _term(pattern: Monomial, term: Monomial, match: Match) -> bool:
    """Whether a product inside a sum is an instance of another; its labels are its own."""
    if pattern.coefficient != term.coefficient or len(pattern.factors) != len(term.factors):
        return False
    inside = Match(values=match.values)
    for one, other in zip(pattern.factors, term.factors, strict=True):
        same = one.exponent == other.exponent and len(one.labels) == len(other.labels)
        if not same or not _labelled(one, other.labels, other, inside) or not _atom(one.atom, other.atom, inside):
            return False
    return all(own == label for own, label in inside.labels.items() if own < 2 or label < 2)


# -- building ----------------------------------------------------------------------------------------------


def built(algebra: Algebra, pattern: Poly, match: Match, axes: Mapping[int, int] | None = None) -> Poly:
    """An instance of a sum, made by an algebra."""
    sizes = match.sizes if axes is None else axes
    shape = tuple(sizes[k] for k in range(pattern.rank))
    terms = [Poly(shape, ())]
    for term in pattern.terms:
        parts = []
        for factor in term.factors:
            own = {k: sizes.get(x, 0) for k, x in enumerate(factor.labels)}
            parts.append((algebra.power(_instance(algebra, factor.atom, match, own), factor.exponent), factor.labels))
        terms.append(algebra.product(parts, tuple(range(pattern.rank)), dict(enumerate(shape)), term.coefficient))
    return algebra.add(terms)


def _instance(algebra: Algebra, atom: Atom, match: Match, axes: Mapping[int, int]) -> Poly:
    if atom.kind is AtomKind.LEAF:
        return match.values[atom.name]
    if atom.kind is AtomKind.DELTA:
        return algebra.delta(axes[0])
    arguments = tuple(built(algebra, argument, match, axes) for argument in atom.arguments)
    if atom.kind is AtomKind.GROUP:
        return arguments[0]
    shape = max((p.axes for p in arguments), key=len)
    arguments = tuple(algebra.broadcast(p, shape) for p in arguments)
    symmetric = len(shape) == 2 and shape[0] == shape[1] and algebra.is_symmetric(arguments[0])
    return algebra.atom(Atom(atom.kind, atom.name, shape, arguments, symmetric))
