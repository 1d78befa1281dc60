"""The command `nablax`: one function per subcommand; every refusal is one message and exit code 2."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from nablax.app.derive import Format, render
from nablax.app.load import load
from nablax.app.render import show, to_json
from nablax.app.report import Progress
from nablax.app.report import report as compute_report
from nablax.derivation import derive as compute_derivation
from nablax.errors import NablaxError

SECONDS_BEFORE_PROGRESS = 1.0
REFUSED = 2


class _Commands(TyperGroup):
    """Turns the package's own errors, of any subcommand, into a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except NablaxError as error:
            Console(stderr=True).print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)
            raise typer.Exit(REFUSED) from None


application = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Exact derivatives of JAX functions, planned and fast.",
)


@application.callback()
def _group() -> None:
    """Keeps subcommands even while there is only one."""


@application.command()
def report(
    target: Annotated[
        str, typer.Argument(metavar="FILE.py:FUNCTION", help="The file must also define example_args().")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the page.")] = False,
    strategy: Annotated[str, typer.Option(help="The strategy for every question.")] = "auto",
    memory_bytes: Annotated[
        int | None, typer.Option(help="Bound on peak memory, in bytes.", show_default="none", min=1)
    ] = None,
    gradient_zero: Annotated[
        float | None,
        typer.Option(help="Gradient norms up to this count as zero.", show_default="from rounding", min=0.0),
    ] = None,
) -> None:
    """Report on the curvature of a function at a point: value, gradient, Hessian, its spectrum, the plan.

    The file's example_args() returns the tuple of arguments; derivatives are taken with respect to the first,
    which may be any pytree.
    """
    with _progress() as progress:
        progress("loading")
        found = compute_report(
            load(target),
            strategy=strategy,
            memory_bytes=memory_bytes,
            gradient_zero=gradient_zero,
            progress=progress,
        )
    if as_json:
        sys.stdout.write(to_json(found) + "\n")
    else:
        show(found, Console())


@application.command()
def derive(
    formula: Annotated[str, typer.Argument(metavar="FORMULA", help="For example '1/2*norm2(A*x-b)^2'.")],
    wrt: Annotated[
        str | None, typer.Option(help="The variable of differentiation.", show_default="the only one")
    ] = None,
    declare: Annotated[
        str | None,
        typer.Option(help="What names are: 'A: matrix(m,n), S: symmetric(n)'.", show_default="from names and use"),
    ] = None,
    order: Annotated[int, typer.Option(help="1 for the gradient only, 2 with the Hessian.")] = 2,
    steps: Annotated[bool, typer.Option("--steps", help="Also the derivation by differentials.")] = False,
    notation: Annotated[Format, typer.Option("--format", help="How expressions are written.")] = Format.UNICODE,
) -> None:
    """Gradient or Jacobian and Hessian of a formula in closed form, checked against numbers."""
    found = compute_derivation(formula, wrt, declare=declare, order=order)
    sys.stdout.write(render(found, notation, steps=steps) + "\n")


@contextmanager
def _progress() -> Iterator[Progress]:
    """A line on standard error that names the running step, shown once the work has taken a second."""
    status = Console(stderr=True).status("starting")
    timer = threading.Timer(SECONDS_BEFORE_PROGRESS, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda step: status.update(Text(step))
    finally:
        timer.cancel()
        timer.join()
        status.stop()


def main() -> None:
    """Entry point."""
    application(prog_name="nablax")
