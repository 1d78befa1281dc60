"""Loops: recurrent networks and scanned layers, whose derivative is a loop as well."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import networks, ours, peers
from benchmarks.cases import Case
from benchmarks.groups.preparation import LINEAR
from benchmarks.groups.speed import relative_error
from benchmarks.report import (
    REMARKS,
    Group,
    Line,
    Row,
    Setting,
    at_least,
    at_most,
    error_cell,
    exponent,
    megabytes,
    milliseconds,
    quotient,
    seconds_cell,
)
from benchmarks.timing import Contender, alternate

TABLE = "Exact diagonals through loops"
HEAD = (
    "network", "turns", "plan s", "XLA s", "run ms", "MB held", "unrolled: XLA s", "ms", "nablax / unrolled",
    "best loop of JAX ms", "loop / nablax", "error",
)  # fmt: skip
TOLERANCE = 1e-4
WIDTH = BATCH = 32
LAYERS_WIDTH, LAYERS_BATCH = 64, 256


@dataclass(frozen=True)
class Network:
    """A loss with a loop inside.

    Attributes:
        loss: of the parameters and the data.
        arguments: for a number of turns.
        unrolled: the same loss without a loop, of the same arguments; None where it is not measured.
        turns: numbers of turns.
        compile: XLA's seconds, at most.
        over_unrolled: time over that of the unrolled loss, at most.
        over_loop: the best loop's time over nablax's, at least; the loops run where this is given.
        sample: columns that the loops run.
    """

    loss: Callable[..., Any]
    arguments: Callable[[int], tuple[Any, ...]]
    turns: tuple[int, ...]
    unrolled: Callable[..., Any] | None = None
    compile: float | None = None
    over_unrolled: float | None = None
    over_loop: float | None = None
    sample: int = 24


def _recurrent(gates: int, turns: int) -> tuple[Any, ...]:
    inputs, targets = jax.random.split(jax.random.key(2))
    X = jax.random.normal(inputs, (turns, BATCH, WIDTH))
    return networks.make_recurrent(gates, WIDTH, 1), X, jax.random.normal(targets, (BATCH, WIDTH))


def _stacked(turns: int) -> tuple[Any, ...]:
    *hidden, (V, c) = networks.make_layers((*[LAYERS_WIDTH] * (turns + 1), 10), 1)
    W, b = (jnp.stack(part) for part in zip(*hidden, strict=True))
    return {"W": W, "b": b, "V": V, "c": c}, *networks.make_batch(LAYERS_BATCH, LAYERS_WIDTH, 10, 2)


def _scanned_loss(p: networks.Block, X: jax.Array, labels: jax.Array) -> jax.Array:
    def layer(h: jax.Array, slice_: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        W, b = slice_
        return h + jnp.tanh(h @ W.T + b), None

    h, _ = jax.lax.scan(layer, X, (p["W"], p["b"]))
    return networks.cross_entropy(h @ p["V"].T + p["c"], labels)


def _unrolled_loss(p: networks.Block, X: jax.Array, labels: jax.Array) -> jax.Array:
    layers = [*zip(p["W"], p["b"], strict=True), (p["V"], p["c"])]
    return networks.residual_loss(layers, X, labels)


NETWORKS = {
    "GRU": Network(networks.gru_loss, functools.partial(_recurrent, 3), (8, 32, 128), over_loop=15),
    "LSTM": Network(networks.lstm_loss, functools.partial(_recurrent, 4), (8, 32, 128), over_loop=15),
    "residual layers of 64, scanned": Network(
        _scanned_loss, _stacked, (3, 12, 48), unrolled=_unrolled_loss, compile=5, over_unrolled=1.3
    ),
}


def _measured(name: str, network: Network, setting: Setting) -> Iterator[Line]:
    turns = network.turns[:2] if setting.quick else network.turns
    planned: list[float | None] = []
    compiled: list[float | None] = []
    runs: list[float | None] = []
    for count in turns:
        arguments = network.arguments(count)
        own = ours.prepare(network.loss, "diagonal", arguments)
        unrolled = None
        if network.unrolled is not None:
            unrolled = ours.prepare(network.unrolled, "diagonal", arguments).contender
        case = Case(name, "diagonal", network.loss, functools.partial(network.arguments, count), sample=network.sample)
        loops: list[Contender] = []
        if network.over_loop is not None:
            made = [peer(case, arguments) for peer in (peers.mapped, peers.looped, peers.leaf_by_leaf)]
            loops = [one for one in made if isinstance(one, Contender)]
        contenders = [one for one in (own.contender, unrolled) if one is not None]
        timed = {id(m.contender): m.median for m in alternate([*contenders, *loops], setting.effort)}
        run = None if own.contender is None else timed[id(own.contender)]
        best = min((timed[id(one)] for one in loops), default=None)
        error = None
        if own.contender is not None and (loops or unrolled is not None):
            reference = loops[0].result if loops else unrolled.result  # type: ignore[union-attr]
            columns = np.asarray(peers.sample_of_columns(arguments, network.sample)) if loops else None
            error = relative_error(own.contender.result, reference, columns)
        planned.append(own.plan_seconds)
        compiled.append(own.contender and own.contender.compile_seconds)
        runs.append(run)
        yield Line(
            TABLE,
            [
                name,
                str(count),
                seconds_cell(own.plan_seconds),
                at_most(compiled[-1], network.compile),
                milliseconds(run),
                megabytes(own.contender and own.contender.held_bytes),
                seconds_cell(unrolled and unrolled.compile_seconds),
                milliseconds(unrolled and timed[id(unrolled)]),
                at_most(quotient(run, unrolled and timed[id(unrolled)]), network.over_unrolled),
                milliseconds(best),
                at_least(quotient(best, run), network.over_loop),
                error_cell(error, TOLERANCE),
            ],
        )
        if own.failure:
            yield Line(REMARKS, (f"{name}, {count} turns: {own.failure}",))
    slopes = [exponent(list(turns), values) for values in (planned, compiled, runs)]
    cells = [at_most(slope, limit) for slope, limit in zip(slopes, (None, None, LINEAR), strict=True)]
    yield Line(TABLE, [name, "exponent", *cells, *[""] * (len(HEAD) - 5)])


GROUP = Group(
    "loops",
    {TABLE: HEAD},
    tuple(Row(name, functools.partial(_measured, name, network), limit=1800) for name, network in NETWORKS.items()),
    legend=(
        f"GRU and LSTM by `lax.scan`, width {WIDTH}, batch {BATCH}; layers of {LAYERS_WIDTH}, batch {LAYERS_BATCH}, "
        "weights stacked.",
        "`plan s`: the first `nablax.plan`. The loops of JAX run a sample of the columns, scaled to all; the best of a "
        "loop over eᵀHe, compiled or in Python, and the one that moves one leaf at a time.",
        f"`exponent`: slope of a column's logarithm over that of the turns; up to {LINEAR} passes for linear.",
    ),
)
