"""Function calls: number of arguments, plain arguments (sizes, orders), and the shape by the rule of the
row.
"""

from __future__ import annotations

import math
import re
from typing import assert_never

from nablax.errors import FormulaError
from nablax.formula.declarations import LARGEST_SIZE
from nablax.formula.functions import FUNCTIONS, SPELLINGS, Function, Rule, nearest
from nablax.formula.site import Site
from nablax.formula.sizes import SCALAR, Shape, Size, symbol
from nablax.formula.syntax import Binary, Call, Expression, Name, Number
from nablax.formula.typed import Operation, Option, Typed

LARGEST_ORDER = 20  # of polygamma; beyond, its values overflow soon
ORDERS_OF_MATRIX = (1, 2, "inf", "fro", "nuc")


def function_of(call: Call, site: Site) -> Function:
    """The row of the function that is called; refuses unknown names and wrong numbers of arguments."""
    row = FUNCTIONS.get(call.function)
    if row is None:
        raise _unknown(call, site)
    found = len(call.arguments)
    if not row.least <= found <= row.most:
        number = f"{row.least}" if row.least == row.most else f"{row.least} to {row.most}"
        plural = "" if number == "1" else "s"
        reason = f"{row.name} takes {number} argument{plural}, found {found}"
        raise site.refusal(reason, call.span, f"write {row.signature}")
    return row


def _unknown(call: Call, site: Site) -> FormulaError:
    bare = call.spelling.rpartition(".")[2] or call.function
    guess = nearest(bare, list(SPELLINGS))
    advice = f"did you mean {guess!r}?" if guess else f"functions are {', '.join(FUNCTIONS)}"
    if len(bare) <= 2 and not guess:
        advice = f"a product is written {bare}*(…), an entry {bare}[0]"
    if base := re.fullmatch(r"log_?(\d+)", bare):
        advice = f"write log(x)/log({base[1]})"
    return site.refusal(f"unknown function {call.spelling or call.function!r}", call.span, advice)


def call_expression(row: Function, call: Call, operands: tuple[Typed, ...], site: Site) -> Typed:
    """The typed call.

    Args:
        row: the function.
        call: the call as written.
        operands: typed leading arguments (those that are expressions).
        site: for sizes and refusals.

    Returns:
        The typed node; ``norm`` comes back as norm1 or norm2 where it is one, hadamard and outer as
        operations.

    Raises:
        FormulaError: operands that the rule does not take.
    """

    def typed(shape: Shape, label: str = row.name, options: tuple[Option, ...] = ()) -> Typed:
        return Typed(Operation.CALL, operands, shape, call, label, options)

    plain = call.arguments[row.expressions :]
    match row.rule:
        case Rule.ELEMENTWISE:
            return typed(operands[0].shape)
        case Rule.REDUCTION:
            return typed(SCALAR)
        case Rule.SQUARE_TO_SCALAR:
            site.square(row.name, operands[0], call.span)
            return typed(SCALAR)
        case Rule.SQUARE_TO_SQUARE:
            site.square(row.name, operands[0], call.span)
            return typed(operands[0].shape)
        case Rule.SPECTRUM:
            return typed(Shape((site.square(row.name, operands[0], call.span),)))
        case Rule.EXTREMUM if len(operands) == 1:
            return typed(SCALAR)
        case Rule.EXTREMUM | Rule.CHOICE:
            return typed(_aligned(row, operands, call, site))
        case Rule.FILL_VECTOR | Rule.FILL_MATRIX | Rule.IDENTITY:
            return typed(_filled(row, operands, plain, call, site))
        case Rule.INNER:
            if operands[0].shape != operands[1].shape and SCALAR in (
                operands[0].shape,
                operands[1].shape,
            ):
                raise site.mismatch("take the inner product of", *_pair(operands), call.span, "shapes have to be equal")
            site.common("take the inner product of", *_pair(operands), call.span)
            return typed(SCALAR)
        case Rule.PRODUCT_ENTRYWISE:
            shape = site.common("multiply entrywise", *_pair(operands), call.span)
            return Typed(Operation.MULTIPLY, operands, shape, call)
        case Rule.OUTER:
            return _outer(operands, call, site)
        case Rule.KRONECKER:
            return typed(_kronecker(row, operands, call, site))
        case Rule.DIAGONAL:
            if operands[0].shape.rank == 1:
                return typed(Shape(operands[0].shape.axes * 2))
            return typed(Shape((site.square(row.name, operands[0], call.span),)))
        case Rule.ALONG_ROWS | Rule.ALONG_COLUMNS | Rule.TRANSPOSED | Rule.STACKED:
            return typed(_of_matrix(row, operands[0], call, site))
        case Rule.CROSS:
            for operand in operands:
                _three(row, operand, call, site)
            return typed(operands[0].shape)
        case Rule.SKEW:
            _three(row, operands[0], call, site)
            return typed(Shape((Size(3), Size(3))))
        case Rule.FILLED:
            zero_or_one = 1 if row.name == "ones" else 0
            value = Typed(Operation.NUMBER, (), SCALAR, Number(zero_or_one, call.span), value=zero_or_one)
            filled = FUNCTIONS["matrix" if len(plain) == 2 else "vector"]
            return Typed(Operation.CALL, (value,), _filled(filled, (), plain, call, site), call, filled.name)
        case Rule.UNSTACKED:
            return typed(_unstacked(row, operands[0], plain, call, site))
        case Rule.POLYGAMMA:
            order = operands[0].value
            if order is None or order < 0 or order != math.floor(order) or order > LARGEST_ORDER:
                reason = f"{operands[0]} is not the order of polygamma"
                advice = f"it is a whole number from 0 to {LARGEST_ORDER}: {row.signature}"
                raise site.refusal(reason, operands[0].span, advice)
            return typed(operands[1].shape)
        case Rule.SOFT_MAXIMUM:
            return typed(*_along(row, operands[0], plain, call, site))
        case Rule.SOFTMAX:
            if operands[0].shape.is_scalar:
                raise site.refusal("softmax of a scalar is always 1", call.span, f"it takes {row.rule.value}")
            return typed(operands[0].shape)
        case Rule.NORM:
            label, options = _order(operands[0], plain, call, site)
            return typed(SCALAR, label, options)
    assert_never(row.rule)


def _pair(operands: tuple[Typed, ...]) -> tuple[Typed, Typed]:
    left, right = operands
    return left, right


def _kronecker(row: Function, operands: tuple[Typed, ...], call: Call, site: Site) -> Shape:
    left, right = _pair(operands)
    if left.shape.is_scalar or right.shape.is_scalar or left.shape.is_row or right.shape.is_row:
        raise site.mismatch("take the Kronecker product of", left, right, call.span, f"it takes {row.rule.value}")
    if left.shape.rank == right.shape.rank == 1:
        return Shape((left.shape.axes[0] * right.shape.axes[0],))
    rows, columns = zip(*((*one.shape.axes, Size())[:2] for one in operands), strict=True)
    return Shape((rows[0] * rows[1], columns[0] * columns[1]))


def _of_matrix(row: Function, operand: Typed, call: Call, site: Site) -> Shape:
    if not operand.shape.is_matrix:
        reason = f"{row.name} needs a matrix, found {site.shape(operand)}"
        raise site.refusal(reason, call.span, site.described(operand))
    rows, columns = operand.shape.axes
    match row.rule:
        case Rule.ALONG_ROWS:
            return Shape((rows,))
        case Rule.ALONG_COLUMNS:
            return Shape((columns,))
        case Rule.TRANSPOSED:
            return Shape((columns, rows))
        case _:
            return Shape((rows * columns,))


def _unstacked(row: Function, operand: Typed, plain: tuple[Expression, ...], call: Call, site: Site) -> Shape:
    rows, columns = (_size(argument, site) for argument in plain)
    if operand.shape.rank != 1 or not site.solver.unify(operand.shape.axes[0], rows * columns):
        reason = f"{row.name} needs a vector of size {rows * columns}, found {site.shape(operand)}"
        raise site.refusal(reason, call.span, site.described(operand))
    return Shape((rows, columns))


def _along(
    row: Function, operand: Typed, plain: tuple[Expression, ...], call: Call, site: Site
) -> tuple[Shape, str, tuple[Option, ...]]:
    """Shape, name and options of a reduction of all entries, or along an axis of a matrix."""
    if not plain:
        return SCALAR, row.name, ()
    axis = plain[0].value if isinstance(plain[0], Number) else None
    if not operand.shape.is_matrix or axis not in (0, 1):
        reason = f"{row.name} takes the axis 0 or 1 of a matrix, found {plain[0]} of {site.shape(operand)}"
        raise site.refusal(reason, call.span, f"write {row.signature}")
    return Shape((operand.shape.axes[1 - int(axis)],)), row.name, (int(axis),)


def _three(row: Function, operand: Typed, call: Call, site: Site) -> None:
    if operand.shape.rank != 1 or not site.solver.unify(operand.shape.axes[0], Size(3)):
        reason = f"{row.name} needs vectors of size 3, found {site.shape(operand)}"
        advice = "\na product is written *" if call.spelling == "×" else ""
        raise site.refusal(reason, call.span, site.described(operand) + advice)


def _aligned(row: Function, operands: tuple[Typed, ...], call: Call, site: Site) -> Shape:
    shape = site.common(f"take {row.name} of", operands[-2], operands[-1], call.span)
    if row.rule is Rule.CHOICE:
        condition = operands[0]
        if condition.operation is not Operation.COMPARE:
            raise site.refusal(
                f"the first argument of where is {site.shape(condition)}, not a comparison",
                condition.span,
                f"write {row.signature}",
            )
        if not condition.shape.is_scalar:
            branch = next((branch for branch in operands[1:] if not branch.shape.is_scalar), None)
            shape = condition.shape if branch is None else site.common("choose by", condition, branch, call.span)
    return shape


def _outer(operands: tuple[Typed, ...], call: Call, site: Site) -> Typed:
    left, right = _pair(operands)
    if left.shape.rank != 1 or right.shape.rank != 1:
        raise site.mismatch("take the outer product of", left, right, call.span, "it takes two vectors")
    return Typed(Operation.OUTER, operands, Shape((left.shape.axes[0], right.shape.axes[0])), call)


def _filled(row: Function, operands: tuple[Typed, ...], plain: tuple[Expression, ...], call: Call, site: Site) -> Shape:
    if operands and not operands[0].shape.is_scalar:
        reason = f"{row.name} is filled with a scalar, found {site.shape(operands[0])}"
        raise site.refusal(reason, operands[0].span, f"write {row.signature}")
    if row.rule is Rule.FILL_MATRIX and len(plain) == 1:
        raise site.refusal("matrix takes two sizes, found 1", call.span, f"write {row.signature}")
    sizes = tuple(_size(argument, site) for argument in plain)
    if row.rule is Rule.FILL_VECTOR:
        return Shape(sizes or (site.solver.fresh(),))
    if row.rule is Rule.FILL_MATRIX:
        return Shape(sizes or (site.solver.fresh(), site.solver.fresh()))
    return Shape((sizes or (site.solver.fresh(),)) * 2)


def _size(argument: Expression, site: Site) -> Size:
    """The size that an argument is; of numbers alone it is neither negative nor beyond the limit."""
    size = _read_size(argument, site)
    if not size.symbols and not 0 <= size.coefficient <= LARGEST_SIZE:
        raise site.refusal(
            f"{size} is not a size", argument.span, f"a size is at most {LARGEST_SIZE:,} and not negative"
        )
    return size


def _read_size(argument: Expression, site: Site) -> Size:
    if isinstance(argument, Name):
        return symbol(argument.name)
    if isinstance(argument, Number) and isinstance(argument.value, int) and argument.value <= LARGEST_SIZE:
        return Size(argument.value)
    if isinstance(argument, Binary) and argument.operator == "*":
        left, right = _read_size(argument.left, site), _read_size(argument.right, site)
        if not left.offset and not right.offset:
            return left * right
    if isinstance(argument, Binary) and argument.operator in ("+", "-") and isinstance(argument.right, Number):
        number = argument.right.value
        if isinstance(number, int) and number <= LARGEST_SIZE:
            return _read_size(argument.left, site).plus(number if argument.operator == "+" else -number)
    advice = f"a size is a symbol, an integer up to {LARGEST_SIZE:,}, a product of these, or one more or less: n-1"
    raise site.refusal(f"{argument} is not a size", argument.span, advice)


def _order(operand: Typed, plain: tuple[Expression, ...], call: Call, site: Site) -> tuple[str, tuple[Option, ...]]:
    """The function and options that a norm is: norm2 and norm1 where they are the same."""
    if not plain:
        return "norm2", ()
    order: Option
    match plain[0]:
        case Number(value=value):
            order = int(value) if value == math.floor(value) else value
        case Name(name="inf" | "fro" | "nuc" as name):
            order = name
        case other:
            raise site.refusal(f"{other} is not the order of a norm", other.span, f"norm takes {Rule.NORM.value}")
    if operand.shape.is_matrix and order not in ORDERS_OF_MATRIX:
        advice = "for a matrix it is 1, 2, inf, fro or nuc; entrywise norms are norm1(X), norm2(X)"
        raise site.refusal(f"{order} is not an order of a matrix norm here", plain[0].span, advice)
    if not operand.shape.is_matrix and (order in ("fro", "nuc") or (not isinstance(order, str) and order < 1)):
        advice = "a norm of a vector has an order that is at least 1, or inf"
        raise site.refusal(f"{order} is not the order of a vector norm", plain[0].span, advice)
    if order == "fro" or (order == 2 and not operand.shape.is_matrix):
        return "norm2", ()
    if order == 1 and not operand.shape.is_matrix:
        return "norm1", ()
    return "norm", (order,)
