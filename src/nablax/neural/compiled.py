"""Methods that are compiled once for each object."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax

P = ParamSpec("P")
T = TypeVar("T")


def compiled(method: Callable[P, T]) -> Callable[P, T]:
    """`jax.jit` of a method whose object is frozen and known by identity; the types are kept."""
    jitted: Callable[P, T] = jax.jit(method, static_argnums=0)
    return jitted
