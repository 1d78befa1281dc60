"""Plans, curvatures and derivations as pictures and in notebooks."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import jax.numpy as jnp
import numpy as np

import nablax as nb
from nablax.pictures.spy import Filled, Named, spy

SVG = "{http://www.w3.org/2000/svg}"


def loss(params: Any, X: Any) -> Any:
    return jnp.mean((jnp.tanh(X @ params["W"] + params["b"])) ** 2)


PARAMS = {"W": np.linspace(-1, 1, 6).reshape(3, 2), "b": np.array([0.3, -0.2])}
X = np.linspace(-1, 2, 12).reshape(4, 3)


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_a_plan_draws_its_candidates_and_steps() -> None:
    plan = nb.plan(loss)(PARAMS, X)
    found = texts(plan.draw().svg)
    assert found[0] == "plan of the hessian: legs-backward"
    assert {"legs-backward", "legs-forward", "columns"} <= set(found)
    assert "part of the answer" in found
    assert any(text.startswith("contract ") for text in found)
    looped = nb.plan(loss, strategy="columns")(PARAMS, X)
    assert any(text.startswith("for each of 8 directions") for text in texts(looped.draw().svg))


def test_a_plan_of_many_steps_is_folded() -> None:
    def deep(weights: Any, x: Any) -> Any:
        for W in weights:
            x = x + jnp.tanh(x @ W)
        return jnp.sum(x**2)

    plan = nb.plan(deep, "diagonal")([np.eye(4)] * 8, np.ones((5, 4)))
    found = texts(plan.draw().svg)
    assert any(re.fullmatch(r"\d+ steps", text) for text in found)
    assert "9 arguments" in found


def test_a_plan_in_a_notebook() -> None:
    html = nb.plan(loss)(PARAMS, X)._repr_html_()
    assert "<b>legs-backward</b>" in html
    assert "because" in html
    assert "<details><summary>steps</summary>" in html
    assert nb.plan(loss)(PARAMS, X)._repr_svg_().startswith("<svg")


def test_the_structure_of_a_hessian() -> None:
    def chain(p: Any) -> Any:
        return jnp.sum((p["u"][1:] - p["u"][:-1]) ** 4) + jnp.sum(p["k"] ** 2)

    c = nb.curvature(chain)({"u": np.arange(6.0) ** 2, "k": np.ones(3)})
    picture = c.draw()
    found = texts(picture.svg)
    assert found[:3] == ["Hessian of 9 unknowns: block diagonal", "k", "u"] or found[0].startswith("Hessian of 9")
    assert "eigenvalues by size, logarithmic" in found
    # one cell per unknown: k is diagonal (3 runs), u is tridiagonal (6 runs)
    [raster] = re.findall(r'<path d="([^"]*)" fill="#3b82f6"', picture.body)
    assert raster.count("M") == 9
    assert len(re.findall("<circle", picture.body)) == 9
    assert "eigenvalues" not in " ".join(texts(c.draw(spectrum=False).svg))
    largest = np.abs(np.linalg.eigvalsh(np.asarray(c.matrix()[0]))).max()
    assert f"{largest:.3g}" in found


def test_negative_eigenvalues_are_counted() -> None:
    c = nb.curvature(lambda x: x[0] ** 2 - x[1] ** 2)(np.ones(2))
    assert "1 of 2 negative: red" in texts(c.draw().svg)


def test_a_large_hessian_is_drawn_from_its_blocks() -> None:
    c = nb.curvature(lambda x: jnp.sum(x) ** 2 + jnp.sum(jnp.sin(x)))(jnp.ones(4000))
    picture = c.draw()
    assert "eigenvalues" not in picture.body
    assert '<rect x="0.0" y="0.0" width="260.0"' in picture.body


def test_curvature_in_a_notebook() -> None:
    c = nb.curvature(loss)(PARAMS, X)
    html = c._repr_html_()
    assert "Hessian of 8 unknowns" in html
    assert html.count("<tr>") == 1 + 3  # upper blocks of two leaves
    assert c._repr_svg_().startswith("<svg")


def test_blocks_without_positions() -> None:
    fills = [Filled((0, 2), (0, 2), 1.0), Filled((2, 4), (2, 4), 0.5, diagonal=True), Filled((0, 2), (2, 4), 0.0)]
    picture = spy(4, [Named("a", 0, 2), Named("b", 2, 4)], None, fills, "two blocks", np.array([1.0, -1.0, 2.0, 3.0]))
    assert picture.body.count('fill-opacity="0.75"') == 1
    assert 'stroke-width="2.5"' in picture.body
    assert "eigenvalues" in texts(picture.svg)
    assert spy(0, [], None, [], "empty").width > 0
    assert "eigenvalues" in texts(spy(1, [Named("x", 0, 1)], None, [], "zero", np.zeros(1)).svg)


def test_a_derivation_in_a_notebook() -> None:
    assert nb.derive("x'*A*x", wrt="x")._repr_latex_() == (
        "$$\\begin{aligned}\nf &= x^{\\top} A x \\\\\n\\nabla f &= \\left( A + A^{\\top} \\right) x \\\\\n"
        "\\nabla^{2} f &= A + A^{\\top}\n\\end{aligned}$$"
    )
