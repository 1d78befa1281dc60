"""What evaluating nodes costs, from shapes alone: operations, bytes moved, peak memory, seconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import assert_never

from nablax.contraction.rates import Rates
from nablax.graph.contract import is_halved
from nablax.graph.node import Node, applied, map_flops, map_of, selecting
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
from nablax.ops.matrix_functions import ROWS

# An element that is read or written at a position known when running takes as long as so many operations.
PLACED = 16.0


@dataclass(frozen=True)
class Cost:
    """What it takes.

    Args:
        flops: floating-point operations.
        moved: bytes read and written.
        peak: largest number of bytes alive at once, arguments not counted.
        seconds: estimated time.
        nodes: nodes to lower and compile.
    """

    flops: float = 0.0
    moved: float = 0.0
    peak: float = 0.0
    seconds: float = 0.0
    nodes: int = 0

    def times(self, count: float) -> Cost:
        """The cost of doing it `count` times one after the other, in one loop."""
        return Cost(self.flops * count, self.moved * count, self.peak, self.seconds * count, self.nodes)

    def then(self, other: Cost) -> Cost:
        """The cost of both, one after the other."""
        return Cost(
            self.flops + other.flops,
            self.moved + other.moved,
            max(self.peak, other.peak),
            self.seconds + other.seconds,
            self.nodes + other.nodes,
        )


def is_fusible(node: Node) -> bool:
    """Whether XLA computes it inside its consumer: elementwise work and products without a sum."""
    kind = node.kind
    if isinstance(kind, Elementwise | IndexMap | Selection):
        return True
    if isinstance(kind, Contraction):
        kept = set(kind.output)
        return all(label in kept for labels in kind.inputs for label in labels)
    return False


def is_product(node: Node) -> bool:
    """Whether a node sums a product of two operands: a matrix product, which reads stored arrays."""
    kind = node.kind
    if not isinstance(kind, Contraction) or len(kind.inputs) != 2 or selecting(node) is not None:
        return False
    a, b = (set(labels) for labels in kind.inputs)
    return bool((a & b) - set(kind.output))


def is_given(node: Node) -> bool:
    """Whether a node takes no work and no memory of ours: an argument, or an array known when tracing."""
    return isinstance(node.kind, Leaf | Constant | Placeholder)


def cost_of(outputs: Sequence[Node], rates: Rates, given: Callable[[Node], bool] = is_given) -> Cost:
    """The cost of evaluating nodes.

    Args:
        outputs: the nodes.
        rates: of the machine.
        given: whether the value of a node is there already.

    Returns:
        The cost of all nodes that are needed, each once.
    """
    nodes = needed(outputs, given)
    stored = stored_among(nodes, set(outputs))
    flops = moved = seconds = 0.0
    for node in nodes:
        own, transfer, time = node_cost(node, node in stored, rates)
        flops, moved, seconds = flops + own, moved + transfer, seconds + time
    return Cost(flops, moved, _peak(nodes, stored, set(outputs)), seconds, len(nodes))


def node_cost(node: Node, stored: bool, rates: Rates) -> tuple[float, float, float]:
    """Operations, bytes moved and seconds of one node.

    Args:
        node: the node.
        stored: whether its value is written to memory.
        rates: of the machine.
    """
    if is_given(node) or isinstance(node.kind, Selection):
        return 0.0, 0.0, 0.0
    own, rate = _operations(node, rates)
    # arithmetic in double precision runs at half the rate, its bytes are twice as many
    seconds = own / rate * max(node.dtype.itemsize / 4.0, 1.0)
    if not stored:
        return own, 0.0, seconds
    read = [x.inputs[0] if isinstance(x.kind, Selection) else x for x in node.inputs]
    sizes = [x.size * x.dtype.itemsize for x in (node, *read) if map_of(x) is None]
    transfer = sum(size / (rates.cache_bytes if size < rates.cache_size else rates.memory_bytes) for size in sizes)
    launch = rates.launch_seconds + rates.batch_seconds * _batch(node)
    return own, float(sum(sizes)), launch + max(seconds, transfer)


def needed(outputs: Iterable[Node], given: Callable[[Node], bool]) -> list[Node]:
    """Nodes that have to be evaluated, inputs first."""
    found: dict[int, Node] = {}
    waiting = [node for node in outputs if not given(node)]
    while waiting:
        node = waiting.pop()
        if node.number not in found:
            found[node.number] = node
            waiting += [source for source in node.inputs if not given(source)]
    return [found[number] for number in sorted(found)]


def stored_among(nodes: Sequence[Node], kept: set[Node]) -> set[Node]:
    """Nodes whose values are written to memory; the others are computed inside their consumers."""
    consumers: dict[Node, list[Node]] = {}
    for node in nodes:
        for source in node.inputs:
            consumers.setdefault(source, []).append(node)
    return {
        node
        for node in nodes
        if node in kept
        or not is_fusible(node)
        or not (isinstance(node.kind, Selection) or _fuses_into(consumers.get(node, [])))
    }


def _fuses_into(consumers: Sequence[Node]) -> bool:
    """One consumer that reads element by element, or sums without a matrix product."""
    return (
        len(consumers) == 1
        and not is_product(consumers[0])
        and isinstance(consumers[0].kind, Elementwise | Contraction | IndexMap)
    )


def terms_of(node: Node) -> int:
    """Number of products that a contraction adds up; a selection has one for each position."""
    kind = node.kind
    assert isinstance(kind, Contraction)
    chosen = selecting(node)
    used = {label for labels in kind.inputs for label in labels} - ({chosen[1]} if chosen else set())
    return math.prod(kind.sizes[label] for label in used)


def _batch(node: Node) -> int:
    """Number of separate matrix products in a product with shared open labels."""
    kind = node.kind
    if not isinstance(kind, Contraction) or not is_product(node):
        return 0
    a, b = (set(labels) for labels in kind.inputs)
    shared = a & b & set(kind.output)
    return math.prod(kind.sizes[label] for label in shared) if shared else 0


def _product_rate(kind: Contraction, rates: Rates) -> float:
    """Operations per second of a product: that of a matrix product if both operands have labels of their own."""
    a, b = (set(labels) for labels in kind.inputs)
    if not (a - b and b - a):
        return rates.vector_flops
    return rates.batched_flops if a & b & set(kind.output) else rates.product_flops


def _operations(node: Node, rates: Rates) -> tuple[float, float]:
    kind = node.kind
    match kind:
        case Leaf() | Constant() | Placeholder() | IndexMap() | Selection():
            return 0.0, rates.element_flops
        case Elementwise():
            return float(kind.function.flops * node.size), rates.element_flops
        case Contraction():
            if applied(node) is not None:
                return map_flops(node), rates.element_flops
            terms = terms_of(node)
            if selecting(node) is not None:
                return float(terms), rates.element_flops / PLACED
            if is_product(node):
                # the upper triangle in blocks: three quarters of the whole
                return (1.5 if is_halved(kind) else 2.0) * terms, _product_rate(kind, rates)
            return float(max(terms, 1) * max(len(kind.inputs) - 1, 1)), rates.element_flops
        case MatrixFunction():
            return ROWS[kind.name].flops(node.shape, *(x.shape for x in node.inputs)), rates.opaque_flops
        case Opaque():
            return kind.flops, kind.flops / kind.seconds if kind.seconds else rates.opaque_flops
        case _:
            assert_never(kind)


def _held_inside(node: Node) -> float:
    """Bytes that the evaluation of one node holds besides its inputs and its value."""
    match node.kind:
        case Opaque():
            return node.kind.held_bytes
        case Elementwise():
            return float(node.kind.function.held * node.size * node.dtype.itemsize)
        case _:
            return 0.0


def _peak(nodes: Sequence[Node], stored: set[Node], kept: set[Node]) -> float:
    """Bytes alive at once if nodes are evaluated in order and freed after their last use.

    What is read by a node that is not stored is read when its consumer is computed, and lives until then.
    """
    place = {node: k for k, node in enumerate(nodes)}
    last: dict[Node, int] = {}
    for node in reversed(nodes):
        used = place[node] if node in stored else last.get(node, place[node])
        for source in node.inputs:
            last[source] = max(last.get(source, -1), used)
    dying: dict[int, list[Node]] = {}
    for node in nodes:
        if node in stored and node not in kept:
            dying.setdefault(max(last.get(node, -1), place[node]), []).append(node)
    alive = peak = 0.0
    for k, node in enumerate(nodes):
        if node in stored:
            alive += node.size * node.dtype.itemsize
        inside = _held_inside(node)
        peak = max(peak, alive + inside)
        alive -= sum(x.size * x.dtype.itemsize for x in dying.get(k, ()))
    return peak
