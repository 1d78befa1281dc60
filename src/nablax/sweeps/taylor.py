"""Taylor mode: a graph evaluated along a curve, coefficient by coefficient.

| kind | coefficient j |
|---|---|
| elementwise | `nablax.ops.series` |
| contraction | sum_i of the product of coefficients i and j - i |
| index map | of coefficient j |
| matrix function | Y' is linear in X' with factors made of Y and X: coefficient j - 1 of that network, divided by j |
| loop, branch | the same loop or branch, of coefficients |
| anything else | coefficient j - 1 of JAX's own first derivative, read as a graph again, divided by j |

Nothing nests: order k costs O(k²) times the function, and the program grows no faster.

Source: Griewank and Walther 2008, chapter 13; Bettencourt, Johnson and Duvenaud 2019 for Taylor mode in JAX.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, assert_never

import jax
import jax.numpy as jnp
import numpy as np

from nablax.contraction.index import fresh
from nablax.contraction.term import Factor, Term, compose
from nablax.errors import DifferentiationError
from nablax.graph.contract import contract
from nablax.graph.evaluate import evaluate
from nablax.graph.from_jaxpr import build, laid_together
from nablax.graph.graph import Graph
from nablax.graph.move import move
from nablax.graph.node import Node, NodeTerm, applied, map_of, reachable
from nablax.ops.jaxprs import Loop, Program, trace
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
from nablax.ops.series import Curve, convolved, moving, scaled, series, still
from nablax.sweeps.local import differential


def taylor(
    graph: Graph, outputs: Sequence[Node], leaves: Sequence[Any], curves: Mapping[Node, Sequence[Any]], order: int
) -> list[list[Any]]:
    """Coefficients of values along a curve.

    Args:
        graph: of the values; grows by the networks of matrix functions.
        outputs: the values.
        leaves: one array per leaf of the graph, at t = 0.
        curves: for each leaf that moves its coefficients of t¹, t², …; those that are missing are zero.
        order: the highest coefficient.

    Returns:
        For each output the coefficients of t⁰ to t^order; the derivatives are these times the factorials.

    Raises:
        DifferentiationError: an operation has no derivative of that order.
    """
    found = {leaf: moving(leaves[_position(leaf)], *own) for leaf, own in curves.items()}
    walk = Walk(graph, outputs, leaves, found, order)
    return [filled(walk.curve(node), node, order) for node in outputs]


def filled(curve: Curve, node: Node, order: int) -> list[Any]:
    """The coefficients of a node's curve as arrays of its shape, zeros written out."""
    known = (curve[j] for j in range(order + 1))
    return [jnp.zeros(node.shape, node.dtype) if x is None else _shaped(x, node) for x in known]


def _shaped(value: Any, node: Node) -> Any:
    return value if jnp.shape(value) == node.shape else jnp.broadcast_to(value, node.shape)


def _position(leaf: Node) -> int:
    assert isinstance(leaf.kind, Leaf)
    return leaf.kind.position


class Walk:
    """The curves of the nodes of one graph.

    Args:
        graph: of the nodes.
        outputs: nodes whose fixed inputs are evaluated at once.
        leaves: values of the leaves that do not move.
        curves: of the leaves that move.
        order: the highest coefficient that is asked for.
    """

    def __init__(
        self, graph: Graph, outputs: Sequence[Node], leaves: Sequence[Any], curves: Mapping[Node, Curve], order: int
    ) -> None:
        self.graph, self.leaves, self.order = graph, leaves, order
        self._curves: dict[Node, Curve] = dict(curves)
        self._moves = 0
        for leaf in curves:
            self._moves |= leaf.depends
        self._calls: dict[tuple[Any, tuple[Node, ...]], Sequence[Curve]] = {}
        self._next = itertools.count(max((_position(x) for x in curves), default=0) + len(leaves) + 1)
        nodes = reachable(outputs)
        read = (x for node in nodes if self.active(node) for x in node.inputs if not self.active(x) and not map_of(x))
        # a selection is read by its positions and never written out
        fixed = dict.fromkeys(x.inputs[0] if isinstance(x.kind, Selection) else x for x in read)
        fixed |= dict.fromkeys(node for node in outputs if not self.active(node))
        self._fixed: dict[Node, Any] = dict(zip(fixed, evaluate(list(fixed), leaves), strict=True))
        for node in nodes:  # inputs first, so that no curve is asked for deep down
            if self.active(node):
                self.curve(node)

    def active(self, node: Node) -> bool:
        """Whether a node moves."""
        return bool(node.depends & self._moves) or node in self._curves

    def curve(self, node: Node) -> Curve:
        """The curve of a node."""
        if node not in self._curves:
            self._curves[node] = self._made(node)
        return self._curves[node]

    def _made(self, node: Node) -> Curve:
        if not self.active(node):
            if node not in self._fixed:
                self._fixed[node] = evaluate([node], self.leaves, self._fixed)[0]
            return still(self._fixed[node])
        kind = node.kind
        match kind:
            case Elementwise():
                own = series(kind.function, [self.curve(x) for x in node.inputs])
                return Curve(lambda j: None if own[j] is None else _shaped(own[j], node))
            case Contraction():
                return self._contraction(node, kind)
            case IndexMap():
                return self._moved(node, kind)
            case MatrixFunction():
                return self._matrix_function(node)
            case Opaque():
                return self._opaque(node, kind)
            case Selection():
                raise TypeError("positions do not move")
            case Leaf() | Constant() | Placeholder():
                return still(self.leaves[_position(node)])
            case _:
                assert_never(kind)

    def _contraction(self, node: Node, kind: Contraction) -> Curve:
        if any(isinstance(x.kind, Selection) for x in node.inputs) or applied(node) is not None:
            return self._selected(node)
        inputs = [self.curve(x) for x in node.inputs]
        if len(inputs) == 1:
            [only] = inputs
            return Curve(lambda j: None if only[j] is None else contract(kind, [only[j]], node.dtype))
        a, b = inputs
        return Curve(lambda j: convolved(lambda x, y: contract(kind, [x, y], node.dtype), a, b, j))

    def _selected(self, node: Node) -> Curve:
        """A product with a selection, or with the matrix of a linear map, is linear in the other operand."""
        [source] = (x for x in node.inputs if not isinstance(x.kind, Selection) and map_of(x) is None)
        positions = {x.inputs[0]: self.curve(x.inputs[0])[0] for x in node.inputs if isinstance(x.kind, Selection)}
        own = self.curve(source)

        def make(j: int) -> Any | None:
            value = own[j]
            return None if value is None else evaluate([node], self.leaves, {**positions, source: value})[0]

        return Curve(make)

    def _moved(self, node: Node, kind: IndexMap) -> Curve:
        inputs = [self.curve(x) for x in node.inputs]

        def make(j: int) -> Any | None:
            values = [curve[j] for curve in inputs]
            if all(value is None for value in values):
                return None
            whole = [jnp.zeros(x.shape, x.dtype) if v is None else v for x, v in zip(node.inputs, values, strict=True)]
            return move(kind, whole, node)

        return Curve(make)

    def _matrix_function(self, node: Node) -> Curve:
        inputs = [self.curve(x) for x in node.inputs]
        network: list[Node] = []

        def make(j: int) -> Any | None:
            if j == 0:
                values = dict(zip(node.inputs, (curve[0] for curve in inputs), strict=True))
                return evaluate([node], self.leaves, values)[0]
            if not network:
                network.append(self._tangent(node))
            return scaled(self.curve(network[0])[j - 1], 1.0 / j)

        own = Curve(make)
        self._curves[node] = own  # its network reads it
        return own

    def _tangent(self, node: Node) -> Node:
        """The derivative of a node along its inputs' own, as a node."""
        terms: list[NodeTerm] = []
        for source, local in differential(self.graph, node, self._moves).items():
            direction = self._direction(source)
            axes = fresh(source.shape)
            vector: NodeTerm = Term(1.0, (Factor(direction, axes),), (axes,))
            for term in local:
                product = compose(term, 1, vector, 0)
                if product is not None:
                    terms.append(product)
        return self.graph.sum_of(terms, node.shape, node.dtype)

    def _direction(self, source: Node) -> Node:
        leaf = self.graph.leaf(next(self._next), source.shape, source.dtype)
        self._curves[leaf] = self.curve(source).slope()
        self._moves |= leaf.depends
        return leaf

    # -- calls -------------------------------------------------------------------------------------------------

    def _opaque(self, node: Node, kind: Opaque) -> Curve:
        known = (kind.call.key, node.inputs)
        if known not in self._calls:
            self._calls[known] = self._called(node, kind)
        return self._calls[known][kind.place]

    def _called(self, node: Node, kind: Opaque) -> Sequence[Curve]:
        call = kind.call
        inputs = [self.curve(x) for x in node.inputs]
        active = [self.active(x) for x in node.inputs]
        if call.loop is not None and call.packed:
            return self._from_outputs(node, call, partial(_through_loop, call.loop, inputs, active, self.order))
        if call.branches is not None and call.packed and not active[0]:
            return self._from_outputs(node, call, partial(_through_branch, call.branches, inputs, active, self.order))
        return _by_jvp(node, kind, inputs, active, self.order)

    def _from_outputs(self, node: Node, call: Call, run: Any) -> Sequence[Curve]:
        """The curves of a call's results, from the coefficients of all outputs of its equation."""
        made: list[list[list[Any]]] = []

        def packed(j: int) -> Any:
            if not made:
                made.append(run())
            parts = [made[0][one.output][j] for one in call.packed]
            if len(parts) == 1:
                return parts[0]
            return laid_together(call.packed, parts, node.dtype)

        values = _values(node, call, [self.curve(x) for x in node.inputs])
        return [Curve(packed), *(still_from(values, place) for place in range(1, call.width))]


def still_from(values: Any, place: int) -> Curve:
    """A result of a call that does not move, evaluated when it is asked for."""
    return Curve(lambda j: values()[place] if j == 0 else None)


def _values(node: Node, call: Call, inputs: Sequence[Curve]) -> Any:
    found: list[Sequence[Any]] = []

    def values() -> Sequence[Any]:
        if not found:
            found.append(call.function(*(curve[0] for curve in inputs)))
        return found[0]

    return values


def _by_jvp(node: Node, kind: Opaque, inputs: Sequence[Curve], active: Sequence[bool], order: int) -> Sequence[Curve]:
    """Results of a call whose first derivative JAX states: a program in the inputs and their slopes."""
    call = kind.call
    moved = [k for k, x in enumerate(node.inputs) if active[k] and jnp.issubdtype(x.dtype, jnp.floating)]
    values = _values(node, call, inputs)
    slopes: list[list[Curve]] = []

    def find() -> list[Curve]:
        if not slopes:
            slopes.append(_slopes(node, kind, inputs, moved, order))
        return slopes[0]

    def make(place: int, j: int) -> Any | None:
        if j == 0:
            return values()[place]
        return scaled(find()[place][j - 1], 1.0 / j)

    return [Curve(partial(make, place)) for place in range(call.width)]


def _slopes(node: Node, kind: Opaque, inputs: Sequence[Curve], moved: Sequence[int], order: int) -> list[Curve]:
    call = kind.call
    structs = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in node.inputs]

    def along(*arguments: Any) -> list[Any]:
        points, directions = list(arguments[: len(structs)]), arguments[len(structs) :]

        def function(*values: Any) -> list[Any]:
            given = list(points)
            for k, value in zip(moved, values, strict=True):
                given[k] = value
            return [x for x in call.function(*given) if jnp.issubdtype(jnp.result_type(x), jnp.floating)]

        return list(jax.jvp(function, [points[k] for k in moved], list(directions))[1])

    try:
        program = trace(along, [*structs, *(structs[k] for k in moved)])
    except (TypeError, ValueError, NotImplementedError) as error:
        where = f" at {kind.line}" if kind.line else ""
        raise DifferentiationError(
            f"a directional derivative was asked of {kind.name!r}{where}, for which JAX has no forward derivative: "
            f"{str(error).strip().splitlines()[0]} Give it a rule for forward mode (jax.custom_jvp)."
        ) from error
    results = jax.eval_shape(call.function, *structs)
    real = [jnp.issubdtype(x.dtype, jnp.floating) for x in results]
    curves = [*inputs, *(inputs[k].slope() for k in moved)]
    found = iter(_run(program, curves, [*(k in moved for k in range(len(inputs))), *(True for _ in moved)], order - 1))
    return [next(found) if one else still(None) for one in real]


def _run(program: Program, curves: Sequence[Curve], active: Sequence[bool], order: int) -> list[Curve]:
    """The curves of a program's results."""
    graph = Graph()
    leaves, outputs = build(graph, program)
    real = [a and jnp.issubdtype(leaf.dtype, jnp.floating) for a, leaf in zip(active, leaves, strict=True)]
    given = [curve[0] for curve in curves]
    own = {leaf: curve for leaf, curve, moves in zip(leaves, curves, real, strict=True) if moves}
    walk = Walk(graph, outputs, given, own, max(order, 0))
    return [walk.curve(node) for node in outputs]


def _coefficients(program: Program, inputs: Sequence[list[Any]], order: int) -> list[list[Any]]:
    """Coefficients of a program's results from those of its inputs; one alone for what does not move."""
    curves = [moving(*own) if len(own) > 1 else still(own[0]) for own in inputs]
    found = _run(program, curves, [len(own) > 1 for own in inputs], order)
    results = []
    for value, curve in zip(program.outputs, found, strict=True):
        if not jnp.issubdtype(value.dtype, jnp.floating):
            results.append([curve[0]])
            continue
        known = [curve[j] for j in range(order + 1)]
        zero = jnp.zeros(value.shape, value.dtype)
        results.append([zero if x is None else jnp.broadcast_to(x, value.shape).astype(value.dtype) for x in known])
    return results


def _listed(curve: Curve, moves: bool, order: int) -> list[Any]:
    """Coefficients as arrays, zeros written out; one alone for what does not move."""
    first: Any = curve[0]
    dtype = jnp.result_type(first)
    if not moves or not jnp.issubdtype(dtype, jnp.floating):
        return [first]
    zero = jnp.zeros(np.shape(first), dtype)
    rest = (curve[j] for j in range(1, order + 1))
    return [first, *(zero if x is None else jnp.broadcast_to(x, np.shape(first)) for x in rest)]


def _through_loop(loop: Loop, inputs: Sequence[Curve], active: Sequence[bool], order: int) -> list[list[Any]]:
    """A loop of coefficients: what is carried are all coefficients of what was carried."""
    first, last = loop.constants, loop.constants + loop.carried
    constants = [_listed(curve, moves, order) for curve, moves in zip(inputs[:first], active[:first], strict=True)]
    # a carried value may begin to move after the first turn
    carried = [_listed(curve, True, order) for curve in inputs[first:last]]
    stacked = [_listed(curve, moves, order) for curve, moves in zip(inputs[last:], active[last:], strict=True)]

    def turn(carry: Any, slices: Any) -> tuple[Any, Any]:
        found = _coefficients(loop.body, [*constants, *carry, *slices], order)
        return found[: loop.carried], found[loop.carried :]

    after, out = jax.lax.scan(turn, carried, stacked, length=loop.length, reverse=loop.reverse)
    return [*after, *out]


def _through_branch(
    branches: Sequence[Program], inputs: Sequence[Curve], active: Sequence[bool], order: int
) -> list[list[Any]]:
    """The same branch of coefficients."""
    which, *rest = inputs
    given = [_listed(curve, moves, order) for curve, moves in zip(rest, active[1:], strict=True)]
    cases = [partial(_coefficients_of, branch, order) for branch in branches]
    found: list[list[Any]] = jax.lax.switch(which[0], cases, given)
    return found


def _coefficients_of(program: Program, order: int, inputs: Sequence[list[Any]]) -> list[list[Any]]:
    return _coefficients(program, inputs, order)
