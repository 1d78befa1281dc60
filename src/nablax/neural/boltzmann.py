"""Boltzmann machines: correlations, their R-derivatives, and H v of the Kullback–Leibler divergence."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.errors import ArgumentError
from nablax.neural.arguments import counted, is_traced, like, positive
from nablax.neural.compiled import compiled
from nablax.neural.enumeration import Enumeration, Halves, TwoGroups
from nablax.neural.gibbs import REPORTS, Chains, Progress, Sweep, parts_of
from nablax.neural.machine_arguments import check_count, patterns_of, symmetric, unit_numbers
from nablax.neural.samples import Estimate, Samples

STATES = ((0, 1), (-1, 1))


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Boltzmann:
    """n binary units with symmetric weights, at a temperature.

    The sign convention: **states of low energy are likely, and the energy is plus the sum**,

        E_α = Σ_{i<j} s_i s_j w_ij        P_α = exp(−E_α/T)/Z

    so that a positive weight keeps two units apart; machines written with E = −Σ s_i s_j w_ij have the opposite w. A
    bias is the weight to a unit that is always on. w is n×n, symmetric, zero on the diagonal; a derivative by w is the
    one by the pair w_ij = w_ji, written at both places, and a direction v is symmetric like w.

    Args:
        n: number of units.
        states: (0, 1) or (−1, 1), what a unit can be.
        temperature: T > 0.
        visible: the units that data are about, in the order of the data; None: all that are not always on.
        always_on: units that are 1 in every state: weights to them are biases.
        groups: disjoint groups of units without weights inside a group, drawn together; with two that hold all units
            but those always on, a restricted machine. `neural.restricted_boltzmann` makes one.

    Raises:
        ArgumentError: T ≤ 0, other states, or units that do not exist.

    Example:
        >>> import jax.numpy as jnp
        >>> machine = Boltzmann(2, states=(-1, 1))
        >>> w = jnp.array([[0.0, 1.0], [1.0, 0.0]])
        >>> round(float(machine.p(w)[0, 1]), 4)  # −tanh(w/T)
        -0.7616

    Source:
        Ackley, Hinton and Sejnowski 1985; Pearlmutter 1994, section 4.1.
    """

    n: int
    states: tuple[int, int]
    temperature: float
    visible: np.ndarray
    always_on: np.ndarray
    groups: tuple[np.ndarray, ...]

    def __init__(
        self,
        n: int,
        states: tuple[int, int] = (0, 1),
        temperature: float = 1.0,
        *,
        visible: Sequence[int] | None = None,
        always_on: Sequence[int] = (),
        groups: Sequence[Sequence[int]] = (),
    ) -> None:
        counted("Boltzmann", "n", n)
        if tuple(states) not in STATES:
            raise ArgumentError(f"Boltzmann got states={states!r}. Pass (0, 1) or (-1, 1).")
        on = unit_numbers("always_on", always_on, n)
        seen = np.setdiff1d(np.arange(n), on) if visible is None else unit_numbers("visible", visible, n)
        apart = tuple(unit_numbers("groups", group, n) for group in groups)
        grouped = np.concatenate([*apart, on])
        if np.unique(grouped).size < grouped.size or np.intersect1d(seen, on).size:
            raise ArgumentError(
                "Boltzmann got a unit twice: a unit is always on, or visible, or hidden, and in one group at most. "
                f"Name each once (always_on={on.tolist()}, visible={seen.tolist()}, groups="
                f"{[group.tolist() for group in apart]})."
            )
        fields = {
            "n": n,
            "states": (int(states[0]), int(states[1])),
            "temperature": positive("Boltzmann", "temperature", temperature),
            "visible": seen,
            "always_on": on,
            "groups": apart,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    # -- exact -------------------------------------------------------------------------------------

    def log_partition(self, w: Any) -> jax.Array:
        """The logarithm of Z, by enumeration.

        Args:
            w: weights, symmetric n×n.

        Raises:
            ArgumentError: too many units to enumerate, or not such weights.
        """
        return self._log_partition(self._weights("Boltzmann.log_partition", w))

    def p(self, w: Any) -> jax.Array:
        """p_ij = ⟨s_i s_j⟩ of the free machine, n×n with ⟨s_i²⟩ on its diagonal; by enumeration.

        Args:
            w: weights, symmetric n×n.

        Raises:
            ArgumentError: as `log_partition`.
        """
        return self._p(self._weights("Boltzmann.p", w))

    def R_p(self, w: Any, v: Any) -> jax.Array:
        """R{p_ij} = (p_ij ⟨D⟩ − ⟨s_i s_j D⟩)/T, D = Σ_{i<j} s_i s_j v_ij; by enumeration.

        Args:
            w: weights, symmetric n×n.
            v: direction, like w.

        Raises:
            ArgumentError: as `log_partition`.
        """
        weights = self._weights("Boltzmann.R_p", w)
        return self._R_p(weights, self._direction("Boltzmann.R_p", v, weights))

    def p_clamped(self, w: Any, data: Any, weights: Any = None) -> jax.Array:
        """⟨s_i s_j⟩ with the visible units held at each pattern, averaged over the patterns.

        Args:
            w: weights, symmetric n×n.
            data: patterns × visible units, the states of the machine.
            weights: probability of each pattern; None: the same for all.

        Raises:
            ArgumentError: more than 20 hidden units, or no such weights or data.
        """
        w, data, q = self._given("Boltzmann.p_clamped", w, data, weights)
        return self._p_clamped(w, data, q)

    def R_p_clamped(self, w: Any, v: Any, data: Any, weights: Any = None) -> jax.Array:
        """R of `p_clamped`.

        Args:
            w: weights, symmetric n×n.
            v: direction, like w.
            data: as in `p_clamped`.
            weights: as in `p_clamped`.

        Raises:
            ArgumentError: as `p_clamped`.
        """
        w, data, q = self._given("Boltzmann.R_p_clamped", w, data, weights)
        return self._R_p_clamped(w, self._direction("Boltzmann.R_p_clamped", v, w), data, q)

    def kl(self, w: Any, data: Any, weights: Any = None) -> jax.Array:
        """G = Σ_k P⁺_k ln(P⁺_k/P⁻_k): from the data to the machine's distribution of the visible units.

        Args:
            w: weights, symmetric n×n.
            data: as in `p_clamped`.
            weights: as in `p_clamped`.

        Raises:
            ArgumentError: as `p_clamped` and `log_partition`.
        """
        w, data, q = self._given("Boltzmann.kl", w, data, weights)
        return self._kl(w, data, q)

    def gradient(self, w: Any, data: Any, weights: Any = None) -> jax.Array:
        """∂G/∂w_ij = (p⁺_ij − p⁻_ij)/T, clamped less free; zero on the diagonal.

        Args:
            w: weights, symmetric n×n.
            data: as in `p_clamped`.
            weights: as in `p_clamped`.

        Raises:
            ArgumentError: as `kl`.
        """
        w, data, q = self._given("Boltzmann.gradient", w, data, weights)
        return self._slope(self._p_clamped(w, data, q) - self._p(w))

    def hvp(self, w: Any, v: Any, data: Any, weights: Any = None) -> jax.Array:
        """H v of G: (R{p⁺_ij} − R{p⁻_ij})/T; zero on the diagonal.

        Args:
            w: weights, symmetric n×n.
            v: direction, like w.
            data: as in `p_clamped`.
            weights: as in `p_clamped`.

        Raises:
            ArgumentError: as `kl`.
        """
        w, data, q = self._given("Boltzmann.hvp", w, data, weights)
        v = self._direction("Boltzmann.hvp", v, w)
        return self._slope(self._R_p_clamped(w, v, data, q) - self._R_p(w, v))

    # -- sampled -----------------------------------------------------------------------------------

    def sample(
        self,
        key: Any,
        w: Any,
        *,
        chains: int = 8,
        sweeps: int = 1000,
        burn_in: int = 100,
        progress: Progress | None = None,
    ) -> Samples:
        """States of the free machine by Gibbs sampling.

        Args:
            key: random key.
            w: weights, symmetric n×n.
            chains: that run side by side, from random states.
            sweeps: visits to every unit that are kept, in each chain.
            burn_in: sweeps before.
            progress: called with the sweeps done and their number, twenty times.

        Returns:
            `Samples`: their averages come with standard errors, R̂ and effective sample sizes.

        Raises:
            ArgumentError: no such weights or numbers.
        """
        verb = "Boltzmann.sample"
        weights = self._weights(verb, w)
        on = jnp.ones((1, self.always_on.size), weights.dtype)
        states = self._states(verb, key, weights, self.always_on, on, chains, sweeps, burn_in, progress)
        return Samples(states, jnp.ones(1, weights.dtype), self.temperature)

    def sample_clamped(
        self,
        key: Any,
        w: Any,
        data: Any,
        weights: Any = None,
        *,
        chains: int = 8,
        sweeps: int = 1000,
        burn_in: int = 100,
        progress: Progress | None = None,
    ) -> Samples:
        """States with the visible units held at each pattern, by Gibbs sampling of the hidden ones.

        Args:
            key: random key.
            w: weights, symmetric n×n.
            data: as in `p_clamped`.
            weights: as in `p_clamped`.
            chains: for each pattern.
            sweeps: as in `sample`.
            burn_in: as in `sample`.
            progress: as in `sample`.

        Raises:
            ArgumentError: no such weights, data or numbers.
        """
        verb = "Boltzmann.sample_clamped"
        found, patterns, q = self._given(verb, w, data, weights)
        held, values = self._held(patterns)
        states = self._states(verb, key, found, held, values, chains, sweeps, burn_in, progress)
        return Samples(states, q, self.temperature)

    def sampled_gradient(self, free: Samples, clamped: Samples) -> Estimate:
        """∂G/∂w from samples: (p⁺ − p⁻)/T.

        Args:
            free: of `sample`.
            clamped: of `sample_clamped`.
        """
        return self._difference(clamped.p, free.p)

    def sampled_hvp(self, v: Any, free: Samples, clamped: Samples) -> Estimate:
        """H v of G from samples: (R{p⁺} − R{p⁻})/T.

        Args:
            v: direction, symmetric n×n.
            free: of `sample`.
            clamped: of `sample_clamped`.

        Raises:
            ArgumentError: `v` is not symmetric, or of another shape.
        """
        direction = symmetric("Boltzmann.sampled_hvp", "v", v, self.n, self.groups)
        return self._difference(clamped.R_p(direction), free.R_p(direction))

    # -- the parameters as a vector ----------------------------------------------------------------

    @functools.cached_property
    def pairs(self) -> np.ndarray:
        """The pairs i < j that have a weight, shape (pairs, 2): none inside a group, none between units always on."""
        allowed = ~np.eye(self.n, dtype=bool)
        for group in (*self.groups, self.always_on):
            allowed[np.ix_(group, group)] = False
        return np.argwhere(np.triu(allowed))

    def as_vector(self, w: Any) -> jax.Array:
        """The weights of the pairs, one number each: the form for an optimiser."""
        return jnp.asarray(w)[self.pairs[:, 0], self.pairs[:, 1]]

    def as_matrix(self, vector: Any) -> jax.Array:
        """The symmetric n×n array with the weights of the pairs: the inverse of `as_vector`."""
        values = jnp.asarray(vector)
        i, j = self.pairs.T
        return jnp.zeros((self.n, self.n), values.dtype).at[i, j].set(values).at[j, i].set(values)

    def _states(
        self,
        verb: str,
        key: Any,
        w: jax.Array,
        held: np.ndarray,
        values: jax.Array,
        chains: int,
        sweeps: int,
        burn_in: int,
        progress: Progress | None,
    ) -> jax.Array:
        """States of all units, (patterns, chains, sweeps, n), with some units held at the values of each pattern."""
        counted(verb, "chains", chains)
        counted(verb, "sweeps", sweeps)
        counted(verb, "burn_in", burn_in, 0)
        if progress is not None and is_traced(w, key, values):
            raise ArgumentError(f"{verb} got progress inside jit, vmap or grad, where nothing runs yet. Leave it out.")
        keys = jax.random.split(key, 1 + REPORTS)
        s = self._started(held.tobytes(), chains, burn_in, w, values, keys[0])
        kept, done = [], 0
        for part, own in zip(parts_of(sweeps, progress), keys[1:], strict=False):
            s, found = self._continued(held.tobytes(), part, w, values, s, own)
            kept.append(found)
            done += part
            if progress is not None:
                jax.block_until_ready(found)
                progress(done, sweeps)
        return kept[0] if len(kept) == 1 else jnp.concatenate(kept, axis=2)

    @functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
    def _started(
        self, held: bytes, chains: int, burn_in: int, w: jax.Array, values: jax.Array, key: jax.Array
    ) -> jax.Array:
        keys = jax.random.split(key, len(values))
        s: jax.Array = _each(lambda key, c: self._chains(held, w, c)[0].start(key, chains, burn_in), keys, values)
        return s

    @functools.partial(jax.jit, static_argnums=(0, 1, 2))
    def _continued(
        self, held: bytes, sweeps: int, w: jax.Array, values: jax.Array, s: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        def one(key: jax.Array, c: jax.Array, s: jax.Array) -> tuple[jax.Array, jax.Array]:
            chains, places = self._chains(held, w, c)
            s, drawn = chains.run(s, key, sweeps)
            fixed = jnp.broadcast_to(c.astype(drawn.dtype), (*drawn.shape[:2], c.size))
            return s, jnp.concatenate([drawn, fixed], axis=2)[..., places]

        s, drawn = _each(one, jax.random.split(key, len(values)), values, s)
        return s, drawn

    def _chains(self, held_units: bytes, w: jax.Array, c: jax.Array) -> tuple[Chains, np.ndarray]:
        """The chains of the other units, and the place of every unit after those in their order."""
        held = np.frombuffer(held_units, int)
        free = np.setdiff1d(np.arange(self.n), held)
        groups = tuple(part for group in self.groups if (part := np.intersect1d(group, free)).size)
        low, high = self.states
        alone = np.setdiff1d(free, np.concatenate([*self.groups, held]))
        sweep = Sweep(groups, alone, (low, high), self.temperature)
        field = w[np.ix_(sweep.order, held)] @ c
        chains = Chains(sweep, w[np.ix_(sweep.order, sweep.order)], field)
        return chains, np.argsort(np.concatenate([sweep.order, held]))

    # -- inside ------------------------------------------------------------------------------------

    def _free(self, verb: str) -> tuple[Enumeration, jax.Array]:
        return self._enumeration(verb, self.always_on), jnp.ones(self.always_on.size)

    def _enumeration(self, verb: str, held: np.ndarray) -> Enumeration:
        free = np.setdiff1d(np.arange(self.n), held)
        parts = [np.intersect1d(group, free) for group in self.groups]
        low, high = self.states
        if len(parts) == 2 and sum(part.size for part in parts) == free.size:
            smaller, larger = sorted(parts, key=len)
            check_count(verb, smaller.size)
            return TwoGroups(smaller, larger, held, (low, high))
        check_count(verb, free.size)
        return Halves(free, held, (low, high))

    @compiled
    def _log_partition(self, w: jax.Array) -> jax.Array:
        enumeration, on = self._free("Boltzmann.log_partition")
        return enumeration.log_partition(w, on.astype(w.dtype), self.temperature)

    @compiled
    def _p(self, w: jax.Array) -> jax.Array:
        enumeration, on = self._free("Boltzmann.p")
        return enumeration.p(w, on.astype(w.dtype), self.temperature)

    @compiled
    def _R_p(self, w: jax.Array, v: jax.Array) -> jax.Array:
        enumeration, on = self._free("Boltzmann.R_p")
        return enumeration.R_p(w, v, on.astype(w.dtype), self.temperature)

    def _clamped(self, verb: str, data: jax.Array) -> tuple[Enumeration, jax.Array]:
        held, values = self._held(data)
        return self._enumeration(verb, held), values

    def _held(self, data: jax.Array) -> tuple[np.ndarray, jax.Array]:
        """The units that data hold, and what they are held at."""
        on = jnp.ones((len(data), self.always_on.size), data.dtype)
        return np.concatenate([self.visible, self.always_on]), jnp.concatenate([data, on], axis=1)

    @compiled
    def _p_clamped(self, w: jax.Array, data: jax.Array, q: jax.Array) -> jax.Array:
        enumeration, values = self._clamped("Boltzmann.p_clamped", data)
        found = jax.lax.map(lambda one: one[1] * enumeration.p(w, one[0], self.temperature), (values, q))
        return jnp.sum(found, axis=0)

    @compiled
    def _R_p_clamped(self, w: jax.Array, v: jax.Array, data: jax.Array, q: jax.Array) -> jax.Array:
        enumeration, values = self._clamped("Boltzmann.R_p_clamped", data)
        found = jax.lax.map(lambda one: one[1] * enumeration.R_p(w, v, one[0], self.temperature), (values, q))
        return jnp.sum(found, axis=0)

    @compiled
    def _kl(self, w: jax.Array, data: jax.Array, q: jax.Array) -> jax.Array:
        enumeration, values = self._clamped("Boltzmann.kl", data)
        logs = jax.lax.map(lambda c: enumeration.log_partition(w, c, self.temperature), values)
        # a pattern that stands in several rows has the probability of all of them
        same = jnp.all(data[:, None] == data[None], axis=-1)
        of_pattern = same.astype(q.dtype) @ q
        likely = q > 0
        entropy = jnp.where(likely, q * jnp.log(jnp.where(likely, of_pattern, 1.0)), 0.0)
        return jnp.sum(entropy) - jnp.sum(q * logs) + self._log_partition(w)

    def _slope(self, difference: jax.Array) -> jax.Array:
        return (difference - jnp.diag(jnp.diagonal(difference))) / self.temperature

    def _difference(self, plus: Estimate, minus: Estimate) -> Estimate:
        return Estimate(
            self._slope(plus.value - minus.value),
            self._slope(jnp.sqrt(plus.standard_error**2 + minus.standard_error**2)),
            min(plus.degrees, minus.degrees),
            jnp.maximum(plus.r_hat, minus.r_hat),
            jnp.minimum(plus.effective_samples, minus.effective_samples),
        )

    def _weights(self, verb: str, w: Any) -> jax.Array:
        return symmetric(verb, "w", w, self.n, self.groups)

    def _direction(self, verb: str, v: Any, w: jax.Array) -> jax.Array:
        return symmetric(verb, "v", like(verb, "v", v, w), self.n, self.groups)

    def _given(self, verb: str, w: Any, data: Any, weights: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        found = self._weights(verb, w)
        patterns, q = patterns_of(verb, data, weights, self.visible, self.states, found.dtype)
        return found, patterns, q

    def __repr__(self) -> str:
        low, high = self.states
        return f"Boltzmann({self.n} units of {low} or {high}, T = {self.temperature:g}, {len(self.pairs)} weights)"


def _each(function: Callable[..., Any], *arrays: jax.Array) -> Any:
    """`jax.vmap`, but for one pattern the function itself: its loops are simpler."""
    if len(arrays[0]) > 1:
        return jax.vmap(function)(*arrays)
    return jax.tree.map(lambda leaf: leaf[None], function(*[array[0] for array in arrays]))
