"""Truncated conjugate gradients: the step of a quadratic model in a ball, from products with the Hessian alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from nablax.optimise.rounding import rounding


class Truncated(eqx.Module):
    """Where conjugate gradients ended.

    Args:
        step: p.
        predicted: the decrease of the model, −gᵀp − ½ pᵀHp.
        products: Hessian-vector products.
        curved_down: whether a direction of negative curvature was met.
    """

    step: Any
    predicted: Any
    products: Any
    curved_down: Any


def conjugate_gradients(product: Callable[[Any], Any], gradient: Any, radius: Any) -> Truncated:
    """Conjugate gradients from 0 until the residual is small, the ball is left, or the curvature is negative.

    The residual is reduced to min(½, √‖g‖) ‖g‖, which makes the outer iteration converge faster than linearly. Where
    a direction has no positive curvature, or leads out of the ball, the step ends where it meets the border; without a
    border (an infinite radius) it is the last step, or the negative gradient where it is the first direction.

    Args:
        product: v to H v.
        gradient: g.
        radius: of the ball; infinity for none.

    Returns:
        The step with what was found on the way.

    Source:
        Steihaug 1983; Toint 1981; Nocedal and Wright 2006, algorithm 7.2.
    """
    norm = jnp.linalg.norm(gradient)
    tolerance = jnp.minimum(0.5, jnp.sqrt(norm)) * norm
    limit = 2 * gradient.size + 10

    def going(state: Any) -> Any:
        count, _, _, _, _, _, done, _ = state
        return ~done & (count < limit)

    def next_state(state: Any) -> Any:
        count, step, image, residual, direction, square, _, _ = state
        along = product(direction)
        curvature = direction @ along
        # up to rounding, zero curvature is no positive curvature
        down = curvature <= rounding(gradient.dtype) * (direction @ direction) * jnp.sqrt(
            along @ along / (direction @ direction)
        )
        size = square / curvature
        farther = step + size * direction
        leaves = down | ~(jnp.linalg.norm(farther) < radius)
        to_border = _to_border(step, direction, radius)
        bounded = jnp.isfinite(to_border)
        fallback = jnp.where((count == 0) & ~bounded, 1.0, 0.0)
        size = jnp.where(leaves, jnp.where(bounded, to_border, jnp.where(down, fallback, size)), size)
        step, image, residual = step + size * direction, image + size * along, residual + size * along
        smaller = residual @ residual
        done = leaves | (jnp.sqrt(smaller) <= tolerance) | ~jnp.isfinite(smaller)
        direction = -residual + smaller / square * direction
        return count + 1, step, image, residual, direction, smaller, done, down

    zero = jnp.zeros_like(gradient)
    no = jnp.asarray(False)
    start = (jnp.asarray(0), zero, zero, gradient, -gradient, norm**2, norm == 0, no)
    count, step, image, _, _, _, _, down = jax.lax.while_loop(going, next_state, start)
    return Truncated(step, -(gradient @ step + step @ image / 2), count, down)


def _to_border(step: Any, direction: Any, radius: Any) -> Any:
    """τ ≥ 0 with ‖p + τ d‖ = Δ, without cancellation."""
    a, b, c = direction @ direction, step @ direction, radius**2 - step @ step
    root = jnp.sqrt(jnp.maximum(b**2 + a * c, 0.0))
    return jnp.where(b > 0, c / (b + root), (root - b) / a)
