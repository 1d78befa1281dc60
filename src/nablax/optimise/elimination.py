"""In which order the unknowns of a sparse symmetric matrix are eliminated, and what a factor costs then."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

with warnings.catch_warnings():  # scipy.sparse sets a filter when it is imported; the user's stay as they were
    import scipy.sparse
    from scipy.sparse.csgraph import reverse_cuthill_mckee

# An unknown that meets more others than this, or than ten times the root of n, is eliminated last: searches for an
# order take quadratic time over it (Amestoy, Davis and Duff 2004, section 2, "dense rows").
FEW, ROOTS = 16, 10


@dataclass(frozen=True)
class Elimination:
    """An order of elimination.

    Args:
        order: the unknowns, the first to be eliminated first, shape (n,).
        width: of the band of the ordered matrix without its hubs: the largest distance of a value from the diagonal.
        hubs: unknowns at the end of the order that meet too many others to be ordered among them.
        work: multiplications of a Cholesky factor that fills all between its first values and the diagonal; other
            orders than this one may take fewer.
    """

    order: Any
    width: int
    hubs: int
    work: float


def elimination(rows: Any, columns: Any, size: int) -> Elimination:
    """An order in which values stand near the diagonal: as it is, or that of Cuthill and McKee reversed.

    Args:
        rows: of the values of a symmetric matrix, shape (k,).
        columns: of the values.
        size: n.

    Returns:
        The order with less work.

    Example:
        An arrow's point is eliminated last:

        >>> point, others = np.zeros(300, int), np.arange(300)
        >>> rows, columns = np.concatenate([point, others, others]), np.concatenate([others, point, others])
        >>> found = elimination(rows, columns, 300)
        >>> int(found.order[-1]), found.width, found.hubs
        (0, 0, 1)

    Source:
        Cuthill and McKee 1969; George and Liu 1981, chapter 4.
    """
    graph = scipy.sparse.csr_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(size, size))
    busy = np.diff(graph.indptr) > max(FEW, ROOTS * math.sqrt(size))
    rest, hubs = np.flatnonzero(~busy), np.flatnonzero(busy)
    among = graph[rest][:, rest].tocsr()
    orders = [np.arange(len(rest))]
    if among.nnz > 0:
        orders.append(np.asarray(reverse_cuthill_mckee(among, symmetric_mode=True)))
    widths = [_widths(among.tocoo(), order) for order in orders]
    work, k = min((float(np.sum((w + len(hubs)) ** 2.0)), k) for k, w in enumerate(widths))
    order = np.concatenate([rest[orders[k]], hubs])
    return Elimination(order, int(np.max(widths[k], initial=0)), len(hubs), work + len(hubs) ** 3.0)


def _widths(stored: Any, order: Any) -> Any:
    """How far each row's first value is from the diagonal, in an order."""
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    first = np.arange(len(order))
    np.minimum.at(first, place[stored.row], place[stored.col])
    return np.arange(len(order)) - first
