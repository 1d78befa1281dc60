"""Differences: worked numbers, orders of accuracy, and what exactness buys."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nablax as nb

X = jnp.array([0.7, -1.2, 2.0])


def f(x):
    return jnp.sum(jnp.sin(x) * x) + x[0] * x[1] ** 2


@pytest.mark.parametrize(("method", "accuracy"), [("forward", 1e-6), ("central", 1e-9), ("complex-step", 1e-14)])
def test_gradient(method: str, accuracy: float) -> None:
    found = nb.finite_difference(f, method=method)(X)
    np.testing.assert_allclose(found, jax.grad(f)(X), rtol=accuracy)


@pytest.mark.parametrize(("method", "accuracy"), [("forward", 1e-4), ("central", 1e-6)])
def test_hessian(method: str, accuracy: float) -> None:
    found = nb.finite_difference(f, 2, method=method)(X)
    np.testing.assert_allclose(found, jax.hessian(f)(X), atol=accuracy)


def test_worked_numbers() -> None:
    cube = lambda x: x**3
    # (1.5^3 - 1) / 0.5, (1.5^3 - 0.5^3) / 1, (2^3 - 2 * 1.5^3 + 1) / 0.25
    np.testing.assert_allclose(nb.finite_difference(cube, method="forward", step=0.5)(1.0), 4.75)
    np.testing.assert_allclose(nb.finite_difference(cube, step=0.5)(1.0), 3.25)
    np.testing.assert_allclose(nb.finite_difference(cube, 2, method="forward", step=0.5)(1.0), [[9.0]])
    np.testing.assert_allclose(nb.finite_difference(cube, 2, step=0.5)(1.0), [[6.0]])


def test_trees() -> None:
    g = lambda p, s: s * jnp.sum(p["a"] ** 2) * p["b"]
    p = {"a": X, "b": jnp.array(2.0)}
    found, wanted = nb.finite_difference(g)(p, 3.0), jax.grad(g)(p, 3.0)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8), found, wanted)


def test_the_curve_is_a_v() -> None:
    curve = nb.step_errors(f)(X)
    for method, best in (("forward", 1e-6), ("central", 1e-9)):
        errors = curve.errors[method]
        step, least = curve.best(method)
        assert least < best
        assert errors[0] > 100 * least
        assert errors[-1] > 100 * least
        assert 1e-12 < step < 1e-2
    assert curve.errors["complex-step"][-1] < 1e-14
    assert str(curve).startswith("error of the gradient by differences\nstep           forward       central")
    assert curve.draw().svg.count("<path") >= 3


def test_hessian_and_product_curves() -> None:
    assert nb.step_errors(f, 2, steps=[1e-2, 1e-4, 1e-8])(X).best("central")[0] == 1e-4
    curve = nb.step_errors(f, 0)(X, jnp.ones(3))
    assert curve.quantity == "H v"
    assert 1e-11 < curve.best("forward")[1] < 1e-6


def test_refusals() -> None:
    with pytest.raises(nb.ArgumentError, match=r"method='complex-step' with order=2. Use one of: 'forward', 'central'"):
        nb.finite_difference(f, 2, method="complex-step")
    with pytest.raises(nb.ArgumentError, match=r"order=3; differences of order 1 and 2 exist"):
        nb.finite_difference(f, 3)
    with pytest.raises(nb.ArgumentError, match=r"step=-1; a step is a positive number"):
        nb.finite_difference(f, step=-1)
