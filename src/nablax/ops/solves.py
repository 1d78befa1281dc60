"""Rows of solves and factorisations that are defined by one equation: inv, solve, cholesky and triangular solves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from nablax.ops.matrix_row import Differential, Equation, Maker, MatrixRow, Product, Terms, by_equations, network

VALUE = ~0


def _alone(equations: Callable[..., tuple[Equation, ...]]) -> Callable[..., Differential]:
    """The differential of a row with one value, from its equations."""

    def differential(graph: Maker[Any], y: Any, inputs: Sequence[Any], **params: Any) -> Differential:
        return by_equations(equations(**params), graph, (y,), inputs, 0)

    return differential


# -- inv: X Y = 1, so that Y answers a residual r with X^-1 r = Y r -------------------------------------------


def _inv_response(graph: Maker[Any], values: Sequence[Any], inputs: Sequence[Any], place: int) -> Terms:
    [y] = values
    return [network(1.0, [(y, "ik")], (y.shape, "ij"), (y.shape, "kj"))]


def _inv(**params: Any) -> tuple[Equation, ...]:
    return (Equation("ij", (Product(1.0, ((0, "ik"), (VALUE, "kj"))),), _inv_response),)


# -- solve: A Y = B ---------------------------------------------------------------------------------------------


def _solve_response(graph: Maker[Any], values: Sequence[Any], inputs: Sequence[Any], place: int) -> Terms:
    [y], a = values, inputs[0]
    inverse = graph.matrix_function("inv", (a,), a.shape)
    return [network(1.0, [(inverse, "ik")], (y.shape, "ij"), (y.shape, "kj"))]


def _solve() -> tuple[Equation, ...]:
    return (Equation("ij", (Product(1.0, ((0, "ik"), (VALUE, "kj"))), Product(-1.0, ((1, "ij"),))), _solve_response),)


# -- triangular solve: op(T) Y = B or Y op(T) = B, op the transpose or nothing -----------------------------------


def _triangular_response(
    graph: Maker[Any],
    values: Sequence[Any],
    inputs: Sequence[Any],
    place: int,
    *,
    lower: bool,
    left_side: bool,
    transpose: bool,
) -> Terms:
    [y], t = values, inputs[0]
    inverse = graph.matrix_function("inv_triangular", (t,), t.shape, lower=lower)
    if left_side:
        return [network(1.0, [(inverse, "ki" if transpose else "ik")], (y.shape, "ij"), (y.shape, "kj"))]
    return [network(1.0, [(inverse, "jk" if transpose else "kj")], (y.shape, "ij"), (y.shape, "ik"))]


def _solve_triangular(*, lower: bool, left_side: bool, transpose: bool) -> tuple[Equation, ...]:
    turned = (lambda letters: letters[::-1]) if transpose else str
    product = ((0, turned("ik")), (VALUE, "kj")) if left_side else ((VALUE, "ik"), (0, turned("kj")))
    response = partial(_triangular_response, lower=lower, left_side=left_side, transpose=transpose)
    return (Equation("ij", (Product(1.0, product), Product(-1.0, ((1, "ij"),))), response),)


def _triangle(t: Any, *, lower: bool) -> Any:
    return jnp.tril(t) if lower else jnp.triu(t)


def _evaluate_triangular(t: Any, b: Any, *, lower: bool, left_side: bool, transpose: bool) -> Any:
    return jax.lax.linalg.triangular_solve(t, b, left_side=left_side, lower=lower, transpose_a=transpose)


def _evaluate_inv_triangular(t: Any, *, lower: bool) -> Any:
    one = jnp.broadcast_to(jnp.eye(t.shape[-1], dtype=t.dtype), t.shape)
    return jax.lax.linalg.triangular_solve(t, one, left_side=True, lower=lower)


# -- cholesky: L L' = A for symmetric A --------------------------------------------------------------------------


def _cholesky_response(graph: Maker[Any], values: Sequence[Any], inputs: Sequence[Any], place: int) -> Terms:
    # dL L' + L dL' = r  =>  dL = L P(L^-1 r L^-T) with P the lower half (Murray 2016, equation 8)
    [y] = values
    inverse = graph.matrix_function("inv_triangular", (y,), y.shape, lower=True)
    half = graph.constant(_lower_half(y.shape[-1], y.dtype))
    factors = [(y, "ik"), (half, "kj"), (inverse, "ka"), (inverse, "jb")]
    return [network(1.0, factors, (y.shape, "ij"), (y.shape, "ab"))]


def _lower_half(n: int, dtype: Any) -> npt.NDArray[Any]:
    """1 below the diagonal, 1/2 on it, 0 above."""
    return np.asarray(np.tril(np.ones((n, n))) - 0.5 * np.eye(n), dtype=dtype)


def _cholesky() -> tuple[Equation, ...]:
    products = (Product(1.0, ((VALUE, "ik"), (VALUE, "jk"))), Product(-1.0, ((0, "ij"),)))
    return (Equation("ij", products, _cholesky_response),)


def _evaluate_cholesky(x: Any) -> Any:
    return jax.lax.linalg.cholesky(x, symmetrize_input=False)


# -- the table ---------------------------------------------------------------------------------------------------


def square(generator: np.random.Generator) -> tuple[tuple[npt.NDArray[Any], ...], dict[str, Any]]:
    """A stack of well conditioned matrices."""
    return (generator.normal(size=(2, 3, 3)) + 3 * np.eye(3),), {}


def symmetric_positive(generator: np.random.Generator) -> tuple[tuple[npt.NDArray[Any], ...], dict[str, Any]]:
    """A symmetric positive definite matrix."""
    root = generator.normal(size=(3, 3))
    return (root @ root.T + 3 * np.eye(3),), {}


def cube(y: tuple[int, ...], x: tuple[int, ...], *_: tuple[int, ...]) -> float:
    """Operations of a factorisation, from the shapes of value and argument."""
    return 2.0 * float(np.prod(x)) * x[-1]


def _substitution(y: tuple[int, ...], t: tuple[int, ...], *_: tuple[int, ...]) -> float:
    return float(np.prod(y)) * t[-1]


def _triangular(generator: np.random.Generator) -> tuple[tuple[npt.NDArray[Any], ...], dict[str, Any]]:
    t = np.triu(generator.normal(size=(2, 3, 3)) + 3 * np.eye(3))
    return (t, generator.normal(size=(2, 4, 3))), {"lower": False, "left_side": False, "transpose": True}


SOLVES = (
    MatrixRow("inv", jnp.linalg.inv, _alone(_inv), cube, square, equations=_inv, function=jnp.linalg.inv),
    MatrixRow(
        "solve", jnp.linalg.solve, _alone(_solve), cube,
        lambda g: ((g.normal(size=(3, 3)) + 3 * np.eye(3), g.normal(size=(3, 2))), {}), equations=_solve,
    ),
    MatrixRow(
        "solve_triangular", _evaluate_triangular, _alone(_solve_triangular), _substitution, _triangular,
        equations=_solve_triangular, projection=lambda t, b, *, lower, **_: (_triangle(t, lower=lower), b),
    ),
    MatrixRow(
        "inv_triangular", _evaluate_inv_triangular, _alone(_inv), _substitution,
        lambda g: ((np.tril(g.normal(size=(3, 3)) + 3 * np.eye(3)),), {"lower": True}), equations=_inv,
        projection=lambda t, *, lower: (_triangle(t, lower=lower),),
    ),
    MatrixRow(
        "cholesky", _evaluate_cholesky, _alone(_cholesky), _substitution, symmetric_positive,
        equations=_cholesky, projection=lambda x: ((x + jnp.swapaxes(x, -1, -2)) / 2,),
    ),
)  # fmt: skip
