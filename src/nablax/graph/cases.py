"""Values that are zero unless a branch takes some of its cases: two cases of one branch exclude each other."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

from nablax.graph.node import Node, NodeTerm
from nablax.ops.kinds import Contraction, Elementwise, IndexMap, Opaque

# For each branch, by the value that chooses, the cases in which a value may be other than zero.
Cases = Mapping[Node, frozenset[int]]

# A factor of a case is found under so many products and sums: legs are multiplied and added up as they meet.
_DEPTH = 4
_SUMS = frozenset({"add", "add_any"})


def excluded(*terms: NodeTerm) -> bool:
    """Whether the product of terms is zero because no branch takes two of its cases at once."""
    found: Cases = {}
    for term in terms:
        for factor in term.factors:
            found = _in_both(found, _cases(factor.operand, _DEPTH))
    return not all(found.values())


def _cases(node: Node, depth: int) -> Cases:
    """The cases in which a value may be other than zero, as far as is seen at so many steps."""
    kind = node.kind
    if isinstance(kind, Opaque):
        return {} if kind.call.case is None else {node.inputs[0]: frozenset([kind.call.case])}
    if not depth or not node.inputs:
        return {}
    if isinstance(kind, Contraction):
        return reduce(_in_both, (_cases(source, depth - 1) for source in node.inputs))
    if isinstance(kind, IndexMap) or (isinstance(kind, Elementwise) and _is_sum(kind)):
        return reduce(_in_either, (_cases(source, depth - 1) for source in node.inputs))
    return {}


def _is_sum(kind: Elementwise) -> bool:
    return all(step.operation.name in _SUMS for step in kind.function.instructions)


def _in_both(a: Cases, b: Cases) -> Cases:
    """The cases of a product."""
    return {**a, **b, **{branch: a[branch] & b[branch] for branch in a.keys() & b.keys()}}


def _in_either(a: Cases, b: Cases) -> Cases:
    """The cases of a sum."""
    return {branch: a[branch] | b[branch] for branch in a.keys() & b.keys()}
