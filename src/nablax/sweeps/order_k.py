"""Derivatives of order three and more: the terms of the Hessian, differentiated as they stand.

A term is a product of nodes with labelled axes. Its derivative puts, for one factor after the other, the forward leg
of that factor in its place (the product rule), and one side more. Legs and terms stay networks, so that

    d/dx_l  sum_i p_i A_ij A_ik   =   sum_i p_i A_ij A_ik A_il  -  ...

is three factors and the diagonal label i again: what was separable, banded or of low rank stays so at every order.

A derivative is symmetric in its sides. Terms that are each other's permutations are one *orbit*: one product, and its
transposes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from nablax.contraction.block import Share
from nablax.contraction.term import Factor, compose, join_sides
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm, identify
from nablax.sweeps.forward import legs_from
from nablax.sweeps.frontier import SecondOrder
from nablax.sweeps.second_order import mask_of

Turn = tuple[int, ...]
Places = tuple[int, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Orbit:
    """A term and its permutations.

    Args:
        term: coefficient 1, sides (open axes, axes of each slot).
        turns: how often each permutation of the slots stands in the sum; slot p[i] of the term becomes slot i.
    """

    term: NodeTerm
    turns: Mapping[Turn, float]

    def terms(self) -> Iterator[NodeTerm]:
        """All permutations as terms."""
        for turn, times in self.turns.items():
            yield turned(self.term, turn).replace(coefficient=times)

    def diagonal(self) -> NodeTerm | None:
        """The diagonal of the sum, sides (open axes, axes of a slot): no permutation changes it."""
        joined: NodeTerm | None = self.term
        while joined is not None and len(joined.sides) > 2:
            joined = join_sides(joined, 1, 2)
        times = sum(self.turns.values())
        return None if joined is None else joined.replace(coefficient=times * joined.coefficient)


Tensor = Mapping[Places, Sequence[Orbit]]


def turned(term: NodeTerm, turn: Turn) -> NodeTerm:
    """A term with its slots permuted."""
    return term.replace(sides=(term.sides[0], *(term.sides[1 + k] for k in turn)))


def order_k(graph: Graph, second: SecondOrder, leaves: Sequence[Node], order: int) -> Tensor:
    """The tensor of an order from the Hessian's terms.

    Args:
        graph: makes the nodes.
        second: what a sweep of second order left.
        leaves: the leaves asked about.
        order: at least 2.

    Returns:
        For each rising tuple of positions of leaves, one per slot, the orbits of its block.
    """
    tensor: dict[Places, list[Orbit]] = {}
    for a, row in enumerate(leaves):
        for b in range(a, len(leaves)):
            block = second.block(row, leaves[b])
            tensor[a, b] = _orbits(
                ((part.term, _SHARED[part.share]) for part in block.parts),
                (a, b),
            )
    legs: dict[Node, dict[Node, list[NodeTerm]]] = {}
    mask = mask_of(leaves)
    for level in range(3, order + 1):
        factors = dict.fromkeys(
            factor.operand
            for orbits in tensor.values()
            for orbit in orbits
            for factor in orbit.term.factors
            if factor.operand.depends & mask
        )
        legs = legs_from(graph, list(factors), leaves, legs)
        tensor = {
            places: _orbits(_differentiated(graph, tensor[places[:-1]], leaves[places[-1]], legs), places)
            for places in itertools.combinations_with_replacement(range(len(leaves)), level)
        }
    return tensor


_SHARED: Mapping[Share, Mapping[Turn, float]] = {
    Share.WHOLE: {(0, 1): 1.0},
    Share.SYMMETRIC: {(0, 1): 1.0},
    Share.HALF: {(0, 1): 1.0, (1, 0): 1.0},
}


def _differentiated(
    graph: Graph,
    orbits: Iterable[Orbit],
    leaf: Node,
    legs: Mapping[Node, Mapping[Node, Sequence[NodeTerm]]],
) -> Iterator[tuple[NodeTerm, Mapping[Turn, float]]]:
    """The product rule: each factor in turn replaced by its legs; the new slot comes last."""
    for orbit in orbits:
        turns = {(*turn, len(turn)): times for turn, times in orbit.turns.items()}
        for place, factor in enumerate(orbit.term.factors):
            for leg in legs.get(factor.operand, {}).get(leaf, ()):
                yield from ((term, turns) for term in _replaced(graph, orbit.term, place, factor, leg))


def _replaced(graph: Graph, term: NodeTerm, place: int, factor: Factor[Node], leg: NodeTerm) -> Iterator[NodeTerm]:
    others = (*term.factors[:place], *term.factors[place + 1 :], *graph.guards(factor.axes, factor.operand.dtype))
    rest = term.replace(factors=others, sides=(*term.sides, factor.axes))
    found = compose(rest, len(term.sides), leg, 1)
    if found is not None:
        yield found


def _orbits(pairs: Iterable[tuple[NodeTerm, Mapping[Turn, float]]], places: Places) -> list[Orbit]:
    """Terms gathered: equal ones, and those that become equal when slots of one leaf are permuted, are one orbit."""
    found: dict[tuple[object, ...], tuple[NodeTerm, dict[Turn, float]]] = {}
    for term, turns in pairs:
        plain = term.replace(coefficient=1.0)
        own = _identity(len(places))
        for turn in _permutations(places):
            key = turned(plain, turn).key(identify)
            if key in found:
                own = turn
                break
        else:
            found[plain.key(identify)] = (plain, {})
            key = plain.key(identify)
        gathered = found[key][1]
        back = _inverse(own)
        for turn, times in turns.items():
            whole = tuple(back[k] for k in turn)
            gathered[whole] = gathered.get(whole, 0.0) + times * term.coefficient
    return [orbit for term, turns in found.values() if (orbit := _shortest(term, turns, places)).turns]


def _shortest(term: NodeTerm, turns: Mapping[Turn, float], places: Places) -> Orbit:
    """An orbit without turns that leave its term as it is."""
    same = {turned(term, turn).key(identify): turn for turn in reversed(list(_permutations(places)))}
    gathered: dict[Turn, float] = {}
    for turn, times in turns.items():
        # turns beyond the slots of one leaf do not occur: blocks are of rising leaves
        first = same[turned(term, turn).key(identify)]
        gathered[first] = gathered.get(first, 0.0) + times
    return Orbit(term, {turn: times for turn, times in gathered.items() if times != 0.0})


@lru_cache(maxsize=256)
def _permutations(places: Places) -> tuple[Turn, ...]:
    """Permutations of slots of one leaf, the identity first."""
    every = itertools.permutations(range(len(places)))
    return tuple(turn for turn in every if all(places[k] == places[i] for i, k in enumerate(turn)))


def _identity(count: int) -> Turn:
    return tuple(range(count))


def _inverse(turn: Turn) -> Turn:
    return tuple(turn.index(k) for k in range(len(turn)))
