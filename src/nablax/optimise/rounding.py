"""The rounding error of a dtype."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax.numpy as jnp


@cache
def rounding(dtype: Any) -> float:
    """ε: the distance from 1 to the next number.

    Args:
        dtype: a floating-point dtype, bfloat16 among them.

    Example:
        >>> rounding("float32")
        1.1920928955078125e-07
    """
    finfo: Any = jnp.finfo
    return float(finfo(dtype).eps)
