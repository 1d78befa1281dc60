"""Every exception of the package. Each text says what was asked, what was found and what to do."""

from __future__ import annotations


class NablaxError(Exception):
    """Base of all errors that nablax raises on purpose."""


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
