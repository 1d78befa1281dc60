"""How the axes of a gather or a scatter go together, whether its places are known while tracing or not.

Windows of an array are read or written, one for each element of a grid. What is moved, the result of a gather or the
update of a scatter, has the axes of the grid and, between them, those of a window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nablax.contraction.index import Index, Label, fresh


@dataclass(frozen=True, eq=False, slots=True)
class Places:
    """The axes of a gather or a scatter.

    Args:
        moved: axes of what is moved.
        windowed: which of these are axes of a window.
        within: for each axis of the array the label of the places within a window; None where a window has one place
            and no axis of its own.
        indexed: axes of the array that the indices list, in their order.
        pairs: axes of the array that are axes of the grid, each with the axis of the grid.
    """

    moved: tuple[Index, ...]
    windowed: frozenset[int]
    within: tuple[Label | None, ...]
    indexed: tuple[int, ...]
    pairs: Mapping[int, int]

    @classmethod
    def of_gather(cls, numbers: Any, result: Sequence[int], rank: int) -> Places:
        """From the dimension numbers of a gather, the shape of its result and the rank of the array."""
        pairs = dict(zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True))
        dropped = {*numbers.collapsed_slice_dims, *pairs}
        return cls._of(result, rank, numbers.offset_dims, dropped, numbers.start_index_map, pairs)

    @classmethod
    def of_scatter(cls, numbers: Any, update: Sequence[int], rank: int) -> Places:
        """From the dimension numbers of a scatter, the shape of its update and the rank of the array."""
        pairs = dict(zip(numbers.operand_batching_dims, numbers.scatter_indices_batching_dims, strict=True))
        dropped = {*numbers.inserted_window_dims, *pairs}
        indexed = numbers.scatter_dims_to_operand_dims
        return cls._of(update, rank, numbers.update_window_dims, dropped, indexed, pairs)

    @classmethod
    def _of(
        cls,
        shape: Sequence[int],
        rank: int,
        windowed: Sequence[int],
        dropped: set[int],
        indexed: Sequence[int],
        pairs: Mapping[int, int],
    ) -> Places:
        moved = fresh(shape)
        waiting = [moved[int(k)].labels[0] for k in windowed]
        within = tuple(None if axis in dropped else waiting.pop(0) for axis in range(rank))
        return cls(moved, frozenset(map(int, windowed)), within, tuple(map(int, indexed)), pairs)

    @property
    def grid(self) -> tuple[Index, ...]:
        """Axes of the grid."""
        return tuple(index for k, index in enumerate(self.moved) if k not in self.windowed)

    @property
    def labels(self) -> tuple[Label, ...]:
        """Labels of the grid."""
        return tuple(index.labels[0] for index in self.grid)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Extent of a window along each axis of the array."""
        return tuple(1 if label is None else label.size for label in self.within)

    def on_grid(self, grid: Sequence[Index]) -> tuple[Index, ...]:
        """Axes of what is moved, with others in place of those of the grid."""
        waiting = list(grid)
        return tuple(index if k in self.windowed else waiting.pop(0) for k, index in enumerate(self.moved))
