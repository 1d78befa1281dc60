"""The error of the text front end: it shows the formula with a caret under the place."""

from __future__ import annotations

from nablax.errors import NablaxError
from nablax.formula.syntax import Span

WINDOW = 72


class FormulaError(NablaxError, ValueError):
    """A formula, a declaration or a value for a variable that cannot be accepted.

    Args:
        reason: what was found, in one sentence.
        source: the whole text that was read; empty where there is none.
        span: the place in the source (character offsets); None where there is no place.
        advice: what would fit; may have several lines.

    Example:
        >>> print(FormulaError("unknown function 'sine'", "1 + sine(x)", Span(4, 8), "did you mean 'sin'?"))
        unknown function 'sine'
            1 + sine(x)
                ^~~~
        did you mean 'sin'?
    """

    def __init__(self, reason: str, source: str = "", span: Span | None = None, advice: str = "") -> None:
        self.reason = reason
        self.source = source
        self.span = span
        self.advice = advice
        place = [] if span is None or not source else point(source, span)
        super().__init__("\n".join([reason, *place, *([advice] if advice else [])]))

    def within(self, source: str) -> FormulaError:
        """The same error, shown inside this source text."""
        return FormulaError(self.reason, source, self.span, self.advice)

    def __reduce__(self) -> tuple[type[FormulaError], tuple[str, str, Span | None, str]]:
        return type(self), (self.reason, self.source, self.span, self.advice)


def point(source: str, span: Span) -> list[str]:
    """Two lines: the source (a window of it, where it is long) and a caret with tildes under the span.

    Args:
        source: the text; every white-space character is shown as one blank.
        span: character offsets; an empty span gets a caret alone.

    Returns:
        The two lines, indented by four blanks.

    Example:
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
