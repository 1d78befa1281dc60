"""A function of arrays whose differential is stated as einsum terms in its value and its arguments."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.errors import DefinitionError
from nablax.ops.matrix_row import MatrixRow, network

Function = Callable[..., Any]
Sample = Callable[[np.random.Generator], Sequence[Any]]

VALUE = "value"
POINTS = 3
TOLERANCE = 1e-6
SPECIFICATION = re.compile(r"^([a-z]*(?:,[a-z]*)*)->([a-z]*),([a-z]*)$")


@dataclass(frozen=True, slots=True)
class EinsumTerm:
    """One product in a Jacobian.

    Args:
        coefficient: a number.
        letters: of each factor.
        row: letters of the value's axes.
        column: letters of the argument's axes; a letter in both is a Kronecker delta.
        factors: for each factor the number of an argument, or "value".
    """

    coefficient: float
    letters: tuple[str, ...]
    row: str
    column: str
    factors: tuple[int | str, ...]


def einsum_term(name: str, given: Any) -> EinsumTerm:
    """A term as the user writes it: (coefficient, "ij,kl->il,jk", factor, factor, …).

    Raises:
        DefinitionError: it is none.
    """
    wrong = (
        f"{name} was given the einsum term {given!r}. A term is (coefficient, 'factors->value axes,argument axes', "
        "factor, …), each factor 'value' or the number of an argument; d(inverse) is "
        "(-1.0, 'ij,kl->il,jk', 'value', 'value')."
    )
    if not isinstance(given, Sequence) or len(given) < 2 or not isinstance(given[1], str):
        raise DefinitionError(wrong)
    coefficient, text, *factors = given
    found = SPECIFICATION.match(text.replace(" ", ""))
    if found is None or any(not (isinstance(f, int) or f == VALUE) for f in factors):
        raise DefinitionError(wrong)
    letters = tuple(found[1].split(",")) if factors else ()
    if len(letters) != len(factors):
        raise DefinitionError(wrong)
    return EinsumTerm(float(coefficient), letters, found[2], found[3], tuple(factors))


def with_terms(name: str, value: Function, terms: Sequence[Sequence[EinsumTerm]]) -> Function:
    """The function with its rule, as JAX knows it."""

    def plain(*arguments: Any) -> Any:
        return value(*arguments)

    plain.__name__ = plain.__qualname__ = name
    ruled: Any = jax.custom_jvp(plain)

    @ruled.defjvp  # type: ignore[untyped-decorator, unused-ignore]
    def _(primals: Any, tangents: Any) -> Any:
        found = ruled(*primals)
        moved = jnp.zeros_like(found)
        for own, tangent in zip(terms, tangents, strict=True):
            for term in own:
                factors = [found if f == VALUE else primals[int(f)] for f in term.factors]
                text = f"{','.join((*term.letters, term.column))}->{term.row}"
                moved = moved + term.coefficient * jnp.einsum(text, *factors, tangent)
        return found, moved

    def function(*arguments: Any) -> Any:
        dtype = jnp.result_type(*arguments, 1.0)
        return ruled(*(jnp.asarray(x, dtype) for x in arguments))

    function.__name__ = function.__qualname__ = name
    return function


def matrix_row(name: str, function: Function, terms: Sequence[Sequence[EinsumTerm]], sample: Sample) -> MatrixRow:
    """The row of the engine's table."""

    def differential(graph: Any, y: Any, inputs: Sequence[Any]) -> Mapping[int, list[Any]]:
        return {
            place: [
                network(
                    term.coefficient,
                    [
                        (y if f == VALUE else inputs[int(f)], letters)
                        for f, letters in zip(term.factors, term.letters, strict=True)
                    ],
                    (y.shape, term.row),
                    (inputs[place].shape, term.column),
                )
                for term in own
            ]
            for place, own in enumerate(terms)
        }

    def flops(y: tuple[int, ...], *x: tuple[int, ...]) -> float:
        return float(sum(math.prod(shape) ** 1.5 for shape in x) + math.prod(y))

    def drawn(random: np.random.Generator) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return tuple(np.asarray(x) for x in sample(random)), {}

    return MatrixRow(name, function, differential, flops, drawn, function=function)


def square(random: np.random.Generator) -> Sequence[Any]:
    """A well-conditioned matrix: where a function is checked that states no domain."""
    return (random.normal(size=(3, 3)) + 4 * np.eye(3),)


def check_terms(name: str, value: Function, terms: Sequence[Sequence[EinsumTerm]], sample: Sample) -> None:
    """Compare the differential with differences of the value along random directions, in double precision.

    Raises:
        DefinitionError: at a point where they differ, with both numbers.
    """
    random = np.random.default_rng(0)
    with jax.enable_x64(True):
        for _ in range(POINTS):
            point = [np.asarray(x, np.float64) for x in sample(random)]
            if len(point) != len(terms):
                raise DefinitionError(
                    f"{name} was given terms for {len(terms)} arguments and a domain of {len(point)}. Give one list of "
                    "terms for each argument."
                )
            found = np.asarray(value(*map(jnp.asarray, point)))
            if not np.isfinite(found).all():
                raise DefinitionError(f"{name} is not finite at {point[0].tolist()}, inside its domain.")
            for place, own in enumerate(terms):
                direction = random.normal(size=point[place].shape)
                stated = np.zeros_like(found)
                for term in own:
                    factors = [found if f == VALUE else point[int(f)] for f in term.factors]
                    text = f"{','.join((*term.letters, term.column))}->{term.row}"
                    try:
                        stated = stated + term.coefficient * np.einsum(text, *factors, direction)
                    except ValueError as error:
                        raise DefinitionError(
                            f"{name} has an einsum term that does not fit its arrays: {error}"
                        ) from error
                differences = _differences(value, point, place, direction)
                scale = np.maximum(np.abs(differences).max(), 1e-3)
                wrong = np.abs(stated - differences) / scale
                if not (wrong <= TOLERANCE).all():
                    where = np.unravel_index(int(np.argmax(wrong)), found.shape)
                    raise DefinitionError(
                        f"{name} was defined with a wrong rule: at argument {place} = {_shown(point[place])}, along "
                        f"{_shown(direction)}, element {list(map(int, where))} of its derivative is stated as "
                        f"{stated[where]:.8g}, and differences of its value say {differences[where]:.8g}. Correct the "
                        "terms."
                    )


def _differences(value: Function, point: Sequence[Any], place: int, direction: Any) -> Any:
    def at(step: float) -> Any:
        moved = [x + (step * direction if k == place else 0.0) for k, x in enumerate(point)]
        return np.asarray(value(*map(jnp.asarray, moved)))

    step = 1e-3
    near = (at(step) - at(-step)) / (2 * step)
    far = (at(2 * step) - at(-2 * step)) / (4 * step)
    return (4 * near - far) / 3


def _shown(array: Any) -> str:
    return str(np.round(array, 4).tolist())
