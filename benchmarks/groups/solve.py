"""Linear systems with the Hessian, without its dense matrix where its structure allows."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import nablax as nb
from benchmarks import closed_forms
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
from benchmarks.timing import alternate, compiled, limited

TABLE = "Solve"
HEAD = (
    "Hessian",
    "n",
    "dense ms",
    "by hand ms",
    "nablax ms",
    "dense / nablax",
    "nablax / by hand",
    "first call s",
    "residual",
)
TOLERANCE = 1e-3  # single precision, condition below a hundred
LARGEST_DENSE, QUICK_LARGEST_DENSE = 10_000, 1_000
LIMIT, QUICK_LIMIT = 300.0, 60.0

Example = tuple[Callable[..., Any], tuple[Any, ...]]


@dataclass(frozen=True)
class Family:
    """A function at growing sizes.

    Attributes:
        name: of the row.
        make: from the size, function and arguments, the right side not among them.
        sizes: to make.
        by_hand: the solution by hand, from the arguments and the right side.
        target: times the dense solve's speed, at the largest size where that fits.
    """

    name: str
    make: Callable[[int], Example]
    sizes: Sequence[int]
    by_hand: Callable[..., Any]
    target: float


def _kronecker(rows: int) -> Example:
    def f(U: jax.Array, V: jax.Array, T: jax.Array) -> jax.Array:
        return jnp.sum((T - U @ V.T) ** 2)

    keys = jax.random.split(jax.random.key(0), 3)
    shapes = ((rows, 5), (20, 5), (rows, 20))
    return f, tuple(jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True))


def _low_rank(n: int) -> Example:
    def f(x: jax.Array, A: jax.Array) -> jax.Array:
        return jnp.sum(jnp.cosh(x)) + 0.5 * jnp.sum((A @ x) ** 2)

    return f, (jnp.linspace(-1.0, 1.0, n), jax.random.normal(jax.random.key(1), (10, n)) / n**0.5)


def _solution(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, *rest: nb.curvature(f)(x, *rest[:-1]).solve(rest[-1])


def _dense(f: Callable[..., Any]) -> Callable[..., Any]:
    def solve(x: jax.Array, *rest: jax.Array) -> jax.Array:
        matrix = jax.hessian(f)(x, *rest[:-1]).reshape(x.size, x.size)
        return jnp.linalg.solve(matrix, rest[-1].ravel()).reshape(x.shape)

    return solve


def _residual(f: Callable[..., Any], arguments: tuple[Any, ...], b: jax.Array, solution: Any) -> float:
    x, *data = arguments
    product = jax.jvp(jax.grad(lambda x: f(x, *data)), (x,), (solution.reshape(x.shape),))[1]
    return float(jnp.max(jnp.abs(product - b)) / jnp.max(jnp.abs(b)))


def _measured(family: Family, setting: Setting) -> Iterator[Line]:
    largest = QUICK_LARGEST_DENSE if setting.quick else LARGEST_DENSE
    runs: list[float | None] = []
    unknowns: list[float] = []
    there = hasattr(nb.Curvature, "solve")
    if setting.nablax and not there:
        yield Line(REMARKS, (f"{family.name}: nablax.Curvature.solve is not there yet",))
    sizes = family.sizes[: 2 if setting.quick else len(family.sizes)]
    examples = [(size, *family.make(size)) for size in sizes]
    fitting = [arguments[0].size for _, _, arguments in examples if arguments[0].size <= largest]
    for _, f, arguments in examples:
        n = arguments[0].size
        b = jnp.cos(jnp.arange(n, dtype=arguments[0].dtype)).reshape(arguments[0].shape)
        own, why = None, ""
        if setting.nablax and there:
            try:
                with limited(QUICK_LIMIT if setting.quick else LIMIT):
                    own = compiled("nablax", _solution(f), (*arguments, b))
            except Exception as error:  # shown in the table
                why = failure(error)
        hand = compiled("by hand", family.by_hand, (*arguments, b))
        dense = compiled("dense", _dense(f), (*arguments, b)) if n <= largest else None
        contenders = [c for c in (dense, hand, own) if c is not None]
        medians = {m.contender.name: m.median for m in alternate(contenders, setting.effort)}
        run = medians.get("nablax")
        runs.append(run)
        unknowns.append(n)
        solved = own or hand
        target = family.target if fitting and n == max(fitting) else None
        yield Line(
            TABLE,
            [
                family.name,
                f"{n:,}",
                milliseconds(medians.get("dense")),
                milliseconds(medians["by hand"]),
                "failed" if why else milliseconds(run),
                at_least(quotient(medians.get("dense"), run), target),
                at_most(quotient(run, medians["by hand"]), None),
                seconds_cell(own and own.first_seconds),
                error_cell(_residual(f, arguments, b, solved.result), TOLERANCE) + ("" if own else " by hand"),
            ],
        )
        if why:
            yield Line(REMARKS, (f"{family.name}, n = {n:,}: {why}",))
    slope = at_most(exponent(unknowns[1:], runs[1:]), LINEAR)
    yield Line(TABLE, [family.name, "exponent", "", "", slope, *[""] * (len(HEAD) - 5)])


FAMILIES = (
    Family(
        "Kronecker: ‖T-UVᵀ‖², U rows×5",
        _kronecker,
        (200, 2_000, 20_000, 200_000, 1_000_000),
        closed_forms.kronecker_solve,
        100.0,
    ),
    Family(
        "diagonal + rank 10",
        _low_rank,
        (1_000, 10_000, 100_000, 1_000_000),
        closed_forms.diagonal_and_low_rank_solve,
        1000.0,
    ),
)

GROUP = Group(
    "solve",
    {TABLE: HEAD},
    tuple(Row(family.name, functools.partial(_measured, family), limit=2400) for family in FAMILIES),
    legend=(
        "`dense`: `jnp.linalg.solve` of `jax.hessian` where the matrix fits; the target holds at the largest size. "
        "`residual`: of the system, by a Hessian-vector product of JAX, over the right side's largest entry.",
        "`exponent`: of nablax's run time over n, the smallest size left out.",
    ),
)
