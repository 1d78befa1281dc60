"""Sparse Hessians in double precision, against detection and colouring, and against values by hand."""

import contextlib
import functools
import importlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import nablax as nb
from benchmarks import closed_forms, ours
from benchmarks.report import (
    LINEAR,
    REMARKS,
    Group,
    Line,
    Row,
    Setting,
    at_least,
    at_most,
    error_cell,
    exponent,
    failure,
    milliseconds,
    quotient,
    seconds_cell,
)
from benchmarks.timing import Contender, alternate, compiled, limited

TABLE = "Sparse Hessians"
HEAD = (
    "function",
    "n",
    "entries",
    "asdex ms",
    "by hand ms",
    "nablax ms",
    "asdex / nablax",
    "nablax / by hand",
    "called ms",
    "called / by hand",
    "asdex preparation s",
    "nablax preparation s",
    "ratio",
    "error",
)
CALLED = "nablax, called"
TOLERANCE = 1e-10
BY_HAND, PREPARATION = 1.3, 3.0
LIMIT, QUICK_LIMIT = 600.0, 60.0

Example = tuple[Callable[..., Any], tuple[Any, ...]]


@dataclass(frozen=True)
class Family:
    """A function at growing sizes.

    Attributes:
        name: of the row.
        make: from the size, function and arguments; None for the size that the problem has.
        sizes: to make.
        targets: times asdex's speed, for each size.
        by_hand: the values by hand.
    """

    name: str
    make: Callable[[Any], Example]
    sizes: Sequence[Any]
    targets: Sequence[float | None]
    by_hand: Callable[..., Any] | None = None


def _rosenbrock(n: int) -> Example:
    def f(x: jax.Array) -> jax.Array:
        return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    return f, (jnp.linspace(-1.0, 2.0, n),)


def stencil_residual(u: jax.Array, b: jax.Array) -> jax.Array:
    """Lu + 0.1 u³ - b with the 5-point stencil, zeros outside."""
    p = jnp.pad(u, 1)
    return 4 * u - p[:-2, 1:-1] - p[2:, 1:-1] - p[1:-1, :-2] - p[1:-1, 2:] + 0.1 * u**3 - b


def stencil_data(side: int) -> tuple[jax.Array, jax.Array]:
    """A point and a right side."""
    u = jnp.sin(jnp.arange(side * side, dtype=float)).reshape(side, side)
    return u, jnp.ones((side, side))


def _stencil(side: int) -> Example:
    def f(u: jax.Array, b: jax.Array) -> jax.Array:
        return 0.5 * jnp.sum(stencil_residual(u, b) ** 2)

    return f, stencil_data(side)


def _published(name: str, _: None) -> Example:
    problem = getattr(importlib.import_module("sif2jax").cutest, name)()
    return lambda y: problem.objective(y, None), (jnp.asarray(problem.y0, float),)


def coloured(question: str, f: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Contender, float]:
    """asdex, and the seconds of its detection, colouring and compilation.

    Args:
        question: "hessian" or "jacobian".
        f: the function.
        arguments: its arguments.

    Raises:
        ImportError: asdex does not work with this version of JAX.
    """
    asdex = importlib.import_module("asdex")
    start = time.perf_counter()
    colouring = getattr(asdex, f"{question}_coloring")(f, *arguments)
    contender = compiled("asdex", getattr(asdex, f"{question}_from_coloring")(f, colouring), arguments)
    return contender, time.perf_counter() - start


def _called(f: Callable[..., Any], arguments: tuple[Any, ...]) -> Contender:
    """The verb called as it is, with no `jax.jit` around it: it makes the positions once, and copies none."""
    verb = nb.hessian_sparse(f)
    return Contender(CALLED, lambda: jax.block_until_ready(verb(*arguments)))


def entries(result: Any) -> int | None:
    """Number of stored entries of a BCOO matrix."""
    return getattr(result, "nse", None)


def product_error(result: Any, f: Callable[..., Any], arguments: tuple[Any, ...]) -> float:
    """A product of a sparse Hessian with a vector against forward over reverse."""
    x, *data = arguments
    v = jnp.cos(jnp.arange(x.size, dtype=x.dtype))
    slope = jax.grad(lambda x: f(x, *data))
    expected = jax.jvp(slope, (x,), (v.reshape(x.shape),))[1].ravel()
    return float(jnp.max(jnp.abs(result @ v - expected)) / jnp.max(jnp.abs(expected)))


def _measured(family: Family, setting: Setting) -> Iterator[Line]:
    with jax.enable_x64(True):
        yield from _in_double_precision(family, setting)


def _in_double_precision(family: Family, setting: Setting) -> Iterator[Line]:
    limit = QUICK_LIMIT if setting.quick else LIMIT
    counts: list[float] = []
    runs: list[float | None] = []
    chosen = list(zip(family.sizes, family.targets, strict=True))
    small, point = lambda x: jnp.sum(x[1:] * x[:-1] ** 2), (jnp.ones(4),)
    with contextlib.suppress(ImportError):
        coloured("hessian", small, point)  # what happens once in a process
    if setting.nablax:
        ours.prepare(small, "sparse hessian", point, limit)
    for size, target in chosen[: 1 if setting.quick else len(chosen)]:
        f, arguments = family.make(size)
        n = arguments[0].size
        notes = []
        peer, peer_seconds = None, None
        try:
            with limited(limit):
                peer, peer_seconds = coloured("hessian", f, arguments)
        except Exception as error:  # the others are still measured
            notes.append(f"asdex: {failure(error)}")
        start = time.perf_counter()
        own = ours.prepare(f, "sparse hessian", arguments, limit, plan=False) if setting.nablax else ours.Prepared()
        own_seconds = None if own.contender is None else time.perf_counter() - start
        if own.failure:
            notes.append(own.failure)
        hand = None if family.by_hand is None else compiled("by hand", family.by_hand, arguments)
        called = _called(f, arguments) if own.contender else None
        contenders = [c for c in (peer, hand, own.contender, called) if c is not None]
        medians = {m.contender.name: m.median for m in alternate(contenders, setting.effort)} if contenders else {}
        run = medians.get("nablax")
        stored = own.contender and entries(own.contender.result)
        counts.append(stored or n)
        runs.append(run)
        yield Line(
            TABLE,
            [
                family.name,
                f"{n:,}",
                "-" if stored is None else f"{stored:,}",
                milliseconds(medians.get("asdex")),
                milliseconds(medians.get("by hand")),
                "failed" if own.failure else milliseconds(run),
                at_least(quotient(medians.get("asdex"), run), target),
                at_most(quotient(run, medians.get("by hand")), BY_HAND) if hand else "",
                milliseconds(medians.get(CALLED)),
                at_most(quotient(medians.get(CALLED), medians.get("by hand")), BY_HAND) if hand else "",
                seconds_cell(peer_seconds),
                seconds_cell(own_seconds),
                at_least(quotient(peer_seconds, own_seconds), PREPARATION),
                error_cell(own.contender and product_error(own.contender.result, f, arguments), TOLERANCE),
            ],
        )
        yield from (Line(REMARKS, (f"{family.name}, n = {n:,}: {note}",)) for note in notes)
    if len(family.sizes) > 1:
        slope = at_most(exponent(counts, runs), LINEAR)
        yield Line(TABLE, [family.name, "exponent", "", "", "", slope, *[""] * (len(HEAD) - 6)])


FAMILIES = (
    Family("Rosenbrock chain", _rosenbrock, (10**4, 10**6), (4.0, 4.0), closed_forms.rosenbrock_chain),
    Family("5-point least squares", _stencil, (100, 316), (12.0, None), closed_forms.stencil_least_squares),
    *[
        Family(name, functools.partial(_published, name), (None,), (2.0,))
        for name in ("BROYDN7D", "DIXMAANC", "FMINSURF", "SBRYBND")
    ],
)

GROUP = Group(
    "sparse",
    {TABLE: HEAD},
    tuple(Row(family.name, functools.partial(_measured, family), limit=2400) for family in FAMILIES),
    legend=(
        "Double precision. `by hand`: the values only, without their positions. The error is that of a product with a "
        "vector, against forward over reverse.",
        "`nablax` stands under `jax.jit`, as its peers do; there XLA copies the positions into every result. `called`: "
        "the verb as it is, which makes the positions once.",
        "Preparation: asdex's detection, colouring, tracing, compilation; nablax's tracing, planning, compilation.",
        "`exponent`: of nablax's run time over the number of entries.",
        "The functions in capitals are those of `sif2jax`, at their default sizes.",
    ),
)
