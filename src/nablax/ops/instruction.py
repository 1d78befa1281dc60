"""Straight-line programs over numbers: constants, operations, instructions, and when an instruction is trivial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Number:
    """A constant in a scalar function; compared by bits, so that NaN equals NaN."""

    dtype: str
    bits: bytes

    @cached_property
    def value(self) -> Any:
        """The constant as a NumPy scalar."""
        return np.frombuffer(self.bits, dtype=jnp.dtype(self.dtype))[0]

    def is_equal_to(self, value: float) -> bool:
        """Whether the constant is this number; the two zeros are one."""
        return bool(self.value == value)


def number(value: Any, dtype: Any) -> Number:
    """A constant of a given dtype."""
    return Number(jnp.dtype(dtype).name, np.asarray(value, dtype=dtype).tobytes())


Argument = int | Number


@dataclass(frozen=True)
class Operation:
    """What an instruction does.

    Args:
        name: the primitive's name, or that of a function with its own derivative rule.
        key: whatever makes two operations of one name differ; hashable.
        apply: evaluates it on arrays of one shape.
        tangent: given the operation, the dtypes of its arguments and the place of one that moves, the tangent of
            the value as a scalar function of the arguments and the tangent of that one; a refusal if JAX has
            none; None if there is one that is not a scalar function.
        line: the user's source line.
    """

    name: str
    key: Any
    apply: Callable[..., Any] = field(compare=False, repr=False)
    tangent: Callable[[Operation, tuple[str, ...], int], Any] = field(compare=False, repr=False)
    line: str = field(compare=False, default="", repr=False)

    # Long programs look their instructions up again and again.
    @cached_property
    def _hash(self) -> int:
        return hash((self.name, self.key))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class Instruction:
    """An operation on earlier values (inputs first, then results of instructions) and constants."""

    operation: Operation
    arguments: tuple[Argument, ...]
    dtype: str


@lru_cache(maxsize=256)
def is_real(dtype: str) -> bool:
    """Whether values of a dtype carry derivatives: integers, booleans and keys do not."""
    return dtype != "float0" and bool(jnp.issubdtype(jnp.dtype(dtype), jnp.floating))


def is_number(argument: Argument, value: float) -> bool:
    """Whether an argument is this constant."""
    return isinstance(argument, Number) and argument.is_equal_to(value)


def simplified(
    operation: Operation, arguments: Sequence[Argument], dtype: str, first_dtype: str, *, derivative: bool
) -> Argument | None:
    """The value of an instruction that need not be executed.

    Args:
        operation: what is done.
        arguments: to what.
        dtype: dtype of the result.
        first_dtype: dtype of the first argument.
        derivative: whether a product with a literal zero may be dropped.

    Returns:
        An argument or a constant that equals the result; None if the instruction is needed.
    """
    name = operation.name
    if all(isinstance(a, Number) for a in arguments):
        return _folded(operation, tuple(arguments), dtype)
    first = arguments[0]
    if name == "copy" or (name == "convert_element_type" and first_dtype == dtype):
        return first
    if name == "select_n":
        if isinstance(first, Number):
            return arguments[1 + int(first.value)]
        return arguments[1] if len(set(arguments[1:])) == 1 else None
    if name == "integer_pow" and dict(operation.key)["y"] == 1:
        return first
    if name not in ("mul", "add", "add_any", "sub", "div") or len(arguments) != 2:
        return None
    second = arguments[1]
    if name == "mul" and derivative and (is_number(first, 0) or is_number(second, 0)):
        return number(0, dtype)
    if name == "div" and derivative and is_number(first, 0):
        return number(0, dtype)
    if is_number(second, 1 if name in ("mul", "div") else 0):
        return first
    if name in ("mul", "add", "add_any") and is_number(first, 1 if name == "mul" else 0):
        return second
    return None


# Arithmetic that IEEE 754 defines to the last bit. JAX compiles a program for each, 80 ms at its first use.
_ARITHMETIC: Mapping[str, Callable[..., Any]] = {
    "add": np.add,
    "add_any": np.add,
    "div": np.divide,
    "mul": np.multiply,
    "neg": np.negative,
    "sub": np.subtract,
}


@lru_cache(maxsize=4096)
def _folded(operation: Operation, arguments: tuple[Number, ...], dtype: str) -> Number:
    if operation.name in _ARITHMETIC and is_real(dtype) and all(a.dtype == dtype for a in arguments):
        with np.errstate(all="ignore"):
            return number(_ARITHMETIC[operation.name](*(a.value for a in arguments)), dtype)
    with jax.ensure_compile_time_eval():
        return number(operation.apply(*(a.value for a in arguments)), dtype)
