"""The R-operator: the derivative of anything along one direction of the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.errors import ArgumentError, OutputError

Function = Callable[..., Any]


def R(g: Function, v: Any) -> Function:
    """Pearlmutter's R-operator: ``R{g}(w) = ∂/∂r g(w + r v) at r = 0``.

    It is a derivation, so that it can be put on every line of a program: R of a constant is 0, R{w} = v,
    R{a + b} = R{a} + R{b}, R{a b} = R{a} b + a R{b}, R{f(a)} = f′(a) R{a}, and it commutes with d/dt. Where g computes
    the gradient of E, however it does so, the result is H v.

    Args:
        g: function of the weights, and of anything else that stays as it is; a gradient, a user's own
            back-propagation, a relaxation in a loop, any function with real results.
        v: the direction, a tree like the weights.

    Returns:
        A function ``(w, *rest, **named)`` with the arguments of `g` and a tree like its result.

    Raises:
        ArgumentError: `g` is no function, or `v` does not fit the weights; when the returned function is called.
        OutputError: `g` returns integers or booleans, which have no derivative.

    Example:
        >>> import jax.numpy as jnp
        >>> slope = lambda w: jnp.stack([2 * w[0] * w[1], w[0] ** 2])  # of w₀² w₁, by hand
        >>> R(slope, jnp.array([1.0, 0.0]))(jnp.array([1.0, 3.0]))
        Array([6., 2.], dtype=float32)

    Source:
        Pearlmutter 1994, "Fast exact multiplication by the Hessian", section 2.
    """
    if not callable(g):
        raise ArgumentError.no_function("R", g)

    def along(w: Any, *rest: Any, **named: Any) -> Any:
        weights = jax.tree.map(_real_array, w)
        direction = _like(weights, v)
        at = lambda u: jax.tree.map(_real_result, g(u, *rest, **named))
        try:
            return jax.jvp(at, (weights,), (direction,))[1]
        except TypeError as error:
            if "custom_vjp" not in str(error):
                raise
        # The pull-back u ↦ Jᵀu is linear in u, and its own transpose is v ↦ J v: two reverse passes are one forward
        # pass where a rule of the user blocks forward mode.
        value, pull_back = jax.vjp(at, weights)
        _, push_forward = jax.vjp(pull_back, jax.tree.map(jnp.zeros_like, value))
        return push_forward((direction,))[0]

    along.__name__ = f"R_of_{getattr(g, '__name__', 'function')}"
    return along


def _real_array(leaf: Any) -> jax.Array:
    found = jnp.asarray(leaf)
    if not jnp.issubdtype(found.dtype, jnp.floating):
        raise ArgumentError(
            f"R was asked for the derivative by weights that hold {found.dtype.name}{list(found.shape)}; directions "
            "exist for real floating-point arrays only. Pass w.astype(float)."
        )
    return found


def _real_result(leaf: Any) -> jax.Array:
    found = jnp.asarray(leaf)
    if not jnp.issubdtype(found.dtype, jnp.inexact):
        raise OutputError(
            f"R was asked of a function that returns {found.dtype.name}{list(found.shape)}; it has no derivative. "
            "Return floating-point arrays."
        )
    return found


def _like(weights: Any, v: Any) -> Any:
    """The direction as arrays of the weights' dtypes."""
    leaves, tree = jax.tree.flatten(weights)
    found = jax.tree.leaves(v)
    own: Any = jax.tree.structure(v)
    if own != tree:
        raise ArgumentError(
            f"R got a direction v with tree {own}; the weights have tree {tree}. Give v the same tree, for example "
            "jax.tree.map(jax.numpy.ones_like, w)."
        )
    for k, (one, leaf) in enumerate(zip(found, leaves, strict=True)):
        if np.shape(one) != leaf.shape:
            raise ArgumentError(
                f"R got a direction v whose leaf {k} has shape {list(np.shape(one))}; the weights have shape "
                f"{list(leaf.shape)} there. Give v the shape of w."
            )
    return jax.tree.unflatten(tree, [jnp.asarray(a, b.dtype) for a, b in zip(found, leaves, strict=True)])
