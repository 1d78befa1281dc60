"""The order of multiplication."""

from __future__ import annotations

import numpy as np

from nablax.contraction.order import pairwise_order


def test_vector_first() -> None:
    assert pairwise_order(["ij", "jk", "k"], "i", {"i": 9, "j": 9, "k": 9}) == [(1, 2), (0, 1)]


def test_every_step_takes_two_and_one_is_left() -> None:
    factors = ["ab", "bc", "cd", "de", "e"]
    path = pairwise_order(factors, "a", dict(zip("abcde", (2, 3, 5, 7, 11), strict=True)))
    left = len(factors)
    for step in path:
        assert len(step) == 2
        assert all(0 <= k < left for k in step)
        left -= 1
    assert left == 1


def test_a_path_gives_the_same_product(generator: np.random.Generator) -> None:
    labels = ["bk", "kj", "kl", "bj", "bl"]
    sizes = {"b": 4, "j": 2, "k": 3, "l": 5}
    arrays = [generator.normal(size=[sizes[x] for x in own]) for own in labels]
    whole = np.einsum(",".join(labels) + "->bjl", *arrays)
    waiting = list(zip(labels, arrays, strict=True))
    for step in pairwise_order(labels, "bjl", sizes):
        (a, x), (b, y) = (waiting[k] for k in step)
        waiting = [pair for k, pair in enumerate(waiting) if k not in step]
        kept = "".join(k for k in sizes if k in a + b and (k in "bjl" or any(k in own for own, _ in waiting)))
        waiting.append((kept, np.einsum(f"{a},{b}->{kept}", x, y)))
    [(own, product)] = waiting
    np.testing.assert_allclose(np.einsum(f"{own}->bjl", product), whole)


def test_a_shared_label_stays_open_where_that_is_cheaper() -> None:
    # opt_einsum's "optimal" search takes 2.0e8 operations here (see the comment at the search)
    sizes = {"b": 256, "j": 64, "k": 64, "l": 64}
    path = pairwise_order(["bk", "kj", "kl", "bj", "bl"], "bjl", sizes)
    assert len(path) == 4


def test_disconnected_factors_are_multiplied_last() -> None:
    path = pairwise_order(["ij", "j", "kl", "l"], "ik", {"i": 5, "j": 5, "k": 5, "l": 5})
    assert sorted(path[:2]) in ([(0, 1), (0, 1)], [(0, 1), (2, 3)])
