"""Trust regions: the exact step on a dense Hessian (Moré and Sorensen), and the truncated one on products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from nablax.optimise.conjugate_gradients import conjugate_gradients
from nablax.optimise.objective import Counts, Objective
from nablax.optimise.past import Past
from nablax.optimise.rounding import rounding
from nablax.optimise.secular import in_ball
from nablax.optimise.spectrum import spectrum
from nablax.optimise.state import Method, State, either, moved, noise_of, stayed

# Shares of the predicted decrease from which a step is taken, the radius is cut, and it is widened (Conn, Gould and
# Toint 2000, section 6.1).
TAKEN, POOR, GOOD = 1e-4, 0.25, 0.9
CUT, WIDENED = 0.25, 2.0
# Where a parabola tells how far a poor step should have gone, in shares of the step.
SHORTEST, LONGEST = 0.1, 0.5
# How far Newton's first step may go, in units of the point's size.
FARTHEST = 100.0
# Unknowns up to which eigenvalues are computed at every point: they cost no more than a few Cholesky factors.
SMALL = 32
# Cholesky factors that are tried for one step before the eigenvalues are asked.
MOST_FACTORS = 12
# How far the length of a step may be from the radius: the radius is a guess itself.
LENGTH_FIT = 0.1
# Curvature down to minus this counts as none, in units of the largest one: a power of the rounding.
FLAT = 0.6


class _Model(eqx.Module):
    """The quadratic model, and what is known of its matrix."""

    matrix: Any
    eigenvalues: Any
    vectors: Any
    decomposed: Any
    radius: Any
    past: Past

    def moved(self, radius: Any, past: Past) -> _Model:
        """The same matrix in another ball."""
        return _Model(self.matrix, self.eigenvalues, self.vectors, self.decomposed, radius, past)


class TrustRegion(Method):
    """Steps that are lowest in a ball, exactly, on a dense Hessian.

    A step is judged by the value here or by the highest of the last ones, whichever speaks for it: the way may go
    uphill for a few steps. The best point is kept, and returned to where they lead nowhere.

    Source:
        Moré and Sorensen 1983; for the way uphill see `Past`.
    """

    name: ClassVar[str] = "trust-region"

    def first(self, objective: Objective, x: Any) -> _Model:
        """An empty model."""
        square = jnp.zeros((x.size, x.size), x.dtype)
        unknown = jnp.full_like(x, jnp.nan)
        return _Model(square, unknown, square, jnp.asarray(False), jnp.zeros((), x.dtype), Past.none(x))

    def look(self, objective: Objective, state: State) -> tuple[Any, Any, Any, Counts]:
        """Gradient and Hessian."""
        c = objective.at(state.x)
        gradient, matrix, kept = objective.gradient(c), objective.matrix(c), state.kept
        small = state.x.size <= SMALL
        values, vectors = spectrum(matrix) if small else (jnp.full_like(state.x, jnp.nan), kept.vectors)
        newton = jnp.linalg.norm((vectors.T @ gradient) / values) if small else _newton_length(matrix, gradient)
        definite = (values[0] > 0) if small else True
        first = first_radius(state.x, jnp.where(definite, newton, jnp.nan))
        radius = jnp.where(state.iteration == 0, first, kept.radius)
        value = c.value.astype(state.x.dtype)
        past = kept.past.with_point(state.x, value, gradient, radius)
        kept = _Model(matrix, values, vectors, jnp.asarray(small), radius, past)
        counts = state.counts.plus(gradients=1, hessians=1, factorisations=int(small))
        return value, gradient, kept, counts

    def attempt(self, objective: Objective, state: State) -> State:
        """The step in the ball, and what it brings; or back to the best point."""
        found: State = jax.lax.cond(state.kept.past.lost, self._back, lambda s: self._forward(objective, s), state)
        return found

    def _back(self, state: State) -> State:
        model = state.kept
        return returned(state, model.radius, model.past, model.moved)

    def _forward(self, objective: Objective, state: State) -> State:
        small = state.x.size <= SMALL
        step, model, factors = (step_by_eigenvalues if small else step_by_factors)(state.kept, state.gradient)
        predicted = -(state.gradient @ step + step @ (model.matrix @ step) / 2)
        counts = state.counts.plus(values=1, factorisations=factors)
        return judged(objective, state, step, predicted, model.radius, model.past, counts, model.moved)

    def retreat(self, kept: _Model) -> _Model:
        """A smaller ball."""
        return kept.moved(kept.radius * CUT, kept.past)

    def best(self, state: State) -> tuple[Any, Any, Any]:
        """The best point so far."""
        past = state.kept.past
        return past.x, past.value, past.gradient

    def eigenvalue(self, kept: _Model) -> Any:
        """Known where the last step needed the eigenvalues."""
        return kept.eigenvalues[0]


class SteihaugToint(Method):
    """Steps by conjugate gradients in a ball; the Hessian is known by its products with vectors.

    Steps are judged as those of `TrustRegion` are.
    """

    name: ClassVar[str] = "steihaug"

    def first(self, objective: Objective, x: Any) -> Any:
        """The radius, and no past."""
        return jnp.zeros((), x.dtype), Past.none(x)

    def look(self, objective: Objective, state: State) -> tuple[Any, Any, Any, Counts]:
        """The gradient."""
        c = objective.at(state.x)
        gradient = objective.gradient(c)
        value = c.value.astype(state.x.dtype)
        radius = jnp.where(state.iteration == 0, first_radius(state.x, jnp.nan), state.kept[0])
        kept = radius, state.kept[1].with_point(state.x, value, gradient, radius)
        return value, gradient, kept, state.counts.plus(gradients=1)

    def attempt(self, objective: Objective, state: State) -> State:
        """The truncated step, and what it brings; or back to the best point."""
        found: State = jax.lax.cond(state.kept[1].lost, self._back, lambda s: self._forward(objective, s), state)
        return found

    def _back(self, state: State) -> State:
        radius, past = state.kept
        return returned(state, radius, past, lambda *kept: kept)

    def _forward(self, objective: Objective, state: State) -> State:
        c, (radius, past) = objective.at(state.x), state.kept
        found = conjugate_gradients(lambda v: objective.product(c, v), state.gradient, radius)
        counts = state.counts.plus(values=1, products=found.products)
        return judged(objective, state, found.step, found.predicted, radius, past, counts, lambda *kept: kept)

    def retreat(self, kept: Any) -> Any:
        """A smaller ball."""
        return kept[0] * CUT, kept[1]

    def best(self, state: State) -> tuple[Any, Any, Any]:
        """The best point so far."""
        past = state.kept[1]
        return past.x, past.value, past.gradient


# -- what a step brings ------------------------------------------------------------------------------


def judged(
    objective: Objective,
    state: State,
    step: Any,
    predicted: Any,
    radius: Any,
    past: Past,
    counts: Counts,
    keep: Callable[[Any, Past], Any],
) -> State:
    """The state after a step that is tried: taken or refused, with the next ball.

    Args:
        objective: the function.
        state: before.
        step: from the point there.
        predicted: by how much the model falls.
        radius: of the ball.
        past: the values of the last points.
        counts: what was evaluated, the trial included.
        keep: from the next radius and the past, what the method keeps.
    """
    trial = state.x + step
    value, slope = objective.value(trial), state.gradient @ step
    ratio = gained(state.value, value, predicted, past.highest)
    radius = next_radius(radius, jnp.linalg.norm(step), ratio, slope, value - state.value)
    kept = keep(radius, past)
    taken = moved(state, trial, value, kept, counts)
    refused = stayed(state, kept, counts, stalled=too_small(radius, state.x))
    return either(ratio > TAKEN, taken, refused)


def returned(state: State, radius: Any, past: Past, keep: Callable[[Any, Past], Any]) -> State:
    """The state at the best point again, in a ball that is no larger than the one there.

    Args:
        state: before.
        radius: of the ball.
        past: the values of the last points, and the best one.
        keep: from the next radius and the past, what the method keeps.
    """
    return moved(state, past.x, past.value, keep(jnp.minimum(radius, past.radius), past.returned()), state.counts)


# -- the radius ------------------------------------------------------------------------------------


def first_radius(x: Any, newton: Any) -> Any:
    """A ball as large as the point is far from the origin, no smaller than 1, and with room for Newton's step.

    Args:
        x: the point.
        newton: length of Newton's step; NaN where it is not known, or leads to no minimum.
    """
    scale = jnp.maximum(1.0, jnp.linalg.norm(x))
    roomy = jnp.clip(1.01 * newton, scale, FARTHEST * scale)
    return jnp.where(jnp.isnan(newton), scale, roomy)


def _newton_length(matrix: Any, gradient: Any) -> Any:
    """‖H⁻¹g‖; NaN where H is not positive definite."""
    factor = jnp.linalg.cholesky(matrix)
    half = solve_triangular(factor, gradient, lower=True)
    return jnp.linalg.norm(solve_triangular(factor, half, lower=True, trans=1))


def gained(value: Any, trial: Any, predicted: Any, highest: Any = None) -> Any:
    """Decrease over predicted decrease, both raised by what may be rounding (Conn, Gould, Toint 2000, section 17.4.2).

    Minus infinity where the trial is not finite.

    Args:
        value: at the point.
        trial: at the end of the step.
        predicted: the decrease by the model.
        highest: of the last values; where the decrease since then is the better share, it counts. None for `value`.
    """
    noise = noise_of(value)
    ratio = (value - trial + noise) / (predicted + noise)
    if highest is not None:
        ratio = jnp.maximum(ratio, (highest - trial + noise) / (highest - value + predicted + noise))
    return jnp.where(jnp.isfinite(trial) & (predicted + noise > 0), ratio, -jnp.inf)


def next_radius(radius: Any, length: Any, ratio: Any, slope: Any, change: Any) -> Any:
    """The ball for the next step.

    After a poor step it ends where the parabola through both values and the slope at the start is lowest: a step that
    was far too long costs one evaluation, and one that was nearly right is not cut to a quarter.

    Args:
        radius: of the ball.
        length: of the step.
        ratio: decrease over predicted decrease, as it is judged.
        slope: gᵀp, of the step p.
        change: the value at its end, less that at its start.

    Source:
        Dennis and Schnabel 1983, algorithm A6.4.5.
    """
    at_border = length >= (1 - 2 * LENGTH_FIT) * radius
    widened = jnp.where(at_border, jnp.maximum(radius, WIDENED * length), radius)
    bend = change - slope
    share = jnp.where(bend > 0, jnp.clip(-slope / (2 * bend), SHORTEST, LONGEST), CUT)
    return jnp.where(ratio < POOR, share * jnp.minimum(length, radius), jnp.where(ratio > GOOD, widened, radius))


def too_small(radius: Any, x: Any) -> Any:
    """Whether a ball holds no other number."""
    return radius <= 0.1 * rounding(x.dtype) * jnp.maximum(jnp.linalg.norm(x), rounding(x.dtype))


# -- the step --------------------------------------------------------------------------------------


def step_by_eigenvalues(model: _Model, gradient: Any) -> tuple[Any, _Model, Any]:
    """The step by the eigenvalues that are there.

    Args:
        model: the model, decomposed.
        gradient: at the point.

    Returns:
        The step, the model, and the factorisations, none.
    """
    step, _ = in_ball(model.eigenvalues, model.vectors.T @ gradient, model.radius)
    return model.vectors @ step, model, jnp.asarray(0)


def step_by_factors(model: _Model, gradient: Any) -> tuple[Any, _Model, Any]:
    """The step by Cholesky factors of H + λI; by eigenvalues only in the hard case.

    Newton's method on 1/‖p(λ)‖ = 1/Δ, kept between bounds on λ (Moré and Sorensen 1983, algorithm 3.2). Where H has no
    factor, it may be singular alone: a very small λ is tried next.

    Args:
        model: the model.
        gradient: at the point.

    Returns:
        The step, the model, and the factorisations.
    """
    matrix, radius = model.matrix, model.radius
    diagonal = jnp.diagonal(matrix)
    norm = jnp.linalg.norm(gradient)
    rest = jnp.sum(jnp.abs(matrix), axis=1) - jnp.abs(diagonal)
    # Gershgorin: every eigenvalue lies in a circle around a diagonal element
    spread = jnp.maximum(jnp.max(rest - diagonal), 0.0), jnp.max(diagonal + rest)
    flat = rounding(matrix.dtype) ** FLAT * jnp.maximum(spread[0], spread[1])
    low = jnp.maximum(jnp.maximum(0.0, -jnp.min(diagonal)), norm / radius - spread[1])
    high = norm / radius + spread[0]

    def going(state: Any) -> Any:
        count, _, _, _, _, done = state
        return ~done & (count < MOST_FACTORS)

    def tried(state: Any) -> Any:
        count, low, high, shift, _, _ = state
        factor = jnp.linalg.cholesky(matrix + shift * jnp.eye(matrix.shape[0], dtype=matrix.dtype))
        half = solve_triangular(factor, gradient, lower=True)
        step = -solve_triangular(factor, half, lower=True, trans=1)
        length = jnp.linalg.norm(step)
        definite = jnp.isfinite(length)
        done = definite & (((shift <= flat) & (length <= radius)) | (jnp.abs(length - radius) <= LENGTH_FIT * radius))
        low = jnp.where(~definite | (length > radius), jnp.maximum(low, shift), low)
        high = jnp.where(definite & (length < radius), jnp.minimum(high, shift), high)
        # d(1/‖p‖)/dλ = ‖q‖² / ‖p‖³ with Lᵀ… q = L⁻¹p
        inner = solve_triangular(factor, step, lower=True)
        newton = shift + (length / jnp.linalg.norm(inner)) ** 2 * (length - radius) / radius
        between = jnp.maximum(jnp.sqrt(low * high), low + 0.01 * (high - low))
        between = jnp.where(~definite & (shift == 0), flat, between)
        fine = definite & (newton > low) & (newton < high)
        shift = jnp.where(done, shift, jnp.where(fine, newton, between))
        return count + 1, low, high, shift, jnp.where(done, step, jnp.zeros_like(step)), done

    # eigenvalues that are there (the step before was refused) serve better than new factors
    start = (jnp.asarray(0), low, high, low, jnp.zeros_like(gradient), model.decomposed)
    count, _, _, _, step, _ = jax.lax.while_loop(going, tried, start)
    found = jnp.any(step != 0)

    def decomposed() -> tuple[Any, _Model, Any]:
        values, vectors = jax.lax.cond(
            model.decomposed, lambda: (model.eigenvalues, model.vectors), lambda: spectrum(matrix)
        )
        curved, _ = in_ball(values, vectors.T @ gradient, radius)
        known = _Model(matrix, values, vectors, jnp.asarray(True), radius, model.past)
        return vectors @ curved, known, count + jnp.where(model.decomposed, 0, 1)

    chosen: tuple[Any, _Model, Any] = jax.lax.cond(found, lambda: (step, model, count), decomposed)
    return chosen
