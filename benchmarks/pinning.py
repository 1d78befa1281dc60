"""One pinned core, one thread, recycled memory. It has to be imported before jax.

On another device than the CPU (`JAX_PLATFORMS=cuda python -m benchmarks`) the core only gives orders.

Large arrays would else be given back to the system when freed, and faulted in anew, page by page, by the next
call: more than twice the time of a row that mostly writes, depending on what ran before. So the C library is
told to keep freed memory, for every contender alike.
"""

import contextlib
import ctypes
import os
import sys
import time

if "jax" in sys.modules:
    raise RuntimeError("the benchmarks must be imported before jax: start them by `python -m benchmarks`")


def idlest_core(seconds: float = 0.5) -> int:
    """The allowed core that was idle most of a moment; the highest where the system does not tell."""

    def idle_ticks() -> dict[int, int]:
        with open("/proc/stat") as file:
            fields = [line.split() for line in file if line.startswith("cpu") and line[3].isdigit()]
        return {int(f[0][3:]): int(f[4]) for f in fields}

    allowed = sorted(os.sched_getaffinity(0))
    try:
        before = idle_ticks()
        time.sleep(seconds)
        after = idle_ticks()
    except (OSError, IndexError, ValueError):
        return allowed[-1]
    return max(allowed, key=lambda core: (after.get(core, 0) - before.get(core, 0), core))


# Rows are measured in processes of their own: these inherit the core.
if not os.environ.get("BENCHMARK_CORE"):
    os.environ["BENCHMARK_CORE"] = str(idlest_core())
os.sched_setaffinity(0, {int(os.environ["BENCHMARK_CORE"])})

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Parent and child share a device's memory.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
with contextlib.suppress(OSError, AttributeError):  # a C library without mallopt
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(M_ARENA_MAX, 1)
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
