"""Rules for functions of whole arrays: one row for each, with its source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from nablax.convex.elementwise import extremum, known_of, multiplied
from nablax.convex.facts import UNKNOWN, Analysis, Definite, Facts, Relation
from nablax.convex.intervals import EVERYTHING, NONNEGATIVE, POSITIVE, Interval
from nablax.convex.matrices import flat, is_symmetric, product, summed
from nablax.printing.expression import (
    Call,
    Expression,
    Function,
    Inverse,
    Number,
    Power,
    Product,
    Transpose,
    product_of,
    shape_of,
    transposed,
)

Rule = Callable[[Analysis, Call], Facts]
# norms that do not decrease where the sizes of entries grow
ABSOLUTE = frozenset({"norm", "norm_F", "norm_1", "norm_p", "norm_inf", "norm_rows", "norm_columns"})
NORMS = ABSOLUTE | {"norm_2", "norm_nuc"}
# linear maps that add up, choose or move entries
CHOOSING = frozenset({"diagonal", "diag", "vec", "tril", "triu", "entry"})
ADDING = frozenset({"sum", "mean", "rowsum", "colsum"})
# other linear maps
LINEAR = frozenset({"skew"})


def call(analysis: Analysis, node: Call) -> Facts:
    """What is known of a function of whole arrays."""
    parts = [analysis.facts(one) for one in node.arguments]
    if node.name in NORMS:
        return _norm(analysis, node)
    if node.name in LINEAR:
        affine = parts[0].affine
        return Facts(parts[0].constant, affine, affine, rule="a linear map", uses=node.arguments).closed()
    if node.name in CHOOSING:
        whole = replace(parts[0], rule="entries of an expression", uses=node.arguments)
        if node.name in ("diag", "tril", "triu"):  # the others are zero
            interval = whole.interval.hull(Interval(Fraction(0), Fraction(0)))
            whole = replace(whole, log_convex=False, interval=interval).closed()
        return whole
    match node:
        case Call(("sum" | "prod") as name, (Call("eigenvalues", inside),)):
            return analysis.facts(Call("tr" if name == "sum" else "det", inside))
        case _:
            pass
    if node.name in ADDING:
        return replace(summed(parts[0]), rule="a sum of entries", uses=node.arguments)
    rule = RULES.get(node.name)
    if rule is None:
        return known_of(parts)
    found = rule(analysis, node)
    return replace(found, constant=True).closed() if all(part.constant for part in parts) else found


def _norm(analysis: Analysis, node: Call) -> Facts:
    """A norm is convex, and those of sizes of entries do not decrease where entries are not negative."""
    inner = analysis.facts(node.arguments[0])
    monotone = node.name in ABSOLUTE and inner.convex and inner.interval.nonnegative
    rule = "a norm of an affine expression" if inner.affine else "a norm of nonnegative convex entries"
    return Facts(
        inner.constant, inner.affine or monotone, interval=NONNEGATIVE, rule=rule, uses=node.arguments
    ).closed()


def _extremum(analysis: Analysis, node: Call) -> Facts:
    inside = node.arguments[0]
    if isinstance(inside, Call) and inside.name == "eigenvalues":
        matrix = inside.arguments[0]
        convex, concave = analysis.loewner(matrix)
        largest = node.name == "max"
        definite = analysis.definite(matrix)
        sign = POSITIVE if definite is Definite.POSITIVE else NONNEGATIVE if definite else EVERYTHING
        return Facts(
            convex=largest and convex,
            concave=not largest and concave,
            interval=sign,
            rule=f"the {'largest' if largest else 'smallest'} eigenvalue: "
            + ("the largest of all vᵀMv" if largest else "the smallest of all vᵀMv"),
            uses=(matrix,),
        ).closed()
    return extremum(node.name, [analysis.facts(inside)], (inside,))


def _log_sum_exp(analysis: Analysis, node: Call) -> Facts:
    inner = analysis.facts(node.arguments[0])
    return Facts(convex=inner.convex, rule="log Σ exp, which increases", uses=node.arguments)


def _softmax(analysis: Analysis, node: Call) -> Facts:
    inner = analysis.facts(node.arguments[0])
    interval = Interval(Fraction(0), Fraction(1), open_low=True)
    rule = "softmax: its logarithm is affine less log Σ exp"
    return Facts(inner.constant, log_concave=inner.affine, interval=interval, rule=rule, uses=node.arguments).closed()


def _prod(analysis: Analysis, node: Call) -> Facts:
    inner = analysis.facts(node.arguments[0])
    sign = POSITIVE if inner.interval.positive else NONNEGATIVE if inner.interval.nonnegative else EVERYTHING
    return Facts(
        log_convex=inner.log_convex,
        log_concave=inner.log_concave,
        interval=sign,
        rule="a product of entries: logarithms add",
        uses=node.arguments,
    ).closed()


def _log_det(analysis: Analysis, node: Call) -> Facts:
    """The logarithm of det is concave and increases on positive definite matrices (Boyd 2004, section 3.1.5)."""
    matrix, turned = node.arguments[0], False
    while isinstance(matrix, Inverse):
        matrix, turned = matrix.operand, not turned
    if analysis.facts(matrix).constant:
        return Facts(True).closed()
    analysis.require(matrix, Relation.DEFINITE)
    concave = analysis.loewner(matrix)[1]
    rule = "log det of the inverse of a positive definite matrix" if turned else "log det of a positive definite matrix"
    return Facts(convex=turned and concave, concave=not turned and concave, rule=rule, uses=(matrix,))


def _det(analysis: Analysis, node: Call) -> Facts:
    matrix = node.arguments[0]
    if analysis.definite(matrix) is not Definite.POSITIVE:
        return UNKNOWN
    concave = analysis.loewner(matrix)[1]
    rule = "det of a positive definite matrix: its logarithm is concave"
    return Facts(log_concave=concave, interval=POSITIVE, rule=rule, uses=(matrix,)).closed()


def _trace(analysis: Analysis, node: Call) -> Facts:
    matrix = node.arguments[0]
    inner = analysis.facts(matrix)
    sign = EVERYTHING
    if is_symmetric(matrix) and analysis.definite(matrix):
        sign = POSITIVE if analysis.definite(matrix) is Definite.POSITIVE else NONNEGATIVE
    found = replace(
        summed(replace(inner, interval=sign if sign.nonnegative else inner.interval)),
        rule="trace, a linear map",
        uses=node.arguments,
    )
    convex, concave = analysis.loewner(matrix)
    own = Facts(convex=convex, concave=concave, interval=sign, rule="trace, which keeps the order", uses=(matrix,))
    found = found.joined(own.closed())
    spectrum = _powers_of_eigenvalues(matrix)
    if spectrum is not None and not found.known:
        found = found.joined(analysis.facts(spectrum))
    if isinstance(matrix, Product) and not found.known:
        found = found.joined(_rotated(analysis, flat(matrix.factors)))
    return found


def _powers_of_eigenvalues(matrix: Expression) -> Expression | None:
    """What tr(Xᵏ) and tr(exp X) of a symmetric X are sums of."""
    match matrix:
        case Product(factors) if len(set(flat(factors))) == 1 and is_symmetric(flat(factors)[0]):
            inside, count = flat(factors)[0], len(flat(factors))
            eigenvalues = Call("eigenvalues", (inside,), shape_of(inside)[:1])
            return Call("sum", (Power(eigenvalues, Number(Fraction(count))),))
        case Call("expm", (inside,)) if is_symmetric(inside):
            return Call("sum", (Function("exp", (Call("eigenvalues", (inside,), shape_of(inside)[:1]),)),))
        case _:
            return None


def _rotated(analysis: Analysis, factors: tuple[Expression, ...]) -> Facts:
    """tr(CM) with a constant C and M that is convex or concave as a matrix, after turning the factors round."""
    constant = [analysis.facts(factor).constant for factor in factors]
    for start in range(len(factors)):
        turned = factors[start:] + factors[:start]
        fixed = constant[start:] + constant[:start]
        count = next((k for k, one in enumerate(fixed) if not one), len(factors))
        for k in {0, count}:
            if k == len(factors):
                continue
            moving = product_of(turned[k:])
            convex, concave = analysis.loewner(moving)
            if not (convex or concave):
                continue
            matrix = product_of(turned[:k]) if k else None
            if matrix is None or (is_symmetric(matrix) and analysis.definite(matrix)):
                uses = (moving,) if matrix is None else (moving, matrix)
                rule = "tr(CM) with a constant semidefinite C, which keeps the order"
                return Facts(convex=convex, concave=concave, rule=rule, uses=uses).closed()
    return UNKNOWN


def _inner(analysis: Analysis, node: Call) -> Facts:
    left, right = node.arguments
    found = summed(multiplied(analysis, Fraction(1), [left, right], []))
    if len(shape_of(left)) == 1:
        return found.joined(product(analysis, Product((Transpose(left), right))))
    if len(shape_of(left)) == 2:
        return found.joined(analysis.facts(Call("tr", (Product((transposed(left), right)),))))
    return found


def _eigenvalues(analysis: Analysis, node: Call) -> Facts:
    definite = analysis.definite(node.arguments[0])
    return Facts(interval=POSITIVE if definite is Definite.POSITIVE else NONNEGATIVE if definite else EVERYTHING)


RULES: dict[str, Rule] = {
    "max": _extremum,
    "min": _extremum,
    "logsumexp": _log_sum_exp,
    "softmax": _softmax,
    "softmax_rows": _softmax,
    "prod": _prod,
    "logdet": _log_det,
    "det": _det,
    "tr": _trace,
    "inner": _inner,
    "eigenvalues": _eigenvalues,
}
