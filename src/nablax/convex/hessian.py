"""Proof by second derivatives: the printed Hessian is a sum of squares LᵀDL with D ≥ 0, on a convex domain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from nablax.convex.atoms import ATOMS
from nablax.convex.composition import Composition, Known
from nablax.convex.facts import Condition, Definite
from nablax.convex.semidefinite import map_definite
from nablax.printing.expression import (
    Call,
    Expression,
    Function,
    Indexed,
    LinearMap,
    Number,
    Piece,
    Power,
    children,
    walk,
)
from nablax.printing.multiples import scaled
from nablax.printing.rewrite import without_names

# functions of whole arrays that are smooth inside their domain
SMOOTH = frozenset({
    "sum", "mean", "tr", "inner", "diag", "diagonal", "vec", "rowsum", "colsum", "logdet", "det", "softmax",
    "softmax_rows", "logsumexp", "entry", "tril", "triu", "expm",
})  # fmt: skip


@dataclass(frozen=True)
class Second:
    """What second derivatives prove.

    Args:
        convex: whether the Hessian is positive semidefinite on the domain.
        concave: whether it is negative semidefinite there.
        form: the expression that shows it: the Hessian, or what it makes of a direction.
        signs: the weights D, with their sign in words.
        conditions: on the parameters, beside those that are known.
    """

    convex: bool
    concave: bool
    form: Expression
    signs: tuple[tuple[Expression, str], ...]
    conditions: tuple[Condition, ...]


def second_order(function: Expression, hessian: Expression, known: Known) -> Second | None:
    """Whether the Hessian shows convexity or concavity.

    Args:
        function: what it is the Hessian of. Where that has a kink the Hessian proves nothing.
        hessian: as printed.
        known: the arguments and the conditions of the domain, which is convex.

    Returns:
        The proof; None where there is none.
    """
    analysis = Composition(known)
    if not _smooth(function, analysis):
        return None
    form = without_names(hessian)
    if isinstance(form, LinearMap):
        body, [direction] = form.body, form.arguments  # of a scalar function it takes one
        up = map_definite(analysis, body, direction)
        down = Definite.UNKNOWN if up else map_definite(analysis, scaled(Fraction(-1), body), direction)
        form = body
    else:
        if any(isinstance(one, Indexed | Piece | LinearMap) for one in walk(form)):
            return None
        up = analysis.definite(form)
        down = analysis.definite(scaled(Fraction(-1), form))
    conditions = tuple(analysis.conditions)
    if not (up or down) or analysis.refusals:
        return None
    if not all(analysis.facts(condition.expression).constant for condition in conditions):
        return None
    return Second(bool(up), bool(down), form, tuple(_signs(form, analysis)), conditions)


def _smooth(node: Expression, analysis: Composition) -> bool:
    """Whether second derivatives exist inside the domain, and are continuous."""
    if analysis.facts(node).constant:
        return True
    match node:
        case Power(Call("norm" | "norm_F", arguments), Number(exponent)) if exponent >= 2:
            return all(_smooth(one, analysis) for one in arguments)
        case Call(name) if name not in SMOOTH:
            return False
        case Function(name) if name not in ATOMS or not ATOMS[name].smooth:
            return False
        case Indexed() | Piece() | LinearMap():
            return False
        case _:
            return all(_smooth(child, analysis) for child in children(node))


def _signs(form: Expression, analysis: Composition) -> Iterator[tuple[Expression, str]]:
    """The diagonals of a Hessian whose signs are not plain, in words."""
    for node in dict.fromkeys(walk(form)):
        match node:
            case Call("diag", (vector,)) if not isinstance(vector, Number):
                facts = analysis.facts(vector)
                yield vector, "every entry " + ("> 0" if facts.interval.positive else "≥ 0")
            case _:
                pass
