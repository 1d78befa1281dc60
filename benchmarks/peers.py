"""What answers the same questions today: JAX itself, loops of Hessian-vector products, folx, BackPACK.

A peer is a function of a case and its arguments. It gives a ready contender, or a sentence that says why it
cannot answer.
"""

import functools
import importlib
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import folx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from benchmarks.cases import Case
from benchmarks.timing import Contender, compiled

Peer = Callable[[Case, tuple[Any, ...]], Contender | str]

CHUNKS = (8, 32, 128)
LARGEST_DENSE = 15_000


def dense(case: Case, arguments: tuple[Any, ...]) -> Contender | str:
    """`jit(jax.hessian)`."""
    return compiled("jax.hessian", jax.hessian(case.function), arguments)


def dense_compile_seconds(case: Case, arguments: tuple[Any, ...]) -> float | None:
    """XLA's time for `jit(jax.hessian)` of the row's function; None where the Hessian is out of reach."""
    if case.question == "trace":
        arguments = (arguments[0][0], *arguments[1:])
    if case.question == "hvp":
        arguments = (arguments[0], *arguments[2:])
    if ravel_pytree(arguments[0])[0].size > LARGEST_DENSE:
        return None
    lowered = jax.jit(jax.hessian(case.function)).lower(*arguments)
    start = time.perf_counter()
    lowered.compile()
    return time.perf_counter() - start


def gradient_and_dense(case: Case, arguments: tuple[Any, ...]) -> Contender | str:
    """Gradient and Hessian by one jitted function."""

    def both(x: Any, *data: Any) -> tuple[Any, Any]:
        return jax.grad(case.function)(x, *data), jax.hessian(case.function)(x, *data)

    return compiled("gradient and jax.hessian", both, arguments)


def product(case: Case, arguments: tuple[Any, ...]) -> Contender | str:
    """Forward over reverse."""

    def hvp(x: Any, v: Any, *data: Any) -> Any:
        return jax.jvp(jax.grad(lambda x: case.function(x, *data)), (x,), (v,))[1]

    return compiled("jvp(grad)", hvp, arguments)


def gradient(case: Case, arguments: tuple[Any, ...]) -> Contender | str:
    """One gradient, the unit in which products are counted; not an answer."""
    unanswered = compiled("gradient only", jax.grad(case.function), (arguments[0], *arguments[2:]))
    return Contender(unanswered.name, unanswered.call)


def dense_trace(case: Case, arguments: tuple[Any, ...]) -> Contender | str:
    """The trace of the dense Hessian, per point."""

    def trace(x: Any, *data: Any) -> Any:
        return jax.vmap(lambda x: jnp.trace(jax.hessian(case.function)(x, *data)))(x)

    return compiled("trace of jax.hessian", trace, arguments)


def dense_diagonal(case: Case, arguments: tuple[Any, ...]) -> Contender | str:
    """The diagonal of the dense Hessian with respect to one vector."""

    def diagonal(x: Any, *data: Any) -> Any:
        return jnp.diagonal(jax.hessian(case.function)(x, *data))

    return compiled("diagonal of jax.hessian", diagonal, arguments)


def forward_laplacian(case: Case, arguments: tuple[Any, ...]) -> Contender | str:
    """folx, per point."""

    def laplacian(x: Any, *data: Any) -> Any:
        return jax.vmap(lambda x: folx.forward_laplacian(lambda x: case.function(x, *data))(x).laplacian)(x)

    return compiled("folx", laplacian, arguments)


def chunked(chunk: int, case: Case, arguments: tuple[Any, ...]) -> Contender | str:
    """Chunks of vmapped forward-over-reverse products with unit vectors; a sample of the columns."""
    columns = sample_of_columns(arguments, case.sample)

    def diagonal(x: Any, columns: jax.Array, *data: Any) -> jax.Array:
        flat, unravel = ravel_pytree(x)
        slope = jax.grad(lambda u: case.function(unravel(u), *data))

        def entry(i: jax.Array) -> jax.Array:
            return jax.jvp(slope, (flat,), (jax.nn.one_hot(i, flat.size),))[1][i]

        return jax.lax.map(entry, columns, batch_size=chunk)

    return _sampled(f"vmapped products, chunks of {chunk}", diagonal, columns, arguments)


def mapped(case: Case, arguments: tuple[Any, ...]) -> Contender | str:
    """`lax.map` of eᵀHe by forward over forward, one after the other; a sample of the columns."""
    columns = sample_of_columns(arguments, case.sample)

    def diagonal(x: Any, columns: jax.Array, *data: Any) -> jax.Array:
        return jax.lax.map(lambda i: _unit_form(case, x, i, data), columns)

    return _sampled("lax.map of eᵀHe", diagonal, columns, arguments)


def looped(case: Case, arguments: tuple[Any, ...]) -> Contender | str:
    """A Python loop over one jitted eᵀHe by forward over forward; a sample of the columns."""
    x, *data = arguments
    columns = list(sample_of_columns(arguments, case.sample))
    one = jax.jit(lambda x, i, *data: _unit_form(case, x, i, data))

    def run() -> list[jax.Array]:
        return jax.block_until_ready([one(x, i, *data) for i in columns])

    size = ravel_pytree(x)[0].size
    return Contender("Python loop of eᵀHe", run, size / len(columns), np.stack(run()))


def leaf_by_leaf(case: Case, arguments: tuple[Any, ...]) -> Contender | str:
    """`lax.map` of eᵀHe as in `mapped`, but with only the column's own leaf perturbed.

    The tangents of the layers before it are then known to be zero when JAX traces, and cost nothing.
    """
    x = arguments[0]
    columns = np.asarray(sample_of_columns(arguments, case.sample))
    leaves, tree = jax.tree.flatten(x)
    ends = np.cumsum([leaf.size for leaf in leaves])
    owner = np.searchsorted(ends, columns, side="right")

    def diagonal(x: Any, *data: Any) -> jax.Array:
        leaves = jax.tree.leaves(x)
        entries = []
        for k, leaf in enumerate(leaves):
            if not (owner == k).any():
                continue

            def entry(i: jax.Array, k: int = k, leaf: jax.Array = leaf) -> jax.Array:
                f = lambda u: case.function(tree.unflatten([*leaves[:k], u, *leaves[k + 1 :]]), *data)
                e = jax.nn.one_hot(i, leaf.size).reshape(leaf.shape)
                return jax.jvp(lambda u: jax.jvp(f, (u,), (e,))[1], (leaf,), (e,))[1]

            entries.append(jax.lax.map(entry, jnp.asarray(columns[owner == k] - (ends[k] - leaf.size))))
        return jnp.concatenate(entries)

    return compiled("leaf by leaf", diagonal, arguments, ends[-1] / len(columns))


def backpack(case: Case, arguments: tuple[Any, ...]) -> Contender | str:
    """BackPACK's DiagHessian, torch on the CPU with one thread."""
    if importlib.util.find_spec("backpack") is None:
        return "BackPACK is not installed: make bench-torch"
    module = importlib.import_module("benchmarks.backpack_peer")
    contender: Contender | str = module.diagonal(case, arguments)
    return contender


def _unit_form(case: Case, x: Any, i: jax.Array, data: Any) -> jax.Array:
    flat, unravel = ravel_pytree(x)
    e = jax.nn.one_hot(i, flat.size)
    f = lambda u: case.function(unravel(u), *data)
    return jax.jvp(lambda u: jax.jvp(f, (u,), (e,))[1], (flat,), (e,))[1]


def sample_of_columns(arguments: tuple[Any, ...], largest: int) -> jax.Array:
    """The columns that stand for all: one from each of equal stretches, the same for every loop."""
    size = ravel_pytree(arguments[0])[0].size
    count = min(largest, size)
    jitter = np.random.default_rng(0).random(count)
    return jnp.asarray(((np.arange(count) + jitter) * size / count).astype(np.int32))


def _sampled(name: str, diagonal: Callable[..., Any], columns: jax.Array, arguments: tuple[Any, ...]) -> Contender:
    x, *data = arguments
    size = ravel_pytree(x)[0].size
    return compiled(name, diagonal, (x, columns, *data), size / len(columns))


# A name in a row stands for one peer or for several of which the best counts.
PEERS: dict[str, tuple[Peer, ...]] = {
    "jax.hessian": (dense,),
    "gradient and jax.hessian": (gradient_and_dense,),
    "jvp(grad)": (product,),
    "gradient only": (gradient,),
    "trace of jax.hessian": (dense_trace,),
    "diagonal of jax.hessian": (dense_diagonal,),
    "folx": (forward_laplacian,),
    "chunked vmapped products": tuple(functools.partial(chunked, c) for c in CHUNKS),
    "lax.map of eᵀHe": (mapped,),
    "Python loop of eᵀHe": (looped,),
    "lax.map of eᵀHe, leaf by leaf": (leaf_by_leaf,),
    "BackPACK": (backpack,),
}
