"""The executor of textbooks: forward, backward, and what it refuses, with full texts."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nablax as nb

LISTS: list[Any] = ["+", ["*", "w2", ["log", "w1"]], ["sqrt", ["*", "w2", ["log", "w1"]]]]


def said(error: type[Exception], ask: Any) -> str:
    with pytest.raises(error) as caught:
        ask()
    assert type(caught.value) is error
    return str(caught.value)


@pytest.mark.parametrize(
    "formula", [LISTS, str(LISTS), [["w2", "*", ["log", "w1"]], "+", ["sqrt", ["w2", "*", ["log", "w1"]]]]]
)
def test_lists_and_text_are_one_graph(formula: Any) -> None:
    view = nb.graph(formula, w1=2, w2=3)
    assert view.forward() == view.output == pytest.approx(3 * math.log(2) + math.sqrt(3 * math.log(2)))
    view.backward()
    slope = 1 + 1 / (2 * math.sqrt(3 * math.log(2)))
    assert view.derivative["w1"] == pytest.approx(1.5 * slope)
    assert view.derivative["w2"] == pytest.approx(math.log(2) * slope)


@pytest.mark.parametrize(
    ("formula", "point"),
    [
        ([["x", "-", "y"], "/", ["exp", "x"]], {"x": 0.3, "y": -1.2}),
        (["^", ["sin", "x"], 2], {"x": 0.3}),
        (["*", "x", "y", ["cos", ["+", "x", "y", 1]]], {"x": 0.3, "y": -1.2}),
        (["-", ["^", "x", "y"]], {"x": 1.3, "y": 2.2}),
    ],
)
def test_against_jax(formula: Any, point: dict[str, float]) -> None:
    view = nb.graph(formula, **point)
    names = list(point)
    gradient = jax.grad(lambda w: view._reading.function(*[w[names.index(n)] for n in order]))
    order = [view._reading.names[leaf] for leaf in view._reading.inputs]
    wanted = gradient(jnp.array(list(point.values())))
    view.forward()
    found = view.backward()
    np.testing.assert_allclose([found[name] for name in names], wanted, rtol=1e-12)


def test_new_values() -> None:
    view = nb.graph("x*exp(y)", x=1.0, y=0.0)
    assert view.forward(x=5) == 5.0
    assert view.backward() == {"x": 1.0, "y": 5.0}
    assert view.forward(y=0.0, x=2.0) == 2.0


def test_an_argument_that_is_not_read_has_derivative_zero() -> None:
    view = nb.graph(lambda x, y: x**2)(3.0, 4.0)
    view.forward()
    assert view.backward() == {"x": 6.0, "y": 0.0}


@pytest.mark.parametrize(
    ("formula", "point", "text"),
    [
        ("2*log(x - 3)", {"x": 1.0}, "node v₂ = log(v₁) at v₁ = −2: the logarithm of a negative number is not defined."),
        ("log(x)", {"x": 0.0}, "node v₁ = log(x) at x = 0: the logarithm of zero is not defined."),
        ("y/(x - 1)", {"x": 1.0, "y": 2.0}, "node v₂ = y/v₁ at y = 2, v₁ = 0: a division by zero is not defined."),
        ("x^(-2)", {"x": 0.0}, "node v₁ = 1/x² at x = 0: zero to a negative power is not defined."),
        ("x^y", {"x": 0.0, "y": -1.0}, "node v₁ = xʸ at x = 0, y = −1: zero to a negative power is not defined."),
        ("x^y", {"x": -2.0, "y": 0.5},
         "node v₁ = xʸ at x = −2, y = 0.5: a negative number to a power that is not an integer is not defined."),
        ("sqrt(x)", {"x": -4.0}, "node v₁ = √x at x = −4: the square root of a negative number is not defined."),
    ],
)  # fmt: skip
def test_outside_the_domain(formula: str, point: dict[str, float], text: str) -> None:
    view = nb.graph(formula, **point)
    assert said(nb.DomainError, view.forward) == text
    assert said(nb.DomainError, view.reverse_table) == text
    assert said(nb.DomainError, view.second_order_table) == text


def test_a_value_without_a_derivative() -> None:
    view = nb.graph("sqrt(x) + x", x=0.0)
    assert view.forward() == 0.0
    text = "node v₁ = √x at x = 0: this is the square root at zero, where its slope is infinite."
    assert said(nb.DomainError, view.backward) == text


def test_the_wrong_order() -> None:
    view = nb.graph("x^2", x=3.0)
    assert said(nb.ArgumentError, view.backward) == "backward needs the values of all nodes. Run forward() first."
    assert said(nb.ArgumentError, lambda: view.output) == "the output is not known yet. Run forward() first."
    view.forward()
    text = "derivatives are not known yet. Run forward() and then backward()."
    assert said(nb.ArgumentError, lambda: view.derivative) == text
    view.backward()
    view.forward(x=4.0)  # what was pulled back belonged to the other point
    assert said(nb.ArgumentError, lambda: view.derivative) == text


def test_unknown_and_missing_variables() -> None:
    formula = "w2*log(w1)"
    assert said(nb.FormulaError, lambda: nb.graph(formula, w1=2.0)) == (
        "no value for w2\nthe variables are w2, w1; give w2=…"
    )
    assert said(nb.FormulaError, lambda: nb.graph(formula, w1=2.0, w2=1.0, b=3.0)) == (
        "the formula w2*log(w1) has no variable b\nthe variables are w2, w1"
    )
    assert said(nb.FormulaError, lambda: nb.graph("2 + 3")) == "a formula without variables has no derivatives"
    assert said(nb.FormulaError, lambda: nb.graph("x", x="a")) == ("the value of x is a str, not a number or an array")
    assert said(nb.FormulaError, lambda: nb.graph("x", x=[[1.0], [1.0, 2.0]])) == (
        "the value of x is a list, not a number or an array"
    )
    view = nb.graph(formula, w1=2.0, w2=1.0)
    assert said(nb.ArgumentError, lambda: view.forward_table("w3")) == (
        "forward_table was asked for 'w3'; the graph of w2*log(w1) has the variables w2, w1."
    )
    assert said(nb.ArgumentError, view.forward_table) == (
        "forward_table needs the variable that moves: wrt= one of w2, w1."
    )
    assert said(nb.ArgumentError, lambda: view.forward(w1=[1.0, 2.0])) == (
        "w1 has shape [] in this graph; it got a value of shape [2]. Make a new graph for other shapes."
    )
    assert said(nb.ArgumentError, lambda: view.operation_counts(order=1)) == (
        "operation_counts got order=1; give an integer that is at least 2."
    )


def test_lists_that_have_no_meaning() -> None:
    assert said(nb.FormulaError, lambda: nb.graph(["-", "x", "y", "z"], x=1.0, y=1.0, z=1.0)) == (
        "'-' takes two operands, not 3\n    ['-', 'x', 'y', 'z']\n    ^~~~~~~~~~~~~~~~~~~~\nonly + and * take more"
    )


def test_functions() -> None:
    assert said(nb.ArgumentError, lambda: nb.graph(jnp.sum, x=1.0)) == (
        "graph got a function together with values for x. Call what it returns with the arguments: graph(f)(x)."
    )
    assert (
        said(nb.ArgumentError, lambda: nb.graph(3))
        == "graph needs a function, a formula or nested lists; it got a int."
    )
    assert said(nb.OutputError, lambda: nb.graph(lambda x: (x, x))(1.0)) == (
        "graph needs a function with one result; f returns 2."
    )
    assert said(nb.OutputError, lambda: nb.graph(lambda x: x > 0)(1.0)).startswith("graph was asked of a function that")
    view = nb.graph(lambda x: 2 * x)(jnp.ones(3))
    assert said(nb.OutputError, view.reverse_table) == (
        "reverse_table needs a function that returns one number; f returns float64[3]. Sum or index the result, or use "
        "forward_table."
    )
    assert said(nb.ArgumentError, view.forward_table) == (
        "forward_table was asked along 'x', which has shape [3]: a tangent needs one direction. Give direction=, an "
        "array of that shape."
    )


def test_names_of_trees() -> None:
    def loss(params: Any, x: Any, *, scale: float = 1.0) -> Any:
        return jnp.sum(x @ params["W"][0] + params["b"]) * scale

    view = nb.graph(loss)({"W": [jnp.ones((2, 2))], "b": jnp.ones(2)}, jnp.ones((3, 2)), scale=2.0)
    assert [row["node"] for row in view.table().rows][:4] == ["W₀", "b", "x", "scale"]
    assert "test_executor.py:" in str(view)


def test_the_room_and_the_verb_share_a_name() -> None:
    import sys

    from nablax.graph.graph import Graph

    assert callable(nb.graph)
    assert sys.modules["nablax.graph.graph"].Graph is Graph
    import nablax.graph.cost  # binds nablax, and finds the room

    assert callable(nablax.graph)
