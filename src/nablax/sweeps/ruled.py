"""Opaque nodes whose derivatives are programs: solves by the implicit function theorem, functions with rules, branches.

A linear solve is defined by an equation: A(a) x = b gives, for legs L on x and with m = A^-T L,

    leg on b = m,     leg on a = -m . d(A x)/da,     core = -a . d²(A x) / d(a, x)²,

where x itself stands for an input. A function y = f(x) with a forward rule, dy = R(x, y) dx, has the legs L R and the
core d(L R)/d(x, y), of which the symmetric half counts. `jax.lax.custom_root` is such a function, and its rule holds a
solve. Neither the product A x nor the rule R is opaque: both are read as graphs, so that what they keep apart stays
apart, and an n by n matrix of a solve never becomes n² columns.

A branch has the legs and cores of all its cases, each computed where its case is chosen and zero elsewhere: places that
are known while tracing stay known, and what is stored is the union over the cases. That is done where cases move
elements or act on each alone; one that multiplies by a matrix is a dense block in any case.

All of it is found on placeholders for the inputs and the value of the node, which count as independent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from nablax.contraction.index import Label, along, fresh
from nablax.contraction.term import Factor, Term, compose, elements, identity, swap_sides
from nablax.graph.evaluate import evaluate
from nablax.graph.from_jaxpr import Itself, read, unpacked
from nablax.graph.fuse import fuse
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm, reachable
from nablax.ops.jaxprs import LinearSolve, Program
from nablax.ops.kinds import Call, Constant, Opaque, Placeholder
from nablax.sweeps.legs import merge, multiply_out
from nablax.sweeps.local import differential, moved
from nablax.sweeps.opaque_calls import opaque_kind, places_of, structs_of, traced, with_values
from nablax.sweeps.opaque_rules import (
    legs_together,
    opaque_core,
    pull_opaque_all,
    pulled_groups,
    push_opaque,
    side_labels,
)

Legs = dict[Node, list[NodeTerm]]
Forms = dict[tuple[Node, Node], list[NodeTerm]]


def pull_through(graph: Graph, leg: NodeTerm, node: Node, mask: int) -> Legs:
    """Leg on an opaque node times its Jacobian.

    Args:
        graph: makes the nodes.
        leg: sides (rows, axes of the node).
        node: the opaque node.
        mask: bit set of the leaves of interest; only inputs that depend on them are differentiated.

    Returns:
        For each such input the legs on it.
    """
    if opaque_kind(node).call.branches is not None:
        # a row that stands on some elements of a branch reaches but some of its inputs
        some = elements({x for index in leg.sides[1] for x in index.labels}) < node.size
        if (leg.sides[0] or some) and _is_read(graph, node):
            return _cases_pulled(graph, leg, node, mask)
    # one row is one transposed derivative of JAX, whatever the structure
    elif leg.sides[0] and _is_read(graph, node):
        return _solve_pulled(graph, leg, node, mask) if _solve(node) else _rule_pulled(graph, leg, node, mask)
    return {source: [term] for source, term in pull_opaque_all(graph, leg, node, mask).items()}


def push_through(graph: Graph, leg: NodeTerm, node: Node, source: Node, mask: int) -> list[NodeTerm]:
    """Jacobian of an opaque node in one input times a leg on it.

    Args:
        graph: makes the nodes.
        leg: sides (columns, axes of the input).
        node: the opaque node.
        source: the input.
        mask: bit set of the leaves of interest.

    Returns:
        Legs with sides (columns, axes of the node).
    """
    columns = elements(x for index in leg.sides[0] for x in index.labels)
    if not leg.sides[0] or not _is_read(graph, node) or (_solve(node) and columns < node.size):
        return [push_opaque(graph, leg, node, source)]
    jacobian = pull_through(graph, identity(fresh(node.shape)), node, mask)
    pushed = (compose(leg, 1, term, 1) for term in jacobian.get(source, ()))
    return [term for term in pushed if term is not None]


def core_through(graph: Graph, node: Node, adjoint: NodeTerm, mask: int) -> Forms:
    """The core of an opaque node.

    Args:
        graph: makes the nodes.
        node: the node.
        adjoint: sides (open axes, axes of the node).
        mask: bit set of the leaves of interest.

    Returns:
        As `nablax.sweeps.local.second_differential`: the node itself may stand for an input.
    """
    if not _is_read(graph, node):
        return opaque_core(graph, node, adjoint, mask)
    if opaque_kind(node).call.branches is not None:
        return _cases_core(graph, node, adjoint, mask)
    return _solve_core(graph, node, adjoint, mask) if _solve(node) else _rule_core(graph, node, adjoint, mask)


def _solve(node: Node) -> LinearSolve | None:
    return opaque_kind(node).call.solve


def _is_read(graph: Graph, node: Node) -> bool:
    """Whether the node is a solve, or the float results of a function with a rule of its own or of a sparse branch."""
    call = opaque_kind(node).call
    if opaque_kind(node).place != 0:
        return False
    return call.solve is not None or call.ruled is not None or (call.branches is not None and _is_sparse(graph, node))


# -- on placeholders ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Stands:
    """Placeholders for what a node reads and for its value.

    Args:
        of: for each input that moves, and for the node, what stands for it.
        inputs: what stands at each position of the inputs; one that does not move stands for itself.
        tangents: for each input that moves a placeholder for its tangent.
    """

    of: Mapping[Node, Node]
    inputs: tuple[Node, ...]
    tangents: Mapping[Node, Node]


def _stands(graph: Graph, node: Node) -> _Stands:
    moving = [x for x in dict.fromkeys(node.inputs) if x.depends]
    of = {x: graph.placeholder(k, x) for k, x in enumerate([*moving, node])}
    tangents = {x: graph.placeholder(len(of) + k, x) for k, x in enumerate(moving)}
    return _Stands(of, tuple(of.get(x, x) for x in node.inputs), tangents)


def _weighted(graph: Graph, stands: _Stands, leg: NodeTerm, node: Node) -> tuple[Node, Node, NodeTerm]:
    """What stands for a leg's values while a node is differentiated, the values, and the leg that reads the first.

    Values that an index map brings to one place are one value by then, so that they are read once: along the axis.
    """
    rows = side_labels(leg)
    opened = {index.label for index in rows}
    held = graph.multiply(leg.replace(sides=(rows, leg.sides[1])), node.dtype)
    axes = tuple(
        index if index.label is not None or opened.issuperset(index.labels) else along(Label(index.extent))
        for index in leg.sides[1]
    )
    weight = graph.placeholder(len(stands.of) + len(stands.tangents) + held.number, held)
    return weight, held, Term(1.0, (Factor(weight, (*rows, *axes)),), (leg.sides[0], axes))


def _restored(graph: Graph, terms: Sequence[NodeTerm], known: dict[Node, Node]) -> list[NodeTerm]:
    """Terms with what stood for nodes replaced by them."""
    return [
        term.replace(factors=[Factor(moved(graph, factor.operand, known), factor.axes) for factor in term.factors])
        for term in terms
    ]


def _known(graph: Graph, node: Node, stands: _Stands, weights: Mapping[Node, Node]) -> dict[Node, Node]:
    """What stands for what; tangents, in which rules are linear, for nothing."""
    zeros = {one: graph.full(0.0, one.shape, one.dtype) for one in stands.tangents.values()}
    still = {x: x for x in node.inputs if not x.depends}
    return {**{stand: x for x, stand in stands.of.items()}, **zeros, **still, **weights}


def legs_below(graph: Graph, starts: Mapping[Node, Sequence[NodeTerm]], ends: Collection[Node]) -> Legs:
    """Reverse mode: legs on some nodes pulled down to others.

    Args:
        graph: makes the nodes.
        starts: legs, sides (rows, axes of the node).
        ends: where they end, nodes without inputs.

    Returns:
        For each end the legs on it.
    """
    mask = 0
    for end in ends:
        mask |= end.depends
    legs: Legs = {node: list(own) for node, own in starts.items()}
    for node in reversed([one for one in reachable(starts) if one.depends & mask]):
        if node in ends or not legs.get(node):
            continue
        own = merge(graph, legs.pop(node), node.dtype)
        opaque = isinstance(node.kind, Opaque)
        jacobian = {} if opaque else differential(graph, node, mask)
        for leg in legs_together(graph, own, node) if opaque else own:
            if opaque:
                for source, found in pull_through(graph, leg, node, mask).items():
                    legs.setdefault(source, []).extend(found)
            for source, terms in jacobian.items():
                products = (compose(leg, 1, term, 0) for term in terms)
                legs.setdefault(source, []).extend(multiply_out(graph, one) for one in products if one is not None)
    return {end: merge(graph, legs[end], end.dtype) for end in ends if legs.get(end)}


def _slopes(graph: Graph, terms: Sequence[NodeTerm], ends: Collection[Node]) -> Legs:
    """Derivatives of terms, one side more, by the product rule on their factors."""
    mask = 0
    for end in ends:
        mask |= end.depends
    found: Legs = {}
    for term in terms:
        for place, factor in enumerate(term.factors):
            if not factor.operand.depends & mask:
                continue
            guards = graph.guards(factor.axes, factor.operand.dtype)
            others = (*term.factors[:place], *term.factors[place + 1 :], *guards)
            rest = term.replace(factors=others, sides=(*term.sides, factor.axes))
            below = legs_below(graph, {factor.operand: [identity(fresh(factor.operand.shape))]}, ends)
            for end, legs in below.items():
                products = (compose(rest, len(term.sides), leg, 0) for leg in legs)
                found.setdefault(end, []).extend(one for one in products if one is not None)
    return found


# -- linear solves -----------------------------------------------------------------------------------------------------


def _answers(graph: Graph, leg: NodeTerm, node: Node) -> dict[int, list[NodeTerm]]:
    """Legs on the right-hand sides: A^-T times a leg on the solution, for each of their positions."""
    solve = _solve(node)
    assert solve is not None
    places = range(solve.first, len(node.inputs))
    if elements(x for index in leg.sides[0] for x in index.labels) < node.size:
        return {k: [term] for k, term in pulled_groups(graph, leg, node, [(k,) for k in places]).items()}
    inverse = pulled_groups(graph, _spread(node), node, [(k,) for k in places])
    found: dict[int, list[NodeTerm]] = {}
    for k, term in inverse.items():
        product = compose(leg, 1, term, 0)
        if product is not None:
            found[k] = [multiply_out(graph, product)]
    return found


def _spread(node: Node) -> NodeTerm:
    """The identity leg on a node."""
    return identity(fresh(node.shape))


def _residual_legs(
    graph: Graph, node: Node, answers: Mapping[int, Sequence[NodeTerm]], mask: int, *, value: bool
) -> tuple[_Stands, dict[Node, Node], Legs]:
    """Legs -A^-T L on the product A x, pulled to its constants, and to the solution where that is wanted."""
    solve = _solve(node)
    assert solve is not None
    stands = _stands(graph, node)
    unknowns = list(unpacked(graph, stands.of[node], opaque_kind(node).call.packed).values())
    given = [*stands.inputs[: solve.constants], *unknowns]
    given = [
        graph.cast(x, wanted.dtype) if jnp.issubdtype(wanted.dtype, jnp.floating) else x
        for x, wanted in zip(given, solve.matvec.inputs, strict=True)
    ]
    products = fuse(graph, read(graph, solve.matvec, given), -1)
    starts: Legs = {}
    weights: dict[Node, Node] = {}
    for place, product in enumerate(products):
        for term in answers.get(solve.first + place, ()):
            weight, held, start = _weighted(graph, stands, term, node)
            weights[weight] = held
            starts.setdefault(product, []).append(start.replace(coefficient=-1.0))
    constants = dict.fromkeys(x for x in node.inputs[: solve.constants] if x.depends & mask)
    ends = [stands.of[x] for x in constants] + ([stands.of[node]] if value else [])
    return stands, weights, legs_below(graph, starts, ends)


def _solve_pulled(graph: Graph, leg: NodeTerm, node: Node, mask: int) -> Legs:
    answers = _answers(graph, leg, node)
    stands, weights, legs = _residual_legs(graph, node, answers, mask, value=False)
    known = _known(graph, node, stands, weights)
    real = {stand: x for x, stand in stands.of.items()}
    found = {real[stand]: _restored(graph, terms, known) for stand, terms in legs.items()}
    for k, terms in answers.items():
        if node.inputs[k].depends & mask:
            found.setdefault(node.inputs[k], []).extend(terms)
    return found


def _solve_core(graph: Graph, node: Node, adjoint: NodeTerm, mask: int) -> Forms:
    answers = _answers(graph, adjoint, node)
    stands, weights, legs = _residual_legs(graph, node, answers, mask, value=True)
    known = _known(graph, node, stands, weights)
    real = {stand: x for x, stand in stands.of.items()}
    ends = list(legs)
    found: Forms = {}
    for p, row in enumerate(ends):
        for column, terms in _slopes(graph, legs[row], ends[p:]).items():
            found.setdefault((real[row], real[column]), []).extend(_restored(graph, terms, known))
    return found


# -- functions with a rule for forward mode ----------------------------------------------------------------------------


def _rule_program(node: Node, groups: Sequence[tuple[int, ...]]) -> Program:
    """The tangent of a node as a program of its inputs and the tangents of some of them."""
    kind = opaque_kind(node)
    call, key = kind.call, ("rule", tuple(groups))
    if key not in call.memory:

        def run(*arguments: Any) -> list[Any]:
            inputs, tangents = arguments[: len(node.inputs)], arguments[len(node.inputs) :]

            def value(*values: Any) -> Any:
                return call.function(*with_values(inputs, groups, values))[0]

            return [jax.jvp(value, tuple(inputs[group[0]] for group in groups), tuple(tangents))[1]]

        moving = structs_of([node.inputs[group[0]] for group in groups])
        call.memory[key] = traced(kind, run, [*structs_of(node.inputs), *moving])
    found: Program = call.memory[key]
    return found


def _tangent(graph: Graph, node: Node, stands: _Stands) -> Node:
    """The node's tangent, on placeholders."""
    kind = opaque_kind(node)
    equation = kind.call.ruled
    assert equation is not None
    groups = [places_of(node, x) for x in stands.tangents]
    values = unpacked(graph, stands.of[node], kind.call.packed)
    values = {k: graph.cast(value, equation.outputs[k].dtype) for k, value in values.items()}
    itself = Itself(equation, stands.inputs, values)
    [found] = read(graph, _rule_program(node, groups), [*stands.inputs, *stands.tangents.values()], itself)
    return fuse(graph, [found], -1)[0]


def _rule_pulled(graph: Graph, leg: NodeTerm, node: Node, mask: int) -> Legs:
    stands = _stands(graph, node)
    tangents = {one: x for x, one in stands.tangents.items() if x.depends & mask}
    jacobian = legs_below(graph, {_tangent(graph, node, stands): [_spread(node)]}, list(tangents))
    known = _known(graph, node, stands, {})
    found: Legs = {}
    for one, terms in jacobian.items():
        products = (compose(leg, 1, term, 0) for term in _restored(graph, terms, known))
        found[tangents[one]] = [multiply_out(graph, term) for term in products if term is not None]
    return found


def _rule_core(graph: Graph, node: Node, adjoint: NodeTerm, mask: int) -> Forms:
    stands = _stands(graph, node)
    tangents = {one: x for x, one in stands.tangents.items() if x.depends & mask}
    weight, given, start = _weighted(graph, stands, adjoint, node)
    pulled = legs_below(graph, {_tangent(graph, node, stands): [start]}, list(tangents))
    known = _known(graph, node, stands, {weight: given})
    place = {x: k for k, x in enumerate([*tangents.values(), node])}
    real = {stands.of[x]: x for x in place}
    found: Forms = {}
    for one, terms in pulled.items():
        row = tangents[one]
        for stand, slopes in _slopes(graph, terms, list(real)).items():
            column = real[stand]
            # the whole is symmetric; its parts, through the inputs and through the value, need not be
            halves = [term.replace(coefficient=0.5 * term.coefficient) for term in _restored(graph, slopes, known)]
            turned = [swap_sides(term, 1, 2) for term in halves]
            if row is column:
                found.setdefault((row, row), []).extend([*halves, *turned])
            elif place[row] < place[column]:
                found.setdefault((row, column), []).extend(halves)
            else:
                found.setdefault((column, row), []).extend(turned)
    return found


# -- branches ----------------------------------------------------------------------------------------------------------


def _is_sparse(graph: Graph, node: Node) -> bool:
    """Whether the Jacobians of all cases together have at most half as many values as a dense one.

    A branch that acts on each element along every axis is no such: JAX moves all elements at once.
    """
    call = opaque_kind(node).call
    moving = [k for k, x in enumerate(node.inputs) if x.depends]
    if len(call.batch_axes) == len(node.shape) and all(at[k] is not None for _, at in call.batch_axes for k in moving):
        return False
    key = ("sparse", tuple(x if isinstance(x.kind, Constant) else None for x in node.inputs))
    if key not in call.memory:
        stands = _stands(graph, node)
        stored: dict[Node, float] = {}
        for number in range(len(call.branches or ())):
            for stand, terms in _case_below(
                graph, node, number, stands, _spread(node), list(stands.of.values())
            ).items():
                sizes = (elements({x for side in term.sides for index in side for x in index.labels}) for term in terms)
                stored[stand] = stored.get(stand, 0.0) + sum(sizes)
        call.memory[key] = all(2.0 * count <= node.size * stand.size for stand, count in stored.items())
    return bool(call.memory[key])


def _case_below(graph: Graph, node: Node, number: int, stands: _Stands, leg: NodeTerm, ends: Collection[Node]) -> Legs:
    """A leg on a branch pulled through one of its cases, on placeholders."""
    call = opaque_kind(node).call
    assert call.branches is not None
    outputs = fuse(graph, read(graph, call.branches[number], stands.inputs[1:]), -1)
    whole = stands.of[node]
    starts: Legs = {}
    for k, part in unpacked(graph, whole, call.packed).items():
        for within in legs_below(graph, {part: [identity(fresh(part.shape))]}, [whole]).get(whole, ()):
            start = compose(leg, 1, within, 1)
            if start is not None:
                starts.setdefault(outputs[k], []).append(start)
    return legs_below(graph, starts, [end for end in ends if end is not whole])


def _where_chosen(
    graph: Graph, node: Node, number: int, stands: _Stands, weights: Mapping[Node, Node], terms: Sequence[NodeTerm]
) -> list[NodeTerm]:
    """Terms on placeholders with factors that are computed where a case is chosen, and zero where it is not.

    Each has a factor that is one or zero, by which terms of two cases are known to exclude each other.
    """
    kind, index = opaque_kind(node), node.inputs[0]
    given = [*stands.inputs[1:], *weights]
    operands = dict.fromkeys(factor.operand for term in terms for factor in term.factors)
    standing = [one for one in operands if any(isinstance(x.kind, Placeholder) for x in reachable([one]))]
    # whether a branch inside takes a case is known where this one is not taken, too: it is one or zero
    asked = [
        one
        for one in standing
        if isinstance(one.kind, Opaque) and one.kind.call.case is not None and not one.kind.place
    ]
    computed = [one for one in standing if one not in asked]
    structs = [jax.ShapeDtypeStruct((), node.dtype), *structs_of(computed)]

    def run(which: Any, *arrays: Any) -> list[Any]:
        def chosen(*arrays: Any) -> list[Any]:
            one = jnp.ones((), node.dtype)
            return [one, *evaluate(computed, [], dict(zip(given, arrays, strict=True)))]

        def other(*_: Any) -> list[Any]:
            return [jnp.zeros(x.shape, x.dtype) for x in structs]

        found: list[Any] = jax.lax.cond(which == number, chosen, other, *arrays)
        return found

    key = ("case", number, node.dtype, tuple(given), tuple(computed))
    call = Call(key, run, key, len(structs), len(structs), case=number)
    inputs = (index, *node.inputs[1:], *weights.values())
    made = [
        graph.opaque(Opaque(f"{kind.name} case", (key, k), call, k, x.size, kind.line), inputs, x.shape, x.dtype)
        for k, x in enumerate(structs)
    ]
    known = dict(zip(computed, made[1:], strict=True))
    real = dict(zip(given, inputs[1:], strict=True))
    known |= {one: moved(graph, one, real) for one in asked}
    found = []
    for term in terms:
        factors = [Factor(known.get(one.operand, one.operand), one.axes) for one in term.factors]
        found.append(term.replace(factors=[*factors, Factor(made[0], ())]))
    return found


def _cases_pulled(graph: Graph, leg: NodeTerm, node: Node, mask: int) -> Legs:
    stands = _stands(graph, node)
    real = {stand: x for x, stand in stands.of.items() if x.depends & mask and x is not node}
    found: Legs = {}
    for number in range(len(opaque_kind(node).call.branches or ())):
        for stand, terms in _case_below(graph, node, number, stands, _spread(node), list(real)).items():
            own = _where_chosen(graph, node, number, stands, {}, terms)
            products = (compose(leg, 1, term, 0) for term in own)
            found.setdefault(real[stand], []).extend(multiply_out(graph, one) for one in products if one is not None)
    return found


def _cases_core(graph: Graph, node: Node, adjoint: NodeTerm, mask: int) -> Forms:
    stands = _stands(graph, node)
    real = {stand: x for x, stand in stands.of.items() if x.depends & mask and x is not node}
    weight, given, start = _weighted(graph, stands, adjoint, node)
    found: Forms = {}
    for number in range(len(opaque_kind(node).call.branches or ())):
        legs = _case_below(graph, node, number, stands, start, list(real))
        ends = list(legs)
        for p, row in enumerate(ends):
            for column, terms in _slopes(graph, legs[row], ends[p:]).items():
                own = _where_chosen(graph, node, number, stands, {weight: given}, terms)
                pair = (real[row], real[column])
                if pair[::-1] in found and row is not column:
                    pair, own = pair[::-1], [swap_sides(term, 1, 2) for term in own]
                found.setdefault(pair, []).extend(own)
    return found
