"""Functions with derivatives of the user's own: every verb, formulas, print, and refusals."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nablax as nb
from nablax.definitions.define import define
from nablax.formula import parse_formula
from nablax.formula.evaluate import to_function

RNG = np.random.default_rng(3)
X = jnp.asarray(RNG.normal(size=4))
A = jnp.asarray(RNG.normal(size=(5, 4)))

bump = define("bump", lambda x: jnp.exp(-(x**2)), lambda x, *, value: -2 * x * value, notation="β")
blend = define(
    "blend", lambda x, y: x * jnp.tanh(y), [lambda x, y: jnp.tanh(y), lambda x, y: x * (1 - jnp.tanh(y) ** 2)]
)
turn = define(
    "turn",
    jnp.linalg.inv,
    [[(-1.0, "ij,kl->il,jk", "value", "value")]],
)
third_power = define(
    "third_power",
    lambda m: m @ m @ m,
    [[(1.0, "jm,ml->il,ij", 0, 0), (1.0, "ij,kl->il,jk", 0, 0), (1.0, "im,mk->il,kl", 0, 0)]],
)


def plain_bump(x):
    return jnp.exp(-(x**2))


def test_every_verb() -> None:
    f, g = lambda x: jnp.sum(bump(A @ x) * x[0]), lambda x: jnp.sum(plain_bump(A @ x) * x[0])
    v = jnp.asarray(RNG.normal(size=4))
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    close(jax.grad(f)(X), jax.grad(g)(X))
    close(nb.hessian(f)(X), jax.hessian(g)(X))
    close(nb.hessian_diagonal(f)(X), jnp.diag(jax.hessian(g)(X)))
    close(nb.hvp(f)(X, v), jax.hessian(g)(X) @ v)
    close(nb.jacobian(lambda x: bump(A @ x))(X), jax.jacobian(lambda x: plain_bump(A @ x))(X))
    close(nb.derivative(f, 3)(X), jax.jacfwd(jax.hessian(g))(X))
    close(
        nb.directional(f, 4)(X, v)[4],
        jax.jvp(lambda x: jnp.vdot(jax.jacfwd(jax.hessian(g))(x) @ v @ v, v), (X,), (v,))[1],
    )
    assert nb.hessian_sparse(lambda x: jnp.sum(bump(x)))(X).nse == 4


def test_the_rule_is_used() -> None:
    # a value with a kink in its own code, and a rule that holds
    steps = define("steps", lambda x: jnp.where(x > 0, x, x), lambda x: jnp.ones_like(x))
    assert nb.plan(lambda x: jnp.sum(steps(x)))(X).steps is not None
    np.testing.assert_array_equal(jax.grad(lambda x: jnp.sum(steps(x)))(X), np.ones(4))


def test_two_arguments_broadcast() -> None:
    f = lambda x: jnp.sum(blend(x[:, None], x[None, :2]))
    g = lambda x: jnp.sum(x[:, None] * jnp.tanh(x[None, :2]))
    np.testing.assert_allclose(nb.hessian(f)(X), jax.hessian(g)(X), rtol=1e-9, atol=1e-12)
    assert blend(1, 2).dtype == jnp.tanh(2.0).dtype


@pytest.mark.parametrize(("ours", "theirs"), [(turn, jnp.linalg.inv), (third_power, lambda m: m @ m @ m)])
def test_matrix_functions(ours, theirs) -> None:
    c = jnp.asarray(RNG.normal(size=(3, 3))) + 4 * jnp.eye(3)
    f, g = lambda m: jnp.sum(ours(m) ** 2), lambda m: jnp.sum(theirs(m) ** 2)
    np.testing.assert_allclose(jax.grad(f)(c), jax.grad(g)(c), rtol=1e-9)
    np.testing.assert_allclose(nb.hessian(f)(c), jax.hessian(g)(c), rtol=1e-8, atol=1e-10)
    for strategy in ("legs-backward", "legs-forward", "columns"):
        np.testing.assert_allclose(nb.hessian(f, strategy=strategy)(c), jax.hessian(g)(c), rtol=1e-8, atol=1e-10)
    assert any(ours.__name__ in step for step in nb.plan(f)(c).steps)
    d = jnp.asarray(RNG.normal(size=(3, 3)))
    wanted = jax.jvp(lambda m: jax.jvp(lambda n: jax.jvp(g, (n,), (d,))[1], (m,), (d,))[1], (c,), (d,))[1]
    np.testing.assert_allclose(nb.directional(f, 3)(c, d)[3], wanted, rtol=1e-8)


def test_in_formulas_and_print() -> None:
    f = to_function(parse_formula("sum(bump(A*x))"))
    np.testing.assert_allclose(f(A=A, x=X), jnp.sum(plain_bump(A @ X)))
    derived = nb.derive("sum(bump(x))", declare="x: vector(n)")
    assert str(derived.gradient) == "−2(β(x) ⊙ x)"
    assert "return -2 * (bump(x) * x)" in derived.gradient.code()
    binary = to_function(parse_formula("sum(blend(x, y))"))
    np.testing.assert_allclose(binary(x=X, y=X), jnp.sum(X * jnp.tanh(X)))


def test_fences() -> None:
    define("box", lambda x: x**2, lambda x: 2 * x, notation="⟦{}⟧")
    assert "⟦x⟧" in str(nb.derive("sum(box(x).^2)", declare="x: vector(n)").gradient)


def test_defined_again() -> None:
    once = define("again", lambda x: x**2, lambda x: 2 * x)
    twice = define("again", lambda x: x**3, lambda x: 3 * x**2)
    np.testing.assert_allclose(jax.grad(lambda x: jnp.sum(once(x)))(X), 2 * X)
    np.testing.assert_allclose(jax.grad(lambda x: jnp.sum(twice(x)))(X), 3 * X**2)
    assert float(to_function(parse_formula("again(x)", "x: scalar"))(x=2.0)) == 8.0


def refused(*arguments, **named) -> str:
    with pytest.raises(nb.DefinitionError) as caught:
        define(*arguments, **named)
    return str(caught.value)


def test_a_wrong_rule_is_refused_with_the_point_and_both_numbers() -> None:
    text = refused("wrong", jnp.sin, lambda x: -jnp.cos(x))
    assert text.startswith("wrong was defined with a wrong rule: at x = ")
    point, stated, found = (float(s) for s in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", text)[:3])
    np.testing.assert_allclose([stated, found], [-np.cos(point), np.cos(point)], rtol=1e-5)
    text = refused("wrong", lambda x, y: x * y, [lambda x, y: y, lambda x, y: x + 1e-3])
    assert "its partial derivative in argument 1 is stated as" in text
    text = refused("wrong", jnp.linalg.inv, [[(1.0, "ij,kl->il,jk", "value", "value")]])
    assert text.startswith("wrong was defined with a wrong rule: at argument 0 = [[")
    with pytest.raises(nb.FormulaError, match="unknown function 'wrong'"):
        parse_formula("wrong(x)")


def test_other_refusals() -> None:
    assert "at x = " in refused("logarithm", jnp.log, lambda x: 1 / x)
    assert "Give the intervals on which it is finite" in refused("logarithm", jnp.log, lambda x: 1 / x)
    define("logarithm", jnp.log, lambda x: 1 / x, domain=(0.1, 9.0))
    assert refused("exp", jnp.exp, jnp.exp) == (
        "a function was to be defined under the name 'exp', which is taken. Give another."
    )
    assert refused("2x", jnp.exp, jnp.exp) == "a function was to be defined under the name '2x'. Give an identifier."
    assert "it does not act element by element" in refused("soft", jax.nn.softmax, lambda x: x)
    assert "its value does not take them" in refused("pair", lambda x, y: x * y, lambda x: x)
    assert "domain=(3, 1)" in refused("low", jnp.sin, jnp.cos, domain=(3, 1))
    assert "was given the einsum term (1.0, 'ij->')" in refused("odd", jnp.linalg.inv, [[(1.0, "ij->")]])
    assert "both functions and einsum terms" in refused("odd", jnp.linalg.inv, [jnp.cos, []])
    assert "needs a value that is a function; it got a float" in refused("odd", 1.0, jnp.cos)
    assert refused("odd", jnp.sin, []) == "odd was given no partials. Give one for each argument."
