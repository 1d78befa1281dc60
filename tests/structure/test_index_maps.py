"""Structures behind slices, gathers, reversals and shared positions: awkward on purpose."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close
from structure.cases import hessian, vector_like

import nablax as nb
from nablax.endings.forms import Kind

R = np.random.default_rng(31).normal
REPEATED = np.array([0, 2, 2, 5, 1, 0])
M = R(size=(4, 6))

FUNCTIONS: dict[str, tuple[Any, Any, Kind, str]] = {
    "repeated rows": (
        lambda x: jnp.sum(x[REPEATED] ** 3) + jnp.sum(x[REPEATED][1:] * x[REPEATED][:-1]),
        R(size=6), Kind.SPARSE, "12 values",
    ),
    "a slice of rows": (lambda X: jnp.sum((X[1:] @ M) ** 2), R(size=(6, 4)), Kind.KRONECKER, "diagonal(6) ⊗ 4×4"),
    "rows and reversed rows": (
        lambda X: jnp.sum((X[::-1] @ M) * (X @ M)), R(size=(6, 4)), Kind.SPARSE, "96 values"
    ),
    "a matrix that was a vector": (
        lambda x: jnp.sum((x.reshape(6, 4) @ M) ** 2), R(size=24), Kind.BANDED, "width 3"
    ),
    "rows that differ": (
        lambda X: jnp.sum(jnp.sum(X[1:], 1) ** 2) + jnp.sum(X[0] ** 3), R(size=(6, 4)), Kind.BLOCK_DIAGONAL,
        "6 blocks of 4×4",
    ),
    "two batch axes": (
        lambda X: jnp.sum(jnp.einsum("abi,abj->abij", X, X) ** 2), R(size=(3, 4, 2)), Kind.BLOCK_DIAGONAL,
        "12 blocks of 2×2",
    ),
    "a batch in the middle": (
        lambda X: jnp.sum(jnp.sum(X**2, axis=(0, 2)) ** 2), R(size=(2, 5, 3)), Kind.BLOCK_DIAGONAL, "5 blocks of 6×6"
    ),
    "ones along an axis": (lambda X: jnp.sum(jnp.sum(X, 0) ** 2), R(size=(6, 4)), Kind.KRONECKER, "6×6 ⊗ I(4)"),
    "ones along all axes": (
        lambda X: jnp.sum(X) ** 2 + jnp.sum(X**2), R(size=(6, 4)), Kind.DIAGONAL_LOW_RANK, "rank 1"
    ),
    "every other": (lambda x: jnp.sum(x[::2] ** 2 * x[1::2][::-1]), R(size=30), Kind.SPARSE, "45 values"),
    "pairs of leaves": (
        lambda p: jnp.sum(p[0] * jnp.sum(p[1], 0) ** 2) + jnp.sum(p[1] ** 3), (R(size=12), R(size=(3, 12))),
        Kind.BLOCK_DIAGONAL, "12 blocks of 4×4",
    ),
    "an axis of length one": (lambda X: jnp.sum((X @ M) ** 2), R(size=(1, 4)), Kind.DENSE, ""),
    "a leaf without elements": (lambda p: jnp.sum(p[0] ** 3) + jnp.sum(p[1]), (R(size=3), R(size=(0, 2))),
                                Kind.DIAGONAL, ""),
    "an opaque loop": (lambda x: jax.lax.scan(lambda c, y: (jnp.sin(c * y) + c, c), 1.0, x)[0], R(size=5),
                       Kind.DENSE, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_operator_is_the_hessian(name: str) -> None:
    f, x, kind, detail = FUNCTIONS[name]
    c = nb.curvature(f)(x)
    H = hessian(f, (x,))
    v, _ = vector_like(x)
    assert (c.structure.kind, c.structure.parts[0].detail) == (kind, detail)
    product, matrix = jax.jit(lambda operator, v: (operator.mv(v), operator.as_matrix()))(c.operator(), v)
    assert_close(matrix, H)
    assert_close(product, H @ v)
    allowed = sum(block.density * _elements(x, block.row) * _elements(x, block.column) for block in c.structure.blocks)
    assert np.count_nonzero(np.abs(H) > 1e-12) <= allowed + 1e-6, "the table promises more zeros than there are"


def _elements(tree: Any, path: str) -> int:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return next(np.size(leaf) for at, leaf in leaves if (jax.tree_util.keystr(at) or "x") == path)
