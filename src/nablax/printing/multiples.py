"""Expressions as numbers times powers of scalars times a body: how they are taken apart and put together."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from nablax.printing.expression import Call, Expression, Number, Power, Scale, shape_of

Coefficient = Fraction | float
Scalars = dict[Expression, Fraction]  # bases with their exponents
ONE = Fraction(1)


def parted(node: Expression) -> Scale:
    """Any expression as scalars times a body; without a body it is a scalar."""
    match node:
        case Scale():
            return node
        case Number(value):
            return Scale(value, (), (), None)
        case _ if shape_of(node):
            return Scale(ONE, (), (), node)
        case _:
            return Scale(ONE, (node,), (), None)


def plain(scale: Scale) -> Expression:
    """Scalars times a body without factors of one, and with numbers and scalars of what is scaled inside in one place.

    Example:
        >>> from nablax.printing.expression import Symbol
        >>> x, half = Symbol("x", ()), Fraction(1, 2)
        >>> plain(Scale(half, (Scale(Fraction(2), (x,), (), None),), (), None)) == x
        True
    """
    coefficient, body = scale.coefficient, scale.body
    above: list[Expression] = []
    below = list(scale.divisors)
    for one in scale.scalars:
        inside = parted(one)
        coefficient = coefficient * inside.coefficient
        above += inside.scalars if inside.body is None else (*inside.scalars, inside.body)
        below += inside.divisors
    if isinstance(body, Scale):
        coefficient = coefficient * body.coefficient
        above += body.scalars
        below += body.divisors
        body = body.body
    if not above and not below and body is None:
        return Number(coefficient)
    if coefficient == 1 and not below and len(above) + (body is not None) == 1:
        return above[0] if body is None else body
    return Scale(coefficient, tuple(above), tuple(below), body)


def scaled(number: Coefficient, node: Expression) -> Expression:
    """A number times an expression."""
    whole = parted(node)
    return plain(replace(whole, coefficient=number * whole.coefficient))


def split(node: Expression) -> tuple[Coefficient, Expression]:
    """An expression as a number times the rest."""
    whole = parted(node)
    return whole.coefficient, plain(replace(whole, coefficient=ONE))


def powered(base: Expression, exponent: Fraction) -> Expression:
    """A power, without the exponent one; powers of powers as one, where that is the same for every sign.

    Example:
        >>> from nablax.printing.expression import Symbol
        >>> x = Symbol("x", ())
        >>> powered(Power(x, Number(Fraction(3))), Fraction(2)) == Power(x, Number(Fraction(6)))
        True
        >>> powered(Power(x, Number(Fraction(2))), Fraction(1, 2)) == x  # it is |x|
        False
    """
    if exponent == 1:
        return base
    match base:
        case Power(inner, Number(Fraction() as own)):
            loses_sign = own % 2 == 0 and (own * exponent) % 2 != 0
            if not loses_sign or (isinstance(inner, Call) and inner.name.startswith("norm")):
                return powered(inner, own * exponent)
        case _:
            pass
    return Power(base, Number(exponent))


def multiply(scalars: Scalars, factor: Expression, exponent: Fraction = ONE) -> Coefficient:
    """Enters a scalar to a power among the others; of a product to a whole power each factor.

    Args:
        scalars: the others, changed in place.
        factor: the scalar.
        exponent: its power.

    Returns:
        The number that stands in front.
    """
    if exponent.denominator == 1:
        match factor:
            case Number(value):
                return value ** int(exponent)
            case Scale(coefficient, above, below, None):
                number = coefficient ** int(exponent)
                for one in above:
                    number *= multiply(scalars, one, exponent)
                for one in below:
                    number *= multiply(scalars, one, -exponent)
                return number
            case Power(base, Number(Fraction() as own)):
                factor, exponent = base, own * exponent
            case _:
                pass
    scalars[factor] = scalars.get(factor, Fraction(0)) + exponent
    return ONE
