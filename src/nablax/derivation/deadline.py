"""How long a derivation may compute: what is late says what it has."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from nablax.errors import LateError

_END: ContextVar[float] = ContextVar("nablax_end_of_a_derivation", default=float("inf"))


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """A block that is to end in time.

    Args:
        seconds: of processor time, so that what is found does not depend on what else the machine does.
    """
    token = _END.set(min(_END.get(), time.thread_time() + seconds))
    try:
        yield
    finally:
        _END.reset(token)


@contextmanager
def unbounded() -> Iterator[None]:
    """A block that may take its time: what the engine compiles cannot be left halfway."""
    token = _END.set(float("inf"))
    try:
        yield
    finally:
        _END.reset(token)


def late() -> bool:
    """Whether the time is over: what is left is not made shorter."""
    return time.thread_time() > _END.get()


def in_time() -> None:
    """Ends the block where the time is over.

    Raises:
        LateError: it is.
    """
    if late():
        raise LateError
