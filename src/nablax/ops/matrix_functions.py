"""Rows of matrix functions: value by JAX, differential as a network in value and arguments.

The second derivative follows by differentiating the factors of the first: no row states it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from nablax.contraction.index import Index, fresh
from nablax.contraction.term import Axes, Factor, Operand, Term


class ArrayNode(Operand, Protocol):
    """What a row knows of a node."""

    @property
    def dtype(self) -> np.dtype[Any]: ...


N = TypeVar("N", bound=ArrayNode)


class Maker(Protocol[N]):
    """What a row needs of the graph to build the factors of its differential."""

    def matrix_function(self, name: str, inputs: Sequence[N], shape: Sequence[int], **params: Any) -> N: ...

    def constant(self, value: Any) -> N: ...

    def cast(self, node: N, dtype: Any) -> N: ...


Differential = Mapping[int, list[Term[Any]]]


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """One matrix function.

    Args:
        name: its name.
        evaluate: the value by JAX; takes arrays and the row's parameters.
        differential: from graph, value node, argument nodes and parameters: for each argument the terms of
            the local Jacobian, sides (value axes, argument axes).
        flops: operations from the shapes of value and arguments.
        sample: arguments for tests, from a generator.
    """

    name: str
    evaluate: Callable[..., Any]
    differential: Callable[..., Differential]
    flops: Callable[..., float]
    sample: Callable[[np.random.Generator], tuple[tuple[npt.NDArray[Any], ...], dict[str, Any]]]


def _matrix(shape: Sequence[int]) -> tuple[Axes, Index, Index]:
    """Batch axes, row and column of a stack of matrices, on new labels."""
    *batch, i, j = fresh(shape)
    return tuple(batch), i, j


def _inverse(graph: Maker[Any], x: Any) -> Any:
    return graph.matrix_function("inv", (x,), x.shape)


def _inv(graph: Maker[Any], y: Any, inputs: Sequence[Any]) -> Differential:
    # X Y = 1  =>  dY = -Y dX Y
    batch, i, j = _matrix(y.shape)
    _, a, b = _matrix(y.shape)
    factors = (Factor(y, (*batch, i, a)), Factor(y, (*batch, b, j)))
    return {0: [Term(-1.0, factors, ((*batch, i, j), (*batch, a, b)))]}


def _solve(graph: Maker[Any], y: Any, inputs: Sequence[Any]) -> Differential:
    # A Y = B  =>  dY = A^-1 (dB - dA Y)
    a_matrix, b_matrix = inputs
    inverse = _inverse(graph, a_matrix)
    batch, i, j = _matrix(y.shape)
    _, k, m = _matrix(a_matrix.shape)
    by_a = Term(
        -1.0,
        (Factor(inverse, (*batch, i, k)), Factor(y, (*batch, m, j))),
        ((*batch, i, j), (*batch, k, m)),
    )
    batch, i, j = _matrix(y.shape)
    _, k, _ = _matrix(b_matrix.shape)
    by_b = Term(1.0, (Factor(inverse, (*batch, i, k)),), ((*batch, i, j), (*batch, k, j)))
    return {0: [by_a], 1: [by_b]}


def _logdet(graph: Maker[Any], y: Any, inputs: Sequence[Any]) -> Differential:
    # d log|det X| = tr(X^-1 dX)
    batch, i, j = _matrix(inputs[0].shape)
    return {0: [Term(1.0, (Factor(_inverse(graph, inputs[0]), (*batch, j, i)),), (batch, (*batch, i, j)))]}


def _det(graph: Maker[Any], y: Any, inputs: Sequence[Any]) -> Differential:
    # d det X = det X tr(X^-1 dX)
    batch, i, j = _matrix(inputs[0].shape)
    factors = (Factor(y, batch), Factor(_inverse(graph, inputs[0]), (*batch, j, i)))
    return {0: [Term(1.0, factors, (batch, (*batch, i, j)))]}


def _lower_half(n: int, dtype: Any) -> npt.NDArray[Any]:
    """1 below the diagonal, 1/2 on it, 0 above."""
    return np.asarray(np.tril(np.ones((n, n))) - 0.5 * np.eye(n), dtype=dtype)


def _cholesky(graph: Maker[Any], y: Any, inputs: Sequence[Any]) -> Differential:
    # A = L L'  =>  dL = L P(L^-1 dA L^-T) with P the lower half (Murray 2016, equation 8).
    # dA enters by its symmetric part: only then is L a function of all matrices, with a symmetric second
    # derivative. For a symmetric argument, the only one allowed, nothing changes.
    batch, i, j = _matrix(y.shape)
    _, a, b = _matrix(y.shape)
    [k] = fresh(y.shape[-1:])
    inverse = graph.matrix_function("inv_lower", (y,), y.shape, unit_diagonal=False)
    half = graph.constant(_lower_half(y.shape[-1], y.dtype))
    factors = (
        Factor(y, (*batch, i, k)),
        Factor(half, (k, j)),
        Factor(inverse, (*batch, k, a)),
        Factor(inverse, (*batch, j, b)),
    )
    return {0: [Term(0.5, factors, ((*batch, i, j), (*batch, *ends))) for ends in ((a, b), (b, a))]}


def _inv_lower(graph: Maker[Any], y: Any, inputs: Sequence[Any], *, unit_diagonal: bool) -> Differential:
    # the same as for inv, but only the lower triangle of the argument is read
    batch, i, j = _matrix(y.shape)
    _, a, b = _matrix(y.shape)
    n = y.shape[-1]
    read = graph.constant(np.asarray(np.tril(np.ones((n, n)), -1 if unit_diagonal else 0), dtype=y.dtype))
    factors = (Factor(y, (*batch, i, a)), Factor(read, (a, b)), Factor(y, (*batch, b, j)))
    return {0: [Term(-1.0, factors, ((*batch, i, j), (*batch, a, b)))]}


def _evaluate_inv_lower(x: Any, *, unit_diagonal: bool) -> Any:
    one = jnp.broadcast_to(jnp.eye(x.shape[-1], dtype=x.dtype), x.shape)
    return jax.lax.linalg.triangular_solve(x, one, left_side=True, lower=True, unit_diagonal=unit_diagonal)


def _extremum(graph: Maker[Any], y: Any, inputs: Sequence[Any], *, axes: tuple[int, ...]) -> Differential:
    # the value moves with the place of the extremum; equal places share, as in JAX
    [x] = inputs
    where = graph.matrix_function("extremum_weights", (x, y), x.shape, axes=axes)
    labels = fresh(x.shape)
    left = tuple(index for k, index in enumerate(labels) if k not in axes)
    return {0: [Term(1.0, (Factor(where, labels),), (left, labels))]}


def _flat(graph: Maker[Any], y: Any, inputs: Sequence[Any], **params: Any) -> Differential:
    return {}


def _weights(x: Any, extremum: Any, *, axes: tuple[int, ...]) -> Any:
    here = jnp.asarray(x == jnp.expand_dims(extremum, axes), x.dtype)
    return jax.lax.stop_gradient(here / here.sum(axes, keepdims=True))


def _square(generator: np.random.Generator) -> tuple[tuple[npt.NDArray[Any], ...], dict[str, Any]]:
    return (generator.normal(size=(2, 3, 3)) + 3 * np.eye(3),), {}


def _spd(generator: np.random.Generator) -> tuple[tuple[npt.NDArray[Any], ...], dict[str, Any]]:
    root = generator.normal(size=(3, 3))
    return (root @ root.T + 3 * np.eye(3),), {}


def _cube(y: tuple[int, ...], x: tuple[int, ...], *_: tuple[int, ...]) -> float:
    return 2.0 * float(np.prod(x)) * x[-1]


def _linear(y: tuple[int, ...], x: tuple[int, ...], *_: tuple[int, ...]) -> float:
    return float(np.prod(x))


_ROWS = (
    MatrixRow("inv", jnp.linalg.inv, _inv, _cube, _square),
    MatrixRow(
        "solve", jnp.linalg.solve, _solve, _cube,
        lambda g: ((g.normal(size=(3, 3)) + 3 * np.eye(3), g.normal(size=(3, 2))), {}),
    ),
    MatrixRow("logdet", lambda x: jnp.linalg.slogdet(x)[1], _logdet, _cube, _square),
    MatrixRow("sign_det", lambda x: jnp.linalg.slogdet(x)[0], _flat, _cube, _square),
    MatrixRow("det", jnp.linalg.det, _det, _cube, _square),
    MatrixRow("cholesky", jax.lax.linalg.cholesky, _cholesky, _cube, _spd),
    MatrixRow(
        "inv_lower", _evaluate_inv_lower, _inv_lower, _cube,
        lambda g: ((g.normal(size=(3, 3)) + 3 * np.eye(3),), {"unit_diagonal": False}),
    ),
    MatrixRow(
        "reduce_max", lambda x, axes: jnp.max(x, axes), _extremum, _linear,
        lambda g: ((g.normal(size=(3, 4)),), {"axes": (1,)}),
    ),
    MatrixRow(
        "reduce_min", lambda x, axes: jnp.min(x, axes), _extremum, _linear,
        lambda g: ((g.normal(size=(3, 4)),), {"axes": (0,)}),
    ),
    MatrixRow(
        "extremum_weights", _weights, _flat, _linear,
        lambda g: ((np.arange(6.0).reshape(2, 3), np.array([2.0, 5.0])), {"axes": (1,)}),
    ),
)  # fmt: skip

ROWS = {row.name: row for row in _ROWS}
