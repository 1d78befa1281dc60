"""Taylor mode against nested JAX, against jax.experimental.jet, and against known series."""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nablax as nb

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(7)
B = jnp.asarray(RNG.normal(size=(4, 4)))
S = B @ B.T + 4 * jnp.eye(4)


def nested(f, x, v, order):
    g = lambda t: jax.tree.map(lambda a, b: a + t * b, x, v)
    h = lambda t: f(g(t))
    found = [h(0.0)]
    for _ in range(order):
        h = jax.jacfwd(h)
        found.append(h(0.0))
    return found


def scanned(x):
    def turn(carry, a):
        c, n = carry
        c = jnp.tanh(a * c + x[:2]) * jnp.sin(x[3])
        return (c, n + 1), (c.sum(), n)

    (carry, _), (out, counts) = jax.lax.scan(turn, (jnp.ones(2), 0), jnp.arange(1.0, 4.0), reverse=True)
    return jnp.sum(out**2 * counts) * carry[0]


@jax.custom_jvp
def ruled(x):
    return jnp.sum(x) ** 2 * x


@ruled.defjvp
def _(primals, tangents):
    [x], [t] = primals, tangents
    return ruled(x), 2 * jnp.sum(x) * jnp.sum(t) * x + jnp.sum(x) ** 2 * t


FUNCTIONS = {
    "arithmetic": lambda x: (x[0] * x[1] - x[2] / (1 + x[3] ** 2)) ** 3 - x**7,
    "exponentials": lambda x: jnp.exp(jnp.sin(x) * jnp.cos(x[0])) + jnp.log(1 + x**2),
    "hyperbolic": lambda x: jnp.tanh(B @ x) + jax.nn.sigmoid(x) * jax.nn.softplus(x) + jax.nn.gelu(x),
    "roots": lambda x: jnp.sqrt(1 + x**2) * jax.lax.rsqrt(2 + x**4) + (1 + x**2) ** 0.3 + jnp.cbrt(3 + x),
    "inverse": lambda x: jnp.arctan(x) + jnp.arcsin(x / 9) + jnp.arctan2(x, 2 + x**2) + jnp.expm1(x) * jnp.log1p(x**2),
    "special": lambda x: jax.lax.lgamma(1 + x**2) + jax.scipy.special.erf(x) + jax.lax.digamma(2 + x**2),
    "choice": lambda x: jnp.where(x > 0, x**4, jnp.exp(x)) + jnp.maximum(x, 0.5 * x**3) + jnp.abs(x),
    "norm": lambda x: jnp.linalg.norm(B @ x) * jax.nn.softmax(x),
    "moves": lambda x: jnp.concatenate([x[::-1] ** 2, jnp.pad(x[1:], (1, 2)) * 3.0])[jnp.array([0, 5, 2, 2])],
    "windows": lambda x: jnp.convolve(x**2, x, "same"),
    "matrices": lambda x: jnp.linalg.inv(S + jnp.outer(x, x)) @ x + jnp.linalg.slogdet(S + jnp.diag(x))[1],
    "cholesky": lambda x: jnp.linalg.cholesky(S + jnp.outer(x, x)),
    "solve": lambda x: jnp.linalg.solve(S + jnp.diag(x), x**2),
    "eigh": lambda x: jnp.linalg.eigh(S + jnp.diag(jnp.arange(4.0)) + jnp.outer(x, x))[0],
    "sort": lambda x: jnp.sort(x) ** 2 * jnp.cumsum(x),
    "scan": scanned,
    "cond": lambda x: jax.lax.cond(x[0] > 0, lambda y: jnp.prod(y), lambda y: jnp.sum(y**5), x) * x[1],
    "while": lambda x: jax.lax.while_loop(lambda c: c[1] < 3, lambda c: (jnp.sin(c[0]) * x, c[1] + 1), (x, 0))[0],
    "custom rule": lambda x: ruled(jnp.sin(x)),
    "constant": lambda x: jnp.ones(3),
    "tree": lambda x: {"a": x**2, "b": (jnp.sum(x), x[0])},
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_against_nesting(name: str) -> None:
    f, order = FUNCTIONS[name], 3
    x, v = jnp.array([0.7, -0.4, 1.3, 0.2]), jnp.array([0.9, 0.5, -1.1, 0.3])
    ours, theirs = nb.directional(f, order)(x, v), nested(f, x, v, order)
    assert len(ours) == order + 1
    for a, b in zip(ours, theirs, strict=True):
        jax.tree.map(lambda p, q: np.testing.assert_allclose(p, q, rtol=1e-8, atol=1e-8), a, b)
        assert jax.tree.structure(a) == jax.tree.structure(b)


def test_positions_known_at_run_time_are_read_not_multiplied() -> None:
    # as a product with a matrix of ones this would hold 40 billion values
    n = 200_000
    x, places = jnp.asarray(RNG.normal(size=n)), jnp.asarray(RNG.integers(0, n, n))
    found = nb.directional(lambda x, i: jnp.sum(jnp.sin(x[i])), 2)(x, jnp.ones(n), places)
    s, c = jnp.sum(jnp.sin(x[places])), jnp.sum(jnp.cos(x[places]))
    np.testing.assert_allclose(found, [s, c, -s], rtol=1e-10)


def test_tanh_is_exact() -> None:
    # derivatives of tanh are polynomials in y = tanh x: p_(j+1) = p_j' (1 - y^2)
    x = 0.3
    p = np.polynomial.Polynomial([0.0, 1.0])
    y, wanted = math.tanh(x), []
    for _ in range(11):
        wanted.append(p(y))
        p = p.deriv() * np.polynomial.Polynomial([1.0, 0.0, -1.0])
    found = nb.directional(jnp.tanh, 10)(x, 1.0)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_known_series() -> None:
    # 1/(1 - t): n!;  the direction scales order j by its j-th power
    found = nb.directional(lambda x: 1 / (1 - x), 8)(0.0, 2.0)
    np.testing.assert_allclose(found, [math.factorial(j) * 2.0**j for j in range(9)], rtol=1e-13)
    # arctan at 0: 0, 1, 0, -2, 0, 24
    np.testing.assert_allclose(nb.directional(jnp.arctan, 5)(0.0, 1.0), [0, 1, 0, -2, 0, 24], atol=1e-12)


def test_network_against_jet() -> None:
    from jax.experimental.jet import jet

    sizes = [5, 6, 6, 3]
    params = [(jnp.asarray(RNG.normal(size=s)), jnp.asarray(RNG.normal(size=s[1]))) for s in itertools.pairwise(sizes)]
    v = jax.tree.map(lambda a: jnp.asarray(RNG.normal(size=a.shape)), params)
    data = jnp.asarray(RNG.normal(size=(7, 5)))

    def f(params, data):
        for w, b in params:
            data = jnp.tanh(data @ w + b)
        return jnp.sum(data**2)

    ours = nb.directional(f, 6)(params, v, data)
    flat, tree = jax.tree.flatten(params)
    zeros = [jnp.zeros_like(a) for a in flat]
    series = [[d, *[z] * 5] for d, z in zip(jax.tree.leaves(v), zeros, strict=True)]
    value, terms = jet(lambda *p: f(jax.tree.unflatten(tree, p), data), flat, series)
    np.testing.assert_allclose(ours, [value, *terms], rtol=1e-9)


def test_under_transformations() -> None:
    f, x = FUNCTIONS["hyperbolic"], jnp.asarray(RNG.normal(size=4))
    g = lambda x, v: nb.directional(f, 3)(x, v)[3].sum()
    v = jnp.ones(4)
    np.testing.assert_allclose(jax.jit(g)(x, v), g(x, v), rtol=1e-12)
    np.testing.assert_allclose(jax.vmap(g, (0, None))(jnp.stack([x, -x]), v)[1], g(-x, v), rtol=1e-10)
    h = lambda x: nested(f, x, v, 3)[3].sum()
    np.testing.assert_allclose(jax.grad(g)(x, v), jax.grad(h)(x), rtol=1e-8)
    assert nb.directional(f, 2)(x.astype(jnp.float32), v)[2].dtype == f(x.astype(jnp.float32)).dtype


def test_several_arguments_and_data() -> None:
    f = lambda x, y, n: x**n * jnp.sin(y)
    found = nb.directional(f, 2, argnums=(0, 1))(2.0, (1.0, 0.5), 0.3, 3)
    wanted = nested(lambda p: f(*p, 3), (2.0, 0.3), (1.0, 0.5), 2)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_refusals() -> None:
    with pytest.raises(nb.ArgumentError, match=r"directional was asked for order=0; an order is a whole number"):
        nb.directional(jnp.sin, 0)
    with pytest.raises(nb.ArgumentError, match=r"needs the point and the vector, \(x, v, \*rest\)"):
        nb.directional(jnp.sin, 2)(1.0)
    with pytest.raises(nb.ArgumentError, match=r"vector v whose leaf 0 has shape \[3\]"):
        nb.directional(jnp.sin, 2)(jnp.ones(2), jnp.ones(3))

    @jax.custom_vjp
    def only_back(x):
        return jnp.sort(x)

    only_back.defvjp(lambda x: (only_back(x), None), lambda _, g: (g,))
    with pytest.raises(nb.DifferentiationError, match="for which JAX has no forward derivative"):
        nb.directional(only_back, 2)(jnp.ones(2), jnp.ones(2))
