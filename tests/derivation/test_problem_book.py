"""The problem book of closed forms: what is printed, and its value against NumPy by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from nablax.derivation import derive
from nablax.formula import parse_formula, sample_point


@dataclass(frozen=True)
class Problem:
    """A formula with the answers: printed, and as NumPy by hand."""

    name: str
    formula: str
    wrt: str
    gradient: str
    hessian: str
    declare: str | None = None
    by_hand: Callable[..., Any] | None = None
    hessian_by_hand: Callable[..., Any] | None = None


def norm(value: Any) -> Any:
    return np.sqrt(np.sum(value**2))


def sigmoid(u: Any) -> Any:
    return 1 / (1 + np.exp(-u))


def softmax(u: Any) -> Any:
    return np.exp(u) / np.exp(u).sum()


def spread(p: Any) -> Any:
    return np.diag(p) - np.outer(p, p)


def layer(z: Any, y: Any) -> Any:
    return (np.tanh(z) - y) * (1 - np.tanh(z) ** 2)


def power_of_itself(s: Any, x: Any) -> Any:
    inner = (1 + np.log(s)) * np.eye(len(x)) + 2 * ((1 + np.log(s)) ** 2 + 1 / s) * np.outer(x, x)
    return 2 * s**s * inner


def rayleigh(A: Any, x: Any, s: Any, q: Any) -> Any:
    cross = A @ np.outer(x, x) + np.outer(x, x) @ A
    return 2 * A / s - 4 * cross / s**2 - 2 * q * np.eye(len(x)) / s**2 + 8 * q * np.outer(x, x) / s**3


def shifted(A: Any, t: Any) -> tuple[Any, Any]:
    M = A - t * np.eye(len(A))
    inverse = np.linalg.inv(M)
    first = -np.linalg.det(M) * np.trace(inverse)
    return first, np.linalg.det(M) * (np.trace(inverse) ** 2 - np.trace(inverse @ inverse))


def long_trace(A: Any, X: Any, B: Any, inverse: Any) -> Any:
    rest = B @ inverse.T @ A  # tr(A X X B X^-T): the two factors X, then the inverse
    return rest.T @ X.T + X.T @ rest.T - inverse.T @ A @ X @ X @ B @ inverse.T


BOOK = (
    Problem(
        "1 linear map, by the vector",
        "A*x",
        "x",
        "A",
        "0",
        by_hand=lambda A, x: A,
    ),
    Problem(
        "1 linear map, by the matrix",
        "A*x",
        "A",
        "dA ↦ dA x",
        "0",
        by_hand=lambda A, x: np.einsum("ij,k->ijk", np.eye(len(A)), x),
    ),
    Problem(
        "2 linear form",
        "c'*x",
        "x",
        "c",
        "0",
        by_hand=lambda c, x: c,
    ),
    Problem(
        "3 quadratic function",
        "1/2*x'*A*x + b'*x + c",
        "x",
        "½(A + Aᵀ)x + b",
        "½(A + Aᵀ)",
        by_hand=lambda x, A, b, c: (A + A.T) @ x / 2 + b,
        hessian_by_hand=lambda x, A, b, c: (A + A.T) / 2,
    ),
    Problem(
        "3 quadratic function, symmetric",
        "1/2*x'*A*x + b'*x + c",
        "x",
        "Ax + b",
        "A",
        declare="A: symmetric(n)",
        by_hand=lambda x, A, b, c: A @ x + b,
        hessian_by_hand=lambda x, A, b, c: A,
    ),
    Problem(
        "4 Gaussian",
        "-exp(-x'*x)",
        "x",
        "2 exp(−xᵀx) x",
        "2 exp(−xᵀx) (I − 2xxᵀ)",
        by_hand=lambda x: 2 * np.exp(-x @ x) * x,
        hessian_by_hand=lambda x: 2 * np.exp(-x @ x) * (np.eye(len(x)) - 2 * np.outer(x, x)),
    ),
    Problem(
        "5 least squares",
        "1/2*norm2(A*x-b)^2",
        "x",
        "Aᵀ(Ax − b)",
        "AᵀA",
        by_hand=lambda A, x, b: A.T @ (A @ x - b),
        hessian_by_hand=lambda A, x, b: A.T @ A,
    ),
    Problem(
        "6 norm",
        "norm2(x)",
        "x",
        "x/‖x‖",
        "I/‖x‖ − xxᵀ/‖x‖³",
        by_hand=lambda x: x / norm(x),
    ),
    Problem(
        "7 norm of an image",
        "norm2(A*x)",
        "x",
        "AᵀAx/‖Ax‖",
        "Aᵀ(A − AxxᵀAᵀA/‖Ax‖²)/‖Ax‖",
        by_hand=lambda A, x: A.T @ A @ x / norm(A @ x),
    ),
    Problem(
        "8 rational",
        "-1/(1+x'*x)",
        "x",
        "2x/(1 + xᵀx)²",
        "2(I − 4xxᵀ/(1 + xᵀx))/(1 + xᵀx)²",
        by_hand=lambda x: 2 * x / (1 + x @ x) ** 2,
        hessian_by_hand=lambda x: 2 * np.eye(len(x)) / (1 + x @ x) ** 2 - 8 * np.outer(x, x) / (1 + x @ x) ** 3,
    ),
    Problem(
        "9 log of a form",
        "log(x'*A*x)",
        "x",
        "(A + Aᵀ)x/(xᵀAx)",
        "(A + Aᵀ − (A + Aᵀ)xxᵀ(A + Aᵀ)/(xᵀAx))/(xᵀAx)",
        by_hand=lambda x, A: (A + A.T) @ x / (x @ A @ x),
    ),
    Problem(
        "10 determinant",
        "det(X)",
        "X",
        "det(X) X⁻ᵀ",
        "dX ↦ det(X) (tr(X⁻¹ dX) X⁻ᵀ − X⁻ᵀ dXᵀ X⁻ᵀ)",
        by_hand=lambda X: np.linalg.det(X) * np.linalg.inv(X).T,
    ),
    Problem(
        "11 log determinant",
        "log(det(X))",
        "X",
        "X⁻ᵀ",
        "dX ↦ −X⁻ᵀ dXᵀ X⁻ᵀ",
        by_hand=lambda X: np.linalg.inv(X).T,
        hessian_by_hand=lambda X: -np.einsum("jk,li->ijkl", np.linalg.inv(X), np.linalg.inv(X)),
    ),
    Problem(
        "12 log sum exp",
        "log(sum(exp(A*x+b)))",
        "x",
        "Aᵀp  where  p = softmax(Ax + b)",
        "Aᵀ(diag(p) − ppᵀ)A  where  p = softmax(Ax + b)",
        by_hand=lambda A, x, b: A.T @ softmax(A @ x + b),
        hessian_by_hand=lambda A, x, b: A.T @ spread(softmax(A @ x + b)) @ A,
    ),
    Problem(
        "13 vector of a vector",
        "A*exp(x)",
        "x",
        "A diag(exp(x))",
        "dx ↦ A diag(exp(x) ⊙ dx)",
        by_hand=lambda A, x: A * np.exp(x),
    ),
    Problem(
        "14 sum of eigenvalues",
        "sum(eig(X))",
        "X",
        "I",
        "0",
        by_hand=lambda X: np.eye(len(X)),
    ),
    Problem(
        "14 product of eigenvalues",
        "prod(eig(X))",
        "X",
        "det(X) X⁻ᵀ",
        "dX ↦ det(X) (tr(X⁻¹ dX) X⁻ᵀ − X⁻ᵀ dXᵀ X⁻ᵀ)",
        by_hand=lambda X: np.linalg.det(X) * np.linalg.inv(X).T,
    ),
    Problem(
        "14 trace",
        "tr(X)",
        "X",
        "I",
        "0",
        by_hand=lambda X: np.eye(len(X)),
    ),
    Problem(
        "15 squared Frobenius norm",
        "norm2(X)^2",
        "X",
        "2X",
        "dX ↦ 2 dX",
        by_hand=lambda X: 2 * X,
    ),
    Problem(
        "16 softmax regression, two classes",
        "sum(softplus(X*theta)) - y'*X*theta",
        "theta",
        "Xᵀ(p − y)  where  p = σ(Xθ)",
        "Xᵀ diag(p ⊙ (1 − p)) X  where  p = σ(Xθ)",
        declare="theta: vector(d)",
        by_hand=lambda X, theta, y: X.T @ (sigmoid(X @ theta) - y),
        hessian_by_hand=lambda X, theta, y: X.T @ np.diag(sigmoid(X @ theta) * sigmoid(-X @ theta)) @ X,
    ),
    Problem(
        "16 softmax regression, K classes",
        "logsumexp(Theta*x) - y'*Theta*x",
        "Theta",
        "(p − y)xᵀ  where  p = softmax(Θx)",
        "dΘ ↦ (p ⊙ (dΘ x − pᵀ dΘ x))xᵀ  where  p = softmax(Θx)",
        declare="Theta: matrix(K, d)",
        by_hand=lambda Theta, x, y: np.outer(softmax(Theta @ x) - y, x),
        hessian_by_hand=lambda Theta, x, y: np.einsum("ik,j,l->ijkl", spread(softmax(Theta @ x)), x, x),
    ),
    Problem(
        "17 trace of a product",
        "tr(A*X)",
        "X",
        "Aᵀ",
        "0",
        by_hand=lambda A, X: A.T,
    ),
    Problem(
        "18 maximum likelihood",
        "<S,X> - log(det(X))",
        "X",
        "S − X⁻¹",
        "dX ↦ X⁻¹ dX X⁻¹",
        declare="X: spd(n), S: symmetric(n)",
        by_hand=lambda S, X: S - np.linalg.inv(X),
    ),
    Problem(
        "18 maximum likelihood, any matrix",
        "<S,X> - log(det(X))",
        "X",
        "S − X⁻ᵀ",
        "dX ↦ X⁻ᵀ dXᵀ X⁻ᵀ",
        by_hand=lambda S, X: S - np.linalg.inv(X).T,
    ),
    Problem(
        "19 log of a positive form",
        "ln(<A*x, x>)",
        "x",
        "2Ax/(xᵀAx)",
        "2(A − 2AxxᵀA/(xᵀAx))/(xᵀAx)",
        declare="A: spd(n)",
        by_hand=lambda A, x: 2 * A @ x / (x @ A @ x),
    ),
    Problem(
        "20 logistic",
        "log(1+exp(<a, x>))",
        "x",
        "σ(aᵀx) a",
        "σ(aᵀx) (1 − σ(aᵀx))aaᵀ",
        by_hand=lambda a, x: sigmoid(a @ x) * a,
        hessian_by_hand=lambda a, x: sigmoid(a @ x) * sigmoid(-a @ x) * np.outer(a, a),
    ),
    Problem(
        "21 cube of the norm",
        "1/3*norm2(x)^3",
        "x",
        "‖x‖ x",
        "‖x‖ I + xxᵀ/‖x‖",
        by_hand=lambda x: norm(x) * x,
        hessian_by_hand=lambda x: norm(x) * np.eye(len(x)) + np.outer(x, x) / norm(x),
    ),
    Problem(
        "22 Frobenius norm of a residual",
        "norm2(A*X-B)",
        "X",
        "Aᵀ(AX − B)/‖AX − B‖_F",
        "dX ↦ Aᵀ(A dX − tr((XᵀAᵀ − Bᵀ)A dX) (AX − B)/‖AX − B‖_F²)/‖AX − B‖_F",
        by_hand=lambda A, X, B: A.T @ (A @ X - B) / norm(A @ X - B),
    ),
    Problem(
        "23 one layer, by the weights",
        "1/2*norm2(tanh(W*x+b)-y)^2",
        "W",
        "((1 − h^⊙2) ⊙ (h − y))xᵀ  where  h = tanh(Wx + b)",
        "dW ↦ −((1 − h^⊙2) ⊙ (2(h ⊙ (h − y)) + h^⊙2 − 1) ⊙ dW x)xᵀ  where  h = tanh(Wx + b)",
        by_hand=lambda W, x, b, y: np.outer(layer(W @ x + b, y), x),
    ),
    Problem(
        "23 one layer, by the bias",
        "1/2*norm2(tanh(W*x+b)-y)^2",
        "b",
        "(1 − h^⊙2) ⊙ (h − y)  where  h = tanh(Wx + b)",
        "diag((1 − h^⊙2) ⊙ (1 − 2((h − y) ⊙ h) − h^⊙2))  where  h = tanh(Wx + b)",
        by_hand=lambda W, x, b, y: layer(W @ x + b, y),
    ),
    Problem(
        "24 power of itself",
        "<x,x>^<x,x>",
        "x",
        "2(1 + log(s))sˢx  where  s = xᵀx",
        "2sˢ((1 + log(s))I + 2(1 + 1/s + log(s) (2 + log(s)))xxᵀ)  where  s = xᵀx",
        by_hand=lambda x: 2 * (x @ x) ** (x @ x) * (1 + np.log(x @ x)) * x,
        hessian_by_hand=lambda x: power_of_itself(x @ x, x),
    ),
    Problem(
        "25 Rayleigh quotient",
        "<A*x,x>/norm2(x)^2",
        "x",
        "2(Ax − (xᵀAx)x/‖x‖²)/‖x‖²",
        "2(A + ((xᵀAx)(4xxᵀ/‖x‖² − I) − 2(Axxᵀ + xxᵀA))/‖x‖²)/‖x‖²",
        declare="A: symmetric(n)",
        by_hand=lambda A, x: 2 * (A @ x - (x @ A @ x) / (x @ x) * x) / (x @ x),
        hessian_by_hand=lambda A, x: rayleigh(A, x, x @ x, x @ A @ x),
    ),
    Problem(
        "26 rank-one approximation",
        "1/2*norm2(A-x*x')^2",
        "x",
        "(2xxᵀ − A − Aᵀ)x",
        "2‖x‖² I + 4xxᵀ − A − Aᵀ",
        by_hand=lambda A, x: -(A + A.T) @ x + 2 * (x @ x) * x,
        hessian_by_hand=lambda A, x: -(A + A.T) + 2 * (x @ x) * np.eye(len(x)) + 4 * np.outer(x, x),
    ),
    Problem(
        "27 spectral norm of an outer product",
        "norm(x*x', 2)",
        "x",
        "2x",
        "2I",
        by_hand=lambda x: 2 * x,
        hessian_by_hand=lambda x: 2 * np.eye(len(x)),
    ),
    Problem(
        "28 regularised logistic regression",
        "(1/m)*sum(log(1+exp(A*x))) + mu/2*norm2(x)^2",
        "x",
        "(1/m)Aᵀp + μx  where  p = σ(Ax)",
        "μI + (1/m)Aᵀ diag(p ⊙ (1 − p)) A  where  p = σ(Ax)",
        declare="A: matrix(m,n)",
        by_hand=lambda A, x, mu: A.T @ sigmoid(A @ x) / len(A) + mu * x,
        hessian_by_hand=lambda A, x, mu: (
            A.T @ np.diag(sigmoid(A @ x) * sigmoid(-A @ x)) @ A / len(A) + mu * np.eye(len(x))
        ),
    ),
    Problem(
        "29 trace of the inverse",
        "tr(X^-1)",
        "X",
        "−X⁻ᵀX⁻ᵀ",
        "dX ↦ X⁻ᵀ(X⁻ᵀ dXᵀ + dXᵀ X⁻ᵀ)X⁻ᵀ",
        by_hand=lambda X: -(np.linalg.inv(X) @ np.linalg.inv(X)).T,
    ),
    Problem(
        "29 log determinant",
        "logdet(X)",
        "X",
        "X⁻ᵀ",
        "dX ↦ −X⁻ᵀ dXᵀ X⁻ᵀ",
        by_hand=lambda X: np.linalg.inv(X).T,
    ),
    Problem(
        "30 characteristic polynomial",
        "det(A - t*eye)",
        "t",
        "−det(A − tI) tr((A − tI)⁻¹)",
        "det(A − tI) (tr((A − tI)⁻¹)² − tr((A − tI)⁻²))",
        by_hand=lambda A, t: shifted(A, t)[0],
        hessian_by_hand=lambda A, t: shifted(A, t)[1],
    ),
    Problem(
        "31 long trace",
        "tr(A*X^2*B*inv(X)')",
        "X",
        "AᵀX⁻¹BᵀXᵀ + XᵀAᵀX⁻¹Bᵀ − X⁻ᵀAX²BX⁻ᵀ",
        "dX ↦ (dXᵀ Aᵀ − XᵀAᵀX⁻¹ dX)X⁻¹Bᵀ + AᵀX⁻¹(Bᵀ dXᵀ − dX X⁻¹BᵀXᵀ)"
        " + X⁻ᵀ(dXᵀ X⁻ᵀAX²B + A(X(XBX⁻ᵀ dXᵀ − dX B) − dX XB))X⁻ᵀ",
        by_hand=lambda A, X, B: long_trace(A, X, B, np.linalg.inv(X)),
    ),
    Problem(
        "comparison: Taylor series of cos",
        "1 - t^2/2 + t^4/24",
        "t",
        "⅙t³ − t",
        "½t² − 1",
        declare="t: scalar",
        by_hand=lambda t: -t + t**3 / 6,
        hessian_by_hand=lambda t: -1 + t**2 / 2,
    ),
    Problem(
        "comparison: tanh",
        "tanh(t)",
        "t",
        "1 − tanh²(t)",
        "2(tanh³(t) − tanh(t))",
        declare="t: scalar",
        by_hand=lambda t: 1 - np.tanh(t) ** 2,
        hessian_by_hand=lambda t: -2 * np.tanh(t) * (1 - np.tanh(t) ** 2),
    ),
    Problem(
        "comparison: trace of three",
        "tr(A*X*B)",
        "X",
        "AᵀBᵀ",
        "0",
        by_hand=lambda A, X, B: (B @ A).T,
    ),
    Problem(
        "comparison: backward pass of wx + b",
        "w*x + b",
        "b",
        "1",
        "0",
        declare="w: scalar, x: scalar, b: scalar",
        by_hand=lambda w, x, b: np.array(1.0),
    ),
)
ALL = {problem.name: problem for problem in BOOK}
# JAX 0.12 writes the slope of tanh as one operation; the factors of one product then come in another order.
OTHER_ORDER = {
    "23 one layer, by the bias": "diag((1 − h^⊙2) ⊙ (1 − 2(h ⊙ (h − y)) − h^⊙2))  where  h = tanh(Wx + b)",
}


@pytest.mark.parametrize("name", ALL)
def test_printed_answer(name: str) -> None:
    problem = ALL[name]
    found = derive(problem.formula, problem.wrt, declare=problem.declare, seconds=60)
    assert found.gradient.unicode() == problem.gradient
    assert found.hessian is not None
    assert found.hessian.unicode() in (problem.hessian, OTHER_ORDER.get(name, problem.hessian))
    assert found.verification.passed


@pytest.mark.parametrize("name", ALL)
def test_value_is_that_of_numpy_by_hand(name: str) -> None:
    problem = ALL[name]
    found = derive(problem.formula, problem.wrt, declare=problem.declare, seconds=60)
    formula = parse_formula(problem.formula, problem.declare)
    for seed in (5, 6):
        point = sample_point(formula, seed)
        arguments = [point[variable] for variable in formula.variables]
        assert problem.by_hand is not None
        np.testing.assert_allclose(found.gradient.evaluate(**point), problem.by_hand(*arguments), rtol=1e-9, atol=1e-9)
        if problem.hessian_by_hand is not None:
            assert found.hessian is not None
            expected = problem.hessian_by_hand(*arguments)
            np.testing.assert_allclose(found.hessian.evaluate(**point), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_generated_jax_agrees_with_generated_numpy(name: str) -> None:
    problem = ALL[name]
    found = derive(problem.formula, problem.wrt, declare=problem.declare, seconds=60)
    formula = parse_formula(problem.formula, problem.declare)
    point = sample_point(formula, 7)
    values = {}
    for library in ("numpy", "jax"):
        space: dict[str, Any] = {}
        exec(found.gradient.code(library), space)
        parameters = dict(point)
        if "↦" in problem.gradient:
            parameters[f"d{problem.wrt}"] = np.ones_like(point[problem.wrt])
        values[library] = np.asarray(space["gradient"](**parameters))
    np.testing.assert_allclose(values["jax"], values["numpy"], rtol=1e-9, atol=1e-9)


def test_fourth_derivative_of_tanh() -> None:
    found = derive("tanh(t)", "t", declare="t: scalar", order=4)
    assert [form.unicode() for form in found.higher] == [
        "8 tanh²(t) − 2 − 6 tanh⁴(t)",
        "16 tanh(t) + 24 tanh⁵(t) − 40 tanh³(t)",
    ]


def test_hessian_is_the_jacobian_of_the_gradient() -> None:
    gradient = derive("A'*(A*x - b)", "x", declare="b: vector(m), A: matrix(m, n)")
    assert gradient.gradient.unicode() == "AᵀA"
    assert gradient.shapes["∇f"] == ("n", "n")


def test_every_derivation_takes_less_than_a_second_once_warm() -> None:
    derive("log(det(X)) + norm2(A*x)", "x")
    slow = {}
    for problem in BOOK[:12]:
        start = time.perf_counter()
        derive(problem.formula, problem.wrt, declare=problem.declare)
        slow[problem.name] = time.perf_counter() - start
    assert sorted(slow.values())[len(slow) // 2] < 1.0
