"""Backtracking from a long step, and bracketing by doubling and halving."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp

from nablax.errors import ArgumentError
from nablax.optimise.conditions import armijo, check_constants, goldstein, wolfe
from nablax.optimise.line import Function, LineSearch, Sample, Search, Step, run

Interpolation = Literal["none", "quadratic", "cubic"]
# An interpolated step stays between these shares of the last one (Dennis and Schnabel 1983, algorithm A6.3.1).
SHORTEST, LONGEST = 0.1, 0.5


class Backtracking(LineSearch):
    """α ← βα, or the minimum of a polynomial through what is known, until Armijo's condition holds.

    Args:
        c1: as in `armijo`.
        factor: β; only where nothing is interpolated.
        interpolation: "none", "quadratic" (φ(0), φ′(0), φ(α)) or "cubic" (and the value before).
        max_steps: limit on the trials.
    """

    c1: float = eqx.field(static=True, default=1e-4)
    factor: float = eqx.field(static=True, default=0.5)
    interpolation: Interpolation = eqx.field(static=True, default="cubic")
    max_steps: int = eqx.field(static=True, default=100)
    uses_slopes: ClassVar[bool] = False

    def __check_init__(self) -> None:
        check_constants("backtracking", c1=self.c1)
        if not 0 < self.factor < 1:
            raise ArgumentError(f"backtracking got factor={self.factor:g}; a step is shortened by a factor in (0, 1).")
        if self.interpolation not in ("none", "quadratic", "cubic"):
            raise ArgumentError(
                f"backtracking was asked for interpolation={self.interpolation!r}; there are 'none', 'quadratic' and "
                "'cubic'."
            )
        check_limit("backtracking", self.max_steps)

    def first(self, start: Sample, trial: Any) -> Any:
        """The trial before the last; none yet."""
        return jnp.full_like(trial, jnp.nan), jnp.full_like(start.value, jnp.nan)

    def judge(self, search: Search, found: Sample) -> tuple[Any, Any, Any]:
        """Armijo's condition; a shorter step."""
        start = search.start
        accepted = armijo(found.step, found.value, start.value, start.slope, c1=self.c1)
        shorter = found.step * self.factor
        if self.interpolation != "none":
            place = quadratic_minimum(start, found)
            if self.interpolation == "cubic":
                cubic = cubic_through_three(start, found, *search.kept)
                place = jnp.where(jnp.isfinite(cubic), cubic, place)
            inside = jnp.clip(place, SHORTEST * found.step, LONGEST * found.step)
            # behind a wall (not a number, or infinite) no polynomial helps
            shorter = jnp.where(jnp.isfinite(inside) & jnp.isfinite(found.value), inside, SHORTEST * found.step)
        return accepted, shorter, (found.step, found.value)


def quadratic_minimum(start: Sample, found: Sample) -> Any:
    """Where the parabola with φ(0), φ′(0) and φ(α) is lowest: −φ′(0) α² / (2 [φ(α) − φ(0) − φ′(0) α]).

    Args:
        start: φ at 0, with slope.
        found: φ at α.

    Example:
        >>> at = lambda a: Sample(jnp.asarray(a), jnp.asarray((1 - a) ** 2), jnp.asarray(-2 * (1 - a)))
        >>> float(quadratic_minimum(at(0.0), at(4.0)))
        1.0
    """
    return -start.slope * found.step**2 / (2 * (found.value - start.value - start.slope * found.step))


def cubic_through_three(start: Sample, found: Sample, step: Any, value: Any) -> Any:
    """Where the cubic with φ(0), φ′(0), φ(α) and another value is lowest; NaN where there is no such place.

    With r(α) = φ(α) − φ(0) − φ′(0)α = a α³ + b α², two values of r / α² = a α + b give a and b, and the minimum is
    (−b + √(b² − 3 a φ′(0))) / (3a) = −φ′(0) / (b + √(b² − 3 a φ′(0))), which is also right for a = 0.

    Args:
        start: φ at 0, with slope.
        found: φ at α.
        step: another step; NaN for none.
        value: φ there.

    Source:
        Nocedal and Wright 2006, equation 3.58 and the text after it.

    Example:
        φ(α) = α³ − 3α has its minimum at 1:

        >>> phi = lambda a: jnp.asarray(a**3 - 3 * a)
        >>> start = Sample(jnp.asarray(0.0), phi(0.0), jnp.asarray(-3.0))
        >>> float(cubic_through_three(start, Sample(jnp.asarray(2.0), phi(2.0), jnp.nan), 3.0, phi(3.0)))
        1.0
    """
    one = (found.value - start.value - start.slope * found.step) / found.step**2
    other = (value - start.value - start.slope * step) / step**2
    a = (one - other) / (found.step - step)
    b = one - a * found.step
    return -start.slope / (b + jnp.sqrt(b**2 - 3 * a * start.slope))


class Bracketing(LineSearch):
    """Doubling until a step is too long, then halving between too short and too long.

    Args:
        condition: "wolfe" or "goldstein": each is an upper bound on φ that long steps break, and a lower bound, on the
            slope or on φ, that short ones break.
        c1: as in `wolfe`.
        c2: as in `wolfe`.
        rho: as in `goldstein`.
        max_steps: limit on the trials.
    """

    condition: Literal["wolfe", "goldstein"] = eqx.field(static=True, default="wolfe")
    c1: float = eqx.field(static=True, default=1e-4)
    c2: float = eqx.field(static=True, default=0.9)
    rho: float = eqx.field(static=True, default=0.25)
    max_steps: int = eqx.field(static=True, default=100)
    uses_slopes: ClassVar[bool] = True

    def __check_init__(self) -> None:
        if self.condition not in ("wolfe", "goldstein"):
            raise ArgumentError(
                f"bracketing was asked for the condition {self.condition!r}; there are 'wolfe' and 'goldstein'."
            )
        check_constants("bracketing", c1=self.c1, c2=self.c2)
        goldstein(1.0, 0.0, 0.0, -1.0, rho=self.rho)
        check_limit("bracketing", self.max_steps)

    def first(self, start: Sample, trial: Any) -> Any:
        """The longest step that is too short, and the shortest that is too long."""
        return jnp.zeros_like(trial), jnp.full_like(trial, jnp.inf)

    def judge(self, search: Search, found: Sample) -> tuple[Any, Any, Any]:
        """The condition; the middle of the bracket."""
        start, (low, high) = search.start, search.kept
        given = (found.value, start.value, start.slope)
        if self.condition == "wolfe":
            accepted = wolfe(found.step, found.value, found.slope, start.value, start.slope, c1=self.c1, c2=self.c2)
            long = ~armijo(found.step, *given, c1=self.c1)
        else:
            accepted = goldstein(found.step, *given, rho=self.rho)
            long = ~armijo(found.step, *given, c1=self.rho)
        low, high = jnp.where(long, low, found.step), jnp.where(long, found.step, high)
        trial = jnp.where(jnp.isfinite(high), low + (high - low) / 2, 2 * found.step)
        return accepted, trial, (low, high)


def backtracking(
    phi: Function,
    step: Any = 1.0,
    *,
    c1: float = 1e-4,
    factor: float = 0.5,
    interpolation: Interpolation = "none",
    max_steps: int = 100,
    table: bool = False,
) -> Step:
    """A step with sufficient decrease, by shortening a long one.

    Args:
        phi: φ, a function of a number; `along` makes it from f, x and a direction.
        step: the first step to try.
        c1: as in `armijo`.
        factor: β of α ← βα; only where nothing is interpolated.
        interpolation: "none", "quadratic" or "cubic": the next step is the minimum of the polynomial through what is
            known, kept between a tenth and a half of the last one.
        max_steps: limit on the trials.
        table: whether the result has the table of trials.

    Returns:
        A `Step`; its status says whether the step was accepted. The slope of φ is only evaluated at 0.

    Raises:
        ArgumentError: a constant outside its range, or no such interpolation.
        OutputError: `phi` does not return one real number.

    Example:
        >>> found = backtracking(lambda a: (1 - a) ** 2, 8.0)
        >>> float(found.step), int(found.evaluations)
        (1.0, 4)

    Source:
        Armijo 1966; Dennis and Schnabel 1983, algorithm A6.3.1, for the interpolation.
    """
    rule = Backtracking(c1=c1, factor=factor, interpolation=interpolation, max_steps=max_steps)
    return run(rule, "backtracking", phi, step, table)


def bracketing(
    phi: Function,
    step: Any = 1.0,
    *,
    condition: Literal["wolfe", "goldstein"] = "wolfe",
    c1: float = 1e-4,
    c2: float = 0.9,
    rho: float = 0.25,
    max_steps: int = 100,
    table: bool = False,
) -> Step:
    """A step that fulfils Wolfe's or Goldstein's condition, by doubling and halving.

    Args:
        phi: as in `backtracking`.
        step: the first step to try.
        condition: "wolfe" or "goldstein".
        c1: as in `wolfe`.
        c2: as in `wolfe`.
        rho: as in `goldstein`.
        max_steps: limit on the trials.
        table: as in `backtracking`.

    Returns:
        A `Step`.

    Raises:
        As `backtracking`.

    Example:
        >>> found = bracketing(lambda a: (1 - a) ** 2, 8.0, condition="goldstein")
        >>> float(found.step), int(found.evaluations)
        (1.0, 4)

    Source:
        Lemaréchal 1981; Burke, Lewis and Overton 2005, algorithm 2.6.
    """
    rule = Bracketing(condition=condition, c1=c1, c2=c2, rho=rho, max_steps=max_steps)
    return run(rule, "bracketing", phi, step, table)


def check_limit(name: str, max_steps: Any) -> None:
    """Refuse a limit that is no positive integer.

    Args:
        name: of the search, for the message.
        max_steps: the limit.

    Raises:
        ArgumentError: it is none.
    """
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
        raise ArgumentError(f"{name} got max_steps={max_steps!r}; it is a number of trials, at least 1.")
