"""Derivatives of order three and more, against nested JAX and hand-written answers."""

from __future__ import annotations

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nablax as nb

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(5)
A = jnp.asarray(RNG.normal(size=(7, 4)))
B = jnp.asarray(RNG.normal(size=(4, 4))) + 4 * jnp.eye(4)


def nested(f, order, argnums=0):
    g = jax.jacrev(f, argnums)
    for _ in range(order - 1):
        g = jax.jacfwd(g, argnums)
    return g


def scanned(x):
    def turn(c, a):
        c = jnp.tanh(a * c + x[:2])
        return c, c.sum()

    carry, out = jax.lax.scan(turn, x[2:], jnp.arange(3.0))
    return jnp.sum(out**2) * carry[0]


@jax.custom_vjp
def ruled(x):
    return jnp.sin(x)


ruled.defvjp(lambda x: (jnp.sin(x), jnp.cos(x)), lambda c, g: (g * c,))

FUNCTIONS = {
    "log-sum-exp": lambda x: jax.nn.logsumexp(A @ x),
    "separable": lambda x: jnp.sum(jnp.sin(x) * x),
    "chain": lambda x: jnp.sum((x[1:] - x[:-1] ** 2) ** 2 * jnp.cos(x[1:])),
    "layers": lambda x: jnp.sum(jnp.tanh(B @ jnp.tanh(B @ x)) ** 2),
    "residual": lambda x: jnp.sum((x + jnp.sin(B @ x)) ** 3),
    "product": lambda x: jnp.prod(x),
    "logdet": lambda x: jnp.linalg.slogdet(B + jnp.outer(x, x) + jnp.diag(x))[1],
    "cholesky": lambda x: jnp.sum(jnp.linalg.cholesky(B @ B.T + jnp.outer(x, x)) ** 3),
    "solve": lambda x: jnp.sum(jnp.linalg.solve(B + jnp.diag(x), x**2)),
    "lgamma": lambda x: jnp.sum(jax.lax.lgamma(1.0 + x**2) * x[::-1]),
    "where": lambda x: jnp.sum(jnp.where(x > 0, x**4, jnp.exp(x)) * x[0]),
    "scan": scanned,
    "cond": lambda x: jax.lax.cond(x[0] > 0, lambda y: jnp.prod(y), lambda y: jnp.sum(y**5), x),
    "custom_vjp": lambda x: jnp.sum(ruled(x) ** 3) * x[1],
    "linear": lambda x: x @ B @ A[0],
    "vector": lambda x: jnp.stack([jnp.prod(x), jnp.sum(x**3)]),
    "repeated": lambda x: (x @ x) ** 2 + x[0] * x[0] * x[0],
    "outside": lambda x: jnp.sum(jnp.convolve(x**2, x, "same") ** 2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_order_three_against_nesting(name: str) -> None:
    f, x = FUNCTIONS[name], jnp.asarray(RNG.normal(size=4))
    np.testing.assert_allclose(nb.derivative(f, 3)(x), nested(f, 3)(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("strategy", ["legs-backward", "legs-forward", "columns"])
@pytest.mark.parametrize("name", ["log-sum-exp", "residual", "chain", "vector"])
def test_every_strategy_gives_the_same(name: str, strategy: str) -> None:
    f, x = FUNCTIONS[name], jnp.asarray(RNG.normal(size=4))
    order = 4 if name == "log-sum-exp" else 3
    np.testing.assert_allclose(nb.derivative(f, order, strategy=strategy)(x), nested(f, order)(x), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["chain", "product"])
def test_order_five(name: str) -> None:
    f, x = FUNCTIONS[name], jnp.asarray(RNG.normal(size=3))
    np.testing.assert_allclose(nb.derivative(f, 5)(x), nested(f, 5)(x), rtol=1e-7, atol=1e-7)


def test_low_orders_are_jacobian_and_hessian() -> None:
    f, x = FUNCTIONS["layers"], jnp.asarray(RNG.normal(size=4))
    np.testing.assert_allclose(nb.derivative(f)(x), jax.grad(f)(x))
    np.testing.assert_allclose(nb.derivative(f, 2)(x), jax.hessian(f)(x))


def test_hand_written() -> None:
    # f = x0^3 x1: f_000 = 6 x1, f_001 = 6 x0, f_0001 = 6
    f, x = lambda x: x[0] ** 3 * x[1], jnp.array([2.0, 5.0])
    third = np.zeros((2, 2, 2))
    third[0, 0, 0] = 30.0
    third[0, 0, 1] = third[0, 1, 0] = third[1, 0, 0] = 12.0
    np.testing.assert_allclose(nb.derivative(f, 3)(x), third, rtol=1e-12)
    fourth = np.zeros((2,) * 4)
    for p in set(itertools.permutations((0, 0, 0, 1))):
        fourth[p] = 6.0
    np.testing.assert_allclose(nb.derivative(f, 4)(x), fourth, rtol=1e-12)
    np.testing.assert_array_equal(nb.derivative(f, 5)(x), np.zeros((2,) * 5))


def test_trees_scalars_and_sizes() -> None:
    def f(p, t, data):
        return jnp.sum(jnp.tanh(p["w"] @ data + p["b"]) ** 2) * t**2 + jnp.sum(p["empty"])

    p = {"w": jnp.asarray(RNG.normal(size=(2, 3))), "b": jnp.asarray(RNG.normal(size=(2,))), "empty": jnp.zeros((0,))}
    data = jnp.asarray(RNG.normal(size=(3,)))
    for strategy in ("auto", "columns"):
        ours = nb.derivative(f, 3, argnums=(0, 1), strategy=strategy)(p, 0.7, data)
        theirs = nested(f, 3, (0, 1))(p, 0.7, data)
        assert jax.tree.structure(ours) == jax.tree.structure(theirs)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), ours, theirs)


def test_blocks() -> None:
    def f(x, y):
        return jnp.sum(jnp.sin(x) * (B @ y)) ** 2

    x, y = jnp.asarray(RNG.normal(size=4)), jnp.asarray(RNG.normal(size=4))
    found = nb.derivative_block(f, (0, 1, 0))(x, y)
    wanted = jax.jacfwd(jax.jacfwd(jax.jacrev(f, 0), 1), 0)(x, y)
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        nb.derivative_block(f, (1, 0))(x, y), jax.jacfwd(jax.jacrev(f, 1), 0)(x, y), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(nb.derivative_block(f, (1,))(x, y), jax.grad(f, 1)(x, y), rtol=1e-9)


@pytest.mark.parametrize("name", ["chain", "log-sum-exp", "scan", "custom_vjp", "lgamma"])
def test_diagonal(name: str) -> None:
    f, x = FUNCTIONS[name], jnp.asarray(RNG.normal(size=4))
    for order in (3,) if name == "scan" else (2, 4):
        whole = nested(f, order)(x)
        np.testing.assert_allclose(
            nb.derivative_diagonal(f, order)(x), whole[(np.arange(4),) * order], rtol=1e-8, atol=1e-8
        )


@pytest.mark.parametrize("name", ["chain", "separable", "outside", "log-sum-exp", "linear"])
def test_sparse(name: str) -> None:
    f, x = FUNCTIONS[name], jnp.asarray(RNG.normal(size=4))
    for order in (3,) if name == "outside" else (3, 4):
        found = nb.derivative_sparse(f, order)(x)
        assert found.shape == (4,) * order
        np.testing.assert_allclose(found.todense(), nested(f, order)(x), rtol=1e-8, atol=1e-8)
        assert len({tuple(p) for p in np.asarray(found.indices)}) == found.nse


def test_sparse_of_several_leaves() -> None:
    def f(p):
        return jnp.sum(p["a"][1:] ** 2 * p["b"][:-1] ** 2) + jnp.sum(p["a"] ** 3)

    p = {"a": jnp.asarray(RNG.normal(size=3)), "b": jnp.asarray(RNG.normal(size=3))}
    flat, unravel = jax.flatten_util.ravel_pytree(p)
    wanted = nested(lambda z: f(unravel(z)), 3)(flat)
    np.testing.assert_allclose(nb.derivative_sparse(f, 3)(p).todense(), wanted, rtol=1e-10, atol=1e-10)


def test_large_structured_functions_are_linear_in_their_size() -> None:
    n = 100_000
    x = jnp.linspace(-1.0, 1.0, n)
    third = nb.derivative_sparse(lambda x: jnp.sum((x[1:] - x[:-1] ** 2) ** 2), 3)(x)
    # T_iii = 24 x_i for all but the last, T_ii(i+1) = -4 and its permutations
    assert third.nse == (n - 1) + 3 * (n - 1)
    np.testing.assert_allclose(third.data.sum(), 24 * x[:-1].sum() - 12 * (n - 1), rtol=1e-9)
    fourth = nb.derivative_sparse(lambda x: jnp.sum(jnp.exp(x)), 4)(x)
    assert fourth.nse == n
    np.testing.assert_array_equal(np.asarray(fourth.indices), np.arange(n)[:, None].repeat(4, 1))
    np.testing.assert_allclose(fourth.data, jnp.exp(x), rtol=1e-12)


@pytest.mark.parametrize("name", ["log-sum-exp", "layers", "scan", "custom_vjp", "chain"])
def test_contractions(name: str) -> None:
    f, x = FUNCTIONS[name], jnp.asarray(RNG.normal(size=4))
    v, w = jnp.asarray(RNG.normal(size=4)), jnp.asarray(RNG.normal(size=4))
    whole = nested(f, 3)(x)
    third = nb.derivative_along(f, 3)
    np.testing.assert_allclose(third(x, [v, w]), whole @ w @ v, rtol=1e-8, atol=1e-8)
    if name != "custom_vjp":  # JAX has no forward derivative of it
        np.testing.assert_allclose(third(x, [v]), whole @ v, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(third(x, (v, w, v)), whole @ w @ v @ v, rtol=1e-8, atol=1e-8)


def test_under_transformations() -> None:
    f, x = FUNCTIONS["log-sum-exp"], jnp.asarray(RNG.normal(size=4))
    g = nb.derivative(f, 3)
    np.testing.assert_allclose(jax.jit(g)(x), g(x), rtol=1e-12)
    xs = jnp.stack([x, -x])
    np.testing.assert_allclose(jax.vmap(g)(xs)[1], g(-x), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(jax.jacfwd(g)(x), nested(f, 4)(x), rtol=1e-8, atol=1e-9)
    assert nb.derivative(f, 3)(x.astype(jnp.float32)).dtype == jnp.float32 or A.dtype == jnp.float64


@pytest.mark.parametrize(("size", "share"), [(49, 0.62), (101, 0.45), (151, 0.4)])
def test_blocks_of_a_symmetric_tensor(size: int, share: float) -> None:
    # wide enough that blocks are computed: of one, two and three strips of unequal widths
    a, x = jnp.asarray(RNG.normal(size=(60, size))), 0.2 * jnp.asarray(RNG.normal(size=size))
    f = lambda x, a: jax.nn.logsumexp(a @ x)
    third = nb.derivative(f, 3)(x, a)
    p = jax.nn.softmax(a @ x)
    centred = a - p @ a
    expected = jnp.einsum("i,ij,ik,il->jkl", p, centred, centred, centred)
    np.testing.assert_allclose(third, expected, rtol=1e-9, atol=1e-12)
    # a third of all products, and Gram matrices
    assert nb.plan(f, "derivative", order=3)(x, a).choice.chosen.cost.flops < share * 2 * 60 * size**3


def test_blocks_of_leaves_with_two_axes_and_of_several_results() -> None:
    a, w = jnp.asarray(RNG.normal(size=(2, 5, 49, 2))), 0.2 * jnp.asarray(RNG.normal(size=(49, 2)))
    g = lambda w: jnp.sum(jnp.exp(jnp.tensordot(a, w)), 1)
    expected = jnp.einsum("oi,oijp,oikq,oilr->ojpkqlr", jnp.exp(jnp.tensordot(a, w)), a, a, a)
    np.testing.assert_allclose(nb.derivative(g, 3)(w), expected, rtol=1e-9, atol=1e-12)


def test_blocks_of_order_four() -> None:
    a, x = jnp.asarray(RNG.normal(size=(5, 49))), 0.2 * jnp.asarray(RNG.normal(size=49))
    f = lambda x: jnp.sum(jnp.exp(a @ x))
    expected = jnp.einsum("i,ij,ik,il,im->jklm", jnp.exp(a @ x), a, a, a, a)
    np.testing.assert_allclose(nb.derivative(f, 4)(x), expected, rtol=1e-9, atol=1e-12)


def test_rows_of_the_textbook() -> None:
    f, x = FUNCTIONS["layers"], jnp.asarray(RNG.normal(size=4))
    np.testing.assert_allclose(nb.hessian(f, strategy="rows")(x), jax.hessian(f)(x), rtol=1e-9, atol=1e-9)
    text = str(nb.plan(f, strategy="rows")(x))
    assert re.search(r"f takes m = \d+ operations; rows of the Hessian O\(m n\): m · 4 = ", text)
    assert "rows" not in [c.strategy for c in nb.plan(f)(x).candidates]


def test_plan_counts() -> None:
    x = jax.ShapeDtypeStruct((60,), "float32")
    text = str(nb.plan(lambda x: jnp.sum(jnp.exp(x)), "derivative", order=3)(x))
    assert "question    derivative of order 3" in text
    assert "repetition O(m n^2): m · 60^2 = " in text
    counted = r"node by node \S+.* for each tuple of directions: .* for all n\^2, .* for the 1,830 that symmetry leaves; the plan "
    assert re.search(counted, text)
    assert (
        "entries     n^3 = 216,000; symmetry leaves n (n+1) (n+2)/3! = 37,820; structure leaves 60 before symmetry"
        in text
    )


def test_refusals() -> None:
    x = jnp.ones(3)
    with pytest.raises(nb.ArgumentError, match=r"derivative was asked for order=0; an order is a whole number"):
        nb.derivative(jnp.sum, 0)
    with pytest.raises(nb.ArgumentError, match=r"derivative_diagonal was asked for order=1; .*at least 2"):
        nb.derivative_diagonal(jnp.sum, 1)
    with pytest.raises(nb.ArgumentError, match=r"derivative_along of order 2 got 3 vectors"):
        nb.derivative_along(jnp.sum, 2)(x, [x, x, x])
    with pytest.raises(nb.ArgumentError, match=r"needs the point and a list of vectors"):
        nb.derivative_along(jnp.sum, 2)(x, x)
    with pytest.raises(nb.ArgumentError, match=r"Give the position of the argument of each slot"):
        nb.derivative_block(jnp.sum, ())
    with pytest.raises(nb.OutputError, match="derivative_sparse needs a function that returns one number"):
        nb.derivative_sparse(lambda x: x, 3)(x)
    with pytest.raises(nb.MemoryBoundError, match=r"the dense tensor has 1,000,000,000,000 values"):
        nb.derivative(lambda x: jnp.sum(x**3), 3)(jnp.ones(10_000))
    with pytest.raises(nb.StrategyError, match=r"Give the order of the derivative, at least 1"):
        nb.plan(jnp.sum, "derivative")(x)
    with pytest.raises(nb.StrategyError, match=r"only 'derivative', 'sparse derivative', 'derivative diagonal' have"):
        nb.plan(jnp.sum, "hessian", order=3)(x)
