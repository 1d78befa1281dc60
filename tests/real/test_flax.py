"""Networks as flax writes them, linen and nnx: exact diagonal, gradient and products against sampled columns of JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from real.checks import check_inputs, check_parameters

nn = pytest.importorskip("flax.linen", reason="flax is not installed; make test-all installs it")
nnx = pytest.importorskip("flax.nnx", reason="flax is not installed; make test-all installs it")

WIDE = {"dtype": jnp.float64, "param_dtype": jnp.float64}
STEPS = 32
TOKENS = np.array([[0, 3, 3, 1, 0, 4], [2, 2, 2, 5, 1, 1]])


def numbers(*shape: int) -> Any:
    return jnp.asarray(np.random.default_rng(len(shape)).normal(size=shape))


def objective(y: Any) -> Any:
    """A cross entropy of the last axis, and a little of every value."""
    return -jnp.mean(jax.nn.log_softmax(y)[..., 0]) + 0.01 * jnp.mean(y**2)


# -- linen --------------------------------------------------------------------------------------------


class Residual(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Dense(5, **WIDE)(x)
        for _ in range(3):
            x = x + nn.Dense(5, **WIDE)(nn.silu(nn.Dense(6, **WIDE)(x)))
        return nn.Dense(3, **WIDE)(x)


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        for width in (7, 6):
            x = nn.tanh(nn.Dense(width, **WIDE)(x))
        return nn.Dense(3, **WIDE)(x)


class Convolutional(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.relu(nn.BatchNorm(use_running_average=True, **WIDE)(nn.Conv(4, (3, 3), strides=2, **WIDE)(x)))
        y = nn.softplus(nn.BatchNorm(use_running_average=True, **WIDE)(nn.Conv(4, (3, 3), **WIDE)(x)))
        x = x + nn.Conv(4, (3, 3), **WIDE)(y)
        x = nn.avg_pool(x, (2, 2), (2, 2))
        return nn.Dense(3, **WIDE)(x.reshape(len(x), -1))


class Transformer(nn.Module):
    @nn.compact
    def __call__(self, tokens: Any) -> Any:
        x = nn.Embed(7, 4, **WIDE)(tokens)
        x = x + nn.MultiHeadDotProductAttention(2, **WIDE)(nn.LayerNorm(**WIDE)(x))
        y = nn.Dense(4, **WIDE)(nn.gelu(nn.Dense(8, **WIDE)(nn.LayerNorm(**WIDE)(x))))
        return nn.Dense(3, **WIDE)(jnp.mean(x + y, 1))


class Recurrent(nn.Module):
    cell: Any

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.Dense(3, **WIDE)(nn.RNN(self.cell)(x)[:, -1])


class Mixer(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Conv(4, (2, 2), strides=2, **WIDE)(x).reshape(len(x), -1, 4)
        y = jnp.swapaxes(nn.LayerNorm(**WIDE)(x), 1, 2)
        x = x + jnp.swapaxes(nn.Dense(x.shape[1], **WIDE)(nn.gelu(nn.Dense(5, **WIDE)(y))), 1, 2)
        x = x + nn.Dense(4, **WIDE)(nn.gelu(nn.Dense(5, **WIDE)(nn.LayerNorm(**WIDE)(x))))
        return nn.Dense(3, **WIDE)(jnp.mean(x, 1))


LINEN: dict[str, tuple[Any, Any]] = {
    "MLP": (MLP(), numbers(4, 5)),
    "residual MLP": (Residual(), numbers(4, 5)),
    "CNN with a residual block": (Convolutional(), numbers(2, 8, 8, 2)),
    "transformer": (Transformer(), TOKENS),
    "GRU": (Recurrent(nn.GRUCell(4, **WIDE)), numbers(2, STEPS, 3)),
    "LSTM": (Recurrent(nn.OptimizedLSTMCell(4, **WIDE)), numbers(2, STEPS, 3)),
    "MLP-Mixer": (Mixer(), numbers(2, 4, 4, 2)),
}


def linen(name: str) -> tuple[Callable[[Any], Any], Any, Callable[[Any], Any], Any]:
    """Loss, parameters, network of its input alone, and input; statistics are not those of a fresh network."""
    module, x = LINEN[name]
    variables = jax.jit(module.init)(jax.random.key(0), x)
    state = jax.tree.map(lambda v: jnp.asarray(v, jnp.float64) + 0.3, variables.get("batch_stats", {}))
    apply = lambda parameters, x: module.apply({"params": parameters, "batch_stats": state}, x)
    parameters = variables["params"]
    return (lambda p: objective(apply(p, x))), parameters, (lambda x: apply(parameters, x)), x


QUICK = ("MLP",)


@pytest.mark.parametrize("name", [pytest.param(x, marks=() if x in QUICK else pytest.mark.exhaustive) for x in LINEN])
def test_linen_in_its_parameters(name: str) -> None:
    loss, parameters, _, _ = linen(name)
    check_parameters(loss, parameters)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [name for name in LINEN if name not in ("transformer", "GRU", "LSTM")])
def test_linen_in_its_input(name: str) -> None:
    _, _, network, x = linen(name)
    check_inputs(lambda one: network(one[None])[0], x[0])


# -- nnx ----------------------------------------------------------------------------------------------


class Attending(nnx.Module):
    def __init__(self, rngs: Any) -> None:
        self.embedding = nnx.Embed(7, 4, rngs=rngs, **WIDE)
        self.before = nnx.LayerNorm(4, rngs=rngs, **WIDE)
        self.attention = nnx.MultiHeadAttention(2, 4, decode=False, rngs=rngs, **WIDE)
        self.after = nnx.LayerNorm(4, rngs=rngs, **WIDE)
        self.wide, self.narrow = nnx.Linear(4, 8, rngs=rngs, **WIDE), nnx.Linear(8, 4, rngs=rngs, **WIDE)

    def __call__(self, tokens: Any) -> Any:
        x = self.embedding(tokens)
        x = x + self.attention(self.before(x))
        return jnp.mean(x + self.narrow(nnx.gelu(self.wide(self.after(x)))), 1)


class Images(nnx.Module):
    def __init__(self, rngs: Any) -> None:
        self.kernel = nnx.Conv(2, 4, (3, 3), strides=2, rngs=rngs, **WIDE)
        self.norm = nnx.BatchNorm(4, use_running_average=True, rngs=rngs, **WIDE)
        self.block = nnx.Conv(4, 4, (3, 3), rngs=rngs, **WIDE)
        self.groups = nnx.GroupNorm(4, 2, rngs=rngs, **WIDE)
        self.head = nnx.Linear(16, 3, rngs=rngs, **WIDE)

    def __call__(self, x: Any) -> Any:
        x = nnx.tanh(self.norm(self.kernel(x)))
        x = nnx.avg_pool(x + nnx.tanh(self.groups(self.block(x))), (2, 2), (2, 2))
        return self.head(x.reshape(len(x), -1))


class Steps(nnx.Module):
    def __init__(self, rngs: Any) -> None:
        self.loop = nnx.RNN(nnx.GRUCell(3, 4, rngs=rngs, **WIDE))
        self.head = nnx.Linear(4, 3, rngs=rngs, **WIDE)

    def __call__(self, x: Any) -> Any:
        return self.head(self.loop(x)[:, -1])


NNX: dict[str, tuple[Any, Any]] = {
    "transformer": (Attending, TOKENS),
    "CNN with batch and group norm": (Images, numbers(2, 8, 8, 2)),
    "GRU": (Steps, numbers(2, STEPS, 3)),
}


# Attention of nnx rounds to single precision inside: the Hessian of JAX itself is symmetric to 4e-7 only.
IN_SINGLE, SINGLE = ("transformer",), 1e-5


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", NNX)
def test_nnx_in_its_parameters(name: str) -> None:
    make, x = NNX[name]
    graph, parameters, state = nnx.split(make(nnx.Rngs(0)), nnx.Param, ...)
    # new variables in each trace: cells count the random numbers they draw
    renewed = lambda: jax.tree.map(jnp.asarray, state)
    loss = lambda p: objective(nnx.merge(graph, p, renewed())(x))
    check_parameters(loss, parameters, SINGLE if name in IN_SINGLE else None)
