"""Cross products, stacked columns and Kronecker products of vectors, against answers by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nablax.derivation import derive

CASES = (
    ("cross(x, y)", "x", "−skew(y)", "0"),
    ("norm2(A*cross(x, y))^2", "x", "2(y × AᵀA(x × y))", "−2 skew(y) AᵀA skew(y)"),
    ("norm2(cross(w, R*p) - q)^2", "R", "2(w × (Rp × w + q))pᵀ", "dR ↦ 2(w × (dR p × w))pᵀ"),
    ("cross(x, x)'*y", "x", "0", "0"),
    ("tr(skew(x)*A)", "x", None, "0"),
    ("vec(A*X*B)", "X", "dX ↦ vec(A dX B)", "0"),
    ("a'*vec(X)", "X", "unvec(a, m, n)", "0"),
    ("norm2(vec(A*X*B) - y)^2", "X", "2Aᵀ unvec(vec(AXB) − y, m, q) Bᵀ", "dX ↦ 2AᵀA dX BBᵀ"),
    ("kron(x, y)", "x", "I ⊗ y", "0"),
    ("kron(A, X)", "X", "dX ↦ A ⊗ dX", "0"),
    ("kron(A, x)", "x", "dx ↦ A ⊗ dx", "0"),
    ("norm2(kron(A, x))^2", "x", "2‖A‖_F²x", "2‖A‖_F²I"),
    ("norm2(kron(x, y) - z)^2", "x", "2 unvec(x ⊗ y − z, n, m)ᵀy", "2‖y‖² I"),
)


@pytest.mark.parametrize(("formula", "wrt", "gradient", "hessian"), CASES, ids=[case[0] for case in CASES])
def test_closed_form(formula: str, wrt: str, gradient: str | None, hessian: str) -> None:
    declare = {"p": "vector(3)"} if "R*p" in formula else {"A": "matrix(3,3)"} if "skew(x)*A" in formula else None
    found = derive(formula, wrt, declare=declare, seconds=60)
    assert found.verification.passed
    assert found.gradient.engine is None
    assert gradient is None or found.gradient.unicode() == gradient
    assert found.hessian is not None
    assert found.hessian.unicode() == hessian


@pytest.mark.parametrize("language", ["numpy", "jax", "torch", "julia", "c"])
def test_code_is_written_in_every_language(language: str) -> None:
    for formula, wrt in (("norm2(cross(x, y))^2", "x"), ("norm2(vec(A*X*B) - y)^2", "X"), ("a'*kron(x, y)", "x")):
        assert derive(formula, wrt, seconds=60).code(language)


def test_values_by_hand() -> None:
    one, other = np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, -1.0])
    found = derive("norm2(cross(x, y))^2", "x")
    np.testing.assert_allclose(found.gradient(x=one, y=other), 2 * np.cross(other, np.cross(one, other)))
    columns = derive("a'*vec(X)", "X")
    np.testing.assert_allclose(columns.gradient(a=np.arange(6.0), X=np.ones((2, 3))), [[0, 2, 4], [1, 3, 5]])
