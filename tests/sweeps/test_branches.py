"""Branches: one case is run, and an axis along which every case acts on each element alone keeps its delta."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close, check_every_verb

import nablax as nb
from nablax.graph.node import reachable
from nablax.ops.kinds import Opaque
from nablax.planning.question import pose

X = np.random.default_rng(4).normal(size=(3, 4))
W = np.random.default_rng(5).normal(size=(4, 4))


def batched(which: Any) -> Callable[[Any], Any]:
    cases = [lambda x: jnp.tanh(x @ W), lambda x: jnp.sin(x[:, ::-1]) * x[:, :1], lambda x: jnp.cumsum(x, 1) ** 2]
    return lambda x: jnp.sum(jax.lax.switch(which(x), cases, jnp.sin(x)) ** 2)


FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    **{f"case {k} of a batch": (batched(lambda x, k=k: jnp.int32(jnp.sum(x) * 0.0) + k), X) for k in range(3)},
    "elementwise": (lambda x: jnp.sum(jax.lax.cond(x[0, 0] > 0, jnp.tanh, lambda x: x**3, x) ** 2), X),
    "a case that is not finite": (
        lambda x: jnp.sum(jax.lax.cond(x[0] > 9.0, lambda x: jnp.log(x - 9.0), jnp.sin, x) ** 2), X[0]
    ),
    "two operands": (
        lambda x: jnp.sum(jax.lax.cond(x[0, 0] < 9, lambda a, b: a * jnp.sin(b), lambda a, b: a + b, x, jnp.cos(x))), X
    ),
    "an operand that all share": (
        lambda x: jnp.sum(jax.lax.cond(x[0, 0] < 9, lambda a, w: jnp.tanh(a @ w), lambda a, w: a, x, x.T @ x) ** 2), X
    ),
    "several results": (
        lambda x: sum(jnp.sum(y**2) for y in jax.lax.cond(x[0, 0] < 9, lambda x: (x * x, jnp.sin(x[0])), lambda x: (x, x[1]), x)), X
    ),
    "a branch in a branch": (
        lambda x: jnp.sum(
            jax.lax.cond(x[0, 0] < 9, lambda x: jax.lax.cond(x[0, 1] < 9, jnp.exp, jnp.sin, x) * x, jnp.cos, x)
        ), X
    ),
    "a branch in a loop": (
        lambda x: jnp.sum(jax.lax.fori_loop(0, 4, lambda k, c: jax.lax.cond(k % 2 == 0, jnp.sin, lambda c: c * c, c), x)), X
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_verb(name: str) -> None:
    check_every_verb(*FUNCTIONS[name], tolerance=1e-9)


def axes(f: Callable[..., Any], *arrays: Any) -> Any:
    problem = pose(f, arrays, list(range(len(arrays))), scalar="")
    return next(n.kind.call.batch_axes for n in reachable(problem.outputs) if isinstance(n.kind, Opaque))


def test_the_axes_that_every_case_keeps() -> None:
    p = jnp.bool_(True)
    turned = [lambda x: x.T, lambda x: jnp.sin(x.T)]
    assert axes(lambda p, x: jax.lax.cond(p, *turned, x), p, np.ones((3, 4))) == ((0, (None, 1)), (1, (None, 0)))
    assert axes(lambda p, x: jax.lax.cond(p, lambda x: x.T, jnp.sin, x), p, np.ones((4, 4))) == ()
    summed = [lambda x: jnp.sum(x, 1), lambda x: x[:, 0]]
    assert axes(lambda p, x: jax.lax.cond(p, *summed, x), p, np.ones((3, 4))) == ((0, (None, 0)),)
    assert axes(lambda p, x: jax.lax.cond(p, jnp.sin, lambda x: jnp.roll(x, 1), x), p, np.ones(4)) == ()


SEVERAL: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], tuple[Any, ...], int]] = {
    "elementwise": (lambda x: (x * x, jnp.sin(x)), lambda x: (x, x * x), ((0, (None, 0)), (1, (None, 1))), 12),
    "a batch in different places": (
        lambda x: (jnp.cumsum(x, 1), jnp.sum(x, 1) ** 2), lambda x: (x, x[:, 0]), ((0, (None, 0)),), 3 * 4 * 4
    ),
    "one turned": (lambda x: (jnp.sin(x), x.T), lambda x: (x, x.T**2), ((0, (None, 0)), (1, (None, 1))), 12),
    "one that mixes": (lambda x: (jnp.sin(x), jnp.sum(x)), lambda x: (x, x[0, 0] ** 2), (), 144),
}  # fmt: skip


@pytest.mark.parametrize("name", SEVERAL)
@pytest.mark.parametrize("positive", [True, False])
def test_several_results_keep_the_axes_that_all_keep(name: str, positive: bool) -> None:
    first, second, kept, stored = SEVERAL[name]
    x = np.random.default_rng(4).normal(size=(3, 4))
    p = np.bool_(positive)

    def f(x: Any) -> Any:
        return sum(jnp.sum(jnp.sin(y)) for y in jax.lax.cond(p, first, second, x))

    def from_data(p: Any, x: Any) -> Any:
        return sum(jnp.sum(jnp.sin(y)) for y in jax.lax.cond(p, first, second, x))

    assert axes(from_data, p, x) == kept
    found = nb.hessian_sparse(from_data, argnums=1)(p, x)
    assert found.nse == stored
    assert_close(found.todense(), np.asarray(jax.hessian(f)(x)).reshape(12, 12))


@pytest.mark.parametrize("verb", ["hessian", "diagonal"])
def test_a_batch_passes_through_a_branch(verb: str) -> None:
    def flops(batch: int) -> float:
        asked = nb.plan(batched(lambda x: jnp.int32(jnp.sum(x))), verb, strategy="legs-backward")
        return asked(jnp.ones((batch, 4))).choice.chosen.cost.flops

    # the dense Hessian has as many elements as the square of the batch says, and no more work for them
    assert flops(200) <= (110 if verb == "diagonal" else 110**2) * flops(2)


def test_only_one_case_is_run() -> None:
    x = np.linspace(-1.0, 1.0, 5)

    def f(x: Any) -> Any:
        return jnp.sum(jax.lax.cond(x[0] > 0, lambda x: jnp.sqrt(-jnp.ones(5) * jnp.inf) * x, jnp.sin, x))

    assert_close(nb.hessian(f)(x), np.diag(-np.sin(x)))
    assert_close(nb.hessian_diagonal(f)(x), -np.sin(x))


# -- what moves elements ---------------------------------------------------------------------------------------------------

TURNED = np.array([3, 1, 0, 2, 5, 4])
Y = np.array([0.3, -1.1, 0.7, 2.1, -0.4, 1.3])
Places = set[tuple[int, int]]


def diagonal(*rows: int) -> Places:
    return {(k, k) for k in rows}


def both(pairs: list[tuple[int, int]]) -> Places:
    return {(a, b) for a, b in pairs} | {(b, a) for a, b in pairs}


def cube(x: Any) -> Any:
    return jnp.sum(x**3)


def products(x: Any) -> Any:
    return jnp.sum(x[1:] ** 2 * x[:-1] ** 2)


# a function, and the places of its Hessian: the union over the cases, found by hand
MOVED: dict[str, tuple[Callable[[Any], Any], Places]] = {
    "gathers": (
        lambda x: cube(jax.lax.cond(x[0] > 0, lambda x: x[TURNED], lambda x: x[::-1], x)), diagonal(*range(6))
    ),
    "slices": (lambda x: cube(jax.lax.cond(x[0] > 0, lambda x: x[1:4], lambda x: x[2:5], x)), diagonal(1, 2, 3, 4)),
    "scatters": (
        lambda x: cube(
            jax.lax.cond(
                x[0] > 0,
                lambda x: jnp.zeros(8).at[TURNED[:3]].set(x[:3]),
                lambda x: jnp.zeros(8).at[2:5].add(x[3:]),
                x,
            )
        ),
        diagonal(*range(6)),
    ),
    "neighbours or the two ends": (
        lambda x: products(jax.lax.switch(jnp.int32(x[3]), [lambda x: x[:2], lambda x: x[::5], lambda x: x[1:3]], x)),
        diagonal(0, 1, 2, 5) | both([(0, 1), (0, 5), (1, 2)]),
    ),
    "a slope and a turn": (
        lambda x: cube(jax.lax.cond(x[0] < 0, jnp.sin, lambda x: x[::-1] ** 2 * np.arange(6.0), x)), diagonal(*range(6))
    ),
    "products of neighbours, or nothing": (
        lambda x: jnp.sum(jax.lax.cond(x[0] > 0, lambda x: x[1:] * x[:-1], lambda x: jnp.zeros(5), x)),
        both([(k, k + 1) for k in range(5)]),
    ),
    "positions as operands": (
        lambda x: cube(jax.lax.cond(x[0] > 0, lambda x, p: x[p], lambda x, p: x[:3], x, TURNED[:3])), diagonal(0, 1, 2, 3)
    ),
    "several results": (
        lambda x: sum(
            cube(y) for y in jax.lax.cond(x[0] > 0, lambda x: (x[1:3], x[4]), lambda x: (x[:2], jnp.sin(x[1])), x)
        ),
        diagonal(0, 1, 2, 4),
    ),
    "one condition, asked twice": (
        lambda x: jnp.sum(
            jax.lax.cond(x[0] > 0, lambda x: x[:2], lambda x: x[2:4], x) ** 2
            * jax.lax.cond(x[0] > 0, lambda x: x[1:3], lambda x: x[3:5], x) ** 2
        ),
        diagonal(0, 1, 2, 3, 4) | both([(0, 1), (1, 2), (2, 3), (3, 4)]),
    ),
    "a branch in a branch": (
        lambda x: cube(
            jax.lax.cond(
                x[0] > 0, lambda x: jax.lax.cond(x[1] > 0, lambda x: x[:2], lambda x: x[1:3], x), lambda x: x[3:5], x
            )
        ),
        diagonal(0, 1, 2, 3, 4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVED)
def test_the_union_over_the_cases_is_stored(name: str) -> None:
    f, places = MOVED[name]
    for x in (Y, -Y, np.abs(Y)):
        want = np.asarray(jax.hessian(f)(x))
        found = nb.hessian_sparse(f)(x)
        assert_close(found.todense(), want)
        assert {tuple(pair) for pair in np.asarray(found.indices).tolist()} == places
        assert set(zip(*np.nonzero(want), strict=True)) <= places
        assert_close(nb.hessian_diagonal(f)(x), np.diag(want))


@pytest.mark.parametrize("name", ["gathers", "several results", "products of neighbours, or nothing"])
def test_every_verb_where_cases_move_elements(name: str) -> None:
    check_every_verb(MOVED[name][0], Y, tolerance=1e-10)


def test_a_case_that_is_not_finite_and_moves_elements() -> None:
    f = lambda x: cube(jax.lax.cond(x[0] > 9.0, lambda x: jnp.log(x[::-1] - 9.0), jnp.sin, x))
    assert_close(nb.hessian_sparse(f)(Y).todense(), jax.hessian(f)(Y))
    assert_close(nb.hvp(f)(Y, Y), jax.hessian(f)(Y) @ Y)
    along = lambda t: f(Y + t * Y)
    assert_close(nb.derivative_along(f, 3)(Y, [Y, Y, Y]), jax.grad(jax.grad(jax.grad(along)))(0.0), tolerance=1e-10)


def test_the_jacobian_of_cases_that_move_elements() -> None:
    f = lambda x: jax.lax.cond(x[0] > 0, lambda x: x[1:4], lambda x: jnp.sin(x[2:5]), x)
    found = nb.jacobian_sparse(f)(Y)
    assert {tuple(pair) for pair in np.asarray(found.indices).tolist()} == {
        (k, k + j) for k in range(3) for j in (1, 2)
    }
    for x in (Y, -Y):
        assert_close(nb.jacobian_sparse(f)(x).todense(), jax.jacobian(f)(x))


def test_a_case_that_multiplies_by_a_matrix_is_dense() -> None:
    dense = np.cos(np.arange(36.0)).reshape(6, 6)
    f = lambda x: cube(jax.lax.cond(x[0] > 0, lambda x: dense @ x, lambda x: x[::-1], x))
    found = nb.hessian_sparse(f)(Y)
    assert found.nse == 36
    assert_close(found.todense(), jax.hessian(f)(Y))
