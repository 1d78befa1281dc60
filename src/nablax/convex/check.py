"""Every verdict is compared with the function on random segments of its domain; what fails is not shown.

The check shares nothing with the proof: values are NumPy's for a formula and JAX's for a function, and the domain is
what the answer says that it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import jax
import numpy as np
import numpy.typing as npt

from nablax.convex.facts import Condition, Relation
from nablax.convex.result import ConvexityCheck, Verdict
from nablax.derivation.closed_form import ClosedForm, closed_form
from nablax.derivation.problem import Problem
from nablax.derivation.verify import in_kind
from nablax.errors import DerivationError, FormulaError, VerificationError
from nablax.formula import Kind
from nablax.printing.expression import Symbol

Array = npt.NDArray[np.float64]
Point = dict[str, Array]
BASES = 12
SEGMENTS = 16  # from each base
LENGTHS = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
TOLERANCE = 1e-7
MODERATE = 5.0  # entries up to which a value that is no number counts against the domain
REFUTED = 1e-5
# what evaluating an expression without Python notation raises
NOT_EVALUATED = (DerivationError, TypeError, ValueError, LookupError, NameError, AttributeError)


@dataclass(frozen=True)
class Segment:
    """Values of the function at both ends and at a point between them.

    Args:
        first: at one end.
        last: at the other end.
        inside: at the point.
        part: how far that is from the first end, as a part of the whole.
    """

    first: float
    last: float
    inside: float
    part: float

    def excess(self, change: Callable[[float], float] | None = None) -> float:
        """How far the function lies above its chord, relative to the largest of the values."""
        first, last, inside = (change(v) if change else v for v in (self.first, self.last, self.inside))
        chord = (1 - self.part) * first + self.part * last
        scale = max(abs(first), abs(last), abs(inside), 1e-9)
        return (inside - chord) / scale


class Check:
    """Random segments in the domain of a problem.

    Args:
        problem: the function with its arguments.
        conditions: of the domain.
        positive: names of arguments whose entries are positive.
    """

    def __init__(self, problem: Problem, conditions: Sequence[Condition], positive: frozenset[str]) -> None:
        self._problem = problem
        self._leaf = problem.arguments[problem.wrt]
        self._positive = positive
        self._conditions = conditions
        arguments = {argument.name: argument.shape for argument in problem.arguments}
        self._forms = [(closed_form(one.expression, arguments, "condition"), one.relation) for one in conditions]

    def compare(self, verdict: Verdict) -> ConvexityCheck:
        """The verdict against chords.

        Args:
            verdict: what was proved; of UNKNOWN, chords are compared on both sides.

        Returns:
            What was found.

        Raises:
            VerificationError: a chord contradicts the verdict, or the function is no number inside the domain.
        """
        worst, count, above, below = 0.0, 0, False, False
        for segment in self._segments(strict=verdict is not Verdict.UNKNOWN):
            count += 1
            excess = segment.excess()
            above, below = above or excess > REFUTED, below or excess < -REFUTED
            found = _violation(segment, verdict)
            worst = max(worst, found)
            if found > TOLERANCE:
                raise VerificationError(
                    f"the certificate that f is {verdict} in {self._leaf.name} failed its check: a chord contradicts "
                    f"it by {found:.0e} of the values; nothing is shown. This is a fault of nablax"
                )
        if verdict is Verdict.UNKNOWN:
            return ConvexityCheck(count, 0.0, above, below)
        return ConvexityCheck(count, worst)

    def reads(self, form: ClosedForm) -> bool:
        """Whether a closed form has the values of the function, wherever in the domain."""
        for random, point in self._bases():
            for _ in range(4):
                at = self._drawn(random, point, float(random.choice(LENGTHS[2:])))
                if at is None:
                    continue
                value = self._value({**point, self._leaf.name: at})
                try:
                    with np.errstate(all="ignore"):
                        found = float(form.at({**point, self._leaf.name: at}))
                except (np.linalg.LinAlgError, *NOT_EVALUATED):
                    return self._problem.formula is not None  # its tree is the formula's own
                both = math.isfinite(value), math.isfinite(found)
                if both[0] and not (both[1] and abs(value - found) <= 1e-6 * max(1.0, abs(value))):
                    return False
                if both[1] and math.isnan(value):
                    return False
        return True

    def _segments(self, *, strict: bool) -> Iterator[Segment]:
        for random, point in self._bases():
            start = point[self._leaf.name]
            for k in range(SEGMENTS):
                end = self._drawn(random, point, LENGTHS[k % len(LENGTHS)])
                far = start if k % 2 else self._drawn(random, point, LENGTHS[(k * 3) % len(LENGTHS)])
                if end is None or far is None:
                    continue
                part = 0.5 if k % 4 else float(random.uniform(0.1, 0.9))
                places = [far, end, (1 - part) * far + part * end]
                values = [self._value({**point, self._leaf.name: place}) for place in places]
                if all(map(math.isfinite, values)):
                    yield Segment(values[0], values[1], values[2], part)
                elif (
                    strict
                    and any(map(math.isnan, values))
                    and all(np.max(np.abs(p), initial=0) < MODERATE for p in places)
                ):
                    raise VerificationError(
                        "the certificate failed its check: the function is no number at a point of the domain that the "
                        "certificate names; nothing is shown. This is a fault of nablax"
                    )

    def _bases(self) -> Iterator[tuple[np.random.Generator, Point]]:
        """Points of the domain."""
        found = 0
        for seed in range(4 * BASES):
            random = np.random.default_rng(1000 + seed)
            point = self._point(seed, random)
            if point is None:
                return
            for change in (_same, _turned, np.abs, _near_zero):
                one = {**point, self._leaf.name: np.asarray(change(point[self._leaf.name]))}
                if self._holds(one) and math.isfinite(self._value(one)):
                    yield random, one
                    found += 1
                    break
            if found >= BASES:
                return

    def _point(self, seed: int, random: np.random.Generator) -> Point | None:
        try:
            point = dict(self._problem.points(seed if self._problem.formula is not None else 0))
        except FormulaError:
            return None
        if self._problem.formula is None and seed:
            for argument in self._problem.arguments:
                own = _drawn_kind(argument.kind, random.standard_normal(point[argument.name].shape), random)
                point[argument.name] = np.abs(own) + 0.1 if argument.name in self._positive else own
        for condition in self._conditions:
            if isinstance(condition.expression, Symbol) and condition.expression.name != self._leaf.name:
                name = condition.expression.name
                if condition.relation in (Relation.DEFINITE, Relation.SEMIDEFINITE):
                    root = random.standard_normal(point[name].shape)
                    point[name] = root @ root.T / len(root)
                else:
                    point[name] = np.abs(point[name])
        return point

    def _drawn(self, random: np.random.Generator, point: Point, length: float) -> Array | None:
        """Another value of the argument in the domain, about so far away; nearer, where none is."""
        start = point[self._leaf.name]
        along = in_kind(self._leaf.kind, random.standard_normal(start.shape))
        for shorter in (1.0, 0.1, 0.01, 0.001):
            place = np.asarray(start + length * shorter * along)
            if self._holds({**point, self._leaf.name: place}):
                return place
        return None

    def _holds(self, point: Point) -> bool:
        own = point[self._leaf.name]
        if self._leaf.name in self._positive and not np.all(own > 0):
            return False
        if self._leaf.kind is Kind.SPD and not _positive_definite(own):
            return False
        with np.errstate(all="ignore"):
            return all(self._condition(form, relation, point) for form, relation in self._forms)

    def _condition(self, form: ClosedForm, relation: Relation, point: Point) -> bool:
        try:
            value = form.at(point)
        except np.linalg.LinAlgError:
            return False
        except NOT_EVALUATED:
            return True  # what cannot be evaluated is left to the function's own value
        match relation:
            case Relation.POSITIVE:
                return bool(np.all(value > 0))
            case Relation.NONNEGATIVE:
                return bool(np.all(value >= 0))
            case Relation.DEFINITE:
                return _positive_definite(value)
            case Relation.SEMIDEFINITE:
                return bool(np.all(np.isfinite(value)) and np.min(np.linalg.eigvalsh(value)) > -1e-9)

    def _value(self, point: Point) -> float:
        values = [point[argument.name] for argument in self._problem.arguments]
        with np.errstate(all="ignore"), jax.enable_x64(True):
            try:
                return float(self._problem.numeric(*values))
            except np.linalg.LinAlgError:
                return math.nan


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


def _same(value: Array) -> Array:
    return value


def _turned(value: Array) -> Array:
    return -value


def _near_zero(value: Array) -> Array:
    return 0.05 * value


def _positive_definite(matrix: Array) -> bool:
    return bool(np.all(np.isfinite(matrix)) and np.min(np.linalg.eigvalsh(matrix), initial=math.inf) > 1e-9)


def _drawn_kind(kind: Kind, entries: Array, random: np.random.Generator) -> Array:
    if kind is Kind.SPD:
        return entries @ entries.T / max(1, len(entries)) + np.eye(len(entries)) / 2
    return in_kind(kind, entries) * float(random.choice((0.3, 1.0, 3.0)))
