"""A closed form as the user meets it: printed in four ways, and evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from nablax.errors import DerivationError
from nablax.printing.code import code
from nablax.printing.expression import Expression, LinearMap
from nablax.printing.languages import DEFINED
from nablax.printing.latex import latex
from nablax.printing.mathml import mathml
from nablax.printing.unicode import unicode


@dataclass(frozen=True, repr=False)
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

    @property
    def is_map(self) -> bool:
        """Whether it is a linear map of one direction or two, because its array has more than two axes."""
        return isinstance(self.expression, LinearMap)

    @property
    def directions(self) -> Mapping[str, tuple[str, ...]]:
        """Names and shapes of the directions of a linear map; empty where it is none."""
        found = self.expression.arguments if isinstance(self.expression, LinearMap) else ()
        return {symbol.name: symbol.shape for symbol in found}

    def unicode(self) -> str:
        """One line of Unicode text."""
        return unicode(self.expression)

    def latex(self) -> str:
        """LaTeX, for math mode."""
        return latex(self.expression)

    def mathml(self) -> str:
        """A MathML ``<math>`` element."""
        return mathml(self.expression)

    def code(self, language: str = "numpy") -> str:
        """Source of a function that evaluates the closed form.

        Args:
            language: "numpy", "jax", "torch", "julia" or "c".

        Returns:
            Source text. An array of high order is a function of more arguments, the directions.

        Raises:
            DerivationError: no such language, one that lacks a function, or there is no closed form.

        Example:
            >>> from nablax.derivation import derive
            >>> print(derive("1/2*norm2(A*x-b)^2", "x").gradient.code("julia"))
            using LinearAlgebra
            <BLANKLINE>
            <BLANKLINE>
            function gradient(A, x, b)
                return A' * (A * x - b)
            end
            <BLANKLINE>
        """
        self.refuse_without_notation()
        return code({self.called: self.expression}, self.arguments, language, called=self.called)

    def refuse_without_notation(self) -> None:
        """Refuses to write what is only a name that the engine evaluates.

        Raises:
            DerivationError: it is such a name.
        """
        if self.engine is not None:
            raise DerivationError(f"{self.unicode()} has no closed form to write as code; evaluate gives its value")

    def evaluate(self, /, *positional: Any, **values: Any) -> npt.NDArray[np.float64]:
        """The value at a point, by the generated NumPy code; arrays of high order in full.

        Args:
            *positional: arrays in the order of `arguments`.
            **values: arrays by name.

        Returns:
            The value as an array.

        Raises:
            DerivationError: an argument is missing or unknown, or shapes do not fit.

        Example:
            >>> from nablax.derivation import derive
            >>> derive("x'*x").gradient(x=[1.0, 2.0])
            array([2., 4.])
        """
        arrays = self._arrays(positional, values)
        if self.engine is not None:
            return np.asarray(self.engine(**arrays), np.float64)
        return np.asarray(self._value(*arrays.values()), np.float64)

    __call__ = evaluate

    def at(self, point: Mapping[str, Any]) -> npt.NDArray[np.float64]:
        """The value at a point whose arrays fit, also where they are shorter than a declared length."""
        arrays = {name: point[name] for name in self.arguments}
        if self.engine is not None:
            return np.asarray(self.engine(**arrays), np.float64)
        return np.asarray(self._value(*arrays.values()), np.float64)

    def applied(self, directions: Sequence[Any], point: Mapping[str, Any]) -> npt.NDArray[np.float64]:
        """The printed linear map on its directions, by the generated NumPy code: what is shown, not its tensor."""
        return np.asarray(self._map(*(point[name] for name in self.arguments), *directions), np.float64)

    @cached_property
    def _value(self) -> Callable[..., Any]:
        expression = self.expression
        return self._compiled(expression.tensor if isinstance(expression, LinearMap) else expression)

    @cached_property
    def _map(self) -> Callable[..., Any]:
        return self._compiled(self.expression)

    def _compiled(self, expression: Expression) -> Callable[..., Any]:
        """NumPy's function of an expression, multiplied as it comes: it runs a few times at small sizes."""
        return _compiled(
            code({"value": expression}, self.arguments, called="value", is_weighed=False, is_guarded=False)
        )

    def _arrays(self, positional: tuple[Any, ...], values: Mapping[str, Any]) -> dict[str, npt.NDArray[np.float64]]:
        """The arguments in order, as arrays whose sizes fit together."""
        takes = f"evaluate takes {', '.join(self.arguments) or 'no arguments'}"
        if len(positional) > len(self.arguments):
            raise DerivationError(f"{takes}; found {len(positional)} by position")
        given = dict(zip(self.arguments, positional, strict=False))
        twice = [name for name in values if name in given]
        given |= values
        missing = [name for name in self.arguments if name not in given]
        unknown = [name for name in given if name not in self.arguments]
        if twice or missing or unknown:
            listed = (("missing", missing), ("unknown", unknown), ("given twice", twice))
            raise DerivationError(f"{takes}; " + ", ".join(f"{word} {', '.join(n)}" for word, n in listed if n))
        arrays = {name: np.asarray(given[name], np.float64) for name in self.arguments}
        sizes: dict[str, tuple[int, str]] = {}
        for name, shape in self.arguments.items():
            found = arrays[name].shape
            if len(found) != len(shape):
                raise DerivationError(f"{name} has shape {found}, but it is {_words(shape)}")
            for axis, (size, length) in enumerate(zip(shape, found, strict=True)):
                expected, by = (int(size), "") if size.isdigit() else sizes.setdefault(size, (length, f" by {name}"))
                if "·" not in size and "*" not in size and length != expected:
                    where = f"axis {axis} of {name} has size {length}, but it has to be {size}"
                    raise DerivationError(where + (f" = {expected}{by}" if by else ""))
        return arrays

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.expression, dict(self.arguments), self.called, self.engine)

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def __repr__(self) -> str:
        return self.unicode()

    def __str__(self) -> str:
        return self.unicode()


def closed_form(expression: Expression, arguments: Mapping[str, tuple[str, ...]], called: str) -> ClosedForm:
    """A closed form with read-only arguments."""
    return ClosedForm(expression, MappingProxyType(dict(arguments)), called)


def _restored(
    expression: Expression,
    arguments: dict[str, tuple[str, ...]],
    called: str,
    engine: Callable[..., Any] | None,
) -> ClosedForm:
    return ClosedForm(expression, MappingProxyType(arguments), called, engine)


def _words(shape: tuple[str, ...]) -> str:
    kind = ("a scalar", "a vector", "a matrix")[len(shape)] if len(shape) < 3 else "an array"
    return f"{kind} ({', '.join(shape)})" if shape else kind


def _compiled(source: str) -> Callable[..., Any]:
    """The function of a source that is printed by this package, from a closed set of kinds."""
    space: dict[str, Any] = dict(DEFINED)
    exec(compile(source, "<closed form>", "exec"), space)
    name = source[source.rindex("\ndef ") + 5 :].partition("(")[0]  # a variable of that name moves the function's
    found: Callable[..., Any] = space[name]
    return found
