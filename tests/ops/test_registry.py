"""One declaration makes an operation known everywhere: three that nablax does not know, each declared here alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from oracles import assert_close, check_every_verb

import nablax as nb
from nablax.graph.node import reachable
from nablax.ops.elementwise import REAL, ROWS, ElementwiseRow
from nablax.ops.kinds import Elementwise, MatrixFunction, Opaque
from nablax.ops.linear_map import Along, LinearRow
from nablax.ops.matrix_row import MatrixRow, network
from nablax.ops.registry import known
from nablax.planning.question import pose

# -- elementwise: a primitive of its own, as jax.lax.cbrt is one ---------------------------------------------------------

bump_p = Primitive("bump")


def bump(x: Any) -> Any:
    """1 / (1 + x²)."""
    return bump_p.bind(x)


bump_p.def_impl(lambda x: 1 / (1 + x * x))
bump_p.def_abstract_eval(lambda x: x)
mlir.register_lowering(bump_p, mlir.lower_fun(lambda x: 1 / (1 + x * x), multiple_results=False))
ad.defjvp(bump_p, lambda t, x: -2 * x * bump(x) ** 2 * t)
batching.defvectorized(bump_p)

BUMP = ElementwiseRow("bump", (REAL,))

# -- linear: differences around a ring, along the last axis -------------------------------------------------------------


@jax.jit
def around(x: Any) -> Any:
    """Each element minus the one before it."""
    return x - jnp.roll(x, 1, -1)


AROUND = LinearRow(
    "around", lambda x: x - jnp.roll(x, 1, -1), lambda made, given: 2.0 * made[0], ((5,), {}), function=around,
    reads=lambda params, given, made: Along((len(given) - 1,), {len(given) - 1: given[-1]}),
)  # fmt: skip

# -- a matrix function with two values: the inverse and the determinant --------------------------------------------------


@jax.jit
def inverse_and_volume(x: Any) -> Any:
    """The inverse of a matrix and its determinant."""
    return jnp.linalg.inv(x), jnp.linalg.det(x)


def slopes(graph: Any, y: Any, inputs: Any, *, output: int) -> Mapping[int, list[Any]]:
    """The slope of the inverse is minus the inverse twice, of the determinant itself times the inverse."""
    [x] = inputs
    inverse = graph.matrix_function("inverse_and_volume", (x,), x.shape, output=0)
    factors = [(inverse, "ik"), (inverse, "lj")] if output == 0 else [(y, ""), (inverse, "lk")]
    return {
        0: [network(-1.0 if output == 0 else 1.0, factors, (y.shape, "ij" if output == 0 else ""), (x.shape, "kl"))]
    }


INVERSE_AND_VOLUME = MatrixRow(
    "inverse_and_volume", inverse_and_volume, slopes, lambda y, x, *_: 2.0 * x[-1] ** 3,
    lambda g: ((g.normal(size=(3, 3)) + 3 * np.eye(3),), {"output": 0}), shapes=lambda x: (x, x[:-2]),
    function=inverse_and_volume,
)  # fmt: skip

X = np.array([[3.0, 0.4, -0.2], [0.1, 2.5, 0.7], [-0.6, 0.3, 4.0]])
DECLARED: dict[str, tuple[Any, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "bump": (
        BUMP, lambda x: jnp.sum(bump(x[0] * x[1])) + jnp.sum(bump(x)), lambda x: jnp.sum(1 / (1 + (x[0] * x[1]) ** 2)) + jnp.sum(1 / (1 + x**2))
    ),
    "around": (
        AROUND, lambda x: jnp.sum(jnp.tanh(around(jnp.sin(x)))), lambda x: jnp.sum(jnp.tanh(jnp.sin(x) - jnp.roll(jnp.sin(x), 1, 1)))
    ),
    "inverse_and_volume": (
        INVERSE_AND_VOLUME, lambda x: jnp.sum(inverse_and_volume(x)[0] ** 2) * inverse_and_volume(x)[1],
        lambda x: jnp.sum(jnp.linalg.inv(x) ** 2) * jnp.linalg.det(x),
    ),
}  # fmt: skip


ALONE: dict[str, Callable[[Any], Any]] = {
    "bump": lambda x: jnp.sum(bump(x)),
    "around": lambda x: jnp.sum(jnp.sin(around(x))),
    "inverse_and_volume": lambda x: jnp.sum(inverse_and_volume(x)[0]) + inverse_and_volume(x)[1],
}


@pytest.fixture(params=sorted(DECLARED))
def declared(request: pytest.FixtureRequest) -> Iterator[tuple[str, Callable[[Any], Any], Callable[[Any], Any]]]:
    row, f, plain = DECLARED[request.param]
    with known(row):
        yield request.param, lambda x: f(x), plain  # a new function each time: no plan is remembered


def test_every_verb(declared: Any) -> None:
    _, f, plain = declared
    check_every_verb(f, X, hessian=jax.hessian(lambda v: plain(v.reshape(3, 3)))(X.ravel()), tolerance=1e-9)


def test_products_jacobians_and_sparse_hessians(declared: Any) -> None:
    _, f, plain = declared
    want = jax.hessian(plain)(X)
    assert_close(nb.jacobian(lambda x: f(x) * x)(X), jax.jacobian(lambda x: plain(x) * x)(X))
    sparse = nb.hessian_sparse(lambda v: f(v.reshape(3, 3)))(X.ravel())
    assert_close(sparse.todense(), want.reshape(9, 9))
    assert_close(nb.curvature(f)(X).gradient, jax.grad(plain)(X))
    third = nb.derivative_along(f, 3)(X, [np.ones((3, 3))] * 3)
    along = lambda t: plain(X + t)
    assert_close(third, jax.grad(jax.grad(jax.grad(along)))(0.0), tolerance=1e-8)


def test_it_is_read_explained_and_printed(declared: Any) -> None:
    name, f, _ = declared
    problem = pose(f, [X], [0], scalar="")
    nodes = reachable(problem.outputs)
    assert not any(isinstance(n.kind, Opaque) for n in nodes)
    kinds = {"bump": Elementwise, "inverse_and_volume": MatrixFunction}
    assert name not in kinds or any(isinstance(n.kind, kinds[name]) for n in nodes)
    alone = ALONE[name]
    plan = nb.plan(lambda x: alone(x), "diagonal")(X)
    assert name in "\n".join(plan.steps)
    assert name in str(plan)
    if name != "around":  # the matrix of a linear map is a constant of the picture
        assert name.replace("_", " ") in str(nb.graph(lambda x: alone(x))(X)).replace("_", " ")


def test_a_declaration_holds_for_a_while() -> None:
    assert "bump" not in ROWS
    with known(BUMP):
        assert ROWS["bump"] is BUMP
    assert "bump" not in ROWS
