"""What `derive` gives: closed forms with their derivation, domain, shapes and check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nablax.derivation.closed_form import ClosedForm
from nablax.derivation.fixed import fixed_arrays
from nablax.derivation.lesson import lesson
from nablax.derivation.shown import Equations, Shown, notations, without_differential
from nablax.derivation.verify import Verification
from nablax.errors import DerivationError
from nablax.printing.code import code
from nablax.printing.document import Document
from nablax.printing.labels import Label, derivative, differential, function


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


@dataclass(frozen=True, repr=False)
class Derivation(Shown):
    """A function with its derivatives in closed form.

    Args:
        function: the function.
        wrt: the variable of differentiation.
        differential: df, linear in the differential of the variable.
        gradient: the gradient, in the shape of the argument; of a function with axes, the Jacobian.
        hessian: the Hessian; None where only order 1 was asked.
        higher: derivatives of order 3 and more, of a scalar function of a scalar.
        steps: the derivation by differentials.
        domain: conditions under which all of it holds.
        shapes: names of sizes per argument, and of f, ∇f and ∇²f (g, … where an argument is called f).
        convention: how gradient and Jacobian are laid out.
        notes: what else is to be known.
        reading: how every name of a formula was read, as a declaration; empty for a function.
        fixed: what each fixed array of a function is that the closed forms name.
        verification: what the check found.
    """

    function: ClosedForm
    wrt: str
    differential: ClosedForm
    gradient: ClosedForm
    hessian: ClosedForm | None
    higher: tuple[ClosedForm, ...]
    steps: tuple[DerivationStep, ...]
    domain: tuple[str, ...]
    shapes: Mapping[str, tuple[str, ...]] = field(hash=False)
    convention: str
    notes: tuple[str, ...]
    verification: Verification
    reading: str = ""
    fixed: tuple[str, ...] = ()

    def with_fixed_arrays(self) -> Derivation:
        """The same with a name for each fixed array of a function."""
        inside = [form for step in self.steps for form in (step.before, step.after)]
        shown = [form for _, form in self.equations()]
        change, sentences = fixed_arrays([*shown, *inside], [*self.shapes, f"d{self.wrt}"])
        return replace(
            self,
            function=change(self.function),
            differential=change(self.differential),
            gradient=change(self.gradient),
            hessian=None if self.hessian is None else change(self.hessian),
            higher=tuple(map(change, self.higher)),
            steps=tuple(DerivationStep(one.rule, change(one.before), change(one.after)) for one in self.steps),
            fixed=sentences,
        )

    def label(self, order: int) -> Label:
        """What the derivative of an order is called, in each notation."""
        rank = len(self.shapes[f"∇{self.called}"])
        return derivative(self.called, order, self.wrt, value_rank=len(self.value_shape), rank=rank)

    def equations(self) -> Equations:
        """Function, differential and derivatives with their left sides."""
        derivatives = [self.gradient, *(() if self.hessian is None else (self.hessian,)), *self.higher]
        labelled = [(self.label(order), form) for order, form in enumerate(derivatives, 1)]
        return (function(self.called), self.function), (differential(self.called), self.differential), *labelled

    def _displayed(self) -> Equations:
        return without_differential(self.equations())

    def explain(self, language: str = "numpy") -> Document:
        """The derivation as a lesson.

        It says what is asked, how every name is read, where that holds, the differential, each step with its rule and
        the reason for it, gradient and Hessian with their shapes, what the check found, and the code.

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
        return lesson(self, language)

    def code(self, language: str = "numpy") -> str:
        """Source of one function that gives the value, the gradient, the Hessian and what was asked of higher order.

        What they share is computed once, and products are multiplied in the planner's order. Where a derivative is a
        linear map, the function has one more argument, the direction, and gives what the map makes of it.

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
        forms = {"f": self.function, "gradient": self.gradient}
        forms |= {} if self.hessian is None else {"hessian": self.hessian}
        forms |= {form.called: form for form in self.higher}
        for form in (self.gradient, *forms.values()):
            if form.engine is not None:
                raise DerivationError(f"{form.unicode()} has no closed form to write as code; evaluate gives its value")
        first, second = self.shapes[f"∇{self.called}"], self.shapes.get(f"∇²{self.called}", ())
        shapes = {"f": self.value_shape, "gradient": first, "hessian": second}
        shapes = {name: shape for name, shape in shapes.items() if name in forms and not forms[name].is_map}
        expressions = {name: form.expression for name, form in forms.items()}
        return code(expressions, self.function.arguments, language, called="derivatives", shapes=shapes)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data that the ``json`` module writes.

        Returns:
            Text in all notations per closed form, the steps, domain, shapes and check.

        Example:
            >>> from nablax.derivation import derive
            >>> derive("x'*x").to_json()["gradient"]["unicode"]
            '2x'
        """
        return {
            "wrt": self.wrt,
            "function": notations(self.function),
            "differential": notations(self.differential),
            "gradient": _with_code(self.gradient),
            "hessian": None if self.hessian is None else _with_code(self.hessian),
            "higher": [_with_code(form) for form in self.higher],
            "steps": [
                {"rule": step.rule, "before": notations(step.before), "after": notations(step.after)}
                for step in self.steps
            ],
            **self._known(),
            "verification": {
                "points": self.verification.points,
                "differences": self.verification.differences,
                "text": str(self.verification),
            },
        }


def _with_code(form: ClosedForm) -> dict[str, str]:
    coded = {} if form.engine is not None else {language: form.code(language) for language in ("numpy", "jax")}
    return notations(form) | coded
