"""Losses and metrics on hand-made logits, and a mask that makes padding invisible."""

import jax.numpy as jnp
import numpy as np

from mlpvis_jax.learning import metrics

LOGITS = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.25, 0.5, 0.25]], np.float32))


def test_cross_entropy_of_known_probabilities():
    losses = metrics.cross_entropy(jnp.asarray(LOGITS), jnp.array([0, 1, 2]))
    np.testing.assert_allclose(losses, -np.log([0.7, 0.3, 0.25]), 1e-6)


def test_label_smoothing_spreads_over_all_classes():
    losses = metrics.cross_entropy(jnp.asarray(LOGITS), jnp.array([0, 1, 2]), 0.3)
    target = 0.7 * np.eye(3) + 0.3 / 3
    np.testing.assert_allclose(losses, -(target * LOGITS).sum(axis=1), 1e-6)


def test_rank_orders_ties_by_class_as_argmax_does():
    logits = jnp.array([[0.0, 0.0, 0.0], [1.0, 3.0, 3.0], [2.0, 1.0, 2.0]])
    ranks = [metrics.rank_of_label(logits, jnp.full(3, label)).tolist() for label in range(3)]
    assert ranks == [[0, 2, 0], [1, 0, 2], [2, 1, 1]]


def test_rank_is_the_place_in_a_sorted_list():
    logits = np.random.default_rng(0).integers(0, 6, (200, 11)).astype(np.float32)
    labels = np.random.default_rng(1).integers(0, 11, 200)
    order = np.argsort(-logits, axis=1, kind="stable")
    expected = (order == labels[:, None]).argmax(axis=1)
    np.testing.assert_array_equal(metrics.rank_of_label(logits, labels), expected)


def test_a_nan_is_never_right():
    logits = jnp.full((1, 7), jnp.nan)
    assert metrics.rank_of_label(logits, jnp.array([0])) == 7


def test_padding_is_invisible_in_every_sum():
    random = np.random.default_rng(0)
    logits = random.normal(size=(12, 8)).astype(np.float32)
    labels = random.integers(0, 8, 12)
    losses = np.asarray(metrics.cross_entropy(logits, labels))
    plain = metrics.sums_of(losses, logits, labels, np.ones(12, bool))
    assert plain["count"] == 12
    padded = metrics.sums_of(
        np.concatenate([losses, [np.nan, 1e9]]),
        np.concatenate([logits, np.full((2, 8), 50.0, np.float32)]),
        np.concatenate([labels, [0, 0]]),
        np.arange(14) < 12,
    )
    for name, value in plain.items():
        np.testing.assert_allclose(padded[name], value, 1e-6)


def test_means_of_sums():
    sums = {"loss": 6.0, "correct": 1, "correct_top5": 3, "count": 4}
    assert metrics.means_of(sums) == {"loss": 1.5, "accuracy": 0.25, "top5_accuracy": 0.75}
