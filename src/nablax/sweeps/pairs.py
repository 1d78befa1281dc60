"""What two turns add to the diagonal of a constant together, all pairs of some turns one after the other.

The Jacobians of the carried values in what a few turns have done are pushed through all later turns at once, as one
product for each of those, and multiplied there with the blocks of the later turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.contraction.index import Label, along
from nablax.contraction.term import compose
from nablax.graph.cost import cost_of
from nablax.graph.node import NodeTerm
from nablax.graph.sums import add_up
from nablax.sweeps.emitted import Emitted, Program
from nablax.sweeps.handed_over import diagonal_of, over_rows, scaled, to_legs
from nablax.sweeps.loop_blocks import Pair
from nablax.sweeps.sources import on_stack, stack_shape, stack_term

# The Jacobians of so many turns are pushed together: more are fewer and larger products, but leave the cache (an LSTM's
# of width 32, batch 32 take 270 ms by eights, 240 ms by fours, 340 ms by twos, on one core of an EPYC).
PUSHED = 4


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of some turns.

    Args:
        emitted: what each of them hands over.
        count: how many turns.
    """

    emitted: Emitted
    count: int

    @property
    def together(self) -> int:
        """Of how many turns the Jacobians are pushed together."""
        return -(-self.count // -(-self.count // PUSHED))

    @cached_property
    def _places(self) -> list[tuple[int, int]]:
        """For each step the first of the turns whose Jacobians are pushed, and the later turn."""
        return [(s, t) for s in range(0, self.count, self.together) for t in range(s + 1, self.count)]

    @property
    def constants(self) -> tuple[int, ...]:
        """The constants, by their positions."""
        return tuple(dict.fromkeys(entry.constant for entry in self.emitted.kept.turn.entries))

    def shape(self, pair: Pair, count: int) -> tuple[int, ...]:
        """Shape of the Jacobians of so many turns."""
        k, s = pair
        sources = self.emitted.sources
        return stack_shape(self.emitted.kept.carried[k].shape, sources.each[s].shape, sources.ties[pair], count)

    def stacks(self, program: Program, count: int) -> dict[Pair, NodeTerm]:
        """The Jacobians of so many turns, sides (no open axes, carried value, turn and source)."""
        kept, sources = self.emitted.kept, self.emitted.sources
        found = {}
        for (k, s), ties in sources.ties.items():
            row, source = kept.carried[k], sources.each[s]
            array = program.leaf(("F", k, s), self.shape((k, s), count), row.dtype)
            found[k, s] = stack_term(array, row.shape, source.shape, ties, count)
        return found

    @cached_property
    def _begin(self) -> Program:
        """The Jacobians when a turn has just been taken."""
        program = Program()
        kept, sources = self.emitted.kept, self.emitted.sources
        for (k, s), ties in sources.ties.items():
            begun = self.emitted.of_one(program, sources.each[s].begun.get(k, ()), "now")
            turned = [term.replace(sides=(*term.sides[:2], (along(Label(1)), *term.sides[2]))) for term in begun]
            terms = [on_stack(term, ties) for term in turned]
            shape, dtype = self.shape((k, s), 1), kept.carried[k].dtype
            program.made[k, s] = program.graph.sum_of(terms, shape, dtype)
        return program

    @cached_property
    def step(self) -> Program:
        """One later turn: what it adds with turns before, and their Jacobians pushed through it."""
        program = Program()
        emitted, kept, sources = self.emitted, self.emitted.kept, self.emitted.sources
        rates = kept.rates
        stacks = self.stacks(program, self.together)
        for constant in self.constants:
            leaf = kept.turn.leaves[constant]
            terms: list[NodeTerm] = []
            for (k, s), stack in stacks.items():
                for j, legs in sources.each[s].legs.items():
                    entry = kept.turn.entries[j]
                    if entry.constant != constant:
                        continue
                    joined = [p for a in legs for b in entry.legs if (p := compose(a, 1, b, 0)) is not None]
                    before = to_legs([stack], emitted.of_several(program, joined, "before", self.together))
                    for place, column in enumerate(kept.columns):
                        if column.constant == constant:
                            own = emitted.of_one(program, column.legs, "now")
                            now = to_legs(emitted.block(program, place, k), own)
                            terms += scaled(diagonal_of(over_rows(before, now)), 2.0)
            program.made["D", constant] = add_up(program.graph, terms, leaf.shape, leaf.dtype, rates)
        for (k, s), ties in sources.ties.items():
            parts = [
                on_stack(term, ties)
                for (x, other), stack in stacks.items()
                if other == s
                for term in emitted.through(program, k, x, stack)
            ]
            shape, dtype = self.shape((k, s), self.together), kept.carried[k].dtype
            program.made["F", k, s] = add_up(program.graph, parts, shape, dtype, rates)
        return program

    @cached_property
    def seconds(self) -> float:
        """Estimated time."""
        return len(self._places) * cost_of(list(self.step.made.values()), self.emitted.kept.rates).seconds

    @property
    def elements(self) -> int:
        """Of the largest array."""
        return max((node.size for node in self.step.made.values()), default=0)

    def run(self, values: Sequence[Any], ends: bool) -> tuple[dict[int, Any], dict[Pair, Any]]:
        """What the pairs add, and the Jacobians at the end.

        Args:
            values: what the turns handed over, one array for each value, the turns along the first axis.
            ends: whether the Jacobians at the end are wanted.
        """
        m = self.together
        ties = self.emitted.sources.ties
        room = -(-self.count // m) * m
        padded = [jnp.pad(x, [(0, room - self.count), *[(0, 0)] * (x.ndim - 1)]) for x in values]

        def axis(pair: Pair) -> int:
            return len(self.emitted.sources.each[pair[1]].shape)

        def begun(t: Any) -> dict[Any, Any]:
            return self._begin({("now", p): jax.lax.dynamic_index_in_dim(padded[p], t, 0, False) for p in now[0]})

        now = self._begin.places("now"), self.step.places("now")
        before = self.step.places("before")

        def step(state: Mapping[Any, Any], place: Any) -> tuple[dict[Any, Any], None]:
            first, t = place
            read: dict[object, Any] = {
                **{("now", p): jax.lax.dynamic_index_in_dim(padded[p], t, 0, False) for p in now[1]},
                **{("before", p): jax.lax.dynamic_slice_in_dim(padded[p], first, m) for p in before},
            }
            fresh = begun(t - 1)
            last = t - 1 - first
            for pair in ties:
                own = state["F", *pair]
                turn = jnp.arange(m).reshape([-1 if k == axis(pair) else 1 for k in range(own.ndim)])
                # what is left of the turns pushed before is thrown away here
                read["F", *pair] = jnp.where(turn == last, fresh[pair], jnp.where(turn < last, own, 0))
            made = self.step(read)
            after = {key: state[key] + x if key[0] == "D" else x for key, x in made.items()}
            for pair in ties if ends else ():
                after["end", *pair] = jax.lax.dynamic_update_slice_in_dim(
                    state["end", *pair], made["F", *pair], first, axis(pair)
                )
            return after, None

        start = {key: jnp.zeros(node.shape, node.dtype) for key, node in self.step.made.items()}
        for pair in ties if ends else ():
            start["end", *pair] = jnp.zeros(self.shape(pair, room), start["F", *pair].dtype)
        places = np.asarray(self._places, np.int32).reshape(-1, 2)
        state, _ = jax.lax.scan(step, start, (places[:, 0], places[:, 1]))
        found = {constant: state["D", constant] for constant in self.constants}
        if not ends:
            return found, {}
        own = begun(self.count - 1)
        whole = {}
        for pair in ties:
            filled = jax.lax.dynamic_update_slice_in_dim(state["end", *pair], own[pair], self.count - 1, axis(pair))
            whole[pair] = jax.lax.slice_in_dim(filled, 0, self.count, axis=axis(pair))
        return found, whole
