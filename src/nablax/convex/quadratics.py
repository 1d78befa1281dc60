"""Quadratics with numbers as coefficients: of which sign they are, exactly, by LDLᵀ with fractions."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from fractions import Fraction

from nablax.convex.facts import UNKNOWN, Analysis, Definite, Facts
from nablax.convex.intervals import NONNEGATIVE, NONPOSITIVE
from nablax.printing.expression import (
    Array,
    Call,
    Expression,
    Hadamard,
    Number,
    Power,
    Product,
    Scale,
    Sum,
    Transpose,
    shape_of,
)

MOST_ROWS = 40  # of a matrix of numbers; fractions grow
RULE = "a quadratic of affine expressions, with coefficients that are a {} semidefinite matrix"
Pair = tuple[Expression, Expression, bool]  # two factors, and whether it is their inner product


def definite_array(array: Array) -> Definite:
    """Whether a known matrix is positive (semi)definite: symmetric, with pivots of one sign.

    Example:
        >>> definite_array(Array("((2.0, 1.0), (1.0, 2.0))", ("2", "2")))
        <Definite.POSITIVE: 2>
    """
    rows = _rows(array)
    return Definite.UNKNOWN if rows is None else definite_numbers(rows)


def is_symmetric_array(array: Array) -> bool:
    """Whether a known matrix equals its transpose, number by number."""
    rows = _rows(array)
    return rows is not None and rows == [list(column) for column in zip(*rows, strict=True)]


def _rows(array: Array) -> list[list[Fraction]] | None:
    """The numbers of a square matrix."""
    if len(array.shape) != 2 or array.shape[0] != array.shape[1]:
        return None
    try:
        return [[Fraction(one) for one in row] for row in ast.literal_eval(array.values)]
    except (ValueError, SyntaxError, TypeError, OverflowError):
        return None


def definite_numbers(rows: Sequence[Sequence[Fraction]]) -> Definite:
    """Whether a matrix of fractions is positive (semi)definite.

    Args:
        rows: of the matrix.

    Returns:
        POSITIVE, SEMIDEFINITE, or UNKNOWN where it is neither of them, not symmetric or too large.

    Example:
        >>> definite_numbers([[Fraction(1), Fraction(-1)], [Fraction(-1), Fraction(1)]])
        <Definite.SEMIDEFINITE: 1>
    """
    left, count = [list(row) for row in rows], len(rows)
    if not 0 < count <= MOST_ROWS or any(len(row) != count for row in left):
        return Definite.UNKNOWN
    if any(left[i][j] != left[j][i] for i in range(count) for j in range(i)):
        return Definite.UNKNOWN
    found = Definite.POSITIVE
    for k in range(count):
        pivot = left[k][k]
        if pivot < 0 or (pivot == 0 and any(left[k][k:])):
            return Definite.UNKNOWN
        if pivot == 0:
            found = Definite.SEMIDEFINITE
            continue
        for i in range(k + 1, count):
            factor = left[i][k] / pivot
            if factor:
                for j in range(k, count):
                    left[i][j] -= factor * left[k][j]
    return found


def quadratic(analysis: Analysis, node: Expression, found: Facts) -> Facts:
    """What is known of a sum of products of two affine expressions with numbers before them, and of other terms.

    Args:
        analysis: answers for the terms.
        node: the sum.
        found: what is known without.

    Returns:
        That it is convex, or concave, where all products together are, and all other terms.
    """
    if not isinstance(node, Sum):
        return UNKNOWN
    pairs: dict[Pair, Fraction] = {}
    rest: list[Expression] = []
    for term in node.terms:
        own = _read(analysis, term)
        if own is None:
            rest.append(term)
            continue
        for pair, number in own:
            turned = (pair[1], pair[0], pair[2])
            key = turned if turned in pairs else pair
            pairs[key] = pairs.get(key, Fraction(0)) + number
    others = [analysis.facts(one) for one in rest]
    for sign, word in ((1, "positive"), (-1, "negative")):
        fits = all(one.convex if sign > 0 else one.concave for one in others)
        if pairs and fits and all(_definite(pairs, inner, sign) for inner in (False, True)):
            uses = tuple(dict.fromkeys((*(one for pair in pairs for one in pair[:2]), *rest)))
            alone = not rest or all(one.constant and one.interval.is_zero for one in others)
            interval = (NONNEGATIVE if sign > 0 else NONPOSITIVE) if alone else found.interval
            return Facts(
                convex=sign > 0, concave=sign < 0, root_convex=alone and sign > 0, interval=interval,
                rule=RULE.format(word), uses=uses,
            ).closed()  # fmt: skip
    return UNKNOWN


def _definite(pairs: dict[Pair, Fraction], inner: bool, sign: int) -> bool:
    """Whether the products entry by entry, or the inner products, have a semidefinite matrix of coefficients."""
    own = {pair[:2]: sign * number for pair, number in pairs.items() if pair[2] is inner}
    bases = list(dict.fromkeys(base for pair in own for base in pair))
    if not own:
        return True
    rows = [[Fraction(0)] * len(bases) for _ in bases]
    for (one, other), number in own.items():
        i, j = bases.index(one), bases.index(other)
        rows[i][j] += number / 2
        rows[j][i] += number / 2
    return definite_numbers(rows) > Definite.UNKNOWN


def _read(analysis: Analysis, node: Expression) -> list[tuple[Pair, Fraction]] | None:
    """A term as products of two affine factors each; None where it is something else."""
    factors, number, inner = list[Expression](), Fraction(1), False
    for one in _factors(node):
        match one:
            case Number(Fraction() as value):
                number *= value
            case Power(Call("norm" | "norm_F", (whole,)), Number(exponent)) if exponent == 2:
                factors, inner = [*factors, whole, whole], True
            case Power(base, Number(exponent)) if exponent == 2:
                factors += [base, base]
            case Product((Transpose(left), right)) if len(shape_of(left)) == len(shape_of(right)) == 1 and not (
                analysis.facts(left).constant or analysis.facts(right).constant
            ):
                factors, inner = [*factors, left, right], True
            case _:
                factors.append(one)
    moving = all(analysis.facts(one).affine and not analysis.facts(one).constant for one in factors)
    alike = len({shape_of(one) for one in factors}) == 1
    if len(factors) != 2 or not moving or not (alike or not inner):
        return None
    found = [
        ((one, other, inner), number * a * b)
        for one, a in _terms(factors[0])
        for other, b in _terms(factors[1])
    ]  # fmt: skip
    return found if all(analysis.facts(one).affine for pair, _ in found for one in pair[:2]) else None


def _factors(node: Expression) -> Iterator[Expression]:
    match node:
        case Scale(Fraction() as coefficient, scalars, divisors, body) if all(
            isinstance(one, Number) and isinstance(one.value, Fraction) and one.value for one in divisors
        ):
            for one in divisors:
                assert isinstance(one, Number)
                coefficient /= Fraction(one.value)
            yield Number(coefficient)
            for one in (*scalars, *(() if body is None else (body,))):
                yield from _factors(one)
        case Hadamard(parts):
            for part in parts:
                yield from _factors(part)
        case _:
            yield node


def _terms(node: Expression) -> list[tuple[Expression, Fraction]]:
    """An affine expression as multiples of others, which are taken apart where numbers stand before them."""
    match node:
        case Sum(terms) if len({shape_of(term) for term in terms}) == 1:
            return [one for term in terms for one in _terms(term)]
        case Scale(Fraction() as coefficient, scalars, (), body) if len(scalars) + (body is not None) == 1:
            inside = scalars[0] if body is None else body
            return [(one, coefficient * number) for one, number in _terms(inside)]
        case _:
            return [(node, Fraction(1))]
