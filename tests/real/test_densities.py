"""Log densities: models of numpyro, a Gaussian process, a Kalman filter as a scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from real.checks import check_hessian

X = np.random.default_rng(2).normal(size=(12, 3))
Y = np.sin(X[:, 0]) + 0.3 * X[:, 1]
SCHOOLS = (
    np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]),
    np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]),
)


# -- written out ---------------------------------------------------------------------------------------


def marginal_likelihood(p: Any) -> Any:
    """Of a Gaussian process with a length for each input (Rasmussen and Williams 2006, equation 5.8)."""
    scaled = X / jnp.exp(p["lengths"])
    squares = jnp.sum((scaled[:, None] - scaled[None]) ** 2, -1)
    kernel = jnp.exp(p["amplitude"] - 0.5 * squares) + jnp.exp(p["noise"]) * jnp.eye(len(X))
    root = jnp.linalg.cholesky(kernel)
    solved = jax.scipy.linalg.solve_triangular(root, Y - p["mean"], lower=True)
    return 0.5 * solved @ solved + jnp.sum(jnp.log(jnp.diagonal(root))) + 6.0 * jnp.log(2 * jnp.pi)


def marginal_likelihood_by_cho_solve(p: Any) -> Any:
    scaled = X / jnp.exp(p["lengths"])
    squares = jnp.sum((scaled[:, None] - scaled[None]) ** 2, -1)
    kernel = jnp.exp(p["amplitude"] - 0.5 * squares) + jnp.exp(p["noise"]) * jnp.eye(len(X))
    weights = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(kernel, lower=True), Y - p["mean"])
    return 0.5 * (Y - p["mean"]) @ weights + 0.5 * jnp.linalg.slogdet(kernel)[1]


PROCESS = {"lengths": jnp.array([0.1, 0.4, -0.2]), "amplitude": 0.2, "noise": -1.5, "mean": 0.1}


def kalman(p: Any) -> Any:
    """Minus the log likelihood of a local linear trend by the filter's innovations (Durbin and Koopman 2012, 7.2)."""
    moves = jnp.array([[1.0, 1.0], [0.0, 1.0]]) * jnp.tanh(p["damping"])
    noise = jnp.diag(jnp.exp(p["state"]))
    seen = jnp.array([1.0, 0.2])

    def step(carry: Any, y: Any) -> tuple[Any, Any]:
        mean, covariance = carry
        mean, covariance = moves @ mean, moves @ covariance @ moves.T + noise
        innovation = y - seen @ mean
        variance = seen @ covariance @ seen + jnp.exp(p["noise"])
        gain = covariance @ seen / variance
        mean = mean + gain * innovation
        covariance = covariance - jnp.outer(gain, seen @ covariance)
        return (mean, covariance), 0.5 * (jnp.log(variance) + innovation**2 / variance)

    start = (p["start"], jnp.eye(2))
    return jnp.sum(jax.lax.scan(step, start, jnp.asarray(np.cumsum(Y)))[1])


FILTER = {"damping": 1.2, "state": jnp.array([-1.0, -2.0]), "noise": -0.5, "start": jnp.array([0.3, -0.1])}
WRITTEN: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "Gaussian process": (marginal_likelihood, PROCESS),
    "Gaussian process by cho_solve and slogdet": (marginal_likelihood_by_cho_solve, PROCESS),
    "Kalman filter": (kalman, FILTER),
}


@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=() if x == "Gaussian process" else pytest.mark.exhaustive) for x in WRITTEN]
)
def test_written_out(name: str) -> None:
    # a covariance of condition 100 enlarges what rounding does
    check_hessian(*WRITTEN[name], tolerance=1e-11)


# -- numpyro -------------------------------------------------------------------------------------------


def schools(numpyro: Any, dist: Any) -> None:
    effects, errors = SCHOOLS
    mu, tau = numpyro.sample("mu", dist.Normal(0.0, 5.0)), numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("schools", 8):
        theta = numpyro.sample(
            "theta", dist.TransformedDistribution(dist.Normal(0.0, 1.0), dist.transforms.AffineTransform(mu, tau))
        )
        numpyro.sample("effects", dist.Normal(theta, errors), obs=effects)


def logistic(numpyro: Any, dist: Any) -> None:
    w, b = numpyro.sample("w", dist.Normal(jnp.zeros(3), 2.0).to_event(1)), numpyro.sample("b", dist.Cauchy(0.0, 1.0))
    numpyro.sample("y", dist.Bernoulli(logits=X @ w + b), obs=(Y > 0).astype(int))


def counts(numpyro: Any, dist: Any) -> None:
    w, k = numpyro.sample("w", dist.Laplace(0.1, 1.0).expand([3])), numpyro.sample("k", dist.Gamma(2.0, 1.0))
    numpyro.sample("y", dist.NegativeBinomial2(jnp.exp(0.3 * X @ w), k), obs=np.arange(12) % 5)


def correlated(numpyro: Any, dist: Any) -> None:
    scale = numpyro.sample("scale", dist.LogNormal(jnp.zeros(3), 0.5).to_event(1))
    root = numpyro.sample("root", dist.LKJCholesky(3, 1.5))
    numpyro.sample("x", dist.MultivariateNormal(jnp.zeros(3), scale_tril=scale[:, None] * root), obs=X)


def mixture(numpyro: Any, dist: Any) -> None:
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(3)))
    means = numpyro.sample("means", dist.Normal(0.0, 2.0).expand([3]).to_event(1))
    scale = numpyro.sample("scale", dist.InverseGamma(2.0, 1.0))
    mixed = dist.MixtureSameFamily(dist.Categorical(probs=weights), dist.Normal(means, scale))
    numpyro.sample("y", mixed, obs=Y)


def walk(numpyro: Any, dist: Any) -> None:
    drift = numpyro.sample("drift", dist.GaussianRandomWalk(0.3, num_steps=12))
    df = numpyro.sample("df", dist.Exponential(0.2))
    numpyro.sample("y", dist.StudentT(df, jnp.exp(0.1 * drift), 0.5), obs=Y)


def beta(numpyro: Any, dist: Any) -> None:
    a, b = numpyro.sample("a", dist.HalfNormal(3.0)), numpyro.sample("b", dist.Weibull(2.0, 1.5))
    numpyro.sample("share", dist.Beta(1.0 + a, 1.0 + b), obs=1.0 / (1.0 + np.exp(-Y)))
    numpyro.sample("trials", dist.BetaBinomial(1.0 + a, 1.0 + b, 10), obs=np.arange(12) % 10)


def process(numpyro: Any, dist: Any) -> None:
    length, noise = numpyro.sample("length", dist.LogNormal(0.0, 1.0)), numpyro.sample("noise", dist.HalfNormal(1.0))
    squares = np.sum((X[:, None] - X[None]) ** 2, -1)
    kernel = jnp.exp(-0.5 * squares / length**2) + (noise + 0.1) * jnp.eye(12)
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(12), covariance_matrix=kernel), obs=Y)


MODELS = {model.__name__: model for model in (schools, logistic, counts, correlated, mixture, walk, beta, process)}


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", MODELS)
def test_numpyro(name: str) -> None:
    numpyro = pytest.importorskip("numpyro", reason="numpyro is not installed; make test-all installs it")
    dist = pytest.importorskip("numpyro.distributions")
    util = pytest.importorskip("numpyro.infer.util")
    model = lambda: MODELS[name](numpyro, dist)
    start = util.initialize_model(jax.random.key(1), model)
    # on the unconstrained space, with the determinants of the transformations: what a Laplace approximation expands
    check_hessian(start.potential_fn, start.param_info.z, tolerance=1e-11)
