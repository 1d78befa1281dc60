"""Endings of derivatives of order three and more: dense arrays, the diagonal, values at positions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nablax.contraction.index import Positions, fresh, on_grid
from nablax.contraction.rates import Rates
from nablax.contraction.term import Factor, Term, elements, within
from nablax.endings.coordinates import gathered_at
from nablax.endings.dense import summed
from nablax.endings.positions import Space, ravelled
from nablax.endings.runs import Coordinates
from nablax.endings.symmetric import by_blocks
from nablax.graph.contraction_rows import relabelled
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm
from nablax.graph.sums import cheaper
from nablax.sweeps.order_k import Orbit, Places, Tensor, Turn


@dataclass(frozen=True, eq=False, slots=True)
class Sites:
    """Values of a sparse tensor and where they stand.

    Args:
        values: node of the values, one axis.
        positions: an index of the ravelled argument for each value (rows) and each slot (columns); sorted, distinct.
    """

    values: Node
    positions: npt.NDArray[np.int64]


def dense_tensor(
    graph: Graph, orbits: Sequence[Orbit], opened: Sequence[int], slots: Sequence[Node], rates: Rates
) -> Node:
    """A block as one array.

    What a sum makes is multiplied once for each orbit, and its permutations are transposes; products without a sum
    cost no more than their transposes, and XLA adds them in one pass.

    Args:
        graph: makes the nodes.
        orbits: the block.
        opened: shape of the open axes.
        slots: the leaf of each slot.
        rates: of the machine.

    Returns:
        One node, axes (open, slot, slot, …).
    """
    before = graph.count
    whole = _as_orbits(graph, orbits, opened, slots, rates)
    terms = [term for orbit in orbits for term in orbit.terms()]
    if not any(term.summed_labels for term in terms):
        return whole
    dtype = slots[0].dtype
    blocked = by_blocks(graph, terms, opened, slots, lambda own, shape: summed(graph, own, shape, dtype, rates))
    return whole if blocked is None else cheaper(blocked, whole, before, rates)


def _as_orbits(
    graph: Graph, orbits: Sequence[Orbit], opened: Sequence[int], slots: Sequence[Node], rates: Rates
) -> Node:
    dtype = slots[0].dtype
    shape = (*opened, *(n for leaf in slots for n in leaf.shape))
    plain: list[NodeTerm] = []
    moved: dict[tuple[tuple[Turn, float], ...], list[NodeTerm]] = {}
    for orbit in orbits:
        if len(orbit.turns) > 1 and orbit.term.summed_labels:
            moved.setdefault(tuple(sorted(orbit.turns.items())), []).append(orbit.term)
        else:
            plain += orbit.terms()
    parts = [summed(graph, plain, shape, dtype, rates)] if plain else []
    for turns, terms in moved.items():
        whole = summed(graph, terms, shape, dtype, rates)
        axes = fresh(shape)
        first = len(opened)
        groups = []
        for leaf in slots:
            groups.append(axes[first : first + len(leaf.shape)])
            first += len(leaf.shape)
        for turn, times in turns:
            target = (*axes[: len(opened)], *(index for k in turn for index in groups[k]))
            part = Term(times, (Factor(whole, axes),), (target,))
            parts.append(graph.multiply(part, dtype))
    return graph.add(parts) if parts else graph.full(0.0, shape, dtype)


def turned_block(graph: Graph, array: Node, opened: int, ranks: Sequence[int], turn: Turn) -> Node:
    """An array with the axes of its slots permuted.

    Args:
        graph: makes the node.
        array: axes (open, slot, slot, …).
        opened: number of open axes.
        ranks: number of axes of each slot.
        turn: slot turn[i] of the array becomes slot i.
    """
    axes = fresh(array.shape)
    starts = [opened, *(opened + end for end in itertools.accumulate(ranks))]
    groups = [axes[starts[k] : starts[k + 1]] for k in range(len(ranks))]
    return relabelled(graph, array, axes, (*axes[:opened], *(index for k in turn for index in groups[k])))


def diagonal_of(graph: Graph, orbits: Iterable[Orbit], leaf: Node, rates: Rates) -> Node:
    """The diagonal of a block between one leaf and itself."""
    joined = (orbit.diagonal() for orbit in orbits)
    return summed(graph, [term for term in joined if term is not None], leaf.shape, leaf.dtype, rates)


def held_by(tensor: Tensor, slots: Sequence[Node]) -> int:
    """Values that a tensor's terms hold, over all orders of the slots; at most those of the dense tensor."""
    total = 0
    for places, orbits in tensor.items():
        size = math.prod(slots[k].size for k in places)
        own = sum(elements(orbit.term.open_labels) * len(orbit.turns) for orbit in orbits)
        total += min(own, size) * _arrangements(places)
    return total


def _arrangements(places: Places) -> int:
    count = math.factorial(len(places))
    for k in set(places):
        count //= math.factorial(places.count(k))
    return count


def sites(graph: Graph, tensor: Tensor, slots: Sequence[Node], dtype: Any) -> Sites:
    """All blocks as values at distinct positions of the tensor over the ravelled argument.

    Args:
        graph: makes the values.
        tensor: blocks without open axes.
        slots: the leaves asked about.
        dtype: dtype of the values.
    """
    space = Space.of(slots)
    listed: list[tuple[NodeTerm, Positions]] = []
    for places, orbits in tensor.items():
        for turn in distinct_arrangements(places):
            for orbit in orbits:
                for term in orbit.terms():
                    whole = within(term)
                    if whole is None or elements(whole.open_labels) == 0:
                        continue
                    listed.append((whole, _placed(whole, space, places, turn)))
    order = len(next(iter(tensor))) if tensor else 0
    if not listed:
        return Sites(graph.full(0.0, (0,), dtype), np.zeros((0, order), np.int64))
    stacked = np.concatenate([at for _, at in listed], axis=0)
    codes = _codes(stacked, space.size)
    starts = np.cumsum([0, *(at.shape[0] for _, at in listed)])
    found: Coordinates = gathered_at(
        graph,
        [(term, codes[starts[k] : starts[k + 1]]) for k, (term, _) in enumerate(listed)],
        dtype,
    )
    first = np.zeros(int(np.max(codes)) + 1, np.int64)
    first[codes] = np.arange(codes.size)
    return Sites(found.values, stacked[first[found.positions]])


def distinct_arrangements(places: Places) -> list[Turn]:
    """One permutation of the slots for each different order of their leaves."""
    found: dict[Places, Turn] = {}
    for turn in itertools.permutations(range(len(places))):
        found.setdefault(tuple(places[k] for k in turn), turn)
    return list(found.values())


def _placed(term: NodeTerm, space: Space, places: Places, turn: Turn) -> Positions:
    """The position of each value in each slot, slots in the order of a turn."""
    labels = term.open_labels
    shape = [label.size for label in labels]
    columns = []
    for k in turn:
        at = on_grid(ravelled(term.sides[1 + k], space, places[k]), labels)
        columns.append(np.broadcast_to(at, shape).ravel())
    return np.stack(columns, axis=-1)


def _codes(positions: Positions, size: int) -> Positions:
    """A number for each distinct row of positions, in their order; n^k itself may be more than an integer holds."""
    codes = positions[:, 0]
    for column in range(1, positions.shape[1]):
        _, codes = np.unique(codes * np.int64(max(size, 1)) + positions[:, column], return_inverse=True)
    if positions.shape[1] == 1:
        _, codes = np.unique(codes, return_inverse=True)
    return codes.ravel()


def turn_to(sorted_places: Places, places: Places) -> Turn:
    """The permutation that makes a tuple of leaves of its rising order."""
    free = list(range(len(places)))
    turn = []
    for wanted in places:
        k = next(k for k in free if sorted_places[k] == wanted)
        free.remove(k)
        turn.append(k)
    return tuple(turn)
