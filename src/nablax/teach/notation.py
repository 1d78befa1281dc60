"""What a node does, and its local derivatives, as expressions that the printers write.

Scalar functions are read instruction by instruction, products by their labels; inputs are symbols.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, assert_never

import numpy as np

from nablax.graph.node import Node, NodeTerm
from nablax.notation import COMPARED, GREEK, PRIMITIVES, UNCHANGED
from nablax.ops.instruction import Argument, Instruction
from nablax.ops.instruction import Number as Literal
from nablax.ops.kinds import (
    Constant,
    Contraction,
    Elementwise,
    IndexMap,
    Leaf,
    MatrixFunction,
    Opaque,
    Placeholder,
    Selection,
)
from nablax.ops.straight_line import ScalarFunction
from nablax.printing.expression import (
    ONE,
    ZERO,
    Call,
    Expression,
    Function,
    Hadamard,
    Indexed,
    Inverse,
    Number,
    Piece,
    Power,
    Product,
    Scale,
    Sum,
    Symbol,
    Transpose,
    shape_of,
)
from nablax.printing.multiples import multiply, parted, plain, powered

Names = Mapping[Node, Expression]
LETTERS = "ijklmnpqrstuvw"
HALF = Fraction(1, 2)


def symbol(name: str, shape: Sequence[int]) -> Symbol:
    """The name of a node or argument."""
    return Symbol(name, tuple(str(n) for n in shape))


def operation(node: Node, names: Names) -> Expression:
    """What a node does with its inputs.

    Args:
        node: the node.
        names: the symbol of each node.

    Returns:
        The expression, in the symbols of the inputs.
    """
    kind = node.kind
    inputs = [_named(x, names) for x in node.inputs]
    match kind:
        case Leaf() | Placeholder():
            return names.get(node, symbol("x", node.shape))
        case Constant():
            value = kind.value
            plain = isinstance(value, np.ndarray | np.generic) and value.ndim == 0 and value.dtype.kind in "fiub"
            return numeral(float(value)) if plain else names.get(node, symbol("C", node.shape))
        case Elementwise():
            return scalar_function(kind.function, inputs)
        case Contraction():
            return contraction(kind, inputs)
        case IndexMap():
            return _moved(node, inputs)
        case Selection():
            return Call("select", tuple(inputs), tuple(map(str, node.shape)))
        case MatrixFunction(name="inv"):
            return Inverse(inputs[0])
        case MatrixFunction() | Opaque():
            name = PRIMITIVES.get(kind.name, kind.name)
            return Call(name, tuple(inputs), tuple(map(str, node.shape)))
        case _:
            assert_never(kind)


def _named(node: Node, names: Names) -> Expression:
    """The symbol of a node; of one that a derivative made, what it does."""
    return names[node] if node in names else operation(node, names)


def _moved(node: Node, sources: Sequence[Expression]) -> Expression:
    """Elements moved: named by what becomes of their number."""
    count = sum(x.size for x in node.inputs)
    name = "join" if len(sources) > 1 else "part" if node.size < count else "pad" if node.size > count else "reshape"
    return Call(name, tuple(sources), tuple(map(str, node.shape)))


# -- arithmetic of expressions -----------------------------------------------------------------------------


def numeral(value: float) -> Number:
    """A number, as a fraction where it is a simple one."""
    if np.isfinite(value):
        near = Fraction(value).limit_denominator(8)
        if float(near) == value or float(np.float32(float(near))) == value:
            return Number(near)
    return Number(value)


def total(terms: Sequence[Expression]) -> Expression:
    """The sum; zeros disappear, numbers are added up."""
    flat: list[Expression] = []
    for term in terms:
        flat += term.terms if isinstance(term, Sum) else (term,)
    known = sum((t.value for t in flat if isinstance(t, Number)), Fraction(0))
    kept: list[Expression] = [t for t in flat if not isinstance(t, Number)]
    if known:
        kept.insert(0 if isinstance(flat[0], Number) else len(kept), Number(known))
    return ZERO if not kept else kept[0] if len(kept) == 1 else Sum(tuple(kept))


def times(*factors: Expression) -> Expression:
    """The product of scalars and of arrays element by element: numbers first, equal factors as powers."""
    coefficient: Fraction | float = Fraction(1)
    powers: dict[Expression, Fraction] = {}
    arrays: list[Expression] = []
    for factor in factors:
        whole = parted(factor)
        coefficient *= multiply(powers, replace(whole, body=None))
        arrays += (
            whole.body.factors if isinstance(whole.body, Hadamard) else () if whole.body is None else (whole.body,)
        )
    if coefficient == 0:
        return ZERO
    above = tuple(powered(b, e) for b, e in powers.items() if e > 0)
    below = tuple(powered(b, -e) for b, e in powers.items() if e < 0)
    body = None if not arrays else arrays[0] if len(arrays) == 1 else Hadamard(tuple(arrays))
    return plain(Scale(coefficient, above, below, body))


def power(base: Expression, exponent: Fraction) -> Expression:
    """A power; of a product of scalars the product of powers stays together in brackets."""
    if isinstance(base, Number) and exponent.denominator == 1 and base.value:
        return Number(base.value ** int(exponent))
    if exponent == 1:
        return base
    if isinstance(base, Power) and isinstance(base.exponent, Number) and exponent.denominator == 1:
        inner = base.exponent.value
        if isinstance(inner, Fraction):
            return times(power(base.base, inner * exponent))
    if exponent < 0 and not shape_of(base):
        return Scale(Fraction(1), (), (powered(base, -exponent),), None)
    return Power(base, Number(exponent))


# -- scalar functions --------------------------------------------------------------------------------------


def scalar_function(function: ScalarFunction, arguments: Sequence[Expression]) -> Expression:
    """A scalar function of expressions."""
    values = list(arguments)

    def load(argument: Argument) -> Expression:
        return numeral(float(argument.value)) if isinstance(argument, Literal) else values[argument]

    for step in function.instructions:
        values.append(_instruction(step, [load(a) for a in step.arguments]))
    return load(function.result)


def _instruction(step: Instruction, values: list[Expression]) -> Expression:
    name = step.operation.name
    match name, values:
        case (("add" | "add_any"), [a, b]):
            return total([a, b])
        case "sub", [a, b]:
            return total([a, times(Number(Fraction(-1)), b)])
        case "mul", [a, b]:
            return times(a, b)
        case "div", [a, b]:
            return times(a, power(b, Fraction(-1)))
        case "neg", [a]:
            return times(Number(Fraction(-1)), a)
        case "square", [a]:
            return power(a, Fraction(2))
        case "integer_pow", [a]:
            return power(a, Fraction(dict(step.operation.key)["y"]))
        case "pow", [a, Number(Fraction() as exponent)]:
            return power(a, exponent)
        case "pow", [a, b]:
            return Power(a, b)
        case "sqrt", [a]:
            return Power(a, Number(HALF))
        case "rsqrt", [a]:
            return power(Power(a, Number(HALF)), Fraction(-1))
        case "one_minus_square", [a]:
            return total([ONE, times(Number(Fraction(-1)), power(a, Fraction(2)))])
        case "log1p", [a]:
            return Function("log", (total([ONE, a]),))
        case "expm1", [a]:
            return total([Function("exp", (a,)), Number(Fraction(-1))])
        case "select_n", [condition, no, yes]:
            return _chosen(condition, no, yes)
        case _ if name in UNCHANGED:
            return values[0]
        case _ if name in COMPARED:
            return Function(COMPARED[name], tuple(values))
        case _:
            return Function(PRIMITIVES.get(name, name), tuple(values))


def _chosen(condition: Expression, no: Expression, yes: Expression) -> Expression:
    """A choice; where JAX guards one singular point of a formula, the formula."""
    if no == yes:
        return no
    if isinstance(condition, Function) and condition.name in ("=", "≠"):
        regular, singular = (no, yes) if condition.name == "=" else (yes, no)
        if isinstance(singular, Number) and any(isinstance(a, Number) and a.value == 0 for a in condition.arguments):
            return regular
    return Function("where", (condition, yes, no))


# -- products ----------------------------------------------------------------------------------------------


def contraction(kind: Contraction, factors: Sequence[Expression]) -> Expression:
    """A labelled product in matrix notation, where that has a short form; else with indices."""
    lone = {k for k, size in enumerate(kind.sizes) if size == 1}
    inputs = [tuple(k for k in labels if k not in lone) for labels in kind.inputs]
    output = tuple(k for k in kind.output if k not in lone)
    whole = _matrix_form(inputs, output, factors)
    if whole is None:
        whole = _indexed(inputs, output, factors, kind.sizes)
    return whole if kind.coefficient == 1 else _scaled(kind.coefficient, whole)


def _scaled(coefficient: float, whole: Expression) -> Expression:
    number = numeral(coefficient)
    if not shape_of(whole) and not isinstance(whole, Product | Indexed | Call):
        return times(number, whole)
    return number if whole == ONE else Scale(number.value, (), (), whole)


def _matrix_form(
    inputs: Sequence[tuple[int, ...]], output: tuple[int, ...], factors: Sequence[Expression]
) -> Expression | None:
    match inputs:
        case []:
            return ONE
        case [own]:
            return _of_one(own, output, factors[0])
        case [one, other]:
            return _of_two(one, other, output, factors[0], factors[1])
        case _:
            return None


def _of_one(own: tuple[int, ...], output: tuple[int, ...], factor: Expression) -> Expression | None:
    if len(set(own)) < len(own):
        return Call("tr", (factor,)) if not output and len(own) == 2 else None
    if own == output or not own:  # unit axes come and go, a scalar is spread
        return factor
    if own == output[::-1] and len(own) == 2:
        return Transpose(factor)
    if not output:
        return Call("sum", (factor,))
    return None


def _of_two(
    one: tuple[int, ...], other: tuple[int, ...], output: tuple[int, ...], a: Expression, b: Expression
) -> Expression | None:
    if not one or not other or (one == other == output):
        return times(a, b) if one in ((), output) and other in ((), output) else None
    if any(len(set(x)) < len(x) for x in (one, other, output)) or len(one) > 2 or len(other) > 2:
        return None
    if not output and set(one) == set(other):
        if len(one) == 1:
            return Product((Transpose(a), b))
        return Call("inner", (a, b)) if one == other else None
    summed = (set(one) | set(other)) - set(output)
    if not summed and len(one) == len(other) == 1:
        pair = (a, b) if output == (*one, *other) else (b, a)
        return Product((pair[0], Transpose(pair[1])))
    if len(summed) != 1 or set(one) & set(other) != summed:
        return None
    [shared] = summed
    if output and output[0] not in one:
        (one, a), (other, b) = (other, b), (one, a)
    free = tuple(k for k in (*one, *other) if k != shared)
    if free != output:
        return None
    left = a if one[-1] == shared and len(one) == 2 else Transpose(a)
    right = b if other[0] == shared else Transpose(b)
    return Product((left, right))


def _indexed(
    inputs: Sequence[tuple[int, ...]], output: tuple[int, ...], factors: Sequence[Expression], sizes: Sequence[int]
) -> Expression:
    place: dict[int, str] = {}
    for k in (*output, *(k for labels in inputs for k in labels)):
        place.setdefault(k, LETTERS[len(place) % len(LETTERS)])
    pieces = tuple(
        Piece(factor, tuple(place[k] for k in labels)) for factor, labels in zip(factors, inputs, strict=True)
    )
    return Indexed(Fraction(1), pieces, tuple(place[k] for k in output), tuple(str(sizes[k]) for k in output))


# -- local derivatives -------------------------------------------------------------------------------------


def partial(terms: Sequence[NodeTerm], names: Names) -> Expression:
    """A local derivative, from its terms, where every factor is an operation on named nodes.

    Args:
        terms: of one input of the local Jacobian of a node.
        names: the symbol of each node.

    Returns:
        For numbers the derivative; for arrays what stands on the diagonal or is multiplied by.
    """
    return total([_term(term, names) for term in terms])


def _term(term: NodeTerm, names: Names) -> Expression:
    parts: list[Expression] = [numeral(term.coefficient)]
    for factor in term.factors:
        node = factor.operand
        parts.append(_named(node, names))
    return times(*parts)


def adorned(name: str, mark: str) -> str:
    """A name with a mark above, a bar for an adjoint or a dot for a tangent.

    Args:
        name: such as v3 or weights.
        mark: a combining character.

    Returns:
        The name; digits behind stay an index.

    Example:
        >>> adorned("v3", BAR), adorned("loss", DOT)
        ('v̄3', 'l̇oss')
    """
    stem = name.rstrip("0123456789")
    written = GREEK.get(stem, stem) + name[len(stem) :]
    return unicodedata.normalize("NFC", written[0] + mark + written[1:])


BAR, DOT = "\u0304", "\u0307"


def latex_marks(text: str) -> str:
    """LaTeX with marks as commands."""
    marked: list[str] = []
    for letter in unicodedata.normalize("NFD", text):
        if letter in (BAR, DOT):
            marked[-1] = (r"\bar{" if letter == BAR else r"\dot{") + marked[-1] + "}"
        else:
            marked.append(letter)
    return "".join(marked)


def mathml_marks(text: str) -> str:
    """MathML with marks as accents over one letter."""

    def accent(found: re.Match[str]) -> str:
        letter, mark, rest = found.groups()
        sign = "¯" if mark == BAR else "˙"
        over = f'<mover accent="true"><mi>{letter}</mi><mo>{sign}</mo></mover>'
        return f"<mrow>{over}<mi>{rest}</mi></mrow>" if rest else over

    return re.sub(f"<mi>(.)([{BAR}{DOT}])([^<]*)</mi>", accent, unicodedata.normalize("NFD", text))


def value_text(value: Any, digits: int = 6) -> str:
    """A value for a cell: a number, a short list, or the shape."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        return "×".join(map(str, array.shape)) or array.dtype.name
    if array.ndim == 0:
        return _digits(array.item(), digits)
    if array.size <= 4:
        return _listed(array.tolist())
    return "×".join(map(str, array.shape))


def _digits(value: Any, digits: int) -> str:
    return f"{value + 0.0:.{digits}g}".replace("-", "−") if isinstance(value, float) else str(value)


def _listed(values: Any) -> str:
    return f"[{', '.join(map(_listed, values))}]" if isinstance(values, list) else _digits(values, 4)
