"""A function along a direction, and inexact searches on it as machines that are told one value at a time.

A rule does not call the function: it says which step to try next and is told value and slope there. The same rule so
serves a loop here, a minimiser of this package, one of optimistix, and a transformation of optax.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from nablax.errors import ArgumentError, OutputError
from nablax.optimise.outcome import SearchOutcome, first_of, told
from nablax.optimise.remembered import Remembered, is_traced
from nablax.optimise.rounding import rounding
from nablax.optimise.table import Table

Function = Callable[..., Any]
# A longer step means that the function falls for ever.
LONGEST = 1e20
COLUMNS = ("step", "α", "φ(α)", "φ′(α)", "evaluations")


class Sample(eqx.Module):
    """A point on the line.

    Args:
        step: α.
        value: φ(α).
        slope: φ′(α); NaN where a rule without slopes did not ask for it.
    """

    step: Any
    value: Any
    slope: Any

    @classmethod
    def where(cls, condition: Any, one: Sample, other: Sample) -> Sample:
        """One point or another."""
        found: Sample = jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
        return found


class Search(eqx.Module):
    """Where an inexact search stands.

    Args:
        start: φ at 0.
        trial: the step whose value is asked for next.
        best: the lowest point so far, or the accepted one.
        steps: values told so far.
        outcome: one of `SearchOutcome`.
        kept: what the rule keeps.
    """

    start: Sample
    trial: Any
    best: Sample
    steps: Any
    outcome: Any
    kept: Any

    @property
    def going(self) -> Any:
        """Whether another value is asked for."""
        return self.outcome == SearchOutcome.searching


class LineSearch(eqx.Module):
    """A rule that finds an acceptable step; frozen. Its state is a `Search`."""

    uses_slopes: ClassVar[bool]
    max_steps: eqx.AbstractVar[int]

    @abc.abstractmethod
    def first(self, start: Sample, trial: Any) -> Any:
        """What the rule keeps before the first value."""

    @abc.abstractmethod
    def judge(self, search: Search, found: Sample) -> tuple[Any, Any, Any]:
        """What follows from a value: whether it is accepted, the next step to try, and what is kept."""

    def begin(self, start: Sample, trial: Any) -> Search:
        """A search from φ(0), φ′(0) and a first step to try."""
        trial = jnp.asarray(trial, start.value.dtype)
        outcome = first_of(
            SearchOutcome,
            (~(jnp.isfinite(start.value) & jnp.isfinite(start.slope)), SearchOutcome.not_finite),
            (start.slope >= 0, SearchOutcome.uphill),
            otherwise=SearchOutcome.searching,
        )
        return Search(start, trial, start, jnp.asarray(0), outcome, self.first(start, trial))

    def tell(self, search: Search, value: Any, slope: Any) -> Search:
        """The search after a value at its trial step.

        Args:
            search: where it stands.
            value: φ(α); one that is not finite is a wall, to be kept away from.
            slope: φ′(α).
        """
        fine = jnp.isfinite(value) & (jnp.isfinite(slope) | (not self.uses_slopes))
        found = Sample(search.trial, jnp.where(fine, value, jnp.inf), slope)
        accepted, trial, kept = self.judge(search, found)
        accepted &= fine
        steps = search.steps + 1
        best = Sample.where(accepted | (found.value < search.best.value), found, search.best)
        # a step that changes neither the function nor the slope of its tangent says no more
        resolution = rounding(found.value.dtype) * jnp.abs(search.start.value)
        tiny = (jnp.abs(trial * search.start.slope) < resolution * 1e-3) & (trial < search.trial)
        tiny |= ~(trial > 0) | (trial == search.trial)
        outcome = first_of(
            SearchOutcome,
            (accepted, SearchOutcome.accepted),
            (~(trial <= LONGEST), SearchOutcome.unbounded),
            (tiny, SearchOutcome.underflow),
            (steps >= self.max_steps, SearchOutcome.max_steps),
            otherwise=search.outcome,
        )
        return Search(search.start, trial, best, steps, outcome, kept)


class Step(eqx.Module):
    """What an inexact line search found.

    Args:
        step: α; where none was accepted, the step of the lowest value that was seen, 0 if that is the start.
        value: φ(α).
        slope: φ′(α); NaN where the search did not ask for slopes.
        evaluations: of φ, or of φ with φ′, beside those at 0.
        status: one of `SearchOutcome`.
        table: the trials, where they were asked for.
    """

    step: Any
    value: Any
    slope: Any
    evaluations: Any
    status: Any
    table: Table | None = None

    @property
    def accepted(self) -> Any:
        """Whether the step fulfils the condition."""
        return self.status == SearchOutcome.accepted

    def __str__(self) -> str:
        found = f"α = {self.step:.8g}, φ(α) = {self.value:.8g}, {int(self.evaluations)} evaluations"
        lines = [found, told(self.status)]
        return "\n".join(lines + ([str(self.table)] if self.table is not None else []))


def along(f: Function, x: Any, direction: Any, *args: Any) -> Function:
    """φ(α) = f(x + α d).

    Args:
        f: function of `x` and `args` with one number as result.
        x: the point, a tree of arrays.
        direction: d, a tree like `x`.
        args: further arguments of `f`.

    Returns:
        A function of a number.

    Raises:
        ArgumentError: `direction` is not a tree of the same shapes as `x`.

    Example:
        >>> phi = along(lambda x: jnp.sum(x**2), jnp.array([3.0, 4.0]), jnp.array([-3.0, -4.0]))
        >>> [float(phi(a)) for a in (0.0, 1.0, 2.0)]
        [25.0, 0.0, 25.0]
    """
    if _shapes(x, False) != _shapes(direction, False):
        raise ArgumentError(
            f"along was given a direction with tree and shapes {_shapes(direction)}; the point has {_shapes(x)}. "
            "Give the direction the tree and shapes of the point."
        )

    def phi(step: Any) -> Any:
        moved = jax.tree.map(lambda p, d: p + (step * d).astype(jnp.result_type(p)), x, direction)
        return f(moved, *args)

    return phi


def _shapes(tree: Any, named: bool = True) -> Any:
    return jax.tree.map(lambda v: f"{jnp.result_type(v).name if named else ''}{list(jnp.shape(v))}", tree)


def run(rule: LineSearch, name: str, phi: Function, step: Any, table: bool) -> Step:
    """Find a step on a line.

    Args:
        rule: the rule.
        name: of the search, for messages.
        phi: function of a number, with a number as result, differentiable.
        step: the first step to try, positive.
        table: whether the trials are kept.

    Raises:
        ArgumentError: `phi` is no function, or the step is not positive and finite.
        OutputError: `phi` does not return one real number.
    """
    if not callable(phi):
        raise ArgumentError(f"{name} needs a function of the step; it got a {type(phi).__name__}. See optimise.along.")
    if not is_traced(step) and not 0 < float(step) < float("inf"):
        raise ArgumentError(f"{name} got step={float(step):g}; the first step to try is positive and finite.")
    dtype = jnp.result_type(step) if jnp.issubdtype(jnp.result_type(step), jnp.floating) else jnp.result_type(float)
    first = jnp.asarray(step, dtype)
    leaves = jax.tree.leaves(jax.eval_shape(phi, first))
    if len(leaves) != 1 or leaves[0].shape or not jnp.issubdtype(leaves[0].dtype, jnp.floating):
        shown = ", ".join(f"{leaf.dtype.name}{list(leaf.shape)}" for leaf in leaves) or "nothing"
        raise OutputError(
            f"{name} searches along a function that returns one real number; this one returns {shown} for a number. "
            "Return a scalar; use jax.vmap to search along many lines at once."
        )
    if is_traced(first):
        return _searched(rule, phi, first, table)
    compiled = _COMPILED.get(
        phi, (rule, bool(table), dtype), lambda own: jax.jit(lambda a: _searched(rule, own, a, table))
    )
    found: Step = compiled(first)
    return found


_COMPILED = Remembered()


def _searched(rule: LineSearch, phi: Function, first: Any, table: bool) -> Step:
    def at(step: Any) -> tuple[Any, Any]:
        if rule.uses_slopes:
            return jax.jvp(phi, (step,), (jnp.ones_like(step),))
        value = phi(step)
        return value, jnp.full_like(value, jnp.nan)

    start = Sample(jnp.zeros_like(first), *jax.jvp(phi, (jnp.zeros_like(first),), (jnp.ones_like(first),)))
    rows = None
    if table:
        rows = Table.empty(COLUMNS, rule.max_steps + 1, first.dtype).with_row(0, 0, start.value, start.slope, 0)

    def next_state(state: Any) -> Any:
        search, rows = state
        value, slope = at(search.trial)
        told = rule.tell(search, value, slope)
        if rows is not None:
            rows = rows.with_row(told.steps, search.trial, value, slope, told.steps)
        return told, rows

    search, rows = jax.lax.while_loop(lambda state: state[0].going, next_state, (rule.begin(start, first), rows))
    best = search.best
    return Step(best.step, best.value, best.slope, search.steps, search.outcome, rows)
