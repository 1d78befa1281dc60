"""Recognise JAX's own library functions by their printed text, so that they become one row.

A name alone proves nothing: a call counts as recognised only if its text equals that of JAX's function traced
on the same shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp

from nablax.graph.contraction_rows import reshaped_units
from nablax.graph.graph import Graph
from nablax.graph.node import Node
from nablax.ops.jaxprs import Equation, trace


def _inv(graph: Graph, inputs: Sequence[Node]) -> list[Node]:
    return [graph.matrix_function("inv", inputs, inputs[0].shape)]


def _solve(graph: Graph, inputs: Sequence[Node]) -> list[Node]:
    a, b = inputs
    if len(b.shape) == 1:
        column = reshaped_units(graph, b, (*b.shape, 1))
        return [reshaped_units(graph, graph.matrix_function("solve", (a, column), column.shape), b.shape)]
    return [graph.matrix_function("solve", inputs, b.shape)]


def _slogdet(graph: Graph, inputs: Sequence[Node]) -> list[Node]:
    shape = inputs[0].shape[:-2]
    return [graph.matrix_function(name, inputs, shape) for name in ("sign_det", "logdet")]


def _det(graph: Graph, inputs: Sequence[Node]) -> list[Node]:
    return [graph.matrix_function("det", inputs, inputs[0].shape[:-2])]


_FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[[Graph, Sequence[Node]], list[Node]]]] = {
    "inv": (jnp.linalg.inv, _inv),
    "solve": (jnp.linalg.solve, _solve),
    "slogdet": (jnp.linalg.slogdet, _slogdet),
    "det": (jnp.linalg.det, _det),
}


# The determinant's differential det(X) X^-T is a closed form, but worthless at a singular X, where det is smooth
# all the same; for numbers JAX's own rule by cofactors is used.
NUMERIC = frozenset({"inv", "solve", "slogdet"})
CLOSED_FORM = NUMERIC | {"det"}


def recognise(graph: Graph, equation: Equation, inputs: Sequence[Node], functions: frozenset[str]) -> list[Node] | None:
    """The nodes of a call of one of the known library functions; None if it is none."""
    if equation.called not in functions or equation.body is None:
        return None
    build = _FUNCTIONS[equation.called][1]
    given = tuple((node.shape, node.dtype.name) for node in inputs)
    if given and _text(equation.called, given) == equation.text:
        matrix = inputs[0].shape
        same_batch = len(inputs) == 1 or len(inputs[1].shape) in (1, len(matrix))
        if same_batch and (len(inputs) == 1 or len(inputs[1].shape) == 1 or inputs[1].shape[:-2] == matrix[:-2]):
            return build(graph, inputs)
    return None


def enter(name: str, function: Callable[..., Any]) -> None:
    """A user's matrix function: its calls become nodes of the row of that name."""
    _DEFINED[name] = function
    _text.cache_clear()


_DEFINED: dict[str, Callable[..., Any]] = {}


def defined(graph: Graph, equation: Equation, inputs: Sequence[Node]) -> Node | None:
    """The node of a call of a user's matrix function; None if it is none."""
    given = tuple((node.shape, node.dtype.name) for node in inputs)
    if equation.called not in _DEFINED or _text(equation.called, given) != equation.text:
        return None
    return graph.matrix_function(equation.called, inputs, equation.outputs[0].shape)


@lru_cache(maxsize=256)
def _text(called: str, given: tuple[tuple[tuple[int, ...], str], ...]) -> str | None:
    function = _DEFINED[called] if called in _DEFINED else _FUNCTIONS[called][0]
    structs = [jax.ShapeDtypeStruct(shape, jnp.dtype(dtype)) for shape, dtype in given]
    try:
        program = trace(lambda *arrays: tuple(jax.tree.leaves(function(*arrays))), structs)
    except (TypeError, ValueError):
        return None
    calls = [equation for equation in program.equations if equation.called == called]
    return calls[0].text if len(calls) == 1 else None
