"""The networks and losses of the table. Weights are rows of outputs: a layer is h Wᵀ + b."""

import jax
import jax.numpy as jnp

Layers = list[tuple[jax.Array, jax.Array]]


def cross_entropy(z: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean over the batch of logsumexp(z) - z[label]."""
    z = z - jax.lax.stop_gradient(z.max(1, keepdims=True))
    picked = jnp.sum(z * jax.nn.one_hot(labels, z.shape[1]), 1)
    return jnp.mean(jnp.log(jnp.sum(jnp.exp(z), 1)) - picked)


def plain_loss(layers: Layers, X: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy of tanh layers and one linear layer."""
    h = X
    for W, b in layers[:-1]:
        h = jnp.tanh(h @ W.T + b)
    W, b = layers[-1]
    return cross_entropy(h @ W.T + b, labels)


def residual_loss(layers: Layers, X: jax.Array, labels: jax.Array) -> jax.Array:
    """The same with h + tanh(h Wᵀ + b) in place of tanh(h Wᵀ + b)."""
    h = X
    for W, b in layers[:-1]:
        h = h + jnp.tanh(h @ W.T + b)
    W, b = layers[-1]
    return cross_entropy(h @ W.T + b, labels)


def scalar_network(x: jax.Array, layers: Layers) -> jax.Array:
    """One sample in, one number out."""
    h = x
    for W, b in layers[:-1]:
        h = jnp.tanh(W @ h + b)
    W, b = layers[-1]
    return (W @ h + b)[0]


def make_layers(widths: tuple[int, ...], seed: int) -> Layers:
    """Normal weights of variance 1/fan-in, zero biases."""
    keys = jax.random.split(jax.random.key(seed), len(widths) - 1)
    return [
        (jax.random.normal(key, (m, n)) / n**0.5, jnp.zeros(m))
        for key, n, m in zip(keys, widths[:-1], widths[1:], strict=True)
    ]


def make_batch(batch: int, width: int, classes: int, seed: int) -> tuple[jax.Array, jax.Array]:
    """Normal inputs and random labels."""
    first, second = jax.random.split(jax.random.key(seed))
    return jax.random.normal(first, (batch, width)), jax.random.randint(second, (batch,), 0, classes)
