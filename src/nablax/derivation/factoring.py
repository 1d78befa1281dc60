"""Sums of products made short: common factors are taken out wherever that saves writing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial

from nablax.derivation.forms import (
    Form,
    assembled,
    cost,
    like,
    summed,
)
from nablax.derivation.power_sums import with_power_sums
from nablax.effort import late, spend
from nablax.printing.expression import (
    Call,
    Expression,
    Factors,
    Hadamard,
    Identity,
    Number,
    Ones,
    Power,
    Product,
    Shape,
    factors_of,
    product_of,
    shape_of,
)
from nablax.printing.multiples import Coefficient, multiply, parted, powered


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
    return _Search().shortest(with_power_sums(like(forms)), shape)


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
            spend(found / 10)
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
            spend(found / 10)
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


@dataclass(frozen=True)
class Taken:
    """What several terms may share.

    Args:
        kind: scalar, end, body, entry or diagonal.
        factors: it; of a diagonal what stands before.
        place: of an end its side, of a scalar the sign of its exponent.
        after: what stands behind a diagonal.
    """

    kind: str
    factors: Factors
    place: int = 0
    after: Factors = ()


# What is taken out of a term, what is left, and the shape of that.
View = tuple[Taken, Form, Shape]


def _candidates(forms: Sequence[Form], shape: Shape) -> Iterator[Choice]:
    """Ways to take one factor out of some of the terms."""
    for views in (_scalars, _heads, _tails, _bodies, _entries, _diagonals, _masks):
        groups: dict[Taken, dict[int, tuple[Form, Shape]]] = {}
        for k, form in enumerate(forms):
            for key, rest, inner in views(form, shape):
                groups.setdefault(key, {})[k] = rest, inner
        for key, members in groups.items():
            rests = [rest for rest, _ in members.values()]
            shapes = {inner for _, inner in members.values()}
            if len(rests) < 2 or len(shapes) > 1:
                continue
            for content, left in _contents(rests):
                yield frozenset(members), partial(_put, key, content, left, next(iter(shapes)))
    yield from _numbers(forms, shape)


def _scalars(form: Form, shape: Shape) -> Iterator[View]:
    for base, exponent in form.scalars.items():
        yield Taken("scalar", (base,), 1 if exponent > 0 else -1), form, shape


def _heads(form: Form, shape: Shape) -> Iterator[View]:
    return _end(form, 0, form.chain[1:])


def _tails(form: Form, shape: Shape) -> Iterator[View]:
    return _end(form, -1, form.chain[:-1])


def _end(form: Form, side: int, rest: Factors) -> Iterator[View]:
    if rest:
        left = shape_of(product_of(rest))
        yield Taken("end", (form.chain[side],), side), Form(form.coefficient, form.scalars, rest), left


def _bodies(form: Form, shape: Shape) -> Iterator[View]:
    if form.chain:
        yield Taken("body", form.chain), Form(form.coefficient, form.scalars, ()), ()


def _entries(form: Form, shape: Shape) -> Iterator[View]:
    elements = _elements(form) if len(shape) == 1 else []
    for part in dict.fromkeys(elements):
        if not isinstance(part, Ones):
            rest = list(elements)
            rest.remove(part)
            yield (
                Taken("entry", (part,)),
                Form(form.coefficient, form.scalars, (_entrywise(rest) if rest else Ones(shape),)),
                shape,
            )


def _diagonals(form: Form, shape: Shape) -> Iterator[View]:
    for place, factor in enumerate(form.chain):
        match factor:
            case Call("diag", (vector,), (size, _)):
                key = Taken("diagonal", form.chain[:place], place, form.chain[place + 1 :])
                yield key, Form(form.coefficient, form.scalars, factors_of(vector)), (size,)
            case _:
                pass


def _masks(form: Form, shape: Shape) -> Iterator[View]:
    match form.chain:
        case (Call("tril" | "triu" as side, (inside,)),):
            yield Taken("mask", (Ones(shape),), ("tril", "triu").index(side)), _inner(form, inside), shape
        case (Hadamard((Identity() as identity, inside)),):
            yield Taken("mask", (identity,)), _inner(form, inside), shape
        case _:
            pass


def _inner(form: Form, inside: Expression) -> Form:
    return Form(form.coefficient, form.scalars, factors_of(inside))


def _put(taken: Taken, content: Coefficient, inner: Sequence[Form], left: Shape, inside: Inside) -> Form:
    """What was taken out times the shortest sum of what is left."""
    if taken.kind == "scalar":
        [base] = taken.factors
        least = taken.place * min(abs(form.scalars[base]) for form in inner)
        rests = [_without(form, base, least) for form in inner]
        return _flat(content, {base: least}, inside(rests, left), left)
    form = _flat(content, {}, inside(inner, left), left)
    match taken.kind:
        case "end":
            chain = (*taken.factors, *form.chain) if taken.place == 0 else (*form.chain, *taken.factors)
        case "body":
            chain = taken.factors
        case "mask":
            whole = product_of(form.chain)
            [mask] = taken.factors
            sides = ("tril", "triu")
            is_side = isinstance(mask, Ones)
            chain = (Call(sides[taken.place], (whole,), left) if is_side else Hadamard((mask, whole)),)
        case "entry":
            chain = (_entrywise([*taken.factors, *_elements(form)]),)
        case _:
            vector = product_of(form.chain)
            chain = (*taken.factors, Call("diag", (vector,), left * 2), *taken.after)
    return Form(form.coefficient, form.scalars, chain)


def _without(form: Form, base: Expression, exponent: Fraction) -> Form:
    scalars = {b: e - exponent if b == base else e for b, e in form.scalars.items()}
    return Form(form.coefficient, {b: e for b, e in scalars.items() if e}, form.chain)


def _contents(inner: Sequence[Form]) -> Iterator[tuple[Coefficient, Sequence[Form]]]:
    """What is left when a factor was taken out: as it is, and with its number in front."""
    yield Fraction(1), inner
    content = _content(inner)
    if content is not None and content != 1:
        yield content, _divided(inner, content)


def _content(forms: Sequence[Form]) -> Fraction | None:
    """The number that all coefficients are whole multiples of."""
    numbers = [form.coefficient for form in forms if isinstance(form.coefficient, Fraction)]
    if len(numbers) < len(forms) or len(numbers) < 2:
        return None
    return Fraction(math.gcd(*(n.numerator for n in numbers)), math.lcm(*(n.denominator for n in numbers)))


def _divided(forms: Sequence[Form], number: Coefficient) -> list[Form]:
    return [Form(form.coefficient / number, form.scalars, form.chain) for form in forms]


def _numbers(forms: Sequence[Form], shape: Shape) -> Iterator[Choice]:
    """A number before all of the terms, or before some that have it, with either sign."""
    content = _content(forms)
    for number in () if content is None else (content, -content):
        inner = _divided(forms, number)
        if number != 1 and (number > 0 or 2 * sum(form.coefficient < 0 for form in inner) < len(inner)):
            yield frozenset(range(len(forms))), partial(_before, number, inner, shape)
    groups: dict[Coefficient, list[int]] = {}
    some: list[tuple[Coefficient, list[int]]]
    for k, form in enumerate(forms):
        groups.setdefault(-form.coefficient if form.coefficient < 0 else form.coefficient, []).append(k)
    negative = [k for k, form in enumerate(forms) if form.coefficient == -1]
    some = [(size, chosen) for size, chosen in groups.items() if size != 1]
    for size, chosen in (*some, (Fraction(-1), negative)):
        if 1 < len(chosen) < len(forms):
            yield frozenset(chosen), partial(_before, size, _divided([forms[k] for k in chosen], size), shape)


def _before(number: Coefficient, inner: Sequence[Form], shape: Shape, inside: Inside) -> Form:
    return _flat(number, {}, inside(inner, shape), shape)


def _flat(coefficient: Coefficient, scalars: dict[Expression, Fraction], inside: Expression, shape: Shape) -> Form:
    """Scalars times an expression that may itself be scaled."""
    whole = parted(inside)
    merged = dict(scalars)
    number = coefficient * multiply(merged, replace(whole, body=None))
    return Form(number, {b: e for b, e in merged.items() if e}, () if whole.body is None else factors_of(whole.body))


def _elements(form: Form) -> list[Expression]:
    """What is multiplied element by element, powers as repetitions."""
    if len(form.chain) != 1:
        return list(form.chain and [Product(form.chain)])
    found: list[Expression] = []
    for part in form.chain[0].factors if isinstance(form.chain[0], Hadamard) else form.chain:
        match part:
            case Power(base, Number(Fraction(denominator=1) as value)) if value > 1:
                found += [base] * int(value)
            case _:
                found.append(part)
    return found


def _entrywise(parts: Sequence[Expression]) -> Expression:
    """The product of elements; what is multiplied and divided by goes."""
    exponents: dict[Expression, Fraction] = {}
    for part in parts:
        match part:
            case Power(base, Number(Fraction() as exponent)):
                exponents[base] = exponents.get(base, Fraction(0)) + exponent
            case _:
                exponents[part] = exponents.get(part, Fraction(0)) + 1
    powers = [powered(base, exponent) for base, exponent in exponents.items() if exponent]
    if not powers:
        return Ones(max(map(shape_of, parts), key=len))
    return powers[0] if len(powers) == 1 else Hadamard(tuple(powers))
