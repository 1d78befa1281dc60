"""What each operation does to arrays, for JAX (to be traced) and for NumPy (to be checked against)."""

from __future__ import annotations

import functools
import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.formula.typed import Operation

with warnings.catch_warnings():  # SciPy sets filters on import
    import scipy.linalg
    import scipy.special

Function = Callable[..., Any]


@dataclass(frozen=True)
class Values:
    """One library of arrays.

    Args:
        name: its name.
        np: the module.
        calls: functions of the language by name; of any number of arrays.
    """

    name: str
    np: Any
    calls: dict[str, Function]


COMPARE: dict[str, Function] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
INFIX: dict[Operation, Function] = {
    Operation.ADD: operator.add,
    Operation.SUBTRACT: operator.sub,
    Operation.MULTIPLY: operator.mul,
    Operation.DIVIDE: operator.truediv,
    Operation.PRODUCT: operator.matmul,
    Operation.OUTER: lambda left, right: left[:, None] * right[None, :],
}
SIGNS = np.array([[[(i - j) * (j - k) * (k - i) / 2 for k in range(3)] for j in range(3)] for i in range(3)])
SAME = (
    "sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "exp", "expm1", "log", "log1p", "sqrt",
    "square", "abs", "sign", "sum", "prod", "mean", "diag", "tril", "triu", "cross",
)  # fmt: skip


def _shared(np: Any) -> dict[str, Function]:
    """What both libraries have under the same names, and what follows from that."""
    calls = {name: getattr(np, name) for name in SAME}
    return calls | {
        "max": lambda *values: np.max(values[0]) if len(values) == 1 else np.maximum(*values),
        "min": lambda *values: np.min(values[0]) if len(values) == 1 else np.minimum(*values),
        "norm1": lambda value: np.sum(np.abs(value)),
        "norm2": lambda value: np.sqrt(np.sum(value * value)),
        "tr": np.trace,
        "det": np.linalg.det,
        "logdet": lambda matrix: np.linalg.slogdet(matrix)[1],
        "inv": np.linalg.inv,
        "eig": np.linalg.eigvalsh,
        "eigenvectors": lambda matrix: np.linalg.eigh(matrix)[1],
        "eigenvector": lambda matrix: np.linalg.eigh(matrix)[1][:, -1],
        "first_eigenvector": lambda matrix: np.linalg.eigh(matrix)[1][:, 0],
        "left_vector": lambda matrix: np.linalg.svd(matrix, full_matrices=False)[0][:, 0],
        "right_vector": lambda matrix: np.linalg.svd(matrix, full_matrices=False)[2][0],
        "cholesky": np.linalg.cholesky,
        "inner": lambda left, right: np.sum(left * right),
        "kron": lambda left, right: np.kron(*_columns(left, right)),
        "rowsum": lambda matrix: np.sum(matrix, axis=1),
        "colsum": lambda matrix: np.sum(matrix, axis=0),
        "adj": lambda matrix: np.linalg.det(matrix) * np.linalg.inv(matrix),
        "vec": lambda matrix: matrix.T.reshape(-1),
        "pinv": lambda matrix: (
            functools.reduce(operator.matmul, (np.linalg.inv(matrix.T @ matrix), matrix.T))
            if matrix.shape[0] >= matrix.shape[1]
            else functools.reduce(operator.matmul, (matrix.T, np.linalg.inv(matrix @ matrix.T)))
        ),
        "skew": lambda x: np.tensordot(SIGNS.astype(x.dtype), x, ((1,), (0,))),
    }


def _columns(left: Any, right: Any) -> tuple[Any, Any]:
    """Two arrays of equally many axes; a vector beside a matrix is one column."""
    if left.ndim == right.ndim:
        return left, right
    return (left[:, None], right) if left.ndim < right.ndim else (left, right[:, None])


# So often may the exponential of a matrix be halved; JAX gives nan beyond.
MOST_HALVINGS = 64


JAX = Values(
    "jax",
    jnp,
    _shared(jnp)
    | {
        "relu": jax.nn.relu,
        "sigmoid": jax.nn.sigmoid,
        "softplus": jax.nn.softplus,
        "softmax": jax.nn.softmax,
        "logsumexp": jax.nn.logsumexp,
        "erf": jax.scipy.special.erf,
        "lgamma": jax.scipy.special.gammaln,
        "digamma": jax.scipy.special.digamma,
        "trigamma": lambda x: jax.scipy.special.polygamma(1, x),
        "polygamma": jax.scipy.special.polygamma,
        "Phi": lambda x: (1 + jax.scipy.special.erf(x / np.sqrt(2.0))) / 2,
        "expm": functools.partial(jax.scipy.linalg.expm, max_squarings=MOST_HALVINGS),
    },
)
NUMPY = Values(
    "numpy",
    np,
    _shared(np)
    | {
        "relu": lambda x: np.maximum(x, 0),
        "sigmoid": scipy.special.expit,
        "softplus": lambda x: np.logaddexp(0, x),
        "softmax": lambda x: scipy.special.softmax(x, axis=-1),
        "logsumexp": scipy.special.logsumexp,
        "erf": scipy.special.erf,
        "lgamma": scipy.special.gammaln,
        "digamma": scipy.special.digamma,
        "trigamma": lambda x: scipy.special.polygamma(1, x),
        "polygamma": scipy.special.polygamma,
        "pinv": lambda matrix: np.linalg.pinv(matrix, rcond=1e-12),  # of any rank
        "Phi": scipy.special.ndtr,
        "expm": scipy.linalg.expm,
    },
)
