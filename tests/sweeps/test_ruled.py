"""Solves, roots and functions with a rule: read as graphs, every verb against JAX, and nothing grows like n² columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close, check_every_verb

import nablax as nb

RANDOM = np.random.default_rng(7)
N = 3
VECTOR = RANDOM.normal(size=N)
MATRIX = RANDOM.normal(size=(N, N)) + 4 * np.eye(N)


def solved(a: Any, b: Any) -> Any:
    """A x = b by a function that JAX must not look into."""
    still = jax.lax.stop_gradient(a)
    return jax.lax.custom_linear_solve(
        lambda v: a @ v, b, lambda _, b: jnp.linalg.solve(still, b), lambda _, b: jnp.linalg.solve(still.T, b)
    )


def system(ab: Any) -> Any:
    return solved(ab[:, :N], ab[:, N])


def two_unknowns(x: Any) -> Any:
    def product(s: Any) -> Any:
        return {"u": (3.0 + x) * s["u"] + x[0] * s["v"], "v": (4.0 + x[1] ** 2) * s["v"] + s["u"][::-1]}

    def dense(product: Any, b: Any) -> Any:
        flat, unravel = jax.flatten_util.ravel_pytree(b)
        matrix = jax.jacobian(lambda z: jax.flatten_util.ravel_pytree(product(unravel(z)))[0])(flat)
        return unravel(jnp.linalg.solve(matrix, flat))

    found = jax.lax.custom_linear_solve(product, {"u": jnp.sin(x), "v": x**2}, dense, dense)
    return jnp.concatenate([found["u"] ** 2, jnp.sin(found["v"])])


def conjugate_gradients(x: Any) -> Any:
    a = 5.0 * jnp.eye(N) + jnp.outer(x, x)
    return jax.scipy.sparse.linalg.cg(lambda v: a @ v, jnp.sin(x), tol=1e-14)[0]


def fixed_point(w: Any, b: Any, start: Any) -> Any:
    """The solution of y = tanh(w y + b)."""
    return jax.lax.custom_root(
        lambda y: y - jnp.tanh(w @ y + b),
        start,
        lambda f, y: jax.lax.fori_loop(0, 60, lambda _, y: y - f(y), y),
        lambda g, y: jnp.linalg.solve(jax.jacobian(g)(y), y),
    )


def network(w: Any) -> Any:
    return fixed_point(0.2 * w, jnp.arange(1.0, N + 1.0) / N, jnp.zeros(N))


def along_a_loop(w: Any) -> Any:
    def turn(y: Any, b: Any) -> Any:
        y = fixed_point(0.2 * w, b, y)
        return y, y**2

    last, every = jax.lax.scan(turn, jnp.zeros(N), jnp.stack([VECTOR, 2 * VECTOR]))
    return jnp.concatenate([last, jnp.ravel(every)])


@jax.custom_jvp
def layer(x: Any, w: Any) -> Any:
    """Two results of two shapes."""
    return jnp.sin(x @ w), jnp.sum(x**2)


@layer.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (x, w), (dx, dw) = primals, tangents
    return layer(x, w), (jnp.cos(x @ w) * (dx @ w + x @ dw), 2.0 * jnp.sum(x * dx))


@jax.custom_jvp
def through_itself(x: Any) -> Any:
    """A rule that needs the values, in which it is not linear."""
    return jnp.exp(x), jnp.cumsum(jnp.exp(x))


@through_itself.defjvp
def _(primals: Any, tangents: Any) -> Any:
    powers, sums = through_itself(*primals)
    return (powers, sums), (powers * tangents[0], jnp.cumsum(powers * tangents[0]))


FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "a linear solve": (system, np.concatenate([MATRIX, VECTOR[:, None]], 1)),
    "a solve with one matrix for both": (lambda a: solved(a, solved(a, a[0])), MATRIX),
    "two unknowns": (two_unknowns, VECTOR),
    "conjugate gradients": (conjugate_gradients, VECTOR),
    "a root": (network, RANDOM.normal(size=(N, N))),
    "roots of a batch": (
        lambda w: jnp.ravel(jax.vmap(lambda b: fixed_point(0.2 * w, b, jnp.zeros(N)))(np.stack([VECTOR, 2 * VECTOR]))),
        RANDOM.normal(size=(N, N)),
    ),
    "roots along a loop": (along_a_loop, RANDOM.normal(size=(N, N))),
    "two results": (lambda x: layer(x[:, :2], x[:, 2:])[0] * layer(x[:, 2:], x[:, :2])[1], RANDOM.normal(size=(2, 4))),
    "a rule that calls itself": (lambda x: jnp.multiply(*through_itself(jnp.sin(x))), VECTOR),
    "a pseudoinverse": (jnp.linalg.pinv, RANDOM.normal(size=(3, 2))),
}  # fmt: skip


def total(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: jnp.sum(jnp.sin(f(x)))


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_verb(name: str) -> None:
    f, x = FUNCTIONS[name]
    check_every_verb(total(f), x, tolerance=1e-8)


@pytest.mark.parametrize("name", ["a linear solve", "a root", "a rule that calls itself"])
@pytest.mark.parametrize("strategy", ["legs-backward", "legs-forward"])
def test_legs(name: str, strategy: str) -> None:
    f, x = FUNCTIONS[name]
    want = np.asarray(jax.hessian(total(f))(x)).reshape(x.size, x.size)
    assert_close(nb.hessian(total(f), strategy=strategy)(x).reshape(x.size, -1), want, tolerance=1e-9)
    diagonal = nb.hessian_diagonal(total(f), strategy=strategy)(x)
    assert_close(np.ravel(diagonal), np.diag(want), tolerance=1e-9)


def test_every_row_of_a_vector() -> None:
    f, x = FUNCTIONS["a linear solve"]
    assert_close(nb.jacobian(f)(x), jax.jacobian(f)(x), tolerance=1e-9)
    for strategy in ("legs-backward", "legs-forward"):
        assert_close(nb.hessian(f, strategy=strategy)(x), jax.hessian(f)(x), tolerance=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["conjugate gradients", "a rule that calls itself"])
def test_third_order(name: str) -> None:
    f, x = FUNCTIONS[name]
    assert_close(nb.derivative(total(f), 3)(x), jax.jacfwd(jax.hessian(total(f)))(x), tolerance=1e-8)


UNCOUPLED: dict[str, Callable[[Any], Any]] = {
    "a solve": lambda x: jax.scipy.sparse.linalg.cg(lambda v: (2.0 + x**2) * v, jnp.sin(x), tol=1e-14)[0],
    "a root": lambda x: jax.lax.custom_root(
        lambda y: y**3 + y - x,
        jnp.zeros_like(x),
        lambda f, y: jax.lax.fori_loop(0, 60, lambda _, y: y - f(y) / (3.0 * y**2 + 1.0), y),
        lambda g, y: y / g(jnp.ones_like(y)),
    ),
    "a rule": lambda x: layer(x[:, None], jnp.ones((1, 1)))[0][:, 0],
}


@pytest.mark.parametrize("name", UNCOUPLED)
def test_unknowns_that_do_not_meet(name: str) -> None:
    f = UNCOUPLED[name]
    found = nb.hessian_sparse(total(f))(VECTOR)
    assert found.nse == N
    assert_close(found.todense(), jax.hessian(total(f))(VECTOR), tolerance=1e-9)
    assert nb.jacobian_sparse(f)(VECTOR).nse == N


def test_a_solve_by_hand() -> None:
    # x = b / a: f = x has the second derivatives 2 b / a³, -1 / a², 0
    f = lambda z: jax.lax.custom_linear_solve(lambda v: z[0] * v, z[1], lambda _, b: b / z[0], lambda _, b: b / z[0])
    got = nb.hessian(f, strategy="legs-backward")(np.array([2.0, 3.0]))
    assert_close(got, np.array([[0.75, -0.25], [-0.25, 0.0]]))


@pytest.mark.parametrize(
    ("f", "most"),
    [
        (lambda a: jnp.sum(jnp.sin(solved(a, jnp.ones(len(a))))), 3.5),
        (lambda w: jnp.sum(fixed_point(w, 1.0, w[0])), 4.5),
    ],
    ids=["solve", "root"],
)
def test_the_diagonal_in_a_matrix_needs_no_column_for_each_element(f: Callable[[Any], Any], most: float) -> None:
    # n² columns, each with a solve, would be n⁵ operations
    def flops(n: int) -> float:
        asked = nb.plan(f, "diagonal", strategy="legs-backward")
        return asked(jnp.eye(n)).choice.chosen.cost.flops

    assert flops(48) <= 4**most * flops(12)


def test_a_result_with_a_rule_that_is_read_twice() -> None:
    # |(x, 2)| has the second derivative 4 / |(x, 2)|³; the first of three is read twice
    x = np.array([0.7, -0.8, 0.9])
    places = np.array([0, 1, 2, 0])
    want = np.diag(np.array([2.0, 1.0, 1.0]) * 4.0 / np.hypot(x, 2.0) ** 3)
    for strategy in ("legs-backward", "legs-forward", "columns"):
        assert_close(nb.hessian(lambda x: jnp.sum(jnp.hypot(x, 2.0)[places]), strategy=strategy)(x), want)


@pytest.mark.parametrize("name", ["a root", "a rule"])
def test_results_read_at_places_that_repeat(name: str) -> None:
    places = np.array([2, 0, 0, 1, 2])
    weights = np.arange(1.0, 6.0)
    check_every_verb(lambda x: jnp.sum(weights * UNCOUPLED[name](x)[places]), VECTOR, tolerance=1e-9)
    check_every_verb(lambda x: jnp.sum(weights * jnp.sin(UNCOUPLED[name](x)[places])), VECTOR, tolerance=1e-9)
