"""Answers of order three and more, and the two classical ways with which they are compared.

Repetition differentiates along unit vectors again and again: a graph of m operations costs O(m n^(k-1)). The Hessian by
rows, grad(e_i' grad f), is its case k = 2 with the reverse mode twice. Legs make use of what the terms share, of
symmetry and of structure.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from nablax.endings.tensors import dense_tensor, diagonal_of, held_by, sites, turn_to, turned_block
from nablax.errors import MemoryBoundError
from nablax.graph.node import Node
from nablax.planning.answer import Answer, Columns, Slot, directions, gradients
from nablax.planning.question import Ending, Problem, Question
from nablax.planning.reverse_rules import has_reverse_rule
from nablax.sweeps.forward import tangents
from nablax.sweeps.frontier import SecondOrder
from nablax.sweeps.order_k import Places, Tensor, order_k

# Dense tensors of more values than this, and sparse ones, are refused: larger than most memories.
MOST_VALUES = 2_000_000_000
MOST_SPARSE_VALUES = 200_000_000
# A loop over few leaves is built to be costed; over many, one sweep in which all move stands for each of them.
BUILT_LOOPS = 4


def from_legs(problem: Problem, question: Question, swept: Sequence[SecondOrder]) -> Answer:
    """The tensor of an order, from the terms of the Hessians of all outputs.

    Raises:
        MemoryBoundError: the answer has more values than most machines hold.
    """
    graph, asked, rates = problem.graph, problem.asked, problem.rates
    steps = tuple(step for one in swept for step in one.steps)
    _check_size(problem, question)
    tensors = [order_k(graph, one, asked, question.order) for one in swept]
    held = sum(held_by(tensor, asked) for tensor in tensors)
    if question.ending is Ending.COORDINATES:
        [tensor] = tensors
        if held > MOST_SPARSE_VALUES:
            raise MemoryBoundError(
                f"the question {question.name!r} was asked of a function whose derivative is dense: its terms hold "
                f"{held:,} values. Ask for the diagonal or for contractions with vectors (nablax.derivative_along) "
                "instead."
            )
        found = sites(graph, tensor, asked, asked[0].dtype)
        count = int(found.positions.shape[0])
        return Answer({(): found.values}, positions=found.positions, steps=steps, entries=count)
    nodes: dict[Slot, Node] = {}
    for number, tensor in enumerate(tensors):
        if question.ending is Ending.DIAGONAL:
            for a, leaf in enumerate(asked):
                nodes[(a,)] = diagonal_of(graph, tensor[(a,) * question.order], leaf, rates)
        else:
            nodes |= _dense(problem, question, tensor, number)
    return Answer(nodes, steps=steps, entries=held)


def _dense(problem: Problem, question: Question, tensor: Tensor, number: int) -> dict[Slot, Node]:
    opened = problem.outputs[number].shape
    made: dict[Places, Node] = {}
    found: dict[Slot, Node] = {}
    for places in problem.blocks(question.order):
        rising = tuple(sorted(places))
        slots = [problem.asked[k] for k in rising]
        if rising not in made:
            made[rising] = dense_tensor(problem.graph, tensor[rising], opened, slots, problem.rates)
        ranks = [len(leaf.shape) for leaf in slots]
        turn = turn_to(rising, places)
        found[number, *places] = turned_block(problem.graph, made[rising], len(opened), ranks, turn)
    return found


def _check_size(problem: Problem, question: Question) -> None:
    if question.ending is not Ending.DENSE:
        return
    outputs = sum(node.size for node in problem.outputs)
    blocks = problem.blocks(question.order)
    values = outputs * sum(math.prod(problem.asked[k].size for k in places) for places in blocks)
    if values > MOST_VALUES:
        raise MemoryBoundError(
            f"the question {question.name!r} was asked of a function of {problem.size:,} unknowns: the dense tensor "
            f"has {values:,} values. Ask for nablax.derivative_sparse, nablax.derivative_diagonal or contractions "
            "with vectors (nablax.derivative_along) instead."
        )


def repetition(problem: Problem, question: Question) -> Answer:
    """Tangents of tangents of the gradient, along all tuples of unit vectors: works wherever JAX differentiates."""
    order = question.order
    if question.ending is Ending.DIAGONAL:
        return _diagonal(problem, order)
    _check_size(problem, question)
    graph = problem.graph
    taken = list(problem.leaves)
    held: list[list[Node]] = []
    for _ in range(order - 1):
        held.append(directions(problem, len(taken)))
        taken += held[-1]
    bases = [gradients(problem, output) for output in problem.outputs]

    def along(tail: Places) -> Mapping[Slot, Node]:
        moved = [base[a] for base in bases for a in range(len(problem.asked))]
        for slot, b in enumerate(tail):
            moved = tangents(graph, moved, {problem.asked[b]: held[slot][b]})
        listed = iter(moved)
        return {(number, a, *tail): next(listed) for number in range(len(bases)) for a in range(len(problem.asked))}

    def maker(tail: Places) -> Callable[[], Mapping[Slot, Node]]:
        return lambda: along(tail)

    tails = list(itertools.combinations_with_replacement(range(len(problem.asked)), order - 1))
    loops = []
    for tail in tails:
        last = len(tail) - 1
        others = tuple((b, held[slot][b]) for slot, b in enumerate(tail[:-1]))
        count = tuples_of(tail, [leaf.size for leaf in problem.asked])
        loops.append(Columns(tail[-1], held[last][tail[-1]], count, maker(tail), others=others))
    likeness: tuple[Node, ...] = ()
    if len(loops) > BUILT_LOOPS:
        moved = [x for base in bases for x in base]
        for own in held:
            moved = tangents(graph, moved, dict(zip(problem.asked, own, strict=True)))
        likeness = tuple(moved)
    return Answer(loops=tuple(loops), likeness=likeness)


def _diagonal(problem: Problem, order: int) -> Answer:
    """Derivatives along one unit vector, as often as the order says."""
    [output] = problem.outputs
    held = directions(problem)
    reverse_first = has_reverse_rule(problem)

    def along(b: int) -> Mapping[Slot, Node]:
        direction = {problem.asked[b]: held[b]}
        moved = [gradients(problem, output)[b]] if reverse_first else [output]
        for _ in range(order - 1 if reverse_first else order):
            moved = tangents(problem.graph, moved, direction)
        return {(b,): moved[0]}

    def maker(b: int) -> Callable[[], Mapping[Slot, Node]]:
        return lambda: along(b)

    loops = (Columns(b, held[b], leaf.size, maker(b), not reverse_first) for b, leaf in enumerate(problem.asked))
    return Answer(loops=tuple(loops))


# -- tuples of unit directions ---------------------------------------------------------------------


def tuples_of(tail: Places, sizes: Sequence[int]) -> int:
    """How many tuples of unit directions a loop runs over.

    Args:
        tail: the leaf of each slot.
        sizes: elements of each leaf.

    Example:
        >>> tuples_of((0, 0), [60])
        1830
    """
    if len(set(tail)) == 1:
        return math.comb(sizes[tail[0]] + len(tail) - 1, len(tail))
    return math.prod(sizes[k] for k in tail)


def unit_tuples(tail: Places, sizes: Sequence[int]) -> npt.NDArray[np.int32]:
    """The tuples themselves, one row each: rising where all slots are about one leaf, else all.

    Example:
        >>> unit_tuples((0, 0), [2]).tolist()
        [[0, 0], [0, 1], [1, 1]]
    """
    every = [range(sizes[k]) for k in tail]
    rising = len(set(tail)) == 1
    listed = itertools.combinations_with_replacement(every[0], len(tail)) if rising else itertools.product(*every)
    return np.asarray(list(listed), np.int32).reshape(-1, len(tail))


def places_of_tuples(tail: Places, sizes: Sequence[int]) -> npt.NDArray[np.int32] | None:
    """For each tuple of all, in order, the row of `unit_tuples` that holds its permutation; None where all are there.

    Example:
        >>> places_of_tuples((0, 0), [2]).tolist()
        [0, 1, 1, 2]
    """
    if len(tail) == 1 or len(set(tail)) > 1:
        return None
    size = sizes[tail[0]]
    rows = np.full((size,) * len(tail), -1, np.int32)
    listed = unit_tuples(tail, sizes)
    for turn in itertools.permutations(range(len(tail))):
        rows[tuple(listed[:, k] for k in turn)] = np.arange(len(listed), dtype=np.int32)
    return rows.ravel()
