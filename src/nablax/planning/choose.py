"""Build the candidates, cost them from shapes, take the cheapest that fits the memory bound."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from nablax.errors import DifferentiationError, MemoryBoundError, StrategyError
from nablax.graph.cost import Cost, cost_of, is_given, needed, node_cost, stored_among
from nablax.graph.node import Node, map_of, reachable
from nablax.ops.kinds import Selection
from nablax.planning.answer import Answer, Columns, Refusal, Slot, size_in_bytes
from nablax.planning.question import Ending, Problem, Question
from nablax.planning.strategies import STRATEGIES
from nablax.sweeps.steps import Rule

# Where no bound is given, columns are computed in chunks that stay within a processor's cache.
CHUNK_BYTES = 16e6
MOST_CHUNK = 64


@dataclass(frozen=True)
class Candidate:
    """One way to answer, with what it would take.

    Args:
        strategy: its name.
        answer: its nodes; None if it cannot answer.
        cost: the estimate.
        note: what is particular about it, or why it cannot answer.
        chunk: directions at once, for a loop.
        preparation: estimated seconds of lowering and compiling, once.
    """

    strategy: str
    answer: Answer | None
    cost: Cost
    note: str = ""
    chunk: int = 1
    preparation: float = 0.0

    def total(self, calls: int) -> float:
        """Seconds of preparation and of so many calls."""
        return self.preparation + calls * self.cost.seconds


@dataclass(frozen=True, eq=False)
class Choice:
    """The candidates and the one that was taken."""

    problem: Problem
    question: Question
    candidates: tuple[Candidate, ...]
    chosen: Candidate
    memory_bytes: float | None
    slack: float = 1.0


def choose(
    problem: Problem, question: Question, strategy: str, memory_bytes: float | None, slack: float = 1.0
) -> Choice:
    """Plan the answer of a question.

    Args:
        problem: the traced function.
        question: what is asked.
        strategy: "auto", or the name of the strategy to take.
        memory_bytes: bound on the peak of intermediate arrays (bytes); None for no bound.
        slack: how many bounds an estimate may be; more than 1 where the compiled program is held to the bound.

    Returns:
        The choice.

    Raises:
        StrategyError: the strategy does not exist or does not answer this question.
        MemoryBoundError: no candidate fits the bound.
        DifferentiationError: the function cannot be differentiated.
    """
    able = [row.name for row in STRATEGIES.values() if question in row.questions]
    if strategy != "auto" and strategy not in able:
        listed = ", ".join(repr(name) for name in ("auto", *able))
        why = "does not answer it" if strategy in STRATEGIES else "does not exist"
        raise StrategyError(
            f"the question {question.name!r} was asked with strategy={strategy!r}, which {why}. Use one of: {listed}."
        )
    tried = [name for name in able if not STRATEGIES[name].by_name] if strategy == "auto" else [strategy]
    candidates: list[Candidate] = []
    failure: DifferentiationError | None = None
    for name in tried:
        try:
            candidates.append(_candidate(problem, question, name, memory_bytes))
        except DifferentiationError as error:
            failure = error
            candidates.append(Candidate(name, None, Cost(), "JAX cannot differentiate an operation this way"))
    possible = [c for c in candidates if c.answer is not None]
    if not possible and failure is not None:
        raise failure
    if not possible:
        reasons = "; ".join(dict.fromkeys(c.note for c in candidates))
        others = [f"strategy={name!r}" for name in ("columns", "auto") if name in ("auto", *able) and name not in tried]
        raise StrategyError(
            f"the question {question.name!r} was asked with strategy={strategy!r}, which cannot answer it for this "
            f"function: {reasons}. "
            + (
                f"Use {' or '.join(others)}."
                if strategy != "auto"
                else "Ask for the dense answer, or for its products with vectors (nablax.hvp, nablax.directional)."
            )
        )
    best = min(possible, key=lambda c: c.total(problem.calls))
    if strategy == "auto" and question.ending in (Ending.DIAGONAL, Ending.TRACE):
        mixed = _mixed(problem, best, possible, memory_bytes)
        if mixed is not None:
            candidates.append(mixed)
            possible.append(mixed)
    return Choice(
        problem,
        question,
        tuple(candidates),
        _fitting(problem, question, possible, memory_bytes, slack),
        memory_bytes,
        slack,
    )


def _fitting(
    problem: Problem, question: Question, possible: Sequence[Candidate], memory_bytes: float | None, slack: float
) -> Candidate:
    fitting = [c for c in possible if memory_bytes is None or c.cost.peak <= slack * memory_bytes]
    if not fitting:
        assert memory_bytes is not None
        raise nothing_fits(question, possible, memory_bytes)
    return min(fitting, key=lambda c: c.total(problem.calls))


def nothing_fits(question: Question, possible: Sequence[Candidate], bound: float) -> MemoryBoundError:
    """The refusal of a question whose candidates all hold more than a bound (bytes)."""
    least = min(possible, key=lambda c: c.cost.peak)
    return MemoryBoundError(
        f"the question {question.name!r} was asked with memory_bytes={bound:.3g}; the candidate that "
        f"holds least, {least.strategy!r}, needs about {least.cost.peak:.3g} bytes at once. Raise the bound to "
        "that, ask for less (of a Hessian a block, the diagonal or the trace), or use nablax.hvp."
    )


def _directions(chunk: int) -> str:
    return f"{chunk} direction{'' if chunk == 1 else 's'} at once"


def without(choice: Choice, held: float) -> Choice:
    """The next best choice after the compiled program of the chosen candidate was found to hold more than the bound.

    Args:
        choice: the choice.
        held: bytes that the chosen candidate's program holds.

    Raises:
        MemoryBoundError: no other candidate fits.
    """
    chosen, bound = choice.chosen, choice.memory_bytes
    assert bound is not None
    left = [c for c in choice.candidates if c is not chosen]
    if chosen.chunk > 1:
        smaller = min(max(int(chosen.chunk * 0.8 * bound / held), 1), chosen.chunk - 1)
        left.append(replace(chosen, chunk=smaller, note=_directions(smaller)))
    possible = [c for c in left if c.answer is not None]
    if not any(c.cost.peak <= choice.slack * bound for c in possible):
        measured = replace(chosen, cost=replace(chosen.cost, peak=held))
        raise nothing_fits(choice.question, [*possible, measured], bound)
    best = _fitting(choice.problem, choice.question, possible, bound, choice.slack)
    return replace(choice, candidates=tuple(left), chosen=best)


def _candidate(problem: Problem, question: Question, name: str, memory_bytes: float | None) -> Candidate:
    answer = STRATEGIES[name].build(problem, question)
    if isinstance(answer, Refusal):
        return Candidate(name, None, Cost(), answer.reason)
    if answer.loops:
        return _looped(problem, question, name, answer, memory_bytes)
    cost = cost_of(list(answer.nodes.values()), problem.rates)
    return Candidate(name, answer, cost, _said(answer), 1, cost.nodes * problem.rates.compile_seconds)


def _said(answer: Answer) -> str:
    if not answer.exact:
        return "not the diagonal here: cross terms are dropped"
    if not answer.steps:
        return ""
    begun = sum(Rule.RESTART in step.rules for step in answer.steps)
    blocks = sum(Rule.SUM in step.rules for step in answer.steps)
    if begun:
        return f"rows begin anew at {begun} of {len(answer.steps)} nodes"
    return "no dense block" if not blocks else f"dense blocks at {blocks} of {len(answer.steps)} nodes"


def loop_cost(problem: Problem, answer: Answer, loop: Columns) -> tuple[Cost, Cost, float]:
    """Cost of what is computed once, cost per direction, and the bytes held from one direction to the next."""
    moving = {node for x in answer.loops for node in x.moving} if answer.likeness else loop.moving
    products = list(answer.likeness or loop.products.values())
    fixed = fixed_nodes(products, moving)
    kept = set(fixed)
    once = cost_of(fixed, problem.rates)
    each = cost_of(products, problem.rates, lambda node: node in kept or is_given(node))
    return once, each, size_in_bytes(x for x in fixed if not is_given(x))


def fixed_nodes(outputs: Sequence[Node], directions: Collection[Node]) -> list[Node]:
    """Nodes that do not change with the directions and are read by nodes that do; of a selection its positions."""
    moving: set[Node] = set(directions)
    fixed: dict[Node, None] = {}
    for node in reachable(outputs):
        if any(source in moving for source in node.inputs):
            moving.add(node)
            still = (source for source in node.inputs if source not in moving and map_of(source) is None)
            fixed.update(dict.fromkeys(x.inputs[0] if isinstance(x.kind, Selection) else x for x in still))
    fixed.update(dict.fromkeys(node for node in outputs if node not in moving))
    return list(fixed)


def _looped(problem: Problem, question: Question, name: str, answer: Answer, memory_bytes: float | None) -> Candidate:
    total = Cost()
    chunk = MOST_CHUNK
    if question.ending is Ending.DENSE:
        heights = [*problem.outputs]
        if question.order > 2:
            results = int(size_in_bytes(heights) * float(problem.size) ** question.order)
        elif question.order == 2:
            rows = sum(problem.asked[a].size for a in problem.row_leaves)
            results = sum(size_in_bytes([x]) for x in heights) * rows * sum(loop.size for loop in answer.loops)
        else:
            results = sum(size_in_bytes([x]) for x in heights) * sum(loop.size for loop in answer.loops)
    else:
        results = size_in_bytes(problem.asked)
    costs: list[tuple[Cost, Cost, float]] = []
    for loop in answer.loops:
        if not costs or not answer.likeness:
            costs.append(loop_cost(problem, answer, loop))
        once, each, held = costs[-1]
        room = CHUNK_BYTES if memory_bytes is None else min(CHUNK_BYTES, memory_bytes - once.peak - held - results)
        chunk = min(chunk, max(int(room / max(each.peak, 1.0)), 1), max(loop.size, 1))
        total = total.then(once).then(each.times(loop.size))
        total = replace(total, peak=max(total.peak, once.peak + held + each.peak * chunk))
    total = replace(total, peak=total.peak + results)
    note = _directions(chunk)
    return Candidate(name, answer, total, note, chunk, total.nodes * problem.rates.compile_seconds)


def _mixed(
    problem: Problem, best: Candidate, possible: Sequence[Candidate], memory_bytes: float | None
) -> Candidate | None:
    """Columns for the leaves where they are cheaper, the best direct answer for the others."""
    looped = next((c for c in possible if c.answer is not None and c.answer.loops), None)
    if looped is None or looped.answer is None or best.answer is None or best.answer.loops or len(problem.asked) < 2:
        return None
    nodes = dict(best.answer.nodes)
    own = _own_seconds(problem, nodes)
    moved: list[int] = []
    last: tuple[Cost, Cost, float] | None = None
    for loop in sorted(looped.answer.loops, key=lambda one: one.size):
        if len(moved) + 1 == len(nodes):
            break
        last = last if last is not None and looped.answer.likeness else loop_cost(problem, looped.answer, loop)
        once, each, _ = last
        if own[(loop.leaf,)] > once.seconds + each.times(loop.size).seconds:
            moved.append(loop.leaf)
    if not moved:
        return None
    direct = {slot: node for slot, node in nodes.items() if slot[0] not in moved}
    loops = tuple(loop for loop in looped.answer.loops if loop.leaf in moved)
    answer = Answer(direct, loops, steps=best.answer.steps)
    part = _looped(problem, Question("diagonal", 2, Ending.DIAGONAL), "columns", Answer(loops=loops), memory_bytes)
    cost = cost_of(list(direct.values()), problem.rates).then(part.cost)
    note = f"columns for {len(moved)} of {len(problem.asked)} leaves, {best.strategy} for the others"
    return Candidate("mixed", answer, cost, note, part.chunk, cost.nodes * problem.rates.compile_seconds)


def _own_seconds(problem: Problem, slots: Mapping[Slot, Node]) -> dict[Slot, float]:
    """For each slot the time of the nodes that serve it alone."""
    outputs = list(slots.values())
    nodes = needed(outputs, is_given)
    stored = stored_among(nodes, set(outputs))
    serving: dict[Node, int] = {}
    for k, node in enumerate(outputs):
        serving[node] = serving.get(node, 0) | 1 << k
    alone = dict.fromkeys(range(len(outputs)), 0.0)
    for node in reversed(nodes):
        bits = serving.get(node, 0)
        for source in node.inputs:
            serving[source] = serving.get(source, 0) | bits
        if bits & (bits - 1) == 0 and bits:
            alone[bits.bit_length() - 1] += node_cost(node, node in stored, problem.rates)[2]
    return {slot: alone[k] for k, slot in enumerate(slots)}
