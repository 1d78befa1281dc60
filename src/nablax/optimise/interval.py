"""Searches that shrink an interval: what they share. Their rules stand in `sections`, `parabolas` and `slopes`."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from nablax.errors import ArgumentError, OutputError
from nablax.ops.jaxprs import closed
from nablax.optimise.outcome import SearchOutcome, first_of, is_item, told
from nablax.optimise.remembered import Remembered, is_traced
from nablax.optimise.rounding import rounding
from nablax.optimise.sensitivity import known, minimum, still, untold
from nablax.optimise.table import Table

Function = Callable[..., Any]
COLUMNS = ("step", "a", "b", "x", "f(x)", "evaluations", "kind")
MOST_STEPS = 200


class Minimum(eqx.Module):
    """What an exact line search found.

    Args:
        x: the best point.
        value: the function there.
        interval: ends of the last interval.
        evaluations: how often the function (with its slopes, where the search uses them) was evaluated.
        steps: iterations.
        status: one of `SearchOutcome`.
        table: the iterations, where they were asked for.
    """

    x: Any
    value: Any
    interval: tuple[Any, Any]
    evaluations: Any
    steps: Any
    status: Any
    table: Table | None = None

    def __str__(self) -> str:
        low, high = self.interval
        found = f"x = {self.x:.8g}, f(x) = {self.value:.8g}, in [{low:.8g}, {high:.8g}]"
        counted = f"{int(self.steps)} steps, {int(self.evaluations)} evaluations"
        lines = [f"{found}, {counted}", told(self.status)]
        return "\n".join(lines + ([str(self.table)] if self.table is not None else []))


class Interval(eqx.Module):
    """Where a search stands.

    Args:
        lower: left end.
        upper: right end.
        x: the best point.
        value: the function there.
        scale: the largest value so far, by magnitude; rounding is a few units of that.
        evaluations: of the function so far.
        kind: which kind of step led here, a position among the rule's `kinds`.
        outcome: one of `SearchOutcome`.
    """

    lower: Any
    upper: Any
    x: Any
    value: Any
    scale: Any
    evaluations: Any
    kind: Any
    outcome: Any

    def ended(self, outcome: Any) -> Interval:
        """The same place with another outcome."""
        return Interval(self.lower, self.upper, self.x, self.value, self.scale, self.evaluations, self.kind, outcome)

    def within(self, tolerance: Any, bound: Any) -> Any:
        """Whether a bound on |x - x*| is as small as asked, or as rounding allows.

        Two points nearer than a few units of rounding cannot be told apart, so that no interval is shrunk below.
        """
        scale = jnp.maximum(jnp.abs(self.lower), jnp.abs(self.upper))
        return bound <= jnp.maximum(tolerance, 4 * rounding(self.x.dtype) * scale)


class IntervalRule(eqx.Module):
    """One way to shrink an interval: frozen, without state of its own.

    The slopes at the ends tell a rule that asks for them that there is a minimum inside; to one that looks at values
    only, an end that never moved means that there may be none.
    """

    name: eqx.AbstractClassVar[str]
    kinds: eqx.AbstractClassVar[tuple[str, ...]]
    by_slopes: ClassVar[bool] = False

    @abc.abstractmethod
    def start(self, f: Function, lower: Any, upper: Any) -> tuple[Interval, Any]:
        """The first interval, and what the rule keeps besides."""

    @abc.abstractmethod
    def step(self, f: Function, at: Interval, kept: Any, tolerance: Any) -> tuple[Interval, Any]:
        """The next interval."""


def search(rule: IntervalRule, f: Function, a: Any, b: Any, tol: Any, max_steps: int, table: bool) -> Minimum:
    """Run a rule.

    Args:
        rule: the rule.
        f: function of a number with a number as result.
        a: left end.
        b: right end.
        tol: bound on |x - x*| to reach; None for the square root of the rounding error, of b - a.
        max_steps: limit.
        table: whether the iterations are kept.

    Returns:
        What was found.

    Raises:
        ArgumentError: ends that are no numbers, or not in order; a tolerance or limit that is not positive.
        OutputError: `f` does not return one real number.
    """
    if not callable(f):
        raise ArgumentError.no_function(rule.name, f)
    lower, upper, tolerance = _checked(rule.name, a, b, tol, max_steps)
    _check_output(rule.name, f, lower)
    if is_traced(lower, upper, tolerance):
        return _run(rule, f, lower, upper, tolerance, max_steps, table)
    key = (rule, max_steps, bool(table), lower.dtype.name)
    compiled = _COMPILED.get(
        f, key, lambda own: jax.jit(lambda a, b, tol: _run(rule, own, a, b, tol, max_steps, table))
    )
    found: Minimum = compiled(lower, upper, tolerance)
    return found


_COMPILED = Remembered()


def _run(
    rule: IntervalRule, f: Function, lower: Any, upper: Any, tolerance: Any, max_steps: int, table: bool
) -> Minimum:
    """What is found, moving with the ends and with what the function refers to as a minimum does."""
    found: Minimum = still(lambda a, b, tol: _searched(rule, f, a, b, tol, max_steps, table), lower, upper, tolerance)
    reached = is_item(found.status, SearchOutcome.converged) | is_item(found.status, SearchOutcome.at_end)
    function = closed(f, (lower,))
    x = minimum(function, found.x, reached, (lower, upper))
    interval, rows = untold((found.interval, found.table), x)
    return Minimum(x, known(function, found.value, x), interval, found.evaluations, found.steps, found.status, rows)


def _searched(
    rule: IntervalRule, f: Function, lower: Any, upper: Any, tolerance: Any, max_steps: int, table: bool
) -> Minimum:
    def value(x: Any) -> Any:
        return jax.tree.map(lambda y: jnp.asarray(y, lower.dtype), f(x))

    at, kept = rule.start(value, lower, upper)
    rows = Table.empty(COLUMNS, max_steps + 1, lower.dtype, rule.kinds) if table else None
    state = (jnp.asarray(0), at, kept, _noted(rows, 0, at))

    def going(state: Any) -> Any:
        step, at, _, _ = state
        return (at.outcome == SearchOutcome.searching) & (step < max_steps)

    def next_state(state: Any) -> Any:
        step, at, kept, rows = state
        moved, kept = rule.step(value, at, kept, tolerance)
        # a value that says nothing moves nothing: what was known before stays the answer
        lost = moved.outcome == SearchOutcome.not_finite
        held = Interval(at.lower, at.upper, at.x, at.value, at.scale, moved.evaluations, moved.kind, moved.outcome)
        at = jax.tree.map(lambda before, after: jnp.where(lost, before, after), held, moved)
        return step + 1, at, kept, _noted(rows, step + 1, at)

    steps, at, _, rows = jax.lax.while_loop(going, next_state, state)
    at_end = (
        (not rule.by_slopes) & (at.outcome == SearchOutcome.converged) & ((at.lower == lower) | (at.upper == upper))
    )
    status = first_of(
        SearchOutcome,
        (at_end, SearchOutcome.at_end),
        (at.outcome == SearchOutcome.searching, SearchOutcome.max_steps),
        otherwise=at.outcome,
    )
    return Minimum(at.x, at.value, (at.lower, at.upper), at.evaluations, steps, status, rows)


def _noted(rows: Table | None, step: Any, at: Interval) -> Table | None:
    if rows is None:
        return None
    return rows.with_row(step, at.lower, at.upper, at.x, at.value, at.evaluations, at.kind)


def bad(value: Any) -> Any:
    """Whether a value says nothing: not a number, or minus infinity. Plus infinity is a wall, which is fine."""
    return jnp.isnan(value) | (value == -jnp.inf)


def peak(left: Any, middle: Any, right: Any, scale: Any) -> Any:
    """Whether a point is higher than both its neighbours, by more than rounding; a NaN is a value not known."""
    slack = 8 * rounding(middle.dtype) * scale
    return (middle > left + slack) & (middle > right + slack)


def largest(scale: Any, *values: Any) -> Any:
    """The largest magnitude among finite values."""
    for value in values:
        scale = jnp.where(jnp.isfinite(value), jnp.maximum(scale, jnp.abs(value)), scale)
    return scale


def _checked(name: str, a: Any, b: Any, tol: Any, max_steps: Any) -> tuple[Any, Any, Any]:
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
        raise ArgumentError(f"{name} got max_steps={max_steps!r}; it is a number of iterations, at least 1.")
    dtype = jnp.result_type(a, b, *(() if tol is None else (tol,)))
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = jnp.result_type(float)
    lower, upper = jnp.asarray(a, dtype), jnp.asarray(b, dtype)
    if lower.shape or upper.shape:
        raise ArgumentError(
            f"{name} got an interval whose ends have shapes {list(lower.shape)} and {list(upper.shape)}; they are "
            "numbers. Use jax.vmap to search many intervals at once."
        )
    if not is_traced(lower, upper) and not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
        raise ArgumentError(
            f"{name} got the interval [{float(lower):g}, {float(upper):g}]; its ends are finite and in order, a < b."
        )
    if tol is not None and not is_traced(tol) and not float(tol) > 0:
        raise ArgumentError(f"{name} got tol={float(tol):g}; it is a positive bound on the distance to the minimum.")
    found = (upper - lower) * rounding(dtype) ** 0.5 if tol is None else tol
    return lower, upper, jnp.asarray(found, dtype)


def _check_output(name: str, f: Function, x: Any) -> None:
    leaves = jax.tree.leaves(jax.eval_shape(f, x))
    if len(leaves) != 1 or leaves[0].shape or not jnp.issubdtype(leaves[0].dtype, jnp.floating):
        shown = ", ".join(f"{leaf.dtype.name}{list(leaf.shape)}" for leaf in leaves) or "nothing"
        raise OutputError(
            f"{name} searches a function that returns one real number; this one returns {shown} for a number. "
            "Return a scalar; use jax.vmap to search many functions at once."
        )
