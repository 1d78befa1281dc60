"""Terms added up into one array."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nablax.contraction.block import Block, Share
from nablax.contraction.index import Label, along, fresh, tabulated
from nablax.contraction.rates import Rates
from nablax.endings.coordinates import coordinates, strides_of
from nablax.graph.contraction_rows import relabelled
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm
from nablax.graph.sums import add_up
from nablax.ops.kinds import AxesMap

# More scattered terms than this are first gathered as values at positions, and scattered at once.
SCATTERED_APART = 4


def dense(graph: Graph, block: Block[Node], shape: Sequence[int], opened: int, dtype: Any, rates: Rates) -> Node:
    """A block as one array.

    Args:
        graph: makes the nodes.
        block: the block.
        shape: open axes, row axes, column axes.
        opened: number of open axes.
        dtype: dtype of the array.
        rates: of the machine.

    Returns:
        The node.
    """
    parts = []
    for share in Share:
        own = [part.term for part in block.parts if part.share is share]
        if not own:
            continue
        symmetric = share is Share.SYMMETRIC and not opened
        parts.append(summed(graph, own, shape, dtype, rates, symmetric=symmetric))
        if share is Share.HALF:
            parts.append(turned(graph, parts[-1], opened, (len(shape) - opened) // 2))
    return graph.add(parts) if parts else graph.full(0.0, shape, dtype)


def turned(graph: Graph, array: Node, opened: int, rows: int) -> Node:
    """Row axes and column axes of an array exchanged."""
    axes = fresh(array.shape)
    first, second = axes[opened : opened + rows], axes[opened + rows :]
    return relabelled(graph, array, axes, (*axes[:opened], *second, *first))


def summed(
    graph: Graph,
    terms: Sequence[NodeTerm],
    shape: Sequence[int],
    dtype: Any,
    rates: Rates,
    *,
    symmetric: bool = False,
) -> Node:
    """The sum of terms as one array; what index maps scatter is gathered first.

    Args:
        graph: makes the nodes.
        terms: the terms.
        shape: shape of the sum.
        dtype: dtype of the sum.
        rates: of the machine.
        symmetric: whether each term equals its transpose.

    Returns:
        One node.
    """
    if not terms:
        return graph.full(0.0, shape, dtype)
    mapped: list[NodeTerm] = []
    bare: list[NodeTerm] = []
    for term in terms:
        (bare if all(index.label is not None for side in term.sides for index in side) else mapped).append(term)
    if len(mapped) > SCATTERED_APART:
        scattered = _scattered(graph, mapped, shape, dtype)
        return (
            graph.add([summed(graph, bare, shape, dtype, rates, symmetric=symmetric), scattered]) if bare else scattered
        )
    return add_up(graph, terms, shape, dtype, rates, symmetric=symmetric)


def _scattered(graph: Graph, terms: Sequence[NodeTerm], shape: Sequence[int], dtype: Any) -> Node:
    steps = strides_of(shape)
    found = coordinates(graph, [(term, 0, steps) for term in terms], dtype)
    label = Label(found.positions.size)
    places = np.unravel_index(found.positions, tuple(shape)) if shape else ()
    if found.positions.size == math.prod(shape) and np.array_equal(found.positions, np.arange(label.size)):
        flat = found.values
        target = fresh(shape)
        whole = tabulated([x.labels[0] for x in target], np.arange(label.size).reshape(shape), label.size)
        return graph.index_map((AxesMap((whole,), target),), (flat,), shape)
    target = tuple(tabulated((label,), at, extent) for at, extent in zip(places, shape, strict=True))
    return graph.index_map((AxesMap((along(label),), target),), (found.values,), shape)
