"""Every row of the matrix functions: differential and second derivative against JAX; a falsified row is noticed."""

from __future__ import annotations

import dataclasses
import itertools
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
from nablax.planning.strategies import legs_backward, legs_forward
from nablax.sweeps.local import differential


def check(row: MatrixRow) -> None:
    """The Jacobian along random directions against jax.jvp, and the Hessian of a weighted sum against JAX's.

    Where the row's domain is a linear space (symmetric matrices), both are asked along it.
    """
    generator = np.random.default_rng(5)
    arrays, params = row.sample(generator)
    graph = Graph()
    leaves = tuple(graph.leaf(k, x.shape, x.dtype) for k, x in enumerate(arrays))

    def project(*arrays: Any) -> tuple[Any, ...]:
        return arrays if row.projection is None else row.projection(*arrays, **params)

    def value(*arrays: Any) -> Any:
        found = row.evaluate(*arrays, **{name: x for name, x in params.items() if name != "output"})
        return found if row.shapes is None else found[params["output"]]

    shape = jax.eval_shape(value, *arrays).shape
    node = graph.matrix_function(row.name, leaves, shape, **params)
    weights = generator.normal(size=shape)
    axes = fresh(shape)
    weighted = Term(1.0, (Factor(node, axes), Factor(graph.constant(weights), axes)), ((),))
    output = graph.multiply(weighted, node.dtype)
    jacobian = [
        graph.sum_of(differential(graph, node, 0b11).get(leaf, []), shape + leaf.shape, node.dtype) for leaf in leaves
    ]
    problem = Problem(graph, leaves, leaves, (output,), None)
    blocks = {build: build(problem, HESSIAN).nodes for build in (legs_backward, legs_forward)}
    nodes = [*jacobian, *(block for found in blocks.values() for block in found.values())]
    found = iter(jax.jit(lambda arrays: evaluate(nodes, arrays))(arrays))

    directions = project(*(generator.normal(size=x.shape) for x in arrays))
    pairs = [(next(found), direction) for direction in directions]
    along = sum(np.tensordot(matrix, direction, np.ndim(direction)) for matrix, direction in pairs)
    assert_close(along, jax.jvp(value, arrays, directions)[1], what=f"{row.name}: differential")
    every = tuple(range(len(arrays)))
    want = jax.jit(jax.hessian(lambda *a: jnp.sum(weights * value(*project(*a))), argnums=every))(*arrays)
    onto = jax.jacobian(project, argnums=every)(*arrays)
    for build, own in blocks.items():
        for _, a, b in own:
            block = np.tensordot(next(found), onto[b][b], np.ndim(arrays[b]))
            block = np.tensordot(block, onto[a][a], [range(np.ndim(arrays[a]))] * 2)
            block = np.transpose(block, [*range(np.ndim(arrays[b]), block.ndim), *range(np.ndim(arrays[b]))])
            assert_close(block, want[a][b], what=f"{row.name}: block {a}, {b} by {build.__name__}")


@pytest.mark.parametrize("name", sorted(ROWS))
def test_row(name: str) -> None:
    check(ROWS[name])


@pytest.mark.parametrize(("name", "output"), [("eigh", 1), ("svd", 0), ("svd", 2), ("qr", 1)])
def test_other_values_of_a_row(name: str, output: int) -> None:
    row = ROWS[name]

    def sample(generator: np.random.Generator) -> Any:
        arrays, params = row.sample(generator)
        return arrays, params | {"output": output}

    check(dataclasses.replace(row, sample=sample))


@pytest.mark.parametrize("name", ["inv", "solve", "logdet", "det", "cholesky", "solve_triangular", "svd", "reduce_max"])
def test_a_falsified_row_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = ROWS[name]

    def falsified(*args: Any, **params: Any) -> Any:
        found = row.differential(*args, **params)
        return {k: [t.replace(coefficient=1.01 * t.coefficient) for t in terms] for k, terms in found.items()}

    monkeypatch.setitem(ROWS, name, dataclasses.replace(row, differential=falsified))
    with pytest.raises(AssertionError, match=f"^{name}: differential"):
        check(row)


def every_triangular_solve(a: Any) -> Any:
    """All options on one stack, whose other triangles hold what no solve may read."""
    total = jnp.zeros(())
    for k, options in enumerate(itertools.product((False, True), repeat=4)):
        left_side, lower, transpose_a, unit_diagonal = options
        stack = jnp.stack([a, a * a])
        b = jnp.stack([a[:, :2], a[:, 1:]]) if left_side else jnp.stack([a[:2], a[1:]])
        x = jax.lax.linalg.triangular_solve(
            stack, b, left_side=left_side, lower=lower, transpose_a=transpose_a, unit_diagonal=unit_diagonal
        )
        total = total + (1.0 + 0.1 * k) * jnp.sum(x**2)
    return total / 10


def weighted(*arrays: Any) -> Any:
    """A number in which every element of every array has a weight of its own."""
    weights = (np.cos(np.arange(1.0, x.size + 1.0)).reshape(x.shape) for x in arrays)
    return sum(jnp.sum(jnp.asarray(w, x.dtype) * (x**2 + x)) for w, x in zip(weights, arrays, strict=True))


def marginal_likelihood(theta: Any, points: Any, values: Any) -> Any:
    """A Gaussian process's: a length scale per input, signal, noise, all logarithms."""
    n, d = points.shape
    scaled = points / jnp.exp(theta[:d])
    squares = jnp.sum((scaled[:, None] - scaled[None]) ** 2, -1)
    kernel = jnp.exp(theta[d]) * jnp.exp(-squares / 2) + jnp.exp(theta[d + 1]) * jnp.eye(n, dtype=points.dtype)
    factor = jax.scipy.linalg.cho_factor(kernel, lower=True)
    return -0.5 * values @ jax.scipy.linalg.cho_solve(factor, values) - jnp.sum(jnp.log(jnp.diagonal(factor[0])))


def process(n: int, d: int, dtype: str = "float64") -> tuple[Any, ...]:
    generator = np.random.default_rng(7)
    points = generator.normal(size=(n, d))
    theta = np.append(0.3 + 0.1 * generator.normal(size=d), [0.2, -1.0])
    return tuple(x.astype(dtype) for x in (theta, points, np.sin(points.sum(1))))


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
    "triangular solves with every option": every_triangular_solve,
    "marginal likelihood": lambda a: marginal_likelihood(a.ravel()[:4], *process(5, 2)[1:]),
    "eigh reads one triangle": lambda a: weighted(*jnp.linalg.eigh(a + a.T, UPLO="U", symmetrize_input=False)),
    "svd of a tall matrix": lambda a: weighted(*jnp.linalg.svd(a[:, :2], full_matrices=False)),
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


@pytest.mark.parametrize(
    "name",
    [
        "inv",
        "det",
        "slogdet",
        "cholesky",
        "eigenvectors",
        "triangular solve",
        "singular values",
        "qr",
        "marginal likelihood",
    ],
)
def test_functions_of_a_matrix_against_differences(name: str) -> None:
    x = MATRIX.ravel()
    f = FUNCTIONS[name]
    got = nb.hessian(lambda x: f(x.reshape(3, 3)))(x)
    assert_close(got, by_differences(lambda x: f(x.reshape(3, 3)), x), tolerance=1e-4)


ON_SHAPES = {
    "cholesky": lambda a: weighted(jnp.linalg.cholesky(a @ a.mT + jnp.eye(a.shape[-1]))),
    "triangular solve": lambda a: weighted(jax.scipy.linalg.solve_triangular(a + 2 * jnp.eye(a.shape[-1]), a)),
    "eigh": lambda a: weighted(*jnp.linalg.eigh(a + a.mT)),
    "svd of a wide matrix": lambda a: weighted(*jnp.linalg.svd(a[..., :1, :], full_matrices=False)),
    "qr": lambda a: weighted(*jnp.linalg.qr(a)),
    "max": lambda a: weighted(jnp.max(a, -1, initial=-9.0)),
}


@pytest.mark.parametrize("name", ON_SHAPES)
def test_awkward_shapes(name: str) -> None:
    f = ON_SHAPES[name]
    for shape in ((1, 1), (0, 0), (2, 0, 0), (0, 2, 2), (1, 2, 2)):
        x = np.random.default_rng(1).normal(size=shape)
        got = jax.jit(lambda x: (nb.hessian(f)(x), nb.hessian_diagonal(f)(x), nb.hvp(f)(x, x)))(x)
        want = np.asarray(jax.hessian(f)(x)).reshape(x.size, x.size)
        assert_close(np.reshape(got[0], want.shape), want, tolerance=1e-9, what=f"{name} {shape}")
        assert_close(np.ravel(got[1]), np.diag(want), tolerance=1e-9, what=f"{name} {shape}")
        assert_close(np.ravel(got[2]), want @ x.ravel(), tolerance=1e-9, what=f"{name} {shape}")


@pytest.mark.parametrize("name", ["eigh", "svd", "qr", "cholesky", "triangular solve"])
def test_jacobians(name: str) -> None:
    functions = {
        "eigh": lambda a: jnp.linalg.eigh(a + a.T)[1],
        "svd": lambda a: jnp.linalg.svd(a[:, :2], full_matrices=False)[0],
        "qr": lambda a: jnp.linalg.qr(a)[0],
        "cholesky": lambda a: jnp.linalg.cholesky(a @ a.T),
        "triangular solve": lambda a: jax.scipy.linalg.solve_triangular(a, a[0], lower=True),
    }
    f = functions[name]
    for strategy in ("legs-backward", "legs-forward"):
        assert_close(nb.jacobian(f, strategy=strategy)(MATRIX), jax.jacobian(f)(MATRIX), tolerance=1e-9, what=strategy)


def test_a_gaussian_process_is_pushed_forward_through_its_kernel() -> None:
    arguments = process(200, 12)
    plan = nb.plan(marginal_likelihood, "hessian")(*arguments)
    assert plan.strategy == "legs-forward"
    assert not [step for step in plan.steps if "by JAX" in step]


def test_a_gaussian_process_in_single_precision() -> None:
    want = np.asarray(jax.hessian(marginal_likelihood)(*process(20, 3)))
    arguments = process(20, 3, "float32")
    # compiled, as both are used
    got, theirs = (np.asarray(jax.jit(ask(marginal_likelihood))(*arguments)) for ask in (nb.hessian, jax.hessian))
    size = np.max(np.abs(want))
    assert np.max(np.abs(got - want)) <= 4 * np.max(np.abs(theirs - want)) + 1e-6 * size


def test_one_evaluation_gives_all_values(monkeypatch: pytest.MonkeyPatch) -> None:
    row, runs = ROWS["svd"], []

    def counted(x: Any) -> Any:
        runs.append(None)
        return row.evaluate(x)

    monkeypatch.setitem(ROWS, "svd", dataclasses.replace(row, evaluate=counted))
    nb.hessian(lambda a: weighted(*jnp.linalg.svd(a[:, :2], full_matrices=False)), strategy="legs-forward")(MATRIX)
    assert len(runs) == 1


@pytest.mark.parametrize("strategy", ["legs-backward", "legs-forward", "columns"])
def test_det_of_a_singular_matrix(strategy: str) -> None:
    # det [[a, b], [c, d]] = a d - b c, whatever the numbers
    want = np.array([[0, 0, 0, 1], [0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0]], float).reshape(2, 2, 2, 2)
    for x in (np.array([[1.0, 2.0], [2.0, 4.0]]), np.zeros((2, 2)), np.array([[1.0, 2.0], [2.0, 4.0 + 1e-14]])):
        # exact also where JAX 0.12, which eliminates small matrices with pivots, gives zeros at a singular one
        assert_close(nb.hessian(jnp.linalg.det, strategy=strategy)(x), want)


@pytest.mark.parametrize("strategy", ["legs-backward", "legs-forward", "columns"])
@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_the_second_derivative_of_a_determinant_of_three_rows(strategy: str, rank: int) -> None:
    # d² det / dx_ij dx_kl = sum_mn e_ikm e_jln x_mn
    e = np.zeros((3, 3, 3))
    for sign, order in ((1, (0, 1, 2)), (-1, (0, 2, 1))):
        for turn in range(3):
            e[tuple(np.roll(order, turn))] = sign
    x = np.random.default_rng(3).normal(size=(3, rank)) @ np.random.default_rng(4).normal(size=(rank, 3))
    want = np.einsum("ikm,jln,mn->ijkl", e, e, x)
    assert_close(nb.hessian(jnp.linalg.det, strategy=strategy)(x), want, scale=float(np.abs(x).max()) or 1.0)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5])
def test_determinants_of_a_stack_do_not_couple_its_matrices(rows: int) -> None:
    stack = np.random.default_rng(5).normal(size=(2, 3, rows, rows))
    over_all = jax.vmap(jax.vmap(jnp.linalg.det))
    for function in (jnp.linalg.det, jax.vmap(jnp.linalg.det), over_all):
        found = nb.hessian_sparse(lambda x, function=function: jnp.sum(function(x) ** 2))(stack)
        assert found.nse == 6 * rows**4
        want = jax.hessian(lambda x, function=function: jnp.sum(function(x) ** 2))(stack)
        assert_close(found.todense(), np.asarray(want).reshape(stack.size, stack.size))


def test_row_samples_are_fixed_by_the_generator() -> None:
    for row in ROWS.values():
        first, again = (row.sample(np.random.default_rng(1)) for _ in range(2))
        for a, b in zip(first[0], again[0], strict=True):
            np.testing.assert_array_equal(a, b)
