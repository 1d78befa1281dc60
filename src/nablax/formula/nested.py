"""Nested lists of textbooks' computational graphs, ``[['exp','x'],'+',2]``, to the same syntax tree as
text.
"""

from __future__ import annotations

import functools
import re
from typing import TypeAlias, cast

from lark import Lark, Token, Transformer, UnexpectedInput

from nablax.errors import FormulaError
from nablax.formula.functions import SPELLINGS, UNARY, canonical, nearest
from nablax.formula.grammar import NESTED, WORD
from nablax.formula.parse import (
    MAXIMUM_LENGTH,
    MAXIMUM_NESTING,
    check_text,
    check_tree,
    number,
    refused,
    shortened,
)
from nablax.formula.syntax import Binary, BinaryOperator, Call, Expression, Name, Number, Span, Unary

OPERATORS: dict[str, BinaryOperator] = {"+": "+", "-": "-", "*": "*", "/": "/", "^": "^", "**": "^"}
FORMS = (
    "a list is [left, operator, right], [operator, left, right] or [function, argument], for example "
    "[['exp', 'x'], '+', 2]"
)
NAME = re.compile(WORD)
NUMERAL = re.compile(r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
Item: TypeAlias = Expression | Token


def nested_text(entries: object) -> str:
    """The text of a nested Python list.

    Args:
        entries: lists (or tuples) of lists, strings and numbers.

    Returns:
        One line that `parse_nested` reads.

    Raises:
        FormulaError: an entry of another type, or lists nested too deep (also where a list contains
            itself).

    Example:
        >>> nested_text([["exp", "x"], "+", 2])
        "[['exp', 'x'], '+', 2]"
    """
    pieces: list[str] = []
    length = 0
    waiting: list[tuple[object, int]] = [(entries, 1)]
    while waiting:
        entry, depth = waiting.pop()
        if isinstance(entry, _Literal):
            pieces.append(entry)
        elif isinstance(entry, list | tuple):
            if depth > MAXIMUM_NESTING:
                raise FormulaError(f"lists are nested more than {MAXIMUM_NESTING} deep")
            inside: list[tuple[object, int]] = [(_Literal("["), depth)]
            for place, child in enumerate(entry):
                inside += [(_Literal(", "), depth)] if place else []
                inside.append((child, depth + 1))
            waiting.extend(reversed([*inside, (_Literal("]"), depth)]))
        elif isinstance(entry, str) and not set(entry) & set("'\"[]\\"):
            pieces.append(f"'{entry}'")
        elif isinstance(entry, int | float) and not isinstance(entry, bool):
            pieces.append(repr(entry))
        else:
            shown = shortened(repr(entry), 40)
            raise FormulaError(f"{shown} is not a list, a name, an operator or a number", advice=FORMS)
        length += len(pieces[-1]) if pieces else 0
        if length > MAXIMUM_LENGTH:
            raise FormulaError(f"the lists have more than {MAXIMUM_LENGTH:,} characters")
    return "".join(pieces)


class _Literal(str):
    """Text that is put out as it stands, told apart from a name of the formula."""

    __slots__ = ()


class _Builder(Transformer[Token, Expression]):
    """Builds nodes bottom-up, one method per rule; words stay tokens until their list says what they are."""

    def nested(self, parts: list[Item]) -> Expression:
        return _operand(parts[0])

    def word(self, parts: list[Token]) -> Token:
        return parts[0].update(value=parts[0][1:-1].strip())

    def numeral(self, parts: list[Token]) -> Expression:
        return _number(parts[0])

    def list(self, parts: list[Item]) -> Expression:
        span = Span(cast(int, cast(Token, parts[0]).start_pos), cast(int, cast(Token, parts[-1]).end_pos))
        items = [part for part in parts if not isinstance(part, Token) or part.type == "WORD"]
        match items:
            case [single]:
                return _operand(single)
            case [Token() as head, argument]:
                return _application(head, _operand(argument), span)
            case [left, Token() as middle, right] if middle in OPERATORS:
                return Binary(OPERATORS[middle], _operand(left), _operand(right), span)
            case [Token() as head, left, right, *more] if head in OPERATORS:
                return _prefixed(head, (left, right, *more), span)
            case [_, Token() as middle, _]:
                raise FormulaError(
                    f"{str(middle)!r} is not an operator",
                    span=_span(middle),
                    advice="operators are + - * / ^",
                )
            case _:
                raise FormulaError(f"a list of {len(items)} entries has no meaning", span=span, advice=FORMS)


def _prefixed(head: Token, operands: tuple[Item, ...], span: Span) -> Expression:
    operator = OPERATORS[head]
    if len(operands) > 2 and operator not in ("+", "*"):
        reason = f"{str(head)!r} takes two operands, not {len(operands)}"
        raise FormulaError(reason, span=span, advice="only + and * take more")
    whole = _operand(operands[0])
    for operand in operands[1:]:
        whole = Binary(operator, whole, _operand(operand), span)
    return whole


def _application(head: Token, argument: Expression, span: Span) -> Expression:
    if head == "-":
        return Unary("-", argument, span)
    name = canonical(str(head))
    if name in UNARY:
        return Call(name, (argument,), span, str(head))
    guess = nearest(str(head), [spelling for spelling, row in SPELLINGS.items() if row in UNARY])
    advice = f"did you mean {guess!r}?" if guess else "functions are exp, log, sin, cos and the other elementwise ones"
    raise FormulaError(f"unknown function {str(head)!r}", span=_span(head), advice=advice)


def _operand(item: Item) -> Expression:
    if not isinstance(item, Token):
        return item
    if NUMERAL.fullmatch(item):
        return _number(item)
    if NAME.fullmatch(item):
        return Name(str(item), _span(item))
    advice = "each string is one name, number, function or operator"
    raise FormulaError(f"{str(item)!r} is not a name or a number", span=_span(item), advice=advice)


def _number(token: Token) -> Expression:
    literal, span = str(token), _span(token)
    value = Number(number(literal.lstrip("-"), span), span)
    return Unary("-", value, span) if literal.startswith("-") else value


def _span(token: Token) -> Span:
    return Span(cast(int, token.start_pos), cast(int, token.end_pos))


def parse_nested(source: str) -> Expression:
    """Reads the text of a nested list.

    Args:
        source: lists of lists, quoted words and numbers; a list is [left, operator, right], [operator, left, right]
            (of + and * any number of operands), [function, argument], ['-', argument] or [entry].

    Returns:
        The syntax tree, with spans into the text.

    Raises:
        FormulaError: not such a list, or one beyond the limits.

    Example:
        >>> print(parse_nested("[['w2','*',['log','w1']],'+',3]"))
        w2*log(w1) + 3
        >>> print(parse_nested("['+',['*','w2',['log','w1']],3]"))
        w2*log(w1) + 3
    """
    check_text(source)
    try:
        tree = cast(Expression, cast(object, _parser().parse(source)))
    except FormulaError as error:
        raise error.within(source) from None
    except UnexpectedInput as error:
        raise refused(error, source, "nested list", FORMS, "names, functions and operators are quoted") from None
    check_tree(tree, source)
    return tree


@functools.cache
def _parser() -> Lark:
    return Lark(NESTED, parser="lalr", start="nested", transformer=_Builder(), maybe_placeholders=False)
