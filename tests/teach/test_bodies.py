"""Loops and branches in tables and pictures: what is inside them, at their turns."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nablax as nb

W, X = jnp.asarray([[0.3, -0.2], [0.5, 0.1]]), jnp.asarray([[1.0, 2.0], [0.5, -1.0], [0.2, 0.4]])


def recurrent(w: Any, x: Any, *, reverse: bool = False) -> Any:
    def turn(state: Any, slice_: Any) -> Any:
        state = jnp.tanh(w @ state + slice_)
        return state, jnp.sum(state**2)

    last, squares = jax.lax.scan(turn, jnp.zeros(2), x, reverse=reverse)
    return jnp.sum(last) + jnp.sum(squares)


def states(w: Any, x: Any) -> list[Any]:
    found = [np.zeros(2)]
    for one in x:
        found.append(np.tanh(w @ found[-1] + one))
    return found


def by_name(table: Any, column: str, name: str) -> dict[str, Any]:
    return {row[column]: row[name] for row in table.rows}


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_by_its_turns(reverse: bool) -> None:
    g = nb.graph(lambda w, x: recurrent(w, x, reverse=reverse))(W, X)
    known = states(np.asarray(W), np.asarray(X)[::-1] if reverse else np.asarray(X))
    for turn in (1, 2, 3):
        values = by_name(g.inside("v1", turn).table(), "node", "value")
        np.testing.assert_allclose(values["s"], known[turn - 1], rtol=1e-12)
        np.testing.assert_allclose(values["v₃"], known[turn], rtol=1e-12)
        assert str(g.inside("v1", turn)).startswith(f"scan v1, turn {turn} of 3")
        assert by_name(g.inside("v1", turn).table(), "node", "formula")["v₁"] == "ws"


@pytest.mark.parametrize("reverse", [False, True])
def test_forward_mode_through_the_turns_of_a_scan(reverse: bool) -> None:
    along = jnp.asarray([[1.0, -1.0], [0.5, 2.0]])
    f = lambda w, x: recurrent(w, x, reverse=reverse)
    table = nb.graph(f)(W, X).forward_table("w", along)
    listed = X[::-1] if reverse else X
    for turn in (1, 2, 3):

        def state(w: Any, turn: int = turn) -> Any:
            s = jnp.zeros(2)
            for one in listed[:turn]:
                s = jnp.tanh(w @ s + one)
            return s

        expected = jax.jvp(state, (W,), (along,))[1]
        np.testing.assert_allclose(by_name(table.of("v1", turn), "node", "tangent")["v₃"], expected, rtol=1e-9)
    assert table.of("v1").title == "Forward mode: scan v1, turn 1 of 3"


@pytest.mark.parametrize("reverse", [False, True])
def test_reverse_mode_through_the_turns_of_a_scan(reverse: bool) -> None:
    f = lambda w, x: recurrent(w, x, reverse=reverse)
    table = nb.graph(f)(W, X).reverse_table()
    # what the turns give to the weights adds up to the gradient; each slice has the adjoint of its turn
    inner = [table.of("v1", turn) for turn in (1, 2, 3)]
    back = [{row["quantity"]: row["value"] for row in one.rows if row["pass"] == "backward"} for one in inner]
    gradient, slices = jax.grad(f, (0, 1))(W, X)
    np.testing.assert_allclose(sum(one["w̄"] for one in back), gradient, rtol=1e-9)
    for turn in (1, 2, 3):
        np.testing.assert_allclose(back[turn - 1]["x̄"], slices[3 - turn if reverse else turn - 1], rtol=1e-9)
    assert table.of("v1").title == "Reverse mode: scan v1, turn 3 of 3"


def test_a_loop_that_stops_by_itself_and_a_branch() -> None:
    grown = lambda x: jax.lax.while_loop(lambda s: s[0] < 3.0, lambda s: (s[0] * x, s[1] + 1), (x, 0))[0]
    g = nb.graph(grown)(1.5)  # 1.5, 2.25, 3.375
    assert by_name(g.inside("v1", 2).table(), "node", "value") == {"x": 1.5, "s": 2.25, "k": 1, "v₁": 3.375, "v₂": 2}
    assert by_name(g.forward_table().of("v1", 2), "node", "tangent")["v₁"] == pytest.approx(3 * 1.5**2)
    chosen = lambda x: jax.lax.cond(x > 0, lambda x: jnp.sin(x) * x, lambda x: x**3, x)
    for x, case, last in ((1.5, 2, "v₁x"), (-2.0, 1, "x³")):
        g = nb.graph(chosen)(x)
        inner = g.inside("v3")
        assert str(inner).startswith(f"cond v3, case {case} of 2")
        assert inner.table().rows[-1]["formula"] == last
        back = {row["quantity"]: row["value"] for row in g.reverse_table().of("v3").rows}
        assert back["x̄"] == pytest.approx(float(jax.grad(chosen)(x)), rel=1e-9)


def test_a_loop_in_a_loop() -> None:
    def nested(x: Any) -> Any:
        return jax.lax.fori_loop(0, 3, lambda i, y: jax.lax.fori_loop(0, 2, lambda k, z: jnp.sin(z) * x, y), x)

    g = nb.graph(nested)(0.5)
    once = lambda y: float(jnp.sin(jnp.sin(y) * 0.5) * 0.5)
    outer = g.inside("v1", 2)
    name = next(row["node"] for row in outer.table().rows if "scan" in row["formula"])
    assert outer.inside(name.replace("₂", "2").replace("₁", "1"), 2).table().rows[-1]["value"] == pytest.approx(
        once(once(0.5)), rel=1e-9
    )
    drawn = g.draw().svg
    assert drawn.count("3 turns; the first") == 1
    assert drawn.count("2 turns; the first") == 1


def test_pictures_draw_the_body_inside() -> None:
    picture = nb.graph(recurrent)(W, X).draw("adjoints")
    texts = re.findall(r">([^<>]+)</text>", picture.svg)
    assert any(re.fullmatch(r"3 turns; the first \(recurrent, test_bodies.py:\d+\)", text) for text in texts)
    assert "v₃ = tanh(v₂)" in texts
    assert texts.count("not linear: opens a core") == 1  # one legend for all
    again = nb.graph(lambda x: jax.lax.fori_loop(0, 40, lambda _, y: jnp.cos(y) + x, x))(0.1)
    assert "40 turns; the first" in again.draw(fold="line").svg


def test_refusals() -> None:
    g = nb.graph(recurrent)(W, X)
    with pytest.raises(nb.ArgumentError, match=r"inside was asked for 'v9'; give one of v1\."):
        g.inside("v9")
    with pytest.raises(nb.ArgumentError, match=r"turn=4 was asked for; give a whole number from 1 to 3\."):
        g.inside("v1", 4)
    with pytest.raises(nb.ArgumentError, match=r"of was asked for 'v2'; give one of v1\."):
        g.reverse_table().of("v2")
    with pytest.raises(nb.ArgumentError, match=r"of was asked for 'v1'; no row has anything inside\."):
        nb.graph("x*x", x=1.0).reverse_table().of("v1")
    with pytest.raises(nb.ArgumentError, match="neither loops nor branches"):
        nb.graph("x*x", x=1.0).inside("v1")
