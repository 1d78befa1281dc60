"""Expressions as Python source: a function that evaluates the closed form with NumPy or JAX.

Products are multiplied in the planner's order, see `nablax.printing.products`.
"""

from __future__ import annotations

import keyword
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal, assert_never

from nablax.notation import FUNCTIONS, RELATIONS
from nablax.printing.expression import (
    Array,
    Call,
    Expression,
    Function,
    Hadamard,
    Identity,
    Indexed,
    Inverse,
    Kronecker,
    LinearMap,
    Number,
    Ones,
    Piece,
    Power,
    Product,
    Quotient,
    Scale,
    SizeOf,
    Sum,
    Symbol,
    Transpose,
    Unit,
    Where,
    children,
    is_row,
    shape_of,
    transposed,
)
from nablax.printing.products import bracketed, product

Library = Literal["numpy", "jax"]
HELPERS = {
    "softmax": "def softmax(u):\n    e = {np}.exp(u - {np}.max(u))\n    return e / {np}.sum(e)\n",
    "softmax_rows": (
        "def softmax_rows(u):\n    e = {np}.exp(u - {np}.max(u, axis=1, keepdims=True))\n"
        "    return e / {np}.sum(e, axis=1, keepdims=True)\n"
    ),
    "sigmoid": "def sigmoid(u):\n    return 0.5 * (1 + {np}.tanh(0.5 * u))\n",
    "gaps": ("def gaps(w):\n    d = w[:, None] - w[None, :] + {np}.eye(len(w))\n    return 1 / d - {np}.eye(len(w))\n"),
    "squared_gaps": (
        "def squared_gaps(w):\n    d = w[:, None] ** 2 - w[None, :] ** 2 + {np}.eye(len(w))\n"
        "    return 1 / d - {np}.eye(len(w))\n"
    ),
    "logsumexp": ("def logsumexp(u):\n    m = {np}.max(u)\n    return m + {np}.log({np}.sum({np}.exp(u - m)))\n"),
}
SPECIAL = {name for row in FUNCTIONS.values() if row.special for name in (row.name, row.special)}
RESERVED = frozenset({"np", "jnp", "jax", "scipy", "self", "_value", *HELPERS, *SPECIAL})


# Functions that the user defined: the source calls them by name.
DEFINED: dict[str, Callable[..., Any]] = {}


def enter(name: str, function: Callable[..., Any]) -> None:
    """A user's function, which printed source calls by its name."""
    DEFINED[name] = function


def identifier(name: str) -> str:
    """A variable's name as a Python identifier, different for different names.

    Python takes some letters for others (``ϵ`` for ``ε``): these have the number of the letter behind them.
    """
    folded = unicodedata.normalize("NFKC", name)
    if folded != name:
        return folded + "_" + "".join(f"{ord(letter):x}" for letter in name if not letter.isascii())
    return f"{name}_" if keyword.iskeyword(name) or name in RESERVED else name


def python(
    expression: Expression,
    arguments: Mapping[str, tuple[str, ...]],
    library: Library = "numpy",
    *,
    called: str = "closed_form",
) -> str:
    """Source of a function that evaluates an expression.

    Args:
        expression: the closed form.
        arguments: names and shapes (names of sizes) of the parameters, in order.
        library: "numpy" or "jax".
        called: the function's name.

    Returns:
        Source text; a linear map takes its argument as an additional parameter.

    Example:
        >>> x = Symbol("x", ("n",))
        >>> print(python(Product((Transpose(x), x)), {"x": ("n",)}))
        import numpy as np
        <BLANKLINE>
        <BLANKLINE>
        def closed_form(x):
            return x @ x
        <BLANKLINE>
    """
    parameters = dict(arguments)
    if isinstance(expression, LinearMap):
        parameters[expression.argument.name] = expression.argument.shape
        expression = expression.body
    return _Source(parameters, library).function(expression, called)


def _sizes(arguments: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, shape in arguments.items():
        for axis, size in enumerate(shape):
            found.setdefault(size, f"{identifier(name)}.shape[{axis}]")
    return found


class _Source:
    def __init__(self, arguments: Mapping[str, tuple[str, ...]], library: Library) -> None:
        self._arguments = arguments
        self._np = "np" if library == "numpy" else "jnp"
        self._import = "import numpy as np" if library == "numpy" else "import jax.numpy as jnp"
        self._sizes = _sizes(arguments)
        self._helpers: dict[str, None] = {}
        self._special: dict[str, None] = {}
        self._named: dict[Expression, str] = {}

    def function(self, expression: Expression, called: str) -> str:
        lines: list[str] = []
        body = expression
        while isinstance(body, Where):
            for symbol, value in body.names:
                lines.append(f"{identifier(symbol.name)} = {self.of(value)}")
            body = body.body
        lines += self._shared(body)
        lines.append(f"return {self.of(body)}")
        text = "\n    ".join(lines)
        parameters = ", ".join(identifier(name) for name in self._arguments)
        called = f"{called}_" if called in self._arguments else called
        helpers = "".join(HELPERS[name].format(np=self._np) + "\n\n" for name in self._helpers)
        module = "scipy.special" if self._np == "np" else "jax.scipy.special"
        special = "".join(f"\nfrom {module} import {name}" for name in sorted(self._special))
        return f"{self._import}{special}\n\n\n{helpers}def {called}({parameters}):\n    {text}\n"

    def _shared(self, body: Expression) -> list[str]:
        """Assignments for what is computed more than once, inner ones first."""
        counts: Counter[Expression] = Counter()
        order: dict[Expression, None] = {}

        def visit(node: Expression) -> None:
            counts[node] += 1
            if counts[node] == 1:
                for child in children(node):
                    visit(child)
                order[node] = None

        visit(body)
        lines = []
        for node in order:
            worth = isinstance(node, Function | Inverse | Product | Hadamard) or (
                isinstance(node, Call) and node.name not in ("diag", "diagonal")
            )
            if counts[node] > 1 and worth:
                name = f"t{len(self._named) + 1}"
                while name in self._arguments:
                    name += "_"
                source = self.of(node)
                self._named[node] = name
                lines.append(f"{name} = {source}")
        return lines

    def of(self, node: Expression) -> str:
        """Source of an expression; brackets where a product or power around it needs them."""
        if node in self._named:
            return self._named[node]
        np = self._np
        match node:
            case Symbol(name, _):
                return identifier(name)
            case Number(value):
                return _number(value)
            case SizeOf(name):
                return self._size(name)
            case Array(values, _):
                return f"{np}.array({values})"
            case Sum(terms):
                return self._sum(terms)
            case Product(factors):
                return product(factors, self.of, np)
            case Hadamard(factors):
                return " * ".join(self.factor(factor) for factor in factors)
            case Scale():
                return self._scale(node)
            case Quotient(numerator, denominator):
                return f"{self.factor(numerator)} / {self.factor(denominator)}"
            case Transpose(operand):
                inside = transposed(operand)
                if isinstance(inside, Transpose):
                    return f"{self.factor(operand)}.T" if len(shape_of(operand)) == 2 else self.of(operand)
                return self.of(inside)
            case Inverse(operand):
                return f"{np}.linalg.inv({self.of(operand)})"
            case Power(base, Number(value)) if value == Fraction(1, 2):
                return f"{np}.sqrt({self.of(base)})"
            case Power(Call("norm" | "norm_F", (inside,)), Number(value)) if value == 2:
                return f"{np}.sum({self.factor(inside)} ** 2)"
            case Power(base, exponent):
                return f"{self.factor(base)} ** {self.factor(exponent)}"
            case Function(name, arguments):
                return self._function(name, arguments)
            case Call(name, arguments):
                return self._call(name, arguments)
            case Kronecker(left, right):
                return f"{np}.kron({self._matrix(left)}, {self._matrix(right)})"
            case Identity(size):
                return f"{np}.eye({self._size(size)})"
            case Ones(shape):
                sizes = ", ".join(self._size(size) for size in shape)
                return f"{np}.ones(({sizes}{',' if len(shape) == 1 else ''}))"
            case Unit(place, size):
                return f"{np}.eye({self._size(size)})[{place}]"
            case Piece(array, _, exponent):
                return self.of(array) if exponent == 1 else f"{self.factor(array)} ** {_number(exponent)}"
            case Indexed():
                return self._indexed(node)
            case LinearMap(_, _, tensor):
                return self.of(tensor)
            case Where(body, _):
                return self.of(body)
            case _:
                assert_never(node)

    def factor(self, node: Expression) -> str:
        """Source in brackets unless it is one name, number or call."""
        return bracketed(self.of(node))

    def _size(self, size: str) -> str:
        if size in self._sizes:
            return self._sizes[size]
        if size == "pi":
            return f"{self._np}.pi"
        if size.isdigit():
            return size
        stem, sign, offset = size.partition("-") if "-" in size else size.partition("+")
        if sign:
            return f"({self._size(stem)} {sign} {offset})"
        return " * ".join(self._size(part) for part in size.split("·")) if "·" in size else identifier(size)

    def _matrix(self, node: Expression) -> str:
        source = self.of(node)
        if len(shape_of(node)) == 1:
            return f"{self.factor(node)}[:, None]"
        return f"{self.factor(node)}[None, :]" if is_row(node) else source

    def _sum(self, terms: Sequence[Expression]) -> str:
        parts = [self.of(terms[0])]
        for term in terms[1:]:
            source = self.of(term)
            parts.append(f"- {source[1:]}" if source.startswith("-") else f"+ {source}")
        return " ".join(parts)

    def _scale(self, node: Scale) -> str:
        sign = "-" if node.coefficient < 0 else ""
        coefficient = -node.coefficient if sign else node.coefficient
        parts = []
        over = []
        if isinstance(coefficient, Fraction):
            if coefficient.denominator & (coefficient.denominator - 1) == 0 and coefficient.denominator > 1:
                parts.append(repr(float(coefficient)))
            else:
                parts += [str(coefficient.numerator)] if coefficient.numerator != 1 else []
                over += [str(coefficient.denominator)] if coefficient.denominator != 1 else []
        else:
            parts.append(repr(coefficient))
        parts += [self.factor(scalar) for scalar in node.scalars]
        over += [self.factor(divisor) for divisor in node.divisors]
        number = " * ".join(parts) or ("1" if node.body is None or over else "")
        if over:
            number += " / " + (over[0] if len(over) == 1 else f"({' * '.join(over)})")
        if node.body is None:
            return sign + number
        body = self.factor(node.body)
        if number.startswith("1 / "):
            return f"{sign}{body} / {number[4:]}"
        if "*" in number or "/" in number:
            number = f"({number})"
        return f"{sign}{number} * {body}" if number else f"{sign}{body}"

    # -- functions ---------------------------------------------------------------------------------

    def _helper(self, name: str, arguments: Sequence[Expression]) -> str:
        self._helpers[name] = None
        return f"{name}({', '.join(self.of(argument) for argument in arguments)})"

    def _function(self, name: str, arguments: Sequence[Expression]) -> str:
        np = self._np
        sources = [self.of(argument) for argument in arguments]
        if name in HELPERS:
            return self._helper(name, arguments)
        if name in RELATIONS:
            left, right = (self.factor(argument) for argument in arguments)
            return f"1.0 * ({left} {RELATIONS[name]} {right})"
        if name == "pow":
            left, right = (self.factor(argument) for argument in arguments)
            return f"{left} ** {right}"
        row = FUNCTIONS.get(name)
        if row is not None and row.special:
            self._special[row.special] = None
            return f"{row.special}({'1, ' if name == 'trigamma' else ''}{', '.join(sources)})"
        if name in DEFINED:
            return f"{name}({', '.join(sources)})"
        return f"{np}.{(row.numpy if row else '') or name}({', '.join(sources)})"

    def _call(self, name: str, arguments: Sequence[Expression]) -> str:
        np = self._np
        if name in HELPERS:
            return self._helper(name, arguments)
        inside = self.of(arguments[0])
        if name.startswith("["):  # a range of places
            return f"{bracketed(inside)}{name}"
        match name, arguments[0]:
            case "tr", Product(factors) if len(factors) > 1:
                return product(factors, self.of, np, trace=True)
            case "tr", _:
                return f"{np}.trace({inside})"
            case (("norm" | "norm_F"), _):
                return f"{np}.linalg.norm({inside})"
            case "inner", left:
                pair = self.factor(left), self.factor(arguments[1])
                return f"{pair[0]} @ {pair[1]}" if len(shape_of(left)) == 1 else f"{np}.sum({pair[0]} * {pair[1]})"
            case "prod", _:
                return f"{np}.prod({inside})"
            case "norm_1", _:
                return f"{np}.sum({np}.abs({inside}))"
            case "logdet", _:
                return f"{np}.linalg.slogdet({inside})[1]"
            case (("det" | "inv" | "cholesky"), _):
                return f"{np}.linalg.{name}({inside})"
            case (("diag" | "diagonal"), _):
                return f"{np}.diag({inside})"
            case (("eig" | "eigenvalues"), _):
                return f"{np}.linalg.eigvalsh({inside})"
            case "eigenvectors", _:
                return f"{np}.linalg.eigh({inside})[1]"
            case "eigenvector", _:
                return f"{np}.linalg.eigh({inside})[1][:, -1]"
            case "first_eigenvector", _:
                return f"{np}.linalg.eigh({inside})[1][:, 0]"
            case "singular_values", _:
                return f"{np}.linalg.svd({inside}, compute_uv=False)"
            case (("left_vectors" | "right_vectors"), _):
                side = "[0]" if name == "left_vectors" else "[2].T"
                return f"{np}.linalg.svd({inside}, full_matrices=False){side}"
            case (("left_vector" | "right_vector"), _):
                column = "[0][:, 0]" if name == "left_vector" else "[2][0]"
                return f"{np}.linalg.svd({inside}, full_matrices=False){column}"
            case (("norm_2" | "norm_nuc"), _):
                return f"{np}.linalg.norm({inside}, {2 if name == 'norm_2' else repr('nuc')})"
            case (("max_rows" | "min_rows"), _):
                return f"{np}.{name[:3]}({inside}, axis=1)"
            case _:
                return f"{np}.{name}({', '.join(self.of(argument) for argument in arguments)})"

    def _indexed(self, node: Indexed) -> str:
        operands = [self.of(piece) for piece in node.pieces]
        letters = ["".join(piece.indices) for piece in node.pieces]
        used = set("".join(letters))
        for letter, size in zip(node.free, node.shape, strict=True):
            if letter not in used:
                operands.append(f"{self._np}.ones({self._size(size)})")
                letters.append(letter)
        if not operands:
            return _number(node.coefficient)
        order = ", optimize=True" if len(operands) > 2 and self._np == "np" else ""
        source = f"{self._np}.einsum('{','.join(letters)}->{''.join(node.free)}', {', '.join(operands)}{order})"
        if node.coefficient == 1:
            return source
        return f"-{source}" if node.coefficient == -1 else f"{_number(node.coefficient)} * {source}"


def _number(value: Fraction | float) -> str:
    if isinstance(value, Fraction):
        return str(value.numerator) if value.denominator == 1 else f"({value.numerator} / {value.denominator})"
    return repr(value)
