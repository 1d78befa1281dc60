"""A process for each row: nothing is warm, and what does not end is ended."""

import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

import jax
import jax.numpy as jnp

from benchmarks.registry import GROUPS
from benchmarks.report import REMARKS, Line, Row, Setting, failure

QUICK_LIMIT = 600.0


def lines_of(group: str, row: Row, setting: Setting) -> Iterator[Line]:
    """The lines of a row, as they come; a remark where it fails or takes too long."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sending, group, row.name, setting), daemon=True)
    process.start()
    sending.close()
    limit = min(row.limit, QUICK_LIMIT) if setting.quick else row.limit
    end = time.monotonic() + limit
    try:
        while receiving.poll(max(end - time.monotonic(), 0)):
            yield receiving.recv()
        process.kill()
        yield Line(REMARKS, (f"{row.name}: ended after {limit:.0f} s; what is missing was not reached",))
    except EOFError:
        process.join()
        if process.exitcode:
            yield Line(REMARKS, (f"{row.name}: its process ended with status {process.exitcode}",))
    finally:
        process.kill()


def _send(sending: Connection, group: str, name: str, setting: Setting) -> None:
    row = next(row for row in GROUPS[group].rows if row.name == name)
    jax.block_until_ready(jax.jit(jax.grad(lambda x: jnp.sum(jnp.sin(x))))(jnp.ones(3)))  # JAX itself is warm
    try:
        for line in row.measure(setting):
            sending.send(line)
    except Exception as error:  # a row that fails is shown, and the others are still measured
        sending.send(Line(REMARKS, (f"{name} failed: {failure(error)}",)))
    finally:
        sending.close()
