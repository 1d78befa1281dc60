"""Line-search methods: Newton's with the Hessian, Newton-CG with its products, and steepest descent for comparison."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from nablax.at_point import Curvature
from nablax.optimise.backtrack import Backtracking
from nablax.optimise.conjugate_gradients import conjugate_gradients
from nablax.optimise.line import LineSearch, Sample, Search
from nablax.optimise.objective import Counts, Objective
from nablax.optimise.outcome import SearchOutcome
from nablax.optimise.rounding import rounding
from nablax.optimise.spectrum import spectrum
from nablax.optimise.state import Method, State, either, moved, noise_of, stayed

# Eigenvalues below this share of the largest are replaced by it.
FLAT = 1e-8
# A direction that makes a smaller angle with the contour is no descent direction.
STEEP = 1e-10


class LineSearchMethod(Method):
    """A direction, and a step along it."""

    search: eqx.AbstractVar[LineSearch]

    @abc.abstractmethod
    def direction(self, objective: Objective, c: Curvature, state: State) -> tuple[Any, Any, Counts]:
        """Where to, the first step to try, and counts."""

    def first(self, objective: Objective, x: Any) -> Any:
        """The last accepted step; none yet."""
        return jnp.zeros((), x.dtype)

    def look(self, objective: Objective, state: State) -> tuple[Any, Any, Any, Counts]:
        """The gradient."""
        c = objective.at(state.x)
        return c.value.astype(state.x.dtype), objective.gradient(c), state.kept, state.counts.plus(gradients=1)

    def attempt(self, objective: Objective, state: State) -> State:
        """A step along the direction."""
        c = objective.at(state.x)
        direction, first, counts = self.direction(objective, c, state)
        slope = state.gradient @ direction
        found = searched(
            self.search, objective, state.x, direction, Sample(jnp.zeros_like(slope), state.value, slope), first
        )
        slopes = found.steps if self.search.uses_slopes else 0
        counts = counts.plus(values=0 if self.search.uses_slopes else found.steps, gradients=slopes)
        best = found.best
        # where values drown in rounding, the whole step is taken, and the gradient tells next
        noise = noise_of(state.value)
        drowned = (found.outcome != SearchOutcome.accepted) & (-slope * first <= noise)
        step = jnp.where(drowned, first, best.step)
        value = jnp.where(drowned, state.value, best.value)
        taken = moved(state, state.x + step * direction, value, best.step, counts)
        refused = stayed(state, state.kept, counts, stalled=jnp.asarray(True))
        goes = jnp.isfinite(slope) & (drowned | (best.step > 0))
        return either(goes, taken, refused)


def searched(rule: LineSearch, objective: Objective, x: Any, direction: Any, start: Sample, first: Any) -> Search:
    """A search along a direction.

    Args:
        rule: the rule.
        objective: the function.
        x: the point.
        direction: d.
        start: φ(0) and φ′(0).
        first: the first step to try.
    """

    def told(search: Search) -> Search:
        def phi(step: Any) -> Any:
            return objective.value(x + step * direction)

        if rule.uses_slopes:
            value, slope = jax.jvp(phi, (search.trial,), (jnp.ones_like(search.trial),))
        else:
            value, slope = phi(search.trial), jnp.full_like(search.trial, jnp.nan)
        return rule.tell(search, value, slope)

    found: Search = jax.lax.while_loop(lambda search: search.going, told, rule.begin(start, first))
    return found


class Newton(LineSearchMethod):
    """Newton's direction, made one of descent where the Hessian is indefinite, and a line search.

    Dense: from Cholesky's factor; where there is none, from the eigenvalues by magnitude, |H|⁻¹g, so that negative
    curvature is followed, not climbed. By structure: from the solve that the structure permits; where that does not
    descend, from truncated conjugate gradients, which end in a direction of negative curvature.

    Args:
        search: the line search.
        structured: whether systems are solved by the structure of the Hessian instead of densely.
    """

    search: LineSearch = Backtracking(interpolation="cubic")
    structured: bool = eqx.field(static=True, default=False)
    name: ClassVar[str] = "newton"

    def direction(self, objective: Objective, c: Curvature, state: State) -> tuple[Any, Any, Counts]:
        """−H⁻¹g, or what descends instead."""
        one = jnp.ones((), state.x.dtype)
        gradient = state.gradient
        if self.structured:
            newton = -objective.solution(c, gradient)
            fine = _descends(newton, gradient)

            def truncated() -> tuple[Any, Any]:
                found = conjugate_gradients(lambda v: objective.product(c, v), gradient, jnp.inf)
                return descending(found.step, gradient), found.products

            direction, products = jax.lax.cond(fine, lambda: (newton, jnp.asarray(0)), truncated)
            return direction, one, state.counts.plus(hessians=1, products=products, factorisations=1)
        direction, factors = newton_direction(objective.matrix(c), gradient)
        return direction, one, state.counts.plus(hessians=1, factorisations=factors)


class NewtonCG(LineSearchMethod):
    """Newton's direction by truncated conjugate gradients on products, and a line search.

    Args:
        search: the line search.
    """

    search: LineSearch = Backtracking(interpolation="cubic")
    name: ClassVar[str] = "newton-cg"

    def direction(self, objective: Objective, c: Curvature, state: State) -> tuple[Any, Any, Counts]:
        """The truncated direction."""
        found = conjugate_gradients(lambda v: objective.product(c, v), state.gradient, jnp.inf)
        counts = state.counts.plus(products=found.products)
        return descending(found.step, state.gradient), jnp.ones((), state.x.dtype), counts


class GradientDescent(LineSearchMethod):
    """The negative gradient, and a line search that begins at twice the last step.

    Args:
        search: the line search.
    """

    search: LineSearch = Backtracking(interpolation="cubic")
    name: ClassVar[str] = "gradient-descent"

    def direction(self, objective: Objective, c: Curvature, state: State) -> tuple[Any, Any, Counts]:
        """−g."""
        first = 1 / jnp.maximum(1.0, jnp.linalg.norm(state.gradient))
        return -state.gradient, jnp.where(state.kept > 0, 2 * state.kept, first), state.counts


def newton_direction(matrix: Any, gradient: Any) -> tuple[Any, Any]:
    """−H⁻¹g by Cholesky's factor; −|H|⁻¹g by eigenvalues where the matrix is not positive definite.

    Args:
        matrix: H, dense.
        gradient: g.

    Returns:
        A direction of descent, and the factorisations.

    Example:
        >>> newton_direction(jnp.diag(jnp.array([2.0, -4.0])), jnp.array([2.0, 4.0]))[0]
        Array([-1., -1.], dtype=float32)
    """
    factor = jnp.linalg.cholesky(matrix)
    newton = -jax.scipy.linalg.cho_solve((factor, True), gradient)

    def by_magnitude() -> tuple[Any, Any]:
        values, vectors = spectrum(matrix)
        sizes = jnp.abs(values)
        sizes = jnp.maximum(sizes, jnp.maximum(FLAT * jnp.max(sizes), rounding(matrix.dtype)))
        return descending(-vectors @ ((vectors.T @ gradient) / sizes), gradient), jnp.asarray(2)

    direction, factors = jax.lax.cond(_descends(newton, gradient), lambda: (newton, jnp.asarray(1)), by_magnitude)
    return direction, factors


def _descends(direction: Any, gradient: Any) -> Any:
    lengths = jnp.linalg.norm(direction) * jnp.linalg.norm(gradient)
    return jnp.all(jnp.isfinite(direction)) & (direction @ gradient < -STEEP * lengths)


def descending(direction: Any, gradient: Any) -> Any:
    """A direction, or the negative gradient where it does not descend."""
    return jnp.where(_descends(direction, gradient), direction, -gradient)
