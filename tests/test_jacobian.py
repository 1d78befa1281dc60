"""nb.jacobian against jax.jacobian: trees, strategies, narrow waists, opaque operations, refusals."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close, assert_same_tree

import nablax as nb
from nablax.sweeps.steps import Rule, Step

Function = Callable[..., Any]
STRATEGIES = ("auto", "legs-backward", "legs-forward", "columns")
KNOWN = np.random.default_rng(0).normal(size=(5, 4))


def point(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).uniform(0.3, 1.2, size=shape)


FUNCTIONS: dict[str, tuple[Function, Any]] = {
    "elementwise": (lambda x: jnp.sin(x) * x, point(3)),
    "known matrix": (lambda x: KNOWN @ jnp.tanh(x), point(4)),
    "wide": (lambda x: KNOWN.T @ (x**2), point(5)),
    "matrix to matrix": (lambda x: x @ x.T, point(2, 3)),
    "scalar to scalar": (lambda x: x**3, np.float64(2.0)),
    "scalar to vector": (lambda x: x * jnp.arange(3.0), np.float64(2.0)),
    "vector to scalar": (lambda x: jnp.prod(x), point(3)),
    "itself": (lambda x: x, point(2, 2)),
    "constant": (lambda x: jnp.ones((2,)), point(3)),
    "size one": (lambda x: x[None] * x, point(1)),
    "no unknowns": (lambda x: jnp.sum(x) + jnp.ones(2), point(0)),
    "no results": (lambda x: x[:0], point(3)),
    "no batch": (lambda x: jnp.zeros((0, 3)) * x, point(3)),
    "repeated argument": (lambda x: jnp.stack([x * x, x, x * x * x]), point(2)),
    "stencil": (lambda x: x[2:] - 2.0 * x[1:-1] ** 2 + x[:-2], point(6)),
    "scan": (lambda x: jax.lax.scan(lambda c, s: (c * jnp.cos(s), c + s), 1.0, x)[1], point(4)),
    "sort": (lambda x: jnp.sort(x**2), point(4)),
    "fft": (lambda x: jnp.abs(jnp.fft.rfft(x)), point(4)),
    "solve": (lambda x: jnp.linalg.solve(jnp.eye(2) + x, jnp.ones(2)), point(2, 2)),
    "tree to tree": (
        lambda p: {"z": p["w"] @ p["v"], "a": [p["s"] * p["v"], p["s"] ** 2]},
        {"w": point(2, 3), "v": point(3), "s": np.float64(0.5)},
    ),
    "tuple, unused leaf": (lambda p: (p[0] ** 2, jnp.ones(())), (point(2), point(3))),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_strategy_answers_like_jax(name: str) -> None:
    f, x = FUNCTIONS[name]
    asked = jax.jit(lambda x: [nb.jacobian(f, strategy=strategy)(x) for strategy in STRATEGIES])
    want = jax.jit(jax.jacfwd(f))(x)
    for strategy, got in zip(STRATEGIES, asked(x), strict=True):
        assert_same_tree(got, want, strategy)


def test_written_by_hand() -> None:
    got = nb.jacobian(lambda x: jnp.stack([x[0] * x[1], x[1] ** 2, x[0]]))(np.array([2.0, 3.0]))
    assert got.tolist() == [[3.0, 2.0], [0.0, 6.0], [1.0, 0.0]]


@pytest.mark.parametrize("argnums", [0, 1, (0,), (0, 1), (1, 0), (-1, 0), [2]])
def test_argnums(argnums: Any) -> None:
    def f(a: Any, b: Any, c: Any) -> Any:
        return {"p": a * b["x"][0] + c, "q": jnp.sum(b["x"]) * a}

    arguments = (point(2), {"x": point(2, 2)}, np.float64(0.3))
    want = jax.jacobian(f, argnums if isinstance(argnums, int) else tuple(argnums))(*arguments)
    assert_same_tree(nb.jacobian(f, argnums)(*arguments), want)


def test_static_arguments_and_keywords() -> None:
    def f(x: Any, power: int, *, scale: Any) -> Any:
        return scale * x**power if power > 1 else x

    x = point(3)
    assert_close(nb.jacobian(f)(x, 2, scale=3.0), np.diag(6.0 * x))
    assert_close(nb.jacobian(f)(x, 1, scale=3.0), np.eye(3))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_keeps_the_dtype(dtype: str) -> None:
    x = point(4).astype(dtype)
    got = nb.jacobian(lambda x: jnp.asarray(KNOWN, dtype) @ jnp.tanh(x))(x)
    assert got.dtype == dtype
    assert_close(got, KNOWN * (1.0 - np.tanh(x) ** 2), dtype)


# -- waists --------------------------------------------------------------------------------------------


def steps(f: Function, *arguments: Any, strategy: str = "auto") -> tuple[Step, ...]:
    answer = nb.plan(f, "jacobian", strategy=strategy)(*arguments).choice.chosen.answer
    assert answer is not None
    return answer.steps


def restarts(found: tuple[Step, ...]) -> list[Step]:
    """The nodes at which legs begin anew; where all axes pass (width 1) that is a diagonal taken out, no waist."""
    return [step for step in found if Rule.RESTART in step.rules and step.width > 1]


def waist(n: int, middle: int) -> tuple[Function, Any]:
    generator = np.random.default_rng(3)
    inner = generator.normal(size=(middle, n)) / n
    outer = generator.normal(size=(n, middle))
    return lambda x: jnp.sin(outer @ jnp.tanh(inner @ jnp.sin(x))), point(n)


def test_a_narrow_waist_is_begun_anew() -> None:
    f, x = waist(300, 3)
    assert [(step.node.shape, step.rank, step.width) for step in restarts(steps(f, x))] == [((3,), 300, 3)]
    assert_close(nb.jacobian(f)(x), jax.jit(jax.jacrev(f))(x))


def test_two_waists() -> None:
    generator = np.random.default_rng(4)
    first, second, third = (generator.normal(size=s) / 10 for s in ((4, 200), (200, 4), (2, 200)))

    def f(x: Any) -> Any:
        wide = jnp.sin(second @ jnp.tanh(first @ jnp.sin(x)))
        return jnp.cos(third.T @ jnp.tanh(third @ wide))

    x = point(200)
    assert restarts(steps(f, x))[0].width == 2
    assert_close(nb.jacobian(f)(x), jax.jit(jax.jacfwd(f))(x))


def test_no_waist_no_restart() -> None:
    for f, x in (waist(6, 50), (lambda x: jnp.sin(KNOWN @ x), point(4)), (lambda x: jnp.sum(x**2), point(300))):
        assert restarts(steps(f, x, strategy="legs-backward")) == []


def test_a_path_around_the_waist_is_not_lost() -> None:
    inner, outer = KNOWN[:2].T / 3, np.random.default_rng(5).normal(size=(80, 2))

    def f(x: Any) -> Any:
        inside = jnp.sin(x)
        through = outer @ jnp.tanh(inside[:4] @ inner)
        return jnp.sin(through) * inside + x  # beside the waist, from a node and from the leaf

    x = point(80)
    assert_close(nb.jacobian(f, strategy="legs-backward")(x), jax.jit(jax.jacrev(f))(x))


def test_a_leaf_above_the_waist_is_not_lost() -> None:
    outer = np.random.default_rng(6).normal(size=(60, 2))

    def f(x: Any, late: Any) -> Any:
        return jnp.sin(outer @ jnp.tanh(KNOWN[:2, :1] * jnp.sum(jnp.sin(x)))[:, 0]) * late

    x, late = point(60), point(60)
    got = nb.jacobian(f, (0, 1), strategy="legs-backward")(x, late)
    assert_same_tree(got, jax.jit(jax.jacrev(f, (0, 1)))(x, late))


# -- what the compiler folds ----------------------------------------------------------------------------

# XLA for CPU folds an even pad of one element into the window of a cumulative sum and gets it wrong. In jax 0.10.2, without
# nablax, jit(lambda c: lax.cumsum(jnp.pad(c, ((0, 0), (1, 1))), axis=1, reverse=True))(jnp.ones((1, 1))) is [[1, 1, 1]]
# and not [[1, 1, 0]], and jit(jax.jacrev) of the first function below is as wrong. A leg that begins at one element of a
# cumulative sum is such a pad: it is stored before JAX's rule sees it.


def test_one_element_of_a_cumulative_sum() -> None:
    assert nb.jacobian(lambda x: jnp.cumsum(x)[1:2])(point(3)).tolist() == [[1.0, 1.0, 0.0]]


def test_one_element_of_a_product_with_a_cumulative_sum() -> None:
    x = np.array([2.0, 3.0, 5.0])
    got = nb.hessian(lambda x: jnp.sum((x * jnp.cumsum(x))[1:2] ** 2), strategy="legs-backward")(x)
    assert got.tolist() == [[18.0, 78.0, 0.0], [78.0, 188.0, 0.0], [0.0, 0.0, 0.0]]


# -- in company ----------------------------------------------------------------------------------------


def test_inside_other_transformations() -> None:
    f, x = FUNCTIONS["known matrix"]
    batch = np.random.default_rng(7).normal(size=(3, 4))
    want = jax.jit(jax.vmap(jax.jacobian(f)))(batch)
    assert_close(jax.jit(jax.vmap(nb.jacobian(f)))(batch), want)
    got = jax.jit(jax.grad(lambda x: jnp.sum(nb.jacobian(f)(x) ** 2)))(x)
    assert_close(got, jax.jit(jax.grad(lambda x: jnp.sum(jax.jacobian(f)(x) ** 2)))(x))
    twice = jax.jit(nb.jacobian(nb.jacobian(f)))(x)
    assert_close(twice, jax.jit(jax.jacfwd(jax.jacfwd(f)))(x))


def test_has_aux() -> None:
    got, aux = nb.jacobian(lambda x: (x**2, {"n": jnp.argmax(x), "s": jnp.sum(x)}), has_aux=True)(np.arange(3.0))
    assert_close(got, np.diag([0.0, 2.0, 4.0]))
    assert (int(aux["n"]), float(aux["s"])) == (2, 3.0)


@pytest.mark.parametrize("bound", ["1 GB", 1e5])
def test_a_bound_changes_no_number(bound: Any) -> None:
    f, x = waist(60, 3)
    assert_close(nb.jacobian(f, memory_bytes=bound)(x), jax.jit(jax.jacrev(f))(x))


def test_an_answer_larger_than_the_bound_is_refused() -> None:
    f, x = waist(60, 3)
    with pytest.raises(
        nb.MemoryBoundError, match=r"^the question 'jacobian' was asked with memory_bytes=1e\+04; "
    ) as got:
        nb.jacobian(f, memory_bytes=1e4)(x)
    least = re.search(r"needs about (\S+) bytes at once\. Raise the bound to that, ", str(got.value))
    assert least is not None
    assert float(least[1]) >= 60 * 60 * 8


@pytest.mark.parametrize(
    ("f", "kind"),
    [(lambda x: (x**2, jnp.argmax(x)), "int64"), (lambda x: x > 0.5, "bool"), (lambda x: x * 1j, "complex128")],
)
def test_results_without_a_derivative_are_refused(f: Function, kind: str) -> None:
    text = (
        f"a derivative was asked of a function that returns {kind} values; derivatives exist for real floating-point "
        "results only. Return a float array (for complex results: real and imaginary part, or the absolute value)."
    )
    with pytest.raises(nb.OutputError, match=f"^{re.escape(text)}(\n|$)"):
        nb.jacobian(f)(point(3))


@pytest.mark.parametrize("strategy", ["vector-first", "diagonal-only", "fastest"])
def test_strategies_for_other_questions_are_refused(strategy: str) -> None:
    why = "does not exist" if strategy == "fastest" else "does not answer it"
    text = (
        f"the question 'jacobian' was asked with strategy={strategy!r}, which {why}. Use one of: 'auto', "
        "'legs-backward', 'legs-forward', 'columns'."
    )
    with pytest.raises(nb.StrategyError, match=f"^{re.escape(text)}(\n|$)"):
        nb.jacobian(jnp.sin, strategy=strategy)(point(3))
