"""A sparse symmetric matrix with its diagonal shifted, factorised on the host; and the exact step in a ball with it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

with warnings.catch_warnings():  # scipy.sparse sets a filter when it is imported; the user's stay as they were
    import scipy.linalg
    import scipy.sparse
    import scipy.sparse.linalg

MOST_FACTORS = 40
# Places of a band for each stored value up to which the band is factorised as a whole.
SPARSEST_BAND = 4
# How far the length of a step may be from the radius, and the share of the model that the hard case may lose
# (Conn, Gould and Toint 2000, section 7.3.10).
LENGTH_FIT, HARD_FIT = 0.1, 0.2
INVERSE_ITERATIONS = 3


class Pattern:
    """Where the values of a sparse symmetric matrix go, worked out once.

    Args:
        rows: of the values.
        columns: of the values; no position twice.
        size: n.
    """

    def __init__(self, rows: Any, columns: Any, size: int) -> None:
        missing = np.setdiff1d(np.arange(size), rows[rows == columns])  # diagonal places without a value
        all_rows, all_columns = np.concatenate([rows, missing]), np.concatenate([columns, missing])
        self.size, self.count = size, len(rows)
        self._order = np.lexsort((all_rows, all_columns))
        self._rows = all_rows[self._order].astype(np.int32)
        ordered = all_columns[self._order]
        self._starts = np.searchsorted(ordered, np.arange(size + 1)).astype(np.int32)
        self._diagonal = np.flatnonzero(self._rows == ordered)
        self._padding = np.zeros(len(missing))
        beside = self._rows - ordered
        width = int(np.max(beside, initial=0))
        self._band: tuple[Any, Any] | None = None
        if (2 * width + 1) * size <= SPARSEST_BAND * len(ordered):
            below = np.flatnonzero(beside >= 0)
            self._band = below, beside[below] * size + ordered[below]
        self._width = width

    def matrix(self, values: Any) -> Shifted:
        """The matrix with these values."""
        ordered = np.concatenate([np.asarray(values, np.float64), self._padding])[self._order]
        stored = scipy.sparse.csc_matrix((ordered, self._rows, self._starts), shape=(self.size, self.size))
        band = None
        if self._band is not None:
            taken, places = self._band
            band = np.zeros((self._width + 1, self.size))
            band.ravel()[places] = ordered[taken]
        return Shifted(stored, self._diagonal, band)


@dataclass(frozen=True)
class Shifted:
    """H, of which H + λI is factorised.

    Args:
        matrix: H, by columns, every diagonal place stored.
        diagonal: places of the diagonal among its values.
        band: the lower triangle by diagonals, shape (w + 1, n), of a banded matrix; None of another.
    """

    matrix: Any
    diagonal: Any
    band: Any = None

    def factor(self, shift: float) -> Any:
        """A factor that solves systems; None where H + λI is not positive definite.

        In a band it is Cholesky's; elsewhere LU with pivots from the diagonal, which is LDLᵀ.
        """
        if self.band is not None:
            moved = self.band.copy()
            moved[0] += shift
            try:
                lower = scipy.linalg.cholesky_banded(moved, overwrite_ab=True, lower=True, check_finite=False)
            except np.linalg.LinAlgError:
                return None
            return _BandFactor(lower) if np.all(np.isfinite(lower[0])) else None
        matrix = self.matrix.copy()
        matrix.data[self.diagonal] += shift
        if not np.all(matrix.data[self.diagonal] > 0) or not np.all(np.isfinite(matrix.data)):
            return None
        try:
            found = scipy.sparse.linalg.splu(
                matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
            )
        except RuntimeError:  # "Factor is exactly singular"
            return None
        # pivots off the diagonal are taken only where one on it is zero; signs of pivots are those of eigenvalues
        definite = np.array_equal(found.perm_r, found.perm_c) and np.all(found.U.diagonal() > 0)
        return found if definite else None

    def bounds(self) -> tuple[float, float]:
        """Below and above all eigenvalues, by Gershgorin's circles."""
        main = self.matrix.data[self.diagonal]
        rest = np.asarray(abs(self.matrix).sum(axis=0)).ravel() - np.abs(main)
        return float(np.min(main - rest)), float(np.max(main + rest))


@dataclass(frozen=True)
class _BandFactor:
    lower: Any

    def solve(self, vector: Any) -> Any:
        """(H + λI)⁻¹ times a vector."""
        return scipy.linalg.cho_solve_banded((self.lower, True), vector, check_finite=False)


@dataclass(frozen=True)
class BallStep:
    """A step in a ball.

    Args:
        step: p.
        shift: λ; zero for Newton's step.
        factors: factorisations that it took.
    """

    step: Any
    shift: float
    factors: int


def step_in_ball(hessian: Shifted, gradient: Any, radius: float, seed: Any) -> BallStep:
    """The lowest point of gᵀp + ½ pᵀHp with ‖p‖ ≤ Δ, by factors of H + λI (Moré and Sorensen 1983, algorithm 3.14).

    Args:
        hessian: H.
        gradient: g.
        radius: Δ.
        seed: a vector from which inverse iterations begin, for the hard case.

    Returns:
        The step; its length fits the radius, or it is Newton's inside, or its model value is nearly the lowest.
    """
    norm = float(np.linalg.norm(gradient))
    least, most = hessian.bounds()
    main = hessian.matrix.data[hessian.diagonal]
    low = max(0.0, float(-np.min(main)), norm / radius - most)
    high = max(norm / radius - least, low)
    shift, step = low, np.zeros_like(gradient)
    for count in range(1, MOST_FACTORS + 1):
        factor = hessian.factor(shift)
        if factor is None:
            low = max(low, shift)
            shift = max(np.sqrt(low * high), low + 0.01 * (high - low))
            continue
        step = -factor.solve(gradient)
        length = float(np.linalg.norm(step))
        if (shift == 0 and length <= radius) or abs(length - radius) <= LENGTH_FIT * radius:
            return BallStep(step, shift, count)
        # d(1/‖p‖)/dλ = pᵀ(H + λI)⁻¹p / ‖p‖³
        newton = shift + (length**2 / float(step @ factor.solve(step))) * (length - radius) / radius
        if length < radius:
            high = min(high, shift)
            lowest, curvature = _lowest(factor, hessian, shift, seed)
            low = max(low, shift - curvature)
            step, lost = _to_border(step, lowest, curvature, radius, shift, gradient)
            if lost or high - low <= 1e-12 * high:
                return BallStep(step, shift, count)
        else:
            low = max(low, shift)
        between = max(np.sqrt(low * high), low + 0.01 * (high - low))
        shift = newton if low < newton < high else between
    length = float(np.linalg.norm(step))
    fallback = step * min(1.0, radius / length) if length > 0 else -gradient * (radius / norm)
    return BallStep(fallback, shift, MOST_FACTORS)


def _lowest(factor: Any, hessian: Shifted, shift: float, seed: Any) -> tuple[Any, float]:
    """A unit vector near the lowest eigenvector, and zᵀ(H + λI)z, by inverse iterations."""
    vector = seed
    for _ in range(INVERSE_ITERATIONS):
        vector = factor.solve(vector)
        vector = vector / np.linalg.norm(vector)
    return vector, float(vector @ (hessian.matrix @ vector) + shift)


def _to_border(
    step: Any, lowest: Any, curvature: float, radius: float, shift: float, gradient: Any
) -> tuple[Any, bool]:
    """The step lengthened along the lowest eigenvector, and whether that is nearly the lowest of the model."""
    inner, room = float(step @ lowest), radius**2 - float(step @ step)
    root = np.sqrt(inner**2 + room)
    # of the two ends the one nearer to the step, which loses less
    along = room / (inner + root) if inner > 0 else -room / (root - inner)
    energy = -float(gradient @ step)  # pᵀ(H + λI)p
    good = along**2 * curvature <= HARD_FIT * (energy + shift * radius**2)
    return (step + along * lowest, True) if good else (step, False)
