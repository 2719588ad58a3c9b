"""The evaluation of a set: the sums of its metrics, as one pure program."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mlpvis_jax.learning import metrics
from mlpvis_jax.learning.losses import softmax_cross_entropy
from mlpvis_jax.learning.step import BatchOf, Learner


def make_evaluation(learner: Learner, batch_of: BatchOf, axis_names: tuple[str, ...]) -> Callable:
    """Builds the program that adds the sums of a chunk of batches to those so far.

    Its arguments: the parameters, the sums, what the feed keeps on the device and its chunk, the
    first step of the chunk and the number of steps (int32). Losses are softmax cross-entropies of
    the labels, whatever loss is trained with.
    """

    def evaluation(
        params: Any,
        sums: metrics.Sums,
        resident: Any,
        chunk: Any,
        first: jax.Array,
        number: jax.Array,
    ) -> metrics.Sums:
        def take(index: jax.Array, total: metrics.Sums) -> metrics.Sums:
            batch = batch_of(resident, chunk, first + index)
            logits = learner.predict(params, learner.prepare(batch.images))
            losses = softmax_cross_entropy(logits, batch.labels)
            outputs = metrics.Outputs(losses, logits, batch.labels, batch.mask)
            return jax.tree.map(jnp.add, total, metrics.sums_of(learner.metrics, outputs))

        zero = jax.tree.map(jnp.zeros_like, sums)
        found = jax.lax.psum(jax.lax.fori_loop(0, number, take, zero), axis_names)
        return jax.tree.map(jnp.add, sums, found)

    return evaluation
