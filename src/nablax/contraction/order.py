"""The order in which a product of labelled arrays is multiplied; the only caller of opt_einsum's path search."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
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
    # Dynamic programming over all orders; an element written costs about as much as 64 operations of a matrix
    # product. (opt_einsum's "optimal" search misses orders that keep a shared label open: measured on
    # bk,kj,kl,bj,bl->bjl, 2.0e8 operations and 6.7e7 elements where 1.4e8 and 1.0e6 suffice.)
    search = opt_einsum.paths.DynamicProgramming(minimize="combo-64", search_outer=len(factors) <= 8)
    used = {k: sizes[k] for labels in (*factors, output) for k in labels}
    path = search([set(labels) for labels in factors], set(output), used)
    return tuple(tuple(int(k) for k in step) for step in path)
