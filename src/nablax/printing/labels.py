"""Left sides of equations: what a derivative is called, in each notation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from nablax.printing.expression import Symbol
from nablax.printing.latex import latex
from nablax.printing.mathml import mathml
from nablax.printing.unicode import unicode

PRIMES = {1: "′", 2: "″", 3: "‴", 4: "⁗"}
POWERS = "⁰¹²³⁴⁵⁶⁷⁸⁹"


@dataclass(frozen=True)
class Label:
    """One left side.

    Args:
        unicode: as text.
        latex: for math mode.
        mathml: one element.
    """

    unicode: str
    latex: str
    mathml: str


def function(called: str) -> Label:
    """What a function is called."""
    return Label(called, called, f"<mi>{called}</mi>")


def differential(called: str) -> Label:
    """What the differential of a function is called."""
    return Label(f"d{called}", rf"\mathrm{{d}}{called}", f"<mrow><mi>d</mi><mi>{called}</mi></mrow>")


def derivative(called: str, order: int, wrt: str, *, value_rank: int, rank: int) -> Label:
    """What a derivative by one variable is called.

    Args:
        called: the function's name.
        order: how often it is taken.
        wrt: the variable.
        value_rank: axes of the function's value; the derivative of an array is ∂f/∂x.
        rank: axes of the first derivative; a number's by a number is f′.
    """
    power = f"^{{{order}}}" if order > 1 else ""
    if value_rank:
        return partial(called, [wrt] * order)
    if rank:
        name = f"∇{_power(order)}{called}"
        return Label(name, rf"\nabla{power} {called}", f"<mrow>{_raised('<mo>∇</mo>', order)}<mi>{called}</mi></mrow>")
    mark = PRIMES.get(order, f"⁽{_power(order)}⁾")
    above = "'" * order if order < 4 else rf"^{{({order})}}"
    number = f"<mrow><mo>(</mo><mn>{order}</mn><mo>)</mo></mrow>"
    return Label(f"{called}{mark}", f"{called}{above}", f"<msup><mi>{called}</mi>{number}</msup>")


def partial(called: str, variables: Sequence[str]) -> Label:
    """A derivative by several variables: ∂²f/∂x∂A."""
    order = len(variables)
    symbols = [(Symbol(name, ()), len(list(times))) for name, times in groupby(variables)]
    lower = "".join(rf"\partial {latex(one)}" + (f"^{{{times}}}" if times > 1 else "") for one, times in symbols)
    power = f"^{{{order}}}" if order > 1 else ""
    under = "".join(f"<mo>∂</mo>{_raised(_inside(mathml(one)), times)}" for one, times in symbols)
    return Label(
        f"∂{_power(order)}{called}/" + "".join(f"∂{unicode(one)}{_power(times)}" for one, times in symbols),
        rf"\frac{{\partial{power} {called}}}{{{lower}}}",
        f"<mfrac><mrow>{_raised('<mo>∂</mo>', order)}<mi>{called}</mi></mrow><mrow>{under}</mrow></mfrac>",
    )


def _power(order: int) -> str:
    return "".join(POWERS[int(digit)] for digit in str(order)) if order > 1 else ""


def _raised(base: str, order: int) -> str:
    return f"<msup>{base}<mn>{order}</mn></msup>" if order > 1 else base


def _inside(element: str) -> str:
    return element[element.index(">") + 1 : element.rindex("</math>")]
