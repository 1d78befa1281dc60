"""The command `nablax graph`: a formula with values, or a function of a file, as a table or a picture."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import Any

from nablax.app.load import load
from nablax.errors import ArgumentError, TargetError
from nablax.teach import GraphView, graph

FILE = re.compile(r".*\.py:\w*")
ONE = re.compile(r"\s*([^\W\d]\w*)\s*=\s*(\[.*\]|[^\[\],]+)\s*")


class Tables(StrEnum):
    """The tables of the command."""

    FORWARD = "forward"
    REVERSE = "reverse"
    SECOND = "second"
    COUNTS = "counts"


def values(text: str) -> dict[str, Any]:
    """The point of ``w1=2,w2=3``; a vector is written ``x=[1,2]``.

    Raises:
        ArgumentError: it is not a list of names with numbers.

    Example:
        >>> values("w1=2, x=[1,2.5]")
        {'w1': 2.0, 'x': [1, 2.5]}
    """
    found: dict[str, Any] = {}
    for part in re.split(r",(?![^\[]*\])", text) if text.strip() else []:
        match = ONE.fullmatch(part)
        try:
            if match is None:
                raise ValueError
            name, written = match[1], match[2].strip()
            value = json.loads(written) if written.startswith("[") else float(written)
        except ValueError:
            raise ArgumentError(
                f"the values were given as {text!r}; write names with numbers: --at w1=2,w2=3, a vector as x=[1,2]."
            ) from None
        if name in found:
            raise ArgumentError(f"the values were given as {text!r}, which names {name} twice.")
        found[name] = value
    return found


def viewed(target: str, at: str) -> GraphView:
    """The graph of a formula, or of ``FILE.py:function`` at its example arguments.

    Raises:
        TargetError: values were given for a function of a file.
    """
    if not FILE.fullmatch(target):
        found: GraphView = graph(target, **values(at))
        return found
    if at:
        raise TargetError(
            f"--at={at} was given for {target}; the point of a function is what example_args() of its file returns."
        )
    loaded = load(target)
    with loaded.blamed():
        view: GraphView = graph(loaded.function)(*loaded.arguments)
    return view


def page(view: GraphView, table: Tables | None, wrt: str | None, svg: str | None) -> str:
    """What the command prints; the picture is written on the way.

    Args:
        view: the graph.
        table: which table; None for the list of nodes.
        wrt: the variable of forward mode; None for all.
        svg: the file of the picture.

    Returns:
        The page.
    """
    if svg is not None:
        _save(view, table, wrt, svg)
    match table:
        case Tables.FORWARD:
            names = view.variables if wrt is None else (wrt,)
            return "\n\n".join(str(view.forward_table(name)) for name in names)
        case Tables.REVERSE:
            return str(view.reverse_table())
        case Tables.SECOND:
            return str(view.second_order_table())
        case Tables.COUNTS:
            return str(view.operation_counts())
        case None:
            return str(view)


def _save(view: GraphView, table: Tables | None, wrt: str | None, svg: str) -> None:
    beside = {Tables.FORWARD: "tangents", Tables.REVERSE: "adjoints"}.get(table) if table else None
    if beside == "tangents" and wrt is None and len(view.variables) > 1:
        beside = None
    picture = view.draw(beside, wrt=wrt)
    try:
        picture.save(svg)
    except OSError as error:
        raise TargetError(f"the picture cannot be written to {Path(svg)}: {error.strerror or error}.") from error
