"""Sizes, random points of the domain, and what a function says about wrong arguments."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from nablax.formula import FormulaError, choose_sizes, parse_formula, sample_point, to_function


def test_sizes_are_distinct_odd_primes_that_nothing_else_uses() -> None:
    assert choose_sizes(parse_formula("A*x")) == {"m": 3, "n": 5}
    assert choose_sizes(parse_formula("A*x + y", "y: vector(3)")) == {"n": 5}
    assert choose_sizes(parse_formula("A*x"), {"n": 3}) == {"m": 5, "n": 3}
    assert choose_sizes(parse_formula("A[6,0] + x[-4]")) == {"m": 7, "n": 11, "p": 13}
    with pytest.raises(FormulaError, match="the formula has no size k"):
        choose_sizes(parse_formula("A*x"), {"k": 3})
    with pytest.raises(FormulaError, match="the size n = 2 is too small: an index needs 4"):
        choose_sizes(parse_formula("x[3]"), {"n": 2})


def test_points_respect_the_kind() -> None:
    declare = "S: symmetric(n), P: spd(n), Q: orthogonal(n), D: diagonal(n), x: vector(n), c: scalar"
    point = sample_point(parse_formula("S + P + Q + D + c*x*x'", declare), seed=3)
    assert {name: value.shape for name, value in point.items()} == {
        **dict.fromkeys("SPQD", (3, 3)),
        "x": (3,),
        "c": (),
    }
    assert all(value.dtype == np.float64 for value in point.values())
    np.testing.assert_array_equal(point["S"], point["S"].T)
    assert np.linalg.eigvalsh(point["P"]).min() > 0
    np.testing.assert_allclose(point["Q"] @ point["Q"].T, np.eye(3), atol=1e-12)
    assert np.count_nonzero(point["D"]) == 3


def test_points_are_repeatable_and_differ_by_seed() -> None:
    formula = parse_formula("A*x")
    assert np.array_equal(sample_point(formula, 1)["A"], sample_point(formula, 1)["A"])
    assert not np.array_equal(sample_point(formula, 1)["A"], sample_point(formula, 2)["A"])


@pytest.mark.parametrize(
    "source",
    [
        "log(x)",
        "sqrt(x) + x.^0.5",
        "arcsin(x)",
        "logdet(X)",
        "log(x'*A*x)",
        "log(det(X))",
        "log(c - 1)",
        "1/X[0,0]",
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_points_lie_in_the_domain(source: str, seed: int) -> None:
    formula = parse_formula(source)
    point = sample_point(formula, seed)
    assert np.all(np.isfinite(to_function(formula)(**point)))
    if source == "logdet(X)":
        assert np.linalg.det(point["X"]) > 0


def test_empty_domain_and_large_points_are_refused() -> None:
    with pytest.raises(FormulaError, match=r"no point was found in 120 attempts at which log\(-x'\*x\) is finite"):
        sample_point(parse_formula("log(-x'*x)"))
    with pytest.raises(FormulaError, match="a point would have 1,000,000,000,000 entries"):
        sample_point(parse_formula("A", "A: matrix(1000000, 1000000)"))


@pytest.mark.parametrize("sizes", [{"m": 1, "n": 1}, {"m": 1, "n": 4}, {"m": 4, "n": 1}, {"m": 0, "n": 3}])
def test_awkward_sizes(sizes: dict[str, int]) -> None:
    formula = parse_formula("A*x - y'*A*x*y + sum(A)*vector(1)")
    point = sample_point(formula, sizes=sizes)
    A, x, y = point["A"], point["x"], point["y"]
    value = to_function(formula)(**point)
    np.testing.assert_allclose(value, A @ x - (y @ A @ x) * y + A.sum(), atol=1e-12)


MISFITS = {
    "axis 0 of x has size 3, but it has to be n = 2": {"A": np.ones((2, 2)), "x": np.ones(3)},
    "x has shape (2, 1), but it is a vector (n) in A*x": {"A": np.ones((2, 2)), "x": np.ones((2, 1))},
    "no value for x": {"A": np.ones((2, 2))},
    "the formula has no variable y": {"A": np.ones((2, 2)), "y": 1.0},
}


@pytest.mark.parametrize("reason", MISFITS)
def test_arguments_that_do_not_fit(reason: str) -> None:
    with pytest.raises(FormulaError) as caught:
        to_function(parse_formula("A*x"))(**MISFITS[reason])
    assert caught.value.reason == reason


def test_integer_sizes_and_sizes_nobody_carries() -> None:
    with pytest.raises(FormulaError, match="axis 0 of x has size 2, but it has to be 3"):
        to_function(parse_formula("x", "x: vector(3)"))(np.ones(2))
    formula = parse_formula("c*eye(n)")
    with pytest.raises(FormulaError, match="no array determines the size n"):
        to_function(formula)(2.0)
    np.testing.assert_array_equal(to_function(formula, {"n": 2})(2.0), 2 * np.eye(2))


def test_positions_names_and_python_keywords() -> None:
    function = to_function(parse_formula("lambda*x"))
    np.testing.assert_array_equal(function(2.0, np.ones(2)), [2, 2])
    np.testing.assert_array_equal(function(2.0, x=np.ones(2)), [2, 2])
    np.testing.assert_array_equal(function(**{"lambda": 2.0, "x": np.ones(2)}), [2, 2])
    with pytest.raises(FormulaError, match="lambda is given twice"):
        function(2.0, np.ones(2), **{"lambda": 1.0})
    with pytest.raises(FormulaError, match="3 arguments for 2 variables"):
        function(1.0, 2.0, 3.0)


def test_scalar_is_accepted_for_a_name_read_as_a_vector() -> None:
    function = to_function(parse_formula("sum(A*x - b)"))
    np.testing.assert_allclose(function(A=np.eye(2), x=np.ones(2), b=0.5), 1.0)


def test_unified_sizes_are_known_under_the_name_the_user_gave() -> None:
    formula = parse_formula("A*x/k", "A: matrix(m,n), x: vector(k)")
    np.testing.assert_allclose(to_function(formula)(A=np.ones((2, 4)), x=np.ones(4)), [1, 1])
    formula = parse_formula("sum(kron(x, y) - z)/k", "z: vector(k)")
    np.testing.assert_allclose(to_function(formula)(x=np.ones(2), y=np.ones(3), z=np.zeros(6)), 1)
    formula = parse_formula("x'*x/k", "A: matrix(m, k)")
    assert formula.sizes == ("n", "k")
    np.testing.assert_allclose(to_function(formula, {"k": 4})(np.ones(2)), 0.5)


def test_transformations_of_jax() -> None:
    function = to_function(parse_formula("log(sum(exp(A*x + y)))"))
    A, x, y = np.ones((3, 2)), np.arange(2.0), np.arange(3.0)
    batched = jax.jit(jax.vmap(function, in_axes=(None, 0, None)))(A, np.stack([x, 2 * x]), y)
    np.testing.assert_allclose(batched[1], function(A, 2 * x, y))
    assert jax.hessian(function, argnums=1)(A, x, y).shape == (2, 2)
