"""The exact curvature of a residual network on scikit-learn's handwritten digits.

python examples/digits.py                      the Hessian's diagonal and trace, weight by weight
nablax report examples/digits.py:loss          everything about the Hessian
"""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

import nablax as nb

WIDTH = 32
BLOCKS = 2
PICTURES = 256
STEPS = 200

Params = dict[str, Any]


def logits(params: Params, X: jax.Array) -> jax.Array:
    """Scores of the ten digits: a layer, residual blocks h + tanh(hW + b), a linear layer."""
    h = jnp.tanh(X @ params["first"]["W"] + params["first"]["b"])
    for block in params["blocks"]:
        h = h + jnp.tanh(h @ block["W"] + block["b"])
    return h @ params["last"]["W"] + params["last"]["b"]


def loss(params: Params, X: jax.Array, y: jax.Array) -> jax.Array:
    """Mean cross-entropy of pictures X (pictures × 64) with digits y (pictures)."""
    log_p = jax.nn.log_softmax(logits(params, X))
    return -jnp.mean(jnp.take_along_axis(log_p, y[:, None], axis=1))


def initial_params(seed: int = 0) -> Params:
    """Weights of standard deviation 1/sqrt(inputs), biases zero."""
    keys = iter(jax.random.split(jax.random.key(seed), BLOCKS + 2))

    def layer(inputs: int, outputs: int) -> Params:
        W = jax.random.normal(next(keys), (inputs, outputs), jnp.float32) / inputs**0.5
        return {"W": W, "b": jnp.zeros(outputs, jnp.float32)}

    return {
        "first": layer(64, WIDTH),
        "blocks": [layer(WIDTH, WIDTH) for _ in range(BLOCKS)],
        "last": layer(WIDTH, 10),
    }


@jax.jit
def train(params: Params, X: jax.Array, y: jax.Array) -> Params:
    """Some steps of gradient descent with momentum on all pictures; nothing is random."""

    def step(_: int, state: tuple[Params, Params]) -> tuple[Params, Params]:
        params, velocity = state
        velocity = jax.tree.map(lambda v, g: 0.9 * v - 0.05 * g, velocity, jax.grad(loss)(params, X, y))
        return jax.tree.map(jnp.add, params, velocity), velocity

    return jax.lax.fori_loop(0, STEPS, step, (params, jax.tree.map(jnp.zeros_like, params)))[0]


def example_args() -> tuple[Params, jax.Array, jax.Array]:
    """Trained weights, and the pictures that they were trained on."""
    data = load_digits()
    X = jnp.asarray(data.data[:PICTURES] / 16, jnp.float32)
    y = jnp.asarray(data.target[:PICTURES], jnp.int32)
    return train(initial_params(), X, y), X, y


def main() -> None:
    params, X, y = example_args()
    accuracy = np.mean(np.asarray(logits(params, X)).argmax(axis=1) == np.asarray(y))
    print(f"loss {loss(params, X, y):.6f}, {accuracy:.1%} of {PICTURES} pictures right")

    start = time.perf_counter()
    curvature = nb.curvature(loss)(params, X, y)
    diagonal, trace = curvature.diagonal(), float(curvature.trace())
    seconds = time.perf_counter() - start

    print(f"\n{'weights':<20}{'shape':<12}{'smallest d²f/dw²':>18}{'largest':>12}{'sum':>12}")
    for path, values in jax.tree_util.tree_leaves_with_path(diagonal):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        shape = " × ".join(map(str, values.shape))
        print(f"{name:<20}{shape:<12}{values.min():>18.3e}{values.max():>12.3e}{values.sum():>12.6f}")

    count = sum(values.size for values in jax.tree.leaves(diagonal))
    print(f"\ntrace of the {count:,} × {count:,} Hessian: {trace:.6f}")
    print(f"exact, {seconds:.2f} s with planning and compiling")


if __name__ == "__main__":
    main()
