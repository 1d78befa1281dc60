"""`python -m benchmarks [--group NAME] [--only PART] [--quick] [--without-nablax]`.

One pinned core is measured; another device by `JAX_PLATFORMS=cuda python -m benchmarks`.
"""

import pathlib
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.processes import lines_of
from benchmarks.registry import GROUPS
from benchmarks.report import REMARKS, Section, Setting, write
from benchmarks.timing import Effort, measure_machine

RESULTS = pathlib.Path(__file__).with_name("RESULTS.md")


def main(
    group: Annotated[list[str] | None, typer.Option(help=f"{', '.join(GROUPS)}; repeatable.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Rows whose name contains this; repeatable.")] = None,
    quick: Annotated[bool, typer.Option(help="Few runs, small sizes; RESULTS.md is left alone.")] = False,
    without_nablax: Annotated[bool, typer.Option(help="Peers and forms by hand only.")] = False,
) -> None:
    """Measures groups of rows, prints them and writes their sections of benchmarks/RESULTS.md."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=320)
    unknown = sorted(set(group or ()) - set(GROUPS))
    if unknown:
        raise typer.BadParameter(f"no group {unknown[0]!r}; groups: {', '.join(GROUPS)}")
    chosen = [GROUPS[name] for name in GROUPS if not group or name in group]
    rows = {
        g.name: [r for r in g.rows if not only or any(part.lower() in r.name.lower() for part in only)] for g in chosen
    }
    if not any(rows.values()):
        raise typer.BadParameter("no row has such a name; rows: " + "; ".join(r.name for g in chosen for r in g.rows))
    machine = measure_machine()
    effort = Effort(runs=5, seconds=0.2) if quick else Effort()
    setting = Setting(effort, not without_nablax, quick, machine)
    for g in chosen:
        if not rows[g.name]:
            continue
        section = Section(g, machine)
        for row in rows[g.name]:
            console.print(f"measuring {g.name}: {row.name} …", style="dim", highlight=False)
            for line in lines_of(g.name, row, setting):
                section.lines.append(line)
                if line.table != REMARKS:
                    console.print("  " + " | ".join(line.cells), style="dim", highlight=False, markup=False)
        section.show(console)
        if quick or only or without_nablax:
            console.print("RESULTS.md is written by a full run of a group only")
        else:
            write(RESULTS, section, list(GROUPS))
            console.print(f"written: section {g.name} of {RESULTS.parent.name}/{RESULTS.name}")


if __name__ == "__main__":
    typer.run(main)
