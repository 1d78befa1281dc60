"""The front of the minimisers: checks, the choice of a method, and the loop around the compiled steps."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.status import Status as Line

from nablax.errors import ArgumentError
from nablax.ops.jaxprs import closed
from nablax.optimise.choose import LEAST_SQUARES, choose
from nablax.optimise.least_squares import LeastSquares, Residuals
from nablax.optimise.line import LineSearch
from nablax.optimise.objective import Objective
from nablax.optimise.outcome import Status, first_of, is_item
from nablax.optimise.programs import Loop, Programs, Report, summary
from nablax.optimise.remembered import Remembered, is_traced
from nablax.optimise.result import Optimum
from nablax.optimise.rounding import rounding
from nablax.optimise.sensitivity import known, minimum, slope, still, untold
from nablax.optimise.starting import (
    apart,
    arrays_of,
    check_begun,
    check_limits,
    check_output,
    checked_bounds,
    checked_start,
    shapes_of,
)
from nablax.optimise.state import advanced, started
from nablax.optimise.trust_region import SMALL

Function = Callable[..., Any]
Callback = Callable[["Iteration"], Any]
# Between two returns from compiled code, in which interrupts, limits of time and progress are heeded (seconds).
PATIENCE = 0.2
SECONDS_BEFORE_PROGRESS = 2.0
# Steps of the first compiled calls, before it is known how long a step takes; one where steps may be long.
FIRST_STRIDE = 64
INTERRUPTED: Any = Status.interrupted
LATE: Any = Status.max_seconds
EXHAUSTED: Any = Status.max_iterations


@dataclass(frozen=True)
class Iteration:
    """What a callback is told.

    Args:
        number: steps tried so far.
        x: the point, a tree like the start.
        value: the function there.
        gradient_norm: as in `Optimum`.
    """

    number: int
    x: Any
    value: float
    gradient_norm: float


def minimise(
    f: Function,
    x0: Any,
    *args: Any,
    method: Any = "auto",
    search: LineSearch | None = None,
    bounds: tuple[Any, Any] | None = None,
    tol: float | None = None,
    max_iterations: int = 1000,
    max_seconds: float | None = None,
    callback: Callback | None = None,
    progress: bool = True,
) -> Optimum:
    """A local minimum of a function, by its exact derivatives.

    All iterations happen in one compiled program, with the function in it; all points and all data run through it. (A
    run of few unknowns that takes more than 64 steps is resumed by a second program.) Under `jit`, `vmap`, `grad` and
    `jvp` the whole minimisation is traced; there are then no limit of time, no callback, and no factors on the host.
    How the minimum moves with `args`, and with all else that `f` refers to, follows from ∇f = 0 there (the implicit
    function theorem), in both modes and to any order; NaN where the run has not converged, and for what is told of the
    run, such as the smallest eigenvalue. The derivative by `x0` is zero.

    Programs are kept with the function, or with the object of a bound method, and are forgotten with it. A method's
    programs are made anew where an attribute of its object was replaced; an array that is written to in place is not
    noticed, as `jax.jit` does not notice it.

    Args:
        f: function of `x` and `args` with one number as result; for "gauss-newton" and "levenberg-marquardt" its
            result are residuals r, any tree of arrays, and ½‖r‖² is minimised.
        x0: the start, a tree of floating-point arrays.
        args: further arguments of `f`; arrays and floats are data, ints, bools and strings are static.
        method: "auto" chooses by size and structure of the Hessian, and says why in the result. Or "newton" (line
            search; negative curvature is followed), "trust-region" (Moré and Sorensen; dense or sparse factors),
            "steihaug" (trust region by truncated conjugate gradients on products), "cubic" (adaptive cubic
            regularisation), "newton-cg", "gauss-newton", "levenberg-marquardt", "gradient-descent",
            "projected-newton" (with bounds), "bfgs" (of optimistix), "l-bfgs" (of optax). Also a minimiser of
            optimistix, or a gradient transformation of optax.
        search: a line search, for the methods that have one: `optimise.Backtracking`, `Bracketing`, `MoreThuente` or
            `HagerZhang`.
        bounds: lower and upper bounds on `x`, each a tree like `x0` or a number for all; infinities for none. A start
            outside of them is moved to the nearest point inside.
        tol: the end is where ‖∇f(x)‖ ≤ tol · max(1, ‖∇f(x₀)‖), norms being the largest component; None for √ε.
        max_iterations: limit on the steps.
        max_seconds: limit on the time (seconds), heeded between compiled steps.
        callback: called with an `Iteration` after each step; where it returns True, the run ends as if interrupted.
        progress: whether a line tells of a run that takes more than two seconds, where standard error is a terminal.

    Returns:
        An `Optimum`. Ctrl-C ends the run, not the program: the best point so far is in the result, and the status says
        so.

    Raises:
        ArgumentError: a start that is not finite, or not of floats; `f` not finite at the start; bounds that do not fit
            or are out of order; a limit or tolerance that is not positive.
        OutputError: `f` does not return one real number.
        StrategyError: no such method, or one that does not go with `bounds` or `search`.

    Example:
        >>> def f(x, a):
        ...     return (x[0] - 1) ** 2 + a * (x[1] - x[0] ** 2) ** 2
        >>> found = minimise(f, jnp.array([-1.0, 1.0]), 10.0, tol=1e-5)
        >>> bool(jnp.all(jnp.abs(found.x - 1) < 1e-3)), bool(found.converged)
        (True, True)
        >>> found.method, found.reason
        ('trust-region', '2 unknowns: all eigenvalues of the Hessian cost next to nothing')

        The minimum of (x − a)² + x is at a − ½, and its value is a − ¼:

        >>> g = lambda x, a: (x - a) ** 2 + x
        >>> jax.grad(lambda a: minimise(g, 0.0, a).x)(3.0), jax.grad(lambda a: minimise(g, 0.0, a).value)(3.0)
        (Array(1., dtype=float32, weak_type=True), Array(1., dtype=float32, weak_type=True))

    Source:
        Nocedal and Wright 2006, chapters 3 to 7 and 10; Conn, Gould and Toint 2000; Cartis, Gould and Toint 2011.
    """
    if not callable(f):
        raise ArgumentError.no_function("minimise", f)
    begin = time.perf_counter()
    residuals = method in LEAST_SQUARES if isinstance(method, str) else isinstance(method, LeastSquares)
    check_limits(tol, max_iterations, max_seconds)
    data, static = apart(args)
    leaves, structure = jax.tree.flatten(x0)
    make = Residuals if residuals else Objective

    def compiled(own: Function) -> Programs | None:
        like = checked_start(x0)
        whole = closed(lambda x: f(x, *args), (like,))
        check_output(whole.output, residuals)
        return None if is_traced(whole.referred) else Programs(make, own, like, static)

    programs: Programs | None = None
    if not is_traced(leaves, data, bounds, tol):
        leaves = arrays_of(leaves)
        programs = _PROGRAMS.get(f, (make, static, structure, shapes_of(leaves)), compiled)
    if programs is None:
        return _traced(make, f, x0, args, method, search, bounds, tol, max_iterations)
    flat_bounds = None
    if bounds is not None:
        objective = make(f, programs.like, args)
        flat_bounds = checked_bounds(bounds, objective, x0)
        x0 = objective.tree(jnp.clip(objective.flat(x0), *flat_bounds))
        leaves = jax.tree.leaves(x0)
    chosen, loop = programs.choose(method, search, x0, data, flat_bounds, not residuals)
    tolerance = programs.tolerance if tol is None else float(tol)
    # what is small is done before an interrupt could matter
    stride = 1 if callback is not None or programs.size > SMALL else FIRST_STRIDE
    limit = min(stride, max_iterations)
    found = loop.begin(leaves, tolerance, limit, data)
    check_begun(leaves, found)
    status = found.status
    if found.going or callback is not None:
        run = _Run(loop, data, max_iterations, max_seconds, callback, begin)
        with _progress(progress) as tell:
            found, status = run.driven(found, stride, limit, tell)
    return Optimum(
        found.x,
        found.value,
        found.gradient,
        found.gradient_norm,
        found.smallest_eigenvalue,
        found.iterations,
        found.counts,
        status,
        time.perf_counter() - begin,
        chosen.name,
        chosen.reason,
    )


_PROGRAMS = Remembered()


def _traced(
    make: Any, f: Function, x0: Any, args: Any, name: Any, search: Any, bounds: Any, tol: Any, max_iterations: int
) -> Optimum:
    """The whole minimisation inside a transformation: no limit of time, no callback, nothing on the host."""
    like = checked_start(x0)
    check_output(closed(lambda x: f(x, *args), (like,)).output, make is Residuals)
    objective = make(f, like, args)
    start = objective.flat(x0)
    flat_bounds = None if bounds is None else checked_bounds(bounds, objective, x0)
    if flat_bounds is not None:
        start = jnp.clip(start, *flat_bounds)
    c = None if make is Residuals else objective.at(start)
    chosen = choose(name, c, start.size, bounds=flat_bounds, search=search, traced=True, dtype=start.dtype)
    tolerance = rounding(start.dtype) ** 0.5 if tol is None else tol

    def run(start: Any) -> Any:
        state = advanced(chosen.method, objective, started(chosen.method, objective, start, tolerance), max_iterations)
        status = first_of(Status, (state.status == Status.running, Status.max_iterations), otherwise=state.status)
        x, value, gradient, norm, eigenvalue = summary(chosen.method, objective, state)
        found = objective.flat(x), value, objective.flat(gradient), norm, eigenvalue
        return *found, state.iteration, state.counts, status

    x, value, gradient, *rest = still(run, start)
    function = closed(objective.value, (start,))
    x = minimum(function, x, is_item(rest[-1], Status.converged), flat_bounds)
    norm, eigenvalue, iterations, counts, status = untold(rest, x)
    return Optimum(
        objective.tree(x),
        known(function, value, x),
        objective.tree(known(slope(function), gradient, x)),
        norm,
        eigenvalue,
        iterations,
        counts,
        status,
        None,
        chosen.name,
        chosen.reason,
    )


@dataclass(frozen=True)
class _Run:
    """What is left of a minimisation, in stretches of compiled steps."""

    loop: Loop
    data: Any
    max_iterations: int
    max_seconds: float | None
    callback: Callback | None
    begin: float

    def driven(
        self, found: Report, stride: int, limit: int, tell: Callable[[Report, float], None]
    ) -> tuple[Report, Any]:
        """The last report, and why it is the last."""
        try:
            while True:
                now = time.perf_counter()
                if self.callback is not None and self.callback(_told(found)):
                    return found, INTERRUPTED
                if not found.going:
                    return found, found.status
                if limit >= self.max_iterations:
                    return found, EXHAUSTED
                tell(found, now - self.begin)
                if self.max_seconds is not None and now - self.begin > self.max_seconds:
                    return found, LATE
                limit = min(limit + stride, self.max_iterations)
                found = self.loop.advance(found, limit, self.data)
                if self.callback is None:
                    stride = _stride(stride, time.perf_counter() - now)
        except KeyboardInterrupt:
            return found, INTERRUPTED


def _told(found: Report) -> Iteration:
    return Iteration(found.iterations, found.x, float(found.value), float(found.gradient_norm))


def _stride(stride: int, seconds: float) -> int:
    """Steps until the next return: as many as fit into the patience, and no sudden growth."""
    return int(min(max(1, stride * PATIENCE / max(seconds, 1e-6)), 8 * stride, 1 << 20))


@contextmanager
def _progress(wanted: bool) -> Iterator[Callable[[Report, float], None]]:
    """A line on standard error, once a run has taken a while."""
    if not (wanted and sys.stderr.isatty()):
        yield lambda found, seconds: None
        return
    line = Line("", console=Console(stderr=True))

    def tell(found: Report, seconds: float) -> None:
        if seconds > SECONDS_BEFORE_PROGRESS:
            value, norm = float(found.value), float(found.gradient_norm)
            shown = f"{found.iterations} iterations, value {value:.6g}, gradient {norm:.1e}"
            line.update(shown)
            line.start()

    try:
        yield tell
    finally:
        line.stop()
