"""Minimisers: known minima, SciPy, trees and dtypes, compiled once, interrupts, and refusals in full."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix
import pytest
import scipy.optimize

import nablax as nb
from nablax import ArgumentError, OutputError, StrategyError
from nablax.optimise import Bracketing, HagerZhang, MoreThuente, definiteness, told
from nablax.optimise.trust_region import next_radius

CONVERGED = "The gradient is as small as asked."


def rosenbrock(x: Any) -> Any:
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def saddle(x: Any) -> Any:
    """Indefinite near 0, with minima at (±1, 0) of value −1/4."""
    return x[0] ** 4 / 4 - x[0] ** 2 / 2 + x[1] ** 2


START = jnp.array([-1.2, 1.0])


@pytest.mark.parametrize(
    "method", ["newton", "trust-region", "steihaug", "cubic", "newton-cg", "bfgs", "l-bfgs", "auto"]
)
def test_rosenbrock(method: str) -> None:
    found = nb.minimise(rosenbrock, START, method=method, tol=1e-9)
    assert told(found.status) == CONVERGED
    assert found.gradient_norm <= 1e-9 * 232.868  # ‖∇f(x₀)‖∞ = 232.868, SciPy
    np.testing.assert_allclose(found.x, 1.0, atol=2e-6)
    np.testing.assert_allclose(found.gradient, jax.grad(rosenbrock)(found.x), atol=1e-12)


@pytest.mark.parametrize("search", [MoreThuente(), HagerZhang(), Bracketing(), Bracketing(condition="goldstein")])
def test_newton_with_every_search(search: Any) -> None:
    found = nb.minimise(rosenbrock, START, method="newton", search=search)
    assert told(found.status) == CONVERGED
    np.testing.assert_allclose(found.x, 1.0, atol=1e-5)


def test_gradient_descent_on_an_ellipse() -> None:
    found = nb.minimise(lambda x: x[0] ** 2 + 10 * x[1] ** 2, jnp.array([3.0, 1.0]), method="gradient-descent")
    assert told(found.status) == CONVERGED
    np.testing.assert_allclose(found.x, 0.0, atol=1e-6)


@pytest.mark.parametrize("method", ["newton", "trust-region", "steihaug", "cubic", "newton-cg"])
def test_negative_curvature_is_left_behind(method: str) -> None:
    found = nb.minimise(saddle, jnp.array([0.01, 1.0]), method=method)
    assert told(found.status) == CONVERGED
    np.testing.assert_allclose(float(found.value), -0.25, atol=1e-12)


def test_trust_region_takes_about_as_many_steps_as_scipys() -> None:
    ours = nb.minimise(rosenbrock, START, method="trust-region", tol=1e-8)
    theirs = scipy.optimize.minimize(
        scipy.optimize.rosen, START, method="trust-exact", jac=scipy.optimize.rosen_der, hess=scipy.optimize.rosen_hess,
        options={"gtol": 1e-8 * 232.868},
    )  # fmt: skip
    assert int(ours.counts.values) <= 1.5 * theirs.nfev
    assert float(ours.smallest_eigenvalue) == pytest.approx(
        np.linalg.eigvalsh(scipy.optimize.rosen_hess(np.asarray(ours.x)))[0], rel=1e-6
    )


# -- what "auto" chooses, and large problems ---------------------------------------------------------------


def chain(x: Any) -> Any:
    return jnp.sum(jnp.cosh(x - 0.5)) + jnp.sum((x[1:] - x[:-1]) ** 4)


def genrose(x: Any) -> Any:
    # Toint's generalised Rosenbrock function: its Hessian is indefinite on the way; the only minimum is at 1
    return 1.0 + jnp.sum((x[1:] - 1.0) ** 2) + 100 * jnp.sum((x[1:] - x[:-1] ** 2) ** 2)


def grid(x: Any) -> Any:
    u = x.reshape(30, 30)
    return jnp.sum((u[1:] - u[:-1]) ** 4) + jnp.sum((u[:, 1:] - u[:, :-1]) ** 2) + jnp.sum(jnp.cosh(u - 0.5))


def low_rank(x: Any, A: Any) -> Any:
    return jnp.sum(jnp.cosh(x - 0.5)) + jnp.sum((A @ (x - 0.5)) ** 2)


@pytest.mark.parametrize(
    ("f", "size", "data", "method", "reason"),
    [
        (
            chain,
            900,
            (),
            "trust-region",
            "900 unknowns, the Hessian is banded with 1,800 values: sparse factors on the host",
        ),
        (
            grid,
            900,
            (),
            "trust-region",
            "900 unknowns, the Hessian is sparse with 4,380 values: sparse factors on the host",
        ),
        (
            low_rank,
            1500,
            (np.cos(np.arange(3000.0)).reshape(2, 1500) / 30,),
            "newton",
            "1,500 unknowns, the Hessian is diagonal + low rank: systems are solved by Woodbury's identity",
        ),
        (
            lambda x: jnp.logaddexp(0.0, jnp.sum(x)) ** 2 + jnp.sum(jnp.cosh(x - 0.5 + jnp.mean(x) - 0.5)),
            40,
            (),
            "trust-region",
            "40 unknowns, the Hessian is diagonal + low rank: dense Cholesky factors are affordable",
        ),
    ],
)
def test_auto_says_why(f: Any, size: int, data: Any, method: str, reason: str) -> None:
    x0 = jnp.asarray(np.sin(np.arange(float(size))) + 0.5)
    found = nb.minimise(f, x0, *data)
    assert (found.method, found.reason) == (method, reason)
    assert told(found.status) == CONVERGED
    slopes = jax.grad(f)(found.x, *data)
    np.testing.assert_allclose(slopes, 0.0, atol=2e-8 * max(1.0, float(jnp.max(jnp.abs(jax.grad(f)(x0, *data))))))


def test_products_alone_serve_a_large_dense_hessian() -> None:
    A = jnp.asarray(np.cos(np.arange(1100.0)[:, None] * np.arange(1, 1301))) / 40
    f = lambda x, A: jnp.sum(jnp.cosh(A.T @ (x - 1.0)))
    found = nb.minimise(f, jnp.zeros(1100), A)
    assert (found.method, found.reason) == (
        "steihaug",
        "1,100 unknowns, the Hessian is dense: products with vectors only",
    )
    assert told(found.status) == CONVERGED


def test_products_serve_a_sparse_hessian_whose_factors_would_fill_in() -> None:
    n = 2000
    pairs = jnp.asarray(np.random.default_rng(0).integers(0, n, (4 * n, 2)))
    f = lambda x: jnp.sum(jnp.cosh(x)) + jnp.sum(jnp.sin(x[pairs[:, 0]] * x[pairs[:, 1]])) / 4
    found = nb.minimise(f, jnp.cos(jnp.arange(float(n))))
    assert found.method == "steihaug"
    assert found.reason == (
        "2,000 unknowns, the Hessian is sparse, and its factors would fill in: products with vectors only"
    )
    assert told(found.status) == CONVERGED
    np.testing.assert_allclose(jax.grad(f)(found.x), 0.0, atol=1e-6)


def test_a_band_is_eliminated_by_a_compiled_newton_step_where_there_is_no_host() -> None:
    x0 = jnp.asarray(np.sin(np.arange(900.0)) + 0.5)
    found = jax.jit(lambda x: nb.minimise(chain, x))(x0)
    assert found.method == "newton"
    assert found.reason == "900 unknowns, the Hessian is banded: systems are solved by tridiagonal elimination"
    np.testing.assert_allclose(found.x, nb.minimise(chain, x0).x, atol=1e-6)


def test_a_curved_valley_of_300_unknowns_is_followed_to_its_end() -> None:
    found = nb.minimise(genrose, jnp.arange(1.0, 301.0) / 301.0)
    assert told(found.status) == CONVERGED
    np.testing.assert_allclose(found.x, 1.0, atol=1e-4)


def test_sparse_and_dense_trust_regions_take_the_same_way() -> None:
    x0 = jnp.asarray(np.sin(np.arange(36.0)))
    shape = lambda x: jnp.sum(jnp.diff(x.reshape(6, 6), axis=0) ** 4 - jnp.sin(3 * jnp.diff(x.reshape(6, 6), axis=0)))
    f = lambda x: shape(x) + jnp.sum(jnp.diff(x.reshape(6, 6), axis=1) ** 2) + 0.1 * jnp.sum((x - 1) ** 2)
    sparse = nb.minimise(f, x0, method="trust-region")
    dense = nb.minimise(f, x0, method="cubic")
    assert sparse.reason == "asked for; sparse factors on the host"
    assert told(sparse.status) == told(dense.status) == CONVERGED
    assert definiteness(f, sparse.x).kind == definiteness(f, dense.x).kind == "minimum"


# -- trees, dtypes, transformations ------------------------------------------------------------------------


def test_trees_and_static_arguments() -> None:
    def f(p: Any, power: int, target: Any) -> Any:
        return jnp.sum((p["a"] - target) ** power) + (p["b"][0] * 2.0 - p["a"][0, 0]) ** 2

    start = {"a": jnp.ones((2, 1)), "b": (jnp.float64(3.0),)}
    found = nb.minimise(f, start, 2, jnp.array([[4.0], [5.0]]))
    np.testing.assert_allclose(found.x["a"], [[4.0], [5.0]], atol=1e-7)
    np.testing.assert_allclose(found.x["b"][0], 2.0, atol=1e-7)
    assert jax.tree.structure(found.gradient) == jax.tree.structure(start)


@pytest.mark.parametrize("method", ["auto", "newton", "steihaug", "cubic"])
def test_single_precision(method: str) -> None:
    found = nb.minimise(rosenbrock, START.astype("float32"), method=method, tol=1e-5)
    assert found.x.dtype == jnp.float32
    assert told(found.status) == CONVERGED
    # ‖g‖∞ ≤ 1e-5 · 233, so that |x − 1| ≤ √2 · 233e-5 / 0.4, the smallest eigenvalue
    np.testing.assert_allclose(found.x, 1.0, atol=0.0083)


def test_the_whole_minimisation_is_mapped_and_compiled() -> None:
    f = lambda x, c: jnp.sum(jnp.cosh(x - c)) + x[0] ** 2
    centres = jnp.array([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]])
    found = jax.jit(jax.vmap(lambda c: nb.minimise(f, jnp.zeros(2), c)))(centres)
    # sinh(x − c) + 2x = 0 and x = c
    np.testing.assert_allclose(jnp.sinh(found.x[:, 0] - centres[:, 0]) + 2 * found.x[:, 0], 0.0, atol=1e-7)
    np.testing.assert_allclose(found.x[:, 1], centres[:, 1], atol=1e-7)
    assert found.seconds is None


@pytest.mark.parametrize("method", ["auto", "newton", "steihaug", "levenberg-marquardt"])
def test_a_tree_with_a_leaf_of_no_numbers(method: str) -> None:
    residuals = method == "levenberg-marquardt"
    f = lambda t: jnp.concatenate([t["a"] - 2, t["b"]]) if residuals else jnp.sum((t["a"] - 2) ** 2) + jnp.sum(t["b"])
    found = nb.minimise(f, {"a": jnp.ones(3), "b": jnp.zeros(0)}, method=method)
    np.testing.assert_allclose(found.x["a"], 2.0)
    assert found.x["b"].shape == (0,)


def test_nothing_is_compiled_again() -> None:
    traced = 0

    def f(x: Any, a: Any) -> Any:
        nonlocal traced
        traced += 1
        return jnp.sum(jnp.cosh(x - a)) + jnp.prod(x)

    def step_by_step(x: Any, a: Any) -> Any:
        return nb.minimise(f, x, a, callback=lambda _: None)

    def whole(x: Any, a: Any) -> Any:
        return nb.minimise(f, x, a)

    for way in (step_by_step, whole):
        way(jnp.ones(3), 0.5)
        before = traced
        for a in (0.6, jnp.float64(0.7)):
            assert int(way(jnp.full(3, 2.0), float(a)).iterations) > 2
        assert traced == before


def test_methods_of_other_libraries() -> None:
    f = lambda x: jnp.sum((x - 2.0) ** 2)
    adam = nb.minimise(f, jnp.zeros(2), method=optax.adam(0.1), tol=1e-3, max_iterations=2000)
    np.testing.assert_allclose(adam.x, 2.0, atol=1e-2)
    simplex = nb.minimise(f, jnp.zeros(2), method=optimistix.NelderMead(1e-8, 1e-8), tol=1e-3)
    np.testing.assert_allclose(simplex.x, 2.0, atol=1e-3)


# -- on the way --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["trust-region", "steihaug", optax.adam(0.5)])
@pytest.mark.parametrize("limit", [5, 12, 23])
def test_the_gradient_is_that_of_the_best_point(method: Any, limit: int) -> None:
    found = nb.minimise(genrose, jnp.arange(1.0, 41.0) / 41.0, method=method, max_iterations=limit)
    assert told(found.status) == "The limit of iterations was reached first."
    value, gradient = jax.value_and_grad(genrose)(found.x)
    np.testing.assert_allclose(found.value, value, rtol=1e-12)
    np.testing.assert_allclose(found.gradient, gradient, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.gradient_norm, np.max(np.abs(gradient)), rtol=1e-9)


def test_callbacks_see_every_step_and_may_stop() -> None:
    seen: list[Any] = []
    found = nb.minimise(rosenbrock, START, callback=seen.append)
    assert [it.number for it in seen] == list(range(1, int(found.iterations) + 1))
    assert seen[-1].value == found.value
    stopped = nb.minimise(rosenbrock, START, callback=lambda it: it.number == 5)
    assert int(stopped.iterations) == 5
    assert told(stopped.status) == "It was interrupted; x is the best point so far."


def test_an_interrupt_keeps_the_best_point() -> None:
    def interrupt(it: Any) -> None:
        if it.number == 7:
            raise KeyboardInterrupt

    found = nb.minimise(rosenbrock, START, callback=interrupt)
    assert told(found.status) == "It was interrupted; x is the best point so far."
    assert int(found.iterations) == 7
    assert found.value == rosenbrock(found.x) < rosenbrock(START)


def test_a_way_that_goes_uphill_ends_at_the_best_point() -> None:
    values = []
    for limit in range(1, 16):
        found = nb.minimise(rosenbrock, START, method="trust-region", max_iterations=limit)
        assert float(found.value) == pytest.approx(float(rosenbrock(found.x)), rel=1e-12)
        values.append(float(found.value))
    assert values == sorted(values, reverse=True)


def helical_valley(x: Any) -> Any:
    """The angle jumps where x₁ changes its sign at x₀ > 0: a wall that runs along the valley."""
    angle = jnp.arctan2(x[1], x[0]) / (2 * jnp.pi)
    return 100 * ((x[2] - 10 * angle) ** 2 + (jnp.hypot(x[0], x[1]) - 1) ** 2) + x[2] ** 2


def test_a_wall_beside_the_way_costs_few_steps() -> None:
    found = nb.minimise(helical_valley, jnp.array([-1.0, 0.2, 1.0]), method="trust-region", tol=1e-9)
    assert told(found.status) == CONVERGED
    np.testing.assert_allclose(found.x, [1.0, 0.0, 0.0], atol=1e-6)
    assert found.counts.values < 40  # 54 where the ball is cut to a quarter whatever was seen


@pytest.mark.parametrize(
    ("slope", "change", "share"),
    [
        (-4.0, 4.0, 0.25),  # −4 t + 8 t² is lowest at a quarter
        (-4.0, -1.0, 0.5),  # … + 3 t² at two thirds
        (-4.0, 96.0, 0.1),  # … + 100 t² at a fiftieth
        (-4.0, np.inf, 0.1),
        (-4.0, np.nan, 0.25),
        (-4.0, -5.0, 0.25),  # no parabola that opens upwards
    ],
)
def test_a_poor_step_tells_how_far_to_go(slope: float, change: float, share: float) -> None:
    assert next_radius(3.0, 2.0, -1.0, slope, change) == pytest.approx(2.0 * share)
    assert next_radius(3.0, 2.0, 0.5, slope, change) == 3.0


def test_what_a_run_gives_is_on_the_host_but_for_the_point_and_the_gradient() -> None:
    found = nb.minimise(rosenbrock, START.astype("float32"))
    assert isinstance(found.iterations, int)
    assert isinstance(found.counts.values, int)
    assert isinstance(found.value, np.float32)
    assert isinstance(found.x, jax.Array)
    assert isinstance(found.gradient, jax.Array)


def test_limits() -> None:
    found = nb.minimise(rosenbrock, START, max_iterations=3)
    assert told(found.status) == "The limit of iterations was reached first."
    assert int(found.iterations) == 3
    found = nb.minimise(rosenbrock, jnp.zeros(40), max_seconds=1e-9)  # small ones are done before it is asked
    assert told(found.status) == "The limit of time was reached first; x is the best point so far."


@pytest.mark.parametrize("method", ["newton", "trust-region", "steihaug", "cubic", "newton-cg"])
def test_a_value_that_is_not_finite_is_a_step_not_taken(method: str) -> None:
    # −log x₀ − log(1 − x₀) + …: NaN outside of (0, 1), which Newton's first step leaves
    f = lambda x: -jnp.log(x[0]) - 3 * jnp.log(1 - x[0]) + (x[1] - 50 * x[0]) ** 2
    found = nb.minimise(f, jnp.array([0.9, -40.0]), method=method)
    assert told(found.status) == CONVERGED
    np.testing.assert_allclose(found.x, [0.25, 12.5], rtol=1e-4)


def test_a_gradient_that_is_not_finite_is_retreated_from() -> None:
    # the square root's slope is infinite at 0, where its value is finite
    f = lambda x: (jnp.sqrt(jnp.abs(x[0])) - 1) ** 2
    found = nb.minimise(f, jnp.array([0.36]), method="trust-region")
    assert np.isfinite(found.gradient_norm)
    assert told(found.status) == CONVERGED


@pytest.mark.parametrize("method", ["newton", "trust-region"])
def test_no_lower_bound(method: str) -> None:
    found = nb.minimise(lambda x: -jnp.sum(x**4), jnp.ones(2), method=method)
    assert told(found.status) == "The function falls without bound."


# -- the point that was found ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "x", "text"),
    [
        (
            lambda x: x[0] ** 2 + 3 * x[1] ** 2,
            [0.0, 0.0],
            "The point is a strict minimum: every eigenvalue of the Hessian is positive.\n"
            "eigenvalues from 2 to 6, zero below 8.0e-15; largest gradient component 0.0e+00",
        ),
        (
            lambda x: -(x[0] ** 2) - 3 * x[1] ** 2,
            [0.0, 0.0],
            "The point is a strict maximum: every eigenvalue of the Hessian is negative.\n"
            "eigenvalues from -6 to -2, zero below 8.0e-15; largest gradient component 0.0e+00",
        ),
        (
            saddle,
            [0.0, 0.0],
            "The point is a saddle: the Hessian has eigenvalues of both signs.\n"
            "eigenvalues from -1 to 2, zero below 2.7e-15; largest gradient component 0.0e+00",
        ),
        (
            lambda x: x[0] ** 2 + x[1] ** 4,
            [0.0, 0.0],
            "The point is degenerate: an eigenvalue of the Hessian is zero up to rounding.\n"
            "eigenvalues from 0 to 2, zero below 2.7e-15; largest gradient component 0.0e+00",
        ),
        (
            lambda x: x[0] ** 2 + x[1],
            [0.0, 0.0],
            "The point is not stationary: a gradient counts as zero up to 3.0e-08.\n"
            "eigenvalues from 0 to 2, zero below 2.7e-15; largest gradient component 1.0e+00",
        ),
    ],
)
def test_definiteness(f: Any, x: Any, text: str) -> None:
    assert str(definiteness(f, jnp.array(x))) == text


def test_definiteness_of_many_unknowns_by_lanczos() -> None:
    weights = jnp.linspace(-1.0, 4.0, 2500)
    found = definiteness(lambda x: jnp.sum(weights * x**2) / 2, jnp.zeros(2500))
    assert found.kind == "saddle"
    # the ends of the spectrum, to the stated share of its width
    np.testing.assert_allclose([found.smallest, found.largest], [-1.0, 4.0], atol=5e-6)


# -- refusals ----------------------------------------------------------------------------------------------

GOOD = lambda x: jnp.sum(x**2)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: nb.minimise(1.0, jnp.ones(2)),
            ArgumentError,
            "minimise needs a function; it got a float. Pass the function itself.",
        ),
        (
            lambda: nb.minimise(GOOD, jnp.array([1.0, jnp.nan, jnp.inf])),
            ArgumentError,
            "minimise was given a start of which 2 of 3 numbers are not finite. Begin at a finite point.",
        ),
        (
            lambda: nb.minimise(GOOD, jnp.arange(3)),
            ArgumentError,
            "minimise was given a start that holds a array int64[3]; unknowns are real floating-point numbers. Pass "
            "x0.astype(float), or floats.",
        ),
        (
            lambda: nb.minimise(GOOD, [1.0, 2]),
            ArgumentError,
            "minimise was given a start that holds a int; unknowns are real floating-point numbers. Pass "
            "x0.astype(float), or floats.",
        ),
        (
            lambda: nb.minimise(GOOD, ()),
            ArgumentError,
            "minimise was given a start without numbers. Pass a floating-point array, or a tree of them.",
        ),
        (
            lambda: nb.minimise(GOOD, {"a": jnp.zeros(0)}),
            ArgumentError,
            "minimise was given a start without numbers. Pass a floating-point array, or a tree of them.",
        ),
        (
            lambda: nb.minimise(lambda x: x**2, jnp.ones(2)),
            OutputError,
            "minimise takes a function that returns one real number; this one returns float64[2]. Return a scalar, for "
            "example by jax.numpy.sum; residuals go to method='levenberg-marquardt'.",
        ),
        (
            lambda: nb.minimise(lambda x: jnp.log(x[0]), jnp.array([-1.0])),
            ArgumentError,
            "minimise was asked to begin at a point where the value of the function is not finite (its value there is "
            "nan). Begin inside the function's domain.",
        ),
        (
            lambda: nb.minimise(lambda x: jnp.sqrt(x[0]), jnp.array([0.0])),
            ArgumentError,
            "minimise was asked to begin at a point where the gradient of the function is not finite (its value there is "
            "0). Begin inside the function's domain.",
        ),
        (
            lambda: nb.minimise(GOOD, jnp.ones(2), method="simplex"),
            StrategyError,
            "minimise was asked for the method 'simplex'; there are auto, newton, trust-region, steihaug, cubic, newton-cg, "
            "gauss-newton, levenberg-marquardt, gradient-descent, bfgs, l-bfgs, projected-newton.",
        ),
        (
            lambda: nb.minimise(GOOD, jnp.ones(2), method=3),
            ArgumentError,
            "minimise got a method of type int; it takes a name, a minimiser of optimistix or a gradient transformation of "
            "optax.",
        ),
        (
            lambda: nb.minimise(GOOD, jnp.ones(2), method="cubic", search=MoreThuente()),
            StrategyError,
            "minimise was given a line search for the method 'cubic', which has none to replace; methods with one are "
            "newton, newton-cg, gradient-descent, gauss-newton.",
        ),
        (
            lambda: nb.minimise(GOOD, jnp.ones(2), method="newton", bounds=(0.0, 1.0)),
            StrategyError,
            "minimise was asked for the method 'newton' with bounds; only 'projected-newton' keeps them, and 'auto' takes "
            "it.",
        ),
        (
            lambda: nb.minimise(GOOD, jnp.ones(2), method="projected-newton"),
            StrategyError,
            "minimise was asked for the method 'projected-newton' without bounds. Give bounds=(lower, upper).",
        ),
        (
            lambda: nb.minimise(GOOD, jnp.ones(2), bounds=(0.0, jnp.array([1.0, -1.0]))),
            ArgumentError,
            "minimise was given bounds that are out of order at 1 of 2 places; at place 1, lower is 0 and upper is -1. A "
            "lower bound is no larger than the upper one.",
        ),
        (
            lambda: nb.minimise(GOOD, jnp.ones(2), bounds=(jnp.zeros(3), 1.0)),
            ArgumentError,
            "minimise was given lower bounds of shapes [3]; the start has [2]. Give them the tree and shapes of the start, "
            "or one number for all.",
        ),
        (
            lambda: nb.minimise(GOOD, jnp.ones(2), bounds=[0.0, 1.0]),  # type: ignore[arg-type]
            ArgumentError,
            "minimise takes bounds=(lower, upper), each a tree like the start or a number for all unknowns; it got a list.",
        ),
        (
            lambda: nb.minimise(GOOD, jnp.ones(2), tol=0.0),
            ArgumentError,
            "minimise got tol=0; it is a positive share of the gradient at the start.",
        ),
        (
            lambda: nb.minimise(GOOD, jnp.ones(2), max_iterations=0),
            ArgumentError,
            "minimise got max_iterations=0; it is a number of steps, at least 1.",
        ),
        (
            lambda: nb.minimise(GOOD, jnp.ones(2), max_seconds=-1.0),
            ArgumentError,
            "minimise got max_seconds=-1; it is a positive number of seconds.",
        ),
    ],
)
def test_refusals(call: Any, error: Any, text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text


def test_a_singular_hessian_is_not_taken_for_an_indefinite_one() -> None:
    a = jnp.arange(1.0, 41.0)
    found = nb.minimise(lambda x: (a @ x - 1) ** 2, jnp.zeros(40), method="trust-region")
    assert found.reason == "asked for; dense"
    np.testing.assert_allclose(a @ found.x, 1.0, rtol=1e-9)
    np.testing.assert_allclose(found.x, a / (a @ a), rtol=1e-3)
    assert (found.iterations, found.counts.factorisations) == (1, 2)
