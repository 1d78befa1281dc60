"""Slopes of absolute values at ties, ranges whose lengths are sizes less a number, inverses as powers, orthogonal ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from corpus.running import in_c, in_python

from nablax.derivation import DerivationError, derive
from nablax.formula import FormulaError

X = np.random.default_rng(0).normal(size=6)


@pytest.mark.parametrize(
    ("formula", "wrt", "gradient"),
    [
        ("norm1(y-A*x)", "x", "Aᵀ sign(Ax − y)"),
        ("abs(1-x)", "x", "−diag(sign(1 − x))"),
        ("sum(abs(x-y))", "y", "−sign(x − y)"),
        ("sum(-2*abs(3*x))", "x", "−6 sign(3x)"),
    ],
)
def test_the_slope_of_an_absolute_value_is_a_sign(formula: str, wrt: str, gradient: str) -> None:
    assert derive(formula, wrt).gradient.unicode() == gradient


def test_total_variation_has_one_slope_at_ties() -> None:
    found = derive(lambda x: jnp.sum(jnp.abs(x[1:] - x[:-1])), args=(X,))
    assert found.gradient.unicode() == "(sᵀ − rᵀ) sign((s − r)x)  where  r = I[:-1], s = I[1:]"
    for x in ([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]):
        D = np.diff(np.eye(4), axis=0)
        np.testing.assert_array_equal(found.gradient(x=x), D.T @ np.sign(D @ np.asarray(x)))


@pytest.mark.parametrize("language", ["numpy", "c"])
@pytest.mark.parametrize("n", [2, 6, 9])
def test_code_of_ranges_holds_at_every_length(language: str, n: int, tmp_path: Path) -> None:
    if language == "c" and shutil.which("cc") is None:
        pytest.skip("no C compiler (cc) on this machine")
    source = derive(lambda x: jnp.sum(jnp.sqrt(jnp.diff(x) ** 2 + 0.1)), args=(X,)).code(language)
    assert "100" not in source  # the length of the trace less one
    x = np.random.default_rng(n).normal(size=n)
    D = np.diff(np.eye(n), axis=0)
    root = np.sqrt((D @ x) ** 2 + 0.1)
    expected = [np.sum(root), D.T @ (D @ x / root), D.T @ np.diag(0.1 / root**3) @ D]
    if language == "c":
        given = in_c(source, tmp_path, {"x": ("n",)}, [x], [np.shape(one) for one in expected])
    else:
        given = in_python(source, [x])
    for one, other in zip(given, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("formula", "wrt", "gradient"),
    [
        ("(A'*A)^-1*A'*b", "b", "(AᵀA)⁻¹Aᵀ"),
        ("bᵀA(AᵀA)⁻¹Aᵀb", "b", "2A(AᵀA)⁻¹Aᵀb"),
        ("tr((X'*X)^-2)", "X", "−4X(XᵀX)⁻³"),
        ("tr((X'*X)^-1*C)", "X", "−X(XᵀX)⁻¹(C + Cᵀ)(XᵀX)⁻¹"),
    ],
)
def test_an_inverse_written_as_a_power_has_points_where_it_exists(formula: str, wrt: str, gradient: str) -> None:
    assert derive(formula, wrt).gradient.unicode() == gradient


@pytest.mark.parametrize(
    ("formula", "gradient", "hessian"),
    [
        ("logdet(Q)", "Q", "dQ ↦ −Q dQᵀ Q"),
        ("det(Q)", "det(Q) Q", "dQ ↦ det(Q) (tr(Q dQᵀ) Q − Q dQᵀ Q)"),
        ("tr(inv(Q)*A)", "−QAᵀQ", "dQ ↦ Q(AᵀQ dQᵀ + dQᵀ QAᵀ)Q"),
    ],
)
def test_forms_at_orthogonal_matrices(formula: str, gradient: str, hessian: str) -> None:
    found = derive(formula, "Q", declare="Q: orthogonal(n)")
    assert (found.gradient.unicode(), found.hessian and found.hessian.unicode()) == (gradient, hessian)
    assert found.verification.passed


@pytest.mark.parametrize(
    ("formula", "wrt", "declare", "domain"),
    [
        ("det(X)+det(Y)", "X", "", ("the derivatives are written with X⁻¹ and hold where det(X) ≠ 0",)),
        ("det(X^-1*A)", "X", "", ("det(X) ≠ 0",)),
        ("norm(x,inf)", "x", "", ("differentiable where one entry of x alone is the largest in size",)),
        ("prod(x)", "x", "", ("the derivatives are written with 1 ⊘ x and hold where no entry of x is 0",)),
        (
            "sqrt(mean((x-mean(x)).^2))",
            "x",
            "",
            ("the derivatives are written with 1/‖x − sum(x)/n‖ and hold where x − sum(x)/n ≠ 0",),
        ),
        (
            "logsumexp(eig(S))",
            "S",
            "S: symmetric(n)",
            ("the Hessian is written with the gaps between the eigenvalues of S and holds where these differ",),
        ),
        ("2^x", "x", "x: scalar", ()),
        ("abs(x)^3", "x", "x: scalar", ()),
    ],
)
def test_domains_say_what_the_printed_forms_divide_by(
    formula: str, wrt: str, declare: str, domain: tuple[str, ...]
) -> None:
    assert derive(formula, wrt, declare=declare or None).domain == domain


@pytest.mark.parametrize(
    ("formula", "gradient"),
    [
        ("tr(K*A)", "½(Aᵀ − A)"),
        ("x'*K*x", "0"),
        ("x'*K*y", "½(xyᵀ − yxᵀ)"),
        ("tr(K'*K)", "2K"),
        ("sum(K)", "0"),
        ("logdet(eye+K)", "½((I − K)⁻¹ − (I − K)⁻ᵀ)"),
    ],
)
def test_gradients_along_skew_matrices(formula: str, gradient: str) -> None:
    found = derive(formula, "K", declare="K: skew(n)")
    assert found.gradient.unicode() == gradient
    assert found.convention == "gradient along the skew matrices: ½(G − Gᵀ) of the one by all entries; Kᵀ = −K"
    K = np.random.default_rng(0).normal(size=(5, 5))
    point = {
        name: np.random.default_rng(1).normal(size=(5,) * len(found.shapes[name])) for name in found.gradient.arguments
    }
    G = np.broadcast_to(found.gradient(**{**point, "K": K - K.T}), (5, 5))
    np.testing.assert_allclose(G, -G.T, atol=1e-12)


def test_orders_that_are_late_leave_the_hessian() -> None:
    found = derive("sin(sin(sin(sin(sin(x)))))", "x", declare="x: scalar", order=5)
    assert found.hessian is not None
    assert found.notes == ("orders above 2 take longer than 2 seconds",)


def test_wrong_questions_are_refused_in_words() -> None:
    with pytest.raises(DerivationError, match="order is 1, 2 or up to 6 for a scalar of a scalar, not '2'"):
        derive("x'*x", "x", order="2")  # type: ignore[call-overload]
    with pytest.raises(DerivationError, match="wrt is a name, a place or a tuple of these, not {'x'}"):
        derive("x'*x", {"x"})  # type: ignore[call-overload]
    with pytest.raises(FormulaError, match="S need not be symmetric, and cholesky factors A = LLᵀ") as caught:
        derive("cholesky(S)", "S")
    assert "declare it: 'S: spd(n)'" in str(caught.value)


@pytest.mark.parametrize(
    ("formula", "declare", "gradient", "hessian"),
    [
        ("sum(abs(x).*x)", "", "2|x|", "2 diag(sign(x))"),
        ("sum(abs(x).^3)", "", "3(|x| ⊙ x)", "6 diag(|x|)"),
        ("sum(abs(x).^4)", "", "4x^⊙3", "12 diag(x^⊙2)"),
        ("abs(x)^3", "x: scalar", "3x |x|", "6|x|"),
        ("sum(log(abs(A*x-b)))", "", "Aᵀ(1 ⊘ (Ax − b))", "−Aᵀ diag(1 ⊘ (Ax − b)^⊙2) A"),
        ("logdet(diag(x))", "", "1 ⊘ x", "−diag(1 ⊘ x^⊙2)"),
        ("det(diag(x))", "", "prod(x) (1 ⊘ x)", "prod(x) ((1 ⊘ x)(1 ⊘ x)ᵀ − diag(1 ⊘ x^⊙2))"),
        ("sum(x./(1+abs(x)))", "", "1 ⊘ (1 + |x|)^⊙2", "2 diag(x ⊘ (1 + |x|)^⊙3 − sign(x) ⊘ (1 + |x|)^⊙2)"),
    ],
)
def test_sizes_and_their_signs_become_short(formula: str, declare: str, gradient: str, hessian: str) -> None:
    found = derive(formula, "x", declare=declare or None)
    assert (found.gradient.unicode(), found.hessian and found.hessian.unicode()) == (gradient, hessian)
    assert found.verification.passed


@pytest.mark.parametrize(
    ("formula", "gradient"), [("sum(eig(S).^2)", "2S"), ("sum(eig(S).^3)", "3S²"), ("sum(log(eig(S)))", "S⁻¹")]
)
def test_sums_over_eigenvalues_are_traces(formula: str, gradient: str) -> None:
    assert derive(formula, "S", declare="S: spd(n)").gradient.unicode() == gradient


@pytest.mark.parametrize(
    ("formula", "wrt", "differential"),
    [
        ("x'*dx", "x", "⟨dx, Dx⟩"),
        ("tr(dX'*X*X)", "X", "⟨dX Xᵀ + Xᵀ dX, DX⟩"),
        ("dx*x'", "x", "dx Dxᵀ"),
        ("inv(X)*dX", "X", "−X⁻¹ DX X⁻¹ dX"),
    ],
)
def test_a_variable_may_be_called_like_a_differential(formula: str, wrt: str, differential: str) -> None:
    found = derive(formula, wrt, declare="dX: matrix(n,n)" if formula.startswith("tr") else None)
    assert found.differential.unicode() == differential
    assert all(f"d({wrt})" not in str(step) for step in found.steps)
    compile(found.code(), "code", "exec")
