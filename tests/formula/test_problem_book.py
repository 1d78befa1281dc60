"""Every formula of matrixcalculus.org's documentation and of the problem book, against NumPy by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from nablax.formula import parse_formula, sample_point, to_function

Point = dict[str, Any]


class Case(NamedTuple):
    formula: str
    shape: str
    by_hand: Callable[..., Any]
    declare: str | None = None


def norm(value: Any) -> Any:
    return np.sqrt(np.sum(np.asarray(value) ** 2))


def logdet(matrix: Any) -> Any:
    return np.linalg.slogdet(matrix)[1]


SITE = {
    "quadratic form": Case("0.5*x'*A*x", "scalar", lambda x, A: 0.5 * x @ A @ x),
    "matrix times exp": Case("A*exp(x)", "vector (m)", lambda A, x: A @ np.exp(x)),
    "entrywise then inner": Case("(y.*v)'*x", "scalar", lambda y, v, x: (y * v) @ x),
    "scalar power": Case("a^b", "scalar", lambda a, b: a**b),
    "1-norm": Case("norm1(A*x-y)", "scalar", lambda A, x, y: np.abs(A @ x - y).sum()),
    "least squares": Case("norm2(A*x-y)^2", "scalar", lambda A, x, y: norm(A @ x - y) ** 2),
    "logistic": Case(
        "sum(log(exp(-y.*(X*w)) + vector(1)))",
        "scalar",
        lambda y, X, w: np.log(np.exp(-y * (X @ w)) + 1).sum(),
    ),
    "trace of five": Case("tr(A*X'*B*X*C)", "scalar", lambda A, X, B, C: np.trace(A @ X.T @ B @ X @ C)),
    "log det inv": Case("log(det(inv(X)))", "scalar", lambda X: -logdet(X)),
    "front page": Case("x'*A*x + c*sin(y)'*x", "scalar", lambda x, A, c, y: x @ A @ x + c * np.sin(y) @ x),
    "matrix least squares": Case("1/2*norm2(A*X-B)^2", "scalar", lambda A, X, B: 0.5 * norm(A @ X - B) ** 2),
    "log det": Case("log(det(X))", "scalar", logdet),
    "logdet": Case("logdet(X)", "scalar", logdet),
    "rank-one update": Case("inv(A+x*x')", "matrix (n, n)", lambda A, x: np.linalg.inv(A + np.outer(x, x))),
    "hinge": Case(
        "w'*w + c*sum(max(0, vector(1) - y.*(X*w)))",
        "scalar",
        lambda w, c, y, X: w @ w + c * np.maximum(0, 1 - y * (X @ w)).sum(),
    ),
    "nonnegative factors": Case("norm2(T-U*V')^2", "scalar", lambda T, U, V: norm(T - U @ V.T) ** 2),
    "relu layer": Case("relu(A*x)", "vector (m)", lambda A, x: np.maximum(A @ x, 0)),
    "matrix of ones": Case("sum((X-matrix(1)).^2)", "scalar", lambda X: ((X - 1) ** 2).sum()),
    "division entrywise": Case("x./(vector(1)+y)", "vector (n)", lambda x, y: x / (1 + y)),
    "abs, sign, tanh": Case("abs(x)'*sign(x) + sum(tanh(x))", "scalar", lambda x: x.sum() + np.tanh(x).sum()),
    "inverse functions": Case(
        "arcsin(x) + arccos(x) + arctan(x) + tan(x)",
        "vector (n)",
        lambda x: np.pi / 2 + np.arctan(x) + np.tan(x),
    ),
}

BOOK = {
    "01 Ax": Case("A*x", "vector (m)", lambda A, x: A @ x),
    "02 linear": Case("c'*x", "scalar", lambda c, x: c @ x),
    "03 quadratic": Case("1/2*x'*A*x + b'*x + c", "scalar", lambda x, A, b, c: x @ A @ x / 2 + b @ x + c),
    "04 gaussian": Case("-exp(-x'*x)", "scalar", lambda x: -np.exp(-x @ x)),
    "05 least squares": Case("1/2*norm2(A*x-b)^2", "scalar", lambda A, x, b: norm(A @ x - b) ** 2 / 2),
    "06 norm": Case("norm2(x)", "scalar", norm),
    "07 norm of image": Case("norm2(A*x)", "scalar", lambda A, x: norm(A @ x)),
    "08 rational": Case("-1/(1+x'*x)", "scalar", lambda x: -1 / (1 + x @ x)),
    "09 log quadratic": Case("log(x'*A*x)", "scalar", lambda x, A: np.log(x @ A @ x)),
    "10 det": Case("det(X)", "scalar", np.linalg.det),
    "11 log det": Case("log(det(X))", "scalar", logdet),
    "12 log sum exp": Case("log(sum(exp(A*x+b)))", "scalar", lambda A, x, b: np.log(np.exp(A @ x + b).sum())),
    "13 map": Case("A*exp(x)", "vector (m)", lambda A, x: A @ np.exp(x)),
    "14 sum of eigenvalues": Case("sum(eig(X))", "scalar", np.trace),
    "14 product of eigenvalues": Case("prod(eig(X))", "scalar", np.linalg.det),
    "14 trace": Case("tr(X)", "scalar", np.trace),
    "15 Frobenius": Case("norm2(X)^2", "scalar", lambda X: (X**2).sum()),
    "16 softmax, two classes": Case(
        "sum(softplus(X*theta)) - y'*X*theta",
        "scalar",
        lambda X, theta, y: np.log1p(np.exp(X @ theta)).sum() - y @ X @ theta,
        "theta: vector(d)",
    ),
    "16 softmax, K classes": Case(
        "logsumexp(Theta*x) - y'*Theta*x",
        "scalar",
        lambda Theta, x, y: np.log(np.exp(Theta @ x).sum()) - y @ Theta @ x,
        "Theta: matrix(K, d)",
    ),
    "17 trace of product": Case("tr(A*X)", "scalar", lambda A, X: np.trace(A @ X)),
    "18 maximum likelihood": Case("<S,X> - log(det(X))", "scalar", lambda S, X: (S * X).sum() - logdet(X), "X: spd(n)"),
    "19 log of form": Case("ln(<A*x, x>)", "scalar", lambda A, x: np.log(x @ A @ x), "A: spd(n)"),
    "20 logistic": Case("log(1+exp(<a, x>))", "scalar", lambda a, x: np.log(1 + np.exp(a @ x))),
    "21 cube of norm": Case("1/3*norm2(x)^3", "scalar", lambda x: norm(x) ** 3 / 3),
    "22 Frobenius of residual": Case("norm2(A*X-B)", "scalar", lambda A, X, B: norm(A @ X - B)),
    "23 one layer": Case(
        "1/2*norm2(tanh(W*x+b)-y)^2", "scalar", lambda W, x, b, y: norm(np.tanh(W @ x + b) - y) ** 2 / 2
    ),
    "24 power tower": Case("<x,x>^<x,x>", "scalar", lambda x: (x @ x) ** (x @ x)),
    "25 Rayleigh": Case("<A*x,x>/norm2(x)^2", "scalar", lambda A, x: x @ A @ x / (x @ x)),
    "26 rank one": Case("1/2*norm2(A-x*x')^2", "scalar", lambda A, x: norm(A - np.outer(x, x)) ** 2 / 2),
    "27 spectral": Case("norm(x*x', 2)", "scalar", lambda x: np.linalg.norm(np.outer(x, x), 2)),
    "28 regularised logistic": Case(
        "(1/m)*sum(log(1+exp(A*x))) + mu/2*norm2(x)^2",
        "scalar",
        lambda A, x, mu: np.log(1 + np.exp(A @ x)).mean() + mu / 2 * x @ x,
        "A: matrix(m,n)",
    ),
    "29 trace of inverse": Case("tr(X^-1)", "scalar", lambda X: np.trace(np.linalg.inv(X))),
    "30 characteristic": Case("det(A - t*eye)", "scalar", lambda A, t: np.linalg.det(A - t * np.eye(len(A)))),
    "31 long trace": Case(
        "tr(A*X^2*B*inv(X)')",
        "scalar",
        lambda A, X, B: np.trace(A @ X @ X @ B @ np.linalg.inv(X).T),
    ),
    "Taylor of cos": Case("1 - t^2/2 + t^4/24", "scalar", lambda t: 1 - t**2 / 2 + t**4 / 24, "t: scalar"),
    "tanh": Case("tanh(t)", "scalar", np.tanh, "t: scalar"),
    "trace of three": Case("tr(A*X*B)", "scalar", lambda A, X, B: np.trace(A @ X @ B)),
}

FUNCTIONS = {
    "sqrt sigmoid": Case("sqrt(x)'*sigmoid(x)", "scalar", lambda x: np.sqrt(x) @ (1 / (1 + np.exp(-x)))),
    "softmax": Case("softmax(x)", "vector (n)", lambda x: np.exp(x) / np.exp(x).sum()),
    "softmax of rows": Case("softmax(A)", "matrix (m, n)", lambda A: np.exp(A) / np.exp(A).sum(1, keepdims=True)),
    "extremes": Case("max(x) - min(x)", "scalar", lambda x: x.max() - x.min()),
    "extremes entrywise": Case("max(x, y) + min(x, 0)", "vector (n)", lambda x, y: np.maximum(x, y) + np.minimum(x, 0)),
    "norms": Case(
        "norm(x) + norm(x, 1) + norm(x, 3) + norm(x, inf) + norm(x, 1.5)",
        "scalar",
        lambda x: sum(np.linalg.norm(x, p) for p in (2, 1, 3, np.inf, 1.5)),
    ),
    "matrix norms": Case(
        "norm(A) + norm(A, 1) + norm(A, 2) + norm(A, inf) + norm(A, fro)",
        "scalar",
        lambda A: sum(np.linalg.norm(A, p) for p in ("fro", 1, 2, np.inf, "fro")),
    ),
    "spectral of outer": Case("norm(x*y', 2)", "scalar", lambda x, y: norm(x) * norm(y)),
    "kron": Case("kron(A, B)*x", "vector (m*p)", lambda A, B, x: np.kron(A, B) @ x),
    "kron of vectors": Case("kron(x, y)", "vector (m*n)", np.kron),
    "diag both ways": Case("diag(x)*A*diag(B)", "vector (m)", lambda x, A, B: np.diag(x) @ A @ np.diag(B)),
    "hadamard": Case("sum(hadamard(A, B))", "scalar", lambda A, B: (A * B).sum()),
    "outer": Case("outer(x, y)", "matrix (m, n)", np.outer),
    "prod and mean": Case("prod(x)*mean(x)", "scalar", lambda x: x.prod() * x.mean()),
    "row, column, entry": Case(
        "A[0,:]*x + A[:,1]'*y + A[2,-1] + x[3] + A[1]*x",
        "scalar",
        lambda A, x, y: A[0] @ x + A[:, 1] @ y + A[2, -1] + x[3] + A[1] @ x,
    ),
    "piecewise": Case("where(x >= 0, x, 0.1*x)", "vector (n)", lambda x: np.where(x >= 0, x, 0.1 * x)),
    "piecewise scalar": Case("where(a < 1, 2, 3)", "scalar", lambda a: np.where(a < 1, 2.0, 3.0)),
    "eigenvalues": Case("sum(log(eig(S)))", "scalar", logdet, "S: spd(n)"),
    "largest eigenvalue": Case("max(eig(A'*A))", "scalar", lambda A: np.linalg.eigvalsh(A.T @ A).max()),
    "matrix powers": Case(
        "A^3 + A^0 + A^-2", "matrix (n, n)", lambda A: A @ A @ A + np.eye(len(A)) + np.linalg.inv(A @ A)
    ),
    "transposed inverse": Case("X^-1'", "matrix (n, n)", lambda X: np.linalg.inv(X).T),
    "row result": Case("x'*A", "row vector (n)", lambda x, A: x @ A),
    "eye of a size": Case("A*eye(n)", "matrix (m, n)", lambda A: A),
    "pi": Case("exp(-x'*x/2)/sqrt(2*pi)", "scalar", lambda x: np.exp(-x @ x / 2) / np.sqrt(2 * np.pi)),
    "scalar over vector": Case("1/(1+exp(-x))", "vector (n)", lambda x: 1 / (1 + np.exp(-x))),
    "NumPy": Case(
        "np.linalg.norm(A @ x - y)**2 + np.sum(np.exp(x.T @ A.T))",
        "scalar",
        lambda A, x, y: norm(A @ x - y) ** 2 + np.exp(A @ x).sum(),
    ),
    "NumPy, more": Case(
        "np.trace(np.linalg.inv(X)) + np.dot(x, x) + np.power(x, 2) @ x + jax.nn.relu(x) @ np.transpose(X) @ x",
        "scalar",
        lambda X, x: np.trace(np.linalg.inv(X)) + x @ x + (x**2) @ x + np.maximum(x, 0) @ X.T @ x,
    ),
    "stars entrywise": Case("x**2", "vector (n)", lambda x: x**2),
    "other functions": Case(
        "sum(sinh(x) + cosh(x) + expm1(x) + log1p(exp(x)) + square(x))",
        "scalar",
        lambda x: (np.exp(x) + np.expm1(x) + np.log1p(np.exp(x)) + x**2).sum(),
    ),
}
ALL = {
    f"{book}: {name}": case
    for book, cases in (("site", SITE), ("book", BOOK), ("more", FUNCTIONS))
    for name, case in cases.items()
}


@pytest.mark.parametrize("name", ALL)
def test_value_is_that_of_numpy(name: str) -> None:
    case = ALL[name]
    formula = parse_formula(case.formula, case.declare)
    assert str(formula.shape) == case.shape
    for seed in (0, 1):
        point = sample_point(formula, seed)
        value = to_function(formula)(**point)
        expected = case.by_hand(*(point[variable] for variable in formula.variables))
        assert value.dtype == np.float64
        assert value.shape == np.shape(expected)
        np.testing.assert_allclose(value, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ALL)
def test_plain_text_reads_back_as_the_same_formula(name: str) -> None:
    formula = parse_formula(ALL[name].formula, ALL[name].declare)
    again = parse_formula(str(formula), formula.declaration)
    assert str(again) == str(formula)
    assert again.expression.syntax == formula.expression.syntax
    assert again.shape == formula.shape


@pytest.mark.parametrize("name", BOOK)
def test_engine_can_differentiate_what_is_evaluated(name: str) -> None:
    formula = parse_formula(BOOK[name].formula, BOOK[name].declare)
    point = sample_point(formula)
    function = to_function(formula)
    if formula.shape.is_scalar:
        gradients = jax.jit(jax.grad(function, argnums=tuple(range(len(point)))))(*point.values())
        assert all(np.all(np.isfinite(gradient)) for gradient in gradients)


def test_dtype_follows_the_arguments() -> None:
    formula = parse_formula("sum(log(vector(1/3) + exp(A*x + 1)))*eye(2)^2 + 1/n", "A: matrix(m,n)")
    single = to_function(formula)(A=np.ones((3, 2), np.float32), x=np.ones(2, np.float32))
    assert single.dtype == np.float32
    assert to_function(formula)(A=np.ones((3, 2)), x=np.ones(2, np.int64)).dtype == np.float64


def test_square_of_a_norm_is_smooth_at_zero() -> None:
    function = to_function(parse_formula("norm2(x)^2 + norm(x*x', 2)"))
    np.testing.assert_array_equal(jax.hessian(function)(np.zeros(2)), 4 * np.eye(2))
