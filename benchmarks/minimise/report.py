"""MINIMISE.md and its pictures, from what is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from benchmarks.minimise.cutest import LARGEST, kept, problems
from benchmarks.minimise.lines import KEPT as LINES
from benchmarks.minimise.lines import MANY
from benchmarks.minimise.peers import LARGEST_DENSE, MOST_ITERATIONS, SOLVERS
from benchmarks.minimise.regression import DESCENT, LOGISTIC
from benchmarks.timing import processor

mpl.use("Agg")
import matplotlib.pyplot as plt

mpl.rcParams["svg.hashsalt"] = "nablax"  # the same picture is the same file
FOLDER = Path(__file__).parents[1]
PICTURES = FOLDER / "pictures"
OURS = "nablax auto"
WORST = 64.0
MEASURES = {
    "evaluations": ("evaluations", "points at which f was evaluated"),
    "warm": ("time", "processor time, compilation apart"),
    "cold": ("time-with-compilation", "processor time, compilation included"),
}


def write() -> None:
    """Write the page from all that was ever measured."""
    PICTURES.mkdir(exist_ok=True)
    lines = ["# Minimisers and line searches", "", f"`make bench-minimise`; one core of: {processor()}.", ""]
    lines += [*_problems(), *_lines(), *_logistic(), *_descent()]
    (FOLDER / "MINIMISE.md").write_text("\n".join(lines).rstrip() + "\n")
    print("written: benchmarks/MINIMISE.md")


def _problems() -> Iterator[str]:
    rows = kept()
    names = sorted({problem for problem, _ in rows})
    listed = {problem.name for problem in problems([], LARGEST)}  # three stand twice in the set
    complete = [name for name in names if all((name, solver) in rows for solver in SOLVERS)]
    sizes = {name: next(row["n"] for (p, _), row in rows.items() if p == name) for name in names}
    # one that ended for another reason within less time needs no more of it
    limit = min((row["limit"] for row in rows.values() if "time" in row["note"]), default=0.0)
    yield "## Unconstrained problems of sif2jax"
    yield ""
    yield (
        f"From their starting points to ‖∇f‖∞ ≤ 1e-6 · max(1, ‖∇f₀‖∞), at most {MOST_ITERATIONS:,} iterations and {limit:g} s each "
        f"(longer ones count as not solved). All solvers have been run on {len(complete)} of its {len(listed)} different problems, of "
        f"{min(map(sizes.get, complete), default=0)} to {max(map(sizes.get, complete), default=0):,} unknowns. "  # type: ignore[type-var]
        f"Methods that hold an n × n matrix are not run beyond "
        f"{LARGEST_DENSE:,} unknowns and count as not solving these. SciPy's get jitted derivatives of JAX, and are stopped at the first "
        "point that is good enough. `evaluations`: points at which f, alone or with its gradient, was evaluated. Processor time; short runs "
        "once compiled: the median of up to nine."
    )
    yield ""
    yield "| solver | solved | fewest evaluations | fastest | fastest, compilation included |"
    yield "|---|---:|---:|---:|---:|"
    best = {measure: _wins(rows, complete, measure) for measure in MEASURES}
    for solver in SOLVERS:
        solved = sum(rows[name, solver]["solved"] for name in complete)
        yield f"| {solver} | {solved} | {best['evaluations'][solver]} | {best['warm'][solver]} | {best['cold'][solver]} |"
    yield ""
    for measure, (file, title) in MEASURES.items():
        _profile(rows, complete, measure, title, PICTURES / f"profile-{file}.svg")
        yield f"![Performance profile: {title}](pictures/profile-{file}.svg)"
    yield ""
    yield (
        "Performance profiles (Dolan and Moré 2002): the share of the problems that a solver solves within τ times what the best of "
        "all solvers takes."
    )
    yield ""
    ours = [row for (_, solver), row in rows.items() if solver == OURS]
    yield f"nablax was run on {len(ours)} of the problems and solved {sum(row['solved'] for row in ours)} of them. Not solved:"
    yield ""
    for row in sorted(ours, key=lambda row: str(row["problem"])):
        if not row["solved"]:
            yield f"- {row['problem']} (n = {row['n']:,}): {row['note']}"
    yield ""


def _wins(rows: Any, names: list[str], measure: str) -> dict[str, int]:
    found = dict.fromkeys(SOLVERS, 0)
    for name in names:
        cost = {s: rows[name, s][measure] for s in SOLVERS if rows[name, s]["solved"]}
        for solver, value in cost.items():
            found[solver] += value <= min(cost.values())
    return found


def _profile(rows: Any, names: list[str], measure: str, title: str, path: Path) -> None:
    ratios: dict[str, list[float]] = {solver: [] for solver in SOLVERS}
    for name in names:
        cost = {s: max(rows[name, s][measure], 1e-9) for s in SOLVERS if rows[name, s]["solved"]}
        for solver in SOLVERS:
            ratios[solver].append(cost[solver] / min(cost.values()) if solver in cost else np.inf)
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for k, (solver, found) in enumerate(ratios.items()):
        ordered = np.sort(found)
        reached = np.arange(1, len(ordered) + 1) / max(len(ordered), 1)
        inside = ordered <= WORST
        x = np.concatenate([[1.0], ordered[inside], [WORST]])
        last = reached[inside][-1] if inside.any() else 0.0
        y = np.concatenate([[0.0], reached[inside], [last]])
        style = {"linewidth": 2.6, "color": "black"} if solver == OURS else {"linewidth": 1.4, "color": f"C{k}"}
        axes.step(x, y, where="post", label=solver, **style)
    axes.set(
        xscale="log",
        xlim=(1, WORST),
        ylim=(0, 1.02),
        xlabel="τ: times the best",
        ylabel="share of the problems",
        title=title,
    )
    axes.set_xticks([1, 2, 4, 8, 16, 32, 64], labels=["1", "2", "4", "8", "16", "32", "64"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _section(path: Path, title: str, body: Callable[[Any], Iterator[str]]) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    if path.exists():
        yield from body(json.loads(path.read_text()))
    else:
        yield "Not measured yet."
    yield ""


def _lines() -> Iterator[str]:
    def body(rows: Any) -> Iterator[str]:
        yield f"A call, compiled, against SciPy's on a jitted function; and {MANY:,} at once by `vmap`. Target: 10 times faster."
        yield ""
        yield "| search | SciPy | difference | evaluations | SciPy's | µs | SciPy's µs | times faster | µs each of 10⁴ |"
        yield "|---|---|---:|---:|---:|---:|---:|---:|---:|"
        for r in rows:
            yield (
                f"| {r['ours']} | {r['peer']} | {r['difference']:.0e} | {r['our_evaluations']} | {r['peer_evaluations']} | "
                f"{r['our_seconds'] * 1e6:.1f} | {r['peer_seconds'] * 1e6:.0f} | {r['peer_seconds'] / r['our_seconds']:.0f} | "
                f"{r['many_seconds'] / MANY * 1e6:.2f} |"
            )
        yield ""
        yield "`difference`: of the minima; for `line_search`, by how much further φ falls at SciPy's acceptable step than at ours, relative."

    return _section(LINES, "Line searches", body)


def _logistic() -> Iterator[str]:
    def body(rows: Any) -> Iterator[str]:
        ours = next(row for row in rows if row["name"] == "nablax newton")
        yield "Rows 5000, columns 400, ridge 1, to a gradient of 1e-10 of the first. Target: 3 times faster."
        yield ""
        yield "| | first call s | next calls s | times nablax newton | gradient reached, of the first |"
        yield "|---|---:|---:|---:|---:|"
        for r in rows:
            times = r["warm"] / ours["warm"]
            yield f"| {r['name']} | {r['cold']:.2f} | {r['warm']:.3f} | {times:.1f} | {r['gradient']:.0e} |"

    return _section(LOGISTIC, "Logistic regression by Newton's method", body)


def _descent() -> Iterator[str]:
    def body(rows: Any) -> Iterator[str]:
        figure, axes = plt.subplots(figsize=(7, 4.0), layout="constrained")
        for name, marker in (("by hand", "o"), ("automatic", "x")):
            for k in range(3):
                axes.plot(
                    [r["n"] for r in rows], [r[name]["seconds"][k] * 1e3 for r in rows], marker, linestyle="-" if k == 1 else "",
                    color="C0" if name == "by hand" else "C1", label=name if k == 1 else None, fillstyle="none",
                )  # fmt: skip
        axes.set(
            xscale="log", yscale="log", xlabel="n", ylabel="ms", title="gradient descent to a step of 1e-9, three runs"
        )
        axes.grid(alpha=0.3)
        axes.legend()
        figure.savefig(PICTURES / "descent.svg", metadata={"Date": None})
        plt.close(figure)
        yield "![Time of gradient descent against n](pictures/descent.svg)"
        yield ""
        worst = max(float(np.max(np.abs(np.subtract(r["by hand"]["w"], r["automatic"]["w"])))) for r in rows)
        steps = {(r["by hand"]["iterations"], r["automatic"]["iterations"]) for r in rows}
        newton = {r["newton_iterations"] for r in rows}
        yield (
            f"Steps by hand and automatic: {sorted(steps)}; largest difference of the coefficients {worst:.0e}. By hand the gradient of "
            "the mean of squares is 2 Xᵀr / n: a factor n apart from Xᵀr, which a sum would have. Newton's method by `nb.minimise` "
            f"takes {', '.join(map(str, sorted(newton)))} step."
        )

    return _section(DESCENT, "Linear regression by gradient descent", body)
