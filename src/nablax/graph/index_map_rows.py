"""Rows that move elements along static index maps: slice, pad, concatenate, reverse, reshape, known gather."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nablax.contraction.index import Index, Label, affine, fresh, tabulated
from nablax.contraction.term import Factor, Term
from nablax.graph.contraction_rows import reshaped_units
from nablax.graph.graph import Graph, Node
from nablax.ops.jaxprs import Equation
from nablax.ops.kinds import AxesMap

# A row returns None where the map is not static (an index is only known at run time); then JAX decides.
Row = Callable[[Graph, Equation, Sequence[Node], Mapping[Node, Any]], Sequence[Node] | None]


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


def part_of(graph: Graph, vector: Node, start: int, size: int) -> Node:
    """Some consecutive elements of a vector."""
    return _sliced(graph, vector, (start,), (1,), (size,))


def _split(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node]:
    [x] = inputs
    axis = equation.params["axis"]
    parts, start = [], 0
    for output in equation.outputs:
        starts = [start if k == axis else 0 for k in range(len(x.shape))]
        parts.append(_sliced(graph, x, starts, (1,) * len(x.shape), output.shape))
        start += output.shape[axis]
    return parts


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


def _gather(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node] | None:
    x, starts_node = inputs
    if starts_node not in known:
        return None
    starts = np.asarray(known[starts_node])
    numbers = equation.params["dimension_numbers"]
    sizes = equation.params["slice_sizes"]
    shape = equation.outputs[0].shape
    batch_shape = starts.shape[:-1]
    offset_dims = [int(k) for k in numbers.offset_dims]
    collapsed = {int(k) for k in (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)}
    target = fresh(shape)
    batch = [index.labels[0] for k, index in enumerate(target) if k not in offset_dims]
    offsets = [target[k].labels[0] for k in offset_dims]
    source: list[Index] = []
    for axis, (extent, size) in enumerate(zip(x.shape, sizes, strict=True)):
        place: Any = np.zeros(batch_shape, dtype=np.int64)
        labels = list(batch)
        if axis in numbers.start_index_map:
            place = starts[..., list(numbers.start_index_map).index(axis)].astype(np.int64)
        if axis in numbers.operand_batching_dims:
            k = numbers.start_indices_batching_dims[list(numbers.operand_batching_dims).index(axis)]
            run = np.arange(batch_shape[k]).reshape([-1 if j == k else 1 for j in range(len(batch_shape))])
            place = np.broadcast_to(run, batch_shape)
        if place.size and (place.min() < 0 or place.max() > extent - size):
            if "CLIP" not in str(equation.params["mode"]):
                return None
            place = np.clip(place, 0, extent - size)
        if axis not in collapsed:
            offset = offsets.pop(0)
            labels.append(offset)
            place = place[..., None] + np.arange(offset.size)
        source.append(tabulated(labels, place, extent))
    return [graph.index_map((AxesMap(tuple(source), target),), (x,), shape)]


ROWS: dict[str, Row] = {
    "slice": _slice,
    "split": _split,
    "dynamic_slice": _dynamic_slice,
    "rev": _rev,
    "pad": _pad,
    "concatenate": _concatenate,
    "reshape": _reshape,
    "gather": _gather,
}
