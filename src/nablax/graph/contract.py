"""Lowering of contractions: products without a sum, matrix products, symmetric ones by halves, values on diagonals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.graph.node import direction
from nablax.ops.kinds import Contraction
from nablax.ops.linear_map import LinearMap


def contract(kind: Contraction, inputs: Sequence[Any], dtype: Any, selecting: int | None = None) -> Any:
    """Evaluate one contraction of at most two operands.

    Args:
        kind: the contraction.
        inputs: the operands.
        dtype: of the result.
        selecting: which operand is a selection, given by its positions; None where none is.

    Products without a sum are broadcast multiplications, which XLA fuses; sums over shared labels are one
    (batched) matrix product, also where an operand has no free label: XLA's own multiply-and-reduce is up to
    twenty times slower than its matrix-vector product when the sum does not run along the last axis. A selection is
    not multiplied: it reads or writes at its positions.
    """
    distinct = tuple(dict.fromkeys(kind.output))
    present = {k for labels in kind.inputs for k in labels}
    target = tuple(k for k in distinct if k in present)
    operands = [
        (x, labels) if k == selecting or isinstance(x, LinearMap) else _diagonals(x, labels)
        for k, (x, labels) in enumerate(zip(inputs, kind.inputs, strict=True))
    ]
    coefficient = kind.coefficient * math.prod(
        kind.sizes[k] for k in range(len(kind.sizes)) if k not in present and k not in distinct
    )
    if not operands:
        value = jnp.full((), coefficient, dtype)
        coefficient = 1.0
    elif len(operands) == 1:
        [(value, labels)] = operands
        value = arranged(*_reduced(value.astype(dtype), labels, target), target)
    elif any(isinstance(x, LinearMap) for x in inputs):
        value = _mapped(operands, target, dtype)
    elif len(operands) == 2 and selecting is not None:
        (at, at_labels), (other, labels) = operands[selecting], operands[1 - selecting]
        value = _at_positions(at, at_labels, other.astype(dtype), labels, target, kind.sizes)
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


def arranged(value: Any, labels: tuple[int, ...], target: tuple[int, ...]) -> Any:
    """Axes in the order of `target`, which lists the same labels."""
    order = tuple(labels.index(label) for label in target)
    return value if order == tuple(range(len(order))) else jnp.transpose(value, order)


def _aligned(value: Any, labels: tuple[int, ...], target: tuple[int, ...]) -> Any:
    """Axes in the order of `target`, with length one where a label is missing."""
    ordered = arranged(value, labels, tuple(label for label in target if label in labels))
    sizes = dict(zip(labels, value.shape, strict=True))
    return ordered.reshape([sizes.get(label, 1) for label in target])


# A product of this many times more rows than columns runs up to 1.4 times faster than its transpose on CPU.
TALL = 32


def _pair(
    a: Any, a_labels: tuple[int, ...], b: Any, b_labels: tuple[int, ...], target: tuple[int, ...], precision: Any
) -> Any:
    summed = tuple(label for label in a_labels if label in b_labels and label not in target)
    batch = tuple(label for label in a_labels if label in b_labels and label in target)
    a_free = tuple(label for label in a_labels if label not in b_labels)
    b_free = tuple(label for label in b_labels if label not in a_labels)
    if not summed:
        return _aligned(a, a_labels, target) * _aligned(b, b_labels, target)
    sizes = {**dict(zip(a_labels, a.shape, strict=True)), **dict(zip(b_labels, b.shape, strict=True))}
    rows, columns = (math.prod(sizes[x] for x in free) for free in (b_free, a_free))
    tall = not batch and rows >= TALL * columns and (*a_free, *b_free) != target
    # as it is to be, rather than transposed afterwards; where that is to be done anyway, many rows by few columns
    if (*batch, *b_free, *a_free) == target or tall:
        a, a_labels, a_free, b, b_labels, b_free = b, b_labels, b_free, a, a_labels, a_free
    value = jax.lax.dot_general(
        a,
        b,
        (
            (tuple(a_labels.index(x) for x in summed), tuple(b_labels.index(x) for x in summed)),
            (tuple(a_labels.index(x) for x in batch), tuple(b_labels.index(x) for x in batch)),
        ),
        precision=precision,
    )
    return arranged(value, (*batch, *a_free, *b_free), target)


def _mapped(operands: Sequence[Labelled], target: tuple[int, ...], dtype: Any) -> Any:
    """A product with the matrix of a linear map: the map of the other operand, or its transposed one."""
    [(linear, own)] = (pair for pair in operands if isinstance(pair[0], LinearMap))
    [(value, labels)] = (pair for pair in operands if not isinstance(pair[0], LinearMap))
    made, given = own[: len(linear.made)], own[len(linear.made) :]
    forward = direction(linear, own, labels, target)
    if forward is None:
        raise AssertionError("a matrix that a product cannot read is written out before")
    read, written = (given, made) if forward else (made, given)
    value, labels = _reduced(value.astype(dtype), labels, (*target, *read))
    batch = tuple(label for label in labels if label not in read)
    value = arranged(value, labels, (*batch, *read))
    value = linear.apply(value) if forward else linear.transposed(value)
    value, labels = _reduced(value, (*batch, *written), target)
    return arranged(value, labels, target)


def _at_positions(
    positions: Any,
    at_labels: tuple[int, ...],
    value: Any,
    labels: tuple[int, ...],
    target: tuple[int, ...],
    sizes: Sequence[int],
) -> Any:
    """A product with a selection: elements read at positions, or added there."""
    *grid, hot = at_labels
    extents = [sizes[x] for x in grid]

    def places(within: Sequence[int]) -> dict[int, Any]:
        """For each of some labels its run over the grid of the positions."""
        return {x: jnp.arange(sizes[x]).reshape([-1 if x == y else 1 for y in grid]) for x in within}

    if hot in labels:
        shared = [x for x in grid if x in labels]
        rest = tuple(x for x in labels if x not in shared and x != hot)
        stacked = arranged(value, labels, (*shared, hot, *rest))
        run = places(shared)
        value = stacked.at[(*(run[x] for x in shared), positions)].get(mode="promise_in_bounds")
        labels = (*grid, *rest)
    if hot not in target:
        value, labels = _reduced(value, labels, target)
        return jnp.broadcast_to(_aligned(value, labels, target), [sizes[x] for x in target])
    rest = tuple(x for x in target if x != hot and x not in grid)
    value, labels = _reduced(value, labels, (*grid, *rest))
    shape = [*extents, *(sizes[x] for x in rest)]
    value = jnp.broadcast_to(_aligned(value, labels, (*grid, *rest)), shape)
    kept = tuple(x for x in grid if x in target)
    run = places(kept)
    empty = jnp.zeros([*(sizes[x] for x in (*kept, hot, *rest))], value.dtype)
    put = empty.at[(*(run[x] for x in kept), positions)].add(value, mode="promise_in_bounds")
    return arranged(put, (*kept, hot, *rest), target)


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
    left = arranged(a, a_labels, (*summed, *rows)).reshape(depth, count)
    right = arranged(b, b_labels, (*summed, *columns)).reshape(depth, count)
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
