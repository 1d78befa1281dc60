"""Every row of the elementwise table over its declared domain; a falsified row is noticed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import primitives
from oracles import DIFFERENCE_STEP, DIFFERENCE_TOLERANCE, assert_close

import nablax as nb
from nablax.ops.elementwise import ROWS, ElementwiseRow

POINTS = 7
NEW = {"log2", "one_minus_square", "polynomial"}  # since JAX 0.12
LOGIC = {name for name, row in ROWS.items() if not row.domain}


def primitive(name: str) -> Any:
    if name == "add_any":  # only made by JAX itself, where a value is used twice
        jaxpr = jax.make_jaxpr(jax.grad(lambda x: jnp.sin(x) * x))(1.0).jaxpr
        return next(e.primitive for e in jaxpr.eqns if e.primitive.name == name)
    found = getattr(primitives, f"{name}_p", None) or getattr(jax.lax, f"{name}_p", None)
    if found is None and name in NEW:
        pytest.skip(f"this JAX has no {name}")
    return found


def operation(row: ElementwiseRow) -> Callable[..., Any]:
    """The row's primitive as a function of its real arguments."""
    params = dict(row.params)
    if row.name == "convert_element_type":
        params = {"new_dtype": np.dtype("float64"), "weak_type": False, "sharding": None}
    bind = primitive(row.name).bind
    if row.name == "select_n":
        return lambda a, b: bind(a > b, a, b, **params)
    return lambda *arguments: bind(*arguments, **params)


def derivative_exists(function: Callable[..., Any], place: int, arguments: list[Any], order: int) -> bool:
    """Whether JAX has a derivative of this order in one argument."""
    for _ in range(order):
        function = jax.grad(function, place)
    try:
        jax.eval_shape(function, *(x[0] for x in arguments))
    except (NotImplementedError, ValueError):
        return False
    return True


def check(row: ElementwiseRow) -> None:
    """Value, gradient and all second partials of one row, against JAX and against differences."""
    generator = np.random.default_rng(len(row.name))
    function = operation(row)
    arguments = [generator.uniform(*interval, size=POINTS) for interval in row.domain]
    free = [k for k, (low, high) in enumerate(row.domain) if low < high]
    pointwise = jax.vmap(function)
    assert_close(pointwise(*arguments), function(*arguments), what=f"{row.name}: element by element")
    moving = tuple(k for k in free if derivative_exists(function, k, arguments, 2))
    weights = generator.normal(size=POINTS)

    def total(*arguments: Any) -> Any:
        return jnp.sum(weights * function(*arguments))

    for k in set(free) - set(moving):
        with pytest.raises(nb.DifferentiationError):
            nb.hessian(total, argnums=k)(*arguments)
    if not moving:
        assert free, "a row without an argument that moves has no domain"
        return
    answers = nb.curvature(total, argnums=moving)(*arguments)
    assert_close(answers.value, weights @ np.asarray(pointwise(*arguments)), what=row.name)
    blocks, gradient = answers.dense(), answers.gradient
    for p, a in enumerate(moving):
        slope = jax.grad(function, a)
        assert_close(gradient[p], weights * jax.vmap(slope)(*arguments), what=f"{row.name}: argument {a}")
        if row.name == "stop_gradient":  # it cuts: its values do move
            continue
        assert_close(
            gradient[p], weights * difference(pointwise, a, arguments, 1), what=f"{row.name}: argument {a}",
            tolerance=10 * DIFFERENCE_TOLERANCE[1],
        )  # fmt: skip
        for q, b in enumerate(moving):
            want = np.diag(weights * jax.vmap(jax.grad(slope, b))(*arguments))
            assert_close(blocks[p][q], want, what=f"{row.name}: arguments {a}, {b}")
            if row.name != "igamma_grad_a":  # a series, differences of which are noise
                slopes = jax.vmap(slope)
                numeric = np.diag(weights * difference(slopes, b, arguments, 1))
                assert_close(blocks[p][q], numeric, what=row.name, tolerance=1e-5)


def difference(function: Callable[..., Any], k: int, arguments: list[Any], order: int) -> Any:
    """Central difference in argument k."""
    h = DIFFERENCE_STEP[order]
    moved = [[x + s * h if j == k else x for j, x in enumerate(arguments)] for s in (1, -1)]
    return (np.asarray(function(*moved[0])) - np.asarray(function(*moved[1]))) / (2 * h)


@pytest.mark.parametrize("name", sorted(set(ROWS) - LOGIC))
def test_row(name: str) -> None:
    check(ROWS[name])


@pytest.mark.parametrize("name", sorted(LOGIC))
def test_logic_carries_no_derivative(name: str) -> None:
    found = primitive(name)
    if name == "is_finite":
        result = jax.eval_shape(found.bind, jnp.ones(3))
    elif name == "bitcast_convert_type":
        result = jax.eval_shape(lambda x: jax.lax.bitcast_convert_type(x, jnp.int32), jnp.ones(3, jnp.float32))
    elif name in ("not", "population_count", "clz"):
        result = jax.eval_shape(found.bind, jnp.ones(3, jnp.int32))
    else:
        result = jax.eval_shape(found.bind, jnp.ones(3, jnp.int32), jnp.ones(3, jnp.int32))
    assert not jnp.issubdtype(result.dtype, jnp.inexact)


def test_a_row_falsely_declared_flat_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    check(ROWS["sin"])
    monkeypatch.setitem(ROWS, "sin", dataclasses.replace(ROWS["sin"], flat=True))
    with pytest.raises(AssertionError, match="sin"):
        check(ROWS["sin"])


def test_a_row_that_does_not_act_element_by_element_is_noticed() -> None:
    row = ElementwiseRow("cumsum", ((-3.0, 3.0),), (("axis", 0), ("reverse", False)))
    with pytest.raises((AssertionError, ValueError)):
        check(row)


def test_a_wrong_domain_is_noticed() -> None:
    with pytest.raises(AssertionError):
        check(dataclasses.replace(ROWS["abs"], domain=((-1e-6, 1e-6),)))  # the kink is inside every step
