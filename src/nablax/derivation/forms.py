"""Products as scalars times chains, what they cost to write, and sums of them as they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from nablax.printing.expression import (
    ZERO,
    Call,
    Expression,
    Factors,
    Function,
    Hadamard,
    Identity,
    Indexed,
    Inverse,
    LinearMap,
    Number,
    Ones,
    Piece,
    Power,
    PowerSum,
    Product,
    Scale,
    Shape,
    SizeOf,
    Sum,
    Symbol,
    Transpose,
    Unit,
    children,
    product_of,
    shape_of,
)
from nablax.printing.multiples import Coefficient, plain, powered, scaled, split

HALF = Number(Fraction(1, 2))


@dataclass(frozen=True)
class Form:
    """``coefficient * product(scalar ** exponent) * chain``.

    Args:
        coefficient: a number.
        scalars: scalar factors with exponents.
        chain: matrices and vectors multiplied in order; empty for a scalar.
    """

    coefficient: Coefficient
    scalars: Mapping[Expression, Fraction]
    chain: Factors

    @property
    def body(self) -> tuple[object, ...]:
        """What is the same in forms that add up."""
        return (self.chain, frozenset(self.scalars.items()))


def assembled(form: Form) -> Expression:
    """A form as an expression."""
    form = _flipped(form)
    several = bool(form.chain) or len(form.scalars) > 1
    above = _one_root([_scalar(base, e, several) for base, e in form.scalars.items() if e > 0])
    below = _one_root([_scalar(base, -e, several) for base, e in form.scalars.items() if e < 0])
    body: Expression | None = None
    if form.chain:
        body = product_of(form.chain)
    return plain(Scale(form.coefficient, tuple(sorted(above, key=_scalar_order)), tuple(below), body))


def _one_root(scalars: list[Expression]) -> list[Expression]:
    """Roots of numbers as one: √2 √π is √(2π)."""
    if len(scalars) < 2:
        return scalars
    roots = [one for one in scalars if isinstance(one, Power) and isinstance(one.base, SizeOf) and one.exponent == HALF]
    if len(roots) < 2:
        return scalars
    inside = sorted((one.base for one in roots if isinstance(one.base, SizeOf)), key=lambda base: base.name)
    whole = Power(Scale(Fraction(1), tuple(inside), (), None), HALF)
    return [*(one for one in scalars if one not in roots), whole]


def _scalar(base: Expression, exponent: Fraction, several: bool) -> Expression:
    """A scalar to a power; xᵀx among other factors as ‖x‖²."""
    match base:
        case Product((Transpose(left), right)) if left == right and several:
            return powered(Call("norm", (right,)), 2 * exponent)
        case _:
            return powered(base, exponent)


def _scalar_order(expression: Expression) -> tuple[bool, bool, float]:
    """Numbers such as π first, then letters, then what is longer."""
    is_number = isinstance(expression, SizeOf) and (expression.name == "pi" or expression.name.isdigit())
    return (not is_number, not isinstance(expression, SizeOf | Symbol), cost(expression))


def _magnitude(value: Coefficient) -> int:
    return abs(value.numerator) + value.denominator if isinstance(value, Fraction) else 20


@lru_cache(maxsize=65536)
def cost(expression: Expression) -> float:
    """How long an expression is when written."""
    inside = sum(cost(child) for child in children(expression))
    match expression:
        case Identity():
            return 1.5
        case Symbol() | SizeOf() | Unit():
            return 1.0
        case Number(value):
            return 0.6 if value == 1 else 0.8
        case Ones():
            return 1.5
        case Sum(terms):
            return inside + 1.0 * (len(terms) - 1) + 0.3 + (0.6 if is_negative(terms[0]) else 0.0)
        case Product(factors):
            return inside + 0.5 * sum(isinstance(factor, Sum | Hadamard) for factor in factors)
        case Hadamard(factors):
            return inside + 0.7 * (len(factors) - 1) + 0.5 * sum(isinstance(factor, Sum) for factor in factors)
        case Scale(coefficient, scalars, divisors, body):
            brackets = sum(isinstance(part, Sum) for part in (*scalars, *divisors, body))
            number = 0.0 if coefficient in (1, -1) else 0.8 + 0.01 * min(_magnitude(coefficient), 20)
            return inside + number + 0.5 * brackets + 0.7 * bool(divisors)
        case Transpose() | Inverse():
            return inside + 0.4
        case Power(Call(), _):
            return inside + 0.2
        case Power(base, Number(Fraction(denominator=1))):
            return inside + (2.0 if shape_of(expression) else 1.2 if isinstance(base, Function) else 0.3)
        case Power():
            return inside + (1.0 if shape_of(expression) else 0.3)
        case Function() | Call():
            return min(inside + 1.5, 3.5 if shape_of(expression) else inside + 1.5)  # a long one gets a name
        case Piece(_, indices):
            return inside + 0.3 * len(indices)
        case PowerSum(base, between):
            return inside + cost(base) * len(between) + 2.0
        case Indexed():
            return inside + 3.0
        case LinearMap(_, body, _):
            return cost(body)
        case _:
            return inside + 0.5


def like(forms: Sequence[Form]) -> list[Form]:
    found: dict[tuple[object, ...], Form] = {}
    for form in forms:
        if form.body in found:
            total = found[form.body].coefficient + form.coefficient
            found[form.body] = Form(total, form.scalars, form.chain)
        else:
            found[form.body] = form
    return [form for form in found.values() if form.coefficient != 0]


def summed(forms: Sequence[Form], shape: Shape) -> Expression:
    if not forms:
        return ZERO if not shape else Scale(Fraction(0), (), (), Ones(shape))
    if len(forms) == 1:
        return assembled(forms[0])
    terms = []
    for form in forms:
        # a number added to every element of a vector
        if form.chain and len(shape) == 1 and form.chain == (Ones(shape),):
            form = Form(form.coefficient, form.scalars, ())
        terms.append(assembled(form))
    if all(not shape_of(term) for term in terms) and shape:
        terms = [assembled(form) for form in forms]
    flat = _merged([inner for term in terms for inner in _terms_of(term)])
    if len(flat) == 1:
        return flat[0]
    return Sum(tuple(sorted(flat, key=term_order)))


def _terms_of(term: Expression) -> Sequence[Expression]:
    """The terms of a sum, or of a number times a sum."""
    match term:
        case Sum(terms):
            return terms
        case Scale(coefficient, (), (), Sum(terms)) | Scale(coefficient, (Sum(terms),), (), None) if (
            abs(coefficient) == 1
        ):
            return [scaled(coefficient, inner) for inner in terms]
        case _:
            return (term,)


def _merged(terms: Sequence[Expression]) -> list[Expression]:
    """Like terms added."""
    found: dict[Expression, Coefficient] = {}
    for term in terms:
        coefficient, rest = split(term)
        found[rest] = found.get(rest, Fraction(0)) + coefficient
    if len(found) == len(terms):
        return list(terms)
    return [scaled(number, rest) for rest, number in found.items() if number != 0] or [ZERO]


def _flipped(form: Form) -> Form:
    """−(a − b) as (b − a)."""
    if form.coefficient >= 0:
        return form
    for base, exponent in form.scalars.items():
        if exponent == 1 and isinstance(base, Sum) and _gains(base):
            scalars = {(negated(base) if one == base else one): e for one, e in form.scalars.items()}
            return Form(-form.coefficient, scalars, form.chain)
    for k, factor in enumerate(form.chain):
        match factor:
            case Call("cross", (one, other), shape):  # −(y × x) as x × y
                turned = Call("cross", (other, one), shape)
                return Form(-form.coefficient, form.scalars, (*form.chain[:k], turned, *form.chain[k + 1 :]))
            case _:
                pass
        if isinstance(factor, Sum) and _gains(factor):
            return Form(-form.coefficient, form.scalars, (*form.chain[:k], negated(factor), *form.chain[k + 1 :]))
    return form


def _gains(total: Sum) -> bool:
    return 2 * sum(map(is_negative, total.terms)) >= len(total.terms)


def negated(total: Sum) -> Sum:
    """A sum with every sign turned."""
    return Sum(tuple(sorted((scaled(Fraction(-1), term) for term in total.terms), key=term_order)))


def is_negative(expression: Expression) -> bool:
    """Whether an expression is written with a minus in front."""
    match expression:
        case Number(value):
            return value < 0
        case Scale(coefficient, _, _, _):
            return coefficient < 0
        case _:
            return False


def term_order(term: Expression) -> tuple[bool, bool, float, bool, str]:
    """Sorts the terms of a sum."""
    simple = isinstance(term, Number | Identity) or (isinstance(term, Scale) and isinstance(term.body, Identity))
    length = round(cost(term) - 0.4 * isinstance(term, Transpose), 3)
    sign = -1 if len(shape_of(term)) == 1 else 1  # Ax + b, but A + xxᵀ
    return (is_negative(term), not simple, sign * length, isinstance(term, Transpose), repr(term))
