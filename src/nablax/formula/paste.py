"""Formulas as books and this package print them, to the language: xᵀAx, ‖Ax − b‖², Xᵀp where p = σ(Xw), and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Collection

from nablax.formula.declarations import other_spelling
from nablax.formula.functions import SPELLINGS
from nablax.formula.grammar import GREEK
from nablax.formula.latex import without_latex
from nablax.formula.printed import FRACTIONS, LOWERED, ORDERS, RAISED, written
from nablax.notation import SMALL_GREEK

MARKS = frozenset({*RAISED, *LOWERED, *FRACTIONS, *"ᵀ⊤†‖∥⊙∘⊘⊗×√𝟏·⋅∑\\₋⌊⌈"})
LETTER = rf"[A-Za-z{GREEK}]"
# Products without a sign: 2x, 2(x + y), A x, (A + B)x, A'x; and functions without brackets, sin x.
SIDE_BY_SIDE = re.compile(
    rf"(?<![\w.])(?>\d+\.?\d*|\.\d+)(?![eE][+-]?\d)\s*(?:{LETTER}|[(⟨])|[\w)\]']\s+{LETTER}"
    rf"|(?:[)\]]|[\w)\]]')\s*(?:{LETTER}|\()"
)
CONDITION = re.compile(r"\[[^\[\]'\"]*[<>=≥≤≠]")  # [x > 0] is 1 there, else 0
BAR = re.compile(r"\|\||[|‖∥]")
ORDER = re.compile(r"([₀-₉]+)|_(F|\*|∞|[0-9]+)")
LONGEST_NAME = 30  # of a function
ORDER_NAMES = {"*": "nuc", "∞": "inf"}


def is_printed(text: str, declared: Collection[str] = ()) -> bool:
    """Whether a text has what the language itself does not have: its signs, or products without a sign.

    With neither these signs nor ``*``, a word of three small letters or more that is not known is rather a name, and
    the sign of a product forgotten.
    """
    if MARKS & set(text) or "^{" in text or CONDITION.search(text):
        return True
    if "*" in text or "@" in text:
        return False
    known = {*declared, *SPELLINGS, *SMALL_GREEK, *ORDERS}
    has_name = any(word not in known for word in re.findall(r"(?<!\w)[a-z]{3,}(?!\w)", text))
    return "⟨" in text or (bool(SIDE_BY_SIDE.search(bars(text))) and not has_name)


def from_printed(text: str, declared: Collection[str] = ()) -> str:
    """The formula in the language.

    Args:
        text: as a book prints it, in Unicode or LaTeX; definitions may follow after ``where``.
        declared: names of more than one letter.

    Returns:
        Text that `parse_expression` reads.

    Raises:
        FormulaError: a sign or an order of signs that has no meaning, or more than one.

    Example:
        >>> from_printed("½‖Ax − b‖² + λxᵀx")
        "(1/2)*norm2(A*x-b)^2+λ*x'*x"
        >>> from_printed(r"\\frac{1}{2}\\|Ax-b\\|^2")
        '((1)/(2))*norm2(A*x-b)^2'
    """
    names = {*declared, *map(other_spelling, declared)} - {""}
    if "\\" in text or "{" in text:
        text, named = without_latex(text, names)
        names |= named
    body, _, definitions = bars(text.replace("∑", " sum ")).partition(" where ")
    pairs = [pair.partition("=") for pair in re.split(r",\s*(?=[A-Za-z]\w*\s*=)", definitions)] if definitions else []
    names |= {name.strip() for name, _, _ in pairs}
    result = written(body.strip(), names)
    for name, _, value in reversed(pairs):
        meaning = written(value.strip(), names)
        result = re.sub(rf"(?<![A-Za-z0-9_.]){re.escape(name.strip())}(?![A-Za-z0-9_(])", f"({meaning})", result)
    return result


def bars(text: str) -> str:
    """Absolute values and norms by bars as calls: ``|x|`` is ``abs(x)``, and ``||x||`` is ``norm2(x)``.

    A bar closes where one like it was opened last and an operand stands before it. Where one stays open, the text is
    unchanged.

    Example:
        >>> bars("sum(|x - |y||)"), bars("||A*x - b||^2"), bars("‖x‖_∞")
        ('sum(abs(x - abs(y)))', 'norm2(A*x - b)^2', 'norm(x, inf)')
    """
    done = ""
    opened: list[tuple[bool, int]] = []  # whether it is a norm, and where its call begins
    place = 0
    while bar := BAR.search(text, place):
        done += text[place : bar.start()]
        before = done.rstrip()
        word = re.search(r"[A-Za-z0-9]*$", before[-LONGEST_NAME:])
        ends = re.match(r"[^\W_]|[)\]'⁺†⟩⌋⌉]", before[-1:]) and not (word and word[0] in SPELLINGS)
        norm, place = bar[0] != "|", bar.end()
        if bar[0] == "||" and ends and opened and not opened[-1][0]:
            norm, place = False, bar.start() + 1  # two that close one by one
        if not (ends and opened and opened[-1][0] is norm):
            done += " " if done[-1:].isalnum() else ""
            opened.append((norm, len(done)))
            done += "norm2(" if norm else "abs("
            continue
        _, start = opened.pop()
        if norm and (order := ORDER.match(text, place)):
            place = order.end()
            number = "".join(LOWERED.get(letter, letter) for letter in order[1] or order[2])
            if number != "F":
                done = f"{done[:start]}norm({done[start + len('norm2(') :]}, {ORDER_NAMES.get(number, number)}"
        done += ")"
    return text if opened else done + text[place:]
