"""Tables of forward and reverse mode that can be checked by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from nablax.errors import ArgumentError
from nablax.graph.node import Node
from nablax.ops.kinds import Leaf
from nablax.pictures.table import Cell, Table
from nablax.printing.expression import Expression
from nablax.printing.typeset import typeset
from nablax.teach import cells
from nablax.teach.bodies import Body, bodies
from nablax.teach.chain import Chain
from nablax.teach.numbers import Numbers
from nablax.teach.reading import Reading, is_known

ARGUMENT = Cell("argument", latex=r"\text{argument}")
BLANK = Cell("")
ENTERING = "Tangents of the arguments are those with which this turn begins."
ARRIVING = "a is the adjoint that arrives on what this turn gives; the last node weighs the results by it."


def forward_table(numbers: Numbers, wrt: str, direction: Any = None) -> Table:
    """Forward mode along one argument.

    Args:
        numbers: the graph at its point.
        wrt: the argument that moves.
        direction: along which, for an argument with axes.

    Returns:
        Per node what it does, its value, its tangent from those of its inputs, and the number.
    """
    reading = numbers.reading
    leaf = reading.leaf(wrt, "forward_table")
    moved = tangents_along(numbers, wrt, direction, "forward_table")
    output = cells.formula(reading.symbols[reading.output]).text
    result = cells.value(moved[reading.output]).text
    note = f"∂{output}/∂{wrt} = {result}" if leaf.shape == () else f"derivative of {output} along it: {result}"
    return _pushed(numbers, moved, f", along {wrt}", (note,))


def _pushed(numbers: Numbers, moved: Mapping[Node, Any], along: str, notes: tuple[str, ...]) -> Table:
    reading, chain = numbers.reading, Chain(numbers)
    rows = []
    for node in shown(reading):
        tangent = chain.tangent(node)
        rows.append(
            (
                cells.formula(reading.symbols[node]),
                written(reading, node),
                cells.value(numbers.values[node]),
                cells.equation(chain.dotted[node], tangent)
                if node not in reading.leaves
                else cells.formula(chain.dotted[node]),
                cells.value(moved[node]),
            )
        )

    def looked(body: Body, turn: int | None) -> Table:
        place = body.checked(turn, 0)
        inner = body.at(place)
        return _pushed(inner, inner.moved(body.directions(moved, place)), "", (ENTERING,))

    return Table(
        f"Forward mode: {reading.title}{along}",
        ("node", "formula", "value", "tangent formula", "tangent"),
        tuple(rows),
        notes,
        frozenset({2, 4}),
        {name: partial(looked, body) for name, body in bodies(numbers).items()},
    )


def tangents_along(numbers: Numbers, wrt: str, direction: Any, verb: str) -> Mapping[Node, Any]:
    """The tangent of every node as one argument moves.

    Raises:
        ArgumentError: no such argument, no direction for one with axes, or one of another shape.
    """
    leaf = numbers.reading.leaf(wrt, verb)
    return numbers.moved({leaf: _direction(leaf, wrt, direction, verb)})


def _direction(leaf: Node, wrt: str, direction: Any, verb: str) -> Any:
    if direction is None:
        if leaf.shape != ():
            raise ArgumentError(
                f"{verb} was asked along {wrt!r}, which has shape {list(leaf.shape)}: a tangent needs one "
                "direction. Give direction=, an array of that shape."
            )
        return np.ones((), leaf.dtype)
    if jnp.shape(direction) != leaf.shape:
        raise ArgumentError(
            f"{verb} got a direction of shape {list(jnp.shape(direction))}; {wrt!r} has shape "
            f"{list(leaf.shape)}. Give the direction that shape."
        )
    return np.asarray(direction, leaf.dtype)


def reverse_table(numbers: Numbers) -> Table:
    """Reverse mode: values upwards, then adjoints downwards, each as the sum over the nodes that read it.

    Args:
        numbers: the graph at its point.

    Returns:
        Two passes in one table.
    """
    reading = numbers.reading
    numbers.need_one_number("reverse_table")
    pulled, chain = numbers.pulled, Chain(numbers)
    rows: list[tuple[Cell, ...]] = [
        (
            Cell("forward"),
            cells.formula(reading.symbols[node]),
            written(reading, node),
            BLANK,
            cells.value(numbers.values[node]),
        )
        for node in shown(reading)
    ]
    for node in reversed(shown(reading)):
        if node is reading.output:
            spelled, filled = Cell("1", value="1"), BLANK
        elif node in pulled:
            parts = chain.adjoint_parts(node)
            spelled = cells.laid_out(typeset_sum([part for _, part in parts]))
            filled = Cell(_filled(numbers, node, [consumer for consumer, _ in parts]))
        else:
            continue
        rows.append(
            (
                Cell("backward"),
                cells.formula(chain.barred[node]),
                spelled,
                filled,
                cells.value(pulled.get(node, np.ones(()))),
            )
        )
    slopes = ", ".join(
        f"∂{cells.formula(reading.symbols[reading.output]).text}/∂{reading.names[leaf]} = "
        f"{cells.value(pulled[leaf]).text}"
        for leaf in reading.inputs
        if leaf in pulled and leaf.shape == ()
    )
    return Table(
        f"Reverse mode: {reading.title}",
        ("pass", "quantity", "formula", "in numbers", "value"),
        tuple(rows),
        (slopes,) if slopes else (),
        frozenset({4}),
        {name: partial(_looked_back, body) for name, body in bodies(numbers).items()},
    )


def _looked_back(body: Body, turn: int | None) -> Table:
    found = reverse_table(body.weighed(body.checked(turn, body.turns - 1)))
    return replace(found, notes=(ARRIVING,))


def typeset_sum(parts: list[Expression]) -> Any:
    """Parts with plus signs between; none are collected, so that each consumer's share stays visible."""
    return cells.summed([typeset(part) for part in parts])


def _filled(numbers: Numbers, node: Node, consumers: list[Node]) -> str:
    """Adjoint times slope for each consumer, in numbers."""
    slopes, pulled = numbers.slope_values, numbers.pulled
    parts: list[str] = []
    for consumer in consumers:
        if (consumer, node) not in slopes:
            return ""
        left = cells.value(pulled.get(consumer, np.ones(()))).text
        right = cells.value(slopes[consumer, node]).text
        parts.append(f"{_bracketed(left) if parts else left} · {_bracketed(right)}")
    return " + ".join(parts)


def _bracketed(text: str) -> str:
    return f"({text})" if text.startswith("−") else text


def shown(reading: Reading) -> list[Node]:
    """The nodes that tables list: all but known numbers and arrays."""
    return [node for node in reading.nodes if not is_known(node)]


def written(reading: Reading, node: Node) -> Cell:
    """What a node does."""
    return ARGUMENT if isinstance(node.kind, Leaf) else cells.formula(reading.operations[node])
