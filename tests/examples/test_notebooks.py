"""The notebooks run from top to bottom, and what is stored in them is what their cells still show."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
SHOWN = {
    "text/html": "_repr_html_",
    "image/svg+xml": "_repr_svg_",
    "text/latex": "_repr_latex_",
    "text/markdown": "_repr_markdown_",
}


def run(source: str, space: dict[str, Any]) -> Any:
    """The value of a cell's last line, if that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), space)
    return None if last is None else eval(compile(ast.Expression(last.value), "<cell>", "eval"), space)


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["forward_and_reverse", "plans_and_structure", "second_order"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path: Path) -> None:
    space: dict[str, Any] = {}
    places = []
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] != "code":
            continue
        value = run("".join(cell["source"]), space)
        assert value is not None
        [output] = cell["outputs"]
        assert output["output_type"] == "execute_result"
        stored = output["data"]
        assert set(stored) == {"text/plain"} | {kind for kind, name in SHOWN.items() if hasattr(value, name)}
        for kind in set(stored) - {"text/plain"}:
            made = getattr(value, SHOWN[kind])()
            was = "".join(stored[kind])
            # numbers differ in their last digits between precisions, the shape of what is shown does not
            assert (made.count("<td"), made.count("<text"), made.count("&=")) == (
                was.count("<td"),
                was.count("<text"),
                was.count("&="),
            )
        places.append(value)
    assert len(places) >= 4
