"""Whether an equilibrium of dy/dt = −y + f(y) attracts, told by the eigenvalues of ∂f/∂y."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx

from nablax.errors import EquilibriumError
from nablax.neural.arguments import is_traced
from nablax.neural.relaxation import Map, Relaxation, Settled, Solver, fixed_point

Example = int | None


@dataclass(frozen=True)
class Stability:
    """The linearised dynamics du/dt = −u + A u at an equilibrium, A = ∂f/∂y.

    Attributes:
        eigenvalue: the eigenvalue λ of A with the largest real part.
        spectral_radius: the largest |λ|; below 1 also y ← f(y) converges.
        largest_step: Euler steps shorter than this converge: the smallest 2 Re(1 − λ)/|1 − λ|²; 0 if unstable.
    """

    eigenvalue: complex
    spectral_radius: float
    largest_step: float

    @property
    def stable(self) -> bool:
        """Whether small deviations decay: Re λ < 1 for every eigenvalue."""
        return self.eigenvalue.real < 1


def stability_of(A: Any) -> Stability:
    """From the eigenvalues of the matrix, on the host (LAPACK)."""
    values = np.linalg.eigvals(np.asarray(A))
    leading = values[np.argmax(values.real)]
    # |1 − h (1 − λ)|² < 1  ⇔  h |1 − λ|² < 2 Re(1 − λ)
    away = 1 - values
    steps = 2 * away.real / np.maximum(np.abs(away) ** 2, np.finfo(float).tiny)
    return Stability(complex(leading), float(np.abs(values).max()), float(max(steps.min(), 0.0)))


def is_surely_stable(A: np.ndarray) -> bool:
    """Whether a norm of A is below one; then the eigenvalues need not be asked."""
    rows, columns = np.abs(A).sum(axis=1).max(initial=0), np.abs(A).sum(axis=0).max(initial=0)
    return bool(rows * columns < 1)  # ‖A‖₂² ≤ ‖A‖₁ ‖A‖_∞


def refused(
    verb: str,
    solver: Solver,
    found: Settled,
    function: Callable[[Example], Map],
    jacobian: Callable[[Example, jax.Array], Any],
) -> Settled:
    """The same state, or a refusal where it is no stable equilibrium.

    Args:
        verb: for the text.
        solver: that found it.
        found: one state, or a batch of them.
        function: f of an example of the batch; of None where there is no batch.
        jacobian: its ∂f/∂y at a state.

    Raises:
        EquilibriumError: not settled, or unstable; with the eigenvalue. Inside jit, vmap and grad only what did not
            settle is refused, by `equinox.error_if` and without the eigenvalue.
    """
    if is_traced(found):
        text = (
            f"{verb}: the relaxation did not settle. Call it outside jit, vmap and grad, where the refusal names the "
            "eigenvalue."
        )
        y = eqx.error_if(found.y, ~found.settled, text)
        return Settled(y, found.residual, found.steps, found.settled)
    settled = np.atleast_1d(np.asarray(found.settled))
    for k, good in enumerate(settled):
        example = None if np.ndim(found.settled) == 0 else k
        of = "" if example is None else f" for example {k}"
        if not good:
            f, last = function(example), found.y[() if example is None else (example,)]
            rest, where = _rest(f, last)
            begun = f"{verb} was asked for an equilibrium{of}; after {{steps}} steps"
            raise EquilibriumError(_not_settled(begun, where, solver, found, example, jacobian(example, rest)))
        A = np.asarray(jacobian(example, found.y[() if example is None else (example,)]))
        if not is_surely_stable(A) and not (told := stability_of(A)).stable:
            raise EquilibriumError(
                f"{verb} found an equilibrium{of} that is not stable: ∂f/∂y has the eigenvalue "
                f"{_complex(told.eigenvalue)}, whose real part is not below 1, so that a relaxation leaves it. Start "
                "elsewhere (start=), or make the weights smaller."
            )
    return found


def _rest(f: Map, last: jax.Array) -> tuple[jax.Array, str]:
    """An equilibrium to tell the eigenvalues of: a cycle goes around it and does not pass through."""
    solver: Solver = optx.Newton(rtol=1e-6, atol=1e-6)
    for begin in (last, jnp.zeros_like(last)):
        if bool(jnp.isfinite(begin).all()) and bool((near := fixed_point(f, solver, begin)).settled):
            return near.y, "at the equilibrium that Newton's method finds"
    return last, "there"


def _not_settled(told: str, where: str, solver: Solver, found: Settled, example: Example, A: Any) -> str:
    place = () if example is None else (example,)
    steps, residual = int(np.asarray(found.steps)[place]), float(np.asarray(found.residual)[place])
    begun = told.format(steps=steps)
    if not np.isfinite(np.asarray(A)).all():
        return f"{begun} the state is not finite: it diverges. Make the weights smaller, or use a bounded sigma."
    stability = stability_of(A)
    eigenvalue = _complex(stability.eigenvalue)
    where = f"{begun} f(y) − y is still {residual:.2g}, and ∂f/∂y has the eigenvalue {eigenvalue} {where}"
    if not stability.stable:
        return (
            f"{where}, whose real part is not below 1: the relaxation is unstable. Make the weights smaller, start "
            "elsewhere (start=), or use a root finder as solver."
        )
    if isinstance(solver, Relaxation) and stability.largest_step <= solver.step:
        return (
            f"{where}. The dynamics are stable, but Euler steps of {solver.step:g} are not. Pass "
            f"solver=neural.Relaxation(step=h) with h below {stability.largest_step:.3g}."
        )
    return (
        f"{where}: the dynamics are stable there and have not come to rest. Allow more steps (max_steps), or use "
        "neural.Anderson() or a root finder as solver."
    )


def _complex(value: complex) -> str:
    return f"{value.real:.4g}" if abs(value.imag) < 1e-12 else f"{value:.4g}"


def dense_jacobian(f: Callable[[jax.Array], jax.Array], y: jax.Array) -> jax.Array:
    """∂f/∂y of a vector function, one forward pass for each column."""
    found: jax.Array = jax.jacfwd(f)(jnp.asarray(y))
    return found
