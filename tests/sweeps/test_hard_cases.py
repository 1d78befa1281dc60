"""Hard cases: every verb and every strategy against jax.hessian, or against the answer by hand."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import (
    DIFFERENCE_TOLERANCE,
    assert_close,
    by_differences,
    by_products,
    check_every_verb,
    reverse_over_reverse,
)

import nablax as nb

X = np.array([0.5, -1.2, 0.8, 2.1])
W = np.arange(1.0, 5.0)


def shared(x: Any) -> Any:
    """A weight matrix used twice, in a residual."""
    w = x[:4].reshape(2, 2)
    h = jnp.tanh(w @ x[2:4])
    return jnp.sum((h + jnp.tanh(w @ h)) ** 2)


def network(x: Any) -> Any:
    w, b = x.reshape(2, 2), x[:2]
    data = np.linspace(-1.0, 1.0, 6).reshape(3, 2)
    return jnp.mean(jax.nn.logsumexp(jnp.tanh(data @ w + b) @ w.T, axis=1))


PRODUCTS = {
    "x times x": lambda x: jnp.sum(x * x),
    "z1 z2, both from x": lambda x: jnp.sum(jnp.sin(x) * jnp.cos(x)),
    "the same vector twice": lambda x: (x @ x) ** 2,
    "cube of a sum": lambda x: jnp.sum(x) ** 3,
    "product of four": lambda x: jnp.einsum("i,j,k,ijk->", x, x, x, np.arange(64.0).reshape(4, 4, 4)),
    "shared parameters": shared,
    "network": network,
    "quadratic form with a matrix that moves": lambda x: x @ jnp.outer(x, jnp.sin(x)) @ x,
    "diag": lambda x: jnp.sum(jnp.diag(x) @ np.arange(16.0).reshape(4, 4) @ jnp.diag(x)),
    "diagonal": lambda x: jnp.sum(jnp.diagonal(jnp.outer(x, jnp.sin(x))) ** 2),
    "repeated label": lambda x: jnp.sum(jnp.einsum("ii->i", jnp.outer(x, x)) * x),
    "repeated rows": lambda x: jnp.sum(x[np.array([0, 0, 1])]) ** 2,
    "fixed place times repeated places": lambda x: x[0] * jnp.sum(x[np.array([0, 0, 1])]),
    "one place often": lambda x: jnp.sum(x[np.array([0, 0, 0])]) ** 2 * x[1],
    "repeated places, coupled": lambda x: jnp.sum(x[np.array([0, 0, 0])] * x[np.array([1, 0, 2])] ** 2),
    "chain": lambda x: jnp.sum((x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2),
    "stencil": lambda x: jnp.sum((x[2:] - 2.0 * x[1:-1] + x[:-2]) ** 4),
    "kronecker": lambda x: jnp.sum(jnp.kron(x, x) ** 2),
    "outer minus constant": lambda x: jnp.sum((jnp.outer(x[:2], x[2:]) - 1.0) ** 2),
    "linear": lambda x: W @ x,
    "constant": lambda _: 3.0,
    "one element": lambda x: x[2],
    "variance times deviation": lambda x: jnp.var(x) * jnp.std(x),
}
SHAPES = {
    "size-1 axes": lambda x: jnp.sum(x.reshape(4, 1) * x.reshape(1, 4) + x[:1].reshape(1, 1) ** 3),
    "size-0 slice": lambda x: (jnp.sum(x[:0]) + jnp.sum(x)) ** 3,
    "size-0 product": lambda x: jnp.sum(x[:0].reshape(0, 2) @ x.reshape(2, 2)) + jnp.sum(x**3),
    "size-0 padding": lambda x: jnp.sum(jax.lax.pad(x[:0] ** 2, x[0] ** 2, [(1, 2, 1)]) ** 3),
    "scalars among tensors": lambda x: jnp.sum(jnp.exp(x[0] * x) / (1.0 + x[1] ** 2)),
    "a long way round": lambda x: jnp.sum(
        jnp.concatenate([x, x**2, x[:2] ** 3]).reshape(5, 2).T.reshape(2, 5)[:, 1:3] ** 2
    ),
}
BRANCHES = {
    "where": lambda x: jnp.sum(jnp.where(x > 0, x**2, x**3)),
    "where with a safe root": lambda x: jnp.sum(jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), x**3)),
    "mean under a mask": lambda x: jnp.sum(jnp.where(x > 0, x**3, 0.0)) / jnp.sum(x > 0),
    "maximum": lambda x: jnp.sum(jnp.maximum(x, x**2)) ** 2,
    "clip": lambda x: jnp.sum(jnp.clip(x, -1.0, 1.0) ** 2 * x),
    "reduce max and min": lambda x: jnp.sum(jnp.max(x.reshape(2, 2), 0)) ** 2 + jnp.min(x) ** 3,
    "argmax": lambda x: x[jnp.argmax(x)] ** 3 * x[0],
    "floor, round, sign": lambda x: jnp.sum(x * jnp.floor(x) + jnp.round(x) * x**2 + jnp.sign(x) * x**2),
    "remainder": lambda x: jnp.sum(jnp.mod(x, 1.3) ** 2),
    "median": lambda x: jnp.median(x) ** 2 * x[0],
}
CAREFUL = {
    "logsumexp": lambda x: jax.nn.logsumexp(x) ** 2,
    "logsumexp with -inf added": lambda x: jax.nn.logsumexp(np.array([0.0, -np.inf, 0.0, 0.0]) + x),
    "logsumexp with -inf chosen": lambda x: jax.nn.logsumexp(
        jnp.where(np.array([True, False, True, True]), x, -jnp.inf)
    ),
    "softmax under a mask": lambda x: jnp.sum(
        jax.nn.softmax(jnp.where(np.array([True, False, True, True]), x, -jnp.inf)) ** 2
    ),
    "logsumexp of large numbers": lambda x: jax.nn.logsumexp(1e4 * x),
    "log of the logistic far out": lambda x: jnp.sum(jax.nn.log_sigmoid(200.0 * x)),
    "norm": lambda x: jnp.linalg.norm(x) ** 3,
    "power with a power that moves": lambda x: jnp.sum(jnp.abs(x) ** x),
    "arctangent of two": lambda x: jnp.sum(jnp.arctan2(x, x[::-1]) + jnp.hypot(x, 1.0 + x**2)),
}
LEFT_TO_JAX = {
    "scan": lambda x: jnp.sum(jax.lax.scan(lambda c, a: (jnp.sin(c * a), c * a), x[0], x)[1]),
    "fori": lambda x: jnp.sum(jax.lax.fori_loop(0, 3, lambda _, a: jnp.sin(a) * x, x)),
    "cond": lambda x: jax.lax.cond(x[0] > 0, lambda x: jnp.sum(x**3), lambda x: jnp.sum(x**4), x),
    "switch": lambda x: jax.lax.switch(1, [jnp.sum, lambda x: jnp.sum(x**3)], x),
    "sort": lambda x: jnp.sort(x) ** 3 @ W,
    "top_k": lambda x: jnp.sum(jax.lax.top_k(x, 2)[0] ** 3),
    "cumsum": lambda x: jnp.sum(jnp.cumsum(x) ** 3),
    "cumprod": lambda x: jnp.sum(jnp.cumprod(x) ** 2),
    "product": lambda x: jnp.prod(x) ** 2 + jnp.sum(jnp.prod(x.reshape(2, 2), 1)),
    "convolve": lambda x: jnp.sum(jnp.convolve(x, x[:2], mode="same") ** 2),
    "convolution": lambda x: jnp.sum(
        jax.lax.conv_general_dilated(x.reshape(1, 1, 4), x[:2].reshape(1, 1, 2), (1,), "SAME") ** 2
    ),
    "fft": lambda x: jnp.sum(jnp.abs(jnp.fft.fft(x)) ** 4),
    "real fft": lambda x: jnp.sum(jnp.abs(jnp.fft.rfft(x)) ** 2 * np.arange(1.0, 4.0)),
    "complex exponential": lambda x: jnp.sum(jnp.real(jnp.exp(1j * x))),
    "complex product": lambda x: jnp.real(jnp.prod(x + 1j * x**2)),
    "complex modulus": lambda x: jnp.abs(x[0] + 1j * x[1]) ** 3,
    "take_along_axis": lambda x: jnp.sum(
        jnp.take_along_axis(x.reshape(2, 2) ** 2, jnp.array([[1], [0]]), 1) * jnp.sum(x)
    ),
    "scatter set": lambda x: jnp.sum(x.at[1].set(x[0] * x[2]) ** 3),
    "scatter add, repeated": lambda x: jnp.sum(x.at[np.array([1, 1, 0])].add(x[:3] ** 2) ** 3),
    "interpolation": lambda x: jnp.sum(jnp.interp(x, jnp.arange(-3.0, 4.0), jnp.arange(7.0) ** 2) ** 2),
    "stop_gradient": lambda x: jnp.sum(jax.lax.stop_gradient(x) * x**2),
    "remat": lambda x: jax.checkpoint(lambda x: jnp.sin(x @ x))(x),
    "inner vmap": lambda x: jnp.sum(jax.vmap(lambda a: jnp.sin(a) * jnp.sum(x))(x)),
    "inner grad": lambda x: jnp.sum(jax.grad(lambda y: jnp.sum(y**4))(x) ** 2),
    "inner Hessian": lambda x: jnp.trace(jax.hessian(lambda y: jnp.prod(y**4))(x)),
    "inner Laplacian of our own": lambda x: nb.laplacian(lambda y: jnp.prod(jnp.sin(y)))(x),
}
# Where rounding is enlarged: 1 - tanh² of 5 keeps twelve of its digits, and is not computed in the same way everywhere.
CONDITION = {"shared parameters": 8.0}
SMOOTH = {**PRODUCTS, **SHAPES, **BRANCHES, **CAREFUL, **LEFT_TO_JAX}


@pytest.mark.parametrize("name", SMOOTH)
def test_against_jax(name: str) -> None:
    check_every_verb(SMOOTH[name], X)


@pytest.mark.parametrize("name", [*PRODUCTS, "where", "logsumexp", "scan", "fft", "complex product"])
def test_against_products_and_differences(name: str) -> None:
    f = SMOOTH[name]
    got = jax.jit(nb.hessian(f))(X)
    condition = CONDITION.get(name, 1.0)
    if name != "constant":
        assert_close(got, by_products(f, X), what=name, condition=condition)
        assert_close(got, reverse_over_reverse(f, X), what=name, condition=condition)
    # differences of values lose what the values hold, also where the Hessian is small or zero
    size = max(float(np.abs(got).max()), float(np.abs(f(X))))
    assert_close(got, by_differences(f, X), what=name, tolerance=DIFFERENCE_TOLERANCE[2], scale=size)


def test_an_index_known_at_run_time() -> None:
    f = lambda x, i: x[i] ** 3 * jnp.sum(x) + jnp.sum(jax.lax.dynamic_slice(x, (i,), (2,)) ** 3)
    for strategy in ("legs-backward", "legs-forward", "columns"):
        assert_close(nb.hessian(f, strategy=strategy)(X, jnp.array(2)), jax.hessian(f)(X, jnp.array(2)))


def test_cross_entropy_with_labels_at_run_time() -> None:
    labels = jnp.array([1, 0])
    f = lambda x, labels: -jnp.sum(jnp.take_along_axis(jax.nn.log_softmax(x.reshape(2, 2) ** 2), labels[:, None], 1))
    for strategy in ("legs-backward", "legs-forward", "columns"):
        assert_close(nb.hessian(f, strategy=strategy)(X, labels), jax.hessian(f)(X, labels))


@pytest.mark.parametrize("shape", [(0,), (1,), (0, 2), (1, 1), ()])
def test_leaves_of_size_zero_and_one(shape: tuple[int, ...]) -> None:
    check_every_verb(lambda x: jnp.sum(jnp.sin(x) ** 2) + jnp.sum(x) ** 3 + 1.0, np.full(shape, 0.7))


# -- answers by hand ---------------------------------------------------------------------------------------


def test_ties_of_max_share_as_in_jax() -> None:
    tied = np.array([1.0, 1.0, 2.0, 2.0])
    check_every_verb(lambda x: jnp.max(x) ** 3, tied)
    check_every_verb(lambda x: jnp.min(x.reshape(2, 2), 1) @ x[:2], tied)
    check_every_verb(lambda x: jnp.sum(jnp.maximum(x, x[::-1]) ** 2), np.ones(4))


def test_where_with_nan_on_the_branch_not_taken() -> None:
    # The derivative of the chosen branch is all there is; JAX multiplies the other's infinite slope by zero.
    x = np.array([4.0, -1.0, 0.0])
    f = lambda x: jnp.sum(jnp.where(x > 0, jnp.sqrt(x), x**2))
    assert np.isnan(jax.hessian(f)(x)).any()
    want = np.diag([-0.25 * 4.0**-1.5, 2.0, 2.0])
    for strategy in ("legs-backward", "legs-forward", "columns"):
        assert_close(nb.hessian(f, strategy=strategy)(x), want, what=strategy)
        assert_close(nb.hessian_diagonal(f, strategy=strategy)(x), np.diag(want), what=strategy)


def test_norm_at_zero_has_no_second_derivative() -> None:
    for strategy in ("legs-backward", "legs-forward", "columns"):
        assert np.isnan(nb.hessian(jnp.linalg.norm, strategy=strategy)(np.zeros(3))).all()


def test_square_of_the_norm_at_zero_is_smooth_as_written_without_root() -> None:
    check_every_verb(lambda x: jnp.sum(x**2), np.zeros(3), hessian=2.0 * np.eye(3))
    check_every_verb(lambda x: jnp.sum(x**2.0 + x**3.0), np.zeros(3), hessian=2.0 * np.eye(3))


def test_power_one_at_zero() -> None:
    # x^1.0 is x; JAX takes the second derivative of the power at zero for NaN
    f = lambda x: jnp.sum(x**1.0 + x**2)
    assert np.isnan(jax.hessian(f)(np.zeros(2))).any()
    check_every_verb(f, np.zeros(2), hessian=2.0 * np.eye(2))


def test_forward_over_reverse_may_be_nan_where_the_answer_is_finite() -> None:
    # sqrt at zero in a branch not taken: forward over reverse multiplies 0 by infinity, the fused function does not
    f = lambda x: jnp.sum(jnp.where(x == 0.0, x**2, jnp.sqrt(jnp.abs(x))) * jnp.sum(x))
    x = np.array([0.0, 1.0])
    assert np.isnan(jax.hessian(f)(x)).any()
    # d2 of (g(x0) + g(x1)) (x0 + x1) with g(0) = 0, g' = 0, g'' = 2 at 0 and g = 1, g' = 1/2, g'' = -1/4 at 1
    s = 1.0
    want = np.array([[2.0 * s, 0.5], [0.5, -0.25 * s + 1.0]])
    assert_close(nb.hessian(f)(x), want)
    assert_close(nb.hvp(f)(x, np.ones(2)), want @ np.ones(2))


def test_the_counterexample_to_schwarz() -> None:
    # f = x y (x^2 - y^2) / (x^2 + y^2), f(0) = 0: the mixed derivatives at 0 are -1 and 1, so that no symmetric matrix
    # is right. Derivatives are those of the branch that is taken, as JAX takes them: there f is 0.
    def f(p: Any) -> Any:
        x, y = p
        origin = (x == 0) & (y == 0)
        return jnp.where(origin, 0.0, x * y * (x**2 - y**2) / jnp.where(origin, 1.0, x**2 + y**2))

    check_every_verb(f, np.zeros(2), hessian=np.zeros((2, 2)))
    check_every_verb(f, np.array([0.3, -0.7]))


def test_the_textbook_diagonal_says_when_it_drops_cross_terms() -> None:
    x = np.array([0.5, -1.0, 2.0])
    separable = nb.hessian_diagonal_estimate(lambda x: jnp.sum(jnp.sin(x) ** 2))(x)
    dropped = nb.hessian_diagonal_estimate(lambda x: jnp.sum(x) ** 2 * jnp.sum(x**2))(x)
    assert separable.exact
    assert_close(separable.estimate, 2.0 * np.cos(2.0 * x))
    assert not dropped.exact
    # (Σx)² Σx²: of 2 Σx² + 8 x Σx + 2 (Σx)² the recipe keeps what each path gives alone, and drops 8 x Σx
    s, squares = x.sum(), (x**2).sum()
    exact = nb.hessian_diagonal(lambda x: jnp.sum(x) ** 2 * jnp.sum(x**2))(x)
    assert_close(exact, 2.0 * squares + 8.0 * x * s + 2.0 * s**2)
    assert_close(dropped.estimate, np.full(3, 2.0 * squares + 2.0 * s**2))


def test_the_textbook_diagonal_of_neighbours_that_are_one_function() -> None:
    # x e^x is one scalar function of each entry: nothing crosses, so that nothing may be dropped
    x = np.array([0.5, -1.0, 2.0])
    both = nb.hessian_diagonal_estimate(lambda x: jnp.sum((x * 1.0) * jnp.exp(x)))(x)
    assert both.exact
    assert_close(both.estimate, (x + 2.0) * np.exp(x))
