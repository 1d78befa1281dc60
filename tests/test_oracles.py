"""The comparisons can fail: a wrong answer is refused in every dtype, a rounded one is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from oracles import TOLERANCE, assert_close, assert_same_tree, check_every_verb, close, direction, tolerance_of

DTYPES = sorted(TOLERANCE)
# not symmetric, with entries of several sizes; as a matrix, a diagonal and a trace
ANSWERS = {
    "matrix": np.array([[1.0, 0.5, 0.0], [-0.25, 2.0, 0.125], [0.0, 1.0, -1.5]]),
    "diagonal": np.array([1.0, 2.0, -1.5]),
    "number": np.array(1.5),
    "one small entry": np.array([[0.0, 0.0], [1e-3, 0.0]]),
    "block of four axes": np.arange(1.0, 25.0).reshape(2, 3, 2, 2),
}
WRONG: dict[str, Callable[[Any], Any]] = {
    "zeroed": np.zeros_like,
    "doubled": lambda a: 2.0 * a,
    "halved": lambda a: 0.5 * a,
    "negated": lambda a: -a,
    "largest entry missing": lambda a: np.where(np.abs(a) == np.abs(a).max(), 0.0, a),
    "transposed": np.transpose,
    "not finite": lambda a: np.full_like(a, np.nan),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", ANSWERS)
def test_a_wrong_answer_is_refused(name: str, wrong: str, scale: float, dtype: str) -> None:
    right = scale * ANSWERS[name]
    false = WRONG[wrong](right)
    if wrong == "transposed" and (right.ndim != 2):
        assert right.ndim < 2 or false.shape != right.shape
        return
    assert close(right, right, dtype)
    assert not close(false, right, dtype)
    with pytest.raises(AssertionError, match="expected"):
        assert_close(false, right, dtype)
    with pytest.raises(AssertionError):
        assert_same_tree({"a": jnp.asarray(false, dtype)}, {"a": jnp.asarray(right, dtype)})


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_rounded_answer_is_accepted(dtype: str) -> None:
    right = ANSWERS["matrix"]
    eps = float(jnp.finfo(dtype).eps)
    assert close(right * (1.0 + 8.0 * eps), right, dtype)
    assert not close(right * (1.0 + 64.0 * eps), right, dtype)


def test_tolerances_by_hand() -> None:
    assert tolerance_of("float64") == 16 * 2.0**-52
    assert tolerance_of("float32", terms=4) == 32 * 2.0**-23
    assert tolerance_of("bfloat16") == 0.125
    assert tolerance_of("float16", condition=2.0) == 2.0**-5
    assert tolerance_of("int64") == 0.0
    with pytest.raises(ValueError, match="a tolerance of 0.5 of the largest entry in bfloat16 proves nothing"):
        tolerance_of("bfloat16", terms=16)


def test_infinities_and_nans_must_stand_in_the_same_places() -> None:
    right = np.array([1.0, np.nan, np.inf])
    assert close(right, right)
    for false in ([1.0, np.inf, np.nan], [1.0, np.nan, -np.inf], [np.nan, np.nan, np.inf], [1.0, 0.0, np.inf]):
        assert not close(false, right)


POINT = np.array([0.5, -1.0, 2.0])


def cubic(x: Any) -> Any:
    return jnp.sum(x) ** 3 + jnp.sum(x**2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("wrong", ["zeroed", "doubled", "negated", "not finite"])
def test_a_wrong_answer_of_any_verb_is_refused(wrong: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = jnp.asarray(POINT, dtype)
    want = 6.0 * POINT.sum() * np.ones((3, 3)) + 2.0 * np.eye(3)
    check_every_verb(cubic, x, hessian=want)
    answers = oracles.every_answer
    right: dict[str, Any] = {}

    def remembered(*asked: Any) -> dict[str, Any]:
        if not right:
            right.update(answers(*asked))
        return right

    monkeypatch.setattr(oracles, "every_answer", remembered)
    check_every_verb(cubic, x, hessian=want)
    for name in right:
        falsified = {**right, name: WRONG[wrong](np.asarray(right[name], np.float64))}
        monkeypatch.setattr(oracles, "every_answer", lambda *asked, falsified=falsified: falsified)
        with pytest.raises(AssertionError, match=name):
            check_every_verb(cubic, x, hessian=want)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_transposed_block_of_any_strategy_is_refused(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # no Hessian of a scalar function is unsymmetric, so that the answers are given and not computed
    x, want = jnp.asarray(POINT, dtype), ANSWERS["matrix"]
    v = np.asarray(direction((3,)).astype(jnp.dtype(dtype)), np.float64)
    right = {"hessian columns": want, "hvp": want @ v}
    monkeypatch.setattr(oracles, "every_answer", lambda *asked: right)
    check_every_verb(cubic, x, hessian=want)
    for name, false in (("hessian columns", want.T), ("hvp", want.T @ v)):
        monkeypatch.setattr(oracles, "every_answer", lambda *asked, name=name, false=false: {**right, name: false})
        with pytest.raises(AssertionError, match=name):
            check_every_verb(cubic, x, hessian=want)
