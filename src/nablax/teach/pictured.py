"""From a graph with its numbers to boxes and edges; big graphs are folded by the user's source lines."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nablax.errors import ArgumentError
from nablax.graph.node import Node
from nablax.pictures.boxes import Drawn, Joined, draw
from nablax.pictures.svg import Picture, columns
from nablax.teach import cells
from nablax.teach.bodies import Body, bodies
from nablax.teach.chain import Chain
from nablax.teach.notation import value_text
from nablax.teach.numbers import Numbers
from nablax.teach.reading import Reading, line_of
from nablax.teach.tables import shown

# More boxes than this are folded, unless that is forbidden; wider texts are cut.
MOST_BOXES = 24
# Arguments of one reader up to this many keep a box each.
MOST_ARGUMENTS = 3
MOST_LETTERS = 30
MOST_ON_EDGE = 17
MEANING = ("not linear: opens a core", "carries a leg of a core")
FOLDS = ("auto", "none", "line", "function")


@dataclass(frozen=True, eq=False)
class Group:
    """Nodes that are drawn as one box.

    Args:
        nodes: in order of evaluation.
        name: the source line or function that they serve; empty for a single node.
    """

    nodes: tuple[Node, ...]
    name: str = ""


def picture(numbers: Numbers, beside: str | None, moved: Mapping[Node, Any] | None, fold: str) -> Picture:
    """Draw a graph.

    Args:
        numbers: the graph at its point.
        beside: "adjoints", "tangents" or None: what stands below the values.
        moved: the tangents.
        fold: one of FOLDS.

    Returns:
        The picture.

    Raises:
        ArgumentError: no such way to fold.
    """
    if fold not in FOLDS:
        raise ArgumentError(f"draw got fold={fold!r}; give one of {', '.join(map(repr, FOLDS))}.")
    reading = numbers.reading
    return _drawn(numbers, beside, moved, fold, reading.title, MEANING)


def _drawn(
    numbers: Numbers,
    beside: str | None,
    moved: Mapping[Node, Any] | None,
    fold: str,
    title: str,
    meaning: tuple[str, str] | None,
) -> Picture:
    reading = numbers.reading
    within = {body.node: body for body in bodies(numbers).values()}
    groups = folded(reading, fold, within)
    owner = {node: k for k, group in enumerate(groups) for node in group.nodes}
    boxes = {
        k: _box(numbers, group, not numbers.opening.isdisjoint(group.nodes), beside, moved, within)
        for k, group in enumerate(groups)
    }
    edges: dict[tuple[int, int], Joined] = {}
    chain = Chain(numbers)
    for node, own in owner.items():
        for source in dict.fromkeys(node.inputs):
            if source not in owner or owner[source] == own:
                continue
            moving = node in numbers.slopes and bool(source.depends & numbers.mask)
            leg = moving and node in numbers.carrying
            single = len(groups[own].nodes) == 1 and len(groups[owner[source]].nodes) == 1
            label = _slope(numbers, chain, node, source) if single and moving else ()
            before = edges.get((owner[source], own), Joined())
            edges[owner[source], own] = Joined(label, leg or before.leg)
    described = f"computational graph of {reading.title} with {len(boxes)} boxes"
    return draw(boxes, edges, title, described, meaning)


def _slope(numbers: Numbers, chain: Chain, node: Node, source: Node) -> tuple[str, ...]:
    """The local derivative along an edge: formula, and number where it says more."""
    jacobian = numbers.slopes.get(node)
    if jacobian is not None and source not in jacobian:
        return ("0",)
    text = cells.formula(chain.slope(node, source)).text
    value = numbers.slope_values.get((node, source))
    number = "" if value is None else value_text(value, 4)
    constant = not any(letter.isalpha() for letter in text)
    formula = () if columns(text) > MOST_ON_EDGE or (constant and number) else (text,)
    return (*formula, *((number,) if number else ()))


def _box(
    numbers: Numbers,
    group: Group,
    opens: bool,
    beside: str | None,
    moved: Mapping[Node, Any] | None,
    within: Mapping[Node, Body],
) -> Drawn:
    reading = numbers.reading
    result = not {reading.output, *reading.others}.isdisjoint(group.nodes)
    if len(group.nodes) > 1 and group.nodes[0] in reading.leaves:
        return Drawn((_cut(group.name), f"{len(group.nodes)} arguments"), given=True)
    if len(group.nodes) > 1:
        last = group.nodes[-1]
        count = f"{len(group.nodes)} operations"
        shape = _shape(last)
        return Drawn(
            (_cut(group.name), count, f"gives {cells.formula(reading.symbols[last]).text}: {shape}"),
            opens,
            result=result,
        )
    [node] = group.nodes
    given = node in reading.leaves
    symbol = cells.formula(reading.symbols[node])
    head = symbol.text if given else cells.equation(reading.symbols[node], reading.operations[node]).text
    value = value_text(numbers.values[node])
    lines = [_cut(head), value]
    chain = Chain(numbers)
    if beside == "adjoints" and node in numbers.pulled:
        lines.append(f"{cells.formula(chain.barred[node]).text} = {value_text(numbers.pulled[node])}")
    if beside == "tangents" and moved is not None and node in moved:
        lines.append(f"{cells.formula(chain.dotted[node]).text} = {value_text(moved[node])}")
    if node in within and within[node].turns:
        lines, inner = [*lines[:1], _repeated(within[node]), *lines[1:]], _inside(within[node])
        return Drawn(tuple(lines), opens, given, result, inner)
    return Drawn(tuple(lines), opens, given, result)


def _repeated(body: Body) -> str:
    """What stands above the picture of a turn: how many there are, and whose lines it draws."""
    name = _named(line_of(body.node), False) if line_of(body.node) else ""
    first = "" if body.is_branch or body.turns == 1 else "; the first"
    return f"{body.said}{first}" + (f" ({name})" if name else "")


def _inside(body: Body) -> Picture:
    """One turn, the first; or the case that is taken."""
    return _drawn(body.at(0), None, None, "auto", "", None)


def _shape(node: Node) -> str:
    """The shape of a node, in words."""
    return "×".join(map(str, node.shape)) or "a number"


def _cut(text: str) -> str:
    return text if columns(text) <= MOST_LETTERS else text[: MOST_LETTERS - 1] + "…"


# -- folding -----------------------------------------------------------------------------------------------


def folded(reading: Reading, fold: str, apart: Collection[Node] = ()) -> list[Group]:
    """The boxes of a graph.

    Args:
        reading: the graph.
        fold: "none" for one box per node; "line" for runs of nodes of one source line; "function" for runs of one
            function; "auto" for the first of these that gives few boxes
        apart: nodes that keep a box each: loops and branches, which are folded already

    Returns:
        Groups in the order of evaluation. A run is an interval of that order, so that no cycle arises.
    """
    nodes = shown(reading)
    if fold == "none" or (fold == "auto" and len(nodes) <= MOST_BOXES):
        return [Group((node,)) for node in nodes]
    found = _runs(reading, nodes, fold == "function", apart)
    if fold == "auto" and len(found) > MOST_BOXES:
        found = _runs(reading, nodes, True, apart)
    return found


def _runs(reading: Reading, nodes: Sequence[Node], by_function: bool, apart: Collection[Node]) -> list[Group]:
    """Runs of nodes of one name; arguments that only one run reads become one box."""
    runs: list[Group] = []
    for node in nodes:
        if node in reading.leaves:
            continue
        name = "" if node in apart else _named(line_of(node), by_function)
        if name and runs and runs[-1].name == name:
            runs[-1] = Group((*runs[-1].nodes, node), name)
        else:
            runs.append(Group((node,), name))
    readers: dict[Node, set[int]] = {}
    for place, group in enumerate(runs):
        for source in (x for node in group.nodes for x in node.inputs if x in reading.leaves):
            readers.setdefault(source, set()).add(place)
    together: dict[frozenset[int], list[Node]] = {}
    for leaf in reading.leaves:
        together.setdefault(frozenset(readers.get(leaf, ())), []).append(leaf)
    found = []
    for places, leaves in together.items():
        if len(places) == 1 and len(leaves) > MOST_ARGUMENTS:
            first, last = (cells.formula(reading.symbols[leaf]).text for leaf in (leaves[0], leaves[-1]))
            found.append(Group(tuple(leaves), f"{first}, …, {last}"))
        else:
            found += [Group((leaf,)) for leaf in leaves]
    return [*found, *(group if len(group.nodes) > 1 else Group(group.nodes) for group in runs)]


def _named(line: str, by_function: bool) -> str:
    """The function of a source line, with file and line behind; without the folder."""
    if not line:
        return "inside a library"
    place, _, function = line.rpartition(" (")
    function = function.rstrip(")").rpartition("<locals>.")[2]
    if by_function:
        return function
    file, number, _ = place.rsplit(":", 2)
    return f"{function}, {'line ' if file.startswith('<') else file.rpartition('/')[2] + ':'}{number}"
