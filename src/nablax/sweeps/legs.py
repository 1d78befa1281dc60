"""Legs: keeping them short. Which factors of a leg are multiplied out, and which legs are summed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nablax.contraction.block import Block, Share
from nablax.contraction.index import Index, Label, along
from nablax.contraction.order import pairwise_order
from nablax.contraction.rates import Rates
from nablax.contraction.term import Factor, Term, collect_like, connected, elements, swap_sides
from nablax.graph.factors import unguarded
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm, identify
from nablax.graph.sums import add_up
from nablax.sweeps.overlaps import without_overlaps


def multiply_out(graph: Graph, leg: NodeTerm) -> NodeTerm:
    """Multiply the factors of a leg that are summed over a label with each other, and those on equal labels.

    Factors that share no summed label are an outer product and stay apart. Windows that overlap are added up.
    """
    leg = leg.replace(factors=unguarded(leg.factors))
    groups = list(connected(leg.factors, leg.summed_labels))
    summed = set(leg.summed_labels)
    done: list[Factor[Node]] = []
    for group in groups:
        factors = [leg.factors[k] for k in group]
        if summed.isdisjoint(x for factor in factors for x in factor.labels):
            done += factors
            continue
        done.append(graph.product(factors, summed))
    return without_overlaps(graph, leg.replace(factors=_gathered(graph, done)))


def _gathered(graph: Graph, factors: Sequence[Factor[Node]]) -> list[Factor[Node]]:
    """Factors on the same labels become one."""
    groups: dict[frozenset[Label], list[Factor[Node]]] = {}
    for factor in factors:
        groups.setdefault(frozenset(factor.labels), []).append(factor)
    return [group[0] if len(group) == 1 else graph.product(group, ()) for group in groups.values()]


def merge(graph: Graph, legs: Sequence[NodeTerm], dtype: Any) -> list[NodeTerm]:
    """Sum legs between the same axes that arrive by several paths.

    Legs whose sum would be larger than its parts (a diagonal plus a rank-one part) stay apart, and so do legs
    along different index maps, whose sum would lose the sparsity that the maps state.

    Args:
        graph: makes the sum.
        legs: terms with two sides.
        dtype: dtype of the sum.

    Returns:
        As few legs as pay.
    """
    legs = collect_like(legs, identify)
    if len(legs) < 2:
        return legs
    bare = [leg for leg in legs if all(index.label is not None for side in leg.sides for index in side)]
    mapped = [leg for leg in legs if leg not in bare]
    return [*_summed(graph, bare, dtype), *_by_pattern(graph, mapped, dtype)]


def _by_pattern(graph: Graph, legs: Sequence[NodeTerm], dtype: Any) -> list[NodeTerm]:
    """Sum legs whose sides are the same up to the names of labels, index maps included."""
    groups: dict[tuple[object, ...], list[NodeTerm]] = {}
    for leg in legs:
        groups.setdefault(leg.replace(factors=()).key(identify), []).append(leg)
    merged: list[NodeTerm] = []
    for group in groups.values():
        if len(group) == 1 or elements(group[0].open_labels) > sum(_stored(leg) for leg in group):
            merged += group
        else:
            merged.append(_in_one_pattern(graph, group, dtype))
    return merged


def gathered(graph: Graph, legs: Sequence[NodeTerm], dtype: Any) -> list[NodeTerm]:
    """Sum all legs that one array can hold, whatever its size: what comes next costs more per leg than the sum does."""
    legs = collect_like(legs, identify)
    groups: dict[tuple[object, ...], list[NodeTerm]] = {}
    for leg in legs:
        bare = all(index.label is not None for side in leg.sides for index in side)
        groups.setdefault(() if bare else leg.replace(factors=()).key(identify), []).append(leg)
    found: list[NodeTerm] = []
    for pattern, group in groups.items():
        if len(group) == 1:
            found += group
        elif pattern == ():
            found.append(sum_in_pattern(graph, group, common_pattern(group), dtype))
        else:
            found.append(_in_one_pattern(graph, group, dtype))
    return found


def multiply_all_but_last(graph: Graph, leg: NodeTerm) -> NodeTerm:
    """Multiply the factors of a leg out, but for a last one that has no label of the leg's own rows.

    A consumer that sums the node's elements up multiplies that factor with fewer rows than the leg has.
    """
    rows = {label for index in leg.sides[0] for label in index.labels}
    summed = set(leg.summed_labels)
    done: list[Factor[Node]] = []
    for group in connected(leg.factors, summed):
        factors = [leg.factors[k] for k in group]
        own = summed & {x for factor in factors for x in factor.labels}
        if not own:
            done += factors
            continue
        last = _last(factors, leg, own) if rows else None
        rest = [factor for factor in factors if factor is not last]
        outside = set() if last is None else set(last.labels)
        done.append(graph.product(rest, own - outside) if len(rest) > 1 or own - outside else rest[0])
        if last is not None:
            done.append(last)
    return leg.replace(factors=done)


def _last(factors: Sequence[Factor[Node]], leg: NodeTerm, summed: set[Label]) -> Factor[Node] | None:
    """The factor that the cheapest order multiplies last, where it has no label of the leg's rows."""
    rows = {label for index in leg.sides[0] for label in index.labels}
    labels = [list(factor.labels) for factor in factors]
    sizes = {label: label.size for own in labels for label in own}
    waiting: list[Factor[Node] | None] = list(factors)
    path = pairwise_order(labels, [x for x in sizes if x not in summed], sizes)
    for step, positions in enumerate(path):
        taken = [waiting[k] for k in positions]
        if step == len(path) - 1:
            alone = [one for one in taken if one is not None and rows.isdisjoint(one.labels)]
            return alone[0] if len(taken) == 2 and len(alone) == 1 and len(factors) > 2 else None
        waiting = [*(one for k, one in enumerate(waiting) if k not in positions), None]
    return None


def _in_one_pattern(graph: Graph, group: Sequence[NodeTerm], dtype: Any) -> NodeTerm:
    nodes = [
        graph.multiply(leg.replace(sides=(tuple(along(label) for label in leg.open_labels),)), dtype) for leg in group
    ]
    axes = tuple(along(label) for label in group[0].open_labels)
    return Term(1.0, (Factor(graph.add(nodes), axes),), group[0].sides)


def _summed(graph: Graph, legs: Sequence[NodeTerm], dtype: Any) -> list[NodeTerm]:
    if len(legs) < 2:
        return list(legs)
    classes = common_pattern(legs)
    size = math.prod(index.extent for index in classes.values())
    if size > sum(_stored(leg) for leg in legs):
        return _by_pattern(graph, legs, dtype)
    return [sum_in_pattern(graph, legs, classes, dtype)]


def sum_alike(graph: Graph, terms: Sequence[NodeTerm], dtype: Any) -> list[NodeTerm]:
    """Sum terms of one dense factor each whose factors stand on the same axes of the sides, the transposed ones too.

    A core has one term for each term of the adjoint, and its transpose beside it where its operation is symmetric.

    Args:
        graph: makes the sums.
        terms: terms with the same sides.
        dtype: dtype of the sums.
    """
    groups: dict[tuple[object, ...], list[NodeTerm]] = {}
    for term in terms:
        bare = len(term.factors) == 1 and all(index.label is not None for index in term.factors[0].axes)
        labels = term.open_labels
        standing = frozenset(labels.index(x) for x in term.factor_labels) if bare and not term.summed_labels else None
        key = (term.replace(factors=()).key(identify), id(term) if standing is None else standing)
        groups.setdefault(key, []).append(term)
    found: list[NodeTerm] = []
    for group in groups.values():
        first = group[0]
        if len(group) == 1:
            found.append(first)
            continue
        places = [first.open_labels.index(x) for x in first.factor_labels]
        nodes = [
            graph.multiply(term.replace(sides=(tuple(along(term.open_labels[k]) for k in places),)), dtype)
            for term in group
        ]
        axes = tuple(along(first.open_labels[k]) for k in places)
        found.append(Term(1.0, (Factor(graph.add(nodes), axes),), first.sides))
    return found


def common_pattern(terms: Sequence[NodeTerm]) -> dict[tuple[int, ...], Index]:
    """The coincidences of axes that all terms share.

    Args:
        terms: terms with the same sides, all axes bare.

    Returns:
        For each class of axes (positions counted over all sides) that carry one label in every term, a new
        label.
    """
    labels = [[index.label for side in term.sides for index in side] for term in terms]
    extents = [index.extent for side in terms[0].sides for index in side]
    groups: dict[tuple[Any, ...], list[int]] = {}
    for position in range(len(extents)):
        groups.setdefault(tuple(id(own[position]) for own in labels), []).append(position)
    return {tuple(group): along(Label(extents[group[0]])) for group in groups.values()}


def sum_in_pattern(
    graph: Graph,
    terms: Sequence[NodeTerm],
    classes: dict[tuple[int, ...], Index],
    dtype: Any,
    rates: Rates | None = None,
    before: int | None = None,
) -> NodeTerm:
    """The sum of terms as one factor with one axis per class of axes.

    Args:
        graph: makes the sum.
        terms: terms with the same sides, all axes bare.
        classes: as `common_pattern` gives them.
        dtype: dtype of the sum.
        rates: of the machine, for taking out common factors; None to multiply out term by term.
        before: nodes with smaller numbers are there already; all that are made so far where None.
    """
    listed = []
    for term in terms:
        axes = [index for side in term.sides for index in side]
        listed.append(term.replace(sides=(tuple(axes[group[0]] for group in classes),)))
    if rates is None:
        node = graph.add([graph.multiply(term, dtype) for term in listed])
    else:
        node = add_up(graph, listed, [index.extent for index in classes.values()], dtype, rates, before=before)
    place = {position: index for group, index in classes.items() for position in group}
    sides, start = [], 0
    for side in terms[0].sides:
        sides.append(tuple(place[start + k] for k in range(len(side))))
        start += len(side)
    return Term(1.0, (Factor(node, tuple(classes.values())),), tuple(sides))


def sum_block(graph: Graph, block: Block[Node], dtype: Any, rates: Rates, before: int) -> NodeTerm | None:
    """A block as one dense term on the axes that none of its terms share; None where static index maps forbid it.

    Args:
        graph: makes the sum.
        block: the block; not zero.
        dtype: dtype of the sum.
        rates: of the machine.
        before: nodes with smaller numbers are there already.
    """
    terms = block.terms()
    if any(index.label is None for term in terms for side in term.sides for index in side):
        return None
    classes = common_pattern(terms)
    wholes = [part.term for part in block.parts if part.share is not Share.HALF]
    halves = [part.term for part in block.parts if part.share is Share.HALF]
    if halves:
        half = sum_in_pattern(graph, halves, classes, dtype, rates, before)
        wholes += [half, swap_sides(half, 1, 2)]
    return sum_in_pattern(graph, wholes, classes, dtype, rates, before)


def _stored(term: NodeTerm) -> int:
    """Elements that the factors of a term hold."""
    return sum(elements(factor.labels) for factor in term.factors) or 1
