"""Every primitive that JAX exports and can differentiate, through value, gradient and Hessian against JAX.

Most stand in the functions of test_operations; here are the others, and the test that none is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_operations
from jax.ad_checkpoint import checkpoint_name
from jax.extend import core
from jax.extend.core import primitives
from oracles import assert_close

import nablax as nb
from nablax.graph.inventory import Reading, entry
from nablax.ops.elementwise import ROWS

X = np.array([0.53, -1.21, 0.84, 2.13])
SQUARE = np.array([[2.3, 0.4, -0.2], [0.1, 1.9, 0.5], [-0.3, 0.2, 2.8]])
ONE = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("i",))
ROWS_OF_ONE = jax.sharding.PartitionSpec("i")


def on_one_device(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of the shards of one device."""
    return jax.shard_map(f, mesh=ONE, in_specs=ROWS_OF_ONE, out_specs=ROWS_OF_ONE)


def pooled(x: Any) -> Any:
    return jax.lax.reduce_window(jnp.sin(x), -jnp.inf, jax.lax.max, (2,), (1,), "VALID")


ruled = jax.custom_vjp(lambda x: jnp.tanh(x))
ruled.defvjp(lambda x: (jnp.tanh(x), x), lambda x, g: (g / jnp.cosh(x) ** 2,))


FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "name": (lambda x: checkpoint_name(jnp.sin(x), "kept"), X),
    "device_put": (lambda x: jax.device_put(jnp.sin(x), jax.devices()[0]), X),
    "approx_top_k": (lambda x: jax.lax.approx_max_k(x**2, 2)[0], X),
    "reduce": (lambda x: jax.lax.reduce(x, 0.0, lambda a, b: a + b + a * b, (0,)), X),
    "tridiagonal_solve": (
        lambda x: jax.lax.linalg.tridiagonal_solve(jnp.sin(x), 4.0 + x, jnp.cos(x), x[:, None]), X
    ),
    "lu": (lambda a: jax.lax.linalg.lu(a)[0], SQUARE),
    "random_gamma": (lambda x: jax.random.gamma(jax.random.key(0), 1.0 + x**2), X),
    "complex": (lambda x: jnp.imag(jnp.exp(jax.lax.complex(x, x**2)) * jnp.conj(jax.lax.complex(x, 1.0 + x))), X),
    "custom_vjp_call": (ruled, X),
    "select_and_gather_add": (lambda x: jax.jvp(pooled, (x,), (x**2,))[1], X),
    "select_and_scatter_add": (lambda x: jax.vjp(pooled, x)[1](x[:3] ** 2)[0], X),
    "sharding_constraint": (
        lambda x: jax.lax.with_sharding_constraint(jnp.sin(x), jax.sharding.NamedSharding(ONE, ROWS_OF_ONE)), X
    ),
    "psum": (on_one_device(lambda x: jax.lax.psum(jnp.sin(x), "i") * x), X),
    "all_gather": (on_one_device(lambda x: jax.lax.all_gather(jnp.sin(x), "i", tiled=True) * x), X),
    "all_to_all": (on_one_device(lambda x: jax.lax.all_to_all(jnp.sin(x), "i", 0, 0, tiled=True) * x), X),
    "ppermute": (on_one_device(lambda x: jax.lax.ppermute(jnp.sin(x), "i", [(0, 0)]) * x), X),
}  # fmt: skip


def total(name: str) -> Callable[[Any], Any]:
    function, _ = FUNCTIONS[name]
    return lambda x: jnp.sum(jnp.sin(jnp.asarray(function(x))))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_against_jax(name: str) -> None:
    f, (_, x) = total(name), FUNCTIONS[name]
    assert_close(nb.jacobian(f)(x), jax.grad(f)(x), what=name)
    want = np.asarray(jax.hessian(f)(x)).reshape(x.size, x.size)
    assert_close(nb.hessian(f)(x).reshape(x.size, -1), want, what=name, tolerance=1e-9)
    assert_close(np.ravel(nb.hessian_diagonal(f)(x)), np.diag(want), what=name, tolerance=1e-9)


# Primitives that carry a derivative and stand in no table, and why.
WITHOUT = {
    **dict.fromkeys(("hessenberg", "householder_product", "schur", "tridiagonal"), "JAX has no derivative of it"),
    **dict.fromkeys(("pmax", "pmin", "select_and_scatter"), "JAX has no derivative of it"),
    "reduce_window": "with an operation of the user's; JAX has no derivative of it",
    "eig": "its second derivative needs derivatives of eigenvectors, which JAX refuses",
    "ragged_all_to_all": "not on CPU",
    **dict.fromkeys(("get", "swap"), "of references, inside kernels"),
    "custom_lin": "only inside JAX's own rules",
    "psum": "inside shard_map it has other names; its function is in the table",
}


def names_in(jaxpr: Any) -> set[str]:
    """The primitives of a traced function, those inside others too."""
    inner = (names_in(body) for one in jaxpr.eqns for body in core.jaxprs_in_params(one.params))
    return {one.primitive.name for one in jaxpr.eqns}.union(*inner)


def test_no_primitive_is_forgotten() -> None:
    listed = [(f, x) for functions, x in test_operations.FAMILIES.values() for f in functions.values()]
    seen = set(ROWS)  # each of these is tested as a row
    for function, x in [*listed, *FUNCTIONS.values()]:
        seen |= names_in(jax.make_jaxpr(function)(x).jaxpr)
    exported = {getattr(primitives, name).name for name in dir(primitives) if name.endswith("_p")}
    known = {name: entry(name) for name in exported}
    still = (Reading.DATA, Reading.INLINED)  # what is inlined is tested where its body is
    moving = {name for name, own in known.items() if own is None or own.reading not in still}
    assert moving - seen - set(WITHOUT) == set()
