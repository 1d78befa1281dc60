"""Preparation grows linearly with the program: counted in nodes, steps and live cores, not by the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nablax as nb
from nablax.contraction.index import fresh
from nablax.contraction.term import identity
from nablax.planning.question import pose
from nablax.sweeps.asked import Asked
from nablax.sweeps.eliminate import Elimination, eliminate
from nablax.sweeps.frontier import Frontier
from nablax.sweeps.second_order import active, mask_of

Function = Callable[..., Any]
# Four times the size may take so much more: what is there once, and the ends of a program, are in the smaller count too.
FOUR_TIMES = 4.4


def array(*shape: int) -> Any:
    return jax.ShapeDtypeStruct(shape, np.float32)


def chain(n: int) -> tuple[Function, Any]:
    def f(x: Any) -> Any:
        for k in range(n):
            x = jnp.sin(x) * 1.01 + 0.1 * x if k % 2 else jnp.tanh(x)
        return jnp.sum(x)

    return f, array(5)


def chain_of_sums(n: int) -> tuple[Function, Any]:
    def f(x: Any) -> Any:
        for _ in range(n):
            x = jnp.sin(x - jnp.mean(x))  # what does not fuse
        return jnp.sum(x**2)

    return f, array(6)


def rosenbrock(n: int) -> tuple[Function, Any]:
    return (
        lambda x: sum((x[k + 1] - x[k] ** 2) ** 2 + (1.0 - x[k]) ** 2 for k in range(n)),  # unrolled in Python
        array(n + 1),
    )


def wide_chain(n: int) -> tuple[Function, Any]:
    return chain(n)[0], array(1_000_000)


def layers(n: int, residual: bool) -> tuple[Function, Any]:
    def f(weights: Any) -> Any:
        h = jnp.ones((64, 32), np.float32)
        for w in weights:
            t = jnp.tanh(h @ w)
            h = h + t if residual else t
        return jnp.sum(jax.nn.logsumexp(h, axis=-1))

    return f, [array(32, 32)] * n


def plain(n: int) -> tuple[Function, Any]:
    return layers(n, residual=False)


def residual(n: int) -> tuple[Function, Any]:
    return layers(n, residual=True)


def transformer(blocks: int) -> tuple[Function, Any]:
    """Pre-norm blocks: attention of two heads and a network, both with a residual."""
    d, heads, tokens, batch = 8, 2, 6, 3
    one = {"qkv": array(3, heads, d, d // heads), "out": array(heads, d // heads, d)} | {
        "up": array(d, 2 * d), "down": array(2 * d, d), "scale": array(d)
    }  # fmt: skip

    def norm(x: Any, scale: Any) -> Any:
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        return centred * jax.lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + 1e-6) * scale

    def f(parameters: Any) -> Any:
        h = jnp.ones((batch, tokens, d), np.float32)
        for p in parameters:
            q, k, v = jnp.einsum("btd,chde->cbhte", norm(h, p["scale"]), p["qkv"])
            mixed = jax.nn.softmax(jnp.einsum("bhse,bhte->bhst", q, k), axis=-1)
            h = h + jnp.einsum("bhst,bhte,hed->bsd", mixed, v, p["out"])
            h = h + jax.nn.gelu(norm(h, p["scale"]) @ p["up"]) @ p["down"]
        return jnp.sum(jax.nn.logsumexp(h, axis=-1))

    return f, [one] * blocks


@dataclass(frozen=True)
class Count:
    """What planning made: nodes by all candidates and by reading the program, steps and most live cores of one sweep."""

    nodes: int
    read: int
    steps: int
    alive: int


def counted(f: Function, x: Any, strategy: str = "auto") -> Count:
    plan = nb.plan(f, "diagonal", strategy=strategy)(x)
    flat, tree = jax.tree.flatten(x)
    problem = pose(lambda *leaves: f(tree.unflatten(leaves)), flat, range(len(flat)), scalar="a test")
    read = problem.graph.count
    [output] = problem.outputs
    mask = mask_of(problem.asked)
    nodes = active(output, mask)
    asked = Asked.own_blocks(problem.asked)
    sweep = Elimination(problem.graph, nodes, frozenset(problem.asked), mask, asked, 2, problem.rates)
    frontier = Frontier(adjoints={output: (identity(fresh(output.shape)),)})
    steps = alive = 0
    for node in reversed(nodes):
        if node not in sweep.leaves:
            frontier, step = eliminate(sweep, frontier, node)
            steps += step is not None
            alive = max(alive, len({k for numbers in frontier.standing.values() for k in numbers}))
    return Count(plan.choice.problem.graph.count, read, steps, alive)


GROWING: Mapping[str, tuple[Callable[[int], tuple[Function, Any]], int]] = {
    "chain": (chain, 20),
    "chain of sums": (chain_of_sums, 6),
    "Rosenbrock in Python": (rosenbrock, 8),
    "chain of large arrays": (wide_chain, 20),
    "plain layers": (plain, 3),
    "residual layers": (residual, 3),
}


def at_most(small: Count, large: Count, factor: float) -> None:
    for what in ("nodes", "read", "steps", "alive"):
        assert getattr(large, what) <= factor * getattr(small, what), (what, small, large)


@pytest.mark.parametrize("name", GROWING)
def test_four_times_the_program_is_four_times_the_work(name: str) -> None:
    build, n = GROWING[name]
    small, large = counted(*build(n)), counted(*build(4 * n))
    assert small.nodes > small.read > 0
    at_most(small, large, FOUR_TIMES)


def test_transformer_blocks() -> None:
    # by one strategy: forward legs are given up where there are many weights
    one, two, four = (counted(*transformer(blocks), strategy="legs-backward") for blocks in (1, 2, 4))
    for what in ("read", "steps", "alive"):
        assert getattr(four, what) <= FOUR_TIMES * getattr(one, what), what
    # the lowest block has no block below and is cheaper; each further one takes the same
    assert four.nodes - two.nodes <= 1.1 * 2 * (two.nodes - one.nodes), (one, two, four)


@pytest.mark.parametrize(
    ("name", "question"),
    [
        ("chain", "hvp"), ("chain of sums", "hvp"), ("residual layers", "hvp"), ("Rosenbrock in Python", "trace"),
        ("residual layers", "trace"), ("chain of sums", "trace"),
    ],
)  # fmt: skip
def test_other_questions_grow_the_same(name: str, question: str) -> None:
    build, n = GROWING[name]
    small, large = (nb.plan(f, question)(x).choice.problem.graph.count for f, x in (build(n), build(4 * n)))
    assert large <= FOUR_TIMES * small


def test_the_whole_hessian_of_a_chain_grows_linearly() -> None:
    # one leaf, one block: of several leaves the blocks themselves are as many as pairs
    small, large = (
        nb.plan(f, "hessian", strategy="legs-backward")(x).choice.problem.graph.count
        for f, x in (rosenbrock(8), rosenbrock(32))
    )
    assert large <= FOUR_TIMES * small


def test_sparse_answers_grow_linearly() -> None:
    small, large = (
        nb.plan(f, "sparse hessian")(x).choice.problem.graph.count for f, x in (rosenbrock(8), rosenbrock(32))
    )
    assert large <= FOUR_TIMES * small


def estimate(n: int, is_residual: bool) -> float:
    def f(weights: Any) -> Any:
        h = jnp.ones((256, 64), np.float32)
        for w in weights:
            t = jnp.tanh(h @ w)
            h = h + t if is_residual else t
        return jnp.sum(jax.nn.logsumexp(h, axis=-1))

    return nb.plan(f, "diagonal")([array(64, 64)] * n).choice.chosen.cost.seconds


@pytest.mark.slow
@pytest.mark.parametrize("is_residual", [False, True])
def test_the_estimated_time_of_a_deep_network_is_linear(is_residual: bool) -> None:
    assert estimate(48, is_residual) <= 4.6 * estimate(12, is_residual)


def transformer_block(p: Mapping[str, Any], X: Any) -> Any:
    def norm(h: Any) -> Any:
        centred = h - h.mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5) * p["scale"] + p["shift"]

    n = norm(X)
    q, k, v = ((n @ p[name]).reshape(8, 16, 4, 8) for name in ("query", "key", "value"))
    weights = jax.nn.softmax(jnp.einsum("bthd,bshd->bhts", q, k), axis=-1)
    h = X + jnp.einsum("bhts,bshd->bthd", weights, v).reshape(8, 16, 32) @ p["out"]
    h = h + jax.nn.gelu(norm(h) @ p["wide"] + p["bias"]) @ p["narrow"]
    return jax.nn.logsumexp(h.mean(1) @ p["head"], axis=-1).sum()


def test_what_an_attention_adds_unchanged_is_answered_along_its_own_axes() -> None:
    """A shift below an attention is answered from legs that keep head and token apart, not from all pairs of rows."""
    shapes = dict.fromkeys(("query", "key", "value", "out"), (32, 32))
    shapes |= {"scale": (32,), "shift": (32,), "wide": (32, 128), "bias": (128,), "narrow": (128, 32), "head": (32, 10)}
    p = {name: array(*shape) for name, shape in shapes.items()}
    plan = nb.plan(transformer_block, "diagonal")(p, array(8, 16, 32))
    gradient = 2 * 3 * 8 * 16 * 32 * (4 * 32 + 2 * 128 + 2 * 16)  # forward, and twice as much backward
    assert plan.choice.chosen.cost.flops < 60 * gradient
