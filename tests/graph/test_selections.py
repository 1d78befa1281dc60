"""Places known only when running: read, written, repeated, outside; structure kept; against JAX in every verb."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from oracles import assert_close

import nablax as nb
from nablax.graph.node import reachable
from nablax.ops.kinds import Opaque, Selection
from nablax.planning.question import pose

Function = Callable[..., Any]
TABLE = np.random.default_rng(0).uniform(0.3, 1.4, (5, 3))
VECTOR = np.random.default_rng(1).uniform(0.3, 1.4, 6)
MODES = lax.GatherScatterMode


def scattered(u: Any, i: Any) -> Any:
    return jnp.zeros(4, u.dtype).at[i].add(u * u[0], mode="clip")


def updated(x: Any, i: Any) -> Any:
    return lax.dynamic_update_slice(x**2, jnp.sin(x[:2]), (i,))


CASES: dict[str, tuple[Function, tuple[Any, ...]]] = {
    "repeated rows of a table": (lambda x, i: x[i], (TABLE, np.array([[1, 4, 1], [0, 1, 1]]))),
    "columns": (lambda x, i: x[:, i], (TABLE, np.array([2, 0, 2]))),
    "pairs of axes": (lambda x, i, j: x[i, j], (TABLE, np.array([1, 1, 4]), np.array([2, 0, 2]))),
    "negative": (lambda x, i: x[i], (VECTOR, np.array([-1, 2, -6]))),
    "one number": (lambda x, i: x[i] * x, (VECTOR, np.array(3))),
    "along an axis": (lambda x, i: jnp.take_along_axis(x, i, 1), (TABLE, np.array([[0], [2], [1], [1], [0]]))),
    "take, outside": (lambda x, i: jnp.take(x, i, mode="fill", fill_value=2.0), (VECTOR, np.array([0, 9, 5]))),
    "take, clipped": (lambda x, i: jnp.take(x, i, axis=0, mode="clip"), (TABLE, np.array([7, -3, 1]))),
    "a slice": (lambda x, i: lax.dynamic_slice(x, (i, 1), (2, 2)), (TABLE, np.array(2))),
    "a slice over the edge": (lambda x, i: lax.dynamic_slice(x, (i,), (4,)), (VECTOR, np.array(5))),
    "an update": (updated, (VECTOR, np.array(3))),
    "an update over the edge": (updated, (VECTOR, np.array(9))),
    "sums by group": (lambda x, i: jax.ops.segment_sum(x**2, i, 3), (TABLE, np.array([0, 2, 0, 1, 2]))),
    "added at places": (scattered, (VECTOR, np.array([0, 3, 0, 9, 1, 1]))),
    "in order": (lambda x: jnp.sort(x, axis=0) * jnp.arange(5.0)[:, None], (TABLE,)),
    "in falling order": (lambda x: -jnp.sort(-x) * jnp.arange(6.0), (VECTOR,)),
    "the largest": (lambda x: lax.top_k(x * x[0], 3)[0], (VECTOR,)),
    "a table of places": (lambda x, i, j: x[i[j]], (VECTOR, np.array([4, 0, 4]), np.array([2, 0, 0, 1]))),
    "a part of the table": (lambda x, i: x[1:][i], (TABLE, np.array([3, 0, 3]))),
    "rows and a strided table": (lambda x, i: x[::2, ::-1][i], (TABLE, np.array([2, 0, 0]))),
    "places of places": (lambda x, i: x[i][i], (VECTOR, np.array([2, 0, 1]))),
    "a median": (lambda x: jnp.median(x, axis=1), (TABLE,)),
    "maximum by sorting": (lambda x: jnp.percentile(x, 30.0), (VECTOR,)),
}


def scalar(f: Function) -> Function:
    """A number that couples all that is read."""

    def g(*arguments: Any) -> Any:
        result = jnp.ravel(f(*arguments))
        return jnp.sum(jnp.tanh(result)) ** 2 + jnp.sum(result**3 * jnp.arange(1.0, result.size + 1))

    return g


@pytest.mark.parametrize("name", CASES)
def test_against_jax(name: str) -> None:
    f, (x, *data) = CASES[name]
    g = scalar(f)
    want = jax.jit(jax.hessian(g))(x, *data)
    for strategy in ("auto", "legs-backward", "legs-forward"):
        assert_close(nb.hessian(g, strategy=strategy)(x, *data), want)
    flat = np.asarray(want).reshape(x.size, x.size)
    assert_close(nb.hessian_diagonal(g)(x, *data), np.diag(flat).reshape(x.shape))
    assert_close(nb.laplacian(g)(x, *data), np.trace(flat))
    v = np.cos(np.arange(x.size)).reshape(x.shape)
    assert_close(nb.hvp(g)(x, v, *data), (flat @ v.ravel()).reshape(x.shape))
    assert_close(nb.hessian_sparse(g)(x, *data).todense(), flat)
    assert_close(nb.curvature(g)(x, *data).gradient, jax.grad(g)(x, *data))
    assert_close(nb.jacobian(f)(x, *data), jax.jit(jax.jacfwd(f))(x, *data))


@pytest.mark.parametrize("name", CASES)
def test_nothing_that_is_differentiated_is_opaque(name: str) -> None:
    f, (x, *data) = CASES[name]
    nodes = reachable(pose(scalar(f), [x, *data], [0], scalar="a test").outputs)
    assert any(isinstance(node.kind, Selection) for node in nodes)
    assert not [node for node in nodes if isinstance(node.kind, Opaque) and node.depends]


@pytest.mark.parametrize("verb", [nb.hessian_diagonal, nb.laplacian])
def test_an_embedding_costs_what_its_tokens_cost(verb: Any) -> None:
    """No array of tokens times words, let alone times directions: 4e4 words would need 1e7 values for each direction."""
    words, width, shape = 40_000, 8, (4, 64)
    tokens = np.random.default_rng(2).integers(0, 50, shape)

    def loss(table: Any, weights: Any, tokens: Any) -> Any:
        hidden = jnp.tanh(table[tokens] @ weights)
        return jnp.sum(jax.nn.logsumexp(hidden.mean(1), axis=1))

    table = np.random.default_rng(3).normal(size=(words, width)).astype(np.float32)
    weights = np.random.default_rng(4).normal(size=(width, width)).astype(np.float32)
    compiled = jax.jit(verb(loss, argnums=(0, 1))).lower(table, weights, tokens).compile()
    used = compiled.memory_analysis().temp_size_in_bytes
    assert used < 12 * table.nbytes, used
    if verb is nb.hessian_diagonal:
        found = compiled(table, weights, tokens)[0]
        few = np.unique(tokens)[:3]
        part = lambda e: loss(jnp.asarray(table).at[few].add(e), weights, tokens)
        want = jax.jit(jax.hessian(part))(np.zeros((3, width), np.float32)).reshape(24, 24)
        assert_close(found[few].ravel(), np.diag(want), "float32")
        assert not np.any(found[60:])


def test_what_is_not_named_may_be_infinite() -> None:
    x = np.array([1.0, np.inf, 2.0, np.nan])
    f = lambda x, i: jnp.sum(x[i] ** 3)
    assert_close(nb.hessian_diagonal(f)(x, np.array([0, 2, 0])), np.array([12.0, 0.0, 12.0, 0.0]))


def test_an_index_outside_has_the_value_that_is_read_and_no_derivative() -> None:
    """As a gather by JAX, whose gradient drops what the promise excluded."""
    f = lambda x, i: jnp.sum(x[i] ** 3)
    x, i = np.array([1.0, 2.0]), np.array([0, 7])
    assert_close(nb.curvature(f)(x, i).value, f(jnp.asarray(x), i))
    assert_close(nb.curvature(f)(x, i).gradient, jax.grad(f)(x, i))
    assert_close(nb.hessian(f)(x, i), np.diag([6.0, 0.0]))


def test_under_vmap_and_in_a_loop() -> None:
    f = lambda x, i: jnp.sum(jnp.sin(x[i]) * x[0])
    many = np.array([[0, 1], [5, 5], [2, 0]])
    want = jax.vmap(lambda i: jax.hessian(f)(VECTOR, i))(many)
    assert_close(jax.vmap(lambda i: nb.hessian(f)(VECTOR, i))(many), want)

    def looped(x: Any, tokens: Any) -> Any:
        def turn(state: Any, token: Any) -> Any:
            state = jnp.tanh(state + x[token])
            return state, state

        return jnp.sum(lax.scan(turn, jnp.zeros(()), tokens)[1] ** 2)

    tokens = np.array([3, 1, 3, 3, 0])
    assert_close(nb.hessian(looped)(VECTOR, tokens), jax.jit(jax.hessian(looped))(VECTOR, tokens))
    assert_close(nb.hessian_diagonal(looped)(VECTOR, tokens), np.diag(jax.jit(jax.hessian(looped))(VECTOR, tokens)))
