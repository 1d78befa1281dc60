"""Operations that are read as others: products and running products, and arithmetic of complex values.

A running product is read as the tree of products by which JAX differentiates it. Complex values stand in the graph as
pairs of real arrays on a new first axis; a row says in JAX's own operations on such pairs what an equation does, and
that is traced and read in its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.ops.jaxprs import Equation

Function = Callable[..., Sequence[Any]]

# -- products ---------------------------------------------------------------------------------------------------------


def _halved(x: Any, *, axes: tuple[int, ...]) -> Sequence[Any]:
    """The product along some axes: of two halves, and again."""
    kept = tuple(k for k in range(x.ndim) if k not in axes)
    x = jax.lax.transpose(x, (*kept, *axes))
    x = jax.lax.reshape(x, (*x.shape[: len(kept)], math.prod(x.shape[len(kept) :])))
    last = x.ndim - 1
    while x.shape[last] > 1:
        count = x.shape[last]
        half = count // 2
        product = jax.lax.mul(
            jax.lax.slice_in_dim(x, 0, half, axis=last), jax.lax.slice_in_dim(x, half, 2 * half, axis=last)
        )
        rest = jax.lax.slice_in_dim(x, 2 * half, count, axis=last)
        x = jax.lax.concatenate([product, rest], last) if count % 2 else product
    return [jax.lax.squeeze(x, (last,))]


def _running(combine: Callable[[Any, Any], Any], x: Any, *, axis: int, reverse: bool) -> Sequence[Any]:
    return [jax.lax.associative_scan(combine, x, reverse=reverse, axis=axis)]


_RUNNING: Mapping[str, Callable[[Any, Any], Any]] = {
    "cumprod": jax.lax.mul, "cummax": jax.lax.max, "cummin": jax.lax.min, "cumlogsumexp": jnp.logaddexp,
}  # fmt: skip


PRODUCTS = frozenset({"reduce_prod", *_RUNNING})
RUNNING = frozenset(_RUNNING)


def rewritten(equation: Equation) -> Function | None:
    """What an equation of real arrays is read as, a function from its inputs to its outputs; None if as itself."""
    if equation.name == "device_put" and all(device is None for device in equation.params["devices"]):
        return lambda *arrays: arrays  # nowhere in particular
    if not all(jnp.issubdtype(x.dtype, jnp.floating) and 0 not in x.shape for x in equation.inputs):
        return None
    params = equation.params
    if equation.name == "reduce_prod":
        return partial(_halved, axes=tuple(int(k) for k in params["axes"]))
    if equation.name in _RUNNING:
        return partial(_running, _RUNNING[equation.name], axis=params["axis"], reverse=bool(params["reverse"]))
    return None


# -- complex values ---------------------------------------------------------------------------------------------------
#
# A row takes for each complex argument the pair (real part, imaginary part), for each real one the array, and gives
# pairs.

Pair = tuple[Any, Any]


def _pair(x: Any) -> Pair:
    return x if isinstance(x, tuple) else (x, jax.lax.full_like(x, 0))


def _mul(x: Any, y: Any) -> Pair:
    (a, b), (c, d) = _pair(x), _pair(y)
    return a * c - b * d, a * d + b * c


def _abs(x: Pair) -> Any:
    # in units of the larger part, so that no square overflows; zero has no slope, as in JAX
    a, b = x
    unit = jax.lax.stop_gradient(jax.lax.max(jax.lax.abs(a), jax.lax.abs(b)))
    unit = jax.lax.select(unit > 0, unit, jax.lax.full_like(unit, 1))
    a, b = a / unit, b / unit
    square = a * a + b * b
    zero = square == 0
    root = jax.lax.sqrt(jax.lax.select(zero, jax.lax.full_like(square, 1), square))
    return unit * jax.lax.select(zero, jax.lax.full_like(square, 0), root)


def _div(x: Any, y: Any) -> Pair:
    (a, b), (c, d) = _pair(x), _pair(y)
    unit = jax.lax.stop_gradient(jax.lax.max(jax.lax.abs(c), jax.lax.abs(d)))
    c, d = c / unit, d / unit
    square = (c * c + d * d) * unit
    return (a * c + b * d) / square, (b * c - a * d) / square


def _exp(x: Pair) -> Pair:
    size = jax.lax.exp(x[0])
    return size * jax.lax.cos(x[1]), size * jax.lax.sin(x[1])


def _log(x: Pair) -> Pair:
    return jax.lax.log(_abs(x)), jax.lax.atan2(x[1], x[0])


def _sin(x: Pair) -> Pair:
    a, b = x
    return jax.lax.sin(a) * jax.lax.cosh(b), jax.lax.cos(a) * jax.lax.sinh(b)


def _cos(x: Pair) -> Pair:
    a, b = x
    return jax.lax.cos(a) * jax.lax.cosh(b), -jax.lax.sin(a) * jax.lax.sinh(b)


def _sinh(x: Pair) -> Pair:
    a, b = x
    return jax.lax.sinh(a) * jax.lax.cos(b), jax.lax.cosh(a) * jax.lax.sin(b)


def _cosh(x: Pair) -> Pair:
    a, b = x
    return jax.lax.cosh(a) * jax.lax.cos(b), jax.lax.sinh(a) * jax.lax.sin(b)


def _power(x: Pair, exponent: int) -> Pair | None:
    if exponent < 1:
        return None
    found: Pair | None = None
    while exponent:
        if exponent % 2:
            found = x if found is None else _mul(found, x)
        x, exponent = _mul(x, x), exponent // 2
    return found


def _each_part(bind: Callable[..., Any], *arguments: Any) -> Pair:
    """An operation that is linear in its complex arguments together."""
    real, imaginary = ([x[k] if isinstance(x, tuple) else x for x in arguments] for k in (0, 1))
    return bind(*real), bind(*imaginary)


def _product(bind: Callable[..., Any], x: Any, y: Any) -> Pair:
    """A bilinear operation."""
    if not isinstance(x, tuple) or not isinstance(y, tuple):
        return _each_part(bind, x, y)
    (a, b), (c, d) = x, y
    return bind(a, c) - bind(b, d), bind(a, d) + bind(b, c)


_ALGEBRA: Mapping[str, Callable[..., Any]] = {
    "complex": lambda a, b: (a, b),
    "real": lambda x: x[0],
    "imag": lambda x: x[1],
    "conj": lambda x: (_pair(x)[0], -_pair(x)[1]),
    "abs": _abs,
    "add": lambda x, y: tuple(a + b for a, b in zip(_pair(x), _pair(y), strict=True)),
    "add_any": lambda x, y: tuple(a + b for a, b in zip(_pair(x), _pair(y), strict=True)),
    "sub": lambda x, y: tuple(a - b for a, b in zip(_pair(x), _pair(y), strict=True)),
    "neg": lambda x: (-x[0], -x[1]),
    "mul": _mul,
    "div": _div,
    "exp": _exp,
    "log": _log,
    "sin": _sin,
    "cos": _cos,
    "sinh": _sinh,
    "cosh": _cosh,
    "square": lambda x: _mul(x, x),
}
_LINEAR = frozenset({
    "transpose", "reshape", "broadcast_in_dim", "squeeze", "slice", "rev", "concatenate", "pad", "dynamic_slice",
    "gather", "reduce_sum", "cumsum", "copy", "select_n", "expand_dims", "dynamic_update_slice",
})  # fmt: skip
_BILINEAR = frozenset({"dot_general", "conv_general_dilated"})


def on_pairs(equation: Equation) -> Function | None:
    """What an equation with complex values is read as, on plain arrays; None where no row describes it."""
    name, params = equation.name, dict(equation.params)
    is_complex = [jnp.issubdtype(x.dtype, jnp.complexfloating) for x in equation.inputs]
    if name in _ALGEBRA:
        row = _ALGEBRA[name]
    elif name == "integer_pow" and params["y"] > 0:
        row = partial(_power, exponent=int(params["y"]))
    elif name == "convert_element_type":
        row = partial(_converted, jnp.zeros((), params["new_dtype"]).dtype)
    elif name in _LINEAR and (name != "gather" or is_complex == [True, False]):
        row = partial(_each_part, partial(equation.primitive.bind, **params))
    elif name in _BILINEAR:
        if params.get("preferred_element_type") is not None:
            params["preferred_element_type"] = np.finfo(params["preferred_element_type"]).dtype
        row = partial(_product, partial(equation.primitive.bind, **params))
    else:
        return None

    def function(*arrays: Any) -> Sequence[Any]:
        shape = equation.outputs[0].shape
        given = [(x[0], x[1]) if one else x for x, one in zip(arrays, is_complex, strict=True)]
        found = row(*given)
        if not isinstance(found, tuple):
            return [jnp.broadcast_to(found, shape)]
        return [jnp.stack([jnp.broadcast_to(part, shape) for part in found])]

    return function


def _converted(dtype: Any, x: Any) -> Any:
    if not jnp.issubdtype(dtype, jnp.complexfloating):
        return _pair(x)[0].astype(dtype)
    return tuple(part.astype(np.finfo(dtype).dtype) for part in _pair(x))
