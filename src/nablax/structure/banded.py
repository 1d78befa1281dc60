"""Banded matrices: lineax's tridiagonal solver, and elimination with row exchanges inside the band for wider ones."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np

from nablax.structure.operators import HIGHEST, Solved, Structured, outcome

# Unit vectors solved at once where the inverse's diagonal is taken by columns.
CHUNK = 64


class Banded(Structured):
    """Values at most w places beside the diagonal.

    Args:
        bands: shape (w + 1, n); ``bands[d, i]`` is the value at (i, i + d), zero where that is outside.

    Source:
        Golub and Van Loan 2013, section 4.3 (elimination with partial pivoting in a band); Rue and Held 2005, section
        2.4 (the inverse inside the band).
    """

    bands: Any

    @property
    def width(self) -> int:
        """How far beside the diagonal values stand."""
        return int(self.bands.shape[0]) - 1

    def in_structure(self) -> Any:
        """A flat vector."""
        return jax.ShapeDtypeStruct((self.bands.shape[1],), self.bands.dtype)

    def mv(self, vector: Any) -> Any:
        """Band by band."""
        found = self.bands[0] * vector
        for d in range(1, self.width + 1):
            band = self.bands[d, :-d]
            found = found.at[:-d].add(band * vector[d:]).at[d:].add(band * vector[:-d])
        return found

    def main_diagonal(self) -> Any:
        """The first band."""
        return self.bands[0]

    def published(self) -> lx.AbstractLinearOperator:
        """The tridiagonal operator of lineax, where it is one."""
        if self.width > 1:
            return self
        beside = self.bands[1, :-1]
        return lx.TaggedLinearOperator(lx.TridiagonalLinearOperator(self.bands[0], beside, beside), lx.symmetric_tag)

    def solved(self, vector: Any) -> Solved:
        """Elimination with partial pivoting."""
        if self.width == 1:
            solution = lx.linear_solve(self.published(), vector, solver=lx.Tridiagonal(), throw=False)
            return solution.value, solution.result
        upper, right, _ = self._eliminated(vector[:, None])
        return outcome(self._substituted(upper, right)[:, 0], vector)

    def slogdet(self) -> tuple[Any, Any]:
        """The pivots."""
        upper, _, exchanged = self._eliminated(jnp.zeros((self.bands.shape[1], 0), self.bands.dtype))
        pivots = upper[:, 0]
        sign = jnp.prod(jnp.sign(pivots)) * jnp.where(jnp.sum(exchanged) % 2, -1.0, 1.0)
        return sign.astype(pivots.dtype), jnp.sum(jnp.log(jnp.abs(pivots)))

    def inverse_diagonal(self) -> Any:
        """Schur complements from both ends, checked; where they lose digits, by the columns of the inverse."""
        found, error = self._from_both_ends()
        fine = error <= float(np.finfo(self.bands.dtype).eps) ** 0.5
        return jax.lax.cond(fine, lambda matrix: found, lambda matrix: matrix._by_columns(), self)

    # -- elimination -------------------------------------------------------------------------------

    def _rows(self) -> Any:
        """Row i of the band: values at columns i - w ... i + w; below the matrix rows of the identity."""
        w, n = self.width, self.bands.shape[1]
        left = [jnp.pad(self.bands[d, : max(n - d, 0)], (min(d, n), 0)) for d in range(w, 0, -1)]
        right = [self.bands[d] for d in range(w + 1)]
        rows = jnp.stack([*left, *right], axis=1)
        below = jnp.zeros((w + 1, 2 * w + 1), rows.dtype).at[:, w].set(1.0)
        return jnp.concatenate([rows, below])

    def _eliminated(self, right: Any) -> tuple[Any, Any, Any]:
        """The upper triangle (row j: columns j ... j + 2w), the right-hand sides, and whether rows were exchanged."""
        w = self.width
        rows = self._rows()
        right = jnp.pad(right, ((0, w + 1), (0, 0)))
        # the window at step j: rows j ... j + w as they are then, columns j ... j + 2w
        window = jnp.stack([jnp.pad(rows[i, w - i :], (0, w - i)) for i in range(w + 1)])

        def step(state: tuple[Any, Any], coming: tuple[Any, Any]) -> tuple[tuple[Any, Any], tuple[Any, Any, Any]]:
            window, sides = state
            pivot = jnp.argmax(jnp.abs(window[:, 0]))
            first, first_side = window[pivot], sides[pivot]
            window = window.at[pivot].set(window[0])[1:]
            sides = sides.at[pivot].set(sides[0])[1:]
            # a pivot of zero means a column of zeros, from which nothing is taken
            factors = window[:, 0] / jnp.where(first[0] == 0, 1.0, first[0])
            window = (window - factors[:, None] * first)[:, 1:]
            sides = sides - factors[:, None] * first_side
            window = jnp.concatenate([jnp.pad(window, ((0, 0), (0, 1))), coming[0][None]])
            return (window, jnp.concatenate([sides, coming[1][None]])), (first, first_side, pivot != 0)

        _, found = jax.lax.scan(step, (window, right[: w + 1]), (rows[w + 1 :], right[w + 1 :]))
        return found

    def _substituted(self, upper: Any, right: Any) -> Any:
        w = self.width

        def step(known: Any, row: tuple[Any, Any]) -> tuple[Any, Any]:
            own = (row[1] - jnp.matmul(row[0][1:], known, precision=HIGHEST)) / row[0][0]
            return jnp.concatenate([own[None], known[:-1]]), own

        start = jnp.zeros((2 * w, right.shape[1]), right.dtype)
        return jax.lax.scan(step, start, (upper, right), reverse=True)[1]

    def _by_columns(self) -> Any:
        n = self.bands.shape[1]
        chunk = min(CHUNK, n)

        def some(first: Any) -> Any:
            places = first + jnp.arange(chunk)
            unit = (jnp.arange(n)[:, None] == places).astype(self.bands.dtype)
            upper, right, _ = self._eliminated(unit)
            return self._substituted(upper, right)[jnp.minimum(places, n - 1), jnp.arange(chunk)]

        return jnp.ravel(jax.lax.map(some, jnp.arange(0, n, chunk)))[:n]

    # -- the inverse inside the band ---------------------------------------------------------------

    def _blocks(self) -> tuple[Any, Any]:
        """Diagonal blocks of w rows, and the blocks right of them; below the matrix the identity."""
        w, n = self.width, self.bands.shape[1]
        count = -(-n // w)
        bands = jnp.pad(self.bands, ((0, 0), (0, count * w - n)))
        bands = bands.at[0, n:].set(1.0).reshape(w + 1, count, w)
        row, column = jnp.meshgrid(jnp.arange(w), jnp.arange(w), indexing="ij")
        own = bands[jnp.abs(row - column), :, jnp.minimum(row, column)]
        beside = jnp.where((column <= row)[..., None], bands[jnp.clip(w + column - row, 0, w), :, row], 0.0)
        return jnp.moveaxis(own, 2, 0), jnp.moveaxis(beside, 2, 0)[:-1]

    def _from_both_ends(self) -> tuple[Any, Any]:
        """The inverse's diagonal from X_ii = (L_i + R_i - A_i)⁻¹, and the residual of H X = I inside the band."""
        own, beside = self._blocks()
        w = self.width

        def solve(a: Any, b: Any) -> Any:
            return b / a if w == 1 else jnp.linalg.solve(a, b)

        def down(last: Any, row: tuple[Any, Any]) -> tuple[Any, Any]:
            new = row[0] - _times(row[1].T, solve(last, row[1]))
            return new, new

        def up(last: Any, row: tuple[Any, Any]) -> tuple[Any, Any]:
            new = row[0] - _times(row[1], solve(last, row[1].T))
            return new, new

        left = jnp.concatenate([own[:1], jax.lax.scan(down, own[0], (own[1:], beside))[1]])
        right = jax.lax.scan(up, own[-1], (own[:-1], beside), reverse=True)[1]
        right = jnp.concatenate([right, own[-1:]])
        unit = jnp.broadcast_to(jnp.eye(w, dtype=own.dtype), own.shape)
        inverse = solve(left + right - own, unit)
        above = -solve(left[:-1], _each(beside, inverse[1:]))
        residual = _each(own, inverse) - unit
        residual = residual.at[:-1].add(_each(beside, jnp.swapaxes(above, 1, 2)))
        residual = residual.at[1:].add(_each(jnp.swapaxes(beside, 1, 2), above))
        found = jnp.ravel(jnp.diagonal(inverse, axis1=1, axis2=2))[: self.bands.shape[1]]
        return found, jnp.max(jnp.abs(residual))


def _times(a: Any, b: Any) -> Any:
    return jnp.matmul(a, b, precision=HIGHEST)


def _each(a: Any, b: Any) -> Any:
    return jnp.einsum("nij,njk->nik", a, b, precision=HIGHEST)
