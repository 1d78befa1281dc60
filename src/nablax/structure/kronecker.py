"""Kronecker products along the axes of one array, in any order of the axes."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from nablax.structure.operators import HIGHEST, Solved, Structured, outcome


class Kronecker(Structured):
    """A ⊗ B ⊗ …, each factor along its own axes of an array.

    Args:
        factors: for each group of axes a matrix, the values of a diagonal, or None for the identity.
        shape: of the array.
        axes: the groups.
        dtype: of the values.
    """

    factors: tuple[Any, ...]
    shape: tuple[int, ...] = eqx.field(static=True)
    axes: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    dtype: Any = eqx.field(static=True)

    def in_structure(self) -> Any:
        """A flat vector."""
        return jax.ShapeDtypeStruct((math.prod(self.shape),), self.dtype)

    def mv(self, vector: Any) -> Any:
        """Each factor along its axes."""

        def product(factor: Any, rows: Any) -> Any:
            return jnp.matmul(factor, rows, precision=HIGHEST) if factor.ndim == 2 else factor[:, None] * rows

        return self._each(vector, product)

    def solved(self, vector: Any) -> Solved:
        """(A ⊗ B)⁻¹ = A⁻¹ ⊗ B⁻¹."""

        def solution(factor: Any, rows: Any) -> Any:
            return jnp.linalg.solve(factor, rows) if factor.ndim == 2 else rows / factor[:, None]

        return outcome(self._each(vector, solution), vector)

    def slogdet(self) -> tuple[Any, Any]:
        """det(A ⊗ B) = det(A)^n det(B)^m for A m×m and B n×n."""
        sign, total = jnp.ones((), self.dtype), jnp.zeros((), self.dtype)
        for factor in self.factors:
            if factor is None:
                continue
            times = math.prod(self.shape) // factor.shape[0]
            if factor.ndim == 2:
                own = jnp.linalg.slogdet(factor)
                own_sign, own_log = own.sign, own.logabsdet
            else:
                own_sign, own_log = jnp.prod(jnp.sign(factor)), jnp.sum(jnp.log(jnp.abs(factor)))
            sign, total = sign * own_sign**times, total + times * own_log
        return sign, total

    def inverse_diagonal(self) -> Any:
        """The outer product of the factors' own."""
        return self._outer(lambda f: jnp.diagonal(jnp.linalg.inv(f)) if f.ndim == 2 else 1.0 / f)

    def main_diagonal(self) -> Any:
        """The outer product of the factors' own."""
        return self._outer(lambda f: jnp.diagonal(f) if f.ndim == 2 else f)

    def _each(self, vector: Any, function: Any) -> Any:
        array = jnp.reshape(vector, self.shape)
        for factor, axes in zip(self.factors, self.axes, strict=True):
            if factor is not None:
                first = range(len(axes))
                moved = jnp.moveaxis(array, axes, first)
                rows = function(factor, moved.reshape(factor.shape[0], -1))
                array = jnp.moveaxis(rows.reshape(moved.shape), first, axes)
        return jnp.ravel(array)

    def _outer(self, function: Any) -> Any:
        found = jnp.ones(self.shape, self.dtype)
        for factor, axes in zip(self.factors, self.axes, strict=True):
            if factor is not None:
                sizes = [n if p in axes else 1 for p, n in enumerate(self.shape)]
                found = found * function(factor).reshape(sizes)
        return jnp.ravel(found)
