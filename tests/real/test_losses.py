"""Every loss of optax: gradient, diagonal and Hessian in the predictions against JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import assert_close

import nablax as nb

losses = optax.losses
SCORES = np.array([[0.4, -1.3, 0.9, 2.1], [1.7, 0.2, -0.6, -0.1], [-0.8, 0.5, 1.1, 0.3]])
SIGNS = np.array([[1.0, -1.0, 1.0, 1.0], [-1.0, 1.0, -1.0, 1.0], [1.0, 1.0, -1.0, -1.0]])
ONES = (SIGNS + 1.0) / 2.0
CLASSES = np.array([2, 0, 3])
ONE_HOT = np.eye(4)[CLASSES]
SHARES = np.array([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25]])
OTHERS = np.array([[0.1, -0.7, 1.2, 0.8], [0.9, 1.4, 0.3, -0.2], [-0.5, 1.5, 0.6, 0.7]])
NO_PADDING = np.zeros((3, 4))
FRAMES = np.random.default_rng(1).normal(size=(2, 5, 3))

Loss = Callable[[Any], Any]


def shares(scores: Any) -> Any:
    """Positive numbers that need not sum to one."""
    return jax.nn.sigmoid(scores)


LOSSES: dict[str, Loss] = {
    "binary_dice_loss": lambda s: losses.binary_dice_loss(s, ONES),
    "convex_kl_divergence": lambda s: losses.convex_kl_divergence(jax.nn.log_softmax(s), SHARES),
    "cosine_distance": lambda s: losses.cosine_distance(s, OTHERS),
    "cosine_similarity": lambda s: losses.cosine_similarity(s, OTHERS),
    "ctc_loss": lambda s: losses.ctc_loss(FRAMES * s[0, 1] + s[0, :3] * FRAMES**2, np.zeros((2, 5)), np.array([[1, 2], [2, 0]]), np.array([[0.0, 0.0], [0.0, 1.0]])),
    "ctc_loss_with_forward_probs": lambda s: losses.ctc_loss_with_forward_probs(s[None, :, :3], np.zeros((1, 3)), np.array([[1, 2]]), np.zeros((1, 2)))[0],
    "dice_loss": lambda s: losses.dice_loss(s, ONE_HOT),
    "generalized_kl_divergence": lambda s: losses.generalized_kl_divergence(jnp.log(shares(s)), SHARES),
    "hinge_loss": lambda s: losses.hinge_loss(s, SIGNS) ** 2,
    "huber_loss": lambda s: losses.huber_loss(s, OTHERS, delta=0.6),
    "kl_divergence": lambda s: losses.kl_divergence(jax.nn.log_softmax(s), SHARES),
    "kl_divergence_with_log_targets": lambda s: losses.kl_divergence_with_log_targets(jax.nn.log_softmax(s), np.log(SHARES)),
    "kl_divergence_with_log_targets, in the targets": lambda s: losses.kl_divergence_with_log_targets(np.log(SHARES), jax.nn.log_softmax(s)),
    "l2_loss": lambda s: losses.l2_loss(s, OTHERS),
    "log_cosh": lambda s: losses.log_cosh(s, OTHERS),
    "make_fenchel_young_loss": lambda s: losses.make_fenchel_young_loss(jax.nn.logsumexp)(s, SHARES),
    "multiclass_generalized_dice_loss": lambda s: losses.multiclass_generalized_dice_loss(s, ONE_HOT),
    "multiclass_hinge_loss": lambda s: losses.multiclass_hinge_loss(s, CLASSES) ** 2,
    "multiclass_perceptron_loss": lambda s: losses.multiclass_perceptron_loss(s, CLASSES) ** 2,
    "multiclass_sparsemax_loss": lambda s: losses.multiclass_sparsemax_loss(s, CLASSES),
    "ntxent": lambda s: losses.ntxent(s, np.array([0, 0, 1]), 0.5),
    "perceptron_loss": lambda s: losses.perceptron_loss(s, SIGNS) ** 2,
    "poly_loss_cross_entropy": lambda s: losses.poly_loss_cross_entropy(s, SHARES, epsilon=1.5),
    "ranking_softmax_loss": lambda s: losses.ranking_softmax_loss(s, SHARES, where=np.array([[True, True, False, True]] * 3), weights=np.array([[1.0], [2.0], [0.5]])),
    "safe_softmax_cross_entropy": lambda s: losses.safe_softmax_cross_entropy(s, ONE_HOT),
    "sigmoid_binary_cross_entropy": lambda s: losses.sigmoid_binary_cross_entropy(s, ONES),
    "sigmoid_focal_loss": lambda s: losses.sigmoid_focal_loss(s, ONES, alpha=0.3, gamma=1.5),
    "smooth_labels": lambda s: losses.softmax_cross_entropy(OTHERS, losses.smooth_labels(jax.nn.softmax(s), 0.1)) ** 2,
    "softmax_cross_entropy": lambda s: losses.softmax_cross_entropy(s, SHARES),
    "softmax_cross_entropy_with_integer_labels": lambda s: losses.softmax_cross_entropy_with_integer_labels(s, CLASSES),
    "sparsemax_loss": lambda s: losses.sparsemax_loss(s, ONES),
    "squared_error": lambda s: losses.squared_error(s, OTHERS),
    "triplet_margin_loss": lambda s: losses.triplet_margin_loss(s, OTHERS, OTHERS[::-1]),
}  # fmt: skip
# Logarithms of sums of small numbers, one frame after the other, enlarge what each of them rounds.
CONDITION = {"ctc_loss": 16.0, "ctc_loss_with_forward_probs": 16.0}
QUICK = ("huber_loss", "sigmoid_focal_loss", "softmax_cross_entropy_with_integer_labels", "sparsemax_loss")


def of(name: str) -> Callable[[Any], Any]:
    """The mean of a loss, and its value on the worst row, so that rows do not decouple."""

    def f(scores: Any) -> Any:
        found = LOSSES[name](scores)
        return jnp.mean(found) + 0.1 * jnp.sum(found) ** 2

    return f


@pytest.mark.filterwarnings("ignore:The function convex_kl_divergence is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", [pytest.param(x, marks=() if x in QUICK else pytest.mark.exhaustive) for x in LOSSES])
def test_against_jax(name: str) -> None:
    f = of(name)
    want = jax.jit(lambda s: (jax.grad(f)(s), jax.hessian(f)(s)))(SCORES)
    got = jax.jit(lambda s: (nb.jacobian(f)(s), nb.hessian(f)(s), nb.hessian_diagonal(f)(s)))(SCORES)
    assert np.isfinite(want[1]).all()
    size, condition = float(np.abs(want[1]).max()) or 1.0, CONDITION.get(name, 1.0)
    assert_close(got[0], want[0], what="gradient", condition=condition)
    assert_close(got[1], want[1], what="Hessian", scale=size, condition=condition)
    square = np.asarray(want[1]).reshape(12, 12)
    assert_close(got[2].ravel(), np.diag(square), what="diagonal", scale=size, condition=condition)


def test_none_is_missing() -> None:
    listed = {name.split(",")[0] for name in LOSSES}
    exported = {name for name in vars(losses) if not name.startswith("_") and callable(getattr(losses, name))}
    assert exported <= listed
