"""Measured rates of machines, by kind of device; `make calibrate` measures them anew."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import jax

from nablax.contraction.rates import Rates

FILE = Path(__file__).with_name("rates.json")


@lru_cache(maxsize=8)
def rates_of(kind: str) -> Rates:
    """Rates of a kind of device.

    Args:
        kind: "cpu" or "gpu"; another kind is taken for a "gpu".

    Returns:
        The rates of the committed calibration.
    """
    table = json.loads(FILE.read_text(encoding="utf-8"))
    return Rates(**table.get(kind, table["gpu"])["rates"])


def current_rates() -> Rates:
    """Rates of JAX's default device."""
    return rates_of(jax.default_backend())
