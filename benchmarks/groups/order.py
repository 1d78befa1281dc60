"""Order k: tensors, Taylor mode, the two classical counts, and reverse mode within a memory bound."""

import functools
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.jet import jet

import nablax as nb
from benchmarks import networks
from benchmarks.groups.preparation import LINEAR
from benchmarks.groups.speed import relative_error
from benchmarks.report import (
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
from nablax.graph.cost import cost_of

TENSORS = "Third-order tensors of log-sum-exp of A x, 200 rows, float32"
TENSORS_HEAD = ("n", "nablax ms", "nesting ms", "by hand ms", "nesting / nablax", "nablax / by hand", "error")
SPARSE = "Sparse tensors, float64"
SPARSE_HEAD = ("function", "order", "n", "plan s", "run ms", "values")
TAYLOR = "Derivatives along a direction"
TAYLOR_HEAD = ("function", "order", "nablax ms", "other", "ms", "other / nablax", "error")
PREPARED = "Tracing and compiling the 10th derivative of tanh, float64"
PREPARED_HEAD = ("way", "seconds", "over nablax", "error")
GROWTH = "Growth of dense tensors with depth and width, float32"
GROWTH_HEAD = ("function", "order", "size", "plan s", "compile s", "run ms", "entries")
COUNTS = "Operations of the Hessian, as the planner counts them"
COUNTS_HEAD = ("function", "n", "f: m", "by rows", "rows / m n", "nablax", "rows / nablax", "rows ms", "nablax ms")
CHECKPOINTS = "Gradient of 64 layers of 256, batch 1024, float32"
CHECKPOINTS_HEAD = ("way", "bound MB", "MB held by XLA", "run ms", "time over plain", "computed again")


def _ready(name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Contender:
    start = time.perf_counter()
    lowered = jax.jit(function).lower(*arguments)
    traced = time.perf_counter()
    compiled = lowered.compile()
    done = time.perf_counter()
    result = jax.block_until_ready(compiled(*arguments))
    analysis = compiled.memory_analysis()
    held = None if analysis is None else float(analysis.temp_size_in_bytes)
    return Contender(
        name,
        lambda: jax.block_until_ready(compiled(*arguments)),
        result=result,
        trace_seconds=traced - start,
        compile_seconds=done - traced,
        held_bytes=held,
    )


def _times(contenders: list[Contender], setting: Setting) -> list[float | None]:
    timed = {id(m.contender): m.median for m in alternate(contenders, setting.effort)}
    return [timed[id(one)] for one in contenders]


def _logsumexp(x: jax.Array, A: jax.Array) -> jax.Array:
    return jax.nn.logsumexp(A @ x)


def _cumulant(x: jax.Array, A: jax.Array) -> jax.Array:
    p = jax.nn.softmax(A @ x)
    centred = A - p @ A
    return jnp.tensordot((p[:, None] * centred)[:, :, None] * centred[:, None, :], centred, ((0,), (0,)))


def _tensor(size: int, over_nesting: float, setting: Setting) -> Iterator[Line]:
    keys = jax.random.split(jax.random.key(1))
    A, x = jax.random.normal(keys[0], (200, size)), 0.1 * jax.random.normal(keys[1], (size,))
    ways = {
        "nablax": nb.derivative(_logsumexp, 3),
        "nesting": jax.jacfwd(jax.jacfwd(jax.jacrev(_logsumexp))),
        "by hand": _cumulant,
    }
    own, nesting, hand = made = [_ready(name, way, (x, A)) for name, way in ways.items()]
    times = _times(made, setting)
    cells = [milliseconds(t) for t in times]
    ratios = [at_least(quotient(times[1], times[0]), over_nesting), at_most(quotient(times[0], times[2]), 1.15)]
    error = relative_error(own.result, nesting.result, None)
    assert hand.result is not None
    yield Line(TENSORS, [str(size), *cells, *ratios, error_cell(error, 1e-4)])


def _separable(x: jax.Array) -> jax.Array:
    return jnp.sum(jnp.exp(x) * jnp.sin(x))


def _banded(x: jax.Array) -> jax.Array:
    return jnp.sum((x[1:] - x[:-1] ** 2) ** 2 * jnp.cos(x[1:]))


def _linear(name: str, f: Callable[..., Any], order: int, setting: Setting) -> Iterator[Line]:
    sizes = (10_000, 100_000) if setting.quick else (10_000, 100_000, 1_000_000)
    planned, runs = [], []
    with jax.enable_x64(True):
        for size in sizes:
            x = jnp.linspace(-1.0, 1.0, size)
            start = time.perf_counter()
            verb = nb.derivative_sparse(lambda x: f(x), order)
            found = jax.block_until_ready(verb(x))
            planned.append(time.perf_counter() - start)
            own = Contender(name, functools.partial(lambda verb, x: jax.block_until_ready(verb(x).data), verb, x))
            [run] = _times([own], setting)
            runs.append(run)
            yield Line(
                SPARSE, [name, str(order), f"{size:,}", seconds_cell(planned[-1]), milliseconds(run), f"{found.nse:,}"]
            )
    slopes = [at_most(exponent(list(sizes), values), LINEAR) for values in (planned, runs)]
    yield Line(SPARSE, [name, str(order), "exponent", *slopes, ""])


def _network(setting: Setting, *, along_inputs: bool) -> Iterator[Line]:
    params = networks.make_layers((64, 64, 64, 10), 1)
    X, _ = networks.make_batch(256, 64, 10, 2)
    keys = iter(jax.random.split(jax.random.key(3), 16))

    def f(p: Any, X: jax.Array) -> jax.Array:
        for W, b in p[:-1]:
            X = jnp.tanh(X @ W.T + b)
        W, b = p[-1]
        return X @ W.T + b

    def swapped(X: jax.Array, p: Any) -> jax.Array:
        return f(p, X)

    g, point, data = (swapped, X, params) if along_inputs else (f, params, X)
    v = jax.tree.map(lambda a: jax.random.normal(next(keys), a.shape) / 8, point)

    def by_jet(point: Any, v: Any, data: Any) -> Any:
        flat, tree = jax.tree.flatten(point)
        terms = [[d, *[jnp.zeros_like(d)] * 5] for d in jax.tree.leaves(v)]
        value, series = jet(lambda *p: g(jax.tree.unflatten(tree, p), data), flat, terms)
        return value, *series

    made = [_ready("nablax", nb.directional(g, 6), (point, v, data)), _ready("jet", by_jet, (point, v, data))]
    times = _times(made, setting)
    error = relative_error(made[0].result[6], made[1].result[6], None)
    name = "64-64-64-10 network, batch 256, along " + ("the inputs" if along_inputs else "the parameters")
    yield Line(
        TAYLOR,
        [name, "6", milliseconds(times[0]), "jet", milliseconds(times[1]), at_least(quotient(times[1], times[0]), 1.0),
         error_cell(error, 1e-3)],
    )  # fmt: skip


def _without_jet(setting: Setting) -> Iterator[Line]:
    """Where jet has no rule: a loop, a factorisation, ln Γ."""
    B = jax.random.normal(jax.random.key(4), (30, 30))
    S = B @ B.T + 30 * jnp.eye(30)

    def scanned(x: jax.Array) -> jax.Array:
        return jnp.sum(jax.lax.scan(lambda c, _: (jnp.tanh(S @ c / 30 + x), None), x, length=20)[0])

    functions = {
        "scan of 20 turns, 30 units": scanned,
        "cholesky 30 × 30": lambda x: jnp.sum(jnp.linalg.cholesky(S + jnp.diag(x))),
        "ln Γ of 30": lambda x: jnp.sum(jax.lax.lgamma(2 + x**2)),
    }
    x, v = jnp.linspace(0.1, 1.0, 30), jnp.ones(30)
    for name, f in functions.items():

        def nested(x: jax.Array, v: jax.Array, f: Callable[..., Any] = f) -> Any:
            h = lambda t: f(x + t * v)
            found = [h(0.0)]
            for _ in range(4):
                h = jax.jacfwd(h)
                found.append(h(0.0))
            return tuple(found)

        made = [_ready("nablax", nb.directional(f, 4), (x, v)), _ready("nested", nested, (x, v))]
        times = _times(made, setting)
        error = relative_error(made[0].result[4], made[1].result[4], None)
        cells = ["4", milliseconds(times[0]), "nested jvp", milliseconds(times[1])]
        yield Line(TAYLOR, [name, *cells, at_least(quotient(times[1], times[0]), None), error_cell(error, 1e-3)])


def _tanh(setting: Setting) -> Iterator[Line]:
    order = 8 if setting.quick else 10
    with jax.enable_x64(True):
        x, one = jnp.asarray(0.3), jnp.asarray(1.0)
        p, y = np.polynomial.Polynomial([0.0, 1.0]), np.tanh(0.3)
        for _ in range(order):
            p = p.deriv() * np.polynomial.Polynomial([1.0, 0.0, -1.0])
        own = _ready("nablax", nb.directional(jnp.tanh, order), (x, one))
        g: Callable[..., Any] = jnp.tanh
        for _ in range(order):
            g = jax.grad(g)
        nested = _ready("nested grad", g, (x,))
    for one_way, value in ((own, own.result[order]), (nested, nested.result)):
        seconds = (one_way.trace_seconds or 0.0) + (one_way.compile_seconds or 0.0)
        base = (own.trace_seconds or 0.0) + (own.compile_seconds or 0.0)
        error = abs(float(value) - p(y)) / abs(p(y))
        ratio = "" if one_way is own else at_least(seconds / base, 10)
        yield Line(PREPARED, [one_way.name, seconds_cell(seconds), ratio, error_cell(error, 1e-12)])


def _deep(layers: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Layers of width 4, each with weights of its own."""
    B = jax.random.normal(jax.random.key(8), (layers, 4, 4)) / 2

    def f(x: jax.Array, B: jax.Array) -> jax.Array:
        for own in B:
            x = jnp.tanh(own @ x)
        return jnp.sum(x**2)

    return f, (0.1 * jnp.ones(4), B)


def _scanned(layers: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The same, as a loop."""
    _, (x, B) = _deep(layers)

    def f(x: jax.Array, B: jax.Array) -> jax.Array:
        return jnp.sum(jax.lax.scan(lambda c, own: (jnp.tanh(own @ c), None), x, B)[0] ** 2)

    return f, (x, B)


def _wide(size: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    A = jax.random.normal(jax.random.key(9), (50, size))
    return (lambda x, A: jax.nn.logsumexp(A @ x)), (0.1 * jnp.ones(size), A)


GROWING: dict[str, tuple[Callable[[int], tuple[Callable[..., Any], tuple[Any, ...]]], tuple[int, ...]]] = {
    "layers of width 4": (_deep, (1, 4, 16)),
    "the same, scanned": (_scanned, (1, 4, 16)),
    "log-sum-exp of A x, 50 rows, n": (_wide, (2, 8, 32)),
}


def _growth(name: str, order: int, setting: Setting) -> Iterator[Line]:
    make, sizes = GROWING[name]
    found: list[tuple[float, float, float]] = []
    for size in sizes:
        f, arguments = make(size)
        start = time.perf_counter()
        nb.plan(f, "derivative", order=order)(*arguments)
        planned = time.perf_counter() - start
        own = _ready(name, nb.derivative(f, order), arguments)
        [run] = _times([own], setting)
        found.append((planned, own.compile_seconds or 0.0, run or 0.0))
        entries = f"{arguments[0].size ** order:,}"
        cells = [seconds_cell(planned), seconds_cell(own.compile_seconds), milliseconds(run), entries]
        yield Line(GROWTH, [name, str(order), f"{size:,}", *cells])
    slopes = [f"{exponent(list(sizes), list(column)):.2f}" for column in zip(*found, strict=True)]
    power = f"{exponent(list(sizes), [make(n)[1][0].size ** order for n in sizes]):.2f}"
    yield Line(GROWTH, [name, str(order), "exponent", *slopes, power])


def _count(setting: Setting) -> Iterator[Line]:
    keys = jax.random.split(jax.random.key(5))
    A, B = jax.random.normal(keys[0], (2000, 200)), jax.random.normal(keys[1], (60, 60)) / 8

    def layers(x: jax.Array) -> jax.Array:
        for _ in range(4):
            x = jnp.tanh(B @ x)
        return jnp.sum(x**2)

    functions: dict[str, tuple[Callable[..., Any], int]] = {
        "log-sum-exp of A x, 2000 rows": (lambda x: jax.nn.logsumexp(A @ x), 200),
        "four layers of 60": (layers, 60),
        "separable": (_separable, 2000),
    }
    for name, (f, size) in functions.items():
        x = 0.1 * jnp.ones(size)
        plans = [nb.plan(f, strategy=s)(x) for s in ("rows", "auto")]
        flops = [plan.choice.chosen.cost.flops for plan in plans]
        problem = plans[0].choice.problem
        m = cost_of(problem.outputs, problem.rates).flops
        made = [_ready(s, nb.hessian(f, strategy=s), (x,)) for s in ("rows", "auto")]
        times = _times(made, setting)
        yield Line(
            COUNTS,
            [name, f"{size:,}", f"{m:,.0f}", f"{flops[0]:,.0f}", f"{flops[0] / (m * size):.1f}", f"{flops[1]:,.0f}",
             f"{flops[0] / flops[1]:.1f}", milliseconds(times[0]), milliseconds(times[1])],
        )  # fmt: skip


LAYERS, WIDTH, BATCH = 64, 256, 1024


def _checkpoints(setting: Setting) -> Iterator[Line]:
    layers = 16 if setting.quick else LAYERS
    root = int(np.sqrt(layers))
    keys = jax.random.split(jax.random.key(6), layers + 1)
    params = [(jax.random.normal(k, (WIDTH, WIDTH)) / 16, jnp.zeros(WIDTH)) for k in keys[1:]]
    X = jax.random.normal(keys[0], (BATCH, WIDTH))

    def some(X: jax.Array, part: Any) -> jax.Array:
        for W, b in part:
            X = jnp.tanh(X @ W + b)
        return X

    def plain(params: Any, X: jax.Array) -> jax.Array:
        return jnp.mean(some(X, params) ** 2)

    def by_root(params: Any, X: jax.Array) -> jax.Array:
        for start in range(0, layers, root):
            X = jax.checkpoint(some)(X, params[start : start + root])
        return jnp.mean(X**2)

    kept = nb.checkpoint(plain, 1e12).plan(params, X).before
    ways: dict[str, tuple[Callable[..., Any], float | None]] = {
        "plain": (plain, None),
        "jax.checkpoint on every √L-th layer": (by_root, None),
        **{
            f"nb.checkpoint, {share:g} of the memory": (nb.checkpoint(plain, kept * share), share)
            for share in (0.5, 0.25, 0.125)
        },
    }
    made = [_ready(name, jax.grad(way), (params, X)) for name, (way, _) in ways.items()]
    times = _times(made, setting)
    for one, run, (name, (way, share)) in zip(made, times, ways.items(), strict=True):
        again = "" if share is None else f"{way.plan(params, X).again:.2f}"  # type: ignore[attr-defined]
        limit = 1.4 if share == 0.25 else None
        bound = "" if share is None else megabytes(kept * share)
        yield Line(
            CHECKPOINTS,
            [name, bound, megabytes(one.held_bytes), milliseconds(run), at_most(quotient(run, times[0]), limit), again],
        )


GROUP = Group(
    "order",
    {
        TENSORS: TENSORS_HEAD,
        SPARSE: SPARSE_HEAD,
        TAYLOR: TAYLOR_HEAD,
        PREPARED: PREPARED_HEAD,
        GROWTH: GROWTH_HEAD,
        COUNTS: COUNTS_HEAD,
        CHECKPOINTS: CHECKPOINTS_HEAD,
    },
    (
        Row("third order, n = 60", functools.partial(_tensor, 60, 1.0)),
        Row("third order, n = 150", functools.partial(_tensor, 150, 4.0)),
        *(
            Row(f"{name}, order {order}", functools.partial(_linear, name, f, order))
            for (name, f), order in itertools.product((("separable", _separable), ("banded", _banded)), (3, 4))
        ),
        Row("network along parameters", functools.partial(_network, along_inputs=False)),
        Row("network along inputs", functools.partial(_network, along_inputs=True)),
        Row("without jet", _without_jet),
        Row("tanh", _tanh),
        *(
            Row(f"growth of {name}, order {order}", functools.partial(_growth, name, order), limit=90)
            for name, order in itertools.product(GROWING, (3, 4))
        ),
        Row("rows", _count),
        Row("checkpoints", _checkpoints, limit=1800),
    ),
    legend=(
        "`nesting`: `jacfwd(jacfwd(jacrev))`, the best nesting; `by hand`: the third cumulant, sum_i p_i (a_i − μ)³ as "
        "one product of matrices.",
        f"`exponent`: slope of a column's logarithm over that of n; up to {LINEAR} passes for linear.",
        "`rows`: ∇(e_iᵀ∇f) for every i, the textbook's count O(m n).",
    ),
)
