"""Which blocks between leaves a question asks for: what no asked block needs is not carried."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from nablax.graph.node import Node, reachable


@dataclass(frozen=True, eq=False)
class Asked:
    """Pairs of leaves whose blocks are asked.

    Args:
        partners: for the bit of each leaf the bits of the leaves with which its block is asked.
        diagonal: whether of these blocks only the diagonal is asked.
        parts: for nodes the bits of the parts of leaves below them, where parts of one leaf are told apart.
    """

    partners: dict[int, int]
    diagonal: bool = False
    parts: dict[Node, int] | None = None
    _known: dict[int, int] = field(default_factory=dict)

    @classmethod
    def own_blocks(cls, leaves: Iterable[Node]) -> Asked:
        """The diagonal of every leaf with itself; its sum is a trace."""
        return cls({leaf.depends: leaf.depends for leaf in leaves}, diagonal=True)

    @classmethod
    def between(cls, rows: Iterable[Node], columns: Iterable[Node]) -> Asked:
        """Every row leaf with every column leaf, and the transposes of these blocks."""
        listed = [list(rows), list(columns)]
        partners: dict[int, int] = {}
        for own, others in (listed, listed[::-1]):
            bits = 0
            for other in others:
                bits |= other.depends
            for leaf in own:
                partners[leaf.depends] = partners.get(leaf.depends, 0) | bits
        return cls(partners)

    @classmethod
    def nothing(cls) -> Asked:
        """No block: a sweep of first order."""
        return cls({})

    def apart(self, nodes: Iterable[Node], groups: Sequence[Sequence[Node]]) -> Asked:
        """The same diagonals, parts of a leaf told apart.

        Args:
            nodes: the active nodes, inputs first.
            groups: leaves read whole, and readers of the others; different groups have no element in common.
        """
        parts: dict[Node, int] = {}
        for k, group in enumerate(groups):
            for node in group:
                parts[node] = 1 << k
                for leaf in node.inputs:
                    parts[leaf] = parts.get(leaf, 0) | 1 << k
        for node in nodes:
            parts.setdefault(node, _of_inputs(node, parts))
        return replace(self, parts=parts)

    def couples(self, a: Node, b: Node) -> bool:
        """Whether a block between a leaf below one node and a leaf below another is asked."""
        if self.parts is not None:
            return bool(self._parts_below(self.parts, a) & self._parts_below(self.parts, b))
        return bool(self._partners_below(a) & b.depends)

    def _partners_below(self, node: Node) -> int:
        bits = node.depends
        if bits not in self._known:
            found = 0
            for leaf, partners in self.partners.items():
                if leaf & bits:
                    found |= partners
            self._known[bits] = found
        return self._known[bits]

    @staticmethod
    def _parts_below(parts: dict[Node, int], node: Node) -> int:
        if node not in parts:  # made by a sweep
            for one in reachable([node]):
                parts.setdefault(one, _of_inputs(one, parts))
        return parts[node]


def _of_inputs(node: Node, parts: dict[Node, int]) -> int:
    bits = 0
    for source in node.inputs:
        bits |= parts.get(source, 0)
    return bits
