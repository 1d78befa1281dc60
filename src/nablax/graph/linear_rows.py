"""Operations that are linear maps along some axes: products with the matrix of the map, which is never written out."""

from __future__ import annotations

import jax.numpy as jnp

from nablax.contraction.index import fresh
from nablax.contraction.term import Factor, Term
from nablax.graph.graph import Graph
from nablax.graph.node import Node
from nablax.ops.jaxprs import Equation
from nablax.ops.linear_map import ROWS, LinearRow


def row_of(primitive: str) -> LinearRow | None:
    """The row of a primitive."""
    return next((row for row in ROWS.values() if row.primitive and row.primitive == primitive), None)


def mapped(graph: Graph, row: LinearRow, equation: Equation, x: Node, made: tuple[int, ...]) -> Node | None:
    """The value of a linear map.

    Args:
        graph: makes the node.
        row: the map.
        equation: says along which axes.
        x: the argument; a pair of real and imaginary part where the equation's is complex.
        made: shape of the value, in the same way.

    Returns:
        The node; None where the row does not describe the equation.
    """
    if row.reads is None or not jnp.issubdtype(x.dtype, jnp.floating) or 0 in x.shape or 0 in made:
        return None
    found = row.reads(equation.params, x.shape, made)
    if found is None:
        return None
    labels = fresh(x.shape)
    out = fresh(list(found.made.values()))
    given = tuple(labels[k] for k in found.axes)
    shapes = (tuple(found.made.values()), tuple(x.shape[k] for k in found.axes))
    matrix = graph.linear_map(row.name, *(shapes[::-1] if found.turned else shapes), x.dtype, **found.params)
    factor = Factor(matrix, (*given, *out) if found.turned else (*out, *given))
    rest = iter(index for k, index in enumerate(labels) if k not in found.axes)
    place = dict(zip(found.made, out, strict=True))
    output = tuple(place[k] if k in place else next(rest) for k in range(len(made)))
    return graph.multiply(Term(1.0, (factor, Factor(x, labels)), (output,)), x.dtype)
