"""The schedule: what of a chain is kept, and what is computed again, in least time within a bound.

Reversing the stretch [i, j) with m bytes either keeps all residuals, or advances to some k without keeping anything but
what crosses there, reverses [k, j), and then begins again at i:

    T(i, j, m)  =  F(i, j)                                                 if the residuals of [i, j) fit into m
                   min_k  F(i, k) + T(k, j, m - live(i, k)) + T(i, k, m)   otherwise

F is the time forward. This is the dynamic programme for chains with operations of any cost and size (Griewank and
Walther 2008, section 12.3; Beaumont et al. 2019); for equal ones it gives the binomial schedule. Memory is counted in
steps of a few percent of the bound, and cuts are considered at the narrowest places of the chain.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nablax.checkpoints.chain import Chain, size_of

# Cuts that are considered at most, and steps in which memory is counted.
MOST_CUTS = 72
LEVELS = 40

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Keep:
    """A stretch of the chain whose residuals are kept."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Split:
    """A stretch in two: the first part is computed again when it is reversed."""

    first: Schedule
    rest: Schedule


Schedule = Keep | Split


@dataclass(frozen=True, eq=False, slots=True)
class Found:
    """A schedule and what it takes.

    Args:
        schedule: the schedule.
        kept: bytes that reverse mode holds at most.
        again: seconds of what is computed again.
    """

    schedule: Schedule
    kept: float
    again: float


def cuts_of(chain: Chain) -> list[int]:
    """Places where a chain may be cut, both ends among them: of each stretch the narrowest."""
    count = len(chain.operations)
    if count <= MOST_CUTS:
        return list(range(count + 1))
    widths = _widths(chain)
    bounds = np.linspace(0, count, MOST_CUTS + 1).astype(int)
    inner = [int(a + np.argmin(widths[a:b])) for a, b in itertools.pairwise(bounds) if b > a]
    return sorted({0, count, *inner})


def _widths(chain: Chain) -> Array:
    """Bytes that cross each place."""
    count = len(chain.operations)
    steps = np.zeros(count + 2)
    for k, one in enumerate(chain.operations):
        for v in one.outputs:
            last = chain.last_read.get(v, -1)
            if last > k:
                steps[k + 1] += size_of(v)
                steps[last + 1] -= size_of(v)
    return np.cumsum(steps)[: count + 1]


def residuals(chain: Chain, cuts: Sequence[int]) -> Array:
    """Bytes that reverse mode keeps of the stretch between two cuts, beside what crosses into it."""
    count = len(cuts)
    found = np.zeros((count, count))
    for a in range(count - 1):
        seen, total = set(), 0.0
        for b in range(a + 1, count):
            for one in chain.operations[cuts[b - 1] : cuts[b]]:
                total += one.fresh
                for v in one.saved:
                    if v not in seen and chain.made.get(v, -1) >= cuts[a]:
                        seen.add(v)
                        total += size_of(v)
            found[a, b] = total
    return found


def crossings(chain: Chain, cuts: Sequence[int]) -> Array:
    """Bytes made between two cuts that are read from the second on."""
    count = len(cuts)
    found = np.zeros((count, count))
    place = {cut: k for k, cut in enumerate(cuts)}
    ends = np.asarray(cuts)
    for k, one in enumerate(chain.operations):
        for v in one.outputs:
            last = chain.last_read.get(v, -1)
            if last <= k:
                continue
            first = int(np.searchsorted(ends, k, side="right"))  # the first cut behind it
            final = int(np.searchsorted(ends, last, side="right"))  # cuts up to the last read
            found[:first, first:final] += size_of(v)
    assert len(place) == count
    return found


def schedule(chain: Chain, bound: float) -> Found | None:
    """The fastest schedule within a bound; None if there is none.

    Args:
        chain: the chain.
        bound: bytes that may be kept.
    """
    cuts = cuts_of(chain)
    inside, across = residuals(chain, cuts), crossings(chain, cuts)
    seconds = np.concatenate([[0.0], np.cumsum([one.seconds for one in chain.operations])])[cuts]
    if inside[0, -1] <= bound:
        return Found(Keep(0, cuts[-1]), float(inside[0, -1]), 0.0)
    table = _Table(inside, across, seconds, bound)
    found = table.schedule(0, len(cuts) - 1, LEVELS, cuts)
    if found is None:
        return None
    total = float(table.times[0, len(cuts) - 1, LEVELS])
    return Found(found, _held(found, cuts, inside, across), total - float(seconds[-1] - seconds[0]))


class _Table:
    """T(i, j, m) for all stretches and levels of memory, with the best cut of each."""

    def __init__(self, inside: Array, across: Array, seconds: Array, bound: float) -> None:
        count = len(seconds)
        unit = bound / LEVELS
        self.times = np.full((count, count, LEVELS + 1), np.inf)
        self.cut = np.full((count, count, LEVELS + 1), -1)
        self._levels = np.ceil(across / unit - 1e-9).astype(int)
        need = np.ceil(inside / unit - 1e-9)
        for width in range(1, count):
            for i in range(count - width):
                j = i + width
                if need[i, j] <= LEVELS:
                    self.times[i, j, int(need[i, j]) :] = seconds[j] - seconds[i]
                for k in range(i + 1, j):
                    taken = self._levels[i, k]
                    if taken > LEVELS:
                        continue
                    forward = seconds[k] - seconds[i]
                    total = np.full(LEVELS + 1, np.inf)
                    total[taken:] = forward + self.times[k, j, : LEVELS + 1 - taken] + self.times[i, k, taken:]
                    better = total < self.times[i, j] - 1e-15
                    self.times[i, j][better] = total[better]
                    self.cut[i, j][better] = k

    def schedule(self, i: int, j: int, level: int, cuts: Sequence[int]) -> Schedule | None:
        if not np.isfinite(self.times[i, j, level]):
            return None
        k = int(self.cut[i, j, level])
        if k < 0:
            return Keep(cuts[i], cuts[j])
        first = self.schedule(i, k, level, cuts)
        rest = self.schedule(k, j, level - int(self._levels[i, k]), cuts)
        assert first is not None
        assert rest is not None
        return Split(first, rest)


def _held(found: Schedule, cuts: Sequence[int], inside: Array, across: Array) -> float:
    place = {cut: k for k, cut in enumerate(cuts)}

    def ends(one: Schedule) -> tuple[int, int]:
        return (one.start, one.stop) if isinstance(one, Keep) else (ends(one.first)[0], ends(one.rest)[1])

    def held(one: Schedule) -> float:
        if isinstance(one, Keep):
            return float(inside[place[one.start], place[one.stop]])
        start, middle = ends(one.first)
        return max(held(one.first), float(across[place[start], place[middle]]) + held(one.rest))

    return held(found)


def least(chain: Chain) -> float:
    """About the smallest bound for which there is a schedule (bytes)."""
    cuts = cuts_of(chain)
    low, high = 0.0, float(residuals(chain, cuts)[0, -1])
    for _ in range(8):
        middle = (low + high) / 2
        if schedule(chain, middle) is None:
            low = middle
        else:
            high = middle
    return high


def stretches(found: Schedule, level: int = 0) -> list[tuple[int, int, int]]:
    """The stretches of a schedule: first operation, the one behind the last, and how often each is computed again."""
    if isinstance(found, Keep):
        return [(found.start, found.stop, level)]
    return [*stretches(found.first, level + 1), *stretches(found.rest, level)]
