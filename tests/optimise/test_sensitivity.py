"""How a minimum moves with what else its function depends on: by hand, by differences, and where there is no answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nablax as nb
from nablax.optimise import brent, dichotomy, golden_section, newton_1d, parabolic, slope_bisection

METHODS = ["auto", "newton", "steihaug", "cubic", "newton-cg", "l-bfgs", "gradient-descent"]


def well(x: Any, a: Any) -> Any:
    """Lowest where 2(x − a) + 4x³ = 0."""
    return jnp.sum((x - a) ** 2) + jnp.sum(x**4)


def slope(x: Any) -> Any:
    """dx/da = 2 / (2 + 12x²)."""
    return 1 / (1 + 6 * x**2)


@pytest.mark.parametrize("method", METHODS)
def test_both_modes_and_second_order(method: str) -> None:
    found = lambda a: nb.minimise(well, jnp.zeros(2), a, method=method, tol=1e-10).x
    a = jnp.array([1.0, -0.4])
    x = found(a)
    np.testing.assert_allclose(x + 2 * x**3, a, atol=1e-9)
    want = np.diag(slope(x))
    np.testing.assert_allclose(jax.jacfwd(found)(a), want, atol=1e-8)
    np.testing.assert_allclose(jax.jacrev(found)(a), want, atol=1e-8)
    # d²x/da² = −12 x (dx/da)³
    second = jax.grad(jax.grad(lambda b: found(jnp.full(2, b))[0]))(1.0)
    np.testing.assert_allclose(second, -12 * x[0] * slope(x[0]) ** 3, rtol=1e-6)


def test_the_lowest_value_moves_as_if_the_point_stood_still() -> None:
    lowest = lambda a: nb.minimise(well, jnp.zeros(2), a, tol=1e-10).value
    a = jnp.array([1.0, -0.4])
    x = nb.minimise(well, jnp.zeros(2), a, tol=1e-10).x
    np.testing.assert_allclose(jax.grad(lowest)(a), -2 * (x - a), rtol=1e-8)


@pytest.mark.parametrize(
    "transform", [jax.grad, jax.jacfwd, lambda f: jax.jit(jax.grad(f))], ids=["grad", "jvp", "jit"]
)
def test_what_the_function_refers_to_counts_as_what_it_is_given(transform: Callable[..., Any]) -> None:
    x = nb.minimise(well, jnp.zeros(1), 1.0, tol=1e-10).x[0]
    start = jnp.zeros(1)
    found = transform(lambda a: nb.minimise(lambda x: well(x, a), start, tol=1e-10).x[0])(1.0)
    np.testing.assert_allclose(found, slope(x), rtol=1e-8)


def test_mapped_over_what_the_function_refers_to() -> None:
    start, many = jnp.zeros(1), jnp.array([0.5, 1.0])
    found = jax.vmap(lambda a: nb.minimise(lambda x: well(x, a), start, tol=1e-10).x[0])(many)
    np.testing.assert_allclose(found + 2 * found**3, many, atol=1e-9)


def test_unknowns_at_a_bound_stay() -> None:
    found = lambda a: nb.minimise(lambda x, a: jnp.sum((x - a) ** 2) + x[0] * x[1], jnp.zeros(3), a, bounds=(-1, 0.5)).x
    # x₂ is held at ½; 2(x₀ − a₀) + x₁ = 0 and 2(x₁ − a₁) + x₀ = 0
    a = jnp.array([0.2, -0.1, 3.0])
    np.testing.assert_allclose(found(a), [1.0 / 3, -0.8 / 3, 0.5], atol=1e-6)
    want = np.array([[4.0, -2.0, 0.0], [-2.0, 4.0, 0.0], [0.0, 0.0, 0.0]]) / 3
    np.testing.assert_allclose(jax.jacrev(found)(a), want, atol=1e-8)
    np.testing.assert_allclose(jax.jacfwd(found)(a), want, atol=1e-8)


@pytest.mark.parametrize("bounds", [None, (-np.inf, 0.3)], ids=["free", "bounded"])
def test_many_unknowns_by_products(bounds: Any) -> None:
    weights = jnp.linspace(1.0, 5.0, 1_200)
    f = lambda x, a: weights @ x**2 / 2 - a * jnp.sum(x)
    found = jax.grad(lambda a: jnp.sum(nb.minimise(f, jnp.zeros(1_200), a, bounds=bounds, tol=1e-8).x))(1.0)
    held = jnp.zeros(1_200, bool) if bounds is None else 1 / weights >= bounds[1]
    np.testing.assert_allclose(found, jnp.sum(jnp.where(held, 0.0, 1 / weights)), rtol=1e-7)


def test_residuals() -> None:
    r = lambda x, a: jnp.stack([x[0] - a, x[1] * x[0] - 1, 0.1 * x[1]])
    found = lambda a: nb.minimise(r, jnp.ones(2), a, method="levenberg-marquardt", tol=1e-12).x
    difference = (found(2.0 + 1e-5) - found(2.0 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.jacrev(found)(2.0), difference, rtol=1e-6)


def test_a_minimum_inside_another() -> None:
    # the inner minimum is at 0.3 where a = 0.3 + 2 · 0.3³
    outer = lambda a: jnp.sum((nb.minimise(well, jnp.zeros(2), a, tol=1e-12).x - 0.3) ** 2)
    np.testing.assert_allclose(nb.minimise(outer, jnp.array([1.0, 2.0])).x, 0.354, atol=1e-7)
    x = nb.minimise(well, jnp.zeros(2), jnp.array([1.0, 2.0]), tol=1e-12).x
    # d²/da² (x − 0.3)² = 2 x′² + 2 (x − 0.3) x″
    want = 2 * slope(x) ** 2 - 24 * (x - 0.3) * x * slope(x) ** 3
    np.testing.assert_allclose(nb.hessian(outer)(jnp.array([1.0, 2.0])), np.diag(want), rtol=1e-8, atol=1e-12)


def test_the_start_does_not_count() -> None:
    found = jax.grad(lambda x0: nb.minimise(well, jnp.full(2, x0), 1.0).x[0])(0.3)
    assert found == 0


SEARCHES = [dichotomy, golden_section, parabolic, brent, newton_1d, slope_bisection]


@pytest.mark.parametrize("search", SEARCHES, ids=[search.__name__ for search in SEARCHES])
def test_the_minimum_on_an_interval(search: Callable[..., Any]) -> None:
    found = lambda a: search(lambda x: (x - a) ** 2 + x**4, -1.0, 2.0, tol=1e-9)
    x = found(0.7).x
    moves = lambda a: found(a).x
    np.testing.assert_allclose(jax.grad(moves)(0.7), slope(x), rtol=1e-7)
    np.testing.assert_allclose(jax.jvp(moves, (0.7,), (1.0,))[1], slope(x), rtol=1e-7)
    np.testing.assert_allclose(jax.vmap(jax.grad(moves))(jnp.array([0.7, -0.2]))[0], slope(x), rtol=1e-7)
    np.testing.assert_allclose(jax.grad(jax.grad(moves))(0.7), -12 * x * slope(x) ** 3, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(lambda a: found(a).value)(0.7), -2 * (x - 0.7), rtol=1e-6)
    assert np.isnan(jax.grad(lambda a: found(a).interval[0])(0.7))


@pytest.mark.parametrize("search", [dichotomy, golden_section, brent])
def test_a_minimum_at_an_end_moves_with_the_end(search: Callable[..., Any]) -> None:
    found = lambda a, b: search(lambda x: (x + 3) ** 2, a, b).x
    np.testing.assert_allclose(jax.grad(found, argnums=(0, 1))(0.5, 2.0), (1.0, 0.0))


def test_a_search_without_derivatives_needs_none() -> None:
    """A function that has no derivative is searched all the same."""
    host = lambda x: jax.pure_callback(lambda x: (np.asarray(x) - 0.25) ** 2, jax.ShapeDtypeStruct((), x.dtype), x)
    np.testing.assert_allclose(golden_section(host, -1.0, 2.0, tol=1e-6).x, 0.25, atol=1e-6)


def test_integers_that_the_function_refers_to() -> None:
    """Traced ones too: nothing of them is differentiated, and nothing of them is lost."""

    @jax.jit
    def moved(a: Any, powers: Any) -> Any:
        return nb.minimise(lambda x: jnp.sum(x ** (2 * powers)) + jnp.sum((x - a) ** 2), jnp.zeros(2), tol=1e-10).x

    powers = jnp.array([2, 1])
    x = moved(1.0, powers)
    want = [slope(x[0]), 0.5]
    np.testing.assert_allclose(jax.jacfwd(moved)(1.0, powers), want, rtol=1e-8)
    np.testing.assert_allclose(jax.jacrev(moved)(1.0, powers), want, rtol=1e-8)


def test_nothing_is_told_where_there_is_no_minimum() -> None:
    assert np.isnan(jax.grad(lambda a: nb.minimise(well, jnp.zeros(2), a, max_iterations=1).x[0])(1.0))
    assert np.isnan(jax.grad(lambda a: nb.minimise(well, jnp.zeros(2), a).smallest_eigenvalue)(1.0))
    singular = lambda x, a: (x[0] - a) ** 2 + 0 * x[1]
    assert not np.isfinite(jax.grad(lambda a: nb.minimise(singular, jnp.zeros(2), a).x[1])(1.0))
