"""The strict world of the tests: float64 where a test does not say otherwise, fixed seeds, warnings are errors.

Compilation is made cheap: what is tested is which numbers come out, not how fast.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hypothesis

os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(Path(__file__).parent))  # oracles, for every test

import jax
import numpy as np
import pytest

jax.config.update("jax_enable_x64", True)

hypothesis.settings.register_profile(
    "fixed", derandomize=True, deadline=None, database=None, print_blob=False, max_examples=30
)
hypothesis.settings.load_profile("fixed")


@pytest.fixture
def generator() -> np.random.Generator:
    """Random numbers with a fixed seed, new for every test."""
    return np.random.default_rng(20240229)
