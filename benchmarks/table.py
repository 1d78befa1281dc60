"""A measured row, and the table of rows for a terminal and for RESULTS.md."""

import datetime
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import jax
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.cases import Case
from benchmarks.timing import Machine, Measurement

LOOPS = ("vmapped products", "lax.map of eᵀHe", "Python loop")
NOISE = 0.03
TOLERANCE = 1e-4  # float32 sums of some thousand terms


@dataclass(frozen=True)
class Row:
    """What was measured for one case.

    Attributes:
        case: the row's question and targets.
        peers: measurements of the peers that could answer.
        refusals: sentences of those that could not.
        closed_form: the closed form by hand.
        nablax: None where it was left out or failed.
        failure: why nablax failed.
        errors: contender's name to its largest error relative to the reference's largest entry.
        reference: what the errors are relative to.
        plan_seconds: nablax's first trace and plan.
        dense_compile_seconds: XLA's time for `jit(jax.hessian)` of the same function.
        flops: of the closed form (of nablax where there is none), as XLA counts them.
        bytes: of the arguments and the answer: nobody can move less.
    """

    case: Case
    peers: Sequence[Measurement]
    refusals: Sequence[str] = ()
    closed_form: Measurement | None = None
    nablax: Measurement | None = None
    failure: str = ""
    errors: dict[str, float] = field(default_factory=dict)
    reference: str = ""
    plan_seconds: float | None = None
    dense_compile_seconds: float | None = None
    flops: float = 0.0
    bytes: float = 0.0

    def measurements(self) -> list[Measurement]:
        """Everybody, in the order of the table."""
        return [*self.peers, *[m for m in (self.closed_form, self.nablax) if m is not None]]

    def best_peer(self, group: str) -> Measurement | None:
        """The fastest of a named group of peers."""
        names = LOOPS if group == "JAX loop" else (group,)
        return min(
            (m for m in self.peers if m.contender.name.startswith(names)),
            key=lambda m: m.median,
            default=None,
        )

    def floor_seconds(self, machine: Machine) -> float:
        """What this core needs for these flops or bytes, whichever is longer."""
        return machine.seconds(self.flops, self.bytes)


def verdict(achieved: float, target: float) -> str:
    """How `achieved` stands to `target`, larger being better; within the noise is said so."""
    if achieved >= target:
        return "pass"
    return "noise" if achieved >= target * (1 - NOISE) else "MISS"


def milliseconds(seconds: float | None) -> str:
    """Three significant digits, in milliseconds."""
    return "-" if seconds is None else f"{significant(1e3 * seconds)}"


def significant(value: float) -> str:
    """Three significant digits, never in powers of ten, thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - int(np.floor(np.log10(value))))}f}" if value > 0 else "0"


SUMMARY = (
    "question",
    "best peer",
    "peer ms",
    "by hand ms",
    "nablax ms",
    "peer / nablax",
    "nablax / by hand",
    "error",
    "plan s",
    "compile s (jax.hessian)",
    "Mflop",
    "MB",
    "floor ms",
    "GFLOP/s",
)


def summary_cells(row: Row, machine: Machine) -> list[list[str]]:
    """One line per target of the row."""
    lines = []
    for number, (group, at_least) in enumerate(row.case.at_least.items()):
        peer = row.best_peer(group)
        ratio = hand = ""
        if peer is None:
            ratio = f"(≥ {at_least:g}) not measured"
        elif row.nablax is None:
            ratio = f"(≥ {at_least:g})" + (" MISS" if row.failure else "")
        else:
            achieved = peer.median / row.nablax.median
            ratio = f"{significant(achieved)} (≥ {at_least:g}) {verdict(achieved, at_least)}"
        if row.case.at_most is not None:
            hand = f"(≤ {row.case.at_most:g})"
            if row.nablax is not None and row.closed_form is not None:
                achieved = row.nablax.median / row.closed_form.median
                hand = f"{significant(achieved)} {hand} {verdict(1 / achieved, 1 / row.case.at_most)}"
        timed = row.nablax or row.closed_form
        own = [
            milliseconds(row.closed_form.median) if row.closed_form else "-",
            milliseconds(row.nablax.median) if row.nablax else ("failed" if row.failure else "-"),
        ]
        rest = [
            hand,
            _error(row.errors.get("nablax")),
            _at_most(row.plan_seconds, 1.0),
            _compile(row),
            significant(row.flops / 1e6),
            significant(row.bytes / 1e6),
            milliseconds(row.floor_seconds(machine)),
            significant(row.flops / timed.median / 1e9) if timed and row.flops else "-",
        ]
        lines.append(
            [
                row.case.name if number == 0 else "",
                peer.contender.name if peer else group,
                milliseconds(peer.median if peer else None),
                *(own if number == 0 else [""] * 2),
                ratio,
                *(rest if number == 0 else [""] * len(rest)),
            ]
        )
    return lines


def _error(error: float | None) -> str:
    return "-" if error is None else f"{error:.0e}" + (" MISS" if not error <= TOLERANCE else "")


def _at_most(seconds: float | None, target: float) -> str:
    return "-" if seconds is None else f"{seconds:.2f} {'pass' if seconds <= target else 'MISS'}"


def _compile(row: Row) -> str:
    dense = row.dense_compile_seconds
    reference = f"({dense:.2f})" if dense is not None else "(-)"
    if row.nablax is None or row.nablax.contender.compile_seconds is None:
        return f"- {reference}"
    own = row.nablax.contender.compile_seconds
    mark = "" if dense is None else " pass" if own <= 2 * dense else " MISS"
    return f"{own:.2f} {reference}{mark}"


DETAILS = ("question", "contender", "ms", "± %", "samples", "core %", "trace s", "compile s", "error")


def detail_cells(row: Row) -> list[list[str]]:
    """One line per contender."""
    lines = []
    for number, m in enumerate(row.measurements()):
        c = m.contender
        error = row.errors.get(c.name)
        lines.append(
            [
                row.case.name if number == 0 else "",
                c.name,
                milliseconds(m.median),
                f"{100 * m.spread:.0f}",
                str(len(m.seconds)),
                f"{100 * m.core_share:.0f}" + (" processor time" if m.disturbed else ""),
                "-" if c.trace_seconds is None else f"{c.trace_seconds:.2f}",
                "-" if c.compile_seconds is None else f"{c.compile_seconds:.2f}",
                "reference" if c.name == row.reference else "-" if error is None else f"{error:.0e}",
            ]
        )
    return lines


def remarks(row: Row) -> list[str]:
    """What the numbers alone do not say."""
    notes = [*row.refusals]
    if row.failure:
        notes.append(f"nablax failed: {row.failure}")
    if row.case.remark:
        notes.append(row.case.remark)
    return [f"{row.case.name}: {note}" for note in notes]


def show(console: Console, rows: Sequence[Row], machine: Machine) -> None:
    """Both tables, on a terminal."""
    for title, head, cells in _tables(rows, machine):
        table = Table(*head, title=title, title_justify="left", box=box.SIMPLE_HEAD)
        for line in cells:
            table.add_row(*[_coloured(cell) for cell in line])
        console.print(table)
    for row in rows:
        for note in remarks(row):
            console.print(note, markup=False)


def _coloured(cell: str) -> str:
    for word, colour in (("pass", "green"), ("noise", "yellow"), ("MISS", "red"), ("failed", "red")):
        if cell.endswith(word):
            return f"{cell.removesuffix(word)}[{colour}]{word}[/{colour}]"
    return cell


def _tables(rows: Sequence[Row], machine: Machine) -> Iterable[tuple[str, Sequence[str], list[list[str]]]]:
    yield "Speed", SUMMARY, [line for row in rows for line in summary_cells(row, machine)]
    yield "Every contender", DETAILS, [line for row in rows for line in detail_cells(row)]


def markdown(rows: Sequence[Row], machine: Machine) -> str:
    """The content of RESULTS.md."""
    lines = [
        "# Speed",
        "",
        f"Written by `python -m benchmarks` on {datetime.date.today():%Y-%m-%d}: {machine.processor}, one "
        f"pinned core, Python {platform.python_version()}, jax {jax.__version__}. "
        f"The core multiplies float32 matrices at {machine.flops_per_second / 1e9:.0f} GFLOP/s and copies at "
        + ", ".join(f"{speed / 1e9:.0f} GB/s ({n / 1e6:.0f} MB)" for n, speed in machine.copying)
        + ", bytes read and written.",
        "",
        "Medians of alternating runs of all contenders in one process; data are arguments of the jitted "
        "functions; compilation is apart; freed memory is kept by the process, for every contender alike.",
        "",
        "- The loops run a sample of the columns; their times are scaled to all columns.",
        f"- `noise`: a target missed by less than {100 * NOISE:.0f} %.",
        "- `error`: largest difference to the reference, over the reference's largest entry; "
        f"allowed is {TOLERANCE:g}.",
        "- `plan s`: tracing and planning for the first time. `compile s`: XLA's time; `jit(jax.hessian)`'s.",
        "- `Mflop`: of the closed form (of nablax where there is none), as XLA counts them; `MB`: of the "
        "arguments and the answer; `floor ms`: those flops at the core's matrix product speed or those bytes "
        "at its copying speed, whichever is longer; `GFLOP/s`: those flops over nablax's time.",
        "- `core %`: share of the core that the process had. Samples with something else running are left "
        "out; where too few others are left, `processor time` is given in place of time on the clock.",
    ]
    for title, head, cells in _tables(rows, machine):
        lines += ["", f"## {title}", "", _line(head), _line(["---"] * len(head)), *map(_line, cells)]
    notes = [note for row in rows for note in remarks(row)]
    if notes:
        lines += ["", "## Remarks", "", *[f"- {note}" for note in notes]]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
