"""Static index maps: composition and unification against plain enumeration."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nablax.contraction.index import Index, Label, affine, along, inside, solve, substitute, tabulated, unify

EXTENT = 6


def position(index: Index, value: dict[Label, int]) -> int:
    """Where an index points, read off its definition."""
    if index.table is not None:
        return int(index.table[tuple(value[label] for label in index.labels)])
    return index.offset + sum(s * value[label] for label, s in zip(index.labels, index.strides, strict=True))


def values_of(labels: Sequence[Label]) -> list[dict[Label, int]]:
    return [
        dict(zip(labels, values, strict=True)) for values in itertools.product(*(range(label.size) for label in labels))
    ]


@st.composite
def indices(draw: st.DrawFn, labels: Sequence[Label]) -> Index:
    """Any index into an axis of EXTENT elements that depends on some of the labels."""
    own = tuple(draw(st.lists(st.sampled_from(labels), max_size=2, unique=True)))
    shape = tuple(label.size for label in own)
    if draw(st.booleans()) or 0 in shape:
        size = int(np.prod(shape))
        table = draw(st.lists(st.integers(0, EXTENT - 1), min_size=size, max_size=size))
        return tabulated(own, np.array(table, dtype=np.int64).reshape(shape), EXTENT)
    strides = [draw(st.integers(-2, 3)) for _ in own]
    reach = [stride * (label.size - 1) for stride, label in zip(strides, own, strict=True)]
    low, high = sum(min(r, 0) for r in reach), sum(max(r, 0) for r in reach)
    if high - low > EXTENT - 1:
        strides, low, high = [0] * len(own), 0, 0
    offset = draw(st.integers(-low, EXTENT - 1 - high))
    return affine(list(zip(own, strides, strict=True)), offset, EXTENT)


SIZES = st.sampled_from([1, 2, 3, 6])


@st.composite
def pairs(draw: st.DrawFn, count: int = 1) -> tuple[list[Label], list[tuple[Index, Index]]]:
    labels = [Label(draw(SIZES)) for _ in range(4)]
    return labels, [(draw(indices(labels)), draw(indices(labels))) for _ in range(count)]


def reached(labels: Sequence[Label], solution: dict[Label, Index] | None) -> Counter[tuple[int, ...]]:
    """The values of `labels` that a solution runs through, counted."""
    if solution is None:
        return Counter()
    images = [solution.get(label, along(label)) for label in labels]
    free = list(dict.fromkeys(x for image in images for x in image.labels))
    return Counter(tuple(position(image, value) for image in images) for value in values_of(free))


@given(pairs())
@settings(max_examples=300)
def test_unify_reaches_every_solution_once(drawn: tuple[list[Label], list[tuple[Index, Index]]]) -> None:
    labels, [(a, b)] = drawn
    wanted = [tuple(v.values()) for v in values_of(labels) if position(a, v) == position(b, v)]
    assert reached(labels, unify(a, b)) == Counter(wanted)


@given(pairs(2))
@settings(max_examples=200)
def test_solve_reaches_every_common_solution_once(drawn: tuple[list[Label], list[tuple[Index, Index]]]) -> None:
    labels, equations = drawn
    wanted = [
        tuple(v.values()) for v in values_of(labels) if all(position(a, v) == position(b, v) for a, b in equations)
    ]
    assert reached(labels, solve(equations)) == Counter(wanted)


@given(st.data())
@settings(max_examples=200)
def test_substitution_composes(data: st.DataObject) -> None:
    inner = [Label(data.draw(SIZES)) for _ in range(3)]
    outer = [Label(EXTENT), Label(EXTENT)]
    index = data.draw(indices(outer)) if data.draw(st.booleans()) else along(outer[0])
    images = {label: data.draw(indices(inner)) for label in outer}
    composed = substitute(index, images)
    for value in values_of(inner):
        through = {label: position(image, value) for label, image in images.items()}
        assert position(composed, value) == position(index, through)


@given(st.data())
def test_a_table_that_is_affine_becomes_affine(data: st.DataObject) -> None:
    labels = [Label(2), Label(3)]
    index = data.draw(indices(labels))
    copy = tabulated(index.labels, index.positions(), EXTENT)
    assert copy.table is None or index.table is not None
    for value in values_of(labels):
        assert position(copy, value) == position(index, value)


def test_a_whole_axis_is_bare() -> None:
    label = Label(4)
    assert along(label).label is label
    assert affine([(label, 1)], 0, 4).label is label
    assert affine([(label, 1)], 0, 5).label is None
    assert affine([(label, 1)], 1, 5).label is None
    assert affine([(label, -1)], 3, 4).label is None


def test_axes_of_length_one_and_zero() -> None:
    one, none = Label(1), Label(0)
    assert affine([(one, 1)], 0, 1).label is one
    assert affine([(one, 5)], 2, 4).labels == ()
    assert unify(along(one), affine([], 0, 1)) is not None
    assert reached([none], unify(along(none), Index((none,), 0, 0, (1,)))) == Counter()


def test_same_numbering_matches_label_by_label() -> None:
    i, j, k, l = Label(2), Label(3), Label(2), Label(3)
    solution = unify(affine([(i, 3), (j, 1)], 0, 6), affine([(k, 3), (l, 1)], 0, 6))
    assert solution is not None
    assert {a: b.label for a, b in solution.items()} == {i: k, j: l}


def test_indices_that_never_meet_have_no_solution() -> None:
    i, j = Label(3), Label(3)
    assert unify(affine([(i, 2)], 0, 6), affine([(j, 2)], 1, 6)) is None


def test_indices_of_different_axes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^indices of different axes: 3 and 4 elements$"):
        unify(along(Label(3)), along(Label(4)))


def outside_too(data: st.DataObject, labels: Sequence[Label]) -> Index:
    """An affine index that may leave its axis."""
    strides = [(label, data.draw(st.integers(-2, 3))) for label in labels]
    return affine(strides, data.draw(st.integers(-EXTENT, EXTENT)), EXTENT)


@given(st.data())
def test_the_span_of_an_index_and_whether_it_leaves(data: st.DataObject) -> None:
    index = outside_too(data, [Label(2), Label(3)])
    places = [position(index, value) for value in values_of(index.labels)]
    assert index.span == (min(places), max(places))
    assert index.leaves == any(not 0 <= place < EXTENT for place in places)


@given(st.data())
def test_the_places_inside_an_axis_are_reached_once(data: st.DataObject) -> None:
    labels = [Label(2), Label(3)]
    index = outside_too(data, labels)
    wanted = [
        tuple(value[label] for label in index.labels)
        for value in values_of(index.labels)
        if 0 <= position(index, value) < EXTENT
    ]
    assert reached(index.labels, inside(index)) == Counter(wanted)


@given(st.data())
@settings(max_examples=200)
def test_solutions_inside_are_reached_where_indices_leave(data: st.DataObject) -> None:
    """What lies outside may be reached or not: terms are zero there."""
    labels = [Label(2), Label(3), Label(3)]
    a, b = outside_too(data, labels[:2]), outside_too(data, [labels[0], labels[2]])
    agreeing = [value for value in values_of(labels) if position(a, value) == position(b, value)]
    wanted = Counter(tuple(v.values()) for v in agreeing if 0 <= position(a, v) < EXTENT)
    found = reached(labels, unify(a, b))
    assert wanted <= found <= Counter(tuple(v.values()) for v in agreeing)


@given(st.data())
def test_nowhere_stays_nowhere_in_a_table(data: st.DataObject) -> None:
    label, inner = Label(EXTENT), Label(4)
    table = tabulated([label], data.draw(st.permutations(range(EXTENT))), EXTENT)
    image = outside_too(data, [inner])
    composed = substitute(table, {label: image})
    for value in values_of([inner]):
        through = position(image, value)
        if 0 <= through < EXTENT:
            assert position(composed, value) == position(table, {label: through})
        elif table.table is not None:
            assert not 0 <= position(composed, value) < EXTENT


def test_windows_that_overlap_are_told_apart_by_the_place_in_them() -> None:
    y, k, other = Label(4), Label(3), Label(3)
    solution = unify(affine([(y, 2), (k, 1)], -1, 8), affine([(y, 2), (other, 1)], -1, 8))
    assert solution is not None
    assert solution[k].label is other
