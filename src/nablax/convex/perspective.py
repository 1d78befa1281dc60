"""The perspective u g(v/u) of a convex g is convex in (u, v) for u > 0 (Boyd and Vandenberghe 2004, section 3.2.6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from nablax.convex.facts import UNKNOWN, Analysis, Condition, Facts, Relation
from nablax.printing.expression import Expression, Quotient, Scale, Symbol, children, shape_of
from nablax.printing.multiples import plain
from nablax.printing.rewrite import replaced


def perspective(analysis: Analysis, factors: Mapping[Expression, Facts]) -> Facts:
    """What is known of a product of two factors of which one is an affine u, the other a function of affine v/u alone.

    Args:
        analysis: answers for the factors.
        factors: none of them constant.

    Returns:
        That it is convex, or concave; else nothing.
    """
    if len(factors) != 2:
        return UNKNOWN
    for scale, body in (tuple(factors), tuple(factors)[::-1]):
        if shape_of(scale) or not factors[scale].affine:
            continue
        names: dict[Symbol, Expression] = {}
        for quotient, numerator in dict.fromkeys(_over(body, scale)):
            if analysis.facts(numerator).affine:
                name = Symbol(f"_{len(names)}", shape_of(quotient))
                names[name] = numerator
                body = replaced(body, quotient, name)
        inner = analysis.apart(body, frozenset(name.name for name in names))
        if inner is None or not names:
            continue
        facts, conditions = inner
        asked = [_moved(one, names) for one in conditions]
        if None in asked or not (facts.convex or facts.concave):
            continue
        analysis.require(scale, Relation.POSITIVE)
        for condition in filter(None, asked):
            analysis.require(condition.expression, condition.relation)
        word = "convex" if facts.convex else "concave"
        rule = f"u g(v/u) with a {word} g and affine u > 0 and v: the perspective of g"
        return Facts(convex=facts.convex, concave=facts.concave, rule=rule, uses=(scale, *names.values())).closed()
    return UNKNOWN


def _moved(condition: Condition, names: Mapping[Symbol, Expression]) -> Condition | None:
    """A sign of v/u as that of v; a condition on what is constant as it is."""
    match condition.expression:
        case Symbol() as name if name in names:
            return replace(condition, expression=names[name])
        case Symbol():
            return condition
        case _:
            return None


def _over(node: Expression, scale: Expression) -> Iterator[tuple[Expression, Expression]]:
    """Quotients by a scalar inside an expression, each with its numerator."""
    match node:
        case Scale(divisors=divisors) if scale in divisors:
            rest = list(divisors)
            rest.remove(scale)
            yield node, plain(replace(node, divisors=tuple(rest)))
        case Quotient(numerator, denominator) if denominator == scale:
            yield node, numerator
        case _:
            for child in children(node):
                yield from _over(child, scale)
