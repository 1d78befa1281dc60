"""A dense symmetric tensor by blocks: those of rising tiles are computed, the others are their transposes.

With q tiles along the first axis of each slot, (q + k - 1 choose k) of the q^k blocks are computed: 10 of 27 for order
three and three tiles.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from nablax.contraction.index import Index, Label, affine, along, fresh
from nablax.graph.contraction_rows import relabelled
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm
from nablax.ops.kinds import AxesMap

# Tiles by order; shorter axes and other orders are computed whole.
TILES = {3: 3, 4: 2}
SHORTEST = 48

Sum = Callable[[Sequence[NodeTerm], Sequence[int]], Node]


def by_tiles(
    graph: Graph, terms: Sequence[NodeTerm], opened: Sequence[int], slots: Sequence[Node], add: Sum
) -> Node | None:
    """The sum of terms that together are symmetric in their slots.

    Args:
        graph: makes the nodes.
        terms: sides (open axes, axes of each slot).
        opened: shape of the open axes.
        slots: the leaf of each slot.
        add: the sum of terms as one array of a shape.

    Returns:
        The array; None where tiles do not apply: different leaves, short axes, terms that couple slots directly.
    """
    leaf, order = slots[0], len(slots)
    if order not in TILES or any(x is not leaf for x in slots) or not leaf.shape or leaf.shape[0] < SHORTEST:
        return None
    if not all(_apart(term) for term in terms):
        return None
    size, count = leaf.shape[0], TILES[order]
    cuts = [size * k // count for k in range(count + 1)]
    blocks = {}
    for tiles in itertools.combinations_with_replacement(range(count), order):
        pieces = [_restricted(term, [(cuts[k], cuts[k + 1]) for k in tiles], size) for term in terms]
        lengths = [cuts[k + 1] - cuts[k] for k in tiles]
        shape = (*opened, *(n for length in lengths for n in (length, *leaf.shape[1:])))
        blocks[tiles] = add(pieces, shape)
    rank, first = len(leaf.shape), len(opened)

    def joined(prefix: tuple[int, ...]) -> Node:
        if len(prefix) == order:
            return _turned(graph, blocks, prefix, first, rank)
        return _concatenated(graph, [joined((*prefix, k)) for k in range(count)], first + rank * len(prefix))

    return joined(())


def _apart(term: NodeTerm) -> bool:
    """Whether no label of a slot stands on another slot or in an index map."""
    labels = [index.label for side in term.sides for index in side]
    return None not in labels and len(set(labels)) == len(labels)


def _restricted(term: NodeTerm, ranges: Sequence[tuple[int, int]], size: int) -> NodeTerm:
    """A term with the first axis of each slot restricted to a range of places."""
    values: dict[Label, Index] = {}
    places = []
    for side, (start, stop) in zip(term.sides[1:], ranges, strict=True):
        label, run = side[0].label, Label(stop - start)
        assert label is not None
        values[label] = affine([(run, 1)], start, size)
        places.append(along(run))
    found = term.substitute(values)
    sides = [(place, *side[1:]) for place, side in zip(places, found.sides[1:], strict=True)]
    return found.replace(sides=(found.sides[0], *sides))


def _turned(graph: Graph, blocks: dict[tuple[int, ...], Node], tiles: tuple[int, ...], first: int, rank: int) -> Node:
    rising = tuple(sorted(tiles))
    free, turn = list(range(len(tiles))), []
    for wanted in tiles:
        k = next(k for k in free if rising[k] == wanted)
        free.remove(k)
        turn.append(k)
    axes = fresh(blocks[rising].shape)
    slots = [axes[first + rank * k : first + rank * (k + 1)] for k in range(len(tiles))]
    return relabelled(graph, blocks[rising], axes, (*axes[:first], *(index for k in turn for index in slots[k])))


def _concatenated(graph: Graph, parts: Sequence[Node], axis: int) -> Node:
    total, start, maps = sum(part.shape[axis] for part in parts), 0, []
    for part in parts:
        source = fresh(part.shape)
        target: list[Any] = list(source)
        target[axis] = affine([(source[axis].labels[0], 1)], start, total)
        maps.append(AxesMap(source, tuple(target)))
        start += part.shape[axis]
    shape = tuple(total if k == axis else n for k, n in enumerate(parts[0].shape))
    return graph.index_map(maps, parts, shape)
