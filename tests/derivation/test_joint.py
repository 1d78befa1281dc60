"""Derivatives by several variables: hand-written answers, and jax.hessian for every block."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from corpus.running import in_c, in_python, lengths

from nablax.derivation import ClosedForm, Derivation, DerivationError, JointDerivation, derive
from nablax.formula import parse_formula, sample_point, to_function

# formula, variables, declaration, gradients, blocks that are written by hand
ANSWERS = [
    ("x'*A*y", ("x", "y"), "", ["Ay", "Aᵀx"], {"xx": "0", "xy": "A", "yx": "Aᵀ", "yy": "0"}),
    (
        "1/2*norm2(A*x-b)^2",
        ("x", "A"),
        "",
        ["Aᵀ(Ax − b)", "(Ax − b)xᵀ"],
        {
            "xx": "AᵀA",
            "xA": "dA ↦ dAᵀ (Ax − b) + Aᵀ dA x",
            "Ax": "dx ↦ A dx xᵀ + (Ax − b) dxᵀ",
            "AA": "dA ↦ dA xxᵀ",
        },
    ),
    ("1/2*norm2(A*x-b)^2", ("x", "b"), "", ["Aᵀ(Ax − b)", "b − Ax"], {"xx": "AᵀA", "xb": "−Aᵀ", "bx": "−A", "bb": "I"}),
    (
        "log(sum(exp(A*x+b)))",
        ("x", "b"),
        "",
        ["Aᵀp  where  p = softmax(Ax + b)", "p  where  p = softmax(Ax + b)"],
        {
            "xb": "Aᵀ(diag(p) − ppᵀ)  where  p = softmax(Ax + b)",
            "bb": "diag(p) − ppᵀ  where  p = softmax(Ax + b)",
        },
    ),
    (
        "1/2*norm2(T-U*V')^2",
        ("U", "V"),
        "",
        ["(UVᵀ − T)V", "(VUᵀ − Tᵀ)U"],
        {"UU": "dU ↦ dU VᵀV", "UV": "dV ↦ U(Vᵀ dV + dVᵀ V) − T dV", "VV": "dV ↦ dV UᵀU"},
    ),
    (
        "a*x^2 + b*x",
        ("a", "x"),
        "a: scalar, x: scalar, b: scalar",
        ["x²", "b + 2ax"],
        {"aa": "0", "ax": "2x", "xa": "2x", "xx": "2a"},
    ),
    ("A*x", ("A", "x"), "", ["dA ↦ dA x", "A"], {"xA": "dA ↦ dA"}),
    ("1/2*(x-m)'*inv(S)*(x-m) + 1/2*logdet(S)", ("m", "S"), "S: spd(n), x: vector(n), m: vector(n)", [], {}),
    ("x'*D*y", ("D", "y"), "D: diagonal(n), x: vector(n), y: vector(n)", ["diag(x ⊙ y)", "Dx"], {}),
    ("sum(tanh(W*x + b).^2)", ("W", "b", "x"), "", [], {}),
]
NAMES = [f"{row[0]} by {', '.join(row[1])}" for row in ANSWERS]


@pytest.fixture(scope="module", params=ANSWERS, ids=NAMES)
def row(request: pytest.FixtureRequest) -> tuple[Any, JointDerivation]:
    formula, wrt, declare, *_ = request.param
    return request.param, derive(formula, wrt, declare=declare or None)


def test_answers_by_hand(row: tuple[Any, JointDerivation]) -> None:
    (_, wrt, _, gradients, blocks), found = row
    assert found.wrt == wrt
    if gradients:
        assert [str(found.gradients[name]) for name in wrt] == gradients
    assert list(found.blocks) == [(a, b) for a in wrt for b in wrt]
    assert {pair: str(found.blocks[pair[0], pair[1]]) for pair in blocks} == blocks


def projected(array: np.ndarray, kind: str, axes: tuple[int, int]) -> np.ndarray:
    """The part along the matrices of a kind, written out."""
    if kind == "spd":
        return (array + np.swapaxes(array, *axes)) / 2
    if kind == "diagonal":
        moved = np.moveaxis(array, axes, (-2, -1))
        return np.moveaxis(moved * np.eye(moved.shape[-1]), (-2, -1), axes)
    return array


def test_every_block_is_that_of_jax(row: tuple[Any, JointDerivation]) -> None:
    (formula, wrt, declare, *_), found = row
    parsed = parse_formula(formula, declare or None)
    point = sample_point(parsed, 3)
    sizes: dict[str, int] = {}
    for name, variable in parsed.variables.items():
        sizes |= {str(s): n for s, n in zip(variable.shape.axes, np.shape(point[name]), strict=True)}
    names = list(found.function.arguments)
    function = to_function(parsed, sizes)
    kinds = {name: str(parsed.variables[name].kind.value) for name in wrt}
    places = [names.index(name) for name in wrt]
    arrays = [jnp.asarray(point[name]) for name in names]
    with jax.enable_x64(True):
        value = np.ndim(function(*arrays))
        first = jax.jacfwd(function, argnums=tuple(places))(*arrays)
        second = jax.jacfwd(jax.jacrev(function, argnums=tuple(places)), argnums=tuple(places))(*arrays)
    for i, a in enumerate(wrt):
        expected = projected(np.asarray(first[i]), kinds[a], (value, value + 1))
        np.testing.assert_allclose(np.broadcast_to(found.gradients[a](**point), expected.shape), expected, atol=1e-9)
        for j, b in enumerate(wrt):
            expected = projected(np.asarray(second[i][j]), kinds[a], (value, value + 1))
            start = value + np.ndim(point[a])
            expected = projected(expected, kinds[b], (start, start + 1))
            given = found.blocks[a, b](**point)
            np.testing.assert_allclose(np.broadcast_to(given, expected.shape), expected, atol=1e-8)


@pytest.mark.parametrize("language", ["numpy", "jax", "c"])
def test_code_gives_value_gradients_and_blocks(row: tuple[Any, JointDerivation], language: str, tmp_path: Path) -> None:
    if language == "c" and shutil.which("cc") is None:
        pytest.skip("no C compiler (cc) on this machine")
    (formula, _, declare, *_), found = row
    point = {k: np.asarray(v) for k, v in sample_point(parse_formula(formula, declare or None), 3).items()}
    source = found.code(language)
    shapes = dict(found.function.arguments)
    random = np.random.default_rng(0)
    arrays = {name: point[name] for name in shapes}
    derivatives = [*found.gradients.values(), *found.blocks.values()]
    asked = {name: shape for form in derivatives for name, shape in form.directions.items()}
    shapes |= asked
    arrays |= {name: random.standard_normal(_at(point, name).shape) for name in asked}
    known = lengths(list(shapes.values()), list(arrays.values()))
    value = tuple(known[size] for size in found.shapes["f"])
    expected = [np.broadcast_to(found.function(**point), value)]
    for a, form in found.gradients.items():
        expected.append(_given(form, arrays, point, (*value, *point[a].shape)))
    for (a, b), form in found.blocks.items():
        expected.append(_given(form, arrays, point, (*value, *point[a].shape, *point[b].shape)))
    with jax.enable_x64(True):
        if language == "c":
            given = in_c(source, tmp_path, shapes, list(arrays.values()), [one.shape for one in expected])
        else:
            given = in_python(source, list(arrays.values()))
    for one, other in zip(given, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9, err_msg=source)


def _at(point: dict[str, Any], direction: str) -> Any:
    """The array of the variable whose direction dx or dx_1 is."""
    return point[direction[1:].removesuffix("_1").removesuffix("_2")]


def _given(form: ClosedForm, arrays: dict[str, Any], point: dict[str, Any], shape: tuple[int, ...]) -> Any:
    """What code gives of a form: the array, or what the map makes of its directions."""
    if form.is_map:
        directions = [arrays[name] for name in form.directions]
        return np.broadcast_to(form.applied(directions, point), shape[: len(shape) - sum(d.ndim for d in directions)])
    return np.broadcast_to(form(**point), shape)


def test_all_formats(row: tuple[Any, JointDerivation]) -> None:
    _, found = row
    for page in (found.html(), found._repr_html_(), found.explain()._repr_html_()):
        ElementTree.fromstring(page)
    for text in (found.latex(), found._repr_latex_(), found.explain().latex()):
        assert text.count("{") == text.count("}")
    assert found._repr_latex_().startswith("$$\\begin{aligned}\nf &= ")
    json.dumps(found.to_json())
    assert str(pickle.loads(pickle.dumps(found))) == str(found)


def test_text_in_full() -> None:
    lines = str(derive("x'*A*y", ("x", "y"))).splitlines()
    assert lines[:-1] == [
        "read as x: vector(m), A: matrix(m, n), y: vector(n)",
        "f = xᵀAy",
        "df = ⟨Ay, dx⟩ + ⟨Aᵀx, dy⟩",
        "∂f/∂x = Ay",
        "∂f/∂y = Aᵀx",
        "∂²f/∂x² = 0",
        "∂²f/∂x∂y = A",
        "∂²f/∂y∂x = Aᵀ",
        "∂²f/∂y² = 0",
        "shapes: x m, A m×n, y n, f scalar; the gradient has the shape of the argument; rows of a Jacobian are outputs; "
        "axes of a block: those of the first variable, then those of the second",
    ]
    assert lines[-1].startswith("verified at 3 random points")


def test_a_lesson() -> None:
    text = str(derive("x'*A*y", ("x", "y")).explain())
    assert "How does it change with x and y, all else kept as it is?" in text
    assert "The differential df is the part of f(x + dx, y + dy) − f(x, y) that is linear in dx, dy." in text
    assert "\n## Blocks of the Hessian\n" in text
    assert "    ∂²f/∂x∂y = A\n" in text


def test_python_functions() -> None:
    def loss(W: Any, b: Any, x: Any) -> Any:
        return jnp.sum((W @ x + b) ** 2)

    args = np.arange(6.0).reshape(3, 2) / 5, np.arange(3.0), np.array([0.5, -0.7])
    found = derive(loss, ("W", 1), args=args)
    assert found.wrt == ("W", "b")
    assert str(found.gradients["b"]) == "2(Wx + b)"
    assert str(found.blocks["b", "W"]) == "dW ↦ 2 dW x"
    assert str(found.blocks["b", "b"]) == "2I"


def test_a_wrong_block_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    from nablax.derivation import session

    right = session.map_or_array

    def wrong(writer: Any, algebras: Any, options: Any, leaf: Any) -> Any:
        tripled = [algebra.scale(3, p) for algebra, p in zip(algebras, options, strict=True)]
        return right(writer, algebras, tripled if options[0].rank == 2 else options, leaf)

    monkeypatch.setattr(session, "map_or_array", wrong)
    monkeypatch.setattr(session.Writer, "indexed", lambda self, p: self.write(p.__class__(p.axes, ())))
    with pytest.raises(DerivationError, match="no closed form of the derivative passed its check"):
        derive("x'*A*y", ("x", "y"))


@pytest.mark.parametrize(
    ("wrt", "order", "text"),
    [
        (("x", "x"), 2, "a variable stands twice in wrt"),
        ((), 2, "by several variables order is 1 or 2, and there is at least one variable"),
        (("x", "y"), 3, "by several variables order is 1 or 2, and there is at least one variable"),
        (("x", "z"), 2, "the formula has no variable z; it has x, A, y"),
    ],
)
def test_refusals(wrt: tuple[str, ...], order: int, text: str) -> None:
    with pytest.raises(DerivationError) as error:
        derive("x'*A*y", wrt, order=order)
    assert str(error.value) == text


def test_one_variable_in_a_tuple_and_order_one() -> None:
    found = derive("x'*A*x", ("x",), order=1)
    assert not found.blocks
    assert str(found.gradients["x"]) == "(A + Aᵀ)x"
    assert isinstance(derive("x'*A*x", "x"), Derivation)
    assert "They were not asked for." in str(found.explain())


def test_a_scalar_factor_of_one_is_not_written() -> None:
    found = derive("a*x^2 + b*x", "a", declare="a: scalar, x: scalar, b: scalar")
    assert str(found.differential) == "x² da"


def test_what_is_late_is_refused() -> None:
    with pytest.raises(DerivationError, match=r"take longer than 0.001 seconds for each variable"):
        derive("norm2(A*x - b)^2 + sin(sin(sin(sin(x'*x))))", ("x", "A"), seconds=0.001)
