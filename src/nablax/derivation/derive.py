"""`derive`: a formula or function in, closed forms of its derivatives out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nablax.derivation.closed_form import ClosedForm, closed_form
from nablax.derivation.errors import DerivationError, VerificationError
from nablax.derivation.networks import Writer
from nablax.derivation.planned import Polys, plan, read
from nablax.derivation.problem import Problem, from_formula, from_function
from nablax.derivation.tensors import Atom, AtomKind
from nablax.derivation.verify import Check, Verification
from nablax.derivation.write import contracted, map_or_array, shortest, symmetrised, with_names
from nablax.formula import Formula, parse_formula
from nablax.printing.expression import Expression, LinearMap, Symbol, shape_of


@dataclass(frozen=True)
class Derivation:
    """A function with its derivatives in closed form."""

    function: ClosedForm
    differential: ClosedForm
    gradient: ClosedForm
    hessian: ClosedForm | None
    verification: Verification

    def __str__(self) -> str:
        lines = [f"f = {self.function}", f"df = {self.differential}", f"∇f = {self.gradient}"]
        if self.hessian is not None:
            lines.append(f"∇²f = {self.hessian}")
        lines.append(str(self.verification))
        return "\n".join(lines)


def derive(
    formula: str | Sequence[object] | Formula | Callable[..., Any], wrt: str | int | None = None, *,
    declare: str | Mapping[str, str] | None = None, order: int = 2, args: Sequence[Any] | None = None,
) -> Derivation:
    if callable(formula):
        if args is None:
            raise DerivationError("a Python function needs example arguments: derive(f, wrt=0, args=(...))")
        problem = from_function(formula, args, wrt)
    else:
        parsed = formula if isinstance(formula, Formula) else parse_formula(formula, declare)
        problem = from_formula(parsed, wrt)
    planned = plan(problem, problem.symbolic_sizes, order)
    options = [read(problem, planned, expand=expand) for expand in (False, True)]
    return _written(problem, options, order)


def _written(problem: Problem, options: list[Polys], order: int) -> Derivation:
    names = {length: name for name, length in problem.symbolic_sizes.items()}
    writer = Writer(names)
    algebras = [one.algebra for one in options]
    leaf = options[0].leaf
    value = shortest(writer, [one.value for one in options])
    gradients, hessians = [one.gradient for one in options], [one.hessian for one in options]
    if leaf.symmetric:
        last = gradients[0].rank
        gradients = [symmetrised(a, p, [(last - 2, last - 1)]) for a, p in zip(algebras, gradients, strict=True)]
        hessians = [
            symmetrised(a, p, [(last - 2, last - 1), (last, last + 1)]) for a, p in zip(algebras, hessians, strict=True)
        ]
    direction = Atom(AtomKind.LEAF, f"d{leaf.name}", leaf.axes, (), leaf.symmetric)
    differential = shortest(
        writer, [contracted(a, p, direction) for a, p in zip(algebras, gradients, strict=True)]
    )
    gradient = map_or_array(writer, algebras, gradients, leaf)
    expressions = [gradient]
    if order > 1:
        expressions.append(map_or_array(writer, algebras, hessians, leaf))
    taken = {argument.name for argument in problem.arguments}
    arguments = {argument.name: argument.shape for argument in problem.arguments}
    listed = {name: shape for name, shape in arguments.items() if name not in problem.symbolic_sizes}
    symbol = Symbol(direction.name, writer.shape(leaf.axes))
    named = with_names(expressions, taken | {symbol.name})
    forms = [closed_form(e, listed, c) for e, c in zip(named, ("gradient", "hessian"), strict=False)]
    function = closed_form(value, listed, "function")
    check = Check(problem, order)
    verification = check.compare([function, *forms])
    if not verification.passed:
        raise VerificationError(f"failed: {verification} {[str(form) for form in (function, *forms)]}")
    return Derivation(
        function, closed_form(differential, {**listed, symbol.name: symbol.shape}, "differential"), forms[0],
        forms[1] if order > 1 else None, verification,
    )


__all__ = ["Derivation", "Expression", "LinearMap", "derive", "shape_of"]
