"""Complex values and typed random keys as plain arrays, so that everything in a graph is real or an integer.

A complex value becomes a pair of real arrays, stacked on a new first axis; a random key becomes its words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True, slots=True)
class Special:
    """A type of array that a graph does not hold.

    Args:
        dtype: complex, or a type of random keys.
    """

    dtype: Any

    @property
    def is_key(self) -> bool:
        """Whether it is a type of random keys."""
        return bool(jnp.issubdtype(self.dtype, jax.dtypes.prng_key))

    def plain_struct(self, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
        """Shape and dtype of the plain array."""
        if self.is_key:
            struct: jax.ShapeDtypeStruct = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(shape, self.dtype))
            return struct
        return jax.ShapeDtypeStruct((2, *shape), np.finfo(self.dtype).dtype)

    def restored(self, value: Any) -> Any:
        """The value that a plain array stands for."""
        if self.is_key:
            return jax.random.wrap_key_data(value, impl=_generator(self.dtype))
        return jax.lax.complex(value[0], value[1])


def special(dtype: Any) -> Special | None:
    """What a dtype is, if it is complex or that of random keys; None for plain arrays."""
    found = Special(dtype)
    return found if found.is_key or jnp.issubdtype(dtype, jnp.complexfloating) else None


def to_plain(value: Any) -> Any:
    """The plain array that stands for a value; plain arrays as they are.

    Example:
        >>> import jax.numpy as jnp
        >>> to_plain(jnp.array([1.0 + 2.0j])).tolist()
        [[1.0], [2.0]]
    """
    kind = special(value.dtype)
    if kind is None:
        return value
    return jax.random.key_data(value) if kind.is_key else jnp.stack([jnp.real(value), jnp.imag(value)])


def _generator(dtype: Any) -> Any:
    """The random generator that a type of keys belongs to."""
    found: list[Any] = []
    jax.eval_shape(lambda one: found.append(jax.random.key_impl(one)), jax.ShapeDtypeStruct((), dtype))
    return found[0]
