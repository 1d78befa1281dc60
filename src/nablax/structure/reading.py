"""From a traced function to the forms of its Hessian: of each block, and of the whole."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax.numpy as jnp

from nablax.contraction.block import COLUMNS, ROWS
from nablax.contraction.term import elements, swap_sides, within
from nablax.endings.factored import Factored, factored
from nablax.endings.forms import Dense, Form, read
from nablax.endings.positions import Piece, Space
from nablax.endings.splits import merged
from nablax.graph.node import reachable
from nablax.planning.question import Problem
from nablax.planning.reverse_rules import has_reverse_rule
from nablax.sweeps.asked import Asked
from nablax.sweeps.frontier import SecondOrder
from nablax.sweeps.second_order import mask_of, second_order

# Pairs of node and leaf up to which all legs are kept apart; beyond (deep networks), cores are summed into dense blocks
# where that pays, which may hide structure but keeps planning linear in depth.
LEGS_APART = 1000


@dataclass(frozen=True, eq=False)
class Component:
    """Leaves that meet in the Hessian, directly or by way of others.

    Args:
        leaves: positions among the asked leaves.
        form: of the matrix over all of them.
    """

    leaves: tuple[int, ...]
    form: Form


class Reading:
    """The forms of a Hessian.

    Args:
        problem: a function with one number as result.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.symmetric = not has_reverse_rule(problem)
        self._mask = mask_of(problem.asked)

    @cached_property
    def _swept(self) -> SecondOrder:
        problem = self.problem
        [output] = problem.outputs
        active = sum(1 for node in reachable([output]) if node.depends & self._mask)
        rates = None if active * len(problem.asked) <= LEGS_APART else problem.rates
        asked = Asked.between(problem.asked, problem.asked)
        return second_order(problem.graph, output, problem.asked, asked, rates)

    @cached_property
    def pieces(self) -> dict[tuple[int, int], tuple[Piece, ...]]:
        """The terms of each block between leaves."""
        found: dict[tuple[int, int], tuple[Piece, ...]] = {}
        leaves = self.problem.asked
        for a, row in enumerate(leaves):
            for b, column in enumerate(leaves):
                if (b, a) in found and a != b:  # the transpose, without composing its legs again
                    found[a, b] = tuple(Piece(a, b, swap_sides(p.term, ROWS, COLUMNS)) for p in found[b, a])
                    continue
                terms = self._swept.block(row, column).terms()
                held = (term for term in terms if term.coefficient != 0.0 and elements(term.open_labels))
                inside = (whole for term in held if (whole := within(term)) is not None)
                found[a, b] = tuple(Piece(a, b, term) for term in inside)
        return found

    def form_of(self, a: int, b: int) -> Form:
        """The form of one block."""
        for component in self.components:
            if component.leaves == (a,) == (b,):
                return component.form
        rows = Space.of([self.problem.asked[a]])
        columns = rows if a == b else Space.of([self.problem.asked[b]])
        if not self.symmetric:
            return Dense(rows, columns)
        return read([Piece(0, 0, piece.term) for piece in self.pieces[a, b]], rows, columns)

    def constant(self, a: int, b: int) -> bool:
        """Whether no value of a block depends on the asked leaves."""
        if not self.symmetric:
            return False
        factors = (factor for piece in self.pieces[a, b] for factor in piece.term.factors)
        return not any(factor.operand.depends & self._mask for factor in factors)

    @cached_property
    def components(self) -> tuple[Component, ...]:
        """Groups of leaves that do not meet, each with its form."""
        leaves = range(len(self.problem.asked))
        if not self.symmetric:
            return (Component(tuple(leaves), Dense(*(Space.of(self.problem.asked),) * 2)),)
        links = [{a, b} for (a, b), pieces in self.pieces.items() if pieces]
        groups = merged([*links, *({a} for a in leaves)])
        found = []
        for group in groups:
            own = tuple(sorted(group))
            place = {leaf: k for k, leaf in enumerate(own)}
            space = Space.of([self.problem.asked[a] for a in own])
            pieces = [Piece(place[a], place[b], piece.term) for a in own for b in own for piece in self.pieces[a, b]]
            found.append(Component(own, read(pieces, space, space)))
        return tuple(found)

    @property
    def dtype(self) -> Any:
        """Dtype of the ravelled argument."""
        return jnp.result_type(*(leaf.dtype for leaf in self.problem.asked))

    @cached_property
    def factored(self) -> tuple[Factored, ...]:
        """Nodes of the values of each component."""
        problem = self.problem
        return tuple(factored(problem.graph, c.form, self.dtype, problem.rates) for c in self.components)
