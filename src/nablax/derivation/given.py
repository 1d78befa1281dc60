"""The function that is derived, as a closed form; numbers as the user writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nablax.derivation.closed_form import ClosedForm, closed_form
from nablax.derivation.from_formula import from_formula
from nablax.derivation.problem import Problem
from nablax.derivation.verify import Check
from nablax.derivation.write import with_columns
from nablax.formula import Operation
from nablax.printing.expression import Expression
from nablax.printing.rewrite import with_decimals


def formed(
    problem: Problem, expression: Expression, arguments: Mapping[str, tuple[str, ...]], called: str
) -> ClosedForm:
    """A closed form, with decimal numbers where the user writes such."""
    expression = with_columns(expression)
    formula = problem.formula
    if formula is not None:
        nodes = list(formula.expression.walk())
        values = [node.value for node in nodes if node.operation is Operation.NUMBER]
        if any(value is not None and not float(value).is_integer() for value in values):
            below = [node.operands[1].value for node in nodes if node.operation is Operation.DIVIDE]
            kept = {int(value) for value in below if value is not None and float(value).is_integer()}
            expression = with_decimals(expression, kept)
    return closed_form(expression, arguments, called)


def the_function(
    problem: Problem, check: Check, arguments: Mapping[str, tuple[str, ...]], otherwise: Callable[[], Expression]
) -> ClosedForm:
    """The function itself: as the user wrote it, if that evaluates to the right value."""
    written = None if problem.formula is None else from_formula(problem.formula)
    if written is not None:
        form = formed(problem, written, arguments, "function")
        if check.compare([form]).passed:
            return form
    return formed(problem, otherwise(), arguments, "function")
