"""Equal products have one canonical form, however their labels are named and their factors ordered."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from nablax.derivation.tensors import Atom, AtomKind, Factor, canonical

PLAIN = Atom(AtomKind.LEAF, "A", (5, 5))
SYMMETRIC = Atom(AtomKind.LEAF, "S", (5, 5), symmetric=True)
SKEW = Atom(AtomKind.LEAF, "K", (5, 5), trait="skew")

GRAPHS = {
    "cycle of 4": [(k, (k + 1) % 4) for k in range(4)],
    "cycle of 7": [(k, (k + 1) % 7) for k in range(7)],
    "cycle of 12": [(k, (k + 1) % 12) for k in range(12)],
    "two cycles of 3": [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3)],
    "star of 8": [(0, k) for k in range(1, 9)],
    "bipartite 3, 3": [(a, b) for a in range(3) for b in range(3, 6)],
    "cube": [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)],
}


@pytest.mark.parametrize("atom", [PLAIN, SYMMETRIC], ids=["plain", "symmetric"])
@pytest.mark.parametrize("name", GRAPHS)
def test_one_form_for_all_names_and_orders(atom: Atom, name: str) -> None:
    edges = GRAPHS[name]
    count = 1 + max(map(max, edges))
    random = np.random.default_rng(0)
    found = set()
    for _ in range(30):
        names = random.permutation(count)
        factors = [Factor(atom, (int(names[a]), int(names[b]))) for a, b in edges]
        found.add(canonical(Fraction(1), [factors[k] for k in random.permutation(len(factors))], 0).body)
    assert len(found) == 1


def test_different_products_have_different_forms() -> None:
    one, other = (
        canonical(Fraction(1), [Factor(PLAIN, edge) for edge in GRAPHS[name]], 0).body
        for name in ("two cycles of 3", "bipartite 3, 3")
    )
    six = canonical(Fraction(1), [Factor(PLAIN, (k, (k + 1) % 6)) for k in range(6)], 0).body
    assert len({one, other, six}) == 3


@pytest.mark.parametrize(("length", "is_zero"), [(1, True), (2, False), (3, True), (4, False), (5, True)])
def test_traces_of_odd_powers_of_a_skew_matrix_are_zero(length: int, is_zero: bool) -> None:
    made = canonical(Fraction(1), [Factor(SKEW, (k, (k + 1) % length)) for k in range(length)], 0)
    assert (made.coefficient == 0) == (is_zero and length > 1)  # of one factor another rule knows
