"""A multiple of a multiple as one multiple, where no rounding changes: 100 · (-(2 u)) is -200 u."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from nablax.ops.instruction import Argument, Instruction, Number, Operation, is_real, number


class _Multiple(NamedTuple):
    """``factor * value``; the constant stands at a place of the arguments (of a negation at none)."""

    factor: float
    value: int
    place: int | None


def gathered(
    operation: Operation, arguments: Sequence[Argument], dtype: str, made_by: Callable[[int], Instruction | None]
) -> Argument | tuple[Operation, Sequence[Argument]]:
    """An instruction with the constants of its argument gathered into its own.

    c (d u) is rounded twice and (c d) u once, unless c or d is a power of two: to multiply by one is exact, but for
    what leaves the range of the numbers on the way.

    Args:
        operation: what is done.
        arguments: to what.
        dtype: dtype of the result.
        made_by: the instruction that made a value; None for an input.

    Returns:
        The operation and the arguments to take instead; a value where nothing is left to do: -(-u) is u.
    """
    while (outer := _multiple(operation, arguments, dtype)) is not None:
        step = made_by(outer.value)
        inner = None if step is None or step.dtype != dtype else _multiple(step.operation, step.arguments, dtype)
        if step is None or inner is None or not (_is_power_of_two(outer.factor) or _is_power_of_two(inner.factor)):
            break
        factor = outer.factor * inner.factor
        with np.errstate(over="ignore"):
            constant = number(factor, dtype)
        if float(constant.value) != factor or factor / inner.factor != outer.factor:
            break
        if factor == 1.0:
            return inner.value
        if outer.place is not None:
            arguments = _put(arguments, outer.place, constant, inner.value)
        elif inner.place is not None:
            operation, arguments = step.operation, _put(step.arguments, inner.place, constant, inner.value)
        else:
            break
    return operation, arguments


def _multiple(operation: Operation, arguments: Sequence[Argument], dtype: str) -> _Multiple | None:
    if not is_real(dtype):
        return None
    if operation.name == "neg" and isinstance(arguments[0], int):
        return _Multiple(-1.0, arguments[0], None)
    if operation.name == "mul":
        for place, (one, other) in enumerate(zip(arguments, reversed(arguments), strict=True)):
            if isinstance(one, Number) and isinstance(other, int) and one.dtype == dtype and _is_usable(one):
                return _Multiple(float(one.value), other, place)
    return None


def _put(arguments: Sequence[Argument], place: int, constant: Number, value: int) -> tuple[Argument, ...]:
    return tuple(constant if k == place else value for k in range(len(arguments)))


def _is_usable(constant: Number) -> bool:
    return math.isfinite(constant.value) and constant.value != 0


def _is_power_of_two(factor: float) -> bool:
    return abs(math.frexp(factor)[0]) == 0.5
