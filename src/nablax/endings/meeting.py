"""Terms that name one place several times: summed over what does not move the place, before anything is written.

Windows of one array that overlap meet in its Hessian: ``c_i k_s k_t`` stands at row i + s and column i + t, and
(i, s, t), (i - 1, s + 1, t + 1), … are one place. With p = i + s and d = t - s the place depends on p and d alone, and

    value[p, d] = sum_s c_(p - s) k_s k_(s + d)

is a matrix of windows times a small matrix, where a list of all (i, s, t) would have to be sorted and added up. Windows
of 2 over 3 places, c = (1, 10, 100), k = (1, 1): 12 values at the 10 places of a matrix with one band beside the
diagonal, (0, 0): 1, (1, 1): 1 + 10, (1, 2): 10.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from nablax.contraction.index import Index, Label, Positions, affine, along, on_grid, substitute
from nablax.contraction.term import elements
from nablax.graph.graph import Graph
from nablax.graph.node import NodeTerm

# A sum is taken out where at most this share of the values is left.
SHARE = 0.5

Moves = Mapping[Label, int]


@dataclass(frozen=True, eq=False, slots=True)
class Met:
    """A term that names each place once.

    Args:
        term: the term; its sides may leave their axes.
        sums: the labels that are summed.
        ranges: indices outside whose axes nothing stands.
    """

    term: NodeTerm
    sums: tuple[Label, ...]
    ranges: tuple[Index, ...]

    def reached(self, labels: Sequence[Label]) -> npt.NDArray[np.bool_]:
        """Over the grid of the open labels, where any value stands: where all indices stay inside their axes.

        The last of the summed labels is solved for, an interval for each range; the others are run through.
        """
        *outer, last = self.sums
        found = np.zeros([label.size for label in labels], np.bool_)
        for values in itertools.product(*(range(label.size) for label in outer)):
            low, high = np.zeros((), np.int64), np.full((), last.size - 1, np.int64)
            for index in self.ranges:
                at, step = _at(index, dict(zip(outer, values, strict=True)), last, labels)
                bounds = _solved(at, step, index.extent)
                low, high = np.maximum(low, bounds[0]), np.minimum(high, bounds[1])
            found |= low <= high
        return found


def met(graph: Graph, term: NodeTerm, dtype: Any) -> Met | None:
    """A term with overlapping windows, summed where they meet.

    Args:
        graph: makes the guards.
        term: a term whose sides may leave their axes; it is zero there.
        dtype: of the guards.

    Returns:
        None where no place is named several times, or too few are.
    """
    found, sums = term, list[Label]()
    opened = term.open_labels
    read = [index for factor in term.factors for index in factor.axes if index.table is None and index.leaves]
    ranges = [*map(along, opened), *(index for index in read if {*index.labels} <= {*opened})]
    while True:
        held = elements(found.open_labels)
        choices = [(elements(_left(found, moves, x)), x, moves) for moves in _still(found) for x in _summable(moves)]
        size, x, moves = min(choices, key=lambda choice: choice[0], default=(held, None, {}))
        if x is None or size > SHARE * held:
            break
        values = {label: _moved(label, moves[label] * moves[x], x) for label in moves if label is not x}
        found = found.substitute(values)
        found = found.replace(factors=(*found.factors, *graph.guards(values.values(), dtype)))
        ranges = [substitute(index, values) for index in ranges]
        sums.append(x)
    return Met(found, tuple(sums), tuple(ranges)) if sums else None


def _still(term: NodeTerm) -> Iterator[Moves]:
    """Steps of labels that leave every side where it is: integers that span what the sides' strides take to zero."""
    axes = [index for side in term.sides for index in side]
    if any(index.table is not None for index in axes):
        return
    labels = [label for label in term.open_labels if label.size > 1]
    rows = [
        [Fraction(dict(zip(index.labels, index.strides, strict=True)).get(label, 0)) for label in labels]
        for index in axes
    ]
    pivots = _reduce(rows, len(labels))
    for free in range(len(labels)):
        if free in pivots:
            continue
        steps = {free: Fraction(1)} | {pivot: -row[free] for pivot, row in zip(pivots, rows, strict=False)}
        if all(step.denominator == 1 for step in steps.values()):
            yield {labels[k]: int(step) for k, step in steps.items() if step}


def _reduce(rows: list[list[Fraction]], width: int) -> list[int]:
    """Gauss and Jordan's elimination in place; the columns of the leading ones, row by row."""
    pivots: list[int] = []
    for column in range(width):
        top = len(pivots)
        at = next((k for k in range(top, len(rows)) if rows[k][column]), None)
        if at is None:
            continue
        rows[top], rows[at] = rows[at], rows[top]
        rows[top] = [entry / rows[top][column] for entry in rows[top]]
        for k, row in enumerate(rows):
            if k != top and row[column]:
                rows[k] = [a - row[column] * b for a, b in zip(row, rows[top], strict=True)]
        pivots.append(column)
    return pivots


def _summable(moves: Moves) -> list[Label]:
    """Labels that can count the steps."""
    return [label for label, step in moves.items() if abs(step) == 1] if len(moves) > 1 else []


def _left(term: NodeTerm, moves: Moves, summed: Label) -> list[Label]:
    """The open labels that are left, as large as they become."""
    return [
        Label(label.size + abs(moves.get(label, 0)) * (summed.size - 1))
        for label in term.open_labels
        if label is not summed
    ]


def _moved(label: Label, step: int, summed: Label) -> Index:
    """A label as what is left of it, moved with the label that is summed."""
    reach = step * (summed.size - 1)
    rest = Label(label.size + abs(reach))
    return affine([(rest, 1), (summed, step)], -max(reach, 0), label.size)


def _at(index: Index, known: Mapping[Label, int], last: Label, labels: Sequence[Label]) -> tuple[Positions, int]:
    """An affine index where some labels are known: over the grid of labels where `last` is 0, and the step along it."""
    strides = dict(zip(index.labels, index.strides, strict=True))
    step = strides.pop(last, 0)
    offset = index.offset + sum(strides.pop(label, 0) * value for label, value in known.items())
    return on_grid(affine(list(strides.items()), offset, index.extent), labels), step


def _solved(at: Positions, step: int, size: int) -> tuple[Positions, Positions]:
    """The first and the last x with 0 <= at + step x < size."""
    if step == 0:
        inside = (at >= 0) & (at < size)
        return np.zeros(1, np.int64), np.where(inside, np.iinfo(np.int64).max, -1)
    near, far = (at, size - 1 - at) if step > 0 else (size - 1 - at, at)
    return -(near // abs(step)), far // abs(step)
