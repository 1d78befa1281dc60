"""Which blocks between leaves a question asks for: what no asked block needs is not carried."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from nablax.graph.node import Node


@dataclass(frozen=True, eq=False)
class Asked:
    """Pairs of leaves whose blocks are asked.

    Args:
        partners: for the bit of each leaf the bits of the leaves with which its block is asked.
        diagonal: whether of these blocks only the diagonal is asked.
    """

    partners: dict[int, int]
    diagonal: bool = False
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

    def couples(self, a: Node, b: Node) -> bool:
        """Whether a block between a leaf below one node and a leaf below another is asked."""
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
