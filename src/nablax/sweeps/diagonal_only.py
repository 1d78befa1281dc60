"""The textbook recipe for the Hessian diagonal, which drops cross terms (Becker and LeCun 1988).

    h_i  =  sum_u  D_ui^2 h_u  +  a_u d2u/di2        for every consumer u of i

It costs about one gradient. It is exact where the Hessian with respect to every intermediate node is diagonal, and
the sweep says whether that was so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nablax.contraction.index import fresh
from nablax.contraction.term import Factor, Term, compose, join_sides
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm, reachable
from nablax.ops.kinds import Opaque
from nablax.sweeps.local import LocalJacobian, differential, on_inputs, second_differential
from nablax.sweeps.opaque_rules import opaque_core, pull_opaque
from nablax.sweeps.second_order import adjoints, mask_of


def diagonal_recipe(graph: Graph, output: Node, leaves: Sequence[Node]) -> tuple[list[Node], bool]:
    """Diagonals by the recipe.

    Args:
        graph: makes the nodes.
        output: a scalar node.
        leaves: the leaves asked about.

    Returns:
        One node per leaf, of its shape; and whether nothing was dropped, so that the result is exact.
    """
    mask = mask_of(leaves)
    slopes = adjoints(graph, output, leaves)
    curved: dict[Node, list[Node]] = {}
    exact = True
    for node in reversed(reachable([output])):
        if not node.depends & mask or node in leaves:
            continue
        own = curved.pop(node, [])
        jacobian = _jacobian(graph, node, mask)
        if own:
            second = graph.add(own)
            for source, terms in jacobian.items():
                for a in terms:
                    for b in terms:
                        value = _squared(graph, second, a, b, source)
                        if value is not None:
                            curved.setdefault(source, []).append(value)
            exact = exact and _stays_diagonal(jacobian, leaves)
        for adjoint in slopes.get(node, []):
            if isinstance(node.kind, Opaque):
                forms = opaque_core(graph, node, adjoint, mask)
            else:
                forms = on_inputs(graph, node, second_differential(graph, node, jacobian, adjoint, mask), mask)
            for (row, column), terms in forms.items():
                for term in terms:
                    joined = join_sides(term, 1, 2) if row is column else None
                    if joined is not None:
                        curved.setdefault(row, []).append(graph.multiply(joined, row.dtype))
                    exact = exact and _drops_nothing(row, column, term, leaves)
    zeros = [graph.full(0.0, leaf.shape, leaf.dtype) for leaf in leaves]
    found = [
        graph.cast(graph.add(curved[leaf]), leaf.dtype) if leaf in curved else zero
        for leaf, zero in zip(leaves, zeros, strict=True)
    ]
    return found, exact


def _jacobian(graph: Graph, node: Node, mask: int) -> LocalJacobian:
    """The local Jacobian, written out in full for an opaque node."""
    if not isinstance(node.kind, Opaque):
        return differential(graph, node, mask)
    axes = fresh(node.shape)
    whole: NodeTerm = Term(1.0, (), (axes, axes))
    sources = dict.fromkeys(source for source in node.inputs if source.depends & mask)
    return {source: [pull_opaque(graph, whole, node, source)] for source in sources}


def _squared(graph: Graph, second: Node, a: NodeTerm, b: NodeTerm, source: Node) -> Node | None:
    """Sum over the node's elements of second * a * b, elementwise in the input."""
    axes = fresh(second.shape)
    weights: NodeTerm = Term(1.0, (Factor(second, axes),), (axes, axes))
    half = compose(weights, 1, a, 0)
    whole = None if half is None else compose(half, 0, b, 0)
    joined = None if whole is None else join_sides(whole, 0, 1)
    return None if joined is None else graph.multiply(joined, source.dtype)


def _stays_diagonal(jacobian: LocalJacobian, leaves: Sequence[Node]) -> bool:
    """Whether a diagonal second derivative of the node is one of its inputs as well."""
    sources = list(jacobian)
    for k, source in enumerate(sources):
        if any(
            source.depends & other.depends and not _both_leaves(source, other, leaves) for other in sources[k + 1 :]
        ):
            return False
        if source in leaves:
            continue  # the diagonal of a leaf is asked, not its whole block
        for term in jacobian[source]:
            reached = {label for index in term.sides[0] for label in index.labels}
            if len(jacobian[source]) > 1 or any(x not in reached for i in term.sides[1] for x in i.labels):
                return False
    return True


def _drops_nothing(row: Node, column: Node, term: NodeTerm, leaves: Sequence[Node]) -> bool:
    if row is not column:
        return not row.depends & column.depends or _both_leaves(row, column, leaves)
    return row in leaves or all(
        a.label is not None and a.label is b.label for a, b in zip(term.sides[1], term.sides[2], strict=True)
    )


def _both_leaves(row: Node, column: Node, leaves: Iterable[Node]) -> bool:
    known = set(leaves)
    return row in known and column in known and row is not column
