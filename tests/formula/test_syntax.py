"""Plain text reads back as the same tree; what the grammar reads as what."""

from __future__ import annotations

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from hypothesis import given, settings

from nablax.formula import (
    Formula,
    FormulaError,
    choose_sizes,
    parse_expression,
    parse_formula,
    to_function,
)
from nablax.formula.functions import FUNCTIONS
from nablax.formula.syntax import COMPARISONS, Binary, Call, Expression, Index, Name, Number, Unary, walk

NAMES = st.sampled_from(["x", "A", "b", "theta", "x_1", "θ", "sin", "T", "e", "np"])
NUMBERS = st.one_of(
    st.integers(0, 2**53),
    st.floats(0, allow_infinity=False, allow_nan=False).filter(lambda value: value >= 0),
)
OPERATORS = st.sampled_from(["+", "-", "*", "/", "^", "@", ".*", "./", ".^", "**"])
PLACES = st.lists(st.none() | st.integers(-9, 9), min_size=1, max_size=2).map(tuple)


def grown(smaller: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    compared = st.builds(Binary, st.sampled_from(sorted(COMPARISONS)), smaller, smaller)
    return st.one_of(
        st.builds(Unary, st.sampled_from(["-", "'"]), smaller),
        st.builds(Binary, OPERATORS, smaller, smaller),
        st.builds(Call, st.sampled_from([*FUNCTIONS, "f"]), st.lists(smaller | compared, max_size=3).map(tuple)),
        st.builds(Call, st.just("inner"), st.tuples(smaller | compared, smaller)),
        st.builds(Index, smaller, PLACES),
    )


TREES = st.recursive(st.builds(Number, NUMBERS) | st.builds(Name, NAMES), grown, max_leaves=25)


@settings(max_examples=400, deadline=None)
@given(TREES)
def test_text_reads_back_as_an_equal_tree(tree: Expression) -> None:
    assert parse_expression(str(tree)) == tree


def formula_or_none(text: str, declare: str | None = None) -> Formula | None:
    try:
        return parse_formula(text, declare)
    except FormulaError:
        return None


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="xAb1.+-*/^'()[]<>=,:@ sineyTθ\n⟨⟩−\"_{", max_size=30))
def test_any_text_is_a_formula_or_a_refusal(text: str) -> None:
    formula = formula_or_none(text)
    if formula is not None:
        assert parse_expression(str(formula)) == formula.expression.syntax


@settings(max_examples=200, deadline=None)
@given(TREES)
def test_any_tree_is_typed_or_refused(tree: Expression) -> None:
    formula_or_none(str(tree))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="xA:,()n3 *matrixspdconstant", max_size=30))
def test_any_declaration_is_read_or_refused(declare: str) -> None:
    formula_or_none("A*x", declare)


SMALL = st.recursive(
    st.builds(Number, st.sampled_from([1, 2, 0.5]))
    | st.builds(Name, st.sampled_from(["x", "y", "A", "S", "c", "eye"])),
    lambda smaller: st.one_of(
        st.builds(Unary, st.sampled_from(["-", "'"]), smaller),
        st.builds(Binary, OPERATORS, smaller, smaller),
        st.builds(Call, st.sampled_from([*FUNCTIONS]), st.lists(smaller, min_size=1, max_size=2).map(tuple)),
        st.builds(Index, smaller, st.lists(st.none() | st.integers(-1, 1), min_size=1, max_size=2).map(tuple)),
    ),
    max_leaves=6,
)


@settings(max_examples=600, deadline=None)
@given(SMALL)
def test_inferred_shape_is_the_shape_of_the_array(tree: Expression) -> None:
    formula = formula_or_none(str(tree), "S: symmetric(n)")
    if formula is None:
        return
    sizes = choose_sizes(formula)
    shapes = {name: one.shape.concrete(sizes) for name, one in formula.variables.items()}
    arguments = {name: jax.ShapeDtypeStruct(shape, np.float64) for name, shape in shapes.items()}
    value = jax.eval_shape(to_function(formula, sizes), **arguments)
    assert value.shape == formula.shape.concrete(sizes)
    assert value.dtype == np.float64


SAME = {
    "-x^2": "-(x^2)",
    "-x*y": "(-x)*y",
    "a - b - c": "(a - b) - c",
    "a/b*c": "(a/b)*c",
    "A^2'": "(A^2)'",
    "X^-1'": "(X^(-1))'",
    "x'*A*x": "((x')*A)*x",
    "a + b < c*d": "(a + b) < (c*d)",
    "2.*x": "2 .* x",
    "2./x": "2 ./ x",
    "2.^x": "2 .^ x",
    ".5*x": "0.5*x",
    "1e-3": "0.001",
    "A.T*x": "A'*x",
    "x.T @ y": "x' @ y",
    "np.linalg.inv(A)": "inv(A)",
    "jnp.sum(numpy.exp(x))": "sum(exp(x))",
    "jax.nn.softmax(x)": "softmax(x)",
    "ln(x)": "log(x)",
    "trace(A)": "tr(A)",
    "np.maximum(x, 0)": "max(x, 0)",
    "np.transpose(A)": "A'",
    "np.matmul(A, B)": "A @ B",
    "⟨x, y⟩": "<x, y>",
    "inner(x, y)": "<x, y>",
    "a − b": "a - b",
    "+x": "x",
    "x ^ + 2": "x^2",
    "sum (x)": "sum(x)",
    "a\n + b": "a + b",
}


@pytest.mark.parametrize("source", SAME)
def test_spellings(source: str) -> None:
    assert parse_expression(source) == parse_expression(SAME[source])


def test_text_of_a_formula_is_normalised() -> None:
    source = "(((x.T)@A)) @ x+ ((c)*(np.sin(y)))   "
    assert str(parse_expression(source)) == "x' @ A @ x + c*sin(y)"


def test_spans_point_at_the_source() -> None:
    source = "1/2*norm2(A*x - (y + z))^2"
    shown = {source[node.span.start : node.span.end] for node in walk(parse_expression(source))}
    assert shown == {
        source, "1/2", "1", "2", "norm2(A*x - (y + z))^2", "norm2(A*x - (y + z))", "A*x - (y + z)", "A*x",
        "A", "x", "y + z", "y", "z",
    }  # fmt: skip
