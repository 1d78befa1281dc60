"""The order in which a product of labelled arrays is multiplied; the only caller of opt_einsum's path search."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

import opt_einsum

L = TypeVar("L", bound=Hashable)


def pairwise_order(
    factors: Sequence[Sequence[L]], output: Sequence[L], sizes: Mapping[L, int]
) -> list[tuple[int, ...]]:
    """Pairwise contraction order with the fewest operations.

    Args:
        factors: the labels of each factor.
        output: the labels that stay open.
        sizes: elements per label.

    Returns:
        opt_einsum's path: at each step the positions of the factors to multiply are removed from the list and
        their product is appended (Smith and Gray 2018).

    Example:
        >>> pairwise_order(["ij", "jk", "k"], "i", {"i": 9, "j": 9, "k": 9})
        [(1, 2), (0, 1)]
    """
    number: dict[L, int] = {}
    for label in (label for labels in (*factors, output) for label in labels):
        number.setdefault(label, len(number))
    return list(
        _search(
            tuple(tuple(number[label] for label in labels) for labels in factors),
            tuple(number[label] for label in output),
            tuple(sizes[label] for label in number),
        )
    )


@lru_cache(maxsize=4096)
def _search(
    factors: tuple[tuple[int, ...], ...], output: tuple[int, ...], sizes: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    if len(factors) < 2:  # a term of a number alone has none
        return ((0,),) * len(factors)
    scalings = _scalings(factors, output)
    rest = [k for k in range(len(factors)) if k not in scalings]
    labels = {k: frozenset(own) for k, own in enumerate(factors)}
    made: dict[int, tuple[int, ...]] = {}
    waiting = list(rest)
    for step in _fewest_operations([labels[k] for k in rest], output, sizes):
        taken, number = tuple(waiting[k] for k in step), len(labels)
        waiting = [k for place, k in enumerate(waiting) if place not in step]
        present = frozenset(output).union(*(labels[k] for k in waiting))
        made[number] = taken
        labels[number] = frozenset().union(*(labels[k] for k in taken)) & present
        waiting.append(number)
    _scale_what_is_wide(made, labels, sizes)
    scaled: dict[int, list[int]] = {}
    for one in scalings:
        places = [k for k in labels if labels[one] < labels[k] or (k not in scalings and labels[one] <= labels[k])]
        least = min(_elements(labels[k], sizes) for k in places)
        place = max(k for k in places if _elements(labels[k], sizes) == least)
        scaled.setdefault(place, []).append(one)
    return _path(waiting[0], made, scaled, len(factors))


def _scalings(factors: Sequence[tuple[int, ...]], output: Sequence[int]) -> list[int]:
    """Factors that scale the product of the others: all their labels stay open, and others have them too.

    A scaling is multiplied where that writes the fewest elements, the last of equal places: there it becomes part of
    the pass that adds the product to its sum. Multiplied early, it would give its labels to a matrix that lacks
    them, and turn one large product into a product for each of the batch (d_bm V_mk before S_bjk, instead of
    (S V)_bjm d_bm: equal operations, twice the time).
    """
    left = {k: frozenset(own) for k, own in enumerate(factors)}
    found: list[int] = []
    for k in sorted(left, key=lambda k: (len(factors[k]), k)):
        others = [labels for other, labels in left.items() if other != k]
        if others and left[k] <= frozenset(output) and left[k] <= frozenset().union(*others):
            del left[k]
            found.append(k)
    return found


def _scale_what_is_wide(
    made: dict[int, tuple[int, ...]], labels: dict[int, frozenset[int]], sizes: Sequence[int]
) -> None:
    """Where a product takes (d V) and S, and S has all labels of d, take (S d) and V, unless that writes more."""
    for number, taken in list(made.items()):
        better = (
            (product, scaling, wide, matrix)
            for product, wide in itertools.permutations(taken, 2)
            for scaling, matrix in itertools.permutations(made.get(product, ()), 2)
            if labels[scaling] <= labels[wide] and not labels[scaling] <= labels[matrix]
            if _elements(labels[wide], sizes) <= _elements(labels[product], sizes)
        )
        for product, scaling, wide, matrix in itertools.islice(better, 1):
            made[product], labels[product] = (scaling, wide), labels[wide]
            made[number] = (product, matrix)


def _fewest_operations(
    factors: Sequence[frozenset[int]], output: Sequence[int], sizes: Sequence[int]
) -> list[tuple[int, ...]]:
    # Dynamic programming over all orders; an element written costs about as much as 64 operations of a matrix
    # product. (opt_einsum's "optimal" search misses orders that keep a shared label open: measured on
    # bk,kj,kl,bj,bl->bjl, 2.0e8 operations and 6.7e7 elements where 1.4e8 and 1.0e6 suffice.)
    search = opt_einsum.paths.DynamicProgramming(minimize="combo-64", search_outer=len(factors) <= 8)
    used = {k: sizes[k] for k in {*output}.union(*factors)}
    path = search([set(labels) for labels in factors], set(output), used)
    return [tuple(int(k) for k in step) for step in path]


def _path(
    last: int, made: Mapping[int, tuple[int, ...]], scaled: Mapping[int, Sequence[int]], count: int
) -> tuple[tuple[int, ...], ...]:
    """The path that multiplies a tree of products, each factor and product scaled by those that belong to it."""
    waiting = list(range(count))
    path: list[tuple[int, ...]] = []
    numbers = itertools.count(count)

    def multiplied(taken: Sequence[int]) -> int:
        path.append(tuple(sorted(waiting.index(k) for k in taken)))
        waiting[:] = [*(k for k in waiting if k not in taken), next(numbers)]
        return waiting[-1]

    def whole(node: int) -> int:
        found = multiplied([whole(k) for k in made[node]]) if node in made else node
        for one in scaled.get(node, ()):
            found = multiplied((found, whole(one)))
        return found

    whole(last)
    return tuple(path)


def _elements(labels: Iterable[int], sizes: Sequence[int]) -> int:
    return math.prod(sizes[label] for label in labels)
