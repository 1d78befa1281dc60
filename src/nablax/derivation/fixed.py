"""Fixed arrays of a function: each has one name in all that a derivation shows, and a line that says what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from nablax.derivation.closed_form import ClosedForm
from nablax.printing.expression import SIGNS, Array, Expression, Where, walk
from nablax.printing.rewrite import rebuilt

LETTERS = ("C", "D", "E", "F", "G", "H", "K")

Change = Callable[[ClosedForm], ClosedForm]


def fixed_arrays(forms: Sequence[ClosedForm], taken: Sequence[str]) -> tuple[Change, tuple[str, ...]]:
    """Names for the arrays that are written out in closed forms shown together.

    Args:
        forms: the closed forms, in the order in which they are read.
        taken: names that are used.

    Returns:
        What puts the names into a closed form, and a sentence for each array.
    """
    arrays = list(dict.fromkeys(array for form in forms for array in _arrays(form.expression)))
    used = {*(name.rstrip("_") for name in taken), *(name for form in forms for name in _names(form.expression))}
    names = dict(zip(arrays, _free(used), strict=False))
    sentences = tuple(f"{name}: a fixed array of the function, {'×'.join(a.shape)}" for a, name in names.items())

    def change(form: ClosedForm) -> ClosedForm:
        return replace(form, expression=_renamed(form.expression, names)) if names else form

    return change, sentences


def _free(taken: set[str]) -> Iterator[str]:
    yield from (letter for letter in LETTERS if letter not in taken)
    number = 2
    while True:
        if f"C{number}" not in taken:
            yield f"C{number}"
        number += 1


def _arrays(expression: Expression) -> Iterator[Array]:
    yield from (node for node in walk(expression, indexed=True) if isinstance(node, Array) and node != SIGNS)


def _names(expression: Expression) -> Iterator[str]:
    for node in walk(expression):
        if isinstance(node, Where):
            yield from (symbol.name for symbol, _ in node.names)


def _renamed(expression: Expression, names: Mapping[Array, str]) -> Expression:
    def change(node: Expression) -> Expression:
        return replace(node, name=names[node]) if isinstance(node, Array) and node in names else node

    return rebuilt(expression, change, indexed=True)
