"""Losses beside Optax's, for labels and for soft targets."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlpvis_jax.learning.losses import LOSSES, sigmoid_cross_entropy, softmax_cross_entropy

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
