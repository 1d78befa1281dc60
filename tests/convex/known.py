"""Functions whose curvature is known, with verdicts written by hand from textbooks, not from what nablax says."""

from __future__ import annotations

from dataclasses import dataclass

AFFINE, CONVEX, CONCAVE, LOG_CONVEX, LOG_CONCAVE, NEITHER = (
    "affine", "convex", "concave", "log-convex", "log-concave", "neither",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One function.

    Args:
        formula: as text.
        truth: what it is, on the domain that is named; of several, the strongest of affine, log-convex, convex,
            concave, log-concave.
        wrt: the variable.
        declare: what names are.
        domain: the sentences of the domain behind the first.
        unproved: why nablax does not prove it and says unknown; empty where it does.
    """

    formula: str
    truth: str
    wrt: str = "x"
    declare: str = ""
    domain: tuple[str, ...] = ()
    unproved: str = ""


X = "x: vector(n)"
S = "X: symmetric(n)"
P = "X: spd(n)"

ROWS = (
    # -- affine --
    Row("c'*x + d", AFFINE, declare="x: vector(n), d: scalar"),
    Row("tr(A*X)", AFFINE, "X", "X: matrix(n,n)"),
    Row("a'*X*b", AFFINE, "X", "a: vector(m), b: vector(n), X: matrix(m,n)"),
    Row("sum(eig(X))", AFFINE, "X", S),
    # -- convex --
    Row("x^2", CONVEX, declare="x: scalar"),
    Row("x^4 + 3*x^2 - 2*x", CONVEX, declare="x: scalar"),
    Row("abs(x)", CONVEX, declare="x: scalar"),
    Row("max(0, 1 - x)", CONVEX, declare="x: scalar"),
    Row("norm2(A*x - b)^2", CONVEX),
    Row("norm2(A*x - b)", CONVEX),
    Row("norm1(x)", CONVEX),
    Row("norm(x, inf)", CONVEX),
    Row("norm(A*x - b, 3)", CONVEX),
    Row("1/2*norm2(A*x-b)^2 + lambda*norm1(x)", CONVEX, declare="lambda: positive scalar"),
    Row("1/2*norm2(A*x-b)^2 + lambda*norm2(x)^2", CONVEX, domain=("λ ≥ 0",)),
    Row("x'*P*x + q'*x", CONVEX, declare="P: spd(n)"),
    Row("x'*A'*A*x", CONVEX),
    Row("x'*Q*x", CONVEX, declare="Q: symmetric(n)", domain=("Q is positive semidefinite",)),
    Row("max(A*x + b)", CONVEX),
    Row("logsumexp(A*x + b)", CONVEX),
    Row("log(sum(exp(A*x + b)))", CONVEX),
    Row("sum(log(1 + exp(-y.*(X*w))))", CONVEX, "w"),
    Row("sum(max(0, 1 - y.*(X*w)))", CONVEX, "w"),
    Row("sum(exp(X*w) - y.*(X*w))", CONVEX, "w"),
    Row("sum(x.*log(x))", CONVEX, declare=X, domain=("every entry of x is positive",)),
    Row("sum(x.*log(x./y))", CONVEX, declare="y: positive vector(n)", domain=("every entry of x is positive",)),
    Row("sum((A*x).*log(A*x))", CONVEX, domain=("every entry of Ax is positive",)),
    Row("-sum(log(b - A*x))", CONVEX, domain=("every entry of b − Ax is positive",)),
    Row("sqrt(1 + x^2)", CONVEX, declare="x: scalar"),
    Row("sqrt(1 + x'*x)", CONVEX, declare=X),
    Row("log(cosh(x))", CONVEX, declare="x: scalar"),
    Row("norm2(A*x - b)^2/(c'*x + d)", CONVEX, domain=("cᵀx + d > 0",)),
    Row("max(eig(X))", CONVEX, "X", S),
    Row("norm(X, 2)", CONVEX, "X", "X: matrix(m,n)"),
    Row("norm(A*X - B, nuc)", CONVEX, "X", "X: matrix(n,k), A: matrix(m,n), B: matrix(m,k)"),
    Row("tr(X'*X)", CONVEX, "X", "X: matrix(m,n)"),
    Row("-logdet(X)", CONVEX, "X", S, ("X is positive definite",)),
    Row("tr(S*X) - logdet(X)", CONVEX, "X", P),
    Row("tr(inv(X))", CONVEX, "X", P),
    Row("c'*inv(X)*c", CONVEX, "X", P),
    Row("softplus(x)", CONVEX, declare="x: scalar"),
    Row("-log(sigmoid(x))", CONVEX, declare="x: scalar"),
    Row("x*log(1 + x)", CONVEX, declare="x: positive scalar"),
    Row("(x^2 - 1)^2 + 2*x^2", CONVEX, declare="x: scalar"),
    Row("exp(x)*x^2", CONVEX, declare="x: positive scalar"),
    Row("-log(1 - x^2)", CONVEX, declare="x: scalar", domain=("1 − x² > 0",)),
    Row("x^2 + sin(x)", CONVEX, declare="x: scalar"),
    Row("x^(3/2)", CONVEX, declare="x: scalar", domain=("x ≥ 0",)),
    Row("norm2(x)^3", CONVEX),
    Row("sum(where(abs(r) < 1, r.^2/2, abs(r) - 1/2))", CONVEX, "r", "r: vector(n)"),
    Row("sum(where(abs(A*x-b) <= 2, (A*x-b).^2/2, 2*abs(A*x-b) - 2))", CONVEX),
    Row("where(x > 0, 3*x, -x)", CONVEX, declare="x: scalar"),
    Row("sum(max(9/10*(y-x), -1/10*(y-x)))", CONVEX, declare="x: vector(n), y: vector(n)"),
    Row("max(abs(x) - 1, 0)", CONVEX, declare="x: scalar"),
    Row("x*log(x/(1-x))", CONVEX, declare="x: scalar", domain=("1 − x > 0", "x > 0")),
    Row("b'*inv(A+X)*b", CONVEX, "X", "X: spd(n), A: spd(n)"),
    Row("t*exp(1/t)", CONVEX, "t", "t: scalar", ("t > 0",)),
    Row("t*log(sum(exp(x/t)))", CONVEX, "t", "t: scalar, x: vector(n)", ("t > 0",)),
    Row("(c'*x + 1)*log(sum(exp(A*x/(c'*x + 1))))", CONVEX, domain=("cᵀx + 1 > 0",)),
    Row("x^4 - x^3 + x^2", CONVEX, declare="x: scalar"),
    Row("max(eig(A'*diag(x)*A))", CONVEX, declare="A: matrix(m,n), x: vector(m)"),
    Row("-min(eig(A'*diag(x)*A))", CONVEX, declare="A: matrix(m,n), x: vector(m)"),
    Row("max(eig(A'*X*A))", CONVEX, "X", "X: symmetric(m), A: matrix(m,n)"),
    # -- log-convex --
    Row("exp(x'*x)", LOG_CONVEX, declare=X),
    Row("1/x", LOG_CONVEX, declare="x: scalar", domain=("x > 0",)),
    Row("cosh(x)", LOG_CONVEX, declare="x: scalar"),
    Row("exp(x) + exp(-2*x)", LOG_CONVEX, declare="x: scalar"),
    Row("sum(exp(A*x))", LOG_CONVEX),
    Row("2^x", LOG_CONVEX, declare="x: scalar"),
    # -- concave --
    Row("log(x)", CONCAVE, declare="x: scalar", domain=("x > 0",)),
    Row("sqrt(c'*X*c)", CONCAVE, "X", "X: spd(n), c: vector(n)"),
    Row("sqrt(x)", CONCAVE, declare="x: scalar", domain=("x ≥ 0",)),
    Row("-norm2(x)", CONCAVE),
    Row("-x'*x", CONCAVE, declare=X),
    Row("min(A*x)", CONCAVE),
    Row("sum(log(x))", CONCAVE, declare=X, domain=("every entry of x is positive",)),
    Row("-sum(x.*log(x))", CONCAVE, declare=X, domain=("every entry of x is positive",)),
    Row("logdet(X)", CONCAVE, "X", P),
    Row("log(det(X))", CONCAVE, "X", P),
    Row("log(det(A+x*B))", CONCAVE, declare="A: spd(n), B: symmetric(n)", domain=("A + xB is positive definite",)),
    Row("min(eig(X))", CONCAVE, "X", S),
    Row("-max(x, x^2)", CONCAVE, declare="x: scalar"),
    Row("-x^4", CONCAVE, declare="x: scalar"),
    Row("-tr(inv(X))", CONCAVE, "X", P),
    Row("log(x) - x^2", CONCAVE, declare="x: scalar", domain=("x > 0",)),
    Row("sqrt(c'*x + d)", CONCAVE, declare="x: vector(n), d: scalar", domain=("cᵀx + d ≥ 0",)),
    Row("-norm2(A*x - b)^2", CONCAVE),
    Row("max(x, 0)^2 - x^2", CONCAVE, declare="x: scalar"),
    # -- log-concave, and neither convex nor concave --
    Row("exp(-x^2)", LOG_CONCAVE, declare="x: scalar"),
    Row("exp(-1/2*(x-mu)'*P*(x-mu))", LOG_CONCAVE, declare="x: vector(n), mu: vector(n), P: spd(n)"),
    Row("sigmoid(x)", LOG_CONCAVE, declare="x: scalar"),
    Row("Phi(x)", LOG_CONCAVE, declare="x: scalar"),
    Row("det(X)", LOG_CONCAVE, "X", P),
    Row("prod(x)", LOG_CONCAVE, declare="x: positive vector(n)"),
    Row("1/cosh(x)", LOG_CONCAVE, declare="x: scalar"),
    # -- neither --
    Row("x^3", NEITHER, declare="x: scalar"),
    Row("x^3 - 3*x", NEITHER, declare="x: scalar"),
    Row("x^4 - x^2", NEITHER, declare="x: scalar"),
    Row("sin(x)", NEITHER, declare="x: scalar"),
    Row("sin(x) + x^2/4", NEITHER, declare="x: scalar"),
    Row("x*exp(x)", NEITHER, declare="x: scalar"),
    Row("x*sin(x)", NEITHER, declare="x: scalar"),
    Row("tanh(x)", NEITHER, declare="x: scalar"),
    Row("x/(1 + x^2)", NEITHER, declare="x: scalar"),
    Row("log(1 + x^2)", NEITHER, declare="x: scalar"),
    Row("abs(x^2 - 1)", NEITHER, declare="x: scalar"),
    Row("sqrt(abs(x))", NEITHER, declare="x: scalar"),
    Row("min(x, x^2)", NEITHER, declare="x: scalar"),
    Row("x'*Q*x", NEITHER, declare="Q: matrix(n,n)"),
    Row("(x'*x)^2 - x'*x", NEITHER, declare=X),
    Row("norm2(x) - norm1(x)^2", NEITHER, declare=X),
    Row("log(norm2(x))", NEITHER, declare=X),
    Row("norm2(x)^2/(1 + norm2(x)^2)", NEITHER, declare=X),
    Row("(a'*x)*(b'*x)", NEITHER, declare=X + ", a: vector(n), b: vector(n)"),
    Row("(a'*x)/(b'*x)", NEITHER, declare=X + ", a: vector(n), b: vector(n)"),
    Row("norm2(x - a) - norm2(x - b)", NEITHER, declare="x: vector(n), a: vector(n), b: vector(n)"),
    Row("norm2(X*X' - A)^2", NEITHER, "X", "X: matrix(n,k), A: symmetric(n)"),
    Row("norm2(sigmoid(X*w) - y)^2", NEITHER, "w"),
    Row("logdet(X)", NEITHER, "X", "X: matrix(n,n)"),
    Row("logdet(X'*X)", NEITHER, "X", "X: matrix(m,n)"),
    Row("tr(inv(X))", NEITHER, "X", "X: matrix(n,n)"),
    Row("det(X)", NEITHER, "X", S),
    Row("tr(X*X)", NEITHER, "X", "X: matrix(n,n)"),
    Row("sum(eig(X)) - max(eig(X))*min(eig(X))", NEITHER, "X", S),
    Row("x'*A*x/(x'*x)", NEITHER, declare=X + ", A: symmetric(n)"),
    Row("sum(sin(x))", NEITHER, declare=X),
    Row("erf(x)", NEITHER, declare="x: scalar"),
    Row("exp(sin(x))", NEITHER, declare="x: scalar"),
    Row("max(x, 0)^3 - x^2", NEITHER, declare="x: scalar"),
    Row("exp(-x'*A*x)", NEITHER, declare="A: matrix(n,n), x: vector(n)"),
    Row("abs(x)*x", NEITHER, declare="x: scalar"),
    Row("min(x, 1)^2", NEITHER, declare="x: scalar"),
    Row("where(x > 1, x, x^2)", NEITHER, declare="x: scalar"),
    Row("where(x > 0, 1, 0)", NEITHER, declare="x: scalar"),
    Row("where(x == 0, 1, 0) + x^2", NEITHER, declare="x: scalar"),
    Row("c'*X*c/tr(X)", NEITHER, "X", "X: spd(n), c: vector(n)"),
    Row("x^2/(-1 - x^2)", NEITHER, declare="x: scalar"),
    Row("a'*kron(x, x)", NEITHER, declare="x: vector(n), a: vector(n*n)"),
    # -- beyond the rules: unknown is honest --
    Row(
        "exp(x) + exp(-x)/8 - x^2/4",
        CONVEX,
        declare="x: scalar",
        unproved="a bound of a sum of exponentials is no rule",
    ),
)
