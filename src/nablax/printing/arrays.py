"""Programs as source of languages that have array expressions: NumPy, JAX, PyTorch and Julia."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Sequence
from enum import IntEnum
from fractions import Fraction

from nablax.errors import DerivationError
from nablax.notation import RELATIONS
from nablax.printing.languages import DEFINED, Language, Names
from nablax.printing.program import (
    Argument,
    Axes,
    Basis,
    Contraction,
    Elementwise,
    Eye,
    Fill,
    Length,
    Part,
    Pick,
    Program,
    Reduction,
    Routine,
    Scalar,
    Table,
    Value,
    offset_of,
    operands_of,
    parts_of,
)

LETTERS = "ijklmnopqrstuvwxyzabcdefgh"


class Level(IntEnum):
    """How tightly the outermost operation of a source binds."""

    SUM = 1
    PRODUCT = 2
    MATMUL = 3
    SIGN = 4
    POWER = 5
    ATOM = 6


# What may stand in a place without brackets. A matrix product inside another one is multiplied from the left.
ANY = frozenset(Level)
TERM = ANY - {Level.SUM}
LEFT = frozenset({Level.PRODUCT, Level.MATMUL, Level.SIGN, Level.POWER, Level.ATOM})
RIGHT = frozenset({Level.POWER, Level.ATOM})
CHAIN = frozenset({Level.MATMUL, Level.POWER, Level.ATOM})
NEGATED = frozenset({Level.PRODUCT, Level.POWER, Level.ATOM})
ATOM = frozenset({Level.ATOM})
Source = tuple[str, Level]


def array_source(program: Program, language: Language, *, is_guarded: bool = True) -> str:
    """The source of a function.

    Args:
        program: what it computes.
        language: in which language.
        is_guarded: whether it refuses arguments of other lengths, where lengths are numbers.

    Returns:
        Source text, with what it imports.

    Raises:
        DerivationError: the language has no word for a function; the text names it.
    """
    return _Writer(program, language).function(is_guarded=is_guarded)


class _Writer:
    def __init__(self, program: Program, language: Language) -> None:
        self._program, self._language = program, language
        self._uses = self._counted()
        self._names = Names(language, program.names)
        self._arguments = {name: self._names.variable(name) for name in program.arguments}
        self._lengths = program.lengths()
        self._named: dict[int, str] = {}
        self._texts: dict[int, Source] = {}
        self._lines: list[str] = []
        self._imports: dict[str, None] = {}

    def function(self, *, is_guarded: bool) -> str:
        program, language = self._program, self._language
        called = self._names.free(program.called)
        if len(program.outputs) == 1:
            self._lines.append(f"return {self._of(program.outputs[0][1])[0]}")
        else:
            for name, place in program.outputs:
                self._names.preferred.setdefault(place, name)
            returned = [self._output(name, place) for name, place in program.outputs]
            self._lines.append(f"return {', '.join(returned)}")
        if any("**like" in line for line in self._lines):
            first = next(iter(self._arguments.values()))
            self._lines.insert(0, self._template("like").format(first))
        if is_guarded and program.fixed():
            self._lines.insert(0, self._guard())
        imports = "".join("\n" + language.special.format(name) for name in sorted(self._imports))
        start = language.start
        if not any("math." in line for line in self._lines):
            start = start.replace("import math\n\n", "")
        head, end = language.block
        body = "".join(f"    {line}\n" for line in self._lines)
        return f"{start}{imports}\n\n\n{head.format(called, ', '.join(self._arguments.values()))}\n{body}{end}"

    def _guard(self) -> str:
        """What refuses arguments of other lengths: for them what follows would be nonsense."""
        lengths, numbers = [], []
        for name, axis, length in self._program.fixed():
            at = axis + self._language.first
            lengths.append(self._template("length").format(self._arguments[name], axis=at))
            numbers.append(length)
        sides = (lengths[0], numbers[0]) if len(lengths) == 1 else (f"({', '.join(s)})" for s in (lengths, numbers))
        return self._template("guard").format(*sides, self._program.only())

    def _output(self, name: str, place: int) -> str:
        """The name that is returned; a value that has another one is given it too."""
        text = self._of(place)[0]
        if place in self._named and self._names.preferred[place] == name:
            return text
        own = self._names.variable(name)
        self._lines.append(f"{own} = {text}")
        if place not in self._named and self._names.preferred[place] == name:
            self._named[place] = own
        return own

    # -- names -------------------------------------------------------------------------------------

    def _counted(self) -> Counter[int]:
        """How often each value is written; what is not worth a name is written again with all inside it."""
        found = Counter(place for _, place in self._program.outputs)
        for place in reversed(range(len(self._program.values))):
            times = found[place]
            if times:
                again = 1 if self._worth(place) or place in self._program.names else times
                found.update({one: again * n for one, n in Counter(operands_of(self._program.values[place])).items()})
        return found

    def _of(self, place: int) -> Source:
        """The source of a value: its name, or an expression where it is used once."""
        if place in self._named:
            return self._named[place], Level.ATOM
        if place not in self._texts:
            source = self._written(self._program.values[place])
            shared = self._uses[place] > 1 and self._worth(place)
            if shared or place in self._program.names:
                self._assigned(place, source[0])
                return self._of(place)
            self._texts[place] = source
        return self._texts[place]

    def _assigned(self, place: int, text: str) -> None:
        name = self._names.value(place)
        self._lines.append(f"{name} = {text}")
        self._named[place] = name

    def _worth(self, place: int) -> bool:
        value = self._program.values[place]
        match value:
            case Argument() | Scalar() | Length() | Fill() | Basis():
                return False
            case Elementwise("copy", (operand,)) if len(value.shape) == 2 == len(self._shape(operand)):
                return False
            case Elementwise("diag" | "negate"):
                return False
            case _:
                return not self._program.is_static(place)

    def _array(self, place: int) -> str:
        """The name of a value that is read element by element."""
        text, level = self._of(place)
        if not text.isidentifier():
            self._assigned(place, text)
        return self._of(place)[0] if level is Level.ATOM else self._named[place]

    def _in(self, place: int, allowed: frozenset[Level]) -> str:
        return _bracketed(self._of(place), allowed)

    def _shape(self, place: int) -> tuple[str, ...]:
        return self._program.values[place].shape

    def _template(self, key: str) -> str:
        if key not in self._language.operations:
            raise self._language.lacks(key)
        return self._language.operations[key]

    def _size(self, size: str) -> str:
        """The length of an axis."""
        if size.startswith("min("):
            return f"min({', '.join(map(self._size, size[4:-1].split(',')))})"
        stem, offset = offset_of(size)
        if offset:
            return f"{self._size(stem)} {'+' if offset > 0 else '-'} {abs(offset)}"
        times, letters = parts_of(size)
        if not letters and times > 1 and (known := self._program.axis_of(size)):  # holds for shorter arrays too
            return self._length(*known)
        found = [str(times)] if times != 1 or not letters else []
        for letter in letters:
            if letter not in self._lengths:
                raise DerivationError(f"no argument has an axis of the length {letter}")
            name, axis, multiple = self._lengths[letter]
            text = self._length(name, axis)
            if multiple != "1":
                below = self._size(multiple)
                text = self._template("whole").format(text, f"({below})" if "*" in below else below)
            found.append(text)
        return " * ".join(found)

    def _length(self, name: str, axis: int) -> str:
        return self._template("length").format(self._arguments[name], axis=axis + self._language.first)

    # -- values ------------------------------------------------------------------------------------

    def _written(self, value: Value) -> Source:
        match value:
            case Argument(name):
                return self._arguments[name], Level.ATOM
            case Scalar(number):
                return self._template("pi") if number == "pi" else _number(number), Level.ATOM
            case Length(size):
                text = self._size(size)
                return text, Level.PRODUCT if " " in text else Level.ATOM
            case Fill(number, shape):
                alone = "," if len(shape) == 1 and self._language.first == 0 else ""
                sizes = ", ".join(map(self._size, shape)) + alone
                return self._template("ones" if number else "zeros").format(sizes=sizes), Level.ATOM
            case Table(values, _):
                return self._template("table").format(values=self._table(values)), Level.ATOM
            case Eye((size, _)):
                return self._template("eye").format(size=self._size(size)), Level.ATOM
            case Basis(place, (size,)):
                return self._template("basis").format(size=self._size(size), place=self._place(place)), Level.ATOM
            case Elementwise():
                return self._elementwise(value)
            case Contraction((operand,), (axes,), shape):
                return self._summed(operand, axes, shape)
            case Contraction():
                return self._contracted(value)
            case Reduction(name, operand, shape):
                return self._template(f"{name}_rows" if shape else name).format(self._of(operand)[0]), Level.ATOM
            case Pick(operand, axis, place):
                index = [":"] * len(self._shape(operand))
                index[axis] = self._place(place)
                return f"{self._in(operand, ATOM)}[{', '.join(index)}]", Level.ATOM
            case Part(operand, ranges):
                return f"{self._in(operand, ATOM)}[{', '.join(map(self._range, ranges))}]", Level.ATOM
            case Routine(name, operands):
                return self._operation(name, *operands)
            case _:
                raise AssertionError(value)

    def _place(self, place: int) -> str:
        if self._language.first == 0:
            return str(place)
        return "end" if place == -1 else str(place + 1)

    def _range(self, places: tuple[int | None, int | None]) -> str:
        start, stop = places
        if self._language.first == 0:
            return ":".join("" if place is None else str(place) for place in places)
        if start is None and stop is None:
            return ":"
        first = "1" if start is None else str(start + 1) if start >= 0 else f"end - {-start - 1}"
        last = "end" if stop is None else str(stop) if stop >= 0 else f"end - {-stop}"
        return f"{first}:{last}"

    def _table(self, values: str) -> str:
        if self._language.first == 0:
            return values
        rows = ast.literal_eval(values)
        return f"[{'; '.join(' '.join(map(repr, row)) if isinstance(row, tuple) else repr(row) for row in rows)}]"

    def _operation(self, key: str, *operands: int) -> Source:
        """A row of the language's table; an infix one binds like a product."""
        template = self._template(key)
        if re.match(r"\{0\}'? [@*\\] ", template):
            left = ATOM if "'" in template or "\\" in template else CHAIN
            return template.format(self._in(operands[0], left), self._in(operands[1], RIGHT)), Level.MATMUL
        if template.startswith("{0}"):
            return template.format(self._in(operands[0], ATOM)), Level.ATOM
        return template.format(*(self._of(operand)[0] for operand in operands)), Level.ATOM

    # -- elements ----------------------------------------------------------------------------------

    def _elementwise(self, value: Elementwise) -> Source:
        function, operands, axes = value.function, value.operands, value.axes
        rank = len(value.shape)
        if function == "copy":
            return self._moved(value)
        if function in ("diag", "tril", "triu"):
            return self._operation(function, *operands)
        if function == "multiply" and axes == ((0,), (1,)):
            return self._operation("outer", *operands)
        if function == "multiply" and axes == ((1,), (0,)):
            return self._operation("outer", *reversed(operands))
        if rank > 2 and any(len(one) not in (0, rank) for one in axes):
            return self._einsum(operands, axes, value.shape)
        sources = [self._placed(*one, rank) for one in zip(operands, axes, strict=True)]
        arrays = [one for one in axes if one]
        full = tuple(range(rank))
        dot = "." if self._language.dotted and rank else ""
        match function:
            case "add":
                dot = "" if all(one == full for one in axes) else dot
                return self._sum(value, sources, dot)
            case "negate":
                return self._template("negate").format(_bracketed(sources[0], NEGATED)), Level.SIGN
            case "multiply":
                infix = f" {dot if len(arrays) > 1 else ''}{self._template(function)} "
                texts = [_bracketed(one, RIGHT if k else LEFT) for k, one in enumerate(sources)]
                return infix.join(texts), Level.PRODUCT
            case "divide":
                infix = f" {dot if axes[1] else ''}{self._template(function)} "
                return _bracketed(sources[0], LEFT) + infix + _bracketed(sources[1], RIGHT), Level.PRODUCT
            case "power":
                infix = f" {dot}{self._template(function)} "
                return _bracketed(sources[0], ATOM) + infix + _bracketed(sources[1], ATOM), Level.POWER
            case _:
                return self._function(function, operands, sources, dot)

    def _sum(self, value: Elementwise, sources: Sequence[Source], dot: str) -> Source:
        plus = self._template("add")
        text = ""
        for k, (place, axes, source) in enumerate(zip(value.operands, value.axes, sources, strict=True)):
            operand = self._program.values[place]
            if k and place not in self._named and isinstance(operand, Elementwise) and operand.function == "negate":
                [inside] = operand.operands
                text += f" {dot}- {_bracketed(self._placed(inside, axes, len(value.shape)), TERM)}"
            else:
                text += f" {dot}{plus} {_bracketed(source, TERM)}" if k else source[0]
        return text, Level.SUM

    def _placed(self, operand: int, axes: Axes, rank: int) -> Source:
        """An operand on its axes of the result."""
        if rank != 2 or axes in ((), (0, 1)):
            return self._of(operand)
        if axes == (1,) and self._language.first == 0:
            return self._of(operand)  # the last axes meet
        key = {(0,): "column", (1,): "row", (1, 0): "transpose"}[axes]
        template = self._template(key)
        return self._of(operand) if template == "{0}" else (template.format(self._in(operand, ATOM)), Level.ATOM)

    def _moved(self, value: Elementwise) -> Source:
        [operand], [axes] = value.operands, value.axes
        known: dict[Axes, str] = {(1, 0): "transpose", (0, 0): "diagonal"}
        key = known.get(axes)
        if axes in ((0,), (1,)) and len(value.shape) == 2:
            key = "row" if axes == (1,) else "to_column"
        return self._operation(key, operand) if key else self._einsum((operand,), (axes,), value.shape)

    def _function(self, name: str, operands: Sequence[int], sources: Sequence[Source], dot: str) -> Source:
        language = self._language
        texts = [text for text, _ in sources]
        templates = language.functions
        if language.static and all(map(self._program.is_static, operands)):
            templates = {**language.functions, **language.static}
        numbers = [self._program.is_static(operand) for operand in operands]
        if f"{name}_number" in templates and sum(numbers) == 1:
            texts = texts[::-1] if numbers[0] else texts
            name += "_number"
        if name not in templates and name in DEFINED and language.defined:
            return f"{name}({', '.join(texts)})", Level.ATOM
        if name not in templates:
            raise language.lacks(name)
        if name in language.imports:
            self._imports[language.imports[name]] = None
        template = templates[name]
        if template.count("{0}") > 1:
            texts = [self._array(operands[0])]
        if name in RELATIONS:
            sides = [_bracketed(one, RIGHT) for one in sources]
            return template.format(*sides).replace("{dot}", dot), Level.PRODUCT
        return template.replace("({0}", dot + "({0}").format(*texts), Level.ATOM

    # -- products ----------------------------------------------------------------------------------

    def _summed(self, operand: int, axes: Axes, shape: tuple[str, ...]) -> Source:
        rank = len(shape)
        if not rank and len(set(axes)) == len(axes):
            return self._operation("sum", operand)
        known: dict[tuple[Axes, int], str] = {
            ((0, 0), 0): "trace", ((0, 1), 1): "sum_rows", ((1, 0), 1): "sum_columns"
        }  # fmt: skip
        key = known.get((axes, rank))
        return self._operation(key, operand) if key else self._einsum((operand,), (axes,), shape)

    def _contracted(self, value: Contraction) -> Source:
        (a, b), (x, y) = value.operands, value.axes
        rank = len(value.shape)
        if len(x) < len(y):
            a, b, x, y = b, a, y, x
        if x == y == (0,):
            return self._operation("dot", a, b)
        if not rank and len(x) == len(y) == 2 and set(x) == set(y) and len(set(x)) == 2:
            template = self._template("inner")
            if a == b and x == y:
                return self._template("squares").format(self._in(a, ATOM)), Level.ATOM
            right = self._in(b, RIGHT) if x == y else _bracketed(self._transposed(b), RIGHT)
            return template.format(self._in(a, LEFT), right), Level.ATOM
        if rank == 1 and len(x) == 2 and len(set(x)) == 2 and y == (1,):
            return self._product(self._turned(a, x, (0, 1)), self._of(b))
        if rank == 2 and len(x) == len(y) == 2 and {*x} & {*y} == {2} and {*x, *y} == {0, 1, 2}:
            if 1 in x:
                a, b, x, y = b, a, y, x
            return self._product(self._turned(a, x, (0, 2)), self._turned(b, y, (2, 1)))
        return self._einsum((a, b), (x, y), value.shape)

    def _product(self, left: Source, right: Source) -> Source:
        template = self._template("matmul")
        return template.format(_bracketed(left, CHAIN), _bracketed(right, RIGHT)), Level.MATMUL

    def _turned(self, place: int, axes: Axes, wanted: Axes) -> Source:
        return self._of(place) if axes == wanted else self._transposed(place)

    def _transposed(self, place: int) -> Source:
        return self._template("transpose").format(self._in(place, ATOM)), Level.ATOM

    def _einsum(self, operands: Sequence[int], axes: Sequence[Axes], shape: tuple[str, ...]) -> Source:
        """A labelled product that is no product of matrices."""
        rank = len(shape)
        if "einsum" in self._language.operations:
            letters = ["".join(LETTERS[label] for label in one) for one in axes]
            texts = ", ".join(self._of(operand)[0] for operand in operands)
            spec = f"{','.join(letters)}->{LETTERS[:rank]}"
            return self._template("einsum").format(spec=spec, operands=texts), Level.ATOM
        pairs = list(zip(operands, axes, strict=True))
        names = [self._array(operand) if one else self._in(operand, ATOM) for operand, one in pairs]
        indices = {label: self._names.free(LETTERS[label]) for label in sorted({x for one in axes for x in one})}
        self._names.release(*indices.values())
        lengths = {
            label: self._size(size)
            for operand, one in pairs
            for label, size in zip(one, self._shape(operand), strict=True)
        }
        places = [f"[{', '.join(indices[x] for x in one)}]" if one else "" for one in axes]
        body = " * ".join(name + place for name, place in zip(names, places, strict=True))

        def turns(labels: Sequence[int]) -> str:
            return ", ".join(f"{indices[label]} in 1:{lengths[label]}" for label in labels)

        summed = [label for label in indices if label >= rank]
        body = f"sum({body} for {turns(summed)})" if summed else body
        return (f"[{body} for {turns(range(rank))}]" if rank else body), Level.ATOM


def _bracketed(source: Source, allowed: frozenset[Level]) -> str:
    text, level = source
    return text if level in allowed else f"({text})"


def _number(value: Fraction | float | str) -> str:
    return str(value.numerator) if isinstance(value, Fraction) else repr(value)
