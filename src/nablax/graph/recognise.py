"""Recognise JAX's own library functions by their printed text, so that they become one row.

A name alone proves nothing: a call counts as recognised only if its text equals that of JAX's function traced
on the same shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp

from nablax.graph.contraction_rows import reshaped_units
from nablax.graph.graph import Graph
from nablax.graph.linear_rows import mapped
from nablax.graph.node import Node
from nablax.ops.determinants import POLYNOMIALS
from nablax.ops.jaxprs import Equation, trace
from nablax.ops.library_functions import ROWS as WHOLE
from nablax.ops.library_row import LibraryCall, LibraryRow
from nablax.ops.linear_map import ROWS as LINEAR
from nablax.ops.linear_map import LinearRow
from nablax.ops.matrix_functions import ROWS as MATRIX
from nablax.ops.matrix_row import MatrixRow


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
    "solve": (jnp.linalg.solve, _solve),
    "slogdet": (jnp.linalg.slogdet, _slogdet),
    "det": (jnp.linalg.det, _det),
}


CALLED = frozenset(_FUNCTIONS)


def _det_anywhere(graph: Graph, inputs: Sequence[Node]) -> list[Node] | None:
    if inputs[0].shape[-1] in POLYNOMIALS:
        return None
    return [graph.matrix_function("det_anywhere", inputs, inputs[0].shape[:-2])]


# The determinant's differential det(X) X^-T is a closed form, but worthless at a singular X, where det is smooth
# all the same; for numbers a row serves that holds there, too.
NUMERIC = frozenset({"solve", "slogdet"})
PLAIN = "plain"  # the functions of `plain`, without guards
CLOSED_FORM = NUMERIC | {"det", PLAIN}
_INSTEAD: dict[str, Callable[[Graph, Sequence[Node]], list[Node] | None]] = {"det": _det_anywhere}


def recognise(graph: Graph, equation: Equation, inputs: Sequence[Node], functions: frozenset[str]) -> list[Node] | None:
    """The nodes of a call of one of the known library functions, or of a row's own function; None if it is none."""
    name = equation.called
    if equation.body is None:
        return None
    if name not in functions | _INSTEAD.keys():
        return called(graph, equation, inputs)
    _, build = _FUNCTIONS[name]
    given = tuple((node.shape, node.dtype.name) for node in inputs)
    if given and _is_text_of(name, equation, given):
        matrix = inputs[0].shape
        same_batch = len(inputs) == 1 or len(inputs[1].shape) in (1, len(matrix))
        if same_batch and (len(inputs) == 1 or len(inputs[1].shape) == 1 or inputs[1].shape[:-2] == matrix[:-2]):
            return build(graph, inputs) if name in functions else _INSTEAD[name](graph, inputs)
    return None


def called(graph: Graph, equation: Equation, inputs: Sequence[Node]) -> list[Node] | None:
    """The nodes of a call of the function of a row; None if it is none."""
    rows: tuple[MatrixRow | LinearRow, ...] = (*MATRIX.values(), *LINEAR.values())
    for row in rows:
        if row.function is None:
            continue
        given = tuple((node.shape, node.dtype.name) for node in inputs)
        if not equation.called or equation.called != getattr(row.function, "__name__", ""):
            continue
        if _text(equation.called, row.function, given) != equation.text:
            continue
        if isinstance(row, LinearRow):
            node = mapped(graph, row, equation, inputs[0], equation.outputs[0].shape) if len(inputs) == 1 else None
            return None if node is None else [node]
        if row.shapes is None:
            return [graph.matrix_function(row.name, inputs, equation.outputs[0].shape)]
        shapes = row.shapes(*(x.shape for x in inputs))
        return [graph.matrix_function(row.name, inputs, shape, output=k) for k, shape in enumerate(shapes)]
    return None


def written_out(equation: Equation, inputs: Sequence[Node]) -> Callable[[Any], Any] | None:
    """The polynomial of a determinant of few rows; None for any other call.

    JAX eliminates with a rule of its own: nothing inside is told apart, and a stack of them would couple all matrices.
    """
    if equation.called != "det" or len(inputs) != 1 or len(inputs[0].shape) < 2:
        return None
    shape, dtype = inputs[0].shape, inputs[0].dtype.name
    polynomial = POLYNOMIALS.get(shape[-1])
    if polynomial is None or shape[-2] != shape[-1] or not jnp.issubdtype(inputs[0].dtype, jnp.floating):
        return None
    return (lambda x: (polynomial(x),)) if _is_text_of("det", equation, ((shape, dtype),)) else None


def whole(equation: Equation, inputs: Sequence[Node]) -> LibraryCall | None:
    """The call of a library function that stays whole; None if it is none. One over batch axes is such a call, too."""
    row = WHOLE.get(equation.called)
    if row is None or len(inputs) != 1 or inputs[0].dtype.name not in row.dtypes or 0 in inputs[0].shape:
        return None
    options = tuple(sorted(row.options(equation).items()))
    if _text_over_batch(row, options, inputs[0].shape, inputs[0].dtype.name) != equation.text:
        return None
    return LibraryCall(row, options, equation.outputs, equation.line)


@lru_cache(maxsize=256)
def _text_over_batch(
    row: LibraryRow, options: tuple[tuple[str, Any], ...], shape: tuple[int, ...], dtype: str
) -> str | None:
    function: Callable[..., Any] = partial(row.function, **dict(options))
    for _ in range(len(shape) - row.rank):
        function = jax.vmap(function)
    return _text(row.function.__name__, function, ((shape, dtype),))


def _is_text_of(name: str, equation: Equation, given: tuple[tuple[tuple[int, ...], str], ...]) -> bool:
    """Whether a call is one of a function, on stacks of matrices, or of one matrix mapped over all axes or some."""
    most = len(given[0][0]) - 1 if len(given) == 1 else 1
    return any(_text(name, _mapped(name, axes), given) == equation.text for axes in range(most))


@lru_cache(maxsize=64)
def _mapped(name: str, axes: int) -> Callable[..., Any]:
    return jax.vmap(_mapped(name, axes - 1)) if axes else _FUNCTIONS[name][0]


@lru_cache(maxsize=256)
def _text(name: str, function: Callable[..., Any], given: tuple[tuple[tuple[int, ...], str], ...]) -> str | None:
    structs = [jax.ShapeDtypeStruct(shape, jnp.dtype(dtype)) for shape, dtype in given]
    try:
        program = trace(lambda *arrays: tuple(jax.tree.leaves(function(*arrays))), structs)
    except (TypeError, ValueError):
        return None
    calls = [equation for equation in program.equations if equation.called == name]
    return calls[0].text if len(calls) == 1 else None
