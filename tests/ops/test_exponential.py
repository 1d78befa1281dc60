"""The exponential of a matrix: every verb against blocks of a larger exponential, by SciPy.

The second derivative along E and F is the last block of the first row of exp of a matrix of 4 by 4 blocks; the first
one stands beside it (Higham 2008, equation 3.16, twice).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from oracles import assert_close, check_every_verb

import nablax as nb
from nablax.graph.node import Node, reachable
from nablax.ops import exponential, library_functions
from nablax.ops.kinds import Opaque
from nablax.planning.question import pose

expm = jax.scipy.linalg.expm
RANDOM = np.random.default_rng(3)
JORDAN = np.diag([0.7] * 3) + np.diag([1.0, 1.0], 1)  # defective: one eigenvector
MATRICES = {
    "zero": np.zeros((3, 3)),
    "small": 1e-3 * RANDOM.normal(size=(3, 3)),
    "any": RANDOM.normal(size=(3, 3)),
    "defective": JORDAN,
    "defective and turned": np.linalg.inv(MATRIX := RANDOM.normal(size=(3, 3))) @ JORDAN @ MATRIX,
    "far from normal": np.array([[-1.0, 60.0, 3.0], [0.0, -1.1, 40.0], [0.0, 0.0, -0.9]]),
    "many squarings": np.array([[0.0, 300.0, 1.0], [-300.0, 0.0, 0.0], [0.0, 2.0, -40.0]]),
    "ten rows": RANDOM.normal(size=(10, 10)) / 2,
    "ten small rows": 1e-3 * RANDOM.normal(size=(10, 10)),
    "one": np.array([[0.3]]),
}


def derivatives(a: Any, e: Any, f: Any) -> tuple[Any, Any, Any]:
    """The exponential, and its derivatives along E and along E and F."""
    zero = np.zeros_like(a)
    found = scipy.linalg.expm(
        np.block([[a, e, f, zero], [zero, a, zero, f], [zero, zero, a, e], [zero, zero, zero, a]])
    )
    n = len(a)
    return found[:n, :n], found[:n, n : 2 * n], found[:n, 3 * n :]


def units(n: int) -> list[Any]:
    return list(np.eye(n * n).reshape(-1, n, n))


def hessian_of(a: Any, weights: Any) -> Any:
    """The Hessian of sum(weights * Y + Y²/2), Y = exp A, entry by entry."""
    n = len(a)
    value = scipy.linalg.expm(a)
    slopes = np.stack([derivatives(a, e, e)[1] for e in units(n)]).reshape(n * n, n * n)
    curved = [[np.sum((weights + value) * derivatives(a, e, f)[2]) for f in units(n)] for e in units(n)]
    return np.array(curved) + slopes @ slopes.T


def asked(weights: Any) -> Callable[[Any], Any]:
    return lambda a: jnp.sum(weights * expm(a) + expm(a) ** 2 / 2)


@pytest.mark.parametrize(
    "name", ["zero", "small", "any", "defective", "defective and turned", "far from normal", "one"]
)
def test_every_verb(name: str) -> None:
    a = MATRICES[name]
    weights = np.cos(np.arange(a.size)).reshape(a.shape)
    check_every_verb(asked(weights), a, hessian=hessian_of(a, weights), tolerance=1e-11)


TOLERANCES = {"far from normal": 1e-10, "many squarings": 1e-9}


@pytest.mark.parametrize("name", [name for name in MATRICES if name not in ("small", "any", "defective")])
def test_along_two_directions(name: str) -> None:
    a, tolerance = MATRICES[name], TOLERANCES.get(name, 1e-12)
    n, ramp = len(a), np.arange(a.size).reshape(a.shape)
    weights, e = np.cos(ramp), np.sin(ramp + 1)
    value, slope, _ = derivatives(a, e, e)
    slopes = np.stack([derivatives(a, f, f)[1] for f in units(n)]).reshape(n, n, n, n)
    curved = [np.sum((weights + value) * derivatives(a, e, f)[2]) for f in units(n)]
    want = np.reshape(curved, (n, n)) + np.tensordot(slopes, slope, 2)
    assert_close(np.tensordot(nb.hessian(asked(weights))(a), e, 2), want, tolerance=tolerance)
    assert_close(nb.hvp(asked(weights))(a, e), want, tolerance=tolerance)
    assert_close(np.tensordot(nb.jacobian(expm)(a), e, 2), slope, tolerance=tolerance)


def test_third_order() -> None:
    """Along E, which commutes with A, the trace of exp A has the third derivative tr(E³ exp A)."""
    e = JORDAN @ JORDAN - JORDAN
    found = nb.derivative_along(lambda a: jnp.trace(expm(a) @ e), 3)(JORDAN, [e, e, e])
    assert_close(found, np.trace(e @ e @ e @ e @ scipy.linalg.expm(JORDAN)), tolerance=1e-11)
    f = lambda a: jnp.sum(expm(a)[0] ** 2)
    assert_close(
        nb.derivative(f, 3)(0.3 * MATRICES["any"]), jax.jacfwd(jax.hessian(f))(0.3 * MATRICES["any"]), tolerance=1e-11
    )


def test_single_precision() -> None:
    a = MATRICES["any"]
    weights = np.cos(np.arange(a.size)).reshape(a.shape)
    found = nb.hessian(asked(weights.astype(np.float32)))(a.astype(np.float32))
    assert found.dtype == np.float32
    assert_close(found.reshape(9, 9), hessian_of(a.astype(np.float32).astype(float), weights), tolerance=3e-6)


STACK = np.stack([MATRICES["any"], MATRICES["zero"], JORDAN, 4 * MATRICES["any"]])
OVER_STACKS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "a stack": (expm, STACK),
    "mapped": (jax.vmap(expm), STACK),
    "mapped along the last axis": (lambda a: jax.vmap(expm, in_axes=-1, out_axes=-1)(a), np.moveaxis(STACK, 0, -1)),
    "mapped twice": (jax.vmap(jax.vmap(expm)), STACK.reshape(2, 2, 3, 3)),
    "mapped over stacks": (jax.vmap(expm), STACK.reshape(2, 2, 3, 3)),
    "in a loop": (lambda a: jax.lax.map(expm, a), STACK[:2]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OVER_STACKS)
def test_stacks(name: str) -> None:
    function, stack = OVER_STACKS[name]
    matrices = np.moveaxis(stack, -1, 0) if name == "mapped along the last axis" else stack.reshape(-1, 3, 3)
    want = scipy.linalg.block_diag(*(hessian_of(a, 0.0) for a in matrices))
    if name == "mapped along the last axis":
        want = np.moveaxis(want.reshape(4, 9, 4, 9), (0, 2), (1, 3)).reshape(36, 36)
    f = lambda a: jnp.sum(function(a) ** 2) / 2
    assert_close(np.reshape(nb.hessian(f)(stack), want.shape), want, tolerance=1e-10)
    assert_close(nb.hessian_diagonal(f)(stack).ravel(), np.diag(want), tolerance=1e-10)


def test_a_stack_couples_no_two_matrices() -> None:
    stored = nb.hessian_sparse(lambda a: jnp.sum(expm(a.reshape(4, 2, 2)) ** 2))(np.arange(16.0) / 8)
    assert stored.nse == 4 * 4 * 4


def opaque(f: Callable[[Any], Any], a: Any) -> list[str]:
    nodes: list[Node] = reachable(pose(lambda x: jnp.sum(f(x)), [a], [0], scalar="").outputs)
    return [node.kind.name for node in nodes if isinstance(node.kind, Opaque)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_is_one_operation(dtype: str) -> None:
    a = STACK.astype(dtype)
    for f in (
        lambda x: expm(x[0]),
        expm,
        jax.vmap(expm),
        lambda x: expm(x[0], max_squarings=3),
        lambda x: expm(x[0]) * expm(x[0]),
    ):
        assert opaque(f, a) == ["expm"]
    assert "expm second derivative by JAX" in "\n".join(nb.plan(lambda x: jnp.sum(expm(x[0])), "hessian")(a).steps)


def test_a_function_of_the_same_name_is_none() -> None:
    def own(a: Any) -> Any:
        return jnp.sinh(a)

    own.__name__ = "expm"
    assert opaque(jax.jit(own), JORDAN) == []


def test_a_triangular_one_is_read_as_it_is_written() -> None:
    """Its value depends on the other triangle in a way of JAX's own; along triangular directions it is the same."""
    f = lambda a: jnp.sum(expm(jnp.triu(a), upper_triangular=True) ** 2)
    a = JORDAN + 0.1
    assert "expm" not in opaque(lambda x: expm(x, upper_triangular=True), a)
    plain = lambda a: jnp.sum(expm(jnp.triu(a)) ** 2)
    check_every_verb(f, a, hessian=np.asarray(nb.hessian(plain)(a)).reshape(9, 9), tolerance=1e-11)
    whole = lambda a: jnp.sum(expm(a, upper_triangular=True) ** 2)
    assert_close(nb.hessian(whole)(np.triu(a)), jax.hessian(whole)(np.triu(a)), tolerance=1e-11)


def test_more_squarings_than_allowed_give_nan_as_in_jax() -> None:
    for size in (5.0, 11.0, 43.0, 85.0, 87.0):
        a = np.diag([size, -size])
        value = nb.curvature(lambda x: expm(x, max_squarings=3)[0, 0])(a).value
        assert np.isnan(value) == np.isnan(expm(a, max_squarings=3)[0, 0]), size
        if not np.isnan(value):
            assert_close(value, np.exp(size), tolerance=1e-11 * np.exp(size))


def coefficients(polynomial: Callable[[Any], Any], degree: int) -> list[Fraction]:
    """Each coefficient times k! of a polynomial of a matrix: of the powers of a shift, which are unit diagonals."""
    shift = np.diag(np.ones(degree), 1)
    row, factorial, found = np.asarray(polynomial(jnp.asarray(shift)))[0], 1, []
    for k, value in enumerate(row):
        factorial *= max(k, 1)
        found.append(Fraction(float(value)) * factorial)
    return found


@pytest.mark.parametrize(("degree", "polynomial"), [(8, exponential._degree_8), (18, exponential._degree_18)])
def test_the_polynomials_are_taylor_s(degree: int, polynomial: Callable[[Any], Any]) -> None:
    for k, value in enumerate(coefficients(polynomial, degree)):
        assert abs(value - 1) < 1e-13, k


def test_a_falsified_row_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    row = library_functions.ROWS["expm"]
    a, weights = MATRICES["any"], np.ones((3, 3))
    want = hessian_of(a, weights)
    fields = {name: getattr(row, name) for name in row.__slots__}
    wrong = lambda *arrays, **options: 1.01 * row.second(*arrays, **options)
    monkeypatch.setitem(library_functions.ROWS, "expm", type(row)(**fields | {"second": wrong}))
    with pytest.raises(AssertionError):
        assert_close(nb.hessian(asked(weights))(a).reshape(9, 9), want, tolerance=1e-11)
