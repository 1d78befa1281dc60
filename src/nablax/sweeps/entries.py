"""Where the constants of a loop enter a turn: each entry is the value that a constant is multiplied into."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nablax.contraction.index import Label, along, fresh
from nablax.contraction.term import Factor, Term, compose, identity
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm, applied, reachable, selecting
from nablax.ops.kinds import Contraction, IndexMap
from nablax.sweeps.local import differential


@dataclass(frozen=True, eq=False)
class Entry:
    """A value of a turn that is linear in a constant, and to which a leaf of its own has been added.

    The second derivative in the constant is that in the leaf, between its legs to the constant, and the coupling of the
    constant with its partner.

    Args:
        constant: position of the constant among the inputs of the body.
        leaf: what was added; it is zero.
        legs: to the constant, sides (axes of the value, axes of the constant).
        partner: what the constant is multiplied by; None where the value only moves the constant.
        product: the value, where there is a partner.
        moves: from what is multiplied to the constant, sides (its axes, axes of the constant).
    """

    constant: int
    leaf: Node
    legs: tuple[NodeTerm, ...]
    partner: Node | None
    product: Node | None
    moves: tuple[NodeTerm, ...]

    def couplings(self, adjoint: Node) -> list[NodeTerm]:
        """The adjoint of the value times its second derivative, sides (axes of the partner, axes of the constant)."""
        if self.product is None or self.partner is None:
            return []
        kind = self.product.kind
        assert isinstance(kind, Contraction)
        place = self.product.inputs.index(self.partner)
        labels = [along(Label(size)) for size in kind.sizes]
        factor = Factor(adjoint, tuple(labels[k] for k in kind.output))
        sides = tuple(tuple(labels[k] for k in kind.inputs[side]) for side in (place, 1 - place))
        return _composed([Term(kind.coefficient, (factor,), sides)], self.moves)


def enter(
    graph: Graph, outputs: Sequence[Node], constants: Mapping[int, Node], position: int
) -> tuple[tuple[Node, ...], tuple[Entry, ...]]:
    """A turn in which constants enter through leaves of their own.

    Args:
        graph: of the turn.
        outputs: of the turn.
        constants: which constants, by their positions.
        position: of the first new leaf.

    Returns:
        The outputs with the leaves added, and the entries; of a constant that enters otherwise there is none.
    """
    nodes = reachable(outputs)
    readers: dict[Node, list[Node]] = {}
    for node in nodes:
        for source in dict.fromkeys(node.inputs):
            readers.setdefault(source, []).append(node)
    places: dict[Node, tuple[int, Node | None, tuple[NodeTerm, ...]]] = {}
    for constant, leaf in constants.items():
        own = _places(graph, leaf, nodes, readers, set(outputs))
        if own is not None and not places.keys() & own.keys():
            places.update({node: (constant, *place) for node, place in own.items()})
    entries: list[Entry] = []
    new: dict[Node, Node] = {}
    for node in nodes:
        inputs = [new.get(x, x) for x in node.inputs]
        made = node if inputs == list(node.inputs) else graph.remake(node, inputs)
        if node in places:
            at, multiplied, moves = places[node]
            value = graph.leaf(position + len(entries), node.shape, node.dtype)
            if multiplied is None:
                entries.append(Entry(at, value, moves, None, None, ()))
            else:
                [partner] = [x for x in made.inputs if x is not multiplied]
                legs = differential(graph, made, multiplied.depends)[multiplied]
                entries.append(Entry(at, value, tuple(_composed(legs, moves)), partner, made, moves))
            made = graph.add([made, value])
        if made is not node:
            new[node] = made
    return tuple(new.get(x, x) for x in outputs), tuple(entries)


def _places(
    graph: Graph, leaf: Node, nodes: Iterable[Node], readers: Mapping[Node, list[Node]], outputs: set[Node]
) -> dict[Node, tuple[Node | None, tuple[NodeTerm, ...]]] | None:
    """Values in which a constant enters: what of it is multiplied there, None where it is only moved; and the moves."""
    moved: dict[Node, tuple[NodeTerm, ...]] = {leaf: (identity(fresh(leaf.shape)),)}
    found: dict[Node, tuple[Node | None, tuple[NodeTerm, ...]]] = {}
    for node in nodes:
        if node not in moved:
            continue
        own = moved[node]
        others = [x for x in readers.get(node, ()) if not _moves(x)]
        if node in outputs or not all(_multiplies(x, node) for x in others):
            if node is leaf:
                return None
            found[node] = (None, own)
            continue
        for product in others:
            if product in found:
                return None
            found[product] = (node, own)
        for reader in readers.get(node, ()):
            if _moves(reader):
                moved[reader] = tuple(_composed(differential(graph, reader, node.depends)[node], own))
    return found


def _moves(node: Node) -> bool:
    return isinstance(node.kind, IndexMap | Contraction) and len(node.inputs) == 1


def _multiplies(node: Node, source: Node) -> bool:
    """Whether a node is the product of a source and one other value."""
    plain = isinstance(node.kind, Contraction) and selecting(node) is None and applied(node) is None
    return plain and len(node.inputs) == 2 and node.inputs.count(source) == 1


def _composed(legs: Iterable[NodeTerm], moves: Iterable[NodeTerm]) -> list[NodeTerm]:
    found = (compose(leg, 1, move, 0) for leg in legs for move in moves)
    return [term for term in found if term is not None]
