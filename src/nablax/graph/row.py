"""What a row of the reader is: how an equation of one primitive becomes nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nablax.graph.graph import Graph
from nablax.graph.node import Node
from nablax.ops.jaxprs import Equation

# The nodes of an equation's results, from the equation, its inputs and the values that are known while tracing; None
# where the row does not describe the equation.
Row = Callable[[Graph, Equation, Sequence[Node], Mapping[Node, Any]], Sequence[Node] | None]


def of_one_result(make: Callable[[Graph, Equation, Sequence[Node]], Node | None]) -> Row:
    """The row of a primitive with one result that needs no values."""

    def row(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node] | None:
        node = make(graph, equation, inputs)
        return None if node is None else [node]

    return row
