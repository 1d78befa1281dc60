"""How much a derivation may compute: what is late says what it has.

Only a derivation is bounded: outside of one nothing is counted. Work is counted, not timed: what is found is the same
on every machine, whatever else it does. One unit is a factor that the rewriting of a product looks at, or an operation
that is read; a product of two terms of the engine costs a tenth of one, as each symbol of an expression that is tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from nablax.errors import LateError

UNITS_PER_SECOND = 12_500  # of one core; over the corpus 11,000 in products, 13,500 in tried expressions


@dataclass
class _Budget:
    """What is left, in units."""

    left: float


_BUDGET: ContextVar[_Budget | None] = ContextVar("nablax_budget_of_a_derivation", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """A block that ends after as much work as a core does in some seconds.

    Args:
        seconds: of a core that does `UNITS_PER_SECOND`.
    """
    token = _BUDGET.set(_Budget(seconds * UNITS_PER_SECOND))
    try:
        yield
    finally:
        _BUDGET.reset(token)


@contextmanager
def unbounded() -> Iterator[None]:
    """A block that may take its time: what the engine compiles cannot be left halfway."""
    token = _BUDGET.set(None)
    try:
        yield
    finally:
        _BUDGET.reset(token)


def spend(units: float) -> None:
    """Counts work that was done."""
    budget = _BUDGET.get()
    if budget is not None:
        budget.left -= units


def late() -> bool:
    """Whether nothing is left: what remains is not made shorter."""
    budget = _BUDGET.get()
    return budget is not None and budget.left < 0


def in_time() -> None:
    """Ends the block where nothing is left.

    Raises:
        LateError: it is so.
    """
    if late():
        raise LateError
