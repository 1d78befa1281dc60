"""Build the candidates, cost them from shapes, take the cheapest that fits the memory bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nablax.errors import DifferentiationError, MemoryBoundError, StrategyError
from nablax.graph.graph import Node, reachable
from nablax.ops.kinds import Constant, Leaf
from nablax.planning.estimate import Cost, cost_of
from nablax.planning.question import Problem, Question
from nablax.planning.strategies import (
    STRATEGIES,
    Answer,
    Columns,
    Direct,
    columns,
    has_reverse_rule,
    legs_backward,
    legs_forward,
    vector_first,
)

# Where no bound is given, columns are computed in chunks that stay within a processor's cache.
CHUNK_BYTES = 16e6
MOST_CHUNK = 64
# Collapse sets tried: dense blocks where the joint rank is at least so many widths.
COLLAPSE_RATIOS = (1.0, 2.0, 3.0, 4.0, 6.0)
# A sweep of a large graph takes long; beyond this many nodes single collapse points are not tried.
REFINED_NODES = 600
MOST_FORWARD_PAIRS = 250


@dataclass(frozen=True)
class Candidate:
    """One way to answer, with what it would take.

    Args:
        strategy: its name.
        answer: its nodes; None if it cannot answer.
        cost: the estimate.
        note: what is particular about it, or why it cannot answer.
        chunk: directions at once, for a loop.
    """

    strategy: str
    answer: Answer | None
    cost: Cost
    note: str = ""
    chunk: int = 1


@dataclass(frozen=True, eq=False)
class Choice:
    """The candidates and the one that was taken."""

    problem: Problem
    question: Question
    candidates: tuple[Candidate, ...]
    chosen: Candidate
    memory_bytes: float | None


def choose(problem: Problem, question: Question, strategy: str, memory_bytes: float | None) -> Choice:
    """Plan the answer of a question.

    Args:
        problem: the traced function.
        question: what is asked.
        strategy: "auto", or the name of the strategy to take.
        memory_bytes: bound on the peak of intermediate arrays (bytes); None for no bound.

    Returns:
        The choice.

    Raises:
        StrategyError: the strategy does not exist or does not answer this question.
        MemoryBoundError: no candidate fits the bound.
        DifferentiationError: the function cannot be differentiated.
    """
    able = [name for name, (questions, _) in STRATEGIES.items() if question in questions]
    if strategy != "auto" and strategy not in able:
        listed = ", ".join(repr(name) for name in ("auto", *able))
        why = "does not answer it" if strategy in STRATEGIES else "does not exist"
        raise StrategyError(
            f"the question {question.value!r} was asked with strategy={strategy!r}, which {why}. Use one of: {listed}."
        )
    tried = able if strategy == "auto" else [strategy]
    candidates: list[Candidate] = []
    failure: DifferentiationError | None = None
    for name in tried:
        try:
            candidates += _build(problem, question, name, memory_bytes, alone=len(tried) == 1)
        except DifferentiationError as error:
            failure = error
            candidates.append(Candidate(name, None, Cost(), "JAX cannot differentiate an operation this way"))
    possible = [c for c in candidates if c.answer is not None]
    if not possible and failure is not None:
        raise failure
    if not possible:
        raise StrategyError(
            f"the question {question.value!r} was asked with strategy={strategy!r}, which cannot answer it for this "
            f"function: {candidates[0].note}. Use strategy='columns' or 'auto'."
        )
    best = min(possible, key=lambda c: c.cost.seconds)
    if (
        strategy == "auto"
        and question in (Question.DIAGONAL, Question.TRACE)
        and best.answer is not None
        and not best.answer.loops
    ):
        mixed = _mixed(problem, question, best, possible, memory_bytes)
        if mixed is not None:
            candidates.append(mixed)
            possible.append(mixed)
    fitting = [c for c in possible if memory_bytes is None or c.cost.peak <= memory_bytes]
    if not fitting:
        least = min(possible, key=lambda c: c.cost.peak)
        raise MemoryBoundError(
            f"the question {question.value!r} was asked with memory_bytes={memory_bytes:.3g}; the candidate that "
            f"holds least, {least.strategy!r}, needs about {least.cost.peak:.3g} bytes at once. Raise the bound to "
            "that, ask for less (of a Hessian a block, the diagonal or the trace), or use nablax.hvp."
        )
    chosen = min(fitting, key=lambda c: c.cost.seconds)
    return Choice(problem, question, tuple(candidates), chosen, memory_bytes)


def _build(
    problem: Problem, question: Question, name: str, memory_bytes: float | None, *, alone: bool
) -> list[Candidate]:
    if name.startswith("legs") and has_reverse_rule(problem):
        return [Candidate(name, None, Cost(), "a custom reverse rule need not give a symmetric Hessian")]
    match name:
        case "legs-backward":
            return _backward(problem, question)
        case "legs-forward":
            return _forward(problem, question, alone=alone)
        case "vector-first":
            return [_direct("vector-first", vector_first(problem, question))]
        case "columns":
            return [_looped(problem, question, columns(problem, question), memory_bytes)]
        case _:
            raise AssertionError(name)


def _direct(name: str, answer: Answer, note: str = "") -> Candidate:
    return Candidate(name, answer, cost_of(list(answer.direct.nodes.values())), note)


def _forward(problem: Problem, question: Question, *, alone: bool) -> list[Candidate]:
    """Forward legs carry one leg per node and leaf; where these are many, a network's weights, they never win."""
    pairs = len(problem.asked) * sum(1 for node in reachable(problem.outputs) if node.depends)
    if pairs > MOST_FORWARD_PAIRS and not alone:
        return [Candidate("legs-forward", None, Cost(), f"not built: {pairs} pairs of node and leaf")]
    return [_direct("legs-forward", legs_forward(problem, question))]


def _backward(problem: Problem, question: Question) -> list[Candidate]:
    """Backward legs without dense blocks, and with the set of dense blocks that the cost model finds."""
    plain = _direct("legs-backward", legs_backward(problem, question), "no dense block")
    assert plain.answer is not None
    points = plain.answer.points
    if not points:
        return [plain]
    tried: dict[frozenset[Node], Candidate] = {frozenset(): plain}

    def attempt(collapse: frozenset[Node]) -> Candidate:
        if collapse not in tried:
            answer = legs_backward(problem, question, collapse)
            note = f"dense blocks at {answer.collapsed} of {len(points)} nodes"
            tried[collapse] = _direct("legs-backward", answer, note)
        return tried[collapse]

    best = frozenset[Node]()
    for ratio in COLLAPSE_RATIOS:
        collapse = frozenset(p.node for p in points if p.rank >= ratio * p.width)
        if attempt(collapse).cost.seconds < tried[best].cost.seconds:
            best = collapse
    if len(reachable(list(plain.answer.direct.nodes.values()))) <= REFINED_NODES:
        for point in points:
            flipped = best ^ {point.node}
            if attempt(flipped).cost.seconds < tried[best].cost.seconds:
                best = flipped
    return [plain] if not best else [plain, tried[best]]


def loop_cost(loop: Columns) -> tuple[Cost, Cost, list[Node]]:
    """Cost of what is computed once, cost per direction, and the nodes that are computed once."""
    products = list(loop.products.values())
    fixed = fixed_nodes(products, loop.direction)
    return cost_of(fixed), cost_of(products, set(fixed)), fixed


def fixed_nodes(outputs: Sequence[Node], direction: Node) -> list[Node]:
    """Nodes that do not change with the direction and are read by nodes that do."""
    moving: set[Node] = {direction}
    fixed: dict[Node, None] = {}
    for node in reachable(outputs):
        if any(source in moving for source in node.inputs):
            moving.add(node)
            fixed.update(dict.fromkeys(source for source in node.inputs if source not in moving))
    fixed.update(dict.fromkeys(node for node in outputs if node not in moving))
    return list(fixed)


def _looped(problem: Problem, question: Question, answer: Answer, memory_bytes: float | None) -> Candidate:
    total = Cost()
    chunk = MOST_CHUNK
    if question is Question.HESSIAN:
        kept = [(loop.size, node) for loop in answer.loops for node in loop.products.values()]
    else:
        kept = [(1, leaf) for leaf in problem.asked]
    results = sum(count * node.size * node.dtype.itemsize for count, node in kept)
    for loop in answer.loops:
        once, each, fixed = loop_cost(loop)
        held = sum(x.size * x.dtype.itemsize for x in fixed if not isinstance(x.kind, Leaf | Constant))
        room = CHUNK_BYTES if memory_bytes is None else min(CHUNK_BYTES, memory_bytes - once.peak - held - results)
        chunk = min(chunk, max(int(room / max(each.peak, 1.0)), 1), max(loop.size, 1))
        total = total.then(once).then(each.times(loop.size))
        total = replace(total, peak=max(total.peak, once.peak + held + each.peak * chunk))
    total = replace(total, peak=total.peak + results)
    return Candidate("columns", answer, total, f"{chunk} direction{'' if chunk == 1 else 's'} at once", chunk)


def _mixed(
    problem: Problem,
    question: Question,
    best: Candidate,
    possible: Sequence[Candidate],
    memory_bytes: float | None,
) -> Candidate | None:
    """Columns for the leaves where they are cheaper, the best direct answer for the others."""
    looped = next((c for c in possible if c.answer is not None and c.answer.loops), None)
    if looped is None or looped.answer is None or best.answer is None or len(problem.asked) < 2:
        return None
    nodes = dict(best.answer.direct.nodes)
    whole = cost_of(list(nodes.values())).seconds
    moved: list[int] = []
    for loop in sorted(looped.answer.loops, key=lambda one: one.size):
        without = [node for (k,), node in nodes.items() if k != loop.leaf]
        if not without:
            break
        once, each, _ = loop_cost(loop)
        rest = cost_of(without).seconds
        if whole - rest > once.seconds + each.times(loop.size).seconds:
            del nodes[(loop.leaf,)]
            moved.append(loop.leaf)
            whole = rest
    if not moved:
        return None
    loops = tuple(loop for loop in looped.answer.loops if loop.leaf in moved)
    answer = Answer(Direct(nodes), loops, best.answer.points, best.answer.collapsed)
    part = _looped(problem, question, Answer(Direct({}), loops), memory_bytes)
    cost = cost_of(list(nodes.values())).then(part.cost)
    note = f"columns for {len(moved)} of {len(problem.asked)} leaves, {best.strategy} for the others"
    return Candidate("mixed", answer, cost, note, part.chunk)
