"""The losses of training. A row of LOSSES maps logits and targets to a loss of each example."""

from collections.abc import Callable, Mapping
from typing import Annotated

import jax
import jax.numpy as jnp
import optax

from mlpvis_jax.settings.declared import Rate, Role

Smoothing = Annotated[Rate, Role.TRACED, "Share of the target spread evenly over all classes."]


def softmax_cross_entropy(
    logits: jax.Array, targets: jax.Array, *, label_smoothing: Smoothing = 0.0
) -> jax.Array:
    """Computes the softmax cross-entropy of each example, in nats.

    Args:
      logits: float32 [batch, classes].
      targets: labels int32 [batch], or a distribution over the classes, float32 [batch, classes].
      label_smoothing: share of the target spread evenly over all classes, in [0, 1).

    Returns:
      float32 [batch].
    """
    log_probabilities = jax.nn.log_softmax(logits)
    if targets.ndim == 1:
        of_target = jnp.take_along_axis(log_probabilities, targets[:, None], axis=-1)[:, 0]
    else:
        of_target = (targets * log_probabilities).sum(axis=-1)
    return -(1 - label_smoothing) * of_target - label_smoothing * log_probabilities.mean(axis=-1)


def sigmoid_cross_entropy(
    logits: jax.Array, targets: jax.Array, *, label_smoothing: Smoothing = 0.0
) -> jax.Array:
    """Computes the sum over classes of binary cross-entropies, in nats (Beyer et al., 2020).

    Arguments and result are those of `softmax_cross_entropy`.
    """
    classes = logits.shape[-1]
    targets = jax.nn.one_hot(targets, classes) if targets.ndim == 1 else targets
    targets = (1 - label_smoothing) * targets + label_smoothing / classes
    return optax.sigmoid_binary_cross_entropy(logits, targets).sum(axis=-1)


LOSSES: Mapping[str, Callable[..., jax.Array]] = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "sigmoid_cross_entropy": sigmoid_cross_entropy,
}
