"""What `derive` gives: closed forms with their derivation, domain, shapes and check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nablax.derivation.closed_form import ClosedForm
from nablax.derivation.verify import Verification
from nablax.errors import DerivationError
from nablax.printing.code import code

PRIMES = {3: "‴", 4: "⁗"}


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
class Derivation:
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
        shapes: names of sizes per argument, and of f, ∇f and ∇²f.
        convention: how gradient and Jacobian are laid out.
        notes: what else is to be known.
        reading: how every name of a formula was read, as a declaration; empty for a function.
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

    @property
    def _symbols(self) -> tuple[str, str]:
        if self.shapes["f"]:
            return f"∂f/∂{self.wrt}", f"∂²f/∂{self.wrt}²"
        return ("f′", "f″") if not self.shapes["∇f"] else ("∇f", "∇²f")

    def __str__(self) -> str:
        first, second = self._symbols
        lines = [f"read as {self.reading}"] if self.reading else []
        lines += [f"f = {self.function}", f"df = {self.differential}", f"{first} = {self.gradient}"]
        if self.hessian is not None:
            lines.append(f"{second} = {self.hessian}")
        lines += [f"f{PRIMES.get(k, f'⁽{k}⁾')} = {form}" for k, form in enumerate(self.higher, 3)]
        lines += [f"domain: {sentence}" for sentence in self.domain]
        listed = ", ".join(f"{name} {_shape(shape)}" for name, shape in self.shapes.items())
        lines += [f"shapes: {listed}; {self.convention}", *(f"note: {note}" for note in self.notes)]
        return "\n".join([*lines, str(self.verification)])

    def __repr__(self) -> str:
        return str(self)

    def latex(self) -> str:
        """All equations as one aligned block of LaTeX, for display."""
        first, second = (
            (rf"\frac{{\partial f}}{{\partial {self.wrt}}}", rf"\frac{{\partial^{{2}} f}}{{\partial {self.wrt}^{{2}}}}")
            if self.shapes["f"]
            else (r"\nabla f", r"\nabla^{2} f")
        )
        rows = [("f", self.function), (r"\mathrm{d}f", self.differential), (first, self.gradient)]
        if self.hessian is not None:
            rows.append((second, self.hessian))
        rows += [(f"f^{{({order})}}", form) for order, form in enumerate(self.higher, 3)]
        body = r" \\ ".join(f"{left} &= {form.latex()}" for left, form in rows)
        return rf"\begin{{aligned}} {body} \end{{aligned}}"

    def _repr_latex_(self) -> str:
        label = rf"\partial f / \partial {self.wrt}" if self.shapes["f"] else r"\nabla f" if self.shapes["∇f"] else "f'"
        lines = [f"f &= {self.function.latex()}", f"{label} &= {self.gradient.latex()}"]
        if self.hessian is not None:
            second = rf"\partial^2 f / \partial {self.wrt}^2" if self.shapes["f"] else r"\nabla^2 f"
            lines.append(f"{second if self.shapes['∇f'] else 'f' + chr(39) * 2} &= {self.hessian.latex()}")
        return "$$\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}$$"

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
        shapes = {"f": self.shapes["f"], "gradient": self.shapes["∇f"], "hessian": self.shapes.get("∇²f", ())}
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
            "function": _notations(self.function),
            "differential": _notations(self.differential),
            "gradient": _notations(self.gradient, python=True),
            "hessian": None if self.hessian is None else _notations(self.hessian, python=True),
            "higher": [_notations(form, python=True) for form in self.higher],
            "steps": [
                {"rule": step.rule, "before": _notations(step.before), "after": _notations(step.after)}
                for step in self.steps
            ],
            "domain": list(self.domain),
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "convention": self.convention,
            "notes": list(self.notes),
            "reading": self.reading,
            "verification": {
                "points": self.verification.points,
                "differences": self.verification.differences,
                "text": str(self.verification),
            },
        }


def _shape(shape: tuple[str, ...]) -> str:
    return "×".join(shape) if shape else "scalar"


def _notations(form: ClosedForm, *, python: bool = False) -> dict[str, str]:
    found = {"unicode": form.unicode(), "latex": form.latex(), "mathml": form.mathml()}
    if python and form.engine is None:
        found |= {"numpy": form.code("numpy"), "jax": form.code("jax")}
    return found
