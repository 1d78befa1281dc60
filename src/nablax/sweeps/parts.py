"""Leaves of which every reader takes a part: the layers of stacked weights, the gates side by side in one array.

A diagonal asks for no block between different elements of a leaf. Parts without a common element are therefore like
leaves of their own: a layer's weights are not coupled with what the layers below make of other weights of the stack.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from nablax.contraction.index import Index, positions_over
from nablax.graph.node import Node, NodeTerm

with warnings.catch_warnings():  # scipy.sparse sets a filter when it is imported; the user's stay as they were
    import scipy.sparse
    import scipy.sparse.csgraph

# Positions along an axis that are looked at, one by one, while planning; slices that follow each other need no look.
MOST_LOOKED_AT = 1 << 22


def parts_of(
    nodes: Sequence[Node],
    leaves: Iterable[Node],
    moves: Callable[[Node], bool],
    jacobian: Callable[[Node], Mapping[Node, Sequence[NodeTerm]] | None],
) -> list[tuple[Node, ...]]:
    """Leaves read whole, and readers of the others.

    Args:
        nodes: the active nodes between leaves and outputs, inputs first.
        leaves: the leaves.
        moves: whether from a node only moves lead to leaves.
        jacobian: local Jacobian of a node.

    Returns:
        Groups; nodes of different groups have no element of a leaf in common.
    """
    readers: dict[Node, list[Node]] = {leaf: [] for leaf in leaves}
    for node in nodes:
        for source in dict.fromkeys(node.inputs):
            if source in readers and source is not node:
                readers[source].append(node)
    groups: list[tuple[Node, ...]] = []
    for leaf, own in readers.items():
        apart = len(own) > 1 and all(map(moves, own))
        groups += (_grouped(leaf, own, jacobian) if apart else None) or [(leaf,)]
    return groups


def _grouped(
    leaf: Node, readers: Sequence[Node], jacobian: Callable[[Node], Mapping[Node, Sequence[NodeTerm]] | None]
) -> list[tuple[Node, ...]] | None:
    """Readers of a leaf that may overlap, together; None where one reads it otherwise than by static index maps.

    What has no position in common along one axis has no element in common.
    """
    terms = [(jacobian(reader) or {}).get(leaf, ()) for reader in readers]
    if any(term.factors or any(index.leaves for index in term.sides[1]) for own in terms for term in own):
        return None
    classes: list[tuple[int, ...]] = [()] * len(readers)
    for axis, extent in enumerate(leaf.shape):
        meeting = _meeting([[term.sides[1][axis] for term in own] for own in terms], extent)
        classes = [(*known, k) for known, k in zip(classes, meeting, strict=True)]
    groups: dict[tuple[int, ...], list[Node]] = {}
    for reader, own in zip(readers, classes, strict=True):
        groups.setdefault(own, []).append(reader)
    return [tuple(group) for group in groups.values()]


def _meeting(indices: Sequence[Sequence[Index]], extent: int) -> list[int]:
    """For each reader a number, equal for those that share positions along an axis, directly or through others."""
    low = [min((index.span[0] for index in own), default=0) for own in indices]
    high = [max((index.span[1] for index in own), default=-1) for own in indices]
    runs: list[list[int]] = []  # readers whose spans overlap
    reach = -1
    for k in sorted(range(len(indices)), key=low.__getitem__):
        if runs and low[k] <= reach:
            runs[-1].append(k)
        else:
            runs.append([k])
        reach = max(reach, high[k])
    found = [0] * len(indices)
    classes = (part for run in runs for part in _sharing(run, indices, extent))
    for number, part in enumerate(classes):
        for k in part:
            found[k] = number
    return found


def _sharing(run: list[int], indices: Sequence[Sequence[Index]], extent: int) -> list[list[int]]:
    """Readers with overlapping spans, together where they share a position: one may read what the others step over."""
    looked_at = extent + sum(math.prod(index.shape) for k in run for index in indices[k])
    if len(run) == 1 or looked_at > MOST_LOOKED_AT:
        return [run]
    last = np.full(extent, -1)  # the last reader of each position
    met: list[tuple[int, int]] = []
    for place, k in enumerate(run):
        for index in indices[k]:
            places = index.positions().ravel()
            met += [(int(other), place) for other in np.unique(last[places]) if other >= 0]
            last[places] = place
    rows, columns = np.array(met, int).reshape(-1, 2).T
    edges = scipy.sparse.coo_array((np.ones(len(met)), (rows, columns)), (len(run), len(run)))
    count, group = scipy.sparse.csgraph.connected_components(edges, directed=False)
    found: list[list[int]] = [[] for _ in range(count)]
    for k, own in zip(run, group, strict=True):
        found[own].append(k)
    return found


def positions_of(term: NodeTerm, leaf: Node) -> npt.NDArray[np.int64] | None:
    """Flat positions of the elements of a leaf in which a Jacobian is not zero; None where they are data.

    Args:
        term: sides (a value, the leaf).
        leaf: the leaf.
    """
    if term.factors:
        return None
    labels = tuple(dict.fromkeys(label for index in term.sides[1] for label in index.labels))
    flat = np.zeros([label.size for label in labels], np.int64)
    for index, extent in zip(term.sides[1], leaf.shape, strict=True):
        flat = flat * extent + positions_over(index, labels)
    return flat.ravel()
