"""Functions with f(tx) = tᵈ f(x) for t > 0 on a cone: what their level sets say of their curvature.

A positive function of degree 1 whose sets f ≥ c are convex is concave, and a nonnegative one whose sets f ≤ c are
convex is convex (J.-P. Crouzeix, Conditions for convexity of quasiconvex functions, 1980). Of degree d it is the d-th
power of such a one: concave for 0 < d ≤ 1 and convex for d ≥ 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from nablax.convex.facts import UNKNOWN, Analysis, Condition, Definite, Facts, Relation
from nablax.convex.matrices import is_symmetric
from nablax.printing.expression import (
    Call,
    Expression,
    Function,
    Hadamard,
    Inverse,
    Kronecker,
    Number,
    Power,
    Product,
    Quotient,
    Scale,
    SizeOf,
    Sum,
    Symbol,
    Transpose,
    children,
    shape_of,
    walk,
)
from nablax.printing.rewrite import replaced

# of the degree of their argument: linear maps, norms, and what chooses among entries
OF_DEGREE = frozenset({
    "sum", "mean", "rowsum", "colsum", "tr", "diag", "diagonal", "vec", "tril", "triu", "entry", "max", "min",
    "eigenvalues", "singular_values", "norm", "norm_F", "norm_1", "norm_p", "norm_inf", "norm_2", "norm_nuc",
    "norm_rows", "norm_columns",
})  # fmt: skip
CHOICES = frozenset({"max", "min"})


@dataclass(frozen=True)
class Degree:
    """A number times powers of sizes, each of which is at least 1.

    Args:
        number: without the sizes.
        sizes: each with its exponent, in order of their names.
    """

    number: Fraction
    sizes: tuple[tuple[str, Fraction], ...] = ()

    def times(self, number: Fraction, sizes: tuple[tuple[str, Fraction], ...] = ()) -> Degree:
        """A multiple.

        Example:
            >>> Degree(Fraction(1), (("n", Fraction(1)),)).times(Fraction(1), (("n", Fraction(-1)),))
            Degree(number=Fraction(1, 1), sizes=())
        """
        found = dict(self.sizes)
        for size, exponent in sizes:
            found[size] = found.get(size, Fraction(0)) + exponent
        product = self.number * number
        return Degree(product, tuple(sorted((one, k) for one, k in found.items() if k and product)))

    def plus(self, other: Degree) -> Degree | None:
        """The sum; None where sizes differ."""
        if not (self.number and other.number):
            return self if self.number else other
        if self.sizes != other.sizes:
            return None
        return Degree(self.number + other.number).times(Fraction(1), self.sizes)

    @property
    def is_at_most_one(self) -> bool:
        """Whether it is positive and at most 1."""
        return 0 < self.number <= 1 and all(exponent < 0 for _, exponent in self.sizes)

    @property
    def is_at_least_one(self) -> bool:
        """Whether it is at least 1."""
        return self.number >= 1 and all(exponent > 0 for _, exponent in self.sizes)


ZERO, ONE = Degree(Fraction(0)), Degree(Fraction(1))


def homogeneous(analysis: Analysis, node: Expression, found: Facts) -> Facts:
    """That a homogeneous function with convex level sets is convex, or concave.

    Args:
        analysis: answers for the parts, and for the variables and the conditions of the domain.
        node: the expression.
        found: what is known of it without.

    Returns:
        What follows.
    """
    above, below = _level_sets(analysis, node, found)
    if not (above or below):
        return UNKNOWN
    degree = degree_of(node, analysis.variables)
    if degree is None or not _on_cone(analysis):
        return _of_affine(analysis, node)
    concave, convex = above and degree.is_at_most_one, below and degree.is_at_least_one
    if not (concave or convex):
        return UNKNOWN
    rule = (
        "positive with convex sets f ≥ c, and homogeneous of degree at most 1" if concave
        else "nonnegative with convex sets f ≤ c, and homogeneous of degree at least 1"
    )  # fmt: skip
    uses = (node.base,) if isinstance(node, Power) else found.uses
    return Facts(convex=convex, concave=concave, interval=found.interval, rule=rule, uses=uses).closed()


def _level_sets(analysis: Analysis, node: Expression, found: Facts) -> tuple[bool, bool]:
    """Whether it is positive with convex sets f ≥ c, and whether nonnegative with convex sets f ≤ c."""
    above, below = found.log_concave and found.interval.positive, False
    if isinstance(node, Power) and isinstance(node.exponent, Number):
        inner, exponent = analysis.facts(node.base), node.exponent.value
        above = above or (exponent < 0 and inner.convex and inner.interval.positive)
        below = exponent > 0 and inner.convex and inner.interval.nonnegative
    return above, below


def _on_cone(analysis: Analysis) -> bool:
    """Whether all conditions on the variables hold at tx where they hold at x."""
    return all(degree_of(one.expression, analysis.variables) is not None for one in analysis.assumed)


def _of_affine(analysis: Analysis, node: Expression) -> Facts:
    """The same of a function of affine expressions, as a function of what these are."""
    names: dict[Symbol, Expression] = {}
    body = node
    for base in dict.fromkeys(one for child in children(node) for one in _affine(analysis, child)):
        name = Symbol(f"_h{len(names)}", shape_of(base), is_symmetric(base) and len(shape_of(base)) == 2)
        names[name] = base
        body = replaced(body, base, name)
    if not names or all(isinstance(base, Symbol) for base in names.values()):
        return UNKNOWN
    assumed = tuple(filter(None, (_sign(analysis, name, base) for name, base in names.items())))
    apart = analysis.apart(body, frozenset(name.name for name in names), assumed)
    if apart is None:
        return UNKNOWN
    facts, conditions = apart
    if not all(isinstance(one.expression, Symbol) for one in conditions):
        return UNKNOWN
    for one in conditions:
        assert isinstance(one.expression, Symbol)
        analysis.require(names.get(one.expression, one.expression), one.relation)
    return Facts(
        convex=facts.convex, concave=facts.concave, interval=facts.interval, rule=facts.rule, uses=tuple(names.values())
    ).closed()


def _affine(analysis: Analysis, node: Expression) -> Iterator[Expression]:
    """The largest affine expressions inside, from the left."""
    facts = analysis.facts(node)
    if facts.constant:
        return
    if facts.affine:
        yield node
        return
    for child in children(node):
        yield from _affine(analysis, child)


def _sign(analysis: Analysis, name: Symbol, base: Expression) -> Condition | None:
    """What is known of an affine expression, said of its name."""
    if name.symmetric:
        word = analysis.definite(base)
        relation = Relation.DEFINITE if word is Definite.POSITIVE else Relation.SEMIDEFINITE
        return Condition(name, relation) if word else None
    interval = analysis.facts(base).interval
    if interval.positive:
        return Condition(name, Relation.POSITIVE)
    return Condition(name, Relation.NONNEGATIVE) if interval.nonnegative else None


# -- degrees ---------------------------------------------------------------------------------------------------


def degree_of(node: Expression, variables: frozenset[str]) -> Degree | None:
    """The d of f(tx) = tᵈ f(x), for every entry; None where there is none that is seen.

    Args:
        node: an expression.
        variables: the names of x.

    Example:
        >>> x = Symbol("x", ("n",))
        >>> degree_of(Call("prod", (x,)), frozenset({"x"}))
        Degree(number=Fraction(1, 1), sizes=(('n', Fraction(1, 1)),))
    """
    if is_constant(node, variables):
        return ZERO

    def of(one: Expression) -> Degree | None:
        return degree_of(one, variables)

    match node:
        case Symbol():
            return ONE
        case Sum(terms):
            return _alike([of(term) for term in terms])
        case Scale(_, scalars, divisors, body):
            above = [*scalars, *(() if body is None else (body,))]
            return _added([*map(of, above), *(_times(of(one), Fraction(-1)) for one in divisors)])
        case Quotient(numerator, denominator):
            return _added([of(numerator), _times(of(denominator), Fraction(-1))])
        case Hadamard(parts) | Product(parts):
            return _added([of(part) for part in parts])
        case Kronecker(left, right):
            return _added([of(left), of(right)])
        case Transpose(operand):
            return of(operand)
        case Inverse(operand):
            return _times(of(operand), Fraction(-1))
        case Power(base, exponent) | Function("pow", (base, exponent)):
            number = _number(exponent)
            return None if number is None else _times(of(base), *number)
        case Function("exp", (inside,)):
            return _of_logarithm(inside, variables)
        case Function("abs" | "relu", (inside,)):
            return of(inside)
        case Function("sign"):
            return ZERO if of(node.arguments[0]) is not None else None
        case Function("<" | ">" | "≤" | "≥", arguments):
            return ZERO if _alike_with_zeros(arguments, variables) is not None else None
        case Function("max" | "min", arguments):
            return _alike_with_zeros(arguments, variables)
        case Function("where", (holds, left, right)):
            return _alike_with_zeros((left, right), variables) if of(holds) == ZERO else None
        case Call("prod", (inside,)):
            return _times(of(inside), *_sizes(shape_of(inside)))
        case Call("det", (inside,)):
            return _times(of(inside), *_sizes(shape_of(inside)[:1]))
        case Call("inner", arguments):
            return _added([of(one) for one in arguments])
        case Call(name, arguments) if name in OF_DEGREE and all(is_constant(one, variables) for one in arguments[1:]):
            return of(arguments[0])
        case _:
            found = [of(child) for child in children(node)]
            return ZERO if found and all(one == ZERO for one in found) else None


def is_constant(node: Expression, variables: frozenset[str]) -> bool:
    """Whether none of the variables occurs."""
    return not any(isinstance(one, Symbol) and one.name in variables for one in walk(node, indexed=True))


def _of_logarithm(node: Expression, variables: frozenset[str]) -> Degree | None:
    """The d of g(tx) = g(x) + d log t."""
    if is_constant(node, variables):
        return ZERO
    match node:
        case Function("log", (inside,)):
            return degree_of(inside, variables)
        case Call("logdet", (inside,)):
            return _times(degree_of(inside, variables), *_sizes(shape_of(inside)[:1]))
        case Call("mean", (inside,)):
            return _of_logarithm(inside, variables)
        case Call("sum", (inside,)):
            return _times(_of_logarithm(inside, variables), *_sizes(shape_of(inside)))
        case Sum(terms):
            return _added([_of_logarithm(term, variables) for term in terms])
        case Scale(coefficient, scalars, divisors, body):
            moving = [one for one in (*scalars, *(() if body is None else (body,))) if not is_constant(one, variables)]
            rest = [one for one in (*scalars, *(() if body is None else (body,))) if one not in moving]
            factor = _number(Scale(coefficient, tuple(rest), divisors, None))
            if len(moving) != 1 or factor is None:
                return None
            return _times(_of_logarithm(moving[0], variables), *factor)
        case _:
            return None


def _sizes(shape: tuple[str, ...]) -> tuple[Fraction, tuple[tuple[str, Fraction], ...]]:
    """How many entries, as a number and sizes."""
    number, sizes = Fraction(1), list[tuple[str, Fraction]]()
    for size in shape:
        if size.isdigit():
            number *= int(size)
        else:
            sizes.append((size, Fraction(1)))
    return number, Degree(Fraction(1)).times(Fraction(1), tuple(sizes)).sizes


def _number(node: Expression) -> tuple[Fraction, tuple[tuple[str, Fraction], ...]] | None:
    """A constant of numbers and sizes."""
    match node:
        case Number(value):
            return Fraction(value).limit_denominator(10**6), ()
        case SizeOf(name) if name != "pi":
            return _sizes((name,))
        case Scale(coefficient, scalars, divisors, None):
            found = Degree(Fraction(coefficient))
            for one, sign in (*((one, 1) for one in scalars), *((one, -1) for one in divisors)):
                other = _number(one)
                if other is None or not other[0]:
                    return None
                number, sizes = other
                found = found.times(number**sign, tuple((size, sign * k) for size, k in sizes))
            return found.number, found.sizes
        case _:
            return None


def _times(degree: Degree | None, number: Fraction, sizes: tuple[tuple[str, Fraction], ...] = ()) -> Degree | None:
    return None if degree is None else degree.times(number, sizes)


def _added(degrees: list[Degree | None]) -> Degree | None:
    found: Degree | None = ZERO
    for degree in degrees:
        if found is None or degree is None:
            return None
        found = found.plus(degree)
    return found


def _alike(degrees: list[Degree | None]) -> Degree | None:
    return degrees[0] if len(set(degrees)) == 1 else None


def _alike_with_zeros(arguments: tuple[Expression, ...], variables: frozenset[str]) -> Degree | None:
    """The degree of all that is not zero."""
    moving = [one for one in arguments if not (isinstance(one, Number) and one.value == 0)]
    return _alike([degree_of(one, variables) for one in moving])
