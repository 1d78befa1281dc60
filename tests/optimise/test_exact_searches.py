"""Exact line searches: the bounds of theory on many functions, hand-written steps, SciPy, and what is reported."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from nablax import ArgumentError, OutputError
from nablax.optimise import brent, dichotomy, golden_section, newton_1d, parabolic, slope_bisection
from nablax.optimise.outcome import SearchOutcome, told
from nablax.optimise.parabolas import vertex

TAU = (1 + math.sqrt(5)) / 2

# name, function, interval, minimum: unimodal, none of them symmetric about the middle of its interval
UNIMODAL: list[tuple[str, Callable[[Any], Any], float, float, float]] = [
    ("exponential", lambda x: jnp.exp(x) - 2 * x, -1.0, 3.0, math.log(2)),
    ("entropy", lambda x: x * jnp.log(x), 0.05, 2.0, 1 / math.e),
    ("cosine", lambda x: -jnp.cos(x - 0.4), -1.5, 2.5, 0.4),
    ("rational", lambda x: -x / (x**2 + 2), 0.0, 10.0, math.sqrt(2)),
    ("near an end", lambda x: (x - 9.9) ** 2, 0.0, 10.0, 9.9),
    ("two slopes", lambda x: jnp.maximum(-5 * (x - 0.1), x - 0.1), -1.0, 3.0, 0.1),
    ("square root", lambda x: jnp.sqrt(jnp.abs(x + 0.7)), -2.0, 1.0, -0.7),
]
SMOOTH = UNIMODAL[:5]
TOLERANCE = 1e-6


def named(rows: list[Any]) -> Any:
    return pytest.mark.parametrize("row", rows, ids=[row[0] for row in rows])


def searched(search: Any, row: Any) -> dict[str, Any]:
    """The table of a search, after what holds for all of them was checked; x, a and b as arrays."""
    _, f, a, b, minimum = row
    found = search(f, a, b, tol=TOLERANCE, table=True)
    assert told(found.status) == "The minimum lies within the tolerance of x."
    low, high = found.interval
    assert abs(found.x - minimum) <= TOLERANCE
    assert low <= minimum <= high
    assert low <= found.x <= high
    np.testing.assert_allclose(found.value, f(found.x), rtol=1e-14)
    columns = {name: found.table.column(name) for name in ("step", "a", "b", "x", "evaluations")}
    assert columns["evaluations"][-1] == found.evaluations
    assert columns["step"].tolist() == list(range(int(found.steps) + 1))
    assert np.all(np.diff(columns["b"] - columns["a"]) <= 0)
    return columns


@named(UNIMODAL)
def test_dichotomy_halves_the_error_with_each_step(row: Any) -> None:
    _, _, a, b, minimum = row
    at = searched(dichotomy, row)
    # the bound, and rounding of the points themselves
    bound = (b - a) / 2 ** (at["step"] + 1) + 4 * np.finfo(float).eps * max(abs(a), abs(b))
    assert np.all(np.abs(at["x"] - minimum) <= bound)
    assert np.all(np.diff(at["evaluations"]) <= 2)
    # N evaluations leave no more than 0.707^(N − 1) of the interval: one is the middle's, two are each step's at most
    widths = at["b"] - at["a"]
    assert np.all(widths <= (b - a) * 0.5 ** ((at["evaluations"] - 1) / 2) * (1 + 1e-9))


@named(UNIMODAL)
def test_golden_section_takes_one_evaluation_a_step(row: Any) -> None:
    _, _, a, b, minimum = row
    at = searched(golden_section, row)
    count = at["evaluations"]
    assert count.tolist() == list(range(2, 2 + len(count)))
    # The kept point drifts from its place by rounding, times τ a step: ε τ³⁰ < 1e-9.
    left = (b - a) * ((math.sqrt(5) - 1) / 2) ** (count - 2)
    np.testing.assert_allclose(at["b"] - at["a"], left, rtol=1e-6)
    # the better inner point is 0.618 of the interval away from either end at most: 0.618^(N − 1) of the first
    assert np.all(np.abs(at["x"] - minimum) <= left * 0.6180339888 * (1 + 1e-6))


@named(UNIMODAL)
def test_parabolas_stay_in_a_shrinking_interval(row: Any) -> None:
    searched(parabolic, row)
    at = searched(brent, row)
    assert np.all(np.diff(at["evaluations"]) == 1)


@named(SMOOTH)
def test_brent_agrees_with_scipy(row: Any) -> None:
    _, f, a, b, _ = row
    options = {"xatol": TOLERANCE / 2}  # SciPy stops with both ends within 2 xatol
    theirs = scipy.optimize.minimize_scalar(lambda x: float(f(x)), bounds=(a, b), method="bounded", options=options)
    ours = brent(f, a, b, tol=TOLERANCE, table=True)
    assert abs(ours.x - theirs.x) <= 2 * TOLERANCE
    assert abs(int(ours.evaluations) - theirs.nfev) <= 4


def test_golden_points_and_their_changing_roles() -> None:
    # On [0, 1]: 1/τ² = 0.381966, 1/τ = 0.618034. The minimum 0.3 is left of both: b becomes 0.618034, and 0.381966 is
    # now the right one; the new left one is 0.618034/τ² = 0.236068.
    asked: list[float] = []

    def f(x: Any) -> Any:
        jax.debug.callback(lambda v: asked.append(float(v)), x, ordered=True)
        return (x - 0.3) ** 2

    golden_section(f, 0.0, 1.0, max_steps=3, tol=1e-30)
    jax.effects_barrier()
    # Then f(0.236) = 0.0041 < f(0.382) = 0.0067: b becomes 0.382, 0.236 is the right one, the left one is 0.382/τ².
    # Then f(0.146) is higher: a becomes 0.146, 0.236 is the left one, and the right one is 0.146 + 0.236/τ = 0.292.
    expected = [1 / TAU**2, 1 / TAU, 1 / TAU**3, 1 / TAU**4, 1 / TAU**4 + 1 / TAU**4]
    np.testing.assert_allclose(asked, expected, rtol=1e-14)


def test_order_of_parabolic_interpolation() -> None:
    """Errors of successive parabolas obey e′ ≈ C e^p with p³ = p + 1; here p is measured."""
    minimum = math.log(2)
    found = parabolic(lambda x: jnp.exp(x) - 2 * x, 0.0, 1.5, tol=1e-7, table=True)
    x = found.table.column("x")
    errors = np.abs(x - minimum)
    # from where errors are small to where values resolve no more: differences of f are (x − x*)², down to 1e-16
    errors = errors[(errors < 0.2) & (errors > 2e-7)]
    assert len(errors) >= 5
    # the geometric mean of the local orders: log e_last / log e_first, over the steps between
    order = (np.log(errors[-1]) / np.log(errors[1])) ** (1 / (len(errors) - 2))
    assert 1.15 < order < 1.6


def test_vertex_of_a_parabola_in_any_order_of_its_points() -> None:
    points, minimum = [-1.0, 0.5, 3.0], 1.25
    f = lambda x: 2 * (x - minimum) ** 2 - 7
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0], [2, 1, 0]):
        x = jnp.array([points[k] for k in order])
        place, usable = vertex(x, f(x))
        assert usable
        np.testing.assert_allclose(place, minimum, rtol=1e-14)


@pytest.mark.parametrize(
    ("points", "values"),
    [
        ([0.0, 1.0, 2.0], [0.0, 1.0, 2.0]),  # collinear
        ([1.0, 1.0, 2.0], [1.0, 1.0, 0.0]),  # repeated
        ([0.0, 1.0, 2.0], [0.0, 1.0, 0.0]),  # opens downwards
        ([0.0, 1.0, 2.0], [jnp.inf, 1.0, 0.0]),
        ([0.0, 1.0, 2.0], [jnp.nan, 1.0, 0.0]),
        ([2.0, 2.0, 2.0], [1.0, 1.0, 1.0]),
    ],
)
def test_points_without_a_parabola_are_not_used(points: Any, values: Any) -> None:
    assert not vertex(jnp.array(points), jnp.array(values))[1]


@pytest.mark.parametrize("search", [parabolic, brent])
@pytest.mark.parametrize(
    "f",
    [
        lambda x: jnp.abs(x - 1.0),  # three points on a line
        lambda x: jnp.where(x < 1.0, 10 * (1.0 - x), x - 1.0),
        lambda x: jnp.where(jnp.abs(x - 1.0) < 1.2, (x - 1.0) ** 2, jnp.inf),  # walls
    ],
)
def test_the_interval_shrinks_where_parabolas_do_not_help(search: Any, f: Any) -> None:
    found = search(f, -1.0, 2.0, tol=1e-6, table=True)
    widths = found.table.column("b") - found.table.column("a")
    assert np.all(np.diff(widths) <= 0)
    assert abs(found.x - 1.0) <= 1e-6


# -- slopes ------------------------------------------------------------------------------------------------


@named(SMOOTH)
def test_slope_bisection_halves_the_interval(row: Any) -> None:
    _, f, a, b, minimum = row
    found = slope_bisection(f, a, b, tol=1e-30, max_steps=20, table=True)
    steps, x = found.table.column("step"), found.table.column("x")
    assert np.all(np.abs(x - minimum) <= (b - a) / 2 ** (steps + 1) + 1e-15)


@named(SMOOTH)
def test_newton_finds_the_zero_of_the_slope(row: Any) -> None:
    _, f, a, b, minimum = row
    found = newton_1d(f, a, b, tol=1e-9)
    assert told(found.status) == told(SearchOutcome.converged)
    np.testing.assert_allclose(found.x, minimum, rtol=1e-13, atol=1e-13)
    assert int(found.evaluations) <= 15


def test_newton_is_quadratic() -> None:
    found = newton_1d(lambda x: jnp.exp(x) - 2 * x, 0.0, 1.5, tol=1e-12, table=True)
    errors = np.abs(found.table.column("x") - math.log(2))
    errors = errors[errors > 1e-14]
    # e′ / e² → f‴ / (2 f″) = ½ for exp(x) − 2x
    ratios = errors[1:] / errors[:-1] ** 2
    np.testing.assert_allclose(ratios[-1], 0.5, rtol=0.05)


# -- what is reported --------------------------------------------------------------------------------------


@pytest.mark.parametrize("search", [dichotomy, golden_section, parabolic])
def test_two_minima_are_reported(search: Any) -> None:
    found = search(lambda x: jnp.cos(40 * x), 0.0, 4.0)
    assert told(found.status) == (
        "The function has more than one minimum on the interval: a point is higher than both its neighbours."
    )


@pytest.mark.parametrize("search", [dichotomy, golden_section, parabolic, brent])
def test_not_a_number_is_reported_and_ends_the_search(search: Any) -> None:
    found = search(lambda x: jnp.where(x < 1.1, jnp.nan, (x - 1.5) ** 2), 0.0, 4.0)
    assert told(found.status) == ("The function is not a number, or minus infinity, at a point that was asked for.")
    assert int(found.steps) < 20


@pytest.mark.parametrize("search", [dichotomy, golden_section, parabolic, brent])
def test_a_function_without_an_inner_minimum(search: Any) -> None:
    found = search(lambda x: jnp.exp(x), 0.0, 1.0, tol=1e-4)
    assert told(found.status) == (
        "The function is smallest at an end of the interval, which need not hold a minimum inside."
    )
    assert found.x <= 1e-4


@pytest.mark.parametrize("search", [dichotomy, golden_section, parabolic, brent, slope_bisection, newton_1d])
def test_the_limit_of_steps(search: Any) -> None:
    found = search(lambda x: jnp.cosh(x - 0.3), -1.0, 2.0, tol=1e-12, max_steps=2)
    assert told(found.status) == "The limit of steps was reached first."
    assert int(found.steps) == 2


def test_the_table_prints() -> None:
    assert str(golden_section(lambda x: (x - 1.0) ** 2, 0.0, 4.0, tol=0.9, table=True)) == (
        "x = 0.94427191, f(x) = 0.00310562, in [0.58359214, 1.527864], 3 steps, 5 evaluations\n"
        "The minimum lies within the tolerance of x.\n"
        "step         a        b         x        f(x)  evaluations   kind\n"
        "   0         0        4   1.52786     0.27864            2  start\n"
        "   1         0  2.47214  0.944272  0.00310562            3   left\n"
        "   2         0  1.52786  0.944272  0.00310562            4   left\n"
        "   3  0.583592  1.52786  0.944272  0.00310562            5  right"
    )


# -- transformations, dtypes -------------------------------------------------------------------------------

ALL = [dichotomy, golden_section, parabolic, brent, slope_bisection, newton_1d]


@pytest.mark.parametrize("search", ALL)
def test_searches_are_mapped_and_compiled(search: Any) -> None:
    centres = jnp.linspace(0.2, 1.7, 7)
    found = jax.jit(jax.vmap(lambda c: search(lambda x: jnp.cosh(x - c), 0.0, 2.0, tol=1e-6)))(centres)
    np.testing.assert_allclose(found.x, centres, atol=1e-6)
    assert told(found.status).count("The minimum lies within the tolerance of x.") == 7


@pytest.mark.parametrize(
    ("search", "dtype"),
    [*((search, "float32") for search in ALL), (golden_section, "bfloat16"), (brent, "float16")],
)
def test_searches_keep_the_dtype(search: Any, dtype: str) -> None:
    a, b = jnp.asarray(0.0, dtype), jnp.asarray(2.0, dtype)
    found = search(lambda x: (x - jnp.asarray(0.7, dtype)) ** 2, a, b)
    assert found.x.dtype == jnp.dtype(dtype)
    # values resolve √ε
    assert abs(float(found.x) - 0.7) <= 4 * float(jnp.finfo(dtype).eps) ** 0.5


# -- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: golden_section(3.0, 0.0, 1.0),
            ArgumentError,
            "golden_section needs a function; it got a float. Pass the function itself.",
        ),
        (
            lambda: brent(jnp.cosh, 1.0, 1.0),
            ArgumentError,
            "brent got the interval [1, 1]; its ends are finite and in order, a < b.",
        ),
        (
            lambda: dichotomy(jnp.cosh, 0.0, jnp.inf),
            ArgumentError,
            "dichotomy got the interval [0, inf]; its ends are finite and in order, a < b.",
        ),
        (
            lambda: parabolic(jnp.cosh, jnp.nan, 1.0),
            ArgumentError,
            "parabolic got the interval [nan, 1]; its ends are finite and in order, a < b.",
        ),
        (
            lambda: golden_section(jnp.cosh, jnp.zeros(2), 1.0),
            ArgumentError,
            "golden_section got an interval whose ends have shapes [2] and []; they are numbers. Use jax.vmap to search "
            "many intervals at once.",
        ),
        (
            lambda: golden_section(jnp.cosh, -1.0, 1.0, tol=0.0),
            ArgumentError,
            "golden_section got tol=0; it is a positive bound on the distance to the minimum.",
        ),
        (
            lambda: golden_section(jnp.cosh, -1.0, 1.0, max_steps=0),
            ArgumentError,
            "golden_section got max_steps=0; it is a number of iterations, at least 1.",
        ),
        (
            lambda: golden_section(lambda x: x * jnp.ones(3), -1.0, 1.0),
            OutputError,
            "golden_section searches a function that returns one real number; this one returns float64[3] for a number. "
            "Return a scalar; use jax.vmap to search many functions at once.",
        ),
        (
            lambda: slope_bisection(jnp.exp, -1.0, 1.0),
            ArgumentError,
            "a minimum was asked for between -1 and 1; the slope is 0.367879 at the left end and 2.71828 at the right one, "
            "so that the function does not fall into the interval from both ends. Give an interval where the slope is "
            "negative at the left end and positive at the right one.",
        ),
    ],
)
def test_refusals(call: Any, error: Any, text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text


def test_inside_a_transformation_a_bracket_without_a_minimum_is_told() -> None:
    found = jax.jit(lambda b: newton_1d(jnp.exp, -1.0, b))(1.0)
    assert told(found.status) == (
        "The slope does not go from negative to positive over the interval: it holds no minimum inside."
    )
