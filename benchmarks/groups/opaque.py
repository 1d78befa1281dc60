"""Loops, branches and custom rules: nothing may be slower than JAX where JAX does the work."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

import nablax as nb
from benchmarks import networks
from benchmarks.groups.speed import relative_error
from benchmarks.report import (
    REMARKS,
    Group,
    Line,
    Row,
    Setting,
    at_most,
    error_cell,
    failure,
    milliseconds,
    quotient,
    seconds_cell,
)
from benchmarks.timing import Contender, alternate, compiled, limited

Example = tuple[Callable[..., Any], tuple[Any, ...]]

TABLE = "Against JAX"
RUN, FIRST_CALL = 1.05, 1.5
TOLERANCE = 1e-4
LIMIT, QUICK_LIMIT = 300.0, 60.0


def _recurrent(loss: Callable[..., Any], gates: int) -> Example:
    inputs, targets = jax.random.split(jax.random.key(2))
    X, y = jax.random.normal(inputs, (32, 32, 32)), jax.random.normal(targets, (32, 32))
    return loss, (networks.make_recurrent(gates, 32, 1), X, y)


def _fft() -> Example:
    def f(x: jax.Array, y: jax.Array) -> jax.Array:
        spectrum = jnp.fft.rfft(jnp.tanh(x), axis=1)
        return jnp.sum((jnp.abs(spectrum) ** 2 - y) ** 2) / x.size

    x = jax.random.normal(jax.random.key(1), (64, 256))
    return f, (x, jnp.ones((64, 129)))


def _cond() -> Example:
    def f(x: jax.Array, A: jax.Array) -> jax.Array:
        h = jax.lax.cond(x[0] > 0, lambda u: jnp.tanh(A @ u), lambda u: jnp.sin(A.T @ u), x)
        return jnp.sum(h**4)

    A = jax.random.normal(jax.random.key(1), (400, 400)) / 20
    return f, (jnp.linspace(0.1, 1.0, 400), A)


@jax.custom_vjp
def _root(u: jax.Array) -> jax.Array:
    """A square root whose derivative the user states."""
    return jnp.sqrt(u)


_root.defvjp(lambda u: (jnp.sqrt(u), jnp.sqrt(u)), lambda s, given: (given / (2 * s),))


def _custom() -> Example:
    def f(x: jax.Array, A: jax.Array) -> jax.Array:
        return jnp.sum(_root(1 + (A @ x) ** 2) ** 3)

    A = jax.random.normal(jax.random.key(1), (400, 400)) / 20
    return f, (jnp.linspace(0.1, 1.0, 400), A)


def _value(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, *data: nb.curvature(f)(x, *data).value


def _gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    def both(x: Any, *data: Any) -> tuple[Any, Any]:
        c = nb.curvature(f)(x, *data)
        return c.value, c.gradient

    return both


def _product(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, v, *data: jax.jvp(jax.grad(lambda x: f(x, *data)), (x,), (v,))[1]


# question: by JAX, by nablax
QUESTIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "value": (lambda f: f, _value),
    "value and gradient": (jax.value_and_grad, _gradient),
    "H v": (_product, nb.hvp),
}


def _measured(name: str, make: Callable[[], Example], question: str, setting: Setting) -> Iterator[Line]:
    f, arguments = make()
    if question == "H v":
        v = jax.tree.map(
            lambda leaf: jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape), arguments[0]
        )
        arguments = (arguments[0], v, *arguments[1:])
    theirs, mine = QUESTIONS[question]
    peer = compiled("jax", theirs(f), arguments)
    own: Contender | None = None
    why = ""
    if setting.nablax:
        try:
            with limited(QUICK_LIMIT if setting.quick else LIMIT):
                own = compiled("nablax", mine(f), arguments)
        except Exception as error:  # shown in the table
            why = failure(error)
    contenders = [peer] if own is None else [peer, own]
    medians = {m.contender.name: m.median for m in alternate(contenders, setting.effort)}
    yield Line(
        TABLE,
        [
            f"{question}, {name}",
            milliseconds(medians["jax"]),
            "failed" if why else milliseconds(medians.get("nablax")),
            at_most(quotient(medians.get("nablax"), medians["jax"]), RUN),
            seconds_cell(peer.first_seconds),
            seconds_cell(own and own.first_seconds),
            at_most(quotient(own and own.first_seconds, peer.first_seconds), FIRST_CALL),
            error_cell(None if own is None else relative_error(own.result, peer.result, None), TOLERANCE),
        ],
    )
    if why:
        yield Line(REMARKS, (f"{question}, {name}: {why}",))


EXAMPLES: dict[str, Callable[[], Example]] = {
    "GRU by scan": functools.partial(_recurrent, networks.gru_loss, 3),
    "LSTM by scan": functools.partial(_recurrent, networks.lstm_loss, 4),
    "fft": _fft,
    "cond": _cond,
    "custom_vjp": _custom,
}


GROUP = Group(
    "opaque",
    {TABLE: ("question", "jax ms", "nablax ms", "nablax / jax", "jax first s", "nablax first s", "ratio", "error")},
    tuple(
        Row(f"{question}, {name}", functools.partial(_measured, name, make, question))
        for name, make in EXAMPLES.items()
        for question in QUESTIONS
    ),
    legend=(
        "GRU and LSTM: 32 steps, width 32, batch 32. `first s`: the first call, from the Python function to the result "
        "(tracing, planning, compiling, running), in a process where JAX itself is warm.",
        "JAX's product is `jvp(grad)`.",
    ),
)
