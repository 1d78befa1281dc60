"""How a term falls apart: through a narrow waist (low rank), along its axes (Kronecker), along a batch.

All of it is read off labels. A label that rows and columns share is a Kronecker delta; factors that no path of labels
connects multiply as an outer product.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nablax.contraction.index import Label, along, same_index
from nablax.contraction.term import Factor, Term, connected, elements
from nablax.endings.positions import COLUMNS, ROWS, Piece
from nablax.graph.node import Node, NodeTerm


@dataclass(frozen=True, eq=False, slots=True)
class Waist:
    """A term as U C V': rows and columns meet in few summed labels only.

    Args:
        left: U, sides (row axes, labels of the waist).
        middle: C with the coefficient, sides (labels of the left waist, labels of the right one).
        right: V, sides (column axes, labels of the waist).
    """

    left: NodeTerm
    middle: NodeTerm
    right: NodeTerm

    @property
    def ranks(self) -> tuple[int, int]:
        """Columns of U and of V."""
        left, right = self.middle.sides
        return elements(index.labels[0] for index in left), elements(index.labels[0] for index in right)


def waist(term: NodeTerm) -> Waist | None:
    """A term as U C V'; None where a label or a factor connects rows and columns directly."""
    rows = {label for index in term.sides[ROWS] for label in index.labels}
    columns = {label for index in term.sides[COLUMNS] for label in index.labels}
    if any(label.size > 1 for label in rows & columns):
        return None
    left: list[Factor[Node]] = []
    right: list[Factor[Node]] = []
    middle: list[Factor[Node]] = []
    for factor in term.factors:
        labels = {label for label in factor.labels if label.size > 1}
        if labels & rows and labels & columns:
            return None
        (left if labels & rows else right if labels & columns else middle).append(factor)
    left, middle = _narrowed(left, middle, right, rows)
    right, middle = _narrowed(right, middle, left, columns)
    ends = [_waist_labels(own, rest, opened) for own, rest, opened in (
        (left, [*middle, *right], rows), (right, [*middle, *left], columns)
    )]  # fmt: skip
    through = [tuple(along(label) for label in labels) for labels in ends]
    return Waist(
        Term(1.0, tuple(left), (term.sides[ROWS], through[0])),
        Term(term.coefficient, tuple(middle), (through[0], through[1])),
        Term(1.0, tuple(right), (term.sides[COLUMNS], through[1])),
    )


def _waist_labels(own: Sequence[Factor[Node]], rest: Sequence[Factor[Node]], opened: set[Label]) -> tuple[Label, ...]:
    """Summed labels that some factors share with the others."""
    elsewhere = {label for factor in rest for label in factor.labels}
    mine = dict.fromkeys(label for factor in own for label in factor.labels)
    return tuple(label for label in mine if label in elsewhere and label not in opened)


def _narrowed(
    own: list[Factor[Node]], middle: list[Factor[Node]], others: list[Factor[Node]], opened: set[Label]
) -> tuple[list[Factor[Node]], list[Factor[Node]]]:
    """Take factors of the middle in as long as that makes the waist narrower."""
    while True:
        width = elements(_waist_labels(own, [*middle, *others], opened))
        for factor in middle:
            rest = [other for other in middle if other is not factor]
            if elements(_waist_labels([*own, factor], [*rest, *others], opened)) < width:
                own, middle = [*own, factor], rest
                break
        else:
            return own, middle


# -- along the axes --------------------------------------------------------------------------------


def batch_axes(terms: Iterable[NodeTerm], axes: int) -> tuple[int, ...]:
    """Axes along which rows and columns always stand at the same position."""
    left = list(range(axes))
    for term in terms:
        left = [p for p in left if same_index(term.sides[ROWS][p], term.sides[COLUMNS][p])]
    return tuple(left)


def batch_across(pieces: Sequence[Piece], ranks: Sequence[int]) -> tuple[int, ...] | None:
    """One axis of each of several leaves, along which all of them stand at the same position.

    Args:
        pieces: all terms between the leaves.
        ranks: number of axes of each leaf.

    Returns:
        The axes; None if there are none.
    """
    for first in range(ranks[0]):
        found = {0: first}
        grown = True
        while grown:
            grown = False
            for piece in pieces:
                if piece.row in found and piece.column not in found:
                    row = piece.term.sides[ROWS][found[piece.row]]
                    for q, index in enumerate(piece.term.sides[COLUMNS]):
                        if index.labels and same_index(row, index):
                            found[piece.column] = q
                            grown = True
                            break
        if len(found) == len(ranks) and all(
            same_index(p.term.sides[ROWS][found[p.row]], p.term.sides[COLUMNS][found[p.column]]) for p in pieces
        ):
            return tuple(found[k] for k in range(len(ranks)))
    return None


def axis_groups(term: NodeTerm, axes: int) -> list[set[int]]:
    """The finest grouping of axes such that no label and no factor connects row or column axes of two groups."""
    touching: list[set[int]] = []
    everything = set(term.open_labels) | set(term.factor_labels)
    seen: set[Label] = set()
    for group in connected(term.factors, everything):
        labels = {label for k in group for label in term.factors[k].labels}
        seen |= labels
        touching.append(_standing(term, labels, axes))
    touching += [_standing(term, {label}, axes) for label in everything - seen]
    return merged([*touching, *({p} for p in range(axes))])


def _standing(term: NodeTerm, labels: set[Label], axes: int) -> set[int]:
    return {p for p in range(axes) for side in (ROWS, COLUMNS) if labels & set(term.sides[side][p].labels)}


def merged(sets: Iterable[set[int]]) -> list[set[int]]:
    """Sets that share an element, joined."""
    groups: list[set[int]] = []
    for new in sets:
        if not new:
            continue
        apart = [group for group in groups if not group & new]
        joined = set(new).union(*(group for group in groups if group & new))
        groups = [*apart, joined]
    return sorted(groups, key=min)


@dataclass(frozen=True, eq=False, slots=True)
class Along:
    """What a term does along a group of axes.

    Args:
        axes: the axes.
        term: coefficient 1, sides (row axes, column axes).
        identity: whether it is the identity.
        diagonal: whether rows and columns stand at the same position.
    """

    axes: tuple[int, ...]
    term: NodeTerm
    identity: bool
    diagonal: bool


def along_axes(term: NodeTerm, groups: Sequence[set[int]]) -> list[Along]:
    """A term as one factor for each group of axes; what belongs to none goes to the first that is no identity."""
    found: list[Along] = []
    everything = set(term.open_labels) | set(term.factor_labels)
    waiting = [tuple(term.factors[k] for k in group) for group in connected(term.factors, everything)]
    standing = {f: _standing(term, {x for factor in f for x in factor.labels}, len(term.sides[ROWS])) for f in waiting}
    free = [factor for factors, where in standing.items() if not where for factor in factors]
    for group in groups:
        axes = tuple(sorted(group))
        own = [factor for factors, where in standing.items() if where & group for factor in factors]
        rows = tuple(term.sides[ROWS][p] for p in axes)
        columns = tuple(term.sides[COLUMNS][p] for p in axes)
        diagonal = all(same_index(a, b) for a, b in zip(rows, columns, strict=True))
        bare = all(index.label is not None for index in rows) and len({i.label for i in rows}) == len(rows)
        identity = diagonal and bare and not own
        if not identity and free:
            own, free = [*own, *free], []
        found.append(Along(axes, Term(1.0, tuple(own), (rows, columns)), identity, diagonal))
    if free:  # a multiple of the identity: the first group carries the number
        first = found[0]
        term_of_first = first.term.replace(factors=(*first.term.factors, *free))
        found[0] = Along(first.axes, term_of_first, False, first.diagonal)
    return found
