"""Writes the table of the corpus into the reference: ``PYTHONPATH=tests python -m corpus.table``, or ``make corpus``.

Lengths are the same on every machine; times are those of one core of this one.
"""

from __future__ import annotations

import platform
import statistics
import time
from pathlib import Path

import jax
from corpus.formulas import GROUPS, Entry
from corpus.oracle import symbols
from corpus.test_corpus import answer, derived

from nablax.derivation import derive

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "corpus.md"
HEAD = """\
# Corpus

{count} formulas of textbooks with their answers, written by hand; the tests judge each one: its gradient and Hessian against
central differences of the value by hand in NumPy, its renderings parse, its length against the book's. `nb.derive`
prints what stands under "answer". Symbols are names, numbers, operators and brackets; a definition behind "where" counts too.
Sources: the Matrix Cookbook (Petersen and Pedersen 2012), Magnus and Neudecker (2019), Boyd and Vandenberghe (2004),
Bishop (2006), Murphy (2012), Rasmussen and Williams (2006).

Length relative to the book: median {median:.2f}, largest tenth from {tenth:.2f}; {long} of {count} are more than 1.5 times as long,
each with the reason. Seconds of one core for formula, gradient, Hessian, steps and their checks: median {seconds:.2f},
largest {slowest:.1f} ({machine}). The table is written by `make corpus`.
"""
COLUMNS = "\n| formula | by | answer | of the book | symbols | seconds |\n|---|---|---|---|---|---|\n"


def row(entry: Entry) -> tuple[str, float, float]:
    """A line of the table, the relative length and the seconds."""
    start = time.thread_time()
    found = derived(entry)
    seconds = time.thread_time() - start
    shown, book = answer(found.gradient), entry.gradient
    own, theirs = symbols(shown), symbols(book.split("↦")[-1].strip())
    why = f"; {entry.longer}" if entry.longer else ""
    cells = [
        f"{entry.name}: `{entry.formula}`",
        entry.wrt,
        f"`{shown}`",
        f"`{book}`",
        f"{own} of {theirs}{why}",
        f"{seconds:.2f}",
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n", own / theirs, seconds


def main() -> None:
    """Derives every formula and writes the page."""
    jax.config.update("jax_enable_x64", True)
    derive("x'*A*x", "x")  # what is paid once
    parts, ratios, times = [], [], []
    for title, group in GROUPS.items():
        parts.append(f"\n## {title}\n{COLUMNS}")
        for entry in group:
            line, ratio, seconds = row(entry)
            parts.append(line)
            ratios.append(ratio)
            times.append(seconds)
    machine = f"{platform.machine()}, Python {platform.python_version()}, JAX {jax.__version__}"
    head = HEAD.format(
        count=len(ratios), median=statistics.median(ratios), tenth=statistics.quantiles(ratios, n=10)[-1],
        long=sum(ratio > 1.5 for ratio in ratios), seconds=statistics.median(times), slowest=max(times), machine=machine,
    )  # fmt: skip
    PAGE.write_text(head + "".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
