"""From evaluated nodes to operators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from nablax.endings.factored import Factored
from nablax.endings.forms import Banded, Batch, Dense, Diagonal, Kronecker, LowRank, Sparse
from nablax.structure import banded, batch, kronecker, low_rank, sparse
from nablax.structure import operators as plain
from nablax.structure.operators import Structured


def operator(found: Factored, arrays: Sequence[Any], dtype: Any) -> Structured:
    """The operator of a form.

    Args:
        found: the form and its nodes.
        arrays: the values of the nodes; for a dense form the matrix, or the operator of its products.
        dtype: of the flat vector.

    Returns:
        The operator on the ravelled leaves of the form.
    """
    form = found.form
    if isinstance(form, Dense):
        [only] = arrays
        return only if isinstance(only, Structured) else plain.Dense(only.astype(dtype))
    values = [array.astype(dtype) for array in arrays]
    match form:
        case Diagonal():
            return plain.Diagonal(_flat(values))
        case Kronecker():
            waiting = iter(values)
            factors = tuple(
                None if g.identity else next(waiting).reshape((math.prod(g.shape),) * (1 if g.diagonal else 2))
                for g in form.groups
            )
            return kronecker.Kronecker(factors, form.rows.shapes[0], tuple(g.axes for g in form.groups), dtype)
        case LowRank():
            return _low_rank(form, values, dtype)
        case Batch():
            count, leaves = form.count, len(form.rows.shapes)
            widths = [math.prod(shape) // count for shape in form.rows.shapes]
            rows = [
                [values[a * leaves + b].reshape(count, widths[a], widths[b]) for b in range(leaves)]
                for a in range(leaves)
            ]
            blocks = jnp.concatenate([jnp.concatenate(row, axis=2) for row in rows], axis=1)
            return batch.Batched(blocks, form.rows.shapes, form.axes)
        case Banded():
            return _banded(form, found, values[0])
        case Sparse():
            assert found.positions is not None
            size = form.rows.size
            places = np.stack(np.divmod(found.positions, size)).astype(np.int32)
            return sparse.Sparse(values[0], jnp.asarray(places[0]), jnp.asarray(places[1]), size)


def _flat(arrays: Sequence[Any]) -> Any:
    return jnp.concatenate([jnp.ravel(array) for array in arrays])


def _low_rank(form: LowRank, values: Sequence[Any], dtype: Any) -> Structured:
    leaves = len(form.rows.shapes)
    diagonal, rest = _flat(values[:leaves]), values[leaves:]
    widths = [width for _, _, width in form.left]
    starts = np.concatenate([[0], np.cumsum(widths)]).astype(int)
    rows = []
    for (leaf, _, width), array in zip(form.left, rest, strict=False):
        own = math.prod(form.rows.shapes[leaf])
        above = form.rows.starts[leaf]
        rows.append(jnp.pad(array.reshape(width, own), ((0, 0), (above, form.rows.size - above - own))))
    core = jnp.zeros((int(starts[-1]),) * 2, dtype)
    for (i, j, _), array in zip(form.core, rest[len(form.left) :], strict=True):
        at = (slice(starts[i], starts[i + 1]), slice(starts[j], starts[j + 1]))
        core = core.at[at].add(array.reshape(widths[i], widths[j]))
    return low_rank.DiagonalPlusLowRank(diagonal, jnp.concatenate(rows), core)


def _banded(form: Banded, found: Factored, values: Any) -> Structured:
    """Values of the upper half, band by band; each band's values are gathered in order of their rows."""
    assert found.positions is not None
    size = form.rows.size
    row, column = np.divmod(found.positions, size)
    bands = []
    for d in range(form.width + 1):
        chosen = np.flatnonzero(column - row == d)
        chosen = chosen[np.argsort(row[chosen], kind="stable")]
        where = row[chosen]
        own = _taken(values, chosen)
        if where.size and where[-1] - where[0] + 1 == where.size:
            bands.append(jnp.pad(own, (int(where[0]), size - int(where[-1]) - 1)))
        else:
            bands.append(jnp.zeros(size, values.dtype).at[jnp.asarray(where)].set(own, unique_indices=True))
    return banded.Banded(jnp.stack(bands))


def _taken(values: Any, places: Any) -> Any:
    """Elements at static places; a slice where they are consecutive."""
    if places.size and places[-1] - places[0] + 1 == places.size and np.all(np.diff(places) == 1):
        return values[int(places[0]) : int(places[-1]) + 1]
    return values[jnp.asarray(places)]
