"""Residuals against SciPy's least_squares, and bounds against SciPy's L-BFGS-B and hand-written answers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import nablax as nb
from nablax import OutputError
from nablax.optimise import told

CONVERGED = "The gradient is as small as asked."
TIMES = np.linspace(0.0, 4.0, 25)
COUNTS = 2.5 * np.exp(-1.3 * TIMES) + 0.5 + 0.02 * np.cos(9 * TIMES)


def decay(p: Any, t: Any, y: Any) -> Any:
    return p["a"] * jnp.exp(-p["rates"][0] * t) + p["rates"][1] - y


@pytest.mark.parametrize("method", ["gauss-newton", "levenberg-marquardt"])
def test_a_decay_is_fitted(method: str) -> None:
    start = {"a": jnp.array(1.0), "rates": jnp.array([1.0, 0.0])}
    found = nb.minimise(decay, start, jnp.asarray(TIMES), jnp.asarray(COUNTS), method=method, tol=1e-10)
    assert told(found.status) == CONVERGED
    oracle = scipy.optimize.least_squares(
        lambda p: p[0] * np.exp(-p[1] * TIMES) + p[2] - COUNTS, [1.0, 1.0, 0.0], xtol=1e-15, ftol=1e-15, gtol=1e-15
    )
    ours = np.array([found.x["a"], *found.x["rates"]])
    np.testing.assert_allclose(ours, oracle.x, rtol=1e-8)
    np.testing.assert_allclose(found.value, oracle.cost, rtol=1e-10)


def test_rosenbrock_as_residuals() -> None:
    r = lambda x: (10 * (x[1] - x[0] ** 2), 1 - x[0])
    for method in ("gauss-newton", "levenberg-marquardt"):
        found = nb.minimise(r, jnp.array([-1.2, 1.0]), method=method, tol=1e-11)
        assert told(found.status) == CONVERGED
        np.testing.assert_allclose(found.x, 1.0, atol=1e-7)


def test_a_rank_deficient_jacobian() -> None:
    # r depends on x₀ + x₁ only: infinitely many minima, of which either method finds one
    r = lambda x: jnp.stack([x[0] + x[1] - 3.0, 2 * (x[0] + x[1]) - 6.0, (x[0] + x[1]) ** 2 - 9.0])
    for method in ("gauss-newton", "levenberg-marquardt"):
        found = nb.minimise(r, jnp.array([5.0, 1.0]), method=method)
        assert told(found.status) == CONVERGED
        np.testing.assert_allclose(jnp.sum(found.x), 3.0, rtol=1e-7)


def test_residuals_that_are_no_real_numbers() -> None:
    with pytest.raises(OutputError) as caught:
        nb.minimise(lambda x: jnp.arange(3), jnp.ones(2), method="gauss-newton")
    assert str(caught.value) == ("minimise takes residuals as arrays of real numbers; this function returns int64[3].")


# -- bounds ------------------------------------------------------------------------------------------------


def rosenbrock(x: Any) -> Any:
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def test_a_bound_that_holds() -> None:
    # on x₀ ≤ 0.5 the minimum is at the bound, with x₁ = 0.25
    found = nb.minimise(rosenbrock, jnp.array([-1.2, 1.0]), bounds=(-jnp.inf, jnp.array([0.5, jnp.inf])))
    assert (found.method, told(found.status)) == ("projected-newton", CONVERGED)
    np.testing.assert_allclose(found.x, [0.5, 0.25], rtol=1e-8)
    assert found.x[0] == 0.5


def test_bounds_that_do_not_hold_change_nothing() -> None:
    found = nb.minimise(rosenbrock, jnp.array([-1.2, 1.0]), bounds=(-5.0, 5.0))
    np.testing.assert_allclose(found.x, 1.0, atol=1e-6)


def test_a_start_outside_is_moved_inside_and_fixed_unknowns_stay() -> None:
    f = lambda p: jnp.sum((p["a"] - 3.0) ** 2) + jnp.sum((p["b"] + p["a"][0]) ** 2)
    start = {"a": jnp.array([9.0, 9.0]), "b": jnp.array(0.0)}
    lower = {"a": jnp.array([0.0, 2.0]), "b": jnp.array(-1.0)}
    upper = {"a": jnp.array([5.0, 2.0]), "b": jnp.array(1.0)}
    found = nb.minimise(f, start, bounds=(lower, upper))
    assert told(found.status) == CONVERGED
    assert float(found.x["a"][1]) == 2.0
    # b is at −1: (a − 3)² + (a − 1)² is lowest at 2
    np.testing.assert_allclose([found.x["a"][0], found.x["b"]], [2.0, -1.0], rtol=1e-7)


@pytest.mark.parametrize("size", [6, 1200])  # dense factors; products only
def test_against_scipy(size: int) -> None:
    target = np.sin(np.arange(size)) * 2
    f = lambda x, t: jnp.sum(jnp.cosh(x - t)) + jnp.sum((x[1:] - x[:-1]) ** 2)
    found = nb.minimise(f, jnp.zeros(size), jnp.asarray(target), bounds=(-0.5, 0.8), tol=1e-10)
    value_and_grad = jax.jit(jax.value_and_grad(f))
    theirs = scipy.optimize.minimize(
        lambda x: tuple(map(np.asarray, value_and_grad(x, target))), np.zeros(size), jac=True, method="L-BFGS-B",
        bounds=[(-0.5, 0.8)] * size, options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 5000},
    )  # fmt: skip
    assert told(found.status) == CONVERGED
    assert float(found.value) <= theirs.fun + 1e-10 * abs(theirs.fun)
    np.testing.assert_allclose(found.x, theirs.x, atol=1e-5)
