"""Closed forms of the derivatives by several arguments: one sweep, written and named together, each block checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nablax.derivation.algebra import Algebra
from nablax.derivation.closed_form import ClosedForm
from nablax.derivation.domain import domain
from nablax.derivation.given import formed, the_function
from nablax.derivation.joint import LAYOUT, JointDerivation
from nablax.derivation.networks import Writer
from nablax.derivation.planned import JointlyPlanned, plan_jointly, reader_of
from nablax.derivation.problem import Argument, Problem
from nablax.derivation.shown import value_name
from nablax.derivation.steps import paired
from nablax.derivation.tensors import Atom, Poly
from nablax.derivation.verify import Check, Verification
from nablax.derivation.without_notation import CONVENTION, CONVENTIONS
from nablax.derivation.write import contracted, direction_of, in_kind, map_or_array, shortest, with_names
from nablax.errors import VerificationError
from nablax.printing.expression import Expression, Sum, Symbol, Where

Forms = tuple[dict[int, ClosedForm], dict[tuple[int, int], ClosedForm]]


def derived_jointly(problem: Problem, places: Sequence[int], order: int) -> JointDerivation:
    """Value, gradients and blocks of the Hessian.

    Args:
        problem: what is differentiated.
        places: of the arguments by which.
        order: 1 or 2.

    Raises:
        VerificationError: no closed form passed its check.
        UnprintableError: an operation has no notation.
    """
    return _Session(problem, places, plan_jointly(problem, places, order)).derivation()


class _Session:
    def __init__(self, problem: Problem, places: Sequence[int], planned: JointlyPlanned) -> None:
        self.problem, self.places = problem, tuple(places)
        self.arguments = {a.name: a.shape for a in problem.arguments if a.name not in problem.units}
        self.writer = Writer(problem.lengths)
        self.checks = {place: Check(replace(problem, wrt=place)) for place in places}
        self.algebras: list[Algebra] = []
        self.values: list[Poly] = []
        self.gradients: dict[int, list[Poly]] = {place: [] for place in places}
        self.blocks: dict[tuple[int, int], list[Poly]] = {pair: [] for pair in planned.blocks}
        self.atoms: dict[int, Atom] = {}
        for expand in (False, True):
            algebra, self.atoms, reader = reader_of(problem, expand=expand)
            self.algebras.append(algebra)
            self.values.append(reader.node(planned.output))
            value = planned.output.shape
            for place, terms in planned.gradients.items():
                found = reader.terms(terms, (*value, *planned.leaves[place].shape))
                self.gradients[place].append(self._lying(algebra, found, len(value), (place,)))
            for (row, column), terms in planned.blocks.items():
                shape = (*value, *planned.leaves[row].shape, *planned.leaves[column].shape)
                found = reader.terms(terms, shape)
                self.blocks[row, column].append(self._lying(algebra, found, len(value), (row, column)))

    def _argument(self, place: int) -> Argument:
        return self.problem.arguments[place]

    def _lying(self, algebra: Algebra, p: Poly, start: int, places: Sequence[int]) -> Poly:
        """The part of a derivative that lies among the matrices of each variable's kind."""
        for place in places:
            rank = len(self._argument(place).shape)
            if rank == 2:
                p = in_kind(algebra, p, self._argument(place).kind, [(start, start + 1)])
            start += rank
        return p

    def derivation(self) -> JointDerivation:
        """Everything together."""
        function = the_function(
            self.problem,
            self.checks[self.places[0]],
            self.arguments,
            lambda: shortest(self.writer, self.algebras, self.values),
        )
        (gradients, blocks), verification = self.checked(function)
        names = {place: self._argument(place).name for place in self.places}
        formula = self.problem.formula
        conventions = [
            CONVENTIONS.get(self._argument(p).kind, CONVENTION).format(names[p], value_name(self.arguments))
            for p in self.places
        ]
        return JointDerivation(
            function=function,
            wrt=tuple(names.values()),
            differential=self.differential(gradients),
            gradients={names[place]: form for place, form in gradients.items()},
            blocks={(names[a], names[b]): form for (a, b), form in blocks.items()},
            domain=domain(formula) if formula is not None else (),
            shapes={**self.arguments, value_name(self.arguments): self.writer.shape(self.values[0].axes)},
            convention="; ".join([*dict.fromkeys(conventions), *([LAYOUT] if blocks else [])]),
            notes=formula.notes if formula is not None else (),
            verification=verification,
            reading=formula.declaration if formula is not None else "",
        )

    def checked(self, function: ClosedForm) -> tuple[Forms, Verification]:
        """Closed forms that pass: in matrix notation with names, without, else in index notation."""
        pairs = [*self.gradients.items(), *((pair[1], options) for pair, options in self.blocks.items())]
        plain = [map_or_array(self.writer, self.algebras, options, self.atoms[place]) for place, options in pairs]
        taken = {a.name for a in self.problem.arguments} | {"d", value_name(self.arguments), "e", "I"}
        taken |= {f"d{self._argument(place).name}" for place in self.places}
        indexed = [self.writer.indexed(options[0]) for _, options in pairs]
        worst = Verification(0, 0.0)
        for option in (with_names(plain, taken), plain, indexed):
            forms = self._forms(option)
            worst = self._compared(function, *forms)
            if worst.passed:
                return forms, worst
        raise VerificationError(
            f"no closed form of the derivative passed its check ({worst}); nothing is shown. "
            "nablax.hessian and nablax.jacobian evaluate it"
        )

    def _forms(self, expressions: Sequence[Expression]) -> Forms:
        first, second = expressions[: len(self.places)], expressions[len(self.places) :]
        name = {place: self._argument(place).name for place in self.places}
        gradients = {
            place: formed(self.problem, one, self.arguments, f"gradient_{name[place]}")
            for place, one in zip(self.gradients, first, strict=True)
        }
        blocks = {
            (a, b): formed(self.problem, one, self.arguments, f"hessian_{name[a]}_{name[b]}")
            for (a, b), one in zip(self.blocks, second, strict=True)
        }
        return gradients, blocks

    def _compared(
        self,
        function: ClosedForm,
        gradients: Mapping[int, ClosedForm],
        blocks: Mapping[tuple[int, int], ClosedForm],
    ) -> Verification:
        """Gradients against differences of the function, each block against differences of a gradient."""
        found = [self.checks[place].compare([function, form]) for place, form in gradients.items()]
        for (row, column), form in blocks.items():
            if all(one.passed for one in found):
                found.append(self.checks[column].block(gradients[row], form, self._argument(row).name))
        return max(found, key=lambda one: one.differences)

    def differential(self, gradients: Mapping[int, ClosedForm]) -> ClosedForm:
        """Σ ⟨∂f/∂x, dx⟩ for a scalar function, else the Jacobians applied and added."""
        terms: list[Expression] = []
        names: dict[Symbol, Expression] = {}
        arguments = dict(self.arguments)
        for place, gradient in gradients.items():
            leaf = self.atoms[place]
            direction = Symbol(f"d{leaf.name}", self.writer.shape(leaf.axes), leaf.symmetric)
            arguments[direction.name] = direction.shape
            body = gradient.expression
            if self.values[0].rank:
                pairs = zip(self.algebras, self.gradients[place], strict=True)
                body = shortest(self.writer, self.algebras, [contracted(a, p, direction_of(leaf)) for a, p in pairs])
                own = {**self.arguments, direction.name: direction.shape}
                form = formed(self.problem, body, own, "differential")
                self.checks[place].differential(form, direction.name)
                terms.append(body)
                continue
            if isinstance(body, Where):
                names |= dict(body.names)
                body = body.body
            terms.append(paired(body, direction))
        whole: Expression = terms[0] if len(terms) == 1 else Sum(tuple(terms))
        whole = Where(whole, tuple(names.items())) if names else whole
        return formed(self.problem, whole, arguments, "differential")
