"""Cores and legs: the Hessian as a sum of L' M L, by elimination in reverse topological order.

For a scalar f computed by nodes v_k = phi_k(inputs) with adjoints a_k = df/dv_k,

    H = sum_k  L_k' M_k L_k,     M_k = a_k . phi_k''     (core),     L_k = d(inputs of k)/dx     (legs).

Eliminating node u with inputs i and local Jacobians D_i does

    a_i          +=  D_i' a_u
    leg to i     +=  (leg to u) D_i          for every core with a leg on u
    a new core with identity legs on u's inputs, if phi_u is not linear

The adjoint is a leg too: that of the output. For a vector-valued f its rows stay open to the end, and so the
same sweep gives the Hessian of every output. (Gower and Mello 2012 and Wang, Gebremedhin and Pothen 2016 push
blocks between pairs of live nodes instead; legs need one side only.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from nablax.contraction.index import fresh
from nablax.contraction.term import compose, elements, identity, swap_sides
from nablax.graph.graph import Graph, Node, NodeTerm, reachable
from nablax.ops.kinds import Contraction, IndexMap, Opaque
from nablax.sweeps.legs import common_pattern, merge, multiply_out, sum_in_pattern
from nablax.sweeps.local import LocalJacobian, differential, second_differential
from nablax.sweeps.opaque_rules import opaque_core, pull_opaque


@dataclass(eq=False)
class Core:
    """A core with its legs.

    Args:
        forms: (row slot, column slot, term with sides open axes, row slot's axes, column slot's axes); a form
            between different slots stands for itself and its transpose.
        legs: for each slot the legs on live nodes and leaves, sides (slot's axes, axes of the node).
        origin: the node whose second derivative it is.
    """

    forms: list[tuple[int, int, NodeTerm]]
    legs: list[dict[Node, list[NodeTerm]]]
    origin: Node

    def on(self, node: Node) -> bool:
        """Whether a leg stands on a node."""
        return any(node in slot for slot in self.legs)


class Share(Enum):
    """What a term stands for in a block between a leaf and itself; leg and transposed leg are one computation."""

    WHOLE = "itself"
    SYMMETRIC = "itself, and it equals its transpose"
    HALF = "itself and its transpose"


def _is_diagonal(form: NodeTerm) -> bool:
    """Whether a form couples each element with itself only, so that a leg on both sides gives a symmetric term."""
    return all(a.label is not None and a.label is b.label for a, b in zip(form.sides[1], form.sides[2], strict=True))


@dataclass(frozen=True)
class CollapsePoint:
    """A node at which all cores could be summed into one dense block.

    Args:
        node: the node.
        rank: joint rank of the cores there (rows of legs per batch element).
        width: elements of the node per batch element.
    """

    node: Node
    rank: int
    width: int


@dataclass(frozen=True)
class SecondOrder:
    """What the sweep leaves: terms of the Hessian between leaves, and the gradient.

    Args:
        cores: all cores, legs on leaves only.
        gradient: for each leaf the terms of the adjoint, sides (open axes, axes of the leaf).
        points: where collapsing was possible.
    """

    cores: tuple[Core, ...]
    gradient: dict[Node, list[NodeTerm]]
    points: tuple[CollapsePoint, ...]

    def terms(self, row: Node, column: Node) -> list[tuple[NodeTerm, Share]]:
        """Terms of the block between two leaves, sides (open, row axes, column axes).

        Returns:
            Each term with the share of the block that it stands for.
        """
        found: list[tuple[NodeTerm, Share]] = []
        for core in self.cores:
            for s, t, form in core.forms:
                left, right = core.legs[s].get(row, []), core.legs[t].get(column, [])
                if row is column and s == t:
                    for i, a in enumerate(left):
                        own = Share.SYMMETRIC if _is_diagonal(form) else Share.WHOLE
                        found += [(term, own) for term in _sandwich(a, form, a)]
                        found += [(term, Share.HALF) for b in left[i + 1 :] for term in _sandwich(a, form, b)]
                    continue
                for a in left:
                    for b in right:
                        share = Share.HALF if row is column else Share.WHOLE
                        found += [(term, share) for term in _sandwich(a, form, b)]
                if row is not column and s != t:
                    turned = swap_sides(form, 1, 2)
                    for a in core.legs[t].get(row, []):
                        for b in core.legs[s].get(column, []):
                            found += [(term, Share.WHOLE) for term in _sandwich(a, turned, b)]
        return found


def _sandwich(left: NodeTerm, form: NodeTerm, right: NodeTerm) -> list[NodeTerm]:
    """Left' form right: sides (open, left's node, right's node); no term where index maps never meet."""
    half = compose(form, 1, left, 0)  # sides (open, column, row)
    whole = None if half is None else compose(half, 1, right, 0)
    return [] if whole is None else [whole]


Needed = Callable[[Node, Node], bool]


@dataclass
class _Elimination:
    graph: Graph
    leaves: frozenset[Node]
    mask: int
    needed: Needed
    collapse: frozenset[Node]
    cores: list[Core] = field(default_factory=list)
    points: list[CollapsePoint] = field(default_factory=list)
    second: bool = True
    last: set[Node] = field(default_factory=set)
    adjoints: dict[Node, list[NodeTerm]] = field(default_factory=dict)

    def run(self, output: Node) -> SecondOrder:
        adjoints: dict[Node, list[NodeTerm]] = {output: [identity(fresh(output.shape))]}
        nodes = [node for node in reachable([output]) if node.depends & self.mask]
        for node in nodes:
            # From these only moves lead to leaves: what is left is the contraction that answers the question,
            # and that knows a better order than multiplying legs out one by one.
            moved = isinstance(node.kind, IndexMap) or (isinstance(node.kind, Contraction) and len(node.inputs) == 1)
            if node in self.leaves or (moved and all(x in self.last for x in node.inputs if x.depends & self.mask)):
                self.last.add(node)
        for node in reversed(nodes):
            if node in self.leaves:
                continue
            self.eliminate(node, adjoints)
        gradient = {leaf: merge(self.graph, adjoints.get(leaf, []), leaf.dtype) for leaf in self.leaves}
        for core in self.cores:
            for slot in core.legs:
                for leaf, legs in slot.items():
                    slot[leaf] = merge(self.graph, legs, leaf.dtype)
        cores = tuple(core for core in self.cores if core.forms)
        return SecondOrder(cores, gradient, tuple(self.points))

    def eliminate(self, node: Node, adjoints: dict[Node, list[NodeTerm]]) -> None:
        own = merge(self.graph, adjoints.pop(node, []), node.dtype)
        if own:
            self.adjoints[node] = own
        live = [core for core in self.cores if core.on(node)]
        if not own and not live:
            return
        if live and isinstance(node.kind, Contraction) and node not in self.last:
            live = self.collapsed(node, live)
        jacobian: LocalJacobian | None = None
        if not isinstance(node.kind, Opaque):
            jacobian = differential(self.graph, node, self.mask)
        for core in live:
            for slot in core.legs:
                if node in slot:
                    self.pull(merge(self.graph, slot.pop(node), node.dtype), node, jacobian, slot)
        self.pull(own, node, jacobian, adjoints)
        if self.second:
            self.open_core(node, own, jacobian)

    def pull(
        self,
        legs: Sequence[NodeTerm],
        node: Node,
        jacobian: LocalJacobian | None,
        onto: dict[Node, list[NodeTerm]],
    ) -> None:
        """Legs on a node become legs on its inputs."""
        for leg in legs:
            if jacobian is None:
                for source in dict.fromkeys(x for x in node.inputs if x.depends & self.mask):
                    onto.setdefault(source, []).append(pull_opaque(self.graph, leg, node, source))
                continue
            for source, terms in jacobian.items():
                for term in terms:
                    pulled = compose(leg, 1, term, 0)
                    if pulled is None:
                        continue
                    if source not in self.last:
                        pulled = multiply_out(self.graph, pulled)
                    onto.setdefault(source, []).append(pulled)

    def open_core(self, node: Node, adjoint: Sequence[NodeTerm], jacobian: LocalJacobian | None) -> None:
        forms: dict[tuple[Node, Node], list[NodeTerm]] = {}
        for term in adjoint:
            if jacobian is None:
                found = opaque_core(self.graph, node, term, self.mask)
            else:
                found = second_differential(self.graph, node, jacobian, term, self.mask)
            for pair, terms in found.items():
                forms.setdefault(pair, []).extend(terms)
        if not forms:
            return
        slots = list(dict.fromkeys(source for pair in forms for source in pair))
        legs: list[dict[Node, list[NodeTerm]]] = [{source: [identity(fresh(source.shape))]} for source in slots]
        listed = [
            (slots.index(row), slots.index(column), multiply_out(self.graph, term))
            for (row, column), terms in forms.items()
            for term in terms
        ]
        self.cores.append(Core(listed, legs, node))

    def collapsed(self, node: Node, live: list[Core]) -> list[Core]:
        """Sum the cores on a node into one dense block, if the plan says so and nothing is lost."""
        ready = [core for core in live if self.collapsible(core, node)]
        if not ready:
            return live
        blocks: list[NodeTerm] = []
        for core in ready:
            for slot in core.legs:
                if node in slot:
                    slot[node] = merge(self.graph, slot[node], node.dtype)
            bare = SecondOrder((core,), {}, ()).terms(node, node)
            for term, share in bare:
                blocks.append(term)
                if share is Share.HALF:
                    blocks.append(swap_sides(term, 1, 2))
        if not blocks or any(index.label is None for term in blocks for side in term.sides for index in side):
            return live
        rank, width = _rank(ready, node), _width(blocks, node)
        if rank <= 1 or width <= 1 or len(blocks) < 2:
            return live
        self.points.append(CollapsePoint(node, rank, width))
        if node not in self.collapse:
            return live
        block = sum_in_pattern(self.graph, blocks, common_pattern(blocks), node.dtype)
        for core in ready:
            for slot in core.legs:
                slot.pop(node, None)
            if not any(core.legs):
                self.cores.remove(core)
        summed = Core([(0, 0, block)], [{node: [identity(fresh(node.shape))]}], node)
        self.cores.append(summed)
        return [core for core in live if core not in ready] + [summed]

    def collapsible(self, core: Core, node: Node) -> bool:
        """Whether the core couples this node with no other node that the question needs."""
        others = {other for slot in core.legs for other in slot if other is not node}
        if not others <= self.leaves:
            return False
        below = [leaf for leaf in self.leaves if node.depends & leaf.depends]
        return not any(self.needed(other, leaf) for other in others for leaf in below)


def _rank(cores: Iterable[Core], node: Node) -> int:
    """Rows of all legs on a node that are not shared with the node (batch labels are)."""
    rank = 0
    for core in cores:
        for slot in core.legs:
            for leg in slot.get(node, []):
                own = {x for index in leg.sides[0] for x in index.labels}
                there = {x for index in leg.sides[1] for x in index.labels}
                rank += elements(own - there)
    return rank


def _width(blocks: Sequence[NodeTerm], node: Node) -> int:
    """Elements of a node per batch element: row axes that no class shares with a column axis."""
    opened = len(blocks[0].sides[0])
    shared = {
        position
        for group in common_pattern(blocks)
        for position in group
        if any(p >= opened + len(node.shape) for p in group)
    }
    return math.prod(n for k, n in enumerate(node.shape) if opened + k not in shared)


def second_order(
    graph: Graph, output: Node, leaves: Iterable[Node], needed: Needed, collapse: Iterable[Node] = ()
) -> SecondOrder:
    """Eliminate all nodes between an output and leaves.

    Args:
        graph: makes the nodes of the derivative.
        output: the node whose Hessian is asked; any shape.
        leaves: the leaves with respect to which it is asked.
        needed: whether the block between two leaves is asked.
        collapse: nodes at which all cores are to be summed into one dense block.

    Returns:
        Cores with legs on leaves, the gradient, and the possible collapse points.
    """
    chosen = frozenset(leaves)
    mask = 0
    for leaf in chosen:
        mask |= leaf.depends
    return _Elimination(graph, chosen, mask, needed, frozenset(collapse)).run(output)


def adjoints(graph: Graph, output: Node, leaves: Iterable[Node]) -> dict[Node, list[NodeTerm]]:
    """Adjoints of all nodes between an output and leaves, sides (axes of the output, axes of the node)."""
    sweep = _first_order(graph, leaves)
    sweep.run(output)
    return sweep.adjoints


def _first_order(graph: Graph, leaves: Iterable[Node]) -> _Elimination:
    chosen = frozenset(leaves)
    mask = 0
    for leaf in chosen:
        mask |= leaf.depends
    return _Elimination(graph, chosen, mask, lambda *_: False, frozenset(), second=False)


def reverse(graph: Graph, output: Node, leaves: Iterable[Node]) -> dict[Node, list[NodeTerm]]:
    """Reverse mode: the adjoint leg of the output pulled to the leaves.

    Returns:
        For each leaf the terms of the Jacobian of the output, sides (axes of the output, axes of the leaf).
    """
    return _first_order(graph, leaves).run(output).gradient
