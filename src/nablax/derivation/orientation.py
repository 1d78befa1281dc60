"""Differences written one way: (x − μ)(x − μ)ᵀ with a minus in front, not (x − μ)(μ − x)ᵀ."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from nablax.derivation.forms import cost, is_negative, negated, term_order
from nablax.printing.expression import (
    Call,
    Expression,
    Hadamard,
    Number,
    Power,
    Product,
    Scale,
    Sum,
    Transpose,
    walk,
)
from nablax.printing.multiples import plain, scaled, split
from nablax.printing.rewrite import rebuilt

SIGN = 1.0  # what one way may cost more: a sign
LINEAR = ("diag", "diagonal", "tr", "sum", "tril", "triu", "inner")


def oriented(expression: Expression, written: Expression | None) -> Expression:
    """An expression in which no sum stands beside its negative.

    Args:
        expression: any expression.
        written: the formula as the user wrote it, whose sums are left as they are; None where there is none.

    Returns:
        The expression; as it was, where signs would make it longer. Norms of differences are as the formula has them.
    """
    known = {} if written is None else _sums(written)
    own = _sums(expression)
    turned: dict[frozenset[Expression], Sum] = {}
    for terms, total in own.items():
        other = negated(total)
        opposite = frozenset(other.terms)
        if opposite in own and terms not in turned and opposite not in turned:
            kept = total if _is_better(total, other, known) else own[opposite]
            turned[opposite if kept is total else terms] = kept
    option = rebuilt(expression, lambda node: _with_one_sign(node, turned)) if turned else expression
    option = option if cost(option) <= cost(expression) + SIGN else expression
    return rebuilt(option, lambda node: _norm(node, known), indexed=True)


def _sums(expression: Expression) -> dict[frozenset[Expression], Sum]:
    return {frozenset(node.terms): node for node in walk(expression) if isinstance(node, Sum)}


def _is_better(total: Sum, other: Sum, known: Mapping[frozenset[Expression], Sum]) -> bool:
    """Whether a sum is kept rather than its negative."""
    return _rank(total, known) <= _rank(other, known)


def _rank(total: Sum, known: Mapping[frozenset[Expression], Sum]) -> tuple[bool, int, float, str]:
    """As the formula has it; else few signs, and what is short without one: x − sum(x)/n."""
    negative = [is_negative(term) for term in total.terms]
    positive = [cost(term) for term, sign in zip(total.terms, negative, strict=True) if not sign]
    return frozenset(total.terms) not in known, sum(negative), sum(positive), repr(total)


def _with_one_sign(node: Expression, turned: Mapping[frozenset[Expression], Sum]) -> Expression:
    """A node whose operands are turned already: the sign is moved outwards as far as it goes."""
    match node:
        case Sum(terms) if frozenset(terms) in turned:
            return scaled(Fraction(-1), turned[frozenset(terms)])
        case Sum(terms):
            flat = [inner for term in terms for inner in _terms(term)]
            return Sum(tuple(sorted(flat, key=term_order))) if flat != list(terms) else node
        case Product(factors) | Hadamard(factors):
            signs, bodies = _without_signs(factors)
            return node if bodies == factors else scaled(signs, type(node)(bodies))
        case Transpose(Scale(coefficient, above, below, body)) if body is not None:
            return plain(Scale(coefficient, above, below, Transpose(body)))
        case Call(name, arguments, shape) if name in LINEAR:
            signs, bodies = _without_signs(arguments)
            return node if bodies == arguments else scaled(signs, Call(name, bodies, shape))
        case Call("norm" | "norm_F" as name, (inside,), shape) if split(inside)[0] == -1:
            return Call(name, (split(inside)[1],), shape)
        case Power(base, Number(Fraction() as exponent)) if exponent % 2 == 0 and split(base)[0] == -1:
            return Power(split(base)[1], Number(exponent))
        case Scale():
            return plain(node)
        case _:
            return node


def _terms(term: Expression) -> tuple[Expression, ...]:
    """The terms of −(a − b), which is b − a in a sum."""
    match term:
        case Scale(coefficient, (), (), Sum(terms)) if coefficient == -1:
            return tuple(scaled(Fraction(-1), inner) for inner in terms)
        case _:
            return (term,)


def _without_signs(parts: tuple[Expression, ...]) -> tuple[Fraction, tuple[Expression, ...]]:
    """The sign of a product, and its factors without signs."""
    pairs = [split(part) for part in parts]
    negative = [number == -1 for number, _ in pairs]
    bodies = tuple(body if sign else part for part, sign, (_, body) in zip(parts, negative, pairs, strict=True))
    return Fraction((-1) ** sum(negative)), bodies


def _norm(node: Expression, known: Mapping[frozenset[Expression], Sum]) -> Expression:
    match node:
        case Call("norm" | "norm_F" as name, (Sum() as total,), shape):
            return Call(name, (known.get(frozenset(negated(total).terms), total),), shape)
        case _:
            return node
