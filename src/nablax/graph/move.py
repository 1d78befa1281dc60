"""Lowering of index maps: slices, pads, concatenations and reshapes where the map is one, gathers and scatters else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.contraction.index import Index, Label
from nablax.graph.contract import arranged
from nablax.graph.graph import Node
from nablax.ops.kinds import AxesMap, IndexMap


def move(kind: IndexMap, inputs: Sequence[Any], node: Node) -> Any:
    """The value of an index map: its moved operands, added."""
    axis = _joint(kind, node.shape)
    if axis is not None:
        parts = [
            arranged(
                _taken(jnp.asarray(value, node.dtype), axes), tuple(map(id, axes.labels)), tuple(map(id, _along(axes)))
            )
            for value, axes in zip(inputs, kind.maps, strict=True)
        ]
        return jnp.concatenate(parts, axis)
    # what is moved is added to zeros; booleans cannot be added
    dtype = jnp.dtype("int8") if node.dtype == jnp.bool_ else node.dtype
    total = None
    for value, axes in zip(inputs, kind.maps, strict=True):
        moved = _spread(_taken(jnp.asarray(value, dtype), axes), axes, node.shape)
        total = moved if total is None else total + moved
    return jnp.zeros(node.shape, node.dtype) if total is None else jnp.asarray(total, node.dtype)


def _along(axes: AxesMap) -> list[Label]:
    return [label for index in axes.target for label in index.labels]


def _joint(kind: IndexMap, shape: tuple[int, ...]) -> int | None:
    """The axis along which operands stand one after the other and fill the result; None if they do not."""
    if len(kind.maps) < 2:
        return None
    found: set[int] = set()
    for axes in kind.maps:
        if any(index.table is not None or len(index.labels) != 1 or index.strides != (1,) for index in axes.target):
            return None
        if len(set(_along(axes))) != len(shape) or set(axes.labels) != set(_along(axes)):
            return None
        found |= {k for k, index in enumerate(axes.target) if index.label is None}
    if len(found) != 1:
        return None
    [axis] = found
    start = 0
    for axes in kind.maps:
        if axes.target[axis].offset != start:
            return None
        start += axes.target[axis].labels[0].size
    return axis if start == shape[axis] else None


def _run(index: Index) -> tuple[int, int] | None:
    """(offset, stride) of an index that depends on at most one label, affinely."""
    if index.table is None and len(index.labels) <= 1:
        return index.offset, index.strides[0] if index.labels else 1
    return None


def _taken(value: Any, axes: AxesMap) -> Any:
    """Read the source: one axis per label, in the order of `axes.labels`."""
    labels = axes.labels
    order = [label for index in axes.source for label in index.labels]
    if all(len(index.labels) <= 1 for index in axes.source) and len(set(order)) == len(order):
        for k, index in enumerate(axes.source):
            run = _run(index)
            count = math.prod(index.shape)
            if index.label is not None:
                continue
            if run is None or count == 0:
                value = jnp.take(value, jnp.asarray(index.positions()), axis=k, indices_are_sorted=False)
                continue
            offset, stride = run
            low = min(offset, offset + stride * (count - 1))
            high = max(offset, offset + stride * (count - 1)) + 1
            value = jax.lax.slice_in_dim(value, low, high, abs(stride) or 1, axis=k)
            if stride < 0:
                value = jnp.flip(value, axis=k)
        value = value.reshape([label.size for label in order])
        value = jnp.transpose(value, [order.index(label) for label in labels if label in order])
        sizes = [label.size if label in order else 1 for label in labels]
        return jnp.broadcast_to(value.reshape(sizes), [label.size for label in labels])
    if _splits(axes.source, labels):
        return value.reshape([label.size for label in labels])
    grids = tuple(jnp.asarray(_grid(index, labels)) for index in axes.source)
    return jnp.broadcast_to(value[grids], [label.size for label in labels])


def _splits(source: Sequence[Index], labels: Sequence[Any]) -> bool:
    """Whether reading is a reshape: axes enumerate the labels in order, in row-major numbering."""
    order = []
    for index in source:
        if index.table is not None or index.offset != 0:
            return False
        if math.prod(label.size for label in index.labels) != index.extent:
            return False
        pairs = sorted(zip(index.strides, index.labels, strict=True), key=lambda pair: -pair[0])
        room = index.extent
        for stride, label in pairs:
            if stride * label.size != room:
                return False
            room = stride
            order.append(label)
    return order == list(labels)


def _grid(index: Index, labels: Sequence[Any]) -> Any:
    order = sorted(range(len(index.labels)), key=lambda k: labels.index(index.labels[k]))
    positions = index.positions().transpose(order) if order else index.positions()
    return positions.reshape([label.size if label in index.labels else 1 for label in labels])


def _spread(value: Any, axes: AxesMap, shape: tuple[int, ...]) -> Any:
    """Write one axis per label to the target."""
    if 0 in np.shape(value) or 0 in shape:
        return jnp.zeros(shape, value.dtype)
    labels = axes.labels
    target = axes.target
    order = [label for index in target for label in index.labels]
    if all(len(index.labels) <= 1 for index in target) and len(order) == len(set(order)) == len(labels):
        value = jnp.transpose(value, [labels.index(label) for label in order])
        if all(index.label is not None for index in target):
            return value
        runs = [_run(index) for index in target]
        if all(run is not None and run[1] > 0 for run in runs):
            padding = []
            for index, run in zip(target, runs, strict=True):
                assert run is not None
                offset, stride = run
                last = offset + stride * (math.prod(index.shape) - 1)
                padding.append((offset, index.extent - 1 - last, stride - 1))
            return jax.lax.pad(
                value.reshape([math.prod(index.shape) for index in target]), jnp.zeros((), value.dtype), padding
            )
        value = jnp.transpose(value, [order.index(label) for label in labels])
    if _splits(target, labels):
        return value.reshape(shape)
    grids = tuple(jnp.asarray(_grid(index, labels)) for index in target)
    return jnp.zeros(shape, value.dtype).at[grids].add(value)
