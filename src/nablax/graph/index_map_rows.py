"""Rows that move elements along static index maps: slice, pad, concatenate, reverse, reshape, known gather."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from nablax.contraction.index import Index, Label, affine, along, fresh, tabulated
from nablax.contraction.term import Factor, Term
from nablax.graph.contraction_rows import reshaped_units
from nablax.graph.graph import Graph
from nablax.graph.node import Node
from nablax.graph.places import Places
from nablax.graph.row import Row
from nablax.ops.jaxprs import Equation
from nablax.ops.kinds import AxesMap
from nablax.ops.scalar_function import from_jax

# A row returns None where the map is not static (an index is only known at run time); then JAX decides.


def _step(label: Label, stride: int, offset: int, extent: int) -> Index:
    return affine([(label, stride)], offset, extent)


def _slice(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node]:
    [x] = inputs
    params = equation.params
    strides = params["strides"] or (1,) * len(x.shape)
    return [_sliced(graph, x, params["start_indices"], strides, equation.outputs[0].shape)]


def _sliced(graph: Graph, x: Node, starts: Sequence[int], strides: Sequence[int], shape: Sequence[int]) -> Node:
    target = fresh(shape)
    source = tuple(
        _step(index.labels[0], int(stride), int(start), extent)
        for index, start, stride, extent in zip(target, starts, strides, x.shape, strict=True)
    )
    return graph.index_map((AxesMap(source, target),), (x,), shape)


def part_of(graph: Graph, array: Node, start: int, size: int) -> Node:
    """Some consecutive elements along the last axis."""
    before = array.shape[:-1]
    return _sliced(graph, array, (*(0 for _ in before), start), (1,) * len(array.shape), (*before, size))


def _split(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node]:
    [x] = inputs
    axis = equation.params["axis"]
    parts, start = [], 0
    for output in equation.outputs:
        starts = [start if k == axis else 0 for k in range(len(x.shape))]
        parts.append(_sliced(graph, x, starts, (1,) * len(x.shape), output.shape))
        start += output.shape[axis]
    return parts


def _unstack(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node]:
    [x] = inputs
    axis, rank = equation.params["axis"], len(x.shape)
    one = tuple(1 if k == axis else extent for k, extent in enumerate(x.shape))
    parts = [
        _sliced(graph, x, [place if k == axis else 0 for k in range(rank)], (1,) * rank, one)
        for place in range(x.shape[axis])
    ]
    return [reshaped(graph, part, output.shape) for part, output in zip(parts, equation.outputs, strict=True)]


def _dynamic_slice(
    graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]
) -> list[Node] | None:
    x, *starts = inputs
    if any(start not in known for start in starts):
        return None
    shape = equation.outputs[0].shape
    clamped = [
        int(np.clip(known[start], 0, extent - size)) for start, extent, size in zip(starts, x.shape, shape, strict=True)
    ]
    return [_sliced(graph, x, clamped, (1,) * len(x.shape), shape)]


def _rev(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node]:
    [x] = inputs
    target = fresh(x.shape)
    source = tuple(
        _step(index.labels[0], -1, index.extent - 1, index.extent)
        if k in equation.params["dimensions"] and index.extent > 1
        else index
        for k, index in enumerate(target)
    )
    return [graph.index_map((AxesMap(source, target),), (x,), x.shape)]


def _pad(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node]:
    x, filling = inputs
    shape = equation.outputs[0].shape
    source, target = [], []
    config = equation.params["padding_config"]
    for extent, length, (low, _, interior) in zip(x.shape, shape, config, strict=True):
        step = interior + 1
        # with negative padding only the elements that land inside are moved
        inside = [q for q in range(extent) if 0 <= low + q * step < length]
        first, count = (inside[0], len(inside)) if inside else (0, 0)
        label = Label(count)
        source.append(_step(label, 1, first, extent))
        target.append(_step(label, step, low + first * step, length))
    axes = AxesMap(tuple(source), tuple(target))
    moved = graph.index_map((axes,), (x,), shape)
    value = known.get(filling)
    if value is not None and float(value) == 0.0:
        return [moved]
    free = np.ones(shape, dtype=x.dtype)
    free[np.ix_(*(index.positions().ravel() for index in target))] = 0
    places = fresh(shape)
    filled = Term(1.0, (Factor(graph.constant(free), places), Factor(filling, ())), (places,))
    return [graph.add([moved, graph.multiply(filled, x.dtype)])]


def _concatenate(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node]:
    axis = equation.params["dimension"]
    shape = equation.outputs[0].shape
    return [concatenated(graph, inputs, axis, shape)]


def concatenated(graph: Graph, inputs: Sequence[Node], axis: int, shape: Sequence[int]) -> Node:
    """Operands one after the other along an axis."""
    maps, start = [], 0
    for x in inputs:
        source = fresh(x.shape)
        target = tuple(
            _step(index.labels[0], 1, start, shape[axis]) if k == axis else index for k, index in enumerate(source)
        )
        maps.append(AxesMap(source, target))
        start += x.shape[axis]
    return graph.index_map(maps, inputs, shape)


def _reshape(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node]:
    return [reshaped(graph, inputs[0], equation.outputs[0].shape)]


def reshaped(graph: Graph, x: Node, shape: Sequence[int]) -> Node:
    """Row-major reshape; axes that are only merged or split keep one label each."""
    if [n for n in x.shape if n != 1] == [n for n in shape if n != 1]:
        return reshaped_units(graph, x, shape)
    if x.size == 0:
        return graph.full(0.0, shape, x.dtype)
    source: list[Index] = []
    target: list[Index] = []
    for before, after in _groups(x.shape, shape):
        if len(before) == 1 and len(after) == 1:
            [one] = fresh(before)
            source.append(one)
            target.append(one)
        elif len(before) <= 1:
            parts = fresh(after)
            target += parts
            source += [_row_major(parts, extent) for extent in before]
        elif len(after) <= 1:
            parts = fresh(before)
            source += parts
            target += [_row_major(parts, extent) for extent in after]
        else:  # neither is a refinement of the other: one label runs over all elements
            label = Label(math.prod(before))
            run = np.arange(label.size)
            source += [tabulated((label,), at, n) for at, n in zip(np.unravel_index(run, before), before, strict=True)]
            target += [tabulated((label,), at, n) for at, n in zip(np.unravel_index(run, after), after, strict=True)]
    return graph.index_map((AxesMap(tuple(source), tuple(target)),), (x,), shape)


def _row_major(parts: Sequence[Index], extent: int) -> Index:
    terms, stride = [], 1
    for index in reversed(parts):
        terms.append((index.labels[0], stride))
        stride *= index.extent
    return affine(terms[::-1], 0, extent)


def _groups(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Shortest runs of axes of equal product; axes of length one form groups of their own."""
    groups: list[tuple[list[int], list[int]]] = []
    left, right = list(before), list(after)
    while left or right:
        if left and left[0] == 1:
            groups.append(([left.pop(0)], []))
            continue
        if right and right[0] == 1:
            groups.append(([], [right.pop(0)]))
            continue
        a, b = [left.pop(0)], [right.pop(0)]
        while math.prod(a) != math.prod(b):
            if math.prod(a) < math.prod(b):
                a.append(left.pop(0))
            else:
                b.append(right.pop(0))
        groups.append((a, b))
    return groups


def _dynamic_update_slice(
    graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]
) -> list[Node] | None:
    x, update, *starts = inputs
    if any(start not in known for start in starts):
        return None
    label = fresh(update.shape)
    places = tuple(
        _step(index.labels[0], 1, int(np.clip(known[start], 0, extent - index.extent)), extent)
        for index, start, extent in zip(label, starts, x.shape, strict=True)
    )
    return _overwritten(graph, x, update, AxesMap(label, places))


def _stack(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node]:
    axis = equation.params["axis"]
    shape = equation.outputs[0].shape
    maps = []
    for k, x in enumerate(inputs):
        source = fresh(x.shape)
        maps.append(AxesMap(source, (*source[:axis], affine([], k, len(inputs)), *source[axis:])))
    return [graph.index_map(maps, inputs, shape)]


def _tile(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node]:
    [x] = inputs
    shape = equation.outputs[0].shape
    if 0 in shape:
        return [graph.full(0.0, shape, x.dtype)]
    repeats = fresh(equation.params["reps"])
    source = fresh(x.shape)
    target = tuple(
        affine([(turn.labels[0], index.extent), (index.labels[0], 1)], 0, extent)
        for turn, index, extent in zip(repeats, source, shape, strict=True)
    )
    # a label that only the target has is a broadcast axis
    return [graph.index_map((AxesMap(source, target),), (x,), shape)]


# -- gather and scatter at known places ------------------------------------------------------------
#
# Windows of an array are read or written, one for each element of a grid (the batch). What happens to a window that
# does not lie inside the array is the mode:
#
#     mode                  gather reads           its derivative   scatter writes
#     CLIP                  the nearest window     that of it       to the nearest window
#     FILL_OR_DROP          the fill value         zero             nothing
#     PROMISE_IN_BOUNDS     the nearest window     zero             nothing; its derivative is left to JAX
#
# The third row is JAX's own: it drops the cotangent of a window that should not have been there.

Mode = jax.lax.GatherScatterMode


@dataclass(frozen=True, eq=False)
class _Windows:
    """Windows in an array.

    Args:
        starts: for each axis of the array the first position of each window, over the grid of the batch.
        inside: which windows lie inside the array, over the same grid.
        sizes: extent of a window along each axis.
        extents: shape of the array.
    """

    starts: tuple[Any, ...]
    inside: Any
    sizes: tuple[int, ...]
    extents: tuple[int, ...]

    def clipped(self) -> _Windows:
        """Each window moved to the nearest place inside."""
        limits = zip(self.starts, self.sizes, self.extents, strict=True)
        starts = tuple(np.clip(start, 0, extent - size) for start, size, extent in limits)
        return _Windows(starts, np.ones_like(self.inside), self.sizes, self.extents)

    def only(self, chosen: Any) -> _Windows:
        """Only some of the windows count."""
        return _Windows(self.starts, chosen, self.sizes, self.extents)

    def axes(self, batch: Sequence[Label], within: Sequence[Label | None]) -> tuple[list[Index], list[Index]]:
        """Indices of the array's axes and of the batch axes, over the windows that count and the places in them."""
        labels, starts = list(batch), self.starts
        grid = [along(label) for label in batch]
        if not self.inside.all():
            chosen = np.nonzero(self.inside)
            run = Label(len(chosen[0]))
            labels, starts = [run], tuple(start[chosen] for start in starts)
            grid = [tabulated([run], places, label.size) for places, label in zip(chosen, batch, strict=True)]
        array = [
            tabulated(labels, start, extent)
            if label is None
            else tabulated([*labels, label], start[..., None] + np.arange(label.size), extent)
            for start, extent, label in zip(starts, self.extents, within, strict=True)
        ]
        return array, grid


def _windows(indices: Any, places: Places, extents: Sequence[int]) -> _Windows:
    """Windows from an array of indices whose last axis lists the indexed axes."""
    grid, sizes = indices.shape[:-1], places.sizes
    starts = []
    for axis in range(len(extents)):
        start: Any = np.zeros(grid, dtype=np.int64)
        if axis in places.indexed:
            start = indices[..., places.indexed.index(axis)].astype(np.int64)
        if axis in places.pairs:
            paired = places.pairs[axis]
            run = np.arange(grid[paired]).reshape([-1 if k == paired else 1 for k in range(len(grid))])
            start = np.broadcast_to(run, grid)
        starts.append(start)
    inside: Any = np.ones(grid, dtype=bool)
    for start, size, extent in zip(starts, sizes, extents, strict=True):
        inside = inside & (start >= 0) & (start <= extent - size)
    return _Windows(tuple(starts), inside, sizes, tuple(extents))


def _gather(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node] | None:
    x, starts = inputs
    mode = equation.params["mode"]
    if starts not in known or mode not in (Mode.CLIP, Mode.FILL_OR_DROP, Mode.PROMISE_IN_BOUNDS):
        return None
    numbers, shape = equation.params["dimension_numbers"], equation.outputs[0].shape
    places = Places.of_gather(numbers, shape, len(x.shape))
    windows = _windows(np.asarray(known[starts]), places, x.shape)

    def read(chosen: _Windows) -> Node:
        source, grid = chosen.axes(places.labels, places.within)
        return graph.index_map((AxesMap(tuple(source), places.on_grid(grid)),), (x,), shape)

    if windows.inside.all():
        return [read(windows)]
    if mode is Mode.CLIP:
        return [read(windows.clipped())]
    if not np.issubdtype(x.dtype, np.floating):
        return None
    if mode is Mode.FILL_OR_DROP:
        outside = np.expand_dims(~windows.inside, tuple(places.windowed))
        value = equation.params["fill_value"]
        filling = np.where(outside, x.dtype.type(np.nan if value is None else value), x.dtype.type(0))
        return [graph.add([read(windows), graph.constant(np.broadcast_to(filling, shape))])]
    still = graph.elementwise(
        from_jax(jax.lax.stop_gradient, x.dtype.name), (read(windows.clipped().only(~windows.inside)),)
    )
    return [graph.add([read(windows), still])]


def _written(equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> tuple[AxesMap, AxesMap] | None:
    """The map of a scatter from the update to the array, and the one that reads what is there."""
    x, starts, update = inputs
    mode = equation.params["mode"]
    if starts not in known or mode not in (Mode.CLIP, Mode.FILL_OR_DROP, Mode.PROMISE_IN_BOUNDS):
        return None
    places = Places.of_scatter(equation.params["dimension_numbers"], update.shape, len(x.shape))
    windows = _windows(np.asarray(known[starts]), places, x.shape)
    if not windows.inside.all():
        if mode is Mode.PROMISE_IN_BOUNDS:
            return None
        if mode is Mode.CLIP:
            windows = windows.clipped()
    target, grid = windows.axes(places.labels, places.within)
    return AxesMap(places.on_grid(grid), tuple(target)), AxesMap(tuple(target), places.on_grid(grid))


def _scatter(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node] | None:
    if equation.params["update_jaxpr"] is not None:
        return None  # a function of the user's own is applied to what is written
    found = _written(equation, inputs, known)
    return None if found is None else _overwritten(graph, inputs[0], inputs[2], found[0])


def _scatter_add(
    graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]
) -> list[Node] | None:
    x, _, update = inputs
    found = _written(equation, inputs, known)
    if found is None:
        return None
    axes = fresh(x.shape)
    return [graph.index_map((AxesMap(axes, axes), found[0]), (x, update), x.shape)]


def _scatter_by(operation: Callable[[Any, Any], Any]) -> Row:
    """A row for an update that is combined with what is there, place by place; each place is written once."""

    def row(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node] | None:
        x, _, update = inputs
        found = _written(equation, inputs, known)
        if found is None:
            return None
        there = graph.index_map((found[1],), (x,), update.shape)
        combined = graph.elementwise(from_jax(operation, x.dtype.name, update.dtype.name), (there, update))
        return _overwritten(graph, x, combined, found[0])

    return row


def _overwritten(graph: Graph, x: Node, update: Node, written: AxesMap) -> list[Node] | None:
    """An array with an update in some of its places; None where a place is written twice."""
    labels = written.labels
    count: Any = np.zeros(x.shape, dtype=np.int64)
    if x.shape:
        np.add.at(count, tuple(_over_grid(index, labels) for index in written.target), 1)
    else:
        count = count + math.prod(label.size for label in labels)
    if (count > 1).any():
        return None
    kept = _unwritten(count == 0)
    return [graph.index_map((*kept, written), (*[x] * len(kept), update), x.shape)]


def _over_grid(index: Index, labels: Sequence[Label]) -> Any:
    """Positions of an index over the grid of labels that contain its own."""
    order = sorted(range(len(index.labels)), key=lambda k: labels.index(index.labels[k]))
    places = index.positions().transpose(order) if order else index.positions()
    sizes = [label.size if label in index.labels else 1 for label in labels]
    return np.broadcast_to(places.reshape(sizes), [label.size for label in labels])


# A set of positions along one axis is a few slices, or else a table.
_MOST_SLICES = 4


def _unwritten(free: Any) -> list[AxesMap]:
    """The identity on the free places: slices along one axis where the others are whole, else a list of places."""
    if free.all():
        whole = fresh(free.shape)
        return [AxesMap(whole, whole)]
    if not free.any():
        return []
    for axis, extent in enumerate(free.shape):
        others = tuple(k for k in range(free.ndim) if k != axis)
        line = free.any(others)
        if not np.array_equal(free, np.broadcast_to(np.expand_dims(line, others), free.shape)):
            continue
        places = np.flatnonzero(line)
        slices = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
        maps = []
        for run in slices if len(slices) <= _MOST_SLICES else [places]:
            axes = list(fresh(free.shape))
            axes[axis] = tabulated([Label(len(run))], run, extent)
            maps.append(AxesMap(tuple(axes), tuple(axes)))
        return maps
    everywhere = np.nonzero(free)
    label = Label(len(everywhere[0]))
    listed = tuple(tabulated([label], places, extent) for places, extent in zip(everywhere, free.shape, strict=True))
    return [AxesMap(listed, listed)]


ROWS: Mapping[str, Row] = {
    "slice": _slice,
    "split": _split,
    "unstack": _unstack,
    "dynamic_slice": _dynamic_slice,
    "rev": _rev,
    "pad": _pad,
    "concatenate": _concatenate,
    "reshape": _reshape,
    "gather": _gather,
    "scatter": _scatter,
    "scatter-add": _scatter_add,
    "scatter-mul": _scatter_by(jax.lax.mul),
    "scatter-max": _scatter_by(jax.lax.max),
    "scatter-min": _scatter_by(jax.lax.min),
    "dynamic_update_slice": _dynamic_update_slice,
    "stack": _stack,
    "tile": _tile,
}
