"""Nodes: values of the computation, known by shape and dtype alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nablax.contraction.term import Factor, Term
from nablax.ops.kinds import Contraction, Kind, Selection


@dataclass(frozen=True, eq=False, slots=True)
class Node:
    """One value of the computation, known by shape and dtype alone.

    Args:
        kind: what it does.
        inputs: the nodes that it reads.
        shape: elements along each axis.
        dtype: dtype of the elements.
        number: its place in the order of creation; inputs come first.
        depends: bit k is set if a derivative with respect to leaf k can be non-zero.
        line: the user's source line that it serves.
    """

    kind: Kind
    inputs: tuple[Node, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    number: int
    depends: int = field(repr=False)
    line: str = field(default="", repr=False)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __repr__(self) -> str:
        return f"<{self.number}: {type(self.kind).__name__} {self.dtype.name}{list(self.shape)}>"


NodeTerm = Term[Node]
NodeFactor = Factor[Node]


def identify(node: Node) -> int:
    """What makes a node itself, for the keys of terms."""
    return node.number


def reachable(outputs: Iterable[Node]) -> list[Node]:
    """All nodes that the outputs need, inputs first."""
    found: dict[int, Node] = {}
    waiting = list(outputs)
    while waiting:
        node = waiting.pop()
        if node.number not in found:
            found[node.number] = node
            waiting += node.inputs
    return [found[number] for number in sorted(found)]


def selecting(node: Node) -> tuple[int, int] | None:
    """For a product of two of which one is a selection: its place, and the label that it selects along."""
    if not isinstance(node.kind, Contraction) or len(node.inputs) != 2:
        return None
    for place, (source, labels) in enumerate(zip(node.inputs, node.kind.inputs, strict=True)):
        if isinstance(source.kind, Selection) and len(set(labels)) == len(labels):
            return place, labels[-1]
    return None
