"""One training step, K of them as one program, and the evaluation of a set: all pure functions.

Randomness is a function of (seed, step), and of an example's place in the batch where it is
augmented; so a run that goes on from a state draws what an undisturbed one would have drawn.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mlpvis_jax.data.resident import Batch, ResidentSet
from mlpvis_jax.learning import augment, metrics
from mlpvis_jax.learning.state import EpochTotals, Hyperparameters, Stream, TrainState, random_key

# (params, images, hyperparameters, dropout key) -> logits, with dropout
TrainApply = Callable[[Any, jax.Array, Hyperparameters, jax.Array], jax.Array]
# (params, images) -> logits
EvaluationApply = Callable[[Any, jax.Array], jax.Array]
# (learning rate, weight decay) -> transformation
Optimizer = Callable[[Any, Any], optax.GradientTransformation]
Step = Callable[[TrainState, Batch, Hyperparameters], tuple[TrainState, metrics.Sums, jax.Array]]


def make_step(
    apply: TrainApply,
    optimizer: Optimizer,
    normalize: augment.Normalization,
    image_size: int,
    axis_names: tuple[str, ...],
    num_microbatches: int = 1,
) -> Step:
    """Builds the step (state, batch, hyperparameters) -> (state, sums over the batch, finite).

    `finite` is a bool: whether the loss and every gradient are finite numbers.

    Args:
      apply: the model with dropout.
      optimizer: builds the optimiser from the traced learning rate and weight decay.
      normalize: statistics of the training images.
      image_size: height and width that the model sees.
      axis_names: device axes over which gradients and sums are gathered; () on one device.
      num_microbatches: the batch is worked on in so many equal parts, one after the other, whose
        gradients are summed. The result is the same up to dropout masks and rounding; memory is
        that of one part, and on a CPU a part that fits its cache is done sooner.
    """

    def step(
        state: TrainState, batch: Batch, hyperparameters: Hyperparameters
    ) -> tuple[TrainState, metrics.Sums, jax.Array]:
        device = jax.lax.axis_index(axis_names) if axis_names else 0
        key = random_key(hyperparameters.seed, Stream.STEP, state.step)
        augment_key, dropout_key = jax.random.split(key)
        places = device * len(batch.labels) + jnp.arange(len(batch.labels))
        count = jax.lax.psum(batch.mask.sum(), axis_names)

        def share_of_loss(
            params: Any, part: Batch, places: jax.Array
        ) -> tuple[jax.Array, metrics.Sums]:
            images = augment.augment(
                jax.vmap(lambda place: jax.random.fold_in(augment_key, place))(places),
                normalize(part.images),
                image_size,
                hyperparameters.flip_probability,
                hyperparameters.zoom,
            )
            key = jax.random.fold_in(dropout_key, places[0])
            logits = apply(params, images, hyperparameters, key)
            losses = metrics.cross_entropy(logits, part.labels, hyperparameters.label_smoothing)
            sums = metrics.sums_of(losses, logits, part.labels, part.mask)
            return sums["loss"] / count, sums

        def add_part(total: tuple, part: tuple[Batch, jax.Array]) -> tuple[tuple, None]:
            differentiate = jax.value_and_grad(share_of_loss, has_aux=True)
            (_, sums), gradients = differentiate(state.params, *part)
            return jax.tree.map(jnp.add, total, (gradients, sums)), None

        parts = jax.tree.map(
            lambda leaf: leaf.reshape(num_microbatches, -1, *leaf.shape[1:]), (batch, places)
        )
        nothing = (jax.tree.map(jnp.zeros_like, state.params), metrics.no_sums())
        (gradients, sums), _ = jax.lax.scan(add_part, nothing, parts)
        gradients, sums = jax.lax.psum((gradients, sums), axis_names)
        checked = [jnp.isfinite(part).all() for part in jax.tree.leaves((sums["loss"], gradients))]
        finite = jnp.stack(checked).all()
        transformation = optimizer(hyperparameters.learning_rate, hyperparameters.weight_decay)
        updates, opt_state = transformation.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, opt_state), sums, finite

    return step


def make_dispatch(step: Step) -> Callable:
    """Builds the program of K steps over data that is on the device.

    Its arguments: the state (donated), the epoch's totals so far, the set, the epoch's rows int32
    [steps, batch], the first step of the epoch to take and the number of steps (int32), the
    hyperparameters. It returns the state and the totals. As totals are handed on, they are the
    same to the last bit however an epoch is cut into dispatches.
    """

    def dispatch(
        state: TrainState,
        totals: EpochTotals,
        examples: ResidentSet,
        rows: jax.Array,
        first: jax.Array,
        number: jax.Array,
        hyperparameters: Hyperparameters,
    ) -> tuple[TrainState, EpochTotals]:
        def take(index: jax.Array, carry: tuple) -> tuple:
            before, totals = carry
            state, sums, finite = step(before, examples.batch(rows[first + index]), hyperparameters)
            diverges = (totals.diverged_at < 0) & ~finite
            diverged_at = jnp.where(diverges, before.step, totals.diverged_at)
            loss = sums["loss"] / sums["count"]
            last_loss = jnp.where(diverged_at < 0, loss, totals.last_loss)
            sums = jax.tree.map(jnp.add, totals.sums, sums)
            return state, EpochTotals(sums, diverged_at, last_loss)

        # The number of steps is a value, so that the shorter end of an epoch is the same program.
        return jax.lax.fori_loop(0, number, take, (state, totals))

    return dispatch


def make_evaluation(
    apply: EvaluationApply,
    normalize: augment.Normalization,
    image_size: int,
    axis_names: tuple[str, ...],
) -> Callable:
    """Builds the program (params, set, rows [steps, batch]) -> sums over the whole set."""

    def evaluation(params: Any, examples: ResidentSet, rows: jax.Array) -> metrics.Sums:
        def take(total: metrics.Sums, rows: jax.Array) -> tuple[metrics.Sums, None]:
            batch = examples.batch(rows)
            logits = apply(params, augment.resize(normalize(batch.images), image_size))
            losses = metrics.cross_entropy(logits, batch.labels)
            sums = metrics.sums_of(losses, logits, batch.labels, batch.mask)
            return jax.tree.map(jnp.add, total, sums), None

        total, _ = jax.lax.scan(take, metrics.no_sums(), rows)
        return jax.lax.psum(total, axis_names)

    return evaluation
