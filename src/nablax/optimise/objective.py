"""The function to be minimised as minimisers see it: of a flat vector, asked through the public verbs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from nablax.at_point import Curvature, curvature

Function = Callable[..., Any]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Counts:
    """How often what was asked.

    Args:
        values: evaluations of the function alone, at trial points.
        gradients: evaluations of the function with its gradient; slopes along a line and residuals with their
            Jacobian count as such.
        hessians: Hessians that were formed, dense, sparse or in parts.
        products: Hessian-vector products.
        factorisations: of a matrix, by Cholesky, LU, QR or eigenvalues.
    """

    values: Any = 0
    gradients: Any = 0
    hessians: Any = 0
    products: Any = 0
    factorisations: Any = 0

    @classmethod
    def none(cls) -> Counts:
        """Nothing yet."""
        return cls(*(jnp.asarray(0) for _ in range(5)))

    def plus(
        self, *, values: Any = 0, gradients: Any = 0, hessians: Any = 0, products: Any = 0, factorisations: Any = 0
    ) -> Counts:
        """More of them."""
        return Counts(
            self.values + values,
            self.gradients + gradients,
            self.hessians + hessians,
            self.products + products,
            self.factorisations + factorisations,
        )

    def __str__(self) -> str:
        named = {name: int(value) for name, value in vars(self).items()}
        return ", ".join(f"{value:,} {name}" for name, value in named.items() if value)


@dataclass(frozen=True, eq=False)
class Objective:
    """A function of a flat vector.

    Args:
        function: the user's function; of a tree, and of more arguments.
        like: a tree like the point, of arrays or their shapes.
        arguments: the further arguments, static ones in place.
    """

    function: Function
    like: Any
    arguments: Sequence[Any]

    @property
    def dtype(self) -> Any:
        """Of the flat vector."""
        return jnp.result_type(*jax.tree.leaves(self.like))

    @property
    def size(self) -> int:
        """Unknowns."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.like))

    def tree(self, x: Any) -> Any:
        """A flat vector as a tree like the point."""
        leaves, structure = jax.tree.flatten(self.like)
        found, start = [], 0
        for leaf in leaves:
            found.append(x[start : start + leaf.size].reshape(leaf.shape).astype(leaf.dtype))
            start += leaf.size
        return jax.tree.unflatten(structure, found)

    def flat(self, tree: Any) -> Any:
        """A tree as a flat vector."""
        return ravel_pytree(tree)[0].astype(self.dtype)

    def value(self, x: Any) -> Any:
        """The function."""
        return jnp.asarray(self.function(self.tree(x), *self.arguments), self.dtype)

    def at(self, x: Any) -> Curvature:
        """Everything of second order, at a point."""
        return curvature(self.function)(self.tree(x), *self.arguments)

    def gradient(self, c: Curvature) -> Any:
        """The gradient there, flat."""
        return self.flat(c.gradient)

    def matrix(self, c: Curvature) -> Any:
        """The Hessian there, dense and symmetric up to the last bit."""
        found = c.matrix()[0].astype(self.dtype)
        return (found + found.T) / 2

    def product(self, c: Curvature, v: Any) -> Any:
        """The Hessian there times a flat vector."""
        return self.flat(c @ self.tree(v))

    def solution(self, c: Curvature, b: Any) -> Any:
        """H⁻¹ b by the structure of the Hessian; not finite where it is singular."""
        return self.flat(c.solution(self.tree(b)).value)
