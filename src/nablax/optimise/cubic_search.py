"""The search of Moré and Thuente: a step that fulfils the strong Wolfe conditions, by safeguarded cubics."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from nablax.optimise.backtrack import check_limit
from nablax.optimise.conditions import armijo, check_constants, strong_wolfe
from nablax.optimise.line import Function, LineSearch, Sample, Search, Step, run

# Shares of their MINPACK-2 program: growth of a step outside of a bracket; how fast a bracket has to shrink.
SHORTEST_GROWTH, LONGEST_GROWTH, SHRINKING = 1.1, 4.0, 0.66
# A step next to a wall (a value that is not finite) stays this far on the safe side of it.
BESIDE_WALL = 0.9


class _Bracket(eqx.Module):
    """Between the best point and the other end lies an acceptable step, once `closed`."""

    best: Sample
    other: Sample
    closed: Any
    second_stage: Any
    width: Any
    width_before: Any
    wall: Any


class MoreThuente(LineSearch):
    """Strong Wolfe by cubic and quadratic interpolation in a bracket that shrinks.

    Args:
        c1: as in `strong_wolfe`.
        c2: as in `strong_wolfe`.
        max_steps: limit on the trials.
    """

    c1: float = eqx.field(static=True, default=1e-4)
    c2: float = eqx.field(static=True, default=0.9)
    max_steps: int = eqx.field(static=True, default=50)
    uses_slopes: ClassVar[bool] = True

    def __check_init__(self) -> None:
        check_constants("more_thuente", c1=self.c1, c2=self.c2)
        check_limit("more_thuente", self.max_steps)

    def first(self, start: Sample, trial: Any) -> _Bracket:
        """No bracket yet."""
        infinite, no = jnp.full_like(trial, jnp.inf), jnp.asarray(False)
        return _Bracket(start, start, no, no, infinite, infinite, infinite)

    def judge(self, search: Search, found: Sample) -> tuple[Any, Any, Any]:
        """The strong Wolfe conditions; the next step by interpolation."""
        start, kept = search.start, search.kept
        given = (start.value, start.slope)
        accepted = strong_wolfe(found.step, found.value, found.slope, *given, c1=self.c1, c2=self.c2)
        decreased = armijo(found.step, found.value, *given, c1=self.c1)
        second_stage = kept.second_stage | (decreased & (found.slope >= 0))
        # The first stage looks for a point under the tangent ψ(α) = φ(α) − φ(0) − c₁ φ′(0) α, and interpolates that.
        tilted = ~second_stage & (found.value <= kept.best.value) & ~decreased
        tilt = jnp.where(tilted, self.c1 * start.slope, 0.0)
        best, other, trial, closed = _interpolated(
            _tilted(kept.best, tilt), _tilted(kept.other, tilt), _tilted(found, tilt), kept.closed
        )
        best, other = _tilted(best, -tilt), _tilted(other, -tilt)
        gap = jnp.abs(other.step - best.step)
        slow = closed & (gap >= SHRINKING * kept.width_before)
        trial = jnp.where(slow, best.step + (other.step - best.step) / 2, trial)
        low = jnp.minimum(best.step, other.step)
        high = jnp.maximum(best.step, other.step)
        # outside of a bracket, a step grows, but not without bound
        ahead = found.step - kept.best.step
        least = jnp.where(search.steps == 0, 0.0, found.step + SHORTEST_GROWTH * ahead)
        trial = jnp.where(closed, trial, jnp.clip(trial, least, found.step + LONGEST_GROWTH * ahead))
        trial = jnp.minimum(trial, best.step + BESIDE_WALL * (kept.wall - best.step))
        stuck = closed & ~((trial > low) & (trial < high))
        moved = _Bracket(
            best,
            other,
            closed,
            second_stage,
            jnp.where(closed, gap, kept.width),
            jnp.where(closed, kept.width, kept.width_before),
            kept.wall,
        )
        fine = jnp.isfinite(found.value)
        wall = jnp.minimum(kept.wall, found.step)
        behind = kept.best.step + (found.step - kept.best.step) / 4
        held = _Bracket(kept.best, kept.other, kept.closed, kept.second_stage, kept.width, kept.width_before, wall)
        trial = jnp.where(fine, jnp.where(stuck, 0.0, trial), behind)
        return accepted, trial, jax.tree.map(lambda one, other: jnp.where(fine, one, other), moved, held)


def _tilted(sample: Sample, tilt: Any) -> Sample:
    return Sample(sample.step, sample.value - tilt * sample.step, sample.slope - tilt)


def _interpolated(x: Sample, y: Sample, t: Sample, closed: Any) -> tuple[Sample, Sample, Any, Any]:
    """The next step, and the bracket after a value (`dcstep` of MINPACK-2).

    Args:
        x: the best point.
        y: the other end.
        t: the trial.
        closed: whether x and y are a bracket.

    Returns:
        Best point, other end, next trial, whether there is a bracket now.
    """
    opposite = t.slope * jnp.sign(x.slope) < 0
    higher = t.value > x.value
    flatter = jnp.abs(t.slope) < jnp.abs(x.slope)

    # 1: higher value: the minimum is bracketed; the cubic's, or half way to the quadratic's, whichever is nearer
    cubic = cubic_minimum(x, t)
    quadratic = x.step + x.slope / ((x.value - t.value) / (t.step - x.step) + x.slope) / 2 * (t.step - x.step)
    near_x = jnp.abs(cubic - x.step) < jnp.abs(quadratic - x.step)
    one = jnp.where(near_x, cubic, cubic + (quadratic - cubic) / 2)

    # 2: lower value, slopes of opposite sign: bracketed; the cubic's or the secant's, whichever is farther from t
    secant = t.step + t.slope / (t.slope - x.slope) * (x.step - t.step)
    two = jnp.where(jnp.abs(cubic - t.step) > jnp.abs(secant - t.step), cubic, secant)

    # 3: lower value, same sign, flatter: the cubic's only if it is a minimum on that side
    far = jnp.where(t.step > x.step, jnp.inf, -jnp.inf)
    ahead = jnp.isfinite(cubic) & ((cubic - t.step) * jnp.sign(t.step - x.step) > 0)
    cubic3 = jnp.where(ahead, cubic, far)
    nearer = jnp.abs(cubic3 - t.step) < jnp.abs(secant - t.step)
    three = jnp.where(closed == nearer, cubic3, secant)
    limit = t.step + SHRINKING * (y.step - t.step)
    kept_in = jnp.where(t.step > x.step, jnp.minimum(limit, three), jnp.maximum(limit, three))
    three = jnp.where(closed, kept_in, three)

    # 4: lower value, same sign, not flatter: towards the other end, or far out
    four = jnp.where(closed, cubic_minimum(y, t), 4 * t.step + t.step - x.step)

    trial = jnp.where(higher, one, jnp.where(opposite, two, jnp.where(flatter, three, four)))
    trial = jnp.where(jnp.isnan(trial), x.step + (t.step - x.step) / 2, trial)
    other = Sample.where(higher, t, Sample.where(opposite, x, y))
    return Sample.where(higher, x, t), other, trial, closed | higher | opposite


def cubic_minimum(one: Sample, other: Sample) -> Any:
    """Where the cubic with values and slopes of two points is lowest; NaN where it has no minimum.

    θ = 3 (f₁ − f₂)/(α₂ − α₁) + f′₁ + f′₂,  γ = ±√(θ² − f′₁ f′₂),  α₁ + (α₂ − α₁)(γ − f′₁ + θ)/(2γ − f′₁ + f′₂).

    Args:
        one: a point.
        other: another.

    Example:
        >>> at = lambda a: Sample(a, jnp.asarray(a**3 - 3 * a), jnp.asarray(3 * a**2 - 3.0))
        >>> float(cubic_minimum(at(0.0), at(2.0))), float(cubic_minimum(at(2.0), at(0.0)))
        (1.0, 1.0)

    Source:
        Nocedal and Wright 2006, equation 3.59.
    """
    width = other.step - one.step
    theta = 3 * (one.value - other.value) / width + one.slope + other.slope
    scale = jnp.maximum(jnp.abs(theta), jnp.maximum(jnp.abs(one.slope), jnp.abs(other.slope)))
    inner = (theta / scale) ** 2 - one.slope / scale * (other.slope / scale)
    # the root that belongs to a minimum is the one with the sign of the width
    gamma = scale * jnp.sqrt(inner) * jnp.sign(width)
    return one.step + width * (gamma - one.slope + theta) / (2 * gamma - one.slope + other.slope)


def more_thuente(
    phi: Function, step: Any = 1.0, *, c1: float = 1e-4, c2: float = 0.9, max_steps: int = 50, table: bool = False
) -> Step:
    """A step that fulfils the strong Wolfe conditions.

    Args:
        phi: φ, a function of a number; `along` makes it from f, x and a direction.
        step: the first step to try.
        c1: as in `strong_wolfe`.
        c2: as in `strong_wolfe`; small values (0.1) search nearly exactly, 0.9 suits Newton directions.
        max_steps: limit on the trials.
        table: whether the result has the table of trials.

    Returns:
        A `Step`; its status says whether the step was accepted.

    Raises:
        ArgumentError: not 0 < c₁ < c₂ < 1.
        OutputError: `phi` does not return one real number.

    Example:
        >>> found = more_thuente(lambda a: (a - 1) ** 4 - a, 0.1, c2=0.1)
        >>> bool(abs(4 * (found.step - 1) ** 3 - 1) <= 0.1 * 5), bool(found.accepted)
        (True, True)

    Source:
        Moré and Thuente 1994, Line search algorithms with guaranteed sufficient decrease; MINPACK-2 `dcsrch`.
    """
    return run(MoreThuente(c1=c1, c2=c2, max_steps=max_steps), "more_thuente", phi, step, table)
