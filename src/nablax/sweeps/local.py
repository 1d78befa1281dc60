"""Local derivatives: one node's Jacobian and second derivative as labelled networks of nodes.

First derivatives are stated once per kind (`differential`). Second derivatives follow (`second_differential`), by
differentiating the factors of the first or from the equation that defines a value, so that no operation states one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import assert_never

from nablax.contraction.index import Label, along, fresh
from nablax.contraction.term import Factor, Term, collect_like, compose, identity, swap_sides
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm, identify
from nablax.ops.kinds import (
    Constant,
    Contraction,
    Elementwise,
    IndexMap,
    Leaf,
    MatrixFunction,
    Opaque,
    Placeholder,
    Selection,
)
from nablax.ops.matrix_functions import ROWS
from nablax.ops.matrix_row import second_by_equations
from nablax.sweeps.legs import multiply_out

LocalJacobian = Mapping[Node, list[NodeTerm]]


def differential(graph: Graph, node: Node, leaves: int) -> LocalJacobian:
    """The local Jacobian of a node that has one as a network.

    Args:
        graph: makes the partials.
        node: any node but an opaque one.
        leaves: bit set of the leaves of interest; inputs that do not depend on them are left out.

    Returns:
        For each distinct input the terms of the Jacobian, sides (axes of the node, axes of the input).
    """
    kind = node.kind
    pairs: list[tuple[Node, NodeTerm]]
    match kind:
        case Leaf() | Constant() | Placeholder() | Selection():
            return {}
        case Elementwise():
            pairs = _elementwise(graph, node, kind, leaves)
        case Contraction():
            pairs = _contraction(node, kind)
        case IndexMap():
            pairs = [
                (source, Term(1.0, graph.guards((*axes.target, *axes.source), node.dtype), (axes.target, axes.source)))
                for source, axes in zip(node.inputs, kind.maps, strict=True)
            ]
        case MatrixFunction():
            rows = ROWS[kind.name].differential(graph, node, node.inputs, **dict(kind.params))
            pairs = [(node.inputs[k], term) for k, terms in rows.items() for term in terms]
        case Opaque():
            raise TypeError("the Jacobian of an opaque node is applied, never written down")
        case _:
            assert_never(kind)
    found: dict[Node, list[NodeTerm]] = {}
    for source, term in pairs:
        if source.depends & leaves:
            found.setdefault(source, []).append(term)
    return {source: collect_like(terms, identify) for source, terms in found.items()}


def _elementwise(graph: Graph, node: Node, kind: Elementwise, leaves: int) -> list[tuple[Node, NodeTerm]]:
    pairs: list[tuple[Node, NodeTerm]] = []
    for position, source in enumerate(node.inputs):
        if not source.depends & leaves:
            continue
        slope = kind.function.partial(position)
        axes = fresh(node.shape)
        sides = (axes, axes if source.shape == node.shape else ())
        if slope.constant is not None:
            if slope.constant != 0.0:
                pairs.append((source, Term(slope.constant, (), sides)))
            continue
        value = graph.elementwise(slope.pruned(), [node.inputs[k] for k in slope.reads])
        factor = Factor(value, axes if value.shape == node.shape else ())
        pairs.append((source, Term(1.0, (factor,), sides)))
    return pairs


def _contraction(node: Node, kind: Contraction) -> list[tuple[Node, NodeTerm]]:
    pairs = []
    for position, source in enumerate(node.inputs):
        labels = [along(Label(size)) for size in kind.sizes]
        others = tuple(
            Factor(other, tuple(labels[k] for k in own))
            for k, (other, own) in enumerate(zip(node.inputs, kind.inputs, strict=True))
            if k != position
        )
        sides = (tuple(labels[k] for k in kind.output), tuple(labels[k] for k in kind.inputs[position]))
        pairs.append((source, Term(kind.coefficient, others, sides)))
    return pairs


def second_differential(
    graph: Graph, node: Node, jacobian: LocalJacobian, adjoint: NodeTerm, leaves: int
) -> dict[tuple[Node, Node], list[NodeTerm]]:
    """The core of a node: adjoint times the second derivative of its operation.

    Args:
        graph: makes the partials.
        node: the node.
        jacobian: its local Jacobian.
        adjoint: sides (open axes, axes of the node).
        leaves: bit set of the leaves of interest.

    Returns:
        For each unordered pair of distinct inputs terms with sides (open axes, row input, column input). Where an
        equation defines the node, it may itself stand for an input, and so may the other values of its operation.
    """
    if isinstance(node.kind, MatrixFunction) and ROWS[node.kind.name].equations is not None:
        return _from_equations(graph, node, node.kind, adjoint, leaves)
    computed = [factor.operand for terms in jacobian.values() for term in terms for factor in term.factors]
    if isinstance(node.kind, MatrixFunction) or (
        isinstance(node.kind, Elementwise) and any(value in node.inputs for value in computed)
    ):
        return _on_placeholders(graph, node, list(jacobian), adjoint)
    return _second(graph, node, jacobian, adjoint, leaves)


def _from_equations(
    graph: Graph, node: Node, kind: MatrixFunction, adjoint: NodeTerm, leaves: int
) -> dict[tuple[Node, Node], list[NodeTerm]]:
    row, params = ROWS[kind.name], dict(kind.params)
    assert row.equations is not None
    values = row.values(graph, node, node.inputs, params)
    place = values.index(node)
    shared = {name: value for name, value in params.items() if name != "output"}
    forms = second_by_equations(
        row.equations(**shared), graph, values, node.inputs, place, adjoint, partial(multiply_out, graph)
    )
    found: dict[tuple[Node, Node], list[NodeTerm]] = {}
    for slots, terms in forms.items():
        a, b = (node.inputs[slot] if slot >= 0 else values[~slot] for slot in slots)
        if not (a.depends & leaves and b.depends & leaves):
            continue
        turned = [swap_sides(term, 1, 2) for term in terms]
        if a is b:
            found.setdefault((a, a), []).extend([*terms, *turned])
        elif (b, a) in found:
            found[b, a].extend(turned)
        else:
            found.setdefault((a, b), []).extend(terms)
    return {pair: collect_like(terms, identify) for pair, terms in found.items()}


def on_inputs(
    graph: Graph, node: Node, forms: Mapping[tuple[Node, Node], list[NodeTerm]], leaves: int
) -> dict[tuple[Node, Node], list[NodeTerm]]:
    """Forms of `second_differential` with every value that stands for an input replaced by its local Jacobian."""

    def reached(slot: Node) -> list[tuple[Node, NodeTerm]]:
        if slot in node.inputs:
            return [(slot, identity(fresh(slot.shape)))]
        return [(x, term) for x, terms in differential(graph, slot, leaves).items() for term in terms]

    found: dict[tuple[Node, Node], list[NodeTerm]] = {}

    def add(row: Node, column: Node, term: NodeTerm) -> None:
        if (column, row) in found:
            row, column, term = column, row, swap_sides(term, 1, 2)
        found.setdefault((row, column), []).append(term)

    for (row, column), terms in forms.items():
        if row in node.inputs and column in node.inputs:
            found.setdefault((row, column), []).extend(terms)
            continue
        for p, (a, left) in enumerate(reached(row)):
            for q, (b, right) in enumerate(reached(column)):
                if row is column and a is not b and p > q:
                    continue  # the transpose of another
                for term in terms:
                    half = compose(term, 1, left, 0)  # sides (open, column, row)
                    whole = None if half is None else compose(half, 1, right, 0)
                    if whole is not None:
                        add(a, b, whole)
                        if row is not column and a is b:
                            add(a, b, swap_sides(whole, 1, 2))
    return found


def _on_placeholders(
    graph: Graph, node: Node, moving: Sequence[Node], adjoint: NodeTerm
) -> dict[tuple[Node, Node], list[NodeTerm]]:
    """The core found on placeholders for the inputs.

    The inputs count as independent of each other. Equal expressions are one node, so that a computed factor may be
    the same node as another input (the slope of sin(x) + c is the input c = cos(x)); on placeholders it is not. All
    inputs that vary are replaced, so that the bits of placeholders meet none of the user's leaves.
    """
    inputs = list(dict.fromkeys(node.inputs))
    stands = {x: graph.placeholder(k, x) if x.depends else x for k, x in enumerate(inputs)}
    bits = 0
    for x in moving:
        bits |= stands[x].depends
    apart = graph.remake(node, [stands[x] for x in node.inputs])
    real = {stand: x for x, stand in stands.items()}
    cores = _second(graph, apart, differential(graph, apart, bits), adjoint, bits)
    # the adjoint's factors are the real graph's: they hold no placeholder
    known: dict[Node, Node] = {**{f.operand: f.operand for f in adjoint.factors}, **real}
    return {
        (real[row], real[column]): [
            term.replace(factors=[Factor(moved(graph, f.operand, known), f.axes) for f in term.factors])
            for term in terms
        ]
        for (row, column), terms in cores.items()
    }


def moved(graph: Graph, node: Node, known: dict[Node, Node]) -> Node:
    """A node with placeholders replaced; what has been replaced is remembered."""
    if node not in known:
        inputs = [moved(graph, source, known) for source in node.inputs]
        same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
        known[node] = node if same else graph.remake(node, inputs)
    return known[node]


def _second(
    graph: Graph, node: Node, jacobian: LocalJacobian, adjoint: NodeTerm, leaves: int
) -> dict[tuple[Node, Node], list[NodeTerm]]:
    place_of = {source: k for k, source in enumerate(jacobian)}
    own = frozenset(node.inputs)
    found: dict[tuple[Node, Node], list[NodeTerm]] = {}
    for row, p in place_of.items():
        for term in jacobian[row]:
            if not any(factor.operand.depends & leaves for factor in term.factors):
                continue
            pulled = compose(adjoint, 1, term, 0)
            if pulled is None:
                continue
            first = len(adjoint.factors)
            for place in range(first, len(pulled.factors)):
                factor = pulled.factors[place]
                if not factor.operand.depends & leaves:
                    continue
                rest = pulled.replace(
                    factors=pulled.factors[:place] + pulled.factors[place + 1 :],
                    sides=(*pulled.sides, factor.axes),
                )
                for column, inners in _within(graph, factor.operand, own, leaves).items():
                    if place_of.get(column, -1) < p:
                        continue
                    for inner in inners:
                        core = compose(rest, 2, inner, 0)
                        if core is not None:
                            found.setdefault((row, column), []).append(core)
    collected = {pair: collect_like(terms, identify) for pair, terms in found.items()}
    return {pair: terms for pair, terms in collected.items() if terms}


def _within(graph: Graph, value: Node, inputs: frozenset[Node], leaves: int) -> dict[Node, list[NodeTerm]]:
    """Jacobian of a factor in the inputs of the node that it depends on, the inputs being independent of each other."""
    if not value.depends & leaves:
        return {}
    if value in inputs:
        return {value: [identity(fresh(value.shape))]}
    found: dict[Node, list[NodeTerm]] = {}
    for argument, terms in differential(graph, value, leaves).items():
        for source, inners in _within(graph, argument, inputs, leaves).items():
            for outer in terms:
                for inner in inners:
                    whole = compose(outer, 1, inner, 0)
                    if whole is not None:
                        found.setdefault(source, []).append(whole)
    return found
