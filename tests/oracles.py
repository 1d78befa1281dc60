"""Independent answers to compare with, and the tolerances, each stated once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import nablax as nb

# -- tolerances ----------------------------------------------------------------------------------------

# A second derivative here is some thirty operations deep; each rounds by half an eps of what passes through it.
ROUNDINGS = 32
# Beyond this share of the largest entry a comparison proves nothing: a zeroed answer is off by all of it.
MEANINGLESS = 0.5


def tolerance_of(dtype: Any, terms: int = 1, condition: float = 1.0) -> float:
    """The error that rounding explains, relative to the size of what is added up.

    Args:
        dtype: in which the computation ran; numbers that are no floats are exact.
        terms: length of the sums; independent roundings of so many terms add up like its square root.
        condition: by how much the function itself enlarges relative errors, where a test knows that.

    Raises:
        ValueError: so much that a wrong answer would pass; take a better conditioned function or fewer terms.
    """
    if not jnp.issubdtype(jnp.dtype(dtype), jnp.floating):
        return 0.0
    found = ROUNDINGS * float(jnp.finfo(dtype).eps) / 2 * max(1, terms) ** 0.5 * condition
    if found >= MEANINGLESS:
        raise ValueError(f"a tolerance of {found:.2g} of the largest entry in {jnp.dtype(dtype)} proves nothing")
    return found


TOLERANCE = {dtype: tolerance_of(dtype) for dtype in ("float64", "float32", "float16", "bfloat16")}
# A central difference of step h of an order k loses h^2 by the next derivatives and eps / h^k to cancellation; it is
# best where the two are equal. Next derivatives may be some hundred times larger than the one that is asked for.
DIFFERENCE_STEP = {k: float(np.finfo(np.float64).eps) ** (1 / (k + 2)) for k in (1, 2)}
DIFFERENCE_TOLERANCE = {k: 512 * 2 * h**2 for k, h in DIFFERENCE_STEP.items()}

DENSE = ("legs-backward", "legs-forward", "columns")
VERBS = {"hessian": nb.hessian, "hessian_diagonal": nb.hessian_diagonal, "laplacian": nb.laplacian}


def close(
    got: Any,
    want: Any,
    dtype: Any = "float64",
    *,
    tolerance: float | None = None,
    scale: float | None = None,
    condition: float = 1.0,
) -> bool:
    """Whether two arrays agree, NaN for NaN and infinity for infinity.

    Args:
        got: what is tested.
        want: the right answer; its last axis is taken for the length of the sums.
        dtype: in which `got` was computed.
        tolerance: in place of that of the dtype, relative to the scale.
        scale: size of what was added up to the entries; the largest entry if not given (1 where all are zero).
        condition: see `tolerance_of`.
    """
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    if got.shape != want.shape:
        return False
    if tolerance is None:
        tolerance = tolerance_of(dtype, want.shape[-1] if want.ndim else 1, condition)
    finite = np.isfinite(want)
    if scale is None:
        scale = float(np.abs(want[finite]).max(initial=0.0)) or 1.0
    same = np.array_equal(got[~finite], want[~finite], equal_nan=True)
    return same and bool(np.all(np.abs(got[finite] - want[finite]) <= tolerance * scale))


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
        recipe = nb.hessian_diagonal_estimate(f)(x)
        exact.append(recipe.exact)
        found["hessian_diagonal diagonal-only"] = recipe.estimate
        return found

    found = jax.jit(asked)(x, v)
    if not exact[-1]:
        del found["hessian_diagonal diagonal-only"]
    return found


def direction(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """A vector for products: of one sign, so that it adds no cancellation to that of the Hessian."""
    return np.random.default_rng(3).uniform(0.5, 1.5, size=shape)


def check_every_verb(
    f: Callable[..., Any], x: Any, *, hessian: Any = None, tolerance: float | None = None, condition: float = 1.0
) -> None:
    """Compare every verb and every strategy with the Hessian of a scalar function.

    Args:
        f: a function with one number as result.
        x: its argument, any tree of arrays.
        hessian: the right answer on the flat argument; that of jax.hessian if not given.
        tolerance: in place of that of the dtype.
        condition: see `tolerance_of`.
    """
    flat, unravel = ravel_pytree(x)

    def g(vector: Any) -> Any:
        return f(unravel(vector))

    v = direction(flat.shape).astype(flat.dtype)
    want = np.asarray(jax.jit(jax.hessian(g))(flat)) if hessian is None else np.asarray(hessian)
    expected = {
        "hessian": want, "hessian_diagonal": np.diag(want), "laplacian": np.trace(want),
        "hvp": want @ v, "quadratic_form": v @ want @ v,
    }  # fmt: skip
    # what is added up to each answer: positive and negative terms may cancel in it
    size, along = (
        np.where(np.isfinite(want), np.abs(np.asarray(want, np.float64)), 0.0),
        np.abs(np.asarray(v, np.float64)),
    )
    added = {
        "hessian": size.max(initial=0.0), "hessian_diagonal": size.max(initial=0.0),
        "laplacian": np.trace(size) + size.max(initial=0.0),
        "hvp": (size @ along).max(initial=0.0), "quadratic_form": along @ size @ along,
    }  # fmt: skip
    wrong = []
    for name, got in every_answer(g, flat, v).items():
        verb = name.split()[0]
        right = expected[verb]
        scale = float(added[verb]) or 1.0
        if not close(got, right, flat.dtype, tolerance=tolerance, scale=scale, condition=condition):
            wrong.append(f"{name}\n  got\n{np.asarray(got)}\n  expected\n{right}")
    assert not wrong, "\n".join(wrong)


def count_traces(f: Callable[..., Any]) -> tuple[Callable[..., Any], Sequence[None]]:
    """The function, and a list that grows by one each time Python runs it."""
    runs: list[None] = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        runs.append(None)
        return f(*args, **kwargs)

    return counted, runs
