"""A report as a page for people and as JSON for machines."""

from __future__ import annotations

import json
import math
import textwrap
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from nablax.app.report import Eigenvalues, Report

SCHEMA = 1
"""Number of the JSON layout; grows when a name changes its meaning or disappears."""

MOST_COLUMNS = 6
"""Leaves up to which the blocks are shown as a grid."""


# -- JSON ------------------------------------------------------------------------------------------


def to_json(report: Report) -> str:
    """The report as one JSON object; numbers that are not finite are null."""
    found = report.eigenvalues
    document = {
        "schema": SCHEMA,
        "target": report.target,
        "value": report.value,
        "parameters": report.parameters,
        "dtypes": list(report.dtypes),
        "gradient": {
            "norm": report.gradient_norm,
            "zero_below": report.gradient_zero_below,
            "is_zero": report.stationary,
        },
        "hessian": {
            "shape": [report.parameters, report.parameters],
            "bytes": report.hessian_bytes,
            "leaves": [
                {
                    "path": leaf.path,
                    "shape": list(leaf.shape),
                    "dtype": leaf.dtype,
                    "parameters": leaf.size,
                    "diagonal_min": leaf.diagonal_min,
                    "diagonal_max": leaf.diagonal_max,
                    "trace": leaf.trace,
                }
                for leaf in report.leaves
            ],
            "blocks": [
                {
                    "row": block.row,
                    "column": block.column,
                    "shape": list(block.shape),
                    "structure": block.structure,
                    "nonzeros": block.nonzeros,
                }
                for block in report.blocks
            ],
        },
        "diagonal": {"min": report.diagonal_min, "max": report.diagonal_max},
        "trace": report.trace,
        "eigenvalues": found
        and {
            "min": found.smallest,
            "max": found.largest,
            "method": found.method,
            "tolerance": found.tolerance,
            "residual_min": found.smallest_residual,
            "residual_max": found.largest_residual,
            "products": found.products,
            "zero_below": found.zero_below,
        },
        "verdict": {"kind": report.verdict.name.lower(), "sentence": report.verdict.value},
        "plans": [
            {
                "question": plan.question,
                "strategy": plan.strategy,
                "candidates": plan.candidates,
                "flops": plan.flops,
                "bytes_moved": plan.moved,
                "peak_bytes": plan.peak,
                "explanation": plan.explanation,
            }
            for plan in report.plans
        ],
        "seconds": {**report.seconds, "total": report.total_seconds},
    }
    return json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# -- the page --------------------------------------------------------------------------------------


def show(report: Report, console: Console) -> None:
    """Print the report."""
    title = Rule(Text(report.target, "bold"), align="left", style="dim")
    parts: list[RenderableType] = [title, _facts(report)]
    parts += [_heading("Leaves"), _leaves(report)]
    if 1 < len(report.leaves) <= MOST_COLUMNS and all(block.nonzeros is not None for block in report.blocks):
        parts += [_heading("Blocks"), _grid(report)]
    parts += [_heading("Plans"), _plans(report)]
    first = report.plans[0]
    parts += [_heading(f"The plan of the {first.question}"), *_explanation(first.explanation, console.width)]
    parts += [_heading("Time"), _indented(_time(report))]
    console.print(Group(*parts))


def _heading(text: str) -> RenderableType:
    return Text(f"\n{text}", "bold")


def _indented(inner: str) -> RenderableType:
    return Padding(Text(inner), (0, 0, 0, 2), expand=False)


def _facts(report: Report) -> RenderableType:
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("value", number(report.value))
    below = f"counts as zero up to {report.gradient_zero_below:.1e}" if report.eigenvalues else ""
    table.add_row("gradient norm", _with_note(number(report.gradient_norm), below))
    count = len(report.leaves)
    table.add_row(
        "parameters",
        f"{report.parameters:,} in {count} {'leaf' if count == 1 else 'leaves'}, {', '.join(report.dtypes)}",
    )
    side = f"{report.parameters:,} × {report.parameters:,}"
    blocks = f"{count} × {count} {'block' if count == 1 else 'blocks'}"
    table.add_row("Hessian", f"{side}, {blocks}, {_bytes(report.hessian_bytes)} if formed")
    table.add_row("diagonal", _with_note(_range(report.diagonal_min, report.diagonal_max), "exact"))
    table.add_row("trace", _with_note(number(report.trace), "exact"))
    table.add_row("eigenvalues", _eigenvalues(report.eigenvalues))
    table.add_row("the point is", Text(report.verdict.value, "bold"))
    return table


def _eigenvalues(found: Eigenvalues | None) -> Text:
    if found is None:
        return Text("not available", "dim")
    span = _range(found.smallest, found.largest)
    if found.method == "dense":
        return _with_note(span, f"of the dense matrix; up to {found.zero_below:.1e} counts as zero")
    residuals = f"{found.smallest_residual:.0e} and {found.largest_residual:.0e}"
    return _with_note(
        span,
        f"Lanczos on {found.products} exact products, tolerance {found.tolerance:.0e}, "
        f"residuals {residuals}; up to {found.zero_below:.1e} counts as zero",
    )


def _leaves(report: Report) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1))
    table.add_column("leaf", overflow="fold")
    table.add_column("shape")
    for name in ("parameters", "diagonal min", "max", "trace"):
        table.add_column(name, justify="right", no_wrap=True)
    for leaf in report.leaves:
        shape = " × ".join(map(str, leaf.shape)) or "number"
        table.add_row(
            leaf.path,
            shape,
            f"{leaf.size:,}",
            number(leaf.diagonal_min, 4),
            number(leaf.diagonal_max, 4),
            number(leaf.trace, 5),
        )
    return Padding(table, (0, 0, 0, 1), expand=False)


def _grid(report: Report) -> RenderableType:
    """The upper triangle of blocks: what each is, and how many of its elements are not zero."""
    found = {(block.row, block.column): block for block in report.blocks}
    paths = [leaf.path for leaf in report.leaves]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1))
    table.add_column("", overflow="fold", style="cyan")
    for path in paths:
        table.add_column(path, justify="center", overflow="fold")
    for row in paths:
        cells = []
        for column in paths:
            block = found.get((row, column))
            structure = block.structure if block else ""
            cells.append(Text(structure, "dim" if structure == "zero" else ""))
        table.add_row(row, *cells)
    return Padding(table, (0, 0, 0, 1), expand=False)


def _plans(report: Report) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1))
    table.add_column("question")
    table.add_column("strategy")
    for name in ("candidates", "work", "moved", "held at once"):
        table.add_column(name, justify="right", no_wrap=True)
    for plan in report.plans:
        costs = (_scaled(plan.flops, "flop"), _bytes(plan.moved), _bytes(plan.peak))
        table.add_row(plan.question, plan.strategy, str(plan.candidates), *costs)
    return Padding(table, (0, 0, 0, 1), expand=False)


def _explanation(text: str, width: int) -> list[RenderableType]:
    """The plan's own lines; one that is too long goes on further in."""
    room = max(width - 2, 40)
    lines: list[RenderableType] = []
    for line in text.splitlines():
        wrapped = textwrap.wrap(line, room, subsequent_indent=" " * 12, break_long_words=False)
        lines += [Text(f"  {part}".rstrip(), no_wrap=True, overflow="ignore") for part in wrapped or [""]]
    return lines


def _with_note(text: str, note: str) -> Text:
    return Text.assemble(text, (f"  ({note})", "dim") if note else "")


def _time(report: Report) -> str:
    steps = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in report.seconds.items())
    return f"{report.total_seconds:.2f} s: {steps}"


def number(value: float, digits: int = 7) -> str:
    """A number with so many significant digits."""
    return f"{value:.{digits}g}"


def _range(low: float, high: float) -> str:
    return f"{number(low)} … {number(high)}"


def _bytes(count: float) -> str:
    return _scaled(count, "B")


def _scaled(count: float, unit: str) -> str:
    for limit, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= limit:
            return f"{count / limit:.3g} {prefix}{unit}"
    return f"{count:.0f} {unit}"
