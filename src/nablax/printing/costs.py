"""What a program costs: multiplications, and elements that are written.

Every size that is a letter counts as large. An element written costs as much as `WRITTEN` multiplications inside a
matrix product: A + Aᵀ of 1000 rows takes NumPy as long as ten products Ax.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import prod

from nablax.printing.expression import Shape
from nablax.printing.program import (
    Argument,
    Contraction,
    Elementwise,
    Part,
    Pick,
    Reduction,
    Routine,
    Value,
    offset_of,
    operands_of,
    parts_of,
)

LARGE = 1000  # elements along an axis whose length is a letter
WRITTEN = 10
FREE = frozenset({"copy", "negate"})  # views, and signs that the next operation takes along
# Multiplications per n³, for n × n matrices; of a system, per right side another n².
CUBIC = {"det": 1 / 3, "logdet": 1 / 3, "solve": 1 / 3, "cholesky": 1 / 3, "inv": 1.0, "pinv": 10.0, "kron": 0.0}
SPECTRAL = 10.0  # eigenvalues, singular values and their vectors


@lru_cache(maxsize=4096)
def length(size: str) -> int:
    """The number of elements that stands for a size."""
    if size.startswith("min("):
        return min(map(length, size[4:-1].split(",")))
    times, letters = parts_of(size)
    return max(int(times * LARGE ** len(letters) + offset_of(size)[1]), 1)


def elements(shape: Shape) -> int:
    """The number of elements of an array."""
    return prod(map(length, shape))


def multiplications(axes: Iterable[Sequence[int]], shapes: Iterable[Shape]) -> float:
    """Those of a labelled product: one for each value of all its labels."""
    sizes = {
        label: length(size)
        for own, shape in zip(axes, shapes, strict=True)
        for label, size in zip(own, shape, strict=True)
    }
    return float(prod(sizes.values()))


def cost(values: Sequence[Value], outputs: Iterable[int]) -> float:
    """The cost of what outputs need.

    Args:
        values: a program's line.
        outputs: places in it.

    Returns:
        A number to compare programs of the same outputs by.
    """
    needed: set[int] = set()
    waiting = list(outputs)
    while waiting:
        place = waiting.pop()
        if place not in needed:
            needed.add(place)
            waiting += operands_of(values[place])
    return sum(_of(values[place], values) for place in sorted(needed))


def _of(value: Value, values: Sequence[Value]) -> float:
    shapes = [values[place].shape for place in operands_of(value)]
    written = float(WRITTEN * elements(value.shape))
    match value:
        case Elementwise(function) if function in FREE:
            return 0.0
        case Elementwise(operands=operands):
            return written * max(len(operands) - 1, 1)
        case Contraction(axes=axes):
            return written + multiplications(axes, shapes)
        case Reduction():
            return written + elements(shapes[0])
        case Routine(name):
            side = length(shapes[0][0])
            rest = elements(shapes[1]) * side if name == "solve" else 0.0
            return written + CUBIC.get(name, SPECTRAL) * float(side) ** 3 + rest
        case Pick() | Part() | Argument():
            return 0.0
        case _:
            return written if value.shape else 0.0
