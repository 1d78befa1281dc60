"""The registry of operations: one declaration each, by kind.

| an operation is | its declaration | recognised as |
|---|---|---|
| a scalar function of each element | `ElementwiseRow` | a primitive |
| a linear map along some axes | `LinearRow` | a primitive, or calls of a function |
| a function of arrays, of one or several values | `MatrixRow` | calls of a function |
| a function whose local Jacobian is no product of small factors | `LibraryRow` | calls of a function |

A declaration says how the operation is recognised, its value, its differential (of an elementwise function JAX's own;
of a linear map the map), its operations, and a domain or samples on which tests compare it with JAX. The reader of
traced programs, the sweeps, the cost model and EXPLAIN read that one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nablax.ops import elementwise, library_functions, linear_map, matrix_functions
from nablax.ops.elementwise import ElementwiseRow
from nablax.ops.library_row import LibraryRow
from nablax.ops.linear_map import LinearRow
from nablax.ops.matrix_row import MatrixRow

Row = ElementwiseRow | LinearRow | MatrixRow | LibraryRow


def enter(row: Row) -> None:
    """An operation becomes known; one of the same kind and name is replaced."""
    match row:
        case ElementwiseRow():
            elementwise.ROWS[row.name] = row
        case LinearRow():
            linear_map.ROWS[row.name] = row
        case MatrixRow():
            matrix_functions.ROWS[row.name] = row
        case LibraryRow():
            library_functions.ROWS[row.name] = row


@contextmanager
def known(*rows: Row) -> Iterator[None]:
    """Operations that are known for a while: those of a test."""
    tables: tuple[dict[str, Any], ...] = (
        elementwise.ROWS, linear_map.ROWS, matrix_functions.ROWS, library_functions.ROWS,
    )  # fmt: skip
    before = [dict(table) for table in tables]
    try:
        for row in rows:
            enter(row)
        yield
    finally:
        for table, own in zip(tables, before, strict=True):
            table.clear()
            table.update(own)
