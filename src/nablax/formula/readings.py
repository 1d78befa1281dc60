"""The ways in which undeclared names can be read, the likeliest first."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping

from nablax.formula.typed import Kind

OTHER = {Kind.SCALAR: Kind.VECTOR, Kind.VECTOR: Kind.SCALAR}
# How much it takes to overrule a first letter: more to make x a scalar than to make b a vector.
COST = {Kind.SCALAR: 1, Kind.VECTOR: 2}


class Readings:
    """All readings in the order of their cost; what a refusal rules out is left out.

    Args:
        first: the kind that each name has by its first letter. Scalars may be vectors and vectors scalars;
            matrices stay.

    Example:
        >>> readings = Readings({"a": Kind.SCALAR, "x": Kind.VECTOR})
        >>> for cost, kinds in readings:
        ...     print(cost, *kinds.values())
        0 scalar vector
        1 vector vector
        2 scalar scalar
        3 vector scalar
    """

    def __init__(self, first: Mapping[str, Kind]) -> None:
        free = [name for name, kind in first.items() if kind in OTHER]
        self._first = first
        self._names = sorted(free, key=lambda name: COST[first[name]])
        # cost, how many names are overruled, which ones, which ones are settled
        self._waiting: list[tuple[int, int, tuple[int, ...], frozenset[int]]] = [(0, 0, (), frozenset())]
        self._refused: Collection[str] | None = None

    def __iter__(self) -> Iterator[tuple[int, dict[str, Kind]]]:
        """Gives what it costs to overrule the first letters, and a kind per name."""
        while self._waiting:
            cost, _, overruled, settled = heapq.heappop(self._waiting)
            chosen = {self._names[k] for k in overruled}
            self._refused = None
            yield cost, {name: OTHER[kind] if name in chosen else kind for name, kind in self._first.items()}
            self._part(cost, overruled, settled)

    def refuse(self, met: Collection[str]) -> None:
        """Rules out the last reading and all that agree with it on some names."""
        self._refused = met

    def _part(self, cost: int, overruled: tuple[int, ...], settled: frozenset[int]) -> None:
        """The other readings in parts, by the first name on which they differ from this one."""
        for k, name in enumerate(self._names):
            if k in overruled or k in settled or (self._refused is not None and name not in self._refused):
                continue
            more = tuple(sorted((*overruled, k)))
            heapq.heappush(self._waiting, (cost + COST[self._first[name]], len(more), more, settled))
            settled |= {k}
