"""What is asked, and about what: the question and the traced function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import jax
import jax.numpy as jnp

from nablax.errors import OutputError, StrategyError, TracingError
from nablax.graph.from_jaxpr import build
from nablax.graph.fuse import fuse
from nablax.graph.graph import Graph, Node
from nablax.ops.jaxprs import trace
from nablax.ops.kinds import Constant


class Question(Enum):
    """The second-order questions; the value is how the question is called."""

    HESSIAN = "hessian"
    DIAGONAL = "diagonal"
    TRACE = "trace"
    PRODUCT = "hvp"
    QUADRATIC_FORM = "quadratic form"

    @property
    def needs_scalar(self) -> bool:
        """Whether the function must return one number."""
        return self is not Question.HESSIAN


def question_named(name: str) -> Question:
    """The question of a name.

    Raises:
        StrategyError: no question is called so.
    """
    for question in Question:
        if name in (question.value, question.value.replace(" ", "_"), question.name.lower()):
            return question
    names = ", ".join(repr(question.value) for question in Question)
    raise StrategyError(f"a plan was asked for the question {name!r}, which does not exist. Ask one of: {names}.")


@dataclass(frozen=True, eq=False)
class Problem:
    """A traced function with the leaves that the question is about.

    Args:
        graph: makes nodes.
        leaves: all arguments, flat.
        asked: those with respect to which derivatives are asked.
        outputs: the results, flat.
        output_tree: their tree.
        rows: positions among the asked leaves whose rows of the Hessian are wanted; None for all.
        columns: the same for columns.
    """

    graph: Graph
    leaves: tuple[Node, ...]
    asked: tuple[Node, ...]
    outputs: tuple[Node, ...]
    output_tree: Any
    rows: tuple[int, ...] | None = None
    columns: tuple[int, ...] | None = None

    @property
    def row_leaves(self) -> tuple[int, ...]:
        """Positions of the leaves whose rows are wanted."""
        return tuple(range(len(self.asked))) if self.rows is None else self.rows

    @property
    def column_leaves(self) -> tuple[int, ...]:
        """Positions of the leaves whose columns are wanted."""
        return tuple(range(len(self.asked))) if self.columns is None else self.columns

    @property
    def size(self) -> int:
        """Number of unknowns."""
        return sum(leaf.size for leaf in self.asked)

    @property
    def captures_tracers(self) -> bool:
        """Whether the function closes over values of a surrounding transformation."""
        return self.graph.holds(
            lambda node: isinstance(node.kind, Constant) and isinstance(node.kind.value, jax.core.Tracer)
        )


def pose(function: Callable[..., Any], arguments: Sequence[Any], asked: Sequence[int], *, scalar: str) -> Problem:
    """Trace a function and build its graph, elementwise neighbours fused.

    Args:
        function: takes flat arrays, returns any tree of arrays.
        arguments: flat arrays, tracers or shape structs.
        asked: positions of the arguments that derivatives are asked for.
        scalar: the verb that needs a scalar result; empty if any result will do.

    Returns:
        The problem.

    Raises:
        TracingError: the function needs the value of an argument.
        OutputError: the result is not what the verb needs.
    """
    trees: list[Any] = []

    def flat(*arrays: Any) -> list[Any]:
        result, tree = jax.tree.flatten(function(*arrays))
        trees.append(tree)
        return [_as_array(value, scalar) for value in result]

    try:
        program = trace(flat, arguments)
    except jax.errors.ConcretizationTypeError as error:
        raise TracingError(
            "a derivative was asked of a function that needs the value of an argument while it is traced (a "
            "Python 'if', 'while', 'int()' or 'float()' on an array). Use jax.numpy.where or jax.lax.cond, or "
            f"pass that argument as a Python int, bool or str, which stays static. JAX says: {_first_line(error)}"
        ) from error
    graph = Graph()
    leaves, outputs = build(graph, program)
    for value in program.outputs:
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise OutputError(
                f"a second derivative was asked of a function that returns {value.dtype.name} values; derivatives "
                "exist for real floating-point results only. Return a float array (for complex results: real "
                "and imaginary part, or the absolute value)."
            )
    if scalar and (len(outputs) != 1 or outputs[0].shape != ()):
        found = ", ".join(f"{node.dtype.name}{list(node.shape)}" for node in outputs) or "nothing"
        raise OutputError(
            f"{scalar} needs a function that returns one number; this one returns {found}. "
            "Sum or index the result, or use nablax.hessian, which takes any result."
        )
    chosen = tuple(leaves[k] for k in asked)
    mask = 0
    for leaf in chosen:
        mask |= leaf.depends
    fused = fuse(graph, outputs, mask)
    return Problem(graph, tuple(leaves), chosen, tuple(fused), trees[0])


def _as_array(value: Any, scalar: str) -> Any:
    try:
        return jnp.asarray(value)
    except TypeError as error:
        raise OutputError(
            f"{scalar or 'a derivative'} was asked of a function that returns a {type(value).__name__}. "
            "Return arrays or numbers."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
