"""How a minimum moves with what else the function depends on: by the equations it fulfils, not along the way there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx

from nablax.optimise.objective import Objective
from nablax.optimise.rounding import rounding

# Unknowns up to which the derivative of the equations is formed, n products.
MOST_DENSE = 1_000


def minimum(
    objective: Objective, start: Any, bounds: Any, search: Callable[[Any], tuple[Any, Any, Any]]
) -> tuple[Any, Any]:
    """The end of a search, whose derivatives follow from the implicit function theorem.

    ∇f(x, a) = 0 at a minimum gives ∂x/∂a = −H⁻¹ ∂²f/∂x∂a; with bounds, x = P(x − ∇f(x, a)) holds unknowns at a bound in
    place. Forward and reverse, of any order; with respect to all that `f` depends on, as an argument or otherwise. The
    derivative by the start is zero.

    Args:
        objective: the function.
        start: flat.
        bounds: lower and upper, flat; None for none.
        search: from the start, the point where it ended, whether it is a minimum, and what else is to be told, a tree
            whose derivatives are NaN.

    Returns:
        The point, with derivatives that are NaN where it is no minimum, and the rest.

    Source:
        Krantz and Parks 2013, The Implicit Function Theorem, theorem 3.3.1; Blondel et al. 2022, Efficient and modular
        implicit differentiation, section 2.
    """

    def equations(x: Any) -> Any:
        gradient = jax.grad(objective.value)(x)
        return gradient if bounds is None else x - jnp.clip(x - gradient, *bounds)

    # no derivative is taken along the way, whatever the function refers to
    converted, referred = jax.closure_convert(search, start)
    x, reached, rest = converted(*jax.lax.stop_gradient((start, *referred)))
    x = _moving_if(jax.lax.custom_root(equations, x, lambda _, x: x, _tangents(bounds is None)), reached)

    def told(leaf: Any) -> Any:
        return _without_derivative(leaf, x) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return x, jax.tree.map(told, rest)


def _tangents(symmetric: bool) -> Callable[[Any, Any], Any]:
    """Solves a linear system; inf or NaN where it is singular."""

    def solved(linear: Callable[[Any], Any], b: Any) -> Any:
        if b.size <= MOST_DENSE:
            return jnp.linalg.solve(jax.vmap(linear, out_axes=1)(jnp.eye(b.size, dtype=b.dtype)), b)
        tags = lx.positive_semidefinite_tag if symmetric else ()
        operator = lx.FunctionLinearOperator(linear, jax.ShapeDtypeStruct(b.shape, b.dtype), tags)
        solver: Any = (lx.CG if symmetric else lx.BiCGStab)(rtol=rounding(b.dtype) ** 0.75, atol=0.0)
        return lx.linear_solve(operator, b, solver, throw=False).value

    return solved


@jax.custom_jvp
def _moving_if(x: Any, reached: Any) -> Any:
    return x


@_moving_if.defjvp
def _(primals: Any, tangents: Any) -> Any:
    x, reached = primals
    return x, tangents[0] * jnp.where(reached, 1, jnp.nan).astype(x.dtype)


@jax.custom_jvp
def _without_derivative(told: Any, x: Any) -> Any:
    return told


@_without_derivative.defjvp
def _(primals: Any, tangents: Any) -> Any:
    told, _ = primals
    return told, jnp.full_like(told, jnp.nan) * jnp.sum(tangents[1]).astype(told.dtype)
