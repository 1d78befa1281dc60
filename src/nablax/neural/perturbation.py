"""Gradients, and H v, of a black box from random changes of its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.errors import ArgumentError, OutputError
from nablax.neural.arguments import counted, is_traced, like, positive, real


@dataclass(frozen=True)
class PerturbationEstimate:
    """What random changes tell of a gradient.

    Attributes:
        gradient: the estimate, like w.
        standard_error: of each element, the noise of all other weights; from the residuals (White 1980).
        samples: random changes that were tried.
    """

    gradient: jax.Array
    standard_error: jax.Array
    samples: int


@dataclass(frozen=True)
class CurvedEstimate:
    """What random changes tell of a gradient and of H v.

    Attributes:
        gradient: the estimate, like w.
        standard_error: of each element.
        z: H v, estimated or as it was given; like w.
        z_standard_error: of each element; 0 where z was given.
        samples: random changes that were tried.
    """

    gradient: jax.Array
    standard_error: jax.Array
    z: jax.Array
    z_standard_error: jax.Array
    samples: int


for _record, _fields in (
    (PerturbationEstimate, ["gradient", "standard_error"]),
    (CurvedEstimate, ["gradient", "standard_error", "z", "z_standard_error"]),
):
    jax.tree_util.register_dataclass(_record, _fields, ["samples"])


def weight_perturbation(
    E: Callable[[Any], Any],
    w: Any,
    key: Any,
    *,
    samples: int = 1000,
    scale: float = 1e-2,
    batched: bool = False,
) -> PerturbationEstimate:
    """The gradient of a black box: ``∂E/∂w_i = ⟨Δw_i ΔE⟩/⟨Δw_i²⟩`` over normal changes Δw.

    For weight i the effect of all other weights is noise: the standard error is about ‖∇E‖/√samples, whatever the
    number of weights that have a small gradient. Odd orders of E in Δw bias it by O(scale²), even ones are noise.

    Args:
        E: from weights to one number; any Python function, of NumPy arrays.
        w: the weights, an array.
        key: random key.
        samples: random changes; E is asked once more, at w.
        scale: standard deviation of each Δw_i.
        batched: whether E takes a stack (samples, *w.shape) and returns (samples,) numbers, such as `jax.vmap` of a JAX
            function; it is asked once, and may be traced.

    Raises:
        ArgumentError: a number that is none, or a traced w for a black box.
        OutputError: E returns no number.

    Example:
        >>> import jax, jax.numpy as jnp, numpy as np
        >>> E = lambda w: float(np.sum(w**2))  # not a JAX function
        >>> found = weight_perturbation(E, jnp.array([1.0, -2.0]), jax.random.key(0), samples=4000)
        >>> bool(jnp.all(jnp.abs(found.gradient - jnp.array([2.0, -4.0])) < 4 * found.standard_error))
        True

    Source:
        Jabri and Flower 1991; Pearlmutter 1994, section 4.2.
    """
    verb = "weight_perturbation"
    weights = real(verb, "w", w)
    u, rise = _asked(verb, E, weights, key, samples, scale, batched)
    # in units of the scale: Δw = scale u, and E rises by `rise`
    slope = u.T @ rise / jnp.sum(u * u, axis=0)
    left = rise[:, None] - u * slope
    error = jnp.sqrt(jnp.sum((u * left) ** 2, axis=0)) / jnp.sum(u * u, axis=0)
    shape = weights.shape
    return PerturbationEstimate((slope / scale).reshape(shape), (error / scale).reshape(shape), samples)


def weight_perturbation_along(
    E: Callable[[Any], Any],
    w: Any,
    v: Any,
    key: Any,
    *,
    z: Any = None,
    samples: int = 1000,
    scale: float = 1e-2,
    batched: bool = False,
) -> CurvedEstimate:
    """The improved estimator: ``ΔE ≈ Δw·∇E + ½ Δwᵀ Ĥ Δw`` with the symmetric Ĥ of least squares that has Ĥ v = z = H v.

    With q = Δw·v/‖v‖², the second-order term is ½ Δwᵀ Ĥ Δw = q Δw·z − ½ q² v·z. Where z is known it is taken off ΔE,
    and with it the curvature along v leaves the noise. Where it is not, weight i estimates both ∂E/∂w_i and z_i from
    what it knows itself, Δw_i, and from what is broadcast to all, ΔE and Δw·v: least squares of ΔE over

        1, Δw_i, r, Δw_i² − 1, r Δw_i, r² − 1        r = (Δw·v − Δw_i v_i)/‖v − v_i e_i‖, the others' share of Δw·v

    Their coefficients are ∂E/∂w_i, then H_ii/2 and Σ_{j≠i} H_ij v_j/‖v − v_i e_i‖, and z_i = H_ii v_i + Σ_{j≠i} H_ij
    v_j. For a quadratic E and normal Δw both are without bias. The two regressors Δw_i and q(Δw_i − ½ q v_i) alone, as
    in print, are not: the traces of H that go with v_i stay in z_i.

    Args:
        E: as in `weight_perturbation`.
        w: the weights, an array.
        v: direction, like w.
        key: random key.
        z: H v where it is known, from `nablax.hvp` of a model, say; like w.
        samples: as in `weight_perturbation`.
        scale: as in `weight_perturbation`.
        batched: as in `weight_perturbation`.

    Raises:
        ArgumentError: as `weight_perturbation`; v is zero, z or v of another shape, fewer than 12 samples.
        OutputError: E returns no number.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> E = jax.vmap(lambda w: w[0] ** 2 + w[0] * w[1])  # H = [[2, 1], [1, 0]]
        >>> w, v = jnp.array([1.0, 3.0]), jnp.array([1.0, 1.0])
        >>> found = weight_perturbation_along(E, w, v, jax.random.key(0), samples=100, scale=0.5, batched=True)
        >>> [[round(float(x), 2) for x in part] for part in (found.gradient, found.z)]
        [[5.0, 1.0], [3.0, 1.0]]

    Source:
        Pearlmutter 1994, section 4.2.
    """
    verb = "weight_perturbation_along"
    weights = real(verb, "w", w)
    direction = like(verb, "v", v, weights).ravel()
    if not is_traced(direction) and not np.asarray(direction).any():
        raise ArgumentError(f"{verb} got a direction v of zeros; it tells nothing of H. Pass another one.")
    counted(verb, "samples", samples, 12)
    u, rise = _asked(verb, E, weights, key, samples, scale, batched)
    known = None if z is None else like(verb, "z", z, weights).ravel()
    parts = _fitted(u, rise, direction, known, scale)
    gradient, error, product, product_error = (part.reshape(weights.shape) for part in parts)
    return CurvedEstimate(gradient, error, product, product_error, samples)


@jax.jit
def _fitted(
    u: jax.Array, rise: jax.Array, v: jax.Array, z: jax.Array | None, scale: float
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Gradient and z of every weight with their standard errors, from changes scale u."""
    along, squared = u @ v, v @ v
    if z is not None:
        q = along / squared
        rise = rise - scale**2 * (q * (u @ z) - 0.5 * q**2 * (v @ z))

    def one(own: jax.Array, v_i: jax.Array) -> tuple[jax.Array, ...]:
        others = jnp.sqrt(jnp.maximum(squared - v_i**2, 0.0))
        # a weight that v alone points to has no others to correlate with: those columns are 0, and so are their
        # coefficients
        alone = others <= 1e-6 * jnp.sqrt(squared)
        r = jnp.where(alone, 0.0, (along - own * v_i) / jnp.where(alone, 1.0, others))
        X = jnp.stack([jnp.ones_like(own), own, r, own**2 - 1, r * own, jnp.where(alone, 0.0, r**2 - 1)], axis=1)
        gram = X.T @ X + jnp.diag(jnp.where(alone, jnp.array([0, 0, 1.0, 0, 1.0, 1.0], X.dtype), 0.0))
        c = jnp.linalg.solve(gram, X.T @ rise)
        left = X * (rise - X @ c)[:, None]
        covariance = jnp.linalg.solve(gram, jnp.linalg.solve(gram, left.T @ left).T)
        to_z = jnp.zeros(6, X.dtype).at[3].set(2 * v_i).at[4].set(others)
        variance = jnp.maximum(to_z @ covariance @ to_z, 0.0)
        return c[1], jnp.sqrt(covariance[1, 1]), to_z @ c, jnp.sqrt(variance)

    gradient, error, product, product_error = jax.lax.map(lambda both: one(*both), (u.T, v))
    if z is not None:
        return gradient / scale, error / scale, z, jnp.zeros_like(z)
    return gradient / scale, error / scale, product / scale**2, product_error / scale**2


def least_squares_hessian(z: Any, v: Any) -> jax.Array:
    """Ĥ = (z vᵀ + v zᵀ − (v·z/‖v‖²) v vᵀ)/‖v‖²: of all symmetric matrices with Ĥ v = z the one of least Σ Ĥ_ij².

    Args:
        z: H v, shape (n,).
        v: direction, shape (n,).

    Returns:
        Shape (n, n).

    Raises:
        ArgumentError: another shape, or v is zero.

    Example:
        >>> import jax.numpy as jnp
        >>> least_squares_hessian(jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0]))
        Array([[1., 2.],
               [2., 0.]], dtype=float32)

    Source:
        Pearlmutter 1994, section 4.2; with Ĥ = 0 before, the symmetric Broyden update of Powell 1970.
    """
    direction = real("least_squares_hessian", "v", v)
    product = like("least_squares_hessian", "z", z, direction)
    if direction.ndim != 1 or (not is_traced(direction) and not np.asarray(direction).any()):
        raise ArgumentError(
            f"least_squares_hessian got v of shape {list(direction.shape)}, or zero. Pass a vector that is not zero."
        )
    squared = direction @ direction
    both = jnp.outer(product, direction)
    return (both + both.T - (direction @ product / squared) * jnp.outer(direction, direction)) / squared


def _asked(
    verb: str, E: Callable[[Any], Any], w: jax.Array, key: Any, samples: int, scale: float, batched: bool
) -> tuple[jax.Array, jax.Array]:
    """Normal numbers (samples, weights), and by how much E rises for each of the changes scale times them."""
    counted(verb, "samples", samples, 2)
    if not is_traced(scale):
        positive(verb, "scale", scale)
    if not callable(E):
        raise ArgumentError.no_function(verb, E)
    u = jax.random.normal(key, (samples, w.size), w.dtype)
    tried = w + scale * u.reshape(samples, *w.shape)
    if batched:
        whole = jnp.concatenate([w[None], tried])
        values = jnp.asarray(E(whole))
        if values.shape != (samples + 1,):
            raise OutputError(
                f"{verb} asked a batched E for {samples + 1} numbers; it returned shape {list(values.shape)}. Return "
                "one number for each weight array of the stack, or leave out batched=True."
            )
        return u, (values[1:] - values[0]).astype(w.dtype)
    if is_traced(w, key):
        raise ArgumentError(
            f"{verb} got traced weights for a Python function, which needs their numbers. Call it outside jit, vmap "
            "and grad, or pass jax.vmap of a JAX function with batched=True."
        )
    middle = _number(verb, E(np.asarray(w)))
    rises = np.array([_number(verb, E(one)) - middle for one in np.asarray(tried)])
    return u, jnp.asarray(rises, w.dtype)


def _number(verb: str, value: Any) -> float:
    if np.shape(value) != ():
        raise OutputError(
            f"{verb} asked E for one number; it returned shape {list(np.shape(value))}. Return a number, or pass "
            "batched=True if E takes a stack of weights."
        )
    return float(value)
