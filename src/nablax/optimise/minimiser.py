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
import numpy as np
from rich.console import Console
from rich.status import Status as Line

from nablax.errors import ArgumentError
from nablax.optimise.choose import LEAST_SQUARES, Chosen, choose
from nablax.optimise.least_squares import LeastSquares, Residuals
from nablax.optimise.line import LineSearch
from nablax.optimise.objective import Objective
from nablax.optimise.outcome import Status, first_of
from nablax.optimise.programs import Programs, summary
from nablax.optimise.remembered import Remembered, is_traced
from nablax.optimise.result import Optimum
from nablax.optimise.rounding import rounding
from nablax.optimise.sparse_trust_region import NAME
from nablax.optimise.starting import apart, check_finite, check_limits, check_output, checked_bounds, checked_start
from nablax.optimise.state import Method, State, advanced, replaced, started
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

    A step is compiled once, with the function in it; all points and all data run through the same program. Under `jit`,
    `vmap` and `grad` (of other arguments) the whole minimisation is traced; there are then no limit of time, no
    callback, and no factors on the host.

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
        >>> found = minimise(lambda x, a: (x[0] - 1) ** 2 + a * (x[1] - x[0] ** 2) ** 2, jnp.array([-1.0, 1.0]), 10.0)
        >>> bool(jnp.all(jnp.abs(found.x - 1) < 1e-3)), bool(found.converged)
        (True, True)
        >>> found.method, found.reason
        ('trust-region', '2 unknowns: all eigenvalues of the Hessian cost next to nothing')

    Source:
        Nocedal and Wright 2006, chapters 3 to 7 and 10; Conn, Gould and Toint 2000; Cartis, Gould and Toint 2011.
    """
    if not callable(f):
        raise ArgumentError.no_function("minimise", f)
    begin = time.perf_counter()
    residuals = method in LEAST_SQUARES if isinstance(method, str) else isinstance(method, LeastSquares)
    like = checked_start(x0)
    check_limits(tol, max_iterations, max_seconds)
    data, static = apart(args)
    make = Residuals if residuals else Objective
    objective = make(f, like, args)
    start = objective.flat(x0)
    traced = is_traced(start, data)
    tolerance = rounding(start.dtype) ** 0.5 if tol is None else tol
    flat_bounds = None if bounds is None else checked_bounds(bounds, objective, x0)
    if flat_bounds is not None:
        start = jnp.clip(start, *flat_bounds)
    if traced:
        check_output(f, x0, args, residuals)
        c = None if residuals else objective.at(start)
        chosen = choose(method, c, start.size, bounds=flat_bounds, search=search, traced=True, dtype=start.dtype)
        assert chosen.method is not None
        first = started(chosen.method, objective, start, tolerance)
        state = advanced(chosen.method, objective, first, max_iterations)
        return _result(state, chosen, summary(chosen.method, objective, state), None)
    check_finite(start)

    def compiled(own: Function) -> Programs:
        check_output(f, x0, args, residuals)
        return Programs(make, own, like, static)

    leaves, structure = jax.tree.flatten(like)
    key = (make, static, structure, tuple((leaf.shape, leaf.dtype.name) for leaf in leaves))
    programs: Programs = _PROGRAMS.get(f, key, compiled)
    chosen = programs.choose(method, search, start, data, flat_bounds, not residuals)
    run = _Run(programs, chosen.method, data, objective)
    state, found = run.driven(start, tolerance, max_iterations, max_seconds, callback, progress)
    if int(state.iteration) == 0 and not np.isfinite(float(state.norm) + float(state.value)):
        what = "gradient" if np.isfinite(float(state.value)) else "value"
        raise ArgumentError(
            f"minimise was asked to begin at a point where the {what} of the function is not finite (its value "
            f"there is {float(state.value):g}). Begin inside the function's domain."
        )
    return _result(state, chosen, found, time.perf_counter() - begin)


_PROGRAMS = Remembered()


@dataclass(frozen=True)
class _Run:
    """One minimisation: its programs, and what they are called with."""

    programs: Programs
    method: Method | None
    data: Any
    objective: Objective

    def driven(
        self,
        start: Any,
        tolerance: float,
        max_iterations: int,
        max_seconds: float | None,
        callback: Callback | None,
        progress: bool,
    ) -> tuple[State, Any]:
        """The last state that was reached, and its summary."""
        begin = time.perf_counter()
        state = self.programs.start(self.method, start, tolerance, self.data)
        # what is small is done before an interrupt could matter
        stride = 1 if callback is not None or start.size > SMALL else FIRST_STRIDE
        limit, going, found = 0, True, None
        with _progress(progress) as tell:
            try:
                while going and limit < max_iterations:
                    first, limit = limit == 0, min(limit + stride, max_iterations)
                    before = time.perf_counter()
                    state, going, found = self.programs.advance(self.method, state, limit, self.data)
                    now = time.perf_counter()
                    if callback is None:
                        # the first call was compiled, too: its time says nothing
                        stride = FIRST_STRIDE if first else _stride(stride, now - before)
                    elif callback(self._told(state)):
                        return replaced(state, status=INTERRUPTED), found
                    tell(state, now - begin)
                    if going and max_seconds is not None and now - begin > max_seconds:
                        return replaced(state, status=LATE), found
            except KeyboardInterrupt:
                if found is None:  # not even the first step was reached
                    raise
                return replaced(state, status=INTERRUPTED), found
        return (replaced(state, status=EXHAUSTED) if going else state), found

    def _told(self, state: State) -> Iteration:
        x = self.objective.tree(jnp.asarray(state.x))
        return Iteration(int(state.iteration), x, float(state.value), float(state.norm))


def _stride(stride: int, seconds: float) -> int:
    """Steps until the next return: as many as fit into the patience, and no sudden growth."""
    return int(min(max(1, stride * PATIENCE / max(seconds, 1e-6)), 8 * stride, 1 << 20))


def _result(state: State, chosen: Chosen, found: Any, seconds: float | None) -> Optimum:
    x, value, gradient, norm, eigenvalue = found
    status = state.status
    if seconds is None:
        status = first_of(Status, (status == Status.running, Status.max_iterations), otherwise=status)
    name = NAME if chosen.method is None else chosen.method.name
    return Optimum(
        x, value, gradient, norm, eigenvalue, state.iteration, state.counts, status, seconds, name, chosen.reason
    )


@contextmanager
def _progress(wanted: bool) -> Iterator[Callable[[State, float], None]]:
    """A line on standard error, once a run has taken a while."""
    if not (wanted and sys.stderr.isatty()):
        yield lambda state, seconds: None
        return
    line = Line("", console=Console(stderr=True))

    def tell(state: State, seconds: float) -> None:
        if seconds > SECONDS_BEFORE_PROGRESS:
            shown = (
                f"{int(state.iteration)} iterations, value {float(state.value):.6g}, gradient {float(state.norm):.1e}"
            )
            line.update(shown)
            line.start()

    try:
        yield tell
    finally:
        line.stop()
