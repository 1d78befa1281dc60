"""What is inside a loop or a branch: the graph of one turn at its point, with what enters it and what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.contraction.index import fresh
from nablax.contraction.term import Factor, Term
from nablax.errors import ArgumentError
from nablax.graph.evaluate import evaluate
from nablax.graph.from_jaxpr import build
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm
from nablax.ops.jaxprs import Program
from nablax.ops.kinds import Call, Opaque
from nablax.sweeps.forward import tangents
from nablax.sweeps.second_order import mask_of, reverse
from nablax.teach.numbers import Numbers
from nablax.teach.reading import Reading, is_known

# Carried numbers, carried counters.
STATE, COUNTER = "s", "k"
# An open loop is followed so far.
MOST_TURNS = 100_000


@dataclass(frozen=True, eq=False)
class Body:
    """One turn of a loop, or the case of a branch that is taken, at the point of the graph around it.

    Args:
        numbers: the graph around.
        node: the loop or branch.
        program: the turn.
        given: values that all turns share.
        begun: what is carried into the first turn.
        stacked: arrays of which each turn takes a slice.
        length: number of turns; None where a condition tells.
        reverse: whether the last slice is taken first.
        outside: for each input of the program the node around that it comes from.
    """

    numbers: Numbers
    node: Node
    program: Program
    given: tuple[Any, ...]
    begun: tuple[Any, ...]
    stacked: tuple[Any, ...]
    length: int | None
    reverse: bool
    outside: tuple[Node, ...]

    @property
    def call(self) -> Call:
        """The call that is looked into."""
        assert isinstance(self.node.kind, Opaque)
        return self.node.kind.call

    @property
    def is_branch(self) -> bool:
        """Whether it is a case rather than a turn."""
        return self.call.branches is not None

    @cached_property
    def said(self) -> str:
        """How often it runs, in words."""
        if self.call.branches is not None:
            return f"case {_case(self.call, self.numbers.values[self.node.inputs[0]])} of {len(self.call.branches)}"
        return f"{self.turns} turn" + ("s" if self.turns != 1 else "")

    # -- the graph -----------------------------------------------------------------------------------

    @cached_property
    def graph(self) -> tuple[Graph, tuple[Node, ...], tuple[Node, ...]]:
        """The graph of the program, its leaves and results."""
        engine = Graph()
        leaves, outputs = build(engine, self.program)
        return engine, tuple(leaves), tuple(outputs)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What the inputs are called: as outside, what is carried s, counters k."""
        reading = self.numbers.reading
        taken: set[str] = set()
        found = []
        first, last = len(self.given), len(self.given) + len(self.begun)
        carried = self.program.inputs[first:last]
        several = {
            STATE: sum(v.dtype.kind not in "iub" for v in carried) > 1,
            COUNTER: sum(v.dtype.kind in "iub" for v in carried) > 1,
        }
        for k, variable in enumerate(self.program.inputs):
            source = self.outside[k]
            if first <= k < last:
                stem, number = COUNTER if variable.dtype.kind in "iub" else STATE, 1
                name = f"{stem}1" if several[stem] else stem
            else:
                stem, number = reading.called[source], 1
                name = stem
            while name in taken:
                number += 1
                name = f"{stem}{number}"
            taken.add(name)
            found.append(name)
        return tuple(found)

    # -- going through -------------------------------------------------------------------------------

    @cached_property
    def _run(self) -> Any:
        _, _, outputs = self.graph
        return jax.jit(lambda given: evaluate(outputs, given))

    @cached_property
    def states(self) -> tuple[tuple[Any, ...], ...]:
        """What is carried into each turn."""
        found, state, turn = [], self.begun, 0
        while turn < (MOST_TURNS if self.length is None else self.length):
            if self.length is None and not self._goes_on(state):
                break
            found.append(state)
            state = tuple(self._run(self._point(turn, state))[: len(self.begun)])
            turn += 1
        return tuple(found)

    def _goes_on(self, state: Sequence[Any]) -> bool:
        loop = self.call.open_loop
        assert loop is not None
        engine = Graph()
        _, [again] = build(engine, loop.condition)
        shared = [self.numbers.values[x] for x in self.node.inputs[: loop.shared]]
        [found] = evaluate([again], [jnp.asarray(x) for x in (*shared, *state)])
        return bool(found)

    @property
    def turns(self) -> int:
        """Number of turns."""
        return len(self.states) if self.length is None else self.length

    def _slice(self, turn: int) -> int:
        return self.turns - 1 - turn if self.reverse else turn

    def _point(self, turn: int, state: Sequence[Any]) -> list[Any]:
        place = self._slice(turn) if self.stacked else 0
        return [jnp.asarray(x) for x in (*self.given, *state, *(x[place] for x in self.stacked))]

    def checked(self, turn: Any, otherwise: int) -> int:
        """The place of a turn, counted from 1 outside and from 0 inside; `otherwise` where none is given.

        Raises:
            ArgumentError: there is no such turn.
        """
        if turn is None:
            return otherwise
        if isinstance(turn, bool) or not isinstance(turn, int) or not 1 <= turn <= self.turns:
            raise ArgumentError(f"turn={turn!r} was asked for; give a whole number from 1 to {self.turns}.")
        return turn - 1

    def title(self, turn: int) -> str:
        """What is shown."""
        called = self.numbers.reading.called[self.node]
        kind = self.node.kind
        assert isinstance(kind, Opaque)
        where = self.said if self.is_branch else f"turn {turn + 1} of {self.turns}"
        return f"{kind.name} {called}, {where}"

    def at(self, turn: int) -> Numbers:
        """The graph of one turn at its point; derivatives with respect to what moves."""
        engine, leaves, outputs = self.graph
        return Numbers(self._reading(turn, engine, leaves, outputs, ()))

    def _reading(
        self,
        turn: int,
        engine: Graph,
        leaves: tuple[Node, ...],
        outputs: Sequence[Node],
        weights: Sequence[tuple[str, Node, Any]],
    ) -> Reading:
        arrays = [*self._point(turn, self.states[turn]), *(value for _, _, value in weights)]
        names = dict(zip(leaves, self.names, strict=True)) | {leaf: name for name, leaf, _ in weights}
        moving = self.moving
        floats = [x for x in outputs if jnp.issubdtype(x.dtype, jnp.floating) and not is_known(x)]
        first = next((x for x in floats if x.depends & mask_of(moving)), outputs[0])
        return Reading(
            self.title(turn),
            engine,
            (*leaves, *(leaf for _, leaf, _ in weights)),
            moving,
            first,
            tuple(arrays),
            names,
            lambda *given: evaluate([first], given)[0],
            tuple(x for x in outputs if x is not first and not is_known(x)),
        )

    @cached_property
    def moving(self) -> tuple[Node, ...]:
        """Leaves of the body that move with the arguments around."""
        _, leaves, outputs = self.graph
        mask, carried = self.numbers.mask, len(self.begun)
        first = len(self.given)
        moving = {k for k, x in enumerate(self.outside) if x.depends & mask and _is_float(leaves[k])}
        while True:  # what is carried moves with what moves it
            own = mask_of(leaves[k] for k in moving)
            more = {first + k for k in range(carried) if outputs[k].depends & own and _is_float(leaves[first + k])}
            if self.is_branch or more <= moving:
                return tuple(leaves[k] for k in sorted(moving))
            moving |= more

    # -- both modes ----------------------------------------------------------------------------------

    def directions(self, moved: Mapping[Node, Any], turn: int) -> Mapping[Node, Any]:
        """The tangent of each input of a turn that moves.

        Args:
            moved: the tangent of every node around.
            turn: the turn, from 0.
        """
        engine, leaves, outputs = self.graph
        held = [engine.leaf(len(leaves) + k, x.shape, x.dtype) for k, x in enumerate(leaves)]
        first, carried = len(self.given), len(self.begun)
        listed = [k for k, leaf in enumerate(leaves) if leaf in self.moving]
        pushed = tangents(engine, outputs[:carried], {leaves[k]: held[k] for k in listed})
        run = jax.jit(lambda given: evaluate(pushed, given))
        outside = [moved.get(x) for x in self.outside]

        def entering(place: int, state: Sequence[Any]) -> list[Any]:
            found = []
            for k, leaf in enumerate(leaves):
                value = outside[k]
                if first <= k < first + carried:
                    value = state[k - first]
                elif k >= first + carried and value is not None:
                    value = value[self._slice(place)]
                found.append(np.zeros(leaf.shape, leaf.dtype) if value is None or k not in listed else value)
            return found

        state: list[Any] = outside[first : first + carried]
        for place in range(turn):
            now = entering(place, state)
            state = run([*self._point(place, self.states[place]), *map(jnp.asarray, now)])
        return {leaves[k]: value for k, value in enumerate(entering(turn, state)) if k in listed}

    def weighed(self, turn: int) -> Numbers:
        """The graph of one turn with its results weighed by the adjoints that arrive on them: one number."""
        engine, leaves, outputs = self.graph
        packed = {one.output: one for one in self.call.packed}
        kept = [k for k in range(len(outputs)) if _is_float(outputs[k]) and not is_known(outputs[k])]
        held = {k: engine.leaf(len(leaves) + n, outputs[k].shape, outputs[k].dtype) for n, k in enumerate(kept)}
        total = engine.add([engine.multiply(_inner(outputs[k], held[k]), outputs[k].dtype) for k in kept])
        together = np.asarray(self.numbers.pulled[self.node])
        carried = len(self.begun)

        def arriving(place: int, state: Sequence[Any]) -> list[Any]:
            found = []
            for k in kept:
                own = None
                if k in packed:
                    own = together if len(packed) == 1 else packed[k].taken(together)
                if k < carried and not self.is_branch:
                    own = own if place == self.turns - 1 else state[k]
                elif own is not None and not self.is_branch:
                    own = own[self._slice(place)]
                found.append(np.zeros(outputs[k].shape, outputs[k].dtype) if own is None else own)
            return found

        first = len(self.given)
        back = reverse(engine, total, [leaf for leaf in leaves if leaf in self.moving])
        nodes = [
            engine.sum_of([t.replace(sides=t.sides[1:]) for t in back.get(leaf, ())], leaf.shape, leaf.dtype)
            for leaf in leaves[first : first + carried]
        ]
        run = jax.jit(lambda given: evaluate(nodes, given))
        state: list[Any] = []
        for place in range(self.turns - 1, turn, -1):
            weights = list(map(jnp.asarray, arriving(place, state)))
            state = run([*self._point(place, self.states[place]), *weights])
        names = [f"a{n + 1}" if len(kept) > 1 else "a" for n in range(len(kept))]
        weights_now = list(map(jnp.asarray, arriving(turn, state)))
        listed = [(name, held[k], value) for name, k, value in zip(names, kept, weights_now, strict=True)]
        return Numbers(self._reading(turn, engine, leaves, [total], listed))


def bodies(numbers: Numbers) -> dict[str, Body]:
    """What can be looked into, by the name of its node."""
    found = {}
    for node in numbers.reading.nodes:
        body = _body(numbers, node)
        if body is not None:
            found[numbers.reading.called[node]] = body
    return found


def inside(numbers: Numbers, name: str, verb: str) -> Body:
    """The loop or branch of a name.

    Raises:
        ArgumentError: there is none.
    """
    listed = bodies(numbers)
    if name not in listed:
        known = f"give one of {', '.join(listed)}" if listed else "this graph has neither loops nor branches"
        raise ArgumentError(f"{verb} was asked for {name!r}; {known}.")
    return listed[name]


def _body(numbers: Numbers, node: Node) -> Body | None:
    kind = node.kind
    if not isinstance(kind, Opaque) or kind.call.inner is not None:
        return None
    call, inputs = kind.call, node.inputs
    make = partial(Body, numbers, node)
    if call.loop is not None:
        loop = call.loop
        if not _is_plain(loop.body):
            return None
        values = [numbers.values[x] for x in inputs]
        a, b = loop.constants, loop.constants + loop.carried
        return make(
            loop.body, tuple(values[:a]), tuple(values[a:b]), tuple(values[b:]), loop.length, loop.reverse, inputs
        )
    if call.open_loop is not None:
        unbound = call.open_loop
        if not _is_plain(unbound.body) or not _is_plain(unbound.condition):
            return None
        own = inputs[unbound.shared :]
        values = [numbers.values[x] for x in own]
        count = unbound.constants
        return make(unbound.body, tuple(values[:count]), tuple(values[count:]), (), None, False, own)
    if call.branches is not None:
        taken = call.branches[_case(call, numbers.values[inputs[0]]) - 1]
        if not _is_plain(taken):
            return None
        return make(taken, tuple(numbers.values[x] for x in inputs[1:]), (), (), 1, False, inputs[1:])
    return None


def _case(call: Call, index: Any) -> int:
    """The case that is taken, from 1."""
    assert call.branches is not None
    return 1 + int(np.clip(index, 0, len(call.branches) - 1))


def _is_plain(program: Program) -> bool:
    """Whether no complex values or random keys pass."""
    return not any(value.dtype.kind in "cO" for value in (*program.inputs, *program.outputs))


def _is_float(node: Node) -> bool:
    return bool(jnp.issubdtype(node.dtype, jnp.floating))


def _inner(a: Node, b: Node) -> NodeTerm:
    axes = fresh(a.shape)
    return Term(1.0, (Factor(b, axes), Factor(a, axes)), ((),))
