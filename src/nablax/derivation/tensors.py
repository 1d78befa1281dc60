"""Sums of labelled products in a canonical form: the algebra in which closed forms are simplified.

A `Poly` is an array written in index notation: a sum of `Monomial`s, each a coefficient times atoms on
labels. Labels 0 … r-1 are the axes of the array, larger ones are summed. Equal arrays that differ in the
names of summed labels, in the order of factors or in the order of the axes of a symmetric atom have equal
keys.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from functools import cached_property
from typing import Any

from nablax.contraction.term import connected
from nablax.effort import spend

Number = Fraction | float
MASKS = ("tril", "triu")  # known arrays of ones on and below the diagonal, or above
EPSILON = "epsilon"  # the sign of three places: (x × y)ᵢ = εᵢⱼₖ xⱼ yₖ
FOLD = "fold"  # one where column, row and place of a matrix and its stacked columns meet: vec(X)ₖ = foldⱼᵢₖ Xᵢⱼ


class AtomKind(Enum):
    """What an atom is; the value says what its fields mean."""

    LEAF = "a variable; name"
    SIZE = "the number of elements along an axis; name"
    DELTA = "the identity matrix"
    UNIT = "a unit vector; name is the place of the one"
    GROUP = "a sum kept together; one argument"
    FUNCTION = "a scalar function of each element; name, arguments of the same axes or without axes"
    MATRIX = "a function of a whole matrix; name, one argument"
    CONSTANT = "a known array; name"


@dataclass(frozen=True, eq=False)
class Atom:
    """Something that stands in a product.

    Args:
        kind: what it is.
        name: see `AtomKind`.
        axes: elements along each axis.
        arguments: what it is computed from.
        symmetric: whether it is a matrix equal to its transpose.
        trait: a property that a rule uses: ``orthogonal``, ``orthonormal``, ``triangular`` (zeros above the diagonal),
            ``diagonal``, ``skew`` (minus its transpose), ``positive`` (every entry).
    """

    kind: AtomKind
    name: str
    axes: tuple[int, ...]
    arguments: tuple[Poly, ...] = ()
    symmetric: bool = False
    trait: str = ""

    @cached_property
    def key(self) -> str:
        """Equal for equal atoms."""
        inside = ",".join(argument.key for argument in self.arguments)
        return f"{self.kind.name[0]}{self.kind.name[1]}:{self.name}{list(self.axes)}({inside})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Atom) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True, eq=False)
class Factor:
    """An atom on labels, to a power (elementwise).

    Args:
        atom: the atom.
        labels: one per axis of the atom.
        exponent: the power.
    """

    atom: Atom
    labels: tuple[int, ...]
    exponent: Fraction = Fraction(1)

    def relabelled(self, names: Mapping[int, int]) -> Factor:
        """The factor on other labels."""
        labels = tuple(names.get(label, label) for label in self.labels)
        if self.atom.symmetric and len(labels) == 2 and labels[0] > labels[1]:
            labels = (labels[1], labels[0])
        return Factor(self.atom, labels, self.exponent)

    @property
    def ordered(self) -> tuple[Factor, int]:
        """An alternating factor on its labels in order, and the sign of that; others as they are."""
        if self.atom.trait == "skew" and self.exponent.denominator == 1 and self.labels[0] > self.labels[1]:
            return Factor(self.atom, self.labels[::-1], self.exponent), (-1) ** int(self.exponent)
        if self.atom.name != EPSILON:
            return self, 1
        a, b, c = self.labels
        sign = 1 if (a < b) + (b < c) + (c < a) == 2 else -1
        return Factor(self.atom, tuple(sorted(self.labels)), self.exponent), sign

    @property
    def sort_key(self) -> tuple[str, Fraction, tuple[int, ...]]:
        """Orders factors."""
        return (self.atom.key, self.exponent, self.labels)


@dataclass(frozen=True, eq=False)
class Monomial:
    """``coefficient * product(factors)``, summed over labels that are no axes.

    Args:
        coefficient: a number.
        factors: the factors, in canonical order.
    """

    coefficient: Number
    factors: tuple[Factor, ...]

    @cached_property
    def body(self) -> str:
        """The key without the coefficient."""
        return " ".join(
            f"{f.atom.key}{list(f.labels)}" + ("" if f.exponent == 1 else f"^{f.exponent}") for f in self.factors
        )


@dataclass(frozen=True, eq=False)
class Poly:
    """An array as a sum of monomials.

    Args:
        axes: elements along each axis.
        terms: the monomials, in canonical order, no two alike.
    """

    axes: tuple[int, ...]
    terms: tuple[Monomial, ...]

    @cached_property
    def key(self) -> str:
        """Equal for equal arrays in canonical form."""
        return f"{list(self.axes)}" + " + ".join(f"{t.coefficient}*{t.body}" for t in self.terms)

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.axes)

    @property
    def constant(self) -> Number | None:
        """The number that every element is; None if it is none."""
        if not self.terms:
            return Fraction(0)
        if len(self.terms) == 1 and not self.terms[0].factors:
            return self.terms[0].coefficient
        return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Poly) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)


def content(p: Poly) -> Number:
    """The number that all coefficients are integer multiples of, with the sign of the sum."""
    numbers = [term.coefficient for term in p.terms] or [Fraction(1)]
    if len(p.terms) == 2 and all(factor.atom.kind is AtomKind.SIZE for term in p.terms for factor in term.factors):
        numbers = numbers[::-1]  # n − 1: the number stands behind the size
    negative = sum(number < 0 for number in numbers)
    sign = -1 if 2 * negative > len(numbers) or (2 * negative == len(numbers) and numbers[0] < 0) else 1
    fractions = [number for number in numbers if isinstance(number, Fraction)]
    if len(fractions) < len(numbers):
        return Fraction(sign)
    over = math.gcd(*(number.numerator for number in fractions))
    under = math.lcm(*(number.denominator for number in fractions))
    return sign * Fraction(over, under)


def used_labels(*polys: Poly) -> tuple[int, ...]:
    """The axes along which anything changes."""
    rank = max((p.rank for p in polys), default=0)
    found = {label for p in polys for term in p.terms for factor in term.factors for label in factor.labels}
    return tuple(sorted(label for label in found if label < rank))


def narrowed(p: Poly, used: Sequence[int]) -> Poly:
    """The same elements, along some of the axes alone; nothing changes along the others."""
    if not p.axes:
        return p
    names = {label: place for place, label in enumerate(used)}
    summed = {x for term in p.terms for factor in term.factors for x in factor.labels if x >= p.rank}
    names |= {label: label - p.rank + len(used) for label in summed}
    terms = [Monomial(t.coefficient, tuple(f.relabelled(names) for f in t.factors)) for t in p.terms]
    return Poly(tuple(p.axes[label] for label in used), tuple(terms))


def placed(factors: Iterable[Factor], names: Mapping[int, int], free: Iterator[int]) -> list[Factor]:
    """Factors on other labels; a label without a name gets the next free one."""
    known = dict(names)
    for factor in factors:
        for label in factor.labels:
            if label not in known:
                known[label] = next(free)
    return [factor.relabelled(known) for factor in factors]


def label_sizes(axes: Sequence[int], factors: Iterable[Factor]) -> dict[int, int]:
    """Elements per label."""
    sizes = dict(enumerate(axes))
    for factor in factors:
        sizes.update(zip(factor.labels, factor.atom.axes, strict=True))
    return sizes


def components(factors: Sequence[Factor], rank: int) -> list[list[Factor]]:
    """Factors in groups that share summed labels; free labels do not connect."""
    through = {label for factor in factors for label in factor.labels if label >= rank}
    return [[factors[k] for k in group] for group in connected(factors, through)]


def canonical(coefficient: Number, factors: Sequence[Factor], rank: int) -> Monomial:
    """The monomial with its summed labels numbered and its factors ordered in the one canonical way.

    Labels are told apart by their neighbourhoods, refined until nothing changes; of labels that are alike each is
    taken first in turn (McKay and Piperno 2014), but of those that may be exchanged one.
    """
    factors = [factor.relabelled({}) for factor in factors]
    summed = sorted({label for factor in factors for label in factor.labels if label >= rank})
    best: tuple[Factor, ...] | None = None
    best_key: list[tuple[str, Fraction, tuple[int, ...]]] = []
    signs: set[int] = set()
    for names in _numberings(factors, summed, rank) if summed else ({},):
        found = [f.relabelled(names).ordered for f in factors]
        listed = tuple(sorted((f for f, _ in found), key=lambda f: f.sort_key))
        key = [f.sort_key for f in listed]
        if best is None or key < best_key:
            best, best_key, signs = listed, key, set()
        if key == best_key:
            signs.add(math.prod(sign for _, sign in found))
    assert best is not None
    if len(signs) > 1:  # it is its own negative
        return Monomial(Fraction(0), best)
    return Monomial(coefficient * signs.pop(), best)


def _numberings(factors: Sequence[Factor], summed: Sequence[int], rank: int) -> Iterator[dict[int, int]]:
    """Numbers for the summed labels: one way where neighbourhoods tell them apart, else all that are not equal."""
    places: dict[int, list[tuple[Factor, int]]] = {label: [] for label in summed}
    for factor in factors:
        for place, label in enumerate(factor.labels):
            if label in places:
                places[label].append((factor, place))
    waiting = [dict.fromkeys(summed, 0)]
    while waiting:
        colours = _refined(waiting.pop(), places, len(factors), rank)
        classes: dict[int, list[int]] = {}
        for label in summed:
            classes.setdefault(colours[label], []).append(label)
        alike = next((classes[colour] for colour in sorted(classes) if len(classes[colour]) > 1), None)
        if alike is None:
            yield {label: rank + k for k, colour in enumerate(sorted(classes)) for label in classes[colour]}
            continue
        for k, label in enumerate(alike):
            if not any(_are_exchangeable(factors, label, other) for other in alike[:k]):
                waiting.append({one: 2 * colour + (one != label) for one, colour in colours.items()})


def _refined(
    colours: Mapping[int, int], places: Mapping[int, Sequence[tuple[Factor, int]]], count: int, rank: int
) -> dict[int, int]:
    """Colours of labels that differ where their neighbourhoods do, in an order that does not depend on the labels."""
    free = {k: -1 - k for k in range(rank)}
    while True:
        spend(count / 100)
        known = {**colours, **free}
        signatures: dict[int, tuple[Any, ...]] = {}
        for label, around in places.items():
            seen = []
            for factor, place in around:
                others = [known[x] for k, x in enumerate(factor.labels) if k != place]
                is_turned = factor.atom.symmetric or factor.atom.name == EPSILON or factor.atom.trait == "skew"
                seen.append((factor.atom.key, str(factor.exponent), -1 if is_turned else place, tuple(others)))
            signatures[label] = (colours[label], tuple(sorted(seen)))
        order = {signature: k for k, signature in enumerate(sorted(set(signatures.values())))}
        refined = {label: order[signature] for label, signature in signatures.items()}
        if len(order) == len(set(colours.values())):
            return refined
        colours = refined


def _are_exchangeable(factors: Sequence[Factor], one: int, other: int) -> bool:
    """Whether a product stays what it is when two labels change places."""
    turned = Counter(f.relabelled({one: other, other: one}).sort_key for f in factors)
    return turned == Counter(f.sort_key for f in factors)


def collected(axes: Sequence[int], terms: Iterable[Monomial]) -> Poly:
    """The sum of monomials: like ones are added, those with coefficient zero vanish."""
    found: dict[str, Monomial] = {}
    for term in terms:
        if term.body in found:
            coefficient = found[term.body].coefficient + term.coefficient
            found[term.body] = Monomial(coefficient, term.factors)
        else:
            found[term.body] = term
    kept = [term for term in found.values() if not _is_zero(term.coefficient)]
    return Poly(tuple(axes), tuple(sorted(kept, key=lambda term: term.body)))


def _is_zero(value: Number) -> bool:
    return value == 0 or (isinstance(value, float) and abs(value) < 1e-14)


def rational(value: Number) -> Number:
    """The simple fraction that a float is nearest to, where one is equal to it up to rounding."""
    if isinstance(value, Fraction | int):
        return Fraction(value)
    if value != value or value in (float("inf"), float("-inf")):
        return value
    guess = Fraction(value).limit_denominator(100_000)
    return guess if abs(float(guess) - value) <= 4e-16 * abs(value) else value
