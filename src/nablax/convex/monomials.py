"""Products of powers of several expressions, with exponents that are numbers."""

from __future__ import annotations

from fractions import Fraction

from nablax.convex.elementwise import powers_of
from nablax.convex.facts import UNKNOWN, Analysis, Definite, Facts, Relation
from nablax.convex.intervals import NONNEGATIVE
from nablax.printing.expression import Call, Expression, Hadamard, Number, Power, Quotient, Scale


def monomial(analysis: Analysis, node: Expression, _: Facts) -> Facts:
    """Powers of several expressions: a geometric mean of concave ones, or one of high degree over concave ones.

    u₁ᵃ u₂ᵇ … is concave and increases in u ≥ 0 where all exponents are positive and their sum is at most 1. And
    uᵃ/(vᵇ wᶜ …) is convex, increases in u ≥ 0 and decreases in v > 0 where a ≥ 1 + b + c + …: it is below a level where
    u is below a geometric mean, and its degree is at least 1.
    """
    if not isinstance(node, Power | Scale | Hadamard | Quotient):
        return UNKNOWN
    outer = Fraction(1)
    if isinstance(node, Power) and isinstance(node.exponent, Number) and node.exponent.value > 0:
        outer, inside = Fraction(node.exponent.value), node.base
    else:
        inside = node
    powers = powers_of(analysis, [(inside, Fraction(1))])
    if node in powers:
        return UNKNOWN
    if outer != 1 and not all(analysis.facts(base).interval.nonnegative for base in powers):
        return UNKNOWN
    moving = {base: outer * one for base, one in powers.items() if not analysis.facts(base).constant}
    fixed = [analysis.facts(Power(base, Number(one))) for base, one in powers.items() if base not in moving]
    if len(moving) < 2 or not all(one.interval.nonnegative for one in fixed):
        return UNKNOWN
    above = {base: one for base, one in moving.items() if one > 0}
    below = {base: -one for base, one in moving.items() if one < 0}
    facts = {base: analysis.facts(base) for base in moving}
    concave = all(facts[one].concave for one in below) and (
        below or all(facts[one].concave and facts[one].interval.nonnegative for one in above)
    )
    uses = tuple(moving)
    if concave and not below and sum(above.values()) <= 1:
        rule = "a weighted geometric mean of nonnegative concave expressions"
        return Facts(concave=True, interval=NONNEGATIVE, rule=rule, uses=uses).closed()
    if concave and below and len(above) == 1:
        [(base, exponent)] = above.items()
        inner, even = facts[base], exponent.denominator == 1 and exponent.numerator % 2 == 0
        sized = (inner.interval.nonnegative and inner.convex) or (inner.affine and even and outer == 1)
        if sized and exponent >= 1 + sum(below.values()):
            for one in below:
                analysis.require(one, Relation.POSITIVE)
            rule = "a power over powers of concave expressions, of degree at least 1"
            return Facts(convex=True, interval=NONNEGATIVE, rule=rule, uses=uses).closed()
    return UNKNOWN


def over_sum(analysis: Analysis, node: Expression, _: Facts) -> Facts:
    """The quotients det X/tr X of a positive definite affine X, and Π u/Σ u of affine u > 0, which are log-concave.

    In the entries the Hessian of the logarithm makes of v −Σ (v/u)² + (Σ v)²/(Σ u)²: not positive, as the last is the
    square of a mean of v/u (Boyd and Vandenberghe 2004, section 3.5.1).
    """
    if not isinstance(node, Scale | Quotient):
        return UNKNOWN
    powers = powers_of(analysis, [(node, Fraction(1))])
    moving = {base: one for base, one in powers.items() if not analysis.facts(base).constant}
    fixed = [analysis.facts(Power(base, Number(one))) for base, one in powers.items() if base not in moving]
    match [*sorted(moving.items(), key=lambda one: -one[1])]:
        case [
            (Call(("det" | "prod") as above, (top,)), Fraction(numerator=1, denominator=1)),
            (Call(below, (bottom,)), over),
        ]:
            pass
        case _:
            return UNKNOWN
    alike = top == bottom and over == -1 and below == {"det": "tr", "prod": "sum"}[above]
    if not alike or not analysis.facts(top).affine or not all(one.interval.nonnegative for one in fixed):
        return UNKNOWN
    if above == "det" and analysis.definite(top) is not Definite.POSITIVE:
        return UNKNOWN
    if above == "prod" and not analysis.facts(top).interval.positive:
        return UNKNOWN
    rule = "the determinant over the trace" if above == "det" else "the product over the sum"
    return Facts(log_concave=True, interval=NONNEGATIVE, rule=rule, uses=(top,)).closed()
