"""Sums of squares of residuals: Gauss and Newton's method, and Levenberg and Marquardt's, from exact Jacobians."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx

from nablax.derivatives import jacobian
from nablax.optimise.backtrack import Backtracking
from nablax.optimise.line import LineSearch, Sample
from nablax.optimise.newton import searched
from nablax.optimise.objective import Counts, Objective
from nablax.optimise.rounding import rounding
from nablax.optimise.state import Method, State, either, moved, stayed
from nablax.optimise.trust_region import TAKEN, gained

# Damping at the beginning, as a share of the scale (Nielsen 1999); it falls to no less than a third after a step.
FIRST_DAMPING = 1e-3


class Residuals(Objective):
    """½‖r(x)‖² for a function r of residuals, any tree of arrays."""

    def residuals(self, x: Any) -> Any:
        """r, flat."""
        found = self.function(self.tree(x), *self.arguments)
        leaves = [jnp.ravel(leaf).astype(self.dtype) for leaf in jax.tree.leaves(found)]
        return jnp.concatenate(leaves)

    def value(self, x: Any) -> Any:
        """½‖r‖²."""
        return jnp.sum(self.residuals(x) ** 2) / 2

    def linear(self, x: Any) -> tuple[Any, Any]:
        """R and its Jacobian, shape (m, n)."""
        nested = jacobian(self.function)(self.tree(x), *self.arguments)
        unknowns = jax.tree.leaves(self.like)
        blocks = [leaf.astype(self.dtype) for leaf in jax.tree.leaves(nested)]
        rows = [
            jnp.concatenate(
                [_flat(*each) for each in zip(blocks[k : k + len(unknowns)], unknowns, strict=True)], axis=1
            )
            for k in range(0, len(blocks), len(unknowns))
        ]
        return self.residuals(x), jnp.concatenate(rows)


def _flat(block: Any, unknown: Any) -> Any:
    """A block of a Jacobian as a matrix, a column for each number of the unknown."""
    return block.reshape(math.prod(block.shape[: block.ndim - unknown.ndim]), unknown.size)


class _Linear(eqx.Module):
    """Residuals and Jacobian, and the damping of the next step."""

    residuals: Any
    matrix: Any
    scale: Any
    damping: Any
    growth: Any


class LeastSquares(Method):
    """A method that asks for residuals and Jacobian at each point."""

    def first(self, objective: Objective, x: Any) -> _Linear:
        """Empty."""
        assert isinstance(objective, Residuals)
        rows = jax.eval_shape(objective.residuals, x).shape[0]
        number = jnp.zeros((), x.dtype)
        return _Linear(
            jnp.zeros((rows,), x.dtype),
            jnp.zeros((rows, x.size), x.dtype),
            jnp.zeros_like(x),
            number + FIRST_DAMPING,
            number + 2,
        )

    def look(self, objective: Objective, state: State) -> tuple[Any, Any, Any, Counts]:
        """r, J and the gradient Jᵀr."""
        assert isinstance(objective, Residuals)
        residuals, matrix = objective.linear(state.x)
        # lengths of columns, never falling (Moré 1978, section 6): steps do not depend on the units of the unknowns
        scale = jnp.maximum(state.kept.scale, jnp.linalg.norm(matrix, axis=0))
        kept = _Linear(residuals, matrix, scale, state.kept.damping, state.kept.growth)
        value = jnp.sum(residuals**2) / 2
        return value, residuals @ matrix, kept, state.counts.plus(gradients=1)


class LevenbergMarquardt(LeastSquares):
    """(JᵀJ + μD²) p = −Jᵀr by QR of J above √μ D; μ follows the gain of the last step.

    Source:
        Moré 1978, The Levenberg-Marquardt algorithm; Nielsen 1999, Damping parameter in Marquardt's method, for μ.
    """

    name: ClassVar[str] = "levenberg-marquardt"

    def attempt(self, objective: Objective, state: State) -> State:
        """The damped step, and what it brings."""
        at = state.kept
        scale = jnp.where(at.scale > 0, at.scale, 1.0)
        stacked = jnp.concatenate([at.matrix, jnp.diag(jnp.sqrt(at.damping) * scale)])
        right = jnp.concatenate([-at.residuals, jnp.zeros_like(state.x)])
        step = lx.linear_solve(lx.MatrixLinearOperator(stacked), right, lx.QR(), throw=False).value
        image = at.matrix @ step
        # −gᵀp − ½‖Jp‖², of which g = Jᵀr
        predicted = -(at.residuals @ image + image @ image / 2)
        trial = state.x + step
        value = objective.value(trial)
        counts = state.counts.plus(values=1, factorisations=1)
        ratio = gained(state.value, value, predicted)
        taken = ratio > TAKEN
        better = at.damping * jnp.maximum(1 / 3, 1 - (2 * jnp.minimum(ratio, 1.0) - 1) ** 3)
        damping = jnp.where(taken, better, at.damping * at.growth)
        kept = _Linear(at.residuals, at.matrix, at.scale, damping, jnp.where(taken, 2.0, 2 * at.growth))
        short = jnp.linalg.norm(step) <= 0.1 * rounding(state.x.dtype) * jnp.linalg.norm(state.x)
        wild = ~jnp.isfinite(damping)
        done = moved(state, trial, value, kept, counts)
        refused = stayed(state, kept, counts, stalled=short | wild)
        return either(taken, done, refused)

    def retreat(self, kept: _Linear) -> _Linear:
        """More damping."""
        return _Linear(kept.residuals, kept.matrix, kept.scale, kept.damping * kept.growth, 2 * kept.growth)


class GaussNewton(LeastSquares):
    """J p = −r in the least-squares sense, of smallest length where J has no full rank, and a line search.

    Args:
        search: the line search.
    """

    search: LineSearch = Backtracking(interpolation="cubic")
    name: ClassVar[str] = "gauss-newton"

    def attempt(self, objective: Objective, state: State) -> State:
        """A step along the direction."""
        at = state.kept
        solver = lx.AutoLinearSolver(well_posed=False)
        direction = lx.linear_solve(lx.MatrixLinearOperator(at.matrix), -at.residuals, solver, throw=False).value
        slope = state.gradient @ direction
        direction = jnp.where(slope < 0, direction, -state.gradient)
        slope = state.gradient @ direction
        start = Sample(jnp.zeros_like(slope), state.value, slope)
        found = searched(self.search, objective, state.x, direction, start, 1.0)
        best = found.best
        counts = state.counts.plus(values=found.steps, factorisations=1)
        taken = moved(state, state.x + best.step * direction, best.value, at, counts)
        refused = stayed(state, at, counts, stalled=jnp.asarray(True))
        return either(best.step > 0, taken, refused)
