"""Values at places that others hold already: added there, by numbering places along strides instead of sorting them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nablax.contraction.index import NOWHERE, Label, Positions, along, tabulated
from nablax.endings.pattern import Pattern
from nablax.endings.runs import Coordinates, Run, concatenated, flattened, gathered
from nablax.graph.graph import Graph
from nablax.graph.node import Node
from nablax.ops.kinds import AxesMap

# A run that holds so many times the values of all others takes these in; adding them there is a scatter.
LEAST_HOST = 3
# Above so many values, places are not sorted: that takes seconds for each million.
LARGE = 1 << 19
# Of a run's values, the share from which others are added to it by reading for each of them, not by writing: a scatter
# is several times slower.
READ = 8

# Places are numbered so many at a time, within a processor's cache.
CHUNK = 1 << 15


def collected(graph: Graph, runs: Sequence[Run]) -> Coordinates:
    """Runs one after the other, values at one place added.

    Args:
        graph: makes the values.
        runs: at least one.

    Returns:
        Values and positions; no position twice.
    """
    return _inside(graph, runs) or _large(graph, runs)


def _large(graph: Graph, runs: Sequence[Run]) -> Coordinates:
    large = sum(run.value.size for run in runs) > LARGE
    return _hosted(graph, runs) if large else gathered(graph, runs)


def _inside(graph: Graph, runs: Sequence[Run]) -> Coordinates | None:
    """All runs in the largest one, where its box holds the places of the others.

    A dense block under a sparse one is not sorted: the others are added into it at places that its strides number.
    """
    host = max(
        (run for run in runs if run.places is None and run.strides), key=lambda run: run.value.size, default=None
    )
    if host is None or len(runs) == 1:
        return None
    rest = [run for run in runs if run is not host]
    if LEAST_HOST * sum(run.value.size for run in rest) > host.value.size:
        return None
    others = _large(graph, rest)
    stands, numbered = _numbered(host, others.positions)
    if stands.size < others.pattern.size:
        return None
    label = Label(numbered.size)
    extent = host.value.size
    target = tabulated((label,), numbered, extent)
    added = graph.index_map((AxesMap((along(label),), (target,)),), (others.values,), (extent,))
    return Coordinates(graph.add([flattened(graph, host.value), added]), Pattern((host.part,)))


def _numbered(host: Run, places: Positions) -> tuple[Positions, Positions]:
    """Which of some places belong to a run, and the number of each of these in its grid."""
    which, numbers = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for start in range(0, places.size, CHUNK):
        left = places[start : start + CHUNK] - host.start
        number, stands = np.zeros(left.size, np.int64), np.ones(left.size, np.bool_)
        for size, stride in zip(host.sizes, host.strides, strict=True):
            digit, left = np.divmod(left, stride)
            stands &= (digit >= 0) & (digit < size)
            number = number * size + digit
        [own] = np.nonzero(stands & (left == 0))
        which.append(own + start)
        numbers.append(number[own])
    return np.concatenate(which), np.concatenate(numbers)


@dataclass(eq=False)
class _Host:
    """A run that keeps its places, and what is added there.

    Args:
        run: the run; affine.
        added: values on one axis, which of them, the number of the place of each, and whether no number stands twice.
    """

    run: Run
    added: list[tuple[Node, Positions, Positions, bool]] = field(default_factory=list)

    @property
    def last(self) -> int:
        """The greatest place."""
        return self.run.start + sum(s * (n - 1) for n, s in zip(self.run.sizes, self.run.strides, strict=True))

    def values(self, graph: Graph) -> Node:
        """The sum, on one axis."""
        own = flattened(graph, self.run.value)
        extent = self.run.value.size
        parts = [own]
        for values, which, numbers, once in self.added:
            if once and READ * numbers.size > extent:
                table = np.full(extent, NOWHERE)
                table[numbers] = which
                parts.append(taken(graph, values, table))
                continue
            label = Label(numbers.size)
            source = tabulated((label,), which, values.shape[0])
            target = tabulated((label,), numbers, extent)
            parts.append(graph.index_map((AxesMap((source,), (target,)),), (values,), (extent,)))
        return graph.add(parts)


def taken(graph: Graph, values: Node, table: Positions) -> Node:
    """Values at static places along one axis; nothing at those outside."""
    label = Label(table.size)
    source = tabulated((label,), table, values.shape[0])
    return graph.index_map((AxesMap((source,), (along(label),)),), (values,), (table.size,))


def _hosted(graph: Graph, runs: Sequence[Run]) -> Coordinates:
    """Many runs one after the other; values at places of a larger run are added to that.

    What stands in no larger run is left: where it meets others of the kind, it is sorted.
    """
    hosts: list[_Host] = []
    parts: list[tuple[Run, Positions, int]] = []  # which values of a run are left, and past how many hosts
    for run in sorted(runs, key=lambda one: (one.places is not None, -one.value.size)):
        left = _into(graph, hosts, run, None)
        if left is None and run.places is None and run.strides:
            hosts.append(_Host(run))
        elif left is None or left.size:
            parts.append((run, np.arange(run.value.size) if left is None else left, len(hosts)))
    loose: list[tuple[Run, bool]] = []
    for run, which, seen in parts:
        found = _into(graph, hosts[seen:], run, which)
        kept = which if found is None else found
        if kept.size:
            whole = kept.size == run.value.size
            value = flattened(graph, run.value)
            value = value if whole else taken(graph, value, kept)
            places = run.positions() if whole else run.positions()[kept]
            loose.append((Run(value, value.shape, 0, (), places), run.places is None))
    values, parts_held = [host.values(graph) for host in hosts], [host.run.part for host in hosts]
    match loose:
        case []:
            pass
        case [(run, True)]:
            values.append(run.value)
            parts_held.append(run.part)
        case _:
            rest = gathered(graph, [run for run, _ in loose])
            values.append(rest.values)
            parts_held += rest.pattern.parts
    return Coordinates(concatenated(graph, values), Pattern(tuple(parts_held)))


def _into(graph: Graph, hosts: Sequence[_Host], run: Run, which: Positions | None) -> Positions | None:
    """Values of a run given to the hosts at whose places they stand.

    Args:
        graph: makes nodes.
        hosts: no two of them share a place.
        run: the run.
        which: of its values; None for all.

    Returns:
        Those that stand in no host; None if that is all that was given.
    """
    if not hosts:
        return None
    places = run.positions() if which is None else run.positions()[which]
    chosen = which
    for host in hosts:
        if not places.size:
            break
        if int(np.min(places)) > host.last or int(np.max(places)) < host.run.start:
            continue
        stands, numbers = _numbered(host.run, places)
        if not stands.size:
            continue
        own = stands if chosen is None else chosen[stands]
        host.added.append((flattened(graph, run.value), own, numbers, run.places is None))
        kept = np.ones(places.size, np.bool_)
        kept[stands] = False
        places, chosen = places[kept], np.flatnonzero(kept) if chosen is None else chosen[kept]
    return None if chosen is which else chosen
