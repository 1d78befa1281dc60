"""The memory promise, held to XLA: temporaries and results of the compiled program stay under the bound, or it is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close

import nablax as nb
from nablax import answering

Function = Callable[..., Any]
Case = tuple[Any, Function, Any]  # verb, function, argument


def numbers(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(sum(shape)).normal(size=shape)


DATA, LABELS = numbers(48, 6), numbers(48, 3)
SEQUENCE = numbers(12, 8, 3)
IMAGES = numbers(4, 8, 8, 2)


def mlp(p: Any) -> Any:
    h = jnp.tanh(DATA @ p[0])
    return jnp.mean((jnp.tanh(h @ p[1]) @ p[2] - LABELS) ** 2)


def residual(p: Any) -> Any:
    h = DATA
    for w in p:
        h = h + jnp.tanh(h @ w)
    return jnp.mean(jax.nn.logsumexp(h, axis=-1))


def logistic(w: Any) -> Any:
    return jnp.mean(jnp.log1p(jnp.exp(-(numbers(80, 30) @ w))))


def log_sum_exp(x: Any) -> Any:
    return jax.nn.logsumexp(numbers(60, 30) @ x)


def rnn(p: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = jnp.tanh(h @ p["h"] + x @ p["x"])
        return h, None

    h, _ = jax.lax.scan(step, jnp.zeros((8, 5)), SEQUENCE)
    return jnp.mean(h**2)


def gru(p: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        both = jnp.concatenate([h, x], axis=-1)
        z, r = jax.nn.sigmoid(both @ p["z"]), jax.nn.sigmoid(both @ p["r"])
        new = jnp.tanh(jnp.concatenate([r * h, x], axis=-1) @ p["n"])
        return (1.0 - z) * h + z * new, None

    h, _ = jax.lax.scan(step, jnp.zeros((8, 4)), SEQUENCE)
    return jnp.mean(h**2)


def convolution(p: Any) -> Any:
    h = jax.lax.conv_general_dilated(IMAGES, p, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jnp.mean(jnp.tanh(h) ** 2)


def membrane(u: Any) -> Any:
    v = jnp.pad(u, 1)
    inside = v[2:, 1:-1] + v[:-2, 1:-1] + v[1:-1, 2:] + v[1:-1, :-2] - 4.0 * u
    return jnp.sum((inside + 0.1 * u**3 - 1.0) ** 2)


def attention(p: Any) -> Any:
    h = numbers(4, 6, 8)
    q, k, v = h @ p[0], h @ p[1], h @ p[2]
    mixed = jax.nn.softmax(jnp.einsum("bse,bte->bst", q, k), axis=-1) @ v
    return jnp.mean(jnp.tanh(h + mixed) ** 2)


def wide(x: Any) -> Any:
    return jnp.sin(numbers(200, 8) @ jnp.tanh(numbers(8, 30) @ x))


CASES: dict[str, Case] = {
    "network, diagonal": (nb.hessian_diagonal, mlp, [numbers(6, 8), numbers(8, 8), numbers(8, 3)]),
    "residual network, diagonal": (nb.hessian_diagonal, residual, [numbers(6, 6) / 3 for _ in range(3)]),
    "logistic, Hessian": (nb.hessian, logistic, numbers(30) / 5),
    "log-sum-exp, Hessian": (nb.hessian, log_sum_exp, numbers(30) / 5),
    "RNN by scan, diagonal": (nb.hessian_diagonal, rnn, {"h": numbers(5, 5) / 3, "x": numbers(3, 5)}),
    "GRU by scan, diagonal": (nb.hessian_diagonal, gru, {k: numbers(7, 4) / 3 for k in "znr"}),
    "convolution, diagonal": (nb.hessian_diagonal, convolution, numbers(3, 3, 2, 3)),
    "membrane, diagonal": (nb.hessian_diagonal, membrane, numbers(12, 12)),
    "attention, diagonal": (nb.hessian_diagonal, attention, [numbers(8, 8) / 3 for _ in range(3)]),
    "wide map, Jacobian": (nb.jacobian, wide, numbers(30)),
}
REFUSED = re.compile(
    r"the question '[a-z ]+' was asked with memory_bytes=\S+; the candidate that holds least, '[a-z-]+', needs about "
    r"(\S+) bytes at once\. Raise the bound to that, ask for less \(of a Hessian a block, the diagonal or the trace\), "
    r"or use nablax\.hvp\."
)


def held(function: Function, x: Any) -> float:
    """Temporaries and results as XLA allocates them."""
    analysis = jax.jit(function).lower(x).compile().memory_analysis()
    return float(analysis.temp_size_in_bytes + analysis.output_size_in_bytes)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The programs that a bounded verb compiles, in order; the last one is what it runs."""
    found: list[Any] = []
    measured = answering.held_bytes

    def watched(compiled: Any, *arguments: Any) -> float:
        found.append(compiled.lower(*arguments).compile())
        return measured(compiled, *arguments)

    monkeypatch.setattr(answering, "held_bytes", watched)
    return found


def bytes_of(program: Any) -> float:
    """Temporaries and results as XLA allocates them."""
    analysis = program.memory_analysis()
    return float(analysis.temp_size_in_bytes + analysis.output_size_in_bytes)


def leaves(tree: Any) -> list[Any]:
    return [np.asarray(x) for x in jax.tree.leaves(tree)]


LONG = ("GRU by scan, diagonal", "residual network, diagonal")


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("name", [pytest.param(x, marks=[pytest.mark.slow] * (x in LONG)) for x in CASES])
def test_the_compiled_program_keeps_the_bound(name: str, share: float, programs: list[Any]) -> None:
    verb, f, x = CASES[name]
    program = jax.jit(verb(f)).lower(x).compile()
    right = leaves(program(x))
    bound = share * bytes_of(program)
    try:
        got = leaves(verb(f, memory_bytes=bound)(x))
    except nb.MemoryBoundError as error:
        refused = error
    else:
        refused = None
    if refused is not None:
        found = REFUSED.fullmatch(str(refused))
        assert found is not None, str(refused)
        assert float(found[1]) > 0.99 * bound  # three digits of what is larger
        return
    assert bytes_of(programs[-1]) <= bound
    scale = max(float(np.abs(one).max()) for one in right)
    for one, want in zip(got, right, strict=True):
        assert_close(one, want, scale=scale)


@pytest.mark.parametrize("name", ["network, diagonal", "logistic, Hessian", "RNN by scan, diagonal"])
def test_a_bound_with_room_is_answered(name: str, programs: list[Any]) -> None:
    verb, f, x = CASES[name]
    bound = 4.0 * bytes_of(jax.jit(verb(f)).lower(x).compile())
    verb(f, memory_bytes=bound)(x)
    assert bytes_of(programs[-1]) <= bound


@pytest.mark.parametrize("excess", [1.01, 3.0, 10.0])
def test_what_never_fits_is_refused_and_not_run(excess: float, monkeypatch: pytest.MonkeyPatch) -> None:
    verb, f, x = CASES["logistic, Hessian"]
    monkeypatch.setattr(answering, "held_bytes", lambda *_: excess * 1e6)
    with pytest.raises(nb.MemoryBoundError, match=REFUSED):
        verb(lambda w: f(w), memory_bytes=1e6)(x)


def test_a_bound_below_the_answer_itself_is_refused() -> None:
    verb, f, x = CASES["logistic, Hessian"]
    with pytest.raises(nb.MemoryBoundError, match=REFUSED):
        verb(f, memory_bytes="7 kB")(x)  # 30 x 30 numbers of 8 bytes are 7,200
