"""One training step, K of them as one program, and the evaluation of a set: all pure functions.

Randomness is a function of (seed, step), and of an example's place in the batch where it is
augmented; so a run that goes on from a state draws what an undisturbed one would have drawn.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mlpvis_jax import augment, metrics
from mlpvis_jax.data.resident import Batch, ResidentSet
from mlpvis_jax.train.state import Hyperparameters, Stream, TrainState, random_key

# (params, images, hyperparameters, dropout key) -> logits, with dropout
TrainApply = Callable[[Any, jax.Array, Hyperparameters, jax.Array], jax.Array]
# (params, images) -> logits
EvaluationApply = Callable[[Any, jax.Array], jax.Array]
# (learning rate, weight decay) -> transformation
Optimizer = Callable[[Any, Any], optax.GradientTransformation]
Step = Callable[[TrainState, Batch, Hyperparameters], tuple[TrainState, metrics.Sums]]


def make_step(
    apply: TrainApply,
    optimizer: Optimizer,
    normalize: augment.Normalization,
    image_size: int,
    axis_names: tuple[str, ...],
) -> Step:
    """Builds the step (state, batch, hyperparameters) -> (state, sums over the batch).

    Args:
      apply: the model with dropout.
      optimizer: builds the optimiser from the traced learning rate and weight decay.
      normalize: statistics of the training images.
      image_size: height and width that the model sees.
      axis_names: device axes over which gradients and sums are gathered; () on one device.
    """

    def step(
        state: TrainState, batch: Batch, hyperparameters: Hyperparameters
    ) -> tuple[TrainState, metrics.Sums]:
        device = jax.lax.axis_index(axis_names) if axis_names else 0
        key = random_key(hyperparameters.seed, Stream.STEP, state.step)
        augment_key, dropout_key = jax.random.split(key)
        places = device * len(batch.labels) + jnp.arange(len(batch.labels))
        images = augment.augment(
            jax.vmap(lambda place: jax.random.fold_in(augment_key, place))(places),
            normalize(batch.images),
            image_size,
            hyperparameters.flip_probability,
            hyperparameters.zoom,
        )
        count = jax.lax.psum(batch.mask.sum(), axis_names)

        def share_of_loss(params: Any) -> tuple[jax.Array, metrics.Sums]:
            logits = apply(params, images, hyperparameters, jax.random.fold_in(dropout_key, device))
            losses = metrics.cross_entropy(logits, batch.labels, hyperparameters.label_smoothing)
            sums = metrics.sums_of(losses, logits, batch.labels, batch.mask)
            return sums["loss"] / count, sums

        (_, sums), gradients = jax.value_and_grad(share_of_loss, has_aux=True)(state.params)
        gradients, sums = jax.lax.psum((gradients, sums), axis_names)
        transformation = optimizer(hyperparameters.learning_rate, hyperparameters.weight_decay)
        updates, opt_state = transformation.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, opt_state), sums

    return step


def make_dispatch(step: Step) -> Callable:
    """Builds the program of K steps over data that is on the device.

    Its arguments: the state (donated), the set, the epoch's rows int32 [steps, batch], the first
    step to take and the number of steps (int32), the hyperparameters. It returns the state and
    the sums over all K batches.
    """

    def dispatch(
        state: TrainState,
        examples: ResidentSet,
        rows: jax.Array,
        first: jax.Array,
        number: jax.Array,
        hyperparameters: Hyperparameters,
    ) -> tuple[TrainState, metrics.Sums]:
        def take(index: jax.Array, carry: tuple) -> tuple:
            state, total = carry
            state, sums = step(state, examples.batch(rows[first + index]), hyperparameters)
            return state, jax.tree.map(jnp.add, total, sums)

        # The number of steps is a value, so that the shorter end of an epoch is the same program.
        return jax.lax.fori_loop(0, number, take, (state, metrics.no_sums()))

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
