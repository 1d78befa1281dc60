"""The table of scalar functions: on which intervals each is convex, concave, increasing, and so on.

Composition is that of disciplined convex programming: h(g(x)) is convex if h is convex on an interval that holds the
values of g, and g is affine, or convex where h increases, or concave where h decreases (Boyd and Vandenberghe 2004,
section 3.2.4; Grant, Boyd and Ye 2006, section 3). The same holds of log h in the place of h.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from nablax.convex.facts import Facts
from nablax.convex.intervals import EVERYTHING, NONNEGATIVE, NONPOSITIVE, POSITIVE, Interval

ZERO, ONE = Fraction(0), Fraction(1)
INSIDE = Interval(-ONE, ONE, True, True)


@dataclass(frozen=True)
class Piece:
    """What is known of a function on an interval.

    Args:
        on: the interval.
        convex: whether it is convex there.
        concave: whether it is concave there.
        slope: 1 where it does not decrease, −1 where it does not increase, 0 where neither is said.
        log_convex: whether it is positive and its logarithm convex.
        log_concave: whether it is positive and its logarithm concave.
    """

    on: Interval
    convex: bool = False
    concave: bool = False
    slope: int = 0
    log_convex: bool = False
    log_concave: bool = False


@dataclass(frozen=True)
class Atom:
    """A scalar function.

    Args:
        name: as expressions have it.
        pieces: what is known on intervals.
        image: where its values lie.
        domain: where it is defined.
        value: the function, where it is monotone and its values at the ends of an interval say where others lie.
        smooth: whether it has continuous second derivatives inside its domain.
    """

    name: str
    pieces: tuple[Piece, ...] = ()
    image: Interval = EVERYTHING
    domain: Interval = EVERYTHING
    value: Callable[[float], float] | None = None
    smooth: bool = True


def _rising(name: str, image: Interval, value: Callable[[float], float] | None, *, convex_above: bool) -> Atom:
    """An odd increasing function: convex above zero and concave below, or the other way round."""
    pieces = (
        Piece(EVERYTHING, slope=1),
        Piece(NONNEGATIVE, convex=convex_above, concave=not convex_above),
        Piece(NONPOSITIVE, convex=not convex_above, concave=convex_above),
    )
    return Atom(name, pieces, image, value=value)


def _sigmoid(x: float) -> float:
    return 0.5 * (1 + math.tanh(x / 2))


def _normal(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


UP = (Piece(NONNEGATIVE, slope=1), Piece(NONPOSITIVE, slope=-1))
_HALF_PI = math.pi / 2
_OPEN_UNIT = Interval(ZERO, ONE, True, True)
_LOG_CONCAVE_STEP = (
    Piece(EVERYTHING, slope=1, log_concave=True),
    Piece(NONNEGATIVE, concave=True),
    Piece(NONPOSITIVE, convex=True),
)

ROWS = (
    Atom("exp", (Piece(EVERYTHING, True, slope=1, log_convex=True, log_concave=True),), POSITIVE, value=math.exp),
    Atom("expm1", (Piece(EVERYTHING, True, slope=1),), Interval(-ONE, open_low=True), value=math.expm1),
    Atom("log", (Piece(POSITIVE, concave=True, slope=1),), domain=POSITIVE, value=math.log),
    Atom(
        "log1p",
        (Piece(Interval(-ONE, open_low=True), concave=True, slope=1),),
        domain=Interval(-ONE, open_low=True),
        value=math.log1p,
    ),
    Atom("abs", (Piece(EVERYTHING, True), *UP), NONNEGATIVE, smooth=False),
    Atom("relu", (Piece(EVERYTHING, True, slope=1),), NONNEGATIVE, value=lambda x: max(x, 0.0), smooth=False),
    Atom("softplus", (Piece(EVERYTHING, True, slope=1, log_concave=True),), POSITIVE),
    Atom("cosh", (Piece(EVERYTHING, True, log_convex=True), *UP), Interval(ONE)),
    _rising("sinh", EVERYTHING, math.sinh, convex_above=True),
    _rising("tanh", INSIDE, math.tanh, convex_above=False),
    _rising("arctan", Interval(-_HALF_PI, _HALF_PI, True, True), math.atan, convex_above=False),
    _rising("arsinh", EVERYTHING, math.asinh, convex_above=False),
    _rising("erf", INSIDE, math.erf, convex_above=False),
    Atom("sigmoid", _LOG_CONCAVE_STEP, _OPEN_UNIT, value=_sigmoid),
    Atom("Phi", _LOG_CONCAVE_STEP, _OPEN_UNIT, value=_normal),
    Atom("lgamma", (Piece(POSITIVE, True),), Interval(-0.13), POSITIVE),
    Atom("digamma", (Piece(POSITIVE, concave=True, slope=1),), domain=POSITIVE),
    Atom("trigamma", (Piece(POSITIVE, True, slope=-1, log_convex=True),), POSITIVE, POSITIVE),
    Atom(
        "arcsin",
        (
            Piece(Interval(-ONE, ONE), slope=1),
            Piece(Interval(ZERO, ONE), convex=True),
            Piece(Interval(-ONE, ZERO), concave=True),
        ),
        Interval(-_HALF_PI, _HALF_PI),
        Interval(-ONE, ONE),
        math.asin,
    ),
    Atom(
        "arccos",
        (
            Piece(Interval(-ONE, ONE), slope=-1),
            Piece(Interval(ZERO, ONE), concave=True),
            Piece(Interval(-ONE, ZERO), convex=True),
        ),
        Interval(ZERO, math.pi),
        Interval(-ONE, ONE),
    ),
    Atom("arcosh", (Piece(Interval(ONE), concave=True, slope=1),), NONNEGATIVE, Interval(ONE), math.acosh),
    Atom(
        "artanh",
        (
            Piece(INSIDE, slope=1),
            Piece(Interval(ZERO, ONE, False, True), convex=True),
            Piece(Interval(-ONE, ZERO, True, False), concave=True),
        ),
        domain=INSIDE,
        value=math.atanh,
    ),
    Atom("sin", (), Interval(-ONE, ONE)),
    Atom("cos", (), Interval(-ONE, ONE)),
    Atom("sign", (), Interval(-ONE, ONE), smooth=False),
    Atom("floor", (Piece(EVERYTHING, slope=1),), smooth=False),
    Atom("ceil", (Piece(EVERYTHING, slope=1),), smooth=False),
)
ATOMS = {row.name: row for row in ROWS}


def power(exponent: Fraction | float) -> Atom:
    """The function x to a constant power, on the branch x > 0 where the exponent is negative or broken.

    Example:
        >>> power(Fraction(-1)).domain
        (0, inf)
    """
    whole = float(exponent).is_integer()
    even = whole and int(exponent) % 2 == 0
    name = f"power {exponent}"
    if exponent < 0:
        above = Piece(POSITIVE, True, slope=-1, log_convex=True)
        below = Piece(Interval(high=ZERO, open_high=True), even, not even, 1 if even else -1, even)
        return Atom(name, (above, below) if whole else (above,), domain=POSITIVE)
    if even:
        return Atom(name, (Piece(EVERYTHING, True), *UP), NONNEGATIVE)
    if whole:
        pieces = (Piece(EVERYTHING, slope=1), Piece(NONNEGATIVE, True), Piece(NONPOSITIVE, concave=True))
        return Atom(name, pieces)
    return Atom(name, (Piece(NONNEGATIVE, exponent > 1, exponent < 1, 1),), NONNEGATIVE, NONNEGATIVE)


def composed(atom: Atom, inner: Facts) -> Facts:
    """The facts of h(g), where the values of g lie in the domain of h.

    Args:
        atom: h.
        inner: what is known of g.

    Returns:
        What follows by the rule of composition.

    Example:
        >>> composed(ATOMS["exp"], Facts(convex=True)).log_convex
        True
    """
    region = inner.interval.common(atom.domain)
    holding = [piece for piece in atom.pieces if region.within(piece.on)]
    rises = any(piece.slope == 1 for piece in holding)
    falls = any(piece.slope == -1 for piece in holding)
    bends = inner.affine or (rises and inner.convex) or (falls and inner.concave)
    bows = inner.affine or (rises and inner.concave) or (falls and inner.convex)
    image = atom.image
    if atom.value is not None:
        image = image.common(_between(atom.value, region))
    return Facts(
        inner.constant,
        bends and any(piece.convex for piece in holding),
        bows and any(piece.concave for piece in holding),
        bends and any(piece.log_convex for piece in holding),
        bows and any(piece.log_concave for piece in holding),
        interval=image,
    ).closed()


def _between(value: Callable[[float], float], region: Interval) -> Interval:
    """Where an increasing function's values lie; ends rounded outwards, except exact ones."""

    def end(at: Fraction | float, outward: float) -> Fraction | float:
        try:
            found = value(float(at))
        except (OverflowError, ValueError):
            return outward * math.inf
        if not math.isfinite(found):
            return outward * math.inf
        exact = float(found).is_integer() and at in (0, 1, -1)
        return Fraction(round(found)) if exact else found + outward * 1e-12 * abs(found)

    low = end(region.low, -1.0) if math.isfinite(region.low) else -math.inf
    high = end(region.high, 1.0) if math.isfinite(region.high) else math.inf
    return Interval(low, high, region.open_low, region.open_high)
