"""A formula before it is traced: functions by their definitions, and identities that its derivative needs.

JAX guards some functions against overflow by branches that are no part of the mathematics, and knows others only as
loops or factorisations; the formula that is differentiated has their definitions instead. Two passes: identities of
functions of functions, then definitions of single functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from nablax.formula import Formula, Operation, Shape, Size, Typed

Rewrite = Callable[[Typed], Typed | None]
SCALAR = Shape()


def elementary(formula: Formula) -> Formula:
    """The same function without guards, in terms that have derivatives with a notation.

    Args:
        formula: what was parsed.

    Returns:
        A formula with the same variables; its expressions keep the syntax of what they came from.

    Example:
        >>> from nablax.formula import parse_formula
        >>> elementary(parse_formula("det(X^3)")).expression.operation.name
        'POWER'
    """
    expression = formula.expression
    for table in (IDENTITIES, DEFINITIONS):
        expression = rebuilt(expression, lambda node, table=table: _first(table, node))  # type: ignore[misc]
    return replace(formula, expression=expression)


def rebuilt(node: Typed, change: Callable[[Typed], Typed], known: dict[int, Typed] | None = None) -> Typed:
    """A tree with a change made to every node, operands first."""
    known = {} if known is None else known
    if id(node) not in known:
        operands = tuple(rebuilt(operand, change, known) for operand in node.operands)
        same = all(new is old for new, old in zip(operands, node.operands, strict=True))
        known[id(node)] = change(node if same else replace(node, operands=operands, value=None))
    return known[id(node)]


def _first(table: Sequence[Rewrite], node: Typed) -> Typed:
    for rewrite in table:
        found = rewrite(node)
        if found is not None:
            return found
    return node


# -- making ------------------------------------------------------------------------------------------------


def _made(at: Typed, operation: Operation, operands: Sequence[Typed], shape: Shape) -> Typed:
    return Typed(operation, tuple(operands), shape, at.syntax)


def _call(label: str, operand: Typed, shape: Shape | None = None) -> Typed:
    return Typed(Operation.CALL, (operand,), operand.shape if shape is None else shape, operand.syntax, label)


def _number(value: int, at: Typed) -> Typed:
    return Typed(Operation.NUMBER, (), SCALAR, at.syntax, value=value)


def _negative(operand: Typed) -> Typed:
    return _made(operand, Operation.NEGATE, [operand], operand.shape)


def _product(left: Typed, right: Typed) -> Typed:
    return _made(left, Operation.PRODUCT, [left, right], Shape(left.shape.axes[:-1] + right.shape.axes[1:]))


def _transposed(operand: Typed) -> Typed:
    return _made(operand, Operation.TRANSPOSE, [operand], Shape(operand.shape.axes[::-1]))


def _ones(size: Size, at: Typed) -> Typed:
    return Typed(Operation.CALL, (_number(1, at),), Shape((size,)), at.syntax, "vector")


def _is_call(node: Typed, *labels: str) -> bool:
    return node.operation is Operation.CALL and node.label in labels


# -- identities --------------------------------------------------------------------------------------------


def _log_of_sigmoid(node: Typed) -> Typed | None:
    """Log σ(u) = −log(1 + e⁻ᵘ), log(1 − σ(u)) = −log(1 + eᵘ)."""
    if not _is_call(node, "log"):
        return None
    [inside] = node.operands
    if _is_call(inside, "sigmoid"):
        return _negative(_call("softplus", _negative(inside.operands[0])))
    one_minus = inside.operation is Operation.SUBTRACT and inside.operands[0].value == 1
    if one_minus and _is_call(inside.operands[1], "sigmoid"):
        return _negative(_call("softplus", inside.operands[1].operands[0]))
    return None


def _log_of_softmax(node: Typed) -> Typed | None:
    """Log softmax(u) = u − log Σ eᵘ."""
    if not _is_call(node, "log") or not _is_call(node.operands[0], "softmax"):
        return None
    [u] = node.operands[0].operands
    if u.shape.rank != 1:
        return None
    return _made(node, Operation.SUBTRACT, [u, _call("logsumexp", u, SCALAR)], u.shape)


def _log_of_determinant(node: Typed) -> Typed | None:
    """Log |det X| is one function."""
    if _is_call(node, "log") and _is_call(node.operands[0], "abs") and _is_call(node.operands[0].operands[0], "det"):
        return _call("logdet", node.operands[0].operands[0].operands[0], SCALAR)
    return None


def _determinant_of_power(node: Typed) -> Typed | None:
    """Det Xᵏ = (det X)ᵏ, log |det Xᵏ| = k log |det X|."""
    if not _is_call(node, "det", "logdet") or node.operands[0].operation is not Operation.MATRIX_POWER:
        return None
    [matrix] = node.operands
    whole = _call(node.label, matrix.operands[0], SCALAR)
    exponent = _number(int(str(matrix.options[0])), node)
    operation = Operation.POWER if node.label == "det" else Operation.MULTIPLY
    return _made(node, operation, [whole, exponent] if node.label == "det" else [exponent, whole], SCALAR)


def _determinant_of_product(node: Typed) -> Typed | None:
    """det(AB) = det(A) det(B) of square matrices."""
    if not _is_call(node, "det", "logdet") or node.operands[0].operation is not Operation.PRODUCT:
        return None
    parts = node.operands[0].operands
    if any(not part.shape.is_matrix or part.shape.axes[0] != part.shape.axes[1] for part in parts):
        return None
    operation = Operation.MULTIPLY if node.label == "det" else Operation.ADD
    values = [_call(node.label, part, SCALAR) for part in parts]
    return _made(node, operation, [_determinant_of_product(value) or value for value in values], SCALAR)


def _trace_of_kronecker(node: Typed) -> Typed | None:
    """tr(A ⊗ B) = tr(A) tr(B)."""
    if not _is_call(node, "tr") or not _is_call(node.operands[0], "kron"):
        return None
    parts = node.operands[0].operands
    if any(not part.shape.is_matrix or part.shape.axes[0] != part.shape.axes[1] for part in parts):
        return None
    return _made(node, Operation.MULTIPLY, [_call("tr", part, SCALAR) for part in parts], SCALAR)


def _norm_of_kronecker(node: Typed) -> Typed | None:
    """‖A ⊗ B‖ = ‖A‖ ‖B‖."""
    if not _is_call(node, "norm2") or not _is_call(node.operands[0], "kron"):
        return None
    return _made(node, Operation.MULTIPLY, [_call("norm2", part, SCALAR) for part in node.operands[0].operands], SCALAR)


# -- definitions -------------------------------------------------------------------------------------------


def _softplus(node: Typed) -> Typed | None:
    """log(1 + eᵘ)."""
    if not _is_call(node, "softplus"):
        return None
    [u] = node.operands
    return _call("log", _made(node, Operation.ADD, [_number(1, node), _call("exp", u)], u.shape))


def _logsumexp(node: Typed) -> Typed | None:
    """Log Σ eᵘ."""
    if not _is_call(node, "logsumexp"):
        return None
    return _call("log", _call("sum", _call("exp", node.operands[0]), SCALAR))


def _softmax(node: Typed) -> Typed | None:
    """eᵘ / Σ eᵘ, of a matrix row by row."""
    if not _is_call(node, "softmax"):
        return None
    exp = _call("exp", node.operands[0])
    if not exp.shape.is_matrix:
        return _made(node, Operation.DIVIDE, [exp, _call("sum", exp, SCALAR)], exp.shape)
    ones = _ones(exp.shape.axes[1], node)
    sums = _product(exp, ones)
    over = _made(node, Operation.DIVIDE, [_number(1, node), sums], sums.shape)
    return _made(node, Operation.MULTIPLY, [exp, _made(node, Operation.OUTER, [over, ones], exp.shape)], exp.shape)


def _prod(node: Typed) -> Typed | None:
    """Π uᵢ = exp Σ log uᵢ, read back as Π: its derivatives hold for every sign."""
    if not _is_call(node, "prod") or not node.operands[0].shape.rank or _is_call(node.operands[0], "eig"):
        return None
    return _call("exp", _call("sum", _call("log", node.operands[0]), SCALAR))


def _diagonal(node: Typed) -> Typed | None:
    """diag(x) = I ⊙ x𝟏ᵀ, diag(A) = (I ⊙ A)𝟏."""
    if not _is_call(node, "diag"):
        return None
    [operand] = node.operands
    size = operand.shape.axes[0]
    square = Shape((size, size))
    eye = Typed(Operation.CALL, (), square, node.syntax, "eye")
    ones = _ones(size, node)
    if operand.shape.is_matrix:
        kept = _made(node, Operation.MULTIPLY, [eye, operand], square)
        return _made(node, Operation.PRODUCT, [kept, ones], node.shape)
    return _made(node, Operation.MULTIPLY, [eye, _made(node, Operation.OUTER, [operand, ones], square)], square)


def _sums(node: Typed) -> Typed | None:
    """Row sums X𝟏, column sums Xᵀ𝟏."""
    if not _is_call(node, "rowsum", "colsum"):
        return None
    [matrix] = node.operands
    turned = matrix if node.label == "rowsum" else _transposed(matrix)
    return _product(turned, _ones(turned.shape.axes[1], node))


def _adjugate(node: Typed) -> Typed | None:
    """Adj X = det(X) X⁻¹."""
    if not _is_call(node, "adj"):
        return None
    [matrix] = node.operands
    return _made(node, Operation.MULTIPLY, [_call("det", matrix, SCALAR), _call("inv", matrix)], matrix.shape)


def _pseudo_inverse(node: Typed) -> Typed | None:
    """X⁺ = (XᵀX)⁻¹Xᵀ, of full column rank."""
    if not _is_call(node, "pinv"):
        return None
    turned = _transposed(node.operands[0])
    return _product(_call("inv", _product(turned, node.operands[0])), turned)


IDENTITIES: tuple[Rewrite, ...] = (
    _log_of_sigmoid,
    _log_of_softmax,
    _log_of_determinant,
    _determinant_of_power,
    _determinant_of_product,
    _trace_of_kronecker,
    _norm_of_kronecker,
)
DEFINITIONS: tuple[Rewrite, ...] = (
    _softplus,
    _logsumexp,
    _softmax,
    _prod,
    _diagonal,
    _sums,
    _adjugate,
    _pseudo_inverse,
)
