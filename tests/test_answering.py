"""How answers are kept: no tracer leaks, nothing outlives its function, compiled once; options of every verb."""

from __future__ import annotations

import gc
import re
import weakref
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close, assert_same_tree, count_traces

import nablax as nb

Function = Callable[..., Any]
X = np.array([0.4, 0.9, 1.3])
V = np.array([1.0, -0.5, 2.0])


def smooth(x: Any) -> Any:
    return jnp.sum(jnp.sin(x) * x[0]) + jnp.sum(x**2) ** 2


VERBS: dict[str, Function] = {
    "hessian": nb.hessian,
    "hessian_sparse": nb.hessian_sparse,
    "hessian_diagonal": nb.hessian_diagonal,
    "hessian_diagonal_estimate": nb.hessian_diagonal_estimate,
    "laplacian": nb.laplacian,
    "hvp": nb.hvp,
    "quadratic_form": nb.quadratic_form,
    "jacobian": nb.jacobian,
    "jacobian_sparse": nb.jacobian_sparse,
}
PRODUCTS = ("hvp", "quadratic_form")


def asked(name: str, f: Function, x: Any = X, **options: Any) -> Any:
    return VERBS[name](f, **options)(*((x, V) if name in PRODUCTS else (x,)))


def plain(found: Any) -> Any:
    """An answer as one array."""
    if isinstance(found, nb.DiagonalEstimate):
        return found.estimate
    return found.todense() if hasattr(found, "todense") else found


# -- tracers -------------------------------------------------------------------------------------------


def of_curvature(f: Function) -> Function:
    return lambda x: nb.curvature(f)(x).dense()


INSIDE: dict[str, Function] = {
    "hessian": nb.hessian, "laplacian": nb.laplacian, "curvature": of_curvature, "jacobian": nb.jacobian
}  # fmt: skip
BY_JAX: dict[str, Function] = {
    "hessian": jax.hessian,
    "laplacian": lambda f: lambda x: jnp.trace(jax.hessian(f)(x)),
    "curvature": jax.hessian,
    "jacobian": jax.jacobian,
}


def around(verb: Function, a: Any) -> Any:
    """A verb of a function that closes over a value which a transformation may follow."""
    return verb(lambda x: smooth(a * x))(X)


@pytest.mark.parametrize("transformed", ["jit", "vmap", "grad"])
@pytest.mark.parametrize("name", INSIDE)
def test_no_tracer_outlives_its_transformation(name: str, transformed: str) -> None:
    def value(verbs: dict[str, Function]) -> Function:
        match transformed:
            case "jit":
                return jax.jit(lambda a: around(verbs[name], a))
            case "vmap":
                return jax.vmap(lambda a: around(verbs[name], a))
            case _:
                return jax.grad(lambda a: jnp.sum(around(verbs[name], a) ** 2))

    a = jnp.array([0.7, 1.1]) if transformed == "vmap" else jnp.array(0.7)
    with jax.checking_leaks():
        got = value(INSIDE)(a)
    assert_close(got, jax.jit(value(BY_JAX))(a))


def test_a_function_defined_outside_is_asked_inside_twice() -> None:
    def f(x: Any) -> Any:
        return smooth(x)

    with jax.checking_leaks():
        for _ in range(2):
            jax.jit(nb.hessian(f))(X)
            jax.vmap(nb.laplacian(f))(np.stack([X, V]))
    assert_close(nb.hessian(f)(X), jax.jit(jax.hessian(f))(X))


# -- lives ---------------------------------------------------------------------------------------------


class Held:
    """Something whose end can be seen."""


@pytest.mark.parametrize("name", [*VERBS, "curvature", "plan", "bounded"])
def test_a_dropped_function_is_collected(name: str) -> None:
    held = Held()

    def f(x: Any, held: Held = held) -> Any:
        return smooth(x) + jnp.sum(jnp.sort(x) ** 2)

    answers: list[Any] = []
    if name == "curvature":
        answers.append(nb.curvature(f)(X).trace)
    elif name == "plan":
        answers.append(str(nb.plan(f)(X)))
    elif name == "bounded":
        answers.append(nb.hessian(f, memory_bytes="1 GB")(X))
    else:
        answers.append(asked(name, f))
    function, captured = weakref.ref(f), weakref.ref(held)
    assert function() is not None
    del f, held
    gc.collect()
    assert (function(), captured()) == (None, None)


@pytest.mark.parametrize("options", [{}, {"memory_bytes": "1 GB"}], ids=["free", "bounded"])
@pytest.mark.parametrize("name", ["hessian", "hessian_diagonal_estimate", "hessian_sparse"])
def test_an_answer_is_compiled_once(name: str, options: dict[str, Any]) -> None:
    f, runs = count_traces(smooth)
    first, again = asked(name, f, X, **options), asked(name, f, V, **options)
    asked(name, f, X, **options)
    assert len(runs) == 1
    assert not np.allclose(plain(first), plain(again))
    asked(name, f, np.append(X, 1.0), **options)  # another shape is another plan
    assert len(runs) == 2
    asked(name, f, X, calls=7, **options)  # and so are other options
    assert len(runs) == 3


def test_equal_functions_are_told_apart() -> None:
    class Scaled:
        def __init__(self, factor: float) -> None:
            self.factor = factor

        def __call__(self, x: Any) -> Any:
            return self.factor * jnp.sum(x**2)

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Scaled)

        def __hash__(self) -> int:
            return 1

    assert [float(nb.laplacian(Scaled(factor))(X)) for factor in (1.0, 2.0)] == [6.0, 12.0]


# -- options -------------------------------------------------------------------------------------------


def with_aux(x: Any) -> Any:
    return smooth(x), {"largest": jnp.argmax(x), "double": 2.0 * x}


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_returns_the_second_result(name: str) -> None:
    found, aux = asked(name, with_aux, has_aux=True)
    assert_close(plain(found), plain(asked(name, smooth)))
    assert_same_tree(aux, {"largest": jnp.argmax(X), "double": 2.0 * X})


def test_curvature_and_plans_take_a_second_result() -> None:
    point = nb.curvature(with_aux, has_aux=True)(X)
    assert_close(point.dense(), jax.jit(jax.hessian(smooth))(X))
    assert_same_tree(point.aux, {"largest": jnp.argmax(X), "double": 2.0 * X})
    assert nb.plan(with_aux, has_aux=True)(X).strategy == nb.plan(smooth)(X).strategy


@pytest.mark.parametrize("name", VERBS)
def test_no_pair_no_second_result(name: str) -> None:
    text = (
        f"{name} was asked with has_aux=True of a function that returns a {{}}. Return a pair: the result to "
        "differentiate, and anything else."
    )
    for f, kind in ((lambda x: [jnp.sum(x), x], "list"), (lambda x: (jnp.sum(x), x, x), "tuple")):
        with pytest.raises(nb.OutputError, match=f"^{re.escape(text.format(kind))}(\n|$)"):
            asked(name, f, has_aux=True)


@pytest.mark.parametrize("calls", [0, -3, 1.5, "10", True, None])
@pytest.mark.parametrize("name", ["hessian", "hvp", "plan", "curvature"])
def test_calls_is_a_number_of_calls(name: str, calls: Any) -> None:
    verb = {**VERBS, "plan": nb.plan, "curvature": nb.curvature}[name]
    text = f"{name} got calls={calls!r}; it is a number of calls, at least 1."
    with pytest.raises(nb.ArgumentError, match=f"^{re.escape(text)}$"):
        verb(smooth, calls=calls)


def test_many_calls_weigh_preparation_less() -> None:
    chosen = {calls: nb.plan(smooth, "diagonal", calls=calls)(X).choice for calls in (1, 10**9)}
    for calls, choice in chosen.items():
        least = min(c.total(calls) for c in choice.candidates if c.answer is not None)
        assert choice.chosen.total(calls) == least
    one = chosen[1].chosen
    assert one.total(3) == pytest.approx(one.preparation + 3 * one.cost.seconds)


# -- plans ---------------------------------------------------------------------------------------------


def test_a_plan_of_a_product_takes_the_vector_or_not() -> None:
    def scaled(x: Any, data: Any) -> Any:
        return jnp.sum(data * x**3)

    def of_all(x: Any, *data: Any) -> Any:
        return jnp.sum(x**3) + sum(jnp.sum(one) for one in data)

    without, given = str(nb.plan(smooth, "hvp")(X)), str(nb.plan(smooth, "hvp")(X, V))
    assert without == given
    assert nb.plan(smooth, "quadratic form")(X, V).strategy == "vector-first"
    assert str(nb.plan(scaled, "hvp")(X, V, X)) == str(nb.plan(scaled, "hvp")(X, X))
    assert nb.plan(of_all, "hvp")(X, V).choice.problem.size == 3


@pytest.mark.parametrize(
    "question",
    ["hessian", "diagonal", "trace", "hvp", "quadratic form", "sparse hessian", "diagonal estimate", "jacobian",
     "sparse jacobian"],
)  # fmt: skip
def test_a_plan_names_its_question(question: str) -> None:
    plan = nb.plan(smooth, question)(X)
    assert str(plan).startswith(
        f"question    {question} of a function with result float64[]\nunknowns    3 in float64[3]"
    )
    assert str(nb.plan(smooth, question.replace(" ", "_"))(X)) == str(plan)


def test_an_unknown_question_is_refused() -> None:
    text = (
        "a plan was asked for the question 'curl', which does not exist. Ask one of: 'hessian', 'diagonal', 'trace', "
        "'hvp', 'quadratic form', 'sparse hessian', 'diagonal estimate', 'jacobian', 'sparse jacobian', "
        "'derivative', 'sparse derivative', 'derivative diagonal'."
    )
    with pytest.raises(nb.StrategyError, match=f"^{re.escape(text)}$"):
        nb.plan(smooth, "curl")


# -- the estimate, and many arrays ---------------------------------------------------------------------


def test_whether_an_estimate_is_exact_is_known_without_values() -> None:
    def apart(x: Any) -> Any:
        return jnp.sum(jnp.sin(x) ** 2)

    flags: list[Any] = []

    @jax.jit
    def inside(x: Any) -> Any:
        found = [nb.hessian_diagonal_estimate(f)(x) for f in (apart, smooth)]
        flags.extend(one.exact for one in found)  # Python's own truth values, while tracing
        return found

    found = inside(X)
    assert flags == [one.exact for one in found] == [True, False]
    assert [type(flag) for flag in flags] == [bool, bool]
    assert_close(found[0].estimate, 2.0 * np.cos(2.0 * X))
    batch = jax.vmap(nb.hessian_diagonal_estimate(apart))(np.stack([X, V]))
    assert batch.exact is True
    assert_close(batch.estimate, 2.0 * np.cos(2.0 * np.stack([X, V])))


@pytest.mark.parametrize("strategy", ["auto", "legs-backward", "legs-forward", "columns"])
def test_more_than_four_thousand_arrays_beside_an_inverse(strategy: str) -> None:
    many = [np.float64(k) for k in range(4096)]
    matrix = np.array([[2.0, 0.3], [-0.4, 1.5]])

    def f(many: Any, matrix: Any) -> Any:
        return jnp.sum(jnp.linalg.inv(matrix)) * many[1] + many[4095] * matrix[0, 0] ** 2 / 4095.0

    got = nb.hessian(f, 1, strategy=strategy)(many, matrix)
    want = jax.jit(jax.hessian(lambda m: jnp.sum(jnp.linalg.inv(m)) + m[0, 0] ** 2))(matrix)
    assert_close(got, want)


@pytest.mark.parametrize(
    "use",
    [
        lambda c, v: c @ v,
        lambda c, v: c.diagonal() * v,
        lambda c, v: c.gradient * v,
        lambda c, v: c.dense() @ v,
        lambda c, v: c.solve(v),
    ],
)
def test_a_point_first_asked_inside_jit_keeps_no_tracers(use: Any) -> None:
    x, v = np.array([0.3, 0.5, 1.1]), np.array([1.0, -2.0, 0.5])
    c, other = (nb.curvature(lambda x: jnp.sum(jnp.sin(2.0 * x) ** 2))(x) for _ in range(2))
    assert_close(jax.jit(lambda v: use(c, v))(v), use(other, v))
    assert_close(c.gradient, 2.0 * np.sin(4.0 * x))
    assert_close(c.diagonal(), 8.0 * np.cos(4.0 * x))
    assert_close(c @ v, 8.0 * np.cos(4.0 * x) * v)
