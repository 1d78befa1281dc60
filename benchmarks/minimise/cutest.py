"""The unconstrained problems of sif2jax, with every solver; results are kept, so that a run can be resumed."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

from benchmarks.minimise.peers import DENSE, LARGEST_DENSE, SOLVERS, Compiled, Run

# Unknowns of the largest problem that is run.
LARGEST = 1_000_000
KEPT = Path(__file__).with_name("kept.jsonl")
# A step that has no common divisor with the number of problems visits them scattered: a part of a run is a sample.
SCATTER = 71
# Runs whose median counts: so many, or as many as take this long (seconds).
MOST_RUNS, ENOUGH_SECONDS = 9, 0.1


def kept() -> dict[tuple[str, str], dict[str, Any]]:
    """Results of earlier runs, by problem and solver; the newest counts."""
    if not KEPT.exists():
        return {}
    rows = [json.loads(line) for line in KEPT.read_text().splitlines() if line.strip()]
    return {(row["problem"], row["solver"]): row for row in rows}


def problems(only: list[str], most: int) -> Iterator[Any]:
    """The problems whose name contains one of some parts, in their fixed scattered order."""
    listed = sorted(_unconstrained(), key=lambda problem: str(problem.name))
    count = len(listed)
    for k in range(count):
        problem = listed[(k * SCATTER) % count]
        if only and not any(part.lower() in problem.name.lower() for part in only):
            continue
        start = problem.y0
        if sum(leaf.size for leaf in jax.tree.leaves(start)) <= most:
            yield problem


@cache
def _unconstrained() -> Any:
    """The problems, without the thousand others of sif2jax, whose import takes a minute."""
    found = importlib.util.find_spec("sif2jax")
    assert found is not None
    assert found.submodule_search_locations is not None
    [root] = found.submodule_search_locations
    for name, folder in (("sif2jax", Path(root)), ("sif2jax.cutest", Path(root) / "cutest")):
        empty = ModuleType(name)
        empty.__path__ = [str(folder)]
        sys.modules.setdefault(name, empty)
    return importlib.import_module("sif2jax.cutest._unconstrained_minimisation").unconstrained_minimisation_problems


def measure(only: list[str], solvers: list[str], most: int, limit: float, seconds: float, since: str) -> None:
    """Run what is not kept yet, until the time is over.

    Args:
        only: parts of names of problems; all where empty.
        solvers: names of solvers; all where empty.
        most: unknowns.
        limit: of one solver on one problem (seconds).
        seconds: of all together.
        since: what was measured before this time (UTC, ISO format) is measured anew; nothing where empty. The same call
            resumes what was interrupted.
    """
    done = {key: row for key, row in kept().items() if row.get("when", "") >= since}
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
            row["when"] = datetime.now(UTC).isoformat(timespec="seconds")
            done[problem.name, solver] = row
            with KEPT.open("a") as file:
                file.write(json.dumps(row) + "\n")
            state = "solved" if row["solved"] else row["note"]
            print(
                f"{problem.name} n={row['n']} {solver}: {state}, {row['evaluations']} evaluations, {row['warm']:.4g} s",
                flush=True,
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
        warm = _warm(ready, solver, limit) if cold.seconds < limit else cold
    except Exception as error:  # shown in the table
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
        return {"solved": False, "value": None, "evaluations": 0, "second": 0, "cold": 0.0, "warm": 0.0, "note": text}
    return {
        "solved": warm.solved, "value": warm.value, "evaluations": warm.evaluations, "second": warm.second,
        "cold": cold.seconds, "warm": warm.seconds, "note": warm.note,
    }  # fmt: skip


def _warm(ready: Compiled, solver: str, limit: float) -> Run:
    """The run of median time; one run where it is long."""
    runs = [SOLVERS[solver](ready, limit)]
    while len(runs) < MOST_RUNS and sum(run.seconds for run in runs) < ENOUGH_SECONDS:
        runs.append(SOLVERS[solver](ready, limit))
    return sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]
