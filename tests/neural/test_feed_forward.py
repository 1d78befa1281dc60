"""Back-propagation and R-back-propagation over graphs of units."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nablax as nb
from nablax import neural

SIGMAS = {"tanh": np.tanh, "sin": np.sin, "sigmoid": lambda x: 1 / (1 + np.exp(-x))}


def by_hand(mask: Any, names: Any, order: Any, w: Any, I: Any) -> Any:
    """The outputs, unit by unit in NumPy."""
    y = np.zeros(len(mask))
    for i in order:
        y[i] = SIGMAS[names[i]](sum(w[i, j] * y[j] for j in range(len(mask)) if mask[i, j])) + I[i]
    return y


def squared(y: Any, d: Any) -> Any:
    return 0.5 * np.sum((y - d) ** 2)


def cross(y: Any, d: Any) -> Any:
    return -np.sum(d * (y - np.log(np.sum(np.exp(y)))))


def random_graph(generator: np.random.Generator, n: int, share: float) -> tuple[Any, Any]:
    """An acyclic mask whose units are not numbered in order, and an order."""
    order = generator.permutation(n)
    mask = np.zeros((n, n), bool)
    mask[np.ix_(order, order)] = np.tril(generator.random((n, n)) < share, -1)
    return mask, order


@pytest.mark.parametrize(("n", "share"), [(1, 0.5), (5, 1.0), (9, 0.3), (9, 0.0)])
@pytest.mark.parametrize(("error", "own"), [(neural.squared_error, squared), (neural.cross_entropy, cross)])
def test_gradient_and_product_against_differences(n: int, share: float, error: Any, own: Any) -> None:
    generator = np.random.default_rng(n)
    mask, order = random_graph(generator, n, share)
    names = [list(SIGMAS)[k % 3] for k in range(n)]
    functions = {"tanh": jnp.tanh, "sin": jnp.sin, "sigmoid": jax.nn.sigmoid}
    units = list(generator.permutation(n)[: max(1, n // 2)])
    net = neural.FeedForward(mask, [functions[name] for name in names], error(units))
    w, v = generator.normal(size=(2, n, n))
    I, d = generator.normal(size=n), generator.random(len(units))
    E = lambda w: own(by_hand(mask, names, order, w, I)[units], d)
    np.testing.assert_allclose(net.forward(w, I).y, by_hand(mask, names, order, w, I), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(net.value(w, I, d), E(w), rtol=1e-12)
    step = 1e-4
    gradient, product = np.zeros((n, n)), np.zeros((n, n))
    for i, j in np.argwhere(mask):
        unit = np.zeros((n, n))
        unit[i, j] = step
        gradient[i, j] = (E(w + unit) - E(w - unit)) / (2 * step)
        r = step * v * mask
        product[i, j] = (E(w + unit + r) - E(w + unit - r) - E(w - unit + r) + E(w - unit - r)) / (4 * step**2)
    # truncation: step² = 1e-8 times derivatives two orders up, here below 100; rounding: 1e-15/step and 1e-15/step²
    np.testing.assert_allclose(net.gradient(w, I, d), gradient, atol=1e-6)
    np.testing.assert_allclose(net.hvp(w, v, I, d), product, atol=1e-5)


@pytest.mark.parametrize("batch", [None, 1, 4])
def test_product_against_the_engine(batch: int | None, generator: np.random.Generator) -> None:
    mask, _ = random_graph(generator, 12, 0.4)
    net = neural.FeedForward(mask, jnp.tanh, neural.cross_entropy([3, 7, 1]))
    shape = () if batch is None else (batch,)
    w, v = generator.normal(size=(2, 12, 12))
    I, d = generator.normal(size=(*shape, 12)), generator.random((*shape, 3))
    expected = nb.hvp(net.value)(w, v, I, d)
    np.testing.assert_allclose(net.hvp(w, v, I, d), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(nb.R(lambda w: net.gradient(w, I, d), v)(w), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(net.gradient(w, I, d), jax.grad(net.value)(w, I, d), rtol=0, atol=1e-12)


def test_a_layered_net_with_biases(generator: np.random.Generator) -> None:
    net = neural.FeedForward(neural.layered([3, 4, 4, 2], bias=True), jnp.tanh)
    w, v = generator.normal(size=(2, net.n, net.n)) * net.mask
    x, d = generator.normal(size=(5, 3)), generator.normal(size=(5, 2))
    I = np.concatenate([x, np.zeros((5, 10)), np.ones((5, 1))], axis=1)

    def plain(w: Any) -> Any:  # the same net written layer by layer, inputs through σ of 0
        h, start = x, 0
        one = I[:, -1:]
        for a, b in ((3, 4), (4, 4), (4, 2)):
            rows = slice(start + a, start + a + b)
            h = jnp.tanh(h @ w[rows, start : start + a].T + one @ w[rows, -1:].T)
            start += a
        return 0.5 * jnp.sum((h - d) ** 2)

    np.testing.assert_allclose(net.value(w, I, d), plain(w), rtol=1e-13)
    np.testing.assert_allclose(net.hvp(w, v, I, d), jax.jvp(jax.grad(plain), (w,), (v,))[1], atol=1e-12)
    assert repr(net) == "FeedForward(14 units in 4 levels, 46 weights)"


def test_a_users_error_and_transformations(generator: np.random.Generator) -> None:
    net = neural.FeedForward(neural.layered([2, 3]), jnp.tanh, lambda y, target: jnp.sum(jnp.cosh(y)) * target)
    w, v = generator.normal(size=(2, 5, 5))
    I, t = generator.normal(size=(4, 5)), generator.random(4)
    product = net.hvp(w, v, I, t)
    np.testing.assert_allclose(product, nb.hvp(net.value)(w, v, I, t), atol=1e-12)
    np.testing.assert_allclose(jax.jit(net.hvp)(w, v, I, t), product, atol=1e-13)
    each = jax.vmap(net.hvp, (None, None, 0, 0))(w, v, I, t)
    np.testing.assert_allclose(each.sum(axis=0), product, atol=1e-12)
    single = net.hvp(w.astype("float32"), v, I, t)
    assert single.dtype == "float32"


def test_table(generator: np.random.Generator) -> None:
    mask = np.zeros((4, 4), bool)
    mask[2, [0, 1]] = mask[3, [0, 2]] = True
    net = neural.FeedForward(mask, jnp.tanh)
    w, v = generator.normal(size=(2, 4, 4))
    I, d = np.array([0.5, -1.0, 0.0, 0.0]), np.array([0.2])
    table = net.table(w, I, d, v)
    gradient, product = net.gradient(w, I, d), net.hvp(w, v, I, d)
    for (i, j), name in (((2, 0), "₂₀"), ((2, 1), "₂₁"), ((3, 0), "₃₀"), ((3, 2), "₃₂")):
        np.testing.assert_allclose(table[f"∂E/∂w{name}"], gradient[i, j], rtol=1e-12)
        np.testing.assert_allclose(table[f"(H v){name}"], product[i, j], rtol=1e-12)
    assert all(line.rule for line in table.lines)
    heads = [heading for heading, _ in table.parts]
    assert heads == ["forward", "backward", "gradient", "R forward", "R backward", "H v"]
    for line in table.lines:  # what is printed in numbers is the value: four digits each, sums of up to six products
        numbers = line.numbers.replace("·", "*").replace("−", "-")
        assert abs(eval(numbers) - line.value) < 5e-3 * (1 + abs(line.value)), str(line)


def test_printed_table() -> None:
    net = neural.FeedForward(neural.layered([1, 1]), lambda x: x)
    table = net.table(np.array([[0, 0], [0.5, 0]]), np.array([2.0, 0.0]), np.array([0.0]))
    assert str(table).splitlines()[3:] == [
        "  y₁ = <lambda>(x₁) + I₁ = 1 + 0 =   1   output: σ of the input, plus the external input",
        "  E  = E(y)              = 0.5   = 0.5   the error",
        "backward",
        "  ∂E/∂y₁ = e₁            = 1     =   1   chain rule: E itself, and the units that read the output",
        "  ∂E/∂x₁ = σ′(x₁) ∂E/∂y₁ = 1·1   =   1   chain rule through σ",
        "  ∂E/∂y₀ = w₁₀ ∂E/∂x₁    = 0.5·1 = 0.5   chain rule: E itself, and the units that read the output",
        "gradient",
        "  ∂E/∂w₁₀ = y₀ ∂E/∂x₁ = 2·1 = 2   chain rule: ∂x_i/∂w_ij = y_j",
    ]


NET = neural.FeedForward(neural.layered([2, 1]), jnp.tanh)
CYCLE = np.zeros((4, 4), bool)
CYCLE[[0, 1, 2, 2], [2, 0, 1, 3]] = True


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (
            lambda: neural.FeedForward(CYCLE, jnp.tanh),
            "FeedForward got a mask with a cycle: 0 → 1 → 2 → 0. A feed-forward network's graph is acyclic. Remove one of "
            "these weights, or use neural.Recurrent.",
        ),
        (
            lambda: neural.FeedForward(np.ones((2, 3)), jnp.tanh),
            "FeedForward got a mask of shape [2, 3]. Pass a square boolean array; mask[i, j] is true where a weight from "
            "unit j to unit i exists.",
        ),
        (
            lambda: neural.FeedForward(neural.layered([2, 2]), jax.nn.softmax),
            "FeedForward got the function 'softmax' as sigma, which does not act element by element: of an array it gives "
            "other numbers than of its elements. Pass one scalar function of x_i.",
        ),
        (
            lambda: neural.FeedForward(neural.layered([2, 2]), [jnp.tanh]),
            "FeedForward got 1 functions sigma for 4 units. Pass one function for all, or one for each unit.",
        ),
        (
            lambda: neural.FeedForward(neural.layered([2, 2]), jnp.tanh, neural.squared_error([4])),
            "FeedForward compares the units [4]; the network has the units 0 to 3. Name each compared unit once.",
        ),
        (
            lambda: NET.gradient(np.ones((2, 2)), np.ones(3), np.ones(1)),
            "FeedForward.gradient got w of shape [2, 2]; the weights of a network of 3 units are one square array, w[i, j] "
            "from unit j to unit i. Pass shape [3, 3].",
        ),
        (
            lambda: NET.hvp(np.ones((3, 3)), np.ones(3), np.ones(3), np.ones(1)),
            "FeedForward.hvp got v of shape [3]; the weights w have shape [3, 3]. Give v the shape of w.",
        ),
        (
            lambda: NET.forward(np.ones((3, 3)), np.ones(2)),
            "FeedForward.forward got I of shape [2]; the network has 3 units. Pass shape [3], or [batch, 3] for several "
            "examples.",
        ),
        (
            lambda: NET.value(np.ones((3, 3)), np.ones((5, 3)), np.ones(1)),
            "FeedForward.value got a target of shape [1]; the error compares 1 units and the external input I has shape "
            "[5, 3]. Pass shape [5, 1].",
        ),
        (
            lambda: NET.table(np.ones((3, 3)), np.ones((5, 3)), np.ones((5, 1))),
            "FeedForward.table got an external input I of shape [5, 3]; a table shows one example. Pass shape [3].",
        ),
        (
            lambda: neural.layered([2, 0]),
            "layered got widths=[2, 0]. Pass one positive integer for each layer, inputs first.",
        ),
    ],
)
def test_refusals(ask: Any, text: str) -> None:
    with pytest.raises(nb.ArgumentError) as caught:
        ask()
    assert str(caught.value) == text
