"""The search of Hager and Zhang: secants from both ends of a bracket, and conditions that rounding does not spoil."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp

from nablax.errors import ArgumentError
from nablax.optimise.backtrack import check_limit
from nablax.optimise.conditions import approximate_wolfe, wolfe
from nablax.optimise.line import Function, LineSearch, Sample, Search, Step, run

# Their constants: growth while there is no bracket (ρ), and the share by which a bracket has to shrink (γ).
GROWTH, SHRINKING = 5.0, 0.66

# What the next value is for.
EXPAND, SECANT, SECOND_SECANT, MIDDLE, HALVING = range(5)


class _Bracket(eqx.Module):
    """Opposite slopes: φ′(a) < 0 ≤ φ′(b) and φ(a) ≤ φ(0) + ε.

    Args:
        low: a.
        high: b.
        old_low: a when this round began.
        old_high: b when this round began.
        left: halving: a point with φ ≤ φ(0) + ε and negative slope.
        right: halving: a point with φ > φ(0) + ε and negative slope.
        phase: what the trial is for.
        origin: the phase that halving interrupted.
    """

    low: Sample
    high: Sample
    old_low: Sample
    old_high: Sample
    left: Sample
    right: Sample
    phase: Any
    origin: Any


class HagerZhang(LineSearch):
    """Wolfe's conditions, or near the minimum the approximate ones, by a double secant in a bracket.

    Args:
        delta: as in `approximate_wolfe`; also c₁ of `wolfe`.
        sigma: as in `approximate_wolfe`; also c₂ of `wolfe`.
        epsilon: how far φ may rise, as a share of |φ(0)|.
        max_steps: limit on the trials.
    """

    delta: float = eqx.field(static=True, default=0.1)
    sigma: float = eqx.field(static=True, default=0.9)
    epsilon: float = eqx.field(static=True, default=1e-6)
    max_steps: int = eqx.field(static=True, default=50)
    uses_slopes: ClassVar[bool] = True

    def __check_init__(self) -> None:
        approximate_wolfe(0.0, 0.0, 0.0, -1.0, delta=self.delta, sigma=self.sigma)
        if not 0 <= self.epsilon < 1:
            raise ArgumentError(f"hager_zhang got epsilon={self.epsilon:g}; it is a share of |φ(0)|, from 0 up to 1.")
        check_limit("hager_zhang", self.max_steps)

    def first(self, start: Sample, trial: Any) -> _Bracket:
        """No bracket yet."""
        phase = jnp.asarray(EXPAND)
        return _Bracket(start, start, start, start, start, start, phase, phase)

    def judge(self, search: Search, found: Sample) -> tuple[Any, Any, Any]:
        """The conditions; the next step of the bracket's program."""
        start, at = search.start, search.kept
        given = (start.value, start.slope)
        rise = self.epsilon * jnp.abs(start.value)
        accepted = wolfe(found.step, found.value, found.slope, *given, c1=self.delta, c2=self.sigma)
        accepted |= approximate_wolfe(
            found.value, found.slope, *given, delta=self.delta, sigma=self.sigma, epsilon=rise
        )
        fine = jnp.isfinite(found.value) & jnp.isfinite(found.slope)
        rises = fine & (found.slope >= 0)
        falls = fine & ~rises & (found.value <= start.value + rise)
        # neither: the function is higher although it falls (or is not finite), so that a minimum was jumped over
        halving = at.phase == HALVING
        expanding = at.phase == EXPAND

        low = Sample.where(falls & ~halving, found, Sample.where(rises & halving, at.left, at.low))
        high = Sample.where(rises, found, at.high)
        left = Sample.where(halving, Sample.where(falls, found, at.left), at.low)
        right = Sample.where(rises | (halving & falls), at.right, found)
        halves = ~rises & (halving | ~falls)
        origin = jnp.where(halving, at.origin, at.phase)

        # what comes after the bracket was updated for the phase `origin`
        used = ~halving & (origin == SECANT)
        second = jnp.where(rises, secant(at.old_high, high), secant(at.old_low, low))
        inside = (second > low.step) & (second < high.step)
        try_second = used & inside
        wide = high.step - low.step > SHRINKING * (at.old_high.step - at.old_low.step)
        checked = (origin == SECANT) | (origin == SECOND_SECANT)
        try_middle = ~try_second & checked & wide
        middle = low.step + (high.step - low.step) / 2
        fresh = secant(low, high)
        fresh = jnp.where((fresh > low.step) & (fresh < high.step), fresh, middle)

        grows = expanding & falls
        phase = jnp.where(
            grows,
            EXPAND,
            jnp.where(
                halves,
                HALVING,
                jnp.where(try_second, SECOND_SECANT, jnp.where(try_middle, MIDDLE, SECANT)),
            ),
        )
        trial = jnp.where(
            grows,
            GROWTH * found.step,
            jnp.where(
                halves,
                left.step + (right.step - left.step) / 2,
                jnp.where(try_second, second, jnp.where(try_middle, middle, fresh)),
            ),
        )
        begins = phase == SECANT
        kept = _Bracket(
            low,
            high,
            Sample.where(begins, low, at.old_low),
            Sample.where(begins, high, at.old_high),
            left,
            right,
            phase,
            origin,
        )
        return accepted, trial, kept


def secant(one: Sample, other: Sample) -> Any:
    """Where the line through two slopes is zero: (a φ′(b) − b φ′(a)) / (φ′(b) − φ′(a)).

    Args:
        one: a point.
        other: another.

    Example:
        >>> float(secant(Sample(0.0, 0.0, jnp.asarray(-2.0)), Sample(3.0, 0.0, jnp.asarray(4.0))))
        1.0
    """
    return (one.step * other.slope - other.step * one.slope) / (other.slope - one.slope)


def hager_zhang(
    phi: Function,
    step: Any = 1.0,
    *,
    delta: float = 0.1,
    sigma: float = 0.9,
    epsilon: float = 1e-6,
    max_steps: int = 50,
    table: bool = False,
) -> Step:
    """A step that fulfils Wolfe's conditions or, where values drown in rounding, the approximate ones.

    Args:
        phi: φ, a function of a number; `along` makes it from f, x and a direction.
        step: the first step to try.
        delta: as in `approximate_wolfe`.
        sigma: as in `approximate_wolfe`.
        epsilon: how far φ may rise above φ(0), as a share of |φ(0)|.
        max_steps: limit on the trials.
        table: whether the result has the table of trials.

    Returns:
        A `Step`; its status says whether the step was accepted.

    Raises:
        ArgumentError: constants outside of their ranges.
        OutputError: `phi` does not return one real number.

    Example:
        >>> found = hager_zhang(lambda a: (a - 1) ** 2, 0.01, sigma=0.2)
        >>> round(float(found.step), 6), bool(found.accepted)
        (1.25, True)

    Source:
        Hager and Zhang 2005, A new conjugate gradient method with guaranteed descent and an efficient line search,
        section 4.
    """
    return run(
        HagerZhang(delta=delta, sigma=sigma, epsilon=epsilon, max_steps=max_steps), "hager_zhang", phi, step, table
    )
