"""The secular equation: the step of a quadratic model that is bounded by a ball, or damped by a cubic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from nablax.optimise.rounding import rounding

MOST_ITERATIONS = 60
# How well the length of the step has to fit: the radius is a guess itself.
FIT = 1e-3


def in_ball(eigenvalues: Any, slopes: Any, radius: Any) -> tuple[Any, Any]:
    """The lowest point of gᵀp + ½ pᵀHp in a ball ‖p‖ ≤ Δ, in the basis of eigenvectors.

    p(λ) = −g / (w + λ) with λ ≥ 0, w + λ ≥ 0, and λ = 0 or ‖p‖ = Δ (Moré and Sorensen 1983, theorem 2.1). In the hard
    case, where g has no part along the eigenvectors of the lowest eigenvalue and ‖p(−w₀)‖ < Δ, the first eigenvector
    makes up the length.

    Args:
        eigenvalues: w, ascending, shape (n,).
        slopes: g in that basis, shape (n,).
        radius: Δ.

    Returns:
        p in that basis, and λ.

    Example:
        >>> step, shift = in_ball(jnp.array([-2.0, 1.0]), jnp.array([0.0, 3.0]), 2.0)
        >>> jnp.abs(step), float(shift)
        (Array([1.7320508, 1.       ], dtype=float32), 2.0)
    """
    return _solved(
        eigenvalues, slopes, lambda _: 1 / radius, lambda _: jnp.zeros_like(radius), _upper_ball(radius), 0.0
    )


def with_cubic(eigenvalues: Any, slopes: Any, weight: Any) -> tuple[Any, Any]:
    """The lowest point of gᵀp + ½ pᵀHp + σ/3 ‖p‖³, in the basis of eigenvectors.

    p(λ) = −g / (w + λ) with λ = σ ‖p‖ and w + λ ≥ 0 (Cartis, Gould and Toint 2011, theorem 3.1).

    Args:
        eigenvalues: w, ascending, shape (n,).
        slopes: g in that basis, shape (n,).
        weight: σ, positive.

    Returns:
        p in that basis, and λ.

    Example:
        In one dimension with g = −2, w = 0, σ = 2 the model −2p + 2/3 p³ is lowest at 1:

        >>> step, shift = with_cubic(jnp.array([0.0]), jnp.array([-2.0]), 2.0)
        >>> round(float(step[0]), 3), round(float(shift), 2)
        (1.0, 2.0)
    """

    def upper(lowest: Any, norm: Any) -> Any:
        # ‖g‖ / (λ + w₀) ≤ λ / σ from the larger root of λ² + w₀ λ − σ ‖g‖ on
        return (-lowest + jnp.sqrt(lowest**2 + 4 * weight * norm)) / 2

    return _solved(eigenvalues, slopes, lambda shift: weight / shift, lambda shift: -weight / shift**2, upper, 0.5)


def _upper_ball(radius: Any) -> Callable[[Any, Any], Any]:
    return lambda lowest, norm: norm / radius - lowest  # ‖p(λ)‖ ≤ ‖g‖ / (λ + w₀)


def _solved(
    eigenvalues: Any, slopes: Any, inverse_length: Any, change: Any, upper: Callable[[Any, Any], Any], place: float
) -> tuple[Any, Any]:
    lowest = eigenvalues[0]
    scale = jnp.max(jnp.abs(eigenvalues))
    scale, eps = jnp.where(scale > 0, scale, 1.0), rounding(slopes.dtype)
    least = jnp.maximum(0.0, -lowest)

    # λ = least: the Newton step where H is positive definite; else the candidate of the hard case
    denominator = eigenvalues + least
    flat = denominator <= 4 * eps * scale * eigenvalues.shape[0]
    share = jnp.where(flat & (jnp.abs(slopes) <= 4 * eps * jnp.linalg.norm(slopes)), 0.0, slopes)
    bare = jnp.where(share == 0, 0.0, -share / jnp.where(flat, 0.0, denominator))
    bare_norm = jnp.linalg.norm(bare)
    room = 1 / inverse_length(least)  # zero for the cubic at λ = 0, which leaves no room for the bare step
    easy = ~(bare_norm <= room)

    def residual(shift: Any) -> tuple[Any, Any]:
        step = -slopes / (eigenvalues + shift)
        norm = jnp.linalg.norm(step)
        value = 1 / norm - inverse_length(shift)
        slope = jnp.sum(slopes**2 / (eigenvalues + shift) ** 3) / norm**3 - change(shift)
        return value, slope

    norm = jnp.linalg.norm(slopes)
    high = jnp.maximum(upper(lowest, norm), least) * (1 + 8 * eps) + eps * scale
    # near the least λ for a ball, where 1/‖p‖ is nearly a line; between the ends for a cubic, whose σ/λ has a pole at 0
    start = least + jnp.maximum(jnp.minimum(eps * scale, (high - least) / 2), place * (high - least))

    def going(state: Any) -> Any:
        count, low, high, _, fit = state
        return easy & (count < MOST_ITERATIONS) & (jnp.abs(fit) > FIT) & (high - low > 4 * eps * high)

    def newton(state: Any) -> Any:
        count, low, high, shift, _ = state
        value, slope = residual(shift)
        fit = value / inverse_length(shift)
        low, high = jnp.where(value < 0, shift, low), jnp.where(value < 0, high, shift)
        trial = shift - value / slope
        middle = jnp.sqrt(jnp.maximum(low, eps * high)) * jnp.sqrt(high)
        middle = jnp.where((middle > low) & (middle < high), middle, low + (high - low) / 2)
        fine = jnp.isfinite(trial) & (trial > low) & (trial < high)
        trial = jnp.where(jnp.abs(fit) <= FIT, shift, jnp.where(fine, trial, middle))
        return count + 1, low, high, trial, jnp.where(jnp.isnan(fit), jnp.inf, fit)

    first = (jnp.asarray(0), least, high, start, jnp.full_like(lowest, jnp.inf))
    _, _, _, shift, _ = jax.lax.while_loop(going, newton, first)
    curved = -slopes / (eigenvalues + shift)
    # hard case: along the first eigenvector up to the length; downhill where there is a rest of slope
    missing = jnp.sqrt(jnp.maximum(room**2 - bare_norm**2, 0.0))
    along = jnp.where(slopes[0] > 0, -missing, missing)
    hard = bare.at[0].add(jnp.where(lowest < -4 * eps * scale, along, 0.0))
    return jnp.where(easy, curved, hard), jnp.where(easy, shift, least)
