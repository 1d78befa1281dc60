"""Programs that were answered wrongly, refused or not at all in time once: made smaller, and kept."""

from __future__ import annotations

from fuzz.programs import Step

# name of what went wrong: shape of the argument, program
CORPUS: dict[str, tuple[tuple[int, ...], list[Step]]] = {}
