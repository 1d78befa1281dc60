"""Text or nested list to a formula whose every expression has a shape."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from nablax.errors import FormulaError
from nablax.formula.declarations import (
    SIZES_OF_KIND,
    Declaration,
    default_declaration,
    is_greek,
    other_spelling,
    parse_declarations,
)
from nablax.formula.functions import FUNCTIONS, SPELLINGS, nearest
from nablax.formula.nested import nested_text, parse_nested
from nablax.formula.parse import check_text, parse_expression
from nablax.formula.paste import CONDITION, bars, from_printed, is_printed
from nablax.formula.readings import Readings
from nablax.formula.shapes import CONSTANTS, ODD_SPREAD, Inference, unknown_size, variable_names
from nablax.formula.site import Site
from nablax.formula.sizes import Shape, Size, SizeSolver, symbol
from nablax.formula.symmetry import is_symmetric
from nablax.formula.syntax import Binary, Call, Expression, Index, Name, Range, renamed, walk
from nablax.formula.typed import Formula, Kind, Operation, Typed, Variable


def parse_formula(formula: str | Sequence[object], declare: str | Mapping[str, str] | None = None) -> Formula:
    """Reads a formula and infers the shape of every expression in it.

    Args:
        formula: text such as ``"1/2*norm2(A*x - y)^2"``, as books print it (``½‖Ax − y‖²``) or in LaTeX, or
            a nested list (or its text) such as ``[['exp','x'],'+',2]``, in which undeclared names are
            scalars.
        declare: what names are, see `parse_declarations`. Others follow their first letter where that reads
            well: a–g scalar, h–z vector, A–Z matrix; small Greek letters and their names are scalars. Where
            it does not, all small letters may be scalars or vectors: among the readings that fit, that one
            is taken in which the whole is a scalar, no scalar is used like a vector, and the fewest first
            letters are overruled. `Formula.declaration` says how every name was read.

    Returns:
        The formula: typed expression, variables, sizes.

    Raises:
        FormulaError: unreadable text, shapes that do not fit, unknown functions, or a size that nothing
            determines.

    Example:
        >>> f = parse_formula("x'*A*x", "A: symmetric(n)")
        >>> str(f.shape), [str(v) for v in f.variables.values()]
        ('scalar', ['x: vector(n)', 'A: symmetric(n)'])
    """
    declarations = parse_declarations(declare)
    if isinstance(formula, str):
        source, is_nested = formula, formula.lstrip().startswith("[") and not CONDITION.search(formula)
    elif isinstance(formula, list | tuple):
        source, is_nested = nested_text(formula), True
    else:
        raise FormulaError(f"a formula is text or a nested list, not {type(formula).__name__}")
    check_text(source)
    if not is_nested and is_printed(source, declarations):
        source = from_printed(source, declarations)
    elif not is_nested and "|" in source:
        source = bars(source)
    tree = _with_one_spelling(parse_nested(source) if is_nested else parse_expression(source), declarations)
    return _Reading(source, tree, declarations, is_nested).formula()


def _with_one_spelling(tree: Expression, declarations: Mapping[str, Declaration]) -> Expression:
    """A Greek letter and its name are one variable, called as it is declared, or else as it stands there first."""
    names: dict[str, str] = {}
    for name in dict.fromkeys(node.name for node in variable_names(tree)):
        other = other_spelling(name)
        is_other = name not in declarations and (other in declarations or other in CONSTANTS or other in names)
        names[name] = other if is_other else name
    changed = {name: other for name, other in names.items() if other != name}
    return renamed(tree, changed) if changed else tree


FILLING = frozenset({"vector", "matrix", "eye", "ones", "zeros", "unvec"})  # what takes names of sizes
SPECTRAL = frozenset(
    {"eig", "eigenvectors", "eigenvector", "first_eigenvector"}
)  # what is real of a symmetric matrix only
MOST_VISITED = 2_500  # nodes that the search for a reading comes to


class _Reading:
    """One tree with its declarations, and the search for the reading of the other names."""

    def __init__(self, source: str, tree: Expression, declarations: Mapping[str, Declaration], is_nested: bool) -> None:
        self._source = source
        self._tree = tree
        self._declarations = declarations
        self._is_nested = is_nested
        listed = [name for one in declarations.values() for size in one.sizes or () for name in size.symbols]
        self._sizes = list(dict.fromkeys([*listed, *_sizes_in_calls(tree)]))
        special = {*self._sizes, *CONSTANTS, "eye", *SPELLINGS} - declarations.keys()
        names = (node.name for node in variable_names(tree))
        self._names = [name for name in dict.fromkeys(names) if name not in special]
        self._numpy_spelled = any(
            (isinstance(node, Binary) and node.operator == "@") or (isinstance(node, Call) and "." in node.spelling)
            for node in walk(tree)
        )
        self._check_declared_names()

    def _check_declared_names(self) -> None:
        """Refuses a declared name that is absent while a similar undeclared one is there: a slip of the
        pen.
        """
        undeclared = [name for name in self._names if name not in self._declarations]
        absent = [name for name in self._declarations if name not in self._names and name not in self._sizes]
        for word in undeclared:
            factors = _factors(word, self._declarations)
            if len(factors) > 1 and set(factors) & set(absent):
                found = next(node for node in variable_names(self._tree) if node.name == word)
                declared = list(dict.fromkeys(factors))
                listed = " and ".join([", ".join(declared[:-1]), declared[-1]]) if declared[1:] else declared[0]
                reason = f"{listed} {'are' if declared[1:] else 'is'} declared, but the formula has {word}"
                raise FormulaError(reason, self._source, found.span, f"a product is written {'*'.join(factors)}")
        for name in absent:
            similar = nearest(name, undeclared)
            if similar:
                found = next(node for node in variable_names(self._tree) if node.name == similar)
                advice = f"did you mean {name!r}?"
                raise FormulaError(f"{name} is declared but {similar} stands here", self._source, found.span, advice)

    def formula(self) -> Formula:
        """The formula under the most likely reading of its undeclared names."""
        guessed = {
            name: _default(self._declarations.get(name), name, self._is_nested)
            for name in self._names
            if not (name in self._declarations and self._declarations[name].declared)
        }
        best: Formula | None = None
        lowest, refusal = math.inf, None
        spent = 0
        listed = Readings(guessed)
        for cost, kinds in listed:
            if cost >= lowest or spent > MOST_VISITED or (self._is_nested and spent):
                break
            inference = self._inference(kinds)
            try:
                typed = inference.value(self._tree)
                if refusal is not None and inference.oddity >= ODD_SPREAD:
                    continue  # an odd reading is no better than saying what does not fit
                odd = inference.oddity + _oddity_of_whole(typed.shape)
                if cost + odd < lowest or (not cost and not inference.oddity):
                    best, lowest = self._finished(inference, typed), cost + odd
            except FormulaError as error:
                refusal = refusal or error
                listed.refuse(inference.met)
                continue
            finally:
                spent += inference.visited + len(kinds)
            if not cost and not inference.oddity and not typed.shape.is_row:
                break  # what the first letters say reads well
        if best is not None:
            return best
        assert refusal is not None
        raise refusal

    def _inference(self, kinds: Mapping[str, Kind]) -> Inference:
        solver = SizeSolver(self._names, self._sizes)
        variables: dict[str, Variable] = {}
        for name in self._names:
            declaration = self._declarations.get(name) or default_declaration(name)
            other = name in kinds and kinds[name] is not _default(declaration, name, self._is_nested)
            if name in kinds:
                declaration = replace(declaration, kind=kinds[name], sizes=None, declared=False)
            shape = _shape(declaration, solver)
            variables[name] = Variable(name, declaration.kind, shape, declaration.constant, other, declaration.positive)
        scalars = frozenset(name for name, kind in kinds.items() if kind is Kind.SCALAR and not is_greek(name))
        site = Site(self._source, solver, frozenset() if self._is_nested else scalars)
        return Inference(site, variables, frozenset(self._sizes), self._numpy_spelled, frozenset(kinds))

    def _finished(self, inference: Inference, typed: Typed) -> Formula:
        solver = inference.site.solver
        names = solver.names()
        variables = {
            name: replace(one, shape=solver.show(one.shape, names)) for name, one in inference.variables.items()
        }
        carried = {size for one in variables.values() for size in one.shape.symbols} | set(self._sizes)
        expression = _Settled(inference.site, names).settle(typed)
        for node in expression.walk():
            if not carried.issuperset(node.shape.symbols) and not node.operands[1:]:
                at_fault = next(
                    inner for inner in node.walk() if not carried.issuperset(inner.shape.symbols) and _fills(inner)
                )
                raise unknown_size(at_fault, inference.site)
        _check_eigenvalues(expression, variables, inference.site)
        seen = [size for one in variables.values() for size in one.shape.symbols]
        seen += [size for node in expression.walk() for size in _sizes_of(node)]
        return Formula(
            self._source,
            expression,
            MappingProxyType(variables),
            tuple(dict.fromkeys(seen)),
            solver.equalities(),
            tuple(_notes(variables)),
        )


def _factors(word: str, names: Collection[str]) -> list[str]:
    """Names that side by side are this word; empty where it is not made of them."""
    ways: list[list[str] | None] = [[], *[None] * len(word)]  # of each beginning of the word
    for end in range(1, len(word) + 1):
        ways[end] = next(
            (
                [*before, name]
                for name in names
                if word[:end].endswith(name) and (before := ways[end - len(name)]) is not None
            ),
            None,
        )
    return ways[-1] or []


def _default(declaration: Declaration | None, name: str, is_nested: bool) -> Kind:
    """The kind that is tried first for a name without a declared one."""
    if is_nested:
        return Kind.SCALAR
    return declaration.kind if declaration is not None else default_declaration(name).kind


def _oddity_of_whole(shape: Shape) -> int:
    """A formula is most likely a scalar, and hardly ever a row."""
    return 10 if shape.is_row else (0, 3, 4)[shape.rank]


def _notes(variables: Mapping[str, Variable]) -> Iterator[str]:
    if "I" in variables:
        yield "I is a matrix like any other; the identity is written eye"


def _sizes_of(node: Typed) -> tuple[str, ...]:
    if node.operation is Operation.SIZE:
        return tuple(option for option in node.options if isinstance(option, str))
    return node.shape.symbols


def _fills(node: Typed) -> bool:
    return node.operation is Operation.CALL and node.label in FILLING


def _sizes_in_calls(tree: Expression) -> list[str]:
    found: list[str] = []
    for node in walk(tree):
        if isinstance(node, Call) and node.function in FILLING:
            plain = node.arguments[FUNCTIONS[node.function].expressions :]
            found += [name.name for argument in plain for name in walk(argument) if isinstance(name, Name)]
        if isinstance(node, Index):
            found += [one.stop for one in node.indices if isinstance(one, Range) and isinstance(one.stop, str)]
    return found


def _shape(declaration: Declaration, solver: SizeSolver) -> Shape:
    given = declaration.sizes
    if given is None:
        sizes: tuple[Size, ...] = tuple(solver.fresh() for _ in SIZES_OF_KIND[declaration.kind])
    else:
        sizes = given
    squares = declaration.kind not in (Kind.SCALAR, Kind.VECTOR, Kind.MATRIX)
    return Shape(sizes * 2 if squares else sizes)


class _Settled:
    """Rebuilds a typed tree with final sizes; equal expressions become one object."""

    def __init__(self, site: Site, names: Mapping[str, str]) -> None:
        self._site = site
        self._names = names
        self._known: dict[tuple[object, ...], Typed] = {}

    def settle(self, node: Typed) -> Typed:
        """The same expression with every size under its final name."""
        operands = tuple([self.settle(operand) for operand in node.operands])
        shape = self._site.solver.show(node.shape, self._names)
        options = node.options
        if node.operation is Operation.SIZE:
            (size,) = self._site.solver.show(Shape((symbol(node.label),)), self._names).axes
            options = (size.coefficient, *size.symbols)
        key = (
            node.operation,
            node.label,
            options,
            shape,
            tuple(map(id, operands)),
            type(node.value),
        )
        if key not in self._known:
            self._known[key] = Typed(node.operation, operands, shape, node.syntax, node.label, options, node.value)
        return self._known[key]


def _check_eigenvalues(expression: Typed, variables: Mapping[str, Variable], site: Site) -> None:
    """Eigenvalues of a matrix that need not be symmetric may be complex: only their sum and product are
    taken.
    """
    for node in expression.walk():
        _refuse_indefinite(node, variables, site)
        if node.label in ("sum", "prod") and node.operation is Operation.CALL:
            continue
        for operand in node.operands:
            _refuse_complex(operand, variables, site)
    _refuse_complex(expression, variables, site)


def _refuse_indefinite(node: Typed, variables: Mapping[str, Variable], site: Site) -> None:
    """A factor L with LLᵀ = S is one of a symmetric matrix."""
    if node.label == "cholesky" and not is_symmetric(node.operands[0], variables):
        matrix = node.operands[0]
        advice = f"declare it: '{matrix}: spd(n)'" if matrix.operation is Operation.VARIABLE else ""
        raise site.refusal(f"{matrix} need not be symmetric, and cholesky factors A = LLᵀ", node.span, advice)


def _refuse_complex(node: Typed, variables: Mapping[str, Variable], site: Site) -> None:
    if node.operation is Operation.CALL and node.label in SPECTRAL and not is_symmetric(node.operands[0], variables):
        matrix = node.operands[0]
        advice = "write sum(eig(X)) or prod(eig(X)), or declare the matrix symmetric"
        raise site.refusal(f"the eigenvalues of {matrix} may be complex", node.span, advice)
