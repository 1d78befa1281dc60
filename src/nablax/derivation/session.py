"""One question: its derivatives written, named and checked together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from nablax.derivation.closed_form import ClosedForm, closed_form
from nablax.derivation.domain import domain
from nablax.derivation.from_formula import from_formula
from nablax.derivation.networks import Writer
from nablax.derivation.orientation import oriented
from nablax.derivation.planned import Planned, Polys, read
from nablax.derivation.problem import Problem, moved, resized
from nablax.derivation.shown import value_name
from nablax.derivation.steps import paired
from nablax.derivation.verify import Check, Verification
from nablax.derivation.write import (
    contracted,
    differential_of,
    map_or_array,
    shortest,
    with_columns,
    with_names,
)
from nablax.errors import VerificationError
from nablax.formula import Operation
from nablax.printing.expression import Call, Expression, Sum, Symbol, Where
from nablax.printing.rewrite import with_decimals, without_names

RESERVED = frozenset({"d", "e", "I"})


@dataclass(frozen=True)
class Forms:
    """Closed forms that passed their check.

    Args:
        gradients: by place of the argument.
        blocks: of the Hessian, by pair of places.
        verification: what the check found.
    """

    gradients: Mapping[int, ClosedForm]
    blocks: Mapping[tuple[int, int], ClosedForm]
    verification: Verification


class Session:
    """Writes, names and checks what was planned.

    Args:
        problem: what is differentiated.
        places: of the arguments by which.
        polys: the derivatives with sums kept together, and with products multiplied out where that differs.
    """

    def __init__(self, problem: Problem, places: Sequence[int], polys: Sequence[Polys]) -> None:
        self.problem, self.places = problem, tuple(places)
        self._polys = polys
        self.algebras = [one.algebra for one in polys]
        self.writer = Writer(problem.lengths)
        self.arguments = {a.name: a.shape for a in problem.arguments if a.name not in problem.units}
        self.checks = {place: Check(replace(problem, wrt=place)) for place in places}
        taken = [argument.name for argument in problem.arguments]
        self._along = {place: differential_of(polys[0].leaves[place], taken) for place in places}
        self.directions = {
            place: Symbol(one.name, self.writer.shape(one.axes), one.symmetric) for place, one in self._along.items()
        }
        self._written = None if problem.formula is None else from_formula(problem.formula)

    @classmethod
    def of(cls, problem: Problem, places: Sequence[int], planned: Planned) -> Session:
        """The session of a plan."""
        found = [read(problem, planned, expand=False)]
        if not found[0].algebra.is_like_other:
            found.append(read(problem, planned, expand=True))
        return cls(problem, places, found)

    def beside(self) -> Session:
        """The session with its check beside the example."""
        problem = self.problem
        for place in self.places:
            problem = moved(replace(problem, wrt=place))
        return Session(replace(problem, wrt=self.problem.wrt), self.places, self._polys)

    @property
    def called(self) -> str:
        """What the function is called."""
        return value_name(self.arguments)

    @property
    def value_rank(self) -> int:
        """Number of axes of the function's value."""
        return self._polys[0].value.rank

    @property
    def value_shape(self) -> tuple[str, ...]:
        """Names of the sizes of the function's value."""
        return self.writer.shape(self._polys[0].value.axes)

    @cached_property
    def function(self) -> ClosedForm:
        """The function itself: as the user wrote it, if that evaluates to the right value."""
        if self._written is not None:
            form = self._form(self._written, self.arguments, "function")
            if self.checks[self.places[0]].compare([form]).passed:
                return form
        found = shortest(self.writer, self.algebras, [one.value for one in self._polys])
        return self._form(found, self.arguments, "function")

    def is_whole(self, shown: Expression) -> bool:
        """Whether it is the differential of the whole function."""
        return isinstance(shown, Call) and shown.arguments in ((self._written,), (self.function.expression,))

    def known(self) -> dict[str, Any]:
        """What a derivation by one variable has, and one by several too."""
        formula = self.problem.formula
        return {
            "function": self.function,
            "differential": self.differential(),
            "domain": domain(formula, self._shown()) if formula is not None else (),
            "notes": formula.notes if formula is not None else (),
            "verification": self.forms.verification,
            "reading": formula.declaration if formula is not None else "",
        }

    def _shown(self) -> Sequence[Expression]:
        """The derivatives without names."""
        return [without_names(one.expression) for one in (*self.forms.gradients.values(), *self.forms.blocks.values())]

    def form(self, expression: Expression, arguments: Mapping[str, tuple[str, ...]], called: str) -> ClosedForm:
        """A closed form of the problem, with its norms as the formula has them."""
        return self._form(oriented(expression, self._written), arguments, called)

    def _form(self, expression: Expression, arguments: Mapping[str, tuple[str, ...]], called: str) -> ClosedForm:
        """A closed form, with decimal numbers where the user writes such."""
        expression = with_columns(expression)
        formula = self.problem.formula
        if formula is not None:
            nodes = list(formula.expression.walk())
            values = [node.value for node in nodes if node.operation is Operation.NUMBER]
            if any(value is not None and not float(value).is_integer() for value in values):
                below = [node.operands[1].value for node in nodes if node.operation is Operation.DIVIDE]
                kept = {int(value) for value in below if value is not None and float(value).is_integer()}
                expression = with_decimals(expression, kept)
        return closed_form(expression, arguments, called)

    @cached_property
    def forms(self) -> Forms:
        """Closed forms that pass: in matrix notation with names, without, else in index notation.

        Raises:
            VerificationError: none passed.
        """
        first, along = self._polys[0], self._along
        options = [([one.gradients[place] for one in self._polys], [along[place]]) for place in first.gradients]
        options += [
            ([one.blocks[pair] for one in self._polys], [along[place] for place in pair]) for pair in first.blocks
        ]
        plain = [oriented(map_or_array(self.writer, self.algebras, polys, by), self._written) for polys, by in options]
        taken = {a.name for a in self.problem.arguments} | {one.name for one in self.directions.values()}
        taken |= {self.called, *RESERVED}
        indexed = [self.writer.indexed(polys[0]) for polys, _ in options]
        found = Verification(0, 0.0)
        for option in (with_names(plain, taken), plain, indexed):
            count = len(first.gradients)
            gradients = [self.form(one, self.arguments, "gradient") for one in option[:count]]
            blocks = [self.form(one, self.arguments, "hessian") for one in option[count:]]
            shown = dict(zip(first.gradients, gradients, strict=True)), dict(zip(first.blocks, blocks, strict=True))
            found = self._compared(self.checks, *shown)
            if found.passed:
                return Forms(*shown, found)
        raise VerificationError(
            f"no closed form of the derivative passed its check ({found}); nothing is shown. "
            "nablax.hessian and nablax.jacobian evaluate it"
        )

    def _compared(
        self,
        checks: Mapping[int, Check],
        gradients: Mapping[int, ClosedForm],
        blocks: Mapping[tuple[int, int], ClosedForm],
    ) -> Verification:
        """Gradients against differences of the function, each block against differences of a gradient."""
        found = [checks[place].compare([self.function, form]) for place, form in gradients.items()]
        for (row, column), form in blocks.items():
            if all(one.passed for one in found):
                found.append(checks[column].block(gradients[row], form, self.problem.arguments[row].name))
        return max(found, key=lambda one: one.differences)

    def check_other_sizes(self) -> None:
        """Refuses closed forms of a function that hold at the lengths of the example only."""
        other = resized(self.problem)
        checks = {place: Check(replace(other, wrt=place)) for place in self.places}
        verification = self._compared(checks, self.forms.gradients, self.forms.blocks)
        if not verification.passed:
            raise VerificationError(f"the closed form does not hold at other sizes ({verification})")

    def differential(self) -> ClosedForm:
        """Σ ⟨∂f/∂x, dx⟩ for a scalar function, else the Jacobians applied and added."""
        terms: list[Expression] = []
        names: dict[Symbol, Expression] = {}
        arguments = dict(self.arguments)
        for place, gradient in self.forms.gradients.items():
            direction = self.directions[place]
            arguments[direction.name] = direction.shape
            body = gradient.expression
            if self.value_rank:
                along = self._along[place]
                options = [contracted(one.algebra, one.gradients[place], [along]) for one in self._polys]
                body = shortest(self.writer, self.algebras, options)
                own = {**self.arguments, direction.name: direction.shape}
                self.checks[place].differential(self.form(body, own, "differential"), direction.name)
                terms.append(body)
                continue
            if isinstance(body, Where):
                names |= dict(body.names)
                body = body.body
            terms.append(paired(body, direction))
        whole: Expression = terms[0] if len(terms) == 1 else Sum(tuple(terms))
        whole = Where(whole, tuple(names.items())) if names else whole
        return self.form(whole, arguments, "differential")
