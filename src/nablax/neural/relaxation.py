"""Fixed points y = f(y) of a vector: by relaxation, by Anderson's acceleration, or by a solver of optimistix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx

from nablax.errors import ArgumentError
from nablax.neural.arguments import counted, positive, rounding

Map = Callable[[jax.Array], jax.Array]
History = tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]

ROUNDING = 100.0
"""Default tolerance in units of the dtype's rounding: the sum of a few hundred products is known to about that."""


class Settled(eqx.Module):
    """Where an iteration ended.

    Attributes:
        y: the last state, a vector.
        residual: largest element of f(y) − y.
        steps: evaluations of f.
        settled: whether the residual is within the tolerance.
    """

    y: jax.Array
    residual: jax.Array
    steps: jax.Array
    settled: jax.Array


@dataclass(frozen=True)
class Relaxation:
    """Explicit Euler steps of dy/dt = −y + f(y): ``y ← y + step (f(y) − y)``.

    It converges to y where every eigenvalue λ of ∂f/∂y has |1 − step + step λ| < 1. The differential equation itself
    needs Re λ < 1 only: each such equilibrium is reached with a small enough step.

    Attributes:
        step: of time, in units of the time constant.
        tolerance: for the largest element of f(y) − y, relative to 1 + the largest of y; None: 100 roundings.
        max_steps: after which it is given up.
    """

    step: float = 0.5
    tolerance: float | None = None
    max_steps: int = 2000

    def __post_init__(self) -> None:
        _check("Relaxation", self.tolerance, self.max_steps)
        positive("Relaxation", "step", self.step)

    def run(self, f: Map, start: jax.Array) -> Settled:
        """Iterates from a start, a vector."""
        tolerance = _tolerance(self.tolerance, start.dtype)

        def goes_on(state: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
            y, change, steps = state
            return (steps < self.max_steps) & ~_small(change, y, tolerance) & jnp.isfinite(_largest(change))

        def step(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
            y, change, steps = state
            y = y + self.step * change
            return y, f(y) - y, steps + 1

        y, change, steps = jax.lax.while_loop(goes_on, step, (start, f(start) - start, jnp.asarray(1)))
        return Settled(y, _largest(change), steps, _small(change, y, tolerance))


@dataclass(frozen=True)
class Anderson:
    """Anderson's acceleration: the next state is the combination of the last ones whose residuals cancel best.

    With residuals g_k = f(y_k) − y_k it takes y + mixing g − (ΔY + mixing ΔG) γ, γ the least-squares solution of
    ΔG γ = g over the last differences. It also converges where plain relaxation does not.

    Attributes:
        depth: number of differences that are kept.
        mixing: of the residual; 1 takes f(y) itself.
        tolerance: as in `Relaxation`.
        max_steps: as in `Relaxation`.

    Source:
        Anderson 1965; Walker and Ni 2011, "Anderson acceleration for fixed-point iterations".
    """

    depth: int = 5
    mixing: float = 1.0
    tolerance: float | None = None
    max_steps: int = 500

    def __post_init__(self) -> None:
        _check("Anderson", self.tolerance, self.max_steps)
        counted("Anderson", "depth", self.depth)
        positive("Anderson", "mixing", self.mixing)

    def run(self, f: Map, start: jax.Array) -> Settled:
        """Iterates from a start, a vector."""
        tolerance = _tolerance(self.tolerance, start.dtype)
        none = jnp.zeros((start.size, self.depth), start.dtype)

        def goes_on(state: History) -> jax.Array:
            y, g, _, _, steps = state
            return (steps < self.max_steps) & ~_small(g, y, tolerance) & jnp.isfinite(_largest(g))

        def step(state: History) -> History:
            y, g, Y, G, steps = state
            # columns that are not filled yet are zero, and least squares of smallest norm leaves them out
            gamma = jnp.linalg.lstsq(G, g, rcond=10 * rounding(y.dtype))[0]
            following = y + self.mixing * g - (Y + self.mixing * G) @ gamma
            residual = f(following) - following
            k = (steps - 1) % self.depth
            Y, G = Y.at[:, k].set(following - y), G.at[:, k].set(residual - g)
            return following, residual, Y, G, steps + 1

        y, g, _, _, steps = jax.lax.while_loop(goes_on, step, (start, f(start) - start, none, none, jnp.asarray(1)))
        return Settled(y, _largest(g), steps, _small(g, y, tolerance))


Solver = (
    Relaxation | Anderson | optx.AbstractRootFinder[Any, Any, Any, Any] | optx.AbstractFixedPointSolver[Any, Any, Any]
)
OPTIMISTIX_STEPS = 500


def fixed_point(f: Map, solver: Solver, start: jax.Array) -> Settled:
    """A fixed point by any of the solvers; not differentiated through.

    Args:
        f: of a vector.
        solver: `Relaxation`, `Anderson`, or a root finder or fixed-point solver of optimistix.
        start: a vector.
    """
    if isinstance(solver, Relaxation | Anderson):
        return solver.run(f, start)
    if isinstance(solver, optx.AbstractRootFinder):
        found: Any = optx.root_find(lambda y, _: f(y) - y, solver, start, max_steps=OPTIMISTIX_STEPS, throw=False)
    else:
        found = optx.fixed_point(lambda y, _: f(y), solver, start, max_steps=OPTIMISTIX_STEPS, throw=False)
    residual = _largest(f(found.value) - found.value)
    good = (found.result == optx.RESULTS.successful) & jnp.isfinite(residual)
    return Settled(found.value, residual, found.stats["num_steps"], good)


def checked_solver(verb: str, solver: Any) -> Solver:
    """The solver as it is.

    Raises:
        ArgumentError: none of the known kinds.
    """
    if not isinstance(solver, Relaxation | Anderson | optx.AbstractRootFinder | optx.AbstractFixedPointSolver):
        raise ArgumentError(
            f"{verb} got solver={solver!r}. Pass neural.Relaxation(), neural.Anderson(), or a root finder or "
            "fixed-point solver of optimistix such as optimistix.Newton(rtol=1e-10, atol=1e-10)."
        )
    return solver


def _check(verb: str, tolerance: float | None, max_steps: int) -> None:
    counted(verb, "max_steps", max_steps)
    if tolerance is not None:
        positive(verb, "tolerance", tolerance)


def _tolerance(tolerance: float | None, dtype: Any) -> float:
    return ROUNDING * rounding(dtype) if tolerance is None else tolerance


def _largest(values: jax.Array) -> jax.Array:
    return jnp.max(jnp.abs(values), initial=0.0)


def _small(change: jax.Array, y: jax.Array, tolerance: float) -> jax.Array:
    return _largest(change) <= tolerance * (1 + _largest(y))
