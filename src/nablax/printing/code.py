"""Closed forms as source code: one program, written in the language that is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from nablax.errors import DerivationError
from nablax.printing.arrays import array_source
from nablax.printing.definitions import defined
from nablax.printing.expression import Expression, Shape
from nablax.printing.languages import LANGUAGES
from nablax.printing.loops import loop_source
from nablax.printing.lowering import lowered

LanguageName = Literal["numpy", "jax", "torch", "julia", "c"]


def code(
    expressions: Mapping[str, Expression],
    arguments: Mapping[str, Shape],
    language: str = "numpy",
    *,
    called: str = "closed_form",
    is_weighed: bool = True,
    is_guarded: bool = True,
) -> str:
    """Source of a function that evaluates expressions together.

    Args:
        expressions: what it returns, by name; of a linear map the value, of more parameters, the directions.
        arguments: names and shapes (names of sizes) of the parameters, in order.
        language: "numpy", "jax", "torch", "julia" or "c".
        called: the function's name.
        is_weighed: whether other ways to multiply are tried for what the whole program costs with them.
        is_guarded: whether it refuses arguments of other lengths, where lengths are numbers; C only says them.

    Returns:
        Source text. What the expressions share is computed once, products in the planner's order.

    Raises:
        DerivationError: no such language, or one that lacks a function.

    Example:
        >>> from nablax.printing.expression import Product, Symbol, Transpose
        >>> x = Symbol("x", ("n",))
        >>> print(code({"square": Product((Transpose(x), x))}, {"x": ("n",)}))
        import numpy as np
        <BLANKLINE>
        <BLANKLINE>
        def closed_form(x):
            return x @ x
        <BLANKLINE>
    """
    if language not in get_args(LanguageName):
        listed = ", ".join(map(repr, get_args(LanguageName)))
        raise DerivationError(f"code is written in one of {listed}, not {language!r}")
    written = {name: defined(one) for name, one in expressions.items()}
    program = lowered(written, arguments, called, is_weighed=is_weighed)
    if language == "c":
        return loop_source(program)
    return array_source(program, LANGUAGES[language], is_guarded=is_guarded)
