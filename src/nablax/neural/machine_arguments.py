"""Checks of what a Boltzmann machine is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.errors import ArgumentError
from nablax.neural.arguments import is_traced, real, square
from nablax.neural.enumeration import LARGEST


def unit_numbers(name: str, units: Sequence[int], n: int) -> np.ndarray:
    """Units that the machine has.

    Raises:
        ArgumentError: it does not.
    """
    found = np.asarray(units, int).ravel()
    if found.size and (found.min() < 0 or found.max() >= n):
        raise ArgumentError(
            f"Boltzmann got {name} with the units {found.tolist()}; the machine has the units 0 to {n - 1}."
        )
    return found


def symmetric(verb: str, name: str, array: Any, n: int, groups: Sequence[np.ndarray]) -> jax.Array:
    """Weights, or a direction: n×n, symmetric, zero on the diagonal and inside groups.

    Numbers that are not known yet are not looked at; the diagonal is then taken away.

    Raises:
        ArgumentError: they are not.
    """
    found = square(verb, name, array, n)
    if is_traced(found):
        return found - jnp.diag(jnp.diagonal(found))
    numbers = np.asarray(found)
    crooked = np.argwhere(numbers != numbers.T)
    if crooked.size:
        i, j = crooked[0]
        raise ArgumentError(
            f"{verb} got {name} that is not symmetric: {name}[{i}, {j}] = {numbers[i, j]:g} and {name}[{j}, {i}] = "
            f"{numbers[j, i]:g}; a pair of units has one weight. Pass ({name} + {name}.T) / 2."
        )
    diagonal = np.flatnonzero(np.diagonal(numbers))
    if diagonal.size:
        i = diagonal[0]
        raise ArgumentError(
            f"{verb} got {name} with {name}[{i}, {i}] = {numbers[i, i]:g}; no unit has a weight to itself. Set the "
            "diagonal to zero; a bias is the weight to a unit that is always on."
        )
    for group in groups:
        within = numbers[np.ix_(group, group)]
        if within.any():
            a, b = np.argwhere(within)[0]
            raise ArgumentError(
                f"{verb} got {name} with {name}[{group[a]}, {group[b]}] = {within[a, b]:g}, a weight inside a group; "
                "units of a group are not connected. Set it to zero, or leave groups out."
            )
    return found


def patterns_of(
    verb: str, data: Any, weights: Any, visible: np.ndarray, states: tuple[int, int], dtype: Any
) -> tuple[jax.Array, jax.Array]:
    """Patterns of the visible units and their probabilities.

    Raises:
        ArgumentError: other shapes, or values that are no states.
    """
    patterns = real(verb, "data", data)
    if patterns.ndim != 2 or patterns.shape[1] != visible.size or not len(patterns):
        raise ArgumentError(
            f"{verb} got data of shape {list(patterns.shape)}; the machine has {visible.size} visible units. Pass "
            f"shape [patterns, {visible.size}]."
        )
    if not is_traced(patterns) and not np.isin(np.asarray(patterns), states).all():
        raise ArgumentError(
            f"{verb} got data with other values than the states {states}. Pass the states of the visible units."
        )
    q = jnp.full(len(patterns), 1 / len(patterns)) if weights is None else real(verb, "weights", weights)
    if q.shape != (len(patterns),):
        raise ArgumentError(
            f"{verb} got weights of shape {list(q.shape)} for {len(patterns)} patterns. Pass one probability for each."
        )
    return patterns.astype(dtype), q.astype(dtype)


def check_count(verb: str, count: int) -> None:
    """Whether the states of so many units can be enumerated.

    Raises:
        ArgumentError: there are too many.
    """
    if count > LARGEST:
        raise ArgumentError(
            f"{verb} was asked to enumerate the states of {count} units, 2^{count} of them; at most {LARGEST} units "
            "are. Use Boltzmann.sample, or a restricted machine with one small group."
        )
