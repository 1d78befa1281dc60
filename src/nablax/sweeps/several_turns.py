"""Constants of a loop whose blocks with carried values are multiplied out once in several turns.

A constant enters turn t through values e_t, with legs R_t to it: a matrix product through what the matrix is multiplied
by. With A_t the Jacobian of turn t in what is carried, B_t that in e_t, and E_t the block between what turn t is given
and its entries, the diagonal of the block between constants is

    D  =  sum_t diag R_t' (block between entries of t) R_t  +  2 sum_{s<t} diag R_s' F_st' E_t R_t
    F_st  =  A_{t-1} .. A_{s+1} B_s

The block between carried values and constants, C = sum_t A_0' .. A_{t-1}' E_t R_t, has as many elements as the constant
for each carried one; F and E have those of the entries only. So some turns are taken together: the F and E of each of
them are kept, and only once for all of them is C pulled back, and what they add to it multiplied out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from nablax.contraction.block import Block
from nablax.contraction.index import Label, along, fresh
from nablax.contraction.term import Factor, Term, compose, identity
from nablax.graph.cost import cost_of
from nablax.graph.evaluate import evaluate
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm
from nablax.graph.sums import add_up
from nablax.sweeps.handed_over import Kept, diagonal_of, over_rows, scaled, to_legs
from nablax.sweeps.loop_blocks import Pair, Ties, all_tied, as_array, as_term, common, stored_shape

# So many turns are taken together, where the loop has as many: the fewer, the more often the large block is pulled.
TOGETHER = 8


@dataclass(frozen=True, eq=False)
class _Values:
    """A graph whose leaves are known by a key."""

    graph: Graph = field(default_factory=Graph)
    leaves: dict[object, Node] = field(default_factory=dict)

    def leaf(self, key: object, shape: Sequence[int], dtype: Any) -> Node:
        if key not in self.leaves:
            self.leaves[key] = self.graph.leaf(len(self.leaves), tuple(shape), dtype)
        return self.leaves[key]

    def evaluated(self, nodes: Mapping[Any, Node], values: Mapping[object, Any]) -> dict[Any, Any]:
        found = evaluate(list(nodes.values()), [values[key] for key in self.leaves])
        return dict(zip(nodes, found, strict=True))


@dataclass(frozen=True, eq=False)
class Together:
    """So many turns taken together.

    Args:
        kept: what each of them hands over.
        count: how many.
        alone: whether these are all turns of the loop, so that there is no block from later ones.
    """

    kept: Kept
    count: int
    alone: bool

    # how blocks are stored

    @cached_property
    def emitted(self) -> list[Node]:
        """All that a turn hands over, each value once."""
        found: dict[Node, None] = {}
        kept = self.kept
        for nodes in (kept.jacobians.values(), kept.entering.values(), (x for _, x in self._blocks.values())):
            found.update(dict.fromkeys(nodes))
        for column in kept.columns:
            found.update(dict.fromkeys(f.operand for leg in column.legs for f in leg.factors))
        return list(found)

    @cached_property
    def _blocks(self) -> dict[Pair, tuple[Ties, Node]]:
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
    def _place(self) -> dict[Node, int]:
        return {node: k for k, node in enumerate(self.emitted)}

    def _now(self, values: _Values, node: Node) -> Node:
        return values.leaf(("now", self._place[node]), node.shape, node.dtype)

    def _all(self, values: _Values, node: Node) -> Node:
        return values.leaf(("all", self._place[node]), (self.count, *node.shape), node.dtype)

    def _legs_now(self, values: _Values, legs: Iterable[NodeTerm]) -> list[NodeTerm]:
        return [
            leg.replace(factors=[Factor(self._now(values, f.operand), f.axes) for f in leg.factors]) for leg in legs
        ]

    def _legs_all(self, values: _Values, legs: Iterable[NodeTerm]) -> list[NodeTerm]:
        """Legs of all turns, the turn before the axes of the entry."""
        found = []
        for leg in legs:
            turn = along(Label(self.count))
            factors = [Factor(self._all(values, f.operand), (turn, *f.axes)) for f in leg.factors]
            found.append(Term(leg.coefficient, tuple(factors), ((turn, *leg.sides[0]), leg.sides[1])))
        return found

    def _block_now(self, values: _Values, place: int, k: int) -> list[NodeTerm]:
        """E of this turn."""
        if (place, k) not in self._blocks:
            return []
        ties, node = self._blocks[place, k]
        shape = self.kept.carried[k].shape
        return [as_term(self._now(values, node), shape, self.kept.columns[place].axes, ties)]

    def _stack(
        self, values: _Values, key: object, row: Sequence[int], column: Sequence[int], ties: Ties, dtype: Any
    ) -> NodeTerm:
        """An array of one block for each turn: sides (no open axes, rows, turn and columns)."""
        array = values.leaf(key, self._stacked(row, column, ties), dtype)
        one = as_term(array, row, column, ties)
        turn = along(Label(self.count))
        [factor] = one.factors
        axes = (*factor.axes[: len(row)], turn, *factor.axes[len(row) :])
        return Term(1.0, (Factor(array, axes),), ((), one.sides[1], (turn, *one.sides[2])))

    def _stacked(self, row: Sequence[int], column: Sequence[int], ties: Ties) -> tuple[int, ...]:
        """Shape of one block for each turn: a product with a Jacobian leaves the order of these axes as it is."""
        own = stored_shape(row, column, ties)
        return (*own[: len(row)], self.count, *own[len(row) :])

    def _entered(self, values: _Values) -> dict[tuple[int, int], NodeTerm]:
        """F, sides (no open axes, carried value, turn and entry)."""
        found = {}
        for (k, j), ties in self.kept.tied("F").items():
            leaf, same = self.kept.carried[k], self.kept.alike[j]
            entry = self.kept.turn.entries[j].leaf
            found[k, j] = self._stack(values, ("F", k, same), leaf.shape, entry.shape, ties, leaf.dtype)
        return found

    def _to_constants(self, values: _Values, constant: int) -> dict[int, list[NodeTerm]]:
        """The Jacobians of carried values in a constant, through the turns taken so far."""
        found: dict[int, list[NodeTerm]] = {}
        for (k, j), term in self._entered(values).items():
            entry = self.kept.turn.entries[j]
            if entry.constant == constant:
                found.setdefault(k, []).extend(to_legs([term], self._legs_all(values, entry.legs)))
        return found

    @cached_property
    def constants(self) -> tuple[int, ...]:
        """The constants, by their positions."""
        return tuple(dict.fromkeys(entry.constant for entry in self.kept.turn.entries))

    # one turn, taken forward

    @cached_property
    def _step(self) -> tuple[_Values, dict[Any, Node]]:
        values = _Values()
        kept, graph, rates = self.kept, values.graph, self.kept.rates
        made: dict[Any, Node] = {}
        for constant in self.constants:
            leaf = kept.turn.leaves[constant]
            before = self._to_constants(values, constant)
            terms = []
            for place, column in enumerate(kept.columns):
                if column.constant == constant:
                    legs = self._legs_now(values, column.legs)
                    for k, legs_before in before.items():
                        now = to_legs(self._block_now(values, place, k), legs)
                        terms += scaled(diagonal_of(over_rows(legs_before, now)), 2.0)
            made["D", constant] = add_up(graph, terms, leaf.shape, leaf.dtype, rates)
        entered = self._entered(values)
        for (k, j), ties in kept.tied("F").items():
            if kept.alike[j] == j:
                parts = [self._through(values, k, x, term) for (x, other), term in entered.items() if other == j]
                made["F", k, j] = self._as_stack(
                    [t for part in parts for t in part], values, k, kept.turn.entries[j].leaf.shape, ties
                )
        if not self.alone:
            passed = {pair: self._passed(values, *pair) for pair in kept.tied("P")}
            for (k, x), ties in kept.tied("P").items():
                parts = [self._through(values, k, y, term) for (y, z), term in passed.items() if z == x]
                row, begun = kept.carried[k], kept.carried[x]
                terms = [t for part in parts for t in part]
                made["P", k, x] = as_array(graph, Block.of(terms), row.shape, begun.shape, ties, row.dtype, rates)
            for (place, x), ties in self._pulled_ties.items():
                terms = [
                    t
                    for (k, z), term in passed.items()
                    if z == x
                    for t in over_rows([term], self._block_now(values, place, k))
                ]
                row = kept.carried[x]
                made["E", place, x] = as_array(
                    graph, Block.of(terms), row.shape, kept.columns[place].axes, ties, row.dtype, rates
                )
        return values, made

    def _through(self, values: _Values, k: int, x: int, term: NodeTerm) -> list[NodeTerm]:
        """A block on carried value x before this turn, as one on value k after it."""
        if (k, x) not in self.kept.jacobians:
            return []
        array = self._now(values, self.kept.jacobians[k, x])
        row, column = self.kept.carried[k].shape, self.kept.carried[x].shape
        leg = as_term(array, row, column, self.kept.ties["A", k, x])
        product = compose(leg, 2, term.replace(sides=term.sides[1:]), 0)
        return [] if product is None else [product]

    def _passed(self, values: _Values, k: int, x: int) -> NodeTerm:
        """P: the Jacobian of carried value k before this turn in value x before the first one."""
        row, column, ties = self.kept.carried[k], self.kept.carried[x], self.kept.ties["P", k, x]
        return as_term(
            values.leaf(("P", k, x), stored_shape(row.shape, column.shape, ties), row.dtype),
            row.shape,
            column.shape,
            ties,
        )

    @cached_property
    def _pulled_ties(self) -> dict[Pair, Ties]:
        """Ties of P' E, for each column and carried value before the first turn."""
        found: dict[Pair, Ties] = {}
        for (place, k), (ties, _) in self._blocks.items():
            for (y, x), passed in self.kept.tied("P").items():
                if y == k:
                    found[place, x] = found.get((place, x), ties & passed) & ties & passed
        return found

    def _as_stack(self, terms: Sequence[NodeTerm], values: _Values, k: int, column: Sequence[int], ties: Ties) -> Node:
        """The array of one block for each turn."""
        row = self.kept.carried[k]
        turned = []
        for term in terms:
            turn, *others = term.sides[2]
            place = {j for _, j in ties}
            kept = tuple(index for j, index in enumerate(others) if j not in place)
            turned.append(term.replace(sides=((*term.sides[1], turn, *kept),)))
        return add_up(values.graph, turned, self._stacked(row.shape, column, ties), row.dtype, self.kept.rates)

    # all of them

    @cached_property
    def _end(self) -> tuple[_Values, dict[Any, Node]]:
        values = _Values()
        kept, graph, rates = self.kept, values.graph, self.kept.rates
        made: dict[Any, Node] = {}
        for constant in self.constants:
            leaf = kept.turn.leaves[constant]
            later = {k: self._later(values, k, constant) for k in kept.carried}
            terms = []
            for k, legs in self._to_constants(values, constant).items():
                # multiplied out first: over the carried values alone it would be many small products
                own = add_up(graph, self._turned(legs, constant), self._shape(k, constant), leaf.dtype, rates)
                terms += scaled(diagonal_of(over_rows([self._unturned(own, k, constant)], [later[k]])), 2.0)
            made["D", constant] = add_up(graph, terms, leaf.shape, leaf.dtype, rates)
            for x, carried in kept.carried.items():
                terms = []
                for k, term in later.items():
                    if (k, x) in kept.tied("P"):
                        terms += over_rows([self._passed(values, k, x)], [term])
                for place, column in enumerate(kept.columns):
                    if column.constant == constant and (place, x) in self._pulled_ties:
                        ties = self._pulled_ties[place, x]
                        pulled = self._stack(values, ("E", place, x), carried.shape, column.axes, ties, carried.dtype)
                        terms += to_legs([pulled], self._legs_all(values, column.legs))
                turned = self._turned(terms, constant)
                made["C", x, constant] = add_up(graph, turned, self._shape(x, constant), carried.dtype, rates)
        return values, made

    def _order(self, constant: int) -> list[int]:
        """The axes of a constant, those along which an entry runs first: so products over turns come out."""
        entry = next(entry for entry in self.kept.turn.entries if entry.constant == constant)
        own = {label for index in entry.legs[0].sides[0] for label in index.labels}
        axes = entry.legs[0].sides[1]
        return sorted(range(len(axes)), key=lambda axis: own.isdisjoint(axes[axis].labels))

    def _shape(self, k: int, constant: int) -> tuple[int, ...]:
        """Shape of the block between a carried value and a constant, as it is stored."""
        leaf = self.kept.turn.leaves[constant]
        return (*self.kept.carried[k].shape, *(leaf.shape[axis] for axis in self._order(constant)))

    def _later(self, values: _Values, k: int, constant: int) -> NodeTerm:
        """C: the block between a carried value and a constant from later turns."""
        dtype = self.kept.carried[k].dtype
        return self._unturned(values.leaf(("C", k, constant), self._shape(k, constant), dtype), k, constant)

    def _unturned(self, array: Node, k: int, constant: int) -> NodeTerm:
        """The block that an array stores, sides (no open axes, carried value, constant)."""
        rows, columns = fresh(self.kept.carried[k].shape), fresh(self.kept.turn.leaves[constant].shape)
        axes = (*rows, *(columns[axis] for axis in self._order(constant)))
        return Term(1.0, (Factor(array, axes),), ((), rows, columns))

    def _turned(self, block: Iterable[NodeTerm], constant: int) -> list[NodeTerm]:
        """Terms of a block with the axes of the array that stores it."""
        order = self._order(constant)
        return [t.replace(sides=((*t.sides[1], *(t.sides[2][axis] for axis in order)),)) for t in block]

    @cached_property
    def seconds(self) -> float:
        """Estimated time of all these turns."""
        each = cost_of(list(self._step[1].values()), self.kept.rates).seconds
        return self.count * each + (
            0.0 if self.alone else cost_of(list(self._end[1].values()), self.kept.rates).seconds
        )

    @property
    def pays(self) -> bool:
        """Whether keeping what enters in each turn holds less than the blocks between carried values and constants."""
        carried = sum(x.size for x in self.kept.carried.values())
        dense = carried * sum(self.kept.turn.leaves[constant].size for constant in self.constants)
        own = (node.size for key, node in self._step[1].items() if key[0] == "F")
        return 2 * sum(own) < dense

    @property
    def elements(self) -> int:
        """Of the largest array that is kept."""
        made = [*self._step[1].values(), *(() if self.alone else self._end[1].values())]
        return max((node.size for node in made), default=0)

    def later(self) -> dict[Any, Any]:
        """The blocks between carried values and constants after the last turn of the loop."""
        if self.alone:
            return {}
        return {
            ("C", k, constant): jnp.zeros(self._shape(k, constant), x.dtype)
            for constant in self.constants
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
        kept = self.kept
        every: dict[object, Any] = {("all", place): value for place, value in enumerate(emitted)}
        values, made = self._step
        start: dict[Any, Any] = {}
        for key, node in made.items():
            shape = node.shape
            if key[0] == "E":
                rank = len(kept.carried[key[2]].shape)
                shape = (*shape[:rank], self.count, *shape[rank:])
            start[key] = jnp.zeros(shape, node.dtype)
        for k in [] if self.alone else kept.carried:
            shape = start["P", k, k].shape
            one = self._unit(k)
            start["P", k, k] = jnp.broadcast_to(one, shape)

        def step(state: dict[Any, Any], slice_: Any) -> tuple[dict[Any, Any], None]:
            turn, own = slice_
            now: dict[object, Any] = {("now", place): value for place, value in enumerate(own)}
            after = values.evaluated(made, every | now | state)
            new = {key: state[key] + after[key] if key[0] == "D" else after[key] for key in state}
            for (k, j), node in kept.entering.items():
                if kept.alike[j] == j:
                    new["F", k, j] = placed(new["F", k, j], own[self._place[node]], turn, k)
            for key in new:
                if key[0] == "E":
                    new[key] = placed(state[key], after[key], turn, key[2])
            return new, None

        def placed(stack: Any, block: Any, turn: Any, k: int) -> Any:
            return jax.lax.dynamic_update_index_in_dim(stack, block, turn, len(kept.carried[k].shape))

        state, _ = jax.lax.scan(step, start, (jnp.arange(self.count), list(emitted)), reverse=reverse)
        found = {constant: state["D", constant] for constant in self.constants}
        if self.alone:
            return found, {}
        values, made = self._end
        after = values.evaluated(made, every | state | dict(later))
        return {c: found[c] + after["D", c] for c in found}, {key: after[key] for key in later}

    def _unit(self, k: int) -> Any:
        """The identity between a carried value and itself, as it is stored."""
        leaf, graph = self.kept.carried[k], Graph()
        one: NodeTerm = identity(fresh(leaf.shape))
        term = one.replace(sides=((), *one.sides))
        node = as_array(
            graph, Block.of([term]), leaf.shape, leaf.shape, self.kept.ties["P", k, k], leaf.dtype, self.kept.rates
        )
        [value] = evaluate([node], [])
        return value


def divided(length: int) -> int:
    """How many turns of a loop are taken together."""
    if length <= TOGETHER * 3 // 2:
        return length
    divisors = [k for k in range(TOGETHER // 2, TOGETHER * 2) if length % k == 0]
    return min(divisors, key=lambda k: abs(k - TOGETHER), default=TOGETHER)
