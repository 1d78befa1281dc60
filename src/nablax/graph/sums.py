"""Sums of terms multiplied out: one by one, or with common factors taken out, whichever costs less."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nablax.contraction.rates import Rates
from nablax.graph.common_factors import gathered
from nablax.graph.cost import cost_of
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm


def add_up(
    graph: Graph,
    terms: Sequence[NodeTerm],
    shape: Sequence[int],
    dtype: Any,
    rates: Rates,
    *,
    symmetric: bool = False,
) -> Node:
    """The sum of terms between the same sides.

    Args:
        graph: makes the nodes.
        terms: the terms.
        shape: shape of the sum: the axes of all sides, one after the other.
        dtype: dtype of the sum.
        rates: of the machine.
        symmetric: whether each term equals its transpose.

    Returns:
        One node.
    """
    if not terms:
        return graph.full(0.0, shape, dtype)
    before = graph.count
    apart = graph.add([graph.multiply(term, dtype, symmetric=symmetric) for term in terms])
    together = gathered(graph, terms, dtype)
    if len(together) == len(terms):
        return apart
    # a sum of symmetric terms is symmetric, but its parts need not be
    whole = graph.add([graph.multiply(t, dtype, symmetric=symmetric and len(together) == 1) for t in together])
    return cheaper(whole, apart, before, rates)


def cheaper(a: Node, b: Node, before: int, rates: Rates) -> Node:
    """The one of two nodes that costs less, what was there before not counted.

    Args:
        a: a node.
        b: a node of the same value.
        before: nodes with smaller numbers are there already.
        rates: of the machine.
    """

    def there(node: Node) -> bool:
        return node.number < before

    return a if cost_of([a], rates, there).seconds < cost_of([b], rates, there).seconds else b
