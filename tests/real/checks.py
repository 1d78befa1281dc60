"""What JAX answers about a function with many parameters or inputs, and what nablax answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from oracles import assert_close, direction

import nablax as nb

COLUMNS = 5  # sampled ones of a Hessian too large to be made


def check_parameters(loss: Callable[[Any], Any], parameters: Any, tolerance: float | None = None) -> None:
    """Gradient, diagonal and product of a loss against columns of JAX.

    Args:
        loss: one number from a tree of parameters.
        parameters: the tree, in float64.
        tolerance: in place of that of the dtype.
    """
    flat, unravel = ravel_pytree(parameters)
    f = lambda vector: loss(unravel(vector))
    places = np.random.default_rng(flat.size).choice(flat.size, min(COLUMNS, flat.size), replace=False)
    vectors = np.concatenate([np.eye(flat.size)[places], direction(flat.shape)[None]])
    slope = jax.grad(f)
    columns = np.asarray(jax.jit(lambda x: jax.lax.map(lambda v: jax.jvp(slope, (x,), (v,))[1], vectors))(flat))
    assert np.isfinite(columns).all()
    gradient, diagonal, product = jax.jit(
        lambda p, v: (nb.jacobian(loss)(p), nb.hessian_diagonal(loss)(p), nb.hvp(loss)(p, v))
    )(parameters, unravel(jnp.asarray(vectors[-1])))
    options: dict[str, Any] = {"tolerance": tolerance}
    assert_close(ravel_pytree(gradient)[0], jax.jit(slope)(flat), what="gradient", **options)
    assert_close(ravel_pytree(product)[0], columns[-1], what="H v", **options)
    size = float(np.abs(columns[:-1]).max()) or 1.0
    found = np.asarray(ravel_pytree(diagonal)[0])[places]
    assert_close(found, columns[np.arange(len(places)), places], what=f"diagonal at {places}", scale=size, **options)


def check_inputs(f: Callable[[Any], Any], x: Any, tolerance: float | None = None) -> None:
    """Jacobian of a function and Laplacian of each of its values against JAX.

    Args:
        f: an array of numbers, from one array.
        x: the array, in float64.
        tolerance: in place of that of the dtype.
    """
    y = jax.eval_shape(f, x)
    weights = jnp.asarray(direction(y.shape))
    g = lambda x: jnp.vdot(weights, f(x))
    slopes, bends = jax.jit(lambda x: (jax.jacrev(f)(x), jax.hessian(g)(x)))(x)
    jacobian, laplacian = jax.jit(lambda x: (nb.jacobian(f)(x), nb.laplacian(g)(x)))(x)
    options: dict[str, Any] = {"tolerance": tolerance}
    assert_close(jacobian, slopes, what="Jacobian", **options)
    own = np.diag(np.asarray(bends).reshape(x.size, x.size))
    assert_close(laplacian, own.sum(), what="Laplacian", scale=float(np.abs(own).sum()) or 1.0, **options)


def check_hessian(f: Callable[[Any], Any], parameters: Any, tolerance: float | None = None) -> None:
    """Hessian and diagonal of a function of few parameters against JAX.

    Args:
        f: one number from a tree of parameters.
        parameters: the tree, in float64.
        tolerance: in place of that of the dtype.
    """
    flat, unravel = ravel_pytree(parameters)
    g = lambda vector: f(unravel(vector))
    want = np.asarray(jax.jit(jax.hessian(g))(flat))
    assert np.isfinite(want).all()
    hessian, diagonal = jax.jit(lambda x: (nb.hessian(g)(x), nb.hessian_diagonal(g)(x)))(flat)
    size = float(np.abs(want).max()) or 1.0
    assert_close(hessian, want, what="Hessian", scale=size, tolerance=tolerance)
    assert_close(diagonal, np.diag(want), what="diagonal", scale=size, tolerance=tolerance)
