"""Rules for what is done entry by entry: sums, products and quotients, powers, functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

from nablax.convex.atoms import ATOMS, composed, power
from nablax.convex.facts import UNKNOWN, Analysis, Condition, Facts, Relation, scaled
from nablax.convex.intervals import NONNEGATIVE, NONPOSITIVE, POSITIVE, UNIT, Interval, point
from nablax.convex.perspective import perspective
from nablax.convex.polynomials import polynomial
from nablax.printing.expression import (
    ONE,
    Call,
    Expression,
    Function,
    Hadamard,
    Kronecker,
    Number,
    Power,
    Quotient,
    Scale,
    Sum,
)

COMPARISONS = frozenset({"<", ">", "≤", "≥", "=", "≠"})
MINUS = Fraction(-1)


def added(analysis: Analysis, terms: Sequence[Expression]) -> Facts:
    """A sum: convex if every term is, and log-convex if every term is; so of roots."""
    parts = [analysis.facts(term) for term in terms]
    interval = point(0)
    for part in parts:
        interval = interval + part.interval
    nonzero = [part for part in parts if not part.interval.is_zero]
    quadratic = polynomial(Sum(tuple(terms)))
    least = None if quadratic is None else quadratic.least()
    interval = interval if least is None else interval.common(Interval(least))
    found = Facts(
        all(part.constant for part in parts),
        all(part.convex for part in parts),
        all(part.concave for part in parts),
        bool(nonzero) and all(part.log_convex for part in nonzero),
        (len(nonzero) == 1 and nonzero[0].log_concave) or _log_concave_less_constant(analysis, terms),
        all(part.root_convex for part in parts),
        interval,
        "sum",
        tuple(terms),
    )
    return found.closed()


def level(analysis: Analysis, node: Expression) -> bool:
    """Whether it is a log-concave expression and constants: where this is positive is a convex set."""
    if not isinstance(node, Sum):
        return False
    moving = [part for part in map(analysis.facts, node.terms) if not part.constant]
    return len(moving) == 1 and moving[0].log_concave


def _log_concave_less_constant(analysis: Analysis, terms: Sequence[Expression]) -> bool:
    """log(eᵘ − c) is concave in u and increases, for c ≥ 0, where eᵘ > c."""
    if Condition(Sum(tuple(terms)), Relation.POSITIVE) not in analysis.assumed:
        return False
    fixed = [part for part in map(analysis.facts, terms) if part.constant]
    return level(analysis, Sum(tuple(terms))) and all((-part.interval).nonnegative for part in fixed)


def function(analysis: Analysis, node: Function) -> Facts:
    """A scalar function of every entry, by the table of atoms."""
    if node.name in COMPARISONS:
        constant = all(analysis.facts(one).constant for one in node.arguments)
        return Facts(constant, interval=UNIT).closed()
    if node.name in ("max", "min") and len(node.arguments) == 2:
        return extremum(node.name, [analysis.facts(one) for one in node.arguments], node.arguments)
    if node.name == "pow":
        return powered(analysis, *node.arguments)
    atom = ATOMS.get(node.name)
    if len(node.arguments) != 1:
        return Facts(all(analysis.facts(one).constant for one in node.arguments)).closed()
    argument = node.arguments[0]
    if node.name == "log" and isinstance(argument, Call) and argument.name == "det":
        return analysis.facts(Call("logdet", argument.arguments))
    inner = analysis.facts(argument)
    if atom is None:
        if not inner.constant:
            analysis.refuse(f"nothing is known of the function {node.name}")
        return Facts(inner.constant).closed()
    _inside(analysis, argument, atom.domain)
    found = replace(composed(atom, inner), rule=_composition(node.name, inner), uses=(argument,))
    if node.name == "log":
        found = replace(
            found,
            convex=found.convex or inner.log_convex,
            concave=found.concave or inner.log_concave,
            rule=_logarithm(inner),
        ).closed()
    return found


def _inside(analysis: Analysis, argument: Expression, domain: Interval) -> None:
    """Asks that an argument lies where a function is defined."""
    for end, is_open, sign in ((domain.low, domain.open_low, 1), (domain.high, domain.open_high, -1)):
        if isinstance(end, float):
            continue
        relation = Relation.POSITIVE if is_open else Relation.NONNEGATIVE
        turned = argument if sign == 1 else Scale(MINUS, (), (), argument)
        shifted = turned if end == 0 else Sum((turned, Number(-sign * end)))
        analysis.require(shifted, relation)


def _composition(name: str, inner: Facts) -> str:
    return f"{name} of an affine expression" if inner.affine else f"composition with {name}"


def _logarithm(inner: Facts) -> str:
    if inner.log_convex and not inner.affine:
        return "the logarithm of a log-convex expression"
    if inner.log_concave and not inner.concave:
        return "the logarithm of a log-concave expression"
    return _composition("log", inner)


def extremum(name: str, parts: Sequence[Facts], uses: tuple[Expression, ...]) -> Facts:
    """The largest (of convex expressions convex) or smallest (of concave ones concave) of several."""
    interval = parts[0].interval
    for part in parts[1:]:
        interval = interval.hull(part.interval)
    if name == "max" and any(part.interval.nonnegative for part in parts):
        interval = interval.common(NONNEGATIVE)
    if name == "min" and any((-part.interval).nonnegative for part in parts):
        interval = interval.common(NONPOSITIVE)
    largest = name == "max"

    def every(word: str) -> bool:
        return all(getattr(part, word) for part in parts)

    nonnegative = [replace(part, root_convex=part.root_convex or part.interval.is_zero) for part in parts]
    return Facts(
        every("constant"),
        largest and every("convex"),
        not largest and every("concave"),
        largest and every("log_convex"),
        not largest and every("log_concave"),
        largest and all(part.root_convex for part in nonnegative),
        interval,
        "the largest of convex expressions" if largest else "the smallest of concave expressions",
        uses,
    ).closed()


def powered(analysis: Analysis, base: Expression, exponent: Expression) -> Facts:
    """A power with a constant exponent, or of a constant."""
    inner = analysis.facts(base)
    if isinstance(exponent, Number):
        return _power(analysis, base, inner, exponent.value)
    above = analysis.facts(exponent)
    analysis.require(base, Relation.POSITIVE)
    if not inner.constant:
        if not above.constant:
            return Facts(interval=POSITIVE)
        up, down = above.interval.nonnegative, (-above.interval).nonnegative
        return Facts(
            log_convex=(up and inner.log_convex) or (down and inner.log_concave),
            log_concave=(up and inner.log_concave) or (down and inner.log_convex),
            interval=POSITIVE,
            rule="a power with a constant exponent: a multiple of the logarithm",
            uses=(base, exponent),
        ).closed()
    interval = inner.interval.common(POSITIVE)
    grows, falls = interval.low >= 1, interval.high <= 1
    return Facts(
        above.constant,
        log_convex=above.affine or (grows and above.convex) or (falls and above.concave),
        log_concave=above.affine or (grows and above.concave) or (falls and above.convex),
        interval=POSITIVE,
        rule="a power of a constant: its logarithm is a multiple of the exponent",
        uses=(exponent,),
    ).closed()


def _power(analysis: Analysis, base: Expression, inner: Facts, exponent: Fraction | float) -> Facts:
    if exponent == 0:
        return Facts(True, interval=point(1)).closed()
    if exponent == 1:
        return replace(inner, rule="itself", uses=(base,))
    atom = power(exponent)
    whole = float(exponent).is_integer()
    is_negative = whole and exponent < 0 and (-inner.interval).positive
    if atom.domain != Interval() and not is_negative:
        analysis.require(base, Relation.POSITIVE if exponent < 0 else Relation.NONNEGATIVE)
        inner = replace(inner, interval=inner.interval.common(atom.domain))
    elif is_negative:
        atom = replace(atom, domain=Interval())
    found = composed(atom, inner)
    up = exponent > 0
    size_convex = inner.affine or (inner.convex and inner.interval.nonnegative)
    even = whole and int(exponent) % 2 == 0
    return Facts(
        inner.constant,
        found.convex or (inner.root_convex and exponent >= Fraction(1, 2)),
        found.concave,
        found.log_convex or (inner.log_convex if up else inner.log_concave and inner.interval.positive),
        found.log_concave or (inner.log_concave if up else inner.log_convex),
        (exponent >= 2 and size_convex and (even or inner.interval.nonnegative))
        or (inner.root_convex and exponent >= 1),
        inner.interval.power(exponent),
        _power_rule(inner, exponent),
        (base,),
    ).closed()


def _power_rule(inner: Facts, exponent: Fraction | float) -> str:
    if inner.affine:
        return "a power of an affine expression"
    if inner.root_convex and not inner.log_convex and Fraction(1, 2) <= exponent < 1:
        return "the root of a sum of squares of nonnegative convex expressions is a norm"
    return "composition with a power"


def multiplied(
    analysis: Analysis, coefficient: Fraction | float, above: Iterable[Expression], below: Iterable[Expression]
) -> Facts:
    """Factors over divisors, entry by entry.

    Args:
        analysis: answers for the factors.
        coefficient: a number.
        above: factors.
        below: divisors.

    Returns:
        What is known of the quotient of the products.
    """
    powers = powers_of(analysis, [*((one, Fraction(1)) for one in above), *((one, MINUS) for one in below)])
    factor, moving = point(coefficient), dict[Expression, Facts]()
    uses: list[Expression] = []
    for base, exponent in powers.items():
        whole = base if exponent == 1 else Power(base, Number(exponent))
        facts = analysis.facts(whole)
        if facts.constant:
            factor = factor * facts.interval
            uses += [whole] * (facts.interval.nonnegative or (-facts.interval).nonnegative)
        else:
            moving[whole] = facts
    if not moving:
        return Facts(True, interval=factor).closed()
    found = _moving(analysis, moving, powers)
    rule = found.rule
    if len(moving) == 1 and not found.affine:
        rule = "a constant multiple" + (", turned by its sign" if (-factor).positive else "")
    result = scaled(found, factor)
    return replace(result, rule=rule, uses=(*found.uses, *uses))


def without_positive_factors(analysis: Analysis, expression: Expression) -> Expression:
    """What has the sign of an expression: its one factor that is no positive constant; itself, where there is none."""
    found = {
        base: exponent
        for base, exponent in powers_of(analysis, [(expression, Fraction(1))]).items()
        if not (analysis.facts(base).constant and analysis.facts(base).interval.positive)
    }
    return next(iter(found)) if list(found.values()) == [1] else expression


def powers_of(analysis: Analysis, factors: Iterable[tuple[Expression, Fraction]]) -> dict[Expression, Fraction]:
    """Every base of a product with its exponent; where a divisor cancels, it has to be positive."""
    found: dict[Expression, Fraction] = {}
    for whole, sign in _flat(factors):
        base, exponent = whole, sign
        if isinstance(whole, Power) and isinstance(whole.exponent, Number):
            inner = Fraction(whole.exponent.value)
            if inner.denominator == 1 or analysis.facts(whole.base).interval.nonnegative:
                base, exponent = whole.base, sign * inner
        if base in found and (found[base] < 0) != (exponent < 0):
            analysis.require(base, Relation.POSITIVE)
        found[base] = found.get(base, Fraction(0)) + exponent
    return {base: exponent for base, exponent in found.items() if exponent and base != ONE}


def _flat(factors: Iterable[tuple[Expression, Fraction]]) -> Iterable[tuple[Expression, Fraction]]:
    for whole, sign in factors:
        match whole:
            case Scale(coefficient, scalars, divisors, body):
                inner = [*scalars, *(() if body is None else (body,)), Number(coefficient)]
                yield from _flat([*((one, sign) for one in inner), *((one, -sign) for one in divisors)])
            case Hadamard(parts):
                yield from _flat((one, sign) for one in parts)
            case Quotient(numerator, denominator):
                yield from _flat([(numerator, sign), (denominator, -sign)])
            case _:
                yield whole, sign


def _moving(analysis: Analysis, factors: dict[Expression, Facts], powers: dict[Expression, Fraction]) -> Facts:
    """A product of factors none of which is constant."""
    if len(factors) == 1:
        [(whole, facts)] = factors.items()
        return replace(facts, uses=(whole,))
    interval = point(1)
    for facts in factors.values():
        interval = interval * facts.interval
    entropy = _entropy(analysis, factors)
    if entropy is not None:
        return entropy
    scaled_inside = perspective(analysis, factors)
    if scaled_inside.known:
        return scaled_inside
    above = {base: exponent for base, exponent in powers.items() if exponent > 0 and not analysis.facts(base).constant}
    below = {base: exponent for base, exponent in powers.items() if exponent < 0 and not analysis.facts(base).constant}
    square = False
    if len(above) == len(below) == 1:
        [(numerator, over)], [(denominator, under)] = above.items(), below.items()
        under_facts = analysis.facts(denominator)
        top = analysis.facts(numerator if over == 1 else Power(numerator, Number(over)))
        is_negative = (-under_facts.interval).positive
        square = under == -1 and top.root_convex and under_facts.concave and not is_negative
    if square:
        return Facts(convex=True, interval=NONNEGATIVE, rule=QUADRATIC_OVER_LINEAR, uses=(*above, *below)).closed()
    return Facts(
        log_convex=all(facts.log_convex for facts in factors.values()),
        log_concave=all(facts.log_concave for facts in factors.values()),
        interval=interval,
        rule="a product: logarithms add",
        uses=tuple(factors),
    ).closed()


def kronecker(analysis: Analysis, node: Kronecker) -> Facts:
    """Every product of an entry of one matrix and an entry of the other: even of X and X these are no squares."""
    left, right = analysis.facts(node.left), analysis.facts(node.right)
    interval = left.interval * right.interval
    if left.constant or right.constant:
        moving, fixed = (right, left) if left.constant else (left, right)
        uses = (node.right if left.constant else node.left,)
        return replace(scaled(moving, fixed.interval), rule="a Kronecker product with a constant", uses=uses).closed()
    return Facts(
        log_convex=left.log_convex and right.log_convex,
        log_concave=left.log_concave and right.log_concave,
        interval=interval,
        rule="a product: logarithms add",
        uses=(node.left, node.right),
    ).closed()


QUADRATIC_OVER_LINEAR = "a square of a nonnegative convex expression over a positive concave one"


def _entropy(analysis: Analysis, factors: dict[Expression, Facts]) -> Facts | None:
    """Negative entropy u log(u/c) with a constant c > 0, and relative entropy u log(u/v), which falls with v."""
    if len(factors) != 2:
        return None
    for first, second in (tuple(factors), tuple(factors)[::-1]):
        if not (isinstance(second, Function) and second.name == "log" and factors[first].affine):
            continue
        inside = second.arguments[0]
        powers = powers_of(analysis, [(inside, Fraction(1))])
        if powers.get(first) != 1:
            continue
        rest = {base: analysis.facts(base) for base in powers if base != first}
        fixed = [base for base, one in rest.items() if one.constant and one.interval.positive]
        moving = [base for base in rest if base not in fixed]
        if moving and not (len(moving) == 1 and powers[moving[0]] == -1 and rest[moving[0]].concave):
            continue
        for base in (first, *moving):
            analysis.require(base, Relation.POSITIVE)
        words = "u log(u/v) of an affine u > 0 and a concave v > 0 (relative entropy)"
        rule = words if moving else "u log(u) of an affine u > 0 (negative entropy)"
        return Facts(convex=True, rule=rule, uses=(first, *moving)).closed()
    return None


def known_of(parts: Iterable[Facts]) -> Facts:
    """Nothing, except whether all is constant."""
    return Facts(constant=True).closed() if all(part.constant for part in parts) else UNKNOWN
