"""Where a formula is defined and differentiable, as far as that restricts its arguments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nablax.derivation.from_formula import read
from nablax.errors import NotShown
from nablax.formula import Formula, Kind, Operation, Typed
from nablax.printing.expression import (
    Call,
    Expression,
    Function,
    Inverse,
    Number,
    Power,
    Product,
    Scale,
    Symbol,
    Transpose,
    shape_of,
    walk,
)
from nablax.printing.unicode import unicode

REGULAR = (Kind.SPD, Kind.ORTHOGONAL)


def domain(formula: Formula, derivatives: Sequence[Expression] = ()) -> tuple[str, ...]:
    """Conditions under which a formula is defined and differentiable, and its derivatives hold as they are written.

    Args:
        formula: what was parsed.
        derivatives: closed forms.

    Returns:
        One sentence per condition, without repetition; empty where there is none.

    Example:
        >>> from nablax.formula import parse_formula
        >>> domain(parse_formula("log(x'*A*x)"))
        ('xᵀAx > 0; for all x ≠ 0 that is so if A is positive definite',)
    """
    found: dict[str, None] = {}
    for node in formula.expression.walk():
        for sentence in _conditions(node, formula):
            found[sentence] = None
    for part in dict.fromkeys(part for form in derivatives for part in walk(form)):
        for text, sentence in _written_with(part, formula):
            if not any(text in known for known in found):
                found[sentence] = None
    return tuple(found)


def _written_with(node: Expression, formula: Formula) -> Iterator[tuple[str, str]]:
    """What a derivative divides by, and a sentence that says where it may."""
    match node:
        case Inverse(Symbol(name)) if formula.variables.get(name) and formula.variables[name].kind in REGULAR:
            return
        case Inverse(Product((Transpose(one), other))) if one == other and _has_full_rank(one, formula):
            return
        case Inverse(inside):
            text = f"det({unicode(inside)})"
            yield text, f"the derivatives are written with {unicode(node)} and hold where {text} ≠ 0"
        case Call("gaps" | "squared_gaps", (Call("eigenvalues", (matrix,)),)):
            text = f"eigenvalues of {unicode(matrix)}"
            yield text, f"the Hessian is written with the gaps between the {text} and holds where these differ"
        case Scale(_, _, divisors, _):
            for norm in (norm for divisor in divisors for norm in _norms(divisor)):
                text = f"{unicode(norm.arguments[0])} ≠ 0"
                yield text, f"the derivatives are written with 1/{unicode(norm)} and hold where {text}"
        case Power(Symbol(name, shape) as base, Number(exponent)) if shape and exponent < 0:
            if name in formula.variables and not formula.variables[name].positive:
                text = f"entry of {unicode(base)} is"
                yield text, f"the derivatives are written with {unicode(node)} and hold where no {text} 0"
        case _:
            return


def _has_full_rank(matrix: Expression, formula: Formula) -> bool:
    """Whether the formula has the pseudo-inverse of a matrix, which is differentiable only there."""
    nodes = (node for node in formula.expression.walk() if node.label == "pinv")
    return any(read(node.operands[0], formula.variables) == matrix for node in nodes)


def _norms(divisor: Expression) -> Iterator[Call]:
    """The norms that are factors of a scalar."""
    match divisor:
        case Call("norm" | "norm_F"):
            yield divisor
        case Power(base, _):
            yield from _norms(base)
        case Scale(_, scalars, _, None):
            for scalar in scalars:
                yield from _norms(scalar)
        case _:
            return


def _conditions(node: Typed, formula: Formula) -> Iterator[str]:
    try:
        parts = [read(operand, formula.variables) for operand in node.operands]
    except NotShown:
        return
    match node.operation, node.label:
        case Operation.CALL, ("log" | "sqrt"):
            if _always_positive(node.operands[0]):
                return
            yield from _positive(parts[0], formula)
        case Operation.CALL, "logdet":
            if not _definite(node.operands[0], formula):
                yield f"det({unicode(parts[0])}) ≠ 0; its absolute value is taken"
        case Operation.CALL, "inv":
            if not _definite(node.operands[0], formula):
                yield f"det({unicode(parts[0])}) ≠ 0"
        case Operation.MATRIX_POWER, _:
            if isinstance(node.options[0], int) and node.options[0] < 0:
                yield f"det({unicode(parts[0])}) ≠ 0"
        case Operation.CALL, ("max" | "min") if node.operands[0].label == "eig" and len(parts) == 1:
            yield _where_simple("eigenvalue", {"max": "largest", "min": "smallest"}[node.label], _inside(parts[0]))
        case Operation.CALL, ("eigenvector" | "first_eigenvector"):
            yield _where_simple("eigenvalue", "largest" if node.label == "eigenvector" else "smallest", parts[0])
        case Operation.CALL, "eigenvectors":
            yield f"differentiable where all eigenvalues of {unicode(parts[0])} are simple"
        case Operation.CALL, ("left_vector" | "right_vector"):
            yield _where_simple("singular value", "largest", parts[0])
        case Operation.CALL, "norm" if node.operands[0].shape.is_matrix and node.options[0] == 2:
            yield _where_simple("singular value", "largest", parts[0])
        case Operation.CALL, "norm" if node.operands[0].shape.is_matrix and node.options[0] == "nuc":
            yield f"differentiable where {unicode(parts[0])} has full rank"
        case Operation.CALL, "pinv":
            yield f"{unicode(parts[0])} has full rank"
        case Operation.CALL, "cholesky":
            if not _definite(node.operands[0], formula):
                yield f"{unicode(parts[0])} is positive definite"
        case Operation.CALL, ("lgamma" | "digamma" | "trigamma" | "polygamma"):
            if not _is_positive(node.operands[-1], formula):
                no = "no entry of {} is" if shape_of(parts[-1]) else "{} is not"
                yield f"{no.format(unicode(parts[-1]))} 0, −1, −2, …"
        case Operation.CALL, "norm" if node.options[0] in (1, "inf"):
            yield _where_largest(node, unicode(parts[0]))
        case Operation.CALL, ("norm2" | "norm"):
            if node not in _squared(formula.expression):
                yield f"differentiable where {unicode(parts[0])} ≠ 0"
        case Operation.CALL, ("norm1" | "abs" | "sign" | "relu" | "max" | "min") if node in _squared(
            formula.expression
        ):
            return
        case Operation.CALL, ("norm1" | "abs" | "sign"):
            yield (
                f"differentiable where no entry of {unicode(parts[0])} is 0"
                if shape_of(parts[0])
                else f"differentiable where {unicode(parts[0])} ≠ 0"
            )
        case Operation.CALL, ("relu" | "max" | "min" | "where"):
            yield "differentiable where no two branches are equal"
        case Operation.CALL, ("arcsin" | "arccos"):
            yield f"−1 < {unicode(parts[0])} < 1"
        case Operation.DIVIDE, _:
            if (
                node.operands[1].value is None
                and not _always_positive(node.operands[1])
                and not _is_size(node.operands[1])
            ):
                entries = "no entry of {} is 0" if node.operands[1].shape.rank else "{} ≠ 0"
                if not _is_one_plus_square(node.operands[1]):
                    yield entries.format(unicode(parts[1]))
        case Operation.POWER, _:
            exponent = node.operands[1].value
            if (exponent is None and node.operands[1].operation is not Operation.SIZE) or (
                exponent is not None and not float(exponent).is_integer()
            ):
                if not _is_positive(node.operands[0], formula):
                    yield f"{unicode(parts[0])} > 0"
            elif exponent is not None and exponent < 0:
                yield f"{unicode(parts[0])} ≠ 0"
        case _:
            return


def _where_simple(kind: str, which: str, matrix: Expression) -> str:
    return f"differentiable where the {which} {kind} of {unicode(matrix)} is simple"


def _inside(expression: Expression) -> Expression:
    """The argument of a function of one matrix."""
    return expression.arguments[0] if isinstance(expression, Call) else expression


def _is_positive(node: Typed, formula: Formula) -> bool:
    """Whether a value is positive by its form or by its declaration."""
    is_declared = node.operation is Operation.VARIABLE and formula.variables[node.label].positive
    return is_declared or _always_positive(node)


def _squared(expression: Typed) -> list[Typed]:
    """Norms and sizes to a power of at least two, which have a derivative at zero."""
    return [
        node.operands[0]
        for node in expression.walk()
        if node.operation is Operation.POWER and (node.operands[1].value or 0) >= 2
    ]


def _where_largest(node: Typed, text: str) -> str:
    """Where a norm that is a sum of sizes, or the largest of such, has a derivative."""
    if node.options[0] == 1 and not node.operands[0].shape.is_matrix:
        return f"differentiable where no entry of {text} is 0"
    if not node.operands[0].shape.is_matrix:
        return f"differentiable where one entry of {text} alone is the largest in size"
    lines = "column" if node.options[0] == 1 else "row"
    return f"differentiable where one {lines} of {text} alone has the largest sum of sizes, and no entry of it is 0"


def _positive(inside: Expression, formula: Formula) -> Iterator[str]:
    text = unicode(inside)
    match inside:
        case Product((Transpose(left), Symbol(name, (_, _)), right)) if left == right:
            if formula.variables[name].kind is Kind.SPD:
                yield f"{unicode(right)} ≠ 0 ({name} is positive definite)"
            else:
                yield f"{text} > 0; for all {unicode(right)} ≠ 0 that is so if {name} is positive definite"
            return
        case Function():
            pass
        case _:
            if _of_declared(inside, formula):
                return
            match inside:
                case Call("inner", (Product((Symbol(matrix, (_, _)), left)), right)) if left == right:
                    if formula.variables[matrix].kind is Kind.SPD:
                        yield f"{unicode(left)} ≠ 0 ({matrix} is positive definite)"
                        return
                case _:
                    pass
    yield f"every entry of {text} is positive" if shape_of(inside) else f"{text} > 0"


def _of_declared(inside: Expression, formula: Formula) -> bool:
    """Whether it is the determinant of a matrix that is declared positive definite."""
    match inside:
        case Call("det", (Symbol(name, _),)):
            return formula.variables[name].kind is Kind.SPD
        case _:
            return False


def _definite(node: Typed, formula: Formula) -> bool:
    return node.operation is Operation.VARIABLE and formula.variables[node.label].kind in REGULAR


def _is_size(node: Typed) -> bool:
    return node.operation is Operation.SIZE or (bool(node.operands) and all(map(_is_size, node.operands)))


def _always_positive(node: Typed) -> bool:
    """Whether the form shows that a value is positive everywhere."""
    if node.value is not None:
        return node.value > 0
    match node.operation, node.label:
        case Operation.CALL, ("exp" | "sigmoid" | "softmax" | "cosh" | "Phi"):
            return True
        case Operation.CALL, ("sum" | "mean" | "sqrt" | "vector" | "matrix"):
            return _always_positive(node.operands[0])
        case ((Operation.ADD | Operation.MULTIPLY | Operation.DIVIDE), _):
            return all(map(_always_positive, node.operands)) or _is_one_plus_square(node)
        case _:
            return _is_size(node)


def _is_one_plus_square(node: Typed) -> bool:
    """Whether it is c + xᵀx with c > 0."""
    if node.operation is not Operation.ADD:
        return False
    one, other = node.operands
    for number, square in ((one, other), (other, one)):
        if _always_positive(number):
            if square.operation is Operation.PRODUCT and square.shape.is_scalar:
                left, right = square.operands
                return left.operation is Operation.TRANSPOSE and left.operands[0] == right
            if square.operation is Operation.POWER and square.operands[1].value in (2, 4, 6):
                return True
            if square.operation is Operation.CALL and square.label in ("abs", "norm1", "norm2"):
                return True
            if square.label == "inner":
                return square.operands[0] == square.operands[1]
    return False
