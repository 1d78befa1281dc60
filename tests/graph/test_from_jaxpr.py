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
from nablax.graph import contraction_rows
from nablax.graph.evaluate import evaluate
from nablax.graph.node import Node, reachable
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
    "unstack": (lambda x: jnp.unstack(x)[1], [V, M, T]),
    "unstack the second axis": (lambda x: jnp.unstack(x, axis=1)[2], [M]),
    "one after the other": (lambda x: next(iter(x)), [V, M]),
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
WRITES = {
    "write an element": (lambda x: x.at[1].set(x[0] ** 2), [V, (2,)]),
    "write a row": (lambda x: x.at[1].set(x[0] ** 2), [M, T]),
    "write columns": (lambda x: x.at[:, np.array([2, 0])].set(x[:, :2] ** 2), [M]),
    "write points": (lambda x: x.at[np.array([0, 1]), np.array([2, 1])].set(x[0, :2] ** 2), [M]),
    "write every second": (lambda x: x.at[::2].set(x[::2] ** 2), [V, (13,)]),
    "write everything": (lambda x: x.at[:].set(x[::-1] ** 2), [V, (1,)]),
    "write nothing": (lambda x: x.at[np.zeros(0, int)].set(x[:0]), [V]),
    "write, one place outside": (lambda x: x.at[np.array([0, 9])].set(x[:2] ** 2), [V]),
    "write, clipped": (lambda x: x.at[np.array([0, 9])].set(x[:2] ** 2, mode="clip"), [V]),
    "add": (lambda x: x.at[np.array([1, 1, 0])].add(x[:3] ** 2), [V, (3,)]),
    "add, one place outside": (lambda x: x.at[np.array([1, 7, 0])].add(x[:3] ** 2), [V]),
    "multiply": (lambda x: x.at[np.array([1, 0])].multiply(x[:2] ** 2, unique_indices=True), [V, (3,)]),
    "multiply, one place outside": (lambda x: x.at[np.array([1, 9])].multiply(x[:2], unique_indices=True), [V]),
    "multiply rows": (lambda x: x.at[1].multiply(x[0], unique_indices=True), [M, T]),
    "larger": (lambda x: x.at[np.array([1, 0])].max(x[:2] ** 2), [V, (3,)]),
    "smaller": (lambda x: x.at[np.array([0, 5])].min(x[1:3]), [V]),
    "smaller columns": (lambda x: x.at[:, np.array([2, 0])].min(x[:, :2] ** 2), [M]),
    "segment sum": (lambda x: jax.ops.segment_sum(x, np.array([0, 2, 2, 1, 5, 0]), 3), [V, (6, 2)]),
    "update at a known place": (lambda x: jax.lax.dynamic_update_slice(x, x[:2] ** 2, (5,)), [V]),
    "update of a block": (lambda x: jax.lax.dynamic_update_slice(x, x[:1, 1:] ** 2, (1, 0)), [M, T[:2]]),
    "mask": (lambda x: jnp.where(jnp.zeros(6, bool).at[np.array([1, 2])].set(True), x**2, x), [V]),
    "stack of three": (lambda x: jnp.stack([x, x**2, x[::-1]], axis=1), [V, M, (1,)]),
    "tile of a matrix": (lambda x: jnp.tile(x, (2, 3)), [M, (1, 3), (2, 1)]),
    "tile to more axes": (lambda x: jnp.tile(x, (2, 1, 2)), [V, M]),
}
CASES = [
    (group, name, shape)
    for group in (CONTRACTIONS, INDEX_MAPS, WRITES)
    for name, (_, ss) in group.items()
    for shape in ss
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
    assert_close(value, f(jnp.asarray(x)), what=name)
    assert_close(slope, jax.jacobian(f)(x), what=name)
    assert not any(isinstance(node.kind, Opaque) for node in operations(problem))


@pytest.mark.parametrize(("group", "name", "shape"), CASES[::3], ids=[f"{n} {s}" for _, n, s in CASES[::3]])
def test_second_derivative_through_a_row(
    group: Any, name: str, shape: tuple[int, ...], generator: np.random.Generator
) -> None:
    f = group[name][0]
    x = generator.normal(size=shape)
    weights = generator.normal(size=jax.eval_shape(f, jnp.asarray(x)).shape)

    def total(x: Any) -> Any:
        return jnp.sum(weights * f(jnp.sin(x)) ** 2) * jnp.sum(x)

    got = jax.jit(lambda x: (nb.hessian(total)(x), nb.hessian_diagonal(total, strategy="legs-backward")(x)))(x)
    want = jax.jit(jax.hessian(total))(x)
    assert_close(got[0], want, what=name)
    assert_close(got[1].ravel(), np.diagonal(np.asarray(want).reshape(x.size, x.size)), what=name)


def test_a_clipped_place_is_the_last_one(generator: np.random.Generator) -> None:
    """The answer comes from the place written out: the second derivative of a clipped minimum is NaN in JAX 0.10."""
    x = generator.normal(size=6)

    def total(x: Any, places: Any) -> Any:
        return jnp.sum(jnp.sin(x).at[places].min(x[1:3] ** 2, mode="clip") ** 3)

    outside, inside = np.array([0, 9]), np.array([0, 5])
    assert_close(nb.hessian(lambda x: total(x, outside))(x), jax.hessian(lambda x: total(x, inside))(x))


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


def test_the_highest_precision_that_any_product_asks_for_is_kept() -> None:
    data = np.ones((5, 3), np.float32)
    highest, high = jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGH
    for order in ((highest, high, None), (None, high, highest), (high, highest, None), (highest, None, None)):

        def f(x: Any, order: Any = order) -> Any:
            return sum(jnp.sum(jnp.dot(data, x, precision=one) ** 2) for one in order)

        assert posed(f, np.ones(3, np.float32)).graph.precision == (highest, highest), order


def test_the_higher_precision_of_each_operand() -> None:
    default, high, highest = jax.lax.Precision.DEFAULT, jax.lax.Precision.HIGH, jax.lax.Precision.HIGHEST
    preset = jax.lax.DotAlgorithmPreset.F32_F32_F32
    assert contraction_rows.highest((high, default), (default, highest)) == (high, highest)
    assert contraction_rows.highest((default, default), (default, default)) is None
    assert contraction_rows.highest(None, (high, high)) == (high, high)
    assert contraction_rows.highest(preset, (high, high)) == contraction_rows.highest((high, high), preset) == preset


# -- places outside the array ------------------------------------------------------------------------------

OUTSIDE = np.array([0, 9, 1, -7])
READS = {
    "clip": lambda x: x.at[OUTSIDE].get(mode="clip"),
    "fill": lambda x: x.at[OUTSIDE].get(mode="fill", fill_value=2.0),
    "fill with NaN": lambda x: jnp.nan_to_num(x.at[OUTSIDE].get(mode="fill"), nan=0.3),
    "promise_in_bounds": lambda x: x.at[OUTSIDE].get(mode="promise_in_bounds"),
    "as Python writes it": lambda x: x[jnp.array([0, 9, 1])],
    "take": lambda x: jnp.take(x, OUTSIDE, axis=0, mode="clip"),
}


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("shape", [(4,), (2, 3)])
def test_reading_outside_has_one_meaning(name: str, shape: tuple[int, ...], generator: np.random.Generator) -> None:
    x = generator.normal(size=shape)
    read = READS[name]

    def f(x: Any) -> Any:
        found = read(jnp.sin(x))
        return jnp.sum(found**3 * np.arange(1.0, 1.0 + found.size).reshape(found.shape))

    at = nb.curvature(f)(x)
    assert_close(at.value, f(jnp.asarray(x)), what=name)
    assert_close(at.gradient, jax.grad(f)(x), what=name)
    want = jax.hessian(f)(x)
    for strategy in ("legs-backward", "legs-forward", "columns"):
        assert_close(nb.hessian(f, strategy=strategy)(x), want, what=f"{name}, {strategy}")
    assert_close(nb.hvp(f)(x, np.ones(shape)), jnp.tensordot(want, np.ones(shape), len(shape)), what=name)


def test_a_promise_that_is_broken_is_a_constant() -> None:
    # x[9] reads x[1], and JAX drops its cotangent: f = x0 x[9] is x0 times a constant, as jax.grad says. JAX's forward
    # mode moves it all the same, so that jax.hessian is not symmetric; here all answers are of one function.
    f = lambda x: x[0] * x[jnp.array([9])][0]
    x = np.array([2.0, 3.0])
    assert_close(nb.curvature(f)(x).gradient, [3.0, 0.0])
    for strategy in ("legs-backward", "columns"):
        assert_close(nb.hessian(f, strategy=strategy)(x), np.zeros((2, 2)))
    assert_close(jax.grad(f)(x), [3.0, 0.0])


@pytest.mark.parametrize("write", ["set", "max", "min"])
def test_a_place_that_is_written_twice_is_left_to_jax(write: str) -> None:
    f = lambda x: jnp.sum(getattr(x.at[np.array([1, 1])], write)(x[:2] ** 2) ** 2)
    x = np.array([0.5, 0.3, 2.0, 1.0])
    assert_close(nb.hessian(f)(x), jax.hessian(f)(x))
    assert any(isinstance(node.kind, Opaque) for node in operations(posed(f, np.ones(4))))


# -- random keys -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generator_name", ["threefry2x32", "rbg"])
def test_random_keys_inside_and_outside(generator_name: str) -> None:
    x = np.array([0.5, -1.2, 0.8, 2.1])
    outer = jax.random.key(3, impl=generator_name)

    def dropout(x: Any, key: Any) -> Any:
        first, second = jax.random.split(key)
        kept = jax.random.bernoulli(first, 0.5, (4,))
        return jnp.sum(jnp.where(kept, x, 0.0) ** 3 * jax.random.normal(second, (4,)) * outer_noise())

    def outer_noise() -> Any:
        return jax.random.normal(outer, (4,))

    key = jax.random.key(5, impl=generator_name)
    assert_close(nb.hessian(dropout)(x, key), jax.hessian(dropout)(x, key))


def test_a_loop_that_splits_keys() -> None:
    def f(x: Any) -> Any:
        def step(carry: Any, _: Any) -> Any:
            value, key = carry
            key, now = jax.random.split(key)
            return (jnp.tanh(value * jax.random.normal(now, (2,)) + value), key), value

        return jnp.sum(jax.lax.scan(step, (x, jax.random.key(0)), None, 3)[1] ** 2)

    x = np.array([0.4, 0.9])
    for strategy in ("legs-backward", "columns"):
        assert_close(nb.hessian(f, strategy=strategy)(x), jax.hessian(f)(x), what=strategy)
    assert_close(nb.hvp(f)(x, np.ones(2)), jax.hessian(f)(x) @ np.ones(2))


def test_only_results_that_are_read_are_packed() -> None:
    f = lambda x: jax.lax.scan(lambda c, a: (jnp.sin(c * a), c * a), x[0], x)[1]
    [node] = [one for one in operations(posed(f, np.ones(4))) if isinstance(one.kind, Opaque)]
    assert node.shape == (4,)


def test_index_arithmetic_is_folded() -> None:
    problem = posed(lambda x: x[jnp.arange(5) + 1 - jnp.array(1)], np.ones(6))
    assert [type(node.kind) for node in operations(problem)] == [IndexMap]


def test_an_index_of_what_carries_no_derivative_is_left_to_jax() -> None:
    problem = pose(lambda x, i: x * jnp.arange(6)[i], [np.ones(2), np.array([1, 2])], [0], scalar="")
    assert any(isinstance(node.kind, Opaque) for node in operations(problem))


def test_equal_expressions_are_one_node() -> None:
    problem = posed(lambda x: jnp.sum(jnp.sin(x) * 2.0) + jnp.sum(jnp.sin(x) * 2.0) ** 2, np.ones(3))
    sines = [n for n in operations(problem) if isinstance(n.kind, Elementwise) and n.shape == (3,)]
    assert len(sines) == 1


def test_what_does_not_move_carries_no_derivative() -> None:
    problem = posed(lambda x: jnp.sum(jax.lax.stop_gradient(x) * (x > 0) * jnp.floor(x)), np.ones(3))
    assert problem.outputs[0].depends == 0
