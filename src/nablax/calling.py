"""From a user's call to flat arrays and back: argument checks, static and traced parts, result trees."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.errors import ArgumentError

ArgNums = int | Sequence[int]


@dataclass(frozen=True, eq=False)
class Same:
    """A function as a key of compiled answers: equal only to itself, whatever its own ``==`` says.

    Args:
        function: the function; hashable (one that is not may change, and is not remembered).
    """

    function: Callable[..., Any]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.function is self.function

    def __hash__(self) -> int:
        hash(self.function)
        return id(self.function)


@dataclass(frozen=True)
class Signature:
    """The static part of a call: everything that a compiled answer depends on except the arrays.

    Args:
        tree: tree of (positional arguments, keyword arguments).
        fixed: for each leaf None if it is an array, else a box with the static value.
        asked: positions (among the arrays) of the arguments that derivatives are asked for.
        asked_tree: tree of the differentiated arguments: one argument, or a tuple of them.
    """

    tree: Any
    fixed: tuple[tuple[Any, type] | None, ...]
    asked: tuple[int, ...]
    asked_tree: Any

    def function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The user's function of the flat arrays."""

        def flat(*arrays: Any) -> Any:
            waiting = iter(arrays)
            leaves = [next(waiting) if box is None else box[0] for box in self.fixed]
            args, kwargs = jax.tree.unflatten(self.tree, leaves)
            return function(*args, **kwargs)

        return flat


def bind(verb: str, argnums: ArgNums, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Signature, list[Any]]:
    """Split a call into its signature and its arrays.

    Args:
        verb: what was called, for messages.
        argnums: which positional arguments are differentiated.
        args: positional arguments.
        kwargs: keyword arguments.

    Returns:
        The signature and the flat arrays. Python ints, bools and strings outside the differentiated arguments
        are static, so that they can steer Python control flow; a float is data.

    Raises:
        ArgumentError: an argument that cannot be differentiated or traced.
    """
    argnums = positions(verb, argnums)
    places = _places(verb, argnums, len(args))
    leaves, tree = jax.tree.flatten((tuple(args), kwargs), is_leaf=lambda x: x is None)
    owners = [
        k
        for k, value in enumerate((*args, *kwargs.values()))
        for _ in jax.tree.leaves(value, is_leaf=lambda x: x is None)
    ]
    # keyword arguments are flattened in the order of their sorted names; only positional ones are owned
    arrays: list[Any] = []
    fixed: list[tuple[Any, type] | None] = []
    asked: list[int] = []
    for leaf, owner in zip(leaves, owners, strict=True):
        differentiated = owner in places
        if differentiated and leaf is not None:
            _check_differentiable(verb, owner, args[owner], leaf)
            asked.append(len(arrays))
        if (differentiated and leaf is not None) or _is_data(leaf):
            arrays.append(leaf)
            fixed.append(None)
            continue
        try:
            hash(leaf)
        except TypeError as error:
            raise ArgumentError(
                f"{verb} got an argument of type {type(leaf).__name__} in position {owner}, which is neither an "
                "array nor hashable. Pass arrays, numbers, strings, or trees (lists, dicts, tuples) of them."
            ) from error
        fixed.append((leaf, type(leaf)))
    if any(map(_varies, arrays)):
        raise ArgumentError(
            f"{verb} was called inside jax.shard_map, whose check_vma=True keeps account of which values differ "
            "between devices; the programs of nablax do not. Pass check_vma=False to jax.shard_map; the answer is "
            "then that of each device's own part, and jax.lax.psum adds the parts."
        )
    ordered = [args[k] for k in places]
    if not asked:
        raise ArgumentError(
            f"{verb} was asked for derivatives with respect to argument {argnums}, which holds no array. Pass at "
            "least one floating-point array or number there, or choose another argnums."
        )
    asked_tree = jax.tree.structure(ordered[0] if isinstance(argnums, int) else tuple(ordered))
    return Signature(tree, tuple(fixed), tuple(_in_order(args, places, asked)), asked_tree), arrays


def _in_order(args: Sequence[Any], places: Sequence[int], asked: Sequence[int]) -> list[int]:
    """Positions of the asked arrays in the order in which argnums names their arguments."""
    groups: dict[int, list[int]] = {}
    waiting = iter(asked)
    for place in sorted(places):
        groups[place] = [next(waiting) for _ in jax.tree.leaves(args[place])]
    return [position for place in places for position in groups[place]]


def positions(verb: str, argnums: Any) -> int | tuple[int, ...]:
    """What the user gave as argnums, as a position or a tuple of positions.

    Args:
        verb: what was called, for messages.
        argnums: what was given.

    Returns:
        An int for one position, a tuple for a sequence of them; NumPy's integers become Python's.

    Raises:
        ArgumentError: it is neither.

    Example:
        >>> positions("hessian", [0, 2])
        (0, 2)
    """
    try:
        if isinstance(argnums, Sequence) and not isinstance(argnums, str | bytes):
            return tuple(map(_position, argnums))
        return _position(argnums)
    except TypeError as error:
        raise ArgumentError(
            f"{verb} was asked for argnums={argnums!r}. Give the position of a positional argument (the first is 0), "
            "or a tuple of positions."
        ) from error


def _position(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError("a truth value is no position")
    return operator.index(value)


def _places(verb: str, argnums: int | tuple[int, ...], count: int) -> list[int]:
    listed = [argnums] if isinstance(argnums, int) else list(argnums)
    if not listed:
        raise ArgumentError(
            f"{verb} was asked for argnums={argnums!r}, which names no argument. Name at least one position."
        )
    if not count:
        raise ArgumentError(
            f"{verb} was asked for argnums={argnums!r}, but the call has no positional argument. Pass the "
            "differentiated arguments by position, not by keyword."
        )
    found = []
    choice = "0" if count == 1 else f"positions between 0 and {count - 1}"
    for place in listed:
        if not -count <= place < count:
            raise ArgumentError(
                f"{verb} was asked for argnums={argnums!r}, but the call has {count} positional "
                f"argument{'' if count == 1 else 's'}. Name {choice}, and pass the differentiated arguments by "
                "position."
            )
        found.append(place % count)
    if len(set(found)) < len(found):
        raise ArgumentError(f"{verb} was asked for argnums={argnums!r}, which names an argument twice. Name it once.")
    return found


def _varies(array: Any) -> bool:
    """Whether a value is known to differ between the devices of a `jax.shard_map`."""
    if not isinstance(array, jax.core.Tracer) or not jax.sharding.get_abstract_mesh().manual_axes:
        return False
    known: Any = jax.typeof(array)
    # one attribute until JAX 0.11, a record of several since
    return bool(known.vma if hasattr(known, "vma") else known.manual_axis_type.varying)


def _is_data(leaf: Any) -> bool:
    kinds = jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct | float | complex
    return isinstance(leaf, kinds) or hasattr(leaf, "__jax_array__")


SHOWN = 40
"""Characters up to which a value is shown in a message; a longer one is not cut but left out."""

PARTITION = (
    "Split the module first, params, static = eqx.partition(model, eqx.is_inexact_array), and differentiate with "
    "respect to params, with eqx.combine(params, static) inside the function."
)


def _check_differentiable(verb: str, place: int, argument: Any, leaf: Any) -> None:
    asks = f"{verb} was asked for derivatives with respect to argument {place}, which holds"
    if isinstance(leaf, bool | int) or not _is_data(leaf):
        shown = repr(leaf)
        value = "" if callable(leaf) or len(shown) > SHOWN else f" ({shown})"
        kind = f"function ({_name(leaf)})" if callable(leaf) else f"Python {type(leaf).__name__}{value}"
        other = "Pass floating-point arrays or numbers there, or leave this argument out of argnums."
        if callable(leaf):
            other = f"{other} If it is an equinox module: {PARTITION[0].lower()}{PARTITION[1:]}"
        raise ArgumentError(f"{asks} a {kind}. {PARTITION if _holds_module(argument) else other}")
    dtype = jnp.result_type(leaf)
    if not jnp.issubdtype(dtype, jnp.floating):
        shape = list(np.shape(leaf))
        advice = (
            "real and imaginary part as two real arrays"
            if jnp.issubdtype(dtype, jnp.complexfloating)
            else "x.astype(float)"
        )
        raise ArgumentError(
            f"{asks} an array {dtype.name}{shape}; derivatives exist for real floating-point arrays only. "
            + (PARTITION if _holds_module(argument) else f"Pass {advice}, or leave this argument out of argnums.")
        )


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", None) or getattr(function, "__name__", None) or type(function).__name__


def _holds_module(argument: Any) -> bool:
    """Whether a tree holds a module of equinox, whose leaves need not be numbers."""

    def is_module(value: Any) -> bool:
        return any(base.__module__.partition(".")[0] == "equinox" for base in type(value).__mro__)

    return any(map(is_module, jax.tree.leaves(argument, is_leaf=is_module)))


UNITS = {
    "b": 1.0,
    **{f"{prefix}b": 1000.0**power for power, prefix in enumerate(("k", "m", "g", "t"), 1)},
    **{f"{prefix}ib": 1024.0**power for power, prefix in enumerate(("k", "m", "g", "t"), 1)},
}
"""Bytes of a unit, in small letters: GB are powers of 1000, GiB of 1024."""


def bytes_of(value: Any) -> float | None:
    """A bound on memory, as a number of bytes.

    Args:
        value: a positive number (bytes), a text of a number and a unit (B, kB, MB, GB, TB in powers of 1000; KiB,
            MiB, GiB, TiB in powers of 1024; in small or large letters), or None for no bound.

    Returns:
        The bytes, or None.

    Raises:
        ArgumentError: something else.

    Example:
        >>> bytes_of("1GB"), bytes_of("512 MiB"), bytes_of(1e6), bytes_of(None)
        (1000000000.0, 536870912.0, 1000000.0, None)
    """
    if value is None:
        return None
    count = math.nan
    if isinstance(value, str):
        found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-z]*)\s*", value.lower())
        if found is not None and (found[2] or "b") in UNITS:
            count = float(found[1]) * UNITS[found[2] or "b"]
    elif isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        count = float(value)
    if not count > 0:
        raise ArgumentError(
            f"a bound on memory was given as memory_bytes={value!r}. Give a positive number of bytes, a text such as "
            "'8 GB' or '512 MiB', or None for no bound."
        )
    return count


def check_vector(verb: str, signature: Signature, arrays: Sequence[Any], v: Any) -> list[Any]:
    """The flat vector of a Hessian-vector product, checked against the differentiated arguments.

    Raises:
        ArgumentError: its tree, a shape or a dtype does not fit.
    """
    leaves, tree = jax.tree.flatten(v)
    if tree != signature.asked_tree:
        raise ArgumentError(
            f"{verb} got a vector v with tree {tree}; the differentiated argument has tree "
            f"{signature.asked_tree}. Give v the same tree, for example jax.tree.map(jax.numpy.ones_like, x)."
        )
    checked = []
    for k, (leaf, place) in enumerate(zip(leaves, signature.asked, strict=True)):
        wanted = np.shape(arrays[place])
        if np.shape(leaf) != wanted:
            raise ArgumentError(
                f"{verb} got a vector v whose leaf {k} has shape {list(np.shape(leaf))}; the differentiated "
                f"argument has shape {list(wanted)} there. Give v the shape of that argument."
            )
        dtype = jnp.result_type(leaf)
        if not (jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)):
            raise ArgumentError(
                f"{verb} got a vector v whose leaf {k} is {dtype.name}; a direction is real. Pass a float array."
            )
        target = jnp.result_type(arrays[place])
        checked.append(leaf if isinstance(leaf, jax.Array) and leaf.dtype == target else jnp.asarray(leaf, target))
    return checked
