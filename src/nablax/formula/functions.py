"""The functions of the language: one row each, and the kinds that say how shapes follow."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import Enum

from nablax.notation import FUNCTIONS as NOTATIONS
from nablax.notation import GREEK

ANY_NUMBER = 64


class Rule(Enum):
    """How the shape of a call follows from its operands; the value is the sentence that error messages
    use.
    """

    ELEMENTWISE = "one operand of any shape, elementwise"
    REDUCTION = "one scalar, vector or matrix; gives a scalar"
    SQUARE_TO_SCALAR = "one square matrix; gives a scalar"
    SQUARE_TO_SQUARE = "one square matrix; gives a matrix of the same size"
    EXTREMUM = "one vector or matrix (its extreme entry), or two operands of equal shape or a scalar, elementwise"
    FILL_VECTOR = "a scalar, then optionally the size"
    FILL_MATRIX = "a scalar, then optionally two sizes"
    IDENTITY = "nothing, or the size"
    INNER = "two operands of equal shape; gives a scalar"
    OUTER = "two vectors; gives a matrix"
    NORM = "one vector or matrix, then optionally the order: a number that is at least 1, inf, fro or nuc"
    KRONECKER = "two matrices or vectors; a vector beside a matrix is one column"
    DIAGONAL = "a vector (gives a matrix) or a square matrix (gives a vector)"
    SPECTRUM = "one square matrix; gives the vector of its eigenvalues, or the eigenvector of one of them"
    PRODUCT_ENTRYWISE = "two operands of equal shape, or one a scalar"
    CHOICE = "a comparison, then two operands of equal shape, or one a scalar"
    ALONG_ROWS = "one matrix; gives the vector with an entry per row"
    ALONG_COLUMNS = "one matrix; gives the vector with an entry per column"
    TRANSPOSED = "one matrix; gives a matrix of the transposed shape"
    STACKED = "one matrix; gives the vector of its columns, one below the other"
    CROSS = "two vectors of size 3"
    SKEW = "one vector of size 3; gives the matrix that takes the cross product with it"
    FILLED = "one size for a vector, two for a matrix"
    UNSTACKED = "one vector, then the two sizes of the matrix whose columns stand in it"
    POLYGAMMA = "an order 0, 1, 2, …, then one operand of any shape, elementwise"
    SOFT_MAXIMUM = "one scalar, vector or matrix; of a matrix optionally the axis along which it goes: 1 or 0"
    SOFTMAX = "one vector, or a matrix (each row by itself)"


@dataclass(frozen=True, slots=True)
class Function:
    """One function of the language.

    Args:
        name: the canonical name, which plain text prints.
        rule: how its shape follows.
        signature: how a call looks, for messages.
        least: least number of arguments.
        most: greatest number of arguments.
        aliases: other spellings, without the ``np.`` prefix.
        expressions: how many leading arguments are expressions; those after are sizes or the order of a
            norm.
    """

    name: str
    rule: Rule
    signature: str
    least: int = 1
    most: int = 1
    aliases: tuple[str, ...] = ()
    expressions: int = ANY_NUMBER


def _elementwise(name: str, *aliases: str) -> Function:
    return Function(name, Rule.ELEMENTWISE, f"{name}(x)", aliases=aliases)


ROWS = (
    *(_elementwise(row.name, *row.spellings) for row in NOTATIONS.values() if row.in_formulas),
    Function("softmax", Rule.SOFTMAX, "softmax(x)"),
    Function("logsumexp", Rule.SOFT_MAXIMUM, "logsumexp(x) or logsumexp(X, 1)", most=2, expressions=1),
    Function("sum", Rule.REDUCTION, "sum(x)"),
    Function("prod", Rule.REDUCTION, "prod(x)"),
    Function("mean", Rule.REDUCTION, "mean(x)"),
    Function("norm1", Rule.REDUCTION, "norm1(x)"),
    Function("norm2", Rule.REDUCTION, "norm2(x)"),
    Function("norm", Rule.NORM, "norm(x, p)", most=2, expressions=1),
    Function("max", Rule.EXTREMUM, "max(x) or max(x, y)", most=2, aliases=("maximum", "amax")),
    Function("min", Rule.EXTREMUM, "min(x) or min(x, y)", most=2, aliases=("minimum", "amin")),
    Function("tr", Rule.SQUARE_TO_SCALAR, "tr(X)", aliases=("trace",)),
    Function("det", Rule.SQUARE_TO_SCALAR, "det(X)"),
    Function("logdet", Rule.SQUARE_TO_SCALAR, "logdet(X)"),
    Function("inv", Rule.SQUARE_TO_SQUARE, "inv(X)"),
    Function("eig", Rule.SPECTRUM, "eig(X)", aliases=("eigvals", "eigvalsh", "eigenvalues")),
    Function("eigenvectors", Rule.SQUARE_TO_SQUARE, "eigenvectors(S)"),
    Function("eigenvector", Rule.SPECTRUM, "eigenvector(S)"),
    Function("first_eigenvector", Rule.SPECTRUM, "first_eigenvector(S)"),
    Function("left_vector", Rule.ALONG_ROWS, "left_vector(X)"),
    Function("right_vector", Rule.ALONG_COLUMNS, "right_vector(X)"),
    Function("diag", Rule.DIAGONAL, "diag(x)"),
    Function("inner", Rule.INNER, "<a, b>", 2, 2, ("vdot",)),
    Function("outer", Rule.OUTER, "outer(x, y)", 2, 2),
    Function("kron", Rule.KRONECKER, "kron(A, B)", 2, 2),
    Function("hadamard", Rule.PRODUCT_ENTRYWISE, "hadamard(A, B)", 2, 2, ("multiply",)),
    Function("rowsum", Rule.ALONG_ROWS, "rowsum(X)"),
    Function("colsum", Rule.ALONG_COLUMNS, "colsum(X)"),
    Function("pinv", Rule.TRANSPOSED, "pinv(X)"),
    Function("adj", Rule.SQUARE_TO_SQUARE, "adj(X)", aliases=("adjugate",)),
    Function("expm", Rule.SQUARE_TO_SQUARE, "expm(X)"),
    Function("cholesky", Rule.SQUARE_TO_SQUARE, "cholesky(S)", aliases=("chol",)),
    Function("tril", Rule.SQUARE_TO_SQUARE, "tril(X)"),
    Function("triu", Rule.SQUARE_TO_SQUARE, "triu(X)"),
    Function("vec", Rule.STACKED, "vec(X)"),
    Function("unvec", Rule.UNSTACKED, "unvec(x, m, n)", 3, 3, expressions=1),
    Function("polygamma", Rule.POLYGAMMA, "polygamma(2, x)", 2, 2),
    Function("cross", Rule.CROSS, "cross(x, y)", 2, 2),
    Function("skew", Rule.SKEW, "skew(x)"),
    Function("ones", Rule.FILLED, "ones(n) or ones(m, n)", 0, 2, expressions=0),
    Function("zeros", Rule.FILLED, "zeros(n) or zeros(m, n)", 0, 2, expressions=0),
    Function("where", Rule.CHOICE, "where(x > 0, a, b)", 3, 3),
    Function("vector", Rule.FILL_VECTOR, "vector(1) or vector(1, n)", 1, 2, expressions=1),
    Function("matrix", Rule.FILL_MATRIX, "matrix(1) or matrix(1, m, n)", 1, 3, expressions=1),
    Function("eye", Rule.IDENTITY, "eye or eye(n)", 0, 1, ("identity",), expressions=0),
)
FUNCTIONS = {row.name: row for row in ROWS}
SPELLINGS = {spelling: row.name for row in ROWS for spelling in (row.name, *row.aliases)}
UNARY = {row.name for row in ROWS if row.rule is Rule.ELEMENTWISE}


def enter(name: str, arguments: int) -> None:
    """A user's function of one or two arguments, elementwise, becomes part of the language."""
    if arguments == 1:
        FUNCTIONS[name] = _elementwise(name)
        UNARY.add(name)
    else:
        FUNCTIONS[name] = Function(name, Rule.EXTREMUM, f"{name}(x, y)", 2, 2)
    SPELLINGS[name] = name


def canonical(spelling: str) -> str:
    """The canonical name of a spelling such as ``np.linalg.inv`` or ``ln``; without a prefix where it is
    unknown.

    ``np.transpose`` and ``np.matmul`` are not functions here: the parser reads them as the operators. A letter that a
    function is printed by names it where it is called: ``σ(x)``, ``Φ(x)``.
    """
    bare = spelling.rpartition(".")[2]
    letter = GREEK.get(bare, bare)
    by_letter = next((row.name for row in NOTATIONS.values() if row.printed == letter and row.in_formulas), bare)
    return SPELLINGS.get(bare, by_letter)


def nearest(word: str, known: list[str]) -> str:
    """The known word that is most like this one; empty where none is near."""
    lowered = {name.lower(): name for name in reversed(known)}
    found = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    return lowered[found[0]] if found else ""
