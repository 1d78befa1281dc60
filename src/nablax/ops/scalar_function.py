"""Scalar functions: the elementwise part of a graph, fused, with partial derivatives by the chain rule.

A scalar function is a short straight-line program over numbers. It is evaluated on arrays element by element. JAX is
asked once for the derivative of each operation (it is numerically careful there: logistic, softplus, xlogy); the
partials of a program follow from these by one reverse sweep over it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.errors import DifferentiationError
from nablax.ops.couplings import Pairs, Positions, coupled_inputs, moving_values
from nablax.ops.elementwise import ROWS
from nablax.ops.instruction import Argument, Instruction, Number, Operation, is_number, is_real, number, simplified
from nablax.ops.jaxprs import Equation, Literal, Program, Value, trace


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
            >>> from_jax(lambda x, y: x * y, "float32", "float32").partial(0)(2.0, 5.0)
            5.0
        """
        return _partial(self, position)

    def moving(self) -> frozenset[int]:
        """Positions of the inputs in which the function has a partial that is not identically zero.

        Returns:
            The positions, found from the structure of the program: none that matters is missing.

        Example:
            >>> sorted(from_jax(lambda x, y: x * jnp.sign(y), "float32", "float32").moving())
            [0]
        """
        return frozenset(k for k in self._live if k < len(self.inputs) and is_real(self.inputs[k]))

    def couplings(self) -> frozenset[tuple[int, int]]:
        """Pairs of inputs with a second partial that is not identically zero.

        Returns:
            Pairs (p, q) with p ≤ q, found from the structure of the program: none that matters is missing.

        Example:
            >>> sorted(from_jax(lambda x, y: x * y + jnp.exp(y), "float32", "float32").couplings())
            [(0, 1), (1, 1)]
        """
        return self._couplings

    def _signature(self, step: Instruction) -> tuple[str, ...]:
        return tuple(self.dtype_of(a) for a in step.arguments)

    @cached_property
    def _moving(self) -> list[Positions]:
        return [_moving_places(step.operation, self._signature(step), step.dtype) for step in self.instructions]

    @cached_property
    def _live(self) -> Positions:
        return moving_values(len(self.inputs), self.instructions, self.result, self._moving.__getitem__)

    @cached_property
    def _couplings(self) -> Pairs:
        def coupled(place: int) -> Pairs:
            step = self.instructions[place]
            return _coupled_places(step.operation, self._signature(step), step.dtype)

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


# -- reading a traced program ------------------------------------------------------------------------------


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
    """The elementwise operation that an equation performs on arrays of a shape.

    Args:
        equation: has one output.
        shape: the common shape of its arrays; scalars may stand among them.

    Returns:
        The operation; None if it does not act element by element, or if its first or second partials contain
        something that no row describes: then JAX must differentiate the equation as a whole.
    """
    operation = _operation(equation, _Reading(shape, derivative=False))
    if operation is None:
        return None
    dtypes = tuple(value.dtype.name for value in equation.inputs)
    return operation if _readable(operation, dtypes, equation.outputs[0].dtype.name, 2) else None


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
        # the lines of a derivative are those of the rules, which are no user's
        return Operation(equation.name, params, apply, "" if reading.derivative else equation.line)
    if equation.name == "custom_jvp_call":
        if (equation.called, equation.text) == (reading.called, reading.text):
            return _ITSELF
        # a rule may use functions with rules of their own, but not without end (jnp.sinc does)
        return _with_own_rule(equation, reading.shape, reading.depth + 1) if reading.depth < 3 else None
    return None


# Stands inside a rule for the function that the rule belongs to (d softplus = exp(x - softplus(x)) dx).
_ITSELF = Operation("itself", (), lambda *_: None)


@dataclass(frozen=True)
class _Rule:
    """The key of a function with a derivative rule of its own.

    Args:
        value: the function.
        tangents: for each argument that carries a derivative, the tangent of the value: a function of the
            arguments and the tangent of that argument.
    """

    value: ScalarFunction
    tangents: tuple[ScalarFunction | None, ...]


def _with_own_rule(equation: Equation, shape: tuple[int, ...], depth: int) -> Operation | None:
    """An elementwise function with a custom derivative rule: the rule is honoured, as scalar functions.

    The rule is traced for one argument at a time. If value and rule both act element by element, the tangents are
    scalar functions too, and the rule is rebuilt from them for any shape.
    """
    if equation.body is None:
        return None
    value = _read(equation.body, _Reading(shape, derivative=False, depth=depth))
    if value is None or len(value) != 1:
        return None
    given = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in equation.inputs]
    tangents: list[ScalarFunction | None] = []
    for position, argument in enumerate(given):
        if not jnp.issubdtype(argument.dtype, jnp.floating):
            tangents.append(None)
            continue
        tangent = partial(_tangent, lambda *arguments: equation.apply(*arguments)[0], position)
        reading = _Reading(shape, True, equation.called, equation.text, depth)
        found = _read(trace(tangent, [*given, argument]), reading)
        if found is None:
            return None
        tangents.append(found[0])
    return _own_rule(equation.called, _Rule(value[0], tuple(tangents)), equation.line)


def _tangent(function: Callable[..., Any], position: int, *arguments: Any) -> Any:
    """The tangent of a function's value, given its arguments and the tangent of one of them."""
    *primals, moved = arguments

    def along(value: Any) -> Any:
        return function(*primals[:position], value, *primals[position + 1 :])

    return [jax.jvp(along, (primals[position],), (moved,))[1]]


@lru_cache(maxsize=1024)
def _own_rule(name: str, rule: _Rule, line: str) -> Operation:
    """An operation with given tangents in place of those of its own text."""

    def function(*arguments: Any) -> Any:
        return rule.value(*arguments)

    function.__name__ = function.__qualname__ = name
    ruled = jax.custom_jvp(function)
    operation = Operation(name, rule, ruled, line)
    resolved = [None if tangent is None else _resolved(tangent, operation) for tangent in rule.tangents]

    @ruled.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        out = ruled(*primals)
        moved = [tangent(*primals, t) for tangent, t in zip(resolved, tangents, strict=True) if tangent is not None]
        return out, reduce(jnp.add, moved, jnp.zeros_like(out))

    return operation


def _resolved(function: ScalarFunction, itself: Operation) -> ScalarFunction:
    steps = tuple(
        Instruction(itself, step.arguments, step.dtype) if step.operation == _ITSELF else step
        for step in function.instructions
    )
    return ScalarFunction(function.inputs, steps, function.result)


# -- derivatives of operations -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Refusal:
    """Why a derivative does not exist, and of which operation."""

    operation: Operation
    reason: str


@lru_cache(maxsize=4096)
def _operation_tangent(
    operation: Operation, dtypes: tuple[str, ...], position: int
) -> ScalarFunction | _Refusal | None:
    """The tangent of one operation, asked of JAX once.

    Args:
        operation: the operation.
        dtypes: of its arguments.
        position: the argument that moves.

    Returns:
        A function of the arguments and the tangent of that argument; why JAX has none; None if there is one
        that is not a scalar function.
    """
    if isinstance(operation.key, _Rule):
        tangent = operation.key.tangents[position]
        return None if tangent is None else _resolved(tangent, operation)
    scalars = [jax.ShapeDtypeStruct((), jnp.dtype(dtype)) for dtype in (*dtypes, dtypes[position])]
    try:
        program = trace(partial(_tangent, operation.apply, position), scalars)
    except (ValueError, TypeError, NotImplementedError) as error:
        return _Refusal(operation, str(error).strip().splitlines()[0])
    found = read(program, (), derivative=True)
    return None if found is None else found[0]


@lru_cache(maxsize=4096)
def _operation_partial(
    operation: Operation, dtypes: tuple[str, ...], position: int
) -> ScalarFunction | _Refusal | None:
    """The partial of one operation as a function of its arguments; otherwise as `_operation_tangent`."""
    tangent = _operation_tangent(operation, dtypes, position)
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
            slope = _operation_partial(operation, dtypes, place)
            if not isinstance(slope, ScalarFunction) or slope.constant != 0.0:
                found.add(place)
    return frozenset(found)


@lru_cache(maxsize=4096)
def _coupled_places(operation: Operation, dtypes: tuple[str, ...], dtype: str) -> Pairs:
    """The pairs of places among an operation's arguments in which its second partial is not the constant 0."""
    found = set()
    for p in _moving_places(operation, dtypes, dtype):
        slope = _operation_partial(operation, dtypes, p)
        for q, own in enumerate(dtypes):
            if is_real(own) and (not isinstance(slope, ScalarFunction) or not slope._adjoints.is_zero(q)):
                found.add((min(p, q), max(p, q)))
    return frozenset(found)


@lru_cache(maxsize=4096)
def _readable(operation: Operation, dtypes: tuple[str, ...], dtype: str, order: int) -> bool:
    """Whether the derivatives of an operation up to an order are scalar functions, wherever JAX has them."""
    if order == 0 or not is_real(dtype) or (operation.name in ROWS and ROWS[operation.name].flat):
        return True
    for position, own in enumerate(dtypes):
        if not is_real(own):
            continue
        tangent = _operation_tangent(operation, dtypes, position)
        if tangent is None:
            return False
        if isinstance(tangent, ScalarFunction) and not all(
            _readable(step.operation, tangent._signature(step), step.dtype, order - 1) for step in tangent.instructions
        ):
            return False
    return True


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
    inputs: Mapping[int, _Adjoint | _Refusal]

    def is_zero(self, position: int) -> bool:
        """Whether a partial is identically zero."""
        adjoint = self.inputs.get(position)
        return adjoint is None or (isinstance(adjoint, _Adjoint) and is_number(adjoint.value, 0))


class _Sweep:
    """Emits the instructions of a reverse sweep behind those of its function."""

    def __init__(self, function: ScalarFunction) -> None:
        self.builder = Builder(function.inputs, derivative=True, instructions=function.instructions)
        self._own = len(function.inputs) + len(function.instructions)
        self._guards: dict[tuple[Argument, int, int], _Guard] = {}

    def passed(
        self, adjoint: _Adjoint | _Refusal, step: Instruction, dtypes: tuple[str, ...], place: int
    ) -> _Adjoint | _Refusal:
        """What an instruction passes on to one of its arguments."""
        if isinstance(adjoint, _Refusal):
            return adjoint
        tangent = _operation_tangent(step.operation, dtypes, place)
        if tangent is None:
            return _Refusal(step.operation, "It has a derivative that does not act element by element.")
        if isinstance(tangent, _Refusal):
            return replace(tangent, operation=step.operation)
        line = step.operation.line
        if dtypes[place] == step.dtype == self.builder.dtype_of(adjoint.value):
            value = self.builder.inline(tangent, (*step.arguments, adjoint.value), line)
        else:
            slope = self.builder.inline(tangent, (*step.arguments, number(1, dtypes[place])), line)
            value = self._common("mul", adjoint.value, slope)
        return self._peeled(adjoint.guard, value)

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

    def sum(self, one: _Adjoint | _Refusal, other: _Adjoint | _Refusal) -> _Adjoint | _Refusal:
        """The sum of two contributions; guards that both have stay around it."""
        if isinstance(one, _Refusal):
            return one
        if isinstance(other, _Refusal):
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
        return value if own == dtype else self.builder.inline(_conversion(own, dtype), [value])

    def _common(self, name: str, a: Argument, b: Argument) -> Argument:
        own, other = self.builder.dtype_of(a), self.builder.dtype_of(b)
        dtype = own if own == other else jnp.promote_types(own, other).name
        values = [self.converted(a, dtype), self.converted(b, dtype)]
        return self.builder.emit(_binary(name, dtype), values, dtype)


def _swept(function: ScalarFunction) -> _Adjoints:
    """All partials of a function by one reverse sweep."""
    sweep = _Sweep(function)
    adjoints: dict[int, _Adjoint | _Refusal] = {}
    if isinstance(function.result, int):
        dtype = function.dtype_of(function.result)
        if is_real(dtype):
            adjoints[function.result] = _Adjoint(None, number(1, dtype))
    for place in range(len(function.instructions) - 1, -1, -1):
        adjoint = adjoints.pop(len(function.inputs) + place, None)
        if adjoint is None:
            continue
        step = function.instructions[place]
        dtypes = function._signature(step)
        for k in function._moving[place]:
            argument = step.arguments[k]
            if isinstance(argument, int):
                passed = sweep.passed(adjoint, step, dtypes, k)
                if isinstance(passed, _Refusal) or not is_number(passed.value, 0):
                    known = adjoints.get(argument)
                    adjoints[argument] = passed if known is None else sweep.sum(known, passed)
    return _Adjoints(sweep, adjoints)


@lru_cache(maxsize=4096)
def _partial(function: ScalarFunction, position: int) -> ScalarFunction:
    sweep, dtype = function._adjoints.sweep, function.dtype_of(function.result)
    adjoint = function._adjoints.inputs.get(position)
    if adjoint is None:
        return sweep.builder.function(number(0, dtype))
    if isinstance(adjoint, _Refusal):
        lines = [s.operation.line for s in function.instructions if s.operation.line]
        line = adjoint.operation.line or (lines[-1] if lines else "an unknown line")
        raise DifferentiationError(
            f"a derivative of the operation '{adjoint.operation.name}' was asked for, at {line}, "
            f"but JAX cannot differentiate it here: {adjoint.reason} "
            "Rewrite that line with differentiable operations, or cut it with jax.lax.stop_gradient."
        )
    return sweep.builder.function(sweep.converted(sweep.guarded(adjoint), dtype))


@lru_cache(maxsize=64)
def _binary(name: str, dtype: str) -> Operation:
    [step] = from_jax(jax.lax.mul if name == "mul" else jax.lax.add, dtype, dtype).instructions
    return replace(step.operation, line="")


@lru_cache(maxsize=64)
def _conversion(dtype: str, wanted: str) -> ScalarFunction:
    return from_jax(lambda value: jax.lax.convert_element_type(value, jnp.dtype(wanted)), dtype)


# -- making scalar functions -------------------------------------------------------------------------------


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
    arguments = [builder.inline(inner[k], list(wiring[k])) if k in inner else kept[k] for k in range(len(outer.inputs))]
    return builder.function(builder.inline(outer, arguments))


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


__all__ = [
    "Argument",
    "Builder",
    "Instruction",
    "Number",
    "Operation",
    "ScalarFunction",
    "compose",
    "from_jax",
    "number",
    "read",
    "read_equation",
]
