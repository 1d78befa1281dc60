"""What is to be differentiated: a formula or a Python function, with names, sizes and points."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from nablax.derivation.algebra import is_prime, is_safe
from nablax.derivation.alike import alike
from nablax.derivation.elementary import elementary, rebuilt
from nablax.derivation.tensors import rational
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
    parse_declarations,
    sample_point,
    to_function,
)
from nablax.formula.declarations import other_spelling
from nablax.formula.symmetry import SYMMETRIC_KINDS
from nablax.formula.values import NUMPY
from nablax.printing.expression import Shape as Names

DTYPE = np.dtype(np.float64)
DATA = "biu"  # kinds of dtypes that are not changed: labels, counts, masks
Point = dict[str, npt.NDArray[np.float64]]
FIRST_PRIME = 101
LONGEST_LENGTH = 30
MOVED = 0.1  # how far from a kink, relative to each entry
SIZE_NAMES = ("n", "m", "p", "q", "k", "l", "r", "s")


@dataclass(frozen=True)
class Argument:
    """One argument of the function.

    Args:
        name: how it is written.
        shape: names of its sizes.
        kind: what it is declared to be.
        dtype: of whole numbers and of truths where it is data, such as labels.
    """

    name: str
    shape: Names
    kind: Kind
    dtype: np.dtype[Any] = DTYPE


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
        points: a point of the domain from a seed.
        numeric: the function of arrays of the sizes of the check: by NumPy for a formula, else by JAX.
        units: the extra arguments that stand for numbers with a name: sizes, and pi.
        is_moved: whether its points lie beside the example, where that is a kink.
    """

    arguments: tuple[Argument, ...]
    wrt: int
    formula: Formula | None
    function: Callable[[Mapping[str, int]], Callable[..., Any]]
    symbolic_sizes: Mapping[str, int]
    numeric_sizes: Mapping[str, int]
    points: Callable[[int], Point]
    numeric: Callable[..., Any]
    units: frozenset[str] = frozenset()
    is_moved: bool = False

    @property
    def lengths(self) -> dict[int, str]:
        """What each length of the symbolic trace is called, n-1 of ranges of places too."""
        found = {length: name for name, length in self.symbolic_sizes.items()}
        if self.formula is None:
            moved = {} if self.symbolic_sizes == self.numeric_sizes else {1: "+1", -1: "-1"}
            return {length + k: f"{name}{sign}" for length, name in found.items() for k, sign in moved.items()} | found
        nodes = self.formula.expression.walk()
        axes = {axis for node in nodes for axis in node.shape.axes if axis.offset}
        return {axis.value(self.symbolic_sizes): str(axis) for axis in axes} | found

    def structs(self, sizes: Mapping[str, int]) -> list[jax.ShapeDtypeStruct]:
        """Shapes of the arguments for given sizes."""
        return [
            jax.ShapeDtypeStruct(tuple(_length(size, sizes) for size in argument.shape), argument.dtype)
            for argument in self.arguments
        ]


def _length(size: str, sizes: Mapping[str, int]) -> int:
    stem, offset = _with_offset(size)
    return int(np.prod([sizes[part] if part in sizes else int(part) for part in stem.split("*")])) + offset


def _with_offset(size: str) -> tuple[str, int]:
    """A size such as n-1 as n and -1."""
    found = re.fullmatch(r"(.*?)([+-][0-9]+)?", size)
    return (size, 0) if found is None else (found[1], int(found[2] or 0))


def from_formula(formula: Formula, wrt: str | int | None, start: int = FIRST_PRIME) -> Problem:
    """The problem of differentiating a formula.

    Args:
        formula: what was parsed.
        wrt: a variable, by name or place; None where there is only one that is not constant.
        start: the length of the first size of the trace, at least.

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
    name = other_spelling(name) if name not in names and other_spelling(name) in names else name
    if name not in names:
        raise DerivationError(f"the formula has no variable {name}; it has {', '.join(names) or 'none'}")
    if formula.variables[name].constant:
        raise DerivationError(f"{name} is declared constant; leave 'constant' out to differentiate by it")
    formula = _with_symbols(formula)
    arguments = [
        Argument(variable.name, tuple(str(size) for size in variable.shape.axes), variable.kind)
        for variable in formula.variables.values()
    ]
    numeric = choose_sizes(formula)
    traced, units = _with_units(elementary(formula))
    symbolic = dict(zip(formula.sizes, _large_primes(formula, start), strict=False))

    def function(sizes: Mapping[str, int]) -> Callable[..., Any]:
        given = {size: sizes[size] for size in formula.sizes}
        if given == symbolic:
            return to_function(traced, given)
        plain = to_function(formula, given)
        return lambda *values: plain(*values[: len(names)])

    by_numpy = to_function(formula, numeric, NUMPY)
    values = {name: np.asarray(numeric.get(name, np.pi), np.float64) for name in units}
    return Problem(
        (*arguments, *(Argument(name, (), Kind.SCALAR) for name in units)),
        names.index(name),
        formula,
        function,
        symbolic,
        numeric,
        lambda seed: {**sample_point(formula, seed, numeric), **values},
        lambda *arrays: by_numpy(*arrays[: len(names)]),
        frozenset(units),
    )


def _large_primes(formula: Formula, start: int) -> list[int]:
    """Lengths that stand for nothing else in the formula: primes that divide no literal of it, nor what a literal
    becomes as an exponent that loses one or two.
    """
    literals = {rational(abs(node.value)) for node in formula.expression.walk() if node.value is not None}
    numbers = {abs(n.numerator - k * n.denominator) for n in literals if isinstance(n, Fraction) for k in (0, 1, 2, 3)}
    numbers |= {n.denominator for n in literals if isinstance(n, Fraction)}
    numbers |= {size.coefficient for node in formula.expression.walk() for size in node.shape.axes}
    found: list[int] = []
    candidate = start
    while len(found) < len(formula.sizes):
        prime = is_prime(candidate) and not is_safe(candidate)
        if prime and not any(number and number % candidate == 0 for number in numbers):
            found.append(candidate)
        candidate += 2
    return found


def _with_symbols(formula: Formula) -> Formula:
    """Long declared lengths as symbols of that name, so that a check need not be as large."""
    lengths = {
        size.coefficient
        for node in formula.expression.walk()
        for size in node.shape.axes
        if size.coefficient > LONGEST_LENGTH and not size.symbols
    }
    if not lengths:
        return formula

    def named(size: Size) -> Size:
        return Size(1, (str(size.coefficient),)) if size.coefficient in lengths and not size.symbols else size

    def changed(shape: Shape) -> Shape:
        return Shape(tuple(map(named, shape.axes)), shape.is_row)

    expression = rebuilt(formula.expression, lambda node: replace(node, shape=changed(node.shape)))
    variables = {name: replace(one, shape=changed(one.shape)) for name, one in formula.variables.items()}
    sizes = (*formula.sizes, *map(str, sorted(lengths)))
    return replace(formula, expression=expression, variables=variables, sizes=sizes)


def _with_units(formula: Formula) -> tuple[Formula, list[str]]:
    """The formula with sizes that are used as numbers, and pi, as additional variables."""
    found: dict[str, None] = {}

    def change(node: Typed) -> Typed:
        is_size = node.operation is Operation.SIZE and len(node.options) == 2 and node.options[0] == 1
        if not is_size and node.operation is not Operation.CONSTANT:
            return node
        name = str(node.options[1]) if is_size else node.label
        found[name] = None
        return Typed(Operation.VARIABLE, (), Shape(), node.syntax, name)

    expression = rebuilt(formula.expression, change)
    units = {name: Variable(name, Kind.SCALAR, Shape(), constant=True) for name in found}
    return replace(formula, expression=expression, variables={**formula.variables, **units}), list(found)


def from_function(
    function: Callable[..., Any],
    args: Sequence[Any],
    wrt: str | int | None,
    declare: str | Mapping[str, str] | None = None,
    start: int = FIRST_PRIME,
    others: Sequence[str | int] = (),
    longer: Collection[int] = (),
) -> Problem:
    """The problem of differentiating a Python function at the shapes of example arguments.

    Args:
        function: of arrays, written in JAX.
        args: the example; equal lengths are one size.
        wrt: an argument, by name or place.
        declare: kinds of arguments, see `parse_declarations`; their sizes are not read.
        start: the length of the first size of the trace, at least; 0 for the lengths of the example.
        others: arguments by which another derivative of the same answer is taken.
        longer: lengths of the example that are one more than another, as n+1 where a column of ones is added.

    Returns:
        The problem. Where the trace is at the lengths of the example, these are the names of the sizes.

    Raises:
        DerivationError: an argument that is no array of numbers, or no such argument.
    """
    arrays = [_array(value, place) for place, value in enumerate(args)]
    names = _parameter_names(function, len(arrays))
    place, *also = (_place(one, names) for one in (0 if wrt is None else wrt, *others))
    for one in (place, *also):
        arrays[one] = arrays[one].astype(DTYPE)
    for name, array in zip(names, arrays, strict=True):
        if array.ndim > 2:
            raise DerivationError(
                f"argument {name} has {array.ndim} axes; closed forms take scalars, vectors and matrices"
            )
    lengths = [n for n in dict.fromkeys(n for array in arrays for n in array.shape) if n not in longer]
    letters = [letter for letter in SIZE_NAMES if letter not in names]
    called = {
        length: (letters[k] if k < len(letters) else f"n{k}") if start else str(length)
        for k, length in enumerate(lengths)
    }
    own = {name: length for length, name in called.items()}
    called |= {length: f"{called[length - 1]}+1" for length in longer}
    kinds = _kinds(declare, names, arrays)
    arguments = tuple(
        Argument(name, tuple(called[n] for n in array.shape), kind, array.dtype)
        for name, array, kind in zip(names, arrays, kinds, strict=True)
    )

    def points(seed: int) -> Point:
        if seed == 0:
            return dict(zip(names, arrays, strict=True))
        random = np.random.default_rng(seed)
        scales = (1 + 0.05 * random.uniform(-1, 1) for _ in names)
        given = zip(names, arrays, scales, strict=True)
        return {name: array if array.dtype.kind in DATA else array * scale for name, array, scale in given}

    symbolic = _in_order(own, _primes_from(start, len(own), is_safe)) if start else own
    return Problem(arguments, place, None, lambda _: function, symbolic, own, points, jax.jit(function))


def resized(problem: Problem) -> Problem:
    """The problem of a function with its check at other lengths, whose arrays hold entries of the example."""
    lengths = _in_order(problem.numeric_sizes, _primes_from(3, len(problem.numeric_sizes)))

    def points(seed: int) -> Point:
        random = np.random.default_rng(100 + seed)
        example = problem.points(0)
        shapes = {a.name: tuple(_length(size, lengths) for size in a.shape) for a in problem.arguments}
        return {name: alike(example[name], shape, random) for name, shape in shapes.items()}

    return replace(problem, numeric_sizes=lengths, points=points)


def moved(problem: Problem) -> Problem:
    """The problem of a function with its check beside the example: differences there may cross a kink."""
    name, kind = problem.arguments[problem.wrt].name, problem.arguments[problem.wrt].kind

    def points(seed: int) -> Point:
        point = problem.points(seed)
        at = point[name]
        random = np.random.default_rng((200 + seed, problem.wrt))  # two arguments do not move together
        shift = MOVED * random.uniform(0.5, 1, at.shape) * random.choice([-1, 1], at.shape)
        if kind in (Kind.TRIANGULAR, Kind.DIAGONAL, Kind.ORTHOGONAL):
            there = at * (1 + shift * (kind is not Kind.ORTHOGONAL))
        else:
            there = at + shift * np.where(at == 0, 1, np.abs(at))
        sign = 1 if kind in SYMMETRIC_KINDS else -1 if kind is Kind.SKEW else 0
        return {**point, name: np.asarray((there + sign * there.T) / 2 if sign else there)}

    return replace(problem, points=points, is_moved=True)


def _in_order(sizes: Mapping[str, int], lengths: Sequence[int]) -> dict[str, int]:
    """A length for each size, larger ones for larger sizes: a tall matrix stays tall."""
    longer = dict(zip(sorted(sizes, key=lambda size: sizes[size]), lengths, strict=True))
    return {size: longer[size] for size in sizes}


def _primes_from(start: int, count: int, kind: Callable[[int], bool] = lambda _: True) -> list[int]:
    """The first primes of a kind."""
    every = (number for number in itertools.count(start) if is_prime(number) and kind(number))
    return list(itertools.islice(every, count))


def _place(wrt: str | int, names: Sequence[str]) -> int:
    place = names.index(wrt) if isinstance(wrt, str) and wrt in names else wrt
    if isinstance(place, str) or not -len(names) <= place < len(names):
        raise DerivationError(f"the function has no argument {wrt}; it has {', '.join(names)}")
    return place % len(names)


def _array(value: Any, place: int) -> npt.NDArray[Any]:
    try:
        found = np.asarray(value)
        return found if found.ndim and found.dtype.kind in DATA else np.asarray(value, DTYPE)
    except (TypeError, ValueError):
        raise DerivationError(
            f"argument {place} is a {type(value).__name__}; closed forms take scalars, vectors and matrices"
        ) from None


def _kinds(
    declare: str | Mapping[str, str] | None, names: Sequence[str], arrays: Sequence[npt.NDArray[Any]]
) -> list[Kind]:
    declared = parse_declarations(declare)
    unknown = [name for name in declared if name not in names]
    if unknown:
        raise DerivationError(f"the function has no argument {unknown[0]}; it has {', '.join(names)}")
    plain = (Kind.SCALAR, Kind.VECTOR, Kind.MATRIX)
    found = []
    for name, array in zip(names, arrays, strict=True):
        own = plain[array.ndim]
        kind = declared[name].kind if name in declared and declared[name].declared else own
        if kind is not own and (array.ndim != 2 or kind in plain or array.shape[0] != array.shape[1]):
            raise DerivationError(f"argument {name} is declared {kind}, but its example has shape {array.shape}")
        found.append(kind)
    return found


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
