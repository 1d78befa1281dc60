"""Terms against dense arrays: composition, diagonal and trace of products with static index maps."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nablax.contraction.index import Index, Label, affine, along, fresh, tabulated
from nablax.contraction.term import (
    Factor,
    Term,
    collect_like,
    compose,
    connected,
    identity,
    join_sides,
    sum_side,
    swap_sides,
)

Array = np.ndarray[Any, Any]


def position(index: Index, value: dict[Label, int]) -> int:
    if index.table is not None:
        return int(index.table[tuple(value[label] for label in index.labels)])
    return index.offset + sum(s * value[label] for label, s in zip(index.labels, index.strides, strict=True))


def dense(term: Term[Array], shapes: Sequence[Sequence[int]]) -> Array:
    """The array that a term stands for, by its definition: a sum over the values of all labels."""
    labels = list(dict.fromkeys((*term.open_labels, *term.factor_labels)))
    found = np.zeros([n for shape in shapes for n in shape])
    for values in itertools.product(*(range(label.size) for label in labels)):
        value = dict(zip(labels, values, strict=True))
        product = term.coefficient
        for factor in term.factors:
            product = product * factor.operand[tuple(position(i, value) for i in factor.axes)]
        found[tuple(position(i, value) for side in term.sides for i in side)] += product
    return found


@st.composite
def axis(draw: st.DrawFn, labels: Sequence[Label], extent: int) -> Index:
    whole = [label for label in labels if label.size == extent]
    if whole and draw(st.booleans()):
        return along(draw(st.sampled_from(whole)))
    label = draw(st.sampled_from(labels))
    if label.size <= extent and draw(st.booleans()):
        if draw(st.booleans()):
            return affine([(label, -1)], extent - 1, extent)
        return affine([(label, 1)], extent - label.size, extent)
    table = draw(st.lists(st.integers(0, extent - 1), min_size=label.size, max_size=label.size))
    return tabulated([label], table, extent)


SHAPES = ((2,), (3,), (2, 3), (1,), ())


@st.composite
def term_between(draw: st.DrawFn, left: Sequence[int], right: Sequence[int]) -> Term[Array]:
    labels = [Label(draw(st.sampled_from([1, 2, 3]))) for _ in range(3)]
    sides = tuple(tuple(draw(axis(labels, n)) for n in shape) for shape in (left, right))
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    factors = []
    for _ in range(draw(st.integers(0, 2))):
        own = draw(st.lists(st.sampled_from(labels), max_size=2))
        axes = tuple(along(label) for label in own)
        factors.append(Factor(generator.normal(size=[label.size for label in own]), axes))
    return Term(draw(st.sampled_from([1.0, -2.0])), tuple(factors), sides)


@given(st.data())
@settings(max_examples=200)
def test_compose_is_the_matrix_product(data: st.DataObject) -> None:
    left, middle, right = (data.draw(st.sampled_from(SHAPES)) for _ in range(3))
    a, b = data.draw(term_between(left, middle)), data.draw(term_between(middle, right))
    whole = compose(a, 1, b, 0)
    got = np.zeros([*left, *right]) if whole is None else dense(whole, (left, right))
    rows = dense(a, (left, middle)).reshape(int(np.prod(left)), -1)
    columns = dense(b, (middle, right)).reshape(-1, int(np.prod(right)))
    np.testing.assert_allclose(got.reshape(rows.shape[0], columns.shape[1]), rows @ columns, atol=1e-12)


@given(st.data())
@settings(max_examples=200)
def test_join_is_the_diagonal_and_its_sum_the_trace(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from(SHAPES))
    term = data.draw(term_between(shape, shape))
    n = int(np.prod(shape))
    matrix = dense(term, (shape, shape)).reshape(n, n)
    joined = join_sides(term, 0, 1)
    got = np.zeros(shape) if joined is None else dense(joined, (shape,))
    np.testing.assert_allclose(got.reshape(n), np.diagonal(matrix), atol=1e-12)
    trace = 0.0 if joined is None else dense(sum_side(joined, 0), ())
    np.testing.assert_allclose(trace, np.trace(matrix), atol=1e-12)


@given(st.data())
def test_swap_is_the_transpose(data: st.DataObject) -> None:
    left, right = (data.draw(st.sampled_from(SHAPES)) for _ in range(2))
    term = data.draw(term_between(left, right))
    turned = dense(swap_sides(term, 0, 1), (right, left)).reshape(int(np.prod(right)), -1)
    np.testing.assert_allclose(turned, dense(term, (left, right)).reshape(-1, turned.shape[0]).T, atol=1e-12)


def test_join_counts_places_that_meet_more_than_once() -> None:
    # x0 (2 x0 + x1): rows at the fixed place 0, columns at the places 0, 0, 1
    j = Label(3)
    term: Term[Array] = Term(1.0, (), ((affine([], 0, 4),), (tabulated([j], [0, 0, 1], 4),)))
    joined = join_sides(term, 0, 1)
    assert joined is not None
    np.testing.assert_array_equal(dense(joined, ((4,),)), [2.0, 0.0, 0.0, 0.0])


def test_a_product_equals_numpy_einsum(generator: np.random.Generator) -> None:
    i, j, k = (along(Label(n)) for n in (2, 3, 4))
    a, b = generator.normal(size=(2, 3)), generator.normal(size=(3, 4))
    term = Term(2.0, (Factor(a, (i, j)), Factor(b, (j, k)), Factor(b, (j, k))), ((i,), (k,)))
    np.testing.assert_allclose(dense(term, ((2,), (4,))), 2.0 * np.einsum("ij,jk,jk->ik", a, b, b))


def test_identity_is_neutral(generator: np.random.Generator) -> None:
    i, j = fresh((2, 3))
    a = Term(1.0, (Factor(generator.normal(size=(2, 3)), (i, j)),), ((i,), (j,)))
    right = compose(a, 1, identity(fresh((3,))), 0)
    assert right is not None
    assert len(right.factors) == 1
    np.testing.assert_array_equal(dense(right, ((2,), (3,))), a.factors[0].operand)


def test_a_label_without_factor_counts_its_size() -> None:
    [i] = fresh((5,))
    ones: Term[Array] = Term(1.0, (), ((), (i,)))
    product = compose(ones, 1, Term(3.0, (), (fresh((5,)), ())), 0)
    assert product is not None
    assert product.coefficient == 15.0


def test_like_terms_are_collected_and_opposite_ones_vanish() -> None:
    operand = np.ones(3)

    def term(coefficient: float) -> Term[Array]:
        [i] = fresh((3,))
        return Term(coefficient, (Factor(operand, (i,)),), ((i,),))

    [one] = collect_like([term(1.0), term(2.0)], id)
    assert one.coefficient == 3.0
    assert collect_like([term(1.0), term(-1.0)], id) == []


def test_factors_are_grouped_through_links() -> None:
    i, j, k = (Label(n) for n in (2, 3, 4))
    ones = np.ones
    factors = [
        Factor(ones((2, 3)), (along(i), along(j))), Factor(ones(4), (along(k),)), Factor(ones(3), (along(j),))
    ]  # fmt: skip
    assert sorted(connected(factors, [j])) == [(0, 2), (1,)]
    assert sorted(connected(factors, [])) == [(0,), (1,), (2,)]
