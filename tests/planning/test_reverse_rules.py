"""Rules for reverse mode: the Hessian is the Jacobian of the gradient, symmetric or not, and keeps its zeros."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close, check_every_verb

import nablax as nb

RANDOM = np.random.default_rng(6)
X = RANDOM.normal(size=5)


def ruled(function: Any, forward: Any, backward: Any) -> Any:
    found = jax.custom_vjp(function)
    found.defvjp(forward, backward)
    return found


def _with_value(x: Any) -> Any:
    y = tanh(x)
    return y, y


tanh = ruled(lambda x: jnp.tanh(x), _with_value, lambda y, g: (g * (1.0 - y * y),))  # a rule that calls its function
two = ruled(
    lambda x, y: (jnp.sin(x) * y, jnp.cumsum(x)),
    lambda x, y: (two(x, y), (x, y)),
    lambda r, g: (g[0] * jnp.cos(r[0]) * r[1] + jnp.cumsum(g[1][::-1])[::-1], g[0] * jnp.sin(r[0])),
)
pair = ruled(lambda x: (jnp.exp(x), x**2), lambda x: (pair(x), x), lambda x, g: (g[0] * pair(x)[0] + 2.0 * x * g[1],))
rounded = ruled(
    lambda x: jnp.round(x), lambda x: (jnp.round(x), None), lambda _, g: (g,)
)  # the straight-through estimator
clipped = ruled(lambda x: jnp.sin(x), lambda x: (jnp.sin(x), x), lambda x, g: (jnp.clip(g, -0.5, 0.5) * jnp.cos(x),))
uneven = ruled(
    lambda x: jnp.sum(x), lambda x: (jnp.sum(x), x), lambda x, g: (g * x[::-1] * x,)
)  # no Hessian of any function
layer = ruled(lambda x, w: jnp.tanh(x @ w), lambda x, w: (layer(x, w), (x, w)), lambda r, g: (
    (g * (1.0 - layer(*r) ** 2)) @ r[1].T, r[0].T @ (g * (1.0 - layer(*r) ** 2))
))  # fmt: skip

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "calls itself": lambda x: jnp.sum(tanh(jnp.sin(x)) ** 2 * x),
    "two results": lambda x: sum(jnp.sum(y**2) for y in two(x, jnp.cos(x))),
    "two results of one shape": lambda x: jnp.sum(pair(x)[0] * pair(jnp.sin(x))[1]),
    "straight through": lambda x: jnp.sum(rounded(3.0 * x) ** 2 * x),
    "not linear in the cotangent": lambda x: jnp.sum(clipped(x) ** 2),
    "not symmetric": lambda x: uneven(jnp.sin(x)) ** 2,
    "in a loop": lambda x: jnp.sum(jax.lax.scan(lambda c, _: (tanh(c) * x, None), x, None, 3)[0]),
    "a layer": lambda x: jnp.sum(layer(jnp.outer(x[:3], x[:2]), jnp.outer(x[2:4], x[:2])) ** 2),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_verb(name: str) -> None:
    f = FUNCTIONS[name]
    check_every_verb(f, X, hessian=jax.jacrev(jax.grad(f))(X))


@pytest.mark.parametrize("name", ["calls itself", "two results", "straight through", "not symmetric"])
def test_products(name: str) -> None:
    f, v = FUNCTIONS[name], np.arange(1.0, 6.0)
    want = np.asarray(jax.jacrev(jax.grad(f))(X))
    assert_close(nb.hvp(f)(X, v), want @ v)
    assert_close(nb.quadratic_form(f)(X, v), v @ want @ v)


def test_by_hand() -> None:
    # with the slope of round taken for one the gradient is 2 round(x) x + round(x)², in which round(x) is constant
    x = np.array([0.6, -1.7])
    for strategy in ("legs-backward", "legs-forward", "columns"):
        got = nb.hessian(lambda x: jnp.sum(rounded(x) ** 2 * x), strategy=strategy)(x)
        assert_close(got, np.diag([2.0, -4.0]))
        # gradient (x₂ x₁, x₁ x₂): the Jacobian has the rows (x₂, x₁) twice
        assert_close(nb.hessian(uneven, strategy=strategy)(x), np.array([[-1.7, 0.6], [-1.7, 0.6]]))


@pytest.mark.parametrize(
    ("name", "stored"),
    [("calls itself", 5), ("two results of one shape", 5), ("straight through", 5), ("not symmetric", 25)],
)
def test_the_zeros_of_a_rule(name: str, stored: int) -> None:
    f = FUNCTIONS[name]
    found = nb.hessian_sparse(f)(X)
    assert found.nse == stored
    assert_close(found.todense(), jax.jacrev(jax.grad(f))(X))


def test_a_batch_passes_through_a_rule() -> None:
    def f(x: Any) -> Any:
        return jnp.sum(jnp.sum(tanh(x), 1) ** 2)

    x = RANDOM.normal(size=(6, 4))
    found = nb.hessian_sparse(f)(x)
    assert found.nse == 6 * 4 * 4
    assert_close(found.todense(), jax.jacrev(jax.grad(f))(x).reshape(24, 24))
    jacobian = nb.jacobian_sparse(tanh)(x)
    assert jacobian.nse == 24


def test_a_rule_that_refuses_is_asked_only_where_it_is_needed() -> None:
    def refuse(_: Any, g: Any) -> Any:
        raise NotImplementedError("no slope")

    still = ruled(lambda x: jnp.sin(x), lambda x: (jnp.sin(x), None), refuse)
    assert_close(nb.hessian(lambda x: jnp.sum(x**2) + jnp.sum(still(jax.lax.stop_gradient(x))))(X), 2.0 * np.eye(5))
    with pytest.raises(nb.DifferentiationError, match="operation 'custom_vjp_call' was asked for, at .*no slope"):
        nb.hessian(lambda x: jnp.sum(still(x) ** 2))(X)
