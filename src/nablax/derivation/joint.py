"""What `derive` gives for several arguments: their gradients, and every block of the Hessian."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nablax.derivation.closed_form import ClosedForm
from nablax.derivation.lesson import joint_answers
from nablax.derivation.shown import Equations, Shown, notations
from nablax.printing.document import Section
from nablax.printing.labels import differential, function, partial

LAYOUT = "axes of a block: those of the first variable, then those of the second"


@dataclass(frozen=True, kw_only=True, repr=False)
class JointDerivation(Shown):
    """A function with its derivatives by several arguments in closed form.

    A block ∂²f/∂x∂A is the derivative of ∂f/∂x by A. With two axes or fewer it is written as an array: first the axes
    of x, then those of A. With more it is the linear map that takes a change of A to that of ∂f/∂x, or changes of x and
    A to that of f.

    Args:
        function: the function.
        wrt: the variables, in the order in which they were asked.
        differential: df, linear in the differentials of all variables.
        gradients: per variable the gradient, in its shape; of a function with axes, the Jacobian.
        blocks: per pair of variables the block of the Hessian; empty where only order 1 was asked.
        domain: conditions under which all of it holds.
        shapes: names of sizes per argument, and of f (g, … where an argument is called f).
        convention: how gradients and blocks are laid out.
        notes: what else is to be known.
        verification: what the check found.
        reading: how every name of a formula was read, as a declaration; empty for a function.
        fixed: what each fixed array of a function is that the closed forms name.

    Example:
        >>> from nablax.derivation import derive
        >>> found = derive("x'*A*y", ("x", "y"))
        >>> found.gradients["x"], found.blocks["x", "y"], found.blocks["y", "x"]
        (Ay, A, Aᵀ)
    """

    wrt: tuple[str, ...]
    gradients: Mapping[str, ClosedForm] = field(hash=False)
    blocks: Mapping[tuple[str, str], ClosedForm] = field(hash=False)

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables of differentiation."""
        return self.wrt

    def equations(self) -> Equations:
        """Function, differential, gradients and blocks with their left sides."""
        first = [(partial(self.called, [name]), form) for name, form in self.gradients.items()]
        second = [(partial(self.called, pair), form) for pair, form in self.blocks.items()]
        return (function(self.called), self.function), (differential(self.called), self.differential), *first, *second

    def _answers(self) -> Sequence[Section]:
        return joint_answers(self)

    def _derivatives(self) -> Sequence[ClosedForm]:
        return (*self.gradients.values(), *self.blocks.values())

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data that the ``json`` module writes."""
        return {
            "wrt": list(self.wrt),
            "gradients": {name: notations(form) for name, form in self.gradients.items()},
            "blocks": [{"rows": r, "columns": c, **notations(form)} for (r, c), form in self.blocks.items()],
            **self._known(),
        }
