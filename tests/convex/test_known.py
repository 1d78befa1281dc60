"""Known functions against verdicts written by hand; a wrong certificate is the one thing that must not happen."""

from __future__ import annotations

import math

import pytest
from convex.known import AFFINE, CONCAVE, CONVEX, LOG_CONCAVE, LOG_CONVEX, NEITHER, ROWS, Row

import nablax as nb

# what may be said of a function of which this is the truth
IMPLIED = {
    AFFINE: {AFFINE},
    CONVEX: {CONVEX},
    CONCAVE: {CONCAVE},
    LOG_CONVEX: {LOG_CONVEX, CONVEX},
    LOG_CONCAVE: {LOG_CONCAVE},
    NEITHER: {NEITHER},
}
SCALARS = {name: getattr(math, name) for name in ("exp", "log", "sin", "tanh", "sqrt", "erf")} | {
    "abs": abs,
    "max": max,
    "min": min,
    "where": lambda holds, one, other: one if holds else other,
}


def test_the_table_is_long_and_half_of_it_is_not_convex() -> None:
    convex = [row for row in ROWS if row.truth in (AFFINE, CONVEX, LOG_CONVEX)]
    assert len(ROWS) >= 100
    assert 0.4 <= len(convex) / len(ROWS) <= 0.5


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.formula} by {row.wrt}")
def test_verdicts(row: Row) -> None:
    found = nb.convexity(row.formula, row.wrt, declare=row.declare or None)
    verdict = str(found.verdict)
    assert verdict in IMPLIED[row.truth] | {"unknown"}, f"a wrong certificate: {found}"
    assert verdict == ("unknown" if row.unproved else row.truth)
    assert bool(found.proof) == (verdict not in {"unknown", NEITHER, AFFINE}) or verdict == AFFINE
    if verdict in {"unknown", NEITHER}:
        assert not found.domain
        assert found.notes or verdict == NEITHER, "unknown has a reason"
    else:
        assert found.domain[1:] == row.domain
        assert found.verification.segments > 20
    if verdict == NEITHER:
        assert [str(one.against) for one in found.witnesses] == [CONVEX, CONCAVE]
    for one in found.witnesses:
        gap = one.values[2] - one.chord
        assert gap > 0 if one.against == CONVEX else gap < 0
        assert one.curvature * gap < 0


SCALAR_ROWS = [row for row in ROWS if row.truth == NEITHER and row.declare == "x: scalar"]


@pytest.mark.parametrize("row", SCALAR_ROWS, ids=lambda row: row.formula)
def test_witnesses_by_python_numbers(row: Row) -> None:
    source = compile(row.formula.replace("^", "**"), "", "eval")
    for one in nb.convexity(row.formula, declare=row.declare).witnesses:
        assert isinstance(one.first, float)
        assert isinstance(one.last, float)
        ends = [eval(source, {**SCALARS, "x": x}) for x in (one.first, one.last)]
        middle = eval(source, {**SCALARS, "x": (one.first + one.last) / 2})
        assert (*ends, middle) == pytest.approx(one.values, rel=1e-12, abs=1e-12)
