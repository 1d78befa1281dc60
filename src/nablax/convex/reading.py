"""A formula as an expression, also where derivatives have no notation for it: general norms, eigenvalues, entries."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction

from nablax.derivation.from_formula import read, sizes
from nablax.errors import NotShown
from nablax.formula import Formula, Kind, Operation, Typed, Variable
from nablax.notation import RELATIONS
from nablax.printing.expression import (
    Call,
    Expression,
    Function,
    Hadamard,
    Number,
    Power,
    Product,
    Scale,
    Sum,
    Symbol,
    Transpose,
    shape_of,
    walk,
)
from nablax.printing.rewrite import replaced

KINDS = (Kind.SCALAR, Kind.VECTOR, Kind.MATRIX)


def written(formula: Formula) -> Expression | None:
    """The expression of a formula; None where it has none.

    Example:
        >>> from nablax.formula import parse_formula
        >>> written(parse_formula("max(eig(S))", "S: symmetric(n)")).name
        'max'
    """
    try:
        return _Reading(formula.variables).expression(formula.expression)
    except NotShown:
        return None


def one_sum(expression: Expression) -> Expression:
    """A scalar of comparisons that is added up from products of entries, as one sum over the entries.

    Such is what `derive` reads of a loss in JAX: [u > v]ᵀw and ‖u‖² are Σ [uᵢ > vᵢ] wᵢ and Σ uᵢ², and the sum of both
    is that of a piecewise polynomial.

    Example:
        >>> from nablax.printing.unicode import unicode
        >>> x = Symbol("x", ("n",))
        >>> holds = Function(">", (x, Number(Fraction(1))))
        >>> unicode(one_sum(Product((Transpose(holds), x))))
        'sum([x > 1] ⊙ x)'
    """
    entries = _entries(expression) if _compares(expression) else None
    return expression if entries is None else Call("sum", (entries,))


def _compares(expression: Expression) -> bool:
    return any(isinstance(node, Function) and node.name in RELATIONS for node in walk(expression, indexed=True))


def _entries(node: Expression) -> Expression | None:
    """What a scalar is the sum of the entries of."""
    match node:
        case Call("sum", (inside,)) if len(shape_of(inside)) == 1:
            return inside
        case Product((Transpose(left), right)) if len(shape_of(left)) == len(shape_of(right)) == 1:
            return Hadamard((left, right))
        case Power(Call("norm", (inside,)), Number(value)) if value == 2:
            return Power(inside, Number(value))
        case Scale(number, (*scalars, one), (), None):  # a symbol before a sum, such as the threshold of a loss
            entries = _entries(one)
            plain = all(isinstance(scalar, Symbol) for scalar in scalars)
            return Scale(number, tuple(scalars), (), entries) if entries is not None and plain else None
        case Sum(terms):
            found = [one for one in map(_entries, terms) if one is not None]
            return Sum(tuple(found)) if len(found) == len(terms) else None
        case _:
            return None


class _Reading:
    def __init__(self, variables: Mapping[str, Variable]) -> None:
        self._variables = dict(variables)

    def expression(self, node: Typed) -> Expression:
        """One typed expression; parts without notation are read apart and put back."""
        if not any(map(_root_of_power, node.walk())):
            with suppress(NotShown):
                return read(node, self._variables)
        parts = [self.expression(operand) for operand in node.operands]
        try:
            return self._around(node, parts)
        except NotShown:
            return _own(node, parts)

    def _around(self, node: Typed, parts: list[Expression]) -> Expression:
        """The operation on names, and then what these stand for."""
        names: list[Typed] = []
        for operand in node.operands:
            name = f"_{len(self._variables)}"
            symbol = Typed(Operation.VARIABLE, (), operand.shape, operand.syntax, name, value=operand.value)
            self._variables[name] = Variable(name, KINDS[operand.shape.rank], operand.shape)
            names.append(symbol)
        found = read(
            Typed(node.operation, tuple(names), node.shape, node.syntax, node.label, node.options, node.value),
            self._variables,
        )
        for one, part in zip(names, parts, strict=True):
            found = replaced(found, Symbol(one.label, sizes(one)), part)
        return found


def _root_of_power(node: Typed) -> bool:
    """Whether it is a power of a power and one is no integer: √(x²) is not x, and (√x)² is x only where x ≥ 0."""
    exponent = _exponent(node)
    inner = _exponent(node.operands[0]) if exponent is not None else None
    return exponent is not None and inner is not None and not (exponent.is_integer() and inner.is_integer())


def _exponent(node: Typed) -> float | None:
    match node.operation, node.label:
        case Operation.POWER, _:
            return node.operands[1].value
        case Operation.CALL, "sqrt":
            return 0.5
        case Operation.CALL, "square":
            return 2.0
        case _:
            return None


def _own(node: Typed, parts: list[Expression]) -> Expression:
    shape = sizes(node)
    match node.operation, node.label:
        case Operation.CALL, "norm":
            order = node.options[0]
            if len(shape_of(parts[0])) == 2:
                return Call(
                    {2: "norm_2", "nuc": "norm_nuc", 1: "norm_columns"}.get(order or 0, "norm_rows"), tuple(parts)
                )
            if order == "inf":
                return Call("norm_inf", tuple(parts))
            assert isinstance(order, int | float)
            return Call("norm_p", (parts[0], Number(Fraction(order).limit_denominator(1000))))
        case Operation.CALL, "where":
            return Function("where", tuple(parts))
        case Operation.CALL, label:
            return Call(label, tuple(parts), shape)
        case Operation.INDEX, _:
            return Call("entry", tuple(parts), shape)
        case ((Operation.ADD | Operation.SUBTRACT), _):
            right = parts[1] if node.operation is Operation.ADD else Scale(Fraction(-1), (), (), parts[1])
            return Sum((parts[0], right))
        case _:
            raise NotShown
