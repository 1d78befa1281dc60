"""Rows that are labelled products: dot_general, sums, broadcasts, transposes, diagonals of unit axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from nablax.contraction.index import Index, Label, along, fresh
from nablax.contraction.term import Factor, Term
from nablax.graph.graph import Graph
from nablax.graph.node import Node
from nablax.graph.row import Row, of_one_result
from nablax.ops.jaxprs import Equation


def relabelled(graph: Graph, node: Node, axes: Sequence[Index], output: Sequence[Index]) -> Node:
    """One operand with its axes renamed, summed, repeated or broadcast."""
    return graph.multiply(Term(1.0, (Factor(node, tuple(axes)),), (tuple(output),)), node.dtype)


def highest(a: Any, b: Any) -> Any:
    """The higher of two precisions of a matrix product, for each operand the higher one.

    Args:
        a: a pair of `jax.lax.Precision`, a `jax.lax.DotAlgorithmPreset` or None, as in the parameters of a product.
        b: the same.

    Returns:
        As the arguments; None if nothing above the default is asked. Presets are told apart by accuracy where that is
        known: one that was asked for stands above pairs, and the first one above later ones.
    """
    if isinstance(a, tuple) and isinstance(b, tuple):
        found = tuple(max(x, y, key=_ORDER.index) for x, y in zip(a, b, strict=True))
        return None if set(found) == {jax.lax.Precision.DEFAULT} else found
    pairs = [one for one in (a, b) if one is not None and one != _DEFAULT]
    presets = [one for one in pairs if not isinstance(one, tuple)]
    return next(iter((*presets, *pairs)), None)


_ORDER = (jax.lax.Precision.DEFAULT, jax.lax.Precision.HIGH, jax.lax.Precision.HIGHEST)
_DEFAULT = (jax.lax.Precision.DEFAULT, jax.lax.Precision.DEFAULT)


def _dot_general(graph: Graph, equation: Equation, inputs: Sequence[Node]) -> Node:
    a, b = inputs
    graph.precision = highest(graph.precision, equation.params["precision"])
    (a_sum, b_sum), (a_batch, b_batch) = equation.params["dimension_numbers"]
    left, right = list(fresh(a.shape)), list(fresh(b.shape))
    for j, k in (*zip(a_sum, b_sum, strict=True), *zip(a_batch, b_batch, strict=True)):
        right[k] = left[j]
    free_left = [x for j, x in enumerate(left) if j not in a_sum and j not in a_batch]
    free_right = [x for k, x in enumerate(right) if k not in b_sum and k not in b_batch]
    output = (*(left[j] for j in a_batch), *free_left, *free_right)
    term = Term(1.0, (Factor(a, tuple(left)), Factor(b, tuple(right))), (output,))
    return graph.multiply(term, equation.outputs[0].dtype)


def _reduce_sum(graph: Graph, equation: Equation, inputs: Sequence[Node]) -> Node:
    axes = fresh(inputs[0].shape)
    kept = [x for k, x in enumerate(axes) if k not in equation.params["axes"]]
    return relabelled(graph, inputs[0], axes, kept)


def _transpose(graph: Graph, equation: Equation, inputs: Sequence[Node]) -> Node:
    axes = fresh(inputs[0].shape)
    return relabelled(graph, inputs[0], axes, [axes[k] for k in equation.params["permutation"]])


def _broadcast_in_dim(graph: Graph, equation: Equation, inputs: Sequence[Node]) -> Node:
    [node] = inputs[:1]
    shape = equation.outputs[0].shape
    output = list(fresh(shape))
    axes = []
    for k, place in enumerate(equation.params["broadcast_dimensions"]):
        stretched = node.shape[k] == 1 and shape[place] != 1
        axes.append(along(Label(1)) if stretched else output[int(place)])
    return relabelled(graph, node, axes, output)


def stretched(graph: Graph, node: Node, shape: Sequence[int]) -> Node:
    """A node whose axes of length one are stretched to a shape, as elementwise operations do; scalars stay."""
    if node.shape in ((), tuple(shape)):
        return node
    output = fresh(shape)
    axes = [along(Label(1)) if n != index.extent else index for n, index in zip(node.shape, output, strict=True)]
    return relabelled(graph, node, axes, output)


def _squeeze(graph: Graph, equation: Equation, inputs: Sequence[Node]) -> Node:
    return reshaped_units(graph, inputs[0], equation.outputs[0].shape)


def reshaped_units(graph: Graph, node: Node, shape: Sequence[int]) -> Node:
    """A reshape that only adds or removes axes of length one."""
    axes, output = list(fresh(node.shape)), list(fresh(shape))
    long = [x for x in axes if x.extent != 1]
    for k, place in enumerate(output):
        if place.extent != 1:
            output[k] = long.pop(0)
    return relabelled(graph, node, axes, output)


ROWS: Mapping[str, Row] = {
    "dot_general": of_one_result(_dot_general),
    "reduce_sum": of_one_result(_reduce_sum),
    "transpose": of_one_result(_transpose),
    "broadcast_in_dim": of_one_result(_broadcast_in_dim),
    "squeeze": of_one_result(_squeeze),
}
