"""The typed tree: every overloaded sign resolved to one operation, every node with its shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from nablax.formula.sizes import Shape
from nablax.formula.syntax import Expression, Range, Span


class Kind(StrEnum):
    """What a variable is declared to be."""

    SCALAR = "scalar"
    VECTOR = "vector"
    MATRIX = "matrix"
    SYMMETRIC = "symmetric"
    SPD = "spd"
    ORTHOGONAL = "orthogonal"
    DIAGONAL = "diagonal"
    TRIANGULAR = "triangular"
    SKEW = "skew"


@dataclass(frozen=True, slots=True)
class Variable:
    """One name of a formula.

    Args:
        name: as written.
        kind: the declared kind, or the default of its first letter.
        shape: sizes as symbols or integers.
        constant: whether it was declared constant (not to be differentiated by).
        reread: whether it was not declared and its use decided against the default of its first letter.
        positive: whether its entries were declared positive.
    """

    name: str
    kind: Kind
    shape: Shape
    constant: bool = False
    reread: bool = False
    positive: bool = False

    def __str__(self) -> str:
        sizes = self.shape.axes if self.kind in (Kind.VECTOR, Kind.MATRIX) else self.shape.axes[:1]
        listed = f"({', '.join(map(str, sizes))})" if sizes else ""
        words = ("constant " if self.constant else "") + ("positive " if self.positive else "")
        return f"{self.name}: {words}{self.kind}{listed}"


class Operation(StrEnum):
    """The closed set of operations after shapes are known; the value says what it does to arrays."""

    NUMBER = "a literal"
    VARIABLE = "a variable"
    SIZE = "a declared size as a number; options: an integer factor, then the symbols it is made of"
    CONSTANT = "a named number such as pi"
    NEGATE = "-a"
    TRANSPOSE = "matrix: axes swapped; vector and row vector: the same array; scalar: itself"
    ADD = "a + b, equal shapes or one a scalar"
    SUBTRACT = "a - b, equal shapes or one a scalar"
    MULTIPLY = "a ⊙ b, equal shapes or one a scalar"
    DIVIDE = "a ⊘ b, equal shapes or one a scalar"
    POWER = "a to the b, elementwise, equal shapes or one a scalar"
    PRODUCT = "the last axis of a against the first of b: A B, A x, xᵀ A, xᵀ y"
    OUTER = "x yᵀ"
    MATRIX_POWER = "a square matrix to an integer; options: (exponent,)"
    COMPARE = "a condition, elementwise; label: < > <= >= == !="
    INDEX = "elements, rows or columns; options: an integer, a range or None per axis"
    CALL = "a function; label: its canonical name; options: the order of a norm"


Option = int | float | str | Range | None


@dataclass(frozen=True, slots=True)
class Typed:
    """An expression with its shape.

    Equality and hash look at the mathematics (operation, label, options, operands, shape), not at the
    source.

    Args:
        operation: what is done.
        operands: typed operands; sizes and orders are not among them.
        shape: the shape of the value.
        label: name of the variable or function, or the sign of a comparison; else empty.
        options: what the operation needs besides operands, see `Operation`.
        value: the number, where the expression has no variables and is arithmetic of literals; else None.
        syntax: the node this came from; ``str`` of the typed expression is its plain text.
    """

    operation: Operation
    operands: tuple[Typed, ...]
    shape: Shape
    syntax: Expression = field(compare=False, repr=False)
    label: str = ""
    options: tuple[Option, ...] = ()
    value: int | float | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return str(self.syntax)

    @property
    def span(self) -> Span:
        """The place in the source."""
        return self.syntax.span

    def walk(self) -> Iterator[Typed]:
        """Every node, parents before children, left to right."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.operands))


@dataclass(frozen=True)
class Formula:
    """A formula that was read, with everything that is known of its shapes.

    Args:
        source: the text as given (of a nested list: its text).
        expression: the typed expression; ``str`` of it is normalised plain text.
        variables: by name, in order of first appearance.
        sizes: the size symbols that are left, in order of first appearance.
        equalities: sizes the user named that had to be equal to others, as (name, what it equals).
        notes: sentences about how the text was read where more than one reading exists.
    """

    source: str
    expression: Typed
    variables: Mapping[str, Variable] = field(hash=False)
    sizes: tuple[str, ...]
    equalities: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> Shape:
        """The shape of the value."""
        return self.expression.shape

    @property
    def declaration(self) -> str:
        """All variables as a declaration, which reads the plain text with the same shapes."""
        return ", ".join(map(str, self.variables.values()))

    def __str__(self) -> str:
        return str(self.expression)
