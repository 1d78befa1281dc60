"""Rows that move elements to places known only when running: gather, scatter-add, dynamic slices, sort, top_k.

Which elements are meant is data, and carries no derivative; the map is linear in what is moved. It is a product with a
selection, so that the labels of a batch pass through it, and legs into a table stay rows of the table (an embedding
whose tokens repeat).

What happens to a window that does not lie inside the array is told where windows at known places are read, in
`index_map_rows`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from nablax.contraction.index import Index, Label, affine, along, fresh
from nablax.contraction.term import Factor, Term
from nablax.graph.contraction_rows import relabelled
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeFactor
from nablax.graph.places import Places
from nablax.graph.row import Row
from nablax.ops.jaxprs import Equation
from nablax.ops.kinds import AxesMap, Call, Opaque
from nablax.ops.scalar_function import ScalarFunction, from_jax

Mode = jax.lax.GatherScatterMode


@dataclass(frozen=True, eq=False)
class _Windows:
    """Windows in an array, one for each element of a grid, whose first positions are nodes over the grid.

    Args:
        axes: an index for each axis of the array.
        factors: the selections that these indices need.
        inside: for each element of the grid whether its window lies inside the array; None where that is not asked.
    """

    axes: tuple[Index, ...]
    factors: tuple[NodeFactor, ...]
    inside: Node | None


def _windows(graph: Graph, starts: Mapping[int, Node], places: Places, x: Node, ask_inside: bool) -> _Windows:
    """Windows from the first positions along some axes.

    Args:
        graph: makes the nodes.
        starts: for some axes of the array the first positions, over the grid.
        places: how the axes go together.
        x: the array, or one of its shape and dtype.
        ask_inside: whether windows may lie outside; else they are moved inside.
    """
    axes: list[Index] = []
    factors: list[NodeFactor] = []
    inside: list[Node] = []
    for axis, (extent, label) in enumerate(zip(x.shape, places.within, strict=True)):
        if axis in places.pairs:
            axes.append(places.grid[places.pairs[axis]])
            continue
        size = 1 if label is None else label.size
        if axis in starts:
            first, limit = starts[axis], extent - size
            if ask_inside:
                inside.append(graph.elementwise(_lies_inside(limit, first.dtype.name), (first,)))
            if limit > 0:
                nearest = graph.elementwise(_bounded(limit, first.dtype.name), (first,))
                labels = list(places.labels)
                if label is not None and size > 1:
                    nearest = _counted_from(graph, nearest, places.grid, label)
                    labels.append(label)
                place = along(Label(extent))
                selection = graph.selection(nearest, extent, x.dtype)
                read = (*(along(one) for one in labels), place)
                axes.append(place)
                factors.append(Factor(selection, read))
                continue
        axes.append(affine([], 0, extent) if label is None else affine([(label, 1)], 0, extent))
    return _Windows(tuple(axes), tuple(factors), _all(graph, inside))


def _counted_from(graph: Graph, first: Node, grid: Sequence[Index], label: Label) -> Node:
    """Positions from the first one on, along a new last axis."""
    output = (*grid, along(label))
    run = graph.constant(np.arange(label.size, dtype=first.dtype))
    parts = [relabelled(graph, first, output[:-1], output), relabelled(graph, run, output[-1:], output)]
    return graph.add(parts)


def _all(graph: Graph, flags: Sequence[Node]) -> Node | None:
    if len(flags) < 2:
        return flags[0] if flags else None
    return graph.elementwise(_conjunction(len(flags)), flags)


@lru_cache(maxsize=256)
def _bounded(limit: int, dtype: str) -> ScalarFunction:
    kind = np.dtype(dtype).type
    return from_jax(lambda p: jax.lax.max(kind(0), jax.lax.min(p, kind(limit))), dtype)


@lru_cache(maxsize=256)
def _lies_inside(limit: int, dtype: str) -> ScalarFunction:
    kind = np.dtype(dtype).type
    return from_jax(lambda p: jax.lax.bitwise_and(p >= kind(0), p <= kind(limit)), dtype)


@lru_cache(maxsize=16)
def _conjunction(count: int) -> ScalarFunction:
    def every(*flags: Any) -> Any:
        found = flags[0]
        for flag in flags[1:]:
            found = jax.lax.bitwise_and(found, flag)
        return found

    return from_jax(every, *["bool"] * count)


@lru_cache(maxsize=64)
def _chosen(dtype: str, otherwise: Callable[[Any], Any]) -> ScalarFunction:
    return from_jax(lambda flag, x: jax.lax.select(flag, x, otherwise(x)), "bool", dtype)


@lru_cache(maxsize=64)
def _replaced(dtype: str) -> ScalarFunction:
    return from_jax(lambda flag, new, old: jax.lax.select(flag, new, old), "bool", dtype, dtype)


@lru_cache(maxsize=64)
def _constantly(value: float | None) -> Callable[[Any], Any]:
    return lambda x: x.dtype.type(np.nan if value is None else value)


def _columns(graph: Graph, starts: Node, places: Places) -> dict[int, Node]:
    """The first positions along each indexed axis, from an array whose last axis lists these axes."""
    grid, count = places.grid, len(places.indexed)
    shape = tuple(index.extent for index in grid)
    return {
        axis: graph.index_map((AxesMap((*grid, affine([], k, count)), grid),), (starts,), shape)
        for k, axis in enumerate(places.indexed)
    }


def _gather(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node] | None:
    x, starts = inputs
    mode = equation.params["mode"]
    if not _moves(x, starts, known) or mode not in (Mode.CLIP, Mode.FILL_OR_DROP, Mode.PROMISE_IN_BOUNDS):
        return None
    numbers = equation.params["dimension_numbers"]
    places = Places.of_gather(numbers, equation.outputs[0].shape, len(x.shape))
    windows = _windows(graph, _columns(graph, starts, places), places, x, mode is not Mode.CLIP)
    term = Term(1.0, (Factor(x, windows.axes), *windows.factors), (places.moved,))
    read = graph.multiply(term, x.dtype)
    if windows.inside is None:
        return [read]
    flags = relabelled(graph, windows.inside, places.grid, places.moved)
    otherwise: Callable[[Any], Any] = jax.lax.stop_gradient
    if mode is Mode.FILL_OR_DROP:
        otherwise = _constantly(equation.params["fill_value"])
    return [graph.elementwise(_chosen(x.dtype.name, otherwise), (flags, read))]


def _scatter_add(
    graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]
) -> list[Node] | None:
    x, starts, update = inputs
    mode = equation.params["mode"]
    moves = _moves(x, starts, known) or _moves(update, starts, known)
    if not moves or mode not in (Mode.CLIP, Mode.FILL_OR_DROP):
        return None  # of a promise that is not kept the value drops what the derivative does not: JAX's own
    places = Places.of_scatter(equation.params["dimension_numbers"], update.shape, len(x.shape))
    windows = _windows(graph, _columns(graph, starts, places), places, x, mode is not Mode.CLIP)
    if windows.inside is not None:
        flags = relabelled(graph, windows.inside, places.grid, places.moved)
        update = graph.elementwise(_chosen(update.dtype.name, _constantly(0.0)), (flags, update))
    term = Term(1.0, (Factor(update, places.moved), *windows.factors), (windows.axes,))
    return [graph.add([x, graph.multiply(term, x.dtype)])]


def _sliced(graph: Graph, x: Node, starts: Sequence[Node], shape: Sequence[int]) -> tuple[Places, _Windows]:
    """The axes of a slice, and where it lies; a slice that would leave the array is moved inside."""
    every = range(len(shape))
    moved = fresh(shape)
    places = Places(moved, frozenset(every), tuple(index.labels[0] for index in moved), tuple(every), {})
    return places, _windows(graph, dict(enumerate(starts)), places, x, False)


def _dynamic_slice(
    graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]
) -> list[Node] | None:
    x, *starts = inputs
    if not _moves(x, None, known):
        return None
    places, windows = _sliced(graph, x, starts, equation.outputs[0].shape)
    return [graph.multiply(Term(1.0, (Factor(x, windows.axes), *windows.factors), (places.moved,)), x.dtype)]


def _dynamic_update_slice(
    graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]
) -> list[Node] | None:
    x, update, *starts = inputs
    if not (_moves(x, None, known) or _moves(update, None, known)):
        return None
    places, windows = _sliced(graph, x, starts, update.shape)
    put = graph.multiply(Term(1.0, (Factor(update, places.moved), *windows.factors), (windows.axes,)), x.dtype)
    ones = graph.full(1.0, update.shape, x.dtype)
    there = graph.multiply(Term(1.0, (Factor(ones, places.moved), *windows.factors), (windows.axes,)), x.dtype)
    flags = graph.elementwise(from_jax(lambda one: one > 0, x.dtype.name), (there,))
    return [graph.elementwise(_replaced(x.dtype.name), (flags, put, x))]


def _sort(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node] | None:
    """Values in order: read at the positions that sorting gives."""
    params = equation.params
    if len(inputs) != 1 or not _moves(inputs[0], None, known):
        return None
    [x] = inputs
    axis = params["dimension"]

    def order(value: Any) -> list[Any]:
        run = jax.lax.broadcasted_iota(np.int32, value.shape, axis)
        pair = jax.lax.sort((value, run), dimension=axis, is_stable=params["is_stable"], num_keys=1)
        return [pair[1]]

    key = ("order", axis, params["is_stable"])
    kind = Opaque("sort", key, Call(key, order, key, 1, 1), 0, equation.flops, equation.line)
    positions = graph.opaque(kind, (x,), x.shape, np.int32)
    return [_along_axis(graph, x, positions, axis)]


def _top_k(graph: Graph, equation: Equation, inputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Node] | None:
    """The largest values: read at their positions."""
    [x] = inputs
    values, positions = equation.outputs
    if not _moves(x, None, known):
        return None
    key = ("top_k", *values.shape, repr(sorted(equation.params.items())))
    call = Call(key, lambda value: [equation.apply(value)[1]], key, 1, 1)
    kind = Opaque("top_k", key, call, 0, equation.flops, equation.line)
    found = graph.opaque(kind, (x,), positions.shape, positions.dtype)
    return [_along_axis(graph, x, found, equation.params.get("axis", -1) % len(x.shape)), found]


def _along_axis(graph: Graph, x: Node, positions: Node, axis: int) -> Node:
    """Elements at positions along one axis, for all others alike."""
    target = fresh(positions.shape)
    place = along(Label(x.shape[axis]))
    source = tuple(place if k == axis else index for k, index in enumerate(target))
    selection = graph.selection(positions, x.shape[axis], x.dtype)
    return graph.multiply(Term(1.0, (Factor(x, source), Factor(selection, (*target, place))), (target,)), x.dtype)


def _moves(x: Node, starts: Node | None, known: Mapping[Node, Any]) -> bool:
    """Whether something with a derivative is moved, to places that are not known yet."""
    return bool(x.depends) and x.size > 0 and (starts is None or starts not in known)


ROWS: Mapping[str, Row] = {
    "gather": _gather,
    "scatter-add": _scatter_add,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "sort": _sort,
    "top_k": _top_k,
}
