"""Which typed expressions are symmetric matrices by their form: a sufficient test, never a guess."""

from __future__ import annotations

from collections.abc import Mapping

from nablax.formula.functions import UNARY
from nablax.formula.typed import Kind, Operation, Typed, Variable

SYMMETRIC_KINDS = frozenset({Kind.SYMMETRIC, Kind.SPD, Kind.DIAGONAL})


def is_symmetric(node: Typed, variables: Mapping[str, Variable]) -> bool:
    """Whether the matrix equals its transpose, whatever the variables are.

    Args:
        node: a typed expression.
        variables: by name.

    Returns:
        True only where the form shows it: declared kinds, sums, scalings, inverses and powers of symmetric
        matrices, ``A + A'``, ``X'*S*X``, ``x*x'``, ``eye``, ``diag(x)``. A matrix that is symmetric for
        another reason gives False.
    """
    if not node.shape.is_matrix or node.shape.axes[0] != node.shape.axes[1]:
        return False
    match node.operation:
        case Operation.VARIABLE:
            return variables[node.label].kind in SYMMETRIC_KINDS
        case Operation.NEGATE | Operation.TRANSPOSE | Operation.MATRIX_POWER:
            return is_symmetric(node.operands[0], variables)
        case Operation.ADD:
            left, right = node.operands
            return _transposes(left, right) or _entrywise(node, variables)
        case Operation.SUBTRACT | Operation.MULTIPLY | Operation.DIVIDE | Operation.POWER:
            return _entrywise(node, variables)
        case Operation.OUTER:
            left, right = node.operands
            return _transposes(left, right)
        case Operation.PRODUCT:
            return _is_palindrome(_factors(node), variables)
        case Operation.CALL:
            if node.label in UNARY or node.label in ("inv", "kron", "where", "max", "min"):
                return all(operand.shape.is_scalar or is_symmetric(operand, variables) for operand in node.operands)
            return node.label in ("eye", "matrix", "diag")
        case _:
            return False


def _entrywise(node: Typed, variables: Mapping[str, Variable]) -> bool:
    return all(operand.shape.is_scalar or is_symmetric(operand, variables) for operand in node.operands)


def _transposes(left: Typed, right: Typed) -> bool:
    one = left.operands[0] if left.operation is Operation.TRANSPOSE else None
    other = right.operands[0] if right.operation is Operation.TRANSPOSE else None
    return one == right or other == left


def _factors(node: Typed) -> list[Typed]:
    if node.operation is not Operation.PRODUCT:
        return [node]
    return [factor for operand in node.operands for factor in _factors(operand)]


def _is_palindrome(factors: list[Typed], variables: Mapping[str, Variable]) -> bool:
    pairs = zip(factors[: len(factors) // 2], reversed(factors), strict=False)
    if not all(_transposes(left, right) or (left == right and is_symmetric(left, variables)) for left, right in pairs):
        return False
    return len(factors) % 2 == 0 or is_symmetric(factors[len(factors) // 2], variables)
