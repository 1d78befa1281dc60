"""Why a search or a minimiser stopped: enumerations whose values are sentences; they may be traced and mapped."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax


class SearchOutcome(eqx.Enumeration):
    """Why a line search stopped; `told` gives the sentence."""

    searching = "The search has not ended."
    converged = "The minimum lies within the tolerance of x."
    accepted = "The step fulfils the condition."
    at_end = "The function is smallest at an end of the interval, which need not hold a minimum inside."
    max_steps = "The limit of steps was reached first."
    not_finite = "The function is not a number, or minus infinity, at a point that was asked for."
    not_unimodal = "The function has more than one minimum on the interval: a point is higher than both its neighbours."
    no_minimum = "The slope does not go from negative to positive over the interval: it holds no minimum inside."
    uphill = "The slope at the start is not negative: the direction does not go downhill."
    underflow = "The step became too small to change anything; no step fulfils the condition in this precision."
    unbounded = "The function still falls at the longest step that is allowed."


class Status(eqx.Enumeration):
    """Why a minimiser stopped; `told` gives the sentence."""

    running = "The minimiser has not ended."
    converged = "The gradient is as small as asked."
    max_iterations = "The limit of iterations was reached first."
    stalled = "No step lowers the function further in this precision."
    not_finite = "No point near the last one has a finite value and gradient."
    unbounded = "The function falls without bound."
    interrupted = "It was interrupted; x is the best point so far."
    max_seconds = "The limit of time was reached first; x is the best point so far."


def first_of(kind: Any, *cases: tuple[Any, Any], otherwise: Any) -> Any:
    """The item of the first case that holds.

    Args:
        kind: the enumeration.
        cases: pairs of a truth value, which may be traced, and an item.
        otherwise: the item where none holds.

    Example:
        >>> found = first_of(Status, (False, Status.stalled), (True, Status.converged), otherwise=Status.running)
        >>> told(found)
        'The gradient is as small as asked.'
    """
    found = otherwise
    for holds, item in reversed(cases):
        found = kind.where(holds, item, found)
    return found


def number_of(item: Any) -> int:
    """The number that stands for an outcome in an array of integers.

    Args:
        item: a concrete item.
    """
    [number] = jax.tree.leaves(item)
    return int(number)


def is_item(item: Any, wanted: Any) -> Any:
    """Whether an outcome is a certain one, element by element where it is mapped.

    Of an outcome on the host, numpy tells: the comparison of the enumeration itself is a computation on the device,
    which takes longer than a short minimisation.

    Args:
        item: an outcome; it may be traced.
        wanted: a concrete item.
    """
    [number] = jax.tree.leaves(item)
    return number == number_of(wanted)


def item_of(number: int) -> Any:
    """The status that a number stands for; the reverse of `number_of`.

    Args:
        number: of an item of `Status`.
    """
    return _ITEMS[number]


def told(item: Any) -> str:
    """The sentence of an outcome; of a mapped one, all of them.

    Args:
        item: an item of one of the enumerations here.

    Example:
        >>> told(Status.converged)
        'The gradient is as small as asked.'
    """
    kinds: tuple[Any, ...] = (SearchOutcome, Status)
    [kind] = [kind for kind in kinds if isinstance(item, kind)]
    return str(kind[item])


_ITEMS = {
    number_of(item): item
    for item in (
        Status.running,
        Status.converged,
        Status.max_iterations,
        Status.stalled,
        Status.not_finite,
        Status.unbounded,
        Status.interrupted,
        Status.max_seconds,
    )
}
