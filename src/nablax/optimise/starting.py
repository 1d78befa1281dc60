"""What goes into a minimiser: checks with one clear error each, and arguments apart into data and the static rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.errors import ArgumentError, OutputError
from nablax.optimise.objective import Objective
from nablax.optimise.remembered import is_traced

Function = Callable[..., Any]
# Further arguments that are not data; functions are not, either.
STATIC = (bool, int, str)


def checked_start(x0: Any) -> Any:
    """The shapes and dtypes of a start; refused where it is not of floats."""
    leaves = jax.tree.leaves(x0)
    if not any(np.size(leaf) for leaf in leaves):
        raise ArgumentError(
            "minimise was given a start without numbers. Pass a floating-point array, or a tree of them."
        )
    for leaf in leaves:
        dtype = jnp.result_type(leaf) if hasattr(leaf, "dtype") or isinstance(leaf, float | complex) else None
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            found = type(leaf).__name__ if dtype is None else f"array {dtype.name}{list(jnp.shape(leaf))}"
            raise ArgumentError(
                f"minimise was given a start that holds a {found}; unknowns are real floating-point numbers. Pass "
                "x0.astype(float), or floats."
            )
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)), x0)


def arrays_of(leaves: Any) -> list[Any]:
    """Leaves of a start as arrays without weak types, for which nothing is compiled again.

    Args:
        leaves: arrays and numbers.
    """
    return [
        np.asarray(leaf, jnp.result_type(float)) if type(leaf) is float
        else leaf if type(leaf) is np.ndarray or not getattr(leaf, "weak_type", False)
        else jnp.asarray(leaf, leaf.dtype)
        for leaf in leaves
    ]  # fmt: skip


def shapes_of(leaves: Any) -> tuple[Any, ...]:
    """What a compiled program depends on: shapes and dtypes; the type of what will be refused."""
    return tuple((leaf.shape, leaf.dtype) if hasattr(leaf, "dtype") else type(leaf) for leaf in leaves)


def check_limits(tol: Any, max_iterations: Any, max_seconds: Any) -> None:
    """Refuse limits that are not positive."""
    if tol is not None and not isinstance(tol, jax.core.Tracer) and not float(tol) > 0:
        raise ArgumentError(f"minimise got tol={float(tol):g}; it is a positive share of the gradient at the start.")
    if isinstance(max_iterations, bool) or not isinstance(max_iterations, int) or max_iterations < 1:
        raise ArgumentError(f"minimise got max_iterations={max_iterations!r}; it is a number of steps, at least 1.")
    if max_seconds is not None and not float(max_seconds) > 0:
        raise ArgumentError(f"minimise got max_seconds={float(max_seconds):g}; it is a positive number of seconds.")


def check_output(output: Any, residuals: bool) -> None:
    """Refuse a function whose result, a tree of shapes, cannot be minimised."""
    leaves = jax.tree.leaves(output)
    shown = ", ".join(f"{leaf.dtype.name}{list(leaf.shape)}" for leaf in leaves) or "nothing"
    real = bool(leaves) and all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves)
    if residuals:
        if not real:
            raise OutputError(f"minimise takes residuals as arrays of real numbers; this function returns {shown}.")
        return
    if len(leaves) != 1 or leaves[0].shape or not real:
        raise OutputError(
            f"minimise takes a function that returns one real number; this one returns {shown}. Return a scalar, for "
            "example by jax.numpy.sum; residuals go to method='levenberg-marquardt'."
        )


def check_begun(leaves: Any, found: Any) -> None:
    """Refuse a start that is not finite, or where the function is not, once the first steps have been asked for.

    Args:
        leaves: arrays of the start.
        found: the first `Report`.
    """
    if not found.begins_finite:
        numbers = [np.ravel(np.asarray(leaf, np.float64)) for leaf in leaves]
        wrong = sum(int(np.sum(~np.isfinite(one))) for one in numbers)
        raise ArgumentError(
            f"minimise was given a start of which {wrong} of {sum(one.size for one in numbers)} numbers are not "
            "finite. Begin at a finite point."
        )
    value = float(found.value)
    if found.iterations == 0 and not np.isfinite(float(found.gradient_norm) + value):
        what = "gradient" if np.isfinite(value) else "value"
        raise ArgumentError(
            f"minimise was asked to begin at a point where the {what} of the function is not finite (its value "
            f"there is {value:g}). Begin inside the function's domain."
        )


def checked_bounds(bounds: Any, objective: Objective, x0: Any) -> tuple[Any, Any]:
    """Flat bounds; refused where they do not fit or are out of order."""
    if not isinstance(bounds, tuple) or len(bounds) != 2:
        raise ArgumentError(
            "minimise takes bounds=(lower, upper), each a tree like the start or a number for all unknowns; it got a "
            f"{type(bounds).__name__}{f' of {len(bounds)}' if isinstance(bounds, tuple) else ''}."
        )
    found = []
    for name, bound in zip(("lower", "upper"), bounds, strict=True):
        if isinstance(bound, int | float) or (hasattr(bound, "ndim") and bound.ndim == 0):
            found.append(jnp.full((objective.size,), bound, objective.dtype))
            continue
        shapes = [jax.tree.map(lambda leaf: list(jnp.shape(leaf)), tree) for tree in (bound, x0)]
        if shapes[0] != shapes[1]:
            raise ArgumentError(
                f"minimise was given {name} bounds of shapes {shapes[0]}; the start has {shapes[1]}. Give them the "
                "tree and shapes of the start, or one number for all."
            )
        found.append(objective.flat(bound))
    lower, upper = found
    if not is_traced(lower, upper):
        wrong = np.flatnonzero(~(np.asarray(lower) <= np.asarray(upper)))
        if wrong.size:
            k = int(wrong[0])
            raise ArgumentError(
                f"minimise was given bounds that are out of order at {wrong.size} of {lower.size} places; at place "
                f"{k}, lower is {float(lower[k]):g} and upper is {float(upper[k]):g}. A lower bound is no larger than "
                "the upper one."
            )
    return lower, upper


def apart(args: Any) -> tuple[list[Any], Any]:
    """Data, and the static rest: hashable, with the place of each."""
    leaves, tree = jax.tree.flatten(args)
    is_data = [not isinstance(leaf, STATIC) and not callable(leaf) for leaf in leaves]
    data = [leaf for leaf, own in zip(leaves, is_data, strict=True) if own]
    boxes = tuple(None if own else (leaf, type(leaf)) for leaf, own in zip(leaves, is_data, strict=True))
    return data, (tree, boxes)


def together(data: Any, static: Any) -> Any:
    tree, boxes = static
    waiting = iter(data)
    return jax.tree.unflatten(tree, [next(waiting) if box is None else box[0] for box in boxes])
