"""Every structure against NumPy on the dense Hessian."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from oracles import assert_close
from structure.cases import CASES, hessian, hessian_of, vector_like

import nablax as nb


def asked(operator: Any, v: Any) -> Any:
    """What lineax asks of an operator: products, also transposed and of a batch, its matrix, its diagonal."""
    products = jnp.stack([operator.mv(v), operator.T.mv(v), jax.vmap(operator.mv)(jnp.stack([v, 2 * v]))[1]])
    return products, operator.as_matrix(), lx.diagonal(operator)


def flat(tree: Any) -> np.ndarray[Any, Any]:
    return np.asarray(ravel_pytree(tree)[0])


@pytest.mark.parametrize("name", CASES)
def test_all_answers(name: str) -> None:
    case = CASES[name]
    c = nb.curvature(case.f)(*case.arguments)
    H = hessian_of(name)
    assert np.linalg.cond(H) < 1e6, "a case that tells something"
    v, tree = vector_like(case.arguments[0])

    if len(c.structure.parts) == 1:
        assert (c.structure.kind, c.structure.parts[0].detail) == (case.kind, case.detail)
    assert c.structure.kind is case.kind
    M, unravel = c.matrix()
    assert_close(M, H)
    assert jax.tree.structure(unravel(v)) == jax.tree.structure(case.arguments[0])
    assert_close(c.sparse().todense(), H)

    operator = c.operator()
    assert lx.is_symmetric(operator)
    assert operator.in_size() == operator.out_size() == H.shape[0]
    products, matrix, diagonal = jax.jit(asked)(operator, v)
    assert_close(products, np.stack([H @ v, H @ v, 2 * (H @ v)]))
    assert_close(matrix, H)
    assert_close(diagonal, np.diag(H))

    x = c.solve(tree)
    assert jax.tree.structure(x) == jax.tree.structure(case.arguments[0])
    assert [np.shape(leaf) for leaf in jax.tree.leaves(x)] == [np.shape(leaf) for leaf in jax.tree.leaves(tree)]
    assert_close(flat(x), np.linalg.solve(H, v), condition=np.linalg.cond(H))
    sign, logabsdet = np.linalg.slogdet(H)
    assert_close(c.logdet(), logabsdet, condition=np.linalg.cond(H))
    assert_close(c.slogdet()[0], sign, condition=np.linalg.cond(H))
    assert_close(flat(c.inverse_diagonal()), np.diag(np.linalg.inv(H)), condition=np.linalg.cond(H))


def test_the_cases_are_indefinite_often_enough() -> None:
    signs = [np.linalg.eigvalsh(hessian_of(name)) for name in CASES]
    assert sum(values[0] < 0 < values[-1] for values in signs) >= 8


@pytest.mark.parametrize("name", ["separable", "factorisation", "rank 10", "chain", "plate", "batch", "logistic"])
def test_inside_jit(name: str) -> None:
    case = CASES[name]
    H = hessian_of(name)
    v, tree = vector_like(case.arguments[0])

    @jax.jit
    def answers(arguments: Any, b: Any) -> Any:
        c = nb.curvature(case.f)(*arguments)
        return c.solve(b), c.logdet(), c.inverse_diagonal(), c.matrix()[0]

    x, logabsdet, inverse, M = answers(case.arguments, tree)
    assert_close(flat(x), np.linalg.solve(H, v), condition=np.linalg.cond(H))
    assert_close(logabsdet, np.linalg.slogdet(H)[1], condition=np.linalg.cond(H))
    assert_close(flat(inverse), np.diag(np.linalg.inv(H)), condition=np.linalg.cond(H))
    assert_close(M, H)


def test_under_vmap_and_grad() -> None:
    case = CASES["rank 10"]
    x, A = case.arguments
    b = np.ones(50)
    points = np.stack([x, x + 0.1])
    found = jax.vmap(lambda z: nb.curvature(case.f)(z, A).solve(b))(points)
    want = [np.linalg.solve(hessian(case.f, (z, A)), b) for z in points]
    assert_close(found, np.stack(want))

    # d/dt log det(D + t I) at 0 is the trace of the inverse
    shifted = lambda t: nb.curvature(lambda z: case.f(z, A) + 0.5 * t * jnp.sum(z**2))(x).logdet()
    assert_close(
        jax.grad(shifted)(0.0),
        np.trace(np.linalg.inv(hessian(case.f, (x, A)))),
        condition=np.linalg.cond(hessian(case.f, (x, A))),
    )


def test_float32_stays_float32() -> None:
    case = CASES["rank 10"]
    arguments = tuple(np.float32(a) for a in case.arguments)
    c = nb.curvature(case.f)(*arguments)
    H = hessian(case.f, case.arguments)
    b = np.ones(50, np.float32)
    assert c.solve(b).dtype == c.logdet().dtype == c.inverse_diagonal().dtype == jnp.float32
    assert_close(H @ np.asarray(c.solve(b), np.float64), b, tolerance=1e-2)


def test_a_custom_reverse_rule_is_not_taken_for_symmetric() -> None:
    @jax.custom_vjp
    def f(x: Any) -> Any:
        return jnp.sum(x**3)

    slope = lambda x: 3 * x**2 + jnp.array([1.0, 2.0, 3.0, 4.0]) * x[::-1]
    f.defvjp(lambda x: (jnp.sum(x**3), x), lambda x, g: (g * slope(x),))
    x = np.array([1.0, -2.0, 0.5, 3.0])
    H = np.asarray(jax.jacfwd(slope)(x))
    assert not np.allclose(H, H.T)
    c = nb.curvature(f)(x)
    b = np.array([1.0, 2.0, 3.0, 4.0])
    assert_close(c.matrix()[0], H)
    assert_close(c.solve(b), np.linalg.solve(H, b), condition=np.linalg.cond(H))
    assert_close(c.operator().mv(jnp.asarray(b)), H @ b)
    assert not lx.is_symmetric(c.operator())


def test_lineax_solves_with_the_operators_too() -> None:
    for name in ("factorisation", "rank 10", "chain of second neighbours", "plate", "batch"):
        case = CASES[name]
        H = hessian_of(name)
        v, _ = vector_like(case.arguments[0])
        operator = nb.curvature(case.f)(*case.arguments).operator()
        assert_close(
            lx.linear_solve(operator, jnp.asarray(v)).value, np.linalg.solve(H, v), condition=np.linalg.cond(H)
        )


def test_what_operators_are() -> None:
    operators = {name: nb.curvature(CASES[name].f)(*CASES[name].arguments).operator() for name in
                 ("separable", "several separable leaves", "chain", "logistic")}  # fmt: skip
    assert isinstance(operators["separable"], lx.DiagonalLinearOperator)
    assert isinstance(operators["several separable leaves"], lx.DiagonalLinearOperator)
    assert isinstance(operators["logistic"], lx.MatrixLinearOperator)
    assert lx.is_tridiagonal(operators["chain"])
    assert lx.is_symmetric(operators["chain"])
