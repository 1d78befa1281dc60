"""Rows of extrema along axes: the value moves with the places where it stands, which are data.

Of equal places all move by equal shares, as in JAX's maximum along axes, or the first alone, as in JAX's windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.contraction.index import fresh
from nablax.contraction.term import Factor, Term
from nablax.ops.matrix_row import Differential, Maker, MatrixRow


def _extremum(graph: Maker[Any], y: Any, inputs: Sequence[Any], *, axes: tuple[int, ...]) -> Differential:
    # the value moves with the place of the extremum; equal places share, as in JAX
    [x] = inputs
    where = graph.matrix_function("extremum_weights", (x, y), x.shape, axes=axes)
    labels = fresh(x.shape)
    left = tuple(index for k, index in enumerate(labels) if k not in axes)
    return {0: [Term(1.0, (Factor(where, labels),), (left, labels))]}


def _first_extremum(
    graph: Maker[Any], y: Any, inputs: Sequence[Any], *, axes: tuple[int, ...], name: str
) -> Differential:
    # the value moves with the first place of the extremum, as in the windows of JAX
    [x] = inputs
    where = graph.matrix_function(name, (x,), x.shape, axes=axes)
    labels = fresh(x.shape)
    left = tuple(index for k, index in enumerate(labels) if k not in axes)
    return {0: [Term(1.0, (Factor(where, labels),), (left, labels))]}


def _flat(graph: Maker[Any], y: Any, inputs: Sequence[Any], **params: Any) -> Differential:
    return {}


def _weights(x: Any, extremum: Any, *, axes: tuple[int, ...]) -> Any:
    here = jnp.asarray(x == jnp.expand_dims(extremum, axes), x.dtype)
    return jax.lax.stop_gradient(here / here.sum(axes, keepdims=True))


def _first_place(x: Any, *, axes: tuple[int, ...], largest: bool) -> Any:
    """One at the first place of the extremum along some axes, zero elsewhere; nowhere where nothing beats infinity."""
    kept = tuple(k for k in range(x.ndim) if k not in axes)
    flat = jnp.transpose(x, (*kept, *axes)).reshape(*(x.shape[k] for k in kept), -1)
    if flat.shape[-1] == 0:
        return jnp.zeros_like(x)
    first = (jnp.argmax if largest else jnp.argmin)(flat, -1)
    best = (jnp.max if largest else jnp.min)(flat, -1, keepdims=True)
    chosen = jax.nn.one_hot(first, flat.shape[-1], dtype=x.dtype) * (best != (-jnp.inf if largest else jnp.inf))
    arranged = chosen.reshape(*(x.shape[k] for k in (*kept, *axes)))
    return jax.lax.stop_gradient(jnp.transpose(arranged, [(*kept, *axes).index(k) for k in range(x.ndim)]))


def _linear(y: tuple[int, ...], x: tuple[int, ...], *_: tuple[int, ...]) -> float:
    return float(np.prod(x))


EXTREMA = (
    MatrixRow(
        "reduce_max", lambda x, axes: jnp.max(x, axes), _extremum, _linear,
        lambda g: ((g.normal(size=(3, 4)),), {"axes": (1,)}),
    ),
    MatrixRow(
        "reduce_min", lambda x, axes: jnp.min(x, axes), _extremum, _linear,
        lambda g: ((g.normal(size=(3, 4)),), {"axes": (0,)}),
    ),
    MatrixRow(
        "first_max", lambda x, axes: jnp.max(x, axes), partial(_first_extremum, name="first_max_place"), _linear,
        lambda g: ((g.normal(size=(3, 4)),), {"axes": (1,)}),
    ),
    MatrixRow(
        "first_min", lambda x, axes: jnp.min(x, axes), partial(_first_extremum, name="first_min_place"), _linear,
        lambda g: ((g.normal(size=(3, 4)),), {"axes": (0,)}),
    ),
    MatrixRow(
        "first_max_place", partial(_first_place, largest=True), _flat, _linear,
        lambda g: ((g.normal(size=(3, 4)),), {"axes": (1,)}),
    ),
    MatrixRow(
        "first_min_place", partial(_first_place, largest=False), _flat, _linear,
        lambda g: ((g.normal(size=(3, 4)),), {"axes": (1,)}),
    ),
    MatrixRow(
        "extremum_weights", _weights, _flat, _linear,
        lambda g: ((np.arange(6.0).reshape(2, 3), np.array([2.0, 5.0])), {"axes": (1,)}),
    ),
)  # fmt: skip
