"""Line searches against SciPy's: the same answers, time of a call, and ten thousand of them at once."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

from nablax.optimise import along, brent, golden_section, hager_zhang, more_thuente, newton_1d

KEPT = Path(__file__).with_name("kept_lines.json")
REPEATED = 200
MANY = 10_000


def seconds(call: Callable[[], Any], repeated: int = REPEATED) -> float:
    """Median processor time of a call."""
    call()
    samples = []
    for _ in range(repeated):
        begin = time.process_time()
        call()
        samples.append(time.process_time() - begin)
    return statistics.median(samples)


def f(x: Any) -> Any:
    return jnp.exp(x) - 2 * x + 0.1 * jnp.sin(x)


def rosenbrock(x: Any) -> Any:
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def measure() -> None:
    """Measure all, and keep it."""
    rows = [_exact(name) for name in ("golden", "bounded", "newton")] + [_inexact(name) for name in ("MT", "HZ")]
    KEPT.write_text(json.dumps(rows, indent=1))


def _exact(name: str) -> dict[str, Any]:
    value = jax.jit(f)
    scalar = lambda x: float(value(x))
    a, b = -1.0, 3.0
    if name == "golden":
        ours = jax.jit(lambda a, b: golden_section(f, a, b, tol=1e-7))
        theirs = lambda: scipy.optimize.minimize_scalar(scalar, bracket=(a, 1.0, b), method="golden", tol=1e-8)
        label, peer = "golden_section", "minimize_scalar golden"
    elif name == "bounded":
        ours = jax.jit(lambda a, b: brent(f, a, b, tol=1e-7))
        theirs = lambda: scipy.optimize.minimize_scalar(
            scalar, bounds=(a, b), method="bounded", options={"xatol": 5e-8}
        )
        label, peer = "brent", "minimize_scalar bounded"
    else:
        ours = jax.jit(lambda a, b: newton_1d(f, a, b, tol=1e-7))
        theirs = lambda: scipy.optimize.minimize_scalar(scalar, bracket=(a, 1.0, b), method="brent", tol=1e-8)
        label, peer = "newton_1d", "minimize_scalar brent"
    found, other = ours(a, b), theirs()
    centres = jnp.linspace(-0.5, 1.5, MANY)
    many = {
        "golden": lambda c: golden_section(lambda x: f(x - c), -3.0, 5.0, tol=1e-7).x,
        "bounded": lambda c: brent(lambda x: f(x - c), -3.0, 5.0, tol=1e-7).x,
        "newton": lambda c: newton_1d(lambda x: f(x - c), -3.0, 5.0, tol=1e-7).x,
    }[name]
    mapped = jax.jit(jax.vmap(many))
    return {
        "ours": label, "peer": peer, "difference": abs(float(found.x) - float(other.x)),
        "our_evaluations": int(found.evaluations), "peer_evaluations": int(other.nfev),
        "our_seconds": seconds(lambda: jax.block_until_ready(ours(a, b))), "peer_seconds": seconds(theirs),
        "many_seconds": seconds(lambda: mapped(centres).block_until_ready(), 10),
    }  # fmt: skip


def _inexact(name: str) -> dict[str, Any]:
    rule = more_thuente if name == "MT" else hager_zhang
    x = jnp.tile(jnp.array([-1.2, 1.0]), 50)
    both = jax.jit(jax.value_and_grad(rosenbrock))
    slope = np.asarray(both(x)[1])
    d = -slope
    ours = jax.jit(lambda x, d: rule(along(rosenbrock, x, d), 1.0))
    direction = jnp.asarray(d)
    value, derivative = (lambda y: float(both(y)[0])), (lambda y: np.asarray(both(y)[1]))
    theirs = lambda: scipy.optimize.line_search(value, derivative, np.asarray(x), d, gfk=slope)
    found, other = ours(x, direction), theirs()
    # the searches choose differently among the acceptable steps: what is compared is how far φ falls at them
    zero = float(both(x)[0])
    difference = (zero - float(other[3])) / (zero - float(found.value)) - 1
    many = jax.jit(jax.vmap(lambda s: rule(along(rosenbrock, x, direction), s).step))
    starts = jnp.geomspace(1e-4, 1.0, MANY)
    return {
        "ours": rule.__name__, "peer": "line_search", "difference": difference,
        "our_evaluations": int(found.evaluations), "peer_evaluations": int(other[1]),
        "our_seconds": seconds(lambda: jax.block_until_ready(ours(x, direction))), "peer_seconds": seconds(theirs),
        "many_seconds": seconds(lambda: many(starts).block_until_ready(), 10),
    }  # fmt: skip
