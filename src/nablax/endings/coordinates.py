"""Values at static positions: the sparse ending, and the way in which many scattered terms are gathered at once.

A term whose sides are index maps holds one value per point of the grid of its open labels; where each of them goes is
known when planning. Positions that several terms share are coalesced then, so that running is nothing but products.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nablax.contraction.index import Index, Label, Positions, affine, along, on_grid
from nablax.contraction.term import Axes, elements, within
from nablax.endings.hosts import collected, taken
from nablax.endings.meeting import met
from nablax.endings.pattern import Pattern
from nablax.endings.runs import Coordinates, Run, flattened
from nablax.graph.contraction_rows import reshaped_units
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm
from nablax.ops.kinds import AxesMap


def count(terms: Iterable[NodeTerm]) -> int:
    """Number of values that the terms hold, positions that they share counted each time."""
    return sum(elements(term.open_labels) for term in terms)


def coordinates(graph: Graph, terms: Sequence[tuple[NodeTerm, int, tuple[int, ...]]], dtype: Any) -> Coordinates:
    """Terms as values at distinct static positions.

    Args:
        graph: makes the values.
        terms: each with the place of its first element in the flattened answer, and the step in place along each of
            its axes (all sides, one after the other).
        dtype: dtype of the values.

    Returns:
        Values and positions; no position twice.
    """
    runs = [run for term, offset, steps in terms if (run := _written(graph, term, offset, steps, dtype)) is not None]
    return _collected(graph, _boxes(graph, _alike(graph, runs)), dtype)


def gathered_at(graph: Graph, terms: Sequence[tuple[NodeTerm, Positions]], dtype: Any) -> Coordinates:
    """Terms as values at distinct positions, each given the position of every value.

    Args:
        graph: makes the values.
        terms: each with the positions of its values, over the grid of its open labels; one term has none twice.
        dtype: dtype of the values.
    """
    runs = []
    for term, places in terms:
        value = _over(graph, term, term.open_labels, dtype)
        runs.append(Run(value, value.shape, 0, (), places))
    return _collected(graph, _alike(graph, runs), dtype)


def _collected(graph: Graph, runs: Sequence[Run], dtype: Any) -> Coordinates:
    """Runs one after the other, values at one place added."""
    if not runs:
        return Coordinates(graph.full(0.0, (0,), dtype), Pattern(()))
    return collected(graph, runs)


def _written(graph: Graph, term: NodeTerm, offset: int, steps: tuple[int, ...], dtype: Any) -> Run | None:
    found = met(graph, term, dtype)
    if found is None:
        whole = within(term)
        return None if whole is None else _run(graph, whole, offset, steps, dtype)
    # a box of values, of which those at places are kept
    axes = tuple(index for side in found.term.sides for index in side)
    _, strides = _numbering(axes, offset, steps)
    labels = sorted(found.term.open_labels, key=lambda label: -strides[label])
    kept, places = found.reached(labels), np.full([label.size for label in labels], offset, dtype=np.int64)
    for index, step in zip(axes, steps, strict=True):
        at = on_grid(index, labels)
        kept, places = kept & (at >= 0) & (at < index.extent), places + step * at
    return _chosen(graph, _over(graph, found.term, labels, dtype), places, kept)


def _run(graph: Graph, term: NodeTerm, offset: int, steps: tuple[int, ...], dtype: Any) -> Run | None:
    axes = tuple(index for side in term.sides for index in side)
    labels = term.open_labels
    if elements(labels) == 0:
        return None
    if all(index.table is None for index in axes):
        start, strides = _numbering(axes, offset, steps)
        if all(strides[label] > 0 for label in labels if label.size > 1):
            order = tuple(sorted((x for x in labels if x.size > 1), key=lambda label: -strides[label]))
            if _distinct(order, strides):
                value = _over(graph, term, order, dtype)
                return Run(value, value.shape, start, tuple(strides[label] for label in order), None)
    places = np.full([label.size for label in labels], offset, dtype=np.int64)
    for index, step in zip(axes, steps, strict=True):
        places = places + step * on_grid(index, labels)
    value = _over(graph, term, labels, dtype)
    stands = _stands(term, labels)
    if stands.all():
        return Run(value, value.shape, 0, (), places.ravel())
    return _chosen(graph, value, places, stands)


def _stands(term: NodeTerm, labels: Sequence[Label]) -> npt.NDArray[np.bool_]:
    """Over the grid of the open labels, where no factor is read outside its axes."""
    stands = np.ones([1] * len(labels), np.bool_)
    for index in (index for factor in term.factors for index in factor.axes):
        if index.leaves and {*index.labels} <= {*labels}:
            at = on_grid(index, labels)
            stands = stands & (at >= 0) & (at < index.extent)
    return stands


def _chosen(graph: Graph, value: Node, places: Positions, kept: npt.NDArray[np.bool_]) -> Run | None:
    """The values of a grid that are kept, in the order of their places."""
    flat = places.ravel()
    [chosen] = np.nonzero(np.broadcast_to(kept, places.shape).ravel())
    if not chosen.size:
        return None
    chosen = chosen[np.argsort(flat[chosen], kind="stable")]
    found = taken(graph, flattened(graph, value), chosen)
    return Run(found, found.shape, 0, (), flat[chosen])


def _numbering(axes: Axes, offset: int, steps: tuple[int, ...]) -> tuple[int, dict[Label, int]]:
    """The place at label values zero and the step in place along each label, of affine axes."""
    start = offset
    strides = {label: 0 for index in axes for label in index.labels}
    for index, step in zip(axes, steps, strict=True):
        start += step * index.offset
        for label, stride in zip(index.labels, index.strides, strict=True):
            strides[label] += step * stride
    return start, strides


def _distinct(order: Sequence[Label], strides: dict[Label, int]) -> bool:
    """Whether an affine numbering with falling strides meets no place twice."""
    reach = 0
    for label in reversed(order):
        if strides[label] <= reach:
            return False
        reach += strides[label] * (label.size - 1)
    return True


def _over(graph: Graph, term: NodeTerm, labels: Sequence[Label], dtype: Any) -> Node:
    """The values of a term over its open labels; labels of size one are left out where not listed."""
    dropped = {label: Index((), 1) for label in term.open_labels if label not in labels}
    inner = term.substitute(dropped) if dropped else term
    side: Axes = tuple(along(label) for label in labels)
    return graph.multiply(inner.replace(sides=(side,)), dtype)


def _alike(graph: Graph, runs: Sequence[Run]) -> list[Run]:
    """Runs on the same places, added."""
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        table = None if run.places is None else run.places.tobytes()
        groups.setdefault((run.sizes, run.start, run.strides, table), []).append(run)
    return [
        group[0]
        if len(group) == 1
        else Run(
            graph.add([run.value for run in group]), group[0].sizes, group[0].start, group[0].strides, group[0].places
        )
        for group in groups.values()
    ]


def _boxes(graph: Graph, runs: Sequence[Run]) -> list[Run]:
    """Affine runs that overlap and together fill a box are padded to the box and added: no number is scattered."""
    families: dict[tuple[int, ...], list[Run]] = {}
    apart = []
    for run in sorted(runs, key=lambda one: -len(one.strides)):
        if run.places is not None:
            apart.append(run)
            continue
        home = next((s for s in families if s != run.strides and _within(run, s, families[s])), run.strides)
        families.setdefault(home, []).append(run if home == run.strides else _embedded(graph, run, home))
    return [*(joined for family in families.values() for joined in _box(graph, family)), *apart]


def _embedded(graph: Graph, run: Run, strides: tuple[int, ...]) -> Run:
    """A run as a box of more axes, the new ones of length one."""
    place = dict(zip(run.strides, run.sizes, strict=True))
    sizes = tuple(place.get(stride, 1) for stride in strides)
    return Run(reshaped_units(graph, run.value, sizes), sizes, run.start, strides, None)


def _box(graph: Graph, family: Sequence[Run]) -> list[Run]:
    """Runs along the same strides, those that overlap and fill a box together joined."""
    strides = family[0].strides
    if len(family) < 2 or not strides:
        return list(family)
    lanes: dict[int, list[tuple[Run, tuple[int, ...]]]] = {}
    for run in family:
        corner, rest = _digits(run.start, strides)
        lanes.setdefault(rest, []).append((run, corner))
    joined: list[Run] = []
    for rest, lane in lanes.items():
        for group in _touching(lane):
            low = tuple(min(corner[k] for _, corner in group) for k in range(len(strides)))
            high = tuple(max(corner[k] + run.sizes[k] for run, corner in group) for k in range(len(strides)))
            shape = tuple(h - l for l, h in zip(low, high, strict=True))
            if len(group) == 1 or not _filled(group, low, shape) or not _falls(shape, strides):
                joined += [run for run, _ in group]
                continue
            padded = [
                _padded(graph, run.value, [c - l for c, l in zip(corner, low, strict=True)], shape)
                for run, corner in group
            ]
            start = rest + sum(l * s for l, s in zip(low, strides, strict=True))
            joined.append(Run(graph.add(padded), shape, start, strides, None))
    return joined


def _touching(lane: Sequence[tuple[Run, tuple[int, ...]]]) -> list[list[tuple[Run, tuple[int, ...]]]]:
    """Groups of boxes that overlap, directly or through others."""
    waiting = list(lane)
    groups = []
    while waiting:
        group, seen = [waiting.pop(0)], 0
        while seen < len(group):
            near = [pair for pair in waiting if _overlap(pair, group[seen])]
            waiting = [pair for pair in waiting if not any(pair is other for other in near)]
            group += near
            seen += 1
        groups.append(group)
    return groups


def _within(run: Run, strides: tuple[int, ...], family: Sequence[Run]) -> bool:
    """Whether a run along some of the strides of a family begins inside one of its boxes."""
    if not set(run.strides) <= set(strides):
        return False
    corner, rest = _digits(run.start, strides)
    for other in family:
        theirs, lane = _digits(other.start, strides)
        if lane == rest and all(0 <= c - t < n for c, t, n in zip(corner, theirs, other.sizes, strict=True)):
            return True
    return False


def _digits(place: int, strides: Sequence[int]) -> tuple[tuple[int, ...], int]:
    """A place as steps along each stride, largest first, and what is left.

    The larger strides take the nearest number of steps: a neighbour in a grid is a step along one stride less a step
    along another.
    """
    found = []
    for stride in strides[:-1]:
        found.append((2 * place + stride) // (2 * stride))
        place -= found[-1] * stride
    found.append(place // strides[-1])
    return tuple(found), place - found[-1] * strides[-1]


def _overlap(a: tuple[Run, tuple[int, ...]], b: tuple[Run, tuple[int, ...]]) -> bool:
    return all(x < y + n and y < x + m for x, y, m, n in zip(a[1], b[1], a[0].sizes, b[0].sizes, strict=True))


def _filled(group: Sequence[tuple[Run, tuple[int, ...]]], low: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether boxes together leave no hole in the box around them."""
    if any(run.sizes == tuple(shape) for run, _ in group):
        return True
    seen = np.zeros(shape, dtype=bool)
    for run, corner in group:
        seen[tuple(slice(c - l, c - l + n) for c, l, n in zip(corner, low, run.sizes, strict=True))] = True
    return bool(seen.all())


def _falls(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether the box around some runs still meets no place twice."""
    reach = 0
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if stride <= reach:
            return False
        reach += stride * (size - 1)
    return True


def _padded(graph: Graph, value: Node, corner: Sequence[int], shape: Sequence[int]) -> Node:
    source = tuple(along(Label(n)) for n in value.shape)
    target = tuple(
        affine([(index.labels[0], 1)], start, extent)
        for index, start, extent in zip(source, corner, shape, strict=True)
    )
    return graph.index_map((AxesMap(source, target),), (value,), shape)


def strides_of(shape: Sequence[int]) -> tuple[int, ...]:
    """Steps in place along each axis of a flattened array."""
    return tuple(math.prod(shape[k + 1 :]) for k in range(len(shape)))
