"""A table that is written as text, Markdown, HTML, LaTeX, or plain records for a data frame."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

from nablax.errors import ArgumentError

# Readable on a white and on a dark page.
RED = "#e5484d"


@dataclass(frozen=True)
class Cell:
    """One entry.

    Args:
        text: as one line.
        html: markup of the same; the text if empty.
        latex: the same for math mode; the text as it is if empty.
        value: what a record holds; the text if None.
        dropped: whether it is what a method leaves out: red.
    """

    text: str
    html: str = ""
    latex: str = ""
    value: Any = field(default=None, compare=False)
    dropped: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under headings; prints itself, and shows itself in notebooks.

    Args:
        title: what it tells.
        columns: headings.
        cells: rows of entries.
        notes: sentences below.
        numeric: positions of columns that are flush right.
        parts: makers of the tables of what is inside a row, for a turn or None, by name.
    """

    title: str
    columns: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    numeric: frozenset[int] = frozenset()
    parts: Mapping[str, Callable[[int | None], Table]] = field(default_factory=dict, compare=False, repr=False)

    def of(self, name: str, turn: int | None = None) -> Table:
        """The table of what is inside a row: one turn of a loop, or the case of a branch that is taken.

        Args:
            name: of the row's node, such as "v1".
            turn: of a loop, counted from 1; None for the one that the pass comes to first.

        Returns:
            The table.

        Raises:
            ArgumentError: there is nothing inside a row of that name, or no such turn.

        Example:
            >>> outer = Table("", ("node",), ((Cell("v1"),),), parts={"v1": lambda turn: Table(f"turn {turn}", (), ())})
            >>> outer.of("v1", turn=2).title
            'turn 2'
        """
        if name not in self.parts:
            known = f"give one of {', '.join(self.parts)}" if self.parts else "no row has anything inside"
            raise ArgumentError(f"of was asked for {name!r}; {known}.")
        return self.parts[name](turn)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dict per row; `pandas.DataFrame(table.rows)` is the data frame.

        Example:
            >>> Table("", ("node", "value"), ((Cell("v₁"), Cell("0.5", value=0.5)),)).rows
            [{'node': 'v₁', 'value': 0.5}]
        """
        return [
            {name: c.text if c.value is None else c.value for name, c in zip(self.columns, row, strict=True)}
            for row in self.cells
        ]

    def __str__(self) -> str:
        shown = [self.columns, *(tuple(_marked(cell) for cell in row) for row in self.cells)]
        widths = [max(_width(row[k]) for row in shown) for k in range(len(self.columns))]
        lines = [self.title] if self.title else []
        for place, row in enumerate(shown):
            padded = [self._padded(text, width, k) for k, (text, width) in enumerate(zip(row, widths, strict=True))]
            lines.append("  ".join(padded).rstrip())
            if place == 0:
                lines.append("  ".join("─" * width for width in widths))
        return "\n".join([*lines, *self.notes])

    __repr__ = __str__

    def _padded(self, text: str, width: int, column: int) -> str:
        blanks = " " * (width - _width(text))
        return blanks + text if column in self.numeric else text + blanks

    def markdown(self) -> str:
        """The table in Markdown; what is dropped is struck through.

        Example:
            >>> print(Table("", ("a", "b"), ((Cell("1"), Cell("2")),), numeric=frozenset({1})).markdown())
            | a | b |
            |---|---:|
            | 1 | 2 |
        """
        rule = "|".join("---:" if k in self.numeric else "---" for k in range(len(self.columns)))
        lines = [f"**{self.title}**", ""] if self.title else []
        lines += [f"| {' | '.join(self.columns)} |", f"|{rule}|"]
        for row in self.cells:
            listed = [f"~~{_barred(c.text)}~~" if c.dropped and c.text else _barred(c.text) for c in row]
            lines.append(f"| {' | '.join(listed)} |")
        for note in self.notes:
            lines += ["", note]
        return "\n".join(lines)

    def html(self) -> str:
        """The table in HTML: a scrolling box, so that it never widens a narrow page; dropped terms are red."""
        rule = "border-bottom:1px solid currentColor"
        pad = "padding:.25em .7em;white-space:nowrap;min-width:0"

        def side(column: int) -> str:
            return f"text-align:{'right' if column in self.numeric else 'left'}"

        head = "".join(f'<th style="{pad};{rule};{side(k)}">{escape(c)}</th>' for k, c in enumerate(self.columns))
        lines = ['<div class="nablax" style="overflow-x:auto;max-width:100%">']
        lines.append('<table style="border-collapse:collapse;font-variant-numeric:tabular-nums">')
        if self.title:
            lines.append(f'<caption style="text-align:left;padding:.25em .7em">{escape(self.title)}</caption>')
        lines.append(f"<thead><tr>{head}</tr></thead><tbody>")
        for row in self.cells:
            listed = []
            for k, cell in enumerate(row):
                colour = f";color:{RED}" if cell.dropped else ""
                listed.append(f'<td style="{pad};{side(k)}{colour}">{cell.html or escape(cell.text)}</td>')
            lines.append(f"<tr>{''.join(listed)}</tr>")
        lines.append("</tbody></table>")
        lines += [f'<p style="margin:.25em .7em">{escape(note)}</p>' for note in self.notes]
        return "\n".join([*lines, "</div>"])

    _repr_html_ = html

    def _repr_markdown_(self) -> str:
        return self.markdown()

    def _repr_latex_(self) -> str:
        """The table as an array in math mode."""
        sides = "".join("r" if k in self.numeric else "l" for k in range(len(self.columns)))
        lines = [r" & ".join(rf"\text{{{_plain(c)}}}" for c in self.columns) + r" \\ \hline"]
        for row in self.cells:
            listed = [cell.latex or rf"\text{{{_plain(cell.text)}}}" for cell in row]
            coloured = [rf"\color{{red}}{{{t}}}" if c.dropped else t for c, t in zip(row, listed, strict=True)]
            lines.append(" & ".join(coloured) + r" \\")
        return "$$\\begin{array}{" + sides + "}\n" + "\n".join(lines) + "\n\\end{array}$$"


def number(value: float, digits: int = 6) -> str:
    """A number for reading: so many significant digits, a true minus sign.

    Example:
        >>> number(-0.25), number(1234567.0), number(2.0)
        ('−0.25', '1.23457e+06', '2')
    """
    return f"{value + 0.0:.{digits}g}".replace("-", "−").replace("e−0", "e−")


def cells(*texts: str) -> tuple[Cell, ...]:
    """A row of plain texts."""
    return tuple(map(Cell, texts))


def _marked(cell: Cell) -> str:
    return f"[dropped: {cell.text}]" if cell.dropped and cell.text else cell.text


def _barred(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


def _plain(text: str) -> str:
    """Text inside \\text{…}."""
    escaped: dict[str, str | int | None] = {letter: f"\\{letter}" for letter in "{}$&#_%"}
    return text.translate(str.maketrans({**escaped, "\\": "/", "^": "\\^{}"}))


def _width(text: str) -> int:
    """Columns that a text takes in a terminal: combining marks take none."""
    return sum(not unicodedata.combining(letter) for letter in text)
