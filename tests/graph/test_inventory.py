"""The table of primitives is complete, and says what the reader does."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.extend.core import primitives

from nablax.graph.inventory import DATA, OPAQUE, REWRITTEN, TABLES, Reading, entry, library
from nablax.graph.node import reachable
from nablax.ops.elementwise import ROWS
from nablax.ops.kinds import Contraction, Elementwise, IndexMap, MatrixFunction, Opaque, Selection
from nablax.planning.question import pose

EXPORTED = sorted({getattr(primitives, name).name for name in dir(primitives) if name.endswith("_p")})


@pytest.mark.parametrize("name", EXPORTED)
def test_every_primitive_of_jax_has_an_entry(name: str) -> None:
    found = entry(name)
    assert found is not None, f"{name} stands in no table: give it a row, or a reason in graph/inventory.py"
    assert bool(found.reason) or found.reading in (Reading.ELEMENTWISE, Reading.INLINED, Reading.LOOP)


def test_no_primitive_has_two() -> None:
    tables = [set(table) for table in TABLES.values()] + [set(ROWS), set(OPAQUE), set(DATA), set(REWRITTEN)]
    twice = {name for k, table in enumerate(tables) for other in tables[k + 1 :] for name in table & other}
    # a selection by a constant triangle is a masked matrix, any other one acts on each element
    # places known while tracing are an index map, others a selection
    assert twice == {"select_n", "gather", "scatter-add", "dynamic_slice", "dynamic_update_slice"}


READ: dict[str, tuple[Any, type]] = {
    "tanh": (jnp.tanh, Elementwise),
    "dot_general": (lambda x: x @ x, Contraction),
    "rev": (lambda x: jax.lax.rev(x, (0,)), IndexMap),
    "cholesky": (lambda x: jax.lax.linalg.cholesky(x, symmetrize_input=False), MatrixFunction),
    "sort": (lambda x: jnp.sort(x, 0), Selection),
    "cumsum": (lambda x: jnp.cumsum(x, 0), Contraction),
    "cumprod": (lambda x: jnp.cumprod(x, 0), Elementwise),
    "cond": (lambda x: jax.lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x), Opaque),
    "scan": (lambda x: jax.lax.scan(lambda c, s: (c * s, None), x[0], x)[0], Opaque),
}
KINDS = {
    Reading.ELEMENTWISE: {Elementwise},
    Reading.STRUCTURED: {Contraction, IndexMap, Selection, MatrixFunction},
    Reading.REWRITTEN: {Elementwise},
    Reading.OPAQUE: {Opaque},
    Reading.LOOP: {Opaque},
}


@pytest.mark.parametrize("name", READ)
def test_the_reader_does_what_the_entry_says(name: str) -> None:
    function, kind = READ[name]
    problem = pose(lambda x: jnp.sum(function(x)), [jnp.eye(3)], [0], scalar="")
    found = entry(name)
    assert found is not None
    assert kind in KINDS[found.reading]
    assert any(isinstance(node.kind, kind) for node in reachable(problem.outputs))


def test_an_unknown_primitive_has_no_entry() -> None:
    assert entry("no_such_primitive") is None


def test_functions_of_the_library_are_one_operation() -> None:
    # what a user defines joins them, here too where another test has: only JAX's own are looked at
    found = {one.name: one.reading for one in library() if hasattr(jax.scipy.linalg, one.name)}
    found |= {one.name: one.reading for one in library() if hasattr(jnp.linalg, one.name)}
    assert found == {
        **dict.fromkeys(("det", "inv", "slogdet", "solve"), Reading.STRUCTURED), "expm": Reading.WHOLE,
    }  # fmt: skip
