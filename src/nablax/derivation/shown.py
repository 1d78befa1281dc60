"""What every derivation shows of itself: its equations and all that belongs to them, as text, LaTeX, HTML, code."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from html import escape
from typing import Any, Self

from nablax.derivation.closed_form import ClosedForm
from nablax.derivation.fixed import fixed_arrays
from nablax.derivation.lesson import lesson
from nablax.derivation.verify import Verification
from nablax.printing.code import code
from nablax.printing.document import Document, Section
from nablax.printing.labels import Label, equation

VALUE_NAMES = ("f", "g", "h", "F", "G", "H", "φ", "ψ")
Equations = Sequence[tuple[Label, ClosedForm]]


@dataclass(frozen=True)
class DerivationStep:
    """One step of the derivation by differentials.

    Args:
        rule: the rule's name.
        before: what it is applied to.
        after: what that equals.
    """

    rule: str
    before: ClosedForm
    after: ClosedForm

    def __str__(self) -> str:
        return f"{self.before} = {self.after}   [{self.rule}]"


@dataclass(frozen=True, kw_only=True, repr=False)
class Shown(ABC):
    """A function with derivatives in closed form.

    Args:
        function: the function.
        differential: df, linear in the differentials of the variables.
        domain: conditions under which all of it holds.
        shapes: names of sizes per argument, and of f (g, … where an argument is called f).
        convention: how derivatives are laid out.
        notes: what else is to be known.
        verification: what the check found.
        reading: how every name of a formula was read, as a declaration; empty for a function.
        fixed: what each fixed array of a function is that the closed forms name.
    """

    function: ClosedForm
    differential: ClosedForm
    domain: tuple[str, ...]
    shapes: Mapping[str, tuple[str, ...]] = field(hash=False)
    convention: str
    notes: tuple[str, ...]
    verification: Verification
    reading: str = ""
    fixed: tuple[str, ...] = ()

    @property
    @abstractmethod
    def variables(self) -> tuple[str, ...]:
        """The variables of differentiation."""

    @abstractmethod
    def equations(self) -> Equations:
        """Function, differential and derivatives with their left sides."""

    @abstractmethod
    def _answers(self) -> Sequence[Section]:
        """What a lesson says between the differential and the check."""

    @abstractmethod
    def _derivatives(self) -> Sequence[ClosedForm]:
        """What code gives beside the value."""

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
        rows = [equation(label, form.expression, is_block=True) for label, form in self._displayed()]
        said = [
            *([f"read as {self.reading}"] if self.reading else []),
            *self.fixed,
            *self.domain,
            str(self.verification),
        ]
        return "<div>" + "\n".join([*rows, f"<p>{'<br/>'.join(map(escape, said))}</p>"]) + "</div>"

    def explain(self, language: str = "numpy") -> Document:
        """The derivation as a lesson.

        It says what is asked, how every name is read, where that holds, the differential, each step with its rule and
        the reason for it (of several variables none), the derivatives with their shapes, what the check found, and the
        code.

        Args:
            language: of the code, see `code`.

        Returns:
            A document; ``print`` shows it as text, `markdown`, `latex` and `html` give it whole, and a notebook shows
            it with formulas.

        Raises:
            DerivationError: no such language, or one that lacks a function.

        Example:
            >>> from nablax.derivation import derive
            >>> print(derive("x'*x").explain().sections[3].title)
            Differential
        """
        return lesson(self, self._answers(), language)

    def code(self, language: str = "numpy") -> str:
        """Source of one function that gives the value and all derivatives.

        What they share is computed once, and products are multiplied in the planner's order. Where a derivative is a
        linear map, the function has one more argument, the direction (dA for a variable A; dA_1 and dA_2 where it
        takes two), and gives what the map makes of it.

        Args:
            language: "numpy", "jax", "torch", "julia", or "c" (C99: loops over arrays row by row; the function takes
                the lengths of the axes, the arguments, and pointers to what it writes, and gives 0, or 1 where there
                is no memory).

        Returns:
            Source text.

        Raises:
            DerivationError: no such language, one that lacks a function, or there are no closed forms.

        Example:
            >>> from nablax.derivation import derive
            >>> print(derive("1/2*norm2(A*x-b)^2", "x").code("torch"))
            import torch
            <BLANKLINE>
            <BLANKLINE>
            def derivatives(A, x, b):
                t1 = A @ x - b
                f = 0.5 * (t1 @ t1)
                gradient = A.T @ t1
                hessian = A.T @ A
                return f, gradient, hessian
            <BLANKLINE>
        """
        derivatives = self._derivatives()
        for form in (*derivatives, self.function):
            form.refuse_without_notation()
        expressions = {"f": self.function.expression} | {form.called: form.expression for form in derivatives}
        return code(expressions, self.function.arguments, language, called="derivatives")

    def with_fixed_arrays(self) -> Self:
        """The same with a name for each fixed array of a function."""
        change, sentences = fixed_arrays(
            list(_forms(self)), [*self.shapes, *(f"{letter}{name}" for name in self.variables for letter in "dD")]
        )

        def changed(value: Any) -> Any:
            match value:
                case ClosedForm():
                    return change(value)
                case DerivationStep(before=before, after=after):
                    return replace(value, before=change(before), after=change(after))
                case Mapping():
                    return {name: changed(one) for name, one in value.items()}
                case tuple():
                    return tuple(map(changed, value))
                case _:
                    return value

        forms = {one.name: changed(getattr(self, one.name)) for one in fields(self)}
        return replace(self, **forms | {"fixed": sentences})

    def _differentials(self) -> Sequence[str]:
        """Names that the differentials of the variables may have."""
        return [f"{letter}{name}" for name in self.variables for letter in "dD"]

    def _repr_latex_(self) -> str:
        return f"$${_aligned(self._displayed(), chr(10))}$$"

    def _repr_html_(self) -> str:
        return self.html()

    def _known(self) -> dict[str, Any]:
        """What all derivations have, as plain data."""
        return {
            "function": notations(self.function),
            "differential": notations(self.differential),
            "domain": list(self.domain),
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "convention": self.convention,
            "notes": list(self.notes),
            "reading": self.reading,
            "fixed": list(self.fixed),
            "verification": {
                "points": self.verification.points,
                "differences": self.verification.differences,
                "text": str(self.verification),
            },
        }


def _forms(value: Any) -> Iterator[ClosedForm]:
    """All closed forms of a record, in the order of its fields."""
    match value:
        case ClosedForm():
            yield value
        case Shown() | DerivationStep():
            yield from _forms(tuple(getattr(value, one.name) for one in fields(value)))
        case Mapping():
            yield from _forms(tuple(value.values()))
        case tuple():
            for one in value:
                yield from _forms(one)
        case _:
            pass


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
