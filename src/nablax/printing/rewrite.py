"""Changes everywhere in an expression."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from fractions import Fraction

from nablax.printing.expression import Expression, Indexed, LinearMap, Number, Scale, Where, mapped


def rebuilt(expression: Expression, change: Callable[[Expression], Expression], *, indexed: bool = False) -> Expression:
    """An expression with a change made to every subexpression, the inner ones first.

    Args:
        expression: where to look.
        change: made to each.
        indexed: whether index notation is changed too.
    """

    def whole(node: Expression) -> Expression:
        return change(mapped(node, whole, indexed=indexed))

    return whole(expression)


def replaced(expression: Expression, old: Expression, new: Expression) -> Expression:
    """The expression with every `old` inside it exchanged for `new`.

    Args:
        expression: where to look.
        old: what goes.
        new: what comes; of the same shape.

    Returns:
        The expression; index notation is left as it is.
    """

    def change(node: Expression) -> Expression:
        return new if node == old else mapped(node, change)

    return change(expression)


def without_names(expression: Expression) -> Expression:
    """The expression with its named subexpressions written out."""
    match expression:
        case LinearMap(body=body):
            return replace(expression, body=without_names(body))
        case Where(body, names):
            for symbol, value in reversed(names):
                body = replaced(body, symbol, value)
            return body
        case _:
            return expression


def with_decimals(expression: Expression, kept: Collection[int]) -> Expression:
    """The expression with fractions that end as decimal numbers, such as 41/100, written as these.

    Args:
        expression: any expression.
        kept: denominators of fractions that stay.

    Returns:
        The expression; index notation too.
    """

    def decimal(value: Fraction | float) -> Fraction | float:
        if not isinstance(value, Fraction) or value.denominator in {1, *kept} or 10**12 % value.denominator:
            return value
        return float(value)

    def change(node: Expression) -> Expression:
        match node:
            case Number(value):
                return Number(decimal(value))
            case Scale(coefficient) | Indexed(coefficient):
                return replace(node, coefficient=decimal(coefficient))
            case _:
                return node

    return rebuilt(expression, change, indexed=True)
