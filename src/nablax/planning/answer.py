"""Answers: what fills the slots of a question, and the nodes that several strategies build on.

A strategy is a row: its name, the questions that it answers, and what builds the answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from nablax.contraction.index import Positions
from nablax.endings.pattern import Pattern
from nablax.graph.node import Node
from nablax.planning.question import Problem, Question
from nablax.sweeps.second_order import reverse
from nablax.sweeps.steps import Step

Slot = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Columns:
    """Slots answered by a loop over the unit directions of one leaf.

    Args:
        leaf: position among the asked leaves.
        direction: the leaf that holds the direction.
        size: number of directions.
        make: builds, for each slot, the node of the derivative along the direction.
        scalar: whether a product is a number already, the element of a diagonal; else element `i` of it is kept for
            direction `i` where the question is about the diagonal.
        others: for a derivative of higher order the leaves and directions of further slots; the loop then runs over
            tuples of unit directions.
    """

    leaf: int
    direction: Node
    size: int
    make: Callable[[], Mapping[Slot, Node]]
    scalar: bool = False
    others: tuple[tuple[int, Node], ...] = ()

    @property
    def moving(self) -> set[Node]:
        """The leaves that hold directions."""
        return {self.direction, *(node for _, node in self.others)}

    @cached_property
    def products(self) -> Mapping[Slot, Node]:
        """For each slot the node of the derivative along the direction."""
        return self.make()


@dataclass(frozen=True, eq=False)
class Answer:
    """What fills every slot.

    Args:
        nodes: slots answered by nodes, all evaluated at once.
        loops: slots answered by loops.
        likeness: nodes whose cost stands for that of one direction of any loop, where the loops are too many to build.
        pattern: for a sparse matrix where each value goes, in the flattened (rows, columns).
        positions: for a sparse derivative of higher order where each value goes, a position in each slot.
        exact: whether nothing was dropped.
        steps: what the elimination did.
        entries: for a derivative of higher order the values that symmetry and structure leave to be told apart.
    """

    nodes: Mapping[Slot, Node] = field(default_factory=dict)
    loops: tuple[Columns, ...] = ()
    likeness: tuple[Node, ...] = ()
    pattern: Pattern | None = None
    positions: Positions | None = None
    exact: bool = True
    steps: tuple[Step, ...] = ()
    entries: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a strategy does not answer for this function."""

    reason: str


@dataclass(frozen=True, eq=False, slots=True)
class Strategy:
    """A way to answer.

    Args:
        name: its name.
        meaning: what it does, for EXPLAIN.
        questions: those that it answers.
        build: builds the answer.
        by_name: whether it is tried only where the user names it: for comparison.
    """

    name: str
    meaning: str
    questions: Container[Question]
    build: Callable[[Problem, Question], Answer | Refusal]
    by_name: bool = False


def gradients(problem: Problem, output: Node) -> list[Node]:
    """Derivatives of one output, axes (output, leaf)."""
    terms = reverse(problem.graph, output, problem.asked)
    return [problem.graph.sum_of(terms[leaf], output.shape + leaf.shape, leaf.dtype) for leaf in problem.asked]


def directions(problem: Problem, taken: int | None = None) -> list[Node]:
    """One more leaf per asked leaf, which holds a direction.

    Args:
        problem: the traced function.
        taken: number of leaves there are already; those of the problem where it is not given.
    """
    first = len(problem.leaves) if taken is None else taken
    return [problem.graph.leaf(first + k, leaf.shape, leaf.dtype) for k, leaf in enumerate(problem.asked)]


def starts(nodes: Sequence[Node]) -> list[int]:
    starts, total = [], 0
    for node in nodes:
        starts.append(total)
        total += node.size
    return starts


def size_in_bytes(nodes: Iterable[Node]) -> int:
    """Bytes of the values of nodes."""
    return sum(math.prod(node.shape) * node.dtype.itemsize for node in nodes)
