"""Places kept as grids: rows and columns as division gives them, by NumPy and on the device."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nablax as nb
from nablax.endings import pattern
from nablax.endings.pattern import Grid, Pattern

TABLE = np.array([130, 3, 77])
# matrix of so many columns, parts
PATTERNS: list[tuple[int, tuple[Any, ...]]] = [
    (12, (Grid((12, 12), 0, (12, 1)),)),
    (12, (Grid((11,), 11, (11,)),)),  # the other diagonal
    (12, (Grid((12,), 0, (13,)), Grid((11,), 1, (13,)), Grid((11,), 12, (13,)))),
    (12, (Grid((20,), 5, (1,)),)),  # past the end of a row: no sum of its own
    (12, (Grid((3, 4), 14, (24, 2)), TABLE, Grid((20,), 40, (1,)))),
    (1, (Grid((5,), 2, (1,)),)),
    (2, (Grid((3, 2), 0, (2, 1)), Grid((2,), 10, (3,)))),
    (4, (Grid((2, 2), 1, (8, 2)),)),
    (0, ()),
    (12, (np.zeros(0, np.int64), Grid((), 17, ()))),
]


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize(("columns", "parts"), PATTERNS)
def test_rows_and_columns_of_places(
    columns: int, parts: tuple[Any, ...], on_device: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if on_device:
        monkeypatch.setattr(pattern, "ON_DEVICE", 0 if any(isinstance(p, Grid) for p in parts) else 1)
    found = Pattern(parts)
    places = [
        [part.start + sum(s * k for s, k in zip(part.strides, at, strict=True)) for at in np.ndindex(*part.sizes)]
        if isinstance(part, Grid)
        else list(part)
        for part in parts
    ]
    flat = np.array([place for own in places for place in own], np.int64)
    assert np.array_equal(found.positions, flat)
    assert found.size == flat.size
    assert found.rises == bool(np.all(np.diff(flat) > 0))
    pairs = found.pairs(columns)
    assert pairs.dtype == jnp.int32
    assert np.array_equal(pairs, np.stack(np.divmod(flat, max(columns, 1)), axis=-1))


@pytest.mark.parametrize("on_device", [False, True])
def test_places_beyond_what_32_bits_count(on_device: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pattern, "ON_DEVICE", 0 if on_device else 10)
    n = 100_000
    last = Pattern((Grid((3,), n * n - 3 * n, (n + 1,)),)).pairs(n)
    assert np.array_equal(last, [[n - 3, 0], [n - 2, 1], [n - 1, 2]])


def test_a_dense_answer_is_never_listed_place_by_place(monkeypatch: pytest.MonkeyPatch) -> None:
    written = Grid.positions

    def positions(self: Grid) -> Any:
        assert self.size <= 1500
        return written(self)

    monkeypatch.setattr(Grid, "positions", positions)
    w = jnp.arange(1.0, 1501.0)
    x = jnp.sin(w)
    found = nb.hessian_sparse(lambda x: jnp.sum(w * x**2) ** 2)(x)
    slope = 2 * w * x
    want = 2 * np.outer(slope, slope) + np.diag(4 * w * jnp.sum(w * x**2))
    assert found.nse == 1500**2
    assert found.indices_sorted
    v = np.cos(np.arange(1500.0))
    assert np.allclose(jax.jit(lambda m, v: m @ v)(found, v), want @ v, rtol=1e-13, atol=1e-10 * np.abs(want).max())
