"""Identities by which formulas and products are rewritten: one table, each row tested numerically at random arrays.

A row's sides are formulas in the language of the package. ``u`` stands for a scalar, a vector or a matrix, ``t`` for a
scalar, ``v`` for a vector, ``A`` and ``B`` for square matrices, ``P`` for an orthogonal one and ``Q`` for one
with orthonormal columns, where the row does not say otherwise. The number 7 stands for every whole number. With a minus
``u`` stands for what is written with one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cache

from nablax.formula import Formula, parse_formula

WHOLE = 7
KINDS = {
    "t": "scalar",
    "v": "vector(n)",
    "A": "matrix(n,n)",
    "B": "matrix(n,n)",
    "P": "orthogonal(n)",
    "Q": "orthogonal(n)",
}
SHAPES = ("scalar", "vector(n)", "matrix(m,n)")
WIDE = {"A": "matrix(m,n)"}
FACTORS = {"A": "matrix(m,m)", "B": "matrix(n,n)"}


class Stage(Enum):
    """When a row is used."""

    FUNCTION = "before the trace: functions of functions"
    DEFINITION = "before the trace: functions that JAX guards by branches, or knows as loops or factorisations"
    PRODUCT = "in every product"
    EXPANDED = "in every product, where sums are multiplied out"


@dataclass(frozen=True)
class Identity:
    """Both sides are equal wherever both are defined.

    Args:
        stage: when it is used.
        left: what is replaced.
        right: what stands in its place.
        kinds: kinds of variables that differ from the usual ones.
    """

    stage: Stage
    left: str
    right: str
    kinds: Mapping[str, str] = field(default_factory=dict, hash=False)


@cache
def sides(row: Identity) -> tuple[tuple[Formula, Formula], ...]:
    """Both sides of a row as formulas, for each shape that ``u`` can have."""
    kinds = {**KINDS, **row.kinds}
    names = set(re.findall(r"\b[a-zA-Z]\b", row.left))
    found = []
    for shape in SHAPES if "u" in names - set(kinds) else ("scalar",):
        declared = {name: kind for name, kind in {"u": shape, **kinds}.items() if name in names}
        found.append((parse_formula(row.left, declared), parse_formula(row.right, declared)))
    return tuple(found)


FUNCTION, DEFINITION, PRODUCT, EXPANDED = Stage
BOTH = {"a": "vector(n)", "b": "vector(n)"}
ONE = {"a": "scalar", "b": "scalar"}
IDENTITIES = (
    Identity(FUNCTION, "log(sigmoid(u))", "-softplus(-u)"),
    Identity(FUNCTION, "log(1 - sigmoid(u))", "-softplus(u)"),
    Identity(FUNCTION, "log(softmax(v))", "v - logsumexp(v)"),
    Identity(FUNCTION, "log(abs(det(A)))", "logdet(A)"),
    Identity(FUNCTION, "det(A^7)", "det(A)^7"),
    Identity(FUNCTION, "logdet(A^7)", "7*logdet(A)"),
    Identity(FUNCTION, "det(A*B)", "det(A)*det(B)"),
    Identity(FUNCTION, "logdet(A*B)", "logdet(A) + logdet(B)"),
    Identity(FUNCTION, "sum(log(diag(cholesky(A))))", "logdet(A)/2", {"A": "spd(n)"}),
    Identity(FUNCTION, "sum(eig(A))", "tr(A)", {"A": "symmetric(n)"}),
    Identity(FUNCTION, "prod(eig(A))", "det(A)", {"A": "symmetric(n)"}),
    Identity(FUNCTION, "sum(eig(A).^7)", "tr(A^7)", {"A": "symmetric(n)"}),
    Identity(FUNCTION, "sum(log(eig(A)))", "logdet(A)", {"A": "spd(n)"}),
    Identity(FUNCTION, "det(expm(A))", "exp(tr(A))"),
    Identity(FUNCTION, "logdet(expm(A))", "tr(A)"),
    Identity(FUNCTION, "det(diag(v))", "prod(v)"),
    Identity(FUNCTION, "logdet(diag(v))", "sum(log(abs(v)))"),
    Identity(FUNCTION, "inv(diag(v))", "diag(1 ./ v)"),
    Identity(FUNCTION, "tr(kron(A, B))", "tr(A)*tr(B)", FACTORS),
    Identity(FUNCTION, "norm2(kron(u, A))", "norm2(u)*norm2(A)", WIDE | {"u": "vector(k)"}),
    Identity(FUNCTION, "norm2(kron(A, u))", "norm2(A)*norm2(u)", WIDE | {"u": "vector(k)"}),
    Identity(FUNCTION, "norm2(kron(A, B))", "norm2(A)*norm2(B)", WIDE | {"B": "matrix(k,l)"}),
    Identity(FUNCTION, "norm2(kron(v, u))", "norm2(v)*norm2(u)", {"u": "vector(k)"}),
    Identity(DEFINITION, "softplus(u)", "log(1 + exp(u))"),
    Identity(DEFINITION, "logsumexp(u)", "log(sum(exp(u)))"),
    Identity(DEFINITION, "logsumexp(A, 1)", "log(exp(A)*vector(1, n))", WIDE),
    Identity(DEFINITION, "logsumexp(A, 0)", "log(exp(A)'*vector(1, m))", WIDE),
    Identity(DEFINITION, "softmax(v)", "exp(v)/sum(exp(v))"),
    Identity(DEFINITION, "softmax(A)", "exp(A) .* outer(1 ./ (exp(A)*vector(1, n)), vector(1, n))", WIDE),
    # its derivatives hold for every sign
    Identity(DEFINITION, "prod(v)", "exp(sum(log(v)))"),
    Identity(DEFINITION, "prod(A)", "exp(sum(log(A)))", WIDE),
    Identity(DEFINITION, "diag(v)", "eye(n) .* outer(v, vector(1, n))"),
    Identity(DEFINITION, "diag(A)", "(eye(n) .* A)*vector(1, n)"),
    Identity(DEFINITION, "rowsum(A)", "A*vector(1, n)", WIDE),
    Identity(DEFINITION, "colsum(A)", "A'*vector(1, m)", WIDE),
    Identity(DEFINITION, "adj(A)", "det(A)*inv(A)"),
    Identity(DEFINITION, "pinv(A)", "inv(A'*A)*A'", {"A": "matrix(m,n)"}),
    Identity(PRODUCT, "inv(A)*A", "eye(n)"),
    Identity(PRODUCT, "A*inv(A)", "eye(n)"),
    Identity(PRODUCT, "Q'*Q", "eye(n)"),
    Identity(PRODUCT, "P*P'", "eye(n)"),
    Identity(PRODUCT, "sigmoid(-u)", "1 - sigmoid(u)"),
    Identity(PRODUCT, "1 ./ (1 + exp(u))", "1 - sigmoid(u)"),
    Identity(PRODUCT, "1 ./ (1 + exp(-u))", "sigmoid(u)"),
    Identity(PRODUCT, "exp(u) .* (1 - sigmoid(u))", "sigmoid(u)"),
    Identity(PRODUCT, "sigmoid(u) ./ exp(u)", "1 - sigmoid(u)"),
    Identity(PRODUCT, "exp(v) ./ sum(exp(v))", "softmax(v)"),
    Identity(PRODUCT, "exp(A) .* outer(1 ./ (exp(A)*vector(1, n)), vector(1, n))", "softmax(A)", WIDE),
    *(
        Identity(PRODUCT, "exp(a) ./ (exp(a) + exp(b))", "sigmoid(a - b)", kinds)
        for kinds in (ONE, BOTH, {"a": "matrix(m,n)", "b": "matrix(m,n)"})
    ),
    Identity(PRODUCT, "sum(softmax(v))", "1"),
    Identity(PRODUCT, "softmax(A)*vector(1, n)", "vector(1, m)", WIDE),
    Identity(PRODUCT, "a^(b - 1)*a", "a^b", ONE),
    Identity(PRODUCT, "a^(b + 1)/a", "a^b", ONE),
    Identity(PRODUCT, "a.^(b - 1) .* a", "a.^b", BOTH),
    Identity(PRODUCT, "a.^(b + 1) ./ a", "a.^b", BOTH),
    Identity(PRODUCT, "(1 - u) .* (1 + u)", "1 - u.^2"),
    Identity(PRODUCT, "abs(u) .* sign(u)", "u"),
    Identity(PRODUCT, "sign(u) ./ abs(u)", "1 ./ u"),
    Identity(PRODUCT, "sign(u) .* u", "abs(u)"),
    Identity(PRODUCT, "sinh(u) ./ cosh(u)", "tanh(u)"),
    Identity(PRODUCT, "sin(u) ./ cos(u)", "tan(u)"),
    Identity(PRODUCT, "max(u, 0) .* where(u > 0, 1, 0)", "max(u, 0)"),
    Identity(PRODUCT, "max(0, u) .* where(u > 0, 1, 0)", "max(0, u)"),
    Identity(EXPANDED, "exp(u) .* sigmoid(u)", "exp(u) - sigmoid(u)"),
)
