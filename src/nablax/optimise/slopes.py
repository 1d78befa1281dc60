"""Searches of an interval that use derivatives: bisection of the slope, and Newton's method kept inside it."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp

from nablax.at_point import curvature
from nablax.errors import ArgumentError
from nablax.optimise.interval import MOST_STEPS, Function, Interval, IntervalRule, Minimum, bad, search
from nablax.optimise.outcome import SearchOutcome, first_of
from nablax.optimise.remembered import is_traced


def slope_bisection(
    f: Function, a: Any, b: Any, *, tol: Any = None, max_steps: int = MOST_STEPS, table: bool = False
) -> Minimum:
    """Minimum between two ends by the sign of the slope at the middle.

    Where f′(a) < 0 < f′(b), an inner minimum lies to the right of a point with negative slope and to the left of one
    with positive slope: after k steps |x − x*| ≤ (b − a) / 2^(k+1), with one evaluation of the slope a step, and
    down to ε|x|, where values resolve √ε|x| only.

    Args:
        f: function of a number with a number as result, differentiable.
        a: left end; the slope is evaluated there.
        b: right end; the slope is evaluated there.
        tol: bound on |x − x*| to reach; None for √ε (b − a).
        max_steps: as in `dichotomy`.
        table: as in `dichotomy`.

    Returns:
        A `Minimum`; `evaluations` counts points where the slope was evaluated.

    Raises:
        ArgumentError: as `dichotomy`; the slope is not negative at a, or not positive at b. Inside a transformation
            the status says that.
        OutputError: `f` does not return one real number.

    Example:
        >>> found = slope_bisection(lambda x: (x - 1.0) ** 2, -1.0, 2.0, tol=0.1)
        >>> float(found.x), int(found.steps)
        (0.96875, 4)
    """
    return _refused(search(_SlopeBisection(), f, a, b, tol, max_steps, table), f, a, b)


def newton_1d(
    f: Function, a: Any, b: Any, *, tol: Any = None, max_steps: int = MOST_STEPS, table: bool = False
) -> Minimum:
    """Minimum between two ends by Newton's method for f′ = 0, with exact f″, kept inside the interval.

    The step −f′/f″ is taken where f″ > 0, the point stays inside and the step is shorter than half the step before the
    last; bisection otherwise. Near a minimum with f″ > 0 the order is 2. The sign of the slope keeps the interval.

    Args:
        f: function of a number with a number as result, twice differentiable.
        a: as in `slope_bisection`.
        b: as in `slope_bisection`.
        tol: bound on the last step, and with it on |x − x*|; None for √ε (b − a).
        max_steps: as in `dichotomy`.
        table: as in `dichotomy`.

    Returns:
        A `Minimum`; `evaluations` counts points where f, f′ and f″ were evaluated.

    Raises:
        As `slope_bisection`.

    Example:
        >>> found = newton_1d(lambda x: (x - 1.0) ** 4 + (x - 1.0) ** 2, -1.0, 2.0)
        >>> bool(abs(found.x - 1.0) < 1e-5)
        True

    Source:
        Press et al. 2007, Numerical Recipes, section 9.4 (`rtsafe`), on the slope.
    """
    return _refused(search(_Newton(), f, a, b, tol, max_steps, table), f, a, b)


def _refused(found: Minimum, f: Function, a: Any, b: Any) -> Minimum:
    """What was found; outside of a transformation an interval without a minimum is an error."""
    if not is_traced(found) and bool(found.status == SearchOutcome.no_minimum):
        dtype = found.x.dtype
        low, high = (float(curvature(f)(jnp.asarray(x, dtype)).gradient) for x in (a, b))
        raise ArgumentError(
            f"a minimum was asked for between {float(a):g} and {float(b):g}; the slope is {low:g} at the left end and "
            f"{high:g} at the right one, so that the function does not fall into the interval from both ends. Give an "
            "interval where the slope is negative at the left end and positive at the right one."
        )
    return found


class _Slopes(eqx.Module):
    """The last two steps, the value, slope and second derivative at the point to go on from."""

    x: Any
    slope: Any
    second: Any
    last: Any
    before: Any


def _started(f: Function, lower: Any, upper: Any) -> tuple[Interval, _Slopes]:
    middle = lower + (upper - lower) / 2
    left, right = curvature(f)(lower).gradient, curvature(f)(upper).gradient
    at = curvature(f)(middle)
    slope = at.gradient
    # a slope of exactly zero at an end is a stationary point there, not a minimum inside
    outcome = first_of(
        SearchOutcome,
        (bad(at.value) | bad(slope) | bad(left) | bad(right), SearchOutcome.not_finite),
        (~((left < 0) & (right > 0)), SearchOutcome.no_minimum),
        (slope == 0, SearchOutcome.converged),
        otherwise=SearchOutcome.searching,
    )
    lower, upper = jnp.where(slope <= 0, middle, lower), jnp.where(slope >= 0, middle, upper)
    start = Interval(lower, upper, middle, at.value, jnp.abs(at.value), jnp.asarray(3), jnp.asarray(0), outcome)
    width = upper - lower
    return start, _Slopes(middle, slope, at.dense(), width, width)


class _SlopeBisection(IntervalRule):
    name: ClassVar[str] = "slope_bisection"
    kinds: ClassVar[tuple[str, ...]] = ("start", "left", "right")
    by_slopes: ClassVar[bool] = True

    def start(self, f: Function, lower: Any, upper: Any) -> tuple[Interval, Any]:
        at, _ = _started(f, lower, upper)
        return at, ()

    def step(self, f: Function, at: Interval, kept: Any, tolerance: Any) -> tuple[Interval, Any]:
        middle = at.lower + (at.upper - at.lower) / 2
        here = curvature(f)(middle)
        slope = here.gradient
        lower, upper = jnp.where(slope <= 0, middle, at.lower), jnp.where(slope >= 0, middle, at.upper)
        kind = jnp.where(slope > 0, 1, 2)
        moved = Interval(lower, upper, middle, here.value, at.scale, at.evaluations + 1, kind, at.outcome)
        outcome = first_of(
            SearchOutcome,
            (bad(here.value) | bad(slope), SearchOutcome.not_finite),
            ((slope == 0) | moved.within(tolerance, upper - lower), SearchOutcome.converged),
            otherwise=at.outcome,
        )
        return moved.ended(outcome), kept


class _Newton(IntervalRule):
    name: ClassVar[str] = "newton_1d"
    kinds: ClassVar[tuple[str, ...]] = ("start", "Newton", "bisection")
    by_slopes: ClassVar[bool] = True

    def start(self, f: Function, lower: Any, upper: Any) -> tuple[Interval, Any]:
        return _started(f, lower, upper)

    def step(self, f: Function, at: Interval, kept: _Slopes, tolerance: Any) -> tuple[Interval, Any]:
        step = -kept.slope / jnp.where(kept.second > 0, kept.second, jnp.nan)
        place = kept.x + step
        usable = (place > at.lower) & (place < at.upper) & (jnp.abs(step) < jnp.abs(kept.before) / 2)
        middle = at.lower + (at.upper - at.lower) / 2
        asked = jnp.where(usable, place, middle)
        # a step too short to reach another number is the end of what this precision can do
        still = asked == kept.x
        here = curvature(f)(asked)
        slope = here.gradient
        lower, upper = jnp.where(slope <= 0, asked, at.lower), jnp.where(slope >= 0, asked, at.upper)
        kind = jnp.where(usable, 1, 2)
        moved = Interval(lower, upper, asked, here.value, at.scale, at.evaluations + 1, kind, at.outcome)
        taken = asked - kept.x
        # Newton's error is at most the last step where it converges quadratically; the interval bounds it always.
        settled = still | (usable & (jnp.abs(taken) <= tolerance)) | moved.within(tolerance, upper - lower)
        outcome = first_of(
            SearchOutcome,
            (bad(here.value) | bad(slope) | bad(here.dense()), SearchOutcome.not_finite),
            ((slope == 0) | settled, SearchOutcome.converged),
            otherwise=at.outcome,
        )
        return moved.ended(outcome), _Slopes(asked, slope, here.dense(), taken, kept.last)
