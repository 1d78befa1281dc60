"""Declarations, defaults, sizes, readings by use, and the typed tree."""

from __future__ import annotations

import pytest

from nablax.formula import (
    FormulaError,
    Kind,
    Operation,
    Size,
    is_symmetric,
    parse_declarations,
    parse_formula,
)
from nablax.formula.declarations import default_declaration
from nablax.formula.sizes import SizeSolver, symbol

DEFAULTS = {
    Kind.SCALAR: ["a", "g", "bias", "alpha", "lambda", "mu_1", "theta2", "μ", "σ_0", "xi", "pi"],
    Kind.VECTOR: ["h", "z", "x1", "weights", "lambdas", "n"],
    Kind.MATRIX: ["A", "Z", "Sigma", "Θ", "X_test"],
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in DEFAULTS.items() for name in names])
def test_first_letter_decides(kind: Kind, name: str) -> None:
    assert default_declaration(name).kind is kind


def test_declarations() -> None:
    text = "A: matrix(m, n), S:symmetric( 3 ), c: constant, k: constant spd(n), "
    text += "x: vector, t: scalar, v: vector(2*m)"
    found = parse_declarations(text)
    assert {
        name: (str(one.kind), one.sizes and [*map(str, one.sizes)], one.constant) for name, one in found.items()
    } == {
        "A": ("matrix", ["m", "n"], False),
        "S": ("symmetric", ["3"], False),
        "c": ("scalar", None, True),
        "k": ("spd", ["n"], True),
        "x": ("vector", None, False),
        "t": ("scalar", (), False),
        "v": ("vector", ["2*m"], False),
    }
    assert parse_declarations({"A": "matrix(m, n)"}) == parse_declarations("A: matrix(m,n)")
    assert parse_declarations(None) == parse_declarations("") == {}


INFERRED = {
    ("A*x", None): "A: matrix(m, n), x: vector(n)",
    ("x'*A*x", None): "x: vector(n), A: matrix(n, n)",
    ("A*x", "A: matrix(m,k)"): "A: matrix(m, k), x: vector(k)",
    ("A*x", "x: vector(4)"): "A: matrix(n, 4), x: vector(4)",
    ("S*x", "S: spd(d), x: constant"): "S: spd(d), x: constant vector(d)",
    ("Q'*D*Q", "Q: orthogonal, D: diagonal"): "Q: orthogonal(n), D: diagonal(n)",
    ("m'*n*A", None): "m: vector(p), n: vector(p), A: matrix(q, k)",
    ("A + B*C", None): "A: matrix(m, n), B: matrix(m, p), C: matrix(p, n)",
    ("kron(A, B)*x", "x: vector(6), A: matrix(2, 3)"): "A: matrix(2, 3), B: matrix(n, 2), x: vector(6)",
    ("x + y", "x: vector(n), y: vector(0)"): "x: vector(0), y: vector(0)",
}


@pytest.mark.parametrize(("source", "declare"), INFERRED)
def test_sizes_are_inferred(source: str, declare: str | None) -> None:
    assert parse_formula(source, declare).declaration == INFERRED[source, declare]


def test_sizes_of_the_user_that_unify_are_reported() -> None:
    formula = parse_formula("A*x", "A: matrix(m,n), x: vector(k)")
    assert formula.declaration == "A: matrix(m, n), x: vector(n)"
    assert formula.equalities == (("k", "n"),)
    assert formula.sizes == ("m", "n")


def test_declared_size_is_a_number_where_it_is_no_variable() -> None:
    formula = parse_formula("sum(A)/n", "A: matrix(m,n)")
    assert formula.expression.operands[1].operation is Operation.SIZE
    assert [*formula.variables] == ["A"]
    assert [*parse_formula("sum(A)/n", "A: matrix(m,n), n: scalar").variables] == ["A", "n"]


BY_USE = {
    "1/2*norm2(A*x - b)^2": "b: vector(m)",
    "b'*x + c": "b: vector(n)",
    "log(1 + exp(<a, x>))": "a: vector(n)",
    "A @ b": "b: vector(n)",
    "b[0]": "b: vector(n)",
    "A - t*eye": "t: scalar",
}


@pytest.mark.parametrize("source", BY_USE)
def test_use_decides_against_the_first_letter(source: str) -> None:
    formula = parse_formula(source)
    assert [str(one) for one in formula.variables.values() if one.reread] == [BY_USE[source]]


MEANT = {
    "a'*X*b": "a: vector(m), X: matrix(m, n), b: vector(n)",
    "x'*a": "x: vector(n), a: vector(n)",
    "(X*b+c)'*D*(X*b+c)": "X: matrix(m, n), b: vector(n), c: vector(m), D: matrix(m, m)",
    "(x-mu)'*inv(Sigma)*(x-mu)": "x: vector(n), mu: vector(n), Sigma: matrix(n, n)",
    "alpha'*K*alpha": "alpha: vector(n), K: matrix(n, n)",
    "t*x'*x": "t: scalar, x: vector(n)",
    "x'*y/t": "x: vector(n), y: vector(n), t: scalar",
    "<a,b>": "a: vector(n), b: vector(n)",
    "norm2(a - b)": "a: vector(n), b: vector(n)",
    "sum(a)": "a: vector(n)",
    "1/2*x'*A*x - x'*b": "x: vector(n), A: matrix(n, n), b: vector(n)",
    "x^2": "x: scalar",
    "t^3 - 2*t + exp(-t)": "t: scalar",
    "sin(x)*cos(y)": "x: scalar, y: scalar",
    "sin(x)": "x: vector(n)",
    "x.*y": "x: vector(n), y: vector(n)",
    "x*x'*y": "x: vector(n), y: vector(n)",
    "exp(-norm2(x-y)^2/(2*s^2))": "x: vector(n), y: vector(n), s: scalar",
    "tr(kron(A,X))": "A: matrix(m, m), X: matrix(n, n)",
    "kron(A,x)": "A: matrix(m, n), x: vector(p)",
    "inv(A)*b": "A: matrix(n, n), b: vector(n)",
    "x'*dx": "x: vector(n), dx: vector(n)",
    "mu'*x - g/2*x'*Sigma*x": "mu: vector(n), x: vector(n), g: scalar, Sigma: matrix(n, n)",
    "y'*inv(K + s*eye)*y": "y: vector(n), K: matrix(n, n), s: scalar",
}


@pytest.mark.parametrize("source", MEANT)
def test_names_are_read_as_a_textbook_means_them(source: str) -> None:
    assert parse_formula(source).declaration == MEANT[source]


def test_the_first_letter_stands_where_it_reads_well() -> None:
    assert parse_formula("A*x - b", "b: scalar").declaration == "A: matrix(m, n), x: vector(n), b: scalar"
    assert parse_formula("A*x + y").declaration == "A: matrix(m, n), x: vector(n), y: vector(m)"


def test_a_scalar_is_not_added_to_a_row() -> None:
    with pytest.raises(FormulaError, match="cannot subtract a row vector"):
        parse_formula("x'*A - b", "b: scalar, x: vector")


def test_reading_by_use_is_dropped_where_it_does_not_fit() -> None:
    formula = parse_formula("a^2*sum(x + a)")
    assert formula.declaration == "a: scalar, x: vector(n)"


def test_typed_tree_names_the_operation() -> None:
    operations = {
        "A*B": Operation.PRODUCT,
        "x'*y": Operation.PRODUCT,
        "x*y'": Operation.OUTER,
        "a*x": Operation.MULTIPLY,
        "x.*y": Operation.MULTIPLY,
        "hadamard(A, B)": Operation.MULTIPLY,
        "outer(x, y)": Operation.OUTER,
        "x/a": Operation.DIVIDE,
        "A^2": Operation.MATRIX_POWER,
        "a^2": Operation.POWER,
        "x @ A": Operation.PRODUCT,
        "A'": Operation.TRANSPOSE,
        "A[0,:]": Operation.INDEX,
        "norm(x, 3)": Operation.CALL,
    }
    assert {source: parse_formula(source).expression.operation for source in operations} == operations
    assert parse_formula("norm(x, 3)").expression.options == (3,)
    assert parse_formula("norm(x)").expression.label == "norm2"
    assert parse_formula("norm(A, fro)").expression.label == "norm2"
    assert str(parse_formula("x @ A").shape) == "vector (n)"
    assert str(parse_formula("x'*A").shape) == "row vector (n)"


def test_equal_expressions_are_one_object() -> None:
    left, right = parse_formula("exp(A*x) + exp(A*x)").expression.operands
    assert left is right
    ones = list(parse_formula("A*vector(1) + vector(1)", "A: matrix(2,3)").expression.walk())
    assert len({node.shape for node in ones if node.label == "vector"}) == 2


SYMMETRIC = [
    "S",
    "A + A'",
    "A'*A",
    "B'*S*B",
    "x*x'",
    "S + 2*eye",
    "inv(S)^2",
    "-S/c",
    "exp(S)",
    "diag(x)",
    "B*B' + S",
]
NOT_KNOWN = ["A", "A*S", "x*y'", "A*B", "B", "S*A*S + A", "A - A'"]


@pytest.mark.parametrize("source", SYMMETRIC + NOT_KNOWN)
def test_symmetry_by_form(source: str) -> None:
    formula = parse_formula(source, "S: symmetric(n), A: matrix(n,n), x: vector(n)")
    assert is_symmetric(formula.expression, formula.variables) == (source in SYMMETRIC)


def test_solver_cancels_common_factors() -> None:
    solver = SizeSolver((), ("m", "p", "q"))
    assert solver.unify(symbol("m") * symbol("p"), symbol("q") * symbol("m"))
    assert solver.resolve(symbol("q")) == symbol("p")
    assert solver.unify(Size(2) * symbol("p"), Size(6))
    assert solver.resolve(symbol("q")) == Size(3)
    assert not solver.unify(symbol("p"), Size(4))
    assert not solver.unify(Size(2) * symbol("m"), Size(5))


def test_sizes_do_not_take_names_of_variables() -> None:
    formula = parse_formula("A*n - m")
    assert formula.declaration == "A: matrix(p, q), n: vector(q), m: vector(p)"


def test_many_sizes_have_names() -> None:
    formula = parse_formula(" + ".join(f"sum(A{k})" for k in range(20)))
    assert len(set(formula.sizes)) == 40


def test_order_of_a_norm_and_sizes_are_not_variables() -> None:
    formula = parse_formula("norm(x, inf) + sum(vector(c, k)) + tr(eye(k))")
    assert [*formula.variables] == ["x", "c"]
    assert formula.sizes == ("n", "k")
    with pytest.raises(FormulaError, match="A is not the order of a norm"):
        parse_formula("norm(x, A)")


def test_a_doubtful_reading_does_not_take_a_clear_one_with_it() -> None:
    formula = parse_formula("b'*x + a^2 + sum(x + a)")
    assert formula.declaration == "b: vector(n), x: vector(n), a: scalar"


def test_capital_i_is_pointed_out() -> None:
    assert parse_formula("A - c*I").notes == ("I is a matrix like any other; the identity is written eye",)


SIZED = {
    "x'*zeros(m*n)": ("x", "vector (m*n)"),
    "x'*ones(n-1)": ("x", "vector (n-1)"),
    "a'*unvec(x, 2*n, 3)*b": ("x", "vector (6*n)"),
    "x'*eye[:,0]": ("x", "vector (n)"),
    "eigenvector(X + X')'*x": ("x", "vector (n)"),
    "left_vector(X)'*x": ("x", "vector (m)"),
    "polygamma(2, x)'*x": ("x", "vector (n)"),
}


@pytest.mark.parametrize("text", SIZED)
def test_sizes_of_calls(text: str) -> None:
    name, shape = SIZED[text]
    assert str(parse_formula(text).variables[name].shape) == shape


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("zeros(3 - 5)", "-2 is not a size"),
        ("vector(1, 1000000*1000000)", "1000000000000 is not a size"),
        ("x'*zeros((n-1)*2)", r"\(n - 1\)\*2 is not a size"),
        ("polygamma(y, x)", "y is not the order of polygamma"),
        ("polygamma(1.5, x)", "1.5 is not the order of polygamma"),
        ("eigenvector(X)", "the eigenvalues of X may be complex"),
        ("unvec(x, 2, 3) + unvec(x, 5, 7)", r"unvec needs a vector of size 35, found a vector \(6\)"),
    ],
)
def test_sizes_and_orders_that_are_none(text: str, reason: str) -> None:
    with pytest.raises(FormulaError, match=reason):
        parse_formula(text)
