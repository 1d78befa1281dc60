"""Constants computed by NumPy against JAX, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from nablax.ops.constants import FOLDS, computed
from nablax.ops.jaxprs import trace

FLOATS = np.array([[-2.5, 0.0, 1.5e-3], [7.0, np.inf, np.nan]], np.float32)
WHOLE = np.array([[-7, 3, 0], [2147483647, -2147483648, 5]], np.int32)
OTHER = np.array([[2, -3, 4], [2, -1, 7]], np.int32)
NATURAL = np.array([[0, 255, 3], [7, 8, 200]], np.uint8)
FLAGS = np.array([[True, False, True], [False, False, True]])

CASES: list[tuple[str, Callable[..., Any], tuple[Any, ...]]] = [
    *[
        (name, function, pair)
        for name, function in {
            "add": lax.add, "sub": lax.sub, "mul": lax.mul, "max": lax.max, "min": lax.min, "lt": lax.lt,
            "le": lax.le, "gt": lax.gt, "ge": lax.ge, "eq": lax.eq, "ne": lax.ne, "div": lax.div,
        }.items()
        for pair in ((WHOLE, OTHER), (FLOATS, FLOATS[::-1].copy()), (NATURAL, NATURAL.T.reshape(2, 3) | 1))
    ],
    ("rem", lax.rem, (WHOLE, OTHER)),
    *[(name, f, (x,)) for name, f in {"neg": lax.neg, "abs": lax.abs}.items() for x in (WHOLE, FLOATS)],
    *[(name, f, (FLOATS,)) for name, f in {"floor": lax.floor, "ceil": lax.ceil}.items()],
    *[
        (name, f, pair)
        for name, f in {"and": lax.bitwise_and, "or": lax.bitwise_or, "xor": lax.bitwise_xor}.items()
        for pair in ((WHOLE, OTHER), (FLAGS, ~FLAGS))
    ],
    *[("not", lax.bitwise_not, (x,)) for x in (WHOLE, NATURAL, FLAGS)],
    *[("integer_pow", lambda x, y=y: lax.integer_pow(x, y), (x,)) for y in (2, 3, 7) for x in (WHOLE, FLOATS)],
    *[
        ("convert_element_type", lambda x, to=to: lax.convert_element_type(x, to), (x,))
        for to in (np.int8, np.uint32, np.float32, np.float16, np.bool_)
        for x in (WHOLE, NATURAL, FLAGS)
    ],
    ("convert_element_type", lambda x: lax.convert_element_type(x, np.float16), (FLOATS,)),
    ("select_n", lambda p, a, b: lax.select_n(p, a, b), (FLAGS, WHOLE, OTHER)),
    ("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (2, 4, 3), (0, 2)), (WHOLE,)),
    ("reshape", lambda x: lax.reshape(x, (3, 2)), (WHOLE,)),
    ("squeeze", lambda x: lax.squeeze(x, (0, 2)), (WHOLE.reshape(1, 6, 1),)),
    ("transpose", lambda x: lax.transpose(x, (1, 0)), (WHOLE,)),
    ("rev", lambda x: lax.rev(x, (1,)), (WHOLE,)),
    ("concatenate", lambda x, y: lax.concatenate([x, y], 1), (WHOLE, OTHER)),
    ("slice", lambda x: lax.slice(x, (0, 0), (2, 3), (1, 2)), (WHOLE,)),
    ("iota", lambda: lax.broadcasted_iota(np.int32, (2, 3), 1), ()),
    ("iota", lambda: lax.broadcasted_iota(np.float32, (2, 3), 0), ()),
    ("reduce_sum", lambda x: lax.reduce_sum(x, (1,)), (WHOLE,)),
    ("reduce_max", lambda x: lax.reduce_max(x, (0,)), (WHOLE,)),
    ("reduce_min", lambda x: lax.reduce_min(x, (0, 1)), (WHOLE,)),
    ("stop_gradient", lax.stop_gradient, (WHOLE,)),
    ("copy", lambda x: jnp.array(x, copy=True), (WHOLE,)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "function", "arguments"), CASES)
def test_numpy_gives_what_jax_gives(name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    program = trace(lambda *xs: [function(*xs)], arguments)
    found = [e for e in program.equations if e.name in (name, "copy_p" if name == "copy" else name)]
    if not found:  # JAX keeps none
        assert name == "stop_gradient" or function(*arguments).dtype == arguments[0].dtype
        return
    [equation] = found
    want = np.asarray(function(*map(jnp.asarray, arguments)))  # arrays of JAX: on NumPy's it lets NumPy compute
    got = computed(equation, arguments)
    assert got is not None
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)


def test_every_row_is_tested() -> None:
    assert {name for name, _, _ in CASES} | {"copy_p"} == set(FOLDS)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (lax.div, (WHOLE, WHOLE)),  # by zero
        (lambda x: lax.convert_element_type(x, np.int32), (FLOATS,)),  # not a number as an integer
        (lambda x: lax.reduce_sum(x, (0,)), (FLOATS,)),  # the order of the additions
        (lax.exp, (FLOATS,)),
        (lambda x: lax.integer_pow(x, -1), (FLOATS,)),
    ],
)
def test_what_numpy_may_do_otherwise_is_left_to_jax(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    [equation] = trace(lambda *xs: [function(*xs)], arguments).equations
    assert computed(equation, arguments) is None
