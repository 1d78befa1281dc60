"""What closed forms read library functions as: without the guards of floats, and products not as trees.

A name proves nothing: equations are a library function only if they are those that JAX writes for it on the same
shapes. Some functions are calls, others leave their equations in the program of who calls them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
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
        beside: what a program has to compute of the same arguments too, for the row to be worth it.
        is_shared: whether others may read what stands inside: then it is computed for them.
        counts: whether the first argument may be whole numbers.
    """

    library: Function
    instead: Function
    ranks: tuple[int, ...]
    beside: Function | None = None
    is_shared: bool = False
    counts: bool = False


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


def _softplus(x: Any) -> Any:
    return jnp.log(1 + jnp.exp(x))


def _entropy(x: Any) -> Any:
    return -x * jnp.log(x)


def _relative_entropy(x: Any, y: Any) -> Any:
    return x * (jnp.log(x) - jnp.log(y))


def _pinv(a: Any) -> Any:
    """Of full rank."""
    wide = a.shape[0] < a.shape[1]
    return a.T @ jnp.linalg.inv(a @ a.T) if wide else jnp.linalg.inv(a.T @ a) @ a.T


# log(1 + exp(-|x|)) is what guards log(1 + exp(x)) against overflow, beside the part that is not small: together they
# are smooth, and neither is.
_SMALL_PARTS: tuple[Function, ...] = (
    lambda x: jnp.log1p(jnp.exp(-jnp.abs(x))),
    lambda x: jnp.log(1 + jnp.exp(-jnp.abs(x))),
)
_LARGE_PARTS: tuple[tuple[Function, Function], ...] = (
    (lambda x: jnp.maximum(x, 0), lambda x: _softplus(x) - jnp.maximum(x, 0)),
    (jax.nn.relu, lambda x: _softplus(x) - jax.nn.relu(x)),
    (lambda x: jnp.minimum(x, 0), lambda x: _softplus(-x) + jnp.minimum(x, 0)),
    (lambda x: jnp.maximum(-x, 0), lambda x: _softplus(-x) - jnp.maximum(-x, 0)),
)
# log det of a covariance matrix by its factor, which the quadratic form beside it reads too
_LOG_DIAGONALS: tuple[Function, ...] = tuple(
    lambda s, diagonal=diagonal: jnp.sum(jnp.log(diagonal(jnp.linalg.cholesky(s))))
    for diagonal in (jnp.diag, jnp.diagonal)
)


# the quadratic form that stands beside it, and how often it is taken
_SQUARES: tuple[tuple[Function, float], ...] = (
    (lambda z: z @ z, 1.0),
    (lambda z: jnp.sum(z**2), 1.0),
    (lambda z: jnp.sum(z * z), 1.0),
    (lambda z: 0.5 * z @ z, 0.5),
    (lambda z: -0.5 * z @ z, -0.5),
)
_QUADRATIC_FORMS: tuple[tuple[Function, float], ...] = tuple(
    (lambda s, r, solve=solve, square=square: square(solve(jnp.linalg.cholesky(s), r)), factor)
    for solve in (partial(jax.scipy.linalg.solve_triangular, lower=True), jnp.linalg.solve)
    for square, factor in _SQUARES
)
_SOLVES: tuple[Function, ...] = (
    lambda s, r: jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(s), True), r),
    lambda s, r: jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(s, lower=True), r),
    lambda s, r: jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(s), r),
)


def _symmetric(s: Any) -> Any:
    """What a factorisation of a symmetric matrix reads."""
    return (s + s.T) / 2


def _quadratic(s: Any, r: Any, factor: float) -> Any:
    return factor * (r @ jnp.linalg.solve(_symmetric(s), r))


def _poisson(k: Any, mean: Any) -> Any:
    return k * jnp.log(mean) - jax.scipy.special.gammaln(k + 1.0) - mean


def _elu(x: Any) -> Any:
    return jnp.where(x > 0, x, jnp.exp(x) - 1)


def _selu(x: Any) -> Any:
    scale, slope = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
    return scale * jnp.where(x > 0, x, slope * (jnp.exp(x) - 1))


def _rows() -> Iterator[Plain]:
    yield Plain(jnp.cross, _cross, (1, 1))
    for log_diagonal in _LOG_DIAGONALS:
        yield Plain(log_diagonal, lambda s: jnp.linalg.slogdet(_symmetric(s))[1] / 2, (2,), is_shared=True)
    for form, factor in _QUADRATIC_FORMS:
        yield Plain(form, partial(_quadratic, factor=factor), (2, 1), is_shared=True)
    for solve, rank in itertools.product(_SOLVES, (1, 2)):
        yield Plain(solve, lambda s, r: jnp.linalg.solve(_symmetric(s), r), (2, rank), is_shared=True)
    yield Plain(partial(jnp.linalg.norm, ord=jnp.inf), lambda x: jnp.max(jnp.abs(x)), (1,))
    yield Plain(partial(jnp.linalg.norm, ord=2), lambda x: jnp.max(jnp.linalg.svd(x, compute_uv=False)), (2,))
    yield Plain(jnp.linalg.pinv, _pinv, (2,))
    for rank, small, (large, smooth) in itertools.product((0, 1, 2), _SMALL_PARTS, _LARGE_PARTS):
        yield Plain(small, smooth, (rank,), large)
    for rank in (0, 1, 2):
        yield Plain(jax.scipy.stats.poisson.logpmf, _poisson, (rank, rank), counts=True)
        yield Plain(jax.nn.relu6, lambda x: jnp.minimum(jnp.maximum(x, 0), 6), (rank,))
        yield Plain(jax.nn.elu, _elu, (rank,))
        yield Plain(jax.nn.selu, _selu, (rank,))
        yield Plain(jax.scipy.special.entr, _entropy, (rank,))
        yield Plain(jax.scipy.special.xlogy, lambda x, y: x * jnp.log(y), (rank, rank))
        yield Plain(jax.scipy.special.xlog1py, lambda x, y: x * jnp.log(1 + y), (rank, rank))
        yield Plain(jax.scipy.special.rel_entr, _relative_entropy, (rank, rank))
        yield Plain(jax.scipy.special.kl_div, lambda x, y: _relative_entropy(x, y) - x + y, (rank, rank))
        yield Plain(jax.scipy.special.logit, lambda x: jnp.log(x) - jnp.log(1 - x), (rank,))
        yield Plain(jnp.sinc, lambda x: jnp.sin(math.pi * x) / (math.pi * x), (rank,))
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
        places: the equations that it takes; others may stand between them.
        instead: what it is read as.
    """

    inputs: tuple[Value, ...]
    output: Value
    places: frozenset[int]
    instead: Callable[..., Sequence[Any]]


def found(program: Program, place: int) -> Iterator[Found]:
    """The library functions whose equations begin at a place of a program; several may read one factorisation."""
    first = program.equations[place]
    if first.name == "reduce_prod":
        yield from _product(first, place)
        return
    if first.name == "cumlogsumexp":
        axis, back = first.params["axis"], bool(first.params["reverse"])
        [x] = first.inputs
        here = frozenset([place])
        yield Found((x,), first.outputs[0], here, lambda x: [jnp.log(jax.lax.cumsum(jnp.exp(x), axis, reverse=back))])
    for number, row in enumerate(ROWS):
        if _begins(number) != first.name:
            continue
        for given in _arguments(program, first, row.ranks):
            if not all(_is_float(x) for x in (given[1:] if row.counts else given)):
                continue
            library = _traced(number, tuple((x.shape, x.dtype.name) for x in given))
            if library is None:
                continue
            matched = _matched(library, program, place, given)
            if matched is None or not _stands(number, program, given):
                continue
            known, places = matched
            apart = _apart(program, places, known[library.outputs[0]])
            if apart == places or row.is_shared:
                yield Found(given, known[library.outputs[0]], apart, lambda *x, row=row: [row.instead(*x)])


def _product(equation: Equation, place: int) -> Iterator[Found]:
    """The product of all elements: derivatives of exp Σ log x hold for every sign."""
    [x] = equation.inputs
    whole = len(equation.params["axes"]) == len(x.shape) > 0
    if whole and 0 not in x.shape and _is_float(x):
        yield Found((x,), equation.outputs[0], frozenset([place]), lambda x: [jnp.exp(jnp.sum(jnp.log(x)))])


def _arguments(program: Program, first: Equation, ranks: Sequence[int]) -> Iterator[tuple[Value, ...]]:
    """What a function of arrays of these ranks may be given whose first equation this is."""
    variables = [x for x in first.inputs if not isinstance(x, Literal)]
    if len(variables) == len(ranks) and first.body is not None:
        options = [tuple(variables)]
    elif len(ranks) == 1:
        options = [(x,) for x in dict.fromkeys(variables)]
    else:  # the first equation reads one of them, later ones the other
        every = [*program.inputs, *(x for equation in program.equations for x in equation.outputs)]
        options = [(x, y) for x in dict.fromkeys(variables) for y in every if x.shape[:1] == y.shape[:1]]
    yield from (given for given in options if tuple(len(x.shape) for x in given) == tuple(ranks))


def _is_float(value: Value) -> bool:
    return bool(jnp.issubdtype(value.dtype, jnp.floating))


@cache
def _begins(number: int) -> str:
    """The name of a function's first equation."""
    library = _traced(number, tuple(((3,) * rank, "float32") for rank in ROWS[number].ranks))
    return "" if library is None else library.equations[0].name


@lru_cache(maxsize=4096)
def _traced(number: int, given: tuple[tuple[tuple[int, ...], str], ...], *, beside: bool = False) -> Program | None:
    structs = [jax.ShapeDtypeStruct(shape, jnp.dtype(dtype)) for shape, dtype in given]
    function = ROWS[number].beside if beside else ROWS[number].library
    assert function is not None
    try:
        return trace_alone(lambda *arrays: [function(*arrays)], structs)
    except (TypeError, ValueError, NotImplementedError):
        return None


def _stands(number: int, program: Program, given: Sequence[Value]) -> bool:
    """Whether what has to stand beside a function is somewhere in the program."""
    if ROWS[number].beside is None:
        return True
    beside = _traced(number, tuple((x.shape, x.dtype.name) for x in given), beside=True)
    return beside is not None and _matched(beside, program, 0, given) is not None


def _matched(
    library: Program, program: Program, place: int, given: Sequence[Value]
) -> tuple[dict[Value, Value], frozenset[int]] | None:
    """What a function's values are in a program, and where its equations are; None where it is not there."""
    known: dict[Value, Value] = dict(zip(library.inputs, given, strict=True))
    places = []
    for own in library.equations:
        while place < len(program.equations) and not _alike(own, program.equations[place], known):
            place += 1
        if place == len(program.equations):
            return None
        known.update(zip(own.outputs, program.equations[place].outputs, strict=True))
        places.append(place)
        place += 1
    return known, frozenset(places)


def _alike(own: Equation, other: Equation, known: dict[Value, Value]) -> bool:
    """Whether two equations are one, of known values."""
    if own.name != other.name or own.called != other.called or len(own.inputs) != len(other.inputs):
        return False
    if not all(_same(one, two, known) for one, two in zip(own.inputs, other.inputs, strict=True)):
        return False
    return own.text == other.text if own.body is not None else str(own.params) == str(other.params)


def _apart(program: Program, places: frozenset[int], value: Value) -> frozenset[int]:
    """Those of some equations of which nothing is read outside but one value."""
    while True:
        outside = (equation for k, equation in enumerate(program.equations) if k not in places)
        read = {x for equation in outside for x in equation.inputs} | set(program.outputs)
        kept = {k for k in places if any(x in read and x is not value for x in program.equations[k].outputs)}
        if not kept:
            return places
        places -= kept


def _same(own: Value, other: Value, known: dict[Value, Value]) -> bool:
    if isinstance(own, Literal) or isinstance(other, Literal):
        return isinstance(own, Literal) and isinstance(other, Literal) and bool(np.all(own.value == other.value))
    return known.get(own) is other
