"""The compiled programs of one function: methods, points and data are their arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.optimise.choose import Chosen, choose
from nablax.optimise.line import LineSearch
from nablax.optimise.objective import Objective
from nablax.optimise.outcome import Status
from nablax.optimise.sparse_trust_region import SparseTrustRegion
from nablax.optimise.starting import together
from nablax.optimise.state import Method, State, advanced, replaced, started

Function = Callable[..., Any]


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

        self._objective = objective
        self._host = SparseTrustRegion(self._objective)
        self._start = jax.jit(lambda method, x, tol, data: started(method, self._objective(data), x, tol))
        self._advance = jax.jit(self._advanced)
        self._choices: dict[Any, Chosen] = {}
        self._starts: dict[Any, State] = {}

    def _advanced(self, method: Method, state: State, limit: Any, data: Any) -> tuple[State, Any, Any]:
        objective = self._objective(data)
        state = advanced(method, objective, state, limit)
        return state, state.status == Status.running, summary(method, objective, state)

    def choose(self, name: Any, search: LineSearch | None, x: Any, data: Any, bounds: Any, curved: bool) -> Chosen:
        """The method of a name; asked once."""
        key = (name, search)
        try:
            if bounds is None and key in self._choices:
                return self._choices[key]
        except TypeError:  # a minimiser without a hash
            key = (id(name), search)
        objective = self._objective(data)
        c = objective.at(x) if curved else None
        found = choose(name, c, x.size, bounds=bounds, search=search, traced=False, dtype=x.dtype)
        if bounds is None:
            self._choices[key] = found
        return found

    def start(self, method: Method | None, x: Any, tolerance: float, data: Any) -> State:
        """The state before the first look."""
        if method is None:
            return self._host.start(x, tolerance)
        if method.starts_anywhere:
            key = jax.tree.structure(method)
            if key not in self._starts:
                self._starts[key] = self._start(method, x, tolerance, data)
            before = (x, self._starts[key].before[1])
            return replaced(self._starts[key], x=x, before=before, bound=np.asarray(tolerance, x.dtype))
        found: State = self._start(method, x, tolerance, data)
        return found

    def advance(self, method: Method | None, state: State, limit: int, data: Any) -> tuple[State, bool, Any]:
        """The state after the end, or after so many steps in all; whether it has not ended; and its summary."""
        if method is None:
            state, going = self._host.advance(state, limit, data)
            objective = self._objective(data)
            x, gradient = (objective.tree(jnp.asarray(v)) for v in (state.x, state.gradient))
            return state, going, (x, jnp.asarray(state.value), gradient, state.norm, np.nan)
        state, going, found = self._advance(method, state, np.int32(limit), data)
        return state, bool(going), found


def summary(method: Method, objective: Objective, state: State) -> Any:
    """Trees of the best point and of the gradient, value, norm, and the smallest eigenvalue where it is known.

    Args:
        method: the minimiser.
        objective: the function.
        state: where it stands.
    """
    x, value = method.best(state)
    lower = value < state.value
    x, value = jnp.where(lower, x, state.x), jnp.where(lower, value, state.value)
    eigenvalue = jnp.where(lower | state.fresh, jnp.nan, method.eigenvalue(state.kept))
    return objective.tree(x), value, objective.tree(state.gradient), state.norm, eigenvalue
