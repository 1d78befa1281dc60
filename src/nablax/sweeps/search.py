"""The search: at each node, keep the cores' legs or sum some of the cores into one dense block, from local costs.

At live nodes C that carry all legs of some cores, those cores can stay legs or be summed into one block S on C. What is
above the next waist N (a node through which every path to the leaves leads) can also be summed there. Compared are

    here:   cost(S on C) + width(C) (below(C) - below(N)) + cost(S on N from width(C) rows)
    later:  rank(cores) (below(C) - below(N))             + cost(S on N from rank(cores) rows)

so that a deep network costs as much as it is deep. Cores of one pattern (the same axes stay apart in them) may be
summed alone: a layer's core is a block for each token, what comes from above is one for all tokens together. (Edge
pushing, Wang, Gebremedhin and Pothen 2016, always sums, and into full blocks.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from nablax.contraction.index import Label
from nablax.contraction.order import pairwise_order
from nablax.contraction.rates import Rates
from nablax.contraction.term import Axes, elements
from nablax.graph.node import Node, NodeTerm
from nablax.sweeps.asked import Asked
from nablax.sweeps.below import Below, pass_seconds
from nablax.sweeps.frontier import Core, Frontier, Legs

# Dense blocks on more nodes together than this are not considered: a long-short memory's carry has two.
MOST_TOGETHER = 3
# Rows must exceed a block's width by this much: a block forgets that some of the cores are diagonal, and a diagonal
# core takes its next local Jacobian for nothing (log-sum-exp: diag(p) - pp' as two cores, 11 rows, not as one block).
LEAST_RATIO = 1.5


@dataclass(frozen=True, slots=True)
class Cut:
    """Nodes on which some cores are to be summed.

    Args:
        nodes: the nodes.
        cores: numbers of the cores.
        rank: rows of all legs of the cores, per element of the passing axes.
        width: elements of the nodes, per element of the passing axes.
    """

    nodes: tuple[Node, ...]
    cores: tuple[int, ...]
    rank: int
    width: int


def find_cut(
    frontier: Frontier,
    node: Node,
    settled: frozenset[Node],
    asked: Asked,
    below: Below,
    rates: Rates,
    calls: int,
) -> Cut | None:
    """The cut through a node at which summing cores pays.

    Args:
        frontier: before the node is eliminated.
        node: the node.
        settled: the leaves, and nodes from which only moves lead to them.
        asked: which blocks between leaves are asked.
        below: what lies below each node.
        rates: of the machine.
        calls: among how many calls preparation is shared.

    Returns:
        The cut; None where keeping the legs is cheaper or nothing can be summed.
    """
    standing = frontier.on(node)
    if not standing:
        return None
    live = {k: frozenset(x for x in frontier.cores[k].nodes() if x not in settled) for k in standing}
    best: tuple[float, Cut] | None = None
    for chosen in {frozenset({node}), frozenset[Node]().union(*live.values())}:
        if len(chosen) > MOST_TOGETHER:
            continue
        numbers = sorted({k for x in chosen for k in frontier.on(x)})
        ready = []
        for k in numbers:
            own = live.get(k) or {x for x in frontier.cores[k].nodes() if x not in settled}
            if own <= chosen and _apart(frontier.cores[k], chosen, settled, asked):
                ready.append(k)
        for group in _groups(frontier, ready, chosen):
            cut = Cut(
                tuple(sorted(chosen, key=lambda x: x.number)),
                group,
                sum(_rank(frontier.cores[k], chosen, below.rank) for k in group),
                sum(below.width(x) for x in chosen),
            )
            if cut.rank > LEAST_RATIO * cut.width:
                gain = _gain(frontier, cut, below, rates, calls)
                if gain > 0 and (best is None or gain > best[0]):
                    best = gain, cut
    return None if best is None else best[1]


def _gain(frontier: Frontier, cut: Cut, below: Below, rates: Rates, calls: int) -> float:
    """Seconds saved by summing at a cut rather than at the next waist, or never."""
    top = max(cut.nodes, key=lambda x: below.seconds[x])
    waist = below.waist[top]
    saved = (cut.rank - cut.width) * (below.seconds[top] - (below.seconds[waist] if waist is not None else 0.0))
    if waist is not None:
        stored = sum(_rank(frontier.cores[k], cut.nodes, below.rows_at_waist) for k in cut.cores)
        here = sum(below.width_at_waist(x) for x in cut.nodes)
        saved += _later(waist, cut.rank, stored, below, rates) - _later(waist, cut.width, here, below, rates)
    # what is added unchanged at the cut reads its answer from a block; from legs, each core is a product
    for node in cut.nodes:
        if below.beside[node]:
            saved += sum(_beside_seconds(frontier.cores[k], node, below, rates) for k in cut.cores)
    # every core is lowered and compiled again at each node that its legs pass
    nodes = below.count[top] - (below.count[waist] if waist is not None else 0)
    prepared = (len(cut.cores) - 1) * nodes * rates.compile_seconds / calls
    return saved + prepared - _sum_seconds(frontier, cut, below, rates)


def _beside_seconds(core: Core, node: Node, below: Below, rates: Rates) -> float:
    """Time of a core's diagonal on what a node adds unchanged, from the core's legs."""
    products = sum(_products(term) for term in core.block(node, node).diagonal())
    return 2.0 * products * below.beside[node] / node.size / rates.batched_flops


def _products(term: NodeTerm) -> float:
    """Multiplications that summing a term takes, in its best order: few where labels of its legs are shared."""
    factors = [factor.labels for factor in term.factors]
    opened = term.open_labels
    sizes = {label: label.size for label in (*term.factor_labels, *opened)}
    count = 0.0
    for places in pairwise_order(factors, opened, sizes):
        taken = {label for place in places for label in factors[place]}
        count += elements(taken)
        factors = [labels for place, labels in enumerate(factors) if place not in places]
        left = taken & {*opened, *(label for labels in factors for label in labels)}
        factors.append(tuple(left))
    return count


def _later(waist: Node, rows: int, stored: int, below: Below, rates: Rates) -> float:
    """Time of summing rows into a block on a waist, or of pulling them on from there, whichever is less."""
    width = below.width(waist)
    if rows <= width:
        return rows * below.seconds[waist]
    summed = 2.0 * below.batch(waist) * stored * width * width / rates.batched_flops
    return min(rows * below.seconds[waist], summed + width * below.seconds[waist])


def _groups(frontier: Frontier, ready: list[int], chosen: frozenset[Node]) -> list[tuple[int, ...]]:
    """All cores together, and those of each pattern alone."""
    if not ready:
        return []
    if len(chosen) > 1 or len(ready) == 1:
        return [tuple(ready)]
    [node] = chosen
    patterns: dict[frozenset[int], list[int]] = {}
    for k in ready:
        patterns.setdefault(_pattern(frontier.cores[k], node), []).append(k)
    if len(patterns) == 1:
        return [tuple(ready)]
    return [tuple(ready), *(tuple(group) for group in patterns.values())]


def _pattern(core: Core, node: Node) -> frozenset[int]:
    """Axes of a node that stay apart in what a core contributes there: row and column are equal along them."""
    axes = frozenset(range(len(node.shape)))
    for form in core.forms:
        s, t = form.slots
        for left in core.legs[s].get(node, ()):
            for right in core.legs[t].get(node, ()):
                rows, columns = _carried(left, form.term.sides[1]), _carried(right, form.term.sides[2])
                axes &= {axis for axis in rows if axis in columns and rows[axis] is columns[axis]}
    return axes


def _carried(leg: NodeTerm, side: Axes) -> dict[int, Label]:
    """For each axis of a leg's node that is an axis of its slot the label that the form has there."""
    place = {index.label: k for k, index in enumerate(leg.sides[0]) if index.label is not None}
    found: dict[int, Label] = {}
    for axis, index in enumerate(leg.sides[1]):
        if index.label is not None and index.label in place:
            label = side[place[index.label]].label
            if label is not None:
                found[axis] = label
    return found


def _apart(core: Core, chosen: Iterable[Node], settled: frozenset[Node], asked: Asked) -> bool:
    """Whether no asked block couples a leaf that the core has reached with a leaf below the cut."""
    below = list(chosen)
    return not any(asked.couples(leaf, x) for leaf in core.nodes() if leaf in settled for x in below)


def _legs_on(slot: Mapping[Node, Legs], chosen: Iterable[Node]) -> list[tuple[Node, Legs]]:
    return [(x, slot[x]) for x in chosen if x in slot]


def _is_shared(leg: NodeTerm, passing: frozenset[int]) -> bool:
    """Whether a factor of a leg is the same for the whole batch, so that the batch is one large matrix product."""
    batch = {x for axis, index in enumerate(leg.sides[1]) if axis in passing for x in index.labels}
    return any(batch.isdisjoint(factor.labels) for factor in leg.factors)


def _rank(core: Core, chosen: Iterable[Node], rows: Callable[[NodeTerm, Node], int]) -> int:
    total = 0
    for slot in core.legs:
        total += max((rows(leg, x) for x, legs in _legs_on(slot, chosen) for leg in legs), default=0)
    return total


def _sum_seconds(frontier: Frontier, cut: Cut, below: Below, rates: Rates) -> float:
    """Time of multiplying the cores out into one block, estimated from the labels of their legs."""
    if len(cut.nodes) == 1:
        [node] = cut.nodes
        shared = frozenset(range(len(node.shape)))
        for number in cut.cores:
            shared &= _pattern(frontier.cores[number], node)
        wide = math.prod(n for axis, n in enumerate(node.shape) if axis not in shared)
        block = float(node.size) * wide
    else:
        wide = cut.width
        block = float(max(below.batch(x) for x in cut.nodes)) * wide * wide
    seconds = rates.launch_seconds
    for number in cut.cores:
        core = frontier.cores[number]
        seconds += pass_seconds(block, rates)
        for slot in core.legs:
            for x, legs in _legs_on(slot, cut.nodes):
                for leg in legs:
                    rows = {label for index in leg.sides[0] for label in index.labels}
                    there = {label for index in leg.sides[1] for label in index.labels}
                    if not rows <= there:  # a diagonal leg scales the block
                        rate = rates.product_flops if _is_shared(leg, below.passing[x]) else rates.batched_flops
                        seconds += 2.0 * elements(rows | there) * wide / rate
    return seconds
