"""Random points of a domain, and values of the function there.

It shares nothing with the proof: values are NumPy's for a formula and JAX's for a function, and the domain is what the
answer says that it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import jax
import numpy as np
import numpy.typing as npt

from nablax.convex.facts import Condition, Relation
from nablax.derivation.closed_form import ClosedForm, closed_form
from nablax.derivation.problem import Argument, Problem
from nablax.derivation.verify import in_kind
from nablax.errors import DerivationError, FormulaError
from nablax.formula import Kind
from nablax.printing.expression import Symbol

Array = npt.NDArray[np.float64]
Point = dict[str, Array]
BASES = 12
# what evaluating an expression without Python notation raises
NOT_EVALUATED = (DerivationError, TypeError, ValueError, LookupError, NameError, AttributeError)


class Sampling:
    """Points in the domain of a problem.

    Args:
        problem: the function with its arguments.
        conditions: of the domain.
        positive: names of arguments whose entries are positive.
        fixed: whether the other arguments of a Python function stay as the example has them.
        places: of the arguments that vary together, one after the other in one vector; none for the problem's own.
    """

    def __init__(
        self,
        problem: Problem,
        conditions: Sequence[Condition],
        positive: frozenset[str],
        *,
        fixed: bool = False,
        places: Sequence[int] = (),
    ) -> None:
        self.problem = problem
        self.parts = [problem.arguments[place] for place in places or (problem.wrt,)]
        self.leaf = self.parts[0]
        if len(self.parts) > 1:
            self.leaf = Argument(f"({', '.join(part.name for part in self.parts)})", ("*",), Kind.VECTOR)
        self._positive = positive
        self._conditions = conditions
        self.is_fixed = fixed and problem.formula is None
        arguments = {argument.name: argument.shape for argument in problem.arguments}
        self._forms = [(closed_form(one.expression, arguments, "condition"), one.relation) for one in conditions]

    def bases(self) -> Iterator[tuple[np.random.Generator, Point]]:
        """Points of the domain."""
        found = 0
        for seed in range(4 * BASES):
            random = np.random.default_rng(1000 + seed)
            point = self._point(seed, random)
            if point is None:
                return
            for change in (_same, _turned, np.abs, _near_zero):
                one = {**point, self.leaf.name: np.asarray(change(point[self.leaf.name]))}
                if self.holds(one) and math.isfinite(self.value(one)):
                    yield random, one
                    found += 1
                    break
            if found >= BASES:
                return

    def _point(self, seed: int, random: np.random.Generator) -> Point | None:
        try:
            point = dict(self.problem.points(seed if self.problem.formula is not None else 0))
        except FormulaError:
            return None
        if self.problem.formula is None and seed and self.is_fixed:
            for part in self.parts:
                own = _drawn_kind(part.kind, random.standard_normal(point[part.name].shape), random)
                point[part.name] = np.abs(own) + 0.1 if part.name in self._positive else own
        elif self.problem.formula is None and seed:
            for argument in self.problem.arguments:
                own = _drawn_kind(argument.kind, random.standard_normal(point[argument.name].shape), random)
                point[argument.name] = np.abs(own) + 0.1 if argument.name in self._positive else own
        for condition in self._conditions:
            names = [part.name for part in self.parts]
            if isinstance(condition.expression, Symbol) and condition.expression.name not in names:
                name = condition.expression.name
                if condition.relation in (Relation.DEFINITE, Relation.SEMIDEFINITE):
                    root = random.standard_normal(point[name].shape)
                    point[name] = root @ root.T / len(root)
                else:
                    point[name] = np.abs(point[name])
        if len(self.parts) > 1:
            point[self.leaf.name] = np.concatenate([np.ravel(point[part.name]) for part in self.parts])
        return point

    def _opened(self, point: Point) -> Point:
        """The point with the vector of arguments that vary together taken apart."""
        if len(self.parts) == 1 or self.leaf.name not in point:
            return point
        found, start = dict(point), 0
        for part in self.parts:
            shape = np.shape(point[part.name])
            stop = start + math.prod(shape)
            found[part.name] = np.reshape(point[self.leaf.name][start:stop], shape)
            start = stop
        return found

    def direction(self, random: np.random.Generator) -> Array:
        """A random change of the variable, of its kind."""
        example = self.problem.points(0)
        drawn = [in_kind(part.kind, random.standard_normal(np.shape(example[part.name]))) for part in self.parts]
        return drawn[0] if len(drawn) == 1 else np.concatenate([np.ravel(one) for one in drawn])

    def drawn(self, random: np.random.Generator, point: Point, length: float) -> Array | None:
        """Another value of the argument in the domain, about so far away; nearer, where none is."""
        start = point[self.leaf.name]
        along = self.direction(random)
        for shorter in (1.0, 0.1, 0.01, 0.001):
            place = np.asarray(start + length * shorter * along)
            if self.holds({**point, self.leaf.name: place}):
                return place
        return None

    def holds(self, point: Point) -> bool:
        """Whether the variable lies in the domain."""
        point = self._opened(point)
        for part in self.parts:
            if part.name in self._positive and not np.all(point[part.name] > 0):
                return False
            if part.kind is Kind.SPD and not _positive_definite(point[part.name]):
                return False
        with np.errstate(all="ignore"):
            return all(self._condition(form, relation, point) for form, relation in self._forms)

    def admits(self, point: Point) -> bool:
        """Whether all arguments are what they were declared to be."""
        opened = self._opened(point)
        for argument in self.problem.arguments:
            value = opened[argument.name]
            if argument.name in self._positive and not np.all(value > 0):
                return False
            if argument.kind is Kind.SPD and not _positive_definite(value):
                return False
            if argument.kind is Kind.ORTHOGONAL and not np.allclose(value @ value.T, np.eye(len(value))):
                return False
        return self.holds(point)

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

    def at(self, form: ClosedForm, point: Point) -> Array:
        """The value of a closed form at a point."""
        return form.at(self._opened(point))

    def value(self, point: Point) -> float:
        """The function's value; NaN where it has none."""
        point = self._opened(point)
        values = [point[argument.name] for argument in self.problem.arguments]
        with np.errstate(all="ignore"), jax.enable_x64(True):
            try:
                return float(self.problem.numeric(*values))
            except np.linalg.LinAlgError:
                return math.nan

    def along(self, point: Point, direction: Array, lengths: Sequence[float]) -> list[float]:
        """Values of the function beside a point, in a direction; NaN outside the domain."""
        places = [np.asarray(point[self.leaf.name] + length * direction) for length in lengths]
        ats = [{**point, self.leaf.name: place} for place in places]
        return [self.value(at) if self.holds(at) else math.nan for at in ats]


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
