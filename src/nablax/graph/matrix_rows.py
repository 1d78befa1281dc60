"""Primitives of JAX that are matrix functions: read into rows, their options turned into plain arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from nablax.contraction.index import fresh
from nablax.contraction.term import Factor, Term
from nablax.graph.contraction_rows import relabelled
from nablax.graph.graph import Graph
from nablax.graph.node import Node
from nablax.graph.row import Row
from nablax.ops import matrix_functions
from nablax.ops.jaxprs import Equation
from nablax.ops.kinds import Contraction, Elementwise, MatrixFunction


def masked(graph: Graph, x: Node, mask: Any) -> Node:
    """A stack of matrices times a constant matrix, element by element."""
    axes = fresh(x.shape)
    constant = graph.constant(np.asarray(mask, x.dtype))
    return graph.multiply(Term(1.0, (Factor(x, axes), Factor(constant, axes[-2:])), (axes,)), x.dtype)


def turned(graph: Graph, x: Node) -> Node:
    """A stack of matrices transposed."""
    *batch, i, j = fresh(x.shape)
    return relabelled(graph, x, (*batch, i, j), (*batch, j, i))


def symmetric_of(graph: Graph, x: Node, *, lower: bool) -> Node:
    """The symmetric matrix with one triangle of a matrix: what a factorisation that reads one triangle is of.

    JAX's own rules take both triangles of a direction, so that they are wrong where these differ.
    """
    if _is_symmetric(x):
        return x
    side, ones = np.tril if lower else np.triu, np.ones(x.shape[-2:])
    strict = side(ones, -1 if lower else 1)
    return graph.add([masked(graph, x, side(ones)), turned(graph, masked(graph, x, strict))])


def _is_symmetric(x: Node) -> bool:
    """Whether a value is a matrix plus its transpose, scaled."""
    if not isinstance(x.kind, Elementwise):
        return False
    matrices = [one for one in x.inputs if one.shape]
    if len(matrices) == 1:
        return _is_symmetric(matrices[0])
    steps = x.kind.function.instructions
    if (
        len(matrices) != 2
        or len(x.inputs) != 2
        or [step.operation.name for step in steps] not in (["add"], ["add_any"])
    ):
        return False
    a, b = matrices
    return _unturned(a) == (b, True) or _unturned(b) == (a, True)


def _cholesky(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node] | None:
    [x] = inputs
    return [graph.matrix_function("cholesky", (symmetric_of(graph, x, lower=True),), x.shape)]


def _unturned(x: Node) -> tuple[Node, bool]:
    """The matrix of which a node is the transpose, and whether it is one."""
    kind, rank = x.kind, len(x.shape)
    if not isinstance(kind, Contraction) or len(kind.inputs) != 1 or kind.coefficient != 1.0:
        return x, False
    straight = tuple(range(rank))
    swapped = (*straight[:-2], rank - 1, rank - 2)
    is_turn = rank > 1 and kind.inputs == (straight,) and kind.output == swapped and x.inputs[0].dtype == x.dtype
    return (x.inputs[0], True) if is_turn else (x, False)


def _is_triangular(x: Node, *, lower: bool) -> bool:
    """Whether the other triangle of a value holds zeros."""
    if not isinstance(x.kind, MatrixFunction):
        return False
    return lower if x.kind.name == "cholesky" else x.kind.name == "inv_triangular" and ("lower", lower) in x.kind.params


def _triangle(graph: Graph, x: Node, *, lower: bool, unit_diagonal: bool) -> Node:
    """A matrix whose other triangle is zero, and whose diagonal is one where it is not read."""
    if not unit_diagonal and _is_triangular(x, lower=lower):
        return x
    side = np.tril if lower else np.triu
    read = masked(graph, x, side(np.ones(x.shape[-2:]), (-1 if lower else 1) if unit_diagonal else 0))
    if not unit_diagonal:
        return read
    axes = fresh(x.shape)
    one = graph.constant(np.eye(x.shape[-1], dtype=x.dtype))
    return graph.add([read, relabelled(graph, one, axes[-2:], axes)])


def _triangular_solve(
    graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]
) -> list[Node] | None:
    x, b = inputs
    if x.shape[:-2] != b.shape[:-2]:
        return None
    params = equation.params
    source, flipped = _unturned(x)
    lower = bool(params["lower"]) != flipped
    t = _triangle(graph, source, lower=lower, unit_diagonal=bool(params["unit_diagonal"]))
    transpose = bool(params["transpose_a"]) != flipped
    left_side = bool(params["left_side"])
    options = {"lower": lower, "left_side": left_side, "transpose": transpose}
    return [graph.matrix_function("solve_triangular", (t, b), b.shape, **options)]


def _eigh(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node] | None:
    [x] = inputs
    params = equation.params
    if params.get("subset_by_index") is not None or params.get("algorithm") is not None:
        return None
    lower = bool(params["lower"])
    symmetric = symmetric_of(graph, x, lower=lower)
    return _several(graph, "eigh", symmetric, lower=lower, sort=bool(params["sort_eigenvalues"]))


def _svd(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node] | None:
    [x] = inputs
    params = equation.params
    if params.get("subset_by_index") is not None or params.get("algorithm") is not None:
        return None
    if params["compute_uv"] and params["full_matrices"] and x.shape[-1] != x.shape[-2]:
        return None  # the rest of a full frame has no derivative
    return _several(graph, "svd", x)[: len(equation.outputs)]


def _qr(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node] | None:
    [x] = inputs
    rows, columns = x.shape[-2:]
    plain = not equation.params.get("pivoting") and not equation.params.get("use_magma")
    thin = rows == columns or (rows > columns and not equation.params["full_matrices"])
    return _several(graph, "qr", x) if plain and thin else None


def _several(graph: Graph, name: str, x: Node, **params: Any) -> list[Node]:
    """All values of a row."""
    shapes = matrix_functions.ROWS[name].shapes
    assert shapes is not None
    return [
        graph.matrix_function(name, (x,), shape, output=k, **params)
        for k, shape in enumerate(shapes(x.shape, **params))
    ]


def _select_n(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node] | None:
    # jnp.linalg.cholesky and jnp.tril put zeros where a triangular value has them
    if len(inputs) != 3 or inputs[0] not in known:
        return None
    chosen = np.asarray(known[inputs[0]], bool)
    for x, zero, taken in ((inputs[2], inputs[1], chosen), (inputs[1], inputs[2], ~chosen)):
        if len(x.shape) < 2 or taken.shape != x.shape or not _is_number(zero, 0.0, known):
            continue
        for lower, side in ((True, np.tril), (False, np.triu)):
            if _is_triangular(x, lower=lower) and bool(np.all(taken | ~side(np.ones(x.shape, bool)))):
                return [x]
    return None


def _is_number(node: Node, value: float, known: Mapping[Node, Any]) -> bool:
    """Whether a node is an array of one known number."""
    kind = node.kind
    if isinstance(kind, Contraction) and not kind.inputs:
        return kind.coefficient == value
    if isinstance(kind, Contraction) and len(node.inputs) == 1 and node.inputs[0] in known:
        return kind.coefficient == 1.0 and bool(np.all(np.asarray(known[node.inputs[0]]) == value))
    return node in known and bool(np.all(np.asarray(known[node]) == value))


def _extremum(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node] | None:
    [output] = equation.outputs
    axes = tuple(int(k) for k in equation.params["axes"])
    if not jnp.issubdtype(output.dtype, jnp.floating) or any(inputs[0].shape[k] == 0 for k in axes):
        return None
    return [graph.matrix_function(equation.name, inputs, output.shape, axes=axes)]


ROWS: Mapping[str, Row] = {
    "cholesky": _cholesky,
    "eigh": _eigh,
    "svd": _svd,
    "qr": _qr,
    "triangular_solve": _triangular_solve,
    "select_n": _select_n,
    "reduce_max": _extremum,
    "reduce_min": _extremum,
}
