"""What shape rules share: the solver, and refusals that show shapes and operands at their place."""

from __future__ import annotations

from dataclasses import dataclass

from nablax.errors import FormulaError
from nablax.formula.parse import shortened
from nablax.formula.sizes import Shape, Size, SizeSolver
from nablax.formula.syntax import Span
from nablax.formula.typed import Typed

LONGEST_OPERAND = 40


@dataclass(frozen=True, slots=True)
class Site:
    """The formula whose shapes are being inferred.

    Args:
        source: the whole text, for messages.
        solver: what is known about sizes.
        scalars_by_default: names that are scalars only because of their first letter.
    """

    source: str
    solver: SizeSolver
    scalars_by_default: frozenset[str] = frozenset()

    def refusal(self, reason: str, span: Span, advice: str = "") -> FormulaError:
        """An error at a place of the formula."""
        return FormulaError(reason, self.source, span, advice)

    def shape(self, operand: Typed) -> str:
        """The shape of an operand in words, as far as it is known now: "a matrix (m, n)"."""
        return f"a {self.solver.show(operand.shape)}"

    def described(self, *operands: Typed) -> str:
        """One clause per operand: "A is a matrix (m, n), x is a vector (n)"."""
        clauses = (f"{shortened(str(operand), LONGEST_OPERAND)} is {self.shape(operand)}" for operand in operands)
        return ", ".join(dict.fromkeys(clauses))

    def mismatch(self, verb: str, left: Typed, right: Typed, span: Span, advice: str) -> FormulaError:
        """The refusal of two operands: both shapes in the first line, both operands below the caret."""
        reason = f"cannot {verb} {self.shape(left)} and {self.shape(right)}"
        lines = [self.described(left, right), advice]
        inside = dict.fromkeys(node.label for operand in (left, right) for node in operand.walk())
        undeclared = [name for name in inside if name in self.scalars_by_default]
        if undeclared:
            are = "is a scalar" if len(undeclared) == 1 else "are scalars"
            lines.append(f"{', '.join(undeclared)} {are} unless declared, for example '{undeclared[0]}: vector(n)'")
        return self.refusal(reason, span, "\n".join(lines))

    def common(self, verb: str, left: Typed, right: Typed, span: Span, advice: str = "") -> Shape:
        """The shape of an entrywise operation: of equal shapes, or of the one that is not a scalar."""
        if left.shape.is_scalar or right.shape.is_scalar:
            return right.shape if left.shape.is_scalar else left.shape
        if left.shape.rank == right.shape.rank == 1 and left.shape.is_row != right.shape.is_row:
            advice = advice or "transpose one of them by '"
        fits = "shapes have to be equal, or one operand a scalar"
        if not self.solver.unify_axes(left.shape, right.shape):
            raise self.mismatch(verb, left, right, span, f"{fits}; {advice}" if advice else fits)
        return left.shape

    def square(self, what: str, operand: Typed, span: Span) -> Size:
        """The size of a square matrix."""
        solver, axes = self.solver, operand.shape.axes
        if not operand.shape.is_matrix or not (solver.unify(*axes) or solver.unify_factors(*axes)):
            reason = f"{what} needs a square matrix, found {self.shape(operand)}"
            raise self.refusal(reason, span, self.described(operand))
        return operand.shape.axes[0]
