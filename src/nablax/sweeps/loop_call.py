"""The loop over the turns taken backwards, as one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.contraction.index import fresh
from nablax.contraction.rates import Rates
from nablax.contraction.term import Factor, Term, swap_sides
from nablax.graph.cost import cost_of
from nablax.graph.evaluate import evaluate
from nablax.graph.node import Node, NodeTerm
from nablax.graph.sums import add_up, cheaper
from nablax.ops.kinds import Call, Opaque
from nablax.sweeps.eliminate import Elimination
from nablax.sweeps.emitted import Emitted
from nablax.sweeps.handed_over import Kept
from nablax.sweeps.loop_blocks import Arrival, Pair, Ties, all_tied, as_array, as_term, stored
from nablax.sweeps.opaque_calls import opaque_kind, structs_of, traced
from nablax.sweeps.several_turns import Together, candidates
from nablax.sweeps.turn import Backwards, Turn, Wanted

# An array with more elements than this is not kept from turn to turn.
MOST_CARRIED = 1 << 27


@dataclass(frozen=True, eq=False)
class BackwardLoop:
    """A loop whose turns are taken backwards.

    Args:
        sweep: what stays the same.
        node: the loop.
        taken: one turn.
        blocks: what is wanted of the loop's inputs.
        arrival: the cores on its result that go through.
    """

    sweep: Elimination
    node: Node
    taken: Backwards
    blocks: Wanted
    arrival: Arrival
    _together: dict[int, Together] = field(default_factory=dict)

    @property
    def turn(self) -> Turn:
        return self.taken.turn

    @cached_property
    def rates(self) -> Rates:
        assert self.sweep.rates is not None
        return self.sweep.rates

    # what one turn computes, as lists of nodes of the turn's graph

    @cached_property
    def slopes(self) -> dict[int, Node]:
        """Adjoints of the active inputs."""
        graph = self.turn.graph
        return {
            k: graph.sum_of(self.taken.left.gradient[leaf], leaf.shape, leaf.dtype)
            for k in sorted(self.turn.active)
            for leaf in [self.taken.leaf(k)]
        } | {c: self.kept.slope(c) for c in self.turn.entered}

    @cached_property
    def kept(self) -> Kept:
        """What a turn keeps of constants that enter through leaves of their own."""
        return Kept(self.taken, self.rates)

    @cached_property
    def _handed(self) -> Emitted:
        return Emitted(self.kept)

    def together(self, count: int) -> Together:
        """So many turns taken together."""
        if count not in self._together:
            self._together[count] = Together(self._handed, count, count == self.turn.loop.length)
        return self._together[count]

    @cached_property
    def emitted(self) -> list[Node]:
        """What a turn hands to those that are taken together with it."""
        return self._handed.nodes if self.turn.entries else []

    @property
    def pays(self) -> bool:
        """Whether keeping what turns enter costs less than carrying blocks with all constants."""
        return self.together(next(iter(self._counts))).pays

    @cached_property
    def carried(self) -> dict[Pair, Node]:
        """Blocks between carried values."""
        first = self.turn.loop.constants
        return {(k, x): self._array(k + first, x + first, ties) for (k, x), ties in sorted(self.taken.carried.items())}

    @cached_property
    def mixed(self) -> dict[Pair, Node]:
        """Blocks between carried values and constants."""
        first = self.turn.loop.constants
        return {(k, c): self._array(k + first, c, frozenset()) for k, c in self.taken.mixed}

    @cached_property
    def constants(self) -> dict[Pair, Node]:
        """What a turn adds to the blocks between constants."""
        found = {}
        for (p, q), diagonal in self.blocks.constants.items():
            if self.taken.block(p, q).parts:
                found[p, q] = self._diagonal(p) if diagonal else self._array(p, q, frozenset())
        return {**found, **{(c, c): self.kept.within(c) for c in self.turn.entered}}

    @cached_property
    def stacked(self) -> dict[int, Node]:
        """Diagonals of the blocks of slices."""
        return {x: self._diagonal(x) for x in self.blocks.stacked if self.taken.block(x, x).parts}

    def _array(self, p: int, q: int, ties: Ties) -> Node:
        """A block, from one leg for all paths or from a leg for each (a residual's identity and its layer)."""
        a, b = self.taken.leaf(p), self.taken.leaf(q)
        graph, before = self.turn.graph, self.turn.graph.count
        together, apart = (
            as_array(graph, left.block(a, b), a.shape, b.shape, ties, a.dtype, self.rates, before)
            for left in (self.taken.left, self.taken.apart)
        )
        return together if together is apart else cheaper(together, apart, before, self.rates)

    def _diagonal(self, p: int) -> Node:
        leaf = self.taken.leaf(p)
        return add_up(self.turn.graph, self.taken.block(p, p).diagonal(), leaf.shape, leaf.dtype, self.rates)

    @cached_property
    def _made(self) -> list[Node]:
        parts = (self.slopes, self.carried, self.mixed, self.constants, self.stacked)
        return [*(node for part in parts for node in part.values()), *self.emitted]

    @property
    def elements(self) -> int:
        """Of the largest array that one turn hands to the next."""
        own = max((node.size for node in self._made), default=0)
        return max(own, self._elements_of(self._counts))

    @cached_property
    def seconds(self) -> float:
        """Estimated time of all turns."""
        loop = self.turn.loop
        forward = cost_of(list(self.turn.outputs[: loop.carried]), self.rates).seconds
        return loop.length * (forward + cost_of(self._made, self.rates).seconds) + self._seconds_of(self._counts)

    @cached_property
    def _counts(self) -> dict[int, int]:
        """How many turns are taken together, and how often; nothing where no constant has entries."""
        if not self.turn.entries:
            return {}
        length = self.turn.loop.length
        found = [
            {count: length // count, **({length % count: 1} if length % count else {})} for count in candidates(length)
        ]
        return min(found, key=lambda counts: (self._elements_of(counts) > MOST_CARRIED, self._seconds_of(counts)))

    def _elements_of(self, counts: Mapping[int, int]) -> int:
        return max((self.together(count).elements for count in counts), default=0)

    def _seconds_of(self, counts: Mapping[int, int]) -> float:
        return sum(self.together(count).seconds * times for count, times in counts.items())

    # the call

    @cached_property
    def _arrivals(self) -> dict[Pair, Ties]:
        """Blocks that come from above, with the ties with which they are carried."""
        held = {**self.taken.carried, **self.taken.arriving}
        return {pair: held[pair] for pair in self.arrival.terms if pair in held}

    def _arrived(self) -> list[Node]:
        found = []
        graph = self.sweep.graph
        for pair, ties in self._arrivals.items():
            terms = [stored(term, ties) for term in self.arrival.terms[pair]]
            shape = [index.extent for index in terms[0].sides[0]]
            found.append(add_up(graph, terms, shape, self.node.dtype, self.rates))
        return found

    def function(self, *arguments: Any) -> list[Any]:
        """From the inputs of the loop, the adjoint of its result and blocks on it to adjoints and blocks of inputs."""
        turn, loop, taken = self.turn, self.turn.loop, self.taken
        inputs, (adjoint, *blocks) = arguments[: len(turn.leaves)], arguments[len(turn.leaves) :]
        shared, rest = inputs[: loop.constants], inputs[loop.constants :]
        begun, slices = rest[: loop.carried], rest[loop.carried :]
        forward = turn.outputs[: loop.carried]
        nothing = [jnp.zeros(entry.leaf.shape, entry.leaf.dtype) for entry in turn.entries]

        def ahead(carry: Any, sliced: Any) -> tuple[Any, Any]:
            return tuple(evaluate(forward, [*shared, *carry, *sliced, *nothing])), carry

        start = tuple(jnp.asarray(x, leaf.dtype) for x, leaf in zip(begun, turn.leaves[loop.constants :], strict=False))
        _, before = jax.lax.scan(ahead, start, tuple(slices), loop.length, reverse=loop.reverse)

        call = opaque_kind(self.node).call
        above = {p.output: _unpacked(adjoint, p.start, p.shape, len(call.packed)) for p in call.packed}
        arrived = dict(zip(self._arrivals, blocks, strict=True))

        def begin(k: int) -> Any:
            output = taken.output(k)
            shape = output.shape if k < loop.carried else (loop.length, *output.shape)
            return jnp.asarray(above[k], output.dtype) if k in above else jnp.zeros(shape, output.dtype)

        def zeros(nodes: Mapping[Any, Node]) -> dict[Any, Any]:
            return {key: jnp.zeros(node.shape, node.dtype) for key, node in nodes.items()}

        state = (
            {k: begin(k) for k in taken.adjoints if k < loop.carried},
            {**zeros(self.carried), **{pair: x for pair, x in arrived.items() if pair in self.carried}},
            zeros(self.mixed),
            zeros({c: self.slopes[c] for c in (*turn.constants, *turn.entered)}),
            zeros(self.constants),
        )
        beside = (
            {k: begin(k) for k in taken.adjoints if k >= loop.carried},
            {pair: x for pair, x in arrived.items() if pair not in self.carried},
        )
        first = loop.constants

        def back(state: Any, slice_: Any) -> tuple[Any, Any]:
            carry, sliced, slopes_beside, blocks_beside = slice_
            slopes, own, mixed, total, squares = state
            slopes = {**slopes, **slopes_beside}
            given = [
                *nothing,
                *(slopes[k] for k in taken.adjoints),
                *(own[pair] for pair in sorted(taken.carried)),
                *(mixed[pair] for pair in taken.mixed),
                *(blocks_beside[pair] for pair in sorted(taken.arriving)),
            ]
            values = iter(evaluate(self._made, [*shared, *carry, *sliced, *given]))
            new = {k: next(values) for k in self.slopes}
            own = {pair: next(values) for pair in self.carried}
            mixed = {pair: next(values) for pair in self.mixed}
            squares = {pair: squares[pair] + next(values) for pair in self.constants}
            diagonals = {x: next(values) for x in self.stacked}
            total = {c: total[c] + new[c] for c in total}
            handed = {k: new[k + first] for k in state[0]}
            return (handed, own, mixed, total, squares), ({x: new[x] for x in turn.stacked}, diagonals, list(values))

        turns = (before, tuple(slices), *beside)
        state, (stacked_slopes, diagonals) = self._all_turns(back, state, turns)
        slopes, own, mixed, total, squares = state
        found = {**{k + first: x for k, x in slopes.items()}, **total, **stacked_slopes}
        return [
            *(found[k] for k in self.slopes),
            *(own[pair] for pair in self.carried),
            *(mixed[pair] for pair in self.mixed),
            *(squares[pair] for pair in self.constants),
            *(diagonals[x] for x in self.stacked),
        ]

    def _all_turns(self, back: Callable[[Any, Any], tuple[Any, Any]], state: Any, turns: Any) -> tuple[Any, Any]:
        """All turns, the last one first, several together where constants have entries."""
        loop = self.turn.loop
        if not self._counts:
            state, (slopes, diagonals, _) = jax.lax.scan(back, state, turns, loop.length, reverse=not loop.reverse)
            return state, (slopes, diagonals)
        count, *rest = self._counts
        whole = self._counts[count] * count

        def taken(together: Together) -> Callable[[Any, Any], tuple[Any, Any]]:
            def several(state: Any, slices: Any) -> tuple[Any, Any]:
                own, later = state
                own, (slopes, diagonals, emitted) = jax.lax.scan(
                    back, own, slices, together.count, reverse=not loop.reverse
                )
                added, later = together.run(emitted, later, loop.reverse)
                *others, squares = own
                squares = {pair: x + added[pair[0]] if pair[0] in added else x for pair, x in squares.items()}
                return ((*others, squares), later), (slopes, diagonals)

            return several

        def part(start: int, stop: int) -> Any:
            return jax.tree.map(lambda x: x[start:stop], turns)

        # the turns that are left over are the last ones
        first = loop.length - whole if loop.reverse else 0
        both = (state, self.together(count).later())
        ends = []
        for left in rest:
            both, end = taken(self.together(left))(both, part(0, left) if loop.reverse else part(whole, loop.length))
            ends.append(end)
        grouped = jax.tree.map(lambda x: x.reshape(-1, count, *x.shape[1:]), part(first, first + whole))
        both, found = jax.lax.scan(taken(self.together(count)), both, grouped, reverse=not loop.reverse)
        found = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), found)
        listed = [*ends, found] if loop.reverse else [found, *ends]
        return both[0], jax.tree.map(lambda *parts: jnp.concatenate(parts), *listed)

    def results(
        self, own: Sequence[NodeTerm]
    ) -> tuple[list[tuple[Node, NodeTerm]], dict[tuple[Node, Node], list[NodeTerm]]]:
        """Legs of the adjoint on the inputs of the loop, and the forms of its core."""
        graph, node, kind = self.sweep.graph, self.node, opaque_kind(self.node)
        adjoint = graph.sum_of(own, node.shape, node.dtype)
        inputs = (*node.inputs, adjoint, *self._arrived())
        program = traced(kind, self.function, structs_of(inputs))
        first = self.turn.loop.constants
        # after the slopes the blocks, each with its ties; None where it is only a diagonal
        blocks: list[tuple[int, int, Ties | None]] = [
            *((k + first, x + first, ties) for (k, x), ties in sorted(self.taken.carried.items())),
            *((k + first, c, frozenset()) for k, c in self.mixed),
            *((p, q, None if self.blocks.constants[p, q] else frozenset()) for p, q in self.constants),
            *((x, x, None) for x in self.stacked),
        ]
        made = tuple((p, q, None if ties is None else tuple(sorted(ties))) for p, q, ties in blocks)
        key = ("taken back", kind.key, tuple(self.slopes), made, tuple(self._arrivals), tuple(x.number for x in inputs))
        width = len(program.outputs)
        call = Call(key, program.apply, key, width, width, primitives=program.primitives, zeros=program.zeros)
        outer = {k for k, x in enumerate(node.inputs) if x.depends & self.sweep.mask}
        own_slopes = [(place, k) for place, k in enumerate(self.slopes) if k in outer]
        own_blocks = [(place, *one) for place, one in enumerate(blocks, len(self.slopes)) if {one[0], one[1]} <= outer]
        count = len(own_slopes) + len(own_blocks)
        seconds = self.seconds / max(node.dtype.itemsize / 4.0, 1.0)

        def array(place: int) -> Node:
            value = program.outputs[place]
            derived = Opaque(
                f"{kind.name} taken back turn by turn",
                (key, place),
                call,
                place,
                program.flops / count,
                kind.line,
                program.bytes,
                seconds / count,
            )
            return graph.opaque(derived, inputs, value.shape, value.dtype)

        slopes: list[tuple[Node, NodeTerm]] = []
        for place, k in own_slopes:
            axes = fresh(node.inputs[k].shape)
            slopes.append((node.inputs[k], Term(1.0, (Factor(array(place), axes),), ((), axes))))
        forms: dict[tuple[Node, Node], list[NodeTerm]] = {}
        for place, p, q, ties in own_blocks:
            row, column = node.inputs[p], node.inputs[q]
            shared = all_tied(row.shape, column.shape) if ties is None else ties
            term = as_term(array(place), row.shape, column.shape, shared)
            forms.setdefault((row, column), []).append(term)
            if row is column and p != q:
                forms[row, column].append(swap_sides(term, 1, 2))
        return slopes, forms


def _unpacked(adjoint: Any, start: int, shape: Sequence[int], outputs: int) -> Any:
    if outputs == 1:
        return adjoint
    size = int(np.prod(shape, dtype=np.int64))
    return jax.lax.dynamic_slice_in_dim(adjoint, start, size).reshape(shape)
