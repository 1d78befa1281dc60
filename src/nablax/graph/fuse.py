"""Fuse elementwise neighbours into one scalar function: one core and one second derivative instead of several.

A producer is fused into its only consumer. Producers that carry no derivative stay apart: their values are
constants of the scalar function and must not be computed again in each derivative.
"""

from __future__ import annotations

from collections.abc import Sequence

from nablax.graph.graph import Graph, Node, reachable
from nablax.ops.kinds import Elementwise
from nablax.ops.scalar_function import compose


def fuse(graph: Graph, outputs: Sequence[Node], leaves: int) -> list[Node]:
    """Rewrite the graph under `outputs` with elementwise neighbours fused.

    Args:
        graph: makes the new nodes.
        outputs: the nodes whose values must stay.
        leaves: bit set of the leaves with respect to which derivatives are asked.

    Returns:
        The outputs in the rewritten graph.
    """
    current = list(outputs)
    while True:
        rewritten = _once(graph, current, leaves)
        if rewritten == current:
            return current
        current = rewritten


def _once(graph: Graph, outputs: Sequence[Node], leaves: int) -> list[Node]:
    nodes = reachable(outputs)
    consumers: dict[Node, set[Node]] = {node: set() for node in nodes}
    for node in nodes:
        for source in node.inputs:
            consumers[source].add(node)
    kept = set(outputs)
    new: dict[Node, Node] = {}
    for node in nodes:
        inputs = tuple(new[source] for source in node.inputs)
        if isinstance(node.kind, Elementwise):
            fused = graph.remake(node, inputs)
            for source in node.inputs:
                only = (
                    isinstance(source.kind, Elementwise)
                    and source.shape == node.shape
                    and source.depends & leaves
                    and source not in kept
                    and consumers[source] == {node}
                )
                if only and isinstance(fused.kind, Elementwise) and new[source] in fused.inputs:
                    fused = _absorbed(graph, fused, new[source], leaves)
            new[node] = fused
        elif inputs == node.inputs:
            new[node] = node
        else:
            new[node] = graph.remake(node, inputs)
    return [new[node] for node in outputs]


def _absorbed(graph: Graph, outer: Node, inner: Node, leaves: int) -> Node:
    """`outer` with the scalar function of `inner` in place of it, unless that makes more couplings.

    tanh(z + b) with both z and b active would couple three pairs where tanh alone has one second derivative.
    """
    if not isinstance(outer.kind, Elementwise) or not isinstance(inner.kind, Elementwise):
        return outer
    sources: dict[Node, int] = {}
    wiring = [sources.setdefault(source, len(sources)) for source in inner.inputs]
    position = outer.inputs.index(inner)
    kept = {k: sources.setdefault(source, len(sources)) for k, source in enumerate(outer.inputs) if k != position}
    names = [node.dtype.name for node in sources]
    function = compose(outer.kind.function, {position: inner.kind.function}, {position: wiring}, kept, names)
    fused = graph.elementwise(function, list(sources))
    if _couplings(fused, leaves) > _couplings(outer, leaves) + _couplings(inner, leaves):
        return outer
    return fused


def _couplings(node: Node, leaves: int) -> int:
    """Pairs of active inputs with a second partial that is not identically zero."""
    if not isinstance(node.kind, Elementwise):
        return 0
    active = [k for k, source in enumerate(node.inputs) if source.depends & leaves]
    pairs = 0
    for place, p in enumerate(active):
        slope = node.kind.function.partial(p)
        pairs += sum(slope.partial(q).constant != 0.0 for q in active[place:])
    return pairs
