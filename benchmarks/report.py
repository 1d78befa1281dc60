"""Groups, rows, lines: what is measured, and how it stands on a terminal and in RESULTS.md."""

import datetime
import pathlib
import platform
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import jax
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.timing import Effort, Machine

NOISE = 0.03
# A growth with an exponent up to this is called linear: fixed costs and caches bend a line this much.
LINEAR = 1.15
REMARKS = "Remarks"

INTRODUCTION = """\
# Benchmarks

One section per group; `python -m benchmarks --group NAME` measures one anew, `make bench` all of them.

Medians of alternating runs of all contenders of a row in one process, on one pinned core or one other device; data are
arguments of the jitted functions; planning, XLA's compilation and running are apart; each row has a process of its own.
Freed memory is kept by the process, for every contender alike. Targets stand in brackets; `noise` is a target missed by
less than 3 %.
"""


@dataclass(frozen=True)
class Setting:
    """How to measure.

    Attributes:
        effort: samples of each contender.
        nablax: whether nablax takes part.
        quick: only the smaller sizes.
        machine: what the device can do.
    """

    effort: Effort
    nablax: bool
    quick: bool
    machine: Machine


@dataclass(frozen=True)
class Line:
    """A line of a table of the group; of the table `Remarks` it has one cell, a sentence."""

    table: str
    cells: Sequence[str]


@dataclass(frozen=True)
class Row:
    """A row, or a family of rows that differ in size; lines are given as they are measured.

    Attributes:
        name: unique in its group; `--only` looks for a part of it.
        measure: gives the lines.
        limit: seconds after which its process is ended.
    """

    name: str
    measure: Callable[[Setting], Iterable[Line]]
    limit: float = 900.0


@dataclass(frozen=True)
class Group:
    """A section of RESULTS.md.

    Attributes:
        name: `--group` takes it.
        tables: titles, and the heads of their columns.
        rows: what is measured.
        legend: what the columns mean.
    """

    name: str
    tables: Mapping[str, Sequence[str]]
    rows: Sequence[Row]
    legend: Sequence[str] = ()


@dataclass
class Section:
    """The lines of one group, and when and where they were measured."""

    group: Group
    machine: Machine
    lines: list[Line] = field(default_factory=list)

    def table(self, title: str) -> list[Sequence[str]]:
        """The lines of one table."""
        return [line.cells for line in self.lines if line.table == title]

    def show(self, console: Console) -> None:
        """On a terminal."""
        for title, head in self.group.tables.items():
            if not self.table(title):
                continue
            table = Table(*head, title=f"{self.group.name}: {title}", title_justify="left", box=box.SIMPLE_HEAD)
            for cells in self.table(title):
                table.add_row(*[_coloured(cell) for cell in cells])
            console.print(table)
        for (note,) in self.table(REMARKS):
            console.print(note, markup=False)

    def markdown(self) -> str:
        """The group's part of RESULTS.md."""
        machine = self.machine
        lines = [
            f"## {self.group.name}",
            "",
            f"Written by `python -m benchmarks --group {self.group.name}` on {datetime.date.today():%Y-%m-%d}: "
            f"{machine.processor}, Python {platform.python_version()}, jax {jax.__version__}. It multiplies float32 "
            f"matrices at {machine.flops_per_second / 1e9:,.0f} GFLOP/s and copies at "
            + ", ".join(f"{speed / 1e9:,.0f} GB/s ({n / 1e6:.0f} MB)" for n, speed in machine.copying)
            + ", bytes read and written.",
            "",
            *[f"- {sentence}" for sentence in self.group.legend],
        ]
        for title, head in self.group.tables.items():
            lines += ["", f"### {title}", "", _line(head), _line(["---"] * len(head)), *map(_line, self.table(title))]
        notes = self.table(REMARKS)
        if notes:
            lines += ["", f"### {REMARKS}", "", *[f"- {note}" for (note,) in notes]]
        return "\n".join(lines) + "\n"


def write(path: pathlib.Path, section: Section, order: Sequence[str]) -> None:
    """Replaces the section of one group and leaves the others.

    Args:
        path: of RESULTS.md.
        section: the section.
        order: names of all groups, in the order in which they stand.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    known = {part.splitlines()[0].removeprefix("## "): part.rstrip() + "\n" for part in parts if part.startswith("## ")}
    known[section.group.name] = section.markdown()
    path.write_text("\n".join([INTRODUCTION, *[known[name] for name in order if name in known]]), encoding="utf-8")


# -- cells ---------------------------------------------------------------------------------------------------------


def verdict(achieved: float, target: float) -> str:
    """How `achieved` stands to `target`, larger being better; within the noise is said so."""
    if achieved >= target:
        return "pass"
    return "noise" if achieved >= target * (1 - NOISE) else "MISS"


def at_least(achieved: float | None, target: float | None) -> str:
    """A number that should be large, with its target."""
    if achieved is None:
        return "-" if target is None else f"(≥ {target:g})"
    if target is None:
        return significant(achieved)
    return f"{significant(achieved)} (≥ {target:g}) {verdict(achieved, target)}"


def at_most(achieved: float | None, target: float | None) -> str:
    """A number that should be small, with its target."""
    if achieved is None:
        return "-" if target is None else f"(≤ {target:g})"
    if target is None:
        return significant(achieved)
    return f"{significant(achieved)} (≤ {target:g}) {verdict(1 / max(achieved, 1e-12), 1 / target)}"


def quotient(a: float | None, b: float | None) -> float | None:
    """A / b where both are known."""
    return None if a is None or b is None else a / b


def milliseconds(seconds: float | None) -> str:
    """Three significant digits, in milliseconds."""
    return "-" if seconds is None else significant(1e3 * seconds)


def seconds_cell(seconds: float | None) -> str:
    """Three significant digits, in seconds."""
    return "-" if seconds is None else significant(seconds)


def megabytes(count: float | None) -> str:
    """Three significant digits, in 10⁶ bytes."""
    return "-" if count is None else significant(count / 1e6)


def error_cell(error: float | None, tolerance: float) -> str:
    """One digit, and whether it is too large."""
    return "-" if error is None else f"{error:.0e}" + (" MISS" if not error <= tolerance else "")


def significant(value: float) -> str:
    """Three significant digits, never in powers of ten, thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - int(np.floor(np.log10(value))))}f}" if value > 0 else "0"


def exponent(sizes: Sequence[float], values: Sequence[float | None]) -> float | None:
    """The slope of the line through the logarithms; None with fewer than two values."""
    known = [(size, value) for size, value in zip(sizes, values, strict=True) if value]
    if len(known) < 2:
        return None
    return float(np.polyfit(*np.log(np.array(known)).T, 1)[0])


def failure(error: BaseException) -> str:
    """The first line of an error."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def _coloured(cell: str) -> str:
    for word, colour in (("pass", "green"), ("noise", "yellow"), ("MISS", "red"), ("failed", "red")):
        if cell.endswith(word):
            return f"{cell.removesuffix(word)}[{colour}]{word}[/{colour}]"
    return cell


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
