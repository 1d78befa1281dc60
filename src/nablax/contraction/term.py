"""Terms: a coefficient times a product of labelled factors, with sides. The algebra of cores and legs.

A leg, a core, a local Jacobian and an answer are all terms; they differ in what their sides mean.
A label that two sides carry is a Kronecker delta; a label that stands in no factor is a vector of ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from nablax.contraction.index import Index, Label, Substitution, along, inside, solve, substitute
from nablax.effort import in_time, spend


class Operand(Protocol):
    """Anything with a shape that can stand in a product."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Elements along each axis."""
        ...


O = TypeVar("O", bound=Operand)
Axes = tuple[Index, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Factor(Generic[O]):
    """An operand whose axes are indexed.

    Args:
        operand: the array-like thing.
        axes: one index per axis of the operand.
    """

    operand: O
    axes: Axes

    @property
    def labels(self) -> tuple[Label, ...]:
        """The labels of the axes, each once, in order of appearance."""
        return _labels(self.axes)


@dataclass(frozen=True, eq=False, slots=True)
class Term(Generic[O]):
    """``coefficient * product(factors)``, summed over every label that stands on no side.

    Args:
        coefficient: a number.
        factors: the factors.
        sides: groups of axes; their order has the meaning that the user of the term gives it
            (a leg: core side, node side).
    """

    coefficient: float
    factors: tuple[Factor[O], ...]
    sides: tuple[Axes, ...]

    @property
    def open_labels(self) -> tuple[Label, ...]:
        """Labels that stand on a side, each once, in order of appearance."""
        return _labels(index for side in self.sides for index in side)

    @property
    def factor_labels(self) -> tuple[Label, ...]:
        """Labels that stand in a factor, each once, in order of appearance."""
        return _labels(index for factor in self.factors for index in factor.axes)

    @property
    def summed_labels(self) -> tuple[Label, ...]:
        """Labels that stand in a factor and on no side."""
        opened = set(self.open_labels)
        return tuple(label for label in self.factor_labels if label not in opened)

    def replace(
        self,
        *,
        coefficient: float | None = None,
        factors: Iterable[Factor[O]] | None = None,
        sides: Iterable[Axes] | None = None,
    ) -> Term[O]:
        """The term with some parts exchanged."""
        return Term(
            self.coefficient if coefficient is None else coefficient,
            self.factors if factors is None else tuple(factors),
            self.sides if sides is None else tuple(sides),
        )

    def substitute(self, values: Substitution) -> Term[O]:
        """The term with labels replaced by indices, in factors and on sides."""
        if not values:
            return self
        factors = tuple(Factor(f.operand, _substitute_axes(f.axes, values)) for f in self.factors)
        return Term(self.coefficient, factors, tuple(_substitute_axes(side, values) for side in self.sides))

    def renamed(self) -> Term[O]:
        """The same term with new labels, so that it can be multiplied with another use of itself."""
        labels = dict.fromkeys((*self.open_labels, *self.factor_labels))
        return self.substitute({label: along(Label(label.size)) for label in labels})

    def key(self, identify: Callable[[O], object]) -> tuple[object, ...]:
        """A hashable value, equal for terms that differ in the names of labels and the coefficient only.

        Args:
            identify: gives a hashable value for an operand.
        """
        number: dict[Label, int] = {}
        for label in (*self.open_labels, *self.factor_labels):
            number.setdefault(label, len(number))
        factors = tuple((identify(f.operand), tuple(i.key(number) for i in f.axes)) for f in self.factors)
        sides = tuple(tuple(i.key(number) for i in side) for side in self.sides)
        return (tuple(label.size for label in number), factors, sides)


def compose(a: Term[O], side_a: int, b: Term[O], side_b: int) -> Term[O] | None:
    """Multiply two terms over one side of each: the matrix product of labelled networks.

    Args:
        a: the left term.
        side_a: which of its sides is summed over.
        b: the right term; its labels are renamed.
        side_b: which of its sides is summed over; same axes as `side_a`.

    Returns:
        The term with the remaining sides of `a`, then those of `b`; None where the product is zero because
        the static index maps never meet.
    """
    spend(0.1)
    in_time()
    b = b.renamed()
    found = solve(zip(a.sides[side_a], b.sides[side_b], strict=True))
    if found is None:
        return None
    met = a.sides[side_a] + b.sides[side_b]
    sides = _without(a.sides, side_a) + _without(b.sides, side_b)
    product = Term(a.coefficient * b.coefficient, a.factors + b.factors, sides).substitute(found)
    return _count_ones(product, _surviving(met, found))


def join_sides(term: Term[O], kept: int, dropped: int) -> Term[O] | None:
    """Set two sides equal: the diagonal of a term. The side `dropped` disappears, the side `kept` stays."""
    found = solve(zip(term.sides[kept], term.sides[dropped], strict=True))
    if found is None:
        return None
    joined = term.replace(sides=_without(term.sides, dropped)).substitute(found)
    return _count_ones(joined, _surviving(term.sides[kept] + term.sides[dropped], found))


def sum_side(term: Term[O], side: int) -> Term[O]:
    """Sum over all labels of one side; with `join_sides` first this is the trace."""
    return _count_ones(term.replace(sides=_without(term.sides, side)), _labels(term.sides[side]))


def swap_sides(term: Term[O], a: int, b: int) -> Term[O]:
    """Exchange two sides: the transpose."""
    sides = list(term.sides)
    sides[a], sides[b] = sides[b], sides[a]
    return term.replace(sides=sides)


def within(term: Term[O]) -> Term[O] | None:
    """The term with sides that stay inside their axes: labels run over the places there; None if there are none."""
    while True:
        outside = next((index for side in term.sides for index in side if index.leaves), None)
        if outside is None:
            return term
        found = inside(outside)
        if found is None:
            return None
        term = term.substitute(found)


def identity(axes: Axes) -> Term[O]:
    """The identity from axes to themselves: no factors, the same labels on both sides."""
    return Term(1.0, (), (axes, axes))


def collect_like(terms: Iterable[Term[O]], identify: Callable[[O], object]) -> list[Term[O]]:
    """Add the coefficients of terms that are equal otherwise; terms with coefficient zero vanish."""
    found: dict[tuple[object, ...], Term[O]] = {}
    for term in terms:
        key = term.key(identify)
        if key in found:
            first = found[key]
            found[key] = first.replace(coefficient=first.coefficient + term.coefficient)
        else:
            found[key] = term
    return [term for term in found.values() if term.coefficient != 0.0]


class Labelled(Protocol):
    """Anything that carries labels."""

    @property
    def labels(self) -> tuple[Hashable, ...]:
        """The labels of its axes."""
        ...


def connected(factors: Sequence[Labelled], through: Iterable[Hashable]) -> Iterator[tuple[int, ...]]:
    """Groups of positions of factors that are connected through the given labels."""
    links = set(through)
    groups: list[tuple[set[Hashable], list[int]]] = []
    for position, factor in enumerate(factors):
        labels = links & set(factor.labels)
        members = [position]
        apart = []
        for group in groups:
            if group[0] & labels:
                labels |= group[0]
                members += group[1]
            else:
                apart.append(group)
        groups = [*apart, (labels, members)]
    for _, members in groups:
        yield tuple(sorted(members))


def elements(labels: Iterable[Label]) -> int:
    """Number of elements of an array over distinct labels."""
    return math.prod(label.size for label in set(labels))


def _labels(indices: Iterable[Index]) -> tuple[Label, ...]:
    return tuple(dict.fromkeys(label for index in indices for label in index.labels))


def _substitute_axes(axes: Axes, values: Substitution) -> Axes:
    return tuple(substitute(index, values) for index in axes)


def _without(sides: tuple[Axes, ...], dropped: int) -> tuple[Axes, ...]:
    return sides[:dropped] + sides[dropped + 1 :]


def _surviving(axes: Axes, found: Substitution) -> tuple[Label, ...]:
    """The labels that run over the solutions of an equation between axes.

    An axis may depend on none of them any more (a table of equal positions is a constant), but each solution counts.
    """
    new = _labels(found[label] for label in _labels(axes) if label in found)
    return tuple(dict.fromkeys((*new, *(label for label in _labels(axes) if label not in found))))


def _count_ones(term: Term[O], closed: Iterable[Label]) -> Term[O]:
    """Multiply by the size of every label of `closed` that is left nowhere: a sum of ones."""
    left = {*term.open_labels, *term.factor_labels}
    lost = [label for label in closed if label not in left]
    return term.replace(coefficient=term.coefficient * elements(lost)) if lost else term
