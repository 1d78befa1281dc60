"""The networks written out against the obvious JAX code for the same numbers."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import nablax as nb
from benchmarks.report import (
    Group,
    Line,
    Row,
    Setting,
    at_least,
    at_most,
    error_cell,
    exponent,
    milliseconds,
    quotient,
    seconds_cell,
)
from benchmarks.timing import alternate, compiled
from nablax import neural

TABLE = "Networks"
HEAD = (
    "network",
    "n",
    "obvious JAX ms",
    "nb.hvp ms",
    "gradient ms",
    "neural ms",
    "obvious / neural",
    "neural / nb.hvp",
    "in gradients",
    "XLA s (obvious)",
    "error",
)
TOLERANCE = 1e-4  # single precision, sums of some hundred terms
CHAINS, SWEEPS = 8, 10_000

Functions = dict[str, Callable[..., Any]]
Made = tuple[Functions, tuple[Any, ...], Callable[[Any, Any], float] | None]


def _relative(a: Any, b: Any) -> float:
    return float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b)))


def _layered(width: int) -> Made:
    """Three layers of weights, 256 examples."""
    widths, batch = [width] * 3 + [10], 256
    net = neural.FeedForward(neural.layered(widths), jnp.tanh)
    keys = jax.random.split(jax.random.key(0), 4)
    w, v = (jax.random.normal(key, (net.n, net.n)) * net.mask / width**0.5 for key in keys[:2])
    I = jnp.zeros((batch, net.n)).at[:, :width].set(jax.random.normal(keys[2], (batch, width)))
    target = jax.random.normal(keys[3], (batch, 10))

    def obvious(w: jax.Array, I: jax.Array, target: jax.Array) -> jax.Array:
        h, start = I[:, :width], 0
        for a, b in itertools.pairwise(widths):
            h = jnp.tanh(h @ w[start + a : start + a + b, start : start + a].T)
            start += a
        return 0.5 * jnp.sum((h - target) ** 2)

    return _products(net, obvious), (w, v, I, target), _relative


def _relaxed(n: int) -> Made:
    """Both equilibria relaxed, in whole steps, as the obvious code does."""
    whole = neural.Relaxation(step=1.0)
    return _recurrent(neural.Recurrent(jnp.tanh, solver=whole, adjoint=whole), n)


def _factorised(n: int) -> Made:
    """The adjoint by one LU factorisation, which needs no contraction."""
    return _recurrent(neural.Recurrent(jnp.tanh, solver=neural.Relaxation(step=1.0)), n)


def _recurrent(net: neural.Recurrent, n: int) -> Made:
    """One example at equilibrium; the obvious code differentiates the relaxation, a scan of as many steps."""
    keys = jax.random.split(jax.random.key(0), 4)
    w = 0.5 * jax.random.normal(keys[0], (n, n)) / n**0.5
    v, I, target = (jax.random.normal(key, shape) for key, shape in zip(keys[1:], ((n, n), n, n), strict=True))
    steps = int(net.forward(w, I).steps)

    def obvious(w: jax.Array, I: jax.Array, target: jax.Array) -> jax.Array:
        relaxed = lambda y, _: (jnp.tanh(w @ y) + I, None)
        y, _ = jax.lax.scan(relaxed, I, None, length=steps)
        return 0.5 * jnp.sum((y - target) ** 2)

    def root(w: jax.Array, I: jax.Array, target: jax.Array) -> jax.Array:
        solve = lambda f, y: jax.lax.fori_loop(0, steps, lambda _, y: y + f(y), y)
        tangents = lambda linear, b: jnp.linalg.solve(jax.jacobian(linear)(b), b)
        y = jax.lax.custom_root(lambda y: jnp.tanh(w @ y) + I - y, I, solve, tangents)
        return 0.5 * jnp.sum((y - target) ** 2)

    functions = _products(net, obvious)
    functions["nb.hvp"] = nb.hvp(root)
    return functions, (w, v, I, target), _relative


def _products(net: Any, obvious: Callable[..., Any]) -> Functions:
    def along(w: Any, v: Any, *data: Any) -> Any:
        return jax.jvp(lambda w: jax.grad(obvious)(w, *data), (w,), (v,))[1]

    return {
        "obvious": along,
        "nb.hvp": nb.hvp(obvious),
        "gradient": lambda w, v, *data: net.gradient(w, *data),
        "neural": net.hvp,
    }


def _sampled(n: int) -> Made:
    """p_ij by Gibbs sampling; the obvious code draws unit by unit in a loop, its chains under vmap."""
    machine = neural.Boltzmann(n)
    upper = np.triu(np.random.default_rng(0).normal(size=(n, n)) / n**0.5, 1)
    w = jnp.asarray(upper + upper.T, jnp.float32)

    def obvious(w: jax.Array, key: jax.Array) -> jax.Array:
        def unit(i: Any, state: Any) -> Any:
            s, key = state
            key, own = jax.random.split(key)
            chance = jax.nn.sigmoid(-(w[i] @ s))
            return s.at[i].set((jax.random.uniform(own) < chance).astype(s.dtype)), key

        def sweep(state: Any, _: Any) -> Any:
            s, key, total = state
            s, key = jax.lax.fori_loop(0, n, unit, (s, key))
            return (s, key, total + jnp.outer(s, s)), None

        def chain(key: jax.Array) -> jax.Array:
            first, second = jax.random.split(key)
            s = jax.random.bernoulli(first, 0.5, (n,)).astype(w.dtype)
            state = (s, second, jnp.zeros((n, n), w.dtype))
            return jax.lax.scan(sweep, state, None, length=SWEEPS)[0][2] / SWEEPS

        return jnp.mean(jax.vmap(chain)(jax.random.split(key, CHAINS)), axis=0)

    def own(w: jax.Array, key: jax.Array) -> jax.Array:
        return machine.sample(key, w, chains=CHAINS, sweeps=SWEEPS, burn_in=0).p.value

    return {"obvious": obvious, "neural": own}, (w, jax.random.key(1)), None


def _measured(
    name: str, make: Callable[[int], Made], sizes: Sequence[int], targets: dict[str, float], setting: Setting
) -> Iterator[Line]:
    runs: list[float | None] = []
    sizes = sizes[:2] if setting.quick else sizes
    for n in sizes:
        functions, arguments, compare = make(n)
        if not setting.nablax:
            functions = {key: functions[key] for key in ("obvious",)}
        contenders = {key: compiled(key, function, arguments) for key, function in functions.items()}
        medians = {m.contender.name: m.median for m in alternate(list(contenders.values()), setting.effort)}
        own = medians.get("neural")
        runs.append(own)
        last = n == sizes[-1]
        target = targets if last or name.startswith("R-back") else {}
        error = compare(contenders["neural"].result, contenders["nb.hvp"].result) if compare and own else None
        preparation = [
            seconds_cell(contenders[key].compile_seconds) for key in ("neural", "obvious") if key in contenders
        ]
        yield Line(
            TABLE,
            [
                name,
                f"{n:,}",
                milliseconds(medians["obvious"]),
                milliseconds(medians.get("nb.hvp")),
                milliseconds(medians.get("gradient")),
                milliseconds(own),
                at_least(quotient(medians["obvious"], own), target.get("obvious")),
                at_most(quotient(own, medians.get("nb.hvp")), target.get("engine")),
                at_most(quotient(own, medians.get("gradient")), target.get("gradients")),
                preparation[0] + (f" ({preparation[1]})" if len(preparation) > 1 else ""),
                error_cell(error, TOLERANCE),
            ],
        )
    slope = at_most(exponent(sizes, runs), None)
    yield Line(TABLE, [name, "exponent", "", "", "", slope, *[""] * (len(HEAD) - 6)])


ROWS: tuple[tuple[str, Callable[[int], Made], Sequence[int], dict[str, float]], ...] = (
    ("R-back-propagation, 3 layers", _layered, (64, 128, 256), {"obvious": 1.0, "engine": 1.1, "gradients": 2.5}),
    ("recurrent H v, relaxed", _relaxed, (125, 250, 500), {"obvious": 2.0}),
    ("recurrent H v, LU", _factorised, (125, 250, 500), {}),
    ("Boltzmann p, 10⁴ sweeps, 8 chains", _sampled, (25, 50, 100), {"obvious": 2.0}),
)

GROUP = Group(
    "neural",
    {TABLE: HEAD},
    tuple(
        Row(name, functools.partial(_measured, name, make, sizes, targets), limit=1200)
        for name, make, sizes, targets in ROWS
    ),
    legend=(
        "`obvious JAX`: `jvp` of `grad` of the network written as a user would, for the recurrent one through a scan "
        "of as many relaxation steps; Gibbs sampling by a loop over the units under `vmap`. `nb.hvp`: the engine on "
        "the same function, for the recurrent network through `lax.custom_root` with `jnp.linalg.solve`.",
        "`gradient`: of `neural`, the unit of `in gradients`. `n`: units of a layer, or of the network. `exponent`: "
        "of the time over n. Targets hold at the largest size, for layers at every size.",
    ),
)
