"""What `derive` gives: closed forms with their derivation, domain, shapes and check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nablax.derivation.closed_form import ClosedForm
from nablax.derivation.lesson import answers
from nablax.derivation.shown import DerivationStep, Equations, Shown, notations, without_differential
from nablax.printing.document import Section
from nablax.printing.labels import Label, derivative, differential, function


@dataclass(frozen=True, kw_only=True, repr=False)
class Derivation(Shown):
    """A function with its derivatives by one variable in closed form.

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
        verification: what the check found.
        reading: how every name of a formula was read, as a declaration; empty for a function.
        fixed: what each fixed array of a function is that the closed forms name.
    """

    wrt: str
    gradient: ClosedForm
    hessian: ClosedForm | None
    higher: tuple[ClosedForm, ...]
    steps: tuple[DerivationStep, ...]

    @property
    def variables(self) -> tuple[str, ...]:
        """The variable of differentiation."""
        return (self.wrt,)

    def label(self, order: int) -> Label:
        """What the derivative of an order is called, in each notation."""
        rank = len(self.shapes[f"∇{self.called}"])
        return derivative(self.called, order, self.wrt, value_rank=len(self.value_shape), rank=rank)

    def equations(self) -> Equations:
        """Function, differential and derivatives with their left sides."""
        labelled = [(self.label(order), form) for order, form in enumerate(self._derivatives(), 1)]
        return (function(self.called), self.function), (differential(self.called), self.differential), *labelled

    def _displayed(self) -> Equations:
        return without_differential(self.equations())

    def _answers(self) -> Sequence[Section]:
        return answers(self)

    def _derivatives(self) -> Sequence[ClosedForm]:
        return (self.gradient, *(() if self.hessian is None else (self.hessian,)), *self.higher)

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
            "gradient": _with_code(self.gradient),
            "hessian": None if self.hessian is None else _with_code(self.hessian),
            "higher": [_with_code(form) for form in self.higher],
            "steps": [
                {"rule": step.rule, "before": notations(step.before), "after": notations(step.after)}
                for step in self.steps
            ],
            **self._known(),
        }


def _with_code(form: ClosedForm) -> dict[str, str]:
    coded = {} if form.engine is not None else {language: form.code(language) for language in ("numpy", "jax")}
    return notations(form) | coded
