"""Independent dense blocks of one size: along a batch, solved all at once."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from nablax.structure.operators import HIGHEST, Solved, Structured, outcome


class Batched(Structured):
    """Blocks along axes of the batch, which every leaf has.

    Args:
        blocks: shape (number of blocks, rows of a block, rows of a block).
        shapes: of the leaves, which lie one after the other in the flat vector.
        axes: for each leaf its axes of the batch.
    """

    blocks: Any
    shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    axes: tuple[tuple[int, ...], ...] = eqx.field(static=True)

    def in_structure(self) -> Any:
        """A flat vector."""
        return jax.ShapeDtypeStruct((sum(math.prod(shape) for shape in self.shapes),), self.blocks.dtype)

    def mv(self, vector: Any) -> Any:
        """Block times part."""
        return self._flat(jnp.einsum("nij,nj->ni", self.blocks, self._apart(vector), precision=HIGHEST))

    def solved(self, vector: Any) -> Solved:
        """LU of each block."""
        parts = jnp.linalg.solve(self.blocks, self._apart(vector)[..., None])[..., 0]
        return outcome(self._flat(parts), vector)

    def slogdet(self) -> tuple[Any, Any]:
        """The blocks' own."""
        found = jnp.linalg.slogdet(self.blocks)
        return jnp.prod(found.sign), jnp.sum(found.logabsdet)

    def inverse_diagonal(self) -> Any:
        """The blocks' own."""
        return self._flat(jnp.diagonal(jnp.linalg.inv(self.blocks), axis1=1, axis2=2))

    def main_diagonal(self) -> Any:
        """The blocks' own."""
        return self._flat(jnp.diagonal(self.blocks, axis1=1, axis2=2))

    def _apart(self, vector: Any) -> Any:
        """A flat vector as (number of blocks, rows of a block)."""
        parts, start = [], 0
        for shape, axes in zip(self.shapes, self.axes, strict=True):
            array = vector[start : start + math.prod(shape)].reshape(shape)
            start += array.size
            parts.append(jnp.moveaxis(array, axes, range(len(axes))).reshape(self.blocks.shape[0], -1))
        return jnp.concatenate(parts, axis=1)

    def _flat(self, parts: Any) -> Any:
        """The way back."""
        flat, start = [], 0
        for shape, axes in zip(self.shapes, self.axes, strict=True):
            width = math.prod(shape) // self.blocks.shape[0]
            others = tuple(n for p, n in enumerate(shape) if p not in axes)
            own = parts[:, start : start + width].reshape(tuple(shape[p] for p in axes) + others)
            start += width
            flat.append(jnp.ravel(jnp.moveaxis(own, range(len(axes)), axes)))
        return jnp.concatenate(flat)
