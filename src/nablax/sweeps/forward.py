"""Forward mode: tangents of nodes along a direction, and forward legs (Jacobians from a leaf to every node)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from nablax.contraction.index import fresh
from nablax.contraction.term import Factor, Term, compose, identity, swap_sides
from nablax.graph.graph import Graph, Node, NodeTerm, reachable
from nablax.ops.kinds import Opaque
from nablax.sweeps.legs import merge, multiply_out
from nablax.sweeps.local import differential, second_differential
from nablax.sweeps.opaque_rules import opaque_core, push_opaque
from nablax.sweeps.second_order import Core, SecondOrder


def tangents(graph: Graph, outputs: Sequence[Node], directions: Mapping[Node, Node]) -> list[Node]:
    """Derivatives of nodes along a direction.

    Args:
        graph: makes the tangents.
        outputs: the nodes to differentiate.
        directions: for each leaf that moves, the node that holds its direction.

    Returns:
        One node per output, of its shape and dtype.
    """
    mask = 0
    for leaf in directions:
        mask |= leaf.depends
    moved: dict[Node, Node] = dict(directions)
    for node in reachable(outputs):
        if not node.depends & mask or node in moved:
            continue
        terms: list[NodeTerm] = []
        for _, leg in _steps(graph, node, mask, {x: [_vector(moved[x])] for x in node.inputs if x in moved}):
            terms.append(leg)
        moved[node] = graph.sum_of([term.replace(sides=term.sides[1:]) for term in terms], node.shape, node.dtype)
    return [moved[x] if x in moved else graph.full(0.0, x.shape, x.dtype) for x in outputs]


def _vector(node: Node) -> NodeTerm:
    axes = fresh(node.shape)
    return Term(1.0, (Factor(node, axes),), ((), axes))


def _steps(graph: Graph, node: Node, mask: int, legs: Mapping[Node, Sequence[NodeTerm]]) -> list[tuple[Node, NodeTerm]]:
    """Legs on the inputs of a node, pushed through it: sides (columns, axes of the node)."""
    found = []
    if isinstance(node.kind, Opaque):
        for source in dict.fromkeys(x for x in node.inputs if x.depends & mask):
            found += [(source, push_opaque(graph, leg, node, source)) for leg in legs.get(source, ())]
        return found
    for source, terms in differential(graph, node, mask).items():
        for term in terms:
            for leg in legs.get(source, ()):
                pushed = compose(leg, 1, term, 1)
                if pushed is not None:
                    found.append((source, pushed))
    return found


def forward_legs(
    graph: Graph, output: Node, leaves: Iterable[Node], adjoints: Mapping[Node, Sequence[NodeTerm]]
) -> SecondOrder:
    """The same cores as the backward sweep, with legs from the leaves: the forward Laplacian, generalised.

    Best where the leaves are small and the layers wide (Li et al. 2024).

    Args:
        graph: makes the nodes.
        output: the node whose Hessian is asked.
        leaves: the leaves.
        adjoints: for every node that carries a derivative the terms of its adjoint, sides (open axes, axes of the
            node).

    Returns:
        Cores with legs on the leaves.
    """
    chosen = list(leaves)
    mask = 0
    for leaf in chosen:
        mask |= leaf.depends
    legs: dict[Node, dict[Node, list[NodeTerm]]] = {leaf: {leaf: [identity(fresh(leaf.shape))]} for leaf in chosen}
    cores: list[Core] = []
    for node in reachable([output]):
        if not node.depends & mask or node in legs:
            continue
        legs[node] = {}
        for leaf in chosen:
            if not node.depends & leaf.depends:
                continue
            arriving = {x: legs[x][leaf] for x in node.inputs if x in legs and leaf in legs[x]}
            pushed = [multiply_out(graph, leg) for _, leg in _steps(graph, node, mask, arriving)]
            legs[node][leaf] = merge(graph, pushed, node.dtype)
        forms: dict[tuple[Node, Node], list[NodeTerm]] = {}
        if node in adjoints:
            jacobian = {} if isinstance(node.kind, Opaque) else differential(graph, node, mask)
            for adjoint in adjoints[node]:
                if isinstance(node.kind, Opaque):
                    found = opaque_core(graph, node, adjoint, mask)
                else:
                    found = second_differential(graph, node, jacobian, adjoint, mask)
                for pair, terms in found.items():
                    forms.setdefault(pair, []).extend(terms)
        if forms:
            cores.append(_core(graph, node, forms, legs))
    return SecondOrder(tuple(cores), {}, ())


def _core(
    graph: Graph,
    node: Node,
    forms: Mapping[tuple[Node, Node], Sequence[NodeTerm]],
    legs: Mapping[Node, Mapping[Node, Sequence[NodeTerm]]],
) -> Core:
    slots = list(dict.fromkeys(source for pair in forms for source in pair))
    turned = [
        {leaf: [swap_sides(leg, 0, 1) for leg in arriving] for leaf, arriving in legs[source].items()}
        for source in slots
    ]
    listed = [
        (slots.index(row), slots.index(column), multiply_out(graph, term))
        for (row, column), terms in forms.items()
        for term in terms
    ]
    return Core(listed, turned, node)
