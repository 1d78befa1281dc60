"""Nested lists give the same tree as text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nablax.formula import FormulaError, parse_formula, to_function

SAME: list[tuple[Any, str]] = [
    ([["exp", "x"], "+", 2], "exp(x) + 2"),
    ([["w2", "*", ["log", "w1"]], "+", 3], "w2*log(w1) + 3"),
    ("[['w2','*',['log','w1']],'+',['cos', 'w1']]", "w2*log(w1) + cos(w1)"),
    ('  [["x", "**", 2], "/", [["sin", "x"], "-", "1.5"]]', "x^2/(sin(x) - 1.5)"),
    ([["-", "x"], "*", -2], "-x*(-2)"),
    ([[["x"]]], "x"),
    (("ln", ("x", "^", "y")), "log(x^y)"),
]


@pytest.mark.parametrize(("nested", "text"), SAME, ids=[text for _, text in SAME])
def test_same_tree_as_text(nested: Any, text: str) -> None:
    formula = parse_formula(nested)
    scalars = ", ".join(f"{name}: scalar" for name in formula.variables)
    assert formula.expression == parse_formula(text, scalars).expression
    assert str(formula) == text
    assert all(str(variable.shape) == "scalar" for variable in formula.variables.values())


def test_value() -> None:
    function = to_function(parse_formula([["w2", "*", ["log", "w1"]], "+", 3]))
    np.testing.assert_allclose(function(w1=2.0, w2=5.0), 5 * np.log(2) + 3)


def test_declared_names_keep_their_kind() -> None:
    assert str(parse_formula([["exp", "x"], "+", 2], "x: vector(n)").shape) == "vector (n)"


REFUSED: dict[str, str] = {
    "[['exq', 'x'], '+', 2]": """\
unknown function 'exq'
    [['exq', 'x'], '+', 2]
      ^~~~~
did you mean 'exp'?""",
    "['x', '%', 2]": """\
'%' is not an operator
    ['x', '%', 2]
          ^~~
operators are + - * / ^""",
    "['x', '+', 'y', '+', 'z']": """\
a list of 5 entries has no meaning
    ['x', '+', 'y', '+', 'z']
    ^~~~~~~~~~~~~~~~~~~~~~~~~
a list is [left, operator, right], [operator, left, right] or [function, argument], for example [['exp', 'x'], '+', 2]""",
    "['x*y', '+', 2]": """\
'x*y' is not a name or a number
    ['x*y', '+', 2]
     ^~~~~
each string is one name, number, function or operator""",
    "[x, '+', 2]": """\
the character 'x' has no meaning in a nested list
    [x, '+', 2]
     ^
names, functions and operators are quoted""",
    "[['x', '+', 2]": """\
the nested list ends too early
    [['x', '+', 2]
                  ^
a list is [left, operator, right], [operator, left, right] or [function, argument], for example [['exp', 'x'], '+', 2]""",
}


@pytest.mark.parametrize("source", REFUSED)
def test_refusal(source: str) -> None:
    with pytest.raises(FormulaError) as caught:
        parse_formula(source)
    assert str(caught.value) == REFUSED[source]


def test_odd_python_objects_are_refused() -> None:
    endless: list[Any] = ["x", "+"]
    endless.append(endless)
    with pytest.raises(FormulaError, match="lists are nested more than 100 deep"):
        parse_formula(endless)
    for odd in ({"x": 1}, None, True, "it's", 1j):
        with pytest.raises(FormulaError, match="is not a list, a name, an operator or a number"):
            parse_formula(["x", "+", odd])
    for odd in ([], ["x", "+", float("nan")], ["x", "+", float("inf")], ["x"] * 20_000):
        with pytest.raises(FormulaError):
            parse_formula(odd)
