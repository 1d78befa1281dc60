"""One turn of a loop: the graph of its body, and what is wanted of the loop's inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np

from nablax.contraction.block import Block
from nablax.graph.from_jaxpr import build
from nablax.graph.fuse import fuse
from nablax.graph.graph import Graph
from nablax.graph.node import Node
from nablax.ops.jaxprs import Loop
from nablax.sweeps.eliminate import Elimination
from nablax.sweeps.entries import Entry, enter
from nablax.sweeps.frontier import SecondOrder
from nablax.sweeps.loop_blocks import Pair, Ties, reached


@dataclass(frozen=True, eq=False)
class Turn:
    """The graph of one turn.

    Args:
        loop: the loop.
        graph: the graph of its body.
        leaves: inputs of the body.
        outputs: carried values, then slices of stacked outputs.
        active: positions of the inputs in which derivatives are wanted, entered constants left out.
        entries: where constants enter.
    """

    loop: Loop
    graph: Graph
    leaves: tuple[Node, ...]
    outputs: tuple[Node, ...]
    active: frozenset[int]
    entries: tuple[Entry, ...] = ()

    @cached_property
    def constants(self) -> tuple[int, ...]:
        """Active inputs that all turns share."""
        return tuple(k for k in range(self.loop.constants) if k in self.active)

    @cached_property
    def carried(self) -> tuple[int, ...]:
        """Active inputs that a turn takes from the one before."""
        first = self.loop.constants
        return tuple(k for k in range(first, first + self.loop.carried) if k in self.active)

    @cached_property
    def stacked(self) -> tuple[int, ...]:
        """Active inputs of which each turn takes a slice."""
        first = self.loop.constants + self.loop.carried
        return tuple(k for k in range(first, len(self.leaves)) if k in self.active)

    @cached_property
    def mask(self) -> int:
        """Bits of the active inputs and entries."""
        return sum(x.depends for x in (*(self.leaves[k] for k in self.active), *(entry.leaf for entry in self.entries)))

    @cached_property
    def entered(self) -> tuple[int, ...]:
        """Constants with entries, by their positions."""
        return tuple(sorted({entry.constant for entry in self.entries}))


def turn_of(loop: Loop, moving: Iterable[int], precision: Any) -> Turn | None:
    """The graph of a loop's body; None where complex values or random keys are carried.

    Args:
        loop: the loop.
        moving: positions of inputs of the loop in which derivatives are wanted.
        precision: of the user's matrix products.
    """
    values = (*loop.body.inputs, *loop.body.outputs)
    if any(value.dtype.kind in "cO" for value in values):
        return None
    active = {k for k in moving if _is_float(loop.body.inputs[k].dtype)}
    first = loop.constants
    while True:  # what is carried moves with what moves it
        reached = {
            first + k
            for k in range(loop.carried)
            if loop.body.dependence[k] & active and _is_float(loop.body.inputs[first + k].dtype)
        }
        if reached <= active:
            break
        active |= reached
    graph = Graph()
    graph.precision = precision
    leaves, outputs = build(graph, loop.body)
    mask = sum(leaves[k].depends for k in active)
    return Turn(loop, graph, tuple(leaves), tuple(fuse(graph, outputs, mask)), frozenset(active))


def with_entries(turn: Turn, constants: Iterable[int]) -> Turn:
    """A turn in which some constants enter through leaves of their own, those that can.

    Args:
        turn: the turn.
        constants: positions of active constants.
    """
    leaves = {c: turn.leaves[c] for c in sorted(constants)}
    outputs, entries = enter(turn.graph, turn.outputs, leaves, len(turn.leaves))
    entered = {entry.constant for entry in entries}
    return replace(turn, outputs=outputs, active=turn.active - entered, entries=entries)


def _is_float(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.floating))


# -- what of the loop's inputs is wanted ---------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Wanted:
    """Blocks between inputs of a loop that an asked block needs.

    Args:
        constants: pairs of inputs that all turns share; whether only the diagonal of their block is wanted.
        stacked: stacked inputs, the diagonal of one block for each turn.
    """

    constants: Mapping[Pair, bool]
    stacked: tuple[int, ...]


def wanted(sweep: Elimination, inputs: Sequence[Node], turn: Turn) -> Wanted | None:
    """What is asked of the inputs of a loop; None where blocks between turns would be."""
    outer = [k for k in (*turn.constants, *turn.carried, *turn.stacked) if inputs[k].depends & sweep.mask]
    places = {k: reached(sweep, inputs[k]) if sweep.asked.diagonal else None for k in outer}
    constants: dict[Pair, bool] = {}
    stacked: list[int] = []
    for first, p in enumerate(outer):
        for q in outer[first:]:
            if not sweep.asked.couples(inputs[p], inputs[q]):
                continue
            alone = p == q and places[p] is not None
            if p != q and _apart(places[p], places[q]):
                continue
            if p in turn.constants and q in turn.constants:
                constants[p, q] = alone
            elif alone and p in turn.stacked:
                stacked.append(p)
            elif q in turn.stacked:
                return None
    return Wanted(constants, tuple(stacked))


def _apart(a: Mapping[Node, Any] | None, b: Mapping[Node, Any] | None) -> bool:
    """Whether two inputs hold different elements of the leaves, so that no diagonal has a block between them."""
    if a is None or b is None:
        return False
    return not any(np.intersect1d(a[leaf], b[leaf]).size for leaf in a.keys() & b.keys())


@dataclass(frozen=True, eq=False)
class Backwards:
    """The elimination of one turn.

    Args:
        turn: the graph.
        carried: blocks between carried values, by their positions among the outputs, with their ties.
        mixed: pairs of an output and a constant that have a block.
        arriving: blocks that arrive at each turn on pairs of stacked outputs, with their ties.
        adjoints: outputs with an adjoint.
        left: what the elimination leaves on the inputs, with one leg from each slot to each carried value.
        apart: the same with a leg for each path.
    """

    turn: Turn
    carried: Mapping[Pair, Ties]
    mixed: tuple[Pair, ...]
    arriving: Mapping[Pair, Ties]
    adjoints: tuple[int, ...]
    left: SecondOrder
    apart: SecondOrder

    def leaf(self, position: int) -> Node:
        """An input of the body."""
        return self.turn.leaves[position]

    def block(self, p: int, q: int) -> Block[Node]:
        """The block between two inputs of the body."""
        return self.left.block(self.leaf(p), self.leaf(q))

    def output(self, position: int) -> Node:
        """An output of the body."""
        return self.turn.outputs[position]
