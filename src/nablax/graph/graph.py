"""The hash-consed graph, which makes nodes: equal expressions are one node."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np

from nablax.contraction.index import Index, Label, along, fresh
from nablax.contraction.order import pairwise_order
from nablax.contraction.term import Factor, Term, elements
from nablax.graph.factors import first_selected, is_guard, selected_label, unguarded, windows_last
from nablax.graph.node import Node, NodeFactor, NodeTerm, direction, map_of
from nablax.ops.elementwise import ROWS
from nablax.ops.kinds import (
    AxesMap,
    Constant,
    Contraction,
    Elementwise,
    IndexMap,
    Kind,
    Leaf,
    MatrixFunction,
    Opaque,
    Placeholder,
    Selection,
)
from nablax.ops.linear_map import ROWS as LINEAR
from nablax.ops.linear_map import LinearMap
from nablax.ops.scalar_function import ScalarFunction, from_jax


class Graph:
    """Makes nodes. The only mutable thing of a plan; nodes themselves never change."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[Any, ...], Node] = {}
        self._count = 0
        # The highest precision that the user's function asks of a matrix product; its derivatives keep it.
        self.precision: Any = None
        # The user's source line that is being read or differentiated; new nodes carry it.
        self.line = ""

    @property
    def count(self) -> int:
        """Number of nodes made so far; the next one gets this number."""
        return self._count

    def holds(self, test: Callable[[Node], bool]) -> bool:
        """Whether any node passes a test."""
        return any(test(node) for node in self._nodes.values())

    # -- making nodes ------------------------------------------------------------------------------

    def _make(self, kind: Kind, inputs: tuple[Node, ...], shape: Sequence[int], dtype: Any) -> Node:
        dtype = jnp.dtype(dtype)
        if not isinstance(kind, Contraction):  # only a product knows how to read a matrix that is not written out
            inputs = tuple(self.written(node) for node in inputs)
        key = (kind, tuple(node.number for node in inputs), tuple(shape), dtype)
        if key not in self._nodes:
            depends = 0
            if jnp.issubdtype(dtype, jnp.floating):
                if isinstance(kind, Leaf | Placeholder):
                    depends = 1 << kind.position
                elif not _is_flat(kind):
                    for node in inputs:
                        depends |= node.depends
            self._nodes[key] = Node(kind, inputs, tuple(int(n) for n in shape), dtype, self._count, depends, self.line)
            self._count += 1
        return self._nodes[key]

    def leaf(self, position: int, shape: Sequence[int], dtype: Any) -> Node:
        """An argument."""
        return self._make(Leaf(position), (), shape, dtype)

    def placeholder(self, position: int, node: Node) -> Node:
        """A node of the same shape and dtype that depends on nothing but itself."""
        return self._make(Placeholder(position), (), node.shape, node.dtype)

    def at(self, node: Node) -> None:
        """What is made from now on serves the line of `node`."""
        self.line = node.line

    def constant(self, value: Any) -> Node:
        """An array known when tracing; small ones are equal by value, large ones and tracers by identity."""
        if isinstance(value, np.ndarray | np.generic) and value.nbytes <= 4096:
            key: Any = (np.asarray(value).tobytes(),)
        else:
            key = _Identity(value)
        return self._make(Constant(value, key), (), np.shape(value), value.dtype)

    def linear_map(self, name: str, made: Sequence[int], given: Sequence[int], dtype: Any, **params: Any) -> Node:
        """The matrix of a row of the linear maps, axes (of a value, of an argument)."""
        own = LinearMap(LINEAR[name], tuple(sorted(params.items())), tuple(made), tuple(given), jnp.dtype(dtype))
        return self._matrix(own)

    def _matrix(self, linear: LinearMap) -> Node:
        return self._make(Constant(linear, linear), (), linear.shape, linear.dtype)

    def written(self, node: Node) -> Node:
        """A node as an array: the matrix of a linear map is the map of the identity."""
        linear = map_of(node)
        if linear is None:
            return node
        given = fresh(linear.given)
        inner = fresh(linear.given)
        made = fresh(linear.made)
        labels = [index.label for index in (*inner, *given) if index.label is not None]
        half = len(labels) // 2
        sizes = tuple(label.size for label in labels[:half])
        one = self._make(Contraction((), (*range(half), *range(half)), sizes, 1.0), (), sizes * 2, node.dtype)
        factors = (Factor(node, (*made, *inner)), Factor(one, (*inner, *given)))
        return self.multiply(Term(1.0, factors, ((*made, *given),)), node.dtype)

    def elementwise(self, function: ScalarFunction, inputs: Sequence[Node]) -> Node:
        """A scalar function of each element."""
        shape = max((node.shape for node in inputs), key=len, default=())
        if function.constant is not None:
            return self.full(function.constant, shape, function.dtype)
        if not function.instructions and isinstance(function.result, int):
            return inputs[function.result]
        return self._make(Elementwise(function), tuple(inputs), shape, function.dtype)

    def remake(self, node: Node, inputs: Sequence[Node]) -> Node:
        """The same operation on other inputs of the same shapes and dtypes."""
        return self._make(node.kind, tuple(inputs), node.shape, node.dtype)

    def full(self, value: float, shape: Sequence[int], dtype: Any) -> Node:
        """An array of equal values."""
        labels = tuple(range(len(shape)))
        return self._make(Contraction((), labels, tuple(shape), float(value)), (), shape, dtype)

    def index_map(self, maps: Sequence[AxesMap], inputs: Sequence[Node], shape: Sequence[int]) -> Node:
        """Elements moved along static maps."""
        dtype = jnp.result_type(*(node.dtype for node in inputs))
        if len(maps) == 1 and tuple(shape) == inputs[0].shape:
            [only] = maps
            sources = [index.label for index in only.source]
            distinct = None not in sources and len(set(sources)) == len(sources)
            if distinct and sources == [index.label for index in only.target]:
                return inputs[0]
        return self._make(IndexMap(tuple(maps)), tuple(inputs), shape, dtype)

    def selection(self, positions: Node, extent: int, dtype: Any) -> Node:
        """Ones at positions along a new last axis; see `Selection`."""
        return self._make(Selection(), (positions,), (*positions.shape, extent), dtype)

    def matrix_function(self, name: str, inputs: Sequence[Node], shape: Sequence[int], **params: Any) -> Node:
        """A row of the matrix functions."""
        return self._make(MatrixFunction(name, tuple(sorted(params.items()))), tuple(inputs), shape, inputs[0].dtype)

    def opaque(self, kind: Opaque, inputs: Sequence[Node], shape: Sequence[int], dtype: Any) -> Node:
        """An operation that only JAX knows."""
        return self._make(kind, tuple(inputs), shape, dtype)

    def guards(self, axes: Iterable[Index], dtype: Any) -> tuple[NodeFactor, ...]:
        """Ones read at each index that leaves its axis: zero where nothing is there."""
        return tuple(Factor(self.constant(np.ones(index.extent, dtype)), (index,)) for index in axes if index.leaves)

    def add(self, nodes: Sequence[Node]) -> Node:
        """The sum of nodes of one shape."""
        if len(nodes) == 1:
            return nodes[0]
        nodes = sorted(nodes, key=lambda node: node.number)
        return self.elementwise(_sum_of(tuple(node.dtype.name for node in nodes)), nodes)

    def cast(self, node: Node, dtype: Any) -> Node:
        """The node in another dtype."""
        dtype = jnp.dtype(dtype)
        if node.dtype == dtype:
            return node
        linear = map_of(node)
        if linear is not None:
            return self._matrix(replace(linear, dtype=dtype))
        return self.elementwise(from_jax(lambda value: value.astype(dtype), node.dtype.name), (node,))

    # -- products ----------------------------------------------------------------------------------

    def multiply(self, term: NodeTerm, dtype: Any, *, symmetric: bool = False) -> Node:
        """Multiply a term out into one node whose axes are those of its sides, one after the other.

        Args:
            term: the term.
            dtype: dtype of the result.
            symmetric: whether the two halves of the result's axes can be exchanged.

        Returns:
            The node; labels that stand in no factor become broadcast axes, labels that two axes share put
            the values on a diagonal, axes that are static index maps are scattered into.
        """
        axes = tuple(index for side in term.sides for index in side)
        labels = term.open_labels
        bare = all(index.label is not None for index in axes)
        if bare:
            output: tuple[Label, ...] = tuple(index.label for index in axes if index.label is not None)
            return self._contract(term.coefficient, term.factors, output, dtype, symmetric=symmetric)
        values = self._contract(term.coefficient, term.factors, labels, dtype)
        spread = AxesMap(tuple(along(label) for label in labels), axes)
        return self.index_map((spread,), (values,), tuple(index.extent for index in axes))

    def product(self, factors: Sequence[NodeFactor], summed: Collection[Label]) -> NodeFactor:
        """The product of factors, summed over some labels, as one factor."""
        dtype = jnp.result_type(*(factor.operand.dtype for factor in factors))
        order = tuple(dict.fromkeys(x for factor in factors for x in factor.labels if x not in summed))
        node = self._contract(1.0, factors, order, dtype)
        return Factor(node, tuple(along(label) for label in order))

    def sum_of(self, terms: Iterable[NodeTerm], shape: Sequence[int], dtype: Any) -> Node:
        """The sum of terms, multiplied out; zeros where there are none."""
        nodes = [self.multiply(term, dtype) for term in terms]
        return self.add(nodes) if nodes else self.full(0.0, shape, dtype)

    def _contract(
        self,
        coefficient: float,
        factors: Sequence[NodeFactor],
        output: tuple[Label, ...],
        dtype: Any,
        *,
        symmetric: bool = False,
    ) -> Node:
        """Multiply factors pairwise, in the order with the fewest operations."""
        dtype = jnp.dtype(dtype)
        factors = unguarded(factors)
        if any(selected_label(factor) is not None for factor in factors):
            return self._selected(coefficient, factors, output, dtype)
        waiting = [self._summed(factor, factors, output) for factor in self._merged(factors)]
        if len(waiting) < 2:
            return self._product(coefficient, waiting, output, dtype)
        sizes = {label: label.size for _, labels in waiting for label in labels}
        present = [label for label in dict.fromkeys(output) if label in sizes]
        path = pairwise_order([labels for _, labels in waiting], present, sizes)
        for step, positions in enumerate(path):
            taken = [waiting[k] for k in positions]
            waiting = [pair for k, pair in enumerate(waiting) if k not in positions]
            if step == len(path) - 1:
                return self._product(coefficient, taken, output, dtype, symmetric=symmetric)
            elsewhere = {label for _, labels in waiting for label in labels} | set(output)
            # many rows by few columns: the order in which a product of matrices is written fastest
            widest = sorted(taken, key=lambda pair: -elements(pair[1]))
            kept = tuple(x for x in dict.fromkeys(x for _, labels in widest for x in labels) if x in elsewhere)
            waiting.append((self._product(1.0, taken, kept, _common(taken)), kept))
        raise AssertionError("a path ends with one product")

    def _selected(
        self, coefficient: float, factors: Sequence[NodeFactor], output: tuple[Label, ...], dtype: Any
    ) -> Node:
        """A product with selections: what positions name is read first, what is put at positions is put last.

        Of several selections along one label all but one say that their positions are those of the first.
        """
        waiting = list(factors)
        everything = {label for factor in factors for label in factor.labels}
        hot: set[Label] = set()
        last: list[NodeFactor] = []
        while (label := first_selected(waiting)) is not None:
            group = [one for one in waiting if selected_label(one) is label]
            first = min(group, key=lambda one: (elements(one.labels), one.operand.number))
            waiting = [one for one in waiting if selected_label(one) is not label]
            waiting += [same for one in group if (same := self._coinciding(first, one)) is not None]
            read = [one for one in waiting if label in one.labels]
            waiting = [one for one in waiting if label not in one.labels]
            waiting += [self._named_by(first, one, label) for one in read]
            hot.add(label)
            if label in output:
                last.append(first)
        left = {label for one in (*waiting, *last) for label in one.labels} | set(output)
        coefficient *= elements(label for label in everything - left if label not in hot)
        if not last:
            return self._contract(coefficient, waiting, output, dtype)
        needed = (set(output) - hot) | {label for one in last for label in one.labels if label not in hot}
        present = dict.fromkeys(label for one in waiting for label in one.labels)
        labels = tuple(label for label in present if label in needed)
        common = jnp.result_type(*(one.operand.dtype for one in (*waiting, *last)))
        value = self._contract(1.0, waiting, labels, common)
        last.sort(key=lambda one: elements(one.labels))
        for k, one in enumerate(last):
            put, bare = self._on_labels(one)
            if k == len(last) - 1:
                return self._product(coefficient, [(put, bare), (value, labels)], output, dtype)
            later = {label for other in last[k + 1 :] for label in other.labels} | set(output)
            kept = tuple(label for label in dict.fromkeys((*labels, *bare)) if label in later)
            value, labels = self._product(1.0, [(put, bare), (value, labels)], kept, common), kept
        raise AssertionError("the last selection ends the product")

    def _named_by(self, selection: NodeFactor, other: NodeFactor, summed: Label) -> NodeFactor:
        """What positions name in a factor; where that is a selection itself, the selection of what they name there."""
        if selected_label(other) is not None:
            at = self._named_by(selection, Factor(other.operand.inputs[0], other.axes[:-1]), summed)
            place = other.axes[-1]
            return Factor(self.selection(at.operand, place.extent, other.operand.dtype), (*at.axes, place))
        pairs = [self._on_labels(selection), self._on_labels(other)]
        kept = tuple(label for label in dict.fromkeys(x for _, ls in pairs for x in ls) if label is not summed)
        return Factor(self._product(1.0, pairs, kept, other.operand.dtype), tuple(along(label) for label in kept))

    def _coinciding(self, first: NodeFactor, other: NodeFactor) -> NodeFactor | None:
        """One where two selections along a label name the same position; None where they are one."""
        if other is first:
            return None
        pairs = [self._on_labels(Factor(one.operand.inputs[0], one.axes[:-1])) for one in (first, other)]
        if pairs[0] == pairs[1]:
            return None
        labels = tuple(dict.fromkeys(label for _, ls in pairs for label in ls))
        spread = [self._product(1.0, [pair], labels, pair[0].dtype) for pair in pairs]
        equal = _equality(spread[0].dtype.name, spread[1].dtype.name, other.operand.dtype.name)
        return Factor(self.elementwise(equal, spread), tuple(along(label) for label in labels))

    def _merged(self, factors: Sequence[NodeFactor]) -> list[tuple[Node, tuple[Label, ...]]]:
        """Factors on bare labels; those on the same labels are multiplied elementwise, equal ones squared."""
        groups: dict[frozenset[Label], list[tuple[Node, tuple[Label, ...]]]] = {}
        for factor in factors:
            node, labels = self._on_labels(factor)
            groups.setdefault(frozenset(labels), []).append((node, labels))
        merged = []
        for group in groups.values():
            group.sort(key=lambda pair: pair[0].number)
            node, labels = group[0]
            for other, others in group[1:]:
                node = self._product(
                    1.0, [(node, labels), (other, others)], labels, _common([(node, labels), (other, others)])
                )
            merged.append((node, labels))
        return merged

    def _on_labels(self, factor: NodeFactor) -> tuple[Node, tuple[Label, ...]]:
        """A factor as a node with one distinct bare label per axis."""
        bare = tuple(index.label for index in factor.axes if index.label is not None)
        if len(bare) == len(factor.axes) == len(set(bare)):
            return factor.operand, bare
        if isinstance(factor.operand.kind, Selection) and selected_label(factor) is not None:
            at, labels = self._on_labels(Factor(factor.operand.inputs[0], factor.axes[:-1]))
            return self.selection(at, factor.axes[-1].extent, factor.operand.dtype), (*labels, bare[-1])
        labels = windows_last(factor.axes)
        if len(bare) == len(factor.axes):  # a diagonal is taken
            return self._product(1.0, [(factor.operand, bare)], labels, factor.operand.dtype), labels
        if is_guard(factor):  # known here
            [index] = factor.axes
            positions = index.positions()
            there = (positions >= 0) & (positions < index.extent)
            return self.constant(there.astype(factor.operand.dtype)), labels
        taken = AxesMap(factor.axes, tuple(along(label) for label in labels))
        shape = tuple(label.size for label in labels)
        return self.index_map((taken,), (factor.operand,), shape), labels

    def _summed(
        self, pair: tuple[Node, tuple[Label, ...]], factors: Sequence[NodeFactor], output: Sequence[Label]
    ) -> tuple[Node, tuple[Label, ...]]:
        """Sum at once over labels that no other factor and no output has."""
        node, labels = pair
        if len(factors) == 1:
            return pair
        mine = frozenset(labels)
        others = {x for factor in factors if frozenset(factor.labels) != mine for x in factor.labels}
        kept = tuple(label for label in labels if label in others or label in output)
        if len(kept) == len(labels):
            return pair
        return self._product(1.0, [pair], kept, node.dtype), kept

    def _readable(
        self, factors: Sequence[tuple[Node, tuple[Label, ...]]], output: Sequence[Label]
    ) -> Sequence[tuple[Node, tuple[Label, ...]]]:
        """Factors among which no matrix of a linear map stands that the product would have to write out."""
        if len(factors) == 1:
            [(node, labels)] = factors
            linear = map_of(node)
            assert linear is not None
            if tuple(labels) == tuple(output) and len(set(labels)) == len(labels):
                return factors
            for summed in (labels[: len(linear.made)], labels[len(linear.made) :]):
                rest = [label for label in labels if label not in summed]
                if (
                    len(rest) + len(summed) == len(labels)
                    and not set(summed) & set(output)
                    and set(rest) <= set(output)
                ):
                    return [(node, labels), (self.full(1.0, [x.size for x in summed], node.dtype), summed)]
            return [(self.written(node), labels)]
        (a, a_labels), (b, b_labels) = factors
        if a is b and a_labels == b_labels:
            linear = map_of(a)
            squared = None if linear is None else linear.square
            if squared is not None:
                return [(self._matrix(squared), a_labels)]
        for place, (one, own, other) in enumerate(((a, a_labels, b_labels), (b, b_labels, a_labels))):
            linear = map_of(one)
            if linear is not None and direction(linear, own, other, output) is not None:
                return [(x if k == place else self.written(x), ls) for k, (x, ls) in enumerate(factors)]
        return [(self.written(x), ls) for x, ls in factors]

    def _product(
        self,
        coefficient: float,
        factors: Sequence[tuple[Node, tuple[Label, ...]]],
        output: Sequence[Label],
        dtype: Any,
        *,
        symmetric: bool = False,
    ) -> Node:
        """The node of one contraction; operands in a canonical order, labels numbered by appearance."""
        if any(map_of(node) is not None for node, _ in factors):
            factors = self._readable(factors, output)
        if len(factors) > 1:
            factors = sorted(factors, key=lambda pair: pair[0].number)
        if len(factors) == 1:
            [(node, labels)] = factors
            if coefficient == 1.0 and tuple(labels) == tuple(output) and len(set(labels)) == len(labels):
                return self.cast(node, dtype)
            inner = node.kind
            distinct = len(set(labels)) == len(labels)
            if isinstance(inner, Contraction) and len(inner.inputs) <= 1 and distinct and _is_plain(inner):
                # a contraction of a contraction of at most one factor is one contraction
                named = dict(zip(inner.output, labels, strict=True))
                for k, size in enumerate(inner.sizes):
                    named.setdefault(k, Label(size))
                within = {named[k] for ls in inner.inputs for k in ls}
                lost = elements(label for label in labels if label not in within and label not in output)
                pairs = [(n, tuple(named[k] for k in ls)) for n, ls in zip(node.inputs, inner.inputs, strict=True)]
                return self._product(coefficient * inner.coefficient * lost, pairs, output, dtype)
        number: dict[Label, int] = {}
        for label in (*(x for _, labels in factors for x in labels), *output):
            number.setdefault(label, len(number))
        kind = Contraction(
            tuple(tuple(number[x] for x in labels) for _, labels in factors),
            tuple(number[x] for x in output),
            tuple(label.size for label in number),
            float(coefficient),
            symmetric and len(factors) == 2 and len(set(output)) == len(output),
            self.precision if len(factors) == 2 else None,
        )
        return self._make(kind, tuple(n for n, _ in factors), tuple(x.size for x in output), dtype)


@lru_cache(maxsize=64)
def _equality(a: str, b: str, dtype: str) -> ScalarFunction:
    return from_jax(lambda x, y: (x == y).astype(dtype), a, b)


def _is_plain(kind: Contraction) -> bool:
    """Whether no label of the output is repeated."""
    return len(set(kind.output)) == len(kind.output)


@lru_cache(maxsize=256)
def _sum_of(dtypes: tuple[str, ...]) -> ScalarFunction:
    return from_jax(lambda *values: sum(values[1:], start=values[0]), *dtypes)


def _common(factors: Sequence[tuple[Node, tuple[Label, ...]]]) -> np.dtype[Any]:
    first = factors[0][0].dtype
    if all(node.dtype == first for node, _ in factors):
        return first
    return jnp.result_type(*(node.dtype for node, _ in factors))


@dataclass(frozen=True, slots=True, eq=False)
class _Identity:
    """Compares by identity and keeps its object alive."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


def _is_flat(kind: Kind) -> bool:
    """Whether the derivative is zero by definition."""
    if not isinstance(kind, Elementwise):
        return False
    steps = kind.function.instructions
    return len(steps) == 1 and steps[0].operation.name in ROWS and ROWS[steps[0].operation.name].flat
