"""Collecting the values of a program, each once: equal ones up to order, sign, scale and transposition are one line.

A sign is written behind what it can be moved behind: of −u only the product with A that u has is made, so that x − m
and m − x, S⁻¹(x − m) and S⁻¹(m − x) are one value and its negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from nablax.errors import DerivationError
from nablax.printing.expression import Shape
from nablax.printing.program import (
    Axes,
    Contraction,
    Elementwise,
    Eye,
    Routine,
    Scalar,
    Value,
)

COMMUTATIVE = frozenset({"add", "multiply", "max", "min"})
# f(−u) = −f(u) in every operand, and f(−u) = f(u).
ODD = frozenset({"multiply", "divide", "copy", "diag", "tril", "triu", "sign", "erf"})
ODD |= {"sin", "tan", "arcsin", "arctan", "sinh", "tanh", "arsinh", "artanh"}
EVEN = frozenset({"cos", "cosh", "abs", "square"})


class Builder:
    """Collects the values of a program."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self._places: dict[object, int] = {}
        self._symmetric: set[int] = set()

    def add(self, value: Value) -> int:
        """The place of a value, an old one where it is there, be it as a negative, a multiple or a transpose."""
        value = self._straightened(value) if isinstance(value, Contraction) else value
        place = self._places.get(_key(value))
        if place is None:
            place = self._otherwise(value)
        return self._own(value) if place is None else place

    def symmetric(self, place: int) -> int:
        """A matrix that is known to be its own transpose."""
        self._symmetric.add(place)
        return place

    def contraction(self, operands: Sequence[int], axes: Sequence[Axes], shape: Shape) -> int:
        """A product of one or two arrays."""
        return self.add(Contraction(tuple(operands), tuple(axes), shape))

    def shape(self, place: int) -> Shape:
        """The shape of a value."""
        return self.values[place].shape

    def scalar(self, value: Fraction | float | str) -> int:
        """A number."""
        return self.add(Scalar(value))

    def elementwise(self, function: str, *operands: int) -> int:
        """A function of elements of arrays of one shape, and of scalars.

        Raises:
            DerivationError: two arrays have different ranks.
        """
        shapes = [self.shape(place) for place in operands]
        shape = max(shapes, key=len)
        if any(one and len(one) != len(shape) for one in shapes):
            raise DerivationError(f"{function} of arrays of {' and '.join(map(str, map(len, shapes)))} axes")
        axes = tuple(tuple(range(len(one))) for one in shapes)
        return self.add(Elementwise(function, operands, axes, shape))

    def moved(self, operand: int, axes: Axes, shape: Shape) -> int:
        """An array with its axes elsewhere."""
        if axes == tuple(range(len(shape))) or (axes == (1, 0) and operand in self._symmetric):
            return operand
        return self.add(Elementwise("copy", (operand,), (axes,), shape))

    def transposed(self, operand: int) -> int:
        """A matrix with its axes exchanged."""
        return self.moved(operand, (1, 0), self.shape(operand)[::-1])

    def total(self, operand: int, kept: int = 0) -> int:
        """The sum of the elements, over all axes but the first ones."""
        shape = self.shape(operand)
        axes = tuple(range(len(shape)))
        value = self.values[operand]
        if isinstance(value, Elementwise) and shape and not kept:  # of a product: an inner product
            match value.function, value.operands:
                case "multiply", (one, other) if value.axes == (axes, axes):
                    return self.contraction((one, other), (axes, axes), ())
                case "power", (base, exponent) if self.values[exponent] == Scalar(Fraction(2)):
                    return self.contraction((base, base), (axes, axes), ())
        return self.contraction((operand,), (axes,), shape[:kept]) if shape[kept:] else operand

    def _straightened(self, value: Contraction) -> Contraction:
        """A product with matrices as they are in place of their transposes: labels say the same."""
        operands, axes = list(value.operands), list(value.axes)
        for k, place in enumerate(operands):
            inside = self.values[place]
            if isinstance(inside, Elementwise) and inside.function == "copy" and inside.axes == ((1, 0),):
                operands[k], axes[k] = inside.operands[0], axes[k][::-1]
        return Contraction(tuple(operands), tuple(axes), value.shape)

    # -- the same value in another form --------------------------------------------------------------

    def _own(self, value: Value) -> int:
        """A place of its own for a value that is not there."""
        place = self._places[_key(value)] = len(self.values)
        self.values.append(value)
        turned = self._with_axes_exchanged(value) if len(value.shape) == 2 else None
        if isinstance(value, Eye) or (turned is not None and _key(turned) == _key(value)):
            self._symmetric.add(place)
        return place

    def _otherwise(self, value: Value) -> int | None:
        """The place of a value that is another one negated, scaled or transposed."""
        match value:
            case Elementwise("negate", (operand,)):
                return self._inside("negate", operand)
            case Elementwise("add"):
                found = self._negated_sum(value)
            case Elementwise() | Contraction() | Routine("solve" | "inv" | "kron"):
                found = self._without_signs(value)
            case _:
                return None
        if found is None and isinstance(value, Contraction):
            found = self._without_scale(value)
        return self._transpose_there(value) if found is None else found

    def _inside(self, function: str, place: int) -> int | None:
        """U of −u."""
        value = self.values[place]
        return value.operands[0] if isinstance(value, Elementwise) and value.function == function else None

    def _negative(self, place: int) -> int | None:
        """The place of −u where it is there."""
        inside = self._inside("negate", place)
        if inside is not None:
            return inside
        shape = self.shape(place)
        return self._places.get(_key(Elementwise("negate", (place,), (tuple(range(len(shape))),), shape)))

    def _negated_sum(self, value: Elementwise) -> int | None:
        turned = [self._negative(place) for place in value.operands]
        if not all(place is not None for place in turned):
            return None
        other = replace(value, operands=tuple(place for place in turned if place is not None))
        place = self._places.get(_key(other))
        return None if place is None else self.elementwise("negate", place)

    def _without_signs(self, value: Elementwise | Contraction | Routine) -> int | None:
        """Signs of the operands behind the value, where that makes nothing larger or the value is there."""
        is_even = False
        if isinstance(value, Elementwise):
            is_even = value.function in EVEN or (value.function == "power" and self._is_even(value.operands[1]))
            if not is_even and value.function not in ODD:
                return None
        first = value.operands[:1] if is_even and isinstance(value, Elementwise) else value.operands
        insides = [self._inside("negate", place) for place in first]
        if not any(inside is not None for inside in insides):
            return None
        stripped = [place if inside is None else inside for place, inside in zip(first, insides, strict=True)]
        other = replace(value, operands=(*stripped, *value.operands[len(first) :]))
        signs = sum(inside is not None for inside in insides)
        if is_even or signs % 2 == 0:
            return self.add(other)
        grows = all(
            inside is None or len(self.shape(inside)) < len(value.shape) or isinstance(self.values[inside], Scalar)
            for inside in insides
        )
        if grows and _key(other) not in self._places:
            return None
        return self.elementwise("negate", self.add(other))

    def _is_even(self, exponent: int) -> bool:
        value = self.values[exponent]
        return isinstance(value, Scalar) and isinstance(value.value, Fraction) and value.value.numerator % 2 == 0

    def _without_scale(self, value: Contraction) -> int | None:
        """c(Au) for A(cu) where Au is there."""
        operands, scales = list(value.operands), []
        for k, place in enumerate(operands):
            inside = self.values[place]
            if isinstance(inside, Elementwise) and inside.function == "multiply" and inside.shape:
                arrays = [one for one, axes in zip(inside.operands, inside.axes, strict=True) if axes]
                if len(arrays) == 1 and self.shape(arrays[0]) == inside.shape:
                    operands[k] = arrays[0]
                    scales += [one for one, axes in zip(inside.operands, inside.axes, strict=True) if not axes]
        plain = replace(value, operands=tuple(operands))
        if not scales or _key(plain) not in self._places:
            return None
        return self.elementwise("multiply", *scales, self.add(plain))

    def _transpose_there(self, value: Value) -> int | None:
        """The transpose of what is there."""
        if len(value.shape) != 2:
            return None
        turned = self._with_axes_exchanged(value)
        place = None if turned is None else self._places.get(_key(turned))
        if place is None:
            return None
        return self.transposed(place)

    def _with_axes_exchanged(self, value: Value) -> Value | None:
        """The transpose of a matrix, made of the transposes of what it is made of."""
        exchanged = {0: 1, 1: 0}
        match value:
            case Contraction(operands, axes, shape):
                turned = tuple(tuple(exchanged.get(label, label) for label in one) for one in axes)
                return Contraction(operands, turned, shape[::-1])
            case Routine("inv", (matrix,), shape) if (other := self._transpose_of(matrix)) is not None:
                return Routine("inv", (other,), shape[::-1])
            case Elementwise(function, operands, axes, shape) if function != "copy" and len(shape) == 2:
                found = []
                for place, own in zip(operands, axes, strict=True):
                    other = self._transpose_of(place) if own == (0, 1) else place
                    if other is None or own == (1, 0):
                        return None
                    found.append(other)
                turned = tuple(own if len(own) == 2 else tuple(exchanged[k] for k in own) for own in axes)
                name = {"tril": "triu", "triu": "tril"}.get(function, function)
                return Elementwise(name, tuple(found), turned, shape[::-1])
            case _:
                return None

    def _transpose_of(self, place: int) -> int | None:
        """The place of the transpose of a matrix where that is there."""
        value = self.values[place]
        if place in self._symmetric:
            return place
        if isinstance(value, Elementwise) and value.function == "copy" and value.axes == ((1, 0),):
            return value.operands[0]
        shape = value.shape[::-1]
        return self._places.get(_key(Elementwise("copy", (place,), ((1, 0),), shape)))


def _key(value: Value) -> object:
    """The same for values that differ in the order of what may be exchanged."""
    if isinstance(value, Elementwise) and value.function in COMMUTATIVE:
        return (value.function, tuple(sorted(zip(value.operands, value.axes, strict=True))), value.shape)
    if isinstance(value, Contraction) and len(value.operands) == 2:
        return min(_canonical(value), _canonical(value, turned=True))
    return value


def _canonical(value: Contraction, *, turned: bool = False) -> tuple[object, ...]:
    """The same for contractions that differ in the order of operands and the numbers of summed labels."""
    pairs = list(zip(value.operands, value.axes, strict=True))
    rank = len(value.shape)
    number: dict[int, int] = {}
    found = []
    for operand, axes in reversed(pairs) if turned else pairs:
        labels = [label if label < rank else rank + number.setdefault(label, len(number)) for label in axes]
        found.append((operand, tuple(labels)))
    return ("contraction", *found, value.shape)
