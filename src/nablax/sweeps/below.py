"""What lies between a node and the leaves: which axes pass through, and what pulling one row down would cost.

Found in one walk before an elimination begins, so that it can decide at each node from what stands there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from nablax.contraction.index import Label
from nablax.contraction.rates import Rates
from nablax.contraction.term import elements
from nablax.graph.cost import terms_of
from nablax.graph.node import Node, NodeTerm, applied, map_flops, selecting
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
from nablax.sweeps.local import LocalJacobian

# One pass over an array in an elementwise step: read, multiply, write.
PASS_BYTES = 12.0


def pass_seconds(elements: float, rates: Rates, together: float = 0.0) -> float:
    """Time of one elementwise pass.

    Args:
        elements: of the array.
        rates: of the machine.
        together: elements of all arrays of the step, which decide whether they stay in the cache; the array's if less.
    """
    held = PASS_BYTES / 3.0 * max(elements, together)
    return elements * PASS_BYTES / (rates.cache_bytes if held < rates.cache_size else rates.memory_bytes)


@dataclass(frozen=True, eq=False)
class Below:
    """The lower part of a graph, seen from each node.

    Args:
        passing: axes of a node that reach the leaves unmixed: a batch, or places that only index maps move.
        seconds: estimated time of pulling one row per element of those axes from a node to the leaves.
        waist: for each node the next node below through which every path to the leaves leads; None where there is none.
        staying: axes of a node that reach its waist unmixed.
        count: number of nodes from a node down to the leaves.
        beside: elements of the settled nodes that a node adds unchanged (a layer's bias): what stands on it is there.
    """

    passing: Mapping[Node, frozenset[int]]
    seconds: Mapping[Node, float]
    waist: Mapping[Node, Node | None]
    staying: Mapping[Node, frozenset[int]]
    count: Mapping[Node, int]
    beside: Mapping[Node, int]

    def batch(self, node: Node) -> int:
        """Elements of a node along the axes that pass."""
        return math.prod(n for axis, n in enumerate(node.shape) if axis in self.passing[node])

    def width(self, node: Node) -> int:
        """Elements of a node along the axes that do not pass."""
        kept = self.passing[node]
        return math.prod(n for axis, n in enumerate(node.shape) if axis not in kept)

    def rank(self, leg: NodeTerm, node: Node) -> int:
        """Rows of a leg on a node: elements of its core side that do not ride on a passing axis of the node."""
        return self._rows(leg, node, self.passing[node])

    def rows_at_waist(self, leg: NodeTerm, node: Node) -> int:
        """Of these rows those that will be stored at the waist below: what rides on a staying axis is not."""
        return self._rows(leg, node, self.passing[node] | self.staying[node])

    def _rows(self, leg: NodeTerm, node: Node, kept: frozenset[int]) -> int:
        riding: set[Label] = set()
        for axis, index in enumerate(leg.sides[1]):
            if axis in kept:
                riding.update(index.labels)
        return elements(x for index in leg.sides[0] for x in index.labels if x not in riding)

    def width_at_waist(self, node: Node) -> int:
        """Rows that a block on a node stores at the waist below."""
        kept = self.passing[node] | self.staying[node]
        return math.prod(n for axis, n in enumerate(node.shape) if axis not in kept)


def look_below(
    nodes: Sequence[Node],
    outputs: Iterable[Node],
    settled: Iterable[Node],
    mask: int,
    jacobian: Callable[[Node], LocalJacobian | None],
    rates: Rates,
) -> Below:
    """Walk from the leaves up.

    Args:
        nodes: active nodes between leaves and outputs, inputs first.
        outputs: the nodes that are differentiated, where they are several.
        settled: where legs end: the leaves, and nodes from which only moves lead to them.
        mask: bits of the leaves.
        jacobian: local Jacobian of a node; None for an opaque one.
        rates: of the machine.

    Returns:
        What is below each node.
    """
    ends = set(settled)
    waists = _waists(nodes, outputs, ends, mask)
    passing: dict[Node, frozenset[int]] = {}
    staying: dict[Node, frozenset[int]] = {}
    seconds: dict[Node, float] = {}
    beside: dict[Node, int] = {}
    total = 0.0
    for node in nodes:
        beside[node] = _beside(node, ends, jacobian(node)) if node not in ends else 0
        if node in ends:
            passing[node] = staying[node] = frozenset(range(len(node.shape)))
            seconds[node] = 0.0
            continue
        passing[node] = _passing(node, ends, mask, jacobian(node), passing)
        staying[node] = _passing(node, {*ends, waists[node]}, mask, jacobian(node), staying)
        # Nodes below a cut are those before it in order: each is counted once.
        wide = math.prod(n for axis, n in enumerate(node.shape) if axis not in passing[node])
        total += _row_seconds(node, ends, mask, rates, wide)
        seconds[node] = total
    return Below(passing, seconds, waists, staying, {node: k for k, node in enumerate(nodes)}, beside)


def _beside(node: Node, ends: set[Node], jacobian: LocalJacobian | None) -> int:
    same = {s: terms for s, terms in (jacobian or {}).items() if s in ends and s.shape == node.shape}
    return sum(s.size for s, terms in same.items() if not any(term.factors for term in terms))


def _waists(nodes: Sequence[Node], outputs: Iterable[Node], ends: set[Node], mask: int) -> dict[Node, Node | None]:
    """The next single node below each node that carries all that is live."""
    live = {x for x in outputs if x.depends & mask and x not in ends}
    alone: list[Node] = []
    for node in reversed(nodes):
        if node in ends:
            continue
        live.discard(node)
        if not live:
            alone.append(node)
        live.update(x for x in node.inputs if x.depends & mask and x not in ends)
    waists: dict[Node, Node | None] = {}
    waiting = alone[::-1]  # lowest first
    place, below = 0, None
    for node in nodes:
        waists[node] = below
        if place < len(waiting) and node is waiting[place]:
            below, place = node, place + 1
    return waists


def _passing(
    node: Node,
    ends: Container[Node | None],
    mask: int,
    jacobian: LocalJacobian | None,
    known: Mapping[Node, frozenset[int]],
) -> frozenset[int]:
    inner = [x for x in node.inputs if x.depends & mask and x not in ends]
    if not inner:
        return frozenset(range(len(node.shape)))
    if jacobian is None:
        return _passing_alone(node, inner, known)
    axes = set(range(len(node.shape)))
    for source, terms in jacobian.items():
        if source in ends:
            continue
        for term in terms:
            carried: set[Label] = set()
            for axis, index in enumerate(term.sides[1]):
                if axis in known[source]:
                    carried.update(index.labels)
            axes = {a for a in axes if carried.issuperset(term.sides[0][a].labels)}
    return frozenset(axes)


def _passing_alone(node: Node, inner: Sequence[Node], known: Mapping[Node, frozenset[int]]) -> frozenset[int]:
    """Axes along which an opaque node acts on each element alone, of inputs that pass there."""
    assert isinstance(node.kind, Opaque)
    return frozenset(
        axis
        for axis, places in node.kind.call.batch_axes
        if all(place in known[x] for place, x in zip(places, node.inputs, strict=True) if x in inner)
    )


def _row_seconds(node: Node, ends: set[Node], mask: int, rates: Rates, rows: int) -> float:
    """Time of pulling one row through a node among others, all elements of the passing axes together."""
    inner = sum(1 for x in node.inputs if x.depends & mask and x not in ends)
    settled = sum(1 for x in node.inputs if x in ends)
    kind = node.kind
    one_pass = pass_seconds(node.size, rates, node.size * rows)
    match kind:
        case Leaf() | Constant() | Placeholder() | Selection():
            return 0.0
        case Elementwise() | IndexMap():
            return one_pass * max(inner, 1)
        case Contraction():
            if applied(node) is not None:
                return map_flops(node) / rates.element_flops + one_pass * (inner + settled)
            # into a leaf only squares or products of small factors are summed
            terms = terms_of(node) if selecting(node) else math.prod(kind.sizes)
            work = 2.0 * terms * inner / rates.product_flops
            return work + one_pass * (inner + settled)
        case MatrixFunction():
            return 4.0 * node.size * max(node.shape, default=1) / rates.opaque_flops
        case Opaque():
            return 3.0 * kind.flops / rates.opaque_flops
        case _:
            assert_never(kind)
