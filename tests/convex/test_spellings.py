"""Losses and norms as they are written in JAX, where the formula is not the one of the textbook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import xlog1py, xlogy

import nablax as nb
from nablax.convex import Verdict
from nablax.convex.facts import Definite
from nablax.convex.quadratics import definite_numbers

RANDOM = np.random.default_rng(3)
X, Y, W = RANDOM.normal(size=(4, 3)), np.eye(4, 2), RANDOM.normal(size=(3, 2))
THREE, LABELS = np.ones(3), np.array([0.0, 1.0, 1.0, 0.0])
PLAIN = np.array([[2.0, 1.0, 0.0], [1.0, 3.0, 1.0], [0.0, 1.0, 2.0]])
SADDLE = np.array([[2.0, 1.0, 0.0], [1.0, -3.0, 1.0], [0.0, 1.0, 2.0]])


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def cross_entropy(w: jax.Array, X: jax.Array, y: jax.Array) -> jax.Array:
    z = X @ w
    return jnp.mean(jnp.maximum(z, 0) - z * y + jnp.log1p(jnp.exp(-jnp.abs(z))))


def huber(x: jax.Array, A: jax.Array, b: jax.Array, d: float) -> jax.Array:
    r = A @ x - b
    return jnp.sum(jnp.where(jnp.abs(r) <= d, r**2 / 2, d * (jnp.abs(r) - d / 2)))


def softmax_cross_entropy(w: jax.Array, X: jax.Array, Y: jax.Array) -> jax.Array:
    return -jnp.sum(Y * jax.nn.log_softmax(X @ w, axis=1))


def partial_likelihood(w: jax.Array, X: jax.Array, d: jax.Array) -> jax.Array:
    return -jnp.sum(d * (X @ w - jnp.log(jnp.cumsum(jnp.exp(X @ w)))))


@pytest.mark.parametrize(
    ("function", "args", "verdict", "domain"),
    [
        (lambda x: x @ PLAIN @ x, (THREE,), Verdict.CONVEX, ()),
        (lambda x: -(x @ PLAIN @ x) / 2 + x @ THREE, (THREE,), Verdict.CONCAVE, ()),
        (lambda x: x @ SADDLE @ x, (THREE,), Verdict.NEITHER, ()),
        (lambda x: jnp.linalg.norm(x, 3), (THREE,), Verdict.CONVEX, ()),
        (lambda x, A: jnp.linalg.norm(A @ x, 3), (THREE, X), Verdict.CONVEX, ()),
        (lambda A: jnp.linalg.norm(A, "nuc"), (X,), Verdict.CONVEX, ()),
        (lambda A: jnp.linalg.norm(A, 2), (X,), Verdict.CONVEX, ()),
        (lambda x: x[0] ** 2 + x[0] * x[1] + x[1] ** 2, (THREE,), Verdict.CONVEX, ()),
        (lambda x: jnp.var(x), (THREE,), Verdict.CONVEX, ()),
        (huber, (THREE, X, LABELS, 0.7), Verdict.CONVEX, ("d > 0",)),
        (cross_entropy, (THREE, X, LABELS), Verdict.CONVEX, ()),
        (softmax_cross_entropy, (W, X, Y), Verdict.CONVEX, ("every entry of Y is nonnegative",)),
        (partial_likelihood, (THREE, X, LABELS), Verdict.CONVEX, ("every entry of d is nonnegative",)),
        (lambda x: jnp.sum(xlogy(x, x)), (THREE,), Verdict.CONVEX, ("every entry of x is positive",)),
        (lambda x: jnp.sum(xlog1py(2.0, x)), (THREE,), Verdict.CONCAVE, ("every entry of 1 + x is positive",)),
    ],
)
def test_spellings(
    function: Callable[..., Any], args: tuple[Any, ...], verdict: Verdict, domain: tuple[str, ...]
) -> None:
    found = nb.convexity(function, 0, args=args)
    assert (found.verdict, found.domain[1:]) == (verdict, domain)


@pytest.mark.parametrize("seed", range(20))
def test_pivots_and_eigenvalues_agree(seed: int) -> None:
    random = np.random.default_rng(seed)
    root = random.integers(-3, 4, (4, 1 + seed % 5))
    matrix = root @ root.T - (seed % 3 == 0) * np.diag(random.integers(0, 2, 4))
    least = np.linalg.eigvalsh(matrix)[0]
    word = Definite.UNKNOWN if least < -1e-9 else Definite.POSITIVE if least > 1e-9 else Definite.SEMIDEFINITE
    assert definite_numbers([[Fraction(int(one)) for one in row] for row in matrix]) is word
