"""Leaves of which every reader takes a part: the layers of stacked weights, the gates side by side in one array.

A diagonal asks for no block between different elements of a leaf. Parts without a common element are therefore like
leaves of their own: a layer's weights are not coupled with what the layers below make of other weights of the stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse
import scipy.sparse.csgraph

from nablax.contraction.index import positions_over
from nablax.graph.node import Node, NodeTerm

# Elements of all parts of a leaf that are looked at, one by one, while planning.
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
        apart = len(own) > 1 and all(map(moves, own)) and sum(x.size for x in own) <= MOST_LOOKED_AT
        groups += (_grouped(leaf, own, jacobian) if apart else None) or [(leaf,)]
    return groups


def _grouped(
    leaf: Node, readers: Sequence[Node], jacobian: Callable[[Node], Mapping[Node, Sequence[NodeTerm]] | None]
) -> list[tuple[Node, ...]] | None:
    """Readers of a leaf that overlap, together; None where one reads it otherwise than by static index maps."""
    last = np.full(leaf.size, -1)  # the last reader of each element
    met: list[tuple[int, int]] = []
    for k, reader in enumerate(readers):
        for term in (jacobian(reader) or {}).get(leaf, ()):
            places = positions_of(term, leaf)
            if places is None:
                return None
            met += [(int(other), k) for other in np.unique(last[places]) if other >= 0]
            last[places] = k
    rows, columns = np.array(met, int).reshape(-1, 2).T
    edges = scipy.sparse.coo_array((np.ones(len(met)), (rows, columns)), (len(readers), len(readers)))
    count, group = scipy.sparse.csgraph.connected_components(edges, directed=False)
    found: list[list[Node]] = [[] for _ in range(count)]
    for reader, k in zip(readers, group, strict=True):
        found[k].append(reader)
    return [tuple(readers) for readers in found]


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
