"""Differences in place of derivatives: for comparison only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.flatten_util import ravel_pytree

from nablax.calling import ArgNums, bind, check_vector, positions
from nablax.errors import ArgumentError
from nablax.orders.arguments import check_order
from nablax.pictures.svg import BLUE, GREEN, RED, Picture, length, written

Function = Callable[..., Any]

METHODS = ("forward", "central", "complex-step")


def finite_difference(
    f: Function,
    order: int = 1,
    argnums: ArgNums = 0,
    *,
    method: str = "central",
    step: float | None = None,
) -> Function:
    """Differences of values of a function, for comparison with derivatives. NOT a derivative: it is never exact.

    A difference has two errors. That of the formula falls with the step (as its first power for "forward", its second
    for "central"), that of rounding grows as the step falls; the best step leaves about half of the digits (forward),
    two thirds (central), or half (order 2, central). "complex-step" has no cancellation and gives nearly all digits,
    for functions that are written for complex arguments and analytic. No other part of nablax uses differences.

    Args:
        f: function with one number as result.
        order: 1 for the gradient, 2 for the Hessian ("forward" or "central").
        argnums: as in `hessian`.
        method: "forward", "central" or "complex-step".
        step: distance of the points; None for the step at which both errors are about equal, ε^(1/2) (forward), ε^(1/3)
            (central), ε^(1/4) (order 2, central), ε^(1/3) (order 2, forward) or 1e-20 (complex), relative to the size
            of each unknown where that is above one.

    Returns:
        A function of the arguments of `f`: for order 1 a tree like the differentiated argument, for order 2 the Hessian
        as one matrix over the ravelled argument.

    Raises:
        ArgumentError: another order, method or step, or a complex step of order 2.

    Example:
        >>> import jax.numpy as jnp
        >>> float(finite_difference(lambda x: x**3, method="forward", step=0.5)(1.0))
        4.75
        >>> float(finite_difference(lambda x: x**3, method="central", step=0.5)(1.0))
        3.25

    Source:
        Nocedal and Wright 2006, section 8.1; Squire and Trapp 1998 for the complex step.
    """
    if not callable(f):
        raise ArgumentError.no_function("finite_difference", f)
    if check_order("finite_difference", order) > 2:
        raise ArgumentError(f"finite_difference was asked for order={order}; differences of order 1 and 2 exist.")
    if method not in METHODS or (method == "complex-step" and order == 2):
        known = METHODS if order == 1 else METHODS[:2]
        raise ArgumentError(
            f"finite_difference was asked for method={method!r} with order={order}. Use one of: "
            f"{', '.join(map(repr, known))}."
        )
    if step is not None and not step > 0:
        raise ArgumentError(f"finite_difference got step={step!r}; a step is a positive number.")
    listed = positions("finite_difference", argnums)

    def difference(*args: Any, **kwargs: Any) -> Any:
        signature, arrays = bind("finite_difference", listed, args, kwargs)
        asked = [jnp.asarray(arrays[k]) for k in signature.asked]
        flat, unravel = ravel_pytree(asked)

        def value(point: Any) -> Any:
            given = list(arrays)
            parts, start = [], 0
            for leaf in asked:  # complex points keep their imaginary part
                parts.append(point[start : start + leaf.size].reshape(leaf.shape))
                start += leaf.size
            for k, part in zip(signature.asked, parts, strict=True):
                given[k] = part
            return signature.function(f)(*given)

        steps = _steps(flat, order, method, step)
        if order == 2:
            return (_second_forward if method == "forward" else _second_central)(value, flat, steps)
        rule = {"forward": _forward, "central": _central, "complex-step": _complex}[method]
        return jax.tree.unflatten(signature.asked_tree, unravel(rule(value, flat, steps)))

    return difference


_POWERS = {("forward", 1): 1 / 2, ("central", 1): 1 / 3, ("forward", 2): 1 / 3, ("central", 2): 1 / 4}


def _steps(x: Any, order: int, method: str, step: float | None) -> Any:
    if step is not None:
        return jnp.full_like(x, step)
    if method == "complex-step":
        return jnp.full_like(x, 1e-20)
    return np.finfo(x.dtype).eps ** _POWERS[method, order] * jnp.maximum(1.0, jnp.abs(x))


def _forward(value: Function, x: Any, steps: Any) -> Any:
    moved = x + jnp.diag(steps)
    # the distance that the points have in the arithmetic of the machine, not the one that was asked for
    return (jax.lax.map(value, moved) - value(x)) / _distance(jnp.diag(moved) - x, steps)


def _central(value: Function, x: Any, steps: Any) -> Any:
    above, below = x + jnp.diag(steps), x - jnp.diag(steps)
    difference = jax.lax.map(value, above) - jax.lax.map(value, below)
    return difference / _distance(jnp.diag(above) - jnp.diag(below), 2 * steps)


def _distance(found: Any, asked: Any) -> Any:
    """The distance between points; a step that is lost beside the unknown gives the difference 0, not 0/0."""
    return jnp.where(found == 0, asked, found)


def _complex(value: Function, x: Any, steps: Any) -> Any:
    moved = x + 1j * jnp.diag(steps)
    return jnp.imag(jax.lax.map(value, moved)) / steps


def _second_forward(value: Function, x: Any, steps: Any) -> Any:
    # (f(x + h_i + h_j) - f(x + h_i) - f(x + h_j) + f(x)) / h_i h_j
    rows = jnp.diag(steps)
    ones = jax.lax.map(value, x + rows)
    both = jax.lax.map(lambda row: jax.lax.map(value, x + row + rows), rows)
    return (both - ones[:, None] - ones[None, :] + value(x)) / (steps[:, None] * steps[None, :])


def _second_central(value: Function, x: Any, steps: Any) -> Any:
    # (f(++) - f(+-) - f(-+) + f(--)) / 4 h_i h_j
    rows = jnp.diag(steps)

    def shifted(a: float, b: float) -> Any:
        return jax.lax.map(lambda row: jax.lax.map(value, x + a * row + b * rows), rows)

    total = shifted(1, 1) - shifted(1, -1) - shifted(-1, 1) + shifted(-1, -1)
    return total / (4 * steps[:, None] * steps[None, :])


@dataclass(frozen=True, eq=False)
class VCurve:
    """The error of a difference over its step: falling with the formula's error, rising again with rounding.

    Args:
        quantity: what was approximated.
        steps: the steps.
        errors: for each method the largest error relative to the largest exact value, one for each step.
    """

    quantity: str
    steps: npt.NDArray[np.float64]
    errors: dict[str, npt.NDArray[np.float64]]

    def best(self, method: str) -> tuple[float, float]:
        """The step with the least error, and that error."""
        k = int(np.nanargmin(self.errors[method]))
        return float(self.steps[k]), float(self.errors[method][k])

    def __str__(self) -> str:
        lines = [f"error of {self.quantity} by differences", "step      " + "  ".join(f"{m:>12}" for m in self.errors)]
        for k, step in enumerate(self.steps):
            lines.append(f"{step:<8.0e}  " + "  ".join(f"{own[k]:12.1e}" for own in self.errors.values()))
        return "\n".join(lines)

    __repr__ = __str__

    def draw(self) -> Picture:
        """The curve as a picture, both axes logarithmic.

        Returns:
            A picture: shows itself in notebooks, `svg` is its text, `save` writes a file.
        """
        return _drawn(self)

    def _repr_html_(self) -> str:
        return self.draw().inline()

    def _repr_svg_(self) -> str:
        return self.draw().svg


def step_errors(
    f: Function,
    order: int = 1,
    argnums: ArgNums = 0,
    *,
    steps: Any = None,
) -> Function:
    """The V-curve: how far differences are from the derivative, over the step.

    Args:
        f: function with one number as result.
        order: 1 for the gradient, 2 for the Hessian; or 0 for `H v` by a difference of gradients,
            ``(∇f(x + r v) - ∇f(x)) / r``.
        argnums: as in `hessian`.
        steps: the steps; None for 1e0, 1e-1, …, 1e-16.

    Returns:
        A function of the arguments of `f` (for order 0 with the vector second) that returns a `VCurve`.

    Raises:
        ArgumentError: as `finite_difference`.

    Example:
        >>> import jax.numpy as jnp
        >>> curve = step_errors(lambda x: jnp.sum(jnp.sin(x)))(jnp.ones(3))
        >>> sorted(curve.errors)
        ['central', 'complex-step', 'forward']

    Source:
        Nocedal and Wright 2006, figure 8.1's argument; Pearlmutter 1994 for the exact `H v`.
    """
    if not callable(f):
        raise ArgumentError.no_function("step_errors", f)
    check_order("step_errors", order, least=0)
    listed = positions("step_errors", argnums)
    given: npt.NDArray[np.float64] = np.asarray(10.0 ** -np.arange(17.0) if steps is None else steps, np.float64)
    if order == 0:
        return _product_curve(f, listed, given)

    def curve(*args: Any, **kwargs: Any) -> VCurve:
        derivative = jax.grad if order == 1 else _flat_hessian
        exact, _ = ravel_pytree(derivative(f, listed)(*args, **kwargs))
        errors: dict[str, npt.NDArray[np.float64]] = {}
        for method in METHODS[: 3 if order == 1 and _takes_complex(f, listed, args, kwargs) else 2]:
            own = []
            for step in given:
                found, _ = ravel_pytree(finite_difference(f, order, listed, method=method, step=step)(*args, **kwargs))
                own.append(_error(found, exact))
            errors[method] = np.asarray(own)
        return VCurve("the gradient" if order == 1 else "the Hessian", given, errors)

    return curve


def _flat_hessian(f: Function, listed: Any) -> Function:
    def hessian(*args: Any, **kwargs: Any) -> Any:
        signature, arrays = bind("step_errors", listed, args, kwargs)
        flat, unravel = ravel_pytree([jnp.asarray(arrays[k]) for k in signature.asked])

        def value(point: Any) -> Any:
            given = list(arrays)
            for k, part in zip(signature.asked, unravel(point), strict=True):
                given[k] = part
            return signature.function(f)(*given)

        return jax.hessian(value)(flat)

    return hessian


def _takes_complex(f: Function, listed: Any, args: Any, kwargs: Any) -> bool:
    try:
        jax.eval_shape(lambda: finite_difference(f, 1, listed, method="complex-step")(*args, **kwargs))
    except (TypeError, ValueError, NotImplementedError):
        return False
    return True


def _product_curve(f: Function, listed: Any, steps: npt.NDArray[np.float64]) -> Function:
    def curve(x: Any, v: Any, *rest: Any, **kwargs: Any) -> VCurve:
        signature, arrays = bind("step_errors", listed, (x, *rest), kwargs)
        vector = check_vector("step_errors", signature, arrays, v)

        def slope(*asked: Any) -> list[Any]:
            def value(*own: Any) -> Any:
                given = list(arrays)
                for k, part in zip(signature.asked, own, strict=True):
                    given[k] = part
                return signature.function(f)(*given)

            return list(jax.grad(value, tuple(range(len(asked))))(*asked))

        at = [jnp.asarray(arrays[k]) for k in signature.asked]
        here, along = jax.jvp(slope, at, vector)
        exact, _ = ravel_pytree(along)
        errors = []
        for step in steps:
            there = slope(*(a + jnp.asarray(step, a.dtype) * d for a, d in zip(at, vector, strict=True)))
            found, _ = ravel_pytree([(b - a) / step for a, b in zip(here, there, strict=True)])
            errors.append(_error(found, exact))
        return VCurve("H v", steps, {"forward": np.asarray(errors)})

    return curve


def _error(found: Any, exact: Any) -> float:
    return float(jnp.max(jnp.abs(found - exact)) / jnp.maximum(jnp.max(jnp.abs(exact)), np.finfo(exact.dtype).tiny))


def _drawn(curve: VCurve) -> Picture:
    wide, high, left, top, right, bottom = 560, 360, 62, 66, 16, 46
    logs = np.log10(curve.steps)
    low, large = float(logs.min()), float(logs.max())
    floor, ceiling = -17.0, 2.0

    def across(value: float) -> float:
        return left + (wide - left - right) * (value - low) / max(large - low, 1e-12)

    def up(value: float) -> float:
        return top + (high - top - bottom) * (ceiling - min(max(value, floor), ceiling)) / (ceiling - floor)

    described = f"error of {curve.quantity} by differences, over the step"
    parts = [written(described, (12, 22), 13, anchor="start")]
    for power in range(int(floor) + 1, int(ceiling) + 1, 4):
        y = up(power)
        parts.append(f'<path d="M{left} {y:.1f}H{wide - right}" stroke="currentColor" stroke-opacity="0.15"/>')
        parts.append(written(f"1e{power}", (left - 8, y + 4), 12, anchor="end"))
    for power in range(int(np.ceil(low)), int(large) + 1, 4):
        parts.append(written(f"1e{power}", (across(power), high - bottom + 18), 12))
    parts.append(written("step", ((left + wide - right) / 2, high - 8), 12))
    start = 12.0
    for colour, (method, errors) in zip((RED, BLUE, GREEN), curve.errors.items(), strict=False):
        points = [(across(x), up(np.log10(max(e, 1e-17)))) for x, e in zip(logs, errors, strict=True) if np.isfinite(e)]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<path d="M{start:.1f} 42h18" stroke="{colour}" stroke-width="2"/>')
        parts.append(written(method, (start + 24, 46), 12, anchor="start"))
        start += 24 + length(method, 12) + 20
    return Picture(wide, high, "".join(parts), described)
