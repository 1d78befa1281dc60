"""Expressions to layout: brackets by precedence, fractions, spacing between factors."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from fractions import Fraction
from typing import assert_never

from nablax.notation import FUNCTIONS, GREEK, RELATIONS, printed
from nablax.printing.expression import (
    SIGNS,
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
    PowerSum,
    Product,
    Quotient,
    Scale,
    SizeOf,
    Sum,
    Symbol,
    Transpose,
    Unit,
    Where,
    shape_of,
    walk,
)
from nablax.printing.layout import Fenced, Layout, Ratio, Row, Space, Style, Sub, Super, Word, row


class Level(IntEnum):
    """How tightly the outermost operation binds."""

    MAP = 0
    SUM = 1
    HADAMARD = 2
    PRODUCT = 3
    POSTFIX = 4
    ATOM = 5


Placed = tuple[Layout, Level]
EXPONENTS = "ijklpqrstuvw"  # letters of the exponents in a sum over powers
PLUS = Word("+", Style.MARK)


def typeset(expression: Expression) -> Layout:
    """The layout of an expression.

    Args:
        expression: any expression.

    Returns:
        The layout tree, which every renderer reads.
    """
    return _placed(expression)[0]


def _inside(expression: Expression, least: Level) -> Layout:
    layout, level = _placed(expression)
    return layout if level >= least else Fenced("(", layout, ")")


def name(text: str) -> Layout:
    """A variable's name; Greek names as letters, digits behind as an index."""
    stem = text.rstrip("0123456789").rstrip("_")
    if stem == "e" and stem != text:
        return Word(text)  # e₀ is a unit vector
    digits = text[len(stem) :].lstrip("_")
    word = Word(GREEK.get(stem, stem))
    if stem.startswith("d") and stem[1:] in GREEK:
        word = Word("d" + GREEK[stem[1:]])
    return Sub(word, Word(digits, Style.NUMBER)) if digits and stem else (word if stem else Word(text))


def number(value: Fraction | float) -> Placed:
    """A number; fractions as such."""
    if isinstance(value, float):
        return Word(f"{value:.15g}", Style.NUMBER), Level.ATOM if value >= 0 else Level.SUM
    if value < 0:
        inner, _ = number(-value)
        return row(Word("−", Style.MARK), inner), Level.SUM
    if value.denominator == 1:
        return Word(str(value.numerator), Style.NUMBER), Level.ATOM
    above, below = Word(str(value.numerator), Style.NUMBER), Word(str(value.denominator), Style.NUMBER)
    return Ratio(above, below), Level.PRODUCT


def _placed(expression: Expression) -> Placed:
    match expression:
        case Symbol(text, _):
            return name(text), Level.ATOM
        case Number(value):
            return number(value)
        case SizeOf(text):
            return name(text), Level.ATOM
        case Array(_, _, called) if called:
            return name(called), Level.ATOM
        case Array(_, shape):
            return Sub(Word("C"), Word("×".join(shape))), Level.ATOM
        case Identity():
            return Word("I"), Level.ATOM
        case Ones(shape):
            one = Word("𝟏")
            return (
                (one, Level.ATOM) if len(shape) == 1 else (row(one, Super(one, Word("ᵀ", Style.MARK))), Level.PRODUCT)
            )
        case Unit(place, _):
            return Sub(Word("e"), Word(str(place), Style.NUMBER)), Level.ATOM
        case Sum(terms):
            return _sum(terms), Level.SUM
        case Product(factors):
            return joined([(f, _inside(f, Level.PRODUCT)) for f in _with_powers(factors)]), Level.PRODUCT
        case Hadamard(factors):
            return _hadamard(factors)
        case Scale():
            return _scale(expression)
        case Quotient(numerator, denominator):
            left, right = _inside(numerator, Level.PRODUCT), _inside(denominator, Level.PRODUCT)
            return row(left, Word("⊘", Style.OPERATOR), right), Level.HADAMARD
        case Transpose(Inverse(operand)):
            return Super(_inside(operand, Level.ATOM), Word("−ᵀ", Style.MARK)), Level.POSTFIX
        case Transpose(operand):
            return Super(_inside(operand, Level.ATOM), Word("ᵀ", Style.MARK)), Level.POSTFIX
        case Inverse(operand):
            return Super(_inside(operand, Level.ATOM), Word("−1", Style.NUMBER)), Level.POSTFIX
        case Power(base, exponent):
            return _power(base, exponent)
        case Function(text, arguments):
            return _function(text, arguments)
        case Call("pinv", (matrix, *_)):
            return Super(_inside(matrix, Level.ATOM), Word("+", Style.MARK)), Level.POSTFIX
        case Call("cross", (left, right)):
            sides = _inside(left, Level.PRODUCT), _inside(right, Level.PRODUCT)
            return row(sides[0], Word("×", Style.OPERATOR), sides[1]), Level.HADAMARD
        case Call("unvec", arguments, shape):
            return _call("unvec", arguments, shape)
        case Call(text, arguments):
            return _call(text, arguments)
        case Kronecker(left, right):
            sides = _inside(left, Level.PRODUCT), _inside(right, Level.PRODUCT)
            return row(sides[0], Word("⊗", Style.OPERATOR), sides[1]), Level.HADAMARD
        case Piece(array, indices, exponent):
            letter: Layout = _inside(array, Level.POSTFIX)
            if isinstance(array, Identity) or array == SIGNS:
                letter = Word("ε" if array == SIGNS else "δ")
            placed = row(letter, Fenced("[", Word(",".join(indices)), "]")) if indices else letter
            return (placed if exponent == 1 else Super(placed, number(exponent)[0])), Level.POSTFIX
        case Indexed():
            return _indexed(expression)
        case PowerSum():
            return _power_sum(expression), Level.SUM
        case LinearMap(_, Number(zero), _) | LinearMap(_, Scale(coefficient=zero), _) if zero == 0:
            return Word("0", Style.NUMBER), Level.ATOM
        case LinearMap(arguments, body, _):
            listed = row(*_listed([name(argument.name) for argument in arguments]))
            taken = listed if len(arguments) == 1 else Fenced("(", listed, ")")
            return row(taken, Word("↦", Style.OPERATOR), typeset(body)), Level.MAP
        case Where(body, names):
            parts: list[Layout] = [typeset(body), Word("where", Style.OPERATOR)]
            for k, (symbol, meaning) in enumerate(names):
                if k:
                    parts.append(Word(", ", Style.MARK))
                parts += [name(symbol.name), Word("=", Style.OPERATOR), typeset(meaning)]
            return row(*parts), Level.MAP
        case _:
            assert_never(expression)


def _with_powers(factors: Sequence[Expression]) -> list[Expression]:
    """Equal square matrices side by side as a power: XX as X², X⁻¹X⁻¹ as X⁻², XXᵀXXᵀXXᵀ as (XXᵀ)³."""
    found: list[Expression] = []
    k = 0
    while k < len(factors):
        factor, turns, pairs = factors[k], _turns(factors[k:], 1), _turns(factors[k:], 2)
        if turns == 1 and pairs > 2 and len(shape_of(factor)) == 2:
            pair = Product(tuple(factors[k : k + 2]))
            found.append(Call("matrix_power", (pair, Number(Fraction(pairs))), shape_of(factor)[:1] * 2))
            k += 2 * pairs
            continue
        k += turns
        if isinstance(factor, Transpose) and turns > 2 and len(shape_of(factor)) == 2:
            power = Call("matrix_power", (factor.operand, Number(Fraction(turns))), shape_of(factor.operand))
            found.append(Transpose(power))
        elif turns > 1 and len(shape_of(factor)) == 2 and not isinstance(factor, Transpose):
            inverse = isinstance(factor, Inverse)
            base = factor.operand if isinstance(factor, Inverse) else factor
            found.append(Call("matrix_power", (base, Number(Fraction(-turns if inverse else turns)))))
        else:
            found += [factor] * turns
    return found


def _turns(factors: Sequence[Expression], period: int) -> int:
    """How often the first factors stand one after the other."""
    turns = 1
    while len(factors) >= (turns + 1) * period and factors[turns * period :][:period] == factors[:period]:
        turns += 1
    return turns


def _sum(terms: Sequence[Expression]) -> Layout:
    parts: list[Layout] = []
    for k, term in enumerate(terms):
        layout = _inside(term, Level.SUM)
        parts_of = layout.parts if isinstance(layout, Row) else (layout,)
        minus = isinstance(parts_of[0], Word) and parts_of[0].text == "−"
        if k and minus:
            parts.append(Word("−", Style.OPERATOR))
            layout = row(*parts_of[1:])
        elif k:
            parts.append(Word("+", Style.OPERATOR))
        parts.append(layout)
    return row(*parts)


def joined(factors: Sequence[tuple[Expression | None, Layout]]) -> Layout:
    """Factors side by side, with a space where they would run into each other."""
    parts: list[Layout] = []
    for k, (_, layout) in enumerate(factors):
        if k and _is_d(factors[k - 1][1]):
            parts.append(Word("·", Style.MARK))
        elif k and _needs_space(factors[k - 1][1], layout):
            parts.append(Space())
        parts.append(layout)
    return row(*parts)


def _is_d(layout: Layout) -> bool:
    """Whether a variable d or a power of it ends a factor: beside another it would read as a differential."""
    while isinstance(layout, Row | Super):
        layout = layout.parts[-1] if isinstance(layout, Row) else layout.base
    return layout == Word("d")


def _first(layout: Layout) -> Layout:
    match layout:
        case Row(parts):
            return _first(parts[0])
        case Super(base, _) | Sub(base, _):
            return _first(base)
        case _:
            return layout


def _last(layout: Layout) -> Layout:
    match layout:
        case Row(parts):
            return _last(parts[-1])
        case Super(base, _) | Sub(base, _):
            inside = _last(base)
            is_name = isinstance(inside, Word) and inside.style is Style.VARIABLE and len(inside.text) > 1
            return inside if is_name else layout
        case _:
            return layout


def _is_call(layout: Layout) -> bool:
    """Whether a layout is the name of a function with its argument."""
    return isinstance(layout, Row) and any(isinstance(p, Word) and p.style is Style.FUNCTION for p in layout.parts[:1])


def _needs_space(left: Layout, right: Layout) -> bool:
    last, first = _last(left), _first(right)
    if _is_call(left) or (isinstance(left, Row) and len(left.parts) > 1 and _is_call(Row(left.parts[-2:]))):
        return True
    long = [w for w in (last, first) if isinstance(w, Word) and (len(w.text) > 1 or w.style is Style.FUNCTION)]
    numbers = isinstance(last, Word) and last.style is Style.NUMBER
    if numbers and isinstance(first, Word) and first.style is not Style.FUNCTION and len(first.text) == 1:
        return first.style is Style.NUMBER
    if isinstance(last, Fenced) and last.opening != "(":
        return True
    if isinstance(last, Super) and isinstance(last.base, Fenced) and last.base.opening != "(":
        return True
    if isinstance(first, Fenced) and first.opening in ("‖", "|") and not numbers:
        return True
    if numbers and isinstance(first, Fenced):
        return False
    return bool(long) or isinstance(last, Ratio) or isinstance(first, Ratio)


def _hadamard(factors: Sequence[Expression]) -> Placed:
    above: list[Expression] = []
    below: list[Expression] = []
    for factor in factors:
        match factor:
            case Power(base, Number(value)) if value < 0:
                below.append(base if value == -1 else Power(base, Number(-value)))
            case _:
                above.append(factor)
    parts: list[Layout] = [] if above else [Word("1", Style.NUMBER)]
    for k, factor in enumerate(above):
        if k:
            parts.append(Word("⊙", Style.OPERATOR))
        parts.append(_inside(factor, Level.PRODUCT))
    for factor in below:
        parts += [Word("⊘", Style.OPERATOR), _inside(factor, Level.PRODUCT)]
    return row(*parts), Level.HADAMARD


def _scale(scale: Scale) -> Placed:
    if scale.coefficient == 0:
        return Word("0", Style.NUMBER), Level.ATOM
    negative = scale.coefficient < 0
    coefficient = -scale.coefficient if negative else scale.coefficient
    divisors = list(scale.divisors)
    fraction: Layout | None = None
    above: list[tuple[Expression | None, Layout]] = []
    sizes = [d for d in divisors if isinstance(d, SizeOf)]
    if isinstance(coefficient, Fraction):
        top, bottom = coefficient.numerator, coefficient.denominator
        lone = bottom != 1 and not divisors
        if lone and (scale.scalars or scale.body is not None):
            fraction = Ratio(Word(str(top), Style.NUMBER), Word(str(bottom), Style.NUMBER))
        else:
            if top != 1:
                above.append((None, Word(str(top), Style.NUMBER)))
            if bottom != 1:
                divisors.insert(0, Number(Fraction(bottom)))
    else:
        above.append((None, number(coefficient)[0]))
    if sizes and len(sizes) == len(divisors) and scale.body is not None:
        below = joined([(d, _inside(d, Level.POSTFIX)) for d in divisors])
        fraction, divisors = Ratio(Word("1", Style.NUMBER), below, (True, len(sizes) == 1)), []
        fraction = fraction if not above else Ratio(above[0][1], fraction.denominator, fraction.bare)
        above = []
    above += [(s, _inside(s, Level.POSTFIX)) for s in scale.scalars]
    if scale.body is not None:
        above.append((scale.body, _inside(scale.body, Level.PRODUCT)))
    elif len(scale.scalars) == 1 and len(above) == 1:
        above = [(scale.scalars[0], _inside(scale.scalars[0], Level.PRODUCT))]
    if isinstance(scale.body, Hadamard) and len(above) == 1 and not divisors and fraction is None:
        above = [(scale.body, _inside(scale.body, Level.HADAMARD))]
    single = len(above) == 1 and scale.body is None
    top_row = joined(above) if above else Word("1", Style.NUMBER)
    level = Level.PRODUCT
    if divisors:
        below = joined([(d, _inside(d, Level.POSTFIX)) for d in divisors])
        one = len(divisors) == 1
        if one and not _one_line_simple(divisors[0]):
            below = typeset(divisors[0])
        whole: Layout = Ratio(top_row, below, (True, one and _one_line_simple(divisors[0])))
        if single and scale.scalars and isinstance(scale.scalars[0], Sum):
            whole = Ratio(typeset(scale.scalars[0]), below, (False, one and _one_line_simple(divisors[0])))
        elif len(above) == 1 and scale.body is not None and _placed(scale.body)[1] < Level.PRODUCT:
            whole = Ratio(typeset(scale.body), below, (False, one and _one_line_simple(divisors[0])))
    else:
        whole = top_row
    if fraction is not None:
        whole = joined([(None, fraction), (None, whole)])
    if negative:
        return row(Word("−", Style.MARK), whole), Level.SUM
    return whole, level


def _one_line_simple(expression: Expression) -> bool:
    match expression:
        case Power(base, Number(value)) if value == Fraction(1, 2):
            return True
        case Power(base, Number(value)):
            return (isinstance(value, Fraction) and value.denominator == 1 and _one_line_simple(base)) or isinstance(
                base, Sum
            )
        case Symbol() | SizeOf() | Call() | Function() | Number():
            return True
        case _:
            return False


def _power(base: Expression, exponent: Expression) -> Placed:
    if isinstance(base, Function) and base.name in FUNCTIONS and FUNCTIONS[base.name].raised and _is_whole(exponent):
        head = Super(Word(base.name, Style.FUNCTION), typeset(exponent))
        return Row((head, Fenced("(", typeset(base.arguments[0]), ")"))), Level.POSTFIX
    if isinstance(exponent, Number) and exponent.value == Fraction(1, 2):
        return Row((Word("√", Style.MARK), _inside(base, Level.ATOM))), Level.POSTFIX
    if isinstance(exponent, Number) and exponent.value < 0:
        below = base if exponent.value == -1 else Power(base, Number(-exponent.value))
        if shape_of(base):
            return row(
                Word("1", Style.NUMBER), Word("⊘", Style.OPERATOR), _inside(below, Level.PRODUCT)
            ), Level.HADAMARD
        return Ratio(Word("1", Style.NUMBER), typeset(below), (True, _one_line_simple(below))), Level.PRODUCT
    above = typeset(exponent)
    if shape_of(base):
        above = row(Word("⊙", Style.MARK), above)
    if isinstance(base, Call) and base.name == "norm_F":
        fence = Fenced("‖", typeset(base.arguments[0]), "‖")
        return Super(Sub(fence, Word("F")), above), Level.POSTFIX
    return Super(_inside(base, Level.ATOM), above), Level.POSTFIX


def _is_whole(exponent: Expression) -> bool:
    """Whether an exponent is 2, 3, …"""
    if not isinstance(exponent, Number) or not isinstance(exponent.value, Fraction):
        return False
    return exponent.value.denominator == 1 and exponent.value > 1


def _function(text: str, arguments: Sequence[Expression]) -> Placed:
    if text in RELATIONS:
        left, right = (typeset(argument) for argument in arguments)
        return Fenced("[", row(left, Word(text, Style.OPERATOR), right), "]"), Level.ATOM
    if text == "pow":
        return Super(_inside(arguments[0], Level.ATOM), typeset(arguments[1])), Level.POSTFIX
    return _call(text, arguments)


def _call(text: str, arguments: Sequence[Expression], sizes: Sequence[str] = ()) -> Placed:
    opening, is_fenced, closing = printed(text).partition("{}")
    if is_fenced:
        fenced = Fenced(opening, typeset(arguments[0]), closing)
        below = {"norm_F": "F", "norm_2": "2", "norm_nuc": "*"}.get(text)
        return (Sub(fenced, Word(below)) if below else fenced), Level.ATOM
    if text == "d":
        inside = arguments[0]
        if isinstance(inside, Symbol):
            return name(f"d{inside.name}"), Level.ATOM
        return Row((Word("d", Style.FUNCTION), Fenced("(", typeset(inside), ")"))), Level.ATOM
    if text.startswith("["):  # a range of places
        return row(_inside(arguments[0], Level.ATOM), Fenced("[", Word(text[1:-1]), "]")), Level.ATOM
    if text == "matrix_power":
        return Super(_inside(arguments[0], Level.ATOM), typeset(arguments[1])), Level.POSTFIX
    if text == "inner":
        left, right = (typeset(argument) for argument in arguments)
        return Fenced("⟨", row(left, Word(", ", Style.MARK), right), "⟩"), Level.ATOM
    listed = _listed([*map(typeset, arguments), *map(name, sizes)])
    head = Word(printed(text), Style.FUNCTION)
    return Row((head, Fenced("(", row(*listed), ")"))), Level.ATOM


def _listed(parts: Sequence[Layout]) -> list[Layout]:
    """Parts with commas between them."""
    return [one for k, part in enumerate(parts) for one in ((Word(", ", Style.MARK), part) if k else (part,))]


def _power_sum(expression: PowerSum) -> Layout:
    taken = {node.name for node in walk(expression) if isinstance(node, Symbol)}
    free = [letter for letter in EXPONENTS if letter not in taken]
    letters = [Word(letter) for letter in free[: len(expression.between) + 1]]
    indices = [one for k, letter in enumerate(letters) for one in ((PLUS, letter) if k else (letter,))]
    below = row(*indices, Word("=", Style.MARK), Word(str(expression.degree), Style.NUMBER))
    inverse = isinstance(expression.base, Inverse)
    base = _inside(expression.base.operand if isinstance(expression.base, Inverse) else expression.base, Level.ATOM)
    first, *rest = [Super(base, row(Word("−", Style.MARK), letter) if inverse else letter) for letter in letters]
    factors: list[tuple[Expression | None, Layout]] = [(None, first)]
    for part, power in zip(expression.between, rest, strict=True):
        factors += [(part, _inside(part, Level.PRODUCT)), (None, power)]
    return row(Sub(Word("∑", Style.MARK), below), Space(), joined(factors))


def _indexed(expression: Indexed) -> Placed:
    used = dict.fromkeys(letter for piece in expression.pieces for letter in piece.indices)
    summed = [letter for letter in used if letter not in expression.free]
    parts: list[tuple[Expression | None, Layout]] = []
    value = -expression.coefficient if expression.coefficient < 0 else expression.coefficient
    if value != 1 or not expression.pieces:
        parts.append((None, number(value)[0]))
    if summed:
        parts.append((None, Sub(Word("∑", Style.MARK), Word("".join(summed)))))
    parts += [(piece, _placed(piece)[0]) for piece in expression.pieces]
    whole = joined(parts)
    if expression.coefficient < 0:
        return row(Word("−", Style.MARK), whole), Level.SUM
    return whole, Level.PRODUCT
