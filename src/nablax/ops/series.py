"""Power series through scalar functions, coefficient by coefficient.

Along a curve u(t) = u_0 + u_1 t + u_2 t² + … a product has the coefficients sum_i a_i b_(j-i). Every other operation
y = φ(u) obeys y' = φ'(u) u', so that

    y_j  =  1/j  sum_(i=1..j)  i u_i  [φ'(u)]_(j-i)

needs the coefficients of φ'(u) below j only. Where φ' is written in φ itself (tanh, exp, 1/√) the recursion closes: y
is then determined by its own lower coefficients, in O(k²) operations for order k. Where it is not (ln Γ, whose
derivative is ψ) one more function is needed at each order, for one coefficient less. JAX states φ'; no series is
written down.

Source: Griewank and Walther 2008, chapter 13; Moore 1966 for the recursion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from nablax.errors import DifferentiationError
from nablax.ops.instruction import Argument, Instruction, Number, Operation, is_real
from nablax.ops.straight_line import Builder, Refusal, ScalarFunction, operation_partial


class Curve:
    """A value along a curve: coefficients of t⁰, t¹, …, computed when they are asked for and kept.

    Args:
        make: gives coefficient j as an array, or None where it is zero; it may ask for lower ones of the same curve.
    """

    def __init__(self, make: Callable[[int], Any | None]) -> None:
        self._make = make
        self._known: list[Any | None] = []

    def __getitem__(self, order: int) -> Any | None:
        while len(self._known) <= order:
            self._known.append(self._make(len(self._known)))
        return self._known[order]

    def slope(self) -> Curve:
        """The derivative of the curve; its first coefficient is an array always."""

        def make(j: int) -> Any | None:
            found = scaled(self[j + 1], float(j + 1))
            return jnp.zeros_like(jnp.asarray(self[0])) if found is None and j == 0 else found

        return Curve(make)


def still(value: Any) -> Curve:
    """A value that does not move."""
    return Curve(lambda j: value if j == 0 else None)


def moving(*coefficients: Any) -> Curve:
    """A curve with these first coefficients; the others are zero."""
    return Curve(lambda j: coefficients[j] if j < len(coefficients) else None)


def scaled(value: Any | None, factor: float) -> Any | None:
    """A coefficient times a number."""
    return value if value is None or factor == 1.0 else value * jnp.asarray(factor, value.dtype)


def added(parts: Sequence[Any | None]) -> Any | None:
    """The sum of coefficients, some of which may be zero."""
    total = None
    for part in parts:
        if part is not None:
            total = part if total is None else _both(jax.lax.add, total, part)
    return total


def convolved(product: Callable[[Any, Any], Any], a: Curve, b: Curve, order: int) -> Any | None:
    """Coefficient of a product of two curves: sum_i a_i b_(order-i).

    Args:
        product: a function linear in both of its arguments.
        a: the left curve.
        b: the right curve.
        order: which coefficient.
    """
    parts = []
    for i in range(order + 1):
        left = a[i]
        right = None if left is None else b[order - i]
        parts.append(None if left is None or right is None else product(left, right))
    return added(parts)


def series(function: ScalarFunction, inputs: Sequence[Curve]) -> Curve:
    """A scalar function of curves, element by element.

    Args:
        function: the function.
        inputs: one curve for each argument; arrays of one shape, and scalars.

    Returns:
        The curve of its value.

    Raises:
        DifferentiationError: when a coefficient needs a derivative that does not exist.

    Example:
        >>> from nablax.ops.scalar_function import from_jax
        >>> y = series(from_jax(jnp.exp, "float32"), [moving(jnp.float32(0.0), jnp.float32(1.0))])
        >>> [float(y[j]) for j in range(4)]
        [1.0, 1.0, 0.5, 0.1666666716337204]
    """
    return _Line(function, inputs).curve(function.result)


class _Line:
    """A straight-line program whose values are curves; it grows by the derivatives that they need."""

    def __init__(self, function: ScalarFunction, inputs: Sequence[Curve]) -> None:
        self._builder = Builder(function.inputs, derivative=True, instructions=function.instructions)
        self._curves: dict[int, Curve] = dict(enumerate(inputs))
        self._partials: dict[tuple[Instruction, int], Argument] = {}
        self.powers: dict[int, dict[int, Curve]] = {}

    def curve(self, argument: Argument) -> Curve:
        if isinstance(argument, Number):
            return still(jnp.asarray(argument.value))
        if argument not in self._curves:
            step = self._builder.instructions[argument - len(self._builder.inputs)]
            self._curves[argument] = self._of(step)
        return self._curves[argument]

    def _of(self, step: Instruction) -> Curve:
        arguments = [self.curve(a) for a in step.arguments]
        rule = _ARITHMETIC.get(step.operation.name)
        higher = _by_derivative if rule is None else rule

        def make(j: int) -> Any | None:
            if j == 0:
                return _applied(step.operation, [a[0] for a in arguments])
            return higher(self, step, arguments, own, j)

        own = Curve(make)
        return own

    def partial(self, step: Instruction, place: int) -> Argument:
        """The partial of an instruction in one of its arguments, as a value of the program."""
        if (step, place) not in self._partials:
            self._partials[step, place] = self._partial(step, place)
        return self._partials[step, place]

    def _partial(self, step: Instruction, place: int) -> Argument:
        dtypes = tuple(self._builder.dtype_of(a) for a in step.arguments)
        found = operation_partial(step.operation, dtypes, place)
        if isinstance(found, ScalarFunction):
            return self._builder.inline(found, step.arguments)
        operation = found.operation if isinstance(found, Refusal) else step.operation
        reason = f" JAX says: {found.reason}" if isinstance(found, Refusal) else ""
        where = f" at {operation.line}" if operation.line else ""
        raise DifferentiationError(
            f"a derivative of higher order was asked of {operation.name!r}{where}, which has no derivative of that "
            f"order that acts element by element.{reason} Ask for a lower order."
        )

    def is_real(self, argument: Argument) -> bool:
        return is_real(self._builder.dtype_of(argument))


_Rule = Callable[[_Line, Instruction, Sequence[Curve], Curve, int], Any]


def _by_derivative(line: _Line, step: Instruction, arguments: Sequence[Curve], own: Curve, j: int) -> Any | None:
    if not is_real(step.dtype):
        return None
    parts = []
    for place, (argument, u) in enumerate(zip(step.arguments, arguments, strict=True)):
        if isinstance(argument, Number) or not line.is_real(argument):
            continue
        if all(u[i] is None for i in range(1, j + 1)):
            continue
        slope = line.curve(line.partial(step, place))
        for i in range(1, j + 1):
            left = u[i]
            right = None if left is None else slope[j - i]
            if left is not None and right is not None:
                parts.append(_times(scaled(left, float(i)), right))
    return scaled(added(parts), 1.0 / j)


def _linear(line: _Line, step: Instruction, arguments: Sequence[Curve], own: Curve, j: int) -> Any | None:
    signs = [-1.0 if step.operation.name == "neg" or (step.operation.name == "sub" and k) else 1.0 for k in (0, 1)]
    return added([scaled(a[j], sign) for a, sign in zip(arguments, signs, strict=False)])


def _same(line: _Line, step: Instruction, arguments: Sequence[Curve], own: Curve, j: int) -> Any | None:
    value = arguments[0][j]
    return None if value is None or not is_real(step.dtype) else jnp.asarray(value, step.dtype)


def _product(line: _Line, step: Instruction, arguments: Sequence[Curve], own: Curve, j: int) -> Any | None:
    a, b = arguments
    return _square(line, step, [a], own, j) if a is b else convolved(_times, a, b, j)


def _square(line: _Line, step: Instruction, arguments: Sequence[Curve], own: Curve, j: int) -> Any | None:
    [a] = arguments
    parts: list[Any | None] = []
    for i in range((j + 1) // 2):
        left, right = a[i], a[j - i]
        parts.append(None if left is None or right is None else _times(left, right))
    pairs = scaled(added(parts), 2.0)
    middle = a[j // 2] if j % 2 == 0 else None
    return added([pairs, None if middle is None else _times(middle, middle)])


def _one_minus_square(line: _Line, step: Instruction, arguments: Sequence[Curve], own: Curve, j: int) -> Any | None:
    return scaled(_square(line, step, arguments, own, j), -1.0)


def _quotient(line: _Line, step: Instruction, arguments: Sequence[Curve], own: Curve, j: int) -> Any | None:
    # q b = a:  q_j = (a_j - sum_(i>=1) b_i q_(j-i)) / b_0
    a, b = arguments
    parts = [a[j]]
    for i in range(1, j + 1):
        left = b[i]
        right = None if left is None else own[j - i]
        parts.append(None if left is None or right is None else scaled(_times(left, right), -1.0))
    total = added(parts)
    return None if total is None else _both(jax.lax.div, total, b[0])


def _power(line: _Line, step: Instruction, arguments: Sequence[Curve], own: Curve, j: int) -> Any | None:
    # a product of squares; the derivative's own power would be a new function at each order
    exponent = dict(step.operation.key)["y"]
    if not 2 <= exponent <= _LARGEST_POWER:
        return _by_derivative(line, step, arguments, own, j)
    [base] = step.arguments
    assert isinstance(base, int)  # a power of a number is a number
    return _power_of(line.powers.setdefault(base, {1: arguments[0]}), exponent)[j]


_LARGEST_POWER = 64


def _power_of(powers: dict[int, Curve], exponent: int) -> Curve:
    if exponent not in powers:
        half, rest = _power_of(powers, exponent // 2), exponent % 2
        square = Curve(lambda j: convolved(_times, half, half, j))
        base = powers[1]
        powers[exponent] = Curve(lambda j: convolved(_times, square, base, j)) if rest else square
    return powers[exponent]


def _chosen(line: _Line, step: Instruction, arguments: Sequence[Curve], own: Curve, j: int) -> Any | None:
    which, *cases = arguments
    moved = [case[j] for case in cases]
    if not is_real(step.dtype) or all(value is None for value in moved):
        return None
    shape = jnp.broadcast_shapes(*(jnp.shape(x) for x in (which[0], *moved) if x is not None))
    filled = [jnp.broadcast_to(jnp.zeros((), step.dtype) if x is None else x, shape) for x in moved]
    return jax.lax.select_n(jnp.broadcast_to(jnp.asarray(which[0]), shape), *filled)


_ARITHMETIC: dict[str, _Rule] = {
    "add": _linear,
    "add_any": _linear,
    "sub": _linear,
    "neg": _linear,
    "copy": _same,
    "convert_element_type": _same,
    "mul": _product,
    "square": _square,
    "one_minus_square": _one_minus_square,
    "div": _quotient,
    "integer_pow": _power,
    "select_n": _chosen,
}


def _applied(operation: Operation, values: Sequence[Any]) -> Any:
    shape = jnp.broadcast_shapes(*(jnp.shape(x) for x in values))
    found = operation.apply(*(x if jnp.shape(x) == shape else jnp.broadcast_to(x, shape) for x in values))
    return found[0] if isinstance(found, list | tuple) else found


def _times(a: Any, b: Any) -> Any:
    return _both(jax.lax.mul, a, b)


def _both(operation: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    shape = jnp.broadcast_shapes(jnp.shape(a), jnp.shape(b))
    filled = (x if jnp.shape(x) == shape else jnp.broadcast_to(x, shape) for x in (a, b))
    return operation(*filled)
