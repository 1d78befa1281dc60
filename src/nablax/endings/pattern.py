"""Where the values of a sparse answer stand. What stands on a grid is kept as that grid, and written out when asked.

A dense Hessian of 10,000 unknowns has a hundred million places: listing them takes longer than computing the values.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from nablax.contraction.index import Positions

# Places on grids from which on the device writes out their rows and columns: below, compiling that takes longer.
ON_DEVICE = 1 << 21


@dataclass(frozen=True, slots=True)
class Grid:
    """Places ``start + sum(stride * label)``, in the order of the grid.

    Args:
        sizes: elements per label.
        start: the first place.
        strides: step in place per label, largest first; so large that places rise along the grid.
    """

    sizes: tuple[int, ...]
    start: int
    strides: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of places."""
        return math.prod(self.sizes)

    @property
    def last(self) -> int:
        """The greatest place."""
        return self.start + sum(s * (n - 1) for n, s in zip(self.sizes, self.strides, strict=True))

    def positions(self) -> Positions:
        """All places."""
        places: Positions = np.broadcast_to(_sums((self.start, self.strides), self.sizes, np.int64, np), self.sizes)
        return places.ravel()

    def sides(self, columns: int) -> tuple[_Sum, _Sum] | None:
        """Row and column of each place in a matrix, as sums like the place itself; None where they are no sums."""
        split = [_nearest(stride, columns) for stride in self.strides]
        row, column = divmod(self.start, columns)
        reach = [c * (n - 1) for (_, c), n in zip(split, self.sizes, strict=True)]
        if column + sum(r for r in reach if r < 0) < 0 or column + sum(r for r in reach if r > 0) >= columns:
            return None
        return (row, tuple(r for r, _ in split)), (column, tuple(c for _, c in split))


# the first number and the step along each label
_Sum = tuple[int, tuple[int, ...]]


def _nearest(stride: int, columns: int) -> tuple[int, int]:
    """A step in place as a step in row and the least step in column."""
    rows = (2 * stride + columns - 1) // (2 * columns)
    return rows, stride - rows * columns


def _sums(found: _Sum, sizes: Sequence[int], dtype: Any, numbers: Any) -> Any:
    """The sums over the grid of the labels, by NumPy or on the device; of length one where they are equal."""
    start, strides = found
    sums = numbers.full((1,) * len(sizes), start, dtype)
    for axis, (size, stride) in enumerate(zip(sizes, strides, strict=True)):
        if stride:
            steps = stride * numbers.arange(size, dtype=dtype)
            sums = sums + steps.reshape([-1 if k == axis else 1 for k in range(len(sizes))])
    return sums


@dataclass(frozen=True, eq=False)
class Pattern:
    """Distinct places in a flattened answer, one for each value and in the order of the values.

    Args:
        parts: grids and tables of places, one after the other.
    """

    parts: tuple[Grid | Positions, ...]

    @property
    def size(self) -> int:
        """Number of places."""
        return sum(part.size for part in self.parts)

    @cached_property
    def positions(self) -> Positions:
        """All places."""
        listed = [part.positions() if isinstance(part, Grid) else part for part in self.parts]
        return np.concatenate([np.zeros(0, np.int64), *listed])

    @cached_property
    def rises(self) -> bool:
        """Whether each place is greater than the one before."""
        ends = [(part.start, part.last) if isinstance(part, Grid) else _ends(part) for part in self.parts if part.size]
        tables = [part for part in self.parts if not isinstance(part, Grid)]
        return all(after > before for (_, before), (after, _) in itertools.pairwise(ends)) and all(
            bool(np.all(table[1:] > table[:-1])) for table in tables
        )

    def pairs(self, columns: int) -> Any:
        """Row and column of each place in a matrix of so many columns: int32[size, 2], an array of JAX's."""
        columns = max(columns, 1)
        grids = [p if isinstance(p, Grid) and p.sides(columns) is not None else None for p in self.parts]
        if sum(grid.size for grid in grids if grid is not None) < ON_DEVICE:
            return jnp.asarray(np.concatenate([np.zeros((0, 2), np.int32), *(_listed(p, columns) for p in self.parts)]))
        tables = [_listed(p, columns) for p, grid in zip(self.parts, grids, strict=True) if grid is None]
        # the first place is data: what depends on none would be computed by the compiler, and kept in the program
        firsts = [np.array(divmod(grid.start, columns), np.int32) for grid in grids if grid is not None]
        return _written(tuple(grids), columns, firsts, tables)


def _ends(table: Positions) -> tuple[int, int]:
    return int(table[0]), int(table[-1])


def _listed(part: Grid | Positions, columns: int) -> npt.NDArray[np.int32]:
    """Row and column of each place, by NumPy."""
    sides = part.sides(columns) if isinstance(part, Grid) else None
    pairs = np.empty((part.size, 2), np.int32)
    if not isinstance(part, Grid) or sides is None:
        pairs[:, 0], pairs[:, 1] = np.divmod(part.positions() if isinstance(part, Grid) else part, columns)
        return pairs
    grid = pairs.reshape(*part.sizes, 2)
    for k, side in enumerate(sides):
        grid[..., k] = _sums(side, part.sizes, np.int32, np)
    return pairs


@partial(jax.jit, static_argnums=(0, 1))
def _written(parts: tuple[Grid | None, ...], columns: int, firsts: list[Any], tables: list[Any]) -> Any:
    """Row and column of each place of grids, on the device; tables between them where there is no grid."""
    begin, waiting, listed = iter(firsts), iter(tables), []
    for part in parts:
        sides = None if part is None else part.sides(columns)
        if part is None or sides is None:
            listed.append(next(waiting))
            continue
        own = zip(next(begin), sides, strict=True)
        sums = [_sums((first, steps), part.sizes, jnp.int32, jnp) for first, (_, steps) in own]
        grid = jnp.stack([jnp.broadcast_to(one, part.sizes) for one in sums], axis=-1)
        listed.append(grid.reshape(-1, 2))
    return listed[0] if len(listed) == 1 else jnp.concatenate(listed)
