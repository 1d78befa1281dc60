"""What the functions of the language are worth, by JAX and by NumPy, against SciPy and against definitions."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from nablax.formula.values import JAX, NUMPY, scipy

RANDOM = np.random.default_rng(0)
MATRIX = RANDOM.standard_normal((5, 5))


@pytest.mark.parametrize("size", [0.0, 1e-9, 0.3, 3.0, 40.0, 700.0])
def test_exponential_of_a_matrix(size: float) -> None:
    expected = scipy.linalg.expm(size * MATRIX / np.linalg.norm(MATRIX, 2))
    with jax.enable_x64(True):
        found = np.asarray(JAX.calls["expm"](jax.numpy.asarray(size * MATRIX / np.linalg.norm(MATRIX, 2))))
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13 * np.abs(expected).max())


def test_exponential_of_a_nilpotent_matrix() -> None:
    with jax.enable_x64(True):
        found = np.asarray(JAX.calls["expm"](jax.numpy.array([[0.0, 1e6], [0.0, 0.0]])))
    np.testing.assert_allclose(found, [[1, 1e6], [0, 1]], rtol=2.0**-35)  # sixteen squarings double an error as often


def test_slope_of_the_exponential_of_a_matrix() -> None:
    """The slope of tr(A exp(X)) at multiples of the identity is exp(x) Aᵀ."""
    with jax.enable_x64(True):
        slope = jax.grad(lambda x: jax.numpy.trace(MATRIX @ JAX.calls["expm"](x)))(2.5 * jax.numpy.eye(5))
    np.testing.assert_allclose(np.asarray(slope), np.exp(2.5) * MATRIX.T, rtol=1e-12)


def test_polygamma_and_its_names() -> None:
    x = np.array([0.3, 1.0, 4.5])
    for library in (JAX, NUMPY):
        with jax.enable_x64(True):
            values = [np.asarray(library.calls[name](x)) for name in ("trigamma", "digamma")]
            orders = [np.asarray(library.calls["polygamma"](order, x)) for order in (1, 0)]
        np.testing.assert_allclose(values, orders, rtol=1e-12)
        assert values[0][1] == pytest.approx(np.pi**2 / 6, rel=1e-12)


def test_extreme_vectors_belong_to_extreme_values() -> None:
    symmetric = MATRIX + MATRIX.T
    for library in (JAX, NUMPY):
        with jax.enable_x64(True):
            last, first = (np.asarray(library.calls[name](symmetric)) for name in ("eigenvector", "first_eigenvector"))
            left, right = (np.asarray(library.calls[name](MATRIX[:, :3])) for name in ("left_vector", "right_vector"))
        values = np.linalg.eigvalsh(symmetric)
        np.testing.assert_allclose(symmetric @ last, values[-1] * last, atol=1e-12)
        np.testing.assert_allclose(symmetric @ first, values[0] * first, atol=1e-12)
        with jax.enable_x64(True):
            all_ = np.asarray(library.calls["eigenvectors"](symmetric))
        np.testing.assert_allclose(all_ @ np.diag(values) @ all_.T, symmetric, atol=1e-12)
        assert left @ MATRIX[:, :3] @ right == pytest.approx(np.linalg.norm(MATRIX[:, :3], 2), rel=1e-12)
