"""The chain rule at one node, written out: its tangent from those of its inputs, what it gives their adjoints."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import assert_never

from nablax.graph.node import Node
from nablax.ops.kinds import (
    Constant,
    Contraction,
    Elementwise,
    IndexMap,
    Leaf,
    MatrixFunction,
    Opaque,
    Placeholder,
    Selection,
)
from nablax.printing.expression import Call, Expression, Number, Symbol
from nablax.teach.notation import BAR, DOT, adorned, contraction, partial, symbol, times, total
from nablax.teach.numbers import Numbers


class Chain:
    """Writes the chain rule on a graph.

    Args:
        numbers: the graph with its slopes.
    """

    def __init__(self, numbers: Numbers) -> None:
        self._reading = numbers.reading
        self._numbers = numbers
        self.dotted: Mapping[Node, Symbol] = self._marked(DOT)
        self.barred: Mapping[Node, Symbol] = self._marked(BAR)

    def _marked(self, mark: str) -> dict[Node, Symbol]:
        called = self._reading.called
        return {node: symbol(adorned(called[node], mark), node.shape) for node in self._reading.nodes}

    def slope(self, node: Node, source: Node) -> Expression:
        """The local derivative of a node in an input: for arrays what stands on its diagonal, or is multiplied by."""
        jacobian = self._numbers.slopes[node]
        if jacobian is None or isinstance(node.kind, MatrixFunction):
            return self._unwritten(node, source)
        return partial(jacobian[source], self._reading.symbols)

    def _unwritten(self, node: Node, source: Node) -> Expression:
        called = self._reading.called
        return symbol(f"∂{called[node]}/∂{called[source]}", node.shape)

    def tangent(self, node: Node) -> Expression:
        """The tangent of a node as a sum over its inputs."""
        return total([self._pushed(node, source) for source in self._sources(node)])

    def _sources(self, node: Node) -> list[Node]:
        moving = dict.fromkeys(x for x in node.inputs if x.depends & self._numbers.mask)
        jacobian = self._numbers.slopes.get(node)
        return [x for x in moving if jacobian is None or x in jacobian]

    def _pushed(self, node: Node, source: Node) -> Expression:
        kind, symbols = node.kind, self._reading.symbols
        dotted = self.dotted[source]
        match kind:
            case Elementwise():
                return times(self.slope(node, source), dotted)
            case Contraction():
                places = [k for k, x in enumerate(node.inputs) if x is source]
                return total(
                    [
                        contraction(kind, [dotted if k == place else symbols[x] for k, x in enumerate(node.inputs)])
                        for place in places
                    ]
                )
            case IndexMap() | MatrixFunction() | Opaque():
                return Call("D", (self._unwritten(node, source), dotted), tuple(map(str, node.shape)))
            case Leaf() | Constant() | Placeholder() | Selection():
                return Number(Fraction(0))
            case _:
                assert_never(kind)

    def adjoint_parts(self, node: Node) -> list[tuple[Node, Expression]]:
        """For each consumer of a node what it adds to its adjoint."""
        found = []
        for consumer in self._numbers.slopes:
            if node in self._sources(consumer):
                found.append((consumer, self._pulled(consumer, node)))
        return found

    def _pulled(self, node: Node, source: Node) -> Expression:
        kind, symbols, bar = node.kind, self._reading.symbols, self.barred[node]
        match kind:
            case Elementwise() if source.shape == node.shape:
                return times(bar, self.slope(node, source))
            case Elementwise():
                return Call("sum", (times(bar, self.slope(node, source)),))
            case Contraction():
                parts = []
                for place in (k for k, x in enumerate(node.inputs) if x is source):
                    others = [k for k in range(len(node.inputs)) if k != place]
                    turned = Contraction(
                        (kind.output, *(kind.inputs[k] for k in others)),
                        kind.inputs[place],
                        kind.sizes,
                        kind.coefficient,
                    )
                    parts.append(contraction(turned, [bar, *(symbols[node.inputs[k]] for k in others)]))
                return total(parts)
            case IndexMap() | MatrixFunction() | Opaque():
                return Call("Dᵀ", (self._unwritten(node, source), bar), tuple(map(str, source.shape)))
            case Leaf() | Constant() | Placeholder() | Selection():
                return Number(Fraction(0))
            case _:
                assert_never(kind)
