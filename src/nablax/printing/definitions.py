"""What programs have no operation for, by definition in what they have: cross products, stacked columns, and values
that would overflow as they are printed.
"""

from __future__ import annotations

from fractions import Fraction

from nablax.printing.expression import (
    Array,
    Call,
    Expression,
    Function,
    Hadamard,
    Identity,
    Indexed,
    Inverse,
    Kronecker,
    Number,
    Ones,
    Piece,
    Product,
    Shape,
    Sum,
    Transpose,
    shape_of,
    transposed,
)
from nablax.printing.multiples import scaled
from nablax.printing.rewrite import rebuilt

ONE = Fraction(1)
# Coordinates moved in a circle by one place, and by two.
NEXT = Array("((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0))", ("3", "3"))
LAST = Array("((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))", ("3", "3"))


def defined(expression: Expression) -> Expression:
    """An expression in terms that every program has.

    Args:
        expression: any expression.

    Returns:
        The same value, without overflow where the exponentials of a sum would have one.

    Example:
        >>> from nablax.printing.expression import Symbol
        >>> from nablax.printing.unicode import unicode
        >>> unicode(defined(Function("log", (Product((Function("exp", (Symbol("X", ("m", "n")),)), Ones(("n",)))),))))
        'max_rows(X) + log(exp(X − max_rows(X) 𝟏ᵀ) 𝟏)'
    """
    return rebuilt(expression, _defined, indexed=True)


def _defined(node: Expression) -> Expression:
    match node:
        case Call("cross", (left, right)):
            pairs = ((Product((NEXT, left)), Product((LAST, right))), (Product((LAST, left)), Product((NEXT, right))))
            return Sum((Hadamard(pairs[0]), scaled(-ONE, Hadamard(pairs[1]))))
        case Call("skew", (inside,), shape):
            ahead, behind = (Call("diag", (Product((turned, inside)),), shape) for turned in (NEXT, LAST))
            return Sum((Product((ahead, LAST)), scaled(-ONE, Product((behind, NEXT)))))
        case Call("vec", (matrix,), shape):
            rows, columns = shape_of(matrix)
            return Indexed(ONE, (Piece(matrix, ("i", "j")), *places(rows, columns)), ("k",), shape)
        case Call("unvec", (vector,), (rows, columns) as shape):
            return Indexed(ONE, (Piece(vector, ("k",)), *places(rows, columns)), ("i", "j"), shape)
        case Call("pinv", (matrix, kernel)):  # M⁺ = (M + vvᵀ)⁻¹ − vvᵀ, where v alone is taken to zero
            square = Product((kernel, Transpose(kernel)))
            return Sum((Inverse(Sum((matrix, square))), scaled(-ONE, square)))
        case Kronecker(left, right) if len(shape_of(left)) == len(shape_of(right)) == 1:
            [columns], [rows] = shape_of(left), shape_of(right)
            pieces = (Piece(left, ("j",)), Piece(right, ("i",)))
            return Indexed(ONE, (*pieces, *places(rows, columns)), ("k",), shape_of(node))
        case Function("log", (Product((Function("exp", (inside,)), Ones((_,)) as ones)),)):
            return _rows(inside, ones)
        case Function("log", (Sum((Function("exp", (one,)), Function("exp", (other,)))),)):
            beyond = Function("exp", (Sum((other, scaled(-ONE, one))),))
            return Sum((one, Function("log", (Sum((Number(ONE), beyond)),))))
        case _:
            return node


def places(rows: str, columns: str, letters: tuple[str, str, str] = ("i", "j", "k")) -> tuple[Piece, Piece]:
    """Which row and which column a place of stacked columns has, as two matrices of zeros and ones.

    Args:
        rows: the number of rows of the matrix.
        columns: that of its columns.
        letters: of row, column and place.
    """
    row, column, place = letters
    return (
        Piece(Kronecker(Transpose(Ones((columns,))), Identity(rows)), (row, place)),
        Piece(Kronecker(Identity(columns), Transpose(Ones((rows,)))), (column, place)),
    )


def _rows(inside: Expression, ones: Ones) -> Expression:
    """log(exp(X) 𝟏) as m + log(exp(X − m𝟏ᵀ) 𝟏), m the largest entry of each row."""
    shape: Shape = shape_of(inside)
    most = Call("max_rows", (inside,), shape[:1])
    below = Sum((inside, scaled(-ONE, Product((most, transposed(ones))))))
    return Sum((most, Function("log", (Product((Function("exp", (below,)), ones)),))))
