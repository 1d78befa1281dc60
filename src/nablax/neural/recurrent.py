"""Recurrent back-propagation: gradients and products H v of an error at an equilibrium."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np

from nablax.errors import ArgumentError
from nablax.neural.activations import Activations, activations
from nablax.neural.arguments import like, real, square, vectors
from nablax.neural.equations import Table, check_small
from nablax.neural.equilibrium_table import equilibrium_table
from nablax.neural.error_functions import ErrorFunction, checked_target, resolved, squared_error
from nablax.neural.relaxation import Relaxation, Settled, Solver, checked_solver, fixed_point
from nablax.neural.stability import Stability, refused, stability_of

NUDGE = 0.01
"""Deviation of the usual start from I, so that no relaxation stands still on an unstable equilibrium by symmetry."""


class Equilibrium(eqx.Module):
    """A settled network.

    Attributes:
        x: total inputs, shape (n,) or (batch, n).
        y: outputs, the same shape.
        residual: largest element of σ(W y) + I − y, for each example.
        steps: of the solver, for each example.
    """

    x: jax.Array
    y: jax.Array
    residual: jax.Array
    steps: jax.Array


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Recurrent:
    """A network with any connections, at its equilibrium, with the products H v of its error.

    ``w[i, j]`` is the weight *from unit j to unit i*::

        x_i = Σ_j w_ij y_j        y_i = σ_i(x_i) + I_i        E = E(y), summed over the examples

    With D = diag σ′(x) and W = w, a change of the weights gives (1 − D W) dy = D dW y, hence

        u = (1 − D W)⁻ᵀ e,   z = D u:     z_i = σ′_i (Σ_j w_ji z_j + e_i)        ∂E/∂w_ij = z_i y_j

    σ′_i stands before the sum *and* before e_i; forms in print that leave it off e_i, or that sum w_ji σ′_j z_j and
    keep ∂E/∂w_ij = z_i y_j, are not the gradient.

    Args:
        sigma: function of arrays, element by element, or a sequence with one for each unit.
        error: as in `FeedForward`; without units named, all units are compared.
        solver: of y: `Relaxation`, `Anderson`, or a root finder or fixed-point solver of optimistix.
        adjoint: of z, R{y} and R{z}: a linear solver of lineax (LU: factorised once for the three), or a `Relaxation`.
        mask: boolean n×n, which weights exist; None: all.

    Raises:
        ArgumentError: an argument of another kind.

    Example:
        >>> import jax.numpy as jnp
        >>> net = Recurrent(lambda x: x)  # linear: y = I / (1 − w)
        >>> w, I, d = jnp.array([[0.5]]), jnp.array([1.0]), jnp.array([1.0])
        >>> y = net.forward(w, I).y[0]
        >>> gradient = net.gradient(w, I, d)[0, 0]  # (y − d) I / (1 − w)²
        >>> round(float(y), 3), round(float(gradient), 3)
        (2.0, 4.0)

    Source:
        Almeida 1987; Pineda 1987; Pearlmutter 1994, section 3.2.
    """

    sigma: Activations
    error: ErrorFunction | Callable[..., Any]
    solver: Solver
    adjoint: Relaxation | lx.AbstractLinearSolver[Any]
    mask: np.ndarray | None

    def __init__(
        self,
        sigma: Callable[[jax.Array], jax.Array] | Sequence[Callable[[jax.Array], jax.Array]],
        error: ErrorFunction | Callable[..., Any] | None = None,
        *,
        solver: Solver | None = None,
        adjoint: Relaxation | lx.AbstractLinearSolver[Any] | None = None,
        mask: Any = None,
    ) -> None:
        if adjoint is not None and not isinstance(adjoint, Relaxation | lx.AbstractLinearSolver):
            raise ArgumentError(
                f"Recurrent got adjoint={adjoint!r}. Pass a linear solver of lineax such as lineax.LU(), or "
                "neural.Relaxation()."
            )
        resolved("Recurrent", error or squared_error(), _units(error) + 1, [0])
        if mask is not None and (np.ndim(mask) != 2 or np.shape(mask)[0] != np.shape(mask)[1]):
            raise ArgumentError(
                f"Recurrent got a mask of shape {list(np.shape(mask))}. Pass a square boolean array; mask[i, j] is "
                "true where a weight from unit j to unit i exists."
            )
        fields = {
            "sigma": activations("Recurrent", sigma),
            "error": error or squared_error(),
            "solver": checked_solver("Recurrent", Relaxation() if solver is None else solver),
            "adjoint": lx.LU() if adjoint is None else adjoint,
            "mask": None if mask is None else np.asarray(mask, bool),
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def forward(self, w: Any, I: Any, start: Any = None) -> Equilibrium:
        """The equilibrium that the solver reaches.

        Args:
            w: weights n×n.
            I: external input, shape (n,) or (batch, n).
            start: of the solver, like `I`; None: near `I`.

        Raises:
            EquilibriumError: it does not settle, or what it found is not stable.
        """
        weights, inputs = self._weights("Recurrent.forward", w, I)
        found = self._settled("Recurrent.forward", weights, inputs, start)
        return Equilibrium(found.y @ weights.T, found.y, found.residual, found.steps)

    def value(self, w: Any, I: Any, target: Any, start: Any = None) -> jax.Array:
        """The error E at the equilibrium, summed over the examples.

        Args:
            w: as in `forward`.
            I: as in `forward`.
            target: what the compared units should do, shape (k,) or (batch, k).
            start: as in `forward`.

        Raises:
            EquilibriumError: as in `forward`.
        """
        weights, inputs, error, wanted = self._given("Recurrent.value", w, I, target)
        found = self._settled("Recurrent.value", weights, inputs, start)
        return jnp.sum(error.value(found.y[..., np.array(error.units)], wanted))

    def gradient(self, w: Any, I: Any, target: Any, start: Any = None) -> jax.Array:
        """∂E/∂w, n×n: the product of z and y at equilibrium.

        Args:
            w: as in `forward`.
            I: as in `forward`.
            target: as in `value`.
            start: as in `forward`.

        Raises:
            EquilibriumError: as in `forward`.
        """
        weights, inputs, error, wanted = self._given("Recurrent.gradient", w, I, target)
        found = self._settled("Recurrent.gradient", weights, inputs, start)
        return self._masked(_gradient(self, error, weights, found.y, wanted))

    def hvp(self, w: Any, v: Any, I: Any, target: Any, start: Any = None) -> jax.Array:
        """H v, n×n, by R of both equilibria.

        Args:
            w: as in `forward`.
            v: direction, n×n.
            I: as in `forward`.
            target: as in `value`.
            start: as in `forward`.

        Raises:
            EquilibriumError: as in `forward`.
        """
        weights, inputs, error, wanted = self._given("Recurrent.hvp", w, I, target)
        direction = self._masked(like("Recurrent.hvp", "v", v, weights))
        found = self._settled("Recurrent.hvp", weights, inputs, start)
        return self._masked(_hvp(self, error, weights, direction, found.y, wanted))

    def stability(self, w: Any, I: Any, start: Any = None) -> Stability:
        """The eigenvalues of the linearised dynamics at the state that the solver reaches, stable or not.

        Args:
            w: as in `forward`; numbers, not traced.
            I: one external input, shape (n,).
            start: as in `forward`.
        """
        weights, inputs = self._weights("Recurrent.stability", w, I)
        if inputs.ndim != 1:
            raise ArgumentError(
                f"Recurrent.stability got an external input I of shape {list(inputs.shape)}; it tells of one example. "
                f"Pass shape {list(inputs.shape[1:])}."
            )
        return stability_of(_linearised(self, weights, _settle(self, weights, inputs, self._start(inputs, start)).y))

    def table(self, w: Any, I: Any, target: Any, v: Any = None, start: Any = None) -> Table:
        """The equations of one example at its equilibrium with their numbers, every line with its rule.

        Args:
            w: as in `forward`; numbers, not traced.
            I: one example, shape (n,).
            target: of that example.
            v: direction; with it, the lines of R follow.
            start: as in `forward`.

        Raises:
            ArgumentError: several examples, or a network of more than 30 units.
            EquilibriumError: as in `forward`.
        """
        verb = "Recurrent.table"
        weights, inputs, error, wanted = self._given(verb, w, I, target)
        direction = None if v is None else self._masked(like(verb, "v", v, weights))
        check_small(verb, len(weights), inputs, weights, wanted, direction)
        y = self._settled(verb, weights, inputs, start).y
        return equilibrium_table(self.sigma, error, weights, inputs, wanted, direction, y, self._solves(weights, y))

    # -- inside ------------------------------------------------------------------------------------

    def _weights(self, verb: str, w: Any, I: Any) -> tuple[jax.Array, jax.Array]:
        weights = square(verb, "w", w, None if self.mask is None else len(self.mask))
        n = len(weights)
        if self.sigma.choice is not None and len(self.sigma.choice) != n:
            raise ArgumentError(
                f"{verb} got w for {n} units; the network has {len(self.sigma.choice)} functions sigma. Pass one "
                "function for all, or one for each unit."
            )
        return self._masked(weights), vectors(verb, "I", I, n, weights.dtype)

    def _given(self, verb: str, w: Any, I: Any, target: Any) -> tuple[jax.Array, jax.Array, ErrorFunction, jax.Array]:
        weights, inputs = self._weights(verb, w, I)
        error = resolved(verb, self.error, len(weights), range(len(weights)))
        return weights, inputs, error, checked_target(verb, error, target, inputs)

    def _masked(self, array: jax.Array) -> jax.Array:
        return array if self.mask is None else array * self.mask.astype(array.dtype)

    def _start(self, I: jax.Array, start: Any) -> jax.Array:
        if start is None:
            return I + NUDGE * jnp.cos(jnp.arange(I.shape[-1], dtype=I.dtype))
        found = real("Recurrent", "start", start).astype(I.dtype)
        if found.shape not in (I.shape, I.shape[-1:]):
            raise ArgumentError(
                f"Recurrent got a start of shape {list(found.shape)}; the external input I has shape {list(I.shape)}. "
                "Give start the shape of I."
            )
        return jnp.broadcast_to(found, I.shape)

    def _settled(self, verb: str, w: jax.Array, I: jax.Array, start: Any) -> Settled:
        found = _settle(self, w, I, self._start(I, start))

        def function(k: int | None) -> Callable[[jax.Array], jax.Array]:
            return lambda y: self.sigma.value(w @ y) + (I if k is None else I[k])

        return refused(verb, self.solver, found, function, lambda _, y: _linearised(self, w, y))

    def _solves(self, w: jax.Array, y: jax.Array) -> Solves:
        return _solves(self, w, self.sigma.with_slope(w @ y)[1])

    def __repr__(self) -> str:
        return f"Recurrent(solver={self.solver!r}, adjoint={type(self.adjoint).__name__})"


def _units(error: Any) -> int:
    return max(getattr(error, "units", None) or (0,), default=0)


@functools.partial(jax.jit, static_argnums=0)
def _settle(net: Recurrent, w: jax.Array, I: jax.Array, start: jax.Array) -> Settled:
    def one(I: jax.Array, start: jax.Array) -> Settled:
        return fixed_point(lambda y: net.sigma.value(w @ y) + I, net.solver, start)

    return one(I, start) if I.ndim == 1 else jax.vmap(one)(I, start)


@functools.partial(jax.jit, static_argnums=0)
def _linearised(net: Recurrent, w: jax.Array, y: jax.Array) -> jax.Array:
    return net.sigma.with_slope(w @ y)[1][:, None] * w


Solves = tuple[Callable[[jax.Array], jax.Array], Callable[[jax.Array], jax.Array]]


def _solves(net: Recurrent, w: jax.Array, slope: jax.Array) -> Solves:
    """Solutions of (1 − D W) a = b and of (1 − D W)ᵀ a = b."""
    if isinstance(net.adjoint, Relaxation):
        relaxed = net.adjoint

        def checked(found: Settled) -> jax.Array:
            text = "Recurrent: the relaxation of the adjoint did not settle; pass adjoint=lineax.LU()."
            solution: jax.Array = eqx.error_if(found.y, ~found.settled, text)
            return solution

        return (
            lambda b: checked(relaxed.run(lambda a: slope * (w @ a) + b, b)),
            lambda b: checked(relaxed.run(lambda a: (slope * a) @ w + b, b)),
        )
    solver = net.adjoint
    operator = lx.MatrixLinearOperator(jnp.eye(len(w), dtype=w.dtype) - slope[:, None] * w)
    if isinstance(solver, lx.LU):
        # one factorisation for all: lineax keeps it as the state of the solver
        state = solver.init(operator, {})
        turned, _ = solver.transpose(state, {})
        return (
            lambda b: lx.linear_solve(operator, b, solver, state=state).value,
            lambda b: lx.linear_solve(operator.T, b, solver, state=turned).value,
        )
    return (
        lambda b: lx.linear_solve(operator, b, solver).value,
        lambda b: lx.linear_solve(operator.T, b, solver).value,
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _gradient(net: Recurrent, error: ErrorFunction, w: jax.Array, y: jax.Array, target: jax.Array) -> jax.Array:
    units = np.array(error.units)

    def one(y: jax.Array, target: jax.Array) -> jax.Array:
        _, slope = net.sigma.with_slope(w @ y)
        e = jnp.zeros_like(y).at[units].set(error.slope(y[units], target))
        _, transposed = _solves(net, w, slope)
        return slope * transposed(e)

    if y.ndim == 1:
        return jnp.outer(one(y, target), y)
    return jax.vmap(one)(y, target).T @ y


@functools.partial(jax.jit, static_argnums=(0, 1))
def _hvp(
    net: Recurrent, error: ErrorFunction, w: jax.Array, v: jax.Array, y: jax.Array, target: jax.Array
) -> jax.Array:
    units = np.array(error.units)

    def one(y: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        vy = v @ y
        _, slope, curve = net.sigma.with_curve(w @ y)
        solve, transposed = _solves(net, w, slope)
        # R{y} = σ′ (W R{y} + V y)
        Ry = solve(slope * vy)
        Rx = w @ Ry + vy
        e = jnp.zeros_like(y).at[units].set(error.slope(y[units], target))
        Re = jnp.zeros_like(y).at[units].set(error.slope_along(y[units], Ry[units], target))
        # u = Wᵀ z + e with z = σ′ u;  R{u} = Wᵀ R{z} + Vᵀ z + R{e} with R{z} = σ′ R{u} + σ″ R{x} u
        u = transposed(e)
        z = slope * u
        bend = curve * Rx * u
        Ru = transposed(bend @ w + z @ v + Re)
        return z, slope * Ru + bend, Ry

    if y.ndim == 1:
        z, Rz, Ry = one(y, target)
        return jnp.outer(Rz, y) + jnp.outer(z, Ry)
    z, Rz, Ry = jax.vmap(one)(y, target)
    return Rz.T @ y + z.T @ Ry
