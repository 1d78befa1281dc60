"""Random programs as data: each step names an operation, two earlier values and a number.

Every operation takes any two arrays and any number, so that every program means something and a failing one can be made
smaller step by step. Loops, branches, selections at places known at run time and operations with several results are rows
like all others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

MOST = 12  # elements of a value
Step = tuple[str, int, int, int]
Operation = Callable[[Any, Any, int], Any]


def vector(a: Any) -> Any:
    """At least one and at most MOST elements in a row."""
    return a.ravel()[:MOST] if a.size else jnp.full(1, 0.7)


def like(b: Any, a: Any) -> Any:
    """The elements of b, repeated or cut to the shape of a."""
    return jnp.resize(vector(b), a.shape)


def matrix(a: Any, c: int) -> Any:
    """The elements of a in a square matrix of two or three rows."""
    n = 2 + c % 2
    return jnp.resize(vector(a), (n, n))


def definite(a: Any, c: int) -> Any:
    root = matrix(a, c) + 0.3 * np.tri(2 + c % 2)
    return root @ root.T + 2.0 * jnp.eye(len(root))


def where(b: Any, c: int, n: int) -> Any:
    """Places below n that depend on the values of b: known at run time only."""
    return (jnp.floor(jnp.abs(vector(b)[:3]) * 7.0).astype(int) + c) % n


def some(a: Any, c: int) -> tuple[int, ...]:
    """A set of axes."""
    return tuple(axis for axis in range(a.ndim) if (c >> axis) & 1)


# -- elementwise ---------------------------------------------------------------------------------------

UNARY: dict[str, Callable[[Any], Any]] = {
    "tanh": jnp.tanh, "exp": lambda a: jnp.exp(0.3 * jnp.sin(a)), "square": jnp.square, "sin": jnp.sin, "cube": lambda a: a**3 / 3.0,
    "softplus": jax.nn.softplus, "logistic": jax.nn.sigmoid, "root": lambda a: jnp.sqrt(1.0 + a**2), "log": lambda a: jnp.log(1.5 + jnp.cos(a)),
    "silu": jax.nn.silu, "gelu": jax.nn.gelu, "where": lambda a: jnp.where(a > 0.1, a**2, jnp.sin(a)), "clip": lambda a: jnp.clip(a, -0.7, 0.8) * a,
    "stopped": lambda a: a * jax.lax.stop_gradient(jnp.cos(a)), "erf": jax.scipy.special.erf, "sinc": jnp.sinc, "abs": lambda a: jnp.abs(a) * a,
    "itself": lambda a: a * a, "elu": jax.nn.elu, "arctan": jnp.arctan, "floor": lambda a: a * jnp.floor(a), "reciprocal": lambda a: 1.0 / (2.0 + jnp.sin(a)),
}  # fmt: skip
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "plus": jnp.add, "minus": jnp.subtract, "times": jnp.multiply, "over": lambda a, b: a / (2.0 + jnp.sin(b)), "maximum": jnp.maximum,
    "logaddexp": jnp.logaddexp, "arctan2": lambda a, b: jnp.arctan2(a, 2.0 + b**2), "hypot": lambda a, b: jnp.hypot(a, 1.0 + b**2),
    "power": lambda a, b: (1.5 + jnp.sin(a)) ** b, "select": lambda a, b: jnp.where(a > b, a * b, b), "xlogy": lambda a, b: jax.scipy.special.xlogy(a, 1.5 + jnp.sin(b)),
}  # fmt: skip

# -- linear algebra ------------------------------------------------------------------------------------


def outer(a: Any, b: Any, c: int) -> Any:
    return jnp.outer(vector(a)[:3], vector(b)[: 2 + c % 3])


def times_matrix(a: Any, b: Any, c: int) -> Any:
    return matrix(a, c) @ matrix(b, c)


def times_data(a: Any, _: Any, c: int) -> Any:
    v = vector(a)
    return v @ np.random.default_rng(c).normal(size=(v.size, 1 + c % 3))


def product(a: Any, b: Any, c: int) -> Any:
    """One of many einsums of matrices."""
    formulas = ("ij,ij->i", "ij,jk->ki", "ij,kj->ik", "ii,jk->j", "ij,ji->", "ij,ik->jk", "ij,ij->ij", "ij,kl->il")
    return jnp.einsum(formulas[c % len(formulas)], matrix(a, c), matrix(b, c))


def quadratic(a: Any, b: Any, c: int) -> Any:
    v = like(b, jnp.zeros(2 + c % 2))
    return v @ matrix(a, c) @ v


MATRIX: dict[str, Operation] = {
    "inverse": lambda a, _, c: jnp.linalg.inv(definite(a, c)),
    "logdet": lambda a, _, c: jnp.linalg.slogdet(definite(a, c))[1],
    "det": lambda a, _, c: jnp.linalg.det(matrix(a, c)) / 10.0,
    "solve": lambda a, b, c: jnp.linalg.solve(definite(a, c), matrix(b, c)[0]),
    "cholesky": lambda a, _, c: jnp.linalg.cholesky(definite(a, c)),
    "triangular": lambda a, b, c: jax.scipy.linalg.solve_triangular(jnp.tril(definite(a, c)), matrix(b, c), lower=True, trans=c // 2 % 2),
    "cho_solve": lambda a, b, c: jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(definite(a, c)), True), matrix(b, c)[0]),
    "eigh": lambda a, _, c: jnp.linalg.eigvalsh(definite(a, c) + np.diag(3.0 * np.arange(2 + c % 2))),
    "qr": lambda a, _, c: jnp.abs(jnp.linalg.qr(definite(a, c))[c // 2 % 2]),
    "singular values": lambda a, _, c: jnp.linalg.svd(definite(a, c) + np.diag(3.0 * np.arange(2 + c % 2)), compute_uv=False),
    "expm": lambda a, _, c: jax.scipy.linalg.expm(0.2 * jnp.tanh(matrix(a, c))),
    "norm": lambda a, _, c: jnp.linalg.norm(definite(a, c)),
}  # fmt: skip

# -- moving --------------------------------------------------------------------------------------------


def reduction(a: Any, _: Any, c: int) -> Any:
    kinds = (jnp.sum, jnp.mean, jnp.max, jax.nn.logsumexp, jnp.prod, jnp.var)
    a = a if a.size else vector(a)
    return kinds[c // 4 % len(kinds)](a, axis=some(a, c), keepdims=bool(c & 1))


def move(a: Any, _: Any, c: int) -> Any:
    v, n = vector(a), vector(a).size
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: v[::-1], lambda: v[1:], lambda: v[::2], lambda: a.T, lambda: a[..., None], lambda: jnp.roll(v, c), lambda: v[:0],
        lambda: jax.lax.pad(v, 0.3, [(1, 0, 0)])[:MOST], lambda: jax.lax.pad(v, 0.0, [(1, -1, 1)])[:MOST], lambda: v[np.arange(c, c + 3) % n],
        lambda: jnp.repeat(v[:4], 2), lambda: jnp.tile(v[:3], 3), lambda: v.reshape(-1, 2) if n % 2 == 0 else v[None], lambda: jnp.diag(v[:3]),
        lambda: jnp.diagonal(matrix(a, c)), lambda: jnp.triu(matrix(a, c)), lambda: jnp.broadcast_to(v[:4], (3, min(n, 4))), lambda: jnp.trace(matrix(a, c)),
    )  # fmt: skip
    return kinds[c % len(kinds)]()


def join(a: Any, b: Any, c: int) -> Any:
    return jnp.stack([a, like(b, a)], c % (a.ndim + 1)) if c & 1 else jnp.concatenate([vector(a), vector(b)])


# -- selections ----------------------------------------------------------------------------------------


def selection(a: Any, b: Any, c: int) -> Any:
    v = vector(a)
    n = v.size
    at = where(b, c, n)
    rows = jnp.resize(v, (2, 3))
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: v[at], lambda: jax.lax.dynamic_slice(v, (at[0],), (min(n, 2),)), lambda: jnp.take_along_axis(rows, at[:1, None] % 3, 1),
        lambda: v.at[at].add(like(b, at)), lambda: v.at[at[0]].set(vector(b)[-1]), lambda: v.at[at].multiply(1.1), lambda: v.at[at].max(like(b, at)),
        lambda: v.at[at].min(0.3), lambda: jax.lax.dynamic_update_slice(v, like(b, v[:1]) ** 2, (at[0],)), lambda: jnp.sort(v),
        lambda: jax.lax.top_k(v, min(n, 2))[0], lambda: v[jnp.argsort(like(b, v))], lambda: rows[at % 2], lambda: v[jnp.argmax(v)] * v[0],
        lambda: jnp.sort(rows, axis=c % 2), lambda: jnp.median(v), lambda: jax.lax.dynamic_index_in_dim(rows, at[0] % 2, 0), lambda: jax.ops.segment_sum(v, jnp.resize(at, n) % 3, 3),
    )  # fmt: skip
    return kinds[c % len(kinds)]()


# -- linear along an axis ------------------------------------------------------------------------------


def along(a: Any, b: Any, c: int) -> Any:
    v = vector(a)
    n = v.size
    image = jnp.resize(v, (1, 1, 6))
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: jnp.cumsum(v), lambda: jnp.cumprod(jnp.tanh(v)), lambda: jax.lax.cumlogsumexp(v), lambda: jax.lax.cummax(v),
        lambda: jnp.abs(jnp.fft.fft(v)) ** 2, lambda: jnp.real(jnp.fft.rfft(v)), lambda: jnp.fft.irfft(v + 1j * v**2, n=4),
        lambda: jax.lax.conv_general_dilated(image, like(b, image[..., :2]), (1 + c % 2,), "SAME").ravel(),
        lambda: jax.lax.reduce_window(v, 0.0, jax.lax.add, (min(n, 2),), (1,), "SAME"), lambda: jax.lax.reduce_window(v, -np.inf, jax.lax.max, (min(n, 2),), (1,), "VALID"),
        lambda: jnp.convolve(v, vector(b)[:2], mode="same")[:MOST], lambda: jax.nn.softmax(v), lambda: jax.nn.log_softmax(jnp.resize(v, (2, 3)), 0),
        lambda: jnp.interp(v, np.arange(-3.0, 4.0), np.arange(7.0) ** 2), lambda: jax.nn.standardize(v + like(b, v) ** 2, epsilon=0.1),
    )  # fmt: skip
    return kinds[c % len(kinds)]()


# -- loops and branches --------------------------------------------------------------------------------


def loop(a: Any, b: Any, c: int) -> Any:
    v, w = vector(a), like(b, vector(a))
    m = matrix(b, c)
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: jax.lax.scan(lambda s, x: (jnp.tanh(s + x), s * x), 0.5, v)[1],
        lambda: jax.lax.scan(lambda s, x: (jnp.sin(s * x[0]) + x[1], None), w, jnp.stack([v, v[::-1]], 1))[0],
        lambda: jax.lax.scan(lambda s, x: (jnp.tanh(m @ s + x), s[0] * s[1]), m[0], v, reverse=True)[1],
        lambda: jax.lax.fori_loop(0, 3, lambda i, s: jnp.sin(s) * w + 0.1 * i, v),
        lambda: jax.lax.fori_loop(0, 2, lambda i, s: s.at[i % v.size].multiply(w[0]), v),
        lambda: jax.lax.fori_loop(1, 4, lambda _, s: jnp.tanh(s + w), v),
        lambda: jax.lax.map(lambda x: jnp.sum(jnp.sin(x * w)), v),
        lambda: jax.lax.associative_scan(jnp.multiply, jnp.tanh(v)),
        lambda: jax.lax.scan(lambda s, x: (jax.lax.scan(lambda t, y: (jnp.sin(t + x * y), t), s, w)[0], s), 0.3, v[:3])[1],
        lambda: jax.lax.scan(lambda s, x: (jax.lax.cond(s > 0.2, lambda s: jnp.sin(s) + x, lambda s: s * x, s), s**2), 0.5, v)[1],
        lambda: jax.lax.scan(lambda s, i: (s + jnp.sin(v[i] * s), v[i]), w[0], np.arange(4) % v.size)[0],
        lambda: sum(jnp.ravel(y) for y in jax.lax.scan(lambda s, x: ((s[1], s[0] * x), (s[0], x)), (v[0], w[0]), v)[1]),
        lambda: jax.lax.scan(jax.checkpoint(lambda s, x: (jnp.sin(s + x * w), None)), w, v)[0],
        lambda: jax.lax.scan(lambda s, x: (s, jnp.exp(-(x**2)) * s), v[0], v)[1],
    )  # fmt: skip
    return kinds[c % len(kinds)]()


def branch(a: Any, b: Any, c: int) -> Any:
    v, w = vector(a), like(b, vector(a))
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: jax.lax.cond(v[0] > 0.1, lambda v, w: jnp.sin(v) * w, lambda v, w: v**2, v, w),
        lambda: jax.lax.switch(where(b, c, 3)[0], [jnp.sin, jnp.square, lambda v: v * jnp.sum(v)], v),
        lambda: jax.lax.cond(w[0] > v[0], lambda: v * w, lambda: v + w[0]),
        lambda: jnp.where(jnp.sum(v) > 0, v * w, jnp.sum(v) * w),
        lambda: jnp.piecewise(v, [v < 0, v >= 0], [jnp.sin, jnp.square]),
        lambda: jax.checkpoint(lambda v: jnp.sin(v) * jnp.sum(v * w))(v),
        lambda: jax.vmap(lambda x: jnp.sin(x) * jnp.sum(w))(v),
        lambda: jax.grad(lambda v: jnp.sum(v**4) * w[0])(v) / 4.0,
        lambda: jax.jit(lambda v: jnp.sum(jnp.sin(v)))(v) * w,
        lambda: sum(jnp.split(jnp.resize(v, 6), 3)),
    )  # fmt: skip
    return kinds[c % len(kinds)]()


def unary(name: str) -> Operation:
    return lambda a, b, c: UNARY[name](a)


def binary(name: str) -> Operation:
    return lambda a, b, c: BINARY[name](a, like(b, a)) if c & 1 or not b.size else BINARY[name](a, vector(b)[0])


OPERATIONS: dict[str, Operation] = {
    **{name: unary(name) for name in UNARY},
    **{name: binary(name) for name in BINARY},
    "outer": outer, "matrix product": times_matrix, "data": times_data, "einsum": product, "quadratic": quadratic,
    **MATRIX,
    "reduction": reduction, "move": move, "join": join, "selection": selection, "along": along, "loop": loop, "branch": branch,
}  # fmt: skip
# Families are drawn with equal chances, so that loops are no rarer than the sine.
FAMILIES: Sequence[Sequence[str]] = (
    tuple(UNARY), tuple(BINARY), tuple(BINARY), ("outer", "matrix product", "data", "einsum", "quadratic"), tuple(MATRIX),
    ("reduction",), ("move", "join"), ("selection",), ("along",), ("loop",), ("branch",),
)  # fmt: skip


def function(program: Sequence[Step], several: bool = False) -> Callable[[Any], Any]:
    """What a program computes: one number in which all values meet, or with `several` the last values themselves."""

    def composed(x: Any) -> Any:
        values = [x]
        for name, j, k, c in program:
            found = OPERATIONS[name](values[j % len(values)], values[k % len(values)], c)
            values.append(jnp.resize(found, MOST) if found.size > MOST else found)
        if several:
            return tuple(jnp.sin(v) for v in values[-2:])
        ends = [jnp.sum(jnp.sin(v + 0.1 * k)) for k, v in enumerate(values[1:])]
        return sum(ends) + jnp.sum(values[-1]) * jnp.sum(x)

    return composed


def draw(generator: np.random.Generator, most: int = 6) -> list[Step]:
    """A program by chance."""
    found: list[Step] = []
    for _ in range(generator.integers(1, most + 1)):
        family = FAMILIES[generator.integers(len(FAMILIES))]
        j, k, c = (int(n) for n in generator.integers(0, 60, 3))
        # neighbours in the program more often than the argument: chains are deep
        found.append((family[generator.integers(len(family))], -1 if j % 3 == 0 else j, k, c))
    return found
