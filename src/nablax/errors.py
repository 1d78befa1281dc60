"""Every exception of the package. Each text says what was asked, what was found and what to do."""

from __future__ import annotations

from typing import Protocol


class NablaxError(Exception):
    """Base of all errors that nablax raises on purpose."""


# -- questions about a function ----------------------------------------------------------------------------


class ArgumentError(NablaxError, TypeError):
    """An argument has the wrong type, dtype, shape or tree."""


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


# -- signals inside the package; no user sees them ---------------------------------------------------------


class NotMatrices(Exception):
    """A network that matrix notation cannot express."""


class NotShown(Exception):
    """Something in a formula that is shown in the engine's form instead."""
