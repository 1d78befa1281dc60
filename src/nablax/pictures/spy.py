"""The structure of a symmetric matrix as a picture: where values may stand, its blocks by name, its spectrum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nablax.pictures.svg import BLUE, RED, Picture, length, written

SIDE = 260.0
# Cells of the raster along one axis, at most.
CELLS = 130
SMALL = 11.0
HIGH = 130.0
# Above this ratio between the largest and the smallest size, eigenvalues are drawn by their logarithms.
WIDE = 100.0


@dataclass(frozen=True)
class Named:
    """A block of rows and columns.

    Args:
        name: what it is called.
        start: its first row.
        stop: one past its last.
    """

    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class Filled:
    """A rectangle of the matrix.

    Args:
        rows: first, and one past the last.
        columns: the same.
        share: of its places that may hold a value.
        diagonal: whether these are on its diagonal.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    share: float
    diagonal: bool = False


def spy(
    size: int,
    blocks: Sequence[Named],
    places: Any,
    fills: Sequence[Filled],
    title: str,
    eigenvalues: Any = None,
) -> Picture:
    """Draw a matrix.

    Args:
        size: rows.
        blocks: in order.
        places: rows and columns of values, shape (count, 2); None to draw `fills`.
        fills: rectangles, drawn where `places` is None.
        title: above.
        eigenvalues: drawn below; None leaves them out.

    Returns:
        The picture.
    """
    names = [one.name for one in blocks]
    left = max((length(name, SMALL) for name in names), default=0.0) + 22
    scale = SIDE / max(size, 1)
    top = 30.0
    body = [written(title, (12, 20), 13, anchor="start")]
    shapes = _raster(size, places) if places is not None else _rectangles(fills, scale)
    if len(blocks) > 1:
        for one in blocks[1:]:
            at = one.start * scale
            shapes += f'<path d="M{at:.1f} 0V{SIDE} M0 {at:.1f}H{SIDE}" stroke="currentColor" stroke-opacity="0.45"/>'
    shapes += f'<rect width="{SIDE}" height="{SIDE}" fill="none" stroke="currentColor"/>'
    body.append(f'<g transform="translate({left:.1f} {top})">{shapes}</g>')
    free = -math.inf
    for one in blocks:  # names of blocks too narrow for a line of text are left out
        at = top + (one.start + one.stop) / 2 * scale + 4
        if at - free >= SMALL + 2:
            body.append(written(one.name, (left - 8, at), SMALL, anchor="end"))
            free = at
    wide, high = max(left + SIDE + 14, length(title, 13) + 24), top + SIDE + 12
    if eigenvalues is not None and len(eigenvalues):
        drawn = _spectrum(np.sort(np.asarray(eigenvalues, float)))
        body.append(f'<g transform="translate({left:.1f} {high + 8:.1f})">{drawn}</g>')
        wide, high = max(wide, left + SIDE + 60), high + HIGH + 60
    described = f"structure of a {size} by {size} Hessian in {len(blocks)} blocks: {', '.join(names[:8])}"
    return Picture(wide, high, "".join(body), described)


def _raster(size: int, places: Any) -> str:
    """Positions as cells, runs along a row as one rectangle."""
    cells = min(size, CELLS)
    at = np.unique(np.asarray(places, np.int64) * cells // max(size, 1), axis=0)
    step = SIDE / max(cells, 1)
    path = []
    start = 0
    for k in range(1, len(at) + 1):
        if k == len(at) or at[k, 0] != at[k - 1, 0] or at[k, 1] != at[k - 1, 1] + 1:
            row, first, last = at[start, 0], at[start, 1], at[k - 1, 1] + 1
            x, y, wide = first * step, row * step, (last - first) * step
            path.append(f"M{x:.2f} {y:.2f}h{wide:.2f}v{step:.2f}h{-wide:.2f}z")
            start = k
    return f'<path d="{"".join(path)}" fill="{BLUE}" fill-opacity="0.75" shape-rendering="crispEdges"/>'


def _rectangles(fills: Sequence[Filled], scale: float) -> str:
    drawn = ""
    for one in fills:
        (a, b), (c, d) = one.rows, one.columns
        if one.diagonal:
            ends = f"M{c * scale:.1f} {a * scale:.1f}L{d * scale:.1f} {b * scale:.1f}"
            drawn += f'<path d="{ends}" stroke="{BLUE}" stroke-width="2.5"/>'
        elif one.share:
            size = f'width="{(d - c) * scale:.1f}" height="{(b - a) * scale:.1f}"'
            depth = 0.15 + 0.6 * min(one.share, 1.0)
            place = f'x="{c * scale:.1f}" y="{a * scale:.1f}"'
            drawn += f'<rect {place} {size} fill="{BLUE}" fill-opacity="{depth:.2f}"/>'
    return drawn


def _spectrum(values: Any) -> str:
    """Eigenvalues in order, a dot each; by logarithms where they differ much."""
    sizes = np.abs(values)
    largest = float(sizes.max())
    seen = sizes[sizes > largest * 1e-12]
    by_logarithm = largest > 0 and float(seen.min(initial=largest)) * WIDE < largest
    floor = float(seen.min(initial=largest))
    if by_logarithm:
        heights = np.log10(np.maximum(sizes, floor))
        text = "eigenvalues by size, logarithmic"
    else:
        heights, text = values, "eigenvalues"
    low, high = float(min(heights.min(), heights.max() if by_logarithm else 0.0)), float(heights.max())
    if not by_logarithm:
        high = max(high, 0.0)
    span = (high - low) or 1.0
    shown = _thinned(len(values))

    def down(height: float) -> float:
        return 20 + HIGH - (height - low) / span * HIGH

    body = [written(text, (0, 8), SMALL, anchor="start")]
    body.append(f'<path d="M0 20V{20 + HIGH}H{SIDE}" fill="none" stroke="currentColor" stroke-opacity="0.5"/>')
    if not by_logarithm and low < 0 < high:
        body.append(f'<path d="M0 {down(0):.1f}H{SIDE}" stroke="currentColor" stroke-opacity="0.5"/>')
    for k in shown:
        x = (k + 0.5) / len(values) * SIDE
        colour = RED if values[k] < 0 else BLUE
        body.append(f'<circle cx="{x:.1f}" cy="{down(float(heights[k])):.1f}" r="2.4" fill="{colour}"/>')
    ends = [(high, f"{values[sizes.argmax()]:.3g}" if by_logarithm else f"{high:.3g}")]
    ends.append((low, f"{low:.3g}" if not by_logarithm else f"{floor:.3g}"))
    for height, label in ends:
        body.append(written(label.replace("-", "−"), (SIDE + 6, down(height) + 4), SMALL, anchor="start"))
    if (values < 0).any():
        count = int((values < 0).sum())
        body.append(written(f"{count} of {len(values)} negative: red", (0, 38 + HIGH), SMALL, anchor="start"))
    return "".join(body)


def _thinned(count: int, most: int = 400) -> list[int]:
    return list(range(count)) if count <= most else [int(k) for k in np.linspace(0, count - 1, most)]
