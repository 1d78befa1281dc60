"""Labels and static index maps of labels: where along an axis a label points.

A position may lie outside the axis, as that of a window that reaches over the edge of an image: nothing is there. What
is read there is zero, what is written there is lost. Whoever makes a term with such an index multiplies it by ones read
at that index (a guard), so that the term is zero there whatever becomes of the index.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class Label:
    """A summation or open index of fixed size; two labels are equal only if they are the same object.

    Args:
        size: number of values that the label takes (elements).
    """

    size: int

    def __repr__(self) -> str:
        return f"Label({self.size})@{id(self) % 9973}"


@dataclass(frozen=True, eq=False)
class Index:
    """A position along an axis as a static function of labels.

    Either affine, ``offset + sum(stride * label)``, or a table over the grid of the labels.

    Args:
        labels: the labels that the position depends on, distinct.
        extent: length of the axis that is indexed (elements).
        offset: position at label values zero (affine form).
        strides: one per label (affine form).
        table: positions over the grid of the labels; None in the affine form.
    """

    labels: tuple[Label, ...]
    extent: int
    offset: int = 0
    strides: tuple[int, ...] = ()
    table: Positions | None = field(default=None, repr=False)

    @cached_property
    def label(self) -> Label | None:
        """The label, if the index is nothing but that label running over the whole axis."""
        if self.table is None and self.strides == (1,) and self.offset == 0:
            return self.labels[0] if self.labels[0].size == self.extent else None
        return None

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the labels: the grid on which positions are tabulated."""
        return tuple(label.size for label in self.labels)

    @cached_property
    def span(self) -> tuple[int, int]:
        """The least and the greatest position; (0, -1) where there is none."""
        if 0 in self.shape:
            return 0, -1
        if self.table is not None:
            return int(np.min(self.table)), int(np.max(self.table))
        reach = [stride * (label.size - 1) for label, stride in zip(self.labels, self.strides, strict=True)]
        return self.offset + sum(r for r in reach if r < 0), self.offset + sum(r for r in reach if r > 0)

    @property
    def leaves(self) -> bool:
        """Whether some position lies outside the axis."""
        low, high = self.span
        return low < 0 or high >= self.extent

    def positions(self) -> Positions:
        """Positions on the grid of the labels."""
        if self.table is not None:
            return self.table
        grid: Positions = np.full(self.shape, self.offset, dtype=np.int64)
        for axis, (label, stride) in enumerate(zip(self.labels, self.strides, strict=True)):
            steps = stride * np.arange(label.size, dtype=np.int64)
            grid = grid + steps.reshape([-1 if k == axis else 1 for k in range(len(self.labels))])
        return grid

    def key(self, number: Mapping[Label, int]) -> tuple[object, ...]:
        """A hashable value that is equal for equal indices once labels are numbered."""
        table = None if self.table is None else _told(self.table)
        return (tuple(number[label] for label in self.labels), self.extent, self.offset, self.strides, table)


# The bytes of longer tables are told apart by their digest, which is kept in their place.
LONGEST_KEPT = 1 << 16


def _told(table: Positions) -> bytes:
    """What is equal for equal tables of one shape."""
    if table.nbytes <= LONGEST_KEPT:
        return table.tobytes()
    return hashlib.blake2b(table.tobytes(), digest_size=32).digest()


Substitution = Mapping[Label, Index]

# A position in a table that lies outside every axis.
NOWHERE = -1


def along(label: Label) -> Index:
    """The index that runs over a whole axis with `label`."""
    return Index((label,), label.size, 0, (1,))


def fresh(shape: Iterable[int]) -> tuple[Index, ...]:
    """New labels for all axes of a shape."""
    return tuple(along(Label(int(size))) for size in shape)


def affine(terms: Sequence[tuple[Label, int]], offset: int, extent: int) -> Index:
    """The index ``offset + sum(stride * label)``; repeated labels are gathered, zero strides dropped."""
    strides: dict[Label, int] = {}
    for label, stride in terms:
        strides[label] = strides.get(label, 0) + stride
    kept = {label: stride for label, stride in strides.items() if stride != 0 and label.size != 1}
    # a label of size one is always at 0; it stays only where it is the whole axis, to keep the axis bare
    if not kept and extent == 1 and terms and terms[0][0].size == 1:
        return along(terms[0][0])
    return Index(tuple(kept), extent, offset, tuple(kept.values()))


def tabulated(labels: Sequence[Label], table: npt.ArrayLike, extent: int) -> Index:
    """The index given by a table of positions over the grid of `labels`; affine where the table is."""
    positions: Positions = np.asarray(table, dtype=np.int64)
    if positions.size == 0:
        return Index(tuple(labels), extent, 0, (0,) * len(labels), positions)
    origin = int(positions[(0,) * positions.ndim])
    strides = []
    for axis, label in enumerate(labels):
        step = tuple(1 if k == axis else 0 for k in range(positions.ndim))
        strides.append(int(positions[step]) - origin if label.size > 1 else 0)
    guess = Index(tuple(labels), extent, origin, tuple(strides))
    if np.array_equal(guess.positions(), positions):
        return affine(list(zip(labels, strides, strict=True)), origin, extent)
    return Index(tuple(labels), extent, 0, (), positions)


def substitute(index: Index, values: Substitution) -> Index:
    """Replace labels by indices: composition of static maps, no number of the user's moves."""
    if index.label is not None:
        return values.get(index.label, index)
    if not any(label in values for label in index.labels):
        return index
    parts = [values.get(label, along(label)) for label in index.labels]
    if index.table is None and all(part.table is None for part in parts):
        offset = index.offset
        terms: list[tuple[Label, int]] = []
        for part, stride in zip(parts, index.strides, strict=True):
            offset += stride * part.offset
            terms += [(label, stride * inner) for label, inner in zip(part.labels, part.strides, strict=True)]
        return affine(terms, offset, index.extent)
    labels = tuple(dict.fromkeys(label for part in parts for label in part.labels))
    coordinates = tuple(positions_over(part, labels) for part in parts)
    if not any(part.leaves for part in parts):
        return tabulated(labels, index.positions()[coordinates], index.extent)
    inside, clipped = _clipped(coordinates, index.shape)
    return tabulated(labels, np.where(inside, index.positions()[clipped], NOWHERE), index.extent)


def _clipped(
    coordinates: Sequence[Positions], shape: Sequence[int]
) -> tuple[npt.NDArray[np.bool_], tuple[Positions, ...]]:
    """Which coordinates lie inside a shape, and all of them moved inside."""
    inside = np.asarray(True)
    for at, extent in zip(coordinates, shape, strict=True):
        inside = inside & (at >= 0) & (at < extent)
    return inside, tuple(np.clip(at, 0, extent - 1) for at, extent in zip(coordinates, shape, strict=True))


def same_index(a: Index, b: Index) -> bool:
    """Whether two indices are the same map of the same labels."""
    if a is b:
        return True
    if a.labels != b.labels or a.extent != b.extent or a.offset != b.offset or a.strides != b.strides:
        return False
    if a.table is None or b.table is None:
        return a.table is b.table
    return a.table.tobytes() == b.table.tobytes()


def on_grid(index: Index, labels: Sequence[Label]) -> Positions:
    """Positions of an index with one axis for each of labels, which contain its own; of length one for the others."""
    order = sorted(range(len(index.labels)), key=lambda k: labels.index(index.labels[k]))
    return index.positions().transpose(order).reshape([x.size if x in index.labels else 1 for x in labels])


def positions_over(index: Index, labels: Sequence[Label]) -> Positions:
    """Positions of an index over the grid of labels, which contain its own."""
    return np.broadcast_to(on_grid(index, labels), [label.size for label in labels])


def unify(a: Index, b: Index) -> dict[Label, Index] | None:
    """All label values at which two indices of the same axis point at the same position.

    Args:
        a: an index.
        b: an index of the same axis.

    Returns:
        A substitution under which both are equal and which reaches every solution exactly once; None when
        there is no solution.

    Example:
        >>> i, j = Label(3), Label(4)
        >>> solution = unify(affine([(i, 1)], 1, 4), along(j))       # position i + 1 of an axis of 4
        >>> solution[j].offset, solution[j].labels == (i,)
        (1, True)
    """
    if a.extent != b.extent:
        raise ValueError(f"indices of different axes: {a.extent} and {b.extent} elements")
    if a.label is not None and a.label is b.label:
        return {}
    if a.label is not None and a.label not in b.labels:
        return {a.label: b}
    if b.label is not None and b.label not in a.labels:
        return {b.label: a}
    if a.table is None and b.table is None and a.offset == b.offset:
        if a.labels == b.labels and a.strides == b.strides:
            return {}
        if _same_radix(a, b):
            return {label: along(other) for label, other in zip(a.labels, b.labels, strict=True)}
        rest = _differing(a, b)
        if rest is not None:
            return {rest[0]: along(rest[1])}
    return _join(a, b)


def _differing(a: Index, b: Index) -> tuple[Label, Label] | None:
    """The labels in which two affine indices of one offset differ, if that is one in each, of one size and stride.

    2y + k = 2y + l has the solutions k = l: windows that overlap are told apart by the place in the window.
    """
    ours, theirs = (dict(zip(index.labels, index.strides, strict=True)) for index in (a, b))
    left = [label for label in ours if theirs.get(label) != ours[label]]
    right = [label for label in theirs if ours.get(label) != theirs[label]]
    if len(left) != 1 or len(right) != 1 or left[0].size != right[0].size:
        return None
    same = left[0] not in theirs and right[0] not in ours and ours[left[0]] == theirs[right[0]]
    return (left[0], right[0]) if same else None


def _same_radix(a: Index, b: Index) -> bool:
    """Whether both are the same mixed-radix numbering of disjoint labels, so that labels match one by one."""
    if a.strides != b.strides or a.shape != b.shape or set(a.labels) & set(b.labels):
        return False
    room = a.extent + 1
    for label, stride in zip(a.labels, a.strides, strict=True):
        if stride <= 0 or label.size * stride > room:
            return False
        room = stride
    return True


def _join(a: Index, b: Index) -> dict[Label, Index] | None:
    """Solve a == b by listing the solutions inside the axis; a new label runs over the list."""
    labels = tuple(dict.fromkeys((*a.labels, *b.labels)))
    if set(a.labels) & set(b.labels):
        left, right = positions_over(a, labels), positions_over(b, labels)
        solutions = np.nonzero((left == right) & (left >= 0) & (left < a.extent))
    else:
        left, right = a.positions().ravel(), b.positions().ravel()
        # nothing is outside: what lies there meets nothing
        left = np.where((left >= 0) & (left < a.extent), left, NOWHERE)
        right = np.where((right >= 0) & (right < b.extent), right, NOWHERE - 1)
        order = np.argsort(right, kind="stable")
        low = np.searchsorted(right[order], left, side="left")
        high = np.searchsorted(right[order], left, side="right")
        counts = high - low
        first = np.repeat(np.arange(left.size), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        second = order[np.repeat(low, counts) + within]
        solutions = (*np.unravel_index(first, a.shape or (1,)), *np.unravel_index(second, b.shape or (1,)))
        if not a.labels:
            solutions = solutions[1:]
        if not b.labels:
            solutions = solutions[:-1]
        if not labels:
            return {} if counts.sum() else None
    if not labels or solutions[0].size == 0:
        return None
    run = Label(int(solutions[0].size))
    return {label: tabulated((run,), found, label.size) for label, found in zip(labels, solutions, strict=True)}


def inside(index: Index) -> dict[Label, Index] | None:
    """The label values at which an index points inside its axis: a new label runs over them; None if there are none."""
    if not index.labels:
        return None if index.leaves else {}
    positions = index.positions()
    found = np.nonzero((positions >= 0) & (positions < index.extent))
    if found[0].size == 0:
        return None
    run = Label(int(found[0].size))
    return {label: tabulated((run,), at, label.size) for label, at in zip(index.labels, found, strict=True)}


def solve(pairs: Iterable[tuple[Index, Index]]) -> dict[Label, Index] | None:
    """Unify several pairs of indices at once; None when they have no common solution."""
    found: dict[Label, Index] = {}
    for a, b in pairs:
        step = unify(substitute(a, found), substitute(b, found))
        if step is None:
            return None
        if step:
            found = {label: substitute(index, step) for label, index in found.items()} | step
    return found
