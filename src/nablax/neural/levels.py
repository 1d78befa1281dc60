"""Units of an acyclic graph in levels: each level reads only the levels before it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.errors import ArgumentError

Values = list[jax.Array]
"""One array for each level, units along the last axis."""

Sums = list[jax.Array | None]
"""The same while it is summed up; None where nothing was added."""

FEW = 4


@dataclass(frozen=True, eq=False)
class Level:
    """Units that can be computed together, and what they read.

    Attributes:
        units: their numbers, ascending.
        sources: units that one of them reads, ascending.
        existing: which weights exist, units × sources; None where all do.
        taken: where the sources stand: (level, places in it), a place of None is the whole level.
    """

    units: np.ndarray
    sources: np.ndarray
    existing: np.ndarray | None
    taken: tuple[tuple[int, np.ndarray | None], ...]

    def own(self, whole: jax.Array) -> jax.Array:
        """The level's part of an array over all units, along its last axis."""
        stretches = _stretches(self.units)
        return whole[..., stretches[0]] if len(stretches) == 1 else whole[..., self.units]

    def gather(self, values: Values) -> jax.Array:
        """The values of the sources."""
        parts = [values[k] if places is None else values[k][..., places] for k, places in self.taken]
        return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)

    def scatter(self, sums: Sums, values: jax.Array, like: Values) -> None:
        """Adds values of the sources to the sums of their levels: the transpose of `gather`."""
        start = 0
        for k, places in self.taken:
            width = like[k].shape[-1] if places is None else places.size
            part = values[..., start : start + width]
            before = sums[k]
            if places is not None:
                before = jnp.zeros_like(like[k]) if before is None else before
                sums[k] = before.at[..., places].add(part)
            else:
                sums[k] = part if before is None else before + part
            start += width

    def weights(self, w: jax.Array) -> jax.Array:
        """The block of w, units × sources, with zeros where there is no weight."""
        if self.runs is None:
            block = w[np.ix_(self.units, self.sources)]
        else:
            rows, columns = self.runs
            parts = [w[rows, run] for run in columns]
            block = parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=1)
        return block if self.existing is None else block * self.existing.astype(block.dtype)

    def place(self, whole: jax.Array, block: jax.Array) -> jax.Array:
        """Writes a block of the gradient into the n×n array."""
        if self.existing is not None:
            block = block * self.existing.astype(block.dtype)
        if self.runs is None:
            return whole.at[np.ix_(self.units, self.sources)].set(block)
        rows, columns = self.runs
        start = 0
        for run in columns:
            width = run.stop - run.start
            whole = whole.at[rows, run].set(block[:, start : start + width])
            start += width
        return whole

    @functools.cached_property
    def runs(self) -> tuple[slice, list[slice]] | None:
        """Units and sources as a few stretches of consecutive numbers, if they are: XLA then moves blocks, not rows."""
        rows, columns = _stretches(self.units), _stretches(self.sources)
        return (rows[0], columns) if len(rows) == 1 and len(columns) <= FEW else None


def _stretches(numbers: np.ndarray) -> list[slice]:
    """Consecutive numbers as slices, in the order of the numbers."""
    ends = [*(np.flatnonzero(np.diff(numbers) != 1) + 1), numbers.size]
    starts = [0, *ends[:-1]]
    return [slice(int(numbers[a]), int(numbers[b - 1]) + 1) for a, b in zip(starts, ends, strict=True)]


def levels_of(mask: np.ndarray) -> tuple[Level, ...]:
    """The levels of an acyclic graph.

    Args:
        mask: n×n, true where a weight from unit j to unit i exists.

    Raises:
        ArgumentError: the graph has a cycle; the text shows one.
    """
    n = len(mask)
    height = np.zeros(n, int)
    waiting = mask.sum(axis=1)
    ready = [int(unit) for unit in np.flatnonzero(waiting == 0)]
    done = 0
    while ready:
        source = ready.pop()
        done += 1
        for unit in np.flatnonzero(mask[:, source]):
            height[unit] = max(height[unit], height[source] + 1)
            waiting[unit] -= 1
            if waiting[unit] == 0:
                ready.append(int(unit))
    if done < n:
        cycle = " → ".join(map(str, _cycle(mask, np.flatnonzero(waiting > 0))))
        raise ArgumentError(
            f"FeedForward got a mask with a cycle: {cycle}. A feed-forward network's graph is acyclic. Remove one of "
            "these weights, or use neural.Recurrent."
        )
    of_level = [np.flatnonzero(height == k) for k in range(int(height.max(initial=-1)) + 1)]
    return tuple(_level(mask, units, of_level, height) for units in of_level)


def _level(mask: np.ndarray, units: np.ndarray, of_level: Sequence[np.ndarray], height: np.ndarray) -> Level:
    rows = mask[units]
    read = np.flatnonzero(rows.any(axis=0))
    # sources stand level by level, so that what is gathered is a concatenation
    taken, ordered = [], []
    for k in np.unique(height[read]):
        own = read[height[read] == k]
        ordered.append(own)
        whole = own.size == of_level[k].size
        taken.append((int(k), None if whole else np.searchsorted(of_level[k], own)))
    sources = np.concatenate(ordered) if ordered else np.zeros(0, int)
    existing = rows[:, sources]
    return Level(units, sources, None if existing.all() else existing, tuple(taken))


def _cycle(mask: np.ndarray, among: np.ndarray) -> list[int]:
    """Units of a cycle in the direction of the weights, the first one once more at the end.

    Every unit that is left has a source that is left, so that walking from unit to source meets a unit again.
    """
    left = set(among.tolist())
    path: list[int] = [int(among[0])]
    while True:
        source = next(int(j) for j in np.flatnonzero(mask[path[-1]]) if int(j) in left)
        if source in path:
            return [source, *path[path.index(source) :][::-1]]
        path.append(source)


def layered(widths: Sequence[int], bias: bool = False) -> np.ndarray:
    """The mask of a layered network: every unit reads all units of the layer before.

    Args:
        widths: number of units of each layer, inputs first; units are numbered layer by layer.
        bias: whether one more unit, the last, is read by every unit that is no input. It has no input of its own: an
            external input of 1 makes its weights biases.

    Returns:
        Boolean array n×n; ``mask[i, j]`` is true where a weight from unit j to unit i exists.

    Raises:
        ArgumentError: a width below one, or no layer.

    Example:
        >>> layered([1, 2]).astype(int)
        array([[0, 0, 0],
               [1, 0, 0],
               [1, 0, 0]])
    """
    listed: list[Any] = list(widths)
    if not listed or any(not isinstance(width, int | np.integer) or width < 1 for width in listed):
        raise ArgumentError(f"layered got widths={widths!r}. Pass one positive integer for each layer, inputs first.")
    ends = np.cumsum(listed)
    starts = ends - listed
    n = int(ends[-1]) + bool(bias)
    mask = np.zeros((n, n), bool)
    for k in range(1, len(listed)):
        mask[starts[k] : ends[k], starts[k - 1] : ends[k - 1]] = True
    if bias:
        mask[listed[0] : n - 1, n - 1] = True
    return mask
