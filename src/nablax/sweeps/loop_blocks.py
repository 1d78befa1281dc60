"""Blocks on what goes into a loop and comes out of it: how they arrive from above, are stored, and reach leaves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nablax.contraction.block import COLUMNS, ROWS, Block, Share
from nablax.contraction.index import Index, affine, fresh
from nablax.contraction.rates import Rates
from nablax.contraction.term import Axes, Factor, Term, compose, identity, swap_sides
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm, reachable
from nablax.graph.sums import add_up_moved
from nablax.ops.kinds import Call, Packed
from nablax.sweeps.asked import Asked
from nablax.sweeps.eliminate import Elimination
from nablax.sweeps.frontier import Frontier
from nablax.sweeps.parts import positions_of

Pair = tuple[int, int]
Ties = frozenset[Pair]  # axes of a row side and a column side that are equal: one block for each element along them


# -- blocks between two sides, stored without what their ties repeat --------------------------------


def tied(term: NodeTerm) -> Ties:
    """Axes of rows and columns that a term keeps equal."""
    rows, columns = term.sides[ROWS], term.sides[COLUMNS]
    return frozenset(
        (i, i)
        for i, (a, b) in enumerate(zip(rows, columns, strict=False))
        if a.label is not None and a.label is b.label
    )


def common(terms: Sequence[NodeTerm]) -> Ties:
    """Axes of rows and columns that all terms keep equal."""
    return frozenset.intersection(*(tied(term) for term in terms))


def all_tied(row: Sequence[int], column: Sequence[int]) -> Ties:
    return frozenset((i, i) for i, (a, b) in enumerate(zip(row, column, strict=False)) if a == b)


def _sides(row: Sequence[int], column: Sequence[int], ties: Ties) -> tuple[Axes, Axes, Axes]:
    """Row axes, column axes, and the axes of the array that stores a block."""
    rows = fresh(row)
    place = {j: i for i, j in ties}
    columns = tuple(rows[place[j]] if j in place else index for j, index in enumerate(fresh(column)))
    return rows, columns, (*rows, *(index for j, index in enumerate(columns) if j not in place))


def stored_shape(row: Sequence[int], column: Sequence[int], ties: Ties) -> tuple[int, ...]:
    """Shape of the array that stores a block."""
    return tuple(index.extent for index in _sides(row, column, ties)[2])


def stored(term: NodeTerm, ties: Ties) -> NodeTerm:
    """A term with the axes of the array that stores it, open axes first."""
    place = {j for _, j in ties}
    columns = tuple(index for j, index in enumerate(term.sides[COLUMNS]) if j not in place)
    return term.replace(sides=((*term.sides[0], *term.sides[ROWS], *columns),))


def as_term(array: Node, row: Sequence[int], column: Sequence[int], ties: Ties) -> NodeTerm:
    """The block that an array stores, sides (no open axes, rows, columns)."""
    rows, columns, axes = _sides(row, column, ties)
    return Term(1.0, (Factor(array, axes),), ((), rows, columns))


def as_array(
    graph: Graph,
    block: Block[Node],
    row: Sequence[int],
    column: Sequence[int],
    ties: Ties,
    dtype: Any,
    rates: Rates,
    before: int | None = None,
) -> Node:
    """A block as the array that stores it; nodes with smaller numbers than `before` are there already."""
    shape = stored_shape(row, column, ties)
    wholes = [part.term for part in block.parts if part.share is not Share.HALF]
    halves = [part.term for part in block.parts if part.share is Share.HALF]
    if halves:
        half = add_up_moved(graph, [stored(term, ties) for term in halves], shape, dtype, rates, before)
        turned = as_term(half, row, column, ties)
        wholes += [turned, swap_sides(turned, ROWS, COLUMNS)]
    return add_up_moved(graph, [stored(term, ties) for term in wholes], shape, dtype, rates, before)


# -- what arrives from above -------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Arrival:
    """Cores on the result of a loop, read as blocks on its outputs.

    Args:
        terms: for each pair of outputs of the body terms with sides (turns, rows, columns); those of carried values
            have no turns: the last turn's are meant.
        cores: numbers of the cores that are read.
    """

    terms: Mapping[Pair, tuple[NodeTerm, ...]]
    cores: tuple[int, ...]


def arrive(call: Call, node: Node, frontier: Frontier, settled: frozenset[Node], asked: Asked) -> Arrival:
    """The cores on a loop's result that can go through it as blocks; the others stay legs."""
    found: dict[Pair, list[NodeTerm]] = {}
    taken = []
    for number in frontier.on(node):
        core = frontier.cores[number]
        nodes = core.nodes()
        if nodes - settled != {node} or any(asked.couples(x, node) for x in nodes & settled):
            continue
        read = [_on_outputs(call, node, term) for term in core.block(node, node).terms()]
        if all(one is not None for one in read):
            taken.append(number)
            for pair, term in (one for some in read if some is not None for one in some):
                found.setdefault(pair, []).append(term)
    return Arrival({pair: tuple(terms) for pair, terms in found.items()}, tuple(taken))


def _on_outputs(call: Call, node: Node, term: NodeTerm) -> list[tuple[Pair, NodeTerm]] | None:
    """A term on the packed result as a term on two outputs; None where it lies on several, or couples two turns."""
    assert call.loop is not None
    places = []
    for side in (ROWS, COLUMNS):
        held = [p for p in call.packed if len(call.packed) == 1 or _lies_in(term.sides[side][0], p)]
        if len(held) != 1:
            return None
        places.append(held[0])
    if len(call.packed) > 1:
        for place in places:  # the side that is taken away comes back as the last one
            part = compose(term, ROWS, _part(place, node.size), 0)
            if part is None:
                return []
            term = part
    row, column = (place.output for place in places)
    opened, rows, columns = term.sides
    stacked = [place.output >= call.loop.carried for place in places]
    if stacked[0] is not stacked[1]:
        return None
    if stacked[0]:
        if not _same(rows[0], columns[0]):
            return None
        opened, rows, columns = (rows[0],), rows[1:], columns[1:]
    if row > column:  # the transpose is among the terms as well
        return []
    return [((row, column), term.replace(sides=(opened, rows, columns)))]


def _lies_in(index: Index, place: Packed) -> bool:
    positions = index.positions().ravel()
    end = place.start + math.prod(place.shape)
    return bool(np.all((positions >= place.start) & (positions < end)))


def _part(place: Packed, size: int) -> NodeTerm:
    """Where an output lies in the packed result, sides (axis of the result, axes of the output)."""
    axes = fresh(place.shape)
    strides, step = [], 1
    for extent in reversed(place.shape):
        strides.append(step)
        step *= extent
    pairs = [(index.labels[0], stride) for index, stride in zip(axes, reversed(strides), strict=True)]
    return Term(1.0, (), ((affine(pairs, place.start, size),), axes))


def _same(a: Index, b: Index) -> bool:
    """Whether two indices are the same function of the same labels."""
    number = {label: k for k, label in enumerate(dict.fromkeys((*a.labels, *b.labels)))}
    return a.key(number) == b.key(number)


# -- what reaches the leaves by moves alone -----------------------------------------------------------


def reached(sweep: Elimination, node: Node) -> dict[Node, Any] | None:
    """For each leaf the flat positions of its elements that a settled node holds, each at one place.

    None where an element of a leaf stands at several places: then a diagonal of the node is not one of the leaf.
    """
    if node not in sweep.last:
        return None
    legs: dict[Node, list[NodeTerm]] = {node: [identity(fresh(node.shape))]}
    found: dict[Node, Any] = {}
    for x in reversed(reachable([node])):
        for leg in legs.pop(x, []):
            if x in sweep.leaves:
                positions = _positions(leg, x)
                if positions is None or x in found:
                    return None
                found[x] = positions
                continue
            for source, terms in (sweep.jacobian(x) or {}).items():
                parts = [compose(leg, 1, term, 0) for term in terms]
                legs.setdefault(source, []).extend(part for part in parts if part is not None)
    return found


def _positions(leg: NodeTerm, leaf: Node) -> Any:
    rows = {label for index in leg.sides[0] for label in index.labels}
    labels = {label for index in leg.sides[1] for label in index.labels}
    if not rows <= labels or math.prod(label.size for label in labels) > leaf.size:
        return None
    flat = positions_of(leg, leaf)
    return flat if flat is not None and np.unique(flat).size == flat.size else None
