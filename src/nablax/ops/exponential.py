"""The exponential of a matrix, by a polynomial of few products and squarings.

exp(A) = p(A / 2^s)^(2^s), p a Taylor polynomial of degree 18 in five products, or of degree 8 in three where A is small
(Bader, Blanes and Casas 2019). Its derivative along E is the Fréchet derivative L(A, E): each product X Y of the
polynomial gives X' Y + X Y', each squaring X X' + X' X (Al-Mohy and Higham 2009), so that all directions share the
powers of A. That holds for every matrix, a defective one too; no eigenvalue and no linear system stands here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from nablax.ops.jaxprs import Equation
from nablax.ops.library_row import LibraryRow

# Factors of the polynomial of degree 18: coefficients of 1, A, A², A³, A⁶ (equations 31 to 33 of the paper).
_DEGREE_18 = (
    (0.0, -1.00365581030144618291e-01, -8.02924648241156932449e-03, -8.92138498045729985177e-04, 0.0),
    (0.0, 3.97849749499645077844e-01, 1.36783778460411720168e00, 4.98289622525382669416e-01,
     -6.37898194594723280150e-04),
    (-1.09676396052962061844e01, 1.68015813878906206114e00, 5.71779846478865511061e-02, -6.98210122488052056106e-03,
     3.34975017086070470649e-05),
    (-9.04316832390810593223e-02, -6.76404519071381882256e-02, 6.75961301770459654925e-02, 2.95552570429315521194e-02,
     -1.39180257516060693404e-05),
    (0.0, 0.0, -9.23364619367118555360e-02, -1.69364939002081722752e-02, -1.40086798182036094347e-05),
)  # fmt: skip

# Up to these norms the polynomials of degree 8 and 18 are exact to rounding, their second derivatives too (the
# remainder of the k-th derivative of one of degree m is |A|^(m + 1 - k) / (m + 1 - k)!). Up to the third JAX's function
# halves nothing; after more halvings than it may it gives nan.
_NORMS = {
    "float32": (0.3, 2.6, 3.925724783138660),
    "float64": (0.015, 0.8, 5.371920351148152),
}

# A matrix of so few rows is multiplied faster than it is decided how often.
_FEW_ROWS = 8


def exponential(a: Any, *, max_squarings: int) -> Any:
    """The exponential of each matrix of a stack.

    Args:
        a: matrices, float32 or float64.
        max_squarings: as JAX's; a matrix that it takes too many for is nan.

    Returns:
        The exponentials.
    """
    small, large, unhalved = _NORMS[a.dtype.name]
    norm = jax.lax.stop_gradient(jnp.max(jnp.sum(jnp.abs(a), axis=-2), axis=-1))
    most = max_squarings + 1 + math.ceil(math.log2(unhalved / large))
    turns = jnp.clip(jnp.ceil(jnp.log2(norm / large)), 0, most)
    scaled = a * (2.0**-turns)[..., None, None]
    if a.shape[-1] > _FEW_ROWS:
        start = jax.lax.cond(jnp.max(norm) <= small, _degree_8, _degree_18, scaled)
    else:
        start = _degree_18(scaled)
    found = _squared(start, turns, most)
    too_large = jnp.floor(jnp.log2(norm / unhalved)) > max_squarings
    return jnp.where(too_large[..., None, None], jnp.nan, found)


def second_derivative(a: Any, weight: Any, direction: Any, *, max_squarings: int) -> Any:
    """The gradient of <weight, exp(A)> differentiated along a direction.

    The gradient is L(A', weight) = L(A, weight')': forward mode twice, which keeps nothing of the squarings.
    """

    def value(x: Any) -> Any:
        return exponential(x, max_squarings=max_squarings)

    def turned(x: Any) -> Any:
        return jax.jvp(value, (x,), (jnp.swapaxes(weight, -1, -2),))[1]

    return jnp.swapaxes(jax.jvp(turned, (a,), (direction,))[1], -1, -2)


def _squared(start: Any, turns: Any, most: int) -> Any:
    """Each matrix of a stack squared so many times, at most `most`."""
    last = jnp.max(turns)

    def turn(power: Any, k: Any) -> tuple[Any, None]:
        def square(power: Any) -> Any:
            return jnp.where((k < turns)[..., None, None], _product(power, power), power)

        return jax.lax.cond(k < last, square, lambda power: power, power), None

    return jax.lax.scan(turn, start, jnp.arange(most, dtype=turns.dtype))[0]


def _product(a: Any, b: Any) -> Any:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _combined(coefficients: Sequence[float], powers: Sequence[Any]) -> Any:
    return sum(c * power for c, power in zip(coefficients, powers, strict=True) if c)


def _degree_8(a: Any) -> Any:
    root = math.sqrt(177.0)
    one = jnp.eye(a.shape[-1], dtype=a.dtype)
    second = _product(a, a)
    fourth = _product(second, (1 + root) / 132 * a + (1 + root) / 528 * second)
    left = 2 / 3 * second + fourth
    coefficients = ((29 * root - 271) / 210, 11 * (root - 1) / 840, 11 * (root - 9) / 3360, (89 - root) / 2240)
    right = _combined(coefficients, (one, a, second, fourth))
    return one + a + (857 - 58 * root) / 630 * second + _product(left, right)


def _degree_18(a: Any) -> Any:
    second = _product(a, a)
    third = _product(a, second)
    powers = (jnp.eye(a.shape[-1], dtype=a.dtype), a, second, third, _product(third, third))
    first, low, outer, inner, last = (_combined(row, powers) for row in _DEGREE_18)
    ninth = _product(first, last) + inner
    return low + _product(outer + ninth, ninth)


def _options(call: Equation) -> Mapping[str, Any]:
    # the squarings are the longest loop of JAX's text
    return {"max_squarings": max((int(length) for length in re.findall(r"length=(\d+)", call.text)), default=0)}


def _flops(shape: tuple[int, ...]) -> float:
    return 14.0 * float(np.prod(shape)) * shape[-1]


def _matrices(generator: np.random.Generator) -> npt.NDArray[Any]:
    return np.asarray(generator.normal(size=(2, 3, 3)) * np.array([0.1, 2.0])[:, None, None])


EXPONENTIAL = LibraryRow(
    "expm", jax.scipy.linalg.expm, exponential, second_derivative, _options, tuple(_NORMS), _flops, 2, _matrices,
)  # fmt: skip
