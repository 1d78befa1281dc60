"""The frontier of an elimination: an immutable value between the eliminated nodes and those still to come.

It holds the adjoint of each live node and the cores, each with legs from its slots to live nodes and to leaves. A core
of second order has forms between two slots; the record allows any number, for derivatives of higher order.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from nablax.contraction.block import Block, Part, Share
from nablax.contraction.index import fresh
from nablax.contraction.term import compose, identity, swap_sides
from nablax.graph.cases import excluded
from nablax.graph.node import Node, NodeTerm
from nablax.sweeps.steps import Step

Legs = tuple[NodeTerm, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Form:
    """What a core multiplies between some of its slots.

    Args:
        slots: the slot of each side of the term after the first; a form between different slots stands for itself
            and its transposes.
        term: sides (open axes, axes of each slot).
    """

    slots: tuple[int, ...]
    term: NodeTerm


@dataclass(frozen=True, eq=False, slots=True)
class Core:
    """A core with its legs.

    Args:
        forms: its terms.
        legs: for each slot the legs on live nodes and leaves, sides (axes of the slot, axes of the node).
        origin: the node whose second derivative it is, or on which cores were summed.
    """

    forms: tuple[Form, ...]
    legs: tuple[Mapping[Node, Legs], ...]
    origin: Node

    def nodes(self) -> set[Node]:
        """Nodes and leaves that its legs stand on."""
        return {node for slot in self.legs for node in slot}

    def block(self, row: Node, column: Node) -> Block[Node]:
        """What it contributes between two nodes, sides (open axes, row axes, column axes)."""
        found: list[Part[Node]] = []
        for form in self.forms:
            s, t = form.slots
            left, right = self.legs[s].get(row, ()), self.legs[t].get(column, ())
            if row is column and s == t:
                own = Share.SYMMETRIC if is_diagonal(form.term) else Share.WHOLE
                for i, a in enumerate(left):
                    found += _sandwich(a, form.term, a, own)
                    for b in left[i + 1 :]:
                        found += _sandwich(a, form.term, b, Share.HALF)
                continue
            share = Share.HALF if row is column else Share.WHOLE
            for a in left:
                for b in right:
                    found += _sandwich(a, form.term, b, share)
            if row is not column and s != t:
                turned = swap_sides(form.term, 1, 2)
                for a in self.legs[t].get(row, ()):
                    for b in self.legs[s].get(column, ()):
                        found += _sandwich(a, turned, b, Share.WHOLE)
        return Block(tuple(found))


def is_diagonal(form: NodeTerm) -> bool:
    """Whether a form couples each element with itself only, so that a leg on both sides gives a symmetric term."""
    return all(a.label is not None and a.label is b.label for a, b in zip(form.sides[1], form.sides[2], strict=True))


def _sandwich(left: NodeTerm, form: NodeTerm, right: NodeTerm, share: Share) -> list[Part[Node]]:
    """Left' form right: sides (open, left's node, right's node); nothing where index maps or cases never meet."""
    if excluded(left, form, right):
        return []
    half = compose(form, 1, left, 0)  # sides (open, column, row)
    whole = None if half is None else compose(half, 1, right, 0)
    return [] if whole is None else [Part(whole, share)]


@dataclass(frozen=True, eq=False, slots=True)
class Frontier:
    """Everything that an elimination has left to do.

    Args:
        adjoints: for each live node and leaf the terms of the adjoint, sides (open axes, axes of the node).
        cores: the cores, each under a number of its own.
        standing: for each live node the numbers of the cores with a leg on it.
        count: the next number.
    """

    adjoints: Mapping[Node, Legs] = field(default_factory=dict)
    cores: Mapping[int, Core] = field(default_factory=dict)
    standing: Mapping[Node, tuple[int, ...]] = field(default_factory=dict)
    count: int = 0

    def on(self, node: Node) -> tuple[int, ...]:
        """Numbers of the cores with a leg on a node."""
        return self.standing.get(node, ())

    def with_core(self, core: Core, leaves: Container[Node]) -> Frontier:
        """The frontier with one more core, which is found again under the nodes that its legs stand on.

        Args:
            core: the core.
            leaves: where legs end; they need no finding.
        """
        standing = dict(self.standing)
        for node in core.nodes():
            if node not in leaves:
                standing[node] = (*standing.get(node, ()), self.count)
        return replace(self, cores={**self.cores, self.count: core}, standing=standing, count=self.count + 1)

    def without(self, numbers: Iterable[int], nodes: Iterable[Node]) -> Frontier:
        """The frontier after what some cores have on some nodes has been taken from them; on leaves they stay."""
        taken, gone = set(numbers), set(nodes)
        cores, standing = dict(self.cores), dict(self.standing)
        for node in gone & standing.keys():
            standing[node] = tuple(k for k in standing[node] if k not in taken)
        for number in taken:
            core = cores[number]
            slots = tuple({x: legs for x, legs in slot.items() if x not in gone} for slot in core.legs)
            if any(slots):
                cores[number] = replace(core, legs=slots)
            else:
                del cores[number]
        return replace(self, cores=cores, standing=standing)


def identity_legs(nodes: Sequence[Node]) -> tuple[Mapping[Node, Legs], ...]:
    """One slot per node, each with the identity leg on it."""
    return tuple({node: (identity(fresh(node.shape)),)} for node in nodes)


@dataclass(frozen=True, eq=False)
class SecondOrder:
    """What a sweep leaves.

    Args:
        cores: all cores, legs on leaves only.
        gradient: for each leaf the terms of the adjoint, sides (open axes, axes of the leaf).
        steps: what was done.
    """

    cores: tuple[Core, ...]
    gradient: Mapping[Node, list[NodeTerm]]
    steps: tuple[Step, ...] = ()

    def block(self, row: Node, column: Node) -> Block[Node]:
        """The block of the Hessian between two leaves, sides (open axes, row axes, column axes)."""
        return Block(tuple(part for core in self._standing.get(row, ()) for part in core.block(row, column).parts))

    @cached_property
    def _standing(self) -> dict[Node, list[Core]]:
        found: dict[Node, list[Core]] = {}
        for core in self.cores:
            for leaf in core.nodes():
                found.setdefault(leaf, []).append(core)
        return found
