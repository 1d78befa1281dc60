"""What the tables and pictures of a graph read: values, slopes, tangents, adjoints and cores at its point.

All of it comes from the engine's sweeps over the graph as it was traced, one node per operation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, assert_never

import jax
import jax.numpy as jnp
import numpy as np

from nablax.contraction.index import fresh
from nablax.contraction.term import identity
from nablax.errors import OutputError
from nablax.graph.evaluate import evaluate
from nablax.graph.node import Node, NodeTerm
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
from nablax.sweeps.asked import Asked
from nablax.sweeps.diagonal_only import diagonal_recipe
from nablax.sweeps.eliminate import Elimination, eliminate
from nablax.sweeps.forward import tangents
from nablax.sweeps.frontier import Core, Form, Frontier
from nablax.sweeps.local import LocalJacobian, differential, second_differential
from nablax.sweeps.second_order import active, adjoints, mask_of, reverse
from nablax.sweeps.steps import Step
from nablax.teach.reading import Reading


@dataclass(frozen=True, eq=False)
class Opened:
    """A core as an elimination opened it, and as it stood when only arguments were left.

    Args:
        node: whose second derivative it is.
        inputs: the node of each of its slots.
        forms: its terms between slots, the adjoint inside.
        ended: the same core, legs on arguments only.
    """

    node: Node
    inputs: tuple[Node, ...]
    forms: tuple[Form, ...]
    ended: Core


@dataclass(frozen=True, eq=False)
class Numbers:
    """Everything at the point, found when first asked.

    Args:
        reading: the graph.
    """

    reading: Reading

    def evaluated(self, nodes: Sequence[Node]) -> list[Any]:
        """Values of nodes as NumPy arrays."""
        return [_plain(value) for value in evaluate(nodes, self.reading.arrays)]

    @cached_property
    def values(self) -> Mapping[Node, Any]:
        """The value of every node."""
        nodes = self.reading.nodes
        return dict(zip(nodes, self.evaluated(nodes), strict=True))

    # -- slopes --------------------------------------------------------------------------------------

    @cached_property
    def mask(self) -> int:
        """The bits of the arguments that derivatives are shown for."""
        return mask_of(self.reading.inputs)

    @cached_property
    def slopes(self) -> Mapping[Node, LocalJacobian | None]:
        """The local Jacobian of every node that moves; None where only JAX knows it."""
        moving = [node for node in self.reading.nodes if node.depends & self.mask and not isinstance(node.kind, Leaf)]
        return {
            node: None if isinstance(node.kind, Opaque) else differential(self.reading.engine, node, self.mask)
            for node in moving
        }

    @cached_property
    def slope_values(self) -> Mapping[tuple[Node, Node], Any]:
        """The local derivative along each edge (node, input) between numbers."""
        wanted: list[tuple[Node, Node]] = []
        nodes: list[Node] = []
        for node, jacobian in self.slopes.items():
            for source, terms in (jacobian or {}).items():
                if node.shape == source.shape == ():
                    wanted.append((node, source))
                    nodes.append(self.reading.engine.sum_of(terms, (), node.dtype))
        return dict(zip(wanted, self.evaluated(nodes), strict=True))

    def moved(self, directions: Mapping[Node, Any]) -> Mapping[Node, Any]:
        """The tangent of every node along directions of arguments.

        Args:
            directions: for each argument that moves the direction, of its shape.
        """
        engine, nodes = self.reading.engine, self.reading.nodes
        given = {leaf: engine.constant(np.asarray(value, leaf.dtype)) for leaf, value in directions.items()}
        found = tangents(engine, nodes, given)
        return dict(zip(nodes, self.evaluated(found), strict=True))

    @cached_property
    def pulled(self) -> Mapping[Node, Any]:
        """The adjoint of every node that moves; the result is one number."""
        engine, output, inputs = self.reading.engine, self.reading.output, self.reading.inputs
        found: dict[Node, list[NodeTerm]] = {leaf: [] for leaf in inputs}
        if output.depends & self.mask:
            found |= {**adjoints(engine, output, inputs), **reverse(engine, output, inputs)}
        nodes = {
            node: engine.sum_of([t.replace(sides=t.sides[1:]) for t in terms], node.shape, node.dtype)
            for node, terms in found.items()
        }
        return dict(zip(nodes, self.evaluated(list(nodes.values())), strict=True))

    def need_one_number(self, verb: str) -> None:
        """Refuse where the result has axes."""
        output = self.reading.output
        if output.shape != ():
            raise OutputError(
                f"{verb} needs a function that returns one number; {self.reading.title} returns "
                f"{output.dtype.name}{list(output.shape)}. Sum or index the result, or use forward_table."
            )

    @cached_property
    def opening(self) -> frozenset[Node]:
        """Nodes that open a core: two of their inputs that move, or one with itself, meet in a second derivative."""
        return frozenset(node for node, jacobian in self.slopes.items() if self._opens(node, jacobian))

    def _opens(self, node: Node, jacobian: LocalJacobian | None) -> bool:
        kind = node.kind
        active = [bool(x.depends & self.mask) for x in node.inputs]
        match kind:
            case Elementwise():
                return any(active[p] and active[q] for p, q in kind.function.couplings())
            case Contraction():
                return sum(active) > 1
            case MatrixFunction():
                whole: NodeTerm = identity(fresh(node.shape))
                return bool(second_differential(self.reading.engine, node, jacobian or {}, whole, self.mask))
            case Opaque():
                return True
            case IndexMap() | Leaf() | Constant() | Placeholder() | Selection():
                return False
            case _:
                assert_never(kind)

    @cached_property
    def carrying(self) -> frozenset[Node]:
        """Nodes on which legs of cores stand, on their way to the arguments."""
        found: set[Node] = set()
        for node in reversed(list(self.slopes)):
            if node in found or node in self.opening:
                found.update(x for x in node.inputs if x.depends & self.mask)
        return frozenset(found)

    # -- second order --------------------------------------------------------------------------------

    @cached_property
    def elimination(self) -> tuple[tuple[Opened, ...], tuple[Step, ...]]:
        """The cores, first opened first, and what was done at each node; nothing is summed on the way."""
        engine, output, inputs = self.reading.engine, self.reading.output, self.reading.inputs
        chosen = frozenset(inputs)
        sweep = Elimination(
            engine, active(output, self.mask), chosen, self.mask, Asked.between(inputs, inputs), 2, rates=None
        )
        frontier = Frontier(adjoints={output: (identity(fresh(output.shape)),)})
        begun: dict[int, Core] = {}
        steps: list[Step] = []
        for node in reversed(sweep.nodes):
            if node in chosen:
                continue
            before = frontier.count
            frontier, step = eliminate(sweep, frontier, node)
            begun |= {number: frontier.cores[number] for number in range(before, frontier.count)}
            if step is not None:
                steps.append(step)
        opened = tuple(
            Opened(core.origin, tuple(next(iter(slot)) for slot in core.legs), core.forms, frontier.cores[number])
            for number, core in begun.items()
        )
        return opened, tuple(steps)

    def term_values(self, terms: Sequence[Sequence[NodeTerm]]) -> list[float]:
        """Sums of terms between numbers."""
        dtype = self.reading.output.dtype
        nodes = [self.reading.engine.sum_of([t.replace(sides=()) for t in own], (), dtype) for own in terms]
        return [float(value) for value in self.evaluated(nodes)]

    @cached_property
    def recipe(self) -> tuple[Mapping[Node, Any], bool]:
        """The diagonal by the textbooks' recipe for each argument, and whether nothing was dropped."""
        found, exact = diagonal_recipe(self.reading.engine, self.reading.output, self.reading.inputs)
        return dict(zip(self.reading.inputs, self.evaluated(found), strict=True)), exact


def _plain(value: Any) -> Any:
    """A value as a NumPy array; a random key as its data."""
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    return np.asarray(value)
