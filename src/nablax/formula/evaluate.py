"""A formula as a function of its variables: of JAX arrays, for the engine to trace, or of NumPy's, for checks."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from nablax.errors import FormulaError
from nablax.formula.sizes import Shape, Size
from nablax.formula.syntax import Range
from nablax.formula.typed import Formula, Operation, Typed
from nablax.formula.values import COMPARE, INFIX, JAX, NUMPY, Values


def enter(name: str, function: Callable[..., Array], arguments: int) -> None:
    """The value of a user's function of one or two arguments."""
    del arguments
    JAX.calls[name] = function
    NUMPY.calls[name] = lambda *values: np.asarray(function(*values), np.float64)


def to_function(
    formula: Formula, sizes: Mapping[str, int] | None = None, library: Values = JAX
) -> Callable[..., Array]:
    """The formula as a function of arrays.

    Args:
        formula: what `parse_formula` gives.
        sizes: numbers for size symbols; those that a variable has are taken from its array and need not be
            given.
        library: what computes: JAX, to be traced, or NumPy, which a check of a derivative is independent by.

    Returns:
        A pure function of the variables, by position in the order of ``formula.variables`` or by name.
        Scalars have shape (), vectors and row vectors (n,), matrices (m, n). With JAX it works under jit, grad and
        vmap; it computes in the dtype of its arguments, and raises FormulaError for a missing argument or an
        array whose shape does not fit.

    Example:
        >>> from nablax.formula import parse_formula
        >>> f = to_function(parse_formula("x'*A*x"))
        >>> float(f(x=jnp.array([1.0, 2.0]), A=jnp.eye(2)))
        5.0
    """
    names = tuple(formula.variables)
    given = dict(sizes or {})

    def function(*positional: ArrayLike, **named: ArrayLike) -> Any:
        values = _bound(names, positional, named)
        arrays = {name: library.np.asarray(values[name]) for name in names}
        dtype = jnp.result_type(*arrays.values(), 1.0) if library is JAX else np.dtype(np.float64)
        known = bind_sizes(formula, {name: array.shape for name, array in arrays.items()}, given)
        arrays = {name: _inexact(array, dtype) for name, array in arrays.items()}
        for name, variable in formula.variables.items():
            target = variable.shape.concrete(known)
            if variable.reread and arrays[name].shape != target:
                arrays[name] = library.np.broadcast_to(arrays[name], target)
        return _Evaluation(arrays, known, dtype, library).result(formula.expression)

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
            single = size.coefficient == 1 and len(size.symbols) == 1
            if single and size.symbols[0] not in sizes:
                sizes[size.symbols[0]] = found - size.offset
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

    def __init__(
        self, arrays: Mapping[str, Array], sizes: Mapping[str, int], dtype: DTypeLike, library: Values
    ) -> None:
        self._arrays = arrays
        self._sizes = sizes
        self._dtype = dtype
        self._np = library.np
        self._calls = library.calls
        self._known: dict[int, Any] = {}

    def result(self, node: Typed) -> Any:
        """The value as an array, also where it is a Python number so far."""
        return self._np.asarray(self._of(node), self._dtype)

    def _of(self, node: Typed) -> Any:
        if id(node) not in self._known:
            self._known[id(node)] = self._computed(node)
        return self._known[id(node)]

    def _number(self, value: float) -> Any:
        """A literal stays a Python float, so that it takes the dtype of what it meets."""
        return float(value)

    def _shape(self, shape: Shape) -> tuple[int, ...]:
        return shape.concrete(self._sizes)

    def _computed(self, node: Typed) -> Any:
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

    def _simple(self, node: Typed, values: tuple[Array, ...]) -> Any:
        match node.operation:
            case Operation.NEGATE:
                return -values[0]
            case Operation.TRANSPOSE:
                return values[0].T if node.shape.is_matrix else values[0]
            case Operation.COMPARE:
                return COMPARE[node.label](*values)
            case Operation.INDEX:
                places = (
                    one.places if isinstance(one, Range) else slice(None) if one is None else one
                    for one in node.options
                )
                return values[0][tuple(places)]
            case _:
                return INFIX[node.operation](*values)

    def _power(self, node: Typed) -> Any:
        base, exponent = node.operands
        whole = exponent.value is not None and float(exponent.value).is_integer()
        if base.operation is Operation.CALL and base.label == "norm2" and exponent.value == 2:
            inside = self._of(base.operands[0])  # smooth at zero, unlike the square of a root
            return self._np.sum(inside * inside)
        if exponent.value == 0.5:
            return self._np.sqrt(self._of(base))
        power: float | Array = int(exponent.value) if whole and exponent.value is not None else self._of(exponent)
        return self._of(base) ** power

    def _matrix_power(self, node: Typed) -> Any:
        exponent = node.options[0]
        assert isinstance(exponent, int)
        matrix = self._of(node.operands[0])
        if exponent == 0:
            return self._np.eye(self._shape(node.shape)[0], dtype=self._dtype)
        if exponent < 0:
            matrix = self._np.linalg.inv(matrix)
        return functools.reduce(operator.matmul, [matrix] * abs(exponent))

    def _call(self, node: Typed) -> Any:
        np = self._np
        match node.label, node.operands:
            case "eye", ():
                return np.eye(self._shape(node.shape)[0], dtype=self._dtype)
            case (("vector" | "matrix"), (filling,)):
                return np.broadcast_to(np.asarray(self._of(filling), self._dtype), self._shape(node.shape))
            case "unvec", (operand,):
                return self._of(operand).reshape(self._shape(node.shape)[::-1]).T
            case "polygamma", (order, operand):
                return self._calls["polygamma"](int(order.value or 0), np.asarray(self._of(operand)))
            case "where", (condition, yes, no):
                chosen = np.where(self._of(condition), self._of(yes), self._of(no))
                return np.asarray(chosen, self._dtype)
            case ("sum" | "prod") as label, (Typed(operation=Operation.CALL, label="eig") as eigenvalues,):
                matrix = self._of(eigenvalues.operands[0])
                return np.trace(matrix) if label == "sum" else np.linalg.det(matrix)
            case "norm", (operand,):
                return self._norm(node, operand)
            case "logsumexp", (operand,) if node.options:
                return self._calls["logsumexp"](self._of(operand), axis=node.options[0])
            case label, operands:
                return self._calls[label](*(np.asarray(self._of(operand)) for operand in operands))
            case _:
                raise AssertionError(f"no row for {node.label}")

    def _norm(self, node: Typed, operand: Typed) -> Any:
        order = node.options[0]
        if operand.shape.is_matrix and order == 2:
            return self._spectral_norm(operand)
        if order == "nuc":
            return self._np.sum(self._np.linalg.svd(self._of(operand), compute_uv=False))
        sizes = self._np.abs(self._of(operand))
        if operand.shape.is_matrix:
            return self._np.max(self._np.sum(sizes, axis=0 if order == 1 else 1))
        if order == "inf":
            return self._np.max(sizes)
        assert isinstance(order, int | float)
        return self._np.sum(sizes**order) ** (1 / order)

    def _spectral_norm(self, operand: Typed) -> Any:
        """Of an outer product exactly ‖x‖‖y‖, which is smooth where the repeated zero singular values
        are not.
        """
        if operand.operation is Operation.OUTER:
            left, right = (self._of(vector) for vector in operand.operands)
            if left is right:
                return self._np.sum(left * left)
            return self._np.sqrt(self._np.sum(left * left)) * self._np.sqrt(self._np.sum(right * right))
        return self._np.max(self._np.linalg.svd(self._of(operand), compute_uv=False))
