"""Rows of determinants: at a regular matrix by its inverse, at any matrix by its singular frame.

With X = U S V', A = U' dX V and s the sign det(U) det(V'),

    d det  = s sum_i p_i A_ii,               p_i  the product of all singular values but the i-th,
    d² det = s sum_ij P_ij (A_ii A_jj - A_ij A_ji),   P_ij  the product of all but the i-th and the j-th, P_ii = 0,

the second through the cofactors, which are a row of their own.

No inverse stands here: both hold at a singular matrix, and lose nothing near one. A third derivative differentiates the
frame, and so needs singular values that differ. Of one to three rows a determinant is the polynomial that it is.

Source: Magnus and Neudecker 2019, chapter 8; the cofactors of a product are the products of cofactors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from nablax.ops.matrix_row import Differential, Maker, MatrixRow, network
from nablax.ops.solves import cube, square
from nablax.ops.spectral import svd_of

Sample = tuple[tuple[npt.NDArray[Any], ...], dict[str, Any]]


def _inverse(graph: Maker[Any], x: Any) -> Any:
    return graph.matrix_function("inv", (x,), x.shape)


def _logdet(graph: Maker[Any], y: Any, inputs: Sequence[Any]) -> Differential:
    # d log|det X| = tr(X^-1 dX)
    return {0: [network(1.0, [(_inverse(graph, inputs[0]), "ji")], (y.shape, ""), (inputs[0].shape, "ij"))]}


def _det(graph: Maker[Any], y: Any, inputs: Sequence[Any]) -> Differential:
    # d det X = det X tr(X^-1 dX)
    return {0: [network(1.0, [(y, ""), (_inverse(graph, inputs[0]), "ji")], (y.shape, ""), (inputs[0].shape, "ij"))]}


def _flat(graph: Maker[Any], y: Any, inputs: Sequence[Any], **params: Any) -> Differential:
    return {}


# -- of few rows ------------------------------------------------------------------------------------------------------


def _of_two_rows(x: Any) -> Any:
    return x[..., 0, 0] * x[..., 1, 1] - x[..., 0, 1] * x[..., 1, 0]


def _of_three_rows(x: Any) -> Any:
    (a, b, c), (d, e, f), (g, h, i) = ([x[..., row, k] for k in range(3)] for row in range(3))
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


POLYNOMIALS: Mapping[int, Callable[[Any], Any]] = {1: lambda x: x[..., 0, 0], 2: _of_two_rows, 3: _of_three_rows}


# -- at any matrix ----------------------------------------------------------------------------------------------------


def _frame(graph: Maker[Any], x: Any) -> tuple[Any, Any, Any, Any]:
    """Singular values, frames and the sign of the frames."""
    s, u, vt = svd_of(graph, x)
    return s, u, vt, graph.matrix_function("frame_sign", (u, vt), x.shape[:-2])


def _but(graph: Maker[Any], s: Any, count: int) -> Any:
    return graph.matrix_function("products_but", (s,), (*s.shape, *s.shape[-1:] * (count - 1)), count=count)


def _det_anywhere(graph: Maker[Any], y: Any, inputs: Sequence[Any]) -> Differential:
    [x] = inputs
    return {
        0: [network(1.0, [(graph.matrix_function("cofactors", (x,), x.shape), "ij")], (y.shape, ""), (x.shape, "ij"))]
    }


def _slope_of_cofactors(graph: Maker[Any], y: Any, inputs: Sequence[Any]) -> Differential:
    [x] = inputs
    s, u, vt, sign = _frame(graph, x)
    weights = [(sign, ""), (_but(graph, s, 2), "ij")]
    sides = ((y.shape, "ab"), (x.shape, "cd"))
    straight = [*weights, (u, "ai"), (vt, "ib"), (u, "cj"), (vt, "jd")]
    crossed = [*weights, (u, "ai"), (vt, "jb"), (u, "cj"), (vt, "id")]
    return {0: [network(1.0, straight, *sides), network(-1.0, crossed, *sides)]}


def _cofactors(x: Any) -> Any:
    u, s, vt = jnp.linalg.svd(x, full_matrices=False)
    weights = _frame_sign(u, vt)[..., None] * _products_but(s, count=1)
    return jnp.matmul(u * weights[..., None, :], vt, precision=jax.lax.Precision.HIGHEST)


def _frame_sign(u: Any, vt: Any) -> Any:
    return jax.lax.stop_gradient(jnp.linalg.slogdet(u)[0] * jnp.linalg.slogdet(vt)[0])


def _products_but(s: Any, *, count: int) -> Any:
    """Products of all elements but those at `count` distinct places; zero where two places are one."""
    n = s.shape[-1]
    if count == 0:
        return jnp.prod(s, -1)
    one = np.eye(n, dtype=bool)
    inner = _products_but(jnp.where(one, jnp.ones((), s.dtype), s[..., None, :]), count=count - 1)
    if count == 1:
        return inner
    # the first place is none of the others
    apart = np.ones((n,) * count)
    for k in range(1, count):
        apart = apart * (~one).reshape([n if a in (0, k) else 1 for a in range(count)])
    return inner * jnp.asarray(apart, s.dtype)


def _slope_of_products(graph: Maker[Any], y: Any, inputs: Sequence[Any], *, count: int) -> Differential:
    [s], letters = inputs, "ijklmnop"[: count + 1]
    slope = network(1.0, [(_but(graph, s, count + 1), letters)], (y.shape, letters[:-1]), (s.shape, letters[-1]))
    return {0: [slope]}


def _products_flops(y: tuple[int, ...], *inputs: tuple[int, ...]) -> float:
    return float(math.prod(y)) * inputs[0][-1]


def _regular(generator: np.random.Generator) -> Sample:
    return (generator.normal(size=(2, 4, 4)),), {}


def _frames(generator: np.random.Generator) -> Sample:
    u, _, vt = np.linalg.svd(generator.normal(size=(2, 3, 3)))
    return (u, vt), {}


DETERMINANTS = (
    MatrixRow("logdet", lambda x: jnp.linalg.slogdet(x)[1], _logdet, cube, square),
    MatrixRow("sign_det", lambda x: jnp.linalg.slogdet(x)[0], _flat, cube, square),
    MatrixRow("det", jnp.linalg.det, _det, cube, square),
    MatrixRow("det_anywhere", jnp.linalg.det, _det_anywhere, cube, _regular),
    MatrixRow("cofactors", _cofactors, _slope_of_cofactors, cube, _regular),
    MatrixRow("frame_sign", _frame_sign, _flat, cube, _frames),
    MatrixRow(
        "products_but", _products_but, _slope_of_products, _products_flops,
        lambda g: ((g.normal(size=(2, 4)) * [1.0, 0.0, 1.0, 1.0],), {"count": 1}),
    ),
)  # fmt: skip
