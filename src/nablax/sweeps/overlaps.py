"""Overlapping windows: a leg that holds several values for one place of a side holds their sum instead.

The windows of a convolution overlap. At the place 2y + k of an image a leg holds a value for each y and k; one for each
place is left, unless y stands elsewhere as well (the leg of an elementwise core, whose row y is open). With k and l in
2y + 2k + l, and y elsewhere, one for each r = 2k + l is left: two windows in a row are one wider window.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from nablax.contraction.index import Index, Label, affine, along, same_index
from nablax.contraction.term import Factor, elements
from nablax.graph.factors import unguarded
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm
from nablax.ops.kinds import AxesMap


def without_overlaps(graph: Graph, leg: NodeTerm) -> NodeTerm:
    """Labels that tell apart values at one place joined into one label, wherever that leaves fewer values.

    Args:
        graph: makes the sums.
        leg: a term.

    Returns:
        An equal term.
    """
    for factor in leg.factors:
        windows = _windows_of(leg, factor)
        if windows:
            return without_overlaps(graph, _joined(graph, leg, factor, windows))
    return leg


def _windows_of(leg: NodeTerm, factor: Factor[Node]) -> list[_Window]:
    """For each index of a side the labels that can be joined: only this factor and this index depend on them."""
    uses = Counter(label for side in leg.sides for index in side for label in index.labels)
    mapped = {x for axis in factor.axes if axis.label is None for x in axis.labels}
    bare = Counter(axis.label for axis in factor.axes)
    found = []
    for index in (index for side in leg.sides for index in side):
        if index.table is not None or len(index.labels) < 2 or _guards(factor, index):
            continue
        others = {x for f in leg.factors if f is not factor and not _guards(f, index) for x in f.labels}
        own = [x for x in index.labels if bare[x] == 1 and uses[x] == 1 and x not in mapped | others]
        window = _window(index, own) if len(own) > 1 else None
        if window is not None:
            found.append(window)
    return found


def _guards(factor: Factor[Node], index: Index) -> bool:
    """Whether a factor says no more than where an index leaves its axis."""
    return len(factor.axes) == 1 and same_index(factor.axes[0], index)


def _joined(graph: Graph, leg: NodeTerm, factor: Factor[Node], windows: Sequence[_Window]) -> NodeTerm:
    """The leg with the labels of windows joined, in one sum."""
    gone = {label for window in windows for label in window.own}
    kept = tuple(along(label) for label in factor.labels if label not in gone)
    target = (*kept, *(window.place for window in windows))
    value = graph.index_map((AxesMap(factor.axes, target),), (factor.operand,), tuple(x.extent for x in target))
    moved = Factor(value, (*kept, *(along(window.run) for window in windows)))

    def replaced(index: Index) -> Index:
        return next((window.after for window in windows if same_index(window.before, index)), index)

    factors = [
        moved if f is factor else Factor(f.operand, tuple(replaced(index) for index in f.axes)) for f in leg.factors
    ]
    sides = tuple(tuple(replaced(index) for index in side) for side in leg.sides)
    return leg.replace(factors=unguarded(factors), sides=sides)


@dataclass(frozen=True, eq=False, slots=True)
class _Window:
    """Labels of an index joined into one.

    Args:
        own: the labels.
        run: the new label.
        place: its value as an index of the old labels; what is outside falls outside the axis as well.
        before: the index.
        after: the index with the new label.
    """

    own: tuple[Label, ...]
    run: Label
    place: Index
    before: Index
    after: Index


def _window(index: Index, own: Sequence[Label]) -> _Window | None:
    """Some labels of an affine index joined; None where the places are no fewer than the values."""
    strides = dict(zip(index.labels, index.strides, strict=True))
    step = math.gcd(*(strides[label] for label in own))
    low = sum(min(strides[label] * (label.size - 1), 0) for label in own)
    count = 1 + sum(abs(strides[label]) * (label.size - 1) for label in own) // step
    rest = [(label, stride) for label, stride in strides.items() if label not in own]
    start, first = index.offset + low, 0
    if not rest:  # only what is inside is kept
        first = max(0, -(start // step))
        count = min(count, (index.extent - 1 - start) // step + 1) - first
    values = elements(own)
    whole = not rest and count == index.extent
    if count <= 0 or count > values or (count == values and not whole):
        return None
    run = Label(count)
    place = affine([(label, strides[label] // step) for label in own], -(low // step) - first, count)
    after = affine([*rest, (run, step)], start + step * first, index.extent)
    return _Window(tuple(own), run, place, index, after)
