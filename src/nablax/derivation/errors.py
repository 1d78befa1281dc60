"""What can go wrong when a closed form is asked for."""

from __future__ import annotations

from nablax.errors import NablaxError


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
