"""Windows that overlap: each place once, as many as there are, and the sums that a list of them would give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close

import nablax as nb
from nablax.contraction.index import Label, affine, fresh
from nablax.contraction.term import Factor, Term
from nablax.endings.meeting import met
from nablax.graph.graph import Graph

KERNEL = np.arange(1.0, 10.0).reshape(1, 1, 3, 3) / 20.0
CHANNELS = np.arange(1.0, 19.0).reshape(3, 2, 3) / 30.0


def image(x: Any, *shape: int) -> Any:
    return x.reshape(shape)


def convolved(window: Any, stride: tuple[int, int], padding: Any, **options: Any) -> Callable[[Any], Any]:
    return lambda x: jax.lax.conv_general_dilated(image(x, 1, 1, 7, 8), window, stride, padding, **options)


def in_margin(x: Any, **options: Any) -> Any:
    margin = jnp.pad(image(x, 1, 1, 7, 8), ((0, 0), (0, 0), (1, 2), (0, 1)))
    return jax.lax.conv_general_dilated(margin, KERNEL, (1, 1), ((0, 0), (0, 0)), **options)


# unknowns, what is summed of the sine of
FUNCTIONS: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "a margin behind": (20, lambda x: jnp.convolve(jnp.pad(x, (0, 5)), np.arange(1.0, 7.0), mode="valid")[:20]),
    "a margin before": (20, lambda x: jnp.convolve(jnp.pad(x, (3, 0)), np.arange(1.0, 7.0), mode="valid")),
    "windows of two": (20, lambda x: jnp.convolve(x, np.array([2.0, -1.0]), mode="full")),
    "a window wider than the array": (5, lambda x: jnp.convolve(x, np.arange(1.0, 10.0), mode="same")),
    "centred windows": (20, lambda x: jnp.convolve(x, np.arange(1.0, 8.0), mode="same")),
    "windows and neighbours": (20, lambda x: jnp.convolve(x, np.arange(1.0, 8.0), mode="same")[1:] * x[1:] * x[:-1]),
    "an image": (56, convolved(KERNEL, (1, 1), "SAME")),
    "a margin of another width on each side": (56, convolved(KERNEL, (1, 1), ((2, 0), (1, 3)))),
    "every other row": (56, convolved(KERNEL, (2, 1), "VALID")),
    "a wide kernel": (56, convolved(KERNEL, (1, 1), "SAME", rhs_dilation=(2, 1))),
    "an image in a margin": (56, in_margin),
    "a stretched image in a margin": (56, lambda x: in_margin(x, lhs_dilation=(2, 1))),
    "stretched both ways": (56, lambda x: in_margin(x, lhs_dilation=(2, 2), rhs_dilation=(1, 2))),
    "a pool of sums": (20, lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, (4,), (1,), "SAME")),
    "channels in a margin": (
        36,
        lambda x: jax.lax.conv_general_dilated(
            jnp.pad(image(x, 2, 2, 9), ((0, 0), (0, 0), (2, 2))), CHANNELS, (1,), "VALID"
        ),
    ),
    "more channels by a margin": (
        18,
        lambda x: jax.lax.conv_general_dilated(
            jnp.pad(image(x, 2, 1, 9), ((0, 0), (0, 1), (2, 2))), CHANNELS, (1,), "VALID"
        ),
    ),
    "a margin that is cut again": (
        20, lambda x: jnp.convolve(jax.lax.pad(x, 0.0, [(-2, 3, 0)]), np.arange(1.0, 4.0), mode="valid")
    ),
    "a margin of ones": (
        20, lambda x: jnp.convolve(jnp.pad(x, 2, constant_values=1.0), np.arange(1.0, 4.0), mode="valid")
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_overlapping_windows(name: str) -> None:
    n, inner = FUNCTIONS[name]
    f = lambda x: jnp.sum(jnp.sin(inner(x)))
    x = np.cos(np.arange(float(n)))
    want = np.asarray(jax.jit(jax.hessian(f))(x))
    found = nb.hessian_sparse(f)(x)
    assert_close(found.todense(), want)
    at = np.asarray(found.indices)
    assert len({tuple(pair) for pair in at}) == found.nse
    # a place is stored where some window meets another: all weights are positive, so are these sums
    assert found.nse >= np.count_nonzero(want)
    grown = np.asarray(jax.hessian(lambda x: jnp.sum(inner(x) ** 2))(np.ones(n)))
    if "neighbours" not in name:
        assert found.nse == np.count_nonzero(np.abs(grown) > 1e-12)
    assert_close(nb.hessian(f)(x), want)


def test_a_place_named_by_three_labels() -> None:
    # c_i k_s k_t at row i + s and column i + t
    graph = Graph()
    c, k = graph.constant(np.array([1.0, 10.0, 100.0])), graph.constant(np.ones(2))
    i, s, t = Label(3), Label(2), Label(2)
    axes = [affine([(label, 1)], 0, label.size) for label in (i, s, t)]
    sides = ((affine([(i, 1), (s, 1)], 0, 4),), (affine([(i, 1), (t, 1)], 0, 4),))
    term = Term(1.0, (Factor(c, (axes[0],)), Factor(k, (axes[1],)), Factor(k, (axes[2],))), sides)
    assert met(graph, term, np.float64) is None  # 12 boxes instead of 12 values: nothing is gained
    wide = Label(40)
    sides = ((affine([(wide, 1), (s, 1)], 0, 41),), (affine([(wide, 1), (t, 1)], 0, 41),))
    many = graph.constant(np.arange(40.0))
    term = Term(1.0, (Factor(many, (affine([(wide, 1)], 0, 40),)), *term.factors[1:]), sides)
    assert met(graph, term, np.float64) is None  # 160 values at 121 places: more than half


def test_places_that_no_two_values_share_stay() -> None:
    graph = Graph()
    rows, columns = fresh((30,)), fresh((30,))
    array = graph.constant(np.ones((30, 30)))
    assert met(graph, Term(1.0, (Factor(array, (*rows, *columns)),), (rows, columns)), np.float64) is None


def test_a_band_of_windows_is_prepared_without_listing_them() -> None:
    n, width = 4000, 30
    f = lambda x: jnp.sum(jnp.sin(jnp.convolve(jnp.pad(x, (0, width)), jnp.ones(width + 1), mode="valid")[:n]))
    x = np.cos(np.arange(float(n)))
    found = nb.hessian_sparse(f)(x)
    assert found.nse == n * (2 * width + 1) - width * (width + 1)
    assert found.indices_sorted
    text = jax.jit(lambda x: nb.hessian_sparse(f)(x).data).lower(x).as_text()
    assert f"tensor<{n * (width + 1) ** 2}x" not in text
