"""Elimination of one node: frontier in, frontier and step out.

Eliminating node u with inputs i, adjoint a_u and local Jacobians D_i does

    a_i          +=  D_i' a_u
    leg to i     +=  (leg to u) D_i          for every core with a leg on u
    a new core with identity legs on u's inputs, if u is not linear

(Gower and Mello 2012 and Wang, Gebremedhin and Pothen 2016 push blocks between pairs of live nodes instead; legs need
one side only.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nablax.contraction.block import Block
from nablax.contraction.rates import Rates
from nablax.contraction.term import Term, compose
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm
from nablax.graph.sums import cheaper
from nablax.ops.kinds import Contraction, IndexMap, Opaque
from nablax.sweeps.asked import Asked
from nablax.sweeps.below import Below, look_below
from nablax.sweeps.frontier import Core, Form, Frontier, Legs, identity_legs
from nablax.sweeps.legs import merge, multiply_out, sum_alike, sum_block
from nablax.sweeps.local import LocalJacobian, differential, second_differential
from nablax.sweeps.opaque_rules import legs_together
from nablax.sweeps.parts import parts_of
from nablax.sweeps.ruled import core_through, pull_through
from nablax.sweeps.search import Cut, find_cut
from nablax.sweeps.steps import Rule, Step


@dataclass(frozen=True, eq=False)
class Elimination:
    """What stays the same while nodes are eliminated.

    Args:
        graph: makes the nodes of the derivative.
        nodes: the active nodes between leaves and output, inputs first.
        leaves: where legs end.
        mask: bits of the leaves.
        asked: which blocks between leaves are asked.
        order: 1 for adjoints alone, 2 for cores as well.
        rates: of the machine; None to keep all legs and never to sum.
        calls: among how many calls preparation is shared.
        outputs: the nodes that are differentiated; the last node if there is only one.
        together: sums the legs of a core that arrive at a node by several paths, where they are kept apart otherwise.
    """

    graph: Graph
    nodes: tuple[Node, ...]
    leaves: frozenset[Node]
    mask: int
    asked: Asked
    order: int
    rates: Rates | None
    calls: int = 100
    outputs: tuple[Node, ...] = ()
    together: Callable[[Graph, Node, Sequence[NodeTerm]], Sequence[NodeTerm]] | None = None
    last: frozenset[Node] = field(init=False)
    below: Below | None = field(init=False)
    _jacobians: dict[Node, LocalJacobian | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        last: set[Node] = set()
        for node in self.nodes:
            # From these only moves lead to leaves: what is left is the contraction that answers the question,
            # and that knows a better order than multiplying legs out one by one.
            moved = isinstance(node.kind, IndexMap) or (isinstance(node.kind, Contraction) and len(node.inputs) == 1)
            if node in self.leaves or (moved and all(x in last for x in node.inputs if x.depends & self.mask)):
                last.add(node)
        object.__setattr__(self, "last", frozenset(last))
        if self.asked.diagonal and self.order > 1:
            groups = parts_of(self.nodes, self.leaves, last.__contains__, self.jacobian)
            if len(groups) > len(self.leaves):
                object.__setattr__(self, "asked", self.asked.apart(self.nodes, groups))
        below = None
        if self.rates is not None:
            below = look_below(self.nodes, self.outputs, last, self.mask, self.jacobian, self.rates)
        object.__setattr__(self, "below", below)

    def jacobian(self, node: Node) -> LocalJacobian | None:
        """The local Jacobian of a node, found once; None for an opaque node."""
        if node not in self._jacobians:
            self.graph.at(node)
            found = None if isinstance(node.kind, Opaque) else differential(self.graph, node, self.mask)
            self._jacobians[node] = found
        return self._jacobians[node]


def eliminate(sweep: Elimination, frontier: Frontier, node: Node) -> tuple[Frontier, Step | None]:
    """Eliminate one node.

    Args:
        sweep: what stays the same.
        frontier: before; every consumer of the node has been eliminated.
        node: the node.

    Returns:
        The frontier after, and the step; no step where nothing stood on the node.
    """
    own = frontier.adjoints.get(node, ())
    if not own and not frontier.on(node):
        return frontier, None
    sweep.graph.at(node)
    own = tuple(merge(sweep.graph, own, node.dtype))
    if isinstance(node.kind, Opaque):
        own = tuple(legs_together(sweep.graph, own, node))
    rules: list[Rule] = []
    rank = width = 0
    if sweep.below is not None and sweep.rates is not None and node not in sweep.last:
        cut = find_cut(frontier, node, sweep.last, sweep.asked, sweep.below, sweep.rates, sweep.calls)
        if cut is not None:
            summed = sum_cores(sweep, frontier, cut)
            if summed is not None:
                frontier, rank, width = summed, cut.rank, cut.width
                rules.append(Rule.SUM)
    before = len(frontier.on(node))
    after = pulled(sweep, frontier, node, own)
    opened = sweep.order > 1 and bool(own)
    if opened:
        core = open_core(sweep, node, own)
        opened = core is not None
        if core is not None:
            after = after.with_core(core, sweep.leaves)
    standing = len({k for x in node.inputs for k in after.on(x)})
    return after, Step(node, (*rules, Rule.PULL), (before, standing), opened, rank, width)


def pulled(sweep: Elimination, frontier: Frontier, node: Node, own: Legs) -> Frontier:
    """Adjoint and legs on a node moved to its inputs."""
    jacobian = sweep.jacobian(node)
    adjoints = dict(frontier.adjoints)
    adjoints.pop(node, None)
    for source, legs in pull(sweep, own, node, jacobian).items():
        adjoints[source] = (*adjoints.get(source, ()), *legs)
    numbers = frontier.on(node)
    if not numbers:
        return replace(frontier, adjoints=adjoints)
    cores, standing = dict(frontier.cores), dict(frontier.standing)
    del standing[node]
    for number in numbers:
        core = cores[number]
        slots = []
        for slot in core.legs:
            if node not in slot:
                slots.append(slot)
                continue
            moved = {x: legs for x, legs in slot.items() if x is not node}
            arrived: Sequence[NodeTerm] = merge(sweep.graph, slot[node], node.dtype)
            if sweep.together is not None and len(arrived) > 1 and node not in sweep.last:
                arrived = sweep.together(sweep.graph, node, arrived)
            for source, legs in pull(sweep, arrived, node, jacobian).items():
                moved[source] = (*moved.get(source, ()), *legs)
                if source not in sweep.leaves and number not in standing.get(source, ()):
                    standing[source] = (*standing.get(source, ()), number)
            slots.append(moved)
        cores[number] = replace(core, legs=tuple(slots))
    return replace(frontier, adjoints=adjoints, cores=cores, standing=standing)


def pull(
    sweep: Elimination, legs: Sequence[NodeTerm], node: Node, jacobian: LocalJacobian | None
) -> dict[Node, list[NodeTerm]]:
    """Legs on a node times its local Jacobian: legs on its inputs."""
    found: dict[Node, list[NodeTerm]] = {}
    for leg in legs:
        if jacobian is None:
            for source, arrived in pull_through(sweep.graph, leg, node, sweep.mask).items():
                found.setdefault(source, []).extend(arrived)
            continue
        for source, terms in jacobian.items():
            for term in terms:
                product = compose(leg, 1, term, 0)
                if product is None:
                    continue
                if source not in sweep.last:
                    product = multiply_out(sweep.graph, product)
                found.setdefault(source, []).append(product)
    return found


def open_core(sweep: Elimination, node: Node, adjoint: Iterable[NodeTerm]) -> Core | None:
    """The core of a node: its adjoint times its second derivative; None for a linear node."""
    forms: dict[tuple[Node, Node], list[NodeTerm]] = {}
    jacobian = sweep.jacobian(node)
    for term in adjoint:
        if jacobian is None:
            found = core_through(sweep.graph, node, term, sweep.mask)
        else:
            found = second_differential(sweep.graph, node, jacobian, term, sweep.mask)
        for pair, terms in found.items():
            # a weight and the layer's input are coupled, but a diagonal asks for no block between them
            if sweep.asked.couples(*pair):
                forms.setdefault(pair, []).extend(terms)
    core = core_of(sweep.graph, forms, node)
    return None if core is None else _below_values(sweep, core, node)


def _below_values(sweep: Elimination, core: Core, node: Node) -> Core:
    """A core whose slots on the node itself, or on other values of its operation, have legs on its inputs instead."""

    def moved(slot: Mapping[Node, Legs]) -> Mapping[Node, Legs]:
        [(value, legs)] = slot.items()
        if value in node.inputs:
            return slot
        pulled = pull(sweep, legs, value, sweep.jacobian(value))
        return {source: tuple(found) for source, found in pulled.items()}

    return replace(core, legs=tuple(moved(slot) for slot in core.legs))


def core_of(graph: Graph, forms: Mapping[tuple[Node, Node], Sequence[NodeTerm]], origin: Node) -> Core | None:
    """The core with the given forms between nodes, and identity legs on them."""
    if not forms:
        return None
    place: dict[Node, int] = {}
    for pair in forms:
        for source in pair:
            place.setdefault(source, len(place))
    listed = tuple(
        Form((place[row], place[column]), term)
        for (row, column), terms in forms.items()
        for term in sum_alike(graph, [multiply_out(graph, term) for term in terms], row.dtype)
    )
    return Core(listed, identity_legs(list(place)), origin)


def sum_cores(sweep: Elimination, frontier: Frontier, cut: Cut) -> Frontier | None:
    """Cores summed into one, with a dense form between each pair of nodes of a cut; None if labels forbid it."""
    graph = sweep.graph
    assert sweep.rates is not None
    apart = [frontier.cores[number] for number in cut.cores]
    merged = [_merged(graph, core, cut.nodes) for core in apart]
    forms: dict[tuple[Node, Node], list[NodeTerm]] = {}
    for place, row in enumerate(cut.nodes):
        for column in cut.nodes[place:]:
            term = _summed(sweep, apart, merged, row, column)
            if term is None:
                return None
            if term.factors:
                forms[row, column] = [term]
    left = frontier.without(cut.cores, cut.nodes)
    summed = core_of(graph, forms, cut.nodes[-1])
    return left if summed is None else left.with_core(summed, sweep.leaves)


def _merged(graph: Graph, core: Core, nodes: Iterable[Node]) -> Core:
    """A core whose legs on some nodes are summed where they arrive by several paths."""
    chosen = set(nodes)
    slots = tuple(
        {x: tuple(merge(graph, legs, x.dtype)) if x in chosen else legs for x, legs in slot.items()}
        for slot in core.legs
    )
    return replace(core, legs=slots)


def _summed(
    sweep: Elimination, apart: Sequence[Core], merged: Sequence[Core], row: Node, column: Node
) -> NodeTerm | None:
    """The sum of what cores contribute between two nodes; None if labels forbid it, a term without factors if zero.

    Legs that arrive by several paths (a residual's identity and its layer) are summed first or kept apart, whichever
    costs less: (1 + A)' S (1 + A) are two products of a batch, S + A'S + SA + A'SA with A = W D three large ones.
    """
    assert sweep.rates is not None
    best: NodeTerm | None = None
    before = sweep.graph.count
    for cores in (merged,) if _alike(apart, merged, row, column) else (merged, apart):
        block = Block(tuple(part for core in cores for part in core.block(row, column).parts))
        if not block.parts:
            return Term(0.0, (), ((), (), ()))
        term = sum_block(sweep.graph, block, row.dtype, sweep.rates, before)
        if term is None:
            return None
        node = term.factors[0].operand
        if best is None or cheaper(node, best.factors[0].operand, before, sweep.rates) is node:
            best = term
    return best


def _alike(apart: Sequence[Core], merged: Sequence[Core], row: Node, column: Node) -> bool:
    return all(
        len(a.get(x, ())) == len(b.get(x, ()))
        for one, other in zip(apart, merged, strict=True)
        for a, b in zip(one.legs, other.legs, strict=True)
        for x in (row, column)
    )
