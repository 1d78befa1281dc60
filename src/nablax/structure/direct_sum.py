"""Leaves that do not meet in the Hessian: one structure for each group of them."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx

from nablax.structure.operators import SUCCESSFUL, Solved, Structured, both

Ranges = tuple[tuple[int, int], ...]


class DirectSum(Structured):
    """Structures on disjoint parts of a flat vector.

    Args:
        parts: the structures.
        ranges: for each of them the ranges (start, end) of the flat vector that it acts on.
        dtype: of the flat vector.
    """

    parts: tuple[Structured, ...]
    ranges: tuple[Ranges, ...] = eqx.field(static=True)
    dtype: Any = eqx.field(static=True)

    def in_structure(self) -> Any:
        """A flat vector."""
        return jax.ShapeDtypeStruct((sum(part.in_size() for part in self.parts),), self.dtype)

    def mv(self, vector: Any) -> Any:
        """Each part's own."""
        return self._whole([part.mv(own) for part, own in zip(self.parts, self._apart(vector), strict=True)])

    def solved(self, vector: Any) -> Solved:
        """Each part's own; the first that fails tells why."""
        found = [part.solved(own) for part, own in zip(self.parts, self._apart(vector), strict=True)]
        result: lx.RESULTS = SUCCESSFUL
        for _, own in found:
            result = both(result, own)
        return self._whole([value for value, _ in found]), result

    def slogdet(self) -> tuple[Any, Any]:
        """Products and sums."""
        found = [part.slogdet() for part in self.parts]
        sign, total = jnp.ones((), self.dtype), jnp.zeros((), self.dtype)
        for own_sign, own_total in found:
            sign, total = sign * own_sign, total + own_total
        return sign, total

    def inverse_diagonal(self) -> Any:
        """Each part's own."""
        return self._whole([part.inverse_diagonal() for part in self.parts])

    def main_diagonal(self) -> Any:
        """Each part's own."""
        return self._whole([part.main_diagonal() for part in self.parts])

    def _apart(self, vector: Any) -> list[Any]:
        return [jnp.concatenate([vector[start:end] for start, end in own]) for own in self.ranges]

    def _whole(self, parts: list[Any]) -> Any:
        pieces: list[tuple[int, Any]] = []
        for own, ranges in zip(parts, self.ranges, strict=True):
            taken = 0
            for start, end in ranges:
                pieces.append((start, own[taken : taken + end - start].astype(self.dtype)))
                taken += end - start
        return jnp.concatenate([piece for _, piece in sorted(pieces, key=lambda pair: pair[0])])
