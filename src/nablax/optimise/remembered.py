"""Compiled programs of a user's function, forgotten with the function."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Hashable
from typing import Any

import jax

Function = Callable[..., Any]


class Remembered:
    """Values under (function, key); functions are told apart by identity and held weakly.

    What is kept must not hold the function itself, or neither would ever be freed: `make` gets a way to reach it.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Any], dict[Hashable, Any]]] = {}

    def get(self, function: Function, key: Hashable, make: Callable[[Function], Any]) -> Any:
        """The value of a key, made at the first call.

        Args:
            function: the user's function, taken to be pure.
            key: everything else that the value depends on.
            make: from a function that stands for the user's.

        Returns:
            The value; made anew each time for a bound method, whose object may change, and for what has no hash.
        """
        own = id(function)
        try:
            hash(key)
            hash(function)
            if inspect.ismethod(function):
                return make(function)
            if own not in self._known:
                self._known[own] = (weakref.ref(function, lambda _: self._known.pop(own, None)), {})
        except TypeError:
            return make(function)
        reference, values = self._known[own]
        if key not in values:
            values[key] = make(_standing_for(reference))
        return values[key]


def _standing_for(reference: weakref.ref[Any]) -> Function:
    def called(*args: Any) -> Any:
        function = reference()
        assert function is not None, "a program is called only while its function lives"
        return function(*args)

    return called


def is_traced(*values: Any) -> bool:
    """Whether any array of these trees is being traced."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))
