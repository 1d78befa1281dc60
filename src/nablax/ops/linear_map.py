"""The matrix of a linear map, which is applied and never written out where that can be avoided.

A cumulative sum along one axis of an array, y[b, i] = sum_j T[i, j] x[b, j], is a labelled product with a triangle of
ones. As a product it needs no rule of its own: every axis but one passes, legs are T itself, and a diagonal meets the
squares of T's elements. But the product with T costs what a cumulative sum does, not what a matrix product would.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

Params = Mapping[str, Any]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Along:
    """Which axes a linear map acts along.

    Args:
        axes: the map's axes of the argument.
        made: the map's axes of the value, with their elements.
        turned: whether the transposed map is meant.
        params: parameters of the row.
    """

    axes: tuple[int, ...]
    made: Mapping[int, int]
    turned: bool = False
    params: Params = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class LinearRow:
    """One linear map.

    Args:
        name: its name.
        apply: the value by JAX, from an array whose last axes are the map's, and the map's parameters; axes before
            those are a batch. Linear in the array.
        flops: operations of one application, from the shapes of value and argument without the batch.
        sample: shape of an argument for tests, and parameters.
        transpose: as `apply`, of the transposed map; None if JAX is to transpose it.
        squared: the map whose matrix has the squares of this one's elements, its name and parameters from this one's
            parameters; None where no map is known for them.
        primitive: name of the primitive of JAX that it is, if it is one.
        function: the function whose calls it is, if it is one: of JAX's library or the user's, under `jax.jit`.
        reads: from the parameters of such an equation and the shapes of argument and value: the axes it acts along.
    """

    name: str
    apply: Callable[..., Any]
    flops: Callable[[Shape, Shape], float]
    sample: tuple[Shape, dict[str, Any]]
    transpose: Callable[..., Any] | None = None
    squared: Callable[..., tuple[str, dict[str, Any]]] | None = None
    primitive: str = ""
    function: Callable[..., Any] | None = None
    reads: Callable[[Params, Shape, Shape], Along | None] | None = None


@jax.tree_util.register_static
@dataclass(frozen=True)
class LinearMap:
    """The matrix of a row's map between arrays of certain shapes.

    Args:
        row: the row.
        params: parameters of the row, sorted by name.
        made: shape of the value, the matrix's first axes.
        given: shape of the argument, its last axes.
        dtype: of its elements.
    """

    row: LinearRow
    params: tuple[tuple[str, Any], ...]
    made: Shape
    given: Shape
    dtype: np.dtype[Any]

    @property
    def shape(self) -> Shape:
        """Elements along each axis."""
        return (*self.made, *self.given)

    @property
    def flops(self) -> float:
        """Operations of one application."""
        return self.row.flops(self.made, self.given)

    @property
    def square(self) -> LinearMap | None:
        """The map with the squares of the matrix's elements, where one is known."""
        if self.row.squared is None:
            return None
        name, params = self.row.squared(**dict(self.params))  # a map of the same axes
        return LinearMap(ROWS[name], tuple(sorted(params.items())), self.made, self.given, self.dtype)

    def apply(self, x: Any) -> Any:
        """The map of an array whose last axes are the map's."""
        # XLA on CPU folds a pad into the window of a cumulative sum, and where the pad is as wide on both sides the
        # sum is wrong (jax 0.10.2: the reverse cumulative sum of [0, 1, 0] comes out as [1, 1, 1])
        return self.row.apply(jax.lax.optimization_barrier(x), **dict(self.params))

    def transposed(self, y: Any) -> Any:
        """The transposed map of an array whose last axes are those of a value."""
        y = jax.lax.optimization_barrier(y)
        if self.row.transpose is not None:
            return self.row.transpose(y, **dict(self.params))
        batch = y.shape[: y.ndim - len(self.made)]
        given = jax.ShapeDtypeStruct((*batch, *self.given), self.dtype)
        [found] = jax.linear_transpose(lambda x: self.row.apply(x, **dict(self.params)), given)(y)
        return found

    def dense(self) -> Any:
        """The matrix."""
        size = math.prod(self.given)
        rows = self.row.apply(jnp.eye(size, dtype=self.dtype).reshape(size, *self.given), **dict(self.params))
        return jnp.moveaxis(rows, 0, -1).reshape(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        with jax.ensure_compile_time_eval():
            return np.asarray(self.dense(), dtype)


# -- cumulative sums: a triangle of ones ------------------------------------------------------------------------------


def _cumulative(x: Any) -> Any:
    return jax.lax.cumsum(x, x.ndim - 1)


def _cumulative_from_the_end(x: Any) -> Any:
    return jax.lax.cumsum(x, x.ndim - 1, reverse=True)


def _one_axis(params: Params, given: Shape, made: Shape) -> Along:
    axis = int(params["axis"])
    return Along((axis,), {axis: made[axis]}, turned=bool(params["reverse"]))


def _run(made: Shape, given: Shape) -> float:
    return 2.0 * math.prod(made)


# -- Fourier transforms: of pairs of real and imaginary part on the first of the map's axes ---------------------------


def _fourier(x: Any, *, kind: str, lengths: tuple[int, ...]) -> Any:
    of = jax.lax.FftType[kind]
    pair = -len(lengths) - 1
    if kind != "RFFT":
        real, imaginary = jnp.split(x, 2, pair)
        x = jax.lax.complex(real.squeeze(pair), imaginary.squeeze(pair))
    found = jax.lax.fft(x, of, lengths)
    return found if kind == "IRFFT" else jnp.stack([jnp.real(found), jnp.imag(found)], pair)


def _last_axes(params: Params, given: Shape, made: Shape) -> Along | None:
    lengths = tuple(int(n) for n in params["fft_lengths"])
    kind = jax.lax.FftType(int(params["fft_type"])).name
    before, after = kind != "RFFT", kind != "IRFFT"  # a pair of real and imaginary part on the first axis
    axes = (*range(before), *range(len(given) - len(lengths), len(given)))
    places = (*range(after), *range(len(made) - len(lengths), len(made)))
    own = {"kind": kind, "lengths": lengths}
    return Along(axes, {k: made[k] for k in places}, params=own) if lengths else None


def _butterflies(made: Shape, given: Shape) -> float:
    size = max(math.prod(made), math.prod(given))
    return 2.5 * size * math.log2(max(size, 2))


_ROWS = (
    LinearRow(
        "cumsum", _cumulative, _run, ((5,), {}), _cumulative_from_the_end, lambda: ("cumsum", {}),
        primitive="cumsum", reads=_one_axis,
    ),
    LinearRow(
        "fft", _fourier, _butterflies, ((2, 5), {"kind": "FFT", "lengths": (5,)}), primitive="fft", reads=_last_axes
    ),
)  # fmt: skip

ROWS: dict[str, LinearRow] = {row.name: row for row in _ROWS}
