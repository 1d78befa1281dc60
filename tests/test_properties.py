"""Random functions composed from the rows: every verb and every strategy against jax.hessian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nablax as nb

Step = Callable[[Any, Any], Any]

# Each step takes the running value (any shape with at most six elements along an axis) and the argument x (shape 4).
STEPS: dict[str, Step] = {
    "tanh": lambda v, x: jnp.tanh(v),
    "exp": lambda v, x: jnp.exp(0.3 * v),
    "softplus": lambda v, x: jax.nn.softplus(v),
    "square": lambda v, x: v * v,
    "quotient": lambda v, x: v / (2.0 + jnp.sum(x**2)),
    "scaled by the argument": lambda v, x: v * x[0],
    "plus its own sine": lambda v, x: v + jnp.sin(v),
    "outer": lambda v, x: jnp.outer(v.ravel()[:4], x),
    "product": lambda v, x: jnp.reshape(v.ravel()[:4], (2, 2)) @ jnp.reshape(x, (2, 2)),
    "transpose": lambda v, x: v.T,
    "reverse": lambda v, x: v[::-1],
    "strided": lambda v, x: jnp.concatenate([v.ravel(), x])[::2],
    "differences": lambda v, x: jnp.diff(jnp.concatenate([v.ravel(), x])),
    "repeated rows": lambda v, x: v.ravel()[jnp.array([0, 0, -1])],
    "padded": lambda v, x: jnp.pad(v.ravel()[:3], (1, 2), constant_values=0.5),
    "reshaped": lambda v, x: jnp.resize(v, (2, 3)),
    "summed": lambda v, x: jnp.sum(v, axis=0, keepdims=True),
    "softmax": lambda v, x: jax.nn.softmax(v.ravel()),
    "where": lambda v, x: jnp.where(v > 0.1, v * v, jnp.sin(v)),
    "largest": lambda v, x: jnp.max(v) + x,
    "inverse": lambda v, x: jnp.linalg.inv(jnp.outer(v.ravel()[:2], v.ravel()[:2]) + 2 * jnp.eye(2)),
    "diagonal": lambda v, x: jnp.diag(v.ravel()[:3]) @ jnp.ones((3, 2)),
    "cumulated": lambda v, x: jnp.cumsum(v.ravel()[:4]),
    "stopped": lambda v, x: v * jax.lax.stop_gradient(jnp.cos(v)),
}

STRATEGIES = ("auto", "legs-backward", "legs-forward", "columns")


def composed(names: list[str]) -> Callable[[Any], Any]:
    def function(x: Any) -> Any:
        value = x
        for name in names:
            value = STEPS[name](jnp.atleast_1d(value), x)
            value = jnp.concatenate([jnp.ravel(value), x[:1]])[:6] if value.size < 4 else value
        return jnp.sum(jnp.sin(value) * jnp.arange(1.0, value.size + 1).reshape(value.shape))

    return function


def assert_close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * max(1.0, float(np.max(np.abs(expected)))))


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(
    names=st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=4),
    x=st.lists(st.floats(-1.0, 1.0, width=32).filter(lambda v: abs(v) > 1e-3), min_size=4, max_size=4, unique=True),
)
def test_every_verb_agrees_with_jax(strategy: str, names: list[str], x: list[float]) -> None:
    f, point = composed(names), jnp.asarray(x, dtype=jnp.float64)
    dense = jax.jit(jax.hessian(f))(point)
    if not np.all(np.isfinite(dense)):
        return
    assert_close(nb.hessian(f, strategy=strategy)(point), dense)
    assert_close(nb.hessian_diagonal(f, strategy=strategy)(point), jnp.diag(dense))
    assert_close(nb.laplacian(f, strategy=strategy)(point), jnp.trace(dense))


@given(
    names=st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=4),
    x=st.lists(st.floats(-1.0, 1.0, width=32).filter(lambda v: abs(v) > 1e-3), min_size=4, max_size=4, unique=True),
)
def test_products_and_the_curvature_object_agree_with_jax(names: list[str], x: list[float]) -> None:
    f, point = composed(names), jnp.asarray(x, dtype=jnp.float64)
    dense = jax.jit(jax.hessian(f))(point)
    if not np.all(np.isfinite(dense)):
        return
    v = jnp.array([1.0, -0.5, 0.25, 2.0])
    assert_close(nb.hvp(f)(point, v), dense @ v)
    assert_close(nb.quadratic_form(f)(point, v), v @ dense @ v)
    c = nb.curvature(f)(point)
    assert_close(c.gradient, jax.grad(f)(point))
    assert_close(c @ v, dense @ v)
    assert_close(c.dense(), dense)
