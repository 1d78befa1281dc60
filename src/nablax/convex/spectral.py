"""Symmetric functions of the eigenvalues of a symmetric matrix, and of the singular values of any matrix.

A function f(λ) that is convex and does not change where entries of λ are exchanged is convex in the symmetric matrix
whose eigenvalues they are (C. Davis, All convex invariant functions of hermitian matrices, 1957). Where f(|σ|) is
convex and f symmetric, f is convex in the matrix whose singular values they are (A. S. Lewis, The convex analysis of
unitarily invariant matrix functions, 1995).
"""

from __future__ import annotations

from enum import IntEnum

from nablax.convex.facts import UNKNOWN, Analysis, Condition, Definite, Facts, Relation
from nablax.convex.matrices import is_symmetric
from nablax.printing.expression import (
    Call,
    Expression,
    Function,
    Hadamard,
    Number,
    Ones,
    Power,
    Product,
    Quotient,
    Scale,
    SizeOf,
    Sum,
    Symbol,
    Transpose,
    children,
    shape_of,
    walk,
)
from nablax.printing.rewrite import replaced

ENTRIES = "_λ"
# what exchanging the entries of an argument does not change
INVARIANT = frozenset(
    {"sum", "mean", "prod", "max", "min", "norm", "norm_1", "norm_p", "norm_inf", "logsumexp", "inner"}
)
SIGNS = {Definite.POSITIVE: Relation.POSITIVE, Definite.SEMIDEFINITE: Relation.NONNEGATIVE}
MATRICES = {Relation.POSITIVE: Relation.DEFINITE, Relation.NONNEGATIVE: Relation.SEMIDEFINITE}
RULES = {
    "eigenvalues": "a symmetric function of the eigenvalues of an affine symmetric matrix",
    "singular_values": "a symmetric function of the singular values of an affine matrix",
}


class Exchange(IntEnum):
    """What an expression does where entries of a vector are exchanged."""

    ANYTHING = 0
    NOTHING = 1
    THE_SAME = 2  # its own entries are exchanged


def spectral(analysis: Analysis, node: Expression, found: Facts) -> Facts:
    """What is known of a scalar in which eigenvalues or singular values of one affine matrix occur.

    Args:
        analysis: answers for the matrix.
        node: the expression.
        found: what is known without.

    Returns:
        What is known of the function of the entries as numbers, where it is symmetric.
    """
    spectra = {one for one in walk(node) if isinstance(one, Call) and one.name in RULES}
    if shape_of(node) or len(spectra) != 1:
        return UNKNOWN
    [spectrum] = spectra
    [matrix] = spectrum.arguments
    inner, singular = analysis.facts(matrix), spectrum.name == "singular_values"
    if inner.constant or not inner.affine or not (singular or is_symmetric(matrix)):
        return UNKNOWN
    entries = Symbol(ENTRIES, shape_of(spectrum))
    body = replaced(node, spectrum, Function("abs", (entries,)) if singular else entries)
    if _exchanged(body, entries) is not Exchange.NOTHING:
        return UNKNOWN
    sign = None if singular else SIGNS.get(analysis.definite(matrix))
    apart = analysis.apart(body, frozenset({ENTRIES}), () if sign is None else (Condition(entries, sign),))
    if apart is None:
        return UNKNOWN
    facts, conditions = apart
    own = [one for one in conditions if one.expression == entries]
    others = [one for one in conditions if one.expression != entries]
    if (own and singular) or any(entries in walk(one.expression) for one in others):
        return UNKNOWN
    for condition in own:
        analysis.require(matrix, MATRICES[condition.relation])
    for condition in others:
        analysis.require(condition.expression, condition.relation)
    return Facts(
        convex=facts.convex,
        concave=facts.concave,
        log_convex=facts.log_convex,
        log_concave=facts.log_concave,
        root_convex=facts.root_convex,
        interval=facts.interval,
        rule=RULES[spectrum.name],
        uses=(matrix,),
    ).closed()


def _exchanged(node: Expression, entries: Symbol) -> Exchange:
    """What becomes of an expression where entries are exchanged."""
    if node == entries:
        return Exchange.THE_SAME
    match node:
        case Ones((_,)):
            return Exchange.THE_SAME
        case Number() | SizeOf():
            return Exchange.NOTHING
        case Symbol():
            return Exchange.ANYTHING if shape_of(node) else Exchange.NOTHING
        case Product((Transpose(left), right)) if len(shape_of(left)) == len(shape_of(right)) == 1:
            parts = {_exchanged(left, entries), _exchanged(right, entries)}
            return Exchange.NOTHING if parts == {Exchange.THE_SAME} else Exchange.ANYTHING
        case Call(name, arguments) if name in INVARIANT:
            known = all(_exchanged(one, entries) is not Exchange.ANYTHING for one in arguments)
            return Exchange.NOTHING if known else Exchange.ANYTHING
        case Sum() | Hadamard() | Scale() | Quotient() | Power() | Function():
            found = [_exchanged(child, entries) for child in children(node)]
            return Exchange.ANYTHING if Exchange.ANYTHING in found else max(found, default=Exchange.NOTHING)
        case _:
            return Exchange.ANYTHING
