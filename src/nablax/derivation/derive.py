"""`derive`: a formula or function in, closed forms of its derivatives out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, overload

from nablax.derivation.closed_form import ClosedForm
from nablax.derivation.derivation import Derivation, DerivationStep
from nablax.derivation.derive_jointly import derived_jointly
from nablax.derivation.domain import domain
from nablax.derivation.effort import within
from nablax.derivation.from_formula import from_formula as written_formula
from nablax.derivation.given import formed, the_function
from nablax.derivation.joint import JointDerivation
from nablax.derivation.networks import Writer
from nablax.derivation.planned import Polys, atoms, higher, plan, read
from nablax.derivation.problem import FIRST_PRIME, Problem, from_formula, from_function, moved, resized
from nablax.derivation.read_nodes import Reader
from nablax.derivation.shown import value_name
from nablax.derivation.steps import Step, closing, paired, steps, substituted
from nablax.derivation.verify import Check, Verification
from nablax.derivation.without_notation import CONVENTION, CONVENTIONS, without_notation
from nablax.derivation.write import contracted, direction_of, in_kind, map_or_array, oriented, shortest, with_names
from nablax.errors import DerivationError, LateError, UnprintableError, VerificationError
from nablax.formula import Formula, parse_formula
from nablax.printing.expression import Call, Expression, LinearMap, Symbol, Where
from nablax.printing.rewrite import replaced

HIGHEST_ORDER = 6
MOST_OPERATIONS = 100  # different ones, up to which a Hessian is tried
FAILURES = (TypeError, ValueError, ArithmeticError, AttributeError)  # of a function at other lengths than its own
KINK = "the example is where a derivative jumps; it holds on either side"
STARTS = (FIRST_PRIME, 1009)  # lengths of the traces, at least


@overload
def derive(
    formula: str | Sequence[object] | Formula | Callable[..., Any],
    wrt: str | int | None = None,
    *,
    declare: str | Mapping[str, str] | None = None,
    order: int = 2,
    args: Sequence[Any] | None = None,
    seconds: float = 2.0,
) -> Derivation: ...


@overload
def derive(
    formula: str | Sequence[object] | Formula | Callable[..., Any],
    wrt: tuple[str | int, ...] | list[str | int] | list[str],
    *,
    declare: str | Mapping[str, str] | None = None,
    order: int = 2,
    args: Sequence[Any] | None = None,
    seconds: float = 2.0,
) -> JointDerivation: ...


def derive(
    formula: str | Sequence[object] | Formula | Callable[..., Any],
    wrt: str | int | tuple[str | int, ...] | list[str | int] | list[str] | None = None,
    *,
    declare: str | Mapping[str, str] | None = None,
    order: int = 2,
    args: Sequence[Any] | None = None,
    seconds: float = 2.0,
) -> Derivation | JointDerivation:
    """Gradient or Jacobian and Hessian of a formula in closed form, with steps, domain and a check.

    The closed forms are the engine's own planned derivatives, printed: nothing is derived a second time.

    Args:
        formula: text such as ``"1/2*norm2(A*x-b)^2"``, a nested list, a parsed formula, or a Python function
            of arrays with ``args``.
        wrt: the variable, by name or place; may be left out where there is only one. Several as a tuple: gradients by
            each, and every block of the Hessian.
        declare: what names are, for example ``"A: matrix(m,n), S: symmetric(n)"``.
        order: 1 for the gradient, 2 with the Hessian; up to 6 for a scalar function of a scalar.
        args: example arguments of a Python function; equal lengths are one size. Where the closed form holds
            for other lengths, sizes are letters, else the numbers of the example.
        seconds: how long it may take, about: work is counted, not timed, so that an answer is the same on every
            machine. What is late is left out: a sum stays as it is instead of being made shorter, the Hessian is not
            given, and last the gradient is only a name that the engine evaluates.

    Returns:
        The derivation; ``print`` shows it. For several variables a `JointDerivation`.

    Raises:
        FormulaError: the text cannot be read.
        DerivationError: a wrong argument, or an operation without notation.
        VerificationError: no closed form passed its check.

    Example:
        >>> d = derive("1/2*norm2(A*x-b)^2", wrt="x")
        >>> print(d.gradient), print(d.hessian)
        Aᵀ(Ax − b)
        AᵀA
        (None, None)
    """
    if not 1 <= order <= HIGHEST_ORDER:
        raise DerivationError(f"order is 1, 2 or up to {HIGHEST_ORDER} for a scalar of a scalar, not {order!r}")
    parsed = formula if callable(formula) or isinstance(formula, Formula) else parse_formula(formula, declare)
    if isinstance(wrt, tuple | list):
        return _jointly(parsed, wrt, declare, args, order, seconds)
    is_long = isinstance(parsed, Formula) and len(set(parsed.expression.walk())) > MOST_OPERATIONS
    for low in (order,) if order == 1 else (1,) if is_long else (order, 1):
        try:
            with within(seconds / 2):
                found = _derived(parsed, wrt, declare, args, low)
        except LateError:
            continue
        if low < order:
            found = replace(found, notes=(*found.notes, f"the Hessian takes longer than {seconds:g} seconds"))
        return found
    reason = f"a closed form takes longer than {seconds:g} seconds; nablax.hessian evaluates the derivatives"
    return without_notation(next(_problems(parsed, wrt, declare, args)), min(order, 2), reason, checked=False)


def _jointly(
    formula: Formula | Callable[..., Any],
    wrt: Sequence[str | int],
    declare: str | Mapping[str, str] | None,
    args: Sequence[Any] | None,
    order: int,
    seconds: float,
) -> JointDerivation:
    """The derivation by several arguments, at the first lengths at which the closed forms pass their check."""
    if not wrt or order > 2:
        raise DerivationError("by several variables order is 1 or 2, and there is at least one variable")
    failure: DerivationError | None = None
    several = [_problems(formula, one, declare, args) for one in wrt]
    for problems in zip(*several, strict=True):
        places = [problem.wrt for problem in problems]
        if len(set(places)) < len(places):
            raise DerivationError("a variable stands twice in wrt")
        problem = problems[0]
        try:
            with within(seconds / 2 * len(places)):
                found = _together(problem, places, order)
            if problem.formula is None and problem.symbolic_sizes != problem.numeric_sizes:
                _check_other_sizes(problem, found)
            return found
        except LateError:
            failure = DerivationError(
                f"the closed forms take longer than {seconds:g} seconds for each variable; nablax.hessian evaluates "
                "the derivatives"
            )
            break
        except (UnprintableError, VerificationError) as error:
            failure = error
        except FAILURES as error:
            if problem.formula is not None:
                raise
            failure = _not_derived(error)
    assert failure is not None
    raise failure


def _together(problem: Problem, places: Sequence[int], order: int) -> JointDerivation:
    """The derivation by several arguments; a function is compared beside its example, where that is a kink."""
    try:
        return derived_jointly(problem, places, order).with_fixed_arrays()
    except VerificationError:
        if problem.formula is not None:
            raise
    beside = problem
    for place in places:
        beside = moved(replace(beside, wrt=place))
    found = derived_jointly(beside, places, order).with_fixed_arrays()
    return replace(found, notes=(*found.notes, KINK))


def _not_derived(error: Exception) -> DerivationError:
    return DerivationError(f"the function cannot be derived: {type(error).__name__}: {str(error).splitlines()[0]}")


def _derived(
    formula: Formula | Callable[..., Any],
    wrt: str | int | None,
    declare: str | Mapping[str, str] | None,
    args: Sequence[Any] | None,
    order: int,
) -> Derivation:
    """The derivation at the first lengths at which the closed forms pass their check."""
    low = min(order, 2)
    failure: DerivationError | None = None
    unnamed: Problem | None = None
    for problem in _problems(formula, wrt, declare, args):
        try:
            return _at_lengths(problem, order)
        except UnprintableError as error:
            if problem.formula is None and problem.symbolic_sizes != problem.numeric_sizes:
                failure = error  # it may have a notation at its own lengths
                unnamed = unnamed or problem
                continue
            # of a formula, the line in this package says nothing to the user
            reason = str(error) if problem.formula is None else str(UnprintableError(error.operation, ""))
            if order > low:
                reason += f"; orders 3 to {order} are not given"
            return without_notation(unnamed or problem, low, reason)
        except VerificationError as error:
            failure = error
        except FAILURES as error:
            if problem.formula is not None:
                raise
            failure = _not_derived(error)
    assert failure is not None
    raise failure


def _at_lengths(problem: Problem, order: int) -> Derivation:
    """The derivation at the lengths of a problem; a function is compared beside its example, where that is a kink."""
    low = min(order, 2)
    planned = plan(problem, problem.symbolic_sizes, low, printed=True)
    if order > 2 and planned.gradient_shape:
        raise DerivationError(
            f"order {order} is given for a scalar function of a scalar only; order=2 gives the Hessian"
        )
    polys = [read(problem, planned, expand=expand) for expand in (False, True)]
    try:
        found = _Session(problem, polys, order).derivation().with_fixed_arrays()
    except VerificationError:
        if problem.formula is not None:
            raise
        found = _Session(moved(problem), polys, order).derivation().with_fixed_arrays()
        found = replace(found, notes=(*found.notes, KINK))
    if problem.formula is None and problem.symbolic_sizes != problem.numeric_sizes:
        _check_other_sizes(problem, found)
    return found


def _problems(
    formula: Formula | Callable[..., Any],
    wrt: str | int | None,
    declare: str | Mapping[str, str] | None,
    args: Sequence[Any] | None,
) -> Iterator[Problem]:
    """The question at lengths that stand for sizes; other lengths, where these stood for something else too.

    Last, for a Python function, at its own lengths: such an answer holds for no other.
    """
    if not callable(formula):
        yield from (from_formula(formula, wrt, start) for start in STARTS)
        return
    if args is None:
        raise DerivationError("a Python function needs example arguments: derive(f, wrt=0, args=(...))")
    yield from (from_function(formula, args, wrt, declare, start) for start in (*STARTS, 0))


def _check_other_sizes(problem: Problem, found: Derivation | JointDerivation) -> None:
    """Refuses closed forms of a function that hold at the lengths of the example only."""
    other = resized(problem)
    if isinstance(found, JointDerivation):
        checks = {a.name: Check(replace(other, wrt=place)) for place, a in enumerate(other.arguments)}
        verifications = [checks[name].compare([found.function, form]) for name, form in found.gradients.items()]
        verifications += [
            checks[column].block(found.gradients[row], form, row) for (row, column), form in found.blocks.items()
        ]
    else:
        forms = [found.function, found.gradient, *(() if found.hessian is None else (found.hessian,))]
        verifications = [Check(other).compare(forms)]
    for verification in verifications:
        if not verification.passed:
            raise VerificationError(f"the closed form does not hold at other sizes ({verification})")


class _Session:
    """One derivation: writes, names, checks."""

    def __init__(self, problem: Problem, polys: list[Polys], order: int) -> None:
        self.problem, self.order = problem, order
        self.algebras = [one.algebra for one in polys]
        self.leaf = polys[0].leaf
        self.writer = Writer(problem.lengths)
        self.values = [one.value for one in polys]
        self.gradients = [one.gradient for one in polys]
        self.hessians = [one.hessian for one in polys]
        self.kind = problem.arguments[problem.wrt].kind
        g = self.gradients[0].rank
        pairs = zip(self.algebras, self.gradients, strict=True)
        self.gradients = [in_kind(a, p, self.kind, [(g - 2, g - 1)]) for a, p in pairs]
        if order > 1:
            pairs = zip(self.algebras, self.hessians, strict=True)
            self.hessians = [in_kind(a, p, self.kind, [(g - 2, g - 1), (g, g + 1)]) for a, p in pairs]
        self.arguments = {a.name: a.shape for a in problem.arguments if a.name not in problem.units}
        self.direction = Symbol(f"d{self.leaf.name}", self.writer.shape(self.leaf.axes), self.leaf.symmetric)
        self.check = Check(problem)
        self.written = None if problem.formula is None else written_formula(problem.formula)
        self.shown: Expression | None = None

    def form(self, expression: Expression, arguments: Mapping[str, tuple[str, ...]], called: str) -> ClosedForm:
        """A closed form of the problem, with its norms as the formula has them."""
        if self.written is not None:
            expression = oriented(expression, self.written)
        return formed(self.problem, expression, arguments, called)

    def derivation(self) -> Derivation:
        """Everything together."""
        low = min(self.order, 2)
        derivatives = [map_or_array(self.writer, self.algebras, self.gradients, self.leaf)]
        if low > 1:
            derivatives.append(map_or_array(self.writer, self.algebras, self.hessians, self.leaf))
        taken = {argument.name for argument in self.problem.arguments} | {
            self.direction.name,
            "d",
            value_name(self.arguments),
            "e",
            "I",
        }
        named = with_names(derivatives, taken)
        function = the_function(
            self.problem, self.check, self.arguments, lambda: shortest(self.writer, self.algebras, self.values)
        )
        self.shown = function.expression
        forms, verification = self.checked(function, named, derivatives)
        formula = self.problem.formula
        gradient = forms[0]
        hessian = forms[1] if low > 1 else None
        return Derivation(
            function=function,
            wrt=self.leaf.name,
            differential=self.differential(gradient),
            gradient=gradient,
            hessian=hessian,
            higher=self.higher(hessian) if hessian is not None and self.order > 2 else (),
            steps=self.steps(gradient, hessian),
            domain=domain(formula) if formula is not None else (),
            shapes=self.shapes(),
            convention=CONVENTIONS.get(self.kind, CONVENTION).format(self.leaf.name, value_name(self.arguments)),
            notes=formula.notes if formula is not None else (),
            verification=verification,
            reading=formula.declaration if formula is not None else "",
        )

    def checked(
        self, function: ClosedForm, named: Sequence[Expression], plain: Sequence[Expression]
    ) -> tuple[list[ClosedForm], Verification]:
        """Closed forms that pass: in matrix notation, else in index notation."""
        called = ("gradient", "hessian")
        indexed = [self.writer.indexed(self.gradients[0]), self.writer.indexed(self.hessians[0])][: len(plain)]
        verification = None
        for option in (named, plain, indexed):
            forms = [self.form(e, self.arguments, name) for e, name in zip(option, called, strict=False)]
            verification = self.check.compare([function, *forms])
            if verification.passed:
                return forms, verification
        raise VerificationError(
            f"no closed form of the derivative passed its check ({verification}); nothing is shown. "
            "nablax.hessian and nablax.jacobian evaluate it"
        )

    def differential(self, gradient: ClosedForm) -> ClosedForm:
        """The differential as ⟨∇f, dx⟩ for a scalar function, else as a linear map applied."""
        arguments = {**self.arguments, self.direction.name: self.direction.shape}
        if self.gradients[0].rank == len(self.leaf.axes):
            names: tuple[tuple[Symbol, Expression], ...] = ()
            body: Expression = gradient.expression
            match body:
                case Where(inner, listed):
                    body, names = inner, listed
                case _:
                    pass
            value: Expression = paired(body, self.direction)
            return self.form(Where(value, names) if names else value, arguments, "differential")
        atom = direction_of(self.leaf)
        pairs = zip(self.algebras, self.gradients, strict=True)
        value = shortest(self.writer, self.algebras, [contracted(a, p, atom) for a, p in pairs])
        form = self.form(value, arguments, "differential")
        self.check.differential(form, self.direction.name)
        return form

    def steps(self, gradient: ClosedForm, hessian: ClosedForm | None) -> tuple[DerivationStep, ...]:
        """The derivation by differentials."""
        found: list[Step] = []
        with suppress(LateError):
            found.extend(steps(self.problem, self.algebras[0].sizes))
        first = found[0] if found else None
        found = [step for step in found if self.check.step(step.before, step.after, self.arguments)]
        whole = (
            substituted(found, value_name(self.arguments))
            if found and found[0] is first and self._starts(found[0].before)
            else None
        )
        if whole is not None and first is not None and self.check.step(first.before, whole.after, self.arguments):
            found.append(whole)
        if not self.values[0].rank:
            plain = [_without_names(form.expression) for form in (gradient, hessian) if form is not None]
            second = plain[1] if len(plain) > 1 else None
            if isinstance(second, LinearMap):
                second = None if hessian is None else second
            found += closing(
                value_name(self.arguments), plain[0], None if isinstance(second, LinearMap) else second, self.direction
            )
            if isinstance(second, LinearMap):
                found += self._map_step(second)
        shapes = {**self.arguments, self.direction.name: self.direction.shape}
        return tuple(
            DerivationStep(one.rule, self.form(one.before, shapes, "before"), self.form(one.after, shapes, "after"))
            for one in found
        )

    def _starts(self, before: Expression) -> bool:
        """Whether it is the differential of the whole function."""
        return isinstance(before, Call) and before.arguments in ((self.written,), (self.shown,))

    def _map_step(self, hessian: LinearMap) -> list[Any]:
        one, two = (replace(self.direction, name=f"{self.direction.name}_{k}") for k in (1, 2))
        body = replaced(_without_names(hessian.body), hessian.argument, one)
        called = value_name(self.arguments)
        step = closing(called, body, None, two)[0]
        return [replace(step, rule="Hessian: the differential of the gradient", before=Symbol(f"d²{called}", ()))]

    def shapes(self) -> Mapping[str, tuple[str, ...]]:
        """Shapes of arguments, value and derivatives."""
        value = self.writer.shape(self.values[0].axes)
        own = self.writer.shape(self.leaf.axes)
        found = dict(self.arguments)
        found[value_name(self.arguments)] = value
        found[f"∇{value_name(self.arguments)}"] = (*value, *own)
        if self.order > 1:
            found[f"∇²{value_name(self.arguments)}"] = (*value, *own, *own)
        return found

    def higher(self, hessian: ClosedForm) -> tuple[ClosedForm, ...]:
        """Derivatives of order three and more of a scalar function of a scalar."""
        sizes = self.problem.symbolic_sizes
        _, nodes = higher(self.problem, sizes, self.order)
        forms = []
        for order in range(3, self.order + 1):
            options = [Reader(algebra, atoms(self.problem, sizes)).node(nodes[order - 1]) for algebra in self.algebras]
            expression = shortest(self.writer, self.algebras, options)
            forms.append(self.form(expression, self.arguments, f"derivative_{order}"))
        self.check.higher([hessian, *forms])
        return tuple(forms)


def _without_names(expression: Expression) -> Expression:
    """Names put back, so that a step can be read alone."""
    if isinstance(expression, LinearMap):
        return LinearMap(expression.argument, _without_names(expression.body), expression.tensor)
    if not isinstance(expression, Where):
        return expression
    body = expression.body
    for symbol, value in reversed(expression.names):
        body = replaced(body, symbol, value)
    return body
