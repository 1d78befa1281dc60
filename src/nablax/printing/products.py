"""Products of matrices as Python source, multiplied in the planner's order.

A chain is read as a labelled product: a matrix has two labels, a vector one, diag(v) is v on a label that its
neighbours share. The order of multiplication is that of `nablax.contraction.order`, every size taken as large.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from nablax.contraction.order import pairwise_order
from nablax.printing.expression import (
    Call,
    Expression,
    Identity,
    Inverse,
    Product,
    Scale,
    Sum,
    Transpose,
    is_row,
    shape_of,
    transposed,
)

LARGE = 1000  # elements along an axis whose length is a letter
Source = Callable[[Expression], str]
Labelled = tuple[Expression, tuple[int, ...], bool]


@dataclass(frozen=True)
class Operand:
    """An array in a product.

    Args:
        source: its Python source.
        labels: one per axis.
        inverse: whether the source is of a matrix that stands for its inverse.
        is_chain: whether the source is a product that needs no brackets on the left of another.
    """

    source: str
    labels: tuple[int, ...]
    inverse: bool = False
    is_chain: bool = False

    @property
    def factor(self) -> str:
        """The source as a right factor."""
        return bracketed(self.source)

    def turned(self, first: int) -> str:
        """The source as a matrix whose first axis has a label."""
        return self.factor if self.labels[0] == first else f"{self.factor}.T"


def bracketed(source: str) -> str:
    """A source in brackets, unless it is one name, number or call."""
    if re.fullmatch(r"[\w.]+(\.T)?", source):
        return source
    call = re.match(r"[\w.]*[(\[]", source)
    return source if call and _closes(source[call.end() - 1 :]) else f"({source})"


def _closes(source: str) -> bool:
    """Whether the first bracket closes at the end, up to a transposition or a choice of entries."""
    depth = 0
    for k, letter in enumerate(source):
        depth += (letter in "([") - (letter in ")]")
        if depth == 0:
            return re.fullmatch(r"(\.T|\[[^\]]*\])*", source[k + 1 :]) is not None
    return False


def product(factors: Sequence[Expression], of: Source, np: str, *, trace: bool = False) -> str:
    """A product of matrices and vectors, or its trace.

    Args:
        factors: the factors.
        of: source of a factor.
        np: name of the library.
        trace: whether the ends are summed.
    """
    for k, factor in enumerate(factors):
        if isinstance(factor, Sum) and all(shape_of(term) for term in factor.terms):
            apart = [_with_factor(factors, k, term) for term in factor.terms]
            if _flops(factors, trace) > sum(_flops(_factors_of(term), trace) for term in apart):
                return of(Call("tr", (Sum(tuple(apart)),)) if trace else Sum(tuple(apart)))
    shapes, output = _labelled(factors, trace)
    if all(is_diagonal for _, _, is_diagonal in shapes):
        return f"{np}.diag({' * '.join(of(factor) for factor, _, _ in shapes)})"
    waiting = [_operand(factor, labels, of) for factor, labels, _ in shapes]
    for step in _order(shapes, output):
        chosen = [waiting[k] for k in step]
        waiting = [one for k, one in enumerate(waiting) if k not in step]
        kept = {label for one in waiting for label in one.labels} | set(output)
        waiting.append(chosen[0] if len(chosen) == 1 else _multiplied(chosen[0], chosen[1], kept, np))
    [found] = waiting
    source = f"{np}.linalg.inv({found.source})" if found.inverse else found.source
    return f"{bracketed(source)}.T" if len(output) == 2 and found.labels != output else source


def _factors_of(term: Expression) -> Sequence[Expression]:
    match term:
        case Product(factors):
            return factors
        case Scale(body=body) if body is not None:
            return _factors_of(body)
        case _:
            return (term,)


def _with_factor(factors: Sequence[Expression], place: int, term: Expression) -> Expression:
    """The product with one term in place of a sum."""
    if isinstance(term, Scale) and term.body is not None:
        return Scale(term.coefficient, term.scalars, term.divisors, _with_factor(factors, place, term.body))
    inside = () if isinstance(term, Identity) and len(factors) > 1 else _factors_of(term)
    whole = (*factors[:place], *inside, *factors[place + 1 :])
    return whole[0] if len(whole) == 1 else Product(whole)


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
                found.append((transposed(factor), (here,), False))
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
        for label, size in zip(labels, shape_of(factor), strict=True):
            sizes[label] = int(size) if size.isdigit() else LARGE
    return sizes


def _order(shapes: Sequence[Labelled], output: tuple[int, ...]) -> list[tuple[int, ...]]:
    return pairwise_order([labels for _, labels, _ in shapes], output, _sizes(shapes))


def _flops(factors: Sequence[Expression], trace: bool) -> float:
    """Operations of a product in the planner's order, that of sums inside it as matrices included."""
    shapes, output = _labelled(factors, trace)
    sizes = _sizes(shapes)
    inside = [one for factor in factors if isinstance(factor, Sum) for one in factor.terms if shape_of(one)]
    total = float(sum(_flops(_factors_of(term), False) for term in inside))
    waiting = [set(labels) for _, labels, _ in shapes]
    for step in _order(shapes, output):
        chosen = set().union(*(waiting[k] for k in step))
        waiting = [one for k, one in enumerate(waiting) if k not in step]
        total += prod(sizes[label] for label in chosen) if len(step) > 1 else 0.0
        waiting.append(chosen & set(output).union(*waiting))
    return total


def _operand(factor: Expression, labels: tuple[int, ...], of: Source) -> Operand:
    match factor:
        case Transpose(inside) if len(labels) == 2:
            one = _operand(inside, labels[::-1], of)
            return Operand(one.source, one.labels, one.inverse)
        case Inverse(inside) if not of(factor).isidentifier():  # one that is used twice has a name
            return Operand(of(inside), labels, inverse=True)
        case _:
            return Operand(of(factor), labels)


def _multiplied(a: Operand, b: Operand, kept: set[int], np: str) -> Operand:
    """Two operands multiplied, summed over labels that nothing else needs."""
    shared = set(a.labels) & set(b.labels)
    summed = shared - kept
    for one, other in ((a, b), (b, a)):
        if one.inverse and len(summed) == 1 and not other.inverse:
            return _solved(one, other, next(iter(summed)), np)
    a, b = (Operand(f"{np}.linalg.inv({x.source})", x.labels) if x.inverse else x for x in (a, b))
    if not a.labels or not b.labels:
        return Operand(f"{a.factor} * {b.factor}", a.labels or b.labels)
    if not shared:
        a, b = sorted((a, b), key=lambda one: one.labels)
        return Operand(f"{np}.outer({a.source}, {b.source})", (*a.labels, *b.labels))
    if len(a.labels) < len(b.labels):
        a, b = b, a
    if len(a.labels) == len(b.labels) == 2 and len(shared) == 2:
        entries = f"{a.factor} * {b.turned(a.labels[0])}"
        return Operand(f"{np}.sum({entries})", ()) if summed else Operand(entries, a.labels)
    [label] = shared
    if not summed:
        source = f"{a.factor} * {b.factor}"
        if len(a.labels) == 2 and label == a.labels[0]:
            source = f"{b.factor}[:, None] * {a.factor}"
        return Operand(source, a.labels)
    rows, columns = ([x for x in one.labels if x != label] for one in (a, b))
    if len(a.labels) == 1:
        return Operand(f"{a.factor} @ {b.factor}", ())
    if columns and rows[0] > columns[0]:
        a, b, rows, columns = b, a, columns, rows
    left = a.source if a.is_chain and a.labels[1] == label else a.turned(rows[0])
    right = b.turned(label)
    return Operand(f"{left} @ {right}", (*rows, *columns), is_chain=True)


def _solved(inverse: Operand, other: Operand, label: int, np: str) -> Operand:
    """A⁻¹ b without the inverse."""
    [row] = [x for x in inverse.labels if x != label]
    matrix = inverse.source if inverse.labels[0] == row else f"{inverse.factor}.T"
    right = other.source if other.labels[0] == label else f"{other.factor}.T"
    rest = tuple(x for x in other.labels if x != label)
    return Operand(f"{np}.linalg.solve({matrix}, {right})", (row, *rest))
