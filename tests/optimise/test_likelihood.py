"""Maximum likelihood in three lines, to six digits of statsmodels: estimates and standard errors."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import gammaln

import nablax as nb
from nablax.optimise import definiteness

sm: Any = pytest.importorskip("statsmodels.api")


def fitted(f: Any, start: Any, *data: Any) -> tuple[Any, Any, Any]:
    """Estimates, standard errors, and what kind of point that is."""
    found = nb.minimise(f, start, *data, tol=1e-10)
    errors = jnp.sqrt(nb.curvature(f)(found.x, *data).inverse_diagonal())
    return found.x, errors, definiteness(f, found.x, *data).kind


@pytest.fixture
def design(generator: np.random.Generator) -> np.ndarray:
    return np.column_stack([np.ones(200), generator.normal(size=(200, 3))])


def check(ours: Any, theirs: Any) -> None:
    estimates, errors, kind = ours
    assert kind == "minimum"
    np.testing.assert_allclose(estimates, theirs.params, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(errors, theirs.bse, rtol=1e-6)


def test_logistic(design: Any, generator: np.random.Generator) -> None:
    y = (generator.random(200) < 1 / (1 + np.exp(-design @ [0.2, 1.0, -0.5, 0.1]))).astype(float)
    nll = lambda w, X, y: jnp.sum(jnp.logaddexp(0.0, X @ w) - y * (X @ w))
    check(fitted(nll, jnp.zeros(4), design, y), sm.Logit(y, design).fit(disp=0, tol=1e-12))


def test_poisson(design: Any, generator: np.random.Generator) -> None:
    y = generator.poisson(np.exp(design @ [0.5, 0.3, -0.2, 0.1])).astype(float)
    nll = lambda w, X, y: jnp.sum(jnp.exp(X @ w) - y * (X @ w))
    check(fitted(nll, jnp.zeros(4), design, y), sm.Poisson(y, design).fit(disp=0, tol=1e-12))


def test_negative_binomial(design: Any, generator: np.random.Generator) -> None:
    mean = np.exp(design @ [0.5, 0.3, -0.2, 0.1])
    y = generator.negative_binomial(2.0, 2.0 / (2.0 + mean)).astype(float)

    def nll(p: Any, X: Any, y: Any) -> Any:  # the last one is α of the variance μ + α μ²
        size, mean = 1 / p[-1], jnp.exp(X @ p[:-1])
        chance = size / (size + mean)
        likelihood = gammaln(y + size) - gammaln(y + 1) - gammaln(size) + size * jnp.log(chance)
        return -jnp.sum(likelihood + y * jnp.log1p(-chance))

    start = jnp.array([0.0, 0.0, 0.0, 0.0, 1.0])
    model = sm.NegativeBinomial(y, design)
    rough = model.fit(disp=0, method="bfgs", maxiter=500)
    theirs = model.fit(disp=0, method="newton", tol=1e-12, start_params=rough.params)
    check(fitted(nll, start, design, y), theirs)


def test_cox(design: Any, generator: np.random.Generator) -> None:
    X = design[:, 1:]
    times = generator.exponential(np.exp(-X @ [0.5, -0.3, 0.2]))
    events = (generator.random(200) < 0.8).astype(float)
    order = np.argsort(-times)  # descending: those at risk are the ones before

    def nll(w: Any, X: Any, events: Any) -> Any:
        score = X @ w
        at_risk = jnp.log(jnp.cumsum(jnp.exp(score)))
        return -jnp.sum(events * (score - at_risk))

    check(
        fitted(nll, jnp.zeros(3), X[order], events[order]),
        sm.PHReg(times, X, status=events, ties="breslow").fit(tol=1e-12),
    )
