"""Every formula of the corpus: right by central differences of NumPy by hand, short, and alike in all notations."""

from __future__ import annotations

import ast
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
from corpus.formulas import ENTRIES, Entry
from corpus.oracle import along, error, symbols, value

from nablax.derivation import ClosedForm, Derivation, derive
from nablax.formula import Kind, parse_formula, sample_point

# What is not done yet; an entry that has become right has to leave this list.
NO_FORM: frozenset[str] = frozenset()
LONGEST = 1.5
FAST = ENTRIES[::7]


def in_kind(direction: np.ndarray, kind: Kind) -> np.ndarray:
    if kind in (Kind.SYMMETRIC, Kind.SPD):
        return (direction + direction.T) / 2
    if kind is Kind.TRIANGULAR:
        return np.tril(direction)
    return np.diag(np.diag(direction)) if kind is Kind.DIAGONAL else direction


def derived(entry: Entry) -> Derivation:
    return derive(entry.formula, entry.wrt, declare=entry.declare or None, seconds=60)


def judged(entry: Entry, found: Derivation) -> None:
    """The gradient against differences of the value by hand, the Hessian against differences of that gradient."""
    formula = parse_formula(entry.formula, entry.declare or None)
    point = sample_point(formula, 7)
    generator = np.random.default_rng(1)
    at = np.asarray(point[entry.wrt])
    direction = in_kind(generator.standard_normal(at.shape), formula.variables[entry.wrt].kind)

    def gradient(x: np.ndarray) -> np.ndarray:
        shown = found.gradient.at({**point, entry.wrt: x})
        return np.broadcast_to(shown, shape) if shown.ndim == 0 else shown

    slope = along(lambda x: value(entry, {**point, entry.wrt: x}), at, direction)
    shape = slope.shape + at.shape
    assert error(np.tensordot(gradient(at), direction, at.ndim), slope) < 1e-5
    assert found.hessian is not None
    curvature = found.hessian.at(point)
    curvature = np.broadcast_to(curvature, shape + at.shape) if curvature.ndim == 0 else curvature
    assert error(np.tensordot(curvature, direction, at.ndim), along(gradient, at, direction, 1e-4)) < 1e-4


def answer(form: ClosedForm) -> str:
    return form.unicode().split("↦")[-1].strip()


def ratio(found: Derivation, entry: Entry) -> float:
    return symbols(answer(found.gradient)) / symbols(entry.gradient.split("↦")[-1].strip())


def check(entry: Entry) -> float:
    """Judges one entry; gives its length relative to the book's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = derived(entry)
        judged(entry, found)
    for form in (found.function, found.differential, found.gradient, found.hessian):
        assert form is not None
        ElementTree.fromstring(form.mathml())
        assert form.latex().count("{") == form.latex().count("}")
        if form.engine is None:
            ast.parse(form.code("numpy"))
            ast.parse(form.code("jax"))
    if entry.name in NO_FORM:
        assert found.gradient.engine is not None, "it has a form now: take it off the list"
        return 1.0
    assert found.gradient.engine is None, found.notes
    length = ratio(found, entry)
    assert (length > LONGEST) == bool(entry.longer), f"{length:.2f}: {answer(found.gradient)} for {entry.gradient}"
    return length


@pytest.mark.parametrize("entry", FAST, ids=lambda entry: entry.name)
def test_entry(entry: Entry) -> None:
    check(entry)


@pytest.mark.slow
@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry not in FAST], ids=lambda entry: entry.name)
def test_every_other_entry(entry: Entry) -> None:
    check(entry)


@pytest.mark.slow
def test_answers_are_as_short_as_in_books() -> None:
    lengths = [ratio(derived(entry), entry) for entry in FAST if entry.name not in NO_FORM]
    assert np.median(lengths) <= 1.0


def test_names_are_different() -> None:
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)
    assert {entry.name for entry in ENTRIES} >= NO_FORM


def test_symbols_are_counted() -> None:
    assert symbols("Aᵀ(Ax − b)") == 8
    assert symbols("½‖x‖²") == 5
    assert symbols("exp(x)") == 4
