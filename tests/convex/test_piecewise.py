"""Piecewise polynomials against numbers: random ones, and losses by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from nablax.convex.piecewise import piecewise
from nablax.convex.polynomials import polynomial
from nablax.convex.reading import written
from nablax.formula import parse_formula

GRID = np.linspace(-6, 6, 2401)
NUMPY = {"abs": np.abs, "max": np.maximum, "min": np.minimum, "sign": np.sign, "where": np.where}
LEAVES = ("x", "x", "1", "2*x - 1", "x^2", "3/2", "-x")
NODES = ("({}) + ({})", "({}) - ({})", "max({}, {})", "min({}, {})", "where({0} > {1}, {0}, 1)", "({})*({})")


def drawn(random: np.random.Generator, depth: int) -> str:
    if not depth:
        return str(random.choice(LEAVES))
    if not random.integers(4):
        return f"abs({drawn(random, depth - 1)})"
    return str(random.choice(NODES)).format(drawn(random, depth - 1), drawn(random, depth - 1))


def values(text: str) -> np.ndarray:
    return np.asarray(eval(text.replace("^", "**"), {**NUMPY, "x": GRID})) + 0 * GRID


@pytest.mark.parametrize("seed", range(150))
def test_random_ones(seed: int) -> None:
    text = drawn(np.random.default_rng(seed), 2 + seed % 2)
    expression = written(parse_formula(f"{text} + 0*x", "x: scalar"))
    assert expression is not None
    found = piecewise(expression)
    if found is None:
        return
    atom, _ = found
    at = values(text)
    bend, step = at[2:] - 2 * at[1:-1] + at[:-2], np.diff(at)
    tolerance = 1e-11 * (1 + np.max(np.abs(at)))
    whole = atom.pieces[0]
    assert whole.convex == (np.min(bend) >= -tolerance) or not whole.convex
    assert whole.concave == (np.max(bend) <= tolerance) or not whole.concave
    for piece in atom.pieces[1:]:
        inside = (GRID[:-1] >= float(piece.on.low)) & (GRID[1:] <= float(piece.on.high))
        assert np.min(piece.slope * step[inside]) >= -tolerance
    assert np.min(at) >= float(atom.image.low) - tolerance
    assert np.max(at) <= float(atom.image.high) + tolerance


@pytest.mark.parametrize(
    ("text", "convex", "concave", "low"),
    [
        ("where(abs(x) < 1, x^2/2, abs(x) - 1/2)", True, False, 0),
        ("where(abs(x) < 2, x^2/2, abs(x) - 1/2)", False, False, 0),
        ("max(0, 1 - x)^2", True, False, 0),
        ("max(x, 0)^2 - x^2", False, True, -np.inf),
        ("abs(x^2 - 1)", False, False, 0),
        ("max(x^2 - 1, 0)", True, False, 0),
        ("where(x < 0, 1, 0) + where(x > 0, 1, 0)", False, False, 0),  # zero at one point
        ("where(x > 0, 1, 0)", False, False, 0),
    ],
)
def test_by_hand(text: str, convex: bool, concave: bool, low: float) -> None:
    expression = written(parse_formula(text, "x: scalar"))
    assert expression is not None
    found = piecewise(expression)
    assert found is not None
    atom, _ = found
    assert (atom.pieces[0].convex, atom.pieces[0].concave, float(atom.image.low)) == (convex, concave, low)


def test_roots_that_are_no_fractions_are_left_alone() -> None:
    expression = written(parse_formula("abs(x^2 - 2)", "x: scalar"))
    assert expression is not None
    found = piecewise(expression)
    assert found is None


def test_the_square_is_completed() -> None:
    for text, least in (("2 + x*(12*x - 6)", Fraction(5, 4)), ("x^4 - 2*x^2", -1), ("x^3 + 1", None), ("-x^2", None)):
        expression = written(parse_formula(text, "x: scalar"))
        assert expression is not None
        found = polynomial(expression)
        assert found is not None
        assert found.least() == least
