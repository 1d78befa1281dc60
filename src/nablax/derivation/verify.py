"""Every derivation checks itself: against the engine and against central differences, at points of the domain.

A form that is only a name is evaluated by the engine, so the engine is no witness for it: it is compared with
central differences alone, and the text says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from nablax.derivation.closed_form import ClosedForm
from nablax.derivation.planned import evaluator
from nablax.derivation.problem import SYMMETRIC, Problem
from nablax.errors import VerificationError
from nablax.printing.expression import LinearMap

POINTS = 3
ENGINE_TOLERANCE = 1e-8
DIFFERENCE_TOLERANCE = 1e-4
STEP = 1e-5
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Verification:
    """What the check found.

    Args:
        points: number of points.
        engine: largest relative error against the engine; None where no closed form was compared with it.
        differences: largest relative error against central differences (limited by their own error).
        where: the points in words.
        names: whether some form is only a name that the engine evaluates.
    """

    points: int
    engine: float | None
    differences: float
    where: str = f"{POINTS} random points"
    names: bool = False

    @property
    def passed(self) -> bool:
        """Whether the closed form may be shown."""
        return (self.engine is None or self.engine < ENGINE_TOLERANCE) and self.differences < DIFFERENCE_TOLERANCE

    def __str__(self) -> str:
        if self.names:
            return (
                "no closed form: the derivatives are the engine's values, compared with central differences of it "
                f"at {self.where}: largest relative error {self.differences:.0e}"
            )
        engine = 0.0 if self.engine is None else self.engine
        return (
            f"{'verified' if self.passed else 'not verified'} at {self.where}: largest relative error {engine:.0e} "
            f"against the engine, {self.differences:.0e} against central differences"
        )


class Check:
    """The engine's values of a problem at random points, and closed forms compared with them.

    Args:
        problem: what is differentiated.
        order: 1 or 2.
    """

    def __init__(self, problem: Problem, order: int) -> None:
        self._problem = problem
        run = evaluator(problem, order)
        self._where = (
            f"{POINTS} random points"
            if problem.formula is not None
            else f"the example and {POINTS - 1} rescalings of it"
        )
        self._samples: list[tuple[dict[str, Array], list[Array], Array, list[Array]]] = []
        for seed in range(POINTS):
            point = problem.points(seed)
            random = np.random.default_rng(seed)
            leaf = problem.arguments[problem.wrt]
            direction = random.standard_normal(np.shape(point[leaf.name]))
            symmetric = leaf.kind in SYMMETRIC and direction.ndim == 2
            if symmetric:
                direction = (direction + direction.T) / 2
            direction /= max(float(np.linalg.norm(direction)), 1e-300)
            step = STEP * max(1.0, float(np.linalg.norm(point[leaf.name])))
            values = self._run(run, point)
            ahead = self._run(run, point | {leaf.name: point[leaf.name] + step * direction})
            behind = self._run(run, point | {leaf.name: point[leaf.name] - step * direction})
            slopes = [(a - b) / (2 * step) for a, b in zip(ahead[:-1], behind[:-1], strict=True)]
            if symmetric:
                values = [values[0], *(symmetrised_pairs(v, k + 1) for k, v in enumerate(values[1:]))]
                slopes = [slopes[0], *(symmetrised_pairs(s, k + 1) for k, s in enumerate(slopes[1:]))]
            self._samples.append((point, values, direction, slopes))

    def _run(self, run: Callable[..., Any], point: dict[str, Array]) -> list[Array]:
        with jax.enable_x64(True):
            found = run(*(point[argument.name] for argument in self._problem.arguments))
        return [np.asarray(value, np.float64) for value in found]

    @property
    def value_shape(self) -> tuple[int, ...]:
        """Shape of the function's value at the sizes of the check."""
        return self._samples[0][1][0].shape

    def compare(self, forms: Sequence[ClosedForm | None]) -> Verification:
        """Closed forms of value, gradient and Hessian against the engine.

        Args:
            forms: value, gradient and Hessian; None where there is none to compare.

        Returns:
            The largest errors over all of them.
        """
        engine: float | None = None
        differences = 0.0
        failed = Verification(POINTS, float("inf"), float("inf"), self._where)
        names = any(form is not None and form.engine is not None for form in forms)
        for point, values, direction, slopes in self._samples:
            given = {argument.name: point[argument.name] for argument in self._problem.arguments}
            for order, (form, expected) in enumerate(zip(forms, values, strict=False)):
                if form is None:
                    continue
                with np.errstate(all="ignore"):
                    arguments = {name: given[name] for name in form.arguments}
                    found = form.evaluate(**arguments)
                found = np.broadcast_to(found, expected.shape) if found.ndim == 0 else found
                if found.shape != expected.shape:
                    return failed
                if form.engine is None:
                    engine = max(engine or 0.0, _error(found, expected))
                if isinstance(form.expression, LinearMap):
                    mapped = np.tensordot(expected, direction, axes=direction.ndim)
                    with np.errstate(all="ignore"):
                        shown = form.applied(direction, **arguments)
                    if shown.shape not in (mapped.shape, ()):
                        return failed
                    engine = max(engine or 0.0, _error(np.broadcast_to(shown, mapped.shape), mapped))
                if order:
                    along = np.tensordot(found, direction, axes=direction.ndim)
                    differences = max(differences, _error(along, slopes[order - 1]))
        return Verification(POINTS, engine, differences, self._where, names)

    def differential(self, form: ClosedForm, direction_name: str) -> None:
        """The differential against the engine's Jacobian applied to a direction, at every point.

        Args:
            form: a closed form of the arguments and the direction.
            direction_name: what the direction is called in it.

        Raises:
            VerificationError: it differs.
        """
        for point, values, direction, _ in self._samples:
            given = {**point, direction_name: direction}
            with np.errstate(all="ignore"):
                found = form.evaluate(**{name: given[name] for name in form.arguments})
            expected = np.tensordot(values[1], direction, axes=direction.ndim)
            if found.shape not in (expected.shape, ()) or not _error(found, expected) < ENGINE_TOLERANCE:
                raise VerificationError("the differential failed its check; nothing is shown")

    def higher(self, forms: Sequence[ClosedForm], order: int) -> None:
        """Derivatives of order three to `order` against JAX's own, at every point.

        Raises:
            VerificationError: one of them differs.
        """
        place = self._problem.wrt
        function = self._problem.function(self._problem.numeric_sizes)
        for form, k in zip(forms, range(3, order + 1), strict=True):
            derivative = function
            for _ in range(k):
                derivative = jax.grad(derivative, argnums=place)
            run = jax.jit(derivative)
            for point, _, _, _ in self._samples:
                with jax.enable_x64(True):
                    expected = np.asarray(run(*(point[a.name] for a in self._problem.arguments)), np.float64)
                found = form.evaluate(**{name: point[name] for name in form.arguments})
                if not _error(found, expected) < ENGINE_TOLERANCE:
                    raise VerificationError(f"the derivative of order {k} failed its check; nothing is shown")


def symmetrised_pairs(value: Array, pairs: int) -> Array:
    """A derivative by a symmetric matrix, symmetrised in every pair of its last axes."""
    for k in range(pairs):
        last = value.ndim - 2 * k
        value = (value + np.swapaxes(value, last - 2, last - 1)) / 2
    return value


def _error(found: Array, expected: Array) -> float:
    if found.size == 0:
        return 0.0
    if not (np.all(np.isfinite(found)) and np.all(np.isfinite(expected))):
        return float("inf")
    scale = max(float(np.max(np.abs(expected))), 1e-3)
    return float(np.max(np.abs(found - expected))) / scale
