"""`python -m benchmarks.calibrate`: measures this device's part of the rates of the cost model.

Each number is the best of several runs (of each compilation there is one), on one pinned core of the CPU or on another
device: the model says what a machine can do, and others may be using it. `Rates` says what each field means; the
functions here say how it is found.
"""

import datetime
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import typer
from rich.console import Console

import nablax as nb
from benchmarks import networks
from benchmarks.timing import own_clock, processor
from nablax.ops.matrix_functions import ROWS
from nablax.planning.rates import FILE

SECONDS = 0.4  # for each number
LOOP = 64  # passes within one call, where a call's own time would be seen


@dataclass(frozen=True)
class Sizes:
    """Sizes at which work, and not a call, is timed.

    Attributes:
        product: rows of square matrices.
        batch: number of small matrices.
        vector: rows of a matrix that is multiplied with a vector.
        elements: of an array in elementwise work.
        copied: elements of an array that is in no cache.
        cached: powers of two, bytes of arrays from well within to well outside the cache.
    """

    product: int
    batch: int
    vector: int
    elements: int
    copied: int
    cached: range


CORE = Sizes(1024, 256, 512, 1 << 16, 1 << 24, range(16, 27))
# where starting a kernel takes microseconds
ACCELERATOR = Sizes(4096, 4096, 4096, 1 << 24, 1 << 27, range(22, 29))


def sizes() -> Sizes:
    """For the present device."""
    return CORE if jax.default_backend() == "cpu" else ACCELERATOR


def least_seconds(function: Callable[..., Any], *arguments: Any, seconds: float = SECONDS) -> float:
    """The shortest run of a jitted function."""
    jitted, clock = jax.jit(function), own_clock()
    jax.block_until_ready(jitted(*arguments))
    shortest, runs, end = float("inf"), 0, time.perf_counter() + seconds
    while time.perf_counter() < end or runs < 5:
        start = clock()
        jax.block_until_ready(jitted(*arguments))
        shortest, runs = min(shortest, clock() - start), runs + 1
    return shortest


def repeated(step: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """A step in a loop of the compiled program."""
    return lambda x: jax.lax.fori_loop(0, LOOP, lambda _, x: step(x), x)


def _normal(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(sum(shape)), shape)


def product_flops() -> float:
    """A product of large matrices, 1024×1024 on a core."""
    a = _normal(sizes().product, sizes().product)
    return 2 * a.shape[0] ** 3 / least_seconds(lambda a: a @ a, a)


def batched_flops() -> float:
    """A batch of products of matrices of 64×64, 256 on a core."""
    a = _normal(sizes().batch, 64, 64)
    return float(2 * a.shape[0] * 64**3 / least_seconds(lambda a, b: a @ b, a, a + 1))


def vector_flops() -> float:
    """A matrix times a vector; on a core 512×512, which stays in the cache."""
    n = sizes().vector
    a = _normal(n, n) / n**0.5
    seconds = least_seconds(lambda a, x: repeated(lambda x: a @ x)(x), a, _normal(n)) / LOOP
    return 2 * a.size / seconds


def element_flops() -> float:
    """Elementwise operations as the model counts them, one for each primitive: the geometric mean of two programs.

    One is a chain of multiplications and additions, the other has a tanh among six operations, as derivatives have.
    The arrays of a core stay in its cache.
    """
    x = _normal(sizes().elements)

    def chain(x: jax.Array) -> jax.Array:
        for k in range(16):
            x = x * 0.9 + 0.1 * k
        return x

    def mixed(x: jax.Array) -> jax.Array:
        t = jnp.tanh(x)
        return (1 - t * t) * x * 0.5 + t

    rates = [
        operations * x.size * LOOP / least_seconds(repeated(program), x)
        for program, operations in ((chain, 32), (mixed, 6))
    ]
    return float((rates[0] * rates[1]) ** 0.5)


def opaque_flops() -> float:
    """Operations as the model counts them, the geometric mean of three unlike nodes.

    An inverse, 128×128; a loop over products of 64×64; a Fourier transform, whose count is that of its elements.
    """
    n = 128
    a = _normal(n, n) + n * jnp.eye(n)
    inverse = ROWS["inv"].flops((n, n), (n, n)) / least_seconds(jnp.linalg.inv, a)
    b = _normal(64, 64) / 8
    loop = 2 * 64**3 * LOOP / least_seconds(lambda b, x: repeated(lambda x: jnp.tanh(b @ x))(x), b, b)
    signal = _normal(1 << 16)
    transform = signal.size / least_seconds(jnp.fft.rfft, signal)
    return float((inverse * loop * transform) ** (1 / 3))


def copying() -> tuple[float, float, float]:
    """Bytes per second to and from memory, in the cache, and the largest array that stays in the cache.

    In memory: an array is read and another one written. In the cache: one array is overwritten, time after time. A size
    stays in the cache if its speed, in proportion, is nearer to the fastest than to that of the largest. The mean of
    these speeds counts, and half the largest of these sizes, since an operation reads one array and writes another.
    """
    large = jnp.ones(sizes().copied)
    memory = 2 * large.nbytes / least_seconds(lambda x: x * 2, large)
    speeds = {}
    for power in sizes().cached:
        x = jnp.ones((1 << power) // 4)
        speeds[x.nbytes] = 2 * x.nbytes * LOOP / least_seconds(repeated(lambda x: x * 0.999), x, seconds=SECONDS / 2)
    between = (max(speeds.values()) * speeds[max(speeds)]) ** 0.5
    staying = {size: speed for size, speed in speeds.items() if speed >= between}
    return memory, math.prod(staying.values()) ** (1 / len(staying)), max(staying) / 2


def launch_seconds() -> float:
    """What a stored small array costs: products and sums that cannot be fused, by the difference of two lengths."""
    a = _normal(8, 8) / 8**0.5

    def chain(length: int) -> Callable[..., jax.Array]:
        def function(a: jax.Array, x: jax.Array) -> jax.Array:
            for _ in range(length):
                x = jnp.tanh(a @ x)  # two arrays
            return x

        return function

    short, long = (least_seconds(chain(length), a, a) for length in (50, 250))
    return max(long - short, 0.0) / 400


def batch_seconds(flops: float) -> float:
    """What a small product of a batch costs beside its work: 4096 products of 8×8."""
    a = _normal(4096, 8, 8)
    return max(least_seconds(lambda a, b: a @ b, a, a + 1) / 4096 - 2 * 8**3 / flops, 1e-10)


def compile_seconds() -> float:
    """Seconds of lowering and compiling for each node that the plan counts: the slope over programs of some sizes.

    A program costs something to begin with as well, whatever the strategy; that does not count here.
    """

    def network(depth: int, loss: Callable[..., Any]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        layers = networks.make_layers((32,) * (depth + 1) + (10,), 1)
        return loss, (layers, *networks.make_batch(64, 32, 10, 2))

    points, clock = [], own_clock()
    for depth in (1, 3, 7):
        for loss in (networks.plain_loss, networks.residual_loss):
            f, arguments = network(depth, loss)
            nodes = nb.plan(f, "diagonal")(*arguments).choice.chosen.cost.nodes
            answer = nb.hessian_diagonal(f)
            jax.eval_shape(answer, *arguments)  # planned, and kept
            start = clock()
            jax.jit(answer).lower(*arguments).compile()
            points.append((nodes, clock() - start))
    slope, _ = np.polyfit(*np.array(points).T, 1)
    return float(slope)


def measured() -> Iterator[tuple[str, float]]:
    """The fields of `Rates`, one after the other."""
    yield "product_flops", product_flops()
    batched = batched_flops()
    yield "batched_flops", batched
    yield "vector_flops", vector_flops()
    yield "element_flops", element_flops()
    yield "opaque_flops", opaque_flops()
    yield from zip(("memory_bytes", "cache_bytes", "cache_size"), copying(), strict=True)
    yield "launch_seconds", launch_seconds()
    yield "batch_seconds", batch_seconds(batched)
    yield "compile_seconds", compile_seconds()


def main() -> None:
    """Measures the rates of the present device and writes its part of the table."""
    console, start = Console(), time.perf_counter()
    found: dict[str, float] = {}
    for name, value in measured():
        found[name] = float(f"{value:.3g}")
        console.print(f"{name:16} {found[name]:.3g}", highlight=False)
    kind = "cpu" if jax.default_backend() == "cpu" else "gpu"
    machine = processor() + (", one core" if kind == "cpu" else "")
    part = {"machine": machine, "date": f"{datetime.date.today():%Y-%m-%d}", "rates": found}
    known = json.loads(FILE.read_text(encoding="utf-8"))
    FILE.write_text(json.dumps({**known, kind: part}, indent=2) + "\n", encoding="utf-8")
    console.print(f"written: {kind} in {FILE.name}, after {time.perf_counter() - start:.0f} s", highlight=False)


if __name__ == "__main__":
    typer.run(main)
