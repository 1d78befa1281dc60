"""The house stays as it was planned: arrows point down, no hidden imports, public names are documented."""

from __future__ import annotations

import ast
import builtins
import graphlib
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

import nablax

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "nablax"
FILES = sorted(SOURCE.rglob("*.py"))

# room: what it may import besides itself and nablax.errors
ALLOWED = {
    "errors": set(),
    # how much a derivation may compute, counted where the work is done
    "effort": set(),
    "contraction": {"effort"},
    "ops": {"contraction"},
    "graph": {"effort", "contraction", "ops"},
    "sweeps": {"contraction", "ops", "graph"},
    "endings": {"contraction", "ops", "graph", "sweeps"},
    # how tables, drawings and layered graphs are written; knows nothing of derivatives
    "pictures": set(),
    "planning": {"contraction", "ops", "graph", "sweeps", "endings", "pictures"},
    "calling": set(),
    "answering": {"graph", "planning", "calling"},
    "derivatives": {"graph", "planning", "calling", "answering"},
    "structure": {"contraction", "ops", "graph", "sweeps", "endings", "planning"},
    "program": {"graph", "planning", "calling", "answering", "structure"},
    "at_point": {"endings", "planning", "calling", "answering", "structure", "program", "pictures"},
    "orders": {"graph", "sweeps", "planning", "calling", "answering", "derivatives", "pictures"},
    # above the verbs, of which it uses the public ones only; a function is taken apart from what it refers to
    "optimise": {"ops", "derivatives", "at_point"},
    "neural": {"derivatives", "at_point"},
    "checkpoints": {"contraction", "ops", "planning", "calling", "answering"},
    "definitions": {"notation", "ops", "graph", "formula", "printing"},
    # beside the engine, which knows nothing of them: text in, text out, and closed forms between the two
    # how functions are written, one row for each
    "notation": set(),
    "formula": {"notation"},
    "printing": {"notation", "contraction"},  # the order in which printed code multiplies
    "derivation": {"effort", "contraction", "ops", "graph", "sweeps", "planning", "notation", "formula", "printing"},
    # what the closed forms say of curvature
    "convex": {"notation", "formula", "printing", "derivation"},
    # readers of graphs, sweeps and plans, for people who look at them
    "teach": {
        "contraction", "ops", "graph", "sweeps", "endings", "planning", "calling", "notation", "formula", "printing",
        "pictures",
    },
}  # fmt: skip
PUBLIC = set(ALLOWED)
ALLOWED["app"] = {*PUBLIC, ""}
ALLOWED[""] = PUBLIC  # nablax/__init__.py


def room(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def imported(source: str) -> set[str]:
    """The modules that a source imports, with their full names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            found.add(str(node.module))
            if node.module == "nablax":  # `from nablax import graph` imports a room
                found |= {f"nablax.{name.name}" for name in node.names if name.name in ALLOWED}
    return found


def upward(own: str, source: str) -> set[str]:
    """The imports of a source in a room that are not allowed there."""
    ours = {name for name in imported(source) if name.split(".")[0] == "nablax"}
    return {name for name in ours if (name.split(".") + [""])[1] not in ALLOWED[own] | {own, "errors"}}


def short(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


@pytest.mark.parametrize("path", FILES, ids=short)
def test_arrows_point_down(path: Path) -> None:
    own = room(path)
    assert own in ALLOWED, f"a new room {own!r}: say here what it may import"
    assert upward(own, path.read_text()) == set(), short(path)


@pytest.mark.parametrize(
    ("own", "source", "found"),
    [
        ("graph", "from nablax.planning.choose import choose", {"nablax.planning.choose"}),
        ("graph", "import nablax.sweeps.legs as legs", {"nablax.sweeps.legs"}),
        ("graph", "import nablax", {"nablax"}),
        ("graph", "from nablax import planning", {"nablax", "nablax.planning"}),
        ("graph", "def f():\n    from nablax.derivatives import hessian", {"nablax.derivatives"}),
        ("formula", "from nablax.graph.graph import Node", {"nablax.graph.graph"}),
        ("planning", "from nablax.app.load import load", {"nablax.app.load"}),
        ("graph", "from nablax.graph.graph import Node\nfrom nablax.errors import NablaxError\nimport jax", set()),
        ("graph", "import nablaxy.planning", set()),
    ],
)
def test_an_arrow_that_points_up_is_noticed(own: str, source: str, found: set[str]) -> None:
    assert upward(own, source) == found


def test_arrows_have_no_cycle() -> None:
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter({"graph": {"planning"}, "planning": {"graph"}}).prepare()
    graphlib.TopologicalSorter(ALLOWED).prepare()


# -- errors ------------------------------------------------------------------------------------------------


def exceptions(source: str) -> set[str]:
    """The classes of a source that derive from something called like an exception."""
    known = {name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, Exception)}
    known |= {name for name, value in vars(nablax.errors).items() if isinstance(value, type)} - {"Place", "Protocol"}
    return {
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).split(".")[-1] in known for base in node.bases)
    }


def test_every_exception_lives_in_one_file() -> None:
    assert exceptions("class A(ValueError): ...\nclass B(errors.FormulaError): ...\nclass C(list): ...") == {"A", "B"}
    assert {short(path) for path in FILES if exceptions(path.read_text())} == {"errors.py"}


def test_every_error_is_public() -> None:
    errors = {
        name for name, value in vars(nablax.errors).items()
        if isinstance(value, type) and issubclass(value, nablax.NablaxError)
    }  # fmt: skip
    assert {"NablaxError", "ArgumentError", "FormulaError", "DerivationError", "TargetError"} <= errors
    assert errors <= set(nablax.__all__)


@pytest.mark.parametrize("path", FILES, ids=short)
def test_no_import_inside_a_function(path: Path) -> None:
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for node in ast.walk(function):
                assert not isinstance(node, ast.Import | ast.ImportFrom), f"{short(path)}:{node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=short)
def test_no_private_jax_and_no_dynamic_import(path: Path) -> None:
    text = path.read_text()
    assert "jax._src" not in text
    assert "importlib" not in text or room(path) == "app"  # the command loads the user's file
    assert "__import__" not in text


def test_only_one_file_reads_jaxprs() -> None:
    readers = {short(path) for path in FILES if re.search(r"jax\.extend|\.eqns\b|make_jaxpr", path.read_text())}
    assert readers == {"ops/jaxprs.py"}


def test_only_one_file_searches_contraction_orders() -> None:
    assert {short(path) for path in FILES if "opt_einsum" in imported(path.read_text())} == {"contraction/order.py"}


def test_no_shelves_for_what_nobody_placed() -> None:
    shelves = {"utils", "util", "misc", "common", "core", "base", "helpers", "tools", "shared"}
    names = {part for path in FILES for part in path.relative_to(SOURCE).with_suffix("").parts}
    assert names & shelves == set()


def test_files_are_rooms_not_halls() -> None:
    long = {short(path): count for path in FILES if (count := len(path.read_text().splitlines())) > 600}
    assert long == {}


def test_sweeps_name_no_primitive() -> None:
    rows = set(nablax.ops.elementwise.ROWS) - {"copy", "and", "or", "not", "max", "min"}
    for path in sorted((SOURCE / "sweeps").glob("*.py")):
        strings = {
            node.value for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }  # fmt: skip
        assert strings & rows == set(), short(path)


# -- configuration -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=short)
def test_no_configuration_is_set(path: Path) -> None:
    text = path.read_text()
    for pattern in (
        r"jax\.config",
        r"config\.update",
        r"os\.environ\[.*\]\s*=",
        r"filterwarnings",
        r"set_printoptions",
    ):
        assert not re.search(pattern, text), f"{short(path)} sets configuration: {pattern}"


def run(program: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE.parent), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_and_asking_changes_no_configuration() -> None:
    printed = run(
        """
        import logging, os, warnings
        import jax, numpy
        def state():
            return (
                dict(jax.config.values), dict(os.environ), list(warnings.filters), numpy.get_printoptions(),
                numpy.geterr(), logging.getLogger().level, jax.numpy.ones(1).dtype,
            )
        before = state()
        import nablax
        assert state() == before, "on import"
        nablax.hessian(lambda x: (x ** 3).sum())(jax.numpy.ones(2))
        print(nablax.plan(lambda x: (x ** 3).sum(), "diagonal")(jax.numpy.ones(2)).strategy)
        assert state() == before, "on a call"
        """
    )
    assert printed.strip() == "legs-backward"


def test_what_an_import_loads() -> None:
    # each of these costs a user seconds for what few verbs, or only the pages, need
    heavy = {"matplotlib", "sklearn", "statsmodels", "sympy", "pandas", "torch", "flax", "casadi", "matfree"}
    loaded = set(run("import nablax, sys; print(*sys.modules)").split())
    assert "jax" in loaded
    assert loaded & heavy == set()


# -- what is declared --------------------------------------------------------------------------------------

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def third_party(paths: Iterable[Path]) -> set[str]:
    names = {name.split(".")[0] for path in paths for name in imported(path.read_text())}
    return (
        names
        - set(sys.stdlib_module_names)
        - {"nablax", "oracles", "test_operations", "convex", "corpus", "benchmarks", "structure", "fuzz", "real"}
    )


def declared(requirements: Iterable[str]) -> set[str]:
    return {re.split(r"[\[<>=]", one)[0].replace("scikit-learn", "sklearn") for one in requirements}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    needed = declared(PROJECT["dependencies"])
    assert third_party(FILES) == needed
    tests = third_party(sorted((ROOT / "tests").rglob("*.py")))
    assert tests <= needed | declared(PROJECT["optional-dependencies"]["test"])


def test_the_classifiers_say_what_is_tested() -> None:
    versions = [one.rpartition(" :: ")[2] for one in PROJECT["classifiers"] if "Python :: 3." in one]
    assert f">={versions[0]}" == PROJECT["requires-python"]
    assert len(versions) == 2, "the oldest and the newest: what .ci/run tests"


# -- public names ------------------------------------------------------------------------------------------


def test_public_names_exist_and_are_sorted() -> None:
    assert nablax.__all__ == sorted(nablax.__all__)
    for name in nablax.__all__:
        assert getattr(nablax, name).__doc__, name


@pytest.mark.skipif(not (ROOT / "docs" / "reference").is_dir(), reason="the reference is not part of this checkout")
def test_public_names_are_documented() -> None:
    pages = "\n".join(path.read_text() for path in sorted((ROOT / "docs" / "reference").glob("*.md")))
    documented = set(re.findall(r"^::: nablax(?:\.[a-z_]+)*?\.([A-Za-z_]+)\s*$", pages, re.MULTILINE))
    # a class beside the package of its name is rendered by inspection, under a heading that carries its anchor
    documented |= set(re.findall(r"\{ #nablax\.([A-Za-z_]+) \}", pages))
    assert set(nablax.__all__) <= documented


def test_public_functions_say_what_they_take_and_give() -> None:
    for name in ("hessian", "hessian_diagonal", "laplacian", "hvp", "quadratic_form", "plan", "curvature"):
        text = getattr(nablax, name).__doc__
        for part in ("Args:", "Returns:", "Raises:", "Example:"):
            assert part in text, f"{name}: {part}"


def test_the_package_is_typed() -> None:
    assert (SOURCE / "py.typed").exists()
