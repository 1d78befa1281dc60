"""Triples of labels in a network: cross products and their matrices, stacked columns, Kronecker products of vectors."""

from __future__ import annotations

from collections.abc import Sequence

from nablax.derivation.labelled import Network, Triple, product
from nablax.derivation.tensors import EPSILON
from nablax.printing.expression import Call, Expression, Factors, Identity, Kronecker


def eliminated(network: Network, rank: int) -> bool:
    """Whether a triple could be written as matrices and vectors; if so, that stands in its place.

    Args:
        network: labels with what stands on them; it is changed.
        rank: labels below are the axes of the value, the others are summed.
    """
    for triple in network.triples:
        if triple.name == EPSILON:
            done = _cross(network, triple, rank)
        else:
            done = _unstacked(network, triple, rank) or _stacked(network, triple, rank)
            done = done or _pairwise(network, triple, rank) or _beside(network, triple, rank)
        if done:
            return True
    return False


def _is_vector(network: Network, label: int, rank: int) -> bool:
    """Whether nothing but weights stands on a summed label of a triple."""
    return label >= rank and not network.degree(label) and network.held(label) == 1


def _without(network: Network, triple: Triple, *gone: int) -> None:
    network.triples.remove(triple)
    for label in gone:
        network.remove(label)


def _cross(network: Network, triple: Triple, rank: int) -> bool:
    """εᵢⱼₖ xⱼ is an edge: the matrix that takes the cross product with x."""
    for k, label in enumerate(triple.labels):
        if _is_vector(network, label, rank):
            before, behind = triple.labels[k - 1], triple.labels[(k + 1) % 3]
            matrix = Call("skew", (network.vector(label, "3"),), ("3", "3"))
            _without(network, triple, label)
            network.connect(before, behind, (matrix,))
            return True
    return False


def _unstacked(network: Network, triple: Triple, rank: int) -> bool:
    """foldⱼᵢₖ aₖ is an edge: the matrix whose columns stand in a, one below the other."""
    column, row, place = triple.labels
    if not _is_vector(network, place, rank) or not network.weights[place]:
        return False
    columns, rows, _ = triple.shape
    matrix = Call("unvec", (network.vector(place, triple.shape[2]),), (rows, columns))
    _without(network, triple, place)
    network.connect(row, column, (matrix,))
    return True


def _stacked(network: Network, triple: Triple, rank: int) -> bool:
    """foldⱼᵢₖ Xᵢⱼ is a weight: the columns of X, one below the other; of vectors alone their Kronecker product."""
    column, row, place = triple.labels
    columns, rows, size = triple.shape
    if _is_vector(network, column, rank) and _is_vector(network, row, rank):
        value: Expression = Kronecker(network.vector(column, columns), network.vector(row, rows))
    elif row != column and all(
        label >= rank and network.held(label) == 1 and [x for x, _ in network.neighbours(label)] == [other]
        for label, other in ((row, column), (column, row))
    ):
        [(_, chain)] = network.neighbours(row)
        chain = (*network.diagonal(row, rows), *chain, *network.diagonal(column, columns))
        value = Call("vec", (product(chain),), (size,))
    else:
        return False
    _without(network, triple, column, row)
    network.weights[place].append(value)
    return True


def _pairwise(network: Network, triple: Triple, rank: int) -> bool:
    """foldⱼᵢₖ foldₘₗₙ Aⱼₘ Bᵢₗ is an edge: the Kronecker product of A and B."""
    for other in network.triples:
        if other is triple or other.name != triple.name:
            continue
        sides = [
            _between(network, (triple.labels[k], other.labels[k]), (triple.shape[k], other.shape[k]), rank)
            for k in (0, 1)
        ]
        first, second = sides
        if first is None or second is None:
            continue
        network.triples.remove(other)
        _without(network, triple, *triple.labels[:2], *other.labels[:2])
        network.connect(triple.labels[2], other.labels[2], (Kronecker(product(first), product(second)),))
        return True
    return False


def _between(network: Network, labels: Sequence[int], sizes: Sequence[str], rank: int) -> Factors | None:
    """What lies between two summed labels and touches nothing else; None where that is not so."""
    one, other = labels
    if one < rank or other < rank:
        return None
    if one == other:
        alone = not network.degree(one) and network.held(one) == 2
        return (network.diagonal(one, sizes[0]) or (Identity(sizes[0]),)) if alone else None
    if any(network.held(x) != 1 or len(network.neighbours(x)) != 1 for x in labels):
        return None
    [(end, chain)] = network.neighbours(one)
    return (*network.diagonal(one, sizes[0]), *chain, *network.diagonal(other, sizes[1])) if end == other else None


def _beside(network: Network, triple: Triple, rank: int) -> bool:
    """foldⱼᵢₖ Aⱼₗ xᵢ is an edge: the Kronecker product of A and x; without A that of the identity."""
    column, row, place = triple.labels
    for label, kept, k in ((row, column, 0), (column, row, 1)):
        if not _is_vector(network, label, rank):
            continue
        vector = network.vector(label, triple.shape[1 - k])
        size = triple.shape[k]
        end: int | None = None
        matrix: Factors = (Identity(size),)
        if kept >= rank and network.held(kept) == 1 and len(around := network.neighbours(kept)) == 1:
            [(end, chain)] = around
            matrix = (*network.diagonal(kept, size), *chain)
        inside = product(matrix)
        edge = Kronecker(inside, vector) if k == 0 else Kronecker(vector, inside)
        _without(network, triple, label, *(() if end is None else (kept,)))
        network.connect(place, kept if end is None else end, (edge,))
        return True
    return False
