"""Back-propagation and its R-version over any acyclic graph of units."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.errors import ArgumentError
from nablax.neural.activations import Activations, activations
from nablax.neural.arguments import like, square, vectors
from nablax.neural.equations import Example, Table, check_small
from nablax.neural.error_functions import ErrorFunction, checked_target, resolved, squared_error
from nablax.neural.levels import Level, Sums, Values, levels_of

Sigma = Callable[[jax.Array], jax.Array] | Sequence[Callable[[jax.Array], jax.Array]]


@dataclass(frozen=True)
class Activity:
    """What the units do.

    Attributes:
        x: total inputs, shape (n,) or (batch, n).
        y: outputs, the same shape.
    """

    x: jax.Array
    y: jax.Array


jax.tree_util.register_dataclass(Activity, ["x", "y"], [])


@dataclass(frozen=True, eq=False, init=False, repr=False)
class FeedForward:
    """A network over a directed acyclic graph of n units, with the products H v of its error.

    ``w[i, j]`` is the weight *from unit j to unit i*::

        x_i = Σ_j w_ij y_j        y_i = σ_i(x_i) + I_i        E = E(y), summed over the examples

    A unit without incoming weights has x_i = 0; with σ_i(0) = 0 its output is its external input I_i.

    Args:
        mask: boolean n×n; ``mask[i, j]`` is true where a weight from j to i exists. `neural.layered` makes the usual
        one. sigma: function of arrays, element by element, or a sequence with one for each unit.
        error: `neural.squared_error`, `neural.cross_entropy`, or a function ``(y, target)`` of the outputs of all units
            of one example.

    Raises:
        ArgumentError: the graph has a cycle, the mask is not square, `sigma` is not elementwise.

    Example:
        >>> import jax.numpy as jnp
        >>> net = FeedForward([[0, 0], [1, 0]], lambda x: x)  # one weight, from unit 0 to unit 1
        >>> w = jnp.array([[0.0, 0.0], [0.5, 0.0]])
        >>> x, d = jnp.array([3.0, 0.0]), jnp.array([1.0])
        >>> float(net.gradient(w, x, d)[1, 0]), float(net.hvp(w, w, x, d)[1, 0])  # (w x − d) x and x² v
        (1.5, 4.5)

    Source:
        Pearlmutter 1994, section 3.1; the term y_j R{∂E/∂x_i} of R{∂E/∂w_ij} is often left out in print.
    """

    n: int
    mask: np.ndarray
    sigma: Activations
    error: ErrorFunction
    levels: tuple[Level, ...]

    def __init__(self, mask: Any, sigma: Sigma, error: ErrorFunction | Callable[..., Any] | None = None) -> None:
        existing = np.asarray(mask)
        if existing.ndim != 2 or existing.shape[0] != existing.shape[1] or not existing.size:
            raise ArgumentError(
                f"FeedForward got a mask of shape {list(existing.shape)}. Pass a square boolean array; mask[i, j] is "
                "true where a weight from unit j to unit i exists."
            )
        existing = existing.astype(bool)
        n = len(existing)
        outputs = np.flatnonzero(~existing.any(axis=0) & existing.any(axis=1))  # nothing reads them
        fields = {
            "n": n,
            "mask": existing,
            "sigma": activations("FeedForward", sigma, n),
            "error": resolved("FeedForward", error or squared_error(), n, [int(unit) for unit in outputs]),
            "levels": levels_of(existing),
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def forward(self, w: Any, I: Any) -> Activity:
        """The outputs of all units.

        Args:
            w: weights n×n; entries where the mask is false are not read.
            I: external input, shape (n,) or (batch, n).
        """
        weights, inputs = self._weights("FeedForward.forward", w, I)
        found: Activity = _forward(self, weights, inputs)
        return found

    def value(self, w: Any, I: Any, target: Any) -> jax.Array:
        """The error E, summed over the examples.

        Args:
            w: as in `forward`.
            I: as in `forward`.
            target: what the compared units should do, shape (k,) or (batch, k).
        """
        weights, inputs, wanted = self._given("FeedForward.value", w, I, target)
        found: jax.Array = _value(self, weights, inputs, wanted)
        return found

    def gradient(self, w: Any, I: Any, target: Any) -> jax.Array:
        """∂E/∂w, n×n, zero where there is no weight; by back-propagation.

        Args:
            w: as in `forward`.
            I: as in `forward`.
            target: as in `value`.
        """
        weights, inputs, wanted = self._given("FeedForward.gradient", w, I, target)
        found: jax.Array = _gradient(self, weights, inputs, wanted)
        return found

    def hvp(self, w: Any, v: Any, I: Any, target: Any) -> jax.Array:
        """H v, n×n, zero where there is no weight; by R-back-propagation, for about two gradients.

        Args:
            w: as in `forward`.
            v: direction, n×n; entries where the mask is false are not read.
            I: as in `forward`.
            target: as in `value`.
        """
        weights, inputs, wanted = self._given("FeedForward.hvp", w, I, target)
        found: jax.Array = _hvp(self, weights, like("FeedForward.hvp", "v", v, weights), inputs, wanted)
        return found

    def table(self, w: Any, I: Any, target: Any, v: Any = None) -> Table:
        """The equations of one example with their numbers, one line each, every line with its rule.

        Args:
            w: as in `forward`; numbers, not traced.
            I: one example, shape (n,).
            target: of that example.
            v: direction; with it, the lines of R forward and R backward follow.

        Returns:
            A `Table`, which prints itself; its `lines` are data.

        Raises:
            ArgumentError: several examples, or a network of more than 30 units.
        """
        verb = "FeedForward.table"
        weights, inputs, wanted = self._given(verb, w, I, target)
        direction = None if v is None else like(verb, "v", v, weights)
        check_small(verb, self.n, inputs, weights, wanted, direction)
        order = [int(unit) for level in self.levels for unit in level.units]
        one = Example(self.mask, self.sigma, self.error, order, np.asarray(weights), np.asarray(inputs), wanted)
        return one.table(None if direction is None else np.asarray(direction))

    def _weights(self, verb: str, w: Any, I: Any) -> tuple[jax.Array, jax.Array]:
        weights = square(verb, "w", w, self.n)
        return weights, vectors(verb, "I", I, self.n, weights.dtype)

    def _given(self, verb: str, w: Any, I: Any, target: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        weights, inputs = self._weights(verb, w, I)
        return weights, inputs, checked_target(verb, self.error, target, inputs)

    def __repr__(self) -> str:
        return f"FeedForward({self.n} units in {len(self.levels)} levels, {int(self.mask.sum())} weights)"


# -- the passes ------------------------------------------------------------------------------------
#
# Values stand level by level: a matrix product serves all units of a level, and all examples.


def _forward_levels(net: FeedForward, w: jax.Array, I: jax.Array) -> tuple[Values, Values]:
    xs: Values = []
    ys: Values = []
    for level in net.levels:
        inputs = level.own(I)
        x = level.gather(ys) @ level.weights(w).T if level.sources.size else jnp.zeros_like(inputs)
        xs.append(x)
        ys.append(net.sigma.of(level.units).value(x) + inputs)
    return xs, ys


def _whole(net: FeedForward, values: Values) -> jax.Array:
    """Values of all units in the order of their numbers."""
    order = np.concatenate([level.units for level in net.levels])
    found = jnp.concatenate(values, axis=-1)
    return found if (np.diff(order) == 1).all() else found[..., np.argsort(order)]


def _apart(net: FeedForward, values: jax.Array) -> Sums:
    """Values of the compared units, level by level."""
    units = net.error.units or ()
    of = np.full(net.n, -1)
    of[list(units)] = np.arange(len(units))
    found: Sums = []
    for level in net.levels:
        places = of[level.units]
        if np.array_equal(places, np.arange(len(units))):
            found.append(values)
        elif (places < 0).all():
            found.append(None)
        else:
            found.append(jnp.where(places >= 0, values[..., np.maximum(places, 0)], 0))
    return found


def _compared(net: FeedForward, ys: Values) -> jax.Array:
    units = net.error.units
    assert units is not None
    for level, y in zip(net.levels, ys, strict=True):
        if np.array_equal(level.units, units):
            return y
    return _whole(net, ys)[..., np.array(units)]


@functools.partial(jax.jit, static_argnums=0)
def _forward(net: FeedForward, w: jax.Array, I: jax.Array) -> Activity:
    xs, ys = _forward_levels(net, w, I)
    return Activity(_whole(net, xs), _whole(net, ys))


@functools.partial(jax.jit, static_argnums=0)
def _value(net: FeedForward, w: jax.Array, I: jax.Array, target: jax.Array) -> jax.Array:
    _, ys = _forward_levels(net, w, I)
    return jnp.sum(net.error.value(_compared(net, ys), target))


@functools.partial(jax.jit, static_argnums=0)
def _gradient(net: FeedForward, w: jax.Array, I: jax.Array, target: jax.Array) -> jax.Array:
    ys: Values = []
    slopes: Values = []
    for level in net.levels:
        inputs = level.own(I)
        x = level.gather(ys) @ level.weights(w).T if level.sources.size else jnp.zeros_like(inputs)
        y, slope = net.sigma.of(level.units).with_slope(x)
        ys.append(y + inputs)
        slopes.append(slope)
    y = _compared(net, ys)
    # e_i; the sums of ∂E/∂y_i begin with it
    E_y = _apart(net, net.error.slope(y, target))
    found = jnp.zeros_like(w)
    for k, level in reversed(list(enumerate(net.levels))):
        adjoint = E_y[k]
        if adjoint is None or not level.sources.size:
            continue
        E_x = slopes[k] * adjoint
        found = level.place(found, _outer(E_x, level.gather(ys)))
        if _is_needed(net, level):
            level.scatter(E_y, E_x @ level.weights(w), ys)
    return found


@functools.partial(jax.jit, static_argnums=0)
def _hvp(net: FeedForward, w: jax.Array, v: jax.Array, I: jax.Array, target: jax.Array) -> jax.Array:
    batched = I.ndim == 2
    I = jnp.atleast_2d(I)
    target = target if batched else target[None]
    # forward, and R forward: R{x_i} = Σ_j (w_ij R{y_j} + v_ij y_j), R{y_i} = σ′(x_i) R{x_i}
    ys: Values = []
    slopes: Values = []
    bends: Values = []  # σ″(x_i) R{x_i}, which is R{σ′(x_i)}
    Rys: Values = []
    for level in net.levels:
        inputs = level.own(I)
        x = Rx = jnp.zeros_like(inputs)
        if level.sources.size:
            y, W, V = level.gather(ys), level.weights(w), level.weights(v)
            x, Rx = y @ W.T, y @ V.T
            if _is_needed(net, level):  # else all sources are inputs, which no weight moves: R{y_j} = 0
                Rx = Rx + level.gather(Rys) @ W.T
        y, slope, curve = net.sigma.of(level.units).with_curve(x)
        ys.append(y + inputs)
        slopes.append(slope)
        bends.append(curve * Rx)
        Rys.append(slope * Rx)
    y, Ry = _compared(net, ys), _compared(net, Rys)
    E_y = _apart(net, net.error.slope(y, target))
    RE_y = _apart(net, net.error.slope_along(y, Ry, target))
    found = jnp.zeros_like(w)
    for k, level in reversed(list(enumerate(net.levels))):
        adjoint, R_adjoint = E_y[k], RE_y[k]
        if adjoint is None or R_adjoint is None or not level.sources.size:
            continue
        # ∂E/∂x_i = σ′ ∂E/∂y_i and R{∂E/∂x_i} = σ′ R{∂E/∂y_i} + σ″ R{x_i} ∂E/∂y_i
        E_x = slopes[k] * adjoint
        RE_x = slopes[k] * R_adjoint + bends[k] * adjoint
        y = level.gather(ys)
        if _is_needed(net, level):
            # R{∂E/∂w_ij} = y_j R{∂E/∂x_i} + R{y_j} ∂E/∂x_i
            found = level.place(found, _outer(RE_x, y) + _outer(E_x, level.gather(Rys)))
            # R{∂E/∂y_j} = R{e_j} + Σ_i (w_ij R{∂E/∂x_i} + v_ij ∂E/∂x_i)
            W = level.weights(w)
            level.scatter(E_y, E_x @ W, ys)
            level.scatter(RE_y, RE_x @ W + E_x @ level.weights(v), ys)
        else:
            found = level.place(found, _outer(RE_x, y))
    return found


def _is_needed(net: FeedForward, level: Level) -> bool:
    """Whether a source has weights of its own, so that its adjoint, and R of its output, is not idle."""
    return any(bool(net.levels[k].sources.size) for k, _ in level.taken)


def _outer(a: jax.Array, b: jax.Array) -> jax.Array:
    """Σ over the examples of a_i b_j."""
    return jnp.outer(a, b) if a.ndim == 1 else a.T @ b
