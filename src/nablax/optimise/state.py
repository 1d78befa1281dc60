"""What all minimisers share: where one stands, and the loop that is compiled once."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp

from nablax.optimise.objective import Counts, Objective
from nablax.optimise.outcome import Status, first_of
from nablax.optimise.rounding import rounding

Tree = TypeVar("Tree")

# Steps in a row whose decrease drowns in rounding and that do not lower the gradient either.
MOST_QUIET = 5
# Points in a row with a finite value but without a finite gradient.
MOST_RETREATS = 30


class State(eqx.Module):
    """Where a minimiser stands.

    Args:
        x: the point, flat.
        value: the function there.
        gradient: there.
        norm: measure of the gradient that has to become small; its largest component.
        bound: how small.
        before: the point and value before, to go back to where there is no gradient.
        fresh: whether the gradient at `x` is still to be asked for.
        iteration: steps tried.
        counts: what was evaluated.
        status: one of `Status`.
        quiet: steps in a row that changed nothing beyond rounding.
        retreats: points in a row without a finite gradient.
        kept: what the method keeps.
    """

    x: Any
    value: Any
    gradient: Any
    norm: Any
    bound: Any
    before: tuple[Any, Any]
    fresh: Any
    iteration: Any
    counts: Counts
    status: Any
    quiet: Any
    retreats: Any
    kept: Any


class Method(eqx.Module):
    """A minimiser: frozen, without state of its own."""

    name: ClassVar[str]
    most_quiet: ClassVar[int] = MOST_QUIET

    @abc.abstractmethod
    def first(self, objective: Objective, x: Any) -> Any:
        """What is kept before the first look; its arrays are filled by `look`."""

    @abc.abstractmethod
    def look(self, objective: Objective, state: State) -> tuple[Any, Any, Any, Counts]:
        """Value, gradient, what is kept, and counts, at a point that was not looked at before."""

    @abc.abstractmethod
    def attempt(self, objective: Objective, state: State) -> State:
        """One step: `moved` where it is taken, `stayed` where not."""

    def retreat(self, kept: Any) -> Any:
        """What is kept when a point without a finite gradient is left."""
        return kept

    def best(self, state: State) -> tuple[Any, Any, Any]:
        """The best point so far, value and gradient there; the last one, unless the method may go uphill."""
        return state.x, state.value, state.gradient

    def measure(self, objective: Objective, x: Any, gradient: Any) -> Any:
        """What has to become small."""
        return largest_component(gradient)

    def eigenvalue(self, kept: Any) -> Any:
        """The smallest eigenvalue of the Hessian where it is known, else NaN."""
        return jnp.asarray(jnp.nan)


def largest_component(vector: Any) -> Any:
    """The largest magnitude; 0 of no components."""
    return jnp.max(jnp.abs(vector), initial=0.0)


def started(method: Method, objective: Objective, x: Any, tolerance: Any) -> State:
    """The state before the first look."""
    nothing = jnp.full((), jnp.nan, x.dtype)
    return State(
        x,
        nothing,
        jnp.zeros_like(x),
        nothing,
        jnp.asarray(tolerance, x.dtype),
        (x, nothing),
        jnp.asarray(True),
        jnp.asarray(0),
        Counts.none(),
        first_of(Status, otherwise=Status.running),
        jnp.asarray(0),
        jnp.asarray(0),
        method.first(objective, x),
    )


def advanced(method: Method, objective: Objective, state: State, limit: Any) -> State:
    """The state after the minimiser has ended, or has tried so many steps in all.

    Args:
        method: the minimiser.
        objective: the function.
        state: where it stands.
        limit: number of iterations; a value, not a constant, so that nothing is compiled again.
    """

    def going(state: State) -> Any:
        # the last point is looked at, too: its gradient belongs to the answer
        return (state.status == Status.running) & ((state.iteration < limit) | state.fresh)

    def next_state(state: State) -> State:
        state = jax.lax.cond(state.fresh, lambda s: _looked(method, objective, s), lambda s: s, state)
        tries = (state.status == Status.running) & ~state.fresh & (state.iteration < limit)
        found: State = jax.lax.cond(tries, lambda s: _tried(method, objective, s), lambda s: s, state)
        return found

    found: State = jax.lax.while_loop(going, next_state, state)
    return found


def _tried(method: Method, objective: Objective, state: State) -> State:
    return replaced(method.attempt(objective, state), iteration=state.iteration + 1)


def _looked(method: Method, objective: Objective, state: State) -> State:
    value, gradient, kept, counts = computed_once(method.look(objective, state))
    norm = method.measure(objective, state.x, gradient).astype(state.x.dtype)
    initial = state.iteration == 0
    fine = jnp.isfinite(value) & jnp.isfinite(norm)
    # ‖∇f‖ ≤ tol · max(1, ‖∇f₀‖)
    bound = jnp.where(initial, state.bound * jnp.maximum(1.0, norm), state.bound)
    # Where steps gain less than the rounding of f, the gradient has to tell whether they lead anywhere.
    noise = noise_of(value)
    silent = ~initial & (jnp.abs(state.before[1] - value) <= noise) & ~(norm < 0.9 * state.norm)
    quiet = jnp.where(silent, state.quiet + 1, 0)
    status = first_of(
        Status,
        (~fine & (initial | (state.retreats >= MOST_RETREATS)), Status.not_finite),
        (fine & (norm <= bound), Status.converged),
        (fine & (value < -_bottom(value)), Status.unbounded),
        (quiet >= method.most_quiet, Status.stalled),
        otherwise=state.status,
    )
    looked = replaced(
        state,
        value=value,
        gradient=gradient,
        norm=norm,
        bound=bound,
        kept=kept,
        quiet=quiet,
        retreats=jnp.asarray(0),
        fresh=jnp.asarray(False),
    )
    back = replaced(
        state, x=state.before[0], value=state.before[1], retreats=state.retreats + 1, kept=method.retreat(state.kept)
    )
    chosen = either(fine | initial, looked, back)
    return replaced(chosen, status=status, counts=counts)


def _bottom(value: Any) -> Any:
    """Below minus this the function counts as unbounded: the square root of the largest number."""
    return jnp.sqrt(jnp.asarray(jnp.finfo(value.dtype).max, value.dtype))  # type: ignore[no-untyped-call]


def noise_of(value: Any) -> Any:
    """Differences of values up to this may be rounding."""
    return 10 * rounding(value.dtype) * jnp.abs(value)


def moved(state: State, x: Any, value: Any, kept: Any, counts: Counts) -> State:
    """The state after a step that is taken."""
    return replaced(
        state,
        x=x,
        value=value,
        before=(state.x, state.value),
        fresh=jnp.asarray(True),
        kept=kept,
        counts=counts,
    )


def stayed(state: State, kept: Any, counts: Counts, *, stalled: Any) -> State:
    """The state after a step that is not taken.

    Args:
        state: before.
        kept: what the method keeps.
        counts: what was evaluated.
        stalled: whether no shorter step can help.
    """
    status = first_of(Status, (stalled, Status.stalled), otherwise=state.status)
    return replaced(state, kept=kept, counts=counts, status=status)


def replaced(state: State, **changes: Any) -> State:
    """A state with some fields changed."""
    fields = {name: changes.get(name, getattr(state, name)) for name in vars(state)}
    return State(**fields)


def computed_once(tree: Tree) -> Tree:
    """The same values, which XLA is kept from computing anew in each of the loops that read them.

    A CPU runs a program of less than 1,000 flops, all copies counted, on the caller's thread; others take ten
    microseconds more.
    """
    found: Tree = jax.lax.optimization_barrier(tree)
    return found


def either(condition: Any, one: Tree, other: Tree) -> Tree:
    """One tree or another, element by element."""
    condition = computed_once(condition)
    found: Tree = jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
    return found
