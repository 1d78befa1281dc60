"""Lessons: every part is there, in three formats that are well formed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import jax.numpy as jnp
import numpy as np
import pytest
from corpus.formulas import ENTRIES
from corpus.test_corpus import FAST, NO_FORM, derived

from nablax.derivation import Derivation, DerivationError, derive
from nablax.derivation.lesson import REASONS, reason
from nablax.printing.document import LETTERS

LESSON = """\
# The derivative of ½‖Ax − b‖² by x

## The question

Given is the function f of A, x, b:

    f = ½‖Ax − b‖²

How does it change with x, all else kept as it is?

## How it is read

| name | meaning |
| --- | --- |
| A | matrix(m, n) |
| x | vector(n) |
| b | vector(m) |

The value f is a number.

A name that is meant otherwise is given in declare.

## Domain

Nothing in the formula restricts its arguments.

## Differential

The differential df is the part of f(x + dx) − f(x) that is linear in dx. In short:

    df = ⟨Aᵀ(Ax − b), dx⟩

## Steps
"""
CODE = """\
## Code

Value and derivatives in one function; what they share is computed once.

```python
import numpy as np


def derivatives(A, x, b):
    t1 = A @ x - b
    f = 0.5 * (t1 @ t1)
    gradient = A.T @ t1
    hessian = A.T @ A
    return f, gradient, hessian
```
"""
FORMULAS = [
    ("1/2*norm2(A*x-b)^2", "x", ""),
    ("log(det(X))", "X", ""),
    ("tr(expm(X))", "X", ""),
    ("A*x", "x", ""),
    ("alpha*sum(exp(x).^2) + lambda_1*x'*x", "x", "lambda_1: scalar, alpha: scalar"),
    ("x^5", "x", "x: scalar"),
    ("sum(max(0, 1 - y.*(X*w)))", "w", ""),
]


@pytest.fixture(scope="module", params=FORMULAS, ids=lambda row: row[0])
def found(request: pytest.FixtureRequest) -> Derivation:
    formula, wrt, declare = request.param
    order = {"x^5": 4, "tr(expm(X))": 1}.get(formula, 2)  # XLA compiles the Hessian of expm for a minute
    return derive(formula, wrt, declare=declare or None, order=order)


def test_a_lesson_in_full() -> None:
    text = str(derive("1/2*norm2(A*x-b)^2", "x").explain())
    assert text.startswith(LESSON)
    assert text.endswith(CODE)
    assert "Squared norm. ‖u‖² = ⟨u, u⟩, and the product rule gives the same term twice: 2⟨u, du⟩." in text
    assert "\n## Gradient\n\n    ∇f = Aᵀ(Ax − b)\n\nIt is a vector (n). The gradient has the shape of the" in text
    assert "\n## Hessian\n\n    ∇²f = AᵀA\n\nIt is a matrix (n×n).\n" in text
    assert "\n## Check\n\nVerified at 3 random points: largest relative error " in text


def test_sections(found: Derivation) -> None:
    titles = [section.title for section in found.explain().sections]
    assert titles[:5] == ["The question", "How it is read", "Domain", "Differential", "Steps"]
    assert titles[7:9] == ["Check", "Code"]
    assert titles[5] in ("Gradient", "Jacobian", "Derivative")


def test_html_is_well_formed(found: Derivation) -> None:
    page = found.explain().html()
    assert ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n")).tag == "html"
    ElementTree.fromstring(found.explain()._repr_html_())
    ElementTree.fromstring(found._repr_html_())


def balanced(source: str) -> None:
    """Environments and brackets close in the order in which they open; what is not Latin is declared."""
    body = re.sub(r"\\begin{verbatim}.*?\\end{verbatim}", "", source, flags=re.DOTALL)
    waiting = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+\*?)\}", body):
        if kind == "begin":
            waiting.append(name)
        else:
            assert waiting.pop() == name
    assert not waiting
    plain = re.sub(r"\\[\\{}%&$#_]", "", body)
    assert plain.count("{") == plain.count("}")
    assert plain.count(r"\left") - plain.count(r"\leftarrow") == plain.count(r"\right")
    assert "$" not in plain
    letters = {letter for letter in source if not letter.isascii()}
    assert letters == set(re.findall(r"\\newunicodechar{(.)}", source)) <= set(LETTERS)


def test_latex_is_a_document(found: Derivation, tmp_path: Path) -> None:
    source = found.explain().latex()
    balanced(source)
    engine = shutil.which("pdflatex") or shutil.which("tectonic") or shutil.which("lualatex")
    if engine is None:
        return  # the structure is what can be seen here
    (tmp_path / "lesson.tex").write_text(source)
    options = [] if engine.endswith("tectonic") else ["-interaction=nonstopmode", "-halt-on-error"]
    done = subprocess.run([engine, *options, "lesson.tex"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_markdown_has_formulas_in_latex(found: Derivation) -> None:
    text = found.explain().markdown()
    assert text.count("$$\n") % 2 == 0
    assert text.count("```") in (0, 2)
    assert f"$$\nf = {found.function.latex()}\n$$" in text


def test_code_in_another_language() -> None:
    text = derive("x'*x").explain("julia").markdown()
    assert "```julia\nusing LinearAlgebra\n" in text
    with pytest.raises(DerivationError, match="code is written in one of"):
        derive("x'*x").explain("fortran")


def test_a_python_function() -> None:
    found = derive(lambda A, x: jnp.sum(jnp.tanh(A @ x)), "x", args=(np.ones((3, 2)), np.ones(2)))
    text = str(found.explain())
    assert "| A | matrix (n×m) |" in text
    assert "The domain of a Python function is not looked for" in text


def test_what_has_no_notation_says_so() -> None:
    text = str(derive("tr(expm(X))", order=1).explain())
    assert "No step of it can be shown in this notation." in text
    assert "has no closed form to write as code; evaluate gives its value." in text


def rules(entries: list[object]) -> set[str]:
    return {step.rule for entry in entries if entry.name not in NO_FORM for step in derived(entry).steps}  # type: ignore[attr-defined]


def test_every_step_has_its_reason() -> None:
    for rule in rules(list(FAST[::3])):
        assert rule in REASONS or "slope of" in reason(rule)


@pytest.mark.slow
def test_every_step_of_the_corpus_has_its_reason() -> None:
    elements = {"exp", "log", "sqrt", "tanh", "sin", "cos", "cosh", "sinh", "arctan", "sigmoid", "softplus", "erf"}
    elements |= {"lgamma", "digamma", "abs", "relu", "arccos", "Phi"}
    for rule in rules(list(ENTRIES)):
        assert rule in REASONS or rule.removesuffix(", chain") in elements, rule
