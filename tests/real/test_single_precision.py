"""Float32 against float64, beside jax.hessian's own error: never more than four times as large.

At one point the error of either is a matter of luck (the log-sum-exp of large numbers: 1 - p of a p that is rounded once
in its seventh digit, up or down by chance, differently in each version of JAX). What is compared is the median of
several points.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nablax as nb

WORSE = 4.0  # times the error of jax.hessian
# An error of so many roundings of the largest entry is no one's fault.
ROUNDINGS = 16.0
N = 8
POINTS = np.random.default_rng(11).normal(size=(9, N))
MATRIX = np.random.default_rng(12).normal(size=(N, N))
LABELS = np.eye(4)[[0, 3]]


def ill_conditioned(condition: float) -> np.ndarray[Any, Any]:
    """A definite matrix with eigenvalues from 1 / condition to 1."""
    basis, _ = np.linalg.qr(MATRIX)
    return basis @ np.diag(np.geomspace(1.0 / condition, 1.0, N)) @ basis.T


def cross_entropy(scale: float) -> Callable[[Any], Any]:
    return lambda x: -jnp.sum(jax.nn.log_softmax(scale * x.reshape(2, 4)) * LABELS.astype(x.dtype))


def log_determinant(condition: float) -> Callable[[Any], Any]:
    matrix = ill_conditioned(condition)
    return lambda x: jnp.linalg.slogdet(matrix.astype(x.dtype) + 0.1 / condition * jnp.diag(x**2))[1]


def by_cholesky(condition: float) -> Callable[[Any], Any]:
    matrix = ill_conditioned(condition)

    def f(x: Any) -> Any:
        root = jnp.linalg.cholesky(matrix.astype(x.dtype) + 0.1 / condition * jnp.diag(x**2))
        return 2.0 * jnp.sum(jnp.log(jnp.diagonal(root)))

    return f


CASES: dict[str, Callable[[Any], Any]] = {
    "softmax": lambda x: jnp.sum(jax.nn.softmax(x) ** 2),
    "saturated softmax": lambda x: jnp.sum(jax.nn.softmax(30.0 * x) ** 2),
    "cross entropy": cross_entropy(1.0),
    "cross entropy of large logits": cross_entropy(20.0),
    "log-sum-exp far from zero": lambda x: jax.nn.logsumexp(x + 1e4),
    "log-sum-exp of large numbers": lambda x: jax.nn.logsumexp(50.0 * x),
    "saturated logistic": lambda x: jnp.sum(jax.nn.sigmoid(12.0 * x) * jnp.sum(x)),
    "log of the logistic far out": lambda x: jnp.sum(jax.nn.log_sigmoid(-15.0 * x)) * 0.1,
    "variance": lambda x: jnp.var(x) ** 2,
    "variance far from zero": lambda x: jnp.var(x + 1e3) ** 2,
    "standard deviation of nearly equal numbers": lambda x: jnp.std(1.0 + 1e-3 * x),
    "layer norm": lambda x: jnp.sum(jnp.tanh((x - jnp.mean(x)) * jax.lax.rsqrt(jnp.var(x) + 1e-6)) ** 3),
    "log determinant, condition 100": log_determinant(1e2),
    "log determinant, condition 10,000": log_determinant(1e4),
    "log determinant by Cholesky, condition 10,000": by_cholesky(1e4),
    "norm": lambda x: jnp.linalg.norm(x),
    "sinc and expm1 near zero": lambda x: jnp.sum(jnp.sinc(1e-3 * x)) + jnp.sum(jnp.expm1(1e-3 * x)) * jnp.sum(x),
    "difference of squares": lambda x: (jnp.sum(x**2) - jnp.sum((x + 1e-2) ** 2)) ** 2,
}


def errors(name: str) -> dict[str, float]:
    """The largest error of each answer in float32, relative to the largest entry; the median of the points."""
    f = CASES[name]
    exactly = jax.jit(jax.hessian(f))
    answers = jax.jit(
        lambda x: {
            "jax": jax.hessian(f)(x),
            "auto": nb.hessian(f)(x),
            "legs-backward": nb.hessian(f, strategy="legs-backward")(x),
            "legs-forward": nb.hessian(f, strategy="legs-forward")(x),
            "diagonal": nb.hessian_diagonal(f)(x),
        }
    )
    listed: dict[str, list[float]] = {}
    for point in POINTS:
        single = point.astype(np.float32)
        exact = np.asarray(exactly(single.astype(np.float64)))
        found = answers(single)
        assert {one.dtype for one in found.values()} == {jnp.dtype("float32")}
        for way, one in found.items():
            wanted = np.diag(exact) if way == "diagonal" else exact
            error = np.abs(np.asarray(one, np.float64) - wanted).max() / np.abs(exact).max()
            listed.setdefault(way, []).append(float(error))
    return {way: float(np.median(each)) for way, each in listed.items()}


QUICK = ("saturated softmax", "cross entropy of large logits", "variance far from zero")


@pytest.mark.parametrize("name", [pytest.param(x, marks=() if x in QUICK else pytest.mark.exhaustive) for x in CASES])
def test_never_much_worse_than_jax(name: str) -> None:
    found = errors(name)
    allowed = max(WORSE * found["jax"], ROUNDINGS * float(np.finfo(np.float32).eps))
    assert max(found.values()) <= allowed, found
