"""A function of numbers with its own partial derivatives, applied to each element."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.errors import DefinitionError

Function = Callable[..., Any]
Interval = tuple[float, float]

POINTS = 40
# A wrong rule is wrong by a factor or a term; differences in double precision agree with a right one to this.
TOLERANCE = 1e-5


def takes_value(partial: Function) -> bool:
    """Whether a partial asks for the function's value, as the keyword argument `value`."""
    try:
        return "value" in inspect.signature(partial).parameters
    except (TypeError, ValueError):  # a function without a signature
        return False


def elementwise(name: str, value: Function, partials: Sequence[Function]) -> Function:
    """The function with its rule.

    Args:
        name: its name, under which traces show it.
        value: JAX code of scalars or arrays of one shape.
        partials: one per argument.

    Returns:
        A function of arrays, which are broadcast against each other.
    """
    asks = [takes_value(partial) for partial in partials]

    def plain(*arguments: Any) -> Any:
        return value(*arguments)

    plain.__name__ = plain.__qualname__ = name
    ruled: Any = jax.custom_jvp(plain)

    @ruled.defjvp  # type: ignore[untyped-decorator, unused-ignore]
    def _(primals: Any, tangents: Any) -> Any:
        found = ruled(*primals)
        moved = None
        for partial, asked, tangent in zip(partials, asks, tangents, strict=True):
            slope = partial(*primals, value=found) if asked else partial(*primals)
            part = slope * tangent
            moved = part if moved is None else moved + part
        return found, jnp.asarray(moved, found.dtype)

    def function(*arguments: Any) -> Any:
        if len(arguments) != len(partials):
            raise TypeError(f"{name} takes {len(partials)} arguments, found {len(arguments)}")
        dtype = jnp.result_type(*arguments, 1.0)
        return ruled(*jnp.broadcast_arrays(*(jnp.asarray(x, dtype) for x in arguments)))

    function.__name__ = function.__qualname__ = name
    return function


def in_double(function: Function) -> Function:
    """The function of NumPy arrays, in double precision: how printed source is checked."""

    def evaluated(*arguments: Any) -> Any:
        with jax.enable_x64(True):
            return _array(function(*(np.asarray(x, np.float64) for x in arguments)))

    return evaluated


def check_elementwise(
    name: str, value: Function, partials: Sequence[Function], domain: Sequence[Interval], seed: int = 0
) -> None:
    """Compare the partials with differences of the value at random points of the domain, in double precision.

    Raises:
        DefinitionError: at a point where they differ, with both numbers; or where the value is not finite, or does not
            act element by element.
    """
    random = np.random.default_rng(seed)
    shares = random.uniform(0.01, 0.99, (len(domain), POINTS))
    lows, widths = np.asarray([low for low, _ in domain]), np.asarray([high - low for low, high in domain])
    points = lows[:, None] + widths[:, None] * shares
    with jax.enable_x64(True):
        values = _array(value(*map(jnp.asarray, points)))
        if values.shape != (POINTS,):
            raise DefinitionError(
                f"{name} was defined by a value that gives shape {list(values.shape)} for arguments of shape "
                f"[{POINTS}]. An elementwise function keeps the shape; state a matrix function by einsum terms."
            )
        for k in range(POINTS):
            own = float(_array(value(*(jnp.asarray(x) for x in points[:, k : k + 1])))[0])
            if not np.isfinite(own):
                raise DefinitionError(
                    f"{name} is {own} {_at(points[:, k])}, inside its domain. Give the intervals on which it is "
                    "finite, domain=(low, high), one for each argument."
                )
            if not np.isclose(own, values[k], rtol=1e-8, atol=1e-12):
                raise DefinitionError(
                    f"{name} is {own:.6g} {_at(points[:, k])} alone and {values[k]:.6g} in an array: it does not act "
                    "element by element."
                )
        found = jnp.asarray(values)
        for place, partial in enumerate(partials):
            arguments = tuple(map(jnp.asarray, points))
            stated = partial(*arguments, value=found) if takes_value(partial) else partial(*arguments)
            slopes = np.broadcast_to(_array(stated), (POINTS,))
            # the steps stay well inside the domain: a function may be singular at its end
            steps = widths[place] * np.minimum(1e-3, 0.1 * np.minimum(shares[place], 1 - shares[place]))
            differences = _differences(value, points, place, steps)
            scale = np.maximum(np.abs(differences), np.abs(values) / max(float(widths[place]), 1.0))
            wrong = ~(np.abs(slopes - differences) <= TOLERANCE * np.maximum(scale, 1e-3))
            if wrong.any():
                k = int(np.argmax(np.where(wrong, np.abs(slopes - differences) / np.maximum(scale, 1e-3), -1.0)))
                which = "its derivative" if len(partials) == 1 else f"its partial derivative in argument {place}"
                raise DefinitionError(
                    f"{name} was defined with a wrong rule: {_at(points[:, k])} {which} is stated as {slopes[k]:.8g}, "
                    f"and differences of its value say {differences[k]:.8g}. Correct the rule, or give the domain on "
                    "which it holds."
                )


def _differences(value: Function, points: Any, place: int, step: Any) -> Any:
    """Central differences of two steps, extrapolated."""

    def at(shift: Any) -> Any:
        moved = [points[k] + (shift if k == place else 0.0) for k in range(len(points))]
        return _array(value(*map(jnp.asarray, moved)))

    near = (at(step) - at(-step)) / (2 * step)
    far = (at(2 * step) - at(-2 * step)) / (4 * step)
    return (4 * near - far) / 3


def _array(value: Any) -> Any:
    return np.asarray(value, np.float64)


def _at(point: Any) -> str:
    if len(point) == 1:
        return f"at x = {float(point[0]):.6g}"
    return "at (" + ", ".join(f"{float(x):.6g}" for x in point) + ")"
