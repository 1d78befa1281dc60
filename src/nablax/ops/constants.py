"""Arithmetic on constants by NumPy: what JAX would compile for each operation and shape before it runs once.

A program's index arithmetic is a few dozen operations on constants; JAX compiles each for some 40 ms when it is first
evaluated, NumPy takes microseconds. Only operations whose results are the same to the last bit stand here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nablax.ops.jaxprs import Equation

Array = NDArray[Any]
Fold = Callable[..., Array | None]


def computed(equation: Equation, inputs: Sequence[Any]) -> Array | None:
    """The result of an equation on constants.

    Args:
        equation: with one result.
        inputs: values of its inputs.

    Returns:
        The result; None where NumPy is not known to give what JAX gives.
    """
    fold = FOLDS.get(equation.name)
    if fold is None:
        return None
    given = [np.asarray(value, variable.dtype) for value, variable in zip(inputs, equation.inputs, strict=True)]
    with np.errstate(all="ignore"):
        found = fold(equation.params, *given)
    [output] = equation.outputs
    if found is None or found.dtype != output.dtype or found.shape != output.shape:
        return None
    return found


def _plain(function: Callable[..., Any]) -> Fold:
    return lambda params, *inputs: np.asarray(function(*inputs))


def _quotient(params: Mapping[str, Any], a: Array, b: Array) -> Array | None:
    """Towards zero for integers, where NumPy's goes down."""
    if a.dtype.kind in "iu":
        if not np.all(b):
            return None
        quotient, rest = np.divmod(a, b)
        return np.asarray(quotient + ((rest != 0) & ((a < 0) != (b < 0))), a.dtype)
    return np.asarray(a / b)


def _remainder(params: Mapping[str, Any], a: Array, b: Array) -> Array | None:
    return np.asarray(np.fmod(a, b)) if a.dtype.kind in "iu" and np.all(b) else None


def _converted(params: Mapping[str, Any], x: Array) -> Array | None:
    to = np.dtype(params["new_dtype"])
    if x.dtype.kind not in "iub" and to.kind not in "f":  # out of range is JAX's own business
        return None
    return x != 0 if to.kind == "b" else x.astype(to)


def _selected(params: Mapping[str, Any], which: Array, *cases: Array) -> Array | None:
    if len(cases) != 2 or which.dtype != np.bool_:
        return None
    return np.asarray(np.where(which, cases[1], cases[0]))


def _broadcast(params: Mapping[str, Any], x: Array, *sizes: Array) -> Array:
    shape, dimensions = params["shape"], params["broadcast_dimensions"]
    lifted = [1] * len(shape)
    for axis, size in zip(dimensions, x.shape, strict=True):
        lifted[axis] = size
    return np.broadcast_to(x.reshape(lifted), shape)


def _sliced(params: Mapping[str, Any], x: Array) -> Array:
    strides = params["strides"] or (1,) * x.ndim
    bounds = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    return x[tuple(slice(*bound) for bound in bounds)]


def _counted(params: Mapping[str, Any], *sizes: Array) -> Array:
    shape, axis = params["shape"], params["dimension"]
    count = np.arange(shape[axis]).astype(params["dtype"])
    return np.broadcast_to(count.reshape([-1 if k == axis else 1 for k in range(len(shape))]), shape)


def _over_axes(function: Callable[..., Any]) -> Fold:
    """A reduction of integers; of floats the order of the additions is JAX's own."""

    def fold(params: Mapping[str, Any], x: Array) -> Array | None:
        if x.dtype.kind == "f" or not x.size:
            return None
        return np.asarray(function(x, axis=tuple(params["axes"])), x.dtype)

    return fold


def _reshaped(params: Mapping[str, Any], x: Array, *sizes: Array) -> Array | None:
    return x.reshape(params["new_sizes"]) if params.get("dimensions") is None else None


def _power(params: Mapping[str, Any], x: Array) -> Array | None:
    """By repeated squaring, in the order of JAX's own."""
    exponent, found = params["y"], None
    if exponent < 1:
        return None
    while exponent:
        if exponent & 1:
            found = x if found is None else found * x
        exponent >>= 1
        x = x * x
    return None if found is None else np.asarray(found)


FOLDS: Mapping[str, Fold] = {
    "add": _plain(np.add),
    "sub": _plain(np.subtract),
    "mul": _plain(np.multiply),
    "neg": _plain(np.negative),
    "abs": _plain(np.abs),
    "floor": _plain(np.floor),
    "ceil": _plain(np.ceil),
    "max": _plain(np.maximum),
    "min": _plain(np.minimum),
    "lt": _plain(np.less),
    "le": _plain(np.less_equal),
    "gt": _plain(np.greater),
    "ge": _plain(np.greater_equal),
    "eq": _plain(np.equal),
    "ne": _plain(np.not_equal),
    "and": _plain(np.bitwise_and),
    "or": _plain(np.bitwise_or),
    "xor": _plain(np.bitwise_xor),
    "not": _plain(np.invert),
    "div": _quotient,
    "rem": _remainder,
    "integer_pow": _power,
    "convert_element_type": _converted,
    "select_n": _selected,
    "broadcast_in_dim": _broadcast,
    "reshape": _reshaped,
    "squeeze": lambda params, x: np.squeeze(x, tuple(params["dimensions"])),
    "transpose": lambda params, x: np.transpose(x, params["permutation"]),
    "rev": lambda params, x: np.flip(x, tuple(params["dimensions"])),
    "concatenate": lambda params, *xs: np.concatenate(xs, params["dimension"]),
    "slice": _sliced,
    "iota": _counted,
    "reduce_sum": _over_axes(np.sum),
    "reduce_max": _over_axes(np.max),
    "reduce_min": _over_axes(np.min),
    "stop_gradient": lambda params, x: x,
    "copy": lambda params, x: x,
    "copy_p": lambda params, x: x,  # how a copy is called in JAX 0.12
}
