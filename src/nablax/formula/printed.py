"""One printed expression to the language: its tokens, and what each rule of the printed grammar is there.

Letters side by side are factors, so words are taken apart unless they are functions, Greek letters, or known names.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, cast

from lark import Lark, Token, Transformer, UnexpectedInput
from lark.lexer import Lexer

from nablax.errors import FormulaError
from nablax.formula.functions import FUNCTIONS, SPELLINGS, canonical
from nablax.formula.grammar import GREEK, NUMBER, PRINTED
from nablax.formula.parse import refused
from nablax.formula.syntax import Span
from nablax.notation import SMALL_GREEK

RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ⁺⁽⁾", "0123456789-abcdefghijklmnoprstuvwxyz+()", strict=True))
LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
FRACTIONS = {"½": "(1/2)", "⅓": "(1/3)", "¼": "(1/4)", "¾": "(3/4)", "⅔": "(2/3)", "⅙": "(1/6)", "⅛": "(1/8)"}
ORDERS = frozenset({"nuc", "inf", "fro"})  # of norms
SUMS = frozenset({"sum", "prod", "mean"})  # how far they reach is not agreed on: ∑ x log x
LONGEST_WORD = 300
UP = f"[{''.join(RAISED)}]"
LETTER = rf"[A-Za-z{GREEK}]"
POWER = r"⁻?[⁰¹²³⁴-⁹]+ᵀ?|\^[-−]?[0-9]+(?!\d|\.\d)"
TOKEN = re.compile(
    rf"(?P<one>𝟏)|(?P<NUMBER>(?a:{NUMBER.strip('/')}))|(?P<last>e₋[₀-₉]+)"
    rf"|(?P<word>{LETTER}+?(?=e₋)|{LETTER}+[₀-₉]*(?:_?[0-9]+)?)|(?P<letters>(?={UP}*(?![⁰¹²³⁴-⁹⁻⁺⁾]){UP}){UP}+)"
    rf"|(?P<POWER>{POWER}|⁻ᵀ|\^?[ᵀ⊤']|\.T(?!\w)|\^?†|⁺|\^[⊙∘][0-9]+(?:/[0-9]+)?)|(?P<transposed>\^T(?![0-9_]))"
    r"|(?P<HAT>\.\^|\^[⊙∘]?|\*\*)|(?P<rounded>[⌊⌈])|(?P<fraction>[½⅓¼¾⅔⅙⅛])|(?P<ROOT>√)"
    r"|(?P<INDEX>\[[\w\s:,−-]*\])|(?P<ENTRYWISE>[⊙∘⊘]|\.[*/])|(?P<CROSSED>[⊗×])|(?P<SIGN>[-+−])|(?P<OVER>/)"
    r"|(?P<TIMES>[*·⋅@])|(?P<RELATION>[<>=!]=|[≥≤≠=])|(?P<COMMA>,)|(?P<LPAR>\()|(?P<RPAR>[)⌋⌉])|(?P<LSQB>\[)"
    r"|(?P<RSQB>\])|(?P<LANGLE>⟨)|(?P<RANGLE>⟩)|(?P<LESS><)|(?P<MORE>>)|(?P<space>\s+)"
)
PLAIN = {
    "−": "-", "⊙": " .* ", "∘": " .* ", ".*": " .* ", "⊘": " ./ ", "./": " ./ ", "·": "*", "⋅": "*", "⌋": ")", "⌉": ")",
    "⟨": "<", "⟩": ">", "≥": ">=", "≤": "<=", "≠": "!=", "=": "==", "^⊙": ".^", "^∘": ".^", "⌊": "floor", "⌈": "ceil",
    "†": "⁺", "^†": "⁺", ".T": "'", "^'": "'", "⊤": "'", "^⊤": "'", "ᵀ": "'", "^ᵀ": "'", "⁻ᵀ": "^-1'",
}  # fmt: skip
ENDS = frozenset({"NAME", "NUMBER", "RPAR", "RSQB", "RANGLE", "POWER", "INDEX"})  # of an operand
CALLED = re.compile(rf"\s*(?:{POWER})?\s*\(")
EXPONENT = re.compile(rf"\s*(?:\^(?!\s*(?:[-−]?[0-9]|[T⊙∘†]))|(?={UP}*(?![⁰¹²³⁴-⁹⁻⁺⁾]){UP}))")
# One half before a factor, told apart from 1/(2σ²) by a gap or a bracket.
HALF = re.compile(
    r"(?P<half>[0-9]+\s*/\s*[0-9]+)(?:(?P<apart>\s+(?=[\w(⟨√])|(?=[(⟨⌊⌈\[]))|(?=[^\W0-9]|√))(?![eE][0-9])"
)
BARE = re.compile(r"\s+[\w√(]")
FACTORS = re.compile(r"(?:\([^()]*\)|[^\s()+\-−*/·⋅⊙∘⊘⊗×,=<>\]])+")


def written(text: str, names: Collection[str]) -> str:
    """A printed expression in the language.

    Args:
        text: without LaTeX, bars and definitions.
        names: what is known; letters of other names are factors.

    Raises:
        FormulaError: what it says has no meaning, or more than one.

    Example:
        >>> written("xᵀAx/xᵀx + sin 2t", ())
        "x'*A*x/(x'*x)+sin(2*t)"
    """
    tokens = _calls(list(_tokens(text, names)), names)
    _check_roots(tokens, text)
    try:
        return cast(Written, cast(object, _parser().parse(cast(Any, tokens)))).text
    except FormulaError as error:
        raise error.within(text) from None
    except UnexpectedInput as error:
        raise refused(error, text, "printed formula", "write the formula as plain text") from None


@dataclass(frozen=True, slots=True)
class Written:
    """A part in the language.

    Args:
        text: as the language has it.
        is_chain: whether factors or quotients stand side by side in it.
        function: of which function the whole is a call.
        reach: a sum whose argument ends here, without a bracket that says so.
    """

    text: str
    is_chain: bool = False
    function: str = ""
    reach: Token | None = None

    @property
    def closed(self) -> str:
        """In brackets where it is a chain."""
        return f"({self.text})" if self.is_chain else self.text


class _Writer(Transformer[Token, Written]):
    """Writes each rule of the printed grammar in the language."""

    def printed(self, parts: list[Any]) -> Written:
        return Written("".join(part.text if isinstance(part, Written) else str(part) for part in parts))

    sum = crossed = comparison = negative = raised = raised_call = inner = leaf = parenthesis = printed

    def entrywise(self, parts: list[Any]) -> Written:
        left, sign, right = parts
        return Written(f"{left.closed}{sign}{right.closed}")

    def quotient(self, parts: list[Any]) -> Written:
        left, sign, right = parts
        return Written(f"{left.text}{sign}{right.closed if sign == '/' else right.text}", is_chain=True)

    def signed(self, parts: list[Any]) -> Written:
        return Written(parts[0] + parts[1].text, parts[1].is_chain)

    def product(self, parts: list[Any]) -> Written:
        left, right = parts
        if left.reach:
            reason = f"whether the {left.reach} goes over the function behind it too is not said"
            span = Span(left.reach.start_pos, left.reach.end_pos)
            raise FormulaError(reason, span=span, advice=f"write {left.reach}(…)")
        return Written(f"{left.text}*{right.text}", is_chain=True, reach=right.reach)

    run = continued = product

    def application(self, parts: list[Any]) -> Written:
        argument = parts[-1]
        name, power = parts[0], parts[1] if len(parts) > 2 else ""
        if canonical(name) == "log" and not power and argument.function == "det":
            return Written("log" + argument.text, function="logdet")
        reach = argument.reach or (name if name in SUMS else None)
        return Written(f"{name}({argument.text}){_of_value(name, power)}", function="" if power else name, reach=reach)

    filling = application

    def call(self, parts: list[Any]) -> Written:
        name, power = parts[0], parts[1] if parts[1].type == "POWER" else ""
        arguments = self.printed(parts[2 if power else 1 :]).text
        return Written(f"{name}{arguments}{_of_value(name, power)}", function="" if power else name)

    def root(self, parts: list[Any]) -> Written:
        inside = parts[1].text
        return Written(f"sqrt{inside}" if inside[0] == "(" else f"sqrt({inside})")

    def exponential(self, parts: list[Any]) -> Written:
        inside = parts[-1].text if isinstance(parts[-1], Written) else parts[-1].removeprefix("^")
        return Written(f"exp{inside}" if inside[0] == "(" else f"exp({inside})")

    def condition(self, parts: list[Any]) -> Written:
        return Written(f"where({parts[1].text},1,0)")


def _of_value(name: Token, power: Token | str) -> str:
    """The power of a function's value, entrywise: tanh²(x)."""
    if isinstance(power, Token) and not power[1:].isdigit():
        reason = f"{name} with this power could be its inverse or that of its value"
        span = Span(cast(int, name.start_pos), cast(int, power.end_pos))
        raise FormulaError(reason, span=span, advice=f"write 1/{name}(…), or the inverse function by its name")
    return f".{power}" if power else ""


class _Found(Lexer):
    """Hands on the tokens, which are found before: which a word is depends on the names that are known."""

    def __init__(self, _: Any) -> None:
        pass

    def lex(self, tokens: Any) -> Iterator[Token]:  # type: ignore[override]
        return iter(tokens)


@functools.cache
def _parser() -> Lark:
    return Lark(PRINTED, parser="lalr", start="printed", lexer=_Found, transformer=_Writer(), maybe_placeholders=False)


def _tokens(text: str, names: Collection[str]) -> Iterator[Token]:
    underscored = sorted((name for name in (*names, *SPELLINGS) if "_" in name), key=len, reverse=True)
    long_name = re.compile(rf"(?<![A-Za-z0-9_])(?:{'|'.join(map(re.escape, underscored))})(?![A-Za-z0-9_])")
    place, last = 0, ""
    while place < len(text):
        kind, match = "long", long_name.match(text, place)
        if match is None:
            match = TOKEN.match(text, place)
            if match is None:
                reason = f"the character {text[place]!r} has no meaning here"
                raise FormulaError(reason, text, Span(place, place + 1), advice="write the formula as plain text")
            kind = cast(str, match.lastgroup)
        found, start, place = match[0], match.start(), match.end()
        values: list[tuple[str, str]] = []
        match kind:
            case "space":
                continue
            case "long":
                values = [("CALLEE" if found not in names else "NAME", found)]
            case "word" if len(found) > LONGEST_WORD:
                reason = f"a word of {len(found):,} letters is neither a name nor a product"
                raise FormulaError(reason, text, Span(start, place))
            case "word":
                values = _parts(found, text[place:], names)
            case "last":  # e₋₁ᵀx is the last entry of x
                values = [("NAME", f"eye[:,-{_lowered(found[2:])}]")]
            case "NUMBER" if last == "NUMBER":
                reason = "two numbers stand side by side"
                raise FormulaError(reason, text, Span(start, place), advice="write · between factors")
            case "NUMBER" if last not in ("OVER", "HAT") and (half := HALF.match(text, start)):
                if half["apart"] is None:
                    factors = FACTORS.match(text, half.end())
                    ones = half["half"].replace(" ", "").split("/")
                    behind = factors[0] if factors else ""
                    reason = f"{half[0]}{behind} can be read in two ways"
                    advice = f"write {ones[0]}/({ones[1]}{behind}) or ({half['half']}){behind}"
                    raise FormulaError(reason, text, Span(start, half.end() + len(behind)), advice)
                values, place = [("NUMBER", f"({half['half']})")], half.end()
            case "fraction":
                values = [("NUMBER", FRACTIONS[found])]
            case "one":
                values = [("NAME", "vector(1)")]
            case "letters":
                values = [("POWER", f"^({written(''.join(RAISED[letter] for letter in found), names)})")]
            case "rounded":
                values = [("CALLEE", PLAIN[found]), ("LPAR", "(")]
            case "transposed" if "T" in names:
                values, place = [("HAT", "^")], start + 1
            case "transposed":
                values = [("POWER", "'")]
            case "POWER":
                values = [("POWER", _power(found))]
            case "INDEX" if last not in ENDS:
                values, place = [("LSQB", "[")], start + 1
            case "INDEX":
                values = [("INDEX", found.replace("−", "-"))]
            case "LESS" if last not in ENDS:
                values = [("LANGLE", "<")]
            case _:
                values = [(kind, PLAIN.get(found, found))]
        for last, value in values:
            yield Token(last, value, start, end_pos=place)


def _power(found: str) -> str:
    if found in PLAIN:
        return PLAIN[found]
    if found[1:2] in ("⊙", "∘"):
        return f".^({found[2:]})" if "/" in found else f".^{found[2:]}"
    if found[0] in RAISED and found != "⁺":
        return "^" + "".join(RAISED.get(letter, "'") for letter in found)
    return found.replace("−", "-")


def _lowered(text: str) -> str:
    return "".join(LOWERED.get(letter, letter) for letter in text)


def _parts(word: str, following: str, names: Collection[str]) -> list[tuple[str, str]]:
    """A word as one name or function, or its factors."""
    found: list[tuple[str, str]] = []
    while word:
        kind, part, word = _last_part(word, following, names)
        found.append((kind, part))
        following = f" {part}"
    return found[::-1]


def _last_part(word: str, following: str, names: Collection[str]) -> tuple[str, str, str]:
    """The last factor of a word: its kind, itself, and what stands before it."""
    plain = _lowered(word)
    stem = re.sub(r"_?\d+$", "", plain)
    digits = plain[len(stem) :]
    called = bool(CALLED.match(following))
    if plain in names or (plain := f"{stem}_{digits}") in names:  # x_1 is printed x₁
        return "NAME", plain, ""
    plain = stem + digits
    if re.fullmatch("e[₀-₉]+", word):
        return "NAME", f"eye[:,{digits}]", ""
    if plain == "e" and EXPONENT.match(following):
        return "EULER", plain, ""
    if plain in ("I", "π"):
        return "NAME", {"I": "eye", "π": "pi"}[plain], ""
    if stem in SPELLINGS and (called or _takes_one(stem)):
        return "CALLEE" if called else "FUNCTION", plain, ""
    if called and canonical(plain) in FUNCTIONS:  # σ(x)
        return "CALLEE", canonical(plain), ""
    if called and word.lower() in SPELLINGS and len(word) > 1 and not set(word) <= set(names):  # Tr(X)
        return "CALLEE", word.lower(), ""
    if stem in SPELLINGS or stem.lower() in SMALL_GREEK or len(stem) == 1 or plain in ORDERS:
        return "NAME", plain, ""
    for name in sorted((*names, *SPELLINGS), key=len, reverse=True):  # Axexp(y), AᵀdX, dXA
        if len(name) < 2 or stem != plain or not stem.endswith(name):
            continue
        if name in names or called:
            return "NAME" if name in names else "CALLEE", name, stem[: -len(name)]
        if len(name) > 2 and _takes_one(name) and BARE.match(following) and not set(name) <= set(names):
            return "FUNCTION", name, stem[: -len(name)]
    if re.fullmatch("[a-z]{3,}", stem) and following.startswith("(") and not set(stem) <= set(names):
        return "CALLEE", plain, ""  # is refused later, as an unknown function
    kind, last, _ = _last_part(stem[-1] + word[len(stem) :], following, names)
    return kind, last, stem[:-1]


def _takes_one(spelling: str) -> bool:
    """Whether a function may stand before its argument without brackets: not where it is a Greek letter too."""
    return FUNCTIONS[SPELLINGS[spelling]].least == 1 and spelling.lower() not in SMALL_GREEK


def _calls(tokens: list[Token], names: Collection[str]) -> list[Token]:
    """Letters that look like functions, f(x), as calls: they are refused later, as unknown functions.

    A letter is a factor where it is known, stands elsewhere too, or has more than a name in its brackets: 2W(s − x).
    """

    def looks(place: int) -> bool:
        kinds = [token.type for token in tokens[place : place + 4]]
        touches = len(kinds) == 4 and tokens[place].end_pos == tokens[place + 1].start_pos
        return (
            touches
            and kinds[:2] == ["NAME", "LPAR"]
            and kinds[2] in ("NAME", "NUMBER")
            and kinds[3] in ("RPAR", "COMMA")
        )

    places = {place for place in range(len(tokens)) if looks(place)}
    known = {*names} | {
        str(token) for place, token in enumerate(tokens) if token.type == "NAME" and place not in places
    }
    return [
        Token("CALLEE", str(token), token.start_pos, end_pos=token.end_pos)
        if place in places and str(token) not in known and re.fullmatch(rf"{LETTER}\w*", token) and token != "eye"
        else token
        for place, token in enumerate(tokens)
    ]


def _check_roots(tokens: list[Token], text: str) -> None:
    """Refuses √x², which may be √(x²) or (√x)²."""
    for place, token in enumerate(tokens):
        if token.type != "ROOT":
            continue
        end, depth = place + 1, 0
        while end < len(tokens):
            depth += (tokens[end].type == "LPAR") - (tokens[end].type == "RPAR")
            if depth <= 0 and tokens[end].type != "CALLEE":
                break
            end += 1
        if end + 1 < len(tokens) and tokens[end + 1].type in ("POWER", "INDEX", "HAT"):
            start = cast(int, tokens[place].end_pos)
            stop = cast(int, tokens[end].end_pos)
            behind = FACTORS.match(text, stop)
            inside, rest = text[start:stop].strip(), behind[0] if behind else ""
            reason = f"√{inside}{rest} can be read in two ways"
            advice = f"write √({inside}{rest}) or (√{inside}){rest}"
            raise FormulaError(reason, text, Span(start - 1, stop + len(rest)), advice)
