"""Loops are taken back turn by turn: against jax.hessian, on models and on awkward shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close, tolerance_of

import nablax as nb
from nablax.sweeps import loop_call, loops, pairs, several_turns
from nablax.sweeps.steps import Rule

BATCH, TURNS, N, M = 4, 5, 3, 2
SUMMED = tolerance_of("float64", TURNS * BATCH * N)  # an answer for a constant adds up what all turns say of it


@pytest.fixture(autouse=True)
def loops_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples are so small that JAX's own derivatives would do."""
    monkeypatch.setattr(loops, "seconds_by_jax", lambda *_: float("inf"))


def array(seed: int, *shape: int) -> Any:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def gated_unit(p: Any, x: Any) -> Any:
    def step(h: Any, slice_: Any) -> Any:
        z, r = jnp.split(jax.nn.sigmoid(slice_ @ p["U"] + h @ p["W"] + p["b"]), 2, -1)
        n = jnp.tanh(slice_ @ p["Un"] + r * (h @ p["Wn"]) + p["bn"])
        return (1 - z) * n + z * h, h

    h, _ = jax.lax.scan(step, jnp.zeros((BATCH, N)), x)
    return -jnp.mean(jax.nn.log_softmax(h @ p["V"])[:, 0])


GATES = {
    "U": array(0, M, 2 * N), "W": array(1, N, 2 * N), "b": array(2, 2 * N), "Un": array(3, M, N),
    "Wn": array(4, N, N), "bn": array(5, N), "V": array(6, N, 2),
}  # fmt: skip


def long_short_memory(p: Any, x: Any) -> Any:
    def step(state: Any, slice_: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(slice_ @ p["U"] + h @ p["W"] + p["b"], 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    _, hs = jax.lax.scan(step, (jnp.zeros((BATCH, N)), jnp.zeros((BATCH, N))), x)
    return -jnp.mean(jax.nn.log_softmax(hs @ p["V"])[..., 0])


MEMORY = {"U": array(0, M, 4 * N), "W": array(1, N, 4 * N), "b": array(2, 4 * N), "V": array(3, N, 2)}


def residual_layers(p: Any, x: Any) -> Any:
    h, _ = jax.lax.scan(lambda h, w: (h + jnp.tanh(h @ w[0] + w[1]), None), x, (p["W"], p["b"]))
    return jnp.mean((h @ p["V"]) ** 2)


LAYERS = {"W": array(0, 4, N, N), "b": array(1, 4, N), "V": array(2, N, 2)}


def transposed_in_reverse(p: Any, x: Any) -> Any:
    weights = jnp.transpose(p["W"], (2, 0, 1))
    h, hs = jax.lax.scan(lambda h, w: (h + jnp.tanh(h @ w.T), h), x, weights, reverse=True)
    return jnp.sum((h @ p["V"]) ** 2) + jnp.sum(jnp.sin(hs[1]))


def tied(W: Any, x: Any) -> Any:
    h, _ = jax.lax.scan(lambda h, s: (jnp.tanh(h @ W + s @ W.T), ()), jnp.zeros((BATCH, N)), x)
    return jnp.sum(h**2)


def weight_in_the_start(W: Any, x: Any) -> Any:
    h, hs = jax.lax.scan(lambda h, s: (jnp.tanh(h @ W + s), h[0]), jnp.sin(W), x)
    return jnp.sum(h**2) + jnp.sum(hs[-1] ** 2 * hs[0])


def kalman_filter(p: Any, ys: Any) -> Any:
    def step(state: Any, y: Any) -> Any:
        m, P = p["A"] @ state[0], p["A"] @ state[1] @ p["A"].T + jnp.exp(p["q"]) * jnp.eye(2)
        S, error = P[0, 0] + jnp.exp(p["r"]), y - m[0]
        gain = P[:, 0] / S
        return (m + gain * error, P - jnp.outer(gain, P[0])), 0.5 * (error * error / S + jnp.log(S))

    return jnp.sum(jax.lax.scan(step, (jnp.zeros(2), jnp.eye(2)), ys)[1])


def counted(a: Any, x: Any) -> Any:
    return jax.lax.fori_loop(0, 4, lambda i, v: jnp.sin(a * v) + v * i, x).sum()


def neural_ode(p: Any, x: Any) -> Any:
    def slope(u: Any) -> Any:
        return jnp.tanh(u @ p["W"] + p["b"])

    u, _ = jax.lax.scan(lambda u, _: (u + 0.1 * slope(u + 0.05 * slope(u)), None), x, None, length=6)
    return jnp.sum(u**2)


def loop_in_a_loop(W: Any, x: Any) -> Any:
    def outer(h: Any, s: Any) -> Any:
        g, _ = jax.lax.scan(lambda g, _: (jnp.tanh(g @ W + s), None), h, None, length=3)
        return g, g.sum()

    h, sums = jax.lax.scan(outer, jnp.zeros((BATCH, N)), x)
    return jnp.sum(h**2) + jnp.prod(sums)


def mapped(w: Any, x: Any) -> Any:
    return jnp.sum(jax.lax.map(lambda s: jnp.sum(jnp.sin(s @ w) ** 2), x))


def attention_over_turns(W: Any, x: Any) -> Any:
    _, hs = jax.lax.scan(lambda h, s: (jnp.tanh(h @ W + s),) * 2, jnp.zeros((BATCH, N)), x)
    weights = jax.nn.softmax(jnp.einsum("tbi,bi->tb", hs, hs[-1]), 0)
    return jnp.sum(jnp.einsum("tb,tbi->bi", weights, hs) ** 2)


def two_carries_swapped(w: Any, x: Any) -> Any:
    (a, b), _ = jax.lax.scan(lambda c, s: ((c[1] * w, jnp.sin(c[0]) + s), None), (x[0], x[1]), x)
    return jnp.sum(a * b)


def one_turn(W: Any, x: Any) -> Any:
    h, _ = jax.lax.scan(lambda h, s: (jnp.tanh(h @ W + s), None), jnp.zeros((BATCH, N)), x[:1])
    return jnp.sum(h**2)


def integer_carried(w: Any, x: Any) -> Any:
    (k, h), _ = jax.lax.scan(lambda c, s: ((c[0] + 1, jnp.sin(w * c[1]) * c[0] + s), None), (0, jnp.zeros(N)), x[:, 0])
    return jnp.sum(h) * k


def branches_inside(w: Any, x: Any) -> Any:
    def step(h: Any, s: Any) -> Any:
        return jax.lax.cond(s[0] > 0, lambda h: jnp.sin(w * h) + s, lambda h: h * w, h), None

    return jnp.sum(jax.lax.scan(step, jnp.ones(N), x[:, 0])[0] ** 2)


def scaled_by_a_number(s: Any, x: Any) -> Any:
    h, _ = jax.lax.scan(lambda h, t: (jnp.tanh(h * s + t), None), jnp.zeros((BATCH, N)), x)
    return jnp.sum(h**2)


@dataclass(frozen=True)
class Case:
    """A function of one tree and data; how often its diagonal and its Hessian go through a loop of ours."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    diagonal: int
    hessian: int


SEQUENCE = array(9, TURNS, BATCH, N)
CASES = {
    "gated unit": Case(gated_unit, (GATES, array(7, TURNS, BATCH, M)), 1, 1),
    "long short memory": Case(long_short_memory, (MEMORY, array(7, TURNS, BATCH, M)), 1, 1),
    # blocks between layers are asked of the Hessian: legs
    "residual layers": Case(residual_layers, (LAYERS, array(3, BATCH, N)), 1, 0),
    "in the input": Case(lambda x, p: residual_layers(p, x), (array(3, BATCH, N), LAYERS), 1, 1),
    "transposed, in reverse": Case(
        transposed_in_reverse, ({"W": array(0, N, N, 4), "V": array(1, N, 2)}, array(3, BATCH, N)), 1, 0
    ),
    "tied": Case(tied, (array(0, N, N), SEQUENCE), 1, 1),
    "weight in the start": Case(weight_in_the_start, (array(0, N, N), array(1, TURNS, N, N)), 1, 1),
    "Kalman filter": Case(
        kalman_filter, ({"A": 0.5 * array(0, 2, 2), "q": array(1), "r": array(2)}, array(3, 6)), 1, 1
    ),
    "counted": Case(counted, (array(0, N), array(1, N)), 1, 1),
    "counted, in the start": Case(lambda x, a: counted(a, x), (array(0, N), array(1, N)), 1, 1),
    "neural ODE": Case(neural_ode, ({"W": array(0, N, N), "b": array(1, N)}, array(2, BATCH, N)), 1, 1),
    "neural ODE, in the start": Case(
        lambda x, p: neural_ode(p, x), (array(2, BATCH, N), {"W": array(0, N, N), "b": array(1, N)}), 1, 1
    ),
    "loop in a loop": Case(loop_in_a_loop, (array(0, N, N), SEQUENCE), 1, 1),
    # one weight for all layers, and inputs that depend on a weight: blocks between turns
    "broadcast weight": Case(
        lambda w, x: residual_layers({**LAYERS, "b": jnp.broadcast_to(w, (4, N))}, x), (array(0, N), array(1, BATCH, N)), 0, 0
    ),
    "projected inputs": Case(
        lambda U, x: tied(LAYERS["W"][0], x @ U), (array(0, M, N), array(1, TURNS, BATCH, M)), 0, 0
    ),
    "mapped": Case(mapped, (array(0, M, N), array(1, TURNS, BATCH, M)), 1, 1),
    "attention over turns": Case(attention_over_turns, (array(0, N, N), SEQUENCE), 1, 1),
    "two carries swapped": Case(two_carries_swapped, (array(0, N), array(1, TURNS, N)), 1, 1),
    "one turn": Case(one_turn, (array(0, N, N), SEQUENCE), 1, 1),
    "integer carried": Case(integer_carried, (array(0, N), SEQUENCE), 1, 1),
    "branches inside": Case(branches_inside, (array(0, N), SEQUENCE), 1, 1),
    "scaled by a number": Case(scaled_by_a_number, (array(0), SEQUENCE), 1, 1),
}  # fmt: skip


def turned_back(question: str, case: Case) -> int:
    """How many loops a plan takes back turn by turn."""
    plan = nb.plan(case.function, question, strategy="legs-backward")(*case.arguments)
    answer = plan.choice.chosen.answer
    assert answer is not None
    return sum(Rule.LOOP in step.rules for step in answer.steps)


@pytest.mark.parametrize("name", CASES)
def test_diagonal(name: str) -> None:
    case = CASES[name]
    found = nb.hessian_diagonal(case.function, strategy="legs-backward")(*case.arguments)
    expected = nb.hessian_diagonal(case.function, strategy="columns")(*case.arguments)
    H = jax.hessian(case.function)(*case.arguments)
    tree = jax.tree.structure(case.arguments[0])
    for k, leaf in enumerate(jax.tree.leaves(case.arguments[0])):
        block = np.asarray(jax.tree.leaves(H)[k * tree.num_leaves + k]).reshape(leaf.size, leaf.size)
        assert_close(jax.tree.leaves(found)[k], np.diag(block).reshape(leaf.shape), tolerance=SUMMED)
        assert_close(jax.tree.leaves(expected)[k], np.diag(block).reshape(leaf.shape), tolerance=SUMMED)
    assert turned_back("diagonal", case) == case.diagonal


def narrow_entries(p: Any, x: Any) -> Any:
    """What enters a turn is narrower than what is carried: Jacobians in the entries are pushed."""
    out = array(3, 1, N)
    h, _ = jax.lax.scan(lambda h, s: (jnp.sin(h) + jnp.tanh(h @ p["V"]) @ out + s, None), jnp.zeros((BATCH, N)), x)
    return jnp.sum(jnp.sin(h) ** 2)


CASES["narrow entries"] = Case(narrow_entries, ({"V": array(0, N, 1)}, SEQUENCE), 1, 1)
ALL_AT_ONCE = ("gated unit", "long short memory", "narrow entries")


@pytest.mark.parametrize(
    ("name", "together", "pushed"),
    [
        *((name, 2, 2) for name in CASES),
        *(
            (name, together, pushed)
            for name in ALL_AT_ONCE
            for together, pushed in ((TURNS, TURNS), (TURNS, 2), (4, 2))
        ),
    ],
)
def test_turns_taken_together(name: str, together: int, pushed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Constants enter through leaves of their own; of five turns one is left over, of the last ones pushed as well."""
    monkeypatch.setattr(several_turns.Together, "pays", True)
    monkeypatch.setattr(pairs, "PUSHED", pushed)
    monkeypatch.setattr(loop_call, "candidates", lambda length: (min(together, length),))
    case = CASES[name]

    def anew(*arguments: Any) -> Any:  # plans are kept for each function
        return case.function(*arguments)

    found = nb.hessian_diagonal(anew, strategy="legs-backward")(*case.arguments)
    expected = nb.hessian_diagonal(case.function, strategy="columns")(*case.arguments)
    for own, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert_close(own, other, tolerance=SUMMED)


def test_turns_taken_together_in_reverse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(several_turns.Together, "pays", True)
    monkeypatch.setattr(loop_call, "candidates", lambda _: (2,))

    def backwards(W: Any, x: Any) -> Any:
        def step(h: Any, slice_: Any) -> Any:
            h = jnp.tanh(h @ W + slice_) + 0.3 * h
            return h, h * h

        h, hs = jax.lax.scan(step, jnp.ones((BATCH, N)), x, reverse=True)
        return jnp.sum(jnp.sin(h)) + jnp.sum(hs * x)

    W, x = array(0, N, N), array(1, TURNS, BATCH, N)
    found = nb.hessian_diagonal(backwards, strategy="legs-backward")(W, x)
    H = np.asarray(jax.hessian(backwards)(W, x)).reshape(W.size, W.size)
    assert_close(found, np.diag(H).reshape(W.shape), tolerance=SUMMED)


@pytest.mark.parametrize("name", CASES)
def test_hessian(name: str) -> None:
    case = CASES[name]
    found = nb.hessian(case.function, strategy="legs-backward")(*case.arguments)
    expected = jax.hessian(case.function)(*case.arguments)
    scale = max(float(np.max(np.abs(x))) for x in jax.tree.leaves(expected))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert_close(a, b, tolerance=1e-11 * max(scale, 1.0))
    assert turned_back("hessian", case) == case.hessian


def test_program_size_does_not_grow_with_the_turns() -> None:
    def size(turns: int) -> int:
        arguments = (GATES, array(7, turns, BATCH, M))
        return str(jax.make_jaxpr(nb.hessian_diagonal(gated_unit, strategy="legs-backward"))(*arguments)).count("\n")

    # as many turns as are taken together at once, and left over, make a program of their own
    assert size(80) == size(800)


def test_no_turns() -> None:
    W = array(0, N, N)
    found = nb.hessian_diagonal(tied, strategy="legs-backward")(W, jnp.zeros((0, BATCH, N)))
    assert_close(found, np.zeros((N, N)))
