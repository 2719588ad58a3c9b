"""The data and the initial weights of a sweep's trials, which stay those of its first ones."""

from collections.abc import Mapping
from typing import Any

from mlpvis_jax.data import Source
from mlpvis_jax.files.weights import read_description
from mlpvis_jax.running.start import find_initial_weights, refuse_other_weights
from mlpvis_jax.running.task import Task
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.sweep.definition import Sweep
from mlpvis_jax.sweep.folder import SweepFolder
from mlpvis_jax.weights.initial import InitialWeights

INITIAL = ("init_from", "init_from_resolution")


def data_key(config: RunConfig) -> tuple[Any, ...]:
    """Lists what decides which images a run trains on."""
    return config.data, config.model.image_size


def read_task(
    config: RunConfig, values: Mapping[str, Any], sweep: Sweep, folder: SweepFolder
) -> Task:
    """Gives the data of trials with these values, read anew only where it is other data.

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


def find_weights(
    config: RunConfig, source: Source, sweep: Sweep, folder: SweepFolder, has_checkpoint: bool
) -> InitialWeights | None:
    """Finds what trials start from, which is what those before them started from.

    Args:
      config: of one of the trials.
      source: of the images.
      sweep: that the trials are of.
      folder: of the sweep.
      has_checkpoint: whether the trials go on from a checkpoint; the weights may be gone then.

    Raises:
      InputError: there are no weights, they are of another model, or they are others than trials
        in the folder started from under the same name.
    """
    initial = find_initial_weights(config, source, has_checkpoint)
    if initial is None:
        return None
    for group in folder.read_groups(sweep):
        for one in group.points:
            weights = folder.run_folder(one["trial"]).best_weights
            named = one["values"].get(INITIAL[0], sweep.base.get(INITIAL[0]))
            if named == config.init_from and weights.exists():
                before = read_description(weights).get("initial_weights")
                refuse_other_weights(before, initial, config, f"The sweep in {folder.path}")
                return initial
    return initial


def _of_data(values: Mapping[str, Any]) -> dict[str, Any]:
    """Of a trial's values those that decide which images it trains on."""
    return {key: values[key] for key in values if key[:5] == "data." or key == "model.image_size"}
