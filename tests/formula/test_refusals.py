"""The full text of refusals: what was found, the place, what would fit."""

from __future__ import annotations

import pickle

import pytest

from nablax.errors import NablaxError
from nablax.formula import FormulaError, parse_declarations, parse_formula

GRAMMAR = {
    "2*a x": """\
found 'x' where an operator or the end of the formula would fit
    2*a x
        ^
there is no product without a sign: write * between factors""",
    "2*a + sin x": """\
found 'x' where an operator or the end of the formula would fit
    2*a + sin x
              ^
write sin(…)""",
    "x +": """\
the formula ends where a name, a number, a function call or '(' would fit
    x +
       ^""",
    "(x + y": """\
the formula ends where ')' would fit
    (x + y
          ^""",
    "x) + y": """\
found ')' where the end of the formula would fit
    x) + y
     ^""",
    "f = x'*x": """\
the character '=' has no meaning here
    f = x'*x
      ^
write the right-hand side alone; comparisons are spelled ==, <=, >=""",
    "a^b^c": """\
a chain of powers is read from the left by MATLAB and from the right by mathematics
    a^b^c
    ^~~~~
write (a^b)^c or a^(b^c)""",
    "A[i,:]": """\
the index i is a name
    A[i,:]
      ^
write the number; a name stands behind a colon, for the size of the axis: x[1:i]""",
    "x[1.5]": """\
the index 1.5 is not an integer
    x[1.5]
      ^~~
indices count from 0""",
    " ": """\
the formula is empty
write one such as 1/2*norm2(A*x - y)^2""",
    "12345678901234567890*x": """\
the integer 12345678901234567890 is larger than 2^53 and would be rounded
    12345678901234567890*x
    ^~~~~~~~~~~~~~~~~~~~
write it as a decimal number, for example 1e20""",
    "1e400": """\
the number 1e400 is larger than any float64
    1e400
    ^~~~~""",
    "__import__('os')": """\
the character '_' has no meaning here
    __import__('os')
    ^
names begin with a letter""",
}
SHAPES = {
    "A + x": """\
cannot add a matrix (m, n) and a vector (p)
    A + x
    ^~~~~
A is a matrix (m, n), x is a vector (p)
shapes have to be equal, or one operand a scalar""",
    "x' + y": """\
cannot add a row vector (m) and a vector (n)
    x' + y
    ^~~~~~
x' is a row vector (m), y is a vector (n)
shapes have to be equal, or one operand a scalar; transpose one of them by '""",
    "X^T": """\
cannot raise a matrix to T
    X^T
      ^
the transpose is written X'""",
    "A/B": """\
cannot divide a matrix (m, n) and a matrix (p, q)
    A/B
    ^~~
A is a matrix (m, n), B is a matrix (p, q)
divide by a scalar, or write ./ (entrywise) or *inv(…)""",
    "det(x)": """\
det needs a square matrix, found a vector (n)
    det(x)
    ^~~~~~
x is a vector (n)""",
    "logg(x) + 1": """\
unknown function 'logg'
    logg(x) + 1
    ^~~~~~~
did you mean 'log'?""",
    "np.linalg.invv(A)": """\
unknown function 'np.linalg.invv'
    np.linalg.invv(A)
    ^~~~~~~~~~~~~~~~~
did you mean 'inv'?""",
    "x(y + 1)": """\
unknown function 'x'
    x(y + 1)
    ^~~~~~~~
a product is written x*(…), an entry x[0]""",
    "sin(x, y)": """\
sin takes 1 argument, found 2
    sin(x, y)
    ^~~~~~~~~
write sin(x)""",
    "log + 1": """\
log is a function, not a variable
    log + 1
    ^~~
write log(x), or declare log as a variable""",
    "x < y": """\
a comparison is not a value
    x < y
    ^~~~~
use it in where(x > 0, a, b)""",
    "where(x, x, 0)": """\
the first argument of where is a vector (n), not a comparison
    where(x, x, 0)
          ^
write where(x > 0, a, b)""",
    "sum(vector(1))": """\
nothing determines the size of vector(1)
    sum(vector(1))
        ^~~~~~~~~
write vector(1, n)""",
    "max(eig(X))": """\
the eigenvalues of X may be complex
    max(eig(X))
        ^~~~~~
write sum(eig(X)) or prod(eig(X)), or declare the matrix symmetric""",
    "x/(1 - 1)": """\
x/(1 - 1) divides by zero
    x/(1 - 1)
    ^~~~~~~~~""",
    "(1e300*1e300)*x": """\
1e+300*1e+300 is not a finite real number
    (1e300*1e300)*x
     ^~~~~~~~~~~""",
    "A**2": """\
** of a matrix could mean two things
    A**2
    ^~~~
write ^ for the power of the matrix or .^ for the power entrywise""",
    "(A @ B)*C": """\
cannot tell which product * is in a formula in NumPy spelling, of a matrix (m, p) and a matrix (q, k)
    (A @ B)*C
    ^~~~~~~~~
A @ B is a matrix (m, p), C is a matrix (q, k)
write @ for the matrix product or .* for the entrywise product""",
    "norm(A, 3)": """\
3 is not an order of a matrix norm here
    norm(A, 3)
            ^
for a matrix it is 1, 2, inf, fro or nuc; entrywise norms are norm1(X), norm2(X)""",
}
DECLARED = {
    ("A*x", "A: matrix(3,4), x: vector(5)"): """\
cannot multiply a matrix (3, 4) and a vector (5)
    A*x
    ^~~
A is a matrix (3, 4), x is a vector (5)
the columns of the left have to be as many as the rows of the right""",
    ("A*x + 1/x", "A: matrix(n,n), x: vector(1)"): None,
    ("1 + norm2(x*y)", "x: vector, y: vector"): """\
cannot multiply a vector (m) and a vector (n)
    1 + norm2(x*y)
              ^~~
x is a vector (m), y is a vector (n)
write x'*y (inner product), x*y' (outer product) or x.*y (entrywise)""",
    ("x*A", "x: vector"): """\
cannot multiply a vector (m) and a matrix (n, p)
    x*A
    ^~~
x is a vector (m), A is a matrix (n, p)
a vector on the left of a matrix is transposed: x'*A""",
    ("x^2", "x: vector"): """\
cannot raise a vector (n) to a scalar by ^
    x^2
    ^~~
x is a vector (n), 2 is a scalar
the power entrywise is written .^; the sum of squares is x'*x or norm2(x)^2""",
    ("norm2(A*b - x)", "b: scalar"): """\
cannot subtract a matrix (m, n) and a vector (p)
    norm2(A*b - x)
          ^~~~~~~
A*b is a matrix (m, n), x is a vector (p)
shapes have to be equal, or one operand a scalar""",
    ("x*A", "x: vector(1)"): """\
cannot multiply a vector (1) and a matrix (m, n)
    x*A
    ^~~
x is a vector (1), A is a matrix (m, n)
a vector on the left of a matrix is transposed: x'*A""",
    ("x[3]", "x: vector(3)"): """\
index 3 is outside an axis of size 3
    x[3]
    ^~~~
indices count from 0""",
    ("tehta'*x", "theta: vector(n)"): """\
theta is declared but tehta stands here
    tehta'*x
    ^~~~~
did you mean 'theta'?""",
    ("A", "A: matirx(3)"): """\
unknown kind 'matirx'
    A: matirx(3)
       ^~~~~~
did you mean 'matrix'? kinds are scalar, vector, matrix, symmetric, spd, orthogonal, diagonal, triangular, skew""",
    ("A", "A: matrix(n)"): """\
matrix takes 2 sizes, found 1
    A: matrix(n)
       ^~~~~~~~
write matrix(m,n)""",
    ("A", "A: matrix, A: vector"): """\
A is declared twice
    A: matrix, A: vector
               ^""",
    ("A", "A matrix"): """\
found 'matrix' in a declaration
    A matrix
      ^~~~~~
declarations look like A: matrix(m,n), S: symmetric(n), c: constant""",
    ("A", "A: matrix(99999999, 1)"): """\
the size 99999999 is larger than 1,000,000
    A: matrix(99999999, 1)
              ^~~~~~~~""",
    ("A", "A: spd vector"): """\
'vector' after a kind
    A: spd vector
           ^~~~~~
only 'constant' and 'positive' stand before a kind""",
}


@pytest.mark.parametrize("source", GRAMMAR | SHAPES)
def test_refusal(source: str) -> None:
    with pytest.raises(FormulaError) as caught:
        parse_formula(source)
    assert str(caught.value) == (GRAMMAR | SHAPES)[source]


@pytest.mark.parametrize(("source", "declare"), [key for key, text in DECLARED.items() if text])
def test_refusal_with_declarations(source: str, declare: str) -> None:
    with pytest.raises(FormulaError) as caught:
        parse_formula(source, declare)
    assert str(caught.value) == DECLARED[source, declare]


def test_vector_of_size_one_is_not_a_scalar() -> None:
    formula = parse_formula("A*x", "A: matrix(n,n), x: vector(1)")
    assert str(formula.shape) == "vector (1)"
    with pytest.raises(FormulaError, match="cannot raise a scalar to a vector"):
        parse_formula("2^x", "x: vector(1)")


LIMITS = {
    "x" * 10_001: "the formula has 10,001 characters; the limit is 10,000",
    "+".join("x" * 151): "operations are nested more than 150 deep",
    "-" * 1400 + "x": "operations are nested more than 150 deep",
    "x" + "'" * 1400: "operations are nested more than 150 deep",
    "(" * 101 + "x" + ")" * 101: "brackets are nested more than 100 deep",
    "sin(" * 600 + "x" + ")" * 600: "brackets are nested more than 100 deep",
    "[" * 101 + "'x'" + "]" * 101: "brackets are nested more than 100 deep",
    "(" * 60 + "+".join(["(" + "+".join("x" * 50) + ")"] * 18) + ")" * 60: None,
}


@pytest.mark.parametrize("source", LIMITS, ids=range(len(LIMITS)))
def test_limits(source: str) -> None:
    expected = LIMITS[source]
    if expected is None:
        assert str(parse_formula(source).shape) == "vector (n)"
        return
    with pytest.raises(FormulaError) as caught:
        parse_formula(source)
    assert caught.value.reason == expected
    assert len(str(caught.value)) < 400


def test_too_many_signs() -> None:
    source = "(" + ")+(".join(["+".join("x" * 50)] * 90) + ")"
    with pytest.raises(FormulaError, match="the formula has 9,179 names, numbers and signs; the limit is 2,000"):
        parse_formula(source)


def test_long_formula_is_shown_around_the_place() -> None:
    with pytest.raises(FormulaError) as caught:
        parse_formula(" + ".join(["a"] * 40) + " + sine(b) + " + " + ".join(["a"] * 40))
    lines = str(caught.value).splitlines()
    assert lines[1][lines[2].index("^") :].startswith("sine(b)")
    assert lines[2].strip() == "^~~~~~~"
    assert max(map(len, lines)) <= 80


def test_error_is_a_value_error_of_the_package_and_survives_pickling() -> None:
    with pytest.raises(FormulaError) as caught:
        parse_formula("x +")
    assert isinstance(caught.value, NablaxError)
    assert isinstance(caught.value, ValueError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_other_types_are_refused() -> None:
    with pytest.raises(FormulaError, match="a formula is text or a nested list, not int"):
        parse_formula(3)  # type: ignore[arg-type]
    with pytest.raises(FormulaError, match="declarations are text or a mapping, not list"):
        parse_declarations(["x"])  # type: ignore[arg-type]
    with pytest.raises(FormulaError, match="a declaration maps a name to a kind, both text, not 'x' to 3"):
        parse_declarations({"x": 3})  # type: ignore[dict-item]
