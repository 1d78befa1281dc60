"""The loop around steps that the host finds by sparse factors: each step is one call of one compiled program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nablax.optimise.objective import Objective
from nablax.optimise.outcome import Status, number_of
from nablax.optimise.packing import Packing
from nablax.optimise.sparse_factor import Pattern, step_in_ball
from nablax.optimise.sparse_trust_region import SparseTrustRegion
from nablax.optimise.state import State, advanced, replaced, started

RUNNING = number_of(Status.running)


class Stand(NamedTuple):
    """Where the loop stands.

    Args:
        iteration: steps tried.
        going: whether it has not ended.
        lost: whether the next step goes back to the best point.
        radius: of the ball.
        gradient: at the point, shape (n,).
        values: of the Hessian there.
        packed: the state.
    """

    iteration: int
    going: bool
    lost: bool
    radius: float
    gradient: Any
    values: Any
    packed: Any


class HostSteps:
    """The compiled programs between the host's steps.

    Args:
        method: the trust region.
        objective: makes the function from its further arguments.
        flat: the same without arguments, for what does not evaluate it.
        places: row and column of each value of the Hessian, shape (values, 2).
        told: from the method, the objective, a state and whether it is finite, arrays for the host.
    """

    def __init__(
        self,
        method: SparseTrustRegion,
        objective: Callable[[Any], Objective],
        flat: Objective,
        places: Any,
        told: Callable[[SparseTrustRegion, Objective, State, Any], Any],
    ) -> None:
        def start(x: Any, tolerance: Any) -> State:
            return started(method, flat, flat.flat(x), tolerance)

        packing = Packing(jax.eval_shape(start, flat.like, 0.0))

        def stepped(packed: Any, step: Any, predicted: Any, factors: Any, limit: Any, data: Any) -> tuple[Any, ...]:
            state: State = packing.unpacked(packed)
            kept = state.kept.with_step(step, predicted, factors)
            state = advanced(method, objective(data), replaced(state, kept=kept), limit)
            [status] = jax.tree.leaves(state.status)
            numbers = (state.iteration, status, state.kept.past.lost)
            whole = jnp.stack([jnp.asarray(one).astype(int) for one in numbers])
            return whole, state.kept.radius, state.gradient, state.kept.values, packing.packed(state)

        def reported(packed: Any) -> Any:
            state: State = packing.unpacked(packed)
            return told(method, flat, state, jnp.all(jnp.isfinite(state.x)))

        self._start = jax.jit(lambda x, tolerance: packing.packed(start(x, tolerance)))
        self._stepped = jax.jit(stepped)
        self._told = jax.jit(reported)
        self._pattern = Pattern(places[:, 0], places[:, 1], flat.size)
        self._dtype, self._whole = np.dtype(flat.dtype), np.asarray(jnp.asarray(0)).dtype
        self._nothing = np.zeros(flat.size)

    def looked(self, x: Any, tolerance: Any, data: Any) -> Stand:
        """At the start, a tree, once it was looked at."""
        return self._after(self._start(x, tolerance), self._nothing, 0.0, 0, 0, data)

    def advanced(self, stand: Stand, limit: int, data: Any) -> Stand:
        """After the end, or after so many steps in all."""
        while stand.going and stand.iteration < limit:
            if stand.lost:
                stand = self._after(stand.packed, self._nothing, 0.0, 0, stand.iteration + 1, data)
                continue
            gradient = np.asarray(stand.gradient, np.float64)
            found = step_in_ball(self._pattern.matrix(stand.values), gradient, stand.radius)
            following = stand.iteration + 1
            stand = self._after(stand.packed, found.step, found.predicted, found.factors, following, data)
        return stand

    def told(self, stand: Stand) -> Any:
        """What the host is told."""
        return self._told(stand.packed)

    def _after(self, packed: Any, step: Any, predicted: float, factors: int, limit: int, data: Any) -> Stand:
        whole, radius, gradient, values, packed = self._stepped(
            packed, step.astype(self._dtype), self._dtype.type(predicted), self._whole.type(factors),
            self._whole.type(limit), data,
        )  # fmt: skip
        iteration, status, lost = np.asarray(whole).tolist()
        return Stand(iteration, status == RUNNING, bool(lost), float(radius), gradient, values, packed)
