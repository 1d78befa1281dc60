"""What a search found, with the derivatives of what it was looking for: from its equations, not from the way there.

A search is traced without derivatives; then what it found is given those of a minimum, and what was evaluated there
those of the function. Nothing is traced for that before a derivative is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx

from nablax.ops.jaxprs import Closed, closed
from nablax.optimise.rounding import rounding

Function = Callable[..., Any]
# Unknowns up to which the derivative of the equations is formed, n products.
MOST_DENSE = 1_000


def still(function: Function, *arguments: Any) -> Any:
    """The results of a function without derivatives, by its arguments or by what else it refers to.

    Args:
        function: of the arguments.
        arguments: trees of arrays.

    Example:
        >>> jax.grad(lambda a: still(lambda x: a * x, 2.0))(3.0)
        Array(0., dtype=float32, weak_type=True)
    """
    apart = closed(function, arguments)
    return apart.run(*jax.lax.stop_gradient((apart.referred, *arguments)))


def slope(function: Closed) -> Closed:
    """The gradient of a function of one vector."""
    return Closed(jax.grad(function.run, 1), function.referred, None)


def known(function: Closed, stored: Any, x: Any) -> Any:
    """A value that a function gave, with the derivatives of the function.

    Args:
        function: of one array.
        stored: its value there.
        x: the array.

    Example:
        >>> sine = closed(jnp.sin, (0.0,))
        >>> jax.grad(lambda x: known(sine, 0.0, x))(0.0)
        Array(1., dtype=float32, weak_type=True)
    """
    return _known(function.run, stored, (function.referred, x))


def minimum(function: Closed, x: Any, reached: Any, bounds: tuple[Any, Any] | None) -> Any:
    """Where a function is lowest, with the derivatives of such a point by all that the function refers to.

    ∇f(x, a) = 0 gives ∂x/∂a = −H⁻¹ ∂²f/∂x∂a; with bounds, x = P(x − ∇f(x, a)) holds unknowns at a bound in place, and
    moves them with it. Forward and reverse, of any order.

    Args:
        function: f, of a flat vector or of a number.
        x: the point, without derivatives.
        reached: whether it is a minimum; the derivatives are NaN where it is none.
        bounds: lower and upper, like `x`; None for none.

    Example:
        The minimum of (x − a)² + x is at a − ½:

        >>> def lowest(a):
        ...     return minimum(closed(lambda x: (x - a) ** 2 + x, (2.5,)), jnp.array(2.5), True, None)
        >>> jax.grad(lowest)(3.0)
        Array(1., dtype=float32, weak_type=True)

    Source:
        Krantz and Parks 2013, The Implicit Function Theorem, theorem 3.3.1; Blondel et al. 2022, Efficient and modular
        implicit differentiation, section 2.
    """
    return _minimum(function.run, x, reached, (function.referred, bounds))


def untold(told: Any, x: Any) -> Any:
    """What is told of the way, whose derivatives nobody could want: NaN, wherever x moves.

    Args:
        told: a tree of arrays.
        x: where the way ended.
    """
    return jax.tree.map(lambda leaf: _untold(leaf, x) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, told)


@jax.custom_jvp
def _untold(told: Any, x: Any) -> Any:
    return told


@_untold.defjvp
def _(primals: Any, tangents: Any) -> Any:
    told, _ = primals
    return told, jnp.full_like(told, jnp.nan) * jnp.sum(tangents[1]).astype(told.dtype)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _known(run: Function, stored: Any, given: Any) -> Any:
    return stored


@_known.defjvp
def _(run: Function, primals: Any, tangents: Any) -> Any:
    stored, given = primals
    _, moved = tangents
    return _known(run, stored, given), jax.jvp(run, given, moved)[1]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _minimum(run: Function, x: Any, reached: Any, given: Any) -> Any:
    return x


@_minimum.defjvp
def _(run: Function, primals: Any, tangents: Any) -> Any:
    x, reached, given = primals
    _, _, moved = tangents
    x = _minimum(run, x, reached, given)  # by which the derivative has derivatives itself

    def equations(x: Any, given: Any) -> Any:
        referred, bounds = given
        at = partial(run, referred)
        slope = jax.grad(at)(x) if x.ndim else jax.jvp(at, (x,), (jnp.ones_like(x),))[1]
        return slope if bounds is None else x - jnp.clip(x - slope, *bounds)

    _, forced = jax.jvp(lambda given: equations(x, given), (given,), (moved,))
    found = _solution(lambda v: jax.jvp(lambda x: equations(x, given), (x,), (v,))[1], forced, given[1] is None)
    return x, -found * jnp.where(reached, 1, jnp.nan).astype(x.dtype)


def _solution(linear: Function, b: Any, symmetric: bool) -> Any:
    """Of a linear system; inf or NaN where it is singular."""
    if not b.ndim:
        return b / linear(jnp.ones_like(b))
    if b.size <= MOST_DENSE:
        return jnp.linalg.solve(jax.vmap(linear, out_axes=1)(jnp.eye(b.size, dtype=b.dtype)), b)
    tags = lx.positive_semidefinite_tag if symmetric else ()
    operator = lx.FunctionLinearOperator(linear, jax.ShapeDtypeStruct(b.shape, b.dtype), tags)
    solver: Any = (lx.CG if symmetric else lx.BiCGStab)(rtol=rounding(b.dtype) ** 0.75, atol=0.0)
    return lx.linear_solve(operator, b, solver, throw=False).value
