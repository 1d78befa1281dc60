"""What planning and compiling cost, and how they and the run time grow with the size of the program."""

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from benchmarks import closed_forms, networks, ours, peers
from benchmarks.cases import Case
from benchmarks.groups.speed import relative_error
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
    megabytes,
    milliseconds,
    quotient,
    seconds_cell,
)
from benchmarks.timing import Contender, alternate, compiled, limited

PLAN_LIMIT, QUICK_PLAN_LIMIT = 240.0, 20.0
MILLISECONDS_AN_OPERATION = 3.0
PROGRAMS = "Programs"
NETWORKS = "Networks"
TOLERANCE = 1e-3  # single precision, through 48 layers

PROGRAMS_HEAD = (
    "program",
    "operations",
    "nodes",
    "plan s",
    "plan ms / operation",
    "lower s",
    "XLA s",
    "jax.grad: XLA s",
)
NETWORKS_HEAD = (
    "network",
    "depth",
    "nodes",
    "plan s",
    "lower s",
    "XLA s",
    "run ms",
    "MB held",
    "by hand: XLA s",
    "ms",
    "MB held",
    "nablax / by hand",
    "gradient: XLA s",
    "ms",
    "XLA / gradient's",
    "gradients",
    "best loop ms",
    "loop / nablax",
    "leaf by leaf ms",
    "leaf by leaf / nablax",
    "error",
)


def _limit(setting: Setting) -> float:
    return QUICK_PLAN_LIMIT if setting.quick else PLAN_LIMIT


def _warm(setting: Setting) -> None:
    """What happens once in a process is not counted to the smallest size."""
    if setting.nablax:
        ours.prepare(lambda x: jnp.sum(jnp.tanh(jnp.sin(x) * x[0])), "diagonal", (jnp.zeros(5),), _limit(setting))


# -- programs without arrays worth the name ------------------------------------------------------------------------


def _chain(length: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    def f(x: jax.Array) -> jax.Array:
        for k in range(length // 2):
            x = jnp.sin(x) if k % 2 else jnp.tanh(x)
            x = x * 1.01 if k % 3 else x + 0.1
        return jnp.sum(x)

    return f, (jnp.full(5, 0.3),)


def _rosenbrock_loop(terms: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    def f(x: jax.Array) -> jax.Array:
        return functools.reduce(
            operator.add, (100 * (x[k + 1] - x[k] ** 2) ** 2 + (1 - x[k]) ** 2 for k in range(terms))
        )

    return f, (jnp.full(terms + 1, 0.9),)


def _programs(
    name: str,
    make: Callable[[int], tuple[Callable[..., Any], tuple[Any, ...]]],
    sizes: Sequence[int],
    question: str,
    setting: Setting,
) -> Iterator[Line]:
    _warm(setting)
    operations: list[float] = []
    plans: list[float | None] = []
    compiles: list[float | None] = []
    for size in sizes[: 2 if setting.quick else len(sizes)]:
        f, arguments = make(size)
        count = len(jax.make_jaxpr(f)(*arguments).eqns)
        gradient = compiled("gradient", jax.grad(f), arguments)
        own = ours.prepare(f, question, arguments, _limit(setting)) if setting.nablax else ours.Prepared()
        each = None if own.plan_seconds is None else 1e3 * own.plan_seconds / count
        operations.append(count)
        plans.append(own.plan_seconds)
        compiles.append(own.contender and own.contender.compile_seconds)
        cells = [
            name,
            str(count),
            "-" if own.nodes is None else str(own.nodes),
            "failed" if own.failure and own.plan_seconds is None else seconds_cell(own.plan_seconds),
            at_most(each, MILLISECONDS_AN_OPERATION),
            seconds_cell(own.contender and own.contender.trace_seconds),
            seconds_cell(own.contender and own.contender.compile_seconds),
            seconds_cell(gradient.compile_seconds),
        ]
        yield Line(PROGRAMS, cells)
        if own.failure:
            yield Line(REMARKS, (f"{name}, {count} operations: {own.failure}",))
    grown = [at_most(exponent(operations, plans), LINEAR), "", "", at_most(exponent(operations, compiles), None), ""]
    yield Line(PROGRAMS, [name, "exponent", "", *grown])


# -- networks ------------------------------------------------------------------------------------------------------


def _deep(residual: bool, depth: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    layers = networks.make_layers((64,) * (depth + 1) + (10,), 1)
    if residual:  # half the weights, so that the sum does not grow with the depth
        layers = [(W / 2, b) for W, b in layers[:-1]] + layers[-1:]
    return networks.residual_loss if residual else networks.plain_loss, (layers, *networks.make_batch(256, 64, 10, 2))


def _transformer(blocks: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    X = jax.random.normal(jax.random.key(2), (8, 16, 32))
    return networks.transformer_loss, (networks.make_transformer(blocks, 32, 10, 1), X, jnp.arange(8) % 10)


def _loops(f: Callable[..., Any], arguments: tuple[Any, ...], setting: Setting) -> Iterator[Contender | str]:
    """The loops of the speed table, on fewer columns."""
    case = Case("", "diagonal", f, lambda: arguments, sample=4 if setting.quick else 16)
    loops = (peers.mapped, peers.looped, functools.partial(peers.chunked, 8), peers.leaf_by_leaf)
    for loop in loops:
        try:
            with limited(300):
                yield loop(case, arguments)
        except Exception as error:  # the others remain
            yield f"a loop of JAX: {type(error).__name__}: {error}"


def _networks(
    name: str,
    make: Callable[[int], tuple[Callable[..., Any], tuple[Any, ...]]],
    depths: Sequence[int],
    by_hand: Callable[..., Any] | None,
    targets: "Targets",
    setting: Setting,
) -> Iterator[Line]:
    _warm(setting)
    grown: dict[str, list[float | None]] = {"plan": [], "compile": [], "run": []}
    measured = depths[: 1 if setting.quick else len(depths)]
    for depth in measured:
        f, arguments = make(depth)
        own = ours.prepare(f, "diagonal", arguments, _limit(setting)) if setting.nablax else ours.Prepared()
        hand = None if by_hand is None else compiled("by hand", by_hand, arguments)
        gradient = compiled("gradient", jax.grad(f), arguments)
        with_loop = depth in targets.with_loop or setting.quick
        answers = list(_loops(f, arguments, setting)) if with_loop else []
        loops = [answer for answer in answers if isinstance(answer, Contender)]
        contenders = [c for c in (own.contender, hand, gradient) if c is not None]
        medians = {m.contender.name: m.median for m in alternate(contenders, setting.effort)}
        # a loop takes a thousand times as long: apart, so that the others keep their caches
        slow = {m.contender.name: m.median for m in alternate(loops, setting.effort)} if loops else {}
        run, by_leaf = medians.get("nablax"), slow.get("leaf by leaf")
        best = min((seconds for loop, seconds in slow.items() if loop != "leaf by leaf"), default=None)
        reference, columns = (hand.result, None) if hand else (None, None)
        if hand is None and loops:
            size = ravel_pytree(arguments[0])[0].size
            reference = loops[0].result
            columns = np.asarray(peers.sample_of_columns(arguments, reference.size if reference.size < size else size))
        error = None
        if own.contender is not None and reference is not None:
            error = relative_error(own.contender.result, reference, columns)
        own_compile = own.contender and own.contender.compile_seconds
        planned = own.plan_seconds is not None or not setting.nablax
        grown["plan"].append(own.plan_seconds)
        grown["compile"].append(own_compile)
        grown["run"].append(run)
        yield Line(
            NETWORKS,
            [
                name,
                str(depth),
                "-" if own.nodes is None else str(own.nodes),
                at_most(own.plan_seconds, targets.plan[depth]) if planned else "failed",
                seconds_cell(own.contender and own.contender.trace_seconds),
                at_most(own_compile, targets.compile),
                milliseconds(run),
                megabytes(own.contender and own.contender.held_bytes),
                seconds_cell(hand and hand.compile_seconds),
                milliseconds(medians.get("by hand")),
                megabytes(hand and hand.held_bytes),
                at_most(quotient(run, medians.get("by hand")), targets.by_hand.get(depth)) if hand else "",
                seconds_cell(gradient.compile_seconds),
                milliseconds(medians["gradient"]),
                at_most(quotient(own_compile, gradient.compile_seconds), targets.over_gradient),
                at_most(quotient(run, medians["gradient"]), None),
                milliseconds(best),
                at_least(quotient(best, run), targets.loop.get(depth)) if with_loop else "",
                milliseconds(by_leaf),
                at_least(quotient(by_leaf, run), targets.loop.get(depth)) if with_loop else "",
                error_cell(error, TOLERANCE),
            ],
        )
        for note in [own.failure, *[answer for answer in answers if isinstance(answer, str)]]:
            if note:
                yield Line(REMARKS, (f"{name}, depth {depth}: {note}",))
        if slow:
            listed = ", ".join(f"{loop} {milliseconds(seconds)} ms" for loop, seconds in slow.items())
            yield Line(REMARKS, (f"{name}, depth {depth}: {listed}, scaled from a sample of the columns",))
    slopes = {what: exponent(measured, values) for what, values in grown.items()}
    yield Line(
        NETWORKS,
        [
            name,
            "exponent",
            "",
            at_most(slopes["plan"], LINEAR),
            "",
            at_most(slopes["compile"], None),
            at_most(slopes["run"], LINEAR),
            *[""] * (len(NETWORKS_HEAD) - 7),
        ],
    )


class Targets:
    """What has to be reached at which depth."""

    def __init__(
        self,
        plan: dict[int, float],
        compile: float | None = None,
        by_hand: dict[int, float] | None = None,
        over_gradient: float | None = None,
        loop: dict[int, float] | None = None,
        with_loop: Sequence[int] = (),
    ) -> None:
        self.plan, self.compile, self.over_gradient = plan, compile, over_gradient
        self.by_hand, self.loop, self.with_loop = by_hand or {}, loop or {}, with_loop


def _deep_row(name: str, residual: bool) -> Row:
    targets = Targets(
        plan={12: 0.5, 24: 1.0, 48: 2.0},
        compile=4.0,
        by_hand={12: 1.2, 48: 1.2},
        loop={48: 4000},
        with_loop=(48,),
    )
    by_hand = functools.partial(closed_forms.deep_diagonal, residual=residual)
    measure = functools.partial(
        _networks, name, functools.partial(_deep, residual), tuple(targets.plan), by_hand, targets
    )
    return Row(name, measure, limit=2400)


TRANSFORMERS = Targets(plan={1: 1.0, 3: 3.0, 12: 12.0}, over_gradient=8.0, with_loop=(1, 3, 12))

GROUP = Group(
    "preparation",
    {PROGRAMS: PROGRAMS_HEAD, NETWORKS: NETWORKS_HEAD},
    (
        Row(
            "diagonal, chain of elementwise operations",
            functools.partial(
                _programs, "diagonal, chain of elementwise operations", _chain, (20, 80, 320, 1000), "diagonal"
            ),
        ),
        Row(
            "Hessian, Rosenbrock as a Python loop",
            functools.partial(
                _programs, "Hessian, Rosenbrock as a Python loop", _rosenbrock_loop, (17, 54, 171), "hessian"
            ),
        ),
        _deep_row("diagonal, plain layers of 64", False),
        _deep_row("diagonal, residual layers of 64", True),
        Row(
            "diagonal, transformer blocks",
            functools.partial(
                _networks, "diagonal, transformer blocks", _transformer, tuple(TRANSFORMERS.plan), None, TRANSFORMERS
            ),
            limit=3600,
        ),
    ),
    legend=(
        f"`plan s`: the first `nablax.plan`, tracing included, ended after {PLAN_LIMIT:.0f} s. `lower s`: tracing the "
        "verb under `jax.jit`. `XLA s`: its compilation. `nodes`: of the planned graph.",
        f"`exponent`: slope of a column's logarithm over the logarithm of the size; up to {LINEAR} passes for linear.",
        "Networks: tanh layers of 64 and one of 10, batch 256; transformer blocks of width 32, 4 heads, 16 tokens, "
        "batch 8. `MB held`: temporaries and results, as XLA plans them.",
        "The loops of JAX run a sample of the columns; their times are scaled to all. The best of those that move the "
        "flat vector, and the one that moves one leaf at a time.",
    ),
)
