"""`convexity`: a formula or function in, its curvature with a proof out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from nablax.convex.branch import branch
from nablax.convex.check import compare, reads
from nablax.convex.composition import Composition, Known, composed
from nablax.convex.facts import Condition, Definite, Facts, Relation
from nablax.convex.hessian import Second, second_order
from nablax.convex.points import NOT_EVALUATED, Sampling
from nablax.convex.reading import one_sum, written
from nablax.convex.refute import witnesses
from nablax.convex.result import Convexity, ConvexityCheck, ProofStep, Verdict, Witness
from nablax.derivation.closed_form import ClosedForm, closed_form
from nablax.derivation.derivation import Derivation
from nablax.derivation.derive import derive
from nablax.derivation.problem import from_formula, from_function
from nablax.errors import DerivationError, UnprintableError, VerificationError
from nablax.formula import Formula, Kind, parse_declarations, parse_formula
from nablax.printing.expression import Expression, Identity, Symbol, children, shape_of, walk
from nablax.printing.unicode import unicode

# what is said of the parameters where nothing is proved without; the weakest first
PARAMETERS = (
    (Relation.NONNEGATIVE, 0),
    (Relation.POSITIVE, 0),
    (Relation.NONNEGATIVE, 1),
    (Relation.POSITIVE, 1),
    (Relation.NONNEGATIVE, 2),
)


def convexity(
    formula: str | Sequence[object] | Formula | Callable[..., Any],
    wrt: str | int | tuple[str | int, ...] | None = None,
    *,
    declare: str | Mapping[str, str] | None = None,
    args: Sequence[Any] | None = None,
    seconds: float = 2.0,
) -> Convexity:
    """Whether a scalar function is convex, concave, affine or log-convex in an argument, on which domain, and why.

    The proof is by the rules of disciplined convex programming, from the inside of the expression to the outside. Where
    they say nothing, the Hessian that `derive` prints is taken: a sum of LᵀDL with D ≥ 0 proves convexity, as far as
    the function is smooth. Every verdict is compared with values of the function on random segments.

    Args:
        formula: text such as ``"norm2(A*x-b)^2"``, a nested list, a parsed formula, or a Python function of arrays
            with ``args``.
        wrt: the argument, by name or place; may be left out where there is only one. Several as a tuple: in all of
            them together. The others are constant.
        declare: what names are, for example ``"P: spd(n), c: positive scalar"``.
        args: example arguments of a Python function.
        seconds: how long a Hessian may take, about.

    Returns:
        The verdict with domain, proof and check; ``print`` shows it. The domain is where the function is defined, or
        its branch on which a quotient, power or logarithm of a determinant is positive; beside it stand conditions on
        parameters. UNKNOWN says that no rule applies, not that the function is not convex.

    Raises:
        FormulaError: the text cannot be read.
        DerivationError: a wrong argument, or a function whose values are not scalars.
        VerificationError: a verdict failed its check; it is not shown.

    Example:
        >>> import nablax as nb
        >>> found = nb.convexity("log(sum(exp(A*x + b)))", wrt="x")
        >>> found.verdict, found.domain
        (<Verdict.CONVEX: 'convex'>, ('every vector x',))

    Source: S. Boyd and L. Vandenberghe, Convex Optimization, 2004, chapter 3; M. Grant, S. Boyd and Y. Ye, Disciplined
    convex programming, 2006.
    """
    parsed = formula if callable(formula) or isinstance(formula, Formula) else parse_formula(formula, declare)
    several = wrt if isinstance(wrt, tuple) else (wrt,)
    if not several:
        raise DerivationError("there is at least one argument in wrt")
    return _Session(parsed, several, declare, args, seconds).answer()


class _Session:
    """One question: reads, proves, checks."""

    def __init__(
        self,
        formula: Formula | Callable[..., Any],
        several: tuple[str | int | None, ...],
        declare: str | Mapping[str, str] | None,
        args: Sequence[Any] | None,
        seconds: float,
    ) -> None:
        wrt = several[0]
        self._asked = (formula, wrt, declare, args, seconds)
        self._derivation: Derivation | None = None
        self._tried = False
        positive: set[str] = set()
        if isinstance(formula, Formula):
            self.problem = from_formula(formula, wrt)
            places = [from_formula(formula, one).wrt for one in several]
            if not formula.shape.is_scalar:
                raise DerivationError(f"convexity is of a scalar function; the formula is a {formula.shape}")
            positive |= {name for name, one in formula.variables.items() if one.positive}
            self.expression = written(formula)
        else:
            if args is None:
                raise DerivationError("a Python function needs example arguments: convexity(f, wrt=0, args=(...))")
            self.problem = from_function(formula, args, wrt, declare)
            places = [from_function(formula, args, one, declare).wrt for one in several]
            positive |= {name for name, one in parse_declarations(declare).items() if one.positive}
            self.expression = self._read_function()
        if len(set(places)) < len(places):
            raise DerivationError("a variable stands twice in wrt")
        self.positive = frozenset(positive)
        self.places = tuple(places)
        self.leaves = [self.problem.arguments[place] for place in places]
        self.arguments = {argument.name: argument.shape for argument in self.problem.arguments}
        kinds = {argument.name: argument.kind for argument in self.problem.arguments}
        self.known = Known(frozenset(leaf.name for leaf in self.leaves), kinds, self.positive)

    def _read_function(self) -> Expression | None:
        found = self._derived()
        if found is None:
            return None
        if found.value_shape:
            raise DerivationError(
                f"convexity is of a scalar function; this one has values of shape {found.value_shape}"
            )
        return None if found.function.engine is not None else one_sum(found.function.expression)

    def _derived(self) -> Derivation | None:
        """The derivation with its Hessian; None where there is none."""
        if not self._tried:
            self._tried = True
            formula, wrt, declare, args, seconds = self._asked
            try:
                self._derivation = derive(formula, wrt, declare=declare, args=args, seconds=seconds)
            except (UnprintableError, VerificationError):
                pass  # there is no closed form to look at
            except DerivationError:
                if not isinstance(formula, Formula):
                    raise
            except NOT_EVALUATED:
                pass  # a closed form that cannot be printed as code
        return self._derivation

    def answer(self) -> Convexity:
        """The strongest verdict that is proved, and that stands its check."""
        if self.expression is None:
            return self._unknown("derive gives no closed form of the function that could be read")
        if any(leaf.kind is Kind.ORTHOGONAL for leaf in self.leaves):
            return self._unknown("the orthogonal matrices are not a convex set")
        if not reads(self._on_branch(), closed_form(self.expression, self.arguments, "function")):
            return self._unknown("as printed it is another function at other points")
        reason = ""
        for known in self._assumptions():
            found, reason = self._proved(known, reason)
            if found is not None:
                return found
        return self._unknown(reason)

    # -- proofs --------------------------------------------------------------------------------------------

    def _assumptions(self) -> Iterator[Known]:
        """Nothing at first; then signs of the parameters, and matrices that are semidefinite."""
        yield self.known
        assert self.expression is not None
        free = [
            one
            for one in dict.fromkeys(walk(self.expression, indexed=True))
            if isinstance(one, Symbol)
            and one.name not in self.known.variables and one.name not in self.positive
        ]  # fmt: skip
        square = [
            one for one in free
            if len(one.shape) == 2 and one.shape[0] == one.shape[1]
            and self.known.kinds.get(one.name) in (Kind.SYMMETRIC, Kind.DIAGONAL)
        ]  # fmt: skip
        matrices = tuple(Condition(one, Relation.SEMIDEFINITE) for one in square)
        for relation, rank in PARAMETERS:
            signs = tuple(Condition(one, relation) for one in free if len(one.shape) <= rank)
            for assumed in dict.fromkeys((signs, (*signs, *matrices))):
                if assumed:
                    yield replace(self.known, assumed=assumed)

    def _proved(self, known: Known, reason: str) -> tuple[Convexity | None, str]:
        """A verdict where some conditions hold; with as few of them as are needed."""
        found = self._tried_with(known)
        if isinstance(found, str):
            return None, reason or found
        needed = list(known.assumed)
        for condition in known.assumed:
            fewer = replace(known, assumed=tuple(one for one in needed if one != condition))
            other = self._tried_with(fewer)
            if not isinstance(other, str) and other.verdict is found.verdict:
                found = other
                needed.remove(condition)
        return found, ""

    def _tried_with(self, known: Known) -> Convexity | str:
        """What composition, or else the Hessian, proves under these conditions; or why neither does."""
        assert self.expression is not None
        analysis, whole = composed(self.expression, known)
        facts = analysis.facts(self.expression)
        if analysis.refusals:
            return next(iter(analysis.refusals))
        if facts.convex or facts.concave:
            return self._certified(_verdict(facts), whole, tuple(self._steps(analysis)))
        by_hessian = self._by_hessian(whole)
        if by_hessian is not None:
            second, conditions = by_hessian
            verdict = (
                Verdict.AFFINE if second.convex and second.concave
                else Verdict.CONVEX if second.convex
                else Verdict.CONCAVE
            )  # fmt: skip
            return self._certified(verdict, replace(whole, assumed=conditions), tuple(self._second_steps(second)))
        if facts.log_concave:
            return self._certified(Verdict.LOG_CONCAVE, whole, tuple(self._steps(analysis)))
        return f"no rule gives the curvature of {unicode(_first_unknown(analysis, self.expression))}"

    def _by_hessian(self, known: Known) -> tuple[Second, tuple[Condition, ...]] | None:
        found = self._derived() if len(self.leaves) == 1 else None
        if found is None or found.hessian is None or found.hessian.engine is not None:
            return None
        assert self.expression is not None
        second = second_order(self.expression, found.hessian.expression, known)
        return None if second is None else (second, (*known.assumed, *second.conditions))

    # -- what is said --------------------------------------------------------------------------------------

    def _certified(self, verdict: Verdict, known: Known, proof: tuple[ProofStep, ...]) -> Convexity | str:
        sampling = Sampling(self.problem, known.assumed, self.positive, places=self.places)
        verification = compare(sampling, verdict)
        if not verification.segments:
            return "no point of the domain was found"
        refuted = witnesses(sampling) if verdict is Verdict.LOG_CONCAVE else ()
        return self._result(verdict, tuple(self._domain(known)), proof, refuted, (), verification)

    def _on_branch(self, *, fixed: bool = False) -> Sampling:
        """Points of the branch on which divisors are positive; of everywhere, where none are found on it."""
        everywhere = Sampling(self.problem, (), self.positive, fixed=fixed, places=self.places)
        conditions = () if self.expression is None else branch(self.expression, self.known)
        found = Sampling(self.problem, conditions, self.positive, fixed=fixed, places=self.places)
        return found if conditions and next(found.bases(), None) is not None else everywhere

    def _unknown(self, reason: str) -> Convexity:
        """What is not proved: refuted by witnesses, or unknown with the reason."""
        refuted = witnesses(self._on_branch(fixed=True))
        verdict = Verdict.NEITHER if len(refuted) == 2 else Verdict.UNKNOWN
        notes = [] if verdict is Verdict.NEITHER else [reason]
        if any(one.others for one in refuted):
            notes.append("the witnesses hold for the values of the other arguments that they name")
        return self._result(verdict, (), (), refuted, tuple(notes), ConvexityCheck(0, 0.0, 0))

    def _result(
        self,
        verdict: Verdict,
        domain: tuple[str, ...],
        proof: tuple[ProofStep, ...],
        refuted: tuple[Witness, ...],
        notes: tuple[str, ...],
        verification: ConvexityCheck,
    ) -> Convexity:
        formula = self._asked[0]
        reading = formula.declaration if isinstance(formula, Formula) else ""
        shown = self.expression if self.expression is not None else Symbol("f", ())
        form = self._form(shown)
        names = [leaf.name for leaf in self.leaves]
        wrt = names[0] if len(names) == 1 else f"({', '.join(names)})"
        return Convexity(verdict, form, wrt, domain, proof, refuted, notes, verification, reading)

    def _form(self, expression: Expression) -> ClosedForm:
        return closed_form(expression, self.arguments, "step")

    def _domain(self, known: Known) -> Iterator[str]:
        """The conditions as sentences, the variable's own first."""
        for leaf in self.leaves:
            kind = "positive " if leaf.name in self.positive else ""
            own = {0: "number", 1: "vector", 2: "matrix"}[len(leaf.shape)]
            if leaf.kind in (Kind.SYMMETRIC, Kind.DIAGONAL, Kind.TRIANGULAR):
                kind = f"{leaf.kind} "
            if leaf.kind is Kind.SPD:
                kind = "positive definite "
            yield f"every {kind}{own} {leaf.name}"
        for condition in dict.fromkeys(known.assumed):
            yield _sentence(condition)

    def _steps(self, analysis: Composition) -> Iterator[ProofStep]:
        """The proof by composition, the innermost first."""
        assert self.expression is not None
        done: set[Expression] = set()

        def visit(node: Expression) -> Iterator[ProofStep]:
            if node in done:
                return
            done.add(node)
            facts = analysis.facts(node)
            if facts.constant:
                if shape_of(node) and len(shape_of(node)) == 2 and not isinstance(node, Identity):
                    word = analysis.definite(node)
                    if word:
                        yield ProofStep(self._why(node), self._form(node), DEFINITE[word])
                return
            for part in facts.uses:
                yield from visit(part)
            if isinstance(node, Symbol):
                return
            yield ProofStep(facts.rule or "a constant multiple", self._form(node), _words(facts, analysis, node))

        yield from visit(self.expression)

    def _why(self, node: Expression) -> str:
        declared = isinstance(node, Symbol) and self.known.kinds.get(node.name) is Kind.SPD
        return "declared" if declared else "a condition" if isinstance(node, Symbol) else "a sum of squares LᵀDL, D ≥ 0"

    def _second_steps(self, second: Second) -> Iterator[ProofStep]:
        """The proof by the Hessian."""
        for weights, sign in second.signs:
            yield ProofStep("values of its parts on the domain", self._form(weights), sign)
        form = second.form
        if not shape_of(form):
            sign = "0" if second.convex and second.concave else "≥ 0" if second.convex else "≤ 0"
            yield ProofStep("second derivative, by the values of its parts on the domain", self._form(form), sign)
            return
        word = "positive" if second.convex else "negative"
        what = "0" if second.convex and second.concave else f"{word} semidefinite"
        yield ProofStep("Hessian, a sum of LᵀDL with D of one sign", self._form(form), what)


DEFINITE = {Definite.SEMIDEFINITE: "positive semidefinite", Definite.POSITIVE: "positive definite"}


def _verdict(facts: Facts) -> Verdict:
    if facts.affine:
        return Verdict.AFFINE
    if facts.log_convex:
        return Verdict.LOG_CONVEX
    return Verdict.CONVEX if facts.convex else Verdict.CONCAVE


def _words(facts: Facts, analysis: Composition, node: Expression) -> str:
    if not facts.known and len(shape_of(node)) == 2:
        convex, concave = analysis.loewner(node)
        if convex or concave:
            return f"{'convex' if convex else 'concave'} in the order of semidefinite matrices"
    return facts.words()


def _sentence(condition: Condition) -> str:
    """A condition in words."""
    text, relation = unicode(condition.expression), condition.relation
    if relation in (Relation.DEFINITE, Relation.SEMIDEFINITE):
        return f"{text} is {relation.value}"
    if not shape_of(condition.expression):
        return f"{text} {relation.value}"
    return f"every entry of {text} is {'positive' if relation is Relation.POSITIVE else 'nonnegative'}"


def _first_unknown(analysis: Composition, expression: Expression) -> Expression:
    """The innermost expression, of which nothing is known while something is of all its parts."""
    while True:
        for child in children(expression):
            facts = analysis.facts(child)
            if not (facts.known or facts.constant) and not any(analysis.loewner(child)):
                expression = child
                break
        else:
            return expression
