"""The layout of jaxprs that we rely on. A JAX upgrade that changes it fails here, and is mended in ops/jaxprs.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nablax.ops.jaxprs import INLINED, Equation, Literal, Program, Variable, trace

X = jax.ShapeDtypeStruct((3,), jnp.float64)
A = jax.ShapeDtypeStruct((3, 3), jnp.float64)


def traced(f: Callable[..., Any], *arguments: Any) -> Program:
    return trace(lambda *a: jax.tree.leaves(f(*a)), arguments)


def only(f: Callable[..., Any], *arguments: Any) -> Equation:
    [equation] = traced(f, *arguments).equations
    return equation


def test_values_equations_and_results() -> None:
    program = traced(lambda x: (jnp.sin(x) * 2.0, x), X)
    sine, product = program.equations
    assert (sine.name, product.name) == ("sin", "mul")
    assert sine.inputs == program.inputs
    assert product.inputs[0] is sine.outputs[0]
    assert isinstance(product.inputs[1], Literal)
    assert float(product.inputs[1].value) == 2.0
    assert program.outputs == (product.outputs[0], program.inputs[0])
    assert isinstance(program.inputs[0], Variable)
    assert program.inputs[0].shape == (3,)
    assert program.inputs[0].dtype == np.float64


def test_what_nobody_reads_is_dropped() -> None:
    def f(x: Any) -> Any:
        jnp.cos(x)
        return jnp.sin(x)

    assert [e.name for e in traced(f, X).equations] == ["sin"]


def test_captured_arrays_are_constants() -> None:
    data = jnp.arange(3.0)
    [(variable, value)] = traced(lambda x: x * data, X).constants
    assert variable.shape == (3,)
    np.testing.assert_array_equal(value, data)


def test_an_equation_is_a_function_of_its_inputs() -> None:
    equation = only(lambda x: jnp.sin(x), X)
    np.testing.assert_allclose(equation.apply(np.ones(3))[0], np.sin(np.ones(3)))
    np.testing.assert_allclose(jax.grad(lambda x: equation.apply(x)[0].sum())(np.ones(3)), np.cos(np.ones(3)))


def test_the_users_line_is_known() -> None:
    line = only(lambda x: jnp.sin(x), X).line
    assert Path(__file__).name in line


def test_dot_general() -> None:
    equation = only(lambda a, x: a @ x, A, X)
    assert equation.name == "dot_general"
    assert equation.params["dimension_numbers"] == (((1,), (0,)), ((), ()))
    assert {"precision", "preferred_element_type"} <= set(equation.params)


@pytest.mark.parametrize(
    ("f", "name", "params"),
    [
        (lambda x: jnp.sum(x), "reduce_sum", {"axes": (0,)}),
        (lambda x: jnp.max(x), "reduce_max", {"axes": (0,)}),
        (lambda x: jnp.min(x), "reduce_min", {"axes": (0,)}),
        (lambda x: x[::-1], "rev", {"dimensions": (0,)}),
        (lambda x: x[0:2], "slice", {"start_indices": (0,), "limit_indices": (2,), "strides": None}),
        (lambda x: jax.lax.pad(x, 0.0, [(1, -1, 2)]), "pad", {"padding_config": ((1, -1, 2),)}),
        (lambda x: jnp.broadcast_to(x, (2, 3)), "broadcast_in_dim", {"broadcast_dimensions": (1,), "shape": (2, 3)}),
        (lambda x: x.reshape(3, 1, 1)[:, 0, 0], None, {}),
        (lambda x: jnp.concatenate([x, x]), "concatenate", {"dimension": 0}),
        (lambda x: x**3, "integer_pow", {"y": 3}),
        (lambda x: x.astype(jnp.float32), "convert_element_type", {"new_dtype": np.dtype("float32")}),
        (lambda x: jax.lax.select(x > 0, x, -x), None, {}),
    ],
)
def test_parameters_of_primitives(f: Callable[..., Any], name: str | None, params: dict[str, Any]) -> None:
    if name is None:
        assert traced(f, X).equations
        return
    equation = only(f, X)
    assert equation.name == name
    for key, value in params.items():
        assert equation.params[key] == value


def test_transpose_squeeze_and_split() -> None:
    assert only(lambda a: a.T, A).params["permutation"] == (1, 0)
    assert only(lambda a: jax.lax.squeeze(a, (0,)), jax.ShapeDtypeStruct((1, 2), jnp.float64)).name == "squeeze"
    split = only(lambda x: jax.lax.split(x, (1, 2)), X)
    assert (split.name, split.params["axis"], len(split.outputs)) == ("split", 0, 2)


def test_gather() -> None:
    program = traced(lambda x: x.at[np.array([0, 0, 2])].get(mode="clip"), X)
    [gather] = [e for e in program.equations if e.name == "gather"]
    numbers = gather.params["dimension_numbers"]
    assert (numbers.offset_dims, numbers.collapsed_slice_dims, numbers.start_index_map) == ((), (0,), (0,))
    assert (numbers.operand_batching_dims, numbers.start_indices_batching_dims) == ((), ())
    assert gather.params["slice_sizes"] == (1,)
    assert gather.params["mode"] is jax.lax.GatherScatterMode.CLIP


@pytest.mark.parametrize("name", ["inv", "solve", "slogdet", "det"])
def test_library_functions_arrive_as_named_calls(name: str) -> None:
    function = getattr(jnp.linalg, name)
    arguments = (A, A) if name == "solve" else (A,)
    calls = [e for e in traced(function, *arguments).equations if e.called == name]
    assert len(calls) == 1
    assert calls[0].is_call
    assert calls[0].text == next(e for e in traced(function, *arguments).equations if e.called == name).text


def test_calls_with_ordinary_bodies() -> None:
    assert only(jax.jit(lambda x: jnp.sin(x)), X).is_call
    assert only(jax.checkpoint(lambda x: jnp.sin(x)), X).is_call
    assert only(jax.jit(lambda x: jnp.sin(x)), X).name in INLINED
    body = only(jax.jit(lambda x: jnp.sin(x)), X).body
    assert body is not None
    assert [e.name for e in body.equations] == ["sin"]


def test_custom_forward_rule() -> None:
    equation = only(lambda x: jax.nn.relu(x), X)
    while equation.is_call:
        assert equation.body is not None
        [equation] = equation.body.equations
    assert equation.name == "custom_jvp_call"
    assert not equation.is_call
    assert equation.body is not None
    assert "relu" in equation.called
    # the rule is applied, not that of the text: flat at the kink
    assert float(jax.grad(lambda x: equation.apply(x)[0].sum())(np.zeros(3))[0]) == 0.0


def test_custom_reverse_rule() -> None:
    @jax.custom_vjp
    def f(x: Any) -> Any:
        return x

    f.defvjp(lambda x: (x, None), lambda _, g: (5.0 * g,))
    equation = only(f, X)
    assert equation.name == "custom_vjp_call"
    assert float(jax.grad(lambda x: equation.apply(x)[0].sum())(np.zeros(3))[0]) == 5.0


def test_stop_gradient_is_visible() -> None:
    program = traced(lambda x: jax.lax.stop_gradient(x) * x, X)
    assert "stop_gradient" in program.text


def test_loops_and_branches_are_single_equations() -> None:
    assert only(lambda x: jax.lax.scan(lambda c, a: (c * a, c), 1.0, x), X).name == "scan"
    program = traced(lambda x: jax.lax.cond(x[0] > 0, jnp.sin, jnp.cos, x), X)
    assert "cond" in [e.name for e in program.equations]


def test_softmax_and_logsumexp_arrive_expanded() -> None:
    names = {e.name for e in traced(jax.nn.logsumexp, X).equations}
    assert {"exp", "log", "reduce_sum", "reduce_max"} <= names


def test_a_linear_solve_says_what_its_product_is() -> None:
    def f(a: Any, b: Any) -> Any:
        return jax.lax.custom_linear_solve(lambda v: a @ v, b, lambda _, b: b, lambda _, b: b)

    [equation] = trace(lambda a, b: [f(a, b)], [np.eye(2), np.ones(2)]).equations
    solve = equation.linear_solve
    assert solve is not None
    assert (solve.constants, solve.matvec.equations[0].name) == (1, "dot_general")
    assert [value.shape for value in equation.inputs[solve.first :]] == [(2,)]


def test_a_root_calls_a_function_with_a_rule() -> None:
    def f(a: Any) -> Any:
        return jax.lax.custom_root(lambda y: y**3 - a, a, lambda f, y: y - f(y), lambda g, y: y / g(jnp.ones(2)))

    program = trace(lambda a: [f(a)], [np.ones(2)])
    [equation] = [one for one in program.equations if one.is_ruled]
    assert equation.calls_as(equation)
    tangent = trace(
        lambda a, b: [jax.jvp(lambda a: equation.apply(*[a] * len(equation.inputs))[0], [a], [b])[1]], [np.ones(2)] * 2
    )
    assert any(one.calls_as(equation) for one in tangent.equations)
