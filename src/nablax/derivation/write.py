"""From polys to the shortest expressions, and names for what they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from fractions import Fraction

from nablax.derivation.algebra import Algebra, Part
from nablax.derivation.denominators import over_one_denominator
from nablax.derivation.forms import cost
from nablax.derivation.networks import Writer
from nablax.derivation.tensors import Atom, AtomKind, Poly
from nablax.formula import Kind
from nablax.notation import COLUMNS
from nablax.printing.expression import (
    Call,
    Expression,
    Function,
    Identity,
    LinearMap,
    Product,
    Sum,
    Symbol,
    Transpose,
    Unit,
    Where,
    children,
    product_of,
    shape_of,
    walk,
)
from nablax.printing.rewrite import rebuilt, replaced
from nablax.printing.unicode import unicode

# Factors of a matrix that always have a name.
FACTORS = {"eigenvectors": "V", "left_vectors": "U", "right_vectors": "V"}
PREFERRED = {
    "eigenvector": "v", "first_eigenvector": "v", "left_vector": "u", "right_vector": "v", "eigenvalues": "w",
    "singular_values": "s", "gaps": "G", "squared_gaps": "G", "pinv": "P", **FACTORS,
"softmax": "p", "softmax_rows": "P", "sigmoid": "p", "tanh": "h", "exp": "e", "relu": "h",
}  # fmt: skip
SPARE = ("r", "s", "u", "v", "w", "z", "q", "g")


def shortest(writer: Writer, algebras: Sequence[Algebra], options: Sequence[Poly]) -> Expression:
    """The cheapest way of writing one of several equal polys, or one of them as one fraction."""
    fractions = [over_one_denominator(algebra, p) for algebra, p in zip(algebras, options, strict=True)]
    return min((writer.write(p) for p in (*options, *fractions) if p is not None), key=cost)


def map_or_array(
    writer: Writer, algebras: Sequence[Algebra], options: Sequence[Poly], along: Sequence[Atom]
) -> Expression:
    """A derivative: a matrix expression up to two axes, above the linear map of as few directions as that takes.

    Args:
        writer: writes polys.
        algebras: the algebra of each option.
        options: equal polys.
        along: the differentials of the arguments by which; their axes are the last ones.

    Returns:
        The expression.
    """
    rank = options[0].rank
    if rank <= 2:
        return shortest(writer, algebras, options)
    directions = along[-1:] if rank - len(along[-1].axes) <= 2 else along
    if len({one.name for one in directions}) < len(directions):
        directions = [replace(one, name=f"{one.name}_{k}") for k, one in enumerate(directions, 1)]
    values = [contracted(algebra, p, directions) for algebra, p in zip(algebras, options, strict=True)]
    body = shortest(writer, algebras, values)
    tensor = writer.indexed(min(options, key=lambda p: len(p.terms)))
    symbols = [Symbol(one.name, writer.shape(one.axes), one.symmetric) for one in directions]
    return LinearMap(tuple(symbols), body, tensor)


def differential_of(leaf: Atom, taken: Collection[str]) -> Atom:
    """The differential of an argument, as an atom: dx, or Dx where something else is called that."""
    names = (f"{letter}{leaf.name}" for letter in ("d", "D", "d_", "D_", "differential_of_"))
    name = next(name for name in names if not {name, f"{name}_1", f"{name}_2"} & set(taken))
    return Atom(AtomKind.LEAF, name, leaf.axes, (), leaf.symmetric, _linear(leaf.trait))


def _linear(trait: str) -> str:
    """What differentials share with the matrices of a kind that is a linear space."""
    return trait if trait in ("triangular", "diagonal", "skew") else ""


def contracted(algebra: Algebra, p: Poly, directions: Sequence[Atom]) -> Poly:
    """A poly applied to directions over its last axes."""
    labels = tuple(range(p.rank))
    kept = start = p.rank - sum(len(one.axes) for one in directions)
    parts: list[Part] = []
    for one in directions:
        parts.append((algebra.atom(one), labels[start : start + len(one.axes)]))
        start += len(one.axes)
    return _each(algebra, p, labels[:kept], *parts)


def _each(algebra: Algebra, p: Poly, output: Sequence[int], *others: Part) -> Poly:
    """A labelled product with every term of a sum, whose labels are 0, 1, …; the terms stay apart."""
    labels = tuple(range(p.rank))
    terms = [algebra.product([(Poly(p.axes, (term,)), labels), *others], output, {}) for term in p.terms]
    return algebra.add([Poly(tuple(p.axes[k] for k in output), ()), *terms])


def in_kinds(algebra: Algebra, p: Poly, start: int, kinds: Sequence[tuple[Kind, int]]) -> Poly:
    """The part of a derivative that lies among the matrices of each argument's kind.

    Args:
        algebra: the algebra of the poly.
        p: a derivative.
        start: the first axis of the first argument.
        kinds: what each argument was declared to be, and its number of axes.

    Returns:
        The poly; unchanged for kinds that are no linear space of their own.
    """
    labels = tuple(range(p.rank))
    for kind, rank in kinds:
        pair = (start, start + 1)
        start += rank
        if kind in (Kind.SYMMETRIC, Kind.SPD, Kind.SKEW):
            turned = _each(algebra, p, (*labels[: pair[0]], *pair[::-1], *labels[start:]))
            sign = -1 if kind is Kind.SKEW else 1
            p = algebra.scale(Fraction(1, 2), algebra.add([p, algebra.scale(sign, turned)]))
        elif kind is Kind.DIAGONAL:
            p = _each(algebra, p, labels, (algebra.delta(p.axes[pair[0]]), pair))
        elif kind is Kind.TRIANGULAR:
            axes = (p.axes[pair[0]], p.axes[pair[1]])
            p = _each(algebra, p, labels, (algebra.atom(Atom(AtomKind.CONSTANT, "tril", axes)), pair))
    return p


def with_names(expressions: Sequence[Expression], taken: set[str]) -> list[Expression]:
    """Common subexpressions under names, the same in all expressions.

    Args:
        expressions: expressions that are shown together.
        taken: names that are used.

    Returns:
        The expressions, those that use a name with `Where`.
    """
    names: list[tuple[Symbol, Expression]] = []
    current = [with_columns(expression) for expression in expressions]
    for _ in range(4):
        each = [Counter(walk(expression)) for expression in current]
        counts = sum(each, start=Counter())
        most = {node: max(one[node] for one in each) for node in counts}
        worth = [
            (node, n) for node, n in counts.items() if _is_factor(node) or (n > 1 and _nameable(node, n, most[node]))
        ]
        if not worth:
            break
        node, _ = max(worth, key=lambda pair: ((pair[1] - 1) * (len(unicode(pair[0])) - 1), repr(pair[0])))
        symbol = Symbol(_name_for(node, taken), shape_of(node))
        taken = taken | {symbol.name}
        current = [replaced(expression, node, symbol) for expression in current]
        names = [(one, replaced(value, node, symbol)) for one, value in names]
        names.append((symbol, node))
    return [_bound(expression, names) for expression in current]


def _is_factor(node: Expression) -> bool:
    match node:
        case Call("max" | "min", (Call("eigenvalues"),)) | Call("pinv"):
            return True
        case Call(name):
            return name in FACTORS or name in COLUMNS
        case _:
            return False


def with_columns(expression: Expression) -> Expression:
    """The expression with products of eigenvectors and a unit vector as that column."""
    return rebuilt(expression, _with_columns)


def _with_columns(node: Expression) -> Expression:
    if not isinstance(node, Product):
        return node
    factors = list(node.factors)
    for k in range(len(factors) - 1):
        left, right = factors[k : k + 2]
        found = _selected(left, right)
        if isinstance(left, Transpose) and isinstance(right, Transpose):
            turned = _selected(right.operand, left.operand)
            found = None if turned is None else Transpose(turned)
        if found is not None:
            rest = (*factors[:k], found, *factors[k + 2 :])
            return _with_columns(product_of(rest))
    return node


def _selected(left: Expression, right: Expression) -> Expression | None:
    """Two factors of which one selects rows or a column of the other: I[1:]x is x[1:]."""
    match left, right:
        case (Call(name, (Identity(),), shape), Symbol() as array) if ":" in name:
            return Call(name, (array,), (shape[0], *array.shape[1:]))
        case (Call(name, arguments, shape), Unit(place)):
            column = next((column for column, one in COLUMNS.items() if one == (name, place)), None)
            return None if column is None else Call(column, arguments, shape[:1])
        case _:
            return None


def _bound(expression: Expression, names: Sequence[tuple[Symbol, Expression]]) -> Expression:
    used: list[tuple[Symbol, Expression]] = []
    waiting = [expression]
    while waiting:
        found = set(walk(waiting.pop()))
        for symbol, value in names:
            if symbol in found and (symbol, value) not in used:
                used.append((symbol, value))
                waiting.append(value)
    # a name that another name's value uses was made earlier or later; inner ones come first
    ordered: list[tuple[Symbol, Expression]] = []
    rest = used
    while rest:
        ready = [pair for pair in rest if not any(other[0] in set(walk(pair[1])) for other in rest)]
        ordered += ready
        rest = [pair for pair in rest if pair not in ready]
    if not ordered:
        return expression
    if isinstance(expression, LinearMap):
        return LinearMap(expression.arguments, Where(expression.body, tuple(ordered)), expression.tensor)
    return Where(expression, tuple(ordered))


def _nameable(node: Expression, count: int, most: int) -> bool:
    if isinstance(node, Call) and node.name in ("diag", "norm", "norm_F", "det", "tr", "sum", "diagonal"):
        return False
    long = not all(isinstance(child, Symbol) for child in children(node)) or len(children(node)) > 1
    if isinstance(node, Product) and not shape_of(node):
        return count > 4 and len(node.factors) == 2
    if isinstance(node, Function | Call):
        inside = max((cost(child) for child in children(node)), default=0.0)
        return long and (bool(shape_of(node)) or (most > 2 and inside > 3))
    return isinstance(node, Sum) and len(shape_of(node)) == 1 and cost(node) > 6


def _name_for(node: Expression, taken: set[str]) -> str:
    first = "s" if isinstance(node, Product) else "r"
    if isinstance(node, Function | Call):
        first = "lambda" if _is_factor(node) and not shape_of(node) else PREFERRED.get(node.name, "")
    if len(shape_of(node)) == 2:
        first = first.upper()
    for name in (first, *SPARE):
        if name and name not in taken:
            return name
    return f"t{len(taken)}"
