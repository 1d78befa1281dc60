"""Matrix expressions: a closed set of frozen kinds, each with its shape.

Vectors are columns; a transposed vector is a row. Shapes are names of sizes, so that they hold for every
point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, TypeAlias, assert_never

Shape = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Symbol:
    """A variable, or the name of a common subexpression.

    Args:
        name: as the user wrote it.
        shape: sizes of its axes.
        symmetric: whether it is a matrix equal to its transpose.
    """

    name: str
    shape: Shape
    symmetric: bool = False


@dataclass(frozen=True, slots=True)
class Number:
    """A number, exact where it is a fraction."""

    value: Fraction | float


@dataclass(frozen=True, slots=True)
class SizeOf:
    """The number of elements along an axis."""

    name: str


@dataclass(frozen=True, slots=True)
class Array:
    """A known array.

    Args:
        values: row by row as nested tuples.
        shape: sizes of its axes.
        name: how it is printed; empty where it has no name.
    """

    values: str
    shape: Shape
    name: str = ""


@dataclass(frozen=True, slots=True)
class Sum:
    """Terms added; numbers among vectors are added to every element."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """The matrix product of factors."""

    factors: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Hadamard:
    """The product of elements."""

    factors: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Scale:
    """Scalars times a body of any shape; of no body where the value is a scalar.

    Args:
        coefficient: a number.
        scalars: scalar factors.
        divisors: scalars that are divided by.
        body: what is scaled; None stands for one.
    """

    coefficient: Fraction | float
    scalars: tuple[Expression, ...]
    divisors: tuple[Expression, ...]
    body: Expression | None


@dataclass(frozen=True, slots=True)
class Quotient:
    """Elements divided by elements."""

    numerator: Expression
    denominator: Expression


@dataclass(frozen=True, slots=True)
class Transpose:
    """Axes exchanged; of a vector, the row."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class Inverse:
    """The inverse of a matrix."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class Power:
    """Every element to a power."""

    base: Expression
    exponent: Expression


@dataclass(frozen=True, slots=True)
class Function:
    """A scalar function of every element; exponent 2 in tanh²(x)."""

    name: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A function of whole arrays: tr, det, logdet, norm, sum, diag, diagonal, softmax, max, …

    Args:
        name: which one.
        arguments: the arrays.
        shape: of the value.
    """

    name: str
    arguments: tuple[Expression, ...]
    shape: Shape = ()


@dataclass(frozen=True, slots=True)
class Kronecker:
    """The Kronecker product of matrices."""

    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity matrix."""

    size: str


@dataclass(frozen=True, slots=True)
class Ones:
    """A vector or matrix of ones."""

    shape: Shape


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit vector; places count from zero."""

    place: int
    size: str


@dataclass(frozen=True, slots=True)
class Piece:
    """An array with index letters on its axes, to a power."""

    array: Expression
    indices: tuple[str, ...]
    exponent: Fraction = Fraction(1)


@dataclass(frozen=True, slots=True)
class Indexed:
    """Index notation: a product of pieces, summed over letters that are not free.

    Args:
        coefficient: a number.
        pieces: the factors; an `Identity` is a Kronecker delta.
        free: letters of the axes of the value.
        shape: of the value.
    """

    coefficient: Fraction | float
    pieces: tuple[Piece, ...]
    free: tuple[str, ...]
    shape: Shape


@dataclass(frozen=True, slots=True)
class PowerSum:
    """Σ XⁱAXʲ over i + j = degree, Σ XⁱAXʲBXᵏ over i + j + k = degree, and so on.

    Args:
        base: the square matrix X.
        between: what stands between its powers.
        degree: the sum of their exponents.
    """

    base: Expression
    between: tuple[Expression, ...]
    degree: int


@dataclass(frozen=True, slots=True)
class LinearMap:
    """An array of high order as the map that it is: what it makes of a symbol, or of several.

    Args:
        arguments: the symbols, such as dX, in the order of the last axes of the array.
        body: the value, linear in each symbol.
        tensor: the same in index notation, for evaluation.
    """

    arguments: tuple[Symbol, ...]
    body: Expression
    tensor: Expression


@dataclass(frozen=True, slots=True)
class Where:
    """An expression with named subexpressions.

    Args:
        body: the expression.
        names: symbols with what they stand for, in the order in which they can be computed.
    """

    body: Expression
    names: tuple[tuple[Symbol, Expression], ...]


Expression: TypeAlias = (
    Symbol | Number | SizeOf | Array | Sum | Product | Hadamard | Scale | Quotient | Transpose | Inverse
    | Power | Function | Call | Kronecker | Identity | Ones | Unit | Piece | Indexed | PowerSum | LinearMap | Where
)  # fmt: skip

Factors = tuple[Expression, ...]

ZERO = Number(Fraction(0))
ONE = Number(Fraction(1))
_SIGNS = tuple(tuple(tuple((i - j) * (j - k) * (k - i) / 2 for k in range(3)) for j in range(3)) for i in range(3))
SIGNS = Array(repr(_SIGNS), ("3", "3", "3"))  # (x × y)ᵢ = εᵢⱼₖ xⱼ yₖ


# The fields of each kind in which subexpressions stand; a kind that is not here has none.
_INSIDE: dict[type, tuple[str, ...]] = {
    Sum: ("terms",), Product: ("factors",), Hadamard: ("factors",), Scale: ("scalars", "divisors", "body"),
    Quotient: ("numerator", "denominator"), Transpose: ("operand",), Inverse: ("operand",),
    Power: ("base", "exponent"), Function: ("arguments",), Call: ("arguments",), Kronecker: ("left", "right"),
    PowerSum: ("base", "between"), LinearMap: ("body",), Where: ("names", "body"),
}  # fmt: skip
# Those of index notation, into which only what says so looks.
_INDEXED: dict[type, tuple[str, ...]] = {Piece: ("array",), Indexed: ("pieces",), LinearMap: ("body", "tensor")}


def children(expression: Expression) -> tuple[Expression, ...]:
    """The direct subexpressions; of a linear map its value."""
    kind = type(expression)
    found: list[Expression] = []
    for name in _INSIDE.get(kind) or _INDEXED.get(kind, ()):
        value = getattr(expression, name)
        if name == "names":
            found += [meaning for _, meaning in value]
        else:
            found += value if isinstance(value, tuple) else () if value is None else (value,)
    return tuple(found)


def mapped(node: Expression, change: Callable[[Expression], Expression], *, indexed: bool = False) -> Expression:
    """An expression with a change made to each direct subexpression.

    Args:
        node: the expression.
        change: made to each.
        indexed: whether index notation is changed too.
    """
    kind = type(node)
    names = _INDEXED[kind] if indexed and kind in _INDEXED else _INSIDE.get(kind, ())

    def changed(name: str, value: Any) -> Any:
        if name == "names":
            return tuple((symbol, change(meaning)) for symbol, meaning in value)
        return tuple(map(change, value)) if isinstance(value, tuple) else None if value is None else change(value)

    return replace(node, **{name: changed(name, getattr(node, name)) for name in names}) if names else node


def walk(expression: Expression, *, indexed: bool = False) -> Iterator[Expression]:
    """Every subexpression, parents before children.

    Args:
        expression: where to look.
        indexed: whether what stands in index notation and in the tensor of a linear map is one too.
    """
    yield expression
    if isinstance(expression, Indexed) and not indexed:
        return
    tensor = (expression.tensor,) if indexed and isinstance(expression, LinearMap) else ()
    for child in (*children(expression), *tensor):
        yield from walk(child, indexed=indexed)


def factors_of(expression: Expression) -> Factors:
    """The factors of a matrix product, or the expression by itself."""
    return expression.factors if isinstance(expression, Product) else (expression,)


def product_of(factors: Factors) -> Expression:
    """One factor alone, or the product."""
    return factors[0] if len(factors) == 1 else Product(factors)


def shape_of(expression: Expression) -> Shape:
    """Sizes of the axes of the value; a transposed vector has the axes (1, n)."""
    match expression:
        case Symbol(_, shape) | Array(_, shape) | Ones(shape) | Call(shape=shape) | Indexed(shape=shape):
            return shape
        case Number() | SizeOf():
            return ()
        case Sum(parts) | Hadamard(parts):
            return max((shape_of(part) for part in parts), key=len, default=())
        case Product(factors):
            return _product_shape(factors)
        case Scale(body=body):
            return () if body is None else shape_of(body)
        case Quotient(numerator, denominator):
            return max(shape_of(numerator), shape_of(denominator), key=len)
        case Transpose(operand):
            shape = shape_of(operand)
            return ("1", *shape) if len(shape) == 1 else shape[::-1]
        case Inverse(operand) | PowerSum(operand):
            return shape_of(operand)
        case Power(base, exponent):
            return max(shape_of(base), shape_of(exponent), key=len)
        case Function(_, arguments):
            return max((shape_of(argument) for argument in arguments), key=len, default=())
        case Kronecker(left, right):
            sides = shape_of(left), shape_of(right)
            rank = max(map(len, sides))
            pairs = zip(*((*shape, "1")[:rank] for shape in sides), strict=True)
            return tuple(_times(one, other) for one, other in pairs)
        case Identity(size):
            return (size, size)
        case Unit(_, size):
            return (size,)
        case Piece(array):
            return shape_of(array)
        case LinearMap(_, _, tensor):
            return shape_of(tensor)
        case Where(body, _):
            return shape_of(body)
        case _:
            assert_never(expression)


def _times(one: str, other: str) -> str:
    if "1" in (one, other):
        return other if one == "1" else one
    return f"{one}·{other}"


def _product_shape(factors: tuple[Expression, ...]) -> Shape:
    """That of a product: the first axis of its first factor and the last of its last; rows have no first one."""
    arrays = [factor for factor in factors if shape_of(factor)]
    if not arrays:
        return ()
    if len(arrays) == 1:
        return shape_of(arrays[0])
    first, last = shape_of(arrays[0]), shape_of(arrays[-1])
    rows = () if is_row(arrays[0]) else first[:1]
    return (*rows, *last[1:])


def is_row(expression: Expression) -> bool:
    """Whether the value is a transposed vector, also one that was added, scaled or a function of one."""
    match expression:
        case Transpose(operand):
            return len(shape_of(operand)) == 1
        case Product(factors):
            arrays = [factor for factor in factors if shape_of(factor)]
            return bool(arrays) and is_row(arrays[0]) and len(shape_of(arrays[-1])) == 2
        case Sum(parts) | Hadamard(parts) | Function(_, parts):
            arrays = [part for part in parts if shape_of(part)]
            return bool(arrays) and all(map(is_row, arrays))
        case Quotient(numerator, denominator):
            arrays = [part for part in (numerator, denominator) if shape_of(part)]
            return bool(arrays) and all(map(is_row, arrays))
        case Scale(body=body) if body is not None:
            return is_row(body)
        case Power(base) | Where(base):
            return is_row(base)
        case _:
            return False


def _turns(expression: Expression) -> int:
    """How many transposes an expression has."""
    return isinstance(expression, Transpose) + sum(_turns(child) for child in children(expression))


def transposed(expression: Expression) -> Expression:
    """The transpose, moved inside as far as it goes: (AB)ᵀ = BᵀAᵀ, symmetric matrices stay."""
    match expression:
        case Symbol(symmetric=True) | Identity() | Number() | SizeOf() | Call(name="diag" | "pinv"):
            return expression
        case Transpose(operand):
            return operand
        case Inverse(operand):
            inside = transposed(operand)
            return expression if inside == operand else Transpose(expression)
        case Sum(terms) if len(shape_of(expression)) == 2:
            turned = [transposed(term) for term in terms]
            if sorted(map(repr, turned)) == sorted(map(repr, terms)):
                return expression
            return Sum(tuple(turned))
        case Hadamard(factors) if len(shape_of(expression)) == 2:
            turned = [transposed(factor) for factor in factors]
            return expression if set(turned) == set(factors) else Hadamard(tuple(turned))
        case Scale(coefficient, scalars, divisors, body) if body is not None and len(shape_of(body)) == 2:
            return Scale(coefficient, scalars, divisors, transposed(body))
        case Product(factors) if len(shape_of(expression)) == 2:
            return Product(reversed_factors(factors))
        case PowerSum(base, between, degree) if transposed(base) == base:
            return PowerSum(base, reversed_factors(between), degree)
        case Function(name, arguments) if len(shape_of(expression)) == 2:
            inside = Function(name, tuple(transposed(argument) for argument in arguments))
            return Transpose(expression) if _turns(inside) > _turns(expression) else inside
        case _:
            return Transpose(expression) if shape_of(expression) else expression


def reversed_factors(factors: Factors) -> Factors:
    """The factors of the transpose of a product."""
    return tuple(transposed(factor) for factor in reversed(factors))
