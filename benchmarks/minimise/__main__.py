"""`python -m benchmarks.minimise [--part cutest|lines|logistic|descent|report]`: measures, and writes MINIMISE.md."""

from typing import Annotated

import jax
import typer

import benchmarks.pinning  # noqa: F401, before jax
from benchmarks.minimise import cutest, lines, regression, report

PARTS = ("cutest", "lines", "logistic", "descent", "report")


def main(
    part: Annotated[list[str] | None, typer.Option(help=f"{', '.join(PARTS)}; repeatable; all without.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Problems whose name contains this; repeatable.")] = None,
    solver: Annotated[list[str] | None, typer.Option(help="Solvers of this name; repeatable.")] = None,
    most: Annotated[int, typer.Option(help="Unknowns of the largest problem.")] = cutest.LARGEST,
    limit: Annotated[float, typer.Option(help="Seconds of one solver on one problem.")] = 60.0,
    seconds: Annotated[float, typer.Option(help="Seconds of all problems together.")] = 1e9,
    since: Annotated[str, typer.Option(help="Measure anew what was measured before this time (UTC, ISO format).")] = "",
) -> None:
    """Measures what is not kept yet, and writes benchmarks/MINIMISE.md with its pictures from all that is kept."""
    jax.config.update("jax_enable_x64", True)
    unknown = set(part or ()) - set(PARTS)
    if unknown:
        raise typer.BadParameter(f"no part {sorted(unknown)[0]!r}; parts: {', '.join(PARTS)}")
    chosen = part or list(PARTS)
    if "cutest" in chosen:
        cutest.measure(only or [], solver or [], most, limit, seconds, since)
    if "lines" in chosen:
        lines.measure()
    if "logistic" in chosen:
        regression.logistic()
    if "descent" in chosen:
        regression.descent()
    report.write()


if __name__ == "__main__":
    typer.run(main)
