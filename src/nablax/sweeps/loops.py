"""The sweep through a loop is a loop: its program does not grow with the number of turns.

With carry' = body(carry, constants, slice), A, B the Jacobians of carry' in the carry and in the constants, and a the
adjoint of carry', one turn taken backwards does

    S  <-  A' S A + a . body''                     between carried values
    C  <-  A' (S B + C) + a . body''               between carried values and constants
    D  <-  D + B' S B + B' C + C' B + a . body''   between constants

where S begins with the cores that stand on the result, and cores on stacked outputs that couple no two turns join in
at their turn. Nothing of this is written down here: one turn is one elimination of the body's graph, which begins with
S and C as cores on the outputs and leaves the new ones on the inputs. What no asked block needs is not carried: for a
diagonal only the diagonal of D, and of a stacked input (the weights of scanned layers) one block for each turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import jax.numpy as jnp

from nablax.contraction.index import fresh
from nablax.contraction.term import Factor, Term
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm, reachable
from nablax.ops.kinds import Opaque
from nablax.sweeps.asked import Asked
from nablax.sweeps.eliminate import Elimination, core_of, eliminate, pulled
from nablax.sweeps.frontier import Core, Form, Frontier, Legs, SecondOrder, identity_legs
from nablax.sweeps.legs import merge
from nablax.sweeps.loop_blocks import Arrival, Pair, Ties, all_tied, arrive, as_term, common, stored, stored_shape
from nablax.sweeps.loop_call import MOST_CARRIED, BackwardLoop
from nablax.sweeps.opaque_calls import opaque_kind
from nablax.sweeps.steps import Rule, Step
from nablax.sweeps.turn import Backwards, Turn, Wanted, turn_of, wanted, with_entries


def run(sweep: Elimination, frontier: Frontier) -> tuple[Frontier, tuple[Step, ...]]:
    """Eliminate all nodes of a sweep, outputs first, and last those from which only moves lead to leaves.

    Until then legs stand on the parts of a leaf that are read, not on the leaf.
    """
    steps = []
    downwards = [node for node in reversed(sweep.nodes) if node not in sweep.leaves]
    for node in sorted(downwards, key=lambda node: node in sweep.last):
        found = through_loop(sweep, frontier, node) if sweep.order > 1 else None
        frontier, step = eliminate(sweep, frontier, node) if found is None else found
        if step is not None:
            steps.append(step)
    return frontier, tuple(steps)


def swept(sweep: Elimination, frontier: Frontier) -> SecondOrder:
    """What eliminating all nodes leaves on the leaves."""
    frontier, steps = run(sweep, frontier)
    cores = []
    for core in frontier.cores.values():
        slots = tuple({x: tuple(merge(sweep.graph, legs, x.dtype)) for x, legs in slot.items()} for slot in core.legs)
        cores.append(replace(core, legs=slots))
    gradient = {leaf: merge(sweep.graph, frontier.adjoints.get(leaf, ()), leaf.dtype) for leaf in sweep.leaves}
    return SecondOrder(tuple(cores), gradient, steps)


def backwards(
    turn: Turn,
    carried: Mapping[Pair, Ties],
    mixed: Iterable[Pair],
    arriving: Mapping[Pair, Ties],
    blocks: Wanted,
    sweep: Elimination,
) -> Backwards:
    """Eliminate the body of a loop once, from blocks on its outputs to blocks on its inputs."""
    graph, outputs = turn.graph, turn.outputs
    position = len(turn.leaves) + len(turn.entries)
    adjoints: dict[Node, Legs] = {}
    listed = tuple(k for k, output in enumerate(outputs) if output.depends & turn.mask)
    for k in listed:
        axes = fresh(outputs[k].shape)
        given = graph.leaf(position, outputs[k].shape, outputs[k].dtype)
        adjoints[outputs[k]] = (*adjoints.get(outputs[k], ()), Term(1.0, (Factor(given, axes),), ((), axes)))
        position += 1
    slots = [*(outputs[k] for k in listed), *(turn.leaves[c] for c in turn.constants)]
    place = {k: s for s, k in enumerate(listed)}
    place_of_constant = {c: len(listed) + s for s, c in enumerate(turn.constants)}
    forms = []
    mixed = tuple(sorted(mixed))
    empty: Ties = frozenset()
    for k, ties, column in (
        *((k, ties, place[x]) for (k, x), ties in sorted(carried.items())),
        *((k, empty, place_of_constant[c]) for k, c in mixed),
        *((k, ties, place[x]) for (k, x), ties in sorted(arriving.items())),
    ):
        row, other = outputs[k].shape, slots[column].shape
        given = graph.leaf(position, stored_shape(row, other, ties), outputs[k].dtype)
        forms.append(Form((place[k], column), as_term(given, row, other, ties)))
        position += 1
    leaves = frozenset((*(turn.leaves[k] for k in turn.active), *(entry.leaf for entry in turn.entries)))
    nodes = tuple(node for node in reachable(outputs) if node.depends & turn.mask)
    body = Elimination(
        graph,
        nodes,
        leaves,
        turn.mask,
        _asked_of_turn(turn, blocks),
        2,
        sweep.rates,
        sweep.calls,
        tuple(slots),
        None if turn.entries else one_leg,
    )
    frontier = Frontier(adjoints)
    if forms:
        core = Core(tuple(forms), identity_legs(slots), outputs[0])
        frontier = frontier.with_core(core, leaves)
    apart = swept(body, frontier)
    return Backwards(turn, carried, mixed, arriving, listed, _with_one_leg(turn, apart), apart)


def _with_one_leg(turn: Turn, left: SecondOrder) -> SecondOrder:
    """The cores with one leg from each slot to each carried value."""
    ends = {turn.leaves[k] for k in turn.carried}

    def summed(leaf: Node, legs: Legs) -> Legs:
        return tuple(one_leg(turn.graph, leaf, legs)) if leaf in ends and len(legs) > 1 else legs

    return replace(
        left,
        cores=tuple(
            replace(core, legs=tuple({x: summed(x, legs) for x, legs in slot.items()} for slot in core.legs))
            for core in left.cores
        ),
    )


def one_leg(graph: Graph, node: Node, legs: Sequence[NodeTerm]) -> list[NodeTerm]:
    """Legs on a node as one array, along index maps as well.

    Legs by several paths (the gates of a recurrent unit, slices of one product) hold less apart than summed, but each
    would multiply the blocks between carried values and constants, which are larger than all of them.
    """
    terms = [leg.replace(sides=((), *leg.sides)) for leg in legs]
    row = [index.extent for index in legs[0].sides[0]]
    ties = common(terms) & all_tied(row, node.shape)
    array = graph.sum_of([stored(term, ties) for term in terms], stored_shape(row, node.shape, ties), node.dtype)
    found = as_term(array, row, node.shape, ties)
    return [found.replace(sides=found.sides[1:])]


def _asked_of_turn(turn: Turn, blocks: Wanted) -> Asked:
    """All blocks with carried values, and of the others those that are wanted."""
    bit = [leaf.depends for leaf in turn.leaves]
    carried = sum(bit[k] for k in turn.carried)
    partners = {bit[k]: carried | sum(bit[c] for c in turn.constants) for k in turn.carried}
    for c in turn.constants:
        partners[bit[c]] = carried
    for p, q in blocks.constants:
        if p in turn.entered:
            continue
        partners[bit[p]] |= bit[q]
        partners[bit[q]] |= bit[p]
    for x in blocks.stacked:
        partners[bit[x]] = bit[x]
    for entry in turn.entries:
        same = sum(other.leaf.depends for other in turn.entries if other.constant == entry.constant)
        partners[entry.leaf.depends] = carried | same
    entering = sum(entry.leaf.depends for entry in turn.entries)
    for k in turn.carried:
        partners[bit[k]] |= entering
    return Asked(partners)


def settle(turn: Turn, arrival: Arrival, blocks: Wanted, sweep: Elimination) -> Backwards:
    """The turn whose blocks on the inputs have the form of those on the outputs.

    Blocks are carried with as few axes as they allow. Which ones they allow shows when a turn has been taken: axes that
    it mixes are untied, blocks that it makes are added, until nothing changes.
    """
    held = {pair: common(terms) for pair, terms in arrival.terms.items() if _active(turn, pair)}
    arriving = {pair: ties for pair, ties in held.items() if pair[0] >= turn.loop.carried}
    carried = {pair: ties for pair, ties in held.items() if pair[0] < turn.loop.carried}
    mixed: set[Pair] = set()
    first = turn.loop.constants
    while True:
        found = backwards(turn, carried, mixed, arriving, blocks, sweep)
        after, more = dict(carried), set(mixed)
        for number, p in enumerate(turn.carried):
            for q in turn.carried[number:]:
                terms = found.block(p, q).terms()
                if terms:
                    pair = (p - first, q - first)
                    ties = common(terms) & all_tied(found.leaf(p).shape, found.leaf(q).shape)
                    after[pair] = after[pair] & ties if pair in after else ties
            more |= {(p - first, c) for c in turn.constants if found.block(p, c).parts}
        if after == carried and more == mixed:
            return found
        carried, mixed = after, more


def _active(turn: Turn, pair: Pair) -> bool:
    return all(turn.outputs[k].depends & turn.mask for k in pair)


# -- the loop ------------------------------------------------------------------------------------------


def through_loop(sweep: Elimination, frontier: Frontier, node: Node) -> tuple[Frontier, Step | None] | None:
    """Eliminate a loop by a loop over its turns, the last one first.

    Args:
        sweep: what stays the same.
        frontier: before.
        node: any node.

    Returns:
        The frontier after, and the step; None for a node that is no loop, and where blocks between turns are asked or
        the derivatives that JAX gives cost less.
    """
    kind = node.kind
    if not isinstance(kind, Opaque) or kind.call.loop is None or kind.place != 0 or sweep.rates is None:
        return None
    own = merge(sweep.graph, frontier.adjoints.get(node, ()), node.dtype)
    if any(term.sides[0] for term in own) or not jnp.issubdtype(node.dtype, jnp.floating) or kind.call.loop.length == 0:
        return None
    moving = [k for k, x in enumerate(node.inputs) if x.depends & sweep.mask]
    turn = turn_of(kind.call.loop, moving, sweep.graph.precision)
    blocks = None if turn is None else wanted(sweep, node.inputs, turn)
    if turn is None or blocks is None:
        return None
    arrival = arrive(kind.call, node, frontier, sweep.last, sweep.asked)
    loop = _taken_back(turn, arrival, blocks, sweep, node)
    if loop.elements > MOST_CARRIED or loop.seconds > seconds_by_jax(sweep, node, moving, arrival):
        return None
    before = len(frontier.on(node))
    after = pulled(sweep, frontier.without(arrival.cores, (node,)), node, ())
    slopes, forms = loop.results(own)
    adjoints = dict(after.adjoints)
    for source, leg in slopes:
        adjoints[source] = (*adjoints.get(source, ()), leg)
    after = replace(after, adjoints=adjoints)
    core = core_of(sweep.graph, forms, node)
    if core is not None:
        after = after.with_core(core, sweep.leaves)
    standing_after = len({k for x in node.inputs for k in after.on(x)})
    return after, Step(node, (Rule.LOOP,), (before, standing_after), core is not None)


def _taken_back(turn: Turn, arrival: Arrival, blocks: Wanted, sweep: Elimination, node: Node) -> BackwardLoop:
    """The loop, with the constants that only have a diagonal kept as products through several turns where that pays."""
    entered = with_entries(turn, {c for c in turn.constants if _alone(sweep, node, turn, blocks, c)})
    if entered.entries:
        found = BackwardLoop(sweep, node, settle(entered, arrival, blocks, sweep), blocks, arrival)
        if found.pays:
            return found
    return BackwardLoop(sweep, node, settle(turn, arrival, blocks, sweep), blocks, arrival)


def _alone(sweep: Elimination, node: Node, turn: Turn, blocks: Wanted, constant: int) -> bool:
    """Whether of all blocks with a constant only its own diagonal is asked."""
    pairs = [pair for pair in blocks.constants if constant in pair]
    begun = (node.inputs[k] for k in turn.carried)
    return (
        pairs == [(constant, constant)]
        and blocks.constants[constant, constant]
        and not any(sweep.asked.couples(node.inputs[constant], x) for x in begun if x.depends & sweep.mask)
    )


def seconds_by_jax(sweep: Elimination, node: Node, moving: Sequence[int], arrival: Arrival) -> float:
    """Time of the loop's second derivative along each element of its inputs, and of a derivative for each row above."""
    assert sweep.rates is not None
    kind = opaque_kind(node)
    columns = sum(node.inputs[k].size for k in dict.fromkeys(moving))
    return 4.0 * (columns + len(arrival.cores)) * kind.flops * kind.call.width / sweep.rates.opaque_flops
