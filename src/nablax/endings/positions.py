"""Where the values of a term stand in the matrix over ravelled rows and columns. Nothing here is computed from numbers.

A side of a term is a group of axes; ravelled, it is one static map from labels to a position.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nablax.contraction.index import Index, Label, Positions, affine, on_grid
from nablax.contraction.term import Axes, elements
from nablax.endings.coordinates import strides_of
from nablax.graph.node import Node, NodeTerm

ROWS, COLUMNS = 1, 2


@dataclass(frozen=True, slots=True)
class Space:
    """The leaves of one side of a matrix, ravelled one after the other.

    Args:
        shapes: of the leaves.
    """

    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, leaves: Sequence[Node]) -> Space:
        """The space of nodes."""
        return cls(tuple(leaf.shape for leaf in leaves))

    @property
    def size(self) -> int:
        """Number of elements."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def starts(self) -> tuple[int, ...]:
        """Position of the first element of each leaf."""
        sizes = [math.prod(shape) for shape in self.shapes]
        return tuple(sum(sizes[:k]) for k in range(len(sizes)))


@dataclass(frozen=True, eq=False, slots=True)
class Piece:
    """A term of a matrix between two spaces.

    Args:
        row: which leaf of the rows.
        column: which leaf of the columns.
        term: sides (no open axes, row axes, column axes).
    """

    row: int
    column: int
    term: NodeTerm


def ravelled(axes: Axes, space: Space, leaf: int) -> Index:
    """A side as one index of the ravelled space.

    Args:
        axes: the axes of the side.
        space: the space.
        leaf: the leaf whose axes they are.

    Returns:
        The index; affine where all axes are.

    Example:
        >>> from nablax.contraction.index import along
        >>> i, j = Label(2), Label(3)
        >>> ravelled((along(i), along(j)), Space(((4,), (2, 3))), 1).positions().tolist()
        [[4, 5, 6], [7, 8, 9]]
    """
    steps = strides_of(space.shapes[leaf])
    start = space.starts[leaf]
    if all(index.table is None for index in axes):
        offset = start + sum(step * index.offset for step, index in zip(steps, axes, strict=True))
        terms = [
            (label, step * stride)
            for step, index in zip(steps, axes, strict=True)
            for label, stride in zip(index.labels, index.strides, strict=True)
        ]
        return affine(terms, offset, space.size)
    labels = tuple(dict.fromkeys(label for index in axes for label in index.labels))
    table: Positions = np.full([label.size for label in labels], start, dtype=np.int64)
    for step, index in zip(steps, axes, strict=True):
        table = table + step * on_grid(index, labels)
    return Index(labels, space.size, 0, (), table)


def distances(term: NodeTerm, row: Index, column: Index, most: int) -> tuple[int, int] | None:
    """The least and the greatest column minus row of the values of a term.

    Args:
        term: the term.
        row: its row side, ravelled.
        column: its column side, ravelled.
        most: points of a grid that are looked at most, where the positions are tables.

    Returns:
        The two; None where the grid has more points.
    """
    if row.table is None and column.table is None:
        steps: dict[Label, int] = {}
        for index, sign in ((column, 1), (row, -1)):
            for label, stride in zip(index.labels, index.strides, strict=True):
                steps[label] = steps.get(label, 0) + sign * stride
        reach = [step * (label.size - 1) for label, step in steps.items()]
        middle = column.offset - row.offset
        return middle + sum(x for x in reach if x < 0), middle + sum(x for x in reach if x > 0)
    labels = term.open_labels
    if elements(labels) > most:
        return None
    apart = on_grid(column, labels) - on_grid(row, labels)
    return (int(np.min(apart)), int(np.max(apart))) if apart.size else (0, 0)


def occupied(pieces: Sequence[Piece], rows: Space, columns: Space) -> Positions:
    """Positions in the flattened matrix at which terms hold a value, each once."""
    placed = [np.zeros(0, np.int64)]
    for piece in pieces:
        labels = piece.term.open_labels
        row = on_grid(ravelled(piece.term.sides[ROWS], rows, piece.row), labels)
        column = on_grid(ravelled(piece.term.sides[COLUMNS], columns, piece.column), labels)
        places = np.broadcast_to(columns.size * row + column, [label.size for label in labels])
        placed.append(places.ravel())
    # runs of rising places: a merging sort sees them, the hashing of np.unique does not (8 s against 0.2 s at 4e6)
    found = np.sort(np.concatenate(placed), kind="stable")
    return found[np.concatenate([[True], np.diff(found) > 0])] if found.size else found
