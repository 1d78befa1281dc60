"""Refutation: two points between which the function lies above its chord, or below; of few digits where that can be."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from nablax.convex.check import curvatures, segments
from nablax.convex.points import Array, Point, Sampling
from nablax.convex.result import Values, Verdict, Witness

LEAST = 1e-4  # excess over the chord, relative to the largest of the values; far above rounding
CLEAR = 0.02  # from which on no better one is looked for
NICE = tuple(k / 2 for k in range(-8, 9))  # ends for a variable that is a number
LENGTHS = (1.0, 0.3, 0.1, 0.03)  # of segments along eigenvectors
PARTS = tuple(k / 64 for k in range(1, 64))  # of a segment, where it is looked at whether it lies in the domain
DIGITS = (0, 1, 2, 3)


def witnesses(sampling: Sampling) -> tuple[Witness, ...]:
    """What shows a function not to be convex, and what shows it not to be concave.

    Args:
        sampling: points of the domain.

    Returns:
        None, one or two witnesses: against CONVEX first.
    """
    best: dict[Verdict, tuple[float, Point, Array, Array]] = {}
    for point, first, last in itertools.chain(_nice(sampling), _around(sampling), _random(sampling)):
        found = _excess(sampling, point, first, last)
        against = Verdict.CONVEX if found > 0 else Verdict.CONCAVE
        if abs(found) > max(LEAST, best[against][0] if against in best else 0.0):
            best[against] = (abs(found), point, first, last)
        if len(best) == 2 and all(one[0] > CLEAR for one in best.values()):
            break
    order = (Verdict.CONVEX, Verdict.CONCAVE)
    return tuple(_witness(sampling, one, *best[one][1:]) for one in order if one in best)


def _nice(sampling: Sampling) -> Iterator[tuple[Point, Array, Array]]:
    """Segments between numbers of one digit, short ones with whole ends and middle first, for a scalar variable."""
    if sampling.leaf.shape:
        return
    pairs = sorted(itertools.combinations(NICE, 2), key=_simplicity)
    for _, point in itertools.islice(sampling.bases(), 2):
        for first, last in pairs:
            yield point, np.asarray(first), np.asarray(last)


def _simplicity(pair: tuple[float, float]) -> tuple[int, float, float]:
    first, last = pair
    broken = sum(not number.is_integer() for number in (first, last, (first + last) / 2))
    return broken, last - first, abs(first + last)


def _around(sampling: Sampling) -> Iterator[tuple[Point, Array, Array]]:
    """Short segments along the outermost eigenvectors of Hessians, and segments around zero."""
    for point, directions, _, _ in curvatures(sampling):
        start = point[sampling.leaf.name]
        for direction, length in itertools.product((directions[0], directions[-1]), LENGTHS):
            yield point, np.asarray(start - length * direction), np.asarray(start + length * direction)
        for length in LENGTHS:
            yield point, np.asarray(-length * start), np.asarray(length * start)


def _random(sampling: Sampling) -> Iterator[tuple[Point, Array, Array]]:
    for point, (first, last, _), _ in segments(sampling):
        yield point, first, last


def _excess(sampling: Sampling, point: Point, first: Array, last: Array) -> float:
    """How far the function lies above its chord in the middle, relative to its values; 0 where it has none."""
    name = sampling.leaf.name
    ats = [{**point, name: np.asarray((1 - part) * first + part * last)} for part in (0, 1, 0.5)]
    if not all(map(sampling.holds, ats)):
        return 0.0
    low, high, middle = map(sampling.value, ats)
    if not all(map(math.isfinite, (low, high, middle))):
        return 0.0
    found = (middle - (low + high) / 2) / max(abs(low), abs(high), abs(middle), 1e-6)
    if abs(found) <= LEAST:
        return found
    path = ({**point, name: np.asarray((1 - part) * first + part * last)} for part in PARTS)
    return found if all(map(sampling.holds, path)) else 0.0  # elsewhere it leaves the branch and comes back


def _witness(sampling: Sampling, against: Verdict, point: Point, first: Array, last: Array) -> Witness:
    """The segment with as few digits as still show it."""
    sign = 1 if against is Verdict.CONVEX else -1
    whole = abs(_excess(sampling, point, first, last))
    for digits in DIGITS:
        short = {
            argument.name: value
            if argument.name in sampling.problem.units or sampling.is_fixed
            else np.asarray(np.round(value, digits))
            for argument in sampling.problem.arguments
            for value in (point[argument.name],)
        }
        ends = np.asarray(np.round(first, digits)), np.asarray(np.round(last, digits))
        if sampling.admits(short) and sign * _excess(sampling, short, *ends) > whole / 2:
            point, (first, last) = short, ends
            break
    name = sampling.leaf.name
    places = (first, last, np.asarray((first + last) / 2))
    low, high, middle = (sampling.value({**point, name: place}) for place in places)
    hidden = {*sampling.problem.units, *(part.name for part in sampling.parts)}
    shown = [one.name for one in sampling.problem.arguments if one.name not in hidden]
    others = tuple((one, _nested(point[one])) for one in shown)
    return Witness(against, name, _nested(first), _nested(last), others, (low, high, middle))


def _nested(array: Array) -> Values:
    """An array as tuples of tuples; without negative zeros."""
    if not array.ndim:
        return float(array) + 0.0
    return tuple(map(_nested, array))
