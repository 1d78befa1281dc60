"""Rows with several values: eigh, svd, qr. One evaluation gives all values of a factorisation.

Each is defined by its equations; the responses solve their linearisation in the frame of the factors (Giles 2008;
Townsend 2016 for svd; Walter and Lehmann 2012 for qr). Equal eigenvalues or singular values have no differentiable
vectors: the reciprocals of their gaps are infinite, as in JAX.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from nablax.ops.matrix_row import Differential, Equation, Maker, MatrixRow, Product, Terms, by_equations, network
from nablax.ops.solves import symmetric_positive

Shape = tuple[int, ...]
Sample = tuple[tuple[npt.NDArray[Any], ...], dict[str, Any]]


def _of_several(
    name: str, shapes: Callable[..., tuple[Shape, ...]], equations: Callable[..., Any]
) -> Callable[..., Any]:
    """The differential of one value of a row with several, from its equations."""

    def differential(graph: Maker[Any], y: Any, inputs: Sequence[Any], *, output: int, **shared: Any) -> Differential:
        values = [
            y if k == output else graph.matrix_function(name, inputs, shape, output=k, **shared)
            for k, shape in enumerate(shapes(*(x.shape for x in inputs), **shared))
        ]
        return by_equations(equations(**shared), graph, values, inputs, output)

    return differential


def _reciprocal_gaps(graph: Maker[Any], x: Any, *, squared: bool) -> Any:
    return graph.matrix_function("reciprocal_gaps", (x,), (*x.shape, x.shape[-1]), squared=squared)


# -- eigh: A V = V W, V' V = 1 for symmetric A; values V and w ------------------------------------------------
#
# With dV = V C and S = V' r of the first residual r: (w_i - w_j) C_ij = S_ij off the diagonal, and dw_i = -S_ii; the
# second residual, q, fixes the lengths: C_ii = q_ii / 2.


def _eigh_by_first(graph: Maker[Any], values: Sequence[Any], inputs: Sequence[Any], place: int) -> Terms:
    v, w = values
    if place == 1:
        return [network(-1.0, [(v, "ki")], (w.shape, "i"), (v.shape, "ki"))]
    gaps = _reciprocal_gaps(graph, w, squared=False)
    return [network(1.0, [(v, "ik"), (gaps, "kj"), (v, "ak")], (v.shape, "ij"), (v.shape, "aj"))]


def _eigh_by_second(graph: Maker[Any], values: Sequence[Any], inputs: Sequence[Any], place: int) -> Terms:
    v, _ = values
    one = graph.constant(np.eye(v.shape[-1], dtype=v.dtype))
    return [network(0.5, [(v, "ij"), (one, "aj")], (v.shape, "ij"), (v.shape, "aj"))] if place == 0 else []


def _eigh(**params: Any) -> tuple[Equation, ...]:
    v, w = ~0, ~1
    return (
        Equation("ij", (Product(1.0, ((0, "ik"), (v, "kj"))), Product(-1.0, ((v, "ij"), (w, "j")))), _eigh_by_first),
        Equation("ij", (Product(1.0, ((v, "ki"), (v, "kj"))),), _eigh_by_second),
    )


def _eigh_shapes(x: Shape, **params: Any) -> tuple[Shape, ...]:
    return (x, x[:-1])


def _evaluate_eigh(x: Any, *, lower: bool, sort: bool) -> tuple[Any, ...]:
    v, w = jax.lax.linalg.eigh(x, lower=lower, symmetrize_input=False, sort_eigenvalues=sort)
    return v, w


# -- svd: A V = U S, A' U = V S, U' U = 1, V' V = 1; values s, U and V' ------------------------------------------
#
# With dU = U C + (1 - U U') dU, dV = V D + (1 - V V') dV, and P = U' r, Q = V' q of the first two residuals r and q:
#     C = (s_i Q + s_j P) / (s_i^2 - s_j^2),   D = (s_i P + s_j Q) / (s_i^2 - s_j^2)   off the diagonal,
#     ds = -(P + Q)_ii / 2,   (1 - U U') dU = -(1 - U U') r S^-1,   (1 - V V') dV = -(1 - V V') q S^-1.
# The others fix the lengths.


def _spelled(place: int, along: str, across: str) -> str:
    """Letters of a frame's axes: U has its columns last, V' first."""
    return along + across if place == 1 else across + along


def _svd_response(own: int) -> Callable[..., Terms]:
    """The response to the residual of A V = U S (own 1, on the side of U) or of A' U = V S (own 2)."""

    def response(graph: Maker[Any], values: Sequence[Any], inputs: Sequence[Any], place: int) -> Terms:
        s, frame, value = values[0], values[own], values[place]
        height = frame.shape[-2 if own == 1 else -1]
        residual = ((*s.shape[:-1], height, s.shape[-1]), "aj")
        if place == 0:
            return [network(-0.5, [(frame, _spelled(own, "a", "j"))], (s.shape, "j"), residual)]
        gaps = _reciprocal_gaps(graph, s, squared=True)
        weight = (s, "j") if own == place else (s, "k")
        factors = [(value, _spelled(place, "i", "k")), (gaps, "kj"), weight, (frame, _spelled(own, "a", "k"))]
        side = (value.shape, _spelled(place, "i", "j"))
        terms = [network(1.0, factors, side, residual)]
        if own == place and value.shape[-2] != value.shape[-1]:
            inverse = graph.matrix_function("reciprocal", (s,), s.shape)
            across = [(value, _spelled(place, "i", "k")), (frame, _spelled(own, "a", "k")), (inverse, "j")]
            terms.append(network(1.0, across, side, residual))
            terms.append(network(-1.0, [(inverse, "j")], (value.shape, _spelled(place, "a", "j")), residual))
        return terms

    return response


def _svd_lengths(own: int) -> Callable[..., Terms]:
    def response(graph: Maker[Any], values: Sequence[Any], inputs: Sequence[Any], place: int) -> Terms:
        if place != own:
            return []
        s, value = values[0], values[place]
        letters = "ij" if place == 1 else "ji"
        one = graph.constant(np.eye(s.shape[-1], dtype=s.dtype))
        return [network(0.5, [(value, letters), (one, "aj")], (value.shape, letters), ((*s.shape, s.shape[-1]), "aj"))]

    return response


def _svd() -> tuple[Equation, ...]:
    s, u, vt = ~0, ~1, ~2
    return (
        Equation("aj", (Product(1.0, ((0, "ab"), (vt, "jb"))), Product(-1.0, ((u, "aj"), (s, "j")))), _svd_response(1)),
        Equation("bj", (Product(1.0, ((0, "ab"), (u, "aj"))), Product(-1.0, ((vt, "jb"), (s, "j")))), _svd_response(2)),
        Equation("ij", (Product(1.0, ((u, "ki"), (u, "kj"))),), _svd_lengths(1)),
        Equation("ij", (Product(1.0, ((vt, "ik"), (vt, "jk"))),), _svd_lengths(2)),
    )


def _svd_shapes(x: Shape) -> tuple[Shape, ...]:
    *batch, m, n = x
    k = min(m, n)
    return ((*batch, k), (*batch, m, k), (*batch, k, n))


def _evaluate_svd(x: Any) -> tuple[Any, ...]:
    u, s, vt = jnp.linalg.svd(x, full_matrices=False)
    return s, u, vt


def svd_of(graph: Maker[Any], x: Any) -> tuple[Any, ...]:
    """The nodes of singular values, left and right frame of a matrix."""
    return tuple(graph.matrix_function("svd", (x,), shape, output=k) for k, shape in enumerate(_svd_shapes(x.shape)))


# -- qr: Q R = A, Q' Q = 1, R upper triangular; values Q and R -----------------------------------------------------
#
# With X = r R^-1, Z = Q' X, Y = Q' dQ: Y + dR R^-1 = Z, whose second part is upper triangular, and Y + Y' = q, so that
# Y = Z below the diagonal, q - Z' above and q / 2 on it; dQ = Q Y + (1 - Q Q') X and dR = (Z - Y) R.


def _qr_by_first(graph: Maker[Any], values: Sequence[Any], inputs: Sequence[Any], place: int) -> Terms:
    q, r = values
    inverse = graph.matrix_function("inv_triangular", (r,), r.shape, lower=False)
    ones = np.ones(r.shape[-2:], r.dtype)
    below, above, upper = (graph.constant(x) for x in (np.tril(ones, -1), np.triu(ones, 1), np.triu(ones)))
    value, residual = (values[place].shape, "ij"), (q.shape, "ab")
    if place == 1:
        straight = [(upper, "ik"), (q, "ai"), (inverse, "bk"), (r, "kj")]
        crossed = [(above, "ik"), (q, "ak"), (inverse, "bi"), (r, "kj")]
        return [network(1.0, factors, value, residual) for factors in (straight, crossed)]
    straight = [(q, "ik"), (below, "kj"), (q, "ak"), (inverse, "bj")]
    crossed = [(q, "ik"), (above, "kj"), (q, "aj"), (inverse, "bk")]
    terms = [network(1.0, straight, value, residual), network(-1.0, crossed, value, residual)]
    # (1 - Q Q') X, of which Q Q' X is Q times all of Z
    whole = [(q, "ik"), (q, "ak"), (inverse, "bj")]
    return [
        *terms,
        network(1.0, [(inverse, "bj")], (q.shape, "aj"), residual),
        network(-1.0, whole, value, residual),
    ]


def _qr_by_second(graph: Maker[Any], values: Sequence[Any], inputs: Sequence[Any], place: int) -> Terms:
    q, r = values
    half = np.triu(np.ones(r.shape[-2:])) - 0.5 * np.eye(r.shape[-1])
    weights = graph.constant(np.asarray(half, r.dtype))
    if place == 1:
        return [network(-1.0, [(weights, "ik"), (r, "kj")], (r.shape, "ij"), (r.shape, "ik"))]
    return [network(1.0, [(q, "ik"), (weights, "kj")], (q.shape, "ij"), (r.shape, "kj"))]


def _qr() -> tuple[Equation, ...]:
    q, r = ~0, ~1
    return (
        Equation("ab", (Product(1.0, ((q, "ak"), (r, "kb"))), Product(-1.0, ((0, "ab"),))), _qr_by_first),
        Equation("ij", (Product(1.0, ((q, "ki"), (q, "kj"))),), _qr_by_second),
    )


def _qr_shapes(x: Shape) -> tuple[Shape, ...]:
    return (x, (*x[:-2], x[-1], x[-1]))


def _evaluate_qr(x: Any) -> tuple[Any, ...]:
    q, r = jnp.linalg.qr(x)
    return q, r


# -- reciprocals ---------------------------------------------------------------------------------------------------


def _evaluate_gaps(x: Any, *, squared: bool) -> Any:
    one = jnp.eye(x.shape[-1], dtype=x.dtype)
    gaps = x[..., :, None] - x[..., None, :]
    return 1.0 / ((gaps * (x[..., :, None] + x[..., None, :]) if squared else gaps) + one) - one


def _gaps(graph: Maker[Any], y: Any, inputs: Sequence[Any], *, squared: bool) -> Differential:
    # d 1/(x_i - x_j) = -(dx_i - dx_j)/(x_i - x_j)^2; the diagonal is a constant
    [x] = inputs

    def term(sign: float, letter: str) -> Any:
        slope = [(y, "ij"), (y, "ij"), *([(x, letter)] if squared else [])]
        return network(sign * (2.0 if squared else 1.0), slope, (y.shape, "ij"), (x.shape, letter))

    return {0: [term(-1.0, "i"), term(1.0, "j")]}


def _evaluate_reciprocal(x: Any) -> Any:
    zero = x == 0
    return jnp.where(zero, 0.0, 1.0 / jnp.where(zero, 1.0, x))


def _reciprocal(graph: Maker[Any], y: Any, inputs: Sequence[Any]) -> Differential:
    return {0: [network(-1.0, [(y, "i"), (y, "i")], (y.shape, "i"), (y.shape, "i"))]}


# -- the table -----------------------------------------------------------------------------------------------------


def _flops(y: Shape, x: Shape, *_: Shape) -> float:
    # what LAPACK takes for all values, shared out among two or three nodes
    return 8.0 * float(np.prod(x)) * min(x[-2:])


def _pass(y: Shape, x: Shape, *_: Shape) -> float:
    return 4.0 * float(np.prod(y))


def _vectors(generator: np.random.Generator) -> Sample:
    return (generator.normal(size=(2, 4)) ** 2 + np.arange(1.0, 5.0),), {}


SPECTRAL = (
    MatrixRow(
        "eigh", _evaluate_eigh, _of_several("eigh", _eigh_shapes, _eigh), _flops,
        lambda g: (symmetric_positive(g)[0], {"lower": True, "sort": True, "output": 0}),
        shapes=_eigh_shapes, equations=_eigh, projection=lambda x, **_: ((x + jnp.swapaxes(x, -1, -2)) / 2,),
    ),
    MatrixRow(
        "svd", _evaluate_svd, _of_several("svd", _svd_shapes, _svd), _flops,
        lambda g: ((g.normal(size=(3, 2)),), {"output": 1}), shapes=_svd_shapes, equations=_svd,
    ),
    MatrixRow(
        "qr", _evaluate_qr, _of_several("qr", _qr_shapes, _qr), _flops,
        lambda g: ((g.normal(size=(2, 3, 2)),), {"output": 0}), shapes=_qr_shapes, equations=_qr,
    ),
    MatrixRow(
        "reciprocal_gaps", _evaluate_gaps, _gaps, _pass,
        lambda g: (_vectors(g)[0], {"squared": True}),
    ),
    MatrixRow("reciprocal", _evaluate_reciprocal, _reciprocal, _pass, _vectors),
)  # fmt: skip
