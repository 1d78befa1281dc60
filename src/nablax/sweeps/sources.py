"""What turns do to later ones: from which values the Jacobian of a later turn is pushed on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from nablax.contraction.index import Index, Label, affine, along, fresh
from nablax.contraction.term import Axes, Factor, Term, identity
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm, identify
from nablax.sweeps.handed_over import Kept
from nablax.sweeps.loop_blocks import Pair, Ties, all_tied, as_term, common


@dataclass(frozen=True, eq=False)
class Source:
    """Values of a turn through which its entries reach later turns: what the turn carries on, or entries themselves.

    Args:
        shape: of the value.
        begun: for each carried value its Jacobian when the turn is over, sides (no open axes, carried value, source).
        legs: for each entry, sides (source, entry).
    """

    shape: tuple[int, ...]
    begun: Mapping[int, tuple[NodeTerm, ...]]
    legs: Mapping[int, tuple[NodeTerm, ...]]


@dataclass(frozen=True, eq=False)
class Sources:
    """All sources of a turn, with the ties of the Jacobians of carried values in them.

    Args:
        kept: what a turn hands over.
        each: the sources.
    """

    kept: Kept
    each: tuple[Source, ...]

    @cached_property
    def ties(self) -> dict[Pair, Ties]:
        """For each carried value and source."""
        begun = {
            (k, s): common(terms) & all_tied(self.kept.carried[k].shape, source.shape)
            for s, source in enumerate(self.each)
            for k, terms in source.begun.items()
        }
        return self.kept.pushed(begun)

    @property
    def size(self) -> int:
        """Elements of the Jacobians of one turn."""
        shapes = (
            stack_shape(self.kept.carried[k].shape, self.each[s].shape, ties, 1) for (k, s), ties in self.ties.items()
        )
        return sum(math.prod(shape) for shape in shapes)


def sources_of(kept: Kept) -> Sources:
    """Carried values or entries, whichever leaves fewer elements to push through every later turn.

    A gate enters what is carried element by element: the Jacobian in what is carried serves all gates, each of which
    scales it by a vector.
    """
    return min((Sources(kept, _carried(kept)), Sources(kept, _entries(kept))), key=lambda found: found.size)


def _carried(kept: Kept) -> tuple[Source, ...]:
    found = []
    for x, leaf in kept.carried.items():
        legs = {j: kept.to_entry(x, j) for j in range(len(kept.turn.entries))}
        one: NodeTerm = identity(fresh(leaf.shape))
        bound = {j: _bound(kept.turn.graph, terms) for j, terms in legs.items() if terms}
        found.append(Source(leaf.shape, {x: (_opened(one),)}, bound))
    return tuple(found)


def _bound(graph: Graph, legs: Sequence[NodeTerm]) -> tuple[NodeTerm, ...]:
    """Legs to equal parts of an entry, one after the other (the gates of a recurrent unit), as one leg.

    Each of them would be multiplied with the Jacobians of all turns for itself; together they are a matrix.
    """
    groups: dict[tuple[object, ...], list[tuple[int, NodeTerm]]] = {}
    for place, leg in enumerate(legs):
        moved = [index for index in leg.sides[1] if index.label is None]
        alone = len(leg.factors) == len(moved) == 1 and moved[0].table is None and not moved[0].leaves
        bare = alone and all(index.label is not None for index in (*leg.sides[0], *leg.factors[0].axes))
        offset = moved[0].offset if bare else 0
        sides = (leg.sides[0], tuple(replace(i, offset=0) if i.label is None else i for i in leg.sides[1]))
        shape = leg.factors[0].operand.shape if bare else place
        pattern = Term(leg.coefficient, (), (*sides, leg.factors[0].axes if bare else ())).key(identify)
        groups.setdefault((pattern, shape, leg.coefficient), []).append((offset, leg))
    return tuple(leg for group in groups.values() for leg in _in_a_row(graph, group))


def _in_a_row(graph: Graph, group: Sequence[tuple[int, NodeTerm]]) -> Sequence[NodeTerm]:
    """Legs that differ in their operand and the offset of one axis; one leg where the offsets are equally far apart."""
    offsets, legs = zip(*sorted(group, key=lambda pair: pair[0]), strict=True)
    steps = {b - a for a, b in pairwise(offsets)}
    if len(steps) != 1 or 0 in steps:
        return legs
    count, first = len(legs), legs[0]
    part = Label(count)
    [axis] = [k for k, index in enumerate(first.sides[1]) if index.label is None]
    index = first.sides[1][axis]
    [step] = steps
    whole = affine([(part, step), *zip(index.labels, index.strides, strict=True)], offsets[0], index.extent)
    [factor] = first.factors
    shape = factor.operand.shape
    placed = []
    for k, leg in enumerate(legs):
        axes = fresh(shape)
        placed.append(Term(1.0, (Factor(leg.factors[0].operand, axes),), ((affine((), k, count), *axes),)))
    array = graph.sum_of(placed, (count, *shape), factor.operand.dtype)
    columns = tuple(whole if k == axis else one for k, one in enumerate(first.sides[1]))
    return [first.replace(factors=[Factor(array, (along(part), *factor.axes))], sides=(first.sides[0], columns))]


def _entries(kept: Kept) -> tuple[Source, ...]:
    found = []
    for place in dict.fromkeys(kept.alike):
        shape = kept.turn.entries[place].leaf.shape
        begun = {k: tuple(_opened(leg) for leg in kept.to_entry(k, place)) for k in kept.carried}
        legs: dict[int, tuple[NodeTerm, ...]] = {
            j: (identity(fresh(shape)),) for j, first in enumerate(kept.alike) if first == place
        }
        found.append(Source(shape, {k: terms for k, terms in begun.items() if terms}, legs))
    return tuple(found)


def _opened(leg: NodeTerm) -> NodeTerm:
    return leg.replace(sides=((), *leg.sides))


# -- how the Jacobians of several turns are stored ------------------------------------------------------
#
# Axes that are tied first, then those of the source, then the turn, those of the carried value last: a product with the
# Jacobian of a turn, and one with the blocks of a later turn, both read and write this order as it lies in memory.


def stack_axes(rows: Axes, turn: Index, columns: Axes, ties: Ties) -> Axes:
    """The axes of the array of one Jacobian for each turn, from those of its sides."""
    tied = {i for i, _ in ties}
    return (
        *(rows[i] for i in sorted(tied)),
        *(index for j, index in enumerate(columns) if j not in tied),
        turn,
        *(index for i, index in enumerate(rows) if i not in tied),
    )


def stack_shape(row: Sequence[int], column: Sequence[int], ties: Ties, count: int) -> tuple[int, ...]:
    """Shape of that array; the axis of the turns is the one after as many as a source has."""
    return tuple(index.extent for index in stack_axes(fresh(row), along(Label(count)), fresh(column), ties))


def stack_term(array: Node, row: Sequence[int], column: Sequence[int], ties: Ties, count: int) -> NodeTerm:
    """The Jacobians that such an array stores, sides (no open axes, carried value, turn and source)."""
    turn = along(Label(count))
    [_, rows, columns] = as_term(array, row, column, ties).sides
    return Term(1.0, (Factor(array, stack_axes(rows, turn, columns, ties)),), ((), rows, (turn, *columns)))


def on_stack(term: NodeTerm, ties: Ties) -> NodeTerm:
    """A term with those sides with the axes of such an array."""
    turn, *columns = term.sides[2]
    return term.replace(sides=(stack_axes(term.sides[1], turn, tuple(columns), ties),))
