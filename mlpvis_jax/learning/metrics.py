"""The loss and the metrics, as sums over the examples that a mask lets count.

A metric is a (sum, count) pair until the very end, so that it is exact for any batch size, padding
and number of devices.
"""

import jax
import jax.numpy as jnp
import numpy as np

Sums = dict[str, jax.Array | np.ndarray]


def cross_entropy(
    logits: jax.Array, labels: jax.Array, label_smoothing: float | jax.Array = 0.0
) -> jax.Array:
    """Softmax cross-entropy of each example, in nats.

    Args:
      logits: float32 [batch, classes].
      labels: int32 [batch], in 0 .. classes - 1.
      label_smoothing: share of the target spread evenly over all classes, in [0, 1).

    Returns:
      float32 [batch].
    """
    log_probabilities = jax.nn.log_softmax(logits)
    of_label = jnp.take_along_axis(log_probabilities, labels[:, None], axis=-1)[:, 0]
    return -(1 - label_smoothing) * of_label - label_smoothing * log_probabilities.mean(axis=-1)


def rank_of_label(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """How many classes come before the true one, int32 [batch]; 0 is a correct answer.

    Equal logits are ordered by class, as argmax and top_k do, so that a model that gives all
    classes the same is not called right. With a NaN among the logits the label comes last.
    """
    of_label = jnp.take_along_axis(logits, labels[:, None], axis=-1)
    before = jnp.arange(logits.shape[-1]) < labels[:, None]
    rank = jnp.sum((logits > of_label) | ((logits == of_label) & before), axis=-1)
    return jnp.where(jnp.isnan(logits).any(axis=-1), logits.shape[-1], rank)


def sums_of(losses: jax.Array, logits: jax.Array, labels: jax.Array, mask: jax.Array) -> Sums:
    """Sums over the examples where the mask, bool [batch], is true.

    Returns:
      loss (float32), correct, correct_top5 and count (int32).
    """
    rank = rank_of_label(logits, labels)
    return {
        "loss": jnp.sum(jnp.where(mask, losses, 0.0)),
        "correct": jnp.sum(mask & (rank < 1)),
        "correct_top5": jnp.sum(mask & (rank < 5)),
        "count": jnp.sum(mask),
    }


def no_sums() -> Sums:
    """The sums over no example."""
    zero = np.zeros((), np.int32)
    return {
        "loss": np.zeros((), np.float32),
        "correct": zero,
        "correct_top5": zero,
        "count": zero,
    }


def means_of(sums: Sums) -> dict[str, float]:
    """loss in nats, accuracy and top5_accuracy as fractions, of sums that were gathered."""
    count = float(sums["count"])
    return {
        "loss": float(sums["loss"]) / count,
        "accuracy": float(sums["correct"]) / count,
        "top5_accuracy": float(sums["correct_top5"]) / count,
    }
