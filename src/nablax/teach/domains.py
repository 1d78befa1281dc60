"""Where an operation on numbers has no value or no derivative, and how that is said."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nablax.errors import DomainError
from nablax.graph.node import Node
from nablax.ops.instruction import Argument, Instruction
from nablax.ops.instruction import Number as Literal
from nablax.ops.kinds import Elementwise
from nablax.pictures.table import number
from nablax.teach import cells
from nablax.teach.reading import Reading


def _no_value(name: str, step: Instruction, values: Sequence[float]) -> str:
    """Why an instruction has no finite value; empty where it has."""
    match name, values:
        case ("log" | "log2", [x]) if x <= 0:
            return "the logarithm of zero" if x == 0 else "the logarithm of a negative number"
        case "log1p", [x] if x <= -1:
            return "the logarithm of zero" if x == -1 else "the logarithm of a negative number"
        case "div", [_, 0.0]:
            return "a division by zero"
        case (("sqrt" | "rsqrt"), [x]) if x < 0:
            return "the square root of a negative number"
        case "rsqrt", [0.0]:
            return "a division by zero"
        case "integer_pow", [0.0] if dict(step.operation.key)["y"] < 0:
            return "zero to a negative power"
        case "pow", [0.0, y] if y < 0:
            return "zero to a negative power"
        case "pow", [x, y] if x < 0 and not float(y).is_integer():
            return "a negative number to a power that is not an integer"
        case (("asin" | "acos"), [x]) if abs(x) > 1:
            return "an arc of a number outside −1 to 1"
        case _:
            return ""


def _no_slope(name: str, values: Sequence[float]) -> str:
    """Why an instruction has no finite derivative where it has a value; empty where it has."""
    match name, values:
        case "sqrt", [0.0]:
            return "the square root at zero, where its slope is infinite"
        case "pow", [0.0, y] if 0 < y < 1:
            return "a power below one of zero, where its slope is infinite"
        case (("asin" | "acos"), [x]) if abs(x) == 1:
            return "an arc at −1 or 1, where its slope is infinite"
        case _:
            return ""


def _corner(name: str, values: Sequence[float]) -> str:
    """What kind of corner an instruction has there; empty where it is smooth."""
    match name, values:
        case "abs", [0.0]:
            return "|·| has a corner at 0"
        case "relu", [0.0]:
            return "relu has a corner at 0"
        case "sign", [0.0]:
            return "sign jumps at 0"
        case (("max" | "min"), [a, b]) if a == b:
            return f"{name} has a corner where both sides are equal"
        case _:
            return ""


def _run(node: Node, values: Mapping[Node, Any]) -> Iterator[tuple[Instruction, list[float]]]:
    """The instructions of a node on numbers, with the numbers."""
    kind = node.kind
    if not isinstance(kind, Elementwise) or node.shape != ():
        return
    known: list[float] = [float(values[x]) for x in node.inputs]

    def load(argument: Argument) -> float:
        return float(argument.value) if isinstance(argument, Literal) else known[argument]

    for step in kind.function.instructions:
        given = [load(a) for a in step.arguments]
        yield step, given
        known.append(float(step.operation.apply(*given)) if _finite(step, given) else math.nan)


def _finite(step: Instruction, given: Sequence[float]) -> bool:
    return not _no_value(step.operation.name, step, given)


def check_values(reading: Reading, values: Mapping[Node, Any]) -> None:
    """Refuse a point outside the domain of a node on numbers.

    Raises:
        DomainError: names the node, what it does and the values of its inputs.
    """
    for node in reading.nodes:
        for step, given in _run(node, values):
            reason = _no_value(step.operation.name, step, given)
            if reason:
                raise DomainError(f"{said(reading, node, values)}: {reason} is not defined.")


def check_slopes(reading: Reading, values: Mapping[Node, Any]) -> None:
    """Refuse a point where a node on numbers has a value but no derivative.

    Raises:
        DomainError: names the node, what it does and the values of its inputs.
    """
    for node in reading.nodes:
        for step, given in _run(node, values):
            reason = _no_slope(step.operation.name, given)
            if reason:
                raise DomainError(f"{said(reading, node, values)}: this is {reason}.")


def corners(reading: Reading, values: Mapping[Node, Any], slopes: Mapping[tuple[Node, Node], Any]) -> tuple[str, ...]:
    """What is reported at points where nodes on numbers are not smooth: the slopes that the engine takes there."""
    found = []
    for node in reading.nodes:
        for step, given in _run(node, values):
            sentence = _corner(step.operation.name, given)
            if sentence:
                taken = ", ".join(number(float(slopes[edge])) for edge in slopes if edge[0] is node) or "none"
                found.append(f"{said(reading, node, values)}: {sentence}; slope taken there: {taken}.")
    return tuple(found)


def said(reading: Reading, node: Node, values: Mapping[Node, Any]) -> str:
    """A node with what it does and the values of its inputs."""
    own = cells.equation(reading.symbols[node], reading.operations[node]).text
    inputs = ", ".join(
        f"{cells.formula(reading.symbols[x]).text} = {number(float(values[x]))}" for x in dict.fromkeys(node.inputs)
    )
    return f"node {own} at {inputs}"
