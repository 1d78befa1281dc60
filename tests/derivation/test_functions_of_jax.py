"""Functions of JAX as users write them end in time: with the closed form of a textbook, or with a note."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy as jsp
import numpy as np
import pytest

from nablax.derivation import derive

GENERATOR = np.random.default_rng(3)
x, c, w = (GENERATOR.normal(size=length) for length in (5, 3, 3))
X, W, Y = (GENERATOR.normal(size=shape) for shape in ((5, 3), (3, 4), (4, 4)))
S = Y @ Y.T + 4 * np.eye(4)
r, mean = GENERATOR.normal(size=4), GENERATOR.normal(size=4)
p, q = np.abs(x) / np.sum(np.abs(x)), np.abs(x[::-1]) + 0.1
labels, targets = np.array([0, 2, 1, 3, 1]), np.array([1.0, 0.0, 1.0, 1.0, 0.0])


def by_cholesky(S: Any, r: Any, mean: Any) -> Any:
    lower = jnp.linalg.cholesky(S)
    z = jsp.linalg.solve_triangular(lower, r - mean, lower=True)
    return 0.5 * z @ z + jnp.sum(jnp.log(jnp.diag(lower))) + 0.5 * len(r) * jnp.log(2 * jnp.pi)


def cross_entropy(w: Any, X: Any, y: Any) -> Any:
    z = X @ w
    return jnp.mean(jnp.maximum(z, 0) - z * y + jnp.log1p(jnp.exp(-jnp.abs(z))))


def cross_entropy_in_parts(w: Any, X: Any, y: Any) -> Any:
    z = X @ w
    small, large = jnp.exp(-jnp.abs(z)), jax.nn.relu(z)
    return jnp.mean(large - z * y + jnp.log(1 + small))


Row = tuple[Callable[..., Any], tuple[Any, ...], str | None, str]
ROWS: dict[str, Row] = {
    "largest eigenvalue": (
        lambda S: jnp.linalg.eigvalsh(S)[-1],
        (S,),
        "S: symmetric(n)",
        "vvᵀ  where  v = eigenvector(S)",
    ),
    "least eigenvalue": (
        lambda S: jnp.min(jnp.linalg.eigvalsh(S)),
        (S,),
        "S: symmetric(n)",
        "vvᵀ  where  v = first_eigenvector(S)",
    ),
    "squared eigenvalues": (
        lambda S: jnp.sum(jnp.linalg.eigvalsh(S) ** 2),
        (S,),
        "S: symmetric(n)",
        "2V diag(eigenvalues(S)) Vᵀ  where  V = eigenvectors(S)",
    ),
    "log det by cholesky": (
        lambda S: 2 * jnp.sum(jnp.log(jnp.diag(jnp.linalg.cholesky(S)))),
        (S,),
        "S: spd(n)",
        "S⁻¹",
    ),
    "Gaussian by cholesky": (by_cholesky, (S, r, mean), "S: spd(n)", "½(S⁻¹ − S⁻¹(mean − r)(mean − r)ᵀS⁻¹)"),
    "polyval": (lambda c, x: jnp.sum(jnp.polyval(c, x)), (c, x), None, "‖x‖² e₀ + sum(x) e₁ + 5e₂"),
    "cumlogsumexp": (
        lambda x: jnp.sum(jax.lax.cumlogsumexp(x)),
        (x,),
        None,
        "exp(x) ⊙ triu(𝟏𝟏ᵀ) (1 ⊘ tril(𝟏𝟏ᵀ) exp(x))",
    ),
    "cross entropy": (cross_entropy, (w, X, targets), None, "(1/m)Xᵀ(σ(Xw) − y)"),
    "cross entropy at zero": (cross_entropy, (0 * w, X, targets), None, "(1/m)Xᵀ(σ(Xw) − y)"),
    "cross entropy in parts": (cross_entropy_in_parts, (w, X, targets), None, "(1/m)Xᵀ(σ(Xw) − y)"),
    "Poisson": (
        lambda w, X, k: -jnp.sum(jsp.stats.poisson.logpmf(k, jnp.exp(X @ w))),
        (w, X, labels),
        None,
        "Xᵀ(exp(Xw) − k)",
    ),
    "entr": (lambda x: jnp.sum(jsp.special.entr(x)), (p,), None, "−(1 + log(x))"),
    "rel_entr": (lambda x, y: jnp.sum(jsp.special.rel_entr(x, y)), (p, q), None, "1 + log(x) − log(y)"),
    "kl_div": (lambda x, y: jnp.sum(jsp.special.kl_div(x, y)), (p, q), None, "log(x) − log(y)"),
    "xlogy": (lambda x, y: jnp.sum(jsp.special.xlogy(x, y)), (p, q), None, "log(y)"),
    "logit": (lambda x: jnp.sum(jsp.special.logit(x)), (p,), None, "1 ⊘ (1 − x) ⊘ x"),
    "sinc": (lambda x: jnp.sum(jnp.sinc(x)), (x,), None, "(cos(πx) ⊙ x − (1/π)sin(πx)) ⊘ x^⊙2"),
    "relu6": (lambda x: jnp.sum(jax.nn.relu6(x)), (x,), None, "[x > 0] ⊙ [6 > max(x, 0)]"),
    "elu": (lambda x: jnp.sum(jax.nn.elu(x)), (x,), None, "[x > 0] ⊙ (1 − exp(x)) + exp(x)"),
    "pinv": (lambda x, X: jnp.sum((jnp.linalg.pinv(X) @ x) ** 2), (x, X), None, "2X(XᵀX)⁻²Xᵀx"),
    "norm inf": (lambda x: jnp.linalg.norm(x, jnp.inf), (x,), None, "[|x| = max(|x|)] ⊙ sign(x)"),
    "norm 2": (
        lambda X: jnp.linalg.norm(X, 2),
        (X,),
        None,
        "uvᵀ  where  v = right_vector(X), u = left_vector(X)",
    ),
    "mean of squares by a root": (lambda x: jnp.sum(x**2) / jnp.sqrt(len(x)), (x,), None, "2x/√n"),
    "var": (lambda x: jnp.var(x, ddof=1), (x,), None, "2(x − sum(x)/n)/(n − 1)"),
    "Gaussian divergence": (
        lambda S, m, T: (
            jnp.trace(jnp.linalg.solve(T, S))
            + m @ jnp.linalg.solve(T, m)
            - len(m)
            + jnp.log(jnp.linalg.det(T) / jnp.linalg.det(S))
        ),
        (S, mean, S + np.eye(4)),
        None,
        "T⁻ᵀ − S⁻ᵀ",
    ),
    "a column of ones": (
        lambda w, X, y: jnp.sum((jnp.concatenate([X, jnp.ones((X.shape[0], 1))], 1) @ w - y) ** 2),
        (r, X, x),
        None,
        "2(e₋₁𝟏ᵀ + rᵀXᵀ)((𝟏e₋₁ᵀ + Xr)w − y)  where  r = I[:-1]",
    ),
    "all parameters but the last": (
        lambda w, X, y: jnp.sum((X @ w[:-1] + w[-1] - y) ** 2),
        (r, X, x),
        None,
        "2(I[:-1]ᵀXᵀr + sum(r) e₋₁)  where  r = Xw[:-1] + wᵀe₋₁ − y",
    ),
    "labels": (
        lambda W, X, y: -jnp.sum(jax.nn.one_hot(y, 4) * jax.nn.log_softmax(X @ W)),
        (W, X, labels),
        None,
        "Xᵀ(diag(r𝟏) softmax(XW) − r)  where  r = [y𝟏ᵀ = 𝟏Cᵀ]",
    ),
    "a matrix of two numbers": (
        lambda w: w @ jnp.array([[2.0, 1.0], [1.0, 2.0]]) @ w,
        (w[:2],),
        None,
        "2(w + sum(w))",
    ),
    "quadratic form by solve": (
        lambda w, X, y, S: (X.T @ w - y) @ jnp.linalg.solve(S, X.T @ w - y),
        (x, X, c, S[:3, :3]),
        None,
        "X(S⁻¹ + S⁻ᵀ)(Xᵀw − y)",
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_closed_form(name: str) -> None:
    function, args, declare, gradient = ROWS[name]
    found = derive(function, 0, args=args, declare=declare, order=1)
    assert (str(found.gradient), found.notes) == (gradient, ())


NAMES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "cumprod": (lambda x: jnp.sum(jnp.cumprod(x)), (x,)),
    "cummax": (lambda x: jnp.sum(jax.lax.cummax(x)), (x,)),
    "selection": (lambda W, X, y: -jnp.mean(jax.nn.log_softmax(X @ W)[jnp.arange(5), y]), (W, X, labels)),
}


@pytest.mark.parametrize("operation", NAMES)
def test_note(operation: str) -> None:
    function, args = NAMES[operation]
    found = derive(function, 0, args=args)
    assert found.notes[-1].startswith(operation)
    assert found.verification.passed


def test_a_loop_of_as_many_turns_as_an_axis_is_long_is_read_at_its_own_length() -> None:
    def squares(x: Any) -> Any:
        total = x[0] * x[1]
        for k in range(1, x.shape[0] - 1):
            total = total + x[k] * x[k + 1]
        return total

    assert str(derive(squares, 0, args=(x,), order=2).gradient) != "∂f/∂x"


@pytest.mark.parametrize("language", ["numpy", "jax", "torch", "julia", "c"])
def test_code_for_lengths_that_are_numbers_says_so(language: str) -> None:
    found = derive(lambda x: jnp.sum(x * jnp.arange(5.0)), 0, args=(x,))
    assert "for x[5] only" in found.code(language)


def test_code_for_lengths_that_are_numbers_refuses_others() -> None:
    found = derive(lambda x: jnp.sum(x * jnp.arange(5.0)), 0, args=(x,))
    space: dict[str, Any] = {}
    exec(found.gradient.code(), space)
    np.testing.assert_allclose(space["gradient"](x), np.arange(5.0))
    with pytest.raises(ValueError, match=r"this code is for x\[5\] only"):
        space["gradient"](x[:4])


def test_a_masked_score_has_no_infinite_number() -> None:
    scores, mask = GENERATOR.normal(size=(4, 4)), np.tril(np.ones((4, 4)))
    found = derive(lambda s, m: jax.nn.softmax(jnp.where(m > 0, s, -jnp.inf)), 0, args=(scores, mask), order=1)
    assert str(found.function) == "diag(1 ⊘ diag([m > 0] exp(s)ᵀ)) ([m > 0] ⊙ exp(s))"
