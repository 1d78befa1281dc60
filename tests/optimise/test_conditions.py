"""Conditions on a step: where their borders lie on a parabola, worked by hand, and what is refused."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nablax import ArgumentError
from nablax.optimise import approximate_wolfe, armijo, curvature_condition, goldstein, strong_wolfe, wolfe

# φ(α) = (1 − α)²: φ(0) = 1, φ′(0) = −2, φ(α) − φ(0) = α² − 2α, φ′(α) = 2α − 2
VALUE, SLOPE = 1.0, -2.0


def phi(step: Any) -> Any:
    return (1 - step) ** 2


def slope(step: Any) -> Any:
    return 2 * step - 2


def borders(holds: Any) -> list[float]:
    """Where a condition begins and ceases to hold on (0, 3]."""
    steps = (jnp.arange(3000) + 0.5) / 1000  # no border lies on one of these
    changes = np.flatnonzero(np.diff(np.asarray(holds(steps)).astype(int)))
    return [(int(k) + 1) / 1000 for k in changes]


def test_armijo() -> None:
    # α² − 2α ≤ −2 c₁ α  ⟺  α ≤ 2 (1 − c₁)
    assert borders(lambda a: armijo(a, phi(a), VALUE, SLOPE, c1=0.3)) == [1.4]


def test_goldstein() -> None:
    # besides: −2 (1 − ρ) α ≤ α² − 2α  ⟺  α ≥ 2ρ
    assert borders(lambda a: goldstein(a, phi(a), VALUE, SLOPE, rho=0.2)) == [0.4, 1.6]


def test_curvature() -> None:
    # 2α − 2 ≥ −2 c₂  ⟺  α ≥ 1 − c₂
    assert borders(lambda a: curvature_condition(slope(a), SLOPE, c2=0.4)) == [0.6]


def test_wolfe() -> None:
    assert borders(lambda a: wolfe(a, phi(a), slope(a), VALUE, SLOPE, c1=0.1, c2=0.4)) == [0.6, 1.8]


def test_strong_wolfe() -> None:
    # |2α − 2| ≤ 2 c₂  ⟺  1 − c₂ ≤ α ≤ 1 + c₂
    assert borders(lambda a: strong_wolfe(a, phi(a), slope(a), VALUE, SLOPE, c1=0.1, c2=0.4)) == [0.6, 1.4]


def test_approximate_wolfe() -> None:
    # (2δ − 1)(−2) ≥ 2α − 2  ⟺  α ≤ 2 (1 − δ), which for a parabola is Armijo's border
    holds = lambda a: approximate_wolfe(phi(a), slope(a), VALUE, SLOPE, delta=0.2, sigma=0.4)
    assert borders(holds) == [0.6, 1.6]


def test_approximate_wolfe_lets_the_value_rise_by_epsilon_only() -> None:
    given = {"slope": 0.0, "value_at_zero": 1.0, "slope_at_zero": -1.0}
    assert approximate_wolfe(1.001, **given, epsilon=0.001)
    assert not approximate_wolfe(1.002, **given, epsilon=0.001)


def test_values_that_are_no_numbers_fulfil_nothing() -> None:
    assert not armijo(1.0, jnp.nan, VALUE, SLOPE)
    assert not goldstein(1.0, jnp.nan, VALUE, SLOPE)
    assert not wolfe(1.0, jnp.nan, jnp.nan, VALUE, SLOPE)
    assert not strong_wolfe(1.0, 0.0, jnp.nan, VALUE, SLOPE)
    assert not approximate_wolfe(jnp.nan, 0.0, VALUE, SLOPE)


def test_conditions_are_compiled_with_traced_constants() -> None:
    found = jax.jit(lambda c, a: armijo(a, phi(a), VALUE, SLOPE, c1=c))(0.3, jnp.array([1.3, 1.5]))
    assert found.tolist() == [True, False]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: armijo(1.0, 0.0, 1.0, -1.0, c1=1.0), "armijo got c1=1; it lies between 0 and 1."),
        (lambda: curvature_condition(0.0, -1.0, c2=0.0), "curvature_condition got c2=0; it lies between 0 and 1."),
        (
            lambda: goldstein(1.0, 0.0, 1.0, -1.0, rho=0.5),
            "goldstein got rho=0.5; it lies between 0 and 1/2. From 1/2 on, the line with slope (1 - rho) φ'(0) lies above "
            "the one with slope rho φ'(0), and no step is between them.",
        ),
        (
            lambda: wolfe(1.0, 0.0, 0.0, 1.0, -1.0, c1=0.5, c2=0.1),
            "wolfe got c1=0.5 and c2=0.1; c1 is smaller than c2, or there need be no step that fulfils both conditions.",
        ),
        (
            lambda: approximate_wolfe(0.0, 0.0, 1.0, -1.0, delta=0.6),
            "approximate_wolfe got delta=0.6; it lies between 0 and 1/2.",
        ),
    ],
)
def test_refusals(call: Any, text: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        call()
    assert str(caught.value) == text
