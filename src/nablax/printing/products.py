"""Products of matrices as values of a program, multiplied in the planner's order.

A chain is read as a labelled product: a matrix has two labels, a vector one, diag(v) is v on a label that its
neighbours share. The order of multiplication is that of `nablax.contraction.order`, every size taken as large.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod

from nablax.contraction.order import pairwise_order
from nablax.printing.builder import Builder
from nablax.printing.costs import WRITTEN, elements, length
from nablax.printing.expression import (
    Call,
    Expression,
    Factors,
    Identity,
    Inverse,
    Product,
    Scale,
    Sum,
    Transpose,
    factors_of,
    is_row,
    product_of,
    reversed_factors,
    shape_of,
)
from nablax.printing.program import Basis, Contraction, Elementwise, Pick, Routine

Labels = tuple[int, ...]
Labelled = tuple[Expression, Labels, bool]


@dataclass(frozen=True)
class Operand:
    """An array in a product.

    Args:
        place: of its value.
        labels: one per axis.
        inverse: the matrix of the value, where it stands for its inverse.
    """

    place: int
    labels: Labels
    inverse: Expression | None = None


@dataclass(frozen=True)
class Choices:
    """What can be done in two ways; which is cheaper depends on what else the program needs.

    Args:
        inverted: matrices of which the inverse is computed; of others, systems of equations are solved.
        otherwise: sums inside products, with the product and their place in it, for which the costs of that product
            alone are not followed: they are multiplied out although that costs more, or added although it does.
        together: chains of matrices that are multiplied first wherever they stand.
    """

    inverted: frozenset[Expression] = frozenset()
    otherwise: frozenset[tuple[Factors, int]] = frozenset()
    together: frozenset[Factors] = frozenset()

    def __xor__(self, other: Choices) -> Choices:
        """The choices in which one of the two differs from the default."""
        return Choices(self.inverted ^ other.inverted, self.otherwise ^ other.otherwise, self.together ^ other.together)


@dataclass
class Met:
    """What was met of which there is a choice.

    Args:
        inverses: per value of a matrix how it is written, and the values that its inverse was needed for.
        sums: sums inside products.
        chains: parts of products, a transpose as what it is the transpose of, and in how many products they stand.
    """

    inverses: dict[int, tuple[set[Expression], set[int]]] = field(default_factory=dict)
    sums: dict[tuple[Factors, int], None] = field(default_factory=dict)
    chains: dict[Factors, int] = field(default_factory=dict)

    def need(self, inverse: Expression, matrix: int, place: int) -> None:
        """The inverse of a matrix, for a value."""
        written, places = self.inverses.setdefault(matrix, (set(), set()))
        written.add(inverse)
        places.add(place)

    def enter(self, factors: Factors, *, trace: bool) -> None:
        """The chains of a product."""
        for chain, turned in _chains(factors, trace):
            key = turned if turned in self.chains else chain
            self.chains[key] = self.chains.get(key, 0) + 1

    def choices(self) -> Iterator[Choices]:
        """Where another way could be cheaper."""
        for written, places in self.inverses.values():
            if len(places) > 1:
                yield Choices(inverted=frozenset(written))
        yield from (Choices(otherwise=frozenset({one})) for one in self.sums)
        yield from (Choices(together=frozenset({chain})) for chain, times in self.chains.items() if times > 1)


class Products:
    """Writes products.

    Args:
        builder: collects the values.
        of: the place of a factor.
        choices: what is done in which way.
    """

    def __init__(self, builder: Builder, of: Callable[[Expression], int], choices: Choices) -> None:
        self._builder, self._of, self._choices = builder, of, choices
        self.met = Met()

    def inverse(self, matrix: Expression) -> int:
        """The inverse of a matrix."""
        inside = self._of(matrix)
        place = self._builder.add(Routine("inv", (inside,), self._builder.shape(inside)))
        self.met.need(matrix, inside, place)
        return place

    def product(self, factors: Sequence[Expression], *, trace: bool = False) -> int:
        """A product of matrices and vectors, or its trace.

        Args:
            factors: the factors.
            trace: whether the ends are summed.
        """
        factors = tuple(factors)
        for k, factor in enumerate(factors):
            if isinstance(factor, Sum) and all(shape_of(term) for term in factor.terms):
                self.met.sums[factors, k] = None
                apart = [_with_factor(factors, k, term) for term in factor.terms]
                is_cheaper = _cost(factors, trace) > sum(_cost(_factors_of(term), trace) for term in apart)
                if is_cheaper != ((factors, k) in self._choices.otherwise):
                    return self._of(Call("tr", (Sum(tuple(apart)),)) if trace else Sum(tuple(apart)))
        self.met.enter(factors, trace=trace)
        factors = self._with_chains(factors, trace=trace)
        shapes, output = _labelled(factors, trace)
        if all(is_diagonal for _, _, is_diagonal in shapes) and not trace:
            vectors = [self._of(factor) for factor, _, _ in shapes]
            weights = vectors[0] if len(vectors) == 1 else self._builder.elementwise("multiply", *vectors)
            return self._builder.add(Elementwise("diag", (weights,), ((0,),), self._builder.shape(weights) * 2))
        waiting = [self._operand(factor, labels) for factor, labels, _ in shapes]
        for step in _order(shapes, output):
            chosen = [waiting[k] for k in step]
            waiting = [one for k, one in enumerate(waiting) if k not in step]
            kept = {label for one in waiting for label in one.labels} | set(output)
            waiting.append(chosen[0] if len(chosen) == 1 else self._multiplied(chosen[0], chosen[1], kept))
        found = self._plain(waiting[0])
        return single(self._builder, (found.place, found.labels), output)

    def _with_chains(self, factors: Factors, *, trace: bool) -> Factors:
        """The factors with the chains that are multiplied first as one factor each."""
        for chain in sorted(self._choices.together, key=repr):  # a set has another order in every process
            turned = reversed_factors(chain)
            if is_row(chain[0]):  # a vector is a column
                chain, turned = turned, chain
            size, count = len(chain), len(factors)
            for start in range(count if trace else count - size + 1):
                rotated = factors[start:] + factors[:start] if trace else factors
                first = 0 if trace else start
                found = rotated[first : first + size]
                if size < count and found in (chain, turned):
                    whole: Expression = Product(chain) if found == chain else Transpose(Product(chain))
                    return self._with_chains((*rotated[:first], whole, *rotated[first + size :]), trace=trace)
        return factors

    def _operand(self, factor: Expression, labels: Labels) -> Operand:
        match factor:
            case Transpose(inside) if len(labels) == 2:
                return self._operand(inside, labels[::-1])
            case Inverse(inside) if inside not in self._choices.inverted:
                return Operand(self._of(inside), labels, inside)
            case _:
                return Operand(self._of(factor), labels)

    def _plain(self, operand: Operand) -> Operand:
        if operand.inverse is None:
            return operand
        return Operand(self.inverse(operand.inverse), operand.labels)

    def _multiplied(self, a: Operand, b: Operand, kept: set[int]) -> Operand:
        """Two operands multiplied, summed over labels that nothing else needs."""
        summed = set(a.labels) & set(b.labels) - kept
        for one, other in ((a, b), (b, a)):
            if one.inverse is not None and len(summed) == 1 and other.inverse is None:
                return self._solved(one, other, next(iter(summed)))
        a, b = self._plain(a), self._plain(b)
        return Operand(*pair(self._builder, (a.place, a.labels), (b.place, b.labels), kept))

    def _solved(self, inverse: Operand, other: Operand, label: int) -> Operand:
        """A⁻¹ b without the inverse."""
        build = self._builder
        [row] = [x for x in inverse.labels if x != label]
        matrix = inverse.place if inverse.labels[0] == row else build.transposed(inverse.place)
        right = other.place if other.labels[0] == label else build.transposed(other.place)
        rest = tuple(x for x in other.labels if x != label)
        shape = (build.shape(matrix)[0], *build.shape(right)[1:])
        place = build.add(Routine("solve", (matrix, right), shape))
        assert inverse.inverse is not None
        self.met.need(inverse.inverse, inverse.place, place)
        return Operand(place, (row, *rest))


# -- labelled products ---------------------------------------------------------------------------------


def multiplied(builder: Builder, factors: Sequence[tuple[int, Labels]], output: Labels) -> int:
    """A labelled product of any number of arrays, pair by pair in the planner's order."""
    waiting = list(factors)
    sizes = {
        label: length(size)
        for place, labels in waiting
        for label, size in zip(labels, builder.shape(place), strict=True)
    }
    for step in pairwise_order([tuple(dict.fromkeys(labels)) for _, labels in waiting], output, sizes):
        chosen = [waiting[k] for k in step]
        waiting = [one for k, one in enumerate(waiting) if k not in step]
        kept = {label for _, labels in waiting for label in labels} | set(output)
        waiting.append(chosen[0] if len(chosen) == 1 else pair(builder, chosen[0], chosen[1], kept))
    return single(builder, waiting[0], output)


def single(builder: Builder, operand: tuple[int, Labels], output: Labels) -> int:
    """One array with its labels in the order of the output, others summed."""
    place, labels = operand
    number = {label: k for k, label in enumerate(output)}
    for label in labels:
        number.setdefault(label, len(number))
    shape = _shape(builder, [operand], output)
    axes = tuple(number[label] for label in labels)
    if set(labels) <= set(output):
        return builder.moved(place, axes, shape)
    return builder.add(Contraction((place,), (axes,), shape))


def pair(builder: Builder, a: tuple[int, Labels], b: tuple[int, Labels], kept: Iterable[int]) -> tuple[int, Labels]:
    """Two labelled arrays multiplied, summed over labels that nothing else needs."""
    output = tuple(sorted({*a[1], *b[1]} & set(kept)))
    number = {label: k for k, label in enumerate(output)}
    for label in (*a[1], *b[1]):
        number.setdefault(label, len(number))
    shape = _shape(builder, [a, b], output)
    operands = (a[0], b[0])
    axes = (tuple(number[x] for x in a[1]), tuple(number[x] for x in b[1]))
    for (unit, labels), (other, others) in ((a, b), (b, a)):
        value = builder.values[unit]
        if isinstance(value, Basis) and others.count(labels[0]) == 1 and labels[0] not in output:
            axis = others.index(labels[0])
            rest = others[:axis] + others[axis + 1 :]
            one = tuple(size for k, size in enumerate(builder.shape(other)) if k != axis)
            picked = builder.add(Pick(other, axis, value.place, one))
            return single(builder, (picked, rest), output), output
    if len(number) > len(output):
        return builder.contraction(operands, axes, shape), output
    if any(len(set(one)) < len(one) for one in axes):  # the diagonal of an operand
        places = []
        for place, labels in (a, b):
            own = tuple(dict.fromkeys(labels))
            places.append((single(builder, (place, labels), own), own))
        return pair(builder, places[0], places[1], kept)
    return builder.add(Elementwise("multiply", operands, axes, shape)), output


def _shape(builder: Builder, operands: Sequence[tuple[int, Labels]], output: Labels) -> tuple[str, ...]:
    sizes = {
        label: size for place, labels in operands for label, size in zip(labels, builder.shape(place), strict=True)
    }
    return tuple(sizes[label] for label in output)


# -- chains of expressions -----------------------------------------------------------------------------


def _factors_of(term: Expression) -> Factors:
    """The factors of a product, or of one that is scaled."""
    return _factors_of(term.body) if isinstance(term, Scale) and term.body is not None else factors_of(term)


def _with_factor(factors: Sequence[Expression], place: int, term: Expression) -> Expression:
    """The product with one term in place of a sum."""
    if isinstance(term, Scale) and term.body is not None:
        return Scale(term.coefficient, term.scalars, term.divisors, _with_factor(factors, place, term.body))
    inside = () if isinstance(term, Identity) and len(factors) > 1 else _factors_of(term)
    whole = (*factors[:place], *inside, *factors[place + 1 :])
    return product_of(whole)


def _labelled(factors: Sequence[Expression], trace: bool) -> tuple[list[Labelled], tuple[int, ...]]:
    """Factors with their labels, whether each is a diagonal, and the labels of the result."""
    found: list[Labelled] = []
    here = 0
    output: list[int] = []
    for k, factor in enumerate(factors):
        is_first, is_last = k == 0, k + 1 == len(factors)
        match factor:
            case Identity() if len(factors) > 1:
                pass
            case Call("diag", (vector,)):
                found.append((vector, (here,), True))
            case _ if is_row(factor):
                here += 1
                found.append((factor, (here,), False))
            case _ if len(shape_of(factor)) == 1:
                found.append((factor, (here,), False))
            case _:
                found.append((factor, (here, here + 1), False))
                here += 1
        if is_first and not is_row(factor):
            output.append(0)
        if is_last and (is_row(factor) or len(shape_of(factor)) == 2):
            output.append(here)
    if trace:
        found = [(factor, tuple(0 if x == here else x for x in labels), flag) for factor, labels, flag in found]
        output = []
    return found, tuple(output)


def _sizes(shapes: Sequence[Labelled]) -> dict[int, int]:
    sizes: dict[int, int] = {}
    for factor, labels, _ in shapes:
        for label, size in zip(labels, shape_of(factor)[-len(labels) :], strict=True):
            sizes[label] = length(size)
    return sizes


def _order(shapes: Sequence[Labelled], output: tuple[int, ...]) -> list[tuple[int, ...]]:
    return pairwise_order([labels for _, labels, _ in shapes], output, _sizes(shapes))


@lru_cache(maxsize=4096)
def _cost(factors: Factors, trace: bool) -> float:
    """The cost of a product in the planner's order, that of sums inside it included."""
    shapes, output = _labelled(factors, trace)
    sizes = _sizes(shapes)
    total = 0.0
    for factor in factors:
        if isinstance(factor, Sum):
            total += WRITTEN * elements(shape_of(factor)) * (len(factor.terms) - 1)
            total += sum(_cost(_factors_of(term), False) for term in factor.terms if shape_of(term))
    waiting = [set(labels) for _, labels, _ in shapes]
    for step in _order(shapes, output):
        chosen = set().union(*(waiting[k] for k in step))
        waiting = [one for k, one in enumerate(waiting) if k not in step]
        kept = chosen & set(output).union(*waiting)
        if len(step) > 1:
            total += prod(sizes[label] for label in chosen) + WRITTEN * prod(sizes[label] for label in kept)
        waiting.append(kept)
    return total


@lru_cache(maxsize=4096)
def _chains(factors: Factors, trace: bool) -> tuple[tuple[Factors, Factors], ...]:
    """Parts of a product of two and more factors, the product itself too; of a trace, also across its ends.

    A part is a matrix or a vector: at its end may stand a vector, or at its beginning a row. With each the factors of
    its transpose.
    """
    ranks = [0 if isinstance(one, Identity) else -1 if is_row(one) else len(shape_of(one)) for one in factors]
    count = len(factors)
    found: dict[Factors, Factors] = {}
    for start in range(count):
        for size in range(2, count if trace else count - start + 1):
            places = [k % count for k in range(start, start + size)]
            own = [ranks[k] for k in places]
            if own[0] not in (2, -1) or any(rank != 2 for rank in own[1:-1]) or own[-1] not in (2, 1):
                break
            if (own[0], own[-1]) != (-1, 1):
                chain = tuple(factors[k] for k in places)
                found[chain] = reversed_factors(chain)
            if own[-1] == 1:
                break
    return tuple(found.items())
