"""The σ of each unit, with its first and second derivative."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.errors import ArgumentError

Scalar = Callable[[jax.Array], jax.Array]
PROBE = (-0.7, 0.1, 1.3)


def identity(x: jax.Array) -> jax.Array:
    """σ of a unit that passes its input on."""
    return x


@dataclass(frozen=True, eq=False)
class Activations:
    """One σ for all units, or one for each.

    Attributes:
        functions: the distinct ones.
        choice: which of them each unit has, an index array; None where there is one for all, however many units.
    """

    functions: tuple[Scalar, ...]
    choice: np.ndarray | None

    def of(self, units: np.ndarray | slice) -> Activations:
        """Those of some units."""
        if self.choice is None:
            return self
        kept, choice = np.unique(self.choice[units], return_inverse=True)
        functions = tuple(self.functions[k] for k in kept)
        return Activations(functions, None if len(functions) == 1 else choice)

    def value(self, x: jax.Array) -> jax.Array:
        """σ(x), units along the last axis."""
        return self._each(lambda sigma, part: (sigma(part),), x)[0]

    def with_slope(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """σ(x) and σ′(x)."""
        y, slope = self._each(_with_slope, x)
        return y, slope

    def with_curve(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """σ(x), σ′(x) and σ″(x)."""
        y, slope, curve = self._each(_with_curve, x)
        return y, slope, curve

    def name(self, unit: int) -> str:
        """What a unit's σ is called."""
        sigma = self.functions[0 if self.choice is None else int(self.choice[unit])]
        return getattr(sigma, "__name__", "σ")

    def _each(self, apply: Callable[[Scalar, jax.Array], tuple[jax.Array, ...]], x: jax.Array) -> tuple[jax.Array, ...]:
        if self.choice is None:
            return apply(self.functions[0], x)
        found: tuple[jax.Array, ...] = ()
        for k, sigma in enumerate(self.functions):
            own = np.flatnonzero(self.choice == k)
            parts = apply(sigma, x[..., own])
            found = tuple(
                whole.at[..., own].set(part)
                for whole, part in zip(found or [jnp.zeros_like(x)] * len(parts), parts, strict=True)
            )
        return found


# One nested call gives all of them from one evaluation of σ: JAX writes the slope of tanh as 1 − y². It is accurate
# where σ saturates, and a custom rule of the user is honoured.


def _with_slope(sigma: Scalar, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    y, slope = jax.jvp(sigma, (x,), (jnp.ones_like(x),))
    return y, slope


def _with_curve(sigma: Scalar, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    (y, slope), (_, curve) = jax.jvp(lambda u: _with_slope(sigma, u), (x,), (jnp.ones_like(x),))
    return y, slope, curve


def activations(verb: str, sigma: Scalar | Sequence[Scalar], n: int | None = None) -> Activations:
    """One function for all units, or a sequence with one for each.

    Args:
        verb: for error texts.
        sigma: of arrays, element by element.
        n: number of units, where it is known.

    Raises:
        ArgumentError: no function, another number of them, or one that mixes the units of an array.
    """
    single = callable(sigma)
    listed: tuple[Any, ...] = (sigma,) if single else tuple(sigma) if isinstance(sigma, Sequence) else ()
    if not listed or not all(callable(one) for one in listed):
        raise ArgumentError(
            f"{verb} got sigma={sigma!r}. Pass a function such as jax.numpy.tanh, or a sequence with one for each unit."
        )
    if not single and n is not None and len(listed) != n:
        raise ArgumentError(
            f"{verb} got {len(listed)} functions sigma for {n} units. Pass one function for all, or one for each unit."
        )
    distinct = tuple(dict.fromkeys(listed))
    for one in distinct:
        _check_elementwise(verb, one)
    if single or len(distinct) == 1:
        return Activations(distinct, None)
    return Activations(distinct, np.array([distinct.index(one) for one in listed]))


def _check_elementwise(verb: str, sigma: Scalar) -> None:
    # A softmax given as σ would give wrong derivatives in silence: σ″ and σ′ would be row sums.
    with jax.ensure_compile_time_eval():
        whole = jnp.asarray(sigma(jnp.array(PROBE)))
        parts = [jnp.asarray(sigma(jnp.array([x]))) for x in PROBE]
        shapes = [part.shape for part in (whole, *parts)]
        fits = shapes == [(len(PROBE),), *[(1,)] * len(PROBE)]
        fits = fits and bool(jnp.allclose(whole, jnp.concatenate(parts), rtol=1e-4, atol=1e-4))
    if not fits:
        raise ArgumentError(
            f"{verb} got the function {getattr(sigma, '__name__', 'sigma')!r} as sigma, which does not act element by "
            "element: of an array it gives other numbers than of its elements. Pass one scalar function of x_i."
        )
