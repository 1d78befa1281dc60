"""The factored ending: the nodes that a form is made of, one after the other in a fixed order.

| form | nodes |
|---|---|
| diagonal | the diagonal of each leaf |
| Kronecker | a matrix (row axes, column axes) or the values of a diagonal for each factor that is stored |
| low rank | D of each leaf; the parts of W (waist, row axes); C between their waists |
| batch | for each pair of leaves (batch axes, other row axes, other column axes) |
| banded, sparse | values |
| dense | none: the dense ending forms it |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nablax.contraction.index import Positions
from nablax.contraction.rates import Rates
from nablax.contraction.term import Term, join_sides, swap_sides
from nablax.endings.coordinates import coordinates, strides_of
from nablax.endings.dense import summed
from nablax.endings.forms import Banded, Batch, Dense, Diagonal, Form, Group, Kronecker, LowRank, Sparse
from nablax.endings.positions import COLUMNS, ROWS, Piece, Space
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm


@dataclass(frozen=True, eq=False, slots=True)
class Factored:
    """A form with the nodes of its values.

    Args:
        form: the form.
        nodes: in the order of the table above.
        positions: of values that stand at static positions, flattened (rows, columns); None for other forms.
    """

    form: Form
    nodes: tuple[Node, ...]
    positions: Positions | None = None


def factored(graph: Graph, form: Form, dtype: Any, rates: Rates) -> Factored:
    """The nodes of a form.

    Args:
        graph: makes them.
        form: the form, on one space.
        dtype: dtype of the values.
        rates: of the machine.

    Returns:
        Form and nodes.
    """
    match form:
        case Diagonal():
            return Factored(form, _diagonals(graph, form.rows, form.pieces, dtype, rates))
        case Kronecker():
            stored = [group for group in form.groups if not group.identity]
            return Factored(form, tuple(_along(graph, group, dtype, rates) for group in stored))
        case LowRank():
            nodes = _diagonals(graph, form.rows, form.diagonal, dtype, rates)
            # the waist first: the rows of W lie one after the other in memory
            nodes += tuple(graph.multiply(swap_sides(term, 0, 1), dtype) for _, term, _ in form.left)
            nodes += tuple(graph.multiply(term, dtype) for _, _, term in form.core)
            return Factored(form, nodes)
        case Batch():
            return Factored(form, _blocks(graph, form, dtype, rates))
        case Banded() | Sparse():
            columns = form.rows if isinstance(form, Banded) else form.columns
            found = coordinates(graph, _placed(form.pieces, form.rows, columns), dtype)
            return Factored(form, (found.values,), found.positions)
        case Dense():
            return Factored(form, ())


def _diagonals(graph: Graph, space: Space, pieces: Sequence[Piece], dtype: Any, rates: Rates) -> tuple[Node, ...]:
    found = []
    for leaf, shape in enumerate(space.shapes):
        joined = [join_sides(p.term, ROWS, COLUMNS) for p in pieces if p.row == leaf]
        terms = [term for term in joined if term is not None]
        found.append(summed(graph, terms, shape, dtype, rates))
    return tuple(found)


def _along(graph: Graph, group: Group, dtype: Any, rates: Rates) -> Node:
    terms: list[NodeTerm] = []
    for number, one in group.parts:
        rows, columns = one.term.sides
        sides = (rows,) if group.diagonal else (rows, columns)
        terms.append(Term(number * one.term.coefficient, one.term.factors, sides))
    shape = group.shape if group.diagonal else group.shape + group.column_shape
    return summed(graph, terms, shape, dtype, rates)


def _blocks(graph: Graph, form: Batch, dtype: Any, rates: Rates) -> tuple[Node, ...]:
    found = []
    leaves = range(len(form.rows.shapes))
    for a in leaves:
        for b in leaves:
            terms = []
            for piece in form.pieces:
                if (piece.row, piece.column) == (a, b):
                    _, rows, columns = piece.term.sides
                    sides = (
                        tuple(rows[p] for p in form.axes[a]),
                        tuple(index for p, index in enumerate(rows) if p not in form.axes[a]),
                        tuple(index for p, index in enumerate(columns) if p not in form.axes[b]),
                    )
                    terms.append(piece.term.replace(sides=sides))
            batch = tuple(form.rows.shapes[a][p] for p in form.axes[a])
            shape = batch + others(form, a) + others(form, b)
            found.append(summed(graph, terms, shape, dtype, rates))
    return tuple(found)


def others(form: Batch, leaf: int) -> tuple[int, ...]:
    """Elements along the axes of a leaf that are not of the batch."""
    return tuple(n for p, n in enumerate(form.rows.shapes[leaf]) if p not in form.axes[leaf])


def _placed(pieces: Sequence[Piece], rows: Space, columns: Space) -> list[tuple[NodeTerm, int, tuple[int, ...]]]:
    width = columns.size
    listed = []
    for piece in pieces:
        steps = tuple(width * s for s in strides_of(rows.shapes[piece.row]))
        steps += strides_of(columns.shapes[piece.column])
        listed.append((piece.term, width * rows.starts[piece.row] + columns.starts[piece.column], steps))
    return listed


def size_of(form: Form) -> int:
    """Values that a form stores."""
    match form:
        case Diagonal():
            return form.rows.size if form.pieces else 0
        case Kronecker():
            return sum(group.stored for group in form.groups)
        case LowRank():
            held = {term: math.prod(form.rows.shapes[leaf]) * width for leaf, term, width in form.left}
            held |= {term: math.prod(form.columns.shapes[leaf]) * width for leaf, term, width in form.right}
            return (form.rows.size if form.diagonal else 0) + sum(held.values()) + form.rank**2
        case Batch():
            return form.count * form.width**2
        case Banded():
            return form.rows.size * (form.width + 1)
        case Sparse():
            return int(form.positions.size)
        case Dense():
            return form.rows.size * form.columns.size
