"""What a row of the matrix functions states, and what follows from it.

A row states its differential, or better the equation that defines its value, as a sum of products of values and
arguments: A = L L' for cholesky, A Y = B for solve. With F(x, y) = 0 and R the solution of the linearised equation,
R = (dF/dy)^-1,

    dy  = -R dF/dx dx,          d²y = -R (F_xx[dx, dx] + 2 F_xy[dx, dy] + F_yy[dy, dy]).

An adjoint a of y so meets the second derivative as a' R, one vector, times products of differentials of x and of y:
the differentials of y are those that the first derivative needs anyhow, and no inverse is differentiated.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from nablax.contraction.index import Index, Label, along, fresh
from nablax.contraction.term import Axes, Factor, Operand, Term, compose


class ArrayNode(Operand, Protocol):
    """What a row knows of a node."""

    @property
    def dtype(self) -> np.dtype[Any]: ...


N = TypeVar("N", bound=ArrayNode)
Terms = list[Term[Any]]
# For each argument the terms of the local Jacobian, sides (value axes, argument axes).
Differential = Mapping[int, Terms]
# For each pair of slots the terms of a core, sides (open axes, axes of the first, axes of the second).
Forms = Mapping[tuple[int, int], Terms]


class Maker(Protocol[N]):
    """What a row needs of the graph to build the factors of its differential."""

    def matrix_function(self, name: str, inputs: Sequence[N], shape: Sequence[int], **params: Any) -> N: ...

    def constant(self, value: Any) -> N: ...

    def cast(self, node: N, dtype: Any) -> N: ...


@dataclass(frozen=True, slots=True)
class Product:
    """One product in an equation.

    Args:
        coefficient: a number.
        factors: slots with letters for their last axes: k for argument k, ~k for value k. Axes before those are the
            batch, shared by all.
    """

    coefficient: float
    factors: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Equation:
    """A sum of products that is zero, and how values answer where it is not.

    Args:
        residual: letters of the sum's axes.
        products: its terms; constants that no argument moves may be left out.
        response: from graph, values, arguments and the number of a value: R for that value, terms with sides
            (value axes, residual axes).
    """

    residual: str
    products: tuple[Product, ...]
    response: Callable[[Maker[Any], Sequence[Any], Sequence[Any], int], Terms]


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """One matrix function.

    Args:
        name: its name.
        evaluate: the value by JAX; takes arrays and the row's parameters. With several values, a tuple of them; a node
            is one of them, by its parameter `output`.
        differential: from graph, value node, argument nodes and parameters: for each argument the terms of
            the local Jacobian.
        flops: operations from the shapes of value and arguments.
        sample: arguments for tests, from a generator.
        shapes: for a row with several values, their shapes from the shapes of the arguments and the parameters.
        equations: from the parameters, the equations that define the value; none where the differential is stated.
        projection: arrays moved into the domain where it is a linear space (symmetric, triangular); the differential
            holds along it. None where all matrices are allowed.
        function: the function whose calls it is, if it is one: of JAX's library or the user's, under `jax.jit` or with
            a rule of its own (`jax.custom_jvp`).
    """

    name: str
    evaluate: Callable[..., Any]
    differential: Callable[..., Differential]
    flops: Callable[..., float]
    sample: Callable[[np.random.Generator], tuple[tuple[npt.NDArray[Any], ...], dict[str, Any]]]
    shapes: Callable[..., tuple[tuple[int, ...], ...]] | None = None
    equations: Callable[..., tuple[Equation, ...]] | None = None
    projection: Callable[..., tuple[Any, ...]] | None = None
    function: Callable[..., Any] | None = None

    def values(self, graph: Maker[Any], y: Any, inputs: Sequence[Any], params: Mapping[str, Any]) -> tuple[Any, ...]:
        """All values, of which `y` is one."""
        if self.shapes is None:
            return (y,)
        shared = {name: value for name, value in params.items() if name != "output"}
        shapes = self.shapes(*(x.shape for x in inputs), **shared)
        return tuple(
            graph.matrix_function(self.name, inputs, shape, output=k, **shared) for k, shape in enumerate(shapes)
        )


def network(coefficient: float, factors: Sequence[tuple[Any, str]], *sides: tuple[Sequence[int], str]) -> Term[Any]:
    """A term from letters.

    Args:
        coefficient: a number.
        factors: operands with letters for their last axes; axes before those are the batch.
        sides: shapes with letters, in the same way.

    Example:
        >>> batch_of_products = network(1.0, [(a, "ik"), (b, "kj")], (c.shape, "ij"))  # doctest: +SKIP
    """
    shaped = [*((x.shape, letters) for x, letters in factors), *sides]
    rank = max(len(shape) - len(letters) for shape, letters in shaped)
    whole = next(shape for shape, letters in shaped if len(shape) - len(letters) == rank)
    batch = fresh(whole[:rank])
    known: dict[str, Index] = {}

    def axes(shape: Sequence[int], letters: str) -> Axes:
        lead = len(shape) - len(letters)
        for letter, size in zip(letters, shape[lead:], strict=True):
            known.setdefault(letter, along(Label(size)))
        return (*(batch if lead else ()), *(known[letter] for letter in letters))

    return Term(
        coefficient,
        tuple(Factor(x, axes(x.shape, letters)) for x, letters in factors),
        tuple(axes(shape, letters) for shape, letters in sides),
    )


def _residual_shape(equation: Equation, operand: Callable[[int], Any]) -> tuple[int, ...]:
    sizes: dict[str, int] = {}
    batch: tuple[int, ...] = ()
    for product in equation.products:
        for slot, letters in product.factors:
            shape = operand(slot).shape
            sizes.update(zip(letters, shape[len(shape) - len(letters) :], strict=True))
            batch = shape[: len(shape) - len(letters)]
    return (*batch, *(sizes[letter] for letter in equation.residual))


def _without(product: Product, *places: int) -> tuple[tuple[int, str], ...]:
    return tuple(pair for k, pair in enumerate(product.factors) if k not in places)


def by_equations(
    equations: tuple[Equation, ...], graph: Maker[Any], values: Sequence[Any], inputs: Sequence[Any], place: int
) -> Differential:
    """The differential of one value: minus R times the derivative of the equations in each argument."""
    found: dict[int, Terms] = {}

    def operand(slot: int) -> Any:
        return inputs[slot] if slot >= 0 else values[~slot]

    for equation in equations:
        if all(slot < 0 for product in equation.products for slot, _ in product.factors):
            continue
        shape = _residual_shape(equation, operand)
        answers = equation.response(graph, values, inputs, place)
        for product in equation.products:
            for k, (slot, letters) in enumerate(product.factors):
                if slot < 0:
                    continue
                rest = [(operand(other), theirs) for other, theirs in _without(product, k)]
                slope = network(-product.coefficient, rest, (shape, equation.residual), (inputs[slot].shape, letters))
                for answer in answers:
                    whole = compose(answer, 1, slope, 0)
                    if whole is not None:
                        found.setdefault(slot, []).append(whole)
    return found


def second_by_equations(
    equations: tuple[Equation, ...],
    graph: Maker[Any],
    values: Sequence[Any],
    inputs: Sequence[Any],
    place: int,
    adjoint: Term[Any],
    multiply_out: Callable[[Term[Any]], Term[Any]],
) -> Forms:
    """An adjoint of one value times its second derivative, as forms between arguments and values.

    Args:
        equations: those of the row.
        graph: makes nodes.
        values: all values of the row.
        inputs: its arguments.
        place: which value the adjoint belongs to.
        adjoint: sides (open axes, axes of the value).
        multiply_out: makes one factor of what is summed.

    Returns:
        For each pair of slots (k for argument k, ~k for value k) terms with sides (open axes, first, second). Each
        counts with its transpose for different slots; for equal ones the terms are symmetric together.
    """
    found: dict[tuple[int, int], Terms] = {}

    def operand(slot: int) -> Any:
        return inputs[slot] if slot >= 0 else values[~slot]

    for equation in equations:
        shape = _residual_shape(equation, operand)
        weights = [
            multiply_out(whole)
            for answer in equation.response(graph, values, inputs, place)
            if (whole := compose(adjoint, 1, answer, 0)) is not None
        ]
        for product in equation.products:
            for p, q in itertools.combinations(range(len(product.factors)), 2):
                (s, first), (t, second) = product.factors[p], product.factors[q]
                rest = [(operand(other), theirs) for other, theirs in _without(product, p, q)]
                slope = network(
                    -product.coefficient,
                    rest,
                    (shape, equation.residual),
                    (operand(s).shape, first),
                    (operand(t).shape, second),
                )
                for weight in weights:
                    form = compose(weight, 1, slope, 0)
                    if form is not None:
                        found.setdefault((s, t), []).append(form)
    return found
