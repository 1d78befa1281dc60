"""Programs as C99: loops over arrays that lie row by row, without any library but the language's own.

An array is stored where it is used more than once or where its elements would be computed again and again; everything
else is written inside the loop that reads it.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from nablax.errors import DerivationError
from nablax.printing.expression import Shape
from nablax.printing.languages import C, Names
from nablax.printing.program import (
    Argument,
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
from nablax.printing.routines import ROUTINES

LETTERS = "ijklpqrsuvwz"
MOVES = frozenset({"copy", "negate", "diag", "tril", "triu"})  # no arithmetic to speak of
Index = Sequence[str]


def loop_source(program: Program) -> str:
    """The source of a C function.

    Args:
        program: what it computes.

    Returns:
        Source text. The function takes the lengths of the axes, the arguments (numbers as such) and pointers to what it
        writes; it gives 0, or 1 where there is no memory.

    Raises:
        DerivationError: C lacks a function; the text names it.
    """
    return _Writer(program).function()


@dataclass(frozen=True)
class _Text:
    """An expression and whether it is one name, number or call."""

    text: str
    is_atom: bool = True

    def __str__(self) -> str:
        return self.text if self.is_atom else f"({self.text})"


class _Writer:
    def __init__(self, program: Program) -> None:
        self._program, self._values = program, program.values
        self._known = Names(C, program.names)
        # lengths first: what they are called is seen most
        self._lengths = {size: self._known.variable(size) for size in program.lengths()}
        self._arguments = {name: self._known.variable(name) for name in program.arguments}
        self._loops = [self._known.free(letter) for letter in LETTERS]
        self._names: dict[int, str] = {}
        self._lines: list[str] = []
        self._depth = 1
        self._workspace: list[tuple[str, str]] = []
        self._helpers: dict[str, None] = {}
        self._called = self._known.free(program.called)
        self._outputs = {name: self._known.variable(name) for name, _ in program.outputs}
        self._stored = self._choose()

    def function(self) -> str:
        program = self._program
        written: set[str] = set()
        for name, place in program.outputs:
            if place in self._stored and self._shape(place) and place not in self._names:
                self._names[place] = self._outputs[name]
                written.add(name)
        for place in sorted(self._stored):
            self._store(place)
        for name, place in program.outputs:
            if name not in written:
                self._write(name, place)
        lengths = [f"long {name}" for name in self._lengths.values()]
        values = [
            f"const double *{name}" if program.arguments[key] else f"double {name}"
            for key, name in self._arguments.items()
        ]
        pointers = [f"double *{name}" for name in self._outputs.values()]
        head = f"int {self._called}({', '.join([*lengths, *values, *pointers])})\n{{\n"
        helpers = "".join(ROUTINES[name] + "\n" for name in ROUTINES if name in self._helpers)
        body = self._allocation() + "".join(f"{line}\n" for line in self._lines)
        parameters = [*self._lengths.values(), *self._arguments.values()]
        unused = [name for name in parameters if not re.search(rf"(?<!\w){name}(?!\w)", body)]
        body = "".join(f"    (void){name};\n" for name in unused) + body
        end = "    free(space);\n" if self._workspace else ""
        only = program.only()
        head = f"/* for {only} only */\n{head}" if only else head
        return f"#include <math.h>\n#include <stdlib.h>\n\n{helpers}{head}{body}{end}    return 0;\n}}\n"

    def _allocation(self) -> str:
        if not self._workspace:
            return ""
        total = " + ".join(size for _, size in self._workspace)
        lines = [
            f"    double *space = calloc((size_t)({total} + 1), sizeof(double));",
            "    if (!space)",
            "        return 1;",
        ]
        before = "space"
        for name, size in self._workspace:
            lines.append(f"    double *{name} = {before};")
            before = f"{name} + {size}"
        return "\n".join(lines) + "\n"

    # -- what is stored ----------------------------------------------------------------------------

    def _choose(self) -> frozenset[int]:
        """The values that are stored."""
        uses = Counter(place for _, place in self._program.outputs)
        forced: set[int] = set()
        stored: set[int] = set()
        for place in reversed(range(len(self._values))):
            if not uses[place]:
                continue
            value = self._values[place]
            own = self._is_stored(place, uses[place], place in forced)
            if own:
                stored.add(place)
            times = 1 if own else uses[place]
            for operand in operands_of(value):
                uses[operand] += times
            forced |= set(self._forced(value))
        return frozenset(stored)

    def _is_stored(self, place: int, uses: int, forced: bool) -> bool:
        value = self._values[place]
        match value:
            case Argument() | Scalar() | Length() | Table():
                return False
            case Fill() | Eye() | Basis() | Pick() | Part():
                return forced and bool(value.shape)
            case Elementwise(function):
                return forced or (uses > 1 and function not in MOVES)
            case _:
                return True

    def _forced(self, value: Value) -> list[int]:
        """Operands that have to be stored."""
        rank = len(value.shape)
        match value:
            case Routine("kron"):
                return []
            case Routine(_, operands):
                return [one for one in operands if not isinstance(self._values[one], Argument)]
            case Contraction(operands, axes):
                every = {label for one in axes for label in one}
                return [
                    one
                    for one, own in zip(operands, axes, strict=True)
                    if isinstance(self._values[one], Elementwise) and set(own) != every and not self._is_cheap(one)
                ]
            case Elementwise(_, operands) if rank:
                return [
                    one
                    for one in operands
                    if isinstance(node := self._values[one], Elementwise)
                    and len(node.shape) < rank
                    and not self._is_cheap(one)
                ]
            case _:
                return []

    def _is_cheap(self, place: int) -> bool:
        """Whether an element costs no more than reading it."""
        value = self._values[place]
        if isinstance(value, Elementwise):
            return value.function in MOVES and all(map(self._is_cheap, value.operands))
        return True

    # -- names and sizes ---------------------------------------------------------------------------

    def _shape(self, place: int) -> Shape:
        return self._values[place].shape

    def _size(self, size: str) -> str:
        if size.startswith("min("):
            one, other = map(self._size, size[4:-1].split(","))
            return f"({one} < {other} ? {one} : {other})"
        stem, offset = offset_of(size)
        if offset:
            return f"({self._size(stem)} {'+' if offset > 0 else '-'} {abs(offset)})"
        times, letters = parts_of(size)
        found = [str(times)] if times != 1 or not letters else []
        for letter in letters:
            if letter not in self._lengths:
                raise DerivationError(f"no argument has an axis of the length {letter}")
            found.append(self._lengths[letter])
        return found[0] if len(found) == 1 else f"({' * '.join(found)})"

    def _count(self, shape: Shape) -> str:
        return " * ".join(map(self._size, shape)) or "1"

    def _offset(self, shape: Shape, index: Index) -> str:
        """The place of an element of an array that lies row by row."""
        text = ""
        for size, one in zip(shape, index, strict=True):
            if self._size(size) == "1":
                continue
            if text and text != "0":
                text = f"({text})" if " + " in text else text
                text = f"{text} * {self._size(size)}" + (f" + {one}" if one != "0" else "")
            else:
                text = one
        return text or "0"

    def _name(self, place: int) -> str:
        """The name of a stored value, made where it has none."""
        if place not in self._names:
            name = self._names[place] = self._known.value(place)
            if self._shape(place):
                self._workspace.append((name, self._count(self._shape(place))))
        return self._names[place]

    def _line(self, text: str) -> None:
        self._lines.append("    " * self._depth + text)

    def _nest(self, labels: Sequence[tuple[str, str]], body: Callable[[], None], *, is_block: bool = False) -> None:
        """Loops around a body; around a block of several statements with braces."""
        for k, (name, size) in enumerate(labels, 1):
            brace = " {" if is_block and k == len(labels) else ""
            self._line(f"for (long {name} = 0; {name} < {size}; {name}++){brace}")
            self._depth += 1
        body()
        self._depth -= len(labels)
        if is_block:
            self._lines.append("    " * (self._depth + len(labels) - 1) + "}")

    def _over(self, shape: Shape) -> list[tuple[str, str]]:
        return [(self._loops[k], self._size(size)) for k, size in enumerate(shape)]

    # -- statements --------------------------------------------------------------------------------

    def _store(self, place: int) -> None:
        value = self._values[place]
        shape = value.shape
        index = self._loops[: len(shape)]
        match value:
            case Contraction():
                self._contraction(place, value)
            case Reduction():
                self._reduction(place, value)
            case Routine("kron"):
                self._kron(place, value)
            case Routine():
                self._routine(place, value)
            case _ if shape:
                source = self._written(place, index)
                name = self._name(place)
                target = f"{name}[{self._offset(shape, index)}]"
                self._nest(self._over(shape), lambda: self._line(f"{target} = {source.text};"))
            case _:
                source = self._written(place, ())
                self._line(f"const double {self._name(place)} = {source.text};")

    def _write(self, name: str, place: int) -> None:
        """What a value is, into the place where it is wanted."""
        shape = self._shape(place)
        index = self._loops[: len(shape)]
        target = f"{self._outputs[name]}[{self._offset(shape, index)}]" if shape else f"*{self._outputs[name]}"
        self._nest(self._over(shape), lambda: self._line(f"{target} = {self._at(place, index).text};"))

    def _contraction(self, place: int, value: Contraction) -> None:
        sizes = {
            label: self._size(size)
            for operand, axes in zip(value.operands, value.axes, strict=True)
            for label, size in zip(axes, self._shape(operand), strict=True)
        }
        rank = len(value.shape)
        output = list(range(rank))
        summed = [label for label in sizes if label >= rank]
        last = Counter(axes[-1] for axes in value.axes if axes)
        last.update(output[-1:])
        inner = max(sizes, key=lambda label: (last[label], label in output and label == rank - 1))
        factors = [
            str(self._at(operand, [self._loops[label] for label in axes]))
            for operand, axes in zip(value.operands, value.axes, strict=True)
        ]
        term = " * ".join(factors)
        if len(factors) == 1 and term.startswith("(") and self._closes(term):
            term = term[1:-1]
        name = self._name(place)
        target = f"{name}[{self._offset(value.shape, self._loops[:rank])}]" if rank else name
        loops = {label: (self._loops[label], sizes[label]) for label in sizes}
        inside = [loops[label] for label in (*[x for x in summed if x != inner], inner)]
        if not rank:
            self._line(f"double {name} = 0.0;")
            self._nest(inside, lambda: self._line(f"{target} += {term};"))
        elif inner in output:
            outer = [label for label in output if label != inner]
            self._nest([loops[label] for label in output], lambda: self._line(f"{target} = 0.0;"))
            self._nest([loops[label] for label in (*outer, *summed, inner)], lambda: self._line(f"{target} += {term};"))
        else:
            total = self._known.free("total")
            self._known.release(total)

            def add() -> None:
                self._line(f"double {total} = 0.0;")
                self._nest(inside, lambda: self._line(f"{total} += {term};"))
                self._line(f"{target} = {total};")

            self._nest([loops[label] for label in output], add, is_block=True)

    def _closes(self, text: str) -> bool:
        """Whether the first bracket closes at the end."""
        depth = 0
        for k, letter in enumerate(text):
            depth += (letter == "(") - (letter == ")")
            if depth == 0:
                return k == len(text) - 1
        return False

    def _reduction(self, place: int, value: Reduction) -> None:
        shape = self._shape(value.operand)
        kept = len(value.shape)
        start, step = {
            "max": ("-INFINITY", "fmax({0}, {1})"),
            "min": ("INFINITY", "fmin({0}, {1})"),
            "prod": ("1.0", "{0} * {1}"),
        }[value.function]
        element = self._at(value.operand, self._loops[: len(shape)])
        name = self._name(place)
        target = f"{name}[{self._offset(value.shape, self._loops[:kept])}]" if kept else name
        loops = self._over(shape)

        def reduce() -> None:
            self._line(f"{'' if kept else 'double '}{target} = {start};")
            inner = element.text if step.startswith("f") else str(element)
            self._nest(loops[kept:], lambda: self._line(f"{target} = {step.format(target, inner)};"))

        if kept:
            self._nest(loops[:kept], reduce, is_block=True)
        else:
            reduce()

    def _kron(self, place: int, value: Routine) -> None:
        left, right = value.operands
        i, j, k, m = self._loops[:4]
        rows, columns = map(self._size, self._shape(right))
        name = self._name(place)
        row, column = f"({i} * {rows} + {k})", f"({j} * {columns} + {m})"
        target = f"{name}[{self._offset(value.shape, (row, column))}]"
        loops = zip((i, j, k, m), (*self._shape(left), *self._shape(right)), strict=True)
        term = f"{self._at(left, (i, j))} * {self._at(right, (k, m))}"
        self._nest([(one, self._size(size)) for one, size in loops], lambda: self._line(f"{target} = {term};"))

    def _routine(self, place: int, value: Routine) -> None:
        if value.name not in ("inv", "solve", "det", "logdet", "cholesky"):
            raise C.lacks(value.name)
        arrays = [self._plain(operand) for operand in value.operands]
        n = self._size(self._shape(value.operands[0])[0])
        if value.name == "cholesky":
            self._helpers[value.name] = None
            self._line(f"cholesky({n}, {arrays[0]}, {self._name(place)});")
            return
        self._helpers |= {"eliminate": None, value.name: None}
        work = self._known.free(f"w{len(self._workspace) + 1}")
        self._workspace.append((work, f"{n} * {n}"))
        if value.name in ("det", "logdet"):
            self._line(f"const double {self._name(place)} = {value.name}({n}, {arrays[0]}, {work});")
            return
        if value.name == "inv":
            self._line(f"inv({n}, {arrays[0]}, {self._name(place)}, {work});")
            return
        columns = self._count(self._shape(value.operands[1])[1:])
        self._line(f"solve({n}, {columns}, {', '.join(arrays)}, {self._name(place)}, {work});")

    def _plain(self, place: int) -> str:
        """The name of an array as a whole."""
        value = self._values[place]
        return self._arguments[value.name] if isinstance(value, Argument) else self._names[place]

    # -- elements ----------------------------------------------------------------------------------

    def _at(self, place: int, index: Index) -> _Text:
        """One element of a value."""
        if place in self._names and place in self._stored:
            name, shape = self._names[place], self._shape(place)
            return _Text(f"{name}[{self._offset(shape, index)}]" if shape else name)
        return self._written(place, index)

    def _written(self, place: int, index: Index) -> _Text:
        value = self._values[place]
        match value:
            case Argument(name, shape):
                own = self._arguments[name]
                return _Text(f"{own}[{self._offset(shape, index)}]" if shape else own)
            case Scalar(number):
                return _Text("3.14159265358979323846" if number == "pi" else _number(number))
            case Length(size):
                return _Text(f"(double){self._size(size)}", is_atom=False)
            case Fill(number):
                return _Text(_number(Fraction(number)))
            case Table(values, shape):
                return self._table(values, shape, index)
            case Eye():
                return _Text(f"({index[0]} == {index[1]} ? 1.0 : 0.0)")
            case Basis(at, (size,)):
                return _Text(f"({index[0]} == {self._place(at, size)} ? 1.0 : 0.0)")
            case Pick(operand, axis, at):
                whole = list(index)
                whole.insert(axis, self._place(at, self._shape(operand)[axis]))
                return self._at(operand, whole)
            case Part(operand, ranges):
                whole = []
                for one, (start, _), size in zip(index, ranges, self._shape(operand), strict=True):
                    whole.append(f"({one} + {self._place(start, size)})" if start else one)
                return self._at(operand, whole)
            case Elementwise():
                return self._elementwise(value, index)
            case _:
                raise AssertionError(value)

    def _place(self, place: int, size: str) -> str:
        return str(place) if place >= 0 else f"({self._size(size)} - {-place})"

    def _table(self, values: str, shape: Shape, index: Index) -> _Text:
        rows = ast.literal_eval(values)
        flat = [x for row in rows for x in (row if isinstance(row, tuple) else (row,))]
        listed = ", ".join(_number(float(x)) for x in flat)
        return _Text(f"((const double[]){{{listed}}})[{self._offset(shape, index)}]")

    def _elementwise(self, value: Elementwise, index: Index) -> _Text:
        def operand(k: int) -> _Text:
            return self._at(value.operands[k], [index[axis] for axis in value.axes[k]])

        texts = [operand(k) for k in range(len(value.operands))]
        match value.function:
            case "copy":
                return texts[0]
            case "add":
                return _Text(self._sum(value, texts), is_atom=False)
            case "negate":
                return _Text(f"-{texts[0]}", is_atom=False)
            case "multiply":
                return _Text(" * ".join(map(str, texts)), is_atom=False)
            case "divide":
                return _Text(f"{texts[0]} / {texts[1]}", is_atom=False)
            case "power":
                return _Text(f"pow({texts[0].text}, {texts[1].text})")
            case "diag":
                return _Text(f"({index[0]} == {index[1]} ? {texts[0].text} : 0.0)")
            case "tril" | "triu":
                return _Text(
                    f"({index[1]} {'<=' if value.function == 'tril' else '>='} {index[0]} ? {texts[0].text} : 0.0)"
                )
            case _:
                return self._function(value.function, texts)

    def _sum(self, value: Elementwise, texts: Sequence[_Text]) -> str:
        found = ""
        for k, text in enumerate(texts):
            node = self._values[value.operands[k]]
            plain = isinstance(node, Elementwise) and node.function in ("multiply", "divide")
            term = text.text if plain or text.is_atom else str(text)
            is_negated = isinstance(node, Elementwise) and node.function == "negate" and not text.is_atom
            if is_negated and k:
                found += f" - {text.text[1:]}"
            else:
                found += f" + {term}" if k else term
        return found

    def _function(self, name: str, texts: Sequence[_Text]) -> _Text:
        if name not in C.functions:
            raise C.lacks(name)
        if name in C.imports:
            self._helpers[C.imports[name]] = None
        template = C.functions[name]
        is_call = template.endswith(("{0})", "{1})"))
        return _Text(template.format(*((one.text if is_call else one) for one in texts)), is_atom=True)


def _number(value: Fraction | float | str) -> str:
    text = repr(float(value))
    return text if any(letter in text for letter in ".en") else text + ".0"
