"""Convexity in several arguments together, and of losses in JAX that are made of comparisons."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nablax as nb
from nablax.convex import Verdict
from nablax.errors import DerivationError

RANDOM = np.random.default_rng(0)
A, B, X = RANDOM.normal(size=(4, 3)), RANDOM.normal(size=4), RANDOM.normal(size=3)


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


QUADRATIC_OVER_LINEAR = """\
read as x: vector(n), t: positive scalar
f = xᵀx/t
convex in (x, t)
domain: every vector x
domain: every positive number t
proof:
  xᵀx is convex, ≥ 0   [a square LᵀL of an affine expression]
  xᵀx/t is convex, ≥ 0   [a square of a nonnegative convex expression over a positive concave one]
checked on 192 random segments{} of the domain: nothing contradicts"""


def test_a_proof_in_several_arguments() -> None:
    found = nb.convexity("x'*x/t", ("x", "t"), declare="t: positive scalar")
    assert str(found) == QUADRATIC_OVER_LINEAR.format(
        f" and the Hessian's eigenvalues at {found.verification.hessians} points"
    )


POSITIVE, NUMBERS = "x: positive scalar, y: positive scalar", "x: scalar, y: scalar"


@pytest.mark.parametrize(
    ("formula", "wrt", "declare", "verdict"),
    [
        ("norm2(A*x - b)^2", ("x", "b"), None, Verdict.CONVEX),
        ("x'*inv(S)*x", ("x", "S"), "S: spd(n)", Verdict.CONVEX),
        ("sum(x.*log(x./y))", ("x", "y"), "x: positive vector(n), y: positive vector(n)", Verdict.CONVEX),
        ("sum(max(x, y))", ("x", "y"), "x: vector(n), y: vector(n)", Verdict.CONVEX),
        ("a'*x - b'*y", ("x", "y"), "b: vector(m)", Verdict.AFFINE),
        ("x'*y", ("x", "y"), "x: vector(n), y: vector(n)", Verdict.NEITHER),
        ("1/2*norm2(Y - U*V')^2", ("U", "V"), None, Verdict.NEITHER),
        ("sqrt(x*y)", ("x", "y"), POSITIVE, Verdict.CONCAVE),
        ("x^(1/2)*y^(1/3)", ("x", "y"), POSITIVE, Verdict.CONCAVE),
        ("x*y", ("x", "y"), POSITIVE, Verdict.LOG_CONCAVE),
        ("sqrt(x*y*z)", ("x", "y", "z"), POSITIVE + ", z: positive scalar", Verdict.LOG_CONCAVE),
        ("x*y/(x + y)", ("x", "y"), POSITIVE, Verdict.CONCAVE),
        ("x^3/y^2", ("x", "y"), POSITIVE, Verdict.CONVEX),
        ("x^4/y^3", ("x", "y"), "x: scalar, y: positive scalar", Verdict.CONVEX),
        ("x^3/(y*z)", ("x", "y", "z"), POSITIVE + ", z: positive scalar", Verdict.CONVEX),
        ("x^2/(y*z)", ("x", "y", "z"), POSITIVE + ", z: positive scalar", Verdict.NEITHER),
        ("x^3/y^3", ("x", "y"), POSITIVE, Verdict.NEITHER),
        ("x^3/y^2", ("x", "y"), "x: scalar, y: positive scalar", Verdict.NEITHER),
        ("x^2 + x*y + y^2", ("x", "y"), NUMBERS, Verdict.CONVEX),
        ("x^2 - 2*x*y + y^2", ("x", "y"), NUMBERS, Verdict.CONVEX),
        ("(x + y)^2 - x*y", ("x", "y"), NUMBERS, Verdict.CONVEX),
        ("x*y - x^2 - y^2", ("x", "y"), NUMBERS, Verdict.CONCAVE),
        ("x^2 + 3*x*y + y^2", ("x", "y"), NUMBERS, Verdict.NEITHER),
        ("x'*x + x'*y + y'*y", ("x", "y"), "x: vector(n), y: vector(n)", Verdict.CONVEX),
        ("x'*x + 3*x'*y + y'*y", ("x", "y"), "x: vector(n), y: vector(n)", Verdict.NEITHER),
    ],
)
def test_verdict(formula: str, wrt: tuple[str, ...], declare: str | None, verdict: Verdict | None) -> None:
    found = nb.convexity(formula, wrt, declare=declare)
    assert found.wrt == f"({', '.join(wrt)})"
    assert found.verdict is verdict if verdict is not None else not found.is_convex


def test_a_product_is_refuted_by_numbers_of_both() -> None:
    found = nb.convexity("x*y", ("x", "y"), declare="x: scalar, y: scalar")
    first, second = found.witnesses
    assert (np.shape(first.first), first.others) == ((2,), ())
    for one, sign in ((first, 1), (second, -1)):
        middle = (np.asarray(one.first) + np.asarray(one.last)) / 2
        assert sign * (np.prod(middle) - (np.prod(one.first) + np.prod(one.last)) / 2) > 0


def test_several_arguments_of_a_function() -> None:
    found = nb.convexity(lambda x, y: jnp.sum((x - y) ** 2), ("x", "y"), args=(B, 2 * B))
    assert found.verdict is Verdict.CONVEX


def huber(x: jax.Array, A: jax.Array, b: jax.Array) -> jax.Array:
    r = A @ x - b
    return jnp.sum(jnp.where(jnp.abs(r) <= 1, r**2 / 2, jnp.abs(r) - 0.5))


@pytest.mark.parametrize("wrt", ["x", ("x", "b")])
def test_huber_in_jax(wrt: str | tuple[str, ...]) -> None:
    found = nb.convexity(huber, wrt, args=(X, A, B))
    assert found.verdict is Verdict.CONVEX
    assert any("piecewise polynomial" in step.rule for step in found.proof)


def test_what_is_no_loss_of_huber() -> None:
    found = nb.convexity(lambda x: jnp.sum(jnp.where(jnp.abs(x) <= 1, x**2, jnp.abs(x))), "x", args=(X,))
    assert not found.is_convex  # the slope falls from 2 to 1 at the kink


def test_refusals() -> None:
    with pytest.raises(DerivationError, match="a variable stands twice in wrt"):
        nb.convexity("x'*x", ("x", "x"))
    with pytest.raises(DerivationError, match="there is at least one argument in wrt"):
        nb.convexity("x'*x", ())
