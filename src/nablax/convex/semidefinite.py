"""Whether the form of a matrix shows that it is positive semidefinite: as a sum of LᵀDL with D ≥ 0."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from nablax.convex.elementwise import multiplied
from nablax.convex.facts import Analysis, Definite
from nablax.convex.matrices import flat, is_symmetric, palindrome
from nablax.convex.quadratics import definite_array
from nablax.printing.expression import (
    Array,
    Call,
    Expression,
    Hadamard,
    Identity,
    Inverse,
    Kronecker,
    Ones,
    Product,
    Scale,
    SizeOf,
    Sum,
    Transpose,
    product_of,
    shape_of,
)
from nablax.printing.multiples import plain, scaled

NO, SEMI, DEFINITE = Definite.UNKNOWN, Definite.SEMIDEFINITE, Definite.POSITIVE


def definite(analysis: Analysis, node: Expression) -> Definite:
    """What the form of an expression shows of its definiteness.

    Args:
        analysis: answers for signs of entries and for declared matrices.
        node: a square matrix, or a scalar, of which the sign is meant.

    Returns:
        POSITIVE, SEMIDEFINITE, or UNKNOWN.
    """
    if not shape_of(node):
        interval = analysis.facts(node).interval
        return DEFINITE if interval.positive else SEMI if interval.nonnegative else NO
    match node:
        case Identity():
            return DEFINITE
        case Array():
            return definite_array(node)
        case Ones((rows, columns)) if rows == columns:
            return SEMI
        case Sum(terms):
            return _sum(analysis, terms)
        case Scale(coefficient, scalars, divisors, body) if body is not None:
            factor = multiplied(analysis, coefficient, scalars, divisors).interval
            inner = analysis.definite(body)
            if not factor.nonnegative:
                return analysis.definite(_moved_sign(node)) if isinstance(body, Sum | Scale) else NO
            return inner if factor.positive else min(inner, SEMI)
        case Product(factors):
            return _product(analysis, flat(factors))
        case Inverse(operand):
            return DEFINITE if analysis.definite(operand) else NO
        case Transpose(operand):
            return analysis.definite(operand)
        case Kronecker(left, right):
            return min(analysis.definite(left), analysis.definite(right))
        case Hadamard(parts):  # Schur's product theorem
            return min(analysis.definite(part) for part in parts)
        case Call("diag", (vector,)):
            interval = analysis.facts(vector).interval
            return DEFINITE if interval.positive else SEMI if interval.nonnegative else NO
        case Call("expm", (matrix,)) if is_symmetric(matrix):
            return DEFINITE
        case _:
            return NO


def _moved_sign(node: Scale) -> Expression:
    """A negative multiple of a sum as the sum of negative multiples."""
    whole = plain(node)
    match whole:
        case Scale(body=Sum(terms)):
            return Sum(tuple(replace(whole, body=term) for term in terms))
        case _:
            return whole


def _sum(analysis: Analysis, terms: tuple[Expression, ...]) -> Definite:
    """A sum of semidefinite matrices; diag(p) − ppᵀ of probabilities counts as one, as I − 𝟏𝟏ᵀ/n does."""
    left = list(terms)
    found = [term for term in left if _covariance(term, left)]
    for term in found:
        match term:
            case Call("diag", (vector,)):
                left = [one for one in left if one != term and one != _minus_outer(vector)]
            case Identity(size):
                left = [one for one in left if one != term and one not in _minus_means(size)]
            case _:
                pass
    # a scalar s among matrices is s11ᵀ
    parts = [min(analysis.definite(term), DEFINITE if shape_of(term) else SEMI) for term in left]
    parts += [SEMI] * len(found)
    return NO if NO in parts else max(parts)


def _covariance(term: Expression, terms: list[Expression]) -> bool:
    """Whether it is diag(p) beside −ppᵀ for the entries p of a softmax, or I beside −𝟏𝟏ᵀ/n: covariance matrices."""
    match term:
        case Identity(size):
            return any(one in terms for one in _minus_means(size))
        case Call("diag", (Call("softmax") as vector,)):
            return _minus_outer(vector) in terms
        case _:
            return False


def _minus_means(size: str) -> tuple[Expression, ...]:
    """What takes the mean off every entry of a vector, as it is written."""
    ones = Product((Ones((size,)), Transpose(Ones((size,)))))
    if size.isdigit():
        return tuple(Scale(Fraction(-1, int(size)), (), (), one) for one in (ones, Ones((size, size))))
    return tuple(Scale(Fraction(-1), (), (SizeOf(size),), one) for one in (ones, Ones((size, size))))


def _minus_outer(vector: Expression) -> Expression:
    return scaled(Fraction(-1), Product((vector, Transpose(vector))))


def _product(analysis: Analysis, factors: tuple[Expression, ...]) -> Definite:
    found = palindrome(factors)
    if found is None:
        return NO
    right, middle = found
    if not right:
        return analysis.definite(product_of(factors))
    return SEMI if middle is None else min(analysis.definite(middle), SEMI)


def map_definite(analysis: Analysis, value: Expression, direction: Expression) -> Definite:
    """Whether ⟨u, value⟩ ≥ 0 for the value of a linear map at u, as a sum of squares.

    Args:
        analysis: answers for signs and matrices.
        value: an expression linear in the direction.
        direction: u, or a product LuR that is treated as one.

    Returns:
        POSITIVE, SEMIDEFINITE, or UNKNOWN.
    """
    ours = flat((direction,))
    theirs = flat((value,))
    if ours == theirs:
        return DEFINITE
    match value:
        case Sum(terms):
            parts = [map_definite(analysis, term, direction) for term in terms]
            return NO if NO in parts else max(parts)
        case Scale(coefficient, scalars, divisors, body) if body is not None:
            factor = multiplied(analysis, coefficient, scalars, divisors).interval
            if factor.nonnegative:
                inner = map_definite(analysis, body, direction)
                return inner if factor.positive else min(inner, SEMI)
            return NO
        case Hadamard(parts) if direction in parts:
            rest = tuple(part for part in parts if part != direction)
            if len(rest) != len(parts) - 1:
                return NO
            interval = multiplied(analysis, Fraction(1), rest, ()).interval
            return DEFINITE if interval.positive else SEMI if interval.nonnegative else NO
        case Product():
            return _congruent(analysis, theirs, ours)
        case _:
            return NO


def _congruent(analysis: Analysis, factors: tuple[Expression, ...], direction: tuple[Expression, ...]) -> Definite:
    """Aᵀ(…)B as the map at A u Bᵀ; PuQ with semidefinite P and Q."""
    if len(direction) <= len(factors):
        for start in range(len(factors) - len(direction) + 1):
            if factors[start : start + len(direction)] != direction:
                continue
            sides = [part for part in (factors[:start], factors[start + len(direction) :]) if part]
            if sides and all(is_symmetric(product_of(side)) for side in sides):
                return min([analysis.definite(product_of(side)) for side in sides])
    first, last = factors[0], factors[-1]
    if len(factors) > 1 and len(shape_of(first)) == 2:
        moved = product_of(flat((_turn(first), *direction)))
        if (found := map_definite(analysis, product_of(factors[1:]), moved)) is not NO:
            return min(found, SEMI)
    if len(factors) > 1 and len(shape_of(last)) == 2:
        moved = product_of(flat((*direction, _turn(last))))
        return min(map_definite(analysis, product_of(factors[:-1]), moved), SEMI)
    return NO


def _turn(matrix: Expression) -> Expression:
    return matrix.operand if isinstance(matrix, Transpose) else _transposed(matrix)


def _transposed(matrix: Expression) -> Expression:
    return matrix if is_symmetric(matrix) else Transpose(matrix)
