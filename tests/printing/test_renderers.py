"""One expression in all four notations, with the full expected text."""

from __future__ import annotations

from fractions import Fraction

from nablax.printing.expression import Number, Power, Product, Scale, Sum, Symbol, Transpose
from nablax.printing.latex import latex
from nablax.printing.mathml import mathml
from nablax.printing.unicode import unicode

A = Symbol("A", ("m", "n"))
X, B = Symbol("x", ("n",)), Symbol("b", ("m",))
RESIDUAL = Sum((Product((A, X)), Scale(Fraction(-1), (), (), B)))
GRADIENT = Product((Transpose(A), RESIDUAL))
HALF = Scale(Fraction(1, 2), (Power(Symbol("t", ()), Number(Fraction(2))),), (), None)


def test_unicode() -> None:
    assert unicode(GRADIENT) == "Aᵀ(Ax − b)"
    assert unicode(HALF) == "½t²"


def test_latex() -> None:
    assert latex(GRADIENT) == r"A^{\top}\left( A x - b \right)"
    assert latex(HALF) == r"\frac{1}{2} \, t^{2}"


def test_mathml() -> None:
    assert mathml(HALF) == (
        '<math xmlns="http://www.w3.org/1998/Math/MathML"><mrow><mfrac><mn>1</mn><mn>2</mn></mfrac>'
        '<mspace width="0.17em"/><msup><mi>t</mi><mn>2</mn></msup></mrow></math>'
    )
