"""Parabolas through three points, made safe by golden steps: successive parabolic interpolation, and Brent's method."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp

from nablax.optimise.interval import MOST_STEPS, Function, Interval, IntervalRule, Minimum, bad, largest, peak, search
from nablax.optimise.outcome import SearchOutcome, first_of
from nablax.optimise.rounding import rounding
from nablax.optimise.sections import GOLDEN

# Parabolic steps in a row that may each fail to halve the interval before a golden step is taken.
PATIENCE = 12


def parabolic(
    f: Function, a: Any, b: Any, *, tol: Any = None, max_steps: int = MOST_STEPS, table: bool = False
) -> Minimum:
    """Minimum of a unimodal function by successive parabolic interpolation.

    Each step goes to the minimum of the parabola through the three last points (`vertex`), which near a minimum
    converges with order 1.3247, the real root of p³ = p + 1. An interval around the best point is kept besides, and a
    golden step into its larger part is taken where the parabola has no minimum inside it, its three points are
    collinear or repeated, or the interval has not been halved for a while.

    Args:
        f: as in `dichotomy`.
        a: left end; the function is evaluated there.
        b: right end; the function is evaluated there.
        tol: as in `dichotomy`; the last steps are at least tol / 3 long, so that both ends close in.
        max_steps: as in `dichotomy`.
        table: as in `dichotomy`.

    Returns:
        A `Minimum`; its status is `not_unimodal` where the first inner point is higher than both ends.

    Raises:
        As `dichotomy`.

    Example:
        >>> found = parabolic(lambda x: (x - 1.0) ** 2, 0.0, 4.0, tol=0.01)
        >>> bool(abs(found.x - 1.0) < 0.01), int(found.evaluations)
        (True, 6)

    Source:
        Jarratt 1967, An iterative method for locating turning points; Brent 1973, chapter 5, for the safeguard.
    """
    return search(_Parabolic(), f, a, b, tol, max_steps, table)


def brent(f: Function, a: Any, b: Any, *, tol: Any = None, max_steps: int = MOST_STEPS, table: bool = False) -> Minimum:
    """Minimum of a unimodal function by Brent's method.

    The parabola goes through the three lowest points, and its step is taken where it stays inside the interval and is
    shorter than half the step before the last; a golden step otherwise. The ends are never evaluated.

    Args:
        f: as in `dichotomy`.
        a: left end.
        b: right end.
        tol: as in `dichotomy`; no two points are nearer than tol / 3.
        max_steps: as in `dichotomy`.
        table: as in `dichotomy`.

    Returns:
        A `Minimum`.

    Raises:
        As `dichotomy`.

    Example:
        >>> found = brent(lambda x: (x - 1.0) ** 2, 0.0, 4.0, tol=0.01)
        >>> bool(abs(found.x - 1.0) < 0.01), int(found.evaluations)
        (True, 6)

    Source:
        Brent 1973, Algorithms for Minimization without Derivatives, chapter 5 (`localmin`).
    """
    return search(_Brent(), f, a, b, tol, max_steps, table)


def vertex(points: Any, values: Any) -> tuple[Any, Any]:
    """Where the parabola through three points has its extremum, and whether that is a minimum.

    With x₂ − x₁ = u and x₂ − x₃ = v:  x₂ − [u² (f₂ − f₃) − v² (f₂ − f₁)] / (2 [u (f₂ − f₃) − v (f₂ − f₁)]).

    Args:
        points: x₁, x₂, x₃.
        values: f₁, f₂, f₃.

    Returns:
        The place, and whether it can be used: it is finite, and the parabola opens upwards. It cannot where the points
        are collinear or repeated.

    Example:
        >>> place, usable = vertex(jnp.array([0.0, 1.0, 4.0]), jnp.array([4.0, 1.0, 4.0]))
        >>> place, usable
        (Array(2., dtype=float32), Array(True, dtype=bool))
    """
    (x1, x2, x3), (f1, f2, f3) = points, values
    u, v = x2 - x1, x2 - x3
    over = u**2 * (f2 - f3) - v**2 * (f2 - f1)
    below = u * (f2 - f3) - v * (f2 - f1)
    place = x2 - over / (2 * jnp.where(below == 0, jnp.nan, below))
    # The second divided difference is the coefficient of x²: below / (u v (x₃ − x₁)), positive where it opens upwards.
    opens = below * u * v * (x3 - x1) > 0
    return place, opens & jnp.isfinite(place)


class _Parabolic(IntervalRule):
    name: ClassVar[str] = "parabolic"
    kinds: ClassVar[tuple[str, ...]] = ("start", "parabola", "golden")

    def start(self, f: Function, lower: Any, upper: Any) -> tuple[Interval, Any]:
        inner = lower + (upper - lower) / GOLDEN**2
        points = jnp.stack([lower, upper, inner])
        values = jnp.stack([f(lower), f(upper), f(inner)])
        best = jnp.argmin(values)
        scale = largest(0.0, *values)
        outcome = first_of(
            SearchOutcome,
            (jnp.any(bad(values)), SearchOutcome.not_finite),
            (peak(values[0], values[2], values[1], scale), SearchOutcome.not_unimodal),
            otherwise=SearchOutcome.searching,
        )
        at = Interval(lower, upper, points[best], values[best], scale, jnp.asarray(3), jnp.asarray(0), outcome)
        return at, (points, values, (values[0], values[1]), upper - lower, jnp.asarray(0))

    def step(self, f: Function, at: Interval, kept: Any, tolerance: Any) -> tuple[Interval, Any]:
        points, values, ends, width, waited = kept  # the oldest point first
        place, usable = vertex(points, values)
        least = _least_step(at, tolerance)
        usable &= (place > at.lower) & (place < at.upper) & (waited < PATIENCE)
        asked = _apart(jnp.where(usable, place, _golden(at)), at, least)
        found = f(asked)
        kind = jnp.where(usable, 1, 2)
        moved, ends = _narrowed(at, ends, asked, found, kind)
        halved = moved.upper - moved.lower <= width / 2
        outcome = _judged(moved, found, tolerance)
        points = jnp.concatenate([points[1:], asked[None]])
        values = jnp.concatenate([values[1:], found[None]])
        fresh = halved | ~usable
        width = jnp.where(fresh, moved.upper - moved.lower, width)
        return moved.ended(outcome), (points, values, ends, width, jnp.where(fresh, 0, waited + 1))


class _Brent(IntervalRule):
    name: ClassVar[str] = "brent"
    kinds: ClassVar[tuple[str, ...]] = ("start", "parabola", "golden")

    def start(self, f: Function, lower: Any, upper: Any) -> tuple[Interval, Any]:
        inner = lower + (upper - lower) / GOLDEN**2
        value = f(inner)
        outcome = first_of(SearchOutcome, (bad(value), SearchOutcome.not_finite), otherwise=SearchOutcome.searching)
        scale = largest(0.0, value)
        at = Interval(lower, upper, inner, value, scale, jnp.asarray(1), jnp.asarray(0), outcome)
        zero, unknown = jnp.zeros_like(inner), jnp.full_like(value, jnp.nan)
        # second and third lowest point and their values; values at the ends; the last step, and the one before
        return at, (jnp.stack([inner, inner]), jnp.stack([value, value]), (unknown, unknown), zero, zero)

    def step(self, f: Function, at: Interval, kept: Any, tolerance: Any) -> tuple[Interval, Any]:
        points, values, ends, last, before = kept
        place, usable = vertex(jnp.stack([points[0], at.x, points[1]]), jnp.stack([values[0], at.value, values[1]]))
        least = _least_step(at, tolerance)
        shorter = jnp.abs(place - at.x) < jnp.abs(before) / 2
        usable &= shorter & (jnp.abs(before) > least) & (place > at.lower) & (place < at.upper)
        golden = _golden(at)
        # the step before a golden one is as long as the part that it divides
        part = jnp.where(at.x < at.lower + (at.upper - at.lower) / 2, at.upper - at.x, at.lower - at.x)
        asked = _apart(jnp.where(usable, place, golden), at, least)
        found = f(asked)
        moved, ends = _narrowed(at, ends, asked, found, jnp.where(usable, 1, 2))
        outcome = _judged(moved, found, tolerance)
        better = found < at.value
        second = (found <= values[0]) | (points[0] == at.x)
        third = (found <= values[1]) | (points[1] == at.x) | (points[1] == points[0])

        def ranked(old: Any, best: Any, new: Any) -> Any:
            worse = jnp.where(second, jnp.stack([new, old[0]]), jnp.where(third, jnp.stack([old[0], new]), old))
            return jnp.where(better, jnp.stack([best, old[0]]), worse)

        kept = (ranked(points, at.x, asked), ranked(values, at.value, found))
        return moved.ended(outcome), (*kept, ends, asked - at.x, jnp.where(usable, last, part))


def _least_step(at: Interval, tolerance: Any) -> Any:
    """The shortest step: points nearer than √ε have equal values up to rounding, so that tol / 3 or ε|x| is kept."""
    return jnp.maximum(tolerance / 3, 2 * rounding(at.x.dtype) * jnp.abs(at.x))


def _golden(at: Interval) -> Any:
    """The golden point of the larger part of the interval, seen from the best point."""
    right = at.x < at.lower + (at.upper - at.lower) / 2
    return at.x + jnp.where(right, at.upper - at.x, at.lower - at.x) / GOLDEN**2


def _apart(place: Any, at: Interval, least: Any) -> Any:
    """A place moved away from the ends and from the best point, by the shortest step, but still inside."""
    centre = at.lower + (at.upper - at.lower) / 2
    near_end = (place - at.lower < 2 * least) | (at.upper - place < 2 * least)
    inward = jnp.where(centre >= at.x, least, -least)
    step = jnp.where(near_end, inward, place - at.x)
    step = jnp.where(jnp.abs(step) < least, jnp.where(step == 0, inward, jnp.sign(step) * least), step)
    asked = at.x + step
    return jnp.where((asked > at.lower) & (asked < at.upper), asked, centre)


def _narrowed(at: Interval, ends: Any, asked: Any, found: Any, kind: Any) -> tuple[Interval, Any]:
    """The interval after a new value, and the values at its ends."""
    scale = largest(at.scale, found)
    several = peak(ends[0], found, at.value, scale) & (asked < at.x)
    several |= peak(at.value, found, ends[1], scale) & (asked > at.x)
    better = found < at.value
    middle, value = jnp.where(better, asked, at.x), jnp.where(better, found, at.value)
    out, high = jnp.where(better, at.x, asked), jnp.where(better, at.value, found)  # becomes the end on its side
    left, right = out < middle, out > middle
    outcome = first_of(SearchOutcome, (several, SearchOutcome.not_unimodal), otherwise=at.outcome)
    lower, upper = jnp.where(left, out, at.lower), jnp.where(right, out, at.upper)
    ends = (jnp.where(left, high, ends[0]), jnp.where(right, high, ends[1]))
    return Interval(lower, upper, middle, value, scale, at.evaluations + 1, kind, outcome), ends


def _judged(moved: Interval, found: Any, tolerance: Any) -> Any:
    reached = jnp.maximum(moved.x - moved.lower, moved.upper - moved.x)
    going = moved.outcome == SearchOutcome.searching
    return first_of(
        SearchOutcome,
        (bad(found), SearchOutcome.not_finite),
        (going & moved.within(tolerance, reached), SearchOutcome.converged),
        otherwise=moved.outcome,
    )
