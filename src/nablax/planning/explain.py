"""EXPLAIN: what was asked, the candidates, the choice and why, and the steps that will run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from nablax.contraction.rates import Rates
from nablax.graph.cost import cost_of, is_fusible, node_cost
from nablax.graph.node import Node, applied, reachable, selecting
from nablax.ops.kinds import (
    Constant,
    Contraction,
    Elementwise,
    IndexMap,
    Leaf,
    MatrixFunction,
    Opaque,
    Placeholder,
    Selection,
)
from nablax.pictures.svg import Picture
from nablax.planning.choose import Candidate, Choice, fixed_nodes
from nablax.planning.picture import drawn, markup
from nablax.planning.question import Ending
from nablax.planning.strategies import STRATEGIES

# Estimates closer than this are called a tie.
TIE = 1.05
LETTERS = "ijklmnopqrstuvwxyzabcdefgh"


@dataclass(frozen=True, eq=False)
class Plan:
    """How a question will be answered; printing it explains it.

    Args:
        choice: candidates and choice.
    """

    choice: Choice

    @property
    def strategy(self) -> str:
        """Name of the chosen strategy."""
        return self.choice.chosen.strategy

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All candidates, with their costs."""
        return self.choice.candidates

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps that will run, one line each."""
        answer = self.choice.chosen.answer
        assert answer is not None
        rates = self.choice.problem.rates
        lines = _steps(list(answer.nodes.values()), (), rates)
        for loop in answer.loops:
            products = list(loop.products.values())
            fixed = fixed_nodes(products, loop.moving)
            lines += _steps(fixed, (), rates)
            lines.append(f"for each of {loop.size} directions, {self.choice.chosen.chunk} at once:")
            lines += [f"    {line}" for line in _steps(products, fixed, rates)]
        return tuple(lines)

    def __str__(self) -> str:
        problem, chosen = self.choice.problem, self.choice.chosen
        leaves = ", ".join(f"{leaf.dtype.name}{list(leaf.shape)}" for leaf in problem.asked[:6])
        more = f", … {len(problem.asked) - 6} more" if len(problem.asked) > 6 else ""
        results = ", ".join(f"{node.dtype.name}{list(node.shape)}" for node in problem.outputs[:3])
        rows = self._rows
        lines = [
            f"question    {self.choice.question.name} of a function with result {results}",
            f"unknowns    {problem.size:,} in {leaves}{more}",
            *_bound(self.choice.memory_bytes),
            "",
            *_table(rows),
            "",
            *_counts(self.choice),
            f"chosen      {chosen.strategy}: {_meaning(chosen)}",
            f"because     {_reason(self.choice)}",
            "steps",
            *(f"  {line}" for line in self.steps),
        ]
        return "\n".join(line.rstrip() for line in lines)

    __repr__ = __str__

    @property
    def _rows(self) -> list[tuple[str, ...]]:
        """The table of candidates, headings first."""
        rows: list[tuple[str, ...]] = [
            ("", "strategy", "flops", "bytes moved", "peak bytes", "estimate", "preparation", "")
        ]
        return rows + [_row(candidate, candidate is self.choice.chosen) for candidate in self.choice.candidates]

    def draw(self) -> Picture:
        """The plan as a picture: bars of the candidates' estimates, the steps of the chosen one in layers.

        Returns:
            A picture: shows itself in notebooks, `svg` is its text, `save` writes a file.
        """
        rates = self.choice.problem.rates
        return drawn(self.choice, lambda node: _what(node, rates), _seconds)

    def _repr_html_(self) -> str:
        chosen = 1 + [c is self.choice.chosen for c in self.choice.candidates].index(True)
        heading = (
            f"{self.choice.question.name}: {self.strategy}, {_meaning(self.choice.chosen)}",
            f"because {_reason(self.choice)}",
        )
        return markup(heading, self._rows, chosen, self.steps)

    def _repr_svg_(self) -> str:
        return self.draw().svg


def _counts(choice: Choice) -> list[str]:
    """What repetition counts, O(m n^(k-1)), against what symmetry and structure leave."""
    order, answer, size = choice.question.order, choice.chosen.answer, choice.problem.size
    if choice.question.ending is Ending.PRODUCT or answer is None:
        return []
    by_rows = choice.chosen.strategy == "rows"
    if order < 3 and not by_rows:
        return []
    operations = cost_of(choice.problem.outputs, choice.problem.rates).flops
    what = "rows of the Hessian" if by_rows else "repetition"
    power = "n" if order == 2 else f"n^{order - 1}"
    lines = [
        f"counts      f takes m = {_number(operations)} operations; {what} O(m {power}): "
        f"m · {size:,}{'' if order == 2 else f'^{order - 1}'} = {_number(operations * float(size) ** (order - 1))}"
    ]
    repeated = next((c for c in choice.candidates if c.strategy == "columns" and c.answer is not None), None)
    if order >= 3 and repeated is not None and repeated.answer is not None:
        tuples = sum(loop.size for loop in repeated.answer.loops)
        each = repeated.cost.flops / max(tuples, 1)
        times = repeated.cost.flops / max(choice.chosen.cost.flops, 1.0)
        lines.append(
            f"node by node {_number(each)} for each tuple of directions: {_number(each * float(size) ** (order - 1))} "
            f"for all n^{order - 1}, {_number(repeated.cost.flops)} for the {tuples:,} that symmetry leaves"
            + (
                ""
                if choice.chosen is repeated
                else f"; the plan {_number(choice.chosen.cost.flops)}, {times:.3g} times fewer"
            )
        )
    if not by_rows:
        distinct = math.comb(size + order - 1, order)
        factors = " ".join(["n", *(f"(n+{k})" for k in range(1, order))])
        entries = f"entries     n^{order} = {size**order:,}; symmetry leaves {factors}/{order}! = {distinct:,}"
        if answer.entries is not None and answer.entries < size**order:
            entries += f"; structure leaves {answer.entries:,} before symmetry"
        lines.append(entries)
    return [*lines, ""]


def _bound(memory_bytes: float | None) -> list[str]:
    return [] if memory_bytes is None else [f"bound       {_number(memory_bytes)} bytes at once"]


def _meaning(candidate: Candidate) -> str:
    if candidate.strategy in STRATEGIES:
        return STRATEGIES[candidate.strategy].meaning + (f" ({candidate.note})" if candidate.note else "")
    return candidate.note


def _reason(choice: Choice) -> str:
    others = [c for c in choice.candidates if c.answer is not None and c is not choice.chosen]
    if not others:
        return "no other strategy answers this question here, or it was asked for by name"
    over = [c for c in others if choice.memory_bytes is not None and c.cost.peak > choice.memory_bytes]
    within = [c for c in others if c not in over]
    parts = []
    if within:
        calls = choice.problem.calls
        second = min(within, key=lambda c: c.total(calls))
        ratio = second.total(calls) / max(choice.chosen.total(calls), 1e-12)
        times = "one call" if calls == 1 else f"{calls:,} calls"
        if ratio < TIE:
            parts.append(f"it and the next, {second.strategy}, are a tie: {ratio:.2f} times its time over {times}")
        else:
            parts.append(f"the next, {second.strategy}, is estimated at {ratio:.3g} times its time over {times}")
    if over:
        names = ", ".join(dict.fromkeys(c.strategy for c in over))
        parts.append(f"{names} would not fit the memory bound")
    return "; ".join(parts)


def _row(candidate: Candidate, chosen: bool) -> tuple[str, ...]:
    mark = "→" if chosen else ""
    if candidate.answer is None:
        return (mark, candidate.strategy, "–", "–", "–", "–", "–", candidate.note)
    cost = candidate.cost
    return (
        mark,
        candidate.strategy,
        _number(cost.flops),
        _number(cost.moved),
        _number(cost.peak),
        _seconds(cost.seconds),
        _seconds(candidate.preparation),
        candidate.note,
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    left = {0, 1, len(widths) - 1}
    return [
        "  ".join(
            cell.ljust(w) if k in left else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _number(value: float) -> str:
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.0f}"


def _seconds(value: float) -> str:
    for limit, unit in ((1.0, "s"), (1e-3, "ms")):
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"


def _steps(outputs: Sequence[Node], given: Sequence[Node], rates: Rates) -> list[str]:
    """Nodes that are stored; elementwise work and products without a sum run inside them."""
    known, kept = set(given), set(outputs)
    lines = []
    for node in reachable(outputs):
        if node in known or isinstance(node.kind, Leaf | Constant):
            continue
        if is_fusible(node) and node not in kept:
            continue
        where = f"   # {node.line}" if node.line else ""
        lines.append(f"{_what(node, rates)} → {node.dtype.name}{list(node.shape)}{where}")
    hidden = max(len(lines) - 40, 0)
    return lines if not hidden else [*lines[:20], f"… {hidden} more …", *lines[-20:]]


def _what(node: Node, rates: Rates) -> str:
    kind = node.kind
    match kind:
        case Elementwise():
            names = [step.operation.name for step in kind.function.instructions]
            shown = " ".join(names[:6]) + (" …" if len(names) > 6 else "")
            return f"elementwise {shown}"
        case Contraction():
            spelled = ",".join("".join(LETTERS[k % 26] for k in labels) for labels in kind.inputs)
            output = "".join(LETTERS[k % 26] for k in kind.output)
            chosen, linear = selecting(node), applied(node)
            what = "contract" if chosen is None else "put at" if chosen[1] in kind.output else "read at"
            if linear is not None:
                what = linear[1].row.name
            return f"{what} {spelled}->{output} ({_number(node_cost(node, True, rates)[0])} flops)"
        case Selection():
            return "select positions"
        case IndexMap():
            return "move elements along static indices"
        case MatrixFunction():
            return kind.name
        case Opaque():
            return kind.name if kind.seconds else f"{kind.name} by JAX"  # its time is known where the work is ours
        case Leaf() | Constant() | Placeholder():
            return type(kind).__name__.lower()
        case _:
            assert_never(kind)
