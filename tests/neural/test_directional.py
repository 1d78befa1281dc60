"""The R-operator: its rules on random functions, and H v of gradients however they are computed."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import nablax as nb

N = 4
VECTORS = arrays(np.float64, N, elements=st.floats(-2, 2, width=32))
FUNCTIONS = st.sampled_from([jnp.sin, jnp.tanh, lambda w: w**3 - w, lambda w: jnp.cumsum(w) * w[0]])


def close(a: Any, b: Any) -> None:
    """Both sides are the same real numbers; their sums of a dozen terms below 100 round by some 1e-14 each."""
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-12, atol=1e-12)


@given(VECTORS, VECTORS, FUNCTIONS, FUNCTIONS)
def test_rules(w: Any, v: Any, f: Any, g: Any) -> None:
    R = lambda h: nb.R(h, v)(w)
    close(R(lambda w: jnp.full(3, 2.5)), np.zeros(3))  # a constant
    close(R(lambda w: w), v)  # R{w} = v
    close(R(lambda w: 3.0 * f(w)), 3.0 * R(f))
    close(R(lambda w: f(w) + g(w)), R(f) + R(g))
    close(R(lambda w: f(w) * g(w)), R(f) * g(w) + f(w) * R(g))
    close(R(lambda w: jnp.exp(jnp.sin(f(w)))), jnp.exp(jnp.sin(f(w))) * jnp.cos(f(w)) * R(f))  # chain
    # d/dt of w ↦ f(t w) and R commute
    rate = lambda w: jax.jvp(lambda t: f(t * w), (1.0,), (1.0,))[1]
    close(R(rate), jax.jvp(lambda t: nb.R(lambda w: f(t * w), v)(w), (1.0,), (1.0,))[1])


def test_a_known_product() -> None:
    gradient = lambda w: jnp.stack([2 * w[0] * w[1], w[0] ** 2])
    assert nb.R(gradient, np.array([1.0, 0.0]))(np.array([1.0, 3.0])).tolist() == [6.0, 2.0]


def test_trees_data_and_transformations(generator: np.random.Generator) -> None:
    X = generator.normal(size=(5, 3))
    w = {"W": generator.normal(size=(3, 2)), "b": generator.normal(size=2)}
    v = jax.tree.map(lambda leaf: generator.normal(size=leaf.shape), w)
    E = lambda w, X: jnp.sum(jnp.tanh(X @ w["W"] + w["b"]) ** 2)
    expected = nb.hvp(E)(w, v, X)
    for product in (nb.R(jax.grad(E), v), jax.jit(nb.R(jax.grad(E), v))):
        jax.tree.map(close, product(w, X), expected)


def backprop_by_hand(w: Any, x: Any, d: Any) -> Any:
    """A user's own code: a network with one hidden layer, w = (W1, W2)."""
    h = jnp.tanh(w[0] @ x)
    e = w[1] @ h - d
    return jnp.outer((1 - h**2) * (w[1].T @ e), x), jnp.outer(e, h)


def test_user_written_backprop(generator: np.random.Generator) -> None:
    w = (generator.normal(size=(4, 3)), generator.normal(size=(2, 4)))
    v = (generator.normal(size=(4, 3)), generator.normal(size=(2, 4)))
    x, d = generator.normal(size=3), generator.normal(size=2)
    E = lambda w: 0.5 * jnp.sum((w[1] @ jnp.tanh(w[0] @ x) - d) ** 2)
    jax.tree.map(close, nb.R(backprop_by_hand, v)(w, x, d), nb.hvp(E)(w, v))


def test_a_rule_that_blocks_forward_mode(generator: np.random.Generator) -> None:
    @jax.custom_vjp
    def cube(w: Any) -> Any:
        return w**3

    cube.defvjp(lambda w: (w**3, w), lambda w, u: (3 * w**2 * u,))
    w, v = generator.normal(size=(2, N))
    close(nb.R(cube, v)(w), 3 * w**2 * v)
    assert nb.R(lambda w: {"a": cube(w)}, v)(w).keys() == {"a"}


def test_a_numerical_relaxation(generator: np.random.Generator) -> None:
    """The gradient of a fixed point by 200 steps of a contraction by 1/2: 2⁻²⁰⁰ is no error."""
    A = generator.normal(size=(N, N))
    A = A / (2 * np.linalg.norm(A, 2))

    def relaxed(w: Any) -> Any:  # the slope of ½‖y‖², y = A tanh(y) + w, found by relaxation
        y = jax.lax.fori_loop(0, 200, lambda _, y: A @ jnp.tanh(y) + w, w)
        return jax.lax.fori_loop(0, 200, lambda _, z: (1 - jnp.tanh(y) ** 2) * (A.T @ z) + y, y)

    w, v = generator.normal(size=(2, N))
    step = 1e-5
    difference = (relaxed(w + step * v) - relaxed(w - step * v)) / (2 * step)
    # central differences: third derivatives of order 10 times step², and rounding 1e-16/step
    np.testing.assert_allclose(nb.R(relaxed, v)(w), difference, atol=1e-8)


@pytest.mark.parametrize(
    ("error", "ask", "text"),
    [
        (nb.ArgumentError, lambda: nb.R(3, 1.0), "R needs a function; it got a int. Pass the function itself."),
        (
            nb.ArgumentError,
            lambda: nb.R(jnp.sin, np.ones(3))(np.ones(2)),
            "R got a direction v whose leaf 0 has shape [3]; the weights have shape [2] there. Give v the shape of w.",
        ),
        (
            nb.ArgumentError,
            lambda: nb.R(jnp.sin, [np.ones(2)])(np.ones(2)),
            "R got a direction v with tree PyTreeDef([*]); the weights have tree PyTreeDef(*). Give v the same tree, for "
            "example jax.tree.map(jax.numpy.ones_like, w).",
        ),
        (
            nb.ArgumentError,
            lambda: nb.R(jnp.sin, np.ones(2))(np.array([1, 2])),
            "R was asked for the derivative by weights that hold int64[2]; directions exist for real floating-point arrays "
            "only. Pass w.astype(float).",
        ),
        (
            nb.OutputError,
            lambda: nb.R(lambda w: w > 0, np.ones(2))(np.ones(2)),
            "R was asked of a function that returns bool[2]; it has no derivative. Return floating-point arrays.",
        ),
    ],
)
def test_refusals(error: Any, ask: Any, text: str) -> None:
    with pytest.raises(error) as caught:
        ask()
    assert str(caught.value) == text
