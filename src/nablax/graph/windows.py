"""Rows that read windows of an array: convolutions, sums and extrema over windows (pooling).

Place k of window y stands at ``stride y + dilation k - before`` along an axis: an affine index of two labels, outside
the axis in the padding. So a convolution is a labelled product of such windows with the kernel,

    out[b, y, o] = sum_kc  image[b, stride y + dilation k - before, c]  kernel[k, c, o],

and needs no rule of its own: legs of the image are windows written back, legs of the kernel are outer products. Where
the image is stretched instead (`lhs_dilation`, as in a transposed convolution) each of its elements is written to
several places of the result, ``stretch j - dilation k + before``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from nablax.contraction.index import Index, Label, affine, along, fresh
from nablax.contraction.term import Axes, Factor, Term
from nablax.graph.contraction_rows import highest
from nablax.graph.graph import Graph
from nablax.graph.node import Node
from nablax.graph.row import Row, of_one_result
from nablax.ops.jaxprs import Equation
from nablax.ops.kinds import AxesMap, Contraction, IndexMap


def _conv_general_dilated(graph: Graph, equation: Equation, inputs: Sequence[Node]) -> Node:
    image, kernel = inputs
    [output] = equation.outputs
    params = equation.params
    graph.precision = highest(graph.precision, params["precision"])
    numbers = params["dimension_numbers"]
    image_at, kernel_at, output_at = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
    image, margins = _without_margin(graph, image, image_at[2:])
    image_axes, kernel_axes, output_axes = (list(fresh(shape)) for shape in (image.shape, kernel.shape, output.shape))
    # groups: of channels, or of the batch
    groups = Label(params["feature_group_count"] * params["batch_group_count"])
    shared = Label(kernel.shape[kernel_at[1]])
    batch, made = Label(output.shape[output_at[0]]), Label(kernel.shape[kernel_at[0]] // groups.size)
    kernel_axes[kernel_at[1]] = along(shared)
    image_axes[image_at[0]] = output_axes[output_at[0]] = along(batch)
    image_axes[image_at[1]] = along(shared)
    if params["batch_group_count"] > 1:
        image_axes[image_at[0]] = _in_groups(groups, batch)
    if params["feature_group_count"] > 1:
        image_axes[image_at[1]] = _in_groups(groups, shared)
    kernel_axes[kernel_at[0]] = output_axes[output_at[1]] = _in_groups(groups, made)
    stretched = list(params["lhs_dilation"])
    for d, (axis, window, place) in enumerate(zip(image_at[2:], kernel_at[2:], output_at[2:], strict=True)):
        before, stride = params["padding"][d][0] + margins[axis] * stretched[d], params["window_strides"][d]
        k, dilation = kernel_axes[window].labels[0], params["rhs_dilation"][d]
        if stretched[d] > 1 and stride == 1:
            j = image_axes[axis].labels[0]
            index = affine([(j, stretched[d]), (k, -dilation)], before, output.shape[place])
            output_axes[place], stretched[d] = index, 1
        else:
            extent = _stretched_extent(image.shape[axis], stretched[d])
            y = output_axes[place].labels[0]
            image_axes[axis] = affine([(y, stride), (k, dilation)], -before, extent)
    spacing = dict(zip(image_at[2:], stretched, strict=True))
    image = _stretched(graph, image, [spacing.get(axis, 1) for axis in range(len(image.shape))])
    factors = (Factor(image, tuple(image_axes)), Factor(kernel, tuple(kernel_axes)))
    return graph.multiply(Term(1.0, factors, (tuple(output_axes),)), output.dtype)


def _without_margin(graph: Graph, image: Node, free: Sequence[int]) -> tuple[Node, tuple[int, ...]]:
    """An image whose margin of zeros was written by the user is read without it, as one that the convolution pads.

    Args:
        graph: makes the image.
        image: the operand of a convolution.
        free: its axes along which windows move.

    Returns:
        An image of the same rank, and how many zeros stood before it along each axis.
    """
    unit, kind = image, image.kind
    if isinstance(kind, Contraction) and len(kind.inputs) == 1 and kind.coefficient == 1.0:
        [own] = kind.inputs
        added = [n for n, label in zip(image.shape, kind.output, strict=True) if label not in own]
        if len(set(kind.output)) == len(image.shape) == len(own) + len(added) and all(n == 1 for n in added):
            [unit] = image.inputs
    margin = _margin(unit)
    if margin is None:
        return image, (0,) * len(image.shape)
    [inner] = unit.inputs
    if unit is image:
        place = dict(enumerate(range(len(image.shape))))
    else:
        assert isinstance(kind, Contraction)
        place = {axis: kind.inputs[0].index(label) for axis, label in enumerate(kind.output) if label in kind.inputs[0]}
    if any(unit.shape[k] != inner.shape[k] for axis, k in place.items() if axis not in free):
        return image, (0,) * len(image.shape)
    axes = fresh(inner.shape)
    whole = tuple(axes[place[axis]] if axis in place else along(Label(1)) for axis in range(len(image.shape)))
    bare = inner if unit is image else graph.multiply(Term(1.0, (Factor(inner, axes),), (whole,)), image.dtype)
    return bare, tuple(margin[place[axis]] if axis in place else 0 for axis in range(len(image.shape)))


def _margin(node: Node) -> tuple[int, ...] | None:
    """How many zeros stand before an array along each axis of a node that is the array in a margin of zeros."""
    if not isinstance(node.kind, IndexMap) or len(node.kind.maps) != 1:
        return None
    [moved] = node.kind.maps
    for source, target in zip(moved.source, moved.target, strict=False):
        if source.label is None or target.table is not None or target.leaves:
            return None
        if target.labels != source.labels or target.strides != (1,):
            return None
    distinct = len({index.label for index in moved.source}) == len(moved.source) == len(moved.target)
    return tuple(int(index.offset) for index in moved.target) if distinct else None


def _in_groups(groups: Label, within: Label) -> Index:
    """An axis made of equal groups, one after the other."""
    if groups.size == 1:
        return along(within)
    return affine([(groups, within.size), (within, 1)], 0, groups.size * within.size)


def _stretched_extent(extent: int, spacing: int) -> int:
    return max((extent - 1) * spacing + 1, 0)


def _stretched(graph: Graph, x: Node, spacing: Sequence[int]) -> Node:
    """An array with zeros between its elements."""
    if all(step == 1 for step in spacing):
        return x
    source = fresh(x.shape)
    shape = tuple(_stretched_extent(n, step) for n, step in zip(x.shape, spacing, strict=True))
    target = tuple(
        affine([(index.labels[0], step)], 0, extent) if step > 1 else index
        for index, step, extent in zip(source, spacing, shape, strict=True)
    )
    return graph.index_map((AxesMap(source, target),), (x,), shape)


# -- pooling ---------------------------------------------------------------------------------------


def _windows(graph: Graph, x: Node, params: Mapping[str, Any], shape: Sequence[int]) -> tuple[Node, Axes, Axes, Axes]:
    """An array stretched, the indices of its axes, and the places of windows and within windows that they depend on."""
    rank = len(shape)
    spacing = params.get("base_dilation") or (1,) * rank
    dilation = params.get("window_dilation") or (1,) * rank
    x = _stretched(graph, x, spacing)
    places, within = fresh(shape), fresh(params["window_dimensions"])
    axes = tuple(
        affine([(y.labels[0], stride), (k.labels[0], step)], -before, extent)
        for y, k, stride, step, (before, _), extent in zip(
            places, within, params["window_strides"], dilation, params["padding"], x.shape, strict=True
        )
    )
    return x, axes, places, within


def _reduce_window_sum(graph: Graph, equation: Equation, inputs: Sequence[Node]) -> Node:
    [output] = equation.outputs
    x, axes, places, _ = _windows(graph, inputs[0], equation.params, output.shape)
    return graph.multiply(Term(1.0, (Factor(x, axes),), (places,)), output.dtype)


def _extremum_over_window(name: str, worst: float) -> Callable[[Graph, Equation, Sequence[Node]], Node]:
    """A row of an extremum; where several elements are equal, the first in the window moves the value, as in JAX."""

    def row(graph: Graph, equation: Equation, inputs: Sequence[Node]) -> Node:
        [output] = equation.outputs
        read, rank = _filled_windows(graph, inputs[0], equation.params, output.shape, worst)
        return graph.matrix_function(name, (read,), output.shape, axes=tuple(range(rank, 2 * rank)))

    return row


def _filled_windows(
    graph: Graph, x: Node, params: Mapping[str, Any], shape: Sequence[int], worst: float
) -> tuple[Node, int]:
    """Windows along the last half of the axes; what is padding, or between elements, never wins."""
    spacing = params.get("base_dilation") or (1,) * len(shape)
    dtype = x.dtype
    x, axes, places, within = _windows(graph, x, params, shape)
    grid = (*places, *within)
    parts = [graph.multiply(Term(1.0, (Factor(x, axes),), (grid,)), dtype)]
    for y, k, index, step in zip(places, within, axes, spacing, strict=True):
        labels = (y.labels[0], k.labels[0])
        at = np.broadcast_to(_over(index, labels), [label.size for label in labels])
        filling = np.where((at < 0) | (at >= index.extent) | (at % step != 0), worst, 0.0).astype(dtype)
        if filling.any():
            factor = Factor(graph.constant(filling), (y, k))
            parts.append(graph.multiply(Term(1.0, (factor,), (grid,)), dtype))
    return graph.add(parts), len(places)


def _over(index: Index, labels: Sequence[Label]) -> Any:
    """Positions of an index with one axis for each of some labels, in their order, which is its own."""
    return index.positions().reshape([label.size if label in index.labels else 1 for label in labels])


def _places(graph: Graph, x: Node, params: Mapping[str, Any], shape: Sequence[int]) -> Node:
    """One where the extremum of a window stands first, by the comparison that selects it."""
    largest = params["select_prim"].name == "ge"
    read, rank = _filled_windows(graph, x, params, shape, -np.inf if largest else np.inf)
    name = "first_max_place" if largest else "first_min_place"
    return graph.matrix_function(name, (read,), read.shape, axes=tuple(range(rank, 2 * rank)))


def _select_and_gather_add(graph: Graph, equation: Equation, inputs: Sequence[Node]) -> Node:
    """The tangent of an extremum over windows."""
    moving, x = inputs
    [output] = equation.outputs
    chosen = _places(graph, x, equation.params, output.shape)
    moving, axes, places, within = _windows(graph, moving, equation.params, output.shape)
    factors = (Factor(chosen, (*places, *within)), Factor(moving, axes))
    return graph.multiply(Term(1.0, factors, (places,)), output.dtype)


def _select_and_scatter_add(graph: Graph, equation: Equation, inputs: Sequence[Node]) -> Node:
    """The cotangent of an extremum over windows."""
    given, x = inputs
    [output] = equation.outputs
    chosen = _places(graph, x, equation.params, given.shape)
    _, axes, places, within = _windows(graph, x, equation.params, given.shape)
    factors = (Factor(chosen, (*places, *within)), Factor(given, places))
    return graph.multiply(Term(1.0, factors, (axes,)), output.dtype)


def _on_reals(make: Callable[[Graph, Equation, Sequence[Node]], Node]) -> Row:
    def real(graph: Graph, equation: Equation, inputs: Sequence[Node]) -> Node | None:
        floating = all(jnp.issubdtype(node.dtype, jnp.floating) for node in inputs)
        return make(graph, equation, inputs) if floating else None

    return of_one_result(real)


ROWS: Mapping[str, Row] = {
    "conv_general_dilated": _on_reals(_conv_general_dilated),
    "reduce_window_sum": _on_reals(_reduce_window_sum),
    "reduce_window_max": _on_reals(_extremum_over_window("first_max", -np.inf)),
    "reduce_window_min": _on_reals(_extremum_over_window("first_min", np.inf)),
    "select_and_gather_add": _on_reals(_select_and_gather_add),
    "select_and_scatter_add": _on_reals(_select_and_scatter_add),
}
