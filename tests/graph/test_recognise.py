"""Library functions are known by their text; a name alone proves nothing."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import check_every_verb

from nablax.graph.node import reachable
from nablax.ops.kinds import Contraction, Elementwise, IndexMap, Leaf, MatrixFunction
from nablax.planning.question import pose

A = np.array([[3.0, 0.4], [0.1, 2.5]])


def names(f: Any, *arrays: Any) -> set[str]:
    problem = pose(f, arrays, [0], scalar="")
    return {node.kind.name for node in reachable(problem.outputs) if isinstance(node.kind, MatrixFunction)}


@pytest.mark.parametrize(
    ("f", "row"),
    [
        (jnp.linalg.inv, "inv"),
        (lambda a: jnp.linalg.slogdet(a)[1], "logdet"),
        (lambda a: jnp.linalg.solve(a, a[0]), "solve"),
        (lambda a: jnp.linalg.solve(a, a), "solve"),
        (lambda a: jnp.linalg.inv(jnp.stack([a, a])), "inv"),
        (jax.jit(jnp.linalg.inv), "inv"),
        (jnp.linalg.cholesky, "cholesky"),
        (jnp.max, "reduce_max"),
        (lambda a: jax.scipy.linalg.solve_triangular(a, a[0], lower=True), "solve_triangular"),
        (lambda a: jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(a), a[0]), "solve_triangular"),
        (lambda a: jnp.linalg.eigh(a)[1], "eigh"),
        (jnp.linalg.eigvalsh, "eigh"),
        (lambda a: jnp.linalg.svd(a, compute_uv=False), "svd"),
        (lambda a: jnp.linalg.qr(a)[1], "qr"),
    ],
)
def test_known_functions_are_rows(f: Any, row: str) -> None:
    assert row in names(f, A)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_the_determinant_of_few_rows_is_a_polynomial(rows: int) -> None:
    problem = pose(jnp.linalg.det, (np.eye(rows),), [0], scalar="")
    kinds = {type(node.kind) for node in reachable(problem.outputs)}
    assert kinds <= {Leaf, IndexMap, Elementwise, Contraction}


def test_the_determinant_of_more_rows_is_one_that_holds_for_singular_matrices() -> None:
    assert names(jnp.linalg.det, np.eye(4)) == {"det_anywhere"}
    assert names(jax.vmap(jnp.linalg.det), np.ones((2, 4, 4))) == {"det_anywhere"}


def test_a_function_of_the_users_own_with_a_known_name() -> None:
    @jax.jit
    def inv(x: Any) -> Any:
        return x * x * x

    assert names(inv, A) == set()
    check_every_verb(lambda x: jnp.sum(inv(x) * x), A)


def test_a_function_of_the_users_own_that_wraps_the_known_one() -> None:
    @jax.jit
    def inv(x: Any) -> Any:
        return jnp.linalg.inv(x) + 1.0

    check_every_verb(lambda x: jnp.sum(inv(x) ** 2), A)


def test_a_function_with_a_known_name_and_the_same_arguments() -> None:
    @jax.jit
    def solve(a: Any, b: Any) -> Any:
        return b @ a

    assert names(lambda a: solve(a, a), A) == set()
    check_every_verb(lambda a: jnp.sum(solve(a, a) ** 2), A)
