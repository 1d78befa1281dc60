"""Boltzmann machines: exact against a list of all states, sampled against exact."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import nablax as nb
from nablax import neural


def all_states(states: Any, n: int, on: Any = ()) -> Any:
    return np.array([s for s in itertools.product(states, repeat=n) if all(s[i] == 1 for i in on)], float)


def energies(S: Any, w: Any) -> Any:
    n = S.shape[1]
    return sum((S[:, i] * S[:, j] * w[i, j] for i in range(n) for j in range(i + 1, n)), np.zeros(len(S)))


def symmetric(generator: np.random.Generator, n: int, groups: Any = ()) -> Any:
    w = np.triu(generator.normal(size=(n, n)), 1)
    for group in groups:
        w[np.ix_(group, group)] = 0
    return w + w.T


MACHINES = [
    neural.Boltzmann(n, states, T, always_on=on)
    for states in ((0, 1), (-1, 1))
    for n, T, on in ((1, 1.0, ()), (4, 0.5, ()), (5, 2.0, (1,)))
] + [neural.restricted_boltzmann(2, 4, states, 0.7, biases=biases) for states in ((0, 1), (-1, 1)) for biases in (0, 1)]


@pytest.mark.parametrize("machine", MACHINES, ids=repr)
def test_exact_against_the_list_of_states(machine: Any, generator: np.random.Generator) -> None:
    w, v = (symmetric(generator, machine.n, machine.groups) for _ in range(2))
    S, T = all_states(machine.states, machine.n, machine.always_on), machine.temperature
    P = np.exp(-energies(S, w) / T)
    Z, P = P.sum(), P / P.sum()
    p, D = (S.T * P) @ S, energies(S, v)
    R_p = (p * (P @ D) - (S.T * P * D) @ S) / T
    # sums of at most 64 terms of order one
    np.testing.assert_allclose(machine.log_partition(w), np.log(Z), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(machine.p(w), p, atol=1e-12)
    np.testing.assert_allclose(machine.R_p(w, v), R_p, atol=1e-12)
    np.testing.assert_allclose(nb.R(machine.p, v)(w), R_p, atol=1e-12)
    x, u = machine.as_vector(w), machine.as_vector(v)
    np.testing.assert_array_equal(machine.as_matrix(x), w)
    if x.size:
        product = nb.hvp(lambda x: machine.log_partition(machine.as_matrix(x)))(x, u)
        np.testing.assert_allclose(-machine.as_vector(R_p) / T, product, rtol=0, atol=1e-10)


@pytest.mark.parametrize("states", [(0, 1), (-1, 1)])
def test_divergence_against_the_list_of_states(states: Any, generator: np.random.Generator) -> None:
    machine = neural.Boltzmann(5, states, 0.8, visible=[3, 0], always_on=[2])
    w, v = symmetric(generator, 5), symmetric(generator, 5)
    data = np.array(list(itertools.product(states, repeat=2)))[[0, 2, 2, 3]]
    weights = np.array([0.1, 0.2, 0.3, 0.4])

    def divergence(w: Any) -> float:
        S = all_states(states, 5, [2])
        P = np.exp(-energies(S, w) / 0.8)
        P = P / P.sum()
        of = lambda one: P[(S[:, [3, 0]] == one).all(axis=1)].sum()
        kept = {tuple(one): sum(weights[k] for k in range(4) if (data[k] == one).all()) for one in data}
        return sum(q * np.log(q / of(np.array(one))) for one, q in kept.items())

    np.testing.assert_allclose(machine.kl(w, data, weights), divergence(w), rtol=1e-12)
    gradient, step = np.zeros((5, 5)), 1e-5
    for i, j in itertools.combinations(range(5), 2):
        unit = np.zeros((5, 5))
        unit[i, j] = unit[j, i] = step
        gradient[i, j] = gradient[j, i] = (divergence(w + unit) - divergence(w - unit)) / (2 * step)
    # step² times third cumulants of order one, rounding 1e-16/step
    np.testing.assert_allclose(machine.gradient(w, data, weights), gradient, atol=1e-9)
    f = lambda x: machine.kl(machine.as_matrix(x), data, weights)
    product = nb.hvp(f)(machine.as_vector(w), machine.as_vector(v))
    np.testing.assert_allclose(machine.as_vector(machine.hvp(w, v, data, weights)), product, rtol=0, atol=1e-10)


def test_twenty_units_are_enumerated() -> None:
    """Independent units: without weights but to a unit that is on, p_ij = m_i m_j with m = 1/(1 + exp(b/T))."""
    machine = neural.Boltzmann(21, always_on=[20])
    b = np.linspace(-2, 2, 20)
    w = np.zeros((21, 21))
    w[20, :20] = w[:20, 20] = b
    mean = 1 / (1 + np.exp(b))
    expected = np.outer(mean, mean)
    np.fill_diagonal(expected, mean)
    np.testing.assert_allclose(machine.p(w)[:20, :20], expected, rtol=1e-10)


def covered(found: Any, exact: Any, level: float = 0.95) -> Any:
    quantile = scipy.stats.t.ppf((1 + level) / 2, found.degrees)
    return np.abs(np.asarray(found.value) - exact) <= quantile * np.asarray(found.standard_error)


@pytest.mark.exhaustive
def test_standard_errors_cover_the_exact_value() -> None:
    """Of 200 seeds the number of intervals that cover is binomial (200, 0.95); a bound that fails once in 10⁴."""
    generator = np.random.default_rng(5)
    machine = neural.Boltzmann(5, (0, 1), 1.0, visible=[0, 1])
    w, v = symmetric(generator, 5), symmetric(generator, 5)
    data = np.array([[0, 1], [1, 1]])
    exact = machine.p(w)[0, 3], machine.R_p(w, v)[1, 2], machine.hvp(w, v, data)[0, 4]

    @jax.jit
    def drawn(key: Any) -> Any:
        first, second = jax.random.split(key)
        free = machine.sample(first, w, chains=4, sweeps=1000, burn_in=50)
        clamped = machine.sample_clamped(second, w, data, chains=4, sweeps=1000, burn_in=50)
        return free.p, free.R_p(v), machine.sampled_hvp(v, free, clamped)

    counts = np.zeros(3, int)
    for seed in range(200):
        p, R_p, product = drawn(jax.random.key(seed))
        counts += [covered(p, exact[0])[0, 3], covered(R_p, exact[1])[1, 2], covered(product, exact[2])[0, 4]]
    low, high = scipy.stats.binom.ppf([0.5e-4, 1 - 0.5e-4], 200, 0.95)
    assert ((low <= counts) & (counts <= high)).all(), (counts, low, high)


@pytest.mark.parametrize("states", [(0, 1), (-1, 1)])
def test_a_restricted_machine_is_sampled_in_blocks(states: Any, generator: np.random.Generator) -> None:
    machine = neural.restricted_boltzmann(3, 2, states)
    w = machine.as_matrix(generator.normal(size=len(machine.pairs)))
    told = []
    found = machine.sample(jax.random.key(1), w, sweeps=4000, progress=lambda done, of: told.append((done, of))).p
    assert told == [(200 * k, 4000) for k in range(1, 21)]
    moves = np.asarray(found.standard_error) > 0
    deviation = (np.asarray(found.value) - machine.p(w)) / np.where(moves, found.standard_error, 1)
    assert np.abs(np.where(moves, deviation, 0)).max() < 5  # 15 numbers; five standard errors in one of 10⁵ runs
    np.testing.assert_allclose(np.asarray(found.value)[~moves], np.asarray(machine.p(w))[~moves], atol=1e-12)
    assert found.r_hat.max() < 1.02
    assert (np.asarray(found.effective_samples) > 100).all()


def test_chains_that_do_not_mix_are_seen() -> None:
    """Two units that must agree, at a low temperature: each chain stays where it began."""
    w = np.array([[0.0, -50.0], [-50.0, 0.0]])
    machine = neural.Boltzmann(3, (-1, 1), visible=[0, 1], always_on=[2])
    stuck = np.zeros((3, 3))
    stuck[:2, :2] = w
    found = machine.sample(jax.random.key(0), stuck, chains=8, sweeps=200).p
    assert found.r_hat[0, 2] > 2  # ⟨s_0⟩: +1 in some chains, −1 in others
    assert found.effective_samples[0, 2] < 1600 / 20


def test_newton_learns_a_small_machine() -> None:
    machine = neural.restricted_boltzmann(3, 2, (-1, 1))
    data = np.array([[1, 1, 1], [-1, -1, -1], [1, -1, 1]])
    start = 0.1 * jnp.cos(jnp.arange(len(machine.pairs)))
    f = lambda x: machine.kl(machine.as_matrix(x), data) + 0.01 * x @ x
    slope = lambda x: machine.as_vector(machine.gradient(machine.as_matrix(x), data)) + 0.02 * x
    product = lambda x, v: machine.as_vector(machine.hvp(*map(machine.as_matrix, (x, v)), data)) + 0.02 * v
    found = neural.newton_cg(f, slope, product, start, tolerance=1e-8)
    plain = neural.gradient_descent(f, slope, start, rate=0.2, max_steps=int(found.work[-1]))
    assert found.gradient_norms[-1] <= 1e-8
    assert found.values[-1] < plain.values[-1]
    assert (np.diff(found.values) <= 1e-12).all()


MACHINE = neural.Boltzmann(2)


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (lambda: neural.Boltzmann(2, temperature=0), "Boltzmann got temperature=0. Pass a finite number above zero."),
        (
            lambda: neural.Boltzmann(2, temperature=-1.5),
            "Boltzmann got temperature=-1.5. Pass a finite number above zero.",
        ),
        (lambda: neural.Boltzmann(2, (0, 2)), "Boltzmann got states=(0, 2). Pass (0, 1) or (-1, 1)."),
        (
            lambda: MACHINE.p(np.array([[0, 1], [2, 0]])),
            "Boltzmann.p got w that is not symmetric: w[0, 1] = 1 and w[1, 0] = 2; a pair of units has one weight. Pass (w + "
            "w.T) / 2.",
        ),
        (
            lambda: MACHINE.p(np.eye(2)),
            "Boltzmann.p got w with w[0, 0] = 1; no unit has a weight to itself. Set the diagonal to zero; a bias is the "
            "weight to a unit that is always on.",
        ),
        (
            lambda: MACHINE.R_p(np.zeros((2, 2)), np.zeros(2)),
            "Boltzmann.R_p got v of shape [2]; the weights w have shape [2, 2]. Give v the shape of w.",
        ),
        (
            lambda: neural.Boltzmann(21).p(np.zeros((21, 21))),
            "Boltzmann.p was asked to enumerate the states of 21 units, 2^21 of them; at most 20 units are. Use "
            "Boltzmann.sample, or a restricted machine with one small group.",
        ),
        (
            lambda: neural.restricted_boltzmann(2, 1, biases=False).p(np.ones((3, 3)) - np.eye(3)),
            "Boltzmann.p got w with w[0, 1] = 1, a weight inside a group; units of a group are not connected. Set it to "
            "zero, or leave groups out.",
        ),
        (
            lambda: MACHINE.kl(np.zeros((2, 2)), [[0.5, 1]]),
            "Boltzmann.kl got data with other values than the states (0, 1). Pass the states of the visible units.",
        ),
        (
            lambda: MACHINE.kl(np.zeros((2, 2)), [0, 1]),
            "Boltzmann.kl got data of shape [2]; the machine has 2 visible units. Pass shape [patterns, 2].",
        ),
        (
            lambda: MACHINE.sample(jax.random.key(0), np.zeros((2, 2)), chains=0),
            "Boltzmann.sample got chains=0. Pass an integer of 1 or more.",
        ),
    ],
)
def test_refusals(ask: Any, text: str) -> None:
    with pytest.raises(nb.ArgumentError) as caught:
        ask()
    assert str(caught.value) == text
