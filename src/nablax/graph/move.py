"""Lowering of index maps: slices, pads, concatenations and reshapes where the map is one, gathers and scatters else.

An axis that is an affine index of several labels (the windows of a convolution: stride y + dilation k) is read by one
gather of whole slices and written by one padded sum per place in the window. On CPU the gather takes about as long as
slices stacked, or a third of that, and the padded sums a fifth of the time of a scatter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.contraction.index import Index, Label
from nablax.graph.contract import arranged
from nablax.graph.node import Node
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


def _apart(indices: Sequence[Index]) -> bool:
    """Whether each label stands in one index only, and once."""
    order = [label for index in indices for label in index.labels]
    return len(set(order)) == len(order)


def _taken(value: Any, axes: AxesMap) -> Any:
    """Read the source: one axis per label, in the order of `axes.labels`."""
    labels = axes.labels
    if _apart(axes.source):
        order = [label for index in axes.source for label in index.labels]
        for k, index in reversed(list(enumerate(axes.source))):
            value = _read_axis(value, k, index)
        value = jnp.transpose(value, [order.index(label) for label in labels if label in order])
        sizes = [label.size if label in order else 1 for label in labels]
        return jnp.broadcast_to(value.reshape(sizes), [label.size for label in labels])
    grids = []
    for k, index in enumerate(axes.source):
        value, positions = _reachable(value, k, index)
        grids.append(_constant(_grid(index, positions, labels)))
    read = value.at[tuple(grids)].get(mode="promise_in_bounds", wrap_negative_indices=False)
    return jnp.broadcast_to(read, [label.size for label in labels])


# XLA folds what it can of constants of any size, an element at a time: larger ones are hidden from it.
FOLDED = 1 << 14


def _constant(positions: Any) -> Any:
    """Static positions, none of them negative, in the smaller integer if they fit."""
    narrow = not positions.size or int(np.max(positions)) <= np.iinfo(np.int32).max
    found = jnp.asarray(positions, jnp.int32 if narrow else jnp.int64)
    return jax.lax.optimization_barrier(found) if found.size > FOLDED else found


def _read_axis(value: Any, axis: int, index: Index) -> Any:
    """One axis becomes one for each label of an index."""
    if index.label is not None:
        return value
    shape = (*value.shape[:axis], *index.shape, *value.shape[axis + 1 :])
    if 0 in shape:
        return jnp.zeros(shape, value.dtype)
    if _numbers(index):
        return value.reshape(shape)
    if index.table is not None or len(index.labels) > 1:
        value, positions = _reachable(value, axis, index)
        places = (slice(None),) * axis + (_constant(positions),)
        return value.at[places].get(mode="promise_in_bounds", wrap_negative_indices=False)
    stride = index.strides[0] if index.labels else 1
    value, low = _padded(value, axis, index)
    (first, last) = (x - low for x in index.span)
    value = jax.lax.slice_in_dim(value, first, last + 1, abs(stride) or 1, axis=axis)
    return (jnp.flip(value, axis=axis) if stride < 0 else value).reshape(shape)


def _padded(value: Any, axis: int, index: Index) -> tuple[Any, int]:
    """An array with zeros wherever an index leaves its axis, and the position of its first element."""
    low, high = index.span
    before, after = max(0, -low), max(0, high + 1 - index.extent)
    if before or after:
        padding = [(before, after, 0) if k == axis else (0, 0, 0) for k in range(value.ndim)]
        value = jax.lax.pad(value, jnp.zeros((), value.dtype), padding)
    return value, -before


def _reachable(value: Any, axis: int, index: Index) -> tuple[Any, Any]:
    """An array in which all positions of an index lie, and the positions there."""
    if index.table is None:
        value, low = _padded(value, axis, index)
        return value, index.positions() - low
    positions = index.positions()
    if not index.leaves:
        return value, positions
    padding = [(0, 1, 0) if k == axis else (0, 0, 0) for k in range(value.ndim)]
    outside = (positions < 0) | (positions >= index.extent)
    return jax.lax.pad(value, jnp.zeros((), value.dtype), padding), np.where(outside, index.extent, positions)


def _numbers(index: Index) -> bool:
    """Whether an index numbers the grid of its labels in order, so that moving along it is a reshape."""
    if index.table is not None or index.offset != 0:
        return False
    room = index.extent
    for label, stride in zip(index.labels, index.strides, strict=True):
        if stride * label.size != room:
            return False
        room = stride
    return room == 1


def _grid(index: Index, positions: Any, labels: Sequence[Label]) -> Any:
    """Positions with one axis for each label."""
    order = sorted(range(len(index.labels)), key=lambda k: labels.index(index.labels[k]))
    positions = positions.transpose(order) if order else positions
    return positions.reshape([label.size if label in index.labels else 1 for label in labels])


# More padded sums than this are one scatter.
MOST_SUMS = 32


def _spread(value: Any, axes: AxesMap, shape: tuple[int, ...]) -> Any:
    """Write one axis per label to the target."""
    if 0 in np.shape(value) or 0 in shape:
        return jnp.zeros(shape, value.dtype)
    labels = axes.labels
    target = axes.target
    order = [label for index in target for label in index.labels]
    lost = [k for k, label in enumerate(labels) if label not in order]
    if lost:  # what differs in these is added at one place
        value = value.sum(lost, dtype=value.dtype)
        labels = tuple(label for label in labels if label in order)
    if not _apart(target):
        value, labels, target = _repeated(value, labels, target, shape)
    if _apart(target):
        return _written(value, labels, target)
    grids = []
    for index in target:
        positions = index.positions()
        outside = (positions < 0) | (positions >= index.extent)
        grids.append(_constant(_grid(index, np.where(outside, index.extent, positions), labels)))
    return jnp.zeros(shape, value.dtype).at[tuple(grids)].add(value, mode="drop", wrap_negative_indices=False)


def _repeated(
    value: Any, labels: tuple[Label, ...], target: Sequence[Index], shape: tuple[int, ...]
) -> tuple[Any, tuple[Label, ...], tuple[Index, ...]]:
    """Values on a diagonal as an array that is zero beside it, with a label for each axis along which they stand.

    A scatter takes many times as long for an element; where the diagonal spans the target, writing the zeros as well
    costs no more than beginning with them.
    """
    seen: set[Label] = set()
    repeated = []
    for k, index in enumerate(target):
        if seen & set(index.labels):
            repeated.append(k)
        seen.update(index.labels)
    plain = all(target[k].table is None and len(target[k].labels) == 1 for k in repeated)
    if not plain or value.size * math.prod(target[k].labels[0].size for k in repeated) > math.prod(shape):
        return value, labels, tuple(target)
    new = list(target)
    for k in repeated:
        [label] = target[k].labels
        beside = Label(label.size)
        own = [label.size if one is label else 1 for one in labels]
        equal = np.eye(label.size, dtype=bool).reshape(*own, label.size)
        value = jnp.where(equal, value[..., None], jnp.zeros((), value.dtype))
        labels = (*labels, beside)
        new[k] = Index((beside,), target[k].extent, target[k].offset, target[k].strides)
    return value, labels, tuple(new)


def _written(value: Any, labels: Sequence[Label], target: Sequence[Index]) -> Any:
    """Each axis of the target written by the labels of its own index.

    Where windows overlap, the places in them stand first, so that the parts that are added are contiguous.
    """
    summed = [_places_of_sum(index) for index in target]
    front = [label for own in summed if own is not None for label in own]
    rest = [label for index in target for label in index.labels if label not in front]
    value = jnp.transpose(value, [labels.index(label) for label in (*front, *rest)])
    start = len(front)
    for index, own in zip(target, summed, strict=True):
        if own is None:
            value = _write_axis(value, start, index)
        else:
            value, start = _sum_of_pads(value, start, index, own), start - len(own)
        start += 1
    return value


def _places_of_sum(index: Index) -> list[Label] | None:
    """The labels over which an index of several is written as a sum of strided pads: all but the longest; else None."""
    if index.table is not None or len(index.labels) < 2 or _numbers(index):
        return None
    longest = max(index.labels, key=lambda label: label.size)
    own = [label for label in index.labels if label is not longest]
    return own if math.prod(label.size for label in own) <= MOST_SUMS else None


def _sum_of_pads(value: Any, start: int, index: Index, own: Sequence[Label]) -> Any:
    """The first axes, the places in windows, and the one at `start` become one axis there."""
    strides = dict(zip(index.labels, index.strides, strict=True))
    [stride] = [stride for label, stride in strides.items() if label not in own]
    total = None
    for place in np.ndindex(*(label.size for label in own)):
        offset = index.offset + sum(strides[label] * at for label, at in zip(own, place, strict=True))
        part = _strided(value[place], start - len(own), offset, stride, index.extent)
        total = part if total is None else total + part
    return total


def _write_axis(value: Any, start: int, index: Index) -> Any:
    """The axes of the labels of an index, from `start` on, become one."""
    if index.label is not None:
        return value
    ends = value.shape[:start], value.shape[start + len(index.labels) :]
    if _numbers(index):
        return value.reshape((*ends[0], index.extent, *ends[1]))
    if index.table is None and len(index.labels) < 2:
        stride = index.strides[0] if index.labels else 1
        return _strided(value.reshape((*ends[0], -1, *ends[1])), start, index.offset, stride, index.extent)
    positions = index.positions()
    outside = (positions < 0) | (positions >= index.extent)
    places = _constant(np.where(outside, index.extent, positions))
    zeros = jnp.zeros((*ends[0], index.extent, *ends[1]), value.dtype)
    return zeros.at[(*[slice(None)] * start, places)].add(value, mode="drop", wrap_negative_indices=False)


def _strided(value: Any, axis: int, offset: int, stride: int, extent: int) -> Any:
    """Elements along an axis at ``offset + stride * k`` of a longer one; those outside are dropped."""
    count = value.shape[axis]
    if stride < 0:
        value, offset, stride = jnp.flip(value, axis=axis), offset + stride * (count - 1), -stride
    last = offset + stride * (count - 1)
    padding = [(offset, extent - 1 - last, stride - 1) if k == axis else (0, 0, 0) for k in range(value.ndim)]
    return jax.lax.pad(value, jnp.zeros((), value.dtype), padding)
