"""Values one after the other, with a static place for each: what terms of a sparse answer are written as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nablax.contraction.index import Label, Positions, affine, along, tabulated
from nablax.endings.pattern import Grid, Pattern
from nablax.graph.graph import Graph
from nablax.graph.node import Node
from nablax.ops.kinds import AxesMap


@dataclass(frozen=True, eq=False, slots=True)
class Coordinates:
    """Values and where they go.

    Args:
        values: node of the values, one axis.
        pattern: place of each value in the flattened answer; all distinct.
    """

    values: Node
    pattern: Pattern

    @property
    def positions(self) -> Positions:
        """The places, written out."""
        return self.pattern.positions


@dataclass(frozen=True, eq=False, slots=True)
class Run:
    """One value per point of a grid of labels, at an affine place each, or at tabulated places.

    Args:
        value: node with one axis per label.
        sizes: elements per label.
        start: place of the first value (affine).
        strides: step in place per label (affine), largest first.
        places: tabulated places; None where they are affine.
    """

    value: Node
    sizes: tuple[int, ...]
    start: int
    strides: tuple[int, ...]
    places: Positions | None

    @property
    def part(self) -> Grid | Positions:
        """Places of all values, in the order of the grid."""
        return Grid(self.sizes, self.start, self.strides) if self.places is None else self.places

    def positions(self) -> Positions:
        """Places of all values, written out."""
        part = self.part
        return part.positions() if isinstance(part, Grid) else part


def gathered(graph: Graph, runs: Sequence[Run]) -> Coordinates:
    """Runs one after the other; those that meet are added."""
    placed = [run.positions() for run in runs]
    distinct, inverse, times = np.unique(np.concatenate(placed), return_inverse=True, return_counts=True)
    if distinct.size == inverse.size:
        return Coordinates(joined(graph, runs), Pattern(tuple(run.part for run in runs)))
    shared = np.split(times[inverse] > 1, np.cumsum([at.size for at in placed])[:-1])
    apart = [k for k, meets in enumerate(shared) if not meets.any()]
    meeting = [k for k in range(len(runs)) if k not in set(apart)]
    where, group = np.unique(np.concatenate([placed[k] for k in meeting]), return_inverse=True)
    added = coalesced(graph, joined(graph, [runs[k] for k in meeting]), group, int(where.size))
    rest = [flattened(graph, runs[k].value) for k in apart]
    return Coordinates(concatenated(graph, [*rest, added]), Pattern((*(runs[k].part for k in apart), where)))


def joined(graph: Graph, runs: Sequence[Run]) -> Node:
    return concatenated(graph, [flattened(graph, run.value) for run in runs])


def flattened(graph: Graph, value: Node) -> Node:
    if len(value.shape) == 1:
        return value
    labels = [Label(n) for n in value.shape]
    terms, stride = [], 1
    for label in reversed(labels):
        terms.append((label, stride))
        stride *= label.size
    whole = affine(terms[::-1], 0, stride)
    return graph.index_map((AxesMap(tuple(along(x) for x in labels), (whole,)),), (value,), (stride,))


def concatenated(graph: Graph, values: Sequence[Node]) -> Node:
    if len(values) == 1:
        return values[0]
    total, start, maps = sum(value.shape[0] for value in values), 0, []
    for value in values:
        label = Label(value.shape[0])
        maps.append(AxesMap((along(label),), (affine([(label, 1)], start, total),)))
        start += value.shape[0]
    return graph.index_map(maps, values, (total,))


def coalesced(graph: Graph, values: Node, group: Positions, size: int) -> Node:
    """Values of one position added: as many gathers as values meet at most at one position."""
    order = np.argsort(group, kind="stable")
    ranked = np.asarray(group).ravel()[order]
    first = np.searchsorted(ranked, np.arange(size))
    rank = np.arange(order.size) - first[ranked]
    layers = []
    for layer in range(int(np.max(rank)) + 1):
        chosen = rank == layer
        label = Label(int(chosen.sum()))
        source = tabulated((label,), order[chosen], values.shape[0])
        target = tabulated((label,), ranked[chosen], size)
        layers.append(graph.index_map((AxesMap((source,), (target,)),), (values,), (size,)))
    return graph.add(layers)
