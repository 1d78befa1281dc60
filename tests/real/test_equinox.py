"""Networks as equinox writes them, a normalising flow, a neural differential equation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from real.checks import check_hessian, check_inputs, check_parameters

import nablax as nb

KEY = jax.random.key(0)
STEPS = 32


def numbers(*shape: int) -> Any:
    return jnp.asarray(np.random.default_rng(len(shape)).normal(size=shape))


def mlp(inputs: int, outputs: int, width: int = 6) -> Any:
    return eqx.nn.MLP(inputs, outputs, width, 2, activation=jnp.tanh, key=KEY, dtype=jnp.float64)


class Recurrent(eqx.Module):
    cell: Any
    head: Any

    def __call__(self, x: Any) -> Any:
        start = jnp.zeros(4)
        carry = (start, start) if isinstance(self.cell, eqx.nn.LSTMCell) else start
        last, _ = jax.lax.scan(lambda h, a: (self.cell(a, h), None), carry, x)
        return self.head(last[0] if isinstance(last, tuple) else last)


class Attention(eqx.Module):
    norm: Any
    attention: Any
    head: Any

    def __call__(self, x: Any) -> Any:
        y = jax.vmap(self.norm)(x)
        x = x + self.attention(y, y, y)
        return self.head(jnp.mean(jax.nn.gelu(x), 0))


class Pixels(eqx.Module):
    kernel: Any
    block: Any
    head: Any

    def __call__(self, x: Any) -> Any:
        x = jnp.tanh(self.kernel(x))
        x = eqx.nn.AvgPool2d(2, 2)(x + jax.nn.softplus(self.block(x)))
        return self.head(x.ravel())


class Flow(eqx.Module):
    """Affine couplings (Dinh, Sohl-Dickstein and Bengio 2017): the log density of one point."""

    couplings: list[Any]

    def __call__(self, x: Any) -> Any:
        total = 0.0
        for k, coupling in enumerate(self.couplings):
            fixed, moved = (x[:2], x[2:]) if k % 2 == 0 else (x[2:], x[:2])
            scale, shift = jnp.split(coupling(fixed), 2)
            scale = jnp.tanh(scale)
            moved = moved * jnp.exp(scale) + shift
            total = total + jnp.sum(scale)
            x = jnp.concatenate([fixed, moved] if k % 2 == 0 else [moved, fixed])
        return jax.scipy.stats.norm.logpdf(x).sum() + total


class Equation(eqx.Module):
    """A state that moves by a network, with the classical Runge-Kutta method in a scan."""

    slope: Any

    def __call__(self, start: Any) -> Any:
        h = 1.0 / STEPS

        def step(y: Any, _: None) -> tuple[Any, None]:
            a = self.slope(y)
            b = self.slope(y + h / 2 * a)
            c = self.slope(y + h / 2 * b)
            d = self.slope(y + h * c)
            return y + h / 6 * (a + 2 * b + 2 * c + d), None

        return jax.lax.scan(step, start, None, STEPS)[0]


def made(name: str) -> tuple[Any, Any]:
    """A network and a batch of inputs."""
    one, two = jax.random.split(KEY)
    linear = lambda n: eqx.nn.Linear(n, 3, key=two, dtype=jnp.float64)
    match name:
        case "MLP":
            return mlp(5, 3), numbers(4, 5)
        case "CNN":
            kernel = eqx.nn.Conv2d(2, 4, 3, 2, 1, key=one, dtype=jnp.float64)
            return Pixels(kernel, eqx.nn.Conv2d(4, 4, 3, 1, 1, key=two, dtype=jnp.float64), linear(16)), numbers(
                2, 2, 8, 8
            )
        case "attention":
            attention = eqx.nn.MultiheadAttention(2, 4, key=one, dtype=jnp.float64)
            return Attention(eqx.nn.LayerNorm(4, dtype=jnp.float64), attention, linear(4)), numbers(2, 5, 4)
        case "GRU":
            return Recurrent(eqx.nn.GRUCell(3, 4, key=one, dtype=jnp.float64), linear(4)), numbers(2, STEPS, 3)
        case "LSTM":
            return Recurrent(eqx.nn.LSTMCell(3, 4, key=one, dtype=jnp.float64), linear(4)), numbers(2, STEPS, 3)
        case "flow":
            keys = jax.random.split(KEY, 4)
            nets = [eqx.nn.MLP(2, 4, 5, 1, activation=jnp.tanh, key=key, dtype=jnp.float64) for key in keys]
            return Flow(nets), numbers(6, 4)
        case "differential equation":
            return Equation(mlp(3, 3, 4)), numbers(4, 3)
    raise AssertionError(name)


NETWORKS = ("MLP", "CNN", "attention", "GRU", "LSTM", "flow", "differential equation")
QUICK = ("flow",)
EACH = [pytest.param(name, marks=() if name in QUICK else pytest.mark.exhaustive) for name in NETWORKS]


def loss_of(name: str) -> tuple[Callable[[Any], Any], Any]:
    network, x = made(name)
    moving, fixed = eqx.partition(network, eqx.is_inexact_array)

    def loss(parameters: Any) -> Any:
        y = jax.vmap(eqx.combine(parameters, fixed))(x)
        return jnp.mean(y**2) + jnp.mean(jax.nn.logsumexp(y.reshape(len(x), -1), 1))

    return loss, moving


@pytest.mark.parametrize("name", EACH)
def test_in_the_parameters(name: str) -> None:
    check_parameters(*loss_of(name))


@pytest.mark.parametrize("name", EACH)
def test_in_the_input(name: str) -> None:
    network, x = made(name)
    check_inputs(network, x[0])


@pytest.mark.exhaustive
def test_whole_hessian_of_a_flow() -> None:
    check_hessian(*loss_of("flow"))


@pytest.mark.exhaustive
def test_laplacian_of_attention_against_folx() -> None:
    folx = pytest.importorskip("folx", reason="folx is not installed; make bench installs it")
    network, x = made("attention")
    g = lambda flat: jnp.sum(network(flat.reshape(5, 4)) ** 2)
    flat = x[0].ravel()
    want = folx.forward_laplacian(g)(flat).laplacian
    np.testing.assert_allclose(nb.laplacian(g)(flat), want, rtol=1e-12)


@pytest.mark.exhaustive
def test_a_filtered_call() -> None:
    # equinox's own transformations stand in the function that is differentiated
    network, x = made("MLP")
    flat, unravel = ravel_pytree(eqx.filter(network, eqx.is_inexact_array))
    fixed = eqx.filter(network, eqx.is_inexact_array, inverse=True)

    @eqx.filter_jit
    def loss(vector: Any) -> Any:
        return jnp.mean(eqx.filter_vmap(eqx.combine(unravel(vector), fixed))(x) ** 2)

    check_hessian(loss, flat)
