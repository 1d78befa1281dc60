"""The untyped syntax tree: six kinds of frozen nodes, and the plain text that reads back as the same tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Literal, TypeAlias, assert_never

from nablax.notation import SIGNS

UnaryOperator: TypeAlias = Literal["-", "'"]
BinaryOperator: TypeAlias = Literal[
    "+", "-", "*", "/", "^", "@", ".*", "./", ".^", "**", "<", ">", "<=", ">=", "==", "!="
]
SUMS = frozenset({"+", "-"})
POWERS = frozenset({"^", ".^", "**"})
COMPARISONS = frozenset(SIGNS)


@dataclass(frozen=True, slots=True)
class Span:
    """A place in the source: character offsets, the end exclusive."""

    start: int
    end: int


NOWHERE = Span(0, 0)


class Node:
    """What all nodes share: ``str(node)`` is text that parses to an equal node."""

    __slots__ = ()

    def __str__(self) -> str:
        assert isinstance(self, Number | Name | Unary | Binary | Call | Index)
        return text(self)


@dataclass(frozen=True, slots=True)
class Number(Node):
    """A literal, not negative: an integer as int, everything else as float."""

    value: int | float
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A variable, a declared size, or a named constant such as pi."""

    name: str
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """Negation ``-x`` or transpose ``x'`` (also spelled ``x.T``)."""

    operator: UnaryOperator
    operand: Expression
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """An infix operation."""

    operator: BinaryOperator
    left: Expression
    right: Expression
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function call under its canonical name; ``<a, b>`` is the call of ``inner``.

    Args:
        function: canonical name (``ln`` is read as ``log``), or the spelling found where no function has
            that name.
        arguments: the arguments as written.
        spelling: the name as written, with any ``np.`` prefix; takes no part in equality.
    """

    function: str
    arguments: tuple[Expression, ...]
    span: Span = field(default=NOWHERE, compare=False, repr=False)
    spelling: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Range:
    """Places from one to another, as in Python: zero-based, the last one left out, negative ones from the end.

    Args:
        start: the first place; None for the beginning.
        stop: the place behind the last; None for the end, a name for the size of the axis, which is the end too.
    """

    start: int | None
    stop: int | str | None

    def __str__(self) -> str:
        return ":".join("" if one is None else str(one) for one in (self.start, self.stop))

    @property
    def places(self) -> slice:
        """The places as Python takes them."""
        return slice(self.start, None if isinstance(self.stop, str) else self.stop)


Place: TypeAlias = int | Range | None


@dataclass(frozen=True, slots=True)
class Index(Node):
    """Rows and elements by zero-based integers or ranges: ``x[0]``, ``A[0,:]``, ``x[1:]``; None stands for ``:``."""

    operand: Expression
    indices: tuple[Place, ...]
    span: Span = field(default=NOWHERE, compare=False, repr=False)


Expression: TypeAlias = Number | Name | Unary | Binary | Call | Index


def children(expression: Expression) -> tuple[Expression, ...]:
    """The direct subexpressions, left to right."""
    match expression:
        case Number() | Name():
            return ()
        case Unary(operand=operand) | Index(operand=operand):
            return (operand,)
        case Binary(left=left, right=right):
            return (left, right)
        case Call(arguments=arguments):
            return arguments
    assert_never(expression)


def walk(expression: Expression) -> Iterator[Expression]:
    """Every node, parents before children, left to right; without recursion, so any depth is safe."""
    waiting = [expression]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(children(node)))


def renamed(expression: Expression, names: Mapping[str, str]) -> Expression:
    """The same expression with other names; those that are not listed stay.

    Example:
        >>> str(renamed(Binary("*", Name("α"), Name("x")), {"α": "alpha"}))
        'alpha*x'
    """
    match expression:
        case Number():
            return expression
        case Name(name=name):
            return replace(expression, name=names.get(name, name))
        case Unary(operand=operand) | Index(operand=operand):
            return replace(expression, operand=renamed(operand, names))
        case Binary(left=left, right=right):
            return replace(expression, left=renamed(left, names), right=renamed(right, names))
        case Call(arguments=arguments):
            return replace(expression, arguments=tuple(renamed(argument, names) for argument in arguments))
    assert_never(expression)


class Level(IntEnum):
    """How tightly the outermost operation of an expression binds; higher binds tighter."""

    COMPARISON = 0
    SUM = 1
    PRODUCT = 2
    SIGN = 3
    POSTFIX = 4
    ATOM = 5


def level(expression: Expression) -> Level:
    """The binding level of the outermost operation."""
    match expression:
        case Number() | Name() | Call() | Index():
            return Level.ATOM
        case Unary(operator="'"):
            return Level.POSTFIX
        case Unary():
            return Level.SIGN
        case Binary(operator=operator):
            if operator in POWERS:
                return Level.POSTFIX
            if operator in COMPARISONS:
                return Level.COMPARISON
            return Level.SUM if operator in SUMS else Level.PRODUCT
    assert_never(expression)


def text(expression: Expression) -> str:
    """Plain text in the input language; parsing it gives an equal tree.

    Args:
        expression: a tree as the parser builds it (literals are not negative).

    Returns:
        One line with as few parentheses as the grammar permits without looking odd.

    Example:
        >>> text(Binary("*", Binary("+", Name("a"), Number(1)), Unary("'", Name("x"))))
        "(a + 1)*x'"
    """
    match expression:
        case Number(value=value):
            return repr(value)
        case Name(name=name):
            return name
        case Unary(operator="-", operand=operand):
            return "-" + _plain(operand, Level.SIGN)
        case Unary(operand=operand):
            return _inside(operand, Level.POSTFIX) + "'"
        case Binary():
            return _infix(expression)
        case Call(function="inner", arguments=(left, right)):
            return f"<{_inside(left, Level.SUM)}, {_inside(right, Level.SUM)}>"
        case Call(function=function, arguments=arguments):
            return f"{function}({', '.join(text(argument) for argument in arguments)})"
        case Index(operand=operand, indices=indices):
            places = ",".join(":" if index is None else str(index) for index in indices)
            return f"{_inside(operand, Level.ATOM)}[{places}]"
    assert_never(expression)


def _infix(expression: Binary) -> str:
    operator, left, right = expression.operator, expression.left, expression.right
    if operator in POWERS:
        base = f"({text(left)})" if _is_power(left) else _inside(left, Level.POSTFIX)
        if isinstance(right, Unary) and right.operator == "-" and isinstance(right.operand, Number):
            return base + operator + text(right)
        return base + operator + _inside(right, Level.ATOM)
    here = level(expression)
    between = operator if operator in {"*", "/"} else f" {operator} "
    return _inside(left, Level(max(here, Level.SUM))) + between + _plain(right, Level(here + 1))


def _is_power(expression: Expression) -> bool:
    return isinstance(expression, Binary) and expression.operator in POWERS


def _inside(expression: Expression, least: Level) -> str:
    shown = text(expression)
    return shown if level(expression) >= least else f"({shown})"


def _plain(expression: Expression, least: Level) -> str:
    """As inside, and in parentheses too where it begins with a sign."""
    shown = _inside(expression, least)
    return f"({shown})" if shown.startswith("-") else shown
