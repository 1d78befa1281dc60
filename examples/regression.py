"""Linear regression by gradient descent, with the gradient by hand and the gradient by automatic differentiation.

python examples/regression.py                  seconds of both for n over np.logspace(1, 4), three runs each

The loss is the mean squared error ‖Xw − y‖²/n; its gradient is (2/n) Xᵀ(Xw − y). A mean taken after a dot product,
mean(dot(x, r)), is not that: the dot product has already summed, so the mean divides by one and not by n, and the
result is off by a factor n.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

FEATURES = 3
TOLERANCE = 1e-9
MOST_STEPS = 100_000
RUNS = 3

Gradient = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def loss(w: jax.Array, X: jax.Array, y: jax.Array) -> jax.Array:
    """Mean squared error."""
    return jnp.mean((X @ w - y) ** 2)


def by_hand(w: jax.Array, X: jax.Array, y: jax.Array) -> jax.Array:
    """The gradient of the loss, written down."""
    return 2 / len(y) * X.T @ (X @ w - y)


automatic: Gradient = jax.grad(loss)


def mean_after_dot(w: jax.Array, X: jax.Array, y: jax.Array) -> jax.Array:
    """What is often written instead: a mean of dot products, n times the gradient."""
    return jnp.stack([2 * jnp.mean(jnp.dot(column, X @ w - y)) for column in X.T])


def descend(gradient: Gradient) -> Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """Gradient descent with step 1/L from w = 0 until the gradient's norm is at most TOLERANCE.

    Returns:
        A compiled function of X and y that gives the weights and the number of steps.
    """

    @jax.jit
    def run(X: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        step = len(y) / (2 * jnp.linalg.eigvalsh(X.T @ X)[-1])

        def going(state: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
            _, slope, steps = state
            return (jnp.linalg.norm(slope) > TOLERANCE) & (steps < MOST_STEPS)

        def move(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
            w, slope, steps = state
            w = w - step * slope
            return w, gradient(w, X, y), steps + 1

        start = jnp.zeros(X.shape[1])
        w, _, steps = jax.lax.while_loop(going, move, (start, gradient(start, X, y), jnp.asarray(0)))
        return w, steps

    return run


def data(n: int, seed: int = 0) -> tuple[jax.Array, jax.Array]:
    """Noisy samples of a linear function, n of them."""
    random = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), random.normal(size=(n, FEATURES - 1))])
    return jnp.asarray(X), jnp.asarray(X @ [1.0, -2.0, 0.5] + 0.1 * random.normal(size=n))


def seconds(run: Callable[..., tuple[jax.Array, jax.Array]], X: jax.Array, y: jax.Array) -> float:
    """The best of three runs, compiled before."""
    jax.block_until_ready(run(X, y))
    best = float("inf")
    for _ in range(RUNS):
        start = time.perf_counter()
        jax.block_until_ready(run(X, y))
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    """The table of times."""
    with jax.enable_x64(True):
        print(f"{'n':>6} {'steps':>6} {'by hand':>12} {'automatic':>12}   seconds, best of {RUNS}")
        for n in np.logspace(1, 4).astype(int):
            X, y = data(int(n))
            hand, auto = descend(by_hand), descend(automatic)
            steps = int(hand(X, y)[1])
            print(f"{n:>6} {steps:>6} {seconds(hand, X, y):>12.6f} {seconds(auto, X, y):>12.6f}")


if __name__ == "__main__":
    main()
