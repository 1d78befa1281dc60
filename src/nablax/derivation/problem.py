"""What is to be differentiated: a formula or a Python function, with names, sizes and points."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from nablax.errors import DerivationError
from nablax.formula import (
    Formula,
    Kind,
    Operation,
    Shape,
    Size,
    Typed,
    Variable,
    choose_sizes,
    parse_formula,
    sample_point,
    to_function,
)
from nablax.printing.expression import Shape as Names

DTYPE = np.dtype(np.float64)
Point = dict[str, npt.NDArray[np.float64]]
SYMMETRIC = frozenset({Kind.SYMMETRIC, Kind.SPD, Kind.DIAGONAL})
SIZE_NAMES = ("n", "m", "p", "q", "k", "l", "r", "s")


@dataclass(frozen=True)
class Argument:
    """One argument of the function.

    Args:
        name: how it is written.
        shape: names of its sizes.
        kind: what it is declared to be.
    """

    name: str
    shape: Names
    kind: Kind


@dataclass(frozen=True)
class Problem:
    """A function to differentiate.

    Args:
        arguments: in the order of the function's parameters.
        wrt: which of them derivatives are taken by.
        formula: the formula, if it is one.
        function: a JAX function of the arguments, for given sizes.
        symbolic_sizes: elements per size name for the symbolic trace.
        numeric_sizes: elements per size name for checks.
        sizes_in_numbers: whether a number that contains a symbolic size means that size.
        points: a point of the domain from a seed.
    """

    arguments: tuple[Argument, ...]
    wrt: int
    formula: Formula | None
    function: Callable[[Mapping[str, int]], Callable[..., Any]]
    symbolic_sizes: Mapping[str, int]
    numeric_sizes: Mapping[str, int]
    sizes_in_numbers: bool
    points: Callable[[int], Point]

    def structs(self, sizes: Mapping[str, int]) -> list[jax.ShapeDtypeStruct]:
        """Shapes of the arguments for given sizes."""
        return [
            jax.ShapeDtypeStruct(tuple(_length(size, sizes) for size in argument.shape), DTYPE)
            for argument in self.arguments
        ]


def _length(size: str, sizes: Mapping[str, int]) -> int:
    return int(np.prod([int(part) if part.isdigit() else sizes[part] for part in size.split("*")]))


def from_formula(formula: Formula, wrt: str | int | None) -> Problem:
    """The problem of differentiating a formula.

    Args:
        formula: what was parsed.
        wrt: a variable, by name or place; None where there is only one that is not constant.

    Returns:
        The problem.

    Raises:
        DerivationError: no such variable, or one that was declared constant.
    """
    names = list(formula.variables)
    free = [name for name in names if not formula.variables[name].constant]
    if wrt is None:
        if len(free) != 1:
            raise DerivationError(f"say by which variable to differentiate: wrt= one of {', '.join(free) or 'none'}")
        wrt = free[0]
    name = wrt if isinstance(wrt, str) else (names[wrt] if -len(names) <= wrt < len(names) else str(wrt))
    if name not in names:
        raise DerivationError(f"the formula has no variable {name}; it has {', '.join(names) or 'none'}")
    if formula.variables[name].constant:
        raise DerivationError(f"{name} is declared constant; leave 'constant' out to differentiate by it")
    arguments = [
        Argument(variable.name, tuple(str(size) for size in variable.shape.axes), variable.kind)
        for variable in formula.variables.values()
    ]
    numeric = choose_sizes(formula)
    traced, sizes_as_arguments = _with_size_variables(_elementary(formula))
    symbolic = dict(zip(formula.sizes, _large_primes(formula), strict=False))
    symbolic = {size: max(length, 1) for size, length in symbolic.items()}
    extra = [Argument(size, (), Kind.SCALAR) for size in sizes_as_arguments]

    def function(sizes: Mapping[str, int]) -> Callable[..., Any]:
        given = {size: sizes[size] for size in formula.sizes}
        if sizes is symbolic or given == symbolic:
            return to_function(traced, given)
        plain = to_function(formula, given)
        return lambda *values: plain(*values[: len(names)])

    return Problem(
        (*arguments, *extra),
        names.index(name),
        formula,
        function,
        symbolic,
        numeric,
        True,
        lambda seed: {
            **sample_point(formula, seed, numeric),
            **{s: np.asarray(float(numeric[s])) for s in sizes_as_arguments},
        },
    )


def _large_primes(formula: Formula) -> list[int]:
    """Lengths that stand for nothing else in the formula: primes that divide no literal of it."""
    literals = {abs(node.value) for node in formula.expression.walk() if node.value is not None}
    fixed = {size.coefficient for node in formula.expression.walk() for size in node.shape.axes}
    found: list[int] = []
    candidate = 41
    while len(found) < len(formula.sizes):
        prime = all(candidate % k for k in range(2, int(candidate**0.5) + 1))
        clean = all(_free_of(value, candidate) for value in literals) and candidate not in fixed
        if prime and clean:
            found.append(candidate)
        candidate += 2
    return found


def _free_of(value: float, prime: int) -> bool:
    return value == 0 or not any(
        abs(value * s / prime - round(value * s / prime)) < 1e-9 and round(value * s) for s in (1,)
    )


def _rebuilt(node: Typed, change: Callable[[Typed], Typed], known: dict[int, Typed]) -> Typed:
    if id(node) not in known:
        operands = tuple(_rebuilt(operand, change, known) for operand in node.operands)
        same = all(new is old for new, old in zip(operands, node.operands, strict=True))
        known[id(node)] = change(node if same else replace(node, operands=operands))
    return known[id(node)]


def _elementary(formula: Formula) -> Formula:
    """logsumexp, softmax and softplus by their definitions; JAX's own guard against overflow with branches
    that are no part of the mathematics.
    """

    def change(node: Typed) -> Typed:
        if node.operation is Operation.CALL and node.label == "diag":
            return _diagonal(node)
        if node.operation is not Operation.CALL or node.label not in ("logsumexp", "softmax", "softplus"):
            return node
        [operand] = node.operands
        exp = Typed(Operation.CALL, (operand,), operand.shape, node.syntax, "exp")
        if node.label == "softplus":
            one = Typed(Operation.NUMBER, (), Shape(), node.syntax, value=1)
            total = Typed(Operation.ADD, (one, exp), operand.shape, node.syntax)
            return Typed(Operation.CALL, (total,), operand.shape, node.syntax, "log")
        total = Typed(Operation.CALL, (exp,), Shape(), node.syntax, "sum")
        if node.label == "softmax":
            if operand.shape.is_matrix:
                rows = Typed(
                    Operation.PRODUCT,
                    (exp, _ones(operand.shape.axes[1], node)),
                    Shape(operand.shape.axes[:1]),
                    node.syntax,
                )
                one = Typed(Operation.NUMBER, (), Shape(), node.syntax, value=1)
                over = Typed(Operation.DIVIDE, (one, rows), rows.shape, node.syntax)
                columns = Typed(Operation.OUTER, (over, _ones(operand.shape.axes[1], node)), operand.shape, node.syntax)
                return Typed(Operation.MULTIPLY, (exp, columns), operand.shape, node.syntax)
            return Typed(Operation.DIVIDE, (exp, total), operand.shape, node.syntax)
        return Typed(Operation.CALL, (total,), Shape(), node.syntax, "log")

    return replace(formula, expression=_rebuilt(formula.expression, change, {}))


def _ones(size: Size, node: Typed) -> Typed:
    one = Typed(Operation.NUMBER, (), Shape(), node.syntax, value=1)
    return Typed(Operation.CALL, (one,), Shape((size,)), node.syntax, "vector")


def _diagonal(node: Typed) -> Typed:
    """The diagonal by sums and products: diag(x) = I ⊙ x1ᵀ, diag(A) = (I ⊙ A) 1."""
    [operand] = node.operands
    size = operand.shape.axes[0]
    square = Shape((size, size))
    eye = Typed(Operation.CALL, (), square, node.syntax, "eye")
    if operand.shape.is_matrix:
        kept = Typed(Operation.MULTIPLY, (eye, operand), square, node.syntax)
        return Typed(Operation.PRODUCT, (kept, _ones(size, node)), node.shape, node.syntax)
    spread = Typed(Operation.OUTER, (operand, _ones(size, node)), square, node.syntax)
    return Typed(Operation.MULTIPLY, (eye, spread), square, node.syntax)


def _with_size_variables(formula: Formula) -> tuple[Formula, list[str]]:
    """The formula with sizes that are used as numbers as additional variables."""
    found: dict[str, None] = {}

    def change(node: Typed) -> Typed:
        if node.operation is Operation.SIZE and len(node.options) == 2 and node.options[0] == 1:
            name = str(node.options[1])
            found[name] = None
            return Typed(Operation.VARIABLE, (), Shape(), node.syntax, name)
        return node

    expression = _rebuilt(formula.expression, change, {})
    sizes = {name: Variable(name, Kind.SCALAR, Shape(), constant=True) for name in found}
    return replace(formula, expression=expression, variables={**formula.variables, **sizes}), list(found)


def from_function(
    function: Callable[..., Any],
    args: Sequence[Any],
    wrt: str | int | None,
    declare: Mapping[str, Kind] | None = None,
) -> Problem:
    """The problem of differentiating a Python function at the shapes of example arguments."""
    arrays = [np.asarray(value, np.float64) for value in args]
    names = _parameter_names(function, len(arrays))
    place = 0 if wrt is None else (names.index(wrt) if isinstance(wrt, str) and wrt in names else wrt)
    if isinstance(place, str) or not -len(names) <= place < len(names):
        raise DerivationError(f"the function has no argument {wrt}; it has {', '.join(names)}")
    lengths = dict.fromkeys(n for array in arrays for n in array.shape)
    letters = [letter for letter in SIZE_NAMES if letter not in names]
    sizes = {length: letters[k] if k < len(letters) else f"n{k}" for k, length in enumerate(lengths)}
    kinds = (Kind.SCALAR, Kind.VECTOR, Kind.MATRIX)
    for name, array in zip(names, arrays, strict=True):
        if array.ndim > 2:
            raise DerivationError(
                f"argument {name} has {array.ndim} axes; closed forms take scalars, vectors and matrices"
            )
    arguments = tuple(
        Argument(name, tuple(sizes[n] for n in array.shape), (declare or {}).get(name, kinds[array.ndim]))
        for name, array in zip(names, arrays, strict=True)
    )

    def points(seed: int) -> Point:
        if seed == 0:
            return dict(zip(names, arrays, strict=True))
        random = np.random.default_rng(seed)
        return {name: array * (1 + 0.05 * random.uniform(-1, 1)) for name, array in zip(names, arrays, strict=True)}

    known = {name: length for length, name in sizes.items()}
    return Problem(arguments, place % len(names), None, lambda _: function, known, known, False, points)


def _parameter_names(function: Callable[..., Any], count: int) -> list[str]:
    try:
        names = [
            p.name
            for p in inspect.signature(function).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):
        names = []
    return names[:count] if len(names) >= count else [f"x{k}" for k in range(count)]


__all__ = ["Argument", "Point", "Problem", "from_formula", "from_function", "parse_formula"]
