"""Every derivation checks itself: against central differences of the formula in NumPy, at points of its domain.

The check shares nothing with the engine that derived: a gradient is compared with differences of values that
NumPy computes from the formula, a Hessian with differences of the gradient that is shown.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax
import numpy as np
import numpy.typing as npt

from nablax.derivation.closed_form import ClosedForm, closed_form
from nablax.derivation.problem import Problem
from nablax.effort import in_time
from nablax.errors import VerificationError
from nablax.formula import Kind
from nablax.printing.expression import Call, Expression, LinearMap, Symbol, walk
from nablax.printing.rewrite import replaced

POINTS = 3
TOLERANCE = 1e-5
STEPS = (1e-3, 1e-4, 1e-6)  # the shorter ones where a longer one crosses a kink
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Verification:
    """What the check found.

    Args:
        points: number of points.
        differences: largest relative error against central differences (limited by their own error).
        where: the points in words.
        names: whether some form is only a name that the engine evaluates.
    """

    points: int
    differences: float
    where: str = f"{POINTS} random points"
    names: bool = False

    @property
    def passed(self) -> bool:
        """Whether the closed form may be shown."""
        return self.differences < TOLERANCE

    def __str__(self) -> str:
        if not self.points:
            return "no closed form: the derivatives are the engine's values; nothing was compared"
        if self.names:
            return (
                "no closed form: the derivatives are the engine's values, compared with central differences of the "
                f"function at {self.where}: largest relative error {self.differences:.0e}"
            )
        return (
            f"{'verified' if self.passed else 'not verified'} at {self.where}: "
            f"largest relative error {self.differences:.0e} against central differences"
        )


UNCHECKED = Verification(0, 0.0, "no points", names=True)


class Check:
    """Points of a problem's domain, and closed forms compared with differences there.

    Args:
        problem: what is differentiated.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._leaf = problem.arguments[problem.wrt]
        is_formula = problem.formula is not None
        self._where = f"{POINTS} random points" if is_formula else f"the example and {POINTS - 1} rescalings of it"
        if problem.is_moved:
            self._where = f"{POINTS} points near the example"
        self._samples: list[tuple[dict[str, Array], Array]] = []
        for seed in range(POINTS):
            point = problem.points(seed)
            random = np.random.default_rng(seed)
            direction = in_kind(self._leaf.kind, random.standard_normal(np.shape(point[self._leaf.name])))
            self._samples.append((point, direction / max(float(np.linalg.norm(direction)), 1e-300)))

    def _direction(self, name: str, point: dict[str, Array]) -> Array:
        """A direction for one of the arguments, of its kind; the same at every point."""
        kind = next(one.kind for one in self._problem.arguments if one.name == name)
        return in_kind(kind, np.random.default_rng(POINTS).standard_normal(np.shape(point[name])))

    def value(self, point: dict[str, Array]) -> Array:
        """The function's value, by NumPy for a formula and by JAX for a function."""
        values = [point[argument.name] for argument in self._problem.arguments]
        with np.errstate(all="ignore"), jax.enable_x64(True):
            try:
                return np.asarray(self._problem.numeric(*values), np.float64)
            except np.linalg.LinAlgError:
                return np.asarray(np.nan)

    @property
    def value_shape(self) -> tuple[int, ...]:
        """Shape of the function's value at the sizes of the check."""
        return self.value(self._samples[0][0]).shape

    def compare(self, forms: Sequence[ClosedForm | None]) -> Verification:
        """Closed forms of value, gradient and Hessian against differences.

        Args:
            forms: value, gradient and Hessian; None where there is none to compare.

        Returns:
            The largest error over all of them.
        """
        names = any(form is not None and form.engine is not None for form in forms)
        worst = 0.0
        for point, direction in self._samples:
            in_time()
            value = self.value(point)
            for order, form in enumerate(forms):
                if form is None:
                    continue
                if order == 0:
                    found = error(_fitted(_shown(form, point), value.shape), value)
                else:
                    before = forms[order - 1] if order > 1 else None
                    shape = value.shape + direction.shape * (order - 1)
                    found = self._slope(form, before, shape, point, direction)
                worst = max(worst, found)
                if not worst < TOLERANCE:
                    return Verification(POINTS, worst, self._where, names)
        return Verification(POINTS, worst, self._where, names)

    def block(self, gradient: ClosedForm, block: ClosedForm, rows: str) -> Verification:
        """A block of the Hessian against differences of the gradient by another variable.

        Args:
            gradient: by the variable of the rows.
            block: its derivative by the variable of the problem.
            rows: the variable of the rows.
        """
        worst = 0.0
        for point, direction in self._samples:
            in_time()
            shape = self.value(point).shape + np.shape(point[rows])
            worst = max(worst, self._slope(block, gradient, shape, point, direction, rows))
        return Verification(POINTS, worst, self._where)

    def _slope(
        self,
        form: ClosedForm,
        before: ClosedForm | None,
        shape: tuple[int, ...],
        point: dict[str, Array],
        along: Array,
        rows: str | None = None,
    ) -> float:
        """The error of a derivative along a direction, against differences of what it is the derivative of.

        That is of the whole array; where a map is shown, what it makes of its directions is compared with the array.
        """
        name = self._leaf.name
        is_curve = before is not None and self._leaf.kind is Kind.ORTHOGONAL  # a gradient may use that QᵀQ = I
        along = _tangent(point[name], along) if is_curve else along

        def function(at: Array) -> Array:
            there = {**point, name: _retracted(point[name], at) if is_curve else at}
            return self.value(there) if before is None else _fitted(_shown(before, there), shape)

        whole = _fitted(_shown(form, point), shape + along.shape)
        if before is None and form.engine is None and not error(in_kind(self._leaf.kind, whole), whole) < TOLERANCE:
            return float("inf")
        found = np.tensordot(whole, along, axes=along.ndim)
        apart = 0.0
        if isinstance(form.expression, LinearMap):
            directions, made = [along], found
            if len(form.expression.arguments) == 2:
                first = self._direction(rows or name, point)
                directions, made = [first, along], np.tensordot(found, first, axes=first.ndim)
            with np.errstate(all="ignore"):
                apart = error(_fitted(form.applied(directions, point), made.shape), made)
        least = float(np.max(np.abs(function(point[name])), initial=0.0)) * 1e-4
        errors = []
        for step in STEPS:
            expected = differences(function, point[name], along, step)
            errors.append(max(error(found, expected, least), apart))
            if errors[-1] < TOLERANCE / 100:
                break
        return min(errors)

    def differential(self, form: ClosedForm, direction_name: str) -> None:
        """The differential against differences of the function, at every point.

        Args:
            form: a closed form of the arguments and the direction.
            direction_name: what the direction is called in it.

        Raises:
            VerificationError: it differs.
        """
        name = self._leaf.name
        for point, along in self._samples:
            found = _shown(form, {**point, direction_name: along})

            def function(at: Array, there: dict[str, Array] = point) -> Array:
                return self.value({**there, name: at})

            expected = [differences(function, point[name], along, step) for step in STEPS]
            if not min(error(_fitted(found, one.shape), one, 1e-4) for one in expected) < TOLERANCE:
                raise VerificationError("the differential failed its check; nothing is shown")

    def step(self, before: Expression, after: Expression, arguments: Mapping[str, tuple[str, ...]]) -> bool:
        """Whether both sides of a step are the same number at a point, differentials by differences.

        Args:
            before: an expression with differentials ``d(u)``.
            after: what it is said to equal.
            arguments: names and shapes of what both are functions of.
        """
        point, along = self._samples[0]
        try:
            left, right = (self._with_differentials(side, arguments, point, along) for side in (before, after))
        except (ArithmeticError, LookupError, NameError, TypeError, ValueError, NotImplementedError, AttributeError):
            return False
        return error(_fitted(right, left.shape), left, 1e-2) < 1e-4

    def _with_differentials(
        self, side: Expression, arguments: Mapping[str, tuple[str, ...]], point: dict[str, Array], along: Array
    ) -> Array:
        name = self._leaf.name
        shapes, values, whole = dict(arguments), dict(point), side
        while found := [one for one in walk(whole) if isinstance(one, Call) and one.name == "d"]:
            node = found[0]
            inside = closed_form(node.arguments[0], arguments, "inside")

            def function(at: Array, form: ClosedForm = inside) -> Array:
                return _shown(form, {**point, name: at})

            symbol = Symbol(f"differential_{len(shapes)}", node.shape)
            values[symbol.name] = differences(function, point[name], along, STEPS[1])
            shapes[symbol.name] = node.shape
            whole = replaced(whole, node, symbol)
        return _shown(closed_form(whole, shapes, "side"), values)

    def higher(self, forms: Sequence[ClosedForm]) -> None:
        """Derivatives of order two and more of a scalar, each against differences of the one before, at every point.

        Raises:
            VerificationError: one of them differs.
        """
        for order, (before, form) in enumerate(itertools.pairwise(forms), 3):
            for point, along in self._samples:
                if not self._slope(form, before, (), point, along) < TOLERANCE:
                    raise VerificationError(f"the derivative of order {order} failed its check; nothing is shown")


def in_kind(kind: Kind, array: Array) -> Array:
    """The part of an array, or of its last two axes, that lies among the matrices of a kind."""
    if array.ndim < 2:
        return array
    match kind:
        case Kind.SYMMETRIC | Kind.SPD:
            return (array + np.swapaxes(array, -2, -1)) / 2
        case Kind.SKEW:
            return (array - np.swapaxes(array, -2, -1)) / 2
        case Kind.DIAGONAL:
            return array * np.eye(array.shape[-1])
        case Kind.TRIANGULAR:
            return np.tril(array)
        case _:
            return array


def _tangent(at: Array, along: Array) -> Array:
    """The part of a direction along the orthogonal matrices: Q times an alternating matrix."""
    inside = at.T @ along
    return np.asarray(at @ (inside - inside.T) / 2)


def _retracted(at: Array, near: Array) -> Array:
    """The orthogonal matrix that Cayley's transform finds in the direction of one near by."""
    half = at.T @ (near - at) / 2
    unit = np.eye(len(at))
    return np.asarray(at @ np.linalg.solve(unit - (half - half.T) / 2, unit + (half - half.T) / 2))


def differences(function: Callable[[Array], Array], at: Array, along: Array, step: float) -> Array:
    """The slope of a function along a direction, by central differences of fourth order."""
    near = function(at + step * along) - function(at - step * along)
    far = function(at + 2 * step * along) - function(at - 2 * step * along)
    return np.asarray((8 * near - far) / (12 * step), np.float64)


def _shown(form: ClosedForm, point: dict[str, Array]) -> Array:
    """The value of a form at a point; nothing finite where a matrix is singular."""
    with np.errstate(all="ignore"):
        try:
            return form.at(point)
        except (np.linalg.LinAlgError, ValueError):  # singular, or lengths of a wrong form do not fit
            return np.asarray(np.nan)


def _fitted(found: Array, shape: tuple[int, ...]) -> Array:
    """A number stands for an array of it."""
    return np.broadcast_to(found, shape) if found.ndim == 0 else found


def error(found: Array, expected: Array, least: float = 1e-3) -> float:
    """The largest error relative to the largest entry; infinite where shapes differ or something is not finite."""
    if found.shape != expected.shape:
        return float("inf")
    if found.size == 0:
        return 0.0
    if not (np.all(np.isfinite(found)) and np.all(np.isfinite(expected))):
        return float("inf")
    scale = max(float(np.max(np.abs(expected))), min(least, 1.0), 1e-3)
    return float(np.max(np.abs(found - expected))) / scale
