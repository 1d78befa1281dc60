"""Derivatives of opaque nodes, by JAX: one reverse and one forward derivative of all inputs together.

Reverse mode is split where JAX splits it: a *forward pass* gives the value and the residuals, a *backward pass* makes
cotangents of the inputs from residuals and the cotangent of the value. Both are calls like any other, so that the
tangent of a gradient is one tangent of each, and costs what JAX's forward over reverse costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.contraction.index import along, fresh
from nablax.contraction.term import Factor, Term
from nablax.errors import DifferentiationError
from nablax.graph.graph import Graph, Node, NodeTerm
from nablax.ops.jaxprs import Literal, Program, Value, trace
from nablax.ops.kinds import Call, Contraction, Opaque
from nablax.ops.plain_arrays import Special, special, to_plain

Function = Callable[..., Any]
Groups = tuple[tuple[int, ...], ...]  # positions of inputs; those of one group hold one node and move together

# The second derivative of a node takes as many columns at once as fit into so many bytes, one at least.
CORE_BYTES = 16e6

# Its forward derivative fails when an input has no tangent at all: all float inputs move, by zero if by nothing else.
WANTS_ALL_TANGENTS = "custom_linear_solve"
# A rule for reverse mode only; forward mode differentiates the forward pass of the rule.
REVERSE_RULE = "custom_vjp_call"


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
    kind = _kind(node)
    sources = _active(node, mask)
    if not sources:
        return {}
    rows = _side_labels(leg)
    for axis, places in kind.call.batch_axes:
        index = leg.sides[1][axis]
        elsewhere = [x for k, other in enumerate(leg.sides[1]) if k != axis for x in other.labels]
        alike = all(len({places[k] for k in _places(node, source)}) == 1 for source in sources)
        bare = index.label is not None and index.label not in elsewhere
        if alike and bare and index.label in [row.label for row in rows]:
            return _pull_along(graph, leg, node, sources, axis, places)
    extents = tuple(index.extent for index in rows)
    cotangent = graph.multiply(leg.replace(sides=(rows, leg.sides[1])), node.dtype)
    passes = _reverse_mode(node, tuple(_places(node, source) for source in sources))
    residuals = _residuals(graph, node, passes)
    call, program = passes.backward(extents)
    shared = [k for k in range(len(sources)) if k not in call.zeros]
    found: dict[Node, NodeTerm] = {}
    for k in shared:
        derived = Opaque(
            f"{kind.name} transposed",
            (call.key, k),
            call,
            k,
            program.flops / len(shared),
            kind.line,
            program.bytes,
        )
        source = sources[k]
        value = graph.opaque(derived, (*residuals, cotangent), extents + source.shape, source.dtype)
        axes = fresh(source.shape)
        found[source] = Term(1.0, (Factor(value, (*rows, *axes)),), (leg.sides[0], axes))
    return found


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
    kind = _kind(node)
    moving = {source: leg for source, leg in legs.items() if not _is_zero(leg)}
    if not moving or not jnp.issubdtype(node.dtype, jnp.floating):
        return None
    sides = [leg.sides[0] for leg in moving.values()]
    columns = _side_labels(next(iter(moving.values())))
    if any([index.label for index in side] != [index.label for index in sides[0]] for side in sides):
        raise ValueError("legs that are pushed together have the same columns")
    groups = tuple(_places(node, source) for source in moving)
    tangents = tuple(
        graph.multiply(leg.replace(sides=(columns, leg.sides[1])), source.dtype) for source, leg in moving.items()
    )
    extents = tuple(index.extent for index in columns)
    call, program = _forward_mode(node, groups, extents)
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
    axes = fresh(node.shape)
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
    kind = _kind(node)
    sources = _active(node, leaves)
    if not sources:
        return {}
    rows = _side_labels(adjoint)
    extents = tuple(index.extent for index in rows)
    cotangent = graph.multiply(adjoint.replace(sides=(rows, adjoint.sides[1])), node.dtype)
    passes = _reverse_mode(node, tuple(_places(node, source) for source in sources))
    found: dict[tuple[Node, Node], list[NodeTerm]] = {}
    for q, column in enumerate(sources):
        coupled = tuple(p for p in range(q + 1) if set(_places(node, column)) & passes.coupled[p])
        if not coupled or column.size == 0:
            continue
        call, program, held = _second_derivative(node, passes, coupled, q, extents)
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
            shape = extents + row.shape + column.shape
            value = graph.opaque(derived, (*node.inputs, cotangent), shape, row.dtype)
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


def has_reverse_rule_only(node: Node) -> bool:
    """Whether a node has a custom reverse rule, and so a forward derivative that may differ from it."""
    return isinstance(node.kind, Opaque) and REVERSE_RULE in node.kind.call.primitives


# -- reading nodes and legs ------------------------------------------------------------------------


def _kind(node: Node) -> Opaque:
    if not isinstance(node.kind, Opaque):
        raise TypeError("not an opaque node")
    return node.kind


def _side_labels(leg: NodeTerm) -> tuple[Any, ...]:
    return tuple(along(label) for label in dict.fromkeys(x for index in leg.sides[0] for x in index.labels))


def _places(node: Node, source: Node) -> tuple[int, ...]:
    """All positions at which a node stands among the inputs: they move together."""
    return tuple(k for k, other in enumerate(node.inputs) if other is source)


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


def _structs(nodes: Sequence[Node]) -> list[jax.ShapeDtypeStruct]:
    return [jax.ShapeDtypeStruct(node.shape, node.dtype) for node in nodes]


def _over(function: Function, axes: int, shared: int = 0) -> Function:
    """A function over that many first axes of its arguments; its last `shared` results have none of them."""
    for _ in range(axes):
        function = jax.vmap(function, out_axes=(0,) + (None,) * shared if shared else 0)
    return function


# -- reverse mode ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _ReverseMode:
    """Forward pass and backward pass of a node, for some inputs.

    Args:
        kind: what is differentiated.
        groups: positions of the inputs that move.
        program: the forward pass: the results of the node's call, then the residuals.
        tree: how the backward pass is put together from the residuals.
        special: for each residual what its plain array stands for, if for anything else.
        call: the forward pass as a call.
    """

    kind: Opaque
    groups: Groups
    program: Program
    tree: Any
    special: Sequence[Special | None]
    call: Call

    @property
    def residuals(self) -> tuple[Value, ...]:
        """What the forward pass leaves for the backward pass; some may be inputs, numbers or repeated."""
        return self.program.outputs[self.kind.call.width :]

    @property
    def coupled(self) -> list[set[int]]:
        """For each group the positions of the inputs on which the Jacobian in it depends."""
        _, backward = self.backward(())
        stored = self.program.dependence[self.kind.call.width :]
        kept = [stored[self.residuals.index(value)] for value in _distinct(self.residuals)]
        return [{x for k in reads if k < len(kept) for x in kept[k]} for reads in backward.dependence]

    def backward(self, extents: tuple[int, ...]) -> tuple[Call, Program]:
        """The backward pass: from residuals and rows of cotangents to cotangents of the inputs."""
        key = ("transposed", self.call.key, extents)
        if key not in self.call.memory:
            distinct = _distinct(self.residuals)
            place = {value: k for k, value in enumerate(distinct)}

            def run(*arguments: Any) -> list[Any]:
                *given, cotangent = arguments
                stored = [
                    np.asarray(value.value, value.dtype) if isinstance(value, Literal) else given[place[value]]
                    for value in self.residuals
                ]
                leaves = [x if one is None else one.restored(x) for x, one in zip(stored, self.special, strict=True)]
                back = jax.tree.unflatten(self.tree, leaves)
                return list(_over(lambda row: tuple(back(row))[: len(self.groups)], len(extents))(cotangent))

            value = self.program.outputs[self.kind.place]
            structs = [_struct(one) for one in distinct]
            cotangent = jax.ShapeDtypeStruct(extents + value.shape, value.dtype)
            program = _traced(self.kind, run, [*structs, cotangent])
            width = len(self.groups)
            self.call.memory[key] = (
                Call(key, program.apply, key, width, width, primitives=program.primitives, zeros=program.zeros),
                program,
            )
        found: tuple[Call, Program] = self.call.memory[key]
        return found


def _distinct(values: Sequence[Value]) -> list[Value]:
    return list(dict.fromkeys(value for value in values if not isinstance(value, Literal)))


def _struct(value: Value) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(value.shape, value.dtype)


def _reverse_mode(node: Node, groups: Groups) -> _ReverseMode:
    """The two passes of a node, traced once."""
    kind = _kind(node)
    call = kind.call
    key = ("with residuals", call.key, kind.place, groups)
    if key not in call.memory:
        trees: list[Any] = []
        groups_moved = _with_all_floats(kind, node.inputs, groups)

        def run(*inputs: Any) -> list[Any]:
            def moved(*values: Any) -> tuple[Any, list[Any]]:
                results = call.function(*_replaced(inputs, groups_moved, values))[: call.width]
                return results[kind.place], [x for k, x in enumerate(results) if k != kind.place]

            value, back, others = jax.vjp(moved, *(inputs[group[0]] for group in groups_moved), has_aux=True)
            stored, tree = jax.tree.flatten(back)
            trees.append((tree, [special(leaf.dtype) for leaf in stored]))
            return [*others[: kind.place], value, *others[kind.place :], *(to_plain(leaf) for leaf in stored)]

        structs = _structs(node.inputs)
        program = _traced(kind, run, structs)
        wide = Call(
            key,
            program.apply,
            call.family,
            call.common,
            len(program.outputs),
            primitives=program.primitives,
            zeros=program.zeros,
        )
        call.memory[key] = _ReverseMode(kind, groups, program, trees[-1][0], trees[-1][1], wide)
    found: _ReverseMode = call.memory[key]
    return found


def _residuals(graph: Graph, node: Node, passes: _ReverseMode) -> list[Node]:
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
    return [known[value] for value in _distinct(passes.residuals)]


def _pull_along(
    graph: Graph, leg: NodeTerm, node: Node, sources: Sequence[Node], axis: int, places: tuple[int | None, ...]
) -> dict[Node, NodeTerm]:
    """`pull_opaque_all` where a row and an axis of the node carry one label, along which the operation acts alone.

    Each element of that axis is pulled by itself, so that the Kronecker delta stays one. An input that all elements
    share gets a leg with the label on its rows only.
    """
    kind = _kind(node)
    shared = leg.sides[1][axis]
    rows = tuple(index for index in _side_labels(leg) if index.label is not shared.label)
    extents = tuple(index.extent for index in rows)
    cotangent = graph.multiply(leg.replace(sides=(rows, leg.sides[1])), node.dtype)
    groups = tuple(_places(node, source) for source in sources)
    key = ("transposed along", kind.call.key, axis, groups, extents)
    if key not in kind.call.memory:

        def one(*arguments: Any) -> list[Any]:
            inputs, weights = _whole(arguments[:-1], places), jnp.expand_dims(arguments[-1], len(rows) + axis)

            def moved(*values: Any) -> Any:
                return kind.call.function(*_replaced(inputs, groups, values))[kind.place]

            _, back = jax.vjp(moved, *(inputs[group[0]] for group in groups))
            found = _over(back, len(rows))(weights)
            ends = [places[group[0]] for group in groups]
            return [x if end is None else jnp.squeeze(x, len(rows) + end) for x, end in zip(found, ends, strict=True)]

        def run(*arguments: Any) -> list[Any]:
            ends = [places[group[0]] for group in groups]
            out = [0 if end is None else len(rows) + end for end in ends]
            return list(jax.vmap(one, (*places, len(rows) + axis), out)(*arguments))

        program = _traced(kind, run, [*_structs(node.inputs), *_structs([cotangent])])
        width = len(groups)
        call = Call(key, program.apply, key, width, width, primitives=program.primitives, zeros=program.zeros)
        kind.call.memory[key] = (call, program)
    call, program = kind.call.memory[key]
    found: dict[Node, NodeTerm] = {}
    for k, source in enumerate(sources):
        if k in call.zeros:
            continue
        derived = Opaque(
            f"{kind.name} transposed",
            (call.key, k),
            call,
            k,
            program.flops / len(sources),
            kind.line,
            program.bytes,
        )
        axes = list(fresh(source.shape))
        place = places[groups[k][0]]
        if place is None:
            index = (shared, *rows, *axes)
        else:
            axes[place] = shared
            index = (*rows, *axes)
        shape = tuple(one.extent for one in index)
        value = graph.opaque(derived, (*node.inputs, cotangent), shape, source.dtype)
        found[source] = Term(1.0, (Factor(value, index),), (leg.sides[0], tuple(axes)))
    return found


def _whole(elements: Sequence[Any], places: Sequence[int | None]) -> list[Any]:
    """Elements of batched inputs as batches of one."""
    return [x if k is None else jnp.expand_dims(x, k) for x, k in zip(elements, places, strict=True)]


# -- forward mode ----------------------------------------------------------------------------------


def _forward_mode(node: Node, groups: Groups, extents: tuple[int, ...]) -> tuple[Call, Program]:
    """The tangents of all float results of a node's call, along columns of tangents of some inputs."""
    kind = _kind(node)
    call = kind.call
    key = ("pushed", call.key, groups, extents)
    if key not in call.memory:
        groups_moved = _with_all_floats(kind, node.inputs, groups)

        def run(*arguments: Any) -> list[Any]:
            inputs, tangents = arguments[: len(node.inputs)], arguments[len(node.inputs) :]
            values = tuple(inputs[group[0]] for group in groups_moved)
            still = tuple(jnp.zeros_like(value) for value in values[len(groups) :])
            function = call.function if REVERSE_RULE not in call.primitives else _through_reverse(call.function)

            def moved(*values: Any) -> tuple[list[Any], list[Any]]:
                results = function(*_replaced(inputs, groups_moved, values))
                return [_float_or_zero(x) for x in results[: call.width]], list(results)

            def along_column(*column: Any) -> tuple[list[Any], list[Any]]:
                _, slopes, results = jax.jvp(moved, values, (*column, *still), has_aux=True)
                return slopes, results

            slopes, results = _over(along_column, len(extents), shared=1)(*tangents)
            return [*slopes, *results]

        tangents = [
            jax.ShapeDtypeStruct(extents + node.inputs[group[0]].shape, node.inputs[group[0]].dtype) for group in groups
        ]
        program = _traced(kind, run, [*_structs(node.inputs), *tangents])
        family = ("pushed", call.family, groups, extents)
        zeros = frozenset(k for k in program.zeros if k < call.width)
        derived = Call(
            key, program.apply, family, call.common, call.width, call, len(node.inputs), program.primitives, zeros
        )
        call.memory[key] = (derived, program)
    found: tuple[Call, Program] = call.memory[key]
    return found


def _float_or_zero(value: Any) -> Any:
    """A result, or nothing where it carries no derivative."""
    return value if jnp.issubdtype(value.dtype, jnp.floating) else jnp.zeros(())


def _through_reverse(function: Function) -> Function:
    """The same results, computed by the forward pass of reverse mode.

    A function with a custom reverse rule has no forward derivative of its own; the forward pass of its rule
    is ordinary code and has one. This is what forward over reverse differentiates.
    """

    def through(*inputs: Any) -> list[Any]:
        floats = [k for k, x in enumerate(inputs) if jnp.issubdtype(x.dtype, jnp.floating)]

        def split(*values: Any) -> tuple[list[Any], list[Any]]:
            results = function(*_replaced(inputs, [(k,) for k in floats], values))
            smooth = [x for x in results if jnp.issubdtype(x.dtype, jnp.floating)]
            return smooth, [x for x in results if not jnp.issubdtype(x.dtype, jnp.floating)]

        smooth, _, rest = jax.vjp(split, *(inputs[k] for k in floats), has_aux=True)
        ordered = jax.eval_shape(function, *inputs)
        first, second = iter(smooth), iter(rest)
        return [next(first if jnp.issubdtype(x.dtype, jnp.floating) else second) for x in ordered]

    return through


# -- the second derivative -------------------------------------------------------------------------


def _second_derivative(
    node: Node, passes: _ReverseMode, coupled: tuple[int, ...], q: int, extents: tuple[int, ...]
) -> tuple[Call, Program, float]:
    """Blocks between some inputs (rows) and one (columns), for rows of cotangents; and the bytes held inside."""
    kind = passes.kind
    key = ("second derivative", passes.call.key, coupled, q, extents)
    memory = passes.call.memory
    if key not in memory:
        group = passes.groups[q]
        shape, dtype = node.inputs[group[0]].shape, node.inputs[group[0]].dtype
        size = math.prod(shape)
        backward, backward_program = passes.backward(extents)
        groups_moved = _with_all_floats(kind, node.inputs, (group,))
        distinct = _distinct(passes.residuals)
        # what one column holds: tangents of both passes beside their values
        each = 2.0 * (passes.program.bytes + backward_program.bytes)
        chunk = _chunk(size, each)

        def run(*arguments: Any) -> list[Any]:
            *inputs, cotangent = arguments

            def gradients(*values: Any) -> list[Any]:
                given = _replaced(inputs, groups_moved, values)
                outputs = passes.program.apply(*given)
                at = dict(zip(passes.program.outputs, outputs, strict=True))
                found = backward.function(*(at[value] for value in distinct), cotangent)
                return [found[p] for p in coupled]

            values = [inputs[places[0]] for places in groups_moved]
            _, tangent = jax.linearize(gradients, *values)
            still = [jnp.zeros_like(value) for value in values[1:]]
            units = jnp.eye(size, dtype=dtype).reshape(-1, *shape)
            columns = _mapped(lambda unit: tangent(unit, *still), units, chunk)
            return [jnp.moveaxis(one, 0, -1).reshape(one.shape[1:] + shape) for one in columns]

        value = passes.program.outputs[kind.place]
        given = jax.ShapeDtypeStruct(extents + value.shape, value.dtype)
        program = _traced(kind, run, [*_structs(node.inputs), given])
        width = len(coupled)
        call = Call(key, program.apply, key, width, width, primitives=program.primitives, zeros=program.zeros)
        memory[key] = (call, program, each * (1 + chunk))
    found: tuple[Call, Program, float] = memory[key]
    return found


def _chunk(count: int, each: float) -> int:
    """How many of `count` columns are taken at once: all, or a number that divides them if one is near."""
    most = max(1, min(count, int(CORE_BYTES / max(each, 1.0))))
    return next((k for k in range(most, most // 2, -1) if count % k == 0), most)


def _mapped(function: Function, units: Any, chunk: int) -> Any:
    if chunk >= len(units):
        return jax.vmap(function)(units)
    return jax.lax.map(function, units, batch_size=chunk if chunk > 1 else None)


# -- moving some inputs ----------------------------------------------------------------------------


def _with_all_floats(kind: Opaque, inputs: Sequence[Any], groups: Groups) -> Groups:
    """The groups that move; where the operation wants it, all other float inputs after them."""
    if WANTS_ALL_TANGENTS not in kind.call.primitives:
        return groups
    taken = {k for group in groups for k in group}
    others = [(k,) for k, x in enumerate(inputs) if k not in taken and jnp.issubdtype(x.dtype, jnp.floating)]
    return (*groups, *others)


def _replaced(inputs: Sequence[Any], groups: Sequence[tuple[int, ...]], values: Sequence[Any]) -> list[Any]:
    place = {k: value for group, value in zip(groups, values, strict=True) for k in group}
    return [place.get(k, x) for k, x in enumerate(inputs)]


def _traced(kind: Opaque, function: Function, inputs: Sequence[Any]) -> Program:
    """Trace a derivative; refuse an operation that JAX cannot differentiate, with the user's line."""
    try:
        return trace(function, inputs)
    except Exception as error:  # JAX raises many types here; each means that there is no derivative
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DifferentiationError(
            f"a derivative of the operation '{kind.name}' was asked for, at {kind.line or 'an unknown line'}, "
            f"but JAX cannot differentiate it here: {reason} "
            "Rewrite that line with differentiable operations, or cut it with jax.lax.stop_gradient."
        ) from error
