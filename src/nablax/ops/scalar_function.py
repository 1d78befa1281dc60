"""Scalar functions of a traced program: the elementwise part of a graph, as JAX sees it.

JAX is asked once for the tangent of each operation (it is numerically careful there: logistic, softplus, xlogy).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.ops.elementwise import ROWS
from nablax.ops.instruction import Argument, Instruction, Number, Operation, is_real, number
from nablax.ops.jaxprs import Equation, Literal, Program, Value, trace_alone
from nablax.ops.straight_line import Builder, Refusal, ScalarFunction


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
        line = "" if reading.derivative else equation.line
        return Operation(equation.name, params, apply, _primitive_tangent, line)
    if equation.name == "custom_jvp_call":
        if (equation.called, equation.text) == (reading.called, reading.text):
            return _ITSELF
        # a rule may use functions with rules of their own, and those others without end (jnp.sinc of JAX 0.10 does)
        if reading.depth < 3:
            return _with_own_rule(equation, reading.shape, reading.depth + 1)
        return _with_rule_when_asked(equation, reading.shape)
    return None


# Stands inside a rule for the function that the rule belongs to (d softplus = exp(x - softplus(x)) dx).
_ITSELF = Operation("itself", (), lambda *_: None, lambda *_: None)


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
    value = _own_value(equation, shape, depth)
    if value is None:
        return None
    tangents: list[ScalarFunction | None] = []
    for position, argument in enumerate(equation.inputs):
        own = _own_tangent(equation, position, shape, depth) if is_real(argument.dtype.name) else None
        if own is None and is_real(argument.dtype.name):
            return None
        tangents.append(own)
    return _own_rule(equation.called, _Rule(value, tuple(tangents)), equation.line)


@dataclass(frozen=True, eq=False)
class _Unread:
    """The key of a function whose derivative rule is read when it is asked for; equal to itself alone."""

    value: ScalarFunction
    equation: Equation
    shape: tuple[int, ...]


def _with_rule_when_asked(equation: Equation, shape: tuple[int, ...]) -> Operation | None:
    """As `_with_own_rule`, the rule not yet read: deep inside others it is one of an order that few ask for."""
    value = _own_value(equation, shape, 3)
    if value is None:
        return None
    return _ruled(equation.called, _Unread(value, equation, shape), _unread_tangent, equation.line)


@lru_cache(maxsize=256)
def _unread_tangent(operation: Operation, dtypes: tuple[str, ...], position: int) -> ScalarFunction | None:
    """The tangent of a function whose rule has not been read before."""
    key: _Unread = operation.key
    found = _own_tangent(key.equation, position, key.shape, 0)
    return None if found is None else _resolved(found, operation)


def _own_value(equation: Equation, shape: tuple[int, ...], depth: int) -> ScalarFunction | None:
    """The value of a function with a rule of its own; None if it does not act element by element."""
    found = None if equation.body is None else _read(equation.body, _Reading(shape, derivative=False, depth=depth))
    return found[0] if found is not None and len(found) == 1 else None


def _own_tangent(equation: Equation, position: int, shape: tuple[int, ...], depth: int) -> ScalarFunction | None:
    """What the rule of a function says of one argument; the function itself is `_ITSELF` in it."""
    given = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in equation.inputs]
    tangent = partial(_tangent, lambda *arguments: equation.apply(*arguments)[0], position)
    reading = _Reading(shape, True, equation.called, equation.text, depth)
    found = _read(trace_alone(tangent, [*given, given[position]]), reading)
    return None if found is None else found[0]


def _tangent(function: Callable[..., Any], position: int, *arguments: Any) -> Any:
    """The tangent of a function's value, given its arguments and the tangent of one of them."""
    *primals, moved = arguments

    def along(value: Any) -> Any:
        return function(*primals[:position], value, *primals[position + 1 :])

    return [jax.jvp(along, (primals[position],), (moved,))[1]]


@lru_cache(maxsize=1024)
def _own_rule(name: str, rule: _Rule, line: str) -> Operation:
    """An operation with given tangents in place of those of its own text."""
    return _ruled(name, rule, _rule_tangent, line)


def _ruled(name: str, key: _Rule | _Unread, tangent_of: Callable[..., ScalarFunction | None], line: str) -> Operation:
    """An operation whose tangents are given, and a function of JAX's that has them as its rule."""

    def function(*arguments: Any) -> Any:
        return key.value(*arguments)

    function.__name__ = function.__qualname__ = name
    ruled = jax.custom_jvp(function)
    operation = Operation(name, key, ruled, tangent_of, line)

    @ruled.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        out = ruled(*primals)
        dtypes = key.value.inputs
        slopes = [tangent_of(operation, dtypes, k) if is_real(dtype) else None for k, dtype in enumerate(dtypes)]
        moved = [slope(*primals, t) for slope, t in zip(slopes, tangents, strict=True) if slope is not None]
        return out, reduce(jnp.add, moved, jnp.zeros_like(out))

    return operation


def _resolved(function: ScalarFunction, itself: Operation) -> ScalarFunction:
    steps = tuple(
        Instruction(itself, step.arguments, step.dtype) if step.operation == _ITSELF else step
        for step in function.instructions
    )
    return ScalarFunction(function.inputs, steps, function.result)


def _rule_tangent(operation: Operation, dtypes: tuple[str, ...], position: int) -> ScalarFunction | None:
    """The tangent of a function with a rule of its own."""
    tangent: ScalarFunction | None = operation.key.tangents[position]
    return None if tangent is None else _resolved(tangent, operation)


@lru_cache(maxsize=4096)
def _primitive_tangent(operation: Operation, dtypes: tuple[str, ...], position: int) -> ScalarFunction | Refusal | None:
    """The tangent of a primitive, asked of JAX once; see `Operation.tangent`."""
    scalars = [jax.ShapeDtypeStruct((), jnp.dtype(dtype)) for dtype in (*dtypes, dtypes[position])]
    try:
        program = trace_alone(partial(_tangent, operation.apply, position), scalars)
    except (ValueError, TypeError, NotImplementedError) as error:
        return Refusal(operation, str(error).strip().splitlines()[0])
    found = read(program, (), derivative=True)
    return None if found is None else found[0]


@lru_cache(maxsize=4096)
def _readable(operation: Operation, dtypes: tuple[str, ...], dtype: str, order: int) -> bool:
    """Whether the derivatives of an operation up to an order are scalar functions, wherever JAX has them."""
    if order == 0 or not is_real(dtype) or (operation.name in ROWS and ROWS[operation.name].flat):
        return True
    for position, own in enumerate(dtypes):
        if not is_real(own):
            continue
        tangent = operation.tangent(operation, dtypes, position)
        if tangent is None:
            return False
        if isinstance(tangent, ScalarFunction) and not all(
            _readable(step.operation, tangent.signature(step), step.dtype, order - 1) for step in tangent.instructions
        ):
            return False
    return True


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
    found = read(trace_alone(lambda *arguments: [function(*arguments)], scalars), ())
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
