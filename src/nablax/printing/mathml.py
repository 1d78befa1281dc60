"""Layout to presentation MathML."""

from __future__ import annotations

from html import escape
from typing import assert_never

from nablax.printing.expression import Expression
from nablax.printing.layout import Fenced, Layout, Ratio, Row, Space, Style, Sub, Super, Word
from nablax.printing.typeset import typeset


def mathml(expression: Expression) -> str:
    """The expression as a ``<math>`` element.

    Example:
        >>> from nablax.printing.expression import Symbol
        >>> mathml(Symbol("x", ()))
        '<math xmlns="http://www.w3.org/1998/Math/MathML"><mi>x</mi></math>'
    """
    return f'<math xmlns="http://www.w3.org/1998/Math/MathML">{text(typeset(expression))}</math>'


def text(layout: Layout) -> str:
    """A layout as MathML elements."""
    match layout:
        case Word(word, Style.NUMBER):
            return f"<mn>{escape(word)}</mn>"
        case Word("where", Style.OPERATOR):
            return '<mspace width="1em"/><mtext>where</mtext><mspace width="1em"/>'
        case Word(word, Style.OPERATOR):
            return f"<mo>{escape(word)}</mo>"
        case Word("ᵀ", Style.MARK):
            return '<mi mathvariant="normal">T</mi>'
        case Word("−ᵀ", Style.MARK):
            return '<mrow><mo>−</mo><mi mathvariant="normal">T</mi></mrow>'
        case Word(word, Style.MARK):
            return f"<mo>{escape(word.strip())}</mo>"
        case Word(word, Style.FUNCTION):
            return f'<mi mathvariant="normal">{escape(word)}</mi><mo>&#x2061;</mo>'
        case Word(word):
            return f"<mi>{escape(word)}</mi>"
        case Row(parts):
            return f"<mrow>{''.join(text(part) for part in parts)}</mrow>"
        case Space():
            return '<mspace width="0.17em"/>'
        case Super(base, exponent):
            return f"<msup>{element(base)}{element(exponent)}</msup>"
        case Sub(base, index):
            return f"<msub>{element(base)}{element(index)}</msub>"
        case Ratio(numerator, denominator):
            return f"<mfrac>{element(numerator)}{element(denominator)}</mfrac>"
        case Fenced(opening, body, closing):
            left, right = (f'<mo stretchy="true">{escape(sign)}</mo>' for sign in (opening, closing))
            return f"<mrow>{left}{text(body)}{right}</mrow>"
        case _:
            assert_never(layout)


def element(layout: Layout) -> str:
    """A layout as exactly one element."""
    inside = text(layout)
    single = isinstance(layout, Row | Super | Sub | Ratio | Fenced) or (
        isinstance(layout, Word) and layout.style is not Style.FUNCTION
    )
    return inside if single else f"<mrow>{inside}</mrow>"
