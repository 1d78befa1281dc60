"""Scalar functions as straight-line programs, and their partial derivatives by the chain rule.

An operation knows its tangent; the partials of a program follow from these by one sweep over it: reverse, for all
inputs at once, or forward where few inputs move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.errors import DifferentiationError
from nablax.ops.couplings import Pairs, Positions, coupled_inputs, moving_values
from nablax.ops.instruction import Argument, Instruction, Number, Operation, is_number, is_real, number, simplified
from nablax.ops.jaxprs import trace_alone
from nablax.ops.multiples import gathered
from nablax.ops.parts import Part, parts


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

    @cached_property
    def _hash(self) -> int:
        return hash((self.inputs, self.instructions, self.result))

    def __hash__(self) -> int:
        return self._hash

    @property
    def constant(self) -> float | None:
        """The value, if the function is constant."""
        return float(self.result.value) if isinstance(self.result, Number) else None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the value."""
        return jnp.dtype(self.dtype_of(self.result))

    def dtype_of(self, argument: Argument) -> str:
        """Dtype of a value in the program."""
        if isinstance(argument, Number):
            return argument.dtype
        if argument < len(self.inputs):
            return self.inputs[argument]
        return self.instructions[argument - len(self.inputs)].dtype

    @property
    def flops(self) -> int:
        """Operations per element."""
        return len(self.instructions)

    def __call__(self, *arguments: Any) -> Any:
        """Evaluate on arrays; each has the common shape or is a scalar."""
        shape = jnp.broadcast_shapes(*(jnp.shape(a) for a in arguments))
        values: dict[int, Any] = dict(enumerate(arguments))

        def load(argument: Argument) -> Any:
            return argument.value if isinstance(argument, Number) else values[argument]

        for part in self._parts:
            for place in part.places:
                step = self.instructions[place]
                read = [load(a) for a in step.arguments]
                common = jnp.broadcast_shapes(*(jnp.shape(a) for a in read))
                values[len(self.inputs) + place] = step.operation.apply(*(_filled(a, common) for a in read))
            if len(self._parts) > 1:
                values.update(zip(part.held, jax.lax.optimization_barrier([values[x] for x in part.held]), strict=True))
        return _filled(load(self.result), shape)

    @cached_property
    def _parts(self) -> tuple[Part, ...]:
        return parts(len(self.inputs), self.instructions, self.result)

    @property
    def held(self) -> int:
        """Values that are in memory at once while the function is evaluated, its inputs and its result apart.

        Those held before a part and those after it stand side by side, and XLA writes some in between: up to 12 where
        5 are held (jax 0.12 on CPU).
        """
        return 3 * max(len(part.held) for part in self._parts)

    @property
    def reads(self) -> tuple[int, ...]:
        """Positions of the inputs that the value depends on."""
        read = {a for step in self.instructions for a in step.arguments if isinstance(a, int)}
        if isinstance(self.result, int):
            read.add(self.result)
        return tuple(sorted(k for k in read if k < len(self.inputs)))

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
        """The partial derivative in one argument.

        Args:
            position: which argument; one that is not a real number has the partial 0.

        Returns:
            A function of the same arguments.

        Raises:
            DifferentiationError: an operation on the way has no derivative.

        Example:
            >>> from nablax.ops.scalar_function import from_jax
            >>> from_jax(lambda x, y: x * y, "float32", "float32").partial(0)(2.0, 5.0)
            5.0
        """
        return _partial(self, position)

    def moving(self) -> frozenset[int]:
        """Positions of the inputs in which the function has a partial that is not identically zero.

        Returns:
            The positions, found from the structure of the program: none that matters is missing.

        Example:
            >>> from nablax.ops.scalar_function import from_jax
            >>> sorted(from_jax(lambda x, y: x * jnp.sign(y), "float32", "float32").moving())
            [0]
        """
        return self._moving_inputs

    def couplings(self) -> frozenset[tuple[int, int]]:
        """Pairs of inputs with a second partial that is not identically zero.

        Returns:
            Pairs (p, q) with p ≤ q, found from the structure of the program: none that matters is missing.

        Example:
            >>> from nablax.ops.scalar_function import from_jax
            >>> sorted(from_jax(lambda x, y: x * y + jnp.exp(y), "float32", "float32").couplings())
            [(0, 1), (1, 1)]
        """
        return self._couplings

    def signature(self, step: Instruction) -> tuple[str, ...]:
        """Dtypes of an instruction's arguments."""
        return tuple(self.dtype_of(a) for a in step.arguments)

    @cached_property
    def _moving(self) -> list[Positions]:
        return [_moving_places(step.operation, self.signature(step), step.dtype) for step in self.instructions]

    @cached_property
    def _live(self) -> Positions:
        return moving_values(len(self.inputs), self.instructions, self.result, self._moving.__getitem__)

    @cached_property
    def _moving_inputs(self) -> Positions:
        return frozenset(k for k in self._live if k < len(self.inputs) and is_real(self.inputs[k]))

    @cached_property
    def _couplings(self) -> Pairs:
        def coupled(place: int) -> Pairs:
            step = self.instructions[place]
            return _coupled_places(step.operation, self.signature(step), step.dtype)

        real = [is_real(dtype) for dtype in self.inputs]
        return coupled_inputs(real, self.instructions, self._live, self._moving.__getitem__, coupled)

    @cached_property
    def _adjoints(self) -> _Adjoints:
        return _swept(self)


def _filled(value: Any, shape: tuple[int, ...]) -> Any:
    return value if jnp.shape(value) == shape else jnp.broadcast_to(value, shape)


class Builder:
    """Collects instructions; equal instructions are one, trivial ones disappear.

    Args:
        inputs: dtype of each argument.
        derivative: whether a product with a literal zero may be dropped. In a derivative such a zero is a
            tangent that does not exist; in the user's own code ``0 * inf`` must stay NaN.
        instructions: a program to go on from.
    """

    def __init__(self, inputs: Sequence[str], *, derivative: bool, instructions: Sequence[Instruction] = ()) -> None:
        self.inputs = tuple(inputs)
        self.instructions: list[Instruction] = list(instructions)
        self._numbers = {step: len(self.inputs) + k for k, step in enumerate(instructions)}
        self._derivative = derivative

    def emit(self, operation: Operation, arguments: Sequence[Argument], dtype: str) -> Argument:
        """The value of an operation on arguments."""
        instead = gathered(operation, arguments, dtype, self._made_by)
        if not isinstance(instead, tuple):
            return instead
        operation, arguments = instead
        first = self.dtype_of(arguments[0])
        simple = simplified(operation, arguments, dtype, first, derivative=self._derivative)
        if simple is not None:
            return simple
        instruction = Instruction(operation, tuple(arguments), dtype)
        value = self._numbers.setdefault(instruction, len(self.inputs) + len(self.instructions))
        if value == len(self.inputs) + len(self.instructions):
            self.instructions.append(instruction)
        return value

    def inline(self, function: ScalarFunction, arguments: Sequence[Argument], line: str = "") -> Argument:
        """The value of a function of arguments.

        Args:
            function: the function.
            arguments: what it is applied to.
            line: the user's source line for its operations, if they have none.

        Returns:
            The value.
        """
        values = list(arguments)

        def move(argument: Argument) -> Argument:
            return argument if isinstance(argument, Number) else values[argument]

        for step in function.instructions:
            operation = _at_line(step.operation, line) if line else step.operation
            values.append(self.emit(operation, [move(a) for a in step.arguments], step.dtype))
        return move(function.result)

    def function(self, result: Argument) -> ScalarFunction:
        """The function that returns `result`, with the instructions that it needs and no others."""
        inputs = len(self.inputs)
        needed: set[int] = set()
        waiting = [result]
        while waiting:
            value = waiting.pop()
            if isinstance(value, int) and value >= inputs and value not in needed:
                needed.add(value)
                waiting += self.instructions[value - inputs].arguments
        place: dict[int, int] = {}
        kept: list[Instruction] = []

        def move(argument: Argument) -> Argument:
            return argument if isinstance(argument, Number) else place.get(argument, argument)

        for value in sorted(needed):
            old = self.instructions[value - inputs]
            place[value] = inputs + len(kept)
            kept.append(Instruction(old.operation, tuple(move(a) for a in old.arguments), old.dtype))
        return ScalarFunction(self.inputs, tuple(kept), move(result))

    def _made_by(self, value: int) -> Instruction | None:
        return self.instructions[value - len(self.inputs)] if value >= len(self.inputs) else None

    def dtype_of(self, argument: Argument) -> str:
        """Dtype of a value."""
        if isinstance(argument, Number):
            return argument.dtype
        if argument < len(self.inputs):
            return self.inputs[argument]
        return self.instructions[argument - len(self.inputs)].dtype


@lru_cache(maxsize=4096)
def _at_line(operation: Operation, line: str) -> Operation:
    return operation if operation.line else replace(operation, line=line)


# -- derivatives of operations -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Refusal:
    """Why a derivative does not exist, and of which operation."""

    operation: Operation
    reason: str


@lru_cache(maxsize=4096)
def operation_partial(operation: Operation, dtypes: tuple[str, ...], position: int) -> ScalarFunction | Refusal | None:
    """The partial of one operation as a function of its arguments; otherwise as `Operation.tangent`."""
    tangent: ScalarFunction | Refusal | None = operation.tangent(operation, dtypes, position)
    if not isinstance(tangent, ScalarFunction):
        return tangent
    builder = Builder(dtypes, derivative=True)
    unit = number(1, dtypes[position])
    return builder.function(builder.inline(tangent, [*range(len(dtypes)), unit]))


@lru_cache(maxsize=4096)
def _moving_places(operation: Operation, dtypes: tuple[str, ...], dtype: str) -> Positions:
    """The places among an operation's arguments in which its partial is not the constant 0."""
    if not is_real(dtype):
        return frozenset()
    found = set()
    for place, own in enumerate(dtypes):
        if is_real(own):
            slope = operation_partial(operation, dtypes, place)
            if not isinstance(slope, ScalarFunction) or slope.constant != 0.0:
                found.add(place)
    return frozenset(found)


@lru_cache(maxsize=4096)
def _coupled_places(operation: Operation, dtypes: tuple[str, ...], dtype: str) -> Pairs:
    """The pairs of places among an operation's arguments in which its second partial is not the constant 0."""
    found = set()
    for p in _moving_places(operation, dtypes, dtype):
        slope = operation_partial(operation, dtypes, p)
        for q, own in enumerate(dtypes):
            if is_real(own) and (not isinstance(slope, ScalarFunction) or not slope._adjoints.is_zero(q)):
                found.add((min(p, q), max(p, q)))
    return frozenset(found)


# -- derivatives of programs -------------------------------------------------------------------------------
#
# The adjoint of a value is the partial of the result in it. An instruction passes its adjoint t on to each argument as
# its tangent along t: a linear map of one number is its own transpose, so that JAX's own formulas (div(t, x), not
# t · (1/x)) stand in the program. Values that a `where` discards must not leak: select(c, 0, t) · (1/x) is NaN at x = 0
# where select(c, 0, t · (1/x)) is 0. So guards are kept beside the adjoint and put around it at the very end.


@dataclass(frozen=True, eq=False)
class _Guard:
    """Where the derivative is zero whatever its formula says; linked, so that long chains share their rests."""

    select: Operation
    condition: Argument
    zero: int
    rest: _Guard | None
    depth: int


@dataclass(frozen=True)
class _Adjoint:
    guard: _Guard | None
    value: Argument


@dataclass(frozen=True)
class _Adjoints:
    """The program of a function with its reverse sweep, and the adjoints of its inputs; none where it is zero."""

    sweep: _Sweep
    inputs: Mapping[int, _Adjoint | Refusal]

    def is_zero(self, position: int) -> bool:
        """Whether a partial is identically zero."""
        adjoint = self.inputs.get(position)
        return adjoint is None or (isinstance(adjoint, _Adjoint) and is_number(adjoint.value, 0))


class _Sweep:
    """Emits the instructions of a sweep behind those of its function."""

    def __init__(self, function: ScalarFunction) -> None:
        self.builder = Builder(function.inputs, derivative=True, instructions=function.instructions)
        self._own = len(function.inputs) + len(function.instructions)
        self._guards: dict[tuple[Argument, int, int], _Guard] = {}

    def passed(
        self, adjoint: _Adjoint | Refusal, step: Instruction, dtypes: tuple[str, ...], place: int
    ) -> _Adjoint | Refusal:
        """What an instruction passes on to one of its arguments."""
        if isinstance(adjoint, Refusal):
            return adjoint
        same = dtypes[place] == step.dtype == self.builder.dtype_of(adjoint.value)
        value = self.along(step, dtypes, place, adjoint.value if same else number(1, dtypes[place]))
        if isinstance(value, Refusal):
            return value
        if not same:
            value = self._common("mul", adjoint.value, value)
        return self._peeled(adjoint.guard, value)

    def along(self, step: Instruction, dtypes: tuple[str, ...], place: int, moved: Argument) -> Argument | Refusal:
        """The tangent of an instruction, given that of one of its arguments."""
        tangent: ScalarFunction | Refusal | None = step.operation.tangent(step.operation, dtypes, place)
        if tangent is None:
            return Refusal(step.operation, "It has a derivative that does not act element by element.")
        if isinstance(tangent, Refusal):
            return replace(tangent, operation=step.operation)
        return self.builder.inline(tangent, (*step.arguments, moved), step.operation.line)

    def _peeled(self, guard: _Guard | None, value: Argument) -> _Adjoint:
        """An adjoint with the guards around its value, if the sweep made them, kept apart."""
        while isinstance(value, int) and value >= self._own:
            step = self.builder.instructions[value - len(self.builder.inputs)]
            cases = step.arguments[1:]
            zeros = [k for k, case in enumerate(cases) if is_number(case, 0)]
            if step.operation.name != "select_n" or len(cases) != 2 or not zeros:
                break
            [zero] = zeros
            key = (step.arguments[0], zero, id(guard))
            if key not in self._guards:
                depth = 1 if guard is None else guard.depth + 1
                self._guards[key] = _Guard(step.operation, step.arguments[0], zero, guard, depth)
            guard, value = self._guards[key], cases[1 - zero]
        return _Adjoint(guard, value)

    def sum(self, one: _Adjoint | Refusal, other: _Adjoint | Refusal) -> _Adjoint | Refusal:
        """The sum of two contributions; guards that both have stay around it."""
        if isinstance(one, Refusal):
            return one
        if isinstance(other, Refusal):
            return other
        a, b = one.guard, other.guard
        while a is not b:
            if b is None or (a is not None and a.depth >= b.depth):
                a = a.rest if a is not None else None
            else:
                b = b.rest
        return _Adjoint(a, self._common("add", self.guarded(one, a), self.guarded(other, a)))

    def guarded(self, adjoint: _Adjoint, until: _Guard | None = None) -> Argument:
        """The value with its guards around it, up to one that stays apart."""
        guard, value = adjoint.guard, adjoint.value
        while guard is not until and guard is not None:
            dtype = self.builder.dtype_of(value)
            cases = (number(0, dtype), value) if guard.zero == 0 else (value, number(0, dtype))
            value = self.builder.emit(guard.select, (guard.condition, *cases), dtype)
            guard = guard.rest
        return value

    def converted(self, value: Argument, dtype: str) -> Argument:
        """A value in another dtype."""
        own = self.builder.dtype_of(value)
        return value if own == dtype else self.builder.emit(_conversion(own, dtype), [value], dtype)

    def _common(self, name: str, a: Argument, b: Argument) -> Argument:
        own, other = self.builder.dtype_of(a), self.builder.dtype_of(b)
        dtype = own if own == other else jnp.promote_types(own, other).name
        values = [self.converted(a, dtype), self.converted(b, dtype)]
        return self.builder.emit(_binary(name, dtype), values, dtype)


def _swept(function: ScalarFunction) -> _Adjoints:
    """All partials of a function by one reverse sweep."""
    sweep = _Sweep(function)
    adjoints: dict[int, _Adjoint | Refusal] = {}
    if isinstance(function.result, int):
        dtype = function.dtype_of(function.result)
        if is_real(dtype):
            adjoints[function.result] = _Adjoint(None, number(1, dtype))
    for place in range(len(function.instructions) - 1, -1, -1):
        adjoint = adjoints.pop(len(function.inputs) + place, None)
        if adjoint is None:
            continue
        step = function.instructions[place]
        dtypes = function.signature(step)
        for k in function._moving[place]:
            argument = step.arguments[k]
            if isinstance(argument, int):
                passed = sweep.passed(adjoint, step, dtypes, k)
                if isinstance(passed, Refusal) or not is_number(passed.value, 0):
                    known = adjoints.get(argument)
                    adjoints[argument] = passed if known is None else sweep.sum(known, passed)
    return _Adjoints(sweep, adjoints)


# Up to so many inputs that move, each partial is a forward sweep of its own: linear in the program as well.
FORWARD_INPUTS = 4


@lru_cache(maxsize=4096)
def _partial(function: ScalarFunction, position: int) -> ScalarFunction:
    dtype = function.dtype_of(function.result)
    moving = function.moving()
    if position not in moving:
        return ScalarFunction(function.inputs, (), number(0, dtype))
    if len(moving) <= FORWARD_INPUTS:
        sweep = _Sweep(function)
        found = _pushed(function, position, sweep)
    else:
        sweep = function._adjoints.sweep
        adjoint = function._adjoints.inputs.get(position, number(0, dtype))
        found = sweep.converted(sweep.guarded(adjoint), dtype) if isinstance(adjoint, _Adjoint) else adjoint
    if isinstance(found, Refusal):
        lines = [s.operation.line for s in function.instructions if s.operation.line]
        line = found.operation.line or (lines[-1] if lines else "an unknown line")
        raise DifferentiationError(
            f"a derivative of the operation '{found.operation.name}' was asked for, at {line}, "
            f"but JAX cannot differentiate it here: {found.reason} "
            "Rewrite that line with differentiable operations, or cut it with jax.lax.stop_gradient."
        )
    return sweep.builder.function(found)


def _pushed(function: ScalarFunction, position: int, sweep: _Sweep) -> Argument | Refusal:
    """One partial of a function, by a forward sweep.

    For few inputs it costs what the reverse sweep costs, and its formulas are the ones that one writes:
    exp(x) / (1 + exp(x)), not 1 / (1 + exp(x)) · exp(x).
    """
    builder, inputs = sweep.builder, len(function.inputs)
    tangents: dict[int, Argument | Refusal] = {position: number(1, function.inputs[position])}
    for place, step in enumerate(function.instructions):
        if inputs + place not in function._live:
            continue
        for k in sorted(function._moving[place]):
            argument = step.arguments[k]
            moved = tangents.get(argument) if isinstance(argument, int) else None
            if moved is None:
                continue
            passed = moved if isinstance(moved, Refusal) else sweep.along(step, function.signature(step), k, moved)
            known = tangents.get(inputs + place)
            if isinstance(passed, Refusal) or known is None:
                tangents[inputs + place] = passed
            elif not isinstance(known, Refusal):
                tangents[inputs + place] = builder.emit(_binary("add", step.dtype), (known, passed), step.dtype)
    if isinstance(function.result, Number):
        return number(0, function.result.dtype)
    return tangents.get(function.result, number(0, function.dtype_of(function.result)))


@lru_cache(maxsize=64)
def _binary(name: str, dtype: str) -> Operation:
    """Sum or product, with the tangents that they have by definition."""
    scalar = jax.ShapeDtypeStruct((), jnp.dtype(dtype))
    function = jax.lax.mul if name == "mul" else jax.lax.add
    [equation] = trace_alone(lambda a, b: [function(a, b)], [scalar, scalar]).equations
    apply = partial(equation.primitive.bind, **equation.params)

    def tangent(operation: Operation, dtypes: tuple[str, ...], position: int) -> ScalarFunction:
        builder = Builder((*dtypes, dtype), derivative=True)
        return builder.function(2 if name == "add" else builder.emit(operation, (1 - position, 2), dtype))

    return Operation(name, tuple(sorted(equation.params.items())), apply, tangent)


@lru_cache(maxsize=64)
def _conversion(dtype: str, wanted: str) -> Operation:
    """A change of dtype: linear, so that its tangent is that of its argument, converted."""
    scalar = jax.ShapeDtypeStruct((), jnp.dtype(dtype))
    new = jnp.dtype(wanted)
    [equation] = trace_alone(lambda a: [jax.lax.convert_element_type(a, new)], [scalar]).equations
    apply = partial(equation.primitive.bind, **equation.params)

    def tangent(operation: Operation, dtypes: tuple[str, ...], position: int) -> ScalarFunction:
        builder = Builder((dtype, dtype), derivative=True)
        return builder.function(builder.emit(operation, (1,), wanted))

    return Operation(equation.name, tuple(sorted(equation.params.items())), apply, tangent)
