"""Factors of a sparse matrix on the host, against NumPy's dense ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nablax.optimise.sparse_factor import Pattern, step_in_ball


def banded(n: int, width: int) -> Any:
    row, column = np.indices((n, n))
    away = np.abs(row - column)
    full = np.where(away == 0, 3.0 + np.sin(row), np.cos(row + column) / (1 + away))
    return np.where(away <= width, full, 0.0)


def arrow(n: int) -> Any:
    full = np.diag(2.0 + np.cos(np.arange(float(n))))
    full[0, 1:] = full[1:, 0] = 0.1
    return full


def stored(full: Any) -> Any:
    rows, columns = np.nonzero(full)
    return Pattern(rows, columns, len(full)).matrix(full[rows, columns])


@pytest.mark.parametrize("full", [banded(9, 0), banded(9, 1), banded(12, 3), arrow(30)])
@pytest.mark.parametrize("shift", [0.0, 2.5])
def test_systems(full: Any, shift: float) -> None:
    right = np.sin(np.arange(float(len(full))) + 1)
    expected = np.linalg.solve(full + shift * np.eye(len(full)), right)
    np.testing.assert_allclose(stored(full).factor(shift).solve(right), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "full", [banded(12, 1) - 4 * np.eye(12), banded(12, 3) - 4 * np.eye(12), arrow(30) - 2 * np.eye(30)]
)
def test_an_indefinite_matrix_has_no_factor(full: Any) -> None:
    assert np.linalg.eigvalsh(full)[0] < 0
    assert stored(full).factor(0.0) is None
    assert stored(full).factor(-np.linalg.eigvalsh(full)[0] + 1e-3) is not None


def test_a_band_is_stored_as_one_and_scattered_places_are_not() -> None:
    assert stored(banded(12, 3)).band.shape == (4, 12)
    assert stored(arrow(30)).band is None


def test_a_place_of_the_diagonal_that_is_not_stored_can_be_shifted() -> None:
    full = np.array([[0.0, 1.0, 0.0], [1.0, 4.0, 1.0], [0.0, 1.0, 0.0]])
    found = stored(full)
    assert found.factor(0.0) is None
    expected = np.linalg.solve(full + np.eye(3), [1.0, 2.0, 3.0])
    np.testing.assert_allclose(found.factor(1.0).solve(np.array([1.0, 2.0, 3.0])), expected, rtol=1e-12)


@pytest.mark.parametrize("full", [banded(12, 1) - 4 * np.eye(12), arrow(30) - 2 * np.eye(30)])
def test_the_step_is_the_lowest_in_the_ball(full: Any) -> None:
    gradient, radius = np.cos(np.arange(float(len(full)))), 0.7
    seed = np.ones(len(full))
    found = step_in_ball(stored(full), gradient, radius, seed)
    model = lambda p: gradient @ p + p @ full @ p / 2
    # the global minimum by bisection of the multiplier on the eigenvalues
    values, vectors = np.linalg.eigh(full)
    turned = vectors.T @ gradient
    low, high = max(0.0, -values[0]), 1e3
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.linalg.norm(turned / (values + middle)) > radius else (low, middle)
    lowest = -vectors @ (turned / (values + high))
    assert np.linalg.norm(found.step) <= 1.1 * radius + 1e-12
    assert model(found.step) <= 0.8 * model(lowest)
