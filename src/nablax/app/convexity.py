"""A verdict on convexity as text for the terminal, in the notation that was asked for."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import assert_never

from nablax.convex import Convexity


class ProofFormat(StrEnum):
    """Notations of the command `nablax convexity`."""

    UNICODE = "unicode"
    LATEX = "latex"
    HTML = "html"
    JSON = "json"


def render(found: Convexity, notation: ProofFormat) -> str:
    """The whole answer.

    Args:
        found: what `convexity` gave.
        notation: how it is written.

    Returns:
        Text without a line end.
    """
    match notation:
        case ProofFormat.UNICODE:
            return str(found)
        case ProofFormat.LATEX:
            return found.latex()
        case ProofFormat.HTML:
            return found.html()
        case ProofFormat.JSON:
            return json.dumps(found.to_json(), ensure_ascii=False, indent=2)
        case _:
            assert_never(notation)
