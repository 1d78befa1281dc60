"""A formula as a pure JAX function of its variables, for the engine to trace."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from nablax.errors import FormulaError
from nablax.formula.sizes import Shape, Size
from nablax.formula.typed import Formula, Operation, Typed

ELEMENTWISE: dict[str, Callable[[Array], Array]] = {
    "sin": jnp.sin,
    "cos": jnp.cos,
    "tan": jnp.tan,
    "arcsin": jnp.arcsin,
    "arccos": jnp.arccos,
    "arctan": jnp.arctan,
    "sinh": jnp.sinh,
    "cosh": jnp.cosh,
    "tanh": jnp.tanh,
    "exp": jnp.exp,
    "expm1": jnp.expm1,
    "log": jnp.log,
    "log1p": jnp.log1p,
    "sqrt": jnp.sqrt,
    "square": jnp.square,
    "abs": jnp.abs,
    "sign": jnp.sign,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
}
INFIX: dict[Operation, Callable[[Array, Array], Array]] = {
    Operation.ADD: operator.add,
    Operation.SUBTRACT: operator.sub,
    Operation.MULTIPLY: operator.mul,
    Operation.DIVIDE: operator.truediv,
    Operation.PRODUCT: operator.matmul,
    Operation.OUTER: lambda left, right: left[:, None] * right[None, :],
}
COMPARE: dict[str, Callable[[Array, Array], Array]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
REDUCTIONS: dict[str, Callable[[Array], Array]] = {
    "sum": jnp.sum,
    "prod": jnp.prod,
    "mean": jnp.mean,
    "max": jnp.max,
    "min": jnp.min,
    "logsumexp": jax.nn.logsumexp,
    "softmax": jax.nn.softmax,
    "norm1": lambda value: jnp.sum(jnp.abs(value)),
    "norm2": lambda value: jnp.sqrt(jnp.sum(value * value)),
    "tr": jnp.trace,
    "det": jnp.linalg.det,
    "logdet": lambda matrix: jnp.linalg.slogdet(matrix)[1],
    "inv": jnp.linalg.inv,
    "eig": jnp.linalg.eigvalsh,
    "diag": jnp.diag,
}
PAIRS: dict[str, Callable[[Array, Array], Array]] = {
    "max": jnp.maximum,
    "min": jnp.minimum,
    "inner": lambda left, right: jnp.sum(left * right),
    "kron": jnp.kron,
}


def enter(name: str, function: Callable[..., Array], arguments: int) -> None:
    """The value of a user's function of one or two arguments."""
    (ELEMENTWISE if arguments == 1 else PAIRS)[name] = function


def to_function(formula: Formula, sizes: Mapping[str, int] | None = None) -> Callable[..., Array]:
    """The formula as a JAX function.

    Args:
        formula: what `parse_formula` gives.
        sizes: numbers for size symbols; those that a variable has are taken from its array and need not be
            given.

    Returns:
        A pure function of the variables, by position in the order of ``formula.variables`` or by name.
        Scalars have shape (), vectors and row vectors (n,), matrices (m, n). It works under jit, grad and
        vmap, computes in the dtype of its arguments, and raises FormulaError for a missing argument or an
        array whose shape does not fit.

    Example:
        >>> from nablax.formula import parse_formula
        >>> f = to_function(parse_formula("x'*A*x"))
        >>> float(f(x=jnp.array([1.0, 2.0]), A=jnp.eye(2)))
        5.0
    """
    names = tuple(formula.variables)
    given = dict(sizes or {})

    def function(*positional: ArrayLike, **named: ArrayLike) -> Array:
        values = _bound(names, positional, named)
        arrays = {name: jnp.asarray(values[name]) for name in names}
        dtype = jnp.result_type(*arrays.values(), 1.0)
        known = bind_sizes(formula, {name: array.shape for name, array in arrays.items()}, given)
        arrays = {name: _inexact(array, dtype) for name, array in arrays.items()}
        for name, variable in formula.variables.items():
            target = variable.shape.concrete(known)
            if variable.reread and arrays[name].shape != target:
                arrays[name] = jnp.broadcast_to(arrays[name], target)
        return _Evaluation(arrays, known, dtype).result(formula.expression)

    function.__name__ = "formula"
    function.__doc__ = f"{formula}, of {formula.declaration}"
    return function


def _inexact(array: Array, dtype: DTypeLike) -> Array:
    return array if jnp.issubdtype(array.dtype, jnp.inexact) else array.astype(dtype)


def _bound(
    names: tuple[str, ...], positional: tuple[ArrayLike, ...], named: Mapping[str, ArrayLike]
) -> dict[str, ArrayLike]:
    expected = f"the variables are {', '.join(names) or 'none'}, in this order"
    if len(positional) > len(names):
        raise FormulaError(f"{len(positional)} arguments for {len(names)} variables", advice=expected)
    values = dict(zip(names, positional, strict=False))
    for name, value in named.items():
        if name not in names:
            raise FormulaError(f"the formula has no variable {name}", advice=expected)
        if name in values:
            raise FormulaError(f"{name} is given twice, by position and by name", advice=expected)
        values[name] = value
    missing = [name for name in names if name not in values]
    if missing:
        raise FormulaError(f"no value for {', '.join(missing)}", advice=expected)
    return values


def bind_sizes(
    formula: Formula, shapes: Mapping[str, tuple[int, ...]], given: Mapping[str, int] | None = None
) -> dict[str, int]:
    """A number for every size symbol of a formula, from the shapes of arrays.

    Args:
        formula: the formula.
        shapes: shape of the array for each variable.
        given: numbers that are known beforehand.

    Returns:
        The number of elements for each symbol.

    Raises:
        FormulaError: an array with a wrong number of axes, two arrays that disagree on a size, or a symbol
            that no array determines.
    """
    sizes = dict(given or {})
    origin = dict.fromkeys(sizes, "the sizes given")
    waiting = []
    for name, variable in formula.variables.items():
        if variable.reread and shapes[name] == ():
            continue
        if len(shapes[name]) != variable.shape.rank:
            raise FormulaError(f"{name} has shape {shapes[name]}, but it is a {variable.shape} in {formula}")
        for axis, (size, found) in enumerate(zip(variable.shape.axes, shapes[name], strict=True)):
            if size.is_symbol and size.symbols[0] not in sizes:
                sizes[size.symbols[0]] = found
                origin[size.symbols[0]] = f"axis {axis} of {name}"
            else:
                waiting.append((name, axis, size, found))
    for name, axis, size, found in waiting:
        if all(one in sizes for one in size.symbols) and size.value(sizes) != found:
            why = ", ".join(f"{one} = {sizes[one]} by {origin[one]}" for one in size.symbols)
            reason = f"axis {axis} of {name} has size {found}, but it has to be {size}"
            raise FormulaError(f"{reason} = {size.value(sizes)}" if why else reason, advice=why)
    missing = [one for one in formula.sizes if one not in sizes]
    if missing:
        raise FormulaError(
            f"no array determines the size {', '.join(missing)}",
            advice=f"give it: to_function(…, sizes={{{missing[0]!r}: …}})",
        )
    return sizes


class _Evaluation:
    """One evaluation; equal expressions, which are one object in a formula, are computed once."""

    def __init__(self, arrays: Mapping[str, Array], sizes: Mapping[str, int], dtype: DTypeLike) -> None:
        self._arrays = arrays
        self._sizes = sizes
        self._dtype = dtype
        self._known: dict[int, Array] = {}

    def result(self, node: Typed) -> Array:
        """The value as an array, also where it is a Python number so far."""
        return jnp.asarray(self._of(node), self._dtype)

    def _of(self, node: Typed) -> Array:
        if id(node) not in self._known:
            self._known[id(node)] = self._computed(node)
        return self._known[id(node)]

    def _number(self, value: float) -> Array:
        """A literal stays a Python float, so that it takes the dtype of what it meets."""
        return float(value)  # type: ignore[return-value]

    def _shape(self, shape: Shape) -> tuple[int, ...]:
        return shape.concrete(self._sizes)

    def _computed(self, node: Typed) -> Array:
        if node.value is not None:
            return self._number(node.value)
        match node.operation:
            case Operation.VARIABLE:
                return self._arrays[node.label]
            case Operation.SIZE:
                coefficient, *symbols = node.options
                assert isinstance(coefficient, int)
                return self._number(Size(coefficient, tuple(map(str, symbols))).value(self._sizes))
            case Operation.POWER:
                return self._power(node)
            case Operation.MATRIX_POWER:
                return self._matrix_power(node)
            case Operation.CALL:
                return self._call(node)
            case _:
                return self._simple(node, tuple([self._of(operand) for operand in node.operands]))

    def _simple(self, node: Typed, values: tuple[Array, ...]) -> Array:
        match node.operation:
            case Operation.NEGATE:
                return -values[0]
            case Operation.TRANSPOSE:
                return values[0].T if node.shape.is_matrix else values[0]
            case Operation.COMPARE:
                return COMPARE[node.label](*values)
            case Operation.INDEX:
                return values[0][tuple(slice(None) if one is None else one for one in node.options)]
            case _:
                return INFIX[node.operation](*values)

    def _power(self, node: Typed) -> Array:
        base, exponent = node.operands
        whole = exponent.value is not None and float(exponent.value).is_integer()
        if base.operation is Operation.CALL and base.label == "norm2" and exponent.value == 2:
            inside = self._of(base.operands[0])  # smooth at zero, unlike the square of a root
            return jnp.sum(inside * inside)
        if exponent.value == 0.5:
            return jnp.sqrt(self._of(base))
        power: float | Array = int(exponent.value) if whole and exponent.value is not None else self._of(exponent)
        return self._of(base) ** power

    def _matrix_power(self, node: Typed) -> Array:
        exponent = node.options[0]
        assert isinstance(exponent, int)
        matrix = self._of(node.operands[0])
        if exponent == 0:
            return jnp.eye(self._shape(node.shape)[0], dtype=self._dtype)
        if exponent < 0:
            matrix = jnp.linalg.inv(matrix)
        return functools.reduce(operator.matmul, [matrix] * abs(exponent))

    def _call(self, node: Typed) -> Array:
        match node.label, node.operands:
            case "eye", ():
                return jnp.eye(self._shape(node.shape)[0], dtype=self._dtype)
            case (("vector" | "matrix"), (filling,)):
                return jnp.broadcast_to(jnp.asarray(self._of(filling), self._dtype), self._shape(node.shape))
            case "where", (condition, yes, no):
                chosen = jnp.where(self._of(condition), self._of(yes), self._of(no))
                return jnp.asarray(chosen, self._dtype)
            case ("sum" | "prod") as label, (Typed(operation=Operation.CALL, label="eig") as eigenvalues,):
                matrix = self._of(eigenvalues.operands[0])
                return jnp.trace(matrix) if label == "sum" else jnp.linalg.det(matrix)
            case "norm", (operand,):
                return self._norm(node, operand)
            case label, (operand,) if label in ELEMENTWISE:
                return ELEMENTWISE[label](jnp.asarray(self._of(operand)))
            case label, (operand,):
                return REDUCTIONS[label](jnp.asarray(self._of(operand)))
            case label, (left, right):
                return PAIRS[label](self._of(left), self._of(right))
            case _:
                raise AssertionError(f"no row for {node.label}")

    def _norm(self, node: Typed, operand: Typed) -> Array:
        order = node.options[0]
        if operand.shape.is_matrix and order == 2:
            return self._spectral_norm(operand)
        sizes = jnp.abs(self._of(operand))
        if operand.shape.is_matrix:
            return jnp.max(jnp.sum(sizes, axis=0 if order == 1 else 1))
        if order == "inf":
            return jnp.max(sizes)
        assert isinstance(order, int | float)
        return jnp.sum(sizes**order) ** (1 / order)

    def _spectral_norm(self, operand: Typed) -> Array:
        """Of an outer product exactly ‖x‖‖y‖, which is smooth where the repeated zero singular values
        are not.
        """
        if operand.operation is Operation.OUTER:
            left, right = (self._of(vector) for vector in operand.operands)
            if left is right:
                return jnp.sum(left * left)
            return jnp.sqrt(jnp.sum(left * left)) * jnp.sqrt(jnp.sum(right * right))
        return jnp.asarray(jnp.linalg.norm(self._of(operand), 2))
