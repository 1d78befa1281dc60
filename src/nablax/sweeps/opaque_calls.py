"""Derivatives of opaque nodes as calls: the passes of reverse mode, tangents, and second derivatives, by JAX.

Each is traced once and kept with the call that it is the derivative of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.errors import DifferentiationError
from nablax.graph.node import Node
from nablax.ops.jaxprs import Literal, Program, Value, trace
from nablax.ops.kinds import Call, Opaque
from nablax.ops.plain_arrays import Special, special, to_plain

Function = Callable[..., Any]
Groups = tuple[tuple[int, ...], ...]  # positions of inputs; those of one group hold one node and move together

# The second derivative of a node takes as many columns at once as fit into so many bytes, one at least.
CORE_BYTES = 16e6

# Its forward derivative fails when an input has no tangent at all: all float inputs move, by zero if by nothing else.
WANTS_ALL_TANGENTS = "custom_linear_solve"
# A rule for reverse mode only; forward mode differentiates the forward pass of the rule.
REVERSE_RULE = "custom_vjp_call"


def opaque_kind(node: Node) -> Opaque:
    """The kind of an opaque node."""
    if not isinstance(node.kind, Opaque):
        raise TypeError("not an opaque node")
    return node.kind


def places_of(node: Node, source: Node) -> tuple[int, ...]:
    """All positions at which a node stands among the inputs: they move together."""
    return tuple(k for k, other in enumerate(node.inputs) if other is source)


def structs_of(nodes: Sequence[Node]) -> list[jax.ShapeDtypeStruct]:
    """Shapes and dtypes of nodes."""
    return [jax.ShapeDtypeStruct(node.shape, node.dtype) for node in nodes]


def over_axes(function: Function, axes: int, shared: int = 0) -> Function:
    """A function over that many first axes of its arguments; its last `shared` results have none of them."""
    for _ in range(axes):
        function = jax.vmap(function, out_axes=(0,) + (None,) * shared if shared else 0)
    return function


# -- reverse mode ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ReverseMode:
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
        kept = [stored[self.residuals.index(value)] for value in distinct_values(self.residuals)]
        return [{x for k in reads if k < len(kept) for x in kept[k]} for reads in backward.dependence]

    def backward(self, extents: tuple[int, ...]) -> tuple[Call, Program]:
        """The backward pass: from residuals and rows of cotangents to cotangents of the inputs."""
        key = ("transposed", self.call.key, extents)
        if key not in self.call.memory:
            distinct = distinct_values(self.residuals)
            place = {value: k for k, value in enumerate(distinct)}

            def run(*arguments: Any) -> list[Any]:
                *given, cotangent = arguments
                stored = [
                    np.asarray(value.value, value.dtype) if isinstance(value, Literal) else given[place[value]]
                    for value in self.residuals
                ]
                leaves = [x if one is None else one.restored(x) for x, one in zip(stored, self.special, strict=True)]
                back = jax.tree.unflatten(self.tree, leaves)
                return list(over_axes(lambda row: tuple(back(row))[: len(self.groups)], len(extents))(cotangent))

            value = self.program.outputs[self.kind.place]
            structs = [_struct(one) for one in distinct]
            cotangent = jax.ShapeDtypeStruct(extents + value.shape, value.dtype)
            program = traced(self.kind, run, [*structs, cotangent])
            width = len(self.groups)
            self.call.memory[key] = (
                Call(key, program.apply, key, width, width, primitives=program.primitives, zeros=program.zeros),
                program,
            )
        found: tuple[Call, Program] = self.call.memory[key]
        return found


def distinct_values(values: Sequence[Value]) -> list[Value]:
    """The values that are computed, each once."""
    return list(dict.fromkeys(value for value in values if not isinstance(value, Literal)))


def _struct(value: Value) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(value.shape, value.dtype)


def reverse_mode(node: Node, groups: Groups) -> ReverseMode:
    """The two passes of a node, traced once."""
    kind = opaque_kind(node)
    call = kind.call
    key = ("with residuals", call.key, kind.place, groups)
    if key not in call.memory:
        trees: list[Any] = []
        groups_moved = _with_all_floats(kind, node.inputs, groups)

        def run(*inputs: Any) -> list[Any]:
            def moved(*values: Any) -> tuple[Any, list[Any]]:
                results = call.function(*with_values(inputs, groups_moved, values))[: call.width]
                return results[kind.place], [x for k, x in enumerate(results) if k != kind.place]

            value, back, others = jax.vjp(moved, *(inputs[group[0]] for group in groups_moved), has_aux=True)
            stored, tree = jax.tree.flatten(back)
            trees.append((tree, [special(leaf.dtype) for leaf in stored]))
            return [*others[: kind.place], value, *others[kind.place :], *(to_plain(leaf) for leaf in stored)]

        structs = structs_of(node.inputs)
        program = traced(kind, run, structs)
        wide = Call(
            key,
            program.apply,
            call.family,
            call.common,
            len(program.outputs),
            primitives=program.primitives,
            zeros=program.zeros,
        )
        call.memory[key] = ReverseMode(kind, groups, program, trees[-1][0], trees[-1][1], wide)
    found: ReverseMode = call.memory[key]
    return found


# -- forward mode ----------------------------------------------------------------------------------


def forward_mode(node: Node, groups: Groups, extents: tuple[int, ...]) -> tuple[Call, Program]:
    """The tangents of all float results of a node's call, along columns of tangents of some inputs."""
    kind = opaque_kind(node)
    call = kind.call
    key = ("pushed", call.key, groups, extents)
    if key not in call.memory:
        groups_moved = _with_all_floats(kind, node.inputs, groups)
        function = _through_reverse(call.function) if REVERSE_RULE in call.primitives else call.function
        slope = _twice_transposed if _rule_calls_itself(node) else _along

        def run(*arguments: Any) -> list[Any]:
            inputs, tangents = arguments[: len(node.inputs)], arguments[len(node.inputs) :]
            values = tuple(inputs[group[0]] for group in groups_moved)
            still = tuple(jnp.zeros_like(value) for value in values[len(groups) :])

            def moved(*values: Any) -> tuple[list[Any], list[Any]]:
                results = function(*with_values(inputs, groups_moved, values))
                return [_float_or_zero(x) for x in results[: call.width]], list(results)

            def along_column(*column: Any) -> tuple[list[Any], list[Any]]:
                return slope(moved, values, (*column, *still))

            slopes, results = over_axes(along_column, len(extents), shared=1)(*tangents)
            return [*slopes, *results]

        tangents = [
            jax.ShapeDtypeStruct(extents + node.inputs[group[0]].shape, node.inputs[group[0]].dtype) for group in groups
        ]
        program = traced(kind, run, [*structs_of(node.inputs), *tangents])
        family = ("pushed", call.family, groups, extents)
        zeros = frozenset(k for k in program.zeros if k < call.width)
        derived = Call(
            key, program.apply, family, call.common, call.width, call, len(node.inputs), program.primitives, zeros
        )
        call.memory[key] = (derived, program)
    found: tuple[Call, Program] = call.memory[key]
    return found


def _along(function: Function, values: Sequence[Any], tangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Tangents of the first part of what a function gives, and the second part."""
    _, slopes, results = jax.jvp(function, tuple(values), tuple(tangents), has_aux=True)
    return slopes, results


def _twice_transposed(
    function: Function, values: Sequence[Any], tangents: Sequence[Any]
) -> tuple[list[Any], list[Any]]:
    """As `_along`, where there is reverse mode only: the transpose of the transposed Jacobian."""
    slopes, back, results = jax.vjp(function, *values, has_aux=True)
    [found] = jax.linear_transpose(back, slopes)(tuple(tangents))
    return found, results


def _linear(function: Function, values: Sequence[Any]) -> Function:
    """The Jacobian of a function as a function of tangents."""
    return jax.linearize(function, *values)[1]


def _linear_twice_transposed(function: Function, values: Sequence[Any]) -> Function:
    """As `_linear`, where there is reverse mode only."""
    results, back = jax.vjp(function, *values)
    transposed = jax.linear_transpose(back, results)
    return lambda *tangents: transposed(tangents)[0]


def _rule_calls_itself(node: Node) -> bool:
    """Whether a function with a rule for reverse mode is left in the passes of its own rule: no forward mode then."""
    call = opaque_kind(node).call
    if REVERSE_RULE not in call.primitives:
        return False
    if "calls itself" not in call.memory:
        through = traced(opaque_kind(node), _through_reverse(call.function), structs_of(node.inputs))
        call.memory["calls itself"] = REVERSE_RULE in through.primitives
    return bool(call.memory["calls itself"])


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
            results = function(*with_values(inputs, [(k,) for k in floats], values))
            smooth = [x for x in results if jnp.issubdtype(x.dtype, jnp.floating)]
            return smooth, [x for x in results if not jnp.issubdtype(x.dtype, jnp.floating)]

        smooth, _, rest = jax.vjp(split, *(inputs[k] for k in floats), has_aux=True)
        ordered = jax.eval_shape(function, *inputs)
        first, second = iter(smooth), iter(rest)
        return [next(first if jnp.issubdtype(x.dtype, jnp.floating) else second) for x in ordered]

    return through


# -- the second derivative -------------------------------------------------------------------------


def second_derivative(
    node: Node,
    passes: ReverseMode,
    coupled: tuple[int, ...],
    q: int,
    extents: tuple[int, ...],
    kept: tuple[int, ...],
) -> tuple[Call, Program, float]:
    """Blocks between some inputs (rows) and one (columns), for rows of cotangents; and the bytes held inside.

    Of the columns' axes only those of `kept` are axes of the blocks: along the others all elements move at once.
    """
    kind = passes.kind
    key = ("second derivative", passes.call.key, coupled, q, extents, kept)
    memory = passes.call.memory
    if key not in memory:
        group = passes.groups[q]
        shape, dtype = node.inputs[group[0]].shape, node.inputs[group[0]].dtype
        axes = tuple(shape[k] for k in kept)
        size = math.prod(axes)
        backward, backward_program = passes.backward(extents)
        groups_moved = _with_all_floats(kind, node.inputs, (group,))
        distinct = distinct_values(passes.residuals)
        # what one column holds: tangents of both passes beside their values
        each = 2.0 * (passes.program.bytes + backward_program.bytes)
        chunk = _chunk(size, each)
        linearized = _linear_twice_transposed if _rule_calls_itself(node) else _linear

        def run(*arguments: Any) -> list[Any]:
            *inputs, cotangent = arguments

            def gradients(*values: Any) -> list[Any]:
                given = with_values(inputs, groups_moved, values)
                outputs = passes.program.apply(*given)
                at = dict(zip(passes.program.outputs, outputs, strict=True))
                found = backward.function(*(at[value] for value in distinct), cotangent)
                return [found[p] for p in coupled]

            def stated(unit: Any) -> list[Any]:
                assert kind.call.second is not None
                along = partial(kind.call.second, *inputs)
                return [over_axes(lambda weight: along(weight, unit), len(extents))(cotangent)]

            values = [inputs[places[0]] for places in groups_moved]
            tangent = linearized(gradients, values) if kind.call.second is None else stated
            still = [jnp.zeros_like(value) for value in values[1:]]
            units = jnp.eye(size, dtype=dtype).reshape(-1, *(n if k in kept else 1 for k, n in enumerate(shape)))
            units = jnp.broadcast_to(units, (size, *shape))
            columns = _mapped(lambda unit: tangent(unit, *still), units, chunk)
            return [jnp.moveaxis(one, 0, -1).reshape(one.shape[1:] + axes) for one in columns]

        value = passes.program.outputs[kind.place]
        given = jax.ShapeDtypeStruct(extents + value.shape, value.dtype)
        program = traced(kind, run, [*structs_of(node.inputs), given])
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


def with_values(inputs: Sequence[Any], groups: Sequence[tuple[int, ...]], values: Sequence[Any]) -> list[Any]:
    """The inputs with some of them replaced; the positions of one group get one value."""
    place = {k: value for group, value in zip(groups, values, strict=True) for k in group}
    return [place.get(k, x) for k, x in enumerate(inputs)]


def traced(kind: Opaque, function: Function, inputs: Sequence[Any]) -> Program:
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
