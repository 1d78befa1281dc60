"""The trust region of Moré and Sorensen on a sparse Hessian; the host finds its steps."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from nablax.optimise.objective import Counts, Objective
from nablax.optimise.past import Past
from nablax.optimise.state import Method, State
from nablax.optimise.trust_region import CUT, first_radius, judged, returned


class SparseModel(eqx.Module):
    """What is known of the quadratic model.

    Args:
        values: of the Hessian.
        step: that is tried next.
        predicted: by how much the model falls over it.
        factors: factorisations that it took.
        radius: of the ball.
        past: the values of the last points.
    """

    values: Any
    step: Any
    predicted: Any
    factors: Any
    radius: Any
    past: Past

    def moved(self, radius: Any, past: Past) -> SparseModel:
        """The same matrix in another ball."""
        return SparseModel(self.values, self.step, self.predicted, self.factors, radius, past)

    def with_step(self, step: Any, predicted: Any, factors: Any) -> SparseModel:
        """The same with the step that is to be tried.

        Args:
            step: in the ball.
            predicted: by how much the model falls.
            factors: factorisations that it took.
        """
        return SparseModel(self.values, step, predicted, factors, self.radius, self.past)


class SparseTrustRegion(Method):
    """The same steps as `TrustRegion`, of a Hessian that is known at static positions: the host finds each.

    Args:
        stored: values of the Hessian.
    """

    name: ClassVar[str] = "trust-region"
    stored: int = eqx.field(static=True)

    def first(self, objective: Objective, x: Any) -> SparseModel:
        """An empty model."""
        zero = jnp.zeros((), x.dtype)
        return SparseModel(jnp.zeros(self.stored, x.dtype), jnp.zeros_like(x), zero, jnp.asarray(0), zero, Past.none(x))

    def look(self, objective: Objective, state: State) -> tuple[Any, Any, Any, Counts]:
        """Gradient and Hessian."""
        c = objective.at(state.x)
        values, gradient = c.sparse().data.astype(state.x.dtype), objective.gradient(c)
        initial = state.iteration == 0
        # a point without a finite Hessian is left like one without a finite gradient
        gradient = jnp.where(initial | jnp.all(jnp.isfinite(values)), gradient, jnp.nan)
        value, kept = c.value.astype(state.x.dtype), state.kept
        radius = jnp.where(initial, first_radius(state.x, jnp.nan), kept.radius)
        past = kept.past.with_point(state.x, value, gradient, radius)
        found = SparseModel(values, kept.step, kept.predicted, kept.factors, radius, past)
        return value, gradient, found, state.counts.plus(gradients=1, hessians=1)

    def attempt(self, objective: Objective, state: State) -> State:
        """What the host's step brings; or back to the best point."""
        found: State = jax.lax.cond(state.kept.past.lost, self._back, lambda s: self._forward(objective, s), state)
        return found

    def _back(self, state: State) -> State:
        model = state.kept
        return returned(state, model.radius, model.past, model.moved)

    def _forward(self, objective: Objective, state: State) -> State:
        model = state.kept
        counts = state.counts.plus(values=1, factorisations=model.factors)
        return judged(objective, state, model.step, model.predicted, model.radius, model.past, counts, model.moved)

    def retreat(self, kept: SparseModel) -> SparseModel:
        """A smaller ball."""
        return kept.moved(kept.radius * CUT, kept.past)

    def best(self, state: State) -> tuple[Any, Any, Any]:
        """The best point so far."""
        past = state.kept.past
        return past.x, past.value, past.gradient
