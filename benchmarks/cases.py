"""The rows of the speed table: function, arguments (data are arguments), question, contenders, targets."""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp

from benchmarks import networks

RIDGE = 1e-3

Question = Literal["hessian", "diagonal", "trace", "hvp", "curvature"]


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        name: unique; `--only` looks for a part of it.
        question: what is asked, always of the first argument.
        function: scalar function of the arguments.
        arguments: makes the arguments; for `hvp` the vector stands second and is not passed to `function`,
            for `trace` the first argument is a batch of points.
        closed_form: name in `closed_forms`, or None.
        peers: names in `peers.PEERS`.
        at_least: how many times faster than the best of the named group of peers nablax has to be.
        at_most: nablax's time over the closed form's, at most; None without a target.
        remark: why a target is missed, if it is, and with what number.
        sample: columns that the loops run.
    """

    name: str
    question: Question
    function: Callable[..., Any]
    arguments: Callable[[], tuple[Any, ...]]
    closed_form: str | None = None
    peers: tuple[str, ...] = ("jax.hessian",)
    at_least: Mapping[str, float] = field(default_factory=dict)
    at_most: float | None = None
    remark: str = ""
    sample: int = 256


def _logistic(w: jax.Array, X: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.mean(jnp.log1p(jnp.exp(-y * (X @ w)))) + 0.5 * RIDGE * w @ w


def _least_squares(x: jax.Array, A: jax.Array, b: jax.Array) -> jax.Array:
    return 0.5 * jnp.sum((A @ x - b) ** 2)


def _log_sum_exp(x: jax.Array, A: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.log(jnp.sum(jnp.exp(A @ x + b)))


def _quadratic(x: jax.Array, A: jax.Array) -> jax.Array:
    return x @ A @ x


def _matrix_least_squares(X: jax.Array, A: jax.Array, B: jax.Array) -> jax.Array:
    return jnp.sum((A @ X - B) ** 2)


def _log_determinant(X: jax.Array) -> jax.Array:
    return jnp.linalg.slogdet(X)[1]


def _factorisation(U: jax.Array, V: jax.Array, T: jax.Array) -> jax.Array:
    return jnp.sum((T - U @ V.T) ** 2)


def _rosenbrock(x: jax.Array) -> jax.Array:
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def _marginal_likelihood(theta: jax.Array, X: jax.Array, y: jax.Array) -> jax.Array:
    """A Gaussian process's log marginal likelihood: a length scale per input, signal, noise, all logarithms."""
    n, d = X.shape
    Z = X / jnp.exp(theta[:d])
    squares = jnp.sum(Z**2, 1)
    distances = squares[:, None] + squares[None, :] - 2 * Z @ Z.T
    noise = jnp.exp(theta[d + 1]) * jnp.eye(n, dtype=X.dtype)
    L = jnp.linalg.cholesky(jnp.exp(theta[d]) * jnp.exp(-0.5 * distances) + noise)
    a = jax.scipy.linalg.solve_triangular(L, y, lower=True)
    return -0.5 * a @ a - jnp.sum(jnp.log(jnp.diagonal(L))) - 0.5 * n * math.log(2 * math.pi)


def _process_data() -> tuple[Any, ...]:
    theta, X, error = _normals((14,), (200, 12), (200,))
    return 0.7 + 0.1 * theta - 2.0 * (jnp.arange(14) == 13), X, jnp.sin(jnp.sum(X, 1)) + 0.1 * error


def _normals(*shapes: tuple[int, ...]) -> list[jax.Array]:
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return [jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True)]


def _logistic_data() -> tuple[Any, ...]:
    w, X, y = _normals((400,), (5000, 400), (5000,))
    return 0.1 * w, X, jnp.where(y > 0, 1.0, -1.0)


def _tall_data() -> tuple[Any, ...]:
    x, A, b = _normals((600,), (3000, 600), (3000,))
    return 0.05 * x, A, b


def _network_data(widths: tuple[int, ...]) -> tuple[Any, ...]:
    return networks.make_layers(widths, 1), *networks.make_batch(256, widths[0], widths[-1], 2)


def _image_data(channels: int) -> tuple[Any, ...]:
    return _normals((16, 8, 8))[0], networks.make_scalar_convolutional(8, channels, 32, 1)


def _with_vector(data: tuple[Any, ...]) -> tuple[Any, ...]:
    leaves, tree = jax.tree.flatten(data[0])
    v = jax.tree.unflatten(tree, _normals(*[leaf.shape for leaf in leaves]))
    return data[0], v, *data[1:]


def _convolutional(batch: int) -> Case:
    def data() -> tuple[Any, ...]:
        images, labels = jax.random.split(jax.random.key(2))
        given = jax.random.normal(images, (batch, 16, 16, 1)), jax.random.randint(labels, (batch,), 0, 10)
        return networks.make_convolutional(16, (8, 16), 10, 1), *given

    return Case(
        f"diagonal, CNN 8-16 on 16×16, batch {batch}",
        "diagonal",
        networks.convolutional_loss,
        data,
        "convolutional_diagonal",
        peers=("chunked vmapped products", "lax.map of eᵀHe", "Python loop of eᵀHe", "BackPACK")
        if batch == 32
        else ("lax.map of eᵀHe",),
        at_least={"JAX loop": 40, "BackPACK": 10} if batch == 32 else {"JAX loop": 40},
        sample=256 if batch == 32 else 32,
    )


def _embedding_loss(parameters: dict[str, jax.Array], tokens: jax.Array, classes: jax.Array) -> jax.Array:
    hidden = jnp.tanh(parameters["table"][tokens] @ parameters["hidden"])
    logits = jax.nn.log_softmax(hidden.mean(1) @ parameters["head"])
    return -jnp.mean(jnp.take_along_axis(logits, classes[:, None], 1))


def _embedding(words: int) -> Case:
    def data() -> tuple[Any, ...]:
        table, hidden, head = _normals((words, 32), (32, 32), (32, 10))
        tokens = jax.random.randint(jax.random.key(3), (8, 16), 0, words)
        return {"table": table, "hidden": hidden / 6, "head": head / 6}, tokens, jnp.arange(8)

    return Case(
        f"diagonal, embedding of {words:,} words, 8×16 tokens",
        "diagonal",
        _embedding_loss,
        data,
        peers=("lax.map of eᵀHe",),
        at_least={"JAX loop": 40},
        sample=256,
    )


def _diagonal(
    name: str,
    function: Callable[..., Any],
    widths: tuple[int, ...],
    at_least: Mapping[str, float],
    **rest: Any,
) -> Case:
    return Case(
        name,
        "diagonal",
        function,
        lambda: _network_data(widths),
        peers=(
            "chunked vmapped products",
            "lax.map of eᵀHe",
            "Python loop of eᵀHe",
            "lax.map of eᵀHe, leaf by leaf",
            "BackPACK",
        ),
        at_least=at_least,
        **rest,
    )


# A symmetric product is computed by blocks of its upper triangle; each block is a product that XLA compiles.
_TRIANGLE = (
    "the upper triangle is computed in blocks of 80 columns (three quarters of the time of the full product); "
    "XLA compiles five to eight products instead of one, 0.2 to 0.3 s more."
)
_LEAF_BY_LEAF = (
    "the three loops named as peers move the flat vector; a loop that moves one leaf at a time is about three times "
    "faster, and is shown against the same target."
)

CASES: tuple[Case, ...] = (
    Case(
        "logistic loss, X 5000×400",
        "hessian",
        _logistic,
        _logistic_data,
        "logistic",
        at_least={"jax.hessian": 2.5},
        at_most=1.15,
        remark=_TRIANGLE,
    ),
    Case(
        "least squares, A 3000×600",
        "hessian",
        _least_squares,
        _tall_data,
        "least_squares",
        at_least={"jax.hessian": 2.2},
        at_most=1.15,
        remark=_TRIANGLE,
    ),
    Case(
        "log-sum-exp of Ax+b, A 3000×600",
        "hessian",
        _log_sum_exp,
        _tall_data,
        "log_sum_exp",
        at_least={"jax.hessian": 1.9},
        at_most=1.15,
        remark=_TRIANGLE,
    ),
    Case(
        "xᵀAx, n=1500",
        "hessian",
        _quadratic,
        lambda: tuple(_normals((1500,), (1500, 1500))),
        "quadratic",
        at_least={"jax.hessian": 30},
        at_most=1.2,
    ),
    Case(
        "‖AX-B‖², X 30×30",
        "hessian",
        _matrix_least_squares,
        lambda: tuple(_normals((30, 30), (30, 30), (30, 30))),
        "matrix_least_squares",
        at_least={"jax.hessian": 12},
        at_most=1.2,
        remark=(
            "at three quarters of the time by hand; what is left is writing 3.2 MB. jax.hessian takes 2.1 ms "
            "on this machine, so that the closed form by hand itself reaches only 8 times."
        ),
    ),
    Case(
        "logdet X, 30×30",
        "hessian",
        _log_determinant,
        lambda: (_normals((30, 30))[0] + 8 * jnp.eye(30),),
        "log_determinant",
        at_least={"jax.hessian": 30},
        at_most=1.2,
        remark=("as fast as the closed form by hand, which reaches the same 27 times; one inverse and writing 3.2 MB."),
    ),
    Case(
        "‖T-UVᵀ‖², U 200×5",
        "hessian",
        _factorisation,
        lambda: tuple(_normals((200, 5), (200, 5), (200, 200))),
        "factorisation",
        at_least={"jax.hessian": 300},
        at_most=1.2,
    ),
    Case(
        "marginal likelihood of a Gaussian process, 14 hyperparameters, 200 points",
        "hessian",
        _marginal_likelihood,
        _process_data,
        at_least={"jax.hessian": 3},
    ),
    Case(
        "diagonal, marginal likelihood of a Gaussian process, 14 hyperparameters, 200 points",
        "diagonal",
        _marginal_likelihood,
        _process_data,
        peers=("diagonal of jax.hessian",),
        at_least={"diagonal of jax.hessian": 3},
    ),
    _diagonal(
        "diagonal, MLP 64-64-64-10",
        networks.plain_loss,
        (64, 64, 64, 10),
        {"JAX loop": 1300, "leaf by leaf": 1300, "BackPACK": 40},
        closed_form="plain_diagonal",
        at_most=1.0,
        remark=(
            _LEAF_BY_LEAF
            + " Against the closed form: by hand the variance of the legs under p is one expression, here the "
            "diagonal and the rank-one core of the log-sum-exp are two, and each reads the legs of the first "
            "layer once."
        ),
    ),
    _diagonal(
        "diagonal, 3 residual layers of 64",
        networks.residual_loss,
        (64, 64, 64, 64, 10),
        {"JAX loop": 400, "leaf by leaf": 400},
        closed_form="residual_diagonal",
        at_most=1.0,
        remark=(
            _LEAF_BY_LEAF
            + " Against the closed form: sums of legs over residual paths and the squares of legs are stored "
            "here where the "
            "hand-written form fuses them."
        ),
    ),
    _diagonal(
        "diagonal, 6 plain layers of 64",
        networks.plain_loss,
        (64,) * 7 + (10,),
        {"JAX loop": 400, "leaf by leaf": 400},
        remark=_LEAF_BY_LEAF,
    ),
    _diagonal(
        "diagonal, 6 residual layers of 64",
        networks.residual_loss,
        (64,) * 7 + (10,),
        {"JAX loop": 400, "leaf by leaf": 400},
        remark=_LEAF_BY_LEAF,
    ),
    *(_convolutional(batch) for batch in (32, 128, 512)),
    *(_embedding(words) for words in (1_000, 4_000, 16_000)),
    *(
        Case(
            f"Laplacian, two convolutions of {channels} channels on 8×8, batch 16",
            "trace",
            networks.scalar_convolutional,
            functools.partial(_image_data, channels),
            peers=("folx", "trace of jax.hessian"),
            at_least={"folx": 1.2},
            remark=(
                "a quarter of the flops of folx, which writes Jacobians of convolutions out; sums over windows that "
                "overlap move memory, and a dense layer above a convolution is reached from every window apart."
            ),
        )
        for channels in (8, 32)
    ),
    Case(
        "Laplacian, 64-256-256-1, batch 64",
        "trace",
        networks.scalar_network,
        lambda: (_normals((64, 64))[0], networks.make_layers((64, 256, 256, 1), 1)),
        "laplacian",
        peers=("folx", "trace of jax.hessian"),
        at_least={"folx": 1.0},
        at_most=1.15,
    ),
    Case(
        "hvp, MLP 64-64-64-10",
        "hvp",
        networks.plain_loss,
        lambda: _with_vector(_network_data((64, 64, 64, 10))),
        peers=("jvp(grad)", "gradient only"),
        at_least={"jvp(grad)": 1.0},
        remark="the same products; XLA schedules and fuses the two graphs differently, within 3 %.",
    ),
    Case(
        "hvp, 4 layers of 1024",
        "hvp",
        networks.plain_loss,
        lambda: _with_vector(_network_data((1024,) * 5 + (10,))),
        peers=("jvp(grad)", "gradient only"),
        at_least={"jvp(grad)": 1.0},
        remark="the same products; XLA schedules and fuses the two graphs differently, within 3 %.",
    ),
    Case(
        "gradient and Hessian, n=2",
        "curvature",
        _rosenbrock,
        lambda: (jnp.array([-1.2, 1.0]),),
        peers=("gradient and jax.hessian", "jax.hessian"),
        at_least={"gradient and jax.hessian": 1.0},
    ),
)
