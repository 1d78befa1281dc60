"""Distributivity: terms that share factors are summed before the shared factors are multiplied.

X' D1 X + X' D2 X = X' (D1 + D2) X: one large product instead of two. At a weight of a network every core ends in the
same input activations, so that their rows are summed first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from nablax.contraction.index import Label, along
from nablax.contraction.term import Factor, Term
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm, identify

# A factor up to the names of its summed labels: its operand, and for each axis the label where it is open, else the
# first axis that carries the same label.
Signature = tuple[Node, tuple[Label | int, ...]]


def gathered(graph: Graph, terms: Sequence[NodeTerm], dtype: Any) -> list[NodeTerm]:
    """Terms with common factors taken out of sums.

    Args:
        graph: makes the partial sums.
        terms: terms with the same sides.
        dtype: dtype of the sums.

    Returns:
        Fewer terms with the same total; the given ones where nothing is shared.
    """
    if len(terms) < 2 or not all(_is_bare(term) for term in terms):
        return list(terms)
    groups: dict[tuple[object, ...], list[NodeTerm]] = {}
    for term in terms:
        group = groups.setdefault(term.replace(factors=()).key(identify), [])
        group.append(_on_labels_of(term.renamed(), group))
    return [term for group in groups.values() for term in _gathered(graph, group, dtype)]


def _is_bare(term: NodeTerm) -> bool:
    axes = [index for side in term.sides for index in side]
    axes += [index for factor in term.factors for index in factor.axes]
    return all(index.label is not None for index in axes)


def _on_labels_of(term: NodeTerm, group: Sequence[NodeTerm]) -> NodeTerm:
    """The term on the side labels of the first term of a group, whose sides have the same pattern."""
    if not group:
        return term
    pairs = zip(term.open_labels, group[0].open_labels, strict=True)
    return term.substitute({mine: along(theirs) for mine, theirs in pairs})


def _gathered(graph: Graph, terms: Sequence[NodeTerm], dtype: Any) -> list[NodeTerm]:
    """Take out the largest factor that two terms share, with all that goes with it; then look at the rest."""
    if len(terms) < 2:
        return list(terms)
    opened = set(terms[0].open_labels)
    having: dict[Signature, list[int]] = {}
    for position, term in enumerate(terms):
        for signature in dict.fromkeys(_signature(factor, opened) for factor in term.factors):
            having.setdefault(signature, []).append(position)
    shared = {s: positions for s, positions in having.items() if len(positions) > 1}
    if not shared:
        return list(terms)
    signature, positions = max(shared.items(), key=lambda pair: (len(pair[1]) - 1) * pair[0][0].size)
    group = _aligned([terms[k] for k in positions], signature, opened)
    rest = [term for k, term in enumerate(terms) if k not in positions]
    return [_taken_out(graph, group, opened, dtype), *_gathered(graph, rest, dtype)]


def _signature(factor: Factor[Node], opened: set[Label]) -> Signature:
    labels = _bare(factor)
    return factor.operand, tuple(label if label in opened else labels.index(label) for label in labels)


def _bare(factor: Factor[Node]) -> tuple[Label, ...]:
    return tuple(index.label for index in factor.axes if index.label is not None)


def _aligned(terms: Sequence[NodeTerm], signature: Signature, opened: set[Label]) -> list[NodeTerm]:
    """The terms with equal summed labels on their first factor of a signature."""
    firsts = [next(f for f in term.factors if _signature(f, opened) == signature) for term in terms]
    names = _bare(firsts[0])
    aligned = []
    for term, first in zip(terms, firsts, strict=True):
        values = {
            mine: along(name)
            for mine, name in zip(_bare(first), names, strict=True)
            if mine is not name and mine not in opened
        }
        aligned.append(term.substitute(values))
    return aligned


def _taken_out(graph: Graph, terms: Sequence[NodeTerm], opened: set[Label], dtype: Any) -> NodeTerm:
    """sum_t C R_t = C sum_t R_t."""
    common = Counter((f.operand, _bare(f)) for f in terms[0].factors)
    for term in terms[1:]:
        common &= Counter((f.operand, _bare(f)) for f in term.factors)
    kept, _ = _split(terms[0], common)
    outside = opened | {label for factor in kept for label in factor.labels}
    rests = [term.replace(factors=_split(term, common)[1]) for term in terms]
    union = dict.fromkeys(label for rest in rests for label in rest.factor_labels if label in outside)
    axes = tuple(along(label) for label in union)
    summed = graph.add([graph.multiply(rest.replace(sides=(axes,)), dtype) for rest in rests])
    return Term(1.0, (*kept, Factor(summed, axes)), terms[0].sides)


def _split(
    term: NodeTerm, common: Counter[tuple[Node, tuple[Label, ...]]]
) -> tuple[list[Factor[Node]], list[Factor[Node]]]:
    left = Counter(common)
    kept: list[Factor[Node]] = []
    rest: list[Factor[Node]] = []
    for factor in term.factors:
        name = (factor.operand, _bare(factor))
        (kept if left[name] > 0 else rest).append(factor)
        left[name] -= 1
    return kept, rest
