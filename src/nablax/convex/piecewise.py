"""Piecewise polynomials of one expression, exactly: Huber, hinge and pinball losses, and whatever else is made of
comparisons, absolute values, maxima and powers of one argument.

Such a function is convex where it is continuous, every piece has a nonnegative second derivative on its interval, and
slopes do not decrease at the kinks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from nablax.convex.atoms import Atom, Piece
from nablax.convex.intervals import EVERYTHING, NONNEGATIVE, NONPOSITIVE, Interval, Number
from nablax.printing.expression import Expression, Function, Hadamard, Power, Scale, Sum
from nablax.printing.expression import Number as Written

Coefficients = tuple[Fraction, ...]  # the lowest first
NOTHING, ONE = Fraction(0), Fraction(1)
MOST_BREAKS = 16
HIGHEST = 6
COMPARE: dict[str, Callable[[Fraction, Fraction], bool]] = {
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "≤": lambda a, b: a <= b,
    "≥": lambda a, b: a >= b,
    "=": lambda a, b: a == b,
    "≠": lambda a, b: a != b,
}


@dataclass(frozen=True)
class Piecewise:
    """A piecewise polynomial.

    Args:
        breaks: where pieces meet, in ascending order.
        pieces: coefficients of each, from the left; one more than breaks.
        at: values at the breaks.
    """

    breaks: tuple[Fraction, ...]
    pieces: tuple[Coefficients, ...]
    at: tuple[Fraction, ...]

    def spans(self) -> Iterator[tuple[Number, Number, Coefficients]]:
        """Ends and coefficients of each piece."""
        yield from zip((-math.inf, *self.breaks), (*self.breaks, math.inf), self.pieces, strict=True)

    def refined(self, breaks: Sequence[Fraction]) -> Piecewise:
        """The same with more breaks."""
        found = sorted({*self.breaks, *breaks})
        own = dict(zip(self.breaks, self.at, strict=True))
        pieces = [self.pieces[sum(b <= low for b in self.breaks)] for low in found]
        at = [own[b] if b in own else _value(self.pieces[sum(one < b for one in self.breaks)], b) for b in found]
        return Piecewise(tuple(found), (self.pieces[0], *pieces), tuple(at))

    @property
    def is_continuous(self) -> bool:
        """Whether pieces meet, and the values at the breaks are theirs."""
        sides = zip(self.breaks, self.at, self.pieces, self.pieces[1:], strict=False)
        return all(_value(left, b) == value == _value(right, b) for b, value, left, right in sides)

    def is_convex(self, sign: int = 1) -> bool:
        """Whether it is convex; with sign −1 whether it is concave."""
        if not self.is_continuous:
            return False
        if not all(_is_nonnegative(_scaled(_slope(_slope(p)), sign), low, high) for low, high, p in self.spans()):
            return False
        sides = zip(self.breaks, self.pieces, self.pieces[1:], strict=False)
        return all(sign * (_value(_slope(right), b) - _value(_slope(left), b)) >= 0 for b, left, right in sides)

    def rises(self, sign: int, on: Interval = EVERYTHING) -> bool:
        """Whether it does not decrease on an interval; with sign −1 whether it does not increase."""
        spans = ((max(low, on.low), min(high, on.high), piece) for low, high, piece in self.spans())
        return self.is_continuous and all(
            _is_nonnegative(_scaled(_slope(piece), sign), low, high) for low, high, piece in spans if low < high
        )

    def least(self, sign: int = 1) -> Number:
        """A lower bound of its values; with sign −1 of its negative."""
        bounds: list[Number] = [_least(_scaled(piece, sign), low, high) for low, high, piece in self.spans()]
        return min([*bounds, *(sign * value for value in self.at)])


IDENTITY = Piecewise((), ((NOTHING, ONE),), ())


def piecewise(expression: Expression) -> tuple[Atom, Expression] | None:
    """An expression as a piecewise polynomial of one of its parts.

    Args:
        expression: anything.

    Returns:
        What is known of the polynomial, and its argument; None where it is no such function.

    Example:
        >>> from nablax.printing.expression import ZERO, Symbol
        >>> x = Symbol("x", ())
        >>> atom, _ = piecewise(Sum((Function("abs", (x,)), Function("max", (x, ZERO)))))
        >>> atom.pieces[0].convex, atom.image
        (True, [0, inf))
    """
    bases: dict[Expression, None] = {}
    found = _read(expression, bases)
    if found is None or len(bases) != 1 or expression in bases or not found.breaks:
        return None
    slopes = [(on, sign) for on in (EVERYTHING, NONNEGATIVE, NONPOSITIVE) for sign in (1, -1) if found.rises(sign, on)]
    pieces = (
        Piece(EVERYTHING, found.is_convex(), found.is_convex(-1)),
        *(Piece(on, slope=sign) for on, sign in slopes),
    )
    image = Interval(found.least(), -found.least(-1))
    return Atom("a piecewise polynomial", pieces, image, smooth=False), next(iter(bases))


def _read(node: Expression, bases: dict[Expression, None]) -> Piecewise | None:
    """A node; what is no piecewise polynomial of one base is a base, such as Ax − b."""
    own: dict[Expression, None] = {}
    found = _inside(node, own)
    if found is None or len(own) > 1:
        own, found = {node: None}, IDENTITY
    bases.update(own)
    return found


def _inside(node: Expression, bases: dict[Expression, None]) -> Piecewise | None:
    match node:
        case Written(Fraction() as value):
            return _constant(value)
        case Sum(terms):
            return _folded(_sum, terms, bases)
        case Hadamard(factors):
            return _folded(_product, factors, bases)
        case Scale(Fraction() as coefficient, scalars, divisors, body):
            numbers = [one.value for one in divisors if isinstance(one, Written) and isinstance(one.value, Fraction)]
            if len(numbers) < len(divisors) or not all(numbers):
                return None
            factor = coefficient / math.prod(numbers, start=ONE)
            return _folded(_product, (Written(factor), *scalars, *(() if body is None else (body,))), bases)
        case Power(base, Written(Fraction() as exponent)) if exponent.denominator == 1 and 0 < exponent <= HIGHEST:
            return _folded(_product, (base,) * int(exponent), bases)
        case Function(("max" | "min") as name, (left, right)):
            return _joined(_largest if name == "max" else _smallest, _read(left, bases), _read(right, bases))
        case Function("abs", (inner,)):
            found = _read(inner, bases)
            return _joined(_largest, found, None if found is None else _product(_constant(-ONE), found))
        case Function("relu", (inner,)):
            return _joined(_largest, _read(inner, bases), _constant(NOTHING))
        case Function("sign", (inner,)):
            found = _read(inner, bases)
            return None if found is None else _of_sign(found, lambda sign: Fraction(sign))
        case Function("where", (holds_where, left, right)):
            chosen = _read(holds_where, bases)
            if chosen is None:
                return None
            above = _joined(_product, chosen, _read(left, bases))
            return _joined(_sum, above, _joined(_product, _less(_constant(ONE), chosen), _read(right, bases)))
        case Function(name, (left, right)) if name in COMPARE:
            difference = _joined(_less, _read(left, bases), _read(right, bases))
            holds = COMPARE[name]
            return None if difference is None else _of_sign(difference, lambda sign: ONE * holds(ONE * sign, NOTHING))
        case _:
            bases[node] = None
            return IDENTITY


Joining = Callable[[Piecewise, Piecewise], Piecewise | None]


def _folded(join: Joining, parts: Sequence[Expression], bases: dict[Expression, None]) -> Piecewise | None:
    found = _read(parts[0], bases)
    for part in parts[1:]:
        found = _joined(join, found, _read(part, bases))
    return found


def _joined(join: Joining, one: Piecewise | None, other: Piecewise | None) -> Piecewise | None:
    found = None if one is None or other is None else join(one, other)
    if found is None or len(found.breaks) > MOST_BREAKS or max(map(len, found.pieces)) > HIGHEST + 1:
        return None
    return found


def _constant(value: Fraction) -> Piecewise:
    return Piecewise((), ((value,) if value else (),), ())


def _sum(one: Piecewise, other: Piecewise) -> Piecewise:
    one, other = one.refined(other.breaks), other.refined(one.breaks)
    pieces = tuple(_trimmed(_add(p, q)) for p, q in zip(one.pieces, other.pieces, strict=True))
    return Piecewise(one.breaks, pieces, tuple(a + b for a, b in zip(one.at, other.at, strict=True)))


def _product(one: Piecewise, other: Piecewise) -> Piecewise:
    one, other = one.refined(other.breaks), other.refined(one.breaks)
    pieces = tuple(_trimmed(_times(p, q)) for p, q in zip(one.pieces, other.pieces, strict=True))
    return Piecewise(one.breaks, pieces, tuple(a * b for a, b in zip(one.at, other.at, strict=True)))


def _less(one: Piecewise, other: Piecewise) -> Piecewise:
    """One less the other."""
    return _sum(one, _product(_constant(-ONE), other))


def _smallest(one: Piecewise, other: Piecewise) -> Piecewise | None:
    turned = _largest(_product(_constant(-ONE), one), _product(_constant(-ONE), other))
    return None if turned is None else _product(_constant(-ONE), turned)


def _largest(one: Piecewise, other: Piecewise) -> Piecewise | None:
    above = _of_sign(_less(one, other), lambda sign: ONE * (sign > 0))
    if above is None:
        return None
    return _sum(_product(above, one), _product(_less(_constant(ONE), above), other))


def _of_sign(one: Piecewise, value: Callable[[int], Fraction]) -> Piecewise | None:
    """A function of the sign, as pieces between its roots; None where roots are no fractions."""
    found: list[Fraction] = []
    for low, high, piece in one.spans():
        roots = _roots(piece)
        if roots is None:
            return None
        found += [root for root in roots if low < root < high]
    one = one.refined(found)
    signs = [_sign(_value(piece, _between(low, high))) for low, high, piece in one.spans()]
    pieces = tuple((number,) if (number := value(sign)) else () for sign in signs)
    return Piecewise(one.breaks, pieces, tuple(value(_sign(number)) for number in one.at))


def _sign(number: Fraction) -> int:
    return (number > 0) - (number < 0)


def _between(low: Number, high: Number) -> Fraction:
    if isinstance(low, Fraction) and isinstance(high, Fraction):
        return (low + high) / 2
    if isinstance(low, Fraction):
        return low + 1
    return high - 1 if isinstance(high, Fraction) else NOTHING


# -- polynomials -----------------------------------------------------------------------------------------------


def _trimmed(p: Coefficients) -> Coefficients:
    while p and not p[-1]:
        p = p[:-1]
    return p


def _value(p: Coefficients, x: Fraction) -> Fraction:
    return sum((c * x**k for k, c in enumerate(p)), NOTHING)


def _slope(p: Coefficients) -> Coefficients:
    return tuple(k * c for k, c in enumerate(p) if k)


def _scaled(p: Coefficients, by: int) -> Coefficients:
    return tuple(by * c for c in p)


def _add(p: Coefficients, q: Coefficients) -> Coefficients:
    length = max(len(p), len(q))
    return tuple(a + b for a, b in zip(_padded(p, length), _padded(q, length), strict=True))


def _padded(p: Coefficients, length: int) -> Coefficients:
    return p + (NOTHING,) * (length - len(p))


def _times(p: Coefficients, q: Coefficients) -> Coefficients:
    found = [NOTHING] * max(0, len(p) + len(q) - 1)
    for k, a in enumerate(p):
        for n, b in enumerate(q):
            found[k + n] += a * b
    return tuple(found)


def _roots(p: Coefficients) -> tuple[Fraction, ...] | None:
    """The real roots, where these are fractions; of zero none."""
    match p:
        case () | (_,):
            return ()
        case (c, b):
            return (-c / b,)
        case (c, b, a):
            square = b * b - 4 * a * c
            if square < 0:
                return ()
            root = Fraction(math.isqrt(square.numerator), math.isqrt(square.denominator))
            return ((-b - root) / (2 * a), (-b + root) / (2 * a)) if root * root == square else None
        case _:
            return None


def _least(p: Coefficients, low: Number, high: Number) -> Number:
    """A lower bound of a polynomial between two ends; −∞ where none is found."""
    p = _trimmed(p)
    if len(p) <= 1:
        return p[0] if p else NOTHING
    if len(p) > 3:
        return -math.inf
    leading = p[-1]
    falls_left = not isinstance(low, Fraction) and (leading < 0 if len(p) == 3 else leading > 0)
    falls_right = not isinstance(high, Fraction) and leading < 0
    if falls_left or falls_right:
        return -math.inf
    vertex = [-p[1] / (2 * p[2])] if len(p) == 3 else []
    places = [one for one in (low, high) if isinstance(one, Fraction)] + [one for one in vertex if low < one < high]
    return min(_value(p, one) for one in places)


def _is_nonnegative(p: Coefficients, low: Number, high: Number) -> bool:
    return _least(p, low, high) >= 0
