"""A plan as a picture and as markup: what each candidate would take, and the steps that will run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape

from nablax.graph.cost import is_fusible
from nablax.graph.node import Node, reachable
from nablax.ops.kinds import Constant, Leaf
from nablax.pictures.boxes import Drawn, Joined, draw
from nablax.pictures.svg import ORANGE, Picture, columns, length, stacked, written
from nablax.pictures.table import Cell, Table
from nablax.planning.choose import Candidate, Choice

# Steps beyond these are folded by source line; texts beyond are cut.
MOST_STEPS = 24
MOST_LETTERS = 34
BAR = 220.0


def drawn(choice: Choice, what: Callable[[Node], str], seconds: Callable[[float], str]) -> Picture:
    """Draw a plan.

    Args:
        choice: candidates and choice.
        what: a node's step in words.
        seconds: a time in words.

    Returns:
        Bars of the estimates, and below them the steps of the chosen candidate in layers.
    """
    title = f"plan of the {choice.question.name}: {choice.chosen.strategy}"
    bars = _bars(choice, title, seconds)
    steps = _steps(choice, what)
    return stacked([bars, *([steps] if steps is not None else [])], title)


def _bars(choice: Choice, title: str, seconds: Callable[[float], str]) -> Picture:
    able = [c for c in choice.candidates if c.answer is not None]
    longest = max((c.cost.seconds for c in able), default=0.0) or 1.0
    left = max(length(c.strategy, 12) for c in choice.candidates) + 24
    body = [written(title, (12, 20), 13, anchor="start")]
    wide = length(title, 13) + 24
    y = 44.0
    for candidate in choice.candidates:
        chosen = candidate is choice.chosen
        mark = ' font-weight="bold"' if chosen else ""
        body.append(written(candidate.strategy, (left - 8, y), 12, anchor="end", more=mark))
        text, bar = _said(candidate, longest, seconds)
        colour = ORANGE if chosen else "currentColor"
        if bar:
            fill = f'fill="{colour}" fill-opacity="{0.9 if chosen else 0.35}"'
            body.append(f'<rect x="{left:.1f}" y="{y - 10:.1f}" width="{bar:.1f}" height="12" rx="2" {fill}/>')
        start = left + bar + (6 if bar else 0)
        body.append(written(text, (start, y), 11, anchor="start", more=' opacity="0.8"'))
        wide = max(wide, start + length(text, 11) + 12)
        y += 20
    return Picture(wide, y, "".join(body), title)


def _said(candidate: Candidate, longest: float, seconds: Callable[[float], str]) -> tuple[str, float]:
    if candidate.answer is None:
        return _cut("cannot: " + candidate.note), 0.0
    return seconds(candidate.cost.seconds), max(candidate.cost.seconds / longest * BAR, 1.5)


def _cut(text: str) -> str:
    return text if columns(text) <= MOST_LETTERS else text[: MOST_LETTERS - 1] + "…"


def _steps(choice: Choice, what: Callable[[Node], str]) -> Picture | None:
    """The nodes that are stored; elementwise work and products without a sum run inside them."""
    answer = choice.chosen.answer
    assert answer is not None
    outputs = [*answer.nodes.values(), *(answer.loops[0].products.values() if answer.loops else ())]
    kept = set(outputs)
    leaves = {leaf: k for k, leaf in enumerate(choice.problem.leaves)}
    listed = [
        node
        for node in reachable(outputs)
        if (isinstance(node.kind, Leaf) and node in leaves)
        or not (isinstance(node.kind, Leaf | Constant) or (is_fusible(node) and node not in kept))
    ]
    if not listed:
        return None
    group = _grouped(listed) if len(listed) > MOST_STEPS else {node: k for k, node in enumerate(listed)}
    boxes: dict[int, Drawn] = {}
    for key in dict.fromkeys(group.values()):
        own = [node for node in listed if group[node] == key]
        boxes[key] = _box(own, leaves, kept, what)
    edges: dict[tuple[int, int], Joined] = {}
    inside = set(listed)
    for node in listed:
        for source in _stored_sources(node, inside):
            if group[source] != group[node]:
                edges[group[source], group[node]] = Joined()
    loop = ""
    if answer.loops:
        loop = f"for each of {sum(x.size for x in answer.loops):,} directions, {choice.chosen.chunk} at once"
    return draw(boxes, edges, loop, "steps that will run", ("part of the answer", ""))


def _box(own: Sequence[Node], leaves: Mapping[Node, int], kept: set[Node], what: Callable[[Node], str]) -> Drawn:
    last = own[-1]
    shape = f"{last.dtype.name}[{','.join(map(str, last.shape))}]"
    if last in leaves:
        name = f"argument {leaves[last]}" if len(own) == 1 else f"{len(own)} arguments"
        return Drawn((name, shape) if len(own) == 1 else (name,), given=True)
    answer = any(node in kept for node in own)
    line = last.line.rpartition("/")[2].partition(" (")[0]
    if len(own) == 1:
        step, _, flops = what(last).partition(" (")
        sizes = f"{shape}, {flops[:-1]}" if flops else shape
        return Drawn(tuple(filter(None, (_cut(step), sizes, line))), answer)
    return Drawn((f"{len(own)} steps", shape, *((line,) if line else ())), answer)


def _grouped(listed: Sequence[Node]) -> dict[Node, int]:
    """Runs of one source line together, arguments together; runs beyond a count by equal shares."""
    found: dict[Node, int] = {}
    runs: list[list[Node]] = []
    for node in listed:
        if isinstance(node.kind, Leaf):
            found[node] = 0
        elif runs and runs[-1][0].line == node.line:
            runs[-1].append(node)
        else:
            runs.append([node])
    together = max(1, -(-len(runs) // (MOST_STEPS - 1)))
    for k, run in enumerate(runs):
        found |= dict.fromkeys(run, 1 + k // together)
    return found


def _stored_sources(node: Node, inside: set[Node]) -> Iterator[Node]:
    """The listed nodes that a node reads, through those that are computed inside it."""
    waiting, seen = list(node.inputs), set()
    while waiting:
        source = waiting.pop()
        if source in seen:
            continue
        seen.add(source)
        if source in inside:
            yield source
        else:
            waiting += source.inputs


def markup(heading: Sequence[str], rows: Sequence[Sequence[str]], chosen: int, steps: Sequence[str]) -> str:
    """A plan in HTML.

    Args:
        heading: sentences above the table.
        rows: the table, headings first.
        chosen: which of the rows was taken.
        steps: what will run.
    """

    def cell(text: str, row: int) -> Cell:
        return Cell(text, f"<b>{escape(text)}</b>" if row == chosen else "")

    cells = tuple(tuple(cell(text, k) for text in row) for k, row in enumerate(rows) if k)
    table = Table("", tuple(rows[0]), cells, numeric=frozenset(range(2, 7)))
    above = "".join(f'<p style="margin:.25em .7em">{escape(line)}</p>' for line in heading)
    listed = escape("\n".join(steps))
    below = f'<pre style="margin:.25em .7em;overflow-x:auto">{listed}</pre>'
    return f'<div class="nablax">{above}{table.html()}<details><summary>steps</summary>{below}</details></div>'
