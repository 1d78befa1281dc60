"""The ways to answer a question, one row each: what it does, which questions it answers, what builds its answer.

An answer is one node per slot: for a dense question (output, row leaf, column leaf) or (output, leaf), for a diagonal,
a trace's share or a product (leaf,), for everything else ().
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from nablax.contraction.block import Block
from nablax.contraction.index import fresh
from nablax.contraction.rates import Rates
from nablax.contraction.term import Factor, Term
from nablax.endings.coordinates import coordinates, count, strides_of
from nablax.endings.dense import dense, summed, turned
from nablax.errors import MemoryBoundError
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm, reachable
from nablax.planning.answer import (
    Answer,
    Columns,
    Refusal,
    Slot,
    Strategy,
    directions,
    gradients,
    starts,
)
from nablax.planning.higher_order import from_legs, repetition
from nablax.planning.question import (
    DIAGONAL,
    DIAGONAL_RECIPE,
    HESSIAN,
    HESSIAN_SPARSE,
    JACOBIAN,
    JACOBIAN_SPARSE,
    PRODUCT,
    QUADRATIC_FORM,
    TRACE,
    Ending,
    Problem,
    Question,
    of_order,
)
from nablax.planning.reverse_rules import gradients_written_out, has_reverse_rule
from nablax.sweeps.asked import Asked
from nablax.sweeps.diagonal_only import diagonal_recipe
from nablax.sweeps.forward import forward_legs, legs_from, tangents
from nablax.sweeps.frontier import SecondOrder
from nablax.sweeps.second_order import adjoints, jacobian, reverse, second_order
from nablax.sweeps.steps import Step

# A sparse answer with more values than this is refused: it would be larger than the memory of most machines.
MOST_VALUES = 200_000_000
# A loop over few leaves is built to be costed; over many, one sweep in which all move stands for each of them.
BUILT_LOOPS = 4
# Forward legs carry one leg per node and leaf; where these are many, a network's weights, they never win.
MOST_FORWARD_PAIRS = 250


# -- second order: legs ----------------------------------------------------------------------------


def legs_backward(problem: Problem, question: Question) -> Answer | Refusal:
    """Legs from the cores back to the leaves; cores are summed into dense blocks where that pays."""
    if question.along:
        problem, question = contracted(problem, question)
    if question.order == 1:
        return _jacobian_backward(problem, question)
    if has_reverse_rule(problem):
        return _of_gradients(problem, question, forward=False)
    rows = [problem.asked[a] for a in problem.row_leaves]
    columns_asked = [problem.asked[b] for b in problem.column_leaves]
    whole = question.ending in (Ending.DENSE, Ending.COORDINATES)
    asked = Asked.between(rows, columns_asked) if whole else Asked.own_blocks(problem.asked)
    # summing would fill what index maps keep sparse
    rates = None if question.ending is Ending.COORDINATES else problem.rates
    swept = [
        second_order(problem.graph, output, problem.asked, asked, rates, problem.calls) for output in problem.outputs
    ]
    return _ended(problem, question, swept)


def legs_forward(problem: Problem, question: Question) -> Answer | Refusal:
    """Legs from the leaves to the cores: best where leaves are small and layers wide."""
    pairs = len(problem.asked) * sum(1 for node in reachable(problem.outputs) if node.depends)
    if pairs > MOST_FORWARD_PAIRS:
        return Refusal(f"not built: {pairs} pairs of node and leaf")
    if question.along:
        problem, question = contracted(problem, question)
    if question.order == 1:
        return _jacobian_forward(problem, question)
    if has_reverse_rule(problem):
        return _of_gradients(problem, question, forward=True)
    swept = []
    for output in problem.outputs:
        pulled = adjoints(problem.graph, output, problem.asked)
        swept.append(forward_legs(problem.graph, output, problem.asked, pulled))
    return _ended(problem, question, swept)


def _ended(problem: Problem, question: Question, swept: Sequence[SecondOrder]) -> Answer:
    """The ending of a question on what sweeps left."""
    if question.order > 2:
        return from_legs(problem, question, swept)
    graph, asked, rates = problem.graph, problem.asked, problem.rates
    steps = tuple(step for one in swept for step in one.steps)
    nodes: dict[Slot, Node] = {}
    match question.ending:
        case Ending.DENSE:
            for number, one in enumerate(swept):
                nodes |= _dense_hessian(problem, one, number)
            return Answer(nodes, steps=steps)
        case Ending.DIAGONAL:
            for a, leaf in enumerate(asked):
                terms = [term for one in swept for term in one.block(leaf, leaf).diagonal()]
                nodes[(a,)] = summed(graph, terms, leaf.shape, leaf.dtype, rates)
            return Answer(nodes, steps=steps)
        case Ending.TRACE:
            for a, leaf in enumerate(asked):
                terms = [term for one in swept for term in one.block(leaf, leaf).trace()]
                nodes[(a,)] = summed(graph, terms, (), leaf.dtype, rates)
            return Answer(nodes, steps=steps)
        case Ending.COORDINATES:
            [one] = swept
            blocks = {(a, b): one.block(asked[a], asked[b]) for a in range(len(asked)) for b in range(len(asked))}
            return _sparse(problem, question, blocks, asked, steps)
        case _:
            raise AssertionError(question)


def _dense_hessian(problem: Problem, swept: SecondOrder, number: int) -> dict[Slot, Node]:
    graph, asked = problem.graph, problem.asked
    opened = problem.outputs[number].shape
    found: dict[Slot, Node] = {}
    for a in problem.row_leaves:
        for b in problem.column_leaves:
            row, column = asked[a], asked[b]
            if (number, b, a) in found and a != b:
                array = turned(graph, found[number, b, a], len(opened), len(column.shape))
                found[number, a, b] = graph.cast(array, row.dtype)
                continue
            shape = opened + row.shape + column.shape
            block = swept.block(row, column)
            found[number, a, b] = dense(graph, block, shape, len(opened), row.dtype, problem.rates)
    return found


def _sparse(
    problem: Problem,
    question: Question,
    blocks: Mapping[tuple[int, int], Block[Node]],
    rows: Sequence[Node],
    steps: tuple[Step, ...],
) -> Answer:
    """All blocks as values at positions of the matrix over the ravelled rows and columns."""
    width = problem.size
    row_starts, column_starts = starts(rows), starts(problem.asked)
    listed: list[tuple[NodeTerm, int, tuple[int, ...]]] = []
    for (a, b), block in blocks.items():
        steps_along = tuple(width * s for s in strides_of(rows[a].shape)) + strides_of(problem.asked[b].shape)
        offset = width * row_starts[a] + column_starts[b]
        listed += [(term, offset, steps_along) for term in block.terms()]
    held = count(term for term, _, _ in listed)
    height = sum(node.size for node in rows)
    if held > MOST_VALUES:
        raise MemoryBoundError(
            f"the question {question.name!r} was asked of a function whose derivative is dense: its terms hold "
            f"{held:,} values in a {height:,} × {width:,} matrix, {held * problem.asked[0].dtype.itemsize:,} bytes. "
            "Ask for the diagonal, the trace or products with vectors (nablax.hvp) instead."
        )
    found = coordinates(problem.graph, listed, problem.asked[0].dtype)
    return Answer({(): found.values}, pattern=found.pattern, steps=steps)


def _of_gradients(problem: Problem, question: Question, *, forward: bool) -> Answer | Refusal:
    """The Hessian as Jacobian of the gradient: it need not be symmetric."""
    if question.order > 2:
        return Refusal("a custom reverse rule need not give a symmetric derivative")
    slopes = gradients_written_out(problem)
    if slopes is None:
        return Refusal(
            "a custom reverse rule cannot be written out: it refuses, or stands beside complex numbers or random keys"
        )
    graph, asked, rates = problem.graph, problem.asked, problem.rates
    flat = [node for own in slopes for node in own]
    if forward:
        blocks, steps = _jacobians_forward(graph, flat, asked)
    else:
        summing = None if question.ending is Ending.COORDINATES else rates
        blocks, steps = _jacobians_backward(graph, flat, asked, summing)
    if question.ending is Ending.COORDINATES:
        return _sparse(problem, question, blocks, flat, steps)
    nodes: dict[Slot, Node] = {}
    if question.ending is Ending.DENSE:
        for number in range(len(slopes)):
            for a, b in itertools.product(problem.row_leaves, problem.column_leaves):
                place = number * len(asked) + a
                shape = flat[place].shape + asked[b].shape
                nodes[number, a, b] = dense(graph, blocks[place, b], shape, 0, asked[b].dtype, rates)
        return Answer(nodes, steps=steps)
    for a, leaf in enumerate(asked):
        block, of_trace = blocks[a, a], question.ending is Ending.TRACE
        terms = block.trace() if of_trace else block.diagonal()
        nodes[(a,)] = summed(graph, terms, () if of_trace else leaf.shape, leaf.dtype, rates)
    return Answer(nodes, steps=steps)


# -- first order -----------------------------------------------------------------------------------


Blocks = dict[tuple[int, int], Block[Node]]


def _jacobian_backward(problem: Problem, question: Question) -> Answer:
    rates = None if question.ending is Ending.COORDINATES else problem.rates
    blocks, steps = _jacobians_backward(problem.graph, problem.outputs, problem.asked, rates)
    return _jacobian_ended(problem, question, blocks, steps)


def _jacobian_forward(problem: Problem, question: Question) -> Answer:
    blocks, steps = _jacobians_forward(problem.graph, problem.outputs, problem.asked)
    return _jacobian_ended(problem, question, blocks, steps)


def _jacobians_backward(
    graph: Graph, outputs: Sequence[Node], leaves: Sequence[Node], rates: Rates | None
) -> tuple[Blocks, tuple[Step, ...]]:
    blocks: Blocks = {}
    steps: tuple[Step, ...] = ()
    for number, output in enumerate(outputs):
        found, done = jacobian(graph, output, leaves, rates)
        steps += done
        blocks |= {(number, b): found[leaf] for b, leaf in enumerate(leaves)}
    return blocks, steps


def _jacobians_forward(
    graph: Graph, outputs: Sequence[Node], leaves: Sequence[Node]
) -> tuple[Blocks, tuple[Step, ...]]:
    legs = legs_from(graph, outputs, leaves)
    blocks: Blocks = {}
    for number, output in enumerate(outputs):
        for b, leaf in enumerate(leaves):
            own = legs.get(output, {}).get(leaf, [])
            blocks[number, b] = Block.of(leg.replace(sides=((), leg.sides[1], leg.sides[0])) for leg in own)
    return blocks, ()


def _jacobian_ended(
    problem: Problem, question: Question, blocks: Mapping[tuple[int, int], Block[Node]], steps: tuple[Step, ...]
) -> Answer:
    if question.ending is Ending.COORDINATES:
        return _sparse(problem, question, blocks, problem.outputs, steps)
    nodes: dict[Slot, Node] = {}
    for (number, b), block in blocks.items():
        output, leaf = problem.outputs[number], problem.asked[b]
        nodes[number, b] = dense(problem.graph, block, output.shape + leaf.shape, 0, leaf.dtype, problem.rates)
    return Answer(nodes, steps=steps)


# -- vector first ----------------------------------------------------------------------------------


def vector_first(problem: Problem, question: Question) -> Answer:
    """The R-operator (Pearlmutter 1994): the tangent of the gradient; twice the tangent for a quadratic form."""
    [output] = problem.outputs
    if question.along:
        return _contracted_first(problem, question)
    moved = dict(zip(problem.asked, directions(problem), strict=True))
    if question.ending is Ending.FORM and not has_reverse_rule(problem):
        [first] = tangents(problem.graph, [output], moved)
        return Answer({(): tangents(problem.graph, [first], moved)[0]})
    products = tangents(problem.graph, gradients(problem, output), moved)
    if question.ending is Ending.PRODUCT:
        return Answer({(k,): node for k, node in enumerate(products)})
    parts = []
    for leaf, product in zip(problem.asked, products, strict=True):
        axes = fresh(leaf.shape)
        factors = (Factor(moved[leaf], axes), Factor(product, axes))
        parts.append(problem.graph.multiply(Term(1.0, factors, ((),)), output.dtype))
    return Answer({(): problem.graph.add(parts)})


def contracted(problem: Problem, question: Question) -> tuple[Problem, Question]:
    """The derivative along vectors as the function to be differentiated: the vectors become further leaves of it."""
    outputs, leaves = list(problem.outputs), list(problem.leaves)
    for _ in range(question.along):
        held = directions(problem, len(leaves))
        leaves += held
        outputs = tangents(problem.graph, outputs, dict(zip(problem.asked, held, strict=True)))
    return replace(problem, leaves=tuple(leaves), outputs=tuple(outputs)), of_order(question.order, question.ending)


def _contracted_first(problem: Problem, question: Question) -> Answer:
    """Tangents along each vector in turn, of the gradient where one slot stays open: forward over reverse."""
    [output] = problem.outputs
    taken = list(problem.leaves)
    moved = [output] if question.order == 0 else gradients(problem, output)
    for _ in range(question.along):
        held = directions(problem, len(taken))
        taken += held
        moved = tangents(problem.graph, moved, dict(zip(problem.asked, held, strict=True)))
    return Answer({(0, *((k,) if question.order else ())): node for k, node in enumerate(moved)})


# -- columns ---------------------------------------------------------------------------------------


def columns(problem: Problem, question: Question) -> Answer:
    """Derivatives along unit vectors, in a loop: the total fallback."""
    if question.along:
        problem, question = contracted(problem, question)
    if question.order > 2:
        return repetition(problem, question)
    held = directions(problem)
    moving = dict(zip(problem.asked, held, strict=True))
    dense_answer = question.ending is Ending.DENSE
    chosen = list(problem.column_leaves) if dense_answer else list(range(len(problem.asked)))
    twice = question.order == 2 and not dense_answer and not has_reverse_rule(problem)
    bases: list[list[Node]] = []
    for output in problem.outputs:
        if question.order == 1:
            bases.append([output])
        elif not twice:
            bases.append(gradients(problem, output))

    def along(b: int) -> Mapping[Slot, Node]:
        direction = {problem.asked[b]: held[b]}
        if twice:  # the element of the diagonal as a number: forward over forward
            [output] = problem.outputs
            first = tangents(problem.graph, [output], direction)
            return {(b,): tangents(problem.graph, first, direction)[0]}
        products: dict[Slot, Node] = {}
        for number, own in enumerate(bases):
            wanted = [0] if question.order == 1 else list(problem.row_leaves) if dense_answer else [b]
            moved = tangents(problem.graph, [own[a] for a in wanted], direction)
            for a, node in zip(wanted, moved, strict=True):
                slot = (number, b) if question.order == 1 else (number, a, b) if dense_answer else (b,)
                products[slot] = node
        return products

    def maker(b: int) -> Callable[[], Mapping[Slot, Node]]:
        return lambda: along(b)

    loops = tuple(Columns(b, held[b], problem.asked[b].size, maker(b), twice) for b in chosen)
    likeness: tuple[Node, ...] = ()
    if len(loops) > BUILT_LOOPS:
        if twice:
            first = tangents(problem.graph, list(problem.outputs), moving)
            likeness = tuple(tangents(problem.graph, first, moving))
        else:
            likeness = tuple(tangents(problem.graph, [x for own in bases for x in own], moving))
    return Answer(loops=loops, likeness=likeness)


# -- the textbook recipe ---------------------------------------------------------------------------


def recipe(problem: Problem, question: Question) -> Answer:
    """The recipe that keeps only diagonals of second derivatives in the backward pass (Becker and LeCun 1988)."""
    [output] = problem.outputs
    kept, exact = diagonal_recipe(problem.graph, output, problem.asked)
    # of a reverse rule the recipe takes the symmetric part, and one Jacobian for both sides
    return Answer({(k,): node for k, node in enumerate(kept)}, exact=exact and not has_reverse_rule(problem))


# -- the textbook's rows ---------------------------------------------------------------------------


def rows(problem: Problem, question: Question) -> Answer:
    """grad(e_i' grad f) for every i: the reverse mode twice, O(m n) for a graph of m operations."""
    [output] = problem.outputs
    graph, held = problem.graph, directions(problem)
    slopes = gradients(problem, output)

    def row(a: int) -> Mapping[Slot, Node]:
        axes = fresh(slopes[a].shape)
        chosen = graph.multiply(Term(1.0, (Factor(held[a], axes), Factor(slopes[a], axes)), ((),)), slopes[a].dtype)
        found = reverse(graph, chosen, problem.asked)
        return {(0, b, a): graph.sum_of(found[leaf], leaf.shape, leaf.dtype) for b, leaf in enumerate(problem.asked)}

    def maker(a: int) -> Callable[[], Mapping[Slot, Node]]:
        return lambda: row(a)

    return Answer(loops=tuple(Columns(a, held[a], leaf.size, maker(a)) for a, leaf in enumerate(problem.asked)))


@dataclass(frozen=True, slots=True)
class _Questions:
    """Questions with names, and those about derivatives of higher order or along vectors.

    Args:
        named: those with names.
        higher: the endings of order three and more that are answered.
        along: the numbers of open slots with which contractions are answered; None for all from one on.
    """

    named: frozenset[Question]
    higher: frozenset[Ending] = frozenset()
    along: frozenset[int] | None = frozenset()

    def __contains__(self, question: object) -> bool:
        if not isinstance(question, Question):
            return False
        question = replace(question, slots=None)
        if question.along:
            return question.order >= 1 if self.along is None else question.order in self.along
        return question in self.named or (question.order > 2 and question.ending in self.higher)


_EVERY = frozenset({Ending.DENSE, Ending.DIAGONAL, Ending.COORDINATES})

STRATEGIES: Mapping[str, Strategy] = {
    row.name: row
    for row in (
        Strategy(
            "legs-backward",
            "cores with legs pulled back to the leaves",
            _Questions(frozenset({HESSIAN, DIAGONAL, TRACE, HESSIAN_SPARSE, JACOBIAN, JACOBIAN_SPARSE}), _EVERY, None),
            legs_backward,
        ),
        Strategy(
            "legs-forward",
            "cores with legs pushed forward from the leaves",
            _Questions(frozenset({HESSIAN, DIAGONAL, TRACE, JACOBIAN, JACOBIAN_SPARSE}), _EVERY, None),
            legs_forward,
        ),
        Strategy(
            "columns",
            "a loop of derivatives along unit vectors",
            _Questions(
                frozenset({HESSIAN, DIAGONAL, TRACE, JACOBIAN}), frozenset({Ending.DENSE, Ending.DIAGONAL}), None
            ),
            columns,
        ),
        Strategy(
            "vector-first",
            "the tangent of the gradient along the vector",
            _Questions(frozenset({PRODUCT, QUADRATIC_FORM}), along=frozenset({0, 1})),
            vector_first,
        ),
        Strategy(
            "diagonal-only",
            "second derivatives kept on the diagonal of each node, cross terms dropped",
            frozenset({DIAGONAL_RECIPE}),
            recipe,
        ),
        Strategy(
            "rows",
            "a loop of gradients of the gradient's elements: the textbook's Hessian, for comparison",
            frozenset({HESSIAN}),
            rows,
            by_name=True,
        ),
    )
}
