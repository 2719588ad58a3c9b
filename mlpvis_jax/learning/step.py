"""One training step, and K of them as one program: pure functions.

Randomness is a function of (seed, step), and of an example's index in the batch where the example
is augmented or mixed; so a run that goes on from a state draws what an undisturbed one would have
drawn. Dropout alone draws otherwise on another number of devices.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mlpvis_jax.data.resident import Batch
from mlpvis_jax.learning import metrics
from mlpvis_jax.learning.averaging import average
from mlpvis_jax.learning.mix import partners_of
from mlpvis_jax.learning.schedule_free import evaluated
from mlpvis_jax.learning.state import EpochTotals, Stream, TrainState, random_key

Numbers = Mapping[str, Any]  # the traced settings, as scalars, by section
Step = Callable[[TrainState, Batch, Numbers], tuple[TrainState, metrics.Sums, jax.Array]]
# (what is on the devices, index of a step) -> the step's batch
BatchOf = Callable[[Any, Any, jax.Array], Batch]


@dataclasses.dataclass(frozen=True)
class Learner:
    """The pure functions that a step is made of; each takes its numbers from the traced settings.

    Attributes:
      apply: (params, images, numbers, dropout key) -> logits float32 [batch, classes].
      predict: (params, images) -> logits, without dropout.
      augment: (keys [batch], uint8 images, numbers) -> images as the model sees them, float32.
      prepare: the same without augmentation, (uint8 images) -> images.
      mix: (key, images, targets, partners, places, numbers) -> images and targets, or None.
      loss: (logits, targets, numbers) -> losses float32 [batch].
      optimizer: (step, numbers) -> the transformation of gradients.
      metrics: what is summed up.
      perturb: (params, gradients, numbers) -> where gradients are taken; None: at the parameters.
    """

    apply: Callable[..., jax.Array]
    predict: Callable[..., jax.Array]
    augment: Callable[..., jax.Array]
    prepare: Callable[..., jax.Array]
    mix: Callable[..., tuple[jax.Array, jax.Array]] | None
    loss: Callable[..., jax.Array]
    optimizer: Callable[..., optax.GradientTransformation]
    metrics: Mapping[str, metrics.Metric]
    num_classes: int
    perturb: Callable[..., Any] | None = None


def make_step(learner: Learner, axis_names: tuple[str, ...], num_microbatches: int = 1) -> Step:
    """Builds the step (state, batch, numbers) -> (state, sums over the batch, finite).

    `finite` is a bool: whether the loss and every gradient are finite numbers.

    Args:
      learner: the functions that the step is made of.
      axis_names: device axes over which gradients and sums are gathered; () on one device.
      num_microbatches: a device works on its share of the batch in this many equal parts, one after
        another, and sums their gradients. The result is the same up to dropout masks and rounding;
        memory is that of one part, and on a CPU a part that fits its cache is done sooner.
    """

    def step(
        state: TrainState, batch: Batch, numbers: Numbers
    ) -> tuple[TrainState, metrics.Sums, jax.Array]:
        device = jax.lax.axis_index(axis_names) if axis_names else 0
        key = random_key(numbers["seed"], Stream.STEP, state.step)
        augment_key, dropout_key = jax.random.split(key)
        batch_indices = device * len(batch.labels) + jnp.arange(len(batch.labels))
        count = jax.lax.psum(batch.mask.sum(), axis_names)

        def augment(images: jax.Array, indices: jax.Array) -> jax.Array:
            keys = jax.vmap(lambda index: jax.random.fold_in(augment_key, index))(indices)
            return learner.augment(keys, images, numbers)

        images, targets = batch.images, batch.labels
        if learner.mix is not None:
            mix_key = random_key(numbers["seed"], Stream.MIX, state.step)
            images = augment(images, batch_indices)
            one_hot = jax.nn.one_hot(batch.labels, learner.num_classes)
            partners = partners_of(batch.mask)
            images, targets = learner.mix(
                mix_key, images, one_hot, partners, batch_indices, numbers
            )

        def microbatch_loss(
            params: Any, part: Batch, targets: jax.Array, indices: jax.Array
        ) -> tuple[jax.Array, metrics.Sums]:
            images = part.images if learner.mix else augment(part.images, indices)
            key = jax.random.fold_in(dropout_key, indices[0])
            logits = learner.apply(params, images, numbers, key)
            losses = learner.loss(logits, targets, numbers)
            outputs = metrics.Outputs(losses, logits, part.labels, part.mask)
            sums = metrics.sums_of(learner.metrics, outputs)
            return sums["loss"] / count, sums

        parts = jax.tree.map(
            lambda leaf: leaf.reshape(num_microbatches, -1, *leaf.shape[1:]),
            (Batch(images, batch.labels, batch.mask), targets, batch_indices),
        )
        no_sums = metrics.no_sums(learner.metrics, learner.num_classes)

        given = parts, no_sums, axis_names
        gradients, sums = _differentiate_parts(microbatch_loss, state.params, *given)
        if learner.perturb is not None:
            elsewhere = learner.perturb(state.params, gradients, numbers)
            gradients, _ = _differentiate_parts(microbatch_loss, elsewhere, *given)
        checked = [jnp.isfinite(part).all() for part in jax.tree.leaves((sums["loss"], gradients))]
        finite = jnp.stack(checked).all()
        optimizer = learner.optimizer(state.step, numbers)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        averaged = average(evaluated(params, opt_state), state, numbers)
        return TrainState(state.step + 1, params, opt_state, averaged), sums, finite

    return step


def _differentiate_parts(
    loss: Callable, params: Any, parts: Any, no_sums: metrics.Sums, axis_names: tuple[str, ...]
) -> tuple[Any, metrics.Sums]:
    """Adds up the gradients and sums of microbatches, one after another, and of all devices."""

    def add_part(total: tuple, part: tuple) -> tuple[tuple, None]:
        (_, sums), gradients = jax.value_and_grad(loss, has_aux=True)(params, *part)
        return jax.tree.map(jnp.add, total, (gradients, sums)), None

    zero = jax.tree.map(jnp.zeros_like, params), no_sums
    return jax.lax.psum(jax.lax.scan(add_part, zero, parts)[0], axis_names)


def make_dispatch(step: Step, batch_of: BatchOf) -> Callable:
    """Builds the program of K steps over data that is on the device.

    Its arguments: the state (donated), the epoch's totals so far, what the feed keeps on the device
    and its chunk, the first step of the chunk to take and the number of steps (int32), the numbers.
    It returns the state and the totals. As totals are handed on, they are the same to the last bit
    however an epoch is cut into dispatches.
    """

    def dispatch(
        state: TrainState,
        totals: EpochTotals,
        resident: Any,
        chunk: Any,
        first: jax.Array,
        number: jax.Array,
        numbers: Numbers,
    ) -> tuple[TrainState, EpochTotals]:
        def take(index: jax.Array, carry: tuple) -> tuple:
            before, totals = carry
            state, sums, finite = step(before, batch_of(resident, chunk, first + index), numbers)
            diverges = (totals.diverged_at < 0) & ~finite
            diverged_at = jnp.where(diverges, before.step, totals.diverged_at)
            loss = sums["loss"] / sums["count"]
            last_loss = jnp.where(diverged_at < 0, loss, totals.last_loss)
            sums = jax.tree.map(jnp.add, totals.sums, sums)
            return state, EpochTotals(sums, diverged_at, last_loss)

        # The number of steps is a value, so that the shorter end of an epoch is the same program.
        return jax.lax.fori_loop(0, number, take, (state, totals))

    return dispatch
