"""What is asked, and about what: the question and the traced function."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from nablax.contraction.rates import Rates
from nablax.errors import NEEDS_A_VALUE, OutputError, StrategyError, TracingError
from nablax.graph.from_jaxpr import build
from nablax.graph.fuse import fuse
from nablax.graph.graph import Graph
from nablax.graph.node import Node
from nablax.ops.jaxprs import trace
from nablax.ops.kinds import Constant
from nablax.planning.rates import current_rates
from nablax.sweeps.second_order import mask_of


class Ending(Enum):
    """What becomes of the blocks of a derivative."""

    DENSE = "dense arrays"
    DIAGONAL = "the diagonal"
    TRACE = "the trace"
    COORDINATES = "values, rows and columns"
    PRODUCT = "the product with a vector"
    FORM = "the product with a vector on both sides"
    RECIPE = "the diagonal without cross terms"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a function.

    Args:
        name: how the question is called.
        order: 1 for Jacobians, 2 for Hessians, any number for the derivatives of that order.
        ending: what becomes of the blocks.
        along: how many slots of the derivative are contracted with vectors; `order` counts the others.
        slots: for one block which of the differentiated arguments each slot is about; None for all blocks.
    """

    name: str
    order: int
    ending: Ending
    along: int = 0
    slots: tuple[int, ...] | None = None

    @property
    def needs_scalar(self) -> bool:
        """Whether the function must return one number."""
        return self.along > 0 or (self.order >= 2 and self.ending is not Ending.DENSE)

    @property
    def has_vector(self) -> bool:
        """Whether a vector comes with the point."""
        return self.along > 0 or self.ending in (Ending.PRODUCT, Ending.FORM)


JACOBIAN = Question("jacobian", 1, Ending.DENSE)
JACOBIAN_SPARSE = Question("sparse jacobian", 1, Ending.COORDINATES)
HESSIAN = Question("hessian", 2, Ending.DENSE)
HESSIAN_SPARSE = Question("sparse hessian", 2, Ending.COORDINATES)
DIAGONAL = Question("diagonal", 2, Ending.DIAGONAL)
TRACE = Question("trace", 2, Ending.TRACE)
PRODUCT = Question("hvp", 2, Ending.PRODUCT)
QUADRATIC_FORM = Question("quadratic form", 2, Ending.FORM)
DIAGONAL_RECIPE = Question("diagonal estimate", 2, Ending.RECIPE)
QUESTIONS = (
    HESSIAN, DIAGONAL, TRACE, PRODUCT, QUADRATIC_FORM, HESSIAN_SPARSE, DIAGONAL_RECIPE, JACOBIAN, JACOBIAN_SPARSE
)  # fmt: skip


_OF_ORDER = {
    "derivative": Ending.DENSE, "sparse derivative": Ending.COORDINATES, "derivative diagonal": Ending.DIAGONAL
}  # fmt: skip
_KNOWN = {(question.order, question.ending): question for question in QUESTIONS}


def of_order(order: int, ending: Ending = Ending.DENSE, along: int = 0) -> Question:
    """The question about the derivative of an order; those of order 1 and 2 are the questions that have names.

    Args:
        order: number of slots that stay open.
        ending: dense, diagonal or coordinates.
        along: number of further slots, contracted with vectors.
    """
    if not along and (order, ending) in _KNOWN:
        return _KNOWN[order, ending]
    [name] = (name for name, own in _OF_ORDER.items() if own is ending)
    contracted = f" along {along} vector{'' if along == 1 else 's'}" if along else ""
    return Question(f"{name} of order {order + along}{contracted}", order, ending, along)


def question_named(name: str, order: int | None = None) -> Question:
    """The question of a name; blanks may be written as underscores.

    Args:
        name: the name.
        order: for the questions about a derivative of any order, the order.

    Raises:
        StrategyError: no question is called so, or an order is missing or makes no sense.
    """
    plain = name.replace("_", " ")
    if plain in _OF_ORDER:
        if order is None or order < 1:
            raise StrategyError(
                f"a plan was asked for the question {name!r} with order={order!r}. Give the order of the derivative, "
                "at least 1."
            )
        if _OF_ORDER[plain] is Ending.DIAGONAL and order < 2:
            raise StrategyError("a plan was asked for the diagonal of order 1, which is the gradient. Ask 'jacobian'.")
        return of_order(order, _OF_ORDER[plain])
    if order is not None:
        names = ", ".join(map(repr, _OF_ORDER))
        raise StrategyError(f"a plan was asked for the question {name!r} with order={order!r}; only {names} have one.")
    for question in QUESTIONS:
        if name in (question.name, question.name.replace(" ", "_")):
            return question
    names = ", ".join([*(repr(question.name) for question in QUESTIONS), *map(repr, _OF_ORDER)])
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
        slots: for a derivative of higher order the positions of the leaves that each slot is about; None for all.
        rates: of the machine.
        calls: how often the answer is expected to be asked; preparation is shared among them.
        aux: what the function returns beside the differentiated result, flat.
        aux_tree: its tree; None if there is no second result.
    """

    graph: Graph
    leaves: tuple[Node, ...]
    asked: tuple[Node, ...]
    outputs: tuple[Node, ...]
    output_tree: Any
    rows: tuple[int, ...] | None = None
    columns: tuple[int, ...] | None = None
    slots: tuple[tuple[int, ...], ...] | None = None
    rates: Rates = field(default_factory=current_rates)
    calls: int = 100
    aux: tuple[Node, ...] = ()
    aux_tree: Any = None

    @property
    def row_leaves(self) -> tuple[int, ...]:
        """Positions of the leaves whose rows are wanted."""
        return tuple(range(len(self.asked))) if self.rows is None else self.rows

    @property
    def column_leaves(self) -> tuple[int, ...]:
        """Positions of the leaves whose columns are wanted."""
        return tuple(range(len(self.asked))) if self.columns is None else self.columns

    def blocks(self, order: int) -> list[tuple[int, ...]]:
        """The blocks of a derivative of an order that are wanted, each as the positions of its leaves."""
        every = tuple(range(len(self.asked)))
        return list(itertools.product(*(self.slots or (every,) * order)))

    @property
    def size(self) -> int:
        """Number of unknowns."""
        return sum(leaf.size for leaf in self.asked)

    @cached_property
    def captures_tracers(self) -> bool:
        """Whether the function closes over values of a surrounding transformation."""
        return self.graph.holds(
            lambda node: isinstance(node.kind, Constant) and isinstance(node.kind.value, jax.core.Tracer)
        )


def pose(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    asked: Sequence[int],
    *,
    scalar: str,
    calls: int = 100,
    has_aux: bool = False,
    verb: str = "a derivative",
) -> Problem:
    """Trace a function and build its graph, elementwise neighbours fused.

    Args:
        function: takes flat arrays, returns any tree of arrays.
        arguments: flat arrays, tracers or shape structs.
        asked: positions of the arguments that derivatives are asked for.
        scalar: the verb that needs a scalar result; empty if any result will do.
        calls: how often the answer is expected to be asked.
        has_aux: whether the function returns a pair, of which only the first is differentiated.
        verb: what was asked, for messages.

    Returns:
        The problem.

    Raises:
        TracingError: the function needs the value of an argument.
        OutputError: the result is not what the verb needs.
    """
    trees: list[Any] = []
    aux_trees: list[Any] = []
    counts: list[int] = []

    def flat(*arrays: Any) -> list[Any]:
        returned = function(*arrays)
        aux: list[Any] = []
        if has_aux:
            if not isinstance(returned, tuple) or len(returned) != 2:
                raise OutputError(
                    f"{verb} was asked with has_aux=True of a function that returns a {type(returned).__name__}. "
                    "Return a pair: the result to differentiate, and anything else."
                )
            returned, second = returned
            aux, aux_tree = jax.tree.flatten(second)
            aux_trees.append(aux_tree)
        result, tree = jax.tree.flatten(returned)
        trees.append(tree)
        results = [_as_array(value, scalar) for value in result]
        counts.append(len(results))
        return [*results, *(_as_array(value, "has_aux=True") for value in aux)]

    try:
        program = trace(flat, arguments)
    except NEEDS_A_VALUE as error:
        raise TracingError.of(error) from error
    graph = Graph()
    leaves, everything = build(graph, program)
    [count] = set(counts)
    outputs, beside = everything[:count], everything[count:]
    for value in program.outputs[:count]:
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise OutputError(
                f"a derivative was asked of a function that returns {value.dtype.name} values; derivatives "
                "exist for real floating-point results only. Return a float array (for complex results: real "
                "and imaginary part, or the absolute value)."
            )
    if scalar and (len(outputs) != 1 or outputs[0].shape != ()):
        found = ", ".join(f"{node.dtype.name}{list(node.shape)}" for node in outputs) or "nothing"
        raise OutputError(
            f"{scalar} needs a function that returns one number; this one returns {found}. "
            "Sum or index the result, or use nablax.hessian or nablax.jacobian, which take any result."
        )
    chosen = tuple(leaves[k] for k in asked)
    fused = fuse(graph, [*outputs, *beside], mask_of(chosen))
    return Problem(
        graph,
        tuple(leaves),
        chosen,
        tuple(fused[:count]),
        trees[0],
        calls=calls,
        aux=tuple(fused[count:]),
        aux_tree=aux_trees[0] if has_aux else None,
    )


def _as_array(value: Any, scalar: str) -> Any:
    try:
        return jnp.asarray(value)
    except TypeError as error:
        raise OutputError(
            f"{scalar or 'a derivative'} was asked of a function that returns a {type(value).__name__}. "
            "Return arrays or numbers."
        ) from error
