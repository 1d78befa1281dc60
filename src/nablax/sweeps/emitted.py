"""The arrays that each turn hands over, and programs that read those of one turn or of several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from nablax.contraction.index import Label, along
from nablax.contraction.term import Factor, Term, compose
from nablax.graph.evaluate import evaluate
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm
from nablax.sweeps.handed_over import Kept
from nablax.sweeps.loop_blocks import Pair, Ties, all_tied, as_term, common
from nablax.sweeps.sources import Sources, sources_of


@dataclass(frozen=True, eq=False)
class Program:
    """A graph whose leaves are known by keys, and what it makes."""

    graph: Graph = field(default_factory=Graph)
    leaves: dict[object, Node] = field(default_factory=dict)
    made: dict[Any, Node] = field(default_factory=dict)

    def leaf(self, key: object, shape: Sequence[int], dtype: Any) -> Node:
        if key not in self.leaves:
            self.leaves[key] = self.graph.leaf(len(self.leaves), tuple(shape), dtype)
        return self.leaves[key]

    def __call__(self, values: Mapping[object, Any]) -> dict[Any, Any]:
        found = evaluate(list(self.made.values()), [values[key] for key in self.leaves])
        return dict(zip(self.made, found, strict=True))

    def places(self, name: str) -> list[int]:
        """Of the arrays that turns hand over those that are read under a name."""
        return [key[1] for key in self.leaves if isinstance(key, tuple) and key[0] == name]


@dataclass(frozen=True, eq=False)
class Emitted:
    """All that a turn hands over, each value once.

    Args:
        kept: the turn.
    """

    kept: Kept

    @cached_property
    def sources(self) -> Sources:
        """From where the Jacobians of later turns are pushed on."""
        return sources_of(self.kept)

    @cached_property
    def blocks(self) -> dict[Pair, tuple[Ties, Node]]:
        """E: for each column and carried value the block as an array of the turn, and its ties."""
        found = {}
        for place, column in enumerate(self.kept.columns):
            for k, terms in column.blocks.items():
                if terms:
                    leaf = self.kept.carried[k]
                    ties = common(terms) & all_tied(leaf.shape, column.axes)
                    found[place, k] = (ties, self.kept.array(terms, leaf.shape, column.axes, ties, leaf.dtype))
        return found

    @cached_property
    def nodes(self) -> list[Node]:
        """Nodes of the turn's graph."""
        terms = [*self.kept.jacobians.values(), *(leg for column in self.kept.columns for leg in column.legs)]
        for source in self.sources.each:
            terms += [term for legs in (*source.begun.values(), *source.legs.values()) for term in legs]
        found = dict.fromkeys(factor.operand for term in terms for factor in term.factors)
        found.update(dict.fromkeys(node for _, node in self.blocks.values()))
        return list(found)

    @cached_property
    def _place(self) -> dict[Node, int]:
        return {node: k for k, node in enumerate(self.nodes)}

    def of_one(self, program: Program, terms: Iterable[NodeTerm], name: str) -> list[NodeTerm]:
        """Terms of the turn's graph as terms of a program that reads one turn under a name."""

        def read(factor: Factor[Node]) -> Factor[Node]:
            node = factor.operand
            return Factor(program.leaf((name, self._place[node]), node.shape, node.dtype), factor.axes)

        return [term.replace(factors=[read(f) for f in term.factors]) for term in terms]

    def of_several(self, program: Program, legs: Iterable[NodeTerm], name: str, count: int) -> list[NodeTerm]:
        """Legs of the turn's graph as legs of a program that reads so many turns, the turn before their first axes."""
        found = []
        for leg in legs:
            turn = along(Label(count))
            factors = []
            for factor in leg.factors:
                node = factor.operand
                array = program.leaf((name, self._place[node]), (count, *node.shape), node.dtype)
                factors.append(Factor(array, (turn, *factor.axes)))
            found.append(Term(leg.coefficient, tuple(factors), ((turn, *leg.sides[0]), *leg.sides[1:])))
        return found

    def block(self, program: Program, place: int, k: int) -> list[NodeTerm]:
        """E of the turn that a program reads, sides (no open axes, carried value, entry or partner)."""
        if (place, k) not in self.blocks:
            return []
        ties, node = self.blocks[place, k]
        return self.of_one(
            program, [as_term(node, self.kept.carried[k].shape, self.kept.columns[place].axes, ties)], "now"
        )

    def through(self, program: Program, k: int, x: int, term: NodeTerm) -> list[NodeTerm]:
        """A Jacobian of carried value x before the turn that a program reads, as one of value k after it."""
        if (k, x) not in self.kept.jacobians:
            return []
        [leg] = self.of_one(program, [self.kept.jacobians[k, x]], "now")
        product = compose(leg.replace(sides=((), *leg.sides)), 2, term.replace(sides=term.sides[1:]), 0)
        return [] if product is None else [product]
