"""The ways to answer a question; each builds the nodes of its answer on the problem's graph.

An answer is one part per slot: for a Hessian (output, row leaf, column leaf), for a diagonal, a trace's share or a
product (leaf,), for a quadratic form ().
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nablax.contraction.index import fresh
from nablax.contraction.term import Factor, Term, join_sides, sum_side
from nablax.graph.contraction_rows import relabelled
from nablax.graph.graph import Graph, Node, NodeTerm, reachable
from nablax.planning.estimate import cost_of
from nablax.planning.question import Problem, Question
from nablax.sweeps.common_factors import gathered
from nablax.sweeps.diagonal_only import diagonal_recipe
from nablax.sweeps.forward import forward_legs, tangents
from nablax.sweeps.opaque_rules import has_reverse_rule_only
from nablax.sweeps.second_order import CollapsePoint, SecondOrder, Share, adjoints, reverse, second_order

Slot = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Direct:
    """Slots answered by nodes, all evaluated at once."""

    nodes: Mapping[Slot, Node]


@dataclass(frozen=True, eq=False)
class Columns:
    """Slots answered by a loop over the unit directions of one leaf.

    Args:
        leaf: position among the asked leaves.
        direction: the leaf that holds the direction.
        products: for each slot the node of the derivative along the direction; only element `i` of it is
            kept for direction `i` where the question is about the diagonal.
        size: number of directions.
    """

    leaf: int
    direction: Node
    products: Mapping[Slot, Node]
    size: int


@dataclass(frozen=True, eq=False)
class Answer:
    """Parts that together fill every slot."""

    direct: Direct
    loops: tuple[Columns, ...] = ()
    points: tuple[CollapsePoint, ...] = ()
    collapsed: int = 0


# -- legs ------------------------------------------------------------------------------------------


def legs_backward(problem: Problem, question: Question, collapse: Iterable[Node] = ()) -> Answer:
    """Legs from the cores back to the leaves, with dense blocks at the nodes of `collapse`."""
    chosen = frozenset(collapse)
    pairs = {(problem.asked[a], problem.asked[b]) for a in problem.row_leaves for b in problem.column_leaves}

    def needed(a: Node, b: Node) -> bool:
        return (a, b) in pairs or (b, a) in pairs if question is Question.HESSIAN else a is b

    nodes: dict[Slot, Node] = {}
    points: list[CollapsePoint] = []
    for number, output in enumerate(problem.outputs):
        swept = second_order(problem.graph, output, problem.asked, needed, chosen)
        points += swept.points
        nodes |= _contracted(problem, question, swept, number)
    collapsed = sum(point.node in chosen for point in points)
    return Answer(Direct(nodes), (), tuple(points), collapsed)


def legs_forward(problem: Problem, question: Question) -> Answer:
    """Legs from the leaves to the cores: best where leaves are small and layers wide."""
    nodes: dict[Slot, Node] = {}
    for number, output in enumerate(problem.outputs):
        pulled = adjoints(problem.graph, output, problem.asked)
        swept = forward_legs(problem.graph, output, problem.asked, pulled)
        nodes |= _contracted(problem, question, swept, number)
    return Answer(Direct(nodes))


def _contracted(problem: Problem, question: Question, swept: SecondOrder, number: int) -> dict[Slot, Node]:
    graph, asked = problem.graph, problem.asked
    opened = problem.outputs[number].shape
    found: dict[Slot, Node] = {}
    if question is not Question.HESSIAN:
        return {(a,): _own(graph, question, swept, leaf) for a, leaf in enumerate(asked)}
    for a in problem.row_leaves:
        for b in problem.column_leaves:
            row, column = asked[a], asked[b]
            if (number, b, a) in found and a != b:
                found[number, a, b] = graph.cast(
                    _turned(graph, found[number, b, a], len(opened), len(column.shape)), row.dtype
                )
                continue
            terms = swept.terms(row, column)
            shape = opened + row.shape + column.shape
            parts = []
            for share in Share:
                own = [term for term, other in terms if other is share]
                if own:
                    symmetric = share is Share.SYMMETRIC and not opened
                    parts.append(summed(graph, own, shape, row.dtype, symmetric=symmetric))
                if own and share is Share.HALF:
                    parts.append(_turned(graph, parts[-1], len(opened), len(row.shape)))
            if not parts:
                parts = [graph.full(0.0, shape, row.dtype)]
            found[number, a, b] = graph.add(parts)
    return found


def _own(graph: Graph, question: Question, swept: SecondOrder, leaf: Node) -> Node:
    """Diagonal of a leaf's own block, or its sum."""
    terms: list[NodeTerm] = []
    for term, share in swept.terms(leaf, leaf):
        joined = join_sides(term, 1, 2)
        if joined is None:
            continue
        joined = joined.replace(coefficient=joined.coefficient * (2.0 if share is Share.HALF else 1.0))
        terms.append(sum_side(joined, 1) if question is Question.TRACE else joined)
    return summed(graph, terms, () if question is Question.TRACE else leaf.shape, leaf.dtype)


def summed(
    graph: Graph, terms: Sequence[NodeTerm], shape: Sequence[int], dtype: Any, *, symmetric: bool = False
) -> Node:
    """The sum of terms, with common factors taken out where that is cheaper.

    Args:
        graph: makes the nodes.
        terms: the terms.
        shape: shape of the sum.
        dtype: dtype of the sum.
        symmetric: whether each term equals its transpose.

    Returns:
        One node.
    """
    if not terms:
        return graph.full(0.0, shape, dtype)
    apart = graph.add([graph.multiply(term, dtype, symmetric=symmetric) for term in terms])
    together = gathered(graph, terms, dtype)
    if len(together) == len(terms):
        return apart
    # a sum of symmetric terms is symmetric, but its parts need not be
    whole = graph.add([graph.multiply(t, dtype, symmetric=symmetric and len(together) == 1) for t in together])
    return whole if cost_of([whole]).seconds < cost_of([apart]).seconds else apart


def _turned(graph: Graph, block: Node, opened: int, rows: int) -> Node:
    """Row axes and column axes of a block exchanged."""
    axes = fresh(block.shape)
    first, second = axes[opened : opened + rows], axes[opened + rows :]
    return relabelled(graph, block, axes, (*axes[:opened], *second, *first))


# -- vector first ----------------------------------------------------------------------------------


def gradients(problem: Problem, output: Node) -> list[Node]:
    """Derivatives of one output, axes (output, leaf)."""
    terms = reverse(problem.graph, output, problem.asked)
    return [problem.graph.sum_of(terms[leaf], output.shape + leaf.shape, leaf.dtype) for leaf in problem.asked]


def directions(problem: Problem) -> list[Node]:
    """One more leaf per asked leaf, which holds a direction."""
    first = len(problem.leaves)
    return [problem.graph.leaf(first + k, leaf.shape, leaf.dtype) for k, leaf in enumerate(problem.asked)]


def vector_first(problem: Problem, question: Question) -> Answer:
    """The R-operator (Pearlmutter 1994): the tangent of the gradient; twice the tangent for a quadratic form."""
    [output] = problem.outputs
    moved = dict(zip(problem.asked, directions(problem), strict=True))
    if question is Question.QUADRATIC_FORM and not has_reverse_rule(problem):
        [first] = tangents(problem.graph, [output], moved)
        return Answer(Direct({(): tangents(problem.graph, [first], moved)[0]}))
    products = tangents(problem.graph, gradients(problem, output), moved)
    if question is Question.PRODUCT:
        return Answer(Direct({(k,): node for k, node in enumerate(products)}))
    parts = []
    for leaf, product in zip(problem.asked, products, strict=True):
        axes = fresh(leaf.shape)
        factors = (Factor(moved[leaf], axes), Factor(product, axes))
        parts.append(problem.graph.multiply(Term(1.0, factors, ((),)), output.dtype))
    return Answer(Direct({(): problem.graph.add(parts)}))


def has_reverse_rule(problem: Problem) -> bool:
    """Whether a custom reverse rule stands between the outputs and the leaves asked about.

    Such a rule and the derivative of its forward pass may differ (straight-through estimators do). Then the Hessian is
    the derivative of the gradient, as in JAX, and no product L' M L with equal legs on both sides.
    """
    mask = 0
    for leaf in problem.asked:
        mask |= leaf.depends
    return any(node.depends & mask and has_reverse_rule_only(node) for node in reachable(problem.outputs))


# -- columns ---------------------------------------------------------------------------------------


def columns(problem: Problem, question: Question) -> Answer:
    """Hessian-vector products with unit vectors, in a loop: the total fallback."""
    held = directions(problem)
    everything = question is Question.HESSIAN
    chosen = problem.column_leaves if everything else range(len(problem.asked))
    slopes = [gradients(problem, output) for output in problem.outputs]
    loops = []
    for b in chosen:
        direction = held[b]
        products: dict[Slot, Node] = {}
        for number, own in enumerate(slopes):
            wanted = list(problem.row_leaves) if everything else [b]
            moved = tangents(problem.graph, [own[a] for a in wanted], {problem.asked[b]: direction})
            for a, node in zip(wanted, moved, strict=True):
                products[(number, a, b) if everything else (b,)] = node
        loops.append(Columns(b, direction, products, problem.asked[b].size))
    return Answer(Direct({}), tuple(loops))


# -- the textbook recipe ---------------------------------------------------------------------------


def diagonal_only(problem: Problem) -> tuple[Answer, bool]:
    """The recipe that keeps only diagonals of second derivatives in the backward pass (Becker and LeCun 1988).

    Returns:
        The answer, and whether it is exact on this graph: no cross term had to be dropped.
    """
    [output] = problem.outputs
    kept, exact = diagonal_recipe(problem.graph, output, problem.asked)
    return Answer(Direct({(k,): node for k, node in enumerate(kept)})), exact


Builder = Callable[[Problem, Question], Answer]

STRATEGIES: Mapping[str, tuple[frozenset[Question], str]] = {
    "legs-backward": (
        frozenset({Question.HESSIAN, Question.DIAGONAL, Question.TRACE}),
        "cores with legs pulled back to the leaves",
    ),
    "legs-forward": (
        frozenset({Question.HESSIAN, Question.DIAGONAL, Question.TRACE}),
        "cores with legs pushed forward from the leaves",
    ),
    "columns": (
        frozenset({Question.HESSIAN, Question.DIAGONAL, Question.TRACE}),
        "a loop of Hessian-vector products with unit vectors",
    ),
    "vector-first": (
        frozenset({Question.PRODUCT, Question.QUADRATIC_FORM}),
        "the tangent of the gradient along the vector",
    ),
}
