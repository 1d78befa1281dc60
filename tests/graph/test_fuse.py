"""Elementwise neighbours become one scalar function where that makes no more couplings."""

from __future__ import annotations

import time
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from oracles import check_every_verb

from nablax.graph.fuse import fuse
from nablax.graph.node import Node, reachable
from nablax.ops.kinds import Elementwise
from nablax.planning.question import pose


def elementwise(f: Any, *arrays: Any, asked: tuple[int, ...] = (0,)) -> list[Node]:
    problem = pose(f, arrays, asked, scalar="")
    return [node for node in reachable(problem.outputs) if isinstance(node.kind, Elementwise)]


X, Y = np.array([0.5, -1.0, 2.0]), np.array([1.0, -1.0, 1.0])


def test_the_logistic_loss_is_one_function() -> None:
    nodes = elementwise(lambda z, y: jnp.sum(jnp.log1p(jnp.exp(-y * z))), X, Y)
    [node] = [node for node in nodes if node.depends & 1]
    assert isinstance(node.kind, Elementwise)
    names = [step.operation.name for step in node.kind.function.instructions]
    assert names[-2:] == ["exp", "log1p"]


def test_a_sum_inside_a_curved_function_stays_apart_when_both_move() -> None:
    assert len(elementwise(lambda z, b: jnp.sum(jnp.tanh(z + b)), X, Y, asked=(0, 1))) == 2


def test_a_sum_with_a_constant_is_fused() -> None:
    assert len(elementwise(lambda z, b: jnp.sum(jnp.tanh(z + b)), X, Y, asked=(0,))) == 1


def test_a_value_used_twice_is_kept() -> None:
    nodes = elementwise(lambda z: jnp.sum(jnp.exp(z)) * jnp.sum(jnp.sin(jnp.exp(z))), X)
    assert len([node for node in nodes if node.shape == (3,)]) == 2


def test_a_result_is_kept() -> None:
    problem = pose(lambda z: (jnp.exp(z), jnp.sin(jnp.exp(z))), [X], [0], scalar="")
    assert len(problem.outputs) == 2
    assert problem.outputs[0] in reachable([problem.outputs[1]])


def test_what_does_not_move_is_not_computed_again_in_each_derivative() -> None:
    nodes = elementwise(lambda z, y: jnp.sum(jnp.tanh(z * jnp.exp(y))), X, Y, asked=(0,))
    assert len(nodes) == 2


@pytest.mark.parametrize(
    "f",
    [
        lambda x: jnp.sum(jnp.sin(x) + jnp.cos(x)) + jnp.sum(jnp.cos(x) ** 3 * jnp.arange(1.0, 4.0)),
        lambda x: jnp.sum((jnp.sin(x**2) + jnp.cos(x**2)) ** 2 + jnp.cos(x**2) * jnp.arange(1.0, 4.0)),
        lambda x: jnp.sum(jnp.exp(x) * x + jnp.exp(x) ** 2) * jnp.sum(jnp.exp(x)),
    ],
    ids=["the slope of one input is another input", "the same one level up", "the value is its own slope"],
)
def test_a_slope_that_is_also_an_input(f: Any) -> None:
    check_every_verb(f, X)


def test_scalars_among_tensors() -> None:
    check_every_verb(lambda x: jnp.sum(jnp.tanh(x[0] * x + x[1]) / (1.0 + x[2] ** 2)), X)


def test_a_size_zero_tensor_among_scalars() -> None:
    check_every_verb(lambda x: jnp.sum(jnp.tanh(x[:0] * x[1])) + jnp.sum(x) ** 3, X)


def test_long_chains_are_one_function() -> None:
    def f(x: Any) -> Any:
        for _ in range(12):
            x = jnp.sin(x) * 1.1
        return jnp.sum(x)

    assert len(elementwise(f, X)) == 1
    check_every_verb(f, X)


def test_mixed_dtypes_are_not_changed() -> None:
    problem = pose(lambda x: jnp.sin(x.astype(jnp.float64)).astype(jnp.float32), [X.astype(np.float32)], [0], scalar="")
    assert problem.outputs[0].dtype == np.float32


def test_what_a_part_could_not_take_the_whole_takes() -> None:
    def rosenbrock(x: Any) -> Any:
        return sum(100.0 * (x[k + 1] - x[k] ** 2) ** 2 + (1.0 - x[k]) ** 2 for k in range(len(x) - 1))

    # x₁ - x₀² couples more than the square around it, but not more than the whole sum
    [node] = elementwise(rosenbrock, X)
    assert isinstance(node.kind, Elementwise)
    assert len(node.kind.function.couplings()) == 5  # tridiagonal
    check_every_verb(rosenbrock, X)


def test_a_long_sum_of_scalars_is_fused_in_linear_time() -> None:
    def total(x: Any) -> Any:
        value = jnp.zeros(())
        for k in range(300):
            value = value + jnp.sin(x[k % 3] + 0.001 * k)
        return value

    elementwise(lambda x: jnp.sin(x[0]) * 1.5 + x[1], X)
    start = time.perf_counter()
    [node] = elementwise(total, X)
    seconds = time.perf_counter() - start
    assert isinstance(node.kind, Elementwise)
    assert len(node.kind.function.couplings()) == 3
    assert seconds < 6.0, f"{seconds:.2f} s"


def test_fusing_twice_changes_nothing() -> None:
    problem = pose(lambda x: jnp.sum(jnp.tanh(jnp.sin(x) * x) ** 2), [X], [0], scalar="")
    assert fuse(problem.graph, problem.outputs, 1) == list(problem.outputs)
