"""The planned derivative of a problem: the engine's terms, for printing and for checking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from nablax.derivation.algebra import Algebra
from nablax.derivation.problem import SYMMETRIC, Problem
from nablax.derivation.read_nodes import Reader
from nablax.derivation.tensors import Atom, AtomKind, Poly
from nablax.errors import DerivationError, UnprintableError
from nablax.formula import Kind, Operation
from nablax.graph.evaluate import evaluate
from nablax.graph.from_jaxpr import build
from nablax.graph.fuse import fuse
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm, reachable
from nablax.graph.recognise import CLOSED_FORM
from nablax.ops.jaxprs import trace
from nablax.ops.kinds import Opaque
from nablax.sweeps.asked import Asked
from nablax.sweeps.second_order import mask_of, reverse, second_order

TRAITS = frozenset({Kind.ORTHOGONAL, Kind.TRIANGULAR, Kind.DIAGONAL})


@dataclass(frozen=True)
class Planned:
    """The derivative as the engine plans it.

    Args:
        graph: makes nodes.
        output: the value.
        leaf: the argument.
        gradient: terms, sides (axes of the output, axes of the argument).
        hessian: terms, sides (axes of the output, row axes, column axes).
    """

    graph: Graph
    output: Node
    leaf: Node
    gradient: list[NodeTerm]
    hessian: list[NodeTerm]

    @property
    def gradient_shape(self) -> tuple[int, ...]:
        """Axes of the output, then of the argument."""
        return self.output.shape + self.leaf.shape

    @property
    def hessian_shape(self) -> tuple[int, ...]:
        """Axes of the output, then twice those of the argument."""
        return self.gradient_shape + self.leaf.shape


def plan(problem: Problem, sizes: Mapping[str, int], order: int, *, printed: bool = False) -> Planned:
    """Trace, build, fuse and sweep.

    Args:
        problem: what is differentiated.
        sizes: elements per size name.
        order: 1 or 2.
        printed: whether that is for a closed form, which what only JAX knows does not have.

    Returns:
        The terms of gradient and Hessian.

    Raises:
        UnprintableError: it is for a closed form, and an operation has no notation.
    """
    with jax.enable_x64(True):
        graph, leaves, output = traced(problem.function(sizes), problem.structs(sizes))
        leaf = leaves[problem.wrt]
        opaque = [x for x in reachable([output]) if isinstance(x.kind, Opaque)] if printed else []
        for kind in (x.kind for x in sorted(opaque, key=lambda x: -x.number)):
            if isinstance(kind, Opaque):
                raise UnprintableError(kind.name, kind.line)  # before anything is swept
        [output] = fuse(graph, [output], leaf.depends)
        hessian: list[NodeTerm] = []
        if order < 2:
            gradient = reverse(graph, output, [leaf])[leaf]
        else:
            found = second_order(graph, output, [leaf], Asked.own_blocks([leaf]))
            gradient = list(found.gradient[leaf])
            hessian = found.block(leaf, leaf).terms()
    return Planned(graph, output, leaf, gradient, hessian)


@dataclass(frozen=True)
class JointlyPlanned:
    """Derivatives by several arguments as the engine plans them.

    Args:
        output: the value.
        leaves: the arguments by place.
        gradients: terms per place, sides (axes of the output, axes of the argument).
        blocks: terms per pair of places, sides (axes of the output, row axes, column axes).
    """

    output: Node
    leaves: Mapping[int, Node]
    gradients: Mapping[int, Sequence[NodeTerm]]
    blocks: Mapping[tuple[int, int], Sequence[NodeTerm]]


def plan_jointly(problem: Problem, places: Sequence[int], order: int) -> JointlyPlanned:
    """Trace, build, fuse and one sweep for all arguments.

    Args:
        problem: what is differentiated.
        places: of the arguments.
        order: 1 or 2.
    """
    sizes = problem.symbolic_sizes
    with jax.enable_x64(True):
        graph, every, output = traced(problem.function(sizes), problem.structs(sizes))
        leaves = {place: every[place] for place in places}
        [output] = fuse(graph, [output], mask_of(leaves.values()))
        if order < 2:
            found = reverse(graph, output, leaves.values())
            return JointlyPlanned(output, leaves, {place: found[leaf] for place, leaf in leaves.items()}, {})
        swept = second_order(graph, output, leaves.values(), Asked.between(leaves.values(), leaves.values()))
        gradients = {place: list(swept.gradient[leaf]) for place, leaf in leaves.items()}
        pairs = [(row, column) for row in places for column in places]
        blocks = {(row, column): swept.block(leaves[row], leaves[column]).terms() for row, column in pairs}
    return JointlyPlanned(output, leaves, gradients, blocks)


def traced(function: Callable[..., Any], structs: Sequence[jax.ShapeDtypeStruct]) -> tuple[Graph, Sequence[Node], Node]:
    """A function of arrays as a graph: its leaves and its value."""
    graph = Graph()
    program = trace(lambda *arguments: [_single(function(*arguments))], structs)
    leaves, [output] = build(graph, program, CLOSED_FORM)
    return graph, leaves, output


def _single(value: Any) -> Any:
    leaves = jax.tree.leaves(value)
    if len(leaves) != 1:
        raise DerivationError(f"a closed form is of a function with one array as value, not {len(leaves)}")
    return leaves[0]


def atoms(problem: Problem, sizes: Mapping[str, int]) -> dict[int, Atom]:
    """The atom of each argument."""
    found = {}
    for place, (argument, struct) in enumerate(zip(problem.arguments, problem.structs(sizes), strict=True)):
        kind = AtomKind.SIZE if argument.name in problem.units else AtomKind.LEAF
        trait = argument.kind.value if argument.kind in TRAITS else ""
        if problem.formula is not None and argument.name in problem.formula.variables:
            trait = "positive" if problem.formula.variables[argument.name].positive else trait
        found[place] = Atom(kind, argument.name, struct.shape, (), argument.kind in SYMMETRIC, trait)
    return found


@dataclass(frozen=True)
class Polys:
    """Value, gradient and Hessian of a problem in index notation."""

    value: Poly
    gradient: Poly
    hessian: Poly
    algebra: Algebra
    leaf: Atom


def read(problem: Problem, planned: Planned, *, expand: bool) -> Polys:
    """The planned derivative as polys."""
    algebra, leaves, reader = reader_of(problem, expand=expand)
    with jax.enable_x64(True):
        return Polys(
            reader.node(planned.output),
            reader.terms(planned.gradient, planned.gradient_shape),
            reader.terms(planned.hessian, planned.hessian_shape),
            algebra,
            leaves[problem.wrt],
        )


def reader_of(problem: Problem, *, expand: bool) -> tuple[Algebra, dict[int, Atom], Reader]:
    """What reads nodes of the trace at symbolic sizes: its algebra, and the atoms of the arguments."""
    sizes = problem.symbolic_sizes
    names = {} if sizes == problem.numeric_sizes else {length: name for name, length in sizes.items()}
    algebra = Algebra(names, expand=expand)
    leaves = atoms(problem, sizes)
    return algebra, leaves, Reader(algebra, leaves, equalities=_asks_for_equality(problem))


def _asks_for_equality(problem: Problem) -> bool:
    nodes = () if problem.formula is None else problem.formula.expression.walk()
    return any(node.operation is Operation.COMPARE and node.label in ("==", "!=") for node in nodes)


def higher(problem: Problem, sizes: Mapping[str, int], order: int) -> tuple[Graph, list[Node]]:
    """Derivatives 1 … order of a scalar function of a scalar, each the reverse sweep of the one before."""
    planned = plan(problem, sizes, 1)
    with jax.enable_x64(True):
        dtype = np.dtype(np.float64)
        found = [planned.graph.sum_of(planned.gradient, (), dtype)]
        while len(found) < order:
            terms = reverse(planned.graph, found[-1], [planned.leaf]).get(planned.leaf, [])
            found.append(planned.graph.sum_of(terms, (), dtype))
    return planned.graph, found


def evaluator(problem: Problem, order: int, sizes: Mapping[str, int] | None = None) -> Callable[..., Any]:
    """The engine's own value, gradient and Hessian, compiled; by default at the sizes of the check."""
    planned = plan(problem, problem.numeric_sizes if sizes is None else sizes, order)
    with jax.enable_x64(True):
        dtype = np.dtype(np.float64)
        outputs = [planned.output, planned.graph.sum_of(planned.gradient, planned.gradient_shape, dtype)]
        if order > 1:
            outputs.append(planned.graph.sum_of(planned.hessian, planned.hessian_shape, dtype))
    return jax.jit(lambda *leaves: evaluate(outputs, leaves))
