"""The closed form of each row by hand in JAX: what a person who knows the answer would write.

Each takes the row's arguments and returns what the row's question returns. Diagonals and the Laplacian are
written as cores and legs (H = Σ Lᵀ M L), with the order of products that was fastest here.
"""

import jax
import jax.numpy as jnp

from benchmarks.cases import RIDGE
from benchmarks.networks import Block, Layers


def logistic(w: jax.Array, X: jax.Array, y: jax.Array) -> jax.Array:
    """Xᵀ diag(s(1-s)/m) X + λI with s the logistic function of the margin, y² = 1."""
    s = jax.nn.sigmoid(-y * (X @ w))
    d = s * (1 - s) / X.shape[0]
    return (X * d[:, None]).T @ X + RIDGE * jnp.eye(X.shape[1])


def least_squares(x: jax.Array, A: jax.Array, b: jax.Array) -> jax.Array:
    """AᵀA."""
    return A.T @ A


def log_sum_exp(x: jax.Array, A: jax.Array, b: jax.Array) -> jax.Array:
    """Aᵀ(diag p - ppᵀ)A, the diagonal and the rank-one core kept apart."""
    p = jax.nn.softmax(A @ x + b)
    q = p @ A
    return (A * p[:, None]).T @ A - jnp.outer(q, q)


def quadratic(x: jax.Array, A: jax.Array) -> jax.Array:
    """A + Aᵀ."""
    return A + A.T


def matrix_least_squares(X: jax.Array, A: jax.Array, B: jax.Array) -> jax.Array:
    """H[ij,kl] = 2 (AᵀA)[i,k] δ[j,l]."""
    return (2 * A.T @ A)[:, None, :, None] * jnp.eye(X.shape[1])[None, :, None, :]


def log_determinant(X: jax.Array) -> jax.Array:
    """H[ij,kl] = -Y[j,k] Y[l,i] with Y the inverse."""
    Y = jnp.linalg.inv(X)
    return -Y[None, :, :, None] * Y.T[:, None, None, :]


def factorisation(U: jax.Array, V: jax.Array, T: jax.Array) -> jax.Array:
    """H[ia,jb] = 2 δ[i,j] (VᵀV)[a,b]."""
    return jnp.eye(U.shape[0])[:, None, :, None] * (2 * V.T @ V)[None, :, None, :]


def plain_diagonal(layers: Layers, X: jax.Array, labels: jax.Array) -> Layers:
    """Two tanh layers.

    Q[l] is the Hessian's diagonal per sample in the layer's z[l] = W[l] h[l-1] + b[l]. A weight meets its own
    input linearly, so its diagonal is Σ_batch Q[l,i] h[l-1,j]². With s = v̄ tanh'' and d = tanh' the cores are
    diag p - ppᵀ at z3, diag s2 at z2 and diag s1 at z1; their legs to z1 are W3 diag(d2) W2 diag(d1),
    W2 diag(d1) and the identity.
    """
    (W1, b1), (W2, b2), (W3, b3) = layers
    B, C, n = X.shape[0], W3.shape[0], W2.shape[1]
    h1 = jnp.tanh(X @ W1.T + b1)
    h2 = jnp.tanh(h1 @ W2.T + b2)
    p = jax.nn.softmax(h2 @ W3.T + b3)
    d1, d2 = 1 - h1 * h1, 1 - h2 * h2
    a2 = (p - jax.nn.one_hot(labels, C)) / B @ W3
    a1 = (a2 * d2) @ W2
    s2, s1 = -2 * a2 * h2 * d2, -2 * a1 * h1 * d1

    Q3 = (p - p * p) / B
    Q2 = d2 * d2 * (p @ (W3 * W3) - (p @ W3) ** 2) / B + s2
    leg = ((W3[None] * d2[:, None]).reshape(B * C, -1) @ W2).reshape(B, C, n)
    Q1 = d1 * d1 * (_variance(p, leg) / B + s2 @ (W2 * W2)) + s1
    return _weight_diagonals((Q1, Q2, Q3), (X, h1, h2))


def residual_diagonal(layers: Layers, X: jax.Array, labels: jax.Array) -> Layers:
    """Three residual layers, as `plain_diagonal`; the legs through a layer are now I + diag(d) W.

    The dear one is the leg of core s3 to h1, W3 (I + diag(d2) W2), one 64×64 matrix per sample. In its
    product only d2 depends on the sample: one matrix product with W3[k,j] W2[j,i], which is made once.
    """
    (W1, b1), (W2, b2), (W3, b3), (W4, b4) = layers
    B, C, n = X.shape[0], W4.shape[0], X.shape[1]
    t1 = jnp.tanh(X @ W1.T + b1)
    h1 = X + t1
    t2 = jnp.tanh(h1 @ W2.T + b2)
    h2 = h1 + t2
    t3 = jnp.tanh(h2 @ W3.T + b3)
    h3 = h2 + t3
    p = jax.nn.softmax(h3 @ W4.T + b4)
    d1, d2, d3 = 1 - t1 * t1, 1 - t2 * t2, 1 - t3 * t3
    a3 = (p - jax.nn.one_hot(labels, C)) / B @ W4
    a2 = a3 + (a3 * d3) @ W3
    a1 = a2 + (a2 * d2) @ W2
    s3, s2, s1 = -2 * a3 * t3 * d3, -2 * a2 * t2 * d2, -2 * a1 * t1 * d1

    Q4 = (p - p * p) / B
    Q3 = d3 * d3 * (p @ (W4 * W4) - (p @ W4) ** 2) / B + s3
    leg2 = W4 + ((W4[None] * d3[:, None]).reshape(B * C, n) @ W3).reshape(B, C, n)
    Q2 = d2 * d2 * (_variance(p, leg2) / B + s3 @ (W3 * W3)) + s2
    leg1 = leg2 + ((leg2 * d2[:, None]).reshape(B * C, n) @ W2).reshape(B, C, n)
    pairs = (W3.T[:, :, None] * W2[:, None, :]).reshape(n, n * n)
    leg3 = W3 + (d2 @ pairs).reshape(B, n, n)
    through = jnp.einsum("bk,bki->bi", s3, leg3 * leg3)
    Q1 = d1 * d1 * (_variance(p, leg1) / B + through + s2 @ (W2 * W2)) + s1
    return _weight_diagonals((Q1, Q2, Q3, Q4), (X, h1, h2, h3))


def deep_diagonal(layers: Layers, X: jax.Array, labels: jax.Array, residual: bool) -> Layers:
    """Any number of tanh layers, plain or residual: one dense block per sample, carried down the layers.

    With h' = t (+ h), t = tanh(u), u = W h + b, d = tanh'(u), S and a the Hessian and the adjoint of the loss in h' and
    c = a tanh''(u): the diagonal in u is d² diag(S) + c, and in h, where J = diag(d) W (+ I),

        JᵀSJ + Wᵀ diag(c) W = Wᵀ (diag(d) (R + [S]) + diag(c) W) + [S + R],   R = S diag(d) W,

    the brackets for residual layers: two products of 64×64 matrices per sample.
    """
    *hidden, (W, b) = layers
    inputs, slopes, h = [], [], X
    for V, c in hidden:
        t = jnp.tanh(h @ V.T + c)
        inputs.append(h)
        slopes.append((t, 1 - t * t))
        h = h + t if residual else t
    p = jax.nn.softmax(h @ W.T + b)
    B, C = p.shape
    diagonals, squared = [(p - p * p) / B], [h]
    a = (p - jax.nn.one_hot(labels, C)) / B @ W
    root, mean = jnp.sqrt(p)[:, :, None] * W, p @ W
    S = (jnp.einsum("bci,bcj->bij", root, root) - mean[:, :, None] * mean[:, None, :]) / B
    for number, ((V, _), u, (t, d)) in reversed(list(enumerate(zip(hidden, inputs, slopes, strict=True)))):
        c = -2 * a * t * d
        diagonals.append(d * d * jnp.diagonal(S, axis1=1, axis2=2) + c)
        squared.append(u)
        if number:
            R = jnp.einsum("bij,jk->bik", S * d[:, None, :], V)
            inner = d[:, :, None] * (R + S if residual else R) + c[:, :, None] * V
            pulled = jnp.einsum("ji,bjk->bik", V, inner)
            S = pulled + S + R if residual else pulled
            a = (a * d) @ V + (a if residual else 0)
    return _weight_diagonals(tuple(diagonals[::-1]), tuple(squared[::-1]))


def convolutional_diagonal(parameters: Block, X: jax.Array, labels: jax.Array) -> Block:
    """Two strided convolutions with tanh and a linear head; P[l] are the windows that layer l reads.

    A kernel is shared by all places y, so that legs are summed over places before they are squared: with
    L = Σ_y (leg to z[l] at y) P[l, y] the diagonal is the variance of L under p, and Σ s L² for the cores of tanh.
    Those of the second layer have few legs each, the places k of one window: Σ_k K2[k] (d1 P1)[2y + k - 1].
    """
    K1, K2 = parameters["kernel1"], parameters["kernel2"]
    B, C = X.shape[0], parameters["head"].shape[1]

    def windows(h: jax.Array) -> jax.Array:
        places = 2 * jnp.arange(h.shape[1] // 2)[:, None] + jnp.arange(3)
        h = jnp.pad(h, [(0, 0), (1, 1), (1, 1)] + [(0, 0)] * (h.ndim - 3))
        h = jnp.take(jnp.take(h, places, axis=2), places, axis=1)
        return jnp.moveaxis(h, 2, 3)

    P1 = windows(X)
    h1 = jnp.tanh(jnp.einsum("bxyklc,klco->bxyo", P1, K1) + parameters["shift1"])
    P2 = windows(h1)
    h2 = jnp.tanh(jnp.einsum("bxyklc,klco->bxyo", P2, K2) + parameters["shift2"])
    p = jax.nn.softmax(h2.reshape(B, -1) @ parameters["head"] + parameters["shift3"])
    W3 = parameters["head"].reshape(*h2.shape[1:], C)
    d1, d2 = 1 - h1 * h1, 1 - h2 * h2
    a2 = jnp.einsum("bm,xyom->bxyo", (p - jax.nn.one_hot(labels, C)) / B, W3)
    back = lambda g: jax.vjp(lambda h: jnp.einsum("bxyklc,klco->bxyo", windows(h), K2), jnp.zeros_like(h1))[1](g)[0]
    s2, s1 = -2 * a2 * h2 * d2, -2 * back(a2 * d2) * h1 * d1

    Q3 = (p - p * p) / B
    leg2 = jnp.moveaxis(W3 * d2[..., None], -1, 1)
    leg1 = jax.vmap(back, 1, 1)(leg2) * d1[:, None]
    inner = windows(jnp.einsum("bxyo,bxyklc->bxyoklc", d1, P1))
    G = jnp.einsum("klao,bxyklaijc->bxyoijca", K2, inner)
    S = jnp.einsum("klao,bxykla->bxyoa", K2, windows(d1))
    spread = lambda L: (_variance(p, L.reshape(B, C, -1)).sum(0) / B).reshape(L.shape[2:])
    return {
        "kernel1": spread(jnp.einsum("bmxyo,bxyklc->bmklco", leg1, P1))
        + jnp.einsum("bxyo,bxyoklca->klca", s2, G * G)
        + jnp.einsum("bxyo,bxyklc->klco", s1, P1 * P1),
        "shift1": spread(leg1.sum((2, 3))) + jnp.einsum("bxyo,bxyoa->a", s2, S * S) + s1.sum((0, 1, 2)),
        "kernel2": spread(jnp.einsum("bmxyo,bxyklc->bmklco", leg2, P2)) + jnp.einsum("bxyo,bxyklc->klco", s2, P2 * P2),
        "shift2": spread(leg2.sum((2, 3))) + s2.sum((0, 1, 2)),
        "head": jnp.einsum("bi,bm->im", (h2 * h2).reshape(B, -1), Q3),
        "shift3": Q3.sum(0),
    }


def rosenbrock_chain(x: jax.Array) -> jax.Array:
    """Values of the tridiagonal Hessian of Σ 100 (x[k+1] - x[k]²)² + (1 - x[k])²: diagonal, upper, lower."""
    inner = 1200 * x[:-1] ** 2 - 400 * x[1:] + 2
    diagonal = jnp.pad(inner, (0, 1)) + jnp.pad(jnp.full_like(inner, 200), (1, 0))
    side = -400 * x[:-1]
    return jnp.concatenate([diagonal, side, side])


def stencil_least_squares(u: jax.Array, b: jax.Array) -> jax.Array:
    """Values of the 13-point Hessian of ½‖r‖², r = Lu + 0.1 u³ - b, L the 5-point stencil with zeros outside.

    With q = 4 + 0.3 u², the diagonal of r's Jacobian: q² + (number of neighbours) + 0.6 u r on the diagonal,
    -q[i] - q[j] between neighbours, 2 between diagonal neighbours, 1 two steps apart; each pair stands twice.
    """
    rows, columns = u.shape
    padded = jnp.pad(u, 1)
    r = 4 * u - padded[:-2, 1:-1] - padded[2:, 1:-1] - padded[1:-1, :-2] - padded[1:-1, 2:] + 0.1 * u**3 - b
    inside = jnp.pad(jnp.ones_like(u), 1)
    neighbours = inside[:-2, 1:-1] + inside[2:, 1:-1] + inside[1:-1, :-2] + inside[1:-1, 2:]
    q = 4 + 0.3 * u**2
    down, right = (-q[1:] - q[:-1]).ravel(), (-q[:, 1:] - q[:, :-1]).ravel()
    corners = 4 * (rows - 1) * (columns - 1)
    apart = 2 * ((rows - 2) * columns + rows * (columns - 2))
    diagonal = (q * q + neighbours + 0.6 * u * r).ravel()
    constants = jnp.concatenate([jnp.full(corners, 2.0, u.dtype), jnp.ones(apart, u.dtype)])
    return jnp.concatenate([diagonal, down, down, right, right, constants])


def linear_map(x: jax.Array, A: jax.Array) -> jax.Array:
    """The Jacobian of Ax."""
    return A


def waist_jacobian(x: jax.Array, *weights: jax.Array) -> jax.Array:
    """The Jacobian of tanh(W … tanh(W sin x)), multiplied from the narrowest layer outwards."""
    h, factors = jnp.sin(x), []
    for W in weights:
        h = jnp.tanh(W @ h)
        factors.append((1 - h * h)[:, None] * W)
    factors[0] = factors[0] * jnp.cos(x)
    waist = min(range(len(weights)), key=lambda k: weights[k].shape[0]) + 1
    below, above = factors[waist - 1], factors[waist]
    for factor in reversed(factors[: waist - 1]):
        below = below @ factor
    for factor in factors[waist + 1 :]:
        above = factor @ above
    return above @ below


def diagonal_and_low_rank_solve(x: jax.Array, A: jax.Array, b: jax.Array) -> jax.Array:
    """(diag(cosh x) + AᵀA)⁻¹ b by Woodbury."""
    inverse = 1 / jnp.cosh(x)
    scaled = A * inverse
    core = jnp.eye(A.shape[0], dtype=x.dtype) + scaled @ A.T
    return inverse * b - scaled.T @ jnp.linalg.solve(core, scaled @ b)


def kronecker_solve(U: jax.Array, V: jax.Array, T: jax.Array, b: jax.Array) -> jax.Array:
    """(I ⊗ 2 VᵀV)⁻¹ b for b of U's shape."""
    return jnp.linalg.solve(2 * V.T @ V, b.T).T


def laplacian(x: jax.Array, layers: Layers) -> jax.Array:
    """Two tanh layers and a linear one, a batch of inputs: legs forward from the input.

    tr H = Σ_k s2[k] |row k of W2 diag(d1) W1|² + Σ_k s1[k] |row k of W1|².
    """
    (W1, b1), (W2, b2), (W3, _) = layers
    B, n = x.shape
    h1 = jnp.tanh(x @ W1.T + b1)
    h2 = jnp.tanh(h1 @ W2.T + b2)
    d1, d2 = 1 - h1 * h1, 1 - h2 * h2
    s2 = -2 * W3[0] * h2 * d2
    s1 = -2 * ((W3[0] * d2) @ W2) * h1 * d1
    J = ((d1[:, None, :] * W1.T).reshape(B * n, -1) @ W2.T).reshape(B, n, -1)
    return jnp.sum(s2 * jnp.sum(J * J, 1), 1) + s1 @ jnp.sum(W1 * W1, 1)


def _variance(p: jax.Array, leg: jax.Array) -> jax.Array:
    """The diagonal of Lᵀ(diag p - ppᵀ)L per sample: a variance under p."""
    mean = jnp.einsum("bc,bci->bi", p, leg)
    return jnp.einsum("bc,bci->bi", p, leg * leg) - mean * mean


def _weight_diagonals(Q: tuple[jax.Array, ...], h: tuple[jax.Array, ...]) -> Layers:
    return [(q.T @ (u * u), q.sum(0)) for q, u in zip(Q, h, strict=True)]
