"""The formula itself as an expression, the way the user wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from nablax.errors import NotShown
from nablax.formula import Formula, Operation, Typed, Variable
from nablax.formula.symmetry import SYMMETRIC_KINDS
from nablax.formula.syntax import Range
from nablax.notation import FUNCTIONS, SIGNS
from nablax.printing.expression import (
    ONE,
    ZERO,
    Call,
    Expression,
    Function,
    Hadamard,
    Identity,
    Inverse,
    Kronecker,
    Number,
    Ones,
    Product,
    Quotient,
    Scale,
    SizeOf,
    Sum,
    Symbol,
    Transpose,
    Unit,
    shape_of,
    transposed,
)
from nablax.printing.multiples import parted, plain, powered, scaled


def from_formula(formula: Formula) -> Expression | None:
    """The expression of a formula; None where it has no direct notation.

    Example:
        >>> from nablax.formula import parse_formula
        >>> from nablax.printing.unicode import unicode
        >>> unicode(from_formula(parse_formula("1/2*norm2(A*x - b)^2")))
        '½‖Ax − b‖²'
    """
    try:
        return read(formula.expression, formula.variables)
    except NotShown:
        return None


def sizes(node: Typed) -> tuple[str, ...]:
    """Names of the sizes of a typed expression's axes."""
    return tuple(str(size).replace("*", "·") for size in node.shape.axes)


def read(node: Typed, variables: Mapping[str, Variable]) -> Expression:
    """One typed expression."""
    if node.operation is Operation.CONSTANT:
        return SizeOf(node.label)
    if node.value is not None and all(one.operation is not Operation.CONSTANT for one in node.walk()):
        return Number(_number(node.value))
    parts = [read(operand, variables) for operand in node.operands]
    match node.operation:
        case Operation.VARIABLE:
            return Symbol(node.label, sizes(node), variables[node.label].kind in SYMMETRIC_KINDS)
        case Operation.SIZE:
            coefficient, *names = node.options
            return plain(Scale(Fraction(int(str(coefficient))), tuple(SizeOf(str(name)) for name in names), (), None))
        case Operation.NEGATE:
            return scaled(Fraction(-1), parts[0])
        case Operation.TRANSPOSE:
            return transposed(parts[0]) if node.operands[0].shape.rank else parts[0]
        case Operation.ADD:
            return _sum(parts[0], parts[1])
        case Operation.SUBTRACT:
            return _sum(parts[0], scaled(Fraction(-1), parts[1]))
        case Operation.MULTIPLY:
            return _times(parts[0], parts[1])
        case Operation.DIVIDE:
            return _over(parts[0], parts[1])
        case Operation.POWER:
            return _power(node, parts)
        case Operation.PRODUCT | Operation.OUTER:
            is_column = node.operation is Operation.OUTER and not node.operands[1].shape.is_row
            right = Transpose(parts[1]) if is_column else parts[1]
            return _product(parts[0], right)
        case Operation.MATRIX_POWER:
            exponent = int(str(node.options[0]))
            base = Inverse(parts[0]) if exponent < 0 else parts[0]
            if exponent == 0:
                return Identity(sizes(node)[0])
            return base if abs(exponent) == 1 else Product((base,) * abs(exponent))
        case Operation.COMPARE:
            return Function(SIGNS[node.label], tuple(parts))
        case Operation.INDEX:
            return _index(node, parts[0])
        case Operation.CALL:
            return _call(node, parts)
        case _:
            raise NotShown


def _number(value: float) -> Fraction | float:
    guess = Fraction(value).limit_denominator(1000)
    return guess if float(guess) == float(value) else float(value)


def _sum(left: Expression, right: Expression) -> Expression:
    terms = [
        *(left.terms if isinstance(left, Sum) else (left,)),
        *(right.terms if isinstance(right, Sum) else (right,)),
    ]
    shape = max((shape_of(term) for term in terms), key=len)
    if len(shape) == 2 and any(not shape_of(term) for term in terms):
        raise NotShown
    if len(shape) == 1:
        terms = [Number(Fraction(1)) if isinstance(term, Ones) else term for term in terms]
    return Sum(tuple(terms))


def _times(left: Expression, right: Expression) -> Expression:
    if shape_of(left) and shape_of(right):
        factors = [
            inner for part in (left, right) for inner in (part.factors if isinstance(part, Hadamard) else (part,))
        ]
        return Hadamard(tuple(factors))
    a, b = parted(left), parted(right)
    body = b.body if a.body is None else a.body
    return plain(Scale(a.coefficient * b.coefficient, a.scalars + b.scalars, a.divisors + b.divisors, body))


def _over(left: Expression, right: Expression) -> Expression:
    if shape_of(right):
        return Quotient(left, right)
    a, b = parted(left), parted(right)
    coefficient = a.coefficient / b.coefficient if b.coefficient else a.coefficient
    return plain(Scale(coefficient, a.scalars + b.divisors, a.divisors + b.scalars, a.body))


def _power(node: Typed, parts: list[Expression]) -> Expression:
    base, exponent = parts
    if isinstance(exponent, Number) and isinstance(exponent.value, Fraction):
        if exponent.value < 0 and not shape_of(base):
            return Scale(Fraction(1), (), (powered(base, -exponent.value),), None)
        return powered(base, exponent.value)
    if shape_of(base) or shape_of(exponent):
        raise NotShown
    return Function("pow", (base, exponent))


def _product(left: Expression, right: Expression) -> Expression:
    a, b = parted(left), parted(right)
    if a.body is None or b.body is None:
        raise NotShown
    if isinstance(b.body, Identity) or isinstance(a.body, Identity):
        body = a.body if isinstance(b.body, Identity) else b.body
    else:
        factors = [
            inner for part in (a.body, b.body) for inner in (part.factors if isinstance(part, Product) else (part,))
        ]
        body = Product(tuple(factors))
    inner = () if shape_of(body) else (body,)
    scalars = (*a.scalars, *b.scalars, *inner)
    return plain(Scale(a.coefficient * b.coefficient, scalars, a.divisors + b.divisors, None if inner else body))


def _index(node: Typed, array: Expression) -> Expression:
    places = node.options
    if any(isinstance(place, Range) for place in places):
        if any(isinstance(place, int) for place in places):
            raise NotShown
        listed = [":" if place is None else str(place) for place in places]
        return Call(f"[{','.join(listed)}]", (array,), sizes(node))
    if isinstance(array, Identity) and places[0] is None and isinstance(places[1], int):
        return Unit(places[1], array.size)
    if len(places) != 1 or not isinstance(places[0], int) or places[0] < 0 or not isinstance(array, Symbol):
        raise NotShown
    return Product((Transpose(Unit(places[0], array.shape[0])), array))


# Functions that are written as a call of the same arguments, by the name that closed forms have for them.
CALLS = {"eig": "eigenvalues", "norm1": "norm_1"} | {
    name: name
    for name in (
        "tr", "det", "logdet", "sum", "logsumexp", "prod", "max", "min", "cholesky", "tril", "triu", "inner", "vec",
        "unvec", "cross", "skew", "eigenvectors", "eigenvector", "first_eigenvector", "left_vector", "right_vector",
    )
}  # fmt: skip


def _call(node: Typed, parts: list[Expression]) -> Expression:
    shape = sizes(node)
    label = node.label
    match label, parts:
        case "eye", []:
            return Identity(shape[0])
        case "logsumexp", [operand] if shape:  # of each row, or of each column
            operand = operand if node.options == (1,) else transposed(operand)
            inside = _product(Function("exp", (operand,)), Ones(shape_of(operand)[1:]))
            return Function("log", (inside,))
        case (("vector" | "matrix"), [filling]):
            return _times(filling, Ones(shape))
        case "norm2", [operand]:
            if not shape_of(operand):
                return Function("abs", (operand,))
            return Call("norm_F" if len(shape_of(operand)) == 2 else "norm", (operand,))
        case "norm", [operand] if node.options[0] in (2, "nuc") and len(shape_of(operand)) == 2:
            return Call("norm_2" if node.options[0] == 2 else "norm_nuc", (operand,))
        case "norm", _:
            raise NotShown
        case "inv", [operand]:
            return Inverse(operand)
        case (("sum" | "prod"), [Call("eigenvalues", (matrix,))]):
            return Call("tr" if label == "sum" else "det", (matrix,))
        case "softmax", [operand]:
            return Call("softmax" if len(shape) == 1 else "softmax_rows", (operand,), shape)
        case "diag", [operand]:
            return Call("diag" if len(shape) == 2 else "diagonal", (operand,), shape)
        case "outer", [left, right]:
            return _product(left, Transpose(right))
        case "hadamard", [left, right]:
            return _times(left, right)
        case "kron", [left, right]:
            return Kronecker(left, right)
        case "sqrt", [operand]:
            return powered(operand, Fraction(1, 2))
        case "square", [operand]:
            return powered(operand, Fraction(2))
        case "log1p", [operand]:
            return Function("log", (_sum(ONE, operand),))
        case "softplus", [operand]:
            return Function("log", (Sum((ONE, Function("exp", (operand,)))),))
        case "relu", [operand]:
            return Function("max", (operand, ZERO))
        case (("max" | "min"), [_, _]) | ("polygamma", _):
            return Function(label, tuple(parts))
        case _ if label in CALLS:
            return Call(CALLS[label], tuple(parts), shape)
        case _ if label in FUNCTIONS and FUNCTIONS[label].in_formulas and parts:
            return Function(label, tuple(parts))
        case _:
            raise NotShown
