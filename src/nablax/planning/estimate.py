"""What a graph costs, from shapes alone: operations, bytes moved, peak memory, seconds.

The rates are those of one core of a current server in single precision. Only their ratios matter to the choice.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from nablax.graph.graph import Node, reachable
from nablax.ops.kinds import Constant, Contraction, Elementwise, IndexMap, Leaf, MatrixFunction, Opaque
from nablax.ops.matrix_functions import ROWS

PRODUCT_FLOPS = 1.0e11  # multiply-adds of a matrix product count two
VECTOR_FLOPS = 2.0e10  # a product in which one operand has no label of its own
ELEMENT_FLOPS = 4.0e9
OPAQUE_FLOPS = 2.0e10
BYTES = 8.0e9
CACHED_BYTES = 4.0e10  # arrays that stay in the cache between two operations
CACHE = 1.0e6
BATCH_SECONDS = 2.0e-7  # each matrix product of a batch
LAUNCH_SECONDS = 2.0e-6


@dataclass(frozen=True)
class Cost:
    """What it takes.

    Args:
        flops: floating-point operations.
        moved: bytes read and written.
        peak: largest number of bytes alive at once, arguments not counted.
        seconds: estimated time.
    """

    flops: float = 0.0
    moved: float = 0.0
    peak: float = 0.0
    seconds: float = 0.0

    def times(self, count: float) -> Cost:
        """The cost of doing it `count` times one after the other."""
        return Cost(self.flops * count, self.moved * count, self.peak, self.seconds * count)

    def then(self, other: Cost) -> Cost:
        """The cost of both, one after the other."""
        return Cost(
            self.flops + other.flops,
            self.moved + other.moved,
            max(self.peak, other.peak),
            self.seconds + other.seconds,
        )


def is_fusible(node: Node) -> bool:
    """Whether XLA computes it inside its consumer: elementwise work and products without a sum."""
    kind = node.kind
    if isinstance(kind, Elementwise | IndexMap):
        return True
    if isinstance(kind, Contraction):
        kept = set(kind.output)
        return all(label in kept for labels in kind.inputs for label in labels)
    return False


def is_product(node: Node) -> bool:
    """Whether a node sums a product of two operands: a matrix product, which reads stored arrays."""
    kind = node.kind
    if not isinstance(kind, Contraction) or len(kind.inputs) != 2:
        return False
    a, b = (set(labels) for labels in kind.inputs)
    return bool((a & b) - set(kind.output))


def _batch(node: Node) -> int:
    """Number of separate matrix products in a product with shared open labels."""
    kind = node.kind
    if not isinstance(kind, Contraction) or not is_product(node):
        return 0
    a, b = (set(labels) for labels in kind.inputs)
    return math.prod(kind.sizes[label] for label in a & b & set(kind.output)) if a & b & set(kind.output) else 0


def _product_rate(kind: Contraction) -> float:
    """Operations per second of a product: that of a matrix product if both operands have labels of their own."""
    a, b = (set(labels) for labels in kind.inputs)
    return PRODUCT_FLOPS if a - b and b - a else VECTOR_FLOPS


def cost_of(outputs: Sequence[Node], given: Collection[Node] = ()) -> Cost:
    """The cost of evaluating nodes.

    Args:
        outputs: the nodes.
        given: nodes whose values are there already.

    Returns:
        The cost of all nodes that are needed, each once.
    """
    nodes = _needed(outputs, set(given))
    kept = set(outputs)
    consumers: dict[Node, list[Node]] = {}
    for node in nodes:
        for source in node.inputs:
            consumers.setdefault(source, []).append(node)
    stored = {
        node for node in nodes if node in kept or not is_fusible(node) or not _fuses_into(consumers.get(node, []))
    }
    flops = moved = seconds = 0.0
    for node in nodes:
        own, rate = _operations(node)
        flops += own
        traffic = transfer = 0.0
        if node in stored and not isinstance(node.kind, Leaf | Constant):
            sizes = [x.size * x.dtype.itemsize for x in (node, *node.inputs)]
            traffic = float(sum(sizes))
            seconds += LAUNCH_SECONDS + BATCH_SECONDS * _batch(node)
            transfer = sum(size / (CACHED_BYTES if size < CACHE else BYTES) for size in sizes)
        moved += traffic
        # arithmetic in double precision runs at half the rate, its bytes are twice as many
        seconds += max(own / rate * max(node.dtype.itemsize / 4.0, 1.0), transfer)
    return Cost(flops, moved, _peak(nodes, stored, kept), seconds)


def _needed(outputs: Sequence[Node], given: set[Node]) -> list[Node]:
    if not given:
        return reachable(outputs)
    found: dict[int, Node] = {}
    waiting = [node for node in outputs if node not in given]
    while waiting:
        node = waiting.pop()
        if node.number not in found:
            found[node.number] = node
            waiting += [source for source in node.inputs if source not in given]
    return [found[number] for number in sorted(found)]


def _fuses_into(consumers: Iterable[Node]) -> bool:
    """One consumer that reads element by element, or sums without a matrix product."""
    consumers = list(consumers)
    return (
        len(consumers) == 1
        and not is_product(consumers[0])
        and isinstance(consumers[0].kind, Elementwise | Contraction | IndexMap)
    )


def _operations(node: Node) -> tuple[float, float]:
    kind = node.kind
    match kind:
        case Leaf() | Constant() | IndexMap():
            return 0.0, ELEMENT_FLOPS
        case Elementwise():
            return float(kind.function.flops * node.size), ELEMENT_FLOPS
        case Contraction():
            used = {label for labels in kind.inputs for label in labels}
            terms = math.prod(kind.sizes[label] for label in used)
            if is_product(node):
                return (1.0 if kind.symmetric else 2.0) * terms, _product_rate(kind)
            return float(max(terms, 1) * max(len(kind.inputs) - 1, 1)), ELEMENT_FLOPS
        case MatrixFunction():
            return ROWS[kind.name].flops(node.shape, *(x.shape for x in node.inputs)), OPAQUE_FLOPS
        case Opaque():
            return kind.flops, OPAQUE_FLOPS


def _peak(nodes: Sequence[Node], stored: set[Node], kept: set[Node]) -> float:
    """Bytes alive at once if nodes are evaluated in order and freed after their last use."""
    last = {source: node for node in nodes for source in node.inputs}
    dying: dict[Node, list[Node]] = {}
    for source, node in last.items():
        dying.setdefault(node, []).append(source)
    alive = peak = 0.0
    for node in nodes:
        if node in stored and not isinstance(node.kind, Leaf | Constant):
            alive += node.size * node.dtype.itemsize
        peak = max(peak, alive)
        for source in dying.get(node, []):
            if source in stored and source not in kept and not isinstance(source.kind, Leaf | Constant):
                alive -= source.size * source.dtype.itemsize
    return peak
