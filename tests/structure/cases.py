"""Functions of known structure, with arguments whose Hessians are neither definite nor badly conditioned."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from nablax.endings.forms import Kind


class Case(NamedTuple):
    """A function, its arguments (the first is differentiated), and what its Hessian is."""

    f: Any
    arguments: tuple[Any, ...]
    kind: Kind
    detail: str


def hessian(f: Any, arguments: tuple[Any, ...]) -> np.ndarray[Any, Any]:
    """The flat dense Hessian by JAX."""
    flat, unravel = ravel_pytree(arguments[0])
    return np.asarray(jax.jit(jax.hessian(lambda z: f(unravel(z), *arguments[1:])))(flat))


@functools.cache
def hessian_of(name: str) -> np.ndarray[Any, Any]:
    """The dense Hessian of a case."""
    return hessian(CASES[name].f, CASES[name].arguments)


def vector_like(tree: Any, seed: int = 7) -> tuple[np.ndarray[Any, Any], Any]:
    """A random right-hand side, flat and as a tree."""
    flat, unravel = ravel_pytree(tree)
    v = np.random.default_rng(seed).normal(size=flat.size)
    return v, unravel(v)


def factorisation(U: Any, V: Any, T: Any) -> Any:
    return jnp.sum((T - U @ V.T) ** 2)


def chain(x: Any) -> Any:
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def wide_chain(x: Any) -> Any:
    return jnp.sum((x[2:] - x[:-2] ** 2) ** 2) + jnp.sum(jnp.cos(x[1:] * x[:-1])) + jnp.sum(x**4)


def plate(u: Any) -> Any:
    """Five-point stencil."""
    p = jnp.pad(u, 1)
    r = 4 * u - p[2:, 1:-1] - p[:-2, 1:-1] - p[1:-1, 2:] - p[1:-1, :-2] + 0.1 * u**3
    return jnp.sum((r - 1) ** 2)


def logistic(W: Any, X: Any, Y: Any) -> Any:
    z = X @ W
    return jnp.sum(jax.nn.logsumexp(z, axis=1)) - jnp.sum(Y * z) + 0.1 * jnp.sum(W**2)


def small(x: Any) -> Any:
    return jnp.sum(jnp.sin(x) * x[::-1]) + jnp.sum(x**2) ** 2


def _arrays(seed: int, *shapes: tuple[int, ...]) -> tuple[Any, ...]:
    generator = np.random.default_rng(seed)
    return tuple(generator.normal(size=shape) for shape in shapes)


def _low_rank(x: Any, A: Any) -> Any:
    return jnp.sum(x**4) + jnp.sum((A @ x) ** 2)


def _two_layers(x: Any, A: Any, B: Any) -> Any:
    return jnp.sum(x**4) + jnp.sum((B @ jnp.sin(A @ x)) ** 2) + jnp.sum((B @ (A @ x)) ** 2)


def _separate(p: Any, A: Any) -> Any:
    return jnp.sum((p["u"] - 1) ** 4) + _low_rank(p["w"], A) + p["z"] ** 3


def _joined(p: Any, A: Any) -> Any:
    return jnp.sum(jnp.sin(3 * p["u"])) + jnp.sum((A @ p["w"] + jnp.sum(p["u"])) ** 2) + jnp.sum(p["w"] ** 4)


def _pairs(p: Any) -> Any:
    return jnp.sum(jax.vmap(lambda w, c: jnp.sum(w**2) * c + jnp.sum(c**3))(p["w"], p["c"]))


def _nearly_flat() -> Any:
    [x] = _arrays(5, (40,))
    x[[0, 3, 11]] = 0.0  # zeros of the diagonal, on which Woodbury's identity would divide
    return x


w40, A2 = _arrays(1, (40,), (2, 40))
[u6] = _arrays(2, (3, 2))

CASES = {
    "separable": Case(lambda x: jnp.sum(jnp.sin(x) * x**2), _arrays(3, (7,)), Kind.DIAGONAL, ""),
    "scalar": Case(lambda x: x**3, (np.array(-1.5),), Kind.DIAGONAL, ""),
    "several separable leaves": Case(
        lambda p: jnp.sum(p[0] ** 3) + jnp.sum(p[1] ** 4), (_arrays(4, (2, 2), (3,)),), Kind.DIAGONAL, ""
    ),
    "factorisation": Case(factorisation, _arrays(5, (20, 5), (7, 5), (20, 7)), Kind.KRONECKER, "I(20) ⊗ 5×5"),
    "factorisation, transposed": Case(
        lambda U, V, T: factorisation(U.T, V, T), _arrays(6, (5, 20), (7, 5), (20, 7)), Kind.KRONECKER, "5×5 ⊗ I(20)"
    ),
    "factorisation with a ridge": Case(
        lambda U, V, T: factorisation(U, V, T) - 3.0 * jnp.sum(U**2),
        _arrays(7, (20, 5), (7, 5), (20, 7)),
        Kind.KRONECKER,
        "I(20) ⊗ 5×5",
    ),
    "two-sided product": Case(
        lambda X, A, B: jnp.sum((A @ X @ B) ** 2), _arrays(8, (4, 3), (8, 4), (3, 7)), Kind.KRONECKER, "4×4 ⊗ 3×3"
    ),
    "weighted rows": Case(
        lambda U, V, w: jnp.einsum("a,ad,ad->", w, U @ V, U @ V),
        _arrays(9, (6, 3), (3, 8), (6,)),
        Kind.KRONECKER,
        "diagonal(6) ⊗ 3×3",
    ),
    "three axes": Case(
        lambda X, A, B: jnp.sum(jnp.einsum("ia,abc,bj->ijc", A, X, B) ** 2),
        _arrays(10, (3, 2, 4), (5, 3), (2, 3)),
        Kind.KRONECKER,
        "3×3 ⊗ 2×2 ⊗ I(4)",
    ),
    "rank 10": Case(_low_rank, _arrays(11, (50,), (10, 50)), Kind.DIAGONAL_LOW_RANK, "rank 10"),
    "rank 10, zeros on the diagonal": Case(
        _low_rank, (_nearly_flat(), *_arrays(12, (10, 40))), Kind.DIAGONAL_LOW_RANK, "rank 10"
    ),
    "two products": Case(
        lambda x, a, b: jnp.sum(x**4) + (a @ x) * (b @ x),
        _arrays(13, (30,), (30,), (30,)),
        Kind.DIAGONAL_LOW_RANK,
        "rank 2",
    ),
    "sum cubed": Case(lambda x: jnp.sum(x**4) - jnp.sum(x) ** 3, _arrays(14, (30,)), Kind.DIAGONAL_LOW_RANK, "rank 1"),
    "logsumexp": Case(
        lambda x: jax.nn.logsumexp(x) + jnp.sum(x**2), _arrays(15, (30,)), Kind.DIAGONAL_LOW_RANK, "rank 1"
    ),
    "narrow layers": Case(_two_layers, _arrays(16, (90,), (20, 90), (2, 20)), Kind.DIAGONAL_LOW_RANK, "rank 22"),
    "chain": Case(chain, _arrays(17, (10,)), Kind.BANDED, "width 1"),
    "chain of second neighbours": Case(wide_chain, _arrays(18, (25,)), Kind.BANDED, "width 2"),
    "plate": Case(plate, _arrays(19, (8, 8)), Kind.SPARSE, "676 values"),
    "logistic": Case(logistic, _arrays(20, (5, 3), (9, 5), (9, 3)), Kind.DENSE, ""),
    "batch": Case(lambda X: jnp.sum(jax.vmap(small)(X)), _arrays(21, (8, 3)), Kind.BLOCK_DIAGONAL, "8 blocks of 3×3"),
    "batch last": Case(
        lambda X: jnp.sum(jax.vmap(small, in_axes=1)(X)), _arrays(22, (3, 8)), Kind.BLOCK_DIAGONAL, "8 blocks of 3×3"
    ),
    "batch of several leaves": Case(
        _pairs, ({"w": _arrays(23, (9, 4))[0], "c": _arrays(24, (9,))[0]},), Kind.BLOCK_DIAGONAL, "9 blocks of 5×5"
    ),
    "leaves that meet": Case(_joined, ({"u": u6, "w": w40}, A2), Kind.DIAGONAL_LOW_RANK, "rank 4"),
    "leaves that do not meet": Case(_separate, ({"u": u6, "w": w40, "z": np.array(1.3)}, A2), Kind.BLOCK_DIAGONAL, ""),
}
