"""What every derivation shows of itself: its equations and what is to be known of them, as text, LaTeX and HTML."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import Any

from nablax.derivation.closed_form import ClosedForm
from nablax.derivation.verify import Verification
from nablax.printing.labels import Label

VALUE_NAMES = ("f", "g", "h", "F", "G", "H", "φ", "ψ")
Equations = Sequence[tuple[Label, ClosedForm]]


class Shown(ABC):
    """A record with equations."""

    function: ClosedForm
    domain: tuple[str, ...]
    shapes: Mapping[str, tuple[str, ...]]
    convention: str
    notes: tuple[str, ...]
    verification: Verification
    reading: str
    fixed: tuple[str, ...]

    @abstractmethod
    def equations(self) -> Equations:
        """All closed forms with their left sides."""

    @property
    def value_shape(self) -> tuple[str, ...]:
        """The names of the sizes of the function's value."""
        return self.shapes[self.called]

    @property
    def called(self) -> str:
        """What the function is called."""
        return value_name(self.function.arguments)

    def _displayed(self) -> Equations:
        """The equations that a notebook displays."""
        return self.equations()

    def __str__(self) -> str:
        lines = [f"read as {self.reading}"] if self.reading else []
        lines += [f"{label.unicode} = {form}" for label, form in self.equations()]
        lines += [*self.fixed, *(f"domain: {sentence}" for sentence in self.domain)]
        listed = ", ".join(f"{name} {'×'.join(shape) if shape else 'scalar'}" for name, shape in self.shapes.items())
        lines += [f"shapes: {listed}; {self.convention}", *(f"note: {note}" for note in self.notes)]
        return "\n".join([*lines, str(self.verification)])

    def __repr__(self) -> str:
        return str(self)

    def latex(self) -> str:
        """All equations as one aligned block of LaTeX, for display."""
        return _aligned(self.equations(), " ")

    def html(self) -> str:
        """The equations in MathML with what is to be known of them, as one element of HTML."""
        rows = [
            form.mathml().replace(">", f">{label.mathml}<mo>=</mo>", 1).replace("<math ", '<math display="block" ', 1)
            for label, form in self._displayed()
        ]
        said = [
            *([f"read as {self.reading}"] if self.reading else []),
            *self.fixed,
            *self.domain,
            str(self.verification),
        ]
        return "<div>" + "\n".join([*rows, f"<p>{'<br/>'.join(map(escape, said))}</p>"]) + "</div>"

    def _repr_latex_(self) -> str:
        return f"$${_aligned(self._displayed(), chr(10))}$$"

    def _repr_html_(self) -> str:
        return self.html()

    def _known(self) -> dict[str, Any]:
        """What is to be known of the equations, as plain data."""
        return {
            "domain": list(self.domain),
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "convention": self.convention,
            "notes": list(self.notes),
            "reading": self.reading,
            "fixed": list(self.fixed),
        }


def value_name(arguments: Collection[str]) -> str:
    """What the function is called beside its arguments: f, or the next letter that none of them has."""
    names = itertools.chain(VALUE_NAMES, (f"f{k}" for k in itertools.count()))
    return next(name for name in names if not {name, f"d{name}"} & set(arguments))


def without_differential(equations: Equations) -> Equations:
    """The function and its derivatives."""
    return [equations[0], *equations[2:]]


def notations(form: ClosedForm) -> dict[str, str]:
    """A closed form in the notations of mathematics."""
    return {"unicode": form.unicode(), "latex": form.latex(), "mathml": form.mathml()}


def _aligned(equations: Equations, between: str) -> str:
    lines = rf" \\{between}".join(f"{label.latex} &= {form.latex()}" for label, form in equations)
    return rf"\begin{{aligned}}{between}{lines}{between}\end{{aligned}}"
