"""What a minimiser found, and what kind of point that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg
from jax.flatten_util import ravel_pytree

from nablax.at_point import curvature
from nablax.optimise.objective import Counts
from nablax.optimise.outcome import Status, is_item, told
from nablax.optimise.rounding import rounding

Function = Callable[..., Any]
# Unknowns up to which all eigenvalues are computed.
MOST_EIGENVALUES = 2_000
LANCZOS_TOLERANCE = 1e-6


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Optimum:
    """What `minimise` found; prints itself.

    Args:
        x: the best point, a tree like the start.
        value: the function there.
        gradient: there, a tree like `x`.
        gradient_norm: its largest component, by magnitude; with bounds, that of the projected step.
        smallest_eigenvalue: of the Hessian there, where the method computed it; NaN elsewhere.
        iterations: steps that were tried.
        counts: what was evaluated.
        status: one of `Status`.
        seconds: time, compilation included; None inside a transformation.
        method: its name.
        reason: why that method.
    """

    x: Any
    value: Any
    gradient: Any
    gradient_norm: Any
    smallest_eigenvalue: Any
    iterations: Any
    counts: Counts
    status: Any
    seconds: float | None = field(metadata={"static": True})
    method: str = field(metadata={"static": True})
    reason: str = field(metadata={"static": True})

    @property
    def converged(self) -> Any:
        """Whether the gradient is as small as asked."""
        return is_item(self.status, Status.converged)

    def __str__(self) -> str:
        lines = [
            told(self.status),
            f"value {float(self.value):.10g}, largest gradient component {float(self.gradient_norm):.2e}",
            f"{self.method}: {self.reason}",
            f"{int(self.iterations)} iterations: {self.counts}",
        ]
        if np.isfinite(self.smallest_eigenvalue):
            lines.insert(2, f"smallest eigenvalue of the Hessian {float(self.smallest_eigenvalue):.4g}")
        if self.seconds is not None:
            lines.append(f"{self.seconds:.3g} s")
        return "\n".join(lines)


class Kind(StrEnum):
    """What a point is."""

    MINIMUM = "minimum"
    MAXIMUM = "maximum"
    SADDLE = "saddle"
    DEGENERATE = "degenerate"
    NOT_STATIONARY = "not stationary"


@dataclass(frozen=True)
class Definiteness:
    """The extreme eigenvalues of the Hessian at a point, and what kind of point that makes it.

    Args:
        kind: minimum, maximum, saddle, degenerate (an eigenvalue is zero up to rounding), or not stationary.
        smallest: the smallest eigenvalue.
        largest: the largest eigenvalue.
        zero_below: eigenvalues up to this magnitude count as zero.
        gradient_norm: the largest component of the gradient.
        gradient_zero: up to which it counts as zero.
    """

    kind: Kind
    smallest: float
    largest: float
    zero_below: float
    gradient_norm: float
    gradient_zero: float

    def __str__(self) -> str:
        kind = {
            Kind.MINIMUM: "a strict minimum: every eigenvalue of the Hessian is positive",
            Kind.MAXIMUM: "a strict maximum: every eigenvalue of the Hessian is negative",
            Kind.SADDLE: "a saddle: the Hessian has eigenvalues of both signs",
            Kind.DEGENERATE: "degenerate: an eigenvalue of the Hessian is zero up to rounding",
            Kind.NOT_STATIONARY: f"not stationary: a gradient counts as zero up to {self.gradient_zero:.1e}",
        }[self.kind]
        return (
            f"The point is {kind}.\neigenvalues from {self.smallest:.6g} to {self.largest:.6g}, zero below "
            f"{self.zero_below:.1e}; largest gradient component {self.gradient_norm:.1e}"
        )


def definiteness(f: Function, x: Any, *args: Any, gradient_zero: float | None = None) -> Definiteness:
    """What kind of point a point is: minimum, maximum, saddle, or degenerate.

    Up to 2,000 unknowns all eigenvalues of the Hessian are computed; beyond, both ends of the spectrum by Lanczos
    iterations on exact products, to a share of 1e-6 of its width.

    Args:
        f: function of `x` and `args` with one number as result.
        x: the point, a tree of arrays.
        args: further arguments of `f`.
        gradient_zero: largest component of a gradient that counts as zero; None for √ε times the larger of 1 and the
            largest eigenvalue.

    Returns:
        A `Definiteness`, which prints itself.

    Raises:
        As `nablax.hessian`.

    Example:
        >>> print(definiteness(lambda x: x[0] ** 2 - 3 * x[1] ** 2, jnp.zeros(2)))
        The point is a saddle: the Hessian has eigenvalues of both signs.
        eigenvalues from -6 to 2, zero below 4.3e-06; largest gradient component 0.0e+00
    """
    c = curvature(f)(x, *args)
    slopes = c.gradient  # asked before products are compiled, which then read what is kept of this
    flat, unravel = ravel_pytree(x)
    size, eps = flat.size, rounding(flat.dtype)
    if size <= MOST_EIGENVALUES:
        matrix = np.asarray(c.matrix()[0], np.float64)
        values = np.linalg.eigvalsh((matrix + matrix.T) / 2)
        smallest, largest, error = float(values[0]), float(values[-1]), 0.0
    else:
        smallest, largest = _ends(jax.jit(lambda v: ravel_pytree(c @ unravel(v))[0]), size, flat.dtype)
        error = LANCZOS_TOLERANCE
    scale = max(abs(smallest), abs(largest))
    zero = scale * max(eps * max(size, 6), error)
    norm = float(jnp.max(jnp.abs(ravel_pytree(slopes)[0]), initial=0.0))
    allowed = eps**0.5 * max(1.0, scale) if gradient_zero is None else gradient_zero
    if not norm <= allowed:
        kind = Kind.NOT_STATIONARY
    elif smallest > zero:
        kind = Kind.MINIMUM
    elif largest < -zero:
        kind = Kind.MAXIMUM
    elif smallest < -zero and largest > zero:
        kind = Kind.SADDLE
    else:
        kind = Kind.DEGENERATE
    return Definiteness(kind, smallest, largest, zero, norm, allowed)


def _ends(product: Function, size: int, dtype: Any) -> tuple[float, float]:
    operator = scipy.sparse.linalg.LinearOperator(
        (size, size), matvec=lambda v: np.asarray(product(jnp.asarray(v.ravel(), dtype)), np.float64), dtype=np.float64
    )
    start = np.cos(np.arange(size))
    found = scipy.sparse.linalg.eigsh(
        operator, k=2, which="BE", v0=start, tol=LANCZOS_TOLERANCE, return_eigenvectors=False
    )
    return float(found[0]), float(found[-1])
