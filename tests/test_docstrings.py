"""The examples in docstrings, run as they stand: in a process of their own, in single precision."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import nablax

MODULES = sorted(module.name for module in pkgutil.walk_packages(nablax.__path__, "nablax."))
PACKAGE = Path(nablax.__path__[0])
SOURCE = PACKAGE.parent


def test_every_module_is_seen() -> None:
    files = {path.relative_to(SOURCE).with_suffix("") for path in PACKAGE.rglob("*.py")}
    assert {"nablax", *MODULES} == {".".join(file.parts).removesuffix(".__init__") for file in files}


def test_docstrings_have_examples() -> None:
    finder = doctest.DocTestFinder()
    found = {m for m in MODULES for test in finder.find(importlib.import_module(m)) if test.examples}
    assert {"nablax.derivatives", "nablax.at_point", "nablax.contraction.index", "nablax.contraction.order"} <= found
    assert {"nablax.calling", "nablax.derivation.derive", "nablax.errors", "nablax.formula.front"} <= found
    assert {"nablax.ops.scalar_function", "nablax.printing.unicode"} <= found


@pytest.mark.slow
def test_every_example_is_right() -> None:
    program = f"""
        import doctest, importlib, sys
        failed = attempted = 0
        for name in {MODULES!r}:
            result = doctest.testmod(importlib.import_module(name))
            failed, attempted = failed + result.failed, attempted + result.attempted
        print(attempted, "examples")
        sys.exit(failed > 0)
    """
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
