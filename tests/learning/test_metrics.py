"""Losses and metrics on hand-made logits, and a mask that makes padding invisible."""

import jax.numpy as jnp
import numpy as np

from mlpvis_jax.learning import metrics
from mlpvis_jax.learning.losses import softmax_cross_entropy

LOGITS = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.25, 0.5, 0.25]], np.float32))


def test_cross_entropy_of_known_probabilities():
    losses = softmax_cross_entropy(jnp.asarray(LOGITS), jnp.array([0, 1, 2]))
    np.testing.assert_allclose(losses, -np.log([0.7, 0.3, 0.25]), 1e-6)


def test_label_smoothing_spreads_over_all_classes():
    losses = softmax_cross_entropy(jnp.asarray(LOGITS), jnp.array([0, 1, 2]), label_smoothing=0.3)
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
    losses = np.asarray(softmax_cross_entropy(logits, labels))
    every = metrics.METRICS
    plain = metrics.sums_of(every, metrics.Outputs(losses, logits, labels, np.ones(12, bool)))
    assert plain["count"] == 12
    padded = metrics.Outputs(
        np.concatenate([losses, [np.nan, 1e9]]),
        np.concatenate([logits, np.full((2, 8), 50.0, np.float32)]),
        np.concatenate([labels, [0, 0]]),
        np.arange(14) < 12,
    )
    padded = metrics.sums_of(every, padded)
    assert padded.keys() == plain.keys() == {*every, "count"}
    for name, value in plain.items():
        np.testing.assert_allclose(padded[name], value, 1e-6)


def test_means_of_sums():
    chosen = metrics.chosen("top5_accuracy class_accuracy")
    by_class = np.array([[1, 0, 0], [2, 2, 0]])
    sums = {"loss": 6.0, "accuracy": 1, "top5_accuracy": 3, "class_accuracy": by_class, "count": 4}
    assert metrics.means_of(chosen, sums) == {
        **{"loss": 1.5, "accuracy": 0.25, "top5_accuracy": 0.75},
        "class_accuracy": [0.5, 0.0, None],
    }
    shown = chosen["class_accuracy"].text([0.5, 0.0, None])
    assert shown == "0.0% to 50.0%"


def test_no_sums_are_neutral():
    outputs = metrics.Outputs(
        jnp.ones(3), jnp.asarray(LOGITS), jnp.array([0, 1, 2]), jnp.ones(3, bool)
    )
    sums = metrics.sums_of(metrics.METRICS, outputs)
    for name, zero in metrics.no_sums(metrics.METRICS, 3).items():
        np.testing.assert_array_equal(zero + sums[name], sums[name])
        assert zero.dtype == sums[name].dtype


def test_each_class_counts_its_own_answers():
    logits = jnp.asarray(np.eye(3, dtype=np.float32)[[0, 0, 1, 2, 2]])
    outputs = metrics.Outputs(
        jnp.zeros(5), logits, jnp.array([0, 1, 1, 2, 0]), jnp.array([True] * 4 + [False])
    )
    chosen = metrics.chosen("class_accuracy")
    means = metrics.means_of(chosen, metrics.sums_of(chosen, outputs))
    assert means["class_accuracy"] == [1.0, 0.5, 1.0]
    assert means["accuracy"] == 0.75


def test_the_top_five_of_five_classes_say_nothing():
    chosen = metrics.chosen("top5_accuracy class_accuracy")
    assert list(metrics.telling(chosen, 6)) == list(chosen)
    assert list(metrics.telling(chosen, 5)) == ["loss", "accuracy", "class_accuracy"]
