"""The regression example: the gradient by hand, the automatic one and the printed one are the same."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from nablax.derivation import derive


@pytest.fixture(scope="module")
def regression() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "examples" / "regression.py"
    spec = importlib.util.spec_from_file_location("regression", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("n", [10, 1000])
def test_gradients_are_equal(regression: ModuleType, n: int) -> None:
    X, y = regression.data(n)
    w = np.array([0.3, -0.7, 1.1])
    hand = regression.by_hand(w, X, y)
    np.testing.assert_allclose(hand, regression.automatic(w, X, y), rtol=1e-12)
    printed = derive("(1/n)*norm2(X*w - y)^2", "w", declare="X: matrix(n, d), w: vector(d), y: vector(n)")
    given = {"X": X, "w": w, "y": y}
    np.testing.assert_allclose(hand, printed.gradient.evaluate(**given), rtol=1e-12)
    np.testing.assert_allclose(regression.mean_after_dot(w, X, y), n * hand, rtol=1e-12)


def test_descent_finds_the_same_weights(regression: ModuleType) -> None:
    X, y = regression.data(100)
    hand, steps = regression.descend(regression.by_hand)(X, y)
    auto, _ = regression.descend(regression.automatic)(X, y)
    assert int(steps) < regression.MOST_STEPS
    np.testing.assert_allclose(hand, auto, atol=1e-9)
    np.testing.assert_allclose(hand, np.linalg.lstsq(X, y)[0], atol=1e-8)
