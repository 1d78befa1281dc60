"""The forms that a matrix between leaves can have, read off the terms of its blocks before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from nablax.contraction.index import Positions
from nablax.contraction.term import elements
from nablax.endings.positions import COLUMNS, ROWS, Piece, Space, distances, occupied, ravelled
from nablax.endings.splits import (
    Along,
    Waist,
    along_axes,
    axis_groups,
    batch_across,
    batch_axes,
    merged,
    waist,
)
from nablax.graph.node import NodeTerm, identify

# Values that are listed at most to find out where a sparse matrix holds any.
MOST_LISTED = 50_000_000
# A matrix is stored by coordinates if at most this share of it holds values.
SPARSE = 0.5
# A band is stored as a band if it has at most so many places for a value that is there.
BAND_FILL = 4.0
WIDEST_BAND = 256
# A low rank pays (rank^2 n against n^3 operations) and is told to the user below this share of the size.
LOW_RANK = 0.25


class Kind(Enum):
    """What a block, or a whole Hessian, is."""

    ZERO = "zero"
    DIAGONAL = "diagonal"
    BANDED = "banded"
    SPARSE = "sparse"
    KRONECKER = "Kronecker"
    LOW_RANK = "low rank"
    DIAGONAL_LOW_RANK = "diagonal + low rank"
    BLOCK_DIAGONAL = "block diagonal"
    DENSE = "dense"


@dataclass(frozen=True, eq=False, slots=True)
class Diagonal:
    """Values on the diagonal only; none for the zero matrix."""

    rows: Space
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Group:
    """One factor of a Kronecker product.

    Args:
        axes: axes of the leaf.
        shape: elements of the rows along them.
        column_shape: elements of the columns along them.
        parts: numbers and what they multiply; their sum is the factor.
        identity: whether it is the identity, not stored.
        diagonal: whether it is diagonal.
    """

    axes: tuple[int, ...]
    shape: tuple[int, ...]
    column_shape: tuple[int, ...]
    parts: tuple[tuple[float, Along], ...]
    identity: bool
    diagonal: bool

    @property
    def stored(self) -> int:
        """Values that are held."""
        rows, columns = math.prod(self.shape), math.prod(self.column_shape)
        return 0 if self.identity else rows if self.diagonal else rows * columns


@dataclass(frozen=True, eq=False, slots=True)
class Kronecker:
    """A Kronecker product of matrices along groups of axes of one leaf."""

    rows: Space
    groups: tuple[Group, ...]


@dataclass(frozen=True, eq=False, slots=True)
class LowRank:
    """D + W C W', or U C V' between different leaves.

    Args:
        rows: the leaves of the rows.
        columns: the leaves of the columns.
        diagonal: the pieces of D.
        left: the distinct parts of U: leaf, term with sides (row axes, waist), elements of the waist.
        right: those of V; the same as `left` where rows and columns are the same leaves.
        core: for each part of `left` and of `right` that meet, the terms between their waists.
    """

    rows: Space
    columns: Space
    diagonal: tuple[Piece, ...]
    left: tuple[tuple[int, NodeTerm, int], ...]
    right: tuple[tuple[int, NodeTerm, int], ...]
    core: tuple[tuple[int, int, NodeTerm], ...]

    @property
    def rank(self) -> int:
        """A bound on the rank."""
        return min(sum(width for _, _, width in self.left), sum(width for _, _, width in self.right))


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Independent dense blocks along axes that rows and columns share.

    Args:
        rows: the space.
        axes: for each leaf its axes of the batch.
        pieces: the terms.
    """

    rows: Space
    axes: tuple[tuple[int, ...], ...]
    pieces: tuple[Piece, ...]

    @property
    def count(self) -> int:
        """Number of blocks."""
        return math.prod(self.rows.shapes[0][p] for p in self.axes[0])

    @property
    def width(self) -> int:
        """Rows of a block."""
        return self.rows.size // max(self.count, 1)


@dataclass(frozen=True, eq=False, slots=True)
class Banded:
    """Values at most `width` places beside the diagonal."""

    rows: Space
    width: int
    pieces: tuple[Piece, ...]
    positions: Positions


@dataclass(frozen=True, eq=False, slots=True)
class Sparse:
    """Values at static positions."""

    rows: Space
    columns: Space
    pieces: tuple[Piece, ...]
    positions: Positions


@dataclass(frozen=True, eq=False, slots=True)
class Dense:
    """No form that would be cheaper than all values."""

    rows: Space
    columns: Space


Form = Diagonal | Kronecker | LowRank | Batch | Banded | Sparse | Dense


def read(pieces: Sequence[Piece], rows: Space, columns: Space) -> Form:
    """The form of a matrix.

    Args:
        pieces: all its terms.
        rows: the leaves of the rows.
        columns: the leaves of the columns; `rows` itself for a matrix on one space.

    Returns:
        The form that stores and computes least.
    """
    pieces = tuple(pieces)
    size = max(rows.size, columns.size)
    apart = [_apart(piece, rows, columns) for piece in pieces]
    if all(found == (0, 0) for found in apart):
        return Diagonal(rows, pieces)
    if len(rows.shapes) == 1 and len(columns.shapes) == 1:
        product = _kronecker([piece.term for piece in pieces], rows.shapes[0], columns.shapes[0], rows)
        if product is not None:
            return product
    blocks = _batch(pieces, rows, columns)
    values = rows.size * columns.size if blocks is None else blocks.count * blocks.width**2
    held = [elements(piece.term.open_labels) for piece in pieces]
    # terms may share places, but one that fills the matrix alone ends the search before anything is listed
    if max(held) <= values / 2 + rows.size and sum(held) <= min(4 * values, MOST_LISTED):
        placed = _placed(pieces, rows, columns, apart, SPARSE * values)
        if placed is not None:
            return placed
    if blocks is not None:
        return blocks
    low = _low_rank(pieces, rows, columns, apart)
    return low if low is not None and low.rank <= LOW_RANK * size else Dense(rows, columns)


def _apart(piece: Piece, rows: Space, columns: Space) -> tuple[int, int] | None:
    row = ravelled(piece.term.sides[ROWS], rows, piece.row)
    column = ravelled(piece.term.sides[COLUMNS], columns, piece.column)
    return distances(piece.term, row, column, MOST_LISTED)


def _placed(
    pieces: tuple[Piece, ...],
    rows: Space,
    columns: Space,
    apart: Sequence[tuple[int, int] | None],
    most: float,
) -> Form | None:
    """A band or values at positions, if either holds at most so many values."""
    positions = occupied(pieces, rows, columns)
    known = [found for found in apart if found is not None]
    if rows is columns and len(known) == len(apart):
        width = max(max(abs(low), abs(high)) for low, high in known)
        narrow = width <= max(2, min(rows.size // 8, WIDEST_BAND)) and rows.size * (width + 1) <= most
        if narrow and rows.size * (2 * width + 1) <= BAND_FILL * positions.size:
            return Banded(rows, width, pieces, positions)
    return Sparse(rows, columns, pieces, positions) if positions.size <= most else None


# -- Kronecker -------------------------------------------------------------------------------------


def _kronecker(
    terms: Sequence[NodeTerm], shape: tuple[int, ...], column_shape: tuple[int, ...], rows: Space
) -> Kronecker | None:
    if len(shape) != len(column_shape) or len(shape) < 2:
        return None
    axes = len(shape)
    groups = merged(group for term in terms for group in axis_groups(term, axes))
    groups = _without_units(groups, shape, column_shape)
    if len(groups) < 2:
        return None
    split = [along_axes(term, groups) for term in terms]
    differ = _differing(split)
    if len(differ) > 1:  # A x B x C + A x D x E = A x (B x C + D x E)
        joined = set().union(*(groups[g] for g in differ))
        groups = sorted([*(groups[g] for g in range(len(groups)) if g not in differ), joined], key=min)
        if len(groups) < 2:
            return None
        split = [along_axes(term, groups) for term in terms]
        differ = _differing(split)
        if len(differ) > 1:
            return None
    carrier = next(iter(differ), None)
    if carrier is None:
        carrier = next((g for g in range(len(groups)) if not split[0][g].identity), 0)
    coefficients = [term.coefficient for term in terms]
    found = []
    for g, group in enumerate(groups):
        own = [one[g] for one in split]
        if g in differ:
            parts = tuple(zip(coefficients, own, strict=True))
        else:
            parts = ((sum(coefficients) if g == carrier else 1.0, own[0]),)
        identity = g != carrier and own[0].identity
        diagonal = all(one.diagonal for one in own)
        at = tuple(sorted(group))
        found.append(
            Group(at, tuple(shape[p] for p in at), tuple(column_shape[p] for p in at), parts, identity, diagonal)
        )
    return Kronecker(rows, tuple(found))


def _without_units(groups: Sequence[set[int]], shape: tuple[int, ...], column_shape: tuple[int, ...]) -> list[set[int]]:
    """Groups of axes of length one joined with another group."""
    small = [g for g in groups if all(shape[p] == column_shape[p] == 1 for p in g)]
    large = [g for g in groups if g not in small]
    if small and large:
        large[0] = large[0].union(*small)
    return sorted(large, key=min)


def _differing(split: Sequence[Sequence[Along]]) -> set[int]:
    """Groups along which terms differ."""
    found = set()
    for g in range(len(split[0])):
        keys = {(one[g].identity, one[g].diagonal, one[g].term.key(identify)) for one in split}
        if len(keys) > 1:
            found.add(g)
    return found


# -- batch, low rank -------------------------------------------------------------------------------


def _batch(pieces: tuple[Piece, ...], rows: Space, columns: Space) -> Batch | None:
    if rows.shapes != columns.shapes:
        return None
    if len(rows.shapes) == 1:
        axes: tuple[tuple[int, ...], ...] = (batch_axes((piece.term for piece in pieces), len(rows.shapes[0])),)
    else:
        if rows is not columns:
            return None
        across = batch_across(pieces, [len(shape) for shape in rows.shapes])
        if across is None:
            return None
        axes = tuple((p,) for p in across)
    found = Batch(rows, axes, pieces)
    return found if found.count > 1 and found.width > 1 else None


def _low_rank(
    pieces: tuple[Piece, ...], rows: Space, columns: Space, apart: Sequence[tuple[int, int] | None]
) -> LowRank | None:
    diagonal: list[Piece] = []
    left: dict[tuple[object, ...], tuple[int, int, NodeTerm, int]] = {}
    right = left if rows is columns else {}
    core: list[tuple[int, int, NodeTerm]] = []
    for piece, found in zip(pieces, apart, strict=True):
        if found == (0, 0):
            diagonal.append(piece)
            continue
        split: Waist | None = waist(piece.term)
        if split is None:
            return None
        ranks = split.ranks
        if min(ranks) > LOW_RANK * max(rows.size, columns.size):
            return None
        ends = []
        for known, leaf, term, width in (
            (left, piece.row, split.left, ranks[0]), (right, piece.column, split.right, ranks[1])
        ):  # fmt: skip
            key = (leaf, *term.key(identify))
            known.setdefault(key, (len(known), leaf, term, width))
            ends.append(known[key][0])
        core.append((ends[0], ends[1], split.middle))
    parts = [tuple((leaf, term, width) for _, leaf, term, width in side.values()) for side in (left, right)]
    return LowRank(rows, columns, tuple(diagonal), parts[0], parts[1], tuple(core))
