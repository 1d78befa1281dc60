"""Printed formulas, pasted: of this package, of books, and LaTeX."""

from __future__ import annotations

import pytest

from nablax.formula import FormulaError, parse_formula
from nablax.formula.paste import bars, from_printed

PRINTED = {
    "xᵀAx": "x'*A*x",
    "½‖Ax − y‖² + λxᵀx": "(1/2)*norm2(A*x-y)^2+λ*x'*x",
    "X⁻ᵀ": "X^-1'",
    "y ⊙ Xw": "y .* (X*w)",
    "P ⊙ GVᵀ − diag(x)P": "P .* (G*V')-diag(x)*P",
    "1 ⊘ (1 + x)^⊙2": "1 ./ (1+x).^2",
    "tanh²(Vx)": "tanh(V*x).^2",
    "−2 exp(−xᵀx) x": "-2*exp(-x'*x)*x",
    "log det(XᵀX)": "logdet(X'*X)",
    "x/√(1 + x²)": "x/sqrt(1+x^2)",
    "‖X‖_*": "norm(X,nuc)",
    "x₁ + 2x₂": "x1+2*x2",
    "Xᵀ(p − y)  where  p = σ(Xw)": "X'*((sigmoid(X*w))-y)",
    r"\frac{1}{2}\|Ax-b\|^2": "((1)/(2))*norm2(A*x-b)^2",
    r"\mathbf{x}^\top A\mathbf{x}": "x'*A*x",
    r"\operatorname{tr}(A X^{-1})": "tr(A*X^-1)",
    r"\log\det X": "logdet(X)",
}


@pytest.mark.parametrize("printed", PRINTED)
def test_printed_formulas_are_read(printed: str) -> None:
    assert from_printed(printed) == PRINTED[printed]
    parse_formula(printed)


def test_declared_names_stay_whole() -> None:
    assert from_printed("xyᵀA", ["xy"]) == "xy'*A"
    assert parse_formula("‖loss‖²", "loss: vector(n)").declaration == "loss: vector(n)"


def test_bars_are_absolute_values() -> None:
    assert bars("sum(|x - |y||)*|z|") == "sum(abs(x - abs(y)))*abs(z)"
    assert str(parse_formula("sum(|x|)")) == "sum(abs(x))"
    with pytest.raises(FormulaError, match="has no meaning here"):
        parse_formula("|x")


def test_what_is_no_formula_is_refused() -> None:
    with pytest.raises(FormulaError, match="the character '∇' has no meaning here"):
        parse_formula("∇f²")
    with pytest.raises(FormulaError, match="the command .int has no meaning here"):
        parse_formula(r"\int x")


AGAIN = {
    "[1 − x > 0]": "where(1-x>0,1,0)",
    r"\left[ d \ge \left| x \right| \right]": "where(d>=abs(x),1,0)",
    "√prod(x)": "sqrt(prod(x))",
    r"\surd \left( x^{\top} x \right)": "sqrt(x'*x)",
    r"\frac{A x}{\surd \left( x^{\top} A x \right)}": "((A*x)/(sqrt(x'*A*x)))",
    r"{\left( 1 + x^{\top} x \right)}^{2}": "((1+x'*x))^2",
    "xˣ": "x^(x)",
    "⌊x⌋": "floor(x)",
    "‖x[1:] − x[:-1]‖²": "norm2(x[1:]-x[:-1])^2",
    "⅙x": "(1/6)*x",
    "AB ⊗ x": "A*B⊗x",
    r"A \otimes x": "A⊗x",
    "(A ⊗ B) ⊙ C": "(A⊗B) .* C",
    "xᵀ(y × z)": "x'*(y×z)",
    r"y \times z": "y×z",
    "2e₀e₁ᵀX": "2*eye[:,0]*eye[:,1]'*X",
    r"2\left( e_{0}^{\top} X e_{1} \right)": "2*(eye[:,0]'*X*eye[:,1])",
    "Ve₋₁e₀ᵀ": "V*eye[:,-1]*eye[:,0]'",
    r"V e_{-1}": "V*eye[:,-1]",
    "unvec(a, m, n)ᵀy": "unvec(a,m,n)'*y",
    "A⁺b": "A⁺*b",
    r"A^{+} b": "A⁺*b",
    "AA^†": "A*A⁺",
    "first_eigenvector(S)ᵀx": "first_eigenvector(S)'*x",
    r"\operatorname{first\_eigenvector}\left( S \right)^{\top} x": "first_eigenvector(S)'*x",
    "polygamma(2, x)²": "polygamma(2,x)^2",
}


@pytest.mark.parametrize("printed", AGAIN)
def test_what_the_package_prints_is_read(printed: str) -> None:
    assert from_printed(printed) == AGAIN[printed]


CROSSED = {
    "AB ⊗ x": "kron(A*B, x)",
    "A ⊗ B ⊗ C": "kron(kron(A, B), C)",
    "−A ⊗ B + C": "kron(-A, B) + C",
    "x × y": "cross(x, y)",
    "w × Rp − q": "cross(w, R*p) - q",
    "(x × y) × z": "cross(cross(x, y), z)",
    "2 × x": "2*x",
    r"3 \times 4 + x": "3*4 + x",
}


@pytest.mark.parametrize("printed", CROSSED)
def test_crosses_stand_between_sums_and_products(printed: str) -> None:
    assert str(parse_formula(printed)) == CROSSED[printed]


def test_chains_of_crosses_are_refused() -> None:
    with pytest.raises(
        FormulaError, match=r"a chain of × depends on where it begins[^w]*write \(a × b\) × c or a × \(b × c\)"
    ):
        parse_formula("x × y × z")
    with pytest.raises(FormulaError, match=r"a chain of ⊗ and × depends on where it begins"):
        parse_formula("x ⊗ y × z")
    with pytest.raises(
        FormulaError, match=r"cross needs vectors of size 3, found a scalar[^w]*a is a scalar\na product is written \*"
    ):
        parse_formula("a × b", "a: scalar, b: scalar")


def test_a_declared_name_is_no_unit_vector() -> None:
    assert from_printed("e₁ᵀx", ["e1"]) == "e1'*x"
    assert from_printed("e₁ᵀx", ["e_1"]) == "e_1'*x"
    assert from_printed("e₁ᵀx") == "eye[:,1]'*x"


def test_declared_names_with_underscores_stay_whole() -> None:
    assert from_printed("x_trainᵀx_train", ["x_train"]) == "x_train'*x_train"
    assert from_printed("A x_train²", ["x_train", "A"]) == "A*x_train^2"


def test_a_long_word_is_refused_at_once() -> None:
    with pytest.raises(FormulaError, match=r"a word of 2,000 letters is neither a name nor a product"):
        parse_formula("x" * 2000 + "²")


def test_names_are_found_inside_words() -> None:
    assert from_printed("AᵀdXAx", ["dX", "A", "x"]) == "A'*dX*A*x"
    assert from_printed(r"A^{\top} \, \mathrm{d}X \, A", ["dX", "A"]) == "A'*dX*A"
    assert from_printed("λx + μ", ["lambda", "mu", "x"]) == "λ*x+μ"
    assert from_printed("2π") == "2*pi"
