"""What names are: declarations such as ``A: matrix(m,n), c: constant``, and the defaults by first letter."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from lark import Lark, Token, Tree, UnexpectedInput

from nablax.errors import FormulaError
from nablax.formula.functions import nearest
from nablax.formula.grammar import DECLARATION
from nablax.formula.parse import refused
from nablax.formula.sizes import Size, symbol
from nablax.formula.syntax import Span
from nablax.formula.typed import Kind
from nablax.notation import GREEK, SMALL_GREEK

MAXIMUM_LENGTH = 10_000
LARGEST_SIZE = 10**6
SIZES_OF_KIND = {
    Kind.SCALAR: (),
    Kind.VECTOR: ("n",),
    Kind.MATRIX: ("m", "n"),
    Kind.SYMMETRIC: ("n",),
    Kind.SPD: ("n",),
    Kind.ORTHOGONAL: ("n",),
    Kind.DIAGONAL: ("n",),
    Kind.TRIANGULAR: ("n",),
    Kind.SKEW: ("n",),
}
SPELLINGS_OF_GREEK = GREEK | {letter: name for name, letter in GREEK.items()}
OF_GREEK = re.compile(rf"(d?)({'|'.join(SPELLINGS_OF_GREEK)})(_?\d*)")


@dataclass(frozen=True, slots=True)
class Declaration:
    """What one name is.

    Args:
        kind: the kind.
        sizes: symbols, integers and products of them; None where the declaration gives no sizes.
        constant: whether it is not to be differentiated by.
        declared: whether the user said so (False for the default by first letter).
        positive: whether its entries are positive.
    """

    kind: Kind
    sizes: tuple[Size, ...] | None = None
    constant: bool = False
    declared: bool = True
    positive: bool = False


def default_declaration(name: str) -> Declaration:
    """The reading of a name that was not declared.

    Args:
        name: a name; its first letter decides: a–g scalar, h–z vector, A–Z matrix. Greek letters, as
            letters or spelled out (``mu``, ``alpha_1``), are scalars; capital ones (``Θ``, ``Sigma``) are
            matrices.

    Returns:
        The declaration, without sizes.

    Example:
        >>> default_declaration("lambda").kind, default_declaration("x").kind
        (<Kind.SCALAR: 'scalar'>, <Kind.VECTOR: 'vector'>)
    """
    first = name[0]
    if is_greek(name) or "a" <= first <= "g":
        return Declaration(Kind.SCALAR, declared=False)
    return Declaration(Kind.MATRIX if first.isupper() else Kind.VECTOR, declared=False)


def is_greek(name: str) -> bool:
    """Whether a name is a small Greek letter, as a letter or spelled out, perhaps with an index behind."""
    stem = re.split(r"[_\d]", name, maxsplit=1)[0]
    return stem in SMALL_GREEK or ("\u0370" <= name[0] <= "\u03ff" and name[0].islower())


def other_spelling(name: str) -> str:
    """The other spelling of a Greek letter, perhaps with an index behind or a d before; empty where there is none.

    Example:
        >>> other_spelling("alpha_1"), other_spelling("λ"), other_spelling("x")
        ('α_1', 'lambda', '')
    """
    found = OF_GREEK.fullmatch(name)
    return f"{found[1]}{SPELLINGS_OF_GREEK[found[2]]}{found[3]}" if found else ""


def parse_declarations(declare: str | Mapping[str, str] | None) -> dict[str, Declaration]:
    """Reads declarations.

    Args:
        declare: ``"A: matrix(m,n), S: symmetric(n), c: constant"``, or a mapping from names to kinds. Kinds
            are scalar, vector(n), matrix(m, n), symmetric(n), spd(n), orthogonal(n), diagonal(n),
            triangular(n) (zero above the diagonal) and skew(n) (minus its transpose); ``constant`` and
            ``positive`` (every entry) stand before a kind or alone. Sizes are symbols or integers and may be
            left out.

    Returns:
        A declaration per name, in order.

    Raises:
        FormulaError: unreadable text, an unknown kind, a wrong number of sizes, or a name declared twice.

    Example:
        >>> found = parse_declarations("x: constant vector(3)")["x"]
        >>> found.kind, found.sizes, found.constant
        (<Kind.VECTOR: 'vector'>, (Size(coefficient=3, symbols=(), offset=0),), True)
    """
    if declare is None:
        return {}
    if isinstance(declare, Mapping):
        for key, given in declare.items():
            if not all(isinstance(one, str) for one in (key, given)):
                raise FormulaError(
                    f"a declaration maps a name to a kind, both text, not {key!r} to {given!r}",
                    advice="for example {'A': 'matrix(m,n)'}",
                )
        source = ", ".join(f"{name}: {kind}" for name, kind in declare.items())
    elif isinstance(declare, str):
        source = declare
    else:
        raise FormulaError(
            f"declarations are text or a mapping, not {type(declare).__name__}",
            advice="for example 'A: matrix(m,n)'",
        )
    if len(source) > MAXIMUM_LENGTH:
        raise FormulaError(f"the declarations have {len(source):,} characters; the limit is {MAXIMUM_LENGTH:,}")
    result: dict[str, Declaration] = {}
    for entry in _parsed(source).children:
        name, kind = cast(Tree[Token], entry).children
        token = cast(Token, name)
        if token in result or other_spelling(token) in result:
            raise FormulaError(f"{token} is declared twice", source, _span(token))
        result[str(token)] = _declaration(token, cast(Tree[Token], kind), source)
    return result


def _parsed(source: str) -> Tree[Token]:
    try:
        return _parser().parse(source)
    except UnexpectedInput as error:
        advice = "declarations look like A: matrix(m,n), S: symmetric(n), c: constant"
        raise refused(error, source, "declaration", advice) from None


@functools.cache
def _parser() -> Lark:
    return Lark(DECLARATION, parser="lalr", start="declarations", maybe_placeholders=False)


def _span(token: Token) -> Span:
    return Span(cast(int, token.start_pos), cast(int, token.end_pos))


def _declaration(name: Token, kind: Tree[Token], source: str) -> Declaration:
    tokens = [child for child in kind.children if isinstance(child, Token)]
    words = [token for token in tokens if token.type == "WORD"]
    sizes = [cast(list[Token], child.children) for child in kind.children if isinstance(child, Tree)]
    before = list(itertools.takewhile(lambda word: word in ("constant", "positive"), words))
    constant, positive = "constant" in before, "positive" in before
    named = words[len(before) :]
    if len(named) > 1:
        advice = "only 'constant' and 'positive' stand before a kind"
        raise FormulaError(f"{str(named[1])!r} after a kind", source, _span(named[1]), advice)
    if not named:
        if sizes:
            reason, advice = f"{str(before[-1])!r} has no sizes", f"write {before[-1]} vector(n)"
            raise FormulaError(reason, source, _span(sizes[0][0]), advice)
        kind_by_name = default_declaration(str(name)).kind
        return Declaration(kind_by_name, constant=constant, declared=False, positive=positive)
    if str(named[0]) not in [str(one) for one in Kind]:
        guess = nearest(str(named[0]), ["constant", "positive", *map(str, Kind)])
        advice = (f"did you mean {guess!r}? " if guess else "") + f"kinds are {', '.join(Kind)}"
        raise FormulaError(f"unknown kind {str(named[0])!r}", source, _span(named[0]), advice)
    found = Kind(str(named[0]))
    if positive and found not in (Kind.SCALAR, Kind.VECTOR, Kind.MATRIX):
        advice = "a positive definite matrix is declared spd(n)"
        raise FormulaError(
            f"the entries of a {found} matrix cannot be declared positive", source, _span(before[-1]), advice
        )
    expected = SIZES_OF_KIND[found]
    if len(words) == len(tokens):
        return Declaration(found, None if expected else (), constant, positive=positive)
    if len(sizes) != len(expected):
        form = f"{found}({','.join(expected)})" if expected else str(found)
        span = Span(_span(named[0]).start, _span(sizes[-1][-1] if sizes else named[0]).end)
        plural = "" if len(expected) == 1 else "s"
        reason = f"{found} takes {len(expected)} size{plural}, found {len(sizes)}"
        raise FormulaError(reason, source, span, f"write {form}")
    return Declaration(found, tuple(_size(factors, source) for factors in sizes), constant, positive=positive)


def _size(factors: list[Token], source: str) -> Size:
    result = Size()
    for token in factors:
        if token.isdigit() and (len(token) > 7 or int(token) > LARGEST_SIZE):
            raise FormulaError(f"the size {token[:20]} is larger than {LARGEST_SIZE:,}", source, _span(token))
        result = result * (Size(int(token)) if token.isdigit() else symbol(str(token)))
    return result
