"""Generated code as text, in every language; that it runs and agrees is seen in tests/corpus/test_code.py."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus.running import in_c, in_python

from nablax.derivation import Derivation, DerivationError, derive

LANGUAGES = ("numpy", "jax", "torch", "julia", "c")
LEAST_SQUARES = """\
def derivatives(A, x, b):
    t1 = A @ x - b
    f = 0.5 * (t1 @ t1)
    gradient = A.T @ t1
    hessian = A.T @ A
    return f, gradient, hessian
"""
KEYWORDS = "lambda: vector(m), f: matrix(m,n), end: vector(n), np: vector(n), int: scalar, t1: scalar, self: scalar"


@pytest.fixture(scope="module")
def squares() -> Derivation:
    return derive("1/2*norm2(A*x-b)^2", "x")


def body(source: str) -> list[str]:
    """The lines of a function."""
    return [line.strip() for line in source.splitlines() if line.startswith("    ")]


def test_value_gradient_and_hessian_share_what_they_have_in_common(squares: Derivation) -> None:
    assert squares.code() == "import numpy as np\n\n\n" + LEAST_SQUARES
    assert squares.code("jax") == "import jax.numpy as jnp\n\n\n" + LEAST_SQUARES
    assert squares.code("torch") == "import torch\n\n\n" + LEAST_SQUARES


def test_julia(squares: Derivation) -> None:
    assert squares.code("julia") == (
        "using LinearAlgebra\n\n\nfunction derivatives(A, x, b)\n    t1 = A * x - b\n    f = 0.5 * (t1' * t1)\n"
        "    gradient = A' * t1\n    hessian = A' * A\n    return f, gradient, hessian\nend\n"
    )


def test_c() -> None:
    assert derive("1/2*norm2(A*x-b)^2", "x", order=1).gradient.code("c") == (
        "#include <math.h>\n#include <stdlib.h>\n\n"
        "int gradient(long m, long n, const double *A, const double *x, const double *b, double *gradient_)\n{\n"
        "    double *space = calloc((size_t)(m + m + 1), sizeof(double));\n"
        "    if (!space)\n"
        "        return 1;\n"
        "    double *t1 = space;\n"
        "    double *t2 = t1 + m;\n"
        "    for (long i = 0; i < m; i++) {\n"
        "        double total = 0.0;\n"
        "        for (long j = 0; j < n; j++)\n"
        "            total += A[i * n + j] * x[j];\n"
        "        t1[i] = total;\n"
        "    }\n"
        "    for (long i = 0; i < m; i++)\n"
        "        t2[i] = t1[i] - b[i];\n"
        "    for (long i = 0; i < n; i++)\n"
        "        gradient_[i] = 0.0;\n"
        "    for (long j = 0; j < m; j++)\n"
        "        for (long i = 0; i < n; i++)\n"
        "            gradient_[i] += A[j * n + i] * t2[j];\n"
        "    free(space);\n"
        "    return 0;\n}\n"
    )


@pytest.mark.parametrize(
    ("formula", "declare", "line"),
    [
        ("x'*A*B*C*x", "", "t1 = A @ (B @ (C @ x))"),  # vectors first
        ("a'*X*Y*b", "Y: matrix(n,p), X: matrix(m,n)", "t1 = X.T @ a"),  # which the gradient has
        ("tr(A*B)", "A: matrix(m,n), B: matrix(n,m)", "f = np.sum(A * B.T)"),  # no product of matrices
        ("b'*inv(S)*b", "S: spd(n), b: vector(n)", "t1 = np.linalg.solve(S, b)"),  # no inverse for one vector
    ],
)
def test_products_are_multiplied_in_the_planners_order(formula: str, declare: str, line: str) -> None:
    wrt = {"x": "x", "a": "b", "t": "A", "b": "b"}[formula[0]]
    assert line in body(derive(formula, wrt, declare=declare, order=1).code())


@pytest.mark.slow
def test_code_is_the_same_in_every_process() -> None:
    script = (
        "from nablax.derivation import derive\n"
        "print(derive(\"a'*X*Y*b\", 'b', declare='Y: matrix(n,p), X: matrix(m,n)', order=1).code())\n"
        "print(derive(\"tr(A*X*B*X'*C)\", 'X').code())"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in "0123"
    ]
    assert b"def derivatives" in found[0]
    assert set(found) == {found[0]}


TOGETHER = {
    # signs: S⁻¹(x − m) and S⁻¹(m − x)
    ("1/2*(x-m)'*inv(S)*(x-m)", "m", "S: spd(n), x: vector(n), m: vector(n)"): """\
        t1 = x - m
        t2 = np.linalg.solve(S, t1)
        f = 0.5 * (t1 @ t2)
        gradient = -t2
        return f, gradient
    """,
    # transposes: of three ways to multiply AXB the one that the gradient AᵀBᵀ needs
    ("tr(A*X*B)", "X", "A: matrix(n,n), X: matrix(n,n), B: matrix(n,n)"): """\
        t1 = B @ A
        f = np.sum(t1 * X.T)
        gradient = t1.T
        return f, gradient
    """,
    # sums: A + Aᵀ has n² elements to write, Aᵀx only n
    ("x'*A*x + b'*x", "x", ""): """\
        t1 = A @ x
        f = x @ t1 + b @ x
        gradient = t1 + A.T @ x + b
        return f, gradient
    """,
    ("1/2*norm2(T-U*V')^2", "U", ""): """\
        t1 = T - U @ V.T
        f = 0.5 * np.sum(t1 ** 2)
        gradient = -(t1 @ V)
        return f, gradient
    """,
    # powers of arrays as products, sums of squares as inner products
    ("sum(tanh(A*x+b).^2)", "x", ""): """\
        h = np.tanh(A @ x + b)
        f = h @ h
        gradient = 2 * (A.T @ (h - h ** 2 * h))
        return f, gradient
    """,
}


@pytest.mark.parametrize(("formula", "wrt", "declare"), TOGETHER)
def test_value_and_gradient_share_what_differs_by_sign_or_transpose(formula: str, wrt: str, declare: str) -> None:
    written = textwrap.dedent(TOGETHER[formula, wrt, declare]).splitlines()
    assert body(derive(formula, wrt, declare=declare or None, order=1).code()) == written


def test_what_is_cheapest_alone_need_not_be_so_together() -> None:
    # The Hessian needs A + Aᵀ anyway, ABC too: then the gradient is one product with it.
    assert "gradient = hessian @ x" in body(derive("x'*A*B*C*x", "x").code())


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_that_a_language_keeps_for_itself_get_an_underscore(language: str, tmp_path: Path) -> None:
    found = derive("lambda'*f*end + int*t1*self*np'*end", "end", declare=KEYWORDS)
    source = found.code(language)
    kept = {
        "numpy": ["lambda_", "f", "end", "int", "t1", "self", "np_"],
        "jax": ["lambda_", "f", "end", "int", "t1", "self", "np"],
        "torch": ["lambda_", "f", "end", "int", "t1", "self", "np"],
        "julia": ["lambda", "f", "end_", "int", "t1", "self", "np"],
        "c": ["lambda", "f", "end", "int_", "t1", "self", "np"],
    }[language]
    head = next(line for line in source.splitlines() if "derivatives(" in line)
    named = re.split(r", ", head[head.index("(") + 1 : head.index(")")])
    assert [name.split()[-1].lstrip("*") for name in named][2 * (language == "c") :][:7] == kept
    rng = np.random.default_rng(0)
    arrays = [np.asarray(rng.standard_normal(shape)) for shape in ((4,), (4, 3), (3,), (), (), (), (3,))]
    gradient = arrays[1].T @ arrays[0] + arrays[3] * arrays[4] * arrays[5] * arrays[6]
    if language in ("numpy", "jax"):
        np.testing.assert_allclose(in_python(source, arrays)[1], gradient)
    elif language == "c" and shutil.which("cc"):
        shapes = found.function.arguments
        np.testing.assert_allclose(in_c(source, tmp_path, shapes, arrays, [(), (3,), (3, 3)])[1], gradient)


@pytest.mark.parametrize(
    ("formula", "far"),
    [
        ("sum(log(1+exp(x)))", 800.0),
        ("log(sum(exp(x)))", 800.0 + np.log(1 + np.exp(-1600.0))),
        ("sum(log(cosh(x)))", 1600.0 - 2 * np.log(2)),
        ("sum(softplus(x))", 800.0),
        ("sum(sigmoid(x))", 1.0),
    ],
)
@pytest.mark.filterwarnings("error")
def test_large_numbers_do_not_overflow(formula: str, far: float, tmp_path: Path) -> None:
    found = derive(formula, "x")
    point = np.array([800.0, -800.0])
    for language in ("numpy", "jax", "c"):
        source = found.code(language)
        if language == "c":
            if shutil.which("cc") is None:
                continue
            value, gradient, hessian = in_c(source, tmp_path, {"x": ("n",)}, [point], [(), (2,), (2, 2)])
        else:
            value, gradient, hessian = in_python(source, [point])
        np.testing.assert_allclose(value, far)
        expected = {"sigmoid": [0.0, 0.0], "cosh": [1.0, -1.0]}
        key = next((key for key in expected if key in formula), "")
        np.testing.assert_allclose(gradient, expected.get(key, [1.0, 0.0]), atol=1e-12)
        np.testing.assert_allclose(hessian, np.zeros((2, 2)), atol=1e-12)


def test_the_determinant_of_a_large_matrix_does_not_overflow() -> None:
    value = in_python(derive("log(det(S))", "S", declare="S: spd(n)").function.code(), [1e3 * np.eye(400)])[0]
    np.testing.assert_allclose(value, 400 * np.log(1e3))


def test_a_number_that_is_everywhere_has_the_shape_of_what_it_stands_for() -> None:
    value, gradient, hessian = in_python(derive("a'*x", "x").code(), [np.ones(3), np.ones(3)])
    assert (value.shape, gradient.shape, hessian.shape) == ((), (3,), (3, 3))


def test_a_map_takes_a_direction() -> None:
    found = derive("log(det(X))", "X")
    X, direction = np.diag([1.0, 2.0]), np.array([[1.0, 2.0], [3.0, 4.0]])
    value, gradient, image = in_python(found.code(), [X, direction])
    np.testing.assert_allclose(value, np.log(2.0))
    np.testing.assert_allclose(gradient, np.diag([1.0, 0.5]))
    inverse = np.diag([1.0, 0.5])
    np.testing.assert_allclose(image, -(inverse.T @ direction.T @ inverse.T))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_users_letters_stay_two(language: str) -> None:
    source = derive("ε'*x + ϵ'*x", "x", declare="ε: vector(n), ϵ: vector(n), x: vector(n)").gradient.code(language)
    plain = {"c": ["epsilon", "epsilon_3f5"]}.get(language, ["ε", "ε_3f5"])
    assert all(re.search(rf"(?<!\w){name}(?!\w)", source) for name in plain)
    if language in ("numpy", "jax", "torch"):
        ast.parse(source)


def test_refusals() -> None:
    found = derive("x'*x")
    expected = "code is written in one of 'numpy', 'jax', 'torch', 'julia', 'c', not 'fortran'"
    for form in (found, found.gradient):
        with pytest.raises(DerivationError) as error:
            form.code("fortran")
        assert str(error.value) == expected
    spectral = derive("norm(X, 2)", "X", order=1)
    with pytest.raises(DerivationError) as error:
        spectral.code("c")
    assert str(error.value) == "C has no function singular_values; code of this form is not written in it"
    without = derive("tr(expm(X))", order=1)
    with pytest.raises(DerivationError) as error:
        without.code()
    assert str(error.value) == "∂f/∂X has no closed form to write as code; evaluate gives its value"


def test_evaluate_runs_names_that_python_keeps() -> None:
    values: dict[str, Any] = {"lambda": 2.0, "self": np.array([1.0, 3.0])}
    found = derive("lambda*self'*self", "self", declare="lambda: scalar, self: vector(n)")
    np.testing.assert_allclose(found.gradient.evaluate(**values), [4.0, 12.0])


@pytest.mark.parametrize(
    ("formula", "wrt", "declare"),
    [
        ("min(diag(A'*A*(t^2*P)*A'*A))", "P", "A: matrix(3,1), P: matrix(1,1), t: scalar"),
        ("min(diag(A'*A*(t^2*P)*A'*A))", "A", "A: matrix(1,1), P: matrix(1,1), t: scalar"),
        ("tr(S*((diag(diag(Z)+y))*(diag(diag(Z)+y))))", "y", "S: matrix(1,1), Z: matrix(1,1), y: vector(1)"),
        ("tr(S*((diag(diag(Z)+y))*(diag(diag(Z)+y))))", "Z", "S: matrix(1,1), Z: matrix(1,1), y: vector(1)"),
    ],
)
def test_matrices_with_one_row_are_no_rows(formula: str, wrt: str, declare: str) -> None:
    found = derive(formula, wrt, declare=declare)
    shapes = {name: tuple(map(int, shape)) for name, shape in found.function.arguments.items()}
    point = {name: np.full(shape, 0.5) for name, shape in shapes.items()}
    own = np.ones(shapes[wrt])
    step = 1e-6 * own
    rise = found.function.at({**point, wrt: point[wrt] + step}) - found.function.at({**point, wrt: point[wrt] - step})
    assert found.gradient.at(point).shape == own.shape
    np.testing.assert_allclose(np.sum(found.gradient.at(point)), rise / 2e-6, rtol=1e-6)
    directions = {name for form in (found.gradient, found.hessian) if form is not None for name in form.directions}
    arguments = [*point.values(), *[own] * len(directions)]
    assert in_python(found.code(), arguments)[1].shape == own.shape


def test_a_variable_called_f_keeps_its_shape() -> None:
    found = derive("norm2(f)^2 + x'*f", "f")
    assert found.shapes["f"] == ("n",)
    assert found.shapes["g"] == found.value_shape == ()
    assert derive("x'*x").shapes["f"] == derive("x'*x").value_shape == ()
    value, gradient, _ = in_python(found.code(), [np.ones(3), np.arange(3.0)])
    np.testing.assert_allclose(value, 6.0)
    np.testing.assert_allclose(gradient, [2.0, 3.0, 4.0])
    both = derive("norm2(f)^2 + x'*f", ("f", "x"), order=1)
    assert (both.shapes["f"], both.value_shape) == (("n",), ())
