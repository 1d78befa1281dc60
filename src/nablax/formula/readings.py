"""The ways in which undeclared names can be read, the likeliest first."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from nablax.formula.typed import Kind

OTHER = {Kind.SCALAR: Kind.VECTOR, Kind.VECTOR: Kind.SCALAR}
# How much it takes to overrule a first letter: more to make x a scalar than to make b a vector.
COST = {Kind.SCALAR: 1, Kind.VECTOR: 2}


def readings(first: Mapping[str, Kind], most: int) -> Iterator[tuple[int, dict[str, Kind]]]:
    """All readings in the order of their cost.

    Args:
        first: the kind that each name has by its first letter. Scalars may be vectors and vectors scalars;
            matrices stay.
        most: how many are given at most.

    Yields:
        What it costs to overrule the first letters, and a kind per name.

    Example:
        >>> for cost, kinds in readings({"a": Kind.SCALAR, "x": Kind.VECTOR}, 3):
        ...     print(cost, *kinds.values())
        0 scalar vector
        1 vector vector
        2 scalar scalar
    """
    free = [name for name, kind in first.items() if kind in OTHER]
    by_cost = sorted(free, key=lambda name: COST[first[name]])
    total = sum(COST[first[name]] for name in free)
    choices = (
        (cost, chosen)
        for cost in range(total + 1)
        for count in range(cost + 1)
        for chosen in itertools.combinations(by_cost, count)
        if sum(COST[first[name]] for name in chosen) == cost
    )
    for cost, chosen in itertools.islice(choices, most):
        yield cost, {name: OTHER[kind] if name in chosen else kind for name, kind in first.items()}
