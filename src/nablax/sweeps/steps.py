"""Steps: what an elimination did, node by node. EXPLAIN, pictures and tables read them and do no mathematics."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from nablax.graph.node import Node


class Rule(Enum):
    """What was done at a node."""

    PULL = "adjoint and legs pulled to its inputs"
    SUM = "cores summed into one dense block"
    LOOP = "taken back turn by turn, the cores as blocks on what is carried"
    RESTART = "rows above multiplied last: legs begin anew here"


@dataclass(frozen=True, slots=True)
class Step:
    """One eliminated node.

    Args:
        node: the node.
        rules: what was done, in order.
        cores: cores with a leg on it before, and on its inputs after.
        opened: whether a core of its own was opened: it is not linear.
        rank: rows of legs on it, per element of the axes that pass through to the leaves.
        width: its elements, per element of those axes.
    """

    node: Node
    rules: tuple[Rule, ...]
    cores: tuple[int, int]
    opened: bool
    rank: int = 0
    width: int = 0
