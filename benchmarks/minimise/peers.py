"""Minimisers under one interface: each runs from a start until the gradient is small, and says what it took."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix
import scipy.optimize
from jax.flatten_util import ravel_pytree

import nablax as nb

MOST_ITERATIONS = 1000
SHARE = 1e-6  # ‖∇f‖∞ ≤ 1e-6 · max(1, ‖∇f₀‖∞)
LARGEST_DENSE = 3_000  # unknowns up to which methods that hold an n × n matrix are run


@dataclass(frozen=True)
class Run:
    """What a minimiser did.

    Attributes:
        solved: the gradient is small enough at the end.
        value: of the function there.
        evaluations: points at which f, or f and its gradient, was evaluated.
        second: Hessians, or Hessian-vector products.
        seconds: processor time.
        note: why it ended, where it is not solved.
    """

    solved: bool
    value: float
    evaluations: int
    second: int
    seconds: float
    note: str = ""


class _Done(Exception):
    """The gradient is small enough, or the time is over."""


class Compiled:
    """A problem as each solver takes it: a function of a flat vector, the start on the host and on the device.

    Its derivatives are compiled once for SciPy.
    """

    def __init__(self, objective: Callable[..., Any], start: Any, arguments: Any) -> None:
        flat, unravel = ravel_pytree(start)
        self.start, self.on_device = np.asarray(flat), flat
        self.arguments = arguments
        f = lambda x, a: objective(unravel(x), a)
        self.flat = f
        self._value = jax.jit(jax.value_and_grad(f))
        self._hessian = jax.jit(jax.hessian(f))
        self._product = jax.jit(lambda x, v, a: jax.jvp(lambda y: jax.grad(f)(y, a), (x,), (v,))[1])

    def value(self, x: Any) -> tuple[float, Any]:
        value, slope = self._value(x, self.arguments)
        return float(value), np.asarray(slope)

    def hessian(self, x: Any) -> Any:
        return np.asarray(self._hessian(x, self.arguments))

    def product(self, x: Any, v: Any) -> Any:
        return np.asarray(self._product(x, v, self.arguments))


def bound_of(gradient: Any) -> float:
    return SHARE * max(1.0, float(np.max(np.abs(gradient))))


def scipy_run(problem: Compiled, method: str, limit: float) -> Run:
    begin, wall = time.process_time(), time.perf_counter()
    count, second = 0, 0
    bound: float | None = None
    kept: tuple[Any, float, Any] | None = None
    last: dict[str, Any] = {"value": np.nan, "note": ""}

    def both(x: Any) -> tuple[float, Any]:
        nonlocal count, bound, kept
        if kept is not None and np.array_equal(kept[0], x):
            return kept[1], kept[2]
        value, slope = problem.value(x)
        count += 1
        bound = bound_of(slope) if bound is None else bound
        kept = (np.array(x), value, slope)
        if np.isfinite(value) and np.max(np.abs(slope)) <= bound:
            last.update(value=value, note="solved")
            raise _Done
        if time.perf_counter() - wall > limit:
            last.update(value=value, note="time")
            raise _Done
        return value, slope

    def hessian(x: Any) -> Any:
        nonlocal second
        second += 1
        return problem.hessian(x)

    def product(x: Any, v: Any) -> Any:
        nonlocal second
        second += 1
        return problem.product(x, v)

    options: dict[str, Any] = {"maxiter": MOST_ITERATIONS}
    more: dict[str, Any] = {}
    if method == "L-BFGS-B":
        options |= {"ftol": 0.0, "gtol": 0.0, "maxfun": 100 * MOST_ITERATIONS}
    elif method == "Newton-CG":
        options |= {"xtol": 0.0}
        more["hessp"] = product
    else:
        options |= {"gtol": 0.0}
    if method == "trust-exact":
        more["hess"] = hessian
    elif method == "trust-krylov":
        more["hessp"] = product
    try:
        with np.errstate(all="ignore"):
            found = scipy.optimize.minimize(both, problem.start, method=method, jac=True, options=options, **more)
        last.update(value=float(found.fun), note=str(found.message)[:40])
    except _Done:
        pass
    except (ValueError, np.linalg.LinAlgError, ArithmeticError) as error:
        last.update(note=type(error).__name__)
    return Run(
        last["note"] == "solved", last["value"], count, second, time.process_time() - begin,
        "" if last["note"] == "solved" else last["note"],
    )  # fmt: skip


def nablax_run(problem: Compiled, method: str, limit: float) -> Run:
    begin = time.process_time()
    found = nb.minimise(
        problem.flat, problem.on_device, problem.arguments, method=method, tol=SHARE, max_iterations=MOST_ITERATIONS,
        max_seconds=limit, progress=False,
    )  # fmt: skip
    seconds = time.process_time() - begin
    counts = found.counts
    # a point is counted once, whether f alone was asked there or also its gradient: every trial, and the start
    points = max(int(counts.values) + 1, int(counts.gradients))
    note = "" if bool(found.converged) else nb.optimise.told(found.status).partition(";")[0].partition(".")[0]
    return Run(
        bool(found.converged), float(found.value), points, int(counts.hessians) + int(counts.products), seconds, note
    )


def optimistix_run(problem: Compiled, method: str, limit: float) -> Run:
    if problem.start.size > LARGEST_DENSE:
        return Run(False, np.nan, 0, 0, 0.0, "not run: holds an n × n matrix")
    begin = time.process_time()
    found = _bfgs(problem)(problem.on_device, problem.arguments)
    x, steps = jax.block_until_ready(found)
    seconds = time.process_time() - begin
    return _judged(problem, x, int(steps), seconds)


def optax_run(problem: Compiled, method: str, limit: float) -> Run:
    begin = time.process_time()
    x, count = jax.block_until_ready(_lbfgs(problem)(problem.on_device, problem.arguments))
    return _judged(problem, x, int(count), time.process_time() - begin)


def _judged(problem: Compiled, x: Any, count: int, seconds: float) -> Run:
    _, first = problem.value(problem.start)
    value, slope = problem.value(np.asarray(x))
    solved = bool(np.isfinite(value) and np.max(np.abs(slope)) <= bound_of(first))
    return Run(solved, value, count, 0, seconds, "" if solved else "gradient not small")


def _remembered(problem: Compiled, name: str, make: Callable[[], Any]) -> Any:
    if not hasattr(problem, name):
        setattr(problem, name, make())
    return getattr(problem, name)


def _bfgs(problem: Compiled) -> Any:
    def made() -> Any:
        solver = optimistix.BFGS(rtol=1e-10, atol=1e-10)

        def run(x: Any, a: Any) -> Any:
            found = optimistix.minimise(problem.flat, solver, x, a, max_steps=MOST_ITERATIONS, throw=False)
            return found.value, found.stats["num_steps"]

        return jax.jit(run)

    return _remembered(problem, "_bfgs", made)


def _lbfgs(problem: Compiled) -> Any:
    def made() -> Any:
        solver = optax.lbfgs()

        def run(x: Any, a: Any) -> Any:
            f = lambda y: problem.flat(y, a)
            both = optax.value_and_grad_from_state(f)
            bound = SHARE * jnp.maximum(1.0, jnp.max(jnp.abs(jax.grad(f)(x))))

            def going(carry: Any) -> Any:
                _, _, count, _, size = carry
                return (count < MOST_ITERATIONS) & (size > bound)

            def step(carry: Any) -> Any:
                x, state, count, evaluations, _ = carry
                value, slope = both(x, state=state)
                updates, state = solver.update(slope, state, x, value=value, grad=slope, value_fn=f)
                x = optax.apply_updates(x, updates)
                tried = optax.tree_utils.tree_get(state, "num_linesearch_steps")
                size = jnp.max(jnp.abs(optax.tree_utils.tree_get(state, "grad")))
                return x, state, count + 1, evaluations + tried, size

            x, _, _, evaluations, _ = jax.lax.while_loop(going, step, (x, solver.init(x), 0, 1, jnp.inf))
            return x, evaluations

        return jax.jit(run)

    return _remembered(problem, "_lbfgs", made)


SOLVERS: dict[str, Callable[[Compiled, float], Run]] = {
    "nablax auto": lambda p, limit: nablax_run(p, "auto", limit),
    "SciPy BFGS": lambda p, limit: scipy_run(p, "BFGS", limit),
    "SciPy L-BFGS-B": lambda p, limit: scipy_run(p, "L-BFGS-B", limit),
    "SciPy Newton-CG": lambda p, limit: scipy_run(p, "Newton-CG", limit),
    "SciPy trust-exact": lambda p, limit: scipy_run(p, "trust-exact", limit),
    "SciPy trust-krylov": lambda p, limit: scipy_run(p, "trust-krylov", limit),
    "optimistix BFGS": lambda p, limit: optimistix_run(p, "BFGS", limit),
    "optax L-BFGS": lambda p, limit: optax_run(p, "L-BFGS", limit),
}
DENSE = ("SciPy BFGS", "SciPy trust-exact", "optimistix BFGS")
