"""Programs: closed forms as straight lines of array operations, from which the source of every language is written.

Equal values are one line, so that a value, its gradient and its Hessian share what they have in common. The kinds are
closed; each names, per operand, the axes of the result on which the operand's axes lie, so that transposing, scaling
rows and taking a diagonal need no kinds of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from nablax.printing.expression import Shape

Axes = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Argument:
    """A parameter of the program."""

    name: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number; "pi" is one too."""

    value: Fraction | float | str
    shape: Shape = ()


@dataclass(frozen=True, slots=True)
class Length:
    """The number of elements along an axis."""

    size: str
    shape: Shape = ()


@dataclass(frozen=True, slots=True)
class Fill:
    """An array whose entries are all 0 or all 1."""

    value: int
    shape: Shape


@dataclass(frozen=True, slots=True)
class Table:
    """A known array; values row by row as nested tuples."""

    values: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Eye:
    """The identity matrix."""

    shape: Shape


@dataclass(frozen=True, slots=True)
class Basis:
    """A unit vector; a place counts from zero, -1 is the last."""

    place: int
    shape: Shape


@dataclass(frozen=True, slots=True)
class Elementwise:
    """A function of the elements; "copy" moves axes, "diag" and "tril" set elements to zero.

    Args:
        function: its name, one of `nablax.notation` or add, multiply, divide, negate, power, copy, diag, tril, triu.
        operands: places of earlier values.
        axes: per operand, the axes of the result on which its own lie; along others it is repeated.
        shape: of the result.
    """

    function: str
    operands: tuple[int, ...]
    axes: tuple[Axes, ...]
    shape: Shape


@dataclass(frozen=True, slots=True)
class Contraction:
    """A product of one or two arrays, summed over the labels that are no axes of the result.

    Args:
        operands: places of earlier values.
        axes: labels per operand; those below the rank are the axes of the result.
        shape: of the result.
    """

    operands: tuple[int, ...]
    axes: tuple[Axes, ...]
    shape: Shape


@dataclass(frozen=True, slots=True)
class Reduction:
    """The largest, the least or the product of the elements, of all or along the last axis."""

    function: str
    operand: int
    shape: Shape


@dataclass(frozen=True, slots=True)
class Pick:
    """One place along an axis; a place counts from zero, -1 is the last."""

    operand: int
    axis: int
    place: int
    shape: Shape


@dataclass(frozen=True, slots=True)
class Part:
    """Ranges of places along each axis: first place and the one behind the last, as in Python; None for an end."""

    operand: int
    ranges: tuple[tuple[int | None, int | None], ...]
    shape: Shape


@dataclass(frozen=True, slots=True)
class Routine:
    """A function of whole matrices: inv, solve, det, logdet, kron, eigenvalues, …"""

    name: str
    operands: tuple[int, ...]
    shape: Shape


Leaf: TypeAlias = Argument | Scalar | Length | Fill | Table | Eye | Basis
Value: TypeAlias = Leaf | Elementwise | Contraction | Reduction | Pick | Part | Routine


def operands_of(value: Value) -> tuple[int, ...]:
    """The places of the values that a value is computed from."""
    match value:
        case Elementwise() | Contraction() | Routine():
            return value.operands
        case Reduction() | Pick() | Part():
            return (value.operand,)
        case _:
            return ()


@dataclass(frozen=True)
class Program:
    """A function as a straight line.

    Args:
        called: the function's name.
        arguments: names and shapes (names of sizes) of the parameters, in order.
        values: the line; operands are places in it.
        names: names of values that the closed form gives.
        outputs: names and places of what is returned.
    """

    called: str
    arguments: Mapping[str, Shape]
    values: tuple[Value, ...]
    names: Mapping[int, str]
    outputs: tuple[tuple[str, int], ...]

    def is_static(self, place: int) -> bool:
        """Whether a value is made of numbers and lengths only."""
        value = self.values[place]
        if isinstance(value, Scalar | Length):
            return True
        inside = operands_of(value)
        return isinstance(value, Elementwise) and not value.shape and all(map(self.is_static, inside))

    def fixed(self) -> list[tuple[str, int, str]]:
        """Axes of arguments whose length is a number: argument, axis, length."""
        return [
            (name, axis, size)
            for name, shape in self.arguments.items()
            for axis, size in enumerate(shape)
            if size.isdigit()
        ]

    def only(self) -> str:
        """For which arguments the function is, where lengths are numbers; else empty."""
        names = dict.fromkeys(name for name, _, _ in self.fixed())
        return ", ".join(f"{name}[{', '.join(self.arguments[name])}]" for name in names)

    def axis_of(self, size: str) -> tuple[str, int] | None:
        """An argument and its axis that are as long as a size says."""
        axes = [(name, axis) for name, shape in self.arguments.items() for axis, one in enumerate(shape) if one == size]
        return axes[0] if axes else None

    def lengths(self) -> dict[str, tuple[str, int, str]]:
        """Per size that is a letter: an argument, its axis, and of how many times the size it is: 1, 2, n, 2·n."""
        standing = [
            (*parts_of(size), name, axis)
            for name, shape in self.arguments.items()
            for axis, size in enumerate(shape)
            if not offset_of(size)[1]
        ]
        axes = sorted(standing, key=lambda one: (len(one[1]), one[0]))
        found: dict[str, tuple[str, int, str]] = {}
        for _ in axes:  # that of m in m·n follows where n is known
            for times, letters, name, axis in axes:
                unknown = [letter for letter in letters if letter not in found]
                if len(unknown) == 1:
                    known = [letter for letter in letters if letter in found]
                    found[unknown[0]] = (name, axis, "·".join([str(times), *known]))
        listed = dict.fromkeys(letter for _, letters, _, _ in standing for letter in letters)
        return {letter: found[letter] for letter in listed if letter in found}


def offset_of(size: str) -> tuple[str, int]:
    """A size such as n-1 as n and -1."""
    found = re.fullmatch(r"(.+?)([+-][0-9]+)", size)
    return (found[1], int(found[2])) if found else (size, 0)


def parts_of(size: str) -> tuple[int, tuple[str, ...]]:
    """A size as a number times letters; what is added to it is left out."""
    times, letters = 1, []
    for part in offset_of(size)[0].replace("*", "·").split("·"):
        if part.isdigit():
            times *= int(part)
        else:
            letters.append(part)
    return times, tuple(letters)


def by_place(names: Sequence[tuple[str, int]]) -> dict[int, str]:
    """The first name of each place."""
    found: dict[int, str] = {}
    for name, place in names:
        found.setdefault(place, name)
    return found
