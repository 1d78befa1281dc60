"""Graphs in layers: every arrow points down, boxes do not overlap, arrows past a layer hold a place in it.

Layers follow the longest path; order within a layer the mean place of neighbours, up and down in turn (Sugiyama, Tagawa
and Toda 1981); places across are as near to the neighbours' as the boxes' widths allow.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx

Key = Hashable
Point = tuple[float, float]
Edge = tuple[Key, Key]
ROUNDS = 12
SETTLING = 200
ASIDE = 0.05
# Across, between boxes; and the width that an arrow takes on its way past a layer.
GAP = 22.0
PASSING = 14.0


@dataclass(frozen=True)
class Placed:
    """Where everything is.

    Args:
        centres: of each box.
        routes: for each edge the points from the lower rim of its first box to the upper rim of its second.
        width: of the whole.
        height: of the whole.
    """

    centres: Mapping[Any, Point]
    routes: Mapping[Any, tuple[Point, ...]]
    width: float
    height: float


def layered(sizes: Mapping[Any, tuple[float, float]], edges: Sequence[Edge], between: float) -> Placed:
    """Place boxes in layers.

    Args:
        sizes: width and height of each box.
        edges: pairs of boxes, without a cycle; every edge points down.
        between: height left free between layers.

    Returns:
        Places.

    Example:
        >>> placed = layered({"a": (40, 20), "b": (40, 20)}, [("a", "b")], 30)
        >>> placed.centres, placed.routes[("a", "b")]
        ({'a': (20.0, 10.0), 'b': (20.0, 60.0)}, ((20.0, 20.0), (20.0, 50.0)))
    """
    layer = _layers(sizes, edges)
    rows, chains = _with_passing(layer, edges)
    neighbours = _neighbours(chains)
    rows = _ordered(rows, neighbours)
    wide = {one: sizes[one][0] if one in sizes else PASSING for row in rows for one in row}
    across = _across(rows, neighbours, wide)
    left = min((across[one] - wide[one] / 2 for one in across), default=0.0)
    right = max((across[one] + wide[one] / 2 for one in across), default=0.0)
    down: dict[Key, float] = {}
    half: dict[Key, float] = {}
    top = 0.0
    for row in rows:
        high = max((sizes[one][1] for one in row if one in sizes), default=0.0)
        for one in row:
            down[one] = top + high / 2
            half[one] = sizes[one][1] / 2 if one in sizes else high / 2
        top += high + between
    centres = {one: (across[one] - left, down[one]) for one in sizes}
    routes = {edge: _route(chain, across, left, down, half) for edge, chain in chains.items()}
    return Placed(centres, routes, right - left, max(top - between, 0.0))


def _layers(sizes: Mapping[Key, tuple[float, float]], edges: Sequence[Edge]) -> dict[Key, int]:
    """The layer of each box: as low as its longest path from above says; boxes without one just above their reader."""
    graph = nx.DiGraph()
    graph.add_nodes_from(sizes)
    graph.add_edges_from(edges)
    layer = {one: depth for depth, row in enumerate(nx.topological_generations(graph)) for one in row}
    for one in sizes:
        readers = list(graph.successors(one))
        if readers and not graph.in_degree(one):
            layer[one] = min(layer[reader] for reader in readers) - 1
    return layer


def _with_passing(layer: Mapping[Key, int], edges: Sequence[Edge]) -> tuple[list[list[Key]], dict[Edge, list[Key]]]:
    """Rows, with a place for each edge in every layer that it passes; and the chain of places of each edge."""
    rows: list[list[Key]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for one, depth in layer.items():
        rows[depth].append(one)
    chains: dict[Edge, list[Key]] = {}
    for edge in dict.fromkeys(edges):
        above, below = edge
        chain = [above]
        for depth in range(layer[above] + 1, layer[below]):
            passing = ("passing", edge, depth)
            rows[depth].append(passing)
            chain.append(passing)
        chains[edge] = [*chain, below]
    return rows, chains


def _neighbours(chains: Mapping[Edge, Sequence[Key]]) -> dict[Key, tuple[list[Key], list[Key]]]:
    """For each place those above and those below that it is joined with."""
    found: dict[Key, tuple[list[Key], list[Key]]] = {}
    for chain in chains.values():
        for above, below in itertools.pairwise(chain):
            found.setdefault(above, ([], []))[1].append(below)
            found.setdefault(below, ([], []))[0].append(above)
    return found


def _ordered(rows: list[list[Key]], neighbours: Mapping[Key, tuple[list[Key], list[Key]]]) -> list[list[Key]]:
    """Rows with few crossings: the best that sweeps up and down find."""
    best, fewest = rows, _crossings(rows, neighbours)
    for turn in range(ROUNDS):
        if not fewest:
            break
        rows = [list(row) for row in rows]
        side = turn % 2  # first by those above, then by those below
        listed = range(1, len(rows)) if side == 0 else range(len(rows) - 2, -1, -1)
        for k in listed:
            fixed = rows[k - 1] if side == 0 else rows[k + 1]
            place = {one: position for position, one in enumerate(fixed)}
            own = {one: float(position) for position, one in enumerate(rows[k])}
            for one in rows[k]:
                joined = neighbours.get(one, ([], []))[side]
                if joined:
                    own[one] = sum(place[x] for x in joined) / len(joined)
            rows[k].sort(key=own.__getitem__)
        found = _crossings(rows, neighbours)
        if found < fewest:
            best, fewest = rows, found
    return best


def _crossings(rows: Sequence[Sequence[Key]], neighbours: Mapping[Key, tuple[list[Key], list[Key]]]) -> int:
    count = 0
    for row, below in itertools.pairwise(rows):
        place = {one: position for position, one in enumerate(below)}
        ends = [sorted(place[x] for x in neighbours.get(one, ([], []))[1]) for one in row]
        for k, own in enumerate(ends):
            count += sum(1 for other in ends[k + 1 :] for a in own for b in other if b < a)
    return count


def _across(
    rows: Sequence[Sequence[Key]], neighbours: Mapping[Key, tuple[list[Key], list[Key]]], wide: Mapping[Key, float]
) -> dict[Key, float]:
    """Places across: each near the mean of its neighbours, in the given order, without overlap."""
    across: dict[Key, float] = {}
    for row in rows:
        total = sum(wide[one] for one in row) + GAP * (len(row) - 1)
        edge = -total / 2
        for one in row:
            across[one] = edge + wide[one] / 2
            edge += wide[one] + GAP

    def alone(one: Key) -> bool:
        above, below = neighbours.get(one, ([], []))
        return not above and len(below) == 1

    for turn in range(SETTLING):
        listed = rows if turn % 2 == 0 else rows[::-1]
        for row in listed:
            wished = []
            for one in row:
                above, below = neighbours.get(one, ([], []))
                weights = {x: _weight(one, x) for x in above + below}
                for x in above:  # a box that nothing else reads goes where its reader is, not the reader to it
                    if len(above) > 1 and alone(x):
                        weights[x] = ASIDE
                whole = sum(weights.values())
                wished.append(sum(w * across[x] for x, w in weights.items()) / whole if whole else across[one])
            pull = [ASIDE if alone(one) else 1.0 for one in row]
            for one, place in zip(row, _apart([wide[one] for one in row], wished, pull), strict=True):
                across[one] = place
    return across


def _weight(one: Key, other: Key) -> float:
    """How much two joined places want to stand above each other: arrows that pass layers are straight."""
    passing = sum(isinstance(x, tuple) and len(x) == 3 and x[0] == "passing" for x in (one, other))
    return (1.0, 2.0, 8.0)[passing]


def _apart(widths: Sequence[float], wished: Sequence[float], pull: Sequence[float]) -> list[float]:
    """The places nearest to those wished for (weighted least squares), in order, without overlap: pooled neighbours."""
    offsets, edge = [], 0.0
    for k, width in enumerate(widths):
        edge += width / 2 if k == 0 else widths[k - 1] / 2 + GAP + width / 2
        offsets.append(edge)
    pools: list[tuple[float, float, int]] = []  # weighted sum, weight, how many
    for wish, offset, own in zip(wished, offsets, pull, strict=True):
        pools.append((own * (wish - offset), own, 1))
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            total, weight, count = pools.pop()
            before = pools.pop()
            pools.append((before[0] + total, before[1] + weight, before[2] + count))
    means = [total / weight for total, weight, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _route(
    chain: Sequence[Key],
    across: Mapping[Key, float],
    left: float,
    down: Mapping[Key, float],
    half: Mapping[Key, float],
) -> tuple[Point, ...]:
    points = [(across[chain[0]] - left, down[chain[0]] + half[chain[0]])]
    for one in chain[1:-1]:
        points += [(across[one] - left, down[one] - half[one]), (across[one] - left, down[one] + half[one])]
    last = chain[-1]
    return (*points, (across[last] - left, down[last] - half[last]))
