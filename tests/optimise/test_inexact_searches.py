"""Inexact searches: step by step against SciPy's DCSRCH and hand-written trials; conditions hold; clear outcomes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from nablax import ArgumentError, OutputError
from nablax.optimise import (
    Backtracking,
    HagerZhang,
    MoreThuente,
    along,
    approximate_wolfe,
    armijo,
    backtracking,
    bracketing,
    goldstein,
    hager_zhang,
    more_thuente,
    strong_wolfe,
    told,
    wolfe,
)

L = 39
BETA = 0.01


def first(a: Any) -> Any:
    return -a / (a**2 + 2)


def second(a: Any) -> Any:
    return (a + 0.004) ** 5 - 2 * (a + 0.004) ** 4


def third(a: Any) -> Any:
    inner = jnp.where(jnp.abs(a - 1) < BETA, (a - 1) ** 2 / (2 * BETA) + BETA / 2, jnp.abs(a - 1))
    return inner + 2 * (1 - BETA) / (L * jnp.pi) * jnp.sin(L * jnp.pi * a / 2)


def yanai(b1: float, b2: float) -> Any:
    gamma = [float(np.sqrt(1 + b**2) - b) for b in (b1, b2)]
    return lambda a: gamma[0] * jnp.sqrt((1 - a) ** 2 + b2**2) + gamma[1] * jnp.sqrt(a**2 + b1**2)


# the functions of Moré and Thuente 1994, section 5, with their constants; c1 < c2 where theirs are equal
PUBLISHED = [
    ("1", first, 0.001, 0.1),
    ("2", second, 0.0999, 0.1),
    ("3", third, 0.0999, 0.1),
    ("4", yanai(0.001, 0.001), 0.000999, 0.001),
    ("5", yanai(0.01, 0.001), 0.000999, 0.001),
    ("6", yanai(0.001, 0.01), 0.000999, 0.001),
]
STARTS = (1e-3, 1e-1, 1e1, 1e3)


@pytest.mark.parametrize("row", PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_more_thuente_makes_the_steps_of_scipys(row: Any) -> None:
    dcsrch = pytest.importorskip("scipy.optimize._dcsrch", reason="an oracle that SciPy keeps private").DCSRCH
    _, phi, c1, c2 = row
    both = jax.jit(jax.value_and_grad(phi))
    for start in STARTS:
        count = 0

        def value(a: float) -> float:
            nonlocal count
            count += 1
            return float(both(a)[0])

        theirs = dcsrch(value, lambda a: float(both(a)[1]), c1, c2, 1e-14, 0.0, 1e20)
        step, _, _, _ = theirs(start, phi0=float(both(0.0)[0]), derphi0=float(both(0.0)[1]), maxiter=50)
        ours = more_thuente(phi, start, c1=c1, c2=c2)
        assert ours.accepted
        assert int(ours.evaluations) == count, start
        # Interpolation near a wall of the third function amplifies rounding; its steps are of order 1.
        np.testing.assert_allclose(ours.step, step, rtol=1e-6)


@pytest.mark.parametrize("row", PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_accepted_steps_fulfil_their_conditions(row: Any) -> None:
    _, phi, _, _ = row
    zero = jax.value_and_grad(phi)(0.0)
    for start in STARTS:
        found = hager_zhang(phi, start)
        given = (found.value, found.slope, *zero)
        rise = 1e-6 * abs(float(zero[0]))
        exact = wolfe(found.step, *given, c1=0.1, c2=0.9)
        assert found.accepted
        assert exact | approximate_wolfe(*given, delta=0.1, sigma=0.9, epsilon=rise)
        found = more_thuente(phi, start, c1=1e-3, c2=0.5)
        assert strong_wolfe(found.step, found.value, found.slope, *zero, c1=1e-3, c2=0.5)
        found = bracketing(phi, start)
        assert wolfe(found.step, found.value, found.slope, *zero)
        found = backtracking(phi, start, interpolation="cubic")
        assert armijo(found.step, found.value, *zero)


@pytest.mark.parametrize("start", STARTS)
def test_goldstein_by_bracketing(start: float) -> None:
    found = bracketing(first, start, condition="goldstein", rho=0.2)
    assert found.accepted
    assert goldstein(found.step, found.value, *jax.value_and_grad(first)(0.0), rho=0.2)


def test_backtracking_by_hand() -> None:
    # φ = (1 − α)² with c₁ = 0.3: accepted up to 1.4. From 8 by halves: 8, 4, 2, 1.
    found = backtracking(lambda a: (1 - a) ** 2, 8.0, c1=0.3, table=True)
    assert found.table.column("α").tolist() == [0.0, 8.0, 4.0, 2.0, 1.0]
    assert found.table.column("φ(α)").tolist() == [1.0, 49.0, 9.0, 1.0, 0.0]
    # The parabola through 1, −2 and φ(8) has its minimum at 1; a tenth of 8 is less: one trial more.
    found = backtracking(lambda a: (1 - a) ** 2, 8.0, c1=0.3, interpolation="quadratic")
    assert (float(found.step), int(found.evaluations)) == (1.0, 2)


# -- outcomes ----------------------------------------------------------------------------------------------

SEARCHES = [backtracking, bracketing, more_thuente, hager_zhang]


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("phi", [lambda a: a, lambda a: 0.0 * a])
def test_an_uphill_or_flat_direction(search: Any, phi: Any) -> None:
    found = search(phi)
    assert told(found.status) == "The slope at the start is not negative: the direction does not go downhill."
    assert (float(found.step), int(found.evaluations)) == (0.0, 0)


@pytest.mark.parametrize("search", [bracketing, more_thuente, hager_zhang])
def test_a_function_without_lower_bound(search: Any) -> None:
    assert told(search(lambda a: -a).status) == "The function still falls at the longest step that is allowed."


def test_a_step_that_underflows() -> None:
    # the slope at 0 is negative, but the function jumps up
    phi = lambda a: jnp.where(a > 0, 1.001 + a, 1.0 - a)
    found = backtracking(phi, 1.0)
    assert told(found.status) == (
        "The step became too small to change anything; no step fulfils the condition in this precision."
    )
    assert (float(found.step), float(found.value)) == (0.0, 1.0)


@pytest.mark.parametrize("search", SEARCHES)
def test_a_wall_is_kept_away_from(search: Any) -> None:
    # −log(1 − α) − 2α: not a number from 1 on, lowest at ½
    found = search(lambda a: -jnp.log(1 - a) - 2 * a, 8.0)
    assert found.accepted
    assert 0 < found.step < 1


def test_a_start_that_is_not_finite() -> None:
    assert told(more_thuente(lambda a: jnp.log(a - 1)).status) == (
        "The function is not a number, or minus infinity, at a point that was asked for."
    )


def test_the_limit_of_trials() -> None:
    found = backtracking(lambda a: (1 - a) ** 2, 64.0, max_steps=3)
    assert told(found.status) == "The limit of steps was reached first."
    assert (float(found.step), int(found.evaluations)) == (0.0, 3)


# -- along, transformations --------------------------------------------------------------------------------


def test_along_any_descent_direction_of_a_tree() -> None:
    A = jnp.array([[3.0, 1.0], [1.0, 2.0]])
    f = lambda p, A: p["x"] @ A @ p["x"] / 2 + jnp.sum(p["y"] ** 2)
    p = {"x": jnp.array([1.0, -2.0]), "y": jnp.array([0.5])}
    g = jax.grad(f)(p, A)
    d = {"x": -jnp.linalg.solve(A, g["x"]), "y": -0.1 * g["y"]}  # not the negative gradient
    found = more_thuente(along(f, p, d, A), c1=1e-4, c2=1e-3)
    # φ is a parabola: −φ′(0)/φ″ is its minimum, which a small c₂ leaves no room around
    slope = sum(jnp.vdot(g[k], d[k]) for k in g)
    curvature = d["x"] @ A @ d["x"] + 2 * jnp.sum(d["y"] ** 2)
    np.testing.assert_allclose(found.step, -slope / curvature, rtol=1e-3)


@pytest.mark.parametrize("search", SEARCHES)
def test_searches_are_mapped(search: Any) -> None:
    centres = jnp.array([0.3, 1.0, 7.0, 60.0])
    found = jax.jit(jax.vmap(lambda c: search(lambda a: (a - c) ** 2)))(centres)
    assert found.accepted.tolist() == [True] * 4
    assert np.all(found.value < centres**2)


@pytest.mark.parametrize("search", SEARCHES)
def test_searches_keep_single_precision(search: Any) -> None:
    found = search(lambda a: (a - 1.0) ** 2, jnp.float32(8.0))
    assert (found.step.dtype, found.value.dtype, bool(found.accepted)) == (jnp.float32, jnp.float32, True)


def test_scipys_line_search_finds_a_step_of_the_same_quality() -> None:
    x = np.array([-1.2, 1.0])
    g = scipy.optimize.rosen_der(x)
    step, _, _, value, _, slopes = scipy.optimize.line_search(
        scipy.optimize.rosen, scipy.optimize.rosen_der, x, -g, gfk=g, c2=0.5
    )
    rosen = lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
    zero = (scipy.optimize.rosen(x), -g @ g)
    ours = more_thuente(along(rosen, jnp.array(x), jnp.array(-g)), 1.0, c2=0.5)
    for found in ((step, value, -g @ slopes), (ours.step, ours.value, ours.slope)):
        assert strong_wolfe(*found, *zero, c2=0.5)


# -- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: more_thuente(1.0),
            ArgumentError,
            "more_thuente needs a function of the step; it got a float. See optimise.along.",
        ),
        (
            lambda: backtracking(jnp.cos, -1.0),
            ArgumentError,
            "backtracking got step=-1; the first step to try is positive and finite.",
        ),
        (
            lambda: hager_zhang(lambda a: a * jnp.ones(2)),
            OutputError,
            "hager_zhang searches along a function that returns one real number; this one returns float64[2] for a number. "
            "Return a scalar; use jax.vmap to search along many lines at once.",
        ),
        (
            lambda: Backtracking(factor=1.0),
            ArgumentError,
            "backtracking got factor=1; a step is shortened by a factor in (0, 1).",
        ),
        (
            lambda: Backtracking(interpolation="linear"),  # type: ignore[arg-type]
            ArgumentError,
            "backtracking was asked for interpolation='linear'; there are 'none', 'quadratic' and 'cubic'.",
        ),
        (
            lambda: bracketing(jnp.cos, condition="armijo"),  # type: ignore[arg-type]
            ArgumentError,
            "bracketing was asked for the condition 'armijo'; there are 'wolfe' and 'goldstein'.",
        ),
        (
            lambda: MoreThuente(c1=0.9, c2=0.1),
            ArgumentError,
            "more_thuente got c1=0.9 and c2=0.1; c1 is smaller than c2, or there need be no step that fulfils both "
            "conditions.",
        ),
        (
            lambda: HagerZhang(epsilon=-1.0),
            ArgumentError,
            "hager_zhang got epsilon=-1; it is a share of |φ(0)|, from 0 up to 1.",
        ),
        (
            lambda: MoreThuente(max_steps=0),
            ArgumentError,
            "more_thuente got max_steps=0; it is a number of trials, at least 1.",
        ),
        (
            lambda: along(jnp.sum, jnp.ones(2), jnp.ones(3)),
            ArgumentError,
            "along was given a direction with tree and shapes float64[3]; the point has float64[2]. Give the direction the "
            "tree and shapes of the point.",
        ),
    ],
)
def test_refusals(call: Any, error: Any, text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
