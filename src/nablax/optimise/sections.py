"""Sections of an interval by values alone: halving, and the golden section."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from nablax.optimise.interval import MOST_STEPS, Function, Interval, IntervalRule, Minimum, bad, largest, peak, search
from nablax.optimise.outcome import SearchOutcome, first_of

GOLDEN = (5**0.5 + 1) / 2
"""τ, with τ² = τ + 1."""


def dichotomy(
    f: Function, a: Any, b: Any, *, tol: Any = None, max_steps: int = MOST_STEPS, table: bool = False
) -> Minimum:
    """Minimum of a unimodal function by halving the interval.

    The middle is known; a step looks at the middle of the left half, and, only if that is no lower, at that of the
    right half, and keeps the half around the lowest point. After k steps |x − x*| ≤ (b − a) / 2^(k+1): with two
    evaluations a step a factor of 1/√2 ≈ 0.707 an evaluation.

    Args:
        f: function of a number with a number as result.
        a: left end.
        b: right end.
        tol: bound on |x − x*| to reach; None for √ε (b − a), which is what values can resolve.
        max_steps: limit on the iterations.
        table: whether the result has the table of iterations.

    Returns:
        A `Minimum`.

    Raises:
        ArgumentError: ends that are not finite or not in order; a tolerance or limit that is not positive.
        OutputError: `f` does not return one real number.

    Example:
        >>> found = dichotomy(lambda x: (x - 1.0) ** 2, 0.0, 4.0, tol=0.25)
        >>> float(found.x), int(found.steps), int(found.evaluations)
        (1.0, 3, 6)

    Source:
        Kiefer 1953, Sequential minimax search for a maximum; the three-point form of interval halving.
    """
    return search(_Dichotomy(), f, a, b, tol, max_steps, table)


def golden_section(
    f: Function, a: Any, b: Any, *, tol: Any = None, max_steps: int = MOST_STEPS, table: bool = False
) -> Minimum:
    """Minimum of a unimodal function by golden section.

    The two inner points are a + (b − a)/τ² and a + (b − a)/τ with τ = (1 + √5)/2. The interval loses the part beyond
    the higher one, and because 1/τ² = 1 − 1/τ the lower one is an inner point of the rest, in the other role. So each
    step takes one evaluation, and after N of them the interval has length 0.618^(N−1) (b − a).

    Args:
        f: as in `dichotomy`.
        a: left end.
        b: right end.
        tol: as in `dichotomy`.
        max_steps: as in `dichotomy`.
        table: as in `dichotomy`.

    Returns:
        A `Minimum`.

    Raises:
        As `dichotomy`.

    Example:
        >>> found = golden_section(lambda x: (x - 1.0) ** 2, 0.0, 4.0, tol=0.001)
        >>> bool(abs(found.x - 1.0) <= 0.001), int(found.evaluations)
        (True, 19)

    Source:
        Kiefer 1953.
    """
    return search(_GoldenSection(), f, a, b, tol, max_steps, table)


class _Dichotomy(IntervalRule):
    name: ClassVar[str] = "dichotomy"
    kinds: ClassVar[tuple[str, ...]] = ("start", "left", "middle", "right")

    def start(self, f: Function, lower: Any, upper: Any) -> tuple[Interval, Any]:
        middle = lower + (upper - lower) / 2
        value = f(middle)
        outcome = first_of(SearchOutcome, (bad(value), SearchOutcome.not_finite), otherwise=SearchOutcome.searching)
        at = Interval(lower, upper, middle, value, largest(0.0, value), jnp.asarray(1), jnp.asarray(0), outcome)
        unknown = jnp.full_like(value, jnp.nan)
        return at, (unknown, unknown)

    def step(self, f: Function, at: Interval, kept: Any, tolerance: Any) -> tuple[Interval, Any]:
        at_lower, at_upper = kept
        left_point, right_point = at.lower + (at.x - at.lower) / 2, at.x + (at.upper - at.x) / 2
        left = f(left_point)
        goes_left = left < at.value
        right = jax.lax.cond(goes_left, lambda x: jnp.full_like(x, jnp.nan), f, right_point)
        goes_right = ~goes_left & (right < at.value)

        def chosen(if_left: Any, if_middle: Any, if_right: Any) -> Any:
            return jnp.where(goes_left, if_left, jnp.where(goes_right, if_right, if_middle))

        scale = largest(at.scale, left, right)
        several = peak(at_lower, left, at.value, scale) | peak(at.value, right, at_upper, scale)
        moved = Interval(
            chosen(at.lower, left_point, at.x),
            chosen(at.x, right_point, at.upper),
            chosen(left_point, at.x, right_point),
            chosen(left, at.value, right),
            scale,
            at.evaluations + jnp.where(goes_left, 1, 2),
            chosen(1, 2, 3),
            at.outcome,
        )
        kept = (chosen(at_lower, left, at.value), chosen(at.value, right, at_upper))
        outcome = first_of(
            SearchOutcome,
            (bad(left) | (~goes_left & bad(right)), SearchOutcome.not_finite),
            (several, SearchOutcome.not_unimodal),
            (moved.within(tolerance, (moved.upper - moved.lower) / 2), SearchOutcome.converged),
            otherwise=at.outcome,
        )
        return moved.ended(outcome), kept


class _GoldenSection(IntervalRule):
    name: ClassVar[str] = "golden_section"
    kinds: ClassVar[tuple[str, ...]] = ("start", "left", "right")

    def start(self, f: Function, lower: Any, upper: Any) -> tuple[Interval, Any]:
        inner = (lower + (upper - lower) / GOLDEN**2, lower + (upper - lower) / GOLDEN)
        values = (f(inner[0]), f(inner[1]))
        unknown = jnp.full_like(values[0], jnp.nan)
        return self._judged(lower, upper, inner, values, (unknown, unknown), 0.0, 2, 0, SearchOutcome.searching)

    def step(self, f: Function, at: Interval, kept: Any, tolerance: Any) -> tuple[Interval, Any]:
        (first, second), (low, high), (at_lower, at_upper) = kept
        goes_left = low < high
        lower, upper = jnp.where(goes_left, at.lower, first), jnp.where(goes_left, second, at.upper)
        asked = jnp.where(goes_left, lower + (upper - lower) / GOLDEN**2, lower + (upper - lower) / GOLDEN)
        found = f(asked)
        inner = (jnp.where(goes_left, asked, second), jnp.where(goes_left, first, asked))
        values = (jnp.where(goes_left, found, high), jnp.where(goes_left, low, found))
        ends = (jnp.where(goes_left, at_lower, low), jnp.where(goes_left, high, at_upper))
        kind = jnp.where(goes_left, 1, 2)
        moved, kept = self._judged(lower, upper, inner, values, ends, at.scale, at.evaluations + 1, kind, at.outcome)
        reached = jnp.maximum(moved.x - moved.lower, moved.upper - moved.x)
        # The kept point drifts from its place by rounding, more with every step; where the order breaks, all is noise.
        ended = moved.within(tolerance, reached) | ~(inner[0] < inner[1])
        going = moved.outcome == SearchOutcome.searching
        return moved.ended(
            first_of(SearchOutcome, (going & ended, SearchOutcome.converged), otherwise=moved.outcome)
        ), kept

    def _judged(
        self,
        lower: Any,
        upper: Any,
        inner: Any,
        values: Any,
        ends: Any,
        scale: Any,
        evaluations: Any,
        kind: Any,
        outcome: Any,
    ) -> tuple[Interval, Any]:
        best = values[0] < values[1]
        scale = largest(scale, *values)
        several = peak(ends[0], values[0], values[1], scale) | peak(values[0], values[1], ends[1], scale)
        outcome = first_of(
            SearchOutcome,
            (bad(values[0]) | bad(values[1]), SearchOutcome.not_finite),
            (several, SearchOutcome.not_unimodal),
            otherwise=outcome,
        )
        x, value = jnp.where(best, *inner), jnp.where(best, *values)
        at = Interval(lower, upper, x, value, scale, jnp.asarray(evaluations), jnp.asarray(kind), outcome)
        return at, (inner, values, ends)
