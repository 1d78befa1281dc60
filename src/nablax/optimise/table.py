"""The table of a search's iterations, kept in arrays of fixed length so that it may be traced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np


class Table(eqx.Module):
    """Iterations of a search; prints itself.

    Args:
        columns: names of the columns.
        values: shape (rows at most, columns); rows that were not reached are NaN.
        count: rows that were reached.
        kinds: what a number of the column "kind" means.
    """

    columns: tuple[str, ...] = eqx.field(static=True)
    values: Any
    count: Any
    kinds: tuple[str, ...] = eqx.field(static=True, default=())

    @classmethod
    def empty(cls, columns: Sequence[str], rows: int, dtype: Any, kinds: Sequence[str] = ()) -> Table:
        """A table without rows.

        Args:
            columns: their names.
            rows: how many there may be.
            dtype: of the values.
            kinds: what a number of the column "kind" means.
        """
        return cls(tuple(columns), jnp.full((rows, len(columns)), jnp.nan, dtype), jnp.asarray(0), tuple(kinds))

    def with_row(self, *row: Any) -> Table:
        """The table with one more row.

        Args:
            row: one number for each column.
        """
        values = self.values.at[self.count].set(jnp.stack([jnp.asarray(x, self.values.dtype) for x in row]))
        return Table(self.columns, values, self.count + 1, self.kinds)

    def column(self, name: str) -> Any:
        """A column, as long as rows were reached; not inside a transformation.

        Args:
            name: of the column.

        Example:
            >>> Table.empty(("a", "b"), 3, "float32").with_row(1.0, 2.0).column("b")
            array([2.], dtype=float32)
        """
        return np.asarray(self.values)[: int(self.count), self.columns.index(name)]

    def cells(self) -> list[list[str]]:
        """The rows as text: whole numbers in columns that count, names of kinds, six digits elsewhere."""
        return [
            [self._cell(name, value) for name, value in zip(self.columns, row, strict=True)]
            for row in np.asarray(self.values)[: int(self.count)]
        ]

    def _cell(self, name: str, value: Any) -> str:
        if np.isnan(value):
            return ""
        if name == "kind":
            return self.kinds[int(value)]
        return f"{int(value)}" if name in ("step", "evaluations") else f"{value:.6g}"

    def __str__(self) -> str:
        rows = [list(self.columns), *self.cells()]
        widths = [max(len(row[k]) for row in rows) for k in range(len(self.columns))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join(line.rstrip() for line in lines)
