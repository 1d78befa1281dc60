"""Constants of a loop whose blocks with carried values are multiplied out once in several turns.

A constant enters turn t through values e_t, with legs R_t to it: a matrix product through what the matrix is multiplied
by. With A_t the Jacobian of turn t in what is carried, B_t that in e_t, and E_t the block between what turn t is given
and its entries, the diagonal of the block between constants is

    D  =  sum_t diag R_t' (block between entries of t) R_t  +  2 sum_{s<t} diag R_s' F_st' E_t R_t
    F_st  =  A_{t-1} .. A_{s+1} B_s

The block between carried values and constants, C = sum_t A_0' .. A_{t-1}' E_t R_t, has as many elements as the constant
for each carried one; F and E have those of the entries only. So some turns are taken together: every pair of them is
multiplied out by itself, which takes time with their square, and only once for all of them is C pulled back, and what
they add to it multiplied out, which takes as long for many as for one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from nablax.contraction.block import Block
from nablax.contraction.index import Label, along, fresh
from nablax.contraction.term import Axes, Factor, Term, identity
from nablax.graph.cost import cost_of
from nablax.graph.evaluate import evaluate
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm
from nablax.graph.sums import add_up
from nablax.sweeps.emitted import Emitted, Program
from nablax.sweeps.handed_over import Kept, diagonal_of, over_rows, scaled, to_legs
from nablax.sweeps.loop_blocks import Pair, Ties, all_tied, as_array, as_term, common, stored, stored_shape
from nablax.sweeps.pairs import Pairs
from nablax.sweeps.sources import on_stack, stack_shape, stack_term

# As many turns as may be taken together, where the loop has more: their pairs are as many as the square.
TOGETHER = (8, 16, 32, 64)


@dataclass(frozen=True, eq=False)
class Together:
    """So many turns taken together.

    Args:
        emitted: what each of them hands over.
        count: how many.
        alone: whether these are all turns of the loop, so that there is no block from later ones.
    """

    emitted: Emitted
    count: int
    alone: bool

    @property
    def kept(self) -> Kept:
        return self.emitted.kept

    @cached_property
    def pairs(self) -> Pairs:
        """The pairs of these turns."""
        return Pairs(self.emitted, self.count)

    # one turn, taken forward

    @cached_property
    def _pull(self) -> Program:
        """P of the turns up to one, and P' E of that turn."""
        program = Program()
        kept, graph, rates = self.kept, program.graph, self.kept.rates
        passed = {pair: self._passed(program, *pair) for pair in kept.passed}
        for (k, x), ties in kept.passed.items():
            row, begun = kept.carried[k], kept.carried[x]
            terms = [t for (y, z), p in passed.items() if z == x for t in self.emitted.through(program, k, y, p)]
            node = as_array(graph, Block.of(terms), row.shape, begun.shape, ties, row.dtype, rates)
            program.made["P", k, x] = node
        for (place, x), ties in self._pulled_ties.items():
            terms = [
                t
                for (k, z), p in passed.items()
                if z == x
                for t in over_rows([p], self.emitted.block(program, place, k))
            ]
            row, axes = kept.carried[x], kept.columns[place].axes
            node = as_array(graph, Block.of(terms), row.shape, axes, ties, row.dtype, rates)
            program.made["E", place, x] = node
        return program

    def _passed(self, program: Program, k: int, x: int) -> NodeTerm:
        """P: the Jacobian of carried value k before this turn in value x before the first one."""
        row, column, ties = self.kept.carried[k], self.kept.carried[x], self.kept.passed[k, x]
        shape = stored_shape(row.shape, column.shape, ties)
        return as_term(program.leaf(("P", k, x), shape, row.dtype), row.shape, column.shape, ties)

    @cached_property
    def _pulled_ties(self) -> dict[Pair, Ties]:
        """Ties of P' E, for each column and carried value before the first turn."""
        found: dict[Pair, Ties] = {}
        for (place, k), (ties, _) in self.emitted.blocks.items():
            for (y, x), passed in self.kept.passed.items():
                if y == k:
                    found[place, x] = found.get((place, x), ties & passed) & ties & passed
        return found

    # all of them

    def _pulled(self, program: Program, place: int, x: int) -> NodeTerm:
        """P' E of all turns, sides (no open axes, carried value, turn and column)."""
        row, column, ties = self.kept.carried[x], self.kept.columns[place].axes, self._pulled_ties[place, x]
        shape = stored_shape(row.shape, column, ties)
        array = program.leaf(("E", place, x), (self.count, *shape), row.dtype)
        one = as_term(array, row.shape, column, ties)
        turn = along(Label(self.count))
        [factor] = one.factors
        return Term(1.0, (Factor(array, (turn, *factor.axes)),), ((), one.sides[1], (turn, *one.sides[2])))

    def _entered(self, program: Program) -> dict[Pair, NodeTerm]:
        """F of all turns at the end of the last one, sides (no open axes, carried value, turn and entry)."""
        sources = self.emitted.sources
        stacks = self.pairs.stacks(program, self.count)
        found: dict[Pair, list[NodeTerm]] = {}
        for (k, s), stack in stacks.items():
            for j, legs in sources.each[s].legs.items():
                # with the turn on both sides, which stays
                turned = self.emitted.of_several(program, legs, "all", self.count)
                kept_apart = [leg.replace(sides=(leg.sides[0], (leg.sides[0][0], *leg.sides[1]))) for leg in turned]
                found.setdefault((k, j), []).extend(to_legs([stack], kept_apart))
        return {pair: self._as_stack(program, *pair, parts) for pair, parts in found.items()}

    def _as_stack(self, program: Program, k: int, j: int, parts: Sequence[NodeTerm]) -> NodeTerm:
        """F in an entry as one array: a sum over turns of products is one product of matrices then."""
        row, shape = self.kept.carried[k], self.kept.turn.entries[j].leaf.shape
        without = [part.replace(sides=(*part.sides[:2], part.sides[2][1:])) for part in parts]
        ties = common(without) & all_tied(row.shape, shape)
        terms = [on_stack(part, ties) for part in parts]
        extents = stack_shape(row.shape, shape, ties, self.count)
        array = add_up(program.graph, terms, extents, row.dtype, self.kept.rates)
        return stack_term(array, row.shape, shape, ties, self.count)

    @cached_property
    def _end(self) -> Program:
        program = Program()
        kept, graph, rates = self.kept, program.graph, self.kept.rates
        entered = self._entered(program)
        for constant in self.pairs.constants:
            leaf = kept.turn.leaves[constant]
            later = {k: self._later(program, k, constant) for k in kept.carried}
            terms: list[NodeTerm] = []
            for k in kept.carried:
                legs = [
                    leg
                    for (y, j), term in entered.items()
                    if y == k and kept.turn.entries[j].constant == constant
                    for leg in to_legs([term], self._legs(program, kept.turn.entries[j].legs))
                ]
                if legs:
                    # multiplied out first: over the carried values alone it would be many small products
                    own = add_up(graph, self._turned(legs, k, constant), self._shape(k, constant), leaf.dtype, rates)
                    terms += scaled(diagonal_of(over_rows([self._unturned(own, k, constant)], [later[k]])), 2.0)
            program.made["D", constant] = add_up(graph, terms, leaf.shape, leaf.dtype, rates)
            for x, carried in kept.carried.items():
                terms = [
                    t
                    for k, term in later.items()
                    if (k, x) in kept.passed
                    for t in over_rows([self._passed(program, k, x)], [term])
                ]
                for place, column in enumerate(kept.columns):
                    if column.constant == constant and (place, x) in self._pulled_ties:
                        terms += to_legs([self._pulled(program, place, x)], self._legs(program, column.legs))
                turned = self._turned(terms, x, constant)
                program.made["C", x, constant] = add_up(graph, turned, self._shape(x, constant), carried.dtype, rates)
        return program

    def _legs(self, program: Program, legs: Iterable[NodeTerm]) -> list[NodeTerm]:
        return self.emitted.of_several(program, legs, "all", self.count)

    # how C is stored: the carried axes that every turn leaves alone first, then those of the constant, those along
    # which an entry runs before the others, then the other carried axes: a product with P, or a sum over turns, both
    # read and write this order as it lies in memory

    def _order(self, constant: int) -> list[int]:
        """The axes of a constant, those along which an entry runs first."""
        entry = next(entry for entry in self.kept.turn.entries if entry.constant == constant)
        own = {label for index in entry.legs[0].sides[0] for label in index.labels}
        axes = entry.legs[0].sides[1]
        return sorted(range(len(axes)), key=lambda axis: own.isdisjoint(axes[axis].labels))

    def _stored(self, rows: Axes, columns: Axes, k: int, constant: int) -> Axes:
        alone = {i for i, _ in frozenset.intersection(*(t for pair, t in self.kept.passed.items() if k in pair))}
        return (
            *(rows[i] for i in sorted(alone)),
            *(columns[axis] for axis in self._order(constant)),
            *(index for i, index in enumerate(rows) if i not in alone),
        )

    def _shape(self, k: int, constant: int) -> tuple[int, ...]:
        """Shape of the block between a carried value and a constant, as it is stored."""
        rows, columns = fresh(self.kept.carried[k].shape), fresh(self.kept.turn.leaves[constant].shape)
        return tuple(index.extent for index in self._stored(rows, columns, k, constant))

    def _later(self, program: Program, k: int, constant: int) -> NodeTerm:
        """C: the block between a carried value and a constant from later turns."""
        dtype = self.kept.carried[k].dtype
        return self._unturned(program.leaf(("C", k, constant), self._shape(k, constant), dtype), k, constant)

    def _unturned(self, array: Node, k: int, constant: int) -> NodeTerm:
        """The block that an array stores, sides (no open axes, carried value, constant)."""
        rows, columns = fresh(self.kept.carried[k].shape), fresh(self.kept.turn.leaves[constant].shape)
        return Term(1.0, (Factor(array, self._stored(rows, columns, k, constant)),), ((), rows, columns))

    def _turned(self, block: Iterable[NodeTerm], k: int, constant: int) -> list[NodeTerm]:
        """Terms of a block with the axes of the array that stores it."""
        return [t.replace(sides=(self._stored(t.sides[1], t.sides[2], k, constant),)) for t in block]

    @cached_property
    def seconds(self) -> float:
        """Estimated time of all these turns."""
        if self.alone:
            return self.pairs.seconds
        rates = self.kept.rates
        each = cost_of(list(self._pull.made.values()), rates).seconds
        return self.pairs.seconds + self.count * each + cost_of(list(self._end.made.values()), rates).seconds

    @property
    def pays(self) -> bool:
        """Whether keeping what enters in each turn holds less than the blocks between carried values and constants."""
        carried = sum(x.size for x in self.kept.carried.values())
        dense = carried * sum(self.kept.turn.leaves[constant].size for constant in self.pairs.constants)
        return 2 * self.emitted.sources.size * self.pairs.together < dense

    @property
    def elements(self) -> int:
        """Of the largest array that is kept."""
        rest = [] if self.alone else [*self._pull.made.values(), *self._end.made.values()]
        handed = max((node.size for node in self.emitted.nodes), default=0)
        return max([self.pairs.elements, handed * self.count, *(node.size for node in rest)])

    def later(self) -> dict[Any, Any]:
        """The blocks between carried values and constants after the last turn of the loop."""
        if self.alone:
            return {}
        return {
            ("C", k, constant): jnp.zeros(self._shape(k, constant), x.dtype)
            for constant in self.pairs.constants
            for k, x in self.kept.carried.items()
        }

    def run(
        self, emitted: Sequence[Any], later: Mapping[Any, Any], reverse: bool
    ) -> tuple[dict[int, Any], dict[Any, Any]]:
        """What these turns add to the diagonals of constants, and the blocks before the first of them.

        Args:
            emitted: what each turn handed over, the turns along the first axis.
            later: the blocks after the last of them.
            reverse: whether the loop takes its last slice first.
        """
        values = [jnp.flip(x, 0) for x in emitted] if reverse else list(emitted)
        found, entered = self.pairs.run(values, not self.alone)
        if self.alone:
            return found, {}
        places = self._pull.places("now")

        def step(passed: dict[Any, Any], slices: Sequence[Any]) -> tuple[dict[Any, Any], dict[Any, Any]]:
            now: dict[object, Any] = {("now", place): x for place, x in zip(places, slices, strict=True)}
            made = self._pull(now | passed)
            return {key: made[key] for key in passed}, {key: x for key, x in made.items() if key not in passed}

        start = {("P", *pair): self._unit(*pair) for pair in self.kept.passed}
        passed, pulled = jax.lax.scan(step, start, [values[place] for place in places], self.count)
        every: dict[object, Any] = {("all", place): values[place] for place in self._end.places("all")}
        stacks = {("F", *pair): x for pair, x in entered.items()}
        after = self._end(every | stacks | passed | pulled | dict(later))
        return {c: found[c] + after["D", c] for c in found}, {key: after[key] for key in later}

    def _unit(self, k: int, x: int) -> Any:
        """The Jacobian of a carried value in another before any turn, as it is stored."""
        row, column, ties = self.kept.carried[k], self.kept.carried[x], self.kept.passed[k, x]
        if k != x:
            return jnp.zeros(stored_shape(row.shape, column.shape, ties), row.dtype)
        one: NodeTerm = identity(fresh(row.shape))
        graph = Graph()
        shape = stored_shape(row.shape, row.shape, ties)
        [value] = evaluate([graph.sum_of([stored(one.replace(sides=((), *one.sides)), ties)], shape, row.dtype)], [])
        return value


def candidates(length: int) -> tuple[int, ...]:
    """How many turns of a loop may be taken together."""
    parts = tuple(count for count in TOGETHER if 2 * count <= length)
    return (length, *parts) if length <= 2 * TOGETHER[-1] else parts
