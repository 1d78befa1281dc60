"""Gibbs sampling of binary units, many chains at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

Progress = Callable[[int, int], None]
REPORTS = 20


@dataclass(frozen=True, eq=False)
class Sweep:
    """One visit to every free unit, the others held.

    A unit takes its high state with probability 1/(1 + exp((high − low) h/T)), h = Σ_j w_ij s_j. With a logistic random
    number ξ that is the comparison h < T ξ/(high − low): what is sequential is a product with one row of w and a
    comparison; all random numbers of a sweep are drawn together.

    Attributes:
        groups: free units that are not connected among themselves and are drawn together.
        alone: the other free units, drawn one after the other.
        states: the two values of a unit.
        temperature: T.
    """

    groups: tuple[np.ndarray, ...]
    alone: np.ndarray
    states: tuple[float, float]
    temperature: float

    @property
    def order(self) -> np.ndarray:
        """The free units in the order in which they are drawn."""
        return np.concatenate([*self.groups, self.alone]).astype(int)

    def __call__(self, w: jax.Array, field: jax.Array, s: jax.Array, key: jax.Array) -> jax.Array:
        """New states after a sweep.

        Args:
            w: weights between free units, in the order of the sweep.
            field: what the held units add to each unit's field, shape (free, 1).
            s: states, shape (free, chains).
            key: random key.
        """
        low, high = self.states
        threshold = jax.random.logistic(key, s.shape, s.dtype) * (self.temperature / (high - low)) - field

        def drawn(fields: jax.Array, thresholds: jax.Array) -> jax.Array:
            return jnp.where(fields < thresholds, high, low).astype(s.dtype)

        start = 0
        for group in self.groups:
            rows = slice(start, start + group.size)
            s = s.at[rows].set(drawn(w[rows] @ s, threshold[rows]))
            start += group.size
        if self.alone.size:
            s = jax.lax.fori_loop(start, len(w), lambda i, s: s.at[i].set(drawn(w[i] @ s, threshold[i])), s)
        return s


@dataclass(frozen=True, eq=False)
class Chains:
    """Chains of sweeps, for one setting of the held units.

    Attributes:
        sweep: what a sweep is.
        w: weights between free units, in the order of the sweep.
        field: what the held units add to each unit's field, shape (free,).
    """

    sweep: Sweep
    w: jax.Array
    field: jax.Array

    def start(self, key: jax.Array, chains: int, burn_in: int) -> jax.Array:
        """States (free, chains) some sweeps after random ones."""
        first, second = jax.random.split(_fast(key))
        low, high = self.sweep.states
        s = jnp.where(jax.random.bernoulli(first, 0.5, (len(self.w), chains)), high, low).astype(self.w.dtype)
        return jax.lax.scan(lambda s, key: (self._step(s, key)[0], None), s, jax.random.split(second, burn_in))[0]

    def run(self, s: jax.Array, key: jax.Array, sweeps: int) -> tuple[jax.Array, jax.Array]:
        """The last states, and those after each sweep: int8, (chains, sweeps, free)."""
        s, found = jax.lax.scan(self._step, s, jax.random.split(_fast(key), sweeps))
        return s, jnp.transpose(found, (2, 0, 1))

    def _step(self, s: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        s = self.sweep(self.w, self.field[:, None], s, key)
        return s, s.astype(jnp.int8)


def _fast(key: jax.Array) -> jax.Array:
    # Most of the time of a sweep would go into JAX's usual generator. Philox, which XLA calls rbg, is several times
    # faster and as good; its keys come from the user's.
    found: jax.Array = jax.random.wrap_key_data(jax.random.bits(key, (4,), jnp.uint32), impl="rbg")
    return found


def parts_of(sweeps: int, progress: Progress | None) -> Sequence[int]:
    """Sweeps from one report to the next."""
    ends = np.unique(np.linspace(0, sweeps, REPORTS + 1).astype(int))
    return [sweeps] if progress is None else [int(b - a) for a, b in itertools.pairwise(ends)]
