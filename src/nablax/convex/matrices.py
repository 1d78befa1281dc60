"""Matrix products: linear maps, quadratic forms, and convexity in the order of semidefinite matrices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from nablax.convex.elementwise import known_of, multiplied
from nablax.convex.facts import UNKNOWN, Analysis, Definite, Facts, Relation, scaled
from nablax.convex.intervals import EVERYTHING, NONNEGATIVE, NONPOSITIVE, POSITIVE, Interval, point
from nablax.convex.quadratics import is_symmetric_array
from nablax.printing.expression import (
    Array,
    Call,
    Expression,
    Identity,
    Inverse,
    Ones,
    Product,
    Scale,
    Sum,
    Symbol,
    Transpose,
    product_of,
    reversed_factors,
    shape_of,
    transposed,
)

SOURCE = "Boyd and Vandenberghe 2004, sections 3.1.5, 3.2.2 and 3.6"


def flat(factors: tuple[Expression, ...]) -> tuple[Expression, ...]:
    """Factors of products inside products, and of their transposes, in one row."""
    return tuple(_flat(factors))


def _flat(factors: tuple[Expression, ...]) -> Iterator[Expression]:
    for one in factors:
        match one:
            case Product(inner):
                yield from _flat(inner)
            case Transpose(Product(inner)):
                yield from _flat(reversed_factors(inner))
            case _:
                yield one


def is_symmetric(expression: Expression) -> bool:
    """Whether the form shows that it equals its transpose."""
    shape = shape_of(expression)
    if not shape:
        return True
    if len(shape) != 2 or shape[0] != shape[1]:
        return False
    match expression:
        case Product(factors):
            return palindrome(flat(factors)) is not None
        case Sum(terms):
            return all(map(is_symmetric, terms)) or transposed(expression) == expression
        case Scale(body=body) if body is not None:
            return is_symmetric(body)
        case Inverse(operand) | Transpose(operand):
            return is_symmetric(operand)
        case Symbol(symmetric=symmetric):
            return symmetric
        case Call(name):
            return name == "diag"
        case Array():
            return is_symmetric_array(expression)
        case _:
            return transposed(expression) == expression


def palindrome(factors: tuple[Expression, ...]) -> tuple[tuple[Expression, ...], Expression | None] | None:
    """Factors LᵀML, as M (None where there is none) and L; None where they are not of this form."""
    half = len(factors) // 2
    for k in range(half):
        if transposed(factors[k]) != factors[-1 - k]:
            return None
    middle = factors[half] if len(factors) % 2 else None
    if middle is not None and (len(shape_of(middle)) == 1 or not is_symmetric(middle)):
        return None
    return factors[len(factors) - half :], middle


def quadratic(analysis: Analysis, node: Product) -> Facts:
    """Whether LᵀML is convex, concave in the order of semidefinite matrices (of a scalar: as it is); and why."""
    factors = flat(node.factors)
    found = palindrome(factors)
    if found is None:
        return UNKNOWN
    right, middle = found
    if not right:
        assert middle is not None
        convex, concave = analysis.loewner(middle)
        return Facts(convex=convex, concave=concave, uses=(middle,))
    inner = product_of(right)
    facts = analysis.facts(inner)
    if middle is None:
        rule = "a square LᵀL of an affine expression"
        return Facts(
            convex=facts.affine, concave=facts.constant, root_convex=facts.affine, rule=rule, uses=(inner,)
        )  # the root is ‖L‖
    if facts.constant:  # of the root nothing is said: cᵀXc is affine in X
        convex, concave = analysis.loewner(middle)
        return Facts(convex=convex, concave=concave, rule="LᵀML with a constant L", uses=(middle,))
    if facts.affine and isinstance(middle, Inverse) and not analysis.facts(middle).constant:
        analysis.require(middle.operand, Relation.DEFINITE)
        concave = analysis.loewner(middle.operand)[1]
        rule = "LᵀM⁻¹L with an affine L and a concave positive definite M (matrix fractional function)"
        return Facts(convex=concave, rule=rule, uses=(inner, middle.operand))
    if not facts.affine or not analysis.facts(middle).constant:
        return UNKNOWN
    positive = analysis.definite(middle) > Definite.UNKNOWN
    negative = analysis.definite(Scale(Fraction(-1), (), (), middle)) > Definite.UNKNOWN
    rule = f"LᵀML with an affine L and a {'positive' if positive else 'negative'} semidefinite constant M"
    return Facts(convex=positive, concave=negative, root_convex=positive, rule=rule, uses=(inner, middle))


def product(analysis: Analysis, node: Product) -> Facts:
    """A matrix product: what its constant factors leave, or a quadratic form."""
    factors = flat(node.factors)
    parts = [analysis.facts(factor) for factor in factors]
    interval = _interval(analysis, node, factors, parts)
    moving = [k for k, part in enumerate(parts) if not part.constant]
    if not moving:
        return Facts(True, interval=interval).closed()
    found = replace(known_of(parts), interval=interval)
    if len(moving) == 1:
        found = found.joined(_linear(parts, moving[0], factors, interval))
    shape = shape_of(node)
    if not shape:
        found = found.joined(replace(quadratic(analysis, node), interval=interval).closed())
        if not found.known and isinstance(factors[0], Transpose) and len(shape_of(factors[0].operand)) == 1:
            rest = product_of(factors[1:])
            found = found.joined(summed(multiplied(analysis, Fraction(1), [factors[0].operand, rest], [])))
    return found


def _linear(parts: list[Facts], place: int, factors: tuple[Expression, ...], interval: Interval) -> Facts:
    """Constant matrices times one factor: sums of its entries with constant coefficients."""
    inner = parts[place]
    others = [part for k, part in enumerate(parts) if k != place]
    sign = point(1)
    for part in others:
        sign = sign * _sign(part.interval)
    result = scaled(replace(inner, log_concave=False), sign)
    rows = all(_has_full_rows(factors[k]) or part.interval.positive for k, part in enumerate(parts) if k < place)
    logs = inner.log_convex and sign.nonnegative and rows
    logs = logs and all(part.interval.positive for part in parts[place + 1 :])
    if logs:
        interval = interval.common(POSITIVE)
    rule = "a linear map of an affine expression" if inner.affine else "a combination with coefficients of one sign"
    return replace(result, log_convex=logs, interval=interval, rule=rule, uses=(factors[place],)).closed()


def _has_full_rows(matrix: Expression) -> bool:
    """Whether a nonnegative matrix has a positive entry in every row: one with ones on and beside its diagonal."""
    match matrix:
        case Call("tril" | "triu", (Ones((rows, columns)),)):
            return rows == columns
        case Transpose(operand):
            return _has_full_rows(operand)
        case _:
            return isinstance(matrix, Identity)


def _sign(interval: Interval) -> Interval:
    if interval.positive:
        return POSITIVE
    if interval.nonnegative:
        return NONNEGATIVE
    return NONPOSITIVE if (-interval).nonnegative else EVERYTHING


def _interval(analysis: Analysis, node: Product, factors: tuple[Expression, ...], parts: list[Facts]) -> Interval:
    """The sign of the entries of a product."""
    sign = point(1)
    for part in parts:
        sign = sign * _sign(part.interval)
    if shape_of(node) or sign.nonnegative:
        return _sign(sign)
    found = palindrome(factors)
    if found is None:
        return _sign(sign)
    right, middle = found
    if middle is None or (right and analysis.definite(middle) > Definite.UNKNOWN):
        return NONNEGATIVE
    return _sign(sign)


def summed(facts: Facts) -> Facts:
    """The sum of all entries."""
    return replace(facts, log_concave=False, interval=_sign(facts.interval), log_convex=facts.log_convex).closed()


def loewner(analysis: Analysis, node: Expression) -> tuple[bool, bool]:
    """Whether vᵀMv is convex, and whether it is concave, for every constant v; of a scalar, whether it is."""
    facts = analysis.facts(node)
    if not shape_of(node):
        return facts.convex, facts.concave
    if not is_symmetric(node):
        return False, False
    if facts.affine:
        return True, True
    match node:
        case Sum(terms):
            parts = [analysis.loewner(term) for term in terms]
            return all(convex for convex, _ in parts), all(concave for _, concave in parts)
        case Scale(coefficient, scalars, divisors, body) if body is not None:
            factor = multiplied(analysis, coefficient, scalars, divisors)
            convex, concave = analysis.loewner(body)
            if not factor.constant:
                semidefinite = analysis.facts(body).constant and analysis.definite(body) > Definite.UNKNOWN
                return semidefinite and factor.convex, semidefinite and factor.concave
            up, down = factor.interval.nonnegative, (-factor.interval).nonnegative
            return (up and convex) or (down and concave), (up and concave) or (down and convex)
        case Inverse(operand):
            analysis.require(operand, Relation.DEFINITE)
            return analysis.loewner(operand)[1], False
        case Product():
            found = quadratic(analysis, node)
            return found.convex, found.concave
        case Call("diag", (vector,)):
            inner = analysis.facts(vector)
            return inner.convex, inner.concave
        case _:
            return False, False
