"""Drawings as SVG: in the colours of the page around them, or on a ground of their own."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

# Signals that can be told apart on a white and on a dark page, and with a colour-blind eye.
ORANGE, BLUE, GREEN, RED = "#d97706", "#3b82f6", "#16a34a", "#e5484d"
FONT = "ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace"
# Width of a letter of that font, in its size.
LETTER = 0.602
# A picture may be shrunk so far on a narrow page; beyond, it scrolls.
SMALLEST = 0.85

Point = tuple[float, float]


@dataclass(frozen=True)
class Picture:
    """A drawing; shows itself in notebooks.

    Args:
        width: in pixels.
        height: in pixels.
        body: SVG elements.
        described: what it shows, in words.
    """

    width: float
    height: float
    body: str
    described: str

    @property
    def svg(self) -> str:
        """A file of its own, dark where the reader prefers that."""
        style = (
            "<style>svg{color:#1b1b1f;background:#fff}"
            "@media (prefers-color-scheme:dark){svg{color:#e6e6ea;background:#17171b}}</style>"
        )
        size = f'width="{self.width:.0f}" height="{self.height:.0f}"'
        return f"{self._opening(size)}{style}{self.body}</svg>"

    def inline(self) -> str:
        """Markup for a page: text and lines in its colours; a narrow page scrolls it before it becomes unreadable."""
        least = SMALLEST * self.width
        style = f'style="display:block;width:100%;min-width:{least:.0f}px;max-width:{self.width:.0f}px;height:auto"'
        return (
            f'<div class="nablax" style="overflow-x:auto;max-width:100%">{self._opening(style)}{self.body}</svg></div>'
        )

    def _opening(self, attributes: str) -> str:
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:.0f} {self.height:.0f}" {attributes} '
            f'role="img" aria-label="{escape(self.described)}" font-family="{FONT}" fill="currentColor">'
        )

    def save(self, path: str | Path) -> None:
        """Write the file.

        Args:
            path: where to.
        """
        Path(path).write_text(self.svg, encoding="utf-8")

    def _repr_html_(self) -> str:
        return self.inline()

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"Picture({self.width:.0f}×{self.height:.0f}: {self.described})"


def stacked(pictures: Sequence[Picture], described: str) -> Picture:
    """Pictures below each other."""
    body, top = [], 0.0
    for one in pictures:
        body.append(f'<g transform="translate(0 {top:.1f})">{one.body}</g>')
        top += one.height
    return Picture(max(one.width for one in pictures), top, "".join(body), described)


def columns(text: str) -> int:
    """Letters of a text that take room."""
    return sum(not unicodedata.combining(letter) for letter in text)


def length(text: str, size: float) -> float:
    """Width of a text in the font of drawings, in pixels."""
    return columns(text) * size * LETTER


def written(text: str, at: Point, size: float, *, anchor: str = "middle", more: str = "") -> str:
    """A text; `at` is on its base line."""
    x, y = at
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def box(centre: Point, size: Point, *, stroke: str = "currentColor", fill: str = "none", more: str = "") -> str:
    """A rectangle with round corners."""
    (x, y), (wide, high) = centre, size
    return (
        f'<rect x="{x - wide / 2:.1f}" y="{y - high / 2:.1f}" width="{wide:.1f}" height="{high:.1f}" rx="6" '
        f'stroke="{stroke}" fill="{fill}"{more}/>'
    )


def curve(points: Sequence[Point]) -> str:
    """The path through points, leaving and arriving upright."""
    x, y = points[0]
    path = [f"M{x:.1f} {y:.1f}"]
    for a, b in points[1:]:
        middle = (y + b) / 2
        path.append(f"L{a:.1f} {b:.1f}" if a == x else f"C{x:.1f} {middle:.1f} {a:.1f} {middle:.1f} {a:.1f} {b:.1f}")
        x, y = a, b
    return " ".join(path)


def along(points: Sequence[Point], count: int = 24) -> list[Point]:
    """Points on that path."""
    found = []
    for (x, y), (a, b) in itertools.pairwise(points):
        middle = (y + b) / 2
        for k in range(count + 1):
            t = k / count
            weights = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
            xs, ys = (x, x, a, a), (y, middle, middle, b)
            found.append(
                (
                    sum(w * c for w, c in zip(weights, xs, strict=True)),
                    sum(w * c for w, c in zip(weights, ys, strict=True)),
                )
            )
    return found


def arrow(points: Sequence[Point], colour: str, *, wide: float = 1.3, more: str = "") -> str:
    """An arrow along points, pointing down at the last."""
    *others, (x, y) = points
    head = f'<path d="M{x - 3.6:.1f} {y - 7:.1f} L{x:.1f} {y:.1f} L{x + 3.6:.1f} {y - 7:.1f} z" fill="{colour}"{more}/>'
    line = curve([*others, (x, y - 5)])
    return f'<path d="{line}" fill="none" stroke="{colour}" stroke-width="{wide}"{more}/>{head}'
