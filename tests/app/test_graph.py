"""The command `nablax graph`: formulas and functions, tables, a picture, and the full text of refusals."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from nablax.app.command_line import application

SOURCE = """
import jax.numpy as jnp

def loss(w, x):
    return jnp.sum((x @ w) ** 2)

def example_args():
    return jnp.array([1.0, -1.0]), jnp.array([[2.0, 1.0], [0.0, 3.0]])
"""


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        application(["graph", *arguments], prog_name="nablax")
    captured = capsys.readouterr()
    return int(left.value.code or 0), captured.out, captured.err


def test_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "w2*log(w1)", "--at", "w1=1,w2=3") == (
        0,
        "w2*log(w1)\n"
        "node  formula   value\n"
        "────  ────────  ─────\n"
        "w₂    argument      3\n"
        "w₁    argument      1\n"
        "v₁    log(w₁)       0\n"
        "v₂    w₂v₁          0\n",
        "",
    )


def test_every_table_and_a_picture(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "out.svg"
    code, out, _ = run(capsys, "x*y", "--at", "x=2,y=3", "--table", "forward")
    assert code == 0
    assert out.count("Forward mode: x*y, along") == 2
    code, out, _ = run(capsys, "x*y", "--at", "x=2,y=3", "--table", "reverse", "--svg", str(picture))
    assert "∂v₁/∂x = 3, ∂v₁/∂y = 2" in out
    assert "ȳ = 2" in picture.read_text()
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    _, out, _ = run(capsys, "x*y", "--at", "x=2,y=3", "--table", "second")
    assert out.startswith("Second order: x*y\n")
    _, out, _ = run(capsys, "sum(x.*x)", "--at", "x=[1,2]", "--table", "counts")
    assert "Hessian by rows ∇(eᵢᵀ∇f)" in out
    run(capsys, "x*y", "--at", "x=2,y=3", "--table", "forward", "--wrt", "x", "--svg", str(picture))
    assert "ẋ = 1" in picture.read_text()


def test_a_function_of_a_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(SOURCE)
    code, out, err = run(capsys, "model.py:loss")
    assert (code, err) == (0, "")
    assert [line.split()[:3] for line in out.splitlines()[5:]] == [
        ["v₁", "xw", "[1,"], ["v₂", "v₁^⊙2", "[1,"], ["v₃", "sum(v₂)", "10"]
    ]  # fmt: skip
    assert "model.py:5:" in out
    assert run(capsys, "model.py:loss", "--at", "w=1") == (
        2,
        "",
        "error: --at=w=1 was given for model.py:loss; the point of a function is what example_args() of its file "
        "returns.\n",
    )
    assert run(capsys, "model.py:less")[2].startswith("error: ")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ("w*log(x)", "--at", "w=1"),
            "error: no value for x\nthe variables are w, x; give x=…\n",
        ),
        (
            ("x^2", "--at", "x"),
            "error: the values were given as 'x'; write names with numbers: --at w1=2,w2=3, a vector as x=[1,2].\n",
        ),
        (("x^2", "--at", "x=1,x=2"), "error: the values were given as 'x=1,x=2', which names x twice.\n"),
        (
            ("log(x)", "--at", "x=-1", "--table", "reverse"),
            "error: node v₁ = log(x) at x = −1: the logarithm of a negative number is not defined.\n",
        ),
        (
            ("x^2", "--at", "x=1", "--svg", "nowhere/out.svg"),
            "error: the picture cannot be written to nowhere/out.svg: No such file or directory.\n",
        ),
    ],
)
def test_refusals(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], text: str) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err == text
