"""Eigenvalues of a symmetric matrix; of very few rows by Jacobi's rotations, in a program without calls to LAPACK."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from nablax.optimise.rounding import rounding
from nablax.optimise.state import either

# Rows up to which rotations take less time than LAPACK, and not long to compile. On a CPU, XLA makes one piece of
# machine code of a loop in which nothing is called (`SmallWhileLoopHoistingPass`); and mapped over many matrices,
# rotations are arithmetic on vectors.
FEW = 4
# Over all pairs of rows; five are usual.
MOST_SWEEPS = 12


def spectrum(matrix: Any) -> tuple[Any, Any]:
    """All eigenvalues and eigenvectors.

    Args:
        matrix: symmetric up to rounding, shape (n, n).

    Returns:
        Eigenvalues, ascending, shape (n,), and eigenvectors as columns, shape (n, n); NaN where the matrix is not
        finite.

    Example:
        >>> values, vectors = spectrum(jnp.array([[2.0, 1.0], [1.0, 2.0]]))
        >>> [round(float(value), 6) for value in values]
        [1.0, 3.0]

    Source:
        Golub and Van Loan 2013, section 8.5.2 (the smaller root of t² + 2τt − 1) and 8.5.3 (cyclic by row).
    """
    return _by_rotations(matrix) if 0 < matrix.shape[0] <= FEW else tuple(jnp.linalg.eigh(matrix))


def _by_rotations(matrix: Any) -> tuple[Any, Any]:
    size, dtype = matrix.shape[0], matrix.dtype
    pairs = [(p, q) for p in range(size) for q in range(p + 1, size)]
    # the entries on and above the diagonal, one number each: mapped over matrices, each is a vector
    entries = {(p, q): matrix[p, q] for p in range(size) for q in range(p, size)}
    scale = jnp.max(jnp.abs(matrix))
    vectors = list(jnp.eye(size, dtype=dtype))

    def sweep(entries: Any, vectors: Any) -> tuple[Any, Any]:
        for p, q in pairs:
            entries, vectors = _rotated(entries, vectors, p, q)
        return entries, vectors

    def going(state: Any) -> Any:
        count, entries, _ = state
        rest = sum(jnp.abs(entries[pair]) for pair in pairs)
        return (count < MOST_SWEEPS) & (rest > rounding(dtype) * scale)

    if size <= 2:  # one rotation is all
        entries, vectors = sweep(entries, vectors)
    else:
        start = (jnp.asarray(0), entries, vectors)
        _, entries, vectors = jax.lax.while_loop(going, lambda state: (state[0] + 1, *sweep(*state[1:])), start)
    found = [(entries[p, p], vectors[p]) for p in range(size)]
    for last in range(size - 1, 0, -1):  # the largest goes to the end
        for k in range(last):
            found[k], found[k + 1] = _in_order(found[k], found[k + 1])
    values = jnp.stack([value for value, _ in found])
    return jnp.where(jnp.isfinite(scale), values, jnp.nan), jnp.stack([vector for _, vector in found], axis=1)


def _rotated(entries: Any, vectors: Any, p: int, q: int) -> tuple[Any, Any]:
    """JᵀAJ and VJ with the rotation J in the plane of p and q that makes the entry there zero."""
    aim = entries[p, q]
    none = aim == 0
    tau = (entries[q, q] - entries[p, p]) / (2 * jnp.where(none, 1, aim))
    t = jnp.where(none, 0, jnp.where(tau >= 0, 1, -1) / (jnp.abs(tau) + jnp.sqrt(1 + tau**2)))
    c = 1 / jnp.sqrt(1 + t**2)
    s = t * c
    turned = {**entries, (p, p): entries[p, p] - t * aim, (q, q): entries[q, q] + t * aim, (p, q): jnp.zeros_like(aim)}
    for r in range(len(vectors)):
        if r not in (p, q):
            one, other = (min(r, p), max(r, p)), (min(r, q), max(r, q))
            turned[one] = c * entries[one] - s * entries[other]
            turned[other] = s * entries[one] + c * entries[other]
    moved = list(vectors)
    moved[p], moved[q] = c * vectors[p] - s * vectors[q], s * vectors[p] + c * vectors[q]
    return turned, moved


def _in_order(one: Any, other: Any) -> tuple[Any, Any]:
    """Two eigenvalues with their vectors, the smaller one first."""
    swap = one[0] > other[0]
    return either(swap, other, one), either(swap, one, other)
