"""The unconstrained problems of CUTEst as sif2jax (Apache 2.0) writes them in JAX."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

UNCONSTRAINED = "sif2jax.cutest._unconstrained_minimisation"


@dataclass(frozen=True)
class Problem:
    """A function and a point.

    Args:
        f: of one vector.
        x: near the start of the problem, where no entry is zero by accident.
    """

    f: Callable[[Any], Any]
    x: np.ndarray[Any, Any]


@cache
def _listed() -> dict[str, Any]:
    """The problems by name. The package as a whole builds a thousand others when imported, for minutes."""
    found = importlib.util.find_spec("sif2jax")
    if found is None or not found.submodule_search_locations:
        pytest.skip("sif2jax is not installed")
    folder = Path(found.submodule_search_locations[0])
    before = {name: sys.modules.get(name) for name in ("sif2jax", "sif2jax.cutest")}
    for name, path in (("sif2jax", folder), ("sif2jax.cutest", folder / "cutest")):
        package = types.ModuleType(name)
        package.__path__ = [str(path)]
        sys.modules[name] = package
    try:
        read = importlib.import_module(UNCONSTRAINED).unconstrained_minimisation_problems
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    return {str(problem.name): problem for problem in read}


def names() -> list[str]:
    """Of all problems, small ones first."""
    return sorted(_listed(), key=lambda name: (int(np.size(_listed()[name].y0)), name))


def problem(name: str) -> Problem:
    """A problem near its start."""
    found = _listed()[name]
    start = np.asarray(found.y0, np.float64)
    generator = np.random.default_rng(len(name))
    near = start + 1e-3 * (np.abs(start) + 1.0) * generator.uniform(-1.0, 1.0, start.shape)

    def f(y: Any) -> Any:
        return jnp.asarray(found.objective(y, found.args)).reshape(())

    return Problem(f, near)
