"""Logistic regression by Newton's method, and linear regression by gradient descent with two gradients."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from sklearn.linear_model import LogisticRegression

import nablax as nb

LOGISTIC = Path(__file__).with_name("kept_logistic.json")
DESCENT = Path(__file__).with_name("kept_descent.json")
ROWS, COLUMNS, RIDGE = 5000, 400, 1.0
TOLERANCE = 1e-10
RUNS = 3


def timed(call: Any, runs: int = RUNS) -> tuple[float, float, Any]:
    """Processor time of the first call, the median of the next ones, and the result."""
    begin = time.process_time()
    result = call()
    first = time.process_time() - begin
    samples = []
    for _ in range(runs):
        begin = time.process_time()
        call()
        samples.append(time.process_time() - begin)
    return first, statistics.median(samples), result


def logistic() -> None:
    """5000 × 400, ridge 1, to a gradient of 1e-10 of the first one."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(ROWS, COLUMNS)) / COLUMNS**0.5
    y = np.sign(X @ rng.normal(size=COLUMNS) * 3 + rng.normal(size=ROWS))

    def f(w: Any, X: Any, y: Any) -> Any:
        return jnp.sum(jnp.logaddexp(0.0, -y * (X @ w))) + RIDGE * jnp.sum(w**2) / 2

    start = jnp.zeros(COLUMNS)
    both, hessian = jax.jit(jax.value_and_grad(f)), jax.jit(jax.hessian(f))
    first = float(jnp.max(jnp.abs(both(start, X, y)[1])))

    def trust_exact() -> Any:
        return scipy.optimize.minimize(
            lambda w: tuple(map(np.asarray, both(w, X, y))), np.zeros(COLUMNS), jac=True, method="trust-exact",
            hess=lambda w: np.asarray(hessian(w, X, y)), options={"gtol": TOLERANCE * first},
        ).x  # fmt: skip

    def sklearn() -> Any:
        model = LogisticRegression(
            solver="newton-cholesky", C=1 / RIDGE, fit_intercept=False, tol=TOLERANCE, max_iter=100
        )
        return model.fit(X, y).coef_[0]

    data = (jnp.asarray(X), jnp.asarray(y))
    contenders = {
        "nablax newton": lambda: nb.minimise(f, start, *data, method="newton", tol=TOLERANCE, progress=False).x,
        "nablax auto": lambda: nb.minimise(f, start, *data, tol=TOLERANCE, progress=False).x,
        "SciPy trust-exact, jax.hessian": trust_exact,
        "scikit-learn newton-cholesky": sklearn,
    }
    rows = []
    for name, call in contenders.items():
        cold, warm, w = timed(call)
        slope = float(jnp.max(jnp.abs(both(jnp.asarray(w), X, y)[1]))) / first
        rows.append({"name": name, "cold": cold, "warm": warm, "gradient": slope})
        print(rows[-1])
    LOGISTIC.write_text(json.dumps(rows, indent=1))


def descent() -> None:
    """Y ≈ a x + b by gradient descent, to a step of 1e-9; by hand ∇ of the mean of squares is 2 Xᵀr / n."""
    rows = []
    for n in np.unique(np.logspace(1, 4, 10).astype(int)):
        rng = np.random.default_rng(int(n))
        X = np.column_stack([np.ones(n), rng.uniform(-1, 1, n)])
        y = X @ [1.0, 2.0] + 0.1 * rng.normal(size=n)

        def loss(w: Any, X: Any, y: Any) -> Any:
            return jnp.mean((X @ w - y) ** 2)

        def by_hand(w: Any, X: Any, y: Any) -> Any:
            return 2 * (X.T @ (X @ w - y)) / y.size

        found = {}
        for name, gradient in (("by hand", by_hand), ("automatic", jax.grad(loss))):

            @jax.jit
            def run(w: Any, X: Any, y: Any, gradient: Any = gradient) -> Any:
                def going(state: Any) -> Any:
                    return (jnp.max(jnp.abs(state[1])) > 1e-9) & (state[2] < 100_000)

                def step(state: Any) -> Any:
                    w, _, count = state
                    change = -0.4 * gradient(w, X, y)
                    return w + change, change, count + 1

                return jax.lax.while_loop(going, step, (w, jnp.ones_like(w), 0))

            arrays = (jnp.zeros(2), jnp.asarray(X), jnp.asarray(y))
            jax.block_until_ready(run(*arrays))
            samples = []
            for _ in range(RUNS):
                begin = time.process_time()
                w, _, count = jax.block_until_ready(run(*arrays))
                samples.append(time.process_time() - begin)
            found[name] = {"seconds": samples, "iterations": int(count), "w": np.asarray(w).tolist()}
        newton = nb.minimise(loss, jnp.zeros(2), jnp.asarray(X), jnp.asarray(y), tol=1e-9, progress=False)
        rows.append(
            {"n": int(n), **found, "newton_iterations": int(newton.iterations), "newton": np.asarray(newton.x).tolist()}
        )
        print(n, {name: (min(r["seconds"]), r["iterations"]) for name, r in found.items()})
    DESCENT.write_text(json.dumps(rows, indent=1))
