"""First-order and quasi-Newton methods of optax and optimistix, behind the same front."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import optax  # type: ignore[import-untyped]
import optimistix

from nablax.optimise.objective import Counts, Objective
from nablax.optimise.state import Method, State, either, moved


class _Best(eqx.Module):
    """The transformation's state, and the best point so far: these methods may go uphill."""

    inner: Any
    x: Any
    value: Any
    gradient: Any


class Transformation(Method):
    """An optax gradient transformation, with its line search if it has one.

    Args:
        transformation: for example `optax.lbfgs()` or `optax.adam(1e-2)`.
    """

    transformation: Any = eqx.field(static=True)
    name: ClassVar[str] = "optax"
    most_quiet: ClassVar[int] = 1000

    def first(self, objective: Objective, x: Any) -> _Best:
        """The transformation's state."""
        return _Best(self.transformation.init(x), x, jnp.full((), jnp.inf, x.dtype), jnp.zeros_like(x))

    def look(self, objective: Objective, state: State) -> tuple[Any, Any, Any, Counts]:
        """The gradient."""
        c = objective.at(state.x)
        value, gradient, kept = c.value.astype(state.x.dtype), objective.gradient(c), state.kept
        here = _Best(kept.inner, state.x, value, gradient)
        kept = either(value < kept.value, here, kept)
        return value, gradient, kept, state.counts.plus(gradients=1)

    def attempt(self, objective: Objective, state: State) -> State:
        """One update."""
        wrapped = optax.with_extra_args_support(self.transformation)
        updates, inner = wrapped.update(
            state.gradient,
            state.kept.inner,
            state.x,
            value=state.value,
            grad=state.gradient,
            value_fn=objective.value,
        )
        searched = optax.tree_utils.tree_get(inner, "num_linesearch_steps", 0)
        kept = _Best(inner, state.kept.x, state.kept.value, state.kept.gradient)
        x = optax.apply_updates(state.x, updates)
        return moved(state, x, state.value, kept, state.counts.plus(gradients=searched))

    def best(self, state: State) -> tuple[Any, Any, Any]:
        """The best point so far."""
        return state.kept.x, state.kept.value, state.kept.gradient


class Optimistix(Method):
    """A minimiser of optimistix; all its iterations are one step here.

    Args:
        solver: for example `optimistix.BFGS(rtol, atol)`.
        max_steps: of the solver.
    """

    solver: Any = eqx.field(static=True)
    max_steps: int = eqx.field(static=True, default=1000)
    name: ClassVar[str] = "optimistix"

    def first(self, objective: Objective, x: Any) -> Any:
        """Nothing."""
        return ()

    def look(self, objective: Objective, state: State) -> tuple[Any, Any, Any, Counts]:
        """The gradient."""
        c = objective.at(state.x)
        return c.value.astype(state.x.dtype), objective.gradient(c), (), state.counts.plus(gradients=1)

    def attempt(self, objective: Objective, state: State) -> State:
        """The whole run."""
        found: Any = optimistix.minimise(
            lambda x, _: objective.value(x), self.solver, state.x, max_steps=self.max_steps, throw=False
        )
        return moved(state, found.value, state.value, (), state.counts.plus(values=found.stats["num_steps"]))
