"""`python -m benchmarks [--only PART] [--quick] [--without-nablax]`."""

import importlib
import pathlib
from typing import Annotated, Any

import jax
import numpy as np
import typer
from jax.flatten_util import ravel_pytree
from rich.console import Console

from benchmarks import closed_forms, peers, table
from benchmarks.cases import CASES, Case
from benchmarks.timing import Contender, Effort, alternate, compiled, measure_machine

RESULTS = pathlib.Path(__file__).with_name("RESULTS.md")


def main(
    only: Annotated[list[str] | None, typer.Option(help="Rows whose name contains this; repeatable.")] = None,
    quick: Annotated[bool, typer.Option(help="Few runs; RESULTS.md is left alone.")] = False,
    without_nablax: Annotated[bool, typer.Option(help="Peers and closed forms only.")] = False,
) -> None:
    """Measures the rows of the speed table, prints them and writes benchmarks/RESULTS.md."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    cases = [c for c in CASES if not only or any(part.lower() in c.name.lower() for part in only)]
    if not cases:
        raise typer.BadParameter("no row has such a name; rows: " + "; ".join(c.name for c in CASES))
    effort = Effort(runs=7, seconds=0.2) if quick else Effort()
    ours = None if without_nablax else importlib.import_module("benchmarks.ours")
    machine = measure_machine()
    rows = []
    for case in cases:
        console.print(f"measuring {case.name} …", style="dim", highlight=False)
        rows.append(measure(case, effort, ours))
    table.show(console, rows, machine)
    if len(cases) == len(CASES) and not quick and not without_nablax:
        RESULTS.write_text(table.markdown(rows, machine), encoding="utf-8")
        console.print(f"written: {RESULTS.parent.name}/{RESULTS.name}")
    else:
        console.print("RESULTS.md is written by a full run only")


def measure(case: Case, effort: Effort, ours: Any) -> table.Row:
    """One row: plan, compile, compare, time."""
    arguments = case.arguments()
    plan_seconds, nablax, failure = None, None, ""
    if ours is not None:
        try:
            plan_seconds, _ = ours.plan_seconds(case, arguments)
            nablax = ours.contender(case, arguments)
        except Exception as error:  # a row that fails is shown, and the others still run
            failure = f"{type(error).__name__}: {error}".splitlines()[0]
    prepared = [peer(case, arguments) for name in case.peers for peer in peers.PEERS[name]]
    answering = [p for p in prepared if isinstance(p, Contender)]
    refusals = [p for p in prepared if isinstance(p, str)]
    closed = None
    if case.closed_form is not None:
        closed = compiled("closed form", getattr(closed_forms, case.closed_form), arguments)
    contenders = [*answering, *[c for c in (closed, nablax) if c is not None]]
    reference = closed or next(c for c in answering if c.result is not None)
    columns = np.asarray(peers.sample_of_columns(arguments)) if case.question == "diagonal" else None
    errors = {
        c.name: e
        for c in contenders
        if c is not reference and (e := relative_error(c.result, reference.result, columns)) is not None
    }
    measured = alternate(contenders, effort)
    of = {m.contender.name: m for m in measured}
    known = [c.compile_seconds for c in answering if c.name == "jax.hessian"]
    answer = closed or nablax or reference
    return table.Row(
        case=case,
        peers=measured[: len(answering)],
        refusals=refusals,
        closed_form=of.get("closed form"),
        nablax=of.get("nablax"),
        failure=failure,
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


if __name__ == "__main__":
    typer.run(main)
