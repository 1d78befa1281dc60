"""Compiled programs of a user's function, forgotten with the function."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, MutableMapping, MutableSequence, MutableSet
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

Function = Callable[..., Any]
# What is compared by value; all else by identity.
VALUES = (bool, int, float, complex, str, bytes, np.generic)
# Containers whose content would not be looked at; lists, tuples and dictionaries are.
OPAQUE = (MutableMapping, MutableSequence, MutableSet)


class Remembered:
    """Values under (function, key); functions are told apart by identity and held weakly.

    A bound method is a new object at each access: it is told apart by its object and its function, and its values are
    kept as long as the object's attributes are the same.

    What is kept must not hold the function itself, or neither would ever be freed: `make` gets a way to reach it.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, bool], _Entry] = {}

    def get(self, function: Function, key: Hashable, make: Callable[[Function], Any]) -> Any:
        """The value of a key, made at the first call.

        Args:
            function: the user's function, taken to be pure.
            key: everything else that the value depends on.
            make: from a function that stands for the user's.

        Returns:
            The value; made anew each time for what has no hash, and for methods of objects whose attributes cannot be
            compared.
        """
        owner, method = _parts(function)
        known = self._known.get((id(owner), method is None))
        try:
            if known is None or (known.content is not None and not known.content.is_that_of(owner)):
                known = self._anew(owner, None if method is None else _Content.of(owner))
            found = known.values.get((method, key))
        except (TypeError, ValueError):
            return make(function)
        if found is None:
            found = known.values[method, key] = make(_standing_for(known.reference, method))
        return found

    def _anew(self, owner: Any, content: _Content | None) -> _Entry:
        own = (id(owner), content is None)
        entry = _Entry(weakref.ref(owner, lambda _: self._known.pop(own, None)), content)
        self._known[own] = entry
        return entry


@dataclass(frozen=True)
class _Content:
    """The attributes of an object: how they are arranged, and each by value or by a weak reference."""

    arranged: Any
    leaves: tuple[Any, ...]

    @classmethod
    def of(cls, owner: Any) -> _Content:
        """Of an object.

        Raises:
            TypeError: what one of its attributes holds cannot be compared.
        """
        if isinstance(owner, type):
            return cls(None, ())
        leaves, arranged = jax.tree.flatten(dict(vars(owner)))
        return cls(arranged, tuple(map(_told_apart, leaves)))

    def is_that_of(self, owner: Any) -> bool:
        """Whether nothing of an object has changed since."""
        if isinstance(owner, type):
            return True
        leaves, arranged = jax.tree.flatten(dict(vars(owner)))
        return arranged == self.arranged and all(map(_is_same, leaves, self.leaves))


@dataclass(frozen=True)
class _Entry:
    reference: weakref.ref[Any]
    content: _Content | None
    values: dict[Any, Any] = field(default_factory=dict)


def _told_apart(leaf: Any) -> Any:
    if isinstance(leaf, VALUES):
        return leaf
    if isinstance(leaf, OPAQUE):
        raise TypeError(f"a {type(leaf).__name__} may change inside")
    return weakref.ref(leaf)


def _is_same(one: Any, old: Any) -> bool:
    if type(old) is weakref.ref:
        return old() is one
    return type(one) is type(old) and bool(one == old)


def _parts(function: Function) -> tuple[Any, Any]:
    """The object and the function of a bound method (also one of an equinox module); else the function, and None."""
    owner, method = getattr(function, "__self__", None), getattr(function, "__func__", None)
    return (function, None) if owner is None or method is None else (owner, method)


def _standing_for(reference: weakref.ref[Any], method: Any) -> Function:
    def called(*args: Any) -> Any:
        found = reference()
        assert found is not None, "a program is called only while its function lives"
        return found(*args) if method is None else method(found, *args)

    return called


def is_traced(*values: Any) -> bool:
    """Whether any array of these trees is being traced."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))
