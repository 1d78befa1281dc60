"""The trust region of Moré and Sorensen on a sparse Hessian; its factors are the host's, all else is compiled once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.optimise.objective import Counts, Objective
from nablax.optimise.outcome import Status
from nablax.optimise.past import Past
from nablax.optimise.rounding import rounding
from nablax.optimise.sparse_factor import Pattern, Shifted, step_in_ball
from nablax.optimise.state import MOST_QUIET, MOST_RETREATS, State, largest_component, replaced
from nablax.optimise.trust_region import CUT, TAKEN, first_radius, gained, next_radius, too_small

NAME = "trust-region"
STATUS: Any = Status


class SparseTrustRegion:
    """The same steps as `TrustRegion`, of a Hessian that is known at static positions.

    Args:
        objective: makes the function from its further arguments.
    """

    def __init__(self, objective: Callable[[Any], Objective]) -> None:
        def look(x: Any, radius: Any, past: Past, given: Any) -> tuple[Any, ...]:
            own = objective(given)
            c = own.at(x)
            hessian = c.sparse()
            gradient = own.gradient(c)
            value, norm = c.value.astype(x.dtype), largest_component(gradient)
            fine = jnp.isfinite(value) & jnp.isfinite(norm) & jnp.all(jnp.isfinite(hessian.data))
            radius = jnp.where(jnp.isnan(radius), first_radius(x, jnp.nan), radius)
            past = past.with_point(x, value, gradient, radius)
            return (value, gradient, norm, fine, radius, past.lost, hessian.data, hessian.indices), past

        def attempt(
            x: Any, step: Any, value: Any, values: Any, slope: Any, predicted: Any, radius: Any, given: Any
        ) -> tuple[Any, ...]:
            trial = x + step.astype(x.dtype)
            found = objective(given).value(trial)
            ratio = gained(value, found, predicted, jnp.max(values))
            radius = next_radius(radius, jnp.linalg.norm(step), ratio, slope, found - value)
            return trial, found, ratio > TAKEN, radius, too_small(radius, x)

        self._look, self._attempt = jax.jit(look), jax.jit(attempt)
        self._pattern: Pattern | None = None

    def start(self, x: Any, tolerance: float) -> State:
        """The state before the first look."""
        nothing, zero, x = np.full((), np.nan, x.dtype), np.asarray(0), np.asarray(x)
        counts = Counts(zero, zero, zero, zero, zero)
        return State(
            x=x,
            value=nothing,
            gradient=np.zeros_like(x),
            norm=nothing,
            bound=np.asarray(tolerance, x.dtype),
            before=(x, nothing),
            fresh=np.asarray(True),
            iteration=zero,
            counts=counts,
            status=STATUS.running,
            quiet=zero,
            retreats=zero,
            kept=(None, nothing, Past.none(x)),
        )

    def best(self, state: State) -> tuple[Any, Any, Any]:
        """The best point so far, the value and the gradient there."""
        past = state.kept[2]
        lower = past.value < state.value and state.status != STATUS.converged
        return (past.x, past.value, past.gradient) if lower else (state.x, state.value, state.gradient)

    def advance(self, state: State, limit: int, data: Any) -> tuple[State, bool]:
        """The state after the end, or after so many steps in all; and whether it has not ended."""
        going = True
        while going and (state.iteration < limit or state.fresh):
            state, going = self._looked(state, data) if state.fresh else self._tried(state, data)
        return state, going

    def _looked(self, state: State, data: Any) -> tuple[State, bool]:
        initial = int(state.iteration) == 0
        _, radius, past = state.kept
        found, past = self._look(state.x, radius, past, data)
        value, gradient, norm, fine, radius, lost, values, places = jax.device_get(found)
        counts = state.counts.plus(gradients=1, hessians=1)
        if not fine and not initial:
            x, value = state.before
            hessian, radius, past = state.kept
            kept = (hessian, radius * CUT, past)
            back = replaced(state, x=x, value=value, counts=counts, retreats=state.retreats + 1, kept=kept)
            ends = int(state.retreats) >= MOST_RETREATS
            return (replaced(back, status=STATUS.not_finite), False) if ends else (back, True)
        if self._pattern is None:
            self._pattern = Pattern(places[:, 0], places[:, 1], state.x.size)
        hessian = self._pattern.matrix(values)
        bound = state.bound * max(1.0, float(norm)) if initial else state.bound
        silent = not initial and abs(state.before[1] - value) <= _noise(value) and not norm < 0.9 * state.norm
        quiet = state.quiet + 1 if silent else np.asarray(0)
        status = None
        if not fine:
            status = STATUS.not_finite
        elif norm <= bound:
            status = STATUS.converged
        elif value < -np.sqrt(np.finfo(value.dtype).max):
            status = STATUS.unbounded
        elif quiet >= MOST_QUIET:
            status = STATUS.stalled
        after = replaced(
            state,
            value=value,
            gradient=gradient,
            norm=norm,
            bound=bound,
            counts=counts,
            quiet=quiet,
            retreats=np.asarray(0),
            fresh=np.asarray(False),
            status=state.status if status is None else status,
            kept=(hessian, radius, past),
        )
        return (_returned(after) if lost and status is None else after), status is None

    def _tried(self, state: State, data: Any) -> tuple[State, bool]:
        hessian, radius, past = state.kept
        step, slope, predicted, factors = _step(hessian, np.asarray(state.gradient, np.float64), float(radius))
        trial, value, taken, radius, small = jax.device_get(
            self._attempt(state.x, step, state.value, past.values, slope, predicted, radius, data)
        )
        counts = state.counts.plus(values=1, factorisations=factors)
        kept = (hessian, radius, past)
        after = replaced(state, iteration=state.iteration + 1, counts=counts, kept=kept)
        if taken:
            before = (state.x, state.value)
            return replaced(after, x=trial, value=value, before=before, fresh=np.asarray(True)), True
        return (replaced(after, status=STATUS.stalled), False) if small else (after, True)


def _returned(state: State) -> State:
    """At the best point, which is looked at again."""
    hessian, radius, past = state.kept
    kept = (hessian, np.minimum(radius, past.radius), past.returned())
    return replaced(
        state,
        x=np.asarray(past.x),
        value=np.asarray(past.value),
        before=(state.x, state.value),
        fresh=np.asarray(True),
        iteration=state.iteration + 1,
        kept=kept,
    )


def _noise(value: Any) -> float:
    return 10 * rounding(value.dtype) * abs(float(value))


def _step(hessian: Shifted, gradient: Any, radius: float) -> tuple[Any, float, float, int]:
    """The step, its slope, the decrease that the model predicts, and factorisations."""
    # no eigenvector is orthogonal to this by accident of structure
    seed = np.cos(np.arange(gradient.size)) - gradient / np.linalg.norm(gradient)
    found = step_in_ball(hessian, gradient, radius, seed)
    slope = float(gradient @ found.step)
    predicted = -(slope + float(found.step @ (hessian.matrix @ found.step)) / 2)
    return found.step, slope, predicted, found.factors
