"""The error E(y) of a network, with e_i = ∂E/∂y_i and its R-derivative."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from nablax.errors import ArgumentError


class ErrorFunction(abc.ABC):
    """E of the outputs of some units, one number for one example.

    Attributes:
        units: the units that are compared, in the order of the target; None until a network fills them in.
    """

    units: tuple[int, ...] | None

    @abc.abstractmethod
    def value(self, y: jax.Array, target: jax.Array) -> jax.Array:
        """E; the last axis of `y` (all compared units) and `target` is summed over, others are kept."""

    @abc.abstractmethod
    def slope(self, y: jax.Array, target: jax.Array) -> jax.Array:
        """The slopes e = ∂E/∂y."""

    @abc.abstractmethod
    def slope_along(self, y: jax.Array, Ry: jax.Array, target: jax.Array) -> jax.Array:
        """R{e} = (∂²E/∂y²) R{y}."""


@dataclass(frozen=True)
class SquaredError(ErrorFunction):
    """E = ½ Σ_i (y_i − d_i)²: e_i = y_i − d_i, R{e_i} = R{y_i}."""

    units: tuple[int, ...] | None = None

    def value(self, y: jax.Array, target: jax.Array) -> jax.Array:
        """½ Σ (y − d)²."""
        return 0.5 * jnp.sum((y - target) ** 2, axis=-1)

    def slope(self, y: jax.Array, target: jax.Array) -> jax.Array:
        """The slopes y − d."""
        return y - target

    def slope_along(self, y: jax.Array, Ry: jax.Array, target: jax.Array) -> jax.Array:
        """R{y}."""
        return Ry


@dataclass(frozen=True)
class CrossEntropy(ErrorFunction):
    """E = −Σ_i d_i ln p_i with p = softmax(y): e = p Σd − d, R{e} = Σd (p ⊙ R{y} − p (p·R{y}))."""

    units: tuple[int, ...] | None = None

    def value(self, y: jax.Array, target: jax.Array) -> jax.Array:
        """−Σ d ln softmax(y)."""
        return -jnp.sum(target * jax.nn.log_softmax(y), axis=-1)

    def slope(self, y: jax.Array, target: jax.Array) -> jax.Array:
        """The slopes p Σd − d."""
        return jax.nn.softmax(y) * jnp.sum(target, axis=-1, keepdims=True) - target

    def slope_along(self, y: jax.Array, Ry: jax.Array, target: jax.Array) -> jax.Array:
        """Σd (p ⊙ R{y} − p (p·R{y}))."""
        p = jax.nn.softmax(y)
        mean = jnp.sum(p * Ry, axis=-1, keepdims=True)
        return p * (Ry - mean) * jnp.sum(target, axis=-1, keepdims=True)


@dataclass(frozen=True)
class UserError(ErrorFunction):
    """Any JAX function ``function(y, target)`` of one example; JAX differentiates it.

    Attributes:
        function: y of the compared units, shape (k,), and whatever the target is, to one number.
    """

    function: Callable[[jax.Array, Any], jax.Array]
    units: tuple[int, ...] | None = None

    def value(self, y: jax.Array, target: jax.Array) -> jax.Array:
        """The function's value."""
        if y.ndim == 1:
            found = jnp.asarray(self.function(y, target))
            if found.shape != ():
                raise ArgumentError(
                    f"error returned shape {list(found.shape)} for one example; E is one number. Sum over the units."
                )
            return found
        return jax.vmap(self.value)(y, target)

    def slope(self, y: jax.Array, target: jax.Array) -> jax.Array:
        """By reverse mode."""
        found: jax.Array = jax.grad(lambda u: jnp.sum(self.value(u, target)))(y)
        return found

    def slope_along(self, y: jax.Array, Ry: jax.Array, target: jax.Array) -> jax.Array:
        """By forward over reverse."""
        found: jax.Array = jax.jvp(lambda u: self.slope(u, target), (y,), (Ry,))[1]
        return found


def squared_error(units: Sequence[int] | None = None) -> ErrorFunction:
    """The squared error, ``½ Σ_i (y_i − d_i)²``.

    Args:
        units: which units are compared, in the order of the target; None: a feed-forward network's units that no weight
            leaves, all units of a recurrent one.

    Example:
        >>> import jax.numpy as jnp
        >>> squared_error().value(jnp.array([1.0, 3.0]), jnp.array([0.0, 1.0]))
        Array(2.5, dtype=float32)
    """
    return SquaredError(_listed("squared_error", units))


def cross_entropy(units: Sequence[int] | None = None) -> ErrorFunction:
    """The cross-entropy of the softmax of some units, ``−Σ_i d_i ln softmax(y)_i``.

    Args:
        units: as in `squared_error`; the target holds a probability for each, one-hot for classes.

    Example:
        >>> import jax.numpy as jnp
        >>> cross_entropy().value(jnp.array([0.0, 0.0]), jnp.array([1.0, 0.0]))
        Array(0.6931472, dtype=float32)
    """
    return CrossEntropy(_listed("cross_entropy", units))


def _listed(verb: str, units: Sequence[int] | None) -> tuple[int, ...] | None:
    if units is None:
        return None
    found = np.atleast_1d(np.asarray(units))
    if found.ndim != 1 or found.size == 0 or not np.issubdtype(found.dtype, np.integer):
        raise ArgumentError(f"{verb} got units={units!r}. Pass a sequence of unit numbers, or None.")
    return tuple(int(unit) for unit in found)


def resolved(verb: str, error: Any, n: int, default: Sequence[int]) -> ErrorFunction:
    """The error of a network of n units, its units known.

    Raises:
        ArgumentError: neither an error of this module nor a function, or units that the network does not have.
    """
    if not isinstance(error, ErrorFunction):
        if not callable(error):
            raise ArgumentError(
                f"{verb} got error={error!r}. Pass neural.squared_error(), neural.cross_entropy(), or a function "
                "(y, target) of the outputs of all units of one example."
            )
        error = UserError(error, tuple(range(n)))
    units = tuple(default) if error.units is None else error.units
    wrong = [unit for unit in units if not 0 <= unit < n]
    if wrong or len(set(units)) < len(units):
        raise ArgumentError(
            f"{verb} compares the units {list(units)}; the network has the units 0 to {n - 1}. "
            "Name each compared unit once."
        )
    found: ErrorFunction = dataclasses.replace(cast(Any, error), units=units)
    return found


def checked_target(verb: str, error: ErrorFunction, target: Any, I: jax.Array) -> jax.Array:
    """The target, one entry for each compared unit; whatever it is for the user's own function.

    Raises:
        ArgumentError: another shape.
    """
    found = jnp.asarray(target)
    if not isinstance(error, UserError):
        assert error.units is not None
        wanted = (*I.shape[:-1], len(error.units))
        if found.shape != wanted:
            raise ArgumentError(
                f"{verb} got a target of shape {list(found.shape)}; the error compares {len(error.units)} units and "
                f"the external input I has shape {list(I.shape)}. Pass shape {list(wanted)}."
            )
        return found.astype(I.dtype)
    if I.ndim == 2 and found.shape[:1] != I.shape[:1]:
        raise ArgumentError(
            f"{verb} got a target of shape {list(found.shape)} with {I.shape[0]} examples in the external input I. "
            "Give the target the examples as its first axis."
        )
    return found
