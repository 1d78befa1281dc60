"""A measured row of the speed table, and its cells."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.cases import Case
from benchmarks.report import milliseconds, significant, verdict
from benchmarks.timing import Machine, Measurement

LOOPS = ("vmapped products", "lax.map of eᵀHe", "Python loop")
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
