"""Every verdict is compared with the function on random segments of its domain; what fails is not shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from nablax.convex.points import NOT_EVALUATED, Array, Point, Sampling
from nablax.convex.result import ConvexityCheck, Verdict
from nablax.derivation.closed_form import ClosedForm
from nablax.errors import VerificationError

SEGMENTS = 16  # from each base
LENGTHS = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
TOLERANCE = 1e-7
MODERATE = 5.0  # entries up to which a value that is no number counts against the domain
DIRECTIONS = 5  # of the plane in which a Hessian is looked at, at most
STEPS = (2e-3, 1e-3)  # of its differences
ROUNDED = (-3, -1, 1, 2, 4)  # units in the last place by which all arguments change where rounding is measured
ROUNDING = 30.0  # of the largest change seen: how far rounding may move a value
LAST_DIGITS = 4.0  # of the function's largest value, of which others may be differences
AGREEING = 1e-3  # how far, relative to the largest, its elements by two steps may differ
FAULT = "nothing is shown. This is a fault of nablax"


@dataclass(frozen=True)
class Segment:
    """Values of the function at both ends and at a point between them.

    Args:
        first: at one end.
        last: at the other end.
        inside: at the point.
        part: how far that is from the first end, as a part of the whole.
        place: where these are: the base, and the two ends and the point between them.
    """

    first: float
    last: float
    inside: float
    part: float
    place: tuple[Point, tuple[Array, Array, Array]] = field(compare=False, repr=False)

    def excess(self, change: Callable[[float], float] | None = None) -> float:
        """How far the function lies above its chord, relative to the largest of the values."""
        first, last, inside = (change(v) if change else v for v in (self.first, self.last, self.inside))
        chord = (1 - self.part) * first + self.part * last
        scale = max(abs(first), abs(last), abs(inside), 1e-9)
        return (inside - chord) / scale


def compare(sampling: Sampling, verdict: Verdict) -> ConvexityCheck:
    """A verdict against chords, and against the eigenvalues of Hessians by differences of values.

    Args:
        sampling: points of the domain.
        verdict: what was proved.

    Returns:
        What was found.

    Raises:
        VerificationError: a chord or an eigenvalue contradicts the verdict, or the function is no number inside the
            domain.
    """
    name, worst, count = sampling.leaf.name, 0.0, 0
    for segment in _segments(sampling):
        count += 1
        found = _violation(segment, verdict)
        if found > TOLERANCE:
            found = _beyond_rounding(sampling, segment, verdict)
        worst = max(worst, found)
        if found > TOLERANCE:
            raise VerificationError(
                f"the certificate that f is {verdict} in {name} failed its check: a chord contradicts it by "
                f"{found:.0e} of the values; {FAULT}"
            )
    hessians = 0
    for _, _, eigenvalues, error in curvatures(sampling, math.log if verdict in LOGARITHMIC else None):
        hessians += 1
        low, high = float(eigenvalues[0]), float(eigenvalues[-1])
        wrong = max(-low if verdict in UPWARDS else 0.0, high if verdict in DOWNWARDS else 0.0)
        if wrong > error:
            raise VerificationError(
                f"the certificate that f is {verdict} in {name} failed its check: an eigenvalue {wrong:.0e} of its "
                f"Hessian has the wrong sign; {FAULT}"
            )
    return ConvexityCheck(count, worst, hessians)


LOGARITHMIC = frozenset({Verdict.LOG_CONVEX, Verdict.LOG_CONCAVE})
UPWARDS = frozenset({Verdict.AFFINE, Verdict.CONVEX, Verdict.LOG_CONVEX})
DOWNWARDS = frozenset({Verdict.AFFINE, Verdict.CONCAVE, Verdict.LOG_CONCAVE})


def reads(sampling: Sampling, form: ClosedForm) -> bool:
    """Whether a closed form has the values of the function, wherever in the domain."""
    name = sampling.leaf.name
    for random, point in sampling.bases():
        for _ in range(4):
            at = sampling.drawn(random, point, float(random.choice(LENGTHS[2:])))
            if at is None:
                continue
            value = sampling.value({**point, name: at})
            try:
                with np.errstate(all="ignore"):
                    found = float(sampling.at(form, {**point, name: at}))
            except (np.linalg.LinAlgError, *NOT_EVALUATED):
                return sampling.problem.formula is not None  # its tree is the formula's own
            both = math.isfinite(value), math.isfinite(found)
            if both[0] and not (both[1] and abs(value - found) <= 1e-6 * max(1.0, abs(value))):
                return False
            if both[1] and math.isnan(value):
                return False
    return True


def curvatures(
    sampling: Sampling, change: Callable[[float], float] | None = None
) -> Iterator[tuple[Point, Array, Array, float]]:
    """Hessians by differences of values, in a random plane of few directions.

    Args:
        sampling: points of the domain.
        change: of the values, such as their logarithm.

    Yields:
        A point, directions (one along the first axis for each eigenvalue), eigenvalues in ascending order, and how
        large the error of these may be. Points at which two steps of the differences disagree, as at a kink, are left
        out.
    """
    for random, point in sampling.bases():
        start = point[sampling.leaf.name]
        plane = _plane(sampling, random)
        scale = 1e-9 + float(np.mean(np.abs(start)))
        tables = [_second_differences(sampling, point, plane, step * scale, change) for step in STEPS]
        if not all(np.all(np.isfinite(table)) for table in tables):
            continue
        [coarse, fine] = tables
        largest = float(np.max(np.abs(fine), initial=0.0))
        rounding = 1e-14 * (1 + abs(sampling.value(point))) / (STEPS[1] * scale) ** 2
        apart = float(np.max(np.abs(coarse - fine), initial=0.0))
        if apart > AGREEING * largest + rounding:
            continue
        eigenvalues, vectors = np.linalg.eigh(fine)
        yield point, np.tensordot(vectors.T, plane, 1), eigenvalues, 10 * apart + 1e-6 * largest + 10 * rounding


def _plane(sampling: Sampling, random: np.random.Generator) -> Array:
    """Orthonormal directions of the variable, as many as are looked at."""
    first = sampling.direction(random)
    shape = np.shape(first)
    others = min(DIRECTIONS, math.prod(shape)) - 1
    drawn = np.stack([np.ravel(first), *(np.ravel(sampling.direction(random)) for _ in range(others))])
    q, r = np.linalg.qr(drawn.T)
    independent = np.abs(np.diagonal(r)) > 1e-6
    return np.asarray(q.T[independent].reshape(-1, *shape))


def _second_differences(
    sampling: Sampling, point: Point, plane: Array, step: float, change: Callable[[float], float] | None
) -> Array:
    def value(direction: Array) -> float:
        [found] = sampling.along(point, direction, (step,))
        if change is None:
            return found
        return change(found) if found > 0 else math.nan

    count = len(plane)
    middle = value(0 * plane[0]) if count else 0.0
    table = np.empty((count, count))
    for i in range(count):
        table[i, i] = (value(plane[i]) + value(-plane[i]) - 2 * middle) / step**2
        for j in range(i):
            ahead, across = plane[i] + plane[j], plane[i] - plane[j]
            four = value(ahead) + value(-ahead) - value(across) - value(-across)
            table[i, j] = table[j, i] = four / (4 * step**2)
    return table


def segments(sampling: Sampling) -> Iterator[tuple[Point, tuple[Array, Array, Array], float]]:
    """Random segments of the domain, long and short.

    Args:
        sampling: points of the domain.

    Yields:
        A point, both ends of a segment with a point between them, and how far that is as a part of the whole.
    """
    for random, point in sampling.bases():
        start = point[sampling.leaf.name]
        for k in range(SEGMENTS):
            end = sampling.drawn(random, point, LENGTHS[k % len(LENGTHS)])
            far = start if k % 2 else sampling.drawn(random, point, LENGTHS[(k * 3) % len(LENGTHS)])
            if end is not None and far is not None:
                part = 0.5 if k % 4 else float(random.uniform(0.1, 0.9))
                yield point, (far, end, np.asarray((1 - part) * far + part * end)), part


def _segments(sampling: Sampling) -> Iterator[Segment]:
    for point, places, part in segments(sampling):
        first, last, inside = (sampling.value({**point, sampling.leaf.name: place}) for place in places)
        if all(map(math.isfinite, (first, last, inside))):
            yield Segment(first, last, inside, part, (point, places))
        elif any(map(math.isnan, (first, last, inside))) and all(
            np.max(np.abs(place), initial=0) < MODERATE for place in places
        ):
            raise VerificationError(
                "the certificate failed its check: the function is no number at a point of the domain that the "
                f"certificate names; {FAULT}"
            )


def _beyond_rounding(sampling: Sampling, segment: Segment, verdict: Verdict) -> float:
    """By how much a chord contradicts a verdict with values moved as far as rounding may, below the chord or above.

    A value is exactly zero in theory and 1e-16 by rounding, as the largest eigenvalue of AᵀXA with a negative X and
    fewer rows than columns is, and 1 − sigmoid(35) is a few last digits of 1; relative to such values any chord is
    contradicted.
    """
    point, places = segment.place
    largest = max((abs(sampling.value(one)) for _, one in sampling.bases()), default=0.0) * np.finfo(float).eps
    errors = [
        ROUNDING * _rounding(sampling, {**point, sampling.leaf.name: place}) + LAST_DIGITS * largest for place in places
    ]
    values = (segment.first, segment.last, segment.inside)
    if verdict in LOGARITHMIC and any(abs(value) <= error for value, error in zip(values, errors, strict=True)):
        return 0.0  # no digit is left
    first, last, inside = errors
    moved = (
        replace(segment, first=segment.first + sign * first, last=segment.last + sign * last,
                inside=segment.inside - sign * inside)
        for sign in (1, -1)
    )  # fmt: skip
    return max(0.0, min(_violation(one, verdict) for one in moved))


def _rounding(sampling: Sampling, point: Point) -> float:
    """By how much the value changes where all arguments do in their last digits."""
    value = sampling.value(point)
    moved = (
        sampling.value({name: np.asarray(one * (1 + units * np.finfo(float).eps)) for name, one in point.items()})
        for units in ROUNDED
    )
    return max((abs(one - value) for one in moved if math.isfinite(one)), default=0.0)


def _violation(segment: Segment, verdict: Verdict) -> float:
    """By how much a chord contradicts a verdict."""
    match verdict:
        case Verdict.AFFINE:
            return abs(segment.excess())
        case Verdict.CONVEX:
            return segment.excess()
        case Verdict.CONCAVE:
            return -segment.excess()
        case Verdict.LOG_CONVEX | Verdict.LOG_CONCAVE:
            sign = 1 if verdict is Verdict.LOG_CONVEX else -1
            values = (segment.first, segment.last, segment.inside)
            if min(values) < 0 or (sign > 0 and not segment.inside > 0 and max(values) > 1e-300):
                return math.inf
            if min(values) < 1e-290:  # what is left of digits says nothing
                return 0.0
            return sign * segment.excess(math.log) * (1 if max(map(abs, map(math.log, values))) > 1e-3 else 1e-3)
        case _:
            return 0.0
