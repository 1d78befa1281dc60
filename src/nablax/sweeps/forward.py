"""Forward mode: tangents of nodes along a direction, and forward legs (Jacobians from a leaf to every node)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from nablax.contraction.index import fresh
from nablax.contraction.term import Factor, Term, compose, identity, swap_sides
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm, reachable
from nablax.ops.kinds import Elementwise, MatrixFunction, Opaque
from nablax.ops.matrix_functions import ROWS
from nablax.sweeps.eliminate import core_of
from nablax.sweeps.frontier import Core, SecondOrder
from nablax.sweeps.legs import gathered, merge, multiply_all_but_last, multiply_out
from nablax.sweeps.local import differential, second_differential
from nablax.sweeps.opaque_rules import push_opaque_all
from nablax.sweeps.ruled import core_through, push_through
from nablax.sweeps.second_order import mask_of


def tangents(graph: Graph, outputs: Sequence[Node], directions: Mapping[Node, Node]) -> list[Node]:
    """Derivatives of nodes along a direction.

    Args:
        graph: makes the tangents.
        outputs: the nodes to differentiate.
        directions: for each leaf that moves, the node that holds its direction.

    Returns:
        One node per output, of its shape and dtype.
    """
    mask = mask_of(directions)
    moved: dict[Node, Node] = dict(directions)
    for node in reachable(outputs):
        if not node.depends & mask or node in moved:
            continue
        graph.at(node)
        terms: list[NodeTerm] = []
        for _, leg in _steps(graph, node, mask, {x: [_vector(moved[x])] for x in node.inputs if x in moved}):
            terms.append(leg)
        if not terms:
            continue
        moved[node] = graph.sum_of([term.replace(sides=term.sides[1:]) for term in terms], node.shape, node.dtype)
    return [moved[x] if x in moved else graph.full(0.0, x.shape, x.dtype) for x in outputs]


def _vector(node: Node) -> NodeTerm:
    axes = fresh(node.shape)
    return Term(1.0, (Factor(node, axes),), ((), axes))


def _steps(graph: Graph, node: Node, mask: int, legs: Mapping[Node, Sequence[NodeTerm]]) -> list[tuple[Node, NodeTerm]]:
    """Legs on the inputs of a node, pushed through it: sides (columns, axes of the node)."""
    found = []
    if isinstance(node.kind, Opaque):
        return _through_opaque(graph, node, mask, legs)
    for source, terms in differential(graph, node, mask).items():
        for term in terms:
            for leg in legs.get(source, ()):
                pushed = compose(leg, 1, term, 1)
                if pushed is not None:
                    found.append((source, pushed))
    return found


def _through_opaque(
    graph: Graph, node: Node, mask: int, legs: Mapping[Node, Sequence[NodeTerm]]
) -> list[tuple[Node, NodeTerm]]:
    """Legs through an opaque node: all inputs together where each has one leg without columns, a tangent."""
    sources = [x for x in dict.fromkeys(node.inputs) if x.depends & mask and legs.get(x)]
    single = {x: legs[x][0] for x in sources if len(legs[x]) == 1 and not legs[x][0].sides[0]}
    if sources and len(single) == len(sources):
        pushed = push_opaque_all(graph, single, node)
        return [] if pushed is None else [(sources[0], pushed)]
    return [(x, term) for x in sources for leg in legs[x] for term in push_through(graph, leg, node, x, mask)]


def legs_from(
    graph: Graph,
    outputs: Sequence[Node],
    leaves: Iterable[Node],
    known: Mapping[Node, dict[Node, list[NodeTerm]]] | None = None,
) -> dict[Node, dict[Node, list[NodeTerm]]]:
    """Forward mode: Jacobians of all nodes, from the leaves up.

    Args:
        graph: makes the nodes.
        outputs: the nodes whose Jacobians are asked.
        leaves: the leaves.
        known: what an earlier call found about the same leaves.

    Returns:
        For each active node and each leaf below it the legs, sides (axes of the leaf, axes of the node).
    """
    chosen = list(leaves)
    mask = mask_of(chosen)
    legs: dict[Node, dict[Node, list[NodeTerm]]] = {leaf: {leaf: [identity(fresh(leaf.shape))]} for leaf in chosen}
    legs |= known or {}
    nodes = [node for node in reachable(outputs) if node.depends & mask]
    consumers: dict[Node, list[Node]] = {}
    for node in nodes:
        for source in node.inputs:
            consumers.setdefault(source, []).append(node)
    for node in nodes:
        if node not in legs:
            graph.at(node)
            legs[node] = _arrived(graph, node, mask, legs, consumers.get(node, ()))
    return legs


def _arrived(
    graph: Graph,
    node: Node,
    mask: int,
    legs: Mapping[Node, Mapping[Node, list[NodeTerm]]],
    consumers: Sequence[Node],
) -> dict[Node, list[NodeTerm]]:
    """Legs of a node, from those of its inputs."""
    solved = _is_solved(node)
    narrowed = solved and all(x.size < node.size and not isinstance(x.kind, Elementwise | Opaque) for x in consumers)
    shorten = multiply_all_but_last if narrowed else multiply_out
    found: dict[Node, list[NodeTerm]] = {}
    for leaf in dict.fromkeys(leaf for x in node.inputs for leaf in legs.get(x, ())):
        arriving = {x: legs[x][leaf] for x in dict.fromkeys(node.inputs) if leaf in legs.get(x, ())}
        if solved:
            arriving = {x: gathered(graph, own, x.dtype) for x, own in arriving.items()}
        pushed = [shorten(graph, leg) for _, leg in _steps(graph, node, mask, arriving)]
        found[leaf] = merge(graph, pushed, node.dtype)
    return found


def _is_solved(node: Node) -> bool:
    """Whether an equation defines a node: to push a leg through it takes matrix products."""
    return isinstance(node.kind, MatrixFunction) and ROWS[node.kind.name].equations is not None


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
    mask = mask_of(chosen)
    legs = legs_from(graph, [output], chosen)
    cores: list[Core] = []
    for node in reachable([output]):
        if not node.depends & mask or node in chosen:
            continue
        graph.at(node)
        forms: dict[tuple[Node, Node], list[NodeTerm]] = {}
        if node in adjoints:
            jacobian = {} if isinstance(node.kind, Opaque) else differential(graph, node, mask)
            for adjoint in adjoints[node]:
                if isinstance(node.kind, Opaque):
                    found = core_through(graph, node, adjoint, mask)
                else:
                    found = second_differential(graph, node, jacobian, adjoint, mask)
                for pair, terms in found.items():
                    forms.setdefault(pair, []).extend(terms)
        core = core_of(graph, forms, node)
        if core is not None:
            _reach(graph, core, legs, mask)
            cores.append(_with_legs(core, legs))
    return SecondOrder(tuple(cores), {})


def _reach(graph: Graph, core: Core, legs: dict[Node, dict[Node, list[NodeTerm]]], mask: int) -> None:
    """Legs for slots on values that the output does not read: the eigenvectors, where it reads eigenvalues."""
    for slot in core.legs:
        [source] = slot
        if source not in legs:
            legs[source] = _arrived(graph, source, mask, legs, ())


def _with_legs(core: Core, legs: Mapping[Node, Mapping[Node, Sequence[NodeTerm]]]) -> Core:
    """A core with the forward legs of its slots' nodes, turned to (axes of the slot, axes of the leaf)."""
    slots = []
    for slot in core.legs:
        [source] = slot
        slots.append({leaf: tuple(swap_sides(leg, 0, 1) for leg in found) for leaf, found in legs[source].items()})
    return replace(core, legs=tuple(slots))
