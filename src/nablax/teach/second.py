"""Second order, spelled out: which core, which legs, and what the textbooks' recipe for the diagonal leaves out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from nablax.contraction.term import elements
from nablax.graph.node import Node, NodeTerm
from nablax.ops.kinds import Contraction, Elementwise
from nablax.pictures.table import Cell, Table
from nablax.printing.expression import Expression
from nablax.sweeps.frontier import Core, Form
from nablax.teach import cells
from nablax.teach.chain import Chain
from nablax.teach.notation import scalar_function, symbol, times
from nablax.teach.numbers import Numbers, Opened
from nablax.teach.tables import written

EXACT = "The recipe ∂²L/∂w² = Σ over nodes of v̄ φ″ (∂u/∂w)² drops nothing here."
DROPPED = (
    "The recipe keeps squares along single paths: what couples two inputs, and products of two paths, it drops (red)."
)
# More arguments than this would make more columns than a page holds.
MOST_INPUTS = 3
MOST_TRACES = 6
BLANK = Cell("")


def second_order_table(numbers: Numbers) -> Table:
    """The cores of a graph with their legs, and what each adds to the Hessian.

    Args:
        numbers: the graph at its point.

    Returns:
        For numbers a row per entry of a core with its contributions, then the Hessian and the recipe's diagonal; for
        arrays a row per entry with shapes, how many numbers it holds, and what it adds to the traces.
    """
    numbers.need_one_number("second_order_table")
    if numbers.reading.is_scalar:
        return _of_numbers(numbers)
    return _of_arrays(numbers)


def entry(numbers: Numbers, opened: Opened, form: Form) -> Expression:
    """An entry of a core as a formula: the adjoint times a second partial."""
    reading, node = numbers.reading, opened.node
    bar = Chain(numbers).barred[node]
    row, column = (opened.inputs[slot] for slot in form.slots)
    kind = node.kind
    if isinstance(kind, Elementwise):
        second = kind.function.partial(node.inputs.index(row)).partial(node.inputs.index(column))
        return times(bar, scalar_function(second, [reading.symbols[x] for x in node.inputs]))
    if isinstance(kind, Contraction):
        others = [reading.symbols[x] for k, x in enumerate(node.inputs) if x is not row and x is not column]
        return times(bar, *others)
    called = reading.called
    name = f"∂²{called[node]}/∂{called[row]}∂{called.get(column, '·')}"
    return times(bar, symbol(name, row.shape))


# -- numbers -----------------------------------------------------------------------------------------------


def _of_numbers(numbers: Numbers) -> Table:
    reading = numbers.reading
    pairs = [(a, b) for k, a in enumerate(reading.inputs) for b in reading.inputs[k:]]
    if len(reading.inputs) > MOST_INPUTS:
        pairs = [(a, a) for a in reading.inputs]
    diagonal = [k for k, (a, b) in enumerate(pairs) if a is b]
    listed = [(opened, form) for opened in numbers.elimination[0] for form in opened.forms]
    added = _contributions(numbers, listed, pairs)
    weights = numbers.term_values([[form.term] for _, form in listed])
    squares = _path_squares(numbers)
    rows: list[tuple[Cell, ...]] = []
    for place, (opened, form) in enumerate(listed):
        row, column = (opened.inputs[slot] for slot in form.slots)
        kept = [weights[place] * squares[row].get(pairs[k][0], 0.0) if row is column else 0.0 for k in diagonal]
        lost = [added[place][k] - kept[n] for n, k in enumerate(diagonal)]
        rows.append(
            (
                cells.formula(reading.symbols[opened.node]),
                written(reading, opened.node),
                Cell(f"{_name(numbers, row)}, {_name(numbers, column)}"),
                cells.formula(entry(numbers, opened, form)),
                cells.value(weights[place]),
                _lines(_legs(numbers, opened, form)),
                *(cells.value(value) for value in added[place]),
                _lost(numbers, [pairs[k][0] for k in diagonal], lost),
            )
        )
    hessian = [sum(row[k] for row in added) for k in range(len(pairs))]
    recipe, exact = numbers.recipe
    rows.append((Cell("Hessian"), *[BLANK] * 5, *map(cells.value, hessian), BLANK))
    leaves = [pairs[k][0] for k in diagonal]
    missing = [hessian[k] - float(recipe[leaf]) for k, leaf in zip(diagonal, leaves, strict=True)]
    shown = [cells.value(recipe[a]) if a is b else BLANK for a, b in pairs]
    rows.append((Cell("recipe"), *[BLANK] * 5, *shown, _lost(numbers, leaves, missing)))
    names = tuple(f"{_name(numbers, a)}, {_name(numbers, b)}" for a, b in pairs)
    return Table(
        f"Second order: {reading.title}",
        ("node", "formula", "couples", "core", "value", "legs", *names, "the recipe drops"),
        tuple(rows),
        (EXACT if exact else DROPPED,),
        frozenset({4, *range(6, 6 + len(pairs))}),
    )


def _name(numbers: Numbers, node: Node) -> str:
    return cells.formula(numbers.reading.symbols[node]).text


def _contributions(
    numbers: Numbers, listed: Sequence[tuple[Opened, Form]], pairs: Sequence[tuple[Node, Node]]
) -> list[list[float]]:
    """What each entry adds to each entry of the Hessian."""
    wanted: list[list[NodeTerm]] = []
    for opened, form in listed:
        alone = Core((form,), opened.ended.legs, opened.node)
        for a, b in pairs:
            wanted.append(alone.block(a, b).terms())
    values = numbers.term_values(wanted)
    return [values[k : k + len(pairs)] for k in range(0, len(values), len(pairs))]


def _leg_terms(opened: Opened, slot: int) -> Mapping[Node, Sequence[NodeTerm]]:
    return opened.ended.legs[slot]


def _lines(parts: Sequence[str]) -> Cell:
    """Parts in one cell: on lines of their own where there are lines."""
    return Cell(", ".join(parts), "<br>".join(map(escape, parts)))


def _legs(numbers: Numbers, opened: Opened, form: Form) -> list[str]:
    """The legs of the slots of an entry, in numbers; those of an argument itself are left out."""
    parts = []
    for slot in dict.fromkeys(form.slots):
        source = opened.inputs[slot]
        if source in numbers.reading.inputs:
            continue
        legs = _leg_terms(opened, slot)
        values = numbers.term_values(list(legs.values()))
        parts += [
            f"∂{_name(numbers, source)}/∂{_name(numbers, leaf)} = {cells.value(value).text}"
            for leaf, value in sorted(zip(legs, values, strict=True), key=lambda pair: pair[0].number)
        ]
    return parts


def _path_squares(numbers: Numbers) -> Mapping[Node, Mapping[Node, float]]:
    """For each node and argument the sum over paths of the squared product of slopes: the recipe's legs."""
    reading = numbers.reading
    found: dict[Node, dict[Node, float]] = {leaf: {leaf: 1.0} for leaf in reading.inputs}
    for (node, source), slope in numbers.slope_values.items():
        own = found.setdefault(node, {})
        for leaf, square in found.get(source, {}).items():
            own[leaf] = own.get(leaf, 0.0) + float(slope) ** 2 * square
    return found


def _lost(numbers: Numbers, leaves: Sequence[Node], values: Sequence[float]) -> Cell:
    """What the recipe drops from the diagonal."""
    largest = max((abs(v) for v in values), default=0.0)
    scale = float(np.finfo(numbers.reading.output.dtype).eps) * 64 * max(largest, 1.0)
    parts = [
        f"{cells.value(value).text} at {_name(numbers, leaf)}, {_name(numbers, leaf)}"
        for leaf, value in zip(leaves, values, strict=True)
        if abs(value) > scale
    ]
    total = {numbers.reading.names[leaf]: v for leaf, v in zip(leaves, values, strict=True) if abs(v) > scale}
    return Cell("; ".join(parts), value=total or None, dropped=True) if parts else BLANK


# -- arrays ------------------------------------------------------------------------------------------------


def _of_arrays(numbers: Numbers) -> Table:
    reading = numbers.reading
    leaves = reading.inputs if len(reading.inputs) <= MOST_TRACES else ()
    listed = [(opened, form) for opened in numbers.elimination[0] for form in opened.forms]
    added = _traces(numbers, listed, leaves)
    rows: list[tuple[Cell, ...]] = []
    for place, (opened, form) in enumerate(listed):
        row, column = (opened.inputs[slot] for slot in form.slots)
        rows.append(
            (
                cells.formula(reading.symbols[opened.node]),
                written(reading, opened.node),
                Cell(f"{_called(numbers, row)}, {_called(numbers, column)}"),
                cells.formula(entry(numbers, opened, form)),
                Cell(_form_shape(row, column, form)),
                Cell(f"{(held := elements(form.term.open_labels)):,}", value=held),
                _lines(_leg_shapes(numbers, opened, form)),
                *(cells.value(value) for value in added[place]),
            )
        )
    recipe, exact = numbers.recipe
    if leaves:
        whole = [sum(row[k] for row in added) for k in range(len(leaves))]
        kept = [float(np.sum(recipe[leaf])) for leaf in leaves]
        scale = 64 * float(np.finfo(reading.output.dtype).eps) * max(1.0, *map(abs, whole), *map(abs, kept))
        short = [abs(a - b) > scale for a, b in zip(whole, kept, strict=True)]
        rows.append((Cell("Hessian"), *[BLANK] * 6, *map(cells.value, whole)))
        off = [cells.value(value, dropped=wrong) for value, wrong in zip(kept, short, strict=True)]
        rows.append((Cell("recipe"), *[BLANK] * 6, *off))
    return Table(
        f"Second order: {reading.title}",
        (
            "node",
            "formula",
            "couples",
            "core",
            "shape",
            "numbers",
            "legs",
            *(f"trace {_called(numbers, x)}" for x in leaves),
        ),
        tuple(rows),
        (EXACT if exact else DROPPED,),
        frozenset({5, *range(7, 7 + len(leaves))}),
    )


def _traces(numbers: Numbers, listed: Sequence[tuple[Opened, Form]], leaves: Sequence[Node]) -> list[list[float]]:
    """What each entry adds to the trace of the Hessian's block of each argument."""
    wanted: list[list[NodeTerm]] = []
    for opened, form in listed:
        alone = Core((form,), opened.ended.legs, opened.node)
        wanted += [alone.block(leaf, leaf).trace() for leaf in leaves]
    values = numbers.term_values(wanted)
    count = len(leaves)
    return [values[k * count : (k + 1) * count] for k in range(len(listed))]


def _called(numbers: Numbers, node: Node) -> str:
    symbols = numbers.reading.symbols
    return cells.formula(symbols[node]).text if node in symbols else "·"


def _form_shape(row: Node, column: Node, form: Form) -> str:
    """The shape of an entry, and whether it is diagonal."""
    left, right = form.term.sides[1], form.term.sides[2]
    shape = "×".join(map(str, row.shape)) or "scalar"
    if row.shape and len(left) == len(right) and all(a.label is b.label for a, b in zip(left, right, strict=True)):
        return f"diagonal, {shape}"
    other = "×".join(map(str, column.shape)) or "scalar"
    return f"({shape}) to ({other})" if row.shape or column.shape else "scalar"


def _leg_shapes(numbers: Numbers, opened: Opened, form: Form) -> list[str]:
    parts = []
    for slot in dict.fromkeys(form.slots):
        source = opened.inputs[slot]
        for leaf in _leg_terms(opened, slot):
            if leaf is not source:
                sizes = f"{source.size}×{leaf.size}"
                parts.append(f"∂{_called(numbers, source)}/∂{_called(numbers, leaf)} {sizes}")
    return parts
