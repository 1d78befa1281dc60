"""Values at static positions: SuperLU on the host where values are concrete, conjugate gradients inside a trace."""

from __future__ import annotations

import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np

from nablax.errors import MemoryBoundError
from nablax.structure.operators import Solved, Structured, by_conjugate_gradients, outcome

with warnings.catch_warnings():  # scipy.sparse sets a filter when it is imported; the user's stay as they were
    import scipy.sparse
    import scipy.sparse.linalg

# Unknowns up to which a sparse matrix inside a trace is made dense for what products cannot answer.
MOST_TRACED = 4_000
# Columns of the inverse that are held at once.
CHUNK = 256


class Sparse(Structured):
    """Values, rows and columns; no position twice.

    Args:
        values: shape (nse,).
        rows: shape (nse,).
        columns: shape (nse,).
        size: n.
    """

    values: Any
    rows: Any
    columns: Any
    size: int = eqx.field(static=True)

    def in_structure(self) -> Any:
        """A flat vector."""
        return jax.ShapeDtypeStruct((self.size,), self.values.dtype)

    def mv(self, vector: Any) -> Any:
        """Gather, multiply, add up."""
        return jax.ops.segment_sum(self.values * vector[self.columns], self.rows, self.size)

    def as_matrix(self) -> Any:
        """All values."""
        return jnp.zeros((self.size, self.size), self.values.dtype).at[self.rows, self.columns].set(self.values)

    def main_diagonal(self) -> Any:
        """The values on it."""
        return jax.ops.segment_sum(jnp.where(self.rows == self.columns, self.values, 0.0), self.rows, self.size)

    def solved(self, vector: Any) -> Solved:
        """SuperLU (scipy) where all values are concrete; inside a trace lineax's conjugate gradients."""
        if self._traced(vector):
            return by_conjugate_gradients(self, vector)
        factors = self._factors()
        right = np.asarray(vector, np.float64)
        solution = np.full(self.size, np.nan) if factors is None else factors.solve(right)
        return outcome(jnp.asarray(solution, self.values.dtype), vector)

    def slogdet(self) -> tuple[Any, Any]:
        """The diagonal of U and the parity of the exchanges."""
        if self._traced(self.values):
            found = jnp.linalg.slogdet(self._small("logdet"))
            return found.sign, found.logabsdet
        factors = self._factors()
        if factors is None:
            return jnp.zeros((), self.values.dtype), jnp.full((), -jnp.inf, self.values.dtype)
        pivots = factors.U.diagonal()
        sign = np.prod(np.sign(pivots)) * _parity(factors.perm_r) * _parity(factors.perm_c)
        return jnp.asarray(sign, self.values.dtype), jnp.asarray(np.sum(np.log(np.abs(pivots))), self.values.dtype)

    def inverse_diagonal(self) -> Any:
        """Solves of unit vectors, so many at a time, with one factorisation."""
        if self._traced(self.values):
            return jnp.diagonal(jnp.linalg.inv(self._small("inverse_diagonal")))
        factors = self._factors()
        found = np.full(self.size, np.nan)
        for first in range(0, self.size if factors is not None else 0, CHUNK):
            places = np.arange(first, min(first + CHUNK, self.size))
            units = np.zeros((self.size, places.size))
            units[places, np.arange(places.size)] = 1.0
            found[places] = factors.solve(units)[places, np.arange(places.size)]
        return jnp.asarray(found, self.values.dtype)

    def _factors(self) -> Any:
        """SuperLU's factors; None where the matrix is singular."""
        values = np.asarray(self.values, np.float64)
        if not np.all(np.isfinite(values)):
            return None
        places = (np.asarray(self.rows), np.asarray(self.columns))
        matrix = scipy.sparse.csc_matrix((values, places), shape=(self.size, self.size))
        try:
            return scipy.sparse.linalg.splu(matrix)
        except RuntimeError:  # "Factor is exactly singular"
            return None

    def _traced(self, other: Any) -> bool:
        return any(isinstance(x, jax.core.Tracer) for x in (self.values, self.rows, self.columns, other))

    def _small(self, asked: str) -> Any:
        if self.size > MOST_TRACED:
            held = self.size**2 * self.values.dtype.itemsize
            raise MemoryBoundError(
                f"{asked} was asked, inside a transformation (jit, vmap, grad), of a sparse Hessian of {self.size:,} "
                f"unknowns. There it would be made dense, {held:,} bytes; at most {MOST_TRACED:,} unknowns are. Ask "
                "outside of the transformation, where it is factorised as a sparse matrix on the host."
            )
        return self.as_matrix()


def holds_sparse(operator: lx.AbstractLinearOperator) -> bool:
    """Whether a matrix has a part that is factorised on the host."""
    found = jax.tree.leaves(operator, is_leaf=lambda x: isinstance(x, Sparse))
    return any(isinstance(x, Sparse) for x in found)


def _parity(permutation: Any) -> int:
    """1 or -1: whether an even or an odd number of exchanges makes a permutation."""
    seen = np.zeros(len(permutation), bool)
    sign = 1
    for start in range(len(permutation)):
        length = 0
        while not seen[start]:
            seen[start] = True
            start = int(permutation[start])
            length += 1
        if length and length % 2 == 0:
            sign = -sign
    return sign
