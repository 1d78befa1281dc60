"""Axes along which the results of a program act on each element of some inputs alone.

Element b of such an axis depends on element b of the inputs only. An operation that JAX differentiates keeps a
Kronecker delta there: all elements are pulled, pushed or moved at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

from nablax.graph.node import Node, reachable
from nablax.ops.kinds import Contraction, Elementwise, IndexMap, Leaf, Opaque

# For each leaf that an element depends on the axis that goes with it; None for a leaf of which it reads more.
Ties = Mapping[int, int | None]


# Axes that several results have in common: the axis of each result, and the axis of every input that goes with it.
SharedAxis = tuple[tuple[int, ...], tuple[int | None, ...]]


def batch_axes_of(results: Sequence[Sequence[Node]], count: int) -> tuple[SharedAxis, ...]:
    """The batch axes that the results of an operation have in common.

    Args:
        results: for each result the nodes of which it is one (the cases of a branch), of one shape and each in a graph
            of the same leaves.
        count: number of leaves.
    """
    ties = [[reduce(_met, axis) for axis in zip(*map(_of_one, cases), strict=True)] for cases in results]
    found: list[SharedAxis] = []
    for axis, first in enumerate(ties[0]):
        axes, common = [axis], first
        for own, others in enumerate(ties[1:], 1):
            free = [k for k in range(len(others)) if k not in {axes[own] for axes, _ in found}]
            free = [k for k in free if results[own][0].shape[k] == results[0][0].shape[axis]]
            if not free:
                break
            axes.append(max(free, key=lambda k: _tied(_met(common, others[k]))))
            common = _met(common, others[axes[-1]])
        if len(axes) == len(results) and _tied(common):
            found.append((tuple(axes), tuple(common.get(k) for k in range(count))))
    return tuple(found)


def keeps(slopes: Mapping[int, Node], axis: SharedAxis) -> bool:
    """Whether cotangents of an operation's inputs keep a batch axis of it.

    Args:
        slopes: for some inputs the cotangent, in a graph whose leaves are the inputs, then cotangents of the results.
        axis: the axis.
    """
    axes, places = axis
    together = (*places, *axes)
    own = [(node, place) for k, node in slopes.items() if (place := places[k]) is not None]
    return all(
        together[leaf] is None or other == together[leaf]
        for node, place in own
        for leaf, other in _of_one(node)[place].items()
    )


def _tied(ties: Ties) -> int:
    return sum(own is not None for own in ties.values())


def _of_one(result: Node) -> tuple[Ties, ...]:
    known: dict[Node, tuple[Ties, ...]] = {}
    for node in reachable([result]):
        known[node] = tuple(_ties(node, axis, known) for axis in range(len(node.shape)))
    return known[result]


def _ties(node: Node, axis: int, known: Mapping[Node, tuple[Ties, ...]]) -> Ties:
    kind = node.kind
    if isinstance(kind, Leaf):
        return {kind.position: axis} if node.depends else {}
    return reduce(_met, (_through(node, axis, k, known) for k in range(len(node.inputs)) if node.depends), {})


def _through(node: Node, axis: int, place: int, known: Mapping[Node, tuple[Ties, ...]]) -> Ties:
    """What an axis of a node is tied to through one of its inputs."""
    source, other = node.inputs[place], _axis_of_input(node, axis, place)
    if other is not None:
        return known[source][other]
    return {k: None for k in range(source.depends.bit_length()) if source.depends >> k & 1}


def _axis_of_input(node: Node, axis: int, place: int) -> int | None:
    """The axis of an input that goes with one of a node; None where there is none."""
    kind = node.kind
    if isinstance(kind, Elementwise):
        return axis if node.inputs[place].shape == node.shape else None
    if isinstance(kind, Contraction):
        label, own = kind.output[axis], kind.inputs[place]
        return own.index(label) if own.count(label) == 1 and kind.output.count(label) == 1 else None
    if isinstance(kind, IndexMap):
        moved, index = kind.maps[place], kind.maps[place].target[axis]
        standing = [k for k, other in enumerate(moved.source) if index.label in other.labels]
        once = sum(index.label in other.labels for other in moved.target) == 1
        bare = len(standing) == 1 and moved.source[standing[0]].label is index.label
        return standing[0] if index.label is not None and once and bare else None
    if isinstance(kind, Opaque):
        return next((places[place] for own, places in kind.call.batch_axes if own == axis), None)
    return None


def _met(a: Ties, b: Ties) -> Ties:
    """What holds for both: where they differ, more than one element is read."""
    return {k: a[k] if k in a and (k not in b or a[k] == b[k]) else b[k] if k not in a else None for k in {*a, *b}}
