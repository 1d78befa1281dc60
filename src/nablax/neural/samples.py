"""What samples of a Boltzmann machine say, with how sure they are."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from nablax.neural.arguments import rounding

ROUNDINGS = 100.0
DISAGREE = 1.1
"""R-hat from which on the standard error is that of the means of whole chains."""


class Estimate(eqx.Module):
    """Averages over samples, element by element.

    Attributes:
        value: the averages.
        standard_error: of each, from the spread of the means of batches of successive samples; where R-hat is
            above 1.1, of whole chains.
        degrees: of freedom of the standard errors: batches less one.
        r_hat: spread of all halves of chains over the spread within them, close to 1 where the chains agree (Gelman and
            Rubin 1992, split as in Gelman et al. 2013).
        effective_samples: independent samples that would be as sure.
    """

    value: jax.Array
    standard_error: jax.Array
    degrees: int = eqx.field(static=True)
    r_hat: jax.Array
    effective_samples: jax.Array


class Samples(eqx.Module):
    """States of a machine, drawn in several chains for each pattern that was held; one pattern where none was.

    Attributes:
        states: int8, shape (patterns, chains, sweeps, n).
        weights: of the patterns, adding up to 1.
        temperature: at which they were drawn.
    """

    states: jax.Array
    weights: jax.Array
    temperature: float = eqx.field(static=True)

    @property
    def p(self) -> Estimate:
        """⟨s_i s_j⟩, averaged over the patterns."""
        return self._estimate(_correlations)

    def R_p(self, v: jax.Array) -> Estimate:
        """R{⟨s_i s_j⟩} = −⟨(s_i s_j − ⟨s_i s_j⟩)(D − ⟨D⟩)⟩/T with D = Σ_{i<j} s_i s_j v_ij.

        Args:
            v: direction, symmetric n×n; its diagonal is not read.
        """
        off = v - jnp.diag(jnp.diagonal(v))
        return self._estimate(lambda s: _covariances(s, off, self.temperature))

    def _estimate(self, averages: Callable[[jax.Array], Averages]) -> Estimate:
        def one(states: jax.Array) -> tuple[jax.Array, ...]:
            chains, sweeps, n = states.shape
            count = _batches(sweeps)
            kept = count * (sweeps // count)
            s = states[:, sweeps - kept :].astype(jnp.result_type(float)).reshape(chains, count, -1, n)
            return _told(averages(s), chains * kept)

        means, errors, r_hats, effective = jax.lax.map(one, self.states)
        batches = _batches(self.states.shape[2]) * self.states.shape[1]
        return Estimate(
            jnp.einsum("k,kij->ij", self.weights, means),
            jnp.sqrt(jnp.einsum("k,kij->ij", self.weights**2, errors**2)),
            batches - 1,
            jnp.max(r_hats, axis=0),
            jnp.sum(effective, axis=0),
        )


Averages = tuple[jax.Array, jax.Array]
"""Means of the batches, shape (chains, batches, n, n), and the variance of one sample, (n, n)."""


def _batches(sweeps: int) -> int:
    """Batches in a chain: as many as samples in each, so that both grow; 64 at most."""
    return max(1, min(64, int(sweeps**0.5)))


def _correlations(s: jax.Array) -> Averages:
    means = jnp.einsum("cbli,cblj->cbij", s, s) / s.shape[2]
    p = jnp.mean(means, axis=(0, 1))
    # (s_i s_j)² = s_i² s_j²
    return means, jnp.einsum("cbli,cblj->ij", s * s, s * s) / s[..., 0].size - p**2


def _covariances(s: jax.Array, v: jax.Array, temperature: float) -> Averages:
    D = 0.5 * jnp.sum((s @ v.astype(s.dtype)) * s, axis=-1)
    a = -(D - jnp.mean(D)) / temperature
    count = a.size
    p = jnp.einsum("cbli,cblj->ij", s, s) / count
    # The influence of a sample on a covariance is a (s s − p): its mean is the covariance, its spread is the error's.
    means = jnp.einsum("cbl,cbli,cblj->cbij", a, s, s) / s.shape[2] - p * jnp.mean(a, axis=2)[..., None, None]
    squares = jnp.einsum("cbl,cbli,cblj->ij", a * a, s * s, s * s)
    mixed = jnp.einsum("cbl,cbli,cblj->ij", a * a, s, s)
    single = (squares - 2 * p * mixed) / count + p**2 * jnp.mean(a * a) - jnp.mean(means, axis=(0, 1)) ** 2
    return means, single


def _told(averages: Averages, samples: int) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Mean, standard error, R̂ and effective samples."""
    means, single = averages
    chains, count = means.shape[:2]
    error = jnp.std(means, axis=(0, 1), ddof=1) / (chains * count) ** 0.5
    # what no state changes has rounding errors only
    moves = error > ROUNDINGS * rounding(means.dtype) * jnp.max(jnp.abs(means))
    error = jnp.where(moves, error, 0.0)
    half = max(1, count // 2)
    halves = jnp.mean(means[:, : half * (count // half)].reshape(-1, half, *means.shape[2:]), axis=1)
    between = jnp.var(halves, axis=0, ddof=1)
    within = jnp.where(moves, jnp.maximum(single - jnp.var(halves, axis=0), 0.0), 0.0)
    between = jnp.where(moves, between, 0.0)
    ratio = jnp.sqrt(1 + between / jnp.where(within > 0, within, 1.0))
    r_hat = jnp.where(within > 0, ratio, jnp.where(between > 0, jnp.inf, 1.0))
    # Batches of one chain tell nothing of what the chain never reached: where the chains disagree, only they count.
    apart = jnp.std(jnp.mean(means, axis=1), axis=0, ddof=min(1, chains - 1)) / chains**0.5
    error = jnp.where(r_hat > DISAGREE, jnp.maximum(error, apart), error)
    effective = jnp.where(moves, single / jnp.where(moves, error, 1.0) ** 2, samples)
    return jnp.mean(means, axis=(0, 1)), error, r_hat, effective
