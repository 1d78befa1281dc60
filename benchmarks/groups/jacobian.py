"""Jacobians: forward, reverse, and the orders between; sparse ones."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import closed_forms, ours
from benchmarks.groups.sparse import coloured, entries, stencil_data, stencil_residual
from benchmarks.groups.speed import relative_error
from benchmarks.report import (
    REMARKS,
    Group,
    Line,
    Row,
    Setting,
    at_least,
    error_cell,
    failure,
    milliseconds,
    quotient,
    seconds_cell,
)
from benchmarks.timing import alternate, compiled, limited

DENSE, SPARSE = "Dense", "Sparse"
SLOWEST, WAIST, OVER_ASDEX, PREPARATION = 1.0, 20.0, 4.0, 3.0
TOLERANCE, DOUBLE = 1e-4, 1e-10
LIMIT, QUICK_LIMIT = 600.0, 60.0

Example = tuple[Callable[..., Any], tuple[Any, ...]]


def _linear(rows: int) -> Example:
    A = jax.random.normal(jax.random.key(1), (rows, 100))
    return lambda x, A: A @ x, (jnp.linspace(-1.0, 1.0, 100), A)


def _waist(widths: tuple[int, ...]) -> Example:
    """Wide on both sides and not linear there: neither mode alone has few directions throughout."""

    def f(x: jax.Array, *weights: jax.Array) -> jax.Array:
        h = jnp.sin(x)
        for W in weights:
            h = jnp.tanh(W @ h)
        return h

    keys = jax.random.split(jax.random.key(1), len(widths) - 1)
    shapes = zip(keys, widths[1:], widths[:-1], strict=True)
    weights = [jax.random.normal(key, (m, n)) / n**0.5 for key, m, n in shapes]
    return f, (jnp.linspace(-1.0, 1.0, widths[0]), *weights)


def _dense(
    name: str, make: Callable[[], Example], target: float, by_hand: Callable[..., Any], setting: Setting
) -> Iterator[Line]:
    f, arguments = make()
    limit = QUICK_LIMIT if setting.quick else LIMIT
    own = ours.prepare(f, "jacobian", arguments, limit) if setting.nablax else ours.Prepared()
    forward = compiled("jacfwd", jax.jacfwd(f), arguments)
    reverse = compiled("jacrev", jax.jacrev(f), arguments)
    hand = compiled("by hand", by_hand, arguments)
    contenders = [c for c in (forward, reverse, hand, own.contender) if c is not None]
    medians = {m.contender.name: m.median for m in alternate(contenders, setting.effort)}
    run = medians.get("nablax")
    yield Line(
        DENSE,
        [
            name,
            milliseconds(medians["jacfwd"]),
            milliseconds(medians["jacrev"]),
            milliseconds(medians["by hand"]),
            "failed" if own.failure else milliseconds(run),
            at_least(quotient(min(medians["jacfwd"], medians["jacrev"]), run), target),
            seconds_cell(own.plan_seconds),
            seconds_cell(own.contender and own.contender.compile_seconds),
            f"({seconds_cell(forward.compile_seconds)}, {seconds_cell(reverse.compile_seconds)})",
            error_cell(own.contender and relative_error(own.contender.result, reverse.result, None), TOLERANCE),
        ],
    )
    if own.failure:
        yield Line(REMARKS, (f"{name}: {own.failure}",))


def _banded(n: int) -> Example:
    def f(x: jax.Array) -> jax.Array:
        return x[1:-1] ** 2 - x[:-2] * x[2:] + jnp.sin(x[2:])

    return f, (jnp.linspace(-1.0, 1.0, n),)


def _stencil(side: int) -> Example:
    return stencil_residual, stencil_data(side)


def _sparse(name: str, make: Callable[[], Example], setting: Setting) -> Iterator[Line]:
    limit = QUICK_LIMIT if setting.quick else LIMIT
    with jax.enable_x64(True):
        f, arguments = make()
        notes = []
        small, point = lambda x: x[1:] * x[:-1] ** 2, (jnp.ones(4),)
        with contextlib.suppress(ImportError):
            coloured("jacobian", small, point)  # what happens once in a process
        if setting.nablax:
            ours.prepare(small, "sparse jacobian", point, limit)
        peer, peer_seconds = None, None
        try:
            with limited(limit):
                peer, peer_seconds = coloured("jacobian", f, arguments)
        except Exception as error:  # nablax is still measured
            notes.append(f"asdex: {failure(error)}")
        own = ours.prepare(f, "sparse jacobian", arguments, limit, plan=False) if setting.nablax else ours.Prepared()
        c = own.contender
        own_seconds = c and c.first_seconds
        if own.failure:
            notes.append(own.failure)
        contenders = [x for x in (peer, c) if x is not None]
        medians = {m.contender.name: m.median for m in alternate(contenders, setting.effort)} if contenders else {}
        stored = c and entries(c.result)
        yield Line(
            SPARSE,
            [
                name,
                f"{arguments[0].size:,}",
                "-" if stored is None else f"{stored:,}",
                milliseconds(medians.get("asdex")),
                "failed" if own.failure else milliseconds(medians.get("nablax")),
                at_least(quotient(medians.get("asdex"), medians.get("nablax")), OVER_ASDEX),
                seconds_cell(peer_seconds),
                seconds_cell(own_seconds),
                at_least(quotient(peer_seconds, own_seconds), PREPARATION),
                error_cell(c and _product_error(c.result, f, arguments), DOUBLE),
            ],
        )
    yield from (Line(REMARKS, (f"{name}: {note}",)) for note in notes)


def _product_error(result: Any, f: Callable[..., Any], arguments: tuple[Any, ...]) -> float:
    """A product of a sparse Jacobian with a vector against forward mode."""
    x, *data = arguments
    v = jnp.cos(jnp.arange(x.size, dtype=x.dtype))
    expected = jax.jvp(lambda x: f(x, *data), (x,), (v.reshape(x.shape),))[1].ravel()
    return float(jnp.max(jnp.abs(result @ v - expected)) / jnp.max(jnp.abs(expected)))


def _rows() -> Iterator[Row]:
    for m in (10, 100, 1000, 10_000):
        name = f"Ax, n=100, m={m}"
        yield Row(
            name, functools.partial(_dense, name, functools.partial(_linear, m), SLOWEST, closed_forms.linear_map)
        )
    for widths in ((1000, 3, 1000), (1000, 1000, 3, 1000, 1000)):
        name = "waist " + " → ".join(map(str, widths))
        make = functools.partial(_waist, widths)
        yield Row(name, functools.partial(_dense, name, make, WAIST, closed_forms.waist_jacobian))
    examples: dict[str, Callable[[], Example]] = {
        "three bands, n=10,000": functools.partial(_banded, 10_000),
        "three bands, n=1,000,000": functools.partial(_banded, 10**6),
        "5-point stencil, 100×100": functools.partial(_stencil, 100),
        "5-point stencil, 316×316": functools.partial(_stencil, 316),
    }
    for name, make in examples.items():
        yield Row(name, functools.partial(_sparse, name, make))


GROUP = Group(
    "jacobian",
    {
        DENSE: (
            "function",
            "jacfwd ms",
            "jacrev ms",
            "by hand ms",
            "nablax ms",
            "better / nablax",
            "plan s",
            "XLA s",
            "(jacfwd, jacrev)",
            "error",
        ),
        SPARSE: (
            "function",
            "n",
            "entries",
            "asdex ms",
            "nablax ms",
            "asdex / nablax",
            "asdex preparation s",
            "nablax preparation s",
            "ratio",
            "error",
        ),
    },
    tuple(_rows()),
    legend=(
        "Dense: single precision. Sparse: double precision; the error is that of a product with a vector, against "
        "forward mode; preparation is the first call.",
    ),
)
