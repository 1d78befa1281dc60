"""A dense symmetric tensor by blocks: what is another block's transpose is not computed.

Order three: of any three positions two lie in the same half of an axis. So the blocks (half, same half, whole axis)
hold every entry, as products with a whole axis on one side, which matrix products are fast at; and each of them,
symmetric in its first two slots, is computed in strips of rising places. With s strips (s + 1)/4s of the products are
left: a third for three.

Order four: with q tiles along each slot, (q + 3 choose 4) of the q⁴ blocks are computed: 5 of 16 for two tiles.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

from nablax.contraction.index import Index, Label, affine, along
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm
from nablax.ops.kinds import AxesMap

# Strips of a half, for order three: more are fewer operations, and longer to compile. Tiles, for order four. Shorter
# axes and other orders are computed whole.
STRIPS = 3
STRIP = 50
TILES = 2
SHORTEST = 48

Sum = Callable[[Sequence[NodeTerm], Sequence[int]], Node]
Range = tuple[int, int]
Turn = tuple[int, ...]


def by_blocks(
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
        The array; None where blocks do not apply: different leaves, short axes, terms that couple slots directly.
    """
    leaf, order = slots[0], len(slots)
    if order not in (3, 4) or any(x is not leaf for x in slots) or not leaf.shape or leaf.shape[0] < SHORTEST:
        return None
    if not all(_apart(term) for term in terms):
        return None
    size = leaf.shape[0]

    def block(*ranges: Range) -> Node:
        pieces = [_restricted(term, ranges, size) for term in terms]
        lengths = [stop - start for start, stop in ranges]
        return add(pieces, (*opened, *(n for length in lengths for n in (length, *leaf.shape[1:]))))

    blocks = _Blocks(graph, len(opened), len(leaf.shape), order)
    return _of_halves(blocks, size, block) if order == 3 else _of_tiles(blocks, size, block)


def _of_halves(blocks: _Blocks, size: int, block: Callable[..., Node]) -> Node:
    middle = size // 2
    low, high = (_half(blocks, start, stop, size, block) for start, stop in ((0, middle), (middle, size)))
    # T[i, j, k] for i in the lower half and j in the upper: of T[i, k, j], or of T[j, k, i]
    across = blocks.joined(
        [blocks.read(low, (0, 2, 1), {2: (middle, size)}), blocks.read(high, (2, 0, 1), {2: (0, middle)})], 2
    )
    upper = blocks.joined([blocks.read(low), blocks.read(across)], 1)
    lower = blocks.joined([blocks.read(across, (1, 0, 2)), blocks.read(high)], 1)
    return blocks.joined([blocks.read(upper), blocks.read(lower)], 0)


def _half(blocks: _Blocks, first: int, last: int, size: int, block: Callable[..., Node]) -> Node:
    """T[i, j, k] for i and j in a half, all k: strips of i ≤ j, and their transposes."""
    count = min(max(size // STRIP, 1), STRIPS)
    cuts = [first + (last - first) * k // count for k in range(count + 1)]
    strips = [block((start, stop), (start, last), (0, size)) for start, stop in itertools.pairwise(cuts)]
    rows = []
    for k, strip in enumerate(strips):
        before = [
            blocks.read(other, (1, 0, 2), {1: (cuts[k] - cuts[place], cuts[k + 1] - cuts[place])})
            for place, other in enumerate(strips[:k])
        ]
        rows.append(blocks.joined([*before, blocks.read(strip)], 1))
    return blocks.joined([blocks.read(row) for row in rows], 0)


def _of_tiles(blocks: _Blocks, size: int, block: Callable[..., Node]) -> Node:
    cuts = [size * k // TILES for k in range(TILES + 1)]
    rising = {
        tiles: block(*((cuts[k], cuts[k + 1]) for k in tiles))
        for tiles in itertools.combinations_with_replacement(range(TILES), blocks.order)
    }

    def joined(prefix: tuple[int, ...]) -> Node:
        parts = []
        for k in range(TILES):
            tiles = (*prefix, k)
            if len(tiles) == blocks.order:
                parts.append(blocks.read(rising[tuple(sorted(tiles))], _turn_to(tiles)))
            else:
                parts.append(blocks.read(joined(tiles)))
        return blocks.joined(parts, len(prefix))

    return joined(())


def _turn_to(tiles: tuple[int, ...]) -> Turn:
    """Which slot of the block of rising tiles each slot is."""
    rising, free, turn = sorted(tiles), list(range(len(tiles))), []
    for wanted in tiles:
        k = next(k for k in free if rising[k] == wanted)
        free.remove(k)
        turn.append(k)
    return tuple(turn)


Part = tuple[Node, tuple[Index, ...], tuple[Index, ...]]


class _Blocks:
    """Reads and joins blocks whose axes are (open axes, axes of each slot).

    Args:
        graph: makes the nodes.
        opened: number of open axes.
        rank: number of axes of a slot.
        order: number of slots.
    """

    def __init__(self, graph: Graph, opened: int, rank: int, order: int) -> None:
        self._graph, self._opened, self._rank, self.order = graph, opened, rank, order

    def read(self, node: Node, turn: Turn = (), ranges: Mapping[int, Range] | None = None) -> Part:
        """A part of a block with its slots permuted: the node, its indices, and those of what is read.

        Args:
            node: the block.
            turn: slot turn[i] of the block becomes slot i.
            ranges: for a slot of the block the places along its first axis that are read.
        """
        source: list[Index] = []
        run: list[Index] = []
        for axis, extent in enumerate(node.shape):
            slot, within = divmod(axis - self._opened, self._rank)
            start, stop = (ranges or {}).get(slot, (0, extent)) if axis >= self._opened and not within else (0, extent)
            label = Label(stop - start)
            run.append(along(label))
            source.append(along(label) if stop - start == extent else affine([(label, 1)], start, extent))
        slots = [run[self._opened + self._rank * k :][: self._rank] for k in turn or range(self.order)]
        return node, tuple(source), (*run[: self._opened], *(index for own in slots for index in own))

    def joined(self, parts: Sequence[Part], slot: int) -> Node:
        """Parts one after the other along the first axis of a slot."""
        axis = self._opened + self._rank * slot
        lengths = [target[axis].labels[0].size for _, _, target in parts]
        starts = itertools.accumulate(lengths[:-1], initial=0)
        total, maps = sum(lengths), []
        for (_, source, target), start in zip(parts, starts, strict=True):
            placed = affine([(target[axis].labels[0], 1)], start, total)
            maps.append(AxesMap(source, (*target[:axis], placed, *target[axis + 1 :])))
        shape = tuple(total if k == axis else index.labels[0].size for k, index in enumerate(parts[0][2]))
        return self._graph.index_map(maps, [node for node, _, _ in parts], shape)


def _apart(term: NodeTerm) -> bool:
    """Whether no label of a slot stands on another slot or in an index map."""
    labels = [index.label for side in term.sides for index in side]
    return None not in labels and len(set(labels)) == len(labels)


def _restricted(term: NodeTerm, ranges: Sequence[Range], size: int) -> NodeTerm:
    """A term with the first axis of each slot restricted to a range of places."""
    values: dict[Label, Index] = {}
    places = []
    for side, (start, stop) in zip(term.sides[1:], ranges, strict=True):
        label = side[0].label
        assert label is not None
        if stop - start == size:
            places.append(side[0])
            continue
        run = Label(stop - start)
        values[label] = affine([(run, 1)], start, size)
        places.append(along(run))
    found = term.substitute(values)
    sides = [(place, *side[1:]) for place, side in zip(places, found.sides[1:], strict=True)]
    return found.replace(sides=(found.sides[0], *sides))
