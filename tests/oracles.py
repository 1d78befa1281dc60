"""Independent answers to compare with, and the tolerances, each stated once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import nablax as nb

# Rounding of a second derivative of a few dozen operations on numbers near one: some hundred units in the last place.
TOLERANCE = {"float64": 1e-9, "float32": 2e-4, "float16": 2e-1, "bfloat16": 5e-1}
# Central differences of steps h lose about h^2 to curvature and eps / h^order to cancellation.
DIFFERENCE_TOLERANCE = {1: 1e-7, 2: 1e-4}
DIFFERENCE_STEP = {1: 1e-5, 2: 1e-4}

DENSE = ("legs-backward", "legs-forward", "columns")
VERBS = {"hessian": nb.hessian, "hessian_diagonal": nb.hessian_diagonal, "laplacian": nb.laplacian}


def close(got: Any, want: Any, dtype: Any = "float64", *, tolerance: float | None = None) -> bool:
    """Whether two arrays agree, NaN for NaN and infinity for infinity, relative to the largest entry."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    allowed = TOLERANCE[jnp.dtype(dtype).name] if tolerance is None else tolerance
    finite = np.abs(want[np.isfinite(want)])
    scale = max(1.0, float(finite.max(initial=0.0)))
    return got.shape == want.shape and np.allclose(got, want, rtol=allowed, atol=allowed * scale, equal_nan=True)


def assert_close(got: Any, want: Any, dtype: Any = "float64", what: str = "", **options: Any) -> None:
    """Fail with both values unless they agree."""
    assert close(got, want, dtype, **options), f"{what}\ngot\n{np.asarray(got)}\nexpected\n{np.asarray(want)}"


def assert_same_tree(got: Any, want: Any, what: str = "") -> None:
    """Fail unless two trees have the same structure, and the same shapes, dtypes and values."""
    assert jax.tree.structure(got) == jax.tree.structure(want), what
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert np.shape(a) == np.shape(b), what
        assert jnp.result_type(a) == jnp.result_type(b), what
        assert_close(a, b, jnp.result_type(b), what)


# -- oracles -------------------------------------------------------------------------------------------


def by_products(f: Callable[..., Any], x: Any) -> np.ndarray[Any, Any]:
    """The Hessian as products with unit vectors, one after the other, forward over reverse."""
    product = jax.jit(lambda v: jax.jvp(jax.grad(f), (x,), (v,))[1])
    return np.stack([np.asarray(product(unit)) for unit in np.eye(x.size)], axis=-1)


def reverse_over_reverse(f: Callable[..., Any], x: Any) -> Any:
    """The Hessian with reverse mode twice."""
    return jax.jit(jax.jacrev(jax.grad(f)))(x)


def by_differences(f: Callable[..., Any], x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The Hessian by central differences of values, in float64; exact to DIFFERENCE_TOLERANCE[2] only."""
    h, n = DIFFERENCE_STEP[2], x.size
    steps = h * np.eye(n)
    points = np.stack(
        [
            x + a * steps[i] + b * steps[j]
            for i in range(n)
            for j in range(n)
            for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))
        ]
    )
    values = np.asarray(jax.jit(jax.vmap(f))(points)).reshape(n, n, 4)
    return (values[..., 0] - values[..., 1] - values[..., 2] + values[..., 3]) / (4 * h * h)


# -- every verb, every strategy ------------------------------------------------------------------------


def every_answer(f: Callable[..., Any], x: Any, v: Any) -> dict[str, Any]:
    """What every verb answers by every strategy, about one vector; compiled in one go."""
    exact: list[bool] = []

    def asked(x: Any, v: Any) -> dict[str, Any]:
        found = {f"{verb} {name}": ask(f, strategy=name)(x) for verb, ask in VERBS.items() for name in DENSE}
        found["hvp"] = nb.hvp(f)(x, v)
        found["quadratic_form"] = nb.quadratic_form(f)(x, v)
        recipe = nb.hessian_diagonal(f, strategy="diagonal-only")(x)
        exact.append(recipe.exact)
        found["hessian_diagonal diagonal-only"] = recipe.estimate
        return found

    found = jax.jit(asked)(x, v)
    if not exact[-1]:
        del found["hessian_diagonal diagonal-only"]
    return found


def check_every_verb(f: Callable[..., Any], x: Any, *, hessian: Any = None, tolerance: float | None = None) -> None:
    """Compare every verb and every strategy with the Hessian of a scalar function.

    Args:
        f: a function with one number as result.
        x: its argument, any tree of arrays.
        hessian: the right answer on the flat argument; that of jax.hessian if not given.
        tolerance: in place of that of the dtype.
    """
    flat, unravel = ravel_pytree(x)

    def g(vector: Any) -> Any:
        return f(unravel(vector))

    v = np.random.default_rng(3).normal(size=flat.shape).astype(flat.dtype)
    want = np.asarray(jax.jit(jax.hessian(g))(flat)) if hessian is None else np.asarray(hessian)
    expected = {
        "hessian": want, "hessian_diagonal": np.diag(want), "laplacian": np.trace(want),
        "hvp": want @ v, "quadratic_form": v @ want @ v,
    }  # fmt: skip
    wrong = []
    for name, got in every_answer(g, flat, v).items():
        right = expected[name.split()[0]]
        if not close(got, right, flat.dtype, tolerance=tolerance):
            wrong.append(f"{name}\n  got\n{np.asarray(got)}\n  expected\n{right}")
    assert not wrong, "\n".join(wrong)


def count_traces(f: Callable[..., Any]) -> tuple[Callable[..., Any], Sequence[None]]:
    """The function, and a list that grows by one each time Python runs it."""
    runs: list[None] = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        runs.append(None)
        return f(*args, **kwargs)

    return counted, runs
