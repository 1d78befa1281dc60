"""Blocks: sums of terms between a row side and a column side.

Every derivative is a block until an ending makes arrays of it.

The sides of a term of a block are (open axes, rows, columns). Nothing here multiplies: adding, composing, transposing,
taking the diagonal or the trace of a block moves labels, not numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Generic

from nablax.contraction.term import O, Term, compose, join_sides, sum_side, swap_sides

ROWS, COLUMNS = 1, 2


class Share(Enum):
    """What a term stands for in its block; a leg and the same leg transposed are one computation."""

    WHOLE = "itself"
    SYMMETRIC = "itself, and it equals its transpose"
    HALF = "itself and its transpose"


@dataclass(frozen=True, eq=False, slots=True)
class Part(Generic[O]):
    """A term of a block.

    Args:
        term: sides (open axes, rows, columns).
        share: what it stands for.
    """

    term: Term[O]
    share: Share = Share.WHOLE


@dataclass(frozen=True, eq=False, slots=True)
class Block(Generic[O]):
    """A sum of terms between two sides.

    Args:
        parts: the terms; none of them is the zero block.
    """

    parts: tuple[Part[O], ...] = ()

    @classmethod
    def of(cls, terms: Iterable[Term[O]]) -> Block[O]:
        """The block of plain terms."""
        return cls(tuple(Part(term) for term in terms))

    def __add__(self, other: Block[O]) -> Block[O]:
        """The sum of two blocks between the same sides."""
        return Block(self.parts + other.parts)

    def terms(self) -> list[Term[O]]:
        """All terms, those that stand for themselves and their transpose written twice."""
        found = []
        for part in self.parts:
            found.append(part.term)
            if part.share is Share.HALF:
                found.append(swap_sides(part.term, ROWS, COLUMNS))
        return found

    def transposed(self) -> Block[O]:
        """Rows and columns exchanged."""
        return Block(tuple(Part(swap_sides(part.term, ROWS, COLUMNS), part.share) for part in self.parts))

    def composed(self, other: Block[O]) -> Block[O]:
        """The matrix product: the columns of this block are summed with the rows of the other, which has no open axes.

        Example:
            >>> from nablax.contraction.index import fresh
            >>> from nablax.contraction.term import identity
            >>> one = Block.of([identity(fresh((3,))).replace(sides=((), *identity(fresh((3,))).sides))])
            >>> [len(part.term.factors) for part in one.composed(one).parts]
            [0]
        """
        found = []
        for a in self.terms():
            for b in other.terms():
                product = compose(a, COLUMNS, b.replace(sides=b.sides[1:]), 0)
                if product is not None:
                    found.append(product)
        return Block.of(found)

    def diagonal(self) -> list[Term[O]]:
        """Terms of the diagonal, sides (open axes, rows)."""
        found = []
        for part in self.parts:
            joined = join_sides(part.term, ROWS, COLUMNS)
            if joined is not None:
                twice = 2.0 if part.share is Share.HALF else 1.0
                found.append(joined.replace(coefficient=twice * joined.coefficient))
        return found

    def trace(self) -> list[Term[O]]:
        """Terms of the trace, sides (open axes,)."""
        return [sum_side(term, ROWS) for term in self.diagonal()]

    def applied(self, vector: Term[O]) -> list[Term[O]]:
        """Terms of the block times a vector.

        Args:
            vector: sides (axes of the columns,).

        Returns:
            Terms with sides (open axes, rows).
        """
        products = (compose(term, COLUMNS, vector, 0) for term in self.terms())
        return [product for product in products if product is not None]
