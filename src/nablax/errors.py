"""Every exception of the package. Each text says what was asked, what was found and what to do."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Protocol

import jax
import numpy as np

NEEDS_A_VALUE = (
    jax.errors.ConcretizationTypeError,  # bool(), int(), float(), and where JAX itself wants a value
    jax.errors.TracerArrayConversionError,  # a NumPy function
    jax.errors.TracerIntegerConversionError,  # a place in a Python list
    jax.errors.NonConcreteBooleanIndexError,  # a mask as an index
)
"""What JAX raises where a function needs the value of an argument while it is traced."""


class NablaxError(Exception):
    """Base of all errors that nablax raises on purpose."""


# -- questions about a function ----------------------------------------------------------------------------


class ArgumentError(NablaxError, TypeError):
    """An argument has the wrong type, dtype, shape or tree."""

    @classmethod
    def no_function(cls, verb: str, found: object) -> ArgumentError:
        """What a verb that needs a function says of something that cannot be called."""
        return cls(f"{verb} needs a function; it got a {type(found).__name__}. Pass the function itself.")


class OutputError(NablaxError, TypeError):
    """The function returns something that the question cannot be asked about."""


class StrategyError(NablaxError, ValueError):
    """A strategy or question that does not exist, or that cannot answer this question."""


class MemoryBoundError(NablaxError, MemoryError):
    """No strategy answers the question within the bound on peak memory."""


class DifferentiationError(NablaxError, NotImplementedError):
    """An operation that cannot be differentiated."""


class TracingError(NablaxError, TypeError):
    """The function cannot be traced: it needs the value of an argument, not only its shape."""

    @classmethod
    def of(cls, error: Exception) -> TracingError:
        """What to say instead of one of JAX's NEEDS_A_VALUE; names the user's own line.

        Args:
            error: what JAX raised.

        Returns:
            The error to raise from it.
        """
        line = users_line(error)
        where = f", at {line}," if line else ""
        said = str(error).strip().splitlines()[0]
        match error:
            case jax.errors.TracerArrayConversionError():
                found = (
                    f"gives{where} an array that is being traced to NumPy, which needs its numbers. Use the function "
                    "of that name in jax.numpy or jax.scipy"
                )
            case jax.errors.NonConcreteBooleanIndexError():
                found = (
                    f"takes{where} the elements of an array under a mask, so that the number of elements depends on "
                    "values. Use jax.numpy.where(mask, x, 0.0), or the argument where= of a reduction"
                )
            case jax.errors.TracerIntegerConversionError():
                found = (
                    f"uses{where} an array as an index of a Python list or as a Python int. Index an array in place "
                    "of the list, or pass that argument as a Python int, which stays static"
                )
            case _:
                found = (
                    f"needs{where} the value of an argument while it is traced (a Python 'if', 'while', 'int()' or "
                    "'float()' on an array). Use jax.numpy.where or jax.lax.cond, or pass that argument as a Python "
                    "int, bool or str, which stays static"
                )
        return cls(f"a derivative was asked of a function that {found}. JAX says: {said}")


class EquilibriumError(NablaxError, ArithmeticError):
    """A relaxation that does not settle, or an equilibrium that is not stable."""


class DomainError(NablaxError, ArithmeticError):
    """A node of a graph on numbers has no value or no derivative at the point; the text names it and its values."""


class DefinitionError(NablaxError, ValueError):
    """A function that cannot be defined: its rule is wrong, its name is taken, or what is given does not fit."""


class TargetError(NablaxError):
    """The command line's file, function or example arguments cannot be used."""


# -- closed forms ------------------------------------------------------------------------------------------


class DerivationError(NablaxError, ValueError):
    """A closed form that cannot be given; the text says why and what to do."""


class UnprintableError(DerivationError):
    """An operation without a notation.

    Args:
        operation: its name.
        line: the user's source line, where known.
    """

    def __init__(self, operation: str, line: str) -> None:
        self.operation = operation
        where = f" at {line}" if line else ""
        super().__init__(
            f"{operation}{where} has no closed form that could be printed; "
            "nablax.hessian and nablax.jacobian evaluate its derivatives"
        )


class VerificationError(DerivationError):
    """A closed form failed its check and is not shown."""


# -- formulas ----------------------------------------------------------------------------------------------

WINDOW = 72
"""Characters of a long source that are shown around the place of an error."""


class Place(Protocol):
    """Character offsets in a source, the end exclusive."""

    @property
    def start(self) -> int:
        """The first character."""

    @property
    def end(self) -> int:
        """One past the last."""


class FormulaError(NablaxError, ValueError):
    """A formula, a declaration or a value for a variable that cannot be accepted; a caret shows the place.

    Args:
        reason: what was found, in one sentence.
        source: the whole text that was read; empty where there is none.
        span: the place in the source (character offsets); None where there is no place.
        advice: what would fit; may have several lines.

    Example:
        >>> from nablax.formula.syntax import Span
        >>> print(FormulaError("unknown function 'sine'", "1 + sine(x)", Span(4, 8), "did you mean 'sin'?"))
        unknown function 'sine'
            1 + sine(x)
                ^~~~
        did you mean 'sin'?
    """

    def __init__(self, reason: str, source: str = "", span: Place | None = None, advice: str = "") -> None:
        self.reason = reason
        self.source = source
        self.span = span
        self.advice = advice
        place = [] if span is None or not source else point(source, span)
        super().__init__("\n".join([reason, *place, *([advice] if advice else [])]))

    def within(self, source: str) -> FormulaError:
        """The same error, shown inside this source text."""
        return FormulaError(self.reason, source, self.span, self.advice)

    def __reduce__(self) -> tuple[type[FormulaError], tuple[str, str, Place | None, str]]:
        return type(self), (self.reason, self.source, self.span, self.advice)


def point(source: str, span: Place) -> list[str]:
    """Two lines: the source (a window of it, where it is long) and a caret with tildes under the span.

    Args:
        source: the text; every white-space character is shown as one blank.
        span: character offsets; an empty span gets a caret alone.

    Returns:
        The two lines, indented by four blanks.

    Example:
        >>> from nablax.formula.syntax import Span
        >>> point("x + ", Span(4, 4))
        ['    x + ', '        ^']
    """
    shown = "".join(" " if letter.isspace() else letter for letter in source)
    first, last = span.start, max(span.end, span.start + 1)
    left = 0
    if len(shown) > WINDOW:
        left = max(0, min(first - WINDOW // 3, len(shown) - WINDOW))
        shown = shown[left : left + WINDOW]
    before, after = "…" if left else "", "…" if left + len(shown) < len(source) else ""
    column = first - left + len(before)
    tildes = max(0, min(last, left + len(shown)) - first - 1)
    return [f"    {before}{shown}{after}", "    " + " " * column + "^" + "~" * tildes]


# -- whose line it was -------------------------------------------------------------------------------------

LIBRARIES = tuple(str(Path(str(module.__file__)).resolve().parent) for module in (jax, np)) + (
    str(Path(__file__).resolve().parent),
)
"""Folders whose lines are not the user's: those of JAX, of NumPy and of this package."""


def users_line(error: BaseException) -> str:
    """The innermost line of the user's own code that an error passed through.

    Args:
        error: an error that was raised, with its traceback.

    Returns:
        ``file:line``; empty if every line is JAX's, NumPy's or nablax's own.
    """
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(("<frozen", *LIBRARIES))
        and not str(Path(frame.filename).resolve()).startswith(LIBRARIES)
    ]
    own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    return f"{own[-1].filename}:{own[-1].lineno}" if own else ""


# -- signals inside the package; no user sees them ---------------------------------------------------------


class LateError(Exception):
    """A derivation that takes longer than it may."""


class NotMatrices(Exception):
    """A network that matrix notation cannot express."""


class NotShown(Exception):
    """Something in a formula that is shown in the engine's form instead."""
