"""Eigenvalues of few rows: against LAPACK, on scales, multiplicities and what is not finite."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nablax.optimise.spectrum import FEW, spectrum


def _matrices(rows: int, generator: np.random.Generator) -> Any:
    """Of all scales between rows, diagonal ones, and of rank one."""
    square = generator.normal(size=(400, rows, rows))
    scaled = square * 10.0 ** generator.uniform(-4, 4, size=(400, rows, 1))
    diagonal = np.eye(rows) * square[:50]
    vectors = square[:50, 0]
    rank_one = vectors[:, :, None] * vectors[:, None, :]
    found = np.concatenate([square, scaled, diagonal, rank_one, np.zeros((1, rows, rows)), np.eye(rows)[None]])
    return (found + np.swapaxes(found, 1, 2)) / 2


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, FEW + 1])
def test_against_lapack(rows: int, dtype: str, generator: np.random.Generator) -> None:
    matrices = _matrices(rows, generator).astype(dtype)
    values, vectors = map(np.asarray, jax.jit(jax.vmap(spectrum))(matrices))
    exact = matrices.astype(np.float64)
    scale = np.maximum(np.max(np.abs(exact), axis=(1, 2)), np.finfo(np.float64).tiny)
    eps = np.finfo(dtype).eps
    assert np.all(np.diff(values, axis=1) >= 0)
    off = np.max(np.abs(values - np.linalg.eigvalsh(exact)), axis=1) / scale
    assert np.max(off) < 20 * eps
    again = np.einsum("kij,kj,klj->kil", vectors, values, vectors, dtype=np.float64)
    assert np.max(np.max(np.abs(again - exact), axis=(1, 2)) / scale) < 30 * eps
    assert np.max(np.abs(np.swapaxes(vectors, 1, 2) @ vectors - np.eye(rows))) < 20 * eps


@pytest.mark.parametrize("rows", [2, 3, 4])
@pytest.mark.parametrize("scale", [1e-280, 1e300])
def test_no_scale_is_too_small_or_too_large(rows: int, scale: float, generator: np.random.Generator) -> None:
    matrix = generator.normal(size=(rows, rows))
    matrix = (matrix + matrix.T) / 2
    np.testing.assert_allclose(spectrum(matrix * scale)[0] / scale, np.linalg.eigvalsh(matrix), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_has_no_eigenvalues(bad: float) -> None:
    assert np.all(np.isnan(spectrum(jnp.eye(3).at[0, 1].set(bad).at[1, 0].set(bad))[0]))


def test_a_loop_of_few_unknowns_calls_no_library() -> None:
    """What the rotations are for: XLA compiles such a loop to one piece of machine code."""
    step = lambda m: spectrum(m)[1]
    loop = jax.jit(lambda m: jax.lax.fori_loop(0, 5, lambda _, m: step(m), m))
    assert "custom-call" not in loop.lower(jnp.eye(FEW)).compile().as_text()
