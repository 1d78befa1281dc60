"""Random texts for the parser: ``PYTHONPATH=tests python -m fuzz.formulas COUNT [FIRST]`` reads COUNT of them from number FIRST on.

Each text follows from its number alone. Each has to be a formula or a `FormulaError`, in less than a tenth of a second of one
core; no code may be compiled or run, nothing imported, no file opened; and all together may not take 200 MB.
"""

from __future__ import annotations

import gc
import random
import resource
import sys
import time
from collections import Counter

from corpus.formulas import ENTRIES

from nablax.formula import FormulaError, parse_formula
from nablax.formula.functions import FUNCTIONS

SECONDS = 0.1  # of one core, for one text
MEGABYTES = 200
EVENTS = ("compile", "exec", "import", "open", "os.", "subprocess.", "socket.", "ctypes.", "pickle.")
NAMES = ("x", "y", "A", "B", "b", "c", "theta", "Sigma", "x_1", "θ", "n", "lambda", "self", "np", "dx", "I", "e", "T")
SIGNS = (
    "+",
    "-",
    "*",
    "/",
    "^",
    "'",
    ".*",
    "./",
    ".^",
    "**",
    "@",
    "<",
    ">",
    "<=",
    "==",
    "(",
    ")",
    "[",
    "]",
    ",",
    ":",
    "|",
)
PRINTED = (
    "ᵀ",
    "⁻¹",
    "‖",
    "⊙",
    "⊘",
    "½",
    "√",
    "𝟏",
    "²",
    "σ",
    "⟨",
    "⟩",
    "₁",
    "−",
    "·",
    "⊗",
    "×",
    "⁺",
    "†",
    "e₀",
    "∇",
    "∑",
    " where ",
    "\\frac{",
    "}",
    "{",
    "\\top",
)
HOSTILE = (
    "__import__('os').system('true')", "exec('x')", "eval(x)", "x.__class__", "lambda x: x", "open('/etc/passwd')", "{x}", "%s", "\x00",
    "\\", "`x`", "#", "//", "9" * 40, "1e999", "0x10", "\ud800", "\u202e", "x" * 300, "\n", "\t", "A:=3", "a if b else c", "$x$", "x;y", "_",
)  # fmt: skip
KINDS = (
    "matrix(n,n)",
    "vector(n)",
    "scalar",
    "symmetric(n)",
    "spd",
    "diagonal(3)",
    "positive vector",
    "matrix(2,k)",
    "x",
    "matrix(",
    "",
)


def text(number: int) -> tuple[str, str | None]:
    """A formula or something like one, and a declaration or None."""
    random_ = random.Random(number)
    kind = number % 6
    if kind == 0:
        found = _tokens(random_, random_.randint(1, 30))
    elif kind == 1:
        found = _grown(random_, random_.randint(1, 6))
    elif kind in (2, 3):
        found = _mutated(random_, random_.choice(ENTRIES).formula)
    elif kind == 4:
        entry = random_.choice(ENTRIES)
        found = _mutated(random_, random_.choice((entry.gradient, entry.hessian, entry.value)) or "x")
    else:
        found = _long(random_)
    declared = random_.random() < 0.2
    pairs = ", ".join(f"{random_.choice(NAMES)}: {random_.choice(KINDS)}" for _ in range(random_.randint(1, 3)))
    return found, pairs if declared else None


def _tokens(random_: random.Random, count: int) -> str:
    tables = (NAMES, SIGNS, SIGNS, PRINTED, tuple(FUNCTIONS), HOSTILE, ("1", "2", "0.5", "1e9", "3."))
    weights = (8, 8, 4, 2, 3, 1, 3)
    return random_.choice(("", " ")).join(random_.choice(random_.choices(tables, weights)[0]) for _ in range(count))


def _grown(random_: random.Random, depth: int) -> str:
    """A text by the grammar, whose shapes may not fit."""
    if depth == 0 or random_.random() < 0.2:
        return random_.choice((*NAMES, "1", "2.5", "x[0]", "A[:,1]", "x[1:]"))
    a, b = (_grown(random_, depth - 1) for _ in range(2))
    shapes = (
        f"({a})", f"{a}'", f"{a}*{b}", f"{a} + {b}", f"{a} - {b}", f"{a}.*{b}", f"{a}/{b}", f"({a})^{random_.randint(-2, 9)}", f"-{a}",
        f"{random_.choice(tuple(FUNCTIONS))}({a})", f"{random_.choice(tuple(FUNCTIONS))}({a}, {b})", f"<{a}, {b}>", f"({a})[{random_.randint(-3, 9)}]",
        f"where({a} > {b}, {a}, {b})", f"norm({a}, {random_.choice(('1', '2', 'nuc', 'inf'))})", f"|{a}|", f"‖{a}‖²",
    )  # fmt: skip
    return random_.choice(shapes)


def _mutated(random_: random.Random, formula: str) -> str:
    letters = list(formula)
    for _ in range(random_.randint(0, 4)):
        place = random_.randrange(len(letters) + 1)
        what = random_.random()
        if what < 0.35:
            del letters[place : place + random_.randint(1, 3)]
        elif what < 0.7:
            letters.insert(place, random_.choice((*SIGNS, *NAMES, *PRINTED, chr(random_.randrange(1, 0x3000)))))
        elif what < 0.9:
            other = random_.randrange(len(letters) + 1)
            letters[place:place] = letters[min(place, other) : min(place, other) + 12]
        else:
            letters.insert(place, random_.choice(HOSTILE))
    return "".join(letters)


def _long(random_: random.Random) -> str:
    """Deep and long texts."""
    count = random_.choice((5, 20, 100, 400, 2000))
    shapes = (
        "(" * count + "x" + ")" * random_.choice((count, count - 1, 0)), "-" * count + "x", "x" + "'" * count, "sin(" * count + "x" + ")" * count,
        "+".join("x" * count), "*".join("A" * count), "x" + "[0]" * count, "^".join("2" * count), "[" * count + "]" * count, "‖" * count,
        "|" * count, "x" * count, "1" * count, "\\frac{1}{" * count, "x'*" * count + "x", "<" * count, ",".join("x" * count), "½" * count, "(x+" * count,
        ".".join("1" * count), "norm2(" * count + "x", "ᵀ" * count, "A*(" * count + "x" + ")" * count, "+".join(f"x_{k}*y_{k}" for k in range(count)),
    )  # fmt: skip
    found = random_.choice(shapes)
    return found if random_.random() < 0.7 else _mutated(random_, found)


def outcome(number: int) -> tuple[str, float]:
    """What became of a text and the seconds that it took."""
    formula, declare = text(number)
    start = time.thread_time()
    try:
        parse_formula(formula, declare)
    except FormulaError as error:
        result = "refused at a place" if error.span is not None and error.source else "refused as a whole"
    else:
        result = "read"
    return result, time.thread_time() - start


def memory() -> float:
    """The most that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1 << 20)


def read(first: int, count: int) -> Counter[str]:
    """Reads texts and counts what became of them.

    Raises:
        AssertionError: one was slow, took much memory or reached for what no parser needs; others raise what they raised.
    """
    parse_formula([1, "+", 2])  # each grammar is made ready once
    for number in range(24):
        outcome(number)
    seen: list[str] = []
    watching = [True]

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if watching[0] and event.startswith(EVENTS):
            seen.append(f"{event} {arguments!r:.80}")

    sys.addaudithook(watch)
    counts: Counter[str] = Counter()
    gc.collect()
    gc.freeze()  # what the imports hold is not looked through again in the middle of a text
    before = memory()
    try:
        for number in range(first, first + count):
            try:
                result, seconds = outcome(number)
                if seconds > SECONDS:
                    seconds = min(outcome(number)[1] for _ in range(3))
            except Exception as error:
                error.add_note(f"text {number}: {text(number)!r:.300}")
                raise
            assert seconds < SECONDS, f"text {number} took {seconds:.2f} s: {text(number)!r:.300}"
            assert not seen, f"text {number} reached for {seen[0]}: {text(number)!r:.300}"
            counts[result] += 1
    finally:
        watching[0] = False
    assert memory() - before < MEGABYTES, f"{memory() - before:.0f} MB"
    return counts


def main() -> None:
    """Reads as many texts as the command line says."""
    count, first = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    start = time.thread_time()
    counts = read(first, count)
    listed = ", ".join(f"{number:,} {name}" for name, number in counts.most_common())
    print(
        f"{count:,} texts from {first:,} on in {time.thread_time() - start:.0f} s of one core: {listed}; {memory():.0f} MB in all"
    )


if __name__ == "__main__":
    main()
