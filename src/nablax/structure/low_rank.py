"""Diagonal plus low rank: Woodbury's identity, made safe for small values on the diagonal."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nablax.structure.operators import HIGHEST, Solved, Structured, flat_like, outcome


class DiagonalPlusLowRank(Structured):
    """D + W' C W.

    Args:
        values: D, shape (n,).
        factor: W, shape (r, n).
        core: C, shape (r, r).

    Source:
        Woodbury 1950; Golub and Van Loan 2013, section 2.1.4.
    """

    values: Any
    factor: Any
    core: Any

    def in_structure(self) -> Any:
        """A flat vector."""
        return flat_like(self.values)

    def mv(self, vector: Any) -> Any:
        """D v + W' (C (W v))."""
        return self.values * vector + _times(_times(self.core, _times(self.factor, vector)), self.factor)

    def as_matrix(self) -> Any:
        """All values."""
        return jnp.diag(self.values) + _times(self.factor.T, _times(self.core, self.factor))

    def main_diagonal(self) -> Any:
        """D and the diagonal of W' C W."""
        return self.values + jnp.sum(self.factor * _times(self.core, self.factor), axis=0)

    def solved(self, vector: Any) -> Solved:
        """H⁻¹ = D⁻¹ - D⁻¹ W' (I + C W D⁻¹ W')⁻¹ C W D⁻¹, refined once."""
        moved = self._moved()
        first = moved.solved(vector)
        return outcome(first + moved.solved(vector - self.mv(first)), vector)

    def slogdet(self) -> tuple[Any, Any]:
        """The determinant lemma: det H = det D det(I + C W D⁻¹ W')."""
        moved = self._moved()
        inner = jnp.linalg.slogdet(moved.inner)
        sign = jnp.prod(jnp.sign(moved.values)) * inner.sign
        total = jnp.sum(jnp.log(jnp.abs(moved.values))) + inner.logabsdet
        singular = jnp.any(moved.values == 0)
        return jnp.where(singular, 0.0, sign), jnp.where(singular, -jnp.inf, total)

    def inverse_diagonal(self) -> Any:
        """The diagonal of Woodbury's identity."""
        moved = self._moved()
        weights = jnp.linalg.solve(moved.inner, moved.core)
        rank = self.core.shape[0]
        own, units = weights[:rank, :rank], weights[rank:, rank:]
        mixed = weights[rank:, :rank] + weights[:rank, rank:].T
        both = jnp.sum(self.factor * _times(own, self.factor), axis=0)
        at = jnp.sum(mixed.T * self.factor[:, moved.places], axis=0) + jnp.diagonal(units)
        return 1.0 / moved.values - both.at[moved.places].add(at) / moved.values**2

    def _moved(self) -> _Moved:
        """The same matrix with another D: its r smallest values are moved into the low rank part.

        If r + 1 values of D are at most e in size, some unit vector v in their span is orthogonal to the r rows of W,
        and |H v| = |D v| <= e: H is that close to singular. So all but the r smallest are as far from zero as H lets
        one hope, and dividing by them loses no digits that H itself would keep. Each of the r smallest is replaced by a
        number s, and what is missing goes to the low rank part as one more row, a unit vector.
        """
        rank = self.core.shape[0]
        count = min(rank, self.values.shape[0])
        size = jnp.abs(self.values)
        _, places = jax.lax.top_k(-size, count)
        scale = jnp.mean(size)
        shift = jnp.where(scale > 0, scale, 1.0) - self.values[places]
        values = self.values.at[places].add(shift)
        core = jnp.zeros((rank + count, rank + count), size.dtype)
        added = rank + jnp.arange(count)
        core = core.at[:rank, :rank].set(self.core).at[added, added].set(-shift)
        across = self.factor[:, places] / values[places]
        units = jnp.diag(1.0 / values[places])
        gram = jnp.block([[_times(self.factor / values, self.factor.T), across], [across.T, units]])
        return _Moved(values, self.factor, places, core, jnp.eye(rank + count, dtype=size.dtype) + _times(core, gram))


class _Moved(NamedTuple):
    """D + W' C W + E' F E, E the unit vectors of some places.

    Args:
        values: D, shape (n,).
        factor: W, shape (r, n).
        places: of the units, shape (q,).
        core: C and F, shape (r + q, r + q).
        inner: I + C W D⁻¹ W' with the units among the rows of W.
    """

    values: Any
    factor: Any
    places: Any
    core: Any
    inner: Any

    def solved(self, vector: Any) -> Any:
        """Woodbury's identity."""
        scaled = vector / self.values
        rows = jnp.concatenate([_times(self.factor, scaled), scaled[self.places]])
        weights = jnp.linalg.solve(self.inner, _times(self.core, rows))
        rank = self.factor.shape[0]
        across = _times(weights[:rank], self.factor).at[self.places].add(weights[rank:])
        return scaled - across / self.values


def _times(a: Any, b: Any) -> Any:
    return jnp.matmul(a, b, precision=HIGHEST)
