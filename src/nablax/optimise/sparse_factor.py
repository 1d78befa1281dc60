"""A sparse symmetric matrix with its diagonal shifted, factorised on the host; and the exact step in a ball with it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from nablax.optimise.elimination import elimination

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
        rows, columns = np.concatenate([rows, missing]), np.concatenate([columns, missing])
        self.size = size
        self._padding = np.zeros(len(missing))
        self._natural = _Columns.of(rows, columns, size)
        self._elimination = elimination(rows, columns, size)
        place = np.empty(size, np.int64)
        place[self._elimination.order] = np.arange(size)
        rows, columns = place[rows], place[columns]
        width, hubs = self._elimination.width, self._elimination.hubs
        self._band: tuple[Any, Any] | None = None
        self._ordered: _Columns | None = None
        if not hubs and (2 * width + 1) * size <= SPARSEST_BAND * len(rows):
            below = np.flatnonzero(rows >= columns)
            self._band = below, (rows - columns)[below] * size + columns[below]
        elif hubs:
            self._ordered = _Columns.of(rows, columns, size)

    def matrix(self, values: Any) -> Shifted:
        """The matrix with these values."""
        values = np.concatenate([np.asarray(values, np.float64), self._padding])
        stored, order = self._natural.matrix(values), self._elimination.order
        if self._band is not None:
            taken, places = self._band
            band = np.zeros((self._elimination.width + 1, self.size))
            band.ravel()[places] = values[taken]
            return Shifted(stored, self._natural.diagonal, _Band(band, order))
        if self._ordered is not None:
            eliminated = self._ordered.matrix(values)
            return Shifted(stored, self._natural.diagonal, _Stored(eliminated, self._ordered.diagonal, order))
        return Shifted(stored, self._natural.diagonal, _Stored(stored, self._natural.diagonal, None))


@dataclass(frozen=True)
class _Columns:
    """Where values go in a matrix that is stored by columns."""

    order: Any
    rows: Any
    starts: Any
    diagonal: Any

    @classmethod
    def of(cls, rows: Any, columns: Any, size: int) -> _Columns:
        order = np.lexsort((rows, columns))
        rows, columns = rows[order].astype(np.int32), columns[order]
        starts = np.searchsorted(columns, np.arange(size + 1)).astype(np.int32)
        return cls(order, rows, starts, np.flatnonzero(rows == columns))

    def matrix(self, values: Any) -> Any:
        size = len(self.starts) - 1
        return scipy.sparse.csc_matrix((values[self.order], self.rows, self.starts), shape=(size, size))


@dataclass(frozen=True)
class Shifted:
    """H, of which H + λI is factorised.

    Args:
        matrix: H, by columns, every diagonal place stored.
        diagonal: places of the diagonal among its values.
        eliminated: H as it is factorised.
    """

    matrix: Any
    diagonal: Any
    eliminated: _Band | _Stored

    def factor(self, shift: float) -> Any:
        """A factor that solves systems; None where H + λI is not positive definite.

        In a band it is Cholesky's; elsewhere LU with pivots from the diagonal, which is LDLᵀ.
        """
        return self.eliminated.factor(shift)

    def bounds(self) -> tuple[float, float]:
        """Below and above all eigenvalues, by Gershgorin's circles."""
        main = self.matrix.data[self.diagonal]
        rest = np.asarray(abs(self.matrix).sum(axis=0)).ravel() - np.abs(main)
        return float(np.min(main - rest)), float(np.max(main + rest))


@dataclass(frozen=True)
class _Band:
    """The lower triangle by diagonals, shape (w + 1, n), of a matrix in an order that makes it a band."""

    values: Any
    order: Any

    def factor(self, shift: float) -> Any:
        moved = self.values.copy()
        moved[0] += shift
        try:
            lower = scipy.linalg.cholesky_banded(moved, overwrite_ab=True, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return None
        return _BandFactor(lower, self.order) if np.all(np.isfinite(lower[0])) else None


@dataclass(frozen=True)
class _Stored:
    """A matrix by columns, in the order in which it is eliminated; without an order, minimum degree is to find it."""

    matrix: Any
    diagonal: Any
    order: Any

    def factor(self, shift: float) -> Any:
        matrix = self.matrix.copy()
        matrix.data[self.diagonal] += shift
        if not np.all(matrix.data[self.diagonal] > 0) or not np.all(np.isfinite(matrix.data)):
            return None
        by = "MMD_AT_PLUS_A" if self.order is None else "NATURAL"
        try:
            found = scipy.sparse.linalg.splu(
                matrix, permc_spec=by, diag_pivot_thresh=0.0, options={"SymmetricMode": True}
            )
        except RuntimeError:  # "Factor is exactly singular"
            return None
        # pivots off the diagonal are taken only where one on it is zero; signs of pivots are those of eigenvalues
        definite = np.array_equal(found.perm_r, found.perm_c) and np.all(found.U.diagonal() > 0)
        if not definite:
            return None
        return found if self.order is None else _Ordered(found, self.order)


@dataclass(frozen=True)
class _BandFactor:
    lower: Any
    order: Any

    def solve(self, vector: Any) -> Any:
        """(H + λI)⁻¹ times a vector."""
        found = np.empty_like(vector)
        found[self.order] = scipy.linalg.cho_solve_banded((self.lower, True), vector[self.order], check_finite=False)
        return found


@dataclass(frozen=True)
class _Ordered:
    factor: Any
    order: Any

    def solve(self, vector: Any) -> Any:
        """(H + λI)⁻¹ times a vector."""
        found = np.empty_like(vector)
        found[self.order] = self.factor.solve(vector[self.order])
        return found


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
