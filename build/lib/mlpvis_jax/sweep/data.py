"""The data of a sweep's trials, which stay those that its first trials had."""

from collections.abc import Mapping
from typing import Any

from mlpvis_jax.files.weights import read_description
from mlpvis_jax.running.task import Task
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.sweep.definition import Sweep
from mlpvis_jax.sweep.folder import SweepFolder


def data_key(config: RunConfig) -> tuple[Any, ...]:
    """What decides which images a run trains on."""
    return config.data, config.model.image_size


def read_task(
    config: RunConfig, values: Mapping[str, Any], sweep: Sweep, folder: SweepFolder
) -> Task:
    """The data of trials with these values, which are those of the trials before them.

    Raises:
      InputError: trials in the folder had other images, labels or classes under the same name.
    """
    task = Task.read(config, folder.path)
    for group in folder.read_groups(sweep):
        for one in group.points:
            weights = folder.run_folder(one["trial"]).best_weights
            if _of_data(one["values"]) != _of_data(values) or not weights.exists():
                continue
            before = read_description(weights).get("data")
            if before is not None:
                task.refuse_other(before, f"The sweep in {folder.path}")
                return task
    return task


def _of_data(values: Mapping[str, Any]) -> dict[str, Any]:
    """Of a trial's values those that decide which images it trains on."""
    return {key: values[key] for key in values if key[:5] == "data." or key == "model.image_size"}
