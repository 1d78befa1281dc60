"""The compiled programs of one function: start, steps and the report are one call, points and data its arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from nablax.optimise.choose import Chosen, choose
from nablax.optimise.host_steps import HostSteps, Stand
from nablax.optimise.line import LineSearch
from nablax.optimise.objective import Counts, Objective
from nablax.optimise.outcome import Status, item_of, number_of
from nablax.optimise.packing import Packing
from nablax.optimise.rounding import rounding
from nablax.optimise.sparse_trust_region import SparseTrustRegion
from nablax.optimise.starting import together
from nablax.optimise.state import Method, State, advanced, either, started
from nablax.optimise.trust_region import SMALL

Function = Callable[..., Any]
# Value, norm of the gradient and smallest eigenvalue.
MEASURES = 3
WHOLE = np.dtype(np.int32)
FLOATS: dict[int, Any] = {4: np.float32, 8: np.float64}
RUNNING = number_of(Status.running)


@lru_cache(maxsize=64)
def on_device(number: float, dtype: Any) -> Any:
    """A number as an array, which a compiled program takes faster.

    Args:
        number: an int or a float.
        dtype: of the array.
    """
    return jnp.asarray(number, dtype)


class Report(NamedTuple):
    """Where a minimiser stands, as the host sees it.

    Args:
        x: tree of the best point.
        value: the function there.
        gradient: there, a tree.
        gradient_norm: its measure.
        smallest_eigenvalue: of the Hessian, where it is known; NaN elsewhere.
        iterations: steps tried.
        counts: what was evaluated.
        status: one of `Status`.
        going: whether it has not ended.
        begins_finite: whether the start was finite.
        state: from which it goes on.
    """

    x: Any
    value: Any
    gradient: Any
    gradient_norm: Any
    smallest_eigenvalue: Any
    iterations: int
    counts: Counts
    status: Any
    going: bool
    begins_finite: bool
    state: Any


class Programs:
    """What is compiled for a function and the shapes of its point.

    Args:
        make: `Objective` or `Residuals`.
        f: the function.
        like: shapes of the point.
        static: the static part of the further arguments.
    """

    def __init__(self, make: Callable[..., Objective], f: Function, like: Any, static: Any) -> None:
        def objective(data: Any) -> Objective:
            return make(f, like, together(data, static))

        self._flat = flat = make(f, like, ())
        self.like, self.size, self.dtype = like, flat.size, flat.dtype
        self.tolerance = rounding(flat.dtype) ** 0.5
        self._structure = jax.tree.structure(like)
        self._objective = objective
        self._choices: dict[Any, tuple[Chosen, Loop]] = {}
        self._wholes: dict[Any, _Whole] = {}

    def choose(
        self, name: Any, search: LineSearch | None, x0: Any, data: Any, bounds: Any, curved: bool
    ) -> tuple[Chosen, Loop]:
        """The method of a name, asked once, and what runs it."""
        key = (name, search)
        try:
            if bounds is None and key in self._choices:
                return self._choices[key]
        except TypeError:  # a minimiser without a hash
            key = (id(name), search)
        objective = self._objective(data)
        x = objective.flat(x0)
        c = objective.at(x) if curved else None
        chosen = choose(name, c, x.size, bounds=bounds, search=search, traced=False, dtype=x.dtype)
        found = chosen, self._loop(chosen.method, c)
        if bounds is None:
            self._choices[key] = found
        return found

    def _loop(self, method: Method, c: Any) -> Loop:
        if isinstance(method, SparseTrustRegion):
            steps = HostSteps(method, self._objective, self._flat, c.places, reported)
            return _HostLoop(steps, self._structure, self.dtype)
        arrays, structure = jax.tree.flatten(method)
        if structure not in self._wholes:
            self._wholes[structure] = _Whole(structure, self._objective, self.size <= SMALL)
        return _CompiledLoop(self._wholes[structure], arrays, self._structure, self.dtype)


class Loop(Protocol):
    """A method at work: from the start, and on."""

    def begin(self, leaves: Any, tolerance: float, limit: int, data: Any) -> Report:
        """The report after the end, or after so many steps."""

    def advance(self, found: Report, limit: int, data: Any) -> Report:
        """The same, from where the last report stood; the limit counts all steps."""


class _Whole:
    """The programs of a method: from a start, and from where it stood, to the end or the limit, with the report.

    A short run is one call of the first. What is long anyway goes through the second from the beginning, so that the
    steps are compiled once.

    Args:
        structure: of the method's tree.
        objective: makes the function from its further arguments.
        short: whether most runs end in the first call.
    """

    def __init__(self, structure: Any, objective: Callable[[Any], Objective], short: bool) -> None:
        def state_of(arrays: Any, leaves: Any, tolerance: Any, data: Any) -> State:
            own, method = objective(data), jax.tree.unflatten(structure, arrays)
            x = own.flat(jax.tree.unflatten(jax.tree.structure(own.like), leaves))
            return started(method, own, x, tolerance)

        def packed_start(arrays: Any, leaves: Any, tolerance: Any, data: Any) -> Any:
            state = state_of(arrays, leaves, tolerance, data)
            return Packing(state).packed(state)

        def run(arrays: Any, state: State, limit: Any, data: Any) -> tuple[Any, ...]:
            own, method = objective(data), jax.tree.unflatten(structure, arrays)
            finite = jnp.all(jnp.isfinite(state.x))
            state = advanced(method, own, state, limit)
            return *reported(method, own, state, finite), Packing(state).packed(state)

        def from_start(arrays: Any, leaves: Any, tolerance: Any, limit: Any, data: Any) -> tuple[Any, ...]:
            return run(arrays, state_of(arrays, leaves, tolerance, data), limit, data)

        def from_state(arrays: Any, like: Any, packed: Any, limit: Any, data: Any) -> tuple[Any, ...]:
            packing = Packing(jax.eval_shape(state_of, arrays, like, 0.0, data))
            return run(arrays, packing.unpacked(packed), limit, data)

        self._from_start, self._from_state = jax.jit(from_start), jax.jit(from_state)
        self._packed_start, self._short = jax.jit(packed_start), short

    def begun(self, arrays: Any, leaves: Any, tolerance: Any, limit: int, data: Any) -> tuple[Any, ...]:
        """The report in bits, leaves of the point and of the gradient, and the state."""
        if self._short and limit > 1:
            found: tuple[Any, ...] = self._from_start(arrays, leaves, tolerance, on_device(limit, WHOLE), data)
            return found
        return self.resumed(arrays, leaves, self._packed_start(arrays, leaves, tolerance, data), limit, data)

    def resumed(self, arrays: Any, leaves: Any, packed: Any, limit: int, data: Any) -> tuple[Any, ...]:
        """The same from a state; of the leaves, only the shapes count."""
        found: tuple[Any, ...] = self._from_state(arrays, leaves, packed, on_device(limit, WHOLE), data)
        return found


@dataclass(frozen=True)
class _CompiledLoop:
    whole: _Whole
    arrays: Any
    structure: Any
    dtype: Any

    def begin(self, leaves: Any, tolerance: float, limit: int, data: Any) -> Report:
        return self._told(leaves, self.whole.begun(self.arrays, leaves, on_device(tolerance, self.dtype), limit, data))

    def advance(self, found: Report, limit: int, data: Any) -> Report:
        leaves, packed = found.state
        return self._told(leaves, self.whole.resumed(self.arrays, leaves, packed, limit, data))

    def _told(self, leaves: Any, found: tuple[Any, ...]) -> Report:
        *arrays, packed = found
        return _report(arrays, self.structure, self.dtype, (leaves, packed))


@dataclass(frozen=True)
class _HostLoop:
    steps: HostSteps
    structure: Any
    dtype: Any

    def begin(self, leaves: Any, tolerance: float, limit: int, data: Any) -> Report:
        x = jax.tree.unflatten(self.structure, leaves)
        stand = self.steps.looked(x, on_device(tolerance, self.dtype), data)
        return self._told(self.steps.advanced(stand, limit, data))

    def advance(self, found: Report, limit: int, data: Any) -> Report:
        return self._told(self.steps.advanced(found.state, limit, data))

    def _told(self, stand: Stand) -> Report:
        return _report(self.steps.told(stand), self.structure, self.dtype, stand)


def _report(arrays: Any, structure: Any, dtype: Any, state: Any) -> Report:
    bits, x, gradient = arrays
    whole = np.asarray(bits)  # here the host waits; the point and the gradient stay where they are
    status, finite, iterations, *counts = whole[:-MEASURES].tolist()
    value, norm, eigenvalue = whole[-MEASURES:].view(FLOATS[whole.itemsize]).astype(dtype, copy=False)
    return Report(
        jax.tree.unflatten(structure, x),
        value,
        jax.tree.unflatten(structure, gradient),
        norm,
        eigenvalue,
        iterations,
        Counts(*counts),
        item_of(status),
        status == RUNNING,
        bool(finite),
        state,
    )


def reported(method: Method, objective: Objective, state: State, finite: Any) -> tuple[Any, Any, Any]:
    """What the host is told: a report's numbers as one array of bits, leaves of the point and of the gradient.

    Each array that is brought to the host takes its time.

    Args:
        method: the minimiser.
        objective: the function.
        state: where it stands.
        finite: whether the start was finite.
    """
    best, value, gradient, norm, eigenvalue = summary(method, objective, state)
    [status] = jax.tree.leaves(state.status)
    numbers = [status, finite, state.iteration, *jax.tree.leaves(state.counts)]
    whole = jnp.stack([jnp.asarray(one).astype(int) for one in numbers])
    measures = jnp.stack([jnp.asarray(one).astype(float) for one in (value, norm, eigenvalue)])
    bits = jnp.concatenate([whole, jax.lax.bitcast_convert_type(measures, whole.dtype)])
    return bits, jax.tree.leaves(best), jax.tree.leaves(gradient)


def summary(method: Method, objective: Objective, state: State) -> Any:
    """Tree of the best point, value, tree of the gradient, norm, and the smallest eigenvalue where it is known.

    Args:
        method: the minimiser.
        objective: the function.
        state: where it stands.
    """
    best = method.best(state)
    lower = (best[1] < state.value) & (state.status != Status.converged)
    x, value, gradient = either(lower, best, (state.x, state.value, state.gradient))
    norm = jnp.where(lower, method.measure(objective, x, gradient), state.norm)
    eigenvalue = jnp.where(lower | state.fresh, jnp.nan, method.eigenvalue(state.kept))
    return objective.tree(x), value, objective.tree(gradient), norm, eigenvalue
