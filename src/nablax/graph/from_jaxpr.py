"""A traced program becomes a graph of nodes; what no row describes becomes Opaque."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.contraction.index import fresh
from nablax.graph import contraction_rows, index_map_rows
from nablax.graph.graph import Graph, Node
from nablax.graph.index_map_rows import reshaped
from nablax.graph.recognise import NUMERIC, recognise
from nablax.ops.jaxprs import Equation, Literal, Program, Value, Variable
from nablax.ops.kinds import Opaque
from nablax.ops.scalar_function import Argument, Builder, number, read_equation

# Integers up to this many elements are computed while tracing, so that indices become static maps.
FOLDED_ELEMENTS = 10_000_000
FOLDED_FLOATS = 16_384


@dataclass(frozen=True)
class _Reader:
    graph: Graph
    known: dict[Node, Any]
    functions: frozenset[str]

    def run(self, program: Program, inputs: Sequence[Node]) -> list[Node]:
        values: dict[Value, Node] = dict(zip(program.inputs, inputs, strict=True))
        for variable, array in program.constants:
            values[variable] = self.constant(array)

        def load(value: Value) -> Node:
            return self.constant(np.asarray(value.value, value.dtype)) if isinstance(value, Literal) else values[value]

        for equation in program.equations:
            results = self.equation(equation, load)
            values.update(zip(equation.outputs, results, strict=True))
        return [load(value) for value in program.outputs]

    def constant(self, array: Any) -> Node:
        if jnp.issubdtype(array.dtype, jnp.complexfloating):
            return self.graph.constant(_to_pair(array))
        numeric = jnp.issubdtype(array.dtype, jnp.number) or array.dtype == jnp.bool_
        if numeric and not isinstance(array, jax.core.Tracer):
            node = self.graph.constant(np.asarray(array) if np.size(array) <= FOLDED_FLOATS else array)
            self.known[node] = array
            return node
        return self.graph.constant(array)

    def equation(self, equation: Equation, load: Callable[[Value], Node]) -> Sequence[Node]:
        inputs = [load(value) for value in equation.inputs]
        if equation.is_call and equation.body is not None:
            known = recognise(self.graph, equation, inputs, self.functions)
            return known if known is not None else self.run(equation.body, inputs)
        if any(_is_complex(value) for value in (*equation.inputs, *equation.outputs)):
            return self.opaque(_in_real_pairs(equation), inputs)
        folded = self.folded(equation, inputs)
        if folded is not None:
            return folded
        if equation.name in contraction_rows.ROWS:
            return [contraction_rows.ROWS[equation.name](self.graph, equation, inputs)]
        if equation.name in index_map_rows.ROWS:
            moved = index_map_rows.ROWS[equation.name](self.graph, equation, inputs, self.known)
            if moved is not None:
                return moved
        if len(equation.outputs) == 1:
            element = self.elementwise(equation, inputs)
            if element is not None:
                return [element]
            row = self.matrix(equation, inputs)
            if row is not None:
                return [row]
        return self.opaque(equation, inputs)

    def folded(self, equation: Equation, inputs: Sequence[Node]) -> list[Node] | None:
        """Values that follow from constants alone: index arithmetic, masks, iotas."""
        if any(node not in self.known for node in inputs):
            return None
        for output in equation.outputs:
            limit = FOLDED_FLOATS if jnp.issubdtype(output.dtype, jnp.floating) else FOLDED_ELEMENTS
            numeric = output.dtype != np.dtype(object)
            if not numeric or math.prod(output.shape) > limit:
                return None
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

    def matrix(self, equation: Equation, inputs: Sequence[Node]) -> Node | None:
        [output] = equation.outputs
        if equation.name == "cholesky" and equation.params.get("symmetrize_input", False) is False:
            return self.graph.matrix_function("cholesky", inputs, output.shape)
        if equation.name in ("reduce_max", "reduce_min") and jnp.issubdtype(output.dtype, jnp.floating):
            axes = tuple(int(k) for k in equation.params["axes"])
            return self.graph.matrix_function(equation.name, inputs, output.shape, axes=axes)
        return None

    def opaque(self, equation: Equation | _RealPairs, inputs: Sequence[Node]) -> list[Node]:
        """One node per output; float outputs are packed into one vector, so that they are evaluated once
        and a derivative passes through them once.
        """
        floats = [k for k, v in enumerate(equation.outputs) if jnp.issubdtype(v.dtype, jnp.floating)]
        results: dict[int, Node] = {}

        def single(k: int) -> Node:
            kind = Opaque(
                equation.name,
                (equation, k),
                partial(_output, equation.apply, k),
                equation.flops,
                equation.line,
            )
            return self.graph.opaque(kind, inputs, equation.outputs[k].shape, equation.outputs[k].dtype)

        if len(floats) > 1:
            shapes = [equation.outputs[k].shape for k in floats]
            dtype = jnp.result_type(*(equation.outputs[k].dtype for k in floats))
            total = sum(math.prod(shape) for shape in shapes)
            function = partial(_packed, equation.apply, tuple(floats), dtype)
            kind = Opaque(equation.name, (equation, tuple(floats)), function, equation.flops, equation.line)
            vector = self.graph.opaque(kind, inputs, (total,), dtype)
            start = 0
            for k, shape in zip(floats, shapes, strict=True):
                size = math.prod(shape)
                part = index_map_rows.part_of(self.graph, vector, start, size)
                results[k] = self.graph.cast(reshaped(self.graph, part, shape), equation.outputs[k].dtype)
                start += size
        for k in range(len(equation.outputs)):
            if k not in results:
                results[k] = single(k)
        return [results[k] for k in range(len(equation.outputs))]


# -- complex values ----------------------------------------------------------------------------------
#
# A complex value inside the function stands in the graph as a pair of real arrays, stacked on a new first axis.
# Equations that touch one are opaque functions of such pairs: JAX differentiates them, and what the sweeps see is real.


@dataclass(frozen=True, eq=False)
class _RealPairs:
    """An equation whose complex inputs and outputs are pairs of real arrays; stands in for an `Equation`."""

    equation: Equation
    outputs: tuple[Variable, ...]

    @property
    def name(self) -> str:
        return self.equation.name

    @property
    def flops(self) -> float:
        return 2.0 * self.equation.flops

    @property
    def line(self) -> str:
        return self.equation.line

    def apply(self, *inputs: Any) -> list[Any]:
        given = [
            jax.lax.complex(value[0], value[1]) if _is_complex(wanted) else value
            for value, wanted in zip(inputs, self.equation.inputs, strict=True)
        ]
        results = self.equation.apply(*given)
        return [
            _to_pair(result) if _is_complex(wanted) else result
            for result, wanted in zip(results, self.equation.outputs, strict=True)
        ]


def _in_real_pairs(equation: Equation) -> _RealPairs:
    return _RealPairs(equation, tuple(_pair_of(v) if _is_complex(v) else v for v in equation.outputs))


def _is_complex(value: Value) -> bool:
    return bool(jnp.issubdtype(value.dtype, jnp.complexfloating))


def _pair_of(value: Value) -> Variable:
    return Variable((2, *value.shape), np.finfo(value.dtype).dtype)


def _to_pair(value: Any) -> Any:
    return jnp.stack([jnp.real(value), jnp.imag(value)])


def _output(apply: Callable[..., list[Any]], k: int, *inputs: Any) -> Any:
    return apply(*inputs)[k]


def _packed(apply: Callable[..., list[Any]], chosen: tuple[int, ...], dtype: Any, *inputs: Any) -> Any:
    outputs = apply(*inputs)
    return jnp.concatenate([jnp.ravel(outputs[k]).astype(dtype) for k in chosen])


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
        _viewed(graph, leaf, variable) if _is_complex(variable) else leaf
        for leaf, variable in zip(leaves, program.inputs, strict=True)
    ]
    return leaves, _Reader(graph, {}, functions).run(program, inputs)


def _viewed(graph: Graph, leaf: Node, variable: Variable) -> Node:
    """A complex argument (data, never differentiated) as a pair of real arrays."""
    pair = _pair_of(variable)
    return graph.opaque(Opaque("real_pair", "real_pair", _to_pair, 0.0), (leaf,), pair.shape, pair.dtype)
