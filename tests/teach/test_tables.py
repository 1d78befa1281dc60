"""Tables against numbers written out by hand, and against JAX."""

from __future__ import annotations

import math
import unicodedata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nablax as nb

# L(w1, w2) = w2 log w1 + sqrt(w2 log w1) at (2, 3), by hand:
#   log 2 = 0.693147,  v2 = 3 * 0.693147 = 2.079442,  sqrt(2.079442) = 1.442027,  1/(2 * 1.442027) = 0.346734
LOG = math.log(2.0)
ROOT = math.sqrt(3 * LOG)
SLOPE = 1 / (2 * ROOT)
L = "w2*log(w1) + sqrt(w2*log(w1))"


def worked() -> Any:
    return nb.graph(L, w1=2.0, w2=3.0)


def column(table: Any, name: str) -> list[Any]:
    return [row[name] for row in table.rows]


def test_forward_mode_by_hand() -> None:
    table = worked().forward_table(wrt="w1")
    assert column(table, "node") == ["w₂", "w₁", "v₁", "v₂", "v₃", "v₄"]
    assert column(table, "formula") == ["argument", "argument", "log(w₁)", "w₂v₁", "√v₂", "v₂ + v₃"]
    assert column(table, "tangent formula") == [
        "ẇ₂", "ẇ₁", "v̇₁ = ẇ₁/w₁", "v̇₂ = v₁ẇ₂ + w₂ v̇₁", "v̇₃ = v̇₂/(2√v₂)", "v̇₄ = v̇₂ + v̇₃"
    ]  # fmt: skip
    np.testing.assert_allclose(column(table, "value"), [3, 2, LOG, 3 * LOG, ROOT, 3 * LOG + ROOT], rtol=1e-12)
    tangents = [float(x) for x in column(table, "tangent")]
    np.testing.assert_allclose(tangents, [0, 1, 0.5, 1.5, 1.5 * SLOPE, 1.5 + 1.5 * SLOPE], rtol=1e-12)
    assert table.notes == ("∂v₄/∂w1 = 2.0201",)


def test_forward_mode_as_text() -> None:
    assert str(worked().forward_table("w1")) == (
        "Forward mode: w2*log(w1) + sqrt(w2*log(w1)), along w1\n"
        "node  formula      value  tangent formula     tangent\n"
        "────  ────────  ────────  ─────────────────  ────────\n"
        "w₂    argument         3  ẇ₂                        0\n"
        "w₁    argument         2  ẇ₁                        1\n"
        "v₁    log(w₁)   0.693147  v̇₁ = ẇ₁/w₁              0.5\n"
        "v₂    w₂v₁       2.07944  v̇₂ = v₁ẇ₂ + w₂ v̇₁       1.5\n"
        "v₃    √v₂        1.44203  v̇₃ = v̇₂/(2√v₂)     0.520101\n"
        "v₄    v₂ + v₃    3.52147  v̇₄ = v̇₂ + v̇₃         2.0201\n"
        "∂v₄/∂w1 = 2.0201"
    )


def test_reverse_mode_by_hand() -> None:
    table = worked().reverse_table()
    back = [row for row in table.rows if row["pass"] == "backward"]
    assert [row["quantity"] for row in back] == ["v̄₄", "v̄₃", "v̄₂", "v̄₁", "w̄₁", "w̄₂"]
    # v2 is read by v4 and v3: its adjoint is a sum of two
    assert [row["formula"] for row in back] == ["1", "v̄₄", "v̄₃/(2√v₂) + v̄₄", "v̄₂ w₂", "v̄₁/w₁", "v̄₂ v₁"]
    assert [row["in numbers"] for row in back] == [
        "", "1 · 1", "1 · 0.346734 + 1 · 1", "1.34673 · 3", "4.0402 · 0.5", "1.34673 · 0.693147"
    ]  # fmt: skip
    both = 1 + SLOPE
    np.testing.assert_allclose(
        [row["value"] for row in back], [1, 1, both, 3 * both, 1.5 * both, LOG * both], rtol=1e-12
    )
    assert [row["pass"] for row in table.rows[:6]] == ["forward"] * 6
    assert table.notes == ("∂v₄/∂w2 = 0.933485, ∂v₄/∂w1 = 2.0201",)


def test_second_order_by_hand() -> None:
    table = worked().second_order_table()
    *cores, hessian, recipe = table.rows
    assert [(row["node"], row["couples"], row["core"]) for row in cores] == [
        ("v₃", "v₂, v₂", "−v̄₃/(4v₂^(3/2))"), ("v₂", "w₂, v₁", "v̄₂"), ("v₁", "w₁, w₁", "−v̄₁/w₁²")
    ]  # fmt: skip
    bend = -1 / (4 * (3 * LOG) ** 1.5)
    np.testing.assert_allclose([row["value"] for row in cores], [bend, 1 + SLOPE, -3 * (1 + SLOPE) / 4], rtol=1e-12)
    assert [row["legs"] for row in cores] == ["∂v₂/∂w₂ = 0.693147, ∂v₂/∂w₁ = 1.5", "∂v₁/∂w₁ = 0.5", ""]
    np.testing.assert_allclose([row["w₁, w₁"] for row in cores], [bend * 1.5**2, 0, -0.75 * (1 + SLOPE)], rtol=1e-12)
    np.testing.assert_allclose([row["w₂, w₁"] for row in cores], [bend * 1.5 * LOG, 0.5 * (1 + SLOPE), 0], rtol=1e-12)
    full = jax.hessian(lambda w: w[1] * jnp.log(w[0]) + jnp.sqrt(w[1] * jnp.log(w[0])))(jnp.array([2.0, 3.0]))
    found = [hessian[name] for name in ("w₁, w₁", "w₂, w₁", "w₂, w₂")]
    np.testing.assert_allclose(found, [full[0, 0], full[0, 1], full[1, 1]], rtol=1e-12)
    # the only couplings on a diagonal here are along one path each
    np.testing.assert_allclose([recipe["w₁, w₁"], recipe["w₂, w₂"]], [full[0, 0], full[1, 1]], rtol=1e-12)
    assert table.notes == ("The recipe ∂²L/∂w² = Σ over nodes of v̄ φ″ (∂u/∂w)² drops nothing here.",)


def test_what_the_recipe_drops_is_named_and_red() -> None:
    # sin(x) exp(x) at 0: f'' = 2 cos(x) exp(x) = 2, all of it the coupling of the two factors
    table = nb.graph("sin(x)*exp(x)", x=0.0).second_order_table()
    *cores, hessian, recipe = table.rows
    assert [(row["node"], row["x, x"], row["the recipe drops"]) for row in cores] == [
        ("v₃", 2.0, {"x": 2.0}), ("v₂", 0.0, ""), ("v₁", 0.0, "")
    ]  # fmt: skip
    assert (hessian["x, x"], recipe["x, x"], recipe["the recipe drops"]) == (2.0, 0.0, {"x": 2.0})
    assert "[dropped: 2 at x, x]" in str(table)
    assert "~~2 at x, x~~" in table.markdown()
    assert 'color:#e5484d">2 at x, x<' in table.html()
    assert r"\color{red}{\text{2 at x, x}}" in table._repr_latex_()


@pytest.mark.parametrize(
    ("formula", "point"),
    [
        ("sin(x*y)*exp(x) + (x + y^2)^2", {"x": 0.7, "y": -1.3}),
        ("(x + sin(x))^2/cos(x)", {"x": 0.4}),
        ("x^y*exp(-x)", {"x": 1.7, "y": 2.5}),
        ("a*b*c*d + sigmoid(a*b)", {"a": 0.3, "b": 1.1, "c": -0.6, "d": 2.0}),
    ],
)
def test_rows_add_up_to_the_hessian(formula: str, point: dict[str, float]) -> None:
    view = nb.graph(formula, **point)
    table = view.second_order_table()
    *cores, hessian, recipe = table.rows
    function = view._reading.function
    order = [view._reading.names[leaf] for leaf in view._reading.inputs]
    full = np.asarray(jax.hessian(lambda w: function(*w))(jnp.array([point[name] for name in order])))
    for i, a in enumerate(order):
        for j, b in enumerate(order):
            name = f"{a}, {b}"
            if name in hessian:
                assert hessian[name] == pytest.approx(full[i, j], rel=1e-10, abs=1e-12)
                assert sum(row[name] for row in cores) == pytest.approx(hessian[name], abs=1e-12)
    for i, name in enumerate(order):
        lost = sum((row["the recipe drops"] or {}).get(name, 0.0) for row in cores)
        assert recipe[f"{name}, {name}"] + lost == pytest.approx(full[i, i], rel=1e-9, abs=1e-12)


def test_logistic_least_squares_by_hand() -> None:
    # z = 1*2 - 2 = 0, y = 1/2, L = (1/2 - 1)^2/2 = 1/8, R = 1/2, total = 1/8 + 0.5*1/2 = 3/8
    view = nb.graph("1/2*(sigmoid(w*x + b) - t)^2 + lambda*(1/2*w^2)", w=1.0, x=2.0, b=-2.0, t=1.0, **{"lambda": 0.5})
    assert view.forward() == 0.375
    derivative = view.backward()
    # dL/dz = (y - t) y (1 - y) = -1/8; dz/dw = x = 2, dz/db = 1, dz/dx = w = 1
    assert derivative == {"w": -0.25 + 0.5, "x": -0.125, "b": -0.125, "t": 0.5, "lambda": 0.5}
    forward = {row["node"]: row for row in view.forward_table("b").rows}
    assert forward["v₂"]["tangent formula"] == "v̇₂ = v̇₁ + ḃ"
    assert forward["v₂"]["tangent"] == 1.0


def network(weights: list[Any], x: Any, t: Any) -> Any:
    for W in weights:
        x = jax.nn.sigmoid(x @ W)
    return jnp.sum((x - t) ** 2) / 2


def test_arrays_show_formulas_and_shapes(generator: np.random.Generator) -> None:
    weights = [generator.normal(size=(3, 4)), generator.normal(size=(4, 2))]
    x, t = generator.normal(size=(5, 3)), generator.normal(size=(5, 2))
    view = nb.graph(network)(weights, x, t)
    back = {r["quantity"]: r for r in view.reverse_table().rows if r["pass"] == "backward"}
    assert back["v̄₁"]["formula"] == "v̄₂ ⊙ σ(v₁) ⊙ (1 − σ(v₁))"
    assert back[_barred("weights0")]["formula"] == "xᵀ v̄₁"
    gradient = jax.grad(network, argnums=(0, 1, 2))(weights, x, t)
    view.forward()
    found = view.backward()
    for name, wanted in zip(("weights0", "weights1", "x", "t"), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(found[name], wanted, rtol=1e-10)
        assert back[_barred(name)]["value"].shape == wanted.shape
    direction = generator.normal(size=x.shape)
    table = view.forward_table("x", direction)
    along = jax.jvp(lambda x: network(weights, x, t), (x,), (direction,))[1]
    assert table.rows[-1]["tangent"] == pytest.approx(float(along), rel=1e-10)
    second = view.second_order_table()
    assert {row["shape"] for row in second.rows if row["node"] == "v₂"} == {"diagonal, 5×4"}


def _barred(name: str) -> str:
    digits = str.maketrans("01", "₀₁")
    return unicodedata.normalize("NFC", name[0] + "\u0304" + name[1:]).translate(digits)


def test_operation_counts() -> None:
    table = worked().operation_counts()
    counted = {row["what"]: row["operations"] for row in table.rows}
    # log, product, root, sum
    assert counted["value"] == 4
    assert counted["gradient by forward mode"] == 4 + 2 * (counted["forward mode, one tangent"] - 4)
    by_rows = counted["Hessian by rows ∇(eᵢᵀ∇f)"]
    # every further direction is run for each of the n to its left
    assert 2 * by_rows < counted["order 3 by repetition"] < 10 * by_rows
    assert counted["Hessian by the plan: legs-backward"] < by_rows
    assert sum(what.startswith("order 3 by the plan: ") for what in counted) == 1
    assert table.notes[1:] == (
        "Of the n³ = 8 entries of order 3, symmetry leaves n (n + 1) (n + 2)/3! = 4 to be told apart.",
        "3 of 4 nodes that move open a core: 3 numbers, where dense blocks on their inputs would be 6.",
    )


def test_traces_of_cores_of_arrays() -> None:
    weights, x = jnp.asarray([[0.5, -1.0], [0.25, 2.0]]), jnp.asarray([0.3, -0.7])
    f = lambda w, x: jnp.sum(jnp.tanh(w @ x) ** 2)
    table = nb.graph(f)(weights, x).second_order_table()
    *cores, whole, recipe = table.rows
    for name, place in (("trace w", 0), ("trace x", 1)):
        own = jax.hessian(f, place)(weights, x).reshape(-1, (weights, x)[place].size)
        assert whole[name] == pytest.approx(float(jnp.trace(own)), rel=1e-9)
        assert sum(row[name] for row in cores) == pytest.approx(whole[name], rel=1e-9)
    assert recipe["trace w"] == pytest.approx(whole["trace w"], rel=1e-9)  # each weight has one path
    assert [row["numbers"] for row in cores if row["node"] == "v₂"] == [2]
    *_, whole, recipe = nb.graph(lambda x: f(weights, weights @ x))(x).second_order_table().rows
    own = jax.hessian(lambda x: f(weights, weights @ x))(x)
    assert whole["trace x"] == pytest.approx(float(jnp.trace(own)), rel=1e-9)
    assert recipe["trace x"] != pytest.approx(whole["trace x"], rel=1e-3)  # two paths from an input meet


def test_rows_grow_with_the_unknowns() -> None:
    def chain(x: Any) -> Any:
        return jnp.sum(jnp.sin(x[1:] * x[:-1]))

    rows = [nb.graph(chain)(jnp.ones(n)).operation_counts().rows[4]["operations"] for n in (10, 20, 40)]
    assert 3.5 < rows[1] / rows[0] < 5
    assert 3.5 < rows[2] / rows[1] < 5
    cubes = [nb.graph(chain)(jnp.ones(n)).operation_counts(3).rows[5]["operations"] for n in (10, 20, 40)]
    assert 6.5 < cubes[1] / cubes[0] < 10
    assert 6.5 < cubes[2] / cubes[1] < 10


def test_a_corner_is_said() -> None:
    view = nb.graph("abs(x) + x", x=0.0)
    table = view.reverse_table()
    view.forward()
    slope = view.backward()["x"] - 1
    assert slope in (-1.0, 0.0, 1.0)  # JAX's choice, which has changed between its versions
    assert table.notes[-1] == f"node v₁ = |x| at x = 0: |·| has a corner at 0; slope taken there: {slope:.0f}."
    both = nb.graph("max(x, y)", x=2.0, y=2.0)
    both.forward()
    assert both.backward() == {"x": 0.5, "y": 0.5}
    assert both.forward_table("x").notes[-1] == (
        "node v₁ = max(x, y) at x = 2, y = 2: max has a corner where both sides are equal; slope taken there: 0.5, 0.5."
    )


def test_records_make_a_data_frame() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(worked().forward_table("w2").rows)
    assert list(frame.columns) == ["node", "formula", "value", "tangent formula", "tangent"]
    assert frame["value"].iloc[-1] == pytest.approx(3.521468428)
