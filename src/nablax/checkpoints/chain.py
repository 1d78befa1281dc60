"""A traced program as a chain of operations: what each costs, and what reverse mode keeps of it.

What is kept is asked of JAX: the residuals of the operation's reverse mode are its inputs, its outputs, or new arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from nablax.contraction.rates import Rates
from nablax.ops.elementwise import ROWS
from nablax.ops.jaxprs import Equation, Literal, Program, Value, Variable, trace

# Calls that are read as one operation: their user asked for recomputation.
KEPT_WHOLE = frozenset({"remat", "remat2", "checkpoint"})


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation of the chain.

    Args:
        apply: takes the values of `inputs`, gives those of `outputs`.
        inputs: values read.
        outputs: variables written.
        seconds: estimated time of one evaluation.
        equation: what it was read from.
        held: bytes that reverse mode keeps beside inputs and outputs, where that is known better than from JAX.
    """

    apply: Callable[..., Sequence[Any]] = field(repr=False)
    inputs: tuple[Value, ...]
    outputs: tuple[Variable, ...]
    seconds: float
    equation: Equation = field(repr=False)
    held: float | None = None

    @cached_property
    def saved(self) -> frozenset[Variable]:
        """Inputs and outputs that reverse mode keeps."""
        places, _ = self._residuals
        read = (self.inputs[k] if kind == "in" else self.outputs[k] for kind, k in places)
        return frozenset(v for v in read if isinstance(v, Variable))

    @property
    def fresh(self) -> float:
        """Bytes that reverse mode keeps beside those."""
        return self._residuals[1] if self.held is None else self.held

    @cached_property
    def _residuals(self) -> tuple[frozenset[tuple[str, int]], float]:
        equation = self.equation
        shapes = tuple((v.shape, v.dtype.name) for v in (*equation.inputs, *equation.outputs))
        key = (equation.name, tuple(sorted(equation.params.items())), shapes)
        try:
            hash(key)
        except TypeError:
            return _residuals(equation)
        if key not in _KNOWN:
            _KNOWN[key] = _residuals(equation)
        return _KNOWN[key]


# What is asked of JAX once for operations that are alike.
_KNOWN: dict[Any, tuple[frozenset[tuple[str, int]], float]] = {}


@dataclass(frozen=True, eq=False)
class Chain:
    """A program whose calls are written out.

    Args:
        inputs: the arguments.
        constants: captured arrays with their variables.
        operations: in order.
        outputs: the results.
    """

    inputs: tuple[Variable, ...]
    constants: tuple[tuple[Variable, Any], ...]
    operations: tuple[Operation, ...]
    outputs: tuple[Value, ...]

    @cached_property
    def made(self) -> Mapping[Variable, int]:
        """The operation that makes each variable."""
        return {variable: k for k, one in enumerate(self.operations) for variable in one.outputs}

    @cached_property
    def last_read(self) -> Mapping[Variable, int]:
        """The last operation that reads each variable; results are read at the end."""
        found: dict[Variable, int] = {}
        for k, one in enumerate(self.operations):
            found.update({v: k for v in one.inputs if isinstance(v, Variable)})
        end = len(self.operations)
        found.update({v: end for v in self.outputs if isinstance(v, Variable)})
        return found

    def live(self, start: int, place: int) -> float:
        """Bytes of what is made in [start, place) and read from there on."""
        made, last = self.made, self.last_read
        return sum(
            size_of(v)
            for one in self.operations[start:place]
            for v in one.outputs
            if last.get(v, -1) >= place and v in made
        )

    def crossing(self, start: int, stop: int) -> tuple[list[Variable], list[Variable]]:
        """What a stretch reads of before, and what it makes for later."""
        own = {v for one in self.operations[start:stop] for v in one.outputs}
        read = dict.fromkeys(
            v for one in self.operations[start:stop] for v in one.inputs if isinstance(v, Variable) and v not in own
        )
        after = [v for v in own if self.last_read.get(v, -1) >= stop]
        return list(read), sorted(after, key=lambda v: self.made[v])

    def run(self, values: dict[Variable, Any], start: int, stop: int) -> None:
        """Evaluate a stretch; `values` grows by what it makes."""
        for one in self.operations[start:stop]:
            given = [load(values, v) for v in one.inputs]
            values.update(zip(one.outputs, one.apply(*given), strict=True))


def load(values: Mapping[Variable, Any], value: Value) -> Any:
    """The number of a literal, or the array of a variable."""
    return jnp.asarray(value.value, value.dtype) if isinstance(value, Literal) else values[value]


def size_of(value: Value) -> float:
    """Bytes of a value."""
    return 0.0 if value.dtype.hasobject else float(math.prod(value.shape) * value.dtype.itemsize)


def chain_of(program: Program, rates: Rates) -> Chain:
    """The chain of a program.

    Args:
        program: the program.
        rates: of the machine.
    """
    operations: list[Operation] = []
    renamed: dict[Variable, Value] = {}
    constants = list(program.constants)

    def known(value: Value) -> Value:
        while isinstance(value, Variable) and value in renamed:
            value = renamed[value]
        return value

    def walk(body: Program) -> None:
        for equation in body.equations:
            inner = equation.body
            if equation.is_call and inner is not None and equation.name not in KEPT_WHOLE:
                constants.extend(inner.constants)
                renamed.update(zip(inner.inputs, map(known, equation.inputs), strict=True))
                walk(inner)
                renamed.update(zip(equation.outputs, map(known, inner.outputs), strict=True))
                continue
            operations.append(_operation(equation, tuple(map(known, equation.inputs)), rates))

    walk(program)
    outputs = tuple(map(known, program.outputs))
    return Chain(program.inputs, tuple(constants), tuple(operations), outputs)


def _operation(equation: Equation, inputs: tuple[Value, ...], rates: Rates) -> Operation:
    moved = sum(size_of(v) for v in (*inputs, *equation.outputs))
    seconds = max(equation.flops / rates.product_flops, moved / rates.memory_bytes)
    return Operation(equation.apply, inputs, equation.outputs, seconds, equation)


def _residuals(equation: Equation) -> tuple[frozenset[tuple[str, int]], float]:
    """Which inputs and outputs the reverse mode of an operation keeps, and the bytes of what it keeps beside them."""
    structs = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in equation.inputs]
    moving = [k for k, s in enumerate(structs) if jnp.issubdtype(s.dtype, jnp.floating)]
    floats = [k for k, v in enumerate(equation.outputs) if jnp.issubdtype(v.dtype, jnp.floating)]
    if not moving or not floats or any(v.dtype.hasobject for v in (*equation.inputs, *equation.outputs)):
        return frozenset(), 0.0

    def split(*arguments: Any) -> list[Any]:
        def function(*values: Any) -> tuple[list[Any], list[Any]]:
            given = list(arguments)
            for k, value in zip(moving, values, strict=True):
                given[k] = value
            outputs = equation.apply(*given)
            return [outputs[k] for k in floats], outputs

        _, back, outputs = jax.vjp(function, *(arguments[k] for k in moving), has_aux=True)
        return [*outputs, *jax.tree.leaves(back)]

    try:
        program = trace(split, structs)
    except (TypeError, ValueError, NotImplementedError):  # no reverse mode: nothing can be kept of it
        return frozenset(), 0.0
    count = len(equation.outputs)
    places = {v: ("in", k) for k, v in enumerate(program.inputs)}
    places |= {v: ("out", k) for k, v in enumerate(program.outputs[:count]) if isinstance(v, Variable)}
    saved: set[tuple[str, int]] = set()
    seen: set[Value] = set()
    fresh = 0.0
    for value in program.outputs[count:]:
        if not isinstance(value, Variable) or value in seen:
            continue
        seen.add(value)
        sources = _sources(program, value, places)
        if sum(size_of(v) for v in sources) <= size_of(value):
            saved |= {places[v] for v in sources}
        else:
            fresh += size_of(value)
    return frozenset(saved), fresh


def _sources(program: Program, value: Variable, places: Mapping[Variable, tuple[str, int]]) -> set[Variable]:
    """The inputs and outputs that a residual is computed of element by element; itself where it is not.

    XLA computes 1 - y² where it is read: what stays in memory is y.
    """
    maker = {v: equation for equation in program.equations for v in equation.outputs}
    found: set[Variable] = set()
    waiting = [value]
    while waiting:
        v = waiting.pop()
        if v in places:
            found.add(v)
            continue
        equation = maker.get(v)
        if equation is None or equation.name not in ROWS:
            return {value, *program.inputs}  # more than itself: it is kept
        waiting += [x for x in equation.inputs if isinstance(x, Variable)]
    return found
