"""The operator of a whole Hessian at a point, and what is asked of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx

from nablax.endings.forms import Dense
from nablax.graph.evaluate import evaluate
from nablax.graph.node import Node
from nablax.planning.choose import Choice
from nablax.planning.question import HESSIAN, PRODUCT, Question
from nablax.planning.run import run
from nablax.structure.assembly import operator
from nablax.structure.direct_sum import DirectSum
from nablax.structure.operators import MOST_DENSE, SUCCESSFUL, Diagonal, Products, Structured
from nablax.structure.operators import Dense as DenseMatrix
from nablax.structure.reading import Component, Reading
from nablax.structure.sparse import holds_sparse
from nablax.structure.table import leaf_ranges

Planned = Callable[[Question, tuple[int, ...] | None, tuple[int, ...] | None], Choice]


@dataclass(frozen=True)
class _ProductOf:
    """Hessian times vector on some leaves, the others held.

    Args:
        choice: the plan of a product with all leaves.
        kept: nodes whose values come with the arrays.
        leaves: the leaves.
    """

    choice: Choice
    kept: tuple[Node, ...]
    leaves: tuple[int, ...]

    def __call__(self, data: tuple[Sequence[Any], Sequence[Any]], vector: Any) -> Any:
        arrays, kept = data
        asked = self.choice.problem.asked
        along = [jnp.zeros(leaf.shape, leaf.dtype) for leaf in asked]
        start = 0
        for k in self.leaves:
            along[k] = vector[start : start + asked[k].size].reshape(asked[k].shape).astype(asked[k].dtype)
            start += asked[k].size
        found = run(self.choice, (*arrays, *along), dict(zip(self.kept, kept, strict=True)))
        return jnp.concatenate([jnp.ravel(found[(k,)]) for k in self.leaves]).astype(vector.dtype)


def hessian_operator(
    reading: Reading, planned: Planned, nodes: Sequence[Node], arrays: Sequence[Any], kept: Sequence[Any]
) -> Structured:
    """The operator of the Hessian over the ravelled argument.

    Args:
        reading: its forms.
        planned: gives the plan of a question about some rows and columns.
        nodes: nodes whose values are there already.
        arrays: one per leaf of the function.
        kept: the values of `nodes`.

    Returns:
        The operator.
    """
    known = dict(zip(nodes, kept, strict=True))
    waiting = iter(evaluate([node for one in reading.factored for node in one.nodes], arrays, known))
    parts: list[Structured] = []
    for component, found in zip(reading.components, reading.factored, strict=True):
        if not isinstance(component.form, Dense):
            parts.append(operator(found, [next(waiting) for _ in found.nodes], reading.dtype))
        elif component.form.rows.size > MOST_DENSE:
            product = _ProductOf(planned(PRODUCT, None, None), tuple(nodes), component.leaves)
            data = (list(arrays), list(kept))
            parts.append(Products(product, data, component.form.rows.size, reading.dtype))
        else:
            choice = planned(HESSIAN, component.leaves, component.leaves)
            parts.append(DenseMatrix(_matrix(choice, component, arrays, known, reading.dtype), reading.symmetric))
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, Diagonal) for part in parts):
        return Diagonal(jnp.concatenate([lx.diagonal(part) for part in parts]))
    sizes = [leaf.size for leaf in reading.problem.asked]
    ranges = tuple(leaf_ranges(sizes, component.leaves) for component in reading.components)
    return DirectSum(tuple(parts), ranges, reading.dtype)


def _matrix(choice: Choice, component: Component, arrays: Sequence[Any], known: Mapping[Node, Any], dtype: Any) -> Any:
    blocks = run(choice, arrays, known)
    return flat_matrix({slot[1:]: block for slot, block in blocks.items()}, component, choice, dtype)


def flat_matrix(blocks: Mapping[tuple[int, ...], Any], component: Component, choice: Choice, dtype: Any) -> Any:
    """Blocks between leaves as one matrix in ravelled order."""
    sizes = {k: math.prod(choice.problem.asked[k].shape) for k in component.leaves}
    rows = [
        jnp.concatenate([blocks[a, b].reshape(sizes[a], sizes[b]).astype(dtype) for b in component.leaves], axis=1)
        for a in component.leaves
    ]
    return jnp.concatenate(rows)


# -- questions -------------------------------------------------------------------------------------


def ravelled(leaves: Sequence[Any], dtype: Any) -> Any:
    """Leaves as one flat vector."""
    return jnp.concatenate([jnp.ravel(leaf).astype(dtype) for leaf in leaves])


def apart(vector: Any, like: Sequence[Any]) -> list[Any]:
    """A flat vector as arrays of the shapes and dtypes of others."""
    found, start = [], 0
    for leaf in like:
        found.append(vector[start : start + leaf.size].reshape(leaf.shape).astype(leaf.dtype))
        start += leaf.size
    return found


def _solve(matrix: Structured, leaves: Sequence[Any]) -> tuple[list[Any], lx.RESULTS, Any]:
    value, result = matrix.solved(ravelled(leaves, matrix.in_structure().dtype))
    return apart(value, leaves), result, result != SUCCESSFUL


_solve_traced = jax.jit(_solve)
_slogdet_traced = jax.jit(lambda matrix: matrix.slogdet())
_inverse_diagonal_traced = jax.jit(lambda matrix: matrix.inverse_diagonal())


def solved(matrix: Structured, leaves: Sequence[Any]) -> tuple[list[Any], lx.RESULTS, Any]:
    """Solution (leaves), result, and whether it failed."""
    return (_solve if _on_host(matrix, *leaves) else _solve_traced)(matrix, list(leaves))


def slogdet(matrix: Structured) -> tuple[Any, Any]:
    """Sign and logarithm of the absolute value of the determinant."""
    sign, total = matrix.slogdet() if _on_host(matrix) else _slogdet_traced(matrix)
    return sign, total


def inverse_diagonal(matrix: Structured) -> Any:
    """The diagonal of the inverse, flat."""
    return matrix.inverse_diagonal() if _on_host(matrix) else _inverse_diagonal_traced(matrix)


def _on_host(matrix: Structured, *arrays: Any) -> bool:
    """Whether some part is factorised on the host: it is sparse, and all values are concrete."""
    values = (*jax.tree.leaves(matrix), *arrays)
    return holds_sparse(matrix) and not any(isinstance(value, jax.core.Tracer) for value in values)
