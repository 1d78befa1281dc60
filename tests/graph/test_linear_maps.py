"""Operations that are products with a matrix that nobody writes out, or read as others: sums, products, transforms."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close, check_every_verb

import nablax as nb
from nablax.graph.node import reachable
from nablax.ops.kinds import Opaque
from nablax.ops.linear_map import ROWS, LinearMap
from nablax.planning.question import pose

X = np.array([0.53, -1.21, 0.84, 2.13, -0.37, 0.66, 1.4])
WITH_ZEROS = np.where([0, 0, 1, 0, 1, 0, 0], 0.0, X)
TABLE = np.random.default_rng(1).normal(size=(3, 5))
MATRIX = np.random.default_rng(0).normal(size=(4, 4))
W = np.cos(np.arange(1.0, 8.0))


def opaque(f: Callable[..., Any], x: Any) -> set[str]:
    """Names of the opaque nodes that a derivative goes through."""
    problem = pose(lambda x: f(x), [x], [0], scalar="")
    return {n.kind.name for n in reachable(problem.outputs) if isinstance(n.kind, Opaque) and n.depends}


def total(*functions: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: sum(f(x) for f in functions)


GROUPS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "cumulative sums": (
        total(
            lambda x: jnp.sum(jnp.tanh(jnp.cumsum(x))),
            lambda x: jnp.sum(jnp.tanh(jax.lax.cumsum(x, reverse=True)) * x),
            lambda x: jnp.sum(jnp.tanh(jnp.cumsum(x)[1:] - jnp.cumsum(x)[:-1] * x[1:])),
            lambda x: jnp.sum(jnp.cumsum(jnp.cumsum(jnp.outer(x, x), 0), 1) ** 2) / 100,
            lambda x: jnp.sum(jnp.cumsum(x)) ** 2 + jnp.trace(jnp.cumsum(jnp.outer(x, x) ** 2, 0)),
        ),
        X,
    ),
    "products": (
        total(
            lambda x: jnp.prod(x), lambda x: jnp.prod(x * x[0]), lambda x: jnp.sum(W * jnp.cumprod(x)),
            lambda x: jnp.sum(W * jax.lax.cumprod(jnp.sin(x) + x, reverse=True) ** 2),
        ),
        WITH_ZEROS,
    ),
    "running extrema": (
        total(
            lambda x: jnp.sum(jax.lax.cummax(x, 1) ** 2), lambda x: jnp.sum(jax.lax.cummin(x, 0) ** 3),
            lambda x: jnp.sum(jax.lax.cumlogsumexp(x, 1, reverse=True) ** 2), lambda x: jnp.sum(jnp.prod(x, 1) ** 2),
        ),
        TABLE,
    ),
    "transforms": (
        total(
            lambda x: jnp.sum(W * jnp.abs(jnp.fft.fft(x)) ** 4) / 100,
            lambda x: jnp.sum(jnp.fft.irfft(jnp.fft.rfft(x) * jnp.fft.rfft(x[::-1]), n=7) ** 3) / 100,
            lambda x: jnp.sum(jax.scipy.signal.fftconvolve(x, x[:3]) ** 2),
            lambda x: jnp.sum(jax.scipy.fft.dct(jnp.tanh(x)) ** 3),
        ),
        X,
    ),
    "transforms of tables": (
        total(
            lambda x: jnp.sum(jnp.abs(jnp.fft.fft2(x))) + jnp.sum(jnp.real(jnp.fft.ifft2(x)) ** 3),
            lambda x: jnp.sum(jnp.imag(jnp.fft.rfftn(x) * 1j) ** 3) + jnp.sum(jnp.fft.irfft(x + 1j * x**2) ** 2),
            lambda x: jnp.sum(jnp.abs((x + 1j * x**2) @ (jnp.cosh(x).T - 1j * x.T))),
        ),
        TABLE,
    ),
    "complex arithmetic": (
        total(
            lambda x: jnp.real(jnp.sum(jnp.exp(1j * x) * (x + 2j * x[::-1]) ** 3 / (3 + 1j * x))),
            lambda x: jnp.abs(jnp.sum(jnp.sin(x * (1 + 0.3j)) + jnp.cos(1j * x) - jnp.sinh(x + 0.1j))),
        ),
        X,
    ),
    "functions of complex values": (
        total(
            lambda x: jnp.abs(jnp.vdot(x + 1j * x**2, jnp.log(2 + x**2 + 1j * x))) ** 2 / 100,
            lambda x: jnp.sum(jnp.abs(jnp.where(x > 0, x + 1j, 2 * x - 1j * x**2)) ** 3),
            lambda x: jnp.sum(jnp.angle(2 + x + 1j * x) + jnp.real(jnp.conj(x + 1j) * jnp.square(x - 1j))),
        ),
        X,
    ),
}  # fmt: skip


@pytest.mark.parametrize("group", GROUPS)
def test_nothing_is_opaque(group: str) -> None:
    assert opaque(*GROUPS[group]) == set()


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_every_verb(group: str) -> None:
    f, x = GROUPS[group]
    check_every_verb(f, x, tolerance=1e-9)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_row_its_matrix_its_transpose_and_its_square(name: str) -> None:
    given, params = ROWS[name].sample
    x = np.random.default_rng(2).normal(size=(3, *given))
    made = jax.eval_shape(lambda x: ROWS[name].apply(x, **params), x).shape[1:]
    linear = LinearMap(ROWS[name], tuple(params.items()), made, given, np.dtype("float64"))
    matrix = np.asarray(linear).reshape(np.prod(made), np.prod(given))
    assert_close(linear.apply(x).reshape(3, -1), x.reshape(3, -1) @ matrix.T)
    y = np.random.default_rng(3).normal(size=(3, *made))
    assert_close(linear.transposed(y).reshape(3, -1), y.reshape(3, -1) @ matrix)
    if linear.square is not None:
        assert_close(linear.square, np.asarray(linear) ** 2)


def test_a_triangle_of_ones_is_never_written_out() -> None:
    x = np.linspace(-1.0, 1.0, 200_000)
    found = nb.hessian_diagonal(lambda x: jnp.sum(jnp.cumsum(x) ** 3))(x)
    assert_close(found, 6 * np.cumsum(np.cumsum(x)[::-1])[::-1])
    assert nb.plan(lambda x: jnp.sum(jnp.cumsum(x) ** 3), "diagonal")(x).choice.chosen.cost.peak < 100 * x.nbytes


@pytest.mark.parametrize("network", [lambda x: jnp.cumsum(x, -1), lambda x: jnp.abs(jnp.fft.rfft(x)) ** 2])
def test_a_batch_passes(network: Callable[[Any], Any]) -> None:
    def flops(batch: int) -> float:
        asked = nb.plan(lambda x: jnp.sum(jnp.tanh(network(jnp.sin(x)))), "diagonal")
        return asked(jnp.ones((batch, 16))).choice.chosen.cost.flops

    assert flops(200) < 110 * flops(2)


def determinant(x: Any) -> Any:
    """By its definition."""
    n = x.shape[0]
    total = 0.0
    for places in itertools.permutations(range(n)):
        sign = np.linalg.det(np.eye(n)[list(places)])
        term = sign
        for row, column in enumerate(places):
            term = term * x[row, column]
        total = total + term
    return total


@pytest.mark.parametrize("rank", [4, 3, 2, 1])
def test_determinants_of_singular_matrices(rank: int) -> None:
    x = MATRIX.copy()
    for k in range(rank, 4):
        x[k] = (k - 1.5) * x[0]

    def f(det: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda v: det(v.reshape(4, 4)) * jnp.sum(v**2) + det(v.reshape(4, 4)) ** 2 + jnp.sum(v**4)

    want = jax.jit(jax.hessian(f(determinant)))(x.ravel())
    assert opaque(f(jnp.linalg.det), x.ravel()) == set()
    check_every_verb(f(jnp.linalg.det), x.ravel(), hessian=want, tolerance=1e-10)


def test_the_determinant_at_the_identity() -> None:
    # all singular values are equal: their frame has no derivative, the determinant has
    got = nb.hessian(lambda v: jnp.linalg.det(v.reshape(4, 4)))(np.eye(4).ravel())
    want = np.einsum("ij,kl->ijkl", np.eye(4), np.eye(4)) - np.einsum("il,jk->ijkl", np.eye(4), np.eye(4))
    assert_close(got, want.reshape(16, 16))


def test_sinc_at_zero_and_beside() -> None:
    x = np.array([0.0, 0.3, -1.7, 2.0])
    assert opaque(lambda x: jnp.sum(jnp.sinc(x) ** 2), x) == set()
    check_every_verb(lambda x: jnp.sum(jnp.sinc(x) ** 2 + jnp.sinc(x)), x, tolerance=1e-8)


def test_an_explanation_names_the_map() -> None:
    plan = nb.plan(lambda x: jnp.sum(jnp.cumsum(x) ** 2), "diagonal")(X)
    assert any(step.strip().startswith("cumsum") for step in plan.steps), plan.steps
