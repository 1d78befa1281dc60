"""Text to syntax tree, by a lark grammar; every refusal is a FormulaError that points into the text."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from nablax.errors import FormulaError
from nablax.formula.functions import SPELLINGS, canonical
from nablax.formula.grammar import FORMULA, WORD
from nablax.formula.syntax import (
    Binary,
    BinaryOperator,
    Call,
    Expression,
    Index,
    Name,
    Number,
    Place,
    Range,
    Span,
    Unary,
    children,
)

MAXIMUM_LENGTH = 10_000
MAXIMUM_NESTING = 100
MAXIMUM_DEPTH = 150
MAXIMUM_SIGNS = 2_000
LARGEST_INTEGER = 2**53

OPERAND_STARTS = frozenset({"NAME", "NUMBER", "CALLEE", "LPAR", "LANGLE"})
CALLS_AS_OPERATORS: dict[str, BinaryOperator] = {
    "matmul": "@",
    "dot": "@",
    "power": ".^",
    "pow": ".^",
    "divide": "./",
}
CROSSED = {"⊗": "kron", "×": "cross"}
SIGNS_IN_WORDS = {
    "RPAR": "')'",
    "RSQB": "']'",
    "COMMA": "','",
    "COLON": "':'",
    "MORE": "'>'",
    "$END": "the end of the formula",
}
STRAY = {
    "=": "write the right-hand side alone; comparisons are spelled ==, <=, >=",
    "|": "write abs(x), norm2(x) or det(X)",
    "\\": "write inv(A)*b",
    "{": "grouping is by ( )",
    "}": "grouping is by ( )",
    '"': "strings have no meaning in a formula",
    "&": "combine conditions by where inside where",
    ".": "only .T, .*, ./ and .^ begin with a dot; the functions of NumPy are written np.exp(x) or exp(x)",
    "_": "names begin with a letter",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """A subtree while parsing: its outer span with parentheses; a power, ⊗ or × without any."""

    node: Expression
    start: int
    end: int
    bare: str = ""


Part: TypeAlias = Piece | Token


def _start(part: Part) -> int:
    return part.start if isinstance(part, Piece) else cast(int, part.start_pos)


def _end(part: Part) -> int:
    return part.end if isinstance(part, Piece) else cast(int, part.end_pos)


def _span(parts: Sequence[Part]) -> Span:
    return Span(_start(parts[0]), _end(parts[-1]))


def _pieces(parts: Sequence[Part | None]) -> list[Piece]:
    return [part for part in parts if isinstance(part, Piece)]


class Builder(Transformer[Token, Piece]):
    """Builds nodes bottom-up while lark parses, one method per grammar rule; never recurses."""

    def formula(self, parts: list[Part]) -> Piece:
        return _pieces(parts)[0]

    def number(self, parts: list[Part]) -> Piece:
        span = _span(parts)
        return Piece(Number(number(str(parts[0]), span), span), span.start, span.end)

    def name(self, parts: list[Part]) -> Piece:
        span = _span(parts)
        return Piece(Name(str(parts[0]), span), span.start, span.end)

    def parenthesis(self, parts: list[Part]) -> Piece:
        span = _span(parts)
        return Piece(_pieces(parts)[0].node, span.start, span.end)

    def signed(self, parts: list[Part]) -> Piece:
        sign, operand = parts
        span = _span(parts)
        node = cast(Piece, operand).node
        return Piece(node if sign == "+" else Unary("-", node, span), span.start, span.end)

    signed_exponent = signed

    def transpose(self, parts: list[Part]) -> Piece:
        span = _span(parts)
        return Piece(Unary("'", cast(Piece, parts[0]).node, span), span.start, span.end)

    def pseudo(self, parts: list[Part]) -> Piece:
        span = _span(parts)
        return Piece(Call("pinv", (cast(Piece, parts[0]).node,), span, "pinv"), span.start, span.end)

    def _infix(self, parts: list[Part]) -> Piece:
        left, operator, right = parts
        span = _span(parts)
        symbol = cast(BinaryOperator, "-" if operator == "−" else str(operator))
        node = Binary(symbol, cast(Piece, left).node, cast(Piece, right).node, span)
        return Piece(node, span.start, span.end)

    sum = product = comparison = _infix

    def power(self, parts: list[Part]) -> Piece:
        base = cast(Piece, parts[0])
        operator = parts[1]
        if base.bare == "^":
            raise FormulaError(
                "a chain of powers is read from the left by MATLAB and from the right by mathematics",
                span=_span(parts),
                advice=f"write (a{operator}b){operator}c or a{operator}(b{operator}c)",
            )
        piece = self._infix(parts)
        return Piece(piece.node, piece.start, piece.end, bare="^")

    def crossed(self, parts: list[Part]) -> Piece:
        left, sign, right = cast(Piece, parts[0]), str(parts[1]), cast(Piece, parts[2])
        span = _span(parts)
        if left.bare and left.bare + sign in ("××", "×⊗", "⊗×"):
            reason = f"a chain of {' and '.join(dict.fromkeys((left.bare, sign)))} depends on where it begins"
            raise FormulaError(
                reason, span=span, advice=f"write (a {left.bare} b) {sign} c or a {left.bare} (b {sign} c)"
            )
        if sign == "×" and (isinstance(left.node, Number) or isinstance(right.node, Number)):
            return Piece(Binary("*", left.node, right.node, span), span.start, span.end)
        node = Call(CROSSED[sign], (left.node, right.node), span, sign)
        return Piece(node, span.start, span.end, bare=sign)

    def call(self, parts: list[Part | None]) -> Piece:
        present = [part for part in parts if part is not None]
        span = _span(present)
        arguments = tuple(piece.node for piece in _pieces(present))
        spelling = str(present[0])
        bare = spelling.rpartition(".")[2]
        node: Expression
        if bare == "transpose" and len(arguments) == 1:
            node = Unary("'", arguments[0], span)
        elif bare in CALLS_AS_OPERATORS and len(arguments) == 2:
            node = Binary(CALLS_AS_OPERATORS[bare], arguments[0], arguments[1], span)
        else:
            node = Call(canonical(spelling), arguments, span, spelling)
        return Piece(node, span.start, span.end)

    def inner(self, parts: list[Part]) -> Piece:
        span = _span(parts)
        arguments = tuple(piece.node for piece in _pieces(parts))
        return Piece(Call("inner", arguments, span, "inner"), span.start, span.end)

    def bound(self, parts: list[Part]) -> Token:
        first, last = cast(Token, parts[0]), cast(Token, parts[-1])
        sign = "-" if len(parts) == 2 else ""
        return Token("NAME" if last.type == "NAME" else "BOUND", sign + last, first.start_pos, end_pos=last.end_pos)

    def range(self, parts: list[Part]) -> Token:
        first, last = cast(Token, parts[0]), cast(Token, parts[-1])
        text = "".join(map(str, parts))
        return Token("PLACE", text, first.start_pos, end_pos=last.end_pos)

    def place(self, parts: list[Part]) -> Token:
        only = cast(Token, parts[0])
        return Token("PLACE", str(only), only.start_pos, end_pos=only.end_pos)

    def index(self, parts: list[Part]) -> Piece:
        span = _span(parts)
        places = [part for part in parts if isinstance(part, Token) and part.type == "PLACE"]
        return Piece(Index(cast(Piece, parts[0]).node, tuple(map(_place, places)), span), span.start, span.end)


def _place(place: Token) -> Place:
    start, colon, stop = place.partition(":")
    if not colon:
        return _integer(place, start)
    if not start and not stop:
        return None
    end = stop if re.match(WORD, stop) else _integer(place, stop) if stop else None
    return Range(_integer(place, start) if start else None, end)


def _integer(place: Token, literal: str) -> int:
    span = Span(cast(int, place.start_pos), cast(int, place.end_pos))
    if re.match(WORD, literal):
        advice = f"write the number; a name stands behind a colon, for the size of the axis: x[1:{literal}]"
        raise FormulaError(f"the index {literal} is a name", span=span, advice=advice)
    value = number(literal, span)
    if not isinstance(value, int):
        raise FormulaError(f"the index {literal} is not an integer", span=span, advice="indices count from 0")
    return value


def number(literal: str, span: Span) -> int | float:
    """The value of a literal: int where it is spelled without dot and exponent; refuses what a float
    cannot hold.
    """
    if literal.lstrip("-").isdigit():
        if len(literal) > 17 or abs(int(literal)) > LARGEST_INTEGER:
            raise FormulaError(
                f"the integer {shortened(literal, 30)} is larger than 2^53 and would be rounded",
                span=span,
                advice="write it as a decimal number, for example 1e20",
            )
        return int(literal)
    value = float(literal)
    if value in (float("inf"), float("-inf")):
        raise FormulaError(f"the number {shortened(literal, 30)} is larger than any float64", span=span)
    return value


def shortened(words: str, most: int) -> str:
    """The text, or its beginning and an ellipsis where it is longer than that."""
    return words if len(words) <= most else words[: most - 1] + "…"


def parse_expression(source: str) -> Expression:
    """Reads a formula.

    Args:
        source: text in the language of the package, at most 10,000 characters.

    Returns:
        The syntax tree, with spans into the source; names are not looked up yet.

    Raises:
        FormulaError: not a formula, or one beyond the limits (brackets 100 deep, operations 150 deep, 2,000
            names, numbers and signs).

    Example:
        >>> parse_expression("x'*A*x")
        Binary(operator='*', left=Binary(operator='*', left=Unary(operator="'", operand=Name(name='x')), \
right=Name(name='A')), right=Name(name='x'))
    """
    check_text(source)
    try:
        piece = cast(Piece, cast(object, _parser().parse(source)))
    except FormulaError as error:
        raise error.within(source) from None
    except UnexpectedInput as error:
        raise _translated(error, source) from None
    check_tree(piece.node, source)
    return piece.node


@functools.cache
def _parser() -> Lark:
    return Lark(
        FORMULA,
        parser="lalr",
        start="formula",
        transformer=Builder(),
        keep_all_tokens=True,
        maybe_placeholders=False,
    )


def check_text(source: str) -> None:
    """Refuses text that is empty, too long, or bracketed too deep."""
    if len(source) > MAXIMUM_LENGTH:
        reason = f"the formula has {len(source):,} characters; the limit is {MAXIMUM_LENGTH:,}"
        raise FormulaError(reason, source, Span(MAXIMUM_LENGTH, MAXIMUM_LENGTH + 1))
    if not source.strip():
        raise FormulaError("the formula is empty", advice="write one such as 1/2*norm2(A*x - y)^2")
    signs = [match.start() for match in re.finditer(r"\w+|[^\w\s]", source)]
    if len(signs) > MAXIMUM_SIGNS:
        reason = f"the formula has {len(signs):,} names, numbers and signs; the limit is {MAXIMUM_SIGNS:,}"
        raise FormulaError(reason, source, Span(signs[MAXIMUM_SIGNS], signs[MAXIMUM_SIGNS] + 1))
    depth = 0
    for bracket in re.finditer(r"[()\[\]]", source):
        depth += 1 if bracket[0] in "([" else -1
        if depth > MAXIMUM_NESTING:
            raise FormulaError(
                f"brackets are nested more than {MAXIMUM_NESTING} deep",
                source,
                Span(bracket.start(), bracket.end()),
            )


def check_tree(tree: Expression, source: str) -> None:
    """Refuses a tree with too many levels (later readers of the tree recurse)."""
    level: list[Expression] = [tree]
    depth = 0
    while level:
        depth += 1
        if depth > MAXIMUM_DEPTH:
            raise FormulaError(
                f"operations are nested more than {MAXIMUM_DEPTH} deep",
                source,
                level[0].span,
                "group a long chain by parentheses: (a + b + …) + (c + d + …)",
            )
        level = [child for node in level for child in children(node)]


def refused(error: UnexpectedInput, source: str, what: str, advice: str, of_letter: str = "") -> FormulaError:
    """The refusal of a text in a smaller language.

    Args:
        error: where the parser stopped.
        source: the text.
        what: it is meant to be.
        advice: how such a text looks.
        of_letter: advice for a letter that has no meaning, where it differs.
    """
    if isinstance(error, UnexpectedCharacters):
        place = cast(int, error.pos_in_stream)
        reason = f"the character {source[place]!r} has no meaning in a {what}"
        return FormulaError(reason, source, Span(place, place + 1), of_letter or advice)
    if not isinstance(error, UnexpectedToken):
        return FormulaError(f"unreadable {what}: {error}", source)
    if error.token.type == "$END":
        return FormulaError(f"the {what} ends too early", source, Span(len(source), len(source)), advice)
    start, end = cast(int, error.token.start_pos), cast(int, error.token.end_pos)
    return FormulaError(f"found {str(error.token)!r} in a {what}", source, Span(start, end), advice)


def _translated(error: UnexpectedInput, source: str) -> FormulaError:
    if isinstance(error, UnexpectedCharacters):
        place = cast(int, error.pos_in_stream)
        letter = source[place]
        return FormulaError(
            f"the character {letter!r} has no meaning here",
            source,
            Span(place, place + 1),
            STRAY.get(letter, ""),
        )
    assert isinstance(error, UnexpectedToken)
    token = error.token
    at_end = token.type == "$END"
    start = len(source) if at_end else cast(int, token.start_pos)
    end = start if at_end else cast(int, token.end_pos)
    accepted = frozenset(error.accepts or ())
    found = "the formula ends" if at_end else f"found {str(token)!r}"
    advice = ""
    if token.type in OPERAND_STARTS and "TIMES" in accepted:
        before = re.search(r"[A-Za-z0-9]+(?=\s*$)", source[:start])
        is_function = before is not None and before[0] in SPELLINGS
        advice = (
            f"write {before[0]}(…)"
            if before and is_function
            else "there is no product without a sign: write * between factors"
        )
    elif token.type == "EQUAL" or token.type in ("LESS", "MORE", "LESS_EQUAL", "MORE_EQUAL", "UNEQUAL"):
        advice = "comparisons stand in where(x > 0, a, b)"
    elif token.type in ("HAT", "STARS", "DOT_HAT") and "TIMES" in accepted:
        advice = "write parentheses around the power"
    return FormulaError(f"{found} where {_or(_due(accepted))} would fit", source, Span(start, end), advice)


def _due(accepted: frozenset[str]) -> list[str]:
    due = []
    if "NAME" in accepted:
        due.append("a name, a number, a function call or '('")
    elif "NUMBER" in accepted:
        due.append("an integer")
    if "TIMES" in accepted:
        due.append("an operator")
    return due + [
        words
        for terminal, words in SIGNS_IN_WORDS.items()
        if terminal in accepted and not (terminal == "MORE" and "LESS" in accepted)
    ]


def _or(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]
