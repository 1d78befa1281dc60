"""The inexact line searches as parts of other libraries' solvers: a search of optimistix, a transformation of optax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax  # type: ignore[import-untyped]
import optimistix

from nablax.errors import ArgumentError
from nablax.optimise.line import LineSearch, Sample, Search
from nablax.optimise.outcome import SearchOutcome
from nablax.optimise.state import either

Function = Callable[..., Any]


class _Searching(eqx.Module):
    """Where a search of optimistix stands between two evaluations of its solver.

    Args:
        search: the machine; only meaningful once begun.
        begun: whether the direction has had a trial.
        last: whether the next point is to be accepted as it is: the best one of a search without success.
        trial: the step that leads to the point which is evaluated next.
    """

    search: Search
    begun: Any
    last: Any
    trial: Any


class OptimistixSearch(optimistix.AbstractSearch):  # type: ignore[type-arg]
    """A line search of this package inside the solvers of optimistix, which evaluate one trial point at a time.

    Where the search ends without an acceptable step, the lowest point that it saw is accepted; that may be the one it
    began at, on which the solver's own termination then decides.

    Args:
        rule: `Backtracking`, `Bracketing`, `MoreThuente` or `HagerZhang`.
        fn: the function that is minimised, of (y, args) as optimistix calls it: needed by the rules that use slopes,
            because the solvers of optimistix evaluate values only at trial points. It must not return aux.
        args: its second argument.
        step_init: the first step of every direction.

    Raises:
        ArgumentError: a rule that uses slopes, without the function.

    Example:
        >>> from nablax.optimise import Backtracking
        >>> class Descent(optimistix.AbstractGradientDescent):
        ...     rtol: float
        ...     atol: float
        ...     norm = staticmethod(optimistix.max_norm)
        ...     descent: optimistix.AbstractDescent = optimistix.SteepestDescent()
        ...     search: optimistix.AbstractSearch = OptimistixSearch(Backtracking(interpolation="quadratic"))
        >>> found = optimistix.minimise(lambda y, _: jnp.sum((y - 1.0) ** 2), Descent(1e-5, 1e-5), jnp.zeros(2))
        >>> found.value
        Array([1., 1.], dtype=float32)
    """

    rule: LineSearch
    fn: Function | None = eqx.field(static=True, default=None)
    args: Any = None
    step_init: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        if self.rule.uses_slopes and self.fn is None:
            raise ArgumentError(
                f"OptimistixSearch was given the rule {type(self.rule).__name__}, which uses slopes at trial points, "
                "where the solvers of optimistix evaluate values only. Pass the function, fn=…, that is minimised."
            )

    def init(self, y: Any, f_info_struct: Any) -> _Searching:
        """Nothing begun."""
        struct: Any = eqx.filter_eval_shape(lambda info: info.as_min(), f_info_struct)
        zero = jnp.zeros(struct.shape, struct.dtype)
        no = jnp.asarray(False)
        search = self.rule.begin(Sample(zero, zero, zero - 1), self.step_init)
        return _Searching(search, no, no, jnp.asarray(self.step_init, struct.dtype))

    def step(
        self, first_step: Any, y: Any, y_eval: Any, f_info: Any, f_eval_info: Any, state: _Searching
    ) -> tuple[Any, Any, Any, _Searching]:
        """A value at the trial point is told to the rule."""
        value = f_eval_info.as_min()
        change = jax.tree.map(lambda a, b: a - b, y_eval, y)
        size = jnp.where(state.trial > 0, state.trial, 1.0)
        slope_at_zero = f_info.compute_grad_dot(change) / size
        start = Sample(jnp.zeros_like(value), f_info.as_min(), slope_at_zero)
        search = either(state.begun, state.search, self.rule.begin(start, state.trial))
        slope = jnp.full_like(value, jnp.nan)
        if self.fn is not None and self.rule.uses_slopes:
            fn = self.fn
            _, slope = jax.jvp(lambda y: fn(y, self.args), (y_eval,), (change,))
            slope = slope / size
        told = either(search.going, self.rule.tell(search, value, slope), search)
        accepted = first_step | state.last | (told.outcome == SearchOutcome.accepted)
        going = told.going & ~accepted
        ended = ~going & ~accepted
        first = jnp.asarray(self.step_init, state.trial.dtype)
        trial = jnp.where(accepted, first, jnp.where(going, told.trial, told.best.step))
        successful: Any = optimistix.RESULTS.successful
        return trial, accepted, successful, _Searching(told, ~accepted, ended, trial)


class LineSearchState(NamedTuple):
    """What `scale_by_linesearch` keeps.

    Args:
        learning_rate: the last step.
        value: the function there; infinity before the first update.
        grad: its gradient there, for `optax.value_and_grad_from_state`.
        num_linesearch_steps: trials of the last search.
        outcome: one of `SearchOutcome`.
    """

    learning_rate: Any
    value: Any
    grad: Any
    num_linesearch_steps: Any
    outcome: Any


def scale_by_linesearch(rule: LineSearch, step: float = 1.0, growth: float | None = None) -> Any:
    """A gradient transformation of optax that scales updates by the step of a line search.

    Goes last in `optax.chain`, after what makes a direction of descent (with its sign). Its `update` takes `value`,
    `grad` and `value_fn`, as `optax.scale_by_zoom_linesearch` does; the state keeps value and gradient for
    `optax.value_and_grad_from_state`.

    Args:
        rule: `Backtracking`, `Bracketing`, `MoreThuente` or `HagerZhang`.
        step: the first step to try.
        growth: None to begin each search with `step`; else later searches begin at so many times the last step.

    Returns:
        An `optax.GradientTransformationExtraArgs`. Where no step is acceptable, the lowest point that was seen is
        taken; that may be the one the search began at.

    Raises:
        ArgumentError: `rule` is no line search.

    Example:
        >>> from nablax.optimise import Backtracking
        >>> f = lambda x: jnp.sum((x - 1.0) ** 2)
        >>> solver = optax.chain(optax.scale(-1.0), scale_by_linesearch(Backtracking(interpolation="quadratic")))
        >>> x = jnp.zeros(2)
        >>> state = solver.init(x)
        >>> value, grad = jax.value_and_grad(f)(x)
        >>> updates, state = solver.update(grad, state, x, value=value, grad=grad, value_fn=f)
        >>> optax.apply_updates(x, updates)
        Array([1., 1.], dtype=float32)
    """
    if not isinstance(rule, LineSearch):
        raise ArgumentError(
            f"scale_by_linesearch got a {type(rule).__name__}; it takes one of optimise.Backtracking, Bracketing, "
            "MoreThuente and HagerZhang."
        )

    def init(params: Any) -> LineSearchState:
        dtype = jnp.result_type(*jax.tree.leaves(params))
        searching: Any = SearchOutcome.searching
        return LineSearchState(
            jnp.asarray(step, dtype),
            jnp.asarray(jnp.inf, dtype),
            jax.tree.map(jnp.zeros_like, params),
            jnp.asarray(0),
            jax.tree.map(jnp.asarray, searching),
        )

    def update(
        updates: Any,
        state: LineSearchState,
        params: Any = None,
        *,
        value: Any,
        grad: Any,
        value_fn: Function,
        **extra: Any,
    ) -> tuple[Any, LineSearchState]:
        def phi(size: Any) -> Any:
            moved = jax.tree.map(lambda p, u: p + (size * u).astype(jnp.result_type(p)), params, updates)
            return jnp.asarray(value_fn(moved, **extra), state.value.dtype)

        def told(search: Search) -> Search:
            if rule.uses_slopes:
                found, slope = jax.jvp(phi, (search.trial,), (jnp.ones_like(search.trial),))
            else:
                found = phi(search.trial)
                slope = jnp.full_like(found, jnp.nan)
            return rule.tell(search, found, slope)

        products = jax.tree.map(lambda u, g: jnp.sum(u * g), updates, grad)
        slope = jnp.asarray(sum(jax.tree.leaves(products)), state.value.dtype)
        value = jnp.asarray(value, state.value.dtype)
        unsought = jnp.isinf(state.value) | (state.learning_rate <= 0) | (growth is None)
        first = jnp.where(unsought, step, state.learning_rate * (growth or 1.0))
        search = rule.begin(Sample(jnp.zeros_like(value), value, slope), first)
        search = jax.lax.while_loop(lambda search: search.going, told, search)
        scaled = jax.tree.map(lambda u: (search.best.step * u).astype(jnp.result_type(u)), updates)
        there = jax.tree.map(lambda p, u: p + u, params, scaled)
        found, slopes = jax.value_and_grad(lambda p: value_fn(p, **extra))(there)
        kept = LineSearchState(
            search.best.step, jnp.asarray(found, state.value.dtype), slopes, search.steps, search.outcome
        )
        return scaled, kept

    return optax.GradientTransformationExtraArgs(init, update)
