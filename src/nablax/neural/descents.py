"""Minimising with gradients alone, and with products H v; each leaves its path for a picture."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.errors import ArgumentError
from nablax.neural.arguments import counted, is_traced, positive, rounding

Value = Callable[[jax.Array], Any]


@dataclass(frozen=True)
class Descent:
    """The way to a minimum.

    Attributes:
        w: where it ended.
        values: of the function after each step, the first at the start.
        gradient_norms: at the same places.
        work: gradients spent until then; a product H v counts as two.
        message: why it ended.
    """

    w: np.ndarray
    values: np.ndarray
    gradient_norms: np.ndarray
    work: np.ndarray
    message: str


def newton_cg(
    value: Value,
    gradient: Value,
    hvp: Callable[[jax.Array, jax.Array], Any],
    start: Any,
    *,
    tolerance: float = 1e-6,
    max_steps: int = 200,
) -> Descent:
    """Newton's method with conjugate gradients in a trust region (Steihaug).

    Only products H v are asked; directions of negative curvature are followed to the edge of the region.

    Args:
        value: of a vector; it and the others are called as they are, compile them with `jax.jit`.
        gradient: of a vector.
        hvp: ``(w, v) -> H v``.
        start: a vector of numbers.
        tolerance: for the norm of the gradient.
        max_steps: Newton steps.

    Returns:
        The path.

    Raises:
        ArgumentError: the start is no vector, or traced.

    Example:
        >>> import jax, jax.numpy as jnp, nablax as nb
        >>> f = lambda x: jnp.sum((x - 1) ** 4 + (x - 1) ** 2)
        >>> found = newton_cg(f, jax.grad(f), nb.hvp(f), jnp.zeros(3))
        >>> bool(abs(found.w - 1).max() < 1e-4)
        True

    Source:
        Steihaug 1983; Nocedal and Wright 2006, algorithms 4.1 and 7.2.
    """
    x, dtype = _checked("newton_cg", start, max_steps, tolerance)
    spent = [0.0]

    def slope(x: np.ndarray) -> np.ndarray:
        spent[0] += 1
        return np.asarray(gradient(jnp.asarray(x, dtype)), float)

    def product(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        spent[0] += 2
        return np.asarray(hvp(jnp.asarray(x, dtype), jnp.asarray(v, dtype)), float)

    def at(x: np.ndarray) -> float:
        return float(value(jnp.asarray(x, dtype)))

    g, radius = slope(x), 1.0
    values, norms, work = [at(x)], [float(np.linalg.norm(g))], [0.0]
    message = "the steps were used up"
    for _ in range(max_steps):
        if norms[-1] <= tolerance:
            message = "the gradient is small"
            break
        step, fall = _steihaug(g, functools.partial(product, x), radius)
        following = at(x + step)
        # rounding of the two values, of which the quotient of a last step would consist
        noise = 10 * rounding(dtype) * max(abs(values[-1]), abs(following))
        quality = (values[-1] - following + noise) / (fall + noise)
        length = float(np.linalg.norm(step))
        if quality < 0.25 or not np.isfinite(following):
            radius = 0.25 * length
        elif quality > 0.75 and length > 0.99 * radius:
            radius = 2 * radius
        if quality > 1e-4:
            x = x + step
            g = slope(x)
            values.append(following)
            norms.append(float(np.linalg.norm(g)))
            work.append(spent[0])
        elif radius < rounding(dtype) * (1 + float(np.linalg.norm(x))):
            message = "no step makes the function smaller in this precision"
            break
    return Descent(x, np.array(values), np.array(norms), np.array(work), message)


def _steihaug(g: np.ndarray, product: Callable[[np.ndarray], np.ndarray], radius: float) -> tuple[np.ndarray, float]:
    """A step p that makes g·p + ½ pᵀ H p small within a radius, and by how much; algorithm 7.2 of Nocedal and Wright.

    Conjugate gradients until the residual is min(½, √‖g‖) of ‖g‖, so that the convergence is superlinear; at a
    direction of negative curvature, or at the edge, the step ends on the edge.
    """
    p, Hp = np.zeros_like(g), np.zeros_like(g)
    residual, direction = -g, -g
    size = float(np.linalg.norm(g))
    small = min(0.5, size**0.5) * size
    for _ in range(2 * g.size):
        Hd = product(direction)
        curvature, squared = float(direction @ Hd), float(residual @ residual)
        alpha = squared / curvature if curvature > 0 else np.inf
        if not np.isfinite(alpha) or np.linalg.norm(p + alpha * direction) >= radius:
            # the root t > 0 of ‖p + t d‖² = radius²
            dd, pd, pp = float(direction @ direction), float(p @ direction), float(p @ p)
            alpha = (-pd + (pd**2 + dd * (radius**2 - pp)) ** 0.5) / dd
            p, Hp = p + alpha * direction, Hp + alpha * Hd
            break
        p, Hp = p + alpha * direction, Hp + alpha * Hd
        residual = residual - alpha * Hd
        if np.linalg.norm(residual) <= small:
            break
        direction = residual + float(residual @ residual) / squared * direction
    return p, -float(g @ p + 0.5 * p @ Hp)


def gradient_descent(
    value: Value, gradient: Value, start: Any, *, rate: float, tolerance: float = 1e-6, max_steps: int = 1000
) -> Descent:
    """Steps against the gradient.

    Args:
        value: of a vector.
        gradient: of a vector.
        start: a vector of numbers.
        rate: of a step; above 2/λ_max of the Hessian it diverges.
        tolerance: for the norm of the gradient.
        max_steps: after which it ends.

    Returns:
        The path.

    Raises:
        ArgumentError: the start is no vector, or traced.

    Example:
        >>> import jax.numpy as jnp
        >>> found = gradient_descent(lambda x: x @ x, lambda x: 2 * x, jnp.ones(2), rate=0.25, max_steps=3)
        >>> found.values.tolist()
        [2.0, 0.5, 0.125, 0.03125]
    """
    x, dtype = _checked("gradient_descent", start, max_steps, tolerance)
    positive("gradient_descent", "rate", rate)
    values, norms = [], []
    for k in range(max_steps + 1):
        g = np.asarray(gradient(jnp.asarray(x, dtype)), float)
        values.append(float(value(jnp.asarray(x, dtype))))
        norms.append(float(np.linalg.norm(g)))
        if norms[-1] <= tolerance or k == max_steps or not np.isfinite(norms[-1]):
            break
        x = x - rate * g
    message = "the gradient is small" if norms[-1] <= tolerance else "the steps were used up, or it diverged"
    return Descent(x, np.array(values), np.array(norms), np.arange(len(values), dtype=float), message)


def _checked(verb: str, start: Any, max_steps: int, tolerance: float) -> tuple[np.ndarray, Any]:
    counted(verb, "max_steps", max_steps)
    positive(verb, "tolerance", tolerance)
    if is_traced(start):
        raise ArgumentError(f"{verb} got a traced start; it runs on the host. Call it outside jit, vmap and grad.")
    found = jnp.asarray(start)
    if found.ndim != 1:
        raise ArgumentError(
            f"{verb} got a start of shape {list(found.shape)}; it minimises over a vector. Pass shape [n], for a "
            "machine its as_vector(w)."
        )
    return np.asarray(found, float), jnp.result_type(found.dtype, 0.0)
