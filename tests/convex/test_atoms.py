"""Every row of the table of scalar functions against numbers, and intervals against samples."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.special

from nablax.convex.atoms import ATOMS, INSIDE, Atom, Piece, power
from nablax.convex.intervals import EVERYTHING, Interval

VALUES = {
    **{name: getattr(np, name) for name in ("exp", "expm1", "log", "log1p", "abs", "cosh", "sinh", "tanh", "arctan")},
    **{name: getattr(np, name) for name in ("arcsin", "arccos", "sin", "cos", "sign", "floor", "ceil")},
    "relu": lambda x: np.maximum(x, 0),
    "softplus": lambda x: np.logaddexp(0, x),
    "sigmoid": scipy.special.expit,
    "Phi": scipy.special.ndtr,
    "erf": scipy.special.erf,
    "lgamma": scipy.special.gammaln,
    "digamma": scipy.special.digamma,
    "trigamma": lambda x: scipy.special.polygamma(1, x),
    "arsinh": np.arcsinh,
    "arcosh": np.arccosh,
    "artanh": np.arctanh,
}
EXPONENTS = [Fraction(one) for one in ("2", "3", "4", "7", "1/2", "3/2", "7/3", "-1", "-2", "-3", "-1/2")]
CASES = [(row, VALUES[row.name]) for row in ATOMS.values()] + [
    (power(one), lambda x, e=one: np.power(x, int(e)) if e > 0 and e.denominator == 1 else np.power(x, float(e)))
    for one in EXPONENTS
]


def grid(on: Interval) -> np.ndarray:
    low, high = max(float(on.low), -6.0), min(float(on.high), 6.0)
    room = 1e-3 * (high - low)
    return np.linspace(low + room * on.open_low, high - room * on.open_high, 401)


def wrong(piece: Piece, function) -> list[str]:
    """Which claims of a piece numbers contradict."""
    values = function(grid(piece.on))
    assert np.all(np.isfinite(values))
    scale = 1e-9 * np.max(np.abs(values))
    bend = values[2:] - 2 * values[1:-1] + values[:-2]
    found = []
    if piece.convex and np.min(bend) < -scale:
        found.append("convex")
    if piece.concave and np.max(bend) > scale:
        found.append("concave")
    if piece.slope and np.min(piece.slope * np.diff(values)) < -scale:
        found.append("slope")
    if piece.log_convex or piece.log_concave:
        logs = np.log(values)
        bend = logs[2:] - 2 * logs[1:-1] + logs[:-2]
        if piece.log_convex and np.min(bend) < -1e-9:
            found.append("log_convex")
        if piece.log_concave and np.max(bend) > 1e-9:
            found.append("log_concave")
    return found


@pytest.mark.parametrize(("atom", "function"), CASES, ids=lambda one: getattr(one, "name", ""))
def test_rows(atom: Atom, function) -> None:
    for piece in atom.pieces:
        assert wrong(piece, function) == [], piece
    values = function(grid(atom.domain))
    assert np.min(values) >= float(atom.image.low) - 1e-12
    assert np.max(values) <= float(atom.image.high) + 1e-12
    if atom.value is not None:
        for x in grid(atom.domain)[1:-1:50]:
            assert math.isclose(atom.value(float(x)), float(function(x)), rel_tol=1e-12, abs_tol=1e-15)
        assert np.all(np.diff(values) >= 0), "the value at the ends is used of increasing functions only"


def test_a_wrong_row_is_noticed() -> None:
    assert wrong(Piece(EVERYTHING, convex=True), np.tanh) == ["convex"]
    assert wrong(Piece(EVERYTHING, concave=True, slope=-1), np.tanh) == ["concave", "slope"]
    assert wrong(Piece(INSIDE, log_convex=True, log_concave=True), np.cosh) == ["log_concave"]


def drawn(random: np.random.Generator) -> Interval:
    ends = sorted(Fraction(int(one), 2) for one in random.integers(-6, 7, 2))
    low, high = ends[0], ends[1] + Fraction(1, 2)
    kind = random.integers(4)
    if kind == 1:
        return Interval(low, math.inf, bool(random.integers(2)))
    if kind == 2:
        return Interval(-math.inf, high, False, bool(random.integers(2)))
    return Interval(low, high, bool(random.integers(2)), bool(random.integers(2)))


def inside(one: Interval, random: np.random.Generator) -> list[Fraction | float]:
    low, high = max(one.low, Fraction(-50)), min(one.high, Fraction(50))
    found = [low + (high - low) * Fraction(int(k), 20) for k in random.integers(1, 20, 6)]
    if not one.open_low and one.low > -math.inf:
        found.append(one.low)
    if not one.open_high and one.high < math.inf:
        found.append(one.high)
    return found


def holds(one: Interval, value: Fraction | float) -> bool:
    above = value > one.low or (value == one.low and not one.open_low)
    return above and (value < one.high or (value == one.high and not one.open_high))


@pytest.mark.parametrize("seed", range(40))
def test_arithmetic_of_intervals(seed: int) -> None:
    random = np.random.default_rng(seed)
    one, other = drawn(random), drawn(random)
    for x in inside(one, random):
        assert holds(one, x)
        assert holds(-one, -x)
        for y in inside(other, random):
            assert holds(one + other, x + y)
            assert holds(one * other, x * y)
            assert holds(one.hull(other), y)
        for exponent in (2, 3, 4):
            assert holds(one.power(Fraction(exponent)), x**exponent), (one, x, exponent)
        if x:
            for exponent in (-1, -2, -3):
                assert holds(one.power(Fraction(exponent)), x**exponent), (one, x, exponent)


def test_products_of_intervals_by_hand() -> None:
    assert repr(Interval(Fraction(0), open_low=True) * Interval(Fraction(1))) == "(0, inf)"
    assert repr(Interval(Fraction(0), Fraction(1)) * Interval(Fraction(-2), Fraction(3))) == "[-2, 3]"
    assert repr(Interval(Fraction(-1), Fraction(1), True, True).power(Fraction(2))) == "[0, 1)"
    assert repr(Interval(Fraction(0), Fraction(2), True).power(Fraction(-1))) == "[1/2, inf)"
