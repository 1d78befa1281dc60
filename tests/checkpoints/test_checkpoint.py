"""Checkpoints: the same numbers, less kept, the schedule that is known to be best."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nablax as nb
from nablax.checkpoints.chain import chain_of
from nablax.checkpoints.schedule import Keep, schedule, stretches
from nablax.ops.jaxprs import trace
from nablax.planning.rates import current_rates

RNG = np.random.default_rng(2)
WEIGHTS = [jnp.asarray(RNG.normal(size=(8, 8))) / 3 for _ in range(16)]
X = jnp.asarray(RNG.normal(size=(32, 8)))
LAYER = 32 * 8 * 8  # bytes of one layer's values in double precision


def deep(weights, x):
    for w in weights:
        x = jnp.tanh(x @ w)
    return jnp.sum(x**2)


def trees_close(a, b, rtol=1e-10) -> None:
    jax.tree.map(lambda p, q: np.testing.assert_allclose(p, q, rtol=rtol, atol=1e-12), a, b)


def held(f, *args) -> int:
    """Temporaries of the gradient's program, by XLA's own analysis."""
    return jax.jit(jax.grad(f)).lower(*args).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("layers", [16, 8, 5, 3])
def test_gradient_and_what_is_kept(layers: int) -> None:
    light = nb.checkpoint(deep, layers * LAYER)
    np.testing.assert_allclose(light(WEIGHTS, X), deep(WEIGHTS, X))
    trees_close(jax.grad(light)(WEIGHTS, X), jax.grad(deep)(WEIGHTS, X))
    plan = light.plan(WEIGHTS, X)
    assert plan.before == 16 * LAYER
    assert plan.after <= layers * LAYER
    assert (plan.again == 0) == (layers == 16)


def test_xla_holds_less() -> None:
    wide = jnp.asarray(RNG.normal(size=(4096, 8)))
    before = held(deep, WEIGHTS, wide)

    def by_hand(weights, x):
        for k in range(0, 16, 4):
            x = jax.checkpoint(lambda x, own: functools.reduce(lambda y, w: jnp.tanh(y @ w), own, x))(
                x, weights[k : k + 4]
            )
        return jnp.sum(x**2)

    if held(by_hand, WEIGHTS, wide) >= before:
        pytest.skip("XLA of this version computes again at once what jax.checkpoint wants computed late (JAX 0.10)")
    after = held(nb.checkpoint(deep, 4 * 4096 * 64), WEIGHTS, wide)
    assert after < 0.5 * before


def test_composes() -> None:
    light = nb.checkpoint(deep, 4 * LAYER)
    ours, theirs = lambda w: light([w] * 4, X), lambda w: deep([w] * 4, X)
    w, v = WEIGHTS[0], WEIGHTS[1]
    np.testing.assert_allclose(nb.hvp(ours)(w, v), nb.hvp(theirs)(w, v), rtol=1e-9)
    np.testing.assert_allclose(nb.hessian_diagonal(ours)(w), nb.hessian_diagonal(theirs)(w), rtol=1e-9)
    np.testing.assert_allclose(jax.vmap(jax.grad(ours))(jnp.stack([w, v]))[1], jax.grad(theirs)(v), rtol=1e-9)
    np.testing.assert_allclose(jax.jit(jax.grad(ours))(w), jax.grad(theirs)(w), rtol=1e-10)
    inner = nb.checkpoint(lambda x, w: jnp.sin(jnp.sin(jnp.sin(x @ w))), 2 * LAYER)

    def scanned(w):
        return jnp.sum(jax.lax.scan(lambda x, _: (inner(x, w), None), X, length=3)[0])

    def plain(w):
        return jnp.sum(jax.lax.scan(lambda x, _: (jnp.sin(jnp.sin(jnp.sin(x @ w))), None), X, length=3)[0])

    np.testing.assert_allclose(jax.grad(scanned)(w), jax.grad(plain)(w), rtol=1e-9)


def test_a_loop_is_taken_in_pieces() -> None:
    def f(w, x):
        carry, out = jax.lax.scan(
            lambda c, s: (jnp.tanh(c @ w) * s, c.sum()), x, jnp.arange(1.0, 65.0) / 64, reverse=True
        )
        return jnp.sum(carry) + jnp.sum(out**2)

    light = nb.checkpoint(f, 40 * LAYER)
    w = WEIGHTS[0]
    plan = light.plan(w, X)
    [piece] = plan.loops
    assert piece.length == 64
    assert piece.turns == 4 or piece.turns == 8
    assert "64 turns in pieces of" in str(plan)
    assert plan.after <= 40 * LAYER < plan.before
    np.testing.assert_allclose(jax.grad(light)(w, X), jax.grad(f)(w, X), rtol=1e-9)
    np.testing.assert_allclose(light(w, X), f(w, X), rtol=1e-12)


def test_the_schedule_of_equal_steps_is_binomial() -> None:
    # Griewank 1992: with s places for snapshots beside one step's residuals, l steps take
    # t(l, s) = r l - binomial(s + r, r - 1) forward steps, r the least with binomial(s + r, s) >= l
    length, places = 20, 3
    x = jnp.ones(1000)

    def f(x):
        for _ in range(length):
            x = jnp.sin(x)
        return x

    chain = chain_of(trace(lambda x: [f(x)], [x]), current_rates())
    step = chain.operations[0].seconds
    found = schedule(chain, (places + 1) * x.nbytes * 1.001)
    assert found is not None
    r = next(r for r in range(1, 99) if math.comb(places + r, places) >= length)
    binomial = r * length - math.comb(places + r, r - 1)
    # theirs keeps no residual but the state itself; ours may keep a step's output in place of its input
    assert found.again / step <= binomial


def test_branches_across_the_chain() -> None:
    def f(w, x):
        first = jnp.sin(x @ w)
        y = first
        for _ in range(6):
            y = jnp.tanh(y @ w) + 0.1 * first  # read at every place
        return jnp.sum(y * x)

    light = nb.checkpoint(f, 5 * LAYER)
    trees_close(jax.grad(light, (0, 1))(WEIGHTS[0], X), jax.grad(f, (0, 1))(WEIGHTS[0], X))


def test_static_arguments_closures_and_calls() -> None:
    bias = jnp.ones(8)

    @jax.jit
    def inner(x, w):
        return jnp.tanh(x @ w + bias)

    def f(w, x, count, *, name="a"):
        for _ in range(count):
            x = inner(x, w)
        return {name: jnp.sum(x**2)}

    light = nb.checkpoint(f, 3 * LAYER)
    found = jax.grad(lambda w: light(w, X, 6, name="b")["b"])(WEIGHTS[0])
    np.testing.assert_allclose(found, jax.grad(lambda w: f(w, X, 6)["a"])(WEIGHTS[0]), rtol=1e-10)
    assert len(stretches(light.plan(WEIGHTS[0], X, 6).found.schedule)) > 1

    def outer(b):
        own = nb.checkpoint(lambda x: jnp.sum(jnp.sin(jnp.sin(x) * b)), 2 * LAYER)
        return jax.grad(own)(X).sum()

    np.testing.assert_allclose(
        jax.grad(outer)(2.0), jax.grad(lambda b: jax.grad(lambda x: jnp.sum(jnp.sin(jnp.sin(x) * b)))(X).sum())(2.0)
    )


def test_nothing_to_do() -> None:
    plan = nb.checkpoint(deep, "1 GB").plan(WEIGHTS, X)
    assert isinstance(plan.found.schedule, Keep)
    assert str(plan).startswith("reverse mode keeps   32.8 kB as the function stands, 32.8 kB with checkpoints")


def test_refusals() -> None:
    with pytest.raises(nb.MemoryBoundError, match=r"asked to keep at most 100 B; no schedule keeps less than about"):
        nb.checkpoint(deep, 100)(WEIGHTS, X)
    with pytest.raises(nb.ArgumentError, match="checkpoint needs memory_bytes"):
        nb.checkpoint(deep, None)
    with pytest.raises(nb.ArgumentError, match="checkpoint needs a function; it got a float"):
        nb.checkpoint(1.0, 100)
