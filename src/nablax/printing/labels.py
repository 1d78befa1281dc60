"""Left sides of equations: what a derivative is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from nablax.printing import latex, mathml, unicode
from nablax.printing.expression import Expression
from nablax.printing.layout import Fenced, Layout, Ratio, Style, Super, Word, row
from nablax.printing.typeset import name, typeset

PRIMES = {1: "′", 2: "″", 3: "‴", 4: "⁗"}
NABLA, PARTIAL = Word("∇", Style.MARK), Word("∂", Style.MARK)


@dataclass(frozen=True)
class Label:
    """One left side."""

    layout: Layout

    @property
    def unicode(self) -> str:
        """As text."""
        return unicode.text(self.layout)

    @property
    def latex(self) -> str:
        """For math mode."""
        return latex.text(self.layout)

    @property
    def mathml(self) -> str:
        """One element."""
        return mathml.element(self.layout)


def equation(left: Label, right: Expression, *, is_block: bool = False) -> str:
    """An equation as a ``<math>`` element.

    Args:
        left: its left side.
        right: its right side.
        is_block: whether it stands on a line of its own.
    """
    shown = mathml.mathml(right).replace(">", f">{left.mathml}<mo>=</mo>", 1)
    return shown.replace("<math ", '<math display="block" ', 1) if is_block else shown


def of(expression: Expression) -> Label:
    """An expression on the left."""
    return Label(typeset(expression))


def function(called: str) -> Label:
    """What a function is called."""
    return Label(name(called))


def differential(called: str) -> Label:
    """What the differential of a function is called."""
    return Label(name(f"d{called}"))


def derivative(called: str, order: int, wrt: str, *, value_rank: int, rank: int) -> Label:
    """What a derivative by one variable is called.

    Args:
        called: the function's name.
        order: how often it is taken.
        wrt: the variable.
        value_rank: axes of the function's value; the derivative of an array is ∂f/∂x.
        rank: axes of the first derivative; a number's by a number is f′.
    """
    if value_rank:
        return partial(called, [wrt] * order)
    if rank:
        return Label(row(_raised(NABLA, order), name(called)))
    mark: Layout = Fenced("(", Word(str(order), Style.NUMBER), ")")
    if order in PRIMES:
        mark = Word(PRIMES[order], Style.MARK)
    return Label(Super(name(called), mark))


def partial(called: str, variables: Sequence[str]) -> Label:
    """A derivative by several variables: ∂²f/∂x∂A."""
    below = [(PARTIAL, _raised(name(one), len(list(times)))) for one, times in groupby(variables)]
    above = row(_raised(PARTIAL, len(variables)), name(called))
    return Label(Ratio(above, row(*(part for pair in below for part in pair))))


def _raised(base: Layout, order: int) -> Layout:
    return Super(base, Word(str(order), Style.NUMBER)) if order > 1 else base
