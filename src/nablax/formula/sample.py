"""Concrete sizes and random points of the domain, to check a formula at."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nablax.errors import FormulaError
from nablax.formula.evaluate import to_function
from nablax.formula.syntax import Range
from nablax.formula.typed import Formula, Kind, Operation, Typed, Variable
from nablax.formula.values import NUMPY

Point = dict[str, npt.NDArray[np.float64]]
ATTEMPTS = 120
LARGEST_POINT = 10**7
MODERATE = 1e8
LEAST = 1e-9
INVERTED = frozenset({"inv", "det", "logdet", "pinv", "cholesky"})
MOST_ORDERS = 24


def _primes() -> Iterator[int]:
    found: list[int] = []
    candidate = 3
    while True:
        if all(candidate % prime for prime in found):
            found.append(candidate)
            yield candidate
        candidate += 2


def choose_sizes(formula: Formula, sizes: Mapping[str, int] | None = None) -> dict[str, int]:
    """A number for every size symbol: distinct odd primes, so that an axis of an array tells which
    symbol it is.

    Args:
        formula: the formula.
        sizes: numbers that are fixed beforehand.

    Returns:
        Elements per symbol: 3, 5, 7, 11, … in order of appearance, larger where an index needs it, and none
        that is fixed for another symbol or stands as an integer in a declaration. In another order, where
        that makes a matrix regular that is inverted.

    Raises:
        FormulaError: a fixed size of a symbol that the formula does not have, or one that an index exceeds.

    Example:
        >>> from nablax.formula import parse_formula
        >>> choose_sizes(parse_formula("A*x"))
        {'m': 3, 'n': 5}
    """
    fixed = dict(sizes or {})
    unknown = [name for name in fixed if name not in formula.sizes]
    if unknown:
        raise FormulaError(
            f"the formula has no size {unknown[0]}",
            advice=f"its sizes are {', '.join(formula.sizes) or 'none'}",
        )
    least = _least_sizes(formula.expression)
    taken = set(fixed.values())
    taken |= {size.coefficient for node in formula.expression.walk() for size in node.shape.axes if not size.symbols}
    primes = _primes()
    result: dict[str, int] = {}
    for name in formula.sizes:
        if name in fixed:
            if fixed[name] < least.get(name, 0):
                raise FormulaError(f"the size {name} = {fixed[name]} is too small: an index needs {least[name]}")
            result[name] = fixed[name]
            continue
        result[name] = next(prime for prime in primes if prime not in taken and prime >= least.get(name, 1))
    free = [name for name in formula.sizes if name not in fixed and name not in least]
    return _regular(formula, result, free)


def _regular(formula: Formula, sizes: dict[str, int], free: list[str]) -> dict[str, int]:
    """The sizes in that order in which matrices that are inverted are regular: X tall, where X'X is."""
    nodes = [node for node in dict.fromkeys(formula.expression.walk()) if _is_inverted(node)]
    if not nodes or len(free) < 2:
        return sizes
    parts = [_part(formula, node.operands[0]) for node in nodes]
    lengths = [sizes[name] for name in free]
    for order in itertools.islice(itertools.permutations(lengths), MOST_ORDERS):
        chosen = {**sizes, **dict(zip(free, order, strict=True))}
        random = np.random.default_rng(0)
        point = {
            name: _draw(one, one.shape.concrete(chosen), STYLES[1], "", random, 1)
            for name, one in formula.variables.items()
        }
        tall = (node.operands[0].shape.concrete(chosen) for node in nodes if node.label == "pinv")
        if all(rows >= columns for rows, columns in tall) and all(_is_regular(part, chosen, point) for part in parts):
            return chosen
    return sizes


def _is_inverted(node: Typed) -> bool:
    """Whether a node is the inverse of a matrix, or what has it as a derivative; X^-1 is inv(X)."""
    if node.operation is Operation.MATRIX_POWER:
        [exponent] = node.options
        return isinstance(exponent, int) and exponent < 0
    return node.label in INVERTED


def _is_regular(part: Formula, sizes: Mapping[str, int], point: Point) -> bool:
    with np.errstate(all="ignore"):
        try:
            matrix = np.asarray(to_function(part, sizes, NUMPY)(**{name: point[name] for name in part.variables}))
        except np.linalg.LinAlgError:
            return False
    if not np.all(np.isfinite(matrix)) or matrix.ndim != 2:
        return True  # what that means is not a matter of sizes
    least: int = min(matrix.shape)
    return int(np.linalg.matrix_rank(matrix)) == least


def _part(formula: Formula, node: Typed) -> Formula:
    """A formula of one expression inside a formula."""
    names = {inner.label for inner in node.walk() if inner.operation is Operation.VARIABLE}
    variables = {name: one for name, one in formula.variables.items() if name in names}
    return Formula(formula.source, node, variables, formula.sizes)


def _least_sizes(expression: Typed) -> dict[str, int]:
    least: dict[str, int] = {}
    for node in expression.walk():
        if node.operation is not Operation.INDEX:
            continue
        for index, size in zip(node.options, node.operands[0].shape.axes, strict=True):
            if isinstance(index, int | Range) and size.is_symbol:
                least[size.symbols[0]] = max(_needed(index), least.get(size.symbols[0], 0))
    for axis in (axis for node in expression.walk() for axis in node.shape.axes):
        for name in axis.symbols:
            least[name] = max(1 - axis.offset, least.get(name, 0)) if axis.offset < 0 else least.get(name, 0)
    return {name: size for name, size in least.items() if size}


def _needed(index: int | Range) -> int:
    """The size that an axis has to have at least."""
    if isinstance(index, int):
        return index + 1 if index >= 0 else -index
    start, stop = index.start or 0, index.stop if isinstance(index.stop, int) else 0
    return max(abs(start), abs(stop), start - stop + 1 if stop < 0 <= start else 0)


@dataclass(frozen=True, slots=True)
class _Style:
    """How one attempt draws: scale of entries, and whether undeclared vectors and square matrices are
    made positive.
    """

    scale: float
    positive: bool = False
    definite: bool = False


STYLES = (
    _Style(1.0),
    _Style(1.0, definite=True),
    _Style(0.3),
    _Style(1.0, positive=True, definite=True),
    _Style(0.1, definite=True),
    _Style(0.1, positive=True),
    _Style(3.0, definite=True),
)
POSITIVE = frozenset({"log", "sqrt", "lgamma", "digamma", "trigamma"})
INSIDE_ONE = frozenset({"arcsin", "arccos"})


def sample_point(formula: Formula, seed: int = 0, sizes: Mapping[str, int] | None = None) -> Point:
    """A random point of the domain of a formula.

    Every declared kind is respected (spd, symmetric, orthogonal, diagonal); a bare variable under log, sqrt
    or a broken power is positive, under arcsin or arccos inside (-1, 1); arguments of logdet have a
    positive determinant; and the formula is finite there. Points are drawn in several styles until one
    fits.

    Args:
        formula: the formula.
        seed: of the random numbers; the same seed gives the same point.
        sizes: numbers for size symbols; others as by `choose_sizes`.

    Returns:
        A float64 array per variable.

    Raises:
        FormulaError: no point was found, or the arrays would be very large.

    Example:
        >>> from nablax.formula import parse_formula
        >>> bool(sample_point(parse_formula("log(x)"))["x"].min() > 0)
        True
    """
    chosen = choose_sizes(formula, sizes)
    shapes = {name: variable.shape.concrete(chosen) for name, variable in formula.variables.items()}
    entries = sum(int(np.prod(shape)) for shape in shapes.values())
    if entries > LARGEST_POINT:
        raise FormulaError(f"a point would have {entries:,} entries; the limit is {LARGEST_POINT:,}")
    random = np.random.default_rng(seed)
    sign = -1 if seed % 2 else 1  # few points of one number may all be positive, and √(x²) is x there
    domains = _domains_of_variables(formula.expression)
    checks = [formula, *_parts_to_check(formula)]
    functions = [to_function(one, chosen, NUMPY) for one in checks]
    fallback: Point | None = None
    for attempt in range(ATTEMPTS):
        style = STYLES[attempt % len(STYLES)]
        point = {
            name: _draw(variable, shapes[name], style, domains.get(name, ""), random, sign)
            for name, variable in formula.variables.items()
        }
        try:
            with np.errstate(all="ignore"):
                values = [
                    np.asarray(function(**{name: point[name] for name in one.variables}))
                    for one, function in zip(checks, functions, strict=True)
                ]
        except np.linalg.LinAlgError:
            continue
        if not np.all(np.isfinite(values[0])) or not all(np.all(value > LEAST) for value in values[1:]):
            continue
        if np.all(np.abs(values[0]) < MODERATE):
            return point
        fallback = fallback or point
    if fallback is not None:
        return fallback
    raise FormulaError(
        f"no point was found in {ATTEMPTS} attempts at which {formula} is finite",
        advice="declare more of its variables, for example 'A: spd(n)' or 'X: positive matrix(m,n)'",
    )


def _domains_of_variables(expression: Typed) -> dict[str, str]:
    domains: dict[str, str] = {}
    for node in expression.walk():
        if not node.operands or node.operands[0].operation is not Operation.VARIABLE:
            continue
        name = node.operands[0].label
        if node.operation is Operation.CALL and node.label in INSIDE_ONE:
            domains[name] = "inside"
        broken = node.operation is Operation.POWER and not float(node.operands[1].value or 0.5).is_integer()
        if broken or (node.operation is Operation.CALL and node.label in POSITIVE):
            domains.setdefault(name, "positive")
    return domains


def _parts_to_check(formula: Formula) -> list[Formula]:
    """Determinants under logdet, as formulas of the variables: these have to be positive."""
    parts = []
    for node in dict.fromkeys(formula.expression.walk()):
        if node.operation is Operation.CALL and node.label == "logdet":
            parts.append(_part(formula, Typed(Operation.CALL, node.operands, node.shape, node.syntax, "det")))
    return parts


def _draw(
    variable: Variable,
    shape: tuple[int, ...],
    style: _Style,
    domain: str,
    random: np.random.Generator,
    sign: int,
) -> npt.NDArray[np.float64]:
    entries = sign * random.standard_normal(shape)
    match variable.kind:
        case Kind.SYMMETRIC:
            return style.scale * (entries + entries.T) / 2
        case Kind.SKEW:
            return style.scale * (entries - entries.T) / 2
        case Kind.SPD:
            return style.scale * (entries @ entries.T / max(1, len(entries)) + np.eye(len(entries)) / 2)
        case Kind.ORTHOGONAL:
            orthogonal, triangle = np.linalg.qr(entries)
            return np.asarray(orthogonal * np.sign(np.diagonal(triangle)))
        case Kind.DIAGONAL:
            sizes = random.uniform(0.5, 2.0, shape[0])  # away from zero, where 1/d and log|d| are steep
            return np.diag(sizes if style.positive else style.scale * sizes * np.sign(np.diagonal(entries)))
        case _:
            pass
    if variable.kind is Kind.TRIANGULAR:
        return np.tril(style.scale * entries, -1) + np.diag(random.uniform(0.5, 2.0, shape[0]))
    if variable.positive:
        return random.uniform(0.5, 2.0, shape)
    if domain == "inside":
        return random.uniform(-0.9, 0.9, shape)
    if domain == "positive" or (style.positive and variable.kind is not Kind.MATRIX):
        return random.uniform(0.5, 2.0, shape)
    if style.definite and len(shape) == 2 and shape[0] == shape[1]:
        return np.asarray(style.scale * (np.eye(shape[0]) + entries @ entries.T / max(1, shape[0])))
    return np.asarray(style.scale * entries)
