"""Entries of the tables: expressions and values in every notation."""

from __future__ import annotations

from typing import Any

import numpy as np

from nablax.pictures.table import Cell
from nablax.printing import latex, mathml, unicode
from nablax.printing.expression import Expression
from nablax.printing.layout import Layout, Row, Style, Word, row
from nablax.printing.typeset import typeset
from nablax.teach.notation import latex_marks, mathml_marks, value_text


def formula(expression: Expression) -> Cell:
    """An expression."""
    return laid_out(typeset(expression))


def equation(left: Expression, right: Expression) -> Cell:
    """Two expressions with an equals sign between."""
    return laid_out(row(typeset(left), Word("=", Style.OPERATOR), typeset(right)))


def laid_out(layout: Layout) -> Cell:
    """A layout in all notations."""
    return Cell(
        unicode.text(layout),
        f'<math xmlns="http://www.w3.org/1998/Math/MathML">{mathml_marks(mathml.text(layout))}</math>',
        latex_marks(latex.text(layout)),
    )


def value(found: Any, *, dropped: bool = False) -> Cell:
    """A value: a number, a short array, or the shape of one; a record holds the value itself."""
    array = np.asarray(found)
    text = value_text(array)
    kept = array.item() if array.ndim == 0 else array
    return Cell(text, "", text.replace("−", "-").replace("×", r"\times "), kept, dropped)


def summed(parts: list[Layout]) -> Layout:
    """Layouts with plus signs between."""
    joined: list[Layout] = []
    for k, part in enumerate(parts):
        first = part.parts[0] if isinstance(part, Row) else part
        minus = isinstance(first, Word) and first.text == "−"
        if k and minus and isinstance(part, Row):
            joined += [Word("−", Style.OPERATOR), *part.parts[1:]]
        else:
            joined += [Word("+", Style.OPERATOR), part] if k else [part]
    return row(*joined)
