"""Leaves that are read apart are like several leaves where only a diagonal is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close

import nablax as nb
from nablax.planning.question import pose
from nablax.sweeps import parts
from nablax.sweeps.asked import Asked
from nablax.sweeps.eliminate import Elimination
from nablax.sweeps.second_order import active

WIDTH, BATCH = 6, 5


def array(seed: int, *shape: int) -> Any:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


X = array(0, BATCH, WIDTH)


def residual(W: Any) -> Any:
    h = X
    for layer in W:
        h = h + jnp.tanh(h @ layer)
    return jnp.mean(jax.nn.logsumexp(h, -1))


def side_by_side(W: Any) -> Any:
    a, b = jnp.split(X @ W, 2, -1)
    return jnp.sum(jnp.tanh(a @ W[:3, :6].T[:3]) * b)


def columns(W: Any) -> Any:
    h = X
    for k in range(0, 12, 3):
        h = jnp.tanh(h @ W[:, k : k + 6]) if k <= 6 else h
    return jnp.sum(h**3)


def strided(W: Any) -> Any:
    return jnp.sum(jnp.tanh(jnp.tanh(X @ W[:, ::2]) @ W[:, 1::2]) ** 2)


def twice_the_same(W: Any) -> Any:
    return jnp.sum(jnp.tanh(jnp.tanh(jnp.tanh(X @ W[0]) @ W[1]) @ W[0]) ** 2)


def backwards(W: Any) -> Any:
    return jnp.sum(jnp.tanh(jnp.tanh(X @ W[0]) @ W[1, ::-1, ::-1].T) ** 3)


def also_whole(W: Any) -> Any:
    return jnp.sum(jnp.tanh(jnp.tanh(X @ W[0]) @ W[1])) * jnp.sum(jnp.sin(W))


def where_data_says(W: Any) -> Any:
    k = jnp.argmax(X[0])
    return jnp.sum(jnp.tanh(jnp.tanh(X @ W[0]) @ jnp.take(W, k % 2, 0)))


def repeated_places(W: Any) -> Any:
    return jnp.sum(jnp.tanh(X @ W[0][:, jnp.array([0, 1, 1, 2, 2, 5])]) @ W[1]) ** 2


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (residual, (4, WIDTH, WIDTH)),
        (side_by_side, (WIDTH, 6)),
        (columns, (WIDTH, 12)),
        (strided, (WIDTH, 12)),
        (twice_the_same, (2, WIDTH, WIDTH)),
        (backwards, (2, WIDTH, WIDTH)),
        (also_whole, (2, WIDTH, WIDTH)),
        (where_data_says, (2, WIDTH, WIDTH)),
        (repeated_places, (2, WIDTH, WIDTH)),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_diagonal_and_trace(function: Callable[[Any], Any], shape: tuple[int, ...]) -> None:
    W = 0.5 * array(1, *shape)
    n = W.size
    wanted = jnp.diagonal(jax.hessian(function)(W).reshape(n, n)).reshape(shape)
    for strategy in ("auto", "legs-backward"):
        assert_close(nb.hessian_diagonal(function, strategy=strategy)(W), wanted)
        trace = nb.laplacian(function, strategy=strategy)(W)
        assert_close(trace, jnp.sum(wanted), scale=float(jnp.sum(jnp.abs(wanted))))


def flops(function: Callable[[Any], Any], *arguments: Any) -> float:
    return nb.plan(function, "diagonal")(*arguments).choice.chosen.cost.flops


def test_stacked_layers_cost_what_a_list_of_them_does() -> None:
    """Couplings between layers that no diagonal asks for made them quadratic in depth."""
    stacked = {depth: array(2, depth, 32, 32) for depth in (6, 24)}
    rows = array(3, 64, 32)

    def loss(W: Any) -> Any:
        h = rows
        for layer in W:
            h = h + jnp.tanh(h @ layer)
        return jnp.mean(jax.nn.logsumexp(h, -1))

    costs = {depth: flops(loss, W) for depth, W in stacked.items()}
    listed = {depth: flops(loss, list(W)) for depth, W in stacked.items()}
    assert costs[24] < 5 * costs[6]
    assert all(costs[depth] < 1.1 * listed[depth] for depth in stacked)


# -- what is a part --------------------------------------------------------------------------------------


def groups(function: Callable[[Any], Any], extent: int) -> list[list[int]]:
    """Readers of the argument that share elements, by their places among the readers; nothing where it is whole."""
    problem = pose(function, (jnp.ones(extent),), (0,), scalar="a test")
    [leaf], [output] = problem.asked, problem.outputs
    nodes = active(output, leaf.depends)
    sweep = Elimination(problem.graph, nodes, frozenset({leaf}), 1, Asked.own_blocks([leaf]), 2, None)
    readers = [node for node in nodes if leaf in node.inputs]
    if sweep.asked.parts is None:
        return []
    assert sweep.asked.couples(leaf, leaf)
    assert all(sweep.asked.couples(leaf, one) and sweep.asked.couples(one, output) for one in readers)
    return [[k for k, other in enumerate(readers) if sweep.asked.couples(one, other)] for one in readers]


def many(x: Any) -> Any:
    first = jnp.sum(jnp.sin(x[:6])) * jnp.sum(jnp.sin(x[:5])) * jnp.sum(jnp.sin(x[1:6])) * jnp.sum(jnp.sin(x[4:6]))
    return first * jnp.sum(jnp.cos(x[6:]))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: jnp.sum(jnp.sin(x[:4]) * jnp.cos(x[4:8]) * jnp.exp(x[8:])), [[0], [1], [2]]),
        (lambda x: jnp.sum(jnp.sin(x[::2]) * jnp.cos(x[1::2])), [[0], [1]]),
        (lambda x: jnp.sum(jnp.sin(x[:4]) * jnp.cos(x[3:7]) * jnp.exp(x[8:])), [[0, 1], [0, 1], [2]]),
        # neighbours share an element, and so all three are one: nothing is apart
        (lambda x: jnp.sum(jnp.sin(x[:5]) * jnp.cos(x[7:]) * jnp.exp(x[4:9])), []),
        (lambda x: jnp.sum(jnp.sin(x[:6])) * jnp.sum(jnp.cos(x)), []),
        (lambda x: jnp.sum(jnp.sin(x[:6])) * jnp.sum(jnp.cos(x[3:9])) * jnp.prod(x[2:5]) * jnp.sum(x[:4] ** 3), []),
        (many, [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3], [4]]),
        (lambda x: jnp.sum(jnp.sin(x[1:]) * jnp.cos(x[:-1])), []),
    ],
    ids=["slices", "strides", "two overlap", "a chain", "read whole", "four in one", "two of many", "all overlap"],
)
def test_parts_have_no_element_in_common(function: Callable[[Any], Any], expected: list[list[int]]) -> None:
    assert groups(function, 12) == expected


def test_long_axes_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def strides(x: Any) -> Any:
        return jnp.sum(jnp.sin(x[::2]) * jnp.cos(x[1::2]))

    def halves(x: Any) -> Any:
        return jnp.sum(jnp.sin(x[:6]) * jnp.cos(x[6:]))

    assert groups(strides, 12) == groups(halves, 12) == [[0], [1]]
    monkeypatch.setattr(parts, "MOST_LOOKED_AT", 23)
    assert groups(strides, 12) == []
    assert groups(halves, 12) == [[0], [1]]


def test_parts_of_a_flat_vector_of_parameters() -> None:
    """A hundred million parameters: their parts are told apart by where they begin and end."""

    def loss(p: Any, X: Any) -> Any:
        h = X
        for k in range(4):
            W = p[k * 10**8 // 4 : k * 10**8 // 4 + 10_000].reshape(100, 100)
            h = h + jnp.tanh(h @ W)
        return jnp.mean(jax.nn.logsumexp(h, -1))

    problem = pose(
        loss, (jax.ShapeDtypeStruct((10**8,), "float32"), jnp.ones((3, 100), "float32")), (0,), scalar="a test"
    )
    [leaf], [output] = problem.asked, problem.outputs
    nodes = active(output, leaf.depends)
    sweep = Elimination(problem.graph, nodes, frozenset({leaf}), 1, Asked.own_blocks([leaf]), 2, None)
    assert sweep.asked.parts is not None
    assert sum(1 for node in nodes if leaf in node.inputs) == 4
