"""Weight perturbation: without bias, with honest errors, on a black box; and the least-squares Ĥ."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

import nablax as nb
from nablax import neural

N = 4
GENERATOR = np.random.default_rng(8)
A = GENERATOR.normal(size=(N, N))
H = A + A.T + 8 * np.outer(A[0], A[0])  # indefinite, and steep along one direction
G, W, V = GENERATOR.normal(size=(3, N))
V = V + 2 * A[0]


def quadratic(w: Any) -> Any:
    return G @ (w - W) + 0.5 * (w - W) @ H @ (w - W)


def seeds(estimate: Any, count: int = 200) -> Any:
    return jax.vmap(estimate)(jax.random.split(jax.random.key(0), count))


def test_least_squares_hessian_is_the_optimum() -> None:
    """Of all symmetric matrices with Ĥ v = z, the smallest, found numerically."""
    z = H @ V
    found = np.asarray(neural.least_squares_hessian(z, V))
    np.testing.assert_allclose(found, found.T)
    np.testing.assert_allclose(found @ V, z, rtol=1e-12)
    places = np.triu_indices(N)

    def matrix(x: Any) -> Any:
        M = np.zeros((N, N))
        M[places] = x
        return M + np.triu(M, 1).T

    # smallest norm under linear constraints: with weights √2 off the diagonal, a least-norm problem
    scale = np.where(places[0] == places[1], 1.0, 2**0.5)
    constraints = np.stack([matrix(unit / scale) @ V for unit in np.eye(len(scale))], axis=1)
    optimum = matrix(np.linalg.lstsq(constraints, z)[0] / scale)
    np.testing.assert_allclose(found, optimum, atol=1e-10)


KNOWN = {"plain": (None, None), "z estimated": (V, None), "z known": (V, H @ V)}


@pytest.mark.parametrize("name", KNOWN)
def test_without_bias_and_with_honest_errors(name: str) -> None:
    """Means of 200 seeds within 4.5 standard errors of the truth (Bonferroni over a dozen numbers: 1e-4); the count of
    intervals that cover is binomial.
    """
    v, z = KNOWN[name]
    E = jax.vmap(quadratic)
    if v is None:
        estimate = lambda key: neural.weight_perturbation(E, W, key, samples=400, scale=0.3, batched=True)
    else:
        estimate = lambda key: neural.weight_perturbation_along(E, W, v, key, z=z, samples=400, scale=0.3, batched=True)
    found = seeds(estimate)
    pairs = [(found.gradient, found.standard_error, G)]
    if name == "z estimated":
        pairs.append((found.z, found.z_standard_error, H @ V))
    low, high = scipy.stats.binom.ppf([0.5e-4, 1 - 0.5e-4], 200, 0.95)
    for value, error, truth in pairs:
        mean_error = np.std(value, axis=0) / 200**0.5
        assert (np.abs(np.mean(value, axis=0) - truth) < 4.5 * mean_error).all()
        # 400 samples, six unknowns: intervals by White's errors are a few in a thousand too short, within the bound
        inside = (np.abs(value - truth) < scipy.stats.t.ppf(0.975, 394) * error).sum(axis=0)
        assert ((low <= inside) & (inside <= high)).all(), inside


def test_the_improved_estimator_is_less_noisy() -> None:
    """Along v the curvature is steep: it makes most of the plain estimator's noise, and is taken off."""
    E = jax.vmap(quadratic)
    plain = seeds(lambda key: neural.weight_perturbation(E, W, key, samples=200, scale=1.0, batched=True), 100)
    for z in (None, H @ V):
        better = seeds(
            lambda key, z=z: neural.weight_perturbation_along(E, W, V, key, z=z, samples=200, scale=1.0, batched=True),
            100,
        )
        ratio = np.var(plain.gradient, axis=0).sum() / np.var(better.gradient, axis=0).sum()
        assert ratio > 4, ratio


def test_a_black_box() -> None:
    """No JAX inside: a Python loop that also counts its calls."""
    calls = []

    def box(w: np.ndarray) -> float:
        assert isinstance(w, np.ndarray)
        calls.append(1)
        total = 0.0
        for x in w.ravel().tolist():
            total += x**3
        return total

    w = np.array([[1.0, -2.0], [0.5, 0.0]])
    found = neural.weight_perturbation(box, w, jax.random.key(2), samples=3000, scale=1e-3)
    assert len(calls) == 3001
    assert found.gradient.shape == (2, 2)
    assert (np.abs(found.gradient - 3 * w**2) < 5 * found.standard_error).all()
    assert scipy.optimize.approx_fprime(w.ravel(), box).shape == (4,)


def test_a_direction_along_one_weight() -> None:
    """Direction v = e_0: weight 0 has no others to correlate with; z is the first column of H."""
    found = neural.weight_perturbation_along(
        jax.vmap(quadratic), W, np.eye(N)[0], jax.random.key(3), samples=20000, scale=0.3, batched=True
    )
    assert (np.abs(found.z - H[:, 0]) < 5 * found.z_standard_error).all()


@pytest.mark.parametrize(
    ("error", "ask", "text"),
    [
        (
            nb.ArgumentError,
            lambda: neural.weight_perturbation(quadratic, W, jax.random.key(0), scale=0),
            "weight_perturbation got scale=0. Pass a finite number above zero.",
        ),
        (
            nb.OutputError,
            lambda: neural.weight_perturbation(lambda w: w, W, jax.random.key(0)),
            "weight_perturbation asked E for one number; it returned shape [4]. Return a number, or pass batched=True if E "
            "takes a stack of weights.",
        ),
        (
            nb.ArgumentError,
            lambda: jax.jit(lambda w: neural.weight_perturbation(quadratic, w, jax.random.key(0)).gradient)(W),
            "weight_perturbation got traced weights for a Python function, which needs their numbers. Call it outside jit, "
            "vmap and grad, or pass jax.vmap of a JAX function with batched=True.",
        ),
        (
            nb.ArgumentError,
            lambda: neural.weight_perturbation_along(quadratic, W, np.zeros(N), jax.random.key(0)),
            "weight_perturbation_along got a direction v of zeros; it tells nothing of H. Pass another one.",
        ),
        (
            nb.ArgumentError,
            lambda: neural.weight_perturbation_along(quadratic, W, np.ones(3), jax.random.key(0)),
            "weight_perturbation_along got v of shape [3]; the weights w have shape [4]. Give v the shape of w.",
        ),
    ],
)
def test_refusals(error: Any, ask: Any, text: str) -> None:
    with pytest.raises(error) as caught:
        ask()
    assert str(caught.value) == text
