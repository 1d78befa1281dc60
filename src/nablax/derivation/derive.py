"""`derive`: a formula or function in, closed forms of its derivatives out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar, overload

import numpy as np

from nablax.derivation.closed_form import ClosedForm
from nablax.derivation.derivation import Derivation
from nablax.derivation.joint import LAYOUT, JointDerivation
from nablax.derivation.planned import higher, plan, reader_of
from nablax.derivation.problem import FIRST_PRIME, Problem, from_formula, from_function
from nablax.derivation.session import Session
from nablax.derivation.shown import DerivationStep
from nablax.derivation.steps import Step, closing, steps, substituted
from nablax.derivation.without_notation import CONVENTION, CONVENTIONS, without_notation
from nablax.derivation.write import shortest
from nablax.effort import within
from nablax.errors import DerivationError, LateError, UnprintableError, VerificationError
from nablax.formula import Formula, parse_formula
from nablax.printing.rewrite import without_names

HIGHEST_ORDER = 6
MOST_OPERATIONS = 100  # different ones, up to which a Hessian is tried
FAILURES = (TypeError, ValueError, ArithmeticError, AttributeError)  # of a function at other lengths than its own
KINK = "the example is where a derivative jumps; it holds on either side"
MOST_RELATED = 3  # lengths that are tried as another and one more
STARTS = (FIRST_PRIME, 2 * FIRST_PRIME + 1)  # lengths of the traces, at least


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
    if order not in range(1, HIGHEST_ORDER + 1):
        raise DerivationError(f"order is 1, 2 or up to {HIGHEST_ORDER} for a scalar of a scalar, not {order!r}")
    parsed = formula if callable(formula) or isinstance(formula, Formula) else parse_formula(formula, declare)
    if wrt is not None and not isinstance(wrt, str | int | tuple | list):
        raise DerivationError(f"wrt is a name, a place or a tuple of these, not {wrt!r}")
    if isinstance(wrt, tuple | list):
        return _jointly(parsed, wrt, declare, args, order, seconds)
    is_long = isinstance(parsed, Formula) and len(set(parsed.expression.walk())) > MOST_OPERATIONS
    for low in (1,) if order == 1 or is_long else tuple(dict.fromkeys((order, 2, 1))):
        try:
            with within(seconds / 2):
                found = _derived(parsed, wrt, declare, args, low)
        except LateError:
            continue
        if low < order:
            late = "the Hessian takes" if low == 1 else "orders above 2 take"
            found = replace(found, notes=(*found.notes, f"{late} longer than {seconds:g} seconds"))
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
    """The derivation by several arguments."""
    if not wrt or order > 2:
        raise DerivationError("by several variables order is 1 or 2, and there is at least one variable")

    def questions() -> Iterator[tuple[Problem, Sequence[int]]]:
        for problems in zip(*(_problems(formula, one, declare, args, wrt) for one in wrt), strict=True):
            places = [problem.wrt for problem in problems]
            if len(set(places)) < len(places):
                raise DerivationError("a variable stands twice in wrt")
            yield problems[0], places

    try:
        with within(seconds / 2 * len(wrt)):
            return _first(questions(), order, _joint_derivation)
    except LateError:
        raise DerivationError(
            f"the closed forms take longer than {seconds:g} seconds for each variable; nablax.hessian evaluates "
            "the derivatives"
        ) from None


def _derived(
    formula: Formula | Callable[..., Any],
    wrt: str | int | None,
    declare: str | Mapping[str, str] | None,
    args: Sequence[Any] | None,
    order: int,
) -> Derivation:
    """The derivation by one argument; without closed forms, where an operation has no notation."""

    def unnamed(problem: Problem, error: UnprintableError) -> Derivation:
        # of a formula, the line in this package says nothing to the user
        reason = str(error) if problem.formula is None else str(UnprintableError(error.operation, ""))
        if order > 2:
            reason += f"; orders 3 to {order} are not given"
        return without_notation(problem, min(order, 2), reason)

    questions = ((problem, [problem.wrt]) for problem in _problems(formula, wrt, declare, args))
    return _first(questions, order, lambda session: _derivation(session, order), unnamed)


D = TypeVar("D", Derivation, JointDerivation)


def _first(
    questions: Iterator[tuple[Problem, Sequence[int]]],
    order: int,
    made: Callable[[Session], D],
    unnamed: Callable[[Problem, UnprintableError], D] | None = None,
) -> D:
    """The derivation at the first lengths at which the closed forms pass their check.

    Args:
        questions: a function at some lengths, and the places of the arguments by which.
        order: 1 or more.
        made: makes it.
        unnamed: what is made where an operation has no notation at any lengths; else that is refused.
    """
    failure: DerivationError | None = None
    first: Problem | None = None
    for problem, places in questions:
        is_own = problem.formula is not None or problem.symbolic_sizes == problem.numeric_sizes
        if first is not None and not is_own:
            continue  # what has no notation at some lengths has none at longer ones
        try:
            return _at_lengths(problem, places, order, made)
        except UnprintableError as error:
            failure, first = error, first or problem
            if is_own and unnamed is not None:  # else it may have a notation at its own lengths
                return unnamed(first, error)
        except VerificationError as error:
            failure = error
        except FAILURES as error:
            if problem.formula is not None:
                raise
            text = str(error).splitlines()[0]
            failure = DerivationError(f"the function cannot be derived: {type(error).__name__}: {text}")
    assert failure is not None
    raise failure


def _at_lengths(problem: Problem, places: Sequence[int], order: int, made: Callable[[Session], D]) -> D:
    """The derivation at the lengths of a problem; a function is compared beside its example, where that is a kink."""
    planned = plan(problem, problem.symbolic_sizes, places, min(order, 2), printed=True)
    if order > 2 and planned.shape(*places):
        raise DerivationError(
            f"order {order} is given for a scalar function of a scalar only; order=2 gives the Hessian"
        )
    session = Session.of(problem, places, planned)
    found: D
    notes: tuple[str, ...] = ()
    try:
        found = made(session)
    except VerificationError:
        if problem.formula is not None:
            raise
        session, notes = session.beside(), (KINK,)
        found = made(session)
    if problem.formula is None and problem.symbolic_sizes != problem.numeric_sizes:
        session.check_other_sizes()
    return replace(found.with_fixed_arrays(), notes=(*found.notes, *notes))


def _problems(
    formula: Formula | Callable[..., Any],
    wrt: str | int | None,
    declare: str | Mapping[str, str] | None,
    args: Sequence[Any] | None,
    others: Sequence[str | int] = (),
) -> Iterator[Problem]:
    """The question at lengths that stand for sizes; other lengths, where these stood for something else too.

    Then, for a Python function, with one length that is another and one more, and last at its own lengths: such an
    answer holds for no other.
    """
    if not callable(formula):
        yield from (from_formula(formula, wrt, start) for start in STARTS)
        return
    if args is None:
        raise DerivationError("a Python function needs example arguments: derive(f, wrt=0, args=(...))")
    yield from (from_function(formula, args, wrt, declare, start, others) for start in STARTS)
    lengths = {length for array in args for length in np.shape(array)}
    longer = sorted(length for length in lengths if length - 1 in lengths)[:MOST_RELATED]
    yield from (from_function(formula, args, wrt, declare, FIRST_PRIME, others, [length]) for length in longer)
    yield from_function(formula, args, wrt, declare, 0, others)


def _derivation(session: Session, order: int) -> Derivation:
    """Everything together."""
    problem, forms = session.problem, session.forms
    wrt = problem.wrt
    leaf = problem.arguments[wrt]
    gradient, hessian = forms.gradients[wrt], forms.blocks.get((wrt, wrt))
    value, own = session.value_shape, leaf.shape
    called = session.called
    shapes = {**session.arguments, called: value, f"∇{called}": (*value, *own)}
    return Derivation(
        **session.known(),
        wrt=leaf.name,
        gradient=gradient,
        hessian=hessian,
        higher=_higher(session, hessian, order) if hessian is not None and order > 2 else (),
        steps=_steps(session, gradient, hessian),
        shapes=shapes if hessian is None else {**shapes, f"∇²{called}": (*value, *own, *own)},
        convention=CONVENTIONS.get(leaf.kind, CONVENTION).format(leaf.name, called),
    )


def _joint_derivation(session: Session) -> JointDerivation:
    """Everything together, by several arguments."""
    forms = session.forms
    of = {place: session.problem.arguments[place] for place in session.places}
    names = {place: one.name for place, one in of.items()}
    conventions = [CONVENTIONS.get(one.kind, CONVENTION).format(one.name, session.called) for one in of.values()]
    return JointDerivation(
        **session.known(),
        wrt=tuple(names.values()),
        gradients={names[a]: replace(form, called=f"gradient_{names[a]}") for a, form in forms.gradients.items()},
        blocks={
            (names[a], names[b]): replace(form, called=f"hessian_{names[a]}_{names[b]}")
            for (a, b), form in forms.blocks.items()
        },
        shapes={**session.arguments, session.called: session.value_shape},
        convention="; ".join([*dict.fromkeys(conventions), *([LAYOUT] if forms.blocks else [])]),
    )


def _steps(session: Session, gradient: ClosedForm, hessian: ClosedForm | None) -> tuple[DerivationStep, ...]:
    """The derivation by differentials."""
    check, direction, called = (
        session.checks[session.problem.wrt],
        session.directions[session.problem.wrt],
        session.called,
    )
    found: list[Step] = []
    leaf = session.problem.arguments[session.problem.wrt]
    with suppress(LateError):
        if direction.name == f"d{leaf.name}":  # else steps would call two things by one name
            found.extend(steps(session.problem, session.algebras[0].sizes))
    first = found[0] if found else None
    found = [step for step in found if check.step(step.before, step.after, session.arguments)]
    whole = substituted(found, called) if found and found[0] is first and session.is_whole(found[0].before) else None
    if whole is not None and first is not None and check.step(first.before, whole.after, session.arguments):
        found.append(whole)
    if not session.value_rank:
        second = None if hessian is None else without_names(hessian.expression)
        found += closing(called, without_names(gradient.expression), second, direction)
    shapes = {**session.arguments, direction.name: direction.shape}
    return tuple(
        DerivationStep(one.rule, session.form(one.before, shapes, "before"), session.form(one.after, shapes, "after"))
        for one in found
    )


def _higher(session: Session, hessian: ClosedForm, order: int) -> tuple[ClosedForm, ...]:
    """Derivatives of order three and more of a scalar function of a scalar."""
    problem = session.problem
    _, nodes = higher(problem, problem.symbolic_sizes, order)
    forms: list[ClosedForm] = []
    read = [reader_of(problem, expand=expand) for expand in (False, True)]
    for node in nodes[2:]:
        options = [reader.node(node) for _, _, reader in read]
        expression = shortest(session.writer, [algebra for algebra, _, _ in read], options)
        forms.append(session.form(expression, session.arguments, f"derivative_{len(forms) + 3}"))
    session.checks[problem.wrt].higher([hessian, *forms])
    return tuple(forms)
