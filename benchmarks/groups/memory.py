"""Whether a bound on memory holds: what XLA's program holds, against what was allowed."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import nablax as nb
from benchmarks import networks, ours
from benchmarks.report import (
    LINEAR,
    REMARKS,
    Group,
    Line,
    Row,
    Setting,
    at_most,
    exponent,
    failure,
    megabytes,
)
from benchmarks.timing import limited

TABLE = "Memory"
GROWTH = "Growth"
GROWTH_HEAD = ("question", "size", "estimate MB", "held MB", "held with half of it", "jax.grad: held MB")
SHARES = (1.0, 0.5, 0.25)
LIMIT, QUICK_LIMIT = 300.0, 60.0

Example = tuple[Callable[..., Any], tuple[Any, ...]]


def _normal(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(sum(shape)), shape)


def _logistic() -> Example:
    def f(w: jax.Array, X: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean(jnp.log1p(jnp.exp(-y * (X @ w))))

    return f, (0.1 * _normal(200), _normal(2000, 200), jnp.sign(_normal(2000)))


def _log_sum_exp() -> Example:
    return lambda x, A: jnp.log(jnp.sum(jnp.exp(A @ x))), (0.1 * _normal(200), _normal(1000, 200))


def _network(loss: Callable[..., Any]) -> Example:
    return loss, (networks.make_layers((32, 32, 32, 10), 1), *networks.make_batch(128, 32, 10, 2))


def _scan() -> Example:
    def f(x: jax.Array, W: jax.Array) -> jax.Array:
        h, _ = jax.lax.scan(lambda h, _: (jnp.tanh(W @ h), None), x, None, length=50)
        return jnp.sum(h**2)

    return f, (0.1 * _normal(100), _normal(100, 100) / 10)


def _recurrent() -> Example:
    return networks.gru_loss, (networks.make_recurrent(3, 16, 1), _normal(20, 32, 16), _normal(32, 16))


def _factorisation() -> Example:
    return lambda U, V, T: jnp.sum((T - U @ V.T) ** 2), (_normal(100, 5), _normal(60, 5), _normal(100, 60))


def _determinant() -> Example:
    return lambda X: jnp.linalg.slogdet(X)[1], (_normal(20, 20) + 8 * jnp.eye(20),)


def _convolution() -> Example:
    def f(kernel: jax.Array, images: jax.Array) -> jax.Array:
        h = jax.lax.conv_general_dilated(images, kernel, (1, 1), "SAME")
        return jnp.mean(jax.nn.softplus(h) ** 2)

    return f, (_normal(4, 1, 3, 3), _normal(16, 1, 12, 12))


def _laplacian() -> Example:
    return networks.scalar_network, (_normal(64), networks.make_layers((64, 128, 128, 1), 1))


EXAMPLES: dict[str, tuple[str, Callable[[], Example]]] = {
    "Hessian, logistic loss 2000×200": ("hessian", _logistic),
    "Hessian, log-sum-exp 1000×200": ("hessian", _log_sum_exp),
    "diagonal, plain layers 32-32-32-10": ("diagonal", functools.partial(_network, networks.plain_loss)),
    "diagonal, residual layers 32-32-32-10": ("diagonal", functools.partial(_network, networks.residual_loss)),
    "Hessian, scan of 50 steps, n=100": ("hessian", _scan),
    "diagonal, GRU of 20 steps": ("diagonal", _recurrent),
    "Hessian, factorisation 100×5": ("hessian", _factorisation),
    "Hessian, logdet 20×20": ("hessian", _determinant),
    "Hessian, convolution": ("hessian", _convolution),
    "Laplacian, 64-128-128-1": ("trace", _laplacian),
}


def _held(question: str, f: Callable[..., Any], arguments: tuple[Any, ...], bound: float | None) -> tuple[float, float]:
    """Temporaries and results, and results alone (bytes), of the compiled program."""
    verb = ours.VERBS[question](f, memory_bytes=bound)
    memory = jax.jit(verb).lower(*arguments).compile().memory_analysis()
    return memory.temp_size_in_bytes + memory.output_size_in_bytes, memory.output_size_in_bytes


def _measured(name: str, question: str, make: Callable[[], Example], setting: Setting) -> Iterator[Line]:
    if not setting.nablax:
        return
    f, arguments = make()
    limit = QUICK_LIMIT if setting.quick else LIMIT
    try:
        with limited(limit):
            estimate = nb.plan(f, question)(*arguments).choice.chosen.cost.peak
            unbounded, result = _held(question, f, arguments, None)
    except Exception as error:  # shown in the table
        yield Line(TABLE, [name, "-", "-", "failed", *["-"] * len(SHARES)])
        yield Line(REMARKS, (f"{name}: {failure(error)}",))
        return
    cells, notes = [], []
    for share in SHARES:
        bound = share * unbounded
        try:
            with limited(limit):
                held, _ = _held(question, f, arguments, bound)
            cells.append(f"{megabytes(held)} (≤ {megabytes(bound)}) {'pass' if held <= bound else 'MISS'}")
        except nb.MemoryBoundError as error:
            # a refusal is right where the result alone is too large, and honest where it is not
            cells.append(f"refused (≤ {megabytes(bound)})" + (" pass" if result > bound else ""))
            notes.append(f"{name}, {share:g}: {failure(error)}")
        except Exception as error:  # shown in the table
            cells.append("failed")
            notes.append(f"{name}, {share:g}: {failure(error)}")
    yield Line(TABLE, [name, megabytes(result), megabytes(estimate), megabytes(unbounded), *cells])
    yield from (Line(REMARKS, (note,)) for note in notes)


# -- four and sixteen times the size ---------------------------------------------------------------------------------


def _rows(n: int) -> Example:
    f, (w, X, y) = _logistic()
    return f, (w, jnp.tile(X, (n // 2000 + 1, 1))[:n], jnp.tile(y, n // 2000 + 1)[:n])


def _layers(loss: Callable[..., Any], depth: int) -> Example:
    return loss, (networks.make_layers((32,) * depth + (10,), 1), *networks.make_batch(128, 32, 10, 2))


def _turns(n: int) -> Example:
    return networks.gru_loss, (networks.make_recurrent(3, 16, 1), _normal(n, 32, 16), _normal(32, 16))


def _band(n: int) -> Example:
    return lambda x: jnp.sum(jnp.exp(jnp.sin(x[1:] - x[:-1] ** 2))), (_normal(n),)


@dataclass(frozen=True)
class Family:
    """A function at three sizes.

    Attributes:
        question: a key of `ours.VERBS`.
        make: the function and its arguments at a size.
        sizes: what grows, 1, 4 and 16 times.
    """

    question: str
    make: Callable[[int], Example]
    sizes: tuple[int, ...]


FAMILIES = {
    "Hessian, logistic loss, rows of 200": Family("hessian", _rows, (1000, 4000, 16000)),
    "diagonal, plain layers of 32": Family("diagonal", functools.partial(_layers, networks.plain_loss), (3, 12, 48)),
    "diagonal, residual layers of 32": Family(
        "diagonal", functools.partial(_layers, networks.residual_loss), (3, 12, 48)
    ),
    "diagonal, GRU, turns": Family("diagonal", _turns, (8, 32, 128)),
    "sparse Hessian, chain of n": Family("sparse hessian", _band, (10**4, 4 * 10**4, 16 * 10**4)),
}


def _grown(name: str, family: Family, setting: Setting) -> Iterator[Line]:
    if not setting.nablax:
        return
    helds: list[float | None] = []
    bounded: list[float | None] = []
    sizes = family.sizes[: 2 if setting.quick else 3]
    for size in sizes:
        f, arguments = family.make(size)
        try:
            with limited(LIMIT):
                estimate = nb.plan(f, family.question)(*arguments).choice.chosen.cost.peak
                held, _ = _held(family.question, f, arguments, None)
                memory = jax.jit(jax.grad(f)).lower(*arguments).compile().memory_analysis()
        except Exception as error:  # shown in the table
            yield Line(GROWTH, [name, str(size), *["failed"] * 4])
            yield Line(REMARKS, (f"{name}, {size}: {failure(error)}",))
            continue
        try:
            with limited(LIMIT):
                half: float | None = _held(family.question, f, arguments, held / 2)[0]
        except nb.MemoryBoundError:
            half = None
        helds.append(held)
        bounded.append(half)
        cell = "refused" if half is None else f"{megabytes(half)} {'pass' if half <= held / 2 else 'MISS'}"
        gradient = megabytes(memory.temp_size_in_bytes + memory.output_size_in_bytes)
        yield Line(GROWTH, [name, str(size), megabytes(estimate), megabytes(held), cell, gradient])
    if len(helds) == len(sizes):
        slopes = [at_most(exponent(sizes, helds), LINEAR), at_most(exponent(sizes, bounded), LINEAR)]
        yield Line(GROWTH, [name, "exponent", "", *slopes, ""])


GROUP = Group(
    "memory",
    {
        TABLE: ("question", "result MB", "estimate MB", "held MB", *(f"bound {share:g} of it" for share in SHARES)),
        GROWTH: GROWTH_HEAD,
    },
    (
        *(Row(name, functools.partial(_measured, name, question, make)) for name, (question, make) in EXAMPLES.items()),
        *(Row(name, functools.partial(_grown, name, family)) for name, family in FAMILIES.items()),
    ),
    legend=(
        "`held`: temporaries and results of the compiled program, by XLA's `memory_analysis`, without a bound and with "
        "`memory_bytes` at shares of it. `estimate`: the plan's own, without a bound.",
        "`refused`: a MemoryBoundError; it passes where the result alone is larger than the bound.",
        f"`exponent`: slope of a column's logarithm over that of the size; up to {LINEAR} passes for linear.",
    ),
)
