"""Sparse answers against dense ones: positions follow from index maps, once each, and no more of them than there are."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from oracles import assert_close

import nablax as nb
from nablax.endings import hosts
from nablax.graph import move

Function = Callable[..., Any]
TABLE = np.array([0, 2, 2, 5, 0, 0])
KNOWN = np.random.default_rng(1).normal(size=(6, 6))


def point(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(2).uniform(0.3, 1.2, size=shape)


def flat(f: Function, x: Any) -> tuple[Function, Any]:
    """The function of the ravelled argument with a ravelled result, and that argument."""
    vector, unravel = ravel_pytree(x)
    return lambda v: ravel_pytree(f(unravel(v)))[0], vector


def well_formed(found: Any) -> None:
    """Positions inside the matrix, none twice, and in order if it says so."""
    at = np.asarray(found.indices)
    assert at.shape == (found.nse, 2)
    assert found.unique_indices
    assert len({tuple(pair) for pair in at.tolist()}) == found.nse
    assert (at >= 0).all()
    assert (at < np.array(found.shape)).all()
    in_order = at.tolist() == sorted(at.tolist())
    assert not found.indices_sorted or in_order
    assert found.indices_sorted == in_order


def dense(found: Any) -> np.ndarray[Any, Any]:
    """The matrix; values at one position would be added up here too."""
    matrix, at = np.zeros(found.shape), np.asarray(found.indices)
    np.add.at(matrix, (at[:, 0], at[:, 1]), np.asarray(found.data))
    return matrix


def check_hessian(f: Function, x: Any, nse: int | None = None) -> Any:
    g, vector = flat(f, x)
    found = nb.hessian_sparse(f)(x)
    well_formed(found)
    assert_close(dense(found), jax.jit(jax.hessian(lambda v: g(v)[0]))(vector))
    assert nse is None or found.nse == nse
    return found


def check_jacobian(f: Function, x: Any, nse: int | None = None, strategy: str = "auto") -> Any:
    g, vector = flat(f, x)
    found = nb.jacobian_sparse(f, strategy=strategy)(x)
    well_formed(found)
    assert_close(dense(found), jax.jit(jax.jacfwd(g))(vector))
    assert nse is None or found.nse == nse
    return found


def second_difference(u: Any) -> Any:
    return u[2:] - 2.0 * u[1:-1] + u[:-2]


def laplacian_inside(u: Any) -> Any:
    return u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2] - 4.0 * u[1:-1, 1:-1]


def padded(u: Any) -> Any:
    return laplacian_inside(jnp.pad(u, 1))


def rosenbrock(x: Any) -> Any:
    return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def in_python(x: Any) -> Any:
    return sum(100.0 * (x[k + 1] - x[k] ** 2) ** 2 + (1.0 - x[k]) ** 2 for k in range(x.shape[0] - 1))


# -- Hessians ------------------------------------------------------------------------------------------

COUNTED: dict[str, tuple[Function, Any, int]] = {
    # function, argument, number of positions that a textbook counts
    "diagonal": (lambda x: jnp.sum(jnp.sin(x)), point(7), 7),
    "tridiagonal": (lambda x: jnp.sum((x[1:] - x[:-1]) ** 4), point(7), 3 * 7 - 2),
    "rosenbrock": (rosenbrock, point(6), 3 * 6 - 2),
    "rosenbrock in Python": (in_python, point(6), 3 * 6 - 2),
    "boundary": (lambda x: (x[0] - 1.0) ** 2 + jnp.sum((x[1:] - x[:-1]) ** 2), point(5), 3 * 5 - 2),
    "one boundary only": (lambda x: (x[0] - 1.0) ** 2, point(5), 1),
    "pentadiagonal": (lambda x: jnp.sum(second_difference(x) ** 2), point(8), 5 * 8 - 6),
    "periodic": (lambda x: jnp.sum((jnp.roll(x, 1) - x) ** 4), point(6), 3 * 6),
    "strided": (lambda x: jnp.sum(x[::2] ** 3 * x[1::2]), point(8), 4 * 3),
    "reversed": (lambda x: jnp.sum(x[::-1] * x**2), point(6), 2 * 6),
    "reversed, odd": (lambda x: jnp.sum(x[::-1] * x**2), point(5), 2 * 5 - 1),
    "product of neighbours": (lambda x: jnp.sum(x[1:] * x[:-1]), point(5), 2 * 4),
    "gather": (lambda x: jnp.sum(x[TABLE] ** 3), point(6), 3),
    "transposed": (lambda x: jnp.sum(x**2 * x.T), point(3, 3), 3 * 3 + 2 * 3),
    "reshaped": (lambda x: jnp.sum(x.reshape(3, 4)[1:] ** 2 * x.reshape(3, 4)[:-1]), point(12), 8 + 2 * 8),
    "linear": (lambda x: 3.0 * jnp.sum(x) + 1.0, point(4), 0),
    "constant": (lambda x: 2.0 + 0.0 * x[0], point(4), 0),
    "no unknowns": (lambda x: jnp.sum(x**2), point(0), 0),
    "one unknown": (lambda x: jnp.sum(x**3), point(1), 1),
    "scalar": (lambda x: x**3, np.float64(2.0), 1),
    "dense": (lambda x: jnp.sum(x) ** 2, point(4), 16),
    "log-sum-exp": (lambda x: jax.nn.logsumexp(x), point(4), 16),
}


@pytest.mark.parametrize("name", COUNTED)
def test_hessians_with_their_textbook_counts(name: str) -> None:
    f, x, nse = COUNTED[name]
    check_hessian(f, x, nse)


def test_five_point_least_squares_has_thirteen_points_a_row() -> None:
    n = 7
    inside = [(i, j) for i in range(n) for j in range(n)]
    # two unknowns meet where some residual sees both: at distance two in the grid's metric, padded with zeros
    near = sum(abs(a - c) + abs(b - d) <= 2 for a, b in inside for c, d in inside)
    found = check_hessian(lambda u: jnp.sum((padded(u) + 0.1 * u**3) ** 2), point(n, n), near)
    rows = np.bincount(np.asarray(found.indices)[:, 0], minlength=n * n).reshape(n, n)
    assert (rows[2:-2, 2:-2] == 13).all()


OTHERS: dict[str, tuple[Function, Any]] = {
    "5 points without padding": (lambda u: jnp.sum(laplacian_inside(u) ** 2), point(5, 6)),
    "padded in one dimension": (lambda u: jnp.sum(second_difference(jnp.pad(u, 1)) ** 2), point(6)),
    "padded by known edges": (lambda u: jnp.sum(second_difference(jnp.pad(u, 2, constant_values=1.0)) ** 4), point(5)),
    "edge padding": (lambda u: jnp.sum(jnp.diff(jnp.pad(u, 1, mode="edge")) ** 2), point(5)),
    "boundary on both sides": (
        lambda x: (x[0] - 1.0) ** 2 + x[-1] ** 4 + jnp.sum(x[1:] * x[:-1] ** 2) + x[0] * x[-1], point(5)
    ),
    "roll in two dimensions": (lambda u: jnp.sum((jnp.roll(u, (1, -1), (0, 1)) - u) ** 4), point(3, 4)),
    "gather of rows twice": (lambda u: jnp.sum(jnp.prod(u[jnp.array([[0, 1], [1, 1], [2, 0]])], axis=1)), point(3, 2)),
    "gathers that meet": (lambda x: jnp.sum(x[TABLE] ** 2 * x[TABLE[::-1]]), point(6)),
    "scatter": (lambda x: jnp.sum(jnp.zeros(4).at[jnp.array([0, 2, 2])].add(x) ** 3), point(3)),
    "reshape and transpose": (lambda x: jnp.sum(jnp.diff(x.reshape(2, 3).T, axis=0) ** 4), point(6)),
    "stack and concatenate": (
        lambda x: jnp.sum(jnp.stack([x[:2], x[2:]]) ** 2 * jnp.concatenate([x[1:], x[:1]]).reshape(2, 2)), point(4)
    ),
    "strided and reversed": (lambda x: jnp.sum(x[::-2] * x[1::2][:3] ** 2), point(6)),
    "matrix known": (lambda x: jnp.sum((KNOWN @ x) ** 3), point(6)),
    "matrix product": (lambda x: jnp.sum((x["a"] @ x["b"]) ** 2), {"a": point(2, 3), "b": point(3, 2)}),
    "several leaves": (
        lambda x: jnp.sum(x["u"][1:] * x["v"]) + x["w"] ** 2 * x["u"][0] + jnp.sum(x["v"] ** 3),
        {"u": point(4), "v": point(3), "w": np.float64(0.7)},
    ),
    "a leaf without elements": (lambda x: jnp.sum(x[0] ** 2) + jnp.sum(x[1]), [point(2), point(0)]),
    "a leaf that is not used": (lambda x: jnp.sum(x[0] ** 2), [point(2), point(3)]),
    "leaves in a tuple, twice the same": (lambda x: jnp.sum(x[0] * x[1]) + jnp.sum(x[0] * x[0]), (point(3), point(3))),
    "opaque": (lambda x: jnp.sum(jnp.sort(x)[1:] ** 3) + jnp.sum(jnp.cumsum(x) ** 2), point(4)),
    "scan": (lambda x: jax.lax.scan(lambda c, s: (jnp.sin(c) * s, None), 1.0, x)[0], point(4)),
    "where": (lambda x: jnp.sum(jnp.where(x > 0.7, x**2, jnp.roll(x, 1) ** 3)), point(5)),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_hessians_of_awkward_moves(name: str) -> None:
    check_hessian(*OTHERS[name])


# -- many values ---------------------------------------------------------------------------------------


def both_ways(x: Any) -> Any:
    """Sums of each row and of each column, squared, and neighbours (YATP1LS of CUTEst): blocks that meet on a diagonal."""
    u = x[:12].reshape(3, 4)
    return jnp.sum(jnp.sum(u**2, 0) ** 2) + jnp.sum(jnp.sum(jnp.sin(u), 1) ** 2) + rosenbrock(x) + x[-1] ** 2 * x[0]


MANY: dict[str, tuple[Function, Any]] = {
    **{name: COUNTED[name][:2] for name in ("rosenbrock in Python", "periodic", "gather", "reversed", "no unknowns")},
    **{name: OTHERS[name] for name in OTHERS if name not in ("opaque", "scan")},
    "rows and columns": (both_ways, point(13)),
    "five points": (lambda u: jnp.sum((padded(u) + 0.1 * u**3) ** 2), point(5, 5)),
}


@pytest.mark.parametrize("name", MANY)
def test_places_that_are_numbered_instead_of_sorted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    f, x = MANY[name]
    sorted_ones = nb.hessian_sparse(f)(x).nse
    monkeypatch.setattr(hosts, "LARGE", -1)
    monkeypatch.setattr(hosts, "CHUNK", 3)
    monkeypatch.setattr(move, "FOLDED", 0)
    check_hessian(lambda x: f(x), x, sorted_ones)


# -- Jacobians -----------------------------------------------------------------------------------------

MAPS: dict[str, tuple[Function, Any, int | None]] = {
    "diagonal": (jnp.sin, point(4), 4),
    "first differences": (lambda x: x[1:] - x[:-1] ** 2, point(5), 8),
    "second differences": (second_difference, point(6), 12),
    "padded": (lambda x: second_difference(jnp.pad(x, 1)), point(5), 13),
    "5 points": (padded, point(4, 4), 5 * 16 - 4 * 4),
    "gather": (lambda x: x[TABLE] ** 2, point(6), 6),
    "roll": (lambda x: jnp.roll(x, 2) * x, point(5), 10),
    "identity": (lambda x: x, point(3), 3),
    "transpose": (lambda x: x.T, point(2, 3), 6),
    "reversed": (lambda x: x[::-1], point(3), 3),
    "sum": (jnp.sum, point(3), 3),
    "broadcast": (lambda x: jnp.broadcast_to(x, (2, 3)) * 2.0, point(3), 6),
    "scalar": (lambda x: x**2, np.float64(3.0), 1),
    "constant": (lambda x: jnp.ones(3), point(2), 0),
    "no results": (lambda x: x[:0], point(2), 0),
    "no unknowns": (lambda x: jnp.sum(x) * jnp.ones(3), point(0), 0),
    "dense, known": (lambda x: KNOWN[:2] @ x, point(6), 12),
    "tree to tree": (
        lambda x: {"b": x["u"][1:] * x["w"], "a": jnp.sum(x["u"])}, {"u": point(3), "w": np.float64(2.0)}, None
    ),
    "opaque": (lambda x: jnp.cumsum(x) * jnp.sort(x), point(4), None),
}  # fmt: skip


@pytest.mark.parametrize("strategy", ["auto", "legs-forward"])
@pytest.mark.parametrize("name", MAPS)
def test_jacobians(name: str, strategy: str) -> None:
    f, x, nse = MAPS[name]
    check_jacobian(f, x, nse, strategy)


# -- in company ----------------------------------------------------------------------------------------


def test_single_precision_stays_single() -> None:
    x = point(6).astype(np.float32)
    for found, want in (
        (nb.hessian_sparse(rosenbrock)(x), jax.jit(jax.hessian(rosenbrock))(x)),
        (nb.jacobian_sparse(second_difference)(x), jax.jit(jax.jacfwd(second_difference))(x)),
    ):
        assert found.dtype == np.float32
        assert_close(dense(found), want, "float32")


def test_under_jit_vmap_and_grad() -> None:
    x, batch = point(6), np.random.default_rng(3).normal(size=(3, 6))
    want = jax.jit(jax.hessian(rosenbrock))
    assert_close(jax.jit(lambda x: nb.hessian_sparse(rosenbrock)(x).todense())(x), want(x))
    assert_close(jax.jit(nb.hessian_sparse(rosenbrock))(x).todense(), want(x))
    got = jax.jit(jax.vmap(lambda x: nb.hessian_sparse(rosenbrock)(x).todense()))(batch)
    assert_close(got, jax.vmap(want)(batch))

    def of_values(x: Any) -> Any:
        return jnp.sum(jnp.sin(nb.hessian_sparse(rosenbrock)(x).data / 100.0))

    def of_places(x: Any) -> Any:
        at = np.asarray(nb.hessian_sparse(rosenbrock)(point(6)).indices)
        return jnp.sum(jnp.sin(jax.hessian(rosenbrock)(x)[at[:, 0], at[:, 1]] / 100.0))

    assert_close(jax.jit(jax.grad(of_values))(x), jax.jit(jax.grad(of_places))(x))


def test_over_data_and_closures() -> None:
    x, targets = point(4), np.random.default_rng(4).normal(size=(3, 4))

    def misfit(x: Any, target: Any) -> Any:
        return jnp.sum((x[1:] * x[:-1] - target[1:]) ** 2)

    want = jax.jit(jax.vmap(lambda t: jax.hessian(misfit)(x, t)))(targets)
    assert_close(jax.jit(jax.vmap(lambda t: nb.hessian_sparse(misfit)(x, t).todense()))(targets), want)
    assert_close(jax.vmap(lambda t: nb.hessian_sparse(lambda y: misfit(y, t))(x).todense())(targets), want)
    assert_close(dense(nb.hessian_sparse(misfit, argnums=(0, 1))(x, targets[0]))[:4, :4], want[0])


def test_the_positions_of_all_calls_are_one_array() -> None:
    f = nb.hessian_sparse(lambda x: jnp.sum(x[1:] * x[:-1] ** 2))
    assert f(jnp.ones(4)).indices is f(jnp.arange(4.0)).indices


def test_another_shape_gets_its_own_positions() -> None:
    sparse = nb.hessian_sparse(rosenbrock)
    assert [sparse(point(n)).nse for n in (3, 6, 3)] == [7, 16, 7]


def test_has_aux_comes_with_the_matrix() -> None:
    found, aux = nb.hessian_sparse(lambda x: (rosenbrock(x), {"norm": jnp.sum(x)}), has_aux=True)(point(4))
    assert_close(dense(found), jax.jit(jax.hessian(rosenbrock))(point(4)))
    assert_close(aux["norm"], point(4).sum())


@pytest.mark.parametrize(
    ("verb", "name"), [(nb.hessian_sparse, "sparse hessian"), (nb.jacobian_sparse, "sparse jacobian")]
)
def test_what_is_dense_and_huge_is_refused(verb: Any, name: str) -> None:
    n = 20_000
    text = (
        f"the question {name!r} was asked of a function whose derivative is dense: its terms hold 400,000,000 values "
        "in a 20,000 × 20,000 matrix, 1,600,000,000 bytes. Ask for the diagonal, the trace or products with vectors "
        "(nablax.hvp) instead."
    )
    f = (lambda x: jnp.sum(x) ** 2) if verb is nb.hessian_sparse else (lambda x: jnp.sum(x) * jnp.ones(n))
    with pytest.raises(nb.MemoryBoundError, match=f"^{re.escape(text)}$"):
        verb(f)(np.ones(n, np.float32))


@pytest.mark.parametrize("start", [0, 3])
def test_a_dense_block_takes_in_what_stands_inside_it(start: int) -> None:
    """The mean of all variables beside a chain (FMINSURF of CUTEst); with a start, part of the chain is outside."""

    def f(x: Any) -> Any:
        return rosenbrock(x) + jnp.sum(x[start:] * jnp.arange(12 - start)) ** 2 + jnp.sum(x[TABLE + 3] ** 3)

    x = point(12)
    found = nb.hessian_sparse(f)(x)
    well_formed(found)
    assert_close(dense(found), jax.jit(jax.hessian(f))(x))
    assert found.nse == (144 if start == 0 else 81 + 9)
