"""Pictures of graphs: what stands in them, and that nothing stands on anything else."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import pytest

import nablax as nb
from nablax.pictures.svg import LETTER, columns
from nablax.teach.pictured import folded

SVG = "{http://www.w3.org/2000/svg}"
ORANGE, BLUE = "#d97706", "#3b82f6"
VIEWS: dict[str, Any] = {
    "worked": lambda: nb.graph("w2*log(w1)+sqrt(w2*log(w1))", w1=2.0, w2=3.0),
    "logistic": lambda: nb.graph(
        "1/2*(sigmoid(w*x+b)-t)^2+lambda*(1/2*w^2)", w=1.0, x=2.0, b=0.5, t=1.0, **{"lambda": 0.1}
    ),
    "tangled": lambda: nb.graph("sin(x*y)*exp(x) + (x + y^2)^2/(x-y)", x=0.7, y=-1.3),
    "network": lambda: nb.graph(network)([jnp.ones((3, 3)), jnp.ones((3, 2))], jnp.ones((4, 3))),
}


def network(weights: list[Any], x: Any) -> Any:
    for W in weights:
        x = jax.nn.sigmoid(x @ W)
    return jnp.sum(x**2) / 2


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def places(svg: str) -> list[tuple[float, float, float, float, str]]:
    """The room that each text takes, in pixels of the picture."""
    found = []

    def walk(element: Any, left: float, top: float) -> None:
        shift = re.match(r"translate\(([-\d.]+) ([-\d.]+)\)", element.get("transform", ""))
        if shift:
            left, top = left + float(shift[1]), top + float(shift[2])
        if element.tag == f"{SVG}text":
            size = float(element.get("font-size"))
            wide = columns(element.text) * size * LETTER
            x, y = float(element.get("x")) + left, float(element.get("y")) + top
            start = x - wide / 2 if element.get("text-anchor") == "middle" else x
            found.append((start, y - 0.75 * size, start + wide, y + 0.1 * size, element.text))
        for child in element:
            walk(child, left, top)

    walk(ElementTree.fromstring(svg), 0.0, 0.0)
    return found


@pytest.mark.parametrize("beside", [None, "adjoints"])
@pytest.mark.parametrize("name", VIEWS)
def test_no_text_overlaps_and_all_is_inside(name: str, beside: str | None) -> None:
    picture = VIEWS[name]().draw(beside)
    taken = places(picture.svg)
    for a, b in itertools.combinations(taken, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)
    for left, top, right, bottom, text in taken:
        assert left >= 0, text
        assert top >= 0, text
        assert right <= picture.width, text
        assert bottom <= picture.height, text


def test_nodes_edges_and_adjoints() -> None:
    found = texts(VIEWS["worked"]().draw("adjoints").svg)
    for text in ("w₁", "v₂ = w₂v₁", "2.07944", "v̄₂ = 1.34673", "1/(2√v₂)", "0.3467", "v₄ = v₂ + v₃", "v̄₄ = 1"):
        assert text in found
    assert found[-2:] == ["not linear: opens a core", "carries a leg of a core"]


def test_tangents() -> None:
    found = texts(VIEWS["worked"]().draw("tangents", "w1").svg)
    assert {"ẇ₁ = 1", "ẇ₂ = 0", "v̇₁ = 0.5", "v̇₄ = 2.0201"} <= set(found)


def test_cores_and_legs_are_coloured() -> None:
    svg = nb.graph("2*x + y", x=1.0, y=2.0).svg
    assert ORANGE not in svg
    assert BLUE not in svg
    svg = nb.graph("(2*x)^2", x=1.0).svg
    assert svg.count(f'stroke="{ORANGE}"') == 2  # the square, and the legend
    assert svg.count(f'stroke="{BLUE}" stroke-width="2.0"') == 1  # from x to 2x; the square itself has no leg above


def test_a_big_graph_is_folded_by_line_and_function() -> None:
    def deep(W: list[Any], x: Any) -> Any:
        for own in W:
            h = x @ own
            x = x + jnp.tanh(h)
        return jnp.sum(x**2)

    small = nb.graph(deep)([jnp.ones((3, 3))] * 2, jnp.ones((4, 3)))
    assert "v₁ = xW₀" in texts(small.svg)
    big = nb.graph(deep)([jnp.ones((3, 3))] * 12, jnp.ones((4, 3)))
    found = texts(big.svg)
    assert "38 operations" in found
    assert "deep" in found
    by_line = [group.name for group in folded(big._reading, "line")]
    assert sum(name.startswith("deep, test_pictures.py:") for name in by_line) >= 12
    assert len(folded(big._reading, "none")) == 13 + 38
    assert f"{13} arguments" in texts(big.draw(fold="function").svg)


def test_a_loop_is_one_node() -> None:
    def turns(x: Any) -> Any:
        return jnp.sum(jax.lax.scan(lambda c, _: (jnp.sin(c) * 1.5, None), x, None, length=50)[0])

    found = texts(nb.graph(turns)(jnp.ones(3)).svg)
    assert any("scan" in text for text in found)


def test_refusals() -> None:
    view = VIEWS["worked"]()
    with pytest.raises(nb.ArgumentError) as caught:
        view.draw("gradients")
    assert str(caught.value) == "draw got beside='gradients'; give 'adjoints', 'tangents' or None."
    with pytest.raises(nb.ArgumentError) as caught:
        view.draw(fold="all")
    assert str(caught.value) == "draw got fold='all'; give one of 'auto', 'none', 'line', 'function'."
    with pytest.raises(nb.OutputError):
        nb.graph(lambda x: 2 * x)(jnp.ones(3)).draw("adjoints")


def test_notebooks_and_files(tmp_path: Path) -> None:
    view = VIEWS["worked"]()
    assert view._repr_svg_() == view.svg
    assert view._repr_html_().startswith('<div class="nablax"')
    assert view._repr_latex_() == (
        "$$\\begin{aligned}\n"
        "v_{1} &= \\log\\left( w_{1} \\right) \\\\\nv_{2} &= w_{2} v_{1} \\\\\nv_{3} &= \\surd v_{2} \\\\\n"
        "v_{4} &= v_{2} + v_{3}\n\\end{aligned}$$"
    )
    view.draw().save(tmp_path / "g.svg")
    assert ElementTree.parse(tmp_path / "g.svg").getroot().tag == f"{SVG}svg"


@pytest.mark.parametrize("name", VIEWS)
def test_colours_are_those_of_the_elimination(name: str) -> None:
    numbers = VIEWS[name]()._numbers
    _, steps = numbers.elimination
    assert {step.node for step in steps if step.opened} == numbers.opening
    moving = {step.node for step in steps}
    assert {step.node for step in steps if step.cores[0]} == numbers.carrying & moving


ODD: dict[str, Any] = {
    "a branch": (lambda x: jax.lax.cond(x[0] > 0, jnp.sum, lambda x: jnp.sum(x**2), x), (jnp.array([-1.0, 2.0]),)),
    "a mask": (lambda x: jnp.sum(jnp.where(x > 0, x**2, 0.0)), (jnp.array([-1.0, 2.0]),)),
    "a cut": (lambda x: jnp.sum(jax.lax.stop_gradient(x) * x), (jnp.array([-1.0, 2.0]),)),
    "a random key": (lambda x, key: jnp.sum(x * jax.random.normal(key, (2,))), (jnp.ones(2), jax.random.key(0))),
    "a known array": (lambda x: jnp.sum(jnp.convolve(x, jnp.array([1.0, 2.0])) ** 2), (jnp.array([1.0, 2.0, 3.0]),)),
    "nothing": (lambda x: jnp.sum(x) * 0.0 + 3.0, (jnp.ones(2),)),
    "no elements": (lambda x: jnp.sum(x**2), (jnp.ones(0),)),
    "a factorisation": (lambda S: jnp.sum(jnp.linalg.cholesky(S)), (jnp.array([[2.0, 0.5], [0.5, 1.0]]),)),
}


@pytest.mark.parametrize("name", ODD)
def test_whatever_jax_can_differentiate_can_be_looked_at(name: str) -> None:
    function, arguments = ODD[name]
    view = nb.graph(function)(*arguments)
    assert str(view)
    assert view.draw("adjoints").svg.startswith("<svg")
    assert view._repr_latex_().startswith("$$")
    assert view.reverse_table().html()
    assert view.second_order_table().markdown()
    view.forward()
    found = view.backward()
    wanted = jax.grad(function)(*arguments)
    assert jnp.allclose(found[view.variables[0]], wanted)
