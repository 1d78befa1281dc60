"""A tree of arrays as few of them: each array that goes into a compiled program or comes out of one takes its time."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Bytes of a common vector; a larger array goes by itself. A program whose arrays are all this small runs its operations
# one after the other on a CPU; others hand them to a pool of threads, which takes a small program several times as long
# (XLA, `ThunkExecutor`).
MOST_PACKED = 512


class Packing:
    """Which arrays of a tree share a vector: small ones, truth values and integers together, floats by dtype.

    Args:
        like: a tree of arrays, or of their shapes.
    """

    def __init__(self, like: Any) -> None:
        leaves, self._structure = jax.tree.flatten(like)
        self._shapes = [(leaf.shape, leaf.dtype, leaf.size) for leaf in leaves]
        self._groups: list[tuple[Any, list[int]]] = []
        self._alone: list[int] = []
        last: dict[Any, tuple[list[int], int]] = {}  # the group of a dtype that is being filled, and its bytes
        for k, (_, dtype, size) in enumerate(self._shapes):
            whole = jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.bool_)
            common = np.dtype(jnp.result_type(int) if whole else dtype)
            needed = size * common.itemsize
            if needed > MOST_PACKED or not (whole or jnp.issubdtype(dtype, jnp.floating)):
                self._alone.append(k)
                continue
            group, filled = last.get(common, ([], MOST_PACKED))
            if filled + needed > MOST_PACKED:
                group, filled = [], 0
                self._groups.append((common, group))
            group.append(k)
            last[common] = group, filled + needed

    def packed(self, tree: Any) -> tuple[Any, ...]:
        """The arrays of a tree in vectors, and the large ones behind."""
        leaves = jax.tree.leaves(tree)
        vectors = [
            jnp.concatenate([jnp.ravel(leaves[k]).astype(dtype) for k in group]) for dtype, group in self._groups
        ]
        return (*vectors, *(leaves[k] for k in self._alone))

    def unpacked(self, arrays: tuple[Any, ...]) -> Any:
        """The tree again."""
        leaves: list[Any] = [None] * len(self._shapes)
        for (_, group), vector in zip(self._groups, arrays, strict=False):
            start = 0
            for k in group:
                shape, dtype, size = self._shapes[k]
                leaves[k] = vector[start : start + size].reshape(shape).astype(dtype)
                start += size
        for k, array in zip(self._alone, arrays[len(self._groups) :], strict=True):
            leaves[k] = array
        return jax.tree.unflatten(self._structure, leaves)
