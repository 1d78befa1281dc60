"""A lowered graph equals the function, in value, dtype and under transformations."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close

from nablax.graph.evaluate import evaluate
from nablax.planning.question import pose


def lowered(f: Any, x: Any) -> Any:
    problem = pose(f, [x], [0], scalar="")
    return lambda x: jax.tree.unflatten(problem.output_tree, evaluate(problem.outputs, [x]))


FUNCTIONS = {
    "elementwise": lambda x: jnp.tanh(x) * x - 1.0 / (1.0 + x**2),
    "network": lambda x: jnp.tanh(x @ x.T) @ x,
    "index maps": lambda x: jnp.pad(x[1:] - x[:-1] ** 2, ((1, 0), (0, 2))) * 2.0,
    "softmax": lambda x: jax.nn.log_softmax(x, axis=0),
    "integers": lambda x: x * jnp.arange(3) + jnp.sum(x > 0),
    "loop": lambda x: jax.lax.scan(lambda c, a: (c + a, c * a), jnp.zeros(3), x)[1],
    "several results": lambda x: (x, x.sum(), {"a": jnp.sort(x, 0)}),
    "matrix functions": lambda x: jnp.linalg.inv(x @ x.T + jnp.eye(2)) @ x,
    "constant": lambda x: jnp.ones(2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_value(name: str, dtype: str, generator: np.random.Generator) -> None:
    x = generator.normal(size=(2, 3)).astype(dtype)
    f = FUNCTIONS[name]
    for got, want in zip(jax.tree.leaves(lowered(f, x)(x)), jax.tree.leaves(f(x)), strict=True):
        assert got.dtype == want.dtype
        assert_close(got, want, dtype)


def test_under_jit_vmap_and_grad(generator: np.random.Generator) -> None:
    x = generator.normal(size=(2, 3))
    stack = generator.normal(size=(4, 2, 3))
    for f in (FUNCTIONS["network"], FUNCTIONS["index maps"], FUNCTIONS["loop"]):
        own = lowered(f, x)
        assert_close(jax.jit(own)(x), f(x))
        assert_close(jax.vmap(own)(stack), jax.vmap(f)(stack))
        assert_close(jax.grad(lambda x, g=own: g(x).sum())(x), jax.grad(lambda x, g=f: g(x).sum())(x))


@pytest.mark.parametrize(
    ("inner", "readers", "barriers"),
    [
        (lambda x: jnp.exp(jnp.sin(x)) * jnp.cos(x), 3, 1),  # four operations, computed again twice
        (lambda x: jnp.exp(jnp.sin(x)) * jnp.cos(x), 1, 0),  # read in one place
        (lambda x: 2.0 * x, 3, 0),  # cheaper to compute than to read
    ],
)
def test_what_index_maps_read_in_several_places_is_stored(inner: Any, readers: int, barriers: int) -> None:
    def f(x: Any) -> Any:
        y = inner(x)
        return sum(jnp.pad(y[k:], (0, k)) for k in range(1, readers + 1))

    x = np.linspace(-1.0, 1.0, 9)
    assert str(jax.make_jaxpr(lowered(f, x))(x)).count("optimization_barrier") == barriers
    assert_close(lowered(f, x)(x), f(x))
