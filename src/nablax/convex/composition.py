"""Curvature of an expression from that of its parts: one pass over the tree, again until no condition is new."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from nablax.convex.atoms import Atom
from nablax.convex.atoms import composed as atom_composed
from nablax.convex.calls import call
from nablax.convex.elementwise import (
    added,
    function,
    known_of,
    kronecker,
    level,
    multiplied,
    powered,
    without_positive_factors,
)
from nablax.convex.facts import UNKNOWN, Analysis, Condition, Definite, Facts, Relation
from nablax.convex.forms import other_forms
from nablax.convex.homogeneous import degree_of, homogeneous
from nablax.convex.intervals import EVERYTHING, NONNEGATIVE, POSITIVE, UNIT, Interval, point
from nablax.convex.matrices import is_symmetric, loewner, product
from nablax.convex.monomials import monomial, over_sum
from nablax.convex.piecewise import piecewise
from nablax.convex.quadratics import quadratic
from nablax.convex.semidefinite import definite
from nablax.convex.spectral import spectral
from nablax.formula import Kind
from nablax.printing.expression import (
    Array,
    Call,
    Expression,
    Function,
    Hadamard,
    Identity,
    Inverse,
    Kronecker,
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
    Unit,
    Where,
    children,
    shape_of,
    walk,
)
from nablax.printing.rewrite import replaced, without_names
from nablax.printing.unicode import unicode

MOST_PASSES = 6


@dataclass(frozen=True)
class Known:
    """What is known of the arguments before anything is read.

    Args:
        variables: the variable; several, where all are taken together.
        kinds: what every argument is declared to be.
        positive: those whose entries are positive.
        assumed: conditions that hold on the domain.
    """

    variables: frozenset[str]
    kinds: Mapping[str, Kind] = field(hash=False)
    positive: frozenset[str] = frozenset()
    assumed: tuple[Condition, ...] = ()


class Composition(Analysis):
    """One pass.

    Args:
        known: what holds.
    """

    def __init__(self, known: Known) -> None:
        self._known = known
        self._facts: dict[Expression, Facts] = {}
        self._definite: dict[Expression, Definite] = {}
        self._loewner: dict[Expression, tuple[bool, bool]] = {}
        self._intervals: dict[Expression, Interval] = {}
        self._assumed: dict[Expression, Definite] = {}
        for condition in known.assumed:
            one = condition.expression
            match condition.relation:
                case Relation.DEFINITE:
                    self._assumed[one] = Definite.POSITIVE
                case Relation.SEMIDEFINITE:
                    self._assumed[one] = max(self._assumed.get(one, Definite.SEMIDEFINITE), Definite.SEMIDEFINITE)
                case _:
                    self._intervals[one] = self._intervals.get(one, EVERYTHING).common(condition.interval)
        self.conditions: dict[Condition, None] = {}
        self.refusals: dict[str, None] = {}

    def facts(self, expression: Expression) -> Facts:
        """What is known of the entries."""
        if expression not in self._facts:
            start = self._state()
            found = self._computed(expression)
            if not (found.convex or found.concave):
                found = self._otherwise(expression, found, start)
            if expression in self._intervals:
                found = replace(found, interval=found.interval.common(self._intervals[expression])).closed()
            self._facts[expression] = found
        return self._facts[expression]

    def definite(self, expression: Expression) -> Definite:
        """Whether a symmetric matrix is known to be positive (semi)definite; of a scalar, its sign."""
        if expression not in self._definite:
            declared = Definite.UNKNOWN
            if isinstance(expression, Symbol) and self._known.kinds.get(expression.name) is Kind.SPD:
                declared = Definite.POSITIVE
            found = definite(self, expression)
            self._definite[expression] = max(declared, self._assumed.get(expression, Definite.UNKNOWN), found)
        return self._definite[expression]

    def loewner(self, expression: Expression) -> tuple[bool, bool]:
        """Whether vᵀMv is convex, and whether it is concave, for every constant v."""
        if expression not in self._loewner:
            self._loewner[expression] = loewner(self, expression)
        return self._loewner[expression]

    def require(self, expression: Expression, relation: Relation) -> None:
        """Says that a rule holds where the condition does; the set where it does has to be convex."""
        if relation in (Relation.POSITIVE, Relation.NONNEGATIVE):
            expression = without_positive_factors(self, expression)
        condition = Condition(expression, relation)
        if condition in self._known.assumed:
            return
        facts = self.facts(expression)
        match relation:
            case Relation.POSITIVE:
                if facts.interval.positive:
                    return
                is_convex = facts.concave or facts.log_concave or level(self, expression)
            case Relation.NONNEGATIVE:
                if facts.interval.nonnegative:
                    return
                is_convex = facts.concave or facts.log_concave or level(self, expression)
            case _:
                if self.definite(expression) is Definite.POSITIVE:
                    return
                is_convex = is_symmetric(expression) and self.loewner(expression)[1]
        if facts.constant or is_convex:
            self.conditions[condition] = None
        else:
            self.refuse(f"the set where {unicode(expression)} is {relation.value} is not known to be convex")

    @property
    def variables(self) -> frozenset[str]:
        """The names of what is not constant."""
        return self._known.variables

    @property
    def assumed(self) -> tuple[Condition, ...]:
        """The conditions of the domain, those that were found so far among them."""
        return (*self._known.assumed, *self.conditions)

    def apart(
        self, expression: Expression, names: frozenset[str], assumed: tuple[Condition, ...] = ()
    ) -> tuple[Facts, tuple[Condition, ...]] | None:
        """What is known as a function of other variables, of all together, and where; None if that is no convex set."""
        positive = self._known.positive - self._known.variables
        own = self._known.variables
        fixed = (*(one for one in self._known.assumed if not _names(one.expression) & own), *assumed)
        if _names(expression) & own or not names:
            return None
        one, known = composed(expression, Known(names, self._known.kinds, positive, fixed))
        found = one.facts(expression)
        return None if one.refusals else (found, tuple(known.assumed[len(fixed) :]))

    def refuse(self, reason: str) -> None:
        """Says that the set where the expression is defined is not known to be convex."""
        self.refusals[reason] = None

    def _computed(self, node: Expression) -> Facts:
        match node:
            case Symbol(name):
                interval = POSITIVE if name in self._known.positive else EVERYTHING
                if name in self._known.variables:
                    return Facts(convex=True, concave=True, interval=interval).closed()
                return Facts(True, interval=interval).closed()
            case Number(value):
                return Facts(True, interval=point(value)).closed()
            case SizeOf(name):
                return Facts(True, interval=Interval(math.pi, math.pi) if name == "pi" else Interval(1)).closed()
            case Array(values):
                return Facts(True, interval=_entries(values)).closed()
            case Identity() | Unit():
                return Facts(True, interval=UNIT).closed()
            case Ones():
                return Facts(True, interval=point(1)).closed()
            case Sum(terms):
                return added(self, terms)
            case Hadamard(factors):
                return multiplied(self, 1, factors, ())
            case Kronecker():
                return kronecker(self, node)
            case Scale(coefficient, scalars, divisors, body):
                return multiplied(self, coefficient, (*scalars, *(() if body is None else (body,))), divisors)
            case Quotient(numerator, denominator):
                return multiplied(self, 1, (numerator,), (denominator,))
            case Power(base, exponent):
                return powered(self, base, exponent)
            case Function():
                return function(self, node)
            case Transpose(operand):
                return replace(self.facts(operand), rule="transposed", uses=(operand,))
            case Product():
                return product(self, node)
            case Inverse(operand):
                return self._inverse(operand)
            case Call():
                return call(self, node)
            case Where():
                return self.facts(without_names(node))
            case _:
                if self._is_constant(node):
                    return Facts(True).closed()
                self.refuse(f"nothing is known of {unicode(node)}")
                return UNKNOWN

    def _state(self) -> tuple[int, ...]:
        """How much is known; what comes later can be forgotten."""
        return tuple(map(len, self._memories()))

    def _memories(self) -> tuple[dict[Any, Any], ...]:
        return self._facts, self._definite, self._loewner, self.conditions, self.refusals

    def _otherwise(self, expression: Expression, found: Facts, start: tuple[int, ...]) -> Facts:
        """What the first of the further rules proves that proves something; what others asked for is forgotten."""
        self._facts[expression] = found  # for a rule that asks for it
        for rule in FURTHER:
            state = self._state()
            other = rule(self, expression, found)
            if _more(other, found) and not self._is_refused(start):
                return replace(found.joined(other), rule=other.rule, uses=other.uses)
            self._forget(state)
        end = [list(one.items()) for one in self._memories()]
        for rule in INSTEAD:
            self._forget(start)
            self._facts[expression] = UNKNOWN
            other = rule(self, expression, found)
            if _more(other, found) and not self._is_refused(start):
                return other
        self._forget(start)
        for memory, items in zip(self._memories(), end, strict=True):
            memory.update(items)  # as it was
        return found

    def _is_refused(self, start: tuple[int, ...]) -> bool:
        return len(self.refusals) > start[-1]

    def _forget(self, state: tuple[int, ...]) -> None:
        for memory, count in zip(self._memories(), state, strict=True):
            for key in list(memory)[count:]:
                del memory[key]

    def _inverse(self, operand: Expression) -> Facts:
        inner = self.facts(operand)
        if not inner.constant:
            if not is_symmetric(operand):
                self.refuse(f"the set where {unicode(operand)} is regular is not convex")
            else:
                self.require(operand, Relation.DEFINITE)
            rule = "the inverse of a positive definite matrix"
            return Facts(rule=rule, uses=(operand,))
        return known_of((inner,))

    def _is_constant(self, node: Expression) -> bool:
        if isinstance(node, Symbol):
            return node.name not in self._known.variables
        return all(map(self._is_constant, children(node)))


def _more(other: Facts, found: Facts) -> bool:
    """Whether a rule proves what was not known."""
    return other.convex or other.concave or (other.known and not found.known)


def _piecewise(analysis: Analysis, expression: Expression, _: Facts) -> Facts:
    found = piecewise(expression) or _piecewise_with_scale(analysis, expression)
    if found is None:
        return UNKNOWN
    atom, base = found
    rule = "a piecewise polynomial: second derivatives of one sign, and slopes that step the same way at kinks"
    return replace(atom_composed(atom, analysis.facts(base)), rule=rule, uses=(base,))


def _piecewise_with_scale(analysis: Analysis, expression: Expression) -> tuple[Atom, Expression] | None:
    """A piecewise polynomial of a base and a positive parameter d, at d = 1 where both together have a degree."""
    scales = [
        one for one in dict.fromkeys(walk(expression))
        if isinstance(one, Symbol) and not one.shape and analysis.facts(one).constant
        and analysis.facts(one).interval.positive
    ]  # fmt: skip
    for scale in scales:
        found = piecewise(replaced(expression, scale, Number(Fraction(1))))
        if found is None or scale in walk(found[1]):
            continue
        atom, base = found
        name = Symbol("_r", shape_of(base))
        alone = replaced(expression, base, name)
        if degree_of(alone, frozenset({scale.name, name.name})) is not None:
            sign = NONNEGATIVE if atom.image.nonnegative else EVERYTHING
            return replace(atom, image=sign), base
    return None


def _other_form(analysis: Analysis, expression: Expression, _: Facts) -> Facts:
    for form in other_forms(expression):
        found = analysis.facts(form)
        if found.known:
            return replace(found, rule=f"the same as {unicode(form)}", uses=(form,))
    return UNKNOWN


Rule = Callable[[Analysis, Expression, Facts], Facts]
# what is tried where an expression is neither known to be convex nor concave: rules that build on what is known of it,
FURTHER: tuple[Rule, ...] = (_piecewise, monomial, over_sum, homogeneous, quadratic)
# and those that look at it as something else, so that what the parts ask for does not count
INSTEAD: tuple[Rule, ...] = (spectral, _other_form)


def _names(expression: Expression) -> frozenset[str]:
    """The symbols that occur."""
    return frozenset(node.name for node in walk(expression, indexed=True) if isinstance(node, Symbol))


def _entries(values: str) -> Interval:
    try:
        found = ast.literal_eval(values)
    except (ValueError, SyntaxError):
        return EVERYTHING
    flat: list[float] = []
    waiting = [found]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list | tuple):
            waiting.extend(one)
        else:
            flat.append(float(one))
    if not flat or not all(map(math.isfinite, flat)):
        return EVERYTHING
    return point(min(flat)).hull(point(max(flat)))


def composed(expression: Expression, known: Known, passes: int = MOST_PASSES) -> tuple[Composition, Known]:
    """Passes over an expression until no condition is new.

    Args:
        expression: of a scalar value.
        known: what is known of the arguments.
        passes: how many, at most.

    Returns:
        The last pass, and what is known with all the conditions. Each condition was found where those before it hold,
        and its set is convex there; so the set where all hold is convex.
    """
    one = Composition(known)
    one.facts(expression)
    new = tuple(condition for condition in one.conditions if condition not in known.assumed)
    if not new:
        return one, known
    if passes == 1:
        one.refuse("conditions do not come to an end")
        return one, known
    return composed(expression, replace(known, assumed=(*known.assumed, *new)), passes - 1)
