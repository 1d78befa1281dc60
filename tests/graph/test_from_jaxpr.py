"""Contraction rows and index map rows on awkward shapes: the graph equals the function, and so do its derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close

import nablax as nb
from nablax.graph.evaluate import evaluate
from nablax.graph.graph import Node, reachable
from nablax.ops.kinds import Constant, Elementwise, IndexMap, Leaf, Opaque
from nablax.planning.question import Problem, pose
from nablax.sweeps.second_order import reverse

V, M, T = (6,), (2, 3), (2, 3, 4)


def pad(*config: tuple[int, int, int]) -> Callable[..., Any]:
    return lambda x: jax.lax.pad(x, 0.0, config)


def taken(*positions: int, mode: str | None = None) -> Callable[..., Any]:
    return lambda x: jnp.asarray(x).at[np.array(positions)].get(mode=mode)


# name: (function of one array, shapes of that array)
CONTRACTIONS = {
    "sum of all": (lambda x: x.sum(), [V, M, T, (0,), (1,), (), (2, 0)]),
    "sum over one axis": (lambda x: x.sum(1), [M, T, (2, 0), (0, 2), (1, 1)]),
    "sum over two axes": (lambda x: x.sum((0, 2)), [T, (1, 2, 1), (2, 0, 3)]),
    "transpose": (lambda x: x.T, [V, M, T, (0, 2), (1, 3)]),
    "move an axis": (lambda x: jnp.moveaxis(x, 0, -1), [M, T, (1, 0, 2)]),
    "broadcast to more rows": (lambda x: jnp.broadcast_to(x, (5, *x.shape)), [V, M, (0,), (1,), ()]),
    "broadcast of a unit axis": (lambda x: jnp.broadcast_to(x[:, None], (x.shape[0], 4)), [V, (0,), (1,)]),
    "stretched unit axis": (lambda x: x + jnp.zeros((3, 4)), [(1, 4), (3, 1), (1, 1), (4,), (1,), ()]),
    "squeeze": (lambda x: jnp.squeeze(x), [(1, 3, 1), (1, 1), (1, 0)]),
    "matrix times itself": (lambda x: x @ x.T, [M, (1, 3), (3, 1), (0, 3), (3, 0)]),
    "vector times itself": (lambda x: x @ x, [V, (1,), (0,)]),
    "outer product": (lambda x: jnp.outer(x, x), [V, (1,), (0,)]),
    "batched product": (lambda x: jnp.einsum("bij,bkj->bik", x, x), [T, (1, 3, 1), (2, 0, 3), (0, 2, 2)]),
    "product over two axes": (lambda x: jnp.tensordot(x, x, 2), [M]),
    "trace": (lambda x: jnp.trace(x), [(3, 3), (1, 1)]),
    "diagonal": (lambda x: jnp.diagonal(x), [(3, 3), (2, 4), (1, 1)]),
    "diagonal matrix": (lambda x: jnp.diag(x), [V, (1,)]),
    "einsum with a repeated label": (lambda x: jnp.einsum("ii->i", x), [(3, 3)]),
}
INDEX_MAPS = {
    "slice": (lambda x: x[1:4], [V, (2, 3)]),
    "slice with stride": (lambda x: x[1::2], [V, (1,), (3, 2)]),
    "empty slice": (lambda x: x[:0], [V, M]),
    "slice of every axis": (lambda x: x[:1, 1:, ::3], [T]),
    "reverse": (lambda x: x[::-1], [V, M, (1,), (0,)]),
    "reverse two axes": (lambda x: jnp.flip(x), [M, T, (1, 3)]),
    "pad": (pad((2, 1, 0)), [V, (0,), (1,)]),
    "pad inside": (pad((0, 0, 2)), [V, (1,)]),
    "pad inside an empty axis": (pad((1, 2, 1)), [(0,)]),
    "negative padding": (pad((-1, -2, 0)), [V]),
    "negative padding with gaps": (pad((-2, 1, 1)), [V]),
    "negative padding of everything": (pad((-7, 3, 0)), [V]),
    "pad two axes": (pad((1, 0, 1), (-1, 2, 0)), [M]),
    "concatenate": (lambda x: jnp.concatenate([x, x[:1], x[:0], x]), [V, M]),
    "concatenate on the second axis": (lambda x: jnp.concatenate([x, 0.0 * x, x], axis=1), [M]),
    "stack": (lambda x: jnp.stack([x, x[::-1]], axis=-1), [V, M]),
    "roll": (lambda x: jnp.roll(x, 2), [V, (1,)]),
    "tile": (lambda x: jnp.tile(x, 3), [V, M]),
    "repeat": (lambda x: jnp.repeat(x, 2, axis=0), [V, M]),
    "split": (lambda x: jnp.split(x, [2, 3])[2], [V]),
    "merge axes": (lambda x: x.reshape(-1), [M, T, (1, 3), (2, 1)]),
    "split an axis": (lambda x: x.reshape(2, 3), [V]),
    "split into three": (lambda x: x.reshape(2, 3, 4), [(24,), (6, 4)]),
    "reshape that neither merges nor splits": (lambda x: x.reshape(3, 2), [M]),
    "reshape of groups": (lambda x: x.reshape(4, 3, 2), [T, (6, 4), (2, 12)]),
    "reshape with unit axes": (lambda x: x.reshape(1, 6, 1), [V, M]),
    "reshape of nothing": (lambda x: x.reshape(0, 5), [(2, 0), (0,)]),
    "reshape to a scalar": (lambda x: x.reshape(()), [(1,), (1, 1)]),
    "gather": (taken(4, 0, 2), [V]),
    "gather with repetition": (taken(0, 0, 5, 0), [V]),
    "gather one place": (taken(3, 3, 3), [V]),
    "gather rows": (lambda x: x[np.array([1, 1, 0])], [M, T]),
    "gather columns": (lambda x: x[:, np.array([2, 0, 0])], [M]),
    "gather points": (lambda x: x[np.array([0, 1, 1]), np.array([2, 0, 0])], [M]),
    "gather a grid": (lambda x: x[np.array([[0], [1]]), np.array([[2, 0]])], [M]),
    "gather nothing": (lambda x: x[np.zeros(0, int)], [V]),
    "gather clipped": (taken(1, 99, -1, mode="clip"), [V]),
    "gather with a mask": (lambda x: x[np.array([True, False] * 3)], [V]),
    "take_along_axis": (lambda x: jnp.take_along_axis(x, np.array([[2, 0], [1, 1]]), 1), [M]),
    "dynamic slice at a known place": (lambda x: jax.lax.dynamic_slice(x, (4,), (3,)), [V]),
    "upper triangle": (lambda x: x[jnp.triu_indices(3)], [(3, 3)]),
    "moving window": (lambda x: x[np.arange(4)[:, None] + np.arange(3)], [V]),
}
# primitives of their own in JAX that no row describes; exact all the same
LEFT_TO_JAX = {"diagonal", "stack", "tile"}
CASES = [
    (group, name, shape) for group in (CONTRACTIONS, INDEX_MAPS) for name, (_, ss) in group.items() for shape in ss
]


def posed(f: Callable[..., Any], *arrays: Any) -> Problem:
    return pose(f, arrays, list(range(len(arrays))), scalar="")


def operations(problem: Problem) -> list[Node]:
    return [node for node in reachable(problem.outputs) if not isinstance(node.kind, Leaf | Constant)]


@pytest.mark.parametrize(("group", "name", "shape"), CASES, ids=[f"{n} {s}" for _, n, s in CASES])
def test_row(group: Any, name: str, shape: tuple[int, ...], generator: np.random.Generator) -> None:
    f = group[name][0]
    x = generator.normal(size=shape)
    problem = posed(f, x)
    [output] = problem.outputs
    [leaf] = problem.leaves
    terms = reverse(problem.graph, output, [leaf])[leaf]
    jacobian = problem.graph.sum_of(terms, output.shape + leaf.shape, leaf.dtype)
    value, slope = evaluate([output, jacobian], [x])
    np.testing.assert_array_equal(np.isfinite(value), True)
    assert_close(value, f(x), what=name)
    assert_close(slope, jax.jacobian(f)(x), what=name)
    if name not in LEFT_TO_JAX:
        assert not any(isinstance(node.kind, Opaque) for node in operations(problem))


@pytest.mark.parametrize(("group", "name", "shape"), CASES[::3], ids=[f"{n} {s}" for _, n, s in CASES[::3]])
def test_second_derivative_through_a_row(
    group: Any, name: str, shape: tuple[int, ...], generator: np.random.Generator
) -> None:
    f = group[name][0]
    x = generator.normal(size=shape)
    weights = generator.normal(size=jax.eval_shape(f, x).shape)

    def total(x: Any) -> Any:
        return jnp.sum(weights * f(jnp.sin(x)) ** 2) * jnp.sum(x)

    got = jax.jit(lambda x: (nb.hessian(total)(x), nb.hessian_diagonal(total, strategy="legs-backward")(x)))(x)
    want = jax.jit(jax.hessian(total))(x)
    assert_close(got[0], want, what=name)
    assert_close(got[1].ravel(), np.diagonal(np.asarray(want).reshape(x.size, x.size)), what=name)


def test_pad_with_a_value_that_moves() -> None:
    f = lambda x: jnp.sum(jax.lax.pad(x, x[0] ** 2, [(2, -1, 1)]) ** 3)
    x = np.array([0.5, -1.0, 2.0])
    assert_close(nb.hessian(f)(x), jax.hessian(f)(x))


def test_integers_reduce_as_in_jax() -> None:
    # int8 sums wrap around, int32 sums stay int32 also where numpy would widen them
    f = lambda x, i: x.sum() ** 2 * jax.lax.reduce(i, np.int8(0), jax.lax.add, (0,)).astype(x.dtype)
    x, small = np.array([0.5, -1.0]), np.array([100, 100, 100], np.int8)
    assert_close(nb.hessian(f)(x, small), jax.hessian(f)(x, small))
    g = lambda x, i: x.sum() ** 2 * (i.sum(dtype=jnp.int32) + jnp.int32(1)).astype(x.dtype)
    many = np.array([1, 2, 3], np.int32)
    assert_close(nb.hessian(g)(x, many), jax.hessian(g)(x, many))


def test_the_precision_of_a_product_is_kept() -> None:
    data = np.ones((5, 3), np.float32)
    f = lambda x: jnp.sum(jnp.dot(data, x, precision=jax.lax.Precision.HIGHEST) ** 2)
    assert "HIGHEST" in str(jax.make_jaxpr(nb.hessian(f))(np.ones(3, np.float32)))


def test_index_arithmetic_is_folded() -> None:
    problem = posed(lambda x: x[jnp.arange(5) + 1 - jnp.array(1)], np.ones(6))
    assert [type(node.kind) for node in operations(problem)] == [IndexMap]


def test_an_index_known_only_at_run_time_is_left_to_jax() -> None:
    problem = pose(lambda x, i: x[i], [np.ones(6), np.array([1, 2])], [0], scalar="")
    assert any(isinstance(node.kind, Opaque) for node in operations(problem))


def test_equal_expressions_are_one_node() -> None:
    problem = posed(lambda x: jnp.sum(jnp.sin(x) * 2.0) + jnp.sum(jnp.sin(x) * 2.0) ** 2, np.ones(3))
    sines = [n for n in operations(problem) if isinstance(n.kind, Elementwise) and n.shape == (3,)]
    assert len(sines) == 1


def test_what_does_not_move_carries_no_derivative() -> None:
    problem = posed(lambda x: jnp.sum(jax.lax.stop_gradient(x) * (x > 0) * jnp.floor(x)), np.ones(3))
    assert problem.outputs[0].depends == 0
