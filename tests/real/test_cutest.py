"""The unconstrained problems of CUTEst, from 2 to 123,200 unknowns: every verb against JAX, none of them left out.

Where a dense Hessian is too large, products with random vectors stand for it, and the sparse matrix for its diagonal.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close, direction
from real.cutest import Problem, names, problem

import nablax as nb

DENSE = 300  # unknowns of a Hessian that is made
QUICK = ("AKIVA", "HAHN1LS", "HELIX", "INTEQNELS", "LUKSAN17LS", "CHAINWOO", "INDEF")
# Beyond so many entries a pattern takes gigabytes while it is planned; these two are asked for in a process of their own.
# 350 sums over rows and as many over columns of a matrix, each squared, which meet on the diagonal: 350² · 699; and each
# element with two further unknowns, y_i and z_j, which meet each other for all i and j in the first, for i = j in the other.
LARGEST = {
    "YATP1CLS": 350**2 * 699 + 4 * 350**2 + 2 * 350 + 2 * 350**2, "YATP1LS": 350**2 * 699 + 4 * 350**2 + 2 * 350 + 2 * 350,
}  # fmt: skip
# Differences of nearly equal exponentials, powers of large numbers: the function itself loses digits.
TOLERANCE = 1e-9
# Stored entries, so that no pattern grows unseen; what couples all unknowns is stored in full.
COUNTS = {
    "BROYDN3DLS": 24_994, "CRAGGLVY": 14_998, "CURLY10": 209_890, "DIXMAANB": 14_998, "EG2": 2_996, "EDENSCH": 5_998,
    "EIGENALS": 2_550**2, "FLETCHCR": 2_998, "GENROSE": 1_498,
}  # fmt: skip


def checked(found: Any, want: Any, what: str, scale: float | None = None) -> None:
    assert_close(found, want, what=what, tolerance=TOLERANCE, scale=scale)


def check_dense(given: Problem) -> None:
    f, x = given.f, given.x
    v = direction(x.shape)
    gradient, hessian = jax.jit(lambda x: (jax.grad(f)(x), jax.hessian(f)(x)))(x)
    hessian = np.asarray(hessian)
    assert np.isfinite(hessian).all()

    def asked(x: Any) -> Any:
        return (
            nb.jacobian(f)(x), nb.hessian(f)(x), nb.hessian_diagonal(f)(x), nb.laplacian(f)(x), nb.hvp(f)(x, v),
            nb.quadratic_form(f)(x, v),
        )  # fmt: skip

    found = jax.jit(asked)(x)
    size = float(np.abs(hessian).max()) or 1.0
    checked(found[0], gradient, "gradient")
    checked(found[1], hessian, "Hessian", size)
    checked(found[2], np.diag(hessian), "diagonal", size)
    checked(found[3], np.trace(hessian), "Laplacian", size * x.size)
    checked(found[4], hessian @ v, "H v", size * x.size)
    checked(found[5], v @ hessian @ v, "v'H v", size * x.size**2)
    checked(nb.hessian_sparse(f)(x).todense(), hessian, "sparse", size)


def check_products(name: str, given: Problem) -> None:
    f, x = given.f, given.x
    u, v = np.random.default_rng(5).normal(size=(2, x.size))
    gradient, *want = jax.jit(lambda x: (jax.grad(f)(x), *(jax.jvp(jax.grad(f), (x,), (w,))[1] for w in (u, v))))(x)
    assert np.isfinite(want).all()
    found = jax.jit(lambda x: (nb.jacobian(f)(x), nb.hessian_diagonal(f)(x), nb.laplacian(f)(x), nb.hvp(f)(x, v)))(x)
    form = jax.jit(lambda x: nb.quadratic_form(f)(x, v))(x)
    checked(found[0], gradient, "gradient")
    checked(found[3], want[1], "H v")
    checked(form, v @ np.asarray(want[1]), "v'H v", float(np.abs(v) @ np.abs(want[1])))
    sparse = nb.hessian_sparse(f)(x)
    at, values = np.asarray(sparse.indices), np.asarray(sparse.data)
    for w, product in zip((u, v), want, strict=True):
        checked(np.bincount(at[:, 0], values * w[at[:, 1]], x.size), product, "sparse H v")
    diagonal = np.bincount(at[at[:, 0] == at[:, 1], 0], values[at[:, 0] == at[:, 1]], x.size)
    size = float(np.abs(values).max(initial=0.0)) or 1.0
    checked(found[1], diagonal, "diagonal", size)
    checked(found[2], diagonal.sum(), "Laplacian", float(np.abs(diagonal).sum()) or 1.0)
    if name in COUNTS:
        assert sparse.nse == COUNTS[name]


@pytest.mark.parametrize("name", QUICK)
def test_a_selection(name: str) -> None:
    check(name)


def check(name: str) -> None:
    given = problem(name)
    if given.x.size <= DENSE:
        check_dense(given)
    else:
        check_products(name, given)


@pytest.mark.exhaustive
@pytest.mark.parametrize("part", range(8))
def test_all(part: int) -> None:
    """All problems in parts of equal weight; one that fails does not keep the others from being asked."""
    wrong = []
    for name in [name for name in names() if name not in LARGEST][part::8]:
        try:
            check(name)
        except Exception as error:
            wrong.append(f"{name}: {type(error).__name__}: {str(error)[:400]}")
        jax.clear_caches()
    assert not wrong, "\n".join(wrong)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", LARGEST)
def test_eighty_six_million_entries(name: str) -> None:
    given = problem(name)
    v = np.random.default_rng(6).normal(size=given.x.size)
    sparse = nb.hessian_sparse(given.f)(given.x)
    assert sparse.nse == LARGEST[name]
    want = jax.jit(lambda x: jax.jvp(jax.grad(given.f), (x,), (jnp.asarray(v),))[1])(given.x)
    at, values = np.asarray(sparse.indices), np.asarray(sparse.data)
    checked(np.bincount(at[:, 0], values * v[at[:, 1]], given.x.size), want, "sparse H v")
