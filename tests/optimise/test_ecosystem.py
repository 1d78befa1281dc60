"""The line searches inside the solvers of optimistix and optax."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix
import pytest

from nablax import ArgumentError
from nablax.optimise import (
    Backtracking,
    Bracketing,
    HagerZhang,
    MoreThuente,
    OptimistixSearch,
    scale_by_linesearch,
)

RULES = [Backtracking(interpolation="cubic"), Bracketing(), MoreThuente(), HagerZhang()]
named = pytest.mark.parametrize("rule", RULES, ids=[type(rule).__name__ for rule in RULES])


def rosenbrock(x: Any, a: Any) -> Any:
    return (1 - x[0]) ** 2 + a * (x[1] - x[0] ** 2) ** 2


class BFGS(optimistix.AbstractBFGS):
    """optimistix's own BFGS with another search."""

    rtol: float
    atol: float
    norm: Any = eqx.field(static=True, default=optimistix.max_norm)
    use_inverse: bool = True
    descent: optimistix.AbstractDescent = optimistix.NewtonDescent()
    search: optimistix.AbstractSearch = optimistix.BacktrackingArmijo()
    verbose: Any = eqx.field(static=True, default=lambda **_: None)


class Descent(optimistix.AbstractGradientDescent):
    rtol: float
    atol: float
    norm: Any = eqx.field(static=True, default=optimistix.max_norm)
    descent: optimistix.AbstractDescent = optimistix.SteepestDescent()
    search: optimistix.AbstractSearch = optimistix.BacktrackingArmijo()


@named
def test_inside_optimistixs_bfgs(rule: Any) -> None:
    fn = rosenbrock if rule.uses_slopes else None
    solver = BFGS(1e-9, 1e-9, search=OptimistixSearch(rule, fn, 10.0))
    found = optimistix.minimise(rosenbrock, solver, jnp.array([-1.2, 1.0]), 10.0, max_steps=500)
    assert found.result == optimistix.RESULTS.successful
    np.testing.assert_allclose(found.value, 1.0, atol=1e-6)


@named
def test_inside_optimistixs_gradient_descent(rule: Any) -> None:
    f = lambda x, _: x["a"] ** 2 + 4 * jnp.sum((x["b"] - 1.0) ** 2)
    solver = Descent(1e-10, 1e-10, search=OptimistixSearch(rule, f if rule.uses_slopes else None))
    found = optimistix.minimise(f, solver, {"a": jnp.array(3.0), "b": jnp.zeros(2)}, max_steps=500)
    np.testing.assert_allclose(found.value["a"], 0.0, atol=1e-6)
    np.testing.assert_allclose(found.value["b"], 1.0, atol=1e-6)


def test_a_rule_with_slopes_needs_the_function() -> None:
    with pytest.raises(ArgumentError) as caught:
        OptimistixSearch(MoreThuente())
    assert str(caught.value) == (
        "OptimistixSearch was given the rule MoreThuente, which uses slopes at trial points, where the solvers of "
        "optimistix evaluate values only. Pass the function, fn=…, that is minimised."
    )


@named
def test_inside_optaxs_lbfgs_direction(rule: Any) -> None:
    f = lambda x: rosenbrock(x, 10.0)
    solver = optax.chain(optax.scale_by_lbfgs(), optax.scale(-1.0), scale_by_linesearch(rule))
    value_and_grad = optax.value_and_grad_from_state(f)

    def step(carry: Any, _: Any) -> Any:
        x, state = carry
        value, grad = value_and_grad(x, state=state)
        updates, state = solver.update(grad, state, x, value=value, grad=grad, value_fn=f)
        return (optax.apply_updates(x, updates), state), value

    start = jnp.array([-1.2, 1.0])
    (x, state), values = jax.jit(lambda x: jax.lax.scan(step, (x, solver.init(x)), length=60))(start)
    np.testing.assert_allclose(x, 1.0, atol=1e-6)
    # approximate Wolfe lets a value rise by 1e-6 of itself
    assert np.all(np.diff(values) <= 1e-6 * np.abs(values[:-1]))
    assert optax.tree_utils.tree_get(state, "value") == f(x)


def test_growth_begins_at_the_last_step() -> None:
    f = lambda x: 0.01 * jnp.sum(x**2)
    solver = optax.chain(optax.scale(-1.0), scale_by_linesearch(Backtracking(), growth=2.0))
    x = jnp.array([1.0])
    state = solver.init(x)
    steps = []
    for _ in range(4):
        value, grad = jax.value_and_grad(f)(x)
        updates, state = solver.update(grad, state, x, value=value, grad=grad, value_fn=f)
        x = optax.apply_updates(x, updates)
        steps.append(float(optax.tree_utils.tree_get(state, "learning_rate")))
    assert steps == [1.0, 2.0, 4.0, 8.0]


def test_optax_needs_a_rule() -> None:
    with pytest.raises(ArgumentError) as caught:
        scale_by_linesearch(0.1)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "scale_by_linesearch got a float; it takes one of optimise.Backtracking, Bracketing, MoreThuente and HagerZhang."
    )
