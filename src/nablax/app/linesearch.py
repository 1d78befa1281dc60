"""Exact line searches on a formula, their iterations side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from nablax.errors import ArgumentError, FormulaError
from nablax.formula.evaluate import to_function
from nablax.formula.front import parse_formula
from nablax.formula.parse import parse_expression
from nablax.formula.shapes import CONSTANTS, variable_names
from nablax.optimise import (
    Minimum,
    brent,
    dichotomy,
    golden_section,
    newton_1d,
    parabolic,
    slope_bisection,
    told,
)

SEARCHES: dict[str, Callable[..., Minimum]] = {
    "dichotomy": dichotomy,
    "golden_section": golden_section,
    "parabolic": parabolic,
    "brent": brent,
    "slope_bisection": slope_bisection,
    "newton_1d": newton_1d,
}


@dataclass(frozen=True)
class Searched:
    """One search, and what it found.

    Args:
        name: of the search.
        found: what it found, with the table; None where the search was refused.
        refused: why.
    """

    name: str
    found: Minimum | None
    refused: str = ""


def ends(text: str) -> tuple[float, float]:
    """The interval of ``a,b``.

    Raises:
        ArgumentError: it is not two numbers.

    Example:
        >>> ends("-1, 2.5")
        (-1.0, 2.5)
    """
    parts = text.split(",")
    try:
        low, high = (float(part) for part in parts)
    except ValueError as error:
        raise ArgumentError(
            f"the interval was given as {text!r}; write two numbers with a comma: --on=-1,2.5."
        ) from error
    return low, high


def function_of(formula: str) -> Callable[[Any], Any]:
    """A function of one number.

    Args:
        formula: with one variable, which is a scalar whatever its name.

    Raises:
        FormulaError: unreadable, or not of one variable.
    """
    tree = parse_expression(formula)
    names = sorted({node.name for node in variable_names(tree)} - set(CONSTANTS))
    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise FormulaError(f"linesearch takes a formula of one variable; the variables here are: {found}", formula)
    [name] = names
    evaluate = to_function(parse_formula(formula, {name: "scalar"}))
    return lambda x: evaluate(**{name: x})


def searched(formula: str, a: float, b: float, *, tol: float | None, names: Sequence[str]) -> list[Searched]:
    """Run searches, in double precision.

    Args:
        formula: as in `function_of`.
        a: left end.
        b: right end.
        tol: as in `nablax.optimise.dichotomy`.
        names: of searches.

    Raises:
        ArgumentError: the interval or the tolerance, or a search that does not exist.
        FormulaError: as `function_of`.
    """
    unknown = [name for name in names if name not in SEARCHES]
    if unknown:
        raise ArgumentError(f"there is no search {unknown[0]!r}; there are {', '.join(SEARCHES)}.")
    f = function_of(formula)
    rows = []
    with jax.enable_x64(True):
        ends_of = (jnp.asarray(a, float), jnp.asarray(b, float))
        for name in names:
            try:
                rows.append(Searched(name, SEARCHES[name](f, *ends_of, tol=tol, table=True)))
            except ArgumentError as error:
                if "the slope is" not in str(error):
                    raise
                rows.append(Searched(name, None, str(error)))
    return rows


def shown(rows: Sequence[Searched]) -> str:
    """Iterations side by side: the best point and the width of the interval after each step; then what was found.

    Args:
        rows: the searches.
    """
    ran = [(row.name, row.found, row.found.table) for row in rows if row.found is not None]
    lines = []
    if ran:
        columns = [_column(name, table) for name, _, table in ran]
        height = max(len(column) for column in columns)
        steps = ["step", "", *map(str, range(height - 2))]
        blocks = [steps, *columns]
        widths = [max(map(len, block)) for block in blocks]
        for k in range(height):
            cells = [block[k] if k < len(block) else "" for block in blocks]
            lines.append("  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
        lines.append("")
    width = max(len(row.name) for row in rows)
    for row in rows:
        if row.found is None:
            lines.append(f"{row.name.ljust(width)}  {row.refused}")
        else:
            found = f"x = {float(row.found.x):.10g}, f(x) = {float(row.found.value):.10g}"
            count = int(row.found.evaluations)
            lines.append(f"{row.name.ljust(width)}  {found}, {count} evaluations. {told(row.found.status)}")
    return "\n".join(lines)


def _column(name: str, table: Any) -> list[str]:
    x, widths = table.column("x"), table.column("b") - table.column("a")
    cells = [(f"{p:.8f}" if abs(p) < 1e6 else f"{p:.8g}", f"{w:.1e}") for p, w in zip(x, widths, strict=True)]
    places = [max(len(cell[0]) for cell in [*cells, ("x", "")]), max(len(cell[1]) for cell in [*cells, ("", "b − a")])]
    body = [f"{left.rjust(places[0])} {right.rjust(places[1])}" for left, right in [("x", "b − a"), *cells]]
    return [name.rjust(len(body[0])), *body]
