"""What closed forms read library functions as: without the guards of floats, and products not as trees.

A name proves nothing: equations are a library function only if they are those that JAX writes for it on the same
shapes. Some functions are calls, others leave their equations in the program of who calls them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy
import numpy as np

from nablax.ops.jaxprs import Equation, Literal, Program, Value, trace_alone

SIGNS = np.array([[[(i - j) * (j - k) * (k - i) / 2 for k in range(3)] for j in range(3)] for i in range(3)])
Function = Callable[..., Any]


@dataclass(frozen=True)
class Plain:
    """A library function, and what closed forms read it as.

    Args:
        library: the function as JAX writes it.
        instead: the same values.
        ranks: number of axes of each argument.
    """

    library: Function
    instead: Function
    ranks: tuple[int, ...]


def _cross(x: Any, y: Any) -> Any:
    """(x × y)ᵢ = εᵢⱼₖ xⱼ yₖ."""
    return jnp.einsum("ijk,j,k->i", SIGNS.astype(x.dtype), x, y)


def _ndtr(x: Any) -> Any:
    return (1 + jax.lax.erf(x * math.sqrt(0.5))) / 2


def _logsumexp(x: Any, **axes: Any) -> Any:
    return jnp.log(jnp.sum(jnp.exp(x), **axes))


def _softmax(x: Any, axis: int) -> Any:
    e = jnp.exp(x)
    return e / jnp.sum(e, axis=axis, keepdims=True)


def _log_softmax(x: Any, axis: int) -> Any:
    return x - _logsumexp(x, axis=axis, keepdims=True)


def _rows() -> Iterator[Plain]:
    yield Plain(jnp.cross, _cross, (1, 1))
    for rank in (0, 1, 2):
        yield Plain(jax.scipy.special.ndtr, _ndtr, (rank,))
        yield Plain(jax.scipy.special.log_ndtr, lambda x: jnp.log(_ndtr(x)), (rank,))
    for rank, axis in ((1, -1), (2, -1), (2, 0)):
        yield Plain(partial(jax.nn.softmax, axis=axis), partial(_softmax, axis=axis), (rank,))
        yield Plain(partial(jax.nn.log_softmax, axis=axis), partial(_log_softmax, axis=axis), (rank,))
    along: tuple[tuple[int, int | None], ...] = ((1, None), (2, None), (2, 1), (2, 0))
    for rank, place in along:
        for kept in (False, True):
            axes: dict[str, Any] = {"axis": place, "keepdims": kept}
            yield Plain(partial(jax.scipy.special.logsumexp, **axes), partial(_logsumexp, **axes), (rank,))


ROWS = tuple(_rows())


@dataclass(frozen=True)
class Found:
    """A library function in a program.

    Args:
        inputs: what it is given.
        output: its value.
        count: how many equations it takes.
        instead: what it is read as.
    """

    inputs: tuple[Value, ...]
    output: Value
    count: int
    instead: Callable[..., Sequence[Any]]


def found(program: Program, place: int) -> Found | None:
    """The library function whose equations begin at a place of a program; None if there is none."""
    first = program.equations[place]
    if first.name == "reduce_prod":
        return _product(first)
    for number, row in enumerate(ROWS):
        for given in _arguments(first, len(row.ranks)):
            if tuple(len(x.shape) for x in given) != row.ranks or not all(_is_float(x) for x in given):
                continue
            library = _traced(number, tuple((x.shape, x.dtype.name) for x in given))
            if library is None or library.equations[0].name != first.name:
                continue
            known = _matched(library, program, place, given)
            if known is not None:
                count = len(library.equations)
                return Found(given, known[library.outputs[0]], count, lambda *x, row=row: [row.instead(*x)])
    return None


def _product(equation: Equation) -> Found | None:
    """The product of all elements: derivatives of exp Σ log x hold for every sign."""
    [x] = equation.inputs
    whole = len(equation.params["axes"]) == len(x.shape) > 0
    if not whole or 0 in x.shape or not _is_float(x):
        return None
    return Found((x,), equation.outputs[0], 1, lambda x: [jnp.exp(jnp.sum(jnp.log(x)))])


def _arguments(first: Equation, count: int) -> Iterator[tuple[Value, ...]]:
    """What a function may be given whose first equation this is."""
    variables = [x for x in first.inputs if not isinstance(x, Literal)]
    if count == 1:
        yield from ((x,) for x in dict.fromkeys(variables))
    elif len(variables) == count and first.body is not None:
        yield tuple(variables)


def _is_float(value: Value) -> bool:
    return bool(jnp.issubdtype(value.dtype, jnp.floating))


@lru_cache(maxsize=512)
def _traced(number: int, given: tuple[tuple[tuple[int, ...], str], ...]) -> Program | None:
    structs = [jax.ShapeDtypeStruct(shape, jnp.dtype(dtype)) for shape, dtype in given]
    try:
        return trace_alone(lambda *arrays: [ROWS[number].library(*arrays)], structs)
    except (TypeError, ValueError, NotImplementedError):
        return None


def _matched(library: Program, program: Program, place: int, given: Sequence[Value]) -> dict[Value, Value] | None:
    """What the library function's values are in the program; None where it is not there, or is looked into."""
    end = place + len(library.equations)
    if end > len(program.equations):
        return None
    known: dict[Value, Value] = dict(zip(library.inputs, given, strict=True))
    for own, other in zip(library.equations, program.equations[place:end], strict=True):
        if own.name != other.name or own.called != other.called or len(own.inputs) != len(other.inputs):
            return None
        if own.text != other.text if own.body is not None else str(own.params) != str(other.params):
            return None
        if not all(_same(one, two, known) for one, two in zip(own.inputs, other.inputs, strict=True)):
            return None
        known.update(zip(own.outputs, other.outputs, strict=True))
    value = known[library.outputs[0]]
    inside = {x for equation in program.equations[place:end] for x in equation.outputs} - {value}
    outside = (*program.equations[:place], *program.equations[end:])
    read = {x for equation in outside for x in equation.inputs} | set(program.outputs)
    return None if inside & read else known


def _same(own: Value, other: Value, known: dict[Value, Value]) -> bool:
    if isinstance(own, Literal) or isinstance(other, Literal):
        return isinstance(own, Literal) and isinstance(other, Literal) and bool(np.all(own.value == other.value))
    return known.get(own) is other
