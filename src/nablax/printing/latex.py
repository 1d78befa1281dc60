"""Layout to LaTeX, for math mode."""

from __future__ import annotations

from typing import assert_never

from nablax.notation import GREEK, PRINTED_LATEX
from nablax.printing.expression import Expression
from nablax.printing.layout import Fenced, Layout, Ratio, Row, Space, Style, Sub, Super, Word
from nablax.printing.typeset import typeset

COMMANDS = {
    **{letter: rf"\{name}" for name, letter in GREEK.items()}, "ε": r"\varepsilon", "φ": r"\varphi",
    "⊙": r"\odot", "⊗": r"\otimes", "⊘": r"\oslash", "−": "-",
    "ᵀ": r"\top", "−ᵀ": r"-\top", "↦": r"\mapsto", "∑": r"\sum", "𝟏": r"\mathbf{1}", "≤": r"\le",
    "≥": r"\ge", "≠": r"\ne", "‖": r"\|", "√": r"\surd ", "⟨": r"\langle", "⟩": r"\rangle",
    "∇": r"\nabla", "∂": r"\partial", "·": r"\cdot", "→": r"\to", "⌊": r"\lfloor", "⌋": r"\rfloor",
    "⌈": r"\lceil", "⌉": r"\rceil", "∞": r"\infty", "×": r"\times",
    "′": r"\prime", "″": r"\prime\prime", "‴": r"\prime\prime\prime", "⁗": r"\prime\prime\prime\prime",
}  # fmt: skip


def latex(expression: Expression) -> str:
    """The expression in LaTeX.

    Example:
        >>> from nablax.printing.expression import Product, Symbol, Transpose
        >>> x = Symbol("x", ("n",))
        >>> latex(Product((Transpose(x), x)))
        'x^{\\\\top} x'
    """
    return text(typeset(expression))


def text(layout: Layout) -> str:
    """A layout in LaTeX."""
    match layout:
        case Word(word, Style.OPERATOR):
            return rf" \quad\text{{{word}}}\quad " if word == "where" else f" {COMMANDS.get(word, word)} "
        case Word(word, Style.FUNCTION):
            if word in COMMANDS:
                return COMMANDS[word]
            escaped = word.replace("_", r"\_")
            return PRINTED_LATEX.get(word) or rf"\operatorname{{{escaped}}}"
        case Word(word, Style.VARIABLE):
            return _variable(word)
        case Word(word):
            return COMMANDS.get(word, word.replace("−", "-"))
        case Row(parts):
            return _joined([text(part) for part in parts])
        case Space():
            return r"\,"
        case Super(base, exponent):
            inside = text(base)
            return f"{{{inside}}}^{{{text(exponent)}}}" if "^" in inside else f"{inside}^{{{text(exponent)}}}"
        case Sub(base, index):
            return f"{text(base)}_{{{text(index)}}}"
        case Ratio(numerator, denominator):
            return rf"\frac{{{text(numerator)}}}{{{text(denominator)}}}"
        case Fenced(opening, body, closing):
            return rf"\left{COMMANDS.get(opening, opening)} {text(body)} \right{COMMANDS.get(closing, closing)}"
        case _:
            assert_never(layout)


def _variable(word: str) -> str:
    if word in COMMANDS:
        return COMMANDS[word]
    if word == "d²f":
        return r"\mathrm{d}^{2}f"
    if len(word) > 1 and word[0] == "d" and (word[1:] in COMMANDS or len(word) == 2):
        return rf"\mathrm{{d}}{COMMANDS.get(word[1:], word[1:])}"
    if len(word) > 1 and all(letter.isalnum() for letter in word):
        return rf"\mathit{{{word}}}"
    return word.replace("_", r"\_")


def _joined(parts: list[str]) -> str:
    """Parts with a space where a command would swallow a letter."""
    result = ""
    for part in parts:
        if result and not result.endswith(" ") and not part.startswith((" ", "^", "_", ",", r"\left(")):
            result += " "
        result += part
    return result
