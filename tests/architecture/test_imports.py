"""The house stays as it was drawn: arrows between folders, imports at the top, nothing private of JAX."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import nablax

SOURCE = Path(nablax.__file__).parent

# What each room may import from, itself included. Files beside the folders are rooms of their own.
ALLOWED = {
    "errors": set(),
    "contraction": set(),
    "ops": {"contraction", "errors"},
    "graph": {"contraction", "ops"},
    "sweeps": {"contraction", "ops", "graph", "errors"},
    "plan": {"contraction", "ops", "graph", "sweeps", "errors"},
    "calling": {"errors"},
    "derivatives": {"plan", "graph", "calling", "errors"},
    "curvature": {"plan", "graph", "ops", "calling", "derivatives", "errors"},
    "formula": {"errors"},
    "printing": {"errors"},
    "derivation": {"formula", "printing", "contraction", "ops", "graph", "sweeps", "plan", "errors"},
    "app": {"derivation", "formula", "plan", "derivatives", "curvature", "calling", "errors", "__init__"},
    "__init__": {"curvature", "derivatives", "derivation", "plan", "errors"},
}


def room(path: Path) -> str:
    parts = path.relative_to(SOURCE).parts
    return parts[0].removesuffix(".py")


def files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def imported(tree: ast.AST) -> set[str]:
    """Rooms of nablax that a file imports."""
    rooms = set()
    for node in ast.walk(tree):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name == "nablax":
                rooms.add("__init__")
            elif name.startswith("nablax."):
                rooms.add(name.split(".")[1])
    return rooms


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_arrows_point_down(path: Path) -> None:
    own = room(path)
    assert imported(ast.parse(path.read_text())) - {own} <= ALLOWED[own]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_stand_at_the_top(path: Path) -> None:
    tree = ast.parse(path.read_text())
    inside = [
        node.lineno
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert inside == []


def test_no_private_jax_module_and_no_configuration() -> None:
    text = {path.name: path.read_text() for path in files()}
    private = [name for name, source in text.items() if re.search(r"^\s*(from|import) jax\._src", source, re.M)]
    configuring = [name for name, source in text.items() if "jax.config" in source]
    assert (private, configuring) == ([], [])


def test_no_shelves() -> None:
    shelves = {"utils", "util", "misc", "common", "helpers", "core", "base"}
    assert [path.name for path in files() if path.stem in shelves or path.parent.name in shelves] == []


def test_the_falsified_arrow_would_be_noticed() -> None:
    assert imported(ast.parse("from nablax.plan.choose import choose")) - {"graph"} == {"plan"}
    assert "plan" not in ALLOWED["graph"]


def test_public_names_exist_and_are_documented() -> None:
    for name in nablax.__all__:
        assert (getattr(nablax, name).__doc__ or "").strip(), name
