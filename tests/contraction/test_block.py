"""Blocks against dense arrays: sum, product, transpose, diagonal, trace and application, with every share."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nablax.contraction.block import Block, Part, Share
from nablax.contraction.index import Index, Label, affine, along, fresh, tabulated
from nablax.contraction.term import Factor, Term, identity

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]


def scattered(term: Term[Array], shapes: Sequence[Sequence[int]]) -> Array:
    """The array of a term: one einsum over all labels, every axis read or written at its tabulated positions."""
    labels = list(dict.fromkeys((*term.open_labels, *term.factor_labels)))
    number = {label: k for k, label in enumerate(labels)}
    operands: list[Any] = [np.full((), term.coefficient), []]
    for factor in term.factors:
        own = list(dict.fromkeys(label for index in factor.axes for label in index.labels))
        operands += [factor.operand[tuple(on_grid(index, own) for index in factor.axes)], [number[x] for x in own]]
    for label in labels:
        operands += [np.ones(label.size), [number[label]]]
    grid = np.einsum(*operands, [number[x] for x in term.open_labels])
    found = np.zeros([n for shape in shapes for n in shape])
    opened = list(term.open_labels)
    places = tuple(np.broadcast_to(on_grid(i, opened), grid.shape) for side in term.sides for i in side)
    np.add.at(found, places, grid)
    return found


def on_grid(index: Index, labels: Sequence[Label]) -> Array:
    found = np.zeros([label.size for label in labels], dtype=int)
    for point in itertools.product(*(range(label.size) for label in labels)):
        value = dict(zip(labels, point, strict=True))
        if index.table is not None:
            found[point] = index.table[tuple(value[x] for x in index.labels)]
        else:
            found[point] = index.offset + sum(s * value[x] for x, s in zip(index.labels, index.strides, strict=True))
    return found


def added(terms: Iterable[Term[Array]], *shapes: Shape) -> Array:
    total = np.zeros([n for shape in shapes for n in shape])
    for term in terms:
        total = total + scattered(term, shapes)
    return total


def matrix(block: Block[Array], opened: Shape, rows: Shape, columns: Shape) -> Array:
    """A block as (open, rows, columns), by the meaning of each share."""
    shape = (int(np.prod(opened)), int(np.prod(rows)), int(np.prod(columns)))
    total = np.zeros(shape)
    for part in block.parts:
        own = scattered(part.term, (opened, rows, columns)).reshape(shape)
        total = total + own
        if part.share is Share.HALF:
            total = total + own.transpose(0, 2, 1)
    return total


# -- by hand -------------------------------------------------------------------------------------------


def product(a: Array, shares: Share = Share.WHOLE) -> Block[Array]:
    i, j = fresh(a.shape)
    return Block((Part(Term(1.0, (Factor(a, (i, j)),), ((), (i,), (j,))), shares),))


A = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
S = np.array([[1.0, 2.0], [4.0, 8.0]])


def test_the_zero_block() -> None:
    zero: Block[Array] = Block()
    assert (zero + zero).parts == ()
    assert zero.terms() == zero.diagonal() == zero.trace() == []
    assert zero.transposed().parts == zero.composed(product(A)).parts == product(A).composed(zero).parts == ()
    assert matrix(zero + product(A), (), (2,), (3,)).tolist() == [A.tolist()]


def test_shares_say_what_a_term_stands_for() -> None:
    whole, half = product(S), product(S, Share.HALF)
    assert matrix(whole, (), (2,), (2,))[0].tolist() == [[1.0, 2.0], [4.0, 8.0]]
    assert added(half.terms(), (), (2,), (2,)).tolist() == [[2.0, 6.0], [6.0, 16.0]]
    assert added(half.diagonal(), (), (2,)).tolist() == [2.0, 16.0]
    assert added(whole.diagonal(), (), (2,)).tolist() == [1.0, 8.0]
    assert added(half.trace(), ()).tolist() == 18.0
    assert len(whole.terms()) == 1
    assert len(half.terms()) == 2
    assert len(half.diagonal()) == 1  # twice, not two terms


def test_transposing_keeps_shares() -> None:
    for share in Share:
        turned = product(S, share).transposed()
        assert [part.share for part in turned.parts] == [share]
    assert matrix(product(A).transposed(), (), (3,), (2,))[0].tolist() == A.T.tolist()


def test_composing_multiplies_no_numbers() -> None:
    found = product(A).composed(product(A).transposed())
    [part] = found.parts
    assert [factor.operand is A for factor in part.term.factors] == [True, True]
    assert part.share is Share.WHOLE
    assert matrix(found, (), (2,), (2,))[0].tolist() == (A @ A.T).tolist()


def test_an_identity_is_neutral_and_has_no_factors() -> None:
    axes = fresh((3,))
    one: Block[Array] = Block.of([identity(axes).replace(sides=((), axes, axes))])
    assert [len(part.term.factors) for part in one.composed(one).parts] == [0]
    assert matrix(product(A).composed(one), (), (2,), (3,))[0].tolist() == A.tolist()
    assert added(one.trace(), ()).tolist() == 3.0


def test_a_block_of_scalars() -> None:
    three: Block[Array] = Block.of([Term(3.0, (), ((), (), ()))])
    assert added(three.diagonal(), (), ()).tolist() == added(three.trace(), ()).tolist() == 3.0
    assert added(three.composed(three).terms(), (), (), ()).tolist() == 9.0
    assert added(three.applied(Term(2.0, (), ((),))), (), ()).tolist() == 6.0


def test_ones_on_both_sides_are_counted() -> None:
    # the row and the column are different labels without a factor: a matrix of ones
    ones: Block[Array] = Block.of([Term(1.0, (), ((), fresh((4,)), fresh((4,))))])
    assert added(ones.trace(), ()).tolist() == 4.0
    assert added(ones.composed(ones).terms(), (), (4,), (4,)).tolist() == np.full((4, 4), 4.0).tolist()


def test_moves_that_never_meet_vanish() -> None:
    [i], [j] = fresh((2,)), fresh((2,))
    low, high = affine([(i.labels[0], 1)], 0, 4), affine([(j.labels[0], 1)], 2, 4)
    block: Block[Array] = Block.of([Term(1.0, (), ((), (low,), (high,)))])
    assert block.diagonal() == block.trace() == []
    assert block.composed(block).parts == ()
    [k] = fresh((2,))
    assert block.applied(Term(1.0, (), ((affine([(k.labels[0], 1)], 0, 4),),))) == []


def test_a_step_along_a_chain_has_its_band() -> None:
    # rows i, columns i + 1 of x[1:] * x[:-1]
    label = Label(3)
    shifted: Term[Array] = Term(1.0, (), ((), (affine([(label, 1)], 0, 4),), (affine([(label, 1)], 1, 4),)))
    block = Block((Part(shifted, Share.HALF),))
    want = np.eye(4, k=1) + np.eye(4, k=-1)
    assert added(block.terms(), (), (4,), (4,)).tolist() == want.tolist()
    assert added(block.composed(block).terms(), (), (4,), (4,)).tolist() == (want @ want).tolist()


@pytest.mark.parametrize("n", [0, 1])
def test_extents_zero_and_one(n: int) -> None:
    block = product(np.full((n, n), 2.0), Share.HALF)
    assert added(block.trace(), ()).tolist() == 4.0 * n
    assert added(block.terms(), (), (n,), (n,)).shape == (n, n)
    assert added(block.composed(block).trace(), ()).tolist() == 16.0 * n
    assert added(block.applied(Term(1.0, (), (fresh((n,)),))), (), (n,)).tolist() == [4.0] * n


# -- any ------------------------------------------------------------------------------------------------


SHAPES: tuple[Shape, ...] = ((), (1,), (2,), (3,), (2, 3))
OPENED: tuple[Shape, ...] = ((), (2,), (3, 1))


@st.composite
def axis(draw: st.DrawFn, labels: Sequence[Label], extent: int) -> Index:
    whole = [label for label in labels if label.size == extent]
    if whole and draw(st.booleans()):
        return along(draw(st.sampled_from(whole)))
    label = draw(st.sampled_from(labels))
    if label.size <= extent and draw(st.booleans()):
        return affine([(label, -1)], extent - 1, extent)
    return tabulated([label], [draw(st.integers(0, extent - 1)) for _ in range(label.size)], extent)


@st.composite
def term(draw: st.DrawFn, *shapes: Shape) -> Term[Array]:
    labels = [Label(draw(st.sampled_from([1, 2, 3]))) for _ in range(3)]
    sides = tuple(tuple(draw(axis(labels, n)) for n in shape) for shape in shapes)
    numbers = np.random.default_rng(draw(st.integers(0, 99)))
    factors = []
    for _ in range(draw(st.integers(0, 2))):
        own = draw(st.lists(st.sampled_from(labels), max_size=2))
        factors.append(Factor(numbers.normal(size=[x.size for x in own]), tuple(along(x) for x in own)))
    return Term(draw(st.sampled_from([1.0, -2.0])), tuple(factors), sides)


@st.composite
def blocks(draw: st.DrawFn, opened: Shape, rows: Shape, columns: Shape) -> Block[Array]:
    """Parts of which those that stand for their transpose are between equal sides."""
    shares = [Share.WHOLE, Share.HALF] if rows == columns else [Share.WHOLE]
    parts = [
        Part(draw(term(opened, rows, columns)), draw(st.sampled_from(shares))) for _ in range(draw(st.integers(1, 3)))
    ]
    return Block(tuple(parts))


@given(st.data())
@settings(max_examples=80)
def test_sum_product_and_transpose(data: st.DataObject) -> None:
    opened = data.draw(st.sampled_from(OPENED))
    rows, middle, columns = (data.draw(st.sampled_from(SHAPES)) for _ in range(3))
    a, b = data.draw(blocks(opened, rows, middle)), data.draw(blocks((), middle, columns))
    again = data.draw(blocks(opened, rows, middle))
    left, right = matrix(a, opened, rows, middle), matrix(b, (), middle, columns)[0]
    np.testing.assert_allclose(matrix(a.composed(b), opened, rows, columns), left @ right, atol=1e-12)
    np.testing.assert_allclose(matrix(a.transposed(), opened, middle, rows), left.transpose(0, 2, 1), atol=1e-12)
    both = matrix(a + again, opened, rows, middle)
    np.testing.assert_allclose(both, left + matrix(again, opened, rows, middle), atol=1e-12)
    np.testing.assert_allclose(added(a.terms(), opened, rows, middle).reshape(left.shape), left, atol=1e-12)


@given(st.data())
@settings(max_examples=80)
def test_diagonal_trace_and_application(data: st.DataObject) -> None:
    opened, shape = data.draw(st.sampled_from(OPENED)), data.draw(st.sampled_from(SHAPES))
    block, vector = data.draw(blocks(opened, shape, shape)), data.draw(term(shape))
    whole = matrix(block, opened, shape, shape)
    diagonal = np.einsum("oii->oi", whole)
    np.testing.assert_allclose(added(block.diagonal(), opened, shape).reshape(diagonal.shape), diagonal, atol=1e-12)
    np.testing.assert_allclose(added(block.trace(), opened).ravel(), diagonal.sum(axis=1), atol=1e-12)
    applied = added(block.applied(vector), opened, shape).reshape(diagonal.shape)
    np.testing.assert_allclose(applied, whole @ scattered(vector, (shape,)).ravel(), atol=1e-12)
