"""The neutral layout tree between expressions and their renderings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


class Style(Enum):
    """What a word is; renderers choose letters and spacing by it."""

    VARIABLE = "a variable, upright or italic by custom"
    NUMBER = "a number"
    FUNCTION = "the name of a function"
    OPERATOR = "an infix sign with space around it"
    MARK = "a sign without space"


@dataclass(frozen=True, slots=True)
class Word:
    """A word or sign."""

    text: str
    style: Style = Style.VARIABLE


@dataclass(frozen=True, slots=True)
class Row:
    """Parts side by side."""

    parts: tuple[Layout, ...]


@dataclass(frozen=True, slots=True)
class Space:
    """A thin space between factors that would run into each other."""


@dataclass(frozen=True, slots=True)
class Super:
    """A superscript."""

    base: Layout
    exponent: Layout


@dataclass(frozen=True, slots=True)
class Sub:
    """Index letters."""

    base: Layout
    index: Layout


@dataclass(frozen=True, slots=True)
class Ratio:
    """A fraction.

    Args:
        numerator: above.
        denominator: below.
        bare: for numerator and denominator, whether they need no brackets when written on one line.
    """

    numerator: Layout
    denominator: Layout
    bare: tuple[bool, bool] = (True, True)


@dataclass(frozen=True, slots=True)
class Fenced:
    """Something between brackets, bars or norms."""

    opening: str
    body: Layout
    closing: str


Layout: TypeAlias = Word | Row | Space | Super | Sub | Ratio | Fenced


def row(*parts: Layout) -> Layout:
    """Parts side by side, flat."""
    flat: list[Layout] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, Row) else (part,))
    return flat[0] if len(flat) == 1 else Row(tuple(flat))
