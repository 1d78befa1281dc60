"""The check that the verbs of any order share."""

from __future__ import annotations

from typing import Any

from nablax.errors import ArgumentError


def check_order(verb: str, order: Any, least: int = 1) -> int:
    """An order, checked.

    Raises:
        ArgumentError: it is no whole number, or too small.

    Example:
        >>> check_order("derivative", 3)
        3
    """
    if isinstance(order, bool) or not isinstance(order, int) or order < least:
        raise ArgumentError(f"{verb} was asked for order={order!r}; an order is a whole number, at least {least}.")
    return order
