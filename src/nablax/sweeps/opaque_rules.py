"""Derivatives of opaque nodes: applied by JAX, vectorised over the other axes of a leg."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp

from nablax.contraction.index import along, fresh
from nablax.contraction.term import Factor, Term
from nablax.errors import DifferentiationError
from nablax.graph.graph import Graph, Node, NodeTerm
from nablax.ops.jaxprs import trace
from nablax.ops.kinds import Opaque

Function = Callable[..., Any]


def pull_opaque(graph: Graph, leg: NodeTerm, node: Node, source: Node) -> NodeTerm:
    """Leg on an opaque node times its Jacobian in one input: vector-Jacobian products, one per row.

    Args:
        graph: makes the node.
        leg: sides (rows, axes of the node).
        node: the opaque node.
        source: one of its inputs.

    Returns:
        The leg on the input.
    """
    kind = _kind(node)
    rows = _side_labels(leg)
    stacked = graph.multiply(leg.replace(sides=(rows, leg.sides[1])), node.dtype)
    function = partial(_pull, kind.function, _places(node, source), len(rows))
    count = math.prod(index.extent for index in rows)
    derived = Opaque(
        f"{kind.name} transposed",
        ("pull", kind.key, _places(node, source), len(rows)),
        function,
        3.0 * kind.flops * count,
        kind.line,
    )
    shape = tuple(index.extent for index in rows) + source.shape
    _check(node, function, (*node.inputs, stacked))
    value = graph.opaque(derived, (*node.inputs, stacked), shape, source.dtype)
    axes = fresh(source.shape)
    return Term(1.0, (Factor(value, (*rows, *axes)),), (leg.sides[0], axes))


def push_opaque(graph: Graph, leg: NodeTerm, node: Node, source: Node) -> NodeTerm:
    """Jacobian of an opaque node in one input times a leg: Jacobian-vector products, one per column.

    Args:
        graph: makes the node.
        leg: sides (columns, axes of the input).
        node: the opaque node.
        source: the input.

    Returns:
        The leg with sides (columns, axes of the node).
    """
    kind = _kind(node)
    columns = _side_labels(leg)
    stacked = graph.multiply(leg.replace(sides=(columns, leg.sides[1])), source.dtype)
    forward = _forward(node)
    places = _places(node, source)
    push = _pusher(forward, places, _structs(node.inputs))
    function = partial(push, forward, places, len(columns))
    count = math.prod(index.extent for index in columns)
    derived = Opaque(
        f"{kind.name} pushed",
        ("push", kind.key, _places(node, source), len(columns)),
        function,
        2.0 * kind.flops * count,
        kind.line,
    )
    shape = tuple(index.extent for index in columns) + node.shape
    _check(node, function, (*node.inputs, stacked))
    value = graph.opaque(derived, (*node.inputs, stacked), shape, node.dtype)
    axes = fresh(node.shape)
    return Term(1.0, (Factor(value, (*columns, *axes)),), (leg.sides[0], axes))


def opaque_core(graph: Graph, node: Node, adjoint: NodeTerm, leaves: int) -> dict[tuple[Node, Node], list[NodeTerm]]:
    """The core of an opaque node as dense blocks between its inputs; pairs that cannot couple are left out.

    Args:
        graph: makes the nodes.
        node: the opaque node.
        adjoint: sides (open axes, axes of the node).
        leaves: bit set of the leaves of interest.

    Returns:
        As `nablax.sweeps.local.second_differential`.
    """
    kind = _kind(node)
    inputs = list(dict.fromkeys(source for source in node.inputs if source.depends & leaves))
    found: dict[tuple[Node, Node], list[NodeTerm]] = {}
    rows = _side_labels(adjoint)
    count = math.prod(index.extent for index in rows)
    for p, row in enumerate(inputs):
        coupled = _coupled(node, row)
        for column in inputs[p:]:
            if not coupled & set(_places(node, column)):
                continue
            stacked = graph.multiply(adjoint.replace(sides=(rows, adjoint.sides[1])), node.dtype)
            places = (_places(node, row), _places(node, column))
            function = partial(_block, kind.function, *places, len(rows))
            derived = Opaque(
                f"{kind.name} second derivative",
                ("block", kind.key, places, len(rows)),
                function,
                6.0 * kind.flops * count * column.size,
                kind.line,
            )
            shape = tuple(index.extent for index in rows) + row.shape + column.shape
            _check(node, function, (*node.inputs, stacked))
            value = graph.opaque(derived, (*node.inputs, stacked), shape, row.dtype)
            left, right = fresh(row.shape), fresh(column.shape)
            factor = Factor(value, (*rows, *left, *right))
            sides = (adjoint.sides[0], left, right)
            if row is column:
                # A rule that assumes structure of its tangents (eigh: symmetric) need not give a symmetric matrix.
                # On the tangents that occur only the symmetric part acts.
                turned = (sides[0], right, left)
                found[row, column] = [Term(0.5, (factor,), sides), Term(0.5, (factor,), turned)]
            else:
                found[row, column] = [Term(1.0, (factor,), sides)]
    return found


def _kind(node: Node) -> Opaque:
    if not isinstance(node.kind, Opaque):
        raise TypeError("not an opaque node")
    return node.kind


def _side_labels(leg: NodeTerm) -> tuple[Any, ...]:
    return tuple(along(label) for label in dict.fromkeys(x for index in leg.sides[0] for x in index.labels))


def _places(node: Node, source: Node) -> tuple[int, ...]:
    """All positions at which a node stands among the inputs: they move together."""
    return tuple(k for k, other in enumerate(node.inputs) if other is source)


def _over(function: Function, axes: int) -> Function:
    for _ in range(axes):
        function = jax.vmap(function)
    return function


def _pull(function: Function, places: tuple[int, ...], rows: int, *arguments: Any) -> Any:
    *inputs, cotangent = arguments
    places_moved, moved = _on_floats(function, inputs, places)
    _, transpose = jax.vjp(moved, *(inputs[group[0]] for group in places_moved))
    return _over(lambda row: transpose(row)[0], rows)(cotangent)


def _push(function: Function, places: tuple[int, ...], columns: int, *arguments: Any) -> Any:
    *inputs, tangents = arguments

    def moved(value: Any) -> Any:
        return function(*(value if k in places else x for k, x in enumerate(inputs)))

    return _over(lambda column: jax.jvp(moved, (inputs[places[0]],), (column,))[1], columns)(tangents)


def _push_all(function: Function, places: tuple[int, ...], columns: int, *arguments: Any) -> Any:
    """As `_push`, with explicit zeros as tangents of the other inputs."""
    *inputs, tangents = arguments
    places_moved, moved = _on_floats(function, inputs, places)
    values = tuple(inputs[group[0]] for group in places_moved)
    still = tuple(jnp.zeros_like(value) for value in values[1:])
    return _over(lambda column: jax.jvp(moved, values, (column, *still))[1], columns)(tangents)


def _pusher(function: Function, places: tuple[int, ...], inputs: Sequence[Any]) -> Function:
    """`_push`, or `_push_all` where JAX's rule fails when an input has no tangent at all (custom_linear_solve)."""
    try:
        jax.eval_shape(partial(_push, function, places, 0), *inputs, inputs[places[0]])
    except TypeError as error:
        if "Zero" in str(error):
            return _push_all
    return _push


def _block(function: Function, row: tuple[int, ...], column: tuple[int, ...], rows: int, *arguments: Any) -> Any:
    *inputs, cotangent = arguments
    shape = jnp.shape(inputs[column[0]])
    units = jnp.eye(math.prod(shape), dtype=inputs[column[0]].dtype).reshape(-1, *shape)

    def one(weights: Any) -> Any:
        def gradient(*values: Any) -> Any:
            return _pull(function, row, 0, *values, weights)

        stacked = _pusher(gradient, column, inputs)(gradient, column, 1, *inputs, units)
        return jnp.moveaxis(stacked, 0, -1).reshape(stacked.shape[1:] + shape)

    return _over(one, rows)(cotangent)


def _on_floats(
    function: Function, inputs: Sequence[Any], first: tuple[int, ...]
) -> tuple[list[tuple[int, ...]], Function]:
    """The function of all its float inputs, those at `first` before the others."""
    others = [(k,) for k, x in enumerate(inputs) if k not in first and jnp.issubdtype(jnp.result_type(x), jnp.floating)]
    groups = [first, *others]

    def moved(*values: Any) -> Any:
        place = {k: value for group, value in zip(groups, values, strict=True) for k in group}
        return function(*(place.get(k, x) for k, x in enumerate(inputs)))

    return groups, moved


def _through_reverse(function: Function, *inputs: Any) -> Any:
    """The same value, computed by the forward pass of reverse mode.

    A function with a custom reverse rule has no forward derivative of its own; the forward pass of its rule
    is ordinary code and has one. This is what forward over reverse differentiates.
    """
    return jax.vjp(function, *inputs)[0]


def _forward(node: Node) -> Function:
    """The node's function in a form that forward mode can differentiate."""
    kind = _kind(node)
    return partial(_through_reverse, kind.function) if _only_reverse(node) else kind.function


def _structs(nodes: tuple[Node, ...]) -> list[jax.ShapeDtypeStruct]:
    return [jax.ShapeDtypeStruct(node.shape, node.dtype) for node in nodes]


@lru_cache(maxsize=1024)
def _only_reverse(node: Node) -> bool:
    kind = _kind(node)
    floats = tuple(k for k, x in enumerate(node.inputs) if jnp.issubdtype(x.dtype, jnp.floating))

    def tangent(*inputs: Any) -> Any:
        moved = tuple(inputs[k] for k in floats)
        at = dict(zip(floats, moved, strict=True))
        return jax.jvp(
            lambda *values: kind.function(
                *({**dict(enumerate(inputs)), **dict(zip(at, values, strict=True))}[k] for k in range(len(inputs)))
            ),
            moved,
            tuple(jnp.ones_like(x) for x in moved),
        )[1]

    # JAX leaves a marker where a custom reverse rule stands in forward mode, and refuses only when it is evaluated
    try:
        return "custom_lin[" in trace(lambda *inputs: [tangent(*inputs)], _structs(node.inputs)).text
    except (TypeError, ValueError, NotImplementedError):
        return False  # no forward derivative at all; asking for one says so, with the user's line


def has_reverse_rule_only(node: Node) -> bool:
    """Whether a node has a custom reverse rule, and so a forward derivative that may differ from it."""
    return isinstance(node.kind, Opaque) and _only_reverse(node)


def _coupled(node: Node, source: Node) -> set[int]:
    """Positions of inputs on which the Jacobian in `source` depends; none for a linear operation."""
    places = _places(node, source)
    forward = _forward(node)
    push = _pusher(forward, places, _structs(node.inputs))

    def tangent(*arguments: Any) -> Any:
        return [push(forward, places, 0, *arguments)]

    [tangents] = _structs((source,))
    _check(node, _unlisted(tangent), (*node.inputs, source))
    program = trace(tangent, [*_structs(node.inputs), tangents])
    return {k for k in program.reads if k < len(node.inputs)}


def _unlisted(function: Function) -> Function:
    return lambda *inputs: function(*inputs)[0]


def _check(node: Node, function: Function, inputs: tuple[Node, ...]) -> None:
    """Refuse an operation that JAX cannot differentiate, with the user's line."""
    kind = _kind(node)
    try:
        jax.eval_shape(function, *_structs(inputs))
    except Exception as error:  # JAX raises many types here; each means that there is no derivative
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DifferentiationError(
            f"a derivative of the operation '{kind.name}' was asked for, at {kind.line or 'an unknown line'}, "
            f"but JAX cannot differentiate it here: {reason} "
            "Rewrite that line with differentiable operations, or cut it with jax.lax.stop_gradient."
        ) from error
