"""The networks and losses of the tables. Weights are rows of outputs: a layer is h Wᵀ + b."""

import math

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


Block = dict[str, jax.Array]


def transformer_loss(parameters: list[Block], X: jax.Array, labels: jax.Array, heads: int = 4) -> jax.Array:
    """Cross-entropy of transformer blocks (attention and a gelu layer, layer norm before each) and a mean-pool head."""
    *blocks, head = parameters
    h = X
    for block in blocks:
        n = _layer_norm(h, block["scale1"], block["shift1"])
        batch, tokens, width = n.shape
        q, k, v = (
            (n @ block[name]).reshape(batch, tokens, heads, width // heads) for name in ("query", "key", "value")
        )
        scores = jnp.einsum("bthd,bshd->bhts", q, k) / (width // heads) ** 0.5
        mixed = jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(scores, axis=-1), v).reshape(batch, tokens, width)
        h = h + mixed @ block["out"]
        n = _layer_norm(h, block["scale2"], block["shift2"])
        h = h + jax.nn.gelu(n @ block["wide"] + block["bias1"]) @ block["narrow"] + block["bias2"]
    return cross_entropy(h.mean(1) @ head["weight"] + head["bias"], labels)


def _layer_norm(h: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
    centred = h - h.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5) * scale + shift


def make_transformer(blocks: int, width: int, classes: int, seed: int) -> list[Block]:
    """Normal weights of variance 1/fan-in, the inner layer four times as wide."""
    shapes = dict.fromkeys(("query", "key", "value", "out"), (width, width))
    shapes |= {"wide": (width, 4 * width), "narrow": (4 * width, width)}
    ones, zeros = jnp.ones(width), jnp.zeros(width)
    made: list[Block] = []
    for key in jax.random.split(jax.random.key(seed), blocks):
        keys = jax.random.split(key, len(shapes))
        weights = {
            name: jax.random.normal(k, s) / s[0] ** 0.5 for k, (name, s) in zip(keys, shapes.items(), strict=True)
        }
        rest = {"scale1": ones, "shift1": zeros, "scale2": ones, "shift2": zeros, "bias1": jnp.zeros(4 * width)}
        made.append({**weights, **rest, "bias2": zeros})
    head = jax.random.normal(jax.random.key(seed + 1), (width, classes)) / width**0.5
    return [*made, {"weight": head, "bias": jnp.zeros(classes)}]


def convolution(image: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Batch×height×width×channels with a 3×3 kernel, one place of padding on each side."""
    return jax.lax.conv_general_dilated(
        image, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def convolutional_loss(parameters: Block, X: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy of two strided convolutions with tanh and a linear head."""
    h = jnp.tanh(convolution(X, parameters["kernel1"], 2) + parameters["shift1"])
    h = jnp.tanh(convolution(h, parameters["kernel2"], 2) + parameters["shift2"])
    return cross_entropy(h.reshape(h.shape[0], -1) @ parameters["head"] + parameters["shift3"], labels)


def make_convolutional(side: int, channels: tuple[int, int], classes: int, seed: int) -> Block:
    """Normal weights of variance 1/fan-in, zero shifts, for images of one channel."""
    first, second = channels
    shapes = {
        "kernel1": (3, 3, 1, first), "kernel2": (3, 3, first, second), "head": ((side // 4) ** 2 * second, classes)
    }  # fmt: skip
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    made = {
        name: jax.random.normal(key, shape) / math.prod(shape[:-1]) ** 0.5
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    return {**made, "shift1": jnp.zeros(first), "shift2": jnp.zeros(second), "shift3": jnp.zeros(classes)}


def scalar_convolutional(x: jax.Array, parameters: Block) -> jax.Array:
    """One image in, one number out: two convolutions with tanh, a layer."""
    h = jnp.tanh(convolution(x[None, :, :, None], parameters["kernel1"], 1))
    h = jnp.tanh(convolution(h, parameters["kernel2"], 1))
    return jnp.tanh(h.ravel() @ parameters["wide"]) @ parameters["narrow"]


def make_scalar_convolutional(side: int, channels: int, width: int, seed: int) -> Block:
    """Normal weights of variance 1/fan-in."""
    shapes = {
        "kernel1": (3, 3, 1, channels), "kernel2": (3, 3, channels, channels), "wide": (side**2 * channels, width),
        "narrow": (width,)
    }  # fmt: skip
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    return {
        name: jax.random.normal(key, shape) / math.prod(shape[:-1] or shape) ** 0.5
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def gru_loss(parameters: Block, X: jax.Array, y: jax.Array) -> jax.Array:
    """Mean square error of the last state of a gated recurrent unit, by `lax.scan`; X is steps×batch×width."""

    def step(h: jax.Array, x: jax.Array) -> tuple[jax.Array, None]:
        given, kept = x @ parameters["input"] + parameters["bias"], h @ parameters["state"]
        (r1, z1, n1), (r2, z2, n2) = (jnp.split(part, 3, axis=-1) for part in (given, kept))
        z, n = jax.nn.sigmoid(z1 + z2), jnp.tanh(n1 + jax.nn.sigmoid(r1 + r2) * n2)
        return (1 - z) * n + z * h, None

    h, _ = jax.lax.scan(step, jnp.zeros_like(y), X)
    return jnp.mean((h - y) ** 2)


def lstm_loss(parameters: Block, X: jax.Array, y: jax.Array) -> jax.Array:
    """The same of a long short-term memory."""

    def step(carry: tuple[jax.Array, jax.Array], x: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        h, c = carry
        gates = x @ parameters["input"] + h @ parameters["state"] + parameters["bias"]
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    (h, _), _ = jax.lax.scan(step, (jnp.zeros_like(y), jnp.zeros_like(y)), X)
    return jnp.mean((h - y) ** 2)


def make_recurrent(gates: int, width: int, seed: int) -> Block:
    """Weights from input and state to so many gates."""
    first, second = jax.random.split(jax.random.key(seed))
    shape = (width, gates * width)
    return {
        "input": jax.random.normal(first, shape) / width**0.5,
        "state": jax.random.normal(second, shape) / width**0.5,
        "bias": jnp.zeros(gates * width),
    }
