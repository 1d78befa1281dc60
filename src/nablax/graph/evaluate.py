"""Lowering: a graph evaluated with plain JAX, each node once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import jax
import jax.numpy as jnp
import numpy as np

from nablax.graph.contract import contract
from nablax.graph.move import move
from nablax.graph.node import Node, reachable, selecting
from nablax.ops.kinds import (
    Call,
    Constant,
    Contraction,
    Elementwise,
    IndexMap,
    Leaf,
    MatrixFunction,
    Opaque,
    Placeholder,
    Selection,
)
from nablax.ops.linear_map import LinearMap
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
    stored = _read_elsewhere(needed)
    results: dict[_CallOn, Sequence[Any]] = {}
    several: dict[_CallOn, Sequence[Any]] = {}
    for node in _in_order(needed, sources, values):
        if node in sources:
            source = sources[node]
            made = (source.call.key, source.inputs)
            if made not in results:
                given = [values[one] for one in source.inputs]
                results[made] = source.call.function(*_stored(source.inputs, given))
            values[node] = results[made][source.place]
        elif isinstance(node.kind, MatrixFunction):
            values[node] = _matrix_function(node, node.kind, values, several)
        else:
            chosen = _selecting(node, values)
            inputs = [values[one.inputs[0] if k == chosen else one] for k, one in enumerate(node.inputs)]
            value = _value(node, inputs, leaves, chosen)
            values[node] = jax.lax.optimization_barrier(value) if node in stored else value
    found = [values[node] for node in outputs]
    return [value.dense() if isinstance(value, LinearMap) else value for value in found]


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


# Operations for each element that cost as much as writing it and reading it again, on banded problems of CUTEst.
_STORED_FROM = 4


def _read_elsewhere(needed: Iterable[Node]) -> set[Node]:
    """Elementwise nodes that index maps read in several places, and that cost more to compute again than to store.

    XLA takes what an index map reads into the fusion of its reader, and computes it again at every place where it is
    read: a power that five diagonals of a banded Hessian read is computed ten times for each element. A barrier has it
    computed once (XLA on CPU heeds it from jax 0.11 or 0.12 on; 0.10.2 drops it before it fuses).
    """
    readers = Counter(one for node in needed if isinstance(node.kind, IndexMap) for one in node.inputs)
    return {
        node
        for node, count in readers.items()
        if isinstance(node.kind, Elementwise) and node.kind.function.flops * (count - 1) >= _STORED_FROM
    }


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


def _matrix_function(
    node: Node, kind: MatrixFunction, values: Mapping[Node, Any], several: dict[_CallOn, Sequence[Any]]
) -> Any:
    """One value of a matrix function; all of one operation are evaluated together."""
    row, inputs = ROWS[kind.name], [values[one] for one in node.inputs]
    if row.shapes is None:
        return row.evaluate(*inputs, **dict(kind.params))
    params = dict(kind.params)
    output = params.pop("output")
    made = ((kind.name, *sorted(params.items())), node.inputs)
    if made not in several:
        several[made] = row.evaluate(*inputs, **params)
    return several[made][output]


def _selecting(node: Node, values: Mapping[Node, Any]) -> int | None:
    """Which operand of a product is a selection whose positions are known."""
    found = selecting(node)
    return found[0] if found is not None and node.inputs[found[0]].inputs[0] in values else None


def _value(node: Node, inputs: list[Any], leaves: Sequence[Any], chosen: int | None) -> Any:
    kind = node.kind
    match kind:
        case Leaf():
            given = leaves[kind.position]
            return given if node.dtype == np.dtype(object) else jnp.asarray(given, node.dtype)
        case Constant():
            if isinstance(kind.value, LinearMap):
                return kind.value
            return jnp.asarray(kind.value, node.dtype)
        case Elementwise():
            return jnp.broadcast_to(kind.function(*inputs), node.shape)
        case Contraction():
            return contract(kind, inputs, node.dtype, chosen)
        case IndexMap():
            return move(kind, inputs, node)
        case Selection():
            [positions] = inputs
            return (positions[..., None] == jnp.arange(node.shape[-1])).astype(node.dtype)
        case MatrixFunction():
            raise TypeError("evaluated with the other values of its operation")
        case Opaque():
            return kind.call.function(*_stored(node.inputs, inputs))[kind.place]
        case Placeholder():
            raise TypeError("a placeholder stands for an input while one node is differentiated; it has no value")
        case _:
            assert_never(kind)
