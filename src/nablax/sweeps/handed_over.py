"""What a turn of a loop hands over of the constants that enter it through leaves of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nablax.contraction.block import Block
from nablax.contraction.index import fresh
from nablax.contraction.rates import Rates
from nablax.contraction.term import Factor, Term, compose, identity, join_sides, swap_sides
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm, identify, reachable
from nablax.graph.sums import add_up
from nablax.sweeps.asked import Asked
from nablax.sweeps.eliminate import Elimination, eliminate
from nablax.sweeps.entries import Entry
from nablax.sweeps.frontier import Frontier
from nablax.sweeps.loop_blocks import Pair, Ties, all_tied, as_array, as_term, common
from nablax.sweeps.turn import Backwards, Turn


@dataclass(frozen=True, eq=False)
class Column:
    """Something through which a constant enters a turn: an entry, or the partner of one.

    Args:
        constant: position of the constant.
        axes: shape of the entry or the partner.
        blocks: with the carried values, by their positions, sides (no open axes, carried value, entry or partner).
        legs: to the constant, sides (entry or partner, constant).
    """

    constant: int
    axes: tuple[int, ...]
    blocks: Mapping[int, tuple[NodeTerm, ...]]
    legs: tuple[NodeTerm, ...]


@dataclass(frozen=True, eq=False)
class Kept:
    """What one turn hands over, as nodes of its graph.

    Args:
        taken: the turn.
        rates: of the machine.
    """

    taken: Backwards
    rates: Rates

    @property
    def turn(self) -> Turn:
        return self.taken.turn

    @cached_property
    def carried(self) -> dict[int, Node]:
        """The carried values that move, before a turn."""
        first = self.turn.loop.constants
        return {k - first: self.turn.leaves[k] for k in self.turn.carried}

    @cached_property
    def _to_carried(self) -> dict[int, dict[Node, list[NodeTerm]]]:
        ends = (*self.carried.values(), *(entry.leaf for entry in self.turn.entries))
        return {k: jacobian_of(self.turn.graph, self.turn.outputs[k], ends) for k in self.carried}

    @cached_property
    def _ties(self) -> dict[Pair, Ties]:
        """Ties of A: of the Jacobians of carried values in those before."""
        return {
            (k, x): common(found[leaf]) & all_tied(self.turn.outputs[k].shape, leaf.shape)
            for k, found in self._to_carried.items()
            for x, leaf in self.carried.items()
            if found.get(leaf)
        }

    def pushed(self, begun: Mapping[Pair, Ties]) -> dict[Pair, Ties]:
        """Ties of Jacobians of carried values in anything, after any number of turns.

        Args:
            begun: before the first of them, for each carried value and what it is derived in.
        """
        own = dict(begun)
        while True:
            after = dict(own)
            for (k, x), ties in self._ties.items():
                for (y, source), others in own.items():
                    if y == x:
                        after[k, source] = after.get((k, source), ties & others) & ties & others
            if after == own:
                return own
            own = after

    @cached_property
    def passed(self) -> dict[Pair, Ties]:
        """Ties of P: of the Jacobians of carried values in those before any number of turns."""
        return self.pushed({(k, k): all_tied(leaf.shape, leaf.shape) for k, leaf in self.carried.items()})

    @cached_property
    def jacobians(self) -> dict[Pair, NodeTerm]:
        """A: of a carried value in the one before, as an array, sides (value, value before)."""
        return {(k, x): self._leg(k, self.carried[x], ties) for (k, x), ties in self._ties.items()}

    def to_entry(self, k: int, place: int) -> tuple[NodeTerm, ...]:
        """B: the Jacobian of a carried value in an entry, sides (value, entry)."""
        legs = self._to_carried[k].get(self.turn.entries[place].leaf, [])
        if all(len(leg.factors) < 2 for leg in legs):
            return tuple(leg.replace(sides=leg.sides[1:]) for leg in legs)
        leaf = self.turn.entries[place].leaf
        return (self._leg(k, leaf, common(legs) & all_tied(self.turn.outputs[k].shape, leaf.shape)),)

    def _leg(self, k: int, leaf: Node, ties: Ties) -> NodeTerm:
        row = self.turn.outputs[k].shape
        found = as_term(self.array(self._to_carried[k][leaf], row, leaf.shape, ties, leaf.dtype), row, leaf.shape, ties)
        return found.replace(sides=found.sides[1:])

    def array(
        self, terms: Sequence[NodeTerm], row: Sequence[int], column: Sequence[int], ties: Ties, dtype: Any
    ) -> Node:
        return as_array(self.turn.graph, Block.of(terms), row, column, ties, dtype, self.rates)

    @cached_property
    def alike(self) -> tuple[int, ...]:
        """For each entry the first one with the same Jacobians: a sum of products enters at each of them alike."""
        found: dict[object, int] = {}
        return tuple(
            found.setdefault(
                (entry.leaf.shape, tuple((k, x.key(identify)) for k in self.carried for x in self.to_entry(k, place))),
                place,
            )
            for place, entry in enumerate(self.turn.entries)
        )

    def adjoint(self, entry: Entry) -> Node:
        """The adjoint of an entry."""
        return self.turn.graph.sum_of(self.taken.left.gradient[entry.leaf], entry.leaf.shape, entry.leaf.dtype)

    @cached_property
    def _partners(self) -> dict[int, dict[Node, list[NodeTerm]]]:
        """For each entry the Jacobian of its partner, where it moves."""
        ends = (*self.carried.values(), *(entry.leaf for entry in self.turn.entries))
        mask = self.turn.mask
        return {
            j: jacobian_of(self.turn.graph, entry.partner, ends)
            for j, entry in enumerate(self.turn.entries)
            if entry.partner is not None and entry.partner.depends & mask
        }

    @cached_property
    def columns(self) -> list[Column]:
        """All entries and moving partners."""
        found = []
        for j, entry in enumerate(self.turn.entries):
            blocks = {k: tuple(self.taken.left.block(x, entry.leaf).terms()) for k, x in self.carried.items()}
            found.append(Column(entry.constant, entry.leaf.shape, blocks, entry.legs))
            if j in self._partners:
                assert entry.partner is not None
                turned = {k: tuple(transposed(self._partners[j].get(x, ()))) for k, x in self.carried.items()}
                legs = tuple(entry.couplings(self.adjoint(entry)))
                found.append(Column(entry.constant, entry.partner.shape, turned, legs))
        return found

    def slope(self, constant: int) -> Node:
        """The adjoint of a constant."""
        leaf = self.turn.leaves[constant]
        terms = []
        for entry in self.turn.entries:
            if entry.constant == constant:
                axes = fresh(entry.leaf.shape)
                own = Term(1.0, (Factor(self.adjoint(entry), axes),), (axes,))
                terms += [term for leg in entry.legs if (term := compose(own, 0, leg, 0)) is not None]
        return self.turn.graph.sum_of(terms, leaf.shape, leaf.dtype)

    def within(self, constant: int) -> Node:
        """What one turn alone adds to the diagonal of a constant."""
        leaf = self.turn.leaves[constant]
        terms: list[NodeTerm] = []
        entries = [(j, entry) for j, entry in enumerate(self.turn.entries) if entry.constant == constant]
        for place, (_, a) in enumerate(entries):
            for _, b in entries[place:]:
                between = self.taken.left.block(a.leaf, b.leaf).terms()
                twice = 1.0 if a is b else 2.0
                terms += scaled(diagonal_of(to_legs(to_legs(between, b.legs), a.legs, side=1)), twice)
            for j, b in entries:
                if j in self._partners:
                    turned = transposed(self._partners[j].get(a.leaf, ()))
                    legs = b.couplings(self.adjoint(b))
                    terms += scaled(diagonal_of(to_legs(to_legs(turned, legs), a.legs, side=1)), 2.0)
        return add_up(self.turn.graph, terms, leaf.shape, leaf.dtype, self.rates)


def jacobian_of(graph: Graph, output: Node, ends: Iterable[Node]) -> dict[Node, list[NodeTerm]]:
    """The Jacobian of a value of a turn in some of its leaves, sides (no open axes, value, leaf)."""
    leaves = frozenset(ends)
    mask = 0
    for leaf in leaves:
        mask |= leaf.depends
    nodes = tuple(node for node in reachable([output]) if node.depends & mask)
    sweep = Elimination(graph, nodes, leaves, mask, Asked.nothing(), 1, None)
    frontier = Frontier({output: (identity(fresh(output.shape)),)})
    for node in reversed(nodes):
        if node not in leaves:
            frontier, _ = eliminate(sweep, frontier, node)
    return {leaf: [leg.replace(sides=((), *leg.sides)) for leg in frontier.adjoints.get(leaf, ())] for leaf in leaves}


# -- products of blocks and legs ------------------------------------------------------------------------


def transposed(legs: Iterable[NodeTerm]) -> list[NodeTerm]:
    """A Jacobian as a block from its leaf to its value."""
    return [swap_sides(leg, 1, 2) for leg in legs]


def to_legs(block: Iterable[NodeTerm], legs: Iterable[NodeTerm], side: int = 2) -> list[NodeTerm]:
    """A block with legs in place of one of its sides."""
    legs = list(legs)
    found = []
    for term in block:
        for leg in legs:
            product = compose(term, side, leg, 0)
            if product is not None:
                found.append(product if side == 2 else swap_sides(product, 1, 2))
    return found


def over_rows(a: Iterable[NodeTerm], b: Iterable[NodeTerm]) -> list[NodeTerm]:
    """Two blocks multiplied over their rows: sides (no open axes, columns of a, columns of b)."""
    b = list(b)
    found = (compose(one, 1, other.replace(sides=other.sides[1:]), 0) for one in a for other in b)
    return [term for term in found if term is not None]


def diagonal_of(block: Iterable[NodeTerm]) -> list[NodeTerm]:
    found = (join_sides(term, 1, 2) for term in block)
    return [term for term in found if term is not None]


def scaled(terms: Iterable[NodeTerm], factor: float) -> list[NodeTerm]:
    return [term.replace(coefficient=factor * term.coefficient) for term in terms]
