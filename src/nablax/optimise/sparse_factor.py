"""A sparse symmetric matrix with its diagonal shifted, factorised on the host; and the exact step in a ball with it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import lapack

from nablax.optimise.elimination import elimination

with warnings.catch_warnings():  # scipy.sparse sets a filter when it is imported; the user's stay as they were
    import scipy.sparse
    import scipy.sparse.linalg

MOST_FACTORS = 40
# Places of a band for each stored value up to which the band is factorised as a whole.
SPARSEST_BAND = 4
# Unknowns behind a band that meet too many others to stand in it.
WIDEST_BORDER = 64
# How far the length of a step may be from the radius, and the share of the model that the hard case may lose
# (Conn, Gould and Toint 2000, section 7.3.10).
LENGTH_FIT, HARD_FIT = 0.1, 0.2
INVERSE_ITERATIONS = 3
# Curvature down to minus this counts as none, in units of the largest one.
FLAT = 4e-10


class Pattern:
    """Where the values of a sparse symmetric matrix stand, and in which order it is eliminated; worked out once.

    Args:
        rows: of the values.
        columns: of the values; no position twice.
        size: n.
    """

    def __init__(self, rows: Any, columns: Any, size: int) -> None:
        missing = np.setdiff1d(np.arange(size), rows[rows == columns])  # diagonal places without a value
        self.size = size
        self.rows, self.columns = np.concatenate([rows, missing]), np.concatenate([columns, missing])
        self._padding = np.zeros(len(missing))
        main = np.flatnonzero(self.rows == self.columns)
        self.main = main[np.argsort(self.rows[main])]
        self.layout = _layout(self.rows, self.columns, size)

    @cached_property
    def seed(self) -> Any:
        """A vector from which inverse iterations begin: no eigenvector is orthogonal to it by accident of structure."""
        return np.cos(np.arange(self.size))

    def matrix(self, values: Any) -> Shifted:
        """The matrix with these values."""
        values = np.asarray(values, np.float64)
        values = np.concatenate([values, self._padding]) if self._padding.size else values
        return Shifted(self, values, self.layout.arranged(values))


@dataclass(frozen=True)
class Shifted:
    """H, of which H + λI is factorised.

    Args:
        pattern: where its values stand.
        values: all that are stored, those of the diagonal among them.
        arranged: the same as they are factorised.
    """

    pattern: Pattern
    values: Any
    arranged: Any

    @property
    def diagonal(self) -> Any:
        """Of H, shape (n,)."""
        return self.values[self.pattern.main]

    def factor(self, shift: float) -> Any:
        """What solves systems with H + λI; None where that is not positive definite.

        In a band it is Cholesky's factor (LDLᵀ next to the diagonal); elsewhere LU with pivots from the diagonal, which
        is LDLᵀ.
        """
        return self.pattern.layout.factor(self.arranged, shift)

    def bounds(self) -> tuple[float, float]:
        """Below and above all eigenvalues, by Gershgorin's circles."""
        main = self.diagonal
        rest = np.bincount(self.pattern.rows, np.abs(self.values), self.pattern.size) - np.abs(main)
        return float(np.min(main - rest)), float(np.max(main + rest))

    def quadratic(self, vector: Any) -> float:
        """vᵀHv."""
        return float(self.values @ (vector[self.pattern.rows] * vector[self.pattern.columns]))


def _layout(rows: Any, columns: Any, size: int) -> _Band | _Bordered | _Columns:
    """A band where there is one, or one with a border; else columns in an order that fills in little."""
    found = elimination(rows, columns, size)
    rest = size - found.hubs
    if (2 * found.width + 1) * rest <= SPARSEST_BAND * len(rows) and found.hubs <= WIDEST_BORDER:
        place = _inverse(found.order)
        band = _Band.of(place[rows], place[columns], rest, found.width)
        # an order that is no other takes no time
        order = None if np.array_equal(found.order, np.arange(size)) else found.order
        return _Bordered.of(band, place[rows], place[columns], order) if found.hubs else replace(band, order=order)
    return _Columns.of(rows, columns, found.order if found.hubs else _minimum_degree(rows, columns, size))


def _inverse(order: Any) -> Any:
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return place


def _back(ordered: Any, order: Any) -> Any:
    """A vector in the unknowns' own order."""
    if order is None:
        return ordered
    found = np.empty_like(ordered)
    found[order] = ordered
    return found


def _minimum_degree(rows: Any, columns: Any, size: int) -> Any:
    """The order that SuperLU finds, of a matrix with these places that is definite whatever its values stand for."""
    values = np.where(rows == columns, np.bincount(rows, minlength=size)[rows] + 1.0, -1.0)
    stored = scipy.sparse.csc_matrix((values, (rows, columns)), (size, size))
    found = scipy.sparse.linalg.splu(
        stored, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )
    return np.argsort(found.perm_c)


@dataclass(frozen=True)
class _Band:
    """Values of the lower triangle by columns, w + 1 of each.

    Args:
        size: n.
        width: w, the largest distance from the diagonal.
        taken: which values are of the lower triangle.
        places: where they go.
        order: the unknowns as they stand in the band; None where they stand in their own order.
    """

    size: int
    width: int
    taken: Any
    places: Any
    order: Any

    @classmethod
    def of(cls, rows: Any, columns: Any, size: int, width: int) -> _Band:
        taken = np.flatnonzero((rows >= columns) & (rows < size))
        return cls(size, width, taken, columns[taken] * (width + 1) + (rows - columns)[taken], None)

    def arranged(self, values: Any) -> Any:
        band = np.zeros(self.size * (self.width + 1))
        band[self.places] = values[self.taken]
        return band.reshape(self.size, self.width + 1)

    def factor(self, arranged: Any, shift: float) -> Any:
        if self.width <= 1:
            beside = arranged[:-1, 1] if self.width else np.zeros(self.size - 1)
            *factor, failed = lapack.dpttrf(arranged[:, 0] + shift, beside)
        else:
            moved = arranged.copy()
            moved[:, 0] += shift
            *factor, failed = lapack.dpbtrf(moved.T, lower=1, overwrite_ab=1)
        fine = failed == 0 and all(np.all(np.isfinite(part[..., 0] if part.ndim > 1 else part)) for part in factor)
        return _BandFactor(tuple(factor), self.order) if fine else None


@dataclass(frozen=True)
class _BandFactor:
    """LDLᵀ of a tridiagonal matrix, as two vectors, or Cholesky's factor of a band."""

    parts: tuple[Any, ...]
    order: Any

    def solve(self, vector: Any) -> Any:
        """(H + λI)⁻¹ times a vector."""
        right = vector if self.order is None else vector[self.order]
        solved, _ = lapack.dpttrs(*self.parts, right) if len(self.parts) == 2 else lapack.dpbtrs(*self.parts, right, 1)
        return _back(solved, self.order)


@dataclass(frozen=True)
class _Bordered:
    """A band, and unknowns behind it that meet too many others: [[B, C], [Cᵀ, D]].

    Args:
        band: B.
        hubs: unknowns of the border.
        taken: which values are of C.
        beside: where they go, in C by rows.
        last: which values are of D.
        corner: where they go.
        order: the unknowns as they stand in the band, and those of the border; None for their own order.
    """

    band: _Band
    hubs: int
    taken: Any
    beside: Any
    last: Any
    corner: Any
    order: Any

    @classmethod
    def of(cls, band: _Band, rows: Any, columns: Any, order: Any) -> _Bordered:
        hubs, size = int(np.max(rows)) + 1 - band.size, band.size
        taken = np.flatnonzero((columns >= size) & (rows < size))
        last = np.flatnonzero((columns >= size) & (rows >= size))
        beside = rows[taken] * hubs + columns[taken] - size
        return cls(band, hubs, taken, beside, last, (rows[last] - size) * hubs + columns[last] - size, order)

    def arranged(self, values: Any) -> Any:
        beside, corner = np.zeros(self.band.size * self.hubs), np.zeros(self.hubs**2)
        beside[self.beside] = values[self.taken]
        corner[self.corner] = values[self.last]
        return self.band.arranged(values), beside.reshape(-1, self.hubs), corner.reshape(-1, self.hubs)

    def factor(self, arranged: Any, shift: float) -> Any:
        band, beside, corner = arranged
        inner = self.band.factor(band, shift)
        if inner is None:
            return None
        solved = inner.solve(beside)  # B⁻¹C; the rest is definite where D − CᵀB⁻¹C is
        lower, failed = lapack.dpotrf(corner + shift * np.eye(self.hubs) - beside.T @ solved, lower=1)
        fine = failed == 0 and np.all(np.isfinite(lower))
        return _BorderedFactor(inner, beside, solved, lower, self.order) if fine else None


@dataclass(frozen=True)
class _BorderedFactor:
    """Of B, with C, B⁻¹C, and Cholesky's factor of D − CᵀB⁻¹C."""

    inner: _BandFactor
    beside: Any
    solved: Any
    lower: Any
    order: Any

    def solve(self, vector: Any) -> Any:
        """(H + λI)⁻¹ times a vector."""
        right = vector if self.order is None else vector[self.order]
        size = len(self.beside)
        first = self.inner.solve(right[:size])
        last, _ = lapack.dpotrs(self.lower, right[size:] - self.beside.T @ first, lower=1)
        return _back(np.concatenate([first - self.solved @ last, last]), self.order)


@dataclass(frozen=True)
class _Columns:
    """Values by columns, in the order in which they are eliminated.

    Args:
        order: the unknowns, the first to be eliminated first.
        taken: the values, column after column.
        rows: of them.
        starts: where each column begins.
        diagonal: where the diagonal stands among them.
    """

    order: Any
    taken: Any
    rows: Any
    starts: Any
    diagonal: Any

    @classmethod
    def of(cls, rows: Any, columns: Any, order: Any) -> _Columns:
        place = _inverse(order)
        rows, columns = place[rows], place[columns]
        taken = np.lexsort((rows, columns))
        rows, columns = rows[taken].astype(np.int32), columns[taken]
        starts = np.searchsorted(columns, np.arange(len(order) + 1)).astype(np.int32)
        return cls(order, taken, rows, starts, np.flatnonzero(rows == columns))

    def arranged(self, values: Any) -> Any:
        return values[self.taken]

    def factor(self, arranged: Any, shift: float) -> Any:
        moved, size = arranged.copy(), len(self.order)
        moved[self.diagonal] += shift
        if not np.all(moved[self.diagonal] > 0) or not np.all(np.isfinite(moved)):
            return None
        matrix = scipy.sparse.csc_matrix((moved, self.rows, self.starts), shape=(size, size))
        try:
            found = scipy.sparse.linalg.splu(
                matrix, permc_spec="NATURAL", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
            )
        except RuntimeError:  # "Factor is exactly singular"
            return None
        # pivots off the diagonal are taken only where one on it is zero; signs of pivots are those of eigenvalues
        definite = np.array_equal(found.perm_r, found.perm_c) and np.all(found.U.diagonal() > 0)
        return _ColumnsFactor(found, self.order) if definite else None


@dataclass(frozen=True)
class _ColumnsFactor:
    factor: Any
    order: Any

    def solve(self, vector: Any) -> Any:
        """(H + λI)⁻¹ times a vector."""
        return _back(self.factor.solve(vector[self.order]), self.order)


@dataclass(frozen=True)
class BallStep:
    """A step in a ball.

    Args:
        step: p.
        predicted: by how much the model falls, −gᵀp − ½ pᵀHp.
        factors: factorisations that it took.
    """

    step: Any
    predicted: float
    factors: int


def step_in_ball(hessian: Shifted, gradient: Any, radius: float) -> BallStep:
    """The lowest point of gᵀp + ½ pᵀHp with ‖p‖ ≤ Δ, by factors of H + λI (Moré and Sorensen 1983, algorithm 3.14).

    Args:
        hessian: H.
        gradient: g.
        radius: Δ.

    Returns:
        The step; its length fits the radius, or it is Newton's inside, or its model value is nearly the lowest.
    """
    step, factors = _step_in_ball(hessian, gradient, radius)
    return BallStep(step, -float(gradient @ step) - hessian.quadratic(step) / 2, factors)


def _step_in_ball(hessian: Shifted, gradient: Any, radius: float) -> tuple[Any, int]:
    norm = float(np.linalg.norm(gradient))
    least, most = hessian.bounds()
    flat = FLAT * max(-least, most)
    low = max(0.0, float(-np.min(hessian.diagonal)), norm / radius - most)
    high = max(norm / radius - least, low)
    shift, step = low, np.zeros_like(gradient)
    for count in range(1, MOST_FACTORS + 1):
        factor = hessian.factor(shift)
        if factor is None:
            low = max(low, shift)
            between = max(np.sqrt(low * high), low + 0.01 * (high - low))
            shift = between if shift > 0 else flat
            continue
        step = -factor.solve(gradient)
        length = float(np.linalg.norm(step))
        if (shift <= flat and length <= radius) or abs(length - radius) <= LENGTH_FIT * radius:
            return step, count
        # d(1/‖p‖)/dλ = pᵀ(H + λI)⁻¹p / ‖p‖³
        newton = shift + (length**2 / float(step @ factor.solve(step))) * (length - radius) / radius
        if length < radius:
            high = min(high, shift)
            lowest, curvature = _lowest(factor, hessian, shift, hessian.pattern.seed - gradient / norm)
            low = max(low, shift - curvature)
            step, lost = _to_border(step, lowest, curvature, radius, shift, gradient)
            if lost or high - low <= 1e-12 * high:
                return step, count
        else:
            low = max(low, shift)
        between = max(np.sqrt(low * high), low + 0.01 * (high - low))
        shift = newton if low < newton < high else between
    length = float(np.linalg.norm(step))
    return step * min(1.0, radius / length) if length > 0 else -gradient * (radius / norm), MOST_FACTORS


def _lowest(factor: Any, hessian: Shifted, shift: float, seed: Any) -> tuple[Any, float]:
    """A unit vector near the lowest eigenvector, and zᵀ(H + λI)z, by inverse iterations."""
    vector = seed
    for _ in range(INVERSE_ITERATIONS):
        vector = factor.solve(vector)
        vector = vector / np.linalg.norm(vector)
    return vector, hessian.quadratic(vector) + shift


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
