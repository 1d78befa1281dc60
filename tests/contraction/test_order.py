"""The order of multiplication."""

from __future__ import annotations

import math

import numpy as np
import opt_einsum

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


def work(factors: list[str], output: str, sizes: dict[str, int], path: list[tuple[int, ...]]) -> tuple[int, int]:
    """Multiplications of a path, and the elements of its products that are written besides the result."""
    waiting, operations, written = list(factors), 0, 0
    for step in path:
        pair = [waiting[k] for k in step]
        waiting = [own for k, own in enumerate(waiting) if k not in step]
        labels = set("".join(pair))
        kept = {k for k in labels if k in output or any(k in own for own in waiting)}
        operations += math.prod(sizes[k] for k in labels)
        written += math.prod(sizes[k] for k in kept) if waiting else 0
        waiting.append("".join(sorted(kept)))
    return operations, written


def test_a_shared_label_stays_open_where_that_is_cheaper() -> None:
    factors, output, sizes = ["bk", "kj", "kl", "bj", "bl"], "bjl", {"b": 256, "j": 64, "k": 64, "l": 64}
    operations, written = work(factors, output, sizes, pairwise_order(factors, output, sizes))
    # kj kl -> jkl, bk jkl -> bjl, then bl and bj entry by entry: one product of all four labels is enough
    b, j = sizes["b"], sizes["j"]
    assert (operations, written) == (j**3 + b * j**3 + 2 * b * j**2, j**3 + 2 * b * j**2)
    # the search that pairwise_order must not use: every one of its orders closes k before the last product
    shapes = [tuple(sizes[k] for k in own) for own in factors]
    optimal, _ = opt_einsum.contract_path("bk,kj,kl,bj,bl->bjl", *shapes, shapes=True, optimize="optimal")
    worse = work(factors, output, sizes, optimal)
    assert worse[0] > 1.9 * operations
    assert worse[1] > 20 * written


def test_disconnected_factors_are_multiplied_last() -> None:
    path = pairwise_order(["ij", "j", "kl", "l"], "ik", {"i": 5, "j": 5, "k": 5, "l": 5})
    assert sorted(path[:2]) in ([(0, 1), (0, 1)], [(0, 1), (2, 3)])


def steps(factors: list[str], output: str, sizes: dict[str, int]) -> list[tuple[str, ...]]:
    """What each step of the path multiplies: labels of factors and of products."""
    waiting, found = list(factors), []
    for step in pairwise_order(factors, output, sizes):
        taken = tuple(waiting[k] for k in step)
        waiting = [own for k, own in enumerate(waiting) if k not in step]
        kept = {k for k in "".join(taken) if k in output or any(k in own for own in waiting)}
        waiting.append("".join(sorted(kept)))
        found.append(taken)
    return found


SIZES = {"b": 256, "j": 64, "k": 64, "l": 64, "m": 64}


def test_matrices_stay_without_the_batch_and_open_scalings_come_last() -> None:
    """V_lj d_bl S_bjk V_mk d_bm: two products of all rows of S by a matrix, then both scalings on the result."""
    found = steps(["bjk", "lj", "bl", "mk", "bm"], "blm", SIZES)
    assert {frozenset(pair) for pair in found[:2]} in (
        {frozenset({"bjk", "mk"}), frozenset({"bjm", "lj"})},
        {frozenset({"bjk", "lj"}), frozenset({"bkl", "mk"})},
    )
    assert [set(pair) for pair in found[2:]] == [{"blm", "bl"}, {"blm", "bm"}]


def test_a_scaling_that_is_summed_scales_the_wider_factor() -> None:
    """S_bjk d_bk V_mk: (S d) V is one product of matrices, S (d V) one for each of the batch."""
    assert [set(pair) for pair in steps(["bjk", "bk", "mk"], "bjm", SIZES)] == [{"bjk", "bk"}, {"bjk", "mk"}]


def test_a_scaling_stays_with_the_smaller_array() -> None:
    """d_b x_bi y_bj: x is scaled, not the outer products; (d V)_bmk is written where S has no label of its own."""
    assert [set(pair) for pair in steps(["b", "bi", "bj"], "bij", {"b": 256, "i": 4, "j": 64})] == [
        {"b", "bi"},
        {"bi", "bj"},
    ]
    small = {"b": 2, "j": 1000, "k": 64, "m": 1}
    assert {"bk", "mk"} in [set(pair) for pair in steps(["bjk", "bk", "mk"], "bjm", small)]


def test_numbers_and_equal_labels() -> None:
    assert pairwise_order(["", ""], "", {}) == [(0, 1)]
    assert pairwise_order(["b", "b"], "b", {"b": 3}) == [(0, 1)]
    assert pairwise_order(["ab"], "a", {"a": 2, "b": 3}) == [(0,)]


def test_a_number_alone_takes_no_step() -> None:
    assert pairwise_order([], "ij", {"i": 3, "j": 4}) == []
