"""Convolutions and pooling: every parameter, awkward shapes, both operands differentiated, against JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree
from oracles import assert_close, check_every_verb

import nablax as nb
from nablax.graph.evaluate import evaluate
from nablax.graph.node import reachable
from nablax.ops.kinds import Opaque
from nablax.planning.question import pose

Function = Callable[..., Any]


def posed(f: Function, *arrays: Any) -> Any:
    return pose(f, arrays, list(range(len(arrays))), scalar="")


def check_value(f: Function, *arrays: Any) -> None:
    """The graph of a function holds nothing opaque, and has its value."""
    problem = posed(f, *arrays)
    assert not any(isinstance(node.kind, Opaque) for node in reachable(problem.outputs))
    [got] = evaluate(problem.outputs, arrays)
    want = f(*arrays)
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    assert_close(got, want, want.dtype, scale=10.0)


def check(f: Function, *arrays: Any) -> None:
    """Value, Jacobian, and the Hessian and diagonal of a function that bends before and after."""
    check_value(f, *arrays)
    flat, unravel = ravel_pytree(arrays)
    weight = np.cos(np.arange(1.0, 1.0 + f(*arrays).size)).reshape(f(*arrays).shape)

    def bent(u: Any) -> Any:
        return jnp.sum(weight * jnp.sin(f(*(x + jnp.tanh(x) for x in unravel(u)))) ** 2)

    def plain(u: Any) -> Any:
        return f(*unravel(u))

    def answers(u: Any) -> Any:
        return nb.jacobian(plain)(u), nb.hessian(bent)(u), nb.hessian_diagonal(bent, strategy="legs-backward")(u)

    jacobian, hessian, diagonal = jax.jit(answers)(flat)
    want, second = jax.jit(lambda u: (jax.jacfwd(plain)(u), jax.hessian(bent)(u)))(flat)
    assert_close(jacobian, want, what="Jacobian")
    assert_close(hessian, second, what="Hessian")
    assert_close(diagonal, np.diag(second), what="diagonal")


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed + sum(shape)).normal(size=shape)


# image and kernel shape (batch, channels, places; made, channels, window), parameters
CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "two dimensions, strided": ((2, 2, 4, 3), (2, 2, 3, 2), {"window_strides": (2, 1), "padding": "SAME"}),
    "1×1": ((2, 2, 3), (2, 2, 1), {"window_strides": (1,), "padding": "VALID"}),
    "stride larger than the kernel": ((1, 1, 6), (1, 1, 2), {"window_strides": (3,), "padding": "VALID"}),
    "padding larger than the kernel": ((1, 1, 3), (2, 1, 2), {"window_strides": (1,), "padding": ((4, 3),)}),
    "negative padding": ((1, 1, 6), (2, 1, 2), {"window_strides": (1,), "padding": ((-1, -2),)}),
    "dilated kernel": ((1, 2, 5), (1, 2, 2), {"window_strides": (2,), "padding": ((1, 2),), "rhs_dilation": (2,)}),
    "stretched image": ((1, 1, 3), (2, 1, 3), {"window_strides": (1,), "padding": ((2, 1),), "lhs_dilation": (2,)}),
    "stretched image, strided": (
        (1, 1, 3), (1, 1, 3), {"window_strides": (3,), "padding": ((2, 3),), "lhs_dilation": (2,), "rhs_dilation": (2,)}
    ),
    "groups of channels": (
        (1, 4, 4), (4, 2, 2), {"window_strides": (2,), "padding": ((1, 0),), "feature_group_count": 2}
    ),
    "one channel to a group": (
        (1, 3, 3), (3, 1, 2), {"window_strides": (1,), "padding": "SAME", "feature_group_count": 3}
    ),
    "groups of the batch": ((4, 1, 4), (4, 1, 2), {"window_strides": (1,), "padding": "SAME", "batch_group_count": 2}),
}  # fmt: skip


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_parameters_of_a_convolution(name: str) -> None:
    image, kernel, params = CONVOLUTIONS[name]
    check(lambda x, w: jax.lax.conv_general_dilated(x, w, **params), normal(*image), normal(*kernel))


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_values_for_any_parameters(data: st.DataObject) -> None:
    def draw(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    groups = draw(1, 3)
    of_batch = data.draw(st.booleans())
    spatial = draw(1, 2)
    windows = [draw(1, 3) for _ in range(spatial)]
    image = (draw(0, 2) * (groups if of_batch else 1), 2 * (1 if of_batch else groups), *(draw(1, 5) for _ in windows))
    kernel = (groups * draw(1, 2), 2, *windows)
    layouts = [("NCHW", "OIHW", "NCHW"), ("NHWC", "HWIO", "NHWC"), ("CHWN", "IHWO", "HWNC")]
    layout = tuple(one if spatial == 2 else one.replace("H", "") for one in data.draw(st.sampled_from(layouts)))
    params = {
        "window_strides": [draw(1, 3) for _ in windows],
        "padding": [(draw(0, 4), draw(2, 4)) for _ in windows],
        "lhs_dilation": [draw(1, 3) for _ in windows],
        "rhs_dilation": [draw(1, 2) for _ in windows],
        "feature_group_count": 1 if of_batch else groups,
        "batch_group_count": groups if of_batch else 1,
    }
    numbers = jax.lax.conv_dimension_numbers((1,) * (2 + spatial), (1,) * (2 + spatial), layout)
    x = np.transpose(normal(*image), np.argsort(numbers.lhs_spec))
    w = np.transpose(normal(*kernel), np.argsort(numbers.rhs_spec))
    check_value(lambda x, w: jax.lax.conv_general_dilated(x, w, dimension_numbers=numbers, **params), x, w)


def test_image_and_kernel_from_one_leaf() -> None:
    check(lambda x: jax.lax.conv(x, x[:, :, :2, :2], (1, 1), "SAME"), normal(2, 2, 3, 3))


def test_no_image_at_all() -> None:
    f = lambda w: jnp.sum(jax.lax.conv(jnp.zeros((0, 1, 4)), w, (1,), "SAME")) + jnp.sum(w**2)
    assert_close(nb.hessian_diagonal(f)(normal(2, 1, 3)), np.full((2, 1, 3), 2.0))


def test_every_strategy_through_two_convolutions() -> None:
    x = normal(2, 4, 4, 1)

    def f(p: Any) -> Any:
        numbers = ("NHWC", "HWIO", "NHWC")
        h = jnp.tanh(jax.lax.conv_general_dilated(x, p["first"], (1, 1), "SAME", dimension_numbers=numbers))
        h = jax.lax.conv_general_dilated(h, p["second"], (2, 2), "SAME", dimension_numbers=numbers) + p["shift"]
        return jnp.sum(jax.nn.logsumexp(h, axis=-1))

    check_every_verb(f, {"first": normal(2, 2, 1, 2), "second": normal(3, 3, 2, 2), "shift": normal(2)})


def test_what_is_broadcast_into_a_padded_convolution_knows_the_edge() -> None:
    """A number that reaches a window only through the image is not seen by the part of it in the padding."""
    w = normal(1, 1, 3)

    def f(a: Any) -> Any:
        return jnp.sum(jnp.exp(jax.lax.conv(jnp.broadcast_to(a, (1, 1, 4)), w, (1,), "SAME")))

    check_every_verb(f, np.array(0.3))


def test_a_kernel_alone_stays_sparse_in_the_image() -> None:
    w = normal(1, 1, 3)
    f = lambda x: jnp.sum(jax.lax.conv(x, w, (1,), ((1, 1),)) ** 3)
    x = normal(1, 1, 9)
    found = nb.hessian_sparse(f)(x)
    assert found.nse == 9 + 2 * 8 + 2 * 7
    assert_close(found.todense(), jax.hessian(f)(x).reshape(9, 9))


def test_precision_and_accumulation_are_kept() -> None:
    x, w = normal(1, 1, 4).astype(np.float16), normal(1, 1, 2).astype(np.float16)
    highest = jax.lax.Precision.HIGHEST

    def f(x: Any, w: Any) -> Any:
        return jax.lax.conv_general_dilated(x, w, (1,), "SAME", precision=highest, preferred_element_type=jnp.float32)

    check_value(f, x, w)
    problem = posed(f, x, w)
    assert problem.graph.precision == (highest, highest)
    assert problem.outputs[0].dtype == np.float32


# -- pooling ---------------------------------------------------------------------------------------


def window(reduce: Function, start: float, size: Any, stride: Any, padding: Any, **more: Any) -> Function:
    return lambda x: jax.lax.reduce_window(x, start, reduce, size, stride, padding, **more)


TIES = np.array([1.0, 1.0, 0.0, 2.0, 2.0, 2.0, 0.0, 0.0])
POOLS: dict[str, tuple[Function, Any]] = {
    "sum": (window(jax.lax.add, 0.0, (2, 3), (1, 2), "SAME"), normal(3, 4)),
    "sum, dilated": (
        window(jax.lax.add, 0.0, (2,), (1,), [(1, 2)], base_dilation=(2,), window_dilation=(3,)), normal(4)
    ),
    "maximum": (window(jax.lax.max, -np.inf, (2, 2), (2, 1), "SAME"), normal(3, 4)),
    "maximum, dilated": (
        window(jax.lax.max, -np.inf, (2,), (1,), [(3, 3)], base_dilation=(2,), window_dilation=(3,)), normal(4)
    ),
    "minimum": (window(jax.lax.min, np.inf, (2,), (2,), "VALID"), normal(5)),
    "maximum of equals": (window(jax.lax.max, -np.inf, (3,), (2,), [(1, 1)]), TIES),
    "minimum of equals": (window(jax.lax.min, np.inf, (3,), (2,), [(1, 1)]), TIES),
    "maximum of equals in two dimensions": (window(jax.lax.max, -np.inf, (2, 2), (1, 1), "VALID"), np.ones((3, 3))),
    "nothing but padding": (window(jax.lax.max, -np.inf, (2,), (1,), [(0, 3)]), np.array([1.0, -np.inf])),
}  # fmt: skip


@pytest.mark.parametrize("name", POOLS)
def test_pooling(name: str) -> None:
    f, x = POOLS[name]
    check_value(f, x)
    # in reverse, JAX refuses dilated windows, and takes an element that is -inf for the place of an extremum
    got, want = jax.jit(lambda x: (nb.jacobian(f)(x), jax.jacfwd(f)(x)))(x)
    assert_close(got, want)


@pytest.mark.parametrize("name", ["sum, dilated", "maximum", "minimum"])
def test_second_derivatives_of_pooling(name: str) -> None:
    check(*POOLS[name])


def test_the_gradient_of_a_maximum_inside_the_function() -> None:
    pool = POOLS["maximum"][0]
    inner = jax.grad(lambda x: jnp.sum(jnp.sin(pool(x)) ** 2))
    check(inner, normal(3, 4))
    tangent = lambda x: jax.jvp(pool, (x,), (x**2,))[1]
    check(tangent, normal(3, 4))


def test_a_small_residual_network() -> None:
    """Two convolutions with a shortcut, batch norm in inference, average pooling, a linear head."""
    numbers = ("NHWC", "HWIO", "NHWC")
    x, labels = normal(2, 4, 4, 1), np.array([0, 1])
    mean, scale = normal(2), 1.0 / np.sqrt(0.5 + normal(2) ** 2)

    def layer(h: Any, w: Any) -> Any:
        return jax.lax.conv_general_dilated(h, w, (1, 1), "SAME", dimension_numbers=numbers)

    def loss(p: Any) -> Any:
        h = jax.nn.softplus((layer(x, p["first"]) - mean) * scale * p["gain"])
        h = h + jnp.tanh(layer(h, p["second"]))
        h = jax.lax.reduce_window(h, 0.0, jax.lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4
        z = h.reshape(2, -1) @ p["head"]
        return jnp.mean(jax.nn.logsumexp(z, axis=1) - z[np.arange(2), labels])

    p = {"first": normal(3, 3, 1, 2), "second": normal(2, 2, 2, 2), "gain": normal(2), "head": normal(8, 2)}
    flat, unravel = ravel_pytree(p)
    f = lambda u: loss(unravel(u))
    want = np.asarray(jax.jit(jax.hessian(f))(flat))
    for strategy in ("legs-backward", "legs-forward", "auto"):
        got = jax.jit(nb.hessian_diagonal(f, strategy=strategy))(flat)
        assert_close(got, np.diag(want), what=strategy, scale=np.abs(want).max())
    assert_close(jax.jit(nb.hessian(f))(flat), want)
    text = str(nb.plan(loss, "diagonal")(p))
    assert "opaque" not in text
    assert "test_windows.py" in text
