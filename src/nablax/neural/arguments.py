"""Checks of what the networks are given: one text for each thing that can be wrong."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.errors import ArgumentError


def is_traced(*arrays: Any) -> bool:
    """Whether the numbers of an array are not known yet."""
    return any(isinstance(array, jax.core.Tracer) for array in jax.tree.leaves(arrays))


def square(verb: str, name: str, array: Any, n: int | None = None) -> jax.Array:
    """A real n×n array.

    Raises:
        ArgumentError: another shape, or no floating-point numbers.
    """
    found = real(verb, name, array)
    size = n if n is not None else (found.shape[0] if found.ndim else 0)
    if found.shape != (size, size):
        raise ArgumentError(
            f"{verb} got {name} of shape {list(found.shape)}; the weights of a network of "
            f"{'n' if n is None else n} units are one square array, {name}[i, j] from unit j to unit i. "
            f"Pass shape {'[n, n]' if n is None else [n, n]}."
        )
    return found


def like(verb: str, name: str, array: Any, w: jax.Array) -> jax.Array:
    """A direction for the weights w, in their dtype.

    Raises:
        ArgumentError: another shape, or no real numbers.
    """
    if np.shape(array) != w.shape:
        raise ArgumentError(
            f"{verb} got {name} of shape {list(np.shape(array))}; the weights w have shape {list(w.shape)}. "
            f"Give {name} the shape of w."
        )
    return real(verb, name, array).astype(w.dtype)


def vectors(verb: str, name: str, array: Any, n: int, dtype: Any) -> jax.Array:
    """One vector of n numbers or a batch of them, shape (n,) or (batch, n).

    Raises:
        ArgumentError: another shape, or no real numbers.
    """
    found = jnp.asarray(array)
    if found.ndim not in (1, 2) or found.shape[-1] != n:
        raise ArgumentError(
            f"{verb} got {name} of shape {list(found.shape)}; the network has {n} units. Pass shape [{n}], or "
            f"[batch, {n}] for several examples."
        )
    return _numbers(verb, name, found).astype(dtype)


def real(verb: str, name: str, array: Any) -> jax.Array:
    """Real numbers, integers made floats.

    Raises:
        ArgumentError: no real numbers.
    """
    found = _numbers(verb, name, jnp.asarray(array))
    return found if jnp.issubdtype(found.dtype, jnp.floating) else found.astype(jnp.result_type(float))


def _numbers(verb: str, name: str, found: jax.Array) -> jax.Array:
    if not (jnp.issubdtype(found.dtype, jnp.floating) or jnp.issubdtype(found.dtype, jnp.integer)):
        raise ArgumentError(
            f"{verb} got {name} of dtype {found.dtype.name}; units and weights are real numbers. Pass a float array."
        )
    return found


def rounding(dtype: Any) -> float:
    """The distance from 1 to the next number of a dtype."""
    return float(jnp.finfo(dtype).eps)  # type: ignore[no-untyped-call]


def counted(verb: str, name: str, value: Any, least: int = 1) -> int:
    """A Python integer that is large enough.

    Raises:
        ArgumentError: another type, or too small.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise ArgumentError(f"{verb} got {name}={value!r}. Pass an integer of {least} or more.")
    return int(value)


def positive(verb: str, name: str, value: Any) -> float:
    """A finite number above zero.

    Raises:
        ArgumentError: it is not.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not 0 < number < float("inf"):
        raise ArgumentError(f"{verb} got {name}={value!r}. Pass a finite number above zero.")
    return number
