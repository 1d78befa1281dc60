"""The public verbs: trees, dtypes, transformations, sharding, repeated calls."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import textwrap
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close, assert_same_tree, count_traces

import nablax as nb

STRATEGIES = ("auto", "legs-backward", "legs-forward", "columns")


class Pair(NamedTuple):
    left: Any
    right: Any


def loss(p: Any, scale: Any = 1.0) -> Any:
    leaves = [jnp.ravel(x) for x in jax.tree.leaves(p)]
    z = jnp.concatenate(leaves)
    return scale * jnp.sum(jnp.sin(z) * z[::-1] ** 2) + jnp.prod(z[:2])


TREES = {
    "array": np.array([0.5, -1.0]),
    "dict": {"b": np.array(0.3), "a": np.array([0.5, -1.0])},
    "tuple": (np.array([0.5]), np.array([[1.0, 2.0]])),
    "list": [np.array([0.5, 2.0]), np.array(1.5)],
    "None leaf": {"a": None, "b": (np.array([0.5, -1.0]), None)},
    "named tuple": Pair(np.array([0.5, 1.0]), {"x": np.array(2.0)}),
    "size-0 leaf": (np.array([0.5, 1.0]), np.zeros((0, 2))),
    "nested": {"net": [Pair(np.ones((2, 1)), np.array(0.5)), ()]},
}


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_trees_nest_like_jax(name: str, strategy: str) -> None:
    p = TREES[name]
    want = jax.jit(jax.hessian(loss))(p)
    got = nb.hessian(loss, strategy=strategy)(p)
    assert_same_tree(got, want, name)


@pytest.mark.parametrize("name", TREES)
def test_diagonals_products_and_traces_on_trees(name: str) -> None:
    p = TREES[name]
    flat, unravel = jax.flatten_util.ravel_pytree(p)
    full = np.asarray(jax.jit(jax.hessian(lambda z: loss(unravel(z))))(flat))
    v = np.arange(1.0, 1.0 + flat.size)
    assert_same_tree(nb.hessian_diagonal(loss)(p), unravel(jnp.diag(full)), name)
    assert_same_tree(nb.hvp(loss)(p, unravel(v)), unravel(full @ v), name)
    assert_close(nb.quadratic_form(loss)(p, unravel(v)), v @ full @ v)
    assert_close(nb.laplacian(loss)(p), np.trace(full))


# -- results -----------------------------------------------------------------------------------------------


RESULTS = {
    "vector": lambda t: t["x"] ** 2 * t["y"],
    "matrix": lambda t: jnp.outer(jnp.sin(t["x"]), t["x"]) @ t["x"][:, None] * t["y"],
    "tree": lambda t: {"a": t["x"] ** 3, "b": (t["y"] * jnp.sum(t["x"]), t["x"][0])},
    "the argument itself": lambda t: t,
    "constants": lambda t: (3.0, jnp.ones(2), t["y"] ** 2),
    "the same result twice": lambda t: (t["y"] ** 2 * t["x"],) * 2,
    "one result inside another": lambda t: (jnp.exp(t["x"]), jnp.sum(jnp.exp(t["x"]) ** 2)),
    "named tuple": lambda t: Pair(t["x"] @ t["x"], jnp.sort(t["x"]) ** 2),
    "size 0": lambda t: t["x"][:0],
}


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_any_result_nests_like_jax(name: str, strategy: str) -> None:
    t = {"x": np.array([0.3, -1.0, 2.0]), "y": np.array(1.5)}
    assert_same_tree(nb.hessian(RESULTS[name], strategy=strategy)(t), jax.hessian(RESULTS[name])(t), name)


# -- arguments ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argnums", [0, 1, -1, (0,), (0, 1), (1, 0), (2, 0), (0, 1, 2), [1, 0], (-1, 0)])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_argnums(argnums: Any, strategy: str) -> None:
    f = lambda x, y, z: jnp.sum(x**2) * y**3 * jnp.sum(jnp.sin(z["a"]) * x)
    args = (np.array([0.5, -1.0]), 2.0, {"a": np.array([1.0, 0.3])})
    listed = argnums if isinstance(argnums, int) else tuple(argnums)
    if isinstance(listed, tuple):
        listed = tuple(k % 3 for k in listed)
    want = jax.hessian(f, argnums=listed)(*args)
    assert_same_tree(nb.hessian(f, argnums=argnums, strategy=strategy)(*args), want)


def test_diagonal_and_products_with_several_argnums() -> None:
    f = lambda x, y: jnp.sum(x**2) * y**3
    x, y = np.arange(3.0), 2.0
    got = nb.hessian_diagonal(f, argnums=(1, 0))(x, y)
    assert_same_tree(got, (jnp.array(60.0), jnp.full(3, 16.0)))
    [y_row, x_row] = nb.hvp(f, argnums=(1, 0))(x, (1.0, np.ones(3)), y)
    assert_close(y_row, 60.0 + 72.0)
    assert_close(x_row, 24.0 * x + 16.0)
    assert_close(nb.hvp(f, argnums=1)(x, 1.0, y), 60.0)
    assert_close(nb.quadratic_form(f, argnums=(0, 1))(x, (np.ones(3), 1.0), y), 48.0 + 60.0 + 2 * 72.0)
    assert_close(nb.laplacian(f, argnums=(0, 1))(x, y), 48.0 + 60.0)


@pytest.mark.parametrize("x", [1.5, np.float64(1.5), np.float32(1.5), np.array(1.5), jnp.array(1.5)])
def test_scalars(x: Any) -> None:
    f = lambda x: x**3
    assert_close(nb.hessian(f)(x), 9.0)
    assert_close(nb.hessian_diagonal(f)(x), 9.0)
    assert_close(nb.laplacian(f)(x), 9.0)
    assert_close(nb.hvp(f)(x, 2.0), 18.0)
    assert_close(nb.quadratic_form(f)(x, 2), 36.0)
    assert nb.hessian(f)(x).dtype == jax.hessian(f)(x).dtype


def test_keyword_arguments() -> None:
    f = lambda x, *, power, weight: jnp.sum(weight * x**power)
    x, w = np.array([0.5, 2.0]), np.array([1.0, 3.0])
    want = jax.hessian(lambda x: f(x, power=3, weight=w))(x)
    assert_close(nb.hessian(f)(x, power=3, weight=w), want)
    assert_close(nb.hvp(f)(x, x, weight=w, power=3), want @ x)
    assert_close(nb.curvature(f)(x, weight=w, power=3).dense(), want)


def test_static_arguments_steer_python() -> None:
    def f(x: Any, times: int, name: str, options: dict[str, bool]) -> Any:
        for _ in range(times):
            x = jnp.sin(x) if name == "sin" else jnp.cos(x)
        return jnp.sum(x) if options["sum"] else jnp.prod(x)

    x = np.array([0.5, 2.0])
    for times in (1, 2):
        for name in ("sin", "cos"):
            for flag in (True, False):
                options = {"sum": flag}
                want = jax.hessian(lambda x, a=times, b=name, c=options: f(x, a, b, c))(x)
                assert_close(nb.hessian(f)(x, times, name, options), want)
                assert_close(nb.curvature(f)(x, times, name, options).dense(), want)


def test_true_and_one_are_different_static_arguments() -> None:
    f = lambda x, flag: jnp.sum(x**3) if flag is True else jnp.sum(x**2)
    x = np.array([1.0, 2.0])
    assert_close(nb.laplacian(f)(x, 1), 4.0)
    assert_close(nb.laplacian(f)(x, True), 18.0)
    assert_close(nb.laplacian(f)(x, 1), 4.0)


def test_floats_are_data_and_not_compiled_again() -> None:
    f, runs = count_traces(lambda x, s: s * jnp.sum(x**3))
    ask = nb.laplacian(f)
    x = np.array([1.0, 2.0])
    for s in (1.0, 2.0, 3.0):
        assert_close(ask(x, s), 18.0 * s)
    assert len(runs) == 1


def test_random_keys_are_data() -> None:
    f = lambda x, key: jnp.sum(x**3 * jax.random.normal(key, x.shape))
    x = np.array([1.0, 2.0])
    for seed in (0, 1):
        key = jax.random.key(seed)
        assert_close(nb.hessian(f)(x, key), jax.hessian(f)(x, key))


# -- dtypes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("strategy", ["legs-backward", "legs-forward", "columns"])
def test_dtypes_stay(dtype: str, strategy: str) -> None:
    f = lambda x: jnp.sum(jnp.tanh(x @ x) * x**2) + jnp.max(x)
    wide = np.array([0.5, -0.75, 0.25])
    x = jnp.asarray(wide, dtype)
    want = jax.hessian(f)(wide)
    found = jax.jit(
        lambda x: (
            nb.hessian(f, strategy=strategy)(x), nb.hessian_diagonal(f, strategy=strategy)(x),
            nb.laplacian(f, strategy=strategy)(x), nb.hvp(f)(x, x), nb.quadratic_form(f)(x, x),
        )
    )(x)  # fmt: skip
    expected = (want, np.diag(want), np.trace(want), want @ wide, wide @ want @ wide)
    for got, right in zip(found, expected, strict=True):
        assert got.dtype == jnp.dtype(dtype)
        assert_close(got, right, dtype)
    assert jax.hessian(f)(x).dtype == jnp.dtype(dtype)


def test_leaves_of_several_dtypes() -> None:
    f = lambda t: jnp.sum(t[0].astype(jnp.float64) ** 2) * jnp.sum(t[1] ** 3)
    t = (np.array([1.0, 2.0], np.float32), np.array([0.5, 0.25]))
    for strategy in STRATEGIES:
        got, want = nb.hessian(f, strategy=strategy)(t), jax.hessian(f)(t)
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            assert a.dtype == b.dtype
            assert_close(a, b, "float32")


@pytest.mark.parametrize(
    "ask", [nb.hessian, lambda f: lambda *a: nb.curvature(f)(*a).dense()], ids=["verb", "curvature"]
)
def test_a_python_number_does_not_widen_the_result(ask: Any) -> None:
    f = lambda x, s: s * jnp.sum(x**3)
    x = np.array([1.0, 2.0], np.float32)
    assert ask(f)(x, 2.0).dtype == jax.hessian(f)(x, 2.0).dtype == np.float32


def test_a_python_number_as_argument() -> None:
    f = lambda x: x**3 * jnp.ones(3, jnp.float32).sum()
    want = jax.hessian(f)(2.0)
    for got in (nb.hessian(f)(2.0), nb.curvature(f)(2.0).dense(), nb.hvp(f)(2.0, 1.0)):
        assert_close(got, want)
        assert got.dtype == want.dtype
    assert nb.curvature(f)(2.0).value.dtype == f(jnp.asarray(2.0)).dtype or f(2.0).dtype


# -- transformations ---------------------------------------------------------------------------------------


def smooth(x: Any) -> Any:
    return jnp.prod(jnp.sin(x)) + jnp.sum(x**3)


STACK = np.random.default_rng(0).normal(size=(3, 4))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_under_jit_and_vmap(strategy: str) -> None:
    want = jax.vmap(jax.hessian(smooth))(STACK)
    ask = nb.hessian(smooth, strategy=strategy)
    assert_close(jax.jit(jax.vmap(ask))(STACK), want)
    assert_close(jax.vmap(jax.jit(ask))(STACK), want)
    diagonal = nb.hessian_diagonal(smooth, strategy=strategy)
    assert_close(jax.vmap(diagonal)(STACK), jnp.diagonal(want, axis1=1, axis2=2))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_under_grad(strategy: str) -> None:
    ours = lambda x: nb.laplacian(smooth, strategy=strategy)(x)
    theirs = lambda x: jnp.trace(jax.hessian(smooth)(x))
    x = STACK[0]
    assert_close(jax.grad(ours)(x), jax.grad(theirs)(x))
    assert_close(jax.jacfwd(ours)(x), jax.grad(theirs)(x))
    assert_close(jax.jit(jax.hessian(ours))(x), jax.jit(jax.hessian(theirs))(x))


def test_products_under_transformations() -> None:
    x = STACK[0]
    full = jax.hessian(smooth)(x)
    assert_close(jax.vmap(lambda v: nb.hvp(smooth)(x, v))(np.eye(4)), full)
    assert_close(jax.grad(lambda v: nb.quadratic_form(smooth)(x, v))(x), 2.0 * full @ x)
    curved = jax.vmap(lambda x: nb.curvature(smooth)(x).trace())(STACK)
    assert_close(curved, jax.vmap(lambda x: jnp.trace(jax.hessian(smooth)(x)))(STACK))


def test_inside_loops_and_branches() -> None:
    step = lambda x, _: (x - 0.01 * nb.hvp(smooth)(x, x), nb.laplacian(smooth)(x))
    same = lambda x, _: (x - 0.01 * jax.hessian(smooth)(x) @ x, jnp.trace(jax.hessian(smooth)(x)))
    assert_close(jax.lax.scan(step, STACK[0], None, 3)[1], jax.lax.scan(same, STACK[0], None, 3)[1])
    assert_close(jax.lax.cond(True, nb.laplacian(smooth), jnp.sum, STACK[0]), jnp.trace(jax.hessian(smooth)(STACK[0])))


def test_closed_over_tracers() -> None:
    x = np.arange(3.0)

    def outer(y: Any) -> Any:
        f = lambda x: jnp.sum((x * y) ** 3)
        return nb.laplacian(f)(x), nb.curvature(f)(x).trace(), nb.hessian(f)(x)[2, 2]

    for y in (1.0, 2.0):
        for got, right in zip(outer(y), (18.0 * y**3, 18.0 * y**3, 12.0 * y**3), strict=True):
            assert_close(got, right)
        for got, right in zip(jax.jit(outer)(y), (18.0 * y**3, 18.0 * y**3, 12.0 * y**3), strict=True):
            assert_close(got, right)
        for got, right in zip(jax.jacobian(outer)(y), (54.0 * y**2, 54.0 * y**2, 36.0 * y**2), strict=True):
            assert_close(got, right)
    assert_close(jax.vmap(outer)(np.array([1.0, 2.0]))[0], np.array([18.0, 144.0]))


class Model:
    """A user's class whose state a method reads."""

    def __init__(self) -> None:
        self.scale: Any = 1.0

    def loss(self, x: Any) -> Any:
        return jnp.sum((self.scale * x) ** 3)


@pytest.mark.parametrize(
    "ask", [nb.laplacian, lambda f: lambda x: nb.curvature(f)(x).trace()], ids=["verb", "curvature"]
)
def test_a_tracer_in_the_state_of_an_object(ask: Any) -> None:
    model, x = Model(), np.arange(3.0)

    def outer(y: Any) -> Any:
        model.scale = y
        return ask(model.loss)(x)

    assert_close(jax.grad(outer)(2.0), 18.0 * 3.0 * 4.0)
    assert_close(jax.jit(outer)(2.0), 18.0 * 8.0)
    assert_close(jax.grad(outer)(3.0), 18.0 * 3.0 * 9.0)


# -- repeated calls ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["hessian", "hessian_diagonal", "laplacian"])
def test_the_second_call_does_not_trace(verb: str) -> None:
    f, runs = count_traces(smooth)
    ask = getattr(nb, verb)(f)
    ask(STACK[0])
    first = len(runs)
    ask(STACK[1])
    getattr(nb, verb)(f)(STACK[2])  # a verb made anew about the same function
    assert len(runs) == first == 1
    ask(STACK[:2].ravel())  # another shape
    assert len(runs) == 2


def test_products_and_curvature_do_not_trace_twice() -> None:
    f, runs = count_traces(smooth)
    for k in range(3):
        nb.hvp(f)(STACK[k], STACK[0])
    assert len(runs) == 1
    for k in range(3):
        c = nb.curvature(f)(STACK[k])
        assert_close(c.trace(), np.trace(c.dense()))
    assert len(runs) == 2


def test_captured_arrays() -> None:
    for k in range(3):
        w = jnp.asarray(STACK[k])
        assert_close(nb.laplacian(lambda x, w=w: jnp.sum(w * x**3))(STACK[0]), jnp.sum(6.0 * w * STACK[0]))


def test_functions_that_cannot_be_hashed() -> None:
    class Loss:
        __hash__ = None  # type: ignore[assignment]

        def __init__(self, w: Any) -> None:
            self.w = w

        def __call__(self, x: Any) -> Any:
            return jnp.sum(self.w * x**3)

    for w in (1.0, 2.0):
        assert_close(nb.laplacian(Loss(w))(np.ones(2)), 12.0 * w)
        assert_close(nb.hvp(Loss(w))(np.ones(2), np.ones(2)), 6.0 * w * np.ones(2))
        assert_close(nb.curvature(Loss(w))(np.ones(2)).trace(), 12.0 * w)
    bound = functools.partial(lambda s, x: s * jnp.sum(x**3), 2.0)
    assert_close(nb.laplacian(bound)(np.ones(2)), 24.0)


def test_the_same_function_under_other_precision() -> None:
    f = lambda x: jnp.sum(jnp.asarray(x) ** 3)
    assert nb.laplacian(f)(1.5 * np.ones(2)).dtype == np.float64
    with jax.enable_x64(False):
        assert nb.laplacian(f)(1.5 * np.ones(2)).dtype == np.float32


# -- curvature ---------------------------------------------------------------------------------------------


def test_one_object_for_all_questions() -> None:
    p = {"w": np.array([[0.5, -1.0]]), "b": np.array(0.3)}
    f = lambda p, s: s * jnp.sum(jnp.tanh(p["w"] * p["b"]) ** 2)
    c = nb.curvature(f)(p, 2.0)
    want = jax.hessian(f)(p, 2.0)
    assert_close(c.value, f(p, 2.0))
    assert_same_tree(c.gradient, jax.grad(f)(p, 2.0))
    assert_same_tree(c.dense(), want)
    assert_same_tree(c.block("w", "b"), want["w"]["b"])
    assert_same_tree(c.block(("b",), ()), want["b"])
    assert_same_tree(c.block((), ()), want)
    full = np.block(
        [
            [np.reshape(want["b"]["b"], (1, 1)), np.reshape(want["b"]["w"], (1, 2))],
            [np.reshape(want["w"]["b"], (2, 1)), np.reshape(want["w"]["w"], (2, 2))],
        ]
    )
    assert_close(c.trace(), np.trace(full))
    assert_close(jax.flatten_util.ravel_pytree(c.diagonal())[0], np.diag(full))
    v = {"w": np.array([[1.0, 2.0]]), "b": np.array(-1.0)}
    flat = np.array([-1.0, 1.0, 2.0])
    assert_close(jax.flatten_util.ravel_pytree(c @ v)[0], full @ flat)
    assert_close(c.quadratic_form(v), flat @ full @ flat)
    assert repr(c) == "Curvature(3 unknowns in float64[], float64[1, 2])"
    assert "question    diagonal" in str(c.plan("diagonal"))


def test_answers_are_kept() -> None:
    c = nb.curvature(smooth)(STACK[0])
    assert c.dense() is c.dense()
    assert c.diagonal() is c.diagonal()
    assert c.value is c.value


def test_blocks_of_named_tuples_and_several_arguments() -> None:
    p = Pair(np.array([0.5, 1.0]), np.array(2.0))
    f = lambda p, x: jnp.sum(p.left**2) * p.right**2 * x
    want = jax.hessian(f, argnums=(0, 1))(p, 3.0)
    c = nb.curvature(f, argnums=(0, 1))(p, 3.0)
    assert_same_tree(c.block((0, "left"), (0, "right")), want[0].left[0].right)
    assert_same_tree(c.block((0, 1), 1), want[0].right[1])


# -- sharding ----------------------------------------------------------------------------------------------


def test_on_a_mesh_of_one_device() -> None:
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    data = jax.device_put(STACK, jax.NamedSharding(mesh, jax.P("data", None)))
    f = lambda w, a: jnp.mean(jnp.tanh(a @ w) ** 2)
    w = np.arange(4.0)
    for strategy in STRATEGIES:
        assert_close(nb.hessian(f, strategy=strategy)(w, data), jax.hessian(f)(w, STACK))


@pytest.mark.slow
def test_on_two_devices() -> None:
    program = """
        import jax, jax.numpy as jnp, numpy as np, nablax as nb
        jax.config.update("jax_enable_x64", True)
        assert len(jax.devices()) == 2
        mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        rows = np.random.default_rng(0).normal(size=(6, 4))
        data = jax.device_put(rows, jax.NamedSharding(mesh, jax.P("data", None)))
        w = jax.device_put(np.arange(4.0), jax.NamedSharding(mesh, jax.P("data")))
        f = lambda w, a: jnp.mean(jnp.tanh(a @ w) ** 2) + jnp.sum(jnp.sort(w) ** 3)
        want = np.asarray(jax.hessian(f)(np.arange(4.0), rows))
        for strategy in ("auto", "legs-backward", "legs-forward", "columns"):
            np.testing.assert_allclose(nb.hessian(f, strategy=strategy)(w, data), want, atol=1e-10)
            diagonal = nb.hessian_diagonal(f, strategy=strategy)(w, data)
            np.testing.assert_allclose(diagonal, np.diag(want), atol=1e-10)
        np.testing.assert_allclose(nb.hvp(f)(w, w, data), want @ np.arange(4.0), atol=1e-10)
        np.testing.assert_allclose(nb.curvature(f)(w, data).trace(), np.trace(want), atol=1e-10)
    """
    on_two_devices(program)


@pytest.mark.slow
def test_inside_shard_map_each_device_answers_for_its_part() -> None:
    program = """
        import jax, jax.numpy as jnp, numpy as np, nablax as nb
        jax.config.update("jax_enable_x64", True)
        mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        rows, w = np.random.default_rng(0).normal(size=(6, 4)), np.arange(4.0) / 3
        f = lambda w, a: jnp.sum(jax.nn.softplus(a @ w)) + jnp.sum(jnp.tanh(w) ** 2)
        both = lambda w: f(w, rows[:3]) + f(w, rows[3:])
        want = np.asarray(jax.hessian(both)(w))

        def added(answer):
            local = lambda w, a: jax.tree.map(lambda x: jax.lax.psum(x, "data"), answer(w, a))
            specs = dict(in_specs=(jax.P(), jax.P("data")), out_specs=jax.P(), check_vma=False)
            return jax.jit(jax.shard_map(local, mesh=mesh, **specs))(w, rows)

        close = lambda found, wanted: np.testing.assert_allclose(found, wanted, atol=1e-10)
        close(added(lambda w, a: nb.hvp(f)(w, w, a)), want @ w)  # first: what is kept of rules is kept from here
        close(added(nb.hessian(f)), want)
        close(added(nb.hessian_diagonal(f)), np.diag(want))
        close(added(nb.laplacian(f)), np.trace(want))
        close(added(lambda w, a: nb.curvature(f)(w, a).gradient), jax.grad(both)(w))
        close(nb.hvp(both)(w, w), want @ w)
    """
    on_two_devices(program)


def test_inside_shard_map_that_keeps_account() -> None:
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    inside = jax.shard_map(
        lambda w, a: nb.hessian_diagonal(lambda w, a: jnp.sum(jnp.tanh(a @ w)))(w, a),
        mesh=mesh,
        in_specs=(jax.P(), jax.P("data")),
        out_specs=jax.P(),
    )
    text = (
        "hessian_diagonal was called inside jax.shard_map, whose check_vma=True keeps account of which values differ "
        "between devices; the programs of nablax do not. Pass check_vma=False to jax.shard_map; the answer is then "
        "that of each device's own part, and jax.lax.psum adds the parts."
    )
    with pytest.raises(nb.ArgumentError, match=f"^{re.escape(text)}(\n-+\n|$)"):  # JAX adds a note
        jax.jit(inside)(np.arange(4.0), STACK)


def on_two_devices(program: str) -> None:
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
