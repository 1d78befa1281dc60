"""Derivatives of a fixed point y = f(y, θ) of any function, without differentiating the iteration."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
from jax.flatten_util import ravel_pytree

from nablax.errors import ArgumentError
from nablax.neural.arguments import rounding
from nablax.neural.relaxation import Anderson, Settled, Solver, checked_solver, fixed_point
from nablax.neural.stability import Stability, dense_jacobian, refused, stability_of

LARGEST_DENSE = 1000
"""Unknowns up to which ∂f/∂y is formed and factorised; GMRES beyond."""


@dataclass(frozen=True, eq=False)
class Implicit:
    """A fixed point as a function of its parameters; made by `implicit`.

    Attributes:
        function: ``f(y, *parameters)``, a tree like y.
        solver: of y.
        linear_solver: of the tangents; None: LU of ∂f/∂y up to 1,000 unknowns, GMRES beyond.
    """

    function: Callable[..., Any]
    solver: Solver
    linear_solver: lx.AbstractLinearSolver[Any] | None

    def __call__(self, start: Any, *parameters: Any) -> Any:
        """The fixed point that the solver reaches.

        Args:
            start: of the solver, a tree of float arrays; the result does not depend on it, and its derivative is zero.
            *parameters: what the result is differentiated with respect to.

        Returns:
            y = f(y, *parameters), a tree like `start`.

        Raises:
            EquilibriumError: no stable fixed point was reached. Inside jit, vmap and grad, as
                `equinox.EquinoxRuntimeError`, only where the solver did not settle.
        """
        flat, unravel = ravel_pytree(jax.tree.map(jnp.asarray, start))

        def f(y: jax.Array, parameters: Any) -> jax.Array:
            return self._flat(unravel, y, parameters)

        still = jax.lax.stop_gradient((flat, parameters))
        found = _settle(self, unravel(still[0]), still[1])
        at = lambda y: f(y, still[1])
        y = refused("implicit", self.solver, found, lambda _: at, lambda _, y: dense_jacobian(at, y)).y

        def tangents(linear: Callable[[jax.Array], jax.Array], b: jax.Array) -> jax.Array:
            operator = lx.FunctionLinearOperator(linear, jax.ShapeDtypeStruct(b.shape, b.dtype))
            solution: jax.Array = lx.linear_solve(operator, b, self._linear_solver(b)).value
            return solution

        # The iteration has run; the root is differentiated by the implicit-function theorem at it, to any order.
        root = jax.lax.custom_root(lambda y: f(y, parameters) - y, jax.lax.stop_gradient(y), lambda _, y: y, tangents)
        return unravel(root)

    def stability(self, y: Any, *parameters: Any) -> Stability:
        """The eigenvalues of ∂f/∂y at a state.

        Args:
            y: the state, a tree.
            *parameters: as in the call; numbers, not traced.
        """
        flat, unravel = ravel_pytree(jax.tree.map(jnp.asarray, y))
        return stability_of(dense_jacobian(lambda y: self._flat(unravel, y, parameters), flat))

    def _flat(self, unravel: Callable[[jax.Array], Any], y: jax.Array, parameters: Any) -> jax.Array:
        state = unravel(y)
        following = self.function(state, *parameters)
        told = [
            (jax.tree.structure(tree), [jnp.shape(x) for x in jax.tree.leaves(tree)]) for tree in (state, following)
        ]
        if told[0] != told[1]:
            shapes = [[list(shape) for shape in one] for _, one in told]
            raise ArgumentError(
                f"implicit got a function that turns a state of shapes {shapes[0]} into one of shapes {shapes[1]}; at "
                "a fixed point both are the same. Return a tree like y."
            )
        return ravel_pytree(following)[0].astype(y.dtype)

    def _linear_solver(self, b: jax.Array) -> lx.AbstractLinearSolver[Any]:
        if self.linear_solver is not None:
            return self.linear_solver
        if b.size <= LARGEST_DENSE:
            return lx.LU()
        close = 100 * rounding(b.dtype)
        return lx.GMRES(rtol=close, atol=close, restart=50, max_steps=1000)


@functools.partial(jax.jit, static_argnums=0)
def _settle(implicit: Implicit, start: Any, parameters: Any) -> Settled:
    flat, unravel = ravel_pytree(start)
    return fixed_point(lambda y: implicit._flat(unravel, y, parameters), implicit.solver, flat)


def implicit(
    f: Callable[..., Any],
    *,
    solver: Solver | None = None,
    linear_solver: lx.AbstractLinearSolver[Any] | None = None,
) -> Implicit:
    """The fixed point y = f(y, θ) as a function of θ: a deep-equilibrium model, a recurrent network, any iteration.

    Derivatives are those of the implicit-function theorem, dy = (1 − ∂f/∂y)⁻¹ (∂f/∂θ) dθ, exact in both modes and to
    any order: the iteration is neither unrolled nor stored.

    Args:
        f: ``f(y, *parameters)``; y and its result are trees of float arrays of the same shapes.
        solver: `neural.Relaxation`, `neural.Anderson` (the default), or a root finder or fixed-point solver of
            optimistix.
        linear_solver: of lineax, for the derivatives; None: LU up to 1,000 unknowns, GMRES beyond.

    Returns:
        `neural.Implicit`, a function ``(start, *parameters)``.

    Raises:
        ArgumentError: `f` is no function, or another kind of solver.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> root = implicit(lambda y, a: 0.5 * (y + a / y))  # Heron: y = √a
        >>> at = lambda a: root(jnp.array(1.0), a)
        >>> jnp.round(jnp.stack([at(4.0), jax.grad(at)(4.0), jax.grad(jax.grad(at))(4.0)]), 4)
        Array([ 2.    ,  0.25  , -0.0312], dtype=float32)

    Source:
        Bai, Kolter and Koltun 2019, "Deep equilibrium models"; Almeida 1987; Pineda 1987.
    """
    if not callable(f):
        raise ArgumentError.no_function("implicit", f)
    if linear_solver is not None and not isinstance(linear_solver, lx.AbstractLinearSolver):
        raise ArgumentError(
            f"implicit got linear_solver={linear_solver!r}. Pass a linear solver of lineax, such as lineax.LU()."
        )
    return Implicit(f, checked_solver("implicit", Anderson() if solver is None else solver), linear_solver)
