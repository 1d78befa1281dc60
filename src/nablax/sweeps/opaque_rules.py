"""Derivatives of opaque nodes, by JAX: one reverse and one forward derivative of all inputs together.

Reverse mode is split where JAX splits it: a *forward pass* gives the value and the residuals, a *backward pass* makes
cotangents of the inputs from residuals and the cotangent of the value. Both are calls like any other, so that the
tangent of a gradient is one tangent of each, and costs what JAX's forward over reverse costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from nablax.contraction.index import Index, along, fresh
from nablax.contraction.term import Axes, Factor, Term
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm
from nablax.ops.jaxprs import Literal, Value
from nablax.ops.kinds import Contraction, Opaque
from nablax.sweeps.opaque_calls import (
    REVERSE_RULE,
    ReverseMode,
    distinct_values,
    forward_mode,
    opaque_kind,
    places_of,
    reverse_mode,
    second_derivative,
)


def pull_opaque_all(graph: Graph, leg: NodeTerm, node: Node, mask: int) -> dict[Node, NodeTerm]:
    """Leg on an opaque node times its Jacobian in all inputs: one vector-Jacobian product per row.

    Args:
        graph: makes the nodes.
        leg: sides (rows, axes of the node).
        node: the opaque node.
        mask: bit set of the leaves of interest; only inputs that depend on them are differentiated.

    Returns:
        For each such input the leg on it; inputs on which the node does not depend smoothly are left out.
    """
    groups = {places_of(node, source)[0]: places_of(node, source) for source in _active(node, mask)}
    pulled = pulled_groups(graph, leg, node, list(groups.values())) if groups else {}
    return {node.inputs[k]: term for k, term in pulled.items()}


def pulled_groups(graph: Graph, leg: NodeTerm, node: Node, groups: Sequence[tuple[int, ...]]) -> dict[int, NodeTerm]:
    """Leg on an opaque node times its Jacobian in some of its inputs, whatever they depend on.

    Args:
        graph: makes the nodes.
        leg: sides (rows, axes of the node).
        node: the opaque node.
        groups: positions of inputs; those of one group hold one node and move together.

    Returns:
        The leg on each group that the node depends on smoothly, by its first position.
    """
    alone = _alone(node, groups, None, leg.sides[1])
    rows = tuple(index for index in side_labels(leg) if index.label not in {x.label for x in alone.values()})
    alone = {axis: x for axis, x in alone.items() if x.label in {index.label for index in side_labels(leg)}}
    found: dict[int, NodeTerm] = {}
    for k, value in _transposed(graph, leg, node, rows, groups).items():
        axes = _tied(node, groups[k], alone)
        found[groups[k][0]] = Term(1.0, (Factor(value, (*rows, *axes)),), (leg.sides[0], axes))
    return found


def _transposed(
    graph: Graph, leg: NodeTerm, node: Node, rows: Sequence[Index], groups: Sequence[tuple[int, ...]]
) -> dict[int, Node]:
    """The backward pass on rows of a leg: for each group that moves the node an array, the rows first."""
    kind = opaque_kind(node)
    extents = tuple(index.extent for index in rows)
    cotangent = graph.multiply(leg.replace(sides=(tuple(rows), leg.sides[1])), node.dtype)
    passes = reverse_mode(node, tuple(groups))
    residuals = _residuals(graph, node, passes)
    call, program = passes.backward(extents)
    moving = [k for k in range(len(groups)) if k not in call.zeros]
    found: dict[int, Node] = {}
    for k in moving:
        name, key, flops = f"{kind.name} transposed", (call.key, k), program.flops / len(moving)
        derived = Opaque(name, key, call, k, flops, kind.line, program.bytes)
        source = node.inputs[groups[k][0]]
        found[k] = graph.opaque(derived, (*residuals, cotangent), extents + source.shape, source.dtype)
    return found


def legs_together(graph: Graph, legs: Sequence[NodeTerm], node: Node) -> list[NodeTerm]:
    """Legs on an opaque node with those that have no rows summed into one, so that it is differentiated once.

    A leg that arrives along an index map is kept apart elsewhere, for the places that it does not touch. Here each leg
    costs a whole derivative of the node.

    Args:
        graph: makes the sum.
        legs: sides (rows, axes of the node).
        node: the opaque node.

    Returns:
        The other legs, then the sum.
    """
    single = [leg for leg in legs if not leg.sides[0]]
    if len(single) < 2:
        return list(legs)
    axes = fresh(node.shape)
    total = graph.add([graph.multiply(leg, node.dtype) for leg in single])
    return [*(leg for leg in legs if leg.sides[0]), Term(1.0, (Factor(total, axes),), ((), axes))]


def push_opaque_all(graph: Graph, legs: Mapping[Node, NodeTerm], node: Node) -> NodeTerm | None:
    """Jacobian of an opaque node in several inputs times a leg on each: one Jacobian-vector product per column.

    Args:
        graph: makes the node.
        legs: for each input that moves its leg, sides (columns, axes of the input); the columns of all are the same
            labels (none at all for a tangent).
        node: the opaque node.

    Returns:
        The leg with sides (columns, axes of the node); None where the node does not move.
    """
    kind = opaque_kind(node)
    moving = {source: leg for source, leg in legs.items() if not _is_zero(leg)}
    if not moving or not jnp.issubdtype(node.dtype, jnp.floating):
        return None
    sides = [leg.sides[0] for leg in moving.values()]
    columns = side_labels(next(iter(moving.values())))
    groups = tuple(places_of(node, source) for source in moving)
    alone = _alone(node, groups, [leg.sides[1] for leg in moving.values()], None)
    alone = {axis: x for axis, x in alone.items() if x.label in {index.label for index in columns}}
    columns = tuple(index for index in columns if index.label not in {x.label for x in alone.values()})
    bare = all(index.label is not None for side in sides for index in side)
    alike = bare and all([index.label for index in side] == [index.label for index in sides[0]] for side in sides)
    if len(moving) > 1 and not alike:
        raise ValueError("legs that are pushed together have the same columns")
    tangents = tuple(
        graph.multiply(leg.replace(sides=(columns, leg.sides[1])), source.dtype) for source, leg in moving.items()
    )
    extents = tuple(index.extent for index in columns)
    call, program = forward_mode(node, groups, extents)
    if kind.place in call.zeros:
        return None
    derived = Opaque(
        f"{kind.name} pushed",
        ("pushed", kind.key, groups, extents),
        call,
        kind.place,
        program.flops / call.width,
        kind.line,
        program.bytes,
    )
    value = graph.opaque(derived, (*node.inputs, *tangents), extents + node.shape, node.dtype)
    axes = tuple(alone.get(k, index) for k, index in enumerate(fresh(node.shape)))
    return Term(1.0, (Factor(value, (*columns, *axes)),), (sides[0], axes))


def pull_opaque(graph: Graph, leg: NodeTerm, node: Node, source: Node) -> NodeTerm:
    """`pull_opaque_all` for one input.

    Args:
        graph: makes the nodes.
        leg: sides (rows, axes of the node).
        node: the opaque node.
        source: one of its inputs.

    Returns:
        The leg on the input.
    """
    found = pull_opaque_all(graph, leg, node, -1).get(source)
    return Term(0.0, (), (leg.sides[0], fresh(source.shape))) if found is None else found


def push_opaque(graph: Graph, leg: NodeTerm, node: Node, source: Node) -> NodeTerm:
    """`push_opaque_all` for one input.

    Args:
        graph: makes the node.
        leg: sides (columns, axes of the input).
        node: the opaque node.
        source: the input.

    Returns:
        The leg with sides (columns, axes of the node).
    """
    found = push_opaque_all(graph, {source: leg}, node)
    return Term(0.0, (), (leg.sides[0], fresh(node.shape))) if found is None else found


def opaque_core(graph: Graph, node: Node, adjoint: NodeTerm, leaves: int) -> dict[tuple[Node, Node], list[NodeTerm]]:
    """The core of an opaque node as dense blocks between its inputs; pairs that cannot couple are left out.

    For each input one loop over its elements: the tangent of the backward pass, for all inputs that it couples with.

    Args:
        graph: makes the nodes.
        node: the opaque node.
        adjoint: sides (open axes, axes of the node).
        leaves: bit set of the leaves of interest.

    Returns:
        As `nablax.sweeps.local.second_differential`.
    """
    kind = opaque_kind(node)
    sources = _active(node, leaves)
    if not sources:
        return {}
    rows = side_labels(adjoint)
    extents = tuple(index.extent for index in rows)
    cotangent = graph.multiply(adjoint.replace(sides=(rows, adjoint.sides[1])), node.dtype)
    groups = tuple(places_of(node, source) for source in sources)
    passes = reverse_mode(node, groups)
    # along these the second derivative has values for equal elements only
    shared = list(_alone(node, groups, None, fresh(node.shape)))
    found: dict[tuple[Node, Node], list[NodeTerm]] = {}
    for q, column in enumerate(sources):
        coupled = tuple(p for p in range(q + 1) if set(places_of(node, column)) & passes.coupled[p])
        if not coupled or column.size == 0:
            continue
        kept = tuple(k for k in range(len(column.shape)) if k not in {_place(node, groups[q], axis) for axis in shared})
        call, program, held = second_derivative(node, passes, coupled, q, extents, kept)
        for place, p in enumerate(coupled):
            if place in call.zeros:
                continue
            row = sources[p]
            derived = Opaque(
                f"{kind.name} second derivative",
                (call.key, place),
                call,
                place,
                program.flops / len(coupled),
                kind.line,
                held,
            )
            left = fresh(row.shape)
            right = _tied(node, groups[q], {axis: left[_place(node, groups[p], axis)] for axis in shared})
            shape = extents + row.shape + tuple(column.shape[k] for k in kept)
            value = graph.opaque(derived, (*node.inputs, cotangent), shape, row.dtype)
            factor = Factor(value, (*rows, *left, *(right[k] for k in kept)))
            sides = (adjoint.sides[0], left, right)
            if row is column:
                # A rule that assumes structure of its tangents (eigh: symmetric) need not give a symmetric matrix.
                # On the tangents that occur only the symmetric part acts.
                turned = (sides[0], right, left)
                found[row, column] = [Term(0.5, (factor,), sides), Term(0.5, (factor,), turned)]
            else:
                found[row, column] = [Term(1.0, (factor,), sides)]
    return found


def has_reverse_rule_only(node: Node) -> bool:
    """Whether a node has a custom reverse rule, and so a forward derivative that may differ from it."""
    return isinstance(node.kind, Opaque) and REVERSE_RULE in node.kind.call.primitives


# -- reading nodes and legs ------------------------------------------------------------------------


def side_labels(leg: NodeTerm) -> tuple[Any, ...]:
    """The labels of a leg's rows, each once."""
    return tuple(along(label) for label in dict.fromkeys(x for index in leg.sides[0] for x in index.labels))


def _active(node: Node, mask: int) -> list[Node]:
    """The distinct inputs that carry a derivative."""
    return list(dict.fromkeys(source for source in node.inputs if source.depends & mask))


def _is_zero(leg: NodeTerm) -> bool:
    return leg.coefficient == 0.0 or any(
        isinstance(factor.operand.kind, Contraction)
        and not factor.operand.inputs
        and factor.operand.kind.coefficient == 0.0
        for factor in leg.factors
    )


def _residuals(graph: Graph, node: Node, passes: ReverseMode) -> list[Node]:
    """The nodes that hold what the backward pass reads."""
    kind, program = passes.kind, passes.program
    known: dict[Value, Node] = dict(zip(program.inputs, node.inputs, strict=True))
    known[program.outputs[kind.place]] = node
    first = kind.call.width
    for place, value in enumerate(program.outputs[first:], first):
        if value not in known and not isinstance(value, Literal):
            derived = Opaque(
                f"{kind.name} residual", (passes.call.key, place), passes.call, place, 0.0, kind.line, program.bytes
            )
            known[value] = graph.opaque(derived, node.inputs, value.shape, value.dtype)
    return [known[value] for value in distinct_values(passes.residuals)]


def _alone(
    node: Node,
    groups: Sequence[tuple[int, ...]],
    sides: Sequence[Sequence[Index]] | None,
    value: Sequence[Index] | None,
) -> dict[int, Index]:
    """Axes of a node along which it acts on each element of some inputs alone, with the bare label of a leg there.

    Args:
        node: the opaque node.
        groups: positions of the inputs that move.
        sides: the axes of a leg on each; None where legs stand on the value.
        value: the axes of a leg on the value; None where legs stand on the inputs.

    Returns:
        For each such axis the index of the leg, or that of the legs on all inputs.
    """
    found: dict[int, Index] = {}
    for axis, places in opaque_kind(node).call.batch_axes:
        at = [place for group in groups if (place := _common(places, group)) is not None]
        if len(at) < len(groups):
            continue
        standing = [(value, axis)] if value is not None else list(zip(sides or (), at, strict=True))
        labels = {side[place].label for side, place in standing}
        [label] = labels if len(labels) == 1 else [None]
        once = all(sum(label in index.labels for index in side) == 1 for side, _ in standing if label is not None)
        if label is not None and once and label not in {index.label for index in found.values()}:
            found[axis] = along(label)
    return found


def _common(places: Sequence[int | None], group: tuple[int, ...]) -> int | None:
    """The axis at all positions of a group; None where there is none, or several."""
    own = {places[k] for k in group}
    return next(iter(own)) if len(own) == 1 else None


def _place(node: Node, group: tuple[int, ...], axis: int) -> int:
    """The axis of an input that goes with an axis of an opaque node."""
    place = dict(opaque_kind(node).call.batch_axes)[axis][group[0]]
    assert place is not None
    return place


def _tied(node: Node, group: tuple[int, ...], alone: Mapping[int, Index]) -> Axes:
    """Axes of an input, those along which the node acts alone with the labels that they have on the node."""
    axes = list(fresh(node.inputs[group[0]].shape))
    for axis, index in alone.items():
        axes[_place(node, group, axis)] = index
    return tuple(axes)
