"""Run a plan: the answer of every slot, as plain JAX."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from nablax.graph.evaluate import evaluate
from nablax.graph.node import Node
from nablax.planning.answer import Columns, Slot
from nablax.planning.choose import Choice, fixed_nodes
from nablax.planning.higher_order import places_of_tuples, unit_tuples
from nablax.planning.question import Ending


def run(choice: Choice, arrays: Sequence[Any], known: Mapping[Node, Any] | None = None) -> dict[Slot, Any]:
    """Evaluate the chosen candidate.

    Args:
        choice: the plan.
        arrays: one per leaf, then one per direction if the question has a vector.
        known: values of nodes that are there already.

    Returns:
        The value of every slot.
    """
    answer = choice.chosen.answer
    if answer is None:
        raise AssertionError("a chosen candidate has an answer")
    values = evaluate(list(answer.nodes.values()), arrays, known)
    found = dict(zip(answer.nodes, values, strict=True))
    for loop in answer.loops:
        found |= (_over_tuples if loop.others else _looped)(choice, loop, arrays, known)
    return found


def _looped(choice: Choice, loop: Columns, arrays: Sequence[Any], known: Mapping[Node, Any] | None) -> dict[Slot, Any]:
    if loop.size == 0:
        return {name: _empty(choice, loop, node) for name, node in loop.products.items()}
    empty = {name: _empty(choice, loop, node) for name, node in loop.products.items() if node.size == 0}
    names = [name for name in loop.products if name not in empty]
    products = [loop.products[name] for name in names]
    fixed = fixed_nodes(products, {loop.direction})
    once = dict(zip(fixed, evaluate(fixed, arrays, known), strict=True))
    leaf = choice.problem.asked[loop.leaf]
    shape = leaf.shape
    dense = choice.question.ending is Ending.DENSE

    def column(position: Any) -> Any:
        unit = (jnp.arange(leaf.size) == position).astype(leaf.dtype).reshape(shape)
        values = evaluate(products, arrays, {**once, loop.direction: unit})
        return values if dense or loop.scalar else [jnp.ravel(value)[position] for value in values]

    columns = jax.lax.map(column, jnp.arange(leaf.size), batch_size=min(choice.chosen.chunk, leaf.size))
    found = dict(zip(names, columns, strict=True))
    if dense:
        turned = {n: jnp.moveaxis(stack, 0, -1).reshape(stack.shape[1:] + shape) for n, stack in found.items()}
        return {**empty, **turned}
    if choice.question.ending is Ending.DIAGONAL:
        return {name: stack.reshape(shape).astype(leaf.dtype) for name, stack in found.items()}
    return {name: stack.sum().astype(leaf.dtype) for name, stack in found.items()}


def _over_tuples(
    choice: Choice, loop: Columns, arrays: Sequence[Any], known: Mapping[Node, Any] | None
) -> dict[Slot, Any]:
    """Products along tuples of unit directions, those of one leaf rising; the others are their permutations."""
    asked = choice.problem.asked
    tail = (*(b for b, _ in loop.others), loop.leaf)
    held = (*(node for _, node in loop.others), loop.direction)
    leaves = [asked[b] for b in tail]
    sizes = [leaf.size for leaf in asked]
    names, products = list(loop.products), list(loop.products.values())
    extents = tuple(n for leaf in leaves for n in leaf.shape)
    if 0 in extents:
        stacks = [jnp.zeros((0, *node.shape), node.dtype) for node in products]
    else:
        wanted = [node for node in products if node.size]
        fixed = fixed_nodes(wanted, loop.moving)
        once = dict(zip(fixed, evaluate(fixed, arrays, known), strict=True))

        def along(row: Any) -> Any:
            units = {
                node: (jnp.arange(leaf.size) == row[slot]).astype(leaf.dtype).reshape(leaf.shape)
                for slot, (node, leaf) in enumerate(zip(held, leaves, strict=True))
            }
            return evaluate(wanted, arrays, {**once, **units})

        tuples = unit_tuples(tail, sizes)
        chunk = min(choice.chosen.chunk, len(tuples))
        made = dict(zip(wanted, jax.lax.map(along, jnp.asarray(tuples), batch_size=chunk), strict=True))
        stacks = [made.get(node, jnp.zeros((len(tuples), *node.shape), node.dtype)) for node in products]
        whole = places_of_tuples(tail, sizes)
        stacks = [stack if whole is None else stack[jnp.asarray(whole)] for stack in stacks]
    found = {}
    for (number, a, *_), stack in zip(names, stacks, strict=True):
        value = jnp.moveaxis(stack, 0, -1).reshape(stack.shape[1:] + extents)
        first = value.ndim - len(extents)
        groups, start = [], first
        for leaf in leaves:
            groups.append(list(range(start, start + len(leaf.shape))))
            start += len(leaf.shape)
        for turn in itertools.permutations(range(len(tail))):
            name = (number, a, *(tail[k] for k in turn))
            if name not in found:
                axes = [*range(first), *(axis for k in turn for axis in groups[k])]
                found[name] = jnp.transpose(value, axes)
    return found


def _empty(choice: Choice, loop: Columns, product: Node) -> Any:
    """The answer about a leaf without elements."""
    leaf = choice.problem.asked[loop.leaf]
    match choice.question.ending:
        case Ending.DENSE:
            return jnp.zeros(product.shape + leaf.shape, product.dtype)
        case Ending.DIAGONAL:
            return jnp.zeros(leaf.shape, leaf.dtype)
        case _:
            return jnp.zeros((), leaf.dtype)
