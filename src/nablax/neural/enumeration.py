"""Exact sums over all states of some binary units, the others held at values.

Every quantity is a sum over states s of the free units. They are split in two halves a and b: with S_a, S_b the lists
of the states of the halves, a quadratic form of all 2^m states is one matrix,

    ½ sᵀ w s  =  f_a(s_a) 1ᵀ + 1 f_b(s_b)ᵀ + S_a w_ab S_bᵀ,

and a weighted sum of s sᵀ is a few products with it. No list of 2^m states is ever made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import logsumexp

from nablax.neural.directional import R

LARGEST = 20
"""Free units up to which states are enumerated: a million of them."""


def all_states(count: int, low: float, high: float) -> np.ndarray:
    """Every state of some units, shape (2^count, count); the first unit changes slowest."""
    bits = (np.arange(2**count)[:, None] >> np.arange(count)[::-1]) & 1
    return np.where(bits, high, low).astype(float)


@dataclass(frozen=True, eq=False)
class Halves:
    """Sums over the states of the free units of any machine.

    Attributes:
        free: their numbers.
        held: numbers of the units that are held.
        states: the two values of a unit.
    """

    free: np.ndarray
    held: np.ndarray
    states: tuple[float, float]

    def quadratic(self, w: jax.Array, c: jax.Array) -> jax.Array:
        """½ sᵀ w s of every state, shape (2^a, 2^b); `w` is symmetric without diagonal, `c` the held values."""
        half = -(-self.free.size // 2)
        a, b = self.free[:half], self.free[half:]
        S_a, S_b = self._lists(w.dtype)

        def own(S: jax.Array, units: np.ndarray) -> jax.Array:
            return 0.5 * jnp.sum((S @ w[np.ix_(units, units)]) * S, 1) + S @ (w[np.ix_(units, self.held)] @ c)

        constant = 0.5 * c @ w[np.ix_(self.held, self.held)] @ c
        return (own(S_a, a) + constant)[:, None] + own(S_b, b) + S_a @ w[np.ix_(a, b)] @ S_b.T

    def correlations(self, P: jax.Array, c: jax.Array) -> jax.Array:
        """Σ P s sᵀ over all states, n×n, for any weights P in the shape of `quadratic`."""
        S_a, S_b = self._lists(P.dtype)
        in_a, in_b, total = jnp.sum(P, 1), jnp.sum(P, 0), jnp.sum(P)
        cross = S_a.T @ P @ S_b
        own = jnp.block([[(S_a.T * in_a) @ S_a, cross], [cross.T, (S_b.T * in_b) @ S_b]])
        mixed = jnp.outer(jnp.concatenate([in_a @ S_a, in_b @ S_b]), c)
        whole = jnp.block([[own, mixed], [mixed.T, total * jnp.outer(c, c)]])
        order = np.argsort(np.concatenate([self.free, self.held]))
        return whole[np.ix_(order, order)]

    def log_partition(self, w: jax.Array, c: jax.Array, temperature: float) -> jax.Array:
        """The logarithm of Σ exp(−½ sᵀ w s / T)."""
        return logsumexp(-self.quadratic(w, c) / temperature)

    def p(self, w: jax.Array, c: jax.Array, temperature: float) -> jax.Array:
        """⟨s sᵀ⟩."""
        return self.correlations(self._probabilities(w, c, temperature), c)

    def R_p(self, w: jax.Array, v: jax.Array, c: jax.Array, temperature: float) -> jax.Array:
        """(⟨s sᵀ⟩⟨D⟩ − ⟨s sᵀ D⟩)/T with D = ½ sᵀ v s."""
        P, D = self._probabilities(w, c, temperature), self.quadratic(v, c)
        # with D − ⟨D⟩ in place of D the first term is 0: the difference of two large numbers is never taken
        return -self.correlations(P * (D - jnp.sum(P * D)), c) / temperature

    def _probabilities(self, w: jax.Array, c: jax.Array, temperature: float) -> jax.Array:
        return jax.nn.softmax(-self.quadratic(w, c) / temperature, axis=(0, 1))

    def _lists(self, dtype: Any) -> tuple[jax.Array, jax.Array]:
        half = -(-self.free.size // 2)
        low, high = self.states
        first, second = all_states(half, low, high), all_states(self.free.size - half, low, high)
        return jnp.asarray(first, dtype), jnp.asarray(second, dtype)


@dataclass(frozen=True, eq=False)
class TwoGroups:
    """Sums over the states of a restricted machine: the larger group is summed out unit by unit.

    Given the smaller group's state the units of the larger are independent; only 2^(smaller) states are enumerated.

    Attributes:
        smaller: numbers of the free units of the group that is enumerated.
        larger: numbers of the free units of the other group.
        held: numbers of the units that are held.
        states: the two values of a unit.
    """

    smaller: np.ndarray
    larger: np.ndarray
    held: np.ndarray
    states: tuple[float, float]

    def log_partition(self, w: jax.Array, c: jax.Array, temperature: float) -> jax.Array:
        """The logarithm of Σ exp(−½ sᵀ w s / T)."""
        return logsumexp(self._log_weights(w, c, temperature)[0])

    def p(self, w: jax.Array, c: jax.Array, temperature: float) -> jax.Array:
        """⟨s sᵀ⟩."""
        logarithms, S, fields = self._log_weights(w, c, temperature)
        P = jax.nn.softmax(logarithms)
        low, high = self.states
        chance = jax.nn.sigmoid(-(high - low) * fields / temperature)
        mean, square = low + (high - low) * chance, low**2 + (high**2 - low**2) * chance
        weighted = mean * P[:, None]
        within = weighted.T @ mean
        # two different units are independent given the other group; a unit with itself is not
        within = within - jnp.diag(jnp.diagonal(within)) + jnp.diag(P @ square)
        s = jnp.concatenate([S, mean, jnp.broadcast_to(c, (len(P), c.size))], axis=1)
        whole = (s.T * P) @ s
        first = self.smaller.size
        last = first + self.larger.size
        whole = whole.at[first:last, first:last].set(within)
        order = np.argsort(np.concatenate([self.smaller, self.larger, self.held]))
        return whole[np.ix_(order, order)]

    def R_p(self, w: jax.Array, v: jax.Array, c: jax.Array, temperature: float) -> jax.Array:
        """R{⟨s sᵀ⟩}, by the R-operator on `p`."""
        along: jax.Array = R(lambda w: self.p(w, c, temperature), v)(w)
        return along

    def _log_weights(self, w: jax.Array, c: jax.Array, temperature: float) -> tuple[jax.Array, jax.Array, jax.Array]:
        low, high = self.states
        S = jnp.asarray(all_states(self.smaller.size, low, high), w.dtype)
        fields = S @ w[np.ix_(self.smaller, self.larger)] + w[np.ix_(self.larger, self.held)] @ c
        own = S @ (w[np.ix_(self.smaller, self.held)] @ c) + 0.5 * c @ w[np.ix_(self.held, self.held)] @ c
        summed = jnp.logaddexp(-low * fields / temperature, -high * fields / temperature)
        return jnp.sum(summed, axis=1) - own / temperature, S, fields


Enumeration = Halves | TwoGroups
