"""Factors of a sparse matrix on the host, against NumPy's dense ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nablax.optimise.elimination import elimination
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


def bordered(n: int, width: int) -> Any:
    full = banded(n, width)
    for k in (3, 0):
        full[k] = full[:, k] = 0.3 / np.sqrt(n) * np.cos(np.arange(n) + k)
        full[k, k] = 4.0
    full[0, 3] = full[3, 0] = 0.1
    return full


def shuffled(full: Any) -> Any:
    order = np.random.default_rng(3).permutation(len(full))
    return full[np.ix_(order, order)]


def stored(full: Any) -> Any:
    rows, columns = np.nonzero(full)
    return Pattern(rows, columns, len(full)).matrix(full[rows, columns])


@pytest.mark.parametrize(
    "full",
    [
        banded(9, 0),
        banded(9, 1),
        banded(12, 3),
        arrow(30),
        arrow(300),
        shuffled(banded(60, 2)),
        bordered(300, 0),
        shuffled(bordered(400, 3)),
    ],
)
@pytest.mark.parametrize("shift", [0.0, 2.5])
def test_systems(full: Any, shift: float) -> None:
    right = np.sin(np.arange(float(len(full))) + 1)
    expected = np.linalg.solve(full + shift * np.eye(len(full)), right)
    np.testing.assert_allclose(stored(full).factor(shift).solve(right), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "full",
    [
        banded(12, 1) - 4 * np.eye(12),
        shuffled(banded(60, 2)) - 4 * np.eye(60),
        arrow(30) - 2 * np.eye(30),
        arrow(300) - 2 * np.eye(300),
        shuffled(bordered(400, 3)) - 5 * np.eye(400),
        bordered(300, 1) - np.diag(np.where(np.arange(300) == 3, 6.0, 0.0)),
    ],
)
def test_an_indefinite_matrix_has_no_factor(full: Any) -> None:
    assert np.linalg.eigvalsh(full)[0] < 0
    assert stored(full).factor(0.0) is None
    assert stored(full).factor(-np.linalg.eigvalsh(full)[0] + 1e-3) is not None


def test_a_shuffled_band_is_a_band_again() -> None:
    full = shuffled(banded(60, 2))
    rows, columns = np.nonzero(full)
    found = elimination(rows, columns, 60)
    ordered = full[np.ix_(found.order, found.order)]
    away = np.abs(np.subtract(*np.nonzero(ordered)))
    assert found.hubs == 0
    assert found.width == away.max() <= 4
    assert np.sum((np.argmax(ordered != 0, axis=1) - np.arange(60)) ** 2) == found.work


def test_what_meets_all_others_is_eliminated_last() -> None:
    full = arrow(300)
    rows, columns = np.nonzero(full)
    found = elimination(rows, columns, 300)
    assert (found.order[-1], found.hubs, found.width) == (0, 1, 0)
    assert found.work == 300


def test_random_places_are_known_to_fill_in() -> None:
    n = 400
    rows = np.repeat(np.arange(n), 4)
    columns = np.random.default_rng(0).integers(0, n, len(rows))
    rows, columns = np.concatenate([rows, columns]), np.concatenate([columns, rows])
    assert elimination(rows, columns, n).work > n**3 / 50


def test_a_place_of_the_diagonal_that_is_not_stored_can_be_shifted() -> None:
    full = np.array([[0.0, 1.0, 0.0], [1.0, 4.0, 1.0], [0.0, 1.0, 0.0]])
    found = stored(full)
    assert found.factor(0.0) is None
    expected = np.linalg.solve(full + np.eye(3), [1.0, 2.0, 3.0])
    np.testing.assert_allclose(found.factor(1.0).solve(np.array([1.0, 2.0, 3.0])), expected, rtol=1e-12)


@pytest.mark.parametrize("full", [banded(12, 1) - 4 * np.eye(12), arrow(30) - 2 * np.eye(30)])
def test_the_step_is_the_lowest_in_the_ball(full: Any) -> None:
    gradient, radius = np.cos(np.arange(float(len(full)))), 0.7
    found = step_in_ball(stored(full), gradient, radius)
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


def test_a_singular_matrix_takes_two_factors() -> None:
    full, kept = banded(40, 2), np.arange(40) != 7
    full[7] = full[:, 7] = 0.0
    gradient = np.where(kept, np.cos(np.arange(40.0)), 0.0)
    found = step_in_ball(stored(full), gradient, 100.0)
    expected = np.linalg.solve(full[np.ix_(kept, kept)], gradient[kept])
    np.testing.assert_allclose(found.step[kept], -expected, rtol=1e-7)
    np.testing.assert_allclose(found.predicted, gradient[kept] @ expected / 2, rtol=1e-12)
    assert (found.step[7], found.factors) == (0.0, 2)  # what is flat is not moved along
