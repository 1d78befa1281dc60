"""Second derivatives of a simple eigenvalue by the spectral sum, as books print it and against the sum by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nablax.derivation import derive


@pytest.mark.parametrize(("name", "place", "vector"), [("max", -1, "eigenvector"), ("min", 0, "first_eigenvector")])
def test_hessian_is_the_spectral_sum(name: str, place: int, vector: str) -> None:
    found = derive(f"{name}(eig(S))", declare="S: symmetric(n)", seconds=60)
    assert found.hessian is not None
    assert found.hessian.unicode() == (
        f"dS ↦ vvᵀ dS P + P dS vvᵀ  where  v = {vector}(S), P = ({name}(eigenvalues(S)) I − S)⁺"
    )
    random = np.random.default_rng(0)
    matrix, direction = (one + one.T for one in random.normal(size=(2, 5, 5)))
    values, vectors = np.linalg.eigh(matrix)
    v = vectors[:, place]
    others = [k for k in range(5) if k != place % 5]
    total = sum(2 * (vectors[:, k] @ direction @ v) ** 2 / (values[place] - values[k]) for k in others)
    shown = found.hessian.applied([direction], {"S": matrix})
    np.testing.assert_allclose(np.sum(shown * direction), total, rtol=1e-9)


def test_along_a_line() -> None:
    found = derive("max(eig(A + t*B))", "t", declare="A: symmetric(n), B: symmetric(n), t: scalar", seconds=60)
    assert found.hessian is not None
    assert found.hessian.unicode() == (
        "2(vᵀBPBv)  where  v = eigenvector(A + tB), P = (max(eigenvalues(A + tB)) I − A − tB)⁺"
    )
    # the eigenvalues of ((1, t), (t, 0)) are ½ ± √(¼ + t²): at t = 0 the second derivative of the larger is 2
    value = found.hessian(A=np.diag([1.0, 0.0]), B=np.array([[0.0, 1.0], [1.0, 0.0]]), t=0.0)
    np.testing.assert_allclose(value, 2.0)


@pytest.mark.parametrize("language", ["numpy", "jax", "torch", "julia"])
def test_code_does_not_divide_by_the_zero_of_the_kernel(language: str) -> None:
    source = derive("max(eig(S))", declare="S: symmetric(n)", seconds=60).code(language)
    assert "pinv" not in source
    assert "inv(" in source
