"""Everything about the curvature of a function at a point, as data."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

import nablax as nb
from nablax.app.load import EXAMPLE, Target
from nablax.errors import TargetError

DENSE_UP_TO = 2000
"""Unknowns up to which the Hessian is formed to find its eigenvalues."""

MOST_RESTARTS = 300
"""Restarts of Lanczos before it is given up."""

Vector = npt.NDArray[np.float64]


class Verdict(Enum):
    """What the gradient and the signs of the eigenvalues say about the point."""

    MINIMUM = "a strict local minimum: the gradient vanishes, every eigenvalue is positive"
    MAXIMUM = "a strict local maximum: the gradient vanishes, every eigenvalue is negative"
    SADDLE = "a saddle point: the gradient vanishes, eigenvalues of both signs exist"
    DEGENERATE = "degenerate: the gradient vanishes, and so does curvature in some direction, to rounding"
    POSITIVE = "not a stationary point; the curvature is positive in every direction"
    NEGATIVE = "not a stationary point; the curvature is negative in every direction"
    INDEFINITE = "not a stationary point; the curvature is positive in some directions, negative in others"
    NEVER_NEGATIVE = "not a stationary point; the curvature is positive or, to rounding, zero in every direction"
    NEVER_POSITIVE = "not a stationary point; the curvature is negative or, to rounding, zero in every direction"
    FLAT = "not a stationary point; the Hessian is zero"
    NOT_FINITE = "undecided: the value, the gradient or the Hessian is not finite"
    NOT_ASKED = "undecided: the eigenvalues were not asked for"
    NOT_CONVERGED = "undecided: the extreme eigenvalues did not converge"
    ASYMMETRIC = "undecided: the Hessian is not symmetric, the second derivatives are not continuous here"


@dataclass(frozen=True)
class Leaf:
    """One array of the argument and its own block of the Hessian.

    Args:
        path: where it stands in the argument.
        shape: its shape.
        dtype: its dtype.
        size: its elements.
        diagonal_min: smallest second derivative of an element; nan if the leaf is empty.
        diagonal_max: largest one.
        trace: their sum.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    size: int
    diagonal_min: float
    diagonal_max: float
    trace: float


@dataclass(frozen=True)
class Block:
    """The part of the Hessian between two leaves.

    Args:
        row: path of one leaf.
        column: path of the other, which comes later or is the same.
        shape: shape of the block, row axes first.
        nonzeros: how many elements are not zero; None where the Hessian was not formed.
        structure: "zero", "diagonal", "sparse" (at most a quarter not zero) or "dense"; "not formed".
    """

    row: str
    column: str
    shape: tuple[int, ...]
    nonzeros: int | None
    structure: str


@dataclass(frozen=True)
class Eigenvalues:
    """The ends of the spectrum.

    Args:
        smallest: smallest eigenvalue.
        largest: largest eigenvalue.
        method: "dense" (all eigenvalues of the formed Hessian) or "lanczos".
        tolerance: relative tolerance that Lanczos was given; 0 for dense.
        smallest_residual: norm of Hv - λv for the unit eigenvector found; 0 for dense.
        largest_residual: the same at the other end.
        products: Hessian-vector products used.
        zero_below: absolute values up to this count as zero.
    """

    smallest: float
    largest: float
    method: str
    tolerance: float
    smallest_residual: float
    largest_residual: float
    products: int
    zero_below: float


@dataclass(frozen=True)
class Answered:
    """How a question was answered.

    Args:
        question: "diagonal", "trace", "hessian" or "hvp".
        strategy: the strategy that was chosen.
        candidates: how many were costed.
        flops: operations that the plan expects.
        moved: bytes read and written that it expects.
        peak: largest number of bytes alive at once that it expects.
        explanation: the plan in words.
    """

    question: str
    strategy: str
    candidates: int
    flops: float
    moved: float
    peak: float
    explanation: str


@dataclass(frozen=True)
class Report:
    """What `nablax report` says.

    Args:
        target: ``FILE.py:function``.
        value: the function's value.
        parameters: elements of the argument.
        dtypes: dtypes of the argument's leaves, each once.
        gradient_norm: Euclidean norm of the gradient.
        gradient_zero_below: norms up to this count as zero.
        stationary: whether the gradient counts as zero.
        leaves: one entry per array of the argument.
        blocks: one entry per pair of leaves, the upper triangle.
        hessian_bytes: bytes of the Hessian if it were formed.
        diagonal_min: smallest diagonal element, exact.
        diagonal_max: largest one.
        trace: the trace, exact.
        eigenvalues: the ends of the spectrum; None where they could not be had.
        verdict: what kind of point it is.
        plans: for each question asked, how it was answered; the first in full.
        seconds: time of each step, planning and compiling included.
    """

    target: str
    value: float
    parameters: int
    dtypes: tuple[str, ...]
    gradient_norm: float
    gradient_zero_below: float
    stationary: bool
    leaves: tuple[Leaf, ...]
    blocks: tuple[Block, ...]
    hessian_bytes: int
    diagonal_min: float
    diagonal_max: float
    trace: float
    eigenvalues: Eigenvalues | None
    verdict: Verdict
    plans: tuple[Answered, ...]
    seconds: dict[str, float]

    @property
    def not_finite(self) -> str:
        """The first of value, gradient and Hessian that is not finite; empty if all are."""
        if not math.isfinite(self.value):
            return "the value"
        if not math.isfinite(self.gradient_norm):
            return "the gradient"
        return "the Hessian" if self.verdict is Verdict.NOT_FINITE else ""

    @property
    def total_seconds(self) -> float:
        """Time of all steps."""
        return sum(self.seconds.values())


Progress = Callable[[str], None]


@dataclass
class _Clock:
    """Names the step that runs and keeps the time that each takes."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.progress(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def report(
    target: Target,
    *,
    strategy: str = "auto",
    memory_bytes: int | None = None,
    gradient_zero: float | None = None,
    spectrum: bool = True,
    progress: Progress = lambda step: None,
) -> Report:
    """Compute the report of a function at its example arguments, with respect to the first.

    Args:
        target: the function and its arguments.
        strategy: the strategy for every question, or "auto".
        memory_bytes: bound on peak memory (bytes) for every question.
        gradient_zero: gradient norms up to this count as zero; None for a bound that follows from rounding.
        spectrum: whether the ends of the spectrum are computed, which takes most of the time of a large problem.
        progress: is told the step that begins.

    Returns:
        The report.

    Raises:
        NablaxError: the function or the argument is refused.
    """
    x = target.arguments[0]
    named = jax.tree_util.tree_leaves_with_path(x)
    if sum(np.size(leaf) for _, leaf in named) == 0:
        raise TargetError(
            f"the first argument of {target} holds no numbers, so there is no Hessian. Let {EXAMPLE}() put "
            "first the argument that derivatives are asked for."
        )
    clock = _Clock(progress)
    with target.blamed():
        curvature = nb.curvature(target.function, strategy=strategy, memory_bytes=memory_bytes)(*target.arguments)
        with clock.step("value and gradient"):
            value = float(np.asarray(curvature.value, np.float64))
            gradient = _flat(curvature.gradient)
        with clock.step("diagonal"):
            diagonals = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(curvature.diagonal())]
        with clock.step("trace"):
            trace = float(np.asarray(curvature.trace(), np.float64))
        elements = np.concatenate([d.ravel() for d in diagonals])
        arrays = [np.asarray(leaf) for _, leaf in named]
        leaves = tuple(map(_leaf, _paths(target, x), arrays, diagonals))
        size = sum(leaf.size for leaf in leaves)
        epsilon = max(map(_epsilon, arrays))
        found: Spectrum | None = None if spectrum else (None, Verdict.NOT_ASKED, _blocks_unformed(leaves), "")
        if found is None and size <= DENSE_UP_TO:
            found = _dense_spectrum(curvature, leaves, epsilon, clock)
        if found is None:
            found = _lanczos_spectrum(curvature, x, leaves, epsilon, clock)
        eigenvalues, failure, blocks, question = found
        asked = [each for each in ("diagonal", "trace", question) if each]
        plans = tuple(_answered(each, curvature.plan(each)) for each in asked)
    if not (math.isfinite(value) and np.isfinite(gradient).all() and np.isfinite(elements).all()):
        failure = Verdict.NOT_FINITE
    norm = float(np.linalg.norm(gradient))
    zero_below = _gradient_zero(arrays, eigenvalues, epsilon) if gradient_zero is None else gradient_zero
    return Report(
        target=str(target),
        value=value,
        parameters=size,
        dtypes=tuple(dict.fromkeys(leaf.dtype for leaf in leaves)),
        gradient_norm=norm,
        gradient_zero_below=zero_below,
        stationary=norm <= zero_below,
        leaves=leaves,
        blocks=blocks,
        hessian_bytes=size * sum(array.size * _float_dtype(array).itemsize for array in arrays),
        diagonal_min=float(elements.min()),
        diagonal_max=float(elements.max()),
        trace=trace,
        eigenvalues=eigenvalues,
        verdict=failure or _verdict(norm <= zero_below, eigenvalues),
        plans=plans,
        seconds={"loading": target.seconds, **clock.seconds},
    )


def _answered(question: str, plan: nb.Plan) -> Answered:
    cost = plan.choice.chosen.cost
    able = sum(candidate.answer is not None for candidate in plan.candidates)
    return Answered(question, plan.strategy, able, cost.flops, cost.moved, cost.peak, str(plan))


def _leaf(path: str, array: npt.NDArray[Any], diagonal: Vector) -> Leaf:
    ends = (float(np.min(diagonal)), float(np.max(diagonal))) if diagonal.size else (math.nan, math.nan)
    return Leaf(path, array.shape, _float_dtype(array).name, array.size, *ends, float(diagonal.sum()))


def _float_dtype(array: npt.NDArray[Any]) -> np.dtype[Any]:
    """The dtype in which JAX takes an array: NumPy doubles and Python numbers follow its configuration."""
    return np.dtype(jax.dtypes.canonicalize_dtype(array.dtype))


def _paths(target: Target, x: Any) -> list[str]:
    """Where each leaf stands; an argument that is one array has the parameter's name."""
    named = jax.tree_util.tree_leaves_with_path(x)
    whole = next(iter(inspect.signature(target.function).parameters), "x")
    return [jax.tree_util.keystr(path, simple=True, separator=".") or whole for path, _ in named]


def _epsilon(array: npt.NDArray[Any]) -> float:
    """Relative rounding error of an array's dtype."""
    return float(jax.numpy.finfo(_float_dtype(array)).eps)  # type: ignore[no-untyped-call]


# -- flat vectors ----------------------------------------------------------------------------------


def _flat(tree: Any) -> Vector:
    parts = [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)]
    return np.concatenate(parts) if parts else np.zeros(0)


def _tree(vector: Vector, like: Any) -> Any:
    leaves, structure = jax.tree.flatten(like)
    cuts = np.cumsum([np.size(leaf) for leaf in leaves])[:-1]
    parts = [
        part.reshape(np.shape(leaf)).astype(_float_dtype(np.asarray(leaf)))
        for part, leaf in zip(np.split(vector, cuts), leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, parts)


# -- blocks ----------------------------------------------------------------------------------------


def _blocks_unformed(leaves: Sequence[Leaf]) -> tuple[Block, ...]:
    return tuple(
        Block(row.path, column.path, row.shape + column.shape, None, "not formed")
        for a, row in enumerate(leaves)
        for column in leaves[a:]
    )


def _assembled(leaves: Sequence[Leaf], formed: Sequence[Vector]) -> tuple[tuple[Block, ...], Vector]:
    """Blocks with their structure, and the whole matrix."""
    count = len(leaves)
    rows = []
    blocks = []
    for a, row in enumerate(leaves):
        parts = []
        for b, column in enumerate(leaves):
            part = formed[a * count + b].reshape(row.size, column.size)
            parts.append(part)
            if b >= a:
                blocks.append(_block(row, column, part))
        rows.append(np.concatenate(parts, axis=1))
    return tuple(blocks), np.concatenate(rows)


def _block(row: Leaf, column: Leaf, part: Vector) -> Block:
    nonzeros = int(np.count_nonzero(part))
    square = part.shape[0] == part.shape[1]
    if nonzeros == 0:
        structure = "zero"
    elif part.size > 1 and square and np.count_nonzero(np.diagonal(part)) == nonzeros:
        structure = "diagonal"
    elif nonzeros <= part.size / 4:
        structure = "sparse"
    else:
        structure = "dense"
    return Block(row.path, column.path, row.shape + column.shape, nonzeros, structure)


# -- eigenvalues -----------------------------------------------------------------------------------


Spectrum = tuple[Eigenvalues | None, Verdict | None, tuple[Block, ...], str]


def _dense_spectrum(curvature: nb.Curvature, leaves: Sequence[Leaf], epsilon: float, clock: _Clock) -> Spectrum | None:
    """From the formed Hessian; None if it does not fit the memory bound."""
    try:
        with clock.step("Hessian"):
            formed = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(curvature.dense())]
    except nb.MemoryBoundError:
        if sum(leaf.size for leaf in leaves) < 3:  # too small for Lanczos
            raise
        return None
    blocks, matrix = _assembled(leaves, formed)
    with clock.step("eigenvalues"):
        eigenvalues, failure = _dense_eigenvalues(matrix, epsilon)
    return eigenvalues, failure, blocks, "hessian"


def _lanczos_spectrum(
    curvature: nb.Curvature, x: Any, leaves: Sequence[Leaf], epsilon: float, clock: _Clock
) -> Spectrum:
    """From Hessian-vector products alone."""
    size = sum(leaf.size for leaf in leaves)
    with clock.step("eigenvalues"):
        eigenvalues, failure = _lanczos(lambda v: _flat(curvature @ _tree(v, x)), size, epsilon, clock.progress)
    return eigenvalues, failure, _blocks_unformed(leaves), "hvp"


def _dense_eigenvalues(matrix: Vector, epsilon: float) -> tuple[Eigenvalues | None, Verdict | None]:
    if not np.isfinite(matrix).all():
        return None, Verdict.NOT_FINITE
    scale = float(np.abs(matrix).max())
    rounding = len(matrix) * epsilon
    if np.abs(matrix - matrix.T).max() > 100 * rounding * scale:
        return None, Verdict.ASYMMETRIC
    spectrum = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    low, high = float(spectrum[0]), float(spectrum[-1])
    return Eigenvalues(low, high, "dense", 0.0, 0.0, 0.0, 0, rounding * max(abs(low), abs(high))), None


def _lanczos(
    product: Callable[[Vector], Vector], size: int, epsilon: float, progress: Progress
) -> tuple[Eigenvalues | None, Verdict | None]:
    """Both ends of the spectrum from Hessian-vector products.

    The end of largest absolute value first; then the Hessian is shifted by it, so that the other end becomes
    the largest. So both are found relative to the spectrum's width, also where the other end is zero.
    """
    count = 0

    def counted(v: Vector) -> Vector:
        nonlocal count
        count += 1
        if count % 10 == 0:
            progress(f"eigenvalues: {count} Hessian-vector products")
        return product(np.ravel(v))

    tolerance = max(epsilon ** (2 / 3), 1e-9)
    start = np.random.default_rng(0).standard_normal(size)
    if not np.isfinite(counted(start)).all():
        return None, Verdict.NOT_FINITE
    ends: list[tuple[float, float]] = []
    try:
        for _ in range(2):
            shift = ends[0][0] if ends else 0.0
            operator = LinearOperator(
                (size, size), matvec=lambda v, shift=shift: counted(v) - shift * np.ravel(v), dtype=np.float64
            )
            moved = float(np.linalg.norm(operator @ start)) / float(np.linalg.norm(start))
            if moved <= 4 * epsilon * abs(shift):  # all of the spectrum is here, or the Hessian is zero
                ends.append((shift, moved))
                continue
            found, vectors = eigsh(operator, k=1, which="LM", tol=tolerance, v0=start, maxiter=MOST_RESTARTS)
            value, vector = float(found[0]), vectors[:, 0]
            residual = float(np.linalg.norm(operator @ vector - value * vector))
            ends.append((value + shift, residual))
    except ArpackNoConvergence:
        return None, Verdict.NOT_CONVERGED
    (low, low_residual), (high, high_residual) = sorted(ends)
    zero_below = size * epsilon * max(abs(low), abs(high)) + max(low_residual, high_residual)
    return (
        Eigenvalues(low, high, "lanczos", tolerance, low_residual, high_residual, count, zero_below),
        None,
    )


# -- verdict ---------------------------------------------------------------------------------------


def _gradient_zero(arrays: Sequence[npt.NDArray[Any]], eigenvalues: Eigenvalues | None, epsilon: float) -> float:
    """The gradient counts as zero if the point can be off by no more than ε^(2/3) of its own size.

    (A stationary point that is rounded to the dtype has a gradient of about ε · |λ| · |x|.)
    """
    if eigenvalues is None:
        return 0.0
    length = math.sqrt(sum(float(np.sum(np.square(array.astype(np.float64)))) for array in arrays))
    largest = max(abs(eigenvalues.smallest), abs(eigenvalues.largest))
    return float(epsilon ** (2 / 3)) * largest * max(length, 1.0)


def _verdict(stationary: bool, eigenvalues: Eigenvalues | None) -> Verdict:
    if eigenvalues is None:
        return Verdict.NOT_FINITE
    low = _sign(eigenvalues.smallest, eigenvalues.zero_below)
    high = _sign(eigenvalues.largest, eigenvalues.zero_below)
    match low, high:
        case -1, 1:
            return Verdict.SADDLE if stationary else Verdict.INDEFINITE
        case 1, _:
            return Verdict.MINIMUM if stationary else Verdict.POSITIVE
        case _, -1:
            return Verdict.MAXIMUM if stationary else Verdict.NEGATIVE
        case 0, 0:
            return Verdict.DEGENERATE if stationary else Verdict.FLAT
        case 0, _:
            return Verdict.DEGENERATE if stationary else Verdict.NEVER_NEGATIVE
        case _:
            return Verdict.DEGENERATE if stationary else Verdict.NEVER_POSITIVE


def _sign(value: float, zero_below: float) -> int:
    return 0 if abs(value) <= zero_below else int(math.copysign(1, value))
