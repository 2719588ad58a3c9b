"""Loss, accuracy and top-5 accuracy, beside Keras's."""

import keras
import numpy as np
import pytest

from mlpvis_jax.learning import metrics

pytestmark = pytest.mark.optimised


def test_means_over_a_set():
    random = np.random.default_rng(0)
    logits = random.normal(size=(200, 30)).astype(np.float32) * 3
    labels = random.integers(0, 30, 200)
    sums = metrics.sums_of(
        metrics.cross_entropy(logits, labels), logits, labels, np.ones(200, bool)
    )
    ours = metrics.means_of(sums)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
    accuracy = keras.metrics.SparseCategoricalAccuracy()
    top5_accuracy = keras.metrics.SparseTopKCategoricalAccuracy(5)
    accuracy.update_state(labels, logits)
    top5_accuracy.update_state(labels, logits)
    np.testing.assert_allclose(ours["loss"], loss, 1e-5)
    np.testing.assert_allclose(ours["accuracy"], accuracy.result(), 1e-6)
    np.testing.assert_allclose(ours["top5_accuracy"], top5_accuracy.result(), 1e-6)


def test_label_smoothing():
    random = np.random.default_rng(1)
    logits = random.normal(size=(20, 7)).astype(np.float32)
    labels = random.integers(0, 7, 20)
    theirs = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=0.1, reduction="none"
    )(np.eye(7, dtype=np.float32)[labels], logits)
    np.testing.assert_allclose(metrics.cross_entropy(logits, labels, 0.1), theirs, 1e-5)
