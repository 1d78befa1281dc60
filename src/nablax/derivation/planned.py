"""The planned derivative of a problem: the engine's terms, for printing and for checking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from nablax.derivation.algebra import Algebra
from nablax.derivation.problem import Problem
from nablax.derivation.read_nodes import Reader
from nablax.derivation.tensors import Atom, AtomKind, Poly
from nablax.derivation.write import in_kinds
from nablax.errors import DerivationError, UnprintableError
from nablax.formula import Kind, Operation
from nablax.formula.symmetry import SYMMETRIC_KINDS
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

MOST_OPERATIONS = 150  # of a function: a loop of as many turns as an axis is long has more
TRAITS = frozenset({Kind.ORTHOGONAL, Kind.TRIANGULAR, Kind.DIAGONAL, Kind.SKEW})


@dataclass(frozen=True)
class Planned:
    """Derivatives by some of the arguments as the engine plans them.

    Args:
        graph: makes nodes.
        output: the value.
        leaves: the arguments by place.
        gradients: terms per place, sides (axes of the output, axes of the argument).
        blocks: terms per pair of places, sides (axes of the output, row axes, column axes).
    """

    graph: Graph
    output: Node
    leaves: Mapping[int, Node]
    gradients: Mapping[int, Sequence[NodeTerm]]
    blocks: Mapping[tuple[int, int], Sequence[NodeTerm]]

    def shape(self, *places: int) -> tuple[int, ...]:
        """Axes of the output, then of the arguments by which it was differentiated."""
        return self.output.shape + tuple(size for place in places for size in self.leaves[place].shape)


def plan(
    problem: Problem, sizes: Mapping[str, int], places: Sequence[int], order: int, *, printed: bool = False
) -> Planned:
    """Trace, build, fuse and sweep.

    Args:
        problem: what is differentiated.
        sizes: elements per size name.
        places: of the arguments by which.
        order: 1 or 2.
        printed: whether that is for a closed form, which what only JAX knows does not have.

    Returns:
        The terms of gradients and blocks of the Hessian.

    Raises:
        UnprintableError: it is for a closed form, and an operation has no notation.
    """
    with jax.enable_x64(True):
        graph, every, output = traced(problem.function(sizes), problem.structs(sizes))
        leaves = {place: every[place] for place in places}
        opaque = [x for x in reachable([output]) if isinstance(x.kind, Opaque)] if printed else []
        if printed and problem.formula is None and len(reachable([output])) > MOST_OPERATIONS:
            raise UnprintableError(f"a function of more than {MOST_OPERATIONS} operations", "")
        for kind in (x.kind for x in sorted(opaque, key=lambda x: -x.number)):
            if isinstance(kind, Opaque):
                raise UnprintableError(kind.name, kind.line)  # before anything is swept
        [output] = fuse(graph, [output], mask_of(leaves.values()))
        if order < 2:
            found = reverse(graph, output, leaves.values())
            return Planned(graph, output, leaves, {place: found[leaf] for place, leaf in leaves.items()}, {})
        swept = second_order(graph, output, leaves.values(), Asked.between(leaves.values(), leaves.values()))
        gradients = {place: swept.gradient[leaf] for place, leaf in leaves.items()}
        pairs = [(row, column) for row in places for column in places]
        blocks = {(row, column): swept.block(leaves[row], leaves[column]).terms() for row, column in pairs}
    return Planned(graph, output, leaves, gradients, blocks)


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
        found[place] = Atom(kind, argument.name, struct.shape, (), argument.kind in SYMMETRIC_KINDS, trait)
    return found


@dataclass(frozen=True)
class Polys:
    """Value, gradients and blocks of the Hessian in index notation, and the atoms of the arguments."""

    algebra: Algebra
    leaves: Mapping[int, Atom]
    value: Poly
    gradients: Mapping[int, Poly]
    blocks: Mapping[tuple[int, int], Poly]


def read(problem: Problem, planned: Planned, *, expand: bool) -> Polys:
    """The planned derivatives as polys; of a declared kind of matrix the part that lies among these."""
    algebra, leaves, reader = reader_of(problem, expand=expand)

    def derivative(terms: Sequence[NodeTerm], *places: int) -> Poly:
        found = reader.terms(terms, planned.shape(*places))
        kinds = [(problem.arguments[place].kind, len(leaves[place].axes)) for place in places]
        return in_kinds(algebra, found, len(planned.output.shape), kinds)

    with jax.enable_x64(True):
        return Polys(
            algebra,
            leaves,
            reader.node(planned.output),
            {place: derivative(terms, place) for place, terms in planned.gradients.items()},
            {pair: derivative(terms, *pair) for pair, terms in planned.blocks.items()},
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
    planned = plan(problem, sizes, [problem.wrt], 1)
    leaf = planned.leaves[problem.wrt]
    with jax.enable_x64(True):
        dtype = np.dtype(np.float64)
        found = [planned.graph.sum_of(planned.gradients[problem.wrt], (), dtype)]
        while len(found) < order:
            terms = reverse(planned.graph, found[-1], [leaf]).get(leaf, [])
            found.append(planned.graph.sum_of(terms, (), dtype))
    return planned.graph, found


def evaluator(problem: Problem, order: int, sizes: Mapping[str, int] | None = None) -> Callable[..., Any]:
    """The engine's own value, gradient and Hessian, compiled; by default at the sizes of the check."""
    wrt = problem.wrt
    planned = plan(problem, problem.numeric_sizes if sizes is None else sizes, [wrt], order)
    with jax.enable_x64(True):
        dtype = np.dtype(np.float64)
        outputs = [planned.output, planned.graph.sum_of(planned.gradients[wrt], planned.shape(wrt), dtype)]
        outputs += [planned.graph.sum_of(terms, planned.shape(*pair), dtype) for pair, terms in planned.blocks.items()]
    return jax.jit(lambda *leaves: evaluate(outputs, leaves))
