"""Replacing a subexpression everywhere."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from fractions import Fraction

from nablax.printing.expression import (
    Call,
    Expression,
    Function,
    Hadamard,
    Indexed,
    Inverse,
    Kronecker,
    LinearMap,
    Number,
    Piece,
    Power,
    Product,
    Quotient,
    Scale,
    Sum,
    Transpose,
    Where,
)


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
        node = mapped(node, change)
        match node:
            case Number(value):
                return Number(decimal(value))
            case Scale(coefficient, scalars, divisors, body):
                return Scale(decimal(coefficient), scalars, divisors, body)
            case Indexed(coefficient):
                return replace(node, coefficient=decimal(coefficient))
            case LinearMap(tensor=tensor):
                return replace(node, tensor=change(tensor))
            case _:
                return node

    return change(expression)


def mapped(node: Expression, change: Callable[[Expression], Expression]) -> Expression:
    """An expression with a change made to each direct subexpression."""
    match node:
        case Sum(terms):
            return Sum(tuple(map(change, terms)))
        case Product(factors):
            return Product(tuple(map(change, factors)))
        case Hadamard(factors):
            return Hadamard(tuple(map(change, factors)))
        case Scale(coefficient, scalars, divisors, body):
            inside = None if body is None else change(body)
            return Scale(coefficient, tuple(map(change, scalars)), tuple(map(change, divisors)), inside)
        case Quotient(numerator, denominator):
            return Quotient(change(numerator), change(denominator))
        case Transpose(operand):
            return Transpose(change(operand))
        case Inverse(operand):
            return Inverse(change(operand))
        case Power(base, exponent):
            return Power(change(base), change(exponent))
        case Function(name, arguments):
            return Function(name, tuple(map(change, arguments)))
        case Call(name, arguments, shape):
            return Call(name, tuple(map(change, arguments)), shape)
        case Kronecker(left, right):
            return Kronecker(change(left), change(right))
        case LinearMap():
            return replace(node, body=change(node.body))
        case Where(body, names):
            return Where(change(body), tuple((symbol, change(value)) for symbol, value in names))
        case Piece() | Indexed():
            return node
        case _:
            return node
