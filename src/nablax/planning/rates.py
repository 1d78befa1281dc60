"""Measured rates of machines, by kind of device; `make calibrate` measures them anew."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources

import jax

from nablax.contraction.rates import Rates

FILE = "rates.json"


@lru_cache(maxsize=8)
def rates_of(kind: str) -> Rates:
    """Rates of a kind of device.

    Args:
        kind: "cpu" or "gpu"; another kind is taken for a "gpu".

    Returns:
        The rates of the committed calibration.
    """
    table = json.loads(resources.files("nablax.planning").joinpath(FILE).read_text(encoding="utf-8"))
    return Rates(**table.get(kind, table["gpu"])["rates"])


def current_rates() -> Rates:
    """Rates of JAX's default device."""
    return rates_of(jax.default_backend())
