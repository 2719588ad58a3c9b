"""Losses beside Optax's, for labels and for soft targets."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlpvis_jax.learning.losses import LOSSES, sigmoid_cross_entropy, softmax_cross_entropy
from mlpvis_jax.learning.mix import mixup, partners_of

RANDOM = np.random.default_rng(0)
LOGITS = jnp.asarray(RANDOM.normal(size=(6, 5)), jnp.float32)
LABELS = jnp.asarray([0, 1, 2, 3, 4, 1], jnp.int32)
SOFT = jax.nn.softmax(jnp.asarray(RANDOM.normal(size=(6, 5)), jnp.float32))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("targets", [LABELS, SOFT], ids=["labels", "soft"])
def test_losses_are_those_of_optax(targets, smoothing):
    spread = jax.nn.one_hot(targets, 5) if targets.ndim == 1 else targets
    spread = optax.smooth_labels(spread, smoothing)
    found = softmax_cross_entropy(LOGITS, targets, label_smoothing=smoothing)
    np.testing.assert_allclose(found, optax.softmax_cross_entropy(LOGITS, spread), rtol=1e-5)
    found = sigmoid_cross_entropy(LOGITS, targets, label_smoothing=smoothing)
    wanted = optax.sigmoid_binary_cross_entropy(LOGITS, spread).sum(axis=-1)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES.values())
def test_a_label_is_its_one_hot_target(loss):
    np.testing.assert_allclose(
        loss(LOGITS, LABELS), loss(LOGITS, jax.nn.one_hot(LABELS, 5)), rtol=1e-5
    )


def test_mixup_mixes_images_and_targets_by_one_share():
    images = jnp.arange(6, dtype=jnp.float32)[:, None, None, None] * jnp.ones((6, 2, 2, 1))
    one_hot = jax.nn.one_hot(jnp.arange(6), 6)
    mask = jnp.asarray([True] * 4 + [False] * 2)
    partners = partners_of(mask)
    assert partners.tolist() == [3, 2, 1, 0, 4, 5]  # padding stays with itself
    mixed, targets = mixup(jax.random.key(3), images, one_hot, partners, alpha=0.5)
    share = float(targets[0, 0])
    assert 0 < share < 1
    np.testing.assert_allclose(targets[1], share * one_hot[1] + (1 - share) * one_hot[2], rtol=1e-6)
    np.testing.assert_allclose(mixed[:, 0, 0, 0], targets @ np.arange(6), rtol=1e-5)


def test_mixup_draws_its_share_from_a_beta_distribution():
    def share(key, alpha):
        one_hot = jax.nn.one_hot(jnp.arange(2), 2)
        images = jnp.zeros((2, 1, 1, 1))
        return mixup(key, images, one_hot, jnp.asarray([1, 0]), alpha=alpha)[1][0, 0]

    keys = jax.random.split(jax.random.key(0), 4000)
    for alpha in (0.2, 1.0, 4.0):
        shares = jax.vmap(share, (0, None))(keys, alpha)
        assert float(shares.mean()) == pytest.approx(0.5, abs=0.03)
        assert float(shares.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)
    nothing = jax.vmap(share, (0, None))(keys[:50], 0.0)
    assert bool(jnp.isfinite(nothing).all())
