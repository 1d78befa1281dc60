"""Rows of library functions that stay whole."""

from __future__ import annotations

from nablax.ops.exponential import EXPONENTIAL
from nablax.ops.library_row import LibraryRow

ROWS: dict[str, LibraryRow] = {row.name: row for row in (EXPONENTIAL,)}
