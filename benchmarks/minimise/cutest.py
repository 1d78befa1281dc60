"""The unconstrained problems of sif2jax, with every solver; results are kept, so that a run can be resumed."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from benchmarks.minimise.peers import DENSE, LARGEST_DENSE, SOLVERS, Compiled

KEPT = Path(__file__).with_name("kept.jsonl")
# A step that has no common divisor with the number of problems visits them scattered: a part of a run is a sample.
SCATTER = 71


def kept() -> dict[tuple[str, str], dict[str, Any]]:
    """Results of earlier runs, by problem and solver; the newest counts."""
    if not KEPT.exists():
        return {}
    rows = [json.loads(line) for line in KEPT.read_text().splitlines() if line.strip()]
    return {(row["problem"], row["solver"]): row for row in rows}


def problems(only: list[str], most: int) -> Iterator[Any]:
    """The problems whose name contains one of some parts, in their fixed scattered order."""
    import sif2jax  # noqa: PLC0415, it takes a minute

    listed = sorted(sif2jax.unconstrained_minimisation_problems, key=lambda problem: str(problem.name))
    count = len(listed)
    for k in range(count):
        problem = listed[(k * SCATTER) % count]
        if only and not any(part.lower() in problem.name.lower() for part in only):
            continue
        start = problem.y0
        if sum(leaf.size for leaf in jax.tree.leaves(start)) <= most:
            yield problem


def measure(only: list[str], solvers: list[str], most: int, limit: float, seconds: float, again: bool) -> None:
    """Run what is not kept yet, until the time is over.

    Args:
        only: parts of names of problems; all where empty.
        solvers: names of solvers; all where empty.
        most: unknowns.
        limit: of one solver on one problem (seconds).
        seconds: of all together.
        again: whether kept results are measured anew.
    """
    done = {} if again else kept()
    begin = time.perf_counter()
    for problem in problems(only, most):
        missing = [s for s in SOLVERS if (not solvers or s in solvers) and (problem.name, s) not in done]
        for solver in missing:
            # derivatives of one solver's own, so that each pays for compiling what it uses
            ready = Compiled(problem.objective, problem.y0, problem.args)
            if time.perf_counter() - begin > seconds:
                return
            row = {"problem": problem.name, "n": int(ready.start.size), "solver": solver, "limit": limit}
            row |= _measured(ready, solver, limit)
            with KEPT.open("a") as file:
                file.write(json.dumps(row) + "\n")
            state = "solved" if row["solved"] else row["note"]
            print(
                f"{problem.name} n={row['n']} {solver}: {state}, {row['evaluations']} evaluations, {row['warm']:.4g} s"
            )
        if missing:
            del ready
            jax.clear_caches()
            gc.collect()


def _measured(ready: Compiled, solver: str, limit: float) -> dict[str, Any]:
    if solver in DENSE and ready.start.size > LARGEST_DENSE:
        return {"solved": False, "value": None, "evaluations": 0, "second": 0, "cold": 0.0, "warm": 0.0,
                "note": "not run: holds an n × n matrix"}  # fmt: skip
    try:
        cold = SOLVERS[solver](ready, limit)
        warm = SOLVERS[solver](ready, limit) if cold.seconds < limit else cold
    except Exception as error:  # shown in the table
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
        return {"solved": False, "value": None, "evaluations": 0, "second": 0, "cold": 0.0, "warm": 0.0, "note": text}
    return {
        "solved": warm.solved, "value": warm.value, "evaluations": warm.evaluations, "second": warm.second,
        "cold": cold.seconds, "warm": warm.seconds, "note": warm.note,
    }  # fmt: skip
