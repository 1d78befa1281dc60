"""Where a function has several branches, the one on which divisors are positive is meant, also by what refutes."""

from __future__ import annotations

import pytest

import nablax as nb
from nablax.convex import Verdict
from nablax.convex.check import ROUNDING


@pytest.mark.parametrize("formula", ["x/(x - 1)", "1/(exp(x) - 1)", "x^3/(x - 1)", "1/(x^2 - 1)", "log(x^2 - 1)"])
def test_points_on_both_sides_of_a_pole_refute_nothing(formula: str) -> None:
    found = nb.convexity(formula, declare="x: scalar")
    assert found.verdict is not Verdict.NEITHER


def test_witnesses_lie_on_one_side_of_the_pole() -> None:
    found = nb.convexity("x^4/(x - 1) - 12*x^2", declare="x: scalar")
    assert found.verdict is Verdict.NEITHER
    assert all(min(one.first, one.last) > 1 for one in found.witnesses)


def test_where_the_branch_is_empty_all_points_count() -> None:
    assert nb.convexity("sin(3*x)/(x - x^2 - 1)", declare="x: scalar").verdict is Verdict.NEITHER


def test_rounding_excuses_no_more_than_rounding() -> None:
    assert ROUNDING < 100
    found = nb.convexity("max(eig(A'*diag(x)*A))", "x", declare="A: matrix(2,3), x: vector(2)")
    assert found.verification.worst < 1e-7
