"""Functions of JAX's libraries are read without their guards, and nothing else is taken for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy as jsp
import numpy as np
import pytest

from nablax.derivation import DerivationError, derive
from nablax.graph import plain
from nablax.graph.plain import found
from nablax.ops.jaxprs import trace

RANDOM = np.random.default_rng(0)
x, a, b = RANDOM.normal(size=5), RANDOM.normal(size=3), RANDOM.normal(size=3)
X, A = RANDOM.normal(size=(4, 5)), RANDOM.normal(size=(2, 3))
NORMAL = "r/√(2π)  where  r = exp(−½x^⊙2)"
RATIO = "(r ⊘ Φ(x))/√(2π)  where  r = exp(−½x^⊙2)"


@pytest.mark.parametrize(
    ("function", "args", "value", "gradient"),
    [
        (lambda x: jnp.prod(x), (x,), "prod(x)", "prod(x) (1 ⊘ x)"),
        (lambda x: jnp.sum(jsp.stats.norm.cdf(x)), (x,), "sum(Φ(x))", NORMAL),
        (lambda x: jnp.sum(jsp.special.ndtr(x)), (x,), "sum(Φ(x))", NORMAL),
        (lambda x: jnp.sum(jsp.stats.norm.logcdf(x)), (x,), "sum(log(Φ(x)))", RATIO),
        (lambda x: jnp.sum(jsp.special.log_ndtr(x)), (x,), "sum(log(Φ(x)))", RATIO),
        (lambda x: jsp.special.logsumexp(x), (x,), "log(sum(exp(x)))", "softmax(x)"),
        # the guard against overflow, by hand
        (lambda x: jnp.max(x) + jnp.log(jnp.sum(jnp.exp(x - jnp.max(x)))), (x,), "log(sum(exp(x)))", "softmax(x)"),
        (lambda X: jnp.sum(jsp.special.logsumexp(X, axis=1)), (X,), "sum(log(exp(X) 𝟏))", "softmax(X)"),
        (
            lambda x: jax.nn.softmax(x),
            (x,),
            "softmax(x)",
            "diag(softmax(x)) − softmax(x) softmax(x)ᵀ",
        ),
        (lambda a, b: jnp.cross(a, b), (a, b), "a × b", "−skew(b)"),
        (lambda a, b: jnp.sum(jnp.cross(a, b) ** 2), (a, b), "‖a × b‖²", "2(b × (a × b))"),
        (lambda b, A: jnp.kron(A, b[:, None]), (b, A), "A ⊗ b", "db ↦ A ⊗ db"),
        (lambda a, b: jnp.kron(a, b), (a, b), "a ⊗ b", "I ⊗ b"),
    ],
)
def test_closed_form(function: Callable[..., Any], args: tuple[Any, ...], value: str, gradient: str) -> None:
    derivation = derive(function, 0, args=args, seconds=60)
    assert (derivation.function.unicode(), derivation.gradient.unicode()) == (value, gradient)
    assert derivation.verification.passed


STEPS = (
    (
        lambda x: jsp.special.logsumexp(x),
        (x,),
        ["d(log(sum(exp(x)))) = ⟨softmax(x), dx⟩   [logsumexp]"],
    ),
    (
        lambda x, M: jnp.linalg.norm(M @ x),
        (x, X),
        ["d(‖Mx‖) = ⟨Mx, d(Mx)⟩/‖Mx‖   [norm]", "d(Mx) = M dx   [product]", "df = ⟨Mx, M dx⟩/‖Mx‖   [substitution]"],
    ),
    (
        lambda x: jax.nn.softmax(x),
        (x,),
        ["d(softmax(x)) = softmax(x) ⊙ dx − ⟨softmax(x), dx⟩ softmax(x)   [softmax]"],
    ),
    (
        lambda X: jnp.sum(jsp.special.logsumexp(X, axis=1)),
        (X,),
        [
            "d(sum(log(exp(X) 𝟏))) = sum(d(log(exp(X) 𝟏)))   [sum]",
            "d(log(exp(X) 𝟏)) = diag(softmax(X) dXᵀ)   [logsumexp]",
            "df = sum(diag(softmax(X) dXᵀ))   [substitution]",
        ],
    ),
    (
        lambda x: jnp.sum(jsp.stats.norm.cdf(x)),
        (x,),
        [
            "d(sum(Φ(x))) = sum(d(Φ(x)))   [sum]",
            "d(Φ(x)) = (exp(−½x^⊙2) ⊙ dx)/√(2π)   [Phi]",
            "df = sum((exp(−½x^⊙2) ⊙ dx)/√(2π))   [substitution]",
        ],
    ),
)


@pytest.mark.parametrize(("function", "args", "steps"), STEPS)
def test_steps_are_those_of_a_book(function: Callable[..., Any], args: tuple[Any, ...], steps: list[str]) -> None:
    derivation = derive(function, 0, args=args, order=1, seconds=60)
    assert [str(step) for step in derivation.steps if not step.rule.startswith("gradient")] == steps


def library(function: Callable[..., Any]) -> list[int]:
    """Where library functions begin in a function of a vector."""
    program = trace(lambda v: [function(v)], [jax.ShapeDtypeStruct((5,), jnp.float64)])
    return [place for place in range(len(program.equations)) if any(found(program, place))]


def test_a_function_is_found_inside_a_program() -> None:
    assert library(lambda v: jnp.sin(jsp.special.ndtr(2 * v))) == [1]
    assert library(lambda v: jax.nn.softmax(v) @ v) == [0]


def test_what_only_looks_alike_is_not_found() -> None:
    def other_factor(v: Any) -> Any:
        w = v * 0.7
        return 0.5 * jnp.where(jnp.abs(w) < 0.7, 1 + jsp.special.erf(w), jsp.special.erfc(w))

    def looked_into(v: Any) -> Any:
        e = jnp.exp(v - jax.lax.stop_gradient(jnp.max(v, keepdims=True)))
        return e / jnp.sum(e) + e

    assert library(other_factor) == []
    assert library(looked_into) == []


def test_a_wrong_row_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tuple(replace(row, instead=jnp.sin) if row.library is jsp.special.ndtr else row for row in plain.ROWS)
    monkeypatch.setattr(plain, "ROWS", wrong)
    with pytest.raises(DerivationError):
        derive(lambda x: jnp.sum(jsp.special.ndtr(x)), "x", args=(x,), seconds=60)


def test_a_product_of_some_numbers_below_zero() -> None:
    derivation = derive(lambda x: jnp.prod(x), "x", args=(np.array([-1.0, 2.0, -3.0, -4.0]),), seconds=60)
    np.testing.assert_allclose(derivation.gradient(x=[-1.0, 2.0, -3.0]), [-6.0, 3.0, -2.0])
