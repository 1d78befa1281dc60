"""Every row of the matrix functions: differential and second derivative against JAX; a falsified row is noticed."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close, by_differences, check_every_verb

import nablax as nb
from nablax.contraction.index import fresh
from nablax.contraction.term import Factor, Term
from nablax.graph.evaluate import evaluate
from nablax.graph.graph import Graph
from nablax.ops.matrix_functions import ROWS, MatrixRow
from nablax.planning.question import HESSIAN, Problem
from nablax.planning.strategies import legs_backward
from nablax.sweeps.local import differential


def symmetric(x: Any) -> Any:
    return (x + jnp.swapaxes(x, -1, -2)) / 2


def check(row: MatrixRow) -> None:
    """The Jacobian along random directions against jax.jvp, and the Hessian of a weighted sum against JAX's."""
    generator = np.random.default_rng(5)
    arrays, params = row.sample(generator)
    graph = Graph()
    leaves = tuple(graph.leaf(k, x.shape, x.dtype) for k, x in enumerate(arrays))
    shape = jax.eval_shape(lambda *a: row.evaluate(*a, **params), *arrays).shape
    node = graph.matrix_function(row.name, leaves, shape, **params)
    weights = generator.normal(size=shape)
    axes = fresh(shape)
    weighted = Term(1.0, (Factor(node, axes), Factor(graph.constant(weights), axes)), ((),))
    output = graph.multiply(weighted, node.dtype)

    def function(*arrays: Any) -> Any:
        # cholesky is a function of symmetric matrices: JAX is asked about the symmetric part
        own = [symmetric(x) for x in arrays] if row.name == "cholesky" else arrays
        return row.evaluate(*own, **params)

    jacobian = [
        graph.sum_of(differential(graph, node, 0b11).get(leaf, []), shape + leaf.shape, node.dtype) for leaf in leaves
    ]
    blocks = legs_backward(Problem(graph, leaves, leaves, (output,), None), HESSIAN).nodes
    found = jax.jit(lambda arrays: evaluate([*jacobian, *blocks.values()], arrays))(arrays)

    directions = tuple(generator.normal(size=x.shape) for x in arrays)
    pairs = zip(found, directions, strict=False)
    along = sum(np.tensordot(matrix, direction, np.ndim(direction)) for matrix, direction in pairs)
    assert_close(along, jax.jvp(function, arrays, directions)[1], what=f"{row.name}: differential")
    every = tuple(range(len(arrays)))
    want = jax.jit(jax.hessian(lambda *a: jnp.sum(weights * function(*a)), argnums=every))(*arrays)
    for (_, a, b), block in zip(blocks, found[len(arrays) :], strict=True):
        assert_close(block, want[a][b], what=f"{row.name}: block {a}, {b}")


@pytest.mark.parametrize("name", sorted(ROWS))
def test_row(name: str) -> None:
    check(ROWS[name])


@pytest.mark.parametrize("name", ["inv", "solve", "logdet", "det", "cholesky", "inv_lower", "reduce_max"])
def test_a_falsified_row_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = ROWS[name]

    def falsified(*args: Any, **params: Any) -> Any:
        found = row.differential(*args, **params)
        return {k: [t.replace(coefficient=1.01 * t.coefficient) for t in terms] for k, terms in found.items()}

    monkeypatch.setitem(ROWS, name, dataclasses.replace(row, differential=falsified))
    with pytest.raises(AssertionError, match=f"^{name}: differential"):
        check(row)


MATRIX = np.array([[3.0, 0.4, -0.2], [0.1, 2.5, 0.7], [-0.6, 0.3, 4.0]])
FUNCTIONS = {
    "inv": lambda a: jnp.sum(jnp.linalg.inv(a) ** 3),
    "inv of a stack": lambda a: jnp.sum(jnp.linalg.inv(jnp.stack([a, a.T @ a])) ** 2),
    "solve with a vector": lambda a: jnp.sum(jnp.linalg.solve(a, a[0]) ** 3),
    "solve with a matrix": lambda a: jnp.sum(jnp.linalg.solve(a, a[:, :2]) ** 3),
    "solve of stacks": lambda a: jnp.sum(jnp.linalg.solve(jnp.stack([a, a.T]), a) ** 2),
    "solve with its own inverse": lambda a: jnp.sum(jnp.linalg.solve(a, jnp.linalg.inv(a)) ** 2),
    "det": lambda a: jnp.linalg.det(a) ** 2 / 100,
    "det of a stack": lambda a: jnp.sum(jnp.linalg.det(jnp.stack([a, a.T @ a])) / 10),
    "slogdet": lambda a: jnp.linalg.slogdet(a)[1] ** 2 * jnp.linalg.slogdet(-a)[0],
    "cholesky": lambda a: jnp.sum(jnp.linalg.cholesky(a @ a.T) ** 3),
    "cholesky, not symmetrised": lambda a: jnp.sum(jax.lax.linalg.cholesky(a + a.T, symmetrize_input=False) ** 3),
    "cho_solve": lambda a: jnp.sum(
        jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(a @ a.T), True), jnp.arange(1.0, 4.0)) ** 2
    ),
    "triangular solve": lambda a: jnp.sum(jax.scipy.linalg.solve_triangular(a, a[0], lower=True) ** 2),
    "eigenvalues": lambda a: jnp.sum(jnp.linalg.eigvalsh(a + a.T) ** 3) / 10,
    "eigenvectors": lambda a: jnp.sum(jnp.linalg.eigh(a + a.T)[1] ** 4),
    "singular values": lambda a: jnp.sum(jnp.linalg.svd(a, compute_uv=False) ** 3) / 10,
    "qr": lambda a: jnp.sum(jnp.linalg.qr(a)[1] ** 3) / 10 + jnp.linalg.qr(a)[0][0, 1],
    "expm": lambda a: jnp.sum(jax.scipy.linalg.expm(a / 4)),
    "norms": lambda a: jnp.linalg.norm(a) ** 3 / 10 + jnp.linalg.norm(a, ord=1) + jnp.linalg.norm(a[0], ord=3),
    "trace, diagonal, triangle": lambda a: jnp.trace(a @ a) * jnp.sum(jnp.diagonal(a) ** 2) + jnp.sum(jnp.tril(a)) ** 2,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_a_matrix(name: str) -> None:
    check_every_verb(FUNCTIONS[name], MATRIX, tolerance=1e-8)


@pytest.mark.parametrize("name", ["inv", "det", "slogdet", "cholesky", "eigenvectors"])
def test_functions_of_a_matrix_against_differences(name: str) -> None:
    x = MATRIX.ravel()
    f = FUNCTIONS[name]
    got = nb.hessian(lambda x: f(x.reshape(3, 3)))(x)
    assert_close(got, by_differences(lambda x: f(x.reshape(3, 3)), x), tolerance=1e-4)


@pytest.mark.parametrize("strategy", ["legs-backward", "legs-forward", "columns"])
def test_det_of_a_singular_matrix(strategy: str) -> None:
    # det [[a, b], [c, d]] = a d - b c, whatever the numbers
    want = np.array([[0, 0, 0, 1], [0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0]], float).reshape(2, 2, 2, 2)
    for x in (np.array([[1.0, 2.0], [2.0, 4.0]]), np.zeros((2, 2)), np.array([[1.0, 2.0], [2.0, 4.0 + 1e-14]])):
        if not np.allclose(jax.hessian(jnp.linalg.det)(x), want):
            # JAX 0.12 eliminates small matrices with pivots, which has no derivative at a singular one; no less is asked
            assert jax.__version_info__ >= (0, 12)
            continue
        assert_close(nb.hessian(jnp.linalg.det, strategy=strategy)(x), want)


def test_row_samples_are_fixed_by_the_generator() -> None:
    for row in ROWS.values():
        first, again = (row.sample(np.random.default_rng(1)) for _ in range(2))
        for a, b in zip(first[0], again[0], strict=True):
            np.testing.assert_array_equal(a, b)
