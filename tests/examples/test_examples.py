"""The examples run, and agree with independent answers."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import nablax as nb

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def load(name: str) -> ModuleType:
    pytest.importorskip("sklearn")
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def _double_precision() -> Iterator[None]:
    """The examples set 64 bit as scripts do; what was set before comes back."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.mark.usefixtures("_double_precision")
def test_breast_cancer_agrees_with_statsmodels() -> None:
    statsmodels = pytest.importorskip("statsmodels.api")
    example = load("breast_cancer")
    X, y = example.data()
    ours = example.fit(X, y)
    theirs = statsmodels.Logit(np.asarray(y), np.asarray(X)).fit(disp=0, tol=1e-14)
    np.testing.assert_allclose(ours.weights, theirs.params, rtol=1e-7)
    np.testing.assert_allclose(ours.errors, theirs.bse, rtol=1e-7)
    assert ours.loss == pytest.approx(-theirs.llf, rel=1e-10)
    assert ours.steps <= 10


@pytest.mark.usefixtures("_double_precision")
def test_breast_cancer_prints_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    load("breast_cancer").main()
    rows = capsys.readouterr().out.splitlines()
    assert rows[0] == "negative log-likelihood 90.372627 after 9 Newton steps"
    assert rows[-1].split() == ["texture", "error", "-1.051296", "0.277193", "-3.793", "1.49e-04"]


def test_digits_diagonal_is_exact() -> None:
    example = load("digits")
    params, X, y = example.example_args()
    diagonal = nb.hessian_diagonal(example.loss)(params, X, y)
    flat, unravel = ravel_pytree(params)
    gradient = jax.grad(lambda p: example.loss(unravel(p), X, y))

    @jax.jit
    def second(k: jax.Array) -> jax.Array:
        unit = (jnp.arange(flat.size) == k).astype(flat.dtype)
        return jax.jvp(gradient, (flat,), (unit,))[1][k]

    ours, _ = ravel_pytree(diagonal)
    for k in range(7, flat.size, 211):  # a sample of all layers
        np.testing.assert_allclose(ours[k], second(k), rtol=1e-3, atol=1e-6)


def test_digits_prints_diagonal_and_trace(capsys: pytest.CaptureFixture[str]) -> None:
    load("digits").main()
    out = capsys.readouterr().out
    assert "100.0% of 256 pictures right" in out
    assert "trace of the 4,522 × 4,522 Hessian: 5.44" in out
