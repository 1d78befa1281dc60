"""Functions of JAX in the notation of textbooks, the words of the language, limits, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
import pytest

from nablax.derivation import DerivationError, derive
from nablax.formula import FormulaError

GENERATOR = np.random.default_rng(5)
w, y = GENERATOR.normal(size=4), GENERATOR.normal(size=5)
X, W, Y = (GENERATOR.normal(size=shape) for shape in ((5, 4), (4, 3), (5, 3)))
Q, K, V = (GENERATOR.normal(size=shape) for shape in ((5, 4), (6, 4), (6, 3)))
S = np.cov(GENERATOR.normal(size=(4, 9)))
LOWER = np.linalg.cholesky(S)

FUNCTIONS: dict[str, tuple[Callable[..., Any], str, tuple[Any, ...], str]] = {
    "softplus": (lambda w, X: jax.nn.softplus(X @ w).sum(), "w", (w, X), "Xᵀ σ(Xw)"),
    "logaddexp": (lambda w, X: jnp.logaddexp(0.0, X @ w).sum(), "w", (w, X), "Xᵀ σ(Xw)"),
    "log_softmax": (lambda w, X: -jax.nn.log_softmax(X @ w)[2], "w", (w, X), "Xᵀ(softmax(Xw) − e₂)"),
    "log_softmax by rows": (
        lambda W, X, Y: -jnp.sum(Y * jax.nn.log_softmax(X @ W, axis=1)),
        "W",
        (W, X, Y),
        "Xᵀ(diag(Y𝟏) softmax(XW) − Y)",
    ),
    "attention": (
        lambda Q, K, V: jnp.sum(jax.nn.softmax(Q @ K.T / jnp.sqrt(Q.shape[1]), axis=-1) @ V),
        "Q",
        (Q, K, V),
        "(P diag(V𝟏) − diag(PV𝟏) P)K/√m  where  P = softmax(QKᵀ/√m)",
    ),
    "gammaln": (lambda w: jax.scipy.special.gammaln(w**2).sum(), "w", (w,), "2(digamma(w^⊙2) ⊙ w)"),
    "solve_triangular": (
        lambda w, L: jnp.sum(jax.scipy.linalg.solve_triangular(L, w, lower=True) ** 2),
        "w",
        (w, LOWER),
        "2 tril(L)⁻ᵀ tril(L)⁻¹w",
    ),
    "solve, slogdet": (
        lambda S, w: w @ jnp.linalg.solve(S, w) + jnp.linalg.slogdet(S)[1],
        "S",
        (S, w),
        "S⁻ᵀ − S⁻ᵀwwᵀS⁻ᵀ",
    ),
    "silu": (lambda w: jax.nn.silu(w).sum(), "w", (w,), "σ(w) ⊙ (1 + w − σ(w) ⊙ w)"),
    "relu": (lambda w: jax.nn.relu(w).sum(), "w", (w,), "[w > 0]"),
    "norm": (lambda w: jnp.linalg.norm(w), "w", (w,), "w/‖w‖"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_jax_are_recognised(name: str) -> None:
    function, wrt, arguments, gradient = FUNCTIONS[name]
    assert str(derive(function, wrt, args=arguments, order=1).gradient) == gradient


WORDS = {
    "sum(rowsum(X).^2)": "2X𝟏𝟏ᵀ",
    "sum(colsum(X).^2)": "2𝟏𝟏ᵀX",
    "sum(x.*ones(n))": "𝟏",
    "zeros(n)'*x + x'*x": "2x",
    "tr(pinv(X)*A)": "(A − X(XᵀX)⁻¹(AᵀX + XᵀA))(XᵀX)⁻¹",
    "tr(triu(X)'*A)": "triu(A)",
    "sum(|x|)": "sign(x)",
    "norm(X, nuc)": "UVᵀ  where  V = right_vectors(X), U = left_vectors(X)",
    "norm(X, 2)": "uvᵀ  where  v = right_vector(X), u = left_vector(X)",
    "log(abs(det(X)))": "X⁻ᵀ",
    "det(X^3)": "3 det(X)³X⁻ᵀ",
    "tr(X^20)": "20(X¹⁹)ᵀ",
    "logsumexp(x)": "softmax(x)",
    "norm2(x - a)": "(x − a)/‖x − a‖",
    "norm2(x)": "x/‖x‖",
    "x'*dx": "dx",
    "xᵀAx": "(A + Aᵀ)x",
    "‖Ax − b‖₂²": "2Aᵀ(Ax − b)",
    r"\|A x - b\|_2^2": "2Aᵀ(Ax − b)",
    "‖Ax − b‖₁": "Aᵀ sign(Ax − b)",
    r"\frac{1}{2} x^\top A x - b^\top x": "½(A + Aᵀ)x − b",
}


@pytest.mark.parametrize("formula", WORDS)
def test_words_of_the_language_and_of_books(formula: str) -> None:
    wrt = "X" if "X" in formula else "x"
    assert str(derive(formula, wrt, order=1).gradient) == WORDS[formula]


LIMITS = {
    "sin(" * 30 + "x" + ")" * 30: "x: scalar",
    "*".join("A" * 24): "A: matrix(n,n)",
    "*".join(["x'*x"] * 64): None,
    "norm2(D*tanh(C*tanh(B*tanh(A*tanh(E*x)))) - y)^2": None,
    "X^15": None,
    "x + vector(1, 1000000)": None,
    "norm2(A*x - b)^2": "A: matrix(1000, 2000)",
    "n*x'*x": "n: scalar, x: vector(n)",
}


@pytest.mark.parametrize("formula", LIMITS, ids=range(len(LIMITS)))
def test_long_formulas_say_what_they_have(formula: str) -> None:
    wrt = next(name for name in "xXA" if name in formula)
    found = derive(formula, wrt, declare=LIMITS[formula])
    assert found.gradient.engine is None or found.notes


def test_products_of_many_factors_have_letters_or_a_note() -> None:
    found = derive("*".join("A" * 24), declare="A: matrix(n,n)", seconds=60, order=1)
    assert str(found.gradient) == "dA ↦ ∑ᵢ₊ⱼ₌₂₃ Aⁱ dA Aʲ"


def test_what_has_no_derivative_here_is_refused_in_words() -> None:
    with pytest.raises(DerivationError, match="argument 0 is a dict; closed forms take scalars, vectors and matrices"):
        derive(lambda p: jnp.sum(p["w"]), args=({"w": w},))
    with pytest.raises(DerivationError, match="the function cannot be derived: ConcretizationTypeError"):
        derive(lambda w: float(w) ** 2, args=(3.0,))
    with pytest.raises(DerivationError, match="the function cannot be derived: ZeroDivisionError"):
        derive(lambda w: w.sum() / 0, args=(w,))
    with pytest.raises(FormulaError, match="divides by zero"):
        derive("sum(x)/0")


FORMS = {
    "1/2*logdet(S) + 1/2*(x-mu)'*inv(S)*(x-mu)": ("S", "S: spd(n)", "½(S⁻¹ − S⁻¹(x − μ)(x − μ)ᵀS⁻¹)"),
    "sum(V.*log(V./(W*H)) - V + W*H)": (
        "W",
        "V: positive matrix(m,n), W: positive matrix(m,k), H: positive matrix(k,n)",
        "(𝟏𝟏ᵀ − V ⊘ WH)Hᵀ",
    ),
    "1/2*sum(p.*log(2*p./(p+q)) + q.*log(2*q./(p+q)))": (
        "p",
        "p: positive vector(n), q: positive vector(n)",
        "½log(2(p ⊘ (p + q)))",
    ),
    "norm2(x-mean(x))": ("x", "", "r/‖r‖  where  r = x − sum(x)/n"),
    "softmax(x/t)": ("t", "t: positive scalar", "(p ⊙ (pᵀx − x))/t²  where  p = softmax(x/t)"),
    "t*logsumexp(x/t)": ("t", "", "log(sum(exp(x/t))) − pᵀx/t  where  p = softmax(x/t)"),
}


@pytest.mark.parametrize("formula", FORMS)
def test_forms_of_books(formula: str) -> None:
    wrt, declare, gradient = FORMS[formula]
    found = derive(formula, wrt, declare=declare or None)
    assert found.gradient.unicode() == gradient
    assert found.verification.passed


def test_forms_are_accurate_where_the_function_is() -> None:
    """Not multiplied out: ‖x‖² − nx̄² has no digits at x + 10⁸, exp(x/t) none at 1000."""
    ratio = derive("(x-mean(x))'*(y-mean(y))/(norm2(x-mean(x))*norm2(y-mean(y)))", "x")
    x, y = np.array([0.0, 1.0, 2.0, 4.0]), np.array([1.0, 0.0, 3.0, 2.0])
    expected = ratio.gradient(x=x, y=y)
    np.testing.assert_allclose(ratio.gradient(x=x + 1e8, y=y + 1e8), expected, atol=1e-8)
    assert ratio.hessian is not None
    np.testing.assert_allclose(ratio.hessian(x=x + 1e8, y=y + 1e8), ratio.hessian(x=x, y=y), atol=1e-8)
    soft = derive("softmax(x/t)", "t", declare="t: positive scalar")
    for form in (soft.gradient, soft.hessian):
        assert form is not None
        np.testing.assert_array_equal(form(x=[1000.0, 1.0, 2.0], t=1.0), np.zeros(3))
