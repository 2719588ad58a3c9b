"""The project's real path, from settings to a compiled epoch, with the trainer's own programs."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import images
from mlpvis_jax.learning.metrics import no_sums
from mlpvis_jax.learning.state import EpochTotals, TrainState
from mlpvis_jax.models import Classifier
from mlpvis_jax.running.placement import Placement
from mlpvis_jax.running.plan import Plan
from mlpvis_jax.running.programs import Programs
from mlpvis_jax.running.task import Task
from mlpvis_jax.settings.config import RunConfig


def with_images(config: RunConfig, npz: Path) -> RunConfig:
    """Makes the images of an .npz file the source of a config."""
    data = dataclasses.replace(config.data, source=f"npz:{npz}", validation=images.VALIDATION)
    return dataclasses.replace(config, data=data)


class Epochs:
    """Trains a group of runs from epoch to epoch, and does nothing else.

    Args:
      configs: of the runs, of one shape.
      task: what they train on.
      placement: where they run.
      model: in place of that of the configs.
    """

    def __init__(
        self,
        configs: Sequence[RunConfig],
        task: Task,
        placement: Placement,
        model: Classifier | None = None,
    ) -> None:
        plan = Plan.of(configs, task, model)
        self.programs = Programs(configs, task, placement, plan)
        self.steps_per_epoch = self.programs.steps_per_epoch
        self._num_runs = len(configs)
        # Of the configs' own model, so that the optimiser works on all of its parameters.
        of_configs = plan if model is None else Plan.of(configs, task)
        self._state = placement.place([of_configs.initial_state(config) for config in configs])
        self.programs.compile(self._state)
        numbers = [plan.numbers(config) for config in configs]
        self._numbers = placement.place(numbers)
        self._no_totals = EpochTotals.zero(no_sums(plan.learner.metrics, plan.learner.num_classes))
        self._epoch = 0

    def run(
        self, seconds: float, after_epoch: Callable[[TrainState, int], None] | None = None
    ) -> dict[str, float]:
        """Trains whole epochs, at least one, until so many seconds have passed.

        Args:
          seconds: to go on for.
          after_epoch: is given the state, on the devices, and the number of the epoch.

        Returns:
          images trained on over all runs, steps taken, and the seconds it took, totals fetched at
          the end.
        """
        programs, epochs = self.programs, 0
        start = time.perf_counter()
        while epochs == 0 or time.perf_counter() - start < seconds:
            self._epoch += 1
            epochs += 1
            totals: Any = programs.placement.place([self._no_totals] * self._num_runs)
            dispatches = programs.training.run_epoch(
                self._num_runs, self._state, totals, self._numbers, self._epoch,
                range(self.steps_per_epoch), programs.steps_per_dispatch,
            )  # fmt: skip
            for dispatch in dispatches:
                self._state, totals = dispatch.state, dispatch.totals
            programs.placement.fetch(totals, self._num_runs)
            if after_epoch is not None:
                after_epoch(self._state, self._epoch)
        return {
            "images": epochs * self._num_runs * len(programs.task.training),
            "steps": epochs * self.steps_per_epoch,
            "seconds": time.perf_counter() - start,
        }
