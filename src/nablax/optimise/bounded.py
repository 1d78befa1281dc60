"""Newton's method with bounds on the unknowns: the Hessian of the free ones, and a search along the bent path."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from nablax.optimise.conjugate_gradients import conjugate_gradients
from nablax.optimise.newton import descending, newton_direction
from nablax.optimise.objective import Counts, Objective
from nablax.optimise.rounding import rounding
from nablax.optimise.state import Method, State, either, largest_component, moved, noise_of, stayed

SUFFICIENT, SHORTENED, MOST_TRIALS = 1e-4, 0.5, 60
# Unknowns nearer to a bound than this that are pushed against it are held there (Bertsekas 1982, ε).
NEAR = 1e-3


class ProjectedNewton(Method):
    """Unknowns at a bound and pushed against it are held; the others take Newton's step; the path is projected.

    x(α) = P(x + α d) with the projection P on the bounds, d = −H_FF⁻¹ g_F on the free unknowns F and −g on the held
    ones, and α shortened until f(x(α)) ≤ f(x) + c₁ ∇f(x)ᵀ(x(α) − x) (Bertsekas 1982, with Armijo's rule in terms of
    the projected step).

    Args:
        lower: shape (n,); minus infinity for none.
        upper: shape (n,); infinity for none.
        products: whether the Hessian is known by products only, and the direction is by conjugate gradients.

    Source:
        Bertsekas 1982, Projected Newton methods for optimization problems with simple constraints.
    """

    lower: Any
    upper: Any
    products: bool = eqx.field(static=True, default=False)
    name: ClassVar[str] = "projected-newton"

    def first(self, objective: Objective, x: Any) -> Any:
        """Nothing."""
        return ()

    def look(self, objective: Objective, state: State) -> tuple[Any, Any, Any, Counts]:
        """The gradient."""
        c = objective.at(state.x)
        return c.value.astype(state.x.dtype), objective.gradient(c), (), state.counts.plus(gradients=1)

    def project(self, x: Any) -> Any:
        """The nearest point within the bounds."""
        return jnp.clip(x, self.lower, self.upper)

    def measure(self, objective: Objective, x: Any, gradient: Any) -> Any:
        """‖P(x − g) − x‖: zero where the gradient vanishes on the free unknowns and pushes the others outward."""
        return jnp.where(jnp.all(jnp.isfinite(gradient)), largest_component(self.project(x - gradient) - x), jnp.nan)

    def attempt(self, objective: Objective, state: State) -> State:
        """A step along the projected path."""
        c, x, gradient = objective.at(state.x), state.x, state.gradient
        near = jnp.minimum(NEAR, state.norm)
        held = ((x <= self.lower + near) & (gradient > 0)) | ((x >= self.upper - near) & (gradient < 0))
        free = jnp.where(held, 0.0, gradient)
        if self.products:
            found = conjugate_gradients(
                lambda v: jnp.where(held, v, objective.product(c, jnp.where(held, 0.0, v))), free, jnp.inf
            )
            direction, counts = found.step, state.counts.plus(products=found.products)
        else:
            matrix = objective.matrix(c)
            masked = jnp.where(held[:, None] | held[None, :], 0.0, matrix) + jnp.diag(jnp.where(held, 1.0, 0.0))
            direction, factors = newton_direction(masked, free)
            counts = state.counts.plus(hessians=1, factorisations=factors)
        direction = jnp.where(held, -gradient, descending(direction, free))

        def reached(step: Any) -> tuple[Any, Any, Any]:
            trial = self.project(x + step * direction)
            value = objective.value(trial)
            return trial, value, gradient @ (trial - x)

        def fits(value: Any, slope: Any) -> Any:
            # a decrease below rounding is accepted where the model promises one: the gradient tells next
            return (
                jnp.isfinite(value) & (value <= state.value + SUFFICIENT * slope + noise_of(state.value)) & (slope < 0)
            )

        def going(search: Any) -> Any:
            count, _, _, value, slope = search
            return ~fits(value, slope) & (count < MOST_TRIALS)

        def shorter(search: Any) -> Any:
            count, step, _, _, _ = search
            return count + 1, step * SHORTENED, *reached(step * SHORTENED)

        one = jnp.ones((), x.dtype)
        count, step, trial, value, slope = jax.lax.while_loop(going, shorter, (jnp.asarray(1), one, *reached(one)))
        counts = counts.plus(values=count)
        taken = moved(state, trial, value, (), counts)
        refused = stayed(state, (), counts, stalled=jnp.asarray(True))
        enough = largest_component(trial - x) > rounding(x.dtype) ** 2 * jnp.maximum(largest_component(x), 1.0)
        return either(fits(value, slope) & enough & (step > 0), taken, refused)
