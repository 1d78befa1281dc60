"""What `derive` gives for several arguments: their gradients, and every block of the Hessian."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nablax.derivation.closed_form import ClosedForm
from nablax.derivation.fixed import fixed_arrays
from nablax.derivation.lesson import joint_lesson
from nablax.derivation.shown import Equations, Shown, notations
from nablax.derivation.verify import Verification
from nablax.printing.code import code
from nablax.printing.document import Document
from nablax.printing.labels import differential, function, partial

LAYOUT = "axes of a block: those of the first variable, then those of the second"


@dataclass(frozen=True, repr=False)
class JointDerivation(Shown):
    """A function with its derivatives by several arguments in closed form.

    A block ∂²f/∂x∂A is the derivative of ∂f/∂x by A. With two axes or fewer it is written as an array: first the axes
    of x, then those of A. With more it is the linear map that takes a change of A to that of ∂f/∂x.

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

    function: ClosedForm
    wrt: tuple[str, ...]
    differential: ClosedForm
    gradients: Mapping[str, ClosedForm] = field(hash=False)
    blocks: Mapping[tuple[str, str], ClosedForm] = field(hash=False)
    domain: tuple[str, ...]
    shapes: Mapping[str, tuple[str, ...]] = field(hash=False)
    convention: str
    notes: tuple[str, ...]
    verification: Verification
    reading: str = ""
    fixed: tuple[str, ...] = ()

    def with_fixed_arrays(self) -> JointDerivation:
        """The same with a name for each fixed array of a function."""
        forms = [form for _, form in self.equations()]
        change, sentences = fixed_arrays(forms, [*self.shapes, *(f"d{name}" for name in self.wrt)])
        return replace(
            self,
            function=change(self.function),
            differential=change(self.differential),
            gradients={name: change(form) for name, form in self.gradients.items()},
            blocks={pair: change(form) for pair, form in self.blocks.items()},
            fixed=sentences,
        )

    def equations(self) -> Equations:
        """Function, differential, gradients and blocks with their left sides."""
        first = [(partial(self.called, [name]), form) for name, form in self.gradients.items()]
        second = [(partial(self.called, pair), form) for pair, form in self.blocks.items()]
        return (function(self.called), self.function), (differential(self.called), self.differential), *first, *second

    def code(self, language: str = "numpy") -> str:
        """Source of one function that gives the value, all gradients and all blocks; see `Derivation.code`.

        Args:
            language: "numpy", "jax", "torch", "julia" or "c".

        Returns:
            Source text. A block that is a linear map takes a direction: the function has one more argument for it,
            named dA for a variable A.

        Raises:
            DerivationError: no such language, or one that lacks a function.

        Example:
            >>> from nablax.derivation import derive
            >>> print(derive("x'*A*y", ("x", "y"), order=1).code())
            import numpy as np
            <BLANKLINE>
            <BLANKLINE>
            def derivatives(x, A, y):
                gradient_x = A @ y
                f = x @ gradient_x
                gradient_y = A.T @ x
                return f, gradient_x, gradient_y
            <BLANKLINE>
        """
        forms = {"f": self.function}
        forms |= {f"gradient_{name}": form for name, form in self.gradients.items()}
        forms |= {f"hessian_{row}_{column}": form for (row, column), form in self.blocks.items()}
        value = self.value_shape
        arguments = self.function.arguments
        shapes = {"f": value} | {f"gradient_{name}": (*value, *arguments[name]) for name in self.wrt}
        shapes |= {f"hessian_{a}_{b}": (*value, *arguments[a], *arguments[b]) for a, b in self.blocks}
        for (row, _), name in zip(self.blocks, [name for name in forms if name.startswith("hessian")], strict=True):
            if forms[name].is_map:  # what the map gives
                shapes[name] = (*value, *arguments[row])
        expressions = {name: form.expression for name, form in forms.items()}
        return code(expressions, arguments, language, called="derivatives", shapes=shapes)

    def explain(self, language: str = "numpy") -> Document:
        """The derivation as a lesson: as `Derivation.explain`, with the gradients and the blocks in place of the steps.

        Args:
            language: of the code, see `code`.

        Returns:
            A document.
        """
        return joint_lesson(self, language)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data that the ``json`` module writes."""
        return {
            "wrt": list(self.wrt),
            "function": notations(self.function),
            "differential": notations(self.differential),
            "gradients": {name: notations(form) for name, form in self.gradients.items()},
            "blocks": [{"rows": r, "columns": c, **notations(form)} for (r, c), form in self.blocks.items()],
            **self._known(),
            "verification": {"points": self.verification.points, "differences": self.verification.differences},
        }
