"""Operations of every way to differentiate, counted on the user's graph, beside the plan's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nablax.contraction.term import elements
from nablax.errors import ArgumentError
from nablax.graph.cost import cost_of
from nablax.graph.node import Node
from nablax.pictures.table import Cell, Table
from nablax.planning.choose import choose
from nablax.planning.question import DIAGONAL, HESSIAN, Problem, of_order, pose
from nablax.planning.rates import current_rates
from nablax.printing.unicode import SUPERSCRIPTS
from nablax.sweeps.forward import tangents
from nablax.sweeps.second_order import reverse
from nablax.teach.numbers import Numbers

# A Hessian has a block for each pair of arguments: of more than these the diagonal is planned in its place.
MOST_PLANNED = 12
# A tensor of more entries is not planned beside the others.
MOST_ENTRIES = 100_000_000


def operation_counts(numbers: Numbers, order: Any = 3) -> Table:
    """How many floating-point operations each way takes, from the nodes that it would evaluate.

    Args:
        numbers: the graph.
        order: for the count of derivatives by repetition; at least 2.

    Returns:
        One row per way: value, forward, reverse, Hessian by rows, order k by repetition, the plan.

    Raises:
        ArgumentError: an order below 2.
    """
    if isinstance(order, bool) or not isinstance(order, int) or order < 2:
        raise ArgumentError(f"operation_counts got order={order!r}; give an integer that is at least 2.")
    numbers.need_one_number("operation_counts")
    reading = numbers.reading
    engine, rates = reading.engine, current_rates()
    n = sum(leaf.size for leaf in reading.inputs)

    def flops(nodes: list[Node]) -> float:
        return cost_of(nodes, rates).flops

    directions = {leaf: engine.full(1.0, leaf.shape, leaf.dtype) for leaf in reading.inputs}
    tangent = tangents(engine, [reading.output], directions)
    terms = reverse(engine, reading.output, reading.inputs)
    gradient = [
        engine.sum_of([t.replace(sides=t.sides[1:]) for t in own], leaf.shape, leaf.dtype)
        for leaf, own in terms.items()
    ]
    output = reading.output
    m, forward, backward = flops([output]), flops([output, *tangent]), flops([output, *gradient])
    # by repetition: what each further direction adds is run for every tuple of directions up to it
    repeated, rows_cost = backward, 0.0
    level = gradient
    for depth in range(1, order):
        first = len(reading.leaves) + (depth - 1) * len(directions)
        held = {x: engine.leaf(first + k, x.shape, x.dtype) for k, x in enumerate(directions)}
        further = tangents(engine, level, held)
        repeated += float(n) ** depth * (flops([*gradient, *level, *further]) - flops([*gradient, *level]))
        level = further
        rows_cost = rows_cost or repeated
    distinct = math.comb(n + order - 1, order)
    few = len(reading.inputs) <= MOST_PLANNED
    plan = choose(_posed(numbers), HESSIAN if few else DIAGONAL, "auto", None).chosen
    planned = "Hessian" if few else "diagonal of the Hessian"
    listed = [
        ("value", "m", m),
        ("forward mode, one tangent", "O(m)", forward),
        ("gradient by forward mode", f"n = {n} tangents, O(m n)", m + n * (forward - m)),
        ("gradient by reverse mode", "O(m)", backward),
        ("Hessian by rows ∇(eᵢᵀ∇f)", f"n = {n} rows, O(m n)", rows_cost),
        (f"order {order} by repetition", f"O(m n{_raised(order - 1)})", repeated),
        (f"{planned} by the plan: {plan.strategy}", "the nodes that will run", plan.cost.flops),
        *_of_order(numbers, order, n),
    ]
    factors = " ".join(["n", *(f"(n + {k})" for k in range(1, order))])
    return Table(
        f"Operations: {reading.title}",
        ("what", "how it grows", "operations"),
        tuple((Cell(a), Cell(b), Cell(f"{c:,.0f}", value=int(np.rint(c)))) for a, b, c in listed),
        (
            "Counted from shapes: an elementwise step is one operation per element, a product two per term of its sum.",
            f"Of the n{_raised(order)} = {n**order:,} entries of order {order}, symmetry leaves "
            f"{factors}/{order}! = {distinct:,} to be told apart.",
            *_cores(numbers),
        ),
        frozenset({2}),
    )


def _of_order(numbers: Numbers, order: int, n: int) -> list[tuple[str, str, float]]:
    """The plan of the derivative of an order, where that is small enough to be planned beside."""
    if order < 3 or n**order > MOST_ENTRIES or len(numbers.reading.inputs) > MOST_PLANNED:
        return []
    plan = choose(_posed(numbers), of_order(order), "auto", None).chosen
    return [(f"order {order} by the plan: {plan.strategy}", "the nodes that will run", plan.cost.flops)]


def _cores(numbers: Numbers) -> tuple[str, ...]:
    """How many cores there are, and how many numbers they hold."""
    opened, _ = numbers.elimination
    if not opened:
        return ("No node opens a core: the Hessian is zero.",)
    moving = len(numbers.slopes)
    held = sum(elements(form.term.open_labels) for one in opened for form in one.forms)
    wide = sum(sum(x.size for x in one.inputs) ** 2 for one in opened)
    many = f"{len(opened)} of {moving} nodes that move open a core" if len(opened) != 1 else "One node opens a core"
    return (f"{many}: {held:,} numbers, where dense blocks on their inputs would be {wide:,}.",)


def _raised(power: int) -> str:
    return "" if power == 1 else "".join(SUPERSCRIPTS[digit] for digit in str(power))


def _posed(numbers: Numbers) -> Problem:
    reading = numbers.reading
    asked = [reading.leaves.index(leaf) for leaf in reading.inputs]
    return pose(reading.function, reading.arrays, asked, scalar="operation_counts")
