"""Logistic regression by Newton's method, with standard errors from the exact Hessian.

    python examples/breast_cancer.py               the fit and its table
    nablax report examples/breast_cancer.py:loss   the curvature at the optimum

The data is scikit-learn's breast-cancer set. With all 30 columns a plane separates the two classes and no
maximum-likelihood estimate exists; with these four it does.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax.scipy.stats import norm
from sklearn.datasets import load_breast_cancer

import nablax as nb

COLUMNS = ("mean texture", "mean smoothness", "mean concave points", "texture error")


class Fit(NamedTuple):
    """A maximum-likelihood fit: weights, their standard errors, the loss, and Newton steps taken."""

    weights: jax.Array
    errors: jax.Array
    loss: float
    steps: int


def loss(weights: jax.Array, X: jax.Array, y: jax.Array) -> jax.Array:
    """Negative log-likelihood of labels y (0 or 1) under probabilities sigmoid(X weights)."""
    z = X @ weights
    return jnp.sum(jnp.logaddexp(0.0, z) - y * z)


def data(dtype: str = "float64") -> tuple[jax.Array, jax.Array]:
    """An intercept and the standardised columns; 1 for a malignant tumour."""
    bunch = load_breast_cancer()
    chosen = bunch.data[:, [list(bunch.feature_names).index(name) for name in COLUMNS]]
    standard = (chosen - chosen.mean(axis=0)) / chosen.std(axis=0)
    X = np.column_stack([np.ones(len(standard)), standard])
    return jnp.asarray(X, dtype), jnp.asarray(bunch.target == 0, dtype)


def fit(X: jax.Array, y: jax.Array, tolerance: float = 1e-10, most_steps: int = 30) -> Fit:
    """Newton steps w - H⁻¹g from zero, until no weight moves by more than the tolerance."""

    @jax.jit
    def newton(weights: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        curvature = nb.curvature(loss)(weights, X, y)
        hessian = lx.MatrixLinearOperator(curvature.dense(), lx.positive_semidefinite_tag)
        step = lx.linear_solve(hessian, curvature.gradient, lx.Cholesky()).value
        return curvature.value, hessian.as_matrix(), step

    weights = jnp.zeros(X.shape[1], X.dtype)
    for count in range(1, most_steps + 1):
        value, hessian, step = newton(weights)
        weights = weights - step
        if jnp.max(jnp.abs(step)) <= tolerance:
            errors = jnp.sqrt(jnp.diagonal(jnp.linalg.inv(hessian)))
            return Fit(weights, errors, float(value), count)
    raise RuntimeError(f"no convergence in {most_steps} Newton steps; is the data separable?")


def example_args() -> tuple[jax.Array, jax.Array, jax.Array]:
    """The fitted weights and the data."""
    jax.config.update("jax_enable_x64", True)
    X, y = data()
    return fit(X, y).weights, X, y


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    X, y = data()
    result = fit(X, y)
    print(f"negative log-likelihood {result.loss:.6f} after {result.steps} Newton steps\n")
    print(f"{'':<22}{'weight':>10}{'std. error':>13}{'z':>10}{'P(>|z|)':>12}")
    for name, weight, error in zip(("intercept", *COLUMNS), result.weights, result.errors, strict=True):
        z = weight / error
        print(f"{name:<22}{weight:>10.6f}{error:>13.6f}{z:>10.3f}{2 * norm.sf(abs(z)):>12.2e}")


if __name__ == "__main__":
    main()
