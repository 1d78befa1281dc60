"""What every structured matrix can do, told to lineax once; and the matrices that lineax itself knows.

Each is symmetric, acts on a flat vector, and answers by its own structure: products, solves, log determinant, diagonal
of the inverse. Solves end as lineax's do: with a value and one of its RESULTS.
"""

from __future__ import annotations

import abc
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np

from nablax.errors import MemoryBoundError

# Unknowns up to which a dense matrix is formed where nothing better is known (0.8 GB in float64).
MOST_DENSE = 10_000
HIGHEST = jax.lax.Precision.HIGHEST
SUCCESSFUL: Any = lx.RESULTS.successful
SINGULAR: Any = lx.RESULTS.singular
NONFINITE_INPUT: Any = lx.RESULTS.nonfinite_input
Solved = tuple[Any, lx.RESULTS]
Op = TypeVar("Op", bound=lx.AbstractLinearOperator)


class Structured(lx.AbstractLinearOperator):
    """A symmetric matrix that is kept in parts."""

    @abc.abstractmethod
    def solved(self, vector: Any) -> Solved:
        """The solution of a system, and how it went.

        Args:
            vector: right-hand side, shape (n,).
        """

    @abc.abstractmethod
    def slogdet(self) -> tuple[Any, Any]:
        """Sign and logarithm of the absolute value of the determinant; (0, -inf) where it is zero."""

    @abc.abstractmethod
    def inverse_diagonal(self) -> Any:
        """The diagonal of the inverse, shape (n,)."""

    @abc.abstractmethod
    def main_diagonal(self) -> Any:
        """The diagonal, shape (n,)."""

    def published(self) -> lx.AbstractLinearOperator:
        """The same matrix as lineax's own operator, where it has one."""
        return self

    def as_matrix(self) -> Any:
        """All values, shape (n, n)."""
        return jax.vmap(self.mv, in_axes=1, out_axes=1)(jnp.eye(self.in_size(), dtype=self.in_structure().dtype))

    def transpose(self) -> Structured:
        """Itself."""
        return self

    def out_structure(self) -> Any:
        """As `in_structure`."""
        return self.in_structure()


class Diagonal(Structured):
    """diag(values).

    Args:
        values: shape (n,).
    """

    values: Any

    def mv(self, vector: Any) -> Any:
        """The product."""
        return self.values * vector

    def as_matrix(self) -> Any:
        """All values."""
        return jnp.diag(self.values)

    def in_structure(self) -> Any:
        """A flat vector."""
        return flat_like(self.values)

    def solved(self, vector: Any) -> Solved:
        """By division."""
        return outcome(vector / self.values, vector)

    def slogdet(self) -> tuple[Any, Any]:
        """A sum of logarithms."""
        return jnp.prod(jnp.sign(self.values)), jnp.sum(jnp.log(jnp.abs(self.values)))

    def inverse_diagonal(self) -> Any:
        """The reciprocals."""
        return 1.0 / self.values

    def main_diagonal(self) -> Any:
        """The values."""
        return self.values

    def published(self) -> lx.AbstractLinearOperator:
        """The diagonal operator of lineax."""
        return lx.DiagonalLinearOperator(self.values)


class Dense(Structured):
    """All values.

    Args:
        matrix: shape (n, n).
        symmetric: whether it equals its transpose; under a custom reverse rule it need not.
    """

    matrix: Any
    symmetric: bool = eqx.field(static=True, default=True)

    def mv(self, vector: Any) -> Any:
        """The product."""
        return jnp.matmul(self.matrix, vector, precision=HIGHEST)

    def as_matrix(self) -> Any:
        """All values."""
        return self.matrix

    def transpose(self) -> Structured:
        """Itself, or rows and columns exchanged."""
        return self if self.symmetric else Dense(self.matrix.T, False)

    def in_structure(self) -> Any:
        """A flat vector."""
        return flat_like(self.matrix[0]) if self.matrix.shape[0] else flat_like(self.matrix.reshape(0))

    def solved(self, vector: Any) -> Solved:
        """LU with partial pivoting: a Hessian need not be positive definite."""
        solution = lx.linear_solve(self.published(), vector, solver=lx.LU(), throw=False)
        return solution.value, solution.result

    def slogdet(self) -> tuple[Any, Any]:
        """From LU."""
        found = jnp.linalg.slogdet(self.matrix)
        return found.sign, found.logabsdet

    def inverse_diagonal(self) -> Any:
        """From the inverse."""
        return jnp.diagonal(jnp.linalg.inv(self.matrix))

    def main_diagonal(self) -> Any:
        """Its diagonal."""
        return jnp.diagonal(self.matrix)

    def published(self) -> lx.AbstractLinearOperator:
        """The matrix operator of lineax."""
        return lx.MatrixLinearOperator(self.matrix, lx.symmetric_tag if self.symmetric else ())


class Products(Structured):
    """A large matrix without structure, known by its products with vectors.

    Args:
        function: (data, vector) to the product.
        data: arrays that it needs.
        size: n.
        dtype: of the vectors.
    """

    function: Any = eqx.field(static=True)
    data: Any
    size: int = eqx.field(static=True)
    dtype: Any = eqx.field(static=True)

    def mv(self, vector: Any) -> Any:
        """The product."""
        return self.function(self.data, vector)

    def in_structure(self) -> Any:
        """A flat vector."""
        return jax.ShapeDtypeStruct((self.size,), self.dtype)

    def solved(self, vector: Any) -> Solved:
        """Conjugate gradients."""
        return by_conjugate_gradients(self, vector)

    def slogdet(self) -> tuple[Any, Any]:
        """Refused."""
        raise _too_large("logdet", self.size, self.dtype)

    def inverse_diagonal(self) -> Any:
        """Refused."""
        raise _too_large("inverse_diagonal", self.size, self.dtype)

    def main_diagonal(self) -> Any:
        """Refused; `Curvature.diagonal` answers it."""
        raise _too_large("the diagonal of an operator", self.size, self.dtype)

    def as_matrix(self) -> Any:
        """Refused."""
        raise _too_large("the matrix of an operator", self.size, self.dtype)

    def published(self) -> lx.AbstractLinearOperator:
        """The function operator of lineax."""
        found: lx.AbstractLinearOperator = lx.FunctionLinearOperator(self.mv, self.in_structure(), lx.symmetric_tag)
        return found


def _too_large(asked: str, size: int, dtype: Any) -> MemoryBoundError:
    held = size * size * jnp.dtype(dtype).itemsize
    return MemoryBoundError(
        f"{asked} was asked of a dense Hessian of {size:,} unknowns, {held:,} bytes; at most {MOST_DENSE:,} are "
        "formed. Ask for products with vectors (c @ v), solves (c.solve) or the diagonal (c.diagonal()) instead."
    )


# -- outcomes --------------------------------------------------------------------------------------


def flat_like(array: Any) -> Any:
    """The structure of a flat vector of an array's dtype and size."""
    return jax.ShapeDtypeStruct((array.size,), array.dtype)


def outcome(solution: Any, vector: Any) -> Solved:
    """A solution with lineax's result: singular where it is not finite, unless the vector was not."""
    fine = jnp.all(jnp.isfinite(solution))
    given = jnp.all(jnp.isfinite(vector))
    bad = lx.RESULTS.where(given, SINGULAR, NONFINITE_INPUT)
    return solution, lx.RESULTS.where(fine, SUCCESSFUL, bad)


def both(first: lx.RESULTS, second: lx.RESULTS) -> lx.RESULTS:
    """The first result that is no success."""
    return lx.RESULTS.where(first == SUCCESSFUL, second, first)


def by_conjugate_gradients(operator: Structured, vector: Any) -> Solved:
    """Conjugate gradients of lineax: for definite matrices; on others they may end without success, which is told.

    The tag is needed for lineax to begin; success is judged by the residual, whatever the matrix.
    """
    tagged = lx.TaggedLinearOperator(
        lx.FunctionLinearOperator(operator.mv, operator.in_structure()), lx.positive_semidefinite_tag
    )
    tolerance = float(np.finfo(vector.dtype).eps) ** 0.75
    solver = lx.CG(rtol=tolerance, atol=tolerance, max_steps=10 * operator.in_size() + 100)
    solution = lx.linear_solve(tagged, vector, solver=solver, throw=False)
    return solution.value, solution.result


# -- what lineax asks of an operator ---------------------------------------------------------------


@lx.linearise.register(Structured)
@lx.conj.register(Structured)
def _itself(operator: Op) -> Op:
    return operator


@lx.materialise.register(Structured)
def _materialised(operator: Structured) -> lx.AbstractLinearOperator:
    return operator


@lx.diagonal.register(Structured)
def _diagonal(operator: Structured) -> Any:
    return operator.main_diagonal()


@lx.tridiagonal.register(Structured)
def _tridiagonal(operator: Structured) -> tuple[Any, Any, Any]:
    matrix = operator.as_matrix()
    return jnp.diagonal(matrix), jnp.diagonal(matrix, -1), jnp.diagonal(matrix, 1)


@lx.is_symmetric.register(Structured)
def _is_symmetric(operator: Structured) -> bool:
    return operator.symmetric if isinstance(operator, Dense) else True


@lx.is_diagonal.register(Structured)
def _is_diagonal(operator: Structured) -> bool:
    return isinstance(operator, Diagonal)


@lx.is_tridiagonal.register(Structured)
@lx.has_unit_diagonal.register(Structured)
@lx.is_lower_triangular.register(Structured)
@lx.is_upper_triangular.register(Structured)
@lx.is_positive_semidefinite.register(Structured)
@lx.is_negative_semidefinite.register(Structured)
def _is_not_known_to_be(operator: Structured) -> bool:
    return False
