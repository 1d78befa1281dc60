"""Nodes: values of the computation, known by shape and dtype alone."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nablax.contraction.term import Factor, Term
from nablax.ops.kinds import Constant, Contraction, Kind, Selection
from nablax.ops.linear_map import LinearMap


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
        return math.prod(self.shape)

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


def map_of(node: Node) -> LinearMap | None:
    """The linear map of which a node is the matrix; None for any other node."""
    kind = node.kind
    return kind.value if isinstance(kind, Constant) and isinstance(kind.value, LinearMap) else None


def applied(node: Node) -> tuple[int, LinearMap] | None:
    """For a product with the matrix of a linear map: its place among the operands, and the map."""
    if isinstance(node.kind, Contraction) and len(node.inputs) == 2:
        for place, source in enumerate(node.inputs):
            found = map_of(source)
            if found is not None:
                return place, found
    return None


def map_flops(node: Node) -> float:
    """Operations of a product with the matrix of a linear map."""
    found = applied(node)
    kind = node.kind
    if found is None or not isinstance(kind, Contraction):
        raise TypeError("no product with a linear map")
    place, linear = found
    within = set(kind.inputs[place])
    return linear.flops * math.prod(n for k, n in enumerate(kind.sizes) if k not in within)


def direction(
    linear: LinearMap, own: Sequence[Hashable], other: Collection[Hashable], output: Collection[Hashable]
) -> bool | None:
    """How a product with the matrix of a linear map is an application.

    Args:
        linear: the map.
        own: labels of the matrix's axes.
        other: labels of the other operand.
        output: labels of the result.

    Returns:
        True if the map is applied, False if the transposed one is; None if it is neither.
    """
    made, given = own[: len(linear.made)], own[len(linear.made) :]
    if len(set(own)) < len(own):
        return None
    for forward, read, written in ((True, given, made), (False, made, given)):
        if all(x in other and x not in output for x in read) and not any(x in other for x in written):
            return forward
    return None
