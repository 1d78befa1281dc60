"""The derivation by differentials, read from the engine: each operation's local Jacobian applied to d(…).

Nothing is differentiated here. An operation of a formula is traced by itself and swept once; of a function, a node's
own local Jacobian is taken, in the order in which the sweep eliminates the nodes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from nablax.derivation.algebra import Algebra
from nablax.derivation.elementary import elementary
from nablax.derivation.forms import cost, summed
from nablax.derivation.from_formula import read
from nablax.derivation.networks import Writer
from nablax.derivation.planned import atoms, traced
from nablax.derivation.problem import DTYPE, Problem
from nablax.derivation.read_nodes import Reader
from nablax.derivation.tensors import Atom, AtomKind, Poly
from nablax.derivation.write import contracted
from nablax.effort import late
from nablax.errors import NotMatrices, NotShown, UnprintableError
from nablax.formula import Formula, Kind, Operation, Typed, Variable, to_function
from nablax.graph.node import Node, NodeTerm
from nablax.notation import PRIMITIVES
from nablax.ops.kinds import Contraction, Elementwise, MatrixFunction, Opaque
from nablax.printing.expression import (
    ONE,
    Call,
    Expression,
    Function,
    Identity,
    LinearMap,
    Number,
    Ones,
    Power,
    Product,
    Scale,
    Sum,
    Symbol,
    Transpose,
    children,
    factors_of,
    is_row,
    mapped,
    shape_of,
    transposed,
)
from nablax.printing.multiples import parted, plain
from nablax.printing.rewrite import rebuilt, replaced
from nablax.sweeps.local import differential
from nablax.sweeps.second_order import active, reverse

MOST_SUBSTITUTIONS = 40
LONGEST = 40.0
MOST_AT_ONCE = 10 * LONGEST  # on the way there: what is longer does not become short
SUMS = frozenset({Operation.ADD, Operation.SUBTRACT, Operation.NEGATE})
PRODUCTS = frozenset({Operation.PRODUCT, Operation.MULTIPLY, Operation.OUTER, Operation.TRANSPOSE})
# What an operation's rule is called: where several operands vary, and where one does.
RULES = {
    Operation.ADD: ("sum", "constant"),
    Operation.SUBTRACT: ("sum", "constant"),
    Operation.NEGATE: ("sum", "scaling"),
    Operation.MULTIPLY: ("product", "scaling"),
    Operation.PRODUCT: ("product", "constant factor"),
    Operation.OUTER: ("product", "constant factor"),
    Operation.TRANSPOSE: ("product", "transpose"),
    Operation.DIVIDE: ("quotient", "quotient"),
    Operation.POWER: ("power", "power"),
    Operation.MATRIX_POWER: ("product", "product"),
    Operation.INDEX: ("element", "element"),
}
ARITHMETIC = {"add": "sum", "sub": "sum", "neg": "scaling", "mul": "product", "div": "quotient", "integer_pow": "power"}
CALLED = {"tr": "trace", "inv": "inverse", "norm1": "norm", "norm2": "norm", "where": "cases", "diag": "linear"}


@dataclass(frozen=True)
class Step:
    """One step.

    Args:
        rule: the rule's name.
        before: what it is applied to.
        after: what that equals.
    """

    rule: str
    before: Expression
    after: Expression


def steps(problem: Problem, names: Mapping[int, str]) -> Iterator[Step]:
    """The steps, outermost operation first; each d(…) that stands in one is explained by a later one.

    Args:
        problem: what is differentiated.
        names: names of the lengths of the trace.
    """
    with jax.enable_x64(True):
        yield from _of_function(problem, names) if problem.formula is None else _of_formula(problem, names)


def _applied(
    names: Mapping[int, str],
    jacobian: Mapping[Node, Sequence[NodeTerm]],
    axes: tuple[int, ...],
    shown: Mapping[Node, Expression],
    leaves: Mapping[int, Atom] | None = None,
) -> Expression:
    """A local Jacobian applied to the differentials of the inputs, each written as what is shown for it."""
    atoms = {
        node: Atom(AtomKind.LEAF, f"{node.number}", node.shape, (), _is_symmetric(one)) for node, one in shown.items()
    }
    algebra = Algebra(names, expand=False)
    reader = Reader(algebra, leaves or {}, known=atoms)
    parts = [Poly(axes, ())]
    for source, terms in jacobian.items():
        along = replace(atoms[source], name=f"~{atoms[source].name}")  # behind all letters: differentials come last
        parts.append(contracted(algebra, reader.terms(terms, (*axes, *source.shape)), [along]))
    values = {atoms[node].name: one for node, one in shown.items()}
    return _read_aloud(Writer(names, summed).write(algebra.add(parts)), values)


def _is_symmetric(shown: Expression) -> bool:
    return len(shape_of(shown)) == 2 and transposed(shown) == shown


# -- operations of a formula -------------------------------------------------------------------------------


def _of_formula(problem: Problem, names: Mapping[int, str]) -> Iterator[Step]:
    formula = problem.formula
    assert formula is not None
    wrt = problem.arguments[problem.wrt].name
    waiting = deque([formula.expression])
    seen: set[Typed] = set()
    while waiting and not late():
        node = waiting.popleft()
        if node in seen or node.operation is Operation.VARIABLE:
            continue
        seen.add(node)
        body, operands = _scope(node)
        moving = {one: variable for one, variable in operands.items() if _depends(one, wrt)}
        waiting += moving
        try:
            before = read(node, formula.variables)
            after = _of_operation(problem, formula, body, operands, moving, names)
        except (NotShown, NotMatrices, UnprintableError, TypeError):
            continue
        step = Step(_rule(node, body, moving), _change(before), transposed(after) if is_row(before) else after)
        if step.before != step.after and node.operation is not Operation.COMPARE:
            yield step


def _depends(node: Typed, wrt: str) -> bool:
    return any(one.operation is Operation.VARIABLE and one.label == wrt for one in node.walk())


def _scope(node: Typed) -> tuple[Typed, dict[Typed, Typed]]:
    """One operation with variables in place of its operands; sums of sums and products of products are one."""
    operands: dict[Typed, Typed] = {}

    def inside(parent: Typed, child: Typed) -> Typed:
        if child.value is not None and all(one.operation is not Operation.CONSTANT for one in child.walk()):
            return child
        if _belongs(parent, child):
            return replace(child, operands=tuple(inside(child, one) for one in child.operands))
        if child not in operands:
            label = f"u{len(operands)}"
            operands[child] = Typed(Operation.VARIABLE, (), child.shape, child.syntax, label)
        return operands[child]

    return replace(node, operands=tuple(inside(node, child) for child in node.operands)), operands


def _belongs(parent: Typed, child: Typed) -> bool:
    """Whether two operations are one in a book."""
    if parent.operation in SUMS:
        return child.operation in SUMS
    if parent.operation in PRODUCTS:
        return child.operation in PRODUCTS or child.operation is Operation.NEGATE
    squared = parent.operation is Operation.POWER and child.label == "norm2" and parent.operands[1].value == 2
    return squared or child.label in ("eig", "kron")


def _rule(node: Typed, body: Typed, moving: Mapping[Typed, Typed]) -> str:
    if node.operation is Operation.CALL:
        name = CALLED.get(node.label, node.label)
        lone = len(node.operands) == 1 and node.shape == node.operands[0].shape and name != "inverse"
        return f"{name}, chain" if lone and node.operands[0].operation is not Operation.VARIABLE else name
    if node.operation is Operation.POWER and node.operands[0].label == "norm2" and node.operands[1].value == 2:
        return "squared norm"
    if node.operation is Operation.MATRIX_POWER and node.options[0] == -1:
        return "inverse"
    several, one = RULES.get(node.operation, ("constant", "constant"))
    return several if sum(part in moving.values() for part in body.walk()) > 1 else one


def _of_operation(
    problem: Problem,
    formula: Formula,
    body: Typed,
    operands: Mapping[Typed, Typed],
    moving: Mapping[Typed, Typed],
    names: Mapping[int, str],
) -> Expression:
    """The differential of one operation, in the differentials of its operands."""
    lengths = {size: problem.symbolic_sizes[size] for size in formula.sizes}
    variables = {one.label: Variable(one.label, Kind.MATRIX, one.shape) for one in operands.values()}
    alone = elementary(Formula("", body, variables, formula.sizes))
    structs = [jax.ShapeDtypeStruct(one.shape.concrete(lengths), DTYPE) for one in operands.values()]
    graph, leaves, output = traced(to_function(alone, lengths), structs)
    written = {leaf: read(operand, formula.variables) for leaf, operand in zip(leaves, operands, strict=True)}
    shown = {leaf: transposed(one) if is_row(one) else one for leaf, one in written.items()}
    wrt = [leaf for leaf, operand in zip(leaves, operands, strict=True) if operand in moving]
    return _applied(names, reverse(graph, output, wrt), output.shape, shown)


# -- nodes of a function -----------------------------------------------------------------------------------


def _of_function(problem: Problem, names: Mapping[int, str]) -> Iterator[Step]:
    lengths = problem.symbolic_sizes
    graph, leaves, output = traced(problem.function(lengths), problem.structs(lengths))
    leaf = leaves[problem.wrt]
    leaves_of = atoms(problem, lengths)
    moving = active(output, leaf.depends)
    written = _Written(Reader(Algebra(names, expand=False), leaves_of), Writer(names))
    asked: set[Expression] = set()
    for node in reversed(moving):
        if node is leaf or late():
            continue
        try:
            shown = {one: written.of(one) for one in (node, *node.inputs) if one.depends}
            found = _whole(names, node, shown[node], {written.of(one): one for one in moving if written.has(one)})
            if found is None:
                after = _applied(names, differential(graph, node, leaf.depends), node.shape, shown, leaves_of)
                found = _named(node), after
        except (NotMatrices, UnprintableError, TypeError, ValueError):
            continue
        before = _change(shown[node])
        if isinstance(shown[node], Symbol):
            continue  # the argument itself, as ½(S + Sᵀ) of a symmetric one
        if node is not output and before not in asked:
            continue  # what a guard stops, or stands inside a function that is one
        rule, after = found
        inside = _differentials(after)
        if before not in inside:
            asked.update(inside)
            yield Step(rule, before, after)


class _Written:
    """Nodes as expressions, each written once."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader, self._writer = reader, writer
        self._known: dict[Node, Expression | None] = {}

    def has(self, node: Node) -> bool:
        """Whether a node has a notation."""
        if node not in self._known:
            try:
                self._known[node] = self._writer.write(self._reader.node(node))
            except (NotMatrices, UnprintableError, TypeError, ValueError):
                self._known[node] = None
        return self._known[node] is not None

    def of(self, node: Node) -> Expression:
        """The expression of a node.

        Raises:
            UnprintableError: it has none.
        """
        found = self._known[node] if self.has(node) else None
        if found is None:
            raise UnprintableError("a value", node.line)
        return found


def _whole(
    names: Mapping[int, str], node: Node, shown: Expression, known: Mapping[Expression, Node]
) -> tuple[str, Expression] | None:
    """The rule and differential of a function that is several nodes, such as a norm; None where it is none."""
    for rule, inside, function in _functions(shown):
        source = known.get(inside)
        if source is None or source is node or source.shape == ():
            continue
        graph, [leaf], output = traced(function, [jax.ShapeDtypeStruct(source.shape, DTYPE)])
        if output.shape != node.shape:
            continue
        chained = rule == "softmax" and not isinstance(inside, Symbol)
        applied = _applied(names, reverse(graph, output, [leaf]), output.shape, {leaf: inside})
        return f"{rule}, chain" if chained else rule, applied
    return None


def _functions(shown: Expression) -> Iterator[tuple[str, Expression, Callable[[Any], Any]]]:
    """What an expression may be as a function of one array: rule, array, function."""
    match shown:
        case Power(Call("norm" | "norm_F", (inside,)), Number(value)) if value == 2:
            yield "squared norm", inside, lambda u: jnp.sum(u * u)
        case Product((Transpose(left), right)) if left == right and len(shape_of(right)) == 1:
            yield "squared norm", right, lambda u: jnp.sum(u * u)
        case Call("norm" | "norm_F", (inside,)):
            yield "norm", inside, lambda u: jnp.sqrt(jnp.sum(u * u))
        case Call("softmax" | "softmax_rows", (inside,)):
            yield "softmax", inside, lambda u: jnp.exp(u) / jnp.sum(jnp.exp(u), axis=-1, keepdims=True)
        case Function("log", (Call("sum", (Function("exp", (inside,)),)),)):
            yield "logsumexp", inside, lambda u: jnp.log(jnp.sum(jnp.exp(u)))
        case Function("log", (Product((Function("exp", (inside,)), Ones((_,)))),)):
            yield "logsumexp", inside, lambda u: jnp.log(jnp.sum(jnp.exp(u), axis=1))
        case Product((Function("log", (Product((Function("exp", (inside,)), Ones((_,)))),)), Transpose(Ones(("1",))))):
            yield "logsumexp", inside, lambda u: jnp.log(jnp.sum(jnp.exp(u), axis=1, keepdims=True))
        case Function("Phi", (inside,)):
            yield "Phi", inside, lambda u: (1 + jax.lax.erf(u * math.sqrt(0.5))) / 2
        case _:
            return


def _named(node: Node) -> str:
    kind = node.kind
    match kind:
        case Contraction():
            return "product" if len(kind.inputs) > 1 else "sum"
        case Elementwise() if kind.function.instructions:
            name = kind.function.instructions[-1].operation.name
            return ARITHMETIC.get(name, PRIMITIVES.get(name, name))
        case MatrixFunction() | Opaque():
            return CALLED.get(kind.name, kind.name)
        case _:
            return "elements"


# -- reading ----------------------------------------------------------------------------------------------


def _change(shown: Expression) -> Expression:
    if is_row(shown):
        return Call("d", (shown,), shape_of(shown)[1:])
    return Call("d", (shown,), shape_of(shown))


def _is_change(symbol: Expression) -> bool:
    return isinstance(symbol, Symbol) and symbol.name.startswith("~")


def _place(term: Expression) -> int:
    """Where the differential stands in a product: dA B comes before A dB."""
    match term:
        case Product(factors):
            return next((k for k, one in enumerate(factors) if _is_change(one) or _is_change(transposed(one))), -1)
        case Scale(_, scalars, _, body):
            return _place(body if body is not None else scalars[0] if len(scalars) == 1 else ONE)
        case _:
            return -1


def _read_aloud(expression: Expression, values: Mapping[str, Expression]) -> Expression:
    """Numbered symbols as what they stand for: differentials last, and ⟨u, dv⟩ for uᵀ dv where u is long."""

    def aloud(node: Expression) -> Expression:
        match node:
            case Symbol(name):
                return _change(values[name[1:]]) if name.startswith("~") else values.get(name, node)
            case Transpose(Symbol()):
                return transposed(aloud(node.operand))
            case Product((Transpose(left), right)) if not shape_of(node) and _is_change(left) != _is_change(right):
                first, last = map(aloud, (right, left) if _is_change(left) else (left, right))
                return Product((Transpose(first), last)) if isinstance(first, Symbol) else Call("inner", (first, last))
            case Call("tr", (Product(factors),)):
                k = next((k for k, one in enumerate(factors) if _is_change(one)), -1)
                turned = (*factors[k + 1 :], *factors[: k + 1]) if k >= 0 else factors
                return Call("tr", (mapped(Product(turned), aloud),))
            case Sum(terms):
                return Sum(tuple(map(aloud, sorted(terms, key=_place))))
            case Scale(number, scalars, divisors, body):
                ordered = sorted(scalars, key=_is_change)
                return mapped(Scale(number, tuple(ordered), divisors, body), aloud)
            case _:
                return mapped(node, aloud)

    return aloud(expression)


def substituted(found: Sequence[Step], value: str) -> Step | None:
    """The first differential with all others put in; None where one of them has no step, or it is long."""
    if len(found) < 2 or not isinstance(found[0].before, Call):
        return None
    known = {step.before: step.after for step in found}
    whole = found[0].after
    for _ in range(MOST_SUBSTITUTIONS):
        if cost(whole) > MOST_AT_ONCE:
            return None
        for node in _differentials(whole):
            if node in known:
                whole = replaced(whole, node, known[node])
                break
        else:
            break
    # numbers and scalars of scaled scalars in one place: ½(2⟨u, dv⟩) = ⟨u, dv⟩
    whole = rebuilt(whole, lambda node: plain(node) if isinstance(node, Scale) else node)
    if cost(whole) > LONGEST or any(not isinstance(node.arguments[0], Symbol) for node in _differentials(whole)):
        return None
    return Step("substitution", Symbol(f"d{value}", ()), whole)


def _differentials(expression: Expression) -> list[Call]:
    found = [expression] if isinstance(expression, Call) and expression.name == "d" else []
    return found or [one for child in children(expression) for one in _differentials(child)]


def closing(value: str, gradient: Expression, hessian: Expression | None, direction: Symbol) -> Sequence[Step]:
    """The last steps: df = ⟨∇f, dx⟩ and d²f = ⟨∇²f dx₁, dx₂⟩."""
    rule = "gradient: ⟨A dx, r⟩ = ⟨dx, Aᵀr⟩" if direction.shape else "gradient"
    found = [Step(rule, Symbol(f"d{value}", ()), paired(gradient, direction))]
    if hessian is not None:
        one, two = (replace(direction, name=f"{direction.name}_{k}") for k in (1, 2))
        found.append(
            Step("Hessian: the differential of the gradient", Symbol(f"d²{value}", ()), _twice(hessian, one, two))
        )
    return found


def _twice(hessian: Expression, one: Symbol, two: Symbol) -> Expression:
    """A Hessian on two directions."""
    if isinstance(hessian, LinearMap):
        return paired(replaced(hessian.body, hessian.arguments[0], one), two)
    if not one.shape:
        return paired(hessian, one, two)
    whole = parted(hessian)
    inside = () if whole.body is None or isinstance(whole.body, Identity) else factors_of(whole.body)
    return Call("inner", (plain(replace(whole, body=Product((*inside, one)) if inside else one)), two))


def paired(left: Expression, *others: Expression) -> Expression:
    """⟨a, b⟩; of scalars their product, flat."""
    if shape_of(left):
        return Call("inner", (left, *others))
    own = parted(left)
    return plain(replace(own, scalars=(*own.scalars, *others)))
