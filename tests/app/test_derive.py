"""The command `nablax derive` in this process: the full text of an answer and of a refusal, every notation."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from nablax.app.command_line import application

LEAST_SQUARES = "1/2*norm2(A*x-y)^2"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "100")

    def runner(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            application(["derive", *arguments], prog_name="nablax")
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return runner


def without_errors(text: str) -> str:
    """Rounding errors, which differ between machines, as E."""
    return re.sub(r"\b\d+e[+-]\d+\b", "E", text)


def test_answer_with_steps(run: Run) -> None:
    code, out, err = run(LEAST_SQUARES, "--wrt", "x", "--steps")
    assert (code, err) == (0, "")
    assert without_errors(out) == (
        "read as A: matrix(m, n), x: vector(n), y: vector(m)\n"
        "f = ½‖Ax − y‖²\n"
        "df = ⟨Aᵀ(Ax − y), dx⟩\n"
        "∇f = Aᵀ(Ax − y)\n"
        "∇²f = AᵀA\n"
        "shapes: A m×n, x n, y m, f scalar, ∇f n, ∇²f n×n; "
        "the gradient has the shape of the argument; rows of a Jacobian are outputs\n"
        "verified at 3 random points: largest relative error E against central differences\n"
        "steps:\n"
        "  d(½‖Ax − y‖²) = ½d(‖Ax − y‖²)   [scaling]\n"
        "  d(‖Ax − y‖²) = 2⟨Ax − y, d(Ax − y)⟩   [squared norm]\n"
        "  d(Ax − y) = d(Ax)   [constant]\n"
        "  d(Ax) = A dx   [constant factor]\n"
        "  df = ⟨Ax − y, A dx⟩   [substitution]\n"
        "  df = ⟨Aᵀ(Ax − y), dx⟩   [gradient: ⟨A dx, r⟩ = ⟨dx, Aᵀr⟩]\n"
        "  d²f = ⟨AᵀA dx₁, dx₂⟩   [Hessian: the differential of the gradient]\n"
    )


def test_refusal_shows_the_place(run: Run) -> None:
    assert run("1 + sine(x)") == (
        2,
        "",
        "error: unknown function 'sine'\n    1 + sine(x)\n        ^~~~~~~\ndid you mean 'sin'?\n",
    )


def test_refusal_of_the_variable(run: Run) -> None:
    assert run("A*x", "--wrt", "z") == (2, "", "error: the formula has no variable z; it has A, x\n")


def test_order_one_has_no_hessian(run: Run) -> None:
    _, out, _ = run("x'*x", "--order", "1")
    assert "∇f = 2x\n" in out
    assert "∇²f" not in out


def test_declaration(run: Run) -> None:
    _, out, _ = run("x'*S*x", "--wrt", "x", "--declare", "S: symmetric(n)")
    assert "∇f = 2Sx\n∇²f = 2S\n" in out


def test_latex(run: Run) -> None:
    _, out, _ = run("x'*x", "--format", "latex", "--steps")
    assert without_errors(out).splitlines() == [
        r"f = x^{\top} x",
        r"\mathrm{d}f = \left\langle 2 x, \mathrm{d}x \right\rangle",
        r"\nabla f = 2 x",
        r"\nabla^{2} f = 2 I",
        *without_errors(out).splitlines()[4:-1],
        "% verified at 3 random points: largest relative error E against central differences",
    ]
    assert r"\mathrm{d}^{2}f = " in out


def test_mathml_is_well_formed(run: Run) -> None:
    from xml.etree import ElementTree

    _, out, _ = run("log(sum(exp(A*x+b)))", "--wrt", "x", "--format", "mathml", "--steps")
    for line in out.splitlines()[:-1]:
        assert ElementTree.fromstring(line).tag.endswith("math")


def test_code_runs_and_names_its_steps(run: Run) -> None:
    import numpy as np

    _, out, _ = run("log(sum(exp(A*x+b)))", "--wrt", "x", "--format", "numpy", "--steps")
    assert out.count("import numpy") == out.count("def ") == 1
    assert "\n# df = " in out
    space: dict[str, Any] = {}
    exec(out, space)
    value, gradient, hessian = space["derivatives"](A=np.eye(2), x=np.zeros(2), b=np.zeros(2))
    np.testing.assert_allclose(value, np.log(2))
    np.testing.assert_allclose(gradient, [0.5, 0.5])
    np.testing.assert_allclose(hessian, [[0.25, -0.25], [-0.25, 0.25]])


def test_code_of_every_language(run: Run) -> None:
    for name, start in (("jax", "import jax"), ("torch", "import torch"), ("julia", "using"), ("c", "#include")):
        _, out, _ = run("x'*x", "--format", name)
        assert out.startswith(start)
        assert without_errors(out).splitlines()[-1].lstrip("/# ").startswith("verified at 3 random points")


def test_json(run: Run) -> None:
    _, out, _ = run("x'*x", "--format", "json")
    found = json.loads(out)
    assert (found["wrt"], found["hessian"]["unicode"]) == ("x", "2I")


def test_what_has_no_closed_form_does_not_claim_to_be_verified(run: Run) -> None:
    code, out, _ = run("tr(expm(X))", "--order", "1")
    assert code == 0
    assert "verified" not in out
    assert without_errors(out).splitlines()[-1] == (
        "no closed form: the derivatives are the engine's values, compared with central differences of the function "
        "at 3 random points: largest relative error E"
    )
    code, out, err = run("tr(expm(X))", "--order", "1", "--format", "numpy")
    assert (code, out) == (2, "")
    assert err == "error: ∂f/∂X has no closed form to write as code; evaluate gives its value\n"


@pytest.mark.parametrize(
    "fault", [KeyError("k"), NameError("name 'k' is not defined"), TypeError("no\nlen()"), RecursionError()]
)
def test_a_fault_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    from nablax.app import command_line

    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(command_line, "compute_derivation", fail)
    said = " ".join(str(fault).split())
    assert run("x'*x") == (
        2,
        "",
        f'error: "x\'*x" is beyond what derive can do: it failed with {type(fault).__name__}'
        f"{f' ({said})' if said else ''}. This is a fault of nablax; another way of writing the formula may work\n",
    )
