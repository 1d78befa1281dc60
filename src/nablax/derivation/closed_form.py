"""A closed form as the user meets it: printed in four ways, and evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from nablax.errors import DerivationError
from nablax.printing.expression import Expression, LinearMap
from nablax.printing.latex import latex
from nablax.printing.mathml import mathml
from nablax.printing.python import DEFINED, Library, identifier, python
from nablax.printing.unicode import unicode


@dataclass(frozen=True)
class ClosedForm:
    """A matrix expression with its arguments.

    Args:
        expression: the expression.
        arguments: names and shapes (names of sizes) of what it is a function of.
        called: the name that generated functions have.
        engine: evaluates it where the expression is only a name, because an operation has no notation.
    """

    expression: Expression
    arguments: Mapping[str, tuple[str, ...]] = field(hash=False)
    called: str = "closed_form"
    engine: Callable[..., Any] | None = field(default=None, repr=False, compare=False)

    def unicode(self) -> str:
        """One line of Unicode text."""
        return unicode(self.expression)

    def latex(self) -> str:
        """LaTeX, for math mode."""
        return latex(self.expression)

    def mathml(self) -> str:
        """A MathML ``<math>`` element."""
        return mathml(self.expression)

    def python(self, library: Library = "numpy") -> str:
        """Source of a function that evaluates the closed form.

        Args:
            library: "numpy" or "jax".

        Returns:
            Source text. An array of high order is a function of one more argument, the direction.
        """
        if library not in ("numpy", "jax"):
            raise DerivationError(f"Python source is written for 'numpy' or 'jax', not {library!r}")
        if self.engine is not None:
            raise DerivationError(f"{self.unicode()} has no closed form to write as Python; evaluate gives its value")
        return python(self.expression, self.arguments, library, called=self.called)

    def evaluate(self, **values: Any) -> npt.NDArray[np.float64]:
        """The value at a point, by the generated NumPy code; arrays of high order in full.

        Args:
            **values: an array per argument.

        Returns:
            The value as an array.

        Raises:
            DerivationError: an argument is missing or unknown.
        """
        missing = [name for name in self.arguments if name not in values]
        unknown = [name for name in values if name not in self.arguments]
        if missing or unknown:
            found = f"missing {', '.join(missing)}" if missing else f"unknown {', '.join(unknown)}"
            raise DerivationError(f"evaluate takes {', '.join(self.arguments)}; {found}")
        if self.engine is not None:
            return np.asarray(self.engine(**values), np.float64)
        expression = self.expression
        source = python(
            expression.tensor if isinstance(expression, LinearMap) else expression,
            self.arguments,
            called="_value",
        )
        space: dict[str, Any] = dict(DEFINED)
        # the source is printed by us from a closed set of kinds; names are identifiers of the grammar
        exec(compile(source, "<closed form>", "exec"), space)
        arrays = {identifier(name): np.asarray(value, np.float64) for name, value in values.items()}
        return np.asarray(space["_value"](**arrays), np.float64)

    def applied(self, direction: Any, **values: Any) -> npt.NDArray[np.float64]:
        """The printed linear map on a direction, by the generated NumPy code: what is shown, not its tensor."""
        assert isinstance(self.expression, LinearMap)
        space: dict[str, Any] = dict(DEFINED)
        exec(compile(self.python(), "<closed form>", "exec"), space)
        arrays = {identifier(name): np.asarray(value, np.float64) for name, value in values.items()}
        arrays[identifier(self.expression.argument.name)] = np.asarray(direction, np.float64)
        return np.asarray(space[self.called](**arrays), np.float64)

    def __str__(self) -> str:
        return self.unicode()


def closed_form(expression: Expression, arguments: Mapping[str, tuple[str, ...]], called: str) -> ClosedForm:
    """A closed form with read-only arguments."""
    return ClosedForm(expression, MappingProxyType(dict(arguments)), called)
