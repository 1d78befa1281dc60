"""Sums of terms multiplied out: one by one, or with common factors taken out, whichever costs less."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nablax.contraction.index import along, fresh, substitute
from nablax.contraction.rates import Rates
from nablax.contraction.term import Factor, Term
from nablax.graph.common_factors import gathered
from nablax.graph.cost import cost_of
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm, identify


def add_up(
    graph: Graph,
    terms: Sequence[NodeTerm],
    shape: Sequence[int],
    dtype: Any,
    rates: Rates,
    *,
    symmetric: bool = False,
    before: int | None = None,
) -> Node:
    """The sum of terms between the same sides.

    Args:
        graph: makes the nodes.
        terms: the terms.
        shape: shape of the sum: the axes of all sides, one after the other.
        dtype: dtype of the sum.
        rates: of the machine.
        symmetric: whether each term equals its transpose.
        before: nodes with smaller numbers are there already; all that are made so far where None.

    Returns:
        One node.
    """
    if not terms:
        return graph.full(0.0, shape, dtype)
    before = graph.count if before is None else before
    apart = graph.add([graph.multiply(term, dtype, symmetric=symmetric) for term in terms])
    together = gathered(graph, terms, dtype)
    if len(together) == len(terms):
        return apart
    # a sum of symmetric terms is symmetric, but its parts need not be
    whole = graph.add([graph.multiply(t, dtype, symmetric=symmetric and len(together) == 1) for t in together])
    return cheaper(whole, apart, before, rates)


def add_up_moved(
    graph: Graph,
    terms: Sequence[NodeTerm],
    shape: Sequence[int],
    dtype: Any,
    rates: Rates,
    before: int | None = None,
) -> Node:
    """The same sum, where terms along the same index maps are summed before they are moved.

    XLA reads every moved array at every place of the sum, to find nothing there most of the time.
    """
    groups: dict[tuple[object, ...], list[NodeTerm]] = {}
    for term in terms:
        moved = tuple(() if index.label is not None else (index,) for side in term.sides for index in side)
        groups.setdefault(Term(1.0, (), moved).key(identify), []).append(term)
    if len(groups) == len(terms):
        return add_up(graph, terms, shape, dtype, rates, before=before)
    return graph.add([_moved_once(graph, group, shape, dtype, rates, before) for group in groups.values()])


def _moved_once(
    graph: Graph, terms: Sequence[NodeTerm], shape: Sequence[int], dtype: Any, rates: Rates, before: int | None
) -> Node:
    """The sum of terms whose index maps are equal."""
    first = [index for side in terms[0].sides for index in side]
    if len(terms) == 1 or all(index.label is not None for index in first):
        return add_up(graph, terms, shape, dtype, rates, before=before)
    labels = [[label for side in term.sides for index in side for label in index.labels] for term in terms]
    # places of labels that coincide in all terms
    classes: dict[tuple[int, ...], list[int]] = {}
    for place in range(len(labels[0])):
        classes.setdefault(tuple(id(own[place]) for own in labels), []).append(place)
    inner = fresh(labels[0][places[0]].size for places in classes.values())
    whole = [
        term.replace(sides=(tuple(along(own[places[0]]) for places in classes.values()),))
        for term, own in zip(terms, labels, strict=True)
    ]
    values = add_up(graph, whole, [index.extent for index in inner], dtype, rates, before=before)
    at = {place: index for index, places in zip(inner, classes.values(), strict=True) for place in places}
    moved, start = [], 0
    for index in first:
        moved.append(substitute(index, {label: at[start + k] for k, label in enumerate(index.labels)}))
        start += len(index.labels)
    return graph.multiply(Term(1.0, (Factor(values, inner),), (tuple(moved),)), dtype)


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
