"""Hessians against CasADi, which shares nothing with JAX. It is part of the test extra, so that its absence is an error."""

from __future__ import annotations

from typing import Any

import casadi
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import check_every_verb

X = np.array([0.5, -1.2, 0.8, 2.1])
W = np.arange(1.0, 5.0)


def with_casadi(build: Any) -> Any:
    z = casadi.SX.sym("z", 4)
    return np.array(casadi.Function("h", [z], [casadi.hessian(build(z), z)[0]])(X))


def sums(values: Any) -> Any:
    return casadi.sum1(values)


PAIRS = {
    "logistic loss": (
        lambda z: jnp.sum(jnp.log1p(jnp.exp(-W * z))),
        lambda z: sums(casadi.log1p(casadi.exp(-casadi.DM(W) * z))),
    ),
    "logsumexp": (jax.nn.logsumexp, lambda z: casadi.logsumexp(z)),
    "determinant": (
        lambda z: jnp.linalg.det(z.reshape(2, 2) @ z.reshape(2, 2).T + jnp.eye(2)),
        lambda z: casadi.det(casadi.mtimes(casadi.reshape(z, 2, 2).T, casadi.reshape(z, 2, 2)) + casadi.DM.eye(2)),
    ),
    "inverse": (
        lambda z: jnp.sum(jnp.linalg.inv(z.reshape(2, 2))),
        lambda z: sums(casadi.vec(casadi.inv(casadi.reshape(z, 2, 2).T))),
    ),
    "rational": (
        lambda z: (z[0] * z[1] + z[2]) / (1.0 + z[3] ** 2),
        lambda z: (z[0] * z[1] + z[2]) / (1.0 + z[3] ** 2),
    ),
    "Rosenbrock": (
        lambda z: jnp.sum(100.0 * (z[1:] - z[:-1] ** 2) ** 2 + (1.0 - z[:-1]) ** 2),
        lambda z: sums(100.0 * (z[1:] - z[:-1] ** 2) ** 2 + (1.0 - z[:-1]) ** 2),
    ),
    "norms": (
        lambda z: jnp.sqrt(jnp.sum(z**2)) * jnp.tanh(z[0] * z[3]),
        lambda z: casadi.norm_2(z) * casadi.tanh(z[0] * z[3]),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_against_casadi(name: str) -> None:
    ours, theirs = PAIRS[name]
    check_every_verb(ours, X, hessian=with_casadi(theirs))
