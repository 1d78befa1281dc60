"""LaTeX to the same formula in the signs of Unicode, as books print it; its words are taken apart later."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from nablax.errors import FormulaError
from nablax.formula.functions import SPELLINGS
from nablax.formula.grammar import WORD
from nablax.formula.syntax import Span
from nablax.notation import GREEK

BELOW = str.maketrans("-0123456789", "₋₀₁₂₃₄₅₆₇₈₉")
ABOVE = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
COMMANDS = {
    "cdot": "·", "odot": "⊙", "circ": "⊙", "oslash": "⊘", "lVert": "‖", "rVert": "‖", "Vert": "‖", "|": "‖",
    "parallel": "‖", "top": "ᵀ", "intercal": "ᵀ", "langle": "⟨", "rangle": "⟩", "lvert": "|", "rvert": "|",
    "vert": "|", "times": "×", "otimes": "⊗", "surd": "√", "ge": "≥", "geq": "≥", "le": "≤", "leq": "≤", "ne": "≠",
    "neq": "≠", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "varepsilon": "ε", "varphi": "φ",
    "infty": "∞", "prime": "'",
}  # fmt: skip
STYLE = re.compile(r"\\(?:mathbf|boldsymbol|mathrm|operatorname|mathit|bm|text|textrm|mathsf)\s*\{([^{}]*)\}")
SPACING = r"\\(?:displaystyle|textstyle|limits|quad|qquad)(?![A-Za-z])|\\[,;:!> ]|~|\$|\\[\[\]()]"
FENCES = r"\\(?:left|right|[bB]igg?[lrm]?)(?![A-Za-z])\.?\s*"
TRANSPOSED = r"\\top|\\intercal|\\mathsf\s*T|⊤|T"
ONE = r"(\{[^{}]*\}|\\[A-Za-z]+|[0-9A-Za-z])"  # what a command takes: a group, or the next sign
GROUPS: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (rf"\\[dt]?frac\s*{ONE}\s*{ONE}", lambda m: f"(({m[1].strip('{}')})/({m[2].strip('{}')}))"),
    (rf"\\sqrt\s*{ONE}", lambda m: f" sqrt({m[1].strip('{}')})"),
    (r"\^\s*\{\s*\\(?:odot|circ)\s*([^{}]*?)\s*\}", r"^⊙\1"),
    (r"(?<![\\a-z_])\{([^{}]*)\}(?=\s*[\^_ᵀ⁻⁰¹²³⁴-⁹])", r"(\1)"),
    (r"\^\s*\{([^{}]*)\}", r"^(\1)"),
    (r"_\s*\{\s*([^{}]*?)\s*\}", r"_\1"),
)


def without_latex(text: str, declared: Collection[str]) -> tuple[str, set[str]]:
    r"""The formula in the signs of Unicode.

    Args:
        text: LaTeX of math mode.
        declared: names; letters in one style that are no function are one name, unless all of them are declared.

    Returns:
        The text, and the names that a style holds together.

    Raises:
        FormulaError: a command that is none of these.

    Example:
        >>> without_latex(r"\frac12\|\mathrm{loss}\|_2^2", ())
        ('((1)/(2))‖ loss‖_2²', {'loss'})
    """
    named: set[str] = set()

    def styled(match: re.Match[str]) -> str:
        word = match[1].strip()
        behind = " " if match.string[match.end() : match.end() + 1].isalnum() else ""
        if word.lower() in SPELLINGS and word not in declared:
            return f" {word.lower() if word not in SPELLINGS else word}{behind}"
        if len(word) > 1 and re.fullmatch(WORD, word) and word not in declared and not set(word) <= set(declared):
            if match.string[match.end() :].lstrip().startswith("("):
                reason, place = f"unknown function {word!r}", Span(match.start(), match.end())
                raise FormulaError(reason, match.string, place, f"a product is written {word} \\cdot (…)")
            named.add(word)
        return f" {word}{behind}"

    text = re.sub(FENCES, "", text)
    text = re.sub(SPACING, " ", text).replace(r"\{", "(").replace(r"\}", ")").replace(r"\_", "_")
    text = re.sub(r"\\mathbf\s*\{?1\}?|\\mathbb\s*\{?1\}?", "𝟏", text)
    text = re.sub(r"\\mathrm\s*\{d\}\s*\\?", "d", text)
    text = STYLE.sub(styled, text)
    text = re.sub(rf"\^\s*(?:\{{\s*(?:{TRANSPOSED})\s*\}}|{TRANSPOSED})", "ᵀ", text)
    text = re.sub(r"\^\s*(?:\{\s*(?:\+|\\dagger)\s*\}|\\dagger)", "⁺", text)
    text = re.sub(r"\^\s*\{\s*-\s*(?:\\top|T)\s*\}", "⁻ᵀ", text)
    text = re.sub(r"\^\s*\{\s*(-?[0-9]+)\s*\}|\^\s*([0-9])", lambda m: (m[1] or m[2]).translate(ABOVE), text)
    before = ""
    while before != text:  # from the innermost braces outwards
        before = text
        for pattern, replacement in GROUPS:
            text = re.sub(pattern, replacement, text)
    text = re.sub(r"(?<![A-Za-z])e\s*_\s*(-?[0-9]+)", lambda m: "e" + m[1].translate(BELOW), text)
    return re.sub(r"\\(\||[A-Za-z]+)", _command, text).replace("{", "(").replace("}", ")"), named


def _command(match: re.Match[str]) -> str:
    word = match[1]
    if word in COMMANDS:
        return COMMANDS[word]
    called = match.string[match.end() :].lstrip().startswith("(")
    if word in GREEK and not (called and word in SPELLINGS):  # ψ(x) is the digamma function, ψ alone a letter
        return GREEK[word]
    if word in SPELLINGS or word.lower() in SPELLINGS:
        return f" {word if word in SPELLINGS else word.lower()}{'' if called else ' '}"
    reason, place = f"the command \\{word} has no meaning here", Span(match.start(), match.end())
    raise FormulaError(reason, match.string, place, advice="write the formula as plain text")
