"""The command `nablax convexity` in this process: every notation, and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from nablax.app.command_line import application

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "100")

    def runner(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            application(["convexity", *arguments], prog_name="nablax")
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return runner


def test_a_proof(run: Run) -> None:
    code, out, err = run("sqrt(x)", "--declare", "x: scalar")
    assert (code, err) == (0, "")
    assert out.splitlines()[:-1] == [
        "read as x: scalar",
        "f = √x",
        "concave in x",
        "domain: every number x",
        "domain: x ≥ 0",
        "proof:",
        "  √x is concave, ≥ 0   [a power of an affine expression]",
    ]


def test_latex(run: Run) -> None:
    code, out, _ = run("x^3", "--declare", "x: scalar", "--format", "latex")
    assert code == 0
    assert out == (
        "\\begin{aligned}\n"
        "& f = x^{3} \\text{ is neither convex nor concave in x} \\\\\n"
        "& f(\\tfrac{1}{2} x_{1} + \\tfrac{1}{2} x_{2}) = -1 > -4 "
        "= \\tfrac{1}{2} f(x_{1}) + \\tfrac{1}{2} f(x_{2}) && \\text{not convex} \\\\\n"
        "& f(\\tfrac{1}{2} x_{1} + \\tfrac{1}{2} x_{2}) = 1 < 4 "
        "= \\tfrac{1}{2} f(x_{1}) + \\tfrac{1}{2} f(x_{2}) && \\text{not concave}\n"
        "\\end{aligned}\n"
    )


def test_html_and_json(run: Run) -> None:
    code, out, _ = run("x'*x", "--format", "html")
    assert (code, out.startswith("<p><math")) == (0, True)
    code, out, _ = run("x'*x", "--format", "json")
    assert (code, json.loads(out)["verdict"]) == (0, "convex")


def test_refusals(run: Run) -> None:
    assert run("A*x", "--wrt", "x") == (
        2, "", "error: convexity is of a scalar function; the formula is a vector (m)\n",
    )  # fmt: skip
    code, out, err = run("x +")
    assert (code, out) == (2, "")
    assert "^" in err
