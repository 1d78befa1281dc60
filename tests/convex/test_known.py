"""Known functions against verdicts written by hand; a wrong certificate is the one thing that must not happen."""

from __future__ import annotations

import pytest
from convex.known import AFFINE, CONCAVE, CONVEX, LOG_CONCAVE, LOG_CONVEX, ROWS, Row

import nablax as nb

# what may be said of a function of which this is the truth
IMPLIED = {
    AFFINE: {AFFINE},
    CONVEX: {CONVEX},
    CONCAVE: {CONCAVE},
    LOG_CONVEX: {LOG_CONVEX, CONVEX},
    LOG_CONCAVE: {LOG_CONCAVE},
}


def test_the_table_is_long_and_half_of_it_is_not_convex() -> None:
    convex = [row for row in ROWS if row.truth in (AFFINE, CONVEX, LOG_CONVEX)]
    assert len(ROWS) >= 100
    assert 0.4 <= len(convex) / len(ROWS) <= 0.5


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.formula} by {row.wrt}")
def test_verdicts(row: Row) -> None:
    found = nb.convexity(row.formula, row.wrt, declare=row.declare or None)
    verdict = str(found.verdict)
    assert verdict in IMPLIED.get(row.truth, set()) | {"unknown"}, f"a wrong certificate: {found}"
    assert verdict == (row.truth if row.proved and row.truth in IMPLIED else "unknown")
    if verdict == "unknown":
        assert not found.proof
        assert not found.domain
    else:
        assert found.proof or verdict == AFFINE
        assert found.domain[1:] == row.domain
        assert found.verification.segments > 20
