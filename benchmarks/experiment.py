"""The project's real path, from settings to a compiled epoch, with the run's own functions."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import images
from mlpvis_jax.data.resident import ResidentSet
from mlpvis_jax.learning import augment
from mlpvis_jax.learning.state import EpochTotals, Hyperparameters, TrainState
from mlpvis_jax.models import Classifier
from mlpvis_jax.running.placement import Devices
from mlpvis_jax.running.programs import Training
from mlpvis_jax.running.setup import (
    build_model,
    initial_hyperparameters,
    initial_state,
)
from mlpvis_jax.running.task import Task
from mlpvis_jax.settings.config import RunConfig


@dataclasses.dataclass(frozen=True)
class Experiment:
    """All that a run has in hand before it compiles its training."""

    config: RunConfig
    model: Classifier
    examples: ResidentSet  # to train on
    identity: dict[str, Any]  # of the data
    normalize: augment.Normalization
    state: TrainState  # before the first step
    hyperparameters: Hyperparameters
    devices: Devices

    @classmethod
    def prepare(cls, config: RunConfig, npz: Path, devices: Devices) -> "Experiment":
        """As `train` does it, with the images of an .npz file as the source."""
        data = dataclasses.replace(config.data, source=f"npz:{npz}", validation=images.VALIDATION)
        config = dataclasses.replace(config, data=data)
        task = Task.read(config, npz.parent / "run")
        model = build_model(config.model, task.source.num_classes)
        return cls(
            config=config,
            model=model,
            examples=task.training,
            identity=task.identity,
            normalize=task.normalization,
            state=initial_state(config, model, task.channels),
            hyperparameters=initial_hyperparameters(config, model),
            devices=devices,
        )

    def compile(
        self, model: Classifier | None = None, steps_per_dispatch: int | None = None
    ) -> "Epochs":
        """Its training, with another model or length of dispatch if they are given."""
        config = self.config
        if steps_per_dispatch is not None:
            config = dataclasses.replace(config, steps_per_dispatch=steps_per_dispatch)
        state = self.devices.replicate(self.state)
        training = Training(
            config,
            model or self.model,
            self.normalize,
            self.devices,
            self.examples,
            state,
            self.hyperparameters,
        )
        return Epochs(training, state, self)


class Epochs:
    """A training that goes on from epoch to epoch as it is told."""

    def __init__(self, training: Training, state: TrainState, experiment: Experiment) -> None:
        self._training = training
        self._state = state
        self._experiment = experiment
        self._epoch = 0

    @property
    def steps_per_epoch(self) -> int:
        return self._training.steps_per_epoch

    def run(
        self, seconds: float, after_epoch: Callable[[TrainState, int], None] | None = None
    ) -> dict[str, float]:
        """Whole epochs, at least one, until so many seconds have passed.

        Args:
          seconds: to go on for.
          after_epoch: is given the state, on the devices, and the number of the epoch.

        Returns:
          images trained on, steps taken, and the seconds it took, sums fetched at the end.
        """
        devices, told = self._experiment.devices, self._experiment.hyperparameters
        epochs = 0
        start = time.perf_counter()
        while epochs == 0 or time.perf_counter() - start < seconds:
            self._epoch += 1
            epochs += 1
            totals = devices.replicate(EpochTotals.zero())
            dispatches = self._training.run_epoch(self._state, totals, self._epoch, 0, told)
            for state, newest, _ in dispatches:
                devices.first(totals)  # the loop looks at the dispatch before
                self._state, totals = state, newest
            devices.first(totals)
            if after_epoch is not None:
                after_epoch(self._state, self._epoch)
        return {
            "images": epochs * len(self._experiment.examples),
            "steps": epochs * self.steps_per_epoch,
            "seconds": time.perf_counter() - start,
        }
