"""What is told: tables, singular systems, refusals. Texts in full."""

from __future__ import annotations

import textwrap
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from oracles import assert_close
from structure.cases import CASES, chain, hessian, plate

import nablax as nb
from nablax.endings.forms import Kind
from nablax.structure import operators, sparse


def structure(name: str) -> Any:
    return nb.curvature(CASES[name].f)(*CASES[name].arguments).structure


# -- the table -----------------------------------------------------------------------------------------


def test_the_table_of_several_leaves() -> None:
    found = structure("leaves that do not meet")
    expected = """\
        Hessian of 47 unknowns in 3 leaves: block diagonal
        rows   columns  kind                 detail  constant  stored  density
        ['u']  ['u']    diagonal                     no        6       0.17
        ['w']  ['w']    diagonal + low rank  rank 2  no        124     1
        ['z']  ['z']    diagonal                     no        1       1
        3 blocks: zero
        ['u']: diagonal, solved by division
        ['w']: diagonal + low rank (rank 2), solved by Woodbury's identity
        ['z']: diagonal, solved by division"""
    assert str(found) == repr(found) == textwrap.dedent(expected)
    assert found.stored == 131


def test_the_table_of_one_array() -> None:
    expected = """\
        Hessian of 100 unknowns
        rows  columns  kind       detail       constant  stored  density
        x     x        Kronecker  I(20) ⊗ 5×5  yes       25      0.05
        solved by LU of each factor"""
    assert str(structure("factorisation")) == textwrap.dedent(expected)


def test_blocks_between_leaves() -> None:
    found = structure("leaves that meet")
    block = found.block("['u']", "['w']")
    assert (block.kind, block.detail, block.constant) == (Kind.LOW_RANK, "rank 1", True)
    assert found.block("['u']", "['u']").constant is False
    assert found.block("['w']", "['u']").stored == block.stored == 6 + 40 + 1
    with pytest.raises(KeyError) as raised:
        found.block("u", "w")
    assert raised.value.args[0] == "no block ('u', 'w'); the leaves are ['u'], ['w']"


def test_zero_and_constant_blocks() -> None:
    found = nb.curvature(lambda p: jnp.sum(p[0]) + jnp.sum(p[1] ** 2))((np.ones(2), np.ones(3))).structure
    assert [block.kind for block in found.blocks] == [Kind.ZERO, Kind.ZERO, Kind.ZERO, Kind.DIAGONAL]
    assert [block.constant for block in found.blocks] == [True, True, True, True]
    assert found.kind is Kind.DIAGONAL
    assert found.block("[0]", "[0]").density == 0.0
    assert str(found).splitlines()[3] == "2 blocks: zero"


def test_structure_is_that_of_the_function_not_of_the_numbers() -> None:
    f = CASES["logistic"].f
    zeros = nb.curvature(f)(*(np.zeros_like(a) for a in CASES["logistic"].arguments)).structure
    assert zeros == structure("logistic")
    assert zeros.kind is Kind.DENSE


def test_structure_needs_no_numbers_of_large_arguments() -> None:
    # a million unknowns: a list of all values of the matrix would take 8 TB
    n = 10**6
    found = nb.curvature(lambda x, A: jnp.sum(x**4) + jnp.sum((A @ x) ** 2))(
        jax.ShapeDtypeStruct((n,), "float32"), jax.ShapeDtypeStruct((10, n), "float32")
    ).structure
    assert (found.kind, found.parts[0].detail) == (Kind.DIAGONAL_LOW_RANK, "rank 10")
    found = nb.curvature(chain)(jax.ShapeDtypeStruct((n,), "float32")).structure
    assert (found.kind, found.parts[0].detail, found.stored) == (Kind.BANDED, "width 1", 2 * n)


# -- singular systems ----------------------------------------------------------------------------------

SINGULAR = {
    "diagonal": (lambda x: x[0] ** 3 + jnp.sum(x), (np.ones(3),)),
    "zero": (lambda x: jnp.sum(x), (np.ones(3),)),
    "Kronecker": (lambda U, V: jnp.sum((U @ V) ** 2), (np.ones((6, 3)), np.eye(3)[:, :2])),
    "low rank": (lambda x, A: jnp.sum((A @ x) ** 2), (np.ones(20), np.eye(2, 20))),
    "tridiagonal": (lambda x: jnp.sum((x[1:] - x[:-1]) ** 2), (np.ones(8),)),
    "banded": (lambda x: jnp.sum((x[2:] - x[:-2]) ** 2), (np.ones(16),)),
    "sparse": (lambda u: jnp.sum((u[1:] - u[:-1]) ** 2) + jnp.sum((u[:, 1:] - u[:, :-1]) ** 2), (np.ones((6, 6)),)),
    "batch": (lambda X: jnp.sum(jnp.sum(X, axis=1) ** 2), (np.ones((5, 2)),)),
    "dense": (lambda x: jnp.sum(x) ** 2, (np.ones(2),)),
}


@pytest.mark.parametrize("name", SINGULAR)
def test_a_singular_hessian_is_told(name: str) -> None:
    f, arguments = SINGULAR[name]
    H = hessian(f, arguments)
    assert np.linalg.matrix_rank(H) < H.shape[0]
    c = nb.curvature(f)(*arguments)
    # not in the range: no solution exists, whatever rounding makes of the pivots
    b = np.linspace(1.0, 2.0, H.shape[0]).reshape(arguments[0].shape)
    solution = c.solution(b)
    if bool(solution.result == lx.RESULTS.successful):  # a pivot of rounding size: a huge answer, as LAPACK gives
        assert name in {"banded", "sparse", "tridiagonal"}
        assert np.abs(solution.value).max() > 1e8
        return
    assert bool(solution.result == lx.RESULTS.singular)
    with pytest.raises(eqx.EquinoxRuntimeError, match="A linear solver returned non-finite"):
        c.solve(b)
    assert float(c.logdet()) < -25.0
    if name in {"zero", "diagonal", "Kronecker", "low rank"}:
        assert [float(part) for part in c.slogdet()] == [0.0, -np.inf]


def test_a_right_hand_side_that_is_not_finite() -> None:
    c = nb.curvature(lambda x: jnp.sum(x**3))(np.ones(2))
    with pytest.raises(eqx.EquinoxRuntimeError, match="received non-finite"):
        c.solve(np.array([1.0, np.nan]))


def test_singular_inside_jit_raises_as_lineax_does() -> None:
    solve = jax.jit(lambda x: nb.curvature(lambda z: z[0] ** 3 + jnp.sum(z))(x).solve(jnp.ones(3)))
    with pytest.raises(Exception, match="non-finite"):
        jax.block_until_ready(solve(np.ones(3)))


# -- refusals ------------------------------------------------------------------------------------------


def test_a_large_dense_hessian_is_not_made_sparse() -> None:
    f = lambda x, A: jnp.sum(jnp.tanh(A @ x)) + jnp.sum(x**4)
    c = nb.curvature(f)(jax.ShapeDtypeStruct((100_000,), "float64"), jax.ShapeDtypeStruct((10, 100_000), "float64"))
    with pytest.raises(nb.MemoryBoundError) as raised:
        c.sparse()
    assert str(raised.value) == (
        "curvature.sparse was asked of a Hessian that is dense: its structure is 'diagonal + low rank', with "
        "10,000,000,000 values in a 100,000 × 100,000 matrix, 80,000,000,000 bytes. Ask for c.operator(), c.solve(b), "
        "c.diagonal() or products c @ v, which keep the structure."
    )


def test_a_right_hand_side_that_does_not_fit() -> None:
    c = nb.curvature(lambda x: jnp.sum(x**3))(np.ones(2))
    with pytest.raises(nb.ArgumentError) as raised:
        c.solve(np.ones(3))
    assert str(raised.value) == (
        "curvature.solve got a vector v whose leaf 0 has shape [3]; the differentiated argument has shape [2] there. "
        "Give v the shape of that argument."
    )


def test_a_large_dense_hessian_is_solved_by_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nablax.structure.whole.MOST_DENSE", 10)
    A = np.random.default_rng(3).normal(size=(40, 12))
    f = lambda p: jnp.sum((A @ p["x"] + p["y"]) ** 2) + jnp.sum(p["x"] ** 2) + jnp.sum(p["z"] ** 4)
    p = {"x": np.ones(12), "y": np.array(0.5), "z": np.ones(3)}
    c = nb.curvature(f)(p)
    assert c.structure.block("['x']", "['x']").kind is Kind.DENSE
    H = hessian(f, (p,))
    b = np.arange(16.0)
    x = c.solve({"x": b[:12], "y": b[12], "z": b[13:]})
    assert_close(np.concatenate([x["x"], [x["y"]], x["z"]]), np.linalg.solve(H, b), tolerance=1e-7)
    with pytest.raises(nb.MemoryBoundError) as raised:
        c.logdet()
    assert str(raised.value) == (
        "logdet was asked of a dense Hessian of 13 unknowns, 1,352 bytes; at most 10,000 are formed. Ask for products "
        "with vectors (c @ v), solves (c.solve) or the diagonal (c.diagonal()) instead."
    )


def test_a_large_sparse_hessian_inside_jit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "MOST_TRACED", 10)
    with pytest.raises(nb.MemoryBoundError) as raised:
        jax.jit(lambda u: nb.curvature(plate)(u).logdet())(np.ones((7, 9)))  # a size of its own: jit keeps traces
    assert str(raised.value) == (
        "logdet was asked, inside a transformation (jit, vmap, grad), of a sparse Hessian of 63 unknowns. There it "
        "would be made dense, 31,752 bytes; at most 10 unknowns are. Ask outside of the transformation, where it is "
        "factorised as a sparse matrix on the host."
    )


# -- numerics ------------------------------------------------------------------------------------------


def band(width: int, n: int, seed: int) -> tuple[Any, np.ndarray[Any, Any]]:
    """An indefinite band with zeros on the diagonal, on which elimination without row exchanges ends."""
    generator = np.random.default_rng(seed)
    bands = np.zeros((width + 1, n))
    for d in range(width + 1):
        bands[d, : n - d] = generator.normal(size=n - d)
    bands[0, ::3] = 0.0
    H = sum(np.diag(bands[d, : n - d], d) for d in range(width + 1))
    H = H + np.triu(H, 1).T
    return bands, H


@pytest.mark.parametrize(("width", "n"), [(1, 7), (2, 9), (3, 20), (3, 21), (5, 6)])
def test_bands_with_zeros_on_the_diagonal(width: int, n: int) -> None:
    from nablax.structure.banded import Banded

    bands, H = band(width, n, 10 * width + n)
    operator = Banded(jnp.asarray(bands))
    b = np.arange(1.0, n + 1)
    found = jax.jit(lambda m: (m.solved(b)[0], m.slogdet(), m.inverse_diagonal(), m._by_columns(), m.mv(b)))(operator)
    solution, (sign, logabsdet), inverse, columns, product = found
    tolerance = 1e-14 * np.linalg.cond(H) * n
    assert_close(product, H @ b)
    assert_close(solution, np.linalg.solve(H, b), tolerance=tolerance)
    assert_close([sign, logabsdet], np.linalg.slogdet(H), tolerance=tolerance)
    assert_close(columns, np.diag(np.linalg.inv(H)), tolerance=tolerance)
    assert_close(inverse, np.diag(np.linalg.inv(H)), tolerance=max(tolerance, 1e-6))


def test_the_diagonal_of_a_banded_inverse_is_checked() -> None:
    # the leading block is singular: Schur complements from the left divide by zero, the columns are right
    from nablax.structure.banded import Banded

    H = np.array([[0.0, 2.0, 0.0], [2.0, 0.0, 1.0], [0.0, 1.0, 3.0]])
    operator = Banded(jnp.array([[0.0, 0.0, 3.0], [2.0, 1.0, 0.0]]))
    _, error = operator._from_both_ends()
    assert not float(error) < 1e-8
    assert_close(operator.inverse_diagonal(), np.diag(np.linalg.inv(H)), condition=np.linalg.cond(H))


def test_woodbury_keeps_its_digits_with_a_wide_diagonal() -> None:
    from nablax.structure.low_rank import DiagonalPlusLowRank

    generator = np.random.default_rng(8)
    n, rank = 60, 6
    D = 10.0 ** generator.uniform(-12, 2, size=n)
    D[rank:] = np.abs(generator.normal(size=n - rank)) + 0.5  # as many tiny values as the rank makes good for
    W, C = generator.normal(size=(rank, n)), np.diag([3.0, -2.0, 1.0, 1.0, -1.0, 0.5])
    H = np.diag(D) + W.T @ C @ W
    operator = DiagonalPlusLowRank(jnp.asarray(D), jnp.asarray(W), jnp.asarray(C))
    b = generator.normal(size=n)
    tolerance = 1e-14 * np.linalg.cond(H) * n
    assert tolerance < 1e-7
    assert_close(operator.solved(jnp.asarray(b))[0], np.linalg.solve(H, b), tolerance=tolerance)
    assert_close(operator.inverse_diagonal(), np.diag(np.linalg.inv(H)), tolerance=tolerance)
    assert_close(operator.slogdet(), np.linalg.slogdet(H), tolerance=tolerance)


def test_permutations_have_a_parity() -> None:
    for permutation, sign in (([0, 1, 2], 1), ([1, 0, 2], -1), ([1, 2, 0], 1), ([3, 2, 1, 0], 1), ([], 1)):
        assert sparse._parity(permutation) == sign


def test_results_are_lineax_results() -> None:
    value, result = operators.outcome(jnp.array([1.0, jnp.inf]), jnp.ones(2))
    assert bool(result == lx.RESULTS.singular)
    assert value.shape == (2,)


def test_a_dense_hessian_is_not_listed() -> None:
    # 3,000 unknowns, three dense terms: listing their 27 million places would take seconds
    A = jax.ShapeDtypeStruct((4000, 3000), "float64")
    f = lambda x, A: jnp.sum(jnp.sin(A @ x)) * jnp.sum(jnp.cos(A @ x))
    before = time.process_time()
    assert nb.curvature(f)(jax.ShapeDtypeStruct((3000,), "float64"), A).structure.kind is Kind.DENSE
    assert time.process_time() - before < 2.0
