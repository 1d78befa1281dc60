"""The gate: what was compared is said, and what is wrong is not shown."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest

from nablax.derivation import VerificationError, derive
from nablax.derivation.problem import from_formula
from nablax.derivation.verify import Check
from nablax.formula import parse_formula


def test_text_names_what_was_compared() -> None:
    text = str(derive("x'*x").verification)
    assert text.startswith("verified at 3 random points: largest relative error ")
    assert "against central differences" in text


def test_text_of_a_python_function_names_its_points() -> None:
    found = derive(lambda x: (x**2).sum(), args=(np.ones(3),))
    assert str(found.verification).startswith("verified at the example and 2 rescalings of it: ")


def test_names_are_compared_with_differences_only() -> None:
    found = derive("tr(expm(X))", order=1).verification
    assert found.names
    assert 0 < found.differences < 1e-4
    assert "verified" not in str(found)


def test_a_wrong_closed_form_does_not_pass() -> None:
    check = Check(from_formula(parse_formula("x'*x"), None))
    right = derive("x'*x")
    assert check.compare([right.function, right.gradient, right.hessian]).passed
    wrong = check.compare([right.function, derive("2*x'*x").gradient, right.hessian])
    assert not wrong.passed
    assert str(wrong).startswith("not verified")


def test_a_wrong_differential_does_not_pass() -> None:
    check = Check(from_formula(parse_formula("A*exp(x)"), "x"))
    right = derive("A*exp(x)", "x").differential
    check.differential(right, "dx")
    with pytest.raises(VerificationError, match="differential failed"):
        check.differential(derive("2*A*exp(x)", "x").differential, "dx")


def test_wrong_values_of_a_name_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(problem: object, order: int, place: int, known: object) -> object:
        del problem, order, known
        return lambda **values: values["X"] if place else jax.numpy.trace(jax.scipy.linalg.expm(values["X"]))

    monkeypatch.setattr("nablax.derivation.without_notation._Engine", broken)
    with pytest.raises(VerificationError, match="nothing is shown"):
        derive("tr(expm(X))", order=1)


def test_a_value_that_is_not_finite_does_not_pass() -> None:
    problem = from_formula(parse_formula("log(x)", "x: scalar"), None)
    outside = replace(problem, points=lambda seed: {"x": np.asarray(-1.0 - seed)})
    found = derive("log(x)", declare="x: scalar")
    assert not Check(outside).compare([found.function, found.gradient]).passed
