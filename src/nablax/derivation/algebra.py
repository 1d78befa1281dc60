"""Arithmetic on `Poly`: sums, labelled products, powers, functions of elements and of matrices."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from fractions import Fraction
from functools import cache, reduce
from typing import Any

from nablax.derivation.rules import RULES
from nablax.derivation.tensors import (
    MASKS,
    Atom,
    AtomKind,
    Factor,
    Monomial,
    Number,
    Poly,
    canonical,
    collected,
    components,
    content,
    label_sizes,
    narrowed,
    placed,
    rational,
    used_labels,
)
from nablax.effort import in_time, spend
from nablax.errors import UnprintableError
from nablax.notation import RELATIONS

MOST_REWRITES = 300
LOGARITHMS = (2, 3, 5, 7, 10)
MOST_LOGARITHMS = 12
LEAST_PRIME = 50  # that no number contains but the length of an axis
Part = tuple[Poly, tuple[Hashable, ...]]


@cache
def is_prime(number: int) -> bool:
    """Whether only one divides it."""
    return number > 1 and all(number % k for k in range(2, math.isqrt(number) + 1))


@cache
def is_safe(size: int) -> bool:
    """Whether size − 1 is twice a prime that stands for nothing else."""
    return size > 2 * LEAST_PRIME and is_prime(size // 2)


class Algebra:
    """Makes polys.

    Args:
        sizes: names of axis lengths; the lengths are primes that stand for nothing else, so that a number
            that contains one says which size it is. Where half of what is below one is a prime too, so does that.
        expand: whether products are multiplied out over sums; sums stay together otherwise.
    """

    def __init__(self, sizes: Mapping[int, str], *, expand: bool) -> None:
        self.sizes = dict(sizes)
        self._expand = expand
        self._was_asked = False

    def multiplies_out(self) -> bool:
        """Whether products are multiplied out over sums; asked only where that makes a difference."""
        self._was_asked = True
        return self._expand

    @property
    def is_like_other(self) -> bool:
        """Whether all that was made so far is the same with products multiplied out and without."""
        return not self._was_asked

    # -- making ------------------------------------------------------------------------------------

    def number(self, value: float, axes: Sequence[int] = ()) -> Poly:
        """A number at every element; factors that are lengths of axes become size symbols."""
        coefficient, factors = self._sized(rational(value))
        if isinstance(coefficient, float):
            coefficient, factors = self._with_logarithms(coefficient) or self._with_roots(coefficient)
        return self.monomial(coefficient, factors, axes)

    def _with_logarithms(self, value: float) -> tuple[Number, list[Factor]] | None:
        """A multiple of the logarithm of a small number, where it is one: the slope of 2ˣ is log(2) 2ˣ."""
        for base in LOGARITHMS:
            multiple = rational(value / math.log(base))
            if isinstance(multiple, Fraction) and max(abs(multiple.numerator), multiple.denominator) <= MOST_LOGARITHMS:
                inside = self.monomial(Fraction(base), [], ())
                return multiple, [Factor(Atom(AtomKind.FUNCTION, "log", (), (inside,)), ())]
        return None

    def _sized(self, value: Number) -> tuple[Number, list[Factor]]:
        factors: list[Factor] = []
        if not isinstance(value, Fraction) or value == 0:
            return value, factors
        for size, name in self.sizes.items():
            whole = Atom(AtomKind.SIZE, name, ())
            said = [(size, Fraction(1), whole)]
            if is_safe(size):  # 1/(n − 1) of a variance
                less = self.monomial(Fraction(1), [Factor(whole, ())], ()), self.monomial(Fraction(-1), [], ())
                said.append((size // 2, Fraction(1, 2), Atom(AtomKind.GROUP, "", (), (self.add(less),))))
            for prime, part, atom in said:
                for number, step in ((value.numerator, 1), (value.denominator, -1)):
                    while number % prime == 0:
                        number //= prime
                        value *= (part / prime) ** step
                        factors.append(Factor(atom, (), Fraction(step)))
        return value, factors

    def _with_roots(self, value: float) -> tuple[Number, list[Factor]]:
        """A number as a fraction times roots of sizes, of pi and of a small integer, where it is one."""
        for halves in range(-4, 5):
            square, sizes = self._sized(rational(value * abs(value) * math.pi**-halves))
            if not isinstance(square, Fraction) or square.denominator > 1000 or abs(square.numerator) > 1000:
                continue
            inside = abs(square.numerator) * square.denominator
            outside = max(k for k in range(1, 1 + math.isqrt(inside)) if inside % (k * k) == 0)
            root = inside // (outside * outside)
            if root > 10:
                continue
            number = Fraction(outside, square.denominator) * (1 if value > 0 else -1)
            named = [("pi", Fraction(halves, 2)), (str(root), Fraction(1, 2))]
            factors = [Factor(Atom(AtomKind.SIZE, name, ()), (), e) for name, e in named if e and name != "1"]
            return number, [*factors, *(Factor(f.atom, (), f.exponent / 2) for f in sizes)]
        return value, []

    def atom(self, atom: Atom) -> Poly:
        """The atom by itself."""
        return self.monomial(Fraction(1), [Factor(atom, tuple(range(len(atom.axes))))], atom.axes)

    def delta(self, size: int) -> Poly:
        """The identity matrix."""
        return self.atom(Atom(AtomKind.DELTA, "", (size, size), symmetric=True))

    # -- sums --------------------------------------------------------------------------------------

    def add(self, polys: Sequence[Poly]) -> Poly:
        """The sum; polys without axes are added to every element."""
        axes = max((p.axes for p in polys), key=len, default=())
        terms = [term for p in polys for term in self.broadcast(p, axes).terms]
        return collected(axes, terms)

    def scale(self, coefficient: Number, p: Poly) -> Poly:
        """A multiple."""
        # rational: a float divided by itself is one
        return collected(p.axes, [Monomial(rational(t.coefficient * coefficient), t.factors) for t in p.terms])

    def broadcast(self, p: Poly, axes: Sequence[int]) -> Poly:
        """A scalar at every element."""
        if p.axes == tuple(axes):
            return p
        if p.axes:
            raise ValueError(f"{p.axes} and {tuple(axes)} do not fit")
        return self.product([(p, ())], tuple(range(len(axes))), dict(enumerate(axes)))

    # -- products ----------------------------------------------------------------------------------

    def product(
        self,
        parts: Sequence[Part],
        output: Sequence[Hashable],
        sizes: Mapping[Any, int],
        coefficient: Number = Fraction(1),
    ) -> Poly:
        """A labelled product, summed over labels that the output does not have.

        Args:
            parts: polys with a label per axis.
            output: labels of the result's axes; one that stands twice puts values on a diagonal.
            sizes: elements per label, for labels that stand in no part.
            coefficient: a number.

        Returns:
            The product.
        """
        known: dict[Hashable, int] = dict(sizes)
        for p, labels in parts:
            known.update(zip(labels, p.axes, strict=True))
        axes = tuple(known[label] for label in output)
        place: dict[Hashable, int] = {}
        deltas = []
        for position, label in enumerate(output):
            if label in place:
                atom = Atom(AtomKind.DELTA, "", (known[label], known[label]), symmetric=True)
                deltas.append(Factor(atom, (place[label], position)))
            else:
                place[label] = position
        counter = itertools.count(len(output))
        for label in itertools.chain(*(labels for _, labels in parts), sizes):
            if label not in place:
                place[label] = next(counter)
        summed = {place[x]: n for x, n in known.items() if place[x] >= len(output)}
        coefficient, numbers = self._sized(coefficient)
        if isinstance(coefficient, float):
            coefficient, roots = self._with_roots(coefficient)
            numbers += roots
        is_alone = sum(p.constant is None for p, _ in parts) == 1
        distribute = is_alone or (any(len(p.terms) > 1 for p, _ in parts) and self.multiplies_out())
        choices: list[list[tuple[Number, list[Factor]]]] = []
        squared = Counter((p.key, tuple(labels)) for p, labels in parts if len(p.terms) > 1)
        for p, labels in parts:
            own = {k: place[label] for k, label in enumerate(labels)}
            # (x − x̄)² stays: as x² − 2x̄x + x̄² it would lose all digits where x̄ is large
            is_square = bool(labels) and squared[p.key, tuple(labels)] > 1
            if len(p.terms) > 1 and (is_square or not distribute):
                shared, rest = _without_shared(p)
                used = used_labels(rest)  # axes along which nothing changes stand in no factor
                number, group = self.group(narrowed(rest, used))
                choices.append([(number, [*shared, Factor(group, tuple(own[k] for k in used))])])
                continue
            choices.append([(term.coefficient, placed(term.factors, own, counter)) for term in p.terms])
        polys = []
        for choice in itertools.product(*choices):
            number = reduce(lambda a, b: a * b, (c for c, _ in choice), coefficient)
            factors = [*numbers, *deltas, *(f for _, fs in choice for f in fs)]
            polys.append(self.monomial(number, factors, axes, summed))
        return self.add([Poly(axes, ()), *polys])

    def times(self, *polys: Poly) -> Poly:
        """The product of elements; polys without axes scale."""
        axes = max((p.axes for p in polys), key=len, default=())
        labels = tuple(range(len(axes)))
        return self.product([(p, labels if p.axes else ()) for p in polys], labels, dict(enumerate(axes)))

    def transpose(self, p: Poly) -> Poly:
        """The transposed matrix."""
        return self.product([(p, (0, 1))], (1, 0), {})

    def group(self, p: Poly) -> tuple[Number, Atom]:
        """A sum as one atom, and the number taken out of it."""
        number = content(p)
        kept = self.scale(1 / number, p)
        symmetric = p.rank == 2 and p.axes[0] == p.axes[1] and self.is_symmetric(kept)
        return number, Atom(AtomKind.GROUP, "", p.axes, (kept,), symmetric)

    def is_symmetric(self, p: Poly) -> bool:
        """Whether a matrix equals its transpose in canonical form."""
        swapped = {0: 1, 1: 0}
        turned = [canonical(t.coefficient, [f.relabelled(swapped) for f in t.factors], 2) for t in p.terms]
        return collected(p.axes, turned).key == p.key

    def monomial(
        self,
        coefficient: Number,
        factors: Sequence[Factor],
        axes: Sequence[int],
        summed: Mapping[int, int] | None = None,
    ) -> Poly:
        """One product, with every rule applied.

        Args:
            coefficient: a number.
            factors: factors on labels; labels below the number of axes are axes, others are summed.
            axes: elements along each axis.
            summed: summed labels that may stand in no factor, with their sizes.

        Returns:
            The product; a sum where a group was opened.
        """
        in_time()
        if coefficient == 0:
            return Poly(tuple(axes), ())
        rank = len(axes)
        sizes = label_sizes(axes, factors) | dict(summed or {})
        alive = {label for label in sizes if label >= rank}
        work = merged(factors)
        for _ in range(MOST_REWRITES):
            spend(len(work))
            for rule in RULES:
                changed = rule(self, work, rank)
                if changed is not None:
                    work = merged(changed.factors)
                    coefficient *= changed.coefficient
                    alive -= set(changed.eliminated)
                    sizes = label_sizes(axes, work) | sizes
                    alive |= {x for f in work for x in f.labels if x >= rank}
                    break
            else:
                present = {label for factor in work for label in factor.labels}
                lost = alive - present
                if lost:
                    alive -= lost
                    for label in lost:
                        number, named = self._sized(Fraction(sizes[label]))
                        coefficient *= number
                        work = merged([*work, *named])
                    continue
                wrapped = self._wrapped(work, rank)
                if wrapped is None:
                    break
                number, work = wrapped
                coefficient *= number
                alive = {label for factor in work for label in factor.labels if label >= rank}
        else:
            raise UnprintableError("a product whose simplification does not end", "")
        return self._opened(coefficient, work, tuple(axes))

    def _wrapped(self, factors: list[Factor], rank: int) -> tuple[Number, list[Factor]] | None:
        """Scalar parts of a product as groups, so that equal ones meet as powers."""
        groups = components(factors, rank)
        for group in groups:
            labels = {label for factor in group for label in factor.labels}
            if not labels or any(label < rank for label in labels):
                continue
            if rank == 0 and len(groups) == 1:
                continue
            number, atom = self.group(self.monomial(Fraction(1), group, ()))
            rest = [factor for factor in factors if not any(factor is one for one in group)]
            return number, merged([*rest, Factor(atom, ())])
        return None

    def _opened(self, coefficient: Number, factors: list[Factor], axes: tuple[int, ...]) -> Poly:
        number, factors = _rational_part(factors, self.sizes.values())
        coefficient *= number
        for factor in factors:
            if factor.atom.kind is not AtomKind.GROUP or factor.exponent != 1:
                continue
            [inside] = factor.atom.arguments
            alone = len(factors) == 1 and sorted(factor.labels) == list(range(len(axes)))
            single = len(inside.terms) == 1 and (inside.rank > 0 or alone)
            if not (single or alone or (len(inside.terms) > 1 and self.multiplies_out())):
                continue
            rest = [other for other in factors if other is not factor]
            counter = itertools.count(1 + max([len(axes), *(label for one in factors for label in one.labels)]))
            names = dict(enumerate(factor.labels))
            missing = {x: n for x, n in zip(factor.labels, inside.axes, strict=True) if x >= len(axes)}
            polys = [
                self.monomial(
                    coefficient * term.coefficient, [*rest, *placed(term.factors, names, counter)], axes, missing
                )
                for term in inside.terms
            ]
            return self.add([Poly(axes, ()), *polys])
        return collected(axes, [canonical(coefficient, factors, len(axes))])

    # -- powers ------------------------------------------------------------------------------------

    def power(self, p: Poly, exponent: Fraction) -> Poly:
        """Every element to a constant power."""
        if exponent == 0:
            return self.number(1, p.axes)
        if exponent == 1:
            return p
        if p.constant is not None:
            return self.number(float(p.constant) ** float(exponent), p.axes)
        labels = tuple(range(p.rank))
        used = used_labels(p)
        if len(used) < p.rank:
            value = self.power(narrowed(p, used), exponent)
            return self.product([(value, used)], labels, dict(enumerate(p.axes)))
        if len(p.terms) == 1:
            [term] = p.terms
            number = _root(term.coefficient, exponent)
            groups = components(term.factors, p.rank)
            simple = [g for g in groups if len(g) == 1 and all(x < p.rank for x in g[0].labels)]
            whole = exponent.denominator == 1
            if number is not None and (whole or all(_is_positive(g[0]) for g in simple)):
                factors = [Factor(g[0].atom, g[0].labels, g[0].exponent * exponent) for g in simple]
                for g in groups:
                    if g not in simple:
                        _, atom = self.group(self.monomial(Fraction(1), g, p.axes))
                        factors.append(Factor(atom, labels, exponent))
                if len(groups) > 1 or simple or number != 1:
                    return self.monomial(number, factors, p.axes)
        number, atom = self.group(p)
        root = _root(number, exponent)
        if root is None:
            root = Fraction(1)
            symmetric = p.rank == 2 and p.axes[0] == p.axes[1] and self.is_symmetric(p)
            atom = Atom(AtomKind.GROUP, "", p.axes, (p,), symmetric)
        return self.monomial(root, [Factor(atom, labels, exponent)], p.axes)


def _without_shared(p: Poly) -> tuple[list[Factor], Poly]:
    """The scalars that stand in all terms of a sum, and what is left of it."""
    powers = [{f.atom: f.exponent for f in term.factors if not f.labels} for term in p.terms]
    shared: dict[Atom, Fraction] = {}
    for atom in powers[0]:
        exponents = [one.get(atom, Fraction(0)) for one in powers]
        for sign in (1, -1):
            if all(sign * exponent > 0 for exponent in exponents):
                shared[atom] = sign * min(sign * exponent for exponent in exponents)
    if not shared:
        return [], p
    terms = []
    for term in p.terms:
        left = [Factor(f.atom, f.labels, f.exponent - (0 if f.labels else shared.get(f.atom, 0))) for f in term.factors]
        terms.append(Monomial(term.coefficient, tuple(f for f in left if f.exponent)))
    return [Factor(atom, (), exponent) for atom, exponent in shared.items()], collected(p.axes, terms)


def _rational_part(factors: list[Factor], sizes: Collection[str]) -> tuple[Fraction, list[Factor]]:
    """Powers of whole numbers, from 0 up to 1 as factors, the rest as one number: 2^(−½) = ½ · 2^½."""
    number, kept = Fraction(1), []
    for factor in factors:
        name = factor.atom.name
        is_number = factor.atom.kind is AtomKind.SIZE and name.isdigit() and name not in sizes
        if not is_number or 0 < factor.exponent < 1:
            kept.append(factor)
            continue
        whole = math.floor(factor.exponent)
        number *= Fraction(int(factor.atom.name)) ** whole
        if factor.exponent != whole:
            kept.append(Factor(factor.atom, (), factor.exponent - whole))
    return number, kept


def merged(factors: Sequence[Factor]) -> list[Factor]:
    """Factors that are one atom on the same labels become a power."""
    found: dict[tuple[str, tuple[int, ...]], Factor] = {}
    for factor in factors:
        factor = factor.relabelled({})
        key = (factor.atom.key, factor.labels)
        exponent = factor.exponent + (found[key].exponent if key in found else 0)
        relation = factor.atom.kind is AtomKind.FUNCTION and factor.atom.name in RELATIONS
        mask = factor.atom.kind is AtomKind.CONSTANT and factor.atom.name in MASKS
        if relation or mask or factor.atom.kind in (AtomKind.DELTA, AtomKind.UNIT):
            exponent = Fraction(1)  # zeros and ones
        if factor.atom.kind is AtomKind.FUNCTION and factor.atom.name == "sign" and exponent.denominator == 1:
            exponent %= 2  # its square is one where |u| has a slope
        found[key] = Factor(factor.atom, factor.labels, exponent)
    return [factor for factor in found.values() if factor.exponent != 0]


def _root(value: Number, exponent: Fraction) -> Number | None:
    """A number to a power, where that is rational."""
    if exponent.denominator == 1:
        return value ** int(exponent)
    if value < 0:
        return None
    root = rational(float(value) ** float(1 / Fraction(exponent.denominator)))
    return root**exponent.numerator if isinstance(root, Fraction) else None


def _is_positive(factor: Factor) -> bool:
    """Whether a factor is known to be at least zero."""
    return factor.atom.kind is AtomKind.SIZE or factor.atom.name in ("exp", "sigmoid", "softmax")
