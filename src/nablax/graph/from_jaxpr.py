"""A traced program becomes a graph of nodes; what no row describes becomes Opaque."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.contraction.index import fresh
from nablax.effort import in_time, spend
from nablax.graph import contraction_rows, index_map_rows, linear_rows, matrix_rows, selection_rows, windows
from nablax.graph.batch_axes import SharedAxis, batch_axes_of, keeps
from nablax.graph.graph import Graph
from nablax.graph.index_map_rows import reshaped
from nablax.graph.node import Node, map_of, reachable
from nablax.graph.plain import Found as LibraryFunction
from nablax.graph.plain import found as library_functions
from nablax.graph.recognise import NUMERIC, PLAIN, called, recognise, whole, written_out
from nablax.graph.rewritten import RUNNING, on_pairs, rewritten
from nablax.graph.row import Row
from nablax.ops.constants import computed
from nablax.ops.jaxprs import Equation, LinearSolve, Literal, Program, Value, Variable, trace_alone
from nablax.ops.kinds import Call, Constant, Opaque, Packed
from nablax.ops.library_row import LibraryCall
from nablax.ops.plain_arrays import Special, special, to_plain
from nablax.ops.scalar_function import Argument, Builder, number, read_equation

# Integers up to this many elements are computed while tracing, so that indices become static maps.
FOLDED_ELEMENTS = 10_000_000
FOLDED_FLOATS = 16_384

# Rows by the name of the primitive. What stands in none is read element by element, or opaque.
TABLES: Mapping[str, Mapping[str, Row]] = {
    "contraction": contraction_rows.ROWS,
    "index map": index_map_rows.ROWS,
    "selection": selection_rows.ROWS,
    "windows": windows.ROWS,
    "matrix function": matrix_rows.ROWS,
}


@dataclass(frozen=True)
class Itself:
    """A call of a function whose values are known where its own rule calls it again.

    Args:
        equation: the call.
        inputs: what it was given.
        values: what it gave; not all of its results need be there.
    """

    equation: Equation
    inputs: tuple[Node, ...]
    values: Mapping[int, Node]

    def called_by(self, other: Equation, inputs: Sequence[Node]) -> bool:
        """Whether another equation is this call."""
        every = len(self.values) == len(self.equation.outputs)
        return every and tuple(inputs) == self.inputs and other.calls_as(self.equation)


@dataclass(frozen=True)
class _Reader:
    graph: Graph
    known: dict[Node, Any]
    functions: frozenset[str]
    line: str = ""  # the user's, while what stands for an operation of theirs is read
    itself: Itself | None = None  # a function whose own rule is read
    opened: Equation | None = None  # a function whose text is read where its rule calls it

    def run(self, program: Program, inputs: Sequence[Node]) -> list[Node]:
        values: dict[Value, Node] = dict(zip(program.inputs, inputs, strict=True))
        for variable, array in program.constants:
            values[variable] = self.constant(array)

        def load(value: Value) -> Node:
            return self.constant(np.asarray(value.value, value.dtype)) if isinstance(value, Literal) else values[value]

        taken: dict[int, LibraryFunction] = {}
        for place, equation in enumerate(program.equations):
            spend(1)
            in_time()
            if place not in taken and PLAIN in self.functions:
                for found in library_functions(program, place):
                    if taken.keys().isdisjoint(found.places):
                        taken.update(dict.fromkeys(found.places, found))
            if place in taken:
                plain = taken[place]
                if place == max(plain.places):
                    inside = [load(value) for value in plain.inputs]
                    [values[plain.output]] = self.instead(equation, plain.instead, inside)
                continue
            read = [k for k, variable in enumerate(equation.outputs) if variable in program.read]
            results = self.equation(equation, [load(value) for value in equation.inputs], read)
            values.update({equation.outputs[k]: results[k] for k in read})
        return [load(value) for value in program.outputs]

    def constant(self, array: Any) -> Node:
        if special(array.dtype) is not None:
            return self.graph.constant(to_plain(array))
        numeric = jnp.issubdtype(array.dtype, jnp.number) or array.dtype == jnp.bool_
        if numeric and not isinstance(array, jax.core.Tracer):
            node = self.graph.constant(np.asarray(array) if np.size(array) <= FOLDED_FLOATS else array)
            self.known[node] = array
            return node
        return self.graph.constant(array)

    def equation(
        self, equation: Equation, inputs: Sequence[Node], read: Sequence[int]
    ) -> Sequence[Node] | Mapping[int, Node]:
        """The nodes of an equation's results, at least of those that are read."""
        if self.opened is not None and equation.body is not None and equation.calls_as(self.opened):
            return self.run(equation.body, inputs)
        if equation.is_call and equation.body is not None:
            known = recognise(self.graph, equation, inputs, self.functions)
            if known is not None:
                return known
            polynomial = written_out(equation, inputs)
            if polynomial is not None:
                return self.instead(equation, polynomial, inputs)
            library = whole(equation, inputs)
            if library is None:
                return self.run(equation.body, inputs)
            self.graph.line = self.line or equation.line
            return self.opaque(library, inputs, read)
        if self.itself is not None and self.itself.called_by(equation, inputs):
            return self.itself.values
        self.graph.line = self.line or equation.line
        kinds = [_special(value) for value in (*equation.inputs, *equation.outputs)]
        if any(kind is not None for kind in kinds):
            return self.special(equation, inputs, read, keys=any(kind is not None and kind.is_key for kind in kinds))
        folded = self.folded(equation, inputs)
        if folded is not None:
            return folded
        for table in TABLES.values():
            if equation.name in table:
                found = table[equation.name](self.graph, equation, inputs, self.known)
                if found is not None:
                    return found
        # as trees of slices running products have as many letters as turns: closed forms say that they have none
        instead = None if PLAIN in self.functions and equation.name in RUNNING else rewritten(equation)
        if instead is not None:
            return self.instead(equation, instead, inputs)
        own = called(self.graph, equation, inputs)
        if own is not None:
            return own
        linear = self.linear(equation, inputs, equation.outputs[0].shape) if len(equation.outputs) == 1 else None
        if linear is not None:
            return [linear]
        if len(equation.outputs) == 1:
            element = self.elementwise(equation, inputs)
            if element is not None:
                return [element]
        return self.opaque(equation, inputs, read)

    def special(
        self, equation: Equation, inputs: Sequence[Node], read: Sequence[int], *, keys: bool
    ) -> Sequence[Node] | Mapping[int, Node]:
        """An equation with complex values or random keys, on the plain arrays that stand for them."""
        if not keys and len(equation.outputs) == 1:
            transformed = self.linear(equation, inputs, _on_plain_arrays(equation).outputs[0].shape)
            if transformed is not None:
                return [transformed]
            instead = on_pairs(equation)
            if instead is not None:
                return self.instead(equation, instead, inputs)
        return self.opaque(_on_plain_arrays(equation), inputs, read)

    def linear(self, equation: Equation, inputs: Sequence[Node], shape: tuple[int, ...]) -> Node | None:
        """The node of an equation that is a linear map of its only input."""
        row = linear_rows.row_of(equation.name)
        if row is None or len(inputs) != 1:
            return None
        return linear_rows.mapped(self.graph, row, equation, inputs[0], shape)

    def instead(
        self, equation: Equation, function: Callable[..., Sequence[Any]], inputs: Sequence[Node]
    ) -> Sequence[Node]:
        """The nodes of a function that is read in place of an equation."""
        structs = [jax.ShapeDtypeStruct(node.shape, node.dtype) for node in inputs]
        inner = replace(self, line=self.line or equation.line)
        return inner.run(trace_alone(function, structs), inputs)

    def folded(self, equation: Equation, inputs: Sequence[Node]) -> list[Node] | None:
        """Values that follow from constants alone: index arithmetic, masks, iotas."""
        if any(node not in self.known for node in inputs):
            return None
        for output in equation.outputs:
            limit = FOLDED_FLOATS if jnp.issubdtype(output.dtype, jnp.floating) else FOLDED_ELEMENTS
            numeric = output.dtype != np.dtype(object)
            if not numeric or math.prod(output.shape) > limit:
                return None
        by_numpy = computed(equation, [self.known[node] for node in inputs]) if len(equation.outputs) == 1 else None
        if by_numpy is not None:
            return [self.constant(by_numpy)]
        with jax.ensure_compile_time_eval():
            results = equation.apply(*(jnp.asarray(self.known[node]) for node in inputs))
        return [self.constant(np.asarray(result)) for result in results]

    def elementwise(self, equation: Equation, inputs: Sequence[Node]) -> Node | None:
        [output] = equation.outputs
        rank = len(output.shape)
        if any(node.shape != () and len(node.shape) != rank for node in inputs):
            return None
        operation = read_equation(equation, output.shape)
        if operation is None:
            return None
        inputs = [contraction_rows.stretched(self.graph, node, output.shape) for node in inputs]
        arguments: list[Argument] = []
        distinct: list[Node] = []
        for node in inputs:
            if node in self.known and node.shape == ():
                arguments.append(number(self.known[node], node.dtype))
            else:
                if node not in distinct:
                    distinct.append(node)
                arguments.append(distinct.index(node))
        builder = Builder([node.dtype.name for node in distinct], derivative=False)
        function = builder.function(builder.emit(operation, arguments, output.dtype.name))
        node = self.graph.elementwise(function, distinct)
        if node.shape != output.shape:  # all arguments were numbers or scalars
            places = fresh(output.shape)
            return contraction_rows.relabelled(self.graph, node, (), places)
        return node

    def opaque(
        self, equation: Equation | _OnPlainArrays | LibraryCall, inputs: Sequence[Node], read: Sequence[int]
    ) -> Mapping[int, Node]:
        """One call for all results that are read.

        Several float results are packed into one vector, so that a derivative passes through them once.
        """
        floats = tuple(k for k in read if jnp.issubdtype(equation.outputs[k].dtype, jnp.floating))
        others = tuple(k for k in read if k not in floats)
        dtype = jnp.result_type(*(equation.outputs[k].dtype for k in floats)) if floats else None
        width = bool(floats) + len(others)
        key = (equation, floats, others)
        # integers beside the floats (the pivots of lu) have no axes to pack; only where a table states them is it known
        # that they follow along
        whole_call = not others or bool(isinstance(equation, Equation) and equation.batch_axes)
        shared = _shared_axes(equation, floats) if floats and whole_call and self.opened is None else ()
        packed = _packed(equation, floats, shared)
        plain = equation if isinstance(equation, Equation) else None
        call = Call(
            key,
            partial(_results, equation.apply, packed, others, dtype),
            key,
            width,
            width,
            primitives=equation.primitives,
            batch_axes=tuple((axes[0] if len(floats) == 1 else k, at) for k, (axes, at) in enumerate(shared)),
            loop=None if plain is None else plain.loop,
            packed=packed,
            branches=None if plain is None else plain.branches,
            open_loop=None if plain is None else plain.open_loop,
            solve=plain.linear_solve if plain is not None and len(floats) == len(read) else None,
            ruled=plain if plain is not None and plain.is_ruled else None,
            second=equation.second if isinstance(equation, LibraryCall) else None,
        )

        def result(place: int, shape: tuple[int, ...], dtype: Any) -> Node:
            flops = equation.flops / width
            kind = Opaque(equation.name, (key, place), call, place, flops, self.line or equation.line, equation.bytes)
            return self.graph.opaque(kind, inputs, shape, dtype)

        found = {
            k: result(bool(floats) + place, equation.outputs[k].shape, equation.outputs[k].dtype)
            for place, k in enumerate(others)
        }
        if len(floats) == 1:
            [only] = floats
            found[only] = result(0, equation.outputs[only].shape, dtype)
        elif floats:
            first = packed[0]
            together = result(0, (*first.ordered[: len(first.shared)], sum(one.size for one in packed)), dtype)
            for k, part in unpacked(self.graph, together, packed).items():
                found[k] = self.graph.cast(part, equation.outputs[k].dtype)
        return found


def unpacked(graph: Graph, node: Node, packed: Sequence[Packed]) -> dict[int, Node]:
    """The results that a node holds, by their positions."""
    if len(packed) == 1:
        return {packed[0].output: node}
    found: dict[int, Node] = {}
    for one in packed:
        part = reshaped(graph, index_map_rows.part_of(graph, node, one.start, one.size), one.ordered)
        axes = fresh(one.ordered)
        found[one.output] = contraction_rows.relabelled(
            graph, part, axes, [axes[one.order.index(k)] for k in range(len(axes))]
        )
    return found


def _shared_axes(equation: Equation | _OnPlainArrays | LibraryCall, floats: Sequence[int]) -> tuple[SharedAxis, ...]:
    """Axes of some results of an opaque equation along which they act on each element alone."""
    if isinstance(equation, LibraryCall):
        return tuple(((axis,), places) for axis, places in equation.batch_axes)
    if not isinstance(equation, Equation):
        return ()
    if equation.branches is not None:
        cases = [build(Graph(), branch)[1] for branch in equation.branches]
        found = batch_axes_of([[case[k] for case in cases] for k in floats], len(equation.inputs) - 1)
        return tuple((axes, (None, *places)) for axes, places in found)  # the first input chooses
    if equation.linear_solve is not None:
        return _axes_of_solve(equation.linear_solve, len(equation.inputs))
    if equation.name == "custom_vjp_call":
        return _axes_of_rule(equation, floats)
    return tuple(((axis,), places) for axis, places in equation.batch_axes) if tuple(floats) == (0,) else ()


def _axes_of_solve(solve: LinearSolve, count: int) -> tuple[SharedAxis, ...]:
    """Axes along which the product A x acts on each element of x alone: so does the solution on b."""
    products = build(Graph(), solve.matvec)[1]
    found = batch_axes_of([[product] for product in products], len(solve.matvec.inputs))
    inputs: list[int | None] = [None] * count
    return tuple((axes, (*inputs[: solve.first], *axes)) for axes, places in found if places[solve.constants :] == axes)


def _axes_of_rule(equation: Equation, floats: Sequence[int]) -> tuple[SharedAxis, ...]:
    """Axes along which a function and its rule for reverse mode act on each element alone.

    Where the rule calls the function itself, its text stands for it: if an axis passes through both text and rule, it
    passes through the rule of the rule, and so on.
    """
    if equation.body is None:
        return ()
    moved = [k for k, x in enumerate(equation.inputs) if jnp.issubdtype(x.dtype, jnp.floating)]

    def run(*arguments: Any) -> list[Any]:
        inputs, cotangents = list(arguments[: len(equation.inputs)]), arguments[len(equation.inputs) :]

        def values(*own: Any) -> list[Any]:
            given = dict(zip(moved, own, strict=True))
            outputs = equation.apply(*(given.get(k, x) for k, x in enumerate(inputs)))
            return [outputs[k] for k in floats]

        return list(jax.vjp(values, *(inputs[k] for k in moved))[1](list(cotangents)))

    given = [*equation.inputs, *(equation.outputs[k] for k in floats)]
    try:
        rule = trace_alone(run, [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in given])
    except Exception:  # a rule may refuse with any type; a question that needs it says so
        return ()
    graph = Graph()
    values = build(graph, equation.body)[1]
    leaves = [graph.leaf(k, x.shape, x.dtype) for k, x in enumerate(given)]
    slopes = _Reader(graph, {}, NUMERIC, opened=equation).run(rule, leaves)
    if any("custom_vjp_call" in x.kind.call.primitives for x in reachable(slopes) if isinstance(x.kind, Opaque)):
        return ()
    shared = batch_axes_of([[values[k]] for k in floats], len(equation.inputs))
    return tuple(axis for axis in shared if keeps(dict(zip(moved, slopes, strict=True)), axis))


def _packed(
    equation: Equation | _OnPlainArrays | LibraryCall, floats: Sequence[int], shared: Sequence[SharedAxis]
) -> tuple[Packed, ...]:
    """Where float results of an equation lie in the array that holds them."""
    found, start = [], 0
    for place, k in enumerate(floats):
        axes = tuple(axes[place] for axes, _ in shared) if len(floats) > 1 else ()
        found.append(Packed(k, start, equation.outputs[k].shape, axes))
        start += found[-1].size
    return tuple(found)


def _results(
    apply: Callable[..., list[Any]], packed: Sequence[Packed], others: tuple[int, ...], dtype: Any, *inputs: Any
) -> list[Any]:
    """The float outputs, side by side in one array where there are several, then the others."""
    outputs = apply(*inputs)
    rest = [outputs[k] for k in others]
    if len(packed) == 1:
        return [outputs[packed[0].output], *rest]
    return [laid_together(packed, [outputs[one.output] for one in packed], dtype), *rest] if packed else rest


def laid_together(packed: Sequence[Packed], values: Sequence[Any], dtype: Any) -> Any:
    """Several results in one array."""
    return jnp.concatenate([one.laid(x).astype(dtype) for one, x in zip(packed, values, strict=True)], axis=-1)


# -- complex values and random keys ------------------------------------------------------------------
#
# A complex value inside the function stands in the graph as a pair of real arrays, stacked on a new first axis; a typed
# random key stands as its words. Equations that touch one are opaque functions of such plain arrays: JAX differentiates
# them, and what the sweeps see is real.


@dataclass(frozen=True, eq=False)
class _OnPlainArrays:
    """An equation whose complex values and random keys are plain arrays; stands in for an `Equation`."""

    equation: Equation
    outputs: tuple[Variable, ...]

    @property
    def name(self) -> str:
        return self.equation.name

    @property
    def flops(self) -> float:
        return 2.0 * self.equation.flops

    @property
    def bytes(self) -> float:
        return self.equation.bytes

    @property
    def primitives(self) -> frozenset[str]:
        return self.equation.primitives

    @property
    def line(self) -> str:
        return self.equation.line

    def apply(self, *inputs: Any) -> list[Any]:
        kinds = [_special(wanted) for wanted in self.equation.inputs]
        given = [x if kind is None else kind.restored(x) for x, kind in zip(inputs, kinds, strict=True)]
        return [to_plain(result) for result in self.equation.apply(*given)]


def _on_plain_arrays(equation: Equation) -> _OnPlainArrays:
    kinds = [_special(variable) for variable in equation.outputs]
    outputs = (v if kind is None else _plain(v, kind) for v, kind in zip(equation.outputs, kinds, strict=True))
    return _OnPlainArrays(equation, tuple(outputs))


def _special(value: Value) -> Special | None:
    key = value.key if isinstance(value, Variable) else None
    return special(value.dtype if key is None else key)


def _plain(value: Variable, kind: Special) -> Variable:
    """The array that stands for a complex value or a key."""
    struct = kind.plain_struct(value.shape)
    return Variable(struct.shape, struct.dtype)


def build(graph: Graph, program: Program, functions: frozenset[str] = NUMERIC) -> tuple[list[Node], list[Node]]:
    """Nodes of a traced program.

    Args:
        graph: the graph that makes the nodes.
        program: the program; its inputs become leaves.
        functions: names of library functions that become matrix functions.

    Returns:
        The leaves, and the outputs.
    """
    leaves = [graph.leaf(position, variable.shape, variable.dtype) for position, variable in enumerate(program.inputs)]
    inputs = [
        leaf if kind is None else _viewed(graph, leaf, _plain(variable, kind))
        for leaf, variable in zip(leaves, program.inputs, strict=True)
        for kind in [_special(variable)]
    ]
    return leaves, _Reader(graph, {}, functions).run(program, inputs)


def read(graph: Graph, program: Program, inputs: Sequence[Node], itself: Itself | None = None) -> list[Node]:
    """The outputs of a traced program on nodes of a graph.

    Args:
        graph: makes the nodes.
        program: the program.
        inputs: a node for each of its inputs.
        itself: a function whose rule the program is.

    Returns:
        One node per output.
    """
    constants = {x: x.kind.value for x in inputs if isinstance(x.kind, Constant) and map_of(x) is None}
    known = {x: value for x, value in constants.items() if not isinstance(value, jax.core.Tracer)}
    return _Reader(graph, known, NUMERIC, itself=itself).run(program, inputs)


def _viewed(graph: Graph, leaf: Node, plain: Variable) -> Node:
    """A complex argument or a random key (data, never differentiated) as a plain array."""
    call = Call("plain", lambda value: [to_plain(value)], "plain", 1, 1)
    return graph.opaque(Opaque("plain", "plain", call), (leaf,), plain.shape, plain.dtype)
