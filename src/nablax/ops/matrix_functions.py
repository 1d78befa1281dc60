"""Rows of functions of arrays that are no product and no map of places: value by JAX, differential as a network.

The second derivative follows by differentiating the factors of the first, or from the equation that a row states.
"""

from __future__ import annotations

from nablax.ops.determinants import DETERMINANTS
from nablax.ops.extrema import EXTREMA
from nablax.ops.matrix_row import MatrixRow
from nablax.ops.solves import SOLVES
from nablax.ops.spectral import SPECTRAL

ROWS: dict[str, MatrixRow] = {row.name: row for row in (*SOLVES, *SPECTRAL, *DETERMINANTS, *EXTREMA)}
