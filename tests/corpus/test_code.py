"""Generated code of the corpus runs in its language and agrees with the closed forms, which are checked by themselves."""

from __future__ import annotations

import shutil
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from corpus.formulas import ENTRIES, Entry
from corpus.running import in_c, in_python, lengths
from corpus.test_corpus import FAST, NO_FORM, derived

from nablax.derivation import Derivation, DerivationError
from nablax.formula import parse_formula, sample_point

WRITTEN = [entry for entry in ENTRIES if entry.name not in NO_FORM]
QUICK = [entry for entry in FAST if entry.name not in NO_FORM][::2]
# What C99 has no function for, and its source brings none along.
NOT_IN_C = {
    "spectral norm",
    "nuclear norm",
    "largest eigenvalue",
    "largest eigenvalue along a line",
    "largest eigenvalue of weighted squares",
    "smallest eigenvalue (67)",
    "sum of singular values",
    "operator norm",
    "low rank, nuclear",
    "digamma",
}
LANGUAGES = ("numpy", "jax", "torch", "c")


@cache
def answer(entry: Entry) -> tuple[Derivation, dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return derived(entry), sample_point(parse_formula(entry.formula, entry.declare or None), 7)


def expected(found: Derivation, point: dict[str, Any]) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """The arguments, and what the closed forms give, a map at random directions."""
    own, random = np.shape(point[found.wrt]), np.random.default_rng(0)
    forms = [form for form in (found.function, found.gradient, found.hessian) if form is not None]
    arguments = {name: np.asarray(point[name]) for name in found.function.arguments}
    known = lengths([found.shapes[name] for name in arguments], list(arguments.values()))
    arguments |= {name: random.standard_normal(own) for form in forms for name in form.directions}
    values = []
    for form, key in zip(forms, ("f", "∇f", "∇²f"), strict=False):
        value = form.at(point)
        if form.is_map:
            value = form.applied([arguments[name] for name in form.directions], point)
        elif not value.ndim:  # a number stands for an array of it
            sizes = [int(np.prod([known.get(x) or int(x) for x in size.split("·")])) for size in found.shapes[key]]
            value = np.broadcast_to(value, sizes)
        values.append(value)
    return arguments, values


def check(entry: Entry, language: str, folder: Path) -> None:
    found, point = answer(entry)
    if language == "c" and entry.name in NOT_IN_C:
        with pytest.raises(DerivationError, match="C has no function (singular_values|eigenvalues|polygamma)"):
            found.code("c")
        return
    arguments, values = expected(found, point)
    source = found.code(language)
    with jax.enable_x64(True):
        if language == "c":
            shapes = {name: found.shapes.get(name, found.shapes[found.wrt]) for name in arguments}
            given = in_c(source, folder, shapes, list(arguments.values()), [value.shape for value in values])
        elif language == "torch":
            torch = pytest.importorskip("torch", reason="PyTorch runs the code only where it is installed")
            given = in_python(source, [torch.tensor(array) for array in arguments.values()])
        else:
            given = in_python(source, list(arguments.values()))
    for one, value in zip(given, values, strict=True):
        np.testing.assert_allclose(one, value, rtol=1e-8, atol=1e-9, err_msg=source)


def needs_compiler(language: str) -> None:
    if language == "c" and shutil.which("cc") is None:
        pytest.skip("no C compiler (cc) on this machine")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("entry", QUICK, ids=lambda entry: entry.name)
def test_code_runs(entry: Entry, language: str, tmp_path: Path) -> None:
    needs_compiler(language)
    check(entry, language, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_code_of_every_entry_runs(language: str, tmp_path: Path) -> None:
    needs_compiler(language)
    for number, entry in enumerate(WRITTEN):
        folder = tmp_path / str(number)  # a library of a known name is not loaded again
        folder.mkdir()
        check(entry, language, folder)


@pytest.mark.slow
def test_julia_is_written_for_every_entry() -> None:
    # There is no Julia here to run it; that its words are right is seen in tests/printing/test_code.py only.
    for entry in WRITTEN:
        source = answer(entry)[0].code("julia")
        assert source.startswith("using LinearAlgebra\n")
        assert source.count("(") == source.count(")")
