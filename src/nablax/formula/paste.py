"""Formulas as books and this package print them, to the language: xᵀAx, ‖Ax − b‖², Xᵀp where p = σ(Xw), and LaTeX.

Letters side by side are factors there, so words are taken apart unless they are functions, Greek letters, or names
that are declared.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from nablax.errors import FormulaError
from nablax.formula.functions import SPELLINGS
from nablax.formula.grammar import GREEK as GREEK_LETTERS
from nablax.formula.syntax import Span
from nablax.notation import GREEK, SMALL_GREEK

SPELLED = {letter: name for name, letter in GREEK.items()}
MARKS = frozenset("ᵀ⁺†⁻¹²³⁰⁴⁵⁶⁷⁸⁹‖⊙⊘⊗×½⅓¼¾⅔⅙⅛√𝟏·⋅\\₀₁₂₃₄₅₆₇₈₉₋")
RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789", strict=True))
LETTERS = dict(zip("ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ⁺⁽⁾", "abcdefghijklmnoprstuvwxyz+()", strict=True))
LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
BELOW = str.maketrans("-0123456789", "₋₀₁₂₃₄₅₆₇₈₉")
FRACTIONS = {"½": "(1/2)", "⅓": "(1/3)", "¼": "(1/4)", "¾": "(3/4)", "⅔": "(2/3)", "⅙": "(1/6)", "⅛": "(1/8)"}
ORDERS = {
    "‖_*": ", nuc)", "‖₁": ", 1)", "‖_1": ", 1)", "‖₂": ", 2)", "‖_2": ", 2)", "‖₃": ", 3)", "‖_3": ", 3)",
}  # fmt: skip
CLOSING = (")", *ORDERS.values())
LONGEST_WORD = 300
ENTRYWISE = {"⊙": " .* ", "⊘": " ./ "}  # looser than a product without a sign
CROSSED = ("⊗", "×")  # looser still
SIGNS = {
    **ENTRYWISE, "·": "*", "⋅": "*", "−": "-", "𝟏": "vector(1)", "⟨": "<", "⟩": ">", "⌋": ")", "⌉": ")",
}  # fmt: skip
ROUNDED = {"⌊": "floor(", "⌈": "ceil("}
RELATED = {"≥": ">=", "≤": "<=", "≠": "!=", "=": "==", "<": "<", ">": ">"}
COMMANDS = {
    "cdot": "·", "odot": "⊙", "oslash": "⊘", "lVert": "‖", "rVert": "‖", "Vert": "‖", "|": "‖", "top": "ᵀ",
    "intercal": "ᵀ", "mathbf1": "𝟏", "langle": "⟨", "rangle": "⟩", "lvert": "|", "rvert": "|", "times": "×",
    "otimes": "⊗",
    "surd": "√", "ge": "≥", "le": "≤", "ne": "≠", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉",
    "varepsilon": "ε", "varphi": "φ",
}  # fmt: skip
STYLES = ("mathbf", "boldsymbol", "mathrm", "operatorname", "mathit", "bm", "text", "mathsf")
GROUPS = (
    (r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"((\1)/(\2))"),
    (r"\\sqrt\s*\{([^{}]*)\}", r"sqrt(\1)"),
    (r"\^\s*\{\s*\\odot\s*([^{}]*?)\s*\}", r"^⊙\1"),
    (r"(?<![\\a-z_])\{([^{}]*)\}(?=\s*[\^_ᵀ⁻⁰¹²³⁴-⁹])", r"(\1)"),
    (r"\^\s*\{([^{}]*)\}", r"^(\1)"),
    (r"_\s*\{\s*([^{}]*?)\s*\}", r"_\1"),
)
CONDITION = re.compile(r"(?=[^\[\]]*[<>=≥≤≠])[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*\]")
TOKEN = re.compile(
    rf"(?P<number>[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?)|(?P<last>e₋[₀-₉]+)|(?P<word>[A-Za-z{GREEK_LETTERS}]+?(?=e₋)|[A-Za-z{GREEK_LETTERS}]+[₀-₉]*(?:_?[0-9]+)?)"
    r"|(?P<power>\^⊙(?:[0-9]+(?:/[0-9]+)?|\((?:\([0-9]+\)/\([0-9]+\))\))|[⁻⁰¹²³⁴-⁹]+ᵀ?|ᵀ|'|\^?†|⁺(?![⁰¹²³⁴-⁹ᵃ-ᶻⁱ]))"
    r"|(?P<letters>[⁻⁰¹²³⁴-⁹ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ⁺⁽⁾]+)|(?P<rounded>[⌊⌈])|(?P<fraction>[½⅓¼¾⅔⅙⅛])|(?P<one>𝟏)"
    r"|(?P<norm>‖(?:_F|_\*|[₁₂₃]|_[123])?)|(?P<bar>\|)|(?P<root>√)|(?P<sign>\.[*/^]|[-+*/^,<>=()⊙⊘⊗×·⋅−⟨⟩≥≤≠⌋⌉\[\]:]+?)|(?P<space>\s+)"
)


def is_printed(text: str) -> bool:
    """Whether a text has signs that the language itself does not have."""
    return bool(MARKS & set(text)) or "^{" in text


def from_printed(text: str, declared: Collection[str] = ()) -> str:
    """The formula in the language.

    Args:
        text: as a book prints it, in Unicode or LaTeX; definitions may follow after ``where``.
        declared: names of more than one letter.

    Returns:
        Text that `parse_expression` reads.

    Raises:
        FormulaError: a sign that is none of these.

    Example:
        >>> from_printed("½‖Ax − b‖² + λxᵀx")
        "(1/2)*norm2(A*x-b)^2+λ*x'*x"
        >>> from_printed(r"\\frac{1}{2}\\|Ax-b\\|^2")
        '((1)/(2))*norm2(A*x-b)^2'
    """
    text = _without_latex(text) if "\\" in text or "{" in text else text
    body, _, definitions = text.partition(" where ")
    result = _converted(body.strip(), declared)
    pairs = re.split(r",\s*(?=[A-Za-z]\w*\s*=)", definitions) if definitions else []
    for pair in reversed(pairs):
        name, _, value = pair.partition("=")
        meaning = _converted(value.strip(), declared)
        result = re.sub(rf"(?<![A-Za-z0-9_.]){re.escape(name.strip())}(?![A-Za-z0-9_(])", f"({meaning})", result)
    return result


def bars(text: str) -> str:
    """Absolute values by bars as calls: ``|x|`` is ``abs(x)``.

    Example:
        >>> bars("sum(|x - |y||)")
        'sum(abs(x - abs(y)))'
    """
    pieces: list[str] = []
    depth = 0
    for letter in text:
        if letter != "|":
            pieces.append(letter)
            continue
        before = "".join(pieces).rstrip()
        if before and (before[-1].isalnum() or before[-1] in ")]'") and depth:
            pieces.append(")")
            depth -= 1
        else:
            pieces.append("abs(")
            depth += 1
    return "".join(pieces) if not depth else text


def _without_latex(text: str) -> str:
    """LaTeX in the signs of Unicode."""
    text = re.sub(r"\\(left|right|big|Big|bigl|bigr|displaystyle|,|;|!|quad)(?![A-Za-z])", " ", text)
    text = text.replace(r"\{", "(").replace(r"\}", ")").replace(r"\_", "_")
    text = re.sub(r"\\mathbf\s*\{?1\}?", "𝟏", text)
    text = re.sub(r"\\mathrm\s*\{d\}\s*\\?", "d", text)
    text = re.sub(rf"\\(?:{'|'.join(STYLES)})\s*\{{([^{{}}]*)\}}", r" \1 ", text)
    text = re.sub(r"\^\s*\{?\s*(?:\\top|\\intercal|T|\\mathsf\s*T)\s*\}?", "ᵀ", text)
    text = re.sub(r"\^\s*(?:\{\s*(?:\+|\\dagger)\s*\}|\\dagger)", "⁺", text)
    text = re.sub(r"\^\s*\{\s*-\s*(?:\\top|T)\s*\}", "⁻ᵀ", text)
    text = re.sub(r"\^\s*\{\s*(-?)([0-9]+)\s*\}", lambda m: _raised(m[1] + m[2]), text)
    text = re.sub(r"\^\s*([0-9])", lambda m: _raised(m[1]), text)
    before = ""
    while before != text:  # from the innermost braces outwards
        before = text
        for pattern, replacement in GROUPS:
            text = re.sub(pattern, replacement, text)
    text = re.sub(r"\\sigma\s*\(", "sigmoid(", text)
    text = re.sub(r"(?<![A-Za-z])e\s*_\s*(-?[0-9]+)", lambda m: "e" + m[1].translate(BELOW), text)

    def command(match: re.Match[str]) -> str:
        word = match[1]
        if word in COMMANDS:
            return COMMANDS[word]
        if word.lower() in SMALL_GREEK or word in SPELLINGS:
            return f" {word} "
        reason, place = f"the command \\{word} has no meaning here", Span(match.start(), match.end())
        raise FormulaError(reason, match.string, place, advice="write the formula as plain text")

    text = re.sub(r"\\(\||[A-Za-z]+)", command, text)
    return text.replace("{", "(").replace("}", ")").replace("_(F)", "_F")


def _raised(digits: str) -> str:
    letters = {digit: letter for letter, digit in RAISED.items()} | {"-": "⁻"}
    return "".join(letters[digit] for digit in digits)


def _converted(text: str, declared: Collection[str]) -> str:
    pieces: list[str] = []
    opened: list[str] = []  # powers of functions, due behind their brackets, and what closes roots
    is_root = False  # whether the next bracket is that of a function under a root
    indicators: list[bool] = []  # whether a square bracket is one of a condition
    open_norms: list[tuple[str, int]] = []  # what closes each one, a norm or a bar, and its piece
    place = 0
    while place < len(text):
        if long := _long_name(text, place, declared):
            _append(pieces, long)
            place += len(long)
            continue
        match = TOKEN.match(text, place)
        if match is None:
            reason = f"the character {text[place]!r} has no meaning here"
            raise FormulaError(reason, text, Span(place, place + 1), advice="write the formula as plain text")
        place = match.end()
        kind, found = str(match.lastgroup), match[0]
        ends = bool(pieces) and (pieces[-1][-1].isalnum() or pieces[-1][-1] in ")]'⁺_")
        match kind:
            case "space":
                continue
            case "word":
                if len(found) > LONGEST_WORD:
                    reason = f"a word of {len(found):,} letters is neither a name nor a product"
                    raise FormulaError(reason, text, Span(match.start(), place))
                for part in _parts(found, declared, text[place : place + 1] == "("):
                    _append(pieces, part)
            case "number":
                _append(pieces, found)
            case "last":  # e₋₁ᵀx is the last entry of x
                _append(pieces, f"eye[:,-{''.join(LOWERED[digit] for digit in found[2:])}]")
            case "fraction":
                _append(pieces, FRACTIONS[found])
            case "one":
                _append(pieces, "vector(1)")
            case "power":
                pieces.append(_power(found))
            case "norm" | "bar":
                if ends and open_norms and open_norms[-1][0] == kind:
                    _, start = open_norms.pop()
                    order = ORDERS.get(found, ")")
                    pieces[start] = "norm(" if order != ")" else pieces[start]
                    pieces.append(order)
                else:
                    _append(pieces, "norm2(" if kind == "norm" else "abs(")
                    open_norms.append((kind, len(pieces) - 1))
            case "letters":
                inside = "".join({**RAISED, **LETTERS, "⁻": "-"}[letter] for letter in found)
                pieces.append(f"^({_converted(inside, declared)})")
            case "rounded":
                _append(pieces, ROUNDED[found])
            case "root":
                following = TOKEN.match(text, place + len(text[place:]) - len(text[place:].lstrip()))
                word = following[0] if following else "("
                if word == "(":
                    _append(pieces, "sqrt")
                elif following is not None and text[following.end() :].lstrip().startswith("("):
                    _append(pieces, "sqrt(")
                    is_root = True
                else:
                    _append(pieces, f"sqrt({_converted(word, declared)})")
                    place = following.end() if following else place
            case _ if found == "(":
                raised = ")" if is_root else ""
                is_root = False
                if len(pieces) > 1 and pieces[-1][0] == "^" and pieces[-2] in SPELLINGS:
                    raised = "." + pieces.pop()  # tanh²(x)
                if ends and pieces[-1] not in SPELLINGS:
                    pieces.append("*")
                pieces.append("(")
                opened.append(raised)
            case _ if found == "[" and (condition := CONDITION.match(text, place)):
                _append(pieces, "where(")
                indicators.append(bool(condition))
            case _ if found == "]" and indicators:
                indicators.pop()
                pieces += [",", "1", ",", "0", ")"]
            case _ if found in RELATED and indicators:
                pieces.append(RELATED[found])
            case _ if found == ")":
                pieces.append(")" + (opened.pop() if opened else ""))
            case _:
                pieces.append(SIGNS.get(found, found))
    return "".join(_grouped(pieces))


def _grouped(pieces: list[str]) -> list[str]:
    """Products in brackets where they stand beside an entrywise sign."""
    found: list[str] = []
    starts: list[int] = [0]
    products: list[bool] = [False]
    meets = _meeting_entrywise(pieces)
    entrywise: list[bool] = [meets[0]]

    def close() -> None:
        """Ends a factor between entrywise signs."""
        if products[-1] and entrywise[-1]:
            found.insert(starts[-1], "(")
            found.append(")")

    for place, piece in enumerate(pieces):
        inner = piece.endswith("(")
        ends = piece.startswith(CLOSING) or piece in ("+", "-", *CROSSED, ",", "<", ">", ">=", "<=", "==", "!=")
        if piece in ENTRYWISE.values():
            entrywise[-1] = True
            close()
        elif ends:
            close()
        if piece.startswith(CLOSING) and len(starts) > 1:
            starts.pop()
            products.pop()
            entrywise.pop()
        found.append(piece)
        if inner:
            starts.append(len(found))
            products.append(False)
            entrywise.append(meets[place + 1])
        elif ends and not piece.startswith(")"):
            starts[-1], products[-1], entrywise[-1] = len(found), False, meets[place + 1]
        elif piece in ENTRYWISE.values():
            starts[-1], products[-1] = len(found), False
        elif piece == "*":
            products[-1] = True
    close()
    return found


def _meeting_entrywise(pieces: list[str]) -> list[bool]:
    """Whether an entrywise sign follows in the same term, for each piece and for the end."""
    closing: dict[int, int] = {}
    opened: list[int] = []
    for place, piece in enumerate(pieces):
        if piece.startswith(CLOSING) and opened:
            closing[opened.pop()] = place
        if piece.endswith("("):
            opened.append(place)
    meets = [False] * (len(pieces) + 1)
    for place, piece in reversed(list(enumerate(pieces))):
        if piece in ENTRYWISE.values():
            meets[place] = True
        elif piece.endswith("("):
            meets[place] = place in closing and meets[closing[place] + 1]
        elif piece not in ("+", "-", *CROSSED) and not piece.startswith((")", ",")):
            meets[place] = meets[place + 1]
    return meets


def _append(pieces: list[str], piece: str) -> None:
    """Puts a factor behind another: a product has a sign in the language."""
    if pieces and pieces[-1] == "log" and piece == "det":
        pieces[-1] = "logdet"
        return
    if pieces and pieces[-1] in SPELLINGS and not piece.endswith("(") and piece not in SPELLINGS:
        pieces += ["(", piece, ")"]  # log x
        return
    if pieces and (pieces[-1][-1].isalnum() or pieces[-1][-1] in ")]'⁺") and pieces[-1] not in SPELLINGS:
        pieces.append("*")
    pieces.append(piece)


def _long_name(text: str, place: int, declared: Collection[str]) -> str:
    """The longest name with an underscore among its letters that begins here: x_train, first_eigenvector."""
    if place and re.match("[A-Za-z0-9_]", text[place - 1]):
        return ""
    known = (name for name in (*declared, *SPELLINGS) if "_" in name and text.startswith(name, place))
    ended = (name for name in known if not re.match("[A-Za-z0-9_]", text[place + len(name) : place + len(name) + 1]))
    return max(ended, key=len, default="")


def _parts(word: str, declared: Collection[str], called: bool) -> list[str]:
    """A word as one name, or its letters."""
    found: list[str] = []
    while word:
        part, word = _last_part(word, declared, called)
        found.append(part)
        called = False
    return found[::-1]


def _last_part(word: str, declared: Collection[str], called: bool) -> tuple[str, str]:
    """The last factor of a word, and what stands before it."""
    plain = "".join(LOWERED.get(letter, letter) for letter in word)
    if re.fullmatch("e[₀-₉]+", word) and not {plain, f"e_{plain[1:]}"} & set(declared):
        return f"eye[:,{plain[1:]}]", ""
    if plain == "σ" and called:
        return "sigmoid", ""
    if plain == "Φ" and called:
        return "Phi", ""
    if plain == "I" and plain not in declared:
        return "eye", ""
    if plain == "π" and not {"π", "pi"} & set(declared):
        return "pi", ""
    stem = re.sub(r"_?\d+$", "", plain)
    whole = _spelled(plain, declared)
    if whole not in declared and (apart := f"{stem}_{plain[len(stem) :]}") in declared:
        whole = apart  # x_1 is printed x₁
    if whole in declared or stem in SPELLINGS or stem.lower() in SMALL_GREEK or len(stem) == 1:
        return whole, ""
    for name in sorted((*declared, *SPELLINGS), key=len, reverse=True):  # Axexp(y), AᵀdX, dXA
        if len(name) < 2 or not stem.endswith(name) or stem != plain:
            continue
        if name in declared or called:
            return name, stem[: -len(name)]
    return _last_part(stem[-1] + word[len(stem) :], declared, called)[0], stem[:-1]


def _power(found: str) -> str:
    if found in ("ᵀ", "'"):
        return "'"
    if found in ("⁺", "†", "^†"):
        return "⁺"
    if found.startswith("^⊙"):
        return f".^({found[2:]})" if "/" in found else f".^{found[2:]}"
    digits = "".join(RAISED.get(letter, "-" if letter == "⁻" else "") for letter in found)
    exponent = "-1" if digits == "-" else digits
    return f"^{exponent}" + ("'" if found.endswith("ᵀ") else "")


def _spelled(letter: str, declared: Collection[str]) -> str:
    """A letter as the name that is declared: λ is printed for lambda."""
    stem = letter.rstrip("0123456789_")
    change = "d" if len(stem) == 2 and stem[0] == "d" else ""
    name = change + SPELLED.get(stem[len(change) :], stem[len(change) :]) + letter[len(stem) :]
    return name if letter not in declared and name in declared else letter
