"""Lowering: a graph evaluated with plain JAX, each node once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, assert_never

import jax
import jax.numpy as jnp
import numpy as np

from nablax.contraction.index import Index, Label
from nablax.graph.graph import Node, reachable
from nablax.ops.kinds import (
    AxesMap,
    Call,
    Constant,
    Contraction,
    Elementwise,
    IndexMap,
    Leaf,
    MatrixFunction,
    Opaque,
    Placeholder,
)
from nablax.ops.matrix_functions import ROWS


def evaluate(outputs: Sequence[Node], leaves: Sequence[Any], known: Mapping[Node, Any] | None = None) -> list[Any]:
    """Values of nodes.

    Args:
        outputs: the nodes asked for.
        leaves: one array per leaf of the graph.
        known: values of nodes that need no evaluation.

    Returns:
        One array per output. Traceable: works under jit, vmap, grad and on sharded arrays.
    """
    values: dict[Node, Any] = dict(known or {})
    needed = _needed(outputs, values)
    sources = _sources(needed)
    results: dict[_CallOn, Sequence[Any]] = {}
    for node in _in_order(needed, sources, values):
        if node in sources:
            source = sources[node]
            made = (source.call.key, source.inputs)
            if made not in results:
                given = [values[one] for one in source.inputs]
                results[made] = source.call.function(*_stored(source.inputs, given))
            values[node] = results[made][source.place]
        else:
            values[node] = _value(node, [values[one] for one in node.inputs], leaves)
    return [values[node] for node in outputs]


_CallOn = tuple[Any, tuple[Node, ...]]


def _stored(nodes: Sequence[Node], values: Sequence[Any]) -> list[Any]:
    """The operands of an opaque call, those that index maps made behind a barrier.

    XLA on CPU folds a pad into the window of a cumulative sum, and where the pad is as wide on both sides the sum is
    wrong (jax 0.10.2: the reverse cumulative sum of [0, 1, 0] comes out as [1, 1, 1]).
    """
    return [
        jax.lax.optimization_barrier(value) if isinstance(node.kind, IndexMap) else value
        for node, value in zip(nodes, values, strict=True)
    ]


@dataclass(frozen=True)
class _Source:
    """Where an opaque node takes its value from: a result of a call on some inputs."""

    call: Call
    inputs: tuple[Node, ...]
    place: int


def _sources(nodes: Iterable[Node]) -> dict[Node, _Source]:
    """For each opaque node the call that gives its value.

    Where several needed calls begin with the same results, the widest serves all; where a forward derivative is
    needed, its call computes the value on the way and gives that, too.
    """
    opaque = [(node, node.kind) for node in nodes if isinstance(node.kind, Opaque)]
    widest: dict[_CallOn, Call] = {}
    for node, kind in opaque:
        family = (kind.call.family, node.inputs)
        if family not in widest or widest[family].width < kind.call.width:
            widest[family] = kind.call
    plain = {
        node: _Source(
            widest[kind.call.family, node.inputs] if kind.place < kind.call.common else kind.call,
            node.inputs,
            kind.place,
        )
        for node, kind in opaque
    }
    around: dict[_CallOn, _Source] = {}
    for source in plain.values():
        inner = source.call.inner
        if inner is not None:
            around.setdefault((inner.key, source.inputs[: source.call.arity]), source)
    carried = dict(plain)
    for node, source in plain.items():
        outer = around.get((source.call.key, source.inputs))
        place = source.place
        while outer is not None:  # a derivative may itself be computed on the way to the next
            place += outer.call.width
            carried[node] = _Source(outer.call, outer.inputs, place)
            outer = around.get((outer.call.key, outer.inputs))
    return carried if around and _is_acyclic(nodes, carried) else plain


def _is_acyclic(nodes: Iterable[Node], sources: Mapping[Node, _Source]) -> bool:
    """Whether no value would wait for itself: a direction may be computed from the value that it moves."""
    done: dict[Node, bool] = {}
    for start in nodes:
        waiting = [start]
        while waiting:
            node = waiting[-1]
            if done.get(node):
                waiting.pop()
                continue
            inputs = sources[node].inputs if node in sources else node.inputs
            open_inputs = [one for one in inputs if not done.get(one)]
            if not open_inputs:
                done[node] = True
                waiting.pop()
                continue
            done[node] = False
            if any(one in done for one in open_inputs):
                return False
            waiting += open_inputs
    return True


def _in_order(needed: Sequence[Node], sources: Mapping[Node, _Source], values: Mapping[Node, Any]) -> Iterable[Node]:
    """The needed nodes, each after what its value is computed from."""
    done = set(values)
    for start in needed:
        waiting = [start]
        while waiting:
            node = waiting[-1]
            if node in done:
                waiting.pop()
                continue
            inputs = sources[node].inputs if node in sources else node.inputs
            missing = [one for one in inputs if one not in done]
            waiting += missing
            if not missing:
                done.add(node)
                waiting.pop()
                yield node


def _needed(outputs: Sequence[Node], values: Mapping[Node, Any]) -> list[Node]:
    if not values:
        return reachable(outputs)
    found: dict[int, Node] = {}
    waiting = [node for node in outputs if node not in values]
    while waiting:
        node = waiting.pop()
        if node.number not in found:
            found[node.number] = node
            waiting += [source for source in node.inputs if source not in values]
    return [found[number] for number in sorted(found)]


def _value(node: Node, inputs: list[Any], leaves: Sequence[Any]) -> Any:
    kind = node.kind
    match kind:
        case Leaf():
            given = leaves[kind.position]
            return given if node.dtype == np.dtype(object) else jnp.asarray(given, node.dtype)
        case Constant():
            return jnp.asarray(kind.value, node.dtype)
        case Elementwise():
            return jnp.broadcast_to(kind.function(*inputs), node.shape)
        case Contraction():
            return contract(kind, inputs, node.dtype)
        case IndexMap():
            return _move(kind, inputs, node)
        case MatrixFunction():
            return ROWS[kind.name].evaluate(*inputs, **dict(kind.params))
        case Opaque():
            return kind.call.function(*_stored(node.inputs, inputs))[kind.place]
        case Placeholder():
            raise TypeError("a placeholder stands for an input while one node is differentiated; it has no value")
        case _:
            assert_never(kind)


# -- contraction -----------------------------------------------------------------------------------


def contract(kind: Contraction, inputs: Sequence[Any], dtype: Any) -> Any:
    """Evaluate one contraction of at most two operands.

    Products without a sum are broadcast multiplications, which XLA fuses; sums over shared labels are one
    (batched) matrix product, also where an operand has no free label: XLA's own multiply-and-reduce is up to
    twenty times slower than its matrix-vector product when the sum does not run along the last axis.
    """
    distinct = tuple(dict.fromkeys(kind.output))
    present = {k for labels in kind.inputs for k in labels}
    target = tuple(k for k in distinct if k in present)
    operands = [_diagonals(x, labels) for x, labels in zip(inputs, kind.inputs, strict=True)]
    coefficient = kind.coefficient * math.prod(
        kind.sizes[k] for k in range(len(kind.sizes)) if k not in present and k not in distinct
    )
    if not operands:
        value = jnp.full((), coefficient, dtype)
        coefficient = 1.0
    elif len(operands) == 1:
        [(value, labels)] = operands
        value = _arranged(*_reduced(value.astype(dtype), labels, target), target)
    elif len(operands) == 2:
        (a, a_labels), (b, b_labels) = operands
        a, a_labels = _reduced(a.astype(dtype), a_labels, (*target, *b_labels))
        b, b_labels = _reduced(b.astype(dtype), b_labels, (*target, *a_labels))
        pair = _symmetric_pair if kind.symmetric else _pair
        value = pair(a, a_labels, b, b_labels, target, kind.precision)
    else:
        raise AssertionError("products are lowered pairwise")
    if coefficient != 1.0:
        value = value * jnp.asarray(coefficient, dtype)
    shape = [kind.sizes[k] if k in target else 1 for k in distinct]
    value = jnp.broadcast_to(value.reshape(shape), [kind.sizes[k] for k in distinct])
    return _embedded(value, distinct, kind.output)


Labelled = tuple[Any, tuple[int, ...]]


def _diagonals(value: Any, labels: tuple[int, ...]) -> Labelled:
    """Take diagonals until every label stands once."""
    while len(set(labels)) < len(labels):
        first = next(k for k, label in enumerate(labels) if label in labels[k + 1 :])
        second = labels.index(labels[first], first + 1)
        value = jnp.diagonal(value, axis1=first, axis2=second)
        moved = labels[first]
        labels = tuple(x for k, x in enumerate(labels) if k not in (first, second)) + (moved,)
    return value, labels


def _reduced(value: Any, labels: tuple[int, ...], kept: Sequence[int]) -> Labelled:
    axes = tuple(k for k, label in enumerate(labels) if label not in kept)
    if not axes:
        return value, labels
    return value.sum(axes, dtype=value.dtype), tuple(label for label in labels if label in kept)


def _arranged(value: Any, labels: tuple[int, ...], target: tuple[int, ...]) -> Any:
    order = tuple(labels.index(label) for label in target)
    return value if order == tuple(range(len(order))) else jnp.transpose(value, order)


def _aligned(value: Any, labels: tuple[int, ...], target: tuple[int, ...]) -> Any:
    """Axes in the order of `target`, with length one where a label is missing."""
    arranged = _arranged(value, labels, tuple(label for label in target if label in labels))
    sizes = dict(zip(labels, value.shape, strict=True))
    return arranged.reshape([sizes.get(label, 1) for label in target])


def _pair(
    a: Any, a_labels: tuple[int, ...], b: Any, b_labels: tuple[int, ...], target: tuple[int, ...], precision: Any
) -> Any:
    summed = tuple(label for label in a_labels if label in b_labels and label not in target)
    batch = tuple(label for label in a_labels if label in b_labels and label in target)
    a_free = tuple(label for label in a_labels if label not in b_labels)
    b_free = tuple(label for label in b_labels if label not in a_labels)
    if not summed:
        return _aligned(a, a_labels, target) * _aligned(b, b_labels, target)
    value = jax.lax.dot_general(
        a,
        b,
        (
            (tuple(a_labels.index(x) for x in summed), tuple(b_labels.index(x) for x in summed)),
            (tuple(a_labels.index(x) for x in batch), tuple(b_labels.index(x) for x in batch)),
        ),
        precision=precision,
    )
    return _arranged(value, (*batch, *a_free, *b_free), target)


# A symmetric product of at least this many rows is computed by blocks of its upper triangle on CPU.
TRIANGLE_ROWS = 256
TRIANGLE_WIDTH = 80
TRIANGLE_BLOCKS = 8


def _symmetric_pair(
    a: Any, a_labels: tuple[int, ...], b: Any, b_labels: tuple[int, ...], target: tuple[int, ...], precision: Any
) -> Any:
    """A product whose result equals its transpose: about half of it is computed."""
    sizes = {**dict(zip(a_labels, a.shape, strict=True)), **dict(zip(b_labels, b.shape, strict=True))}
    if not _pays_halved(a_labels, b_labels, target, sizes):
        return _pair(a, a_labels, b, b_labels, target, precision)
    half = len(target) // 2
    rows, columns = target[:half], target[half:]
    if set(rows) & set(b_labels):
        a, a_labels, b, b_labels = b, b_labels, a, a_labels
    summed = tuple(label for label in a_labels if label in b_labels)
    count = math.prod(sizes[label] for label in rows)
    depth = math.prod(sizes[label] for label in summed)
    left = _arranged(a, a_labels, (*summed, *rows)).reshape(depth, count)
    right = _arranged(b, b_labels, (*summed, *columns)).reshape(depth, count)
    product = jax.lax.platform_dependent(
        left,
        right,
        cpu=partial(_upper_blocks, precision=precision),
        default=lambda x, y: jnp.matmul(x.T, y, precision=precision),
    )
    return product.reshape([sizes[label] for label in target])


def is_halved(kind: Contraction) -> bool:
    """Whether only the upper triangle of a product is computed, on CPU."""
    if not kind.symmetric or len(kind.inputs) != 2:
        return False
    return _pays_halved(*kind.inputs, kind.output, dict(enumerate(kind.sizes)))


def _pays_halved(a: tuple[int, ...], b: tuple[int, ...], target: tuple[int, ...], sizes: Mapping[int, int]) -> bool:
    half = len(target) // 2
    rows, columns = set(target[:half]), set(target[half:])
    if rows & set(b):
        a, b = b, a
    summed = set(a) & set(b)
    matched = set(a) == summed | rows and set(b) == summed | columns
    count, depth = (math.prod(sizes[label] for label in labels) for labels in (rows, summed))
    return matched and count >= TRIANGLE_ROWS and depth >= TRIANGLE_ROWS


def _upper_blocks(left: Any, right: Any, *, precision: Any) -> Any:
    count = left.shape[1]
    width = max(TRIANGLE_WIDTH, 16 * (count // (16 * TRIANGLE_BLOCKS)))
    bands = [
        jnp.pad(
            jnp.matmul(left[:, start : start + width].T, right[:, start:], precision=precision), ((0, 0), (start, 0))
        )
        for start in range(0, count, width)
    ]
    upper = jnp.triu(jnp.concatenate(bands))
    return upper + jnp.triu(upper, 1).T


# Kronecker deltas up to this size are constant bit masks; larger ones are compared on the fly.
MASKED_ELEMENTS = 512 * 512


def _embedded(value: Any, labels: tuple[int, ...], output: tuple[int, ...]) -> Any:
    """Put values on diagonals where the output repeats a label."""
    if len(labels) == len(output):
        return value
    first = {label: output.index(label) for label in labels}
    sizes = dict(zip(labels, value.shape, strict=True))
    shape = tuple(sizes[label] for label in output)
    spread = value.reshape([sizes[x] if first[x] == k else 1 for k, x in enumerate(output)])
    for k, label in enumerate(output):
        if first[label] != k:
            spread = _on_diagonal(spread, (first[label], k), shape)
    return jnp.broadcast_to(spread, shape)


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _on_diagonal(value: Any, axes: tuple[int, int], shape: tuple[int, ...]) -> Any:
    """The value where the positions along two axes are equal, zero elsewhere.

    A bitwise "and" with a constant mask keeps infinities and NaN off the zeros, as a selection would, and runs at the
    speed of memory, which a selection on CPU does not (0.08 ms against 0.14 ms on 200x5x200x5).
    """
    a, b = axes
    value = jnp.broadcast_to(value, [shape[k] if k in axes else n for k, n in enumerate(value.shape)])
    if shape[a] * shape[b] > MASKED_ELEMENTS:
        return _selected(value, axes, shape)
    places = [shape[k] if k in axes else 1 for k in range(len(shape))]
    bits = jnp.dtype(f"int{8 * value.dtype.itemsize}")
    mask = jnp.asarray(-np.eye(shape[a], dtype=bits)).reshape(places)
    masked = jax.lax.bitcast_convert_type(value, bits) & mask
    return jax.lax.bitcast_convert_type(masked, value.dtype)


@_on_diagonal.defjvp
def _on_diagonal_jvp(axes: tuple[int, int], shape: tuple[int, ...], primals: Any, tangents: Any) -> Any:
    [value], [tangent] = primals, tangents
    return _on_diagonal(value, axes, shape), _selected(tangent, axes, shape)


def _selected(value: Any, axes: tuple[int, int], shape: tuple[int, ...]) -> Any:
    a, b = axes
    run = jnp.arange(shape[a])
    row = run.reshape([-1 if k == a else 1 for k in range(len(shape))])
    column = run.reshape([-1 if k == b else 1 for k in range(len(shape))])
    return jnp.where(row == column, value, jnp.zeros((), value.dtype))


# -- index maps ------------------------------------------------------------------------------------


def _move(kind: IndexMap, inputs: Sequence[Any], node: Node) -> Any:
    axis = _joint(kind, node.shape)
    if axis is not None:
        parts = [
            _arranged(
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
