"""Other forms of an expression with the same values, of which rules say more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction

from nablax.convex.polynomials import Polynomial, polynomial
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
    product_of,
    shape_of,
)
from nablax.printing.multiples import plain, scaled

ONE, MINUS = Fraction(1), Fraction(-1)
# 1 − h(u), or 1 + h(u), as a function of u: g(c u) times a number, with g from the table of atoms
LIMITS: dict[tuple[str, int], tuple[str, Fraction, Fraction]] = {
    ("Phi", -1): ("Phi", MINUS, ONE),
    ("sigmoid", -1): ("sigmoid", MINUS, ONE),
    ("tanh", -1): ("sigmoid", Fraction(-2), Fraction(2)),
    ("tanh", 1): ("sigmoid", Fraction(2), Fraction(2)),
}


def other_forms(node: Expression) -> Iterator[Expression]:
    """The other forms of an expression.

    Args:
        node: the expression.

    Yields:
        Expressions that have its value wherever they are defined.

    Example:
        >>> from nablax.printing.expression import Symbol
        >>> from nablax.printing.unicode import unicode
        >>> x = Symbol("x", ())
        >>> term = Scale(MINUS, (Function("Phi", (x,)),), (), None)
        >>> [unicode(one) for one in other_forms(Sum((Number(ONE), term)))]
        ['Φ(−x)']
    """
    for form in FORMS:
        found = form(node)
        if found is not None and found != node:
            yield found


def _from_limit(node: Expression) -> Expression | None:
    """1 − Φ(u) = Φ(−u), and the like of sigmoid and tanh."""
    match node:
        case Sum((Number(one), other)) | Sum((other, Number(one))) if one == 1:
            sign, inside = _sign(other)
            if isinstance(inside, Function) and (inside.name, sign) in LIMITS:
                name, factor, times = LIMITS[inside.name, sign]
                return scaled(times, Function(name, (scaled(factor, inside.arguments[0]),)))
        case _:
            pass
    return None


def _sign(node: Expression) -> tuple[int, Expression]:
    match node:
        case Scale(number, (inside,), (), None) | Scale(number, (), (), inside) if number == -1 and inside is not None:
            return -1, inside
        case _:
            return 1, node


def _power_of_expressions(node: Expression) -> Expression | None:
    """uᵛ = exp(v log u) for u > 0."""
    match node:
        case Function("pow", (base, exponent)):
            logarithm = Function("log", (base,))
            factors = (exponent, logarithm)
            product = Hadamard(factors) if shape_of(node) else Scale(ONE, factors, (), None)
            return Function("exp", (product,))
        case _:
            return None


def _stable_softplus(node: Expression) -> Expression | None:
    """log(1 + exp(−|u|)) + max(u, 0) = log(1 + exp(u)), also of sums over entries."""
    if not isinstance(node, Sum):
        return None
    terms = list(node.terms)
    for term in terms:
        found = _excess(term)
        if found is None:
            continue
        inside, around = found
        for larger in (Function("max", (inside, Number(Fraction(0)))), Function("relu", (inside,))):
            if around(larger) in terms:
                whole = around(Function("softplus", (inside,)))
                rest = list(terms)
                rest.remove(term)
                rest.remove(around(larger))
                return Sum((*rest, whole)) if rest else whole
    return None


def _excess(node: Expression) -> tuple[Expression, Callable[[Expression], Expression]] | None:
    """The u of log(1 + exp(−|u|)), and what stands around it."""
    match node:
        case Call(("sum" | "mean") as name, (inside,), shape):
            found = _excess(inside)
            if found is None:
                return None
            within, around = found
            return within, lambda one: Call(name, (around(one),), shape)
        case Function("log", (Sum((Number(one), Function("exp", (negative,)))),)) if one == 1:
            sign, size = _sign(negative)
            return _argument(size) if sign < 0 else None
        case Function("log1p", (Function("exp", (negative,)),)):
            sign, size = _sign(negative)
            return _argument(size) if sign < 0 else None
        case Function("softplus", (negative,)):
            sign, size = _sign(negative)
            return _argument(size) if sign < 0 else None
        case _:
            return None


def _argument(size: Expression) -> tuple[Expression, Callable[[Expression], Expression]] | None:
    match size:
        case Function("abs", (inside,)):
            return inside, lambda one: one
        case _:
            return None


def _divided(node: Expression) -> Expression | None:
    """p(u)/q(u) as a polynomial and a remainder over q(u)."""
    match node:
        case Scale(Fraction() as coefficient, scalars, (divisor,), body):
            factors = (*scalars, *(() if body is None else (body,)))
            whole = Scale(coefficient, factors, (), None) if factors else Number(coefficient)
            top, bottom = polynomial(whole), polynomial(divisor)
        case _:
            return None
    if top is None or bottom is None or bottom.base is None or top.base != bottom.base or shape_of(bottom.base):
        return None
    base, quotient, rest = bottom.base, dict[int, Fraction](), dict(top.coefficients)
    degree = max(bottom.coefficients)
    if not degree or max(rest, default=0) < degree:
        return None
    while rest and max(rest) >= degree:
        at = max(rest)
        factor = quotient[at - degree] = rest[at] / bottom.coefficients[degree]
        for exponent, number in bottom.coefficients.items():
            rest[at - degree + exponent] = rest.get(at - degree + exponent, Fraction(0)) - factor * number
        rest = {exponent: number for exponent, number in rest.items() if number}
    if not rest:  # it is defined where the divisor is zero, and the quotient is not
        return None
    left = [*_terms(Polynomial(base, rest), base)]
    numerator = left[0] if len(left) == 1 else Sum(tuple(left))
    return Sum((*_terms(Polynomial(base, quotient), base), plain(Scale(ONE, (numerator,), (divisor,), None))))


def _terms(one: Polynomial, base: Expression) -> Iterator[Expression]:
    for exponent, number in sorted(one.coefficients.items(), reverse=True):
        if exponent == 0:
            yield Number(number)
        else:
            yield scaled(number, base if exponent == 1 else Power(base, Number(Fraction(exponent))))


def _parallel(node: Expression) -> Expression | None:
    """uv/(u + v) = u − u²/(u + v)."""
    match node:
        case Scale(number, (one, other), (Sum(terms) as both,), None) if Counter(terms) == Counter((one, other)):
            square = Scale(MINUS, (Power(one, Number(Fraction(2))),), (both,), None)
            return scaled(number, Sum((one, square)))
        case _:
            return None


def _trace_of_sum(node: Expression) -> Expression | None:
    """tr((A + B)C) = tr(AC) + tr(BC)."""
    match node:
        case Call("tr", (Product(factors),)):
            for k, factor in enumerate(factors):
                match factor:
                    case Sum(terms) if all(len(shape_of(term)) == 2 for term in terms):
                        parts = [product_of((*factors[:k], term, *factors[k + 1 :])) for term in terms]
                        return Sum(tuple(_trace(part) for part in parts))
                    case _:
                        pass
        case _:
            pass
    return None


def _trace(node: Expression) -> Expression:
    match node:
        case Product(factors):
            numbers = [one for one in factors if isinstance(one, Scale) and one.body is not None]
            inside = product_of(tuple(one.body if isinstance(one, Scale) and one.body else one for one in factors))
            found: Expression = Call("tr", (inside,))
            for one in numbers:
                found = plain(Scale(one.coefficient, (*one.scalars, found), one.divisors, None))
            return found
        case _:
            return Call("tr", (node,))


FORMS: tuple[Callable[[Expression], Expression | None], ...] = (
    _from_limit,
    _power_of_expressions,
    _stable_softplus,
    _divided,
    _parallel,
    _trace_of_sum,
)
