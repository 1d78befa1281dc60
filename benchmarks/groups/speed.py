"""Run time of each kind of question against its peers and against the closed form by hand."""

import functools
import importlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from benchmarks import closed_forms, peers
from benchmarks.cases import CASES, Case
from benchmarks.groups import speed_table
from benchmarks.report import REMARKS, Group, Line, Row, Setting, failure
from benchmarks.timing import Contender, Effort, alternate, compiled


def measured(case: Case, setting: Setting) -> Iterator[Line]:
    """The lines of one case."""
    row = measure(case, setting.effort, importlib.import_module("benchmarks.ours") if setting.nablax else None)
    yield from (Line("Summary", cells) for cells in speed_table.summary_cells(row, setting.machine))
    yield from (Line("Every contender", cells) for cells in speed_table.detail_cells(row))
    yield from (Line(REMARKS, (note,)) for note in speed_table.remarks(row))


def measure(case: Case, effort: Effort, ours: Any) -> speed_table.Row:
    """One row: plan, compile, compare, time."""
    arguments = case.arguments()
    plan_seconds, nablax, why = None, None, ""
    if ours is not None:
        try:
            plan_seconds, _ = ours.plan_seconds(case, arguments)
            nablax = ours.contender(case, arguments)
        except Exception as error:  # a row that fails is shown, and its peers are still measured
            why = failure(error)
    prepared = [peer(case, arguments) for name in case.peers for peer in peers.PEERS[name]]
    answering = [p for p in prepared if isinstance(p, Contender)]
    refusals = [p for p in prepared if isinstance(p, str)]
    closed = None
    if case.closed_form is not None:
        closed = compiled("closed form", getattr(closed_forms, case.closed_form), arguments)
    contenders = [*answering, *[c for c in (closed, nablax) if c is not None]]
    reference = closed or next(c for c in answering if c.result is not None)
    columns = np.asarray(peers.sample_of_columns(arguments, case.sample)) if case.question == "diagonal" else None
    errors = {
        c.name: e
        for c in contenders
        if c is not reference and (e := relative_error(c.result, reference.result, columns)) is not None
    }
    measurements = alternate(contenders, effort)
    of = {m.contender.name: m for m in measurements}
    known = [c.compile_seconds for c in answering if c.name == "jax.hessian"]
    answer = closed or nablax or reference
    return speed_table.Row(
        case=case,
        peers=measurements[: len(answering)],
        refusals=refusals,
        closed_form=of.get("closed form"),
        nablax=of.get("nablax"),
        failure=why,
        errors=errors,
        reference=reference.name,
        plan_seconds=plan_seconds,
        dense_compile_seconds=known[0] if known else peers.dense_compile_seconds(case, arguments),
        flops=answer.flops if answer.flops and answer.scale == 1.0 else 0.0,
        bytes=sum(leaf.nbytes for leaf in jax.tree.leaves((arguments, answer.result))),
    )


def relative_error(result: Any, reference: Any, columns: np.ndarray | None) -> float | None:
    """Largest difference over the reference's largest entry; a sample is compared with its own entries."""
    if result is None:
        return None
    a, b = (np.asarray(ravel_pytree(tree)[0], np.float64) for tree in (result, reference))
    if columns is not None and a.size != b.size:
        a, b = (x if x.size == columns.size else x[columns] for x in (a, b))
    return float(np.max(np.abs(a - b)) / np.max(np.abs(b))) if a.size == b.size else None


GROUP = Group(
    "speed",
    {"Summary": speed_table.SUMMARY, "Every contender": speed_table.DETAILS},
    tuple(Row(case.name, functools.partial(measured, case)) for case in CASES),
    legend=(
        "The loops run a sample of the columns; their times are scaled to all columns.",
        "`error`: largest difference to the reference, over the reference's largest entry; "
        f"allowed is {speed_table.TOLERANCE:g}.",
        "`plan s`: tracing and planning for the first time. `compile s`: XLA's time; `jit(jax.hessian)`'s.",
        "`Mflop`: of the closed form (of nablax where there is none), as XLA counts them; `MB`: of the arguments and "
        "the answer; `floor ms`: those flops at the device's matrix product speed or those bytes at its copying speed, "
        "whichever is longer; `GFLOP/s`: those flops over nablax's time.",
        "`core %`: share of the core that the process had. Samples with something else running are left out; where too "
        "few others are left, `processor time` is given in place of time on the clock.",
    ),
)
