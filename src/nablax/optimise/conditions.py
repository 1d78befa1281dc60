"""When a step along a direction is good enough; each condition can be asked on its own.

φ(α) = f(x + α d) with φ′(0) = ∇f(x)ᵀd < 0, for any descent direction d. All arguments are numbers or arrays of the same
shape, so that the conditions may be mapped and traced.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from nablax.errors import ArgumentError
from nablax.optimise.remembered import is_traced


def armijo(step: Any, value: Any, value_at_zero: Any, slope_at_zero: Any, *, c1: Any = 1e-4) -> Any:
    """Sufficient decrease: φ(α) ≤ φ(0) + c₁ α φ′(0).

    Args:
        step: α.
        value: φ(α).
        value_at_zero: φ(0).
        slope_at_zero: φ′(0).
        c1: share of the tangent's decrease that is asked for, between 0 and 1.

    Returns:
        Whether it holds; not where a value is NaN.

    Raises:
        ArgumentError: c₁ is not between 0 and 1.

    Example:
        φ(α) = (1 − α)², with φ(0) = 1 and φ′(0) = −2:

        >>> [bool(armijo(a, (1 - a) ** 2, 1.0, -2.0, c1=0.25)) for a in (1.0, 1.5, 1.6)]
        [True, True, False]

    Source:
        Armijo 1966; Nocedal and Wright 2006, equation 3.4.
    """
    check_constants("armijo", c1=c1)
    return jnp.asarray(value <= value_at_zero + c1 * step * slope_at_zero)


def goldstein(step: Any, value: Any, value_at_zero: Any, slope_at_zero: Any, *, rho: Any = 0.25) -> Any:
    """Between two tangents: φ(0) + (1 − ρ) α φ′(0) ≤ φ(α) ≤ φ(0) + ρ α φ′(0).

    Args:
        step: α.
        value: φ(α).
        value_at_zero: φ(0).
        slope_at_zero: φ′(0).
        rho: ρ, between 0 and ½: the constants are c₁ = ρ and c₂ = 1 − ρ.

    Returns:
        Whether it holds.

    Raises:
        ArgumentError: ρ is not between 0 and ½. Beyond, the lower line lies above the upper one and no step is between.

    Example:
        >>> [bool(goldstein(a, (1 - a) ** 2, 1.0, -2.0, rho=0.25)) for a in (0.4, 0.5, 1.5, 1.6)]
        [False, True, True, False]

    Source:
        Goldstein 1965; Nocedal and Wright 2006, equation 3.11.
    """
    if not is_traced(rho) and not 0 < float(rho) < 0.5:
        raise ArgumentError(
            f"goldstein got rho={float(rho):g}; it lies between 0 and 1/2. From 1/2 on, the line with slope "
            "(1 - rho) φ'(0) lies above the one with slope rho φ'(0), and no step is between them."
        )
    change = step * slope_at_zero
    return (value_at_zero + (1 - rho) * change <= value) & (value <= value_at_zero + rho * change)


def curvature_condition(slope: Any, slope_at_zero: Any, *, c2: Any = 0.9) -> Any:
    """The slope has risen enough: φ′(α) ≥ c₂ φ′(0).

    Args:
        slope: φ′(α).
        slope_at_zero: φ′(0).
        c2: share of the first slope that may be left, between 0 and 1.

    Returns:
        Whether it holds.

    Raises:
        ArgumentError: c₂ is not between 0 and 1.

    Example:
        >>> [bool(curvature_condition(-2 * (1 - a), -2.0, c2=0.5)) for a in (0.4, 0.5, 3.0)]
        [False, True, True]

    Source:
        Wolfe 1969; Nocedal and Wright 2006, equation 3.5.
    """
    check_constants("curvature_condition", c2=c2)
    return jnp.asarray(slope >= c2 * slope_at_zero)


def wolfe(
    step: Any, value: Any, slope: Any, value_at_zero: Any, slope_at_zero: Any, *, c1: Any = 1e-4, c2: Any = 0.9
) -> Any:
    """Armijo's condition and the curvature condition.

    Args:
        step: α.
        value: φ(α).
        slope: φ′(α).
        value_at_zero: φ(0).
        slope_at_zero: φ′(0).
        c1: as in `armijo`.
        c2: as in `curvature_condition`; larger than c₁, or there need be no such step.

    Returns:
        Whether both hold.

    Raises:
        ArgumentError: not 0 < c₁ < c₂ < 1.

    Example:
        >>> [bool(wolfe(a, (1 - a) ** 2, -2 * (1 - a), 1.0, -2.0, c1=0.25, c2=0.5)) for a in (0.4, 0.5, 1.5, 1.6)]
        [False, True, True, False]

    Source:
        Wolfe 1969; Nocedal and Wright 2006, equation 3.6.
    """
    check_constants("wolfe", c1=c1, c2=c2)
    return armijo(step, value, value_at_zero, slope_at_zero, c1=c1) & curvature_condition(slope, slope_at_zero, c2=c2)


def strong_wolfe(
    step: Any, value: Any, slope: Any, value_at_zero: Any, slope_at_zero: Any, *, c1: Any = 1e-4, c2: Any = 0.9
) -> Any:
    """Armijo's condition, and a slope that is small on both sides: |φ′(α)| ≤ c₂ |φ′(0)|.

    Args:
        step: α.
        value: φ(α).
        slope: φ′(α).
        value_at_zero: φ(0).
        slope_at_zero: φ′(0).
        c1: as in `armijo`.
        c2: as in `wolfe`.

    Returns:
        Whether both hold.

    Raises:
        ArgumentError: not 0 < c₁ < c₂ < 1.

    Example:
        >>> [bool(strong_wolfe(a, (1 - a) ** 2, -2 * (1 - a), 1.0, -2.0, c1=0.1, c2=0.5)) for a in (0.4, 0.5, 1.5, 1.6)]
        [False, True, True, False]

    Source:
        Nocedal and Wright 2006, equation 3.7.
    """
    check_constants("strong_wolfe", c1=c1, c2=c2)
    flat = jnp.abs(slope) <= c2 * jnp.abs(slope_at_zero)
    return armijo(step, value, value_at_zero, slope_at_zero, c1=c1) & flat


def approximate_wolfe(
    value: Any,
    slope: Any,
    value_at_zero: Any,
    slope_at_zero: Any,
    *,
    delta: Any = 0.1,
    sigma: Any = 0.9,
    epsilon: Any = 0.0,
) -> Any:
    """Wolfe's conditions by slopes: (2δ − 1) φ′(0) ≥ φ′(α) ≥ σ φ′(0), and φ(α) ≤ φ(0) + ε.

    Near a minimum the decrease of φ drowns in rounding, of relative size ε_machine, while slopes are still good to
    √ε_machine. For a quadratic φ the upper bound on the slope is Armijo's condition with c₁ = δ.

    Args:
        value: φ(α).
        slope: φ′(α).
        value_at_zero: φ(0).
        slope_at_zero: φ′(0).
        delta: δ, between 0 and ½.
        sigma: σ, between δ and 1.
        epsilon: ε, by which φ may rise: an estimate of its rounding.

    Returns:
        Whether all hold.

    Raises:
        ArgumentError: not 0 < δ < ½, or not δ < σ < 1.

    Example:
        >>> [bool(approximate_wolfe((1 - a) ** 2, -2 * (1 - a), 1.0, -2.0)) for a in (0.05, 0.5, 1.5, 1.9)]
        [False, True, True, False]

    Source:
        Hager and Zhang 2005, equation 4.1.
    """
    if not is_traced(delta) and not 0 < float(delta) < 0.5:
        raise ArgumentError(f"approximate_wolfe got delta={float(delta):g}; it lies between 0 and 1/2.")
    check_constants("approximate_wolfe", c1=delta, c2=sigma, names=("delta", "sigma"))
    flat = ((2 * delta - 1) * slope_at_zero >= slope) & (slope >= sigma * slope_at_zero)
    return flat & (value <= value_at_zero + epsilon)


def check_constants(name: str, *, c1: Any = None, c2: Any = None, names: tuple[str, str] = ("c1", "c2")) -> None:
    """Refuse constants of a condition that no step can fulfil.

    Args:
        name: of the condition, for the message.
        c1: share of the tangent's decrease.
        c2: share of the slope.
        names: what the two are called.

    Raises:
        ArgumentError: not 0 < c₁ < c₂ < 1, as far as they are given and not traced.
    """
    given = [(n, float(c)) for n, c in zip(names, (c1, c2), strict=True) if c is not None and not is_traced(c)]
    for one, value in given:
        if not 0 < value < 1:
            raise ArgumentError(f"{name} got {one}={value:g}; it lies between 0 and 1.")
    if len(given) == 2 and not given[0][1] < given[1][1]:
        (first, low), (second, high) = given
        raise ArgumentError(
            f"{name} got {first}={low:g} and {second}={high:g}; {first} is smaller than {second}, or there need be no "
            "step that fulfils both conditions."
        )
