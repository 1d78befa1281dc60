"""Layout to one line of Unicode text."""

from __future__ import annotations

from typing import assert_never

from nablax.printing.expression import Expression
from nablax.printing.layout import Fenced, Layout, Ratio, Row, Space, Style, Sub, Super, Word
from nablax.printing.typeset import typeset

SUPERSCRIPTS = dict(
    zip("0123456789+-−()ᵀ′″‴⁗abcdefghijklmnoprstuvwxyz", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁽⁾ᵀ′″‴⁗ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ", strict=True)
)
SUBSCRIPTS = dict(zip("0123456789-+=ijklmnprstuvx", "₀₁₂₃₄₅₆₇₈₉₋₊₌ᵢⱼₖₗₘₙₚᵣₛₜᵤᵥₓ", strict=True))
VULGAR = {
    ("1", "2"): "½",
    ("1", "3"): "⅓",
    ("2", "3"): "⅔",
    ("1", "4"): "¼",
    ("3", "4"): "¾",
    ("1", "6"): "⅙",
    ("1", "8"): "⅛",
}


def unicode(expression: Expression) -> str:
    """The expression as one line of text.

    Example:
        >>> from nablax.printing.expression import Product, Symbol, Transpose
        >>> x = Symbol("x", ("n",))
        >>> unicode(Product((Transpose(x), Symbol("A", ("n", "n")), x)))
        'xᵀAx'
    """
    return text(typeset(expression))


def text(layout: Layout) -> str:
    """A layout as one line of text."""
    match layout:
        case Word(word, Style.OPERATOR):
            return f" {word} " if word != "where" else "  where  "
        case Word(word):
            return word
        case Row(parts):
            return _line(parts)
        case Space():
            return " "
        case Super(base, exponent):
            return text(base) + _raised(text(exponent))
        case Sub(base, index):
            return text(base) + _lowered(text(index))
        case Ratio(numerator, denominator, (bare_above, bare_below)):
            above, below = text(numerator), text(denominator)
            if (above, below) in VULGAR:
                return VULGAR[above, below]
            above = above if bare_above else f"({above})"
            below = below if bare_below else f"({below})"
            return f"{above}/{below}"
        case Fenced(opening, body, closing):
            return f"{opening}{text(body)}{closing}"
        case _:
            assert_never(layout)


def _line(parts: tuple[Layout, ...]) -> str:
    """Parts side by side; a fraction before other factors stands in brackets."""
    line = ""
    after_fraction = False
    for k, part in enumerate(parts):
        if after_fraction and isinstance(part, Space):
            after_fraction = False
            continue
        shown = text(part)
        followed = k + 1 < len(parts) and isinstance(parts[k + 1], Space)
        if isinstance(part, Ratio) and followed:
            after_fraction = True
            shown = shown if shown in VULGAR.values() else f"({shown})"
        line += shown
    return line


def _raised(exponent: str) -> str:
    if all(letter in SUPERSCRIPTS for letter in exponent):
        return "".join(SUPERSCRIPTS[letter] for letter in exponent)
    return f"^{exponent}" if len(exponent) == 1 or exponent.startswith("⊙") else f"^({exponent})"


def _lowered(index: str) -> str:
    if all(letter in SUBSCRIPTS for letter in index):
        return "".join(SUBSCRIPTS[letter] for letter in index)
    return f"_{index}" if len(index) == 1 else f"_({index})"
