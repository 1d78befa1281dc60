"""Adaptive cubic regularisation: the quadratic model with σ/3 ‖p‖³ instead of a ball."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp

from nablax.optimise.objective import Counts, Objective
from nablax.optimise.secular import with_cubic
from nablax.optimise.spectrum import spectrum
from nablax.optimise.state import Method, State, either, moved, stayed
from nablax.optimise.trust_region import TAKEN, gained, too_small

# σ at the beginning; by which it falls after a very good step, and rises after a poor one.
FIRST, LEAST, LOWERED, RAISED = 1.0, 1e-12, 0.1, 3.0
POOR, GOOD = 0.1, 0.9


class _Model(eqx.Module):
    matrix: Any
    eigenvalues: Any
    vectors: Any
    weight: Any


class CubicRegularisation(Method):
    """Steps that are lowest on the cubic model, exactly, from the eigenvalues of a dense Hessian."""

    name: ClassVar[str] = "cubic"

    def first(self, objective: Objective, x: Any) -> _Model:
        """An empty model."""
        square = jnp.zeros((x.size, x.size), x.dtype)
        return _Model(square, jnp.full_like(x, jnp.nan), square, jnp.full((), FIRST, x.dtype))

    def look(self, objective: Objective, state: State) -> tuple[Any, Any, Any, Counts]:
        """Gradient, Hessian and eigenvalues."""
        c = objective.at(state.x)
        matrix = objective.matrix(c)
        values, vectors = spectrum(matrix)
        kept = _Model(matrix, values, vectors, state.kept.weight)
        counts = state.counts.plus(gradients=1, hessians=1, factorisations=1)
        return c.value.astype(state.x.dtype), objective.gradient(c), kept, counts

    def attempt(self, objective: Objective, state: State) -> State:
        """The step on the cubic model, and what it brings."""
        model = state.kept
        inner, _ = with_cubic(model.eigenvalues, model.vectors.T @ state.gradient, model.weight)
        step = model.vectors @ inner
        length = jnp.linalg.norm(step)
        quadratic = -(state.gradient @ step + step @ (model.matrix @ step) / 2)
        trial = state.x + step
        value = objective.value(trial)
        counts = state.counts.plus(values=1)
        ratio = gained(state.value, value, quadratic - model.weight * length**3 / 3)
        weight = jnp.where(
            ratio < POOR,
            RAISED * model.weight,
            jnp.where(ratio > GOOD, jnp.maximum(LOWERED * model.weight, LEAST), model.weight),
        )
        # beyond a wall nothing is known: a much shorter step
        weight = jnp.where(ratio == -jnp.inf, RAISED**3 * weight, weight)
        kept = _Model(model.matrix, model.eigenvalues, model.vectors, weight)
        taken = moved(state, trial, value, kept, counts)
        refused = stayed(state, kept, counts, stalled=too_small(length, state.x))
        return either(ratio > TAKEN, taken, refused)

    def retreat(self, kept: _Model) -> _Model:
        """A larger weight."""
        return _Model(kept.matrix, kept.eigenvalues, kept.vectors, kept.weight * RAISED**3)

    def eigenvalue(self, kept: _Model) -> Any:
        """Known at every point."""
        return kept.eigenvalues[0]
