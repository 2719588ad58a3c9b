"""Trials of equal shapes as one program: what is compiled for them, how many fit."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from mlpvis_jax.learning import metrics
from mlpvis_jax.learning.state import Hyperparameters, TrainState
from mlpvis_jax.models import Classifier
from mlpvis_jax.running.placement import Devices, Trials
from mlpvis_jax.running.programs import Evaluation, Training
from mlpvis_jax.running.setup import (
    build_model,
    initial_hyperparameters,
    initialization,
)
from mlpvis_jax.running.task import Task
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.sweep.definition import Trial, shape_of

# Trials on a device, unless it is told otherwise.
MOST = 64
MOST_ON_CPU = 4  # one after another: more would only end later
_SHARE_OF_MEMORY = 0.8
_RATES = ("dropout_rate", "stochastic_depth_rate")


class Population:
    """The programs of trials of one shape, compiled when it is made; the test on its first use.

    Args:
      configs: of the trials, equal but for what `definition.FREE` names.
      data: what they train on.
      devices: those to spread over.
      number: trials to make room for.
      side_by_side: see `Trials.room_for`.
    """

    def __init__(
        self,
        configs: Sequence[RunConfig],
        data: Task,
        devices: Devices,
        number: int,
        side_by_side: int | None,
    ) -> None:
        self.trials = Trials.room_for(devices, number, side_by_side)
        self.shape = program_of(configs)
        self._data = data
        # A rate that is zero in every trial stays out of the program.
        data.training.refuse_larger_batch(configs[0].batch_size)
        models = [build_model(config.model, data.source.num_classes) for config in configs]
        rates = {name: max(getattr(model, name) for model in models) for name in _RATES}
        self._model = models[0].clone(**rates)
        # As long a dispatch as a solo run's, though it takes the trials in turns.
        turns = self.trials.slots // self.trials.side_by_side
        steps = max(1, configs[0].steps_per_dispatch // turns)
        self._config = dataclasses.replace(configs[0], steps_per_dispatch=steps)
        self._init = initialization(configs[0].model.image_size, self._model, data.channels)

        state = self.trials.copies(self.initial_state(configs[0]))
        told = self.trials.copies(self.hyperparameters(configs[0]))
        arguments = (self._config, self._model, data.normalization, self.trials)
        self.training = Training(*arguments, data.training, state, told)
        self._validate = Evaluation(*arguments, data.validation, state.params)
        self._test: Evaluation | None = None

    def initial_state(self, config: RunConfig) -> TrainState:
        """A trial's state before the first step, on the host."""
        return jax.device_get(self._init(config.seed))

    def hyperparameters(self, config: RunConfig) -> Hyperparameters:
        """A trial's own, on the host."""
        model = build_model(config.model, self._data.source.num_classes)
        return initial_hyperparameters(config, model)

    def validate(self, params: Any) -> list[dict[str, float]]:
        """Loss, accuracy and top5_accuracy of each trial in use; its params are on the devices."""
        return [metrics.means_of(sums) for sums in self.trials.fetch(self._validate(params))]

    def test(self, params: Sequence[Any]) -> list[dict[str, float]]:
        """The same of the test set for any number of trials; their params are on the host."""
        in_use = self.trials.number
        found = []
        try:
            for start in range(0, len(params), self.trials.capacity):
                some = params[start : start + self.trials.capacity]
                self.trials.number = len(some)
                placed = self.trials.place(some)
                if self._test is None:
                    self._test = Evaluation(
                        self._config, self._model, self._data.normalization, self.trials,
                        self._data.test, placed,
                    )  # fmt: skip
                found += self.trials.fetch(self._test(placed))
        finally:
            self.trials.number = in_use
        return [metrics.means_of(sums) for sums in found]

    def has_room(self, configs: Sequence[RunConfig]) -> bool:
        """Whether these programs train such trials without much of them lying idle."""
        number, trials = len(configs), self.trials
        in_turns = trials.side_by_side < trials.slots or trials.side_by_side == 1
        fits = number <= trials.capacity and (in_turns or 2 * number > trials.capacity)
        return fits and self.shape == program_of(configs)


def program_of(configs: Sequence[RunConfig]) -> tuple[Any, ...]:
    """What decides which programs trials of one shape need: equal programs, equal results."""
    models = [build_model(config.model, num_classes=2) for config in configs]
    return shape_of(configs[0]), *(any(getattr(model, name) for model in models) for name in _RATES)


def trials_that_fit(trial: Trial, data: Task, devices: Devices, side_by_side: int | None) -> int:
    """An estimate of how many trials like this one there is memory for.

    Each needs its parameters six times (with AdamW's two moments, the gradients, and the new ones
    of both), and where it is computed, what the forward pass keeps for the backward pass, twice.
    That is counted, not measured: from the shapes in the traced program, of which XLA may save
    some. Four fifths of the memory that is free are taken.
    """
    on_cpu = devices.devices[0].platform == "cpu"
    free = _free_bytes(devices)
    model = build_model(trial.config.model, data.source.num_classes)
    parts = Trials.room_for(devices, 1).num_microbatches(
        trial.config.batch_size, trial.config.microbatch_size
    )
    images = -(-trial.config.batch_size // parts)
    state, kept = _bytes_of(trial.config, model, images, data.channels)
    together = side_by_side or (1 if on_cpu else None)
    if together is None:
        most = free / (6 * state + 2 * kept)
    else:
        most = (free - 2 * kept * together) / (6 * state)
    return len(devices) * max(1, min(MOST_ON_CPU if on_cpu else MOST, math.floor(most)))


def _bytes_of(
    config: RunConfig, model: Classifier, batch_size: int, channels: int
) -> tuple[int, int]:
    """Bytes of the parameters, and of what the forward pass of so many images keeps."""
    size = config.model.image_size
    images = jax.ShapeDtypeStruct((batch_size, size, size, channels), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)

    def kept(variables: Any, images: jax.Array) -> Any:
        def forward(variables: Any) -> jax.Array:
            rngs = {"dropout": jax.random.key(0)}
            logits = model.apply(variables, images, train=True, rngs=rngs)
            assert isinstance(logits, jax.Array)
            return logits

        return jax.vjp(forward, variables)[1]  # a function, whose leaves are what it keeps

    return _total(variables), _total(jax.eval_shape(kept, variables, images))


def _total(tree: Any) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _free_bytes(devices: Devices) -> float:
    """What a device may take."""
    found = devices.devices[0].memory_stats()
    if found and "bytes_limit" in found:
        return _SHARE_OF_MEMORY * (found["bytes_limit"] - found.get("bytes_in_use", 0))
    import psutil

    return _SHARE_OF_MEMORY * psutil.virtual_memory().available / len(devices)  # of one machine
