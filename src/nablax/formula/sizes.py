"""Sizes as symbols, shapes made of them, and the solver that makes sizes equal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nablax.errors import FormulaError


@dataclass(frozen=True, slots=True)
class Size:
    """The length of an axis: a positive integer times symbols, such as ``3``, ``n`` or ``m*p`` (of a
    Kronecker product), or so many more or less, ``n-1`` (of a range of places).

    Args:
        coefficient: the integer factor (elements).
        symbols: the symbolic factors, sorted.
        offset: what is added; zero where there are no symbols.
    """

    coefficient: int = 1
    symbols: tuple[str, ...] = ()
    offset: int = 0

    def __str__(self) -> str:
        factors = [str(self.coefficient)] if self.coefficient != 1 or not self.symbols else []
        return "*".join([*factors, *self.symbols]) + (f"{self.offset:+d}" if self.offset else "")

    def __mul__(self, other: Size) -> Size:
        for one, size in ((self, other), (other, self)):
            if one.offset and size != Size():
                raise FormulaError(f"a size that is {one} times {size} has no name here")
            if one.offset:
                return one
        return Size(self.coefficient * other.coefficient, tuple(sorted(self.symbols + other.symbols)))

    def plus(self, offset: int) -> Size:
        """So many more."""
        if not self.symbols:
            return Size(self.coefficient + offset)
        return Size(self.coefficient, self.symbols, self.offset + offset)

    @property
    def is_symbol(self) -> bool:
        """Whether the size is one symbol and nothing else."""
        return self.coefficient == 1 and len(self.symbols) == 1 and not self.offset

    def value(self, sizes: Mapping[str, int]) -> int:
        """The number of elements, given a number for each symbol."""
        return self.coefficient * math.prod(sizes[symbol] for symbol in self.symbols) + self.offset


def symbol(name: str) -> Size:
    """The size that is this symbol."""
    return Size(1, (name,))


@dataclass(frozen=True, slots=True)
class Shape:
    """Axes of a value: none for a scalar, one for a vector or a row vector, two for a matrix.

    A row vector is a type of the language only: as an array it has one axis, like a vector. A vector of
    size 1 is not a scalar.

    Args:
        axes: sizes (elements).
        is_row: whether one axis lies as a row.

    Example:
        >>> str(Shape((symbol("m"), Size(3))))
        'matrix (m, 3)'
    """

    axes: tuple[Size, ...] = ()
    is_row: bool = False

    def __str__(self) -> str:
        word = ("scalar", "row vector" if self.is_row else "vector", "matrix")[self.rank]
        return word if self.is_scalar else f"{word} ({', '.join(map(str, self.axes))})"

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.axes)

    @property
    def is_scalar(self) -> bool:
        """Whether there are no axes."""
        return not self.axes

    @property
    def is_vector(self) -> bool:
        """Whether this is a (column) vector."""
        return self.rank == 1 and not self.is_row

    @property
    def is_matrix(self) -> bool:
        """Whether there are two axes."""
        return self.rank == 2

    @property
    def symbols(self) -> tuple[str, ...]:
        """Every size symbol, in order of appearance."""
        return tuple(dict.fromkeys(name for size in self.axes for name in size.symbols))

    def concrete(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape as an array has it, given a number for each symbol."""
        return tuple(size.value(sizes) for size in self.axes)


SCALAR = Shape()
NAMES_OF_SIZES = ("m", "n", "p", "q", "k", "l", "r", "s", "u", "v")


class SizeSolver:
    """Makes sizes equal by binding symbols; symbols whose names begin with ``?`` were not named by the user.

    Args:
        taken: names that fresh sizes must not be shown under (variables and declared sizes).
        declared: size symbols that the user named, in order.
    """

    def __init__(self, taken: Iterable[str], declared: Iterable[str]) -> None:
        self._taken = frozenset(taken)
        self._declared = {name: place for place, name in enumerate(declared)}
        self._bindings: dict[str, Size] = {}
        self._fresh: list[str] = []

    def fresh(self) -> Size:
        """A new symbol that nothing is known about."""
        self._fresh.append(f"?{len(self._fresh)}")
        return symbol(self._fresh[-1])

    def resolve(self, size: Size) -> Size:
        """The size with every bound symbol replaced by what it is bound to."""
        result = Size(size.coefficient)
        for name in size.symbols:
            bound = self._bindings.get(name)
            result = result * (symbol(name) if bound is None else self.resolve(bound))
        return result.plus(size.offset) if size.offset else result

    def unify(self, left: Size, right: Size) -> bool:
        """Makes two sizes equal where a binding of symbols can; tells whether they are equal now.

        Common symbols cancel (sizes are taken to be positive there), so ``m*p = m*q`` binds p and q.
        """
        first, second = self.resolve(left), self.resolve(right)
        if first == second:
            return True
        if first.offset or second.offset:
            return self._unify_offsets(first, second)
        first, second = _cancelled(first, second)
        for one, other in ((first, second), (second, first)):
            if self._can_bind(one, other):
                quotient = Size(other.coefficient // one.coefficient, other.symbols)
                if quotient.is_symbol and self._rank(one.symbols[0]) < self._rank(quotient.symbols[0]):
                    one, quotient = quotient, one
                self._bindings[one.symbols[0]] = quotient
                return True
        return False

    def _unify_offsets(self, first: Size, second: Size) -> bool:
        """Where n − 1 = m, binds m, or n to m + 1: the symbol that was made last."""
        if first.offset == second.offset:
            return self.unify(first.plus(-first.offset), second.plus(-second.offset))
        pairs = [(one, other) for one, other in ((first, second), (second, first)) if one.plus(-one.offset).is_symbol]
        for one, other in sorted(pairs, key=lambda pair: -self._rank(pair[0].symbols[0])):
            if one.symbols[0] not in other.symbols and (other.symbols or other.coefficient > one.offset):
                self._bindings[one.symbols[0]] = other.plus(-one.offset)
                return True
        return False

    def unify_factors(self, left: Size, right: Size) -> bool:
        """Makes two products of symbols equal factor by factor: more than has to be, but what is meant by the
        trace of a Kronecker product.
        """
        first, second = self.resolve(left), self.resolve(right)
        if first.coefficient != second.coefficient or len(first.symbols) != len(second.symbols):
            return False
        pairs = zip(first.symbols, second.symbols, strict=True)
        return all(self.unify(symbol(one), symbol(other)) for one, other in pairs)

    def unify_axes(self, left: Shape, right: Shape) -> bool:
        """Makes two shapes equal axis by axis; False, and nothing bound, where they cannot be."""
        if left.rank != right.rank or left.is_row != right.is_row:
            return False
        before = dict(self._bindings)
        if all(self.unify(one, other) for one, other in zip(left.axes, right.axes, strict=True)):
            return True
        self._bindings = before
        return False

    @staticmethod
    def _can_bind(one: Size, other: Size) -> bool:
        if len(one.symbols) != 1 or one.symbols[0] in other.symbols or not one.coefficient:
            return False
        return other.coefficient % one.coefficient == 0

    def _rank(self, name: str) -> int:
        """Named symbols stay, in the order they were declared; fresh ones give way, later ones first."""
        return self._declared[name] if name in self._declared else len(self._declared) + int(name[1:])

    def names(self) -> dict[str, str]:
        """A letter for every fresh symbol that is still free, in order of creation: n alone, or m, n, p, …"""
        free = [name for name in self._fresh if name not in self._bindings]
        used = self._taken | self._declared.keys()
        pool = [name for name in NAMES_OF_SIZES if name not in used]
        if len(free) == 1 and "n" in pool:
            pool = ["n"]
        pool += [f"n{k}" for k in range(1, len(free) + 1) if f"n{k}" not in used]
        extra = (f"size{k}" for k in range(len(free)))
        pool += list(extra)
        return dict(zip(free, pool, strict=False))

    def equalities(self) -> tuple[tuple[str, str], ...]:
        """Sizes that the user named and that turned out equal to something else, with what it is."""
        names = self.names()
        return tuple(
            (name, str(_renamed(self._bindings[name], self, names)))
            for name in self._declared
            if name in self._bindings
        )

    def show(self, shape: Shape, names: Mapping[str, str] | None = None) -> Shape:
        """The shape with everything resolved and free symbols under the letters of `names` (by default
        `names()`).
        """
        letters = self.names() if names is None else names
        return Shape(tuple(_renamed(size, self, letters) for size in shape.axes), shape.is_row)


def _renamed(size: Size, solver: SizeSolver, names: Mapping[str, str]) -> Size:
    resolved = solver.resolve(size)
    symbols = tuple(sorted(names.get(name, name) for name in resolved.symbols))
    return Size(resolved.coefficient, symbols, resolved.offset)


def _cancelled(first: Size, second: Size) -> tuple[Size, Size]:
    left, right = list(first.symbols), list(second.symbols)
    for name in first.symbols:
        if name in right and len(left) + len(right) > 2:
            left.remove(name)
            right.remove(name)
    divisor = math.gcd(first.coefficient, second.coefficient) or 1
    return Size(first.coefficient // divisor, tuple(left)), Size(second.coefficient // divisor, tuple(right))
