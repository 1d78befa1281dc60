"""Alternating runs, medians; tracing and compiling apart; a limit on what may not end."""

import contextlib
import gc
import math
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax


@dataclass(frozen=True)
class Contender:
    """One way to answer a row's question, ready to be timed.

    Attributes:
        name: what the table calls it.
        call: answers once and waits for the result.
        scale: what to multiply a run's time by; above 1 where only a sample of the columns is run.
        result: the answer, for comparison; None where it is not comparable.
        trace_seconds: from the function to its lowered form (for nablax: planning included).
        compile_seconds: XLA's share.
        first_seconds: the first call: tracing, compiling, running.
        flops: as XLA counts the compiled program.
        held_bytes: temporaries and results of the compiled program, as XLA plans them.
    """

    name: str
    call: Callable[[], object]
    scale: float = 1.0
    result: Any = None
    trace_seconds: float | None = None
    compile_seconds: float | None = None
    first_seconds: float | None = None
    flops: float | None = None
    held_bytes: float | None = None


@dataclass(frozen=True)
class Effort:
    """How long to measure a contender: `runs` samples over `seconds`, but at most three times as long."""

    runs: int = 21
    seconds: float = 1.0
    sample_seconds: float = 1e-3

    def suffices(self, m: "Measurement") -> bool:
        """Whether a contender has been measured enough."""
        if m.wall >= 3 * self.seconds:
            return len(m.samples) >= FEWEST
        return m.wall >= self.seconds and len(m.undisturbed) >= self.runs


FEWEST = 5
WHOLE_CORE = 0.95


@dataclass(frozen=True)
class Sample:
    """Seconds of one answer, on the wall clock and of the processor."""

    wall: float
    processor: float


@dataclass
class Measurement:
    """The times of one contender.

    Samples during which something else had the core are left out. Where hardly any other is left, the
    processor time of all of them is taken, and `disturbed` says so.
    """

    contender: Contender
    samples: list[Sample] = field(default_factory=list)
    wall: float = 0.0
    processor: float = 0.0

    def add(self, wall: float, processor: float, answers: float) -> None:
        """Books a stretch of time in which so many answers were given."""
        self.wall += wall
        self.processor += processor
        self.samples.append(Sample(wall / answers, processor / answers))

    @property
    def undisturbed(self) -> list[float]:
        return [s.wall for s in self.samples if s.processor >= WHOLE_CORE * s.wall]

    @property
    def disturbed(self) -> bool:
        return len(self.undisturbed) < FEWEST

    @property
    def seconds(self) -> list[float]:
        return [s.processor for s in self.samples] if self.disturbed else self.undisturbed

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half the distance of the quartiles, relative to the median."""
        low, _, high = statistics.quantiles(self.seconds, n=4)
        return (high - low) / 2 / self.median

    @property
    def core_share(self) -> float:
        """Processor time over wall time; clearly below 1 means that something else used the core."""
        return self.processor / self.wall


def compiled(name: str, function: Callable[..., Any], arguments: Sequence[Any], scale: float = 1.0) -> Contender:
    """`jax.jit(function)` at `arguments`; data are arguments, since XLA would fold constants."""
    jitted = jax.jit(function)
    start = time.perf_counter()
    lowered = jitted.lower(*arguments)
    traced = time.perf_counter()
    executable = lowered.compile()
    done = time.perf_counter()
    result = jax.block_until_ready(jitted(*arguments))
    first = time.perf_counter() - start
    memory = executable.memory_analysis()
    return Contender(
        name=name,
        call=lambda: jax.block_until_ready(jitted(*arguments)),
        scale=scale,
        result=result,
        trace_seconds=traced - start,
        compile_seconds=done - traced,
        first_seconds=first,
        flops=(executable.cost_analysis() or {}).get("flops"),
        held_bytes=None if memory is None else memory.temp_size_in_bytes + memory.output_size_in_bytes,
    )


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises TimeoutError where Python code takes longer; XLA's compiler is not interrupted by it."""

    def late(*_: object) -> None:
        raise TimeoutError(f"not done after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def own_clock() -> Callable[[], float]:
    """Processor time on the CPU. Waiting for another device is no sign of a disturbance: there it is wall time."""
    return time.process_time if jax.default_backend() == "cpu" else time.perf_counter


def alternate(contenders: Sequence[Contender], effort: Effort) -> list[Measurement]:
    """Times all contenders in turn, one sample each per round; the order rotates from round to round.

    A short call is repeated within a sample, so that a sample lasts `effort.sample_seconds` at least.
    """
    measurements = [Measurement(c) for c in contenders]
    repetitions = []
    for c in contenders:
        c.call()  # warm
        start = time.perf_counter()
        c.call()
        repetitions.append(max(1, round(effort.sample_seconds / (time.perf_counter() - start))))
    pending = list(range(len(contenders)))
    turn = 0
    clock = own_clock()
    gc.collect()
    gc.disable()
    try:
        while pending:
            turn += 1
            for i in pending[turn % len(pending) :] + pending[: turn % len(pending)]:
                m, call = measurements[i], contenders[i].call
                processor, start = clock(), time.perf_counter()
                for _ in range(repetitions[i]):
                    call()
                wall = time.perf_counter() - start
                m.add(wall, clock() - processor, repetitions[i] / contenders[i].scale)
            pending = [i for i in pending if not effort.suffices(measurements[i])]
    finally:
        gc.enable()
    return measurements


@dataclass(frozen=True)
class Machine:
    """What the pinned core, or the device, can do: the roof under which every row stands.

    Attributes:
        processor: its name.
        flops_per_second: of a float32 matrix product.
        copying: bytes read and written by a copy, and the bytes per second it ran at; cache helps small ones.
    """

    processor: str
    flops_per_second: float
    copying: tuple[tuple[int, float], ...]

    def seconds(self, flops: float, moved: float) -> float:
        """The longer of computing and copying."""
        _, speed = min(self.copying, key=lambda at: abs(math.log(max(moved, 1) / at[0])))
        return max(flops / self.flops_per_second, moved / speed)


def measure_machine() -> Machine:
    """The device's float32 matrix product and its copy, both by XLA, the best of some runs."""
    a = jax.random.normal(jax.random.key(0), (1024, 1024))
    product = compiled("product", lambda a: a @ a, (a,))
    vectors = [jax.random.normal(jax.random.key(1), (n,)) for n in (1 << 17, 1 << 20, 1 << 24)]
    copies = [compiled("copy", lambda x: x * 2, (x,)) for x in vectors]
    fastest, *copying = [min(m.seconds) for m in alternate([product, *copies], Effort(seconds=0.3))]
    moved = [2 * x.nbytes for x in vectors]
    return Machine(
        processor(),
        2 * a.shape[0] ** 3 / fastest,
        tuple((n, n / seconds) for n, seconds in zip(moved, copying, strict=True)),
    )


def processor() -> str:
    """Name of what computes."""
    if jax.default_backend() != "cpu":
        return str(jax.devices()[0].device_kind)
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return "unknown processor"
