"""Scalar functions: the elementwise part of a graph, fused, with partial derivatives by JAX.

A scalar function is a short straight-line program over numbers. It is evaluated on arrays element by element.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.errors import DifferentiationError
from nablax.ops.elementwise import ROWS
from nablax.ops.jaxprs import Equation, Literal, Program, Value, trace


@dataclass(frozen=True, slots=True)
class Number:
    """A constant in a scalar function; compared by bits, so that NaN equals NaN."""

    dtype: str
    bits: bytes

    @property
    def value(self) -> Any:
        """The constant as a NumPy scalar."""
        return np.frombuffer(self.bits, dtype=jnp.dtype(self.dtype))[0]


def number(value: Any, dtype: Any) -> Number:
    """A constant of a given dtype."""
    return Number(jnp.dtype(dtype).name, np.asarray(value, dtype=dtype).tobytes())


Argument = int | Number


@dataclass(frozen=True, slots=True)
class Operation:
    """What an instruction does.

    Args:
        name: the primitive's name, or that of a function with its own derivative rule.
        key: whatever makes two operations of one name differ; hashable.
        apply: evaluates it on arrays of one shape.
        line: the user's source line.
    """

    name: str
    key: Any
    apply: Callable[..., Any] = field(compare=False, repr=False)
    line: str = field(compare=False, default="", repr=False)


@dataclass(frozen=True, slots=True)
class Instruction:
    """An operation on earlier values (inputs first, then results of instructions) and constants."""

    operation: Operation
    arguments: tuple[Argument, ...]
    dtype: str


@dataclass(frozen=True)
class ScalarFunction:
    """A function of numbers.

    Args:
        inputs: dtype of each argument.
        instructions: in order of evaluation.
        result: the value returned.
    """

    inputs: tuple[str, ...]
    instructions: tuple[Instruction, ...]
    result: Argument

    @property
    def constant(self) -> float | None:
        """The value, if the function is constant."""
        return float(self.result.value) if isinstance(self.result, Number) else None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the value."""
        if isinstance(self.result, Number):
            return jnp.dtype(self.result.dtype)
        if self.result < len(self.inputs):
            return jnp.dtype(self.inputs[self.result])
        return jnp.dtype(self.instructions[self.result - len(self.inputs)].dtype)

    @property
    def flops(self) -> int:
        """Operations per element."""
        return len(self.instructions)

    def __call__(self, *arguments: Any) -> Any:
        """Evaluate on arrays; each has the common shape or is a scalar."""
        shape = jnp.broadcast_shapes(*(jnp.shape(a) for a in arguments))
        values = list(arguments)

        def load(argument: Argument) -> Any:
            return argument.value if isinstance(argument, Number) else values[argument]

        for instruction in self.instructions:
            read = [load(a) for a in instruction.arguments]
            common = jnp.broadcast_shapes(*(jnp.shape(a) for a in read))
            values.append(instruction.operation.apply(*(_filled(a, common) for a in read)))
        return _filled(load(self.result), shape)

    @property
    def reads(self) -> tuple[int, ...]:
        """Positions of the inputs that the value depends on."""
        read = {a for step in self.instructions for a in step.arguments if isinstance(a, int)}
        if isinstance(self.result, int):
            read.add(self.result)
        return tuple(k for k in range(len(self.inputs)) if k in read)

    def pruned(self) -> ScalarFunction:
        """The function of the inputs that it reads only."""
        reads = self.reads
        if len(reads) == len(self.inputs):
            return self
        place = {old: new for new, old in enumerate(reads)}
        dropped = len(self.inputs) - len(reads)

        def move(argument: Argument) -> Argument:
            if isinstance(argument, Number):
                return argument
            return place[argument] if argument < len(self.inputs) else argument - dropped

        steps = tuple(
            Instruction(step.operation, tuple(move(a) for a in step.arguments), step.dtype)
            for step in self.instructions
        )
        return ScalarFunction(tuple(self.inputs[k] for k in reads), steps, move(self.result))

    def partial(self, position: int) -> ScalarFunction:
        """The partial derivative in one argument."""
        return _partial(self, position)


def _filled(value: Any, shape: tuple[int, ...]) -> Any:
    return value if jnp.shape(value) == shape else jnp.broadcast_to(value, shape)


@lru_cache(maxsize=4096)
def _partial(function: ScalarFunction, position: int) -> ScalarFunction:
    def tangent(*arguments: Any) -> Any:
        def along(moved: Any) -> Any:
            return function(*arguments[:position], moved, *arguments[position + 1 :])

        one = jnp.ones((), arguments[position].dtype)
        return [jax.jvp(along, (arguments[position],), (one,))[1]]

    scalars = [jax.ShapeDtypeStruct((), jnp.dtype(dtype)) for dtype in function.inputs]
    try:
        program = trace(tangent, scalars)
    except (ValueError, TypeError, NotImplementedError) as error:
        steps = ", ".join(dict.fromkeys(f"'{s.operation.name}'" for s in function.instructions))
        lines = [s.operation.line for s in function.instructions if s.operation.line]
        raise DifferentiationError(
            f"a derivative of the operation {steps} was asked for, at {lines[-1] if lines else 'an unknown line'}, "
            f"but JAX cannot differentiate it here: {str(error).strip().splitlines()[0]} "
            "Rewrite that line with differentiable operations, or cut it with jax.lax.stop_gradient."
        ) from error
    found = read(program, (), derivative=True)
    if found is None:
        raise AssertionError("the derivative of a scalar function is a scalar function")
    return found[0]


class Builder:
    """Collects instructions; equal instructions are one, trivial ones disappear.

    Args:
        inputs: dtype of each argument.
        derivative: whether a product with a literal zero may be dropped. In a derivative such a zero is a
            tangent that does not exist; in the user's own code ``0 * inf`` must stay NaN.
    """

    def __init__(self, inputs: Sequence[str], *, derivative: bool) -> None:
        self.inputs = tuple(inputs)
        self.instructions: list[Instruction] = []
        self._numbers: dict[Instruction, int] = {}
        self._derivative = derivative

    def emit(self, operation: Operation, arguments: Sequence[Argument], dtype: str) -> Argument:
        """The value of an operation on arguments."""
        simple = self._simplified(operation, arguments, dtype)
        if simple is not None:
            return simple
        instruction = Instruction(operation, tuple(arguments), dtype)
        if instruction not in self._numbers:
            self._numbers[instruction] = len(self.inputs) + len(self.instructions)
            self.instructions.append(instruction)
        return self._numbers[instruction]

    def function(self, result: Argument) -> ScalarFunction:
        """The function that returns `result`, with the instructions that it needs and no others."""
        needed: set[int] = set()
        waiting = [result]
        while waiting:
            value = waiting.pop()
            if isinstance(value, Number) or value in needed:
                continue
            needed.add(value)
            if value >= len(self.inputs):
                waiting += self.instructions[value - len(self.inputs)].arguments
        place: dict[int, int] = {k: k for k in range(len(self.inputs))}
        kept: list[Instruction] = []

        def move(argument: Argument) -> Argument:
            return argument if isinstance(argument, Number) else place[argument]

        for value in sorted(k for k in needed if k >= len(self.inputs)):
            old = self.instructions[value - len(self.inputs)]
            place[value] = len(self.inputs) + len(kept)
            kept.append(Instruction(old.operation, tuple(move(a) for a in old.arguments), old.dtype))
        return ScalarFunction(self.inputs, tuple(kept), move(result))

    def _dtype(self, argument: Argument) -> str:
        if isinstance(argument, Number):
            return argument.dtype
        if argument < len(self.inputs):
            return self.inputs[argument]
        return self.instructions[argument - len(self.inputs)].dtype

    def _simplified(self, operation: Operation, arguments: Sequence[Argument], dtype: str) -> Argument | None:
        name = operation.name
        if all(isinstance(a, Number) for a in arguments):
            with jax.ensure_compile_time_eval():
                return number(operation.apply(*(a.value for a in arguments if isinstance(a, Number))), dtype)
        first = arguments[0]
        if name == "copy" or (name == "convert_element_type" and self._dtype(first) == dtype):
            return first
        if name == "select_n" and len(set(arguments[1:])) == 1:
            return arguments[1]
        if name == "integer_pow" and dict(operation.key)["y"] == 1:
            return first
        if name in ("mul", "add", "add_any", "sub", "div") and len(arguments) == 2:
            second = arguments[1]
            if name == "mul" and self._derivative and (_is(first, 0) or _is(second, 0)):
                return number(0, dtype)
            if name == "div" and self._derivative and _is(first, 0):
                return number(0, dtype)
            if _is(second, 1 if name in ("mul", "div") else 0):
                return first
            if name in ("mul", "add", "add_any") and _is(first, 1 if name == "mul" else 0):
                return second
        return None


def _is(argument: Argument, value: int) -> bool:
    return isinstance(argument, Number) and bool(argument.value == value)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What reading a program needs to know: the common shape, and whose derivative rule is being read."""

    shape: tuple[int, ...]
    derivative: bool
    called: str = ""
    text: str = ""
    depth: int = 0


def read(program: Program, shape: tuple[int, ...], *, derivative: bool = False) -> list[ScalarFunction] | None:
    """Read a traced program as scalar functions, one per output.

    Args:
        program: the program.
        shape: the common shape of its arrays; scalars may stand among them.
        derivative: see `Builder`.

    Returns:
        One scalar function per output; None if something in the program does not act element by element.
    """
    return _read(program, _Reading(shape, derivative))


def read_equation(equation: Equation, shape: tuple[int, ...]) -> Operation | None:
    """The elementwise operation that an equation performs on arrays of a shape; None if it is none."""
    return _operation(equation, _Reading(shape, derivative=False))


def _read(program: Program, reading: _Reading) -> list[ScalarFunction] | None:
    if any(np.ndim(value) != 0 or isinstance(value, jax.core.Tracer) for _, value in program.constants):
        return None
    builder = Builder([variable.dtype.name for variable in program.inputs], derivative=reading.derivative)
    known: dict[Value, Argument] = {variable: k for k, variable in enumerate(program.inputs)}
    outputs = _run(program, known, builder, reading)
    return None if outputs is None else [builder.function(output) for output in outputs]


def _run(program: Program, known: dict[Value, Argument], builder: Builder, reading: _Reading) -> list[Argument] | None:
    def load(value: Value) -> Argument:
        return number(value.value, value.dtype) if isinstance(value, Literal) else known[value]

    for variable, value in program.constants:
        known[variable] = number(value, variable.dtype)
    for equation in program.equations:
        if any(output.shape not in (reading.shape, ()) for output in equation.outputs):
            return None
        arguments = [load(value) for value in equation.inputs]
        if equation.is_call and equation.body is not None:
            inner: dict[Value, Argument] = dict(zip(equation.body.inputs, arguments, strict=True))
            results = _run(equation.body, inner, builder, reading)
            if results is None:
                return None
            known.update(zip(equation.outputs, results, strict=True))
            continue
        if len(equation.outputs) != 1:
            return None
        [output] = equation.outputs
        if equation.name == "broadcast_in_dim" and equation.inputs[0].shape in ((), reading.shape):
            known[output] = arguments[0]
            continue
        operation = _operation(equation, reading)
        if operation is None:
            return None
        known[output] = builder.emit(operation, arguments, output.dtype.name)
    return [load(value) for value in program.outputs]


def _operation(equation: Equation, reading: _Reading) -> Operation | None:
    if equation.name in ROWS:
        params = tuple(sorted(equation.params.items()))
        try:
            hash(params)
        except TypeError:
            return None
        apply = partial(equation.primitive.bind, **equation.params)
        return Operation(equation.name, params, apply, equation.line)
    if equation.name == "custom_jvp_call":
        if equation.called in _OWN_RULES:
            return _OWN_RULES[equation.called]
        if (equation.called, equation.text) == (reading.called, reading.text):
            return _ITSELF
        # a rule may use functions with rules of their own, but not without end (jnp.sinc does)
        return _with_own_rule(equation, reading.shape, reading.depth + 1) if reading.depth < 3 else None
    return None


# Functions with a derivative rule of their own, by the unique name under which JAX sees them.
_OWN_RULES: dict[str, Operation] = {}
# Stands inside a rule for the function that the rule belongs to (d softplus = exp(x - softplus(x)) dx).
_ITSELF = Operation("itself", (), lambda *_: None)


def _with_own_rule(equation: Equation, shape: tuple[int, ...], depth: int) -> Operation | None:
    """An elementwise function with a custom derivative rule: the rule is honoured, as scalar functions.

    The rule is traced for one argument at a time. If value and rule both act element by element, the partial
    derivatives are scalar functions too, and the rule is rebuilt from them for any shape.
    """
    if equation.body is None:
        return None
    value = _read(equation.body, _Reading(shape, derivative=False, depth=depth))
    if value is None or len(value) != 1:
        return None
    given = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in equation.inputs]
    partials: list[ScalarFunction | None] = []
    for position, argument in enumerate(given):
        if not jnp.issubdtype(argument.dtype, jnp.floating):
            partials.append(None)
            continue
        tangent = partial(_tangent, equation, position)
        found = _read(trace(tangent, given), _Reading(shape, True, equation.called, equation.text, depth))
        if found is None:
            return None
        partials.append(found[0])
    return _own_rule(equation.called, value[0], tuple(partials))


def _tangent(equation: Equation, position: int, *arguments: Any) -> Any:
    def along(moved: Any) -> Any:
        return equation.apply(*arguments[:position], moved, *arguments[position + 1 :])[0]

    return [jax.jvp(along, (arguments[position],), (jnp.ones_like(arguments[position]),))[1]]


@lru_cache(maxsize=1024)
def _own_rule(name: str, value: ScalarFunction, partials: tuple[ScalarFunction | None, ...]) -> Operation:
    """An operation with given partial derivatives in place of those of its own text."""
    unique = f"{name}_with_rule_{len(_OWN_RULES)}"

    def function(*arguments: Any) -> Any:
        return value(*arguments)

    function.__name__ = function.__qualname__ = unique
    ruled = jax.custom_jvp(function)
    operation = Operation(name, unique, ruled)
    slopes = [None if slope is None else _resolved(slope, operation) for slope in partials]

    @ruled.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        out = ruled(*primals)
        moved = [
            slope(*primals) * tangent for slope, tangent in zip(slopes, tangents, strict=True) if slope is not None
        ]
        return out, reduce(jnp.add, moved, jnp.zeros_like(out))

    _OWN_RULES[unique] = operation
    return operation


def _resolved(function: ScalarFunction, itself: Operation) -> ScalarFunction:
    steps = tuple(
        Instruction(itself, step.arguments, step.dtype) if step.operation == _ITSELF else step
        for step in function.instructions
    )
    return ScalarFunction(function.inputs, steps, function.result)


def compose(
    outer: ScalarFunction,
    inner: Mapping[int, ScalarFunction],
    wiring: Mapping[int, Sequence[int]],
    kept: Mapping[int, int],
    inputs: Sequence[str],
) -> ScalarFunction:
    """Put scalar functions into the arguments of another.

    Args:
        outer: the function around.
        inner: for some arguments of `outer`, the function that computes them.
        wiring: for each of those, which of the new inputs its arguments are.
        kept: for the other arguments of `outer`, which new input they are.
        inputs: dtypes of the new inputs.

    Returns:
        The composition.
    """
    builder = Builder(inputs, derivative=False)

    def inline(function: ScalarFunction, arguments: list[Argument]) -> Argument:
        values = list(arguments)

        def move(argument: Argument) -> Argument:
            return argument if isinstance(argument, Number) else values[argument]

        for step in function.instructions:
            values.append(builder.emit(step.operation, [move(a) for a in step.arguments], step.dtype))
        return move(function.result)

    arguments: list[Argument] = [
        inline(inner[k], list(wiring[k])) if k in inner else kept[k] for k in range(len(outer.inputs))
    ]
    return builder.function(inline(outer, arguments))


def from_jax(function: Callable[..., Any], *dtypes: Any) -> ScalarFunction:
    """The scalar function of an elementwise JAX function of scalars.

    Example:
        >>> square = from_jax(lambda x: x * x, "float32")
        >>> square.partial(0).partial(0).constant
        2.0
    """
    scalars = [jax.ShapeDtypeStruct((), jnp.dtype(dtype)) for dtype in dtypes]
    found = read(trace(lambda *arguments: [function(*arguments)], scalars), ())
    if found is None:
        raise ValueError("not an elementwise function")
    return found[0]
