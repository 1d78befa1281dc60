"""Sums of products made short: common factors are taken out wherever that saves writing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from nablax.printing.expression import (
    ONE,
    ZERO,
    Call,
    Expression,
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
    Product,
    Scale,
    Shape,
    SizeOf,
    Sum,
    Symbol,
    Transpose,
    Unit,
    children,
    shape_of,
)

Chain = tuple[Expression, ...]
Coefficient = Fraction | float


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
    chain: Chain

    @property
    def body(self) -> tuple[object, ...]:
        """What is the same in forms that add up."""
        return (self.chain, frozenset(self.scalars.items()))


def factors_of(expression: Expression) -> Chain:
    """The factors of a matrix product, or the expression by itself."""
    return expression.factors if isinstance(expression, Product) else (expression,)


def powered(base: Expression, exponent: Fraction) -> Expression:
    """A power, without the exponent one."""
    if exponent == 1:
        return base
    if isinstance(base, Power) and isinstance(base.exponent, Number) and isinstance(base.exponent.value, Fraction):
        return powered(base.base, base.exponent.value * exponent)
    return Power(base, Number(exponent))


def assembled(form: Form) -> Expression:
    """A form as an expression."""
    several = bool(form.chain) or len(form.scalars) > 1
    above = [_scalar(base, e, several) for base, e in form.scalars.items() if e > 0]
    below = [_scalar(base, -e, several) for base, e in form.scalars.items() if e < 0]
    body: Expression | None = None
    if form.chain:
        body = form.chain[0] if len(form.chain) == 1 else Product(form.chain)
    if form.coefficient == 1 and not above and not below and body is not None:
        return body
    if not above and not below and body is None:
        return Number(form.coefficient)
    if form.coefficient == 1 and len(above) == 1 and not below and body is None:
        return above[0]
    if isinstance(body, Scale):
        return Scale(
            form.coefficient * body.coefficient, (*above, *body.scalars), (*below, *body.divisors), body.body
        )
    return Scale(form.coefficient, tuple(sorted(above, key=_scalar_order)), tuple(below), body)


def _scalar(base: Expression, exponent: Fraction, several: bool) -> Expression:
    """A scalar to a power; xᵀx among other factors as ‖x‖²."""
    match base:
        case Product((Transpose(left), right)) if left == right and several:
            return powered(Call("norm", (right,)), 2 * exponent)
        case _:
            return powered(base, exponent)


def _scalar_order(expression: Expression) -> tuple[bool, float]:
    return (not isinstance(expression, SizeOf | Symbol), cost(expression))


@lru_cache(maxsize=65536)
def cost(expression: Expression) -> float:
    """How long an expression is when written."""
    inside = sum(cost(child) for child in children(expression))
    match expression:
        case Symbol() | SizeOf() | Unit() | Identity():
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
            number = 0.0 if coefficient in (1, -1) else 0.8
            return inside + number + 0.5 * brackets + 0.7 * bool(divisors)
        case Transpose() | Inverse():
            return inside + 0.4
        case Power():
            return inside + 0.2
        case Function() | Call():
            return inside + 1.5
        case Piece(_, indices):
            return inside + 0.3 * len(indices)
        case Indexed():
            return inside + 3.0
        case LinearMap(_, body, _):
            return cost(body)
        case _:
            return inside + 0.5


def factored(forms: Sequence[Form], shape: Shape) -> Expression:
    """The shortest expression that is found for a sum of forms.

    Args:
        forms: the terms.
        shape: of the sum.

    Returns:
        The expression, common factors taken out.
    """
    forms = _like(forms)
    best = _summed(forms, shape)
    if len(forms) < 2:
        return best
    best_cost = cost(best)
    for chosen, candidate in _candidates(forms, shape):
        rest = [form for k, form in enumerate(forms) if k not in chosen]
        option = factored([candidate, *rest], shape) if rest else assembled(candidate)
        found = cost(option)
        if found < best_cost - 1e-9:
            best, best_cost = option, found
    return best


def _like(forms: Sequence[Form]) -> list[Form]:
    found: dict[tuple[object, ...], Form] = {}
    for form in forms:
        if form.body in found:
            total = found[form.body].coefficient + form.coefficient
            found[form.body] = Form(total, form.scalars, form.chain)
        else:
            found[form.body] = form
    return [form for form in found.values() if form.coefficient != 0]


def _summed(forms: Sequence[Form], shape: Shape) -> Expression:
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
    flat = [inner for term in terms for inner in (term.terms if isinstance(term, Sum) else (term,))]
    return Sum(tuple(sorted(flat, key=_term_order)))


def is_negative(expression: Expression) -> bool:
    """Whether an expression is written with a minus in front."""
    match expression:
        case Number(value):
            return value < 0
        case Scale(coefficient, _, _, _):
            return coefficient < 0
        case _:
            return False


def _term_order(term: Expression) -> tuple[bool, bool, float, bool, str]:
    simple = isinstance(term, Number | Identity) or (isinstance(term, Scale) and isinstance(term.body, Identity))
    return (is_negative(term), not simple, -round(cost(term) - 0.4 * isinstance(term, Transpose), 3), isinstance(term, Transpose), repr(term))


Choice = tuple[frozenset[int], Form]


def _candidates(forms: Sequence[Form], shape: Shape) -> Iterator[Choice]:
    """Ways to take one factor out of some of the terms."""
    yield from _by_scalar(forms, shape)
    yield from _by_chain(forms, shape)
    yield from _by_body(forms)
    yield from _by_hadamard(forms, shape)
    yield from _by_number(forms, shape)


def _nested(inner: Sequence[Form], shape: Shape) -> Expression:
    return factored(inner, shape)


def _scaled(coefficient: Coefficient, scalars: Mapping[Expression, Fraction], inside: Expression, shape: Shape) -> Form:
    """Scalars times a sum, as one form."""
    if shape:
        return Form(coefficient, scalars, (inside,))
    return Form(coefficient, dict(scalars) | {inside: Fraction(1)}, ())


def _by_number(forms: Sequence[Form], shape: Shape) -> Iterator[Choice]:
    for sign in (1, -1):
        numbers = [form.coefficient for form in forms]
        if not all(isinstance(number, Fraction) for number in numbers):
            return
        fractions = [number for number in numbers if isinstance(number, Fraction)]
        content = sign * Fraction(
            math.gcd(*(n.numerator for n in fractions)), math.lcm(*(n.denominator for n in fractions))
        )
        if content == 1:
            continue
        inner = [Form(n / content, f.scalars, f.chain) for n, f in zip(fractions, forms, strict=True)]
        if sign == -1 and sum(form.coefficient < 0 for form in inner) * 2 >= len(inner):
            continue
        yield frozenset(range(len(forms))), _scaled(content, {}, _summed(inner, shape), shape)


def _by_scalar(forms: Sequence[Form], shape: Shape) -> Iterator[Choice]:
    bases = dict.fromkeys(base for form in forms for base in form.scalars)
    for base in bases:
        for sign in (1, -1):
            chosen = [k for k, form in enumerate(forms) if form.scalars.get(base, 0) * sign > 0]
            if len(chosen) < 2:
                continue
            least = sign * min(abs(forms[k].scalars[base]) for k in chosen)
            inner = []
            for k in chosen:
                scalars = dict(forms[k].scalars)
                scalars[base] -= least
                if scalars[base] == 0:
                    del scalars[base]
                inner.append(Form(forms[k].coefficient, scalars, forms[k].chain))
            inside = _nested(inner, shape)
            yield frozenset(chosen), _flat(Fraction(1), {base: least}, inside, shape)


def _flat(coefficient: Coefficient, scalars: dict[Expression, Fraction], inside: Expression, shape: Shape) -> Form:
    """Scalars times an expression that may itself be scaled."""
    if isinstance(inside, Scale):
        merged = dict(scalars)
        for parts, sign in ((inside.scalars, 1), (inside.divisors, -1)):
            for part in parts:
                base, exponent = _base(part)
                merged[base] = merged.get(base, Fraction(0)) + sign * exponent
        merged = {base: e for base, e in merged.items() if e != 0}
        coefficient *= inside.coefficient
        if inside.body is None:
            return Form(coefficient, merged, ())
        return Form(coefficient, merged, factors_of(inside.body))
    if not shape and isinstance(inside, Number):
        return Form(coefficient * inside.value, scalars, ())
    if shape:
        return Form(coefficient, scalars, factors_of(inside))
    base, exponent = _base(inside)
    return Form(coefficient, dict(scalars) | {base: scalars.get(base, Fraction(0)) + exponent}, ())


def _base(part: Expression) -> tuple[Expression, Fraction]:
    if isinstance(part, Power) and isinstance(part.exponent, Number) and isinstance(part.exponent.value, Fraction):
        return part.base, part.exponent.value
    return part, Fraction(1)


def _by_chain(forms: Sequence[Form], shape: Shape) -> Iterator[Choice]:
    for side in (0, -1):
        ends = dict.fromkeys(form.chain[side] for form in forms if len(form.chain) > 1)
        for end in ends:
            chosen = [k for k, form in enumerate(forms) if len(form.chain) > 1 and form.chain[side] == end]
            if len(chosen) < 2:
                continue
            inner = []
            for k in chosen:
                rest = forms[k].chain[1:] if side == 0 else forms[k].chain[:-1]
                inner.append(Form(forms[k].coefficient, forms[k].scalars, rest))
            shapes = {_chain_shape(form.chain) for form in inner}
            if len(shapes) != 1:
                continue
            inside = _nested(inner, shapes.pop())
            form = _flat(Fraction(1), {}, inside, ("",))
            chain = (end, *form.chain) if side == 0 else (*form.chain, end)
            yield frozenset(chosen), Form(form.coefficient, form.scalars, chain)


def _chain_shape(chain: Chain) -> Shape:
    return shape_of(chain[0] if len(chain) == 1 else Product(chain))


def _by_body(forms: Sequence[Form]) -> Iterator[Choice]:
    """Different scalars times the same matrix."""
    groups: dict[Chain, list[int]] = {}
    for k, form in enumerate(forms):
        if form.chain:
            groups.setdefault(form.chain, []).append(k)
    for chain, chosen in groups.items():
        if len(chosen) > 1:
            inner = [Form(forms[k].coefficient, forms[k].scalars, ()) for k in chosen]
            inside = _nested(inner, ())
            form = _flat(Fraction(1), {}, inside, ())
            yield frozenset(chosen), Form(form.coefficient, form.scalars, chain)


def _elements(form: Form) -> list[Expression]:
    if len(form.chain) != 1:
        return []
    return list(form.chain[0].factors) if isinstance(form.chain[0], Hadamard) else [form.chain[0]]


def _by_hadamard(forms: Sequence[Form], shape: Shape) -> Iterator[Choice]:
    if len(shape) != 1:
        return
    shared = dict.fromkeys(part for form in forms for part in _elements(form) if not isinstance(part, Ones))
    for part in shared:
        chosen = [k for k, form in enumerate(forms) if part in _elements(form)]
        if len(chosen) < 2:
            continue
        inner = []
        for k in chosen:
            rest = _elements(forms[k])
            rest.remove(part)
            chain: Chain = (Ones(shape),)
            if rest:
                chain = (rest[0],) if len(rest) == 1 else (Hadamard(tuple(rest)),)
            inner.append(Form(forms[k].coefficient, forms[k].scalars, chain))
        inside = _nested(inner, shape)
        form = _flat(Fraction(1), {}, inside, shape)
        body = form.chain[0] if len(form.chain) == 1 else Product(form.chain)
        yield frozenset(chosen), Form(form.coefficient, form.scalars, (Hadamard((part, body)),))


__all__ = ["ONE", "Form", "assembled", "cost", "factored", "factors_of", "is_negative", "powered"]
