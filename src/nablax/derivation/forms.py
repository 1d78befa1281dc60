"""Sums of products made short: common factors are taken out wherever that saves writing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial

from nablax.derivation.deadline import late
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
    transposed,
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
    form = _flipped(form)
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
        return Scale(form.coefficient * body.coefficient, (*above, *body.scalars), (*below, *body.divisors), body.body)
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
            triples = zip(factors, factors[1:], factors[2:], strict=False)
            inside -= sum(cost(c) - 0.4 for a, b, c in triples if a == b == c and len(shape_of(a)) == 2)
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
        case Indexed():
            return inside + 3.0
        case LinearMap(_, body, _):
            return cost(body)
        case _:
            return inside + 0.5


def factored(forms: Sequence[Form], shape: Shape) -> Expression:
    """The shortest expression that is found for a sum of forms.

    Every way of taking one factor out of some of the terms is tried, and so on with what it gives; of long sums only
    the way that saves most at once is followed.

    Args:
        forms: the terms.
        shape: of the sum.

    Returns:
        The expression, common factors taken out.
    """
    best = _Search().shortest(forms, shape)
    if len(shape) == 2 and len(forms) > 1 and any(_has_high_power(form.chain) for form in forms):
        turned = [Form(f.coefficient, f.scalars, tuple(transposed(x) for x in reversed(f.chain))) for f in forms]
        if not any(isinstance(factor, Transpose) for form in turned for factor in form.chain):
            return min(best, Transpose(_Search().shortest(turned, shape[::-1])), key=cost)
    return best


def _has_high_power(chain: Chain) -> bool:
    """Whether a factor stands three times side by side, as in Σ XʳAX³⁻ʳ."""
    return any(chain[k] == chain[k + 1] == chain[k + 2] for k in range(len(chain) - 2))


Inside = Callable[[Sequence[Form], Shape], Expression]
LONGEST_TRIED = 5


class _Search:
    """One search; equal sums inside it are factored once."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Expression] = {}

    def shortest(self, forms: Sequence[Form], shape: Shape) -> Expression:
        forms = _like(forms)
        key = (shape, tuple((form.coefficient, *form.body) for form in forms))
        if key not in self._known:
            one_way = len(forms) > LONGEST_TRIED
            plain = len(forms) < 2 or late()
            self._known[key] = (
                _summed(forms, shape) if plain else self._one_way(forms, shape) if one_way else self._all(forms, shape)
            )
        return self._known[key]

    def _all(self, forms: Sequence[Form], shape: Shape) -> Expression:
        best = _summed(forms, shape)
        best_cost = cost(best)
        for chosen, made in _candidates(forms, shape):
            option = self._with(forms, shape, chosen, made(self.shortest))
            found = cost(option)
            if found < best_cost - 1e-9:
                best, best_cost = option, found
        return best

    def _one_way(self, forms: Sequence[Form], shape: Shape) -> Expression:
        best = _summed(forms, shape)
        lowest, followed = cost(best), None
        for chosen, made in _candidates(forms, shape):
            if late():
                return best
            rest = [form for k, form in enumerate(forms) if k not in chosen]
            found = cost(_summed([made(_summed), *rest], shape))
            if found < lowest - 1e-9:
                lowest, followed = found, (chosen, made)
        if followed is None:
            return best
        return self._with(forms, shape, followed[0], followed[1](self.shortest))

    def _with(self, forms: Sequence[Form], shape: Shape, chosen: frozenset[int], candidate: Form) -> Expression:
        """The rest factored, with one form in place of those that were chosen."""
        rest = [form for k, form in enumerate(forms) if k not in chosen]
        return self.shortest([candidate, *rest], shape) if rest else assembled(candidate)


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
    flat = _merged([inner for term in terms for inner in _terms_of(term)])
    if len(flat) == 1:
        return flat[0]
    return Sum(tuple(sorted(flat, key=_term_order)))


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


def _split(term: Expression) -> tuple[Coefficient, Expression]:
    """A term as a number times the rest."""
    match term:
        case Number(value):
            return value, ONE
        case Scale(coefficient, (), (), body) if body is not None:
            return coefficient, body
        case Scale(coefficient, (one,), (), None):
            return coefficient, one
        case Scale(coefficient, scalars, divisors, body):
            return coefficient, Scale(Fraction(1), scalars, divisors, body)
        case _:
            return Fraction(1), term


def _merged(terms: Sequence[Expression]) -> list[Expression]:
    """Like terms added."""
    found: dict[Expression, Coefficient] = {}
    for term in terms:
        coefficient, rest = _split(term)
        found[rest] = found.get(rest, Fraction(0)) + coefficient
    if len(found) == len(terms):
        return list(terms)
    return [scaled(number, rest) for rest, number in found.items() if number != 0] or [ZERO]


def scaled(number: Coefficient, rest: Expression) -> Expression:
    """A number times an expression."""
    own, rest = _split(rest)
    number *= own
    if rest == ONE:
        return Number(number)
    if number == 1:
        return rest
    if isinstance(rest, Scale):
        return Scale(number, rest.scalars, rest.divisors, rest.body)
    return Scale(number, (), (), rest) if shape_of(rest) else Scale(number, (rest,), (), None)


def _flipped(form: Form) -> Form:
    """−(a − b) as (b − a)."""
    if form.coefficient >= 0:
        return form
    for base, exponent in form.scalars.items():
        if exponent == 1 and isinstance(base, Sum) and _gains(base):
            scalars = {(_negated(base) if one == base else one): e for one, e in form.scalars.items()}
            return Form(-form.coefficient, scalars, form.chain)
    for k, factor in enumerate(form.chain):
        if isinstance(factor, Sum) and _gains(factor):
            return Form(-form.coefficient, form.scalars, (*form.chain[:k], _negated(factor), *form.chain[k + 1 :]))
    return form


def _gains(total: Sum) -> bool:
    return 2 * sum(map(is_negative, total.terms)) >= len(total.terms)


def _negated(total: Sum) -> Sum:
    return Sum(tuple(sorted((scaled(Fraction(-1), term) for term in total.terms), key=_term_order)))


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
    length = round(cost(term) - 0.4 * isinstance(term, Transpose), 3)
    sign = -1 if len(shape_of(term)) == 1 else 1  # Ax + b, but A + xxᵀ
    return (is_negative(term), not simple, sign * length, isinstance(term, Transpose), repr(term))


Choice = tuple[frozenset[int], Callable[[Inside], Form]]


def _candidates(forms: Sequence[Form], shape: Shape) -> Iterator[Choice]:
    """Ways to take one factor out of some of the terms."""
    yield from _by_scalar(forms, shape)
    yield from _by_chain(forms, shape)
    yield from _by_body(forms)
    yield from _by_hadamard(forms, shape)
    yield from _by_diagonal(forms)
    yield from _by_number(forms, shape)
    yield from _by_common_number(forms, shape)


def _contents(inner: Sequence[Form]) -> Iterator[tuple[Coefficient, Sequence[Form]]]:
    """What is left when a factor was taken out: as it is, and with its number in front."""
    yield Fraction(1), inner
    numbers = [form.coefficient for form in inner if isinstance(form.coefficient, Fraction)]
    if len(numbers) == len(inner) > 1:
        content = Fraction(math.gcd(*(n.numerator for n in numbers)), math.lcm(*(n.denominator for n in numbers)))
        if content != 1:
            yield content, [Form(form.coefficient / content, form.scalars, form.chain) for form in inner]


def _taken(
    coefficient: Coefficient, scalars: dict[Expression, Fraction], inner: Sequence[Form], shape: Shape, inside: Inside
) -> Form:
    """Scalars times the shortest sum of what is left."""
    return _flat(coefficient, scalars, inside(inner, shape), shape)


def _made(form: Form, inside: Inside) -> Form:
    """A form in which nothing is left to be made shorter."""
    del inside
    return form


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
        made = _scaled(content, {}, _summed(inner, shape), shape)
        yield frozenset(range(len(forms))), partial(_made, made)


def _by_common_number(forms: Sequence[Form], shape: Shape) -> Iterator[Choice]:
    groups: dict[Coefficient, list[int]] = {}
    for k, form in enumerate(forms):
        size: Coefficient = -form.coefficient if form.coefficient < 0 else form.coefficient
        groups.setdefault(size, []).append(k)
    for number, chosen in groups.items():
        if number != 1 and 1 < len(chosen) < len(forms):
            inner = [Form(1 if forms[k].coefficient > 0 else -1, forms[k].scalars, forms[k].chain) for k in chosen]
            inner = [Form(Fraction(f.coefficient), f.scalars, f.chain) for f in inner]
            made = _scaled(number, {}, _summed(inner, shape), shape)
            yield frozenset(chosen), partial(_made, made)
    negative = [k for k, form in enumerate(forms) if form.coefficient == -1]
    if 1 < len(negative) < len(forms):
        inner = [Form(Fraction(1), forms[k].scalars, forms[k].chain) for k in negative]
        yield frozenset(negative), partial(_taken, Fraction(-1), {}, inner, shape)


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
            for content, left in _contents(inner):
                yield frozenset(chosen), partial(_taken, content, {base: least}, left, shape)


def _flat(coefficient: Coefficient, scalars: dict[Expression, Fraction], inside: Expression, shape: Shape) -> Form:
    """Scalars times an expression that may itself be scaled."""
    if isinstance(inside, Scale):
        merged = dict(scalars)
        for parts, sign in ((inside.scalars, 1), (inside.divisors, -1)):
            for part in parts:
                base, exponent = base_of(part)
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
    base, exponent = base_of(inside)
    return Form(coefficient, dict(scalars) | {base: scalars.get(base, Fraction(0)) + exponent}, ())


def base_of(part: Expression) -> tuple[Expression, Fraction]:
    if isinstance(part, Power) and isinstance(part.exponent, Number) and isinstance(part.exponent.value, Fraction):
        return part.base, part.exponent.value
    return part, Fraction(1)


def _by_chain(forms: Sequence[Form], shape: Shape) -> Iterator[Choice]:
    high = any(_has_high_power(form.chain) for form in forms)
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
            again = {form.chain[side] == end for form in inner}
            if len(shapes) != 1 or (high and len(again) > 1):  # XXXA + XXAX is not X(XXA + XAX)
                continue
            for content, left in _contents(inner):
                yield frozenset(chosen), partial(_beside, content, end, side, left, next(iter(shapes)))


def _beside(
    content: Coefficient, end: Expression, side: int, inner: Sequence[Form], shape: Shape, inside: Inside
) -> Form:
    form = _flat(content, {}, inside(inner, shape), ("",))
    chain = (end, *form.chain) if side == 0 else (*form.chain, end)
    return Form(form.coefficient, form.scalars, chain)


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
            for content, left in _contents(inner):
                yield frozenset(chosen), partial(_times_chain, content, chain, left)


def _times_chain(content: Coefficient, chain: Chain, inner: Sequence[Form], inside: Inside) -> Form:
    form = _flat(content, {}, inside(inner, ()), ())
    return Form(form.coefficient, form.scalars, chain)


def _elements(form: Form) -> list[Expression]:
    if len(form.chain) != 1:
        return []
    listed = form.chain[0].factors if isinstance(form.chain[0], Hadamard) else (form.chain[0],)
    found: list[Expression] = []
    for part in listed:
        match part:
            case Power(base, Number(Fraction(denominator=1) as value)) if value > 1:
                found += [base] * int(value)
            case _:
                found.append(part)
    return found


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
                rest = [powered(base, Fraction(rest.count(base))) for base in dict.fromkeys(rest)]
                chain = (rest[0],) if len(rest) == 1 else (Hadamard(tuple(rest)),)
            inner.append(Form(forms[k].coefficient, forms[k].scalars, chain))
        yield frozenset(chosen), partial(_entrywise, part, inner, shape)


def _entrywise(part: Expression, inner: Sequence[Form], shape: Shape, inside: Inside) -> Form:
    form = _flat(Fraction(1), {}, inside(inner, shape), shape)
    body = form.chain[0] if len(form.chain) == 1 else Product(form.chain)
    parts = (part, *(body.factors if isinstance(body, Hadamard) else (body,)))
    powers = [powered(base, Fraction(parts.count(base))) for base in dict.fromkeys(parts)]
    together = powers[0] if len(powers) == 1 else Hadamard(tuple(powers))
    return Form(form.coefficient, form.scalars, (together,))


def _by_diagonal(forms: Sequence[Form]) -> Iterator[Choice]:
    """diag(u) + diag(v) = diag(u + v), also inside products."""
    groups: dict[tuple[Chain, int], list[int]] = {}
    for k, form in enumerate(forms):
        for place, factor in enumerate(form.chain):
            if isinstance(factor, Call) and factor.name == "diag":
                rest = (*form.chain[:place], *form.chain[place + 1 :])
                groups.setdefault((rest, place), []).append(k)
    for (rest, place), chosen in groups.items():
        if len(chosen) < 2:
            continue
        first = forms[chosen[0]].chain[place]
        assert isinstance(first, Call)
        inner = []
        for k in chosen:
            diagonal = forms[k].chain[place]
            assert isinstance(diagonal, Call)
            inner.append(Form(forms[k].coefficient, forms[k].scalars, factors_of(diagonal.arguments[0])))
        yield frozenset(chosen), partial(_diagonal, rest[:place], rest[place:], inner, first.shape)


def _diagonal(before: Chain, after: Chain, inner: Sequence[Form], shape: Shape, inside: Inside) -> Form:
    form = _flat(Fraction(1), {}, inside(inner, shape[:1]), shape[:1])
    vector = form.chain[0] if len(form.chain) == 1 else Product(form.chain)
    return Form(form.coefficient, form.scalars, (*before, Call("diag", (vector,), shape), *after))


__all__ = ["ONE", "Form", "assembled", "cost", "factored", "factors_of", "is_negative", "powered"]
