"""Steps, domain, Python functions, refusals and the fallback of `derive`."""

from __future__ import annotations

import json
import pickle
import sys
import time
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nablax.derivation import DerivationError, derive
from nablax.derivation.problem import Problem
from nablax.formula import Formula, Typed
from nablax.printing.expression import Expression, Scale


def test_steps_of_least_squares() -> None:
    found = derive("1/2*norm2(A*x-y)^2", "x")
    assert [(step.rule, f"{step.before} = {step.after}") for step in found.steps] == [
        ("scaling", "d(½‖Ax − y‖²) = ½d(‖Ax − y‖²)"),
        ("squared norm", "d(‖Ax − y‖²) = 2⟨Ax − y, d(Ax − y)⟩"),
        ("constant", "d(Ax − y) = d(Ax)"),
        ("constant factor", "d(Ax) = A dx"),
        ("substitution", "df = ⟨Ax − y, A dx⟩"),
        ("gradient: ⟨A dx, r⟩ = ⟨dx, Aᵀr⟩", "df = ⟨Aᵀ(Ax − y), dx⟩"),
        ("Hessian: the differential of the gradient", "d²f = ⟨AᵀA dx₁, dx₂⟩"),
    ]


def test_domain() -> None:
    assert derive("norm2(x)").domain == ("differentiable where x ≠ 0",)
    assert derive("log(x'*A*x)", "x").domain == ("xᵀAx > 0; for all x ≠ 0 that is so if A is positive definite",)


def test_python_function() -> None:
    arguments = (np.ones((4, 3)), np.ones(3), np.ones(4))
    found = derive(lambda A, x, b: jax.nn.logsumexp(A @ x + b), wrt="x", args=arguments, seconds=60)
    assert found.gradient.unicode() == "Aᵀp  where  p = softmax(Ax + b)"


def test_what_has_no_notation_is_still_evaluated() -> None:
    found = derive("tr(expm(X))", order=1)
    np.testing.assert_allclose(found.gradient(X=np.diag([1.0, 2.0])), np.diag(np.exp([1.0, 2.0])), atol=1e-12)
    assert any("no closed form that could be printed" in note for note in found.notes)


def test_a_factor_of_cholesky_has_a_notation() -> None:
    found = derive("tr(cholesky(S))", declare="S: spd(n)", order=1)
    np.testing.assert_allclose(found.gradient(S=np.diag([4.0, 9.0])), np.diag([1 / 4, 1 / 6]), atol=1e-12)
    assert found.gradient.engine is None


def test_json_is_plain_data() -> None:
    assert json.loads(json.dumps(derive("x'*x").to_json()))["gradient"]["unicode"] == "2x"


def test_refusals() -> None:
    with pytest.raises(DerivationError, match="has no variable z; it has A, x"):
        derive("A*x", "z")
    with pytest.raises(DerivationError, match="say by which variable"):
        derive("A*x")


def test_products_are_differentiated_factor_by_factor() -> None:
    shown = [str(step) for step in derive("x'*A*x", "x").steps]
    assert shown[:2] == [
        "d(xᵀAx) = dxᵀ Ax + xᵀA dx   [product]",
        "df = ⟨(A + Aᵀ)x, dx⟩   [gradient: ⟨A dx, r⟩ = ⟨dx, Aᵀr⟩]",
    ]


def test_a_wrong_step_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = sys.modules["nablax.derivation.steps"]
    honest = rules._of_operation
    assert "exp, chain" in {step.rule for step in derive("exp(x'*x)").steps}

    def wrong(problem: Problem, formula: Formula, body: Typed, *others: Any) -> Expression:
        after = honest(problem, formula, body, *others)
        return Scale(Fraction(2), (after,), (), None) if body.label == "exp" else after

    monkeypatch.setattr(rules, "_of_operation", wrong)
    assert "exp, chain" not in {step.rule for step in derive("exp(x'*x)").steps}


def test_functions_show_their_steps() -> None:
    X, w, y = np.ones((4, 3)), np.ones(3), np.arange(4.0)
    found = derive(lambda w, X, y: jnp.sum(jnp.exp(X @ w - y)), "w", args=(w, X, y))
    assert [str(step) for step in found.steps][:4] == [
        "d(sum(exp(Xw − y))) = sum(d(exp(Xw − y)))   [sum]",
        "d(exp(Xw − y)) = exp(Xw − y) ⊙ d(Xw − y)   [exp]",
        "d(Xw − y) = d(Xw)   [sum]",
        "d(Xw) = X dw   [product]",
    ]


@pytest.mark.parametrize(
    ("formula", "wrt", "step"),
    [
        ("det(X)", "X", "d(det(X)) = det(X) tr(X⁻¹ dX)   [det]"),
        ("inv(X)", "X", "d(X⁻¹) = −X⁻¹ dX X⁻¹   [inverse]"),
        ("X^3", "X", "d(X³) = dX X² + X dX X + X² dX   [product]"),
        ("softmax(x)", "x", "d(softmax(x)) = softmax(x) ⊙ dx − ⟨softmax(x), dx⟩ softmax(x)   [softmax]"),
        ("x/t", "t", "d(x/t) = −x dt/t²   [quotient]"),
        ("s^t", "t", "d(sᵗ) = log(s) sᵗ dt   [power]"),
        ("norm2(x)", "x", "d(‖x‖) = xᵀ dx/‖x‖   [norm]"),
    ],
)
def test_local_rules_are_the_engines(formula: str, wrt: str, step: str) -> None:
    assert str(derive(formula, wrt).steps[0]) == step


def test_a_function_with_a_mean_holds_for_every_length() -> None:
    X, w, y = np.ones((4, 3)), np.ones(3), np.arange(4.0)
    found = derive(lambda w, X, y: jnp.mean((X @ w - y) ** 2), "w", args=(w, X, y))
    assert str(found.gradient) == "(2/m)Xᵀ(Xw − y)"
    X, y = np.random.default_rng(0).standard_normal((100, 3)), np.zeros(100)
    np.testing.assert_allclose(found.gradient(w, X, y), X.T @ (X @ w) / 50)


def test_a_function_of_fixed_lengths_says_them_and_refuses_others() -> None:
    found = derive(lambda x: x[:2] @ x[2:], args=(np.arange(1.0, 5.0),))
    assert found.shapes["x"] == ("4",)
    np.testing.assert_allclose(found.gradient([1.0, 2.0, 3.0, 4.0]), [3.0, 4.0, 1.0, 2.0])
    with pytest.raises(DerivationError, match="axis 0 of x has size 5, but it has to be 4"):
        found.gradient(np.ones(5))


def test_ranges_of_places_hold_for_every_length() -> None:
    found = derive(lambda x: x[1:] @ x[:-1], args=(np.arange(1.0, 4.0),))
    np.testing.assert_allclose(found.gradient([1.0, 2.0, 3.0, 4.0]), [2.0, 4.0, 6.0, 3.0])


def test_kinds_of_functions_are_declared() -> None:
    found = derive(lambda S, x: x @ S @ x, "S", args=(np.eye(3), np.ones(3)), declare="S: diagonal(n)")
    assert str(found.gradient) == "diag(x^⊙2)"
    with pytest.raises(DerivationError, match="no argument T"):
        derive(lambda x: x @ x, args=(np.ones(3),), declare="T: symmetric")


@pytest.mark.parametrize(
    ("formula", "gradient"),
    [
        ("0.41*norm2(A*x - y)^2", "0.82Aᵀ(Ax − y)"),
        ("1.23*x'*x", "2.46x"),
        ("1/2*norm2(A*x - y)^2 + 0.1*x'*x", "Aᵀ(Ax − y) + 0.2x"),
        ("pi*x'*x", "2πx"),
        ("sum(x.^83)", "83x^⊙82"),
        ("norm2(x)^42", "42‖x‖⁴⁰ x"),
        ("lambda*x'*x", "2λx"),
        ("self*x'*x", "2 self x"),
        ("np*x'*x", "2 np x"),
        ("f*x'*x", "2fx"),
    ],
)
def test_numbers_and_names_stay(formula: str, gradient: str) -> None:
    found = derive(formula, "x")
    assert str(found.gradient) == gradient
    space: dict[str, object] = {}
    exec(found.gradient.code(), space)


def test_names_that_python_takes_for_one_stay_two() -> None:
    found = derive("ϵ*ε*x'*x", "x").gradient
    np.testing.assert_allclose(found(2.0, 3.0, [1.0]), [12.0])


@pytest.mark.parametrize(
    ("formula", "declare", "gradient"),
    [
        ("x'*D*x", "D: diagonal(n)", "diag(x^⊙2)"),
        ("tr(A*L)", "L: triangular(n)", "tril(Aᵀ)"),
        ("max(eig(D))", "D: symmetric(n)", "vvᵀ  where  v = eigenvector(D)"),
    ],
)
def test_the_derivative_lies_in_the_kind(formula: str, declare: str, gradient: str) -> None:
    assert str(derive(formula, declare[0], declare=declare).gradient) == gradient


@pytest.mark.parametrize(
    ("formula", "function", "gradient"),
    [
        ("sqrt(x^2)", abs, lambda x: x / abs(x)),
        ("(x^4)^(1/4)", abs, lambda x: x / abs(x)),
        ("(x^2)^(3/2)", lambda x: abs(x) ** 3, lambda x: 3 * x * abs(x)),
        ("sqrt(x^6)", lambda x: abs(x) ** 3, lambda x: 3 * x * abs(x)),
        ("(x^3)^2", lambda x: x**6, lambda x: 6 * x**5),
    ],
)
@pytest.mark.parametrize("x", [-2.0, 1.5])
def test_a_root_of_a_power_keeps_the_sign_of_the_root(formula: str, function: Any, gradient: Any, x: float) -> None:
    found = derive(formula, declare="x: scalar")
    np.testing.assert_allclose(found.function(x=x), function(x), rtol=1e-14)
    np.testing.assert_allclose(found.gradient(x=x), gradient(x), rtol=1e-14)


def test_long_declared_sizes_are_not_the_sizes_of_the_check() -> None:
    found = derive("mean(x.^2) + sum(x + vector(1, 1000000))", declare="x: vector(1000000)")
    assert found.shapes["x"] == ("1000000",)


def test_what_is_late_is_left_out() -> None:
    found = derive("*".join(["A"] * 64), declare="A: matrix(n,n)", seconds=0.2)
    assert any("takes longer than 0.2 seconds" in note for note in found.notes)


def test_what_is_late_depends_on_the_formula_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    once = derive("norm2(A*x - b)^2 + sin(sin(sin(sin(x'*x))))", "x", seconds=0.3)
    assert any("takes longer than 0.3 seconds" in note for note in once.notes)
    for clock in ("thread_time", "process_time", "perf_counter", "monotonic"):
        monkeypatch.setattr(time, clock, lambda: 1e9)
    assert str(derive("norm2(A*x - b)^2 + sin(sin(sin(sin(x'*x))))", "x", seconds=0.3)) == str(once)


def test_a_derivation_is_pickled_and_shown() -> None:
    found = derive("1/2*norm2(A*x - b)^2", "x")
    again = pickle.loads(pickle.dumps(found))
    assert repr(again) == str(found)
    assert found._repr_latex_().startswith("$$\\begin{aligned}\nf &= ")
    with pytest.raises(DerivationError, match="axis 0 of x has size 2, but it has to be n = 3 by A"):
        found.gradient(A=np.ones((4, 3)), x=np.ones(2), b=np.ones(4))


@pytest.mark.parametrize(("larger", "slope"), [(jnp.maximum, [1.0, 3.0, 1.0]), (jnp.minimum, [3.0, 1.0, 3.0])])
def test_equal_to_the_larger_one_is_larger(larger: Any, slope: list[float]) -> None:
    # older JAX writes the slope of max with this question, which no guard of a single point is
    args = np.array([1.0, 2.0, 3.0]), np.array([2.0, 1.0, 4.0])
    found = derive(lambda x, y: jnp.sum(jnp.where(x == larger(x, y), 3 * x, x)), "x", args=args)
    np.testing.assert_array_equal(found.gradient(*args), slope)


def test_the_function_is_not_called_like_a_variable() -> None:
    found = derive("f'*A*f", "f", declare="f: vector(n)", order=1)
    assert str(found).splitlines()[1:4] == ["g = fᵀAf", "dg = ⟨(A + Aᵀ)f, df⟩", "∇g = (A + Aᵀ)f"]
    assert found.shapes["∇g"] == ("n",)
    assert "The differential dg is the part of g(f + df) − g(f)" in str(found.explain())
    assert r"\mathrm{d}g &= " in found.latex()
    both = derive("f'*g*h", ("f", "g"), declare="f: vector, g: matrix, h: vector", order=1)
    assert both.equations()[2][0].unicode == "∂F/∂f"


def test_a_scalar_called_d_is_no_differential() -> None:
    found = derive("d*x'*x", "x")
    assert (found.function.unicode(), found.gradient.unicode()) == ("d·(xᵀx)", "2d·x")
    assert derive("d^2*x'*y", "x", order=1).gradient.unicode() == "d²·y"


def test_what_the_engine_evaluates_is_pickled() -> None:
    found = derive("tr(A*expm(X))", "X", order=1)
    again = pickle.loads(pickle.dumps(found))
    point = {"A": np.arange(9.0).reshape(3, 3), "X": np.diag([0.5, -1.0, 2.0])}
    assert str(again) == str(found)
    np.testing.assert_allclose(again.gradient.at(point), found.gradient.at(point), rtol=1e-12)
    np.testing.assert_allclose(np.diagonal(again.gradient.at(point)), np.exp([0.5, -1.0, 2.0]) * [0, 4, 8], rtol=1e-9)


def test_a_python_function_is_not_pickled_with_its_derivation() -> None:
    found = derive(lambda x: jnp.trace(jax.scipy.linalg.expm(jnp.outer(x, x))), "x", args=(np.ones(2),), order=1)
    again = pickle.loads(pickle.dumps(found))
    assert str(again) == str(found)
    with pytest.raises(DerivationError, match="the Python function was not stored with its derivation"):
        again.gradient.at({"x": np.ones(2)})


DOMAINS = {
    "max(eig(S))": ("S: symmetric(n)", ("differentiable where the largest eigenvalue of S is simple",)),
    "min(eig(S))": ("S: symmetric(n)", ("differentiable where the smallest eigenvalue of S is simple",)),
    "norm(X, 2)": (None, ("differentiable where the largest singular value of X is simple",)),
    "norm(X, nuc)": (None, ("differentiable where X has full rank",)),
    "tr(A*pinv(X))": (None, ("X has full rank",)),
    "sum(lgamma(x))": (None, ("no entry of x is 0, −1, −2, …",)),
    "sum(trigamma(x))": ("x: positive vector", ()),
    "sum(log(Phi(x)))": (None, ()),
    "max(X*x)": (None, ("differentiable where no two branches are equal",)),
}


@pytest.mark.parametrize("formula", DOMAINS)
def test_domains_of_functions_of_matrices(formula: str) -> None:
    declare, expected = DOMAINS[formula]
    wrt = next(name for name in ("S", "X", "x") if name in formula.replace("max", "").replace("X*", ""))
    assert derive(formula, wrt, declare=declare, order=1).domain == expected
