"""Equilibria: recurrent back-propagation against differences of the fixed point, and any fixed point."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
import pytest

import nablax as nb
from nablax import neural

N = 5
UNITS = [1, 4]


def example(n: int = N) -> tuple[Any, ...]:
    generator = np.random.default_rng(3)
    w = generator.normal(size=(n, n))
    w = 0.7 * w / np.linalg.norm(w, 2)  # a contraction: 200 steps leave 0.7²⁰⁰ = 1e-31
    return w, generator.normal(size=(n, n)), generator.normal(size=n), generator.normal(size=2)


def settled(w: Any, I: Any) -> Any:
    y = np.array(I)
    for _ in range(200):
        y = np.tanh(w @ y) + I
    return y


def test_gradient_against_differences_of_the_fixed_point() -> None:
    w, _, I, d = example()
    E = lambda w: 0.5 * np.sum((settled(w, I)[UNITS] - d) ** 2)
    net = neural.Recurrent(jnp.tanh, neural.squared_error(UNITS))
    np.testing.assert_allclose(net.forward(w, I).y, settled(w, I), atol=1e-12)
    np.testing.assert_allclose(net.value(w, I, d), E(w), atol=1e-12)
    gradient, step = np.zeros((N, N)), 1e-5
    for place in np.ndindex(N, N):
        unit = np.zeros((N, N))
        unit[place] = step
        gradient[place] = (E(w + unit) - E(w - unit)) / (2 * step)
    # step² = 1e-10 times third derivatives of order 10; rounding 1e-16/step
    np.testing.assert_allclose(net.gradient(w, I, d), gradient, atol=1e-8)


def by_custom_root(w: Any, I: Any, d: Any) -> Any:
    """The obvious JAX code."""
    root = jax.lax.custom_root(
        lambda y: jnp.tanh(w @ y) + I - y,
        I,
        lambda f, y: jax.lax.fori_loop(0, 200, lambda _, y: y + f(y), y),
        lambda linear, b: jnp.linalg.solve(jax.jacobian(linear)(b), b),
    )
    return 0.5 * jnp.sum((root[jnp.array(UNITS)] - d) ** 2)


SOLVERS: dict[str, Any] = {
    "relaxation": {},
    "a longer step": {"solver": neural.Relaxation(step=1.0)},
    "Anderson": {"solver": neural.Anderson()},
    "Newton": {"solver": optx.Newton(rtol=1e-12, atol=1e-12), "adjoint": lx.QR()},
    "fixed point": {"solver": optx.FixedPointIteration(rtol=1e-13, atol=1e-13)},
    "all relaxed": {"adjoint": neural.Relaxation()},
}


@pytest.mark.parametrize("name", SOLVERS)
def test_product_against_the_engine_through_custom_root(name: str) -> None:
    w, v, I, d = example()
    expected = nb.hvp(by_custom_root)(w, v, I, d)
    net = neural.Recurrent(jnp.tanh, neural.squared_error(UNITS), **SOLVERS[name])
    np.testing.assert_allclose(net.hvp(w, v, I, d), expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(jax.jit(net.hvp)(w, v, I, d), expected, rtol=0, atol=1e-9)


def test_batches_masks_and_cross_entropy() -> None:
    w, v, _, _ = example()
    generator = np.random.default_rng(0)
    I, d = generator.normal(size=(3, N)), generator.random((3, N))
    mask = generator.random((N, N)) < 0.6
    net = neural.Recurrent([jnp.tanh, jnp.sin] * 2 + [jnp.tanh], neural.cross_entropy(), mask=mask)
    product = net.hvp(w, v, I, d)
    each = [net.hvp(w * mask, v * mask, one, target) for one, target in zip(I, d, strict=True)]
    np.testing.assert_allclose(product, np.sum(each, axis=0), atol=1e-11)
    assert not np.asarray(product)[~mask].any()
    step = 1e-5
    difference = (net.gradient(w + step * v, I, d) - net.gradient(w - step * v, I, d)) / (2 * step)
    # step² = 1e-10 times third derivatives, gradients exact to 1e-13 over 1e-5
    np.testing.assert_allclose(product, difference, atol=1e-7)


def test_implicit_agrees_to_any_order() -> None:
    w, v, I, d = example()
    model = nb.implicit(lambda y, w, I: jnp.tanh(w @ y) + I)
    E = lambda w: 0.5 * jnp.sum((model(I, w, I)[jnp.array(UNITS)] - d) ** 2)
    net = neural.Recurrent(jnp.tanh, neural.squared_error(UNITS))
    np.testing.assert_allclose(jax.grad(E)(w), net.gradient(w, I, d), atol=1e-10)
    np.testing.assert_allclose(nb.hvp(E)(w, v), net.hvp(w, v, I, d), atol=1e-10)


def test_implicit_square_root() -> None:
    """Heron's iteration y = (y + a/y)/2: y = √a, whose derivatives are known; a tree as the state, GMRES as the solver."""
    root = nb.implicit(lambda y, a: {"r": 0.5 * (y["r"] + a / y["r"])}, linear_solver=lx.GMRES(rtol=1e-12, atol=1e-12))
    at = lambda a: root({"r": jnp.ones(1)}, a)["r"][0]
    found = [at(4.0), jax.grad(at)(4.0), jax.jacfwd(jax.grad(at))(4.0)]
    np.testing.assert_allclose(found, [2, 1 / 4, -1 / 32], rtol=1e-9)
    assert root.stability({"r": jnp.array([2.0])}, 4.0).spectral_radius < 1e-12


def test_stability_is_reported() -> None:
    net = neural.Recurrent(lambda x: x)
    told = net.stability(np.array([[0.5, -2.0], [2.0, 0.5]]), np.zeros(2))
    # λ = 1/2 ± 2i: 2 Re(1 − λ)/|1 − λ|² = 1/(1/4 + 4)
    np.testing.assert_allclose([told.eigenvalue.real, abs(told.eigenvalue.imag)], [0.5, 2.0], rtol=1e-12)
    np.testing.assert_allclose([told.spectral_radius, told.largest_step], [4.25**0.5, 1 / 4.25], rtol=1e-12)
    assert told.stable


def test_table_of_an_equilibrium() -> None:
    w, v, I, _ = example(2)
    d = np.array([0.3, -0.2])
    net = neural.Recurrent(jnp.tanh)
    table, gradient, product = net.table(w, I, d, v), net.gradient(w, I, d), net.hvp(w, v, I, d)
    for i, j in np.ndindex(2, 2):
        name = "₀₁"[i] + "₀₁"[j]
        np.testing.assert_allclose(table[f"∂E/∂w{name}"], gradient[i, j], rtol=1e-10)
        np.testing.assert_allclose(table[f"(H v){name}"], product[i, j], rtol=1e-10)
    for line in table.lines:
        numbers = line.numbers.replace("·", "*").replace("−", "-")
        assert abs(eval(numbers) - line.value) < 5e-3 * (1 + abs(line.value)), str(line)
        assert line.rule


TURN = 3 * np.array([[0.5, -1.0], [1.0, 0.5]])


@pytest.mark.parametrize(
    ("error", "ask", "text"),
    [
        (
            nb.EquilibriumError,
            lambda: neural.Recurrent(lambda x: x, solver=neural.Relaxation(max_steps=20)).forward(
                2 * np.eye(1), np.ones(1)
            ),
            # y ← 1.5 y + 0.5 twenty times from 1.01, the residual y + 1 = 2.01 · 1.5¹⁹
            "Recurrent.forward was asked for an equilibrium; after 20 steps f(y) − y is still 4.5e+03, and ∂f/∂y has the "
            "eigenvalue 2 at the equilibrium that Newton's method finds, whose real part is not below 1: the relaxation is unstable. Make the weights smaller, "
            "start elsewhere (start=), or use a root finder as solver.",
        ),
        (
            nb.EquilibriumError,
            lambda: neural.Recurrent(lambda x: x, solver=neural.Relaxation(max_steps=10)).forward(
                -9 * np.eye(1), np.ones(1)
            ),
            "Recurrent.forward was asked for an equilibrium; after 10 steps f(y) − y is still 2.4e+06, and ∂f/∂y has the "
            "eigenvalue -9 at the equilibrium that Newton's method finds. The dynamics are stable, but Euler steps of 0.5 are not. Pass "
            "solver=neural.Relaxation(step=h) with h below 0.2.",
        ),
        (
            nb.EquilibriumError,
            lambda: neural.Recurrent(jnp.tanh, solver=optx.Newton(rtol=1e-10, atol=1e-10)).forward(
                2 * np.eye(2), np.zeros(2), start=np.full(2, 1e-3)
            ),
            "Recurrent.forward found an equilibrium that is not stable: ∂f/∂y has the eigenvalue 2, whose real part is not "
            "below 1, so that a relaxation leaves it. Start elsewhere (start=), or make the weights smaller.",
        ),
        (
            nb.ArgumentError,
            lambda: neural.Recurrent(jnp.tanh).hvp(np.eye(2), np.eye(3), np.ones(2), np.ones(2)),
            "Recurrent.hvp got v of shape [3, 3]; the weights w have shape [2, 2]. Give v the shape of w.",
        ),
        (
            nb.ArgumentError,
            lambda: neural.Recurrent(jnp.tanh, solver="newton"),
            "Recurrent got solver='newton'. Pass neural.Relaxation(), neural.Anderson(), or a root finder or fixed-point "
            "solver of optimistix such as optimistix.Newton(rtol=1e-10, atol=1e-10).",
        ),
        (
            nb.ArgumentError,
            lambda: neural.Relaxation(step=0.0),
            "Relaxation got step=0.0. Pass a finite number above zero.",
        ),
        (
            nb.ArgumentError,
            lambda: nb.implicit(lambda y: y[:1])(np.ones(2)),
            "implicit got a function that turns a state of shapes [[2]] into one of shapes [[1]]; at a fixed point both are "
            "the same. Return a tree like y.",
        ),
    ],
)
def test_refusals(error: Any, ask: Any, text: str) -> None:
    with pytest.raises(error) as caught:
        ask()
    assert str(caught.value) == text


def test_no_relaxation_loops_on() -> None:
    """A limit cycle is refused outside jit with the eigenvalue, inside as JAX can."""
    net = neural.Recurrent(jnp.tanh)
    with pytest.raises(nb.EquilibriumError, match="^Recurrent.gradient was asked for an equilibrium; after 2000 steps"):
        net.gradient(TURN, np.zeros(2), np.zeros(2))
    with pytest.raises(Exception, match="the relaxation did not settle"):
        jax.block_until_ready(jax.jit(net.gradient)(TURN, np.zeros(2), np.zeros(2)))
