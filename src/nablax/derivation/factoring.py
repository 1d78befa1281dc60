"""Sums of products made short: common factors are taken out wherever that saves writing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial

from nablax.derivation.deadline import late
from nablax.derivation.forms import (
    Chain,
    Coefficient,
    Form,
    assembled,
    base_of,
    cost,
    factors_of,
    like,
    powered,
    summed,
)
from nablax.printing.expression import (
    Call,
    Expression,
    Hadamard,
    Number,
    Ones,
    Power,
    Product,
    Scale,
    Shape,
    Transpose,
    shape_of,
    transposed,
)


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
        forms = like(forms)
        key = (shape, tuple((form.coefficient, *form.body) for form in forms))
        if key not in self._known:
            one_way = len(forms) > LONGEST_TRIED
            plain = len(forms) < 2 or late()
            self._known[key] = (
                summed(forms, shape) if plain else self._one_way(forms, shape) if one_way else self._all(forms, shape)
            )
        return self._known[key]

    def _all(self, forms: Sequence[Form], shape: Shape) -> Expression:
        best = summed(forms, shape)
        best_cost = cost(best)
        for chosen, made in _candidates(forms, shape):
            option = self._with(forms, shape, chosen, made(self.shortest))
            found = cost(option)
            if found < best_cost - 1e-9:
                best, best_cost = option, found
        return best

    def _one_way(self, forms: Sequence[Form], shape: Shape) -> Expression:
        best = summed(forms, shape)
        lowest, followed = cost(best), None
        for chosen, made in _candidates(forms, shape):
            if late():
                return best
            rest = [form for k, form in enumerate(forms) if k not in chosen]
            found = cost(summed([made(summed), *rest], shape))
            if found < lowest - 1e-9:
                lowest, followed = found, (chosen, made)
        if followed is None:
            return best
        return self._with(forms, shape, followed[0], followed[1](self.shortest))

    def _with(self, forms: Sequence[Form], shape: Shape, chosen: frozenset[int], candidate: Form) -> Expression:
        """The rest factored, with one form in place of those that were chosen."""
        rest = [form for k, form in enumerate(forms) if k not in chosen]
        return self.shortest([candidate, *rest], shape) if rest else assembled(candidate)


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
        made = _scaled(content, {}, summed(inner, shape), shape)
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
            made = _scaled(number, {}, summed(inner, shape), shape)
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
