"""Shape inference: syntax tree to typed tree, with sizes made equal by unification."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from nablax.errors import FormulaError
from nablax.formula.calls import call_expression, function_of
from nablax.formula.functions import FUNCTIONS, SPELLINGS, Rule
from nablax.formula.site import Site
from nablax.formula.sizes import SCALAR, Shape, Size, symbol
from nablax.formula.syntax import (
    COMPARISONS,
    Binary,
    Call,
    Expression,
    Index,
    Name,
    Number,
    Range,
    Unary,
    children,
)
from nablax.formula.typed import Operation, Typed, Variable

CONSTANTS = {"pi": math.pi}
LARGEST_MATRIX_POWER = 64
# How odd a guess is; only their order matters.
ODD_ARRAY, ODD_SPREAD, ODD_DOT = 5, 3, 2
OF_ARRAYS = frozenset(
    {
        Rule.REDUCTION, Rule.EXTREMUM, Rule.INNER, Rule.OUTER, Rule.NORM, Rule.DIAGONAL, Rule.SOFTMAX,
        Rule.SOFT_MAXIMUM,
    }
)  # fmt: skip
ENTRYWISE = {
    "+": (Operation.ADD, "add"),
    "-": (Operation.SUBTRACT, "subtract"),
    ".*": (Operation.MULTIPLY, "multiply entrywise"),
    "./": (Operation.DIVIDE, "divide entrywise"),
    ".^": (Operation.POWER, "raise entrywise"),
}
ARITHMETIC: dict[Operation, Callable[[float, float], float]] = {
    Operation.ADD: operator.add,
    Operation.SUBTRACT: operator.sub,
    Operation.MULTIPLY: operator.mul,
    Operation.DIVIDE: operator.truediv,
    Operation.POWER: operator.pow,
}


def variable_names(tree: Expression) -> Iterator[Name]:
    """Names that stand for values, in order of appearance; not those that are sizes or orders of norms."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Name):
            yield node
        waiting.extend(reversed(expression_arguments(node) if isinstance(node, Call) else children(node)))


def expression_arguments(call: Call) -> tuple[Expression, ...]:
    """The arguments of a call that are expressions."""
    row = FUNCTIONS.get(call.function)
    return call.arguments if row is None else call.arguments[: row.expressions]


@dataclass
class Inference:
    """One pass over a syntax tree.

    Args:
        site: source and sizes.
        variables: by name; shapes may hold sizes that are still to be solved.
        sizes: names that are declared sizes and stand for a number where no variable has that name.
        numpy_spelled: whether the formula is written as NumPy code, where ``*`` of two arrays would be
            entrywise.
        undeclared: names whose kind is a guess.
        oddity: how unlikely the guesses are to be meant, summed over what a textbook would not write: a
            scalar that is transposed, summed, normed, or added to a vector.
        met: names that the pass has come to, up to where it was refused.
        visited: nodes that it has come to.
    """

    site: Site
    variables: Mapping[str, Variable]
    sizes: frozenset[str]
    numpy_spelled: bool
    undeclared: frozenset[str]
    oddity: int = 0
    met: set[str] = field(default_factory=set)
    visited: int = 0

    def value(self, node: Expression) -> Typed:
        """The typed node of an expression that has a value; refuses comparisons."""
        typed = self.any(node)
        if typed.operation is Operation.COMPARE:
            raise self.site.refusal("a comparison is not a value", node.span, "use it in where(x > 0, a, b)")
        return typed

    def any(self, node: Expression) -> Typed:
        """The typed node of an expression or a comparison."""
        self.visited += 1
        match node:
            case Number(value=number):
                return Typed(Operation.NUMBER, (), SCALAR, node, options=(number,), value=number)
            case Name():
                return self._name(node)
            case Unary(operator="-"):
                operand = self.value(node.operand)
                value = None if operand.value is None else -operand.value
                return Typed(Operation.NEGATE, (operand,), operand.shape, node, value=value)
            case Unary():
                return self._transpose(node)
            case Binary():
                return self._binary(node, self.value(node.left), self.value(node.right))
            case Call():
                row = function_of(node, self.site)
                arguments = node.arguments[: row.expressions]
                if row.name == "where":
                    operands = (self.any(arguments[0]), *map(self.value, arguments[1:]))
                else:
                    operands = tuple(map(self.value, arguments))
                if row.rule in OF_ARRAYS and len(operands) <= 2 and row.name not in ("max", "min"):
                    self._odd(ODD_ARRAY, *(one for one in operands if one.shape.is_scalar))
                return call_expression(row, node, operands, self.site)
            case Index():
                return self._index(node, self.value(node.operand))
        assert_never(node)

    def _name(self, node: Name) -> Typed:
        name = node.name
        self.met.add(name)
        if name in self.variables:
            return Typed(Operation.VARIABLE, (), self.variables[name].shape, node, name)
        if name in self.sizes:
            return Typed(Operation.SIZE, (), SCALAR, node, name)
        if name in CONSTANTS:
            return Typed(Operation.CONSTANT, (), SCALAR, node, name, value=CONSTANTS[name])
        if name == "eye":
            identity = call_expression(FUNCTIONS["eye"], Call("eye", (), node.span), (), self.site)
            return replace(identity, syntax=node)
        row = FUNCTIONS[SPELLINGS[name]]
        advice = f"write {row.signature}, or declare {name} as a variable"
        raise self.site.refusal(f"{name} is a function, not a variable", node.span, advice)

    def _transpose(self, node: Unary) -> Typed:
        operand = self.value(node.operand)
        shape = operand.shape
        if shape.is_scalar:
            self._odd(ODD_ARRAY, operand)
        if shape.rank == 1:
            shape = Shape(shape.axes, not shape.is_row)
        return Typed(
            Operation.TRANSPOSE,
            (operand,),
            Shape(shape.axes[::-1], shape.is_row),
            node,
            value=operand.value,
        )

    def _odd(self, weight: int, *operands: Typed) -> None:
        """Counts operands that are scalars by a guess, where a textbook has none."""
        for operand in operands:
            if any(one.operation is Operation.VARIABLE and one.label in self.undeclared for one in operand.walk()):
                self.oddity += weight

    def _binary(self, node: Binary, left: Typed, right: Typed) -> Typed:
        sign = node.operator
        if sign in COMPARISONS:
            shape = self.site.common("compare", left, right, node.span)
            return Typed(Operation.COMPARE, (left, right), shape, node, sign)
        if sign in ENTRYWISE:
            operation, verb = ENTRYWISE[sign]
            self._check_entrywise(node, left, right, verb)
            advice = _spread_advice(left, right) if sign in (".*", "./") else ""
            return self._entrywise(operation, node, left, right, self.site.common(verb, left, right, node.span, advice))
        if sign == "*":
            return self._times(node, left, right)
        if sign == "@":
            return self._at(node, left, right)
        if sign == "/":
            return self._over(node, left, right)
        return self._power(node, left, right)

    def _check_entrywise(self, node: Binary, left: Typed, right: Typed, verb: str) -> None:
        """What is odd, or refused, about scalars among arrays."""
        scalar, array = (left, right) if left.shape.is_scalar else (right, left)
        if not scalar.shape.is_scalar:
            return
        if array.shape.is_scalar:
            if node.operator.startswith("."):
                self._odd(ODD_DOT, left)
        elif node.operator in "+-":
            if array.shape.is_row and scalar.value is None:
                advice = "write the vector as a column, or the sum as an inner product: x'*y"
                raise self.site.mismatch(verb, left, right, node.span, advice)
            self._odd(ODD_SPREAD, scalar)
        elif node.operator == "./" or (node.operator == ".*" and array.shape.rank == 1):
            self._odd(ODD_DOT, scalar)

    def _entrywise(self, operation: Operation, node: Binary, left: Typed, right: Typed, shape: Shape) -> Typed:
        if operation is Operation.DIVIDE and right.value == 0:
            raise self.site.refusal(f"{node} divides by zero", node.span)
        value = None
        if left.value is not None and right.value is not None:
            value = self._constant(operation, node, left.value, right.value)
        return Typed(operation, (left, right), shape, node, value=value)

    def _constant(self, operation: Operation, node: Binary, left: float, right: float) -> int | float:
        try:
            if operation is Operation.POWER:
                left = float(left)
            value = ARITHMETIC[operation](left, right)
        except (ArithmeticError, ValueError):
            value = math.nan
        if isinstance(value, complex) or not math.isfinite(value):
            raise self.site.refusal(f"{node} is not a finite real number", node.span)
        return value

    def _times(self, node: Binary, left: Typed, right: Typed) -> Typed:
        if left.shape.is_scalar or right.shape.is_scalar:
            shape = right.shape if left.shape.is_scalar else left.shape
            if not left.shape.is_scalar and right.operation is Operation.VARIABLE:
                self._odd(ODD_DOT, right)  # a scalar stands in front
            return self._entrywise(Operation.MULTIPLY, node, left, right, shape)
        if self.numpy_spelled:
            advice = "write @ for the matrix product or .* for the entrywise product"
            raise self.site.mismatch(
                "tell which product * is in a formula in NumPy spelling, of",
                left,
                right,
                node.span,
                advice,
            )
        if left.shape.is_vector and right.shape.rank == 1 and right.shape.is_row:
            return Typed(Operation.OUTER, (left, right), Shape(left.shape.axes + right.shape.axes), node)
        return self._contract(node, left, right)

    def _at(self, node: Binary, left: Typed, right: Typed) -> Typed:
        if left.shape.is_scalar or right.shape.is_scalar:
            raise self.site.mismatch("take @ of", left, right, node.span, "a product with a scalar is written *")
        if left.shape.is_vector and right.shape.is_row:
            advice = "NumPy would take the inner product; write outer(x, y) or inner(x, y)"
            raise self.site.mismatch("take @ of", left, right, node.span, advice)
        if left.shape.is_vector:
            return self._contract(node, left, right, row_result=False)
        return self._contract(node, left, right)

    def _contract(self, node: Binary, left: Typed, right: Typed, row_result: bool | None = None) -> Typed:
        """The last axis of the left against the first of the right; vectors on the left lie as rows."""
        first, second = left.shape, right.shape
        lies = first.is_matrix or first.is_row or row_result is not None
        stands = second.is_matrix or second.is_vector
        if not (lies and stands) or not self.site.solver.unify(first.axes[-1], second.axes[0]):
            raise self.site.mismatch("multiply", left, right, node.span, _product_advice(left, right))
        if left.operation is Operation.OUTER and second.is_vector:
            self._odd(ODD_DOT, left)  # t*x'*x is meant as t times x'*x
        axes = first.axes[:-1] + second.axes[1:]
        is_row = len(axes) == 1 and first.rank == 1 and row_result is None
        return Typed(Operation.PRODUCT, (left, right), Shape(axes, is_row), node)

    def _over(self, node: Binary, left: Typed, right: Typed) -> Typed:
        if right.shape.is_scalar or (left.shape.is_scalar and right.shape.rank == 1):
            shape = left.shape if right.shape.is_scalar else right.shape
            if not right.shape.is_scalar and left.value is None:
                self._odd(ODD_SPREAD, left)
            return self._entrywise(Operation.DIVIDE, node, left, right, shape)
        advice = "divide by a scalar, or write ./ (entrywise)"
        if right.shape.is_matrix:
            advice += " or *inv(…)"
        raise self.site.mismatch("divide", left, right, node.span, advice)

    def _power(self, node: Binary, left: Typed, right: Typed) -> Typed:
        if left.shape.is_matrix:
            return self._matrix_power(node, left, right)
        if node.operator == "**" or (left.shape.is_scalar and right.shape.is_scalar):
            shape = self.site.common("raise entrywise", left, right, node.span)
            return self._entrywise(Operation.POWER, node, left, right, shape)
        advice = "the power entrywise is written .^"
        if left.shape.rank == 1 and right.value == 2:
            advice += "; the sum of squares is x'*x or norm2(x)^2"
        raise self.site.refusal(
            f"cannot raise {self.site.shape(left)} to {self.site.shape(right)} by ^",
            node.span,
            f"{self.site.described(left, right)}\n{advice}",
        )

    def _matrix_power(self, node: Binary, left: Typed, right: Typed) -> Typed:
        if node.operator == "**":
            advice = "write ^ for the power of the matrix or .^ for the power entrywise"
            raise self.site.refusal("** of a matrix could mean two things", node.span, advice)
        exponent = right.value
        if exponent is None or exponent != math.floor(exponent) or abs(exponent) > LARGEST_MATRIX_POWER:
            limits = f"between -{LARGEST_MATRIX_POWER} and {LARGEST_MATRIX_POWER}"
            advice = f"the exponent is an integer {limits}; entrywise powers are written .^"
            if str(right) in ("T", "t"):
                advice = f"the transpose is written {left}'"
            raise self.site.refusal(f"cannot raise a matrix to {right}", node.right.span, advice)
        self.site.square("a power", left, node.span)
        return Typed(Operation.MATRIX_POWER, (left,), left.shape, node, options=(int(exponent),))

    def _index(self, node: Index, operand: Typed) -> Typed:
        axes = operand.shape.axes
        indices = node.indices + (None,) * (len(axes) - len(node.indices))
        if not axes or len(indices) > len(axes):
            reason = f"{len(node.indices)} indices for {self.site.shape(operand)}"
            raise self.site.refusal(reason, node.span, "write x[0] for a vector, A[0,:], A[:,0] or A[0,1] for a matrix")
        left = []
        for index, size in zip(indices, axes, strict=True):
            known = self.site.solver.resolve(size)
            if isinstance(index, Range):
                left.append(self._length(node, index, size))
            elif index is None:
                left.append(size)
            elif not known.symbols and not -known.coefficient <= index < known.coefficient:
                reason = f"index {index} is outside an axis of size {known}"
                raise self.site.refusal(reason, node.span, "indices count from 0")
        is_row = operand.shape.is_row or (len(axes) == 2 and isinstance(indices[0], int))
        shape = Shape(tuple(left), is_row and len(left) == 1)
        return Typed(Operation.INDEX, (operand,), shape, node, options=indices)

    def _length(self, node: Index, places: Range, size: Size) -> Size:
        """How many places there are in a range of an axis."""
        if isinstance(places.stop, str) and not self.site.solver.unify(size, symbol(places.stop)):
            known = self.site.solver.resolve(size)
            reason = f"the axis has size {known}, not {places.stop}"
            raise self.site.refusal(reason, node.span, f"write {node.operand}[{places.start or 0}:]")
        size = self.site.solver.resolve(size)
        start, stop = places.start or 0, None if isinstance(places.stop, str) else places.stop
        if not size.symbols:
            length = len(range(size.coefficient)[places.places])
            inside = max(start, -start, stop or 0, -(stop or 0)) <= size.coefficient
        elif start < 0 and (stop is None or stop < 0):
            length, inside = (stop or 0) - start, True
        elif start >= 0 and stop is not None and stop >= 0:
            length, inside = stop - start, True
        elif start >= 0:
            return size.plus((stop or 0) - start)
        else:
            length, inside = 0, True
        if length < 1 or not inside:
            reason = f"the range {places} holds no places that an axis of size {size} is sure to have"
            raise self.site.refusal(
                reason, node.span, "places count from 0, and the last one is left out: x[1:], x[:-1]"
            )
        return Size(length)


def _product_advice(left: Typed, right: Typed) -> str:
    first, second = left.shape, right.shape
    if first.rank == 1 and second.rank == 1 and first.is_row == second.is_row:
        return "write x'*y (inner product), x*y' (outer product) or x.*y (entrywise)"
    if first.is_vector and second.is_matrix:
        return "a vector on the left of a matrix is transposed: x'*A"
    if first.is_matrix and second.is_row:
        return "a vector on the right of a matrix is not transposed: A*x"
    return "the columns of the left have to be as many as the rows of the right"


def _spread_advice(left: Typed, right: Typed) -> str:
    ranks = {left.shape.rank, right.shape.rank}
    return "rows are scaled by diag(x)*A, columns by A*diag(x)" if ranks == {1, 2} else ""


def unknown_size(node: Typed, site: Site) -> FormulaError:
    """The refusal of a filled vector or matrix whose size nothing determines."""
    row = FUNCTIONS[node.label] if node.label in FUNCTIONS else FUNCTIONS["eye"]
    form = row.signature.rpartition(" or ")[2]
    return site.refusal(f"nothing determines the size of {node}", node.span, f"write {form}")
