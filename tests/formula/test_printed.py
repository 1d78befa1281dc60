"""What printed formulas mean: how tightly signs bind, how far functions reach, and what is refused."""

from __future__ import annotations

import pytest

from nablax.derivation import derive
from nablax.formula import FormulaError, parse_formula
from nablax.formula.paste import bars, from_printed, is_printed

TIGHTNESS = {
    "xᵀAx/xᵀx": "x'*A*x/(x'*x)",
    "(x − μ)²/2σ²": "(x-μ)^2/(2*σ^2)",
    "1/xᵀx": "1/(x'*x)",
    "ab²/cd": "a*b^2/(c*d)",
    "a/b·c²": "a/b*c^2",
    "x ⊙ Ay/2": "x .* (A*y/2)",
    "A ⊗ x ⊙ Bz": "A⊗x .* (B*z)",
    "−x²": "-x^2",
    "1/2 xᵀAx": "(1/2)*x'*A*x",
    "1/2‖x‖²": "(1/2)*norm2(x)^2",
    "1/2(x + y)ᵀz": "(1/2)*(x+y)'*z",
    "1/2 + x²": "1/2+x^2",
}
REACH = {
    "tr X²": "tr(X^2)",
    "tr XᵀX": "tr(X'*X)",
    "log det Σ⁻¹": "logdet(Σ^-1)",
    "log det XᵀX": "logdet(X'*X)",
    "½ log det Σ": "(1/2)*logdet(Σ)",
    r"\ln\det X": "logdet(X)",
    "log xᵀx": "log(x'*x)",
    "exp xᵀy": "exp(x'*y)",
    r"\sin 2x": "sin(2*x)",
    r"\sin x^2": "sin(x^2)",
    r"\log 2x": "log(2*x)",
    r"\sum x^2": "sum(x^2)",
    "∑x²": "sum(x^2)",
    r"\exp x": "exp(x)",
    "sin x cos y": "sin(x)*cos(y)",
    "2 sin x exp(y) z": "2*sin(x)*exp(y)*z",
    "log(x)²": "log(x)^2",
    "tr(A)B": "tr(A)*B",
    "log det(A) B": "logdet(A)*B",
    "tanh²(x)": "tanh(x).^2",
    "sin² x": "sin(x).^2",
    r"\sin^2 x": "sin(x).^2",
    "λlog det Σ": "λ*logdet(Σ)",
    "√x": "sqrt(x)",
    "√2x": "sqrt(2)*x",
    "√(x + 1)": "sqrt(x+1)",
    "√‖x‖": "sqrt(norm2(x))",
    "√π": "sqrt(pi)",
    "√(2π)": "sqrt(2*pi)",
    "exp(−½xᵀx)/√(2π)": "exp(-(1/2)*x'*x)/sqrt(2*pi)",
    r"\sqrt2 x": "sqrt(2)*x",
    r"\sqrt{x^Tx}": "sqrt(x'*x)",
    "½log|Σ|": "(1/2)*log(abs(Σ))",
    r"\log|X|": "log(abs(X))",
    r"\sum \log x": "sum(log(x))",
}
LATEX = {
    r"\mathrm{Tr}(XX^T)": "tr(X*X')",
    r"\operatorname{tr} X": "tr(X)",
    r"\text{det} X": "det(X)",
    "Tr(AX²)": "tr(A*X^2)",
    r"\|\mathrm{loss}\|^2": "norm2(loss)^2",
    r"\|x\|_\infty": "norm(x,inf)",
    r"\|Ax - b\|_2^2": "norm(A*x-b,2)^2",
    r"a\circ b": "a .* b",
    "a ∘ b": "a .* b",
    r"\frac12 x": "((1)/(2))*x",
    r"\frac1n x": "((1)/(n))*x",
    r"\dfrac{1}{2}x": "((1)/(2))*x",
    r"\frac{x^{y^T}}{2}": "((x^(y'))/(2))",
    r"$\tfrac{1}{2}\left\|x\right\|^2$": "((1)/(2))*norm2(x)^2",
    r"\alpha x\beta": "α*x*β",
    r"\log\sigma(Xw)": "log(sigmoid(X*w))",
    r"\psi^Tx + \psi(y)": "ψ'*x+psi(y)",
}
EXPONENTIALS = {
    "e⁻ˣ": "exp(-x)",
    "eˣ": "exp(x)",
    "Ae⁻ˣ": "A*exp(-x)",
    "e^{-x^T x}": "exp(-x'*x)",
    "e^{2x}y": "exp(2*x)*y",
    "eᵀx": "e'*x",
    "½e": "(1/2)*e",
    "e²": "e^2",
}
WITHOUT_SIGNS = {
    "2W(s − x)": "2*W*(s-x)",
    "2L": "2*L",
    "4x": "4*x",
    "log det(A + tB)": "logdet(A+t*B)",
    "⟨x, Ax⟩": "<x,A*x>",
    "2 L": "2*L",
    "B A": "B*A",
    "x'A x": "x'*A*x",
}


@pytest.mark.parametrize("printed", TIGHTNESS | REACH | LATEX | EXPONENTIALS | WITHOUT_SIGNS)
def test_meaning(printed: str) -> None:
    expected = (TIGHTNESS | REACH | LATEX | EXPONENTIALS | WITHOUT_SIGNS)[printed]
    assert is_printed(printed)
    assert from_printed(printed) == expected


def test_bars_are_norms_and_absolute_values() -> None:
    assert bars("||A*x-b||^2") == "norm2(A*x-b)^2"
    assert str(parse_formula("||A*x-b||^2").expression) == str(parse_formula("norm2(A*x-b)^2").expression)
    assert from_printed("|x||y|") == "abs(x)*abs(y)"
    assert str(parse_formula("1/|a||b|").expression) == "1/(abs(a)*abs(b))"
    assert bars("||x|| + |y|*||z||_1") == "norm2(x) + abs(y)*norm(z, 1)"
    assert bars("|x - |y||") == "abs(x - abs(y))"
    assert from_printed("∥x∥²") == "norm2(x)^2"
    assert from_printed("‖X‖_F²‖y‖₁|z|") == "norm2(X)^2*norm(y,1)*abs(z)"
    assert bars("||x||y|") == "||x||y|"


def test_a_declared_e_is_a_number_like_others() -> None:
    assert from_printed("e⁻ˣ", ["e"]) == "e^(-x)"
    assert from_printed("e^{x}", ["e"]) == "e^(x)"


def test_words_that_could_be_names_stay_whole() -> None:
    assert [name for name in ("tr(AD)", "BA", "AXB + C", "loss x") if is_printed(name)] == []
    assert list(parse_formula("tr(AXB)").variables) == ["AXB"]
    assert list(parse_formula("BA").variables) == ["BA"]


def test_letters_that_functions_are_printed_by() -> None:
    assert str(parse_formula("sum(Φ(x))").expression) == "sum(Phi(x))"
    assert str(parse_formula("sum(σ(A*x))").expression) == "sum(sigmoid(A*x))"
    assert from_printed("Φ(x)²") == from_printed(r"\Phi\left( x \right)^2") == "Phi(x)^2"
    assert from_printed("y²/σ²", ["y", "σ"]) == "y^2/σ^2"


@pytest.mark.parametrize("printed", ["f(x)²", "2f(x)", r"f\left(x\right)^2"])
def test_what_looks_like_a_function_is_none_of_its_letters(printed: str) -> None:
    with pytest.raises(FormulaError, match=r"unknown function 'f'[^?]*a product is written f\*\(…\), an entry f\[0\]"):
        parse_formula(printed)
    assert from_printed(printed, ["f"]).removeprefix("2*") in ("f*(x)^2", "f*(x)")


def test_a_condition_is_no_nested_list() -> None:
    assert str(parse_formula("[x > 0]").expression) == str(parse_formula("where(x > 0, 1, 0)").expression)
    assert str(parse_formula("[['exp','x'],'+',2]").expression) == "exp(x) + 2"


def test_a_letter_that_stands_elsewhere_is_a_factor() -> None:
    assert from_printed("f²f(x)") == "f^2*f*(x)"
    with pytest.raises(FormulaError, match="unknown function 'exq'[^?]*did you mean 'exp'?"):
        parse_formula("‖exq(Ax)‖²")


REFUSED = {
    "1/2σ²": """\
1/2σ² can be read in two ways
    1/2σ²
    ^~~~~
write 1/(2σ²) or (1/2)σ²""",
    "√xᵀx": """\
√xᵀx can be read in two ways
    √xᵀx
    ^~~~
write √(xᵀx) or (√x)ᵀx""",
    "√x²": """\
√x² can be read in two ways
    √x²
    ^~~
write √(x²) or (√x)²""",
    "√(1 + x)²": """\
√(1 + x)² can be read in two ways
    √(1 + x)²
    ^~~~~~~~~
write √((1 + x)²) or (√(1 + x))²""",
    "∑x log x": """\
whether the sum goes over the function behind it too is not said
    sum x log x
    ^~~
write sum(…)""",
    "sin⁻¹(x)": """\
sin with this power could be its inverse or that of its value
    sin⁻¹(x)
    ^~~~~
write 1/sin(…), or the inverse function by its name""",
    "2 3x": """\
two numbers stand side by side
    2 3x
      ^
write · between factors""",
    "x² +": """\
the printed formula ends too early
    x² +
        ^
write the formula as plain text""",
    "2x)": """\
found ')' in a printed formula
    2x)
      ^
write the formula as plain text""",
    r"\|\mathrm{softplus2}(x)\|^2": r"""unknown function 'softplus2'
    \|\mathrm{softplus2}(x)\|^2
      ^~~~~~~~~~~~~~~~~~
a product is written softplus2 \cdot (…)""",
    "log2 x²": """\
unknown function 'log2'
    log2(x^2)
    ^~~~~~~~~
write log(x)/log(2)""",
    "log10(x)": """\
unknown function 'log10'
    log10(x)
    ^~~~~~~~
write log(x)/log(10)""",
}


@pytest.mark.parametrize("printed", REFUSED)
def test_refusal(printed: str) -> None:
    with pytest.raises(FormulaError) as caught:
        parse_formula(printed)
    assert str(caught.value) == REFUSED[printed]


def test_a_greek_letter_and_its_name_are_one_variable() -> None:
    assert list(parse_formula("alpha*α*x'*x").variables) == ["alpha", "x"]
    assert list(parse_formula("α_1*x'*x + alpha_1").variables) == ["α_1", "x"]
    found = parse_formula("½α‖x‖²", "alpha: positive")
    assert found.variables["alpha"].positive
    assert list(parse_formula(r"\lambda x^Tx", "lambda: scalar").variables) == ["lambda", "x"]
    assert parse_formula("2*π*a").expression == parse_formula("2*pi*a").expression
    assert str(derive("λ*x'*x", "lambda", order=1).gradient) == "xᵀx"
    with pytest.raises(FormulaError, match="α is declared twice"):
        parse_formula("α*x", "alpha: scalar, α: scalar")
    with pytest.raises(FormulaError) as caught:
        parse_formula("α + A*x + alpha*z*z", "alpha: scalar")
    assert "    α + A*x + alpha*z*z" in str(caught.value)


def test_a_word_of_declared_names_is_refused() -> None:
    with pytest.raises(FormulaError) as caught:
        parse_formula("tr(AXB)", "A: matrix(n,n), X: matrix(n,n), B: matrix(n,n)")
    assert str(caught.value) == (
        "A, X and B are declared, but the formula has AXB\n    tr(AXB)\n       ^~~\na product is written A*X*B"
    )
    with pytest.raises(FormulaError, match="A and x are declared, but the formula has Ax"):
        parse_formula("||Ax||^2", "A: matrix(n,n), x: vector(n)")
    with pytest.raises(FormulaError, match="x is declared, but the formula has xx"):
        parse_formula("xx + 1", "x: scalar")
