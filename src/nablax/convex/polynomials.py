"""Polynomials in one expression, and the least value of those that are a quadratic: by completing the square."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from nablax.printing.expression import Expression, Hadamard, Number, Power, Scale, Sum

HIGHEST = 12


@dataclass(frozen=True)
class Polynomial:
    """A polynomial with exact coefficients in one expression, entry by entry.

    Args:
        base: the expression; None of a constant.
        coefficients: by exponent, none of them zero.
    """

    base: Expression | None
    coefficients: dict[int, Fraction] = field(hash=False)

    def least(self) -> Fraction | None:
        """The least value of au²ᵏ + buᵏ + c with a > 0 over all numbers uᵏ; None of others.

        Example:
            >>> Polynomial(None, {2: Fraction(6), 1: Fraction(-3), 0: Fraction(1)}).least()
            Fraction(5, 8)
        """
        top = max(self.coefficients, default=0)
        if not top or top % 2 or not set(self.coefficients) <= {0, top // 2, top}:
            return None
        a, b, c = (self.coefficients.get(one, Fraction(0)) for one in (top, top // 2, 0))
        return c - b * b / (4 * a) if a > 0 else None


def polynomial(expression: Expression) -> Polynomial | None:
    """An expression as a polynomial in one of its parts; None where it has several, or divisors that are no numbers."""
    match expression:
        case Number(Fraction() as value):
            return Polynomial(None, {0: value} if value else {})
        case Sum(terms):
            found = Polynomial(None, {})
            for term in terms:
                if (joined := _added(found, polynomial(term))) is None:
                    return None
                found = joined
            return found
        case Hadamard(factors):
            return _product(factors)
        case Scale(Fraction() as coefficient, scalars, divisors, body):
            numbers = [one.value for one in divisors if isinstance(one, Number) and isinstance(one.value, Fraction)]
            if len(numbers) < len(divisors) or not all(numbers):
                return None
            for number in numbers:
                coefficient /= number
            return _product((Number(coefficient), *scalars, *(() if body is None else (body,))))
        case Power(base, Number(Fraction() as exponent)) if exponent.denominator == 1 and 0 < exponent <= HIGHEST:
            return _product((base,) * int(exponent))
        case _:
            return Polynomial(expression, {1: Fraction(1)})


def _product(factors: Iterable[Expression]) -> Polynomial | None:
    found = Polynomial(None, {0: Fraction(1)})
    for factor in factors:
        other = polynomial(factor)
        if other is None or not _alike(found, other):
            return None
        coefficients: dict[int, Fraction] = {}
        for one, a in found.coefficients.items():
            for two, b in other.coefficients.items():
                coefficients[one + two] = coefficients.get(one + two, Fraction(0)) + a * b
        if max(coefficients, default=0) > HIGHEST:
            return None
        found = Polynomial(found.base or other.base, _nonzero(coefficients))
    return found


def _added(one: Polynomial, other: Polynomial | None) -> Polynomial | None:
    if other is None or not _alike(one, other):
        return None
    exponents = {*one.coefficients, *other.coefficients}
    zero = Fraction(0)
    total = {k: one.coefficients.get(k, zero) + other.coefficients.get(k, zero) for k in exponents}
    return Polynomial(one.base or other.base, _nonzero(total))


def _alike(one: Polynomial, other: Polynomial) -> bool:
    return one.base is None or other.base is None or one.base == other.base


def _nonzero(coefficients: dict[int, Fraction]) -> dict[int, Fraction]:
    return {exponent: number for exponent, number in coefficients.items() if number}
