"""Generated code of value and gradient against the closed form by hand, and against what matrixcalculus.org prints."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import expit as jax_expit
from scipy.special import expit

import nablax as nb
from benchmarks.report import Group, Line, Row, Setting, at_most, error_cell, milliseconds, quotient
from benchmarks.timing import Contender, alternate, compiled

TABLE = "Value and gradient at n = 1000"
HEAD = (
    "formula",
    "by",
    "library",
    "by hand ms",
    "matrixcalculus.org ms",
    "nablax ms",
    "over hand",
    "over site",
    "error",
)
OVER_HAND, OVER_SITE = 1.1, 1.2
RANK = 50
Arrays = dict[str, Any]
Form = Callable[..., tuple[Any, Any]]


@dataclass(frozen=True)
class Problem:
    """A formula with its value and gradient written out twice, for NumPy or `jax.numpy` as ``np``.

    Attributes:
        formula: what is derived.
        wrt: by what.
        hand: what a person writes who knows the answer and how to multiply it.
        site: what matrixcalculus.org prints: products with vectors from the right, others from the left, ``inv`` as a
            matrix, each norm and determinant by its own name, nothing kept from overflowing.
        arrays: the arguments at a size.
        declare: what names are.
    """

    formula: str
    wrt: str
    hand: Form
    site: Form
    arrays: Callable[[int, np.random.Generator], Arrays]
    declare: str = ""


def _square(n: int, random: np.random.Generator) -> Any:
    return random.standard_normal((n, n)) / n**0.5


def _definite(n: int, random: np.random.Generator) -> Any:
    root = _square(n, random)
    return root @ root.T + np.eye(n)


def _linear(n: int, random: np.random.Generator) -> Arrays:
    return {"A": _square(n, random), "x": random.standard_normal(n), "b": random.standard_normal(n)}


def _least_squares(np: Any, A: Any, x: Any, b: Any) -> tuple[Any, Any]:
    r = A @ x - b
    return 0.5 * (r @ r), A.T @ r


def _least_squares_site(np: Any, A: Any, x: Any, b: Any) -> tuple[Any, Any]:
    t_0 = A.dot(x) - b
    return 0.5 * np.linalg.norm(t_0) ** 2, A.T.dot(t_0)


def _sigmoid(np: Any) -> Callable[[Any], Any]:
    return jax_expit if np is jnp else expit  # type: ignore[no-any-return]


def _logistic(np: Any, X: Any, y: Any, w: Any) -> tuple[Any, Any]:
    m = y * (X @ w)
    return np.sum(np.logaddexp(0, -m)), X.T @ (-y * _sigmoid(np)(-m))


def _logistic_site(np: Any, X: Any, y: Any, w: Any) -> tuple[Any, Any]:
    t_0 = np.exp(-(y * X.dot(w)))
    t_1 = 1 + t_0
    return np.sum(np.log(t_1)), -X.T.dot((y * t_0) / t_1)


def _log_sum_exp(np: Any, A: Any, x: Any, b: Any) -> tuple[Any, Any]:
    z = A @ x + b
    most = np.max(z)
    e = np.exp(z - most)
    total = np.sum(e)
    return most + np.log(total), A.T @ (e / total)


def _log_sum_exp_site(np: Any, A: Any, x: Any, b: Any) -> tuple[Any, Any]:
    t_0 = np.exp(A.dot(x) + b)
    t_1 = np.sum(t_0)
    return np.log(t_1), (1 / t_1) * A.T.dot(t_0)


def _quadratic(np: Any, A: Any, x: Any, b: Any) -> tuple[Any, Any]:
    y = A @ x
    return x @ y + b @ x, y + A.T @ x + b


def _quadratic_site(np: Any, A: Any, x: Any, b: Any) -> tuple[Any, Any]:
    t_0 = A.dot(x)
    return x.dot(t_0) + b.dot(x), t_0 + A.T.dot(x) + b


def _gaussian(np: Any, S: Any, x: Any, m: Any) -> tuple[Any, Any]:
    r = x - m
    s = np.linalg.solve(S, r)
    return 0.5 * (r @ s), -s


def _gaussian_site(np: Any, S: Any, x: Any, m: Any) -> tuple[Any, Any]:
    T_0 = np.linalg.inv(S)
    t_1 = x - m
    t_2 = T_0.dot(t_1)
    return t_1.dot(t_2) / 2, -0.5 * (t_2 + T_0.T.dot(t_1))


def _determinant(np: Any, S: Any) -> tuple[Any, Any]:
    return np.linalg.slogdet(S)[1], np.linalg.inv(S)


def _determinant_site(np: Any, S: Any) -> tuple[Any, Any]:
    return np.log(np.linalg.det(S)), np.linalg.inv(S)


def _factorisation(np: Any, T: Any, U: Any, V: Any) -> tuple[Any, Any]:
    R = U @ V.T - T
    return 0.5 * np.sum(R * R), R @ V


def _factorisation_site(np: Any, T: Any, U: Any, V: Any) -> tuple[Any, Any]:
    T_0 = T - U.dot(V.T)
    return 0.5 * np.linalg.norm(T_0, "fro") ** 2, -T_0.dot(V)


def _chain(np: Any, A: Any, B: Any, x: Any) -> tuple[Any, Any]:
    y = A @ (B @ x)
    return x @ y, y + B.T @ (A.T @ x)


def _chain_site(np: Any, A: Any, B: Any, x: Any) -> tuple[Any, Any]:
    t_0 = A.dot(B.dot(x))
    return x.dot(t_0), t_0 + B.T.dot(A.T.dot(x))


def _trace(np: Any, A: Any, X: Any, B: Any) -> tuple[Any, Any]:
    product = B @ A
    return np.sum(product * X.T), product.T


def _trace_site(np: Any, A: Any, X: Any, B: Any) -> tuple[Any, Any]:
    return np.trace(A.dot(X).dot(B)), A.T.dot(B.T)


def _layer(np: Any, A: Any, x: Any, b: Any) -> tuple[Any, Any]:
    h = np.tanh(A @ x + b)
    return h @ h, 2 * (A.T @ (h - h * h * h))


def _layer_site(np: Any, A: Any, x: Any, b: Any) -> tuple[Any, Any]:
    t_0 = np.tanh(A.dot(x) + b)
    return np.sum(t_0**2), 2 * A.T.dot((1 - t_0**2) * t_0)


def _labelled(n: int, random: np.random.Generator) -> Arrays:
    return {"X": _square(n, random), "y": np.sign(random.standard_normal(n)), "w": random.standard_normal(n)}


def _normal(n: int, random: np.random.Generator) -> Arrays:
    return {"S": _definite(n, random), "x": random.standard_normal(n), "m": random.standard_normal(n)}


def _low_rank(n: int, random: np.random.Generator) -> Arrays:
    U, V = random.standard_normal((2, n, RANK))
    return {"T": _square(n, random), "U": U, "V": V}


def _pair(n: int, random: np.random.Generator) -> Arrays:
    return {"A": _square(n, random), "B": _square(n, random), "x": random.standard_normal(n)}


def _three(n: int, random: np.random.Generator) -> Arrays:
    return {name: _square(n, random) for name in "AXB"}


PROBLEMS = (
    Problem("1/2*norm2(A*x-b)^2", "x", _least_squares, _least_squares_site, _linear),
    Problem("sum(log(1+exp(-y.*(X*w))))", "w", _logistic, _logistic_site, _labelled),
    Problem("log(sum(exp(A*x+b)))", "x", _log_sum_exp, _log_sum_exp_site, _linear),
    Problem("x'*A*x + b'*x", "x", _quadratic, _quadratic_site, _linear),
    Problem(
        "1/2*(x-m)'*inv(S)*(x-m)",
        "m",
        _gaussian,
        _gaussian_site,
        _normal,
        "S: spd(n), x: vector(n), m: vector(n)",
    ),
    Problem("log(det(S))", "S", _determinant, _determinant_site, lambda n, r: {"S": _definite(n, r)}, "S: spd(n)"),
    Problem("1/2*norm2(T-U*V')^2", "U", _factorisation, _factorisation_site, _low_rank),
    Problem("x'*A*B*x", "x", _chain, _chain_site, _pair, "A: matrix(n,n), B: matrix(n,n)"),
    Problem("tr(A*X*B)", "X", _trace, _trace_site, _three, "A: matrix(n,n), X: matrix(n,n), B: matrix(n,n)"),
    Problem("sum(tanh(A*x+b).^2)", "x", _layer, _layer_site, _linear),
)


def _function(source: str) -> Callable[..., Any]:
    space: dict[str, Any] = {}
    exec(source, space)
    found: Callable[..., Any] = space["derivatives"]
    return found


def _measured(problem: Problem, setting: Setting) -> Iterator[Line]:
    n = 300 if setting.quick else 1000
    arrays = problem.arrays(n, np.random.default_rng(0))
    found = nb.derive(problem.formula, problem.wrt, declare=problem.declare or None, order=1)
    order = list(found.function.arguments)
    for library, module in (("numpy", np), ("jax", jnp)):
        own = _function(found.code(library))
        with_names = {
            "by hand": functools.partial(problem.hand, module),
            "site": functools.partial(problem.site, module),
            "nablax": lambda own=own, **given: own(*(given[name] for name in order)),
        }
        if library == "numpy":
            contenders = [
                Contender(name, functools.partial(form, **arrays), result=form(**arrays))
                for name, form in with_names.items()
            ]
        else:
            single = [jnp.asarray(arrays[name], jnp.float32) for name in arrays]
            contenders = [
                compiled(name, lambda *given, form=form: form(**dict(zip(arrays, given, strict=True))), single)
                for name, form in with_names.items()
            ]
        hand, site, generated = (m.median for m in alternate(contenders, setting.effort))
        expected, given = contenders[0].result, contenders[2].result
        error = max(
            float(np.max(np.abs(np.asarray(a) - np.asarray(b))) / np.max(np.abs(np.asarray(b))))
            for a, b in zip(given, expected, strict=True)
        )
        yield Line(
            TABLE,
            [
                problem.formula,
                problem.wrt,
                "NumPy, float64" if library == "numpy" else "JAX, float32",
                *map(milliseconds, (hand, site, generated)),
                at_most(quotient(generated, hand), OVER_HAND),
                at_most(quotient(generated, site), OVER_SITE),
                error_cell(error, 1e-3 if library == "jax" else 1e-9),
            ],
        )


GROUP = Group(
    "code",
    {TABLE: HEAD},
    tuple(Row(problem.formula, functools.partial(_measured, problem)) for problem in PROBLEMS),
    legend=(
        "`nablax`: `derive(formula, by, order=1).code(library)`, run as it is printed, under `jax.jit` for JAX.",
        "`matrixcalculus.org`: value and gradient as that site prints them, written out by hand in its manner: "
        "products with vectors from the right, others from the left, an inverse as a matrix, nothing kept from "
        "overflowing.",
        "`error`: largest difference to the form by hand, over its largest entry.",
    ),
)
