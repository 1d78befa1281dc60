"""Layered graphs: arrows point down, boxes stand apart, few crossings."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nablax.pictures.layers import GAP, layered
from nablax.pictures.svg import Picture, columns, curve
from nablax.pictures.table import Cell, Table, number


def random_graph(
    generator: np.random.Generator, count: int
) -> tuple[dict[int, tuple[float, float]], list[tuple[int, int]]]:
    sizes = {k: (float(generator.integers(30, 160)), float(generator.integers(20, 60))) for k in range(count)}
    pairs = list(itertools.combinations(range(count), 2))
    chosen = generator.choice(len(pairs), size=min(2 * count, len(pairs)), replace=False)
    return sizes, [pairs[k] for k in chosen]


@pytest.mark.parametrize("count", [1, 2, 5, 12, 30])
def test_boxes_stand_apart_and_arrows_point_down(count: int, generator: np.random.Generator) -> None:
    sizes, edges = random_graph(generator, count)
    placed = layered(sizes, edges, 40)
    for a, b in itertools.combinations(sizes, 2):
        (x, y), (u, v) = placed.centres[a], placed.centres[b]
        across = abs(x - u) >= (sizes[a][0] + sizes[b][0]) / 2 + GAP - 1e-6
        down = abs(y - v) >= (sizes[a][1] + sizes[b][1]) / 2 + 40 - 1e-6 - 60
        assert across or down, (a, b)
        if not across:
            assert abs(y - v) >= (sizes[a][1] + sizes[b][1]) / 2
    for edge in edges:
        heights = [y for _, y in placed.routes[edge]]
        assert heights == sorted(heights)
        assert heights[0] == placed.centres[edge[0]][1] + sizes[edge[0]][1] / 2
        assert heights[-1] == placed.centres[edge[1]][1] - sizes[edge[1]][1] / 2
    for key, (x, y) in placed.centres.items():
        assert sizes[key][0] / 2 - 1e-6 <= x <= placed.width - sizes[key][0] / 2 + 1e-6
        assert 0 <= y <= placed.height


def test_long_arrows_do_not_run_through_boxes() -> None:
    sizes = dict.fromkeys("abcd", (60.0, 20.0))
    placed = layered(sizes, [("a", "b"), ("b", "c"), ("c", "d"), ("a", "d")], 30)
    assert [placed.centres[k][1] for k in "abcd"] == [10, 60, 110, 160]
    beside = placed.routes["a", "d"][1:-1]
    for x, y in beside:
        for k in "bc":
            u, v = placed.centres[k]
            assert abs(x - u) > 30 or abs(y - v) > 10


def test_crossings_are_undone() -> None:
    sizes = dict.fromkeys("abcxyz", (40.0, 20.0))
    placed = layered(sizes, [("a", "z"), ("b", "y"), ("c", "x")], 30)
    order = [sorted(row, key=lambda k: placed.centres[k][0]) for row in ("abc", "xyz")]
    assert dict(zip(*order, strict=True)) == {"a": "z", "b": "y", "c": "x"}
    for above, below in (("a", "z"), ("b", "y"), ("c", "x")):
        assert placed.centres[above][0] == pytest.approx(placed.centres[below][0])


def test_what_stands_aside_does_not_bend_a_chain() -> None:
    sizes = {**dict.fromkeys("abcd", (60.0, 20.0)), "w": (30.0, 20.0)}
    placed = layered(sizes, [("a", "b"), ("b", "c"), ("c", "d"), ("w", "c")], 30)
    across = [placed.centres[k][0] for k in "abcd"]
    assert max(across) - min(across) < 6
    assert placed.centres["w"][1] == placed.centres["b"][1]


def test_pictures_as_files_and_on_pages() -> None:
    picture = Picture(400, 100, '<path d="M0 0"/>', 'a < "b"')
    assert picture.svg.startswith('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 100" width="400"')
    assert "prefers-color-scheme:dark" in picture.svg
    assert 'aria-label="a &lt; &quot;b&quot;"' in picture.svg
    assert "min-width:340px;max-width:400px" in picture.inline()
    assert "overflow-x:auto" in picture.inline()
    assert repr(picture) == 'Picture(400×100: a < "b")'
    assert columns("v̄₂") == 2
    assert curve([(0, 0), (0, 10), (5, 20)]) == "M0.0 0.0 L0.0 10.0 C0.0 15.0 5.0 15.0 5.0 20.0"


def test_tables_in_every_notation() -> None:
    table = Table(
        "A & B", ("a", "b"), ((Cell("x|y", "<i>x</i>", "x"), Cell("2", value=2.0)), (Cell(""), Cell("1", dropped=True))),
        ("done",), frozenset({1}),
    )  # fmt: skip
    assert str(table) == "A & B\na               b\n───  ────────────\nx|y             2\n     [dropped: 1]\ndone"
    assert table.markdown() == "**A & B**\n\n| a | b |\n|---|---:|\n| x\\|y | 2 |\n|  | ~~1~~ |\n\ndone"
    assert table.rows == [{"a": "x|y", "b": 2.0}, {"a": "", "b": "1"}]
    assert "<i>x</i>" in table.html()
    assert ">A &amp; B<" in table.html()
    assert table._repr_latex_() == (
        "$$\\begin{array}{lr}\n\\text{a} & \\text{b} \\\\ \\hline\nx & \\text{2} \\\\\n"
        "\\text{} & \\color{red}{\\text{1}} \\\\\n\\end{array}$$"
    )
    assert [number(x) for x in (-0.0, 1e-7, -2.5)] == ["0", "1e−7", "−2.5"]
