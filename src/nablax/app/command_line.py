"""The command `nablax`: one function per subcommand; every refusal is one message and exit code 2.

A point where the function has no finite derivatives is reported and left with exit code 1.
"""

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

from nablax import __version__
from nablax.app.convexity import ProofFormat
from nablax.app.convexity import render as render_convexity
from nablax.app.derive import Format, render
from nablax.app.graph import Tables, page, viewed
from nablax.app.linesearch import SEARCHES, ends, searched, shown
from nablax.app.load import load
from nablax.app.render import show, to_json
from nablax.app.report import Progress, Verdict
from nablax.app.report import report as compute_report
from nablax.convex import convexity as compute_convexity
from nablax.derivation import derive as compute_derivation
from nablax.errors import DerivationError, NablaxError

SECONDS_BEFORE_PROGRESS = 1.0
NOT_FINITE = 1
REFUSED = 2


class _Commands(TyperGroup):
    """Turns the package's own errors, of any subcommand, into a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except NablaxError as error:
            _complain(str(error))
            raise typer.Exit(REFUSED) from None


def _complain(sentence: str) -> None:
    Console(stderr=True).print(Text.assemble(("error: ", "bold red"), sentence), soft_wrap=True)


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"nablax {__version__}\n")
        raise typer.Exit


application = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Exact derivatives of JAX functions, planned and fast.",
)


@application.callback()
def _group(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Exact derivatives of JAX functions, planned and fast."""


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
    spectrum: Annotated[
        bool, typer.Option(" /--no-spectrum", help="Leave out the eigenvalues and what follows from them.")
    ] = True,
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
            spectrum=spectrum,
            progress=progress,
        )
    if as_json:
        sys.stdout.write(to_json(found) + "\n")
    else:
        show(found, Console())
    if found.verdict is Verdict.NOT_FINITE:
        _complain(
            f"{found.not_finite} of {found.target} is not finite at the point of example_args(), so that its "
            "derivatives say nothing there. Choose a point inside the function's domain."
        )
        raise typer.Exit(NOT_FINITE)


@application.command()
def derive(
    formula: Annotated[str, typer.Argument(metavar="FORMULA", help="For example '1/2*norm2(A*x-b)^2'.")],
    wrt: Annotated[
        str | None,
        typer.Option(help="The variable of differentiation; several as x,A.", show_default="the only one"),
    ] = None,
    declare: Annotated[
        str | None,
        typer.Option(help="What names are: 'A: matrix(m,n), S: symmetric(n)'.", show_default="from names and use"),
    ] = None,
    order: Annotated[int, typer.Option(help="1 for the gradient only, 2 with the Hessian.")] = 2,
    steps: Annotated[bool, typer.Option("--steps", help="Also the derivation by differentials.")] = False,
    seconds: Annotated[
        float, typer.Option(help="How long it may take, about; what is late is left out.", min=0.1)
    ] = 2.0,
    notation: Annotated[Format, typer.Option("--format", help="How expressions are written.")] = Format.UNICODE,
) -> None:
    """Gradient or Jacobian and Hessian of a formula in closed form, checked against numbers."""
    try:
        several = tuple(name.strip() for name in (wrt or "").split(","))
        options: dict[str, Any] = {"declare": declare, "order": order, "seconds": seconds}
        joint = compute_derivation(formula, several, **options) if len(several) > 1 else None
        found = joint or compute_derivation(formula, wrt, **options)
        text = render(found, notation, steps=steps)
    except NablaxError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise DerivationError(
            f"{formula!r} is beyond what derive can do: it failed with {type(error).__name__}"
            f"{f' ({said})' if said else ''}. This is a fault of nablax; another way of writing the formula may work"
        ) from error
    sys.stdout.write(text + "\n")


@application.command()
def convexity(
    formula: Annotated[str, typer.Argument(metavar="FORMULA", help="For example 'norm2(A*x-b)^2/(c'*x+d)'.")],
    wrt: Annotated[
        str | None, typer.Option(help="The variable; others are constant.", show_default="the only one")
    ] = None,
    declare: Annotated[
        str | None,
        typer.Option(help="What names are: 'P: spd(n), c: positive scalar'.", show_default="from names and use"),
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long a Hessian may take, about.", min=0.1)] = 2.0,
    notation: Annotated[ProofFormat, typer.Option("--format", help="How it is written.")] = ProofFormat.UNICODE,
) -> None:
    """Whether a formula is convex, concave, affine or log-convex, on which domain, with the proof or a refutation."""
    found = compute_convexity(formula, wrt, declare=declare, seconds=seconds)
    sys.stdout.write(render_convexity(found, notation) + "\n")


@application.command()
def linesearch(
    formula: Annotated[str, typer.Argument(metavar="FORMULA", help="Of one variable, for example 'exp(x) - 2*x'.")],
    on: Annotated[str, typer.Option("--on", metavar="A,B", help="The interval; write --on=-1,2 where a is negative.")],
    tol: Annotated[
        float | None, typer.Option(help="Bound on the distance to the minimum.", show_default="√ε (b − a)")
    ] = None,
    search: Annotated[
        list[str] | None, typer.Option(help=f"Repeatable: {', '.join(SEARCHES)}.", show_default="all")
    ] = None,
) -> None:
    """Exact line searches on a formula: the iterations of each side by side, and what each found."""
    a, b = ends(on)
    sys.stdout.write(shown(searched(formula, a, b, tol=tol, names=search or list(SEARCHES))) + "\n")


@application.command()
def graph(
    target: Annotated[
        str, typer.Argument(metavar="FORMULA", help="For example 'w2*log(w1)', or FILE.py:FUNCTION as for report.")
    ],
    at: Annotated[str, typer.Option("--at", metavar="w1=2,w2=3", help="The values of a formula's variables.")] = "",
    table: Annotated[Tables | None, typer.Option(help="A table to check by hand.", show_default="the nodes")] = None,
    wrt: Annotated[
        str | None, typer.Option(help="The variable that moves in forward mode.", show_default="each")
    ] = None,
    svg: Annotated[str | None, typer.Option(metavar="FILE", help="Also draw the graph, to this file.")] = None,
) -> None:
    """The computational graph of a formula or function: its nodes, a table to check by hand, a picture."""
    sys.stdout.write(page(viewed(target, at), table, wrt, svg) + "\n")


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
