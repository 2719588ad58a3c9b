"""The compiled programs of a run, with the data they work on: an epoch of training, a test."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import optax

from mlpvis_jax.data.resident import ResidentSet, rows_in_order, shuffle
from mlpvis_jax.learning import augment, metrics, optim
from mlpvis_jax.learning.state import EpochTotals, Hyperparameters, Stream, TrainState, random_key
from mlpvis_jax.learning.step import make_dispatch, make_evaluation, make_step
from mlpvis_jax.models import Classifier
from mlpvis_jax.running.placement import Devices, Trials
from mlpvis_jax.settings.config import RunConfig


class Training:
    """Epochs over a training set that is on the devices; compiled when it is made.

    Args:
      config: the settings.
      model: its rates say what is in the program; their values come with the hyperparameters.
      normalize: statistics of the training images.
      devices: where it runs; with Trials, all that differs between trials has their axis.
      examples: the training set.
      state, hyperparameters: any, on the devices; only their types matter here.
    """

    def __init__(
        self,
        config: RunConfig,
        model: Classifier,
        normalize: augment.Normalization,
        devices: Devices | Trials,
        examples: ResidentSet,
        state: TrainState,
        hyperparameters: Hyperparameters,
    ) -> None:
        self._number = len(examples)
        self._steps_per_dispatch = config.steps_per_dispatch
        num_microbatches = devices.num_microbatches(config.batch_size, config.microbatch_size)
        rows = rows_in_order(self._number, config.batch_size, devices.shards, num_microbatches)
        self.steps_per_epoch = len(rows)
        self._rows = devices.scatter(rows.swapaxes(0, 1))
        self._examples = devices.replicate(examples)

        def optimizer(learning_rate: Any, weight_decay: Any) -> optax.GradientTransformation:
            adam = config.optimizer
            return optim.adamw(learning_rate, weight_decay, adam.b1, adam.b2, adam.epsilon)

        def apply(
            params: Any, images: jax.Array, hyperparameters: Hyperparameters, key: jax.Array
        ) -> Any:
            # A rate of zero stays out of the program; any other is a number it is given.
            told = model.clone(
                dropout_rate=model.dropout_rate and hyperparameters.dropout_rate,
                stochastic_depth_rate=model.stochastic_depth_rate
                and hyperparameters.stochastic_depth_rate,
            )
            return told.apply({"params": params}, images, train=True, rngs={"dropout": key})

        def order(rows: jax.Array, seed: jax.Array, epoch: jax.Array) -> jax.Array:
            return shuffle(rows, random_key(seed, Stream.ORDER, epoch), self._number)

        step = make_step(
            apply,
            optimizer,
            normalize,
            config.model.image_size,
            devices.axis_names,
            num_microbatches,
        )
        self._order = devices.compile(
            order, self._rows, hyperparameters.seed, np.int32(0), shared=(1, 2), each=(1,)
        )
        self._dispatch = devices.compile(
            make_dispatch(step),
            state,
            devices.copies(EpochTotals.zero()),
            self._examples,
            self._order(self._rows, hyperparameters.seed, np.int32(0)),
            np.int32(0),
            np.int32(0),
            hyperparameters,
            shared=(4, 5, 6),
            each=(0, 1, 3, 6),
            donate=0,
        )

    def run_epoch(
        self,
        state: TrainState,
        totals: EpochTotals,
        epoch: int,
        first_step: int,
        hyperparameters: Hyperparameters,
    ) -> Iterator[tuple[TrainState, EpochTotals, int]]:
        """Takes every training example once, in the epoch's own order, a dispatch at a time.

        Args:
          state: on the devices; its memory is taken over.
          totals: of the steps that this epoch has already taken, on the devices.
          epoch: from 1.
          first_step: of the epoch, from 0.
          hyperparameters: of this epoch.

        Yields:
          State and totals after a dispatch, and its number of steps. It may still be running:
          only the one before it is sure to be done, so that the devices always have work.
        """
        rows = self._order(self._rows, hyperparameters.seed, np.int32(epoch))
        for first in range(first_step, self.steps_per_epoch, self._steps_per_dispatch):
            number = min(self._steps_per_dispatch, self.steps_per_epoch - first)
            before = totals
            state, totals = self._dispatch(
                state, before, self._examples, rows, np.int32(first), np.int32(number),
                hyperparameters,
            )  # fmt: skip
            jax.block_until_ready(before)
            yield state, totals, number


class Evaluation:
    """Sums over a whole set, exact; compiled when it is made, for parameters like these.

    Calling it with parameters on the devices gives what `metrics.means_of` takes, still on the
    devices; with Trials, the sums of each.
    """

    def __init__(
        self,
        config: RunConfig,
        model: Classifier,
        normalize: augment.Normalization,
        devices: Devices | Trials,
        examples: ResidentSet,
        params: Any,
    ) -> None:
        self._examples = devices.replicate(examples)
        num_microbatches = devices.num_microbatches(config.batch_size, config.microbatch_size)
        batch_size = -(-config.batch_size // num_microbatches)  # what a step has in memory at once
        rows = rows_in_order(len(examples), batch_size, devices.shards)
        self._rows = devices.scatter(rows.swapaxes(0, 1))

        def apply(params: Any, images: jax.Array) -> Any:
            return model.apply({"params": params}, images, train=False)

        evaluation = make_evaluation(apply, normalize, config.model.image_size, devices.axis_names)
        self._evaluate = devices.compile(evaluation, params, self._examples, self._rows, each=(0,))

    def __call__(self, params: Any) -> metrics.Sums:
        return self._evaluate(params, self._examples, self._rows)
