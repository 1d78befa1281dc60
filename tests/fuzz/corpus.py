"""Programs that are run each time: one for each way that rows meet, and those that went wrong once, made smaller."""

from __future__ import annotations

from fuzz.programs import Step

# what it is for: shape of the argument, program
CORPUS: dict[str, tuple[tuple[int, ...], list[Step]]] = {
    "a loop over what a selection reads": ((4,), [("selection", 0, 0, 5), ("tanh", 1, 0, 0), ("loop", 2, 0, 7)]),
    "a branch of a sum along an axis": ((2, 3), [("along", 0, 0, 11), ("branch", 1, 0, 3), ("times", 2, 0, 0)]),
    "a matrix function of what a loop leaves": ((2, 2), [("loop", 0, 0, 13), ("logdet", 1, 0, 1), ("exp", 2, 0, 0)]),
    "a result with a rule that is read twice": ((3, 1), [("hypot", 0, 0, 15), ("inverse", 1, 0, 50)]),
    "one element read in four places": ((), [("selection", 0, 0, 0), ("along", 0, 0, 40)]),
    "a sum over two nodes of which one is not coupled": (
        (2, 3),
        [("along", -1, 17, 43), ("quadratic", 13, 25, 22), ("branch", 14, 30, 51), ("matrix product", -1, 14, 29)],
    ),
}
