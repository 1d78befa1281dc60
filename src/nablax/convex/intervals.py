"""Intervals that hold every entry of an expression: exact ends where numbers are fractions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

Number: TypeAlias = Fraction | float
INFINITE = math.inf


@dataclass(frozen=True, slots=True)
class Interval:
    """The numbers between two ends.

    Args:
        low: the lower end.
        high: the upper end.
        open_low: whether the lower end is left out.
        open_high: whether the upper end is left out.

    Example:
        >>> Interval(Fraction(0), Fraction(1)) * Interval(Fraction(-2), Fraction(3))
        [-2, 3]
    """

    low: Number = -INFINITE
    high: Number = INFINITE
    open_low: bool = False
    open_high: bool = False

    @property
    def nonnegative(self) -> bool:
        """Whether no number in it is negative."""
        return self.low >= 0

    @property
    def positive(self) -> bool:
        """Whether every number in it is positive."""
        return self.low > 0 or (self.low == 0 and self.open_low)

    @property
    def is_zero(self) -> bool:
        """Whether it holds zero alone."""
        return self.low == 0 == self.high

    def within(self, other: Interval) -> bool:
        """Whether every number in it lies in the other."""
        low = self.low > other.low or (self.low == other.low and (self.open_low or not other.open_low))
        high = self.high < other.high or (self.high == other.high and (self.open_high or not other.open_high))
        return (low or other.low == -INFINITE) and (high or other.high == INFINITE)

    def common(self, other: Interval) -> Interval:
        """What lies in both; where nothing does, what lies in the other."""
        low, open_low = max((self.low, self.open_low), (other.low, other.open_low))
        high, closed = min((self.high, not self.open_high), (other.high, not other.open_high))
        return Interval(low, high, open_low, not closed) if low <= high else other

    def hull(self, other: Interval) -> Interval:
        """The smallest interval around both."""
        low, open_low = min((self.low, self.open_low), (other.low, other.open_low))
        high, closed = max((self.high, not self.open_high), (other.high, not other.open_high))
        return Interval(low, high, open_low, not closed)

    def __neg__(self) -> Interval:
        return Interval(-self.high, -self.low, self.open_high, self.open_low)

    def __add__(self, other: Interval) -> Interval:
        return Interval(
            self.low + other.low,
            self.high + other.high,
            self.open_low or other.open_low,
            self.open_high or other.open_high,
        )

    def __mul__(self, other: Interval) -> Interval:
        ends: list[tuple[Number, bool]] = []
        for x, x_open in ((self.low, self.open_low), (self.high, self.open_high)):
            for y, y_open in ((other.low, other.open_low), (other.high, other.open_high)):
                if x == 0 or y == 0:
                    ends.append((Fraction(0), not ((x == 0 and not x_open) or (y == 0 and not y_open))))
                else:
                    ends.append((x * y, x_open or y_open))
        low, open_low = min(ends)
        high, closed = max((value, not is_open) for value, is_open in ends)
        return Interval(low, high, open_low, not closed)

    def power(self, exponent: Fraction | float) -> Interval:
        """The interval of the powers, where they are defined."""
        if exponent == 0:
            return point(1)
        whole = float(exponent).is_integer()
        even = whole and int(exponent) % 2 == 0
        if self.nonnegative:
            return _increasing(self, exponent) if exponent > 0 else _decreasing(self, exponent)
        if whole and self.high <= 0:
            turned = (-self).power(exponent)
            return turned if even else -turned
        if not whole:
            return self.common(NONNEGATIVE).power(exponent) if self.high > 0 else EVERYTHING
        if even and exponent > 0:
            largest, closed = max((-self.low, not self.open_low), (self.high, not self.open_high))
            return Interval(Fraction(0), _power(largest, exponent), False, not closed)
        if exponent > 0:
            low, high = _power(-self.low, exponent), _power(self.high, exponent)
            return Interval(-low, high, self.open_low, self.open_high)
        return POSITIVE if even else EVERYTHING

    def __repr__(self) -> str:
        left = "(" if self.open_low or self.low == -INFINITE else "["
        right = ")" if self.open_high or self.high == INFINITE else "]"
        return f"{left}{self.low}, {self.high}{right}"


def point(value: float | Fraction) -> Interval:
    """One number alone."""
    exact = Fraction(value)
    return Interval(exact, exact)


EVERYTHING = Interval()
NONNEGATIVE = Interval(Fraction(0))
NONPOSITIVE = Interval(high=Fraction(0))
POSITIVE = Interval(Fraction(0), open_low=True)
UNIT = Interval(Fraction(0), Fraction(1))


def _power(value: Number, exponent: Fraction | float) -> Number:
    """A power of a number that is not negative."""
    if value in (0, INFINITE):
        return value if exponent > 0 else (INFINITE if value == 0 else Fraction(0))
    try:
        if float(exponent).is_integer() and isinstance(value, Fraction):
            return Fraction(value ** int(exponent))
        return math.pow(value, exponent)
    except OverflowError:
        return INFINITE


def _increasing(one: Interval, exponent: Fraction | float) -> Interval:
    return Interval(_power(one.low, exponent), _power(one.high, exponent), one.open_low, one.open_high)


def _decreasing(one: Interval, exponent: Fraction | float) -> Interval:
    low, high = _power(one.high, exponent), _power(one.low, exponent)
    return Interval(low, high, one.open_high or one.high == INFINITE, one.open_low or one.low == 0)
