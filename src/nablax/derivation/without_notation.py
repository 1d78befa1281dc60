"""Derivatives of what has no notation: shown as names, evaluated by the engine, checked like all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from nablax.derivation.closed_form import ClosedForm, closed_form
from nablax.derivation.derivation import Derivation
from nablax.derivation.domain import domain
from nablax.derivation.from_formula import from_formula
from nablax.derivation.planned import evaluator
from nablax.derivation.problem import Problem
from nablax.derivation.problem import from_formula as problem_of
from nablax.derivation.shown import value_name
from nablax.derivation.verify import UNCHECKED, Check, in_kind
from nablax.effort import unbounded
from nablax.errors import DerivationError, VerificationError
from nablax.formula import Kind, parse_formula
from nablax.printing.expression import Call, Expression, Symbol

Compiled = dict[tuple[tuple[int, ...], ...], Callable[..., Any]]  # by the shapes of the arguments
CONVENTION = "the gradient has the shape of the argument; rows of a Jacobian are outputs"
_SYMMETRISED = "gradient with respect to the full matrix, symmetrised: ∇{1} = ½(G + Gᵀ); {0} is symmetric"
CONVENTIONS = {
    Kind.SYMMETRIC: _SYMMETRISED,
    Kind.SPD: _SYMMETRISED,
    Kind.DIAGONAL: "gradient along the diagonal matrices: the diagonal of the one by all entries; {0} is diagonal",
    Kind.TRIANGULAR: "gradient along the lower triangular matrices: tril of the one by all entries; {0} is triangular",
    Kind.SKEW: "gradient along the skew matrices: ½(G − Gᵀ) of the one by all entries; {0}ᵀ = −{0}",
    Kind.ORTHOGONAL: "gradient by all entries, not along the orthogonal matrices; {0} is orthogonal",
}


def without_notation(problem: Problem, order: int, reason: str, *, checked: bool = True) -> Derivation:
    """A derivation without closed forms.

    Args:
        problem: what is differentiated.
        order: 1 or 2.
        reason: which operation has no notation; becomes a note.
        checked: whether there is time to compare the engine's derivatives with differences.

    Returns:
        The derivation; its forms evaluate at any point whose sizes fit.

    Raises:
        VerificationError: the engine's derivatives differ from central differences.
    """
    arguments = {a.name: a.shape for a in problem.arguments}
    leaf = problem.arguments[problem.wrt]
    check = Check(problem)
    function = _written(problem, arguments, check)
    value = check.value_shape
    sizes = {length: name for name, length in problem.numeric_sizes.items()}
    own = tuple(sizes.get(length, str(length)) for length in value)
    called = value_name(arguments)
    shapes = {called: own, f"∇{called}": (*own, *leaf.shape), f"∇²{called}": (*own, *leaf.shape, *leaf.shape)}
    names = [
        Symbol(called if problem.formula is None else problem.formula.source, own),
        Symbol(f"∂{called}/∂{leaf.name}", shapes[f"∇{called}"]),
        Symbol(f"∂²{called}/∂{leaf.name}²", shapes[f"∇²{called}"]),
    ][: order + 1]
    roles = ("function", "gradient", "hessian")
    known: Compiled = {}
    forms = [
        ClosedForm(name, arguments, title, _Engine(problem, order, place, known))
        for place, (name, title) in enumerate(zip(names, roles, strict=False))
    ]
    with unbounded():
        verification = check.compare(forms) if checked else UNCHECKED
    if not verification.passed:
        raise VerificationError(
            f"the engine's derivatives differ from central differences ({verification}); nothing is shown. {reason}"
        )
    direction = Symbol(f"d{leaf.name}" if f"d{leaf.name}" not in arguments else f"D{leaf.name}", leaf.shape)
    applied = not value and leaf.shape
    differential: Expression = Call("inner", (names[1], direction)) if applied else Symbol(f"d{called}", own)
    return Derivation(
        function=function or forms[0],
        wrt=leaf.name,
        differential=ClosedForm(differential, {**arguments, direction.name: leaf.shape}, "differential", _refused),
        gradient=forms[1],
        hessian=forms[2] if order > 1 else None,
        higher=(),
        steps=(),
        domain=domain(problem.formula) if problem.formula is not None else (),
        shapes={**arguments, **{name: shape for name, shape in shapes.items() if order > 1 or name != f"∇²{called}"}},
        convention=CONVENTIONS.get(leaf.kind, CONVENTION).format(leaf.name, called),
        notes=(*(problem.formula.notes if problem.formula is not None else ()), reason),
        verification=verification,
        reading=problem.formula.declaration if problem.formula is not None else "",
    )


def _written(problem: Problem, arguments: Mapping[str, tuple[str, ...]], check: Check) -> ClosedForm | None:
    """The function as the user wrote it, if that can be evaluated and has the engine's value."""
    written = None if problem.formula is None else from_formula(problem.formula)
    if written is None:
        return None
    form = closed_form(written, arguments, "function")
    try:
        return form if check.compare([form]).passed else None
    except (DerivationError, NotImplementedError, KeyError, TypeError, ValueError):
        return None


def _refused(**values: Any) -> Any:
    raise NotImplementedError("a differential without notation is not evaluated; the gradient is")


@dataclass(frozen=True)
class _Engine:
    """Value, gradient or Hessian by the engine, at the sizes of the check or others; one program gives all of them."""

    problem: Problem
    order: int
    place: int
    known: Compiled

    def __call__(self, **values: Any) -> Any:
        problem, known, place = self.problem, self.known, self.place
        arrays = [np.asarray(values[argument.name], argument.dtype) for argument in problem.arguments]
        key = tuple(array.shape for array in arrays)
        if key not in known:
            sizes = dict(problem.numeric_sizes)
            for argument, array in zip(problem.arguments, arrays, strict=True):
                sizes.update(zip(argument.shape, array.shape, strict=True))
            known[key] = evaluator(problem, self.order, sizes)
        with jax.enable_x64(True):
            found = np.asarray(known[key](*arrays)[place])
        for pair in range(place):  # every pair of axes of the argument
            last = found.ndim - 2 * pair
            turned = np.moveaxis(found, (last - 2, last - 1), (-2, -1)) if last >= 2 else found
            turned = in_kind(problem.arguments[problem.wrt].kind, turned)
            found = np.moveaxis(turned, (-2, -1), (last - 2, last - 1)) if last >= 2 else found
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        formula = self.problem.formula
        if formula is None:
            return _of_function, ()
        wrt = self.problem.arguments[self.problem.wrt].name
        return _of_formula, (formula.source, formula.declaration, wrt, self.order, self.place)


def _of_formula(source: str, declaration: str, wrt: str, order: int, place: int) -> _Engine:
    """The engine of a formula that was pickled: its text is read again."""
    return _Engine(problem_of(parse_formula(source, declaration), wrt), order, place, {})


def _of_function() -> Callable[..., Any]:
    """What a Python function, which is not pickled, leaves behind."""
    return _forgotten


def _forgotten(**values: Any) -> Any:
    raise DerivationError("the Python function was not stored with its derivation: derive it again to evaluate this")
