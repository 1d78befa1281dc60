"""Fuse elementwise neighbours into one scalar function: one core and one second derivative instead of several.

A producer is fused into its only consumer. Producers that carry no derivative stay apart: their values are
constants of the scalar function and must not be computed again in each derivative.

One pass decides which nodes belong together, inputs first, by what they couple; then each group is composed once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from nablax.graph.graph import Graph
from nablax.graph.node import Node, reachable
from nablax.ops.instruction import Argument
from nablax.ops.kinds import Elementwise
from nablax.ops.scalar_function import Builder


def fuse(graph: Graph, outputs: Sequence[Node], leaves: int) -> list[Node]:
    """Rewrite the graph under `outputs` with elementwise neighbours fused.

    Args:
        graph: makes the new nodes.
        outputs: the nodes whose values must stay.
        leaves: bit set of the leaves with respect to which derivatives are asked.

    Returns:
        The outputs in the rewritten graph.
    """
    nodes = reachable(outputs)
    groups, absorbed = _grouped(nodes, set(outputs), leaves)
    new: dict[Node, Node] = {}
    for node in nodes:
        if node not in absorbed:
            members = groups[node].nodes() if node in groups else [node]
            fused = _composed(graph, node, members, new) if len(members) > 1 else None
            if fused is not None and fused.shape == node.shape:
                new[node] = fused
            else:
                for member in members:
                    graph.at(member)
                    new[member] = graph.remake(member, [new[source] for source in member.inputs])
    return [new[node] for node in outputs]


@dataclass(eq=False)
class _Group:
    """Nodes that become one, while they are being collected.

    Args:
        node: the one whose value is the group's.
        parts: the groups inside.
        moving: the active inputs of the group in which it has a partial.
        partners: for each active input those that it is coupled with.
        couplings: how many pairs that makes.
        refused: producers that would have made more couplings.
    """

    node: Node
    parts: list[_Group] = field(default_factory=list)
    moving: set[Node] = field(default_factory=set)
    partners: dict[Node, set[Node]] = field(default_factory=dict)
    couplings: int = 0
    refused: list[Node] = field(default_factory=list)

    def groups(self) -> list[_Group]:
        """The group and all inside."""
        found: list[_Group] = []
        waiting = [self]
        while waiting:
            found.append(waiting.pop())
            waiting += found[-1].parts
        return found

    def nodes(self) -> list[Node]:
        """All nodes, in the order of evaluation."""
        return sorted((group.node for group in self.groups()), key=_number)

    def pairs(self) -> Iterator[tuple[Node, Node]]:
        """The couplings, each once."""
        for one, others in self.partners.items():
            for other in others:
                if one.number <= other.number:
                    yield one, other

    def couples(self, one: Node, other: Node) -> bool:
        """Whether two inputs are coupled."""
        return other in self.partners.get(one, ())

    def couple(self, pairs: Iterable[tuple[Node, Node]]) -> None:
        """Add pairs of coupled inputs."""
        for one, other in pairs:
            if not self.couples(one, other):
                self.partners.setdefault(one, set()).add(other)
                self.partners.setdefault(other, set()).add(one)
                self.couplings += 1

    def absorb(self, value: Node, inner: _Group) -> bool:
        """Put the group that computes an input into this one, unless that makes more couplings.

        tanh(z + b) with both z and b active would couple three pairs where tanh alone has one second derivative.

        Args:
            value: the input.
            inner: the group that computes it; used up.

        Returns:
            Whether it was done.
        """
        partners = self.partners.get(value, set())
        # The pairs of `value` go; those that both have count once. So many pairs may come in their place.
        fewer, more = sorted((self, inner), key=lambda group: group.couplings)
        allowed = len(partners) + sum(more.couples(*pair) for pair in fewer.pairs()) if partners else 0
        new: set[frozenset[Node]] = set()
        for partner in partners:
            for one in inner.moving:
                for other in inner.moving if partner is value else (partner,):
                    if not (self.couples(one, other) or inner.couples(one, other)):
                        new.add(frozenset((one, other)))
                        if len(new) > allowed:
                            return False
        self.parts.append(inner)
        self.moving.discard(value)
        self.partners.pop(value, None)
        for partner in partners - {value}:
            self.partners[partner].discard(value)
        self.couplings -= len(partners)
        self._merge(inner)
        self.couple((min(pair, key=_number), max(pair, key=_number)) for pair in new)
        return True

    def _merge(self, inner: _Group) -> None:
        """Small into large, so that a long chain of absorptions stays linear."""
        if len(inner.moving) > len(self.moving):
            self.moving, inner.moving = inner.moving, self.moving
        self.moving |= inner.moving
        if inner.couplings > self.couplings:
            self.partners, inner.partners = inner.partners, self.partners
            self.couplings, inner.couplings = inner.couplings, self.couplings
        self.couple(inner.pairs())
        inner.partners, inner.moving = {}, set()


def _number(node: Node) -> int:
    return node.number


def _grouped(nodes: Sequence[Node], kept: set[Node], leaves: int) -> tuple[dict[Node, _Group], set[Node]]:
    """The group of each elementwise node, and the nodes that stand inside the group of another."""
    consumers: dict[Node, set[Node]] = {node: set() for node in nodes}
    for node in nodes:
        for source in node.inputs:
            consumers[source].add(node)
    groups: dict[Node, _Group] = {}
    absorbed: set[Node] = set()
    for node in nodes:
        if not isinstance(node.kind, Elementwise):
            continue
        group = groups[node] = _alone(node, node.kind, leaves)
        for source in dict.fromkeys(node.inputs):
            same = source in groups and source.shape == node.shape
            if same and source.depends & leaves and source not in kept and consumers[source] == {node}:
                if group.absorb(source, groups[source]):
                    absorbed.add(source)
                else:
                    group.refused.append(source)
    # What a part could not take, the whole may: it has more of the couplings already. Each is asked once more.
    for node in reversed(nodes):
        if node in groups and node not in absorbed:
            waiting = [source for part in groups[node].groups() for source in part.refused]
            while waiting:
                source = waiting.pop()
                parts = groups[source].groups()
                if groups[node].absorb(source, groups[source]):
                    absorbed.add(source)
                    waiting += (more for part in parts for more in part.refused)
    return groups, absorbed


def _alone(node: Node, kind: Elementwise, leaves: int) -> _Group:
    group = _Group(node)
    active = [bool(source.depends & leaves) for source in node.inputs]
    group.moving |= {node.inputs[k] for k in kind.function.moving() if active[k]}
    group.couple((node.inputs[p], node.inputs[q]) for p, q in kind.function.couplings() if active[p] and active[q])
    return group


def _composed(graph: Graph, root: Node, members: Sequence[Node], new: dict[Node, Node]) -> Node:
    """The nodes of a group as one."""
    inside = set(members)
    outside = dict.fromkeys(source for node in members for source in node.inputs if source not in inside)
    place: dict[Node, int] = {}
    values: dict[Node, Argument] = {source: place.setdefault(new[source], len(place)) for source in outside}
    builder = Builder([node.dtype.name for node in place], derivative=False)
    for node in members:
        if isinstance(node.kind, Elementwise):
            values[node] = builder.inline(node.kind.function, [values[source] for source in node.inputs])
    graph.at(root)
    return graph.elementwise(builder.function(values[root]), list(place))
