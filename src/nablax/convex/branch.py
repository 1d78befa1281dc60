"""The branch of a function that is meant where it has several: divisors and arguments of logarithms are positive.

A certificate holds there; so it is there that points which refute are looked for. 1/x is convex, and two points on both
sides of its pole say nothing against it.
"""

from __future__ import annotations

from collections.abc import Iterator

from nablax.convex.composition import Composition, Known
from nablax.convex.facts import Condition, Relation
from nablax.convex.matrices import is_symmetric
from nablax.printing.expression import Call, Expression, Function, Inverse, Number, Power, Quotient, Scale, walk


def branch(expression: Expression, known: Known) -> tuple[Condition, ...]:
    """What is positive on the branch, as far as it is not positive or negative everywhere.

    Args:
        expression: the function.
        known: what is known of the arguments.

    Returns:
        A condition for each divisor, logarithm and inverse in which a variable occurs.

    Example:
        >>> from nablax.formula import Kind
        >>> from nablax.printing.expression import ONE, Symbol
        >>> x = Symbol("x", ())
        >>> [one.relation.value for one in branch(Quotient(ONE, x), Known(frozenset({"x"}), {"x": Kind.SCALAR}))]
        ['> 0']
    """
    analysis = Composition(known)
    found: dict[Condition, None] = {}
    for inside, relation in _asked(expression):
        facts = analysis.facts(inside)
        if not (facts.constant or facts.interval.positive or (-facts.interval).positive):
            found[Condition(inside, relation)] = None
    return tuple(found)


def _asked(expression: Expression) -> Iterator[tuple[Expression, Relation]]:
    """What has to be positive, or a positive definite matrix."""
    for node in walk(expression):
        match node:
            case Scale(divisors=divisors):
                yield from ((one, Relation.POSITIVE) for one in divisors)
            case Quotient(_, denominator):
                yield denominator, Relation.POSITIVE
            case Power(base, Number(exponent)) if exponent < 0:
                yield base, Relation.POSITIVE
            case Call("logdet", (matrix,)) | Function("log", (Call("det", (matrix,)),)) | Inverse(matrix):
                if is_symmetric(matrix):
                    yield matrix, Relation.DEFINITE
            case Function("log", (inside,)):
                yield inside, Relation.POSITIVE
            case _:
                pass
